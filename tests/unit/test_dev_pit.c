/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8254, against Intel's data sheet and Linux' use of it. Time is counted in the timer's own
 * ticks. */
#include "device_test.h"

#include "../../devices/internal.h"

#define PIT_CH(n) ((uint16_t)(0x40 + (n)))
#define PIT_MODE  0x43
#define PORT61    0x61

#define LSB_MSB 0x30

/* It is tick (t) of the timer. */
static void at(struct machine *m, uint64_t t)
{
    m->clock = pv_ticks_to_ns(t, PREVIRT_PIT_HZ);
    previrt_bus_run(&m->pc.bus);
}

static void program(struct machine *m, unsigned counter, unsigned mode, uint16_t count)
{
    outb(m, (uint8_t)(counter << 6 | LSB_MSB | mode << 1), PIT_MODE);
    outb(m, (uint8_t)count, PIT_CH(counter));
    outb(m, (uint8_t)(count >> 8), PIT_CH(counter));
}

static unsigned count_of(struct machine *m, unsigned counter)
{
    unsigned low;

    outb(m, (uint8_t)(counter << 6), PIT_MODE); /* counter latch command */
    low = inb(m, PIT_CH(counter));
    return low | (unsigned)inb(m, PIT_CH(counter)) << 8;
}

static uint8_t status_of(struct machine *m, unsigned counter)
{
    outb(m, (uint8_t)(0xe0 | 2 << counter), PIT_MODE);
    return inb(m, PIT_CH(counter));
}

static int output(struct machine *m, unsigned counter)
{
    return previrt_pit_output(&m->pc.pit, counter);
}

static void gate(struct machine *m, int level)
{
    outb(m, (uint8_t)((inb(m, PORT61) & 0x0e) | level), PORT61);
}

#define T UINT64_C(2000000) /* the tick at which the tests begin: after the machine was made */

/* OUT of (counter) at the ticks from (from) on, as the data sheet's waveforms draw it: "H" and "L".
 */
static void check_waveform(struct machine *m, unsigned counter, uint64_t from, const char *waveform)
{
    for (; *waveform; waveform++, from++) {
        at(m, from);
        if (output(m, counter) != (*waveform == 'H'))
            fail_msg("tick %llu: OUT is not %c", (unsigned long long)(from - T), *waveform);
    }
}

static void check_counts(struct machine *m, unsigned counter, uint64_t from, const int *counts)
{
    for (; *counts >= 0; counts++, from++) {
        at(m, from);
        assert_int_equal(count_of(m, counter), *counts);
    }
}

static void mode_0_waveform(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 0, 4);
    /* written in T, loaded in T+1, N+1 clocks after the write OUT goes high and stays */
    check_waveform(m, 0, T, "LLLLLHHHHH");
    at(m, T);
    program(m, 0, 0, 4);
    check_counts(m, 0, m->pc.pit.tick + 1, (int[]){4, 3, 2, 1, 0, 0xffff, 0xfffe, -1});
}

static void mode_0_first_byte_stops_it(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 0, 10);
    at(m, T + 4);
    outb(m, 3, PIT_CH(0));
    at(m, T + 50);
    assert_int_equal(output(m, 0), 0);
    assert_int_equal(count_of(m, 0), 7); /* it stopped where it was */
    outb(m, 0, PIT_CH(0));
    check_waveform(m, 0, T + 50, "LLLLHHH");
}

static void mode_0_gate_holds_the_count(void **state)
{
    struct machine *m = *state;

    gate(m, 1);
    at(m, T);
    program(m, 2, 0, 4);
    at(m, T + 3);
    gate(m, 0);
    at(m, T + 100);
    assert_int_equal(count_of(m, 2), 2);
    assert_int_equal(output(m, 2), 0);
    gate(m, 1);
    check_waveform(m, 2, T + 100, "LLHHH");
    /* A count written with the gate low is loaded, and waits. */
    gate(m, 0);
    program(m, 2, 0, 2);
    at(m, T + 200);
    assert_int_equal(count_of(m, 2), 2);
    gate(m, 1);
    check_waveform(m, 2, T + 200, "LLHH");
    /* and the largest count is not mistaken for an expired one */
    gate(m, 0);
    program(m, 2, 0, 0);
    at(m, T + 300);
    gate(m, 1);
    at(m, T + 300 + 65535);
    assert_int_equal(output(m, 2), 0);
    at(m, T + 300 + 65536);
    assert_int_equal(output(m, 2), 1);
}

