/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The MC146818A real-time clock of a PC with its 114 bytes of CMOS memory, plus the conventions of
 * the PC for that memory.
 *
 * Sections cited are those of Motorola's MC146818A data sheet (ADI1016). As on the chip the time
 * lives in the registers, in whatever format the guest chose; it is moved on when somebody looks or
 * an interrupt is due. The divider chain counts from chain_start; a second ends, and the registers
 * change, at each whole second of it. Update-in-progress is up for the time before that, so that a
 * guest that heeds it never reads a register while it changes.
 */
#include "internal.h"

#define RTC_PORT  0x70
#define RTC_PORTS 2
#define RTC_IRQ   8

enum { INDEX_PORT = 0, DATA_PORT = 1 };
#define INDEX_NMI_MASK 0x80
#define INDEX_MASK     0x7f

/* "Address map" */
enum {
    SECONDS = 0x00,
    SECONDS_ALARM = 0x01,
    MINUTES = 0x02,
    MINUTES_ALARM = 0x03,
    HOURS = 0x04,
    HOURS_ALARM = 0x05,
    DAY_OF_WEEK = 0x06, /* 1 is Sunday */
    DAY_OF_MONTH = 0x07,
    MONTH = 0x08,
    YEAR = 0x09,
    REGISTER_A = 0x0a,
    REGISTER_B = 0x0b,
    REGISTER_C = 0x0c,
    REGISTER_D = 0x0d
};

/* "Register A" */
#define A_UIP         0x80
#define A_DV_MASK     0x70
#define A_DV_32768_HZ 0x20
#define A_DV_RESET    0x60 /* 110 and 111 hold the divider chain in reset */
#define A_RS_MASK     0x0f
#define A_RS_1024_HZ  0x06
/* "Register B" */
#define B_SET       0x80
#define B_PIE       0x40
#define B_AIE       0x20
#define B_UIE       0x10
#define B_SQWE      0x08
#define B_DM_BINARY 0x04
#define B_24_HOURS  0x02
/* "Register C"; the flags stand where register B has their enables. */
#define C_IRQF    0x80
#define C_PF      0x40
#define C_AF      0x20
#define C_UF      0x10
#define C_SOURCES (C_PF | C_AF | C_UF)
/* "Register D" */
#define D_VRT 0x80 /* the battery is good */

#define HOURS_PM        0x80
#define ALARM_DONT_CARE 0xc0 /* "don't care": the two most significant bits set */

/* "Update cycle", for a time base of 32.768 kHz: UIP is set 244 us before the cycle, which takes
 * 1984 us. */
#define UPDATE_NS      ((244u + 1984u) * 1000u)
#define HALF_SECOND_NS (PV_NS_PER_SECOND / 2)

#define CHAIN_HZ 32768u

/* The memory that firmware and kernels agree on (IBM AT Technical Reference, "Real-time clock/CMOS
 * RAM", and its successors). */
enum {
    CMOS_EQUIPMENT = 0x14,
    CMOS_BASE_KB = 0x15,     /* 0x15-0x16: memory below 640 KB */
    CMOS_EXTENDED_KB = 0x17, /* 0x17-0x18: above 1 MB, and again at 0x30 */
    CMOS_CHECKED_FIRST = 0x10,
    CMOS_CHECKED_LAST = 0x2d,
    CMOS_CHECKSUM = 0x2e, /* 0x2e-0x2f, high byte first */
    CMOS_EXTENDED_KB_2 = 0x30,
    CMOS_CENTURY = 0x32,
    CMOS_ABOVE_16M = 0x34, /* 0x34-0x35: in 64 KB */
    CMOS_ABOVE_4G = 0x5b   /* 0x5b-0x5d: in 64 KB */
};
#define EQUIPMENT_FPU 0x02
#define BASE_KB       640u

#define SECONDS_PER_DAY    86400u
#define SECONDS_PER_HOUR   3600u
#define SECONDS_PER_MINUTE 60u
#define NOT_TODAY          UINT32_MAX
#define EPOCH_WEEKDAY      4 /* 1 January 1970 was a Thursday, counted from Sunday as 0 */

