/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The second pass of `previrt as`: what the assembler made of an annotated file is decoded,
 * compared with what the annotator meant, and its unfinished fragments (docs/table-format.md)
 * become finished ones.
 *
 * It runs for every object of a kernel's build, so it computes a few patches and writes nothing
 * else.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <previrt/image.h>

#include "image/elf.h"
#include "table/table.h"

/* struct alt_instr of Linux 6.1, arch/x86/include/asm/alternative.h: 12 bytes, packed. */
enum {
    ALT_REPL_OFFSET = 4,
    ALT_CPUID = 8,
    ALT_REPLACEMENT_LENGTH = 11,
    ALT_SIZE = 12,
    ALT_FLAG_INV = 1 << 15 /* applies where the feature is absent */
};

/* Bytes to write, one behind the other in (bytes). */
struct patch {
    size_t offset; /* in the file */
    size_t bytes;  /* in (bytes) */
    size_t size;
};

struct patches {
    struct patch *items;
    size_t count, capacity;
    uint8_t *bytes;
    size_t bytes_size, bytes_capacity;
    size_t file_size; /* the new one */
};

/* A record of an unfinished fragment, and what became of it. */
struct entry {
    struct previrt_site site;
    struct pv_reloc reloc; /* of its address */
    const uint8_t *bytes;  /* at the site */
    uint32_t section;      /* of the site */
    uint32_t number;       /* order in the note section */
    uint8_t invariant;
};

/* A replacement in .altinstr_replacement. */
struct replacement {
    uint64_t begin, end;
    uint32_t section;
    uint16_t feature;
};

/* The complete records of one table section. */
struct entries {
    struct entry *items;
    size_t count, capacity;
};

struct finish {
    struct pv_elf elf;
    struct previrt_finish_report *report;
    struct patches *patches;
    uint32_t *reloc_sections; /* by target; 0: none */
    struct replacement *replacements;
    size_t replacement_count;
    int replacements_read;
};

