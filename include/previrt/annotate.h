/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The annotator: phase 1 at the level of assembler text (IA32, GNU as syntax, AT&T and Intel).
 *
 * previrt_annotate() reads what a compiler or preprocessor gives the assembler and returns the same
 * text with each sensitive operation padded to its room and recorded in an unfinished fragment
 * (docs/table-format.md). Every byte that it does not change is copied as it is; what it inserts
 * stays on the line of the operation, so line numbers hold. Memory to memory; host only.
 */
#ifndef PREVIRT_ANNOTATE_H
#define PREVIRT_ANNOTATE_H

#include <previrt/ia32.h>

#ifdef __cplusplus
extern "C" {
#endif

/* How room is made. */
enum previrt_pad_style {
    PREVIRT_PAD_PREFIX =
        0, /* redundant DS prefixes in front where they are harmless, else NOPs behind */
    PREVIRT_PAD_NOP = 1 /* NOPs behind, except where they would end an interrupt shadow */
};

/* Which NOPs the CPU knows: single bytes, LEA and prefixed forms, or 0F 1F. */
enum previrt_cpu {
    PREVIRT_CPU_GENERIC =
        0, /* runs on every CPU from the 80386 on, fast on those from the Pentium Pro on */
    PREVIRT_CPU_I486 =
        1, /* single-byte NOPs alone, no redundant prefixes but in interrupt shadows */
    PREVIRT_CPU_I586 = 2,
    PREVIRT_CPU_I686 = 3 /* has the multi-byte NOP 0F 1F (SDM 2B NOP) */
};

/* Static mode: what is emitted in place of the operations. */
enum previrt_static_target {
    PREVIRT_STATIC_NONE = 0,   /* annotate for rewriting at load time */
    PREVIRT_STATIC_NATIVE = 1, /* each operation is performed out of line, in the same object */
    PREVIRT_STATIC_VCPU =
        2 /* virtual interrupt flag and segment loads inline, the rest calls the VMM */
};

struct previrt_rules;

/* Where and why rules did not parse. */
struct previrt_rules_error {
    unsigned line;    /* from 1 */
    const char *text; /* static storage */
};

/*
 * Parses the exclusion rules in (text), (size) bytes (the format stands at the head of
 * rules/ia32.rules).
 * (*rules) is the caller's to free. PREVIRT_OK, PREVIRT_E_MALFORMED ((*error), if not NULL, says
 * where and why), PREVIRT_E_MEMORY, PREVIRT_E_INVALID.
 */
PREVIRT_API int previrt_rules_parse(const char *text, size_t size, struct previrt_rules **rules,
                                    struct previrt_rules_error *error);

/* The rules for IA32 that the library was built with, to be freed. PREVIRT_OK or PREVIRT_E_MEMORY.
 */
PREVIRT_API int previrt_rules_default(struct previrt_rules **rules);

/* The same for (arch), enum previrt_arch; also PREVIRT_E_ARCH. */
PREVIRT_API int previrt_rules_default_for(unsigned arch, struct previrt_rules **rules);

/* NULL is allowed. */
PREVIRT_API void previrt_rules_free(struct previrt_rules *rules);

struct previrt_annotate_options {
    uint32_t size;      /* sizeof(struct previrt_annotate_options), set by the caller */
    uint32_t pad;       /* enum previrt_pad_style */
    uint32_t cpu;       /* enum previrt_cpu */
    uint32_t target;    /* enum previrt_static_target */
    uint32_t intel;     /* 1: the text begins in Intel syntax; 2: and without '%' */
    uint32_t line_info; /* 1: the assembler writes line information for its own source (-g) */
    uint32_t reserved;  /* 0 */
    const char *name;   /* the input's name for the assembler's messages, NULL: the text is read
                           under its own name, so that line 1 must stay line 1 by itself */
    const char *output; /* path of the object file for the rules, or NULL */
    const char *source; /* path of the input for the rules, or NULL */
    const struct previrt_rules *rules; /* NULL: no rules */
};

struct previrt_annotate_stats {
    uint32_t size;    /* sizeof(struct previrt_annotate_stats), set by the caller */
    uint32_t sites;   /* operations recorded (in macro bodies once a body), dormant ones included */
    uint32_t dormant; /* of them dormant */
    uint32_t flags_dead;   /* of them with dead flags */
    uint32_t in_macros;    /* of them in macro bodies */
    uint32_t prefix_bytes; /* pad bytes in front */
    uint32_t nop_bytes;    /* pad bytes behind */
    uint32_t excluded;     /* operations that a rule excluded */
    uint32_t replaced;     /* static mode: operations replaced */
    uint32_t unknown;      /* static mode: operations left in place, see docs/static-mode.md */
    uint32_t per_op[PREVIRT_IA32_OP_LIMIT]; /* sites by enum previrt_ia32_op */
};

/*
 * Annotates (text), (size) bytes. On PREVIRT_OK (*out) is a malloc()ed buffer of (*out_size) bytes,
 * the caller's to free, or NULL if nothing had to be changed (then the assembler may read the
 * original). (options) and (stats) may be NULL. The text may be anything at all: what is not
 * understood is copied. PREVIRT_E_INVALID, PREVIRT_E_MEMORY.
 */
PREVIRT_API int previrt_annotate(const char *text, size_t size,
                                 const struct previrt_annotate_options *options, char **out,
                                 size_t *out_size, struct previrt_annotate_stats *stats);

#ifdef __cplusplus
}
#endif

#endif
