/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupt windows: a device interrupts at every instruction of every inlined sequence and every
 * stub, one run for each.
 *
 * What must hold is the architecture's, not the VMM's: the interrupt comes once, at an instruction
 * of the guest before which EFLAGS.IF is set and no shadow of STI or of a load of SS lies (SDM 2B
 * STI, SDM 3A 6.8.3); if IF is set it comes at once; the frame names an address of the guest's; and
 * when the handler has returned, all ends as it does without an interrupt. Whether IF is set
 * behind an operation is what the processor says (Unicorn at privilege level 0).
 *
 * test_windows [STATES [SEED [FORM]]]
 */
#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_STATES    200
#define DEFAULT_SEED      0x5eed2006ull
#define STATES_PER_SAMPLE 4
#define ARITHMETIC_FLAGS  0x8d5u
#define MSR_SYSENTER_CS   0x174u
#define STEP_LIMIT        100000u
#define PUSHED_MAX        16u /* by an operation, or the exception that it raises */
#define STACK_SEEN        64u /* bytes above the stack pointer that are compared */

#define IRQ_LINE    3u
#define IRQ_VECTOR  (0x20 + IRQ_LINE)
#define IRQ_HANDLER (HANDLERS + IRQ_VECTOR * HANDLER_SPACING)
#define RETURN      0x18000u /* a rewritten IRET: the rest of the handler */

struct windows {
    struct test t;
    struct previrt_bus bus; /* where the interrupt controllers are, out of the guest's reach */
    struct previrt_irq irq;
    unsigned injected, held; /* runs with an interrupt, and those in which IF was never set */
    unsigned k;              /* guest instruction before which it comes */
};

/* How a run ended. */
struct result {
    enum vm_end end;
    uint32_t eip;
    struct pv_cpu cpu;
    uint8_t page[128]; /* of the vCPU page, what rewritten code reads */
    uint16_t segment[6];
    struct access ports[PORTS_SIZE];
    size_t port_count;
    uint8_t stack[WINDOW + STACK_SEEN], operand[16], string[128];
    uint8_t gdt[SELECTOR_LIMIT + 1];
    uint32_t steps;
};

static void failure(struct windows *w, const char *what, uint64_t expected, uint64_t found)
{
    char where[40];

    snprintf(where, sizeof where, ", interrupt before instruction %u", w->k);
    rig_failed(&w->t, what, expected, found, where);
}

static bool same(struct windows *w, const char *what, uint64_t expected, uint64_t found)
{
    if (expected != found)
        failure(w, what, expected, found);
    return expected == found;
}

/* ---- the interrupt ---- */

static void program_pic(struct windows *w)
{
    static const uint8_t words[][2] = {
        {0x20, 0x11}, {0x21, 0x20}, {0x21, 4}, {0x21, 3}, /* AEOI: the handler has no port access */
        {0xa0, 0x11}, {0xa1, 0x28}, {0xa1, 2}, {0xa1, 3}, {0x21, 0}, {0xa1, 0},
    };

    previrt_irq_set(&w->irq, 0);
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++)
        previrt_port_out(&w->bus, words[i][0], 1, words[i][1]);
}

static void open_all(struct windows *w)
{
    static const uint8_t iret = 0xcf;
    struct previrt_host host;

    rig_open(&w->t);
    host = w->t.vm->vmm->pc.bus.host;
    previrt_bus_init(&w->bus, &host);
    if (previrt_pic_init(&w->t.vm->vmm->pc.pic, &w->bus) ||
        previrt_irq_connect(&w->irq, &w->bus, IRQ_LINE) ||
        !vm_site(w->t.vm, RETURN, RETURN, &iret, 1, 5, 0)) {
        fprintf(stderr, "no interrupt controller\n");
        exit(99);
    }
}

/* ---- runs ---- */

struct state {
    struct registers registers;
    uint32_t until, operand, string;
};

