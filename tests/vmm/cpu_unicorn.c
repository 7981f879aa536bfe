/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest code under Unicorn. All of it, the guest's kernel too, runs at privilege level 3 with
 * paging off; what the VMM has mapped is a memory region of one page each, made when it is touched
 * first. Unicorn tells no error codes, but for page faults they follow from the access.
 */
#include "vm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

#define GDT_ADDRESS 0xffff0000u
#define LDT_ADDRESS 0xfffe0000u
#define GDT_SIZE    (VM_GDT_ENTRIES * 8u)
#define LDT_SIZE    (PV_LDT_ENTRIES * 8u)
#define RING3       0xfffd0000u /* the code that enters privilege level 3, at the beginning only */
#define MAPPED_MAX  256

struct state {
    uc_engine *uc;
    uc_context *pristine; /* at privilege level 3 */
    gva_t mapped[MAPPED_MAX];
    unsigned mapped_count;
    int user; /* view that (mapped) belongs to */
    struct vm_exit *exit;
    gva_t last; /* instruction that was begun last */
    bool left;  /* (exit) says why */
    bool stale; /* code that the engine has translations of was unmapped */
};

static void check(uc_err error, const char *what)
{
    if (error != UC_ERR_OK) {
        fprintf(stderr, "Unicorn: %s: %s\n", what, uc_strerror(error));
        exit(99);
    }
}

static void forget(struct state *s)
{
    for (unsigned i = 0; i < s->mapped_count; i++)
        check(uc_mem_unmap(s->uc, s->mapped[i], PV_PAGE_SIZE), "unmap");
    s->mapped_count = 0;
}

static bool map_page(struct vm *vm, struct state *s, gva_t page)
{
    uint8_t *host = vm_translate(vm, page, 0);
    uint32_t protection = UC_PROT_READ;

    if (!host)
        return false;
    for (unsigned i = 0; i < s->mapped_count; i++)
        if (s->mapped[i] == page)
            return true;
    if (vm_translate(vm, page, 1))
        protection |= UC_PROT_WRITE;
    if (vm_translate(vm, page, 2))
        protection |= UC_PROT_EXEC;
    if (s->mapped_count == MAPPED_MAX) {
        vm_violation(vm, "the test back-end has no room for so many pages at once");
        return false;
    }
    check(uc_mem_map_ptr(s->uc, page, PV_PAGE_SIZE, protection, host), "map");
    s->mapped[s->mapped_count++] = page;
    return true;
}

/* ---- hooks ---- */

static bool on_memory(uc_engine *uc, uc_mem_type type, uint64_t address, int size, int64_t value,
                      void *user)
{
    struct vm *vm = user;
    struct state *s = vm->processor_state;
    int access = type == UC_MEM_WRITE_UNMAPPED || type == UC_MEM_WRITE_PROT   ? 1
                 : type == UC_MEM_FETCH_UNMAPPED || type == UC_MEM_FETCH_PROT ? 2
                                                                              : 0;
    gva_t first = (gva_t)address & ~PV_PAGE_MASK;
    gva_t last = (gva_t)(address + (size ? size : 1) - 1) & ~PV_PAGE_MASK;

    (void)uc, (void)value;
    for (gva_t page = first;; page += PV_PAGE_SIZE) {
        if (!vm_translate(vm, page, access)) {
            *s->exit = (struct vm_exit){.kind = VM_EXIT_TRAP, .vector = VECTOR_PF};
            s->exit->cr2 = page == first ? (gva_t)address : page;
            if (vm_translate(vm, page, 0))
                s->exit->error |= PFE_P;
            if (access == 1)
                s->exit->error |= PFE_W;
            if (access == 2)
                s->exit->error |= PFE_I;
            s->left = true;
            return false;
        }
        map_page(vm, s, page);
        if (page == last)
            return true;
    }
}

static void on_interrupt(uc_engine *uc, uint32_t number, void *user)
{
    struct vm *vm = user;
    struct state *s = vm->processor_state;
    uint32_t eip;

    uc_reg_read(uc, UC_X86_REG_EIP, &eip);
    if (!s->left) {
        *s->exit = (struct vm_exit){.kind = VM_EXIT_TRAP, .vector = number};
        s->exit->software = eip != s->last && number != VECTOR_DB;
        s->left = true;
    }
    uc_emu_stop(uc);
}

