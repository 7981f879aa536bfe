/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Page tables: each space of the guest's has two roots, one for its kernel and one for its user
 * code. Changes are queued, and made before the guest runs again.
 */
#include "xen.h"

#define PHYSMAP      0xffffff0000000000ul /* root slot 510: guest-physical 0 */
#define PHYSMAP_SLOT 510
#define VMM_SLOT     511

#define TABLE (X_P | X_RW | X_US | X_A)

#define GUEST_RAM_MAX (256ul << 20)

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
unsigned pv_xen_queued;
int pv_xen_space = -1;

/* What the TLB has to forget before the guest runs again: these pages, or all. */
#define FLUSH_PAGES 8
#define FLUSH_ALL   (FLUSH_PAGES + 1)
static gva_t flush_page[FLUSH_PAGES];
unsigned pv_xen_flushes;

/* The one change in the queue, if it is one of a page of the space that is current. */
static struct {
    gva_t va;
    int valid;
} single;

static void drain(void)
{
    if (pv_xen_queued) {
        unsigned done = 0, n = pv_xen_queued;
        long r;

        pv_xen_queued = 0;
        pv_guest.count.map_calls++;
        pv_guest.count.map_changes += n;
        r = hypercall5(__HYPERVISOR_mmu_update, queue, n, &done, DOMID_SELF, 0);
        if (r) {
            pv_printf(&pv_guest, "previrt: mmu_update %u of %u: ptr %#lx val %#lx\n", done, n,
                      (unsigned long)queue[done].ptr, (unsigned long)queue[done].val);
            pv_xen_panic("mmu_update failed", r);
        }
    }
}

static void enqueue(uint64_t ptr, uint64_t val)
{
    single.valid = 0;
    if (pv_xen_queued == QUEUE)
        drain();
    queue[pv_xen_queued].ptr = ptr;
    queue[pv_xen_queued++].val = val;
}

static void mmuext(unsigned cmd, unsigned long mfn)
{
    struct mmuext_op op = {.cmd = cmd};
    long r;

    op.arg1.mfn = mfn;
    r = hypercall5(__HYPERVISOR_mmuext_op, &op, 1, 0, DOMID_SELF, 0);
    if (r) {
        pv_printf(&pv_guest, "previrt: mmuext_op %u mfn %#lx\n", cmd, mfn);
        pv_xen_panic("mmuext_op failed", r);
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
        pv_xen_panic("out of page-table pages", pool_end), pfn = 0;
    mmuext(MMUEXT_CLEAR_PAGE, pv_xen_p2m[pfn]);
    pv_guest.count.tables++;
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
    enqueue(((uint64_t)pv_xen_p2m[table] << 12) + index * 8, entry);
}

static void forget(unsigned space, gva_t va)
{
    if (va < PV_KERNEL_BASE && (int)space != pv_xen_space)
        return; /* a change of roots flushes */
    if (pv_xen_flushes < FLUSH_PAGES)
        flush_page[pv_xen_flushes++] = va;
    else
        pv_xen_flushes = FLUSH_ALL;
}

/* A page's entry. */
static void leaf_set(unsigned space, gva_t va, uint32_t table, uint64_t entry)
{
    const int first = !pv_xen_queued;

    table_set(table, va >> 12 & 511, entry);
    single.va = va;
    single.valid = first && (va >= PV_KERNEL_BASE || (int)space == pv_xen_space);
}

static uint64_t to_table(uint32_t pfn)
{
    return (uint64_t)pv_xen_p2m[pfn] << 12 | TABLE;
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
    mmuext(MMUEXT_PIN_L4_TABLE, pv_xen_p2m[s->l4_kernel]);
    mmuext(MMUEXT_PIN_L4_TABLE, pv_xen_p2m[s->l4_user]);
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

static int user_as_kernel(int protection)
{
    return (protection & PV_MAP_USER) &&
           !(protection & PV_MAP_WRITE) == !(protection & PV_MAP_USER_WRITE);
}

void x_map(void *context, unsigned space, gva_t va, gpa_t gpa, int protection)
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
        pfn = pv_xen_pfn(pv_low_pages) + (gpa >> 12);
    }
    e = (uint64_t)pv_xen_p2m[pfn] << 12 | X_P | X_A;
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

void x_unmap(void *context, unsigned space, gva_t va)
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

void x_clear(void *context, unsigned space)
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
    if ((int)space == pv_xen_space)
        pv_xen_flushes = FLUSH_ALL;
}

