/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads assembler text one statement at a time, by the lexical rules of GNU as for i386 ELF
 * (gas/app.c and tc-i386.c): `;` separates, `#` begins a comment anywhere, `/` only at the
 * beginning of a statement, block comments count as white space, a string or a character constant
 * hides everything in it. Nothing is copied or allocated: a statement points into the text.
 */
#ifndef PV_ASM_READER_H
#define PV_ASM_READER_H

#include <stddef.h>
#include <stdint.h>

enum pv_class {
    PV_CLASS_NAME = 1 << 0,  /* may be in a symbol, mnemonic or directive; macro arguments too */
    PV_CLASS_SPACE = 1 << 1, /* white space within a line */
    PV_CLASS_STOP = 1 << 2,  /* ends a statement, or begins a comment, string or constant */
    PV_CLASS_DIGIT = 1 << 3
};

extern const uint8_t pv_class[256];

enum pv_statement_kind {
    PV_STATEMENT_END,    /* of the text */
    PV_STATEMENT_EMPTY,  /* labels alone, a comment, nothing */
    PV_STATEMENT_APP,    /* #APP */
    PV_STATEMENT_NO_APP, /* #NO_APP */
    PV_STATEMENT_ASM, /* # LINE "FILE" 1: within #APP, where GCC begins another inline assembly */
    PV_STATEMENT_CODE /* instruction, directive, macro call, assignment */
};

/* A label in front of a statement. */
struct pv_label {
    const char *name;
    uint32_t length;
    const char *after; /* behind its colon */
};

#define PV_STATEMENT_LABELS                                                                        \
    4 /* more labels on one statement than that: the rest is not reported                          \
       */

struct pv_statement {
    int kind;
    const char *first;    /* behind the labels: where text can be put in front of the statement */
    const char *name;     /* mnemonic or directive; NULL if it does not begin with one */
    uint32_t length;      /* of the name */
    uint32_t hash;        /* pv_hash of the name in lower case */
    const char *operands; /* behind the name and white space */
    const char *end;      /* behind the last character that counts: where text can be added */
    const char *next;     /* where the next statement begins */
    uint32_t labels;      /* how many of (label) are filled in */
    uint32_t new_line;    /* the next statement begins a line */
    struct pv_label label[PV_STATEMENT_LABELS];
};

/* FNV-1a over lower-case letters, a step at a time. */
#define PV_HASH_SEED          2166136261u
#define PV_HASH_STEP(hash, c) (((hash) ^ (uint8_t)((c) | 0x20)) * 16777619u)

/* Reads the statement at (p). Returns its kind. Every call but the one at (end) consumes at least
 * one byte. */
int pv_read_statement(const char *p, const char *end, struct pv_statement *statement);

/* The rest of a statement behind a prefix mnemonic: reads the name at (p) into (statement). */
void pv_read_name(const char *p, const char *end, struct pv_statement *statement);

#endif