static int add_patch(struct patches *patches, size_t offset, const void *bytes, size_t size)
{
    struct patch *patch;

    if (patches->count == patches->capacity) {
        size_t capacity = patches->capacity ? 2 * patches->capacity : 16;
        struct patch *grown = realloc(patches->items, capacity * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        patches->items = grown;
        patches->capacity = capacity;
    }
    if (patches->bytes_capacity - patches->bytes_size < size) {
        size_t capacity = 2 * patches->bytes_capacity + size + 1024;
        uint8_t *grown = realloc(patches->bytes, capacity);

        if (!grown)
            return PREVIRT_E_MEMORY;
        patches->bytes = grown;
        patches->bytes_capacity = capacity;
    }
    patch = &patches->items[patches->count++];
    patch->offset = offset;
    patch->bytes = patches->bytes_size;
    patch->size = size;
    if (size)
        memcpy(patches->bytes + patches->bytes_size, bytes, size);
    patches->bytes_size += size;
    if (offset + size > patches->file_size)
        patches->file_size = offset + size;
    return PREVIRT_OK;
}

static void free_patches(struct patches *patches)
{
    free(patches->items);
    free(patches->bytes);
}

static int add_word(struct finish *finish, size_t offset, uint64_t value)
{
    uint8_t bytes[sizeof(uint64_t)];
    size_t size = pv_elf_put_word(&finish->elf, bytes, value);

    return add_patch(finish->patches, offset, bytes, size);
}

/* ---- relocations ---- */

struct relocs {
    struct pv_section section;
    const uint8_t *data;
    size_t count;
    struct pv_symbols symbols;
    uint32_t index; /* of the section */
};

/* The relocations of section (target): 1, 0 if it has none, or a status. */
static int open_relocs(struct finish *finish, uint32_t target, struct relocs *relocs)
{
    const struct pv_elf *elf = &finish->elf;

    relocs->index = finish->reloc_sections[target];
    if (!relocs->index)
        return 0;
    pv_elf_section(elf, relocs->index, &relocs->section);
    relocs->data = pv_elf_data(elf, &relocs->section);
    if (!relocs->data)
        return PREVIRT_E_MALFORMED;
    relocs->count = (size_t)relocs->section.size / pv_elf_reloc_size(elf, relocs->section.type);
    return pv_elf_symbols(elf, relocs->section.link, &relocs->symbols) < 0 ? PREVIRT_E_MALFORMED
                                                                           : 1;
}

/* What a PC-relative relocation of the 32-bit field at (field) points to. */
static int resolve(struct finish *finish, const struct relocs *relocs, struct pv_reloc *reloc,
                   const uint8_t *field, uint32_t *section, uint64_t *offset)
{
    struct pv_symbol symbol;
    int status;

    if (reloc->type != R_386_PC32)
        return PREVIRT_E_MALFORMED;
    if (relocs->section.type == SHT_REL)
        reloc->addend = (int32_t)pv_get32(field);
    status = pv_elf_symbol(&finish->elf, &relocs->symbols, reloc->symbol, &symbol);
    if (status < 0)
        return status;
    if (symbol.section == SHN_UNDEF)
        return PREVIRT_E_MALFORMED;
    *section = symbol.section;
    *offset = (uint32_t)(symbol.value + (uint64_t)reloc->addend);
    return PREVIRT_OK;
}

/* ---- dormant sites: which feature wakes them ---- */

static int compare_replacements(const void *left, const void *right)
{
    const struct replacement *a = left, *b = right;

    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    if (a->begin != b->begin)
        return a->begin < b->begin ? -1 : 1;
    return a->end < b->end ? -1 : a->end > b->end;
}

static int read_alternatives(struct finish *finish, uint32_t index)
{
    const struct pv_elf *elf = &finish->elf;
    struct pv_section section;
    struct relocs relocs;
    struct replacement *grown;
    const uint8_t *data;
    int status;

    pv_elf_section(elf, index, &section);
    data = pv_elf_data(elf, &section);
    if (!data)
        return PREVIRT_E_MALFORMED;
    status = open_relocs(finish, index, &relocs);
    if (status <= 0)
        return status;
    grown = realloc(finish->replacements,
                    (finish->replacement_count + relocs.count + 1) * sizeof(*grown));
    if (!grown)
        return PREVIRT_E_MEMORY;
    finish->replacements = grown;
    for (size_t i = 0; i < relocs.count; i++) {
        struct replacement *replacement = &grown[finish->replacement_count];
        struct pv_reloc reloc;
        const uint8_t *alternative;
        unsigned feature;

        pv_elf_reloc(elf, relocs.section.type, relocs.data, i, &reloc);
        if (reloc.offset % ALT_SIZE != ALT_REPL_OFFSET || section.size < ALT_SIZE ||
            reloc.offset - ALT_REPL_OFFSET > section.size - ALT_SIZE)
            continue;
        alternative = data + (reloc.offset - ALT_REPL_OFFSET);
        if (resolve(finish, &relocs, &reloc, alternative + ALT_REPL_OFFSET, &replacement->section,
                    &replacement->begin) < 0)
            continue;
        feature = pv_get16(alternative + ALT_CPUID);
        if (feature & ALT_FLAG_INV || feature > PREVIRT_FEATURE_UNKNOWN)
            feature = PREVIRT_FEATURE_UNKNOWN;
        replacement->feature = (uint16_t)feature;
        replacement->end = replacement->begin + alternative[ALT_REPLACEMENT_LENGTH];
        if (replacement->end > replacement->begin)
            finish->replacement_count++;
    }
    return PREVIRT_OK;
}

static int read_replacements(struct finish *finish)
{
    if (finish->replacements_read)
        return PREVIRT_OK;
    finish->replacements_read = 1;
    for (uint32_t i = 1; i < finish->elf.shnum; i++) {
        struct pv_section section;
        int status;

        pv_elf_section(&finish->elf, i, &section);
        if (section.type != SHT_PROGBITS ||
            strcmp(pv_elf_name(&finish->elf, &section), ".altinstructions") != 0)
            continue;
        status = read_alternatives(finish, i);
        if (status < 0)
            return status;
    }
    if (finish->replacement_count)
        qsort(finish->replacements, finish->replacement_count, sizeof(struct replacement),
              compare_replacements);
    return PREVIRT_OK;
}

/* The replacement that covers the site, or NULL; replacements are disjoint but for repeats. */
static const struct replacement *find_replacement(const struct finish *finish, uint32_t section,
                                                  uint64_t offset)
{
    size_t low = 0, high = finish->replacement_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct replacement *replacement = &finish->replacements[middle];

        if (replacement->section < section ||
            (replacement->section == section && replacement->begin <= offset))
            low = middle + 1;
        else
            high = middle;
    }
    if (low) {
        const struct replacement *replacement = &finish->replacements[low - 1];

        if (replacement->section == section && offset < replacement->end)
            return replacement;
    }
    return NULL;
}

