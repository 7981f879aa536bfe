/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions and interrupts enter the guest through its own IDT: SDM 3A 6.12, 6.13. */
#include "vmm.h"

#define GATE_TASK      0x5
#define GATE_INTERRUPT 0xe
#define GATE_TRAP      0xf
#define GATE_PRESENT   0x8000u

/* Error codes that name a selector or a vector: SDM 3A 6.13 */
#define ERROR_EXTERNAL 1u
#define ERROR_IDT      2u
#define ERROR_SELECTOR 0xfff8u

#define DESCRIPTOR_S       (1ull << 44)
#define DESCRIPTOR_PRESENT (1ull << 47)
#define DESCRIPTOR_DPL     (3ull << 45)
#define DESCRIPTOR_DPL3    (3ull << 45)
#define DESCRIPTOR_L       (1ull << 53)
#define TYPE_MASK          0x1f
#define TYPE_CODE_BITS     0x18 /* S and code */
#define TYPE_STACK         0x12 /* S, data, writable */
#define TYPE_STACK_MASK    0x1a
#define GDT_ENTRIES        512

uint32_t pv_eflags_image(struct pv_vmm *vmm)
{
    struct pv_cpu *cpu = &vmm->cpu;

    return (cpu->eflags & (EFLAGS_USER & ~EFLAGS_IF)) | EFLAGS_FIXED |
           (pv_if(vmm->page) ? EFLAGS_IF : 0) | cpu->iopl << 12;
}

static int has_error_code(unsigned vector)
{
    return vector == VECTOR_DF || (vector >= VECTOR_TS && vector <= VECTOR_PF) ||
           vector == VECTOR_AC;
}

/* What is on its way into the guest. */
struct event {
    unsigned vector;
    int has_error;
    uint32_t error;
    int software; /* length of the INT n, INT3 or INTO; 0: not a program's wish */
};

static void raise(struct event *raised, unsigned vector, uint32_t error)
{
    *raised = (struct event){.vector = vector, .has_error = 1, .error = error};
}

/* An access of (code), the result of pv_read() or pv_write(), failed at (va). */
static void raise_page_fault(struct pv_vmm *vmm, struct event *raised, gva_t va, int code)
{
    vmm->cpu.cr2 = va;
    vmm->page->cr[2] = va;
    raise(raised, VECTOR_PF, (uint32_t)code & ~0x100u);
}

/*
 * (selector)'s descriptor. The copy that pv_sync_descriptors() keeps is good enough if it says what
 * is wanted; the guest's own table has the last word.
 */
static int wanted_descriptor(struct pv_vmm *vmm, uint32_t selector, unsigned mask, unsigned type)
{
    uint64_t d = selector & 4 ? 0 : vmm->gdt_mirror[selector >> 3 & (GDT_ENTRIES - 1)];
    unsigned must = 1u << 7 | 3u << 5; /* present, privilege level 0 */

    if ((d >> 40 & (must | mask)) == (1u << 7 | type) && selector >> 3 < GDT_ENTRIES)
        return 0;
    if (pv_descriptor(vmm, (uint16_t)selector, &d))
        return VECTOR_GP;
    if ((d >> 40 & mask) != type)
        return VECTOR_GP;
    if (d & DESCRIPTOR_DPL)
        return VECTOR_GP;
    return d & DESCRIPTOR_PRESENT ? 0 : VECTOR_NP;
}

/* The kernel's stack, from the task state segment. 0, or -1 with what that raises. */
static int kernel_stack(struct pv_vmm *vmm, uint32_t external, uint32_t *esp, uint32_t *ss,
                        struct event *raised)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t stack[2];
    gva_t at;
    int code;

    if (cpu->tss_limit < PV_TSS_ESP0_END) {
        raise(raised, VECTOR_TS, (cpu->tr & ~3u) | external);
        return -1;
    }
    code = pv_read(vmm, cpu->tss_base + PV_TSS_ESP0, stack, 8, &at);
    if (code) {
        raise_page_fault(vmm, raised, at, code);
        return -1;
    }
    *esp = stack[0];
    *ss = stack[1] & 0xffff;
    if (!(*ss & ~3u) || (*ss & 3)) {
        raise(raised, VECTOR_TS, (*ss & ~3u) | external);
        return -1;
    }
    code = wanted_descriptor(vmm, *ss, TYPE_STACK_MASK, TYPE_STACK);
    if (code) {
        raise(raised, code == VECTOR_NP ? VECTOR_SS : VECTOR_TS, (*ss & ~3u) | external);
        return -1;
    }
    return 0;
}

