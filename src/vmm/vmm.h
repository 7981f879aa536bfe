/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-place VMM: what every back-end shares. Freestanding; one struct pv_vmm is one guest,
 * nothing else is global. docs/backend-interface.md explains the seam between this and a
 * hypervisor.
 *
 * Three address types never mix: gva_t (guest-virtual), gpa_t (guest-physical), and the back-end's
 * own frames, which this code never sees. Guest memory is reached only through pv_gpa() and the
 * walkers in memory.c.
 */
#ifndef PV_VMM_H
#define PV_VMM_H

#include <stddef.h>
#include <stdint.h>
#include <previrt/ia32.h>
#include <previrt/rewrite.h>
#include <previrt/table.h>
#include <previrt/counters.h>
#include <previrt/device.h>
#include <previrt/vcpu.h>

typedef uint32_t gva_t;
typedef uint64_t gpa_t;

#define PV_PAGE_SIZE 4096u
#define PV_PAGE_MASK (PV_PAGE_SIZE - 1)

struct pv_vmm;

/* SDM 3A 7.2.1: ESP0, then SS0 */
#define PV_TSS_ESP0     4u
#define PV_TSS_ESP0_END 11u /* last byte of SS0 */

/* ---- registers ---- */

enum pv_gpr { PV_EAX, PV_ECX, PV_EDX, PV_EBX, PV_ESP, PV_EBP, PV_ESI, PV_EDI };
enum pv_sreg { PV_ES, PV_CS, PV_SS, PV_DS, PV_FS, PV_GS };

/* EFLAGS, SDM 1 3.4.3 */
#define EFLAGS_CF    (1u << 0)
#define EFLAGS_FIXED (1u << 1)
#define EFLAGS_ZF    (1u << 6)
#define EFLAGS_TF    (1u << 8)
#define EFLAGS_IF    (1u << 9)
#define EFLAGS_DF    (1u << 10)
#define EFLAGS_IOPL  (3u << 12)
#define EFLAGS_NT    (1u << 14)
#define EFLAGS_RF    (1u << 16)
#define EFLAGS_VM    (1u << 17)
#define EFLAGS_AC    (1u << 18)
#define EFLAGS_VIF   (1u << 19)
#define EFLAGS_VIP   (1u << 20)
#define EFLAGS_ID    (1u << 21)
/* what user code may hold in the real register while it runs */
#define EFLAGS_USER 0x00250fd5u /* CF PF AF ZF SF TF IF DF OF RF AC ID without IOPL, NT, VM */

/* CR0, CR4: SDM 3A 2.5 */
#define CR0_PE   (1u << 0)
#define CR0_MP   (1u << 1)
#define CR0_EM   (1u << 2)
#define CR0_TS   (1u << 3)
#define CR0_ET   (1u << 4)
#define CR0_NE   (1u << 5)
#define CR0_WP   (1u << 16)
#define CR0_AM   (1u << 18)
#define CR0_NW   (1u << 29)
#define CR0_CD   (1u << 30)
#define CR0_PG   (1u << 31)
#define CR4_TSD  (1u << 2)
#define CR4_DE   (1u << 3)
#define CR4_PSE  (1u << 4)
#define CR4_PAE  (1u << 5)
#define CR4_PGE  (1u << 7)
#define EFER_NXE (1u << 11)

/* page-table entries: SDM 3A 4.3, 4.4 */
#define PTE_P       (1ull << 0)
#define PTE_RW      (1ull << 1)
#define PTE_US      (1ull << 2)
#define PTE_A       (1ull << 5)
#define PTE_D       (1ull << 6)
#define PTE_PS      (1ull << 7)
#define PTE_G       (1ull << 8)
#define PDE_PAT     (1ull << 12) /* of an entry for a large page */
#define PTE_NX      (1ull << 63)
#define PTE_ADDRESS 0x000ffffffffff000ull
/* of a present PAE entry, must be 0 (SDM 3A 4.4.2, table 4-11); PTE_NX, too, without EFER.NXE */
#define PTE_RESERVED (0x7ffull << 52)
/* of one that maps a large page: below its address, PAT (bit 12) apart (tables 4-4 and 4-9, without
 * PSE-36) */
#define PDE_RESERVED_4M 0x3fe000u
#define PDE_RESERVED_2M 0x1fe000u

