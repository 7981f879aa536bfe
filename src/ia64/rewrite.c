/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rewriting IA-64 code: plan, commit, revert. docs/ia64.md has the reasoning; in short:
 *
 * A branch lands on bundles, never between slots, so a whole bundle can be replaced. The new one
 * keeps the slots in front of the first replaced operation if it can, and branches to a stub that
 * holds copies of the bundle in which the slots that are not wanted are NOPs: a copy has the
 * template, and so the stops, of the original, and a stop at its end. More stops than the original
 * are always right: the code is then merely slower, since within an instruction group no
 * instruction depends on another's register writes, and a taken branch ends a group.
 */
#include "ia64/internal.h"

#define MLX_STOP   0x05
#define END_STOP   0x01 /* templates come in pairs; the odd one ends with a stop */
#define AFTER_LAST 0x04 /* the stop bit of slot 2 */
#define PART_MAX   4
#define PART_COPY  4 /* slots as they were */
#define PART_TAIL  5 /* the branch to the next bundle, trampolines */
#define NO_SLOT    3

struct part {
    uint8_t kind; /* 0..2: the operation of that slot; PART_* */
    uint8_t bundles;
};

/* A bundle that the commit writes. */
struct record {
    uint64_t address;
    uint8_t original[PREVIRT_IA64_BUNDLE_SIZE];
    uint8_t replacement[PREVIRT_IA64_BUNDLE_SIZE];
    uint32_t stub_offset;
    uint32_t stub_size; /* 0: no stub */
    struct part part[PART_MAX];
    uint8_t parts;
    uint8_t reserved[7];
};

enum plan_state { PLANNED, REFUSED, COMMITTED };

struct previrt_ia64_plan {
    struct previrt_ia64_target target;
    struct previrt_ia64_plan_summary summary;
    const struct previrt_memory *memory;
    struct record *records;
    struct previrt_ia64_refusal *refusals;
    uint8_t *stubs;
    size_t record_count;
    enum plan_state state;
};

#define PLAN_ALIGNMENT 8
#define PLAN_HEAD                                                                                  \
    ((sizeof(struct previrt_ia64_plan) + PLAN_ALIGNMENT - 1) & ~(size_t)(PLAN_ALIGNMENT - 1))

const char *previrt_ia64_reason_text(unsigned reason)
{
    static const char *const texts[PREVIRT_IA64_REASON_COUNT] = {
        [PREVIRT_IA64_REASON_NONE] = "not refused",
        [PREVIRT_IA64_REASON_RANGE] = "not a bundle inside an executable region",
        [PREVIRT_IA64_REASON_ORDER] = "not behind the site before it",
        [PREVIRT_IA64_REASON_BYTES] = "the bundle does not hold what is recorded",
        [PREVIRT_IA64_REASON_UNDECODABLE] = "another slot of the bundle is not an instruction",
        [PREVIRT_IA64_REASON_PINNED] = "something names an address in the bundle",
        [PREVIRT_IA64_REASON_STAYS] = "another slot of the bundle cannot be moved",
        [PREVIRT_IA64_REASON_CALL] = "a call in the bundle would return into the stub",
        [PREVIRT_IA64_REASON_REACH] = "a branch cannot reach",
        [PREVIRT_IA64_REASON_TARGET] = "the target has no code for the operation",
        [PREVIRT_IA64_REASON_STUBS] = "the stub area is full",
    };

    return reason < PREVIRT_IA64_REASON_COUNT ? texts[reason] : "unknown reason";
}

size_t previrt_ia64_plan_bound(size_t count, uint32_t stub_size)
{
    size_t each = sizeof(struct record) + sizeof(struct previrt_ia64_refusal);
    size_t head = PLAN_HEAD + PLAN_ALIGNMENT;

    if (stub_size > SIZE_MAX - head || count > (SIZE_MAX - head - stub_size) / each)
        return 0;
    return head + count * each + stub_size;
}

/* --- Memory --- */

static const struct previrt_region *region_at(const struct previrt_memory *memory, uint64_t address,
                                              uint64_t *offset)
{
    for (size_t i = 0; i < memory->count; i++) {
        const struct previrt_region *r = &memory->regions[i];

        if (address >= r->address && r->size >= PREVIRT_IA64_BUNDLE_SIZE &&
            address - r->address <= r->size - PREVIRT_IA64_BUNDLE_SIZE) {
            *offset = address - r->address;
            return r;
        }
    }
    return NULL;
}

