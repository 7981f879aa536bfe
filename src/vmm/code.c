/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel code that comes after the image: loaded modules, generated code. The guest has no hook for
 * it, and needs none: a page of the kernel half that was not looked at is not executable in the
 * shadow, so its first instruction faults. Then guest memory is searched for patch-up tables, which
 * modules have in an allocated section (docs/table-format.md), and the table that names sites in
 * the code around is verified and rewritten before that instruction runs. A page that was looked at
 * is not writable, so that a write to it is noticed: it may be another module's soon.
 *
 * What is found out about guest memory is true only as long as the guest leaves it alone, and it
 * never tells. So each look begins with the sites of all tables found before: where a site no
 * longer holds what was written there, it is forgotten; a table without sites gives its numbers and
 * stubs back.
 */
#include "../ia32/length.h"
#include "../table/table.h"
#include "vmm.h"

#define EXTENT_MAX   2048u        /* pages of contiguous code, in each direction */
#define SPANS        16           /* stretches of code that one table may have sites in */
#define NOTES_MAX    (256u << 10) /* bytes of one module's table */
#define STUB_ALIGN   16u
#define REPLACED_MAX 64u /* rdtsc of one module that alternatives have replaced */
#define SHOWN        8   /* operations that a message names */

static int tracked(const struct pv_vmm *vmm, gva_t va)
{
    const struct pv_code *code = &vmm->code;

    return code->image_to && va >= PV_KERNEL_BASE && va - vmm->low_base >= vmm->low_size &&
           (va < code->image_from || va >= code->image_to);
}

static int get_bit(const uint8_t *bits, gva_t va)
{
    unsigned page = (va - PV_KERNEL_BASE) / PV_PAGE_SIZE;

    return bits[page / 8] >> page % 8 & 1;
}

static void set_bit(uint8_t *bits, gva_t va, int on)
{
    unsigned page = (va - PV_KERNEL_BASE) / PV_PAGE_SIZE;

    if (on)
        bits[page / 8] |= 1u << page % 8;
    else
        bits[page / 8] &= ~(1u << page % 8);
}

int pv_code_protection(struct pv_vmm *vmm, gva_t va, uint64_t flags, int protection)
{
    if (!tracked(vmm, va) || (flags & PTE_US) || get_bit(vmm->code.open, va))
        return protection;
    return get_bit(vmm->code.looked, va) ? protection & ~PV_MAP_WRITE : protection & ~PV_MAP_EXEC;
}

void pv_code_gone(struct pv_vmm *vmm, gva_t va)
{
    if (tracked(vmm, va)) {
        set_bit(vmm->code.looked, va, 0);
        set_bit(vmm->code.open, va, 0);
    }
}

/* ---- guest memory ---- */

/* The memory of a page of kernel code outside the image, NULL: it is none. */
static uint8_t *code_page(struct pv_vmm *vmm, gva_t va, struct pv_walk *walk)
{
    if (!tracked(vmm, va) || pv_walk(vmm, va, walk) || (walk->flags & (PTE_US | PTE_NX)))
        return NULL;
    return pv_gpa(vmm, walk->gpa & ~(gpa_t)PV_PAGE_MASK, PV_PAGE_SIZE);
}

/* Code bytes at (va) to or from (buffer). 0, or -1. */
static int copy_code(struct pv_vmm *vmm, gva_t va, uint8_t *buffer, size_t size, int write)
{
    while (size) {
        size_t offset = va & PV_PAGE_MASK, n = PV_PAGE_SIZE - offset;
        struct pv_walk walk;
        uint8_t *page = code_page(vmm, va, &walk);

        if (!page)
            return -1;
        if (n > size)
            n = size;
        if (write)
            __builtin_memcpy(page + offset, buffer, n);
        else
            __builtin_memcpy(buffer, page + offset, n);
        va += n;
        buffer += n;
        size -= n;
    }
    return 0;
}

/* Contiguous pages of code. */
struct extent {
    gva_t from, to;
};

static int small_code_page(struct pv_vmm *vmm, gva_t va)
{
    struct pv_walk walk;

    return code_page(vmm, va, &walk) && !walk.large;
}

/* The pages of code around (va). A large page is all of memory, where code has no beginning: then
 * it is the page alone. */