static bool on_invalid(uc_engine *uc, void *user)
{
    struct vm *vm = user;
    struct state *s = vm->processor_state;

    (void)uc;
    *s->exit = (struct vm_exit){.kind = VM_EXIT_TRAP, .vector = VECTOR_UD};
    s->left = true;
    return false;
}

/* Unicorn lets these pass at every privilege level. */
static bool is_io(struct vm *vm, gva_t address, uint32_t size)
{
    uint8_t opcode;
    const uint8_t *byte;

    do {
        if (!size-- || !(byte = vm_translate(vm, address++, 2)))
            return false;
        opcode = *byte;
    } while (opcode == 0x66 || opcode == 0x67 || opcode == 0xf2 || opcode == 0xf3 ||
             (opcode & 0xe7) == 0x26 || opcode == 0x64 || opcode == 0x65);
    return (opcode & 0xfc) == 0x6c || (opcode & 0xfc) == 0xe4 || (opcode & 0xfc) == 0xec;
}

static bool has_entry_selector(uc_engine *uc)
{
    uint32_t cs;

    uc_reg_read(uc, UC_X86_REG_CS, &cs);
    return (cs & 0xffff) == VM_SELECTOR_ENTRY;
}

static void on_instruction(uc_engine *uc, uint64_t address, uint32_t size, void *user)
{
    struct vm *vm = user;
    struct state *s = vm->processor_state;

    if (s->left)
        return;
    s->last = (gva_t)address;
    if (address == VM_LOW_ENTRY && has_entry_selector(uc)) {
        *s->exit = (struct vm_exit){.kind = VM_EXIT_OPERATION};
    } else if ((gva_t)address - vm->stop_from < vm->stop_to - vm->stop_from) {
        *s->exit = (struct vm_exit){.kind = VM_EXIT_STOP};
    } else if (vm->steps >= vm->step_limit) {
        *s->exit = (struct vm_exit){.kind = VM_EXIT_STEPS};
    } else {
        vm->steps++;
        if (!is_io(vm, (gva_t)address, size))
            return;
        *s->exit = (struct vm_exit){.kind = VM_EXIT_TRAP, .vector = VECTOR_GP};
    }
    s->left = true;
    uc_emu_stop(uc);
}

/* ---- life ---- */

static void set(struct state *s, int reg, uint32_t value)
{
    uint64_t v = value;

    uc_reg_write(s->uc, reg, &v);
}

static uint32_t get(struct state *s, int reg)
{
    uint64_t v = 0;

    uc_reg_read(s->uc, reg, &v);
    return (uint32_t)v;
}

/* Level 3 is entered once, by an iret that Unicorn executes; the state there is kept. */
static void open_engine(struct vm *vm, struct state *s)
{
    static uint8_t page[PV_PAGE_SIZE] __attribute__((aligned(PV_PAGE_SIZE)));
    uint32_t frame[5] = {RING3 + 1, VM_SELECTOR_CODE, EFLAGS_FIXED, 0, VM_SELECTOR_DATA};
    uc_x86_mmr gdtr = {.base = GDT_ADDRESS, .limit = GDT_SIZE - 1};
    uc_hook hook;

    check(uc_open(UC_ARCH_X86, UC_MODE_32, &s->uc), "open");
    check(uc_ctl_set_cpu_model(s->uc, UC_CPU_X86_HASWELL), "model");
    check(uc_mem_map_ptr(s->uc, GDT_ADDRESS, GDT_SIZE, UC_PROT_READ, vm->gdt), "GDT");
    check(uc_mem_map_ptr(s->uc, LDT_ADDRESS, LDT_SIZE, UC_PROT_READ, vm->ldt), "LDT");
    check(uc_mem_map_ptr(s->uc, RING3, PV_PAGE_SIZE, UC_PROT_ALL, page), "page");
    page[0] = 0xcf; /* iret */
    page[1] = 0x90;
    memcpy(page + 64, frame, sizeof frame);
    check(uc_reg_write(s->uc, UC_X86_REG_GDTR, &gdtr), "GDTR");
    vm->gdt[VM_GDT_ENTRIES - 1] = 0x00cf93000000ffffull; /* a stack of 32 bits at level 0 */
    set(s, UC_X86_REG_SS, (VM_GDT_ENTRIES - 1) * 8);
    vm->gdt[VM_GDT_ENTRIES - 1] = 0;
    set(s, UC_X86_REG_ESP, RING3 + 64);
    check(uc_emu_start(s->uc, RING3, RING3 + 1, 0, 0), "iret");
    check(uc_context_alloc(s->uc, &s->pristine), "context");
    check(uc_context_save(s->uc, s->pristine), "context");
    check(uc_mem_unmap(s->uc, RING3, PV_PAGE_SIZE), "page");
    check(uc_hook_add(s->uc, &hook, UC_HOOK_INTR, (void *)on_interrupt, vm, 1, 0), "hook");
    check(uc_hook_add(s->uc, &hook, UC_HOOK_INSN_INVALID, (void *)on_invalid, vm, 1, 0), "hook");
    check(uc_hook_add(s->uc, &hook, UC_HOOK_MEM_INVALID, (void *)on_memory, vm, 1, 0), "hook");
    check(uc_hook_add(s->uc, &hook, UC_HOOK_CODE, (void *)on_instruction, vm, 1, 0), "hook");
}