/* page-fault error code, SDM 3A 4.7 */
#define PFE_P    1u
#define PFE_W    2u
#define PFE_U    4u
#define PFE_RSVD 8u
#define PFE_I    16u

/* exception vectors, SDM 3A 6.3.1 */
enum pv_vector {
    VECTOR_DE = 0,
    VECTOR_DB = 1,
    VECTOR_NMI = 2,
    VECTOR_BP = 3,
    VECTOR_OF = 4,
    VECTOR_BR = 5,
    VECTOR_UD = 6,
    VECTOR_NM = 7,
    VECTOR_DF = 8,
    VECTOR_TS = 10,
    VECTOR_NP = 11,
    VECTOR_SS = 12,
    VECTOR_GP = 13,
    VECTOR_PF = 14,
    VECTOR_MF = 16,
    VECTOR_AC = 17,
    VECTOR_XM = 19
};

/*
 * The virtual CPU. The back-end's entry code saves the guest's registers into (gpr), (eip),
 * (eflags) and loads them from there; offsets that assembler needs are generated from this struct.
 */
struct pv_cpu {
    uint64_t gpr[8]; /* zero-extended */
    uint64_t eip;
    uint64_t eflags;           /* arithmetic flags, TF, AC, ID; IF and IOPL are virtual, below */
    uint32_t user;             /* 1: the guest's user mode (CPL 3), 0: its kernel */
    uint32_t user_cs, user_ss; /* selectors while in user mode */
    uint32_t kernel_cs;        /* selector that kernel code believes to run with */
    uint32_t kernel_ss;
    uint32_t iopl;
    uint32_t cr0, cr2, cr3, cr4;
    uint32_t dr[8];
    uint64_t efer;
    uint32_t gdt_base, gdt_limit, idt_base, idt_limit;
    uint16_t ldt, tr;
    uint32_t ldt_base, ldt_limit; /* of the descriptor that was in the GDT at LLDT; limit 0: none */
    uint32_t tss_base, tss_limit;
    uint32_t halted; /* hlt executed, waits for an interrupt */
    uint32_t shadow; /* interrupts are held off as long as eip is (shadow_eip) */
    uint32_t shadow_eip;
    uint64_t msr_sysenter[3];
    uint64_t msr_pat, msr_misc_enable, msr_apicbase;
};

/* ---- guest address spaces as a back-end sees them ---- */

enum pv_protection {
    PV_MAP_WRITE = 1,
    PV_MAP_EXEC = 2,
    PV_MAP_USER = 4,
    PV_MAP_USER_WRITE = 8,
    PV_MAP_MORE = 16 /* takes nothing away that was allowed at this address: no TLB needs a flush */
};

/*
 * One change to a space, queued. (gpa) is page-aligned guest RAM. protection < 0: unmap.
 * PV_MAP_USER: user code may use it too, so it belongs in both views; without it only in the
 * kernel's. PV_MAP_USER_WRITE: user code may write, too (with CR0.WP off the kernel may write where
 * user code may not).
 */
struct pv_backend {
    void *context;
    /* page mappings of space (space); kernel half (va >= PV_KERNEL_BASE) is common to all spaces */
    void (*map)(void *context, unsigned space, gva_t va, gpa_t gpa, int protection);
    void (*unmap)(void *context, unsigned space, gva_t va);
    /* drop every mapping of the space below the kernel half */
    void (*clear)(void *context, unsigned space);
    /* make queued changes effective and this space current */
    void (*activate)(void *context, unsigned space);
    /* GDT entry (index) that the processor uses becomes (descriptor) */
    void (*set_descriptor)(void *context, unsigned index, uint64_t descriptor);
    /* the same for the LDT that the processor uses, and how many entries it has (0: no LDT) */
    void (*set_local_descriptor)(void *context, unsigned index, uint64_t descriptor);
    void (*set_ldt)(void *context, unsigned entries);
    /* debug register (0 to 3, 6, 7) of the processor; what DR6 says after a debug exception */
    void (*set_debug_register)(void *context, unsigned number, uint32_t value);
    uint32_t (*debug_status)(void *context);
    void (*set_ts)(void *context, int on);
    /* the processor's ES, DS, FS and GS, which hold the guest's own selectors */
    void (*segment_load)(void *context, unsigned sreg, uint16_t selector);
    uint16_t (*segment_read)(void *context, unsigned sreg);
    void (*console)(void *context, const char *text, size_t length);
    uint64_t (*now)(void *context);                     /* nanoseconds, monotonic */
    uint64_t (*date)(void *context);                    /* seconds since 1970, UTC */
    void (*set_deadline)(void *context, uint64_t when); /* next timer event, ~0: none */
    void (*block)(void *context);                       /* wait for an event or the deadline */
    void (*power)(void *context, int status);           /* end: 0 reboot/poweroff, else failure */
    /* operations of kernel code, 0 behind the last, that fault for their privilege and that the
     * hypervisor then emulates itself, in its own way, without asking; NULL: none */
    const uint8_t *emulates;
};

