/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Returns to the guest, and what the fast ways (fast.h) need of its tables, which is looked at
 * before each return.
 */
#include "xen.h"

/* What HYPERVISOR_iret takes from the stack (asm-x86/xen-x86_64.h). Fast returns use this one. */
extern struct iret_context iret_frame;

struct pv_xen_fast pv_fast;

/* Eight bytes of guest memory in one page, as kernel code sees them. */
static const uint64_t *guest_word(gva_t va)
{
    /* elsewhere it could be another page in another space */
    if (va < PV_KERNEL_BASE || (va & PV_PAGE_MASK) > PV_PAGE_SIZE - 8)
        return NULL;
    return pv_mapped(&pv_guest, va, 0);
}

/* What descriptors must be: present, privilege level, code or writable data, not conforming. */
enum {
    KERNEL_CODE_MASK = 0xf8,
    KERNEL_CODE = 0x98,
    KERNEL_STACK_MASK = 0xfa,
    KERNEL_STACK = 0x92,
    USER_CODE_MASK = 0xfc,
    USER_CODE = 0xf8,
    USER_STACK_MASK = 0xfa,
    USER_STACK = 0xf2
};

/*
 * Whether (selector) names a descriptor of the guest's GDT that is such, and that the processor has
 * as well: then (word) is where the guest has it. NULL: no.
 */
static const uint64_t *descriptor_word(uint16_t selector, unsigned mask, unsigned type)
{
    const unsigned index = selector >> 3;
    const uint64_t *word;

    if (!index || (selector & 4) || (selector | 7u) > pv_guest.cpu.gdt_limit ||
        index >= sizeof pv_guest.gdt_mirror / sizeof *pv_guest.gdt_mirror ||
        (pv_guest.gdt_mirror[index] >> 40 & mask) != type)
        return NULL;
    word = guest_word(pv_guest.cpu.gdt_base + index * 8);
    return word && *word == pv_guest.gdt_mirror[index] ? word : NULL;
}

static void close_gates(void)
{
    pv_fast.gate = pv_fast.fault_gate = &pv_fast.never;
    pv_fast.gate_value = pv_fast.fault_gate_value = 1;
}

static void close_returns(void)
{
    pv_fast.return_value = ~0ull;
}

/*
 * A present interrupt gate of the type and privilege in (type), under (mask), to the code segment
 * that the kernel has anyway. NULL: it is not; or where the guest has it, and (far) is the handler.
 */
static const uint64_t *gate_word(unsigned vector, unsigned mask, unsigned type,
                                 struct pv_xen_far *far)
{
    const uint64_t *word;

    if (pv_guest.cpu.idt_limit < vector * 8 + 7)
        return NULL;
    word = guest_word(pv_guest.cpu.idt_base + vector * 8);
    if (!word || (*word >> 40 & mask) != type || (*word >> 16 & 0xfffc) != pv_guest.cpu.kernel_cs)
        return NULL;
    far->offset = (uint32_t)((*word >> 32 & 0xffff0000) | (*word & 0xffff));
    far->selector = FLAT_RING3_CS32;
    return word;
}