/* SDM 3A 6.12.1, 6.12.2. 0: the guest's handler is next; -1: (raised), and nothing has changed. */
static int enter(struct pv_vmm *vmm, const struct event *e, struct event *raised)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t external = e->software ? 0 : ERROR_EXTERNAL, frame[6], gate[2], n = 0;
    uint32_t esp = cpu->gpr[PV_ESP], ss = cpu->kernel_ss, cs;
    uint32_t gate_error = e->vector * 8 + ERROR_IDT + external;
    unsigned type;
    gva_t at;
    int code;

    if (e->vector * 8 + 7 > cpu->idt_limit) {
        raise(raised, VECTOR_GP, gate_error);
        return -1;
    }
    code = pv_read(vmm, cpu->idt_base + e->vector * 8, gate, 8, &at);
    if (code) {
        raise_page_fault(vmm, raised, at, code);
        return -1;
    }
    type = gate[1] >> 8 & TYPE_MASK;
    if ((type != GATE_INTERRUPT && type != GATE_TRAP && type != GATE_TASK) ||
        (e->software && cpu->user && (gate[1] >> 13 & 3) < 3)) {
        raise(raised, VECTOR_GP, gate_error);
        return -1;
    }
    if (!(gate[1] & GATE_PRESENT)) {
        raise(raised, VECTOR_NP, gate_error);
        return -1;
    }
    cs = gate[0] >> 16;
    if (type == GATE_TASK) {
        struct pv_fault fault;

        if (!pv_task_switch(vmm, (uint16_t)cs, PV_TASK_CALL, e->has_error ? &e->error : NULL,
                            &fault))
            return 0;
        raise(raised, fault.vector, fault.error | external);
        return -1;
    }
    if (!(cs & ~3u)) {
        raise(raised, VECTOR_GP, external);
        return -1;
    }
    code = wanted_descriptor(vmm, cs, TYPE_CODE_BITS, TYPE_CODE_BITS);
    if (code) {
        raise(raised, (unsigned)code, (cs & ~3u) | external);
        return -1;
    }
    if (e->has_error)
        frame[n++] = e->error;
    frame[n++] = cpu->eip;
    frame[n++] = cpu->user ? cpu->user_cs : cpu->kernel_cs;
    frame[n++] = pv_eflags_image(vmm) | (cpu->eflags & (EFLAGS_RF | EFLAGS_NT));
    if (cpu->user) {
        frame[n++] = esp;
        frame[n++] = cpu->user_ss;
        if (kernel_stack(vmm, external, &esp, &ss, raised))
            return -1;
    }
    esp -= n * 4;
    code = pv_write(vmm, esp, frame, n * 4, &at);
    if (code) {
        raise_page_fault(vmm, raised, at, code);
        return -1;
    }
    cpu->gpr[PV_ESP] = esp;
    cpu->kernel_ss = ss;
    cpu->eip = (gate[1] & 0xffff0000) | (gate[0] & 0xffff);
    cpu->kernel_cs = cs & ~3u;
    vmm->page->segment[PV_CS] = cpu->kernel_cs;
    vmm->page->segment[PV_SS] = cpu->kernel_ss;
    cpu->user = 0;
    cpu->eflags &= ~(uint64_t)(EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM);
    if (type == GATE_INTERRUPT)
        pv_set_if(vmm->page, 0);
    return 0;
}

