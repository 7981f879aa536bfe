/* SPDX-License-Identifier: BSD-2-Clause */
/* The MC146818A and the PC's CMOS memory, against Motorola's data sheet and Linux' use of them. */
#include <time.h>

#include "device_test.h"

enum {
    SECONDS = 0,
    SECONDS_ALARM,
    MINUTES,
    MINUTES_ALARM,
    HOURS,
    HOURS_ALARM,
    WEEKDAY,
    DAY,
    MONTH,
    YEAR,
    REG_A,
    REG_B,
    REG_C,
    REG_D,
    CENTURY = 0x32
};

#define UIP  0x80
#define SET  0x80
#define PIE  0x40
#define AIE  0x20
#define UIE  0x10
#define DM   0x04
#define H24  0x02
#define IRQF 0x80

static uint8_t get(struct machine *m, uint8_t index)
{
    outb(m, index, 0x70);
    return inb(m, 0x71);
}

static void put(struct machine *m, uint8_t value, uint8_t index)
{
    outb(m, index, 0x70);
    outb(m, value, 0x71);
}

static void set_time(struct machine *m, uint8_t mode, const uint8_t fields[7])
{
    static const uint8_t indices[] = {SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR};

    put(m, SET | mode, REG_B);
    for (unsigned i = 0; i < 7; i++)
        put(m, fields[i], indices[i]);
    put(m, mode, REG_B);
}

static void check_time(struct machine *m, const uint8_t fields[7])
{
    static const uint8_t indices[] = {SECONDS, MINUTES, HOURS, WEEKDAY, DAY, MONTH, YEAR};

    for (unsigned i = 0; i < 7; i++) {
        if (get(m, indices[i]) != fields[i])
            fail_msg("register %u is %#x, not %#x", indices[i], get(m, indices[i]), fields[i]);
    }
}

#define FIELDS(...) ((const uint8_t[7]){__VA_ARGS__})

static void enable_irq8(struct machine *m)
{
    static const uint8_t writes[][2] = {{0x11, 0x20}, {0x30, 0x21}, {0x04, 0x21}, {0x01, 0x21},
                                        {0x11, 0xa0}, {0x38, 0xa1}, {0x02, 0xa1}, {0x01, 0xa1},
                                        {0xfb, 0x21}, {0xfe, 0xa1}};

    for (size_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++)
        outb(m, writes[i][0], writes[i][1]);
    m->interrupts = 0;
}

static void end_irq8(struct machine *m)
{
    assert_int_equal(previrt_pic_acknowledge(&m->pc.pic), 0x38);
    outb(m, 0x20, 0xa0);
    outb(m, 0x20, 0x20);
}

static void it_starts_at_the_given_time_in_bcd(void **state)
{
    struct machine *m = *state;

    /* 2005-08-15 12:34:56, a Monday */
    check_time(m, FIELDS(0x56, 0x34, 0x12, 2, 0x15, 0x08, 0x05));
    assert_int_equal(get(m, CENTURY), 0x20);
    assert_int_equal(get(m, REG_A), 0x26);
    assert_int_equal(get(m, REG_B), H24);
    assert_int_equal(get(m, REG_D), 0x80);
    put(m, 0, REG_D); /* read-only */
    assert_int_equal(get(m, REG_D), 0x80);
    assert_int_equal(previrt_rtc_unix_time(&m->pc.rtc), TEST_UNIX_TIME);
}

static void seconds_pass(void **state)
{
    struct machine *m = *state;

    m->clock += NS_PER_SECOND - 1;
    assert_int_equal(get(m, SECONDS), 0x56);
    m->clock += 1;
    assert_int_equal(get(m, SECONDS), 0x57);
    m->clock += 3 * NS_PER_SECOND;
    check_time(m, FIELDS(0x00, 0x35, 0x12, 2, 0x15, 0x08, 0x05));
}

static void it_agrees_with_the_c_library_for_centuries(void **state)
{
    struct machine *m = *state;
    uint64_t random = 7, start = m->clock;

    for (unsigned i = 0; i < 2000; i++) {
        uint64_t elapsed = (m->clock - start) / NS_PER_SECOND;
        time_t now = (time_t)(TEST_UNIX_TIME + elapsed);
        struct tm tm;

        gmtime_r(&now, &tm);
        put(m, H24 | DM, REG_B); /* the registers keep their format: back at once */
        put(m, H24, REG_B);
        assert_int_equal(previrt_rtc_unix_time(&m->pc.rtc), (uint64_t)now);
        assert_int_equal(get(m, WEEKDAY), tm.tm_wday + 1);
        assert_int_equal(get(m, YEAR), tm.tm_year % 100 / 10 << 4 | tm.tm_year % 10);
        random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
        m->clock += (random >> 38) * NS_PER_SECOND; /* up to two years */
        if (elapsed > UINT64_C(9000000000))
            break;
    }
}

