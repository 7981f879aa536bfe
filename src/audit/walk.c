/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * See walk.h. A linear sweep that resynchronises at what is known to begin an instruction (symbols,
 * the kernel's own tables), leaves out what is known to be data, and then follows the branches that
 * lead into the middle of what it decoded.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "audit/walk.h"

enum mark {
    MARK_LABEL =
        1 << 0, /* a label: an instruction begins here, or an operand that the code patches */
    MARK_ENTRY = 1 << 1, /* certainly begins an instruction: function, global label, kernel table */
    MARK_DATA = 1 << 2,  /* an object's symbol or a jump table covers it */
    MARK_START = 1 << 3, /* the sweep decoded an instruction here */
    MARK_COVERED = 1 << 4, /* and it has this byte */
    MARK_TARGET = 1 << 5   /* a branch leads here */
};
#define MARK_SYNC (MARK_LABEL | MARK_ENTRY)

const struct pv_code *pv_walk_code_at(const struct pv_walk *walk, uint64_t address)
{
    size_t low = 0, high = walk->code_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (walk->codes[middle].section->address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low ||
        address - walk->codes[low - 1].section->address >= walk->codes[low - 1].section->size)
        return NULL;
    return &walk->codes[low - 1];
}

static void mark(struct pv_walk *walk, uint64_t address, uint8_t bits)
{
    const struct pv_code *code = pv_walk_code_at(walk, address);

    if (code)
        code->marks[address - code->section->address] |= bits;
}

static void hint(struct pv_walk *walk, uint64_t address)
{
    mark(walk, address, MARK_ENTRY);
}

/* Doubles an array that is full. */
static int grow(void **array, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity ? *capacity * 2 : 1024;
    void *grown;

    if (count < *capacity)
        return PREVIRT_OK;
    grown = realloc(*array, wanted * size);
    if (!grown)
        return PREVIRT_E_MEMORY;
    *array = grown;
    *capacity = wanted;
    return PREVIRT_OK;
}

static int add_site(struct pv_walk *walk, size_t code, uint64_t offset,
                    const struct previrt_ia32_class *class, bool overlapping)
{
    if (grow((void **)&walk->sites, walk->site_count, &walk->site_capacity, sizeof(*walk->sites)))
        return PREVIRT_E_MEMORY;
    walk->sites[walk->site_count++] = (struct pv_found){
        .address = walk->codes[code].section->address + offset,
        .code = (uint32_t)code,
        .op = class->op,
        .length = class->length,
        .overlapping = overlapping,
    };
    return PREVIRT_OK;
}

static int add_undecided(struct pv_walk *walk, size_t code, uint64_t from, uint64_t to,
                         enum pv_undecided_reason reason)
{
    uint64_t address = walk->codes[code].section->address + from;
    struct pv_undecided *last =
        walk->undecided_count ? &walk->undecided[walk->undecided_count - 1] : NULL;

    if (from >= to)
        return PREVIRT_OK;
    if (last && last->code == code && last->address + last->size >= address) {
        last->size = address + (to - from) - last->address;
        return PREVIRT_OK;
    }
    if (grow((void **)&walk->undecided, walk->undecided_count, &walk->undecided_capacity,
             sizeof(*walk->undecided)))
        return PREVIRT_E_MEMORY;
    walk->undecided[walk->undecided_count++] = (struct pv_undecided){
        .address = address,
        .size = to - from,
        .code = (uint32_t)code,
        .reason = (uint8_t)reason,
    };
    return PREVIRT_OK;
}

/* ---- what is known beforehand ---- */

static void mark_symbols(struct pv_walk *walk)
{
    for (size_t i = 0; i < walk->elf->symbol_count; i++) {
        const struct pv_view_symbol *symbol = &walk->elf->symbols[i];
        const struct pv_view_section *section = &walk->elf->sections[symbol->section];
        const struct pv_code *found = pv_walk_code_at(walk, symbol->address);
        struct pv_code *code;
        uint64_t offset;

        if (!found || found->section != section)
            continue; /* at the very end */
        code = &walk->codes[found - walk->codes];
        code->labelled = true;
        offset = symbol->address - section->address;
        if (symbol->type == STT_OBJECT && symbol->size) {
            for (uint64_t at = offset; at < offset + symbol->size; at++)
                code->marks[at] |= MARK_DATA;
            if (offset + symbol->size < section->size)
                code->marks[offset + symbol->size] |= MARK_ENTRY;
        } else {
            code->marks[offset] |=
                symbol->type == STT_FUNC || symbol->global ? MARK_ENTRY : MARK_LABEL;
        }
    }
}

/*
 * Jump tables in text, as `jmp *table(,%reg,4)` and `mov table(,%reg,4),%reg` name them: a SIB byte
 * without base and with scale 4 (SDM 2A, table 2-3) and a displacement in this very section, where
 * at least two pointers into the section stand.
 */
static void mark_jump_tables(struct pv_walk *walk, struct pv_code *code)
{
    const uint64_t base = code->section->address, size = code->section->size;
    const uint64_t entry = 4, entries_min = 2;

    for (uint64_t at = 0; at + 6 <= size; at++) {
        uint32_t displacement, pointer;
        uint64_t table, end;

        if ((code->bytes[at] & 0xc7) != 0x04 || (code->bytes[at + 1] & 0xc7) != 0x85)
            continue;
        memcpy(&displacement, code->bytes + at + 2, sizeof(displacement));
        if (displacement < base || displacement - base >= size)
            continue;
        table = displacement - base;
        for (end = table; end + entry <= size; end += entry) {
            if (end > table && (code->marks[end] & MARK_SYNC))
                break;
            memcpy(&pointer, code->bytes + end, sizeof(pointer));
            if (pointer < base || pointer - base >= size)
                break;
        }
        if (end - table < entries_min * entry)
            continue;
        for (uint64_t i = table; i < end; i += entry) {
            memcpy(&pointer, code->bytes + i, sizeof(pointer));
            mark(walk, pointer, MARK_TARGET);
        }
        for (uint64_t i = table; i < end; i++)
            code->marks[i] |= MARK_DATA;
        if (end < size)
            code->marks[end] |= MARK_LABEL;
    }
}

/* ---- the sweep ---- */

/* What an instruction does to the flow of control. */
struct flow {
    bool ends;       /* nothing runs on behind it */
    bool has_target; /* a direct branch */
    uint64_t target; /* address */
};

static struct flow flow_of(const struct pv_walk *walk, const uint8_t *bytes, unsigned length,
                           uint64_t address, unsigned op)
{
    struct flow flow = {0};
    unsigned at = 0, field = 0;

    switch (op) {
    case PREVIRT_IA32_NO_OP:
        break;
    case PREVIRT_IA32_IRET:
    case PREVIRT_IA32_LJMP:
    case PREVIRT_IA32_LRET:
    case PREVIRT_IA32_SYSEXIT:
    case PREVIRT_IA32_SYSRET:
        flow.ends = true;
        return flow;
    default:
        return flow;
    }
    while (at < length && (bytes[at] == 0x2e || bytes[at] == 0x3e || bytes[at] == 0xf2 ||
                           (walk->decoder.bits == 64 && (bytes[at] & 0xf0) == 0x40)))
        at++; /* branch hints, bnd, REX */
    if (at >= length)
        return flow;
    switch (bytes[at]) {
    case 0x70 ... 0x7f: /* jcc */
    case 0xe0 ... 0xe3: /* loop, jecxz */
        field = 1;
        break;
    case 0xeb: /* jmp */
        field = 1;
        flow.ends = true;
        break;
    case 0xe9:
        field = 4;
        flow.ends = true;
        break;
    case 0xe8: /* call */
        field = 4;
        break;
    case 0xc2: /* ret */
    case 0xc3:
    case 0xcc: /* int3, between functions and behind them */
        flow.ends = true;
        break;
    case 0xff: /* jmp *rm */
        flow.ends = at + 1 < length && (bytes[at + 1] >> 3 & 7) == 4;
        break;
    case 0x0f:
        if (at + 1 < length && bytes[at + 1] == 0x0b) /* ud2 */
            flow.ends = true;
        if (at + 1 < length && (bytes[at + 1] & 0xf0) == 0x80) /* jcc */
            field = 4;
        break;
    default:
        break;
    }
    if (field && walk->decoder.bits != 16 && at + field < length) {
        int64_t displacement;

        if (field == 1) {
            displacement = (int8_t)bytes[length - 1];
        } else {
            int32_t wide;

            memcpy(&wide, bytes + length - 4, sizeof(wide));
            displacement = wide;
        }
        flow.has_target = true;
        flow.target = address + length + (uint64_t)displacement;
        if (walk->decoder.bits == 32)
            flow.target = (uint32_t)flow.target;
    }
    return flow;
}

/* Offset of the next byte behind (at), before (limit), with one of (bits), or (limit). */
static uint64_t next_mark(const struct pv_code *code, uint64_t at, uint64_t limit, uint8_t bits)
{
    for (at++; at < limit; at++)
        if (code->marks[at] & bits)
            return at;
    return limit;
}

/* Takes back what was decoded in [from, to). */
static void forget(struct pv_walk *walk, size_t index, uint64_t from, uint64_t to)
{
    struct pv_code *code = &walk->codes[index];

    for (uint64_t at = from; at < to; at++) {
        if (code->marks[at] & MARK_START)
            walk->instructions--;
        code->marks[at] &= (uint8_t) ~(MARK_START | MARK_COVERED);
    }
    while (walk->site_count && walk->sites[walk->site_count - 1].code == index &&
           walk->sites[walk->site_count - 1].address >= code->section->address + from)
        walk->site_count--;
}

/* Marks the targets of the branches in [from, to), now that these bytes are known to be code. */
static void mark_targets(struct pv_walk *walk, const struct pv_code *code, uint64_t from,
                         uint64_t to)
{
    for (uint64_t at = from; at < to;) {
        uint64_t next = at + 1;
        struct flow flow;

        if (!(code->marks[at] & MARK_START)) {
            at++;
            continue;
        }
        while (next < to && (code->marks[next] & (MARK_START | MARK_COVERED)) == MARK_COVERED)
            next++;
        flow = flow_of(walk, code->bytes + at, (unsigned)(next - at), code->section->address + at,
                       PREVIRT_IA32_NO_OP);
        if (flow.has_target)
            mark(walk, flow.target, MARK_TARGET);
        at = next;
    }
}

/* Whether zeros lead from (at) to something known, which makes them filler; (*end) is where. */
static bool is_zero_fill(const struct pv_code *code, uint64_t at, uint64_t *end)
{
    for (; at < code->section->size && code->bytes[at] == 0; at++)
        if (code->marks[at] & (MARK_SYNC | MARK_DATA))
            break;
    *end = at;
    return at >= code->section->size || (code->marks[at] & (MARK_SYNC | MARK_DATA));
}

static int sweep(struct pv_walk *walk, size_t index)
{
    struct pv_code *code = &walk->codes[index];
    const uint64_t size = code->section->size;
    uint64_t at = 0, known = 0; /* everything before (known) is decided */
    int status = PREVIRT_OK;

    while (at < size && !status) {
        struct previrt_ia32_class class;
        uint64_t next, end;
        struct flow flow;

        if (code->marks[at] & (MARK_SYNC | MARK_DATA)) {
            mark_targets(walk, code, known, at);
            known = at;
        }
        if (code->marks[at] & MARK_DATA) {
            while (at < size && (code->marks[at] & MARK_DATA))
                at++;
            walk->data_bytes += at - known;
            known = at;
            continue;
        }
        if (code->bytes[at] == 0 && is_zero_fill(code, at + 1, &end)) {
            mark_targets(walk, code, known, at);
            walk->filler_bytes += end - at;
            at = known = end;
            continue;
        }
        if (pv_ia32_next(&walk->decoder, code->bytes + at, (size_t)(size - at), &class)) {
            end = code->labelled ? next_mark(code, at, size, MARK_SYNC | MARK_DATA) : at + 1;
            forget(walk, index, known, at);
            status = add_undecided(walk, index, known, end, PV_NOT_CODE);
            at = known = end;
            continue;
        }
        next = at + class.length;
        end = next_mark(code, at, next, MARK_ENTRY | MARK_DATA);
        if (end < next) {
            forget(walk, index, known, at);
            status = add_undecided(walk, index, known, end, PV_OUT_OF_SYNC);
            at = known = end;
            continue;
        }
        /* a local label in the middle: of an operand, or of code that hides here; see both ways */
        for (uint64_t i = at + 1; i < next; i++)
            if (code->marks[i] & MARK_LABEL)
                code->marks[i] |= MARK_TARGET;
        code->marks[at] |= MARK_START;
        for (uint64_t i = at; i < next; i++)
            code->marks[i] |= MARK_COVERED;
        walk->instructions++;
        if (class.op)
            status = add_site(walk, index, at, &class, false);
        flow = flow_of(walk, code->bytes + at, class.length, code->section->address + at, class.op);
        at = next;
        if (flow.ends) {
            mark_targets(walk, code, known, at);
            known = at;
        }
    }
    mark_targets(walk, code, known, at);
    return status;
}

/* Follows each branch into the middle of an instruction, or into what is not known, until the paths
 * meet. */
static int follow_targets(struct pv_walk *walk)
{
    for (size_t c = 0; c < walk->code_count; c++) {
        struct pv_code *code = &walk->codes[c];

        for (uint64_t target = 0; target < code->section->size; target++) {
            uint64_t at = target;

            if ((code->marks[at] & (MARK_TARGET | MARK_START)) != MARK_TARGET)
                continue;
            while (at < code->section->size && !(code->marks[at] & MARK_START)) {
                bool inside = code->marks[at] & MARK_COVERED;
                struct previrt_ia32_class class;
                struct flow flow;

                if (pv_ia32_next(&walk->decoder, code->bytes + at,
                                 (size_t)(code->section->size - at), &class))
                    break;
                if (class.op && add_site(walk, c, at, &class, inside))
                    return PREVIRT_E_MEMORY;
                flow = flow_of(walk, code->bytes + at, class.length, code->section->address + at,
                               class.op);
                walk->instructions++;
                code->marks[at] |= MARK_START;
                for (uint64_t i = at; i < at + class.length; i++)
                    code->marks[i] |= MARK_COVERED;
                at += class.length;
                if (flow.ends)
                    break;
            }
        }
    }
    return PREVIRT_OK;
}

/* Could a sensitive operation hide in the bytes that nothing covers? */
static void look_into_undecided(struct pv_walk *walk)
{
    for (size_t i = 0; i < walk->undecided_count; i++) {
        struct pv_undecided *range = &walk->undecided[i];
        const struct pv_code *code = &walk->codes[range->code];
        uint64_t from = range->address - code->section->address;

        for (uint64_t at = from; at < from + range->size; at++) {
            struct previrt_ia32_class class;

            if (code->marks[at] & (MARK_COVERED | MARK_DATA))
                continue;
            walk->undecided_bytes++;
            if (!range->op && !pv_ia32_next(&walk->decoder, code->bytes + at,
                                            (size_t)(code->section->size - at), &class))
                range->op = class.op;
        }
    }
}

static int compare_sites(const void *a, const void *b)
{
    const struct pv_found *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

static int compare_codes(const void *a, const void *b)
{
    const struct pv_code *left = a, *right = b;

    if (left->section->address != right->section->address)
        return left->section->address < right->section->address ? -1 : 1;
    return left->section < right->section ? -1 : left->section > right->section;
}

static int open_codes(struct pv_walk *walk)
{
    const struct pv_view *elf = walk->elf;

    walk->codes = calloc(elf->section_count + 1, sizeof(*walk->codes));
    if (!walk->codes)
        return PREVIRT_E_MEMORY;
    for (size_t i = 1; i < elf->section_count; i++) {
        struct pv_code *code = &walk->codes[walk->code_count];

        if (!pv_view_is_code(&elf->sections[i]))
            continue;
        walk->code_count++;
        code->section = &elf->sections[i];
        code->view = elf;
        code->bytes = code->section->data;
        code->marks = calloc(1, (size_t)code->section->size);
        if (!code->marks)
            return PREVIRT_E_MEMORY;
        if (elf->type == ET_REL) {
            int status = pv_view_relocated(elf, code->section, &code->copy);

            if (status)
                return status;
            code->bytes = code->copy;
        }
    }
    qsort(walk->codes, walk->code_count, sizeof(*walk->codes), compare_codes);
    for (size_t i = 1; i < walk->code_count; i++)
        if (walk->codes[i - 1].section->address + walk->codes[i - 1].section->size >
            walk->codes[i].section->address)
            return PREVIRT_E_MALFORMED; /* two sections at one address */
    return PREVIRT_OK;
}

int pv_walk_run(struct pv_walk *walk, const struct pv_view *elf, unsigned bits)
{
    int status;

    memset(walk, 0, sizeof(*walk));
    walk->elf = elf;
    if (elf->machine == EM_IA_64) {
        if (bits && bits != elf->bits)
            return PREVIRT_E_INVALID;
        walk->decoder.bits = elf->bits;
        status = pv_walk_ia64(walk);
        if (status)
            pv_walk_free(walk);
        return status;
    }
    status = pv_ia32_decoder_init(&walk->decoder, bits ? bits : elf->bits);
    if (!status)
        status = open_codes(walk);
    if (!status) {
        mark_symbols(walk);
        status = pv_walk_read_tables(walk, hint);
    }
    for (size_t i = 0; !status && i < walk->code_count; i++)
        if (walk->decoder.bits == 32)
            mark_jump_tables(walk, &walk->codes[i]);
    for (size_t i = 0; !status && i < walk->code_count; i++)
        status = sweep(walk, i);
    if (!status)
        status = follow_targets(walk);
    if (status) {
        pv_walk_free(walk);
        return status;
    }
    look_into_undecided(walk);
    for (size_t i = 0; i < walk->code_count; i++)
        walk->code_bytes += walk->codes[i].section->size;
    walk->code_bytes -= walk->data_bytes + walk->filler_bytes + walk->undecided_bytes;
    if (walk->site_count)
        qsort(walk->sites, walk->site_count, sizeof(*walk->sites), compare_sites);
    return PREVIRT_OK;
}

void pv_walk_free(struct pv_walk *walk)
{
    for (size_t i = 0; i < walk->code_count; i++) {
        free(walk->codes[i].copy);
        free(walk->codes[i].marks);
    }
    for (size_t i = 0; i < walk->embedded_count; i++)
        pv_view_close(&walk->embedded[i].view);
    free(walk->embedded);
    free(walk->pinned);
    free(walk->codes);
    free(walk->sites);
    free(walk->undecided);
    free(walk->alternatives);
    memset(walk, 0, sizeof(*walk));
}
