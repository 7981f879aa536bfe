/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small guest with paging for the test back-end: a kernel half, user pages, descriptor tables and
 * a task state segment. Nothing in it runs by itself: a test puts code at GUEST_CODE or
 * GUEST_USER_CODE, and its handlers are addresses to stop at.
 */
#ifndef GUEST_H
#define GUEST_H

#include "vm.h"

enum {
    GUEST_RAM = 2 << 20,
    /* guest-physical; the kernel has them at GUEST_KERNEL above that */
    GUEST_GDT = 0x1000,
    GUEST_IDT = 0x2000,
    GUEST_TSS = 0x3000,
    GUEST_HANDLERS = 0x4000, /* 16 bytes a vector, */
    GUEST_DONE = 0x5000,     /* and behind them where tests end */
    GUEST_CODE = 0x8000,
    GUEST_DATA = 0x9000,
    GUEST_STACK = 0xa000, /* two pages */
    GUEST_STACK_TOP = 0xc000,
    GUEST_DIRECTORY = 0x10000, /* PAE: four directories, one behind the other */
    GUEST_POINTERS = 0x14000,  /* PAE: the page-directory-pointer table */
    GUEST_TABLES = 0x15000,    /* of the user half and of the kernel half */
    GUEST_USER = 0x20000,      /* frames of the user pages */
    GUEST_SPARE = 0x40000,
};
#define GUEST_KERNEL 0xc0000000u

/* Pages of the user half, guest-virtual; the frames are at GUEST_USER in this order. */
#define GUEST_USER_CODE      0x08000000u
#define GUEST_USER_DATA      0x08001000u
#define GUEST_USER_STACK     0x08002000u
#define GUEST_USER_STACK_TOP 0x08003000u
#define GUEST_USER_READ      0x08003000u /* read-only */
#define GUEST_USER_KERNEL    0x08004000u /* in the user half, but the kernel's */

enum {
    GUEST_CS = 0x08,
    GUEST_DS = 0x10,
    GUEST_USER_CS = 0x1b,
    GUEST_USER_DS = 0x23,
    GUEST_TR = 0x28,
    GUEST_GDT_LIMIT = 0x7f,
    GUEST_IDT_LIMIT = 0x7ff,
};

enum guest_mode { GUEST_UNPAGED, GUEST_2LEVEL, GUEST_PAE, GUEST_MODES };

/* (vm) is fresh or was reset. Execution begins at GUEST_CODE, in the kernel, IF off. */
void guest_start(struct vm *vm, enum guest_mode mode);
/* Guest-virtual address of what is at (gpa) for the kernel. */
gva_t guest_va(struct vm *vm, uint32_t gpa);
/* The vector at whose handler the guest is, -1: at none. */
int guest_vector(struct vm *vm);
/* Where the entry for (va) in the last level is. */
gpa_t guest_entry(struct vm *vm, gva_t va);
void guest_set_entry(struct vm *vm, gva_t va, uint64_t entry);
/* User code is next, at (eip), with (flags). */
void guest_to_user(struct vm *vm, gva_t eip, uint32_t flags);

/*
 * What must hold whatever the guest does: nothing but RAM and the VMM's own low pages is mapped,
 * and user code has none of these. (exact): after a flush, every mapping is one that the guest's
 * tables allow now. What does not hold is a violation.
 */
void guest_check(struct vm *vm, bool exact);

#endif