/* A status for power() that the guest itself gave (debug-exit port): six bits of it, and this */
#define PV_STATUS_GUEST 0x40u

/* Statuses for power() */
#define PV_POWER_RESET   0 /* the guest reset its machine */
#define PV_POWER_ENDED   1 /* the VMM ended the guest: pv_die() */
#define PV_POWER_REFUSED 3 /* the guest was not started: pv_refuse() */
#define PV_POWER_SITES   4 /* nor was it, since not all sites can be rewritten */
#define PV_POWER_PANIC   9 /* the guest's kernel panicked */

#define PV_TYPED       4096u
#define PV_SPACES      48
#define PV_SPACE_HINTS 64
#define PV_KERNEL_BASE 0xc0000000u
#define PV_NODES       1600
#define PV_NODE_SPAN   0x200000u /* 2 MiB: 512 pages */

/* What of one 2 MiB stretch of a space is mapped, and the guest's entries that it was mapped from.
 */
struct pv_node {
    uint16_t next_free; /* in a space: the next of its nodes */
    uint16_t large;     /* mapped from a large page: (pde) says all */
    gva_t base;
    uint64_t pde;                 /* guest's entry above, as seen last */
    uint32_t used;                /* entries of (pte) that are not 0 */
    uint64_t bits[8];             /* which entries of (pte) are not 0, */
    uint32_t words;               /* and which of (bits) */
    uint64_t pte[512];            /* guest entry as mapped, 0: not mapped */
#define PV_PTE_STALE (1ull << 62) /* differs from every entry that we read: map it again */
};

#define PV_REGIONS        (PV_KERNEL_BASE / PV_NODE_SPAN) /* below the kernel half */
#define PV_KERNEL_REGIONS (2048 - PV_REGIONS)

struct pv_space {
    uint32_t cr3;
    uint32_t valid;
    uint64_t stamp;              /* last use */
    uint16_t first;              /* of its nodes; 0: none */
    uint16_t region[PV_REGIONS]; /* node of each 2 MiB stretch, 0: none */
};

#define PV_LDT_ENTRIES 8192u /* SDM 3A 3.5.1: a selector's index has 13 bits */

/* DR6 and DR7 after a reset, SDM 3A table 9-1 */
#define DR6_BS    (1u << 14) /* a single step */
#define DR6_RESET 0xffff0ff0u
#define DR7_RESET 0x00000400u
#define DR7_GD    (1u << 13)

/* Guest-physical addresses from here on are pages of the VMM that the guest may use: stubs and vCPU
 * page. */
#define PV_GPA_LOW (1ull << 40)

/* A rewritten site, as its stub names it. */
struct pv_op_site {
    gva_t address;
    uint8_t room; /* the guest goes on at address + room */
    struct previrt_ia32_insn insn;
};

/* What a stub has done, so that it can be undone. */
enum pv_stub_effect {
    PV_STUB_NOTHING,
    PV_STUB_SET_IF,       /* the virtual IF is set, and was not */
    PV_STUB_SET_IF_FLAGS, /* and EFLAGS are on the stack */
    PV_STUB_FLAGS,        /* EFLAGS are on the stack; */
    PV_STUB_FLAGS_TWICE,  /* behind them another word */
    PV_STUB_NUMBER,       /* its number is on the stack */
    PV_STUB_DONE          /* all that the operation does */
};

#define PV_STUB_MARKS 10

