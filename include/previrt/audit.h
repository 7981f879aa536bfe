/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Audit: proves that each sensitive operation of an image is in its patch-up table, or says which
 * are not.
 *
 * It disassembles every executable section by itself, shares neither ELF reader nor decoder with
 * the annotator, and compares what it finds with the table, in both directions. docs/audit.md is
 * the method and its limits. Host only.
 */
#ifndef PREVIRT_AUDIT_H
#define PREVIRT_AUDIT_H

#include <previrt/ia32.h>
#include <previrt/ia64.h>
#include <previrt/table.h>

#ifdef __cplusplus
extern "C" {
#endif

enum previrt_verdict {
    PREVIRT_ANNOTATED = 1, /* a record has its address, operation, form and length */
    PREVIRT_EXCLUDED,      /* a rule says why not */
    PREVIRT_DORMANT, /* in a replacement that is used only with a CPU feature that can be hidden */
    PREVIRT_MISSED,
    PREVIRT_VERDICT_LIMIT
};

/* Why a site is missed. */
enum previrt_missed_reason {
    PREVIRT_MISSED_NO_RECORD = 1,
    PREVIRT_MISSED_OTHER_RECORD,   /* a record has its address and says something else */
    PREVIRT_MISSED_NO_ALTERNATIVE, /* in a section of replacements, and no alternative names it */
    PREVIRT_MISSED_ALWAYS /* its alternative applies always, or where a feature is absent */
};

/* One sensitive instruction. Strings and bytes live as long as the audit. */
struct previrt_audit_site {
    const char *section;
    const char *symbol; /* or NULL */
    const char *rule;   /* excluded (or dormant by a rule): the rule's name, else NULL */
    const char *reason; /* the rule's reason, else NULL */
    const uint8_t *bytes;
    uint64_t address; /* linked file: address; object: offset in the section */
    uint64_t symbol_offset;
    uint16_t feature;        /* dormant: Linux' number, word * 32 + bit */
    uint16_t overwritten_by; /* feature of an alternative that may replace this instruction; 0xffff:
                                none */
    uint8_t length;          /* of the instruction */
    uint8_t op;              /* enum previrt_ia32_op, never a fused one; enum previrt_ia64_op */
    uint8_t verdict;         /* enum previrt_verdict */
    uint8_t missed;          /* enum previrt_missed_reason, or 0 */
    uint8_t form;            /* of the record; 0: none */
    uint8_t room;            /* of the record: length and pad */
    uint8_t wanted;          /* the catalogue's room for the recorded operation */
    uint8_t fused;           /* 1: first, 2: second instruction of a fused site, else 0 */
    uint8_t overlapping;     /* 1: inside another instruction, where a branch leads */
    uint8_t recorded;        /* dormant: 1 if a dormant record names it */
    uint8_t slot;            /* IA-64: in the bundle at (address), which (bytes) points to */
    uint8_t pinned;          /* IA-64: 1 if the record says so */
    const char *container;   /* code of an image that is kept in data: the section that holds it */
};

/* Why a record is wrong. */
enum previrt_stray_reason {
    PREVIRT_STRAY_NO_CODE = 1,   /* its address is in no executable section */
    PREVIRT_STRAY_NOT_SENSITIVE, /* no sensitive operation begins there */
    PREVIRT_STRAY_OTHER,         /* another operation, form or length than recorded */
    PREVIRT_STRAY_OVERLAP,       /* it overlaps the record before it */
    PREVIRT_STRAY_ARCHITECTURE,
    PREVIRT_STRAY_NOT_PINNED /* IA-64: a table of the image names the bundle, the record does not
                                say so */
};

/* A record without its operation. */
struct previrt_audit_stray {
    const char *section; /* or NULL */
    const char *symbol;  /* or NULL */
    uint64_t address;
    uint64_t symbol_offset;
    struct previrt_site record; /* its address is (address) too */
    int status;                 /* PREVIRT_STRAY_OTHER: what previrt_ia32_match_site() said */
    uint8_t why;                /* enum previrt_stray_reason */
    uint8_t found;              /* operation that is there, or PREVIRT_IA32_NO_OP */
};

/* Bytes of which the audit could not tell whether they are code. */
struct previrt_audit_undecided {
    const char *section;
    const char *symbol; /* or NULL */
    uint64_t address;
    uint64_t symbol_offset;
    uint64_t length;
    uint8_t out_of_sync; /* 1: an instruction reached over an entry point; 0: not decodable */
    uint8_t op; /* a sensitive operation that could hide there; PREVIRT_IA32_NO_OP: none can */
};

/* Room for either architecture's operations. */
#define PREVIRT_AUDIT_OPS 128

/* All of it, read-only; previrt_audit_free() frees it. */
struct previrt_audit {
    const struct previrt_audit_site *sites; /* sorted by address */
    size_t site_count;
    const struct previrt_audit_stray *strays;
    size_t stray_count;
    const struct previrt_audit_undecided *undecided;
    size_t undecided_count;
    uint32_t counts[PREVIRT_VERDICT_LIMIT][PREVIRT_AUDIT_OPS]; /* by verdict and operation */
    uint32_t totals[PREVIRT_VERDICT_LIMIT];
    uint64_t records;         /* in the table */
    uint64_t dormant_records; /* of them dormant */
    uint64_t shortfalls;      /* annotated sites whose room is less than the catalogue wants */
    uint64_t code_bytes, data_bytes, filler_bytes, undecided_bytes; /* of executable sections */
    uint64_t instructions;
    uint64_t alternatives; /* entries of .altinstructions */
    int check_status;      /* what previrt_table_check() said of the table; 0 without one */
    struct previrt_site check_record; /* the record that it concerns */
    uint16_t bits;                    /* 32 or 64 */
    uint8_t arch;                     /* enum previrt_arch: whose operations are counted */
    uint8_t has_table;
    uint8_t has_symbols; /* 0: stripped, the sweep had nothing to hold on to */
    uint8_t hidden;      /* undecided ranges in which a sensitive operation could hide: 1 if any */
    uint8_t odd_alternatives; /* 1: .altinstructions has no known shape */
    uint8_t reserved[1];
    uint64_t pinned; /* IA-64: records that say so */
    uint64_t images; /* IA-64: kept in data, and audited with the rest */
};

struct previrt_rules;

struct previrt_audit_options {
    uint32_t size;                     /* sizeof(struct previrt_audit_options), set by the caller */
    uint32_t bits;                     /* 0: what the ELF header says */
    const struct previrt_rules *rules; /* exclusion rules (annotate.h), NULL: none */
    const char *path;                  /* the file's path for the rules, or NULL */
};

/*
 * Audits an ELF executable, object or module; (options) may be NULL. PREVIRT_OK, whatever it found,
 * or E_NOT_ELF, E_ARCH, E_TRUNCATED and E_MALFORMED (the file or its table), E_VERSION and
 * E_UNFINISHED (its table), E_MEMORY, E_INVALID. (file) and the rules must outlive the audit.
 */
PREVIRT_API int previrt_audit_mem(const void *file, size_t size,
                                  const struct previrt_audit_options *options,
                                  const struct previrt_audit **audit);

/* The same for a file, which is read whole. Also PREVIRT_E_IO. */
PREVIRT_API int previrt_audit_file(const char *path, const struct previrt_audit_options *options,
                                   const struct previrt_audit **audit);

/* Whether the proof fails: something missed, a stray record, hiding places, or a table that does
 * not check. */
PREVIRT_API int previrt_audit_has_findings(const struct previrt_audit *audit);

/* NULL is allowed. */
PREVIRT_API void previrt_audit_free(const struct previrt_audit *audit);

/* The name of a CPU feature by Linux' number (word * 32 + bit), or NULL; static storage. */
PREVIRT_API const char *previrt_feature_name(unsigned feature);

/* Whether the feature is a CPUID bit, which a VMM can hide; the others are set by Linux itself. */
PREVIRT_API int previrt_feature_is_cpuid(unsigned feature);

#ifdef __cplusplus
}
#endif

#endif