/* --- Calendar. Days are counted from 1 March of year 0, so that leap days end a year. --- */

#define DAYS_TO_EPOCH    719468u
#define DAYS_PER_4_YEARS 1461u
#define DAYS_PER_CENTURY 36524u
#define DAYS_PER_400     146097u

static uint32_t days_from_date(unsigned year, unsigned month, unsigned day)
{
    unsigned y = month <= 2 ? year - 1 : year, m = month <= 2 ? month + 9 : month - 3;

    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1;
}

static void date_from_days(uint32_t days, unsigned *year, unsigned *month, unsigned *day)
{
    uint32_t era = days / DAYS_PER_400, of_era = days % DAYS_PER_400;
    uint32_t of_year, m;
    uint32_t y = (of_era - of_era / (DAYS_PER_4_YEARS - 1) + of_era / DAYS_PER_CENTURY -
                  of_era / (DAYS_PER_400 - 1)) /
                 365;

    of_year = of_era - (365 * y + y / 4 - y / 100);
    m = (5 * of_year + 2) / 153;
    *day = of_year - (153 * m + 2) / 5 + 1;
    *month = m < 10 ? m + 3 : m - 9;
    *year = era * 400 + y + (*month <= 2);
}

/* --- Registers and their formats --- */

static bool is_binary(const struct previrt_rtc *rtc)
{
    return rtc->cmos[REGISTER_B] & B_DM_BINARY;
}

static unsigned decode(const struct previrt_rtc *rtc, uint8_t value)
{
    return is_binary(rtc) ? value : pv_from_bcd(value);
}

static uint8_t encode(const struct previrt_rtc *rtc, unsigned value)
{
    return is_binary(rtc) ? (uint8_t)value : pv_to_bcd(value);
}

static unsigned decode_hours(const struct previrt_rtc *rtc, uint8_t value)
{
    unsigned hours;

    if (rtc->cmos[REGISTER_B] & B_24_HOURS)
        return decode(rtc, value);
    hours = decode(rtc, (uint8_t)(value & ~HOURS_PM)) % 12; /* 12 AM is 0, 12 PM is 12 */
    return value & HOURS_PM ? hours + 12 : hours;
}

static uint8_t encode_hours(const struct previrt_rtc *rtc, unsigned hours)
{
    if (rtc->cmos[REGISTER_B] & B_24_HOURS)
        return encode(rtc, hours);
    return (uint8_t)(encode(rtc, hours % 12 ? hours % 12 : 12) | (hours >= 12 ? HOURS_PM : 0));
}

/* What a guest left in a register may be no date: bring it into (first) to (last). */
static unsigned clamp(unsigned value, unsigned first, unsigned last)
{
    return value < first ? first : value > last ? last : value;
}

static uint32_t second_of_day(const struct previrt_rtc *rtc)
{
    return clamp(decode_hours(rtc, rtc->cmos[HOURS]), 0, 23) * SECONDS_PER_HOUR +
           clamp(decode(rtc, rtc->cmos[MINUTES]), 0, 59) * SECONDS_PER_MINUTE +
           clamp(decode(rtc, rtc->cmos[SECONDS]), 0, 59);
}

/* The century byte is memory to the chip; PCs keep it in BCD whatever the data mode is. */
static uint32_t day_number(const struct previrt_rtc *rtc)
{
    unsigned century = pv_from_bcd(rtc->cmos[CMOS_CENTURY]);

    return days_from_date(clamp(century, 19, 99) * 100 + clamp(decode(rtc, rtc->cmos[YEAR]), 0, 99),
                          clamp(decode(rtc, rtc->cmos[MONTH]), 1, 12),
                          clamp(decode(rtc, rtc->cmos[DAY_OF_MONTH]), 1, 31));
}

static void store_second_of_day(struct previrt_rtc *rtc, uint32_t second)
{
    rtc->cmos[HOURS] = encode_hours(rtc, second / SECONDS_PER_HOUR);
    rtc->cmos[MINUTES] = encode(rtc, second / SECONDS_PER_MINUTE % 60);
    rtc->cmos[SECONDS] = encode(rtc, second % SECONDS_PER_MINUTE);
}