static void formats_roll_over(void **state)
{
    static const struct {
        uint8_t mode, before[7], after[7];
    } cases[] = {
        {H24, {0x59, 0x59, 0x23, 7, 0x31, 0x12, 0x99}, {0, 0, 0, 1, 0x01, 0x01, 0x00}},
        {H24, {0x59, 0x59, 0x09, 7, 0x28, 0x02, 0x05}, {0, 0, 0x10, 7, 0x28, 0x02, 0x05}},
        {H24, {0x59, 0x59, 0x23, 7, 0x28, 0x02, 0x05}, {0, 0, 0, 1, 0x01, 0x03, 0x05}},
        {H24, {0x59, 0x59, 0x23, 3, 0x28, 0x02, 0x04}, {0, 0, 0, 4, 0x29, 0x02, 0x04}},
        {H24 | DM, {59, 59, 23, 3, 30, 4, 26}, {0, 0, 0, 4, 1, 5, 26}},
        {DM, {59, 59, 11, 3, 30, 4, 26}, {0, 0, 0x80 | 12, 3, 30, 4, 26}},
        {DM, {59, 59, 0x80 | 11, 3, 30, 4, 26}, {0, 0, 12, 4, 1, 5, 26}},
        {0, {0x59, 0x59, 0x12, 3, 0x30, 4, 0x26}, {0, 0, 0x01, 3, 0x30, 4, 0x26}},
        {0, {0x59, 0x59, 0x92, 3, 0x30, 4, 0x26}, {0, 0, 0x81, 3, 0x30, 4, 0x26}},
        {0, {0x59, 0x59, 0x11, 3, 0x30, 4, 0x26}, {0, 0, 0x92, 3, 0x30, 4, 0x26}},
        {0, {0x59, 0x59, 0x89, 3, 0x30, 4, 0x26}, {0, 0, 0x90, 3, 0x30, 4, 0x26}},
    };
    struct machine *m = *state;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        put(m, 0x20, CENTURY);
        set_time(m, cases[i].mode, cases[i].before);
        m->clock += NS_PER_SECOND;
        check_time(m, cases[i].after);
    }
    /* The first case turned the century. */
    put(m, 0x20, CENTURY);
    set_time(m, H24, cases[0].before);
    m->clock += NS_PER_SECOND;
    assert_int_equal(get(m, CENTURY), 0x21);
}

static void nonsense_in_the_registers_becomes_a_date(void **state)
{
    struct machine *m = *state;

    for (unsigned mode = 0; mode < 8; mode += 2) {
        set_time(m, (uint8_t)mode, FIELDS(0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff));
        put(m, 0xff, CENTURY);
        m->clock += 400 * 86400 * NS_PER_SECOND;
        assert_in_range(get(m, WEEKDAY), 1, 7);
        assert_true(get(m, MONTH) >= 1 && get(m, MONTH) <= 0x12);
        set_time(m, (uint8_t)mode, FIELDS(0, 0, 0, 0, 0, 0, 0));
        put(m, 0, CENTURY);
        m->clock += 86400 * NS_PER_SECOND;
        assert_in_range(get(m, DAY), 1, 0x31);
    }
}

static void set_stops_the_clock(void **state)
{
    struct machine *m = *state;

    put(m, SET | H24 | UIE, REG_B);
    assert_int_equal(get(m, REG_B), SET | H24); /* SET clears UIE */
    m->clock += 10 * NS_PER_SECOND;
    assert_int_equal(get(m, SECONDS), 0x56);
    assert_int_equal(get(m, REG_A) & UIP, 0);
    assert_int_equal(get(m, REG_C) & UIE, 0);
    put(m, H24, REG_B);
    assert_int_equal(get(m, SECONDS), 0x56);
    m->clock += NS_PER_SECOND;
    assert_int_equal(get(m, SECONDS), 0x57);
}

