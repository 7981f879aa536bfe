/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small guest that was assembled three times, as it is and in both static modes, and what it
 * finds.
 *
 * test_static --stubs              prints the linker's options that define previrt_vcpu and the
 *                                  stubs
 * test_static PLAIN NATIVE VCPU    runs three ELF files and compares
 *
 * The guest of mode vcpu runs on a machine whose every instruction is looked at: it may execute
 * nothing sensitive. Its stubs lead to the VMM below, which finds the original operation behind the
 * stub's return address and has a second machine, the virtual CPU, execute it.
 */
#include <previrt/ia32.h>
#include <previrt/table.h>
#include <previrt/vcpu.h>

#include "../semantics/machine.h"

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FLAG_IF    0x200
#define FLAGS_REAL 0x240dd5 /* those that the guest's own EFLAGS hold */

enum {
    STUB_SPACING = 16,
    JMP_SHORT = 2,      /* between a stub's return address and the original operation */
    RESULTS_MAX = 1024, /* in entry.S */
    LAST_RESULT = 0x600df00d,
    INTERRUPTS_MAX = 8
};

struct guest {
    const char *name;
    struct machine machine;
    struct machine *cpu; /* whose privileged state is the guest's: its own, or the virtual CPU's */
    unsigned sensitive;  /* executed on (machine) */
    unsigned out_of_line;
    unsigned by_op[PREVIRT_IA32_OP_LIMIT]; /* that the VMM was called for */
    unsigned halts;
    uint32_t code; /* where the virtual CPU executes next: never twice at the same place */
    char problem[160];
};

static unsigned failures;

static void fail(const char *guest, const char *what, uint64_t expected, uint64_t found)
{
    printf("FAILED %s: %s: expected 0x%llx, found 0x%llx\n", guest, what,
           (unsigned long long)expected, (unsigned long long)found);
    failures++;
}

static void expect(const char *guest, const char *what, uint64_t expected, uint64_t found)
{
    if (expected != found)
        fail(guest, what, expected, found);
}

/* ---- the guest's own interrupt, which the machines do not deliver ---- */

static void push(struct machine *machine, struct registers *registers, uint32_t value)
{
    registers->gpr[ESP] -= 4;
    store32(machine->memory + registers->gpr[ESP], value);
}

/* Through an interrupt gate of the same privilege (SDM 3A 6.12.1). */
static void deliver(struct machine *machine, const struct system_state *system, unsigned vector,
                    uint32_t eflags, struct registers *registers)
{
    uint32_t low = load32(machine, system->idt_base + 8 * vector);
    uint32_t high = load32(machine, system->idt_base + 8 * vector + 4);

    push(machine, registers, eflags);
    push(machine, registers, system->segment[1]);
    push(machine, registers, registers->eip);
    registers->eip = (low & 0xffff) | (high & 0xffff0000);
}

/* ---- the VMM of mode vcpu ---- */

static struct previrt_vcpu_page *page_of(struct guest *guest)
{
    return (struct previrt_vcpu_page *)(void *)(guest->machine.memory + VCPU_ADDRESS);
}

static void show_cpu(struct guest *guest, uint32_t eflags)
{
    struct previrt_vcpu_page *page = page_of(guest);
    struct system_state state;

    machine_get_system(guest->cpu, &state);
    page->version = PREVIRT_VCPU_VERSION;
    page->eflags = 2 | (eflags & FLAG_IF);
    for (unsigned i = 0; i < 6; i++)
        page->segment[i] = state.segment[i];
    page->ldtr = state.ldtr;
    page->tr = state.tr;
    for (unsigned i = 0; i < 5; i++)
        page->cr[i] = state.cr[i];
}

/* Executes one operation where the guest stands; (*event) is what came of it. */
static void execute(struct guest *guest, const uint8_t *bytes, unsigned length,
                    struct registers *registers)
{
    enum { STEPS = 64 };
    struct machine *cpu = guest->cpu;
    uint32_t code = guest->code;

    guest->code += 32;
    memset(cpu->memory + code, 0x90, 32);
    memcpy(cpu->memory + code, bytes, length);
    registers->eip = code;
    machine_set(cpu, registers);
    cpu->event.kind = EVENT_NONE;
    /* step by step: sti;hlt is two, an iteration of a string operation one each */
    for (unsigned step = 0; step < STEPS && registers->eip - code < length; step++) {
        uc_err error = uc_emu_start(cpu->uc, registers->eip, UINT32_MAX, 0, 1);

        if (error != UC_ERR_OK)
            cpu->event = (struct event){EVENT_ERROR, (unsigned)error, registers->eip};
        if (cpu->event.kind != EVENT_NONE)
            return;
        machine_get(cpu, registers);
    }
    if (registers->eip - code < length)
        cpu->event = (struct event){EVENT_LOST, 0, registers->eip};
}

