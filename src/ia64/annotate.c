/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `previrt as` for IA-64, behind the assembler: what it made is decoded, and the patch-up table is
 * added to the object as a section of its own.
 *
 * A site needs no room (docs/ia64.md), so the text is not touched and need not be understood: the
 * bundles that the assembler chose are what counts. Everything in the object keeps its place and
 * number; the new sections stand behind what there was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <previrt/image.h>
#include <previrt/rewrite_elf.h>

#include "asm/rules.h"
#include "image/elf.h"
#include "table/table.h"

#define BUNDLE_ALIGN PREVIRT_IA64_BUNDLE_SIZE
#define SLOT_BITS    0xf /* of the address of a slot: what a tag label adds to its bundle's */

static const char relocs_name[] = ".rela" PREVIRT_TABLE_SECTION;

struct entry {
    struct previrt_site site; /* its address is the offset in (section) */
    uint32_t section;
    uint8_t bytes[PV_IA64_SLOT_BYTES];
};

/* A bundle of which somebody knows more than that it can be branched to. */
struct pin {
    uint64_t bundle;
    uint32_t section;
};

struct annotation {
    struct pv_elf elf;
    const struct previrt_ia64_annotate_options *options;
    struct previrt_ia64_annotate_report *report;
    uint32_t symbol_table; /* index of its section */
    struct pv_symbols symbols;
    uint32_t local_symbols; /* their number */
    struct pin *pins;       /* sorted */
    size_t pin_count, pin_capacity;
    struct entry *entries; /* sorted */
    size_t entry_count, entry_capacity;
    uint32_t section; /* that is being scanned */
    const char *section_name;
    const uint8_t *section_data;
};

static int grow(void **items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown;

    if (count < *capacity)
        return PREVIRT_OK;
    grown = realloc(*items, wanted * size);
    if (!grown)
        return PREVIRT_E_MEMORY;
    *items = grown;
    *capacity = wanted;
    return PREVIRT_OK;
}

/* ---- symbols ---- */

static int find_symbols(struct annotation *a)
{
    for (uint32_t i = 1; i < a->elf.shnum; i++) {
        struct pv_section section;

        pv_elf_section(&a->elf, i, &section);
        if (section.type != SHT_SYMTAB)
            continue;
        a->symbol_table = i;
        a->local_symbols = section.info;
        return pv_elf_symbols(&a->elf, i, &a->symbols);
    }
    return PREVIRT_OK; /* an object without symbols has no code that anything could name */
}

/*
 * A symbol that a relocation may use for (section): its own, or another local one (a global one
 * could be preempted).
 */
static int section_symbol(const struct annotation *a, uint32_t section, uint32_t *index,
                          uint64_t *value)
{
    uint32_t found = 0;

    for (uint32_t i = 1; i < a->local_symbols && i < a->symbols.count; i++) {
        struct pv_symbol symbol;

        if (pv_elf_symbol(&a->elf, &a->symbols, i, &symbol) < 0 || symbol.section != section)
            continue;
        if (found && symbol.type != STT_SECTION)
            continue;
        found = i;
        *value = symbol.value;
        if (symbol.type == STT_SECTION)
            break;
    }
    *index = found;
    return found ? PREVIRT_OK : PREVIRT_E_STATE;
}

/* The function around (offset) of (section), or the closest label before it; NULL: none. */
static const char *symbol_at(const struct annotation *a, uint32_t section, uint64_t offset)
{
    const char *best = NULL;
    uint64_t best_value = 0;

    for (uint32_t i = 1; i < a->symbols.count; i++) {
        struct pv_symbol symbol;
        const char *name;

        if (pv_elf_symbol(&a->elf, &a->symbols, i, &symbol) < 0 || symbol.section != section ||
            symbol.value > offset || (symbol.type != STT_FUNC && symbol.type != STT_NOTYPE))
            continue;
        name = pv_elf_string(a->symbols.names, a->symbols.names_size, symbol.name);
        if (!name || !*name)
            continue;
        if (symbol.type == STT_FUNC && offset - symbol.value < symbol.size)
            return name;
        if (!best || symbol.value >= best_value) {
            best = name;
            best_value = symbol.value;
        }
    }
    return best;
}

/* ---- pinned bundles ---- */

static int compare_pins(const void *left, const void *right)
{
    const struct pin *a = left, *b = right;

    if (a->section != b->section)
        return a->section < b->section ? -1 : 1;
    return a->bundle < b->bundle ? -1 : a->bundle > b->bundle;
}