static int memory_valid(const struct previrt_memory *memory, const struct previrt_ia64_target *t)
{
    uint64_t end = 0;

    if (memory->count && !memory->regions)
        return 0;
    for (size_t i = 0; i < memory->count; i++) {
        const struct previrt_region *r = &memory->regions[i];

        if (!r->read || !r->size || (i && r->address < end) || r->address + r->size < r->address)
            return 0;
        end = r->address + r->size;
        if (r->flags & PREVIRT_REGION_EXECUTE && t->stub_address < end &&
            r->address < t->stub_address + t->stub_size)
            return 0;
    }
    return 1;
}

static int same(const uint8_t *a, const uint8_t *b, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

static void copy(uint8_t *to, const uint8_t *from, size_t size)
{
    for (size_t i = 0; i < size; i++)
        to[i] = from[i];
}

/* --- One bundle --- */

/* A branch in a stub whose target is out of reach: it goes to a trampoline that is emitted behind.
 */
struct fixup {
    struct previrt_ia64_insn insn;
    uint32_t offset; /* of its bundle in the stub */
    uint64_t target;
    uint8_t slot;
};

struct job {
    struct previrt_ia64_plan *plan;
    struct record *record;
    struct previrt_ia64_bundle bundle;
    const struct previrt_ia64_template *units;
    struct previrt_ia64_insn insn[PREVIRT_IA64_SLOTS];
    struct previrt_ia64_code code;
    struct fixup fixup[PREVIRT_IA64_SLOTS];
    unsigned fixups;
    unsigned replaced; /* bit s: slot s is a site */
    unsigned kept;     /* bit s: slot s stays in the new bundle */
    int status;        /* what an emitter said */
};

static int near(const struct job *job)
{
    return (job->plan->target.flags & PREVIRT_IA64_TARGET_NEAR) != 0;
}

static unsigned reason_of(int status)
{
    switch (status) {
    case PREVIRT_E_STUBS:
        return PREVIRT_IA64_REASON_STUBS;
    case PREVIRT_E_REACH:
        return PREVIRT_IA64_REASON_REACH;
    default:
        return PREVIRT_IA64_REASON_TARGET;
    }
}

static int is_instruction(const struct job *job, unsigned slot)
{
    return job->units->unit[slot] != PREVIRT_IA64_UNIT_L;
}

/* Whether every slot that has to move can. */
static unsigned check_moves(struct job *job)
{
    unsigned later = 0; /* sites behind the slot */

    for (int s = PREVIRT_IA64_SLOTS - 1; s >= 0; s--) {
        unsigned bit = 1u << s;
        uint32_t effects;

        if (!is_instruction(job, (unsigned)s) || job->kept & bit)
            continue;
        if (previrt_ia64_decode_slot(&job->bundle, (unsigned)s, &job->insn[s]) != PREVIRT_OK)
            return PREVIRT_IA64_REASON_UNDECODABLE;
        effects = job->insn[s].effects;
        if (job->replaced & bit) {
            later = 1;
            continue;
        }
        if (effects & PREVIRT_IA64_STAYS)
            return PREVIRT_IA64_REASON_STAYS;
        /* the return address is the next bundle of the stub: sites of this bundle must not be there
         */
        if (effects & PREVIRT_IA64_LINKS &&
            (later || !(job->plan->target.flags & PREVIRT_IA64_TARGET_STUB_RETURNS)))
            return PREVIRT_IA64_REASON_CALL;
    }
    return PREVIRT_IA64_REASON_NONE;
}

/*
 * Whether mov r1=ip in slot (slot) may be executed in front of everything else in the bundle: it
 * reads nothing but its predicate, so only what the slots before it do with r1 and that predicate
 * counts.
 */
static int may_lead(const struct job *job, unsigned slot)
{
    struct previrt_ia64_registers reads, writes, r, w;
    struct previrt_ia64_insn insn;

    if (previrt_ia64_decode_slot(&job->bundle, slot, &insn) != PREVIRT_OK)
        return 0;
    previrt_ia64_registers(&insn, &reads, &writes);
    for (unsigned s = 0; s < slot; s++) {
        if (previrt_ia64_decode_slot(&job->bundle, s, &insn) != PREVIRT_OK ||
            insn.effects & (PREVIRT_IA64_FRAME | PREVIRT_IA64_BRANCHES | PREVIRT_IA64_FIRST))
            return 0;
        previrt_ia64_registers(&insn, &r, &w);
        for (unsigned i = 0; i < 2; i++)
            if ((r.gr[i] | w.gr[i]) & writes.gr[i])
                return 0;
        if (w.pr & reads.pr)
            return 0;
    }
    return 1;
}

/* The slot of mov r1=ip, which is an I slot, or NO_SLOT. */
static unsigned ip_slot(const struct job *job)
{
    struct previrt_ia64_insn insn;

    for (unsigned s = 1; s < PREVIRT_IA64_SLOTS; s++)
        if (job->units->unit[s] == PREVIRT_IA64_UNIT_I &&
            previrt_ia64_decode_slot(&job->bundle, s, &insn) == PREVIRT_OK &&
            insn.effects & PREVIRT_IA64_IP_VALUE)
            return s;
    return NO_SLOT;
}

/*
 * The new bundle of one that has mov r1=ip in (slot) and runs at other than its link address: only
 * in its place does that instruction give the right value.
 */
static unsigned make_unlinked(struct job *job, uint64_t stub, unsigned slot, unsigned keep)
{
    static const uint8_t units[PREVIRT_IA64_SLOTS] = {PREVIRT_IA64_UNIT_M, PREVIRT_IA64_UNIT_I,
                                                      PREVIRT_IA64_UNIT_B};
    struct previrt_ia64_bundle b = {{0}};
    struct previrt_ia64_insn branch;
    int number = previrt_ia64_find_template(units, AFTER_LAST);

    if (number < 0 || !may_lead(job, slot) ||
        pv_ia64_branch(0, job->record->address, stub, 1, &branch) != PREVIRT_OK)
        return PREVIRT_IA64_REASON_STAYS;
    b.template_number = (uint8_t)number;
    b.slot[0] = keep ? job->bundle.slot[0] : pv_ia64_nop(PREVIRT_IA64_UNIT_M);
    b.slot[1] = job->bundle.slot[slot];
    b.slot[2] = branch.bits;
    job->kept = (keep ? 1u : 0u) | 1u << slot;
    return previrt_ia64_pack(&b, job->record->replacement) == PREVIRT_OK
               ? PREVIRT_IA64_REASON_NONE
               : PREVIRT_IA64_REASON_UNDECODABLE;
}

/*
 * Decides which slots in front of the first site stay, and makes the new bundle: MLX with brl,
 * whose slot 0 can be kept if it is an M slot; or, near, one that ends in a B slot.
 */
static unsigned make_replacement(struct job *job, uint64_t stub)
{
    const uint8_t *unit = job->units->unit;
    struct previrt_ia64_bundle b = {{0}};
    struct previrt_ia64_insn branch;
    unsigned first = 0, keep = 0, ip;
    int number, status;

    while (!(job->replaced >> first & 1))
        first++;
    if (first > 0 && (unit[0] == PREVIRT_IA64_UNIT_M || near(job))) {
        struct previrt_ia64_insn insn;

        /* what must be last in its group would stand before the branch without a stop */
        if (previrt_ia64_decode_slot(&job->bundle, 0, &insn) == PREVIRT_OK &&
            !(insn.effects & PREVIRT_IA64_LAST))
            keep = 1;
        if (keep && first == 2 && near(job) && !(job->units->stops & 1) &&
            previrt_ia64_decode_slot(&job->bundle, 1, &insn) == PREVIRT_OK &&
            !(insn.effects & PREVIRT_IA64_LAST))
            keep = 2;
    }
    ip = job->plan->target.flags & PREVIRT_IA64_TARGET_UNLINKED ? ip_slot(job) : NO_SLOT;
    if (ip != NO_SLOT)
        return make_unlinked(job, stub, ip, keep && unit[0] == PREVIRT_IA64_UNIT_M);
    status = pv_ia64_branch(0, job->record->address, stub, near(job), &branch);
    if (status != PREVIRT_OK)
        return reason_of(status);
    if (near(job)) {
        uint8_t units[PREVIRT_IA64_SLOTS] = {PREVIRT_IA64_UNIT_M, PREVIRT_IA64_UNIT_I,
                                             PREVIRT_IA64_UNIT_B};

        for (unsigned s = 0; s < keep; s++)
            units[s] = unit[s];
        if (units[0] == PREVIRT_IA64_UNIT_B)
            units[1] = PREVIRT_IA64_UNIT_B;
        number = previrt_ia64_find_template(units, AFTER_LAST);
        if (number < 0)
            return PREVIRT_IA64_REASON_REACH;
        b.template_number = (uint8_t)number;
        b.slot[1] = pv_ia64_nop(units[1]);
    } else {
        b.template_number = MLX_STOP;
        b.slot[1] = branch.upper;
    }
    b.slot[0] = pv_ia64_nop(PREVIRT_IA64_UNIT_M);
    for (unsigned s = 0; s < keep; s++)
        b.slot[s] = job->bundle.slot[s];
    b.slot[2] = branch.bits;
    job->kept = (1u << keep) - 1;
    return previrt_ia64_pack(&b, job->record->replacement) == PREVIRT_OK
               ? PREVIRT_IA64_REASON_NONE
               : PREVIRT_IA64_REASON_UNDECODABLE;
}

static void end_part(struct job *job, unsigned kind, uint32_t start)
{
    struct record *r = job->record;

    if (job->code.size == start || r->parts == PART_MAX)
        return;
    r->part[r->parts].kind = (uint8_t)kind;
    r->part[r->parts++].bundles = (uint8_t)((job->code.size - start) / PREVIRT_IA64_BUNDLE_SIZE);
}

/* Adjusts the slots of a copy that depend on where they stand. */
static unsigned relocate(struct job *job, struct previrt_ia64_bundle *b, unsigned slot)
{
    struct previrt_ia64_insn insn = job->insn[slot];
    uint64_t here = job->code.address + job->code.size, target;

    if (insn.effects & PREVIRT_IA64_IP_HINT && insn.unit == PREVIRT_IA64_UNIT_B) {
        /* a prediction of a branch that is not there any more */
        b->slot[slot] = pv_ia64_nop(insn.unit);
        return PREVIRT_IA64_REASON_NONE;
    }
    if (!(insn.effects & PREVIRT_IA64_IP_RELATIVE))
        return PREVIRT_IA64_REASON_NONE;
    if (previrt_ia64_target(&insn, job->record->address, &target) != PREVIRT_OK)
        return PREVIRT_IA64_REASON_REACH;
    if (previrt_ia64_retarget(&insn, here, target) == PREVIRT_OK) {
        b->slot[slot] = insn.bits;
        if (insn.unit == PREVIRT_IA64_UNIT_X)
            b->slot[1] = insn.upper;
    } else {
        struct fixup *f = &job->fixup[job->fixups++];

        *f = (struct fixup){insn, job->code.size, target, (uint8_t)slot};
    }
    return PREVIRT_IA64_REASON_NONE;
}

/* Appends the bundle with the slots in (wanted) only, unless they do nothing. */
static unsigned emit_copy(struct job *job, unsigned wanted)
{
    struct previrt_ia64_bundle b = {{0}};
    uint32_t start = job->code.size;
    int something = 0, status;

    b.template_number = job->bundle.template_number | END_STOP;
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++) {
        b.slot[s] = pv_ia64_nop(job->units->unit[s]);
        if (!(wanted >> s & 1) || !is_instruction(job, s) ||
            job->insn[s].effects & PREVIRT_IA64_NOP)
            continue;
        b.slot[s] = job->bundle.slot[s];
        if (job->units->unit[s] == PREVIRT_IA64_UNIT_X)
            b.slot[1] = job->bundle.slot[1];
        something = 1;
    }
    if (!something)
        return PREVIRT_IA64_REASON_NONE;
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++)
        if (wanted >> s & 1 && is_instruction(job, s)) {
            unsigned reason = relocate(job, &b, s);

            if (reason)
                return reason;
        }
    status = previrt_ia64_emit_bundle(&job->code, &b);
    if (status != PREVIRT_OK)
        return reason_of(status);
    end_part(job, PART_COPY, start);
    return PREVIRT_IA64_REASON_NONE;
}

