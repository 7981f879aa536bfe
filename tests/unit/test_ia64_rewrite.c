/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The IA-64 rewriter on thousands of random bundles: what a rewritten bundle and its stub execute
 * is read back, instruction by instruction, and must be what the original executed, with at least
 * its stops.
 */
#include "ia64/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define BUNDLES    6000
#define CODE_SIZE  (BUNDLES * 16)
#define STUB_SIZE  (BUNDLES * 10 * 16)
#define STUB_MAX   (10 * 16)
#define STEPS_MAX  16
#define TEXT_MAX   100
#define CODE_AT    UINT64_C(0xa000000100000000)
#define FAR_STUBS  UINT64_C(0xa000000300000000)
#define NEAR_STUBS (CODE_AT + 0x400000)

static uint8_t original[CODE_SIZE], code[CODE_SIZE], stubs[STUB_SIZE];
static struct previrt_site sites[BUNDLES * 3];
static size_t site_count;
static struct previrt_region region = {CODE_AT, CODE_SIZE, code, code, PREVIRT_REGION_EXECUTE};
static const struct previrt_memory memory = {&region, 1};
static uint64_t random_state = UINT64_C(0x2545f4914f6cdd1d);

static uint64_t random64(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state * UINT64_C(0x9e3779b97f4a7c15);
}

/* A slot that decodes; every second one a row of the system majors (0, 1). */
static void random_slot(unsigned unit, uint64_t *slot, uint64_t *upper)
{
    struct previrt_ia64_insn insn;

    for (;;) {
        *slot = random64() >> 23;
        if (random64() & 1)
            *slot &= ~(UINT64_C(0xe) << 37);
        if (random64() & 1)
            *slot &= ~(UINT64_C(7) << 33);
        if (random64() & 1)
            *slot &= ~UINT64_C(63);
        *upper = random64() >> 23;
        if (previrt_ia64_decode(unit, *slot, *upper, &insn) == PREVIRT_OK)
            return;
    }
}

static int add_site(void *context, uint64_t address, unsigned slot,
                    const struct previrt_ia64_insn *insn)
{
    (void)context;
    return previrt_ia64_site_from_insn(insn, address, slot, &sites[site_count++]);
}

static void make_code(void)
{
    for (size_t i = 0; i < BUNDLES;) {
        struct previrt_ia64_bundle b = {.template_number = (uint8_t)(random64() >> 40 & 31)};
        const struct previrt_ia64_template *t = previrt_ia64_template(b.template_number);
        uint64_t ignored;

        if (!t)
            continue;
        for (unsigned s = 0; s < 3; s++)
            if (t->unit[s] == PREVIRT_IA64_UNIT_X)
                random_slot(t->unit[s], &b.slot[s], &b.slot[1]);
            else if (t->unit[s] != PREVIRT_IA64_UNIT_L)
                random_slot(t->unit[s], &b.slot[s], &ignored);
        assert_int_equal(previrt_ia64_pack(&b, &original[i++ * 16]), PREVIRT_OK);
    }
    memcpy(code, original, CODE_SIZE);
    site_count = 0;
    assert_int_equal(previrt_ia64_scan(code, CODE_SIZE, CODE_AT, PREVIRT_IA64_SELECT_SENSITIVE, 0,
                                       add_site, NULL, NULL),
                     PREVIRT_OK);
    assert_true(site_count > BUNDLES / 4);
}

/* --- What a bundle executes --- */

struct step {
    char text[TEXT_MAX];
    int stop_before; /* an instruction group ended since the step before */
    uint64_t at;
    unsigned slot;
    int links; /* a call: its return address is the next bundle */
};

struct trace {
    struct step step[STEPS_MAX];
    unsigned count;
    int stop;
    uint64_t ends_at; /* where it falls through to, 0: nowhere */
};

