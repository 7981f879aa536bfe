/* SPDX-License-Identifier: BSD-2-Clause */
/* The 16550, against National's data sheet and Linux' 8250 driver. */
#include "device_test.h"

#define COM(n) ((uint16_t)(PREVIRT_COM1_PORT + (n)))

enum { RBR = 0, THR = 0, IER = 1, IIR = 2, FCR = 2, LCR = 3, MCR = 4, LSR = 5, MSR = 6, SCR = 7 };

#define DLAB      0x80
#define LOOP      0x10
#define OUT2      0x08
#define DR        0x01
#define OE        0x02
#define THRE_TEMT 0x60

static uint8_t get(struct machine *m, unsigned reg)
{
    return inb(m, COM(reg));
}

static void put(struct machine *m, uint8_t value, unsigned reg)
{
    outb(m, value, COM(reg));
}

static size_t receive(struct machine *m, const char *text)
{
    return previrt_uart_receive(&m->pc.com1, (const uint8_t *)text, strlen(text));
}

static void enable_irq4(struct machine *m)
{
    static const uint8_t writes[][2] = {
        {0x11, 0x20}, {0x30, 0x21}, {0x04, 0x21}, {0x03, 0x21}, {0xef, 0x21}};

    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        outb(m, writes[i][0], writes[i][1]);
}

static void check_sent(struct machine *m, const char *text)
{
    previrt_bus_flush(&m->pc.bus);
    assert_int_equal(m->sent_length, strlen(text));
    assert_memory_equal(m->sent, text, strlen(text));
}

static void reset_values_are_table_iii(void **state)
{
    struct machine *m = *state;

    assert_int_equal(get(m, IER), 0);
    assert_int_equal(get(m, IIR), 0x01);
    assert_int_equal(get(m, LCR), 0);
    assert_int_equal(get(m, MCR), 0);
    assert_int_equal(get(m, LSR), THRE_TEMT);
    assert_int_equal(get(m, MSR), 0xb0); /* a terminal is there; nothing has changed */
}

static void registers_keep_their_writable_bits(void **state)
{
    struct machine *m = *state;

    put(m, 0xff, IER);
    assert_int_equal(get(m, IER), 0x0f);
    put(m, 0xff, MCR);
    assert_int_equal(get(m, MCR), 0x1f);
    put(m, 0, MCR);
    put(m, 0xa5, SCR);
    assert_int_equal(get(m, SCR), 0xa5);
    put(m, 0x7f, LCR);
    assert_int_equal(get(m, LCR), 0x7f);
    put(m, 0xff, LSR); /* read-only */
    assert_int_equal(get(m, LSR), THRE_TEMT);
    put(m, 0xff, MSR);
    get(m, MSR);
    assert_int_equal(get(m, MSR), 0xb0);
}

static void the_divisor_latch_hides_data_and_ier(void **state)
{
    struct machine *m = *state;

    put(m, 0x05, IER);
    put(m, DLAB | 0x03, LCR);
    assert_int_equal(get(m, 0), 12);
    put(m, 0x34, 0);
    put(m, 0x12, 1);
    assert_int_equal(get(m, 0), 0x34);
    assert_int_equal(get(m, 1), 0x12);
    put(m, 0x03, LCR);
    assert_int_equal(get(m, IER), 0x05);
    check_sent(m, "");
}

static void output_is_batched_until_the_flush(void **state)
{
    struct machine *m = *state;
    const char *text = "Linux version";

    for (const char *c = text; *c; c++)
        put(m, (uint8_t)*c, THR);
    assert_int_equal(m->sends, 0);
    assert_int_equal(get(m, LSR), THRE_TEMT);
    check_sent(m, text);
    assert_int_equal(m->sends, 1);
    previrt_bus_flush(&m->pc.bus);
    assert_int_equal(m->sends, 1);
}

static void a_full_batch_goes_by_itself(void **state)
{
    struct machine *m = *state;

    for (unsigned i = 0; i < 2 * PREVIRT_UART_BATCH + 10; i++)
        put(m, (uint8_t)i, THR);
    assert_int_equal(m->sends, 2);
    previrt_bus_flush(&m->pc.bus);
    assert_int_equal(m->sent_length, 2 * PREVIRT_UART_BATCH + 10);
    for (unsigned i = 0; i < m->sent_length; i++)
        assert_int_equal(m->sent[i], (uint8_t)i);
}

