/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PC16550D serial port.
 *
 * Sections cited are those of National's PC16550D data sheet (TL/C/8652). Sending takes no time:
 * the transmitter is always empty when the guest looks, and what it sent collects in a batch that
 * goes to the VMM in one call, since with a hypervisor below each call is what costs. Receiving is
 * as fast as the VMM delivers; only the character timeout follows the baud rate.
 */
#include "internal.h"

#define UART_PORTS 8

/* Table II, "Summary of registers" */
enum {
    DATA = 0, /* RBR and THR; DLL with DLAB */
    IER = 1,  /* DLM with DLAB */
    IIR = 2,  /* read; FCR write */
    LCR = 3,
    MCR = 4,
    LSR = 5,
    MSR = 6,
    SCR = 7
};

/* 8.5 "Interrupt enable register" */
#define IER_RDA   0x01 /* received data available, character timeout */
#define IER_THRE  0x02
#define IER_LINE  0x04
#define IER_MODEM 0x08
#define IER_MASK  0x0f
/* 8.6 "Interrupt identification register", Table IV in order of priority */
#define IIR_LINE    0x06
#define IIR_RDA     0x04
#define IIR_TIMEOUT 0x0c
#define IIR_THRE    0x02
#define IIR_MODEM   0x00
#define IIR_NONE    0x01
#define IIR_FIFOS   0xc0
/* 8.4 "FIFO control register" */
#define FCR_ENABLE        0x01
#define FCR_CLEAR_RX      0x02
#define FCR_CLEAR_TX      0x04
#define FCR_DMA           0x08
#define FCR_TRIGGER_SHIFT 6
/* 8.1 "Line control register" */
#define LCR_WORD_LENGTH 0x03 /* 5 to 8 bits */
#define LCR_STOP_BITS   0x04
#define LCR_PARITY      0x08
#define LCR_BREAK       0x40
#define LCR_DLAB        0x80
/* 8.7 "Modem control register" */
#define MCR_DTR  0x01
#define MCR_RTS  0x02
#define MCR_OUT1 0x04
#define MCR_OUT2 0x08
#define MCR_LOOP 0x10
#define MCR_MASK 0x1f
/* 8.3 "Line status register" */
#define LSR_DR         0x01
#define LSR_OE         0x02
#define LSR_CHARACTER  (PREVIRT_UART_PARITY | PREVIRT_UART_FRAMING | PREVIRT_UART_BREAK)
#define LSR_ERRORS     (LSR_OE | LSR_CHARACTER)
#define LSR_THRE       0x20
#define LSR_TEMT       0x40
#define LSR_FIFO_ERROR 0x80
/* 8.8 "Modem status register" */
#define MSR_DCTS  0x01
#define MSR_DDSR  0x02
#define MSR_TERI  0x04
#define MSR_DDCD  0x08
#define MSR_LINES 0xf0

#define DIVISOR_9600 12 /* what firmware leaves */

/* 1.8432 MHz / 16: one bit at divisor 1 takes 78125 / 9 ns. */
#define BIT_NS_NUMERATOR   78125u
#define BIT_NS_DENOMINATOR 9u
#define TIMEOUT_CHARACTERS 4

static bool fifos_enabled(const struct previrt_uart *uart)
{
    return uart->fcr & FCR_ENABLE;
}

static bool in_loopback(const struct previrt_uart *uart)
{
    return uart->mcr & MCR_LOOP;
}

static unsigned trigger_level(const struct previrt_uart *uart)
{
    static const uint8_t levels[] = {1, 4, 8, 14};

    return fifos_enabled(uart) ? levels[uart->fcr >> FCR_TRIGGER_SHIFT] : 1;
}

/* --- Interrupts --- */

/* The interrupt of highest priority that is enabled and pending. */
static uint8_t identify(const struct previrt_uart *uart)
{
    if ((uart->ier & IER_LINE) && uart->errors)
        return IIR_LINE;
    if ((uart->ier & IER_RDA) && uart->rx_count >= trigger_level(uart))
        return IIR_RDA;
    if ((uart->ier & IER_RDA) && uart->timeout)
        return IIR_TIMEOUT;
    if ((uart->ier & IER_THRE) && uart->thre_interrupt)
        return IIR_THRE;
    if ((uart->ier & IER_MODEM) && uart->msr_delta)
        return IIR_MODEM;
    return IIR_NONE;
}

/* On a PC OUT2 gates the interrupt line; in loopback the pin is forced inactive (8.7). */
static void update_irq(struct previrt_uart *uart)
{
    bool gate = (uart->mcr & MCR_OUT2) && !in_loopback(uart);

    previrt_irq_set(&uart->irq, gate && identify(uart) != IIR_NONE);
}

