/* SPDX-License-Identifier: BSD-2-Clause */
/* See elf_view.h. Names and layouts: System V ABI, gABI and the IA32 and x86-64 supplements. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include "elf_view.h"

/* Made-up addresses of an object's sections begin here and are this far apart at least. */
#define OBJECT_BASE  0x40000000 /* unlike any small constant */
#define OBJECT_ALIGN 0x100

static bool inside(const struct pv_view *elf, uint64_t offset, uint64_t size)
{
    return offset <= elf->file_size && size <= elf->file_size - offset;
}

bool pv_view_is_code(const struct pv_view_section *section)
{
    return section->data && section->size && (section->flags & SHF_EXECINSTR) &&
           (section->flags & SHF_ALLOC) && section->type != SHT_NOBITS;
}

/* A string of the string table (table), "" if it is not one. */
static const char *string_at(const struct pv_view_section *table, uint64_t offset)
{
    if (!table || !table->data || offset >= table->size ||
        !memchr(table->data + offset, 0, (size_t)(table->size - offset)))
        return "";
    return (const char *)table->data + offset;
}

static void read_section(const struct pv_view *elf, const uint8_t *at, Elf64_Shdr *header)
{
    Elf32_Shdr narrow;

    if (elf->class64) {
        memcpy(header, at, sizeof(*header));
        return;
    }
    memcpy(&narrow, at, sizeof(narrow));
    header->sh_name = narrow.sh_name;
    header->sh_type = narrow.sh_type;
    header->sh_flags = narrow.sh_flags;
    header->sh_addr = narrow.sh_addr;
    header->sh_offset = narrow.sh_offset;
    header->sh_size = narrow.sh_size;
    header->sh_link = narrow.sh_link;
    header->sh_info = narrow.sh_info;
    header->sh_addralign = narrow.sh_addralign;
    header->sh_entsize = narrow.sh_entsize;
}

static int read_sections(struct pv_view *elf, uint64_t table, uint64_t count, uint64_t names)
{
    size_t size = elf->class64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    uint64_t next_address = OBJECT_BASE, code = 0;
    Elf64_Shdr header;

    if (!inside(elf, table, size))
        return PREVIRT_E_TRUNCATED;
    /* more than 65,279 sections: the numbers stand in section 0 (gABI, "ELF Header") */
    read_section(elf, elf->file + table, &header);
    if (count == 0)
        count = header.sh_size;
    if (names == SHN_XINDEX)
        names = header.sh_link;
    if (count > elf->file_size / size || !inside(elf, table, count * size))
        return PREVIRT_E_TRUNCATED;
    elf->sections = calloc((size_t)count, sizeof(*elf->sections));
    if (!elf->sections)
        return PREVIRT_E_MEMORY;
    elf->section_count = (size_t)count;

    for (size_t i = 1; i < count; i++) {
        struct pv_view_section *section = &elf->sections[i];

        read_section(elf, elf->file + table + i * size, &header);
        section->name = "";
        section->type = header.sh_type;
        section->flags = header.sh_flags;
        section->size = header.sh_size;
        section->link = header.sh_link;
        section->info = header.sh_info;
        section->entry_size = header.sh_entsize;
        section->address = header.sh_addr;
        if (header.sh_type != SHT_NOBITS && header.sh_type != SHT_NULL) {
            if (!inside(elf, header.sh_offset, header.sh_size))
                return PREVIRT_E_TRUNCATED;
            section->data = elf->file + header.sh_offset;
        }
        if (elf->type == ET_REL) {
            section->address = next_address;
            if (section->data)
                next_address =
                    (next_address + section->size + OBJECT_ALIGN) & ~(uint64_t)(OBJECT_ALIGN - 1);
        } else if (section->address + section->size < section->address) {
            return PREVIRT_E_MALFORMED;
        }
        if (pv_view_is_code(section))
            code += section->size;
        /* sections that share their bytes would make a small file a long job */
        if (code > elf->file_size)
            return PREVIRT_E_MALFORMED;
    }
    if (count)
        elf->sections[0].name = "";
    for (size_t i = 1; i < count && names < count; i++) {
        read_section(elf, elf->file + table + i * size, &header);
        elf->sections[i].name = string_at(&elf->sections[names], header.sh_name);
    }
    return PREVIRT_OK;
}

/* Functions first, then objects, then labels; global ones and those that are no marks of the linker
 * script
 * (_stext) first. Lower is better. */
