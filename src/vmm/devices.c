/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's PC: the device models, with the VMM as their host. */
#include "vmm.h"

#define CONSOLE_DELAY 2000000u /* ns that output may wait for more */

/* How far the devices' clock may be behind, before ticks are lost after all. */
#define CATCH_UP_LIMIT  1000000000u /* ns */
#define CATCH_UP_PERIOD 10000000u   /* when to look again, if the guest does not take its ticks */
#define TIMER_LINE      0

/* A handler may mask its line while it works: how long that may take. */
#define MASKED_LIMIT 100000000u /* ns */

/*
 * The devices' clock. It is the hypervisor's, but it never passes a moment at which a device has
 * something to do: pv_time() does those one after the other.
 */
static uint64_t host_clock(void *context)
{
    struct pv_vmm *vmm = context;
    uint64_t now, next;

    if (vmm->advancing)
        return vmm->device_time;
    now = vmm->backend.now(vmm->backend.context);
    next = previrt_bus_deadline(&vmm->pc.bus);
    return now < next ? now : next - 1;
}

void pv_reset(struct pv_vmm *vmm)
{
    pv_end(vmm, vmm->panicked ? PV_POWER_PANIC : 0);
}

static void host_reset(void *context, enum previrt_reset_source source)
{
    (void)source;
    pv_reset(context);
}

static void host_exit(void *context, uint32_t code)
{
    struct pv_vmm *vmm = context;

    pv_end(vmm, (int)(PV_STATUS_GUEST | (code & (PV_STATUS_GUEST - 1))));
}

/*
 * A panic that ends in a reset (panic=-1) does nothing at the machine's level that a reboot does
 * not do too; what Linux prints is all that tells them apart.
 */
static void look_for_panic(struct pv_vmm *vmm, const uint8_t *data, size_t length)
{
    static const char text[] = "Kernel panic - not syncing";

    for (size_t i = 0; i < length && !vmm->panicked; i++) {
        if (data[i] != (uint8_t)text[vmm->panic_matched])
            vmm->panic_matched = 0;
        if (data[i] == (uint8_t)text[vmm->panic_matched] &&
            ++vmm->panic_matched == sizeof(text) - 1)
            vmm->panicked = 1;
    }
}

static void uart_output(void *context, const uint8_t *data, size_t length)
{
    struct pv_vmm *vmm = context;

    look_for_panic(vmm, data, length);
    vmm->backend.console(vmm->backend.context, (const char *)data, length);
}

/* ---- requests for the counters: previrt/counters.h ---- */

static void counters_request(struct pv_vmm *vmm, uint32_t value)
{
    if (value == PREVIRT_COUNTERS_MARK) {
        vmm->mark = vmm->count;
    } else if (value == PREVIRT_COUNTERS_ALL || value == PREVIRT_COUNTERS_SINCE) {
        previrt_bus_flush(&vmm->pc.bus);
        pv_dump_counters(vmm, value == PREVIRT_COUNTERS_SINCE);
    }
}

/* The guest's UART takes as much of what was typed as its FIFO has room for. */
static void uart_input(void *context)
{
    struct pv_vmm *vmm = context;

    while (vmm->typed_count &&
           previrt_uart_receive(&vmm->pc.com1, vmm->typed + vmm->typed_first, 1)) {
        vmm->typed_first = (vmm->typed_first + 1) % PV_TYPED;
        vmm->typed_count--;
    }
}

void pv_console_input(struct pv_vmm *vmm, const uint8_t *data, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (vmm->console_escape) {
            vmm->console_escape = 0;
            counters_request(vmm, data[i]);
            if (data[i] != PREVIRT_COUNTERS_KEY)
                continue;
        } else if (data[i] == PREVIRT_COUNTERS_KEY) {
            vmm->console_escape = 1;
            continue;
        }
        if (vmm->typed_count < PV_TYPED) /* who types more than that ahead loses it */
            vmm->typed[(vmm->typed_first + vmm->typed_count++) % PV_TYPED] = data[i];
    }
    uart_input(vmm);
}

static void counters_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    (void)offset;
    (void)width;
    counters_request(context, value);
}

