/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The entry code of the Xen back-end (backends/xen/entry.S) as it is in the linked image, with an
 * event of Xen before every instruction, one run for each.
 *
 * Unicorn executes the code. The test is Xen: it bounces traps and events to the entries, does
 * HYPERVISOR_iret, and knows one thing about events that matters here: Xen looks at
 * evtchn_upcall_pending only when it has been entered, and delivers then if the mask is clear. So
 * an event that came while it was masked is delivered later when something else enters Xen, some
 * instructions after the mask is cleared (the run says how many), or never. The C functions that
 * the entry code calls are not executed: the test looks at what they are given, and does to the
 * state what they might do.
 *
 * What must hold: the guest's handler or user code is entered, or a C function is called, with the
 * exact state; every event is told to somebody once; and nothing else is written.
 *
 * test_xen_entry IMAGE [STATES [SEED [CASE]]]
 */
#include <fcntl.h>
#include <gelf.h>
#include <inttypes.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <unicorn/unicorn.h>

#include "../../backends/xen/fast.h"
#include "../../backends/xen/layout.h"
#include "../semantics/generate.h"

#define DEFAULT_STATES 200
#define DEFAULT_SEED   0x5eed2007ull
#define STEP_LIMIT     1000u

/* Xen's interface: arch-x86/xen-x86_64.h, xen.h (struct vcpu_info is the first in the page) */
#define HYPERVISOR_IRET 23u
#define HYPERCALL_SIZE  32u
#define VGCF_IN_SYSCALL 0x100u
#define KERNEL_CS32     0xe023u
#define KERNEL_CS64     0xe033u
#define KERNEL_SS       0xe02bu
#define XEN_SELECTORS   0xe000u /* and above */
#define RPL             3u
enum { UPCALL_PENDING = 0, UPCALL_MASK = 1, ARCH_CR2 = 16 };

#define EVENT_VECTOR    256u
#define FAILSAFE_VECTOR 257u

/* The VMM's own mapping of the guest's memory, and what is where in it. */
#define RAM       0xffffffff90000000ull
#define RAM_SIZE  0x8000u
#define DIRECTORY 0x1000u
#define TABLE     0x2000u
#define TABLES    0x3000u /* words of the guest's IDT, TSS and GDT */
/* As the guest sees it. */
#define STACK         0xc0100000u
#define STACK_SIZE    0x2000u
#define NOT_MAPPED    (STACK + STACK_SIZE)
#define GDT           0x1000u /* Unicorn's own, for loads of GS */
#define GDT_ENTRIES   32u
#define BELOW_STACK   128u /* what may be written below the guest's stack pointer: offsets.c */
#define NEEDED        (24 + BELOW_STACK) /* of ESP0's page */
#define NO_EVENT      (~0u)
#define NEVER         5u /* as (delay) */
#define LOG_SIZE      1024
#define REGIONS       4
#define VMM_STACK     2048u
#define FRAME_SIZE    24u                   /* number EIP CS EFLAGS ESP SS */
#define ATTENTION(n)  (1u << (8 + 8 * (n))) /* in what is looked at as one word */
#define USER_FLAGS    (EFLAGS_USER & ~(EFLAGS_TF | EFLAGS_IF))
#define LIVE_FLAGS    (USER_FLAGS & ~EFLAGS_RF) /* POPF does not load RF */
#define CLEARED_FLAGS (EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM)
#define RARE_FLAGS    (EFLAGS_TF | EFLAGS_IOPL | EFLAGS_NT)

enum symbol {
    START, /* of entry.S */
    HYPERCALL_PAGE,
    INT80_ENTRY,
    PAGE_FAULT_ENTRY,
    EVENT_ENTRY,
    FAILSAFE_ENTRY,
    TRAP_ENTRIES, /* the last of it */
    LOW_ENTRY,
    LOW_ENTRY_END,
    STACK_TOP,
    IRET_FRAME,
    FAST,
    GUEST,
    LOW_PAGES,
    SHARED_INFO,
    EVENTS, /* from here on: C functions */
    PREPARE,
    OPERATION,
    TRAP,
    REFILL,
    FATAL,
    SYMBOLS
};

static const char *const symbol_names[SYMBOLS] = {
    [START] = "_start",
    [HYPERCALL_PAGE] = "hypercall_page",
    [INT80_ENTRY] = "int80_entry",
    [PAGE_FAULT_ENTRY] = "page_fault_entry",
    [EVENT_ENTRY] = "pv_event_entry",
    [FAILSAFE_ENTRY] = "pv_failsafe_entry",
    [TRAP_ENTRIES] = "pv_trap_entries",
    [LOW_ENTRY] = "pv_low_entry",
    [LOW_ENTRY_END] = "pv_low_entry_end",
    [STACK_TOP] = "pv_stack_top",
    [IRET_FRAME] = "iret_frame",
    [FAST] = "pv_fast",
    [GUEST] = "pv_guest",
    [LOW_PAGES] = "pv_low_pages",
    [SHARED_INFO] = "pv_shared_info_page",
    [EVENTS] = "pv_xen_events",
    [PREPARE] = "pv_xen_prepare",
    [OPERATION] = "pv_xen_operation",
    [TRAP] = "pv_xen_trap",
    [REFILL] = "pv_xen_refill",
    [FATAL] = "pv_xen_fatal",
};

#define TRAP_ENTRY_SIZE 32u
#define TRAP_VECTORS    20u

/* Numbers of registers as instructions have them, then RFLAGS. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, RFLAGS = 16, REGISTERS };

/* asm-x86/xen-x86_64.h */
struct iret_context {
    uint64_t rax, r11, rcx, flags, rip, cs, rflags, rsp, ss;
};

/* Why Unicorn was stopped. */
enum stop { RUNS, DELIVER, AT_FUNCTION, AT_IRETQ, AT_SYSCALL, AT_FAR_JUMP, AT_FAULT };

/* What comes next. */
enum outcome {
    TO_HANDLER,   /* the fast way: the guest's handler */
    TO_USER_FAST, /* user code */
    TO_TRAP,      /* the long way: pv_xen_trap() */
    TO_OPERATION, /* pv_xen_operation() */
    TO_KERNEL,    /* what a C function left in pv_guest */
    TO_USER
};

/* What the entry code changes besides registers. */
struct effects {
    uint64_t fast_calls, fast_returns, fast_faults, page_faults;
    uint64_t refill_entry, refill_value;
    uint32_t refill_va, cr2, page_cr2, user_gs, attention;
    uint8_t interrupts;
};

struct region {
    uint64_t address, size;
    uint8_t *bytes;
};

struct entry_test {
    uc_engine *uc;
    struct region region[REGIONS];
    unsigned regions;
    uint64_t symbol[SYMBOLS];
    struct pv_vmm *vmm;
    struct pv_xen_fast *fast;
    struct iret_context *iret;
    struct previrt_vcpu_page *page;
    uint8_t *shared, *tables;

    /* the state */
    struct random random;
    const struct scenario *scenario;
    unsigned state;
    enum outcome outcome;
    struct registers expect;                              /* of the guest, where the outcome says */
    uint32_t expect_cs, expect_ss, vector, error, number; /* what C functions are told */
    uint32_t user_cs, user_ss;
    struct effects effects;
    uint16_t gs;
    int refills, refill_result; /* how often pv_xen_refill() is called, and what it returns */
    struct registers next;      /* what the C function makes of the guest, */
    bool next_user;             /* and where it goes on */
    enum symbol entry;          /* Xen comes in here, or LOW_ENTRY: a stub does */
    uint64_t start;             /* its address */
    struct registers begin;     /* what is interrupted */
    uint32_t begin_cs, begin_ss;
    bool has_error;
    uint32_t given_error;
    uint64_t given_cr2;
    bool upper_halves;               /* of registers hold something */
    uint32_t writes_from, writes_to; /* where the guest's memory may be written */
    uint32_t frame[6], frame_size;   /* what the handler finds on its stack */

    /* the run */
    unsigned k, second, delay, steps, unmasked;
    struct random garbage;
    uint64_t reg[REGISTERS], rip;
    enum stop stop;
    bool over, failed, arrived;
    enum outcome next_outcome;
    struct registers now; /* as (expect) */
    unsigned owed, told;
    int refilled;
    uint64_t fault_address;
    bool fault_write;
    struct {
        uint8_t *at, old[8];
        unsigned size;
    } log[LOG_SIZE];
    unsigned logged;

    unsigned runs, failures;
};

/* A case. */
struct scenario {
    const char *name;
    /* makes the state and says what must come of it */
    void (*prepare)(struct entry_test *t, unsigned variant);
    unsigned variant;
};

