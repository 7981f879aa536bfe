/* SPDX-License-Identifier: BSD-2-Clause */
/* PCI configuration mechanism 1, against the specification and Linux' probing. */
#include "device_test.h"

#define ADDRESS 0xcf8
#define DATA    0xcfc

static uint32_t read_config(struct machine *m, unsigned bus, unsigned devfn, unsigned reg,
                            unsigned width)
{
    outl(m, 0x80000000 | bus << 16 | devfn << 8 | (reg & 0xfc), ADDRESS);
    return previrt_port_in(&m->pc.bus, (uint16_t)(DATA + (reg & 3)), width);
}

static void write_config(struct machine *m, unsigned devfn, unsigned reg, unsigned width,
                         uint32_t value)
{
    outl(m, 0x80000000 | devfn << 8 | (reg & 0xfc), ADDRESS);
    previrt_port_out(&m->pc.bus, (uint16_t)(DATA + (reg & 3)), width, value);
}

static void linux_finds_mechanism_1(void **state)
{
    struct machine *m = *state;
    uint32_t saved;

    /* pci_check_type1() of arch/x86/pci/direct.c */
    outb(m, 0x01, 0xcfb);
    saved = inl(m, ADDRESS);
    assert_int_equal(saved, 0);
    outl(m, 0x80000000, ADDRESS);
    assert_int_equal(inl(m, ADDRESS), 0x80000000);
    assert_int_equal(read_config(m, 0, 0, 0x0a, 2), 0x0600); /* pci_sanity_check() */
    outl(m, saved, ADDRESS);
}

static void the_host_bridge_is_a_440fx(void **state)
{
    struct machine *m = *state;

    assert_int_equal(read_config(m, 0, 0, 0x00, 4), 0x12378086);
    assert_int_equal(read_config(m, 0, 0, 0x02, 2), 0x1237);
    assert_int_equal(read_config(m, 0, 0, 0x01, 1), 0x80);
    assert_int_equal(read_config(m, 0, 0, 0x08, 4), 0x06000002);
    assert_int_equal(read_config(m, 0, 0, 0x0e, 1), 0); /* one function, no bridge to another bus */
    assert_int_equal(read_config(m, 0, 0, 0x04, 4), 0x02000006);
    write_config(m, 0, 0x00, 4, 0);
    write_config(m, 0, 0x04, 2, 0);
    assert_int_equal(read_config(m, 0, 0, 0x00, 4), 0x12378086);
    assert_int_equal(read_config(m, 0, 0, 0x04, 2), 0x0006);
    write_config(m, 0, 0x59, 1, 0x30); /* the attribute map is only memory */
    assert_int_equal(read_config(m, 0, 0, 0x59, 1), 0x30);
    for (unsigned bar = 0x10; bar < 0x28; bar += 4) {
        write_config(m, 0, bar, 4, 0xffffffff);
        assert_int_equal(read_config(m, 0, 0, bar, 4), 0);
    }
}

static void absent_functions_read_as_ones(void **state)
{
    struct machine *m = *state;

    for (unsigned devfn = 1; devfn < 256; devfn++)
        assert_int_equal(read_config(m, 0, devfn, 0, 4), 0xffffffff);
    for (unsigned bus = 1; bus < 256; bus++)
        assert_int_equal(read_config(m, bus, 0, 0, 2), 0xffff);
    write_config(m, 8, 0, 4, 0);
    outl(m, 0x00000000, ADDRESS); /* not enabled */
    assert_int_equal(inl(m, DATA), 0xffffffff);
}

static void only_32_bits_reach_the_address_register(void **state)
{
    struct machine *m = *state;

    outl(m, 0xffffffff, ADDRESS);
    assert_int_equal(inl(m, ADDRESS), 0x80fffffc);
    outb(m, 0, ADDRESS);
    outb(m, 0, ADDRESS + 3);
    previrt_port_out(&m->pc.bus, ADDRESS, 2, 0);
    assert_int_equal(inl(m, ADDRESS), 0x80fffffc);
    assert_int_equal(inb(m, ADDRESS), 0xff);
    assert_int_equal(previrt_port_in(&m->pc.bus, ADDRESS + 2, 2), 0xffff);
}