static struct extent extent_of(struct pv_vmm *vmm, gva_t va)
{
    struct extent e = {va & ~PV_PAGE_MASK, (va & ~PV_PAGE_MASK) + PV_PAGE_SIZE};

    if (!small_code_page(vmm, va))
        return e;
    for (unsigned i = 0; i < EXTENT_MAX && small_code_page(vmm, e.from - PV_PAGE_SIZE); i++)
        e.from -= PV_PAGE_SIZE;
    for (unsigned i = 0; i < EXTENT_MAX && e.to && small_code_page(vmm, e.to); i++)
        e.to += PV_PAGE_SIZE;
    return e;
}

/* ---- tables found before ---- */

static int site_holds(struct pv_vmm *vmm, uint32_t number)
{
    const struct pv_op_site *site = &vmm->stubs.site[number];
    uint8_t bytes[PREVIRT_ROOM_MAX];

    return site->room && !copy_code(vmm, site->address, bytes, site->room, 0) &&
           pv_crc32c(0, bytes, site->room) == vmm->stubs.stub[number].code_crc;
}

/* Room beside room is one. */
static void merge_room(struct pv_code *code)
{
    for (unsigned i = 0; i + 1 < code->tables;) {
        struct pv_table *a = &code->table[i], *b = a + 1;

        if (a->sites || b->sites) {
            i++;
            continue;
        }
        a->limit += b->limit;
        a->stubs_size += b->stubs_size;
        code->tables--;
        for (unsigned k = i + 1; k < code->tables; k++)
            code->table[k] = code->table[k + 1];
    }
}

/* Forgets the sites that the guest has overwritten or unmapped. Returns how many. */
static unsigned forget_lost(struct pv_vmm *vmm)
{
    struct pv_code *code = &vmm->code;
    unsigned lost = 0;

    for (unsigned i = 0; i < code->tables; i++) {
        struct pv_table *t = &code->table[i];
        uint32_t held = 0;

        if (!t->sites)
            continue;
        for (uint32_t n = t->first; n < t->first + t->sites; n++) {
            if (!vmm->stubs.site[n].room)
                continue;
            if (site_holds(vmm, n)) {
                held++;
            } else {
                vmm->stubs.site[n].room = 0;
                lost++;
            }
        }
        if (!held)
            t->sites = 0;
    }
    merge_room(code);
    return lost;
}

/* The pages from the first to the last site that table (t) has in (e); 0 if it has none there. */
static int cover_of(const struct pv_vmm *vmm, const struct pv_table *t, const struct extent *e,
                    struct extent *cover)
{
    gva_t first = ~0u, last = 0;

    for (uint32_t n = t->first; n < t->first + t->sites; n++) {
        const struct pv_op_site *site = &vmm->stubs.site[n];

        if (!site->room || site->address - e->from >= e->to - e->from)
            continue;
        if (site->address < first)
            first = site->address;
        if (site->address + site->room - 1 > last)
            last = site->address + site->room - 1;
    }
    cover->from = first & ~PV_PAGE_MASK;
    cover->to = (last & ~PV_PAGE_MASK) + PV_PAGE_SIZE;
    return first <= last;
}

/*
 * Narrows (*e) to what is known of the page at (va): the pages from the first to the last site of a
 * table, if the page is among them: 1. All of (*e), if no table has sites there: 0. The page alone,
 * if some have, but elsewhere: -1.
 */
static int narrow(const struct pv_vmm *vmm, struct extent *e, gva_t va)
{
    int known = 0;

    for (unsigned i = 0; i < vmm->code.tables; i++) {
        struct extent cover;

        if (!cover_of(vmm, &vmm->code.table[i], e, &cover))
            continue;
        known = -1;
        if (va - cover.from < cover.to - cover.from) {
            *e = cover;
            return 1;
        }
    }
    if (known) {
        e->from = va & ~PV_PAGE_MASK;
        e->to = e->from + PV_PAGE_SIZE;
    }
    return known;
}

static int is_known(const struct pv_code *code, gva_t notes, uint32_t size, uint32_t crc)
{
    for (unsigned i = 0; i < code->tables; i++) {
        const struct pv_table *t = &code->table[i];

        if (t->sites && t->notes == notes && t->notes_size == size && t->notes_crc == crc)
            return 1;
    }
    return 0;
}

/* ---- a new table ---- */

