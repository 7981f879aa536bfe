/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rewriting an ELF executable offline: the plan of previrt/rewrite.h applied to a file in memory.
 * Host only.
 */
#ifndef PREVIRT_REWRITE_ELF_H
#define PREVIRT_REWRITE_ELF_H

#include <previrt/ia64.h>
#include <previrt/rewrite.h>

#ifdef __cplusplus
extern "C" {
#endif

/* What to do. Set (size), the rest 0, then fill in. */
struct previrt_elf_options {
    uint32_t size;  /* sizeof(struct previrt_elf_options) of the caller */
    uint32_t place; /* PREVIRT_PLACE_*: which addresses are given */
    const struct previrt_target
        *target;           /* its stub area, stub memory and vCPU address are ignored */
    uint64_t stub_address; /* with PREVIRT_PLACE_STUBS: where the stubs go */
    uint64_t stub_limit;   /* bytes that the stubs may take; 0: PREVIRT_STUB_LIMIT */
    uint64_t vcpu_address; /* with PREVIRT_PLACE_VCPU: where the VMM will put the vCPU
                              page; the file then has none */
    uint32_t needs_vcpu;   /* the target uses a vCPU page: without PREVIRT_PLACE_VCPU one is
                              put in front of the stubs */
};

enum previrt_elf_place { PREVIRT_PLACE_STUBS = 1 << 0, PREVIRT_PLACE_VCPU = 1 << 1 };

/*
 * Where stubs go by default: where an image is linked and loaded at different addresses (Linux), at
 * physical address PREVIRT_STUB_PHYSICAL seen through the same offset: below 640 KB, which a PC's
 * firmware leaves free, which the kernel's first page tables map and which it does not give away.
 * Otherwise on the first page behind the image.
 */
#define PREVIRT_STUB_PHYSICAL 0x20000u
#define PREVIRT_STUB_LIMIT    0x60000u

#define PREVIRT_STUB_SECTION ".previrt.stubs"

/* What came of it. Set (size). */
struct previrt_elf_report {
    uint32_t size;
    uint32_t refusal_count;
    struct previrt_refusal *refusals; /* malloc()ed; the caller frees it; NULL if there are none */
    struct previrt_plan_stats stats;
    uint64_t table_address; /* of the notes */
    uint64_t table_size;
    uint64_t table_offset; /* where in them a malformed record stands */
    uint64_t load_offset;  /* link address minus load (physical) address */
    uint64_t stub_address;
    uint64_t vcpu_address;                                    /* 0: none */
    uint64_t segment_address, segment_physical, segment_size; /* the added PT_LOAD */
    const char *what; /* after an error: what is wrong with the file, or NULL; static */
};

/*
 * Rewrites the 32-bit x86 executable at (elf), (size) bytes. (*out) receives a malloc()ed file of
 * (*out_size) bytes with the sites rewritten and a segment (and section) added for the stubs; the
 * caller frees it. The patch-up table stays as it is: it describes the original.
 *
 * PREVIRT_OK; PREVIRT_E_REFUSED (no output, (report) lists the sites); PREVIRT_E_NOT_ELF, E_ARCH,
 * E_NO_TABLE, E_MALFORMED, E_TRUNCATED, E_DIGEST, E_UNFINISHED, E_VERSION; PREVIRT_E_OVERLAP: the
 * segment does not fit beside the image at that address; PREVIRT_E_REACH: beyond 4 GiB;
 * PREVIRT_E_MEMORY, E_INVALID.
 */
PREVIRT_API int previrt_rewrite_elf_mem(const void *elf, size_t size,
                                        const struct previrt_elf_options *options, void **out,
                                        size_t *out_size, struct previrt_elf_report *report);

/* ---- IA-64 ---- */

/* The symbol of the room for stubs that an annotated kernel has (annotate_object's stub_room). */
#define PREVIRT_IA64_STUB_SYMBOL "__previrt_stubs"

struct previrt_ia64_elf_options {
    uint32_t size;  /* sizeof(struct previrt_ia64_elf_options) of the caller */
    uint32_t place; /* PREVIRT_PLACE_STUBS: (stub_address) is given */
    const struct previrt_ia64_target *target; /* its stub area is ignored */
    uint64_t stub_address;
    uint64_t stub_limit; /* bytes that the stubs may take; 0: the room, or PREVIRT_STUB_LIMIT */
    /* 1: a bundle that nothing but Linux' exception table (__ex_table) names is moved like any
     * other, and the table told, which the kernel sorts when it starts. For targets whose stubs
     * perform the original operations. */
    uint32_t tell_exceptions;
    uint32_t reserved;
};

/* A site that was refused, or left as it is. */
struct previrt_ia64_elf_refusal {
    uint64_t address;
    int32_t status;
    uint8_t slot, op, reason; /* enum previrt_ia64_op, previrt_ia64_reason */
    uint8_t reserved;
};

struct previrt_ia64_elf_op {
    uint32_t stubbed, broken, kept, left, refused;
};

struct previrt_ia64_elf_report {
    uint32_t size;
    uint32_t refusal_count;
    struct previrt_ia64_elf_refusal *refusals; /* malloc()ed; the caller frees it */
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_elf_op op[PREVIRT_IA64_OP_LIMIT]; /* in all, by operation */
    uint64_t stub_address, stub_physical, stub_room;      /* stub_room: what there was for them */
    uint32_t exceptions; /* words of Linux' exception table that name a stub now */
    uint32_t images;     /* kept in data, and rewritten with the rest */
    uint32_t reserved;   /* 1: the stubs are in room that the image itself owns */
    const char *what;    /* after an error: what is wrong with the file, or NULL; static */
};

/*
 * Rewrites the IA-64 executable at (elf), (size) bytes, and the images that are kept in its data
 * (Linux' gate page), for a target. (*out) receives a malloc()ed file of (*out_size) bytes.
 *
 * Where the stubs go: where the options say; or into the room that the image reserves for them in
 * its .bss (PREVIRT_IA64_STUB_SYMBOL), so that they are mapped and loaded with it, at one distance
 * from the code whether addresses are translated or not, and nobody gives their memory away; or on
 * the first 64 KiB behind the image, which is right only if whoever runs it says so. The part of
 * .bss becomes a segment of its own.
 *
 * PREVIRT_OK; PREVIRT_E_REFUSED (no output, (report) lists the sites); PREVIRT_E_NOT_ELF, E_ARCH,
 * E_NO_TABLE, E_MALFORMED, E_TRUNCATED, E_DIGEST, E_UNFINISHED, E_VERSION; E_STATE: rewritten
 * before; E_OVERLAP: the stubs overlap what is loaded; E_STUBS: they do not fit; E_MEMORY,
 * E_INVALID.
 */
PREVIRT_API int previrt_ia64_rewrite_elf_mem(const void *elf, size_t size,
                                             const struct previrt_ia64_elf_options *options,
                                             void **out, size_t *out_size,
                                             struct previrt_ia64_elf_report *report);

#ifdef __cplusplus
}
#endif

#endif