/* The state that (random) yields, in the VMM's guest. */
static void load_state(struct windows *w, struct random random, struct state *s)
{
    struct test *t = &w->t;
    struct vm *vm = t->vm;
    struct pv_cpu *cpu = &vm->vmm->cpu;
    struct registers *r = &s->registers;

    machine_reset(&t->original); /* rig_reset() reads the processor's state from there */
    rig_reset(t);
    program_pic(w);
    generate_state(&random, &t->sample, true, &t->pokes, r, &s->until);
    if (t->form->op == PREVIRT_IA32_WRMSR) {
        r->gpr[EDX] = 0;
        if (r->gpr[ECX] == MSR_SYSENTER_CS)
            r->gpr[EAX] &= 0xffff;
    }
    s->operand = t->sample.insn.is_memory ? operand_address(&t->sample.insn, r) : 0;
    if (s->operand >= MEMORY_SIZE - 64)
        s->operand = 0;
    s->string = 0;
    if (t->form->layout == PREVIRT_LAYOUT_STRING)
        s->string = (r->gpr[EDI] & (t->sample.insn.address16 ? 0xffffu : ~0u)) - 64;
    machine_poke(&t->pokes, r->gpr[ESP] - WINDOW, vm->ram + r->gpr[ESP] - WINDOW,
                 WINDOW + STACK_SEEN);
    if (s->operand)
        machine_poke(&t->pokes, s->operand, vm->ram + s->operand,
                     sizeof((struct result *)0)->operand);
    if (s->string)
        machine_poke(&t->pokes, s->string, vm->ram + s->string, sizeof((struct result *)0)->string);
    /* interrupts come after these, too: the tables that they load are good ones */
    if (s->operand && (t->form->op == PREVIRT_IA32_LGDT || t->form->op == PREVIRT_IA32_LIDT)) {
        bool idt = t->form->op == PREVIRT_IA32_LIDT;
        uint16_t limit = idt ? IDT_LIMIT : SELECTOR_LIMIT;

        vm_put(vm, s->operand, &limit, sizeof limit);
        vm_put32(vm, s->operand + 2, idt ? IDT_ADDRESS : GDT_ADDRESS);
    }
    r->eip = t->site;
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = r->gpr[i];
    cpu->eip = t->site;
    cpu->eflags = (r->eflags & (ARITHMETIC_FLAGS | EFLAGS_DF)) | EFLAGS_FIXED | EFLAGS_IF;
    cpu->iopl = r->eflags >> 12 & 3;
    pv_set_if(vm->vmm->page, (r->eflags & EFLAGS_IF) != 0);
    vm->stop_on_halt = true;
}

static void take_result(struct windows *w, const struct state *s, enum vm_end end, struct result *r)
{
    struct vm *vm = w->t.vm;
    uint32_t from = s->registers.gpr[ESP] - WINDOW, esp = (uint32_t)vm->vmm->cpu.gpr[PV_ESP];

    memset(r, 0, sizeof *r);
    r->end = end;
    r->cpu = vm->vmm->cpu;
    r->eip = (uint32_t)r->cpu.eip;
    r->cpu.eip = 0;
    r->cpu.eflags = pv_eflags_image(vm->vmm);
    r->cpu.shadow = r->cpu.shadow_eip = r->cpu.halted = 0;
    memcpy(r->page, (const void *)vm->vmm->page, sizeof r->page);
    r->page[PREVIRT_VCPU_PENDING] = 0;
    memcpy(r->segment, vm->segment, sizeof r->segment);
    memcpy(r->ports, w->t.ports, sizeof r->ports);
    r->port_count = w->t.port_count;
    memcpy(r->stack, vm->ram + from, sizeof r->stack);
    /* what is below the stack pointer is nobody's */
    if (esp - (from + WINDOW - PUSHED_MAX) < 2 * sizeof r->stack)
        memset(r->stack, 0, esp - from < sizeof r->stack ? esp - from : sizeof r->stack);
    else
        memset(r->stack, 0, WINDOW); /* loaded with something else */
    if (s->operand)
        memcpy(r->operand, vm->ram + s->operand, sizeof r->operand);
    if (s->string)
        memcpy(r->string, vm->ram + s->string, sizeof r->string);
    memcpy(r->gdt, vm->ram + GDT_ADDRESS, sizeof r->gdt);
    r->steps = (uint32_t)vm->steps;
}