/* What a look has at hand: memory for a table, then for copies of code, then for the plan. */
struct found {
    gva_t notes;
    uint32_t size, crc;
    uint8_t *bytes;
    size_t count;   /* records */
    int here;       /* one of them is in the extent */
    unsigned spans; /* where its sites are: stretches of code, ascending */
    struct span {
        struct extent extent;
        gva_t from, to; /* pages with sites */
    } span[SPANS];
    unsigned replaced_count; /* sites that hold something else now: replace_back() */
    gva_t replaced[REPLACED_MAX];
};

static int is_replaced(const struct found *f, gva_t address)
{
    for (unsigned i = 0; i < f->replaced_count; i++)
        if (f->replaced[i] == address)
            return 1;
    return 0;
}

/* (address), (length) of a record: 0, or -1 if there is no code, or in too many places. */
static int add_to_spans(struct pv_vmm *vmm, struct found *f, uint64_t address, unsigned length)
{
    gva_t first = (gva_t)address & ~PV_PAGE_MASK;
    gva_t end = (((gva_t)address + length - 1) & ~PV_PAGE_MASK) + PV_PAGE_SIZE;
    struct pv_walk walk;
    struct extent e;
    unsigned i;

    for (i = 0; i < f->spans && f->span[i].extent.from <= first; i++) {
        struct span *s = &f->span[i];

        if (first < s->extent.to && end <= s->extent.to) {
            if (first < s->from)
                s->from = first;
            if (end > s->to)
                s->to = end;
            return 0;
        }
    }
    e = extent_of(vmm, first);
    if (f->spans == SPANS || end < first || end > e.to || !code_page(vmm, first, &walk))
        return -1;
    for (unsigned k = f->spans++; k > i; k--)
        f->span[k] = f->span[k - 1];
    f->span[i] = (struct span){e, first, end};
    return 0;
}

/* Reads the records: how many, whether one is in (here), and where they all are. */
static int survey(struct pv_vmm *vmm, struct found *f, const struct extent *here, int spans)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    int status = previrt_table_begin(&cursor, f->bytes, f->size, f->notes);

    f->count = 0;
    f->here = 0;
    f->spans = 0;
    if (status < 0)
        return status;
    while ((status = previrt_table_next(&cursor, &site)) > 0) {
        f->count++;
        if (site.arch != PREVIRT_ARCH_IA32 || site.address > ~0u)
            return PREVIRT_E_ARCH;
        if (!site.length)
            continue;
        if ((gva_t)site.address - here->from < here->to - here->from)
            f->here = 1;
        if (spans && add_to_spans(vmm, f, site.address, site.length + site.pad))
            return PREVIRT_E_RANGE;
    }
    return status;
}

/* The sites of a committed plan get numbers, those with stubs have them. Returns how many there
 * are; they take no more than the table's (limit). */
static uint32_t number_sites(struct pv_vmm *vmm, const struct found *f,
                             const struct previrt_plan *plan, const struct pv_table *t,
                             uint32_t stubs)
{
    struct pv_stubs *s = &vmm->stubs;
    struct previrt_plan_site site;
    uint32_t next = t->first + stubs;

    for (size_t i = 0; !previrt_plan_site(plan, i, &site); i++) {
        uint32_t number = t->first, end = t->first + stubs;

        if (site.stub) {
            while (end - number > 1) {
                uint32_t middle = number + (end - number) / 2;

                if (s->stub[middle].address <= site.stub)
                    number = middle;
                else
                    end = middle;
            }
        } else {
            number = next++;
            s->site[number] =
                (struct pv_op_site){.address = (gva_t)site.address, .room = site.room};
            s->stub[number] = (struct pv_stub){.address = t->stubs + t->stubs_size};
        }
        s->stub[number].code_crc = pv_crc32c(0, site.code, site.room);
        /* What is as it was says nothing about whether the guest has changed it. */
        if (is_replaced(f, (gva_t)site.address) ||
            !__builtin_memcmp(site.code, site.original, site.room))
            s->site[number].room = 0;
    }
    return next - t->first;
}

