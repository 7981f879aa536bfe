/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each sensitive operation does to the virtual CPU. Reached from a rewritten site's stub, or
 * from a trap for an operation that was never annotated; both come with the decoded instruction. On
 * entry eip is the site's address; an operation that faults leaves everything as it was and injects
 * the exception there (SDM 3A 6.6, restartable faults).
 */
#include "vmm.h"

#define SELECTOR_RPL          3u
#define DESCRIPTOR_TYPE(d)    ((unsigned)((d) >> 40 & 0x1f))
#define DESCRIPTOR_PRESENT(d) ((d) >> 47 & 1)
#define TYPE_CODE             0x18u
#define TYPE_DATA_WRITABLE    0x12u
#define TYPE_CONFORMING       0x1cu /* code that keeps its caller's privilege level */
#define DESCRIPTOR_DPL(d)     ((unsigned)((d) >> 45 & 3))
#define DESCRIPTOR_BASE(d)    ((uint32_t)(((d) >> 16 & 0xffffff) | ((d) >> 32 & 0xff000000)))
#define TYPE_TSS_AVAILABLE    9u

enum outcome { NEXT, JUMPED, FAULTED };

static enum outcome fault(struct pv_vmm *vmm, unsigned vector, uint32_t error)
{
    pv_inject(vmm, vector, vector != VECTOR_UD && vector != VECTOR_NM, error, 0);
    return FAULTED;
}

static enum outcome page_fault(struct pv_vmm *vmm, gva_t va, uint32_t error)
{
    vmm->cpu.cr2 = va;
    vmm->page->cr[2] = va;
    return fault(vmm, VECTOR_PF, error & ~0x100u);
}

/* Guest loads and stores for an operation; on a fault *o is set. */
static int load(struct pv_vmm *vmm, gva_t va, void *out, size_t size, enum outcome *o)
{
    gva_t at;
    int error = pv_read(vmm, va, out, size, &at);

    if (error)
        *o = page_fault(vmm, at, error);
    return error;
}

static int store(struct pv_vmm *vmm, gva_t va, const void *in, size_t size, enum outcome *o)
{
    gva_t at;
    int error = pv_write(vmm, va, in, size, &at);

    if (error)
        *o = page_fault(vmm, at, error);
    return error;
}

static uint32_t segment_base(struct pv_vmm *vmm, unsigned sreg)
{
    uint64_t d;
    uint16_t selector;

    if (sreg != PV_FS && sreg != PV_GS)
        return 0; /* flat: what a 32-bit kernel's CS, DS, ES and SS are */
    selector = vmm->backend.segment_read(vmm->backend.context, sreg);
    if (!(selector & ~SELECTOR_RPL) || pv_descriptor(vmm, selector, &d))
        return 0;
    return (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
}

static gva_t effective_address(struct pv_vmm *vmm, const struct previrt_ia32_insn *i)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t a = i->displacement;

    if (i->address16) {
        static const struct {
            uint8_t base, index;
        } pair[8] = {{PV_EBX, PV_ESI}, {PV_EBX, PV_EDI}, {PV_EBP, PV_ESI}, {PV_EBP, PV_EDI},
                     {PV_ESI, 8},      {PV_EDI, 8},      {PV_EBP, 8},      {PV_EBX, 8}};
        unsigned rm = i->modrm & 7;

        if (!(rm == 6 && i->modrm >> 6 == 0)) {
            a += cpu->gpr[pair[rm].base];
            if (pair[rm].index < 8)
                a += cpu->gpr[pair[rm].index];
        }
        a &= 0xffff;
    } else {
        if (i->base != 0xff)
            a += cpu->gpr[i->base];
        if (i->index != 0xff)
            a += cpu->gpr[i->index] * i->scale;
    }
    if (i->segment != 0xff)
        a += segment_base(vmm, i->segment);
    return a;
}

static void set_gpr(struct pv_vmm *vmm, unsigned reg, unsigned width, uint32_t value)
{
    uint64_t *r = &vmm->cpu.gpr[reg];

    if (width == 8)
        *r = (*r & 0xffffff00) | (value & 0xff);
    else if (width == 16)
        *r = (*r & 0xffff0000) | (value & 0xffff);
    else
        *r = value;
}

static int push(struct pv_vmm *vmm, uint32_t value, unsigned width, enum outcome *o)
{
    uint32_t esp = (uint32_t)vmm->cpu.gpr[PV_ESP] - width / 8;

    if (store(vmm, esp, &value, width / 8, o))
        return -1;
    vmm->cpu.gpr[PV_ESP] = esp;
    return 0;
}

/* A register or memory operand of (width) bits. */
static int put_rm(struct pv_vmm *vmm, const struct previrt_ia32_insn *i, unsigned reg,
                  unsigned width, uint32_t value, enum outcome *o)
{
    if (!i->is_memory) {
        set_gpr(vmm, reg, width, value);
        return 0;
    }
    return store(vmm, effective_address(vmm, i), &value, 2, o);
}

