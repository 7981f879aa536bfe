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

#include <previrt/rewrite.h> /* regions of guest memory */
#include <previrt/status.h>
#include <previrt/table.h>

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

/* --- Patch-up table records (docs/table-format.md, "IA-64") --- */

/*
 * A record's operand: what phase 3 wants to know without decoding the slot.
 *   bits 0-6   general register that the operation reads or writes (mov to: r2, mov from: r1), or 0
 *   bit 7      it has a qualifying predicate other than p0
 *   bits 8-14  control or application register, or the second general register (address, index), or
 * the immediate of a probe bit 15     pinned: something names this slot's address (an exception
 * table, a landing in the middle of the bundle), so the operation may be replaced in its slot, but
 * not moved
 */
#define PREVIRT_IA64_OPERAND_GR(operand)       ((operand)&0x7fu)
#define PREVIRT_IA64_OPERAND_PREDICATED        0x0080u
#define PREVIRT_IA64_OPERAND_REGISTER(operand) ((operand) >> 8 & 0x7fu)
#define PREVIRT_IA64_OPERAND_PINNED            0x8000u

/* Fills in a record for the operation (insn) at (address, slot), not pinned. E_OPERATION: not in
 * the catalogue. */
PREVIRT_API int previrt_ia64_site_from_insn(const struct previrt_ia64_insn *insn, uint64_t address,
                                            unsigned slot, struct previrt_site *site);

/*
 * Whether the bundle at (bytes), 16 bytes, holds what (site) records. PREVIRT_OK; E_BYTES;
 * E_OPERATION: unknown operation or slot; E_ARCH. (insn) receives the decoded instruction if not
 * NULL.
 */
PREVIRT_API int previrt_ia64_match_site(const struct previrt_site *site, const uint8_t *bytes,
                                        struct previrt_ia64_insn *insn);

/* --- Rewriting --- */

/*
 * What becomes of an operation.
 *
 * STUB replaces its bundle by one that branches to generated code, which performs the bundle's
 * other slots as they were and lets the target's emitter perform the operation, and branches to the
 * next bundle. BREAK replaces the slot alone, by a break instruction with the same predicate: it
 * needs no stub, moves nothing, and makes an operation trap that would not.
 */
enum previrt_ia64_action {
    PREVIRT_IA64_ACTION_KEEP = 0,
    PREVIRT_IA64_ACTION_STUB,
    PREVIRT_IA64_ACTION_BREAK
};

enum previrt_ia64_target_flags {
    /* branch with br.cond (16 MiB of reach), for processors that have no brl: the first Itanium */
    PREVIRT_IA64_TARGET_NEAR = 1 << 0,
    /* a call that shares a bundle with a site may be moved: its return address is then in the stub
     */
    PREVIRT_IA64_TARGET_STUB_RETURNS = 1 << 1,
    /* a bundle that cannot be moved is not refused: its sites get BREAK */
    PREVIRT_IA64_TARGET_BREAK_UNSUITABLE = 1 << 2,
    /* or stay as they are, for a target that performs the original operation; they are listed */
    PREVIRT_IA64_TARGET_KEEP_UNSUITABLE = 1 << 3,
    /* the code also runs at other than its link addresses (Linux, before it is translated): a
     * bundle with mov r1=ip keeps that instruction, and branches with br.cond, or cannot be moved
     */
    PREVIRT_IA64_TARGET_UNLINKED = 1 << 4
};

/* Generated code. */
struct previrt_ia64_code {
    uint8_t *bytes;    /* where it is written */
    uint64_t address;  /* where it will run, of bytes[0] */
    uint32_t size;     /* bytes so far */
    uint32_t capacity; /* bytes at (bytes) */
};

/* Each appends one bundle that ends with a stop. E_STUBS: no room; E_INVALID; E_REACH. */
PREVIRT_API int previrt_ia64_emit_bundle(struct previrt_ia64_code *code,
                                         const struct previrt_ia64_bundle *bundle);
/* (insn) with NOPs around it; not IP-relative ones */
PREVIRT_API int previrt_ia64_emit_insn(struct previrt_ia64_code *code,
                                       const struct previrt_ia64_insn *insn);
