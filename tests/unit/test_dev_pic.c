/* SPDX-License-Identifier: BSD-2-Clause */
/* The 8259A pair, against Intel's data sheet and Linux' use of it. */
#include "device_test.h"

#define MASTER_CMD 0x20
#define MASTER_IMR 0x21
#define SLAVE_CMD  0xa0
#define SLAVE_IMR  0xa1
#define ELCR       0x4d0

#define NON_SPECIFIC_EOI 0x20
#define SPECIFIC_EOI     0x60
#define READ_IRR         0x0a
#define READ_ISR         0x0b
#define POLL             0x0c
#define SET_SMM          0x68
#define CLEAR_SMM        0x48

struct pair {
    struct previrt_bus bus;
    struct previrt_pic pic;
    struct previrt_irq irq[PREVIRT_IRQ_LINES];
    int interrupt;
    unsigned rises;
};

static void note_interrupt(void *context, int level)
{
    struct pair *p = context;

    p->interrupt = level;
    p->rises += level != 0;
}

static int pair_setup(void **state)
{
    struct pair *p = calloc(1, sizeof(*p));
    struct previrt_host host = {.context = p, .interrupt = note_interrupt};

    previrt_bus_init(&p->bus, &host);
    for (unsigned i = 0; i < PREVIRT_IRQ_LINES; i++)
        previrt_irq_connect(&p->irq[i], &p->bus, i);
    *state = p;
    return previrt_pic_init(&p->pic, &p->bus);
}

#define pair_test(f) cmocka_unit_test_setup_teardown(f, pair_setup, machine_teardown)

static void out(struct pair *p, uint8_t value, uint16_t port)
{
    previrt_port_out(&p->bus, port, 1, value);
}

static uint8_t in(struct pair *p, uint16_t port)
{
    return (uint8_t)previrt_port_in(&p->bus, port, 1);
}

static void set(struct pair *p, unsigned line, int level)
{
    previrt_irq_set(&p->irq[line], level);
    assert_int_equal(previrt_pic_pending(&p->pic), p->interrupt);
}

static void edge(struct pair *p, unsigned line)
{
    set(p, line, 0);
    set(p, line, 1);
}

static uint8_t irr(struct pair *p, uint16_t port)
{
    out(p, READ_IRR, port);
    return in(p, port);
}

static uint8_t isr(struct pair *p, uint16_t port)
{
    out(p, READ_ISR, port);
    return in(p, port);
}

static unsigned ack(struct pair *p)
{
    return previrt_pic_acknowledge(&p->pic);
}

static void init_chip(struct pair *p, uint16_t port, uint8_t icw1, uint8_t icw2, uint8_t icw3,
                      uint8_t icw4)
{
    out(p, icw1, port);
    out(p, icw2, port + 1);
    if (!(icw1 & 0x02))
        out(p, icw3, port + 1);
    if (icw1 & 0x01)
        out(p, icw4, port + 1);
}

/* init_8259A() of arch/x86/kernel/i8259.c, with all inputs enabled afterwards. */
static void linux_init(struct pair *p, int auto_eoi)
{
    out(p, 0xff, MASTER_IMR);
    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, auto_eoi ? 0x03 : 0x01);
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x02, 0x01);
    out(p, 0x00, MASTER_IMR);
    out(p, 0x00, SLAVE_IMR);
}

static void linux_probes_it(void **state)
{
    struct pair *p = *state;
    const uint8_t probe = (uint8_t) ~(1 << 2);

    /* probe_8259A(): what is written to the mask register comes back */
    out(p, 0xff, SLAVE_IMR);
    out(p, probe, MASTER_IMR);
    assert_int_equal(in(p, MASTER_IMR), probe);
    assert_int_equal(in(p, SLAVE_IMR), 0xff);
}

static void firmware_state_interrupts_nobody(void **state)
{
    struct pair *p = *state;

    for (unsigned i = 0; i < PREVIRT_IRQ_LINES; i++)
        set(p, i, 1);
    assert_int_equal(p->rises, 0);
    assert_int_equal(in(p, MASTER_IMR), 0xff);
    out(p, 0xfe, MASTER_IMR);
    assert_int_equal(ack(p), 0x08);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    out(p, 0xfb, MASTER_IMR);
    out(p, 0xfe, SLAVE_IMR);
    assert_int_equal(ack(p), 0x70);
}

