/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads a patch-up table: notes, fragments, runs, records. Every byte may be hostile. Freestanding.
 */
#include <previrt/ia32.h>

#include "table/table.h"

/* The position of an IA64 site in slots, 3 to a bundle: what gaps count there. */
static uint64_t slots_of(uint64_t address, unsigned slot)
{
    return address / PV_IA64_BUNDLE * PV_IA64_SLOTS + slot;
}

static int is_zero(const uint8_t *bytes, uint64_t size)
{
    for (uint64_t i = 0; i < size; i++)
        if (bytes[i])
            return 0;
    return 1;
}

static int is_ours(const uint8_t *name)
{
    static const char ours[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;

    for (unsigned i = 0; i < PV_NOTE_NAME_SIZE; i++)
        if (name[i] != (uint8_t)ours[i])
            return 0;
    return 1;
}

/* The shortest ULEB128 form of a 32-bit number, below offset (end). */
static int read_uleb(struct pv_table_cursor *cursor, uint32_t *value)
{
    uint64_t result = 0;

    for (unsigned i = 0; i < PV_ULEB_MAX; i++) {
        uint8_t byte;

        if (cursor->position == cursor->end)
            return PREVIRT_E_TRUNCATED;
        byte = cursor->notes[cursor->position++];
        result |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte & 0x80)
            continue;
        if ((!byte && i) || result > UINT32_MAX)
            return PREVIRT_E_MALFORMED;
        *value = (uint32_t)result;
        return PREVIRT_OK;
    }
    return PREVIRT_E_MALFORMED;
}

/* The note at the cursor: 1 if it is a fragment, 0 if it was skipped, or a status. */
static int read_note(struct pv_table_cursor *cursor)
{
    const uint8_t *note = cursor->notes + cursor->position, *desc;
    uint64_t left = cursor->size - cursor->position, name_size, desc_size, desc_offset, next;
    unsigned type;

    cursor->record = cursor->position;
    /* A linker leaves words of zero between notes whose alignments differ; a name is never empty.
     */
    if (is_zero(note, left < PV_NOTE_ALIGN ? left : PV_NOTE_ALIGN)) {
        cursor->position += left < PV_NOTE_ALIGN ? left : PV_NOTE_ALIGN;
        return 0;
    }
    if (left < PV_NOTE_HEADER_SIZE)
        return PREVIRT_E_TRUNCATED;
    name_size = pv_get32(note + PV_NOTE_NAMESZ);
    desc_size = pv_get32(note + PV_NOTE_DESCSZ);
    type = pv_get32(note + PV_NOTE_TYPE);
    desc_offset = PV_NOTE_HEADER_SIZE + ((name_size + PV_NOTE_ALIGN - 1) & ~(PV_NOTE_ALIGN - 1ULL));
    next = desc_offset + ((desc_size + PV_NOTE_ALIGN - 1) & ~(PV_NOTE_ALIGN - 1ULL));
    if (desc_offset + desc_size > left)
        return PREVIRT_E_TRUNCATED;
    if (next > left) /* the last one may lack its padding */
        next = left;
    cursor->next_note = cursor->position + next;
    if (name_size != PV_NOTE_NAME_SIZE || !is_ours(note + PV_NOTE_HEADER_SIZE) ||
        type == PREVIRT_NT_FILLER) {
        cursor->position = cursor->next_note;
        return 0;
    }

    if (type == PREVIRT_NT_RAW)
        return PREVIRT_E_UNFINISHED;
    if (type != PREVIRT_NT_TABLE)
        return PREVIRT_E_VERSION;
    if (!desc_size)
        return PREVIRT_E_TRUNCATED;
    desc = note + desc_offset;
    if (!desc[PV_DESC_VERSION])
        return PREVIRT_E_MALFORMED;
    if (desc[PV_DESC_VERSION] > PREVIRT_TABLE_VERSION)
        return PREVIRT_E_VERSION;
    if (desc_size < PV_DESC_RUNS)
        return PREVIRT_E_TRUNCATED;
    if (desc[PV_DESC_ARCH] != PREVIRT_ARCH_IA32 && desc[PV_DESC_ARCH] != PREVIRT_ARCH_IA64)
        return PREVIRT_E_ARCH;
    cursor->arch = desc[PV_DESC_ARCH];
    cursor->count = pv_get16(desc + PV_DESC_COUNT);
    cursor->digest = pv_get32(desc + PV_DESC_DIGEST);
    if (!cursor->count && cursor->digest) /* of nothing */
        return PREVIRT_E_DIGEST;
    cursor->left = cursor->count;
    cursor->run_left = 0;
    cursor->fragment++;
    cursor->end = cursor->position + desc_offset + desc_size;
    cursor->position += desc_offset + PV_DESC_RUNS;
    return 1;
}