/* (qp) movl r(gr)=value */
PREVIRT_API int previrt_ia64_emit_movl(struct previrt_ia64_code *code, unsigned qp, unsigned gr,
                                       uint64_t value);
/* (qp) ld8 r(gr)=[r(base)] */
PREVIRT_API int previrt_ia64_emit_ld8(struct previrt_ia64_code *code, unsigned qp, unsigned gr,
                                      unsigned base);
/* (qp) brl.cond target; with (near) br.cond */
PREVIRT_API int previrt_ia64_emit_branch(struct previrt_ia64_code *code, unsigned qp,
                                         uint64_t target, int near);

/*
 * A target's emitter: appends code that performs (insn), which stood at (address, slot), honouring
 * its predicate and changing nothing else. An instruction group begins where the code begins and
 * has ended where it ends. Anything but PREVIRT_OK refuses the site.
 */
typedef int (*previrt_ia64_emit_fn)(void *context, uint64_t address, unsigned slot,
                                    const struct previrt_ia64_insn *insn,
                                    struct previrt_ia64_code *code);

/* A target. Set (size), the rest 0, then fill in; or start from one of the functions below. */
struct previrt_ia64_target {
    uint32_t size;  /* sizeof(struct previrt_ia64_target) of the caller */
    uint32_t flags; /* PREVIRT_IA64_TARGET_* */
    const char *name;
    uint64_t stub_address; /* of the stub area, a multiple of 16 */
    uint32_t stub_size;    /* its bytes */
    uint32_t break_number; /* immediate of BREAK, 21 bits (break.b always reports 0) */
    previrt_ia64_emit_fn emit;
    void *emit_context;
    uint8_t action[PREVIRT_IA64_OP_LIMIT]; /* enum previrt_ia64_action of each operation */
};

/* `native`: stubs perform the original operation. Proves a table and a rewriter on bare hardware.
 */
PREVIRT_API void previrt_ia64_target_native(struct previrt_ia64_target *target);

/* `break`: every operation to be rewritten becomes a break (number) in its slot. */
PREVIRT_API void previrt_ia64_target_break(struct previrt_ia64_target *target, uint32_t number);

/* The page that the target `vcpu` reads: guest-virtual, mapped at a fixed address. */
struct previrt_ia64_vcpu {
    uint64_t cr[128]; /* by number; cr.ivr, whose read has an effect, is not read from here */
    uint64_t kr[8];
    uint64_t psr; /* as mov =psr shows it */
};

/*
 * `vcpu`: reads of control registers, kernel registers and psr become loads from the page at
 * (vcpu_address), with the result register as the only temporary; everything else becomes break
 * (number).
 */
PREVIRT_API void previrt_ia64_target_vcpu(struct previrt_ia64_target *target,
                                          const uint64_t *vcpu_address, uint32_t number);

/* Why a site was refused. */
enum previrt_ia64_reason {
    PREVIRT_IA64_REASON_NONE = 0,
    PREVIRT_IA64_REASON_RANGE,       /* not inside an executable region, or not a bundle address */
    PREVIRT_IA64_REASON_ORDER,       /* not behind the site before it */
    PREVIRT_IA64_REASON_BYTES,       /* the bundle does not hold what is recorded */
    PREVIRT_IA64_REASON_UNDECODABLE, /* another slot of the bundle is not an instruction */
    PREVIRT_IA64_REASON_PINNED,      /* something names an address in the bundle */
    PREVIRT_IA64_REASON_STAYS,  /* another slot (break, epc, vmsw) means something else elsewhere */
    PREVIRT_IA64_REASON_CALL,   /* a call would leave a return address in the stub */
    PREVIRT_IA64_REASON_REACH,  /* a branch cannot reach */
    PREVIRT_IA64_REASON_TARGET, /* the emitter has no code for it */
    PREVIRT_IA64_REASON_STUBS,  /* the stub area is full */
    PREVIRT_IA64_REASON_COUNT
};

/* The text of (reason), never NULL. */
PREVIRT_API const char *previrt_ia64_reason_text(unsigned reason);

