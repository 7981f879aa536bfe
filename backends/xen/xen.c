/* SPDX-License-Identifier: BSD-2-Clause */
/* The Xen back-end: a 64-bit PV domain (Xen's public headers: xen.h, arch-x86/xen-x86_64.h). */
#define __XEN_INTERFACE_VERSION__ 0x00040d00
#include <stdint.h>
#include <xen/xen.h>
#include <xen/sched.h>
#include <xen/event_channel.h>
#include <xen/physdev.h>
#include <xen/vcpu.h>
#include "../../src/vmm/vmm.h"
#include "fast.h"
#include "emulates.h"
#include "layout.h"
#include "offsets.h"

#define VIRT_BASE    0xffffffff80000000ul
#define PHYSMAP      0xffffff0000000000ul /* root slot 510: guest-physical 0 */
#define PHYSMAP_SLOT 510
#define VMM_SLOT     511

#define X_P  1ul
#define X_RW 2ul
#define X_US                                                                                       \
    4ul /* in a page's entry: user code's. Xen sets it in all, but keeps apart what came without   \
           it */
#define X_A   0x20ul
#define X_D   0x40ul
#define X_NX  (1ul << 63)
#define TABLE (X_P | X_RW | X_US | X_A)

#define LOW_BASE   PV_XEN_LOW_BASE
#define LOW_VCPU   LOW_BASE
#define LOW_STUBS  PV_XEN_LOW_STUBS
#define STUBS_SIZE 0x60000u
#define LOW_SIZE   (LOW_STUBS - LOW_BASE + STUBS_SIZE)

#define GUEST_RAM_MAX (256ul << 20)
#define SITES_MAX     16384

extern char hypercall_page[], pv_trap_entries[], pv_event_entry[], pv_failsafe_entry[],
    pv_stack_top[];
extern char pv_low_entry[], pv_low_entry_end[], page_fault_entry[], int80_entry[];

/* What HYPERVISOR_iret takes from the stack (asm-x86/xen-x86_64.h). Fast returns use this one. */
extern struct iret_context iret_frame;

/* The last segment of the image, which `previrt pack` replaces: one page of header, then the
 * guest's ELF file. */
struct pv_xen_guest {
    char magic[8];
    uint64_t size;
    uint8_t reserved[4080];
    uint8_t image[];
};
extern const struct pv_xen_guest pv_guest_segment;

#define hypercall5(nr, a, b, c, d, e)                                                              \
    ({                                                                                             \
        long ret_, a_ = (long)(a), b_ = (long)(b), c_ = (long)(c);                                 \
        vmm.count.hypercalls++;                                                                    \
        register long d_ __asm__("r10") = (long)(d);                                               \
        register long e_ __asm__("r8") = (long)(e);                                                \
        __asm__ volatile("call *%[f]"                                                              \
                         : "=a"(ret_), "+D"(a_), "+S"(b_), "+d"(c_), "+r"(d_), "+r"(e_)            \
                         : [f] "r"(hypercall_page + (nr)*32)                                       \
                         : "rcx", "r11", "memory");                                                \
        ret_;                                                                                      \
    })
#define hypercall3(nr, a, b, c) hypercall5(nr, a, b, c, 0, 0)

static struct pv_vmm vmm;
extern struct pv_vmm pv_guest
    __attribute__((alias("vmm"))); /* entry.S: begins with struct pv_cpu */

static struct pv_node nodes[PV_NODES];
static struct pv_op_site sites[SITES_MAX];
static struct pv_stub stubs[SITES_MAX];
/* The vCPU page, the entry, the stubs; and the stubs again, as kernel code sees them that runs at
 * its load address. */
uint8_t pv_low_pages[LOW_SIZE + STUBS_SIZE] __attribute__((aligned(4096)));
static uint8_t plan_memory[8u << 20] __attribute__((aligned(16)));
static shared_info_t *shared_info;
uint8_t pv_shared_info_page[4096] __attribute__((aligned(4096)));
static const unsigned long *p2m;
static start_info_t *start_info;

struct pv_xen_fast pv_fast;

static evtchn_port_t timer_port, console_port;

/* entry.S calls these */
void pv_xen_operation(uint32_t number);
void pv_xen_main(start_info_t *si);
void pv_xen_events(void);
void pv_xen_trap(unsigned vector, uint32_t error, uint32_t cs, uint32_t ss);
void pv_xen_fatal(const unsigned long *frame);
int pv_xen_prepare(void);
int pv_xen_refill(void);

/* ---- page tables ---- */

struct xspace {
    uint32_t l4_kernel, l4_user, l3_kernel, l3_user; /* pfns, 0: not made */
    uint32_t l2[3], l2_user[3];
    uint32_t l1[PV_REGIONS], l1_user[PV_REGIONS];
};
static struct xspace xspaces[PV_SPACES];
static uint32_t kernel_l2, kernel_l1[PV_KERNEL_REGIONS];
static uint32_t kernel_l2_user, kernel_l1_user[PV_KERNEL_REGIONS];
static unsigned long ram_pfn, pool_next, pool_end;
static uint32_t pool_free[65536];
static unsigned pool_free_count;
static uint64_t vmm_l3_entry, physmap_entry;

#define QUEUE 512
static mmu_update_t queue[QUEUE];
static unsigned queued;
static int current_space = -1;

/* What the TLB has to forget before the guest runs again: these pages, or all. */
#define FLUSH_PAGES 8
#define FLUSH_ALL   (FLUSH_PAGES + 1)
static gva_t flush_page[FLUSH_PAGES];
static unsigned flushes;

/* The one change in the queue, if it is one of a page of the space that is current. */
static struct {
    gva_t va;
    int valid;
} single;

static __attribute__((noreturn)) void stop(int status);

static void console_write(const char *s, size_t n)
{
    hypercall3(__HYPERVISOR_console_io, CONSOLEIO_write, n, s);
}

