/* SPDX-License-Identifier: BSD-2-Clause */
/* The bus: ranges, widths, strings, interrupt lines, deadlines, and the arithmetic below them. */
#include "device_test.h"

#include "../../devices/internal.h"

/* A range that remembers what was done to it. */
struct probe {
    struct previrt_device device;
    struct previrt_range range;
    uint8_t cells[16];
    unsigned reads, writes, strings, runs, flushes, resets;
    unsigned last_width;
    uint64_t deadline;
};

static uint32_t probe_read(void *context, uint32_t offset, unsigned width)
{
    struct probe *probe = context;
    uint32_t value = 0;

    probe->reads++;
    probe->last_width = width;
    for (unsigned i = 0; i < width; i++)
        value |= (uint32_t)probe->cells[offset + i] << 8 * i;
    return value;
}

static void probe_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct probe *probe = context;

    probe->writes++;
    probe->last_width = width;
    for (unsigned i = 0; i < width; i++)
        probe->cells[offset + i] = (uint8_t)(value >> 8 * i);
}

static void probe_write_string(void *context, uint32_t offset, unsigned width, const void *buffer,
                               size_t count)
{
    struct probe *probe = context;

    probe->strings++;
    probe->last_width = width;
    memcpy(probe->cells + offset, buffer, count * width);
}

static void probe_read_string(void *context, uint32_t offset, unsigned width, void *buffer,
                              size_t count)
{
    struct probe *probe = context;

    probe->strings++;
    memcpy(buffer, probe->cells + offset, count * width);
}

static void probe_run(struct previrt_device *device, uint64_t now)
{
    struct probe *probe = PV_CONTAINER(device, struct probe, device);

    probe->runs++;
    if (now >= probe->deadline)
        probe->deadline = PREVIRT_NEVER;
}

static uint64_t probe_deadline(struct previrt_device *device)
{
    return PV_CONTAINER(device, struct probe, device)->deadline;
}

static void probe_flush(struct previrt_device *device)
{
    PV_CONTAINER(device, struct probe, device)->flushes++;
}

static void probe_reset(struct previrt_device *device)
{
    struct probe *probe = PV_CONTAINER(device, struct probe, device);

    assert_int_equal(probe->flushes, 1); /* output goes out before the reset */
    probe->resets++;
}

static const struct previrt_range_ops probe_range = {.read = probe_read, .write = probe_write};
static const struct previrt_range_ops probe_strings = {.read = probe_read,
                                                       .write = probe_write,
                                                       .read_string = probe_read_string,
                                                       .write_string = probe_write_string};
static const struct previrt_range_ops nothing_range = {0};
static const struct previrt_device_ops probe_device = {.name = "probe",
                                                       .run = probe_run,
                                                       .deadline = probe_deadline,
                                                       .flush = probe_flush,
                                                       .reset = probe_reset};
static const struct previrt_device_ops silent_device = {.name = "silent"};

static void make(struct probe *probe, enum previrt_space space, uint64_t base, uint64_t length,
                 uint8_t widths)
{
    *probe = (struct probe){.device.ops = &probe_device, .deadline = PREVIRT_NEVER};
    probe->range = (struct previrt_range){.base = base,
                                          .length = length,
                                          .ops = &probe_range,
                                          .context = probe,
                                          .space = (uint8_t)space,
                                          .widths = widths};
}

static int attach(struct previrt_bus *bus, struct probe *probe)
{
    return previrt_bus_attach(bus, &probe->device, &probe->range, 1);
}

static void nothing_reads_as_ones_at_every_width(void **state)
{
    struct previrt_bus bus;

    (void)state;
    previrt_bus_init(&bus, NULL);
    assert_int_equal(previrt_port_in(&bus, 0x100, 1), 0xff);
    assert_int_equal(previrt_port_in(&bus, 0x100, 2), 0xffff);
    assert_int_equal(previrt_port_in(&bus, 0x100, 4), 0xffffffff);
    assert_int_equal(previrt_port_in(&bus, 0xffff, 4), 0xffffffff);
    assert_int_equal(previrt_memory_read(&bus, UINT64_MAX, 4), 0xffffffff);
    assert_int_equal(previrt_memory_read(&bus, UINT64_C(0xfec00000), 2), 0xffff);
    previrt_port_out(&bus, 0xffff, 4, 0);
    previrt_memory_write(&bus, UINT64_MAX - 1, 4, 0);
}

