/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table's codec: the vector of docs/table-format.md, round trips, and bad tables, each refused
 * with the status that says why.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <previrt/ia32.h>

#include "table/table.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

enum { VECTOR_MAX = 256, SITES_MAX = 16 };

static struct vector {
    uint8_t table[VECTOR_MAX], text[VECTOR_MAX];
    size_t table_size, text_size;
    uint64_t table_address, text_address;
    struct previrt_site sites[SITES_MAX];
    size_t site_count;
} vector;

static void read_hex(const char *line, uint8_t *bytes, size_t *size)
{
    unsigned value;
    int used;

    while (sscanf(line, " %2x%n", &value, &used) == 1 && *size < VECTOR_MAX) {
        bytes[(*size)++] = (uint8_t)value;
        line += used;
    }
}

static void read_site(const char *line)
{
    struct previrt_site *site = &vector.sites[vector.site_count];
    unsigned address, form, length, pad, flags, operand, feature;
    const char *rest = strstr(line, "form ");

    assert_non_null(rest);
    assert_true(vector.site_count < SITES_MAX);
    assert_int_equal(sscanf(line, "0x%x", &address), 1);
    assert_int_equal(sscanf(rest, "form %u length %u pad %u flags %u operand 0x%x feature 0x%x",
                            &form, &length, &pad, &flags, &operand, &feature),
                     6);
    assert_non_null(previrt_ia32_form_info(form));
    memset(site, 0, sizeof(*site));
    site->arch = PREVIRT_ARCH_IA32;
    site->address = address;
    site->form = (uint8_t)form;
    site->op = previrt_ia32_form_info(form)->op;
    site->length = (uint8_t)length;
    site->pad = (uint8_t)pad;
    site->flags = (uint8_t)flags;
    site->operand = (uint16_t)operand;
    site->feature = (uint16_t)feature;
    vector.site_count++;
}

static int setup(void **state)
{
    enum { NOTHING, TABLE, TEXT, SITES } block = NOTHING;
    FILE *page = fopen(PREVIRT_SOURCE_DIR "/docs/table-format.md", "r");
    char line[512];
    unsigned address;

    (void)state;
    if (!page)
        return -1;
    while (fgets(line, sizeof(line), page)) {
        if (sscanf(line, "```table at 0x%x", &address) == 1) {
            block = TABLE;
            vector.table_address = address;
        } else if (sscanf(line, "```text at 0x%x", &address) == 1) {
            block = TEXT;
            vector.text_address = address;
        } else if (strncmp(line, "```sites", 8) == 0) {
            block = SITES;
        } else if (strncmp(line, "```", 3) == 0) {
            block = NOTHING;
        } else if (block == TABLE) {
            read_hex(line, vector.table, &vector.table_size);
        } else if (block == TEXT) {
            read_hex(line, vector.text, &vector.text_size);
        } else if (block == SITES) {
            read_site(line);
        }
    }
    fclose(page);
    return vector.table_size && vector.text_size && vector.site_count ? 0 : -1;
}

static const uint8_t *text_at(void *context, uint64_t address, size_t length)
{
    const uint8_t *text = context ? context : vector.text;
    uint64_t offset = address - vector.text_address;

    if (offset > vector.text_size || length > vector.text_size - offset)
        return NULL;
    return text + offset;
}

/* Reads a table to its end: how many records, or the status. */
static int read_all(const uint8_t *table, size_t size)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    int status, count = 0;

    assert_int_equal(previrt_table_begin(&cursor, table, size, vector.table_address), PREVIRT_OK);
    while ((status = previrt_table_next(&cursor, &site)) > 0)
        count++;
    if (status < 0) { /* it stays where it is */
        size_t offset = previrt_table_offset(&cursor);

        assert_int_equal(previrt_table_next(&cursor, &site), status);
        assert_int_equal(previrt_table_offset(&cursor), offset);
        assert_true(offset <= size);
    }
    return status < 0 ? status : count;
}

static int check(const uint8_t *table, size_t size, void *text)
{
    return previrt_table_check(table, size, vector.table_address, text_at, text, NULL);
}