static void store_day_number(struct previrt_rtc *rtc, uint32_t days)
{
    unsigned year, month, day;

    date_from_days(days, &year, &month, &day);
    rtc->cmos[YEAR] = encode(rtc, year % 100);
    rtc->cmos[MONTH] = encode(rtc, month);
    rtc->cmos[DAY_OF_MONTH] = encode(rtc, day);
    rtc->cmos[CMOS_CENTURY] = pv_to_bcd(year / 100);
}

/* --- Time passes --- */

static bool chain_runs(const struct previrt_rtc *rtc)
{
    return (rtc->cmos[REGISTER_A] & A_DV_MASK) == A_DV_32768_HZ;
}

static bool updates(const struct previrt_rtc *rtc)
{
    return chain_runs(rtc) && !(rtc->cmos[REGISTER_B] & B_SET);
}

/* Log2 of the ticks of the chain in a period of the periodic interrupt, -1 for none ("Periodic
 * interrupt rate and square wave output frequency"): 1 and 2 are the rates of 8 and 9. */
static int periodic_shift(const struct previrt_rtc *rtc)
{
    int rate = rtc->cmos[REGISTER_A] & A_RS_MASK;

    if (rate == 0)
        return -1;
    return rate <= 2 ? rate + 6 : rate - 1;
}

static uint64_t periods_at(const struct previrt_rtc *rtc, uint64_t now)
{
    int shift = periodic_shift(rtc);

    return shift < 0 ? 0 : pv_ns_to_ticks(now - rtc->chain_start, CHAIN_HZ) >> shift;
}

/* Whether an alarm byte can match at all, and whether it matches (value). */
static bool alarm_possible(const struct previrt_rtc *rtc, unsigned index, unsigned limit)
{
    uint8_t alarm = rtc->cmos[index];

    if (alarm >= ALARM_DONT_CARE)
        return true;
    if (!is_binary(rtc) && !pv_is_bcd(index == HOURS_ALARM ? alarm & (uint8_t)~HOURS_PM : alarm))
        return false;
    return (index == HOURS_ALARM ? decode_hours(rtc, alarm) : decode(rtc, alarm)) < limit;
}

static bool alarm_matches(const struct previrt_rtc *rtc, unsigned index, unsigned value)
{
    uint8_t alarm = rtc->cmos[index];

    return alarm >= ALARM_DONT_CARE ||
           alarm == (index == HOURS_ALARM ? encode_hours(rtc, value) : encode(rtc, value));
}

/* Seconds from (second) of a day to the next alarm, at least 1, NOT_TODAY if it never comes. */
static uint32_t alarm_delay(const struct previrt_rtc *rtc, uint32_t second)
{
    if (!alarm_possible(rtc, HOURS_ALARM, 24) || !alarm_possible(rtc, MINUTES_ALARM, 60) ||
        !alarm_possible(rtc, SECONDS_ALARM, 60))
        return NOT_TODAY;
    for (uint32_t delay = 1; delay <= SECONDS_PER_DAY;) {
        uint32_t then = (second + delay) % SECONDS_PER_DAY;

        if (!alarm_matches(rtc, HOURS_ALARM, then / SECONDS_PER_HOUR))
            delay += SECONDS_PER_HOUR - then % SECONDS_PER_HOUR;
        else if (!alarm_matches(rtc, MINUTES_ALARM, then / SECONDS_PER_MINUTE % 60))
            delay += SECONDS_PER_MINUTE - then % SECONDS_PER_MINUTE;
        else if (!alarm_matches(rtc, SECONDS_ALARM, then % SECONDS_PER_MINUTE))
            delay++;
        else
            return delay;
    }
    return NOT_TODAY;
}