/* ---- one record ---- */

static void report_mismatch(struct finish *finish, const struct entry *entry, int status,
                            unsigned expected, unsigned found, unsigned room, const uint8_t *bytes,
                            size_t size)
{
    struct previrt_finish_report *report = finish->report;
    struct previrt_finish_mismatch *mismatch;
    struct pv_section section;

    if (report->mismatch_count++ >= PREVIRT_FINISH_MISMATCHES)
        return;
    mismatch = &report->mismatches[report->mismatch_count - 1];
    memset(mismatch, 0, sizeof(*mismatch));
    pv_elf_section(&finish->elf, entry->section, &section);
    strncpy(mismatch->section, pv_elf_name(&finish->elf, &section), PREVIRT_SECTION_NAME_MAX - 1);
    mismatch->section_index = entry->section;
    mismatch->offset = entry->site.address;
    mismatch->status = status;
    mismatch->expected = (uint8_t)expected;
    mismatch->found = (uint8_t)found;
    mismatch->room = (uint8_t)room;
    if (size > sizeof(mismatch->bytes))
        size = sizeof(mismatch->bytes);
    mismatch->byte_count = (uint8_t)size;
    if (size)
        memcpy(mismatch->bytes, bytes, size);
}

static struct entry *add_entry(struct entries *entries)
{
    if (entries->count == entries->capacity) {
        size_t capacity = 2 * entries->capacity + 16;
        struct entry *grown = realloc(entries->items, capacity * sizeof(*grown));

        if (!grown)
            return NULL;
        entries->items = grown;
        entries->capacity = capacity;
    }
    return &entries->items[entries->count++];
}

static void make_dormant(struct entry *entry, uint16_t feature)
{
    entry->site.flags = PREVIRT_SITE_DORMANT;
    entry->site.length = 0;
    entry->site.pad = 0;
    entry->site.operand = 0;
    entry->site.feature = feature;
    entry->invariant = 0;
}

/*
 * Decodes what is at entry->site.address of its section. 1: the entry is complete, 0: it was
 * dropped or reported, or a status.
 */
