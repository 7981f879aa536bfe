/* SPDX-License-Identifier: BSD-2-Clause */
#include "guest.h"

#include <string.h>

#define P  1u
#define RW 2u
#define US 4u

#define USER_PAGES 32u

static void descriptor(struct vm *vm, unsigned selector, uint64_t d)
{
    vm_put64(vm, GUEST_GDT + (selector & ~7u), d);
}

gva_t guest_va(struct vm *vm, uint32_t gpa)
{
    return vm->vmm->cpu.cr0 & CR0_PG ? gpa + GUEST_KERNEL : gpa;
}

gpa_t guest_entry(struct vm *vm, gva_t va)
{
    gpa_t table = GUEST_TABLES + (va >= GUEST_KERNEL ? PV_PAGE_SIZE : 0);

    if (vm->vmm->cpu.cr4 & CR4_PAE)
        return table + (va >> 12 & 511) * 8;
    return table + (va >> 12 & 1023) * 4;
}

void guest_set_entry(struct vm *vm, gva_t va, uint64_t entry)
{
    if (vm->vmm->cpu.cr4 & CR4_PAE)
        vm_put64(vm, guest_entry(vm, va), entry);
    else
        vm_put32(vm, guest_entry(vm, va), (uint32_t)entry);
}

static void build_tables(struct vm *vm, bool pae)
{
    static const uint8_t rights[USER_PAGES] = {US, US | RW, US | RW, US, RW};

    for (unsigned i = 0; pae && i < 4; i++)
        vm_put64(vm, GUEST_POINTERS + i * 8, (GUEST_DIRECTORY + i * PV_PAGE_SIZE) | P);
    if (pae) {
        vm_put64(vm, GUEST_DIRECTORY + (GUEST_USER_CODE >> 21) * 8, GUEST_TABLES | P | RW | US);
        vm_put64(vm, GUEST_DIRECTORY + (GUEST_KERNEL >> 21) * 8,
                 (GUEST_TABLES + PV_PAGE_SIZE) | P | RW | US);
    } else {
        vm_put32(vm, GUEST_DIRECTORY + (GUEST_USER_CODE >> 22) * 4, GUEST_TABLES | P | RW | US);
        vm_put32(vm, GUEST_DIRECTORY + (GUEST_KERNEL >> 22) * 4,
                 (GUEST_TABLES + PV_PAGE_SIZE) | P | RW | US);
    }
    for (unsigned i = 0; i < GUEST_RAM / PV_PAGE_SIZE && i < 512; i++)
        guest_set_entry(vm, GUEST_KERNEL + i * PV_PAGE_SIZE, i * PV_PAGE_SIZE | P | RW);
    for (unsigned i = 0; i < USER_PAGES; i++)
        if (rights[i])
            guest_set_entry(vm, GUEST_USER_CODE + i * PV_PAGE_SIZE,
                            (GUEST_USER + i * PV_PAGE_SIZE) | P | rights[i]);
}

void guest_start(struct vm *vm, enum guest_mode mode)
{
    struct pv_vmm *vmm = vm->vmm;
    struct pv_cpu *cpu = &vmm->cpu;
    uint64_t tss;

    memset(vm->ram, 0, PV_PAGE_SIZE * 2); /* what vm_new() has put there */
    if (mode != GUEST_UNPAGED) {
        cpu->cr4 = mode == GUEST_PAE ? CR4_PAE : 0;
        vmm->page->cr[4] = cpu->cr4;
        build_tables(vm, mode == GUEST_PAE);
        cpu->cr3 = mode == GUEST_PAE ? GUEST_POINTERS : GUEST_DIRECTORY;
        vmm->page->cr[3] = cpu->cr3;
        pv_write_cr(vmm, 0, CR0_PE | CR0_PG | CR0_WP | CR0_NE);
    }
    tss = guest_va(vm, GUEST_TSS);
    descriptor(vm, GUEST_CS, 0x00cf9b000000ffffull);
    descriptor(vm, GUEST_DS, 0x00cf93000000ffffull);
    descriptor(vm, GUEST_USER_CS, 0x00cffb000000ffffull);
    descriptor(vm, GUEST_USER_DS, 0x00cff3000000ffffull);
    descriptor(vm, GUEST_TR,
               0x00008b0000000067ull | (tss & 0xffffff) << 16 | (tss & 0xff000000) << 32);
    vm_put32(vm, GUEST_TSS + 4, guest_va(vm, GUEST_STACK_TOP));
    vm_put32(vm, GUEST_TSS + 8, GUEST_DS);
    for (unsigned v = 0; v < 256; v++) {
        gva_t handler = guest_va(vm, GUEST_HANDLERS + v * 16);
        unsigned dpl = v == VECTOR_BP || v == VECTOR_OF || v == 0x80 ? 3 : 0;

        vm_put32(vm, GUEST_IDT + v * 8, GUEST_CS << 16 | (handler & 0xffff));
        vm_put32(vm, GUEST_IDT + v * 8 + 4, (handler & 0xffff0000) | 0x8e00 | dpl << 13);
    }
    cpu->gdt_base = guest_va(vm, GUEST_GDT);
    cpu->gdt_limit = GUEST_GDT_LIMIT;
    cpu->idt_base = guest_va(vm, GUEST_IDT);
    cpu->idt_limit = GUEST_IDT_LIMIT;
    cpu->tr = GUEST_TR;
    cpu->tss_base = (uint32_t)tss;
    cpu->tss_limit = 0x67;
    cpu->kernel_cs = GUEST_CS;
    cpu->kernel_ss = GUEST_DS;
    vmm->page->segment[PV_CS] = GUEST_CS;
    vmm->page->segment[PV_SS] = GUEST_DS;
    vmm->page->tr = GUEST_TR;
    pv_sync_descriptors(vmm);
    vmm->backend.segment_load(vm, PV_DS, GUEST_USER_DS);
    vmm->backend.segment_load(vm, PV_ES, GUEST_USER_DS);
    pv_set_if(vmm->page, 0);
    cpu->eflags = EFLAGS_FIXED | EFLAGS_IF;
    cpu->eip = guest_va(vm, GUEST_CODE);
    cpu->gpr[PV_ESP] = guest_va(vm, GUEST_STACK_TOP);
    vm->stop_from = guest_va(vm, GUEST_HANDLERS);
    vm->stop_to = guest_va(vm, GUEST_DONE) + 16;
}