static void crc_is_castagnoli(void **state)
{
    uint8_t bytes[32];

    (void)state;
    assert_int_equal(pv_crc32c(0, (const uint8_t *)"123456789", 9), 0xe3069283);
    memset(bytes, 0, sizeof(bytes)); /* RFC 3720, B.4 */
    assert_int_equal(pv_crc32c(0, bytes, sizeof(bytes)), 0x8a9136aa);
    memset(bytes, 0xff, sizeof(bytes));
    assert_int_equal(pv_crc32c(0, bytes, sizeof(bytes)), 0x62a8ab43);
    assert_int_equal(pv_crc32c(pv_crc32c(0, bytes, 5), bytes + 5, 27), 0x62a8ab43);
}

static void the_vector_decodes_as_the_page_says(void **state)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;

    (void)state;
    previrt_table_begin(&cursor, vector.table, vector.table_size, vector.table_address);
    for (size_t i = 0; i < vector.site_count; i++) {
        assert_int_equal(previrt_table_next(&cursor, &site), 1);
        assert_memory_equal(&site, &vector.sites[i], sizeof(site));
    }
    assert_int_equal(previrt_table_next(&cursor, &site), 0);
    assert_int_equal(check(vector.table, vector.table_size, NULL), PREVIRT_OK);
}

static void the_vector_encodes_as_the_page_says(void **state)
{
    uint8_t out[VECTOR_MAX];

    (void)state;
    for (size_t room = 0; room <= sizeof(out); room++) {
        size_t size = room;
        int status = previrt_table_encode(vector.sites, vector.site_count, vector.table_address,
                                          text_at, NULL, out, &size);

        assert_int_equal(status, room < vector.table_size ? PREVIRT_E_SPACE : PREVIRT_OK);
        if (status < 0)
            continue;
        assert_int_equal(size, vector.table_size);
        assert_memory_equal(out, vector.table, size);
    }
    assert_true(previrt_table_bound(vector.site_count) >= vector.table_size);
    assert_true(previrt_table_bound(SIZE_MAX / 4) == SIZE_MAX);
}

static void every_truncation_is_refused(void **state)
{
    (void)state;
    /* two bytes of padding may be missing; less than a word of the header may be padding itself */
    for (size_t size = 1; size < vector.table_size - 2; size++) {
        uint8_t *exact = malloc(size); /* the address sanitizer sees a byte too far */
        int status;

        memcpy(exact, vector.table, size);
        status = read_all(exact, size);
        free(exact);
        if (status != PREVIRT_E_TRUNCATED)
            fail_msg("%zu bytes: status %d", size, status);
    }
    assert_int_equal(read_all(vector.table, vector.table_size - 2), (int)vector.site_count);
}

/* A descriptor cut short, with the note's size to match: truncated, or too few records. */
static void every_short_descriptor_is_refused(void **state)
{
    (void)state;
    for (uint32_t size = 0; size < pv_get32(vector.table + PV_NOTE_DESCSZ); size++) {
        uint8_t table[VECTOR_MAX];
        int status;

        memcpy(table, vector.table, sizeof(table));
        pv_put32(table + PV_NOTE_DESCSZ, size);
        status = read_all(table, PV_NOTE_DESC + size);
        if (status != PREVIRT_E_TRUNCATED && status != PREVIRT_E_MALFORMED)
            fail_msg("descriptor of %u bytes: status %d", size, status);
    }
}

/* Offsets in the vector. */
enum {
    AT_DESC = PV_NOTE_DESC,
    AT_ANCHOR = AT_DESC + PV_DESC_RUNS,
    AT_SITES = AT_ANCHOR + PV_ANCHOR_SIZE,
    AT_FIRST = AT_SITES + 1, /* gap, form, room, operand of each record */
    AT_SECOND = AT_FIRST + 4
};