/* The stub of site[i] of struct pv_stubs. */
struct pv_stub {
    gva_t address;
    uint8_t size;
    uint8_t marks;
    struct {
        uint8_t offset,
            effect; /* enum pv_stub_effect, from this offset on; before the first: nothing */
    } mark[PV_STUB_MARKS];
    uint32_t code_crc; /* code.c: CRC-32C of what the site holds now */
};

/* All stubs, in ascending order of their addresses. The back-end sets all but (count) and the
 * inline members. */
struct pv_stubs {
    struct pv_op_site *site; /* (limit) of each */
    struct pv_stub *stub;
    uint32_t count, limit;
    gva_t address; /* where stubs are, */
    uint32_t size;
    uint8_t *memory;       /* and how the VMM writes there */
    uint8_t *untranslated; /* (size) more: what is mapped at (address) - load_offset */
    gva_t entry;           /* where they jump to, with their number pushed */
    gva_t iret_entry;      /* the same for IRET; 0: as the others */
    uint16_t entry_selector;
    uint8_t native_tsc; /* RDTSC of the guest needs nobody: it tells what pv_tsc() does */
    uint8_t tell_gs;    /* loads of GS that the processor does set PV_ATTENTION_GS */
    previrt_emit_fn inline_emit;
    void *inline_context;
};

static inline int pv_if(const volatile struct previrt_vcpu_page *page)
{
    return ((const volatile uint8_t *)&page->eflags)[PREVIRT_VCPU_IF_BYTE] != 0;
}

static inline void pv_set_if(volatile struct previrt_vcpu_page *page, int on)
{
    ((volatile uint8_t *)&page->eflags)[PREVIRT_VCPU_IF_BYTE] =
        on ? PREVIRT_VCPU_IF_SET : PREVIRT_VCPU_IF_NONE;
}

/* What waits for a return to user code: struct previrt_vcpu_page, (attention). The guest's kernel
 * could write it: nothing is believed but that something may be worth doing. */
enum pv_attention {
    PV_ATTENTION_GS,     /* GS was loaded */
    PV_ATTENTION_REFILL, /* a page fault was passed on */
    PV_ATTENTION_BACKEND /* for the back-end's use */
};

#define PV_PAGE_IOPL offsetof(struct previrt_vcpu_page, vmm) /* IOPL, as stubs look at it */

#define PV_WATCHES 8

/*
 * Kernel code that is not in the image that was loaded: modules, generated code (code.c). A page of
 * the kernel half outside the image is not executable in the shadow until it was looked at, and not
 * writable from then on; a write makes it as before.
 */
#define PV_KERNEL_PAGES ((0u - PV_KERNEL_BASE) / PV_PAGE_SIZE)
#define PV_TABLES       128

/* A patch-up table found in guest memory, whose sites are rewritten; or room for one. */
struct pv_table {
    gva_t notes;
    uint32_t notes_size, notes_crc;
    uint32_t first, limit; /* numbers of sites; those with stubs come first, ordered as these are */
    uint32_t sites;        /* how many of them; 0: this is room */
    gva_t stubs;           /* and where their stubs are */
    uint32_t stubs_size;
};

struct pv_code {
    gva_t image_from, image_to; /* to 0: nothing is looked for */
    void *memory;               /* for plans, and copies of text and tables */
    size_t memory_size;
    uint8_t looked[PV_KERNEL_PAGES / 8];
    uint8_t open[PV_KERNEL_PAGES / 8]; /* writable and executable: it writes to itself */
    struct pv_table table[PV_TABLES];  /* in the order of numbers and stubs, without gaps */
    unsigned tables;
    uint32_t bad_crc; /* the table that was refused last */
};

