/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of the Xen back-end share: a 64-bit PV domain (Xen's public headers: xen.h,
 * arch-x86/xen-x86_64.h).
 */
#ifndef PV_XEN_XEN_H
#define PV_XEN_XEN_H

#define __XEN_INTERFACE_VERSION__ 0x00040d00
#include <stdint.h>
#include <xen/xen.h>
#include <xen/event_channel.h>
#include "../../src/vmm/vmm.h"
#include "fast.h"
#include "layout.h"

#define VIRT_BASE 0xffffffff80000000ul

/* In a page's entry. X_US is user code's: Xen sets it in all, but keeps apart what came without
 * it. */
#define X_P  1ul
#define X_RW 2ul
#define X_US 4ul
#define X_A  0x20ul
#define X_D  0x40ul
#define X_NX (1ul << 63)

#define LOW_BASE   PV_XEN_LOW_BASE
#define LOW_VCPU   LOW_BASE
#define LOW_STUBS  PV_XEN_LOW_STUBS
#define STUBS_SIZE 0x60000u
#define LOW_SIZE   (LOW_STUBS - LOW_BASE + STUBS_SIZE)

extern char hypercall_page[]; /* entry.S */

/* A hypercall with up to five arguments, and with up to three: what Xen returns. */
#define hypercall5(nr, a, b, c, d, e)                                                              \
    ({                                                                                             \
        long ret_, a_ = (long)(a), b_ = (long)(b), c_ = (long)(c);                                 \
        pv_guest.count.hypercalls++;                                                               \
        register long d_ __asm__("r10") = (long)(d);                                               \
        register long e_ __asm__("r8") = (long)(e);                                                \
        __asm__ volatile("call *%[f]"                                                              \
                         : "=a"(ret_), "+D"(a_), "+S"(b_), "+d"(c_), "+r"(d_), "+r"(e_)            \
                         : [f] "r"(hypercall_page + (nr)*32)                                       \
                         : "rcx", "r11", "memory");                                                \
        ret_;                                                                                      \
    })
#define hypercall3(nr, a, b, c) hypercall5(nr, a, b, c, 0, 0)

/* ---- xen.c ---- */

extern struct pv_vmm pv_guest; /* entry.S: begins with struct pv_cpu */
/* The vCPU page, the entry, the stubs; and the stubs again, as kernel code sees them that runs at
 * its load address. */
extern uint8_t pv_low_pages[LOW_SIZE + STUBS_SIZE];
extern uint8_t pv_shared_info_page[4096];
extern const unsigned long *pv_xen_p2m; /* the machine's frame for each of the domain's */

/* What Xen and the domain share. */
static inline shared_info_t *pv_xen_shared(void)
{
    return (shared_info_t *)pv_shared_info_page;
}

/* The domain's frame of a page of the VMM. */
static inline unsigned long pv_xen_pfn(const void *p)
{
    return ((unsigned long)p - VIRT_BASE) >> 12;
}

/* Ends the domain with a message and a number. */
__attribute__((noreturn)) void pv_xen_panic(const char *what, long value);
/* Ends the domain, with a status as for the power function of struct pv_backend. */
__attribute__((noreturn)) void pv_xen_stop(int status);

/* entry.S calls these, and those of time.c and fast.c. */
/* The start. It returns only if there is nothing to start, and the domain has been ended. */
void pv_xen_main(start_info_t *si);
/* An operation of a stub. */
void pv_xen_operation(uint32_t number);
/* A trap or an event. */
void pv_xen_trap(unsigned vector, uint32_t error, uint32_t cs, uint32_t ss);
/* A fault of the VMM itself. */
void pv_xen_fatal(const unsigned long *frame);

/* ---- console.c ---- */

void pv_xen_start_console(const start_info_t *si);
evtchn_port_t pv_xen_console_port(void);
void pv_xen_write(const char *text, size_t length);
/* Something was typed that nobody has been told of. */
int pv_xen_typed(void);
/* Takes what was typed. */
void pv_xen_poll_console(void);

/* Of struct pv_backend. */
void x_console(void *context, const char *text, size_t length);

/* ---- mmu.c ---- */

extern unsigned pv_xen_queued;  /* changes of tables that Xen does not know yet */
extern unsigned pv_xen_flushes; /* what the TLB has to forget before the guest runs; 0: nothing */
extern int pv_xen_space;        /* the one whose roots are loaded; -1: none */

/* Gives out the domain's memory, for the guest and for page tables, and maps what is fixed. */
void pv_xen_build_memory(const start_info_t *si);
/* Clears the guest's memory. */
void pv_xen_clear_ram(void);

/* Of struct pv_backend. */
void x_map(void *context, unsigned space, gva_t va, gpa_t gpa, int protection);
void x_unmap(void *context, unsigned space, gva_t va);
void x_clear(void *context, unsigned space);
void x_activate(void *context, unsigned space);

/* ---- fast.c ---- */

extern struct pv_xen_fast pv_fast; /* entry.S looks at it, too */

/* Before every return to the guest. 1: to its user code. */
int pv_xen_prepare(void);
/* A fast return from a page fault has something to map. 1: it cannot be fast. */
int pv_xen_refill(void);

/* ---- segments.c ---- */

/* A descriptor was changed: what is loaded may be of the old one. */
extern int pv_xen_segments_stale;

/* Gives the descriptor tables to Xen. */
void pv_xen_build_segments(void);
/* Loads the data segments again, but not GS. */
void pv_xen_reload_segments(void);

/* Of struct pv_backend. */
void x_set_descriptor(void *context, unsigned index, uint64_t descriptor);
void x_set_local_descriptor(void *context, unsigned index, uint64_t descriptor);
void x_set_ldt(void *context, unsigned entries);
void x_segment_load(void *context, unsigned sreg, uint16_t s);
uint16_t x_segment_read(void *context, unsigned sreg);

/* What GS has. */
static inline uint16_t pv_xen_gs(void)
{
    uint16_t s;

    __asm__ volatile("mov %%gs, %0" : "=r"(s));
    return s;
}

/*
 * Before user code runs. Xen keeps two bases for GS, and swaps them when it changes between kernel
 * and user mode; the selector is not swapped. So a load of GS in kernel mode says only which
 * selector user code will see: before it runs, its base is made to fit. Loads of user code's own
 * need nothing.
 */
static inline void pv_xen_user_segments(void)
{
    uint16_t gs;

    if (pv_xen_segments_stale)
        pv_xen_reload_segments();
    if (!pv_guest.page->attention[PV_ATTENTION_GS])
        return;
    pv_guest.page->attention[PV_ATTENTION_GS] = 0;
    gs = pv_xen_gs();
    if (gs != pv_fast.user_gs) {
        hypercall3(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, gs, 0);
        pv_fast.user_gs = gs;
    }
}

/* ---- time.c ---- */

/* Binds the timer. */
void pv_xen_start_timer(void);
/* Binds a virtual interrupt: its port. */
evtchn_port_t pv_xen_bind_virq(unsigned virq);
void pv_xen_unmask_port(evtchn_port_t port);
/* Takes what events there are. */
void pv_xen_events(void);

/* Of struct pv_backend. */
uint64_t x_now(void *context);
uint64_t x_date(void *context);
void x_set_deadline(void *context, uint64_t when);
void x_block(void *context);

#endif