/* --- Receiver --- */

/* 8.11 "FIFO interrupt mode operation": four character times without a character coming in or being
 * read, while the FIFO holds one. */
static void restart_timeout(struct previrt_uart *uart)
{
    unsigned bits = 1 + 5 + (uart->lcr & LCR_WORD_LENGTH) + (uart->lcr & LCR_PARITY ? 1 : 0) +
                    (uart->lcr & LCR_STOP_BITS ? 2 : 1);
    uint32_t divisor = (uint32_t)uart->dlm << 8 | uart->dll, unused;

    uart->timeout = false;
    uart->timeout_at = PREVIRT_NEVER;
    if (fifos_enabled(uart) && uart->rx_count > 0) {
        uint64_t character = (uint64_t)bits * (divisor ? divisor : 1) * BIT_NS_NUMERATOR;

        uart->timeout_at = previrt_bus_time(uart->device.bus) +
                           pv_divide(TIMEOUT_CHARACTERS * character, BIT_NS_DENOMINATOR, &unused);
    }
    previrt_bus_deadline_changed(uart->device.bus);
}

/* 8.3: a character's errors are revealed when it comes to the top of the FIFO. */
static void reveal_errors(struct previrt_uart *uart)
{
    if (uart->rx_count == 0)
        return;
    uart->errors |= uart->rx_error[uart->rx_first];
    uart->rx_error[uart->rx_first] = 0;
}

static void receive(struct previrt_uart *uart, uint8_t character, uint8_t errors)
{
    unsigned capacity = fifos_enabled(uart) ? PREVIRT_UART_FIFO : 1;
    unsigned place = (uart->rx_first + uart->rx_count) % PREVIRT_UART_FIFO;

    if (uart->rx_count == capacity) {
        /* 8.3, bit 1: without FIFOs the new character replaces the old, with them it is lost. */
        uart->errors |= LSR_OE;
        if (fifos_enabled(uart))
            return;
        place = uart->rx_first;
        uart->rx_count = 0;
    }
    uart->rx_data[place] = character;
    uart->rx_error[place] = errors & LSR_CHARACTER;
    if (++uart->rx_count == 1)
        reveal_errors(uart);
    restart_timeout(uart);
}

static uint8_t read_data(struct previrt_uart *uart)
{
    uint8_t character =
        uart->rx_data[uart->rx_first]; /* an empty buffer gives the last one again */

    if (uart->rx_count == 0)
        return character;
    uart->rx_count--;
    if (uart->rx_count > 0 || fifos_enabled(uart))
        uart->rx_first = (uart->rx_first + 1) % PREVIRT_UART_FIFO;
    reveal_errors(uart);
    restart_timeout(uart);
    update_irq(uart);
    if (uart->config.receive_room)
        uart->config.receive_room(uart->config.context);
    return character;
}

static void clear_receiver(struct previrt_uart *uart)
{
    uart->rx_count = 0;
    for (unsigned i = 0; i < PREVIRT_UART_FIFO; i++)
        uart->rx_error[i] = 0;
    restart_timeout(uart);
}

static uint8_t line_status(const struct previrt_uart *uart)
{
    uint8_t status = LSR_THRE | LSR_TEMT | uart->errors, errors = uart->errors & LSR_CHARACTER;

    if (uart->rx_count > 0)
        status |= LSR_DR;
    for (unsigned i = 0; i < uart->rx_count; i++)
        errors |= uart->rx_error[(uart->rx_first + i) % PREVIRT_UART_FIFO];
    if (fifos_enabled(uart) && errors)
        status |= LSR_FIFO_ERROR;
    return status;
}

size_t previrt_uart_receive(struct previrt_uart *uart, const uint8_t *data, size_t length)
{
    unsigned capacity = fifos_enabled(uart) ? PREVIRT_UART_FIFO : 1;
    size_t taken = 0;

    if (in_loopback(uart)) /* SIN is disconnected */
        return 0;
    while (taken < length && uart->rx_count < capacity)
        receive(uart, data[taken++], 0);
    update_irq(uart);
    return taken;
}

void previrt_uart_receive_raw(struct previrt_uart *uart, uint8_t character, uint8_t errors)
{
    if (in_loopback(uart))
        return;
    receive(uart, character, errors);
    update_irq(uart);
}

/* --- Transmitter --- */

static void uart_flush(struct previrt_device *device)
{
    struct previrt_uart *uart = PV_CONTAINER(device, struct previrt_uart, device);
    size_t length = uart->batch_length;

    uart->batch_length = 0;
    if (uart->flush_at != PREVIRT_NEVER) {
        uart->flush_at = PREVIRT_NEVER;
        previrt_bus_deadline_changed(device->bus);
    }
    if (length > 0 && uart->config.transmit)
        uart->config.transmit(uart->config.context, uart->batch, length);
}

