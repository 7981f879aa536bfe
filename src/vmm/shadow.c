/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shadow paging. The guest's tables stay as it wrote them; what is mapped is a cache of them, like
 * a TLB with a very large capacity: filled on faults, and made to agree again where the
 * architecture says that a TLB must (CR3 loads, INVLPG, changes of CR0 and CR4; SDM 3A 4.10.4). To
 * agree is cheap because each 2 MiB stretch (struct pv_node) remembers the guest entries that it
 * was filled from: comparing finds the differences, and they are mapped in one batch.
 *
 * The kernel half is one set of mappings for all spaces. It is filled eagerly: a hypervisor may
 * push frames on the guest's kernel stack, whose page must then be there.
 */
#include "vmm.h"

static int in_low(struct pv_vmm *vmm, gva_t va)
{
    return va - vmm->low_base < vmm->low_size;
}

static void drop_node(struct pv_vmm *vmm, uint16_t *slot, int unmap)
{
    struct pv_node *node = &vmm->node[*slot];

    if (unmap && node->used)
        for (unsigned i = 0; i < 512; i++)
            if (node->pte[i] && !in_low(vmm, node->base + i * PV_PAGE_SIZE)) {
                vmm->backend.unmap(vmm->backend.context, vmm->current,
                                   node->base + i * PV_PAGE_SIZE);
                vmm->count.unmaps++;
            }
    node->next_free = vmm->free_nodes;
    vmm->free_nodes = *slot;
    *slot = 0;
}

static void clear_space(struct pv_vmm *vmm, unsigned id)
{
    struct pv_space *space = &vmm->space[id];

    if (space->valid)
        vmm->backend.clear(vmm->backend.context, id);
    for (unsigned r = 0; r < PV_REGIONS; r++)
        if (space->region[r]) {
            vmm->node[space->region[r]].next_free = vmm->free_nodes;
            vmm->free_nodes = space->region[r];
            space->region[r] = 0;
        }
    space->nodes = 0;
    space->valid = 0;
}

static unsigned oldest_space(struct pv_vmm *vmm, int valid_only)
{
    unsigned best = ~0u;

    for (unsigned i = 0; i < PV_SPACES; i++) {
        if (i == vmm->current)
            continue;
        if (!vmm->space[i].valid) {
            if (valid_only)
                continue;
            return i;
        }
        if (best == ~0u || vmm->space[i].stamp < vmm->space[best].stamp)
            best = i;
    }
    return best;
}

static struct pv_node *get_node(struct pv_vmm *vmm, gva_t va)
{
    uint16_t *slot = pv_region(vmm, va);
    struct pv_node *node;

    if (*slot)
        return &vmm->node[*slot];
    if (!vmm->free_nodes) {
        unsigned victim = oldest_space(vmm, 1);

        if (victim == ~0u)
            return NULL;
        clear_space(vmm, victim);
        if (!vmm->free_nodes)
            return NULL;
    }
    *slot = vmm->free_nodes;
    node = &vmm->node[*slot];
    vmm->free_nodes = node->next_free;
    node->base = va & ~(PV_NODE_SPAN - 1);
    node->used = 0;
    node->large = 0;
    node->pde = 0;
    for (unsigned i = 0; i < 512; i++)
        node->pte[i] = 0;
    return node;
}

static int protection(struct pv_vmm *vmm, uint64_t flags)
{
    int p = 0;

    /* The first write to a clean page must fault, so that the dirty bit can be set. */
    if ((flags & PTE_D) && ((flags & PTE_RW) || !(vmm->cpu.cr0 & CR0_WP)))
        p |= PV_MAP_WRITE;
    if (!(flags & PTE_NX))
        p |= PV_MAP_EXEC;
    if (flags & PTE_US) {
        p |= PV_MAP_USER;
        if ((flags & PTE_D) && (flags & PTE_RW))
            p |= PV_MAP_USER_WRITE;
    }
    return p;
}

static void map(struct pv_vmm *vmm, gva_t va, gpa_t gpa, uint64_t flags)
{
    if (gpa >= vmm->ram_size)
        return;
    vmm->backend.map(vmm->backend.context, vmm->current, va, gpa & ~(gpa_t)PV_PAGE_MASK,
                     protection(vmm, flags));
}