static struct state *state_of(struct vm *vm)
{
    if (!vm->processor_state) {
        vm->processor_state = calloc(1, sizeof(struct state));
        open_engine(vm, vm->processor_state);
    }
    return vm->processor_state;
}

/*
 * Unicorn keeps translations of code that was unmapped, and finds them again when something else is
 * mapped in its place. It has no call that takes them away in less time than a new engine takes.
 */
static void renew_engine(struct vm *vm, struct state *s)
{
    uc_context_free(s->pristine);
    uc_close(s->uc);
    s->mapped_count = 0;
    s->stale = false;
    open_engine(vm, s);
}

static const int gprs[8] = {UC_X86_REG_EAX, UC_X86_REG_ECX, UC_X86_REG_EDX, UC_X86_REG_EBX,
                            UC_X86_REG_ESP, UC_X86_REG_EBP, UC_X86_REG_ESI, UC_X86_REG_EDI};
static const int segments[6] = {UC_X86_REG_ES, UC_X86_REG_CS, UC_X86_REG_SS,
                                UC_X86_REG_DS, UC_X86_REG_FS, UC_X86_REG_GS};

/*
 * A segment register as it was loaded: the processor holds on to the descriptor that it read then,
 * so that one is shown to Unicorn for a moment.
 */
static void load_segment(struct vm *vm, struct state *s, unsigned sreg)
{
    uint64_t selector = vm->segment[sreg], *slot = NULL, now = 0;

    if (selector & ~3u)
        slot = (selector & 4 ? vm->ldt : vm->gdt) + selector / 8;
    if (slot) {
        now = *slot;
        *slot = vm->segment_descriptor[sreg];
    }
    if (uc_reg_write(s->uc, segments[sreg], &selector) != UC_ERR_OK)
        vm_violation(vm, "the processor refuses selector %#x in segment register %u",
                     (unsigned)selector, sreg);
    if (slot)
        *slot = now;
}

/* Guest code may have loaded it meanwhile. */
static void store_segment(struct vm *vm, struct state *s, unsigned sreg, uint32_t base)
{
    uint16_t selector = (uint16_t)get(s, segments[sreg]);
    uint64_t d = vm->segment_descriptor[sreg];
    uint32_t old = (uint32_t)(d >> 16 & 0xffffff) | (uint32_t)(d >> 32 & 0xff000000);

    if (selector == vm->segment[sreg] && base == old)
        return;
    vm->segment[sreg] = selector;
    vm->segment_descriptor[sreg] =
        selector & ~3u ? (selector & 4 ? vm->ldt : vm->gdt)[selector / 8] : 0;
}

static void load_code(struct vm *vm, struct state *s, int reg, uint16_t selector)
{
    uint64_t v = selector;

    if (uc_reg_write(s->uc, reg, &v) != UC_ERR_OK)
        vm_violation(vm, "the processor refuses selector %#x as code or stack", selector);
}

static bool is_mwait(struct vm *vm, gva_t address)
{
    static const uint8_t mwait[] = {0x0f, 0x01, 0xc9};

    for (unsigned i = 0; i < sizeof mwait; i++) {
        const uint8_t *byte = vm_translate(vm, address + i, 2);

        if (!byte || *byte != mwait[i])
            return false;
    }
    return true;
}