/* "Update cycle": (elapsed) of them at once. */
static void update(struct previrt_rtc *rtc, uint64_t elapsed)
{
    uint32_t second = second_of_day(rtc), rest;
    uint32_t days = (uint32_t)pv_divide(elapsed, SECONDS_PER_DAY, &rest);

    if (alarm_delay(rtc, second) <= elapsed)
        rtc->cmos[REGISTER_C] |= C_AF;
    rtc->cmos[REGISTER_C] |= C_UF;
    second += rest;
    days += second / SECONDS_PER_DAY;
    store_second_of_day(rtc, second % SECONDS_PER_DAY);
    if (days > 0) {
        unsigned weekday = clamp(decode(rtc, rtc->cmos[DAY_OF_WEEK]), 1, 7);

        rtc->cmos[DAY_OF_WEEK] = encode(rtc, (weekday - 1 + days % 7) % 7 + 1);
        store_day_number(rtc, day_number(rtc) + days);
    }
}

/* "Interrupts": IRQF is the OR of the flags that are enabled; the IRQ pin follows it. */
static void set_irq(struct previrt_rtc *rtc)
{
    uint8_t *flags = &rtc->cmos[REGISTER_C];

    if (*flags & rtc->cmos[REGISTER_B] & C_SOURCES)
        *flags |= C_IRQF;
    else
        *flags &= (uint8_t)~C_IRQF;
    previrt_irq_set(&rtc->irq, *flags & C_IRQF);
}

static void sync(struct previrt_rtc *rtc, uint64_t now)
{
    uint64_t seconds, periods;
    uint32_t unused;

    if (!chain_runs(rtc) || (int64_t)(now - rtc->chain_start) < 0)
        return;
    seconds = pv_divide(now - rtc->chain_start, PV_NS_PER_SECOND, &unused);
    if (seconds > rtc->seconds_done) {
        if (updates(rtc))
            update(rtc, seconds - rtc->seconds_done);
        rtc->seconds_done = seconds;
    }
    periods = periods_at(rtc, now);
    if (periods > rtc->periodic_done)
        rtc->cmos[REGISTER_C] |= C_PF; /* whether it is enabled or not */
    rtc->periodic_done = periods;
    set_irq(rtc);
}

static uint64_t second_ns(const struct previrt_rtc *rtc, uint64_t seconds)
{
    return rtc->chain_start + seconds * PV_NS_PER_SECOND;
}

/* Only enabled interrupts whose flag is not up already need the VMM to come back. */
static uint64_t rtc_deadline(struct previrt_device *device)
{
    struct previrt_rtc *rtc = PV_CONTAINER(device, struct previrt_rtc, device);
    uint8_t wanted = rtc->cmos[REGISTER_B] & (uint8_t)~rtc->cmos[REGISTER_C] & C_SOURCES;
    uint64_t deadline = PREVIRT_NEVER, then;

    if (!chain_runs(rtc))
        return PREVIRT_NEVER;
    if ((wanted & C_PF) && periodic_shift(rtc) >= 0)
        deadline = rtc->chain_start +
                   pv_ticks_to_ns((rtc->periodic_done + 1) << periodic_shift(rtc), CHAIN_HZ);
    if (!updates(rtc))
        return deadline;
    if (wanted & C_UF) {
        then = second_ns(rtc, rtc->seconds_done + 1);
        deadline = then < deadline ? then : deadline;
    }
    if (wanted & C_AF) {
        uint32_t delay = alarm_delay(rtc, second_of_day(rtc));

        then = delay == NOT_TODAY ? PREVIRT_NEVER : second_ns(rtc, rtc->seconds_done + delay);
        deadline = then < deadline ? then : deadline;
    }
    return deadline;
}

static void rtc_run(struct previrt_device *device, uint64_t now)
{
    sync(PV_CONTAINER(device, struct previrt_rtc, device), now);
}

/* --- Accesses --- */

/* "Register A": DV and RS; UIP is read-only. */
static void write_a(struct previrt_rtc *rtc, uint8_t value, uint64_t now)
{
    bool ran = chain_runs(rtc);

    rtc->cmos[REGISTER_A] = value & (uint8_t)~A_UIP;
    if (!ran && chain_runs(rtc)) {
        /* "When the divider reset is removed the first update cycle begins one-half second later."
         */
        rtc->chain_start = now - HALF_SECOND_NS;
        rtc->seconds_done = 0;
    }
    if (chain_runs(rtc))
        rtc->periodic_done = periods_at(rtc, now);
}