static const uint8_t *bytes_at(uint64_t address, uint64_t stub_address)
{
    if (address >= CODE_AT && address < CODE_AT + CODE_SIZE)
        return &code[address - CODE_AT];
    assert_true(address >= stub_address && address < stub_address + STUB_SIZE);
    return &stubs[address - stub_address];
}

static int in_stubs(uint64_t address, uint64_t stub_address)
{
    return address >= stub_address && address < stub_address + STUB_SIZE;
}

/* An unpredicated brl or br.cond: the only branches that the rewriter adds. */
static int plain_branch(const struct previrt_ia64_insn *insn)
{
    return (!strcmp(insn->name, "br.cond") || !strcmp(insn->name, "brl.cond")) && !insn->qp &&
           insn->effects & PREVIRT_IA64_IP_RELATIVE;
}

/* Adds what (insn) does, as text that does not depend on where it stands. */
static void add_step(struct trace *trace, const struct previrt_ia64_insn *insn, uint64_t at,
                     unsigned slot, uint64_t stub_address)
{
    struct step *step = &trace->step[trace->count];
    uint64_t target, here = at;

    if (!strncmp(insn->name, "brp", 3)) {
        assert_false(in_stubs(at, stub_address)); /* it would predict a branch that is not there */
        return;
    }
    if (insn->effects & PREVIRT_IA64_NOP)
        return;
    assert_true(trace->count < STEPS_MAX);
    if (insn->effects & PREVIRT_IA64_IP_VALUE) {
        /* what mov r1=ip becomes */
        struct previrt_ia64_code room = {(uint8_t[16]){0}, 0, 0, 16};
        struct previrt_ia64_bundle b;
        struct previrt_ia64_insn movl;

        assert_int_equal(previrt_ia64_emit_movl(&room, insn->qp, insn->bits >> 6 & 127, at),
                         PREVIRT_OK);
        previrt_ia64_unpack(room.bytes, &b);
        previrt_ia64_decode_slot(&b, 2, &movl);
        previrt_ia64_text(&movl, 0, step->text, TEXT_MAX);
    } else {
        if (insn->effects & PREVIRT_IA64_IP_RELATIVE) {
            assert_int_equal(previrt_ia64_target(insn, at, &target), PREVIRT_OK);
            /* a trampoline: in the same stub (code of random bits branches into the stub area, too)
             */
            if (in_stubs(at, stub_address) && target > at && target - at <= STUB_MAX) {
                struct previrt_ia64_bundle b;
                struct previrt_ia64_insn branch;
                uint64_t final;

                previrt_ia64_unpack(bytes_at(target, stub_address), &b);
                assert_int_equal(previrt_ia64_decode_slot(&b, 2, &branch), PREVIRT_OK);
                assert_true(plain_branch(&branch));
                previrt_ia64_target(&branch, target, &final);
                here += final - target;
            }
        }
        assert_true(previrt_ia64_text(insn, here, step->text, TEXT_MAX) > 0);
        if (insn->effects & PREVIRT_IA64_IP_HINT) /* mov b1=r2,tag: without the tag */
            step->text[strcspn(step->text, ",")] = '\0';
    }
    step->stop_before = trace->stop;
    step->at = at;
    step->slot = slot;
    step->links = (insn->effects & PREVIRT_IA64_LINKS) != 0;
    trace->stop = 0;
    trace->count++;
}