/* The work of one slot that is not copied: a site's operation, or mov r1=ip. */
static unsigned emit_slot(struct job *job, unsigned slot)
{
    const struct previrt_ia64_target *t = &job->plan->target;
    const struct previrt_ia64_insn *insn = &job->insn[slot];
    uint32_t start = job->code.size;
    int status;

    if (job->replaced >> slot & 1) {
        status = t->emit(t->emit_context, job->record->address, slot, insn, &job->code);
        job->status = status;
    } else {
        /* I25: r1 is at bits 12:6; the value is the address of the bundle that it stood in */
        status = previrt_ia64_emit_movl(&job->code, insn->qp, insn->bits >> 6 & 0x7f,
                                        job->record->address);
    }
    /* an emitter that lies about its size must not take the plan along */
    if (status == PREVIRT_OK && (job->code.size > job->code.capacity || job->code.size < start ||
                                 job->code.size % PREVIRT_IA64_BUNDLE_SIZE))
        status = PREVIRT_E_STUBS;
    if (status != PREVIRT_OK)
        return reason_of(status);
    end_part(job, slot, start);
    return PREVIRT_IA64_REASON_NONE;
}

/* The branch to the next bundle, and trampolines. */
static unsigned emit_tail(struct job *job)
{
    const struct previrt_ia64_insn *last = &job->insn[PREVIRT_IA64_SLOTS - 1];
    uint32_t start = job->code.size;
    int status = PREVIRT_OK;

    if (!(last->effects & PREVIRT_IA64_NO_RETURN))
        status = previrt_ia64_emit_branch(
            &job->code, 0, job->record->address + PREVIRT_IA64_BUNDLE_SIZE, near(job));
    for (unsigned i = 0; i < job->fixups && status == PREVIRT_OK; i++) {
        struct fixup *f = &job->fixup[i];
        struct previrt_ia64_bundle b;
        uint8_t *place = job->code.bytes + f->offset;

        status = previrt_ia64_retarget(&f->insn, job->code.address + f->offset,
                                       job->code.address + job->code.size);
        if (status != PREVIRT_OK)
            break;
        previrt_ia64_unpack(place, &b);
        b.slot[f->slot] = f->insn.bits;
        previrt_ia64_pack(&b, place);
        status = previrt_ia64_emit_branch(&job->code, 0, f->target, near(job));
    }
    if (status != PREVIRT_OK)
        return reason_of(status);
    end_part(job, PART_TAIL, start);
    return PREVIRT_IA64_REASON_NONE;
}

