/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the table's decoder, checker and encoder, and the site decoder. The input is a byte that
 * says where the text begins, a table, and text behind it.
 */
#include <stdlib.h>
#include <string.h>

#include <previrt/ia32.h>
#include <previrt/table.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TABLE_ADDRESS = 0xc1000, TEXT_ADDRESS = 0x100000, SITES_MAX = 4096 };

struct text {
    const uint8_t *bytes;
    size_t size;
};

static const uint8_t *text_at(void *context, uint64_t address, size_t length)
{
    const struct text *text = context;
    uint64_t offset = address - TEXT_ADDRESS;

    if (offset > text->size || length > text->size - offset)
        return NULL;
    return text->bytes + offset;
}

/* What decodes and checks must encode, and decode to the same. */
static void round_trip(const struct previrt_site *sites, size_t count, struct text *text)
{
    size_t size = previrt_table_bound(count), i = 0;
    uint8_t *out = malloc(size);
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    int status;

    if (!out)
        return;
    status = previrt_table_encode(sites, count, TABLE_ADDRESS, text_at, text, out, &size);
    if (status == PREVIRT_E_SPACE)
        abort();
    if (status == PREVIRT_OK) {
        if (previrt_table_check(out, size, TABLE_ADDRESS, text_at, text, NULL) != PREVIRT_OK)
            abort();
        previrt_table_begin(&cursor, out, size, TABLE_ADDRESS);
        while (previrt_table_next(&cursor, &site) > 0)
            if (i == count || memcmp(&site, &sites[i++], sizeof(site)) != 0)
                abort();
        if (i != count)
            abort();
    }
    free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct previrt_site sites[SITES_MAX];
    struct previrt_table_cursor cursor;
    struct previrt_ia32_insn insn;
    struct text text;
    size_t table_size, count = 0;
    uint8_t *table, *bytes;
    int status;

    if (!size)
        return 0;
    table_size = (size - 1) * data[0] / 255;
    /* exact allocations: one byte too far is seen */
    table = malloc(table_size + !table_size);
    bytes = malloc(size - 1 - table_size + 1);
    if (!table || !bytes)
        goto out;
    memcpy(table, data + 1, table_size);
    text.bytes = bytes;
    text.size = size - 1 - table_size;
    memcpy(bytes, data + 1 + table_size, text.size);

    previrt_table_begin(&cursor, table, table_size, TABLE_ADDRESS);
    while (count < SITES_MAX && (status = previrt_table_next(&cursor, &sites[count])) > 0) {
        if (previrt_table_offset(&cursor) >= table_size)
            abort();
        count++;
    }
    previrt_table_check(table, table_size, TABLE_ADDRESS, text_at, &text, NULL);
    if (count && count < SITES_MAX)
        round_trip(sites, count, &text);
    for (size_t at = 0; at < text.size && at < 64; at++) {
        status = previrt_ia32_decode_site(bytes + at, text.size - at, at & 1, &insn);
        if (status == PREVIRT_OK) {
            struct previrt_site site = {.arch = PREVIRT_ARCH_IA32};

            previrt_ia32_site_from_insn(&insn, &site);
            if (insn.length > text.size - at ||
                previrt_ia32_match_site(&site, bytes + at, text.size - at, &insn) != PREVIRT_OK)
                abort();
        }
    }
out:
    free(table);
    free(bytes);
    return 0;
}
