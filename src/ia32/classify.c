/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The classifier: is this instruction sensitive? Decoding is Zydis', which knows the whole
 * instruction set; what counts as sensitive is the catalogue's.
 */
#include <stdbool.h>
#include <string.h>

#include "decoder.h"

#define REG(modrm)   ((modrm) >> 3 & 7)
#define MOD(modrm)   ((modrm) >> 6)
#define RM(modrm)    ((modrm)&7)
#define MOD_REGISTER 3

/* ---- which operation ---- */

/* Operations without a mnemonic of their own get a case label that no mnemonic has. */
#define ZYDIS_MNEMONIC_NONE ZYDIS_MNEMONIC_INVALID
/* Zydis 4.0 has no name for WBNOINVD and calls it WBINVD: op_of_opcode() tells them apart. */
#define ZYDIS_MNEMONIC_WBNOINVD ZYDIS_MNEMONIC_INVALID
#define MNEMONIC_LABEL(number, mnemonic)                                                           \
    ((mnemonic) == ZYDIS_MNEMONIC_INVALID ? -(int)(number) : (int)(mnemonic))

static unsigned op_of_mnemonic(ZydisMnemonic mnemonic)
{
    switch ((int)mnemonic) {
#define PREVIRT_IA32_OP(number, ID, name, MNEMONIC, trap, policy, room, feature, reads, writes,    \
                        source)                                                                    \
    case MNEMONIC_LABEL(number, ZYDIS_MNEMONIC_##MNEMONIC):                                        \
        return number;
#include <previrt/ia32_ops.def>
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
    case ZYDIS_MNEMONIC_PUSHFQ:
        return PREVIRT_IA32_PUSHF;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
        return PREVIRT_IA32_POPF;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
    case ZYDIS_MNEMONIC_IRETQ:
        return PREVIRT_IA32_IRET;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
        return PREVIRT_IA32_INS;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        return PREVIRT_IA32_OUTS;
    case ZYDIS_MNEMONIC_XSAVES64:
        return PREVIRT_IA32_XSAVES;
    case ZYDIS_MNEMONIC_XRSTORS64:
        return PREVIRT_IA32_XRSTORS;
    default:
        return PREVIRT_IA32_NO_OP;
    }
}

/* Whether F3 is the mandatory prefix, which only the last of F2 and F3 can be (SDM 2A, 2.1.1). */
static bool has_f3(const ZydisDecodedInstruction *insn)
{
    for (unsigned i = insn->raw.prefix_count; i-- > 0;)
        if (insn->raw.prefixes[i].value == 0xf2 || insn->raw.prefixes[i].value == 0xf3)
            return insn->raw.prefixes[i].value == 0xf3;
    return false;
}

/* MOV, PUSH, POP, CALL, JMP and RET are sensitive in some encodings only: SDM 2A, appendix A. */
static unsigned op_of_opcode(const ZydisDecodedInstruction *insn)
{
    bool two_byte = insn->opcode_map == ZYDIS_OPCODE_MAP_0F;

    if (!two_byte && insn->opcode_map != ZYDIS_OPCODE_MAP_DEFAULT)
        return PREVIRT_IA32_NO_OP;
    if (two_byte && insn->opcode == 0x09)
        return has_f3(insn) ? PREVIRT_IA32_WBNOINVD : PREVIRT_IA32_WBINVD;
    switch (insn->mnemonic) {
    case ZYDIS_MNEMONIC_MOV:
        switch (insn->opcode | two_byte << 8) {
        case 0x08c:
            return PREVIRT_IA32_MOV_FROM_SEG;
        case 0x08e:
            return PREVIRT_IA32_MOV_TO_SEG;
        case 0x120:
            return PREVIRT_IA32_MOV_FROM_CR;
        case 0x121:
            return PREVIRT_IA32_MOV_FROM_DR;
        case 0x122:
            return PREVIRT_IA32_MOV_TO_CR;
        case 0x123:
            return PREVIRT_IA32_MOV_TO_DR;
        default:
            return PREVIRT_IA32_NO_OP;
        }
    case ZYDIS_MNEMONIC_PUSH:
        switch (insn->opcode | two_byte << 8) {
        case 0x006:
        case 0x00e:
        case 0x016:
        case 0x01e:
        case 0x1a0:
        case 0x1a8:
            return PREVIRT_IA32_PUSH_SEG;
        default:
            return PREVIRT_IA32_NO_OP;
        }
    case ZYDIS_MNEMONIC_POP:
        switch (insn->opcode | two_byte << 8) {
        case 0x007:
        case 0x017:
        case 0x01f:
        case 0x1a1:
        case 0x1a9:
            return PREVIRT_IA32_POP_SEG;
        default:
            return PREVIRT_IA32_NO_OP;
        }
    case ZYDIS_MNEMONIC_CALL:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LCALL
                                                               : PREVIRT_IA32_NO_OP;
    case ZYDIS_MNEMONIC_JMP:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LJMP
                                                               : PREVIRT_IA32_NO_OP;
    case ZYDIS_MNEMONIC_RET:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LRET
                                                               : PREVIRT_IA32_NO_OP;
    default:
        return PREVIRT_IA32_NO_OP;
    }
}