static void malformed_tables_are_refused(void **state)
{
    static const struct {
        const char *what;
        size_t offset;
        uint8_t value;
        int status;
    } bad[] = {
        {"note beyond the section", PV_NOTE_DESCSZ + 1, 1, PREVIRT_E_TRUNCATED},
        {"unfinished fragment", PV_NOTE_TYPE, PREVIRT_NT_RAW, PREVIRT_E_UNFINISHED},
        {"newer kind of note", PV_NOTE_TYPE, 9, PREVIRT_E_VERSION},
        {"newer version", AT_DESC + PV_DESC_VERSION, PREVIRT_TABLE_VERSION + 1, PREVIRT_E_VERSION},
        {"version 0", AT_DESC + PV_DESC_VERSION, 0, PREVIRT_E_MALFORMED},
        {"unknown architecture", AT_DESC + PV_DESC_ARCH, 3, PREVIRT_E_ARCH},
        {"count too large", AT_DESC + PV_DESC_COUNT, 10, PREVIRT_E_MALFORMED},
        {"count too small", AT_DESC + PV_DESC_COUNT, 8, PREVIRT_E_MALFORMED},
        {"run of no sites", AT_SITES, 0, PREVIRT_E_MALFORMED},
        {"run longer than the fragment", AT_SITES, 10, PREVIRT_E_MALFORMED},
        {"run that ends early", AT_SITES, 2, PREVIRT_E_TRUNCATED},
        {"first gap not 0", AT_FIRST, 1, PREVIRT_E_MALFORMED},
        {"form 0", AT_FIRST + 1, 0, PREVIRT_E_OPERATION},
        {"form unknown", AT_FIRST + 1, 0x7f, PREVIRT_E_OPERATION},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint8_t table[VECTOR_MAX];
        int status;

        memcpy(table, vector.table, sizeof(table));
        table[bad[i].offset] = bad[i].value;
        status = read_all(table, vector.table_size);
        /* a shorter run leaves bytes that read as the head of another */
        if (status != bad[i].status &&
            !(bad[i].offset == AT_SITES && bad[i].value == 2 && (status == PREVIRT_E_MALFORMED)))
            fail_msg("%s: status %d", bad[i].what, status);
        assert_true(check(table, vector.table_size, NULL) < 0);
    }
}

static void tables_of_other_text_are_refused(void **state)
{
    static const struct {
        const char *what;
        size_t offset;
        uint8_t value;
        int status;
    } bad[] = {
        {"digest", AT_DESC + PV_DESC_DIGEST, 0, PREVIRT_E_DIGEST},
        {"another form", AT_FIRST + 1, PREVIRT_IA32_FORM_STI, PREVIRT_E_BYTES},
        {"length too small", AT_FIRST + 2, 2, PREVIRT_E_BYTES},
        {"length too large", AT_SECOND + 2, 0x14, PREVIRT_E_BYTES},
        {"room too large: the tail is code", AT_FIRST + 2, 0x23, PREVIRT_E_TAIL},
        {"operand: another register", AT_SECOND + 3, 0x19, PREVIRT_E_BYTES},
        {"gap: shifted by one", AT_SECOND, 2, PREVIRT_E_BYTES},
        {"anchor: before the text", AT_ANCHOR + 2, 0, PREVIRT_E_RANGE},
        {"anchor: behind the text", AT_ANCHOR + 3, 1, PREVIRT_E_RANGE},
    };
    uint8_t text[VECTOR_MAX];
    struct previrt_site site;

    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        uint8_t table[VECTOR_MAX];
        int status;

        memcpy(table, vector.table, sizeof(table));
        table[bad[i].offset] = bad[i].value;
        status = check(table, vector.table_size, NULL);
        if (status != bad[i].status)
            fail_msg("%s: status %d", bad[i].what, status);
    }
    /* the text changed: a relocated displacement is fine, anything else in a site is not */
    for (size_t i = 0; i < vector.text_size; i++) {
        int in_site = 0, in_displacement = i >= 0x16 && i < 0x1a; /* of lgdt 0xc1000000 */
        int status;

        for (size_t j = 0; j < vector.site_count; j++)
            if (i + vector.text_address >= vector.sites[j].address &&
                i + vector.text_address <
                    vector.sites[j].address + vector.sites[j].length + vector.sites[j].pad)
                in_site = 1;
        memcpy(text, vector.text, sizeof(text));
        text[i] ^= 0x08;
        status = previrt_table_check(vector.table, vector.table_size, vector.table_address, text_at,
                                     text, &site);
        if ((status == PREVIRT_OK) != (!in_site || in_displacement))
            fail_msg("text byte 0x%zx: status %d", i, status);
        if (status < 0 && status != PREVIRT_E_DIGEST)
            assert_true(i + vector.text_address >= site.address &&
                        i + vector.text_address < site.address + site.length + site.pad);
    }
}

