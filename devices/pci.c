/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI: configuration mechanism 1, bus 0, with the host bridge of an Intel 440FX and the reset
 * control register of a PIIX3.
 *
 * "PCI" is the PCI Local Bus Specification 2.1; "82441FX" and "PIIX3" are Intel's data sheets. The
 * 440FX is chosen because every kernel knows it and expects nothing of it.
 */
#include "internal.h"

#define ADDRESS_PORT 0xcf8
#define DATA_PORT    0xcfc
#define CONFIG_PORTS 4
#define ANY_WIDTH    (PREVIRT_WIDTH_8 | PREVIRT_WIDTH_16 | PREVIRT_WIDTH_32)

/* CONFADD (PCI 3.7.4.1) */
#define ADDRESS_ENABLE      0x80000000u
#define ADDRESS_WRITABLE    0x80fffffcu
#define ADDRESS_BUS_SHIFT   16
#define ADDRESS_BUS_MASK    0xff
#define ADDRESS_DEVFN_SHIFT 8
#define ADDRESS_DEVFN_MASK  0xff
#define ADDRESS_REGISTER    0xfc

/* Reset control register (PIIX3, 2.5.5.5), the byte at 0xcf9 */
#define RESET_CONTROL_OFFSET 1
#define RESET_HARD           0x02 /* hard, not soft */
#define RESET_CPU            0x04 /* 0 to 1: reset */

/* Configuration header, type 0 (PCI 6.1) */
enum {
    VENDOR_ID = 0x00,
    DEVICE_ID = 0x02,
    COMMAND = 0x04,
    STATUS = 0x06,
    REVISION_ID = 0x08,
    SUB_CLASS = 0x0a,
    BASE_CLASS = 0x0b,
    BAR_0 = 0x10
};
#define BAR_SIZE       4u
#define COMMAND_IO     0x01
#define COMMAND_MEMORY 0x02
#define COMMAND_MASTER 0x04
/* Base address registers (PCI 6.2.5.1) */
#define BAR_IO             0x01
#define BAR_IO_FLAGS       0x03
#define BAR_MEMORY_FLAGS   0x0f
#define BAR_IO_MINIMUM     4u
#define BAR_MEMORY_MINIMUM 16u

/* The host bridge (82441FX, 3.2) */
#define INTEL              0x8086
#define INTEL_82441FX      0x1237
#define BRIDGE_REVISION    0x02
#define CLASS_BRIDGE       0x06 /* sub-class 0: host bridge */
#define BRIDGE_STATUS_HIGH 0x02 /* DEVSEL# timing: medium */
#define BRIDGE_PAM_FIRST                                                                           \
    0x59 /* programmable attribute map: memory to the bridge, nothing behind it */
#define BRIDGE_PAM_LAST 0x5f

/* --- Functions --- */

static struct previrt_pci_function *find(const struct previrt_pci *pci, uint32_t address)
{
    unsigned bus = address >> ADDRESS_BUS_SHIFT & ADDRESS_BUS_MASK;
    unsigned devfn = address >> ADDRESS_DEVFN_SHIFT & ADDRESS_DEVFN_MASK;

    if (!(address & ADDRESS_ENABLE) || bus != 0)
        return NULL;
    for (unsigned i = 0; i < pci->function_count; i++) {
        if (pci->functions[i]->devfn == devfn)
            return pci->functions[i];
    }
    return NULL;
}

static uint32_t read_le(const uint8_t *bytes, unsigned width)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < width; i++)
        value |= (uint32_t)bytes[i] << 8 * i;
    return value;
}