static int decode(const ZydisDecoder *decoder, const uint8_t *bytes, size_t size,
                  ZydisDecodedInstruction *insn)
{
    ZyanStatus status = ZydisDecoderDecodeInstruction(decoder, NULL, bytes, size, insn);

    if (ZYAN_SUCCESS(status))
        return PREVIRT_OK;
    return status == ZYDIS_STATUS_NO_MORE_DATA ? PREVIRT_E_TRUNCATED : PREVIRT_E_UNDECODABLE;
}

static int classify_fully(const ZydisDecoder *decoder, const uint8_t *bytes, size_t size,
                          struct previrt_ia32_class *result)
{
    const struct previrt_ia32_op_info *info;
    ZydisDecodedInstruction insn;
    int status = decode(decoder, bytes, size, &insn);

    if (status)
        return status;
    result->length = insn.length;
    result->op = (uint8_t)op_of_mnemonic(insn.mnemonic);
    if (!result->op || result->op == PREVIRT_IA32_WBINVD)
        result->op = (uint8_t)op_of_opcode(&insn);
    info = previrt_ia32_op_info(result->op);
    result->trap = info ? info->trap : 0;
    result->policy = info ? info->policy : 0;
    return PREVIRT_OK;
}

static bool machine_mode(unsigned bits, ZydisMachineMode *mode, ZydisStackWidth *width)
{
    switch (bits) {
    case 16:
        /* Not REAL_16: set-up code enters protected mode, and may use what real mode does not have.
         */
        *mode = ZYDIS_MACHINE_MODE_LEGACY_16;
        *width = ZYDIS_STACK_WIDTH_16;
        return true;
    case 32:
        *mode = ZYDIS_MACHINE_MODE_LEGACY_32;
        *width = ZYDIS_STACK_WIDTH_32;
        return true;
    case 64:
        *mode = ZYDIS_MACHINE_MODE_LONG_64;
        *width = ZYDIS_STACK_WIDTH_64;
        return true;
    default:
        return false;
    }
}

int previrt_ia32_classify(const uint8_t *bytes, size_t size, unsigned bits,
                          struct previrt_ia32_class *result)
{
    ZydisDecoder decoder;
    ZydisMachineMode mode;
    ZydisStackWidth width;

    if (!bytes || !result || result->size < sizeof(*result) || !machine_mode(bits, &mode, &width))
        return PREVIRT_E_INVALID;
    if (!ZYAN_SUCCESS(ZydisDecoderInit(&decoder, mode, width)))
        return PREVIRT_E_INVALID;
    return classify_fully(&decoder, bytes, size, result);
}

/* ---- lengths of plain instructions ---- */

/* How an opcode goes on, for those that are valid in every encoding that the code allows. */
enum tail {
    UNKNOWN = 0, /* not plain: Zydis decides */
    NOTHING,
    IMM8,
    IMM16,
    IMMZ,  /* 4 bytes, 2 with 0x66 */
    REL32, /* 4 bytes; 0x66 truncates EIP: not plain */
    MOFFS, /* 4 bytes of address */
    MODRM,
    MODRM_IMM8,
    MODRM_IMMZ,
    MEMORY, /* ModRM, memory only */
    SHIFT,  /* ModRM, /6 is undocumented */
    SHIFT_IMM8,
    MOV_IMM8, /* ModRM, /0 only */
    MOV_IMMZ,
    GROUP3,   /* f6: /0 has an imm8, /1 is undocumented */
    GROUP3_Z, /* f7 */
    GROUP4,   /* fe: /0 and /1 */
    GROUP5,   /* ff: /3 and /5 are far, /7 is invalid */
    GROUP8    /* 0f ba: /4 to /7 */
};

/* SDM 2D, tables. */
#define ALU(base)                                                                                  \
    [base] = MODRM, [(base) + 1] = MODRM, [(base) + 2] = MODRM, [(base) + 3] = MODRM,              \
    [(base) + 4] = IMM8, [(base) + 5] = IMMZ