static void panic(const char *what, long value)
{
    char b[20];

    for (int i = 0; i < 16; i++)
        b[i] = "0123456789abcdef"[(unsigned long)value >> (60 - 4 * i) & 15];
    b[16] = '\n';
    console_write("previrt: ", 9);
    for (const char *w = what; *w; w++)
        console_write(w, 1);
    console_write(" ", 1);
    console_write(b, 17);
    stop(3);
}

static void drain(void)
{
    if (queued) {
        unsigned done = 0, n = queued;
        long r;

        queued = 0;
        vmm.count.map_calls++;
        vmm.count.map_changes += n;
        r = hypercall5(__HYPERVISOR_mmu_update, queue, n, &done, DOMID_SELF, 0);
        if (r) {
            pv_printf(&vmm, "previrt: mmu_update %u of %u: ptr %#lx val %#lx\n", done, n,
                      (unsigned long)queue[done].ptr, (unsigned long)queue[done].val);
            panic("mmu_update failed", r);
        }
    }
}

static void enqueue(uint64_t ptr, uint64_t val)
{
    single.valid = 0;
    if (queued == QUEUE)
        drain();
    queue[queued].ptr = ptr;
    queue[queued++].val = val;
}

static void mmuext(unsigned cmd, unsigned long mfn)
{
    struct mmuext_op op = {.cmd = cmd};
    long r;

    op.arg1.mfn = mfn;
    r = hypercall5(__HYPERVISOR_mmuext_op, &op, 1, 0, DOMID_SELF, 0);
    if (r) {
        pv_printf(&vmm, "previrt: mmuext_op %u mfn %#lx\n", cmd, mfn);
        panic("mmuext_op failed", r);
    }
}

static uint32_t table_alloc(void)
{
    uint32_t pfn;

    if (pool_free_count)
        pfn = pool_free[--pool_free_count];
    else if (pool_next < pool_end)
        pfn = pool_next++;
    else
        panic("out of page-table pages", pool_end), pfn = 0;
    mmuext(MMUEXT_CLEAR_PAGE, p2m[pfn]);
    vmm.count.tables++;
    return pfn;
}

static void table_free(uint32_t *pfn)
{
    if (*pfn)
        pool_free[pool_free_count++] = *pfn;
    *pfn = 0;
}

static void table_set(uint32_t table, unsigned index, uint64_t entry)
{
    enqueue(((uint64_t)p2m[table] << 12) + index * 8, entry);
}

static void forget(unsigned space, gva_t va)
{
    if (va < PV_KERNEL_BASE && (int)space != current_space)
        return; /* a change of roots flushes */
    if (flushes < FLUSH_PAGES)
        flush_page[flushes++] = va;
    else
        flushes = FLUSH_ALL;
}

/* A page's entry. */
static void leaf_set(unsigned space, gva_t va, uint32_t table, uint64_t entry)
{
    const int first = !queued;

    table_set(table, va >> 12 & 511, entry);
    single.va = va;
    single.valid = first && (va >= PV_KERNEL_BASE || (int)space == current_space);
}

static uint64_t to_table(uint32_t pfn)
{
    return (uint64_t)p2m[pfn] << 12 | TABLE;
}

static void make_space(struct xspace *s)
{
    s->l3_kernel = table_alloc();
    s->l3_user = table_alloc();
    s->l4_kernel = table_alloc();
    s->l4_user = table_alloc();
    table_set(s->l3_kernel, 3, to_table(kernel_l2));
    table_set(s->l4_kernel, 0, to_table(s->l3_kernel));
    table_set(s->l4_kernel, VMM_SLOT, vmm_l3_entry);
    table_set(s->l4_kernel, PHYSMAP_SLOT, physmap_entry);
    table_set(s->l4_user, 0, to_table(s->l3_user));
    if (kernel_l2_user)
        table_set(s->l3_user, 3, to_table(kernel_l2_user));
    drain();
    mmuext(MMUEXT_PIN_L4_TABLE, p2m[s->l4_kernel]);
    mmuext(MMUEXT_PIN_L4_TABLE, p2m[s->l4_user]);
}

static uint32_t table_for(unsigned space, uint32_t va)
{
    struct xspace *s = &xspaces[space];
    unsigned region = va >> 21;

    if (region >= PV_REGIONS) {
        uint32_t *l1 = &kernel_l1[region - PV_REGIONS];

        if (!*l1) {
            *l1 = table_alloc();
            table_set(kernel_l2, region & 511, to_table(*l1));
        }
        return *l1;
    }
    if (!s->l4_kernel)
        make_space(s);
    if (!s->l1[region]) {
        unsigned gb = va >> 30;

        if (!s->l2[gb]) {
            s->l2[gb] = table_alloc();
            table_set(s->l3_kernel, gb, to_table(s->l2[gb]));
            table_set(s->l3_user, gb, to_table(s->l2[gb]));
        }
        s->l1[region] = table_alloc();
        table_set(s->l2[gb], region & 511, to_table(s->l1[region]));
        if (s->l2_user[gb])
            table_set(s->l2_user[gb], region & 511, to_table(s->l1[region]));
    }
    return s->l1[region];
}

/*
 * The user view. Below the kernel half the two views share a stretch's table until a page in it is
 * for the kernel only, or read-only for user code only; then they part, and what user code needs it
 * faults in again. In the kernel half it is the other way round: the user view has a table where a
 * page is for user code.
 */