static bool broken(struct windows *w, enum vm_end end)
{
    struct vm *vm = w->t.vm;

    if (!vm->violation[0] && end != VM_END_POWER &&
        !(end == VM_END_STEPS && vm->steps >= STEP_LIMIT))
        return false;
    failure(w, "ended", VM_END_STOP, end);
    printf("    %s%s\n", vm->violation, vm->console);
    w->t.failures = 5;
    return true;
}

/* Whether the operation ends with a shadow. LSS does not need one. */
static bool shadows(const struct previrt_ia32_insn *insn)
{
    return insn->op == PREVIRT_IA32_STI ||
           ((insn->op == PREVIRT_IA32_MOV_TO_SEG || insn->op == PREVIRT_IA32_POP_SEG) &&
            insn->system_register == PV_SS);
}

/* One run with an interrupt before guest instruction (w->k). */
static void interrupt_at(struct windows *w, struct random random, const struct result *reference,
                         bool if_before, bool if_after, bool faulted)
{
    struct test *t = &w->t;
    struct vm *vm = t->vm;
    struct pv_cpu *cpu = &vm->vmm->cpu;
    uint32_t after = t->resume, raised_at, came_at = 0;
    unsigned count = 0;
    struct state s;
    struct result r;
    enum vm_end end;
    bool expected;

    load_state(w, random, &s);
    if (s.until)
        after = s.until;
    vm->step_limit = w->k;
    end = vm_run(vm);
    vm->step_limit = STEP_LIMIT;
    if (end != VM_END_STEPS)
        return; /* the first run took more: pages were filled in on the way */
    raised_at = (uint32_t)cpu->eip;
    previrt_irq_set(&w->irq, 1);
    w->injected++;
    for (bool go_on = true; go_on;) {
        end = vm_run(vm);
        vm->stop_on_halt = true;
        if (broken(w, end))
            return;
        go_on = false;
        if (end == VM_END_STOP && cpu->eip == IRQ_HANDLER) {
            uint32_t frame = (uint32_t)cpu->gpr[PV_ESP];

            count++;
            came_at = vm_get32(vm, frame);
            if (!same(w, "IF in the frame", EFLAGS_IF, vm_get32(vm, frame + 8) & EFLAGS_IF) ||
                !same(w, "IF in the handler", 0, (unsigned)pv_if(vm->vmm->page)))
                return;
            cpu->eip = RETURN;
            go_on = count == 1;
        } else if (end == VM_END_HALT && pv_if(vm->vmm->page) &&
                   previrt_pic_pending(&vm->vmm->pc.pic)) {
            vm->stop_on_halt = false; /* which wakes it */
            go_on = true;
        }
    }
    expected = (raised_at == t->site && if_before) || (!faulted && if_after);
    if (!expected)
        w->held++;
    if (!same(w, "interrupts", expected, count))
        return;
    if (count) {
        bool shadow = shadows(&t->sample.insn);
        bool at_site = came_at == t->site && if_before && raised_at == t->site;
        bool at_once = came_at == after && if_after && !faulted && !shadow;
        bool one_later = came_at == after + 1 && if_after && !faulted;
        /* on a NOP behind it, of its room or of this test */
        bool behind = came_at == raised_at && if_after && !faulted &&
                      (came_at - after <= 2 || came_at - t->site - 1 < t->resume - t->site - 1) &&
                      !(shadow && came_at == after);

        if (!at_site && !at_once && !one_later && !behind) {
            failure(w, "frame's EIP", if_before ? t->site : after, came_at);
            return;
        }
        /* not later than it must be; the stub of STI does not know whether IF was set before */
        if (raised_at == t->site && if_before && t->form->op != PREVIRT_IA32_STI &&
            !same(w, "frame's EIP", t->site, came_at))
            return;
        if (raised_at != t->site && raised_at == after && !shadow &&
            !same(w, "frame's EIP", after, came_at))
            return;
    }
    take_result(w, &s, end, &r);
    if (reference->end == VM_END_HALT && end == VM_END_STOP && count && came_at == after) {
        r.end = reference->end; /* it was woken, and went on */
        r.eip = reference->eip;
    }
    if (!same(w, "end", reference->end, r.end) || !same(w, "EIP", reference->eip, r.eip) ||
        !same(w, "port accesses", reference->port_count, r.port_count))
        return;
    for (unsigned i = 0; i < 8; i++) {
        if (t->form->op == PREVIRT_IA32_RDTSC && (i == EAX || i == EDX))
            r.cpu.gpr[i] = reference->cpu.gpr[i];
        if (!same(w, "register", reference->cpu.gpr[i], r.cpu.gpr[i]))
            return;
    }
    if (t->dead && !t->trap)
        r.cpu.eflags = (r.cpu.eflags & ~(uint64_t)ARITHMETIC_FLAGS) |
                       (reference->cpu.eflags & ARITHMETIC_FLAGS);
    if (!same(w, "EFLAGS", reference->cpu.eflags, r.cpu.eflags))
        return;
    if (memcmp(&reference->cpu, &r.cpu, sizeof r.cpu))
        failure(w, "virtual CPU", 0, 1);
    else if (memcmp(reference->page, r.page, sizeof r.page))
        failure(w, "vCPU page", 0, 1);
    else if (memcmp(reference->segment, r.segment, sizeof r.segment))
        failure(w, "segment registers", 0, 1);
    else if (memcmp(reference->ports, r.ports, sizeof r.ports))
        failure(w, "ports", 0, 1);
    else if (memcmp(reference->stack, r.stack, sizeof r.stack))
        failure(w, "stack", 0, 1);
    else if (memcmp(reference->operand, r.operand, sizeof r.operand) ||
             memcmp(reference->string, r.string, sizeof r.string))
        failure(w, "operand", 0, 1);
    else if (memcmp(reference->gdt, r.gdt, sizeof r.gdt))
        failure(w, "GDT", 0, 1);
}