/*
 * Tables that name instructions, not places to branch to: Linux' exception tables (the instruction
 * that may fault, and where to go on), and its lists of instructions that it patches while it boots
 * (arch/ia64/kernel/patch.c). What a bundle in them holds must stay in it, or the table must be
 * told.
 * __mca_table is none of them: it names stretches of code, of which stubs are no part anyway.
 */
static int names_instructions(const char *section)
{
    static const char *const prefixes[] = {"__ex_table", ".data..patch"};

    for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]); i++)
        if (strncmp(section, prefixes[i], strlen(prefixes[i])) == 0)
            return 1;
    return 0;
}

/* What the relocations of one section point to. */
static int read_pins(struct annotation *a, const struct pv_section *relocs,
                     const struct pv_section *target)
{
    const char *name = pv_elf_name(&a->elf, target);
    const uint8_t *data = pv_elf_data(&a->elf, relocs);
    int all = names_instructions(name);
    size_t count;

    /* debugging and unwinding information names slots too, and changes nothing */
    if (!all && (!(target->flags & SHF_ALLOC) || target->type == SHT_IA_64_UNWIND ||
                 strncmp(name, ".IA_64.unwind", strlen(".IA_64.unwind")) == 0))
        return PREVIRT_OK;
    if (!data || relocs->link != a->symbol_table)
        return PREVIRT_E_MALFORMED;
    count = (size_t)relocs->size / pv_elf_reloc_size(&a->elf, relocs->type);
    for (size_t i = 0; i < count; i++) {
        struct pv_section code;
        struct pv_symbol symbol;
        struct pv_reloc reloc;
        uint64_t offset;

        pv_elf_reloc(&a->elf, relocs->type, data, i, &reloc);
        if (pv_elf_symbol(&a->elf, &a->symbols, reloc.symbol, &symbol) < 0)
            return PREVIRT_E_MALFORMED;
        if (symbol.section == SHN_UNDEF)
            continue;
        pv_elf_section(&a->elf, symbol.section, &code);
        offset = symbol.value + (uint64_t)reloc.addend;
        if (!(code.flags & SHF_EXECINSTR) || (!all && !(offset & SLOT_BITS)))
            continue;
        if (grow((void **)&a->pins, a->pin_count, &a->pin_capacity, sizeof(*a->pins)) < 0)
            return PREVIRT_E_MEMORY;
        a->pins[a->pin_count++] =
            (struct pin){.bundle = offset & ~(uint64_t)SLOT_BITS, .section = symbol.section};
    }
    return PREVIRT_OK;
}

static int find_pins(struct annotation *a)
{
    for (uint32_t i = 1; i < a->elf.shnum; i++) {
        struct pv_section relocs, target;
        int status;

        pv_elf_section(&a->elf, i, &relocs);
        if ((relocs.type != SHT_RELA && relocs.type != SHT_REL) || relocs.info >= a->elf.shnum)
            continue;
        pv_elf_section(&a->elf, relocs.info, &target);
        status = read_pins(a, &relocs, &target);
        if (status < 0)
            return status;
    }
    if (a->pin_count)
        qsort(a->pins, a->pin_count, sizeof(*a->pins), compare_pins);
    return PREVIRT_OK;
}

static int is_pinned(const struct annotation *a, uint32_t section, uint64_t bundle)
{
    const struct pin key = {.bundle = bundle, .section = section};

    return a->pin_count &&
           bsearch(&key, a->pins, a->pin_count, sizeof(*a->pins), compare_pins) != NULL;
}

/* ---- sites ---- */

static int add_site(void *context, uint64_t address, unsigned slot,
                    const struct previrt_ia64_insn *insn)
{
    struct annotation *a = context;
    const struct pv_rule_query query = {
        .output = a->options->output,
        .source = a->options->source,
        .section = a->section_name,
        .symbol = symbol_at(a, a->section, address),
        .bits = 64,
    };
    struct entry *entry;

    if (pv_rules_match(a->options->rules, &query)) {
        a->report->excluded++;
        return 0;
    }
    if (grow((void **)&a->entries, a->entry_count, &a->entry_capacity, sizeof(*a->entries)) < 0)
        return 1;
    entry = &a->entries[a->entry_count++];
    memset(entry, 0, sizeof(*entry));
    entry->section = a->section;
    previrt_ia64_site_from_insn(insn, address, slot, &entry->site);
    pv_ia64_slot_bytes(a->section_data + address, slot, entry->bytes);
    if (is_pinned(a, a->section, address)) {
        entry->site.operand |= PREVIRT_IA64_OPERAND_PINNED;
        a->report->pinned++;
    }
    a->report->by_op[insn->op]++;
    a->report->sites++;
    return 0;
}