static void string_output_is_the_same_output(void **state)
{
    struct machine *m = *state;
    uint8_t text[1000];

    for (unsigned i = 0; i < sizeof(text); i++)
        text[i] = (uint8_t)(i * 7);
    enable_irq4(m);
    put(m, OUT2, MCR);
    put(m, 0x02, IER);
    get(m, IIR);
    m->interrupts = 0;
    previrt_port_out_string(&m->pc.bus, COM(THR), 1, text, sizeof(text));
    assert_int_equal(m->interrupts, 1);
    previrt_bus_flush(&m->pc.bus);
    assert_int_equal(m->sent_length, sizeof(text));
    assert_memory_equal(m->sent, text, sizeof(text));
    assert_int_equal(m->sends, (sizeof(text) + PREVIRT_UART_BATCH - 1) / PREVIRT_UART_BATCH);
    /* To other registers and widths the string is a series of accesses. */
    previrt_port_out_string(&m->pc.bus, COM(SCR), 1, text, 3);
    assert_int_equal(get(m, SCR), text[2]);
    put(m, DLAB, LCR);
    previrt_port_out_string(&m->pc.bus, COM(0), 1, text, 2);
    assert_int_equal(get(m, 0), text[1]);
    put(m, 0, LCR);
    previrt_port_out_string(&m->pc.bus, COM(THR), 1, text, 0);
}

static void the_flush_delay_is_a_deadline(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct previrt_uart_config config = {.port = PREVIRT_COM2_PORT,
                                         .irq = PREVIRT_COM2_IRQ,
                                         .flush_delay = 5 * NS_PER_MS,
                                         .context = m,
                                         .transmit = host_transmit};

    (void)state;
    previrt_bus_init(&m->pc.bus, NULL);
    assert_int_equal(previrt_uart_init(&m->pc.com1, &m->pc.bus, &config), PREVIRT_OK);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
    previrt_bus_set_time(&m->pc.bus, NS_PER_MS);
    outb(m, 'a', PREVIRT_COM2_PORT);
    previrt_bus_set_time(&m->pc.bus, 2 * NS_PER_MS);
    outb(m, 'b', PREVIRT_COM2_PORT);
    assert_true(previrt_bus_deadline(&m->pc.bus) == 6 * NS_PER_MS); /* from the first */
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->sends, 0);
    previrt_bus_set_time(&m->pc.bus, 6 * NS_PER_MS);
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->sends, 1);
    assert_memory_equal(m->sent, "ab", 2);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
    config.irq = PREVIRT_IRQ_LINES;
    assert_int_equal(previrt_uart_init(&m->pc.com1, &m->pc.bus, &config), PREVIRT_E_INVALID);
    free(m);
}

static void without_fifos_one_character_is_taken(void **state)
{
    struct machine *m = *state;

    assert_int_equal(receive(m, "abc"), 1);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR);
    assert_int_equal(receive(m, "bc"), 0);
    assert_int_equal(get(m, RBR), 'a');
    assert_int_equal(m->room_calls, 1);
    assert_int_equal(get(m, LSR), THRE_TEMT);
    assert_int_equal(receive(m, "bc"), 1);
    assert_int_equal(get(m, RBR), 'b');
    assert_int_equal(get(m, RBR), 'b'); /* the buffer still holds it */
    assert_int_equal(m->room_calls, 2);
}

static void with_fifos_sixteen_are(void **state)
{
    struct machine *m = *state;

    put(m, 0x01, FCR);
    for (unsigned round = 0; round < 3; round++) { /* also where the ring wraps */
        assert_int_equal(receive(m, "0123456789abcdefgh"), 16);
        for (unsigned i = 0; i < 5; i++)
            assert_int_equal(get(m, RBR), "01234"[i]);
        assert_int_equal(receive(m, "ghijklmn"), 5);
        for (unsigned i = 0; i < 16; i++)
            assert_int_equal(get(m, RBR), "56789abcdefghijk"[i]);
        assert_int_equal(get(m, LSR), THRE_TEMT);
    }
}

