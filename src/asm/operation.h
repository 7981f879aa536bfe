/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operands of statements, and which sensitive operation a statement is. Sizes are lower bounds: the
 * assembler knows the real ones, and a site that turns out longer only has more room.
 */
#ifndef PV_ASM_OPERATION_H
#define PV_ASM_OPERATION_H

#include <stddef.h>
#include <stdint.h>

#include "asm/mnemonic.h"
#include "asm/reader.h"

enum pv_operand_kind {
    PV_OPERAND_NONE,
    PV_OPERAND_REGISTER, /* general */
    PV_OPERAND_SEGMENT,
    PV_OPERAND_CONTROL,
    PV_OPERAND_DEBUG,
    PV_OPERAND_IMMEDIATE,
    PV_OPERAND_MEMORY,
    PV_OPERAND_UNKNOWN /* a macro argument */
};

struct pv_operand {
    uint8_t kind;          /* enum pv_operand_kind */
    uint8_t width;         /* of a general register, bits */
    uint8_t number;        /* of a register */
    uint8_t bytes;         /* of memory: SIB, displacement and segment prefix, at least */
    uint8_t stack_segment; /* of memory: SS is the default segment */
    uint8_t overridden;    /* of memory: a segment is named, or it is not known whether one is */
    uint8_t value_known;   /* of an immediate */
    uint32_t value;
    const char *text, *end; /* as written */
};

#define PV_OPERANDS_MAX 3

/* AT&T order, whatever (intel) says of the text's. Returns their number. */
unsigned pv_read_operands(const char *p, const char *end, int intel,
                          struct pv_operand operands[PV_OPERANDS_MAX]);

/* What kind of system register, segment registers included, the (length) characters at (name) are.
 */
enum pv_system_register { PV_SYSTEM_NONE, PV_SYSTEM_OTHER, PV_SYSTEM_SS };
enum pv_system_register pv_system_register(const char *name, size_t length);

/* A literal number: decimal, octal, hexadecimal, binary, signed. 1 and (*value), or 0. */
int pv_read_number(const char *p, const char *end, uint32_t *value);

struct pv_operation {
    uint8_t op;       /* enum previrt_ia32_op; 0: the statement is not sensitive */
    uint8_t bytes;    /* length without prefixes that stand in front of the mnemonic, at least */
    uint8_t prefix;   /* segment override that changes nothing in front of it, 0: none is safe */
    uint8_t shadow;   /* 1: holds interrupts off until behind the next instruction */
    uint8_t transfer; /* 1: does not go on behind itself, or may not */
};

/* What the statement (mnemonic, operands from (p) to (end)) is. */
void pv_identify(const struct pv_mnemonic *mnemonic, const char *p, const char *end, int intel,
                 struct pv_operation *operation);

/* What the literal bytes of a .byte directive are: an operation that is at least two bytes long and
 * begins with 0x0f or a mandatory prefix, all of it and nothing else. */
void pv_identify_bytes(const char *p, const char *end, struct pv_operation *operation);

#endif