static void put_end(struct vm *vm, uint32_t at)
{
    vm->ram[at] = vm->ram[at + 1] = 0x90;
    vm->ram[at + 2] = 0xe9; /* jmp DONE */
    vm_put32(vm, at + 3, DONE - (at + 7));
}

static void run_state(struct windows *w)
{
    struct test *t = &w->t;
    struct vm *vm = t->vm;
    struct machine *original = &t->original;
    struct random begin = t->random, copy = t->random;
    struct registers before, after;
    struct result reference;
    struct state s;
    uint32_t until;
    enum vm_end end;
    bool faulted = rig_refused(t->form->op) >= 0;

    t->states++;
    /* what the processor makes of IF */
    machine_reset(original);
    generate_state(&t->random, &t->sample, true, original, &before, &until);
    if (!faulted) {
        before.eip = t->site;
        machine_set(original, &before);
        machine_run(original, until ? until : t->site + t->sample.length + 1);
        faulted = original->event.kind != EVENT_NONE;
        machine_get(original, &after);
        if (t->form->op == PREVIRT_IA32_STI_MWAIT) { /* which Unicorn's processor does not have */
            faulted = false;
            after.eflags |= EFLAGS_IF;
        }
    } else {
        after = before;
    }

    w->k = ~0u;
    load_state(w, copy, &s);
    if (t->sample.insn.is_memory && (!s.operand || s.operand - (GDT_ADDRESS - 16) < 0x10000))
        return; /* nowhere, or in the tables that interrupts need */
    put_end(vm, t->resume);
    if (s.until)
        put_end(vm, s.until);
    vm->step_limit = STEP_LIMIT;
    end = vm_run(vm);
    if (broken(w, end))
        return;
    take_result(w, &s, end, &reference);
    /* LTR of nothing: Unicorn loads it; SDM 2A says #GP(0) */
    if (end == VM_END_STOP && reference.eip != DONE)
        faulted = true;
    /* an operation that loads ESP with a selector or a descriptor's limit leaves no stack */
    if (reference.cpu.gpr[PV_ESP] - DATA_ADDRESS >= 2 * DATA_SIZE)
        return;
    for (w->k = 0; w->k < reference.steps && t->failures < 5; w->k++)
        interrupt_at(w, begin, &reference, (before.eflags & EFLAGS_IF) != 0,
                     (after.eflags & EFLAGS_IF) != 0, faulted);
}