static int get_rm16(struct pv_vmm *vmm, const struct previrt_ia32_insn *i, uint16_t *value,
                    enum outcome *o)
{
    if (!i->is_memory) {
        *value = vmm->cpu.gpr[i->reg];
        return 0;
    }
    return load(vmm, effective_address(vmm, i), value, 2, o);
}

static void set_flags(struct pv_vmm *vmm, uint32_t image)
{
    vmm->cpu.eflags = (image & (EFLAGS_USER & ~EFLAGS_IF)) | EFLAGS_FIXED | EFLAGS_IF;
    vmm->cpu.iopl = image >> 12 & 3;
    pv_set_if(vmm->page, (image & EFLAGS_IF) != 0);
}

/* What IRET loads: RF too, so that a breakpoint is not met again (SDM 3B 17.3.1.1). */
static void return_flags(struct pv_vmm *vmm, uint32_t image)
{
    set_flags(vmm, image);
    vmm->cpu.eflags |= image & (EFLAGS_RF | EFLAGS_NT);
}

/* ---- segments ---- */

/*
 * A stack segment with a base (Linux has one, for the way back to user code on a 16-bit stack) is
 * folded into ESP: the real SS is flat in the kernel, so the virtual one stays what it was.
 */
static enum outcome load_stack_segment(struct pv_vmm *vmm, uint16_t selector, uint32_t *base)
{
    uint64_t d;

    *base = 0;
    if (!(selector & ~SELECTOR_RPL))
        return fault(vmm, VECTOR_GP, 0);
    if ((selector & SELECTOR_RPL) || pv_descriptor(vmm, selector, &d) ||
        (DESCRIPTOR_TYPE(d) & 0x1a) != TYPE_DATA_WRITABLE || DESCRIPTOR_DPL(d))
        return fault(vmm, VECTOR_GP, selector & 0xfffc);
    if (!DESCRIPTOR_PRESENT(d))
        return fault(vmm, VECTOR_SS, selector & 0xfffc);
    *base = DESCRIPTOR_BASE(d);
    if (!*base) {
        vmm->cpu.kernel_ss = selector;
        vmm->page->segment[PV_SS] = selector;
    }
    return NEXT;
}

static enum outcome load_segment(struct pv_vmm *vmm, unsigned sreg, uint16_t selector)
{
    uint64_t d;

    if (sreg == PV_CS)
        return fault(vmm, VECTOR_UD, 0);
    if (sreg == PV_SS) {
        uint32_t base;
        enum outcome o = load_stack_segment(vmm, selector, &base);

        if (o == NEXT) {
            vmm->cpu.gpr[PV_ESP] = (uint32_t)(vmm->cpu.gpr[PV_ESP] + base);
            vmm->cpu.shadow = 1;
        }
        return o;
    }
    if (selector & ~SELECTOR_RPL) {
        if (pv_descriptor(vmm, selector, &d) || !(DESCRIPTOR_TYPE(d) & 0x10) ||
            (DESCRIPTOR_TYPE(d) & 0x1a) == TYPE_CODE ||
            ((DESCRIPTOR_TYPE(d) & TYPE_CONFORMING) != TYPE_CONFORMING &&
             (selector & SELECTOR_RPL) > DESCRIPTOR_DPL(d)))
            return fault(vmm, VECTOR_GP, selector & 0xfffc);
        if (!DESCRIPTOR_PRESENT(d))
            return fault(vmm, VECTOR_NP, selector & 0xfffc);
        pv_sync_descriptors(vmm);
    }
    vmm->backend.segment_load(vmm->backend.context, sreg, selector);
    return NEXT;
}

static uint16_t read_segment(struct pv_vmm *vmm, unsigned sreg)
{
    if (sreg == PV_CS)
        return vmm->cpu.kernel_cs;
    if (sreg == PV_SS)
        return vmm->cpu.kernel_ss;
    return vmm->backend.segment_read(vmm->backend.context, sreg);
}

/* ---- far transfers ---- */

/*
 * What a far jump or call to (selector) reaches at privilege level 0: SDM 2A JMP, CALL. A call gate
 * replaces (offset) and (selector). For a task (task) is set, and (selector) names its descriptor.
 */
static enum outcome far_target(struct pv_vmm *vmm, uint16_t *selector, uint32_t *offset, int *task)
{
    enum { SYSTEM_TSS = 9, SYSTEM_TSS_BUSY = 0xb, SYSTEM_TASK_GATE = 5, SYSTEM_CALL_GATE = 0xc };
    uint32_t name = *selector & 0xfffc;
    unsigned type;
    uint64_t d;