static int rank(const struct pv_view_symbol *symbol)
{
    int by_type = symbol->type == STT_FUNC ? 0 : symbol->type == STT_OBJECT ? 4 : 8;

    return by_type + 2 * !symbol->global + (symbol->name[0] == '_');
}

static int compare_symbols(const void *a, const void *b)
{
    const struct pv_view_symbol *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    if (rank(left) != rank(right))
        return rank(left) - rank(right);
    return strcmp(left->name, right->name);
}

struct raw_symbol {
    uint32_t name;
    uint8_t info;
    uint32_t section;
    uint64_t value, size;
};

static bool read_symbol(const struct pv_view *elf, const struct pv_view_section *table,
                        uint64_t index, struct raw_symbol *out)
{
    if (elf->class64) {
        Elf64_Sym symbol;

        if (!table->data || index >= table->size / sizeof(symbol))
            return false;
        memcpy(&symbol, table->data + index * sizeof(symbol), sizeof(symbol));
        *out = (struct raw_symbol){symbol.st_name, symbol.st_info, symbol.st_shndx, symbol.st_value,
                                   symbol.st_size};
    } else {
        Elf32_Sym symbol;

        if (!table->data || index >= table->size / sizeof(symbol))
            return false;
        memcpy(&symbol, table->data + index * sizeof(symbol), sizeof(symbol));
        *out = (struct raw_symbol){symbol.st_name, symbol.st_info, symbol.st_shndx, symbol.st_value,
                                   symbol.st_size};
    }
    if (out->section == SHN_XINDEX) {
        for (size_t i = 1; i < elf->section_count; i++) {
            const struct pv_view_section *extended = &elf->sections[i];

            if (extended->type == SHT_SYMTAB_SHNDX && extended->data &&
                extended->link < elf->section_count && &elf->sections[extended->link] == table &&
                index < extended->size / sizeof(uint32_t)) {
                memcpy(&out->section, extended->data + index * sizeof(uint32_t), sizeof(uint32_t));
                return true;
            }
        }
        out->section = SHN_UNDEF;
    } else if (out->section >= SHN_LORESERVE) {
        out->section = SHN_UNDEF; /* absolute, common: in no section */
    }
    return true;
}

static int read_symbols(struct pv_view *elf)
{
    const struct pv_view_section *table, *names;
    uint64_t count;

    for (size_t i = 1; i < elf->section_count && !elf->symbol_table; i++)
        if (elf->sections[i].type == SHT_SYMTAB)
            elf->symbol_table = i;
    /* Linux' gate page for IA-64 is stripped, and names its functions in the dynamic ones */
    for (size_t i = 1; i < elf->section_count && !elf->symbol_table; i++)
        if (elf->machine == EM_IA_64 && elf->sections[i].type == SHT_DYNSYM)
            elf->symbol_table = i;
    if (!elf->symbol_table)
        return PREVIRT_OK;
    table = &elf->sections[elf->symbol_table];
    names = table->link < elf->section_count ? &elf->sections[table->link] : NULL;
    count = table->size / (elf->class64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym));
    elf->symbols = calloc((size_t)count + 1, sizeof(*elf->symbols));
    if (!elf->symbols)
        return PREVIRT_E_MEMORY;
    for (uint64_t i = 1; i < count; i++) {
        struct pv_view_symbol *symbol = &elf->symbols[elf->symbol_count];
        const struct pv_view_section *section;
        struct raw_symbol raw;
        unsigned type;

        if (!read_symbol(elf, table, i, &raw) || !raw.section || raw.section >= elf->section_count)
            continue;
        section = &elf->sections[raw.section];
        type = ELF32_ST_TYPE(raw.info);
        if (!pv_view_is_code(section) ||
            (type != STT_NOTYPE && type != STT_FUNC && type != STT_OBJECT && type != STT_GNU_IFUNC))
            continue;
        symbol->name = string_at(names, raw.name);
        if (!symbol->name[0])
            continue;
        symbol->type = (uint8_t)(type == STT_GNU_IFUNC ? STT_FUNC : type);
        symbol->global = ELF32_ST_BIND(raw.info) != STB_LOCAL;
        symbol->section = raw.section;
        symbol->size = raw.size;
        symbol->address = raw.value;
        if (elf->type == ET_REL)
            symbol->address += section->address;
        /* a label at the very end of a section is usual, beyond it is not ours to explain */
        if (symbol->address < section->address ||
            symbol->address - section->address > section->size)
            continue;
        if (symbol->size > section->size - (symbol->address - section->address))
            symbol->size = section->size - (symbol->address - section->address);
        elf->symbol_count++;
    }
    qsort(elf->symbols, elf->symbol_count, sizeof(*elf->symbols), compare_symbols);
    return PREVIRT_OK;
}