static uint32_t user_table_for(unsigned space, uint32_t va)
{
    struct xspace *s = &xspaces[space];
    unsigned region = va >> 21, gb = va >> 30;

    if (region >= PV_REGIONS) {
        uint32_t *l1 = &kernel_l1_user[region - PV_REGIONS];

        if (!kernel_l2_user) {
            kernel_l2_user = table_alloc();
            for (unsigned i = 0; i < PV_SPACES; i++)
                if (xspaces[i].l3_user)
                    table_set(xspaces[i].l3_user, 3, to_table(kernel_l2_user));
        }
        if (!*l1) {
            *l1 = table_alloc();
            table_set(kernel_l2_user, region & 511, to_table(*l1));
        }
        return *l1;
    }
    if (!s->l2_user[gb]) {
        s->l2_user[gb] = table_alloc();
        for (unsigned r = gb << 9; r < (gb + 1) << 9; r++)
            if (s->l1[r])
                table_set(s->l2_user[gb], r & 511, to_table(s->l1[r]));
        table_set(s->l3_user, gb, to_table(s->l2_user[gb]));
    }
    if (!s->l1_user[region]) {
        s->l1_user[region] = table_alloc();
        table_set(s->l2_user[gb], region & 511, to_table(s->l1_user[region]));
    }
    return s->l1_user[region];
}

static uint32_t user_table(unsigned space, unsigned region)
{
    return region >= PV_REGIONS ? kernel_l1_user[region - PV_REGIONS]
                                : xspaces[space].l1_user[region];
}

static unsigned long va_pfn(const void *p)
{
    return ((unsigned long)p - VIRT_BASE) >> 12;
}

static int user_as_kernel(int protection)
{
    return (protection & PV_MAP_USER) &&
           !(protection & PV_MAP_WRITE) == !(protection & PV_MAP_USER_WRITE);
}

static void x_map(void *context, unsigned space, gva_t va, gpa_t gpa, int protection)
{
    uint32_t l1 = table_for(space, va);
    unsigned long pfn = ram_pfn + (gpa >> 12);
    unsigned region = va >> 21;
    uint64_t e;

    (void)context;
    if (gpa >= PV_GPA_LOW) {
        gpa -= PV_GPA_LOW;
        if (gpa >= LOW_STUBS - LOW_BASE && va != LOW_BASE + gpa)
            gpa += STUBS_SIZE;
        pfn = va_pfn(pv_low_pages) + (gpa >> 12);
    }
    e = (uint64_t)p2m[pfn] << 12 | X_P | X_A;
    /* Xen makes pages that have this bit global: they stay in the TLB from one view to the other.
     */
    if (user_as_kernel(protection))
        e |= X_US;
    if (!(protection & PV_MAP_EXEC))
        e |= X_NX;
    leaf_set(space, va, l1, protection & PV_MAP_WRITE ? e | X_RW | X_D : e);
    l1 = user_table(space, region);
    if (l1 ||
        (region >= PV_REGIONS ? (protection & PV_MAP_USER) != 0 : !user_as_kernel(protection))) {
        l1 = user_table_for(space, va);
        if (protection & PV_MAP_USER_WRITE)
            e |= X_RW | X_D;
        table_set(l1, va >> 12 & 511, protection & PV_MAP_USER ? e : 0);
    }
    if (!(protection & PV_MAP_MORE))
        forget(space, va);
}

static void x_unmap(void *context, unsigned space, gva_t va)
{
    unsigned region = va >> 21;
    uint32_t l1 = region >= PV_REGIONS ? kernel_l1[region - PV_REGIONS] : xspaces[space].l1[region];

    (void)context;
    if (!l1)
        return;
    leaf_set(space, va, l1, 0);
    if (user_table(space, region))
        table_set(user_table(space, region), va >> 12 & 511, 0);
    forget(space, va);
}

static void x_clear(void *context, unsigned space)
{
    struct xspace *s = &xspaces[space];

    (void)context;
    if (!s->l4_kernel)
        return;
    for (unsigned gb = 0; gb < 3; gb++)
        if (s->l2[gb]) {
            table_set(s->l3_kernel, gb, 0);
            table_set(s->l3_user, gb, 0);
        }
    drain();
    for (unsigned gb = 0; gb < 3; gb++) {
        table_free(&s->l2[gb]);
        table_free(&s->l2_user[gb]);
    }
    for (unsigned r = 0; r < PV_REGIONS; r++) {
        table_free(&s->l1[r]);
        table_free(&s->l1_user[r]);
    }
    if ((int)space == current_space)
        flushes = FLUSH_ALL;
}

static void flush(void)
{
    struct mmuext_op op[FLUSH_PAGES];
    unsigned n = 1;
    long r;

    if (flushes == FLUSH_ALL)
        op[0].cmd = MMUEXT_TLB_FLUSH_LOCAL;
    else
        for (n = 0; n < flushes; n++) {
            op[n].cmd = MMUEXT_INVLPG_LOCAL;
            op[n].arg1.linear_addr = flush_page[n];
        }
    flushes = 0;
    r = hypercall5(__HYPERVISOR_mmuext_op, op, n, 0, DOMID_SELF, 0);
    if (r)
        panic("cannot flush the TLB", r);
}

static void x_activate(void *context, unsigned space)
{
    struct xspace *s = &xspaces[space];
    struct mmuext_op op[2];
    long r;

    (void)context;
    if (!s->l4_kernel)
        make_space(s);
    if (current_space == (int)space) {
        if (queued == 1 && single.valid &&
            (!flushes || (flushes == 1 && flush_page[0] == single.va))) {
            /* the common case: one page after a fault, or one INVLPG */
            queued = 0;
            vmm.count.map_calls++;
            vmm.count.map_changes++;
            r = hypercall3(__HYPERVISOR_update_va_mapping, single.va, queue[0].val,
                           flushes ? UVMF_INVLPG | UVMF_LOCAL : UVMF_NONE);
            if (r)
                panic("update_va_mapping failed", r);
            flushes = 0;
            return;
        }
        drain();
        if (flushes)
            flush();
        return;
    }
    drain();
    vmm.count.roots++;
    op[0].cmd = MMUEXT_NEW_BASEPTR;
    op[0].arg1.mfn = p2m[s->l4_kernel];
    op[1].cmd = MMUEXT_NEW_USER_BASEPTR;
    op[1].arg1.mfn = p2m[s->l4_user];
    r = hypercall5(__HYPERVISOR_mmuext_op, op, 2, 0, DOMID_SELF, 0);
    if (r)
        panic("cannot load page-table roots", r);
    current_space = space;
    flushes = 0;
}