static void linux_sets_the_time_and_half_a_second_later_it_ticks(void **state)
{
    struct machine *m = *state;
    uint8_t control, frequency;

    m->clock += 123456789;
    /* mc146818_set_time() */
    control = get(m, REG_B);
    put(m, control | SET, REG_B);
    frequency = get(m, REG_A);
    put(m, frequency | 0x60, REG_A);
    put(m, 0x26, YEAR);
    put(m, 0x11, MONTH);
    put(m, 0x22, DAY);
    put(m, 0x21, HOURS);
    put(m, 0x00, MINUTES);
    put(m, 0x30, SECONDS);
    put(m, control, REG_B);
    m->clock += NS_PER_SECOND; /* the divider is held: nothing moves */
    assert_int_equal(get(m, SECONDS), 0x30);
    put(m, frequency, REG_A);
    m->clock += NS_PER_SECOND / 2 - 1;
    assert_int_equal(get(m, SECONDS), 0x30);
    m->clock += 1;
    assert_int_equal(get(m, SECONDS), 0x31);
    assert_int_equal(get(m, HOURS), 0x21);
    m->clock += NS_PER_SECOND;
    assert_int_equal(get(m, SECONDS), 0x32);
}

static void the_top_bit_of_seconds_cannot_be_written(void **state)
{
    struct machine *m = *state;

    put(m, 0xb1, SECONDS);
    assert_int_equal(get(m, SECONDS), 0x31);
}

static void update_in_progress_comes_before_each_update(void **state)
{
    struct machine *m = *state;
    uint64_t begin = m->clock, rose = 0, fell = 0;

    assert_int_equal(get(m, REG_A) & UIP, 0);
    for (; !rose && m->clock < begin + 2 * NS_PER_SECOND; m->clock += 10 * NS_PER_US)
        rose = get(m, REG_A) & UIP ? m->clock : 0;
    assert_int_equal(get(m, SECONDS), 0x56);
    for (; !fell && m->clock < begin + 2 * NS_PER_SECOND; m->clock += 10 * NS_PER_US)
        fell = get(m, REG_A) & UIP ? 0 : m->clock;
    assert_int_equal(get(m, SECONDS), 0x57);
    assert_in_range(rose - begin, NS_PER_SECOND - 2238 * NS_PER_US,
                    NS_PER_SECOND - 2218 * NS_PER_US);
    assert_in_range(fell - begin, NS_PER_SECOND, NS_PER_SECOND + 10 * NS_PER_US);
    put(m, 0xff, REG_A); /* UIP is read-only */
    assert_int_equal(get(m, REG_A), 0x7f);
}

static void linux_reads_a_consistent_time_around_an_update(void **state)
{
    struct machine *m = *state;

    /* mc146818_avoid_UIP(), from every phase of a second, at a full minute */
    for (uint64_t phase = 0; phase < 1000; phase += 7) {
        uint64_t end = m->clock + NS_PER_SECOND;
        unsigned tries = 0;
        uint8_t seconds, minutes;

        set_time(m, H24, FIELDS(0x59, 0x59, 0x12, 1, 1, 1, 1));
        m->clock += phase * NS_PER_MS;
        for (;; m->clock += 100 * NS_PER_US) {
            assert_true(++tries < 100);
            seconds = get(m, SECONDS);
            m->clock += 2 * NS_PER_US;
            if (get(m, REG_A) & UIP)
                continue;
            m->clock += 2 * NS_PER_US;
            if (seconds != get(m, SECONDS))
                continue;
            m->clock += 200 * NS_PER_US; /* reading takes a while */
            minutes = get(m, MINUTES);
            if (get(m, REG_A) & UIP)
                continue;
            if (seconds == get(m, SECONDS))
                break;
        }
        assert_true((seconds == 0x59 && minutes == 0x59) || (seconds == 0 && minutes == 0));
        m->clock = end;
    }
}

static void update_interrupts_come_each_second(void **state)
{
    struct machine *m = *state;

    enable_irq8(m);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER); /* nobody asked */
    put(m, H24 | UIE, REG_B);
    get(m, REG_C);
    for (unsigned i = 1; i <= 5; i++) {
        pass(m, NS_PER_SECOND);
        assert_int_equal(m->interrupts, i);
        end_irq8(m);
        assert_int_equal(get(m, REG_C), IRQF | UIE | PIE); /* PF comes up without PIE too */
        assert_int_equal(get(m, REG_C), 0);
    }
    pass(m, 5 * NS_PER_SECOND); /* not read: the line stays up, and there is nothing to wait for */
    assert_int_equal(m->interrupts, 6);
    assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
}