static void a_width_that_does_not_exist_does_nothing(void **state)
{
    struct previrt_bus bus;
    struct probe probe;
    uint8_t buffer[4] = {1, 2, 3, 4};
    static const unsigned widths[] = {0, 3, 5, 8, 16, 0x80000001};

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&probe, PREVIRT_SPACE_PORT, 0x100, 16, 7);
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    for (size_t i = 0; i < sizeof(widths) / sizeof(widths[0]); i++) {
        assert_int_equal(previrt_port_in(&bus, 0x100, widths[i]), 0xffffffff);
        previrt_port_out(&bus, 0x100, widths[i], 0);
        previrt_port_in_string(&bus, 0x100, widths[i], buffer, 1);
        previrt_port_out_string(&bus, 0x100, widths[i], buffer, 1);
    }
    assert_int_equal(probe.reads + probe.writes, 0);
    assert_int_equal(buffer[0], 1);
}

static void overlapping_ranges_are_refused(void **state)
{
    struct previrt_bus bus;
    struct probe a, b;
    static const struct {
        uint64_t base, length;
        int status;
    } tries[] = {{0x100, 8, PREVIRT_E_OVERLAP}, {0x107, 1, PREVIRT_E_OVERLAP},
                 {0xf9, 8, PREVIRT_E_OVERLAP},  {0x80, 0x100, PREVIRT_E_OVERLAP},
                 {0x103, 2, PREVIRT_E_OVERLAP}, {0, 0x10000, PREVIRT_E_OVERLAP},
                 {0xf8, 8, PREVIRT_OK},         {0x108, 8, PREVIRT_OK}};

    (void)state;
    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        previrt_bus_init(&bus, NULL);
        make(&a, PREVIRT_SPACE_PORT, 0x100, 8, 1);
        make(&b, PREVIRT_SPACE_PORT, tries[i].base, tries[i].length, 1);
        assert_int_equal(attach(&bus, &a), PREVIRT_OK);
        assert_int_equal(attach(&bus, &b), tries[i].status);
    }
    /* The spaces do not overlap each other. */
    make(&b, PREVIRT_SPACE_MEMORY, 0x100, 8, 1);
    assert_int_equal(attach(&bus, &b), PREVIRT_OK);
}

static void malformed_ranges_are_refused(void **state)
{
    struct previrt_bus bus;
    struct probe probe;
    static const struct {
        unsigned space;
        uint64_t base, length;
        uint8_t widths;
    } bad[] = {{0, 0x100, 0, 1},      {0, 0xfffc, 5, 1},         {0, 0x10000, 1, 1},
               {0, UINT64_MAX, 2, 1}, {0, 0x100, UINT64_MAX, 1}, {1, 0, UINT64_C(0x100000001), 1},
               {1, UINT64_MAX, 2, 1}, {2, 0x100, 1, 1},          {0, 0x100, 1, 0},
               {0, 0x100, 1, 8}};

    (void)state;
    previrt_bus_init(&bus, NULL);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        make(&probe, bad[i].space, bad[i].base, bad[i].length, bad[i].widths);
        assert_int_equal(attach(&bus, &probe), PREVIRT_E_INVALID);
    }
    make(&probe, PREVIRT_SPACE_PORT, 0xfffc, 4, 1);
    probe.range.ops = NULL;
    assert_int_equal(attach(&bus, &probe), PREVIRT_E_INVALID);
    probe.range.ops = &probe_range;
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    make(&probe, PREVIRT_SPACE_MEMORY, UINT64_MAX - 3, 4, 1);
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    assert_int_equal(previrt_memory_read(&bus, UINT64_MAX, 4), 0xffffff00);
    previrt_bus_init(&bus, NULL);
    make(&probe, PREVIRT_SPACE_MEMORY, 0, UINT64_C(0x100000000), 1); /* the largest */
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
}