static void dispatch(struct machine *machine, void *context)
{
    struct guest *guest = context;
    struct previrt_ia32_insn insn;
    struct registers registers;
    uint32_t esp, op, back, original, code = guest->code;
    int status;

    machine_get(machine, &registers);
    esp = registers.gpr[ESP];
    op = load32(machine, esp + 4); /* above the stub's own return address */
    back = load32(machine, esp + 8);
    original = back + JMP_SHORT;
    status = previrt_ia32_decode_site(machine->memory + original, PREVIRT_LENGTH_MAX, 1, &insn);
    if (status < 0 || insn.op != op || machine->memory[back] != 0xeb ||
        machine->memory[back + 1] != insn.length) {
        snprintf(guest->problem, sizeof(guest->problem),
                 "stub of %s: decoding what is behind 0x%x: status %d, %s",
                 previrt_ia32_op_info(op)->name, back, status,
                 status < 0 ? "nothing" : previrt_ia32_op_info(insn.op)->name);
        goto stop;
    }
    guest->by_op[op]++;
    registers.gpr[ESP] = esp + 12;
    registers.eflags = (registers.eflags & FLAGS_REAL) | page_of(guest)->eflags;
    execute(guest, machine->memory + original, insn.length, &registers);
    if (guest->cpu->event.kind == EVENT_INTERRUPT && op == PREVIRT_IA32_INT) {
        struct system_state system;

        guest->cpu->event.kind = EVENT_NONE;
        machine_get_system(guest->cpu, &system);
        registers.eip = back;
        deliver(machine, &system, insn.immediate & 0xff, registers.eflags, &registers);
        registers.eflags &= ~(uint32_t)FLAG_IF;
    } else if (guest->cpu->event.kind != EVENT_NONE) {
        snprintf(guest->problem, sizeof(guest->problem), "%s at 0x%x: event %d, %u",
                 previrt_ia32_op_info(op)->name, original, guest->cpu->event.kind,
                 guest->cpu->event.number);
        goto stop;
    } else if (registers.eip == code + insn.length) {
        registers.eip = back; /* over the original */
    } else if (op == PREVIRT_IA32_LCALL) {
        store32(machine->memory + registers.gpr[ESP], back);
    }
    if (op == PREVIRT_IA32_HLT || op == PREVIRT_IA32_STI_HLT)
        guest->halts++;
    show_cpu(guest, registers.eflags);
    registers.eflags = (registers.eflags & FLAGS_REAL) | FLAG_IF;
    machine_set(machine, &registers);
    machine->redirected = true;
    uc_emu_stop(machine->uc);
    return;
stop:
    machine->event = (struct event){EVENT_LOST, 0, original};
    uc_emu_stop(machine->uc);
}

/* push OP; call DISPATCHER; and, as the dispatcher resumes the guest itself, nothing behind it */
static void write_stubs(struct machine *machine)
{
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        uint32_t address = STUB_ADDRESS + STUB_SPACING * op;
        uint8_t *stub = machine->memory + address;

        stub[0] = 0x68;
        store32(stub + 1, op);
        stub[5] = 0xe8;
        store32(stub + 6, DISPATCHER_ADDRESS - (address + 10));
        stub[10] = 0xf4; /* never reached */
    }
}

static void print_stubs(void)
{
    printf("--defsym=previrt_vcpu=0x%x\n", VCPU_ADDRESS);
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

        if (!info)
            continue;
        printf("--defsym=previrt_stub_");
        for (const char *name = info->name; *name; name++)
            putchar(*name == ' ' || *name == ';' ? '_' : *name);
        printf("=0x%x\n", STUB_ADDRESS + STUB_SPACING * op);
    }
}

/* ---- running a guest ---- */

static void on_guest_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct guest *guest = user;
    struct previrt_ia32_class class = {.size = sizeof(class)};
    const uint8_t *bytes = guest->machine.memory + address;

    (void)uc;
    if (previrt_ia32_classify(bytes, PREVIRT_LENGTH_MAX, 32, &class) < 0 || !class.op)
        return;
    (void)size;
    guest->sensitive++;
    /* a stub of mode native: the operation, then the jump back */
    guest->out_of_line += bytes[class.length] == 0xe9 || bytes[class.length] == 0xeb;
    if (guest->cpu != &guest->machine && !guest->problem[0])
        snprintf(guest->problem, sizeof(guest->problem), "executed %s at 0x%llx by itself",
                 previrt_ia32_op_info(class.op)->name, (unsigned long long)address);
}