static void periodic_interrupts_come_at_every_rate(void **state)
{
    static const unsigned rates[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                       256, 128, 64,  32,   16,   8,    4,    2};
    struct machine *m = *state;

    enable_irq8(m);
    put(m, H24 | PIE, REG_B);
    for (unsigned rate = 0; rate < 16; rate++) {
        uint64_t end;
        unsigned count = 0;

        put(m, (uint8_t)(0x20 | rate), REG_A);
        get(m, REG_C);
        end = m->clock + NS_PER_SECOND;
        while (previrt_bus_deadline(&m->pc.bus) <= end) {
            m->clock = previrt_bus_deadline(&m->pc.bus);
            previrt_bus_run(&m->pc.bus);
            assert_int_equal(m->interrupt, 1);
            end_irq8(m);
            assert_int_equal(get(m, REG_C) & (IRQF | PIE), IRQF | PIE);
            count++;
        }
        m->clock = end;
        assert_int_equal(count, rates[rate]);
    }
}

static void a_flag_without_its_enable_does_not_interrupt(void **state)
{
    struct machine *m = *state;

    enable_irq8(m);
    pass(m, 3 * NS_PER_SECOND);
    assert_int_equal(get(m, REG_C), UIE | PIE);
    assert_int_equal(m->interrupts, 0);
    m->clock += NS_PER_SECOND;
    get(m, SECONDS);
    put(m, H24 | UIE, REG_B); /* enabling with the flag up interrupts */
    assert_int_equal(m->interrupts, 1);
    put(m, H24, REG_B);
    assert_int_equal(m->interrupt, 0);
}

static void set_alarm(struct machine *m, uint8_t hours, uint8_t minutes, uint8_t seconds)
{
    put(m, hours, HOURS_ALARM);
    put(m, minutes, MINUTES_ALARM);
    put(m, seconds, SECONDS_ALARM);
    get(m, REG_C);
}

static void check_alarm(struct machine *m, uint64_t seconds)
{
    uint64_t begin = m->clock;

    assert_true(previrt_bus_deadline(&m->pc.bus) == begin + seconds * NS_PER_SECOND);
    m->clock += seconds * NS_PER_SECOND - 1;
    assert_int_equal(get(m, REG_C) & AIE, 0);
    m->clock += 1;
    previrt_bus_run(&m->pc.bus);
    assert_int_equal(m->interrupt, 1);
    end_irq8(m);
    assert_int_equal(get(m, REG_C) & (IRQF | AIE), IRQF | AIE);
    m->clock = begin;
}

static void alarms_come_when_the_time_matches(void **state)
{
    struct machine *m = *state;

    enable_irq8(m);
    put(m, H24 | AIE, REG_B);
    set_alarm(m, 0x12, 0x34, 0x57);
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + NS_PER_SECOND);
    set_alarm(m, 0x13, 0x00, 0x00); /* 25 min 4 s on */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 1504 * NS_PER_SECOND);
    set_alarm(m, 0x12, 0x34, 0x56); /* now is over: tomorrow */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 86400 * NS_PER_SECOND);
    set_alarm(m, 0x11, 0x00, 0x00);
    check_alarm(m, 80704);
}

static void alarms_with_dont_cares_repeat(void **state)
{
    struct machine *m = *state;
    unsigned expected;

    enable_irq8(m);
    put(m, H24 | AIE, REG_B);
    set_alarm(m, 0xff, 0xff, 0xff); /* every second */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + NS_PER_SECOND);
    set_alarm(m, 0xc0, 0xff, 0x10); /* every minute, at 10 */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 14 * NS_PER_SECOND);
    for (expected = 1; expected <= 3; expected++) {
        pass(m, 60 * NS_PER_SECOND);
        assert_int_equal(m->interrupts, expected);
        end_irq8(m);
        get(m, REG_C);
    }
    set_alarm(m, 0xff, 0x00, 0x00); /* every hour, from 12:37:56 */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 1324 * NS_PER_SECOND);
}

static void alarms_in_twelve_hour_mode(void **state)
{
    struct machine *m = *state;

    enable_irq8(m);
    set_time(m, 0, FIELDS(0x00, 0x59, 0x11, 2, 0x15, 0x08, 0x05)); /* 11:59:00 AM */
    put(m, AIE, REG_B);
    set_alarm(m, 0x92, 0, 0); /* 12 PM: noon */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 60 * NS_PER_SECOND);
    set_alarm(m, 0x12, 0, 0); /* midnight */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + (12 * 3600 + 60) * NS_PER_SECOND);
}