static void a_refused_device_leaves_nothing_behind(void **state)
{
    struct previrt_bus bus;
    struct probe a, b;
    struct previrt_range two[2];

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&a, PREVIRT_SPACE_PORT, 0x100, 8, 1);
    make(&b, PREVIRT_SPACE_PORT, 0x200, 8, 1);
    assert_int_equal(attach(&bus, &a), PREVIRT_OK);
    two[0] = b.range;
    two[1] = a.range;
    assert_int_equal(previrt_bus_attach(&bus, &b.device, two, 2), PREVIRT_E_OVERLAP);
    assert_false(previrt_bus_claims(&bus, PREVIRT_SPACE_PORT, 0x200));
    assert_int_equal(attach(&bus, &b), PREVIRT_OK);
}

static void a_full_bus_refuses(void **state)
{
    static struct probe probes[PREVIRT_BUS_RANGES + 1];
    struct previrt_bus bus;
    unsigned i;

    (void)state;
    previrt_bus_init(&bus, NULL);
    /* from the top down, so that each insertion moves all others */
    for (i = 0; i <= PREVIRT_BUS_RANGES; i++)
        make(&probes[i], PREVIRT_SPACE_PORT, 0x1000 - 8 * i, 8, 1);
    for (i = 0; i < PREVIRT_BUS_RANGES; i++)
        assert_int_equal(previrt_bus_add_range(&bus, &probes[i].range), PREVIRT_OK);
    assert_int_equal(previrt_bus_add_range(&bus, &probes[i].range), PREVIRT_E_SPACE);
    for (i = 0; i < PREVIRT_BUS_RANGES; i++) {
        probes[i].cells[3] = (uint8_t)i;
        assert_int_equal(previrt_port_in(&bus, (uint16_t)(0x1003 - 8 * i), 1), i);
    }
    assert_int_equal(previrt_bus_remove_range(&bus, &probes[7].range), PREVIRT_OK);
    assert_int_equal(previrt_bus_remove_range(&bus, &probes[7].range), PREVIRT_E_RANGE);
    assert_int_equal(previrt_port_in(&bus, 0x1003 - 8 * 7, 1), 0xff);
    assert_int_equal(previrt_port_in(&bus, 0x1003 - 8 * 8, 1), 8);
    assert_int_equal(previrt_bus_add_range(&bus, &probes[PREVIRT_BUS_RANGES].range), PREVIRT_OK);

    previrt_bus_init(&bus, NULL);
    for (i = 0; i < PREVIRT_BUS_DEVICES; i++)
        assert_int_equal(attach(&bus, &probes[i]), PREVIRT_OK);
    assert_int_equal(attach(&bus, &probes[i]), PREVIRT_E_SPACE);
}

static void wide_accesses_are_split_for_narrow_devices(void **state)
{
    struct previrt_bus bus;
    struct probe narrow;

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&narrow, PREVIRT_SPACE_PORT, 0x100, 16, PREVIRT_WIDTH_8);
    assert_int_equal(attach(&bus, &narrow), PREVIRT_OK);
    previrt_port_out(&bus, 0x102, 4, 0x44332211);
    assert_int_equal(narrow.writes, 4);
    assert_int_equal(narrow.last_width, 1);
    assert_int_equal(narrow.cells[2], 0x11);
    assert_int_equal(narrow.cells[5], 0x44);
    assert_int_equal(previrt_port_in(&bus, 0x102, 4), 0x44332211);
    assert_int_equal(previrt_port_in(&bus, 0x103, 2), 0x3322);
    /* Past the end of the range the halves go elsewhere. */
    narrow.cells[15] = 0xab;
    assert_int_equal(previrt_port_in(&bus, 0x10f, 2), 0xffab);
    assert_int_equal(previrt_port_in(&bus, 0xfe, 4),
                     (narrow.cells[1] << 24 | narrow.cells[0] << 16 | 0xffff) & 0xffffffff);
}

static void wide_devices_get_the_whole_access(void **state)
{
    struct previrt_bus bus;
    struct probe wide;

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&wide, PREVIRT_SPACE_MEMORY, UINT64_C(0x1fee00000), 16, 7);
    assert_int_equal(attach(&bus, &wide), PREVIRT_OK);
    previrt_memory_write(&bus, UINT64_C(0x1fee00000), 4, 0x44332211);
    previrt_memory_write(&bus, UINT64_C(0x1fee00008), 2, 0xffff5566); /* the top is cut off */
    assert_int_equal(wide.writes, 2);
    assert_int_equal(wide.cells[8], 0x66);
    assert_int_equal(previrt_memory_read(&bus, UINT64_C(0x1fee00000), 4), 0x44332211);
    assert_int_equal(wide.last_width, 4);
    assert_true(previrt_bus_claims(&bus, PREVIRT_SPACE_MEMORY, UINT64_C(0x1fee0000f)));
    assert_false(previrt_bus_claims(&bus, PREVIRT_SPACE_MEMORY, UINT64_C(0x1fee00010)));
    assert_false(previrt_bus_claims(&bus, PREVIRT_SPACE_MEMORY, UINT64_C(0xfee00000)));
}

