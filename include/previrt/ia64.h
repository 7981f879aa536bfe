/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IA-64 (Itanium): bundles, the instruction set, the catalogue of sensitive operations, scanning,
 * patch-up table records and rewriting. Everything here is freestanding: no libc, no malloc, no
 * mutable globals.
 *
 * SDM is the Intel Itanium Architecture Software Developer's Manual, revision 2.3. An address of
 * code is the address of a bundle (a multiple of 16) and a slot number 0..2. docs/ia64.md explains
 * the whole.
 */
#ifndef PREVIRT_IA64_H
#define PREVIRT_IA64_H

#include <previrt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PREVIRT_IA64_BUNDLE_SIZE 16
#define PREVIRT_IA64_SLOTS       3
#define PREVIRT_IA64_SLOT_BITS   41
#define PREVIRT_IA64_TEMPLATES   32

/* --- Bundles (SDM 1, 3.3) --- */

enum previrt_ia64_unit {
    PREVIRT_IA64_UNIT_NONE = 0,
    PREVIRT_IA64_UNIT_M, /* memory */
    PREVIRT_IA64_UNIT_I, /* integer */
    PREVIRT_IA64_UNIT_F, /* floating point */
    PREVIRT_IA64_UNIT_B, /* branch */
    PREVIRT_IA64_UNIT_L, /* the immediate half of a long instruction, slot 1 of MLX */
    PREVIRT_IA64_UNIT_X, /* the other half, slot 2 */
    PREVIRT_IA64_UNIT_A  /* instructions only: may stand in an M or in an I slot */
};

/* A template: which units the slots go to and after which slots a stop stands. Static storage. */
struct previrt_ia64_template {
    char name[4];    /* "MLX" */
    uint8_t unit[3]; /* enum previrt_ia64_unit */
    uint8_t stops;   /* bit s: an instruction group ends after slot s */
};

/* A bundle taken apart. Slots are right-aligned 41-bit numbers. */
struct previrt_ia64_bundle {
    uint64_t slot[PREVIRT_IA64_SLOTS];
    uint8_t template_number; /* 0..31 */
    uint8_t reserved[7];
};

/* NULL for the eight reserved template numbers. */
PREVIRT_API const struct previrt_ia64_template *previrt_ia64_template(unsigned number);

/* The template with these units and stops, or a negative status if there is none. */
PREVIRT_API int previrt_ia64_find_template(const uint8_t unit[3], unsigned stops);

/* Takes apart the 16 bytes at (bytes). PREVIRT_OK; E_UNDECODABLE: reserved template (still filled
 * in). */
PREVIRT_API int previrt_ia64_unpack(const uint8_t *bytes, struct previrt_ia64_bundle *bundle);

/* The reverse: writes 16 bytes. E_INVALID: a slot has more than 41 bits or the template is
 * reserved. */
PREVIRT_API int previrt_ia64_pack(const struct previrt_ia64_bundle *bundle, uint8_t *bytes);

/* --- The catalogue (ia64_ops.def) --- */

enum previrt_ia64_op {
    PREVIRT_IA64_NO_OP = 0,
#define PREVIRT_IA64_OP(number, ID, name, trap, policy, reads, writes, source)                     \
    PREVIRT_IA64_##ID = number,
#include <previrt/ia64_ops.def>
    PREVIRT_IA64_OP_LIMIT = 76 /* one more than the largest number */
};

enum previrt_ia64_trap {
    PREVIRT_IA64_TRAP_PRIVILEGED_OP = 1,
    PREVIRT_IA64_TRAP_PRIVILEGED_REG,
    PREVIRT_IA64_TRAP_CONTROL,
    PREVIRT_IA64_TRAP_NONE,
    PREVIRT_IA64_TRAP_BREAK,
    PREVIRT_IA64_TRAP_IA32
};

enum previrt_ia64_policy {
    PREVIRT_IA64_POLICY_REWRITE = 1,
    PREVIRT_IA64_POLICY_NATIVE,
    PREVIRT_IA64_POLICY_MASK
};