/* Whether (second), raised on the way into (first), makes a double fault: SDM 3A table 6-5. */
static int doubles(const struct event *first, const struct event *second)
{
    enum { CONTRIBUTORY = 1u << VECTOR_DE | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 };

    if (first->software || first->vector > VECTOR_PF)
        return 0;
    if (first->vector == VECTOR_PF)
        return second->vector == VECTOR_PF || (CONTRIBUTORY >> second->vector & 1);
    return (CONTRIBUTORY >> first->vector & 1) && (CONTRIBUTORY >> second->vector & 1);
}

int pv_inject(struct pv_vmm *vmm, unsigned vector, int has_error, uint32_t error, int software)
{
    struct pv_cpu *cpu = &vmm->cpu;
    struct event e = {vector, has_error, error, software}, raised;

    if (!cpu->user && pv_stub_inside(vmm, (gva_t)cpu->eip)) {
        pv_die(vmm, "vector %u: the frame would name an address of a stub, %#x", vector,
               (uint32_t)cpu->eip);
        return -1;
    }
    while (enter(vmm, &e, &raised)) {
        if (vmm->dead)
            return -1;
        if (e.vector == VECTOR_DF && !e.software) {
            if (cpu->idt_limit < 8) {
                /* a table without entries: how Linux resets a PC (reboot=t) */
                previrt_bus_flush(&vmm->pc.bus);
                pv_printf(vmm, "previrt: reset by triple fault at %#x\n", (uint32_t)cpu->eip);
                pv_reset(vmm);
                return -1;
            }
            pv_die(vmm,
                   "triple fault: vector %u, error %#x, came first (IDT base %#x, limit %#x; "
                   "TSS base %#x, limit %#x); then the double fault raised vector %u, error %#x",
                   vector, error, cpu->idt_base, cpu->idt_limit, cpu->tss_base, cpu->tss_limit,
                   raised.vector, raised.error);
            return -1;
        }
        if (e.software)
            cpu->eip -= (unsigned)e.software; /* a fault of the instruction itself */
        if (doubles(&e, &raised))
            raise(&raised, VECTOR_DF, 0);
        e = raised;
    }
    cpu->halted = 0;
    cpu->shadow = 0;
    if (!vmm->dead && !cpu->user)
        pv_shadow_has_stack(vmm); /* what the guest's tables have is mapped now */
    vmm->count.injected++;
    if (e.vector < 32)
        vmm->count.vector[e.vector]++;
    return 0;
}

/*
 * INT n of user code whose vector the hypervisor's own table does not let through: a fault for the
 * processor, but the guest's gate decides. (The error code is not looked at: QEMU's translator
 * computes it from the vector times 16 in long mode.)
 */
static int user_interrupt(struct pv_vmm *vmm, uint32_t error)
{
    enum { INT_IMMEDIATE = 0xcd, LENGTH = 2 };
    uint8_t bytes[LENGTH];

    if (!(error & ERROR_IDT) || pv_read(vmm, vmm->cpu.eip, bytes, sizeof bytes, NULL) ||
        bytes[0] != INT_IMMEDIATE)
        return 0;
    vmm->cpu.eip += LENGTH;
    pv_inject(vmm, bytes[1], 0, 0, LENGTH);
    return 1;
}

/* An operation that traps and was never annotated: a module's, or generated code. */
static int emulate(struct pv_vmm *vmm)
{
    struct pv_op_site site = {0};
    uint8_t bytes[15];
    size_t n = sizeof bytes;
    gva_t eip = vmm->cpu.eip;

    while (n && pv_read(vmm, eip, bytes, n, NULL))
        n--;
    if (!n || previrt_ia32_decode_site(bytes, n, 0, &site.insn))
        return 0;
    site.address = eip;
    site.room = site.insn.length;
    vmm->count.emulated++;
    pv_operation(vmm, &site);
    return 1;
}

