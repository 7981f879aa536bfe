/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest VMM behind the target vcpu: its dispatcher makes the instruction again from the
 * frame's descriptor alone and executes it in a third machine, whose privileged state is the
 * virtual CPU's.
 */
#ifndef VMM_H
#define VMM_H

#include <previrt/vcpu.h>

#include "machine.h"

struct vmm {
    struct machine *guest; /* runs the rewritten code */
    struct machine *cpu;   /* the virtual CPU; shares the guest's memory */
    uint32_t code;         /* where it executes next: never twice at the same place */
    unsigned dispatches;
    unsigned op;   /* last dispatched */
    uint32_t site; /* last dispatched: return address - 5 */
    bool flags_dead;
    char problem[128]; /* a descriptor that cannot be understood */
};

/* Begins a state: the page shows the virtual CPU's registers, with (eflags)' IF and (pending). */
void vmm_begin(struct vmm *vmm, uint32_t eflags, bool pending);

/* For machine.dispatch; context is the struct vmm. */
void vmm_dispatch(struct machine *machine, void *context);

#endif
