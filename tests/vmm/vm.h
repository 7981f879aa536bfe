/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The back-end of the tests: src/vmm on a host, with guest RAM in a host's memory, and mappings in
 * tables that nobody but these files look at. What executes guest code is a struct vm_processor:
 * Unicorn (cpu_unicorn.c), or for code that nobody has thought of a small interpreter
 * (cpu_small.c).
 *
 * It is strict where a hypervisor may be lenient: kernel and user views are separate, mappings of
 * anything but guest RAM and the VMM's own pages are a violation, and so is a set-up that the
 * processor would not take.
 */
#ifndef VM_H
#define VM_H

#include <stdbool.h>

#include "../../src/vmm/vmm.h"

/* Where the VMM's pages are, as on Xen (backends/xen/layout.h). */
#define VM_LOW_BASE   0xffc00000u
#define VM_LOW_ENTRY  (VM_LOW_BASE + 0x1000)
#define VM_LOW_STUBS  (VM_LOW_BASE + 0x3000)
#define VM_STUBS_SIZE 0x10000u
#define VM_LOW_SIZE   (VM_LOW_STUBS - VM_LOW_BASE + VM_STUBS_SIZE)
#define VM_SITES      2048

/* The processor's own selectors, behind the guest's 512 descriptors. */
#define VM_SELECTOR_CODE  0x1003u /* of guest kernel code */
#define VM_SELECTOR_DATA  0x100bu
#define VM_SELECTOR_ENTRY 0x1013u /* where the stubs' far jumps go */
#define VM_GDT_ENTRIES    1024

/* Vectors behind the processor's: what ended a run of guest code. */
enum vm_exit_kind {
    VM_EXIT_TRAP,      /* (vector), (error), (cr2) */
    VM_EXIT_OPERATION, /* a stub came to VM_LOW_ENTRY, its number on the stack */
    VM_EXIT_STEPS,     /* step_limit instructions were executed */
    VM_EXIT_STOP       /* reached an address in [stop_from, stop_to) */
};

struct vm_exit {
    enum vm_exit_kind kind;
    unsigned vector;
    uint32_t error;
    gva_t cr2;
    int software;    /* a software interrupt: EIP is behind the instruction */
    uint16_t cs, ss; /* of user code; 0: kernel code was executed */
};

struct vm;

struct vm_processor {
    void (*run)(struct vm *vm, struct vm_exit *exit); /* from and to vm->vmm->cpu and segments */
    void (*changed)(struct vm *vm, gva_t va);         /* what is mapped at (va) */
    void (*changed_all)(struct vm *vm);
    void (*close)(struct vm *vm);
};

struct vm_space {
    uint64_t *l1[PV_REGIONS]; /* 512 entries: address in RAM or from PV_GPA_LOW, and below */
    bool used;                /* some are not NULL */
};
#define VM_ENTRY_PRESENT    1u
#define VM_ENTRY_WRITE      2u
#define VM_ENTRY_EXEC       4u
#define VM_ENTRY_USER       8u
#define VM_ENTRY_USER_WRITE 16u

struct vm {
    struct pv_vmm *vmm;
    struct pv_node *nodes;
    uint8_t *ram, *low;
    uint64_t *gdt, *ldt; /* the processor's */
    uint32_t ldt_entries;
    struct vm_space space[PV_SPACES];
    uint64_t *kernel_l1[PV_KERNEL_REGIONS];
    unsigned active;
    uint16_t segment[6];            /* ES, DS, FS, GS: the processor's, */
    uint64_t segment_descriptor[6]; /* and what it has read for them */
    uint32_t dr[8];
    int ts;
    uint64_t now, deadline;
    struct pv_op_site sites[VM_SITES];
    struct pv_stub stubs[VM_SITES];
    uint32_t stub_bytes; /* of the stub area, used by vm_site() */

    const struct vm_processor *processor;
    void *processor_state;

    bool powered;
    int power_status;
    char console[16384];
    size_t console_length;
    char violation[160]; /* a rule that the VMM broke; empty: none */

    uint64_t steps, step_limit; /* guest instructions */
    gva_t stop_from, stop_to;
    bool stop_on_halt;
    bool idle_forever; /* halted, and nothing will ever come */

    /* called before every return to the guest */
    void (*before_entry)(struct vm *vm);
    void *context;
};

enum vm_end {
    VM_END_STOP,  /* reached the stop range; not executed */
    VM_END_STEPS, /* step_limit reached */
    VM_END_HALT,  /* the virtual CPU is halted, and stop_on_halt is set */
    VM_END_POWER  /* the guest has ended, or waits for what never comes */
};

/* RAM is zeroed, the virtual CPU as pv_load() leaves it: protected mode, flat, paging off. */
struct vm *vm_new(size_t ram_size, const struct vm_processor *processor);
/* The same for a machine that was used: cheaper. */
void vm_reset(struct vm *vm);
void vm_free(struct vm *vm);

extern const struct vm_processor vm_unicorn, vm_small;

enum vm_end vm_run(struct vm *vm);

/*
 * Puts the sensitive instruction (bytes) at guest-physical (gpa), which is guest-virtual (gva), and
 * rewrites it as pv_rewrite() would, with (room) bytes. Returns the address behind it, 0 if there
 * is no form for it.
 */
gva_t vm_site(struct vm *vm, gva_t gva, gpa_t gpa, const void *bytes, size_t size, unsigned room,
              int flags_dead);

/* What the processor gets at (va): the host's memory, or NULL. (access): 0 read, 1 write, 2 fetch.
 */
uint8_t *vm_translate(struct vm *vm, gva_t va, int access);
uint64_t vm_entry(struct vm *vm, gva_t va); /* VM_ENTRY_* | address, 0: not mapped */

void vm_violation(struct vm *vm, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Guest RAM */
uint32_t vm_get32(struct vm *vm, gpa_t gpa);
void vm_put32(struct vm *vm, gpa_t gpa, uint32_t value);
void vm_put64(struct vm *vm, gpa_t gpa, uint64_t value);
void vm_put(struct vm *vm, gpa_t gpa, const void *bytes, size_t size);

#endif