static void linux_mask_ack_and_eoi_deliver_each_line_once(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    for (unsigned line = 0; line < PREVIRT_IRQ_LINES; line++) {
        if (line == 2)
            continue;
        edge(p, line);
        assert_int_equal(p->interrupt, 1);
        assert_int_equal(ack(p), 0x30 + line);
        assert_int_equal(p->interrupt, 0);
        /* mask_and_ack_8259A() */
        if (line >= 8) {
            in(p, SLAVE_IMR);
            out(p, (uint8_t)(1 << (line - 8)), SLAVE_IMR);
            out(p, (uint8_t)(SPECIFIC_EOI + (line & 7)), SLAVE_CMD);
            out(p, SPECIFIC_EOI + 2, MASTER_CMD);
            out(p, 0, SLAVE_IMR);
        } else {
            in(p, MASTER_IMR);
            out(p, (uint8_t)(1 << line), MASTER_IMR);
            out(p, (uint8_t)(SPECIFIC_EOI + line), MASTER_CMD);
            out(p, 0, MASTER_IMR);
        }
        assert_int_equal(isr(p, MASTER_CMD), 0);
        assert_int_equal(isr(p, SLAVE_CMD), 0);
        assert_int_equal(p->interrupt, 0); /* the line is still high: no new edge */
    }
}

static void priorities_nest_fully(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 4);
    assert_int_equal(ack(p), 0x34);
    edge(p, 6); /* lower: waits */
    assert_int_equal(p->interrupt, 0);
    edge(p, 4); /* the same: waits */
    assert_int_equal(p->interrupt, 0);
    edge(p, 1); /* higher: interrupts */
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x31);
    assert_int_equal(isr(p, MASTER_CMD), 0x12);
    assert_int_equal(irr(p, MASTER_CMD), 0x50);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(isr(p, MASTER_CMD), 0x10);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x34);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x36);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(isr(p, MASTER_CMD), 0);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD); /* nothing to end */
    assert_int_equal(p->interrupt, 0);
}

static void the_mask_holds_requests_back(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    out(p, 0x08, MASTER_IMR);
    edge(p, 3);
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(irr(p, MASTER_CMD), 0x08);
    out(p, 0x00, MASTER_IMR);
    assert_int_equal(p->interrupt, 1);
    out(p, 0x08, MASTER_IMR); /* masked again before it is acknowledged */
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(ack(p), 0x37);
    assert_int_equal(isr(p, MASTER_CMD), 0);
}

static void a_request_that_goes_away_is_spurious_7(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 5);
    assert_int_equal(p->interrupt, 1);
    set(p, 5, 0);
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(ack(p), 0x37);
    assert_int_equal(isr(p, MASTER_CMD), 0); /* how handlers know */
}

static void a_request_that_goes_away_on_the_slave_is_spurious_15(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 10);
    out(p, 0x04, SLAVE_IMR);
    assert_int_equal(p->interrupt, 0); /* the cascade fell with it: the master's own spurious */
    assert_int_equal(ack(p), 0x37);
    out(p, 0x00, SLAVE_IMR);
    assert_int_equal(p->interrupt, 1);
    /* The master has accepted the cascade when the slave finds nothing: by a poll in between. */
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x82);
    set(p, 10, 0);
    out(p, POLL, SLAVE_CMD);
    assert_int_equal(in(p, SLAVE_CMD) & 0x80, 0);
    assert_int_equal(isr(p, SLAVE_CMD), 0);
    assert_int_equal(isr(p, MASTER_CMD), 0x04); /* needs its EOI */
    out(p, SPECIFIC_EOI + 2, MASTER_CMD);

    /* The request goes away between the two INTA pulses: the master is committed. No access can
     * come between them here, so the mask is set behind the chip's back. */
    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x01);
    edge(p, 10);
    p->pic.chip[1].imr = 0xff;
    assert_int_equal(ack(p), 0x3f);
    assert_int_equal(isr(p, MASTER_CMD), 0x04);
    assert_int_equal(isr(p, SLAVE_CMD), 0);
}

static void edges_are_latched_once(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 3);
    assert_int_equal(ack(p), 0x33);
    assert_int_equal(irr(p, MASTER_CMD), 0);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(p->interrupt, 0);
    edge(p, 3);
    assert_int_equal(p->interrupt, 1);
}

static void levels_interrupt_until_they_fall(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    out(p, 0x20, ELCR);
    set(p, 5, 1);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(p->interrupt, 1);
        assert_int_equal(ack(p), 0x35);
        assert_int_equal(p->interrupt, 0); /* in service */
        assert_int_equal(irr(p, MASTER_CMD), 0x20);
        out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    }
    set(p, 5, 0);
    assert_int_equal(p->interrupt, 0);
}

