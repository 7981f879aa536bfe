/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every form of every operation of the catalogue, original against rewritten, from random states.
 *
 * test_semantics TARGET [STATES [SEED [FORM]]]
 *
 * Three machines under Unicorn: one executes the original, one the rewritten site, with the target
 * vcpu a third is the virtual CPU. Afterwards registers, flags, memory, ports and privileged state
 * must be the same, but for what docs/rewriting.md allows; a fault must be the same one and lead
 * back to the same site. What Unicorn cannot execute is announced by name; there the stub must hold
 * the instruction itself.
 */
#include <previrt/rewrite.h>
#include <previrt/vcpu.h>

#include "generate.h"
#include "vmm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARITHMETIC_FLAGS  0x8d5
#define FLAG_IF           0x200
#define FLAG_DF           0x400
#define FLAGS_ALL         0x257fd5
#define VECTOR_UD         6
#define STATES_PER_SAMPLE 25
#define SPACING           128 /* bytes between sites, and the most that a stub takes */
#define DEFAULT_STATES    3000
#define DEFAULT_SEED      0x5eed2005ull

struct test {
    struct machine original, rewritten, cpu;
    struct vmm vmm;
    bool vcpu; /* the target */
    struct random random;
    uint64_t seed;

    /* the sample that is being tested */
    const struct previrt_ia32_form_info *form;
    struct sample sample;
    struct previrt_site site;
    struct previrt_plan *plan;
    struct previrt_plan_site planned;
    void *buffer;
    size_t buffer_size;
    uint32_t shift;
    uint32_t next_site;

    /* of the form */
    unsigned states, executed, faulted, undefined, inlined, stubbed;
    unsigned failures;
};

static const char *form_name(const struct previrt_ia32_form_info *form)
{
    static const char *const names[PREVIRT_IA32_FORM_LIMIT] = {
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    [number] = #ID,
#include <previrt/ia32_ops.def>
    };
    return names[form->form];
}

static void print_bytes(const char *what, const uint8_t *bytes, size_t length)
{
    printf("    %s:", what);
    for (size_t i = 0; i < length; i++)
        printf(" %02x", bytes[i]);
    printf("\n");
}

/* Says what differs, with all that is needed to draw it again. */
static void failure(struct test *test, const char *what, uint64_t expected, uint64_t found)
{
    struct previrt_plan_stub stub;

    if (test->failures++ >= 5)
        return;
    printf("  FAILED %s: %s: original 0x%" PRIx64 ", rewritten 0x%" PRIx64 " (seed 0x%" PRIx64
           ", form %u, state %u)\n",
           form_name(test->form), what, expected, found, test->seed, test->form->form,
           test->states);
    print_bytes("site", test->sample.bytes, (size_t)test->sample.length + test->sample.pad);
    print_bytes("rewritten", test->planned.code, test->planned.room);
    if (test->planned.stub && !previrt_plan_stub_at(test->plan, test->planned.stub, &stub))
        print_bytes("stub", stub.code, stub.length);
}

/* ---- one sample: table, plan, commit ---- */

struct text {
    uint8_t *memory;
};

static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    struct text *text = context;

    (void)length;
    return text->memory + address;
}

/*
 * With the target vcpu a stack pointer that was loaded must be one (docs/rewriting.md): selectors
 * and control registers make none. Far pointers do, and test those stubs.
 */
static bool loads_wild_esp(const struct previrt_ia32_insn *insn)
{
    switch (insn->op) {
    case PREVIRT_IA32_MOV_FROM_SEG:
    case PREVIRT_IA32_MOV_FROM_CR:
    case PREVIRT_IA32_MOV_FROM_DR:
    case PREVIRT_IA32_SMSW:
    case PREVIRT_IA32_SLDT:
    case PREVIRT_IA32_STR:
        return !insn->is_memory && insn->reg == ESP;
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
        return insn->reg == ESP;
    default:
        return false;
    }
}