static void alarms_in_binary(void **state)
{
    struct machine *m = *state;

    enable_irq8(m);
    set_time(m, H24 | DM, FIELDS(0, 0, 9, 2, 15, 8, 5));
    put(m, H24 | DM | AIE, REG_B);
    set_alarm(m, 10, 59, 30); /* no BCD digits */
    assert_true(previrt_bus_deadline(&m->pc.bus) == m->clock + 7170 * NS_PER_SECOND);
}

static void a_new_rate_does_not_disturb_the_seconds(void **state)
{
    struct machine *m = *state;

    for (unsigned rate = 0; rate < 16; rate++) {
        m->clock += 50 * NS_PER_MS;
        put(m, (uint8_t)(0x20 | rate), REG_A);
    }
    m->clock += 199 * NS_PER_MS;
    assert_int_equal(get(m, SECONDS), 0x56);
    m->clock += NS_PER_MS;
    assert_int_equal(get(m, SECONDS), 0x57);
}

static void impossible_alarms_never_come(void **state)
{
    static const uint8_t bad[][3] = {{0x24, 0, 0}, {0, 0x60, 0},    {0, 0, 0x60},
                                     {0x1a, 0, 0}, {0xff, 0x7f, 0}, {0xff, 0xff, 0xbf}};
    struct machine *m = *state;

    put(m, H24 | AIE, REG_B);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        set_alarm(m, bad[i][0], bad[i][1], bad[i][2]);
        assert_true(previrt_bus_deadline(&m->pc.bus) == PREVIRT_NEVER);
        m->clock += 2 * 86400 * NS_PER_SECOND;
        assert_int_equal(get(m, REG_C) & AIE, 0);
    }
}

static void firmware_bytes_tell_the_memory_size(void **state)
{
    struct machine *m = *state;
    unsigned sum = 0;

    assert_int_equal(get(m, 0x15) | get(m, 0x16) << 8, 640);
    assert_int_equal(get(m, 0x17) | get(m, 0x18) << 8, 65535); /* 255 MB do not fit */
    assert_int_equal(get(m, 0x30) | get(m, 0x31) << 8, 65535);
    assert_int_equal(get(m, 0x34) | get(m, 0x35) << 8, 240 * 16);
    assert_int_equal(get(m, 0x5b), 0);
    assert_int_equal(get(m, 0x14), 0x02);
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += get(m, (uint8_t)i);
    assert_int_equal(get(m, 0x2e) << 8 | get(m, 0x2f), sum);
    assert_true(sum != 0);
}

static void memory_sizes_of_other_machines(void **state)
{
    static const struct {
        uint64_t size;
        unsigned base, extended, above_16m, above_4g;
    } cases[] = {{0, 0, 0, 0, 0},
                 {512 << 10, 512, 0, 0, 0},
                 {16 << 20, 640, 15360, 0, 0},
                 {UINT64_C(6) << 30, 640, 65535, 65280, 32768}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct previrt_rtc_config config = {.memory_size = cases[i].size};
        struct previrt_bus bus;
        struct previrt_rtc rtc;

        previrt_bus_init(&bus, NULL);
        assert_int_equal(previrt_rtc_init(&rtc, &bus, &config), PREVIRT_OK);
#define BYTE(i) (unsigned)previrt_rtc_cmos_read(&rtc, i)
        assert_int_equal(BYTE(0x15) | BYTE(0x16) << 8, cases[i].base);
        assert_int_equal(BYTE(0x17) | BYTE(0x18) << 8, cases[i].extended);
        assert_int_equal(BYTE(0x34) | BYTE(0x35) << 8, cases[i].above_16m);
        assert_int_equal(BYTE(0x5b) | BYTE(0x5c) << 8 | BYTE(0x5d) << 16, cases[i].above_4g);
#undef BYTE
        assert_int_equal(previrt_rtc_unix_time(&rtc), 0);
    }
}