static void level_mode_by_icw1_is_for_all_inputs(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x19, 0x30, 0x04, 0x01);
    set(p, 3, 1);
    assert_int_equal(ack(p), 0x33);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(p->interrupt, 1);
}

static void elcr_keeps_the_system_lines_edge_triggered(void **state)
{
    struct pair *p = *state;

    out(p, 0xff, ELCR);
    out(p, 0xff, ELCR + 1);
    assert_int_equal(in(p, ELCR), 0xf8);
    assert_int_equal(in(p, ELCR + 1), 0xde);
    assert_int_equal(previrt_port_in(&p->bus, ELCR, 2), 0xdef8);
    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x01); /* initialization does not touch it */
    assert_int_equal(in(p, ELCR), 0xf8);
}

static void auto_eoi_leaves_nothing_in_service(void **state)
{
    struct pair *p = *state;

    linux_init(p, 1);
    edge(p, 6);
    edge(p, 3);
    assert_int_equal(ack(p), 0x33);
    assert_int_equal(isr(p, MASTER_CMD), 0);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x36);
    assert_int_equal(p->interrupt, 0);
}

static void auto_eoi_slave_makes_a_new_edge_for_each_request(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x03);
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x02, 0x03);
    edge(p, 9);
    edge(p, 12);
    assert_int_equal(ack(p), 0x39);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x3c);
    assert_int_equal(p->interrupt, 0);
}

static void slave_requests_wait_for_the_masters_eoi(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 12);
    assert_int_equal(ack(p), 0x3c);
    edge(p, 8); /* higher on the slave, but the master has IR2 in service */
    assert_int_equal(p->interrupt, 0);
    out(p, SPECIFIC_EOI + 2, MASTER_CMD);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x38);
    assert_int_equal(isr(p, SLAVE_CMD), 0x11);
}

static void special_fully_nested_mode_lets_the_slave_nest(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x11);
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x02, 0x01);
    edge(p, 12);
    assert_int_equal(ack(p), 0x3c);
    edge(p, 8);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x38);
    edge(p, 10); /* lower than what is in service on the slave */
    assert_int_equal(p->interrupt, 0);
    edge(p, 3); /* lower than the slave on the master */
    assert_int_equal(p->interrupt, 0);
}

static void special_mask_mode_enables_lower_levels(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 1);
    assert_int_equal(ack(p), 0x31);
    edge(p, 5);
    assert_int_equal(p->interrupt, 0);
    out(p, 0x02, MASTER_IMR);
    assert_int_equal(p->interrupt, 0); /* masking alone does not help */
    out(p, SET_SMM, MASTER_CMD);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x35);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD); /* does not end the masked level */
    assert_int_equal(isr(p, MASTER_CMD), 0x02);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(isr(p, MASTER_CMD), 0x02);
    out(p, 0x08, MASTER_CMD); /* OCW3 without ESMM: SMM is not meant */
    edge(p, 6);
    assert_int_equal(p->interrupt, 1);
    out(p, CLEAR_SMM, MASTER_CMD);
    assert_int_equal(p->interrupt, 0);
    out(p, SPECIFIC_EOI + 1, MASTER_CMD);
    assert_int_equal(p->interrupt, 1);
}

static void rotation_on_eoi_makes_the_served_level_lowest(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 0);
    edge(p, 1);
    assert_int_equal(ack(p), 0x30);
    edge(p, 0);
    out(p, 0xa0, MASTER_CMD); /* rotate on non-specific EOI */
    assert_int_equal(ack(p), 0x31);
    out(p, 0xe1, MASTER_CMD); /* rotate on specific EOI, level 1 */
    assert_int_equal(isr(p, MASTER_CMD), 0);
    edge(p, 1);
    edge(p, 2 + 1);
    assert_int_equal(ack(p), 0x33); /* 2 is now highest, 3 next, then 0, then 1 */
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x30);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x31);
}

static void set_priority_names_the_lowest_level(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    out(p, 0xc4, MASTER_CMD);
    edge(p, 0);
    edge(p, 4);
    edge(p, 5);
    assert_int_equal(ack(p), 0x35);
    edge(p, 4);
    assert_int_equal(p->interrupt, 0);
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x30);
    out(p, 0x40, MASTER_CMD); /* no operation */
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    assert_int_equal(ack(p), 0x34);
}

