/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A read-only view of an ELF file in memory, for scan and audit: sections, symbols of executable
 * sections, relocations of the sections that they read.
 *
 * It stands alone, so that the audit shares no ELF code with what it audits. Every byte of the file
 * may be hostile: nothing is read before it was checked to be inside. x86 and IA-64 files, which
 * are little-endian.
 */
#ifndef PREVIRT_AUDIT_ELF_VIEW_H
#define PREVIRT_AUDIT_ELF_VIEW_H

#include <stdbool.h>

#include <previrt/status.h>

struct pv_view_section {
    const char *name;    /* "" if it has none */
    const uint8_t *data; /* NULL: not in the file (SHT_NOBITS) */
    uint64_t
        address; /* sh_addr; in an ET_REL file a made-up one, so that no two sections overlap */
    uint64_t size;
    uint64_t flags;
    uint32_t type;
    uint32_t link, info;
    uint64_t entry_size;
};

struct pv_view_symbol {
    const char *name;
    uint64_t address; /* in the address space of pv_view_section */
    uint64_t size;
    uint32_t section;
    uint8_t type; /* STT_* */
    bool global;
};

struct pv_view {
    const uint8_t *file;
    size_t file_size;
    uint16_t machine;
    uint16_t type;
    unsigned bits; /* of the code: 32 or 64 */
    bool class64;
    struct pv_view_section *sections;
    size_t section_count;
    struct pv_view_symbol
        *symbols; /* of executable sections, sorted by address, the best name first */
    size_t symbol_count;
    size_t symbol_table; /* index of the SHT_SYMTAB section (IA-64: or SHT_DYNSYM), 0: stripped */
};

/*
 * Opens the file at (file), which must stay. PREVIRT_OK, E_NOT_ELF, E_ARCH (elf->machine is set:
 * another machine), E_MALFORMED, E_TRUNCATED, E_MEMORY. pv_view_close() after success only.
 */
int pv_view_open(struct pv_view *elf, const void *file, size_t size);
void pv_view_close(struct pv_view *elf);

/* Whether (section) holds code that is in the file. */
bool pv_view_is_code(const struct pv_view_section *section);

/* The section that holds (address), allocated ones only; NULL: none. */
const struct pv_view_section *pv_view_section_at(const struct pv_view *elf, uint64_t address);

/* The first section called (name), NULL: none. */
const struct pv_view_section *pv_view_section_named(const struct pv_view *elf, const char *name);

/* The symbol that (address) is said to be in: the function around it, or the closest label before
 * it; or NULL. */
const struct pv_view_symbol *pv_view_symbol_at(const struct pv_view *elf, uint64_t address);

/*
 * The bytes of (section) with the 32-bit relocations of an object file applied (an image's as they
 * are). To be freed. PREVIRT_OK, E_MEMORY, E_MALFORMED.
 */
int pv_view_relocated(const struct pv_view *elf, const struct pv_view_section *section,
                      uint8_t **data);

#endif