    *task = 0;
    if (!name)
        return fault(vmm, VECTOR_GP, 0);
    if (pv_descriptor(vmm, *selector, &d))
        return fault(vmm, VECTOR_GP, name);
    type = DESCRIPTOR_TYPE(d);
    if (!(type & 0x10)) {
        if (type != SYSTEM_TSS && type != SYSTEM_TSS_BUSY && type != SYSTEM_TASK_GATE &&
            type != SYSTEM_CALL_GATE)
            return fault(vmm, VECTOR_GP, name);
        if ((*selector & SELECTOR_RPL) > DESCRIPTOR_DPL(d))
            return fault(vmm, VECTOR_GP, name);
        if (!DESCRIPTOR_PRESENT(d))
            return fault(vmm, VECTOR_NP, name);
        if (type == SYSTEM_TASK_GATE)
            *selector = (uint16_t)(d >> 16);
        if (type != SYSTEM_CALL_GATE) {
            *task = 1;
            return NEXT;
        }
        *selector = (uint16_t)(d >> 16 & ~SELECTOR_RPL);
        *offset = (uint32_t)((d & 0xffff) | (d >> 32 & 0xffff0000));
        name = *selector;
        if (!name)
            return fault(vmm, VECTOR_GP, 0);
        if (pv_descriptor(vmm, *selector, &d))
            return fault(vmm, VECTOR_GP, name);
        type = DESCRIPTOR_TYPE(d);
    }
    if ((type & TYPE_CODE) != TYPE_CODE || DESCRIPTOR_DPL(d) ||
        ((type & TYPE_CONFORMING) != TYPE_CONFORMING && (*selector & SELECTOR_RPL)))
        return fault(vmm, VECTOR_GP, name);
    if (!DESCRIPTOR_PRESENT(d))
        return fault(vmm, VECTOR_NP, name);
    return NEXT;
}

static enum outcome task_switch(struct pv_vmm *vmm, uint16_t selector, enum pv_task how,
                                uint32_t next)
{
    uint32_t eip = (uint32_t)vmm->cpu.eip;
    struct pv_fault f;

    vmm->cpu.eip = next;
    if (!pv_task_switch(vmm, selector, how, NULL, &f))
        return JUMPED;
    vmm->cpu.eip = eip;
    pv_inject(vmm, f.vector, 1, f.error, 0);
    return FAULTED;
}

/* A far jump, or a far call that comes back to (next). */
static enum outcome far_transfer(struct pv_vmm *vmm, uint16_t selector, uint32_t offset, int call,
                                 uint32_t next)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t frame[2] = {next, cpu->kernel_cs}, esp = (uint32_t)cpu->gpr[PV_ESP] - sizeof frame;
    enum outcome o;
    int task;

    o = far_target(vmm, &selector, &offset, &task);
    if (o != NEXT)
        return o;
    if (task)
        return task_switch(vmm, selector, call ? PV_TASK_CALL : PV_TASK_JUMP, next);
    if (call) {
        if (store(vmm, esp, frame, sizeof frame, &o))
            return o;
        cpu->gpr[PV_ESP] = esp;
    }
    cpu->kernel_cs = selector & ~SELECTOR_RPL;
    vmm->page->segment[PV_CS] = cpu->kernel_cs;
    cpu->eip = offset;
    return JUMPED;
}

static enum outcome far_memory(struct pv_vmm *vmm, const struct previrt_ia32_insn *i, int call,
                               uint32_t next)
{
    struct {
        uint32_t offset;
        uint16_t selector;
    } __attribute__((packed)) pointer;
    enum outcome o = NEXT;

    if (load(vmm, effective_address(vmm, i), &pointer, 6, &o))
        return o;
    return far_transfer(vmm, pointer.selector, pointer.offset, call, next);
}

/* The code segment that LRET or IRET goes back to: SDM 2A IRET, return from protected mode. */
static enum outcome return_code(struct pv_vmm *vmm, uint16_t selector)
{
    unsigned rpl = selector & SELECTOR_RPL, type;
    uint64_t d;

    if (!(selector & ~SELECTOR_RPL))
        return fault(vmm, VECTOR_GP, 0);
    if (pv_descriptor(vmm, selector, &d))
        return fault(vmm, VECTOR_GP, selector & 0xfffc);
    type = DESCRIPTOR_TYPE(d);
    if ((type & TYPE_CODE) != TYPE_CODE || (rpl != 0 && rpl != 3) ||
        ((type & TYPE_CONFORMING) == TYPE_CONFORMING ? DESCRIPTOR_DPL(d) > rpl
                                                     : DESCRIPTOR_DPL(d) != rpl))
        return fault(vmm, VECTOR_GP, selector & 0xfffc);
    if (!DESCRIPTOR_PRESENT(d))
        return fault(vmm, VECTOR_NP, selector & 0xfffc);
    return NEXT;
}

static enum outcome return_stack(struct pv_vmm *vmm, uint16_t selector)
{
    uint64_t d;

    if (!(selector & ~SELECTOR_RPL))
        return fault(vmm, VECTOR_GP, 0);
    if ((selector & SELECTOR_RPL) != 3 || pv_descriptor(vmm, selector, &d) ||
        (DESCRIPTOR_TYPE(d) & 0x1a) != TYPE_DATA_WRITABLE || DESCRIPTOR_DPL(d) != 3)
        return fault(vmm, VECTOR_GP, selector & 0xfffc);
    if (!DESCRIPTOR_PRESENT(d))
        return fault(vmm, VECTOR_SS, selector & 0xfffc);
    return NEXT;
}