static void strings_without_a_handler_repeat_one_port(void **state)
{
    struct previrt_bus bus;
    struct probe probe;
    uint8_t buffer[6] = {1, 2, 3, 4, 5, 6};

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&probe, PREVIRT_SPACE_PORT, 0x100, 16, 7);
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    previrt_port_out_string(&bus, 0x100, 2, buffer, 3);
    assert_int_equal(probe.writes, 3);
    assert_int_equal(probe.cells[0], 5);
    assert_int_equal(probe.cells[1], 6);
    previrt_port_in_string(&bus, 0x100, 2, buffer, 3);
    assert_int_equal(probe.reads, 3);
    assert_memory_equal(buffer, ((uint8_t[]){5, 6, 5, 6, 5, 6}), 6);
    previrt_port_in_string(&bus, 0x300, 1, buffer, 6); /* nobody there */
    assert_memory_equal(buffer, ((uint8_t[]){255, 255, 255, 255, 255, 255}), 6);
}

static void strings_go_to_the_handler_in_one_call(void **state)
{
    struct previrt_bus bus;
    struct probe probe;
    uint8_t buffer[8] = {1, 2, 3, 4, 5, 6, 7, 8}, back[8];

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&probe, PREVIRT_SPACE_PORT, 0x100, 16, 7);
    probe.range.ops = &probe_strings;
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    previrt_port_out_string(&bus, 0x104, 4, buffer, 2);
    previrt_port_in_string(&bus, 0x104, 4, back, 2);
    assert_int_equal(probe.strings, 2);
    assert_int_equal(probe.writes + probe.reads, 0);
    assert_memory_equal(back, buffer, 8);
}

static void a_range_without_handlers_reads_as_ones(void **state)
{
    struct previrt_bus bus;
    struct probe probe;

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&probe, PREVIRT_SPACE_PORT, 0x100, 16, 7);
    probe.range.ops = &nothing_range;
    probe.device.ops = &silent_device;
    assert_int_equal(attach(&bus, &probe), PREVIRT_OK);
    assert_int_equal(previrt_port_in(&bus, 0x100, 2), 0xffff);
    previrt_port_out(&bus, 0x100, 4, 0);
    previrt_bus_run(&bus);
    previrt_bus_flush(&bus);
    previrt_bus_reset(&bus);
    assert_int_equal(previrt_bus_deadline(&bus), PREVIRT_NEVER);
}

static void the_earliest_deadline_counts(void **state)
{
    struct previrt_bus bus;
    struct probe a, b;

    (void)state;
    previrt_bus_init(&bus, NULL);
    make(&a, PREVIRT_SPACE_PORT, 0x100, 8, 1);
    make(&b, PREVIRT_SPACE_PORT, 0x200, 8, 1);
    assert_int_equal(attach(&bus, &a), PREVIRT_OK);
    assert_int_equal(attach(&bus, &b), PREVIRT_OK);
    assert_int_equal(previrt_bus_deadline(&bus), PREVIRT_NEVER);
    a.deadline = 2000;
    b.deadline = 1000;
    previrt_bus_deadline_changed(&bus);
    assert_int_equal(previrt_bus_deadline(&bus), 1000);
    previrt_bus_set_time(&bus, 1500);
    previrt_bus_run(&bus);
    assert_int_equal(previrt_bus_deadline(&bus), 2000);
    previrt_bus_set_time(&bus, 10); /* time does not go back */
    assert_int_equal(previrt_bus_time(&bus), 1500);
    previrt_bus_reset(&bus);
    assert_int_equal(a.resets + b.resets, 2);
}

struct lines {
    int level[PREVIRT_IRQ_LINES];
    unsigned changes;
};