static const uint8_t plain[256] = {
    ALU(0x00),
    ALU(0x08),
    ALU(0x10),
    ALU(0x18),
    ALU(0x20),
    ALU(0x28),
    ALU(0x30),
    ALU(0x38),
    [0x40 ... 0x61] = NOTHING, /* inc, dec, push, pop, pusha, popa */
    [0x68] = IMMZ,             /* push */
    [0x69] = MODRM_IMMZ,       /* imul */
    [0x6a] = IMM8,             /* push */
    [0x6b] = MODRM_IMM8,       /* imul */
    [0x70 ... 0x7f] = IMM8,    /* jcc */
    [0x80] = MODRM_IMM8,
    [0x81] = MODRM_IMMZ,
    [0x83] = MODRM_IMM8,
    [0x84 ... 0x8b] = MODRM,   /* test, xchg, mov */
    [0x8d] = MEMORY,           /* lea */
    [0x90 ... 0x99] = NOTHING, /* nop, xchg, cwde, cdq */
    [0x9e ... 0x9f] = NOTHING, /* sahf, lahf */
    [0xa0 ... 0xa3] = MOFFS,   /* mov */
    [0xa4 ... 0xa7] = NOTHING, /* movs, cmps */
    [0xa8] = IMM8,             /* test */
    [0xa9] = IMMZ,
    [0xaa ... 0xaf] = NOTHING, /* stos, lods, scas */
    [0xb0 ... 0xb7] = IMM8,    /* mov */
    [0xb8 ... 0xbf] = IMMZ,
    [0xc0 ... 0xc1] = SHIFT_IMM8,
    [0xc2] = IMM16, /* ret */
    [0xc3] = NOTHING,
    [0xc6] = MOV_IMM8,
    [0xc7] = MOV_IMMZ,
    [0xc9] = NOTHING, /* leave */
    [0xcc] = NOTHING, /* int3 traps by design */
    [0xd0 ... 0xd3] = SHIFT,
    [0xe0 ... 0xe3] = IMM8,  /* loop, jecxz */
    [0xe8 ... 0xe9] = REL32, /* call, jmp */
    [0xeb] = IMM8,
    [0xf5] = NOTHING, /* cmc */
    [0xf6] = GROUP3,
    [0xf7] = GROUP3_Z,
    [0xf8 ... 0xf9] = NOTHING, /* clc, stc */
    [0xfc ... 0xfd] = NOTHING, /* cld, std */
    [0xfe] = GROUP4,
    [0xff] = GROUP5,
};

static const uint8_t plain_0f[256] = {
    [0x0b] = NOTHING,        /* ud2 */
    [0x40 ... 0x4f] = MODRM, /* cmovcc */
    [0x80 ... 0x8f] = REL32, /* jcc */
    [0x90 ... 0x9f] = MODRM, /* setcc */
    [0xa3] = MODRM,          /* bt */
    [0xa4] = MODRM_IMM8,     /* shld */
    [0xa5] = MODRM,
    [0xab] = MODRM,      /* bts */
    [0xac] = MODRM_IMM8, /* shrd */
    [0xad] = MODRM,
    [0xaf ... 0xb1] = MODRM, /* imul, cmpxchg */
    [0xb3] = MODRM,          /* btr */
    [0xb6 ... 0xb7] = MODRM, /* movzx */
    [0xba] = GROUP8,
    [0xbb ... 0xbf] = MODRM,   /* btc, bsf, bsr, movsx */
    [0xc0 ... 0xc1] = MODRM,   /* xadd */
    [0xc8 ... 0xcf] = NOTHING, /* bswap */
};

/* Bytes of ModRM, SIB and displacement with 32-bit addresses (SDM 2A, tables 2-2 and 2-3); 0: cut
 * off. */
static unsigned modrm_length(const uint8_t *bytes, size_t size)
{
    unsigned length = 1;

    if (!size)
        return 0;
    if (MOD(bytes[0]) == MOD_REGISTER)
        return 1;
    if (RM(bytes[0]) == 4) { /* a SIB byte */
        if (size < 2)
            return 0;
        length = 2;
        if (MOD(bytes[0]) == 0 && RM(bytes[1]) == 5)
            length += 4;
    } else if (MOD(bytes[0]) == 0 && RM(bytes[0]) == 5) {
        length += 4;
    }
    if (MOD(bytes[0]) == 1)
        length += 1;
    else if (MOD(bytes[0]) == 2)
        length += 4;
    return length <= size ? length : 0;
}