static enum outcome to_user(struct pv_vmm *vmm, uint32_t eip, uint32_t cs, uint32_t esp,
                            uint32_t ss)
{
    struct pv_cpu *cpu = &vmm->cpu;

    cpu->eip = eip;
    cpu->user_cs = cs & 0xffff;
    cpu->gpr[PV_ESP] = esp;
    cpu->user_ss = ss & 0xffff;
    cpu->user = 1;
    vmm->booted = 1;
    vmm->count.user_entries++;
    pv_sync_watched(vmm);
    return JUMPED;
}

static enum outcome far_return(struct pv_vmm *vmm, uint32_t pop)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t esp = (uint32_t)cpu->gpr[PV_ESP], frame[2], stack[2];
    enum outcome o = NEXT;

    if (load(vmm, esp, frame, 8, &o))
        return o;
    o = return_code(vmm, frame[1]);
    if (o != NEXT)
        return o;
    if (frame[1] & SELECTOR_RPL) {
        if (load(vmm, esp + 8 + pop, stack, 8, &o))
            return o;
        o = return_stack(vmm, stack[1]);
        return o == NEXT ? to_user(vmm, frame[0], frame[1], stack[0] + pop, stack[1]) : o;
    }
    cpu->gpr[PV_ESP] = esp + 8 + pop;
    cpu->kernel_cs = frame[1] & 0xffff;
    vmm->page->segment[PV_CS] = cpu->kernel_cs;
    cpu->eip = frame[0];
    return JUMPED;
}

static enum outcome interrupt_return(struct pv_vmm *vmm, uint32_t next)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t frame[5], link;
    enum outcome o = NEXT;

    if (cpu->eflags & EFLAGS_NT) {
        if (load(vmm, cpu->tss_base, &link, sizeof link, &o))
            return o;
        return task_switch(vmm, (uint16_t)link, PV_TASK_RETURN, next);
    }
    if (vmm->page->attention[PV_ATTENTION_REFILL])
        pv_shadow_refill(vmm);
    if (load(vmm, cpu->gpr[PV_ESP], frame, 12, &o))
        return o;
    if (frame[2] & EFLAGS_VM)
        return fault(vmm, VECTOR_GP, 0); /* virtual-8086 mode does not exist here */
    o = return_code(vmm, frame[1]);
    if (o != NEXT)
        return o;
    if (!(frame[1] & SELECTOR_RPL)) {
        cpu->gpr[PV_ESP] = (uint32_t)(cpu->gpr[PV_ESP] + 12);
        cpu->eip = frame[0];
        cpu->kernel_cs = frame[1] & 0xffff;
        vmm->page->segment[PV_CS] = cpu->kernel_cs;
        return_flags(vmm, frame[2]);
        return JUMPED;
    }
    if (load(vmm, cpu->gpr[PV_ESP] + 12, frame + 3, 8, &o))
        return o;
    o = return_stack(vmm, frame[4]);
    if (o != NEXT)
        return o;
    return_flags(vmm, frame[2]);
    return to_user(vmm, frame[0], frame[1], frame[3], frame[4]);
}

/* ---- control registers ---- */

int pv_write_cr(struct pv_vmm *vmm, unsigned cr, uint32_t value)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t changed;

    switch (cr) {
    case 0:
        if (((value & CR0_PG) && !(value & CR0_PE)) || ((value & CR0_NW) && !(value & CR0_CD)))
            return -1;
        changed = cpu->cr0 ^ value;
        cpu->cr0 = value | CR0_ET;
        vmm->page->cr[0] = cpu->cr0;
        if (changed & CR0_TS)
            vmm->backend.set_ts(vmm->backend.context, (value & CR0_TS) != 0);
        if (changed & CR0_PG)
            pv_shadow_paging_mode(vmm);
        else if (changed & CR0_WP)
            pv_shadow_rights(vmm);
        return 0;
    case 2:
        cpu->cr2 = value;
        vmm->page->cr[2] = value;
        return 0;
    case 3:
        pv_shadow_cr3(vmm, value);
        pv_sync_descriptors(vmm);
        vmm->page->cr[3] = value;
        return 0;
    default:
        changed = cpu->cr4 ^ value;
        cpu->cr4 = value;
        vmm->page->cr[4] = value;
        if (changed & (CR4_PSE | CR4_PAE))
            pv_shadow_rights(vmm);
        else if (changed & CR4_PGE)
            pv_shadow_flush_all(vmm);
        return 0;
    }
}

static enum outcome write_cr(struct pv_vmm *vmm, unsigned cr, uint32_t value)
{
    if (cr == 1 || cr > 4)
        return fault(vmm, VECTOR_UD, 0);
    return pv_write_cr(vmm, cr, value) ? fault(vmm, VECTOR_GP, 0) : NEXT;
}

static uint32_t read_cr(struct pv_vmm *vmm, unsigned cr)
{
    switch (cr) {
    case 0:
        return vmm->cpu.cr0;
    case 2:
        return vmm->cpu.cr2;
    case 3:
        return vmm->cpu.cr3;
    case 4:
        return vmm->cpu.cr4;
    }
    return 0;
}

