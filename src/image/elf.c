/* SPDX-License-Identifier: BSD-2-Clause */
#include "image/elf.h"

#include <stddef.h>
#include <string.h>

#include "table/table.h"

/* A field of a structure that exists in both classes. */
#define FIELD_SIZE(type, field) sizeof(((type *)0)->field)
#define FIELD(elf, bytes, Type, field)                                                             \
    ((elf)->is64 ? get((bytes) + offsetof(Elf64_##Type, field), FIELD_SIZE(Elf64_##Type, field))   \
                 : get((bytes) + offsetof(Elf32_##Type, field), FIELD_SIZE(Elf32_##Type, field)))
#define PUT_FIELD(elf, bytes, Type, field, value)                                                  \
    ((elf)->is64                                                                                   \
         ? put((bytes) + offsetof(Elf64_##Type, field), FIELD_SIZE(Elf64_##Type, field), (value))  \
         : put((bytes) + offsetof(Elf32_##Type, field), FIELD_SIZE(Elf32_##Type, field), (value)))

static inline uint64_t get(const uint8_t *bytes, size_t size)
{
    switch (size) {
    case 1:
        return bytes[0];
    case 2:
        return pv_get16(bytes);
    case 4:
        return pv_get32(bytes);
    default:
        return pv_get64(bytes);
    }
}

static inline void put(uint8_t *bytes, size_t size, uint64_t value)
{
    switch (size) {
    case 1:
        bytes[0] = (uint8_t)value;
        break;
    case 2:
        pv_put16(bytes, (uint32_t)value);
        break;
    case 4:
        pv_put32(bytes, (uint32_t)value);
        break;
    default:
        pv_put64(bytes, value);
        break;
    }
}

static int is_inside(const struct pv_elf *elf, uint64_t offset, uint64_t size)
{
    return offset <= elf->size && size <= elf->size - offset;
}

void pv_elf_section(const struct pv_elf *elf, uint32_t index, struct pv_section *section)
{
    const uint8_t *header = elf->data + elf->shoff + index * elf->shentsize;

    section->name = (uint32_t)FIELD(elf, header, Shdr, sh_name);
    section->type = (uint32_t)FIELD(elf, header, Shdr, sh_type);
    section->flags = FIELD(elf, header, Shdr, sh_flags);
    section->address = FIELD(elf, header, Shdr, sh_addr);
    section->offset = FIELD(elf, header, Shdr, sh_offset);
    section->size = FIELD(elf, header, Shdr, sh_size);
    section->link = (uint32_t)FIELD(elf, header, Shdr, sh_link);
    section->info = (uint32_t)FIELD(elf, header, Shdr, sh_info);
    section->align = FIELD(elf, header, Shdr, sh_addralign);
    section->entsize = FIELD(elf, header, Shdr, sh_entsize);
}

void pv_elf_put_section(const struct pv_elf *elf, uint8_t *bytes, const struct pv_section *section)
{
    PUT_FIELD(elf, bytes, Shdr, sh_name, section->name);
    PUT_FIELD(elf, bytes, Shdr, sh_type, section->type);
    PUT_FIELD(elf, bytes, Shdr, sh_flags, section->flags);
    PUT_FIELD(elf, bytes, Shdr, sh_addr, section->address);
    PUT_FIELD(elf, bytes, Shdr, sh_offset, section->offset);
    PUT_FIELD(elf, bytes, Shdr, sh_size, section->size);
    PUT_FIELD(elf, bytes, Shdr, sh_link, section->link);
    PUT_FIELD(elf, bytes, Shdr, sh_info, section->info);
    PUT_FIELD(elf, bytes, Shdr, sh_addralign, section->align);
    PUT_FIELD(elf, bytes, Shdr, sh_entsize, section->entsize);
}

void pv_elf_segment(const struct pv_elf *elf, uint32_t index, struct pv_segment *segment)
{
    const uint8_t *header = elf->data + elf->phoff + index * elf->phentsize;

    segment->type = (uint32_t)FIELD(elf, header, Phdr, p_type);
    segment->flags = (uint32_t)FIELD(elf, header, Phdr, p_flags);
    segment->offset = FIELD(elf, header, Phdr, p_offset);
    segment->address = FIELD(elf, header, Phdr, p_vaddr);
    segment->filesz = FIELD(elf, header, Phdr, p_filesz);
    segment->memsz = FIELD(elf, header, Phdr, p_memsz);
}

size_t pv_elf_sh_offset_field(const struct pv_elf *elf, uint32_t index)
{
    return (size_t)elf->shoff + index * elf->shentsize +
           (elf->is64 ? offsetof(Elf64_Shdr, sh_offset) : offsetof(Elf32_Shdr, sh_offset));
}

size_t pv_elf_sh_size_field(const struct pv_elf *elf, uint32_t index)
{
    return (size_t)elf->shoff + index * elf->shentsize +
           (elf->is64 ? offsetof(Elf64_Shdr, sh_size) : offsetof(Elf32_Shdr, sh_size));
}

size_t pv_elf_put_word(const struct pv_elf *elf, uint8_t *bytes, uint64_t value)
{
    size_t size = elf->is64 ? sizeof(uint64_t) : sizeof(uint32_t);

    put(bytes, size, value);
    return size;
}

const uint8_t *pv_elf_data(const struct pv_elf *elf, const struct pv_section *section)
{
    if (section->type == SHT_NOBITS || section->type == SHT_NULL ||
        !is_inside(elf, section->offset, section->size))
        return NULL;
    return elf->data + section->offset;
}

const char *pv_elf_string(const char *names, size_t size, uint32_t offset)
{
    if (!names || offset >= size || !memchr(names + offset, 0, size - offset))
        return NULL;
    return names + offset;
}

const char *pv_elf_name(const struct pv_elf *elf, const struct pv_section *section)
{
    const char *name = pv_elf_string(elf->names, elf->names_size, section->name);

    return name ? name : "";
}

/* gABI: what does not fit the header's 16 bits is in section 0. */
static int read_extended(struct pv_elf *elf, const uint8_t *header)
{
    struct pv_section zero;

    elf->shnum = (uint32_t)FIELD(elf, header, Ehdr, e_shnum);
    elf->shstrndx = (uint32_t)FIELD(elf, header, Ehdr, e_shstrndx);
    elf->phnum = (uint32_t)FIELD(elf, header, Ehdr, e_phnum);
    if (!elf->shoff) {
        elf->shnum = 0;
        return PREVIRT_OK;
    }
    if (FIELD(elf, header, Ehdr, e_shentsize) != elf->shentsize)
        return PREVIRT_E_MALFORMED;
    if (!is_inside(elf, elf->shoff, elf->shentsize))
        return PREVIRT_E_TRUNCATED;
    pv_elf_section(elf, 0, &zero);
    if (!elf->shnum) {
        if (zero.size > UINT32_MAX)
            return PREVIRT_E_MALFORMED;
        elf->shnum = (uint32_t)zero.size;
    }
    if (elf->shstrndx == SHN_XINDEX)
        elf->shstrndx = zero.link;
    if (elf->phnum == PN_XNUM)
        elf->phnum = zero.info;
    return PREVIRT_OK;
}

int pv_elf_open(struct pv_elf *elf, const void *data, size_t size)
{
    struct pv_section names;
    const uint8_t *header = data;
    int status;

    memset(elf, 0, sizeof(*elf));
    elf->data = data;
    elf->size = size;
    if (size < EI_NIDENT || memcmp(header, ELFMAG, SELFMAG) != 0 ||
        header[EI_DATA] != ELFDATA2LSB ||
        (header[EI_CLASS] != ELFCLASS32 && header[EI_CLASS] != ELFCLASS64))
        return PREVIRT_E_NOT_ELF;
    elf->is64 = header[EI_CLASS] == ELFCLASS64;
    if (size < (elf->is64 ? sizeof(Elf64_Ehdr) : sizeof(Elf32_Ehdr)))
        return PREVIRT_E_TRUNCATED;
    elf->shentsize = elf->is64 ? sizeof(Elf64_Shdr) : sizeof(Elf32_Shdr);
    elf->phentsize = elf->is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr);
    elf->symsize = elf->is64 ? sizeof(Elf64_Sym) : sizeof(Elf32_Sym);
    elf->type = (uint16_t)FIELD(elf, header, Ehdr, e_type);
    elf->machine = (uint16_t)FIELD(elf, header, Ehdr, e_machine);
    elf->entry = FIELD(elf, header, Ehdr, e_entry);
    elf->shoff = FIELD(elf, header, Ehdr, e_shoff);
    elf->phoff = FIELD(elf, header, Ehdr, e_phoff);
    if (FIELD(elf, header, Ehdr, e_version) != EV_CURRENT)
        return PREVIRT_E_NOT_ELF;

    status = read_extended(elf, header);
    if (status < 0)
        return status;
    if (!is_inside(elf, elf->shoff, (uint64_t)elf->shnum * elf->shentsize))
        return PREVIRT_E_TRUNCATED;
    if (!elf->phoff)
        elf->phnum = 0;
    if (elf->phnum && FIELD(elf, header, Ehdr, e_phentsize) != elf->phentsize)
        return PREVIRT_E_MALFORMED;
    if (!is_inside(elf, elf->phoff, (uint64_t)elf->phnum * elf->phentsize))
        return PREVIRT_E_TRUNCATED;

    if (!elf->shnum || elf->shstrndx == SHN_UNDEF)
        return PREVIRT_OK;
    if (elf->shstrndx >= elf->shnum)
        return PREVIRT_E_MALFORMED;
    pv_elf_section(elf, elf->shstrndx, &names);
    elf->names = (const char *)pv_elf_data(elf, &names);
    if (!elf->names)
        return PREVIRT_E_MALFORMED;
    elf->names_size = (size_t)names.size;
    return PREVIRT_OK;
}

int pv_elf_symbols(const struct pv_elf *elf, uint32_t index, struct pv_symbols *symbols)
{
    struct pv_section section, strings;

    memset(symbols, 0, sizeof(*symbols));
    if (index >= elf->shnum)
        return PREVIRT_E_MALFORMED;
    pv_elf_section(elf, index, &section);
    symbols->data = pv_elf_data(elf, &section);
    if ((section.type != SHT_SYMTAB && section.type != SHT_DYNSYM) || !symbols->data)
        return PREVIRT_E_MALFORMED;
    symbols->count = (size_t)section.size / elf->symsize;
    if (section.link < elf->shnum) {
        pv_elf_section(elf, section.link, &strings);
        symbols->names = (const char *)pv_elf_data(elf, &strings);
        symbols->names_size = symbols->names ? (size_t)strings.size : 0;
    }
    if (elf->shnum < SHN_LORESERVE)
        return PREVIRT_OK;
    for (uint32_t i = 1; i < elf->shnum; i++) {
        pv_elf_section(elf, i, &section);
        if (section.type != SHT_SYMTAB_SHNDX || section.link != index)
            continue;
        symbols->xindex = pv_elf_data(elf, &section);
        symbols->xindex_count = symbols->xindex ? (size_t)section.size / sizeof(uint32_t) : 0;
        break;
    }
    return PREVIRT_OK;
}

int pv_elf_symbol(const struct pv_elf *elf, const struct pv_symbols *symbols, uint32_t index,
                  struct pv_symbol *symbol)
{
    const uint8_t *bytes;

    if (index >= symbols->count)
        return PREVIRT_E_MALFORMED;
    bytes = symbols->data + index * elf->symsize;
    symbol->name = (uint32_t)FIELD(elf, bytes, Sym, st_name);
    symbol->value = FIELD(elf, bytes, Sym, st_value);
    symbol->size = FIELD(elf, bytes, Sym, st_size);
    symbol->type = ELF32_ST_TYPE(FIELD(elf, bytes, Sym, st_info));
    symbol->section = (uint32_t)FIELD(elf, bytes, Sym, st_shndx);
    if (symbol->section == SHN_XINDEX) {
        if (index >= symbols->xindex_count)
            return PREVIRT_E_MALFORMED;
        symbol->section = pv_get32(symbols->xindex + index * sizeof(uint32_t));
    } else if (symbol->section >= SHN_LORESERVE) {
        symbol->section = SHN_UNDEF;
    }
    if (symbol->section >= elf->shnum)
        symbol->section = SHN_UNDEF;
    return PREVIRT_OK;
}

size_t pv_elf_reloc_size(const struct pv_elf *elf, uint32_t type)
{
    if (type == SHT_REL)
        return elf->is64 ? sizeof(Elf64_Rel) : sizeof(Elf32_Rel);
    return elf->is64 ? sizeof(Elf64_Rela) : sizeof(Elf32_Rela);
}

void pv_elf_reloc(const struct pv_elf *elf, uint32_t type, const uint8_t *data, size_t index,
                  struct pv_reloc *reloc)
{
    const uint8_t *bytes = data + index * pv_elf_reloc_size(elf, type);

    reloc->offset = FIELD(elf, bytes, Rela, r_offset);
    reloc->info = FIELD(elf, bytes, Rela, r_info);
    reloc->addend = 0;
    if (elf->is64) {
        reloc->symbol = ELF64_R_SYM(reloc->info);
        reloc->type = ELF64_R_TYPE(reloc->info);
        if (type == SHT_RELA)
            reloc->addend = (int64_t)FIELD(elf, bytes, Rela, r_addend);
    } else {
        reloc->symbol = ELF32_R_SYM(reloc->info);
        reloc->type = ELF32_R_TYPE(reloc->info);
        if (type == SHT_RELA)
            reloc->addend = (int32_t)FIELD(elf, bytes, Rela, r_addend);
    }
}

void pv_elf_put_reloc(const struct pv_elf *elf, uint32_t type, uint8_t *data,
                      const struct pv_reloc *reloc)
{
    PUT_FIELD(elf, data, Rela, r_offset, reloc->offset);
    PUT_FIELD(elf, data, Rela, r_info, reloc->info);
    if (type == SHT_RELA)
        PUT_FIELD(elf, data, Rela, r_addend, (uint64_t)reloc->addend);
}