static void trace_bundle(struct trace *trace, const uint8_t *bytes, uint64_t at,
                         uint64_t stub_address, int follow)
{
    for (;;) {
        struct previrt_ia64_bundle b;
        const struct previrt_ia64_template *t;
        uint64_t next = at + 16;

        assert_int_equal(previrt_ia64_unpack(bytes, &b), PREVIRT_OK);
        t = previrt_ia64_template(b.template_number);
        for (unsigned s = 0; s < 3; s++) {
            struct previrt_ia64_insn insn;
            uint64_t target;

            if (t->unit[s] == PREVIRT_IA64_UNIT_L)
                continue;
            assert_int_equal(previrt_ia64_decode_slot(&b, s, &insn), PREVIRT_OK);
            if (follow && plain_branch(&insn)) {
                previrt_ia64_target(&insn, at, &target);
                /* into the stub, or out of it to the next bundle: the rewriter's own */
                if (s == 2 && in_stubs(target, stub_address) && !in_stubs(at, stub_address)) {
                    next = target;
                    trace->stop = 1;
                    break;
                }
                if (in_stubs(at, stub_address) && target == trace->ends_at) {
                    trace->stop = 1;
                    trace->ends_at = target;
                    return;
                }
            }
            /* the rewriter's own, behind mov psr.l */
            if (insn.op == PREVIRT_IA64_SRLZ_D && in_stubs(at, stub_address) && trace->count &&
                strstr(trace->step[trace->count - 1].text, "mov psr.l="))
                continue;
            add_step(trace, &insn, at, s, stub_address);
            if (insn.effects & PREVIRT_IA64_NO_RETURN) /* rfi: what follows is not reached */
                return;
            trace->stop |= t->stops >> s & 1;
        }
        if (!follow)
            return;
        /* each part of a stub ends its instruction group, and so does every bundle that the target
         * emits */
        assert_true(!in_stubs(at, stub_address) || t->stops >> 2 & 1);
        at = next;
        bytes = bytes_at(at, stub_address);
    }
}

struct flushed {
    uint8_t *lines; /* of the code */
    unsigned finishes, stub_lines;
    uint64_t stub_address;
};

static void flush_line(void *context, uint64_t address, void *written)
{
    struct flushed *f = context;

    assert_int_equal(address % PREVIRT_IA64_LINE, 0);
    if (in_stubs(address, f->stub_address)) {
        f->stub_lines++;
        return;
    }
    assert_true((uint8_t *)written >= code && (uint8_t *)written < code + CODE_SIZE);
    assert_true(((uint64_t)((uint8_t *)written - code) + CODE_AT) / PREVIRT_IA64_LINE ==
                address / PREVIRT_IA64_LINE);
    f->lines[(address - CODE_AT) / PREVIRT_IA64_LINE] = 1;
}

static void flush_finish(void *context)
{
    ((struct flushed *)context)->finishes++;
}

/* Plans, drops the bundles of refused sites, plans again. */
static struct previrt_ia64_plan *plan_what_can_be(const struct previrt_ia64_target *target,
                                                  void **buffer, unsigned *reasons)
{
    size_t size = previrt_ia64_plan_bound(site_count, target->stub_size);
    struct previrt_ia64_refusal refusal;
    struct previrt_ia64_plan *plan;
    uint8_t *refused = calloc(BUNDLES, 1);
    size_t kept = 0;
    int status;

    *buffer = malloc(size);
    status = previrt_ia64_plan(&memory, sites, site_count, target, *buffer, size, &plan);
    assert_true(status == PREVIRT_OK || status == PREVIRT_E_REFUSED);
    assert_memory_equal(code, original, CODE_SIZE);
    if (status == PREVIRT_E_REFUSED)
        assert_int_equal(previrt_ia64_commit(plan, stubs, STUB_SIZE, NULL), PREVIRT_E_STATE);
    for (size_t i = 0; previrt_ia64_plan_refusal(plan, i, &refusal); i++) {
        refused[(sites[refusal.site].address - CODE_AT) / 16] = 1;
        reasons[refusal.reason]++;
        assert_true(refusal.status < 0);
    }
    for (size_t i = 0; i < site_count; i++)
        if (!refused[(sites[i].address - CODE_AT) / 16])
            sites[kept++] = sites[i];
    site_count = kept;
    free(refused);
    assert_int_equal(previrt_ia64_plan(&memory, sites, site_count, target, *buffer, size, &plan),
                     PREVIRT_OK);
    return plan;
}

/* Takes the steps that were mov r1=ip out of a trace; they are movl r=(at) as text. Their number.
 */
