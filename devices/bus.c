/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bus: who answers an access, which devices wait for which time, and the interrupt lines.
 *
 * Ranges are kept sorted, so that a look-up is a binary search; a guest mostly hammers one device
 * at a time, so the last range that answered is tried first.
 */
#include "internal.h"

#define PORT_SPACE_END   0x10000u
#define RANGE_MAX_LENGTH ((uint64_t)1 << 32) /* offsets are 32 bits */

void previrt_bus_init(struct previrt_bus *bus, const struct previrt_host *host)
{
    *bus = (struct previrt_bus){.deadline = PREVIRT_NEVER,
                                .a20_closed = PV_A20_KEYBOARD | PV_A20_PORT92};
    if (host)
        bus->host = *host;
}

/* --- Ranges --- */

static bool range_contains(const struct previrt_range *range, uint64_t address)
{
    return address - range->base < range->length; /* below the base it wraps to something huge */
}

/* The place of the first range of (space) whose base is above (address). */
static unsigned first_above(const struct previrt_bus *bus, unsigned space, uint64_t address)
{
    unsigned low = 0, high = bus->range_count[space];

    while (low < high) {
        unsigned middle = (low + high) / 2;

        if (bus->ranges[space][middle]->base > address)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

static const struct previrt_range *find(const struct previrt_bus *bus, unsigned space,
                                        uint64_t address)
{
    unsigned place = first_above(bus, space, address);

    if (place == 0 || !range_contains(bus->ranges[space][place - 1], address))
        return NULL;
    return bus->ranges[space][place - 1];
}

static const struct previrt_range *find_cached(struct previrt_bus *bus, unsigned space,
                                               uint64_t address)
{
    const struct previrt_range *hit = bus->last_hit[space];

    if (hit && range_contains(hit, address))
        return hit;
    hit = find(bus, space, address);
    if (hit)
        bus->last_hit[space] = hit;
    return hit;
}

int previrt_bus_add_range(struct previrt_bus *bus, struct previrt_range *range)
{
    const uint8_t all_widths = PREVIRT_WIDTH_8 | PREVIRT_WIDTH_16 | PREVIRT_WIDTH_32;
    unsigned space = range->space, place;

    if (space > PREVIRT_SPACE_MEMORY || !range->ops || range->widths == 0 ||
        (range->widths & ~all_widths) || range->length == 0 || range->length > RANGE_MAX_LENGTH)
        return PREVIRT_E_INVALID;
    if (space == PREVIRT_SPACE_PORT &&
        (range->base >= PORT_SPACE_END || range->length > PORT_SPACE_END - range->base))
        return PREVIRT_E_INVALID;
    if (range->base > UINT64_MAX - (range->length - 1))
        return PREVIRT_E_INVALID;
    place = first_above(bus, space, range->base);
    if (place > 0 && range_contains(bus->ranges[space][place - 1], range->base))
        return PREVIRT_E_OVERLAP;
    if (place < bus->range_count[space] && range_contains(range, bus->ranges[space][place]->base))
        return PREVIRT_E_OVERLAP;
    if (bus->range_count[space] == PREVIRT_BUS_RANGES)
        return PREVIRT_E_SPACE;
    for (unsigned i = bus->range_count[space]; i > place; i--)
        bus->ranges[space][i] = bus->ranges[space][i - 1];
    bus->ranges[space][place] = range;
    bus->range_count[space]++;
    return PREVIRT_OK;
}

int previrt_bus_remove_range(struct previrt_bus *bus, struct previrt_range *range)
{
    unsigned space = range->space, place;

    if (space > PREVIRT_SPACE_MEMORY)
        return PREVIRT_E_RANGE;
    place = first_above(bus, space, range->base);
    if (place == 0 || bus->ranges[space][place - 1] != range)
        return PREVIRT_E_RANGE;
    bus->range_count[space]--;
    for (unsigned i = place - 1; i < bus->range_count[space]; i++)
        bus->ranges[space][i] = bus->ranges[space][i + 1];
    bus->last_hit[space] = NULL;
    return PREVIRT_OK;
}

int previrt_bus_attach(struct previrt_bus *bus, struct previrt_device *device,
                       struct previrt_range *ranges, size_t count)
{
    int status = PREVIRT_OK;
    size_t added = 0;

    if (!device->ops)
        return PREVIRT_E_INVALID;
    if (bus->device_count == PREVIRT_BUS_DEVICES)
        return PREVIRT_E_SPACE;
    while (added < count && status == PREVIRT_OK) {
        status = previrt_bus_add_range(bus, &ranges[added]);
        if (status == PREVIRT_OK)
            added++;
    }
    if (status != PREVIRT_OK) {
        while (added > 0)
            previrt_bus_remove_range(bus, &ranges[--added]);
        return status;
    }
    device->bus = bus;
    bus->devices[bus->device_count++] = device;
    previrt_bus_deadline_changed(bus);
    return PREVIRT_OK;
}

bool previrt_bus_claims(const struct previrt_bus *bus, enum previrt_space space, uint64_t address)
{
    return (unsigned)space <= PREVIRT_SPACE_MEMORY && find(bus, space, address) != NULL;
}

/* --- Accesses --- */

static bool is_width(unsigned width)
{
    return width == PREVIRT_WIDTH_8 || width == PREVIRT_WIDTH_16 || width == PREVIRT_WIDTH_32;
}

static uint32_t width_mask(unsigned width)
{
    return width == PREVIRT_WIDTH_32 ? UINT32_MAX : (1u << width * 8) - 1;
}

/* Whether (range) takes the whole access at once. */
static bool takes(const struct previrt_range *range, uint64_t address, unsigned width)
{
    return range && (range->widths & width) && range->length - (address - range->base) >= width;
}

static uint32_t bus_read(struct previrt_bus *bus, unsigned space, uint64_t address, unsigned width)
{
    const struct previrt_range *range = find_cached(bus, space, address);
    unsigned half = width / 2;

    if (takes(range, address, width)) {
        if (!range->ops->read)
            return width_mask(width);
        return range->ops->read(range->context, (uint32_t)(address - range->base), width) &
               width_mask(width);
    }
    if (width == PREVIRT_WIDTH_8)
        return width_mask(width);
    return bus_read(bus, space, address, half) | bus_read(bus, space, address + half, half)
                                                     << half * 8;
}

static void bus_write(struct previrt_bus *bus, unsigned space, uint64_t address, unsigned width,
                      uint32_t value)
{
    const struct previrt_range *range = find_cached(bus, space, address);
    unsigned half = width / 2;

    if (takes(range, address, width)) {
        if (range->ops->write)
            range->ops->write(range->context, (uint32_t)(address - range->base), width,
                              value & width_mask(width));
        return;
    }
    if (width == PREVIRT_WIDTH_8)
        return;
    bus_write(bus, space, address, half, value & width_mask(half));
    bus_write(bus, space, address + half, half, value >> half * 8);
}

uint32_t previrt_port_in(struct previrt_bus *bus, uint16_t port, unsigned width)
{
    return is_width(width) ? bus_read(bus, PREVIRT_SPACE_PORT, port, width) : UINT32_MAX;
}

void previrt_port_out(struct previrt_bus *bus, uint16_t port, unsigned width, uint32_t value)
{
    if (is_width(width))
        bus_write(bus, PREVIRT_SPACE_PORT, port, width, value);
}

uint32_t previrt_memory_read(struct previrt_bus *bus, uint64_t address, unsigned width)
{
    return is_width(width) ? bus_read(bus, PREVIRT_SPACE_MEMORY, address, width) : UINT32_MAX;
}

void previrt_memory_write(struct previrt_bus *bus, uint64_t address, unsigned width, uint32_t value)
{
    if (is_width(width))
        bus_write(bus, PREVIRT_SPACE_MEMORY, address, width, value);
}

void previrt_port_in_string(struct previrt_bus *bus, uint16_t port, unsigned width, void *buffer,
                            size_t count)
{
    const struct previrt_range *range = find_cached(bus, PREVIRT_SPACE_PORT, port);
    uint8_t *bytes = buffer;

    if (!is_width(width))
        return;
    if (takes(range, port, width) && range->ops->read_string) {
        range->ops->read_string(range->context, (uint32_t)(port - range->base), width, buffer,
                                count);
        return;
    }
    for (; count > 0; count--) {
        uint32_t value = bus_read(bus, PREVIRT_SPACE_PORT, port, width);

        for (unsigned i = 0; i < width; i++)
            *bytes++ = (uint8_t)(value >> i * 8);
    }
}

void previrt_port_out_string(struct previrt_bus *bus, uint16_t port, unsigned width,
                             const void *buffer, size_t count)
{
    const struct previrt_range *range = find_cached(bus, PREVIRT_SPACE_PORT, port);
    const uint8_t *bytes = buffer;

    if (!is_width(width))
        return;
    if (takes(range, port, width) && range->ops->write_string) {
        range->ops->write_string(range->context, (uint32_t)(port - range->base), width, buffer,
                                 count);
        return;
    }
    for (; count > 0; count--) {
        uint32_t value = 0;

        for (unsigned i = 0; i < width; i++)
            value |= (uint32_t)*bytes++ << i * 8;
        bus_write(bus, PREVIRT_SPACE_PORT, port, width, value);
    }
}

/* --- Time --- */

void previrt_bus_set_time(struct previrt_bus *bus, uint64_t now)
{
    if (now > bus->now)
        bus->now = now;
}

uint64_t previrt_bus_time(struct previrt_bus *bus)
{
    if (bus->host.clock)
        previrt_bus_set_time(bus, bus->host.clock(bus->host.context));
    return bus->now;
}

void previrt_bus_deadline_changed(struct previrt_bus *bus)
{
    bus->deadline_known = false;
}

uint64_t previrt_bus_deadline(struct previrt_bus *bus)
{
    if (bus->deadline_known)
        return bus->deadline;
    bus->deadline = PREVIRT_NEVER;
    for (unsigned i = 0; i < bus->device_count; i++) {
        struct previrt_device *device = bus->devices[i];
        uint64_t deadline = device->ops->deadline ? device->ops->deadline(device) : PREVIRT_NEVER;

        if (deadline < bus->deadline)
            bus->deadline = deadline;
    }
    bus->deadline_known = true;
    return bus->deadline;
}

void previrt_bus_run(struct previrt_bus *bus)
{
    uint64_t now = previrt_bus_time(bus);

    for (unsigned i = 0; i < bus->device_count; i++) {
        if (bus->devices[i]->ops->run)
            bus->devices[i]->ops->run(bus->devices[i], now);
    }
    previrt_bus_deadline_changed(bus);
}

void previrt_bus_flush(struct previrt_bus *bus)
{
    for (unsigned i = 0; i < bus->device_count; i++) {
        if (bus->devices[i]->ops->flush)
            bus->devices[i]->ops->flush(bus->devices[i]);
    }
}

void previrt_bus_reset(struct previrt_bus *bus)
{
    previrt_bus_flush(bus);
    for (unsigned i = 0; i < bus->device_count; i++) {
        if (bus->devices[i]->ops->reset)
            bus->devices[i]->ops->reset(bus->devices[i]);
    }
    previrt_bus_deadline_changed(bus);
}

/* --- Lines --- */

void previrt_bus_set_irq_sink(struct previrt_bus *bus,
                              void (*set)(void *context, unsigned line, int level), void *context)
{
    bus->irq_set = set;
    bus->irq_context = context;
}

int previrt_irq_connect(struct previrt_irq *irq, struct previrt_bus *bus, unsigned line)
{
    if (line >= PREVIRT_IRQ_LINES)
        return PREVIRT_E_INVALID;
    *irq = (struct previrt_irq){.bus = bus, .line = (uint8_t)line};
    return PREVIRT_OK;
}

void previrt_irq_set(struct previrt_irq *irq, int level)
{
    struct previrt_bus *bus = irq->bus;
    uint8_t before = bus->irq_asserted[irq->line], after;

    if (irq->level == (level != 0))
        return;
    irq->level = level != 0;
    after = (uint8_t)(irq->level ? before + 1 : before - 1);
    bus->irq_asserted[irq->line] = after;
    if ((before != 0) != (after != 0) && bus->irq_set)
        bus->irq_set(bus->irq_context, irq->line, after != 0);
}

void pv_set_a20(struct previrt_bus *bus, enum pv_a20_gate gate, bool open)
{
    const uint8_t all = PV_A20_KEYBOARD | PV_A20_PORT92;
    bool before = bus->a20_closed != all, after;

    bus->a20_closed = (uint8_t)(open ? bus->a20_closed & ~gate : bus->a20_closed | gate);
    after = bus->a20_closed != all;
    if (before != after && bus->host.a20)
        bus->host.a20(bus->host.context, after);
}
