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

/* Entry (i) of (node) becomes (e), 0 for not mapped. */
static void set_entry(struct pv_node *node, unsigned i, uint64_t e)
{
    if (!node->pte[i] != !e) {
        node->bits[i / 64] ^= 1ull << (i % 64);
        node->words = (node->words & ~(1u << i / 64)) | (node->bits[i / 64] != 0) << i / 64;
        node->used += e ? 1 : -1u;
    }
    node->pte[i] = e;
}

static void unmap(struct pv_vmm *vmm, struct pv_node *node, unsigned i)
{
    set_entry(node, i, 0);
    vmm->tables_changed |= node->base >= PV_KERNEL_BASE;
    pv_code_gone(vmm, node->base + i * PV_PAGE_SIZE);
    vmm->count.unmaps++;
    vmm->backend.unmap(vmm->backend.context, vmm->current, node->base + i * PV_PAGE_SIZE);
}

static void drop_node(struct pv_vmm *vmm, uint16_t *slot)
{
    struct pv_node *node = &vmm->node[*slot];

    for (unsigned i = 0; node->used && i < 512; i++)
        if (node->pte[i])
            unmap(vmm, node, i);
    node->next_free = vmm->free_nodes;
    vmm->free_nodes = *slot;
    *slot = 0;
}

static void clear_space(struct pv_vmm *vmm, unsigned id)
{
    struct pv_space *space = &vmm->space[id];

    if (space->valid)
        vmm->backend.clear(vmm->backend.context, id);
    while (space->first) {
        const uint16_t n = space->first;
        struct pv_node *node = &vmm->node[n];

        space->region[node->base / PV_NODE_SPAN] = 0;
        space->first = node->next_free;
        node->next_free = vmm->free_nodes;
        vmm->free_nodes = n;
    }
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
    if (va < PV_KERNEL_BASE) {
        node->next_free = vmm->space[vmm->current].first;
        vmm->space[vmm->current].first = *slot;
    }
    node->used = 0;
    node->large = 0;
    node->pde = 0;
    for (unsigned i = 0; i < 512; i++)
        node->pte[i] = 0;
    for (unsigned i = 0; i < 8; i++)
        node->bits[i] = 0;
    node->words = 0;
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

/*
 * Entry (i) of (node) becomes (e), the guest's, which maps (gpa) with (flags): what the levels
 * above leave of it. Where only rights are added no TLB needs to know: before a processor faults it
 * looks again (SDM 3A 4.10.4.3).
 */
static void map(struct pv_vmm *vmm, struct pv_node *node, unsigned i, uint64_t e, gpa_t gpa,
                uint64_t flags)
{
    const uint64_t old = node->pte[i], grows = PTE_A | PTE_D | PTE_RW;
    const gva_t va = node->base + i * PV_PAGE_SIZE;
    int more = !old || (!((old ^ e) & ~grows) && !(old & ~e));

    if (gpa >= vmm->ram_size) { /* an access ends the guest; what was here before is gone */
        if (old)
            unmap(vmm, node, i);
        return;
    }
    if ((old ^ e) & PTE_ADDRESS)
        pv_code_gone(vmm, va);
    set_entry(node, i, e);
    vmm->tables_changed |= node->base >= PV_KERNEL_BASE;
    vmm->backend.map(vmm->backend.context, vmm->current, va, gpa & ~(gpa_t)PV_PAGE_MASK,
                     pv_code_protection(vmm, va, flags, protection(vmm, flags)) |
                         (more ? PV_MAP_MORE : 0));
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
        return e && (*e & PTE_P) && !pv_pde_reserved(vmm, *e) ? *e : 0;
    } else {
        uint32_t *e = pv_gpa(vmm, (vmm->cpu.cr3 & ~PV_PAGE_MASK) + (va >> 22) * 4, 4);

        if (!e || !(*e & PTE_P) || pv_pde_reserved(vmm, *e))
            return 0;
        if (!pv_pde_large(vmm, *e))
            return *e & ~PTE_PS;
        return *e | (va & 0x200000); /* the half of the 4 MiB page that this stretch is */
    }
}

/* The guest's page table for the stretch of (node) in (pde), in one of the two formats; NULL: none.
 */
