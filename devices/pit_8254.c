/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 8254 programmable interval timer of a PC: three counters at 1.193182 MHz.
 *
 * Sections cited are those of Intel's 8254 data sheet (231164-005). No counter is stepped: where it
 * is follows from the tick at which it was loaded, so a read costs the same however long it was not
 * looked at. Only three things bring a counter up to date: a guest's access, its gate, and a due
 * interrupt.
 */
#include "internal.h"

#define PIT_PORT     0x40
#define PIT_PORTS    4
#define PIT_IRQ      0
#define COUNTERS     3
#define CONTROL_PORT 3 /* offset of the control word register */

/* "Control word format" */
#define CONTROL_BCD          0x01
#define CONTROL_MODE_SHIFT   1
#define CONTROL_MODE_MASK    0x07
#define CONTROL_ACCESS_MASK  0x30
#define CONTROL_ACCESS_LATCH 0x00 /* "Counter latch command" */
#define CONTROL_ACCESS_LSB   0x10
#define CONTROL_ACCESS_MSB   0x20
#define CONTROL_SELECT_SHIFT 6
#define CONTROL_PROGRAMMED   0x3f /* what the status byte gives back */

/* "Read-back command" */
#define SELECT_READ_BACK    3
#define READ_BACK_NO_COUNT  0x20
#define READ_BACK_NO_STATUS 0x10
#define READ_BACK_COUNTER_0 0x02

/* "Status byte" */
#define STATUS_OUTPUT     0x80
#define STATUS_NULL_COUNT 0x40

#define BINARY_MODULUS 0x10000u
#define BCD_MODULUS    10000u

enum mode {
    MODE_TERMINAL_COUNT = 0,
    MODE_ONE_SHOT = 1,
    MODE_RATE = 2,
    MODE_SQUARE_WAVE = 3,
    MODE_SOFTWARE_STROBE = 4,
    MODE_HARDWARE_STROBE = 5
};

typedef struct previrt_8254_counter counter_t;

static bool is_periodic(const counter_t *c)
{
    return c->mode == MODE_RATE || c->mode == MODE_SQUARE_WAVE;
}

static bool is_gate_triggered(const counter_t *c)
{
    return c->mode == MODE_ONE_SHOT || c->mode == MODE_HARDWARE_STROBE;
}

static uint32_t modulus(const counter_t *c)
{
    return c->control & CONTROL_BCD ? BCD_MODULUS : BINARY_MODULUS;
}

static uint32_t remainder_of(uint64_t n, uint32_t d)
{
    uint32_t rest;

    pv_divide(n, d, &rest);
    return rest;
}

/* Ticks that OUT is high in a period of mode 3, "for odd counts (N + 1) / 2". */
static uint32_t square_high(const counter_t *c)
{
    return (c->period + 1) / 2;
}

/* --- Where a counter is at tick (t). Valid after advance(c, t). --- */

static bool is_loaded(const counter_t *c, uint64_t t)
{
    return c->counting && (int64_t)(t - c->start) >= 0; /* start may lie before tick 0 */
}

/* The counting element, as a number. */
static uint32_t count_at(const counter_t *c, uint64_t t)
{
    uint64_t passed = t - c->start;
    uint32_t phase, high;

    if (!is_loaded(c, t))
        return c->held;
    if (!is_periodic(c)) {
        /* "the Counter wraps around to the highest count and continues counting" */
        uint32_t m = modulus(c);

        return (c->initial + m - remainder_of(passed, m)) % m;
    }
    phase = remainder_of(passed, c->period);
    if (c->mode == MODE_RATE)
        return (c->period - phase) % modulus(c);
    high = square_high(c);
    if (phase >= high)
        phase -= high;
    /* Two a tick; an odd count begins at the count minus one. */
    return ((c->period & ~1u) - 2 * phase) % modulus(c);
}

static bool output_at(const counter_t *c, uint64_t t)
{
    switch (c->mode) {
    case MODE_TERMINAL_COUNT:
        return c->expired;
    case MODE_ONE_SHOT:
        if (c->counting && !is_loaded(c, t)) /* triggered, and loaded with the next tick */
            return !c->was_low;
        return !c->counting || c->expired;
    case MODE_RATE:
        return !is_loaded(c, t) || remainder_of(t - c->start, c->period) != c->period - 1;
    case MODE_SQUARE_WAVE:
        return !is_loaded(c, t) || remainder_of(t - c->start, c->period) < square_high(c);
    default: /* the strobes: low for one tick when the count expires */
        return !(is_loaded(c, t) && c->armed && t == c->start + c->initial);
    }
}

