/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The length of an IA32 instruction: prefixes, opcode, ModRM, SIB, displacement, immediate (SDM 2A
 * 2.1), with the opcode maps of SDM 2D appendix A reduced to what follows the opcode. VEX and EVEX
 * included (SDM 2A 2.3, 2.7).
 */
#include <previrt/table.h>
#include "length.h"

enum follows {
    NOTHING = 0,
    MODRM = 1,
    IMM8 = 2,
    IMM16 = 4,
    IMMZ = 8,    /* 4 bytes, 2 with an operand-size prefix */
    MOFFS = 16,  /* an address: 4 bytes, 2 with an address-size prefix */
    REG = 32,    /* ModRM whose rm is a register, whatever mod says: moves to and from CRn, DRn */
    GROUP3 = 64, /* /0 and /1 have an immediate: test */
    NONE = 128   /* no instruction */
};

/* The one-byte map without prefixes and escapes. */
static unsigned one_byte(uint8_t op)
{
    if (op < 0x40) {
        switch (op & 7) {
        case 4:
            return IMM8;
        case 5:
            return IMMZ;
        case 6:
        case 7:
            return NOTHING;
        default:
            return MODRM;
        }
    }
    switch (op) {
    case 0x62 ... 0x63:
    case 0x84 ... 0x8f:
    case 0xc4 ... 0xc5:
    case 0xd0 ... 0xd3:
    case 0xd8 ... 0xdf:
    case 0xfe ... 0xff:
        return MODRM;
    case 0x68:
    case 0xa9:
    case 0xb8 ... 0xbf:
    case 0xe8 ... 0xe9:
        return IMMZ;
    case 0x69:
    case 0x81:
    case 0xc7:
        return MODRM | IMMZ;
    case 0x6b:
    case 0x80:
    case 0x82 ... 0x83:
    case 0xc0 ... 0xc1:
    case 0xc6:
        return MODRM | IMM8;
    case 0x6a:
    case 0x70 ... 0x7f:
    case 0xa8:
    case 0xb0 ... 0xb7:
    case 0xcd:
    case 0xd4 ... 0xd5:
    case 0xe0 ... 0xe7:
    case 0xeb:
        return IMM8;
    case 0x9a:
    case 0xea:
        return IMMZ | IMM16;
    case 0xa0 ... 0xa3:
        return MOFFS;
    case 0xc2:
    case 0xca:
        return IMM16;
    case 0xc8:
        return IMM16 | IMM8;
    case 0xf6:
        return MODRM | GROUP3 | IMM8;
    case 0xf7:
        return MODRM | GROUP3 | IMMZ;
    default:
        return NOTHING;
    }
}

/* The map behind 0f; 38 and 3a lead on. */
static unsigned two_byte(uint8_t op)
{
    switch (op) {
    case 0x04:
    case 0x0a:
    case 0x0c:
    case 0x24 ... 0x27:
    case 0x36:
    case 0x39:
    case 0x3b ... 0x3f:
    case 0x7a ... 0x7b:
        return NONE;
    case 0x05 ... 0x09:
    case 0x0b:
    case 0x0e:
    case 0x30 ... 0x35:
    case 0x37:
    case 0x77:
    case 0xa0 ... 0xa2:
    case 0xa8 ... 0xaa:
    case 0xc8 ... 0xcf:
        return NOTHING;
    case 0x20 ... 0x23:
        return REG;
    case 0x80 ... 0x8f:
        return IMMZ;
    case 0x0f: /* 3DNow!: the opcode is behind the operands */
    case 0x70 ... 0x73:
    case 0xa4:
    case 0xac:
    case 0xba:
    case 0xc2:
    case 0xc4 ... 0xc6:
        return MODRM | IMM8;
    default:
        return MODRM;
    }
}

