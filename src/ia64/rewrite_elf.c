/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offline rewriting of IA-64 executables. The file is copied, rewritten in the copy, and extended
 * behind its end by the stubs, section names, section headers and, where the old ones have no room
 * to grow, program headers. Nothing that was in the file moves.
 */
#include <previrt/image.h>
#include <previrt/rewrite_elf.h>

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define BUNDLE       PREVIRT_IA64_BUNDLE_SIZE
#define IMAGE_ALIGN  0x1000  /* of an image that is kept in data */
#define BEHIND_ALIGN 0x10000 /* the largest page that a linker aligns IA-64 segments to */
#define NEW_HEADERS  2       /* segments, and sections, that are added at most */

/* Linux' exception table: pairs of 32-bit distances from where they stand, to an instruction that
 * may fault, slot included, and to where to go on. */
#define EXCEPTION_TABLE "__ex_table"
#define EXCEPTION_SIZE  8
#define PATCH_LISTS     ".data..patch" /* one such distance each, to an instruction to patch */
#define UNWIND_SECTIONS ".IA_64.unwind"
#define DISTANCE_SIZE   4
#define SLOT_BITS       0xfu

/* An image: the file itself, or one that is kept in its data. */
struct part {
    struct previrt_image *image;
    uint8_t *bytes; /* of it in the copy */
};

/* A word of an exception table whose instruction is moved. */
struct exception {
    uint64_t address; /* of the word */
    uint64_t names;   /* the address of a slot: its bundle's, and its number */
    uint8_t *word;    /* in the copy */
};

struct rewriter {
    uint8_t *bytes; /* the copy */
    size_t size;
    Elf64_Ehdr head;
    Elf64_Phdr *segments; /* copies, aligned */
    Elf64_Shdr *sections;
    struct part *parts;
    size_t part_count;
    struct previrt_region *regions;
    size_t region_count;
    struct previrt_site *sites;
    size_t site_count;
    struct exception *exceptions;
    size_t exception_count;
    unsigned split; /* the segment whose memory holds the stubs; e_phnum: none does */
    struct previrt_ia64_elf_report *report;
};

static int fail(struct rewriter *r, int status, const char *what)
{
    r->report->what = what;
    return status;
}

static int inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) & ~(unit - 1);
}

/* ---- what is there ---- */

static int read_headers(struct rewriter *r)
{
    const Elf64_Ehdr *head = &r->head;
    size_t length;

    if (r->size < sizeof(*head))
        return fail(r, PREVIRT_E_TRUNCATED, "the ELF header");
    memcpy(&r->head, r->bytes, sizeof(*head));
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) != 0)
        return fail(r, PREVIRT_E_NOT_ELF, "no ELF magic");
    if (head->e_ident[EI_CLASS] != ELFCLASS64 || head->e_ident[EI_DATA] != ELFDATA2LSB ||
        head->e_machine != EM_IA_64)
        return fail(r, PREVIRT_E_ARCH, "not a 64-bit little-endian IA-64 file");
    if (head->e_type != ET_EXEC)
        return fail(r, PREVIRT_E_ARCH, "not a linked executable (ET_EXEC)");
    if (!head->e_phnum || head->e_phentsize != sizeof(Elf64_Phdr) ||
        !inside(head->e_phoff, (uint64_t)head->e_phnum * sizeof(Elf64_Phdr), r->size))
        return fail(r, PREVIRT_E_MALFORMED, "the program header table");
    if (!head->e_shnum || head->e_shentsize != sizeof(Elf64_Shdr) ||
        head->e_shstrndx >= head->e_shnum ||
        !inside(head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf64_Shdr), r->size))
        return fail(r, PREVIRT_E_MALFORMED, "the section header table");
    if (head->e_phnum >= PN_XNUM - NEW_HEADERS || head->e_shnum >= SHN_LORESERVE - NEW_HEADERS)
        return fail(r, PREVIRT_E_MALFORMED, "too many headers");

    length = head->e_phnum * sizeof(Elf64_Phdr);
    r->segments = malloc(length);
    if (!r->segments)
        return PREVIRT_E_MEMORY;
    memcpy(r->segments, r->bytes + head->e_phoff, length);
    for (unsigned i = 0; i < head->e_phnum; i++) {
        const Elf64_Phdr *segment = &r->segments[i];

        if (!inside(segment->p_offset, segment->p_filesz, r->size))
            return fail(r, PREVIRT_E_TRUNCATED, "a segment lies outside the file");
        if (segment->p_type == PT_LOAD && (segment->p_filesz > segment->p_memsz ||
                                           segment->p_memsz > UINT64_MAX - segment->p_vaddr ||
                                           segment->p_memsz > UINT64_MAX - segment->p_paddr))
            return fail(r, PREVIRT_E_MALFORMED, "a segment's sizes or addresses");
    }
    length = head->e_shnum * sizeof(Elf64_Shdr);
    r->sections = malloc(length);
    if (!r->sections)
        return PREVIRT_E_MEMORY;
    memcpy(r->sections, r->bytes + head->e_shoff, length);
    /* the first, too, which names may be looked for in */
    for (unsigned i = 0; i < head->e_shnum; i++)
        if (r->sections[i].sh_type != SHT_NOBITS &&
            !inside(r->sections[i].sh_offset, r->sections[i].sh_size, r->size))
            return fail(r, PREVIRT_E_TRUNCATED, "a section lies outside the file");
    if (r->sections[head->e_shstrndx].sh_type == SHT_NOBITS)
        return fail(r, PREVIRT_E_MALFORMED, "the section names");
    return PREVIRT_OK;
}