/* Machine state that an operation reads or writes. */
enum previrt_ia64_state {
    PREVIRT_IA64_STATE_PSR = 1 << 0,
    PREVIRT_IA64_STATE_UM = 1 << 1, /* the user mask, PSR{5:0} */
    PREVIRT_IA64_STATE_CPL = 1 << 2,
    PREVIRT_IA64_STATE_CR = 1 << 3,
    PREVIRT_IA64_STATE_KR = 1 << 4,    /* kernel registers, AR 0..7 */
    PREVIRT_IA64_STATE_TIMER = 1 << 5, /* ar.itc, ar.ruc */
    PREVIRT_IA64_STATE_RSE = 1 << 6,   /* register stack engine */
    PREVIRT_IA64_STATE_RR = 1 << 7,    /* region registers */
    PREVIRT_IA64_STATE_PKR = 1 << 8,   /* protection keys */
    PREVIRT_IA64_STATE_DEBUG = 1 << 9, /* ibr, dbr */
    PREVIRT_IA64_STATE_PM = 1 << 10,   /* pmc, pmd */
    PREVIRT_IA64_STATE_MSR = 1 << 11,
    PREVIRT_IA64_STATE_CPUID = 1 << 12,
    PREVIRT_IA64_STATE_TLB = 1 << 13,
    PREVIRT_IA64_STATE_CACHE = 1 << 14,
    PREVIRT_IA64_STATE_ALAT = 1 << 15,
    PREVIRT_IA64_STATE_ORDER = 1 << 16, /* serialization and ordering */
    PREVIRT_IA64_STATE_BANK = 1 << 17,  /* the register bank, r16..r31 */
    PREVIRT_IA64_STATE_IA32 = 1 << 18,
    PREVIRT_IA64_STATE_DAHR = 1 << 19 /* data access hint registers */
};

/* One row of the catalogue. Static storage. */
struct previrt_ia64_op_info {
    const char *name;   /* "rsm", "mov to cr", ... */
    const char *source; /* manual and section */
    uint32_t reads;     /* PREVIRT_IA64_STATE_* */
    uint32_t writes;    /* PREVIRT_IA64_STATE_* */
    uint8_t op;         /* enum previrt_ia64_op */
    uint8_t trap;       /* enum previrt_ia64_trap */
    uint8_t policy;     /* enum previrt_ia64_policy */
    uint8_t reserved;
};

/* NULL for a number that is not in the catalogue. */
PREVIRT_API const struct previrt_ia64_op_info *previrt_ia64_op_info(unsigned op);

/* The operation called (name), PREVIRT_IA64_NO_OP if there is none. */
PREVIRT_API unsigned previrt_ia64_op_by_name(const char *name);

/* --- Instructions --- */

enum previrt_ia64_effect {
    PREVIRT_IA64_LOADS = 1 << 0,    /* reads memory (or prefetches) */
    PREVIRT_IA64_STORES = 1 << 1,   /* writes memory */
    PREVIRT_IA64_BRANCHES = 1 << 2, /* may transfer control */
    PREVIRT_IA64_LINKS = 1 << 3, /* a call: writes the address of the next bundle to a register */
    PREVIRT_IA64_IP_RELATIVE = 1 << 4, /* names a bundle relative to its own */
    PREVIRT_IA64_IP_VALUE = 1 << 5,    /* mov r1=ip */
    PREVIRT_IA64_IP_HINT = 1 << 6,     /* IP-relative, but only a hint */
    PREVIRT_IA64_STAYS = 1 << 7, /* means something else at another address: break, epc, vmsw */
    PREVIRT_IA64_NO_QP = 1 << 8, /* not predicated: bits 5:0 are not a qualifying predicate */
    PREVIRT_IA64_FIRST = 1 << 9, /* must be the first of its instruction group */
    PREVIRT_IA64_LAST = 1 << 10, /* must be the last of its instruction group */
    PREVIRT_IA64_NO_RETURN = 1 << 11, /* what follows is not reached by falling through */
    PREVIRT_IA64_NOP = 1 << 12,       /* does nothing: nop, hint */
    PREVIRT_IA64_UNC = 1 << 13,   /* writes its predicates even if the qualifying predicate is 0 */
    PREVIRT_IA64_FRAME = 1 << 14, /* reads or writes CFM */
    PREVIRT_IA64_RSE = 1 << 15,   /* the register stack's backing store and its registers */
    PREVIRT_IA64_READS_PFS = 1 << 16,
    PREVIRT_IA64_WRITES_PFS = 1 << 17,
    PREVIRT_IA64_READS_UNAT = 1 << 18,
    PREVIRT_IA64_WRITES_UNAT = 1 << 19,
    PREVIRT_IA64_READS_CCV = 1 << 20,
    PREVIRT_IA64_READS_CSD = 1 << 21,
    PREVIRT_IA64_WRITES_CSD = 1 << 22,
    PREVIRT_IA64_FPSR = 1 << 23,   /* reads and writes ar.fpsr */
    PREVIRT_IA64_LC = 1 << 24,     /* reads and writes ar.lc */
    PREVIRT_IA64_EC = 1 << 25,     /* reads and writes ar.ec */
    PREVIRT_IA64_ROTATES = 1 << 26 /* rotates registers: writes p63 (or p16) too */
};

