/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The instruction decoder: insns.def and formats.def expanded into tables, and everything that is
 * read off them: operands, registers, branch targets, assembler text.
 */
#include "ia64/internal.h"

#define SLOT_MASK ((UINT64_C(1) << PREVIRT_IA64_SLOT_BITS) - 1)
#define QP_MASK   63u

/* --- Tables --- */

/* What insns.def calls its effects. */
#define E_LOAD        PREVIRT_IA64_LOADS
#define E_STORE       PREVIRT_IA64_STORES
#define E_BRANCH      PREVIRT_IA64_BRANCHES
#define E_LINK        PREVIRT_IA64_LINKS
#define E_IP_RELATIVE PREVIRT_IA64_IP_RELATIVE
#define E_IP_VALUE    PREVIRT_IA64_IP_VALUE
#define E_IP_HINT     PREVIRT_IA64_IP_HINT
#define E_STAY        PREVIRT_IA64_STAYS
#define E_NO_QP       PREVIRT_IA64_NO_QP
#define E_FIRST       PREVIRT_IA64_FIRST
#define E_LAST        PREVIRT_IA64_LAST
#define E_NO_RETURN   PREVIRT_IA64_NO_RETURN
#define E_NOP         PREVIRT_IA64_NOP
#define E_UNC         PREVIRT_IA64_UNC
#define E_FRAME       PREVIRT_IA64_FRAME
#define E_RSE         PREVIRT_IA64_RSE
#define E_READS_PFS   PREVIRT_IA64_READS_PFS
#define E_WRITES_PFS  PREVIRT_IA64_WRITES_PFS
#define E_READS_UNAT  PREVIRT_IA64_READS_UNAT
#define E_WRITES_UNAT PREVIRT_IA64_WRITES_UNAT
#define E_READS_CCV   PREVIRT_IA64_READS_CCV
#define E_READS_CSD   PREVIRT_IA64_READS_CSD
#define E_WRITES_CSD  PREVIRT_IA64_WRITES_CSD
#define E_FPSR        PREVIRT_IA64_FPSR
#define E_LC          PREVIRT_IA64_LC
#define E_EC          PREVIRT_IA64_EC
#define E_ROTATES     PREVIRT_IA64_ROTATES

/* Opcode fields: V places a value, N masks a field. Each macro yields "match, mask". */
#define V(value, low)  ((uint64_t)(value) << (low))
#define N(low, length) V((UINT64_C(1) << (length)) - 1, low)
#define OPCODE         37 /* bits 40:37, the major opcode */
#define MAJOR(major)   V(major, OPCODE), N(OPCODE, 4)
#define X3(major, x3)  V(major, OPCODE) | V(x3, 33), N(OPCODE, 4) | N(33, 3)
/* A */
#define ALU(x2a, x4, x2b)                                                                          \
    V(8, OPCODE) | V(x2a, 34) | V(x4, 29) | V(x2b, 27),                                            \
        N(OPCODE, 4) | N(34, 2) | N(33, 1) | N(29, 4) | N(27, 2)
#define ALU4(x2a, x4)                                                                              \
    V(8, OPCODE) | V(x2a, 34) | V(x4, 29), N(OPCODE, 4) | N(34, 2) | N(33, 1) | N(29, 4)
#define ALU2(x2a) V(8, OPCODE) | V(x2a, 34), N(OPCODE, 4) | N(34, 2) | N(33, 1)
#define MMALU(za, zb, x4, x2b)                                                                     \
    V(8, OPCODE) | V(za, 36) | V(1, 34) | V(zb, 33) | V(x4, 29) | V(x2b, 27),                      \
        N(OPCODE, 4) | N(36, 1) | N(34, 2) | N(33, 1) | N(29, 4) | N(27, 2)
#define MMALU4(za, zb, x4)                                                                         \
    V(8, OPCODE) | V(za, 36) | V(1, 34) | V(zb, 33) | V(x4, 29),                                   \
        N(OPCODE, 4) | N(36, 1) | N(34, 2) | N(33, 1) | N(29, 4)
#define CMP(major, x2, tb, ta, c)                                                                  \
    V(major, OPCODE) | V(x2, 34) | V(tb, 36) | V(ta, 33) | V(c, 12),                               \
        N(OPCODE, 4) | N(34, 2) | N(36, 1) | N(33, 1) | N(12, 1)
#define CMPI(major, x2, ta, c)                                                                     \
    V(major, OPCODE) | V(x2, 34) | V(ta, 33) | V(c, 12),                                           \
        N(OPCODE, 4) | N(34, 2) | N(33, 1) | N(12, 1)
/* I */
#define MISC(x3, x6)  V(x3, 33) | V(x6, 27), N(OPCODE, 4) | N(33, 3) | N(27, 6)
#define MISC_Y(x6, y) V(x6, 27) | V(y, 26), N(OPCODE, 4) | N(33, 3) | N(27, 6) | N(26, 1)
#define MOVB(x)       V(7, 33) | V(x, 22), N(OPCODE, 4) | N(33, 3) | N(22, 1)
#define TESTBIT(tb, ta, c, yx)                                                                     \
    V(5, OPCODE) | V(tb, 36) | V(ta, 33) | V(c, 12) | V((yx) ? 1 : 0, 13) | V((yx) / 2, 19),       \
        N(OPCODE, 4) | N(36, 1) | N(34, 2) | N(33, 1) | N(12, 1) | N(13, 1) |                      \
            ((yx) ? N(19, 1) : 0)
#define SHIFT(x2, x) V(5, OPCODE) | V(x2, 34) | V(x, 33), N(OPCODE, 4) | N(34, 2) | N(33, 1)
#define SHIFT_Y13(x2, x, y)                                                                        \
    V(5, OPCODE) | V(x2, 34) | V(x, 33) | V(y, 13), N(OPCODE, 4) | N(34, 2) | N(33, 1) | N(13, 1)
#define SHIFT_Y26(x2, x, y)                                                                        \
    V(5, OPCODE) | V(x2, 34) | V(x, 33) | V(y, 26), N(OPCODE, 4) | N(34, 2) | N(33, 1) | N(26, 1)
#define MMSH(za, zb, ve, x2a, x2b, x2c)                                                            \
    V(7, OPCODE) | V(za, 36) | V(x2a, 34) | V(zb, 33) | V(ve, 32) | V(x2c, 30) | V(x2b, 28),       \
        N(OPCODE, 4) | N(28, 9)
