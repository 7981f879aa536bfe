/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Task switches, SDM 3A 7.3: what a kernel like Linux needs them for is the double fault, which it
 * takes through a task gate because its stack may be the cause.
 */
#include "vmm.h"

/* The 32-bit task state segment, SDM 3A 7.2.1 */
struct tss {
    uint32_t link;
    uint32_t stacks[6];
    uint32_t cr3, eip, eflags;
    uint32_t gpr[8];
    uint32_t segment[6];
    uint32_t ldt, trap;
};
_Static_assert(offsetof(struct tss, eip) == 32 && sizeof(struct tss) == 104, "");

#define TYPE_TSS 0x09u
#define TYPE_LDT 0x02u
#define BUSY     2u
#define TYPE(d)  ((unsigned)((d) >> 40 & 0x1f))
#define PRESENT  (1ull << 47)
#define BASE(d)  ((uint32_t)(((d) >> 16 & 0xffffff) | ((d) >> 32 & 0xff000000)))
#define LIMIT(d) ((uint32_t)(((d)&0xffff) | ((d) >> 32 & 0xf0000)))

static int failed(struct pv_fault *fault, unsigned vector, uint32_t error)
{
    *fault = (struct pv_fault){vector, error};
    return -1;
}

static int page_fault(struct pv_vmm *vmm, struct pv_fault *fault, gva_t at, int code)
{
    vmm->cpu.cr2 = at;
    vmm->page->cr[2] = at;
    return failed(fault, VECTOR_PF, (uint32_t)code & ~0x100u);
}

static int set_busy(struct pv_vmm *vmm, uint16_t selector, int busy)
{
    uint64_t d;

    if (pv_descriptor(vmm, selector, &d))
        return -1;
    d = busy ? d | (uint64_t)BUSY << 40 : d & ~((uint64_t)BUSY << 40);
    return pv_write(vmm, vmm->cpu.gdt_base + (selector & ~7u), &d, 8, NULL);
}

/* The fields that a switch writes: from EIP to GS. */
static void store_state(struct pv_vmm *vmm, struct tss *t, int clear_nt)
{
    struct pv_cpu *cpu = &vmm->cpu;

    t->eip = cpu->eip;
    t->eflags = pv_eflags_image(vmm) | (cpu->eflags & (EFLAGS_RF | EFLAGS_NT));
    if (clear_nt)
        t->eflags &= ~EFLAGS_NT;
    for (unsigned i = 0; i < 8; i++)
        t->gpr[i] = cpu->gpr[i];
    for (unsigned i = 0; i < 6; i++)
        t->segment[i] = vmm->backend.segment_read(vmm->backend.context, i);
    t->segment[PV_CS] = cpu->user ? cpu->user_cs : cpu->kernel_cs;
    t->segment[PV_SS] = cpu->user ? cpu->user_ss : cpu->kernel_ss;
}

static void load_state(struct pv_vmm *vmm, const struct tss *t)
{
    struct pv_cpu *cpu = &vmm->cpu;

    cpu->eip = t->eip;
    cpu->eflags = (t->eflags & (EFLAGS_USER & ~EFLAGS_IF)) | (t->eflags & EFLAGS_NT) |
                  EFLAGS_FIXED | EFLAGS_IF;
    cpu->iopl = t->eflags >> 12 & 3;
    pv_set_if(vmm->page, (t->eflags & EFLAGS_IF) != 0);
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = t->gpr[i];
    cpu->user = (t->segment[PV_CS] & 3) == 3;
    if (cpu->user) {
        cpu->user_cs = t->segment[PV_CS] & 0xffff;
        cpu->user_ss = t->segment[PV_SS] & 0xffff;
    } else {
        cpu->kernel_cs = t->segment[PV_CS] & 0xffff;
        cpu->kernel_ss = t->segment[PV_SS] & 0xffff;
        vmm->page->segment[PV_CS] = cpu->kernel_cs;
        vmm->page->segment[PV_SS] = cpu->kernel_ss;
    }
    pv_sync_descriptors(vmm);
    for (unsigned i = PV_ES; i <= PV_GS; i++)
        if (i != PV_CS && i != PV_SS) {
            uint64_t d;
            uint16_t s = (uint16_t)t->segment[i];

            /* One that cannot be loaded is the new task's #TS; here it is null, and the new task's
             * #GP when it is used. */
            if ((s & ~3u) && (pv_descriptor(vmm, s, &d) || !(d & PRESENT) || !(TYPE(d) & 0x10) ||
                              (TYPE(d) & 0x1a) == 0x18))
                s = 0;
            vmm->backend.segment_load(vmm->backend.context, i, s);
        }
}