struct card {
    struct previrt_pci_function function;
    unsigned writes;
    unsigned last_offset, last_width;
    uint32_t cell;
};

static void card_written(struct previrt_pci_function *function, unsigned offset, unsigned width)
{
    struct card *card = function->context;

    card->writes++;
    card->last_offset = offset;
    card->last_width = width;
}

static uint32_t card_read(void *context, uint32_t offset, unsigned width)
{
    (void)width;
    return ((struct card *)context)->cell + offset;
}

static void card_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    (void)offset;
    (void)width;
    ((struct card *)context)->cell = value;
}

static const struct previrt_pci_function_ops card_ops = {.config_written = card_written};
static const struct previrt_range_ops card_range = {.read = card_read, .write = card_write};

/* A card in slot 3 with 256 bytes of ports (BAR 0) and 4 KB of memory (BAR 1). */
static void make_card(struct card *card)
{
    *card = (struct card){.cell = 0x1000};
    card->function.ops = &card_ops;
    card->function.context = card;
    card->function.devfn = 3 << 3;
    card->function.config[0] = 0x0b;
    card->function.config[1] = 0x10;
    card->function.config[7] = 0x22;
    card->function.write_1_to_clear[7] = 0x20;
    card->function.writable[0x3c] = 0xff;
    card->function.bar[0] =
        (struct previrt_range){.length = 256, .ops = &card_range, .context = card, .widths = 7};
    card->function.bar[1] = (struct previrt_range){.length = 4096,
                                                   .ops = &card_range,
                                                   .context = card,
                                                   .space = PREVIRT_SPACE_MEMORY,
                                                   .widths = 7};
}

static void linux_sizes_and_places_base_addresses(void **state)
{
    struct machine *m = *state;
    struct card card;

    make_card(&card);
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_OK);
    assert_int_equal(read_config(m, 0, 24, 0, 2), 0x100b);
    /* __pci_read_base(): all ones, read back, restore */
    assert_int_equal(read_config(m, 0, 24, 0x10, 4), 0x00000001);
    write_config(m, 24, 0x10, 4, 0xffffffff);
    assert_int_equal(read_config(m, 0, 24, 0x10, 4), 0xffffff01);
    write_config(m, 24, 0x14, 4, 0xffffffff);
    assert_int_equal(read_config(m, 0, 24, 0x14, 4), 0xfffff000);
    write_config(m, 24, 0x18, 4, 0xffffffff);
    assert_int_equal(read_config(m, 0, 24, 0x18, 4), 0);
    write_config(m, 24, 0x10, 4, 0xc000);
    write_config(m, 24, 0x14, 4, 0xfebf0000);
    assert_int_equal(inl(m, 0xc000), 0xffffffff); /* not enabled */
    write_config(m, 24, 0x04, 2, 0x0003);
    assert_int_equal(read_config(m, 0, 24, 0x04, 2), 0x0003);
    assert_int_equal(inl(m, 0xc010), 0x1010);
    assert_int_equal(previrt_memory_read(&m->pc.bus, 0xfebf0004, 4), 0x1004);
    previrt_memory_write(&m->pc.bus, 0xfebf0ffc, 4, 0x77);
    assert_int_equal(inl(m, 0xc000), 0x77);
    /* moved */
    write_config(m, 24, 0x10, 4, 0xd000);
    assert_int_equal(inl(m, 0xc000), 0xffffffff);
    assert_int_equal(inl(m, 0xd000), 0x77);
    /* onto another device: neither answers there but that one */
    write_config(m, 24, 0x10, 4, 0x0300);
    assert_int_equal(inb(m, PREVIRT_COM1_PORT + 5), 0x60);
    assert_int_equal(inl(m, 0x0300), 0xffffffff);
    write_config(m, 24, 0x10, 4, 0xe000);
    assert_int_equal(inl(m, 0xe000), 0x77);
    /* beyond the ports: off */
    write_config(m, 24, 0x10, 4, 0x1e000);
    assert_int_equal(inl(m, 0xe000), 0xffffffff);
    write_config(m, 24, 0x10, 4, 0xe000);
    write_config(m, 24, 0x04, 2, 0x0002);
    assert_int_equal(inl(m, 0xe000), 0xffffffff);
    assert_true(previrt_bus_claims(&m->pc.bus, PREVIRT_SPACE_MEMORY, 0xfebf0000));
    previrt_bus_reset(&m->pc.bus);
    assert_false(previrt_bus_claims(&m->pc.bus, PREVIRT_SPACE_MEMORY, 0xfebf0000));
    assert_int_equal(read_config(m, 0, 24, 0x04, 2), 0);
    assert_int_equal(read_config(m, 0, 24, 0x10, 4), 1);
}

