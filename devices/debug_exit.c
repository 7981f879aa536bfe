/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The debug-exit port: a guest under test ends its machine by writing a value to it. The ports and
 * widths are those of QEMU's isa-debug-exit (four ports, by default from 0xf4); what a value means
 * is the VMM's affair.
 */
#include "internal.h"

#define DEBUG_EXIT_PORTS 4

static uint32_t debug_exit_read(void *context, uint32_t offset, unsigned width)
{
    (void)context;
    (void)offset;
    (void)width;
    return 0;
}

static void debug_exit_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_debug_exit *debug_exit = context;
    const struct previrt_host *host = &debug_exit->device.bus->host;

    (void)offset;
    (void)width;
    previrt_bus_flush(debug_exit->device.bus); /* the last words come first */
    if (host->exit)
        host->exit(host->context, value);
}

int previrt_debug_exit_init(struct previrt_debug_exit *debug_exit, struct previrt_bus *bus,
                            uint16_t port)
{
    static const struct previrt_device_ops ops = {.name = "debug_exit"};
    static const struct previrt_range_ops range_ops = {.read = debug_exit_read,
                                                       .write = debug_exit_write};

    *debug_exit = (struct previrt_debug_exit){.device.ops = &ops};
    pv_range(&debug_exit->range, PREVIRT_SPACE_PORT, port, DEBUG_EXIT_PORTS,
             PREVIRT_WIDTH_8 | PREVIRT_WIDTH_16 | PREVIRT_WIDTH_32, &range_ops, debug_exit);
    return previrt_bus_attach(bus, &debug_exit->device, &debug_exit->range, 1);
}