#define MMSH4(za, zb, ve, x2a, x2b)                                                                \
    V(7, OPCODE) | V(za, 36) | V(x2a, 34) | V(zb, 33) | V(ve, 32) | V(x2b, 28),                    \
        N(OPCODE, 4) | N(32, 5) | N(28, 2)
/* M */
#define SYS0(x2, x4) V(x4, 27) | V(x2, 31), N(OPCODE, 4) | N(33, 3) | N(27, 4) | N(31, 2)
#define SYS0_Y(x2, x4, y)                                                                          \
    V(x4, 27) | V(x2, 31) | V(y, 26), N(OPCODE, 4) | N(33, 3) | N(27, 4) | N(31, 2) | N(26, 1)
#define SYS0_YE(x2, x4, y, e)                                                                      \
    V(x4, 27) | V(x2, 31) | V(y, 26) | V(e, 10),                                                   \
        N(OPCODE, 4) | N(33, 3) | N(27, 4) | N(31, 2) | N(26, 1) | N(10, 2)
#define SYS0_AR(x2, x4, ar, armask)                                                                \
    V(x4, 27) | V(x2, 31) | V(ar, 20), N(OPCODE, 4) | N(33, 3) | N(27, 4) | N(31, 2) | V(armask, 20)
#define SYS0_4(x4)    V(x4, 27), N(OPCODE, 4) | N(33, 3) | N(27, 4)
#define SYS1(x6)      V(1, OPCODE) | V(x6, 27), N(OPCODE, 4) | N(33, 3) | N(27, 6)
#define SYS1_X(x6, x) V(1, OPCODE) | V(x6, 27) | V(x, 36), N(OPCODE, 4) | N(27, 10)
#define SYS1_AR(x6, ar, am)                                                                        \
    V(1, OPCODE) | V(x6, 27) | V(ar, 20), N(OPCODE, 4) | N(27, 9) | V(am, 20)
#define LDST(major, m, x, x6)                                                                      \
    V(major, OPCODE) | V(m, 36) | V(x6, 30) | V(x, 27),                                            \
        N(OPCODE, 4) | N(36, 1) | N(30, 6) | N(27, 1)
#define LDST_IMM(major, x6) V(major, OPCODE) | V(x6, 30), N(OPCODE, 4) | N(30, 6)
#define LFETCH_COUNT                                                                               \
    V(6, OPCODE) | V(0x2c, 30) | V(1, 19), N(OPCODE, 4) | N(36, 1) | N(30, 6) | N(27, 1) | N(19, 1)
#define GETF(major, x6) LDST(major, 0, 1, x6)
#define F_PLAIN(x6)     LDST(6, 0, 0, x6)
#define F_REG(x6)       LDST(6, 1, 0, x6)
#define F_IMM(x6)       LDST_IMM(7, x6)
/* F */
#define FMISC(major, x6) V(major, OPCODE) | V(x6, 27), N(OPCODE, 4) | N(33, 1) | N(27, 6)
#define FMISC_F2(major, x6, f2)                                                                    \
    V(major, OPCODE) | V(x6, 27) | V(f2, 13), N(OPCODE, 4) | N(33, 1) | N(27, 6) | N(13, 7)
#define FMISC_Y(x6, y)   V(x6, 27) | V(y, 26), N(OPCODE, 4) | N(33, 1) | N(27, 6) | N(26, 1)
#define FRECIP(major, q) V(major, OPCODE) | V(1, 33) | V(q, 36), N(OPCODE, 4) | N(33, 1) | N(36, 1)
#define FCMP(ra, rb, ta)                                                                           \
    V(4, OPCODE) | V(ra, 33) | V(rb, 36) | V(ta, 12), N(OPCODE, 4) | N(33, 1) | N(36, 1) | N(12, 1)
#define FCLASS(ta)    V(5, OPCODE) | V(ta, 12), N(OPCODE, 4) | N(12, 1)
#define FMA(major, x) V(major, OPCODE) | V(x, 36), N(OPCODE, 4) | N(36, 1)
#define FMA_F2(major, x, f2)                                                                       \
    V(major, OPCODE) | V(x, 36) | V(f2, 13), N(OPCODE, 4) | N(36, 1) | N(13, 7)
#define FMA_F4(major, x, f4)                                                                       \
    V(major, OPCODE) | V(x, 36) | V(f4, 27), N(OPCODE, 4) | N(36, 1) | N(27, 7)
#define FMA_F4_F2(major, x, f4, f2)                                                                \
    V(major, OPCODE) | V(x, 36) | V(f4, 27) | V(f2, 13),                                           \
        N(OPCODE, 4) | N(36, 1) | N(27, 7) | N(13, 7)
#define XMA(x2) V(0xe, OPCODE) | V(1, 36) | V(x2, 34), N(OPCODE, 4) | N(34, 3)
#define XMA_F2(x2, f2)                                                                             \
    V(0xe, OPCODE) | V(1, 36) | V(x2, 34) | V(f2, 13), N(OPCODE, 4) | N(34, 3) | N(13, 7)
/* B */
#define BMISC(major, x6)    V(major, OPCODE) | V(x6, 27), N(OPCODE, 4) | N(27, 6)
#define BIND(x6, btype)     V(x6, 27) | V(btype, 6), N(OPCODE, 4) | N(27, 6) | N(6, 3)
#define BTYPE(major, btype) V(major, OPCODE) | V(btype, 6), N(OPCODE, 4) | N(6, 3)
/* X */
#define MOVL V(6, OPCODE), N(OPCODE, 4) | N(20, 1)
/* aliases: adds r1=0,r3; addl r1=imm,r0; unpredicated br.cond.sptk */
#define ALIAS_ADDS0                                                                                \
    V(8, OPCODE) | V(2, 34), N(OPCODE, 4) | N(33, 3) | N(36, 1) | N(27, 6) | N(13, 7)
#define ALIAS_ADDL_R0 V(9, OPCODE), N(OPCODE, 4) | N(20, 2)
#define ALIAS_MOVB    V(7, 33) | V(1, 20), N(OPCODE, 4) | N(33, 3) | N(20, 4)
#define ALIAS_BR      V(4, OPCODE), N(OPCODE, 4) | N(6, 3) | N(33, 2) | N(0, 6)
#define ALIAS_BR_IND  V(0x20, 27), N(OPCODE, 4) | N(27, 6) | N(6, 3) | N(33, 2) | N(0, 6)
#define ALIAS_BRL     V(0xc, OPCODE), N(OPCODE, 4) | N(6, 3) | N(33, 2) | N(0, 6)

