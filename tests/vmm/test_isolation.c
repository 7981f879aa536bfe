/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest cannot do: kernel and user code that reads, writes or jumps to what is not theirs
 * gets the guest's own fault, with the frame that the architecture says; what leaves the guest
 * without a next instruction ends it, with its registers and the reason on the console.
 */
#include "guest.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned failures, checks;

static const char *const modes[GUEST_MODES] = {"unpaged", "2-level", "PAE"};

static void verdict(bool good, enum guest_mode mode, const char *name, struct vm *vm)
{
    checks++;
    if (good && !vm->violation[0])
        return;
    failures++;
    printf("FAILED %s, %s: eip %#x vector %d cr2 %#x%s%s\n", name, modes[mode],
           (uint32_t)vm->vmm->cpu.eip, guest_vector(vm), vm->vmm->cpu.cr2,
           vm->violation[0] ? ": " : "", vm->violation);
    if (vm->console_length)
        printf("%.600s\n", vm->console);
}

enum access { READ, WRITE, JUMP };
static const char *const accesses[] = {"reads", "writes", "jumps to"};

/* mov (address),%eax; mov %eax,(address); jmp address */
static void put_access(struct vm *vm, gpa_t gpa, gva_t va, enum access access, gva_t address)
{
    vm->ram[gpa] = access == READ ? 0xa1 : access == WRITE ? 0xa3 : 0xe9;
    vm_put32(vm, gpa + 1, access == JUMP ? address - (va + 5) : address);
    /* jmp GUEST_DONE, from the kernel; int $0x80 from user code */
    if (va >= GUEST_KERNEL || !(vm->vmm->cpu.cr0 & CR0_PG)) {
        vm->ram[gpa + 5] = 0xe9;
        vm_put32(vm, gpa + 6, guest_va(vm, GUEST_DONE) - (va + 10));
    } else {
        vm->ram[gpa + 5] = 0xcd;
        vm->ram[gpa + 6] = 0x80;
    }
}

struct expectation {
    bool none;      /* no fault */
    uint32_t error; /* of the page fault */
};

/* One access, and the page fault that it must be. */
static void one_access(struct vm *vm, enum guest_mode mode, bool user, enum access access,
                       gva_t address, struct expectation expected, const char *what)
{
    const gva_t code = user ? GUEST_USER_CODE : 0;
    struct pv_cpu *cpu = &vm->vmm->cpu;
    char name[96];
    uint32_t frame[6];
    gva_t va, esp;
    bool good;

    vm_reset(vm);
    guest_start(vm, mode);
    va = user ? code : guest_va(vm, GUEST_CODE);
    put_access(vm, user ? GUEST_USER : GUEST_CODE, va, access, address);
    if (user)
        guest_to_user(vm, code, EFLAGS_IF);
    vm->step_limit = 1000;
    esp = user ? guest_va(vm, GUEST_STACK_TOP) : (gva_t)cpu->gpr[PV_ESP];
    good = vm_run(vm) == VM_END_STOP;
    snprintf(name, sizeof name, "%s %s %s (%#x)", user ? "user code" : "the kernel",
             accesses[access], what, address);
    if (expected.none) {
        good &= user ? guest_vector(vm) == 0x80 : cpu->eip == guest_va(vm, GUEST_DONE);
        verdict(good, mode, name, vm);
        return;
    }
    good &= guest_vector(vm) == VECTOR_PF && cpu->cr2 == address && !cpu->user &&
            (uint32_t)cpu->gpr[PV_ESP] == esp - (user ? 24 : 16) &&
            !pv_read(vm->vmm, (gva_t)cpu->gpr[PV_ESP], frame, user ? 24 : 16, NULL);
    good &= frame[0] == expected.error && frame[1] == (access == JUMP ? address : va) &&
            frame[2] == (user ? GUEST_USER_CS : GUEST_CS);
    if (user)
        good &=
            frame[4] == GUEST_USER_STACK_TOP && frame[5] == GUEST_USER_DS && (frame[3] & EFLAGS_IF);
    verdict(good, mode, name, vm);
    guest_check(vm, mode != GUEST_UNPAGED);
    verdict(true, mode, name, vm);
}

