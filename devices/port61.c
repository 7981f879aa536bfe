/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * System control port B, 0x61: the gate and the output of the PIT's counter 2, the speaker, the
 * refresh toggle (PIIX3 data sheet, "NMI status and control register").
 */
#include "internal.h"

#define PORT61 0x61

#define GATE_2          0x01
#define CONTROL_MASK    0x0f /* gate, speaker, and the two parity disables */
#define REFRESH_TOGGLE  0x10 /* changes with each refresh request */
#define OUTPUT_2        0x20
#define SPEAKER_COUNTER 2

/* A PC's counter 1 asks for a refresh every 18 ticks; Linux' and DOS' short delays count the
 * changes. */
#define REFRESH_HZ 66288u

static uint32_t port61_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_port61 *port61 = context;
    uint64_t refreshes = pv_ns_to_ticks(previrt_bus_time(port61->device.bus), REFRESH_HZ);

    (void)offset;
    (void)width;
    return port61->control | (refreshes & 1 ? REFRESH_TOGGLE : 0u) |
           (previrt_pit_output(port61->pit, SPEAKER_COUNTER) ? OUTPUT_2 : 0u);
}

static void port61_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_port61 *port61 = context;

    (void)offset;
    (void)width;
    port61->control = value & CONTROL_MASK;
    previrt_pit_set_gate(port61->pit, SPEAKER_COUNTER, value & GATE_2);
}

static void port61_reset(struct previrt_device *device)
{
    struct previrt_port61 *port61 = PV_CONTAINER(device, struct previrt_port61, device);

    port61->control = 0;
    previrt_pit_set_gate(port61->pit, SPEAKER_COUNTER, 0);
}

int previrt_port61_init(struct previrt_port61 *port61, struct previrt_bus *bus,
                        struct previrt_pit *pit)
{
    static const struct previrt_device_ops ops = {.name = "port61", .reset = port61_reset};
    static const struct previrt_range_ops range_ops = {.read = port61_read, .write = port61_write};

    *port61 = (struct previrt_port61){.device.ops = &ops, .pit = pit};
    pv_range(&port61->range, PREVIRT_SPACE_PORT, PORT61, 1, PREVIRT_WIDTH_8, &range_ops, port61);
    return previrt_bus_attach(bus, &port61->device, &port61->range, 1);
}