static int segments_stale; /* a descriptor was changed: what is loaded may be of the old one */

/* Before user code runs, its base of GS is made to fit. */
static void gs_stale(void)
{
    vmm.page->attention[PV_ATTENTION_GS] = 1;
    pv_fast.user_gs = ~0u;
}

static uint64_t gdt_frame[512] __attribute__((aligned(4096)));

static void x_set_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    uint64_t machine = ((uint64_t)p2m[va_pfn(gdt_frame)] << 12) + index * 8;
    long r = hypercall3(__HYPERVISOR_update_descriptor, machine, descriptor, 0);

    (void)context;
    segments_stale = 1;
    gs_stale();
    vmm.count.descriptors++;
    if (r)
        pv_printf(&vmm, "previrt: Xen refused descriptor %u = %#llx: %ld\n", index,
                  (unsigned long long)descriptor, r);
}

static uint64_t ldt_frames[PV_LDT_ENTRIES] __attribute__((aligned(4096)));

static void x_set_local_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    uint64_t machine =
        ((uint64_t)p2m[va_pfn(&ldt_frames[index])] << 12) + (index * 8 & PV_PAGE_MASK);
    long r = hypercall3(__HYPERVISOR_update_descriptor, machine, descriptor, 0);

    (void)context;
    segments_stale = 1;
    gs_stale();
    if (r)
        pv_printf(&vmm, "previrt: Xen refused local descriptor %u = %#llx: %ld\n", index,
                  (unsigned long long)descriptor, r);
}

static void x_set_ldt(void *context, unsigned entries)
{
    struct mmuext_op op = {.cmd = MMUEXT_SET_LDT};
    long r;

    (void)context;
    op.arg1.linear_addr = (unsigned long)ldt_frames;
    op.arg2.nr_ents = entries;
    r = hypercall5(__HYPERVISOR_mmuext_op, &op, 1, 0, DOMID_SELF, 0);
    if (r)
        panic("cannot set the LDT", r);
}

static void x_set_debug_register(void *context, unsigned number, uint32_t value)
{
    long r = hypercall3(__HYPERVISOR_set_debugreg, number, value, 0);

    (void)context;
    if (r)
        pv_printf(&vmm, "previrt: Xen refused debug register %u = %#x: %ld\n", number, value, r);
}

static uint32_t x_debug_status(void *context)
{
    (void)context;
    return (uint32_t)hypercall3(__HYPERVISOR_get_debugreg, 6, 0, 0);
}

static void x_set_ts(void *context, int on)
{
    (void)context;
    hypercall3(__HYPERVISOR_fpu_taskswitch, on, 0, 0);
}

static void x_console(void *context, const char *text, size_t length)
{
    char out[256];
    size_t n = 0;

    (void)context;
    vmm.count.console_calls++;
    /* Xen puts a carriage return before each line feed; the guest did so already. */
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\r' && i + 1 < length && text[i + 1] == '\n')
            continue;
        out[n++] = text[i];
        if (n == sizeof out) {
            console_write(out, n);
            n = 0;
        }
    }
    if (n)
        console_write(out, n);
}

/* ---- time and events ---- */

static uint64_t x_now(void *context)
{
    volatile struct vcpu_time_info *t = &shared_info->vcpu_info[0].time;
    uint32_t version, lo, hi;
    uint64_t delta, now;

    (void)context;
    do {
        version = t->version;
        __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi)::"memory");
        delta = ((uint64_t)hi << 32 | lo) - t->tsc_timestamp;
        if (t->tsc_shift < 0)
            delta >>= -t->tsc_shift;
        else
            delta <<= t->tsc_shift;
        now = t->system_time + (uint64_t)((unsigned __int128)delta * t->tsc_to_system_mul >> 32);
        __asm__ volatile("" ::: "memory");
    } while ((version & 1) || version != t->version);
    return now;
}

/* The wall clock when the hypervisor's own began (xen.h: "System time == 0"), and what has passed
 * since. */
static uint64_t x_date(void *context)
{
    const volatile shared_info_t *s = shared_info;
    uint32_t version, seconds, nanoseconds, high;

    do {
        version = s->wc_version;
        __asm__ volatile("" ::: "memory");
        seconds = s->wc_sec;
        nanoseconds = s->wc_nsec;
        high = s->wc_sec_hi;
        __asm__ volatile("" ::: "memory");
    } while ((version & 1) || version != s->wc_version);
    return ((uint64_t)high << 32 | seconds) + (nanoseconds + x_now(context)) / 1000000000u;
}

static uint64_t deadline_set = ~0ull;

static void x_set_deadline(void *context, uint64_t when)
{
    (void)context;
    if (when == deadline_set)
        return;
    deadline_set = when;
    vmm.count.timers++;
    hypercall3(__HYPERVISOR_set_timer_op, when == PREVIRT_NEVER ? 0 : when, 0, 0);
}

static void poll_console(void)
{
    uint8_t b[64];
    long n = hypercall3(__HYPERVISOR_console_io, CONSOLEIO_read, sizeof b, b);

    if (n > 0)
        pv_console_input(&vmm, b, n);
}

void pv_xen_events(void)
{
    volatile struct vcpu_info *v = &shared_info->vcpu_info[0];

    vmm.count.upcalls++;
    v->evtchn_upcall_pending = 0;
    /* which words of evtchn_pending have something (event_channel.h) */
    for (uint64_t words = __atomic_exchange_n(&v->evtchn_pending_sel, 0, __ATOMIC_SEQ_CST); words;
         words &= words - 1)
        __atomic_exchange_n(&shared_info->evtchn_pending[__builtin_ctzll(words)], 0,
                            __ATOMIC_SEQ_CST);
    deadline_set = ~0ull;
    poll_console();
    pv_time(&vmm);
}

