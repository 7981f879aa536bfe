/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PC: every device model, on one bus.
 */
#include "internal.h"

int previrt_pc_init(struct previrt_pc *pc, const struct previrt_pc_config *config)
{
    struct previrt_uart_config com1 = config->com1;
    struct previrt_bus *bus = &pc->bus;
    int status;

    if (com1.port == 0 && com1.irq == 0) {
        com1.port = PREVIRT_COM1_PORT;
        com1.irq = PREVIRT_COM1_IRQ;
    }
    previrt_bus_init(bus, &config->host);
    if ((status = previrt_pic_init(&pc->pic, bus)) != PREVIRT_OK ||
        (status = previrt_pit_init(&pc->pit, bus)) != PREVIRT_OK ||
        (status = previrt_rtc_init(&pc->rtc, bus, &config->rtc)) != PREVIRT_OK ||
        (status = previrt_i8042_init(&pc->kbc, bus)) != PREVIRT_OK ||
        (status = previrt_pci_init(&pc->pci, bus)) != PREVIRT_OK ||
        (status = previrt_port61_init(&pc->port61, bus, &pc->pit)) != PREVIRT_OK ||
        (status = previrt_port92_init(&pc->port92, bus)) != PREVIRT_OK ||
        (status = previrt_port80_init(&pc->port80, bus)) != PREVIRT_OK ||
        (status = previrt_uart_init(&pc->com1, bus, &com1)) != PREVIRT_OK)
        return status;
    if (config->debug_exit_port == 0)
        return PREVIRT_OK;
    return previrt_debug_exit_init(&pc->debug_exit, bus, config->debug_exit_port);
}