static unsigned take_ip(struct trace *trace, uint64_t at)
{
    char wanted[32];
    unsigned kept = 0, taken = 0;

    snprintf(wanted, sizeof(wanted), "=0x%llx", (unsigned long long)at);
    for (unsigned n = 0; n < trace->count; n++) {
        if (strstr(trace->step[n].text, "movl ") && strstr(trace->step[n].text, wanted)) {
            taken++;
            if (n + 1 < trace->count)
                trace->step[n + 1].stop_before |= trace->step[n].stop_before;
        } else {
            trace->step[kept++] = trace->step[n];
        }
    }
    trace->count = kept;
    return taken;
}

static void compare_bundle(const struct previrt_ia64_plan *plan, size_t i, uint64_t stub_address,
                           uint32_t flags)
{
    uint64_t at = CODE_AT + i * 16, origin;
    struct trace before = {.ends_at = at + 16}, after = {.ends_at = at + 16};
    unsigned slot;

    trace_bundle(&before, &original[i * 16], at, stub_address, 0);
    trace_bundle(&after, &code[i * 16], at, stub_address, 1);
    if (flags & PREVIRT_IA64_TARGET_UNLINKED) {
        for (unsigned n = 0; n < after.count; n++)
            if (strstr(after.step[n].text, "movl ") && in_stubs(after.step[n].at, stub_address)) {
                struct previrt_ia64_insn insn;
                struct previrt_ia64_bundle b;

                /* a movl in the stub was one before */
                previrt_ia64_unpack(&original[i * 16], &b);
                assert_int_equal(previrt_ia64_decode_slot(&b, 2, &insn), PREVIRT_OK);
                assert_string_equal(insn.name, "movl");
            }
        assert_int_equal(take_ip(&before, at), take_ip(&after, at));
    }
    for (unsigned n = 0; n < before.count && n < after.count; n++) {
        if (strcmp(before.step[n].text, after.step[n].text))
            fail_msg("%llx: %s became %s", (unsigned long long)at, before.step[n].text,
                     after.step[n].text);
        if (before.step[n].stop_before && !after.step[n].stop_before)
            fail_msg("%llx: the stop before %s is lost", (unsigned long long)at,
                     before.step[n].text);
        if (!in_stubs(after.step[n].at, stub_address))
            continue;
        assert_int_equal(
            previrt_ia64_plan_origin(plan, after.step[n].at, after.step[n].slot, &origin, &slot),
            PREVIRT_OK);
        assert_int_equal(origin, at);
        if (slot != before.step[n].slot)
            fail_msg("%llx: %s at %llx is of slot %u, not %u", (unsigned long long)at,
                     before.step[n].text, (unsigned long long)after.step[n].at, before.step[n].slot,
                     slot);
    }
    for (unsigned n = 0; n < after.count; n++) {
        if (!after.step[n].links || !in_stubs(after.step[n].at, stub_address))
            continue;
        /* what returns into the stub must find nothing but the branch to the next bundle */
        assert_int_equal(previrt_ia64_plan_origin(plan, after.step[n].at + 16, 0, &origin, &slot),
                         PREVIRT_OK);
        assert_int_equal(slot, 3);
    }
    if (before.count != after.count)
        fail_msg("%llx: %u instructions became %u, the last before: %s", (unsigned long long)at,
                 before.count, after.count, before.step[before.count - 1].text);
}