static int find_sites(struct annotation *a)
{
    for (uint32_t i = 1; i < a->elf.shnum; i++) {
        struct previrt_ia64_scan_result result;
        struct pv_section section;
        int status;

        pv_elf_section(&a->elf, i, &section);
        if (!(section.flags & SHF_EXECINSTR) || section.type == SHT_NOBITS || !section.size)
            continue;
        a->section_data = pv_elf_data(&a->elf, &section);
        if (!a->section_data)
            return PREVIRT_E_MALFORMED;
        a->section = i;
        a->section_name = pv_elf_name(&a->elf, &section);
        /* what is behind the last whole bundle cannot be executed */
        status = previrt_ia64_scan(a->section_data,
                                   (size_t)section.size & ~(size_t)(PREVIRT_IA64_BUNDLE_SIZE - 1),
                                   0, PREVIRT_IA64_SELECT_SENSITIVE, 0, add_site, a, &result);
        if (status)
            return status < 0 ? status : PREVIRT_E_MEMORY;
        a->report->bundles += result.bundles;
        a->report->undecodable += result.undecodable;
    }
    return PREVIRT_OK;
}

/* ---- the sections ---- */

static int write_fragments(struct annotation *a, struct pv_table_writer *writer, uint8_t *relocs,
                           size_t *runs)
{
    const size_t reloc_size = pv_elf_reloc_size(&a->elf, SHT_RELA);

    *runs = 0;
    for (size_t i = 0; i < a->entry_count;) {
        size_t end =
            a->entry_count - i < PV_FRAGMENT_COUNT_MAX ? a->entry_count : i + PV_FRAGMENT_COUNT_MAX;

        pv_table_begin_fragment(writer, PREVIRT_ARCH_IA64);
        while (i < end) {
            uint32_t section = a->entries[i].section, symbol;
            size_t run_end = i;
            struct pv_reloc reloc = {0};
            uint64_t value;
            int status = section_symbol(a, section, &symbol, &value);

            if (status < 0)
                return status;
            while (run_end < end && a->entries[run_end].section == section)
                run_end++;
            reloc.offset = pv_table_begin_run(writer, run_end - i);
            if (writer->status < 0)
                return writer->status;
            pv_put32(writer->out + reloc.offset, 0);
            reloc.info = ELF64_R_INFO((uint64_t)symbol, R_IA64_PCREL32LSB);
            reloc.addend = (int64_t)(a->entries[i].site.address - value);
            pv_elf_put_reloc(&a->elf, SHT_RELA, relocs + *runs * reloc_size, &reloc);
            ++*runs;
            for (; i < run_end; i++)
                pv_table_put_site(writer, &a->entries[i].site, a->entries[i].bytes,
                                  sizeof(a->entries[i].bytes));
        }
        pv_table_end_fragment(writer);
    }
    return writer->status;
}