/* ---- model-specific registers: policy.c says which exist ---- */

static enum outcome msr(struct pv_vmm *vmm, int write)
{
    uint64_t *r = vmm->cpu.gpr, value = r[PV_EDX] << 32 | (uint32_t)r[PV_EAX];
    uint32_t number = r[PV_ECX];

    if (write ? pv_write_msr(vmm, number, value) : pv_read_msr(vmm, number, &value))
        return fault(vmm, VECTOR_GP, 0);
    if (!write) {
        r[PV_EAX] = (uint32_t)value;
        r[PV_EDX] = value >> 32;
    }
    return NEXT;
}

/* ---- port I/O ---- */

#define STRING_MAX 4096u /* of a repeated instruction, before interrupts are looked at */

static enum outcome string_io(struct pv_vmm *vmm, const struct previrt_ia32_insn *i, int in)
{
    uint64_t *r = vmm->cpu.gpr;
    unsigned width = i->width / 8, reg = in ? PV_EDI : PV_ESI;
    int32_t step = vmm->cpu.eflags & EFLAGS_DF ? -(int32_t)width : (int32_t)width;
    uint32_t base = !in && i->segment != 0xff ? segment_base(vmm, i->segment) : 0;
    uint32_t count = i->rep ? (i->address16 ? r[PV_ECX] & 0xffff : (uint32_t)r[PV_ECX]) : 1;
    enum outcome o = NEXT;

    for (unsigned n = 0; count && !vmm->dead; n++) {
        uint32_t va = base + (i->address16 ? r[reg] & 0xffff : (uint32_t)r[reg]), value = 0;

        if (n == STRING_MAX) { /* the rest is done when the guest comes here again */
            pv_time(vmm);
            return JUMPED;
        }
        if (in) {
            struct pv_walk walk;

            /* look first: a port read cannot be undone */
            if (pv_walk(vmm, va, &walk))
                return page_fault(vmm, va, PFE_W);
            if (!(walk.flags & PTE_RW) && (vmm->cpu.cr0 & CR0_WP))
                return page_fault(vmm, va, PFE_W | PFE_P);
            value = previrt_port_in(&vmm->pc.bus, r[PV_EDX], width);
            if (store(vmm, va, &value, width, &o))
                return o;
        } else {
            if (load(vmm, va, &value, width, &o))
                return o;
            previrt_port_out(&vmm->pc.bus, r[PV_EDX], width, value);
        }
        set_gpr(vmm, reg, i->address16 ? 16 : 32, (uint32_t)r[reg] + step);
        count--;
        if (i->rep)
            set_gpr(vmm, PV_ECX, i->address16 ? 16 : 32, (uint32_t)r[PV_ECX] - 1);
    }
    pv_time(vmm);
    return NEXT;
}

/* ---- descriptor tables ---- */

static enum outcome load_table(struct pv_vmm *vmm, const struct previrt_ia32_insn *i, int idt)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer;
    enum outcome o = NEXT;

    if (load(vmm, effective_address(vmm, i), &pointer, 6, &o))
        return o;
    if (i->width == 16)
        pointer.base &= 0xffffff;
    vmm->tables_changed = 1;
    if (idt) {
        vmm->cpu.idt_base = pointer.base;
        vmm->cpu.idt_limit = pointer.limit;
        return NEXT;
    }
    vmm->cpu.gdt_base = pointer.base;
    vmm->cpu.gdt_limit = pointer.limit;
    pv_load_descriptors(vmm);
    return NEXT;
}

static enum outcome store_table(struct pv_vmm *vmm, const struct previrt_ia32_insn *i,
                                uint32_t base, uint16_t limit)
{
    struct {
        uint16_t limit;
        uint32_t base;
    } __attribute__((packed)) pointer = {limit, base};
    enum outcome o = NEXT;

    store(vmm, effective_address(vmm, i), &pointer, 6, &o);
    return o;
}

static enum outcome load_task(struct pv_vmm *vmm, uint16_t selector)
{
    uint64_t d;

    if (!(selector & ~SELECTOR_RPL) || (selector & 4) || pv_descriptor(vmm, selector, &d) ||
        DESCRIPTOR_TYPE(d) != TYPE_TSS_AVAILABLE)
        return fault(vmm, VECTOR_GP, selector & 0xfffc);
    if (!DESCRIPTOR_PRESENT(d))
        return fault(vmm, VECTOR_NP, selector & 0xfffc);
    d |= 2ull << 40; /* busy */
    pv_write(vmm, vmm->cpu.gdt_base + (selector & ~7u), &d, 8, NULL);
    vmm->tables_changed = 1;
    vmm->cpu.tr = selector;
    vmm->page->tr = selector;
    vmm->cpu.tss_base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
    vmm->cpu.tss_limit = (d & 0xffff) | (d >> 32 & 0xf0000);
    return NEXT;
}