/* The guest's page-directory entry for a 2 MiB stretch. 0: not present or unreadable. */
static uint64_t read_pde(struct pv_vmm *vmm, gva_t va)
{
    if (!(vmm->cpu.cr0 & CR0_PG))
        return PTE_P | PTE_RW | PTE_US | PTE_PS | PTE_A | PTE_D | (va & ~(PV_NODE_SPAN - 1));
    if (vmm->cpu.cr4 & CR4_PAE) {
        uint64_t *e = pv_gpa(vmm, (vmm->cpu.cr3 & ~31u) + (va >> 30) * 8, 8);

        if (!e || !(*e & PTE_P))
            return 0;
        e = pv_gpa(vmm, (*e & PTE_ADDRESS) + (va >> 21 & 511) * 8, 8);
        return e && (*e & PTE_P) ? *e : 0;
    } else {
        uint32_t *e = pv_gpa(vmm, (vmm->cpu.cr3 & ~PV_PAGE_MASK) + (va >> 22) * 4, 4);

        if (!e || !(*e & PTE_P))
            return 0;
        if (!(vmm->cpu.cr4 & CR4_PSE))
            return *e & ~PTE_PS;
        if (*e & PTE_PS) /* the half of the 4 MiB page that this stretch is */
            return (*e & ~0x3ff000u) | (va & 0x200000);
        return *e;
    }
}

/*
 * Makes the mappings of (node) agree with the guest's tables. (prefill): entries that are present
 * and accessed are mapped too, even if they were not before; (all): present ones, accessed or not.
 */
static void sync_node(struct pv_vmm *vmm, struct pv_node *node, int prefill, int all)
{
    uint64_t pde = read_pde(vmm, node->base), top;
    const uint64_t nx = vmm->cpu.efer & EFER_NXE ? PTE_NX : 0;
    uint64_t *pt8 = NULL;
    uint32_t *pt4 = NULL;

    vmm->count.syncs++;
    if (!(pde & PTE_P)) {
        for (unsigned i = 0; node->used && i < 512; i++)
            if (node->pte[i]) {
                vmm->backend.unmap(vmm->backend.context, vmm->current,
                                   node->base + i * PV_PAGE_SIZE);
                vmm->count.unmaps++;
                node->pte[i] = 0;
                node->used--;
            }
        node->pde = 0;
        node->large = 0;
        return;
    }
    if ((pde & PTE_PS) && all && (vmm->cpu.cr0 & CR0_PG) && (pde & PTE_RW) && !(pde & PTE_D)) {
        struct pv_walk walk;
        uint32_t *e;

        if (!pv_walk(vmm, node->base, &walk) && (e = pv_gpa(vmm, walk.pte_gpa, 4)))
            *e |= PTE_A | PTE_D;
        pde |= PTE_A | PTE_D;
    }
    if (pde & PTE_PS) {
        if (node->large && node->pde == pde && (node->used == 512 || !prefill))
            return;
        for (unsigned i = 0; i < 512; i++) {
            gva_t va = node->base + i * PV_PAGE_SIZE;
            uint64_t e = (pde & ~PTE_PS) + i * PV_PAGE_SIZE;

            if (in_low(vmm, va))
                continue;
            if (node->pte[i] == e)
                continue;
            if (!node->pte[i]) {
                if (!prefill)
                    continue;
                node->used++;
            }
            node->pte[i] = e;
            map(vmm, va, e & PTE_ADDRESS, e & ~(PTE_NX & ~nx));
        }
        node->pde = pde;
        node->large = 1;
        return;
    }
    /* What the directory entry says limits every entry below. */
    if ((node->pde ^ pde) & (PTE_RW | PTE_US | nx) || node->large)
        for (unsigned i = 0; i < 512; i++)
            if (node->pte[i])
                node->pte[i] ^= PV_PTE_STALE;
    node->pde = pde;
    node->large = 0;
    if (!(vmm->cpu.cr0 & CR0_PG))
        return;
    if (vmm->cpu.cr4 & CR4_PAE)
        pt8 = pv_gpa(vmm, pde & PTE_ADDRESS, PV_PAGE_SIZE);
    else
        pt4 =
            pv_gpa(vmm, (pde & ~(uint64_t)PV_PAGE_MASK) + (node->base & 0x200000 ? 2048 : 0), 2048);
    if (!pt8 && !pt4)
        return;
    top = pde & (PTE_RW | PTE_US);
    for (unsigned i = 0; i < 512; i++) {
        uint64_t g = pt8 ? pt8[i] : pt4[i], old = node->pte[i];
        gva_t va = node->base + i * PV_PAGE_SIZE;

        if (g == old)
            continue;
        if (all && (g & PTE_P) && (g & PTE_RW) && !(g & PTE_D)) {
            /* a kernel stack may be here: it must be writable before anything faults on it */
            g |= PTE_A | PTE_D;
            if (pt8)
                pt8[i] = g;
            else
                pt4[i] = g;
        }
        if ((g & PTE_P) && ((g & PTE_A) || all) && (old || prefill)) {
            uint64_t flags = g & (top | PTE_P | PTE_D | nx);

            if ((g & PTE_ADDRESS) >= vmm->ram_size)
                continue;
            if (in_low(vmm, va))
                continue;
            flags |= pde & nx;
            node->pte[i] = g;
            node->used += !old;
            vmm->count.prefills++;
            map(vmm, va, g & PTE_ADDRESS, flags);
        } else if (old) {
            node->pte[i] = 0;
            node->used--;
            vmm->count.unmaps++;
            vmm->backend.unmap(vmm->backend.context, vmm->current, va);
        }
    }
}

