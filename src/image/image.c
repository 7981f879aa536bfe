/* SPDX-License-Identifier: BSD-2-Clause */
/* Opens images: sections, text by address, symbols, where the notes are. */
#include "image/image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SYNTHETIC_ALIGN = 16 };

static uint8_t arch_of(const struct pv_elf *elf)
{
    switch (elf->machine) {
    case EM_386:
        return PREVIRT_ARCH_IA32;
    case EM_IA_64:
        return PREVIRT_ARCH_IA64;
    default:
        return 0;
    }
}

/* ---- sections ---- */

static void fill_section(const struct pv_elf *elf, uint32_t index,
                         struct previrt_image_section *section)
{
    struct pv_section header;

    pv_elf_section(elf, index, &header);
    section->name = pv_elf_name(elf, &header);
    section->data = pv_elf_data(elf, &header);
    section->address = header.address;
    section->size = section->data || header.type == SHT_NOBITS ? header.size : 0;
    section->offset = header.offset;
    section->index = index;
    section->flags = (header.flags & SHF_ALLOC ? PREVIRT_SECTION_ALLOC : 0U) |
                     (header.flags & SHF_EXECINSTR ? PREVIRT_SECTION_EXEC : 0U) |
                     (header.flags & SHF_WRITE ? PREVIRT_SECTION_WRITE : 0U) |
                     (header.type == SHT_NOTE ? PREVIRT_SECTION_NOTE : 0U);
}

static int read_sections(struct previrt_image *image)
{
    const struct pv_elf *elf = &image->elf;
    uint64_t synthetic = 0;

    image->sections = calloc(elf->shnum, sizeof(*image->sections));
    if (!image->sections)
        return PREVIRT_E_MEMORY;
    image->section_count = elf->shnum;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct previrt_image_section *section = &image->sections[i];

        fill_section(elf, i, section);
        if (elf->type != ET_REL || !(section->flags & PREVIRT_SECTION_EXEC) || !section->data)
            continue;
        section->address = synthetic;
        synthetic += (section->size + SYNTHETIC_ALIGN - 1) & ~(uint64_t)(SYNTHETIC_ALIGN - 1);
        if (synthetic > UINT32_MAX)
            return PREVIRT_E_MALFORMED;
    }
    return PREVIRT_OK;
}

/* A file without section headers: its segments. */
static int read_segments(struct previrt_image *image)
{
    const struct pv_elf *elf = &image->elf;

    image->sections = calloc((size_t)elf->phnum + 1, sizeof(*image->sections));
    if (!image->sections)
        return PREVIRT_E_MEMORY;
    image->section_count = 1;
    for (uint32_t i = 0; i < elf->phnum; i++) {
        struct previrt_image_section *section = &image->sections[image->section_count];
        struct pv_segment segment;

        pv_elf_segment(elf, i, &segment);
        if (segment.type != PT_LOAD || segment.offset > elf->size ||
            segment.filesz > elf->size - segment.offset)
            continue;
        section->name = "";
        section->data = elf->data + segment.offset;
        section->address = segment.address;
        section->size = segment.filesz;
        section->offset = segment.offset;
        section->index = image->section_count++;
        section->flags = PREVIRT_SECTION_ALLOC |
                         (segment.flags & PF_X ? PREVIRT_SECTION_EXEC : 0U) |
                         (segment.flags & PF_W ? PREVIRT_SECTION_WRITE : 0U);
    }
    return PREVIRT_OK;
}

/* qsort() has no context, so the text sections are sorted by these. */
struct text_range {
    uint64_t address;
    uint32_t index;
};