static void an_overrun_is_reported_once(void **state)
{
    struct machine *m = *state;

    previrt_uart_receive_raw(&m->pc.com1, 'a', 0);
    previrt_uart_receive_raw(&m->pc.com1, 'b', 0);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR | OE);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR);
    assert_int_equal(get(m, RBR), 'b'); /* without FIFOs the new one replaces the old */
    put(m, 0x01, FCR);
    for (unsigned i = 0; i < 18; i++)
        previrt_uart_receive_raw(&m->pc.com1, (uint8_t)('a' + i), 0);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR | OE);
    for (unsigned i = 0; i < 16; i++)
        assert_int_equal(get(m, RBR), 'a' + i); /* with them the new ones are lost */
    assert_int_equal(get(m, LSR), THRE_TEMT);
}

static void errors_travel_with_their_character(void **state)
{
    struct machine *m = *state;

    put(m, 0x01, FCR);
    previrt_uart_receive_raw(&m->pc.com1, 'a', 0);
    previrt_uart_receive_raw(&m->pc.com1, 'b', PREVIRT_UART_PARITY);
    previrt_uart_receive_raw(&m->pc.com1, 0, PREVIRT_UART_BREAK | PREVIRT_UART_FRAMING);
    assert_int_equal(get(m, LSR), 0x80 | THRE_TEMT | DR); /* one somewhere in the FIFO */
    get(m, RBR);
    assert_int_equal(get(m, LSR), 0x80 | THRE_TEMT | PREVIRT_UART_PARITY | DR);
    assert_int_equal(get(m, LSR), 0x80 | THRE_TEMT | DR); /* the break is still to come */
    get(m, RBR);
    assert_int_equal(get(m, LSR), 0x80 | THRE_TEMT | 0x18 | DR);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR);
    get(m, RBR);
    put(m, 0x00, FCR); /* 16450 mode has no bit 7 */
    previrt_uart_receive_raw(&m->pc.com1, 'x', PREVIRT_UART_FRAMING | 0xe3);
    assert_int_equal(get(m, LSR), THRE_TEMT | PREVIRT_UART_FRAMING | DR);
}

static void fcr_clears_and_switches(void **state)
{
    struct machine *m = *state;

    put(m, 0xc0, FCR); /* without bit 0 the others are not programmed */
    assert_int_equal(get(m, IIR), 0x01);
    put(m, 0xc1, FCR);
    assert_int_equal(get(m, IIR), 0xc1);
    receive(m, "abc");
    put(m, 0xc1 | 0x02, FCR); /* clear the receiver */
    assert_int_equal(get(m, LSR), THRE_TEMT);
    receive(m, "abc");
    put(m, 0xc1 | 0x04, FCR); /* the transmitter: the receiver stays */
    assert_int_equal(get(m, LSR), THRE_TEMT | DR);
    put(m, 0x00, FCR); /* a change of mode clears both */
    assert_int_equal(get(m, LSR), THRE_TEMT);
    assert_int_equal(get(m, IIR), 0x01);
}

static void interrupts_have_priorities(void **state)
{
    struct machine *m = *state;

    enable_irq4(m);
    put(m, OUT2, MCR);
    put(m, 0x0f, IER);
    previrt_uart_set_modem(&m->pc.com1, 0);
    previrt_uart_receive_raw(&m->pc.com1, 'a', PREVIRT_UART_PARITY);
    assert_int_equal(m->interrupt, 1);
    assert_int_equal(get(m, IIR), 0x06); /* line status */
    assert_int_equal(get(m, IIR), 0x06); /* reading it there is no answer */
    get(m, LSR);
    assert_int_equal(get(m, IIR), 0x04); /* received data */
    get(m, RBR);
    assert_int_equal(get(m, IIR), 0x02); /* transmitter empty: reading it is */
    assert_int_equal(get(m, IIR), 0x00); /* modem status */
    assert_int_equal(get(m, MSR), 0x0b);
    assert_int_equal(get(m, IIR), 0x01);
    assert_int_equal(m->pc.bus.irq_asserted[PREVIRT_COM1_IRQ], 0);
}