static void *page_table(struct pv_vmm *vmm, const struct pv_node *node, uint64_t pde)
{
    if (vmm->cpu.cr4 & CR4_PAE)
        return pv_gpa(vmm, pde & PTE_ADDRESS, PV_PAGE_SIZE);
    return pv_gpa(vmm, (pde & ~(uint64_t)PV_PAGE_MASK) + (node->base & PV_NODE_SPAN ? 2048 : 0),
                  2048);
}

static uint64_t table_entry(struct pv_vmm *vmm, const void *table, unsigned i)
{
    return vmm->cpu.cr4 & CR4_PAE ? ((const uint64_t *)table)[i] : ((const uint32_t *)table)[i];
}

static void set_bits(struct pv_vmm *vmm, void *table, unsigned i, uint32_t bits)
{
    if (vmm->cpu.cr4 & CR4_PAE)
        ((uint64_t *)table)[i] |= bits;
    else
        ((uint32_t *)table)[i] |= bits;
}

enum sync {
    SYNC_MAPPED,   /* what is mapped */
    SYNC_ACCESSED, /* and what is present and accessed */
    SYNC_PRESENT   /* and all that is present; what is writable is made so */
};

static void sync_large(struct pv_vmm *vmm, struct pv_node *node, uint64_t pde, enum sync what)
{
    const uint64_t nx = vmm->cpu.efer & EFER_NXE ? PTE_NX : 0;

    if (what == SYNC_PRESENT && (vmm->cpu.cr0 & CR0_PG) && (pde & PTE_RW) && !(pde & PTE_D)) {
        struct pv_walk walk;
        uint32_t *e;

        if (!pv_walk(vmm, node->base, &walk) && (e = pv_gpa(vmm, walk.pte_gpa, 4)))
            *e |= PTE_A | PTE_D;
        pde |= PTE_A | PTE_D;
    }
    if (node->large && node->pde == pde && (node->used == 512 || what == SYNC_MAPPED))
        return;
    for (unsigned i = 0; i < 512; i++) {
        uint64_t e = (pde & ~(PTE_PS | PDE_PAT)) + i * PV_PAGE_SIZE;

        if (node->pte[i] == e || in_low(vmm, node->base + i * PV_PAGE_SIZE) ||
            (!node->pte[i] && what == SYNC_MAPPED))
            continue;
        map(vmm, node, i, e, e & PTE_ADDRESS, e & ~(PTE_NX & ~nx));
    }
    node->pde = pde;
    node->large = 1;
}

/* One entry that is not as it was mapped. */
static void sync_entry(struct pv_vmm *vmm, struct pv_node *node, void *table, unsigned i,
                       enum sync what)
{
    const uint64_t nx = vmm->cpu.efer & EFER_NXE ? PTE_NX : 0;
    uint64_t e = table_entry(vmm, table, i);

    if ((vmm->cpu.cr4 & CR4_PAE) && (e & PTE_P) && pv_reserved(vmm, e))
        e = 0;
    if (what == SYNC_PRESENT && (e & PTE_P) && (e & PTE_RW) && !(e & PTE_D)) {
        /* a kernel stack may be here: it must be writable before anything faults on it */
        set_bits(vmm, table, i, PTE_A | PTE_D);
        e |= PTE_A | PTE_D;
    }
    if ((e & PTE_P) && ((e & PTE_A) || what == SYNC_PRESENT) &&
        (node->pte[i] || what != SYNC_MAPPED)) {
        uint64_t flags = e & ((node->pde & (PTE_RW | PTE_US)) | PTE_P | PTE_D | nx);

        if (in_low(vmm, node->base + i * PV_PAGE_SIZE))
            return;
        vmm->count.prefills++;
        map(vmm, node, i, e, e & PTE_ADDRESS, flags | (node->pde & nx));
    } else if (node->pte[i]) {
        unmap(vmm, node, i);
    }
}

static void unmap_all(struct pv_vmm *vmm, struct pv_node *node)
{
    for (unsigned i = 0; node->used && i < 512; i++)
        if (node->pte[i])
            unmap(vmm, node, i);
    node->pde = 0;
    node->large = 0;
}