static int compare_ranges(const void *left, const void *right)
{
    const struct text_range *a = left, *b = right;

    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

static int sort_text(struct previrt_image *image)
{
    struct text_range *ranges = calloc((size_t)image->section_count + 1, sizeof(*ranges));
    uint32_t count = 0;

    image->text = calloc((size_t)image->section_count + 1, sizeof(*image->text));
    if (!ranges || !image->text) {
        free(ranges);
        return PREVIRT_E_MEMORY;
    }
    for (uint32_t i = 1; i < image->section_count; i++) {
        const struct previrt_image_section *section = &image->sections[i];

        if (!(section->flags & PREVIRT_SECTION_EXEC) || !section->data || !section->size ||
            section->address + section->size < section->address)
            continue;
        ranges[count].address = section->address;
        ranges[count++].index = i;
    }
    if (count)
        qsort(ranges, count, sizeof(*ranges), compare_ranges);
    for (uint32_t i = 0; i < count; i++)
        image->text[i] = ranges[i].index;
    image->text_count = count;
    free(ranges);
    return PREVIRT_OK;
}

static const struct previrt_image_section *find_text(const struct previrt_image *image,
                                                     uint64_t address)
{
    uint32_t low = 0, high = image->text_count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (image->sections[image->text[middle]].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low) {
        const struct previrt_image_section *section = &image->sections[image->text[low - 1]];

        if (address - section->address < section->size)
            return section;
    }
    return NULL;
}

const uint8_t *previrt_image_text(void *image, uint64_t address, size_t length)
{
    const struct previrt_image_section *section = image ? find_text(image, address) : NULL;

    if (!section || length > section->size - (address - section->address))
        return NULL;
    return section->data + (address - section->address);
}

int previrt_image_locate(const struct previrt_image *image, uint64_t address,
                         struct previrt_image_section *section)
{
    const struct previrt_image_section *found;

    if (!image || !section)
        return PREVIRT_E_INVALID;
    found = find_text(image, address);
    if (!found)
        return PREVIRT_E_RANGE;
    *section = *found;
    return PREVIRT_OK;
}

int previrt_image_section(const struct previrt_image *image, uint32_t index,
                          struct previrt_image_section *section)
{
    if (!image || !section)
        return PREVIRT_E_INVALID;
    if (index >= image->section_count)
        return PREVIRT_E_RANGE;
    *section = image->sections[index];
    if (!section->name)
        section->name = "";
    return PREVIRT_OK;
}

/* ---- symbols ---- */

static int compare_symbols(const void *left, const void *right)
{
    const struct pv_image_symbol *a = left, *b = right;

    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? 1 : -1;
    return strcmp(b->name, a->name);
}

/* Symbols are for messages: a file with bad ones has none. */
static int read_symbols(struct previrt_image *image)
{
    const struct pv_elf *elf = &image->elf;
    struct pv_symbols symbols = {0};
    uint32_t index = 0;

    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct pv_section section;

        pv_elf_section(elf, i, &section);
        if (section.type == SHT_SYMTAB || (section.type == SHT_DYNSYM && !index))
            index = i;
    }
    if (!index || pv_elf_symbols(elf, index, &symbols) < 0)
        return PREVIRT_OK;
    image->symbols = malloc((symbols.count + 1) * sizeof(*image->symbols));
    if (!image->symbols)
        return PREVIRT_E_MEMORY;
    for (uint32_t i = 1; i < symbols.count; i++) {
        struct pv_image_symbol *mine = &image->symbols[image->symbol_count];
        const struct previrt_image_section *section;
        struct pv_symbol symbol;

        if (pv_elf_symbol(elf, &symbols, i, &symbol) < 0 || symbol.section == SHN_UNDEF ||
            symbol.section >= image->section_count ||
            (symbol.type != STT_FUNC && symbol.type != STT_NOTYPE))
            continue;
        section = &image->sections[symbol.section];
        mine->name = pv_elf_string(symbols.names, symbols.names_size, symbol.name);
        if (!(section->flags & PREVIRT_SECTION_EXEC) || !mine->name || !mine->name[0])
            continue;
        mine->address = symbol.value + (elf->type == ET_REL ? section->address : 0);
        mine->rank = symbol.type == STT_FUNC;
        image->symbol_count++;
    }
    if (image->symbol_count)
        qsort(image->symbols, image->symbol_count, sizeof(*image->symbols), compare_symbols);
    return PREVIRT_OK;
}