/* Replaces the bundle by a branch to a stub. */
static unsigned make_stub(struct job *job)
{
    struct previrt_ia64_plan *plan = job->plan;
    uint32_t used = (uint32_t)plan->summary.stub_bytes;
    unsigned reason, wanted = 0;

    job->code = (struct previrt_ia64_code){plan->stubs + used, plan->target.stub_address + used, 0,
                                           plan->target.stub_size - used};
    job->fixups = 0;
    job->record->parts = 0;
    reason = make_replacement(job, job->code.address);
    if (!reason)
        reason = check_moves(job);
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS && !reason; s++) {
        int special = job->replaced >> s & 1 ||
                      (is_instruction(job, s) && job->insn[s].effects & PREVIRT_IA64_IP_VALUE);

        if (job->kept >> s & 1)
            continue;
        if (!special) {
            wanted |= 1u << s;
            continue;
        }
        reason = emit_copy(job, wanted);
        wanted = 0;
        if (!reason)
            reason = emit_slot(job, s);
    }
    if (!reason)
        reason = emit_copy(job, wanted);
    if (!reason)
        reason = emit_tail(job);
    if (reason)
        return reason;
    job->record->stub_offset = used;
    job->record->stub_size = job->code.size;
    plan->summary.stub_bytes += job->code.size;
    return PREVIRT_IA64_REASON_NONE;
}