static void x_block(void *context)
{
    evtchn_port_t ports[2] = {timer_port, console_port};
    struct sched_poll poll = {.nr_ports = 2, .timeout = 0};

    (void)context;
    set_xen_guest_handle(poll.ports, ports);
    hypercall3(__HYPERVISOR_sched_op, SCHEDOP_poll, &poll, 0);
    pv_xen_events();
}

/*
 * Where the machine has a debug-exit port it learns the reason there: also of a reset, which would
 * look the same if the hypervisor ended the domain.
 */
static void stop(int status)
{
    enum { RESET = 0x20 };
    struct sched_shutdown sd = {.reason = status ? SHUTDOWN_crash : SHUTDOWN_reboot};
    struct physdev_set_iopl iopl = {.iopl = 1};

    if (!hypercall3(__HYPERVISOR_physdev_op, PHYSDEVOP_set_iopl, &iopl, 0))
        __asm__ volatile("outl %0, %w1" ::"a"(status == PV_POWER_RESET ? RESET : status),
                         "Nd"(PREVIRT_DEBUG_EXIT_PORT));
    for (;;)
        hypercall3(__HYPERVISOR_sched_op, SCHEDOP_shutdown, &sd, 0);
}

static void x_power(void *context, int status)
{
    (void)context;
    stop(status);
}

static const uint8_t x_emulates[] = {PV_XEN_EMULATES, 0};

/* ---- segments ---- */

static void x_segment_load(void *context, unsigned sreg, uint16_t s)
{
    (void)context;
    switch (sreg) {
    case PV_ES:
        __asm__ volatile("mov %0, %%es" ::"r"(s));
        break;
    case PV_DS:
        __asm__ volatile("mov %0, %%ds" ::"r"(s));
        break;
    case PV_FS:
        __asm__ volatile("mov %0, %%fs" ::"r"(s));
        break;
    case PV_GS:
        __asm__ volatile("mov %0, %%gs" ::"r"(s));
        vmm.page->attention[PV_ATTENTION_GS] = 1;
        break;
    }
}

static uint16_t x_segment_read(void *context, unsigned sreg)
{
    uint16_t s = 0;

    (void)context;
    switch (sreg) {
    case PV_ES:
        __asm__ volatile("mov %%es, %0" : "=r"(s));
        break;
    case PV_DS:
        __asm__ volatile("mov %%ds, %0" : "=r"(s));
        break;
    case PV_FS:
        __asm__ volatile("mov %%fs, %0" : "=r"(s));
        break;
    case PV_GS:
        __asm__ volatile("mov %%gs, %0" : "=r"(s));
        break;
    }
    return s;
}

/*
 * Xen keeps two bases for GS, and swaps them when it changes between kernel and user mode; the
 * selector is not swapped. So a load of GS in kernel mode says only which selector user code will
 * see: before it runs, its base is made to fit. Loads of user code's own need nothing.
 */

/* Loads a data segment again. A selector that became bad is 0 for user code (SDM 2A, IRET). */
static void reload(unsigned sreg)
{
    const uint16_t s = x_segment_read(NULL, sreg);
    const uint64_t *table = s & 4 ? ldt_frames : gdt_frame;
    const unsigned limit = s & 4 ? PV_LDT_ENTRIES : sizeof gdt_frame / sizeof *gdt_frame;
    uint64_t d;

    if (!(s & ~3u) || (!(s & 4) && s >= FIRST_RESERVED_GDT_BYTE))
        return;
    d = (unsigned)s / 8 < limit ? table[s / 8] : 0;
    /* present, code or data, not execute-only */
    x_segment_load(NULL, sreg, (d >> 40 & 0x90) == 0x90 && (d >> 40 & 0xa) != 8 ? s : 0);
}

/* Before user code runs. */
static void user_segments(void)
{
    uint16_t gs;

    if (segments_stale) {
        reload(PV_ES);
        reload(PV_DS);
        reload(PV_FS);
        segments_stale = 0;
    }
    if (!vmm.page->attention[PV_ATTENTION_GS])
        return;
    vmm.page->attention[PV_ATTENTION_GS] = 0;
    gs = x_segment_read(NULL, PV_GS);
    if (gs != pv_fast.user_gs) {
        hypercall3(__HYPERVISOR_set_segment_base, SEGBASE_GS_USER_SEL, gs, 0);
        pv_fast.user_gs = gs;
    }
}

/* ---- the fast ways: fast.h ---- */

/* Eight bytes of guest memory in one page, as kernel code sees them. */
static const uint64_t *guest_word(gva_t va)
{
    /* elsewhere it could be another page in another space */
    if (va < PV_KERNEL_BASE || (va & PV_PAGE_MASK) > PV_PAGE_SIZE - 8)
        return NULL;
    return pv_mapped(&vmm, va, 0);
}

/* What descriptors must be: present, privilege level, code or writable data, not conforming. */
enum {
    KERNEL_CODE_MASK = 0xf8,
    KERNEL_CODE = 0x98,
    KERNEL_STACK_MASK = 0xfa,
    KERNEL_STACK = 0x92,
    USER_CODE_MASK = 0xfc,
    USER_CODE = 0xf8,
    USER_STACK_MASK = 0xfa,
    USER_STACK = 0xf2
};

/*
 * Whether (selector) names a descriptor of the guest's GDT that is such, and that the processor has
 * as well: then (word) is where the guest has it. NULL: no.
 */
