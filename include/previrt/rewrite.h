/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Phase 3: rewriting the sites that a patch-up table lists, for a target.
 *
 *     previrt_plan_count() -> previrt_plan_bound() -> previrt_plan() -> previrt_commit() ->
 * previrt_revert()
 *
 * previrt_plan() reads the table (every byte of which may be hostile), checks every bound, makes
 * the stubs, and changes nothing outside the plan's own memory. It ends with a complete plan or
 * with the list of the sites that it refused and the reason for each. previrt_commit() writes stubs
 * and sites, all or nothing, each site once; previrt_revert() restores the original bytes.
 *
 * All of this is freestanding: no libc, no malloc, no globals; memory is the caller's. The same
 * code runs in a loader, in an in-place VMM of 32 or 64 bits and offline. docs/rewriting.md has the
 * rules that rewritten code keeps, operation by operation. IA32 only; guest addresses are below 4
 * GiB.
 */
#ifndef PREVIRT_REWRITE_H
#define PREVIRT_REWRITE_H

#include <previrt/ia32.h>
#include <previrt/status.h>
#include <previrt/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the image's memory ---- */

enum previrt_region_flags {
    PREVIRT_REGION_EXECUTE = 1 << 0 /* sites may be here */
};

/* A stretch of guest memory as the caller reaches it. */
struct previrt_region {
    uint64_t address;    /* guest-virtual (link) address of the first byte */
    uint64_t size;       /* bytes */
    const uint8_t *read; /* the bytes */
    uint8_t *write; /* where they may be written: an alias of the same memory, or the same pointer,
                       or NULL (a plan then reads only, and a commit fails) */
    uint32_t flags; /* PREVIRT_REGION_* */
};

/* The regions of an image: sorted by address, disjoint, none wraps. They and what they point to
 * stay the caller's and must outlive the plan. */
struct previrt_memory {
    const struct previrt_region *regions;
    size_t count; /* at most PREVIRT_REGIONS_MAX */
};

#define PREVIRT_REGIONS_MAX 65535

/*
 * The one accessor: the region that holds all of [address, address + length), or NULL. (*offset),
 * if not NULL, receives the offset of (address) in it. Freestanding.
 */
PREVIRT_API const struct previrt_region *previrt_memory_at(const struct previrt_memory *memory,
                                                           uint64_t address, uint64_t length,
                                                           uint64_t *offset);

/* ---- the target ---- */

/* What becomes of the sites of one operation. */
enum previrt_action {
    PREVIRT_ACTION_KEEP,   /* left as it is; counted */
    PREVIRT_ACTION_INLINE, /* replaced in place where the target can and the room allows, else a
                              stub */
    PREVIRT_ACTION_STUB    /* replaced by a transfer to a stub */
};

/* How a site reaches its stub. */
enum previrt_transfer {
    PREVIRT_TRANSFER_CALL =
        1,                 /* call rel32: the stub ends with ret; return address - 5 is the site */
    PREVIRT_TRANSFER_JUMP, /* jmp rel32: the stub ends with a jump to (resume) or does not come back
                            */
    PREVIRT_TRANSFER_INLINE /* no stub: the code is written over the site, NOPs behind it */
};

#define PREVIRT_STUB_MAX 96 /* bytes of one stub */

/* A question to a target's emitter: the code that does the work of one site. */
struct previrt_stub_request {
    uint32_t size;                        /* sizeof(struct previrt_stub_request) of the library */
    const struct previrt_site *site;      /* the record */
    const struct previrt_ia32_insn *insn; /* what stands at the site, decoded */
    const uint8_t *bytes;                 /* its bytes, insn->length of them */
    uint32_t stub_address;                /* where the code will run, unless it is inlined */
    uint32_t resume;        /* guest address of the first byte after the site's room */
    uint8_t inline_allowed; /* the action is INLINE */
    uint8_t room;           /* bytes at the site */

    uint8_t *code;     /* the answer goes here */
    uint32_t capacity; /* bytes at (code) */
    uint32_t length;   /* out: bytes written */
    uint8_t transfer;  /* out: enum previrt_transfer; in: PREVIRT_TRANSFER_CALL */
    uint8_t
        shared; /* in: 1 if sites with the same operation and register operands may use one stub
                   (no memory operand, no far pointer); out: 0 if this code serves this site only */
};

/*
 * Emits. PREVIRT_OK, PREVIRT_E_ROOM (cannot be done in this room), PREVIRT_E_STUBS (capacity),
 * PREVIRT_E_OPERATION (the target has no form for it), PREVIRT_E_REACH. What it returns refuses the
 * site. Code in stubs may not name its own address other than relatively, since it also runs at its
 * address minus the load offset while the guest runs untranslated. Called in table order, once for
 * each stub.
 */
typedef int (*previrt_emit_fn)(void *context, struct previrt_stub_request *request);