void pv_exception(struct pv_vmm *vmm, unsigned vector, uint32_t error, gva_t cr2)
{
    struct pv_cpu *cpu = &vmm->cpu;
    struct pv_walk walk;
    int found;

    switch (vector) {
    case VECTOR_PF:
        error &= PFE_P | PFE_W | PFE_I;
        if (cpu->user)
            error |= PFE_U;
        if (pv_shadow_fault(vmm, cr2, error))
            return;
        error &= ~PFE_P;
        found = pv_walk(vmm, cr2, &walk);
        error |= found ? (uint32_t)found & (PFE_P | PFE_RSVD) : PFE_P;
        if (!(cpu->efer & EFER_NXE))
            error &= ~PFE_I;
        cpu->cr2 = cr2;
        vmm->page->cr[2] = cr2;
        vmm->page->attention[PV_ATTENTION_REFILL] = 1;
        vmm->refill_va = cr2;
        vmm->refill_entry = NULL;
        break;
    case VECTOR_TS:
    case VECTOR_NP:
    case VECTOR_SS:
    case VECTOR_GP:
        /* The processor's own instruction in a stub: as the guest's tables have it. */
        if (vmm->undone) {
            pv_stub_operation(vmm, vmm->undone_number);
            return;
        }
        /* The guest's table may have what the processor's has not yet. */
        if ((error & ERROR_SELECTOR) && !(error & ERROR_IDT) && pv_sync_descriptors(vmm))
            return;
        if (vector != VECTOR_GP)
            break;
        if (cpu->user ? user_interrupt(vmm, error) : emulate(vmm))
            return;
        break;
    case VECTOR_DB:
        cpu->dr[6] |= vmm->backend.debug_status(vmm->backend.context) & 0xf00f;
        break;
    default:
        break;
    }
    pv_inject(vmm, vector, has_error_code(vector), error, 0);
}

void pv_interrupted(struct pv_vmm *vmm, uint16_t cs, uint16_t ss)
{
    vmm->count.exits++;
    vmm->undone = 0;
    vmm->was_stepping = vmm->stepping;
    pv_step_end(vmm);
    vmm->cpu.user = (cs & 3) == 3;
    if (vmm->cpu.user) {
        vmm->cpu.user_cs = cs;
        vmm->cpu.user_ss = ss;
    } else {
        pv_stub_undo(vmm);
    }
}

/*
 * Interrupt shadows. STI and loads of SS hold interrupts off for one more instruction (SDM 2B STI;
 * SDM 3A 6.8.3). If one is waiting, that instruction runs with EFLAGS.TF set, and the debug
 * exception behind it is where the interrupt comes. Otherwise nothing needs to be done, since an
 * interrupt that comes later finds EIP elsewhere.
 */
static int in_shadow(struct pv_vmm *vmm)
{
    const struct pv_cpu *cpu = &vmm->cpu;

    if (vmm->stepped || cpu->user || cpu->halted)
        return 0;
    return (cpu->shadow && cpu->shadow_eip == (gva_t)cpu->eip) ||
           pv_stub_behind_sti(vmm, (gva_t)cpu->eip);
}

static void step_begin(struct pv_vmm *vmm)
{
    vmm->guest_tf = (vmm->cpu.eflags & EFLAGS_TF) != 0;
    vmm->cpu.eflags |= EFLAGS_TF;
    vmm->stepping = 1;
}

void pv_step_end(struct pv_vmm *vmm)
{
    if (vmm->stepping && !vmm->guest_tf)
        vmm->cpu.eflags &= ~(uint64_t)EFLAGS_TF;
    vmm->stepping = 0;
}

/*
 * A debug exception after a step of ours, or inside a stub. What jumps into a stub is the
 * operation's instruction for the guest: it is done here, and the guest that steps through its
 * kernel sees one step. 1: nothing for the guest.
 */
static int single_step(struct pv_vmm *vmm)
{
    const int ours = vmm->was_stepping && !vmm->guest_tf;
    const uint64_t injected = vmm->count.injected;

    if (!(vmm->backend.debug_status(vmm->backend.context) & DR6_BS))
        return 0;
    vmm->stepped = vmm->was_stepping;
    if (ours)
        vmm->backend.set_debug_register(vmm->backend.context, 6, vmm->cpu.dr[6]);
    if (vmm->undone)
        pv_stub_operation(vmm, vmm->undone_number);
    return ours || vmm->dead || vmm->count.injected != injected;
}