const char *previrt_image_symbol(const struct previrt_image *image, uint64_t address,
                                 uint64_t *distance)
{
    const struct previrt_image_section *section;
    size_t low = 0, high;

    if (!image)
        return NULL;
    section = find_text(image, address);
    high = image->symbol_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (image->symbols[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    /* the last one at or below, if it is in the same section */
    if (!low || !section || image->symbols[low - 1].address < section->address)
        return NULL;
    if (distance)
        *distance = address - image->symbols[low - 1].address;
    return image->symbols[low - 1].name;
}

/* ---- notes ---- */

/* Whether there is a fragment of ours, finished or not, in these notes. Malformed ones after our
 * name has been seen count too: the reader will say what is wrong. */
static int holds_fragment(const uint8_t *data, size_t size)
{
    static const char name[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;

    for (size_t at = 0; at + PV_NOTE_DESC <= size; at += PV_NOTE_ALIGN)
        if (pv_get32(data + at) == PV_NOTE_NAME_SIZE &&
            memcmp(data + at + PV_NOTE_HEADER_SIZE, name, sizeof(name)) == 0)
            return 1;
    return 0;
}

static int add_notes(struct previrt_image *image, const struct pv_notes *notes)
{
    struct pv_notes *grown;

    grown = realloc(image->notes, (image->note_count + 1) * sizeof(*grown));
    if (!grown)
        return PREVIRT_E_MEMORY;
    image->notes = grown;
    grown[image->note_count++] = *notes;
    return PREVIRT_OK;
}

/*
 * In an object, anchors are relocations: applies those of table section (index) to a copy, with the
 * synthetic addresses of the code. The section itself counts as address 0.
 */
static int relocate(struct previrt_image *image, uint32_t index, struct pv_notes *notes)
{
    const struct pv_elf *elf = &image->elf;

    notes->copy = malloc(notes->size + 1);
    if (!notes->copy)
        return PREVIRT_E_MEMORY;
    memcpy(notes->copy, notes->data, notes->size);
    notes->data = notes->copy;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        struct pv_section section;
        struct pv_symbols symbols;
        const uint8_t *data;
        size_t count;

        pv_elf_section(elf, i, &section);
        if ((section.type != SHT_REL && section.type != SHT_RELA) || section.info != index)
            continue;
        data = pv_elf_data(elf, &section);
        if (!data || pv_elf_symbols(elf, section.link, &symbols) < 0)
            return PREVIRT_E_MALFORMED;
        count = (size_t)section.size / pv_elf_reloc_size(elf, section.type);
        for (size_t j = 0; j < count; j++) {
            const struct previrt_image_section *target;
            struct pv_symbol symbol;
            struct pv_reloc reloc;
            uint8_t *field;

            pv_elf_reloc(elf, section.type, data, j, &reloc);
            if (notes->size < PV_ANCHOR_SIZE || reloc.offset > notes->size - PV_ANCHOR_SIZE ||
                reloc.type != (elf->machine == EM_386 ? R_386_PC32 : R_IA64_PCREL32LSB) ||
                pv_elf_symbol(elf, &symbols, reloc.symbol, &symbol) < 0 ||
                symbol.section == SHN_UNDEF)
                return PREVIRT_E_MALFORMED;
            field = notes->copy + reloc.offset;
            if (section.type == SHT_REL)
                reloc.addend = (int32_t)pv_get32(field);
            target = &image->sections[symbol.section];
            if (!(target->flags & PREVIRT_SECTION_EXEC) || !target->data)
                return PREVIRT_E_RANGE;
            pv_put32(field, (uint32_t)(target->address + symbol.value + (uint64_t)reloc.addend -
                                       reloc.offset));
        }
    }
    return PREVIRT_OK;
}

static int add_note_section(struct previrt_image *image, uint32_t index)
{
    const struct previrt_image_section *section = &image->sections[index];
    struct pv_notes notes = {.data = section->data,
                             .size = (size_t)section->size,
                             .address = section->address,
                             .file_offset = section->offset,
                             .section = index,
                             .allocated = (section->flags & PREVIRT_SECTION_ALLOC) != 0};
    int status = PREVIRT_OK;

    if (image->elf.type == ET_REL) {
        notes.address = 0;
        status = relocate(image, index, &notes);
    }
    if (status >= 0)
        status = add_notes(image, &notes);
    if (status < 0)
        free(notes.copy);
    return status;
}

static int find_notes(struct previrt_image *image)
{
    const struct pv_elf *elf = &image->elf;

    /* an attached table stands for all others */
    for (uint32_t i = 1; elf->shnum && elf->type != ET_REL && i < image->section_count; i++) {
        const struct previrt_image_section *section = &image->sections[i];

        if (!(section->flags & PREVIRT_SECTION_NOTE) || section->flags & PREVIRT_SECTION_ALLOC ||
            !section->data || strcmp(section->name, PREVIRT_TABLE_SECTION) != 0)
            continue;
        image->attached = 1;
        return add_note_section(image, i);
    }
    for (uint32_t i = 1; elf->shnum && i < image->section_count; i++) {
        const struct previrt_image_section *section = &image->sections[i];
        int status;

        if (!(section->flags & PREVIRT_SECTION_NOTE) || !section->data ||
            (strcmp(section->name, PREVIRT_TABLE_SECTION) != 0 &&
             !holds_fragment(section->data, (size_t)section->size)))
            continue;
        status = add_note_section(image, i);
        if (status < 0)
            return status;
    }
    if (image->note_count)
        return PREVIRT_OK;
    for (uint32_t i = 0; i < elf->phnum; i++) {
        struct pv_segment segment;
        struct pv_notes notes = {.allocated = 1};
        int status;

        pv_elf_segment(elf, i, &segment);
        if (segment.type != PT_NOTE || segment.offset > elf->size ||
            segment.filesz > elf->size - segment.offset ||
            !holds_fragment(elf->data + segment.offset, (size_t)segment.filesz))
            continue;
        notes.data = elf->data + segment.offset;
        notes.size = (size_t)segment.filesz;
        notes.address = segment.address;
        notes.file_offset = segment.offset;
        status = add_notes(image, &notes);
        if (status < 0)
            return status;
    }
    return PREVIRT_OK;
}

/* ---- open and close ---- */

int previrt_image_open_mem(const void *data, size_t size, struct previrt_image **image)
{
    struct previrt_image *mine;
    int status;

    if (!data || !image)
        return PREVIRT_E_INVALID;
    *image = NULL;
    mine = calloc(1, sizeof(*mine));
    if (!mine)
        return PREVIRT_E_MEMORY;
    status = pv_elf_open(&mine->elf, data, size);
    if (status >= 0 && mine->elf.type != ET_REL && mine->elf.type != ET_EXEC &&
        mine->elf.type != ET_DYN)
        status = PREVIRT_E_NOT_ELF;
    mine->arch = arch_of(&mine->elf);
    if (status >= 0)
        status = mine->elf.shnum ? read_sections(mine) : read_segments(mine);
    if (status >= 0)
        status = sort_text(mine);
    if (status >= 0)
        status = read_symbols(mine);
    if (status >= 0)
        status = find_notes(mine);
    if (status < 0) {
        previrt_image_close(mine);
        return status;
    }
    *image = mine;
    return PREVIRT_OK;
}

/* Reads, not maps: a file that shrinks meanwhile must not end the program with SIGBUS. */
static int read_file(const char *path, uint8_t **data, size_t *size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC), saved;
    struct stat stat;
    size_t at = 0;

    *data = NULL;
    if (file < 0)
        return PREVIRT_E_IO;
    if (fstat(file, &stat) < 0 || !S_ISREG(stat.st_mode)) {
        if (S_ISDIR(stat.st_mode))
            errno = EISDIR;
        goto fail;
    }
    *size = (size_t)stat.st_size;
    *data = malloc(*size + 1);
    if (!*data) {
        close(file);
        return PREVIRT_E_MEMORY;
    }
    while (at < *size) {
        ssize_t got = read(file, *data + at, *size - at);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            goto fail;
        if (!got)
            break;
        at += (size_t)got;
    }
    *size = at;
    close(file);
    return PREVIRT_OK;
fail:
    saved = errno;
    close(file);
    free(*data);
    *data = NULL;
    errno = saved;
    return PREVIRT_E_IO;
}

int previrt_image_open(const char *path, struct previrt_image **image)
{
    uint8_t *data;
    size_t size;
    int status;

    if (!path || !image)
        return PREVIRT_E_INVALID;
    *image = NULL;
    status = read_file(path, &data, &size);
    if (status < 0)
        return status;
    status = previrt_image_open_mem(data, size, image);
    if (status < 0)
        free(data);
    else
        (*image)->owned = data;
    return status;
}

void previrt_image_close(struct previrt_image *image)
{
    if (!image)
        return;
    for (size_t i = 0; i < image->note_count; i++)
        free(image->notes[i].copy);
    free(image->notes);
    free(image->sections);
    free(image->text);
    free(image->symbols);
    free(image->sites);
    free(image->owned);
    free(image);
}

void previrt_image_free(void *data)
{
    free(data);
}

int previrt_image_info(const struct previrt_image *image, struct previrt_image_info *info)
{
    if (!image || !info || info->size != sizeof(*info))
        return PREVIRT_E_INVALID;
    memset(info, 0, sizeof(*info));
    info->size = sizeof(*info);
    info->arch = image->arch;
    info->bits = image->elf.is64 ? 64 : 32;
    info->relocatable = image->elf.type == ET_REL;
    info->attached = (uint8_t)image->attached;
    info->machine = image->elf.machine;
    info->type = image->elf.type;
    info->sections = image->section_count;
    info->entry = image->elf.entry;
    info->table_bytes = image->table_bytes;
    info->fragments = image->fragments;
    info->sites = (uint32_t)image->site_count;
    return PREVIRT_OK;
}
