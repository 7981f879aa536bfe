/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Scan: which sensitive operations are in an ELF executable, object, module or archive of objects
 * (x86, 32 and 64 bit; IA-64). It tells code from data as the audit does (docs/audit.md) and needs
 * no patch-up table. Host only.
 */
#ifndef PREVIRT_SCAN_H
#define PREVIRT_SCAN_H

#include <previrt/ia32.h>
#include <previrt/ia64.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One sensitive instruction. Strings live as long as the call that hands them out. */
struct previrt_scan_site {
    const char *section;
    const char *symbol; /* function or label that it is in, NULL: none known */
    uint64_t address;   /* linked file: address; object: offset in the section */
    uint64_t symbol_offset;
    const uint8_t *bytes; /* (length) of them, in an object with its own relocations applied */
    uint8_t length;
    uint8_t op;            /* enum previrt_ia32_op, never a fused one; enum previrt_ia64_op */
    uint8_t overlapping;   /* 1: inside another instruction, where a branch leads */
    uint8_t slot;          /* IA-64: in the bundle at (address), which (bytes) points to */
    uint8_t arch;          /* enum previrt_arch: what (op) is */
    const char *container; /* code of an image that is kept in data: the section that holds it */
};

#define PREVIRT_SCAN_OPS 128

/* What was found in one file or archive member, or in all of an archive. */
struct previrt_scan_result {
    uint32_t size; /* sizeof(struct previrt_scan_result), set by the caller */
    uint16_t
        machine;   /* e_machine of the ELF header, of the last object; also after PREVIRT_E_ARCH */
    uint16_t bits; /* of the code that was scanned last: 16, 32 or 64 */
    uint32_t objects; /* ELF files scanned */
    uint32_t skipped; /* archive members that are no ELF files */
    uint64_t sites;
    uint64_t instructions;
    uint64_t code_bytes;
    uint64_t data_bytes;                    /* in executable sections */
    uint64_t filler_bytes;                  /* zeros between functions */
    uint64_t undecided_bytes;               /* could be either */
    uint32_t counts[PREVIRT_SCAN_OPS];      /* by operation, of IA32 and x86-64 objects */
    uint32_t ia64_counts[PREVIRT_SCAN_OPS]; /* and of IA-64 objects */
};

/* Called for each site, in address order within an object; non-zero stops the scan, which returns
 * that value. */
typedef int (*previrt_scan_fn)(void *context, const struct previrt_scan_site *site);

/* Called before the sites of each object: (member) is its name in the archive, NULL for a file by
 * itself. */
typedef int (*previrt_scan_object_fn)(void *context, const char *member);

struct previrt_scan_options {
    uint32_t size; /* sizeof(struct previrt_scan_options), set by the caller */
    uint32_t bits; /* 0: what the ELF header says; 16: the objects hold 16-bit code; 32, 64 */
    previrt_scan_object_fn object; /* or NULL */
    previrt_scan_fn site;          /* or NULL */
    void *context;
};

/*
 * Scans an ELF file or an ar archive in memory; (options) may be NULL. PREVIRT_OK, E_NOT_ELF,
 * E_ARCH, E_TRUNCATED, E_MALFORMED, E_MEMORY, E_INVALID, or what a callback returned. A thin
 * archive (its members are other files) gives PREVIRT_E_STATE: it needs previrt_scan_file().
 */
PREVIRT_API int previrt_scan_mem(const void *file, size_t size,
                                 const struct previrt_scan_options *options,
                                 struct previrt_scan_result *result);

/* The same for a file, thin archives too: members are looked for beside it. Also PREVIRT_E_IO. */
PREVIRT_API int previrt_scan_file(const char *path, const struct previrt_scan_options *options,
                                  struct previrt_scan_result *result);

#ifdef __cplusplus
}
#endif

#endif
