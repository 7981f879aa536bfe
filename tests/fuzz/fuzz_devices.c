/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile guest in front of the device models: the input is a list of accesses, passages of time
 * and events from outside. Besides what the sanitizers see, it checks what must hold whatever a
 * guest does: results fit their width, the host is told of every change of INT, deadlines are met
 * by one run, and running twice changes nothing.
 */
#include <stdlib.h>
#include <string.h>

#include <previrt/device.h>

struct input {
    const uint8_t *data;
    size_t left;
};

struct guest {
    struct previrt_pc pc;
    struct previrt_pci_function card;
    uint8_t card_cells[64];
    uint64_t now;
    int interrupt;
    uint64_t sent;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->data++;
}

static uint32_t take_word(struct input *in)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < 4; i++)
        value = value << 8 | take(in);
    return value;
}

static void check(int holds)
{
    if (!holds)
        abort();
}

static uint64_t guest_clock(void *context)
{
    return ((struct guest *)context)->now;
}

static void guest_interrupt(void *context, int level)
{
    struct guest *guest = context;

    check(guest->interrupt != level);
    guest->interrupt = level;
}

static void guest_transmit(void *context, const uint8_t *data, size_t length)
{
    volatile uint8_t sum = 0;

    check(length > 0 && length <= PREVIRT_UART_BATCH);
    for (size_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + data[i]);
    ((struct guest *)context)->sent += length;
}

static uint32_t card_read(void *context, uint32_t offset, unsigned width)
{
    struct guest *guest = context;
    uint32_t value = 0;

    memcpy(&value, guest->card_cells + offset, width);
    return value;
}

static void card_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct guest *guest = context;

    memcpy(guest->card_cells + offset, &value, width);
}

static void check_width(uint32_t value, unsigned width)
{
    check(width >= 4 || value >> width * 8 == 0);
}

/* The ports that something answers on, and some beside them. */
static uint16_t choose_port(struct input *in)
{
    static const uint16_t bases[] = {0x20,  0x40,  0x60,  0x70,  0x80,   0x92,  0xa0, 0xf4,
                                     0x3f8, 0x4d0, 0xcf8, 0xcfc, 0xc000, 0x3fc, 0x43, 0xffff};
    uint8_t choice = take(in);

    if (choice == 0xff)
        return (uint16_t)take_word(in);
    return (uint16_t)(bases[choice & 15] + (choice >> 4 & 7));
}

static void step(struct guest *guest, struct input *in)
{
    static const unsigned widths[] = {1, 1, 1, 1, 2, 4, 4, 3};
    struct previrt_bus *bus = &guest->pc.bus;
    uint8_t action = take(in), buffer[64];
    unsigned width = widths[action >> 5];
    uint64_t deadline;
    uint16_t port;

    switch (action & 0x0f) {
    case 0:
    case 1:
    case 2:
    case 3:
    case 4:
        port = choose_port(in);
        previrt_port_out(bus, port, width, width == 1 ? take(in) : take_word(in));
        break;
    case 5:
    case 6:
    case 7:
        port = choose_port(in);
        if (width != 3)
            check_width(previrt_port_in(bus, port, width), width);
        else
            check(previrt_port_in(bus, port, width) == UINT32_MAX);
        break;
    case 8:
        guest->now += take_word(in) >> (take(in) & 31);
        break;
    case 9: /* the VMM's timer */
        deadline = previrt_bus_deadline(bus);
        if (deadline == PREVIRT_NEVER)
            break;
        if (deadline > guest->now)
            guest->now = deadline;
        previrt_bus_run(bus);
        check(previrt_bus_deadline(bus) > guest->now);
        break;
    case 10: /* a run with nothing due changes nothing */
        previrt_bus_run(bus);
        deadline = previrt_bus_deadline(bus);
        check(deadline > guest->now);
        previrt_bus_run(bus);
        check(previrt_bus_deadline(bus) == deadline);
        break;
    case 11:
        check(previrt_pic_pending(&guest->pc.pic) == (guest->interrupt != 0));
        if (guest->interrupt)
            previrt_pic_acknowledge(&guest->pc.pic);
        else if (take(in) & 1)
            previrt_pic_acknowledge(&guest->pc.pic);
        break;
    case 12:
        port = choose_port(in);
        memset(buffer, action, sizeof(buffer));
        if (take(in) & 1)
            previrt_port_out_string(bus, port, width, buffer, take(in) % (sizeof(buffer) / 4));
        else
            previrt_port_in_string(bus, port, width, buffer, take(in) % (sizeof(buffer) / 4));
        break;
    case 13:
        memset(buffer, take(in), sizeof(buffer));
        if (action & 0x80)
            previrt_uart_receive_raw(&guest->pc.com1, take(in), take(in));
        else if (action & 0x40)
            previrt_uart_set_modem(&guest->pc.com1, take(in));
        else
            check(previrt_uart_receive(&guest->pc.com1, buffer, take(in) % sizeof(buffer)) <=
                  PREVIRT_UART_FIFO);
        break;
    case 14:
        check_width(previrt_memory_read(bus, (uint64_t)take_word(in) << (action >> 4), 2), 2);
        previrt_memory_write(bus, take_word(in), width, take_word(in));
        break;
    default:
        if (action == 0x0f) {
            previrt_bus_reset(bus);
        } else if (action & 0x80) {
            previrt_bus_flush(bus);
            check(guest->pc.com1.batch_length == 0);
        } else {
            previrt_rtc_cmos_write(&guest->pc.rtc, take(in), take(in));
            previrt_rtc_cmos_read(&guest->pc.rtc, take(in));
            previrt_rtc_unix_time(&guest->pc.rtc);
            guest->now += (uint64_t)take_word(in) * 1000000; /* up to 49 days */
        }
        break;
    }
    check(guest->pc.com1.rx_count <= PREVIRT_UART_FIFO);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct previrt_range_ops card_ops = {.read = card_read, .write = card_write};
    struct guest *guest = calloc(1, sizeof(*guest));
    struct input in = {data, size};
    struct previrt_pc_config config = {
        .host = {.context = guest, .clock = guest_clock, .interrupt = guest_interrupt},
        .rtc = {.unix_time = 1124109296, .memory_size = UINT64_C(256) << 20},
        .com1 = {.context = guest, .transmit = guest_transmit, .flush_delay = 1000000},
        .debug_exit_port = PREVIRT_DEBUG_EXIT_PORT};

    if (!guest)
        return 0;
    guest->now = take_word(&in);
    check(previrt_pc_init(&guest->pc, &config) == PREVIRT_OK);
    guest->card.devfn = 8;
    memset(guest->card.writable + 0x40, 0xff, 64);
    for (unsigned i = 0; i < 2; i++)
        guest->card.bar[i] = (struct previrt_range){.length = sizeof(guest->card_cells),
                                                    .ops = &card_ops,
                                                    .context = guest,
                                                    .space = (uint8_t)i,
                                                    .widths = 7};
    check(previrt_pci_add(&guest->pc.pci, &guest->card) == PREVIRT_OK);
    while (in.left > 0)
        step(guest, &in);
    free(guest);
    return 0;
}