static void rewrite_and_compare(uint64_t stub_address, uint32_t flags, unsigned *reasons)
{
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    struct flushed flushed = {calloc(CODE_SIZE / PREVIRT_IA64_LINE + 1, 1), 0, 0, stub_address};
    const struct previrt_ia64_coherence coherence = {flush_line, flush_finish, &flushed};
    size_t changed = 0;
    void *buffer;

    previrt_ia64_target_native(&target);
    target.flags = flags;
    target.stub_address = stub_address;
    target.stub_size = STUB_SIZE;
    plan = plan_what_can_be(&target, &buffer, reasons);
    previrt_ia64_plan_summary(plan, &summary);
    assert_int_equal(summary.sites, summary.kept + summary.stubbed);
    assert_int_equal(previrt_ia64_commit(plan, stubs, summary.stub_bytes - 1, NULL),
                     PREVIRT_E_STUBS);
    assert_memory_equal(code, original, CODE_SIZE);
    assert_int_equal(previrt_ia64_commit(plan, stubs, summary.stub_bytes, &coherence), PREVIRT_OK);
    assert_int_equal(previrt_ia64_commit(plan, stubs, summary.stub_bytes, NULL), PREVIRT_E_STATE);
    assert_int_equal(flushed.finishes, 1);
    assert_int_equal(flushed.stub_lines,
                     (summary.stub_bytes + PREVIRT_IA64_LINE - 1) / PREVIRT_IA64_LINE);
    for (size_t i = 0; i < BUNDLES; i++) {
        if (!memcmp(&code[i * 16], &original[i * 16], 16))
            continue;
        changed++;
        assert_true(flushed.lines[i / 2]);
        compare_bundle(plan, i, stub_address, flags);
    }
    assert_int_equal(changed, summary.bundles);
    assert_true(changed > BUNDLES / 20);
    print_message("%zu sites in %zu bundles, %zu bytes of stubs\n", summary.stubbed, changed,
                  summary.stub_bytes);
    assert_int_equal(previrt_ia64_revert(plan, &coherence), PREVIRT_OK);
    assert_memory_equal(code, original, CODE_SIZE);
    assert_int_equal(previrt_ia64_revert(plan, &coherence), PREVIRT_E_STATE);
    free(buffer);
    free(flushed.lines);
}

static void far_stubs_do_what_the_bundles_did(void **state)
{
    unsigned reasons[PREVIRT_IA64_REASON_COUNT] = {0};

    (void)state;
    make_code();
    rewrite_and_compare(FAR_STUBS, 0, reasons);
    assert_true(reasons[PREVIRT_IA64_REASON_STAYS] && reasons[PREVIRT_IA64_REASON_CALL]);
    assert_int_equal(reasons[PREVIRT_IA64_REASON_STUBS], 0);
    assert_int_equal(reasons[PREVIRT_IA64_REASON_REACH], 0);
}

static void near_stubs_do_what_the_bundles_did(void **state)
{
    unsigned reasons[PREVIRT_IA64_REASON_COUNT] = {0};

    (void)state;
    make_code();
    rewrite_and_compare(NEAR_STUBS, PREVIRT_IA64_TARGET_NEAR, reasons);
}

/* mov r1=ip in the bundle of a site: it is executed where it was, after nothing that it depends on.
 */
