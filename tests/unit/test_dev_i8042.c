/* SPDX-License-Identifier: BSD-2-Clause */
/* The keyboard controller without a keyboard, and what else resets or gates a PC: ports 0x92,
 * 0xcf9, 0x80 and the debug exit. */
#include "device_test.h"

#define DATA    0x60
#define STATUS  0x64
#define COMMAND 0x64

#define OBF     0x01
#define SYS     0x04
#define CMD     0x08
#define KEYLOCK 0x10
#define AUXDATA 0x20
#define TIMEOUT 0x40

static uint8_t ask(struct machine *m, uint8_t command)
{
    outb(m, command, COMMAND);
    assert_int_equal(inb(m, STATUS) & (OBF | AUXDATA), OBF);
    return inb(m, DATA);
}

static void tell(struct machine *m, uint8_t command, uint8_t value)
{
    outb(m, command, COMMAND);
    assert_int_equal(inb(m, STATUS) & CMD, CMD);
    outb(m, value, DATA);
    assert_int_equal(inb(m, STATUS) & CMD, 0);
}

static void self_test_passes(void **state)
{
    struct machine *m = *state;

    assert_int_equal(inb(m, STATUS), SYS | KEYLOCK);
    assert_int_equal(ask(m, 0xaa), 0x55);
    assert_int_equal(inb(m, STATUS), SYS | KEYLOCK | CMD);
    assert_int_equal(ask(m, 0xab), 0x00); /* the keyboard's interface is fine */
    assert_int_equal(ask(m, 0xa4), 0xf1); /* no password */
}

static void the_command_byte_and_the_ram_are_kept(void **state)
{
    struct machine *m = *state;

    tell(m, 0x60, 0x65);
    assert_int_equal(ask(m, 0x20), 0x65);
    tell(m, 0x60, 0x41); /* the system flag is the status register's */
    assert_int_equal(inb(m, STATUS) & SYS, 0);
    assert_int_equal(ask(m, 0xaa), 0x55);
    assert_int_equal(inb(m, STATUS) & SYS, SYS);
    for (unsigned i = 1; i < 32; i++)
        tell(m, (uint8_t)(0x60 + i), (uint8_t)(i * 3));
    for (unsigned i = 1; i < 32; i++)
        assert_int_equal(ask(m, (uint8_t)(0x20 + i)), i * 3);
    outb(m, 0xad, COMMAND);
    assert_int_equal(ask(m, 0x20) & 0x10, 0x10);
    outb(m, 0xae, COMMAND);
    assert_int_equal(ask(m, 0x20) & 0x10, 0);
}

static void nobody_answers_on_the_keyboards_line(void **state)
{
    struct machine *m = *state;

    outb(m, 0xad, COMMAND);
    outb(m, 0xf2, DATA); /* atkbd's "get id" */
    assert_int_equal(inb(m, STATUS) & (OBF | TIMEOUT | AUXDATA), OBF | TIMEOUT);
    assert_int_equal(inb(m, DATA), 0xfe);
    assert_int_equal(inb(m, STATUS) & (OBF | TIMEOUT), 0);
    assert_int_equal(ask(m, 0x20) & 0x10, 0); /* writing enabled the interface */
    tell(m, 0xd4, 0xff);                      /* nor on the mouse's */
    assert_int_equal(inb(m, STATUS) & (OBF | TIMEOUT), OBF | TIMEOUT);
    assert_int_equal(ask(m, 0xaa), 0x55); /* an answer has no time-out */
}

static void linux_finds_a_controller_without_aux(void **state)
{
    struct machine *m = *state;
    uint8_t first, second;

    /* i8042_controller_check(), i8042_controller_init() */
    while (inb(m, STATUS) & OBF)
        inb(m, DATA);
    first = ask(m, 0x20);
    second = ask(m, 0x20);
    assert_int_equal(first, second);
    assert_int_equal(first & 0x40, 0x40); /* translating */
    assert_int_equal(inb(m, STATUS) & KEYLOCK, KEYLOCK);
    tell(m, 0x60, (uint8_t)((first | 0x10) & ~0x01));
    /* i8042_check_aux(): the loop answers, but not as auxiliary data; the test fails */
    tell(m, 0xd3, 0x5a);
    assert_int_equal(inb(m, STATUS) & (OBF | AUXDATA), OBF);
    outb(m, 0xa9, COMMAND);
    first = inb(m, DATA);
    assert_true(first != 0 && first != 0xfa && first != 0xff);
    /* i8042_toggle_aux(): what enables the port does not */
    outb(m, 0xa8, COMMAND);
    assert_int_equal(ask(m, 0x20) & 0x20, 0x20);
    outb(m, 0xa7, COMMAND);
    assert_int_equal(ask(m, 0x20) & 0x20, 0x20);
}