struct previrt_ia64_refusal {
    size_t site; /* index in the array of sites */
    int status;  /* what the emitter returned, or the status that fits the reason */
    uint8_t reason;
};

/* Opaque; lives in the caller's buffer, and holds pointers: it may not be moved. */
struct previrt_ia64_plan;

/* Bytes of memory that a plan of (count) sites and (stub_size) bytes of stubs needs; 0: too large.
 */
PREVIRT_API size_t previrt_ia64_plan_bound(size_t count, uint32_t stub_size);

/*
 * Plans. (sites): (count) records, ascending by address and slot; read at plan time only. (buffer):
 * 8-byte aligned, previrt_ia64_plan_bound() bytes. (target) is copied. Writes nothing but the
 * buffer. PREVIRT_OK: (*plan) is complete. PREVIRT_E_REFUSED: it holds refusals and cannot be
 * committed. E_INVALID: regions unsorted, a stub area that is unaligned, wraps or overlaps an
 * executable region, no emitter. E_SPACE.
 */
PREVIRT_API int previrt_ia64_plan(const struct previrt_memory *memory,
                                  const struct previrt_site *sites, size_t count,
                                  const struct previrt_ia64_target *target, void *buffer,
                                  size_t buffer_size, struct previrt_ia64_plan **plan);

/* The refusal numbered (index): 1 and filled in, 0 after the last. With KEEP_UNSUITABLE the sites
 * that were left are listed too. */
PREVIRT_API int previrt_ia64_plan_refusal(const struct previrt_ia64_plan *plan, size_t index,
                                          struct previrt_ia64_refusal *refusal);

struct previrt_ia64_plan_summary {
    size_t sites;      /* given */
    size_t kept;       /* left as they are */
    size_t stubbed;    /* sites moved to stubs */
    size_t broken;     /* sites replaced by break */
    size_t bundles;    /* that the commit writes */
    size_t refused;    /* sites */
    size_t left;       /* sites that KEEP_UNSUITABLE left as they are */
    size_t stub_bytes; /* of the stub area that are used */
};
PREVIRT_API void previrt_ia64_plan_summary(const struct previrt_ia64_plan *plan,
                                           struct previrt_ia64_plan_summary *summary);

#define PREVIRT_IA64_LINE 32 /* bytes that fc.i is guaranteed to flush (SDM 3 fc) */

/*
 * Instruction caches do not follow stores (SDM 2, 4.4.6.2). After everything is written, (line) is
 * called for each line that holds a changed byte: (address) guest-virtual, a multiple of
 * PREVIRT_IA64_LINE, (written) the first changed byte as it was written; it is to execute fc.i.
 * Then (finish) once: sync.i, srlz.i. Both may be NULL offline.
 */
struct previrt_ia64_coherence {
    void (*line)(void *context, uint64_t address, void *written);
    void (*finish)(void *context);
    void *context;
};

/*
 * Writes the stubs to (stub_memory), at least summary.stub_bytes long, then each bundle once.
 * Before that it checks that every bundle still holds its original bytes. PREVIRT_OK; E_STATE:
 * refused sites or committed already; E_BYTES; E_STUBS; E_INVALID: a region cannot be written.
 * After an error nothing has been written. No processor may execute the bundles meanwhile.
 */
PREVIRT_API int previrt_ia64_commit(struct previrt_ia64_plan *plan, uint8_t *stub_memory,
                                    size_t stub_bytes,
                                    const struct previrt_ia64_coherence *coherence);

/* Restores every bundle's original bytes, all or nothing; the stubs stay. E_STATE, E_BYTES, as
 * above. */
PREVIRT_API int previrt_ia64_revert(struct previrt_ia64_plan *plan,
                                    const struct previrt_ia64_coherence *coherence);

/*
 * Where an instruction pointer in the stub area comes from: the bundle and slot whose work it does,
 * for faults and for contexts that were interrupted there. E_RANGE: not in a stub; slot 3: the
 * branch to the next bundle.
 */
PREVIRT_API int previrt_ia64_plan_origin(const struct previrt_ia64_plan *plan, uint64_t ip,
                                         unsigned slot, uint64_t *address, unsigned *origin_slot);

#ifdef __cplusplus
}
#endif

#endif