static void cmos_memory_keeps_what_is_written(void **state)
{
    struct machine *m = *state;
    unsigned checksum;

    for (unsigned i = 0x0e; i < 0x80; i++)
        put(m, (uint8_t)(i ^ 0x5a), (uint8_t)i);
    for (unsigned i = 0x0e; i < 0x80; i++)
        assert_int_equal(get(m, (uint8_t)i), i ^ 0x5a);
    /* The guest's writes leave the checksum to the guest; the firmware's side keeps it. */
    assert_int_equal(get(m, 0x2e), 0x2e ^ 0x5a);
    previrt_rtc_cmos_write(&m->pc.rtc, 0x10, 0x99);
    checksum = 0x99;
    for (unsigned i = 0x11; i <= 0x2d; i++)
        checksum += i ^ 0x5a;
    assert_int_equal(get(m, 0x2e) << 8 | get(m, 0x2f), checksum);
    assert_int_equal(previrt_rtc_cmos_read(&m->pc.rtc, 0x10), 0x99);
    previrt_rtc_cmos_write(&m->pc.rtc, 0x2e, 0x77); /* also on purpose wrong */
    assert_int_equal(get(m, 0x2e), 0x77);
    assert_int_equal(previrt_rtc_cmos_read(&m->pc.rtc, 0x0d), 0xff);
    assert_int_equal(previrt_rtc_cmos_read(&m->pc.rtc, 0x80), 0xff);
    previrt_rtc_cmos_write(&m->pc.rtc, REG_B, 0xff);
    assert_int_equal(get(m, REG_B), H24);
}

static void the_index_port_masks_the_nmi(void **state)
{
    struct machine *m = *state;

    assert_false(previrt_rtc_nmi_masked(&m->pc.rtc));
    outb(m, 0x80 | REG_D, 0x70);
    assert_true(previrt_rtc_nmi_masked(&m->pc.rtc));
    assert_int_equal(inb(m, 0x71), 0x80);
    assert_int_equal(inb(m, 0x70), 0xff); /* write-only */
    outb(m, REG_D, 0x70);
    assert_false(previrt_rtc_nmi_masked(&m->pc.rtc));
}

static void reset_keeps_time_and_memory(void **state)
{
    struct machine *m = *state;

    put(m, 0x42, 0x40);
    put(m, H24 | PIE | AIE | UIE | 0x08, REG_B);
    m->clock += NS_PER_SECOND;
    previrt_bus_reset(&m->pc.bus);
    assert_int_equal(get(m, REG_B), H24);
    assert_int_equal(get(m, REG_C), 0);
    assert_int_equal(get(m, SECONDS), 0x57);
    assert_int_equal(get(m, 0x40), 0x42);
}

static void dates_past_9999_are_refused(void **state)
{
    struct previrt_rtc_config config = {.unix_time = UINT64_MAX};
    struct previrt_bus bus;
    struct previrt_rtc rtc;

    (void)state;
    previrt_bus_init(&bus, NULL);
    assert_int_equal(previrt_rtc_init(&rtc, &bus, &config), PREVIRT_E_INVALID);
    config.unix_time = UINT64_C(253402300799);
    assert_int_equal(previrt_rtc_init(&rtc, &bus, &config), PREVIRT_OK);
    assert_true(previrt_rtc_unix_time(&rtc) == UINT64_C(253402300799));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        machine_test(it_starts_at_the_given_time_in_bcd),
        machine_test(seconds_pass),
        machine_test(it_agrees_with_the_c_library_for_centuries),
        machine_test(formats_roll_over),
        machine_test(nonsense_in_the_registers_becomes_a_date),
        machine_test(set_stops_the_clock),
        machine_test(linux_sets_the_time_and_half_a_second_later_it_ticks),
        machine_test(the_top_bit_of_seconds_cannot_be_written),
        machine_test(update_in_progress_comes_before_each_update),
        machine_test(linux_reads_a_consistent_time_around_an_update),
        machine_test(update_interrupts_come_each_second),
        machine_test(periodic_interrupts_come_at_every_rate),
        machine_test(a_flag_without_its_enable_does_not_interrupt),
        machine_test(alarms_come_when_the_time_matches),
        machine_test(alarms_with_dont_cares_repeat),
        machine_test(alarms_in_twelve_hour_mode),
        machine_test(alarms_in_binary),
        machine_test(a_new_rate_does_not_disturb_the_seconds),
        machine_test(impossible_alarms_never_come),
        machine_test(firmware_bytes_tell_the_memory_size),
        machine_test(memory_sizes_of_other_machines),
        machine_test(cmos_memory_keeps_what_is_written),
        machine_test(the_index_port_masks_the_nmi),
        machine_test(reset_keeps_time_and_memory),
        machine_test(dates_past_9999_are_refused),
    };

    return cmocka_run_group_tests_name("rtc_mc146818", tests, NULL, NULL);
}