static void fast_tables(void)
{
    enum { GATE_MASK = 0x9f, GATE_USER_MASK = 0xff, INTERRUPT_GATE = 0x8e, USER_GATE = 0xee };
    const struct pv_cpu *cpu = &pv_guest.cpu;
    const uint64_t *word;

    close_gates();
    close_returns();
    pv_fast.fault_error = PFE_W | (cpu->efer & EFER_NXE ? PFE_I : 0);
    pv_fast.reserved = PTE_RESERVED | (cpu->efer & EFER_NXE ? 0 : PTE_NX);
    pv_fast.kernel_cs = cpu->kernel_cs;
    pv_fast.ss0 = cpu->kernel_ss;
    pv_fast.stack_value = (uint64_t)cpu->kernel_ss << 32 | PV_PAGE_SIZE; /* as good as any */
    pv_fast.watch[0] = &pv_fast.never;
    pv_fast.watch_value[0] = pv_fast.never;
    pv_fast.watches = pv_guest.watches;
    for (unsigned w = 0; w < pv_guest.watches; w++) {
        pv_fast.watch[w] = guest_word(cpu->gdt_base + pv_guest.watch[w] * 8u);
        pv_fast.watch_value[w] = pv_guest.gdt_mirror[pv_guest.watch[w]];
        if (!pv_fast.watch[w])
            pv_fast.watches = PV_WATCHES;
    }
    pv_guest.page->attention[PV_ATTENTION_BACKEND] = pv_fast.watches > 1;
    pv_fast.stack =
        cpu->tss_limit >= PV_TSS_ESP0_END ? guest_word(cpu->tss_base + PV_TSS_ESP0) : NULL;
    if (!pv_fast.stack)
        return;
    /* The long way, too, takes the copies of these two for the guest's own. */
    if (!descriptor_word((uint16_t)cpu->kernel_cs, KERNEL_CODE_MASK, KERNEL_CODE) ||
        (cpu->kernel_ss & 3) ||
        !descriptor_word((uint16_t)cpu->kernel_ss, KERNEL_STACK_MASK, KERNEL_STACK))
        return;
    word = gate_word(PV_SYSCALL_VECTOR, GATE_USER_MASK, USER_GATE, &pv_fast.far);
    if (word) {
        pv_fast.gate_value = *word;
        pv_fast.gate = word;
    }
    word = gate_word(VECTOR_PF, GATE_MASK, INTERRUPT_GATE, &pv_fast.fault_far);
    if (word) {
        pv_fast.fault_gate_value = *word;
        pv_fast.fault_gate = word;
    }
}

/* The selectors that user code has now are those that it comes back to. */
static void fast_user(void)
{
    const uint32_t returns = EFLAGS_FIXED | EFLAGS_IF, rare = ~(EFLAGS_USER & ~EFLAGS_TF) | returns;
    const struct pv_cpu *cpu = &pv_guest.cpu;
    const uint16_t cs = (uint16_t)cpu->user_cs, ss = (uint16_t)cpu->user_ss;

    close_returns();
    if ((cs & 3) != 3 || (ss & 3) != 3 || pv_fast.watches == PV_WATCHES ||
        !descriptor_word(cs, USER_CODE_MASK, USER_CODE) ||
        !descriptor_word(ss, USER_STACK_MASK, USER_STACK))
        return;
    pv_fast.return_mask = (uint64_t)rare << 32 | 0xffff;
    pv_fast.return_value = (uint64_t)returns << 32 | cs;
    iret_frame.cs = cs;
    iret_frame.ss = ss;
}

/* Before every return to the guest. */
static void fast_update(void)
{
    const struct pv_cpu *cpu = &pv_guest.cpu;

    if (pv_guest.tables_changed || cpu->kernel_ss != pv_fast.ss0 ||
        cpu->kernel_cs != pv_fast.kernel_cs) {
        pv_guest.tables_changed = 0;
        fast_tables();
    }
    if (cpu->user &&
        ((uint16_t)cpu->user_cs != (uint16_t)pv_fast.return_value || cpu->user_ss != iret_frame.ss))
        fast_user();
    /* The flags of user code that goes the fast ways have IF and no IOPL; IRET with NT is another
     * thing. */
    if (cpu->iopl || (cpu->user && !pv_if(pv_guest.page)) || (cpu->eflags & EFLAGS_NT)) {
        close_gates();
        close_returns();
        pv_guest.tables_changed = 1;
    }
}

int pv_xen_prepare(void)
{
    pv_deliver(&pv_guest);
    if (pv_xen_queued || pv_xen_flushes || pv_xen_space != (int)pv_guest.current)
        x_activate(NULL, pv_guest.current);
    if (pv_guest.cpu.user)
        pv_xen_user_segments();
    fast_update();
    return pv_guest.cpu.user;
}

int pv_xen_refill(void)
{
    pv_shadow_refill(&pv_guest);
    if (pv_xen_queued || pv_xen_flushes)
        x_activate(NULL, pv_guest.current);
    return pv_guest.tables_changed;
}
