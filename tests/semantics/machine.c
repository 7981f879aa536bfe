/* SPDX-License-Identifier: BSD-2-Clause */
#include "machine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define EFLAGS_FIXED 0x2

static void check(uc_err error, const char *what)
{
    if (error != UC_ERR_OK) {
        fprintf(stderr, "Unicorn: %s: %s\n", what, uc_strerror(error));
        exit(99);
    }
}

uint32_t load32(const struct machine *machine, uint32_t address)
{
    uint32_t value;

    memcpy(&value, machine->memory + address, sizeof(value));
    return value;
}

void store32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof(value));
}

/* ---- hooks ---- */

static void log_write(struct machine *log, const uint8_t *memory, uint64_t address, size_t size)
{
    struct write *write;

    if (address >= MEMORY_SIZE)
        return;
    while (size) {
        size_t part = size > sizeof(write->old) ? sizeof(write->old) : size;

        if (log->write_count == LOG_SIZE) {
            log->overflow = true;
            return;
        }
        write = &log->writes[log->write_count++];
        write->address = (uint32_t)address;
        write->size = (uint32_t)part;
        memcpy(write->old, memory + address, part);
        address += part;
        size -= part;
    }
}

static void on_write(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                     void *user)
{
    struct machine *machine = user;

    (void)uc, (void)type, (void)value;
    log_write(machine->log_to, machine->memory, address, (size_t)size);
}

static void on_interrupt(uc_engine *uc, uint32_t number, void *user)
{
    struct machine *machine = user;
    uint32_t eip;

    uc_reg_read(uc, UC_X86_REG_EIP, &eip);
    machine->event = (struct event){EVENT_INTERRUPT, number, eip};
    uc_emu_stop(uc);
}

static void log_port(struct machine *machine, uint32_t port, int size, int out, uint32_t value)
{
    struct machine *log = machine->log_to;

    if (log->port_count == PORTS_SIZE) {
        log->overflow = true;
        return;
    }
    log->ports[log->port_count++] =
        (struct port_access){(uint16_t)port, (uint8_t)size, (uint8_t)out, value};
}

static uint32_t on_in(uc_engine *uc, uint32_t port, int size, void *user)
{
    struct machine *machine = user;
    /* any value that depends on what was asked, and when */
    uint32_t value = (port * 2654435761u) ^ (uint32_t)(machine->log_to->port_count * 0x9e3779b9u);

    (void)uc;
    value &= size == 1 ? 0xff : size == 2 ? 0xffff : 0xffffffff;
    log_port(machine, port, size, 0, value);
    return value;
}

static void on_out(uc_engine *uc, uint32_t port, int size, uint32_t value, void *user)
{
    (void)uc;
    log_port(user, port, size, 1, value);
}

static void on_dispatch(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct machine *machine = user;

    (void)uc, (void)address, (void)size;
    if (machine->dispatch)
        machine->dispatch(machine, machine->dispatch_context);
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    enum { FAR_TOO_MANY = 2000 };
    struct machine *machine = user;

    (void)address, (void)size;
    if (++machine->instructions > FAR_TOO_MANY) {
        machine->event = (struct event){EVENT_LOST, 0, (uint32_t)address};
        uc_emu_stop(uc);
    }
}

/* ---- set-up ---- */

/* A descriptor (SDM 3A, figure 3-8): access byte and, in the upper nibble of (flags), G and D/B. */
static void descriptor(uint8_t *at, uint32_t base, uint32_t limit, uint8_t access, uint8_t flags)
{
    at[0] = (uint8_t)limit;
    at[1] = (uint8_t)(limit >> 8);
    at[2] = (uint8_t)base;
    at[3] = (uint8_t)(base >> 8);
    at[4] = (uint8_t)(base >> 16);
    at[5] = access;
    at[6] = (uint8_t)((limit >> 16 & 0xf) | flags);
    at[7] = (uint8_t)(base >> 24);
}

static void build_tables(uint8_t *memory)
{
    enum { FLAT = 0xc0, CODE = 0x9b, DATA = 0x93, USER = 0x60, LDT = 0x82, TSS = 0x89 };
    uint8_t *gdt = memory + GDT_ADDRESS;

    descriptor(gdt + SELECTOR_CODE, 0, 0xfffff, CODE, FLAT);
    descriptor(gdt + SELECTOR_DATA, 0, 0xfffff, DATA, FLAT);
    /* also code and stack of sysexit: CS + 16, CS + 24 are loaded without being read (SDM 2B) */
    descriptor(gdt + SELECTOR_FS, FS_BASE, 0xfffff, DATA, FLAT);
    descriptor(gdt + SELECTOR_GS, GS_BASE, 0xfffff, DATA, FLAT);
    descriptor(gdt + SELECTOR_LDT, LDT_ADDRESS, 0xff, LDT, 0);
    descriptor(gdt + SELECTOR_TSS, TSS_ADDRESS, 0x67, TSS, 0);
    descriptor(gdt + SELECTOR_ABSENT, 0, 0xfffff, DATA & 0x7f, FLAT);
    descriptor(gdt + (SELECTOR_USER_CODE & ~3), 0, 0xfffff, CODE | USER, FLAT);
    descriptor(gdt + (SELECTOR_USER_DATA & ~3), 0, 0xfffff, DATA | USER, FLAT);
    descriptor(gdt + SELECTOR_LAST, TSS_ADDRESS + 0x100, 0x67, TSS, 0);
    for (unsigned i = 0; i < 0x20; i++)
        descriptor(memory + LDT_ADDRESS + 8 * i, 0, 0xfffff, DATA, FLAT);
}

