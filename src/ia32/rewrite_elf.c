/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Offline rewriting. The image is copied, rewritten in the copy, and extended behind its end: the
 * stub segment's contents, new section names, section headers and, where the old ones have no room
 * to grow, program headers. Nothing that was in the file moves.
 */
#include <previrt/rewrite_elf.h>
#include <previrt/vcpu.h>

#include <elf.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_SIZE   0x1000u
#define GUEST_LIMIT (1ull << 32)

struct image {
    uint8_t *bytes; /* the copy */
    size_t size;
    Elf32_Ehdr head;
    Elf32_Phdr *segments; /* copies, aligned */
    Elf32_Shdr *sections;
    struct previrt_region *regions;
    size_t region_count;
    const uint8_t *notes;
    size_t notes_size;
    uint64_t notes_address;
    struct previrt_elf_report *report;
};

static uint64_t round_up(uint64_t value, uint64_t unit)
{
    return (value + unit - 1) / unit * unit;
}

static int inside(uint64_t offset, uint64_t length, uint64_t size)
{
    return offset <= size && length <= size - offset;
}

static int fail(struct image *image, int status, const char *what)
{
    image->report->what = what;
    return status;
}

static int read_headers(struct image *image)
{
    const Elf32_Ehdr *head = &image->head;
    size_t length;

    if (image->size < EI_NIDENT || memcmp(image->bytes, ELFMAG, SELFMAG))
        return fail(image, PREVIRT_E_NOT_ELF, "no ELF magic");
    if (image->bytes[EI_CLASS] != ELFCLASS32 || image->bytes[EI_DATA] != ELFDATA2LSB)
        return fail(image, PREVIRT_E_ARCH, "not a 32-bit little-endian ELF file");
    if (image->size < sizeof(*head))
        return fail(image, PREVIRT_E_TRUNCATED, "the ELF header");
    memcpy(&image->head, image->bytes, sizeof(*head));
    if (head->e_machine != EM_386)
        return fail(image, PREVIRT_E_ARCH, "not an IA32 file");
    if (head->e_type != ET_EXEC)
        return fail(image, PREVIRT_E_ARCH, "not a linked executable (ET_EXEC)");
    if (!head->e_phnum || head->e_phentsize != sizeof(Elf32_Phdr) ||
        !inside(head->e_phoff, (uint64_t)head->e_phnum * sizeof(Elf32_Phdr), image->size))
        return fail(image, PREVIRT_E_MALFORMED, "the program header table");
    if (head->e_phnum >= PN_XNUM - 1 || head->e_shnum >= SHN_LORESERVE - 1)
        return fail(image, PREVIRT_E_MALFORMED, "too many headers");
    if (head->e_shnum &&
        (head->e_shentsize != sizeof(Elf32_Shdr) || head->e_shstrndx >= head->e_shnum ||
         !inside(head->e_shoff, (uint64_t)head->e_shnum * sizeof(Elf32_Shdr), image->size)))
        return fail(image, PREVIRT_E_MALFORMED, "the section header table");

    length = head->e_phnum * sizeof(Elf32_Phdr);
    image->segments = malloc(length);
    if (!image->segments)
        return PREVIRT_E_MEMORY;
    memcpy(image->segments, image->bytes + head->e_phoff, length);
    for (unsigned i = 0; i < head->e_phnum; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (!inside(segment->p_offset, segment->p_filesz, image->size))
            return fail(image, PREVIRT_E_TRUNCATED, "a segment lies outside the file");
        if (segment->p_type == PT_LOAD && (segment->p_filesz > segment->p_memsz ||
                                           segment->p_memsz > GUEST_LIMIT - segment->p_vaddr ||
                                           segment->p_memsz > GUEST_LIMIT - segment->p_paddr))
            return fail(image, PREVIRT_E_MALFORMED, "a segment's sizes or addresses");
    }
    if (!head->e_shnum)
        return PREVIRT_OK;
    length = head->e_shnum * sizeof(Elf32_Shdr);
    image->sections = malloc(length);
    if (!image->sections)
        return PREVIRT_E_MEMORY;
    memcpy(image->sections, image->bytes + head->e_shoff, length);
    /* the first, too, which names may be looked for in */
    for (unsigned i = 0; i < head->e_shnum; i++) {
        const Elf32_Shdr *section = &image->sections[i];

        if (section->sh_type != SHT_NOBITS &&
            !inside(section->sh_offset, section->sh_size, image->size))
            return fail(image, PREVIRT_E_TRUNCATED, "a section lies outside the file");
    }
    if (image->sections[head->e_shstrndx].sh_type == SHT_NOBITS)
        return fail(image, PREVIRT_E_MALFORMED, "the section names");
    return PREVIRT_OK;
}