/* Room (i) is cut: its first (numbers) and (bytes) are a table's, the rest is room. */
static void split(struct pv_code *code, unsigned i, uint32_t numbers, uint32_t bytes)
{
    struct pv_table *t = &code->table[i], rest = *t;

    bytes = (bytes + STUB_ALIGN - 1) & ~(STUB_ALIGN - 1);
    if (bytes > t->stubs_size)
        bytes = t->stubs_size;
    if (code->tables == PV_TABLES || (t->limit == numbers && t->stubs_size == bytes))
        return;
    rest.first += numbers;
    rest.limit -= numbers;
    rest.stubs += bytes;
    rest.stubs_size -= bytes;
    t->limit = numbers;
    t->stubs_size = bytes;
    for (unsigned k = code->tables++; k > i + 1; k--)
        code->table[k] = code->table[k - 1];
    code->table[i + 1] = rest;
}

/* Plans and commits into room (i). */
static int adopt_into(struct pv_vmm *vmm, const struct found *f,
                      const struct previrt_memory *memory, void *buffer, size_t size, unsigned i)
{
    struct pv_stubs *s = &vmm->stubs;
    struct pv_table *t = &vmm->code.table[i];
    const uint32_t count = s->count, limit = s->limit;
    struct previrt_plan_stats stats = {.size = sizeof stats};
    struct previrt_plan *plan = NULL;
    struct previrt_target target;
    struct previrt_plan_site site;
    uint32_t stubs;
    int status;

    pv_target(vmm, &target);
    target.stub_address = t->stubs;
    target.stub_size = t->stubs_size;
    target.stub_memory = s->memory + (t->stubs - s->address);
    s->count = t->first;
    s->limit = t->first + t->limit;
    status = previrt_plan(memory, f->bytes, f->size, f->notes, &target, buffer, size, &plan);
    stubs = s->count - t->first;
    s->count = count;
    s->limit = limit;
    if (status == PREVIRT_E_REFUSED) {
        struct previrt_refusal r;

        for (size_t k = 0; !previrt_plan_refusal(plan, k, &r); k++)
            if (r.status == PREVIRT_E_STUBS)
                return PREVIRT_E_STUBS;
        pv_print_refusals(vmm, plan);
    }
    if (!status) {
        previrt_plan_stats(plan, &stats);
        if (stats.inlined + stats.stubbed > t->limit)
            return PREVIRT_E_STUBS;
        status = previrt_commit(plan, NULL, 0);
    }
    if (status)
        return status;
    for (size_t k = 0; !previrt_plan_site(plan, k, &site); k++)
        if (!is_replaced(f, (gva_t)site.address))
            copy_code(vmm, (gva_t)site.address, site.code, site.room, 1);
    split(&vmm->code, i, stats.inlined + stats.stubbed, stats.stub_bytes);
    t->notes = f->notes;
    t->notes_size = f->size;
    t->notes_crc = f->crc;
    t->sites = number_sites(vmm, f, plan, t, stubs);
    /* Numbers that nobody has keep the order that is searched: pv_stub_undo(). */
    for (uint32_t n = t->first + t->sites; n < s->count && n < t->first + t->limit; n++)
        s->stub[n].address = t->stubs + t->stubs_size;
    if (i + 1 < vmm->code.tables && !t[1].sites)
        for (uint32_t n = t[1].first; n < s->count && n < t[1].first + t[1].limit; n++)
            s->stub[n].address = t[1].stubs + t[1].stubs_size;
    if (t->first + t->sites > s->count)
        s->count = t->first + t->sites;
    vmm->count.found_tables++;
    vmm->count.found_sites += t->sites;
    pv_printf(vmm,
              "previrt: table at %#x: %u sites from %#x on: %u inlined, %u stubs (%u bytes), %u "
              "kept, %u dormant\n",
              f->notes, stats.sites, f->span[0].from, stats.inlined, stats.stubbed,
              stats.stub_bytes, stats.kept, stats.dormant);
    return PREVIRT_OK;
}

/*
 * A kernel's alternatives may have replaced an operation before the code that it is in runs first:
 * in Linux only rdtsc, by one behind a fence (rdtsc_ordered()). The guest keeps what it has there;
 * but the table's digest is of what was there before, so the copy that is planned for gets that
 * back, as `previrt as` makes it.
 */