static enum outcome load_ldt(struct pv_vmm *vmm, uint16_t selector)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint64_t d = 0;

    if (selector & ~SELECTOR_RPL) {
        if ((selector & 4) || pv_descriptor(vmm, selector, &d) || DESCRIPTOR_TYPE(d) != 2)
            return fault(vmm, VECTOR_GP, selector & 0xfffc);
        if (!DESCRIPTOR_PRESENT(d))
            return fault(vmm, VECTOR_NP, selector & 0xfffc);
        cpu->ldt_base = (d >> 16 & 0xffffff) | (d >> 32 & 0xff000000);
        cpu->ldt_limit = (d & 0xffff) | (d >> 32 & 0xf0000);
        if (d >> 55 & 1)
            cpu->ldt_limit = cpu->ldt_limit << 12 | 0xfff;
    } else {
        cpu->ldt_base = cpu->ldt_limit = 0;
    }
    cpu->ldt = selector;
    vmm->page->ldtr = selector;
    pv_sync_ldt(vmm);
    return NEXT;
}

/* Debug registers, SDM 3B 17.2. The processor's are the guest's, but for general detect. */
static enum outcome write_debug(struct pv_vmm *vmm, unsigned number, uint32_t value)
{
    if (number == 4 || number == 5) {
        if (vmm->cpu.cr4 & CR4_DE)
            return fault(vmm, VECTOR_UD, 0);
        number += 2;
    }
    if (number == 6)
        value = (value & 0xf00f) | DR6_RESET;
    else if (number == 7)
        value = (value & 0xffff2bff) | DR7_RESET;
    vmm->cpu.dr[number] = value;
    vmm->backend.set_debug_register(vmm->backend.context, number,
                                    number == 7 ? value & ~DR7_GD : value);
    return NEXT;
}

static enum outcome read_debug(struct pv_vmm *vmm, unsigned number, unsigned reg)
{
    if (number == 4 || number == 5) {
        if (vmm->cpu.cr4 & CR4_DE)
            return fault(vmm, VECTOR_UD, 0);
        number += 2;
    }
    vmm->cpu.gpr[reg] = vmm->cpu.dr[number];
    return NEXT;
}

/* LAR, LSL, VERR, VERW (which): ZF tells whether the descriptor is visible. CPL is 0 here. */
static enum outcome inspect(struct pv_vmm *vmm, const struct previrt_ia32_insn *i,
                            uint16_t selector)
{
    uint64_t d = 0;
    unsigned type;
    int ok = (selector & ~SELECTOR_RPL) && !pv_descriptor(vmm, selector, &d);
    uint32_t limit;

    type = DESCRIPTOR_TYPE(d);
    switch (i->op) {
    case PREVIRT_IA32_VERR:
        ok = ok && (type & 0x10) && (type & 0x1a) != TYPE_CODE;
        break;
    case PREVIRT_IA32_VERW:
        ok = ok && (type & 0x1a) == TYPE_DATA_WRITABLE;
        break;
    case PREVIRT_IA32_LAR:
        ok = ok && ((type & 0x10) || (0x1a3eu >> type & 1)); /* SDM 2A LAR, valid types */
        if (ok)
            set_gpr(vmm, i->reg, i->width, d >> 32 & (i->width == 16 ? 0xff00 : 0xf0ff00));
        break;
    case PREVIRT_IA32_LSL:
        ok = ok && ((type & 0x10) || (0x0a0eu >> type & 1));
        limit = (d & 0xffff) | (d >> 32 & 0xf0000);
        if (d >> 55 & 1)
            limit = limit << 12 | 0xfff;
        if (ok)
            set_gpr(vmm, i->reg, i->width, limit);
        break;
    }
    vmm->cpu.eflags = ok ? vmm->cpu.eflags | EFLAGS_ZF : vmm->cpu.eflags & ~(uint64_t)EFLAGS_ZF;
    return NEXT;
}

static enum outcome load_far_pointer(struct pv_vmm *vmm, const struct previrt_ia32_insn *i,
                                     unsigned sreg)
{
    uint8_t pointer[6];
    enum outcome o = NEXT;
    unsigned width = i->width;
    uint32_t offset;
    uint16_t selector;

    if (load(vmm, effective_address(vmm, i), pointer, width / 8 + 2, &o))
        return o;
    offset = pointer[0] | pointer[1] << 8;
    if (width == 32)
        offset |= pointer[2] << 16 | (uint32_t)pointer[3] << 24;
    selector = pointer[width / 8] | pointer[width / 8 + 1] << 8;
    if (sreg == PV_SS) {
        uint32_t base;

        o = load_stack_segment(vmm, selector, &base);
        if (o == NEXT)
            set_gpr(vmm, i->reg, width, i->reg == PV_ESP ? offset + base : offset);
        if (o == NEXT && i->reg != PV_ESP)
            vmm->cpu.gpr[PV_ESP] = (uint32_t)(vmm->cpu.gpr[PV_ESP] + base);
        return o;
    }
    o = load_segment(vmm, sreg, selector);
    if (o == NEXT)
        set_gpr(vmm, i->reg, width, offset);
    return o;
}

