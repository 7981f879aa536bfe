/* SPDX-License-Identifier: BSD-2-Clause */
/* Segments: descriptor tables, and loads and reads of what they describe. */
#include "xen.h"

int pv_xen_segments_stale;

/* Before user code runs, its base of GS is made to fit. */
static void gs_stale(void)
{
    pv_guest.page->attention[PV_ATTENTION_GS] = 1;
    pv_fast.user_gs = ~0u;
}

static uint64_t gdt_frame[512] __attribute__((aligned(4096)));

void x_set_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    uint64_t machine = ((uint64_t)pv_xen_p2m[pv_xen_pfn(gdt_frame)] << 12) + index * 8;
    long r = hypercall3(__HYPERVISOR_update_descriptor, machine, descriptor, 0);

    (void)context;
    pv_xen_segments_stale = 1;
    gs_stale();
    pv_guest.count.descriptors++;
    if (r)
        pv_printf(&pv_guest, "previrt: Xen refused descriptor %u = %#llx: %ld\n", index,
                  (unsigned long long)descriptor, r);
}

static uint64_t ldt_frames[PV_LDT_ENTRIES] __attribute__((aligned(4096)));

void x_set_local_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    uint64_t machine =
        ((uint64_t)pv_xen_p2m[pv_xen_pfn(&ldt_frames[index])] << 12) + (index * 8 & PV_PAGE_MASK);
    long r = hypercall3(__HYPERVISOR_update_descriptor, machine, descriptor, 0);

    (void)context;
    pv_xen_segments_stale = 1;
    gs_stale();
    if (r)
        pv_printf(&pv_guest, "previrt: Xen refused local descriptor %u = %#llx: %ld\n", index,
                  (unsigned long long)descriptor, r);
}

void x_set_ldt(void *context, unsigned entries)
{
    struct mmuext_op op = {.cmd = MMUEXT_SET_LDT};
    long r;

    (void)context;
    op.arg1.linear_addr = (unsigned long)ldt_frames;
    op.arg2.nr_ents = entries;
    r = hypercall5(__HYPERVISOR_mmuext_op, &op, 1, 0, DOMID_SELF, 0);
    if (r)
        pv_xen_panic("cannot set the LDT", r);
}

void x_segment_load(void *context, unsigned sreg, uint16_t s)
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
        pv_guest.page->attention[PV_ATTENTION_GS] = 1;
        break;
    }
}

uint16_t x_segment_read(void *context, unsigned sreg)
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
        s = pv_xen_gs();
        break;
    }
    return s;
}

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

void pv_xen_reload_segments(void)
{
    reload(PV_ES);
    reload(PV_DS);
    reload(PV_FS);
    pv_xen_segments_stale = 0;
}

void pv_xen_build_segments(void)
{
    unsigned long frame = pv_xen_p2m[pv_xen_pfn(gdt_frame)];
    long r;

    r = hypercall5(__HYPERVISOR_update_va_mapping, gdt_frame, frame << 12 | X_P, UVMF_INVLPG, 0, 0);
    r = r ? r : hypercall3(__HYPERVISOR_set_gdt, &frame, 512, 0);
    if (r)
        pv_xen_panic("cannot set the GDT", r);

    /* Xen takes a page of descriptors only if nobody can write to it */
    for (size_t i = 0; i < sizeof ldt_frames; i += PV_PAGE_SIZE) {
        char *page = (char *)ldt_frames + i;

        r = hypercall5(__HYPERVISOR_update_va_mapping, page,
                       (uint64_t)pv_xen_p2m[pv_xen_pfn(page)] << 12 | X_P, UVMF_INVLPG, 0, 0);
        if (r)
            pv_xen_panic("cannot make the LDT's pages read-only", r);
    }
}