static void sync_space(struct pv_vmm *vmm)
{
    struct pv_space *space = &vmm->space[vmm->current];
    unsigned left = space->nodes;

    for (unsigned r = 0; left && r < PV_REGIONS; r++)
        if (space->region[r]) {
            left--;
            sync_node(vmm, &vmm->node[space->region[r]], 1, 0);
        }
}

static void sync_kernel(struct pv_vmm *vmm)
{
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++) {
        gva_t va = PV_KERNEL_BASE + r * PV_NODE_SPAN;

        if (vmm->kernel_region[r])
            sync_node(vmm, &vmm->node[vmm->kernel_region[r]], 1, 1);
        else if (read_pde(vmm, va)) {
            struct pv_node *node = get_node(vmm, va);

            if (!node) {
                pv_die(vmm, "out of shadow nodes");
                return;
            }
            sync_node(vmm, node, 1, 1);
        }
    }
}

void pv_shadow_init(struct pv_vmm *vmm)
{
    for (unsigned i = PV_NODES - 1; i; i--) {
        vmm->node[i].next_free = vmm->free_nodes;
        vmm->free_nodes = i;
    }
    vmm->space[0].valid = 1;
    vmm->space[0].cr3 = ~0u;
    vmm->current = 0;
    vmm->backend.activate(vmm->backend.context, 0);
}

/* The pages below the stack pointer must be mapped before kernel code runs: see the head of this
 * file. */
void pv_shadow_stack(struct pv_vmm *vmm)
{
    gva_t esp = vmm->cpu.gpr[PV_ESP];

    pv_shadow_fault(vmm, esp - 4, PFE_W);
    pv_shadow_fault(vmm, esp - 512, PFE_W);
}

int pv_shadow_fault(struct pv_vmm *vmm, gva_t va, uint32_t error)
{
    struct pv_walk walk;
    struct pv_node *node;
    uint64_t old = 0, *slot;
    uint16_t *region;

    vmm->count.faults++;
    if (in_low(vmm, va))
        return 0;
    if (pv_walk(vmm, va, &walk)) {
        gva_t alias = vmm->low_base - vmm->load_offset;

        if (!vmm->booted && va - alias < vmm->low_size) {
            /* stubs at the load address: the kernel still runs untranslated, or identity-mapped */
            vmm->backend.map(vmm->backend.context, vmm->current, va & ~PV_PAGE_MASK,
                             PV_GPA_LOW + ((va - alias) & ~PV_PAGE_MASK),
                             PV_MAP_WRITE | PV_MAP_EXEC);
            return 1;
        }
        return 0;
    }
    if (!(vmm->cpu.cr0 & CR0_PG) && va - (vmm->low_base - vmm->load_offset) < vmm->low_size) {
        vmm->backend.map(vmm->backend.context, vmm->current, va & ~PV_PAGE_MASK,
                         PV_GPA_LOW + ((va - (vmm->low_base - vmm->load_offset)) & ~PV_PAGE_MASK),
                         PV_MAP_WRITE | PV_MAP_EXEC);
        return 1;
    }
    if ((error & PFE_W) && !(walk.flags & PTE_RW) && ((error & PFE_U) || (vmm->cpu.cr0 & CR0_WP)))
        return 0;
    if ((error & PFE_U) && !(walk.flags & PTE_US))
        return 0;
    if ((error & PFE_I) && (walk.flags & PTE_NX))
        return 0;
    if (walk.gpa >= vmm->ram_size) {
        pv_die(vmm, "access to guest-physical %#llx, which is not RAM (at %#x)",
               (unsigned long long)walk.gpa, va);
        return 1;
    }
    if (vmm->cpu.cr0 & CR0_PG) {
        uint64_t want = PTE_A | (error & PFE_W ? PTE_D : 0);
        uint32_t *e = pv_gpa(vmm, walk.pte_gpa, 4);

        if (e && (walk.flags & want) != want) {
            *e |= want;
            walk.flags |= want;
        }
    }
    region = pv_region(vmm, va);
    if (!*region && va < PV_KERNEL_BASE)
        vmm->space[vmm->current].nodes++;
    node = get_node(vmm, va);
    if (!node) {
        pv_die(vmm, "out of shadow nodes");
        return 1;
    }
    vmm->count.fills++;
    slot = &node->pte[va >> 12 & 511];
    old = *slot;
    if (!old)
        node->used++;
    if (walk.large || !(vmm->cpu.cr0 & CR0_PG)) {
        if (old)
            *slot ^= PV_PTE_STALE;
        node->large = 0;
        sync_node(vmm, node, 1, 1);
        if (!old)
            node->used = 512;
        return 1;
    }
    *slot = walk.pte_size == 8 ? *(uint64_t *)pv_gpa(vmm, walk.pte_gpa, 8)
                               : *(uint32_t *)pv_gpa(vmm, walk.pte_gpa, 4);
    if (!node->pde)
        node->pde = read_pde(vmm, va);
    map(vmm, va & ~PV_PAGE_MASK, walk.gpa, walk.flags);
    return 1;
}