enum previrt_target_flags {
    PREVIRT_TARGET_TRAPS =
        1 << 0, /* whoever runs the guest emulates operations that trap: a site whose
                   operation traps reliably (PREVIRT_TRAP_PRIVILEGED, _IOPL) and whose
                   room is too small is kept and counted instead of refused */
    PREVIRT_TARGET_BYTE_NOPS = 1 << 1, /* fill with single-byte NOPs (i486, i586) */
    PREVIRT_TARGET_NO_DIGEST = 1 << 2, /* do not check the table's digests; records are still
                                          compared with the bytes at each site */
    PREVIRT_TARGET_ANY_FLAGS =
        1 << 3 /* stubs do not depend on PREVIRT_SITE_FLAGS_DEAD: share more */
};

/* A target. Set (size), the rest 0, then fill in; or start from previrt_target_native() or _vcpu().
 */
struct previrt_target {
    uint32_t size;         /* sizeof(struct previrt_target) of the caller */
    uint32_t flags;        /* PREVIRT_TARGET_* */
    const char *name;      /* for messages */
    uint64_t stub_address; /* guest-virtual address of the stub area; within 2 GiB of every site */
    uint32_t stub_size;    /* its bytes */
    uint8_t *stub_memory;  /* where they are written at commit; may be NULL until then: see
                              previrt_commit() */
    uint64_t vcpu_address; /* guest-virtual address of the vCPU page, if the target uses one */
    previrt_emit_fn emit;  /* makes the code */
    void *emit_context;
    uint8_t action[PREVIRT_IA32_OP_LIMIT]; /* enum previrt_action of each operation */
};

/*
 * The target `native`: every site becomes a transfer to a stub that performs the original
 * operation. It proves a table and a rewriter on bare hardware. The caller still sets the stub
 * area. Freestanding.
 */
PREVIRT_API void previrt_target_native(struct previrt_target *target);

/*
 * The target `vcpu`: hot operations inlined against the vCPU page at (vcpu_address), the rest in
 * stubs that call the dispatcher that the page names (previrt/vcpu.h). The caller still sets the
 * stub area. Freestanding.
 */
PREVIRT_API void previrt_target_vcpu(struct previrt_target *target, uint64_t vcpu_address);

/* ---- the plan ---- */

/* Opaque. Lives in the caller's buffer, and holds pointers: it may not be moved. */
struct previrt_plan;

/* How many records the table has. PREVIRT_OK or the first error of the table. Freestanding. */
PREVIRT_API int previrt_plan_count(const void *notes, size_t notes_size, uint64_t notes_address,
                                   size_t *count);

/* Bytes of memory that a plan of (count) sites needs; 0 if that does not fit a size_t.
 * Freestanding. */
PREVIRT_API size_t previrt_plan_bound(size_t count);

/*
 * Plans. (notes): the table, (notes_size) bytes that are mapped at guest address (notes_address).
 * (buffer): 8-byte aligned, of (buffer_size) >= previrt_plan_bound(count) bytes. (target) is
 * copied.
 *
 * PREVIRT_OK         (*plan) is complete, nothing has been written yet.
 * PREVIRT_E_REFUSED  (*plan) holds the refusals (previrt_plan_refusal()) and cannot be committed.
 * PREVIRT_E_INVALID  the arguments make no sense: regions unsorted or wrapping, a stub area that
 * wraps or overlaps an executable region, no emitter. others             the table is malformed;
 * (*plan) is NULL unless the buffer holds a plan's head, and then previrt_plan_offset() says where
 * in the table. PREVIRT_E_SPACE: buffer too small.
 */
PREVIRT_API int previrt_plan(const struct previrt_memory *memory, const void *notes,
                             size_t notes_size, uint64_t notes_address,
                             const struct previrt_target *target, void *buffer, size_t buffer_size,
                             struct previrt_plan **plan);

/*
 * Commits: writes the stubs, then each site once, through the regions' aliases. Before the first
 * byte changes it checks that every site still holds its original bytes. (stub_memory),
 * (stub_bytes): the stub area as the caller can write it; NULL, 0: the target's. PREVIRT_OK;
 * PREVIRT_E_STATE: not planned, or committed already; PREVIRT_E_BYTES: the text has changed since
 * the plan; PREVIRT_E_STUBS: too small or NULL; PREVIRT_E_INVALID: a region cannot be written.
 * After an error nothing has been written.
 *
 * No processor may execute the sites meanwhile, and each that has may hold stale instructions: it
 * executes a serializing instruction (iret, cpuid, a far transfer is not enough on all) before it
 * enters the guest again (SDM 3A 8.1.3, cross-modifying code). The caller sees to that.
 */
PREVIRT_API int previrt_commit(struct previrt_plan *plan, uint8_t *stub_memory, size_t stub_bytes);

/*
 * Reverts a committed plan: every site gets its original bytes back, all or nothing; the stub area
 * is left as it is, since an interrupted context may still return into it. The plan may be
 * committed again. PREVIRT_OK; PREVIRT_E_STATE: not committed; PREVIRT_E_BYTES: a site does not
 * hold what commit wrote.
 */
