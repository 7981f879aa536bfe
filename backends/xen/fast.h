/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ways that every system call and most page faults take, done in entry.S without a call of C:
 * INT 0x80 of user code into the guest's kernel, page faults of user code that the guest's tables
 * say are the guest's (PAE only), and IRET of the guest's kernel to user code. What they need of
 * the guest's tables is here, as pointers to the guest's own memory, so that a change of the
 * guest's is seen at once; pv_xen_prepare() fills it in. The checks of the long way
 * (src/vmm/trap.c, ops.c) have passed when a way is open, and what they depend on is either looked
 * at each time or closes the way when it changes (tables_changed). The segments of user code are
 * the processor's copies, as they are for all loads of segments that the VMM leaves to the
 * processor. What is not the common case goes the long way.
 */
#ifndef PV_XEN_FAST_H
#define PV_XEN_FAST_H

#include "../../src/vmm/vmm.h"

#define PV_SYSCALL_VECTOR 0x80

/* m16:32, as far jumps take it */
struct pv_xen_far {
    uint32_t offset;
    uint16_t selector;
};

struct pv_xen_fast {
    const uint64_t *gate;       /* the guest's gate for INT 0x80, */
    uint64_t gate_value;        /* and what it was when the next was taken from it */
    struct pv_xen_far far;      /* handler */
    const uint64_t *fault_gate; /* the same for page faults */
    uint64_t fault_gate_value;
    struct pv_xen_far fault_far;
    uint64_t fault_error;  /* bits of a page fault's error code that the guest gets as they are */
    const uint64_t *stack; /* the guest's TSS: ESP0 and SS0, */
    uint64_t stack_value;  /* and one that may be used */
    uint64_t ss0;          /* what the kernel has in SS anyway, so that nothing changes */
    uint32_t kernel_cs;    /* CS, the same */
    uint64_t reserved;     /* bits of a table entry that make it another fault */
    /* CS and EFLAGS of a frame that returns to user code, under a mask; ~0: no return is fast */
    uint64_t return_mask, return_value;
    uint32_t user_gs; /* selector that user code's base of GS belongs to; above 16 bits: none */
    uint64_t watches; /* how many descriptors to look at; the first always, if only at (never) */
    const uint64_t *watch[PV_WATCHES];
    uint64_t watch_value[PV_WATCHES]; /* as the processor has them */
    uint64_t never;                   /* a gate that is never right */
};

#endif