void pv_shadow_cr3(struct pv_vmm *vmm, uint32_t cr3)
{
    unsigned id = ~0u;

    vmm->count.cr3_loads++;
    vmm->cpu.cr3 = cr3;
    if (!(vmm->cpu.cr0 & CR0_PG))
        return;
    for (unsigned i = 0; i < PV_SPACES; i++)
        if (vmm->space[i].valid && vmm->space[i].cr3 == cr3)
            id = i;
    if (id == ~0u) {
        id = oldest_space(vmm, 0);
        clear_space(vmm, id);
        vmm->space[id].valid = 1;
        vmm->space[id].cr3 = cr3;
        vmm->count.cr3_new++;
    }
    vmm->space[id].stamp = ++vmm->stamp;
    vmm->current = id;
    sync_space(vmm);
    if (!(vmm->cpu.cr4 & CR4_PGE))
        sync_kernel(vmm);
    vmm->backend.activate(vmm->backend.context, id);
}

void pv_shadow_flush_all(struct pv_vmm *vmm)
{
    if (!(vmm->cpu.cr0 & CR0_PG))
        return;
    sync_space(vmm);
    sync_kernel(vmm);
}

void pv_shadow_invlpg(struct pv_vmm *vmm, gva_t va)
{
    uint16_t *region = pv_region(vmm, va);
    struct pv_node *node;
    struct pv_walk walk;
    uint64_t *slot;

    vmm->count.invlpgs++;
    if (!*region || in_low(vmm, va) || !(vmm->cpu.cr0 & CR0_PG))
        return;
    node = &vmm->node[*region];
    if (node->large || (read_pde(vmm, va) ^ node->pde) & ~(PTE_A | PTE_D)) {
        sync_node(vmm, node, va >= PV_KERNEL_BASE, va >= PV_KERNEL_BASE);
        return;
    }
    slot = &node->pte[va >> 12 & 511];
    if (pv_walk(vmm, va, &walk) == 0 && walk.gpa < vmm->ram_size &&
        ((walk.flags & PTE_A) || va >= PV_KERNEL_BASE)) {
        node->used += !*slot;
        *slot = walk.pte_size == 8 ? *(uint64_t *)pv_gpa(vmm, walk.pte_gpa, 8)
                                   : *(uint32_t *)pv_gpa(vmm, walk.pte_gpa, 4);
        map(vmm, va & ~PV_PAGE_MASK, walk.gpa, walk.flags);
    } else if (*slot) {
        *slot = 0;
        node->used--;
        vmm->count.unmaps++;
        vmm->backend.unmap(vmm->backend.context, vmm->current, va & ~PV_PAGE_MASK);
    }
}

void pv_shadow_paging_mode(struct pv_vmm *vmm)
{
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++)
        if (vmm->kernel_region[r])
            drop_node(vmm, &vmm->kernel_region[r], 1);
    for (unsigned i = 0; i < PV_SPACES; i++)
        if (vmm->space[i].valid && i != vmm->current)
            clear_space(vmm, i);
    if (vmm->cpu.cr0 & CR0_PG) {
        pv_shadow_cr3(vmm, vmm->cpu.cr3);
        sync_kernel(vmm);
    } else {
        unsigned id = oldest_space(vmm, 0);

        clear_space(vmm, id);
        vmm->space[id].valid = 1;
        vmm->space[id].cr3 = ~0u;
        vmm->current = id;
        vmm->backend.activate(vmm->backend.context, id);
    }
    pv_shadow_stack(vmm);
}
