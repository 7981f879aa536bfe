/* SPDX-License-Identifier: BSD-2-Clause */
/* Offsets for entry.S: compiled to assembler, from which the build takes the marked lines. */
#include "../../src/vmm/vmm.h"
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
    DEFINE(EVENT_VECTOR, 256);
    DEFINE(FAILSAFE_VECTOR, 257);
    DEFINE(LOW_ENTRY, PV_XEN_LOW_ENTRY);
}