enum format {
#define PV_IA64_FORMAT(name, suffixes, operands) FORMAT_##name,
#include "ia64/formats.def"
    FORMAT_COUNT
};

enum operand {
    K_0, /* end of the list */
    K_EQ,
    K_R1,
    K_R2,
    K_R3,
    K_R3A,
    K_F1,
    K_F2,
    K_F3,
    K_F4,
    K_P1,
    K_P2,
    K_B1,
    K_B2,
    K_AR3,
    K_CR3,
    K_MEM3,
    K_MEM3_POST,
    K_RR3,
    K_DBR3,
    K_IBR3,
    K_PKR3,
    K_PMC3,
    K_PMD3,
    K_MSR3,
    K_ITR3,
    K_DTR3,
    K_CPUID3,
    K_DAHR3,
    K_DAHR_FIXED,
    K_PR,
    K_PR_ROT,
    K_IP,
    K_PSR,
    K_PSR_L,
    K_PSR_UM,
    K_AR_PFS,
    K_AR_CCV,
    K_AR_CSD,
    K_R0,
    K_ONE,
    K_EIGHT,
    K_SIXTEEN,
    K_IMM1,
    K_IMM2,
    K_IMM5_32,
    K_IMM8,
    K_IMM9A,
    K_IMM9B,
    K_IMM14,
    K_IMM21,
    K_IMM22,
    K_IMM24,
    K_IMM44,
    K_IMM19_HINT,
    K_IMM16_DAHR,
    K_LF_COUNT,
    K_LF_STRIDE,
    K_IMM62,
    K_IMM64,
    K_MASK17,
    K_CT2D,
    K_CNT2C,
    K_MBTYPE,
    K_MHTYPE,
    K_COUNT5B,
    K_CCOUNT5C,
    K_COUNT6D,
    K_POS6B,
    K_LEN6D,
    K_LEN4D,
    K_CPOS6B,
    K_CPOS6C,
    K_CPOS6D,
    K_INC3,
    K_SOF,
    K_SOL,
    K_SOR,
    K_AMASK7B,
    K_OMASK7C,
    K_FCLASS9,
    K_TARGET,
    K_TARGET_CHK,
    K_TARGET_ALAT,
    K_TARGET_FCHK,
    K_TARGET64,
    K_TAG_MOV,
    K_TAG_BRP,
    OPERAND_COUNT
};

enum operand_class {
    CLASS_TEXT,
    CLASS_GR,
    CLASS_FR,
    CLASS_PR,
    CLASS_BR,
    CLASS_AR,
    CLASS_CR,
    CLASS_DAHR,
    CLASS_MEMORY,   /* [r3] */
    CLASS_INDIRECT, /* rr[r3] */
    CLASS_NUMBER,
    CLASS_TARGET
};

#define PART_MAX      4
#define FROM_UPPER    0x80 /* the part stands in the L slot */
#define NUMBER_SIGNED 1
#define NUMBER_HEX    2

/*
 * Where an operand stands in the slot: parts from the least significant up, each (position,
 * length). A number is base + (scale < 0 ? -1 : 1) * (parts << shift).
 */
struct operand_info {
    const char *text; /* of CLASS_TEXT; the prefix of CLASS_INDIRECT */
    uint8_t class;
    uint8_t flags;
    uint8_t shift;
    uint8_t base;
    int8_t scale;
    struct {
        uint8_t position, length;
    } part[PART_MAX];
};

#define REGISTER(class, position, length)                                                          \
    {                                                                                              \
        NULL, class, 0, 0, 0, 1,                                                                   \
        {                                                                                          \
            {                                                                                      \
                position, length                                                                   \
            }                                                                                      \
        }                                                                                          \
    }
#define INDIRECT(prefix)                                                                           \
    {                                                                                              \
        prefix, CLASS_INDIRECT, 0, 0, 0, 1,                                                        \
        {                                                                                          \
            {                                                                                      \
                20, 7                                                                              \
            }                                                                                      \
        }                                                                                          \
    }
#define TEXT(string)                                                                               \
    {                                                                                              \
        string, CLASS_TEXT, 0, 0, 0, 1,                                                            \
        {                                                                                          \
            {                                                                                      \
                0, 0                                                                               \
            }                                                                                      \
        }                                                                                          \
    }