/* Makes the mappings of (node) agree with the guest's tables. */
static void sync_node(struct pv_vmm *vmm, struct pv_node *node, enum sync what)
{
    uint64_t pde = read_pde(vmm, node->base);
    const uint64_t rights = PTE_RW | PTE_US | (vmm->cpu.efer & EFER_NXE ? PTE_NX : 0);
    void *table;

    vmm->count.syncs++;
    if (!(pde & PTE_P)) {
        unmap_all(vmm, node);
        return;
    }
    if (pde & PTE_PS) {
        sync_large(vmm, node, pde, what);
        return;
    }
    /* What the directory entry says limits every entry below. */
    if ((node->pde ^ pde) & rights || node->large)
        for (unsigned i = 0; i < 512; i++)
            if (node->pte[i])
                node->pte[i] |= PV_PTE_STALE;
    node->pde = pde;
    node->large = 0;
    table = vmm->cpu.cr0 & CR0_PG ? page_table(vmm, node, pde) : NULL;
    if (!table) { /* outside of memory */
        unmap_all(vmm, node);
        return;
    }
    if (what != SYNC_MAPPED) {
        for (unsigned i = 0; i < 512; i++)
            if (table_entry(vmm, table, i) != node->pte[i])
                sync_entry(vmm, node, table, i, what);
        return;
    }
    for (unsigned word = 0; word < 8; word++)
        for (uint64_t bits = node->bits[word]; bits; bits &= bits - 1) {
            unsigned i = word * 64 + (unsigned)__builtin_ctzll(bits);

            if (table_entry(vmm, table, i) != node->pte[i])
                sync_entry(vmm, node, table, i, what);
        }
}

/*
 * Whether the guest's tables still are what (node) was mapped from: what sync_node() would find,
 * for the formats and the states that every load of CR3 meets. 0: not, or not known.
 */
static int agrees(struct pv_vmm *vmm, const struct pv_node *node, const uint64_t *directory)
{
    const uint64_t pde = directory[node->base / PV_NODE_SPAN % 512];
    const uint64_t *table;

    if (pde != node->pde || node->large || (pde & PTE_PS) || pv_reserved(vmm, pde))
        return 0;
    if (!(pde & PTE_P))
        return !node->used;
    if ((pde & PTE_ADDRESS) >= vmm->ram_size)
        return 0;
    table = (const uint64_t *)(vmm->ram + (pde & PTE_ADDRESS));
    for (uint32_t words = node->words; words; words &= words - 1) {
        const unsigned word = (unsigned)__builtin_ctz(words), first = word * 64;

        if (!~node->bits[word]) { /* as in large processes */
            uint64_t differ = 0;

            for (unsigned i = first; i < first + 64; i += 4)
                differ |= (table[i] ^ node->pte[i]) | (table[i + 1] ^ node->pte[i + 1]) |
                          (table[i + 2] ^ node->pte[i + 2]) | (table[i + 3] ^ node->pte[i + 3]);
            if (differ)
                return 0;
            continue;
        }
        for (uint64_t bits = node->bits[word]; bits; bits &= bits - 1) {
            const unsigned i = first + (unsigned)__builtin_ctzll(bits);

            if (table[i] != node->pte[i])
                return 0;
        }
    }
    return 1;
}

/* SDM 3A 4.4.1: a processor, too, reads the four entries when CR3 is loaded. */
static void load_directories(struct pv_vmm *vmm)
{
    const uint64_t *pointers = NULL;

    if ((vmm->cpu.cr0 & CR0_PG) && (vmm->cpu.cr4 & CR4_PAE))
        pointers = pv_gpa(vmm, vmm->cpu.cr3 & ~31u, 32);
    for (unsigned gb = 0; gb < 4; gb++)
        vmm->directory[gb] = pointers && (pointers[gb] & PTE_P)
                                 ? pv_gpa(vmm, pointers[gb] & PTE_ADDRESS, PV_PAGE_SIZE)
                                 : NULL;
}

static void sync_space(struct pv_vmm *vmm)
{
    load_directories(vmm);
    for (unsigned n = vmm->space[vmm->current].first; n; n = vmm->node[n].next_free) {
        struct pv_node *node = &vmm->node[n];
        const uint64_t *d = vmm->directory[node->base >> 30];

        if (d && agrees(vmm, node, d))
            vmm->count.syncs++;
        else
            sync_node(vmm, node, SYNC_MAPPED);
    }
}