static void what_asks_for_its_address_stays(void **state)
{
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    size_t size = previrt_ia64_plan_bound(1, STUB_SIZE);
    void *buffer = malloc(size);
    struct previrt_ia64_bundle b = {.template_number = 0x0}, after; /* MII */
    struct previrt_ia64_insn insn;
    struct previrt_ia64_refusal refusal;

    (void)state;
    make_code();
    /* mov cr.tpr=r9; mov r8=ip; nop.i */
    b.slot[0] = UINT64_C(1) << 37 | UINT64_C(0x2c) << 27 | 66u << 20 | 9u << 13;
    b.slot[1] = UINT64_C(0x30) << 27 | 8u << 6;
    b.slot[2] = UINT64_C(1) << 27;
    previrt_ia64_pack(&b, code);
    assert_int_equal(previrt_ia64_decode_slot(&b, 1, &insn), PREVIRT_OK);
    assert_true(insn.effects & PREVIRT_IA64_IP_VALUE);
    assert_int_equal(previrt_ia64_decode_slot(&b, 0, &insn), PREVIRT_OK);
    assert_int_equal(insn.op, PREVIRT_IA64_MOV_TO_CR);
    assert_int_equal(previrt_ia64_site_from_insn(&insn, CODE_AT, 0, &sites[0]), PREVIRT_OK);
    previrt_ia64_target_native(&target);
    target.flags = PREVIRT_IA64_TARGET_UNLINKED;
    target.stub_address = NEAR_STUBS;
    target.stub_size = STUB_SIZE;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_OK);
    assert_int_equal(previrt_ia64_commit(plan, stubs, STUB_SIZE, NULL), PREVIRT_OK);
    previrt_ia64_unpack(code, &after);
    assert_true(after.slot[1] == b.slot[1]);
    assert_int_equal(previrt_ia64_decode_slot(&after, 2, &insn), PREVIRT_OK);
    assert_string_equal(insn.name, "br.cond");
    assert_int_equal(previrt_ia64_revert(plan, NULL), PREVIRT_OK);

    /* out of br.cond's reach */
    target.stub_address = FAR_STUBS;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    assert_int_equal(previrt_ia64_plan_refusal(plan, 0, &refusal), 1);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_STAYS);

    /* mov cr.tpr=r8 reads what mov r8=ip writes */
    b.slot[0] = UINT64_C(1) << 37 | UINT64_C(0x2c) << 27 | 66u << 20 | 8u << 13;
    previrt_ia64_pack(&b, code);
    previrt_ia64_decode_slot(&b, 0, &insn);
    previrt_ia64_site_from_insn(&insn, CODE_AT, 0, &sites[0]);
    target.stub_address = NEAR_STUBS;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    /* left, if the target may */
    target.flags |= PREVIRT_IA64_TARGET_KEEP_UNSUITABLE;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_OK);
    assert_int_equal(previrt_ia64_plan_refusal(plan, 0, &refusal), 1);
    assert_int_equal(previrt_ia64_plan_refusal(plan, 1, &refusal), 0);
    free(buffer);
}

static void unlinked_code_does_what_it_did(void **state)
{
    unsigned reasons[PREVIRT_IA64_REASON_COUNT] = {0};

    (void)state;
    make_code();
    rewrite_and_compare(NEAR_STUBS, PREVIRT_IA64_TARGET_UNLINKED, reasons);
}

static void calls_move_if_the_target_allows_it(void **state)
{
    unsigned strict[PREVIRT_IA64_REASON_COUNT] = {0}, loose[PREVIRT_IA64_REASON_COUNT] = {0};
    uint64_t again = random_state;

    (void)state;
    make_code();
    rewrite_and_compare(FAR_STUBS, 0, strict);
    random_state = again;
    make_code();
    rewrite_and_compare(FAR_STUBS, PREVIRT_IA64_TARGET_STUB_RETURNS, loose);
    assert_true(loose[PREVIRT_IA64_REASON_CALL] < strict[PREVIRT_IA64_REASON_CALL]);
}