/* Adds the image at (bytes): 1, 0 if it has no table, or a status. */
static int add_part(struct rewriter *r, uint8_t *bytes, size_t size)
{
    const struct previrt_image_site *sites;
    struct previrt_image *image;
    struct previrt_site *more;
    struct part *grown;
    size_t count;
    int status = previrt_image_open_mem(bytes, size, &image);

    if (status < 0)
        return status;
    status = previrt_image_sites(image, &sites, &count);
    if (status >= 0)
        status = previrt_image_verify(image, NULL, NULL);
    if (status < 0) {
        previrt_image_close(image);
        return status == PREVIRT_E_NO_TABLE ? 0 : status;
    }
    grown = realloc(r->parts, (r->part_count + 1) * sizeof(*grown));
    more = realloc(r->sites, (r->site_count + count + 1) * sizeof(*more));
    if (grown)
        r->parts = grown;
    if (more)
        r->sites = more;
    if (!grown || !more) {
        previrt_image_close(image);
        return PREVIRT_E_MEMORY;
    }
    r->parts[r->part_count++] = (struct part){.image = image, .bytes = bytes};
    for (size_t i = 0; i < count; i++)
        r->sites[r->site_count++] = sites[i].site;
    return 1;
}

/* Shared objects that begin on a page of a section that is not executable; see walk_ia64.c. */
static int find_embedded(struct rewriter *r)
{
    for (unsigned i = 1; i < r->head.e_shnum; i++) {
        const Elf64_Shdr *section = &r->sections[i];
        uint64_t at = -section->sh_addr & (IMAGE_ALIGN - 1);

        if (section->sh_type == SHT_NOBITS || !(section->sh_flags & SHF_ALLOC) ||
            section->sh_flags & SHF_EXECINSTR)
            continue;
        for (; at < section->sh_size && section->sh_size - at >= sizeof(Elf64_Ehdr);
             at += IMAGE_ALIGN) {
            uint8_t *bytes = r->bytes + section->sh_offset + at;
            Elf64_Ehdr head;
            int status;

            memcpy(&head, bytes, sizeof(head));
            if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_machine != EM_IA_64 ||
                head.e_type != ET_DYN)
                continue;
            status = add_part(r, bytes, (size_t)(section->sh_size - at));
            if (status < 0)
                return fail(r, status, "an image that is kept in data");
            r->report->images += (uint32_t)status;
        }
    }
    return PREVIRT_OK;
}