void pv_trap(struct pv_vmm *vmm, unsigned vector, uint32_t error, gva_t cr2)
{
    enum { LINUX_SYSTEM_CALL = 0x80, INT_LENGTH = 2 };

    vmm->count.traps++;
    if (vector == VECTOR_DB && (vmm->was_stepping || vmm->undone) && single_step(vmm))
        return;
    if (vector == LINUX_SYSTEM_CALL)
        pv_inject(vmm, vector, 0, 0, INT_LENGTH);
    else if (vector == VECTOR_BP || vector == VECTOR_OF)
        pv_inject(vmm, vector, 0, 0, 1);
    else
        pv_exception(vmm, vector, error, cr2);
}

void pv_deliver(struct pv_vmm *vmm)
{
    struct pv_cpu *cpu = &vmm->cpu;

    pv_step_end(vmm);
    vmm->page->vmm[0] = (uint8_t)cpu->iopl;
    while (!vmm->dead) {
        int pending = previrt_pic_pending(&vmm->pc.pic);

        vmm->page->pending = pending;
        if (pending && pv_if(vmm->page)) {
            unsigned vector;

            if (in_shadow(vmm)) {
                step_begin(vmm);
                return;
            }
            vmm->stepped = 0;
            vector = pv_acknowledge(vmm);
            vmm->count.interrupts++;
            pv_inject(vmm, vector, 0, 0, 0);
            vmm->page->pending = previrt_pic_pending(&vmm->pc.pic);
            return;
        }
        vmm->stepped = 0;
        if (!cpu->halted)
            return;
        if (!pv_if(vmm->page)) {
            pv_die(vmm, "the guest halted with interrupts off");
            return;
        }
        previrt_bus_flush(&vmm->pc.bus);
        vmm->count.idle++;
        vmm->backend.block(vmm->backend.context);
        pv_time(vmm);
    }
}

int pv_descriptor(struct pv_vmm *vmm, uint16_t selector, uint64_t *descriptor)
{
    uint32_t offset = selector & ~7u, base = vmm->cpu.gdt_base, limit = vmm->cpu.gdt_limit;

    if (selector & 4) {
        base = vmm->cpu.ldt_base;
        limit = vmm->cpu.ldt_limit;
    }
    if (offset + 7 > limit)
        return -1;
    return pv_read(vmm, base + offset, descriptor, 8, NULL) ? -1 : 0;
}

/* A guest's descriptor as the processor may have it: code and data, with privilege level 3 and
 * accessed, since the hypervisor's copy is read-only; nothing else, and no 64-bit code. */
static uint64_t user_descriptor(uint64_t d)
{
    enum { CODE = 8, CONFORMING = 4, READABLE = 2, ACCESSED = 1 };
    const unsigned type = d >> 40 & 0xf;

    if (!(d & DESCRIPTOR_S) || !(d & DESCRIPTOR_PRESENT))
        return 0;
    if ((type & CODE) && !(type & CONFORMING) && (d & DESCRIPTOR_DPL3) != DESCRIPTOR_DPL3) {
        /* The kernel's code runs with the back-end's selector. It may read data through this one
         * (push %cs; pop %ds), user code may not jump to it: read-only data. */
        if (!(type & READABLE))
            return 0;
        d &= ~(0xfull << 40);
    }
    return (d & ~DESCRIPTOR_L) | DESCRIPTOR_DPL3 | (uint64_t)ACCESSED << 40;
}

/*
 * The LDT that the processor uses is a copy as well, made at LLDT: Linux makes a new table for each
 * change.
 */
void pv_sync_ldt(struct pv_vmm *vmm)
{
    uint32_t entries = vmm->cpu.ldt_limit ? (vmm->cpu.ldt_limit + 1) / 8 : 0;

    if (entries > PV_LDT_ENTRIES)
        entries = PV_LDT_ENTRIES;
    for (uint32_t i = 0; i < entries; i++) {
        uint64_t d;

        if (pv_read(vmm, vmm->cpu.ldt_base + i * 8, &d, 8, NULL))
            d = 0;
        if (d == vmm->ldt_mirror[i])
            continue;
        vmm->ldt_mirror[i] = d;
        vmm->backend.set_local_descriptor(vmm->backend.context, i, user_descriptor(d));
    }
    vmm->backend.set_ldt(vmm->backend.context, entries);
}