static void accesses_to_memory(struct vm *vm, enum guest_mode mode)
{
    const struct expectation none = {.none = true};

    for (enum access access = READ; access <= JUMP; access++) {
        const uint32_t write = access == WRITE ? PFE_W : 0;
        /* with paging off there is always something, as it were */
        const uint32_t error = write | (mode == GUEST_UNPAGED ? PFE_P : 0);

        /* the VMM's region: unused, and what has no page; then the pages that the kernel may read
         */
        one_access(vm, mode, false, access, 0xfff00000u, (struct expectation){.error = error},
                   "the VMM's region");
        if (access == WRITE) {
            one_access(vm, mode, false, access, VM_LOW_STUBS, (struct expectation){.error = error},
                       "a stub");
            one_access(vm, mode, false, access, VM_LOW_ENTRY, (struct expectation){.error = error},
                       "the entry");
        }
        if (access == JUMP)
            one_access(vm, mode, false, access, VM_LOW_BASE, (struct expectation){.error = error},
                       "the vCPU page");
        if (mode == GUEST_UNPAGED)
            continue;
        for (unsigned i = 0; i < 4; i++) {
            static const gva_t at[] = {VM_LOW_BASE, VM_LOW_ENTRY, VM_LOW_STUBS, 0xfff00000u};

            one_access(vm, mode, true, access, at[i], (struct expectation){.error = write | PFE_U},
                       "the VMM's region");
        }
        /* the guest's own kernel */
        one_access(vm, mode, true, access, GUEST_KERNEL + GUEST_DATA,
                   (struct expectation){.error = write | PFE_U | PFE_P}, "the kernel half");
        one_access(vm, mode, true, access, GUEST_USER_KERNEL,
                   (struct expectation){.error = write | PFE_U | PFE_P},
                   "the kernel's page in the user half");
        one_access(vm, mode, true, access, 0x10000000, (struct expectation){.error = write | PFE_U},
                   "nothing");
        if (access == WRITE)
            one_access(vm, mode, true, access, GUEST_USER_READ,
                       (struct expectation){.error = write | PFE_U | PFE_P}, "a read-only page");
        else if (access == READ)
            one_access(vm, mode, true, access, GUEST_USER_READ, none, "a read-only page");
        if (access != JUMP) {
            one_access(vm, mode, true, access, GUEST_USER_DATA, none, "its own data");
            one_access(vm, mode, false, access, GUEST_KERNEL + GUEST_DATA, none, "its own data");
        }
    }
}