static int compare_regions(const void *a, const void *b)
{
    const struct previrt_region *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

static int compare_sites(const void *a, const void *b)
{
    const struct previrt_site *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    return left->slot < right->slot ? -1 : left->slot > right->slot;
}

static int find_regions(struct rewriter *r)
{
    for (size_t p = 0; p < r->part_count; p++) {
        struct previrt_image_section section;

        for (uint32_t i = 1; previrt_image_section(r->parts[p].image, i, &section) >= 0; i++) {
            const unsigned wanted = PREVIRT_SECTION_ALLOC | PREVIRT_SECTION_EXEC;
            struct previrt_region *grown;

            if ((section.flags & wanted) != wanted || !section.data || !section.size)
                continue;
            grown = realloc(r->regions, (r->region_count + 1) * sizeof(*grown));
            if (!grown)
                return PREVIRT_E_MEMORY;
            r->regions = grown;
            grown[r->region_count++] =
                (struct previrt_region){.address = section.address,
                                        .size = section.size,
                                        .read = r->parts[p].bytes + section.offset,
                                        .write = r->parts[p].bytes + section.offset,
                                        .flags = PREVIRT_REGION_EXECUTE};
        }
    }
    if (r->region_count)
        qsort(r->regions, r->region_count, sizeof(*r->regions), compare_regions);
    for (size_t i = 1; i < r->region_count; i++)
        if (r->regions[i].address - r->regions[i - 1].address < r->regions[i - 1].size)
            return fail(r, PREVIRT_E_MALFORMED, "executable sections overlap");
    if (r->site_count)
        qsort(r->sites, r->site_count, sizeof(*r->sites), compare_sites);
    return PREVIRT_OK;
}

/* ---- pinned bundles ---- */

static uint64_t word_at(const uint8_t *bytes, unsigned size)
{
    uint64_t value = 0;

    while (size--)
        value = value << 8 | bytes[size];
    return value;
}

static uint64_t named_by(uint64_t address, const uint8_t *bytes)
{
    return address + (uint64_t)(int64_t)(int32_t)word_at(bytes, DISTANCE_SIZE);
}

static int starts(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* A stub has to be in reach of the word, whichever stub it is. */
static int reaches(const struct rewriter *r, uint64_t word)
{
    int64_t first = (int64_t)(r->report->stub_address - word);
    int64_t last = first + (int64_t)r->report->stub_room;

    return first >= INT32_MIN && last >= first && last <= INT32_MAX;
}

static int add_exception(struct rewriter *r, uint64_t address, uint64_t names, uint8_t *word)
{
    struct exception *grown =
        realloc(r->exceptions, (r->exception_count + 1) * sizeof(*r->exceptions));

    if (!grown)
        return PREVIRT_E_MEMORY;
    r->exceptions = grown;
    grown[r->exception_count++] = (struct exception){address, names, word};
    return 1;
}

/*
 * What one section knows of (bundle): 1 if that can be told where its instructions went, 0 if not,
 * or a status. Exceptions are added either way.
 */
static int known_by(struct rewriter *r, const struct part *part,
                    const struct previrt_image_section *section, uint64_t bundle)
{
    const int exceptions = strcmp(section->name, EXCEPTION_TABLE) == 0;
    const int patches = starts(section->name, PATCH_LISTS);
    uint8_t *bytes = part->bytes + section->offset;

    if (!(section->flags & PREVIRT_SECTION_ALLOC) || section->flags & PREVIRT_SECTION_EXEC ||
        !section->data || starts(section->name, UNWIND_SECTIONS))
        return 1;
    for (uint64_t at = -section->address & (DISTANCE_SIZE - 1); at + DISTANCE_SIZE <= section->size;
         at += DISTANCE_SIZE) {
        uint64_t address = section->address + at, named = named_by(address, bytes + at);
        int instruction = exceptions && at % EXCEPTION_SIZE == 0;

        if ((named & ~(uint64_t)SLOT_BITS) == bundle &&
            (named & SLOT_BITS || instruction || patches)) {
            if (!instruction || (named & SLOT_BITS) >= PREVIRT_IA64_SLOTS || !reaches(r, address))
                return 0;
            if (add_exception(r, address, named, bytes + at) < 0)
                return PREVIRT_E_MEMORY;
        }
        /* a pointer to a slot: to a bundle is no more than a branch to it */
        if (address % sizeof(uint64_t) == 0 && at + sizeof(uint64_t) <= section->size) {
            named = word_at(bytes + at, sizeof(uint64_t));
            if (named != bundle && (named & ~(uint64_t)SLOT_BITS) == bundle)
                return 0;
        }
    }
    return 1;
}

/* The same of everything. */
static int may_move(struct rewriter *r, uint64_t bundle)
{
    int may = 1;

    for (size_t p = 0; may > 0 && p < r->part_count; p++) {
        struct previrt_image_section section;

        for (uint32_t i = 1; may > 0 && previrt_image_section(r->parts[p].image, i, &section) >= 0;
             i++)
            may = known_by(r, &r->parts[p], &section, bundle);
    }
    return may;
}

/*
 * A bundle that only the exception table names may be moved, since the table can be told. Linux
 * sorts it when it starts. Only for code that performs the original operations: what else a stub
 * does would not fault in one place.
 */
static int free_pinned(struct rewriter *r)
{
    for (size_t i = 0, end; i < r->site_count; i = end) {
        const size_t before = r->exception_count;
        unsigned pinned = 0;
        int may;

        for (end = i; end < r->site_count && r->sites[end].address == r->sites[i].address; end++)
            pinned |= r->sites[end].operand & PREVIRT_IA64_OPERAND_PINNED;
        if (!pinned)
            continue;
        may = may_move(r, r->sites[i].address);
        if (may < 0)
            return may;
        if (!may || r->exception_count == before) {
            r->exception_count = before;
            continue;
        }
        for (size_t s = i; s < end; s++)
            r->sites[s].operand &= (uint16_t)~PREVIRT_IA64_OPERAND_PINNED;
    }
    return PREVIRT_OK;
}

static int same_slot(const struct previrt_ia64_insn *a, const struct previrt_ia64_insn *b)
{
    return a->bits == b->bits && a->upper == b->upper && a->unit == b->unit;
}

static int decode_at(const uint8_t *bytes, unsigned slot, struct previrt_ia64_insn *insn)
{
    struct previrt_ia64_bundle bundle;
    int status = previrt_ia64_unpack(bytes, &bundle);

    return status == PREVIRT_OK ? previrt_ia64_decode_slot(&bundle, slot, insn) : status;
}

/* Finds (insn), which was in the slot that (names) names, in the stubs. */
static int find_moved(const struct rewriter *r, const struct previrt_ia64_plan *plan,
                      const uint8_t *stubs, uint64_t names, const struct previrt_ia64_insn *insn,
                      uint64_t *now)
{
    const uint64_t size = r->report->summary.stub_bytes;
    struct previrt_ia64_insn moved;

    for (uint64_t at = 0; at < size; at += BUNDLE)
        for (unsigned slot = 0; slot < PREVIRT_IA64_SLOTS; slot++) {
            uint64_t address = r->report->stub_address + at, origin;
            unsigned origin_slot;

            if (decode_at(stubs + at, slot, &moved) == PREVIRT_OK && same_slot(&moved, insn) &&
                previrt_ia64_plan_origin(plan, address, slot, &origin, &origin_slot) ==
                    PREVIRT_OK &&
                (origin | origin_slot) == names) {
                *now = address | slot;
                return PREVIRT_OK;
            }
        }
    return PREVIRT_E_STATE;
}

/* After the commit: the exception table names the instructions where they are now. */
static int tell_exceptions(struct rewriter *r, const struct previrt_ia64_plan *plan,
                           const struct previrt_ia64_insn *insns, const uint8_t *stubs,
                           const struct previrt_memory *memory)
{
    for (size_t i = 0; i < r->exception_count; i++) {
        const struct exception *e = &r->exceptions[i];
        const uint64_t bundle = e->names & ~(uint64_t)SLOT_BITS;
        const struct previrt_region *region;
        struct previrt_ia64_insn here;
        uint64_t offset, now;
        uint32_t distance;

        region = previrt_memory_at(memory, bundle, BUNDLE, &offset);
        if (region && decode_at(region->read + offset, e->names & SLOT_BITS, &here) == PREVIRT_OK &&
            (same_slot(&here, &insns[i]) || here.op == PREVIRT_IA64_BREAK))
            continue; /* it has not moved */
        if (find_moved(r, plan, stubs, e->names, &insns[i], &now) < 0)
            return fail(r, PREVIRT_E_STATE, "an instruction of the exception table got lost");
        distance = (uint32_t)(now - e->address);
        for (unsigned b = 0; b < DISTANCE_SIZE; b++)
            e->word[b] = (uint8_t)(distance >> 8 * b);
        r->report->exceptions++;
    }
    return PREVIRT_OK;
}

/* Before it: the instructions themselves; to be freed. */
static int read_exceptions(struct rewriter *r, const struct previrt_memory *memory,
                           struct previrt_ia64_insn **insns)
{
    *insns = calloc(r->exception_count + 1, sizeof(**insns));
    if (!*insns)
        return PREVIRT_E_MEMORY;
    for (size_t i = 0; i < r->exception_count; i++) {
        const uint64_t names = r->exceptions[i].names;
        const struct previrt_region *region;
        uint64_t offset;

        region = previrt_memory_at(memory, names & ~(uint64_t)SLOT_BITS, BUNDLE, &offset);
        if (!region ||
            decode_at(region->read + offset, names & SLOT_BITS, &(*insns)[i]) != PREVIRT_OK)
            return fail(r, PREVIRT_E_MALFORMED, "the exception table names no instruction");
    }
    return PREVIRT_OK;
}

/* ---- where the stubs go ---- */

/* The room that the image reserves: 1 and filled in, or 0. */
static int find_room(const struct rewriter *r, uint64_t *address, uint64_t *size)
{
    for (unsigned i = 1; i < r->head.e_shnum; i++) {
        const Elf64_Shdr *table = &r->sections[i], *names;

        if (table->sh_type != SHT_SYMTAB || table->sh_link >= r->head.e_shnum)
            continue;
        names = &r->sections[table->sh_link];
        if (names->sh_type == SHT_NOBITS)
            continue;
        for (uint64_t s = 1; s < table->sh_size / sizeof(Elf64_Sym); s++) {
            Elf64_Sym symbol;

            memcpy(&symbol, r->bytes + table->sh_offset + s * sizeof(symbol), sizeof(symbol));
            if (symbol.st_shndx == SHN_UNDEF ||
                !inside(symbol.st_name, sizeof(PREVIRT_IA64_STUB_SYMBOL), names->sh_size) ||
                memcmp(r->bytes + names->sh_offset + symbol.st_name, PREVIRT_IA64_STUB_SYMBOL,
                       sizeof(PREVIRT_IA64_STUB_SYMBOL)) != 0)
                continue;
            *address = symbol.st_value;
            *size = symbol.st_size;
            return 1;
        }
    }
    return 0;
}

/* The first loaded segment that has the entry point's distance between link and load address. */
static const Elf64_Phdr *first_segment(const struct rewriter *r)
{
    for (unsigned i = 0; i < r->head.e_phnum; i++)
        if (r->segments[i].p_type == PT_LOAD && r->segments[i].p_memsz)
            return &r->segments[i];
    return NULL;
}

static int place(struct rewriter *r, const struct previrt_ia64_elf_options *options)
{
    struct previrt_ia64_elf_report *report = r->report;
    const Elf64_Phdr *first = first_segment(r);
    uint64_t offset, end = 0, address, room = 0;

    if (!first)
        return fail(r, PREVIRT_E_MALFORMED, "no loadable segment");
    offset = first->p_vaddr - first->p_paddr;
    for (unsigned i = 0; i < r->head.e_phnum; i++) {
        const Elf64_Phdr *segment = &r->segments[i];

        /* others are seen elsewhere, too (Linux' per-CPU page), but loaded between these */
        if (segment->p_type == PT_LOAD && segment->p_paddr + segment->p_memsz > end)
            end = segment->p_paddr + segment->p_memsz;
    }
    if (options->place & PREVIRT_PLACE_STUBS) {
        address = options->stub_address;
        room = options->stub_limit ? options->stub_limit : PREVIRT_STUB_LIMIT;
    } else if (find_room(r, &address, &room)) {
        if (options->stub_limit && options->stub_limit < room)
            room = options->stub_limit;
        report->reserved = 1;
    } else {
        address = round_up(end, BEHIND_ALIGN) + offset;
        room = options->stub_limit ? options->stub_limit : PREVIRT_STUB_LIMIT;
    }
    if (address % BUNDLE || room > UINT32_MAX || address > UINT64_MAX - room)
        return fail(r, PREVIRT_E_INVALID, "the stub area's address or size");

    r->split = r->head.e_phnum;
    report->stub_physical = address - offset;
    for (unsigned i = 0; i < r->head.e_phnum; i++) {
        const Elf64_Phdr *segment = &r->segments[i];

        if (segment->p_type != PT_LOAD || !segment->p_memsz)
            continue;
        if (address >= segment->p_vaddr + segment->p_filesz &&
            inside(address - segment->p_vaddr, room, segment->p_memsz)) {
            r->split = i;
            report->stub_physical = segment->p_paddr + (address - segment->p_vaddr);
        } else if ((address < segment->p_vaddr + segment->p_memsz &&
                    segment->p_vaddr < address + room) ||
                   (r->split == r->head.e_phnum &&
                    report->stub_physical < segment->p_paddr + segment->p_memsz &&
                    segment->p_paddr < report->stub_physical + room)) {
            /* a later segment may still turn out to hold it */
            if (report->reserved)
                continue;
            return fail(r, PREVIRT_E_OVERLAP, "the stub area overlaps what is loaded");
        }
    }
    if (report->reserved && r->split == r->head.e_phnum)
        return fail(r, PREVIRT_E_MALFORMED,
                    PREVIRT_IA64_STUB_SYMBOL " is not in memory that the file leaves empty");
    report->stub_address = address;
    report->stub_room = room;
    return PREVIRT_OK;
}

/* ---- the new file ---- */

/* Whether (count) more program headers fit behind the table without touching anything. */
static int headers_may_grow(const struct rewriter *r, unsigned count)
{
    uint64_t start = r->head.e_phoff + (uint64_t)r->head.e_phnum * sizeof(Elf64_Phdr);
    uint64_t end = start + count * sizeof(Elf64_Phdr);

    if (end > r->size || start < sizeof(Elf64_Ehdr) ||
        (r->head.e_shoff < end &&
         start < r->head.e_shoff + (uint64_t)r->head.e_shnum * sizeof(Elf64_Shdr)))
        return 0;
    for (unsigned i = 1; i < r->head.e_shnum; i++) {
        const Elf64_Shdr *section = &r->sections[i];

        if (section->sh_type != SHT_NOBITS && section->sh_size && section->sh_offset < end &&
            start < section->sh_offset + section->sh_size)
            return 0;
    }
    return 1;
}

/* The segments: (*at) is where (added) of them go, which the caller inserts. */
static unsigned new_segments(struct rewriter *r, uint64_t contents, uint64_t used,
                             Elf64_Phdr added[NEW_HEADERS], unsigned *at)
{
    const struct previrt_ia64_elf_report *report = r->report;
    unsigned count = 1;

    added[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                            .p_flags = PF_R | PF_X,
                            .p_offset = contents,
                            .p_vaddr = report->stub_address,
                            .p_paddr = report->stub_physical,
                            .p_filesz = used,
                            .p_memsz = used,
                            .p_align = BUNDLE};
    if (r->split < r->head.e_phnum) {
        Elf64_Phdr *segment = &r->segments[r->split];
        uint64_t before = report->stub_address - segment->p_vaddr;

        added[0].p_flags |= segment->p_flags;
        if (segment->p_memsz > before + used) {
            added[1] = *segment;
            added[1].p_offset = contents + used;
            added[1].p_vaddr += before + used;
            added[1].p_paddr += before + used;
            added[1].p_filesz = 0;
            added[1].p_memsz -= before + used;
            added[1].p_align = BUNDLE;
            count++;
        }
        segment->p_memsz = before;
        *at = r->split + 1;
    } else {
        *at = 0;
        while (*at < r->head.e_phnum &&
               (r->segments[*at].p_type != PT_LOAD || r->segments[*at].p_vaddr < added[0].p_vaddr))
            ++*at;
    }
    return count;
}

/* The sections: the stubs', and what is left of the one that they were in. */
static unsigned new_sections(struct rewriter *r, uint64_t contents, uint64_t used, uint32_t name,
                             Elf64_Shdr added[NEW_HEADERS])
{
    const struct previrt_ia64_elf_report *report = r->report;

    added[0] = (Elf64_Shdr){.sh_name = name,
                            .sh_type = SHT_PROGBITS,
                            .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                            .sh_addr = report->stub_address,
                            .sh_offset = contents,
                            .sh_size = used,
                            .sh_addralign = BUNDLE};
    for (unsigned i = 1; i < r->head.e_shnum; i++) {
        Elf64_Shdr *section = &r->sections[i];
        uint64_t before = report->stub_address - section->sh_addr;

        if (section->sh_type != SHT_NOBITS || !(section->sh_flags & SHF_ALLOC) ||
            !inside(before, used, section->sh_size))
            continue;
        added[1] = *section;
        added[1].sh_addr += before + used;
        added[1].sh_size -= before + used;
        added[1].sh_offset = contents + used;
        added[1].sh_addralign = BUNDLE;
        section->sh_size = before;
        return 2;
    }
    return 1;
}

static int assemble(struct rewriter *r, const uint8_t *stubs, uint64_t used, void **out,
                    size_t *out_size)
{
    static const char name[] = PREVIRT_STUB_SECTION;
    const Elf64_Shdr *old = &r->sections[r->head.e_shstrndx];
    const uint64_t names_size = old->sh_size + sizeof(name);
    const uint64_t contents = round_up(r->size, BUNDLE), names = contents + used;
    const uint64_t headers = round_up(names + names_size, sizeof(uint64_t));
    unsigned segment_count, section_count, at;
    Elf64_Phdr segment[NEW_HEADERS];
    Elf64_Shdr section[NEW_HEADERS];
    Elf64_Ehdr head = r->head;
    uint64_t segments, size;
    uint8_t *file;

    segment_count = new_segments(r, contents, used, segment, &at);
    section_count = new_sections(r, contents, used, (uint32_t)old->sh_size, section);
    segments = headers + (head.e_shnum + section_count) * sizeof(Elf64_Shdr);
    size = segments;
    if (headers_may_grow(r, segment_count))
        segments = head.e_phoff;
    else
        size += (head.e_phnum + segment_count) * sizeof(Elf64_Phdr);
    for (unsigned i = 0; segments != head.e_phoff && i < head.e_phnum; i++)
        if (r->segments[i].p_type == PT_PHDR)
            return fail(r, PREVIRT_E_MALFORMED,
                        "the program headers are loaded and have no room to grow");
    file = calloc(1, size);
    if (!file)
        return PREVIRT_E_MEMORY;
    memcpy(file, r->bytes, r->size);
    if (used)
        memcpy(file + contents, stubs, used);

    memcpy(file + names, r->bytes + old->sh_offset, old->sh_size);
    memcpy(file + names + old->sh_size, name, sizeof(name));
    r->sections[head.e_shstrndx].sh_offset = names;
    r->sections[head.e_shstrndx].sh_size = names_size;
    memcpy(file + headers, r->sections, head.e_shnum * sizeof(Elf64_Shdr));
    memcpy(file + headers + head.e_shnum * sizeof(Elf64_Shdr), section,
           section_count * sizeof(Elf64_Shdr));
    head.e_shoff = headers;
    head.e_shnum = (Elf64_Half)(head.e_shnum + section_count);

    memcpy(file + segments, r->segments, at * sizeof(Elf64_Phdr));
    memcpy(file + segments + at * sizeof(Elf64_Phdr), segment, segment_count * sizeof(Elf64_Phdr));
    memcpy(file + segments + (at + segment_count) * sizeof(Elf64_Phdr), r->segments + at,
           (head.e_phnum - at) * sizeof(Elf64_Phdr));
    head.e_phoff = segments;
    head.e_phnum = (Elf64_Half)(head.e_phnum + segment_count);
    memcpy(file, &head, sizeof(head));
    *out = file;
    *out_size = size;
    return PREVIRT_OK;
}

/* ---- what came of it ---- */

static int report_sites(struct rewriter *r, const struct previrt_ia64_plan *plan)
{
    struct previrt_ia64_elf_report *report = r->report;
    size_t count;

    previrt_ia64_plan_summary(plan, &report->summary);
    count = report->summary.refused + report->summary.left;
    report->refusals = calloc(count + 1, sizeof(*report->refusals));
    if (!report->refusals)
        return PREVIRT_E_MEMORY;
    for (size_t i = 0; i < count; i++) {
        struct previrt_ia64_refusal refusal;
        const struct previrt_site *site;

        previrt_ia64_plan_refusal(plan, i, &refusal);
        site = &r->sites[refusal.site];
        report->refusals[report->refusal_count++] =
            (struct previrt_ia64_elf_refusal){.address = site->address,
                                              .status = refusal.status,
                                              .slot = site->slot,
                                              .op = site->op,
                                              .reason = refusal.reason};
        if (report->summary.refused)
            report->op[site->op % PREVIRT_IA64_OP_LIMIT].refused++;
        else
            report->op[site->op % PREVIRT_IA64_OP_LIMIT].left++;
    }
    return PREVIRT_OK;
}

/* After the commit, by what stands where the sites were. */
static void count_sites(struct rewriter *r, const struct previrt_memory *memory)
{
    for (size_t i = 0; i < r->site_count; i++) {
        const struct previrt_site *site = &r->sites[i];
        struct previrt_ia64_elf_op *row = &r->report->op[site->op % PREVIRT_IA64_OP_LIMIT];
        const struct previrt_region *region;
        struct previrt_ia64_bundle bundle;
        struct previrt_ia64_insn insn;
        uint64_t offset;

        region = previrt_memory_at(memory, site->address, BUNDLE, &offset);
        if (!region)
            continue;
        previrt_ia64_unpack(region->read + offset, &bundle);
        if (previrt_ia64_decode_slot(&bundle, site->slot, &insn) == PREVIRT_OK &&
            insn.op == site->op)
            row->kept++;
        else if (previrt_ia64_decode_slot(&bundle, site->slot, &insn) == PREVIRT_OK &&
                 insn.op == PREVIRT_IA64_BREAK)
            row->broken++;
        else
            row->stubbed++;
    }
    for (unsigned op = 0; op < PREVIRT_IA64_OP_LIMIT; op++)
        r->report->op[op].kept -= r->report->op[op].left;
}

static int rewrite(struct rewriter *r, const struct previrt_ia64_elf_options *options, void **out,
                   size_t *out_size)
{
    struct previrt_ia64_target target = *options->target;
    struct previrt_ia64_plan *plan = NULL;
    struct previrt_ia64_insn *insns = NULL;
    struct previrt_memory memory;
    uint8_t *stubs = NULL;
    void *buffer = NULL;
    size_t bound;
    int status;

    if ((status = read_headers(r)) < 0)
        return status;
    for (unsigned i = 1; i < r->head.e_shnum; i++) {
        const Elf64_Shdr *names = &r->sections[r->head.e_shstrndx];
        uint32_t name = r->sections[i].sh_name;

        if (inside(name, sizeof(PREVIRT_STUB_SECTION), names->sh_size) &&
            !memcmp(r->bytes + names->sh_offset + name, PREVIRT_STUB_SECTION,
                    sizeof(PREVIRT_STUB_SECTION)))
            return fail(r, PREVIRT_E_STATE, "it has been rewritten already");
    }
    status = add_part(r, r->bytes, r->size);
    if (status <= 0)
        return status < 0 ? fail(r, status, "the patch-up table") : PREVIRT_E_NO_TABLE;
    if ((status = find_embedded(r)) < 0 || (status = find_regions(r)) < 0 ||
        (status = place(r, options)) < 0)
        return status;
    target.stub_address = r->report->stub_address;
    target.stub_size = (uint32_t)r->report->stub_room;
    memory = (struct previrt_memory){.regions = r->regions, .count = r->region_count};
    if (options->tell_exceptions && (status = free_pinned(r)) < 0)
        return status;
    bound = previrt_ia64_plan_bound(r->site_count, target.stub_size);
    buffer = bound ? malloc(bound) : NULL;
    if (!buffer)
        return PREVIRT_E_MEMORY;
    status = previrt_ia64_plan(&memory, r->sites, r->site_count, &target, buffer, bound, &plan);
    if (plan) {
        int listed = report_sites(r, plan);

        if (listed < 0)
            status = listed;
    }
    if (status == PREVIRT_E_INVALID && !r->report->what)
        r->report->what = "the stub area overlaps code, or the target makes no sense";
    if (status < 0)
        goto done;
    status = read_exceptions(r, &memory, &insns);
    if (status < 0)
        goto done;
    stubs = malloc(r->report->summary.stub_bytes + 1);
    status = stubs ? previrt_ia64_commit(plan, stubs, r->report->summary.stub_bytes, NULL)
                   : PREVIRT_E_MEMORY;
    if (status < 0)
        goto done;
    count_sites(r, &memory);
    status = tell_exceptions(r, plan, insns, stubs, &memory);
    if (status < 0)
        goto done;
    status = assemble(r, stubs, r->report->summary.stub_bytes, out, out_size);
done:
    free(insns);
    free(stubs);
    free(buffer);
    return status;
}

int previrt_ia64_rewrite_elf_mem(const void *elf, size_t size,
                                 const struct previrt_ia64_elf_options *options, void **out,
                                 size_t *out_size, struct previrt_ia64_elf_report *report)
{
    struct rewriter r = {.size = size, .report = report};
    int status;

    if (!elf || !options || options->size < sizeof(*options) || !options->target ||
        options->target->size < sizeof(*options->target) || !out || !out_size || !report ||
        report->size < sizeof(*report))
        return PREVIRT_E_INVALID;
    *out = NULL;
    *out_size = 0;
    *report = (struct previrt_ia64_elf_report){.size = sizeof(*report)};
    r.bytes = malloc(size + 1);
    if (!r.bytes)
        return PREVIRT_E_MEMORY;
    memcpy(r.bytes, elf, size);
    status = rewrite(&r, options, out, out_size);
    for (size_t i = 0; i < r.part_count; i++)
        previrt_image_close(r.parts[i].image);
    free(r.parts);
    free(r.exceptions);
    free(r.sites);
    free(r.regions);
    free(r.segments);
    free(r.sections);
    free(r.bytes);
    return status;
}