/* The first tick after (t) at which OUT goes from low to high, if nothing changes. */
static uint64_t next_rise(const counter_t *c, uint64_t t)
{
    uint64_t first;

    if (!c->counting)
        return PREVIRT_NEVER;
    switch (c->mode) {
    case MODE_TERMINAL_COUNT:
        return c->expired ? PREVIRT_NEVER : c->start + c->initial;
    case MODE_ONE_SHOT:
        return c->expired ? PREVIRT_NEVER : c->start + c->initial;
    case MODE_RATE:
    case MODE_SQUARE_WAVE:
        if (c->period < 2) /* an illegal count: OUT stands still */
            return PREVIRT_NEVER;
        /* OUT rises when a period begins; it starts out high, so not with the first. */
        first = c->start + c->period;
        if ((int64_t)(t - first) < 0)
            return first;
        return t - remainder_of(t - c->start, c->period) + c->period;
    default:
        first = c->start + c->initial + 1;
        return c->armed && t < first ? first : PREVIRT_NEVER;
    }
}

/* --- Changes --- */

/* The tick at which a count written at (t) takes over from the one that is counted: modes 2 and 3,
 * the end of the period or of the half of it. */
static uint64_t next_boundary(const counter_t *c, uint64_t t)
{
    uint32_t phase = remainder_of(t - c->start, c->period);
    uint32_t high = square_high(c);

    if (c->mode == MODE_SQUARE_WAVE && phase < high)
        return t - phase + high;
    return t - phase + c->period;
}

/* Let happen what happens in (c) up to and including tick (t). Says whether OUT rose on the way,
 * after (since). */
static bool advance(counter_t *c, uint64_t since, uint64_t t)
{
    bool rose = false;

    if (c->reload_pending && c->boundary <= t) {
        bool low_half = c->mode == MODE_SQUARE_WAVE && !output_at(c, c->boundary);

        rose = next_rise(c, since) <= c->boundary;
        since = c->boundary;
        c->start = c->boundary;
        c->period = c->reload;
        c->reload_pending = false;
        /* In the middle of a square wave the new count begins with its low half. */
        if (low_half && c->period > 1)
            c->start -= square_high(c);
    }
    if (next_rise(c, since) <= t)
        rose = true;
    if (!is_periodic(c) && is_loaded(c, t)) {
        if (t - c->start >= c->initial)
            c->expired = true;
        if (t - c->start > c->initial)
            c->armed = false; /* the strobe is over, and does not come again when the count wraps */
    }
    return rose;
}

/* Load the counting element at the tick after (t): "the initial count is loaded on the next CLK
 * pulse". */
static void load(counter_t *c, uint64_t t)
{
    c->was_low = !output_at(c, t);
    c->held = (uint16_t)count_at(c, t);
    c->start = t + 1;
    c->initial = c->period = c->reload;
    c->counting = true;
    c->reload_pending = false;
    c->expired = false;
    c->armed = true;
}

/* Stop counting at (t), keeping the count. */
static void hold(counter_t *c, uint64_t t)
{
    if (c->counting && !is_loaded(c, t)) /* loaded, but it gets no further */
        c->held = (uint16_t)c->initial;
    else
        c->held = (uint16_t)count_at(c, t);
    c->counting = false;
}

/* Go on counting from the count that was kept. */
static void resume(counter_t *c, uint64_t t)
{
    c->start = t;
    c->initial = c->held;
    if (c->initial == 0 && !c->expired)
        c->initial = modulus(c);
    c->counting = true;
}

static void write_control(counter_t *c, uint8_t value, uint64_t t)
{
    uint8_t mode = value >> CONTROL_MODE_SHIFT & CONTROL_MODE_MASK;

    hold(c, t);
    c->control = value & CONTROL_PROGRAMMED;
    c->mode = mode > MODE_HARDWARE_STROBE ? mode - 4 : mode; /* "X10" is mode 2, "X11" is mode 3 */
    c->expired = c->armed = c->reload_pending = false;
    c->reload = 0;
    c->status_latched = c->write_high = c->read_high = false;
    c->latched = 0;
}