/* What privileged instructions of user code do: #GP(0) at the instruction. */
static void privileged_in_user_code(struct vm *vm, enum guest_mode mode)
{
    static const struct {
        const char *name;
        uint8_t bytes[8];
        uint8_t vector;
        uint32_t error;
    } cases[] = {
        {"cli", {0xfa}, VECTOR_GP, 0},
        {"sti", {0xfb}, VECTOR_GP, 0},
        {"hlt", {0xf4}, VECTOR_GP, 0},
        {"in", {0xe4, 0x20}, VECTOR_GP, 0},
        {"out", {0xee}, VECTOR_GP, 0},
        {"mov to CR3", {0x0f, 0x22, 0xd8}, VECTOR_GP, 0},
        {"mov from CR0", {0x0f, 0x20, 0xc0}, VECTOR_GP, 0},
        {"lgdt", {0x0f, 0x01, 0x15, 0, 0x10, 0, 0x08}, VECTOR_GP, 0},
        {"lidt", {0x0f, 0x01, 0x1d, 0, 0x10, 0, 0x08}, VECTOR_GP, 0},
        {"ltr", {0x0f, 0x00, 0xd8}, VECTOR_GP, 0},
        {"invlpg", {0x0f, 0x01, 0x3d, 0, 0x10, 0, 0x08}, VECTOR_GP, 0},
        {"wrmsr", {0x0f, 0x30}, VECTOR_GP, 0},
        {"mov to DR7", {0x0f, 0x23, 0xf8}, VECTOR_GP, 0},
        {"clts", {0x0f, 0x06}, VECTOR_GP, 0},
        {"int $0x20", {0xcd, 0x20}, VECTOR_GP, 0x20 * 8 + 2},
        {"int $14", {0xcd, 14}, VECTOR_GP, 14 * 8 + 2},
        {"int $8", {0xcd, 8}, VECTOR_GP, 8 * 8 + 2},
        /* (Unicorn tells no error code: it would be the selector.) */
        {"a far jump to the kernel's code", {0xea, 0, 0, 0, 0, GUEST_CS, 0}, VECTOR_GP, 0},
        {"ud2", {0x0f, 0x0b}, VECTOR_UD, 0},
    };
    struct pv_cpu *cpu = &vm->vmm->cpu;

    if (mode == GUEST_UNPAGED)
        return;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t frame[6] = {0}, at;
        bool good;

        vm_reset(vm);
        guest_start(vm, mode);
        vm_put(vm, GUEST_USER, cases[i].bytes, sizeof cases[i].bytes);
        guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
        cpu->gpr[PV_EAX] = GUEST_CS;
        vm->step_limit = 1000;
        good = vm_run(vm) == VM_END_STOP;
        at = cases[i].vector == VECTOR_GP;
        good &= guest_vector(vm) == cases[i].vector &&
                !pv_read(vm->vmm, (gva_t)cpu->gpr[PV_ESP], frame, sizeof frame, NULL) &&
                frame[at] == GUEST_USER_CODE && frame[at + 1] == GUEST_USER_CS &&
                (!at || frame[0] == cases[i].error);
        verdict(good, mode, cases[i].name, vm);
        if (!good)
            printf("    frame %#x %#x %#x\n", frame[0], frame[1], frame[2]);
    }
}

/* ---- guests that have no next instruction ---- */

typedef void (*breaker)(struct vm *vm, enum guest_mode mode);

/* In the kernel's code; returns the address behind. */
static gpa_t operation(struct vm *vm, gpa_t at, const void *bytes, size_t size)
{
    gva_t next = vm_site(vm, guest_va(vm, (uint32_t)at), at, bytes, size, 8, 0);

    if (!next) {
        fprintf(stderr, "no site\n");
        exit(99);
    }
    return next - guest_va(vm, 0);
}

static void pointer(struct vm *vm, uint32_t base, uint16_t limit)
{
    vm_put(vm, GUEST_DATA, &limit, sizeof limit);
    vm_put32(vm, GUEST_DATA + 2, base);
}

static gpa_t load_table(struct vm *vm, gpa_t at, bool idt, uint32_t base, uint16_t limit)
{
    uint8_t bytes[7] = {0x0f, 0x01, idt ? 0x1d : 0x15};
    gva_t operand = guest_va(vm, GUEST_DATA);

    pointer(vm, base, limit);
    memcpy(bytes + 3, &operand, sizeof operand);
    return operation(vm, at, bytes, sizeof bytes);
}

static const uint8_t ud2[2] = {0x0f, 0x0b};

static void idt_nowhere(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    vm_put(vm, load_table(vm, GUEST_CODE, true, 0x70000000, 0x7ff), ud2, sizeof ud2);
}

static void idt_too_short(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    vm_put(vm, load_table(vm, GUEST_CODE, true, guest_va(vm, GUEST_IDT), 15), ud2, sizeof ud2);
}

static void idt_garbage(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    memset(vm->ram + GUEST_IDT, 0xa5, 0x800);
    vm_put(vm, GUEST_CODE, ud2, sizeof ud2);
}