static void flush(void)
{
    struct mmuext_op op[FLUSH_PAGES];
    unsigned n = 1;
    long r;

    if (pv_xen_flushes == FLUSH_ALL)
        op[0].cmd = MMUEXT_TLB_FLUSH_LOCAL;
    else
        for (n = 0; n < pv_xen_flushes; n++) {
            op[n].cmd = MMUEXT_INVLPG_LOCAL;
            op[n].arg1.linear_addr = flush_page[n];
        }
    pv_xen_flushes = 0;
    r = hypercall5(__HYPERVISOR_mmuext_op, op, n, 0, DOMID_SELF, 0);
    if (r)
        pv_xen_panic("cannot flush the TLB", r);
}

void x_activate(void *context, unsigned space)
{
    struct xspace *s = &xspaces[space];
    struct mmuext_op op[2];
    long r;

    (void)context;
    if (!s->l4_kernel)
        make_space(s);
    if (pv_xen_space == (int)space) {
        if (pv_xen_queued == 1 && single.valid &&
            (!pv_xen_flushes || (pv_xen_flushes == 1 && flush_page[0] == single.va))) {
            /* the common case: one page after a fault, or one INVLPG */
            pv_xen_queued = 0;
            pv_guest.count.map_calls++;
            pv_guest.count.map_changes++;
            r = hypercall3(__HYPERVISOR_update_va_mapping, single.va, queue[0].val,
                           pv_xen_flushes ? UVMF_INVLPG | UVMF_LOCAL : UVMF_NONE);
            if (r)
                pv_xen_panic("update_va_mapping failed", r);
            pv_xen_flushes = 0;
            return;
        }
        drain();
        if (pv_xen_flushes)
            flush();
        return;
    }
    drain();
    pv_guest.count.roots++;
    op[0].cmd = MMUEXT_NEW_BASEPTR;
    op[0].arg1.mfn = pv_xen_p2m[s->l4_kernel];
    op[1].cmd = MMUEXT_NEW_USER_BASEPTR;
    op[1].arg1.mfn = pv_xen_p2m[s->l4_user];
    r = hypercall5(__HYPERVISOR_mmuext_op, op, 2, 0, DOMID_SELF, 0);
    if (r)
        pv_xen_panic("cannot load page-table roots", r);
    pv_xen_space = space;
    pv_xen_flushes = 0;
}

void pv_xen_build_memory(const start_info_t *si)
{
    uint64_t *boot_l4 = (uint64_t *)si->pt_base;
    unsigned long first = ((si->pt_base - VIRT_BASE) >> 12) + si->nr_pt_frames + 16;
    unsigned long available = si->nr_pages, ram;
    uint32_t l3, l2 = 0, l1 = 0;

    /* an eighth, at least 16 MiB, for page tables */
    if (first + 8192 >= available)
        pv_xen_panic("too little memory: pages", available);
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
    pv_guest.ram = (uint8_t *)PHYSMAP;
    pv_guest.ram_size = (gpa_t)ram << 12;

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
        table_set(l1, i % 512,
                  (uint64_t)pv_xen_p2m[ram_pfn + i] << 12 | X_P | X_RW | X_A | X_D | X_NX);
    }
    drain();
    physmap_entry = to_table(l3);
    vmm_l3_entry = boot_l4[VMM_SLOT];
    enqueue((uint64_t)pv_xen_p2m[pv_xen_pfn(boot_l4)] << 12 | PHYSMAP_SLOT * 8, physmap_entry);
    kernel_l2 = table_alloc();
    for (unsigned long at = 0; at < LOW_SIZE; at += 4096) {
        gva_t va = LOW_BASE + at;
        uint32_t t = table_for(0, va);
        const void *page =
            va == PREVIRT_COUNTERS_GUEST(LOW_BASE) ? (void *)&pv_guest.count : pv_low_pages + at;
        uint64_t e = (uint64_t)pv_xen_p2m[pv_xen_pfn(page)] << 12 | X_P | X_A;

        if (page == &pv_guest.count)
            e |= X_NX;
        table_set(t, va >> 12 & 511, va == LOW_VCPU ? e | X_RW | X_D | X_NX : e);
    }
    drain();
}

void pv_xen_clear_ram(void)
{
    uint64_t *p = (uint64_t *)pv_guest.ram, *end = (uint64_t *)(pv_guest.ram + pv_guest.ram_size);

    while (p < end)
        *p++ = 0;
}