static const uint64_t *descriptor_word(uint16_t selector, unsigned mask, unsigned type)
{
    const unsigned index = selector >> 3;
    const uint64_t *word;

    if (!index || (selector & 4) || (selector | 7u) > vmm.cpu.gdt_limit ||
        index >= sizeof vmm.gdt_mirror / sizeof *vmm.gdt_mirror ||
        (vmm.gdt_mirror[index] >> 40 & mask) != type)
        return NULL;
    word = guest_word(vmm.cpu.gdt_base + index * 8);
    return word && *word == vmm.gdt_mirror[index] ? word : NULL;
}

static void close_gates(void)
{
    pv_fast.gate = pv_fast.fault_gate = &pv_fast.never;
    pv_fast.gate_value = pv_fast.fault_gate_value = 1;
}

static void close_returns(void)
{
    pv_fast.return_value = ~0ull;
}

/*
 * A present interrupt gate of the type and privilege in (type), under (mask), to the code segment
 * that the kernel has anyway. NULL: it is not; or where the guest has it, and (far) is the handler.
 */
static const uint64_t *gate_word(unsigned vector, unsigned mask, unsigned type,
                                 struct pv_xen_far *far)
{
    const uint64_t *word;

    if (vmm.cpu.idt_limit < vector * 8 + 7)
        return NULL;
    word = guest_word(vmm.cpu.idt_base + vector * 8);
    if (!word || (*word >> 40 & mask) != type || (*word >> 16 & 0xfffc) != vmm.cpu.kernel_cs)
        return NULL;
    far->offset = (uint32_t)((*word >> 32 & 0xffff0000) | (*word & 0xffff));
    far->selector = FLAT_RING3_CS32;
    return word;
}

static void fast_tables(void)
{
    enum { GATE_MASK = 0x9f, GATE_USER_MASK = 0xff, INTERRUPT_GATE = 0x8e, USER_GATE = 0xee };
    const struct pv_cpu *cpu = &vmm.cpu;
    const uint64_t *word;

    close_gates();
    close_returns();
    pv_fast.fault_error = PFE_W | (cpu->efer & EFER_NXE ? PFE_I : 0);
    pv_fast.reserved = PTE_RESERVED | (cpu->efer & EFER_NXE ? 0 : PTE_NX);
    pv_fast.kernel_cs = cpu->kernel_cs;
    pv_fast.ss0 = cpu->kernel_ss;
    pv_fast.stack_value = (uint64_t)cpu->kernel_ss << 32 | PV_PAGE_SIZE; /* as good as any */
    pv_fast.watch[0] = &pv_fast.never;
    pv_fast.watch_value[0] = pv_fast.never;
    pv_fast.watches = vmm.watches;
    for (unsigned w = 0; w < vmm.watches; w++) {
        pv_fast.watch[w] = guest_word(cpu->gdt_base + vmm.watch[w] * 8u);
        pv_fast.watch_value[w] = vmm.gdt_mirror[vmm.watch[w]];
        if (!pv_fast.watch[w])
            pv_fast.watches = PV_WATCHES;
    }
    vmm.page->attention[PV_ATTENTION_BACKEND] = pv_fast.watches > 1;
    pv_fast.stack =
        cpu->tss_limit >= PV_TSS_ESP0_END ? guest_word(cpu->tss_base + PV_TSS_ESP0) : NULL;
    if (!pv_fast.stack)
        return;
    /* The long way, too, takes the copies of these two for the guest's own. */
    if (!descriptor_word((uint16_t)cpu->kernel_cs, KERNEL_CODE_MASK, KERNEL_CODE) ||
        (cpu->kernel_ss & 3) ||
        !descriptor_word((uint16_t)cpu->kernel_ss, KERNEL_STACK_MASK, KERNEL_STACK))
        return;
    word = gate_word(PV_SYSCALL_VECTOR, GATE_USER_MASK, USER_GATE, &pv_fast.far);
    if (word) {
        pv_fast.gate_value = *word;
        pv_fast.gate = word;
    }
    word = gate_word(VECTOR_PF, GATE_MASK, INTERRUPT_GATE, &pv_fast.fault_far);
    if (word) {
        pv_fast.fault_gate_value = *word;
        pv_fast.fault_gate = word;
    }
}

/* The selectors that user code has now are those that it comes back to. */
static void fast_user(void)
{
    const uint32_t returns = EFLAGS_FIXED | EFLAGS_IF, rare = ~(EFLAGS_USER & ~EFLAGS_TF) | returns;
    const struct pv_cpu *cpu = &vmm.cpu;
    const uint16_t cs = (uint16_t)cpu->user_cs, ss = (uint16_t)cpu->user_ss;

    close_returns();
    if ((cs & 3) != 3 || (ss & 3) != 3 || pv_fast.watches == PV_WATCHES ||
        !descriptor_word(cs, USER_CODE_MASK, USER_CODE) ||
        !descriptor_word(ss, USER_STACK_MASK, USER_STACK))
        return;
    pv_fast.return_mask = (uint64_t)rare << 32 | 0xffff;
    pv_fast.return_value = (uint64_t)returns << 32 | cs;
    iret_frame.cs = cs;
    iret_frame.ss = ss;
}

/* Before every return to the guest. */
static void fast_update(void)
{
    const struct pv_cpu *cpu = &vmm.cpu;

    if (vmm.tables_changed || cpu->kernel_ss != pv_fast.ss0 ||
        cpu->kernel_cs != pv_fast.kernel_cs) {
        vmm.tables_changed = 0;
        fast_tables();
    }
    if (cpu->user &&
        ((uint16_t)cpu->user_cs != (uint16_t)pv_fast.return_value || cpu->user_ss != iret_frame.ss))
        fast_user();
    /* The flags of user code that goes the fast ways have IF and no IOPL; IRET with NT is another
     * thing. */
    if (cpu->iopl || (cpu->user && !pv_if(vmm.page)) || (cpu->eflags & EFLAGS_NT)) {
        close_gates();
        close_returns();
        vmm.tables_changed = 1;
    }
}