/* What cannot be told apart here: an INT n that is the interrupt's vector, and samples that the
 * catalogue's test leaves out, too. */
static bool left_out(const struct test *t)
{
    const struct previrt_ia32_insn *insn = &t->sample.insn;

    if (insn->op == PREVIRT_IA32_INT && insn->immediate == IRQ_VECTOR)
        return true;
    if (insn->op == PREVIRT_IA32_MOV_TO_SEG && !insn->is_memory && (insn->modrm & 7) == ESP)
        return true;
    switch (insn->op) {
    case PREVIRT_IA32_IRET:
    case PREVIRT_IA32_LCALL:
    case PREVIRT_IA32_LJMP:
    case PREVIRT_IA32_LRET:
        return insn->width == 16;
    }
    return false;
}

static void run_form(struct windows *w, unsigned states)
{
    struct test *t = &w->t;
    unsigned drawn = 0;

    t->states = t->failures = w->injected = w->held = 0;
    t->random.state = t->seed * 0x9e3779b97f4a7c15ull + t->form->form;
    while (t->states < states && drawn++ < 40 * states && t->failures < 5) {
        if (t->next_site > CODE_ADDRESS + CODE_SIZE - 4 * SPACING ||
            t->vm->vmm->stubs.count > VM_SITES - 2 || t->vm->stub_bytes > VM_STUBS_SIZE - 256) {
            rig_close(t);
            open_all(w);
        }
        if (!generate(&t->random, t->form, &t->sample) || left_out(t))
            continue;
        if (!rig_prepare(t)) {
            failure(w, "no stub", 1, 0);
            continue;
        }
        for (unsigned i = 0; i < STATES_PER_SAMPLE && t->failures < 5; i++)
            run_state(w);
    }
    if (!t->states && previrt_ia32_form_info(t->form->form)->op != PREVIRT_IA32_MOV_FROM_SEG)
        printf("  SKIPPED %s: no sample\n", form_name(t->form));
}

int main(int argc, char **argv)
{
    static struct windows w;
    unsigned states = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 0) : DEFAULT_STATES;
    unsigned only = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 0;
    unsigned failures = 0, injected = 0, held = 0, forms = 0;

    w.t.seed = argc > 2 ? strtoull(argv[2], NULL, 0) : DEFAULT_SEED;
    open_all(&w);
    printf("%u states a form, seed 0x%" PRIx64 "\n", states, w.t.seed);
    for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
        w.t.form = previrt_ia32_form_info(number);
        if (!w.t.form || (only && only != number))
            continue;
        run_form(&w, states);
        printf("%-14s %4u states, %5u interrupts, %5u of them with IF off%s\n", form_name(w.t.form),
               w.t.states, w.injected, w.held, w.t.failures ? "  FAILED" : "");
        failures += w.t.failures;
        injected += w.injected;
        held += w.held;
        forms++;
        if (w.t.failures >= 5) {
            rig_close(&w.t);
            open_all(&w);
        }
    }
    printf("%u forms, %u interrupts, %u of them held off to the end, %u failures\n", forms,
           injected, held, failures);
    rig_close(&w.t);
    return failures ? 1 : 0;
}