static void write_le(uint8_t *bytes, unsigned width, uint32_t value)
{
    for (unsigned i = 0; i < width; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

/* Put the ranges of the base address registers where the guest now wants them. */
static void map_bars(struct previrt_bus *bus, struct previrt_pci_function *function)
{
    for (unsigned i = 0; i < PREVIRT_PCI_BARS; i++) {
        struct previrt_range *range = &function->bar[i];
        bool io = range->space == PREVIRT_SPACE_PORT;
        uint8_t enable = io ? COMMAND_IO : COMMAND_MEMORY, bit = (uint8_t)(1u << i);
        uint32_t base = read_le(&function->config[BAR_0 + BAR_SIZE * i], BAR_SIZE) &
                        ~(uint32_t)(io ? BAR_IO_FLAGS : BAR_MEMORY_FLAGS);
        bool wanted = range->length && base && (function->config[COMMAND] & enable);

        if ((function->mapped & bit) && wanted && range->base == base)
            continue;
        if (function->mapped & bit)
            previrt_bus_remove_range(bus, range);
        function->mapped &= (uint8_t)~bit;
        range->base = base;
        if (wanted && previrt_bus_add_range(bus, range) == PREVIRT_OK)
            function->mapped |= bit;
    }
}

static bool bar_is_valid(const struct previrt_range *range)
{
    bool io = range->space == PREVIRT_SPACE_PORT;
    uint64_t length = range->length;

    if (length == 0)
        return true;
    return range->space <= PREVIRT_SPACE_MEMORY && range->ops && range->widths &&
           !(range->widths & ~ANY_WIDTH) && (length & (length - 1)) == 0 &&
           length >= (io ? BAR_IO_MINIMUM : BAR_MEMORY_MINIMUM) &&
           length <= (io ? 0x10000u : 0x80000000u);
}

int previrt_pci_add(struct previrt_pci *pci, struct previrt_pci_function *function)
{
    const uint32_t slot = (uint32_t)function->devfn << ADDRESS_DEVFN_SHIFT;
    bool has_io = false, has_memory = false;

    for (unsigned i = 0; i < PREVIRT_PCI_BARS; i++) {
        if (!bar_is_valid(&function->bar[i]))
            return PREVIRT_E_INVALID;
    }
    if (find(pci, ADDRESS_ENABLE | slot))
        return PREVIRT_E_OVERLAP;
    if (pci->function_count == PREVIRT_PCI_FUNCTIONS)
        return PREVIRT_E_SPACE;
    for (unsigned i = 0; i < PREVIRT_PCI_BARS; i++) {
        const struct previrt_range *range = &function->bar[i];
        bool io = range->space == PREVIRT_SPACE_PORT;
        unsigned offset = BAR_0 + BAR_SIZE * i;

        if (range->length == 0)
            continue;
        has_io |= io;
        has_memory |= !io;
        /* The bits below the size are not writable: that is how a guest finds the size. */
        write_le(&function->writable[offset], BAR_SIZE, ~(uint32_t)(range->length - 1));
        write_le(&function->config[offset], BAR_SIZE, io ? BAR_IO : 0);
    }
    if (has_io)
        function->writable[COMMAND] |= COMMAND_IO;
    if (has_memory)
        function->writable[COMMAND] |= COMMAND_MEMORY;
    function->mapped = 0;
    pci->functions[pci->function_count++] = function;
    map_bars(pci->device.bus, function);
    return PREVIRT_OK;
}

static void write_config(struct previrt_pci *pci, struct previrt_pci_function *function,
                         unsigned offset, unsigned width, uint32_t value)
{
    for (unsigned i = 0; i < width; i++, value >>= 8) {
        uint8_t *byte = &function->config[offset + i];
        uint8_t writable = function->writable[offset + i];

        *byte = (uint8_t)((*byte & ~writable) | (value & writable));
        *byte &= (uint8_t) ~(value & function->write_1_to_clear[offset + i]);
    }
    map_bars(pci->device.bus, function);
    if (function->ops && function->ops->config_written)
        function->ops->config_written(function, offset, width);
}

/* --- Ports --- */

/* Only a 32-bit access at 0xcf8 is CONFADD; others belong to whoever has ports there (PCI 3.7.4.1),
 * here the reset control register. */
static uint32_t address_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pci *pci = context;

    if (width == PREVIRT_WIDTH_32)
        return pci->address;
    if (width == PREVIRT_WIDTH_8 && offset == RESET_CONTROL_OFFSET)
        return pci->reset_control;
    return UINT32_MAX;
}

static void address_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pci *pci = context;
    bool was_resetting = pci->reset_control & RESET_CPU;

    if (width == PREVIRT_WIDTH_32) {
        pci->address = value & ADDRESS_WRITABLE;
    } else if (width == PREVIRT_WIDTH_8 && offset == RESET_CONTROL_OFFSET) {
        pci->reset_control = value & (RESET_HARD | RESET_CPU);
        if (!was_resetting && (value & RESET_CPU))
            pv_request_reset(pci->device.bus, PREVIRT_RESET_CF9);
    }
}