static void ulebs_are_short_and_fit(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t size;
        int status;
    } gaps[] = {
        {{0x80, 0x00}, 2, PREVIRT_E_MALFORMED},                         /* 0 in two bytes */
        {{0x81, 0x80, 0x00}, 3, PREVIRT_E_MALFORMED},                   /* 1 in three */
        {{0x80, 0x80, 0x80, 0x80, 0x10}, 5, PREVIRT_E_MALFORMED},       /* 2^32 */
        {{0x80, 0x80, 0x80, 0x80, 0x80, 0x01}, 6, PREVIRT_E_MALFORMED}, /* six bytes */
        {{0xff, 0xff, 0xff, 0xff, 0x0f}, 5, PREVIRT_E_RANGE},           /* 2^32 - 1: wraps */
        {{0x7f}, 1, 2},
        {{0xff, 0x01}, 2, 2},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(gaps); i++) {
        uint8_t table[VECTOR_MAX] = {0};
        size_t at = AT_SECOND;

        memcpy(table, vector.table, AT_SECOND); /* the first record, then one with this gap */
        memcpy(table + at, gaps[i].bytes, gaps[i].size);
        at += gaps[i].size;
        memcpy(table + at, vector.table + AT_SECOND + 1, 3);
        at += 3;
        pv_put32(table + PV_NOTE_DESCSZ, (uint32_t)(at - PV_NOTE_DESC));
        pv_put16(table + AT_DESC + PV_DESC_COUNT, 2);
        table[AT_SITES] = 2;
        assert_int_equal(read_all(table, at), gaps[i].status);
    }
}

static void foreign_notes_and_filler_are_skipped(void **state)
{
    static const uint8_t foreign[] = {4,   0,   0,   0, 5, 0, 0, 0, 3, 0, 0, 0,
                                      'G', 'N', 'U', 0, 1, 2, 3, 4, 5, 0, 0, 0};
    uint8_t notes[3 * VECTOR_MAX] = {0};
    size_t at = 0;

    (void)state;
    memcpy(notes, foreign, sizeof(foreign));
    at += sizeof(foreign) + 4; /* and a word of zero */
    memcpy(notes + at, vector.table, vector.table_size);
    notes[at + PV_NOTE_TYPE] = PREVIRT_NT_FILLER;
    at += vector.table_size;
    assert_int_equal(read_all(notes, at), 0);
    memcpy(notes + at, foreign, sizeof(foreign));
    at += sizeof(foreign);
    memcpy(notes + at, vector.table, vector.table_size);
    /* the same records, their anchor counted from where it is now */
    pv_put32(notes + at + AT_ANCHOR, pv_get32(vector.table + AT_ANCHOR) - (uint32_t)at);
    at += vector.table_size;
    assert_int_equal(read_all(notes, at), (int)vector.site_count);
    assert_int_equal(check(notes, at, NULL), PREVIRT_OK);
}

static void the_encoder_refuses_bad_sites(void **state)
{
    uint8_t out[VECTOR_MAX];
    struct previrt_site sites[SITES_MAX];
    size_t size, count = vector.site_count;

    (void)state;
#define REFUSED(change, want)                                                                      \
    do {                                                                                           \
        memcpy(sites, vector.sites, sizeof(sites));                                                \
        change;                                                                                    \
        size = sizeof(out);                                                                        \
        assert_int_equal(                                                                          \
            previrt_table_encode(sites, count, vector.table_address, text_at, NULL, out, &size),   \
            want);                                                                                 \
    } while (0)
    REFUSED((void)0, PREVIRT_OK);
    REFUSED(sites[1].address = sites[0].address + 2, PREVIRT_E_OVERLAP);
    REFUSED(sites[1].address = sites[0].address, PREVIRT_E_OVERLAP);
    REFUSED(sites[0].address = sites[7].address, PREVIRT_E_OVERLAP);
    REFUSED(sites[1].length = 16, PREVIRT_E_ROOM);
    REFUSED(sites[1].length = 0, PREVIRT_E_ROOM);
    REFUSED(sites[7].pad = 8, PREVIRT_E_ROOM);
    REFUSED(sites[7].pad = 7, PREVIRT_E_RANGE);
    REFUSED(sites[1].form = 0, PREVIRT_E_OPERATION);
    REFUSED(sites[1].op = PREVIRT_IA32_CLI, PREVIRT_E_OPERATION);
    REFUSED(sites[1].arch = PREVIRT_ARCH_IA64, PREVIRT_E_INVALID);
    REFUSED(sites[1].arch = 0, PREVIRT_E_ARCH);
    REFUSED(sites[1].operand = 0x100, PREVIRT_E_INVALID);
    REFUSED(sites[1].operand = 0x19, PREVIRT_E_BYTES);
    REFUSED(sites[8].feature = 0x1000, PREVIRT_E_INVALID);
    REFUSED(sites[7].address = 0x200000000, PREVIRT_E_RANGE);
#undef REFUSED
}