/* Whether an earlier run has added its section. */
static int rewritten_already(const struct image *image)
{
    const Elf32_Shdr *names;

    if (!image->head.e_shnum)
        return 0;
    names = &image->sections[image->head.e_shstrndx];
    for (unsigned i = 1; i < image->head.e_shnum; i++) {
        uint32_t name = image->sections[i].sh_name;

        if (inside(name, sizeof(PREVIRT_STUB_SECTION), names->sh_size) &&
            !memcmp(image->bytes + names->sh_offset + name, PREVIRT_STUB_SECTION,
                    sizeof(PREVIRT_STUB_SECTION)))
            return 1;
    }
    return 0;
}

/* The file offset that is loaded at [address, address + length), or -1. */
static int64_t file_offset(const struct image *image, uint64_t address, uint64_t length)
{
    for (unsigned i = 0; i < image->head.e_phnum; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (segment->p_type == PT_LOAD && address >= segment->p_vaddr &&
            inside(address - segment->p_vaddr, length, segment->p_filesz))
            return (int64_t)segment->p_offset + (int64_t)(address - segment->p_vaddr);
    }
    return -1;
}

static int by_address(const void *a, const void *b)
{
    const struct previrt_region *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

/*
 * The executable regions: the sections that say so, since kernels link code into writable segments
 * (.init.text), or, without sections, the segments.
 */
static int find_regions(struct image *image)
{
    size_t limit = (size_t)image->head.e_shnum + image->head.e_phnum;

    image->regions = calloc(limit, sizeof(*image->regions));
    if (!image->regions)
        return PREVIRT_E_MEMORY;
    for (unsigned i = 1; i < image->head.e_shnum; i++) {
        const Elf32_Shdr *section = &image->sections[i];
        int64_t offset;

        if (section->sh_type != SHT_PROGBITS || !section->sh_size ||
            (section->sh_flags & (SHF_ALLOC | SHF_EXECINSTR)) != (SHF_ALLOC | SHF_EXECINSTR))
            continue;
        offset = file_offset(image, section->sh_addr, section->sh_size);
        if (offset != (int64_t)section->sh_offset)
            return fail(image, PREVIRT_E_MALFORMED,
                        "an executable section is not where its segment loads it from");
        image->regions[image->region_count++] =
            (struct previrt_region){.address = section->sh_addr,
                                    .size = section->sh_size,
                                    .read = image->bytes + offset,
                                    .write = image->bytes + offset,
                                    .flags = PREVIRT_REGION_EXECUTE};
    }
    for (unsigned i = 0; !image->head.e_shnum && i < image->head.e_phnum; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (segment->p_type == PT_LOAD && (segment->p_flags & PF_X) && segment->p_filesz)
            image->regions[image->region_count++] =
                (struct previrt_region){.address = segment->p_vaddr,
                                        .size = segment->p_filesz,
                                        .read = image->bytes + segment->p_offset,
                                        .write = image->bytes + segment->p_offset,
                                        .flags = PREVIRT_REGION_EXECUTE};
    }
    qsort(image->regions, image->region_count, sizeof(*image->regions), by_address);
    for (size_t i = 1; i < image->region_count; i++)
        if (image->regions[i].address - image->regions[i - 1].address < image->regions[i - 1].size)
            return fail(image, PREVIRT_E_MALFORMED, "executable sections overlap");
    return PREVIRT_OK;
}

/* Looks for the table in one stretch of notes: 1 found, 0 none, or a negative status. */
static int try_notes(struct image *image, uint64_t offset, uint64_t size, uint64_t address)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    int status = previrt_table_begin(&cursor, image->bytes + offset, size, address);

    if (status == PREVIRT_OK)
        status = previrt_table_next(&cursor, &site);
    if (status == 0 || status == PREVIRT_E_NO_TABLE)
        return 0;
    if (!image->notes) {
        image->notes = image->bytes + offset;
        image->notes_size = size;
        image->notes_address = address;
        image->report->table_address = address;
        image->report->table_size = size;
    }
    if (status < 0) {
        image->report->table_offset = previrt_table_offset(&cursor);
        return status;
    }
    return 1;
}

/*
 * The table: in the one note section that has it, or, without sections, the one note segment. A
 * second one would be a part of the table that nobody rewrites, so it is an error.
 */