static void idt_is_the_vmm(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    vm_put(vm, load_table(vm, GUEST_CODE, true, VM_LOW_STUBS, 0x7ff), ud2, sizeof ud2);
}

static void gdt_nowhere(struct vm *vm, enum guest_mode mode)
{
    static const uint8_t load[] = {0xb8, GUEST_DS, 0, 0, 0, 0x8e, 0xe0}; /* mov %eax,%fs */

    (void)mode;
    vm_put(vm, load_table(vm, GUEST_CODE, false, 0x70000000, 0xffff), load, sizeof load);
    memset(vm->ram + GUEST_IDT, 0, 0x800);
}

static void gdt_without_code(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    memset(vm->ram + GUEST_GDT, 0, GUEST_GDT_LIMIT + 1);
    vm->vmm->gdt_mirror[GUEST_CS / 8] = 0;
    vm_put(vm, GUEST_CODE, ud2, sizeof ud2);
}

static void load_cr3(struct vm *vm, uint32_t value)
{
    static const uint8_t move[3] = {0x0f, 0x22, 0xd8};

    vm->vmm->cpu.gpr[PV_EAX] = value;
    vm_put(vm, operation(vm, GUEST_CODE, move, sizeof move), ud2, sizeof ud2);
}

static void cr3_outside(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    load_cr3(vm, 0xfffff000);
}

static void cr3_of_zeros(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    load_cr3(vm, GUEST_SPARE);
}

static void cr3_of_ones(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    memset(vm->ram + GUEST_SPARE, 0xff, PV_PAGE_SIZE);
    load_cr3(vm, GUEST_SPARE);
}

static void page_outside(struct vm *vm, enum guest_mode mode)
{
    put_access(vm, GUEST_CODE, guest_va(vm, GUEST_CODE), READ, GUEST_USER_CODE + 0x8000);
    guest_set_entry(vm, GUEST_USER_CODE + 0x8000,
                    (mode == GUEST_PAE ? 0xf00000000ull : 0xf0000000u) | 3);
}

static void page_just_outside(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    put_access(vm, GUEST_CODE, guest_va(vm, GUEST_CODE), READ, GUEST_USER_CODE + 0x8000);
    guest_set_entry(vm, GUEST_USER_CODE + 0x8000, GUEST_RAM | 3);
}

static void stack_nowhere(struct vm *vm, enum guest_mode mode)
{
    static const uint8_t code[] = {0xbc, 0, 0, 0, 0x70, 0x0f, 0x0b}; /* mov $..., %esp; ud2 */

    (void)mode;
    vm_put(vm, GUEST_CODE, code, sizeof code);
}

static void stack_in_the_vmm(struct vm *vm, enum guest_mode mode)
{
    static const uint8_t code[] = {0xbc, 0, 0x30, 0xc0, 0xff, 0x0f, 0x0b};

    (void)mode;
    vm_put(vm, GUEST_CODE, code, sizeof code);
}

static void user_stack_of_tss_nowhere(struct vm *vm, enum guest_mode mode)
{
    (void)mode;
    vm_put32(vm, GUEST_TSS + 4, 0x70000000);
    vm_put(vm, GUEST_USER, ud2, sizeof ud2);
    guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
}

static void halted(struct vm *vm, enum guest_mode mode)
{
    static const uint8_t hlt[1] = {0xf4};

    (void)mode;
    operation(vm, GUEST_CODE, hlt, sizeof hlt);
}