int pv_view_open(struct pv_view *elf, const void *file, size_t size)
{
    uint64_t table, count, names, header_size;
    int status;

    memset(elf, 0, sizeof(*elf));
    elf->file = file;
    elf->file_size = size;
    if (size < EI_NIDENT || memcmp(file, ELFMAG, SELFMAG) != 0)
        return PREVIRT_E_NOT_ELF;
    elf->class64 = elf->file[EI_CLASS] == ELFCLASS64;
    if (!elf->class64 && elf->file[EI_CLASS] != ELFCLASS32)
        return PREVIRT_E_NOT_ELF;
    if (size < offsetof(Elf32_Ehdr, e_version))
        return PREVIRT_E_TRUNCATED;
    /* e_type and e_machine stand at the same place in both classes */
    memcpy(&elf->type, elf->file + offsetof(Elf32_Ehdr, e_type), sizeof(elf->type));
    memcpy(&elf->machine, elf->file + offsetof(Elf32_Ehdr, e_machine), sizeof(elf->machine));
    if (elf->file[EI_DATA] == ELFDATA2MSB)
        elf->machine = (uint16_t)(elf->machine >> 8 | elf->machine << 8);
    if (elf->file[EI_DATA] != ELFDATA2LSB ||
        (elf->machine != EM_386 && elf->machine != EM_X86_64 && elf->machine != EM_IA_64) ||
        (elf->machine == EM_IA_64 && !elf->class64))
        return PREVIRT_E_ARCH;
    elf->bits = elf->machine == EM_386 ? 32 : 64;
    if (elf->class64) {
        Elf64_Ehdr header;

        if (size < sizeof(header))
            return PREVIRT_E_TRUNCATED;
        memcpy(&header, file, sizeof(header));
        table = header.e_shoff;
        count = header.e_shnum;
        names = header.e_shstrndx;
        header_size = header.e_shentsize;
    } else {
        Elf32_Ehdr header;

        if (size < sizeof(header))
            return PREVIRT_E_TRUNCATED;
        memcpy(&header, file, sizeof(header));
        table = header.e_shoff;
        count = header.e_shnum;
        names = header.e_shstrndx;
        header_size = header.e_shentsize;
    }
    if (!table) /* no sections: nothing is known about what is code */
        return PREVIRT_E_MALFORMED;
    if (header_size != (elf->class64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr)))
        return PREVIRT_E_MALFORMED;
    status = read_sections(elf, table, count, names);
    if (!status)
        status = read_symbols(elf);
    if (status)
        pv_view_close(elf);
    return status;
}

void pv_view_close(struct pv_view *elf)
{
    free(elf->sections);
    free(elf->symbols);
    elf->sections = NULL;
    elf->symbols = NULL;
    elf->section_count = elf->symbol_count = 0;
}

const struct pv_view_section *pv_view_section_at(const struct pv_view *elf, uint64_t address)
{
    for (size_t i = 1; i < elf->section_count; i++) {
        const struct pv_view_section *section = &elf->sections[i];

        if ((section->flags & SHF_ALLOC) && address >= section->address &&
            address - section->address < section->size && section->data)
            return section;
    }
    return NULL;
}

const struct pv_view_section *pv_view_section_named(const struct pv_view *elf, const char *name)
{
    for (size_t i = 1; i < elf->section_count; i++)
        if (strcmp(elf->sections[i].name, name) == 0)
            return &elf->sections[i];
    return NULL;
}

