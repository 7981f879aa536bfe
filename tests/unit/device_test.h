/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the device models share: a PC whose host notes what it is told, and short names
 * for port accesses.
 */
#ifndef DEVICE_TEST_H
#define DEVICE_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <previrt/device.h>

#define NS_PER_US     UINT64_C(1000)
#define NS_PER_MS     UINT64_C(1000000)
#define NS_PER_SECOND UINT64_C(1000000000)

struct machine {
    struct previrt_pc pc;
    uint64_t clock; /* ns, read by the bus */
    int interrupt;  /* level of INT, and how often it rose */
    unsigned interrupts;
    unsigned resets, exits, a20_changes;
    enum previrt_reset_source reset_source;
    uint32_t exit_code;
    int a20;
    uint8_t post_code;
    uint8_t sent[4096];
    size_t sent_length;
    unsigned sends, room_calls;
};

static inline uint64_t host_clock(void *context)
{
    return ((struct machine *)context)->clock;
}

static inline void host_interrupt(void *context, int level)
{
    struct machine *m = context;

    m->interrupt = level;
    m->interrupts += level != 0;
}

static inline void host_reset(void *context, enum previrt_reset_source source)
{
    struct machine *m = context;

    m->resets++;
    m->reset_source = source;
}

static inline void host_exit(void *context, uint32_t code)
{
    struct machine *m = context;

    m->exits++;
    m->exit_code = code;
}

static inline void host_a20(void *context, int enabled)
{
    struct machine *m = context;

    m->a20_changes++;
    m->a20 = enabled;
}

static inline void host_post_code(void *context, uint8_t code)
{
    ((struct machine *)context)->post_code = code;
}

static inline void host_transmit(void *context, const uint8_t *data, size_t length)
{
    struct machine *m = context;

    m->sends++;
    assert_true(m->sent_length + length <= sizeof(m->sent));
    memcpy(m->sent + m->sent_length, data, length);
    m->sent_length += length;
}

static inline void host_receive_room(void *context)
{
    ((struct machine *)context)->room_calls++;
}

/* 2005-08-15 12:34:56 UTC, a Monday. */
#define TEST_UNIX_TIME   UINT64_C(1124109296)
#define TEST_MEMORY_SIZE (UINT64_C(256) << 20)

static inline int machine_setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));
    struct previrt_pc_config config = {
        .host = {.context = m,
                 .clock = host_clock,
                 .interrupt = host_interrupt,
                 .reset = host_reset,
                 .exit = host_exit,
                 .a20 = host_a20,
                 .post_code = host_post_code},
        .rtc = {.unix_time = TEST_UNIX_TIME, .memory_size = TEST_MEMORY_SIZE},
        .com1 = {.context = m, .transmit = host_transmit, .receive_room = host_receive_room},
        .debug_exit_port = PREVIRT_DEBUG_EXIT_PORT};

    m->clock = NS_PER_SECOND;
    m->a20 = -1;
    *state = m;
    return previrt_pc_init(&m->pc, &config);
}

static inline int machine_teardown(void **state)
{
    free(*state);
    return 0;
}

#define machine_test(f) cmocka_unit_test_setup_teardown(f, machine_setup, machine_teardown)

static inline uint8_t inb(struct machine *m, uint16_t port)
{
    return (uint8_t)previrt_port_in(&m->pc.bus, port, 1);
}

static inline void outb(struct machine *m, uint8_t value, uint16_t port)
{
    previrt_port_out(&m->pc.bus, port, 1, value);
}

static inline uint32_t inl(struct machine *m, uint16_t port)
{
    return previrt_port_in(&m->pc.bus, port, 4);
}

static inline void outl(struct machine *m, uint32_t value, uint16_t port)
{
    previrt_port_out(&m->pc.bus, port, 4, value);
}

/* Let time pass, and what is due happen when it is due. */
static inline void pass(struct machine *m, uint64_t ns)
{
    uint64_t end = m->clock + ns;

    while (previrt_bus_deadline(&m->pc.bus) <= end) {
        if (previrt_bus_deadline(&m->pc.bus) > m->clock)
            m->clock = previrt_bus_deadline(&m->pc.bus);
        previrt_bus_run(&m->pc.bus);
    }
    m->clock = end;
}

#endif