static int read_site(struct finish *finish, struct entry *entry, const uint8_t *raw)
{
    unsigned room = raw[PV_RAW_ROOM], expected = raw[PV_RAW_OP], flags = raw[PV_RAW_FLAGS];
    struct previrt_site *site = &entry->site;
    struct previrt_ia32_insn insn;
    struct pv_section section;
    const uint8_t *code;
    size_t available;
    int status;

    if (expected >= PREVIRT_IA32_OP_LIMIT || (flags & ~(unsigned)PREVIRT_SITE_FLAGS_DEAD) ||
        raw[PV_RAW_RESERVED])
        return PREVIRT_E_MALFORMED;
    pv_elf_section(&finish->elf, entry->section, &section);
    code = pv_elf_data(&finish->elf, &section);
    if (!code || !(section.flags & SHF_EXECINSTR) || site->address >= section.size ||
        room > section.size - site->address) {
        report_mismatch(finish, entry, PREVIRT_E_RANGE, expected, 0, room, NULL, 0);
        return 0;
    }
    code += site->address;
    available = room ? room : (size_t)(section.size - site->address);
    entry->bytes = code;

    /* sti;hlt may have come out of a macro; the annotator knows when it means the sti alone */
    status = previrt_ia32_decode_site(code, available, expected != PREVIRT_IA32_STI, &insn);
    if (status == PREVIRT_E_OPERATION && !expected) {
        finish->report->dropped++;
        return 0;
    }
    if (status == PREVIRT_E_TRUNCATED)
        status = PREVIRT_E_ROOM;
    else if (!status && expected && insn.op != expected)
        status = PREVIRT_E_BYTES;
    if (status < 0) {
        report_mismatch(finish, entry, status, expected, insn.op, room, code,
                        available < PREVIRT_LENGTH_MAX ? available : PREVIRT_LENGTH_MAX);
        return 0;
    }
    site->arch = PREVIRT_ARCH_IA32;
    previrt_ia32_site_from_insn(&insn, site);
    entry->invariant = insn.invariant;
    if (room) {
        unsigned pad = room - insn.length;

        site->pad = (uint8_t)(pad < PREVIRT_PAD_MAX ? pad : PREVIRT_PAD_MAX);
        site->flags = (uint8_t)flags;
        status = previrt_ia32_match_site(site, code, available, NULL);
        if (status < 0) {
            report_mismatch(finish, entry, status, expected, insn.op, room, code, available);
            return 0;
        }
    } else {
        const struct replacement *replacement;

        status = read_replacements(finish);
        if (status < 0)
            return status;
        replacement = find_replacement(finish, entry->section, site->address);
        make_dormant(entry, replacement ? replacement->feature : PREVIRT_FEATURE_UNKNOWN);
    }
    return 1;
}

/*
 * A record that says only where a replacement begins, in a macro: every operation that was
 * assembled there becomes an entry.
 */
static int read_replacement(struct finish *finish, const struct entry *probe,
                            struct entries *entries)
{
    uint64_t at = probe->site.address;
    const struct replacement *replacement;
    struct pv_section section;
    const uint8_t *code;
    int status = read_replacements(finish);

    if (status < 0)
        return status;
    replacement = find_replacement(finish, probe->section, at);
    if (!replacement) { /* nothing was assembled, or no alternative names it */
        finish->report->dropped++;
        return PREVIRT_OK;
    }
    pv_elf_section(&finish->elf, probe->section, &section);
    code = pv_elf_data(&finish->elf, &section);
    if (!code || !(section.flags & SHF_EXECINSTR) || replacement->end > section.size)
        return PREVIRT_E_MALFORMED;
    while (at < replacement->end) {
        struct previrt_ia32_class class = {.size = sizeof(class)};
        struct previrt_ia32_insn insn;
        struct entry *entry;

        /* What does not decode cannot be told from data: the audit says so of the image. */
        if (previrt_ia32_classify(code + at, (size_t)(replacement->end - at), 32, &class) < 0)
            break;
        if (class.op && previrt_ia32_decode_site(code + at, class.length, 0, &insn) == PREVIRT_OK) {
            entry = add_entry(entries);
            if (!entry)
                return PREVIRT_E_MEMORY;
            *entry = *probe;
            entry->bytes = code + at;
            entry->reloc.addend += (int64_t)(at - probe->site.address);
            entry->site.arch = PREVIRT_ARCH_IA32;
            previrt_ia32_site_from_insn(&insn, &entry->site);
            entry->site.address = at;
            make_dormant(entry, replacement->feature);
        }
        at += class.length;
    }
    return PREVIRT_OK;
}

/* ---- one table section ---- */