static void mode_1_waveform(void **state)
{
    struct machine *m = *state;

    gate(m, 0);
    at(m, T);
    program(m, 2, 1, 3);
    check_waveform(m, 2, T, "HHHHH"); /* nothing without a trigger */
    gate(m, 1);
    check_waveform(m, 2, T + 4, "HLLLHHH");
    assert_int_equal(count_of(m, 2), 0xfffe);
    /* A trigger during the pulse makes it longer, without a gap; the gate's fall does nothing. */
    gate(m, 0);
    at(m, T + 20);
    gate(m, 1);
    at(m, T + 22);
    gate(m, 0);
    assert_int_equal(output(m, 2), 0);
    gate(m, 1);
    check_waveform(m, 2, T + 22, "LLLLHH");
    /* A new count does not touch the pulse that runs. */
    gate(m, 0);
    at(m, T + 40);
    gate(m, 1);
    at(m, T + 41);
    outb(m, 5, PIT_CH(2));
    outb(m, 0, PIT_CH(2));
    assert_int_equal(status_of(m, 2) & 0x40, 0x40); /* null count: until the next trigger */
    check_waveform(m, 2, T + 41, "LLLHHHHHHH");
    gate(m, 0);
    gate(m, 1);
    check_waveform(m, 2, T + 50, "HLLLLLHH");
}

static void mode_2_waveform(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 2, 3);
    check_waveform(m, 0, T, "HHHLHHLHHLHHL");
    at(m, 2 * T);
    program(m, 0, 2, 4);
    check_counts(m, 0, 2 * T + 1, (int[]){4, 3, 2, 1, 4, 3, 2, 1, 4, -1});
}

static void mode_2_new_count_waits_for_the_period(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 2, 4);
    at(m, T + 2);
    outb(m, 3, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    assert_int_equal(status_of(m, 0) & 0x40, 0x40);
    check_counts(m, 0, T + 2, (int[]){3, 2, 1, 3, 2, 1, 3, -1});
    assert_int_equal(status_of(m, 0) & 0x40, 0);
    /* also when nobody looks for a long time: T+5 begins a period of 3 */
    outb(m, 100, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    at(m, T + 11 + 7 * 100 + 30);
    assert_int_equal(count_of(m, 0), 70);
}

static void mode_2_gate(void **state)
{
    struct machine *m = *state;

    gate(m, 1);
    at(m, T);
    program(m, 2, 2, 3);
    at(m, T + 3);
    assert_int_equal(output(m, 2), 0);
    gate(m, 0); /* "If GATE goes low during an output pulse, OUT is set high immediately." */
    assert_int_equal(output(m, 2), 1);
    check_waveform(m, 2, T + 3, "HHHHHH");
    gate(m, 1); /* reloads */
    check_waveform(m, 2, T + 8, "HHHLHHL");
}

static void mode_3_even_and_odd_waveforms(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 3, 4);
    check_waveform(m, 0, T, "HHHLLHHLLHHLL");
    at(m, 2 * T);
    program(m, 0, 3, 6); /* the control word starts it afresh */
    check_counts(m, 0, 2 * T + 1, (int[]){6, 4, 2, 6, 4, 2, 6, -1});
    at(m, 3 * T);
    program(m, 0, 3, 5);
    check_waveform(m, 0, 3 * T, "HHHHLLHHHLLHHHLL");
    at(m, 4 * T);
    program(m, 0, 3, 5);
    check_counts(m, 0, 4 * T + 1, (int[]){4, 2, 0, 4, 2, 4, 2, 0, -1});
}