struct pv_vmm {
    struct pv_cpu cpu;
    struct pv_backend backend;
    volatile struct previrt_vcpu_page *page;
    uint8_t *ram; /* VMM's own mapping of guest-physical 0 */
    gpa_t ram_size;
    gva_t low_base, low_size; /* region of stubs and vCPU page, at its link address */
    gva_t load_offset;        /* link address minus physical address */
    /* shadow */
    struct pv_space space[PV_SPACES];
    uint8_t space_hint[PV_SPACE_HINTS]; /* by CR3: where its space may be */
    uint64_t *directory[4]; /* PAE: the page directories as CR3 was loaded; NULL: none */
    /* A page fault at (refill_va) was passed on to the guest, and PV_ATTENTION_REFILL is set: what
     * it maps there is mapped when it returns, if (*refill_entry) is not (refill_value) any more;
     * NULL: the entry is not known. */
    gva_t refill_va;
    const uint64_t *refill_entry;
    uint64_t refill_value;
    unsigned current;
    uint64_t stamp;
    uint16_t kernel_region[PV_KERNEL_REGIONS];
    uint16_t free_nodes;
    struct pv_node *node; /* PV_NODES of them, index 0 unused */
    uint64_t gdt_mirror[512];
    uint16_t watch[PV_WATCHES]; /* entries of the GDT that changed while user code existed */
    unsigned watches;           /* how many; PV_WATCHES: too many to remember */
    uint64_t ldt_mirror[PV_LDT_ENTRIES];
    uint8_t booted; /* user mode was entered once */
    /* One instruction of an interrupt shadow runs with EFLAGS.TF: now; until this exit; it did run
     */
    uint8_t stepping, was_stepping, stepped;
    uint8_t guest_tf;       /* what the guest has there */
    uint8_t undone;         /* this exit interrupted a stub, */
    uint32_t undone_number; /* which would have pushed this */
    uint8_t dead;
    /* Set when something changed that a back-end may have pointers to: which descriptor tables, TSS
     * and watched entries there are, and where the kernel half is. The back-end clears it. */
    uint8_t tables_changed;
    uint8_t counters_at_end; /* print them when the guest ends */
    uint8_t console_escape;  /* PREVIRT_COUNTERS_KEY was typed */
    uint8_t typed[PV_TYPED]; /* a ring: what COM1 had no room for yet */
    uint32_t typed_first, typed_count;
    uint8_t panicked, panic_matched; /* what the guest's console says: see devices.c */
    struct pv_stubs stubs;
    struct pv_code code;
    struct previrt_pc pc;
    uint64_t device_time; /* what the devices' clock says while they are brought up to date */
    uint8_t advancing;    /* that is now */
    uint64_t tick_taken;  /* when the guest took its last timer interrupt */
    struct previrt_device counters_device;
    struct previrt_range counters_range;
    struct previrt_counters mark; /* (count) as it was at PREVIRT_COUNTERS_MARK */
    /* a page of its own: it is mapped into the guest */
    struct previrt_counters count __attribute__((aligned(PREVIRT_COUNTERS_SIZE)));
};

/* The node number of the stretch around (va) in the current space, 0: none. */
static inline uint16_t *pv_region(struct pv_vmm *vmm, gva_t va)
{
    unsigned region = va >> 21;

    return region >= PV_REGIONS ? &vmm->kernel_region[region - PV_REGIONS]
                                : &vmm->space[vmm->current].region[region];
}

/* memory.c */
struct pv_walk {
    gpa_t gpa;        /* of the byte */
    uint64_t flags;   /* effective P RW US NX G, D and A of the leaf */
    gpa_t pte_gpa;    /* where the leaf entry stands */
    uint8_t pte_size; /* 4 or 8 */
    uint8_t large;
};
void *pv_gpa(struct pv_vmm *vmm, gpa_t gpa, size_t size); /* NULL: not RAM */
/* What is mapped at (va) now, as kernel code may read or write it, up to the end of the page; NULL:
 * nothing, which does not mean that the guest's tables have nothing. */
void *pv_mapped(struct pv_vmm *vmm, gva_t va, int write);
#define PV_WALK_ABSENT 0x100
/* 0, PV_WALK_ABSENT, or the page fault's P and RSVD */
int pv_walk(struct pv_vmm *vmm, gva_t va, struct pv_walk *walk);
/* Whether a present PAE entry has bits that must be 0. (Addresses that the processor does not have
 * are outside of memory for us.) */