/* The program headers of an ELF file into memory; its entry. Exits where that cannot be. */
static uint32_t load(struct machine *machine, const char *path)
{
    Elf32_Ehdr header;
    Elf32_Phdr segment;
    FILE *file = fopen(path, "rb");

    if (!file || fread(&header, sizeof(header), 1, file) != 1 ||
        memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_machine != EM_386)
        goto bad;
    for (unsigned i = 0; i < header.e_phnum; i++) {
        if (fseek(file, (long)(header.e_phoff + i * sizeof(segment)), SEEK_SET) ||
            fread(&segment, sizeof(segment), 1, file) != 1)
            goto bad;
        if (segment.p_type != PT_LOAD || !segment.p_filesz)
            continue;
        if (segment.p_vaddr >= MEMORY_SIZE || segment.p_filesz > MEMORY_SIZE - segment.p_vaddr ||
            fseek(file, (long)segment.p_offset, SEEK_SET) ||
            fread(machine->memory + segment.p_vaddr, segment.p_filesz, 1, file) != 1)
            goto bad;
    }
    fclose(file);
    return header.e_entry;
bad:
    fprintf(stderr, "%s: not an IA32 executable that could be read\n", path);
    exit(4);
}

static void run(struct guest *guest, struct machine *cpu, const char *name, const char *path)
{
    struct registers registers = {0};
    unsigned interrupts = 0;
    uc_hook hook;

    guest->name = name;
    machine_open(&guest->machine, NULL);
    guest->cpu = &guest->machine;
    registers.eip = load(&guest->machine, path);
    registers.gpr[ESP] = STACK_ADDRESS;
    if (cpu) {
        machine_open(cpu, &guest->machine);
        guest->cpu = cpu;
        guest->code = ORACLE_ADDRESS;
        guest->machine.dispatch = dispatch;
        guest->machine.dispatch_context = guest;
        write_stubs(&guest->machine);
        show_cpu(guest, 0);
        registers.eflags = FLAG_IF; /* the real one: the guest's is in the page */
    }
    if (uc_hook_add(guest->machine.uc, &hook, UC_HOOK_CODE, (void *)on_guest_instruction, guest, 1,
                    0) != UC_ERR_OK) {
        fprintf(stderr, "Unicorn: no hook\n");
        exit(99);
    }
    machine_set(&guest->machine, &registers);
    for (;;) {
        struct system_state system;

        guest->machine.instructions = 0;
        machine_run(&guest->machine, TARGET_ADDRESS);
        if (guest->machine.event.kind != EVENT_INTERRUPT || cpu ||
            guest->machine.event.number != 0x80 || interrupts++ == INTERRUPTS_MAX)
            break;
        guest->machine.event.kind = EVENT_NONE;
        machine_get(&guest->machine, &registers);
        machine_get_system(&guest->machine, &system);
        deliver(&guest->machine, &system, 0x80, registers.eflags, &registers);
        registers.eflags &= ~(uint32_t)FLAG_IF;
        machine_set(&guest->machine, &registers);
    }
    if (!cpu)
        guest->halts = guest->machine.halts;
    if (guest->machine.event.kind != EVENT_NONE)
        printf("%s: event %d, number %u, at 0x%x\n", name, guest->machine.event.kind,
               guest->machine.event.number, guest->machine.event.eip);
    if (guest->problem[0])
        printf("%s: %s\n", name, guest->problem);
    if (guest->machine.event.kind != EVENT_NONE || guest->problem[0])
        failures++;
}

/* ---- comparison ---- */