/* A whole count has been written at (t). */
static void write_count(counter_t *c, uint16_t value, uint64_t t)
{
    uint32_t count = value;

    if (c->control & CONTROL_BCD)
        count = pv_from_bcd((uint8_t)(value >> 8)) * 100 + pv_from_bcd((uint8_t)value);
    c->reload = count ? count : modulus(c);
    if (is_gate_triggered(c)) {
        c->reload_pending = true; /* until the trigger; boundary is never reached */
        c->boundary = PREVIRT_NEVER;
        return;
    }
    if (is_periodic(c) && is_loaded(c, t) && c->gate) {
        c->reload_pending = true;
        c->boundary = next_boundary(c, t);
        return;
    }
    load(c, t);
    if (!c->gate) /* it is loaded, and counts when the gate opens */
        hold(c, t);
}

static void write_byte(counter_t *c, uint8_t value, uint64_t t)
{
    switch (c->control & CONTROL_ACCESS_MASK) {
    case CONTROL_ACCESS_LSB:
        write_count(c, value, t);
        break;
    case CONTROL_ACCESS_MSB:
        write_count(c, (uint16_t)(value << 8), t);
        break;
    case CONTROL_ACCESS_LSB | CONTROL_ACCESS_MSB:
        if (c->write_high) {
            write_count(c, (uint16_t)(value << 8 | c->low_byte), t);
        } else {
            c->low_byte = value;
            if (c->mode == MODE_TERMINAL_COUNT) { /* "the first byte disables counting", OUT low */
                hold(c, t);
                c->expired = false;
            }
        }
        c->write_high = !c->write_high;
        break;
    default: /* never programmed */
        break;
    }
}

/* The count as the guest reads it. */
static uint16_t count_word(const counter_t *c, uint64_t t)
{
    uint32_t count = count_at(c, t);

    if (c->control & CONTROL_BCD)
        return (uint16_t)(pv_to_bcd(count / 100) << 8 | pv_to_bcd(count % 100));
    return (uint16_t)count;
}

static void latch_count(counter_t *c, uint64_t t)
{
    if (c->latched) /* "the second Counter Latch Command is ignored" */
        return;
    c->latch = count_word(c, t);
    c->latched = (c->control & CONTROL_ACCESS_MASK) == CONTROL_ACCESS_MASK ? 2 : 1;
    c->read_high = false;
}

static void latch_status(counter_t *c, uint64_t t)
{
    /* Null count: what was written last is not yet what is counted. */
    bool null_count = c->reload == 0 || c->reload_pending || (c->counting && !is_loaded(c, t));

    if (c->status_latched)
        return;
    c->status = (uint8_t)(c->control | (output_at(c, t) ? STATUS_OUTPUT : 0) |
                          (null_count ? STATUS_NULL_COUNT : 0));
    c->status_latched = true;
}

static uint8_t read_byte(counter_t *c, uint64_t t)
{
    uint8_t access = c->control & CONTROL_ACCESS_MASK;
    bool high = access == CONTROL_ACCESS_MSB || (access == CONTROL_ACCESS_MASK && c->read_high);
    uint16_t word;

    if (c->status_latched) {
        c->status_latched = false;
        return c->status;
    }
    word = c->latched ? c->latch : count_word(c, t);
    if (c->latched)
        c->latched--;
    if (access == CONTROL_ACCESS_MASK)
        c->read_high = !c->read_high;
    return (uint8_t)(high ? word >> 8 : word);
}

static void set_gate(counter_t *c, bool level, uint64_t t)
{
    if (c->gate == level)
        return;
    c->gate = level;
    if (c->reload == 0) /* no count yet */
        return;
    if (!level) { /* "Gate pin operations": low disables counting, but in modes 1 and 5 */
        if (!is_gate_triggered(c))
            hold(c, t);
    } else if (is_periodic(c) || is_gate_triggered(c)) { /* rising: (re)loads and starts */
        load(c, t);
    } else if (c->mode != MODE_TERMINAL_COUNT || !c->write_high) {
        resume(c, t);
    }
}

/* --- The device --- */

/* Bring all counters up to the present, with IRQ 0, and give the tick. */
static uint64_t sync(struct previrt_pit *pit, uint64_t now)
{
    uint64_t t = pv_ns_to_ticks(now, PREVIRT_PIT_HZ);
    bool rose = advance(&pit->counter[0], pit->tick, t);

    for (unsigned i = 1; i < COUNTERS; i++)
        advance(&pit->counter[i], pit->tick, t);
    pit->tick = t;
    /* Edges that nobody looked at are merged. A VMM that comes late shall not lose the last: it
     * stands until the next look even if OUT has fallen since. */
    if (rose)
        previrt_irq_set(&pit->irq, 0);
    previrt_irq_set(&pit->irq, rose || output_at(&pit->counter[0], t));
    return t;
}