static void sync_kernel(struct pv_vmm *vmm)
{
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++) {
        gva_t va = PV_KERNEL_BASE + r * PV_NODE_SPAN;

        if (vmm->kernel_region[r])
            sync_node(vmm, &vmm->node[vmm->kernel_region[r]], SYNC_PRESENT);
        else if (read_pde(vmm, va)) {
            struct pv_node *node = get_node(vmm, va);

            if (!node) {
                pv_die(vmm, "out of shadow nodes");
                return;
            }
            sync_node(vmm, node, SYNC_PRESENT);
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

int pv_shadow_has_stack(struct pv_vmm *vmm)
{
    enum { FRAME = 128 }; /* more than a hypervisor pushes */
    const gva_t esp = (gva_t)vmm->cpu.gpr[PV_ESP];

    return (pv_mapped(vmm, esp - 4, 1) || pv_shadow_fault(vmm, esp - 4, PFE_W)) &&
           (pv_mapped(vmm, esp - FRAME, 1) || pv_shadow_fault(vmm, esp - FRAME, PFE_W));
}

/* The guest's entry that (walk) ended at. */
static uint64_t leaf(struct pv_vmm *vmm, const struct pv_walk *walk)
{
    return walk->pte_size == 8 ? *(uint64_t *)pv_gpa(vmm, walk->pte_gpa, 8)
                               : *(uint32_t *)pv_gpa(vmm, walk->pte_gpa, 4);
}

/* What is mapped at (va) is what the guest's tables say, but code.c may have to look at it, or to
 * know that it is written to. */
static void code_fault(struct pv_vmm *vmm, gva_t va, uint32_t error, const struct pv_walk *walk)
{
    if (!(walk->flags & PTE_US) && pv_code_fault(vmm, va, error))
        pv_shadow_remap(vmm, va);
}

int pv_shadow_fault(struct pv_vmm *vmm, gva_t va, uint32_t error)
{
    const unsigned i = va / PV_PAGE_SIZE % 512;
    struct pv_walk walk;
    struct pv_node *node;
    uint64_t pde;

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
    node = get_node(vmm, va);
    if (!node) {
        pv_die(vmm, "out of shadow nodes");
        return 1;
    }
    vmm->count.fills++;
    if (walk.large || !(vmm->cpu.cr0 & CR0_PG)) {
        if (node->pte[i])
            node->pte[i] |= PV_PTE_STALE;
        node->large = 0;
        sync_node(vmm, node, SYNC_PRESENT);
        code_fault(vmm, va, error, &walk);
        return 1;
    }
    /* What is mapped was mapped under what the directory said then. */
    pde = read_pde(vmm, va);
    if (node->pde && ((pde ^ node->pde) & ~(PTE_A | PTE_D)))
        sync_node(vmm, node, SYNC_MAPPED);
    node->pde = pde;
    map(vmm, node, i, leaf(vmm, &walk), walk.gpa, walk.flags);
    code_fault(vmm, va, error, &walk);
    return 1;
}

/* One page, and no more: what a neighbour costs the hypervisor, now and when it goes, is more than
 * the faults that it saves. */
void pv_shadow_refill(struct pv_vmm *vmm)
{
    const gva_t va = vmm->refill_va;
    const unsigned i = va / PV_PAGE_SIZE % 512;
    struct pv_walk walk;
    struct pv_node *node;
    uint64_t pde, e;

    vmm->page->attention[PV_ATTENTION_REFILL] = 0;
    if (in_low(vmm, va) || !(vmm->cpu.cr0 & CR0_PG) || pv_walk(vmm, va, &walk) || walk.large ||
        !(walk.flags & PTE_A))
        return;
    node = get_node(vmm, va);
    if (!node)
        return;
    pde = read_pde(vmm, va);
    if (!node->used && !node->large)
        node->pde = pde;
    e = leaf(vmm, &walk);
    if (node->large || node->pde != pde || e == node->pte[i])
        return;
    vmm->count.refills++;
    map(vmm, node, i, e, walk.gpa, walk.flags);
}

int pv_shadow_mapped(struct pv_vmm *vmm, gva_t va)
{
    /* node 0 maps nothing */
    return vmm->node[*pv_region(vmm, va)].pte[va / PV_PAGE_SIZE % 512] != 0;
}

void pv_shadow_remap(struct pv_vmm *vmm, gva_t va)
{
    const unsigned i = va / PV_PAGE_SIZE % 512;
    struct pv_node *node = &vmm->node[*pv_region(vmm, va)];
    struct pv_walk walk;

    if (!node->pte[i])
        return;
    if (node->large || pv_walk(vmm, va, &walk) || walk.large) {
        node->pte[i] |= PV_PTE_STALE;
        node->large = 0;
        sync_node(vmm, node, SYNC_PRESENT);
        return;
    }
    node->pte[i] |= PV_PTE_STALE; /* something may be taken away */
    map(vmm, node, i, leaf(vmm, &walk), walk.gpa, walk.flags);
}

void pv_shadow_cr3(struct pv_vmm *vmm, uint32_t cr3)
{
    uint8_t *hint = &vmm->space_hint[(cr3 / PV_PAGE_SIZE ^ cr3 / 32) % PV_SPACE_HINTS];
    unsigned id = *hint;

    vmm->count.cr3_loads++;
    vmm->cpu.cr3 = cr3;
    if (!(vmm->cpu.cr0 & CR0_PG))
        return;
    if (!vmm->space[id].valid || vmm->space[id].cr3 != cr3) {
        id = ~0u;
        for (unsigned i = 0; i < PV_SPACES; i++)
            if (vmm->space[i].valid && vmm->space[i].cr3 == cr3)
                id = i;
    }
    if (id == ~0u) {
        id = oldest_space(vmm, 0);
        clear_space(vmm, id);
        vmm->space[id].valid = 1;
        vmm->space[id].cr3 = cr3;
        vmm->count.cr3_new++;
    }
    *hint = (uint8_t)id;
    vmm->space[id].stamp = ++vmm->stamp;
    vmm->current = id;
    sync_space(vmm);
    if (!(vmm->cpu.cr4 & CR4_PGE))
        sync_kernel(vmm);
    vmm->backend.activate(vmm->backend.context, id);
}

/* CR0.WP, CR4.PSE, CR4.PAE or EFER.NXE has changed: equal entries mean something else now. */
void pv_shadow_rights(struct pv_vmm *vmm)
{
    for (unsigned n = 1; n < PV_NODES; n++) {
        vmm->node[n].large = 0;
        for (unsigned i = 0; i < 512; i++)
            if (vmm->node[n].pte[i])
                vmm->node[n].pte[i] |= PV_PTE_STALE;
    }
    pv_shadow_flush_all(vmm);
}

void pv_shadow_flush_all(struct pv_vmm *vmm)
{
    vmm->tables_changed = 1; /* EFER.NXE */
    if (!(vmm->cpu.cr0 & CR0_PG))
        return;
    sync_space(vmm);
    sync_kernel(vmm);
}

void pv_shadow_invlpg(struct pv_vmm *vmm, gva_t va)
{
    const unsigned i = va / PV_PAGE_SIZE % 512;
    uint16_t *region = pv_region(vmm, va);
    struct pv_node *node;
    struct pv_walk walk;

    vmm->count.invlpgs++;
    if (!*region || in_low(vmm, va) || !(vmm->cpu.cr0 & CR0_PG))
        return;
    node = &vmm->node[*region];
    if (node->large || (read_pde(vmm, va) ^ node->pde) & ~(PTE_A | PTE_D)) {
        sync_node(vmm, node, va >= PV_KERNEL_BASE ? SYNC_PRESENT : SYNC_MAPPED);
        return;
    }
    if (pv_walk(vmm, va, &walk) == 0 && walk.gpa < vmm->ram_size &&
        ((walk.flags & PTE_A) || va >= PV_KERNEL_BASE)) {
        uint64_t e = leaf(vmm, &walk);

        if (e != node->pte[i])
            map(vmm, node, i, e, walk.gpa, walk.flags);
    } else if (node->pte[i]) {
        unmap(vmm, node, i);
    }
}

void pv_shadow_paging_mode(struct pv_vmm *vmm)
{
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++)
        if (vmm->kernel_region[r])
            drop_node(vmm, &vmm->kernel_region[r]);
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
        load_directories(vmm);
        vmm->backend.activate(vmm->backend.context, id);
    }
    pv_shadow_stack(vmm);
}
