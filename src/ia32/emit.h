/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small IA32 encoder and the templates of the rewriter. Freestanding, internal.
 *
 * Code grows in a buffer that the caller owns; what does not fit is dropped and (overflow) set, so
 * that an emitter needs to look only once, at the end.
 */
#ifndef PV_IA32_EMIT_H
#define PV_IA32_EMIT_H

#include <previrt/rewrite.h>

struct pv_code {
    uint8_t *bytes;
    uint32_t length, capacity;
    uint8_t overflow;
};

/* General registers (SDM 2A, table 2-1). */
enum pv_register { PV_EAX, PV_ECX, PV_EDX, PV_EBX, PV_ESP, PV_EBP, PV_ESI, PV_EDI };

/* Opcodes and prefixes (SDM 2A/2B, opcode map in 2D appendix A). */
enum pv_opcode {
    PV_OPCODE_CALL = 0xe8, /* rel32 */
    PV_OPCODE_JMP = 0xe9,  /* rel32 */
    PV_OPCODE_RET = 0xc3,
    PV_OPCODE_RET_IMM16 = 0xc2,
    PV_OPCODE_LEA = 0x8d,
    PV_OPCODE_MOV_LOAD = 0x8b, /* r32, r/m32 */
    PV_OPCODE_MOV_EAX = 0xa1,  /* EAX, moffs32 */
    PV_OPCODE_PUSH_REG = 0x50, /* + register */
    PV_OPCODE_PUSH_IMM32 = 0x68,
    PV_OPCODE_PUSH_IMM8 = 0x6a, /* sign-extended */
    PV_OPCODE_GROUP5 = 0xff,    /* /6: push r/m32 */
    PV_OPCODE_MOV_IMM8 = 0xc6,  /* /0: r/m8, imm8 */
    PV_OPCODE_NOP = 0x90,
    PV_PREFIX_OPERAND = 0x66,
    PV_PREFIX_ADDRESS = 0x67
};

#define PV_GROUP5_PUSH   6
#define PV_TRANSFER_SIZE 5 /* call rel32, jmp rel32 */

void pv_emit_byte(struct pv_code *code, uint8_t byte);
void pv_emit_long(struct pv_code *code, uint32_t value);
void pv_emit_bytes(struct pv_code *code, const uint8_t *bytes, uint32_t length);

/* call or jmp (opcode) rel32 at guest address (here) + code->length to (target); wraps at 4 GiB as
 * EIP does. */
void pv_emit_transfer(struct pv_code *code, uint8_t opcode, uint32_t here, uint32_t target);

/* push $value, in its shorter form */
void pv_emit_push(struct pv_code *code, uint32_t value);

/* ModRM for register or digit (reg) and absolute address (address) */
void pv_emit_absolute(struct pv_code *code, unsigned reg, uint32_t address);

/* lea of the memory operand of (insn) into (reg) where ESP is (pushed) bytes lower than at the site
 */
void pv_emit_address(struct pv_code *code, unsigned reg, const struct previrt_ia32_insn *insn,
                     uint32_t pushed);

/* (length) bytes of NOPs at (bytes); (single): single-byte ones */
void pv_fill_nops(uint8_t *bytes, uint32_t length, int single);

/*
 * A template: code assembled with the vCPU page at address 0. Byte 0 is the length, bytes 1 to 3
 * are offsets of 32-bit holes (PV_NO_HOLE: none) to which the page's address is added, then the
 * code.
 */
#define PV_TEMPLATE_HOLES 3
#define PV_NO_HOLE        0xff
void pv_emit_template(struct pv_code *code, const uint8_t *layout, uint32_t page);

/* What an emitter returns once it is done: fills request->length; PREVIRT_OK or PREVIRT_E_STUBS. */
int pv_emit_done(const struct pv_code *code, struct previrt_stub_request *request);

#ifdef __x86_64__
#define PV_CODE_NATIVE ".code64\n"
#else
#define PV_CODE_NATIVE ".code32\n"
#endif

/*
 * Declares and assembles the template pv_template_(name). Its text uses label 1 for its start
 * (given), 8 for its end (given) and names its holes (h1), (h2), (h3) as expressions, usually
 * "2f-1f-4": the four bytes that end at label 2.
 */
#define PV_TEMPLATE(name, h1, h2, h3, text)                                                        \
    extern const uint8_t pv_template_##name[] __attribute__((visibility("hidden")));               \
    __asm__(".pushsection .rodata\n"                                                               \
            ".code32\n"                                                                            \
            ".globl pv_template_" #name "\n"                                                       \
            ".hidden pv_template_" #name "\n"                                                      \
            "pv_template_" #name ":\n"                                                             \
            ".byte 8f-1f, " h1 ", " h2 ", " h3 "\n"                                                \
            "1:\n" text "8:\n" PV_CODE_NATIVE ".popsection\n")

#define PV_HOLE_NONE "0xff"

#endif
