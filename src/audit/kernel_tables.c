/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux' own lists of code addresses: .altinstructions (what replaces what, behind which CPU
 * feature), __ex_table and __bug_table. Their entries changed shape over the years, and nothing in
 * them says which it is: the shape is the one in which every entry makes sense.
 */
#include <stdlib.h>
#include <string.h>

#include "audit/walk.h"

static uint32_t word_at(const uint8_t *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

static uint16_t half_at(const uint8_t *at)
{
    uint16_t value;

    memcpy(&value, at, sizeof(value));
    return value;
}

/* A 32-bit offset from its own address. */
static uint64_t relative(const struct pv_walk *walk, const struct pv_view_section *section,
                         const uint8_t *data, uint64_t offset)
{
    uint64_t value = section->address + offset + (uint64_t)(int64_t)(int32_t)word_at(data + offset);

    return walk->elf->class64 ? value : (uint32_t)value;
}

/* ---- alternatives ---- */

/* struct alt_instr. The first two fields are 32-bit offsets in all of them. */
struct alternative_shape {
    unsigned stride, feature_at, flags_at, original_at, replacement_at;
};

static const struct alternative_shape alternative_shapes[] = {
    {12, 8, 0, 10, 11},  /* 5.16 to 6.2: cpuid (bit 15: inverted), instrlen, replacementlen */
    {14, 8, 10, 12, 13}, /* from 6.3: cpuid, flags (bit 0: inverted), lengths */
    {13, 8, 0, 10, 11},  /* 4.1 to 5.15: cpuid, lengths, padlen */
};

static bool read_alternative(const struct pv_walk *walk, const struct pv_view_section *section,
                             const uint8_t *data, uint64_t offset,
                             const struct alternative_shape *shape, struct pv_alternative *out)
{
    const uint16_t inverted_bit = 0x8000;
    const struct pv_code *original, *replacement;
    uint16_t feature = half_at(data + offset + shape->feature_at);

    out->original = relative(walk, section, data, offset);
    out->replacement = relative(walk, section, data, offset + 4);
    out->inverted = shape->flags_at ? data[offset + shape->flags_at] & 1 : feature >> 15;
    out->feature = feature & (uint16_t)~inverted_bit;
    out->original_size = data[offset + shape->original_at];
    out->replacement_size = data[offset + shape->replacement_at];
    original = pv_walk_code_at(walk, out->original);
    if (!original || out->replacement_size > out->original_size)
        return false;
    if (out->original - original->section->address + out->original_size > original->section->size)
        return false;
    if (!out->replacement_size)
        return true;
    replacement = pv_walk_code_at(walk, out->replacement);
    return replacement &&
           out->replacement - replacement->section->address + out->replacement_size <=
               replacement->section->size;
}

static int read_alternatives(struct pv_walk *walk, void (*hint)(struct pv_walk *, uint64_t))
{
    const struct pv_view_section *section = pv_view_section_named(walk->elf, ".altinstructions");
    uint8_t *data;
    int status;

    if (!section || !section->data || !section->size)
        return PREVIRT_OK;
    status = pv_view_relocated(walk->elf, section, &data);
    if (status)
        return status;
    for (size_t s = 0; s < sizeof(alternative_shapes) / sizeof(alternative_shapes[0]); s++) {
        const struct alternative_shape *shape = &alternative_shapes[s];
        size_t count = (size_t)(section->size / shape->stride), good = 0;

        if (section->size % shape->stride)
            continue;
        walk->alternatives = calloc(count, sizeof(*walk->alternatives));
        if (!walk->alternatives) {
            free(data);
            return PREVIRT_E_MEMORY;
        }
        while (good < count && read_alternative(walk, section, data, good * shape->stride, shape,
                                                &walk->alternatives[good]))
            good++;
        if (good == count) {
            walk->alternative_count = count;
            break;
        }
        free(walk->alternatives);
        walk->alternatives = NULL;
    }
    free(data);
    if (!walk->alternatives)
        walk->odd_alternatives = true;
    for (size_t i = 0; i < walk->alternative_count; i++) {
        hint(walk, walk->alternatives[i].original);
        if (walk->alternatives[i].replacement_size)
            hint(walk, walk->alternatives[i].replacement);
    }
    return PREVIRT_OK;
}

/* ---- exceptions and bugs ---- */

static bool is_ud2(const struct pv_walk *walk, uint64_t address)
{
    const struct pv_code *code = pv_walk_code_at(walk, address);
    uint64_t offset;

    if (!code)
        return false;
    offset = address - code->section->address;
    return code->section->size - offset >= 2 && code->bytes[offset] == 0x0f &&
           code->bytes[offset + 1] == 0x0b;
}

static bool is_code(const struct pv_walk *walk, uint64_t address)
{
    return pv_walk_code_at(walk, address) != NULL;
}

struct shape {
    unsigned stride;
    unsigned fields;  /* how many of the first 32-bit words are addresses */
    bool is_relative; /* to themselves */
};

static uint64_t address_at(const struct pv_walk *walk, const struct pv_view_section *section,
                           const uint8_t *data, uint64_t offset, bool is_relative)
{
    return is_relative ? relative(walk, section, data, offset) : word_at(data + offset);
}

static int read_addresses(struct pv_walk *walk, const char *name, const struct shape *shapes,
                          size_t shape_count, bool (*is_good)(const struct pv_walk *, uint64_t),
                          void (*hint)(struct pv_walk *, uint64_t), size_t *found)
{
    const struct pv_view_section *section = pv_view_section_named(walk->elf, name);
    uint8_t *data;
    int status;

    if (!section || !section->data || !section->size)
        return PREVIRT_OK;
    status = pv_view_relocated(walk->elf, section, &data);
    if (status)
        return status;
    for (size_t s = 0; s < shape_count; s++) {
        const struct shape *shape = &shapes[s];
        size_t count = (size_t)(section->size / shape->stride), good;

        if (section->size % shape->stride)
            continue;
        for (good = 0; good < count; good++) {
            unsigned field = 0;

            while (field < shape->fields &&
                   is_good(walk, address_at(walk, section, data,
                                            (uint64_t)good * shape->stride + 4 * field,
                                            shape->is_relative)))
                field++;
            if (field < shape->fields)
                break;
        }
        if (good < count)
            continue;
        for (size_t i = 0; i < count; i++)
            for (unsigned field = 0; field < shape->fields; field++)
                hint(walk, address_at(walk, section, data, (uint64_t)i * shape->stride + 4 * field,
                                      shape->is_relative));
        *found = count;
        break;
    }
    free(data);
    return PREVIRT_OK;
}

int pv_walk_read_tables(struct pv_walk *walk, void (*hint)(struct pv_walk *, uint64_t))
{
    /* struct exception_table_entry: insn, fixup, and since 4.6 a handler or type */
    static const struct shape exceptions[] = {{12, 2, true}, {8, 2, true}};
    /* struct bug_entry: the address; file and line with CONFIG_DEBUG_BUGVERBOSE; flags */
    static const struct shape bugs[] = {{12, 1, false}, {8, 1, false}, {6, 1, false},
                                        {12, 1, true},  {8, 1, true},  {6, 1, true}};
    int status = read_alternatives(walk, hint);

    if (!status)
        status = read_addresses(walk, "__ex_table", exceptions,
                                sizeof(exceptions) / sizeof(exceptions[0]), is_code, hint,
                                &walk->exception_count);
    if (!status)
        status = read_addresses(walk, "__bug_table", bugs, sizeof(bugs) / sizeof(bugs[0]), is_ud2,
                                hint, &walk->bug_count);
    return status;
}