/* "Register B": setting SET aborts an update and clears UIE. */
static void write_b(struct previrt_rtc *rtc, uint8_t value)
{
    if (value & B_SET)
        value &= (uint8_t)~B_UIE;
    rtc->cmos[REGISTER_B] = value;
    set_irq(rtc);
}

static void write_register(struct previrt_rtc *rtc, unsigned index, uint8_t value, uint64_t now)
{
    switch (index) {
    case REGISTER_A:
        write_a(rtc, value, now);
        break;
    case REGISTER_B:
        write_b(rtc, value);
        break;
    case REGISTER_C: /* read-only, both */
    case REGISTER_D:
        break;
    case SECONDS:
        rtc->cmos[index] = value & 0x7f; /* "the high-order bit of seconds is read-only" */
        break;
    default:
        rtc->cmos[index] = value;
        break;
    }
}

static uint8_t read_register(struct previrt_rtc *rtc, unsigned index, uint64_t now)
{
    uint8_t value = rtc->cmos[index];

    if (index == REGISTER_A && updates(rtc) &&
        second_ns(rtc, rtc->seconds_done + 1) - now <= UPDATE_NS) {
        value |= A_UIP;
    } else if (index == REGISTER_C) { /* reading clears all flags */
        rtc->cmos[REGISTER_C] = 0;
        set_irq(rtc);
    }
    return value;
}

static uint32_t rtc_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_rtc *rtc = context;
    uint64_t now = previrt_bus_time(rtc->device.bus);
    uint8_t value;

    (void)width;
    if (offset == INDEX_PORT) /* write-only */
        return 0xff;
    sync(rtc, now);
    value = read_register(rtc, rtc->index, now);
    previrt_bus_deadline_changed(rtc->device.bus);
    return value;
}

static void rtc_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_rtc *rtc = context;
    uint64_t now;

    (void)width;
    if (offset == INDEX_PORT) {
        rtc->index = value & INDEX_MASK;
        rtc->nmi_masked = value & INDEX_NMI_MASK;
        return;
    }
    now = previrt_bus_time(rtc->device.bus);
    sync(rtc, now);
    write_register(rtc, rtc->index, (uint8_t)value, now);
    previrt_bus_deadline_changed(rtc->device.bus);
}

uint64_t previrt_rtc_unix_time(struct previrt_rtc *rtc)
{
    uint32_t days;

    sync(rtc, previrt_bus_time(rtc->device.bus));
    days = day_number(rtc);
    if (days < DAYS_TO_EPOCH)
        return 0;
    return (uint64_t)(days - DAYS_TO_EPOCH) * SECONDS_PER_DAY + second_of_day(rtc);
}

bool previrt_rtc_nmi_masked(const struct previrt_rtc *rtc)
{
    return rtc->nmi_masked;
}

/* --- CMOS memory --- */

static bool is_memory(unsigned index)
{
    return index > REGISTER_D && index < PREVIRT_CMOS_SIZE;
}

uint8_t previrt_rtc_cmos_read(const struct previrt_rtc *rtc, unsigned index)
{
    return is_memory(index) ? rtc->cmos[index] : 0xff;
}

void previrt_rtc_cmos_write(struct previrt_rtc *rtc, unsigned index, uint8_t value)
{
    unsigned sum = 0;

    if (!is_memory(index))
        return;
    rtc->cmos[index] = value;
    if (index < CMOS_CHECKED_FIRST || index > CMOS_CHECKED_LAST)
        return;
    for (unsigned i = CMOS_CHECKED_FIRST; i <= CMOS_CHECKED_LAST; i++)
        sum += rtc->cmos[i];
    rtc->cmos[CMOS_CHECKSUM] = (uint8_t)(sum >> 8);
    rtc->cmos[CMOS_CHECKSUM + 1] = (uint8_t)sum;
}