/* An instruction, decoded. */
struct previrt_ia64_insn {
    const char *name; /* mnemonic without the completers that fields choose; static storage */
    uint64_t bits;    /* the 41 bits */
    uint64_t upper;   /* the 41 bits of the L slot, 0 if it is not a long instruction */
    uint32_t effects; /* PREVIRT_IA64_* of enum previrt_ia64_effect */
    uint8_t op;       /* enum previrt_ia64_op */
    uint8_t unit;     /* of the slot: enum previrt_ia64_unit (X for a long instruction) */
    uint8_t type;     /* of the instruction: the same, or A */
    uint8_t qp;       /* qualifying predicate, 0 if it has none */
    uint8_t format;   /* private */
    uint8_t reserved[7];
};

/* Registers, as sets. AR numbers are the manual's; pr bit 0 (p0) is never set, nor are r0, f0, f1.
 */
struct previrt_ia64_registers {
    uint64_t gr[2];
    uint64_t fr[2];
    uint64_t ar[2];
    uint64_t pr;
    uint8_t br;
    uint8_t reserved[7];
};

/*
 * Decodes the 41 bits (slot) for a slot of (unit); (upper) is the L slot if unit is X, else
 * ignored. PREVIRT_OK; E_UNDECODABLE: reserved or illegal encoding; E_INVALID: unit L, A, or more
 * than 41 bits.
 */
PREVIRT_API int previrt_ia64_decode(unsigned unit, uint64_t slot, uint64_t upper,
                                    struct previrt_ia64_insn *insn);

/* Decodes slot (slot) of (bundle). Slot 1 of MLX holds no instruction: E_INVALID. */
PREVIRT_API int previrt_ia64_decode_slot(const struct previrt_ia64_bundle *bundle, unsigned slot,
                                         struct previrt_ia64_insn *insn);

/* The registers that (insn) reads (its qualifying predicate included) and writes, implicit ones
 * too. */
PREVIRT_API void previrt_ia64_registers(const struct previrt_ia64_insn *insn,
                                        struct previrt_ia64_registers *reads,
                                        struct previrt_ia64_registers *writes);

/* For an IP-relative instruction in the bundle at (address): the bundle that it names. */
PREVIRT_API int previrt_ia64_target(const struct previrt_ia64_insn *insn, uint64_t address,
                                    uint64_t *target);

/*
 * Makes (insn), which stands in the bundle at (address), name (target). E_REACH: it cannot;
 * E_INVALID: it is not IP-relative, or target is not a bundle address. Changes insn->bits and
 * insn->upper.
 */
PREVIRT_API int previrt_ia64_retarget(struct previrt_ia64_insn *insn, uint64_t address,
                                      uint64_t target);

/*
 * Writes the assembler's text of (insn) in the bundle at (address) to (text), without predicate if
 * it is p0, as
 * "(p06) rsm 0x4000", always with a NUL. Returns the length, or E_SPACE.
 */
PREVIRT_API int previrt_ia64_text(const struct previrt_ia64_insn *insn, uint64_t address,
                                  char *text, size_t size);

/* --- Scanning --- */

/* Which operations a scan reports: bits by policy. */
#define PREVIRT_IA64_SELECT(policy) (1u << (policy))
#define PREVIRT_IA64_SELECT_SENSITIVE                                                              \
    (PREVIRT_IA64_SELECT(PREVIRT_IA64_POLICY_REWRITE) |                                            \
     PREVIRT_IA64_SELECT(PREVIRT_IA64_POLICY_MASK))
#define PREVIRT_IA64_SELECT_ALL                                                                    \
    (PREVIRT_IA64_SELECT_SENSITIVE | PREVIRT_IA64_SELECT(PREVIRT_IA64_POLICY_NATIVE))

/* What a scan has counted. */
struct previrt_ia64_scan_result {
    uint64_t bundles;
    uint64_t slots;       /* instructions: a long one counts once */
    uint64_t sites;       /* reported */
    uint64_t undecodable; /* reserved templates (once a bundle) and reserved instructions */
};

/*
 * Called for each selected operation at (address, slot). For bytes that are not an instruction
 * (insn) is NULL; they are reported if the scan's (undecodable) is set. Return 0 to go on; anything
 * else ends the scan and is returned by it (use positive values).
 */
typedef int (*previrt_ia64_scan_fn)(void *context, uint64_t address, unsigned slot,
                                    const struct previrt_ia64_insn *insn);

/*
 * Decodes every bundle of (size) bytes of code at (bytes), which stand at guest address (address),
 * a multiple of
 * 16. (visit) and (result) may be NULL. E_INVALID: address not aligned; E_TRUNCATED: size is no
 * multiple of 16.
 */
PREVIRT_API int previrt_ia64_scan(const uint8_t *bytes, size_t size, uint64_t address,
                                  unsigned select, int undecodable, previrt_ia64_scan_fn visit,
                                  void *context, struct previrt_ia64_scan_result *result);

#ifdef __cplusplus
}
#endif

#endif