static void send(struct previrt_uart *uart, uint8_t character)
{
    if (in_loopback(uart)) {
        unsigned unused_bits = 3 - (uart->lcr & LCR_WORD_LENGTH);

        receive(uart, (uint8_t)(character & 0xff >> unused_bits), 0);
        return;
    }
    if (uart->batch_length == 0 && uart->config.flush_delay) {
        uart->flush_at = previrt_bus_time(uart->device.bus) + uart->config.flush_delay;
        previrt_bus_deadline_changed(uart->device.bus);
    }
    uart->batch[uart->batch_length++] = character;
    if (uart->batch_length == PREVIRT_UART_BATCH)
        uart_flush(&uart->device);
}

static void write_data(struct previrt_uart *uart, uint8_t character)
{
    send(uart, character);
    uart->thre_interrupt = true; /* written, and empty again */
    update_irq(uart);
}

/* --- Modem lines --- */

/* 8.8; in loopback the modem control outputs are what the inputs see (8.7). */
static uint8_t modem_lines(const struct previrt_uart *uart)
{
    if (!in_loopback(uart))
        return uart->modem;
    return (uint8_t)((uart->mcr & MCR_RTS ? PREVIRT_UART_CTS : 0) |
                     (uart->mcr & MCR_DTR ? PREVIRT_UART_DSR : 0) |
                     (uart->mcr & MCR_OUT1 ? PREVIRT_UART_RI : 0) |
                     (uart->mcr & MCR_OUT2 ? PREVIRT_UART_DCD : 0));
}

static void note_modem_changes(struct previrt_uart *uart, uint8_t before)
{
    uint8_t after = modem_lines(uart), changed = before ^ after;

    if (changed & PREVIRT_UART_CTS)
        uart->msr_delta |= MSR_DCTS;
    if (changed & PREVIRT_UART_DSR)
        uart->msr_delta |= MSR_DDSR;
    if (changed & before & PREVIRT_UART_RI) /* the trailing edge only */
        uart->msr_delta |= MSR_TERI;
    if (changed & PREVIRT_UART_DCD)
        uart->msr_delta |= MSR_DDCD;
    update_irq(uart);
}

void previrt_uart_set_modem(struct previrt_uart *uart, uint8_t lines)
{
    uint8_t before = modem_lines(uart);

    uart->modem = lines & MSR_LINES;
    note_modem_changes(uart, before);
}

/* --- Registers --- */

static void write_ier(struct previrt_uart *uart, uint8_t value)
{
    /* Enabling the interrupt while the holding register is empty raises it (8.5, bit 1; drivers
     * test for this). */
    if ((value & IER_THRE) && !(uart->ier & IER_THRE))
        uart->thre_interrupt = true;
    uart->ier = value & IER_MASK;
    update_irq(uart);
}

static void write_fcr(struct previrt_uart *uart, uint8_t value)
{
    /* Bit 0: "When changing from FIFO Mode to 16450 Mode and vice versa, data is automatically
     * cleared from the FIFOs. This bit must be a 1 when other FCR bits are written to." */
    if ((value ^ uart->fcr) & FCR_ENABLE) {
        uart->fcr = value & FCR_ENABLE;
        clear_receiver(uart);
    }
    if (value & FCR_ENABLE) {
        if (value & FCR_CLEAR_RX)
            clear_receiver(uart);
        uart->fcr = value & (uint8_t) ~(FCR_CLEAR_RX | FCR_CLEAR_TX);
    }
    update_irq(uart);
}

static void write_lcr(struct previrt_uart *uart, uint8_t value)
{
    bool begins = (value & LCR_BREAK) && !(uart->lcr & LCR_BREAK);

    uart->lcr = value;
    if (begins && in_loopback(uart)) { /* the receiver sees what the transmitter sends */
        receive(uart, 0, PREVIRT_UART_BREAK);
        update_irq(uart);
    }
}

static void write_mcr(struct previrt_uart *uart, uint8_t value)
{
    uint8_t before = modem_lines(uart);

    uart->mcr = value & MCR_MASK;
    note_modem_changes(uart, before);
}

static void uart_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_uart *uart = context;
    bool dlab = uart->lcr & LCR_DLAB;
    uint8_t byte = (uint8_t)value;

    (void)width;
    switch (offset) {
    case DATA:
        if (dlab)
            uart->dll = byte;
        else
            write_data(uart, byte);
        break;
    case IER:
        if (dlab)
            uart->dlm = byte;
        else
            write_ier(uart, byte);
        break;
    case IIR:
        write_fcr(uart, byte);
        break;
    case LCR:
        write_lcr(uart, byte);
        break;
    case MCR:
        write_mcr(uart, byte);
        break;
    case SCR:
        uart->scr = byte;
        break;
    default: /* LSR is for factory testing (8.3); MSR takes no writes here */
        break;
    }
}