/* Replaces the sites by break in their slots. */
static void make_breaks(struct job *job)
{
    struct previrt_ia64_bundle b = job->bundle;

    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++) {
        if (!(job->replaced >> s & 1))
            continue;
        b.slot[s] = pv_ia64_break(job->insn[s].qp, job->plan->target.break_number);
        if (job->units->unit[s] == PREVIRT_IA64_UNIT_X)
            b.slot[1] = 0;
    }
    job->record->stub_size = 0;
    job->record->parts = 0;
    previrt_ia64_pack(&b, job->record->replacement);
}

/* --- The plan --- */

static void refuse(struct previrt_ia64_plan *plan, size_t site, unsigned reason, int status)
{
    static const int8_t usual[PREVIRT_IA64_REASON_COUNT] = {
        [PREVIRT_IA64_REASON_RANGE] = PREVIRT_E_RANGE,
        [PREVIRT_IA64_REASON_ORDER] = PREVIRT_E_OVERLAP,
        [PREVIRT_IA64_REASON_BYTES] = PREVIRT_E_BYTES,
        [PREVIRT_IA64_REASON_UNDECODABLE] = PREVIRT_E_UNDECODABLE,
        [PREVIRT_IA64_REASON_PINNED] = PREVIRT_E_REFUSED,
        [PREVIRT_IA64_REASON_STAYS] = PREVIRT_E_REFUSED,
        [PREVIRT_IA64_REASON_CALL] = PREVIRT_E_REFUSED,
        [PREVIRT_IA64_REASON_REACH] = PREVIRT_E_REACH,
        [PREVIRT_IA64_REASON_TARGET] = PREVIRT_E_OPERATION,
        [PREVIRT_IA64_REASON_STUBS] = PREVIRT_E_STUBS,
    };

    plan->refusals[plan->summary.refused + plan->summary.left] = (struct previrt_ia64_refusal){
        site, status != PREVIRT_OK ? status : usual[reason], (uint8_t)reason};
    plan->summary.refused++;
}