static void each_enable_gates_its_interrupt(void **state)
{
    struct machine *m = *state;

    previrt_uart_set_modem(&m->pc.com1, 0);
    previrt_uart_receive_raw(&m->pc.com1, 'a', PREVIRT_UART_FRAMING);
    assert_int_equal(get(m, IIR), 0x01);
    put(m, 0x01, IER);
    assert_int_equal(get(m, IIR), 0x04);
    put(m, 0x02, IER);
    assert_int_equal(get(m, IIR), 0x02);
    put(m, 0x04, IER);
    assert_int_equal(get(m, IIR), 0x06);
    put(m, 0x08, IER);
    assert_int_equal(get(m, IIR), 0x00);
}

static void out2_gates_the_line(void **state)
{
    struct machine *m = *state;
    const uint8_t *line = &m->pc.bus.irq_asserted[PREVIRT_COM1_IRQ];

    put(m, 0x02, IER);
    assert_int_equal(*line, 0);
    put(m, OUT2, MCR);
    assert_int_equal(*line, 1);
    put(m, OUT2 | LOOP, MCR); /* in loopback the pin is inactive */
    assert_int_equal(*line, 0);
    put(m, OUT2, MCR);
    assert_int_equal(*line, 1);
    get(m, IIR);
    assert_int_equal(*line, 0);
}

static void the_trigger_level_holds_the_interrupt_back(void **state)
{
    static const unsigned levels[] = {1, 4, 8, 14};
    struct machine *m = *state;

    put(m, 0x01, IER);
    for (unsigned i = 0; i < 4; i++) {
        put(m, (uint8_t)(i << 6 | 0x03), FCR);
        for (unsigned n = 1; n <= 16; n++) {
            assert_int_equal(receive(m, "x"), 1);
            assert_int_equal(get(m, IIR), n >= levels[i] ? 0xc4 : 0xc1);
        }
        for (unsigned n = 16; n > 1; n--) {
            get(m, RBR);
            assert_int_equal(get(m, IIR), n - 1 >= levels[i] ? 0xc4 : 0xc1);
        }
    }
}

static void the_character_timeout_follows_the_baud_rate(void **state)
{
    static const struct {
        uint8_t lcr;
        unsigned divisor;
        uint64_t ns; /* four characters */
    } cases[] = {{0x03, 12, 4166666}, {0x03, 1, 347222}, {0x0f, 96, 40000000}, {0x00, 1, 243055}};
    struct machine *m = *state;

    enable_irq4(m);
    put(m, OUT2, MCR);
    put(m, 0x01, IER);
    for (unsigned i = 0; i < 4; i++) {
        put(m, DLAB, LCR);
        put(m, (uint8_t)cases[i].divisor, 0);
        put(m, (uint8_t)(cases[i].divisor >> 8), 1);
        put(m, cases[i].lcr, LCR);
        put(m, 0xc3, FCR); /* trigger at 14 */
        receive(m, "a");
        pass(m, cases[i].ns / 2);
        receive(m, "b"); /* starts it again */
        assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + cases[i].ns);
        pass(m, cases[i].ns - 1);
        assert_int_equal(get(m, IIR), 0xc1);
        m->interrupts = 0;
        pass(m, 1);
        assert_int_equal(m->interrupts, 1);
        previrt_pic_acknowledge(&m->pc.pic);
        assert_int_equal(get(m, IIR), 0xcc);
        get(m, RBR); /* clears it, and starts it again for the other */
        assert_int_equal(get(m, IIR), 0xc1);
        m->clock += cases[i].ns; /* found by a read alone, before the VMM's timer */
        assert_int_equal(get(m, IIR), 0xcc);
        get(m, RBR);
        assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
        previrt_bus_run(&m->pc.bus);
        assert_int_equal(get(m, IIR), 0xc1);
    }
}

static void thre_interrupts_as_drivers_expect(void **state)
{
    struct machine *m = *state;

    /* serial8250_do_startup()'s test for UARTs that do not raise it again */
    put(m, 0x02, IER);
    assert_int_equal(get(m, IIR) & 0x0f, 0x02);
    put(m, 0x00, IER);
    put(m, 0x02, IER);
    assert_int_equal(get(m, IIR) & 0x0f, 0x02);
    assert_int_equal(get(m, IIR) & 0x0f, 0x01);
    put(m, 0x02, IER); /* enabled already: nothing new */
    assert_int_equal(get(m, IIR) & 0x0f, 0x01);
    put(m, 'x', THR); /* sent at once: empty again */
    assert_int_equal(get(m, IIR) & 0x0f, 0x02);
}