static int compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    if (a->site.address != b->site.address)
        return a->site.address < b->site.address ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

static int compare_relocs(const void *left, const void *right)
{
    const struct pv_reloc *a = left, *b = right;

    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/*
 * How many records the unfinished fragments of a section hold: a number, or a status. A section
 * that holds anything else besides is not what the annotator wrote.
 */
static int count_raw(const uint8_t *data, size_t size, size_t *notes)
{
    size_t at = 0, records = 0, others = 0;

    *notes = 0;
    while (at < size) {
        size_t left = size - at, desc_size;

        if (left < PV_NOTE_DESC)
            return PREVIRT_E_MALFORMED;
        desc_size = pv_get32(data + at + PV_NOTE_DESCSZ);
        if (pv_get32(data + at + PV_NOTE_NAMESZ) != PV_NOTE_NAME_SIZE ||
            memcmp(data + at + PV_NOTE_HEADER_SIZE, PREVIRT_NOTE_NAME, PV_NOTE_NAME_SIZE) != 0 ||
            desc_size > left - PV_NOTE_DESC)
            return PREVIRT_E_MALFORMED;
        if (pv_get32(data + at + PV_NOTE_TYPE) == PREVIRT_NT_RAW) {
            if (desc_size % PV_RAW_SIZE)
                return PREVIRT_E_MALFORMED;
            records += desc_size / PV_RAW_SIZE;
            ++*notes;
        } else {
            others++;
        }
        at += PV_NOTE_DESC + ((desc_size + PV_NOTE_ALIGN - 1) & ~(size_t)(PV_NOTE_ALIGN - 1));
    }
    if (*notes && others)
        return PREVIRT_E_STATE;
    return records > INT32_MAX ? PREVIRT_E_MALFORMED : (int)records;
}

/* Every record of the section, decoded, with the relocation of its address. */
static int read_entries(struct finish *finish, const uint8_t *data, size_t size,
                        const struct relocs *relocs, const struct pv_reloc *sorted,
                        struct entries *entries)
{
    size_t at = 0, next = 0;
    uint32_t number = 0;

    while (at < size) {
        size_t end = at + PV_NOTE_DESC + pv_get32(data + at + PV_NOTE_DESCSZ);

        for (at += PV_NOTE_DESC; at < end; at += PV_RAW_SIZE) {
            struct entry *entry, read = {0};
            uint64_t offset;
            int status;

            while (next < relocs->count && sorted[next].offset < at)
                next++;
            if (next == relocs->count || sorted[next].offset != at)
                return PREVIRT_E_MALFORMED;
            read.reloc = sorted[next];
            read.number = number++;
            status = resolve(finish, relocs, &read.reloc, data + at + PV_RAW_SITE, &read.section,
                             &offset);
            if (status < 0)
                return status;
            read.site.address = offset;
            if (!data[at + PV_RAW_ROOM] && !data[at + PV_RAW_OP]) {
                status = read_replacement(finish, &read, entries);
                if (status < 0)
                    return status;
                continue;
            }
            status = read_site(finish, &read, data + at);
            if (status < 0)
                return status;
            if (!status)
                continue;
            entry = add_entry(entries);
            if (!entry)
                return PREVIRT_E_MEMORY;
            *entry = read;
        }
    }
    return PREVIRT_OK;
}

/* In the order of their addresses; of several dormant ones at one address the first stays. */
static void sort_entries(struct entries *entries)
{
    size_t kept = 0;

    for (size_t i = 1; i < entries->count; i++)
        if (compare_entries(&entries->items[i - 1], &entries->items[i]) > 0) {
            qsort(entries->items, entries->count, sizeof(*entries->items), compare_entries);
            break;
        }
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i],
                           *before = kept ? &entries->items[kept - 1] : NULL;

        if (before && before->section == entry->section &&
            before->site.address == entry->site.address &&
            (before->site.flags & entry->site.flags & PREVIRT_SITE_DORMANT))
            continue;
        entries->items[kept++] = *entry;
    }
    entries->count = kept;
}