static void the_interrupt_follows_the_buffer(void **state)
{
    struct machine *m = *state;
    const uint8_t *line = &m->pc.bus.irq_asserted[1];

    tell(m, 0xd2, 0x1c); /* as if from the keyboard */
    assert_int_equal(*line, 0);
    tell(m, 0x60, 0x45);
    assert_int_equal(*line, 1);
    assert_int_equal(inb(m, DATA), 0x1c);
    assert_int_equal(*line, 0);
}

static void unknown_commands_do_nothing(void **state)
{
    static const uint8_t unknown[] = {0x00, 0x1f, 0x80, 0xa0, 0xac, 0xc1, 0xd5, 0xef};
    struct machine *m = *state;

    for (size_t i = 0; i < sizeof(unknown); i++) {
        outb(m, unknown[i], COMMAND);
        assert_int_equal(inb(m, STATUS) & OBF, 0);
    }
    assert_int_equal(ask(m, 0xe0), 0);
    assert_int_equal(ask(m, 0xc0), 0x80);
    outb(m, 0xd1, COMMAND); /* a command in place of the awaited byte replaces it */
    assert_int_equal(ask(m, 0xaa), 0x55);
    outb(m, 0x00, DATA);
    assert_int_equal(m->resets, 0);
    /* ports 0x61 to 0x63 are others' */
    assert_int_equal(inb(m, 0x62), 0xff);
    assert_int_equal(inb(m, 0x65), 0xff);
}

static void linux_reboots_by_pulsing_the_reset_line(void **state)
{
    struct machine *m = *state;

    /* native_machine_emergency_restart(): BOOT_KBD */
    assert_int_equal(inb(m, STATUS) & 0x02, 0); /* kb_wait() */
    outb(m, 0xfe, COMMAND);
    assert_int_equal(m->resets, 1);
    assert_int_equal(m->reset_source, PREVIRT_RESET_KEYBOARD);
    outb(m, 0xff, COMMAND); /* pulses nothing */
    outb(m, 0xf1, COMMAND); /* pulses others */
    assert_int_equal(m->resets, 1);
    tell(m, 0xd1, 0xde); /* the output port's bit 0 */
    assert_int_equal(m->resets, 2);
    tell(m, 0xd1, 0xdf);
    assert_int_equal(m->resets, 2);
    outb(m, 0xf0, COMMAND); /* pulses all four */
    assert_int_equal(m->resets, 3);
}

static void port_92_resets_on_the_rising_bit(void **state)
{
    struct machine *m = *state;

    assert_int_equal(inb(m, 0x92), 0x02);
    outb(m, 0x03, 0x92);
    outb(m, 0xff, 0x92);
    assert_int_equal(inb(m, 0x92), 0x03);
    assert_int_equal(m->resets, 1);
    assert_int_equal(m->reset_source, PREVIRT_RESET_PORT92);
    outb(m, 0x02, 0x92);
    outb(m, 0x03, 0x92);
    assert_int_equal(m->resets, 2);
}

static void linux_reboots_by_cf9(void **state)
{
    struct machine *m = *state;
    uint8_t cf9 = inb(m, 0xcf9) & ~0x0e;

    /* native_machine_emergency_restart(): BOOT_CF9_SAFE */
    outb(m, cf9 | 2, 0xcf9);
    assert_int_equal(m->resets, 0);
    outb(m, cf9 | 0x0e, 0xcf9);
    assert_int_equal(m->resets, 1);
    assert_int_equal(m->reset_source, PREVIRT_RESET_CF9);
    outb(m, cf9 | 0x06, 0xcf9);
    assert_int_equal(m->resets, 1);
    assert_int_equal(inb(m, 0xcf9), 0x06);
}