static void pit_run(struct previrt_device *device, uint64_t now)
{
    sync(PV_CONTAINER(device, struct previrt_pit, device), now);
}

static uint64_t pit_deadline(struct previrt_device *device)
{
    struct previrt_pit *pit = PV_CONTAINER(device, struct previrt_pit, device);
    const counter_t *c = &pit->counter[0];
    uint64_t rise = next_rise(c, pit->tick);

    if (c->reload_pending && c->boundary < rise)
        rise = c->boundary;
    return rise == PREVIRT_NEVER ? rise : pv_ticks_to_ns(rise, PREVIRT_PIT_HZ);
}

static uint32_t pit_read(void *context, uint32_t offset, unsigned width)
{
    struct previrt_pit *pit = context;

    (void)width;
    if (offset == CONTROL_PORT) /* "no-operation" */
        return 0xff;
    return read_byte(&pit->counter[offset], sync(pit, previrt_bus_time(pit->device.bus)));
}

static void pit_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct previrt_pit *pit = context;
    uint64_t now = previrt_bus_time(pit->device.bus), t = sync(pit, now);
    unsigned select = value >> CONTROL_SELECT_SHIFT;

    (void)width;
    if (offset != CONTROL_PORT) {
        write_byte(&pit->counter[offset], (uint8_t)value, t);
    } else if (select == SELECT_READ_BACK) {
        for (unsigned i = 0; i < COUNTERS; i++) {
            if (!(value & READ_BACK_COUNTER_0 << i))
                continue;
            if (!(value & READ_BACK_NO_COUNT))
                latch_count(&pit->counter[i], t);
            if (!(value & READ_BACK_NO_STATUS))
                latch_status(&pit->counter[i], t);
        }
    } else if ((value & CONTROL_ACCESS_MASK) == CONTROL_ACCESS_LATCH) {
        latch_count(&pit->counter[select], t);
    } else {
        write_control(&pit->counter[select], (uint8_t)value, t);
    }
    sync(pit, now);
    previrt_bus_deadline_changed(pit->device.bus);
}

void previrt_pit_set_gate(struct previrt_pit *pit, unsigned counter, int level)
{
    uint64_t now = previrt_bus_time(pit->device.bus);

    if (counter >= COUNTERS)
        return;
    set_gate(&pit->counter[counter], level != 0, sync(pit, now));
    sync(pit, now);
    previrt_bus_deadline_changed(pit->device.bus);
}

int previrt_pit_output(struct previrt_pit *pit, unsigned counter)
{
    if (counter >= COUNTERS)
        return 0;
    return output_at(&pit->counter[counter], sync(pit, previrt_bus_time(pit->device.bus)));
}

static void pit_reset(struct previrt_device *device)
{
    struct previrt_pit *pit = PV_CONTAINER(device, struct previrt_pit, device);
    uint64_t now = previrt_bus_time(pit->device.bus);

    /* The data sheet leaves the state undefined: idle, in mode 3 with OUT high, until programmed.
     */
    for (unsigned i = 0; i < COUNTERS; i++) {
        pit->counter[i] = (counter_t){.mode = MODE_SQUARE_WAVE, .gate = i < COUNTERS - 1};
        pit->counter[i].control = CONTROL_ACCESS_MASK | MODE_SQUARE_WAVE << CONTROL_MODE_SHIFT;
    }
    sync(pit, now);
    previrt_bus_deadline_changed(pit->device.bus);
}

int previrt_pit_init(struct previrt_pit *pit, struct previrt_bus *bus)
{
    static const struct previrt_device_ops ops = {
        .name = "pit_8254", .reset = pit_reset, .run = pit_run, .deadline = pit_deadline};
    static const struct previrt_range_ops range_ops = {.read = pit_read, .write = pit_write};
    int status;

    *pit = (struct previrt_pit){.device.ops = &ops};
    pv_range(&pit->range, PREVIRT_SPACE_PORT, PIT_PORT, PIT_PORTS, PREVIRT_WIDTH_8, &range_ops,
             pit);
    status = previrt_bus_attach(bus, &pit->device, &pit->range, 1);
    if (status != PREVIRT_OK)
        return status;
    previrt_irq_connect(&pit->irq, bus, PIT_IRQ);
    pit_reset(&pit->device);
    return PREVIRT_OK;
}
