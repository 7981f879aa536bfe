/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor: what stays below a rewritten guest. One block of position-independent code and data
 * in low memory, which runs at its physical address and at that address plus the guest's link
 * offset, as the stubs do.
 *
 * It does two things that stubs alone cannot: it shows the guest the faults of stubs where the
 * guest's own instructions stood, and it hides CPU features (catalogue policy MASK) from the guest.
 *
 * The structure below begins the block. Its first words are offsets from there, fixed at link time;
 * the loader fills in the rest, whose offsets monitor.c checks.
 */
#ifndef PV_RAW_MONITOR_H
#define PV_RAW_MONITOR_H

#define PV_MONITOR_MAGIC 0x6e6f4d50 /* "PMon" */

/* Entry points and vector entries */
#define PV_VECTORS     256
#define PV_VECTOR_SIZE 16 /* bytes of code for each */

/* Offsets in struct pv_monitor */
#define PV_M_STUB_PHYSICAL 28
#define PV_M_STUB_SIZE     32
#define PV_M_LINK_OFFSET   36
#define PV_M_MASK          48
#define PV_M_GUEST_IDTR    88
#define PV_M_SHADOW_IDTR   96
#define PV_M_SAVED_EFLAGS  104
#define PV_M_SHADOW        112

/* CPUID registers that are masked, in the order of (mask) */
#define PV_MASK_1_ECX        0
#define PV_MASK_1_EDX        1
#define PV_MASK_7_EBX        2
#define PV_MASK_7_ECX        3
#define PV_MASK_7_EDX        4
#define PV_MASK_D1_EAX       5
#define PV_MASK_80000001_ECX 6
#define PV_MASK_80000001_EDX 7
#define PV_MASK_80000008_EBX 8
#define PV_MASKS             9

/* Exceptions that push an error code (SDM 3A table 6-1) */
#define PV_ERROR_CODE_VECTORS                                                                      \
    (1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 | 1 << 21)
/* Faults, reported at the instruction that did not execute: #DE #BR #UD #NM #TS #NP #SS #GP #PF #MF
 * #AC #XM */
#define PV_FAULT_VECTORS                                                                           \
    (1 << 0 | 1 << 5 | 1 << 6 | 1 << 7 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 |         \
     1 << 16 | 1 << 17 | 1 << 19)
#define PV_EXCEPTIONS 32 /* vectors below are the CPU's own */
#define PV_VECTOR_NP  11
#define PV_VECTOR_GP  13

#define PV_EFLAGS_IF    (1 << 9)
#define PV_EFLAGS_VM    (1 << 17)
#define PV_SELECTOR_RPL 3

/* Gate descriptors, high word (SDM 3A 6.11) */
#define PV_GATE_PRESENT (1 << 15)
#define PV_GATE_KIND    0x1e00 /* S and type but for the bit that tells trap from interrupt gates */
#define PV_GATE_32BIT   0x0e00
#define PV_GATE_TRAP    (1 << 8)
#define PV_GATE_DPL     (3 << 13)

/* What pv_monitor_slow() wants done */
#define PV_SLOW_DELIVER 0
#define PV_SLOW_RETRY   1
#define PV_SLOW_SHIFTED 4 /* or a multiple: the frame has moved up so many bytes */

#ifndef __ASSEMBLER__
#include <stddef.h>
#include <stdint.h>

struct pv_idtr {
    uint16_t pad;
    uint16_t limit;
    uint32_t base;
};

struct pv_monitor {
    uint32_t magic;
    uint32_t size;       /* of the block */
    uint32_t at_vectors; /* entry of vector n: at_vectors + n * PV_VECTOR_SIZE */
    uint32_t at_lidt, at_sidt_begin, at_sidt_end, at_cpuid;

    uint32_t stub_physical, stub_size; /* the stub area */
    uint32_t link_offset;              /* virtual minus physical address */
    uint32_t at_stubs, stubs;          /* struct pv_monitor_stub, sorted by offset */
    uint32_t mask[PV_MASKS];           /* bits that CPUID keeps */

    uint32_t cs; /* of the guest when it loaded its table */
    struct pv_idtr guest_idtr, shadow_idtr;
    uint32_t saved_eflags; /* of an sidt under way */
    uint32_t reserved;
    uint64_t shadow[PV_VECTORS];
};

/* A stub, for the way back to its site. */
struct pv_monitor_stub {
    uint32_t offset; /* in the stub area */
    uint32_t site;   /* virtual address; 0: the return address tells */
    uint16_t length;
    uint16_t call; /* reached by a call: while it runs the return address is on top of the stack */
};
#endif

#endif