static void compare_system(struct guest *plain, struct guest *guest)
{
    static const char *const segments[] = {"ES", "CS", "SS", "DS", "FS", "GS"};
    struct system_state a, b;

    machine_get_system(plain->cpu, &a);
    machine_get_system(guest->cpu, &b);
    for (unsigned i = 0; i < 6; i++)
        expect(guest->name, segments[i], a.segment[i], b.segment[i]);
    for (unsigned i = 0; i < 5; i++)
        expect(guest->name, "control register", a.cr[i], b.cr[i]);
    for (unsigned i = 0; i < 8; i++)
        expect(guest->name, "debug register", a.dr[i], b.dr[i]);
    for (unsigned i = 0; i < 3; i++)
        expect(guest->name, "SYSENTER MSR", a.sysenter[i], b.sysenter[i]);
    expect(guest->name, "GDT base", a.gdt_base, b.gdt_base);
    expect(guest->name, "GDT limit", a.gdt_limit, b.gdt_limit);
    expect(guest->name, "IDT limit", a.idt_limit, b.idt_limit);
    expect(guest->name, "LDTR", a.ldtr, b.ldtr);
    expect(guest->name, "TR", a.tr, b.tr);
}

static void compare(struct guest *plain, struct guest *guest)
{
    const struct machine *a = &plain->machine, *b = &guest->machine;

    for (unsigned i = 0; i < RESULTS_MAX; i++) {
        uint32_t expected = load32(a, DATA_ADDRESS + 4 * i),
                 found = load32(b, DATA_ADDRESS + 4 * i);

        if (expected != found)
            printf("result %u: ", i);
        expect(guest->name, "result", expected, found);
    }
    expect(guest->name, "port accesses", a->port_count, b->port_count);
    for (size_t i = 0; i < a->port_count && i < b->port_count; i++) {
        expect(guest->name, "port", a->ports[i].port, b->ports[i].port);
        expect(guest->name, "port width", a->ports[i].size, b->ports[i].size);
        expect(guest->name, "port direction", a->ports[i].out, b->ports[i].out);
        expect(guest->name, "port value", a->ports[i].value, b->ports[i].value);
    }
    expect(guest->name, "halts", plain->halts, guest->halts);
    compare_system(plain, guest);
}

static void check_last_result(const struct machine *machine)
{
    unsigned last = 0;

    for (unsigned i = 0; i < RESULTS_MAX; i++)
        if (load32(machine, DATA_ADDRESS + 4 * i))
            last = i;
    expect("plain", "last result", LAST_RESULT, load32(machine, DATA_ADDRESS + 4 * last));
    printf("plain: %u results, %zu port accesses\n", last + 1, machine->port_count);
}

/* The machine that the guest ran on has the state that it had before: all that is the guest's is
 * the virtual CPU's. */
static void check_untouched(struct guest *guest)
{
    struct system_state before, after;
    struct machine fresh;

    machine_open(&fresh, NULL);
    machine_get_system(&fresh, &before);
    machine_get_system(&guest->machine, &after);
    if (memcmp(&before, &after, sizeof(before)) != 0)
        fail(guest->name, "the real processor's state has changed", 0, 1);
    machine_close(&fresh);
}

int main(int argc, char **argv)
{
    /* loads of SS, and what is in macros */
    enum { NATIVE_IN_PLACE_MAX = 40 };
    static struct guest plain, native, vcpu;
    static struct machine cpu;
    unsigned calls = 0, ops = 0;

    if (argc == 2 && !strcmp(argv[1], "--stubs")) {
        print_stubs();
        return 0;
    }
    if (argc != 4) {
        fprintf(stderr, "usage: test_static --stubs | PLAIN NATIVE VCPU\n");
        return 2;
    }
    run(&plain, NULL, "plain", argv[1]);
    run(&native, NULL, "native", argv[2]);
    run(&vcpu, &cpu, "vcpu", argv[3]);
    check_last_result(&plain.machine);
    compare(&plain, &native);
    compare(&plain, &vcpu);
    check_untouched(&vcpu);

    printf("plain: %u sensitive operations executed, %u of them before a jump\n", plain.sensitive,
           plain.out_of_line);
    printf("native: %u executed, %u of them out of line\n", native.sensitive, native.out_of_line);
    expect("native", "operations executed", plain.sensitive, native.sensitive);
    if (native.sensitive - native.out_of_line > NATIVE_IN_PLACE_MAX)
        fail("native", "operations in place", NATIVE_IN_PLACE_MAX,
             native.sensitive - native.out_of_line);
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        calls += vcpu.by_op[op];
        ops += vcpu.by_op[op] != 0;
    }
    printf("vcpu: %u executed; the VMM was called %u times, for %u different operations\n",
           vcpu.sensitive, calls, ops);
    expect("vcpu", "sensitive operations executed", 0, vcpu.sensitive);
    printf("%u failures\n", failures);
    machine_close(&cpu);
    machine_close(&vcpu.machine);
    machine_close(&native.machine);
    machine_close(&plain.machine);
    return failures ? 1 : 0;
}