/* Whether the plan may go on without moving a bundle, for (reason). */
static int may_stay(unsigned reason)
{
    return reason == PREVIRT_IA64_REASON_PINNED || reason == PREVIRT_IA64_REASON_STAYS ||
           reason == PREVIRT_IA64_REASON_CALL || reason == PREVIRT_IA64_REASON_REACH ||
           reason == PREVIRT_IA64_REASON_UNDECODABLE;
}

/* Plans the sites [first, end), which are in one bundle. */
static void plan_bundle(struct previrt_ia64_plan *plan, const struct previrt_site *sites,
                        size_t first, size_t end)
{
    struct job job = {.plan = plan};
    struct record *record = &plan->records[plan->record_count];
    const struct previrt_region *region;
    unsigned reason = PREVIRT_IA64_REASON_NONE, breaks = 0, pinned = 0;
    size_t wanted = 0;
    uint64_t offset;

    region = region_at(plan->memory, sites[first].address, &offset);
    if (!region || !(region->flags & PREVIRT_REGION_EXECUTE) ||
        sites[first].address % PREVIRT_IA64_BUNDLE_SIZE) {
        for (size_t i = first; i < end; i++)
            refuse(plan, i, PREVIRT_IA64_REASON_RANGE, PREVIRT_OK);
        return;
    }
    *record = (struct record){.address = sites[first].address};
    copy(record->original, region->read + offset, PREVIRT_IA64_BUNDLE_SIZE);
    job.record = record;
    for (size_t i = first; i < end; i++) {
        int status;
        unsigned slot = sites[i].slot, action;

        if (i > first && slot <= sites[i - 1].slot) {
            refuse(plan, i, PREVIRT_IA64_REASON_ORDER, PREVIRT_OK);
            return;
        }
        status = previrt_ia64_match_site(&sites[i], record->original,
                                         slot < PREVIRT_IA64_SLOTS ? &job.insn[slot] : NULL);
        if (status != PREVIRT_OK) {
            refuse(plan, i, PREVIRT_IA64_REASON_BYTES, status);
            return;
        }
        pinned |= sites[i].operand & PREVIRT_IA64_OPERAND_PINNED;
        action = plan->target.action[sites[i].op];
        if (action == PREVIRT_IA64_ACTION_KEEP) {
            plan->summary.kept++;
            continue;
        }
        /* one bundle is done in one way: a break that was moved would report the stub's address */
        breaks |= action == PREVIRT_IA64_ACTION_BREAK;
        job.replaced |= 1u << slot;
        wanted++;
    }
    if (!job.replaced)
        return;
    previrt_ia64_unpack(record->original, &job.bundle);
    job.units = previrt_ia64_template(job.bundle.template_number);
    if (!breaks) {
        reason = pinned ? PREVIRT_IA64_REASON_PINNED : make_stub(&job);
        if (reason && reason != PREVIRT_IA64_REASON_STUBS &&
            plan->target.flags & PREVIRT_IA64_TARGET_BREAK_UNSUITABLE) {
            reason = PREVIRT_IA64_REASON_NONE;
            breaks = 1;
        }
    }
    if (reason) {
        int stays = plan->target.flags & PREVIRT_IA64_TARGET_KEEP_UNSUITABLE && may_stay(reason);

        for (size_t i = first; i < end; i++) {
            if (!(job.replaced >> sites[i].slot & 1))
                continue;
            refuse(plan, i, reason, reason == PREVIRT_IA64_REASON_TARGET ? job.status : 0);
            plan->summary.refused -= (size_t)stays;
            plan->summary.left += (size_t)stays;
        }
        return;
    }
    if (breaks) {
        make_breaks(&job);
        plan->summary.broken += wanted;
    } else {
        plan->summary.stubbed += wanted;
    }
    plan->record_count++;
    plan->summary.bundles++;
}