/* What a loader does first, executed, so that no interface of the emulator has to be trusted with
 * it. */
extern const uint8_t machine_init[], machine_init_end[];
__asm__(".pushsection .rodata\n"
        ".code32\n"
        "machine_init:\n"
        "lgdt 2f-machine_init+0x14000\n" /* INIT_ADDRESS */
        "ljmp $0x08, $1f-machine_init+0x14000\n"
        "1: movl $0x10, %eax\n"
        "movl %eax, %ds\n"
        "movl %eax, %es\n"
        "movl %eax, %ss\n"
        "movl $0x18, %eax\n"
        "movl %eax, %fs\n"
        "movl $0x20, %eax\n"
        "movl %eax, %gs\n"
        "movl $0x28, %eax\n"
        "lldt %ax\n"
        "movl $0x30, %eax\n"
        "ltr %ax\n"
        "movl $0x174, %ecx\n" /* SYSENTER_CS, ESP, EIP */
        "movl $0x08, %eax\n"
        "xorl %edx, %edx\n"
        "wrmsr\n"
        "nop\n"
        "2: .word 0x57\n" /* SELECTOR_LIMIT; the nop above is the last instruction */
        ".long 0x12000\n" /* GDT_ADDRESS */
        "machine_init_end:\n"
        ".code64\n"
        ".popsection\n");
enum { INIT_DATA = 6 };

void machine_open(struct machine *machine, struct machine *memory)
{
    uc_hook hook;
    size_t init = (size_t)(machine_init_end - machine_init);

    memset(machine, 0, sizeof(*machine));
    machine->log_to = memory ? memory : machine;
    if (memory) {
        machine->memory = memory->memory;
    } else {
        machine->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (machine->memory == MAP_FAILED) {
            perror("mmap");
            exit(99);
        }
        build_tables(machine->memory);
        memcpy(machine->memory + INIT_ADDRESS, machine_init, init);
        machine->memory[DISPATCHER_ADDRESS] = 0xc3; /* ret */
    }
    check(uc_open(UC_ARCH_X86, UC_MODE_32, &machine->uc), "uc_open");
    check(uc_ctl_set_cpu_model(machine->uc, UC_CPU_X86_HASWELL), "cpu model");
    check(uc_mem_map_ptr(machine->uc, 0, MEMORY_SIZE, UC_PROT_ALL, machine->memory), "map");
    if (memory) /* the other machine has marked its TSS busy */
        machine->memory[GDT_ADDRESS + SELECTOR_TSS + 5] &= ~2;
    check(uc_emu_start(machine->uc, INIT_ADDRESS, INIT_ADDRESS + init - INIT_DATA, 0, 0), "init");
    check(uc_context_alloc(machine->uc, &machine->pristine), "context");
    check(uc_context_save(machine->uc, machine->pristine), "context");

    check(uc_hook_add(machine->uc, &hook, UC_HOOK_MEM_WRITE, (void *)on_write, machine, 1, 0),
          "hook");
    check(uc_hook_add(machine->uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, machine, 1, 0),
          "hook");
    check(
        uc_hook_add(machine->uc, &hook, UC_HOOK_INSN, (void *)on_in, machine, 1, 0, UC_X86_INS_IN),
        "hook");
    check(uc_hook_add(machine->uc, &hook, UC_HOOK_INSN, (void *)on_out, machine, 1, 0,
                      UC_X86_INS_OUT),
          "hook");
    check(uc_hook_add(machine->uc, &hook, UC_HOOK_CODE, (void *)on_dispatch, machine,
                      DISPATCHER_ADDRESS, DISPATCHER_ADDRESS),
          "hook");
    check(uc_hook_add(machine->uc, &hook, UC_HOOK_CODE, (void *)on_instruction, machine, 1, 0),
          "hook");
}

void machine_close(struct machine *machine)
{
    uc_context_free(machine->pristine);
    uc_close(machine->uc);
    if (machine->log_to == machine)
        munmap(machine->memory, MEMORY_SIZE);
}

void machine_reset(struct machine *machine)
{
    check(uc_context_restore(machine->uc, machine->pristine), "restore");
    while (machine->write_count) {
        const struct write *write = &machine->writes[--machine->write_count];

        memcpy(machine->memory + write->address, write->old, write->size);
    }
    machine->port_count = 0;
    machine->halts = 0;
    machine->instructions = 0;
    machine->event = (struct event){0};
    machine->redirected = false;
}