static void count_entries(struct finish *finish, const struct entries *entries)
{
    struct previrt_finish_report *report = finish->report;

    for (size_t i = 0; i < entries->count; i++) {
        const struct previrt_site *site = &entries->items[i].site;

        report->sites++;
        report->by_op[site->op]++;
        if (!(site->flags & PREVIRT_SITE_DORMANT))
            continue;
        report->dormant++;
        if (site->feature == PREVIRT_FEATURE_UNKNOWN)
            report->unknown_feature++;
    }
}

static void check_order(struct finish *finish, const struct entry *entries, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        const struct entry *entry = &entries[i], *before = &entries[i - 1];
        const struct previrt_site *site = &before->site;

        if (entry->section == before->section &&
            entry->site.address < site->address + site->length + site->pad)
            report_mismatch(finish, entry, PREVIRT_E_OVERLAP, entry->site.op, before->site.op,
                            entry->site.length + entry->site.pad, entry->bytes, entry->site.length);
    }
}

/* The finished fragments, and the relocation of each anchor. */
static size_t write_fragments(struct finish *finish, const struct relocs *relocs,
                              const struct entry *entries, size_t count,
                              struct pv_table_writer *writer, uint8_t *new_relocs)
{
    size_t reloc_size = pv_elf_reloc_size(&finish->elf, relocs->section.type), runs = 0;

    for (size_t i = 0; i < count;) {
        size_t fragment_end = count - i < PV_FRAGMENT_COUNT_MAX ? count : i + PV_FRAGMENT_COUNT_MAX;

        pv_table_begin_fragment(writer, PREVIRT_ARCH_IA32);
        while (i < fragment_end) {
            struct pv_reloc reloc = entries[i].reloc;
            size_t end = i, anchor;

            while (end < fragment_end && entries[end].section == entries[i].section)
                end++;
            anchor = pv_table_begin_run(writer, end - i);
            if (writer->status < 0)
                return 0;
            pv_put32(writer->out + anchor,
                     relocs->section.type == SHT_REL ? (uint32_t)reloc.addend : 0);
            reloc.offset = anchor;
            pv_elf_put_reloc(&finish->elf, relocs->section.type, new_relocs + runs * reloc_size,
                             &reloc);
            runs++;
            for (; i < end; i++)
                pv_table_put_site(writer, &entries[i].site, entries[i].bytes, entries[i].invariant);
        }
        pv_table_end_fragment(writer);
    }
    return runs;
}

static int patch_section(struct finish *finish, uint32_t index, const struct pv_section *section,
                         const struct relocs *relocs, const struct pv_table_writer *writer,
                         const uint8_t *new_relocs, size_t runs)
{
    size_t offset = (size_t)section->offset, reloc_size = 0;
    int status;

    if (writer->size > section->size) {
        const size_t align = PV_NOTE_ALIGN;

        offset = (finish->patches->file_size + align - 1) & ~(align - 1);
        status = add_word(finish, pv_elf_sh_offset_field(&finish->elf, index), offset);
        if (status < 0)
            return status;
    }
    status = add_patch(finish->patches, offset, writer->out, writer->size);
    if (status >= 0)
        status = add_word(finish, pv_elf_sh_size_field(&finish->elf, index), writer->size);
    if (status < 0 || !relocs->index)
        return status;
    reloc_size = runs * pv_elf_reloc_size(&finish->elf, relocs->section.type);
    offset = (size_t)relocs->section.offset;
    if (reloc_size > relocs->section.size) { /* a replacement may hold more than one operation */
        const size_t align = sizeof(uint64_t);

        offset = (finish->patches->file_size + align - 1) & ~(align - 1);
        status = add_word(finish, pv_elf_sh_offset_field(&finish->elf, relocs->index), offset);
        if (status < 0)
            return status;
    }
    status = add_patch(finish->patches, offset, new_relocs, reloc_size);
    if (status >= 0)
        status = add_word(finish, pv_elf_sh_size_field(&finish->elf, relocs->index), reloc_size);
    return status;
}