static void ends(struct vm *vm, enum guest_mode mode)
{
    static const struct {
        const char *name;
        breaker breaker;
        bool paged;
    } cases[] = {
        {"an IDT where nothing is", idt_nowhere, false},
        {"an IDT of two entries", idt_too_short, false},
        {"an IDT of garbage", idt_garbage, false},
        {"an IDT in the VMM", idt_is_the_vmm, false},
        {"a GDT where nothing is", gdt_nowhere, false},
        {"a GDT of zeros", gdt_without_code, false},
        {"a stack where nothing is", stack_nowhere, false},
        {"a stack in the VMM", stack_in_the_vmm, false},
        {"HLT with IF off", halted, false},
        {"CR3 outside of memory", cr3_outside, true},
        {"CR3 of an empty table", cr3_of_zeros, true},
        {"CR3 of a table full of ones", cr3_of_ones, true},
        {"a page outside of memory", page_outside, true},
        {"a page behind the end of memory", page_just_outside, true},
        {"a kernel stack in the TSS where nothing is", user_stack_of_tss_nowhere, true},
    };

    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        enum vm_end end;
        bool good;

        if (cases[i].paged && mode == GUEST_UNPAGED)
            continue;
        vm_reset(vm);
        guest_start(vm, mode);
        cases[i].breaker(vm, mode);
        vm->vmm->cpu.gpr[PV_EBX] = 0xb00b1e5;
        vm->step_limit = 1000;
        end = vm_run(vm);
        good = end == VM_END_POWER && vm->powered && vm->power_status == PV_POWER_ENDED &&
               strstr(vm->console, "previrt: the guest is ended: ") &&
               strstr(vm->console, "ebx 0b00b1e5") && strstr(vm->console, "previrt: eip ") &&
               strstr(vm->console, " cr3 ");
        verdict(good, mode, cases[i].name, vm);
        guest_check(vm, false);
        verdict(true, mode, cases[i].name, vm);
    }
}

/* ---- tables that point at themselves ---- */

static void tables_at_themselves(struct vm *vm, enum guest_mode mode)
{
    const bool pae = mode == GUEST_PAE;
    const gva_t window = 0x40000000; /* through which the kernel sees its tables */
    const uint32_t size = pae ? 8 : 4, last = GUEST_USER_DATA / PV_PAGE_SIZE * size;
    struct pv_cpu *cpu = &vm->vmm->cpu;
    bool good;

    if (mode == GUEST_UNPAGED)
        return;
    vm_reset(vm);
    guest_start(vm, mode);
    if (pae)
        for (unsigned i = 0; i < 4; i++)
            vm_put64(vm, GUEST_DIRECTORY + ((window >> 21) + i) * 8,
                     (GUEST_DIRECTORY + i * PV_PAGE_SIZE) | 3);
    else
        vm_put32(vm, GUEST_DIRECTORY + (window >> 22) * 4, GUEST_DIRECTORY | 3);
    /* the entry of a user page becomes the frame of the kernel's data, and user code sees it */
    put_access(vm, GUEST_CODE, guest_va(vm, GUEST_CODE), WRITE, window + last);
    cpu->gpr[PV_EAX] = GUEST_DATA | 7;
    vm_put32(vm, GUEST_DATA, 0x5eed);
    vm->step_limit = 1000;
    good = vm_run(vm) == VM_END_STOP && cpu->eip == guest_va(vm, GUEST_DONE) &&
           vm_get32(vm, guest_entry(vm, GUEST_USER_DATA)) == (GUEST_DATA | 7);
    verdict(good, mode, "a table entry written through a table at itself", vm);
    pv_shadow_invlpg(vm->vmm, GUEST_USER_DATA);
    put_access(vm, GUEST_USER, GUEST_USER_CODE, READ, GUEST_USER_DATA);
    guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
    good = vm_run(vm) == VM_END_STOP && guest_vector(vm) == 0x80 && cpu->gpr[PV_EAX] == 0x5eed;
    verdict(good, mode, "the page that it maps", vm);
    guest_check(vm, true);
    verdict(true, mode, "a table at itself", vm);
}

/* ---- mappings that are taken away ---- */