static void check(uc_err error, const char *what)
{
    if (error != UC_ERR_OK) {
        fprintf(stderr, "Unicorn: %s: %s\n", what, uc_strerror(error));
        exit(99);
    }
}

static void fail(struct entry_test *t, const char *format, ...)
{
    va_list arguments;

    t->over = true;
    if (t->failed)
        return;
    t->failed = true;
    if (t->failures++ >= 5)
        return;
    printf("  FAILED %s: ", t->scenario->name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf(" (state %u, event before instruction %d, another %d, delay %u; at %#" PRIx64 ")\n",
           t->state, (int)t->k, (int)t->second, t->delay, t->rip);
}

static bool same(struct entry_test *t, const char *what, uint64_t expected, uint64_t found)
{
    if (expected != found)
        fail(t, "%s: expected 0x%" PRIx64 ", found 0x%" PRIx64, what, expected, found);
    return expected == found;
}

static uint64_t random64(struct random *random)
{
    return (uint64_t)random32(random) << 32 | random32(random);
}

static bool coin(struct entry_test *t)
{
    return random_below(&t->random, 2);
}

/* ---- memory ---- */

static uint8_t *host(struct entry_test *t, uint64_t address, unsigned size)
{
    for (unsigned i = 0; i < t->regions; i++) {
        const struct region *r = &t->region[i];

        if (address >= r->address && address - r->address + size <= r->size)
            return r->bytes + (address - r->address);
    }
    return NULL;
}

/* Before something changes that the next run finds as it was. */
static void keep(struct entry_test *t, void *at, unsigned size)
{
    for (uint8_t *p = at; size; p += 8) {
        unsigned part = size < 8 ? size : 8;

        if (t->logged == LOG_SIZE) {
            fprintf(stderr, "the log of writes is too small\n");
            exit(99);
        }
        t->log[t->logged].at = p;
        t->log[t->logged].size = part;
        memcpy(t->log[t->logged++].old, p, part);
        size -= part;
    }
}

static void undo(struct entry_test *t)
{
    while (t->logged) {
        t->logged--;
        memcpy(t->log[t->logged].at, t->log[t->logged].old, t->log[t->logged].size);
    }
}

static void set_byte(struct entry_test *t, uint8_t *at, uint8_t value)
{
    keep(t, at, 1);
    *at = value;
}

static bool may_write(struct entry_test *t, uint64_t address, unsigned size)
{
    const struct {
        uint64_t from, size;
    } allowed[] = {
        {t->symbol[STACK_TOP] - VMM_STACK, VMM_STACK},
        {t->symbol[IRET_FRAME] - 256, 256 + sizeof(struct iret_context)},
        {t->symbol[FAST], sizeof(struct pv_xen_fast)},
        {t->symbol[GUEST], sizeof(struct pv_cpu)},
        {t->symbol[GUEST] + offsetof(struct pv_vmm, refill_va),
         offsetof(struct pv_vmm, current) - offsetof(struct pv_vmm, refill_va)},
        {t->symbol[GUEST] + offsetof(struct pv_vmm, count), sizeof(struct previrt_counters)},
        {t->symbol[LOW_PAGES], 128},
        {t->symbol[SHARED_INFO], ARCH_CR2 + 8},
        {t->writes_from, t->writes_to - t->writes_from},
    };

    for (unsigned i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (address >= allowed[i].from && address + size <= allowed[i].from + allowed[i].size)
            return true;
    return false;
}

/* ---- Xen ---- */

static void push(struct entry_test *t, uint64_t value)
{
    uint8_t *at;

    t->reg[RSP] -= 8;
    at = host(t, t->reg[RSP], 8);
    if (!at || !may_write(t, t->reg[RSP], 8)) {
        fail(t, "Xen's frame is at 0x%" PRIx64, t->reg[RSP]);
        return;
    }
    keep(t, at, 8);
    memcpy(at, &value, 8);
}

/* What was interrupted is in (reg) and (rip). */
static void bounce(struct entry_test *t, uint64_t entry, uint32_t cs, uint32_t ss, bool has_error,
                   uint64_t error)
{
    bool kernel = cs >= XEN_SELECTORS;
    uint64_t rsp = t->reg[RSP], mask = t->shared[UPCALL_MASK];

    t->reg[RSP] = kernel ? rsp & ~15ull : t->symbol[STACK_TOP];
    push(t, ss);
    push(t, rsp);
    push(t, (t->reg[RFLAGS] & ~(uint64_t)EFLAGS_IF) | (mask ? 0 : EFLAGS_IF));
    push(t, (kernel ? cs & ~RPL : cs) | mask << 32);
    push(t, t->rip);
    if (has_error)
        push(t, error);
    if (entry == t->symbol[FAILSAFE_ENTRY])
        for (unsigned i = 0; i < 4; i++)
            push(t, random32(&t->garbage) & 0xffff);
    push(t, t->reg[R11]);
    push(t, t->reg[RCX]);
    set_byte(t, t->shared + UPCALL_MASK, 1);
    t->reg[RFLAGS] &= ~(uint64_t)(CLEARED_FLAGS | EFLAGS_AC);
    t->reg[RFLAGS] |= EFLAGS_IF;
    t->reg[R11] = random64(&t->garbage);
    t->reg[RCX] = random64(&t->garbage);
    t->rip = entry;
}

/* Before each instruction. Whether an event is delivered here. */
static bool deliver(struct entry_test *t)
{
    bool entered = t->steps == t->k || t->steps == t->second;

    if (entered) {
        if (!t->shared[UPCALL_PENDING])
            t->owed++;
        set_byte(t, t->shared + UPCALL_PENDING, 1);
        t->arrived |= t->steps == t->k;
    }
    if (!t->shared[UPCALL_PENDING] || t->shared[UPCALL_MASK]) {
        t->unmasked = 0;
        return false;
    }
    return entered || (t->delay != NEVER && t->unmasked++ >= t->delay);
}

static void tell(struct entry_test *t)
{
    if (!t->shared[UPCALL_PENDING])
        fail(t, "an event that was told before is told again");
    t->told++;
    set_byte(t, t->shared + UPCALL_PENDING, 0);
}

/* ---- what must hold ---- */

static void collect(struct entry_test *t, struct effects *e)
{
    memset(e, 0, sizeof *e);
    e->fast_calls = t->vmm->count.fast_calls;
    e->fast_returns = t->vmm->count.fast_returns;
    e->fast_faults = t->vmm->count.fast_faults;
    e->page_faults = t->vmm->count.vector[VECTOR_PF];
    e->refill_entry = (uintptr_t)t->vmm->refill_entry;
    e->refill_value = t->vmm->refill_value;
    e->refill_va = t->vmm->refill_va;
    e->cr2 = t->vmm->cpu.cr2;
    e->page_cr2 = t->page->cr[2];
    e->user_gs = t->fast->user_gs;
    memcpy(&e->attention, (const uint8_t *)t->page + PREVIRT_VCPU_PENDING, 4);
    e->interrupts = ((const uint8_t *)&t->page->eflags)[PREVIRT_VCPU_IF_BYTE];
}

static void check_effects(struct entry_test *t)
{
    struct effects e;

    collect(t, &e);
    same(t, "fast calls", t->effects.fast_calls, e.fast_calls);
    same(t, "fast returns", t->effects.fast_returns, e.fast_returns);
    same(t, "fast faults", t->effects.fast_faults, e.fast_faults);
    same(t, "page faults", t->effects.page_faults, e.page_faults);
    same(t, "entry to look at", t->effects.refill_entry, e.refill_entry);
    same(t, "its value", t->effects.refill_value, e.refill_value);
    same(t, "page to map", t->effects.refill_va, e.refill_va);
    same(t, "CR2", t->effects.cr2, e.cr2);
    same(t, "CR2 in the vCPU page", t->effects.page_cr2, e.page_cr2);
    same(t, "selector of user code's GS", t->effects.user_gs, e.user_gs);
    same(t, "attention", t->effects.attention, e.attention);
    same(t, "virtual IF", t->effects.interrupts, e.interrupts);
}

/* The guest's state in pv_guest, all but EIP. */
static void check_saved(struct entry_test *t)
{
    static const char *const names[8] = {"saved EAX", "saved ECX", "saved EDX", "saved EBX",
                                         "saved ESP", "saved EBP", "saved ESI", "saved EDI"};

    for (unsigned i = 0; i < 8; i++)
        same(t, names[i], t->now.gpr[i], t->vmm->cpu.gpr[i]);
    same(t, "saved EFLAGS", t->now.eflags | EFLAGS_IF, t->vmm->cpu.eflags | EFLAGS_IF);
}

/* What the processor has as the guest begins. */
static void check_live(struct entry_test *t, uint64_t eax, uint64_t ecx, uint64_t esp)
{
    static const char *const names[8] = {"EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"};

    for (unsigned i = 0; i < 8; i++) {
        uint64_t value = i == RAX ? eax : i == RCX ? ecx : i == RSP ? esp : t->reg[i];

        same(t, names[i], t->now.gpr[i], i == RSP ? value : (uint32_t)value);
    }
}

static void check_frame(struct entry_test *t)
{
    for (unsigned i = 0; i < t->frame_size; i++) {
        uint32_t word;

        memcpy(&word, host(t, t->expect.gpr[RSP] + i * 4, 4), 4);
        same(t, "word of the handler's frame", t->frame[i], word);
    }
}

/* The run has come to the guest. */
static void arrive(struct entry_test *t)
{
    t->over = true;
    check_effects(t);
    if (t->frame_size)
        check_frame(t);
    same(t, "calls of pv_xen_refill()", (unsigned)t->refills, (unsigned)t->refilled);
    same(t, "evtchn_upcall_mask", 0, t->shared[UPCALL_MASK]);
    if (t->shared[UPCALL_PENDING])
        fail(t, "an event is pending and nobody was told");
    same(t, "events", t->owed, t->told);
}

static void at_far_jump(struct entry_test *t)
{
    const uint8_t *code = host(t, t->rip, 7);
    const uint8_t *pointer;
    uint32_t offset;
    uint16_t selector;
    int32_t displacement;

    memcpy(&displacement, code + 3, 4);
    pointer = host(t, (uint64_t)(int64_t)displacement, 6);
    if (!pointer) {
        fail(t, "a far jump through nothing");
        return;
    }
    memcpy(&offset, pointer, 4);
    memcpy(&selector, pointer + 4, 2);
    if (t->next_outcome != TO_HANDLER) {
        fail(t, "the handler was entered");
        return;
    }
    same(t, "CS", KERNEL_CS32, selector);
    same(t, "EIP", t->now.eip, offset);
    check_live(t, t->reg[RAX], t->reg[RCX], t->reg[RSP]);
    same(t, "EFLAGS", t->now.eflags & LIVE_FLAGS, t->reg[RFLAGS] & (LIVE_FLAGS | CLEARED_FLAGS));
    arrive(t);
}

static void at_iretq(struct entry_test *t)
{
    uint64_t frame[5]; /* RIP CS RFLAGS RSP SS */
    const uint8_t *at = host(t, t->reg[RSP], sizeof frame);

    if (!at) {
        fail(t, "iretq without a stack");
        return;
    }
    memcpy(frame, at, sizeof frame);
    if ((uint16_t)frame[1] == KERNEL_CS64) {
        t->rip = frame[0];
        t->reg[RFLAGS] = frame[2] | EFLAGS_IF;
        t->reg[RSP] = frame[3];
        same(t, "SS", KERNEL_SS, frame[4]);
        return;
    }
    if (t->next_outcome != TO_KERNEL) {
        fail(t, "iretq to 0x%" PRIx64 ":0x%" PRIx64, frame[1], frame[0]);
        return;
    }
    same(t, "CS", KERNEL_CS32, frame[1]);
    same(t, "SS", KERNEL_SS, frame[4]);
    same(t, "EIP", t->now.eip, frame[0]);
    same(t, "EFLAGS", t->now.eflags | EFLAGS_IF, frame[2] | EFLAGS_IF);
    check_live(t, t->reg[RAX], t->reg[RCX], frame[3]);
    arrive(t);
}

/* HYPERVISOR_iret. */
static void at_syscall(struct entry_test *t)
{
    struct iret_context c;
    const uint8_t *at = host(t, t->reg[RSP], sizeof c);

    if (!at || (uint32_t)t->reg[RAX] != HYPERVISOR_IRET) {
        fail(t, "hypercall 0x%" PRIx64, t->reg[RAX]);
        return;
    }
    memcpy(&c, at, sizeof c);
    if (t->next_outcome != TO_USER && t->next_outcome != TO_USER_FAST) {
        fail(t, "user code was entered");
        return;
    }
    if (c.flags & VGCF_IN_SYSCALL)
        fail(t, "Xen would not load RCX");
    same(t, "CS", t->user_cs, c.cs);
    same(t, "SS", t->user_ss, c.ss);
    same(t, "EIP", t->now.eip, c.rip);
    same(t, "EFLAGS", t->now.eflags | EFLAGS_IF, c.rflags);
    check_live(t, c.rax, c.rcx, c.rsp);
    set_byte(t, t->shared + UPCALL_MASK, !(c.rflags & EFLAGS_IF));
    if (t->shared[UPCALL_PENDING] && !t->shared[UPCALL_MASK])
        tell(t); /* Xen was entered, so it delivers now, and user code was interrupted */
    arrive(t);
}

/* What the VMM's C makes of the guest. */
static void next_state(struct entry_test *t)
{
    struct pv_cpu *cpu = &t->vmm->cpu;

    keep(t, cpu, sizeof *cpu);
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = t->next.gpr[i];
    cpu->eip = t->next.eip;
    cpu->eflags = t->next.eflags;
    cpu->user = t->next_user;
    cpu->user_cs = t->user_cs;
    cpu->user_ss = t->user_ss;
    t->now = t->next;
    t->next_outcome = t->next_user ? TO_USER : TO_KERNEL;
}

static void called_trap(struct entry_test *t)
{
    if (t->next_outcome != TO_TRAP) {
        fail(t, "pv_xen_trap(%u)", (unsigned)t->reg[RDI]);
        return;
    }
    same(t, "vector", t->vector, (uint32_t)t->reg[RDI]);
    same(t, "error code", t->error, (uint32_t)t->reg[RSI]);
    same(t, "CS of the guest", t->expect_cs, (uint32_t)t->reg[RDX]);
    same(t, "SS of the guest", t->expect_ss, (uint32_t)t->reg[RCX]);
    same(t, "saved EIP", t->now.eip, t->vmm->cpu.eip);
    if (t->entry == PAGE_FAULT_ENTRY) {
        uint64_t cr2;

        memcpy(&cr2, t->shared + ARCH_CR2, 8);
        same(t, "CR2 in the shared page", t->given_cr2, cr2);
    }
    check_saved(t);
    check_effects(t);
    if (t->vector == EVENT_VECTOR)
        tell(t);
    next_state(t);
}

static void called_operation(struct entry_test *t)
{
    if (t->next_outcome != TO_OPERATION) {
        fail(t, "pv_xen_operation(%u)", (unsigned)t->reg[RDI]);
        return;
    }
    same(t, "number of the site", t->number, (uint32_t)t->reg[RDI]);
    check_saved(t);
    check_effects(t);
    next_state(t);
}

/* Whatever they do, the guest is still at (now). */
static void called_with_state(struct entry_test *t, const char *name)
{
    if (t->next_outcome != TO_KERNEL && t->next_outcome != TO_USER) {
        fail(t, "%s with the guest's state still in registers", name);
        return;
    }
    same(t, "saved EIP", t->now.eip, t->vmm->cpu.eip);
    same(t, "saved mode", t->next_outcome == TO_USER, t->vmm->cpu.user);
    check_saved(t);
}

static void called_events(struct entry_test *t)
{
    tell(t);
    if (t->next_outcome == TO_HANDLER) {
        check_effects(t);
        check_frame(t);
        t->next_outcome = TO_KERNEL;
    }
    called_with_state(t, symbol_names[EVENTS]);
}

/* A C function: does what the ABI allows, and returns. */
static void at_function(struct entry_test *t)
{
    static const uint8_t clobbered[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};
    uint32_t result = random32(&t->garbage);
    enum symbol function = EVENTS;
    const uint8_t *back;

    while (function < SYMBOLS && t->symbol[function] != t->rip)
        function++;
    same(t, "evtchn_upcall_mask", 1, t->shared[UPCALL_MASK]);
    same(t, "DF", 0, t->reg[RFLAGS] & EFLAGS_DF);
    same(t, "alignment of the stack", 8, t->reg[RSP] & 15);
    if (t->symbol[STACK_TOP] - t->reg[RSP] > VMM_STACK)
        fail(t, "%s is called on the stack at 0x%" PRIx64, symbol_names[function], t->reg[RSP]);
    if (t->over)
        return;
    switch (function) {
    case EVENTS:
        called_events(t);
        break;
    case PREPARE:
        called_with_state(t, symbol_names[PREPARE]);
        result = t->next_outcome == TO_USER;
        break;
    case OPERATION:
        called_operation(t);
        break;
    case TRAP:
        called_trap(t);
        break;
    case REFILL:
        if (t->next_outcome != TO_USER_FAST && t->next_outcome != TO_OPERATION)
            fail(t, "pv_xen_refill()");
        t->refilled++;
        result = (uint32_t)t->refill_result;
        break;
    default:
        fail(t, "%s", function == FATAL ? "pv_xen_fatal()" : "execution goes astray");
        return;
    }
    for (unsigned i = 0; i < sizeof clobbered; i++)
        t->reg[clobbered[i]] = random64(&t->garbage);
    t->reg[RAX] = random64(&t->garbage) << 32 | result;
    t->reg[RFLAGS] ^= random32(&t->garbage) & 0x8d5;
    back = host(t, t->reg[RSP], 8);
    memcpy(&t->rip, back, 8);
    t->reg[RSP] += 8;
}

/* ---- Unicorn ---- */

static bool is_entry_code(const struct entry_test *t, uint64_t address)
{
    return (address >= t->symbol[START] &&
            address < t->symbol[TRAP_ENTRIES] + TRAP_VECTORS * TRAP_ENTRY_SIZE) ||
           address - PV_XEN_LOW_ENTRY < t->symbol[LOW_ENTRY_END] - t->symbol[LOW_ENTRY];
}

static enum stop what_comes(struct entry_test *t, uint64_t address)
{
    const uint8_t *code;

    if (!is_entry_code(t, address))
        return AT_FUNCTION;
    code = host(t, address, 7);
    if (code[0] == 0x48 && code[1] == 0xcf)
        return AT_IRETQ;
    if (code[0] == 0x0f && code[1] == 0x05)
        return AT_SYSCALL;
    if (code[0] == 0xff && code[1] == 0x2c && code[2] == 0x25)
        return AT_FAR_JUMP;
    return RUNS;
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct entry_test *t = user;

    (void)size;
    if (t->stop)
        return;
    t->rip = address;
    t->stop = deliver(t) ? DELIVER : what_comes(t, address);
    t->steps++;
    if (t->steps > STEP_LIMIT) {
        fail(t, "it does not end");
        t->stop = AT_FUNCTION;
    }
    if (t->stop)
        uc_emu_stop(uc);
}

static void on_write(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                     void *user)
{
    struct entry_test *t = user;
    uint8_t *at = host(t, address, (unsigned)size);

    (void)uc, (void)type, (void)value;
    if (!at)
        return;
    keep(t, at, (unsigned)size);
    if (!may_write(t, address, (unsigned)size))
        fail(t, "something is written at 0x%" PRIx64, address);
}

static bool on_not_mapped(uc_engine *uc, uc_mem_type type, uint64_t address, int size,
                          int64_t value, void *user)
{
    struct entry_test *t = user;

    (void)uc, (void)size, (void)value;
    if (!t->stop) {
        t->stop = AT_FAULT;
        t->fault_address = address;
        t->fault_write = type == UC_MEM_WRITE_UNMAPPED;
        if (type == UC_MEM_FETCH_UNMAPPED)
            fail(t, "execution at 0x%" PRIx64, address);
    }
    return false;
}

static const int unicorn_registers[REGISTERS] = {
    UC_X86_REG_RAX, UC_X86_REG_RCX,   UC_X86_REG_RDX, UC_X86_REG_RBX, UC_X86_REG_RSP,
    UC_X86_REG_RBP, UC_X86_REG_RSI,   UC_X86_REG_RDI, UC_X86_REG_R8,  UC_X86_REG_R9,
    UC_X86_REG_R10, UC_X86_REG_R11,   UC_X86_REG_R12, UC_X86_REG_R13, UC_X86_REG_R14,
    UC_X86_REG_R15, UC_X86_REG_EFLAGS};

static void execute(struct entry_test *t)
{
    void *values[REGISTERS];
    int ids[REGISTERS];

    for (unsigned i = 0; i < REGISTERS; i++) {
        values[i] = &t->reg[i];
        ids[i] = unicorn_registers[i];
    }
    t->stop = RUNS;
    check(uc_reg_write_batch(t->uc, ids, values, REGISTERS), "registers");
    uc_emu_start(t->uc, t->rip, 1, 0, 0);
    check(uc_reg_read_batch(t->uc, ids, values, REGISTERS), "registers");
    if (!t->stop)
        fail(t, "Unicorn stopped");
}

static void open_engine(struct entry_test *t)
{
    uc_x86_mmr gdtr = {.base = GDT, .limit = GDT_ENTRIES * 8 - 1};
    uc_hook hook;

    check(uc_open(UC_ARCH_X86, UC_MODE_64, &t->uc), "open");
    for (unsigned i = 0; i < t->regions; i++)
        check(uc_mem_map_ptr(t->uc, t->region[i].address, t->region[i].size, UC_PROT_ALL,
                             t->region[i].bytes),
              "map");
    check(uc_mem_map(t->uc, GDT, 0x1000, UC_PROT_READ), "map");
    for (unsigned i = 1; i < GDT_ENTRIES; i++) {
        uint64_t data = 0x00cff3000000ffffull;

        check(uc_mem_write(t->uc, GDT + i * 8, &data, 8), "GDT");
    }
    check(uc_reg_write(t->uc, UC_X86_REG_GDTR, &gdtr), "GDTR");
    check(uc_hook_add(t->uc, &hook, UC_HOOK_CODE, (void *)on_instruction, t, 1, 0), "hook");
    check(uc_hook_add(t->uc, &hook, UC_HOOK_MEM_WRITE, (void *)on_write, t, 1, 0), "hook");
    check(uc_hook_add(t->uc, &hook, UC_HOOK_MEM_UNMAPPED, (void *)on_not_mapped, t, 1, 0), "hook");
}

/* ---- the image ---- */

static void image_error(const char *path, const char *what)
{
    fprintf(stderr, "%s: %s\n", path, what);
    exit(99);
}

static void find_symbols(struct entry_test *t, Elf *elf)
{
    Elf_Scn *section = NULL;

    while ((section = elf_nextscn(elf, section))) {
        Elf_Data *data;
        GElf_Shdr header;

        if (!gelf_getshdr(section, &header) || header.sh_type != SHT_SYMTAB)
            continue;
        data = elf_getdata(section, NULL);
        for (int i = 0; data && i < (int)(header.sh_size / header.sh_entsize); i++) {
            GElf_Sym symbol;
            const char *name;

            if (!gelf_getsym(data, i, &symbol))
                continue;
            name = elf_strptr(elf, header.sh_link, symbol.st_name);
            for (unsigned s = 0; name && s < SYMBOLS; s++)
                if (!strcmp(name, symbol_names[s]))
                    t->symbol[s] = symbol.st_value;
        }
    }
}

static void add_region(struct entry_test *t, uint64_t address, uint64_t size, uint8_t *bytes)
{
    size = (size + PV_PAGE_MASK) & ~(uint64_t)PV_PAGE_MASK;
    if (!bytes) {
        bytes = aligned_alloc(PV_PAGE_SIZE, size);
        if (!bytes) {
            fprintf(stderr, "no memory\n");
            exit(99);
        }
        memset(bytes, 0, size);
    }
    t->region[t->regions++] = (struct region){address, size, bytes};
}

/* The first segment; the other is the guest's. */
static void load_segment(struct entry_test *t, const char *path, Elf *elf)
{
    GElf_Phdr segment;
    size_t size;
    const char *bytes = elf_rawfile(elf, &size);

    if (!gelf_getphdr(elf, 0, &segment) || segment.p_type != PT_LOAD || !bytes ||
        segment.p_offset + segment.p_filesz > size)
        image_error(path, "not an image of the Xen back-end");
    add_region(t, segment.p_vaddr, segment.p_memsz, NULL);
    memcpy(t->region[0].bytes, bytes + segment.p_offset, segment.p_filesz);
}

/* As Xen fills hypercall_page for HYPERVISOR_iret: push %rcx, %r11, %rax; mov $23, %eax; syscall.
 */
static void fill_hypercall_page(struct entry_test *t)
{
    static const uint8_t iret[] = {0x51, 0x41, 0x53, 0x50, 0xb8, HYPERVISOR_IRET,
                                   0,    0,    0,    0x0f, 0x05};

    memcpy(host(t, t->symbol[HYPERCALL_PAGE] + HYPERVISOR_IRET * HYPERCALL_SIZE, HYPERCALL_SIZE),
           iret, sizeof iret);
}

static void open_image(struct entry_test *t, const char *path)
{
    int file = open(path, O_RDONLY);
    Elf *elf;

    if (file < 0) {
        perror(path);
        exit(99);
    }
    elf_version(EV_CURRENT);
    elf = elf_begin(file, ELF_C_READ, NULL);
    if (!elf || gelf_getclass(elf) != ELFCLASS64)
        image_error(path, "not an ELF64 file");
    load_segment(t, path, elf);
    find_symbols(t, elf);
    elf_end(elf);
    close(file);
    for (unsigned s = 0; s < SYMBOLS; s++)
        if (!t->symbol[s] || !host(t, t->symbol[s], 1))
            image_error(path, symbol_names[s]);
    t->vmm = (struct pv_vmm *)host(t, t->symbol[GUEST], sizeof *t->vmm);
    t->fast = (struct pv_xen_fast *)host(t, t->symbol[FAST], sizeof *t->fast);
    t->iret = (struct iret_context *)host(t, t->symbol[IRET_FRAME], sizeof *t->iret);
    t->page = (struct previrt_vcpu_page *)host(t, t->symbol[LOW_PAGES], sizeof *t->page);
    t->shared = host(t, t->symbol[SHARED_INFO], PV_PAGE_SIZE);
    fill_hypercall_page(t);
    /* pv_xen_main() */
    memcpy((uint8_t *)t->page + (PV_XEN_LOW_ENTRY - PV_XEN_LOW_BASE),
           host(t, t->symbol[LOW_ENTRY], 1), t->symbol[LOW_ENTRY_END] - t->symbol[LOW_ENTRY]);
    add_region(t, PV_XEN_LOW_BASE, 2 * PV_PAGE_SIZE, (uint8_t *)t->page);
    add_region(t, RAM, RAM_SIZE, NULL);
    add_region(t, STACK, STACK_SIZE, NULL);
    t->tables = host(t, RAM + TABLES, PV_PAGE_SIZE);
}

/* ---- states ---- */

/* What stands in the guest's tables. */
enum { GATE_WORD, FAULT_GATE_WORD, STACK_WORD, WATCH_WORDS };

static const uint64_t *word_pointer(unsigned number)
{
    return (const uint64_t *)(uintptr_t)(RAM + TABLES + number * 64);
}

static void set_word(struct entry_test *t, unsigned number, uint64_t value)
{
    memcpy(t->tables + number * 64, &value, 8);
}

static void random_registers(struct entry_test *t, struct registers *r)
{
    for (unsigned i = 0; i < 8; i++)
        r->gpr[i] = random32(&t->random);
    r->eip = random32(&t->random);
    r->eflags = (random32(&t->random) & USER_FLAGS) | EFLAGS_FIXED | EFLAGS_IF;
}

/* What the VMM has in pv_guest and in the vCPU page. */
static void random_vmm(struct entry_test *t)
{
    struct pv_vmm *vmm = t->vmm;
    struct pv_cpu *cpu = &vmm->cpu;

    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = random32(&t->random);
    cpu->eip = random32(&t->random);
    cpu->eflags = random32(&t->random);
    cpu->user = random_below(&t->random, 2);
    cpu->user_cs = t->user_cs;
    cpu->user_ss = t->user_ss;
    cpu->kernel_cs = 0x60;
    cpu->kernel_ss = 0x68;
    cpu->cr2 = random32(&t->random);
    memset(t->page, 0, sizeof *t->page);
    t->page->eflags = EFLAGS_FIXED | EFLAGS_IF;
    t->page->cr[2] = cpu->cr2;
    vmm->count.fast_calls = random32(&t->random);
    vmm->count.fast_returns = random32(&t->random);
    vmm->count.fast_faults = random32(&t->random);
    vmm->count.vector[VECTOR_PF] = random32(&t->random);
    memset(vmm->directory, 0, sizeof vmm->directory);
    vmm->ram = (uint8_t *)(uintptr_t)RAM;
    vmm->ram_size = RAM_SIZE;
    vmm->refill_va = random32(&t->random);
    vmm->refill_entry = NULL;
    vmm->refill_value = random64(&t->random);
}

static void open_gates(struct entry_test *t)
{
    struct pv_xen_fast *f = t->fast;
    uint32_t esp0 = STACK + NEEDED + random_below(&t->random, PV_PAGE_SIZE - NEEDED + 1);
    uint64_t word = random64(&t->random);

    set_word(t, GATE_WORD, word);
    f->gate = word_pointer(GATE_WORD);
    f->gate_value = word;
    f->far = (struct pv_xen_far){random32(&t->random), KERNEL_CS32};
    word = random64(&t->random);
    set_word(t, FAULT_GATE_WORD, word);
    f->fault_gate = word_pointer(FAULT_GATE_WORD);
    f->fault_gate_value = word;
    f->fault_far = (struct pv_xen_far){random32(&t->random), KERNEL_CS32};
    f->fault_error = PFE_W | (coin(t) ? PFE_I : 0);
    f->reserved = PTE_RESERVED | (coin(t) ? PTE_NX : 0);
    if (!random_below(&t->random, 4)) /* the lowest that fits, and the highest */
        esp0 = STACK + (coin(t) ? NEEDED : PV_PAGE_SIZE);
    f->kernel_cs = t->vmm->cpu.kernel_cs;
    f->ss0 = t->vmm->cpu.kernel_ss;
    word = (uint64_t)random32(&t->random) << 48 | f->ss0 << 32 | esp0;
    set_word(t, STACK_WORD, word);
    f->stack = word_pointer(STACK_WORD);
    f->stack_value = coin(t) ? word : f->ss0 << 32 | PV_PAGE_SIZE;
}

/* fast_tables() and fast_user() of fast.c */
static void open_returns(struct entry_test *t)
{
    const uint32_t returns = EFLAGS_FIXED | EFLAGS_IF, rare = ~(EFLAGS_USER & ~EFLAGS_TF) | returns;
    struct pv_xen_fast *f = t->fast;

    f->return_mask = (uint64_t)rare << 32 | 0xffff;
    f->return_value = (uint64_t)returns << 32 | t->user_cs;
    memset(t->iret, 0, sizeof *t->iret);
    t->iret->cs = t->user_cs;
    t->iret->ss = t->user_ss;
    f->watches = random_below(&t->random, 2);
    for (unsigned i = 0; i < PV_WATCHES; i++) {
        f->watch_value[i] = random64(&t->random);
        f->watch[i] = word_pointer(WATCH_WORDS + i);
        set_word(t, WATCH_WORDS + i, f->watch_value[i]);
    }
    t->gs = (uint16_t)(random_below(&t->random, GDT_ENTRIES) * 8);
    if (t->gs)
        t->gs |= RPL;
    f->user_gs = coin(t) ? t->gs : coin(t) ? 0x10000u : random32(&t->random) & 0xffff;
}

/* All ways are open, user code runs. */
static void open_ways(struct entry_test *t)
{
    undo(t);
    for (unsigned i = 0; i < STACK_SIZE; i += 4) {
        uint32_t value = random32(&t->random);

        memcpy(host(t, STACK + i, 4), &value, 4);
    }
    memset(t->shared, 0, PV_PAGE_SIZE);
    t->user_cs = random_below(&t->random, XEN_SELECTORS) | RPL;
    t->user_ss = random_below(&t->random, XEN_SELECTORS) | RPL;
    random_vmm(t);
    open_gates(t);
    open_returns(t);
    t->begin_cs = t->user_cs;
    t->begin_ss = t->user_ss;
    random_registers(t, &t->begin);
    random_registers(t, &t->next);
    t->next.eflags ^= coin(t) ? EFLAGS_IF : 0; /* nobody looks at it */
    t->next_user = coin(t);
    t->upper_halves = coin(t);
    t->frame_size = 0;
    t->writes_from = t->writes_to = 0;
    t->has_error = false;
    t->given_error = t->error = 0;
    t->refills = t->refill_result = 0;
    t->number = random32(&t->random);
}

/* Where the guest's stack pointer is while its kernel runs. */
static void kernel_stack_pointer(struct entry_test *t, uint32_t esp)
{
    t->begin.gpr[RSP] = esp;
    t->writes_from = esp - BELOW_STACK;
    t->writes_to = esp;
}

static void expect_trap(struct entry_test *t, unsigned vector, uint32_t error)
{
    t->outcome = TO_TRAP;
    t->vector = vector;
    t->error = error;
    t->expect = t->begin;
    t->expect_cs = t->begin_cs;
    t->expect_ss = t->begin_ss;
}

/* The guest's kernel is interrupted, on its stack. */
static void interrupt_kernel(struct entry_test *t)
{
    t->begin_cs = KERNEL_CS32;
    t->begin_ss = KERNEL_SS;
    kernel_stack_pointer(t, STACK + 200 + random_below(&t->random, STACK_SIZE - 200));
    expect_trap(t, t->vector, t->error);
    t->expect_cs = KERNEL_CS32 & ~RPL;
}

static uint32_t stack_word(struct entry_test *t)
{
    uint32_t esp0;

    memcpy(&esp0, t->tables + STACK_WORD * 64, 4);
    return esp0;
}

static void set_stack(struct entry_test *t, uint32_t esp0, uint64_t ss0)
{
    set_word(t, STACK_WORD, ss0 << 32 | esp0);
}

/* User code's EFLAGS, too, are begin.eflags. */
static void expect_handler(struct entry_test *t, const struct pv_xen_far *far, bool has_error,
                           uint32_t error)
{
    uint32_t n = 0, esp0 = stack_word(t);

    t->outcome = TO_HANDLER;
    t->expect = t->begin;
    if (has_error)
        t->frame[n++] = error;
    t->frame[n++] = t->begin.eip;
    t->frame[n++] = t->begin_cs;
    t->frame[n++] = t->begin.eflags;
    t->frame[n++] = t->begin.gpr[RSP];
    t->frame[n++] = t->begin_ss;
    t->frame_size = n;
    t->expect.gpr[RSP] = esp0 - n * 4;
    t->expect.eip = far->offset;
    t->expect.eflags &= ~CLEARED_FLAGS;
    t->effects.interrupts = PREVIRT_VCPU_IF_NONE;
    t->effects.user_gs = (t->effects.user_gs & 0xffff0000) | t->gs;
    t->writes_from = esp0 - n * 4 - BELOW_STACK;
    t->writes_to = esp0;
}

/* Ways that are not open, for both gates. */
enum closed { OPEN, GATE, SS0, ESP0, UNMAPPED, FLAGS, KERNEL, GATES };

static void close_way(struct entry_test *t, unsigned how, unsigned gate)
{
    static const uint32_t outside[] = {
        0, 1, NEEDED - 1, PV_XEN_LOW_BASE + 1, PV_XEN_LOW_BASE + 512, ~0u};
    const uint32_t rare[] = {EFLAGS_TF, EFLAGS_NT, 1u << 12, 2u << 12, EFLAGS_NT | EFLAGS_TF};

    switch (how) {
    case GATE:
        set_word(t, gate, random64(&t->random));
        break;
    case SS0:
        set_stack(t, stack_word(t), t->fast->ss0 ^ (1u << random_below(&t->random, 16)));
        break;
    case ESP0: /* too near to the page's beginning, in the VMM's region, or nowhere */
        set_stack(t,
                  coin(t)
                      ? outside[random_below(&t->random, sizeof outside / sizeof *outside)]
                      : STACK + PV_PAGE_SIZE * coin(t) + 1 + random_below(&t->random, NEEDED - 1),
                  t->fast->ss0);
        break;
    case UNMAPPED:
        set_stack(t, NOT_MAPPED + NEEDED + random_below(&t->random, PV_PAGE_SIZE - NEEDED + 1),
                  t->fast->ss0);
        if (coin(t))
            memcpy(&t->fast->stack_value, t->tables + STACK_WORD * 64, 8);
        break;
    case FLAGS:
        t->begin.eflags |= rare[random_below(&t->random, sizeof rare / sizeof *rare)];
        break;
    }
}

static void prepare_int80(struct entry_test *t, unsigned how)
{
    open_ways(t);
    t->entry = INT80_ENTRY;
    t->start = t->symbol[INT80_ENTRY];
    close_way(t, how, GATE_WORD);
    collect(t, &t->effects);
    if (how != OPEN) {
        expect_trap(t, PV_SYSCALL_VECTOR, 0);
        if (how == KERNEL)
            interrupt_kernel(t);
        return;
    }
    expect_handler(t, &t->fast->far, false, 0);
    t->effects.fast_calls++;
}

/* What the guest's tables have at the address that faulted. */
enum tables {
    ABSENT_PDE = GATES,
    ABSENT_PTE,
    READ_ONLY_PTE,
    READ_ONLY_PDE,
    NO_DIRECTORY, /* from here on: not a common case */
    LARGE,
    RESERVED_PDE,
    RESERVED_PTE,
    OUTSIDE_RAM,
    READ,
    WRITABLE,
    VMM_ADDRESS,
    LONG_ADDRESS
};

/* Present and writable, with whatever else an entry may have. */
static uint64_t random_entry(struct entry_test *t, uint64_t frame)
{
    uint64_t any = PTE_US | PTE_A | PTE_D | PTE_G | 0xe18; /* and PWT, PCD, and what is ignored */

    if (!(t->fast->reserved & PTE_NX))
        any |= PTE_NX;
    return frame | (random64(&t->random) & any) | PTE_P | PTE_RW;
}

static uint64_t reserved_bit(struct entry_test *t)
{
    uint64_t bit;

    do
        bit = 1ull << (52 + random_below(&t->random, 12));
    while (!(t->fast->reserved & bit));
    return bit;
}

static uint32_t fault_address(struct entry_test *t, enum tables tables)
{
    if (tables == VMM_ADDRESS)
        return PV_XEN_LOW_BASE + random_below(&t->random, 0u - PV_XEN_LOW_BASE);
    return random_below(&t->random, PV_XEN_LOW_BASE);
}

/* The page fault at (address) that (tables) make: entries of both levels and the error code. */
static void make_fault(struct entry_test *t, enum tables tables, uint32_t address,
                       struct effects *e)
{
    uint64_t pde = random_entry(t, TABLE), pte;
    uint64_t pde_at = RAM + DIRECTORY + (address >> 21 & 511) * 8;
    uint64_t pte_at = RAM + TABLE + (address >> 12 & 511) * 8;

    pte = random_entry(t, random64(&t->random) & 0xffffffff000);
    if (tables >= NO_DIRECTORY && tables != READ && tables != WRITABLE)
        pte ^= PTE_RW; /* and it would be the guest's fault */
    pde &= ~PTE_PS;
    t->given_error = (random32(&t->random) & (PFE_P | PFE_W | PFE_I)) | PFE_U;
    if (tables >= READ_ONLY_PTE && tables != READ)
        t->given_error |= PFE_W;
    switch (tables) {
    case ABSENT_PDE:
        pde = random64(&t->random) & ~PTE_P;
        break;
    case ABSENT_PTE:
        pte = random64(&t->random) & ~PTE_P;
        break;
    case READ_ONLY_PTE:
        pde ^= coin(t) ? PTE_RW : 0;
        pte ^= PTE_RW;
        break;
    case READ_ONLY_PDE:
        pde ^= PTE_RW;
        break;
    case LARGE:
        pde |= PTE_PS;
        break;
    case RESERVED_PDE:
        pde |= reserved_bit(t);
        break;
    case RESERVED_PTE:
        pte |= reserved_bit(t);
        break;
    case OUTSIDE_RAM:
        pde = (pde & ~(uint64_t)TABLE) | (coin(t) ? RAM_SIZE : TABLE | 1ull << 40);
        break;
    case READ:
        pte ^= PTE_RW;
        t->given_error &= ~PFE_W;
        break;
    default:
        break;
    }
    if (tables != NO_DIRECTORY)
        t->vmm->directory[address >> 30] = (uint64_t *)(uintptr_t)(RAM + DIRECTORY);
    memcpy(host(t, pde_at, 8), &pde, 8);
    memcpy(host(t, pte_at, 8), &pte, 8);
    e->refill_entry = tables == ABSENT_PDE ? pde_at : pte_at;
    e->refill_value = tables == ABSENT_PDE ? pde : pte;
}

static void prepare_fault(struct entry_test *t, unsigned how)
{
    enum closed closed = how < GATES ? how : OPEN;
    enum tables tables = how < GATES ? ABSENT_PDE + random_below(&t->random, 4) : how;
    struct effects e = {0};
    uint32_t address = fault_address(t, tables), error;

    open_ways(t);
    t->entry = PAGE_FAULT_ENTRY;
    t->start = t->symbol[PAGE_FAULT_ENTRY];
    t->has_error = true;
    close_way(t, closed, FAULT_GATE_WORD);
    make_fault(t, tables, address, &e);
    t->given_cr2 = address;
    if (tables == LONG_ADDRESS)
        t->given_cr2 |= ((uint64_t)random_below(&t->random, ~0u) + 1) << 32;
    memcpy(t->shared + ARCH_CR2, &t->given_cr2, 8);
    collect(t, &t->effects);
    if (closed != OPEN || tables >= NO_DIRECTORY) {
        expect_trap(t, VECTOR_PF, t->given_error);
        if (closed == KERNEL)
            interrupt_kernel(t);
        return;
    }
    error = tables >= READ_ONLY_PTE ? PFE_P | PFE_W | PFE_U
                                    : (t->given_error & (uint32_t)t->fast->fault_error) | PFE_U;
    expect_handler(t, &t->fast->fault_far, true, error);
    t->effects.fast_faults++;
    t->effects.page_faults++;
    t->effects.refill_entry = e.refill_entry;
    t->effects.refill_value = e.refill_value;
    t->effects.refill_va = t->effects.cr2 = t->effects.page_cr2 = address;
    t->effects.attention |= ATTENTION(PV_ATTENTION_REFILL);
}

/* A stub comes to the entry with its number pushed. */
static void prepare_operation(struct entry_test *t, unsigned user)
{
    open_ways(t);
    t->entry = LOW_ENTRY;
    t->start = PV_XEN_LOW_ENTRY;
    t->outcome = TO_OPERATION;
    t->next_user = user;
    kernel_stack_pointer(t, STACK + 200 + random_below(&t->random, STACK_SIZE - 200 - 4));
    memcpy(host(t, t->begin.gpr[RSP], 4), &t->number, 4);
    t->begin.eflags = (t->begin.eflags & ~EFLAGS_RF) | (coin(t) ? EFLAGS_NT : 0);
    t->expect = t->begin;
    t->expect.gpr[RSP] += 4;
    collect(t, &t->effects);
}

/* IRET of the guest's kernel: what there is to look at, and what is not the common case. */
enum {
    SAME_GS = 1,
    SAME_ENTRY = 2,
    OTHER_ENTRY = 4,
    WATCHES = 8,
    ATTENTIONS = 16,
    BAD_CS = ATTENTIONS,
    BAD_SS,
    BAD_FLAGS,
    BAD_PENDING,
    BAD_GS,
    BAD_REFILL,
    BAD_FIRST_WATCH,
    BAD_WATCH,
    BAD_FRAME
};

/* What is looked at beside the common case; (attention) says what of it there is. */
static void make_attention(struct entry_test *t, unsigned attention)
{
    if (attention & SAME_GS) {
        t->page->attention[PV_ATTENTION_GS] = 1;
        t->fast->user_gs = t->gs;
    }
    if (attention & (SAME_ENTRY | OTHER_ENTRY)) {
        uint64_t *word = (uint64_t *)host(t, RAM + TABLE, 8);

        t->page->attention[PV_ATTENTION_REFILL] = 1;
        t->vmm->refill_entry = (const uint64_t *)(uintptr_t)(RAM + TABLE);
        *word = t->vmm->refill_value;
        if (attention & OTHER_ENTRY) {
            *word ^= 1ull << random_below(&t->random, 64);
            if (coin(t))
                t->vmm->refill_entry = NULL;
            t->refills = 1;
        }
    }
    if (attention & WATCHES) {
        t->page->attention[PV_ATTENTION_BACKEND] = 1;
        t->fast->watches = 2 + random_below(&t->random, PV_WATCHES - 2);
    }
}

static void make_return_slow(struct entry_test *t, unsigned how, uint32_t *frame)
{
    static const uint32_t set[] = {EFLAGS_TF, EFLAGS_NT,  EFLAGS_VM, 1u << 12, 2u << 12,
                                   1u << 3,   EFLAGS_VIF, 1u << 15,  1u << 31};

    t->outcome = TO_OPERATION;
    switch (how) {
    case BAD_CS:
        frame[2] ^= 1u << random_below(&t->random, 16);
        break;
    case BAD_SS:
        frame[5] ^= 1u << random_below(&t->random, 16);
        break;
    case BAD_FLAGS:
        if (random_below(&t->random, 4))
            frame[3] |= set[random_below(&t->random, sizeof set / sizeof *set)];
        else
            frame[3] &= coin(t) ? ~EFLAGS_IF : ~EFLAGS_FIXED;
        break;
    case BAD_PENDING:
        t->page->pending = 1;
        t->refills = 0;
        break;
    case BAD_GS:
        t->page->attention[PV_ATTENTION_GS] = 1;
        t->fast->user_gs = coin(t) ? 0x10000u | t->gs : (uint32_t)t->gs ^ 8;
        t->refills = 0;
        break;
    case BAD_REFILL:
        t->refill_result = 1 + (int)random_below(&t->random, 100);
        break;
    case BAD_FIRST_WATCH:
        set_word(t, WATCH_WORDS, random64(&t->random));
        break;
    case BAD_WATCH:
        set_word(t, WATCH_WORDS + 1 + random_below(&t->random, (uint32_t)t->fast->watches - 1),
                 random64(&t->random));
        break;
    }
}

/* What the entry code has noted when it found what is not the common case. */
static uint32_t attention_left(const struct entry_test *t, unsigned how)
{
    uint32_t left = t->effects.attention;

    if (how == BAD_PENDING || how == BAD_GS)
        return left;
    left &= ~ATTENTION(PV_ATTENTION_GS);
    return how == BAD_REFILL ? left : left & ~ATTENTION(PV_ATTENTION_REFILL);
}

static void prepare_return(struct entry_test *t, unsigned how)
{
    unsigned attention = how < ATTENTIONS ? how : random_below(&t->random, ATTENTIONS);
    uint32_t frame[6], esp; /* number EIP CS EFLAGS ESP SS */

    open_ways(t);
    if (how == BAD_REFILL)
        attention = (attention & ~(unsigned)SAME_ENTRY) | OTHER_ENTRY;
    if (how == BAD_WATCH)
        attention |= WATCHES;
    make_attention(t, attention);
    t->entry = LOW_ENTRY;
    t->start = PV_XEN_LOW_IRET;
    pv_set_if(t->page, (int)random_below(&t->random, 2));
    esp = STACK + 200 + random_below(&t->random, STACK_SIZE - 200 - FRAME_SIZE + 1);
    if (how == BAD_FRAME) /* but the number is on the stack */
        esp = NOT_MAPPED - 4 - random_below(&t->random, FRAME_SIZE - 4);
    kernel_stack_pointer(t, esp);
    t->begin.eflags = (t->begin.eflags & ~EFLAGS_RF) | (coin(t) ? EFLAGS_NT : 0);
    frame[0] = t->number;
    frame[1] = random32(&t->random);
    frame[2] = random32(&t->random) << 16 | t->user_cs;
    frame[3] = (random32(&t->random) & USER_FLAGS) | EFLAGS_FIXED | EFLAGS_IF;
    frame[4] = random32(&t->random);
    frame[5] = random32(&t->random) << 16 | t->user_ss;
    t->outcome = TO_USER_FAST;
    t->expect = t->begin;
    if (how >= ATTENTIONS)
        make_return_slow(t, how, frame);
    memcpy(host(t, esp, 4), frame, NOT_MAPPED - esp < FRAME_SIZE ? NOT_MAPPED - esp : FRAME_SIZE);
    collect(t, &t->effects);
    t->effects.attention = attention_left(t, how);
    if (t->outcome == TO_OPERATION) {
        t->expect.gpr[RSP] += 4;
        return;
    }
    t->expect.eip = frame[1];
    t->expect.eflags = frame[3];
    t->expect.gpr[RSP] = frame[4];
    t->effects.interrupts = PREVIRT_VCPU_IF_SET;
    t->effects.fast_returns++;
}

/* Whatever else interrupts the guest. */
enum { EXCEPTION, EVENT, FAILSAFE };

static void prepare_other(struct entry_test *t, unsigned how, bool kernel)
{
    unsigned vector;

    open_ways(t);
    t->begin.eflags |= random32(&t->random) & RARE_FLAGS;
    switch (how) {
    case EXCEPTION:
        do
            vector = random_below(&t->random, TRAP_VECTORS);
        while (vector == VECTOR_PF);
        t->entry = TRAP_ENTRIES;
        t->start = t->symbol[TRAP_ENTRIES] + vector * TRAP_ENTRY_SIZE;
        t->has_error = vector == VECTOR_DF || vector == VECTOR_AC ||
                       (vector >= VECTOR_TS && vector <= VECTOR_GP);
        t->given_error = t->has_error ? random32(&t->random) : 0;
        break;
    case EVENT:
        vector = EVENT_VECTOR;
        t->entry = EVENT_ENTRY;
        t->start = t->symbol[EVENT_ENTRY];
        t->shared[UPCALL_PENDING] = 1;
        break;
    default:
        vector = FAILSAFE_VECTOR;
        t->entry = FAILSAFE_ENTRY;
        t->start = t->symbol[FAILSAFE_ENTRY];
        break;
    }
    collect(t, &t->effects);
    expect_trap(t, vector, t->given_error);
    if (kernel)
        interrupt_kernel(t);
}

static void prepare_other_user(struct entry_test *t, unsigned how)
{
    prepare_other(t, how, false);
}

static void prepare_other_kernel(struct entry_test *t, unsigned how)
{
    prepare_other(t, how, true);
}

/* ---- runs ---- */

static void begin_run(struct entry_test *t)
{
    undo(t);
    t->garbage.state = (t->random.state ^ (t->k + 1) * 0x9e3779b97f4a7c15ull) | 1;
    t->delay = (t->state + t->k) % (NEVER + 1);
    t->second = random_below(&t->garbage, 2) ? t->k + 1 + random_below(&t->garbage, 60) : NO_EVENT;
    t->steps = t->unmasked = t->told = 0;
    t->owed = t->shared[UPCALL_PENDING];
    t->refilled = 0;
    t->over = t->failed = t->arrived = false;
    t->next_outcome = t->outcome;
    t->now = t->expect;
    for (unsigned i = 0; i < REGISTERS; i++)
        t->reg[i] = random64(&t->garbage);
    for (unsigned i = 0; i < 8; i++) {
        /* Xen would use all of RSP for its frame */
        bool upper = t->upper_halves && (i != RSP || (t->entry == LOW_ENTRY && t->k));

        t->reg[i] = t->begin.gpr[i] | (upper ? t->reg[i] & 0xffffffff00000000 : 0);
    }
    t->reg[RFLAGS] = t->begin.eflags;
    t->rip = t->begin.eip;
    if (t->entry == LOW_ENTRY)
        t->rip = t->start;
    else
        bounce(t, t->start, t->begin_cs, t->begin_ss, t->has_error, t->given_error);
}

/* The VMM's own access faulted. */
static void at_fault(struct entry_test *t)
{
    keep(t, t->shared + ARCH_CR2, 8);
    memcpy(t->shared + ARCH_CR2, &t->fault_address, 8);
    bounce(t, t->symbol[PAGE_FAULT_ENTRY], KERNEL_CS64, KERNEL_SS, true,
           t->fault_write ? PFE_W : 0);
}

static void run(struct entry_test *t)
{
    begin_run(t);
    t->runs++;
    while (!t->over) {
        execute(t);
        if (t->over)
            return;
        switch (t->stop) {
        case DELIVER:
            bounce(t, t->symbol[EVENT_ENTRY], KERNEL_CS64, KERNEL_SS, false, 0);
            break;
        case AT_FUNCTION:
            at_function(t);
            break;
        case AT_IRETQ:
            at_iretq(t);
            break;
        case AT_SYSCALL:
            at_syscall(t);
            break;
        case AT_FAR_JUMP:
            at_far_jump(t);
            break;
        case AT_FAULT:
            at_fault(t);
            break;
        case RUNS:
            break;
        }
    }
}

static const struct scenario scenarios[] = {
    {"INT 0x80", prepare_int80, OPEN},
    {"INT 0x80, another gate", prepare_int80, GATE},
    {"INT 0x80, another SS0", prepare_int80, SS0},
    {"INT 0x80, ESP0 that cannot be used", prepare_int80, ESP0},
    {"INT 0x80, stack not mapped", prepare_int80, UNMAPPED},
    {"INT 0x80, TF, NT, IOPL", prepare_int80, FLAGS},
    {"INT 0x80 of the kernel", prepare_int80, KERNEL},
    {"#PF, no table", prepare_fault, ABSENT_PDE},
    {"#PF, no page", prepare_fault, ABSENT_PTE},
    {"#PF, page read-only", prepare_fault, READ_ONLY_PTE},
    {"#PF, table read-only", prepare_fault, READ_ONLY_PDE},
    {"#PF, another gate", prepare_fault, GATE},
    {"#PF, another SS0", prepare_fault, SS0},
    {"#PF, ESP0 that cannot be used", prepare_fault, ESP0},
    {"#PF, stack not mapped", prepare_fault, UNMAPPED},
    {"#PF, TF, NT, IOPL", prepare_fault, FLAGS},
    {"#PF of the kernel", prepare_fault, KERNEL},
    {"#PF, no directory", prepare_fault, NO_DIRECTORY},
    {"#PF, large page", prepare_fault, LARGE},
    {"#PF, reserved bit above", prepare_fault, RESERVED_PDE},
    {"#PF, reserved bit", prepare_fault, RESERVED_PTE},
    {"#PF, table outside memory", prepare_fault, OUTSIDE_RAM},
    {"#PF, read of what is present", prepare_fault, READ},
    {"#PF, write of what is writable", prepare_fault, WRITABLE},
    {"#PF in the VMM's region", prepare_fault, VMM_ADDRESS},
    {"#PF above 4 GiB", prepare_fault, LONG_ADDRESS},
    {"IRET", prepare_return, 0},
    {"IRET, GS as before", prepare_return, SAME_GS},
    {"IRET, entry as before", prepare_return, SAME_ENTRY},
    {"IRET, page to map", prepare_return, OTHER_ENTRY},
    {"IRET, watches", prepare_return, WATCHES},
    {"IRET, all three", prepare_return, SAME_GS | OTHER_ENTRY | WATCHES},
    {"IRET, another CS", prepare_return, BAD_CS},
    {"IRET, another SS", prepare_return, BAD_SS},
    {"IRET, other flags", prepare_return, BAD_FLAGS},
    {"IRET, interrupt pending", prepare_return, BAD_PENDING},
    {"IRET, another GS", prepare_return, BAD_GS},
    {"IRET, tables changed", prepare_return, BAD_REFILL},
    {"IRET, first watch differs", prepare_return, BAD_FIRST_WATCH},
    {"IRET, a watch differs", prepare_return, BAD_WATCH},
    {"IRET, frame not mapped", prepare_return, BAD_FRAME},
    {"operation, back to the kernel", prepare_operation, 0},
    {"operation, on to user code", prepare_operation, 1},
    {"exception of user code", prepare_other_user, EXCEPTION},
    {"exception of the kernel", prepare_other_kernel, EXCEPTION},
    {"event, user code", prepare_other_user, EVENT},
    {"event, the kernel", prepare_other_kernel, EVENT},
    {"failsafe callback, user code", prepare_other_user, FAILSAFE},
    {"failsafe callback, the kernel", prepare_other_kernel, FAILSAFE},
};
enum { SCENARIOS = sizeof scenarios / sizeof *scenarios };

static void run_scenario(struct entry_test *t, unsigned states)
{
    t->runs = t->failures = 0;
    for (t->state = 0; t->state < states && t->failures < 5; t->state++) {
        uint64_t gs;

        t->scenario->prepare(t, t->scenario->variant);
        gs = t->gs;
        check(uc_reg_write(t->uc, UC_X86_REG_GS, &gs), "GS");
        t->k = 0;
        do
            run(t);
        while (t->arrived && t->k++ < STEP_LIMIT && t->failures < 5);
    }
    undo(t);
}

int main(int argc, char **argv)
{
    static struct entry_test t;
    unsigned states = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : DEFAULT_STATES;
    uint64_t seed = argc > 3 ? strtoull(argv[3], NULL, 0) : DEFAULT_SEED;
    unsigned only = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 0;
    unsigned runs = 0, failures = 0;

    if (argc < 2) {
        fprintf(stderr, "usage: test_xen_entry IMAGE [STATES [SEED [CASE]]]\n");
        return 2;
    }
    open_image(&t, argv[1]);
    open_engine(&t);
    printf("%u states a case, seed 0x%" PRIx64 "\n", states, seed);
    for (unsigned i = 0; i < SCENARIOS; i++) {
        if (only && only != i + 1)
            continue;
        t.scenario = &scenarios[i];
        t.random.state = seed * 0x9e3779b97f4a7c15ull + i;
        run_scenario(&t, states);
        printf("%2u %-36s %6u runs, %u failures%s\n", i + 1, t.scenario->name, t.runs, t.failures,
               t.failures ? "  FAILED" : "");
        runs += t.runs;
        failures += t.failures;
    }
    printf("%u cases, %u runs, %u failures\n", only ? 1 : SCENARIOS, runs, failures);
    uc_close(t.uc);
    return failures || !runs ? 1 : 0;
}
