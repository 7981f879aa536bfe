/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The patch-up table: what travels with the binary so that phase 3 can rewrite it without a
 * disassembler. docs/table-format.md is the format. Decoding is freestanding; every byte of a table
 * may be hostile.
 */
#ifndef PREVIRT_TABLE_H
#define PREVIRT_TABLE_H

#include <previrt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PREVIRT_TABLE_SECTION ".note.previrt"
#define PREVIRT_NOTE_NAME     "Previrt" /* with its NUL, 8 bytes */
#define PREVIRT_NT_TABLE      1         /* a finished fragment */
#define PREVIRT_NT_RAW        2         /* what `previrt as` leaves for its own second pass */
#define PREVIRT_NT_FILLER     3 /* nothing: where fragments were that a merged table replaced */
#define PREVIRT_TABLE_VERSION 1

#define PREVIRT_LENGTH_MAX 15 /* bytes of an instruction or fused pair */
#define PREVIRT_PAD_MAX    7  /* NOP bytes after it */
#define PREVIRT_ROOM_MAX   (PREVIRT_LENGTH_MAX + PREVIRT_PAD_MAX)

enum previrt_site_flags {
    PREVIRT_SITE_FLAGS_DEAD = 1 << 0, /* nothing reads the arithmetic flags that the site leaves;
                                         for an operation that only reads them (pushf): they are
                                         unspecified on entry */
    PREVIRT_SITE_DORMANT = 1 << 1,    /* not padded, not to be rewritten: the kernel copies it over
                                         another place if (feature) is there */
};

#define PREVIRT_FEATURE_UNKNOWN 0xfff

/* One record, decoded. */
struct previrt_site {
    uint64_t address; /* guest-virtual address (linked image) or offset in the section (object) */
    uint8_t arch;     /* enum previrt_arch */
    uint8_t op;       /* enum previrt_ia32_op or previrt_ia64_op */
    uint8_t form;     /* enum previrt_ia32_form; 0 on IA64 */
    uint8_t length;   /* bytes of the operation, redundant prefixes included; 0: dormant */
    uint8_t pad;      /* NOP bytes behind it; length + pad is the room */
    uint8_t flags;    /* PREVIRT_SITE_* */
    uint16_t operand; /* as recorded, see docs/table-format.md */
    uint16_t
        feature;  /* dormant: Linux feature number word * 32 + bit, or PREVIRT_FEATURE_UNKNOWN */
    uint8_t slot; /* IA64: slot in the bundle */
    uint8_t reserved[5];
};

/* A position in a table. Opaque: only its size is public. */
struct previrt_table_cursor {
    uint64_t opaque[12];
};

/*
 * Starts to read the notes at (notes), (size) bytes that are mapped at guest address (address).
 * Notes that are not ours are skipped. Freestanding.
 */
PREVIRT_API int previrt_table_begin(struct previrt_table_cursor *cursor, const void *notes,
                                    size_t size, uint64_t address);

/*
 * The next record: 1 and (*site) filled in, 0 at the end, or a negative status. After an error the
 * cursor stays where it is. Within a run of the table records come sorted and disjoint, over the
 * whole table they need not: fragments stand in link order. Freestanding.
 */
PREVIRT_API int previrt_table_next(struct previrt_table_cursor *cursor, struct previrt_site *site);

/* Where the cursor is, for messages: offset of the record that was read last, and its fragment's
 * number. */
PREVIRT_API size_t previrt_table_offset(const struct previrt_table_cursor *cursor);

/* The largest size in bytes that previrt_table_encode() can need for (count) sites. Freestanding.
 */
PREVIRT_API size_t previrt_table_bound(size_t count);

/*
 * Encodes (count) sorted, disjoint sites of one architecture as notes that will be mapped at
 * (address), with the digest (digest[i] for each fragment is computed from the invariant bytes that
 * (text) returns:
 * (*text)(context, address, length) must return a pointer to (length) readable bytes, or NULL).
 * (*size): in, room at (out); out, bytes written. PREVIRT_E_SPACE, E_OVERLAP, E_RANGE, E_BYTES,
 * E_INVALID. Freestanding.
 */
typedef const uint8_t *(*previrt_text_fn)(void *context, uint64_t address, size_t length);
PREVIRT_API int previrt_table_encode(const struct previrt_site *sites, size_t count,
                                     uint64_t address, previrt_text_fn text, void *context,
                                     void *out, size_t *size);

/*
 * Reads the whole table and checks it against the text: every site inside the executable ranges
 * that (text) serves, bytes as recorded, tail NOPs, digests. PREVIRT_OK or the first error; (*bad),
 * if not NULL, receives the record it concerns. Does not need sorted fragments and does not look
 * for overlap across them: previrt_plan() does. Freestanding.
 */
PREVIRT_API int previrt_table_check(const void *notes, size_t size, uint64_t address,
                                    previrt_text_fn text, void *context, struct previrt_site *bad);

/*
 * Whether the instruction (and tail) at (bytes), (size) readable, is what (site) records.
 * PREVIRT_OK, E_BYTES, E_TAIL, E_TRUNCATED, E_OPERATION. (insn) receives the decoded instruction if
 * not NULL. IA32 only. Freestanding.
 */
struct previrt_ia32_insn;
PREVIRT_API int previrt_ia32_match_site(const struct previrt_site *site, const uint8_t *bytes,
                                        size_t size, struct previrt_ia32_insn *insn);

/* Fills (form, op, length, operand) of a record from a decoded instruction. Freestanding. */
PREVIRT_API void previrt_ia32_site_from_insn(const struct previrt_ia32_insn *insn,
                                             struct previrt_site *site);

#ifdef __cplusplus
}
#endif

#endif