int pv_task_switch(struct pv_vmm *vmm, uint16_t selector, enum pv_task how, const uint32_t *error,
                   struct pv_fault *fault)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t name = selector & ~3u;
    struct tss old, new;
    uint64_t d, ldt;
    gva_t at;
    int code;

    if ((selector & 4) || !name || pv_descriptor(vmm, selector, &d) ||
        TYPE(d) != (how == PV_TASK_RETURN ? TYPE_TSS | BUSY : TYPE_TSS))
        return failed(fault, how == PV_TASK_RETURN ? VECTOR_TS : VECTOR_GP, name);
    if (!(d & PRESENT))
        return failed(fault, VECTOR_NP, name);
    if (LIMIT(d) < sizeof new - 1)
        return failed(fault, VECTOR_TS, name);
    code = pv_read(vmm, BASE(d), &new, sizeof new, &at);
    if (!code)
        code = pv_read(vmm, cpu->tss_base, &old, sizeof old, &at);
    if (code)
        return page_fault(vmm, fault, at, code);
    ldt = 0;
    if (new.ldt & ~3u & 0xffff)
        if ((new.ldt & 4) || pv_descriptor(vmm, (uint16_t) new.ldt, &ldt) ||
            TYPE(ldt) != TYPE_LDT || !(ldt & PRESENT))
            return failed(fault, VECTOR_TS, new.ldt & 0xfffc);
    store_state(vmm, &old, how == PV_TASK_RETURN);
    code = pv_write(vmm, cpu->tss_base + offsetof(struct tss, eip), &old.eip,
                    offsetof(struct tss, ldt) - offsetof(struct tss, eip), &at);
    if (code)
        return page_fault(vmm, fault, at, code);
    if (how == PV_TASK_CALL) {
        uint32_t link = cpu->tr;

        code = pv_write(vmm, BASE(d), &link, sizeof link, &at);
        if (code)
            return page_fault(vmm, fault, at, code);
        new.eflags |= EFLAGS_NT;
    } else {
        set_busy(vmm, cpu->tr, 0);
    }
    /* From here on, what fails is the new task's. */
    if (how != PV_TASK_RETURN)
        set_busy(vmm, selector, 1);
    cpu->tr = selector;
    vmm->page->tr = selector;
    cpu->tss_base = BASE(d);
    cpu->tss_limit = LIMIT(d);
    vmm->tables_changed = 1;
    pv_write_cr(vmm, 0, cpu->cr0 | CR0_TS);
    if (cpu->cr0 & CR0_PG && new.cr3 != cpu->cr3)
        pv_write_cr(vmm, 3, new.cr3);
    cpu->ldt = new.ldt & 0xffff;
    vmm->page->ldtr = cpu->ldt;
    cpu->ldt_base = BASE(ldt);
    cpu->ldt_limit = LIMIT(ldt);
    pv_sync_ldt(vmm);
    load_state(vmm, &new);
    if (error) {
        uint32_t esp = (uint32_t)cpu->gpr[PV_ESP] - 4;

        code = pv_write(vmm, esp, error, 4, &at);
        if (code)
            return page_fault(vmm, fault, at, code);
        cpu->gpr[PV_ESP] = esp;
    }
    if (!cpu->user && !pv_shadow_has_stack(vmm))
        pv_die(vmm, "task %#x has no stack at %#x", selector, (uint32_t)cpu->gpr[PV_ESP]);
    return 0;
}
