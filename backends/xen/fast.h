/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ways that every system call and most page faults take, done in entry.S without a call of C:
 * INT 0x80 of user code into the guest's kernel, page faults of user code that the guest's tables
 * say are the guest's (PAE only), and IRET of the guest's kernel to user code. What they need of
 * the guest's tables is here, as pointers to the guest's own memory, so that a change of the
 * guest's is seen at once; pv_xen_prepare() fills it in. The checks of the long way
 * (src/vmm/trap.c, ops.c) have passed when a way is open, and what they depend on is either looked
 * at each time or closes the way when it changes (tables_changed). What is not the common case goes
 * the long way.
 */
#ifndef PV_XEN_FAST_H
#define PV_XEN_FAST_H

#include "../../src/vmm/vmm.h"

#define PV_SYSCALL_VECTOR 0x80

struct pv_xen_fast {
    const uint64_t *gate;       /* the guest's gate for INT 0x80, */
    uint64_t gate_value;        /* and what it was when the next were taken from it */
    uint64_t eip;               /* handler */
    const uint64_t *fault_gate; /* the same for page faults */
    uint64_t fault_gate_value;
    uint64_t fault_eip;
    uint64_t fault_error;  /* bits of a page fault's error code that the guest gets as they are */
    const uint64_t *stack; /* the guest's TSS: ESP0 and SS0 */
    uint64_t ss0;          /* what the kernel has in SS anyway, so that nothing changes */
    uint64_t reserved;     /* bits of a table entry that make it another fault */
    uint64_t user_cs;      /* the selectors that user code returns to; 0: no return is fast */
    uint64_t user_ss;
    uint32_t user_gs;   /* selector that user code's base of GS belongs to; ~0: none */
    uint32_t kernel_cs; /* CS, the same */
    /* their descriptors, as the processor has them and as the guest's table must still have them */
    const uint64_t *user_code, *user_stack;
    uint64_t user_code_value, user_stack_value;
    uint64_t watches; /* how many descriptors more to look at: */
    const uint64_t *watch[PV_WATCHES];
    uint64_t watch_value[PV_WATCHES]; /* as the processor has them */
    uint64_t never;                   /* a gate that is never right */
};

#endif