static void mode_3_new_count_waits_for_the_half(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 3, 6);
    at(m, T + 2);
    outb(m, 4, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    check_waveform(m, 0, T + 2, "HHLLHHLLHH");
    at(m, 2 * T);
    outb(m, 0x36, PIT_MODE);
    outb(m, 6, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    at(m, 2 * T + 5); /* in the low half */
    outb(m, 2, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    check_waveform(m, 0, 2 * T + 5, "LLHLHLHL");
}

static void mode_3_gate(void **state)
{
    struct machine *m = *state;

    gate(m, 1);
    at(m, T);
    program(m, 2, 3, 4);
    at(m, T + 3);
    assert_int_equal(output(m, 2), 0);
    gate(m, 0);
    check_waveform(m, 2, T + 3, "HHHH");
    gate(m, 1);
    check_waveform(m, 2, T + 6, "HHHLLHH");
}

static void mode_4_waveform(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 4, 3);
    check_waveform(m, 0, T, "HHHHLHHHHH");
    at(m, T + 20);
    assert_int_equal(count_of(m, 0), 0x10000 - 16);
    check_waveform(m, 0, T + 4 + 0x10000, "HHH"); /* once */
    /* A new count restarts it; the first of two bytes does not stop it. */
    at(m, 2 * T);
    outb(m, 9, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    at(m, 2 * T + 5);
    outb(m, 2, PIT_CH(0));
    at(m, 2 * T + 7);
    assert_int_equal(count_of(m, 0), 3);
    outb(m, 0, PIT_CH(0));
    check_waveform(m, 0, 2 * T + 7, "HHHLHH");
}

static void mode_4_gate_holds_the_count(void **state)
{
    struct machine *m = *state;

    gate(m, 1);
    at(m, T);
    program(m, 2, 4, 3);
    at(m, T + 2);
    gate(m, 0);
    at(m, T + 20);
    gate(m, 1);
    check_waveform(m, 2, T + 20, "HHLHH");
}

static void mode_5_waveform(void **state)
{
    struct machine *m = *state;

    gate(m, 0);
    at(m, T);
    program(m, 2, 5, 3);
    check_waveform(m, 2, T, "HHHHHHHH");
    gate(m, 1);
    check_waveform(m, 2, T + 7, "HHHHLHHHHH");
    gate(m, 0);
    at(m, T + 30);
    gate(m, 1);
    at(m, T + 32);
    gate(m, 0);
    gate(m, 1); /* retriggered */
    check_waveform(m, 2, T + 32, "HHHHLHH");
}

static void modes_6_and_7_are_2_and_3(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 6, 3);
    check_waveform(m, 0, T, "HHHLHHL");
    assert_int_equal(status_of(m, 0) & 0x0e, 6 << 1); /* as it was written */
    at(m, 2 * T);
    program(m, 0, 7, 4);
    check_waveform(m, 0, 2 * T, "HHHLLHHLL");
}

static void counts_of_zero_are_the_largest(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 2, 0);
    at(m, T + 1);
    assert_int_equal(count_of(m, 0), 0);
    at(m, T + 2);
    assert_int_equal(count_of(m, 0), 0xffff);
    at(m, T + 0x10000);
    assert_int_equal(output(m, 0), 0);
    at(m, T + 0x10001);
    assert_int_equal(output(m, 0), 1);
}

static void bcd_counts_in_decimal(void **state)
{
    struct machine *m = *state;

    at(m, T);
    outb(m, 0x31, PIT_MODE); /* counter 0, mode 0, BCD */
    outb(m, 0x01, PIT_CH(0));
    outb(m, 0x10, PIT_CH(0)); /* 1001 */
    at(m, T + 1);
    assert_int_equal(count_of(m, 0), 0x1001);
    at(m, T + 3);
    assert_int_equal(count_of(m, 0), 0x0999);
    at(m, T + 1 + 1001);
    assert_int_equal(output(m, 0), 1);
    assert_int_equal(count_of(m, 0), 0);
    at(m, T + 1 + 1002);
    assert_int_equal(count_of(m, 0), 0x9999); /* wraps to the highest count */
    outb(m, 0x35, PIT_MODE);
    outb(m, 0, PIT_CH(0));
    outb(m, 0, PIT_CH(0)); /* 10000 */
    at(m, 2 * T);
    outb(m, 0x35, PIT_MODE);
    outb(m, 0, PIT_CH(0));
    outb(m, 0, PIT_CH(0));
    at(m, 2 * T + 1 + 9999);
    assert_int_equal(output(m, 0), 0);
    assert_int_equal(count_of(m, 0), 1);
    at(m, 2 * T + 1 + 10000);
    assert_int_equal(count_of(m, 0), 0);
}