static void ia64_records_round_trip(void **state)
{
    static const uint8_t bundles[64] = {0x0a, 0x12, 0x34, 0x56};
    const struct previrt_site sites[] = {
        {.address = 0x100000, .arch = PREVIRT_ARCH_IA64, .op = 5, .slot = 1, .length = 16},
        {.address = 0x100000, .arch = PREVIRT_ARCH_IA64, .op = 6, .slot = 2, .length = 16},
        {.address = 0x100010,
         .arch = PREVIRT_ARCH_IA64,
         .op = 7,
         .slot = 0,
         .length = 16,
         .operand = 0x1234},
    };
    uint8_t out[VECTOR_MAX], changed[64];
    size_t size = sizeof(out), text_size = vector.text_size;
    struct previrt_table_cursor cursor;
    struct previrt_site site;

    (void)state;
    vector.text_size = sizeof(bundles);
    assert_int_equal(previrt_table_encode(sites, COUNT(sites), vector.table_address, text_at,
                                          (void *)(uintptr_t)bundles, out, &size),
                     PREVIRT_OK);
    previrt_table_begin(&cursor, out, size, vector.table_address);
    for (size_t i = 0; i < COUNT(sites); i++) {
        assert_int_equal(previrt_table_next(&cursor, &site), 1);
        assert_memory_equal(&site, &sites[i], sizeof(site));
    }
    assert_int_equal(previrt_table_next(&cursor, &site), 0);
    assert_int_equal(check(out, size, (void *)(uintptr_t)bundles), PREVIRT_OK);
    memcpy(changed, bundles, sizeof(changed));
    changed[8] ^= 1; /* slot 1 is bits 46 to 86 */
    assert_int_equal(check(out, size, changed), PREVIRT_E_DIGEST);
    changed[8] ^= 1;
    changed[1] ^= 1; /* slot 0 of the first bundle is no site */
    assert_int_equal(check(out, size, changed), PREVIRT_OK);
    vector.text_size = text_size;
}

/* Enough sites for two fragments. */
static void many_sites_make_several_fragments(void **state)
{
    enum { SITES = PV_FRAGMENT_COUNT_MAX + 100 };
    struct previrt_site *sites = calloc(SITES, sizeof(*sites));
    uint8_t *text = malloc(SITES), *out;
    size_t size = previrt_table_bound(SITES), text_size = vector.text_size;

    (void)state;
    memset(text, 0xfa, SITES);
    out = malloc(size);
    for (size_t i = 0; i < SITES; i++) {
        sites[i].address = vector.text_address + i;
        sites[i].arch = PREVIRT_ARCH_IA32;
        sites[i].op = PREVIRT_IA32_CLI;
        sites[i].form = PREVIRT_IA32_FORM_CLI;
        sites[i].length = 1;
    }
    vector.text_size = SITES;
    assert_int_equal(
        previrt_table_encode(sites, SITES, vector.table_address, text_at, text, out, &size),
        PREVIRT_OK);
    assert_int_equal(read_all(out, size), SITES);
    assert_int_equal(check(out, size, text), PREVIRT_OK);
    vector.text_size = text_size;
    free(sites);
    free(text);
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc_is_castagnoli),
        cmocka_unit_test(the_vector_decodes_as_the_page_says),
        cmocka_unit_test(the_vector_encodes_as_the_page_says),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(every_short_descriptor_is_refused),
        cmocka_unit_test(malformed_tables_are_refused),
        cmocka_unit_test(tables_of_other_text_are_refused),
        cmocka_unit_test(ulebs_are_short_and_fit),
        cmocka_unit_test(foreign_notes_and_filler_are_skipped),
        cmocka_unit_test(the_encoder_refuses_bad_sites),
        cmocka_unit_test(ia64_records_round_trip),
        cmocka_unit_test(many_sites_make_several_fragments),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