/* The head of a run. */
static int read_run(struct pv_table_cursor *cursor)
{
    uint32_t sites;
    uint64_t anchor;
    int status;

    cursor->record = cursor->position;
    while (cursor->arch == PREVIRT_ARCH_IA64 && cursor->position % PV_ANCHOR_ALIGN &&
           cursor->position < cursor->end)
        if (cursor->notes[cursor->position++])
            return PREVIRT_E_MALFORMED;
    if (cursor->end - cursor->position < PV_ANCHOR_SIZE)
        return PREVIRT_E_TRUNCATED;
    anchor = (uint64_t)(int64_t)(int32_t)pv_get32(cursor->notes + cursor->position);
    anchor += cursor->address + cursor->position;
    cursor->anchor = (uint32_t)cursor->position;
    cursor->position += PV_ANCHOR_SIZE;
    if (cursor->arch == PREVIRT_ARCH_IA32)
        anchor &= UINT32_MAX; /* as R_386_PC32 counts */
    else if (anchor % PV_IA64_BUNDLE)
        return PREVIRT_E_MALFORMED;
    status = read_uleb(cursor, &sites);
    if (status < 0)
        return status;
    if (!sites || sites > cursor->left)
        return PREVIRT_E_MALFORMED;
    cursor->run_left = sites;
    cursor->run_begins = 1;
    cursor->site_end = cursor->arch == PREVIRT_ARCH_IA64 ? slots_of(anchor, 0) : anchor;
    return PREVIRT_OK;
}

static int read_ia32_record(struct pv_table_cursor *cursor, struct previrt_site *site)
{
    const struct previrt_ia32_form_info *form;
    uint32_t gap;
    uint8_t room, operand;
    int status = read_uleb(cursor, &gap);

    if (status < 0)
        return status;
    if (cursor->run_begins && gap)
        return PREVIRT_E_MALFORMED;
    if (cursor->end - cursor->position < 3)
        return PREVIRT_E_TRUNCATED;
    form = previrt_ia32_form_info(cursor->notes[cursor->position]);
    room = cursor->notes[cursor->position + 1];
    operand = cursor->notes[cursor->position + 2];
    cursor->position += 3;
    if (!form)
        return PREVIRT_E_OPERATION;

    site->address = cursor->site_end + gap;
    site->form = form->form;
    site->op = form->op;
    site->length = room & PV_ROOM_LENGTH;
    if (site->length) {
        site->pad = room >> PV_ROOM_PAD_SHIFT & PREVIRT_PAD_MAX;
        site->flags = room & PV_ROOM_FLAGS_DEAD ? PREVIRT_SITE_FLAGS_DEAD : 0;
        site->operand = operand;
    } else {
        site->flags = PREVIRT_SITE_DORMANT;
        site->feature = (uint16_t)(room >> PV_ROOM_PAD_SHIFT << 8 | operand);
    }
    cursor->site_end = site->address + site->length + site->pad;
    return cursor->site_end > (uint64_t)UINT32_MAX + 1 ? PREVIRT_E_RANGE : PREVIRT_OK;
}