static size_t align_up(size_t value, size_t alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

/* A section that is added, or that takes the place of one that there was. */
struct addition {
    struct pv_section section; /* offset: filled in by assemble() */
    const char *name;          /* NULL: keeps the one that it has */
    uint32_t replaces;         /* index, 0: it is new */
    const void *data;          /* of what there was before, then (more) */
    size_t size;
    const void *more;
    size_t more_size;
};

enum { TABLE, TABLE_RELOCS, ROOM, SYMBOLS, STRINGS, ADDITIONS };

/* The object with the additions: what there was, their contents, section names, headers. */
static int assemble(const struct annotation *a, struct addition *additions, size_t count,
                    uint8_t **out, size_t *out_size)
{
    const struct pv_elf *elf = &a->elf;
    size_t end = elf->size, names_size = elf->names_size, names_at, headers_at, size;
    uint32_t sections = elf->shnum;
    struct pv_section names;
    uint8_t *file, *headers;

    for (size_t i = 0; i < count; i++) {
        struct addition *addition = &additions[i];

        if (addition->section.type != SHT_NOBITS) {
            addition->section.size = addition->size + addition->more_size;
            end = align_up(end, (size_t)addition->section.align);
        }
        addition->section.offset = end;
        end += addition->size + addition->more_size;
        if (addition->name) {
            addition->section.name = (uint32_t)names_size;
            names_size += strlen(addition->name) + 1;
        }
        sections += !addition->replaces;
    }
    names_at = end;
    headers_at = align_up(names_at + names_size, sizeof(uint64_t));
    size = headers_at + sections * elf->shentsize;
    file = calloc(1, size);
    if (!file)
        return PREVIRT_E_MEMORY;
    headers = file + headers_at;
    memcpy(file, elf->data, elf->size);
    memcpy(file + names_at, elf->names, elf->names_size);
    memcpy(headers, elf->data + elf->shoff, elf->shnum * elf->shentsize);
    pv_elf_section(elf, elf->shstrndx, &names);
    names.offset = names_at;
    names.size = names_size;
    pv_elf_put_section(elf, headers + elf->shstrndx * elf->shentsize, &names);
    sections = elf->shnum;
    for (size_t i = 0; i < count; i++) {
        const struct addition *addition = &additions[i];
        uint32_t index = addition->replaces ? addition->replaces : sections++;

        if (addition->size)
            memcpy(file + addition->section.offset, addition->data, addition->size);
        if (addition->more_size)
            memcpy(file + addition->section.offset + addition->size, addition->more,
                   addition->more_size);
        if (addition->name)
            strcpy((char *)file + names_at + addition->section.name, addition->name);
        pv_elf_put_section(elf, headers + index * elf->shentsize, &addition->section);
    }
    pv_put64(file + offsetof(Elf64_Ehdr, e_shoff), headers_at);
    pv_put16(file + offsetof(Elf64_Ehdr, e_shnum), sections);
    *out = file;
    *out_size = size;
    return PREVIRT_OK;
}

/* Room for stubs, as a piece of .bss with a symbol of its own behind all others. */
static int add_room(const struct annotation *a, uint32_t section, Elf64_Sym *symbol,
                    struct addition *additions)
{
    static const char name[] = PREVIRT_IA64_STUB_SYMBOL;
    struct addition *symbols = &additions[SYMBOLS], *strings = &additions[STRINGS];

    if (!a->symbol_table)
        return PREVIRT_E_STATE;
    additions[ROOM] = (struct addition){.name = ".bss",
                                        .section = {.type = SHT_NOBITS,
                                                    .flags = SHF_ALLOC | SHF_WRITE,
                                                    .align = BUNDLE_ALIGN,
                                                    .size = a->report->stub_room}};
    *symbols = (struct addition){.replaces = a->symbol_table};
    pv_elf_section(&a->elf, a->symbol_table, &symbols->section);
    symbols->data = pv_elf_data(&a->elf, &symbols->section);
    symbols->size = (size_t)symbols->section.size;
    *strings = (struct addition){.replaces = symbols->section.link};
    if (!strings->replaces || strings->replaces >= a->elf.shnum)
        return PREVIRT_E_MALFORMED;
    pv_elf_section(&a->elf, strings->replaces, &strings->section);
    strings->data = pv_elf_data(&a->elf, &strings->section);
    strings->size = (size_t)strings->section.size;
    if (!strings->data || strings->section.type != SHT_STRTAB || !strings->section.align ||
        strings->replaces == a->elf.shstrndx)
        return PREVIRT_E_MALFORMED;
    *symbol = (Elf64_Sym){.st_name = (Elf64_Word)strings->size,
                          .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                          .st_other = STV_HIDDEN,
                          .st_shndx = (Elf64_Half)section,
                          .st_size = a->report->stub_room};
    symbols->section.align = sizeof(uint64_t);
    symbols->more = symbol;
    symbols->more_size = sizeof(*symbol);
    strings->section.align = 1;
    strings->more = name;
    strings->more_size = sizeof(name);
    return PREVIRT_OK;
}

static int add_table(struct annotation *a, uint8_t **out, size_t *out_size)
{
    const size_t bound = previrt_table_bound(a->entry_count);
    uint8_t *table = malloc(bound), *relocs = malloc((a->entry_count + 1) * sizeof(Elf64_Rela));
    const size_t first = a->entry_count ? TABLE : ROOM; /* without sites there is no table */
    struct addition additions[ADDITIONS];
    struct pv_table_writer writer;
    size_t runs, count = ROOM;
    int status = PREVIRT_E_MEMORY;
    Elf64_Sym symbol;

    if (table && relocs) {
        pv_table_writer_init(&writer, table, bound);
        status = write_fragments(a, &writer, relocs, &runs);
    }
    if (status >= 0) {
        a->report->runs = (uint32_t)runs;
        a->report->table_bytes = (uint32_t)writer.size;
        additions[TABLE] = (struct addition){
            .name = PREVIRT_TABLE_SECTION,
            .section = {.type = SHT_NOTE, .flags = SHF_ALLOC, .align = PV_NOTE_ALIGN},
            .data = table,
            .size = writer.size};
        additions[TABLE_RELOCS] = (struct addition){.name = relocs_name,
                                                    .section = {.type = SHT_RELA,
                                                                .flags = SHF_INFO_LINK,
                                                                .align = sizeof(uint64_t),
                                                                .entsize = sizeof(Elf64_Rela),
                                                                .link = a->symbol_table,
                                                                .info = a->elf.shnum},
                                                    .data = relocs,
                                                    .size = runs * sizeof(Elf64_Rela)};
    }
    if (status >= 0 && a->report->stub_room) {
        status = add_room(a, a->elf.shnum + ROOM - (uint32_t)first, &symbol, additions);
        count = ADDITIONS;
    }
    if (status >= 0)
        status = assemble(a, additions + first, count - first, out, out_size);
    free(table);
    free(relocs);
    return status;
}

/* ---- one object ---- */

static int check_object(const struct pv_elf *elf)
{
    if (!elf->is64 || elf->machine != EM_IA_64)
        return PREVIRT_E_ARCH;
    if (elf->type != ET_REL || !elf->names || elf->shnum >= SHN_LORESERVE - ADDITIONS)
        return PREVIRT_E_STATE;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct pv_section section;

        pv_elf_section(elf, i, &section);
        if (strcmp(pv_elf_name(elf, &section), PREVIRT_TABLE_SECTION) == 0)
            return PREVIRT_E_STATE;
    }
    return PREVIRT_OK;
}

