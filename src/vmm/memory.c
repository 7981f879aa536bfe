/* SPDX-License-Identifier: BSD-2-Clause */
/* Guest memory: the one checked accessor for guest-physical addresses, and the walk of the guest's
 * page tables. */
#include "vmm.h"

/* Mostly frames and descriptors: words. */
static void copy(void *to, const void *from, size_t size)
{
    uint8_t *t = to;
    const uint8_t *f = from;

    for (; size >= 4; size -= 4, t += 4, f += 4)
        __builtin_memcpy(t, f, 4);
    while (size--)
        *t++ = *f++;
}

void *pv_gpa(struct pv_vmm *vmm, gpa_t gpa, size_t size)
{
    if (gpa >= vmm->ram_size || size > vmm->ram_size - gpa)
        return NULL;
    return vmm->ram + gpa;
}

void *pv_mapped(struct pv_vmm *vmm, gva_t va, int write)
{
    const uint64_t want = write ? PTE_P | PTE_RW | PTE_D : PTE_P;
    const struct pv_node *node = &vmm->node[*pv_region(vmm, va)];
    uint64_t e = node->pte[va >> 12 & 511];

    /* node 0 maps nothing */
    if ((e & (want | PV_PTE_STALE)) != want || (write && !(node->pde & PTE_RW)))
        return NULL;
    e = (e & PTE_ADDRESS) | (va & PV_PAGE_MASK);
    return e < vmm->ram_size ? vmm->ram + e : NULL;
}

static int walk_pae(struct pv_vmm *vmm, gva_t va, struct pv_walk *walk)
{
    uint64_t *entry = pv_gpa(vmm, (vmm->cpu.cr3 & ~31u) + (va >> 30) * 8, 8);
    uint64_t nx = vmm->cpu.efer & EFER_NXE ? PTE_NX : 0, e;

    if (!entry || !(*entry & PTE_P))
        return PV_WALK_ABSENT;
    entry = pv_gpa(vmm, (*entry & PTE_ADDRESS) + (va >> 21 & 511) * 8, 8);
    if (!entry || !((e = *entry) & PTE_P))
        return PV_WALK_ABSENT;
    if (pv_pde_reserved(vmm, e))
        return PFE_P | PFE_RSVD;
    walk->flags = e & (PTE_P | PTE_RW | PTE_US | nx);
    walk->pte_size = 8;
    if (pv_pde_large(vmm, e)) {
        walk->large = 1;
        walk->pte_gpa = (uint8_t *)entry - vmm->ram;
        walk->gpa = (e & PTE_ADDRESS & ~0x1fffffull) | (va & 0x1fffff);
        walk->flags |= e & (PTE_G | PTE_A | PTE_D);
        return 0;
    }
    entry = pv_gpa(vmm, (e & PTE_ADDRESS) + (va >> 12 & 511) * 8, 8);
    if (!entry || !((e = *entry) & PTE_P))
        return PV_WALK_ABSENT;
    if (pv_reserved(vmm, e))
        return PFE_P | PFE_RSVD;
    walk->flags &= (e & (PTE_RW | PTE_US)) | PTE_P | PTE_NX;
    walk->flags |= e & (nx | PTE_G | PTE_A | PTE_D);
    walk->pte_gpa = (uint8_t *)entry - vmm->ram;
    walk->gpa = (e & PTE_ADDRESS) | (va & PV_PAGE_MASK);
    return 0;
}

static int walk_2level(struct pv_vmm *vmm, gva_t va, struct pv_walk *walk)
{
    uint32_t *entry = pv_gpa(vmm, (vmm->cpu.cr3 & ~PV_PAGE_MASK) + (va >> 22) * 4, 4);
    uint32_t e;

    if (!entry || !((e = *entry) & PTE_P))
        return PV_WALK_ABSENT;
    if (pv_pde_reserved(vmm, e))
        return PFE_P | PFE_RSVD;
    walk->flags = e & (PTE_P | PTE_RW | PTE_US);
    walk->pte_size = 4;
    if (pv_pde_large(vmm, e)) {
        walk->large = 1;
        walk->pte_gpa = (uint8_t *)entry - vmm->ram;
        walk->gpa = (e & 0xffc00000) | (va & 0x3fffff);
        walk->flags |= e & (PTE_G | PTE_A | PTE_D);
        return 0;
    }
    entry = pv_gpa(vmm, (e & ~PV_PAGE_MASK) + (va >> 12 & 1023) * 4, 4);
    if (!entry || !((e = *entry) & PTE_P))
        return PV_WALK_ABSENT;
    walk->flags &= (e & (PTE_RW | PTE_US)) | PTE_P;
    walk->flags |= e & (PTE_G | PTE_A | PTE_D);
    walk->pte_gpa = (uint8_t *)entry - vmm->ram;
    walk->gpa = (e & ~PV_PAGE_MASK) | (va & PV_PAGE_MASK);
    return 0;
}

int pv_walk(struct pv_vmm *vmm, gva_t va, struct pv_walk *walk)
{
    walk->large = 0;
    walk->pte_gpa = ~0ull;
    walk->pte_size = 0;
    if (!(vmm->cpu.cr0 & CR0_PG)) {
        walk->gpa = va;
        walk->flags = PTE_P | PTE_RW | PTE_US | PTE_A | PTE_D;
        return 0;
    }
    return vmm->cpu.cr4 & CR4_PAE ? walk_pae(vmm, va, walk) : walk_2level(vmm, va, walk);
}

/* Supervisor access: what the VMM does on behalf of the kernel. */
static int transfer(struct pv_vmm *vmm, gva_t va, void *buffer, size_t size, int write,
                    gva_t *fault)
{
    uint8_t *b = buffer;

    while (size) {
        size_t n = PV_PAGE_SIZE - (va & PV_PAGE_MASK);
        struct pv_walk walk;
        void *p;

        if (n > size)
            n = size;
        p = pv_mapped(vmm, va, write);
        if (p) {
            if (write)
                copy(p, b, n);
            else
                copy(b, p, n);
            va += n;
            b += n;
            size -= n;
            continue;
        }
        if (pv_walk(vmm, va, &walk) || !(p = pv_gpa(vmm, walk.gpa, n))) {
            if (fault)
                *fault = va;
            return 0x100 | (write ? PFE_W : 0);
        }
        if (write && !(walk.flags & PTE_RW) && (vmm->cpu.cr0 & CR0_WP)) {
            if (fault)
                *fault = va;
            return 0x100 | PFE_W | PFE_P;
        }
        if (write)
            copy(p, b, n);
        else
            copy(b, p, n);
        va += n;
        b += n;
        size -= n;
    }
    return 0;
}

int pv_read(struct pv_vmm *vmm, gva_t va, void *out, size_t size, gva_t *fault)
{
    return transfer(vmm, va, out, size, 0, fault);
}

int pv_write(struct pv_vmm *vmm, gva_t va, const void *in, size_t size, gva_t *fault)
{
    return transfer(vmm, va, (void *)in, size, 1, fault);
}