static int find_table(struct image *image)
{
    unsigned found = 0;
    int status = 0;

    for (unsigned i = 1; i < image->head.e_shnum && status >= 0; i++) {
        const Elf32_Shdr *section = &image->sections[i];

        if (section->sh_type != SHT_NOTE || !(section->sh_flags & SHF_ALLOC))
            continue;
        status = try_notes(image, section->sh_offset, section->sh_size, section->sh_addr);
        found += status > 0;
    }
    for (unsigned i = 0; !image->head.e_shnum && i < image->head.e_phnum && status >= 0; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_NOTE)
            continue;
        status = try_notes(image, segment->p_offset, segment->p_filesz, segment->p_vaddr);
        found += status > 0;
    }
    if (status < 0)
        return fail(image, status, "the patch-up table");
    if (!found)
        return fail(image, PREVIRT_E_NO_TABLE, NULL);
    if (found > 1)
        return fail(image, PREVIRT_E_MALFORMED, "more than one note section holds a table");
    return PREVIRT_OK;
}

/* Decides where the added segment goes, its vCPU page and its stubs. */
static int place(struct image *image, const struct previrt_elf_options *options,
                 struct previrt_target *target)
{
    struct previrt_elf_report *report = image->report;
    uint64_t end = 0, base, limit = options->stub_limit ? options->stub_limit : PREVIRT_STUB_LIMIT;
    int page = options->needs_vcpu && !(options->place & PREVIRT_PLACE_VCPU);
    const Elf32_Phdr *first = NULL;

    for (unsigned i = 0; i < image->head.e_phnum; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD || !segment->p_memsz)
            continue;
        if (!first)
            first = segment;
        if ((uint64_t)segment->p_vaddr + segment->p_memsz > end)
            end = (uint64_t)segment->p_vaddr + segment->p_memsz;
    }
    if (!first)
        return fail(image, PREVIRT_E_MALFORMED, "no loadable segment");
    report->load_offset = (uint32_t)(first->p_vaddr - first->p_paddr);
    if (options->place & PREVIRT_PLACE_STUBS)
        base = options->stub_address;
    else if (report->load_offset)
        base = (uint32_t)(report->load_offset + PREVIRT_STUB_PHYSICAL);
    else
        base = round_up(end, PAGE_SIZE);
    if (base % PAGE_SIZE)
        return fail(image, PREVIRT_E_INVALID, "the stub address is not page aligned");
    if (limit > GUEST_LIMIT || base > GUEST_LIMIT ||
        (page ? PREVIRT_VCPU_PAGE_SIZE : 0) + limit > GUEST_LIMIT - base)
        return fail(image, PREVIRT_E_REACH, "the stub area ends beyond 4 GiB");
    report->segment_address = base;
    report->segment_physical = (uint32_t)(base - report->load_offset);
    if (options->needs_vcpu)
        report->vcpu_address = page ? base : options->vcpu_address;
    report->stub_address = base + (page ? PREVIRT_VCPU_PAGE_SIZE : 0);

    *target = *options->target;
    if (options->needs_vcpu) {
        uint8_t action[PREVIRT_IA32_OP_LIMIT];
        uint32_t flags = target->flags;

        memcpy(action, target->action, sizeof(action));
        previrt_target_vcpu(target, report->vcpu_address);
        memcpy(target->action, action, sizeof(action));
        target->flags = flags;
    }
    target->stub_address = report->stub_address;
    target->stub_size = (uint32_t)(limit > UINT32_MAX ? UINT32_MAX : limit);
    return PREVIRT_OK;
}

/* Whether the segment, now that its size is known, lies beside the image, linked and loaded. */
static int check_place(struct image *image)
{
    const struct previrt_elf_report *report = image->report;
    uint64_t address = report->segment_address, physical = report->segment_physical;

    if (report->segment_size > GUEST_LIMIT - physical)
        return fail(image, PREVIRT_E_REACH, "the stub segment's load address");
    for (unsigned i = 0; i < image->head.e_phnum; i++) {
        const Elf32_Phdr *segment = &image->segments[i];

        if (segment->p_type != PT_LOAD)
            continue;
        if ((address < (uint64_t)segment->p_vaddr + segment->p_memsz &&
             segment->p_vaddr < address + report->segment_size) ||
            (physical < (uint64_t)segment->p_paddr + segment->p_memsz &&
             segment->p_paddr < physical + report->segment_size))
            return fail(image, PREVIRT_E_OVERLAP, "the stub segment would overlap the image");
    }
    return PREVIRT_OK;
}

