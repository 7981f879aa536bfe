/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the device models share. Freestanding: a 32-bit build has no 64-bit division, since there is
 * no libgcc to call, so it is spelled out here.
 */
#ifndef DEVICES_INTERNAL_H
#define DEVICES_INTERNAL_H

#include <previrt/device.h>

#define PV_NS_PER_SECOND 1000000000u

#define PV_CONTAINER(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* (n) / (d) with the remainder in (*remainder), for d < 2^31. One bit at a time: the remainder
 * never outgrows 32 bits. */
static inline uint64_t pv_divide_portable(uint64_t n, uint32_t d, uint32_t *remainder)
{
    uint32_t high = (uint32_t)(n >> 32), low = (uint32_t)n;
    uint32_t quotient_high = high / d, quotient_low = 0, rest = high % d;

    for (int bit = 31; bit >= 0; bit--) {
        rest = rest << 1 | (low >> bit & 1);
        quotient_low <<= 1;
        if (rest >= d) {
            rest -= d;
            quotient_low |= 1;
        }
    }
    *remainder = rest;
    return (uint64_t)quotient_high << 32 | quotient_low;
}

static inline uint64_t pv_divide(uint64_t n, uint32_t d, uint32_t *remainder)
{
#if UINTPTR_MAX > UINT32_MAX
    *remainder = (uint32_t)(n % d);
    return n / d;
#else
    return pv_divide_portable(n, d, remainder);
#endif
}

/* Ticks of a clock of (hz), below 2^32, that have passed (ns) after its start. */
static inline uint64_t pv_ns_to_ticks(uint64_t ns, uint32_t hz)
{
    uint32_t rest, unused;
    uint64_t seconds = pv_divide(ns, PV_NS_PER_SECOND, &rest);

    return seconds * hz + pv_divide((uint64_t)rest * hz, PV_NS_PER_SECOND, &unused);
}

/* The first ns at which (ticks) have passed: pv_ns_to_ticks(pv_ticks_to_ns(t)) == t. */
static inline uint64_t pv_ticks_to_ns(uint64_t ticks, uint32_t hz)
{
    uint32_t rest, fraction;
    uint64_t seconds = pv_divide(ticks, hz, &rest);
    uint64_t ns = pv_divide((uint64_t)rest * PV_NS_PER_SECOND, hz, &fraction);

    if (seconds >= UINT64_MAX / PV_NS_PER_SECOND)
        return PREVIRT_NEVER;
    return seconds * PV_NS_PER_SECOND + ns + (fraction != 0);
}

/* Two decimal digits as one byte. */
static inline uint8_t pv_to_bcd(unsigned value)
{
    return (uint8_t)((value / 10 % 10) << 4 | value % 10);
}

static inline unsigned pv_from_bcd(uint8_t bcd)
{
    return (bcd >> 4) * 10u + (bcd & 0xf);
}

static inline bool pv_is_bcd(uint8_t value)
{
    return (value & 0xf) <= 9 && value >> 4 <= 9;
}

/* Fill in a range. */
static inline void pv_range(struct previrt_range *range, enum previrt_space space, uint64_t base,
                            uint64_t length, uint8_t widths, const struct previrt_range_ops *ops,
                            void *context)
{
    range->space = (uint8_t)space;
    range->base = base;
    range->length = length;
    range->widths = widths;
    range->ops = ops;
    range->context = context;
}

/* Ask the VMM for a reset. */
static inline void pv_request_reset(struct previrt_bus *bus, enum previrt_reset_source source)
{
    if (bus->host.reset)
        bus->host.reset(bus->host.context, source);
}

/* The A20 gates of a PC: the line is high when any of them opens it, on a PC two chips are or-ed.
 */
enum pv_a20_gate { PV_A20_KEYBOARD = 1, PV_A20_PORT92 = 2 };
void pv_set_a20(struct previrt_bus *bus, enum pv_a20_gate gate, bool open);

#endif