static void single_byte_accesses(void **state)
{
    struct machine *m = *state;

    at(m, T);
    outb(m, 0x14, PIT_MODE); /* LSB only, mode 2 */
    outb(m, 0x80, PIT_CH(0));
    at(m, T + 1);
    assert_int_equal(inb(m, PIT_CH(0)), 0x80);
    assert_int_equal(inb(m, PIT_CH(0)), 0x80);
    at(m, T + 2);
    outb(m, 0x00, PIT_MODE); /* latch: one byte */
    at(m, T + 12);
    assert_int_equal(inb(m, PIT_CH(0)), 0x7f);
    assert_int_equal(inb(m, PIT_CH(0)), 0x75);
    outb(m, 0x24, PIT_MODE); /* MSB only */
    outb(m, 0x12, PIT_CH(0));
    at(m, T + 13);
    assert_int_equal(inb(m, PIT_CH(0)), 0x12);
    at(m, T + 14);
    assert_int_equal(inb(m, PIT_CH(0)), 0x11);
}

static void a_latch_stands_until_it_is_read(void **state)
{
    struct machine *m = *state;

    at(m, T);
    program(m, 0, 2, 0x1234);
    at(m, T + 1);
    outb(m, 0x00, PIT_MODE);
    at(m, T + 100);
    outb(m, 0x00, PIT_MODE); /* ignored */
    assert_int_equal(inb(m, PIT_CH(0)), 0x34);
    at(m, T + 101);
    assert_int_equal(inb(m, PIT_CH(0)), 0x12);
    assert_int_equal(inb(m, PIT_CH(0)), (0x1234 - 100) & 0xff); /* not latched any more */
    assert_int_equal(inb(m, PIT_CH(0)), (0x1234 - 100) >> 8);
}

static void read_back_latches_counts_and_status(void **state)
{
    struct machine *m = *state;

    gate(m, 1);
    at(m, T);
    program(m, 0, 2, 1000);
    program(m, 2, 0, 500);
    outb(m, 0xc0 | 0x02 | 0x08, PIT_MODE); /* count and status of 0 and 2 */
    at(m, T + 11);
    assert_int_equal(inb(m, PIT_CH(0)), 0x80 | 0x40 | 0x34); /* OUT high, null count, mode 2 */
    inb(m, PIT_CH(0));
    inb(m, PIT_CH(0));
    assert_int_equal(inb(m, PIT_CH(2)), 0x40 | 0x30); /* OUT low, null count, mode 0 */
    inb(m, PIT_CH(2));
    inb(m, PIT_CH(2));
    outb(m, 0xd0 | 0x02 | 0x08, PIT_MODE); /* counts only */
    at(m, T + 300);
    assert_int_equal(inb(m, PIT_CH(0)), 990 & 0xff);
    assert_int_equal(inb(m, PIT_CH(0)), 990 >> 8);
    assert_int_equal(inb(m, PIT_CH(2)), 490 & 0xff);
    assert_int_equal(inb(m, PIT_CH(2)), 490 >> 8);
    assert_int_equal(status_of(m, 0), 0x80 | 0x34); /* loaded by now */
    /* The second status latch is ignored until the first is read. */
    outb(m, 0xe8, PIT_MODE);
    at(m, T + 502);
    outb(m, 0xe8, PIT_MODE);
    assert_int_equal(inb(m, PIT_CH(2)), 0x30);
    assert_int_equal(status_of(m, 2), 0x80 | 0x30);
}

static void the_control_register_cannot_be_read(void **state)
{
    assert_int_equal(inb(*state, PIT_MODE), 0xff);
}

static void a_new_mode_stops_the_counter(void **state)
{
    struct machine *m = *state;

    /* clockevent_i8253_disable() */
    at(m, T);
    program(m, 0, 2, 4773);
    assert_true(previrt_bus_deadline(&m->pc.bus) != PREVIRT_NEVER);
    program(m, 0, 0, 0);
    outb(m, 0x30, PIT_MODE);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
    at(m, 4 * T);
    assert_int_equal(output(m, 0), 0);
}

static void enable_irq0(struct machine *m)
{
    outb(m, 0x11, 0x20);
    outb(m, 0x30, 0x21);
    outb(m, 0x04, 0x21);
    outb(m, 0x03, 0x21); /* automatic EOI */
    outb(m, 0xfe, 0x21);
    m->interrupts = 0;
}

