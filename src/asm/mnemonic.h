/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mnemonics and directives that the annotator knows: which are sensitive operations (and which only
 * with certain operands), what they do to the arithmetic flags, and which change the state of the
 * reader.
 */
#ifndef PV_ASM_MNEMONIC_H
#define PV_ASM_MNEMONIC_H

#include <stddef.h>
#include <stdint.h>

enum pv_kind {
    PV_KIND_PLAIN, /* not sensitive; listed for its effect on the flags */
    /* sensitive, or sensitive with certain operands */
    PV_KIND_ALONE,    /* no operands, any prefix is harmless */
    PV_KIND_TRANSFER, /* no operands, a control transfer */
    PV_KIND_IN,
    PV_KIND_OUT,
    PV_KIND_STRING_IO,
    PV_KIND_FAR, /* lcall, ljmp */
    PV_KIND_LRET,
    PV_KIND_INT,
    PV_KIND_MOV,  /* with a segment, control or debug register */
    PV_KIND_PUSH, /* of a segment register */
    PV_KIND_POP,
    PV_KIND_NEAR,   /* call, jmp: sensitive if written as far ones */
    PV_KIND_MEMORY, /* a memory operand */
    PV_KIND_MODRM,  /* register or memory */
    PV_KIND_PREFIX,
    /* directives */
    PV_KIND_MACRO,
    PV_KIND_ENDM,
    PV_KIND_REPEAT,
    PV_KIND_ENDR,
    PV_KIND_PURGEM,
    PV_KIND_SECTION,
    PV_KIND_PUSHSECTION,
    PV_KIND_POPSECTION,
    PV_KIND_PREVIOUS,
    PV_KIND_TEXT, /* .text, .data, .bss: the section is the directive's name */
    PV_KIND_LINKONCE,
    PV_KIND_CODE16,
    PV_KIND_CODE32,
    PV_KIND_CODE64,
    PV_KIND_INTEL,
    PV_KIND_ATT,
    PV_KIND_BYTE,
    PV_KIND_LOC,
    PV_KIND_NEUTRAL_DIRECTIVE, /* emits nothing, or padding that may be executed */
};

/* Arithmetic flags. */
enum pv_flag {
    PV_CF = 1 << 0,
    PV_PF = 1 << 1,
    PV_AF = 1 << 2,
    PV_ZF = 1 << 3,
    PV_SF = 1 << 4,
    PV_OF = 1 << 5,
    PV_FLAGS_ALL = 0x3f
};

enum pv_flow_kind {
    PV_FLOW_NEXT,   /* goes on behind it */
    PV_FLOW_JUMP,   /* to its operand */
    PV_FLOW_BRANCH, /* to its operand, or on */
    PV_FLOW_CALL,
    PV_FLOW_RETURN,
    PV_FLOW_SHIFT,   /* changes flags only if its count is not 0 */
    PV_FLOW_COMPARE, /* string comparison: with REP and ECX 0 it changes no flags */
    PV_FLOW_DEAD,    /* nothing behind it sees the flags (iret) */
    PV_FLOW_UNKNOWN
};

struct pv_mnemonic {
    const char *name;
    uint8_t length; /* of the name */
    uint8_t kind;   /* enum pv_kind */
    uint8_t op;     /* enum previrt_ia32_op */
    uint8_t bytes;  /* opcode bytes (mandatory prefix included, ModRM not) */
    uint8_t width;  /* operand bits that the suffix says, 0 */
    uint8_t reads;  /* enum pv_flag */
    uint8_t writes; /* enum pv_flag: defines, or leaves undefined */
    uint8_t flow;   /* enum pv_flow_kind */
};

extern const struct pv_mnemonic pv_mnemonics[];
extern const size_t pv_mnemonic_count;

#define PV_MNEMONIC_SLOTS 2048 /* of the hash table; a power of two, several times the count */

/* An index into pv_mnemonics, open addressing. Built for each text; 0xffff: empty. */
struct pv_mnemonic_table {
    uint16_t slot[PV_MNEMONIC_SLOTS];
};

void pv_mnemonic_table_init(struct pv_mnemonic_table *table);

/* The mnemonic called (name), (length) long, with hash (hash) as the reader computes it; NULL. */
const struct pv_mnemonic *pv_mnemonic_find(const struct pv_mnemonic_table *table, const char *name,
                                           uint32_t length, uint32_t hash);

#endif