/* A fast return from a page fault has something to map. 1: it cannot be fast. */
int pv_xen_refill(void)
{
    pv_shadow_refill(&vmm);
    if (queued || flushes)
        x_activate(NULL, vmm.current);
    return vmm.tables_changed || vmm.dead;
}

/* ---- the ways in ---- */

void pv_xen_operation(uint32_t number)
{
    pv_stub_operation(&vmm, number);
}

void pv_xen_trap(unsigned vector, uint32_t error, uint32_t cs, uint32_t ss)
{
    pv_interrupted(&vmm, cs, ss);
    if (vmm.cpu.user)
        pv_fast.user_gs = x_segment_read(NULL, PV_GS); /* user code may have loaded it itself */
    if (vector == EVENT_VECTOR) {
        pv_xen_events();
        return;
    }
    if (vector == FAILSAFE_VECTOR) {
        pv_die(&vmm, "failsafe callback: a segment selector of the guest is bad");
        return;
    }
    if (vector == PV_SYSCALL_VECTOR)
        vmm.tables_changed = 1; /* or it would have come the fast way */
    pv_trap(&vmm, vector, error, shared_info->vcpu_info[0].arch.cr2);
}

void pv_xen_fatal(const unsigned long *frame)
{
    pv_printf(&vmm,
              "previrt: fault in the VMM: vector %lu error %lx rip %lx cs %lx rflags %lx rsp %lx "
              "cr2 %lx\n",
              frame[0], frame[1], frame[2], frame[3], frame[4], frame[5],
              (unsigned long)shared_info->vcpu_info[0].arch.cr2);
    pv_die(&vmm, "the VMM failed");
    stop(5);
}

/* Before every return to the guest. 1: to its user code. */
int pv_xen_prepare(void)
{
    if (vmm.dead)
        stop(7);
    pv_deliver(&vmm);
    if (queued || flushes || current_space != (int)vmm.current)
        x_activate(NULL, vmm.current);
    if (vmm.cpu.user)
        user_segments();
    fast_update();
    return vmm.cpu.user;
}

/* ---- start ---- */

static void bind_virq(unsigned virq, evtchn_port_t *port)
{
    struct evtchn_bind_virq bind = {.virq = virq, .vcpu = 0};
    struct evtchn_unmask unmask;
    long r = hypercall3(__HYPERVISOR_event_channel_op, EVTCHNOP_bind_virq, &bind, 0);

    if (r)
        panic("cannot bind virq", r);
    *port = bind.port;
    unmask.port = bind.port;
    hypercall3(__HYPERVISOR_event_channel_op, EVTCHNOP_unmask, &unmask, 0);
}

static void build_memory(void)
{
    uint64_t *boot_l4 = (uint64_t *)start_info->pt_base;
    unsigned long first = ((start_info->pt_base - VIRT_BASE) >> 12) + start_info->nr_pt_frames + 16;
    unsigned long available = start_info->nr_pages, ram;
    uint32_t l3, l2 = 0, l1 = 0;

    /* an eighth, at least 16 MiB, for page tables */
    if (first + 8192 >= available)
        panic("too little memory: pages", available);
    ram = available - first;
    ram -= ram / 8 > 4096 ? ram / 8 : 4096;
    if (ram > GUEST_RAM_MAX >> 12)
        ram = GUEST_RAM_MAX >> 12;
    ram &= ~511ul;
    ram_pfn = first;
    pool_next = first + ram;
    pool_end = available;
    if (pool_end - pool_next > 60000)
        pool_end = pool_next + 60000;
    vmm.ram = (uint8_t *)PHYSMAP;
    vmm.ram_size = (gpa_t)ram << 12;

    l3 = table_alloc();
    for (unsigned long i = 0; i < ram; i++) {
        if (i % (512 * 512) == 0) {
            l2 = table_alloc();
            table_set(l3, i / (512 * 512), to_table(l2));
        }
        if (i % 512 == 0) {
            l1 = table_alloc();
            table_set(l2, i / 512 % 512, to_table(l1));
        }
        table_set(l1, i % 512, (uint64_t)p2m[ram_pfn + i] << 12 | X_P | X_RW | X_A | X_D | X_NX);
    }
    drain();
    physmap_entry = to_table(l3);
    vmm_l3_entry = boot_l4[VMM_SLOT];
    enqueue((uint64_t)p2m[va_pfn(boot_l4)] << 12 | PHYSMAP_SLOT * 8, physmap_entry);
    kernel_l2 = table_alloc();
    for (unsigned long at = 0; at < LOW_SIZE; at += 4096) {
        gva_t va = LOW_BASE + at;
        uint32_t t = table_for(0, va);
        const void *page =
            va == PREVIRT_COUNTERS_GUEST(LOW_BASE) ? (void *)&vmm.count : pv_low_pages + at;
        uint64_t e = (uint64_t)p2m[va_pfn(page)] << 12 | X_P | X_A;

        if (page == &vmm.count)
            e |= X_NX;
        table_set(t, va >> 12 & 511, va == LOW_VCPU ? e | X_RW | X_D | X_NX : e);
    }
    drain();
}

static void clear_ram(void)
{
    uint64_t *p = (uint64_t *)vmm.ram, *end = (uint64_t *)(vmm.ram + vmm.ram_size);

    while (p < end)
        *p++ = 0;
}