const struct pv_view_symbol *pv_view_symbol_at(const struct pv_view *elf, uint64_t address)
{
    const size_t look_back = 64; /* labels inside a function before the function's own symbol */
    size_t low = 0, high = elf->symbol_count;
    const struct pv_view_symbol *best = NULL;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (elf->symbols[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    /* low is the first symbol behind (address) */
    for (size_t i = low, steps = 0; i-- > 0 && steps < look_back; steps++) {
        const struct pv_view_symbol *symbol = &elf->symbols[i];

        if (symbol->type == STT_FUNC && address - symbol->address < symbol->size)
            return symbol;
        if (!best || symbol->address == best->address) {
            const struct pv_view_section *section = &elf->sections[symbol->section];

            if (address - section->address < section->size)
                best = symbol;
        }
    }
    return best;
}

/* ---- relocations ---- */

struct relocation {
    uint64_t offset;
    uint32_t type;
    uint64_t symbol;
    int64_t addend;
    bool explicit_addend;
};

static size_t relocation_size(const struct pv_view *elf, const struct pv_view_section *table)
{
    if (table->type == SHT_RELA)
        return elf->class64 ? sizeof(Elf64_Rela) : sizeof(Elf32_Rela);
    return elf->class64 ? sizeof(Elf64_Rel) : sizeof(Elf32_Rel);
}

static struct relocation read_relocation(const struct pv_view *elf,
                                         const struct pv_view_section *table, uint64_t index)
{
    const uint8_t *at = table->data + index * relocation_size(elf, table);
    struct relocation out = {.explicit_addend = table->type == SHT_RELA};

    if (elf->class64) {
        Elf64_Rela wide = {0};

        memcpy(&wide, at, relocation_size(elf, table));
        out.offset = wide.r_offset;
        out.type = (uint32_t)ELF64_R_TYPE(wide.r_info);
        out.symbol = ELF64_R_SYM(wide.r_info);
        out.addend = wide.r_addend;
    } else {
        Elf32_Rela narrow = {0};

        memcpy(&narrow, at, relocation_size(elf, table));
        out.offset = narrow.r_offset;
        out.type = ELF32_R_TYPE(narrow.r_info);
        out.symbol = ELF32_R_SYM(narrow.r_info);
        out.addend = narrow.r_addend;
    }
    return out;
}

static bool relocates(const struct pv_view *elf, const struct pv_view_section *table,
                      const struct pv_view_section *section)
{
    return (table->type == SHT_REL || table->type == SHT_RELA) && table->data &&
           table->info < elf->section_count && &elf->sections[table->info] == section;
}

int pv_view_relocated(const struct pv_view *elf, const struct pv_view_section *section,
                      uint8_t **data)
{
    uint8_t *copy = malloc((size_t)section->size + 1);

    if (!copy)
        return PREVIRT_E_MEMORY;
    if (section->data)
        memcpy(copy, section->data, (size_t)section->size);
    else
        memset(copy, 0, (size_t)section->size);
    *data = copy;
    if (elf->type != ET_REL)
        return PREVIRT_OK;
    for (size_t i = 1; i < elf->section_count; i++) {
        const struct pv_view_section *table = &elf->sections[i];

        if (!relocates(elf, table, section))
            continue;
        for (uint64_t r = 0; r < table->size / relocation_size(elf, table); r++) {
            struct relocation relocation = read_relocation(elf, table, r);
            const struct pv_view_section *symbols =
                table->link < elf->section_count ? &elf->sections[table->link] : NULL;
            uint64_t value = 0;
            struct raw_symbol symbol;
            uint32_t field;
            bool relative;

            if (elf->machine == EM_386) {
                if (relocation.type != R_386_32 && relocation.type != R_386_PC32 &&
                    relocation.type != R_386_PLT32)
                    continue;
                relative = relocation.type != R_386_32;
            } else if (elf->machine == EM_IA_64) {
                /* tables of 32-bit distances */
                if (relocation.type != R_IA64_PCREL32LSB)
                    continue;
                relative = true;
            } else {
                if (relocation.type != R_X86_64_32 && relocation.type != R_X86_64_32S &&
                    relocation.type != R_X86_64_PC32 && relocation.type != R_X86_64_PLT32)
                    continue;
                relative = relocation.type == R_X86_64_PC32 || relocation.type == R_X86_64_PLT32;
            }
            if (section->size < sizeof(field) ||
                relocation.offset > section->size - sizeof(field) || !symbols ||
                !read_symbol(elf, symbols, relocation.symbol, &symbol)) {
                free(copy);
                *data = NULL;
                return PREVIRT_E_MALFORMED;
            }
            if (symbol.section && symbol.section < elf->section_count)
                value = elf->sections[symbol.section].address + symbol.value;
            memcpy(&field, copy + relocation.offset, sizeof(field));
            if (relocation.explicit_addend)
                field = (uint32_t)relocation.addend;
            field += (uint32_t)value;
            if (relative)
                field -= (uint32_t)(section->address + relocation.offset);
            memcpy(copy + relocation.offset, &field, sizeof(field));
        }
    }
    return PREVIRT_OK;
}
