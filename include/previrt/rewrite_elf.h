/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rewriting an ELF executable offline: the plan of previrt/rewrite.h applied to a file in memory.
 * Host only.
 */
#ifndef PREVIRT_REWRITE_ELF_H
#define PREVIRT_REWRITE_ELF_H

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

#ifdef __cplusplus
}
#endif

#endif
