/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Port 0x80: firmware's power-on self-test codes, and the port that kernels write to when they want
 * an I/O delay (IBM AT Technical Reference, "POST"). A read gives back the last code: on a PC it is
 * an unused page register of the DMA controller.
 */
#include "internal.h"

#define PORT80 0x80

static uint32_t port80_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_port80 *port80 = context;

    (void)offset;
    (void)width;
    return port80->code;
}

static void port80_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_port80 *port80 = context;
    const struct previrt_host *host = &port80->device.bus->host;

    (void)offset;
    (void)width;
    port80->code = (uint8_t)value;
    if (host->post_code)
        host->post_code(host->context, port80->code);
}

int previrt_port80_init(struct previrt_port80 *port80, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {.name = "port80"};
    static const struct previrt_range_ops range_ops = {.read = port80_read, .write = port80_write};

    *port80 = (struct previrt_port80){.device.ops = &ops};
    pv_range(&port80->range, PREVIRT_SPACE_PORT, PORT80, 1, PREVIRT_WIDTH_8, &range_ops, port80);
    return previrt_bus_attach(bus, &port80->device, &port80->range, 1);
}