static void run(struct vm *vm, struct vm_exit *exit)
{
    struct state *s = state_of(vm);
    struct pv_cpu *cpu = &vm->vmm->cpu;
    uc_x86_mmr ldtr = {.base = LDT_ADDRESS, .limit = vm->ldt_entries * 8 - 1};
    uc_err error;

    if (s->stale)
        renew_engine(vm, s);
    if (s->user != (int)cpu->user || s->mapped_count > MAPPED_MAX / 2) {
        forget(s);
        s->user = (int)cpu->user;
    }
    check(uc_context_restore(s->uc, s->pristine), "restore");
    if (vm->ldt_entries) {
        ldtr.selector = 0xfff8;
        uc_reg_write(s->uc, UC_X86_REG_LDTR, &ldtr);
    }
    load_code(vm, s, UC_X86_REG_SS, cpu->user ? cpu->user_ss : VM_SELECTOR_DATA);
    load_code(vm, s, UC_X86_REG_CS, cpu->user ? cpu->user_cs : VM_SELECTOR_CODE);
    load_segment(vm, s, PV_DS);
    load_segment(vm, s, PV_ES);
    load_segment(vm, s, PV_FS);
    load_segment(vm, s, PV_GS);
    if (vm->violation[0])
        return;
    for (unsigned i = 0; i < 8; i++)
        set(s, gprs[i], (uint32_t)cpu->gpr[i]);
    set(s, UC_X86_REG_EFLAGS, (uint32_t)cpu->eflags | EFLAGS_IF | EFLAGS_FIXED);
    set(s, UC_X86_REG_CR0, CR0_PE | CR0_ET | CR0_NE | (vm->ts ? CR0_TS : 0));
    s->exit = exit;
    s->left = false;
    s->last = (gva_t)cpu->eip;
    /* the page that it begins with: Unicorn looks at it before any hook can */
    error = uc_emu_start(s->uc, (gva_t)cpu->eip, ~0ull, 0, 0);
    if (!s->left && error == UC_ERR_OK && !is_mwait(vm, s->last)) {
        vm_violation(vm, "Unicorn stopped at %#x", get(s, UC_X86_REG_EIP));
        return;
    }
    if (!s->left) { /* MWAIT, and what it does not know (SDM 2B MWAIT: #UD at level 3) */
        *exit = (struct vm_exit){.kind = VM_EXIT_TRAP, .vector = VECTOR_UD};
        set(s, UC_X86_REG_EIP, s->last);
    }
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = get(s, gprs[i]);
    cpu->eip = get(s, UC_X86_REG_EIP);
    cpu->eflags = get(s, UC_X86_REG_EFLAGS);
    if (exit->kind == VM_EXIT_OPERATION)
        cpu->eip = VM_LOW_ENTRY;
    store_segment(vm, s, PV_ES, 0);
    store_segment(vm, s, PV_DS, 0);
    store_segment(vm, s, PV_FS, get(s, UC_X86_REG_FS_BASE));
    store_segment(vm, s, PV_GS, get(s, UC_X86_REG_GS_BASE));
    if (cpu->user) {
        exit->cs = (uint16_t)get(s, UC_X86_REG_CS);
        exit->ss = (uint16_t)get(s, UC_X86_REG_SS);
    }
}

static void changed_all(struct vm *vm)
{
    struct state *s = vm->processor_state;

    if (!s)
        return;
    forget(s);
    s->stale = true;
}

static void changed(struct vm *vm, gva_t va)
{
    struct state *s = vm->processor_state;

    if (!s)
        return;
    for (unsigned i = 0; i < s->mapped_count; i++)
        if (s->mapped[i] == va) {
            check(uc_mem_unmap(s->uc, va, PV_PAGE_SIZE), "unmap");
            s->mapped[i] = s->mapped[--s->mapped_count];
            s->stale = true;
            return;
        }
}

static void close_engine(struct vm *vm)
{
    struct state *s = vm->processor_state;

    if (!s)
        return;
    uc_context_free(s->pristine);
    uc_close(s->uc);
    free(s);
    vm->processor_state = NULL;
}

const struct vm_processor vm_unicorn = {
    .run = run, .changed = changed, .changed_all = changed_all, .close = close_engine};