static void modem_lines_and_their_changes(void **state)
{
    struct machine *m = *state;

    previrt_uart_set_modem(&m->pc.com1, PREVIRT_UART_CTS | PREVIRT_UART_RI);
    assert_int_equal(get(m, MSR), 0x50 | 0x0a); /* DSR and DCD fell; RI's rise is no event */
    assert_int_equal(get(m, MSR), 0x50);
    previrt_uart_set_modem(&m->pc.com1, 0);
    assert_int_equal(get(m, MSR), 0x05); /* CTS changed, RI fell */
    previrt_uart_set_modem(&m->pc.com1, 0xff);
    assert_int_equal(get(m, MSR), 0xf0 | 0x0b);
}

static void loopback_connects_the_outputs_to_the_inputs(void **state)
{
    static const uint8_t pairs[][2] = {{0x01, 0x20}, {0x02, 0x10}, {0x04, 0x40}, {0x08, 0x80}};
    struct machine *m = *state;

    for (unsigned i = 0; i < 4; i++) {
        put(m, (uint8_t)(LOOP | pairs[i][0]), MCR);
        assert_int_equal(get(m, MSR) & 0xf0, pairs[i][1]);
    }
    put(m, LOOP, MCR);
    assert_int_equal(get(m, MSR) & 0xf0, 0);
    put(m, 0x03, LCR);
    put(m, 0xc3, THR);
    assert_int_equal(get(m, LSR), THRE_TEMT | DR);
    assert_int_equal(get(m, RBR), 0xc3);
    put(m, 0x00, LCR); /* five bits */
    put(m, 0xff, THR);
    assert_int_equal(get(m, RBR), 0x1f);
    put(m, 0x40, LCR); /* a break */
    assert_int_equal(get(m, LSR), THRE_TEMT | PREVIRT_UART_BREAK | DR);
    assert_int_equal(get(m, RBR), 0);
    assert_int_equal(receive(m, "x"), 0); /* the line is disconnected */
    previrt_uart_receive_raw(&m->pc.com1, 'x', 0);
    assert_int_equal(get(m, LSR) & DR, 0);
    put(m, 0, MCR);
    get(m, MSR);
    assert_int_equal(get(m, MSR), 0xb0);
    check_sent(m, ""); /* nothing went out */
}