static int finish_section(struct finish *finish, uint32_t index)
{
    struct pv_table_writer writer;
    struct relocs relocs = {0};
    struct pv_reloc *sorted = NULL;
    struct entries entries = {0};
    struct pv_section section;
    uint8_t *out = NULL, *new_relocs = NULL;
    const uint8_t *data;
    size_t notes, runs, bound;
    int records, status, is_sorted = 1;

    pv_elf_section(&finish->elf, index, &section);
    data = pv_elf_data(&finish->elf, &section);
    if (!data)
        return PREVIRT_E_MALFORMED;
    records = count_raw(data, (size_t)section.size, &notes);
    if (records < 0 || !notes)
        return records;
    if (finish->elf.machine != EM_386)
        return PREVIRT_E_ARCH;
    status = open_relocs(finish, index, &relocs);
    if (status < 0 || (!status && records))
        return PREVIRT_E_MALFORMED;

    status = PREVIRT_E_MEMORY;
    sorted = malloc((relocs.count + 1) * sizeof(*sorted));
    if (!sorted)
        goto out;
    for (size_t i = 0; i < relocs.count; i++) {
        pv_elf_reloc(&finish->elf, relocs.section.type, relocs.data, i, &sorted[i]);
        if (i && sorted[i].offset < sorted[i - 1].offset)
            is_sorted = 0;
    }
    if (!is_sorted)
        qsort(sorted, relocs.count, sizeof(*sorted), compare_relocs);

    status = read_entries(finish, data, (size_t)section.size, &relocs, sorted, &entries);
    if (status < 0)
        goto out;
    sort_entries(&entries);
    count_entries(finish, &entries);
    check_order(finish, entries.items, entries.count);
    if (finish->report->mismatch_count)
        goto out; /* go on with the other sections for their mismatches, write nothing */

    status = PREVIRT_E_MEMORY;
    bound = previrt_table_bound(entries.count);
    out = malloc(bound);
    new_relocs = malloc((entries.count + 1) * sizeof(Elf64_Rela));
    if (!out || !new_relocs)
        goto out;
    pv_table_writer_init(&writer, out, bound);
    runs = write_fragments(finish, &relocs, entries.items, entries.count, &writer, new_relocs);
    status = writer.status;
    if (status < 0)
        goto out;
    status = patch_section(finish, index, &section, &relocs, &writer, new_relocs, runs);
    finish->report->notes += (uint32_t)notes;
    finish->report->runs += (uint32_t)runs;
    finish->report->raw_bytes += (uint32_t)section.size;
    finish->report->table_bytes += (uint32_t)writer.size;
out:
    free(sorted);
    free(entries.items);
    free(out);
    free(new_relocs);
    return status;
}

/* ---- one object ---- */

static int is_table(const struct pv_elf *elf, const struct pv_section *section)
{
    return (section->type == SHT_NOTE || section->type == SHT_PROGBITS) && section->size &&
           strcmp(pv_elf_name(elf, section), PREVIRT_TABLE_SECTION) == 0;
}

/* Computes the patches that finish the object at (data). */
static int plan_finish(const void *data, size_t size, struct previrt_finish_report *report,
                       struct patches *patches)
{
    struct finish finish = {.report = report, .patches = patches};
    const struct pv_elf *elf = &finish.elf;
    uint32_t tables = 0;
    int status = pv_elf_open(&finish.elf, data, size);

    patches->file_size = size;
    if (status < 0)
        return status;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct pv_section section;