static enum outcome execute(struct pv_vmm *vmm, const struct pv_op_site *site)
{
    const struct previrt_ia32_insn *i = &site->insn;
    struct pv_cpu *cpu = &vmm->cpu;
    uint64_t *r = cpu->gpr;
    uint32_t next = site->address + site->room, value = 0;
    uint16_t selector = 0;
    enum outcome o = NEXT;

    switch (i->op) {
    case PREVIRT_IA32_CLI:
        pv_set_if(vmm->page, 0);
        return NEXT;
    case PREVIRT_IA32_STI:
        pv_set_if(vmm->page, 1);
        cpu->shadow = 1;
        return NEXT;
    case PREVIRT_IA32_STI_HLT:
    case PREVIRT_IA32_STI_MWAIT:
        pv_set_if(vmm->page, 1);
        cpu->halted = 1;
        return NEXT;
    case PREVIRT_IA32_HLT:
        cpu->halted = 1;
        return NEXT;
    case PREVIRT_IA32_PUSHF:
        push(vmm, pv_eflags_image(vmm), i->width, &o);
        return o;
    case PREVIRT_IA32_POPF:
        value = pv_eflags_image(vmm);
        if (load(vmm, r[PV_ESP], &value, i->width / 8, &o))
            return o;
        r[PV_ESP] = (uint32_t)(r[PV_ESP] + i->width / 8);
        set_flags(vmm, value);
        return NEXT;
    case PREVIRT_IA32_IN:
        value = previrt_port_in(&vmm->pc.bus, i->immediate_size ? i->immediate : r[PV_EDX],
                                i->width / 8);
        set_gpr(vmm, PV_EAX, i->width, value);
        return NEXT;
    case PREVIRT_IA32_OUT:
        value = r[PV_EAX];
        previrt_port_out(&vmm->pc.bus, i->immediate_size ? i->immediate : r[PV_EDX], i->width / 8,
                         value);
        pv_time(vmm);
        return NEXT;
    case PREVIRT_IA32_INS:
        return string_io(vmm, i, 1);
    case PREVIRT_IA32_OUTS:
        return string_io(vmm, i, 0);
    case PREVIRT_IA32_IRET:
        return interrupt_return(vmm, next);
    case PREVIRT_IA32_LJMP:
        if (i->is_memory)
            return far_memory(vmm, i, 0, 0);
        return far_transfer(vmm, i->selector, i->immediate, 0, next);
    case PREVIRT_IA32_LCALL:
        if (i->is_memory)
            return far_memory(vmm, i, 1, next);
        return far_transfer(vmm, i->selector, i->immediate, 1, next);
    case PREVIRT_IA32_LRET:
        return far_return(vmm, i->immediate);
    case PREVIRT_IA32_INT:
        cpu->eip = next;
        pv_inject(vmm, i->immediate, 0, 0, (int)(next - site->address));
        return JUMPED;
    case PREVIRT_IA32_INTO:
        if (!(cpu->eflags & 1u << 11))
            return NEXT;
        cpu->eip = next;
        pv_inject(vmm, VECTOR_OF, 0, 0, (int)(next - site->address));
        return JUMPED;
    case PREVIRT_IA32_MOV_FROM_SEG:
        put_rm(vmm, i, i->reg, i->is_memory ? 16 : i->width, read_segment(vmm, i->system_register),
               &o);
        return o;
    case PREVIRT_IA32_MOV_TO_SEG:
        if (get_rm16(vmm, i, &selector, &o))
            return o;
        return load_segment(vmm, i->system_register, selector);
    case PREVIRT_IA32_PUSH_SEG:
        push(vmm, read_segment(vmm, i->system_register), i->width, &o);
        return o;
    case PREVIRT_IA32_POP_SEG:
        if (load(vmm, r[PV_ESP], &selector, 2, &o))
            return o;
        o = load_segment(vmm, i->system_register, selector);
        if (o == NEXT)
            r[PV_ESP] = (uint32_t)(r[PV_ESP] + i->width / 8);
        return o;
    case PREVIRT_IA32_LDS:
        return load_far_pointer(vmm, i, PV_DS);
    case PREVIRT_IA32_LES:
        return load_far_pointer(vmm, i, PV_ES);
    case PREVIRT_IA32_LFS:
        return load_far_pointer(vmm, i, PV_FS);
    case PREVIRT_IA32_LGS:
        return load_far_pointer(vmm, i, PV_GS);
    case PREVIRT_IA32_LSS:
        return load_far_pointer(vmm, i, PV_SS);
    case PREVIRT_IA32_MOV_FROM_CR:
        r[i->reg] = read_cr(vmm, i->system_register);
        return NEXT;
    case PREVIRT_IA32_MOV_TO_CR:
        return write_cr(vmm, i->system_register, r[i->reg]);
    case PREVIRT_IA32_MOV_FROM_DR:
        return read_debug(vmm, i->system_register & 7, i->reg);
    case PREVIRT_IA32_MOV_TO_DR:
        return write_debug(vmm, i->system_register & 7, r[i->reg]);
    case PREVIRT_IA32_CLTS:
        return write_cr(vmm, 0, cpu->cr0 & ~CR0_TS);
    case PREVIRT_IA32_LMSW:
        if (get_rm16(vmm, i, &selector, &o))
            return o;
        return write_cr(vmm, 0, (cpu->cr0 & ~0xeu) | (selector & 0xf));
    case PREVIRT_IA32_SMSW:
        put_rm(vmm, i, i->reg, i->is_memory ? 16 : i->width, cpu->cr0, &o);
        return o;
    case PREVIRT_IA32_LGDT:
        return load_table(vmm, i, 0);
    case PREVIRT_IA32_LIDT:
        return load_table(vmm, i, 1);
    case PREVIRT_IA32_SGDT:
        return store_table(vmm, i, cpu->gdt_base, cpu->gdt_limit);
    case PREVIRT_IA32_SIDT:
        return store_table(vmm, i, cpu->idt_base, cpu->idt_limit);
    case PREVIRT_IA32_LLDT:
        if (get_rm16(vmm, i, &selector, &o))
            return o;
        return load_ldt(vmm, selector);
    case PREVIRT_IA32_SLDT:
        put_rm(vmm, i, i->reg, i->is_memory ? 16 : i->width, cpu->ldt, &o);
        return o;
    case PREVIRT_IA32_LTR:
        if (get_rm16(vmm, i, &selector, &o))
            return o;
        return load_task(vmm, selector);
    case PREVIRT_IA32_STR:
        put_rm(vmm, i, i->reg, i->is_memory ? 16 : i->width, cpu->tr, &o);
        return o;
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
        if (i->is_memory) {
            if (load(vmm, effective_address(vmm, i), &selector, 2, &o))
                return o;
        } else {
            selector = r[i->rm];
        }
        return inspect(vmm, i, selector);
    case PREVIRT_IA32_VERR:
    case PREVIRT_IA32_VERW:
        if (get_rm16(vmm, i, &selector, &o))
            return o;
        return inspect(vmm, i, selector);
    case PREVIRT_IA32_ARPL: /* SDM 2A ARPL: the larger RPL of the two */
        if (!i->is_memory)
            selector = r[i->rm];
        else if (load(vmm, effective_address(vmm, i), &selector, 2, &o))
            return o;
        if ((selector & SELECTOR_RPL) >= (r[i->reg] & SELECTOR_RPL)) {
            cpu->eflags &= ~(uint64_t)EFLAGS_ZF;
            return NEXT;
        }
        selector = (selector & ~SELECTOR_RPL) | (r[i->reg] & SELECTOR_RPL);
        if (put_rm(vmm, i, i->rm, 16, selector, &o))
            return o;
        cpu->eflags |= EFLAGS_ZF;
        return NEXT;
    case PREVIRT_IA32_INVD:
    case PREVIRT_IA32_WBINVD:
        return NEXT; /* guest memory is write-back and coherent */
    case PREVIRT_IA32_INVLPG:
        pv_shadow_invlpg(vmm, effective_address(vmm, i));
        return NEXT;
    case PREVIRT_IA32_CPUID:
        pv_cpuid(vmm);
        return NEXT;
    case PREVIRT_IA32_RDMSR:
        return msr(vmm, 0);
    case PREVIRT_IA32_WRMSR:
        return msr(vmm, 1);
    case PREVIRT_IA32_RDTSC: {
        uint64_t t = pv_tsc();

        r[PV_EAX] = (uint32_t)t;
        r[PV_EDX] = t >> 32;
        return NEXT;
    }
    case PREVIRT_IA32_RDPMC:
        return fault(vmm, VECTOR_GP, 0);
    default:
        return fault(vmm, VECTOR_UD, 0); /* not offered: CPUID says so */
    }
}

/*
 * What can take away the kernel's own stack. A processor goes on until it needs one; here the
 * hypervisor may need it at any time for its own frames (see shadow.c), and would end more than the
 * guest.
 */
static int may_unmap(unsigned op)
{
    return op == PREVIRT_IA32_MOV_TO_CR || op == PREVIRT_IA32_INVLPG || op == PREVIRT_IA32_LMSW;
}

void pv_operation(struct pv_vmm *vmm, const struct pv_op_site *site)
{
    vmm->cpu.eip = site->address;
    vmm->cpu.shadow = 0;
    vmm->count.op[site->insn.op]++;
    if (execute(vmm, site) == NEXT && !vmm->dead)
        vmm->cpu.eip = (gva_t)(site->address + site->room);
    vmm->cpu.shadow_eip = (gva_t)vmm->cpu.eip;
    if (may_unmap(site->insn.op) && !vmm->cpu.user && !vmm->dead && !pv_shadow_has_stack(vmm))
        pv_die(vmm, "the page tables at CR3 %#x have no stack for the kernel at %#x", vmm->cpu.cr3,
               (uint32_t)vmm->cpu.gpr[PV_ESP]);
}