/* What was mapped and has become something that cannot be: the old page must go. */
static void moved_outside(struct vm *vm, enum guest_mode mode)
{
    const uint64_t entries[] = {0, 0xf0000067u, GUEST_RAM | 0x67};
    struct pv_cpu *cpu = &vm->vmm->cpu;

    if (mode == GUEST_UNPAGED)
        return;
    for (unsigned flush = 0; flush < 2; flush++)
        for (unsigned i = 0; i < sizeof entries / sizeof *entries; i++) {
            vm_reset(vm);
            guest_start(vm, mode);
            put_access(vm, GUEST_USER, GUEST_USER_CODE, READ, GUEST_USER_DATA);
            guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
            vm->step_limit = 1000;
            verdict(vm_run(vm) == VM_END_STOP && guest_vector(vm) == 0x80, mode, "a page", vm);
            guest_set_entry(vm, GUEST_USER_DATA, entries[i]);
            if (flush)
                pv_shadow_cr3(vm->vmm, cpu->cr3);
            else
                pv_shadow_invlpg(vm->vmm, GUEST_USER_DATA);
            guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
            cpu->gpr[PV_EAX] = 0x0ddba11;
            vm_run(vm);
            verdict(i == 0 ? guest_vector(vm) == VECTOR_PF : vm->powered, mode,
                    "a page that was moved away", vm);
        }
}

/* ---- large pages ---- */

/* User code reads through a large page: with PAT set it is the same page; each bit between that and
 * the address is reserved. */
static void large_pages(struct vm *vm, enum guest_mode mode)
{
    enum { FLAGS = 0xe7, FIRST = 12, PATTERN = 0x5eed };
    const gva_t page = 0x40000000, at = page + GUEST_DATA;
    const unsigned end =
        mode == GUEST_PAE ? 21 : 22; /* bits 0 to 20 are not the address, 0 to 21 */

    if (mode == GUEST_UNPAGED)
        return;
    for (unsigned bit = FIRST - 1; bit < end; bit++) {
        const uint32_t entry = FLAGS | (bit < FIRST ? 0 : 1u << bit);
        uint32_t error = 0;
        char name[64];
        bool good;

        vm_reset(vm);
        guest_start(vm, mode);
        pv_write_cr(vm->vmm, 4, vm->vmm->cpu.cr4 | CR4_PSE);
        if (mode == GUEST_PAE)
            vm_put64(vm, GUEST_DIRECTORY + (page >> 30) * PV_PAGE_SIZE, entry);
        else
            vm_put32(vm, GUEST_DIRECTORY + (page >> 22) * 4, entry);
        vm_put32(vm, GUEST_DATA, PATTERN);
        put_access(vm, GUEST_USER, GUEST_USER_CODE, READ, at);
        guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
        vm->step_limit = 1000;
        good = vm_run(vm) == VM_END_STOP;
        if (bit <= FIRST)
            good &= guest_vector(vm) == 0x80 && vm->vmm->cpu.gpr[PV_EAX] == PATTERN;
        else
            good &=
                guest_vector(vm) == VECTOR_PF && vm->vmm->cpu.cr2 == at &&
                !pv_read(vm->vmm, (gva_t)vm->vmm->cpu.gpr[PV_ESP], &error, sizeof error, NULL) &&
                error == (PFE_P | PFE_U | PFE_RSVD);
        snprintf(name, sizeof name, "a large page, entry %#x", entry);
        verdict(good, mode, name, vm);
        guest_check(vm, true);
        verdict(true, mode, name, vm);
    }
}

int main(void)
{
    struct vm *vm = vm_new(GUEST_RAM, &vm_unicorn);

    for (enum guest_mode mode = GUEST_UNPAGED; mode < GUEST_MODES; mode++) {
        accesses_to_memory(vm, mode);
        privileged_in_user_code(vm, mode);
        ends(vm, mode);
        tables_at_themselves(vm, mode);
        moved_outside(vm, mode);
        large_pages(vm, mode);
    }
    vm_free(vm);
    printf("%u checks, %u failures\n", checks, failures);
    return failures ? 1 : 0;
}