static void rotation_in_auto_eoi_mode(void **state)
{
    struct pair *p = *state;

    linux_init(p, 1);
    out(p, 0x80, MASTER_CMD); /* set */
    edge(p, 0);
    assert_int_equal(ack(p), 0x30);
    edge(p, 0);
    edge(p, 7);
    assert_int_equal(ack(p), 0x37);
    assert_int_equal(ack(p), 0x30);
    out(p, 0x00, MASTER_CMD); /* clear: the order stays as it is */
    edge(p, 1);
    assert_int_equal(ack(p), 0x31);
    edge(p, 0);
    edge(p, 1);
    assert_int_equal(ack(p), 0x31);
}

static void poll_acknowledges(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD) & 0x80, 0);
    edge(p, 6);
    edge(p, 4);
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x84);
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(isr(p, MASTER_CMD), 0x10);
    assert_int_equal(irr(p, MASTER_CMD), 0x40); /* one read only */
    out(p, NON_SPECIFIC_EOI, MASTER_CMD);
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_IMR), 0x86); /* on either address */
    assert_int_equal(in(p, MASTER_IMR), 0x00);
}

static void the_status_read_remembers_which_register(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 3);
    ack(p);
    edge(p, 5);
    assert_int_equal(in(p, MASTER_CMD), 0x20); /* after ICW1 it is the request register */
    out(p, READ_ISR, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x08);
    out(p, 0x09, MASTER_CMD); /* RIS without RR */
    assert_int_equal(in(p, MASTER_CMD), 0x08);
    out(p, READ_IRR, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x20);
}

static void icw1_starts_afresh(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 3);
    ack(p);
    edge(p, 1);
    out(p, 0xff, MASTER_IMR);
    out(p, SET_SMM, MASTER_CMD);
    out(p, READ_ISR, MASTER_CMD);
    out(p, 0xc2, MASTER_CMD);
    out(p, 0x11, MASTER_CMD);
    assert_int_equal(p->pic.chip[0].imr, 0);
    out(p, 0x40, MASTER_IMR);
    out(p, 0x04, MASTER_IMR);
    edge(p, 4); /* nothing interrupts until the sequence is complete */
    assert_int_equal(p->interrupt, 0);
    out(p, 0x01, MASTER_IMR);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(in(p, MASTER_IMR), 0);
    assert_int_equal(in(p, MASTER_CMD), 0x10); /* line 1 was high before: its edge is forgotten */
    assert_int_equal(ack(p), 0x44);
    edge(p, 3);
    assert_int_equal(ack(p), 0x43); /* IR7 is lowest again */
}

static void icw4_and_icw3_are_skipped_as_icw1_says(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x03);
    init_chip(p, MASTER_CMD, 0x12, 0x57, 0, 0); /* single, no ICW4 */
    out(p, 0xf0, MASTER_IMR);                   /* so this is the mask */
    assert_int_equal(in(p, MASTER_IMR), 0xf0);
    edge(p, 3);
    assert_int_equal(ack(p), 0x53);             /* only T7 to T3 count */
    assert_int_equal(isr(p, MASTER_CMD), 0x08); /* and automatic EOI is off */
    /* A single master takes input 2 as its own. */
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x02, 0x01);
    init_chip(p, MASTER_CMD, 0x13, 0x30, 0, 0x01);
    edge(p, 9);
    assert_int_equal(ack(p), 0x32);
}

static void the_slave_answers_only_to_its_number(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x04, 0x01);
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x05, 0x01);
    edge(p, 9);
    assert_int_equal(ack(p), 0xff);
    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x10, 0x01); /* a slave on IR4, says ICW3 */
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0x02, 0x01);
    edge(p, 9);
    assert_int_equal(ack(p), 0x32);
}

static void line_2_is_not_brought_out(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    set(p, 2, 1);
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(irr(p, MASTER_CMD), 0);
}

static void reset_masks_everything(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 3);
    assert_int_equal(p->interrupt, 1);
    previrt_bus_reset(&p->bus);
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(in(p, MASTER_IMR), 0xff);
}

static void the_lowest_level_in_service_yields_to_all_others(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 7);
    assert_int_equal(ack(p), 0x37);
    edge(p, 6);
    assert_int_equal(p->interrupt, 1);
    assert_int_equal(ack(p), 0x36);
    edge(p, 7);
    assert_int_equal(p->interrupt, 0);
}

static void the_cascade_is_edge_triggered_too(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 9);
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x82);
    out(p, SPECIFIC_EOI + 2, MASTER_CMD); /* the slave was not asked: its INT stays up */
    assert_int_equal(p->interrupt, 0);
    assert_int_equal(irr(p, SLAVE_CMD), 0x02);
    edge(p, 8); /* nor does a higher request make an edge of a level */
    assert_int_equal(p->interrupt, 0);
}