/*
 * The processor's GDT is the hypervisor's copy of the guest's: user code and the kernel's data
 * segments use the guest's own selectors. Code and data descriptors are copied with privilege level
 * 3, system ones are left out.
 *
 * Nothing tells when the guest writes into its table. Everything is compared when it may have: at
 * LGDT and loads of CR3, and when a selector faults, which is then tried again. A return to user
 * code compares only the entries that have changed before (Linux: those of thread-local storage).
 */
static void sync_descriptor(struct pv_vmm *vmm, unsigned i, uint64_t d)
{
    unsigned w = 0;

    vmm->gdt_mirror[i] = d;
    vmm->tables_changed = 1;
    vmm->backend.set_descriptor(vmm->backend.context, i, user_descriptor(d));
    if (!vmm->booted)
        return;
    while (w < vmm->watches && vmm->watch[w] != i)
        w++;
    if (w == vmm->watches && w < PV_WATCHES)
        vmm->watch[vmm->watches++] = i;
}

/* A GDTR's base need not be aligned. */
typedef uint64_t pv_unaligned __attribute__((aligned(1), may_alias));

/* The guest's table, and how many entries of it the mirror can have. */
static const pv_unaligned *guest_gdt(struct pv_vmm *vmm, uint32_t *entries)
{
    const uint32_t base = vmm->cpu.gdt_base, room = (PV_PAGE_SIZE - (base & PV_PAGE_MASK)) / 8;
    struct pv_walk walk;
    void *mapped;

    *entries = (vmm->cpu.gdt_limit + 1) / 8;
    if (*entries > GDT_ENTRIES)
        *entries = GDT_ENTRIES;
    if (*entries > room)
        *entries = room;
    mapped = pv_mapped(vmm, base, 0);
    if (mapped)
        return mapped;
    return pv_walk(vmm, base, &walk) ? NULL : pv_gpa(vmm, walk.gpa, *entries * 8);
}

int pv_sync_descriptors(struct pv_vmm *vmm)
{
    uint32_t entries;
    const pv_unaligned *gdt = guest_gdt(vmm, &entries);
    int changed = 0;

    for (uint32_t i = 1; gdt && i < entries; i++) {
        /* mostly nothing has: four at a time */
        while (i + 4 <= entries &&
               !((gdt[i] ^ vmm->gdt_mirror[i]) | (gdt[i + 1] ^ vmm->gdt_mirror[i + 1]) |
                 (gdt[i + 2] ^ vmm->gdt_mirror[i + 2]) | (gdt[i + 3] ^ vmm->gdt_mirror[i + 3])))
            i += 4;
        if (i < entries && gdt[i] != vmm->gdt_mirror[i]) {
            sync_descriptor(vmm, i, gdt[i]);
            changed = 1;
        }
    }
    return changed;
}

/* LGDT: what the new table does not reach is gone. */
void pv_load_descriptors(struct pv_vmm *vmm)
{
    uint32_t entries;

    if (!guest_gdt(vmm, &entries))
        entries = 0;
    for (unsigned i = entries; i < GDT_ENTRIES; i++)
        if (vmm->gdt_mirror[i])
            sync_descriptor(vmm, i, 0);
    pv_sync_descriptors(vmm);
}

void pv_sync_watched(struct pv_vmm *vmm)
{
    uint32_t entries;
    const pv_unaligned *gdt;

    if (vmm->watches == PV_WATCHES) {
        pv_sync_descriptors(vmm);
        return;
    }
    gdt = guest_gdt(vmm, &entries);
    for (unsigned w = 0; gdt && w < vmm->watches; w++) {
        unsigned i = vmm->watch[w];

        if (i < entries && gdt[i] != vmm->gdt_mirror[i])
            sync_descriptor(vmm, i, gdt[i]);
    }
}