static inline int pv_reserved(const struct pv_vmm *vmm, uint64_t e)
{
    return (e & (PTE_RESERVED | (vmm->cpu.efer & EFER_NXE ? 0 : PTE_NX))) != 0;
}
/* Whether a present page-directory entry, of either format, maps a large page; has such bits. */
static inline int pv_pde_large(const struct pv_vmm *vmm, uint64_t e)
{
    return (e & PTE_PS) && (vmm->cpu.cr4 & (CR4_PAE | CR4_PSE));
}
static inline int pv_pde_reserved(const struct pv_vmm *vmm, uint64_t e)
{
    const int pae = (vmm->cpu.cr4 & CR4_PAE) != 0;

    return (pae && pv_reserved(vmm, e)) ||
           (pv_pde_large(vmm, e) && (e & (pae ? PDE_RESERVED_2M : PDE_RESERVED_4M)));
}
/* copy; 0 or the faulting address's page-fault error code | 0x100 with cr2 in (*fault) */
int pv_read(struct pv_vmm *vmm, gva_t va, void *out, size_t size, gva_t *fault);
int pv_write(struct pv_vmm *vmm, gva_t va, const void *in, size_t size, gva_t *fault);

/* shadow.c */
void pv_shadow_init(struct pv_vmm *vmm);
void pv_shadow_stack(struct pv_vmm *vmm);
int pv_shadow_has_stack(struct pv_vmm *vmm); /* the kernel's stack is mapped */
int pv_shadow_fault(struct pv_vmm *vmm, gva_t va,
                    uint32_t error); /* 1: resolved; 0: guest's own fault */
void pv_shadow_cr3(struct pv_vmm *vmm, uint32_t cr3);
void pv_shadow_flush_all(struct pv_vmm *vmm);
void pv_shadow_rights(struct pv_vmm *vmm);
void pv_shadow_invlpg(struct pv_vmm *vmm, gva_t va);
void pv_shadow_refill(struct pv_vmm *vmm); /* the guest returns from a page fault */
void pv_shadow_paging_mode(struct pv_vmm *vmm);
int pv_shadow_mapped(struct pv_vmm *vmm, gva_t va); /* 1: something is mapped at (va) */
/* What is mapped at (va) is mapped again, since its protection has changed. */
void pv_shadow_remap(struct pv_vmm *vmm, gva_t va);

/* code.c */
/* (protection) of the page at (va) with the guest's (flags), as far as it is code that was looked
 * at */
int pv_code_protection(struct pv_vmm *vmm, gva_t va, uint64_t flags, int protection);
/* Another frame, or none, is at (va). */
void pv_code_gone(struct pv_vmm *vmm, gva_t va);
/* Kernel code is about to be executed, or written, at (va), where the guest allows it. 1: the
 * protection has changed. */
int pv_code_fault(struct pv_vmm *vmm, gva_t va, uint32_t error);
/* The image is rewritten, with (stub_bytes) of stubs: what is left is for tables found later. */
void pv_code_init(struct pv_vmm *vmm, gva_t from, gva_t to, uint32_t stub_bytes, void *memory,
                  size_t size);

/* trap.c */
/* (software): length of the instruction that asked for it, behind which eip is; 0: an exception or
 * a device */
int pv_inject(struct pv_vmm *vmm, unsigned vector, int has_error, uint32_t error, int software);
/* Guest code was left: user code with its selectors (RPL 3), or kernel code (any other RPL). */
void pv_interrupted(struct pv_vmm *vmm, uint16_t cs, uint16_t ss);
/* ... by an exception, or by a software interrupt that the hypervisor lets through: 3, 4, 0x80 */
void pv_trap(struct pv_vmm *vmm, unsigned vector, uint32_t error, gva_t cr2);
void pv_exception(struct pv_vmm *vmm, unsigned vector, uint32_t error, gva_t cr2);
void pv_step_end(struct pv_vmm *vmm); /* guest code was left: EFLAGS.TF is the guest's again */
void pv_deliver(struct pv_vmm *vmm);  /* pending interrupts, before every return to the guest */
int pv_sync_descriptors(struct pv_vmm *vmm); /* 1: some had changed */
void pv_load_descriptors(struct pv_vmm *vmm);
void pv_sync_watched(struct pv_vmm *vmm);
void pv_sync_ldt(struct pv_vmm *vmm);
int pv_descriptor(struct pv_vmm *vmm, uint16_t selector, uint64_t *descriptor);