static void cmos_write_word(struct previrt_rtc *rtc, unsigned index, uint64_t value)
{
    if (value > UINT16_MAX)
        value = UINT16_MAX;
    previrt_rtc_cmos_write(rtc, index, (uint8_t)value);
    previrt_rtc_cmos_write(rtc, index + 1, (uint8_t)(value >> 8));
}

/* Memory below 4 GB is that up to its end: a VMM with a hole there corrects the bytes. */
static void write_memory_size(struct previrt_rtc *rtc, uint64_t size)
{
    const uint64_t one_mb = 1u << 20, sixteen_mb = 16 * one_mb, four_gb = (uint64_t)1 << 32;
    uint64_t low = size < four_gb ? size : four_gb;
    uint64_t extended_kb = low > one_mb ? (low - one_mb) >> 10 : 0;
    uint64_t high = size > four_gb ? (size - four_gb) >> 16 : 0;

    cmos_write_word(rtc, CMOS_BASE_KB, low >> 10 < BASE_KB ? low >> 10 : BASE_KB);
    cmos_write_word(rtc, CMOS_EXTENDED_KB, extended_kb);
    cmos_write_word(rtc, CMOS_EXTENDED_KB_2, extended_kb);
    cmos_write_word(rtc, CMOS_ABOVE_16M, low > sixteen_mb ? (low - sixteen_mb) >> 16 : 0);
    for (unsigned i = 0; i < 3; i++)
        previrt_rtc_cmos_write(rtc, CMOS_ABOVE_4G + i, (uint8_t)(high >> 8 * i));
}

/* "RESET": clears the enables and the flags, not the time and not the memory. */
static void rtc_reset(struct previrt_device *device)
{
    struct previrt_rtc *rtc = PV_CONTAINER(device, struct previrt_rtc, device);

    sync(rtc, previrt_bus_time(device->bus));
    rtc->cmos[REGISTER_B] &= (uint8_t) ~(B_PIE | B_AIE | B_UIE | B_SQWE);
    rtc->cmos[REGISTER_C] = 0;
    rtc->nmi_masked = false;
    set_irq(rtc);
}

int previrt_rtc_init(struct previrt_rtc *rtc, struct previrt_bus *bus,
                     const struct previrt_rtc_config *config)
{
    static const struct previrt_device_ops ops = {
        .name = "rtc_mc146818", .reset = rtc_reset, .run = rtc_run, .deadline = rtc_deadline};
    static const struct previrt_range_ops range_ops = {.read = rtc_read, .write = rtc_write};
    const uint64_t last_second = 253402300799u; /* of the year 9999: the century has two digits */
    uint32_t second, days;
    int status;

    *rtc = (struct previrt_rtc){.device.ops = &ops};
    if (config->unix_time > last_second)
        return PREVIRT_E_INVALID;
    pv_range(&rtc->range, PREVIRT_SPACE_PORT, RTC_PORT, RTC_PORTS, PREVIRT_WIDTH_8, &range_ops,
             rtc);
    status = previrt_bus_attach(bus, &rtc->device, &rtc->range, 1);
    if (status != PREVIRT_OK)
        return status;
    previrt_irq_connect(&rtc->irq, bus, RTC_IRQ);
    rtc->chain_start = previrt_bus_time(bus);
    rtc->cmos[REGISTER_A] = A_DV_32768_HZ | A_RS_1024_HZ;
    rtc->cmos[REGISTER_B] = B_24_HOURS;
    rtc->cmos[REGISTER_D] = D_VRT;
    days = (uint32_t)pv_divide(config->unix_time, SECONDS_PER_DAY, &second);
    store_second_of_day(rtc, second);
    store_day_number(rtc, days + DAYS_TO_EPOCH);
    rtc->cmos[DAY_OF_WEEK] = encode(rtc, (days + EPOCH_WEEKDAY) % 7 + 1);
    previrt_rtc_cmos_write(rtc, CMOS_EQUIPMENT, EQUIPMENT_FPU);
    write_memory_size(rtc, config->memory_size);
    return PREVIRT_OK;
}