int previrt_ia64_plan(const struct previrt_memory *memory, const struct previrt_site *sites,
                      size_t count, const struct previrt_ia64_target *target, void *buffer,
                      size_t buffer_size, struct previrt_ia64_plan **plan)
{
    struct previrt_ia64_plan *p = buffer;
    size_t bound, end;

    if (!memory || (!sites && count) || !target || !plan)
        return PREVIRT_E_INVALID;
    *plan = NULL;
    if (!buffer || (uintptr_t)buffer % PLAN_ALIGNMENT || target->size != sizeof(*target) ||
        target->stub_address % PREVIRT_IA64_BUNDLE_SIZE ||
        target->stub_address + target->stub_size < target->stub_address ||
        target->break_number >= 1u << 21 || !memory_valid(memory, target))
        return PREVIRT_E_INVALID;
    for (unsigned op = 0; op < PREVIRT_IA64_OP_LIMIT; op++)
        if (target->action[op] > PREVIRT_IA64_ACTION_BREAK ||
            (target->action[op] == PREVIRT_IA64_ACTION_STUB && !target->emit))
            return PREVIRT_E_INVALID;
    bound = previrt_ia64_plan_bound(count, target->stub_size);
    if (!bound || buffer_size < bound)
        return PREVIRT_E_SPACE;
    *p = (struct previrt_ia64_plan){.target = *target, .memory = memory, .state = PLANNED};
    p->records = (struct record *)((uint8_t *)buffer + PLAN_HEAD);
    p->refusals = (struct previrt_ia64_refusal *)(p->records + count);
    p->stubs = (uint8_t *)(p->refusals + count);
    p->summary.sites = count;
    for (size_t first = 0; first < count; first = end) {
        for (end = first + 1; end < count && sites[end].address == sites[first].address;)
            end++;
        if (first && sites[first].address < sites[first - 1].address) {
            for (size_t i = first; i < end; i++)
                refuse(p, i, PREVIRT_IA64_REASON_ORDER, PREVIRT_OK);
            continue;
        }
        plan_bundle(p, sites, first, end);
    }
    *plan = p;
    if (!p->summary.refused)
        return PREVIRT_OK;
    p->state = REFUSED;
    return PREVIRT_E_REFUSED;
}

int previrt_ia64_plan_refusal(const struct previrt_ia64_plan *plan, size_t index,
                              struct previrt_ia64_refusal *refusal)
{
    if (!plan || !refusal || index >= plan->summary.refused + plan->summary.left)
        return 0;
    *refusal = plan->refusals[index];
    return 1;
}

void previrt_ia64_plan_summary(const struct previrt_ia64_plan *plan,
                               struct previrt_ia64_plan_summary *summary)
{
    *summary = plan->summary;
}

int previrt_ia64_plan_origin(const struct previrt_ia64_plan *plan, uint64_t ip, unsigned slot,
                             uint64_t *address, unsigned *origin_slot)
{
    uint64_t offset;

    if (!plan || !address || !origin_slot || slot >= PREVIRT_IA64_SLOTS ||
        ip < plan->target.stub_address)
        return PREVIRT_E_RANGE;
    offset = ip - plan->target.stub_address;
    for (size_t i = 0; i < plan->record_count; i++) {
        const struct record *r = &plan->records[i];
        uint64_t at = offset - r->stub_offset;

        if (offset < r->stub_offset || at >= r->stub_size)
            continue;
        *address = r->address;
        *origin_slot = NO_SLOT;
        for (unsigned part = 0; part < r->parts; part++) {
            uint64_t bytes = (uint64_t)r->part[part].bundles * PREVIRT_IA64_BUNDLE_SIZE;

            if (at < bytes) {
                if (r->part[part].kind == PART_COPY)
                    *origin_slot = slot;
                else if (r->part[part].kind < PREVIRT_IA64_SLOTS)
                    *origin_slot = r->part[part].kind;
                break;
            }
            at -= bytes;
        }
        return PREVIRT_OK;
    }
    return PREVIRT_E_RANGE;
}

