/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Operations that Xen takes for itself: a #GP with error code 0 of the domain's kernel goes to
 * Xen's emulator first (pv_emulate_privileged_op() and validate() in
 * xen/arch/x86/pv/emul-priv-op.c, Xen 4.17), which does these for the virtual processor that it
 * believes in, and tells nobody. What it does and why the VMM cannot have them:
 * docs/backend-interface.md.
 */
#ifndef PV_XEN_EMULATES_H
#define PV_XEN_EMULATES_H

#include <previrt/ia32.h>

#define PV_XEN_EMULATES                                                                            \
    PREVIRT_IA32_MOV_FROM_CR, PREVIRT_IA32_MOV_TO_CR, PREVIRT_IA32_MOV_FROM_DR,                    \
        PREVIRT_IA32_MOV_TO_DR, PREVIRT_IA32_CLTS, PREVIRT_IA32_RDMSR, PREVIRT_IA32_WRMSR,         \
        PREVIRT_IA32_WBINVD, PREVIRT_IA32_CPUID, PREVIRT_IA32_RDTSC, PREVIRT_IA32_RDTSCP,          \
        PREVIRT_IA32_XSETBV

#endif
