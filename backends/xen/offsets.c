/* SPDX-License-Identifier: BSD-2-Clause */
/* Offsets for entry.S: compiled to assembler, from which the build takes the marked lines. */
#include "../../src/vmm/vmm.h"
#include "fast.h"
#include "layout.h"

#define DEFINE(name, value) __asm__ volatile("\n->" #name " %0" ::"i"(value))

void offsets(void);
void offsets(void)
{
    DEFINE(CPU_GPR, offsetof(struct pv_cpu, gpr));
    DEFINE(CPU_EIP, offsetof(struct pv_cpu, eip));
    DEFINE(CPU_EFLAGS, offsetof(struct pv_cpu, eflags));
    DEFINE(CPU_USER_CS, offsetof(struct pv_cpu, user_cs));
    DEFINE(CPU_USER_SS, offsetof(struct pv_cpu, user_ss));
    DEFINE(CPU_USER, offsetof(struct pv_cpu, user));
    DEFINE(FAST_GATE, offsetof(struct pv_xen_fast, gate));
    DEFINE(FAST_GATE_VALUE, offsetof(struct pv_xen_fast, gate_value));
    DEFINE(FAST_FAR, offsetof(struct pv_xen_fast, far));
    DEFINE(FAST_FAULT_GATE, offsetof(struct pv_xen_fast, fault_gate));
    DEFINE(FAST_FAULT_GATE_VALUE, offsetof(struct pv_xen_fast, fault_gate_value));
    DEFINE(FAST_FAULT_FAR, offsetof(struct pv_xen_fast, fault_far));
    DEFINE(FAST_FAULT_ERROR, offsetof(struct pv_xen_fast, fault_error));
    DEFINE(FAST_RESERVED, offsetof(struct pv_xen_fast, reserved));
    DEFINE(FAST_STACK, offsetof(struct pv_xen_fast, stack));
    DEFINE(FAST_STACK_VALUE, offsetof(struct pv_xen_fast, stack_value));
    DEFINE(FAST_SS0, offsetof(struct pv_xen_fast, ss0));
    DEFINE(FAST_RETURN_MASK, offsetof(struct pv_xen_fast, return_mask));
    DEFINE(FAST_RETURN_VALUE, offsetof(struct pv_xen_fast, return_value));
    DEFINE(FAST_USER_GS, offsetof(struct pv_xen_fast, user_gs));
    DEFINE(FAST_WATCHES, offsetof(struct pv_xen_fast, watches));
    DEFINE(FAST_WATCH, offsetof(struct pv_xen_fast, watch));
    DEFINE(FAST_WATCH_VALUE, offsetof(struct pv_xen_fast, watch_value));
    DEFINE(COUNT_FAST_CALLS, offsetof(struct pv_vmm, count.fast_calls));
    DEFINE(COUNT_FAST_RETURNS, offsetof(struct pv_vmm, count.fast_returns));
    DEFINE(COUNT_FAST_FAULTS, offsetof(struct pv_vmm, count.fast_faults));
    DEFINE(COUNT_PAGE_FAULTS, offsetof(struct pv_vmm, count.vector[VECTOR_PF]));
    DEFINE(CPU_CR2, offsetof(struct pv_cpu, cr2));
    DEFINE(VMM_RAM, offsetof(struct pv_vmm, ram));
    DEFINE(VMM_RAM_SIZE, offsetof(struct pv_vmm, ram_size));
    DEFINE(VMM_DIRECTORY, offsetof(struct pv_vmm, directory));
    DEFINE(VMM_REFILL_VA, offsetof(struct pv_vmm, refill_va));
    DEFINE(VMM_REFILL_ENTRY, offsetof(struct pv_vmm, refill_entry));
    DEFINE(VMM_REFILL_VALUE, offsetof(struct pv_vmm, refill_value));
    DEFINE(PTE_PRESENT, PTE_P);
    DEFINE(PTE_WRITABLE, PTE_RW);
    DEFINE(PTE_LARGE, PTE_PS);
    DEFINE(PTE_FRAME, PTE_ADDRESS);
    DEFINE(FAULT_WRITE, PFE_W);
    DEFINE(FAULT_USER, PFE_U);
    DEFINE(FAULT_PRESENT, PFE_P);
    DEFINE(VCPU_CR2, PREVIRT_VCPU_CR + 4 * 2);
    DEFINE(VCPU_IF, PREVIRT_VCPU_EFLAGS + PREVIRT_VCPU_IF_BYTE);
    DEFINE(VCPU_IF_SET, PREVIRT_VCPU_IF_SET);
    DEFINE(VCPU_PENDING, PREVIRT_VCPU_PENDING);
    DEFINE(VCPU_GS, PREVIRT_VCPU_ATTENTION + PV_ATTENTION_GS);
    DEFINE(VCPU_REFILL, PREVIRT_VCPU_ATTENTION + PV_ATTENTION_REFILL);
    DEFINE(CALL_FRAME, 5 * 4); /* eip cs eflags esp ss */
    DEFINE(FAULT_FRAME, 6 * 4);
    DEFINE(XEN_FRAME, 128); /* as in pv_shadow_has_stack() */
    DEFINE(FLAGS_KEPT_BY_GATE, (int)~(EFLAGS_TF | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM));
    DEFINE(FLAGS_RARE, EFLAGS_TF | EFLAGS_IOPL | EFLAGS_NT | EFLAGS_VM | EFLAGS_VIF | EFLAGS_VIP);
    DEFINE(LOW_REGION, PV_XEN_LOW_BASE);
    DEFINE(SYSCALL_VECTOR, PV_SYSCALL_VECTOR);
    DEFINE(LOW_IRET_OFFSET, PV_XEN_LOW_IRET - PV_XEN_LOW_ENTRY);
    DEFINE(EVENT_VECTOR, 256);
    DEFINE(FAILSAFE_VECTOR, 257);
    DEFINE(LOW_ENTRY, PV_XEN_LOW_ENTRY);
}