static void poll_reports_level_0(void **state)
{
    struct pair *p = *state;

    linux_init(p, 0);
    edge(p, 0);
    out(p, POLL, MASTER_CMD);
    assert_int_equal(in(p, MASTER_CMD), 0x80);
}

static void icw1_ends_rotation_in_auto_eoi_mode(void **state)
{
    struct pair *p = *state;

    linux_init(p, 1);
    out(p, 0x80, MASTER_CMD);
    linux_init(p, 1);
    edge(p, 0);
    assert_int_equal(ack(p), 0x30);
    edge(p, 0);
    edge(p, 7);
    assert_int_equal(ack(p), 0x30);
}

static void a_slaves_number_has_three_bits(void **state)
{
    struct pair *p = *state;

    init_chip(p, MASTER_CMD, 0x11, 0x30, 0x0c, 0x01); /* slaves on IR2 and IR3, says ICW3 */
    init_chip(p, SLAVE_CMD, 0x11, 0x38, 0xfa, 0x01);
    edge(p, 9);
    assert_int_equal(ack(p), 0x39);
}

static void a_request_waits_until_it_is_acknowledged_masked_or_not(void **state)
{
    static const unsigned lines[] = {0, 7, 9, 15};
    struct pair *p = *state;

    linux_init(p, 0);
    for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        const unsigned line = lines[i];
        const uint16_t imr = line < 8 ? MASTER_IMR : SLAVE_IMR;
        const uint8_t bit = (uint8_t)(1u << line % 8);

        assert_false(previrt_pic_waits(&p->pic, line));
        assert_false(previrt_pic_masked(&p->pic, line));
        out(p, bit, imr);
        edge(p, line);
        assert_true(previrt_pic_masked(&p->pic, line));
        assert_false(previrt_pic_masked(&p->pic, line ^ 1));
        assert_true(previrt_pic_waits(&p->pic, line));
        assert_false(previrt_pic_waits(&p->pic, line ^ 1));
        assert_int_equal(p->interrupt, 0);
        out(p, 0, imr);
        assert_true(previrt_pic_waits(&p->pic, line));
        assert_int_equal(ack(p), 0x30 + line);
        assert_false(previrt_pic_waits(&p->pic, line));
        out(p, NON_SPECIFIC_EOI, SLAVE_CMD);
        out(p, NON_SPECIFIC_EOI, MASTER_CMD);
        set(p, line, 0);
    }
    assert_false(previrt_pic_waits(&p->pic, PREVIRT_IRQ_LINES));
    assert_true(previrt_pic_masked(&p->pic, PREVIRT_IRQ_LINES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        pair_test(linux_probes_it),
        pair_test(firmware_state_interrupts_nobody),
        pair_test(linux_mask_ack_and_eoi_deliver_each_line_once),
        pair_test(priorities_nest_fully),
        pair_test(the_mask_holds_requests_back),
        pair_test(a_request_that_goes_away_is_spurious_7),
        pair_test(a_request_that_goes_away_on_the_slave_is_spurious_15),
        pair_test(edges_are_latched_once),
        pair_test(levels_interrupt_until_they_fall),
        pair_test(level_mode_by_icw1_is_for_all_inputs),
        pair_test(elcr_keeps_the_system_lines_edge_triggered),
        pair_test(auto_eoi_leaves_nothing_in_service),
        pair_test(auto_eoi_slave_makes_a_new_edge_for_each_request),
        pair_test(slave_requests_wait_for_the_masters_eoi),
        pair_test(special_fully_nested_mode_lets_the_slave_nest),
        pair_test(special_mask_mode_enables_lower_levels),
        pair_test(rotation_on_eoi_makes_the_served_level_lowest),
        pair_test(set_priority_names_the_lowest_level),
        pair_test(rotation_in_auto_eoi_mode),
        pair_test(poll_acknowledges),
        pair_test(the_status_read_remembers_which_register),
        pair_test(icw1_starts_afresh),
        pair_test(icw4_and_icw3_are_skipped_as_icw1_says),
        pair_test(the_slave_answers_only_to_its_number),
        pair_test(line_2_is_not_brought_out),
        pair_test(reset_masks_everything),
        pair_test(the_lowest_level_in_service_yields_to_all_others),
        pair_test(the_cascade_is_edge_triggered_too),
        pair_test(poll_reports_level_0),
        pair_test(icw1_ends_rotation_in_auto_eoi_mode),
        pair_test(a_slaves_number_has_three_bits),
        pair_test(a_request_waits_until_it_is_acknowledged_masked_or_not),
    };

    return cmocka_run_group_tests_name("pic_8259a", tests, NULL, NULL);
}