static void linux_autoconfig_finds_a_16550a(void **state)
{
    struct machine *m = *state;
    uint8_t save_mcr, save_lcr, scratch, status1, status2, iir;

    /* autoconfig() of drivers/tty/serial/8250/8250_port.c */
    scratch = get(m, IER);
    put(m, 0, IER);
    outb(m, 0xff, 0x80);
    assert_int_equal(get(m, IER) & 0x0f, 0);
    put(m, 0x0f, IER);
    outb(m, 0, 0x80);
    assert_int_equal(get(m, IER) & 0x0f, 0x0f);
    put(m, scratch, IER);
    save_mcr = get(m, MCR);
    save_lcr = get(m, LCR);
    put(m, LOOP | 0x0a, MCR);
    assert_int_equal(get(m, MSR) & 0xf0, 0x90);
    put(m, save_mcr, MCR);
    put(m, 0xbf, LCR); /* mode B: an EFR, if there is one */
    put(m, 0, 2);
    put(m, 0, LCR);
    put(m, 0x01, FCR);
    assert_int_equal(get(m, IIR) >> 6, 3);

    /* autoconfig_16550a(): not a 16650 (an EFR in mode A or B), */
    put(m, 0x80, LCR);
    assert_true(get(m, 2) != 0); /* IIR */
    put(m, 0xbf, LCR);
    assert_true(get(m, 2) != 0);
    /* not a National Super I/O (status1 is MCR's loop bit there), */
    put(m, 0, LCR);
    status1 = get(m, MCR);
    put(m, 0xe0, LCR);
    status2 = get(m, 2);
    assert_true((status2 ^ status1) & LOOP || status2 != status1);
    /* not a 16750 (bit 5 of IIR), */
    put(m, 0, LCR);
    put(m, 0x21, FCR);
    iir = get(m, IIR) >> 5;
    put(m, 0x01, FCR);
    put(m, 0x80, LCR);
    put(m, 0x21, FCR);
    assert_false(iir == 6 && get(m, IIR) >> 5 == 7);
    put(m, 0x01, FCR);
    put(m, 0, LCR);
    /* not an XScale (bit 6 of IER), */
    put(m, 0x40, IER);
    assert_int_equal(get(m, IER) & 0x40, 0);
    put(m, 0, IER);

    /* size_fifo(): sixteen bytes deep */
    put(m, 0, LCR);
    put(m, 0x01 | 0x02 | 0x04, FCR);
    put(m, LOOP, MCR);
    put(m, DLAB, LCR);
    put(m, 1, 0);
    put(m, 0, 1);
    put(m, 0x03, LCR);
    for (unsigned i = 0; i < 256; i++)
        put(m, (uint8_t)i, THR);
    m->clock += 20 * NS_PER_MS;
    status2 = 0;
    while (get(m, LSR) & DR) {
        get(m, RBR);
        status2++;
        assert_true(status2 <= 16);
    }
    assert_int_equal(status2, 16);
    put(m, save_mcr, MCR);
    put(m, save_lcr, LCR);
    /* serial8250_do_startup() */
    put(m, 0x01, FCR);
    put(m, 0x07, FCR);
    put(m, 0x00, FCR);
    get(m, LSR);
    get(m, RBR);
    get(m, IIR);
    get(m, MSR);
    assert_true(get(m, LSR) != 0xff);
    check_sent(m, "");
}

static void linux_console_prints(void **state)
{
    struct machine *m = *state;
    const char *text = "Hello\r\n";

    /* serial8250_console_write(): interrupts off, wait for both empty, a character */
    put(m, 0x00, IER);
    for (const char *c = text; *c; c++) {
        assert_int_equal(get(m, LSR) & THRE_TEMT, THRE_TEMT);
        put(m, (uint8_t)*c, THR);
    }
    assert_int_equal(get(m, LSR) & THRE_TEMT, THRE_TEMT);
    put(m, 0x05, IER);
    check_sent(m, text);
}

static void reset_loses_input_but_no_output(void **state)
{
    struct machine *m = *state;

    put(m, 0x05, IER);
    put(m, 0x01, FCR);
    put(m, 'x', THR);
    receive(m, "abc");
    previrt_bus_reset(&m->pc.bus);
    assert_int_equal(get(m, LSR), THRE_TEMT);
    assert_int_equal(get(m, IER), 0);
    check_sent(m, "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(reset_values_are_table_iii),
        machine_test(registers_keep_their_writable_bits),
        machine_test(the_divisor_latch_hides_data_and_ier),
        machine_test(output_is_batched_until_the_flush),
        machine_test(a_full_batch_goes_by_itself),
        machine_test(string_output_is_the_same_output),
        cmocka_unit_test(the_flush_delay_is_a_deadline),
        machine_test(without_fifos_one_character_is_taken),
        machine_test(with_fifos_sixteen_are),
        machine_test(an_overrun_is_reported_once),
        machine_test(errors_travel_with_their_character),
        machine_test(fcr_clears_and_switches),
        machine_test(interrupts_have_priorities),
        machine_test(each_enable_gates_its_interrupt),
        machine_test(out2_gates_the_line),
        machine_test(the_trigger_level_holds_the_interrupt_back),
        machine_test(the_character_timeout_follows_the_baud_rate),
        machine_test(thre_interrupts_as_drivers_expect),
        machine_test(modem_lines_and_their_changes),
        machine_test(loopback_connects_the_outputs_to_the_inputs),
        machine_test(linux_autoconfig_finds_a_16550a),
        machine_test(linux_console_prints),
        machine_test(reset_loses_input_but_no_output),
    };

    return cmocka_run_group_tests_name("uart_16550", tests, NULL, NULL);
}