/* Whether one more program header fits behind the table without touching anything. */
static int headers_may_grow(const struct image *image)
{
    uint64_t start = image->head.e_phoff + (uint64_t)image->head.e_phnum * sizeof(Elf32_Phdr);
    uint64_t end = start + sizeof(Elf32_Phdr);

    if (!image->head.e_shnum || end > image->size)
        return 0; /* without sections nobody knows what those bytes are */
    if (image->head.e_shoff < end &&
        start < image->head.e_shoff + (uint64_t)image->head.e_shnum * sizeof(Elf32_Shdr))
        return 0;
    if (start < sizeof(Elf32_Ehdr))
        return 0;
    for (unsigned i = 1; i < image->head.e_shnum; i++) {
        const Elf32_Shdr *section = &image->sections[i];

        if (section->sh_type != SHT_NOBITS && section->sh_size && section->sh_offset < end &&
            start < (uint64_t)section->sh_offset + section->sh_size)
            return 0;
    }
    return 1;
}

/* Writes the new file: old bytes, segment contents, names, section headers, program headers. */
static int assemble(struct image *image, const uint8_t *stubs, size_t stub_bytes, void **out,
                    size_t *out_size)
{
    static const char name[] = PREVIRT_STUB_SECTION;
    const struct previrt_elf_report *report = image->report;
    Elf32_Ehdr head = image->head;
    uint64_t contents = round_up(image->size, PAGE_SIZE);
    uint64_t stub_offset = contents + (report->stub_address - report->segment_address);
    uint64_t names = contents + report->segment_size, headers, segments, size;
    uint64_t names_size = 0;
    unsigned at = 0;
    uint8_t *file;
    Elf32_Phdr added = {.p_type = PT_LOAD,
                        .p_offset = (uint32_t)contents,
                        .p_vaddr = (uint32_t)report->segment_address,
                        .p_paddr = (uint32_t)report->segment_physical,
                        .p_filesz = (uint32_t)report->segment_size,
                        .p_memsz = (uint32_t)report->segment_size,
                        .p_flags = PF_R | PF_X,
                        .p_align = PAGE_SIZE};

    if (report->stub_address != report->segment_address)
        added.p_flags |= PF_W; /* the vCPU page */
    if (head.e_shnum)
        names_size = (uint64_t)image->sections[head.e_shstrndx].sh_size + sizeof(name);
    headers = round_up(names + names_size, 4);
    segments = headers + (head.e_shnum ? (head.e_shnum + 1u) * sizeof(Elf32_Shdr) : 0);
    size = segments;
    if (headers_may_grow(image))
        segments = head.e_phoff;
    else
        size += (head.e_phnum + 1u) * sizeof(Elf32_Phdr);
    if (size > UINT32_MAX)
        return fail(image, PREVIRT_E_MALFORMED, "the file would exceed 4 GiB");
    for (unsigned i = 0; segments != head.e_phoff && i < head.e_phnum; i++)
        if (image->segments[i].p_type == PT_PHDR)
            return fail(image, PREVIRT_E_MALFORMED,
                        "the program headers are loaded and have no room to grow");

    file = calloc(1, size);
    if (!file)
        return PREVIRT_E_MEMORY;
    memcpy(file, image->bytes, image->size);
    if (report->stub_address != report->segment_address) {
        struct previrt_vcpu_page page = {.eflags = 2, .version = PREVIRT_VCPU_VERSION};

        memcpy(file + contents, &page, sizeof(page));
    }
    if (stub_bytes)
        memcpy(file + stub_offset, stubs, stub_bytes);

    if (head.e_shnum) {
        Elf32_Shdr *old = &image->sections[head.e_shstrndx];
        Elf32_Shdr section = {.sh_name = old->sh_size,
                              .sh_type = SHT_PROGBITS,
                              .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                              .sh_addr = (uint32_t)report->stub_address,
                              .sh_offset = (uint32_t)stub_offset,
                              .sh_size = (uint32_t)stub_bytes,
                              .sh_addralign = 1};

        memcpy(file + names, image->bytes + old->sh_offset, old->sh_size);
        memcpy(file + names + old->sh_size, name, sizeof(name));
        old->sh_offset = (uint32_t)names;
        old->sh_size = (uint32_t)names_size;
        memcpy(file + headers, image->sections, head.e_shnum * sizeof(Elf32_Shdr));
        memcpy(file + headers + head.e_shnum * sizeof(Elf32_Shdr), &section, sizeof(section));
        head.e_shoff = (uint32_t)headers;
        head.e_shnum++;
    }
    /* PT_LOAD segments stand in ascending order of their addresses (gABI, "Program Header"). */
    while (at < head.e_phnum &&
           (image->segments[at].p_type != PT_LOAD || image->segments[at].p_vaddr < added.p_vaddr))
        at++;
    memcpy(file + segments, image->segments, at * sizeof(Elf32_Phdr));
    memcpy(file + segments + at * sizeof(Elf32_Phdr), &added, sizeof(added));
    memcpy(file + segments + (at + 1) * sizeof(Elf32_Phdr), image->segments + at,
           (head.e_phnum - at) * sizeof(Elf32_Phdr));
    head.e_phoff = (uint32_t)segments;
    head.e_phnum++;
    memcpy(file, &head, sizeof(head));
    *out = file;
    *out_size = size;
    return PREVIRT_OK;
}