int previrt_ia64_annotate_object_mem(const void *data, size_t size,
                                     const struct previrt_ia64_annotate_options *options,
                                     void **out, size_t *out_size,
                                     struct previrt_ia64_annotate_report *report)
{
    static const struct previrt_ia64_annotate_options defaults = {.size = sizeof(defaults)};
    struct previrt_ia64_annotate_report ours = {.size = sizeof(ours)};
    struct annotation a = {.options = options ? options : &defaults, .report = &ours};
    uint8_t *file = NULL;
    int status;

    if (!data || !out || !out_size || a.options->size < sizeof(*a.options) ||
        (report && report->size < sizeof(*report)))
        return PREVIRT_E_INVALID;
    *out = NULL;
    *out_size = 0;
    status = pv_elf_open(&a.elf, data, size);
    if (status >= 0)
        status = check_object(&a.elf);
    if (status >= 0)
        status = find_symbols(&a);
    if (status >= 0)
        status = find_pins(&a);
    if (status >= 0)
        status = find_sites(&a);
    if (status >= 0 && pv_rules_give_room(a.options->rules, a.options->output, a.options->source))
        ours.stub_room = a.options->stub_room;
    if (status >= 0 && (a.entry_count || ours.stub_room))
        status = add_table(&a, &file, out_size);
    free(a.pins);
    free(a.entries);
    if (status < 0)
        return status;
    *out = file;
    if (report)
        *report = ours;
    return PREVIRT_OK;
}

static int write_at(int file, const uint8_t *bytes, size_t size, size_t offset)
{
    while (size) {
        ssize_t written = pwrite(file, bytes, size, (off_t)offset);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return PREVIRT_E_IO;
        bytes += written;
        offset += (size_t)written;
        size -= (size_t)written;
    }
    return PREVIRT_OK;
}

int previrt_ia64_annotate_object(const char *path,
                                 const struct previrt_ia64_annotate_options *options,
                                 struct previrt_ia64_annotate_report *report)
{
    size_t size, out_size;
    struct stat stat;
    int file, status;
    void *data, *out;

    if (!path)
        return PREVIRT_E_INVALID;
    file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return PREVIRT_E_IO;
    if (fstat(file, &stat) < 0) {
        status = PREVIRT_E_IO;
        goto out;
    }
    size = (size_t)stat.st_size;
    if (!S_ISREG(stat.st_mode) || !size) {
        status = PREVIRT_E_NOT_ELF;
        goto out;
    }
    data = mmap(NULL, size, PROT_READ, MAP_PRIVATE, file, 0);
    if (data == MAP_FAILED) {
        status = PREVIRT_E_IO;
        goto out;
    }
    status = previrt_ia64_annotate_object_mem(data, size, options, &out, &out_size, report);
    munmap(data, size);
    /* the header, which makes the new sections count, comes last */
    if (status >= 0 && out) {
        status = write_at(file, (uint8_t *)out + size, out_size - size, size);
        if (status >= 0)
            status = write_at(file, out, sizeof(Elf64_Ehdr), 0);
        free(out);
    }
out:
    if (close(file) < 0 && status >= 0)
        status = PREVIRT_E_IO;
    return status;
}