static void configuration_writes_are_masked_and_told(void **state)
{
    struct machine *m = *state;
    struct card card;

    make_card(&card);
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_OK);
    write_config(m, 24, 0x3c, 1, 11);
    assert_int_equal(read_config(m, 0, 24, 0x3c, 4), 11);
    assert_int_equal(card.last_offset, 0x3c);
    assert_int_equal(card.last_width, 1);
    assert_int_equal(card.writes, 1);
    write_config(m, 24, 0x06, 2, 0x0200); /* a zero in the write-1-to-clear bit, a one beside it */
    assert_int_equal(read_config(m, 0, 24, 0x06, 2), 0x2200);
    write_config(m, 24, 0x06, 2, 0x2000);
    assert_int_equal(read_config(m, 0, 24, 0x06, 2), 0x0200);
    write_config(m, 24, 0xfc, 4, 0xffffffff);
    assert_int_equal(read_config(m, 0, 24, 0xff, 1), 0);
    /* an access across the end of the data register is split: the rest is nobody's */
    outl(m, 0x80000000 | 24 << 8 | 0x3c, ADDRESS);
    assert_int_equal(previrt_port_in(&m->pc.bus, DATA + 3, 2), 0xff00);
}

static void malformed_functions_are_refused(void **state)
{
    struct machine *m = *state;
    static struct card cards[PREVIRT_PCI_FUNCTIONS + 1];
    struct card card;

    make_card(&card);
    card.function.devfn = 0;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_OVERLAP);
    make_card(&card);
    card.function.bar[0].length = 100; /* no power of two */
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    card.function.bar[0].length = 2;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    card.function.bar[0].length = 0x20000;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    card.function.bar[0].length = 256;
    card.function.bar[1].length = 8;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    card.function.bar[1].length = 4096;
    card.function.bar[1].space = 2;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    card.function.bar[1].space = PREVIRT_SPACE_MEMORY;
    card.function.bar[1].widths = 0;
    assert_int_equal(previrt_pci_add(&m->pc.pci, &card.function), PREVIRT_E_INVALID);
    for (unsigned i = 1; i <= PREVIRT_PCI_FUNCTIONS; i++) {
        cards[i].function.devfn = (uint8_t)(i << 3);
        assert_int_equal(previrt_pci_add(&m->pc.pci, &cards[i].function),
                         i < PREVIRT_PCI_FUNCTIONS ? PREVIRT_OK : PREVIRT_E_SPACE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(linux_finds_mechanism_1),
        machine_test(the_host_bridge_is_a_440fx),
        machine_test(absent_functions_read_as_ones),
        machine_test(only_32_bits_reach_the_address_register),
        machine_test(linux_sizes_and_places_base_addresses),
        machine_test(configuration_writes_are_masked_and_told),
        machine_test(malformed_functions_are_refused),
    };

    return cmocka_run_group_tests_name("pci", tests, NULL, NULL);
}