static void keep_refusals(struct previrt_elf_report *report, const struct previrt_plan *plan)
{
    report->refusals = calloc(report->stats.refused, sizeof(*report->refusals));
    if (!report->refusals)
        return;
    while (report->refusal_count < report->stats.refused &&
           previrt_plan_refusal(plan, report->refusal_count,
                                &report->refusals[report->refusal_count]) == PREVIRT_OK)
        report->refusal_count++;
}

static int rewrite(struct image *image, const struct previrt_elf_options *options, void **out,
                   size_t *out_size)
{
    struct previrt_elf_report *report = image->report;
    struct previrt_memory memory;
    struct previrt_target target;
    struct previrt_plan *plan = NULL;
    uint8_t *stubs = NULL;
    void *buffer = NULL;
    size_t count, bound;
    int status;

    if ((status = read_headers(image)) < 0)
        return status;
    if (rewritten_already(image))
        return fail(image, PREVIRT_E_MALFORMED, "it has been rewritten already");
    if ((status = find_regions(image)) < 0 || (status = find_table(image)) < 0 ||
        (status = place(image, options, &target)) < 0)
        return status;
    memory = (struct previrt_memory){.regions = image->regions, .count = image->region_count};
    status = previrt_plan_count(image->notes, image->notes_size, image->notes_address, &count);
    if (status < 0)
        return fail(image, status, "the patch-up table");
    bound = previrt_plan_bound(count);
    buffer = bound ? malloc(bound) : NULL;
    if (!buffer)
        return PREVIRT_E_MEMORY;

    status = previrt_plan(&memory, image->notes, image->notes_size, image->notes_address, &target,
                          buffer, bound, &plan);
    if (plan) {
        report->stats.size = sizeof(report->stats);
        previrt_plan_stats(plan, &report->stats);
        report->table_offset = previrt_plan_offset(plan);
    }
    if (status == PREVIRT_E_REFUSED)
        keep_refusals(report, plan);
    if (status < 0) {
        if (status == PREVIRT_E_INVALID && !report->what)
            report->what = "the stub area overlaps code, or the target makes no sense";
        goto done;
    }
    report->segment_size = round_up(
        report->stub_address - report->segment_address + report->stats.stub_bytes, PAGE_SIZE);
    if (!report->segment_size)
        report->segment_size = PAGE_SIZE;
    status = check_place(image);
    if (status < 0)
        goto done;
    stubs = malloc(report->stats.stub_bytes + 1u);
    status = stubs ? previrt_commit(plan, stubs, report->stats.stub_bytes) : PREVIRT_E_MEMORY;
    if (status < 0)
        goto done;
    report->stats.state = PREVIRT_PLAN_COMMITTED;
    status = assemble(image, stubs, report->stats.stub_bytes, out, out_size);
done:
    free(stubs);
    free(buffer);
    return status;
}

int previrt_rewrite_elf_mem(const void *elf, size_t size, const struct previrt_elf_options *options,
                            void **out, size_t *out_size, struct previrt_elf_report *report)
{
    struct image image = {.size = size, .report = report};
    int status;

    if (!elf || !options || options->size < sizeof(*options) || !options->target ||
        options->target->size < sizeof(*options->target) || !out || !out_size || !report ||
        report->size < sizeof(*report))
        return PREVIRT_E_INVALID;
    *out = NULL;
    *out_size = 0;
    *report = (struct previrt_elf_report){.size = sizeof(*report)};
    image.bytes = malloc(size ? size : 1);
    if (!image.bytes)
        return PREVIRT_E_MEMORY;
    memcpy(image.bytes, elf, size);
    status = rewrite(&image, options, out, out_size);
    free(image.bytes);
    free(image.segments);
    free(image.sections);
    free(image.regions);
    return status;
}