static unsigned take_ticks(struct machine *m, uint64_t ns)
{
    uint64_t end = m->clock + ns;
    unsigned ticks = 0, steps = 0;

    while (previrt_bus_deadline(&m->pc.bus) <= end) {
        assert_true(++steps < 1000000);
        m->clock = previrt_bus_deadline(&m->pc.bus);
        previrt_bus_run(&m->pc.bus);
        if (m->interrupt) {
            assert_int_equal(previrt_pic_acknowledge(&m->pc.pic), 0x30);
            ticks++;
        }
    }
    m->clock = end;
    return ticks;
}

static void linux_periodic_tick_comes_at_its_rate(void **state)
{
    struct machine *m = *state;

    enable_irq0(m);
    program(m, 0, 2, 4773); /* pit_set_periodic() at HZ=250 */
    assert_in_range(take_ticks(m, 10 * NS_PER_SECOND), 2499, 2500);
    program(m, 0, 3, 11932); /* a BIOS' square wave, at 100 Hz */
    assert_in_range(take_ticks(m, 10 * NS_PER_SECOND), 999, 1001);
    program(m, 0, 2, 2); /* the fastest there is */
    assert_in_range(take_ticks(m, NS_PER_MS), 595, 597);
}

static void linux_oneshot_comes_once(void **state)
{
    struct machine *m = *state;

    enable_irq0(m);
    outb(m, 0x38, PIT_MODE); /* pit_set_oneshot(): mode 4 */
    for (unsigned i = 0; i < 5; i++) {
        outb(m, 1000 & 0xff, PIT_CH(0)); /* pit_next_event() */
        outb(m, 1000 >> 8, PIT_CH(0));
        assert_int_equal(take_ticks(m, 800 * NS_PER_US), 0);
        assert_int_equal(take_ticks(m, 100 * NS_PER_MS), 1);
    }
}

static void a_late_vmm_gets_one_tick_for_many(void **state)
{
    struct machine *m = *state;

    enable_irq0(m);
    program(m, 0, 2, 1193);
    m->clock += NS_PER_SECOND; /* a thousand periods */
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->interrupts, 1);
    assert_int_equal(previrt_pic_acknowledge(&m->pc.pic), 0x30);
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->interrupt, 0);
    assert_true(previrt_bus_deadline(&m->pc.bus) > m->clock);
    assert_true(previrt_bus_deadline(&m->pc.bus) < m->clock + NS_PER_MS);
}

static void a_late_vmm_does_not_lose_a_square_wave_tick(void **state)
{
    struct machine *m = *state;

    enable_irq0(m);
    program(m, 0, 3, 1000);
    m->clock =
        pv_ticks_to_ns(m->pc.pit.tick + 1 + 1000 + 700, PREVIRT_PIT_HZ); /* OUT is low again */
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->interrupt, 1);
}

static void illegal_counts_do_not_flood_the_vmm(void **state)
{
    struct machine *m = *state;

    enable_irq0(m);
    program(m, 0, 2, 1);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
    program(m, 0, 3, 1);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
}

static void linux_calibrates_the_tsc_by_counter_2(void **state)
{
    struct machine *m = *state;
    const unsigned latch = PREVIRT_PIT_HZ / (1000 / 10); /* CAL_LATCH: 10 ms */
    uint64_t begin;

    /* pit_calibrate_tsc() of arch/x86/kernel/tsc.c */
    outb(m, (inb(m, PORT61) & ~0x02) | 0x01, PORT61);
    outb(m, 0xb0, PIT_MODE);
    outb(m, latch & 0xff, PIT_CH(2));
    outb(m, latch >> 8, PIT_CH(2));
    begin = m->clock;
    while ((inb(m, PORT61) & 0x20) == 0)
        m->clock += 500;
    assert_in_range(m->clock - begin, 10 * NS_PER_MS - NS_PER_US, 10 * NS_PER_MS + 3 * NS_PER_US);
}