static bool prepare(struct test *test)
{
    uint8_t notes[256];
    size_t notes_size = sizeof(notes), bound = previrt_plan_bound(1);
    uint32_t address = test->next_site, room = (uint32_t)test->sample.length + test->sample.pad;
    struct machine *machines[2] = {&test->original, &test->rewritten};
    struct text text = {test->original.memory};
    struct previrt_target target;
    struct previrt_region region = {.address = CODE_ADDRESS,
                                    .size = CODE_SIZE,
                                    .read = test->rewritten.memory + CODE_ADDRESS,
                                    .write = test->rewritten.memory + CODE_ADDRESS,
                                    .flags = PREVIRT_REGION_EXECUTE};
    struct previrt_memory memory = {&region, 1};
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    int status;

    test->next_site += SPACING + random_below(&test->random, 64);
    for (unsigned i = 0; i < 2; i++) {
        memset(machines[i]->memory + address, 0x90, 64);
        memcpy(machines[i]->memory + address, test->sample.bytes, room);
    }
    memset(&test->site, 0, sizeof(test->site));
    test->site.address = address;
    test->site.arch = PREVIRT_ARCH_IA32;
    test->site.pad = test->sample.pad;
    previrt_ia32_site_from_insn(&test->sample.insn, &test->site);
    if (random_below(&test->random, 2))
        test->site.flags |= PREVIRT_SITE_FLAGS_DEAD;
    status = previrt_table_encode(&test->site, 1, DATA_ADDRESS, text_of, &text, notes, &notes_size);
    if (status < 0) {
        failure(test, "encoding the table", 0, (uint64_t)status);
        return false;
    }
    if (test->vcpu)
        previrt_target_vcpu(&target, VCPU_ADDRESS);
    else
        previrt_target_native(&target);
    target.stub_address = address - CODE_ADDRESS + STUB_ADDRESS;
    target.stub_size = SPACING;
    if (!test->buffer) {
        test->buffer = malloc(bound);
        test->buffer_size = bound;
    }
    status = previrt_plan(&memory, notes, notes_size, DATA_ADDRESS, &target, test->buffer,
                          test->buffer_size, &test->plan);
    if (status == PREVIRT_E_REFUSED) {
        struct previrt_refusal refusal;

        previrt_plan_refusal(test->plan, 0, &refusal);
        status = refusal.status;
        if (status == PREVIRT_E_ROOM && room < 5)
            return false; /* rightly */
    }
    memset(&test->planned, 0, sizeof(test->planned));
    if (status == PREVIRT_OK)
        status = previrt_plan_site(test->plan, 0, &test->planned);
    if (status == PREVIRT_OK)
        status = previrt_commit(test->plan, test->rewritten.memory + target.stub_address, SPACING);
    if (status < 0) {
        failure(test, "planning", 0, (uint64_t)status);
        return false;
    }
    previrt_plan_stats(test->plan, &stats);
    test->inlined += stats.inlined;
    test->stubbed += stats.stubbed;
    test->shift = random_below(&test->random, 4) ? 0 : SHIFT;
    if (test->shift) { /* the same bytes, elsewhere: as before paging is on */
        memcpy(test->rewritten.memory + address + SHIFT, test->rewritten.memory + address, 64);
        memcpy(test->rewritten.memory + target.stub_address + SHIFT,
               test->rewritten.memory + target.stub_address, SPACING);
    }
    return true;
}

/* ---- comparison ---- */

static bool same(struct test *test, const char *what, uint64_t expected, uint64_t found)
{
    if (expected == found)
        return true;
    failure(test, what, expected, found);
    return false;
}

static bool in_range(uint32_t address, uint32_t start, uint32_t size)
{
    return address - start < size;
}

/* Bytes that may differ: dead stack, the return address that a far call pushes, flags that nobody
 * reads. */
static uint8_t significant(const struct test *test, uint32_t address, uint32_t before, uint32_t esp)
{
    unsigned width = test->sample.insn.width / 8u;

    if (in_range(address, esp - STACK_DEAD, STACK_DEAD))
        return 0;
    /* the old stack, where the operation has left it */
    if (in_range(address, before - STACK_DEAD, STACK_DEAD) &&
        !in_range(esp, before - STACK_DEAD, STACK_DEAD))
        return 0;
    if (in_range(address, VCPU_ADDRESS, PREVIRT_VCPU_PAGE_SIZE) ||
        in_range(address, ORACLE_ADDRESS, ORACLE_SIZE))
        return 0;
    if (test->form->op == PREVIRT_IA32_LCALL && in_range(address, esp, width))
        return 0;
    if (test->form->op == PREVIRT_IA32_PUSHF && (test->site.flags & PREVIRT_SITE_FLAGS_DEAD) &&
        test->planned.transfer == PREVIRT_TRANSFER_INLINE && in_range(address, esp, 4)) {
        uint32_t mask = FLAG_IF;

        return (uint8_t)(mask >> 8 * (address - esp));
    }
    return 0xff;
}