static void uart_run(struct previrt_device *device, uint64_t now)
{
    struct previrt_uart *uart = PV_CONTAINER(device, struct previrt_uart, device);

    if (now >= uart->timeout_at) {
        uart->timeout_at = PREVIRT_NEVER;
        uart->timeout = true;
        update_irq(uart);
    }
    if (now >= uart->flush_at)
        uart_flush(device);
}

static uint8_t read_iir(struct previrt_uart *uart)
{
    uint8_t id = identify(uart);

    if (id == IIR_THRE) { /* Table IV: "reading the IIR (if source of interrupt)" */
        uart->thre_interrupt = false;
        update_irq(uart);
    }
    return (uint8_t)(id | (fifos_enabled(uart) ? IIR_FIFOS : 0));
}

static uint32_t uart_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_uart *uart = context;
    bool dlab = uart->lcr & LCR_DLAB;
    uint8_t value;

    (void)width;
    if (uart->timeout_at != PREVIRT_NEVER)
        uart_run(&uart->device, previrt_bus_time(uart->device.bus));
    switch (offset) {
    case DATA:
        return dlab ? uart->dll : read_data(uart);
    case IER:
        return dlab ? uart->dlm : uart->ier;
    case IIR:
        return read_iir(uart);
    case LCR:
        return uart->lcr;
    case MCR:
        return uart->mcr;
    case LSR:
        value = line_status(uart);
        uart->errors = 0;
        update_irq(uart);
        return value;
    case MSR:
        value = modem_lines(uart) | uart->msr_delta;
        uart->msr_delta = 0;
        update_irq(uart);
        return value;
    default:
        return uart->scr;
    }
}

/* rep outsb to the transmitter: the common case needs no look at the state for each byte. */
static void uart_write_string(void *context, uint32_t offset, unsigned width, const void *buffer,
                              size_t count)
{
    struct previrt_uart *uart = context;
    const uint8_t *bytes = buffer;

    if (offset != DATA || (uart->lcr & LCR_DLAB)) {
        for (; count > 0; count--)
            uart_write(context, offset, width, *bytes++);
        return;
    }
    if (count == 0)
        return;
    for (; count > 0; count--)
        send(uart, *bytes++);
    uart->thre_interrupt = true;
    update_irq(uart);
}

static uint64_t uart_deadline(struct previrt_device *device)
{
    struct previrt_uart *uart = PV_CONTAINER(device, struct previrt_uart, device);
    uint64_t timeout = uart->ier & IER_RDA ? uart->timeout_at : PREVIRT_NEVER;

    return timeout < uart->flush_at ? timeout : uart->flush_at;
}

/* Table III, "UART reset configuration": the data and divisor registers keep what they hold. */
static void uart_reset(struct previrt_device *device)
{
    struct previrt_uart *uart = PV_CONTAINER(device, struct previrt_uart, device);

    uart->ier = uart->lcr = uart->mcr = uart->fcr = 0;
    uart->errors = uart->msr_delta = 0;
    uart->thre_interrupt = false;
    uart->rx_first = 0;
    clear_receiver(uart);
    update_irq(uart);
}

int previrt_uart_init(struct previrt_uart *uart, struct previrt_bus *bus,
                      const struct previrt_uart_config *config)
{
    static const struct previrt_device_ops ops = {.name = "uart_16550",
                                                  .reset = uart_reset,
                                                  .run = uart_run,
                                                  .deadline = uart_deadline,
                                                  .flush = uart_flush};
    static const struct previrt_range_ops range_ops = {
        .read = uart_read, .write = uart_write, .write_string = uart_write_string};
    int status;

    *uart = (struct previrt_uart){.device.ops = &ops, .config = *config};
    status = previrt_irq_connect(&uart->irq, bus, config->irq);
    if (status != PREVIRT_OK)
        return status;
    uart->timeout_at = uart->flush_at = PREVIRT_NEVER;
    uart->modem = PREVIRT_UART_CTS | PREVIRT_UART_DSR | PREVIRT_UART_DCD;
    uart->dll = DIVISOR_9600;
    pv_range(&uart->range, PREVIRT_SPACE_PORT, config->port, UART_PORTS, PREVIRT_WIDTH_8,
             &range_ops, uart);
    status = previrt_bus_attach(bus, &uart->device, &uart->range, 1);
    if (status != PREVIRT_OK)
        return status;
    uart_reset(&uart->device);
    return PREVIRT_OK;
}