unsigned pv_ia32_plain_length(const uint8_t *bytes, size_t size)
{
    const unsigned prefix_limit = 4; /* the longest plain instruction has 11 bytes besides */
    unsigned at = 0, immz = 4, modrm, length;
    enum tail tail;

    for (; at < size && at < prefix_limit; at++) {
        switch (bytes[at]) {
        case 0x66:
            immz = 2;
            continue;
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
            continue;
        default:
            break;
        }
        break;
    }
    if (at >= size)
        return 0;
    tail = plain[bytes[at++]];
    if (tail == UNKNOWN && bytes[at - 1] == 0x0f && at < size)
        tail = plain_0f[bytes[at++]];

    switch (tail) {
    case UNKNOWN:
        return 0;
    case NOTHING:
        length = at;
        goto out;
    case IMM8:
        length = at + 1;
        goto out;
    case IMM16:
        length = at + 2;
        goto out;
    case IMMZ:
        length = at + immz;
        goto out;
    case REL32:
        if (immz != 4)
            return 0;
        length = at + 4;
        goto out;
    case MOFFS:
        length = at + 4;
        goto out;
    default:
        break;
    }

    modrm = modrm_length(bytes + at, size - at);
    if (!modrm)
        return 0;
    length = at + modrm;
    switch (tail) {
    case MODRM:
        break;
    case MODRM_IMM8:
        length += 1;
        break;
    case MODRM_IMMZ:
        length += immz;
        break;
    case MEMORY:
        if (MOD(bytes[at]) == MOD_REGISTER)
            return 0;
        break;
    case SHIFT_IMM8:
        length += 1;
        /* fall through */
    case SHIFT:
        if (REG(bytes[at]) == 6)
            return 0;
        break;
    case MOV_IMM8:
        length += 1;
        if (REG(bytes[at]) != 0)
            return 0;
        break;
    case MOV_IMMZ:
        length += immz;
        if (REG(bytes[at]) != 0)
            return 0;
        break;
    case GROUP3:
    case GROUP3_Z:
        if (REG(bytes[at]) == 1)
            return 0;
        if (REG(bytes[at]) == 0)
            length += tail == GROUP3 ? 1 : immz;
        break;
    case GROUP4:
        if (REG(bytes[at]) > 1)
            return 0;
        break;
    case GROUP5:
        /* 0x66 makes near branches 16 bits wide, which is rare enough to leave to Zydis */
        if (REG(bytes[at]) == 3 || REG(bytes[at]) == 5 || REG(bytes[at]) == 7 || immz != 4)
            return 0;
        break;
    case GROUP8:
        if (REG(bytes[at]) < 4)
            return 0;
        length += 1;
        break;
    default:
        return 0;
    }
out:
    return length <= size ? length : 0;
}

/* ---- walking text ---- */

int pv_ia32_decoder_init(struct pv_ia32_decoder *decoder, unsigned bits)
{
    ZydisMachineMode mode;
    ZydisStackWidth width;

    memset(decoder, 0, sizeof(*decoder));
    decoder->bits = bits;
    if (!machine_mode(bits, &mode, &width) ||
        !ZYAN_SUCCESS(ZydisDecoderInit(&decoder->full, mode, width)) ||
        !ZYAN_SUCCESS(ZydisDecoderInit(&decoder->minimal, mode, width)) ||
        !ZYAN_SUCCESS(
            ZydisDecoderEnableMode(&decoder->minimal, ZYDIS_DECODER_MODE_MINIMAL, ZYAN_TRUE)))
        return PREVIRT_E_INVALID;
    for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
        const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);

        if (!form)
            continue;
        if (form->opcode[0] == 0x0f)
            decoder->two_byte[form->opcode[1]] = 1;
        else
            decoder->one_byte[form->opcode[0]] = 1;
    }
    return PREVIRT_OK;
}

/* Whether the catalogue has a form with this opcode. Looks no further than the opcode. */
static bool is_candidate(const struct pv_ia32_decoder *decoder, const uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at < size; at++) {
        switch (bytes[at]) {
        case 0x26:
        case 0x2e:
        case 0x36:
        case 0x3e:
        case 0x64:
        case 0x65:
        case 0x66:
        case 0x67:
        case 0xf0:
        case 0xf2:
        case 0xf3:
            continue;
        case 0x0f:
            /* cut off: let the full decoder say so */
            return at + 1 >= size || decoder->two_byte[bytes[at + 1]];
        default:
            if (decoder->bits == 64 && (bytes[at] & 0xf0) == 0x40) /* REX */
                continue;
            return decoder->one_byte[bytes[at]];
        }
    }
    return true;
}

int pv_ia32_next(const struct pv_ia32_decoder *decoder, const uint8_t *bytes, size_t size,
                 struct previrt_ia32_class *result)
{
    ZydisDecodedInstruction insn;
    int status;

    if (decoder->bits == 32) {
        result->length = (uint8_t)pv_ia32_plain_length(bytes, size);
        if (result->length) {
            result->op = result->trap = result->policy = 0;
            return PREVIRT_OK;
        }
    }
    if (is_candidate(decoder, bytes, size))
        return classify_fully(&decoder->full, bytes, size, result);
    status = decode(&decoder->minimal, bytes, size, &insn);
    if (status)
        return status;
    result->length = insn.length;
    result->op = result->trap = result->policy = 0;
    return PREVIRT_OK;
}