void machine_poke(struct machine *machine, uint32_t address, const void *bytes, size_t size)
{
    log_write(machine, machine->memory, address, size);
    memcpy(machine->memory + address, bytes, size);
}

/* ---- registers ---- */

static const int gpr_names[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                                 UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};

void machine_set_in_hook(struct machine *machine, const struct registers *registers)
{
    uint32_t eflags = registers->eflags | EFLAGS_FIXED;

    for (unsigned i = 0; i < 8; i++)
        uc_reg_write(machine->uc, gpr_names[i], &registers->gpr[i]);
    uc_reg_write(machine->uc, UC_X86_REG_EFLAGS, &eflags);
}

void machine_set(struct machine *machine, const struct registers *registers)
{
    machine_set_in_hook(machine, registers);
    uc_reg_write(machine->uc, UC_X86_REG_EIP, &registers->eip);
}

void machine_get(struct machine *machine, struct registers *registers)
{
    for (unsigned i = 0; i < 8; i++)
        uc_reg_read(machine->uc, gpr_names[i], &registers->gpr[i]);
    uc_reg_read(machine->uc, UC_X86_REG_EFLAGS, &registers->eflags);
    uc_reg_read(machine->uc, UC_X86_REG_EIP, &registers->eip);
}

static uint64_t msr(struct machine *machine, uint32_t number)
{
    uc_x86_msr access = {.rid = number};

    uc_reg_read(machine->uc, UC_X86_REG_MSR, &access);
    return access.value;
}

void machine_get_system(struct machine *machine, struct system_state *state)
{
    static const int segments[6] = {UC_X86_REG_ES, UC_X86_REG_CS, UC_X86_REG_SS,
                                    UC_X86_REG_DS, UC_X86_REG_FS, UC_X86_REG_GS};
    static const int crs[5] = {UC_X86_REG_CR0, UC_X86_REG_CR1, UC_X86_REG_CR2, UC_X86_REG_CR3,
                               UC_X86_REG_CR4};
    enum { MSR_SYSENTER_CS = 0x174, MSR_EFER = 0xc0000080 };
    uc_x86_mmr table;
    uint64_t value;

    memset(state, 0, sizeof(*state));
    for (unsigned i = 0; i < 6; i++) {
        value = 0;
        uc_reg_read(machine->uc, segments[i], &value);
        state->segment[i] = (uint16_t)value;
    }
    value = 0;
    uc_reg_read(machine->uc, UC_X86_REG_FS_BASE, &value);
    state->segment_base[4] = (uint32_t)value;
    value = 0;
    uc_reg_read(machine->uc, UC_X86_REG_GS_BASE, &value);
    state->segment_base[5] = (uint32_t)value;
    for (unsigned i = 0; i < 5; i++) {
        value = 0;
        if (i != 1)
            uc_reg_read(machine->uc, crs[i], &value);
        state->cr[i] = (uint32_t)value;
    }
    for (unsigned i = 0; i < 8; i++) {
        value = 0;
        uc_reg_read(machine->uc, UC_X86_REG_DR0 + (int)i, &value);
        state->dr[i] = (uint32_t)value;
    }
    uc_reg_read(machine->uc, UC_X86_REG_GDTR, &table);
    state->gdt_base = (uint32_t)table.base;
    state->gdt_limit = table.limit;
    uc_reg_read(machine->uc, UC_X86_REG_IDTR, &table);
    state->idt_base = (uint32_t)table.base;
    state->idt_limit = table.limit;
    uc_reg_read(machine->uc, UC_X86_REG_LDTR, &table);
    state->ldtr = table.selector;
    uc_reg_read(machine->uc, UC_X86_REG_TR, &table);
    state->tr = table.selector;
    for (unsigned i = 0; i < 3; i++)
        state->sysenter[i] = msr(machine, MSR_SYSENTER_CS + i);
    state->efer = msr(machine, MSR_EFER);
}

void machine_run(struct machine *machine, uint32_t until)
{
    for (;;) {
        uint32_t eip;
        uc_err error;

        uc_reg_read(machine->uc, UC_X86_REG_EIP, &eip);
        if (eip == until || machine->event.kind != EVENT_NONE)
            return;
        machine->redirected = false;
        error = uc_emu_start(machine->uc, eip, until, 0, 0);
        if (machine->event.kind != EVENT_NONE)
            return;
        uc_reg_read(machine->uc, UC_X86_REG_EIP, &eip);
        if (error != UC_ERR_OK) {
            machine->event = (struct event){EVENT_ERROR, (unsigned)error, eip};
            return;
        }
        if (eip != until && !machine->redirected)
            machine->log_to->halts++; /* nothing else stops it early */
        if (machine->log_to->halts > 4) {
            machine->event = (struct event){EVENT_LOST, 0, eip};
            return;
        }
    }
}
