/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System control port A, 0x92: fast A20 and fast reset (IBM PS/2 Technical Reference; PIIX3 data
 * sheet, "Port 92 register").
 */
#include "internal.h"

#define PORT92 0x92

#define FAST_RESET 0x01 /* 0 to 1: reset */
#define FAST_A20   0x02

static uint32_t port92_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_port92 *port92 = context;

    (void)offset;
    (void)width;
    return port92->value;
}

static void port92_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_port92 *port92 = context;
    bool pulse = (value & FAST_RESET) && !(port92->value & FAST_RESET);

    (void)offset;
    (void)width;
    port92->value = value & (FAST_RESET | FAST_A20);
    pv_set_a20(port92->device.bus, PV_A20_PORT92, value & FAST_A20);
    if (pulse)
        pv_request_reset(port92->device.bus, PREVIRT_RESET_PORT92);
}

static void port92_reset(struct previrt_device *device)
{
    struct previrt_port92 *port92 = PV_CONTAINER(device, struct previrt_port92, device);

    port92->value = FAST_A20;
    pv_set_a20(device->bus, PV_A20_PORT92, true);
}

int previrt_port92_init(struct previrt_port92 *port92, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {.name = "port92", .reset = port92_reset};
    static const struct previrt_range_ops range_ops = {.read = port92_read, .write = port92_write};
    int status;

    *port92 = (struct previrt_port92){.device.ops = &ops};
    pv_range(&port92->range, PREVIRT_SPACE_PORT, PORT92, 1, PREVIRT_WIDTH_8, &range_ops, port92);
    status = previrt_bus_attach(bus, &port92->device, &port92->range, 1);
    if (status != PREVIRT_OK)
        return status;
    bus->a20_closed &= (uint8_t)~PV_A20_PORT92; /* it starts open: nothing to tell */
    port92_reset(&port92->device);
    return PREVIRT_OK;
}