        pv_elf_section(elf, i, &section);
        tables += (uint32_t)is_table(elf, &section);
    }
    if (!tables)
        return PREVIRT_OK;
    if (elf->type != ET_REL)
        return PREVIRT_E_STATE;

    finish.reloc_sections = calloc(elf->shnum, sizeof(uint32_t));
    if (!finish.reloc_sections)
        return PREVIRT_E_MEMORY;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct pv_section section;

        pv_elf_section(elf, i, &section);
        if ((section.type == SHT_REL || section.type == SHT_RELA) && section.info < elf->shnum &&
            !finish.reloc_sections[section.info])
            finish.reloc_sections[section.info] = i;
    }
    for (uint32_t i = 1; i < elf->shnum && status >= 0; i++) {
        struct pv_section section;

        pv_elf_section(elf, i, &section);
        if (is_table(elf, &section))
            status = finish_section(&finish, i);
    }
    free(finish.reloc_sections);
    free(finish.replacements);
    if (status >= 0 && report->mismatch_count)
        status = PREVIRT_E_BYTES;
    return status < 0 ? status : PREVIRT_OK;
}

/* A report of our own if the caller wants none, or has another size of it: 0, or a status. */
static int begin_report(struct previrt_finish_report *theirs, struct previrt_finish_report *ours)
{
    if (theirs && theirs->size != sizeof(*theirs))
        return PREVIRT_E_INVALID;
    memset(ours, 0, sizeof(*ours));
    ours->size = sizeof(*ours);
    return PREVIRT_OK;
}

int previrt_image_finish_object_mem(void *data, size_t *size, size_t capacity,
                                    struct previrt_finish_report *report)
{
    struct previrt_finish_report ours;
    struct patches patches = {0};
    int status;

    if (!data || !size || *size > capacity)
        return PREVIRT_E_INVALID;
    status = begin_report(report, &ours);
    if (status < 0)
        return status;
    status = plan_finish(data, *size, &ours, &patches);
    if (status >= 0 && patches.file_size > capacity)
        status = PREVIRT_E_SPACE;
    if (status >= 0) {
        memset((uint8_t *)data + *size, 0, patches.file_size - *size);
        for (size_t i = 0; i < patches.count; i++)
            if (patches.items[i].size)
                memcpy((uint8_t *)data + patches.items[i].offset,
                       patches.bytes + patches.items[i].bytes, patches.items[i].size);
        *size = patches.file_size;
    }
    free_patches(&patches);
    if (report)
        *report = ours;
    return status;
}

static int write_patches(int file, const struct patches *patches)
{
    for (size_t i = 0; i < patches->count; i++) {
        const uint8_t *bytes = patches->bytes + patches->items[i].bytes;
        size_t size = patches->items[i].size, at = 0;

        while (at < size) {
            ssize_t written =
                pwrite(file, bytes + at, size - at, (off_t)(patches->items[i].offset + at));

            if (written < 0 && errno == EINTR)
                continue;
            if (written <= 0)
                return PREVIRT_E_IO;
            at += (size_t)written;
        }
    }
    return PREVIRT_OK;
}

int previrt_image_finish_object(const char *path, struct previrt_finish_report *report)
{
    struct previrt_finish_report ours;
    struct patches patches = {0};
    struct stat stat;
    void *data;
    int file, status;

    if (!path)
        return PREVIRT_E_INVALID;
    status = begin_report(report, &ours);
    if (status < 0)
        return status;
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return PREVIRT_E_IO;
    if (fstat(file, &stat) < 0) {
        status = PREVIRT_E_IO;
        goto out;
    }
    if (!S_ISREG(stat.st_mode) || !stat.st_size) {
        status = PREVIRT_E_NOT_ELF;
        goto out;
    }
    data = mmap(NULL, (size_t)stat.st_size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        status = PREVIRT_E_IO;
        goto out;
    }
    status = plan_finish(data, (size_t)stat.st_size, &ours, &patches);
    munmap(data, (size_t)stat.st_size);
    if (status >= 0)
        status = write_patches(file, &patches);
    free_patches(&patches);
    if (report)
        *report = ours;
out:
    if (close(file) < 0 && status >= 0)
        status = PREVIRT_E_IO;
    return status;
}