/* (value) / 3, without the compiler's 64-bit division, which a freestanding IA32 program lacks. */
static uint64_t divide_by_slots(uint64_t value, uint8_t *remainder)
{
    const uint32_t high = (uint32_t)(value >> 32), low = (uint32_t)value;
    const uint32_t carry = high % PV_IA64_SLOTS; /* 2^32 = 3 * 0x55555555 + 1 */
    const uint32_t rest = low % PV_IA64_SLOTS + carry;

    *remainder = (uint8_t)(rest % PV_IA64_SLOTS);
    return ((uint64_t)(high / PV_IA64_SLOTS) << 32) + (uint64_t)carry * 0x55555555u +
           low / PV_IA64_SLOTS + rest / PV_IA64_SLOTS;
}

static int read_ia64_record(struct pv_table_cursor *cursor, struct previrt_site *site)
{
    uint32_t gap;
    uint64_t slots, bundle;
    int status = read_uleb(cursor, &gap);

    if (status < 0)
        return status;
    if (cursor->run_begins && gap >= PV_IA64_SLOTS)
        return PREVIRT_E_MALFORMED;
    if (cursor->end - cursor->position < 3)
        return PREVIRT_E_TRUNCATED;
    site->op = cursor->notes[cursor->position];
    site->operand = pv_get16(cursor->notes + cursor->position + 1);
    cursor->position += 3;
    if (!site->op)
        return PREVIRT_E_OPERATION;

    slots = cursor->site_end + gap;
    bundle = divide_by_slots(slots, &site->slot);
    if (bundle > UINT64_MAX / PV_IA64_BUNDLE)
        return PREVIRT_E_RANGE;
    site->address = bundle * PV_IA64_BUNDLE;
    site->length = PV_IA64_BUNDLE;
    cursor->site_end = slots + 1;
    return PREVIRT_OK;
}

/* One step; (cursor) is the caller's copy, of which only (record) survives an error. */
static int read_next(struct pv_table_cursor *cursor, struct previrt_site *site)
{
    static const struct previrt_site empty;
    int status;

    while (!cursor->run_left) {
        if (cursor->end && cursor->position < cursor->end) {
            status = read_run(cursor);
            if (status < 0)
                return status;
            break;
        }
        if (cursor->end) { /* the fragment is over */
            if (cursor->left) {
                cursor->record = cursor->position;
                return PREVIRT_E_MALFORMED;
            }
            cursor->end = 0;
            cursor->position = cursor->next_note;
        }
        if (cursor->position >= cursor->size)
            return 0;
        status = read_note(cursor);
        if (status < 0)
            return status;
    }
    cursor->record = cursor->position;
    *site = empty;
    site->arch = cursor->arch;
    status = cursor->arch == PREVIRT_ARCH_IA32 ? read_ia32_record(cursor, site)
                                               : read_ia64_record(cursor, site);
    if (status < 0)
        return status;
    cursor->run_begins = 0;
    cursor->run_left--;
    cursor->left--;
    return 1;
}

int previrt_table_begin(struct previrt_table_cursor *cursor, const void *notes, size_t size,
                        uint64_t address)
{
    static const struct pv_table_cursor empty;
    struct pv_table_cursor *inner = (struct pv_table_cursor *)(void *)cursor;

    if (!cursor || (!notes && size))
        return PREVIRT_E_INVALID;
    *inner = empty;
    inner->notes = notes;
    inner->size = size;
    inner->address = address;
    return PREVIRT_OK;
}

int previrt_table_next(struct previrt_table_cursor *cursor, struct previrt_site *site)
{
    struct pv_table_cursor *inner = (struct pv_table_cursor *)(void *)cursor;
    struct pv_table_cursor step;
    int status;

    if (!cursor || !site)
        return PREVIRT_E_INVALID;
    step = *inner;
    status = read_next(&step, site);
    if (status < 0)
        inner->record = step.record;
    else
        *inner = step;
    return status;
}

size_t previrt_table_offset(const struct previrt_table_cursor *cursor)
{
    return (size_t)pv_table_cursor(cursor)->record;
}
