/* SPDX-License-Identifier: BSD-2-Clause */
/* The few I/O ports that the loader, the monitor and the test kernels use. Position-independent. */
#ifndef PV_RAW_PORTS_H
#define PV_RAW_PORTS_H

#include <previrt/raw.h>

#include <stdint.h>

/* 16550 UART (PC16550D data sheet, table II) at the PC's first serial port */
#define PV_COM1                0x3f8
#define PV_UART_DATA           0
#define PV_UART_IER            1
#define PV_UART_FCR            2
#define PV_UART_LCR            3
#define PV_UART_LSR            5
#define PV_UART_LCR_DLAB       0x80
#define PV_UART_LCR_8N1        0x03
#define PV_UART_FCR_ENABLE     0x01
#define PV_UART_LSR_THRE       0x20
#define PV_UART_DIVISOR_115200 1

static inline void pv_outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t pv_inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static inline void pv_putc(char c)
{
    /* Bounded: without a UART the port floats, and the machine must not hang here. */
    for (unsigned i = 0; i < 0x10000 && !(pv_inb(PV_COM1 + PV_UART_LSR) & PV_UART_LSR_THRE); i++)
        ;
    pv_outb(PV_COM1 + PV_UART_DATA, (uint8_t)c);
}

static inline void __attribute__((noreturn)) pv_stop(uint8_t status)
{
    __asm__ volatile("outb %0, %1" : : "a"(status), "Nd"((uint16_t)PREVIRT_RAW_EXIT_PORT));
    for (;;)
        __asm__ volatile("cli; hlt");
}

#endif