#define NUMBER(flags, shift, base, scale, ...)                                                     \
    {                                                                                              \
        NULL, CLASS_NUMBER, flags, shift, base, scale,                                             \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define TARGET(...)                                                                                \
    {                                                                                              \
        NULL, CLASS_TARGET, NUMBER_SIGNED, 4, 0, 1,                                                \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define SIGN                                                                                       \
    {                                                                                              \
        36, 1                                                                                      \
    }

static const struct operand_info operands[OPERAND_COUNT] = {
    [K_R1] = REGISTER(CLASS_GR, 6, 7),
    [K_R2] = REGISTER(CLASS_GR, 13, 7),
    [K_R3] = REGISTER(CLASS_GR, 20, 7),
    [K_R3A] = REGISTER(CLASS_GR, 20, 2),
    [K_F1] = REGISTER(CLASS_FR, 6, 7),
    [K_F2] = REGISTER(CLASS_FR, 13, 7),
    [K_F3] = REGISTER(CLASS_FR, 20, 7),
    [K_F4] = REGISTER(CLASS_FR, 27, 7),
    [K_P1] = REGISTER(CLASS_PR, 6, 6),
    [K_P2] = REGISTER(CLASS_PR, 27, 6),
    [K_B1] = REGISTER(CLASS_BR, 6, 3),
    [K_B2] = REGISTER(CLASS_BR, 13, 3),
    [K_AR3] = REGISTER(CLASS_AR, 20, 7),
    [K_CR3] = REGISTER(CLASS_CR, 20, 7),
    [K_MEM3] = REGISTER(CLASS_MEMORY, 20, 7),
    [K_MEM3_POST] = REGISTER(CLASS_MEMORY, 20, 7),
    [K_RR3] = INDIRECT("rr["),
    [K_DBR3] = INDIRECT("dbr["),
    [K_IBR3] = INDIRECT("ibr["),
    [K_PKR3] = INDIRECT("pkr["),
    [K_PMC3] = INDIRECT("pmc["),
    [K_PMD3] = INDIRECT("pmd["),
    [K_MSR3] = INDIRECT("msr["),
    [K_ITR3] = INDIRECT("itr["),
    [K_DTR3] = INDIRECT("dtr["),
    [K_CPUID3] = INDIRECT("cpuid["),
    [K_DAHR3] = INDIRECT("dahr["),
    [K_DAHR_FIXED] = REGISTER(CLASS_DAHR, 23, 3),
    [K_PR] = TEXT("pr"),
    [K_PR_ROT] = TEXT("pr.rot"),
    [K_IP] = TEXT("ip"),
    [K_PSR] = TEXT("psr"),
    [K_PSR_L] = TEXT("psr.l"),
    [K_PSR_UM] = TEXT("psr.um"),
    [K_AR_PFS] = TEXT("ar.pfs"),
    [K_AR_CCV] = TEXT("ar.ccv"),
    [K_AR_CSD] = TEXT("ar.csd"),
    [K_R0] = TEXT("r0"),
    [K_ONE] = TEXT("1"),
    [K_EIGHT] = TEXT("8"),
    [K_SIXTEEN] = TEXT("16"),
    [K_IMM1] = NUMBER(NUMBER_SIGNED, 0, 0, 1, SIGN),
    [K_IMM2] = NUMBER(0, 0, 0, 1, {13, 2}),
    [K_IMM5_32] = NUMBER(0, 0, 32, 1, {14, 5}),
    [K_IMM8] = NUMBER(NUMBER_SIGNED, 0, 0, 1, {13, 7}, SIGN),
    [K_IMM9A] = NUMBER(NUMBER_SIGNED, 0, 0, 1, {6, 7}, {27, 1}, SIGN),
    [K_IMM9B] = NUMBER(NUMBER_SIGNED, 0, 0, 1, {13, 7}, {27, 1}, SIGN),
    [K_IMM14] = NUMBER(NUMBER_SIGNED, 0, 0, 1, {13, 7}, {27, 6}, SIGN),
    [K_IMM21] = NUMBER(NUMBER_HEX, 0, 0, 1, {6, 20}, {36, 1}),
    [K_IMM22] = NUMBER(NUMBER_SIGNED, 0, 0, 1, {13, 7}, {27, 9}, {22, 5}, SIGN),
    [K_IMM24] = NUMBER(NUMBER_HEX, 0, 0, 1, {6, 21}, {31, 2}, {36, 1}),
    [K_IMM19_HINT] = NUMBER(0, 0, 0, 1, {6, 4}, {12, 14}, {36, 1}),
    [K_IMM16_DAHR] = NUMBER(0, 0, 0, 1, {6, 4}, {12, 11}, {36, 1}),
    [K_LF_COUNT] = NUMBER(0, 0, 1, 1, {6, 6}),
    [K_LF_STRIDE] = NUMBER(NUMBER_SIGNED, 6, 0, 1, {13, 5}),
    [K_IMM44] = NUMBER(NUMBER_HEX | NUMBER_SIGNED, 16, 0, 1, {6, 27}, SIGN),
    [K_IMM62] = NUMBER(NUMBER_HEX, 0, 0, 1, {6, 20}, {36, 1}, {FROM_UPPER | 0, 41}),
    /* movl: the fifth part, i at bit 63, is added by number() */
    [K_IMM64] = NUMBER(NUMBER_HEX, 0, 0, 1, {13, 7}, {27, 9}, {22, 5}, {21, 1}),
    [K_MASK17] = NUMBER(NUMBER_HEX | NUMBER_SIGNED, 1, 0, 1, {6, 7}, {24, 8}, SIGN),
    [K_CT2D] = NUMBER(0, 0, 1, 1, {27, 2}),
    [K_CNT2C] = NUMBER(0, 0, 0, 1, {30, 2}),
    [K_MBTYPE] = NUMBER(0, 0, 0, 1, {20, 4}),
    [K_MHTYPE] = NUMBER(NUMBER_HEX, 0, 0, 1, {20, 8}),
    [K_COUNT5B] = NUMBER(0, 0, 0, 1, {14, 5}),
    [K_CCOUNT5C] = NUMBER(0, 0, 31, -1, {20, 5}),
    [K_COUNT6D] = NUMBER(0, 0, 0, 1, {27, 6}),
    [K_POS6B] = NUMBER(0, 0, 0, 1, {14, 6}),
    [K_LEN6D] = NUMBER(0, 0, 1, 1, {27, 6}),
    [K_LEN4D] = NUMBER(0, 0, 1, 1, {27, 4}),
    [K_CPOS6B] = NUMBER(0, 0, 63, -1, {14, 6}),
    [K_CPOS6C] = NUMBER(0, 0, 63, -1, {20, 6}),
    [K_CPOS6D] = NUMBER(0, 0, 63, -1, {31, 6}),
    [K_INC3] = NUMBER(0, 0, 0, 1, {13, 3}),
    [K_SOF] = NUMBER(0, 0, 0, 1, {13, 7}),
    [K_SOL] = NUMBER(0, 0, 0, 1, {20, 7}),
    [K_SOR] = NUMBER(0, 3, 0, 1, {27, 4}),
    [K_AMASK7B] = NUMBER(NUMBER_HEX, 0, 0, 1, {13, 7}),
    [K_OMASK7C] = NUMBER(NUMBER_HEX, 0, 0, 1, {20, 7}),
    [K_FCLASS9] = NUMBER(NUMBER_HEX, 0, 0, 1, {33, 2}, {20, 7}),
    [K_TARGET] = TARGET({13, 20}, SIGN),
    [K_TARGET_CHK] = TARGET({6, 7}, {20, 13}, SIGN),
    [K_TARGET_ALAT] = TARGET({13, 20}, SIGN),
    [K_TARGET_FCHK] = TARGET({6, 20}, SIGN),
    [K_TARGET64] = TARGET({13, 20}, {FROM_UPPER | 2, 39}, SIGN),
    [K_TAG_MOV] = TARGET({24, 9}),
    [K_TAG_BRP] = TARGET({6, 7}, {33, 2}),
};

enum suffix {
    SUFFIX_0,
    SUFFIX_LDHINT,
    SUFFIX_LDHINT8,
    SUFFIX_STHINT,
    SUFFIX_STHINT8,
    SUFFIX_LFHINT,
    SUFFIX_SF,
    SUFFIX_BWH,
    SUFFIX_BWH_CALL,
    SUFFIX_PH,
    SUFFIX_DH,
    SUFFIX_IPWH,
    SUFFIX_INDWH,
    SUFFIX_IH,
    SUFFIX_MWH,
    SUFFIX_MIH,
    SUFFIX_COUNT
};

#define SUFFIX_VALUES 8

/*
 * A field that chooses a completer; (extra), if not 0, is the position of one more bit above it
 * (the hints that the Itanium 9500 added). A NULL text is a reserved value.
 */
static const struct suffix_info {
    uint8_t position, length, extra;
    const char *text[SUFFIX_VALUES];
} suffixes[SUFFIX_COUNT] = {
    [SUFFIX_LDHINT] = {28, 2, 0, {"", ".nt1", NULL, ".nta"}},
    [SUFFIX_LDHINT8] = {28, 2, 19, {"", ".nt1", ".d2", ".nta", ".d4", ".d5", ".d6", ".d7"}},
    [SUFFIX_STHINT] = {28, 2, 0, {"", NULL, NULL, ".nta"}},
    [SUFFIX_STHINT8] = {28, 2, 12, {"", ".d1", ".d2", ".nta", ".d4", ".d5", ".d6", ".d7"}},
    [SUFFIX_LFHINT] = {28, 2, 12, {"", ".nt1", ".nt2", ".nta", ".d4", ".d5", ".d6", ".d7"}},
    [SUFFIX_SF] = {34, 2, 0, {".s0", ".s1", ".s2", ".s3"}},
    [SUFFIX_BWH] = {33, 2, 0, {".sptk", ".spnt", ".dptk", ".dpnt"}},
    [SUFFIX_BWH_CALL] = {32, 3, 0, {NULL, ".sptk", NULL, ".spnt", NULL, ".dptk", NULL, ".dpnt"}},
    [SUFFIX_PH] = {12, 1, 0, {".few", ".many"}},
    [SUFFIX_DH] = {35, 1, 0, {"", ".clr"}},
    [SUFFIX_IPWH] = {3, 2, 0, {".sptk", ".loop", ".dptk", ".exit"}},
    [SUFFIX_INDWH] = {3, 2, 0, {".sptk", NULL, ".dptk", NULL}},
    [SUFFIX_IH] = {35, 1, 0, {"", ".imp"}},
    [SUFFIX_MWH] = {20, 2, 0, {".sptk", "", ".dptk", NULL}},
    [SUFFIX_MIH] = {23, 1, 0, {"", ".imp"}},
};

#define FORMAT_SUFFIXES 3
#define FORMAT_OPERANDS 7

struct format_info {
    uint8_t suffix[FORMAT_SUFFIXES + 1];
    uint8_t operand[FORMAT_OPERANDS + 1];
};

/* (LDHINT) -> SUFFIX_LDHINT; up to three, (R1, EQ, ...) -> K_R1, K_EQ, ...; up to seven */
#define PASTE_(a, b)                        a##b
#define EACH_1(p, a)                        p##a
#define EACH_2(p, a, ...)                   p##a, EACH_1(p, __VA_ARGS__)
#define EACH_3(p, a, ...)                   p##a, EACH_2(p, __VA_ARGS__)
#define EACH_4(p, a, ...)                   p##a, EACH_3(p, __VA_ARGS__)
#define EACH_5(p, a, ...)                   p##a, EACH_4(p, __VA_ARGS__)
#define EACH_6(p, a, ...)                   p##a, EACH_5(p, __VA_ARGS__)
#define EACH_7(p, a, ...)                   p##a, EACH_6(p, __VA_ARGS__)
#define COUNT_(a, b, c, d, e, f, g, n, ...) n
#define COUNT(...)                          COUNT_(__VA_ARGS__, 7, 6, 5, 4, 3, 2, 1, 0)
#define CAT(a, b)                           PASTE_(a, b)
#define EACH(p, ...)                        CAT(EACH_, COUNT(__VA_ARGS__))(p, __VA_ARGS__)
#define SUFFIXES(...)                                                                              \
    {                                                                                              \
        EACH(SUFFIX_, __VA_ARGS__)                                                                 \
    }
#define OPERANDS(...)                                                                              \
    {                                                                                              \
        EACH(K_, __VA_ARGS__)                                                                      \
    }

static const struct format_info formats[FORMAT_COUNT] = {
#define PV_IA64_FORMAT(name, suffixes, operands)                                                   \
    [FORMAT_##name] = {SUFFIXES suffixes, OPERANDS operands},
#include "ia64/formats.def"
};

/* One list; the rows of a unit stand together, see the order in insns.def. */
static const struct pv_ia64_row rows[] = {
#define PV_IA64_ROW(unit, name, format, op, effects, match, mask)                                  \
    {name, match, mask, effects, PREVIRT_IA64_UNIT_##unit, FORMAT_##format, PREVIRT_IA64_##op},
#define PV_IA64_INSN(...) PV_IA64_ROW(__VA_ARGS__)
#include "ia64/insns.def"
};

enum condition { IF_ALWAYS, IF_SHIFT_LEFT, IF_SHIFT_RIGHT, IF_SAME_F2_F3 };

static const struct alias {
    const char *name;
    uint64_t match, mask;
    uint8_t unit, format, condition;
} aliases[] = {
#define PV_IA64_ALIAS_ROW(unit, name, format, condition, match, mask)                              \
    {name, match, mask, PREVIRT_IA64_UNIT_##unit, FORMAT_##format, IF_##condition},
#define PV_IA64_ALIAS(...) PV_IA64_ALIAS_ROW(__VA_ARGS__)
#include "ia64/aliases.def"
};

#define ROW_COUNT   (sizeof(rows) / sizeof(rows[0]))
#define ALIAS_COUNT (sizeof(aliases) / sizeof(aliases[0]))

const struct pv_ia64_row *pv_ia64_row(size_t index)
{
    return index < ROW_COUNT ? &rows[index] : NULL;
}

/* --- Decoding --- */

static unsigned field(uint64_t bits, unsigned position, unsigned length)
{
    return (unsigned)(bits >> position & ((UINT64_C(1) << length) - 1));
}

/* The completer that the slot's fields choose, NULL for a reserved value. */
static const char *suffix_text(unsigned suffix, uint64_t bits)
{
    const struct suffix_info *s = &suffixes[suffix];
    unsigned value = field(bits, s->position, s->length);

    if (s->extra)
        value |= field(bits, s->extra, 1) << s->length;
    return s->text[value];
}

static int suffixes_valid(unsigned format, uint64_t bits)
{
    for (const uint8_t *s = formats[format].suffix; *s; s++)
        if (!suffix_text(*s, bits))
            return 0;
    return 1;
}

/* mux1's permutations: the other values of mbt4c are reserved */
static const char *mux1_type(unsigned value)
{
    switch (value) {
    case 0x0:
        return "@brcst";
    case 0x8:
        return "@mix";
    case 0x9:
        return "@shuf";
    case 0xa:
        return "@alt";
    case 0xb:
        return "@rev";
    default:
        return NULL;
    }
}

/* The first row of (unit) that matches, by a binary search for (unit, major opcode). */
static const struct pv_ia64_row *find_row(unsigned unit, uint64_t bits)
{
    unsigned major = field(bits, OPCODE, 4);
    size_t low = 0, high = ROW_COUNT;

    /* insns.def's order of the units */
    static const uint8_t rank[] = {
        [PREVIRT_IA64_UNIT_A] = 0, [PREVIRT_IA64_UNIT_I] = 1, [PREVIRT_IA64_UNIT_M] = 2,
        [PREVIRT_IA64_UNIT_F] = 3, [PREVIRT_IA64_UNIT_B] = 4, [PREVIRT_IA64_UNIT_X] = 5,
    };

    while (low < high) {
        size_t middle = (low + high) / 2;
        const struct pv_ia64_row *r = &rows[middle];

        if (rank[r->unit] < rank[unit] || (r->unit == unit && field(r->match, OPCODE, 4) < major))
            low = middle + 1;
        else
            high = middle;
    }
    for (; low < ROW_COUNT && rows[low].unit == unit; low++) {
        if (field(rows[low].match, OPCODE, 4) != major)
            break;
        if ((bits & rows[low].mask) == rows[low].match)
            return &rows[low];
    }
    return NULL;
}

int previrt_ia64_decode(unsigned unit, uint64_t slot, uint64_t upper,
                        struct previrt_ia64_insn *insn)
{
    const struct pv_ia64_row *row = NULL;

    if (!insn || slot > SLOT_MASK || unit == PREVIRT_IA64_UNIT_NONE ||
        unit == PREVIRT_IA64_UNIT_L || unit > PREVIRT_IA64_UNIT_X ||
        (unit == PREVIRT_IA64_UNIT_X && upper > SLOT_MASK))
        return PREVIRT_E_INVALID;
    *insn = (struct previrt_ia64_insn){.bits = slot, .unit = (uint8_t)unit};
    if (unit == PREVIRT_IA64_UNIT_X)
        insn->upper = upper;
    if (unit == PREVIRT_IA64_UNIT_M || unit == PREVIRT_IA64_UNIT_I)
        row = find_row(PREVIRT_IA64_UNIT_A, slot);
    if (!row)
        row = find_row(unit, slot);
    if (!row || !suffixes_valid(row->format, slot) ||
        (row->format == FORMAT_I3 && !mux1_type(field(slot, 20, 4))))
        return PREVIRT_E_UNDECODABLE;
    insn->name = row->name;
    insn->effects = row->effects;
    insn->op = row->op;
    insn->type = row->unit;
    insn->format = row->format;
    insn->qp = row->effects & PREVIRT_IA64_NO_QP ? 0 : (uint8_t)(slot & QP_MASK);
    return PREVIRT_OK;
}

int previrt_ia64_decode_slot(const struct previrt_ia64_bundle *bundle, unsigned slot,
                             struct previrt_ia64_insn *insn)
{
    const struct previrt_ia64_template *t;

    if (!bundle || slot >= PREVIRT_IA64_SLOTS)
        return PREVIRT_E_INVALID;
    t = previrt_ia64_template(bundle->template_number);
    if (!t)
        return PREVIRT_E_UNDECODABLE;
    return previrt_ia64_decode(t->unit[slot], bundle->slot[slot], bundle->slot[1], insn);
}

/* --- Operands --- */

#define MOVL_I_POSITION 36
#define MOVL_SIGN_BIT   63
#define MOVL_UPPER      22 /* imm41 stands above the 22 bits of the X slot */

static int64_t number(const struct previrt_ia64_insn *insn, unsigned kind)
{
    const struct operand_info *o = &operands[kind];
    uint64_t value = 0;
    unsigned length = 0;

    for (int i = 0; i < PART_MAX && o->part[i].length; i++) {
        uint64_t from = o->part[i].position & FROM_UPPER ? insn->upper : insn->bits;
        uint64_t part =
            from >> (o->part[i].position & ~FROM_UPPER) & ((UINT64_C(1) << o->part[i].length) - 1);

        value |= part << length;
        length += o->part[i].length;
    }
    if (kind == K_IMM64)
        return (int64_t)(value | insn->upper << MOVL_UPPER |
                         (uint64_t)field(insn->bits, MOVL_I_POSITION, 1) << MOVL_SIGN_BIT);
    if (o->flags & NUMBER_SIGNED && length < 64 && value >> (length - 1))
        value |= ~UINT64_C(0) << length;
    value <<= o->shift;
    return o->scale < 0 ? (int64_t)(o->base - value) : (int64_t)(o->base + value);
}

static void put_number(struct previrt_ia64_insn *insn, unsigned kind, uint64_t value)
{
    const struct operand_info *o = &operands[kind];

    value >>= o->shift;
    for (int i = 0; i < PART_MAX && o->part[i].length; i++) {
        uint64_t *to = o->part[i].position & FROM_UPPER ? &insn->upper : &insn->bits;
        unsigned position = o->part[i].position & (unsigned)~FROM_UPPER;
        uint64_t mask = (UINT64_C(1) << o->part[i].length) - 1;

        *to = (*to & ~(mask << position)) | (value & mask) << position;
        value >>= o->part[i].length;
    }
}

static unsigned target_kind(const struct previrt_ia64_insn *insn)
{
    for (const uint8_t *k = formats[insn->format].operand; *k; k++)
        if (*k >= K_TARGET && *k <= K_TARGET64)
            return *k;
    return K_0;
}

int previrt_ia64_target(const struct previrt_ia64_insn *insn, uint64_t address, uint64_t *target)
{
    unsigned kind = insn && target ? target_kind(insn) : K_0;

    if (!kind)
        return PREVIRT_E_INVALID;
    *target = address + (uint64_t)number(insn, kind);
    return PREVIRT_OK;
}

int previrt_ia64_retarget(struct previrt_ia64_insn *insn, uint64_t address, uint64_t target)
{
    unsigned kind = insn ? target_kind(insn) : K_0;
    struct previrt_ia64_insn changed;

    if (!kind || (target - address) % PREVIRT_IA64_BUNDLE_SIZE)
        return PREVIRT_E_INVALID;
    changed = *insn;
    put_number(&changed, kind, target - address);
    if ((uint64_t)number(&changed, kind) != target - address)
        return PREVIRT_E_REACH;
    *insn = changed;
    return PREVIRT_OK;
}

/* --- Registers --- */

#define AR_RSC      16
#define AR_BSP      17
#define AR_BSPSTORE 18
#define AR_RNAT     19
#define AR_CSD      25
#define AR_CCV      32
#define AR_UNAT     36
#define AR_FPSR     40
#define AR_PFS      64
#define AR_LC       65
#define AR_EC       66
#define PR_ROTATING (~UINT64_C(0) << 16)

static void add_gr(struct previrt_ia64_registers *set, unsigned number)
{
    if (number)
        set->gr[number / 64] |= UINT64_C(1) << number % 64;
}

static void add_fr(struct previrt_ia64_registers *set, unsigned number)
{
    if (number > 1)
        set->fr[number / 64] |= UINT64_C(1) << number % 64;
}

static void add_ar(struct previrt_ia64_registers *set, unsigned number)
{
    set->ar[number / 64] |= UINT64_C(1) << number % 64;
}

static void add_implicit(const struct previrt_ia64_insn *insn, struct previrt_ia64_registers *reads,
                         struct previrt_ia64_registers *writes)
{
    static const struct {
        uint32_t effect;
        uint8_t ar, reads, writes;
    } implicit[] = {
        {PREVIRT_IA64_READS_PFS, AR_PFS, 1, 0},   {PREVIRT_IA64_WRITES_PFS, AR_PFS, 0, 1},
        {PREVIRT_IA64_READS_UNAT, AR_UNAT, 1, 0}, {PREVIRT_IA64_WRITES_UNAT, AR_UNAT, 1, 1},
        {PREVIRT_IA64_READS_CCV, AR_CCV, 1, 0},   {PREVIRT_IA64_READS_CSD, AR_CSD, 1, 0},
        {PREVIRT_IA64_WRITES_CSD, AR_CSD, 0, 1},  {PREVIRT_IA64_FPSR, AR_FPSR, 1, 1},
        {PREVIRT_IA64_LC, AR_LC, 1, 1},           {PREVIRT_IA64_EC, AR_EC, 1, 1},
        {PREVIRT_IA64_RSE, AR_RSC, 1, 0},         {PREVIRT_IA64_RSE, AR_BSP, 1, 1},
        {PREVIRT_IA64_RSE, AR_BSPSTORE, 1, 1},    {PREVIRT_IA64_RSE, AR_RNAT, 1, 1},
    };

    for (size_t i = 0; i < sizeof(implicit) / sizeof(implicit[0]); i++) {
        if (!(insn->effects & implicit[i].effect))
            continue;
        if (implicit[i].reads)
            add_ar(reads, implicit[i].ar);
        if (implicit[i].writes)
            add_ar(writes, implicit[i].ar);
    }
    if (insn->effects & PREVIRT_IA64_ROTATES)
        writes->pr |= PR_ROTATING;
    if (insn->qp)
        reads->pr |= UINT64_C(1) << insn->qp;
}

void previrt_ia64_registers(const struct previrt_ia64_insn *insn,
                            struct previrt_ia64_registers *reads,
                            struct previrt_ia64_registers *writes)
{
    const uint8_t *list = formats[insn->format].operand;
    int has_results = 0, result;

    *reads = *writes = (struct previrt_ia64_registers){{0}};
    for (const uint8_t *k = list; *k; k++)
        has_results |= *k == K_EQ;
    result = has_results;
    for (const uint8_t *k = list; *k; k++) {
        const struct operand_info *o = &operands[*k];
        struct previrt_ia64_registers *set = result ? writes : reads;
        unsigned n = field(insn->bits, o->part[0].position, o->part[0].length);

        if (*k == K_EQ) {
            result = 0;
            continue;
        }
        switch (o->class) {
        case CLASS_GR:
            add_gr(set, n);
            break;
        case CLASS_FR:
            add_fr(set, n);
            break;
        case CLASS_PR:
            if (n)
                set->pr |= UINT64_C(1) << n;
            break;
        case CLASS_BR:
            set->br |= (uint8_t)(1u << n);
            break;
        case CLASS_AR:
            add_ar(set, n);
            break;
        case CLASS_MEMORY:
        case CLASS_INDIRECT: /* the register that holds the address or index */
            add_gr(reads, n);
            if (*k == K_MEM3_POST)
                add_gr(writes, n);
            break;
        case CLASS_TEXT:
            if (*k == K_PR && result)
                set->pr |= (uint64_t)number(insn, K_MASK17) & ~UINT64_C(1);
            else if (*k == K_PR)
                set->pr |= ~UINT64_C(1);
            else if (*k == K_PR_ROT)
                set->pr |= PR_ROTATING;
            else if (*k == K_AR_PFS)
                add_ar(set, AR_PFS);
            break;
        default:
            break;
        }
    }
    add_implicit(insn, reads, writes);
}

void pv_ia64_system_operands(const struct previrt_ia64_insn *insn, unsigned *gr, unsigned *second)
{
    int have_gr = 0;

    *gr = *second = 0;
    for (const uint8_t *k = formats[insn->format].operand; *k; k++) {
        const struct operand_info *o = &operands[*k];
        unsigned n = field(insn->bits, o->part[0].position, o->part[0].length);

        switch (o->class) {
        case CLASS_GR:
            if (have_gr)
                *second = n;
            else
                *gr = n;
            have_gr = 1;
            break;
        case CLASS_AR:
        case CLASS_CR:
        case CLASS_INDIRECT:
            *second = n;
            break;
        default:
            if (*k == K_IMM2)
                *second = n;
            break;
        }
    }
}

/* --- Text --- */

struct writer {
    char *text;
    size_t size, length;
};

static void put(struct writer *w, const char *s)
{
    for (; *s; s++, w->length++)
        if (w->length + 1 < w->size)
            w->text[w->length] = *s;
}

#define HEX_DIGITS     16
#define DECIMAL_DIGITS 10 /* of 32 bits: no operand that is printed in decimal is larger */

static void put_hex(struct writer *w, uint64_t value)
{
    char digits[HEX_DIGITS + 1];
    size_t i = HEX_DIGITS;

    digits[i] = '\0';
    do {
        digits[--i] = "0123456789abcdef"[value & 0xf];
        value >>= 4;
    } while (value);
    put(w, "0x");
    put(w, &digits[i]);
}

static void put_decimal(struct writer *w, uint32_t value)
{
    char digits[DECIMAL_DIGITS + 1];
    size_t i = DECIMAL_DIGITS;

    digits[i] = '\0';
    do {
        digits[--i] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    put(w, &digits[i]);
}

static void put_name(struct writer *w, const char *prefix, unsigned n)
{
    put(w, prefix);
    put_decimal(w, n);
}

static const char *ar_name(unsigned n)
{
    switch (n) {
    case AR_RSC:
        return "ar.rsc";
    case AR_BSP:
        return "ar.bsp";
    case AR_BSPSTORE:
        return "ar.bspstore";
    case AR_RNAT:
        return "ar.rnat";
    case 21:
        return "ar.fcr";
    case 24:
        return "ar.eflag";
    case AR_CSD:
        return "ar.csd";
    case 26:
        return "ar.ssd";
    case 27:
        return "ar.cflg";
    case 28:
        return "ar.fsr";
    case 29:
        return "ar.fir";
    case 30:
        return "ar.fdr";
    case AR_CCV:
        return "ar.ccv";
    case AR_UNAT:
        return "ar.unat";
    case AR_FPSR:
        return "ar.fpsr";
    case 44:
        return "ar.itc";
    case 45:
        return "ar.ruc";
    case AR_PFS:
        return "ar.pfs";
    case AR_LC:
        return "ar.lc";
    case AR_EC:
        return "ar.ec";
    default:
        return NULL;
    }
}

static const char *cr_name(unsigned n)
{
    static const char *const names[] = {
        [0] = "cr.dcr",   [1] = "cr.itm",   [2] = "cr.iva",   [8] = "cr.pta",   [16] = "cr.ipsr",
        [17] = "cr.isr",  [19] = "cr.iip",  [20] = "cr.ifa",  [21] = "cr.itir", [22] = "cr.iipa",
        [23] = "cr.ifs",  [24] = "cr.iim",  [25] = "cr.iha",  [26] = "cr.iib0", [27] = "cr.iib1",
        [64] = "cr.lid",  [65] = "cr.ivr",  [66] = "cr.tpr",  [67] = "cr.eoi",  [68] = "cr.irr0",
        [69] = "cr.irr1", [70] = "cr.irr2", [71] = "cr.irr3", [72] = "cr.itv",  [73] = "cr.pmv",
        [74] = "cr.cmcv", [80] = "cr.lrr0", [81] = "cr.lrr1",
    };

    return n < sizeof(names) / sizeof(names[0]) ? names[n] : NULL;
}

static void put_operand(struct writer *w, const struct previrt_ia64_insn *insn, unsigned kind,
                        uint64_t address)
{
    static const uint8_t pmpyshr_count[] = {0, 7, 15, 16};
    static const int8_t fetchadd_increment[] = {16, 8, 4, 1, -16, -8, -4, -1};
    const struct operand_info *o = &operands[kind];
    unsigned n = field(insn->bits, o->part[0].position, o->part[0].length);
    const char *name;
    int64_t value;

    switch (o->class) {
    case CLASS_TEXT:
        put(w, o->text);
        return;
    case CLASS_GR:
        put_name(w, "r", n);
        return;
    case CLASS_FR:
        put_name(w, "f", n);
        return;
    case CLASS_PR:
        put_name(w, "p", n);
        return;
    case CLASS_BR:
        put_name(w, "b", n);
        return;
    case CLASS_DAHR:
        put_name(w, "dahr", n);
        return;
    case CLASS_AR:
        name = ar_name(n);
        if (name)
            put(w, name);
        else
            put_name(w, n < 8 ? "ar.k" : "ar", n);
        return;
    case CLASS_CR:
        name = cr_name(n);
        if (name)
            put(w, name);
        else
            put_name(w, "cr", n);
        return;
    case CLASS_MEMORY:
    case CLASS_INDIRECT:
        put(w, o->class == CLASS_MEMORY ? "[" : o->text);
        put_name(w, "r", n);
        put(w, "]");
        return;
    case CLASS_TARGET:
        put_hex(w, address + (uint64_t)number(insn, kind));
        return;
    default:
        break;
    }
    value = number(insn, kind);
    if (kind == K_CNT2C)
        value = pmpyshr_count[value];
    else if (kind == K_INC3)
        value = fetchadd_increment[value];
    if (kind == K_MBTYPE) {
        put(w, mux1_type((unsigned)value));
    } else if (o->flags & NUMBER_HEX) {
        put_hex(w, (uint64_t)value);
    } else {
        if (value < 0)
            put(w, "-");
        put_decimal(w, (uint32_t)(value < 0 ? -value : value));
    }
}

/* The pseudo-operation that (insn) is a case of, or NULL. */
static const struct alias *find_alias(const struct previrt_ia64_insn *insn)
{
    for (size_t i = 0; i < ALIAS_COUNT; i++) {
        const struct alias *a = &aliases[i];
        int holds = 1;

        if (a->unit != insn->type || (insn->bits & a->mask) != a->match)
            continue;
        if (a->condition == IF_SHIFT_LEFT)
            holds = number(insn, K_CPOS6C) + number(insn, K_LEN6D) == 64;
        else if (a->condition == IF_SHIFT_RIGHT)
            holds = number(insn, K_POS6B) + number(insn, K_LEN6D) == 64;
        else if (a->condition == IF_SAME_F2_F3)
            holds = field(insn->bits, 13, 7) == field(insn->bits, 20, 7);
        if (holds)
            return a;
    }
    return NULL;
}

int previrt_ia64_text(const struct previrt_ia64_insn *insn, uint64_t address, char *text,
                      size_t size)
{
    struct writer w = {text, size, 0};
    const struct format_info *format;
    const struct alias *alias;
    const char *separator = " ";

    if (!insn || !insn->name || !text || !size)
        return PREVIRT_E_INVALID;
    alias = find_alias(insn);
    format = &formats[alias ? alias->format : insn->format];
    if (insn->qp) {
        put(&w, insn->qp < 10 ? "(p0" : "(p");
        put_decimal(&w, insn->qp);
        put(&w, ") ");
    }
    put(&w, alias ? alias->name : insn->name);
    for (const uint8_t *s = format->suffix; *s; s++)
        put(&w, suffix_text(*s, insn->bits));
    for (const uint8_t *k = format->operand; *k; k++) {
        if (*k == K_EQ) {
            separator = "=";
            continue;
        }
        put(&w, separator);
        put_operand(&w, insn, *k, address);
        separator = ",";
    }
    text[w.length < size ? w.length : size - 1] = '\0';
    return w.length < size ? (int)w.length : PREVIRT_E_SPACE;
}