static void linux_quick_calibration_sees_the_high_byte_fall(void **state)
{
    struct machine *m = *state;

    /* quick_pit_calibrate(): counter 2 from 0xffff, the high byte must fall by one every 256 ticks
     */
    outb(m, (inb(m, PORT61) & ~0x02) | 0x01, PORT61);
    outb(m, 0xb0, PIT_MODE);
    outb(m, 0xff, PIT_CH(2));
    outb(m, 0xff, PIT_CH(2));
    m->clock += 2 * NS_PER_US;
    inb(m, PIT_CH(2));
    inb(m, PIT_CH(2));
    for (unsigned expected = 0xff; expected > 0xc0; expected--) {
        unsigned count = 0;
        uint64_t begin = m->clock;

        for (;;) {
            m->clock += NS_PER_US;
            inb(m, PIT_CH(2)); /* ignore LSB */
            m->clock += NS_PER_US;
            if (inb(m, PIT_CH(2)) != expected)
                break;
            count++;
        }
        assert_in_range(count, 100, 110);
        assert_in_range(m->clock - begin, 205 * NS_PER_US, 220 * NS_PER_US);
    }
}

static void the_gate_of_counter_2_is_bit_0_of_port_61(void **state)
{
    struct machine *m = *state;

    outb(m, 0, PORT61);
    at(m, T);
    program(m, 2, 0, 10);
    at(m, T + 1000);
    assert_int_equal(inb(m, PORT61) & 0x20, 0);
    outb(m, 1, PORT61);
    at(m, T + 1011);
    assert_int_equal(inb(m, PORT61) & 0x20, 0x20);
    assert_int_equal(inb(m, PORT61) & 0x0f, 1);
    outb(m, 0xff, PORT61);
    assert_int_equal(inb(m, PORT61) & 0xcf, 0x0f); /* no parity or channel error */
}

static void the_refresh_bit_toggles_every_15_us(void **state)
{
    struct machine *m = *state;
    unsigned changes = 0;
    uint8_t last = inb(m, PORT61) & 0x10;

    for (unsigned us = 0; us < 1000; us++) {
        m->clock += NS_PER_US;
        changes += (inb(m, PORT61) & 0x10) != last;
        last = inb(m, PORT61) & 0x10;
    }
    assert_in_range(changes, 65, 68);
}

static void reset_stops_the_counters(void **state)
{
    struct machine *m = *state;

    program(m, 0, 2, 100);
    previrt_bus_reset(&m->pc.bus);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
    assert_int_equal(output(m, 0), 1);
    assert_int_equal(previrt_pit_output(&m->pc.pit, 3), 0);
    previrt_pit_set_gate(&m->pc.pit, 3, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(mode_0_waveform),
        machine_test(mode_0_first_byte_stops_it),
        machine_test(mode_0_gate_holds_the_count),
        machine_test(mode_1_waveform),
        machine_test(mode_2_waveform),
        machine_test(mode_2_new_count_waits_for_the_period),
        machine_test(mode_2_gate),
        machine_test(mode_3_even_and_odd_waveforms),
        machine_test(mode_3_new_count_waits_for_the_half),
        machine_test(mode_3_gate),
        machine_test(mode_4_waveform),
        machine_test(mode_4_gate_holds_the_count),
        machine_test(mode_5_waveform),
        machine_test(modes_6_and_7_are_2_and_3),
        machine_test(counts_of_zero_are_the_largest),
        machine_test(bcd_counts_in_decimal),
        machine_test(single_byte_accesses),
        machine_test(a_latch_stands_until_it_is_read),
        machine_test(read_back_latches_counts_and_status),
        machine_test(the_control_register_cannot_be_read),
        machine_test(a_new_mode_stops_the_counter),
        machine_test(linux_periodic_tick_comes_at_its_rate),
        machine_test(linux_oneshot_comes_once),
        machine_test(a_late_vmm_gets_one_tick_for_many),
        machine_test(a_late_vmm_does_not_lose_a_square_wave_tick),
        machine_test(illegal_counts_do_not_flood_the_vmm),
        machine_test(linux_calibrates_the_tsc_by_counter_2),
        machine_test(linux_quick_calibration_sees_the_high_byte_fall),
        machine_test(the_gate_of_counter_2_is_bit_0_of_port_61),
        machine_test(the_refresh_bit_toggles_every_15_us),
        machine_test(reset_stops_the_counters),
    };

    return cmocka_run_group_tests_name("pit_8254", tests, NULL, NULL);
}