/* task.c */
struct pv_fault {
    unsigned vector;
    uint32_t error;
};
enum pv_task { PV_TASK_JUMP, PV_TASK_CALL, PV_TASK_RETURN };
/* 0: the other task is current, with (error) on its stack if it is not NULL; -1: (fault) */
int pv_task_switch(struct pv_vmm *vmm, uint16_t selector, enum pv_task how, const uint32_t *error,
                   struct pv_fault *fault);

/* ops.c */
uint32_t pv_eflags_image(struct pv_vmm *vmm);
int pv_write_cr(struct pv_vmm *vmm, unsigned cr, uint32_t value); /* -1: #GP(0) */
void pv_operation(struct pv_vmm *vmm, const struct pv_op_site *site);

/* policy.c: the virtual processor's features. The MSR functions return 0, or -1: #GP */
void pv_cpuid(struct pv_vmm *vmm);
/* EAX EBX ECX EDX of the processor become what the guest sees */
void pv_cpuid_filter(uint32_t leaf, uint32_t subleaf, uint32_t registers[4]);
int pv_read_msr(struct pv_vmm *vmm, uint32_t number, uint64_t *value);
int pv_write_msr(struct pv_vmm *vmm, uint32_t number, uint64_t value);
uint64_t pv_tsc(void);

/* rewrite.c */
/* How the VMM rewrites; where stubs go is left open. */
void pv_target(struct pv_vmm *vmm, struct previrt_target *target);
void pv_print_refusals(struct pv_vmm *vmm, const struct previrt_plan *plan);

/* stub.c */
int pv_stub_emit(void *vmm, struct previrt_stub_request *request); /* a previrt_emit_fn */
#define PV_STUB_UNTRANSLATED (1u << 31) /* in the number that a stub pushes */
void pv_stub_copy_untranslated(struct pv_stubs *stubs);
int pv_stub_inside(struct pv_vmm *vmm, gva_t eip); /* whether that is an address of a stub */
int pv_stub_behind_sti(struct pv_vmm *vmm, gva_t eip);
void pv_stub_undo(struct pv_vmm *vmm); /* kernel code was interrupted: not inside a stub then */
void pv_stub_operation(struct pv_vmm *vmm, uint32_t number); /* a stub has come to the entry */

/* devices.c */
void pv_devices_init(struct pv_vmm *vmm);
/* what was typed on the console; the VMM's own keys are taken out */
void pv_console_input(struct pv_vmm *vmm, const uint8_t *data, size_t length);
void pv_reset(struct pv_vmm *vmm);           /* the guest reset its machine: the end */
unsigned pv_acknowledge(struct pv_vmm *vmm); /* takes an interrupt: its vector */
void pv_time(struct pv_vmm *vmm);            /* advance the devices to now, arm the next deadline */

/* report.c */
void pv_printf(struct pv_vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pv_die(struct pv_vmm *vmm, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same before the guest has started: the reason is all that there is to say. */
void pv_refuse(struct pv_vmm *vmm, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* everything, or what came since the mark */
void pv_dump_counters(struct pv_vmm *vmm, int since_mark);
/* the guest ends of itself: 0 reset, else failure */
void pv_end(struct pv_vmm *vmm, int status);

/* load.c, linux.c, multiboot.c */
struct pv_boot {
    const void *image; /* ELF file */
    size_t size;
    const void *module; /* ramdisk */
    size_t module_size;
    const char *command_line;
    /* found on the way */
    uint64_t end; /* of the image in guest-physical memory */
    gpa_t module_at;
};
/* Loads and gets ready to start; 0, or -1 after pv_refuse(). */
int pv_load(struct pv_vmm *vmm, struct pv_boot *boot);
/* The virtual CPU as boot loaders hand it over, with a GDT of flat segments in the guest's memory.
 */
void pv_start_state(struct pv_vmm *vmm);
/* rewrite.c: the same guest's sites become inlined code and stubs; 0, or -1 after pv_refuse().
 * (plan_memory) stays in use. */
int pv_rewrite(struct pv_vmm *vmm, const struct pv_boot *boot, void *plan_memory, size_t plan_size);
int pv_start_linux(struct pv_vmm *vmm, const struct pv_boot *boot);
int pv_multiboot_header(const struct pv_boot *boot, uint32_t *offset); /* 1: there is one */
int pv_start_multiboot(struct pv_vmm *vmm, const struct pv_boot *boot, uint32_t header);

#endif