/* --- Commit and revert --- */

static void flush(const struct previrt_ia64_coherence *coherence, uint64_t address, void *written,
                  uint64_t *last)
{
    uint64_t line = address & ~(uint64_t)(PREVIRT_IA64_LINE - 1);

    if (!coherence || !coherence->line || line == *last)
        return;
    *last = line;
    coherence->line(coherence->context, line, written);
}

/* Writes one form of every bundle over the other; checks all before it changes any. */
static int exchange(struct previrt_ia64_plan *plan, int commit,
                    const struct previrt_ia64_coherence *coherence)
{
    uint64_t last = UINT64_MAX, offset;

    for (int write = 0; write <= 1; write++)
        for (size_t i = 0; i < plan->record_count; i++) {
            struct record *r = &plan->records[i];
            const struct previrt_region *region = region_at(plan->memory, r->address, &offset);

            if (!region || !region->write)
                return PREVIRT_E_INVALID;
            if (write)
                copy(region->write + offset, commit ? r->replacement : r->original,
                     PREVIRT_IA64_BUNDLE_SIZE);
            else if (!same(region->read + offset, commit ? r->original : r->replacement,
                           PREVIRT_IA64_BUNDLE_SIZE))
                return PREVIRT_E_BYTES;
        }
    for (size_t i = 0; i < plan->record_count; i++) {
        const struct previrt_region *region =
            region_at(plan->memory, plan->records[i].address, &offset);

        flush(coherence, plan->records[i].address, region->write + offset, &last);
    }
    if (coherence && coherence->finish)
        coherence->finish(coherence->context);
    return PREVIRT_OK;
}

static int stubs_and_sites(struct previrt_ia64_plan *plan, uint8_t *stub_memory,
                           const struct previrt_ia64_coherence *coherence)
{
    uint64_t last = UINT64_MAX, offset;

    /* the check that exchange() makes, before the stubs are written */
    for (size_t i = 0; i < plan->record_count; i++) {
        const struct previrt_region *region =
            region_at(plan->memory, plan->records[i].address, &offset);

        if (!region || !region->write)
            return PREVIRT_E_INVALID;
        if (!same(region->read + offset, plan->records[i].original, PREVIRT_IA64_BUNDLE_SIZE))
            return PREVIRT_E_BYTES;
    }
    copy(stub_memory, plan->stubs, plan->summary.stub_bytes);
    for (size_t at = 0; at < plan->summary.stub_bytes; at += PREVIRT_IA64_BUNDLE_SIZE)
        flush(coherence, plan->target.stub_address + at, stub_memory + at, &last);
    return exchange(plan, 1, coherence);
}

int previrt_ia64_commit(struct previrt_ia64_plan *plan, uint8_t *stub_memory, size_t stub_bytes,
                        const struct previrt_ia64_coherence *coherence)
{
    int status;

    if (!plan)
        return PREVIRT_E_INVALID;
    if (plan->state != PLANNED)
        return PREVIRT_E_STATE;
    if (plan->summary.stub_bytes && (!stub_memory || stub_bytes < plan->summary.stub_bytes))
        return PREVIRT_E_STUBS;
    status = stubs_and_sites(plan, stub_memory, coherence);
    if (status == PREVIRT_OK)
        plan->state = COMMITTED;
    return status;
}

int previrt_ia64_revert(struct previrt_ia64_plan *plan,
                        const struct previrt_ia64_coherence *coherence)
{
    int status;

    if (!plan)
        return PREVIRT_E_INVALID;
    if (plan->state != COMMITTED)
        return PREVIRT_E_STATE;
    status = exchange(plan, 0, coherence);
    if (status == PREVIRT_OK)
        plan->state = PLANNED;
    return status;
}