/* A 32-bit range that is 4 bytes long: offset + width never passes the end of the register. */
static uint32_t data_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pci *pci = context;
    struct previrt_pci_function *function = find(pci, pci->address);

    if (!function) /* master abort reads as ones (PCI 3.7.4) */
        return UINT32_MAX;
    return read_le(&function->config[(pci->address & ADDRESS_REGISTER) + offset], width);
}

static void data_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pci *pci = context;
    struct previrt_pci_function *function = find(pci, pci->address);

    if (function)
        write_config(pci, function, (pci->address & ADDRESS_REGISTER) + offset, width, value);
}

/* RST#: decoding off, base addresses zero (PCI 6.2.2, 6.2.5.1). */
static void pci_reset(struct previrt_device *device)
{
    struct previrt_pci *pci = PV_CONTAINER(device, struct previrt_pci, device);

    pci->address = 0;
    pci->reset_control = 0;
    for (unsigned i = 0; i < pci->function_count; i++) {
        struct previrt_pci_function *function = pci->functions[i];

        function->config[COMMAND] &= (uint8_t)~function->writable[COMMAND];
        for (unsigned j = 0; j < PREVIRT_PCI_BARS; j++) {
            if (function->bar[j].length)
                write_le(&function->config[BAR_0 + BAR_SIZE * j], BAR_SIZE,
                         function->bar[j].space == PREVIRT_SPACE_PORT ? BAR_IO : 0);
        }
        map_bars(device->bus, function);
    }
}

static void make_host_bridge(struct previrt_pci_function *bridge)
{
    write_le(&bridge->config[VENDOR_ID], 2, INTEL);
    write_le(&bridge->config[DEVICE_ID], 2, INTEL_82441FX);
    bridge->config[COMMAND] = COMMAND_MEMORY | COMMAND_MASTER; /* both hardwired */
    bridge->config[STATUS + 1] = BRIDGE_STATUS_HIGH;
    bridge->config[REVISION_ID] = BRIDGE_REVISION;
    bridge->config[BASE_CLASS] = CLASS_BRIDGE;
    bridge->config[SUB_CLASS] = 0;
    for (unsigned i = BRIDGE_PAM_FIRST; i <= BRIDGE_PAM_LAST; i++)
        bridge->writable[i] = 0xff;
}

int previrt_pci_init(struct previrt_pci *pci, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {.name = "pci", .reset = pci_reset};
    static const struct previrt_range_ops address = {.read = address_read, .write = address_write};
    static const struct previrt_range_ops data = {.read = data_read, .write = data_write};
    int status;

    *pci = (struct previrt_pci){.device.ops = &ops};
    pv_range(&pci->ranges[0], PREVIRT_SPACE_PORT, ADDRESS_PORT, CONFIG_PORTS, ANY_WIDTH, &address,
             pci);
    pv_range(&pci->ranges[1], PREVIRT_SPACE_PORT, DATA_PORT, CONFIG_PORTS, ANY_WIDTH, &data, pci);
    status = previrt_bus_attach(bus, &pci->device, pci->ranges, 2);
    if (status != PREVIRT_OK)
        return status;
    make_host_bridge(&pci->host_bridge);
    return previrt_pci_add(pci, &pci->host_bridge);
}
