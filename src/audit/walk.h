/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walks every executable section of a file and finds its sensitive operations, telling code from
 * data. What it could not decide it says. docs/audit.md explains the method.
 */
#ifndef PREVIRT_AUDIT_WALK_H
#define PREVIRT_AUDIT_WALK_H

#include "audit/elf_view.h"
#include "ia32/decoder.h"

/* One sensitive instruction. */
struct pv_found {
    uint64_t address; /* IA-64: of its bundle */
    uint32_t code;    /* index in pv_walk.codes */
    uint8_t op, length;
    uint8_t slot;     /* IA-64 */
    bool overlapping; /* inside another instruction, where some branch leads */
};

enum pv_undecided_reason { PV_NOT_CODE = 1, PV_OUT_OF_SYNC };

/* Bytes of which nobody knows whether they are code. */
struct pv_undecided {
    uint64_t address, size;
    uint32_t code;
    uint8_t reason; /* enum pv_undecided_reason */
    uint8_t op;     /* a sensitive operation that could hide here, or PREVIRT_IA32_NO_OP */
};

/* One entry of .altinstructions. */
struct pv_alternative {
    uint64_t original, replacement;
    uint32_t original_size, replacement_size;
    uint16_t feature; /* Linux' word * 32 + bit */
    bool inverted;    /* applied where the feature is not there */
};

struct pv_code {
    const struct pv_view_section *section;
    const struct pv_view *view; /* that has the section */
    const char
        *container;       /* of an image that is kept in data: the section that holds it, or NULL */
    const uint8_t *bytes; /* relocated */
    uint8_t *copy;        /* to be freed, or NULL */
    uint8_t *marks;       /* one a byte, in walk.c */
    bool labelled;        /* it has symbols to resynchronise at */
};

/* An image that is kept in the data of another: Linux' gate page. */
struct pv_embedded {
    struct pv_view view;
    const char *container;
};

struct pv_walk {
    const struct pv_view *elf;
    struct pv_embedded *embedded;
    size_t embedded_count;
    uint64_t *pinned; /* IA-64: bundles that tables of the image name, sorted */
    size_t pinned_count, pinned_capacity;
    struct pv_ia32_decoder decoder;
    struct pv_code *codes; /* sorted by address */
    size_t code_count;
    struct pv_found *sites; /* sorted by address */
    size_t site_count, site_capacity;
    struct pv_undecided *undecided; /* sorted by address */
    size_t undecided_count, undecided_capacity;
    struct pv_alternative *alternatives;
    size_t alternative_count;
    size_t exception_count,
        bug_count;         /* entries of __ex_table and __bug_table that were understood */
    bool odd_alternatives; /* .altinstructions has a shape that is not known */
    uint64_t instructions, code_bytes, data_bytes, filler_bytes, undecided_bytes;
};

/* Walks (elf) as (bits)-bit code, 0: as its machine says. PREVIRT_OK, E_MEMORY, E_MALFORMED,
 * E_INVALID. */
int pv_walk_run(struct pv_walk *walk, const struct pv_view *elf, unsigned bits);
void pv_walk_free(struct pv_walk *walk);

/* walk_ia64.c: the same for IA-64 code. Bundles need no sweep: each is decoded. */
int pv_walk_ia64(struct pv_walk *walk);

/* IA-64: whether something in the image names an instruction of the bundle at (address). */
bool pv_walk_is_pinned(const struct pv_walk *walk, uint64_t address);

/* The code section that holds (address), or NULL. */
const struct pv_code *pv_walk_code_at(const struct pv_walk *walk, uint64_t address);

/* kernel_tables.c: reads Linux' tables; hint(walk, address) is called for each address that must be
 * code. */
int pv_walk_read_tables(struct pv_walk *walk, void (*hint)(struct pv_walk *, uint64_t));

#endif
