/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's PC: the device models, with the VMM as their host. */
#include "vmm.h"

#define CONSOLE_DELAY 2000000u /* ns that output may wait for more */

static uint64_t host_clock(void *context)
{
    struct pv_vmm *vmm = context;

    return vmm->backend.now(vmm->backend.context);
}

static void host_reset(void *context, enum previrt_reset_source source)
{
    struct pv_vmm *vmm = context;

    (void)source;
    previrt_bus_flush(&vmm->pc.bus);
    vmm->dead = 1;
    vmm->backend.power(vmm->backend.context, 0);
}

static void host_exit(void *context, uint32_t code)
{
    struct pv_vmm *vmm = context;

    previrt_bus_flush(&vmm->pc.bus);
    vmm->dead = 1;
    vmm->backend.power(vmm->backend.context, code ? (int)(code << 1 | 1) : 0);
}

static void uart_output(void *context, const uint8_t *data, size_t length)
{
    struct pv_vmm *vmm = context;

    vmm->backend.console(vmm->backend.context, (const char *)data, length);
}

void pv_devices_init(struct pv_vmm *vmm)
{
    struct previrt_pc_config config = {
        .host = {.context = vmm, .clock = host_clock, .reset = host_reset, .exit = host_exit},
        .debug_exit_port = PREVIRT_DEBUG_EXIT_PORT,
    };

    config.com1.transmit = uart_output;
    config.com1.context = vmm;
    config.com1.flush_delay = CONSOLE_DELAY;
    previrt_pc_init(&vmm->pc, &config);
}

void pv_time(struct pv_vmm *vmm)
{
    previrt_bus_run(&vmm->pc.bus);
    vmm->backend.set_deadline(vmm->backend.context, previrt_bus_deadline(&vmm->pc.bus));
}
