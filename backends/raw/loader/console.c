/* SPDX-License-Identifier: BSD-2-Clause */
/* COM1, polled, and the way out of the machine. */
#include "loader.h"
#include "../ports.h"

#include <stdarg.h>

void pv_console_init(void)
{
    pv_outb(PV_COM1 + PV_UART_IER, 0);
    pv_outb(PV_COM1 + PV_UART_LCR, PV_UART_LCR_DLAB);
    pv_outb(PV_COM1 + PV_UART_DATA, PV_UART_DIVISOR_115200);
    pv_outb(PV_COM1 + PV_UART_IER, 0); /* high byte of the divisor */
    pv_outb(PV_COM1 + PV_UART_LCR, PV_UART_LCR_8N1);
    pv_outb(PV_COM1 + PV_UART_FCR, PV_UART_FCR_ENABLE);
}

static void put(char c)
{
    if (c == '\n')
        pv_putc('\r');
    pv_putc(c);
}

static void put_number(uint32_t value, uint32_t base)
{
    char digits[10];
    unsigned n = 0;

    do {
        digits[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    while (n)
        put(digits[--n]);
}

static void print(const char *format, va_list arguments)
{
    for (; *format; format++) {
        if (*format != '%') {
            put(*format);
            continue;
        }
        switch (*++format) {
        case 's':
            for (const char *s = va_arg(arguments, const char *); *s; s++)
                put(*s);
            break;
        case 'c':
            put((char)va_arg(arguments, int));
            break;
        case 'u':
            put_number(va_arg(arguments, uint32_t), 10);
            break;
        case 'x':
            put_number(va_arg(arguments, uint32_t), 16);
            break;
        default:
            put('%');
            break;
        }
    }
}

void pv_print(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
}

void pv_refuse(enum previrt_raw_exit status, const char *format, ...)
{
    va_list arguments;

    pv_print("previrt-raw: refused: ");
    va_start(arguments, format);
    print(format, arguments);
    va_end(arguments);
    pv_print("\n");
    pv_stop(status);
}