PREVIRT_API int previrt_revert(struct previrt_plan *plan);

enum previrt_plan_state {
    PREVIRT_PLAN_FAILED,  /* the table could not be read to its end */
    PREVIRT_PLAN_REFUSED, /* some sites were refused */
    PREVIRT_PLAN_PLANNED, /* complete, not written */
    PREVIRT_PLAN_COMMITTED
};

/* Figures. */
struct previrt_plan_stats {
    uint32_t size;    /* sizeof(struct previrt_plan_stats), set by the caller */
    uint32_t state;   /* enum previrt_plan_state */
    uint32_t sites;   /* records read */
    uint32_t inlined; /* become code in place */
    uint32_t stubbed; /* become a transfer to a stub */
    uint32_t kept;    /* left: the target's action is KEEP, or PREVIRT_TARGET_TRAPS */
    uint32_t dormant; /* left: replacements that the kernel copies elsewhere */
    uint32_t refused;
    uint32_t stubs;      /* stubs made */
    uint32_t stub_bytes; /* bytes of the stub area that they take */
    struct previrt_plan_op_stats {
        uint32_t inlined, stubbed, kept, dormant, refused;
    } op[PREVIRT_IA32_OP_LIMIT]; /* the same by operation */
};

PREVIRT_API int previrt_plan_stats(const struct previrt_plan *plan,
                                   struct previrt_plan_stats *stats);

/* One refused site. */
struct previrt_refusal {
    uint64_t address;
    int status; /* why: E_RANGE, E_OVERLAP, E_BYTES, E_ROOM, E_TAIL, E_OPERATION, E_ARCH, E_REACH,
                   E_STUBS, E_TRUNCATED, E_INVALID */
    uint8_t op; /* enum previrt_ia32_op, as recorded */
    uint8_t form, length, pad;
    uint32_t record; /* its number in the table, from 0 */
};

/* The refusal number (index), in table order (overlaps last, in address order). PREVIRT_E_RANGE
 * behind the last. */
PREVIRT_API int previrt_plan_refusal(const struct previrt_plan *plan, size_t index,
                                     struct previrt_refusal *refusal);

/* Where in the table previrt_plan() stopped, as previrt_table_offset(). */
PREVIRT_API size_t previrt_plan_offset(const struct previrt_plan *plan);

/* One rewritten site of a plan. */
struct previrt_plan_site {
    uint64_t address;
    uint64_t stub; /* guest address of its stub, 0: inlined */
    uint8_t op, room, transfer, code_length;
    uint8_t original[PREVIRT_ROOM_MAX];
    uint8_t code[PREVIRT_ROOM_MAX]; /* what commit writes */
};

/* The site number (index) in address order. PREVIRT_E_RANGE behind the last, PREVIRT_E_STATE. */
PREVIRT_API int previrt_plan_site(const struct previrt_plan *plan, size_t index,
                                  struct previrt_plan_site *site);

/* The rewritten site that (address) lies in. PREVIRT_E_RANGE if there is none. */
PREVIRT_API int previrt_plan_site_at(const struct previrt_plan *plan, uint64_t address,
                                     struct previrt_plan_site *site);

/* A stub of a plan. */
struct previrt_plan_stub {
    uint64_t address;
    uint32_t length;
    uint32_t sites; /* how many use it */
    uint8_t op;
    uint8_t transfer;    /* enum previrt_transfer: CALL or JUMP */
    uint8_t shared;      /* 1: the site that executes it is known only by the return address */
    uint64_t site;       /* address of the first site that uses it, the only one unless (shared) */
    const uint8_t *code; /* (length) bytes, in the plan */
};

/* The stub number (index) in address order. PREVIRT_E_RANGE behind the last, PREVIRT_E_STATE. */
PREVIRT_API int previrt_plan_stub(const struct previrt_plan *plan, size_t index,
                                  struct previrt_plan_stub *stub);

/* The stub that (address) lies in. PREVIRT_E_RANGE if there is none. */
PREVIRT_API int previrt_plan_stub_at(const struct previrt_plan *plan, uint64_t address,
                                     struct previrt_plan_stub *stub);

/*
 * From a stub back to the site, for a fault inside the stub that must be reported where the guest's
 * own instruction stood: (address) is the faulting address, (return_address) the word that the
 * site's call pushed (for a native stub: at the top of the stack when the operation executes); it
 * is not looked at where the stub serves one site. (*site) receives the address of the site. A
 * caller whose guest runs untranslated adds the load offset to both first. PREVIRT_OK,
 * PREVIRT_E_RANGE: not a stub, or not a return address of a site of that stub.
 */
PREVIRT_API int previrt_plan_site_of_stub(const struct previrt_plan *plan, uint64_t address,
                                          uint64_t return_address, uint64_t *site);

#ifdef __cplusplus
}
#endif

#endif