static void counters_init(struct pv_vmm *vmm)
{
    static const struct previrt_device_ops ops = {.name = "counters"};
    static const struct previrt_range_ops range_ops = {.write = counters_write};
    struct previrt_counters *c = &vmm->count;

    __builtin_memcpy(c->magic, PREVIRT_COUNTERS_MAGIC, sizeof c->magic);
    c->version = PREVIRT_COUNTERS_VERSION;
    c->size = sizeof *c;
    c->named_offset = offsetof(struct previrt_counters, exits);
    c->named_count =
        (offsetof(struct previrt_counters, vector) - c->named_offset) / sizeof c->exits;
    c->vector_offset = offsetof(struct previrt_counters, vector);
    c->vector_count = PREVIRT_COUNTERS_VECTORS;
    c->op_offset = offsetof(struct previrt_counters, op);
    c->op_count = PREVIRT_IA32_OP_LIMIT;
    vmm->counters_device.ops = &ops;
    vmm->counters_range = (struct previrt_range){.base = PREVIRT_COUNTERS_PORT,
                                                 .length = 1,
                                                 .ops = &range_ops,
                                                 .context = vmm,
                                                 .space = PREVIRT_SPACE_PORT,
                                                 .widths = PREVIRT_WIDTH_8};
    previrt_bus_attach(&vmm->pc.bus, &vmm->counters_device, &vmm->counters_range, 1);
}

void pv_devices_init(struct pv_vmm *vmm)
{
    struct previrt_pc_config config = {
        .host = {.context = vmm, .clock = host_clock, .reset = host_reset, .exit = host_exit},
        .debug_exit_port = PREVIRT_DEBUG_EXIT_PORT,
    };

    config.rtc.unix_time = vmm->backend.date(vmm->backend.context);
    config.rtc.memory_size = vmm->ram_size;
    config.com1.transmit = uart_output;
    config.com1.receive_room = uart_input;
    config.com1.context = vmm;
    config.com1.flush_delay = CONSOLE_DELAY;
    previrt_pc_init(&vmm->pc, &config);
    counters_init(vmm);
}

/* The guest has yet to take a tick, and will: it has not turned the timer's interrupt off. */
static int tick_waits(struct pv_vmm *vmm, uint64_t now)
{
    const struct previrt_pic *pic = &vmm->pc.pic;

    return previrt_pic_waits(pic, TIMER_LINE) &&
           (!previrt_pic_masked(pic, TIMER_LINE) || now - vmm->tick_taken < MASKED_LIMIT);
}

unsigned pv_acknowledge(struct pv_vmm *vmm)
{
    int tick = previrt_pic_waits(&vmm->pc.pic, TIMER_LINE);
    unsigned vector = previrt_pic_acknowledge(&vmm->pc.pic);

    if (tick && !previrt_pic_waits(&vmm->pc.pic, TIMER_LINE))
        vmm->tick_taken = vmm->backend.now(vmm->backend.context);
    return vector;
}

/*
 * A guest that was not scheduled for some periods of its timer must still get every tick: time that
 * it counts by them would be lost. So the devices' clock waits at each tick until the one before
 * has been taken, and hurries after the hypervisor's from then on: each acknowledged tick brings
 * the next one, at the port access that ends it.
 */
void pv_time(struct pv_vmm *vmm)
{
    struct previrt_bus *bus = &vmm->pc.bus;
    uint64_t now = vmm->backend.now(vmm->backend.context), next;

    vmm->advancing = 1;
    while ((next = previrt_bus_deadline(bus)) <= now) {
        if (now - next < CATCH_UP_LIMIT && tick_waits(vmm, now))
            break;
        vmm->device_time = next;
        previrt_bus_run(bus);
        if (previrt_bus_deadline(bus) <= next) { /* a device that never gets done */
            next = now + 1;
            break;
        }
    }
    if (next > now) {
        vmm->device_time = now;
        previrt_bus_run(bus);
        next = previrt_bus_deadline(bus);
    } else {
        next = now + CATCH_UP_PERIOD;
    }
    vmm->advancing = 0;
    uart_input(vmm); /* the guest may have emptied the FIFO without reading it */
    vmm->backend.set_deadline(vmm->backend.context, next);
}