static void replace_back(struct found *f, const struct previrt_memory *memory)
{
    enum { PREFIX_DS = 0x3e, NOP = 0x90, RDTSC_0 = 0x0f, RDTSC_1 = 0x31, RDTSC_LENGTH = 2 };
    struct previrt_table_cursor cursor;
    struct previrt_site site;

    if (previrt_table_begin(&cursor, f->bytes, f->size, f->notes) < 0)
        return;
    while (previrt_table_next(&cursor, &site) > 0) {
        const unsigned room = site.length + site.pad;
        const struct previrt_region *region;
        uint64_t offset;
        uint8_t *p;

        if (site.op != PREVIRT_IA32_RDTSC || site.length < RDTSC_LENGTH ||
            f->replaced_count == REPLACED_MAX)
            continue;
        region = previrt_memory_at(memory, site.address, room, &offset);
        if (!region || !previrt_ia32_match_site(&site, region->read + offset, room, NULL))
            continue;
        p = region->write + offset;
        for (unsigned i = 0; i < room; i++)
            p[i] = i < site.length ? PREFIX_DS : NOP;
        p[site.length - 2] = RDTSC_0;
        p[site.length - 1] = RDTSC_1;
        f->replaced[f->replaced_count++] = (gva_t)site.address;
    }
}

/* Verifies the table, and rewrites its sites. */
static int adopt(struct pv_vmm *vmm, struct found *f)
{
    struct pv_code *code = &vmm->code;
    struct previrt_region region[SPANS];
    struct previrt_memory memory = {region, f->spans};
    uint8_t *next = f->bytes + ((f->size + 15) & ~15u);
    const uint8_t *end = (uint8_t *)code->memory + code->memory_size;
    int status = PREVIRT_E_STUBS;

    for (unsigned i = 0; i < f->spans; i++) {
        const struct span *s = &f->span[i];

        if (s->to - s->from > (size_t)(end - next))
            return PREVIRT_E_SPACE;
        region[i] = (struct previrt_region){.address = s->from,
                                            .size = s->to - s->from,
                                            .read = next,
                                            .write = next,
                                            .flags = PREVIRT_REGION_EXECUTE};
        if (copy_code(vmm, s->from, next, s->to - s->from, 0))
            return PREVIRT_E_RANGE;
        next += s->to - s->from;
    }
    replace_back(f, &memory);
    for (unsigned i = 0; i < code->tables && status == PREVIRT_E_STUBS; i++)
        if (!code->table[i].sites)
            status = adopt_into(vmm, f, &memory, next, (size_t)(end - next), i);
    return status;
}

/* ---- the search ---- */