static bool same_memory(struct test *test, const struct machine *log, uint32_t before, uint32_t esp)
{
    for (size_t i = 0; i < log->write_count; i++) {
        const struct write *write = &log->writes[i];

        for (uint32_t byte = 0; byte < write->size; byte++) {
            uint32_t address = write->address + byte;
            uint8_t mask = significant(test, address, before, esp);

            if (address < MEMORY_SIZE &&
                !same(test, "memory", test->original.memory[address] & mask,
                      test->rewritten.memory[address] & mask)) {
                printf("    at 0x%x\n", address);
                return false;
            }
        }
    }
    return true;
}

static bool same_ports(struct test *test)
{
    const struct machine *a = &test->original, *b = &test->rewritten;

    if (!same(test, "port accesses", a->port_count, b->port_count))
        return false;
    for (size_t i = 0; i < a->port_count; i++)
        if (!same(test, "port", a->ports[i].port, b->ports[i].port) ||
            !same(test, "port width", a->ports[i].size, b->ports[i].size) ||
            !same(test, "port direction", a->ports[i].out, b->ports[i].out) ||
            !same(test, "port value", a->ports[i].value, b->ports[i].value))
            return false;
    return true;
}

static bool same_system(struct test *test)
{
    static const char *const names[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    struct system_state a, b;
    const struct previrt_vcpu_page *page = (const void *)(test->rewritten.memory + VCPU_ADDRESS);

    machine_get_system(&test->original, &a);
    machine_get_system(test->vcpu ? &test->cpu : &test->rewritten, &b);
    for (unsigned i = 0; i < 6; i++)
        if (!same(test, names[i], a.segment[i], b.segment[i]) ||
            !same(test, "segment base", a.segment_base[i], b.segment_base[i]) ||
            (test->vcpu && !same(test, "page's segment", a.segment[i], page->segment[i])))
            return false;
    for (unsigned i = 0; i < 5; i++)
        if (!same(test, "CR", a.cr[i], b.cr[i]) ||
            (test->vcpu && !same(test, "page's CR", a.cr[i], page->cr[i])))
            return false;
    for (unsigned i = 0; i < 8; i++)
        if (!same(test, "DR", a.dr[i], b.dr[i]))
            return false;
    for (unsigned i = 0; i < 3; i++)
        if (!same(test, "SYSENTER MSR", a.sysenter[i], b.sysenter[i]))
            return false;
    return same(test, "GDT base", a.gdt_base, b.gdt_base) &&
           same(test, "GDT limit", a.gdt_limit, b.gdt_limit) &&
           same(test, "IDT base", a.idt_base, b.idt_base) &&
           same(test, "IDT limit", a.idt_limit, b.idt_limit) &&
           same(test, "LDTR", a.ldtr, b.ldtr) && same(test, "TR", a.tr, b.tr) &&
           same(test, "EFER", a.efer, b.efer) &&
           (!test->vcpu || (same(test, "page's LDTR", a.ldtr, page->ldtr) &&
                            same(test, "page's TR", a.tr, page->tr)));
}

static bool same_registers(struct test *test, const struct registers *before, bool event)
{
    static const char *const names[] = {"EAX", "ECX", "EDX", "EBX", "ESP", "EBP", "ESI", "EDI"};
    const struct previrt_vcpu_page *page = (const void *)(test->rewritten.memory + VCPU_ADDRESS);
    struct registers a, b;
    uint32_t ignored = 0, mask = FLAGS_ALL;

    machine_get(&test->original, &a);
    machine_get(&test->rewritten, &b);
    if (test->form->op == PREVIRT_IA32_RDTSC || test->form->op == PREVIRT_IA32_RDTSCP)
        ignored = 1 << EAX | 1 << EDX; /* time passes */
    if (event && test->vcpu)
        return true; /* the registers are in the frame, which the dispatcher compared by use */
    if (event && test->planned.transfer == PREVIRT_TRANSFER_CALL)
        b.gpr[ESP] += 4;
    if (test->form->op == PREVIRT_IA32_SMSW && !test->sample.insn.is_memory) {
        /* the upper half is undefined (SDM 2B SMSW) */
        a.gpr[test->sample.insn.reg] &= 0xffff;
        b.gpr[test->sample.insn.reg] &= 0xffff;
    }
    for (unsigned i = 0; i < 8; i++)
        if (!(ignored & 1u << i) && !same(test, names[i], a.gpr[i], b.gpr[i]))
            return false;
    if (test->vcpu) { /* IF is the page's, the rest the processor's */
        mask = ARITHMETIC_FLAGS | FLAG_DF;
        if (!same(test, "virtual IF", a.eflags & FLAG_IF, page->eflags & FLAG_IF))
            return false;
        /* Nobody looks at the arithmetic flags afterwards. */
        if (test->site.flags & PREVIRT_SITE_FLAGS_DEAD)
            mask &= ~(uint32_t)ARITHMETIC_FLAGS;
    }
    (void)before;
    return same(test, "EFLAGS", a.eflags & mask, b.eflags & mask);
}

/* The site that the rewritten machine's fault belongs to. */
static uint32_t site_of_event(struct test *test)
{
    const struct event *event = &test->rewritten.event;
    struct registers registers;
    uint64_t site = 0;

    if (test->vcpu)
        return event->eip - test->shift;
    machine_get(&test->rewritten, &registers);
    if (previrt_plan_site_of_stub(test->plan, event->eip - test->shift,
                                  load32(&test->rewritten, registers.gpr[ESP]) - test->shift,
                                  &site) < 0)
        return 0;
    return (uint32_t)site;
}

/* Where Unicorn has nothing to execute: the stub holds the instruction. */
static void stub_holds_instruction(struct test *test)
{
    struct previrt_plan_stub stub;
    const struct sample *sample = &test->sample;
    unsigned at = 0, length = sample->length;

    if (test->vcpu)
        return; /* the dispatcher got the same instruction from the descriptor: it raised the same
                 */
    if (previrt_plan_stub_at(test->plan, test->planned.stub, &stub) < 0) {
        failure(test, "no stub", 0, 0);
        return;
    }
    /* without padding, where the stub is called */
    while (stub.transfer == PREVIRT_TRANSFER_CALL && sample->bytes[at] == 0x3e)
        at++;
    if (stub.length < length - at || memcmp(stub.code, sample->bytes + at, length - at))
        failure(test, "stub's bytes", sample->bytes[at], stub.code[0]);
}

/* Unicorn lets these pass without an effect unless a hook emulates them. */
static bool is_ignored(unsigned op)
{
    return op == PREVIRT_IA32_SYSCALL || op == PREVIRT_IA32_SYSENTER;
}

static void run_state(struct test *test)
{
    struct random copy = test->random;
    struct registers before, again;
    struct machine *original = &test->original, *rewritten = &test->rewritten;
    uint32_t until = 0, esp, end;
    bool pending;

    machine_reset(original);
    machine_reset(rewritten);
    generate_state(&test->random, &test->sample, !test->vcpu, original, &before, &until);
    generate_state(&copy, &test->sample, !test->vcpu, rewritten, &again, &until);
    pending = random_below(&test->random, 2);
    end = (uint32_t)test->site.address + test->sample.length + test->sample.pad;
    before.eip = (uint32_t)test->site.address;
    again = before;
    again.eip += test->shift;
    test->states++;

    /* One NOP further than the room, so that a hlt at its end is seen to halt. */
    machine_set(original, &before);
    machine_run(original, until ? until : end + 1);
    if (test->vcpu) {
        machine_reset(&test->cpu);
        vmm_begin(&test->vmm, before.eflags, pending);
        again.eflags |= FLAG_IF; /* the real one: never the guest's */
    }
    machine_set(rewritten, &again);
    machine_run(rewritten, until ? until : end + 1 + test->shift);
    if (original->overflow || rewritten->overflow) {
        failure(test, "the test's log is too small", 0, 0);
        return;
    }
    if (test->vmm.problem[0]) {
        printf("    %s\n", test->vmm.problem);
        failure(test, "dispatcher", 0, 0);
        return;
    }
    if (!same(test, "event", original->event.kind, rewritten->event.kind) ||
        !same(test, "event number", original->event.number, rewritten->event.number) ||
        !same(test, "halts", original->halts, rewritten->halts))
        return;
    uc_reg_read(original->uc, UC_X86_REG_ESP, &esp);
    if (original->event.kind != EVENT_NONE) {
        if (!same(test, "site of the event", test->site.address, site_of_event(test)))
            return;
        test->faulted++;
        if ((original->event.kind == EVENT_INTERRUPT && original->event.number == VECTOR_UD &&
             test->form->op != PREVIRT_IA32_INT) ||
            original->event.kind == EVENT_ERROR) {
            test->undefined++;
            stub_holds_instruction(test);
        }
        same_registers(test, &before, true);
        return;
    }
    if (is_ignored(test->form->op)) {
        test->undefined++;
        stub_holds_instruction(test);
        return;
    }
    test->executed++;
    if (test->vcpu && test->form->op == PREVIRT_IA32_STI)
        same(test, "dispatches", pending, test->vmm.dispatches);
    if (test->vcpu && test->vmm.dispatches)
        same(test, "site", test->site.address + test->shift, test->vmm.site);
    if (test->form->op == PREVIRT_IA32_LCALL) {
        /* The return address is not the same, but leads to the same place. */
        uint32_t pushed = load32(rewritten, esp) - test->shift;
        uint32_t mask = test->sample.insn.width == 16 ? 0xffff : 0xffffffff;
        bool fine = false;

        for (uint32_t at = (uint32_t)test->site.address + 5; test->vcpu && at <= end; at++)
            fine |= !((pushed ^ at) & mask);
        if (!test->vcpu) {
            uint32_t behind = (uint32_t)test->planned.stub + test->sample.length;

            fine = !((pushed ^ behind) & mask);
        }
        if (!fine)
            failure(test, "return address", end, pushed);
    }
    if (same_registers(test, &before, false) && same_memory(test, original, before.gpr[ESP], esp) &&
        same_memory(test, rewritten, before.gpr[ESP], esp) && same_ports(test))
        same_system(test);
}

/* ---- all ---- */

/* Unicorn keeps what it has translated, so no address is used twice: when none is left, it starts
 * again. */
static void open_machines(struct test *test)
{
    machine_open(&test->original, NULL);
    machine_open(&test->rewritten, NULL);
    machine_open(&test->cpu, &test->rewritten);
    test->vmm.guest = &test->rewritten;
    test->vmm.cpu = &test->cpu;
    if (test->vcpu) {
        test->rewritten.dispatch = vmm_dispatch;
        test->rewritten.dispatch_context = &test->vmm;
    }
    test->next_site = CODE_ADDRESS;
    test->vmm.code = ORACLE_ADDRESS;
}

static void close_machines(struct test *test)
{
    machine_close(&test->cpu);
    machine_close(&test->rewritten);
    machine_close(&test->original);
}

static void run_form(struct test *test, unsigned states)
{
    unsigned drawn = 0, useful = 0;

    test->states = test->executed = test->faulted = test->undefined = 0;
    test->inlined = test->stubbed = test->failures = 0;
    /* each form has its own sequence, so that one can be run alone */
    test->random.state = test->seed * 0x9e3779b97f4a7c15ull + test->form->form;
    while (test->states < states && drawn++ < 40 * states) {
        if (test->next_site > CODE_ADDRESS + CODE_SIZE - 4 * SPACING ||
            test->vmm.code > ORACLE_ADDRESS + ORACLE_SIZE - 4096) {
            close_machines(test);
            open_machines(test);
        }
        if (!generate(&test->random, test->form, &test->sample) ||
            (test->vcpu && loads_wild_esp(&test->sample.insn)) || !prepare(test))
            continue;
        useful++;
        for (unsigned i = 0; i < STATES_PER_SAMPLE && test->failures < 5; i++)
            run_state(test);
        if (test->failures >= 5)
            break;
    }
    if (!useful)
        failure(test, "no instruction could be made of this form", 1, 0);
}

int main(int argc, char **argv)
{
    static struct test test;
    unsigned states = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 0) : DEFAULT_STATES;
    unsigned only = argc > 4 ? (unsigned)strtoul(argv[4], NULL, 0) : 0;
    unsigned failures = 0, total = 0, forms = 0, skipped = 0;

    if (argc < 2 || (strcmp(argv[1], "native") && strcmp(argv[1], "vcpu"))) {
        fprintf(stderr, "usage: test_semantics native|vcpu [STATES [SEED [FORM]]]\n");
        return 2;
    }
    test.vcpu = !strcmp(argv[1], "vcpu");
    test.seed = argc > 3 ? strtoull(argv[3], NULL, 0) : DEFAULT_SEED;
    open_machines(&test);
    printf("target %s, %u states a form, seed 0x%" PRIx64 "\n", argv[1], states, test.seed);
    for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
        test.form = previrt_ia32_form_info(number);
        if (!test.form || (only && only != number))
            continue;
        run_form(&test, states);
        printf(
            "%-14s %5u states: %5u executed, %5u faulted alike; samples: %u inlined, %u stubs%s\n",
            form_name(test.form), test.states, test.executed, test.faulted, test.inlined,
            test.stubbed, test.failures ? "  FAILED" : "");
        if (!test.executed && test.undefined) {
            printf("  SKIPPED %s: Unicorn does not execute it (both ways alike); %s\n",
                   form_name(test.form),
                   test.vcpu ? "the descriptor led to the same instruction"
                             : "the stub holds the same instruction");
            skipped++;
        }
        failures += test.failures;
        total += test.states;
        forms++;
    }
    printf("%u forms, %u states, %u forms skipped, %u failures\n", forms, total, skipped, failures);
    free(test.buffer);
    close_machines(&test);
    return failures ? 1 : 0;
}