static void note_line(void *context, unsigned line, int level)
{
    struct lines *lines = context;

    lines->level[line] = level;
    lines->changes++;
}

static void a_shared_line_is_the_or_of_its_sources(void **state)
{
    struct lines lines = {{0}, 0};
    struct previrt_irq a, b;
    struct previrt_bus bus;

    (void)state;
    previrt_bus_init(&bus, NULL);
    assert_int_equal(previrt_irq_connect(&a, &bus, 11), PREVIRT_OK);
    assert_int_equal(previrt_irq_connect(&b, &bus, 11), PREVIRT_OK);
    assert_int_equal(previrt_irq_connect(&b, &bus, PREVIRT_IRQ_LINES), PREVIRT_E_INVALID);
    previrt_irq_set(&a, 1); /* nobody listens yet */
    previrt_irq_set(&a, 0);
    previrt_bus_set_irq_sink(&bus, note_line, &lines);
    previrt_irq_set(&a, 1);
    previrt_irq_set(&a, 1);
    previrt_irq_set(&b, 5);
    assert_int_equal(lines.changes, 1);
    previrt_irq_set(&a, 0);
    assert_int_equal(lines.level[11], 1);
    previrt_irq_set(&b, 0);
    assert_int_equal(lines.level[11], 0);
    assert_int_equal(lines.changes, 2);
}

static void portable_division_agrees_with_the_machine(void **state)
{
    static const uint64_t numbers[] = {0,          1,          999999999,  1000000000,
                                       0xffffffff, 1ULL << 32, 1ULL << 63, UINT64_MAX};
    static const uint32_t divisors[] = {1, 3, 9, 10000, 32768, PREVIRT_PIT_HZ, 1000000000};
    uint64_t random = 1;
    uint32_t rest;

    (void)state;
    for (size_t d = 0; d < sizeof(divisors) / sizeof(divisors[0]); d++) {
        for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++) {
            assert_true(pv_divide_portable(numbers[n], divisors[d], &rest) ==
                        numbers[n] / divisors[d]);
            assert_true(rest == numbers[n] % divisors[d]);
        }
        for (unsigned i = 0; i < 10000; i++) {
            random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
            assert_true(pv_divide_portable(random, divisors[d], &rest) == random / divisors[d]);
            assert_true(rest == random % divisors[d]);
        }
    }
}

static void ticks_and_ns_are_inverse(void **state)
{
    uint64_t ticks = 0;

    (void)state;
    for (unsigned i = 0; i < 100000; i++, ticks = ticks * 3 / 2 + i % 7 + 1) {
        uint64_t ns;

        if (ticks > UINT64_C(1) << 50)
            ticks = i;
        ns = pv_ticks_to_ns(ticks, PREVIRT_PIT_HZ);
        assert_true(pv_ns_to_ticks(ns, PREVIRT_PIT_HZ) == ticks);
        assert_true(ns == 0 || pv_ns_to_ticks(ns - 1, PREVIRT_PIT_HZ) < ticks);
    }
    assert_true(pv_ticks_to_ns(UINT64_MAX, 32768) == PREVIRT_NEVER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_reads_as_ones_at_every_width),
        cmocka_unit_test(a_width_that_does_not_exist_does_nothing),
        cmocka_unit_test(overlapping_ranges_are_refused),
        cmocka_unit_test(malformed_ranges_are_refused),
        cmocka_unit_test(a_refused_device_leaves_nothing_behind),
        cmocka_unit_test(a_full_bus_refuses),
        cmocka_unit_test(wide_accesses_are_split_for_narrow_devices),
        cmocka_unit_test(wide_devices_get_the_whole_access),
        cmocka_unit_test(strings_without_a_handler_repeat_one_port),
        cmocka_unit_test(strings_go_to_the_handler_in_one_call),
        cmocka_unit_test(a_range_without_handlers_reads_as_ones),
        cmocka_unit_test(the_earliest_deadline_counts),
        cmocka_unit_test(a_shared_line_is_the_or_of_its_sources),
        cmocka_unit_test(portable_division_agrees_with_the_machine),
        cmocka_unit_test(ticks_and_ns_are_inverse),
    };

    return cmocka_run_group_tests_name("the device bus", tests, NULL, NULL);
}