static int is_ours(const uint8_t *note)
{
    static const char name[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;

    return pv_get32(note + PV_NOTE_NAMESZ) == PV_NOTE_NAME_SIZE &&
           __builtin_memcmp(note + PV_NOTE_HEADER_SIZE, name, sizeof name) == 0;
}

/* Our notes in a row from (at) on: their bytes together, 0: none. */
static uint32_t measure(struct pv_vmm *vmm, gva_t at)
{
    uint32_t size = 0;

    for (;;) {
        uint8_t note[PV_NOTE_DESC];
        uint32_t descriptor;

        if (pv_read(vmm, at + size, note, sizeof note, NULL) || !is_ours(note))
            return size;
        descriptor = pv_get32(note + PV_NOTE_DESCSZ);
        if (descriptor > NOTES_MAX)
            return size;
        descriptor = (descriptor + PV_NOTE_ALIGN - 1) & ~(PV_NOTE_ALIGN - 1u);
        if (size + sizeof note + descriptor > NOTES_MAX)
            return size;
        size += sizeof note + descriptor;
    }
}

/* A note of ours seems to be at (at). If a table begins there that has sites here, they are
 * rewritten; (*end) is where the search goes on. */
static void consider(struct pv_vmm *vmm, gva_t at, const struct extent *here, gva_t *end)
{
    struct pv_code *code = &vmm->code;
    struct found f = {.notes = at, .bytes = code->memory};
    int status;

    f.size = measure(vmm, at);
    if (!f.size || f.size + 16 > code->memory_size || pv_read(vmm, at, f.bytes, f.size, NULL))
        return;
    *end = at + f.size;
    f.crc = pv_crc32c(0, f.bytes, f.size);
    if (is_known(code, at, f.size, f.crc))
        return;
    status = survey(vmm, &f, here, 0);
    if (!f.here)
        return; /* another module's, or rubbish */
    if (!status)
        status = survey(vmm, &f, here, 1);
    if (!status)
        status = adopt(vmm, &f);
    if (!status)
        return;
    if (code->bad_crc != f.crc)
        pv_printf(vmm, "previrt: table at %#x for code at %#x is refused: %s\n", at, here->from,
                  previrt_strerror(status));
    code->bad_crc = f.crc;
}

/* Looks for tables in the page at (va). Notes begin at multiples of 4, and so does the name in
 * them. */
static void search_page(struct pv_vmm *vmm, gva_t va, const struct extent *here, gva_t *end)
{
    static const char name[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;
    const uint32_t first = pv_get32((const uint8_t *)name);
    const uint8_t *page;
    struct pv_walk walk;

    if (pv_walk(vmm, va, &walk) || walk.large || (walk.flags & PTE_US))
        return;
    page = pv_gpa(vmm, walk.gpa & ~(gpa_t)PV_PAGE_MASK, PV_PAGE_SIZE);
    for (unsigned i = 0; page && i < PV_PAGE_SIZE; i += PV_NOTE_ALIGN) {
        gva_t at = va + i - PV_NOTE_HEADER_SIZE;

        if (*(const uint32_t *)(const void *)(page + i) == first && at >= *end)
            consider(vmm, at, here, end);
    }
}

/*
 * Tables may be anywhere: a module's code that runs once and the rest of it are two stretches of
 * memory in Linux. They are not in memory that the kernel maps as a whole, with large pages.
 */
static void search(struct pv_vmm *vmm, const struct extent *here)
{
    gva_t end = 0;

    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++) {
        const struct pv_node *node = &vmm->node[vmm->kernel_region[r]];

        if (!vmm->kernel_region[r] || node->large)
            continue;
        for (unsigned word = 0; word < 8; word++)
            for (uint64_t bits = node->bits[word]; bits; bits &= bits - 1) {
                gva_t va =
                    node->base + (word * 64 + (unsigned)__builtin_ctzll(bits)) * PV_PAGE_SIZE;

                if (tracked(vmm, va))
                    search_page(vmm, va, here, &end);
            }
    }
}

/* ---- code without a table ---- */

struct named {
    gva_t address[SHOWN];
    uint8_t op[SHOWN];
    unsigned count;
};

static void name(struct named *named, gva_t address, unsigned op)
{
    if (named->count < SHOWN) {
        named->address[named->count] = address;
        named->op[named->count] = (uint8_t)op;
    }
    named->count++;
}

static void print_named(struct pv_vmm *vmm, const char *what, const struct named *named)
{
    if (!named->count)
        return;
    pv_printf(vmm, "previrt: %u sensitive operations %s:", named->count, what);
    for (unsigned i = 0; i < named->count && i < SHOWN; i++)
        pv_printf(vmm, "%s %s at %#x", i ? "," : "", previrt_ia32_op_info(named->op[i])->name,
                  named->address[i]);
    pv_printf(vmm, "%s\n", named->count > SHOWN ? ", ..." : "");
}

static int hypervisor_emulates(const struct pv_vmm *vmm, unsigned op)
{
    const uint8_t *list = vmm->backend.emulates;

    while (list && *list && *list != op)
        list++;
    return list && *list;
}

/* Whether the VMM needs to do anything about (insn): see pv_stub_emit(). */
static int matters(const struct previrt_ia32_insn *insn)
{
    switch (insn->op) {
    case PREVIRT_IA32_PUSH_SEG:
    case PREVIRT_IA32_POP_SEG:
    case PREVIRT_IA32_MOV_FROM_SEG:
    case PREVIRT_IA32_MOV_TO_SEG:
        return insn->system_register == PV_CS || insn->system_register == PV_SS;
    default:
        return previrt_ia32_op_info(insn->op)->policy == PREVIRT_POLICY_REWRITE;
    }
}

/* Says what the VMM cannot see of code that has no table: one instruction after the other, from
 * where code begins. */
static void sweep(struct pv_vmm *vmm, const struct extent *e, gva_t from)
{
    struct named unseen = {.count = 0}, taken = {.count = 0};
    unsigned trapping = 0, length;

    for (gva_t at = from; at - e->from < e->to - e->from; at += length) {
        uint8_t bytes[PREVIRT_LENGTH_MAX];
        size_t n = e->to - at < sizeof bytes ? e->to - at : sizeof bytes;
        struct previrt_ia32_insn insn;
        const struct previrt_ia32_op_info *info;

        if (copy_code(vmm, at, bytes, n, 0))
            break;
        if (previrt_ia32_decode_site(bytes, n, 0, &insn)) {
            length = pv_ia32_length(bytes, n);
            length += !length;
            continue;
        }
        length = insn.length;
        info = previrt_ia32_op_info(insn.op);
        if (!matters(&insn))
            continue;
        if (hypervisor_emulates(vmm, insn.op))
            name(&taken, at, insn.op);
        else if (info->trap == PREVIRT_TRAP_PRIVILEGED || info->trap == PREVIRT_TRAP_IOPL)
            trapping++;
        else
            name(&unseen, at, insn.op);
    }
    if (!trapping && !unseen.count && !taken.count)
        return;
    pv_printf(
        vmm,
        "previrt: code at %#x-%#x has no patch-up table: %u sensitive operations are emulated "
        "when they trap, %u cannot be\n",
        e->from, e->to, trapping, unseen.count + taken.count);
    print_named(vmm, "do not trap", &unseen);
    print_named(vmm, "are the hypervisor's, which does them in its own way", &taken);
}

/* ---- looking ---- */

static void look(struct pv_vmm *vmm, gva_t va)
{
    struct pv_code *code = &vmm->code;
    const struct extent here = extent_of(vmm, va);
    const gva_t stack = (gva_t)vmm->cpu.gpr[PV_ESP] - 1;
    unsigned lost = forget_lost(vmm);
    struct extent e = here;
    struct pv_walk walk;

    vmm->count.looks++;
    previrt_bus_flush(&vmm->pc.bus); /* what the guest has printed comes before what we say */
    if (narrow(vmm, &e, va) != 1 || lost) {
        e = here;
        search(vmm, &here);
        if (!narrow(vmm, &e, va)) /* in a large page nothing says where code begins */
            sweep(vmm, &e, !pv_walk(vmm, va, &walk) && walk.large ? va : e.from);
    }
    for (gva_t page = e.from; page - e.from < e.to - e.from; page += PV_PAGE_SIZE) {
        if (!pv_shadow_mapped(vmm, page) || get_bit(code->looked, page))
            continue;
        /* A stack must stay writable: a hypervisor may push frames there. */
        set_bit(stack - page < PV_PAGE_SIZE ? code->open : code->looked, page, 1);
        pv_shadow_remap(vmm, page);
    }
}

int pv_code_fault(struct pv_vmm *vmm, gva_t va, uint32_t error)
{
    struct pv_code *code = &vmm->code;
    const gva_t page = va & ~PV_PAGE_MASK, eip = (gva_t)vmm->cpu.eip;

    if (!tracked(vmm, va) || !pv_shadow_mapped(vmm, va) || get_bit(code->open, va))
        return 0;
    if ((error & PFE_I) && !get_bit(code->looked, va)) {
        look(vmm, va);
        return 1;
    }
    if (!(error & PFE_W) || !get_bit(code->looked, va))
        return 0;
    vmm->count.code_writes++;
    set_bit(code->looked, va, 0);
    if (eip - page < PV_PAGE_SIZE || eip + PREVIRT_LENGTH_MAX - 1 - page < PV_PAGE_SIZE) {
        pv_printf(vmm, "previrt: code at %#x writes to itself: no more is looked at there\n", eip);
        set_bit(code->open, va, 1);
    }
    return 1;
}

void pv_code_init(struct pv_vmm *vmm, gva_t from, gva_t to, uint32_t stub_bytes, void *memory,
                  size_t size)
{
    struct pv_code *code = &vmm->code;
    const struct pv_stubs *s = &vmm->stubs;

    code->image_from = from;
    code->image_to = to;
    code->memory = memory;
    code->memory_size = size;
    stub_bytes = (stub_bytes + STUB_ALIGN - 1) & ~(STUB_ALIGN - 1);
    code->table[0] = (struct pv_table){.first = s->count,
                                       .limit = s->limit - s->count,
                                       .stubs = s->address + stub_bytes,
                                       .stubs_size = s->size - stub_bytes};
    code->tables = 1;
}