static void out_of_reach_is_refused(void **state)
{
    struct previrt_ia64_refusal refusal;
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    size_t size = previrt_ia64_plan_bound(1, STUB_SIZE);
    void *buffer = malloc(size);
    struct previrt_ia64_bundle b = {{UINT64_C(7) << 27, 1u << 27, 1u << 27}, 0, {0}};

    (void)state;
    make_code();
    previrt_ia64_pack(&b, code); /* rsm 0; nop.i; nop.i */
    sites[0] = (struct previrt_site){
        .address = CODE_AT, .arch = PREVIRT_ARCH_IA64, .op = PREVIRT_IA64_RSM};
    previrt_ia64_target_native(&target);
    target.flags = PREVIRT_IA64_TARGET_NEAR;
    target.stub_address = FAR_STUBS;
    target.stub_size = STUB_SIZE;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    assert_int_equal(previrt_ia64_plan_refusal(plan, 0, &refusal), 1);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_REACH);
    assert_int_equal(previrt_ia64_plan_refusal(plan, 1, &refusal), 0);

    /* pinned; then: the same, done by break */
    target.flags = 0;
    sites[0].operand = PREVIRT_IA64_OPERAND_PINNED;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    previrt_ia64_plan_refusal(plan, 0, &refusal);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_PINNED);
    target.flags = PREVIRT_IA64_TARGET_BREAK_UNSUITABLE;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_OK);

    /* no room for stubs, nothing at the site, outside, twice */
    target.flags = 0;
    target.stub_size = 16;
    sites[0].operand = 0;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    previrt_ia64_plan_refusal(plan, 0, &refusal);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_STUBS);
    sites[0].op = PREVIRT_IA64_SSM;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    previrt_ia64_plan_refusal(plan, 0, &refusal);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_BYTES);
    sites[0].address = CODE_AT + CODE_SIZE - 15;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_REFUSED);
    previrt_ia64_plan_refusal(plan, 0, &refusal);
    assert_int_equal(refusal.reason, PREVIRT_IA64_REASON_RANGE);

    /* arguments */
    target.stub_address = CODE_AT + 16;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_INVALID);
    target.stub_address = FAR_STUBS + 8;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, size, &plan),
                     PREVIRT_E_INVALID);
    target.stub_address = FAR_STUBS;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 1, &target, buffer, 100, &plan),
                     PREVIRT_E_SPACE);
    assert_int_equal(previrt_ia64_plan_bound(SIZE_MAX / 16, 0), 0);
    free(buffer);
}

/* With BREAK, slots change in place: to a break with the same predicate; the others do not. */
static void breaks_replace_slots_alone(void **state)
{
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    size_t size, broken = 0;
    void *buffer;

    (void)state;
    make_code();
    previrt_ia64_target_break(&target, 0x1abcde);
    target.stub_address = FAR_STUBS;
    size = previrt_ia64_plan_bound(site_count, 0);
    buffer = malloc(size);
    assert_int_equal(previrt_ia64_plan(&memory, sites, site_count, &target, buffer, size, &plan),
                     PREVIRT_OK);
    assert_int_equal(previrt_ia64_commit(plan, NULL, 0, NULL), PREVIRT_OK);
    for (size_t i = 0; i < site_count; i++) {
        size_t at = sites[i].address - CODE_AT;
        struct previrt_ia64_bundle was, is;
        struct previrt_ia64_insn old, new;
        char text[TEXT_MAX];

        if (previrt_ia64_op_info(sites[i].op)->policy != PREVIRT_IA64_POLICY_REWRITE)
            continue;
        broken++;
        previrt_ia64_unpack(&original[at], &was);
        previrt_ia64_unpack(&code[at], &is);
        assert_int_equal(was.template_number, is.template_number);
        previrt_ia64_decode_slot(&was, sites[i].slot, &old);
        assert_int_equal(previrt_ia64_decode_slot(&is, sites[i].slot, &new), PREVIRT_OK);
        assert_int_equal(new.op, PREVIRT_IA64_BREAK);
        assert_int_equal(new.qp, old.qp);
        previrt_ia64_text(&new, 0, text, sizeof(text));
        assert_non_null(strstr(text, "0x1abcde"));
    }
    previrt_ia64_plan_summary(plan, &summary);
    assert_int_equal(summary.broken, broken);
    assert_int_equal(summary.stub_bytes, 0);
    /* bundles that were not sites, and slots that were not */
    for (size_t i = 0; i < BUNDLES; i++)
        for (unsigned s = 0; s < 3; s++) {
            struct previrt_ia64_bundle was, is;
            struct previrt_ia64_insn insn;

            previrt_ia64_unpack(&original[i * 16], &was);
            previrt_ia64_unpack(&code[i * 16], &is);
            if (was.slot[s] != is.slot[s] &&
                previrt_ia64_template(was.template_number)->unit[s] != PREVIRT_IA64_UNIT_L) {
                assert_int_equal(previrt_ia64_decode_slot(&was, s, &insn), PREVIRT_OK);
                assert_int_equal(target.action[insn.op], PREVIRT_IA64_ACTION_BREAK);
            }
        }
    /* a bundle that somebody changed since cannot be reverted, and then nothing is */
    code[sites[0].address - CODE_AT + 15] ^= 1;
    if (target.action[sites[0].op]) {
        uint8_t *before = malloc(CODE_SIZE);

        memcpy(before, code, CODE_SIZE);
        assert_int_equal(previrt_ia64_revert(plan, NULL), PREVIRT_E_BYTES);
        assert_memory_equal(before, code, CODE_SIZE);
        free(before);
    }
    code[sites[0].address - CODE_AT + 15] ^= 1;
    assert_int_equal(previrt_ia64_revert(plan, NULL), PREVIRT_OK);
    assert_memory_equal(code, original, CODE_SIZE);
    free(buffer);
}

