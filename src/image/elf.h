/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A reader of ELF files that trusts nothing: every offset and size is checked against the file
 * here, once, so that the rest can use what it returns. ELF32 and ELF64 look the same from outside.
 * The names are those of the System V ABI (gABI), chapter 4.
 */
#ifndef PREVIRT_SRC_IMAGE_ELF_H
#define PREVIRT_SRC_IMAGE_ELF_H

#include <elf.h>

#include <previrt/status.h>

struct pv_elf {
    const uint8_t *data;
    size_t size;
    uint64_t entry;
    uint64_t shoff;
    uint64_t phoff;
    uint32_t shnum;
    uint32_t shstrndx;
    uint32_t phnum;
    uint16_t type;
    uint16_t machine;
    uint8_t is64;
    size_t shentsize;
    size_t phentsize;
    size_t symsize;
    const char *names; /* of sections */
    size_t names_size;
};

struct pv_section {
    uint64_t flags, address, offset, size, align, entsize;
    uint32_t name, type, link, info;
};

struct pv_segment {
    uint64_t offset, address, filesz, memsz;
    uint32_t type, flags;
};

struct pv_symbol {
    uint64_t value, size;
    uint32_t name;
    uint32_t section; /* SHN_XINDEX resolved; SHN_UNDEF for everything that is in no section */
    uint8_t type;     /* STT_* */
};

struct pv_reloc {
    uint64_t offset, info;
    int64_t addend; /* RELA */
    uint32_t symbol, type;
};

/* The symbols that a relocation section, or the whole file, uses. */
struct pv_symbols {
    const uint8_t *data;
    size_t count;
    const uint8_t *xindex; /* SHT_SYMTAB_SHNDX, or NULL */
    size_t xindex_count;
    const char *names;
    size_t names_size;
};

/* E_NOT_ELF, E_TRUNCATED, E_MALFORMED. (data) is borrowed. */
int pv_elf_open(struct pv_elf *elf, const void *data, size_t size);

/* Section (index), which must be below elf->shnum. Nothing in it is checked yet. */
void pv_elf_section(const struct pv_elf *elf, uint32_t index, struct pv_section *section);
void pv_elf_segment(const struct pv_elf *elf, uint32_t index, struct pv_segment *segment);

/* The bytes of a section: NULL if it has none in the file, or lies outside it. */
const uint8_t *pv_elf_data(const struct pv_elf *elf, const struct pv_section *section);

/* Its name, "" if that is bad. */
const char *pv_elf_name(const struct pv_elf *elf, const struct pv_section *section);

/* A string of (names), NULL if it does not end inside. */
const char *pv_elf_string(const char *names, size_t size, uint32_t offset);

/* The symbol table in section (index), with its strings and extended indexes. E_MALFORMED. */
int pv_elf_symbols(const struct pv_elf *elf, uint32_t index, struct pv_symbols *symbols);
int pv_elf_symbol(const struct pv_elf *elf, const struct pv_symbols *symbols, uint32_t index,
                  struct pv_symbol *symbol);

/* Relocations: the size of one entry of (type), SHT_REL or SHT_RELA, and entry (index). */
size_t pv_elf_reloc_size(const struct pv_elf *elf, uint32_t type);
void pv_elf_reloc(const struct pv_elf *elf, uint32_t type, const uint8_t *data, size_t index,
                  struct pv_reloc *reloc);
void pv_elf_put_reloc(const struct pv_elf *elf, uint32_t type, uint8_t *data,
                      const struct pv_reloc *reloc);

/* File offsets of a section header's sh_offset and sh_size fields. */
size_t pv_elf_sh_offset_field(const struct pv_elf *elf, uint32_t index);
size_t pv_elf_sh_size_field(const struct pv_elf *elf, uint32_t index);

/* Writes a number of the class' size, 4 or 8 bytes; returns its size. */
size_t pv_elf_put_word(const struct pv_elf *elf, uint8_t *bytes, uint64_t value);

/* Writes a section header. */
void pv_elf_put_section(const struct pv_elf *elf, uint8_t *bytes, const struct pv_section *section);

#endif