void pv_xen_main(start_info_t *si)
{
    static trap_info_t traps[22];
    struct pv_boot boot;
    unsigned long frame;
    unsigned n = 0;
    long r;

    start_info = si;
    p2m = (const unsigned long *)si->mfn_list;
    vmm.node = nodes;
    vmm.page = (volatile struct previrt_vcpu_page *)pv_low_pages;
    vmm.low_base = LOW_BASE;
    vmm.low_size = 0u - LOW_BASE;
    vmm.backend = (struct pv_backend){.map = x_map,
                                      .unmap = x_unmap,
                                      .clear = x_clear,
                                      .activate = x_activate,
                                      .set_descriptor = x_set_descriptor,
                                      .set_local_descriptor = x_set_local_descriptor,
                                      .set_ldt = x_set_ldt,
                                      .set_debug_register = x_set_debug_register,
                                      .debug_status = x_debug_status,
                                      .set_ts = x_set_ts,
                                      .segment_load = x_segment_load,
                                      .segment_read = x_segment_read,
                                      .console = x_console,
                                      .now = x_now,
                                      .date = x_date,
                                      .set_deadline = x_set_deadline,
                                      .block = x_block,
                                      .power = x_power,
                                      .emulates = x_emulates};

    vmm.stubs = (struct pv_stubs){.site = sites,
                                  .stub = stubs,
                                  .limit = SITES_MAX,
                                  .address = LOW_STUBS,
                                  .size = STUBS_SIZE,
                                  .memory = pv_low_pages + (LOW_STUBS - LOW_BASE),
                                  .untranslated = pv_low_pages + LOW_SIZE,
                                  .entry = LOW_ENTRY,
                                  .iret_entry = PV_XEN_LOW_IRET,
                                  .entry_selector = FLAT_RING3_CS64,
                                  .native_tsc = 1,
                                  .tell_gs = 1};

    r = hypercall5(__HYPERVISOR_update_va_mapping, pv_shared_info_page,
                   si->shared_info | X_P | X_RW, UVMF_INVLPG, 0, 0);
    if (r)
        panic("cannot map shared_info", r);
    shared_info = (shared_info_t *)pv_shared_info_page;
    shared_info->vcpu_info[0].evtchn_upcall_mask = 1;

    frame = p2m[va_pfn(gdt_frame)];
    r = hypercall5(__HYPERVISOR_update_va_mapping, gdt_frame, frame << 12 | X_P, UVMF_INVLPG, 0, 0);
    r = r ? r : hypercall3(__HYPERVISOR_set_gdt, &frame, 512, 0);
    if (r)
        panic("cannot set the GDT", r);

    /* Xen takes a page of descriptors only if nobody can write to it */
    for (size_t i = 0; i < sizeof ldt_frames; i += PV_PAGE_SIZE) {
        char *page = (char *)ldt_frames + i;

        r = hypercall5(__HYPERVISOR_update_va_mapping, page,
                       (uint64_t)p2m[va_pfn(page)] << 12 | X_P, UVMF_INVLPG, 0, 0);
        if (r)
            panic("cannot make the LDT's pages read-only", r);
    }

    for (unsigned v = 0; v <= 20; v++) {
        unsigned vector = v == 20 ? PV_SYSCALL_VECTOR : v;

        if (vector == VECTOR_NMI || vector == VECTOR_DF || vector == 9 || vector == 15 ||
            vector == 18)
            continue;
        traps[n].vector = vector;
        /* TI_SET_DPL, TI_SET_IF: events are masked on entry */
        traps[n].flags =
            4 | (vector == PV_SYSCALL_VECTOR || vector == VECTOR_BP || vector == VECTOR_OF ? 3 : 0);
        traps[n].cs = FLAT_KERNEL_CS;
        traps[n++].address = (unsigned long)(vector == PV_SYSCALL_VECTOR ? int80_entry
                                             : vector == VECTOR_PF       ? page_fault_entry
                                                                   : pv_trap_entries + 32 * v);
    }
    r = hypercall3(__HYPERVISOR_set_trap_table, traps, 0, 0);
    r = r ? r : hypercall3(__HYPERVISOR_set_callbacks, pv_event_entry, pv_failsafe_entry, 0);
    r = r ? r : hypercall3(__HYPERVISOR_stack_switch, FLAT_KERNEL_SS, pv_stack_top, 0);
    if (r)
        panic("cannot register entry points", r);

    build_memory();
    clear_ram();
    bind_virq(VIRQ_TIMER, &timer_port);
    bind_virq(VIRQ_CONSOLE, &console_port);
    for (size_t i = 0; i < (size_t)(pv_low_entry_end - pv_low_entry); i++)
        pv_low_pages[LOW_ENTRY - LOW_BASE + i] = pv_low_entry[i];
    vmm.page->eflags = EFLAGS_FIXED;
    vmm.page->version = PREVIRT_VCPU_VERSION;
    hypercall3(__HYPERVISOR_vcpu_op, VCPUOP_stop_periodic_timer, 0, 0);
    pv_shadow_init(&vmm);
    pv_devices_init(&vmm);
    if (!pv_guest_segment.size) {
        pv_die(&vmm, "there is no guest in this image: previrt pack puts one in");
        stop(3);
    }
    boot = (struct pv_boot){.image = pv_guest_segment.image,
                            .size = pv_guest_segment.size,
                            .module = (const void *)si->mod_start,
                            .module_size = si->mod_len,
                            .command_line = (const char *)si->cmd_line};
    if (pv_load(&vmm, &boot) || pv_rewrite(&vmm, &boot, plan_memory, sizeof plan_memory))
        stop(3);
    pv_sync_descriptors(&vmm);
    x_segment_load(NULL, PV_DS, 0x18);
    x_segment_load(NULL, PV_ES, 0x18);
    for (gva_t va = 0; va < (64u << 20) && va < vmm.ram_size; va += PV_NODE_SPAN)
        pv_shadow_fault(&vmm, va, PFE_W);
    pv_printf(&vmm, "previrt: counters at machine address %#lx\n", p2m[va_pfn(&vmm.count)] << 12);
    pv_printf(&vmm, "previrt: starting the guest at %#x, %llu MiB\n", (unsigned)vmm.cpu.eip,
              (unsigned long long)vmm.ram_size >> 20);
    pv_time(&vmm);
    __asm__ volatile("jmp pv_resume");
    __builtin_unreachable();
}