int guest_vector(struct vm *vm)
{
    gva_t at = (gva_t)vm->vmm->cpu.eip - guest_va(vm, GUEST_HANDLERS);

    return at < 256 * 16 && at % 16 == 0 ? (int)(at / 16) : -1;
}

void guest_to_user(struct vm *vm, gva_t eip, uint32_t flags)
{
    struct pv_cpu *cpu = &vm->vmm->cpu;

    cpu->user = 1;
    cpu->user_cs = GUEST_USER_CS;
    cpu->user_ss = GUEST_USER_DS;
    cpu->eip = eip;
    cpu->gpr[PV_ESP] = GUEST_USER_STACK_TOP;
    cpu->eflags = EFLAGS_FIXED | EFLAGS_IF | (flags & ~EFLAGS_IF);
    pv_set_if(vm->vmm->page, (flags & EFLAGS_IF) != 0);
    vm->vmm->booted = 1;
}

static void check_entry(struct vm *vm, gva_t va, uint64_t entry, bool exact)
{
    struct pv_vmm *vmm = vm->vmm;
    gpa_t gpa = entry & ~(uint64_t)PV_PAGE_MASK;
    struct pv_walk walk;
    uint64_t writes;

    if (!(entry & VM_ENTRY_PRESENT))
        return;
    if (gpa >= PV_GPA_LOW) {
        if (entry & (VM_ENTRY_USER | VM_ENTRY_USER_WRITE))
            vm_violation(vm, "user code has the VMM's page %#llx at %#x", (unsigned long long)gpa,
                         va);
        return;
    }
    if (gpa >= vmm->ram_size || vmm->ram_size - gpa < PV_PAGE_SIZE || va >= VM_LOW_BASE) {
        vm_violation(vm, "%#x is mapped to %#llx", va, (unsigned long long)gpa);
        return;
    }
    if (!exact)
        return;
    if (pv_walk(vmm, va, &walk)) {
        vm_violation(vm, "%#x is mapped, and the guest's tables have nothing there", va);
        return;
    }
    writes = vmm->cpu.cr0 & CR0_WP ? VM_ENTRY_WRITE | VM_ENTRY_USER_WRITE : VM_ENTRY_USER_WRITE;
    if ((walk.gpa & ~(gpa_t)PV_PAGE_MASK) != gpa || ((entry & writes) && !(walk.flags & PTE_RW)) ||
        ((entry & (VM_ENTRY_USER | VM_ENTRY_USER_WRITE)) && !(walk.flags & PTE_US)) ||
        ((entry & VM_ENTRY_EXEC) && (walk.flags & PTE_NX)))
        vm_violation(vm, "%#x is mapped as %#llx, the guest's tables say %#llx, %#llx", va,
                     (unsigned long long)entry, (unsigned long long)walk.gpa,
                     (unsigned long long)walk.flags);
}

static void check_table(struct vm *vm, gva_t va, const uint64_t *table, bool exact)
{
    for (unsigned i = 0; table && i < 512; i++)
        if (table[i])
            check_entry(vm, va + i * PV_PAGE_SIZE, table[i], exact);
}

void guest_check(struct vm *vm, bool exact)
{
    if (exact) {
        pv_shadow_cr3(vm->vmm, vm->vmm->cpu.cr3);
        pv_shadow_flush_all(vm->vmm);
        if (vm->vmm->dead)
            return;
    }
    for (unsigned s = 0; s < PV_SPACES; s++)
        for (unsigned r = 0; vm->space[s].used && r < PV_REGIONS; r++)
            check_table(vm, r * PV_NODE_SPAN, vm->space[s].l1[r], exact && s == vm->vmm->current);
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++)
        check_table(vm, PV_KERNEL_BASE + r * PV_NODE_SPAN, vm->kernel_l1[r], exact);
}