/* (p6) mov r8=cr.tpr becomes two loads of the page's word, with the result register as the only
 * temporary. */
static void vcpu_reads_come_from_the_page(void **state)
{
    static const uint64_t page = UINT64_C(0xe000000000ff0000);
    static const char *const expected[] = {"(p06) movl r8=0xe000000000ff0210", "(p06) ld8 r8=[r8]"};
    struct previrt_ia64_bundle b = {
        {UINT64_C(1) << 37 | UINT64_C(0x24) << 27 | 66u << 20 | 8u << 6 | 6, 1u << 27, 1u << 27},
        1,
        {0}};
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    struct trace trace = {.ends_at = CODE_AT + 16};
    struct previrt_ia64_insn insn;
    size_t size = previrt_ia64_plan_bound(2, STUB_SIZE);
    void *buffer = malloc(size);

    (void)state;
    make_code();
    previrt_ia64_pack(&b, code);
    previrt_ia64_decode_slot(&b, 0, &insn);
    previrt_ia64_site_from_insn(&insn, CODE_AT, 0, &sites[0]);
    b.slot[0] =
        (b.slot[0] & ~(UINT64_C(127) << 20)) | 65u << 20; /* cr.ivr: reading it acknowledges */
    previrt_ia64_pack(&b, code + 16);
    previrt_ia64_decode_slot(&b, 0, &insn);
    previrt_ia64_site_from_insn(&insn, CODE_AT + 16, 0, &sites[1]);
    previrt_ia64_target_vcpu(&target, &page, 0x1f0000);
    target.stub_address = FAR_STUBS;
    target.stub_size = STUB_SIZE;
    assert_int_equal(previrt_ia64_plan(&memory, sites, 2, &target, buffer, size, &plan),
                     PREVIRT_OK);
    assert_int_equal(previrt_ia64_commit(plan, stubs, STUB_SIZE, NULL), PREVIRT_OK);
    trace_bundle(&trace, code, CODE_AT, FAR_STUBS, 1);
    assert_int_equal(trace.count, 2);
    for (unsigned i = 0; i < 2; i++)
        assert_string_equal(trace.step[i].text, expected[i]);
    assert_true(trace.step[1].stop_before);
    previrt_ia64_unpack(code + 16, &b);
    previrt_ia64_decode_slot(&b, 0, &insn);
    assert_int_equal(insn.op, PREVIRT_IA64_BREAK);
    assert_int_equal(insn.qp, 6);
    free(buffer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(far_stubs_do_what_the_bundles_did),
        cmocka_unit_test(near_stubs_do_what_the_bundles_did),
        cmocka_unit_test(what_asks_for_its_address_stays),
        cmocka_unit_test(unlinked_code_does_what_it_did),
        cmocka_unit_test(calls_move_if_the_target_allows_it),
        cmocka_unit_test(out_of_reach_is_refused),
        cmocka_unit_test(breaks_replace_slots_alone),
        cmocka_unit_test(vcpu_reads_come_from_the_page),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