/* Map (number) as VEX and EVEX name it: 1 is 0f, 2 is 0f 38, 3 is 0f 3a. */
static unsigned vector_map(unsigned number, uint8_t op)
{
    switch (number) {
    case 1:
        return two_byte(op);
    case 2:
    case 5:
    case 6:
        return MODRM;
    case 3:
        return MODRM | IMM8;
    default:
        return NONE;
    }
}

/* Bytes of ModRM, SIB and displacement at (p), 0: truncated. */
static unsigned operand(const uint8_t *p, size_t size, int address16)
{
    enum { RM_SIB = 4, RM_DISP32 = 5, RM_DISP16 = 6 };
    unsigned mod, rm, n = 1;

    if (!size)
        return 0;
    mod = *p >> 6;
    rm = *p & 7;
    if (mod == 3)
        return 1;
    if (address16) {
        if (mod == 0)
            return rm == RM_DISP16 ? 3 : 1;
        return 1 + mod;
    }
    if (rm == RM_SIB) {
        if (size < 2)
            return 0;
        n = 2;
        rm = p[1] & 7; /* the base */
    }
    if (mod == 0)
        return rm == RM_DISP32 ? n + 4 : n;
    return mod == 1 ? n + 1 : n + 4;
}

unsigned pv_ia32_length(const uint8_t *bytes, size_t size)
{
    enum { ESCAPE = 0x0f, EVEX = 0x62, VEX3 = 0xc4, VEX2 = 0xc5, TEST_DIGITS = 2, SSE4A = 0x78 };
    int operand16 = 0, address16 = 0, repne = 0;
    unsigned n = 0, follows;
    uint8_t op;

    if (size > PREVIRT_LENGTH_MAX)
        size = PREVIRT_LENGTH_MAX;
    for (;; n++) {
        if (n == size)
            return 0;
        op = bytes[n];
        if (op == 0x66)
            operand16 = 1;
        else if (op == 0x67)
            address16 = 1;
        else if (op == 0xf2)
            repne = 1;
        else if (op != 0x26 && op != 0x2e && op != 0x36 && op != 0x3e && op != 0x64 && op != 0x65 &&
                 op != 0xf0 && op != 0xf3)
            break;
    }
    n++;
    if (n < size && (op == EVEX || op == VEX3 || op == VEX2) && bytes[n] >> 6 == 3) {
        /* what would be bound, les or lds with a register operand */
        unsigned header = op == EVEX ? 3 : op == VEX3 ? 2 : 1;
        unsigned map = op == EVEX ? bytes[n] & 7 : op == VEX3 ? bytes[n] & 0x1f : 1;

        if (n + header >= size)
            return 0;
        n += header;
        follows = vector_map(map, bytes[n++]);
        follows &= ~(unsigned)IMMZ; /* mask moves have the opcodes of jumps */
        if (map == 1 && follows == NOTHING && bytes[n - 1] != 0x77)
            follows = MODRM;
    } else if (op == ESCAPE) {
        if (n == size)
            return 0;
        op = bytes[n++];
        if (op == 0x38 || op == 0x3a) {
            if (n++ == size)
                return 0;
            follows = op == 0x38 ? MODRM : MODRM | IMM8;
        } else {
            follows = two_byte(op);
            if (op == SSE4A && (operand16 || repne)) /* extrq, insertq: two immediates (APM 4) */
                follows |= IMM16;
        }
    } else {
        follows = one_byte(op);
    }
    if (follows & NONE)
        return 0;
    if (follows & REG) {
        n++;
    } else if (follows & MODRM) {
        unsigned length = operand(bytes + n, size - n, address16);

        if (!length)
            return 0;
        if ((follows & GROUP3) && (bytes[n] >> 3 & 7) >= TEST_DIGITS)
            follows = MODRM;
        n += length;
    }
    n += follows & IMM8 ? 1 : 0;
    n += follows & IMM16 ? 2 : 0;
    n += follows & IMMZ ? (operand16 ? 2 : 4) : 0;
    n += follows & MOFFS ? (address16 ? 2 : 4) : 0;
    return n <= size ? n : 0;
}