static void a20_is_open_while_either_gate_is(void **state)
{
    struct machine *m = *state;

    assert_int_equal(m->a20_changes, 0); /* open from the start */
    outb(m, 0x00, 0x92);
    assert_int_equal(m->a20_changes, 0);
    outb(m, 0xdd, COMMAND);
    assert_int_equal(m->a20_changes, 1);
    assert_int_equal(m->a20, 0);
    assert_int_equal(ask(m, 0xd0) & 0x03, 0x01);
    tell(m, 0xd1, 0xdf);
    assert_int_equal(m->a20, 1);
    assert_int_equal(ask(m, 0xd0) & 0x03, 0x03);
    tell(m, 0xd1, 0xdd);
    assert_int_equal(m->a20, 0);
    outb(m, 0x02, 0x92);
    assert_int_equal(m->a20, 1);
    outb(m, 0x00, 0x92);
    assert_int_equal(m->a20, 0);
    outb(m, 0xdf, COMMAND);
    assert_int_equal(m->a20, 1);
    outb(m, 0xdd, COMMAND);
    previrt_bus_reset(&m->pc.bus);
    assert_int_equal(m->a20, 1);
}

static void post_codes_are_told_and_read_back(void **state)
{
    struct machine *m = *state;

    outb(m, 0x31, 0x80);
    assert_int_equal(m->post_code, 0x31);
    assert_int_equal(inb(m, 0x80), 0x31);
    assert_int_equal(inb(m, 0x81), 0xff);
}

static void the_debug_exit_gives_every_width(void **state)
{
    struct machine *m = *state;

    outb(m, 'x', PREVIRT_COM1_PORT);
    outb(m, 0x21, 0xf4);
    assert_int_equal(m->exits, 1);
    assert_int_equal(m->exit_code, 0x21);
    assert_int_equal(m->sent_length, 1); /* the output before it is out */
    previrt_port_out(&m->pc.bus, 0xf4, 2, 0x1234);
    assert_int_equal(m->exit_code, 0x1234);
    outl(m, 0xdeadbeef, 0xf4);
    assert_int_equal(m->exit_code, 0xdeadbeef);
    assert_int_equal(m->exits, 3);
    assert_int_equal(inb(m, 0xf4), 0);
}

static void a_pc_reports_ports_that_are_taken(void **state)
{
    struct previrt_pc_config config = {.debug_exit_port = 0x60};
    struct previrt_pc *pc = calloc(1, sizeof(*pc));

    (void)state;
    assert_int_equal(previrt_pc_init(pc, &config), PREVIRT_E_OVERLAP);
    config.debug_exit_port = 0;
    config.com1.port = 0x40;
    assert_int_equal(previrt_pc_init(pc, &config), PREVIRT_E_OVERLAP);
    config.com1.port = PREVIRT_COM2_PORT;
    config.com1.irq = PREVIRT_COM2_IRQ;
    assert_int_equal(previrt_pc_init(pc, &config), PREVIRT_OK);
    /* and works with a host that has no callbacks at all */
    previrt_port_out(&pc->bus, 0x64, 1, 0xfe);
    previrt_port_out(&pc->bus, 0x92, 1, 0x01);
    previrt_port_out(&pc->bus, 0x64, 1, 0xdd);
    previrt_port_out(&pc->bus, 0x80, 1, 0x01);
    previrt_port_out(&pc->bus, PREVIRT_COM2_PORT, 1, 'x');
    previrt_bus_flush(&pc->bus);
    assert_int_equal(previrt_port_in(&pc->bus, PREVIRT_COM1_PORT + 5, 1), 0xff);
    free(pc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(self_test_passes),
        machine_test(the_command_byte_and_the_ram_are_kept),
        machine_test(nobody_answers_on_the_keyboards_line),
        machine_test(linux_finds_a_controller_without_aux),
        machine_test(the_interrupt_follows_the_buffer),
        machine_test(unknown_commands_do_nothing),
        machine_test(linux_reboots_by_pulsing_the_reset_line),
        machine_test(port_92_resets_on_the_rising_bit),
        machine_test(linux_reboots_by_cf9),
        machine_test(a20_is_open_while_either_gate_is),
        machine_test(post_codes_are_told_and_read_back),
        machine_test(the_debug_exit_gives_every_width),
        cmocka_unit_test(a_pc_reports_ports_that_are_taken),
    };

    return cmocka_run_group_tests_name("i8042 and the small ports", tests, NULL, NULL);
}
