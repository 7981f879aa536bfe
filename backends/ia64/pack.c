/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt-ia64-pack: makes a program for the bare machine (or the simulator) of an IA-64 guest,
 * rewritten or not, and of the monitor that is to run it.
 *
 *   previrt-ia64-pack [--target=none|native|vcpu] [--monitor=FILE] [--no-emulation] [--trace] GUEST
 * OUTPUT previrt-ia64-pack --sites GUEST previrt-ia64-pack --operations
 *
 * Every sensitive operation in the guest's executable sections is a site. Segments are loaded at
 * their physical addresses; a guest may have parts that run at other addresses than these, each
 * with the stubs in its own reach.
 * --sites lists them: physical address, slot, trap class and name; --operations lists the
 * catalogue.
 */
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <previrt/ia64.h>

#include "layout.h"

enum { STATUS_USAGE = 2, STATUS_MALFORMED = 3, STATUS_ENVIRONMENT = 4 };

#define SEGMENT_MAX 32
#define PLAN_MAX    8
#define STUB_ALIGN  0x10000u
#define STUB_SIZE   0x100000u
#define PAGE        0x10000u

struct segment {
    uint64_t physical, address, memory_size;
    uint8_t *bytes;
    uint64_t size;
    uint32_t flags;
};

struct image {
    struct segment segment[SEGMENT_MAX];
    unsigned segments;
    uint64_t entry; /* as linked */
    uint8_t *file;
    size_t file_size;
};

struct sites {
    struct previrt_site *site;
    size_t count, room;
};

static struct ia64_monitor_site *map;
static size_t map_count;

static void fail(int status, const char *format, ...)
{
    va_list args;

    fputs("previrt-ia64-pack: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(status);
}

static void *allocate(size_t size)
{
    void *memory = calloc(1, size ? size : 1);

    if (!memory)
        fail(STATUS_ENVIRONMENT, "out of memory");
    return memory;
}

/* --- ELF in --- */

static void slurp(const char *path, struct image *image)
{
    FILE *file = fopen(path, "rb");
    struct stat status;

    if (!file || fstat(fileno(file), &status))
        fail(STATUS_ENVIRONMENT, "%s: %s", path, strerror(errno));
    image->file_size = (size_t)status.st_size;
    image->file = allocate(image->file_size);
    if (fread(image->file, 1, image->file_size, file) != image->file_size)
        fail(STATUS_ENVIRONMENT, "%s: cannot be read", path);
    fclose(file);
}

static const Elf64_Ehdr *header(const struct image *image)
{
    return (const Elf64_Ehdr *)(const void *)image->file;
}

/* (count) entries of (size) bytes at (offset) are inside the file. */
static int inside(const struct image *image, uint64_t offset, uint64_t count, uint64_t size)
{
    return offset <= image->file_size && offset % 8 == 0 &&
           (!size || count <= (image->file_size - offset) / size);
}

static void load(const char *path, struct image *image)
{
    const Elf64_Ehdr *e;
    const Elf64_Phdr *p;

    *image = (struct image){0};
    slurp(path, image);
    e = header(image);
    if (image->file_size < sizeof(*e) || memcmp(e->e_ident, ELFMAG, SELFMAG) ||
        e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB ||
        e->e_machine != EM_IA_64 || e->e_type != ET_EXEC)
        fail(STATUS_MALFORMED, "%s: not an IA-64 program (ELF64, little-endian, ET_EXEC)", path);
    if (e->e_phentsize != sizeof(*p) || !inside(image, e->e_phoff, e->e_phnum, sizeof(*p)) ||
        (e->e_shnum && (e->e_shentsize != sizeof(Elf64_Shdr) ||
                        !inside(image, e->e_shoff, e->e_shnum, sizeof(Elf64_Shdr)))))
        fail(STATUS_MALFORMED, "%s: headers outside the file", path);
    p = (const Elf64_Phdr *)(const void *)(image->file + e->e_phoff);
    image->entry = e->e_entry;
    for (unsigned i = 0; i < e->e_phnum; i++) {
        struct segment *s = &image->segment[image->segments];

        if (p[i].p_type != PT_LOAD || !p[i].p_memsz)
            continue;
        if (image->segments == SEGMENT_MAX - PLAN_MAX - 2)
            fail(STATUS_MALFORMED, "%s: more than %d segments", path, SEGMENT_MAX - PLAN_MAX - 2);
        if (p[i].p_offset > image->file_size || p[i].p_filesz > image->file_size - p[i].p_offset ||
            p[i].p_filesz > p[i].p_memsz || p[i].p_paddr + p[i].p_memsz < p[i].p_paddr)
            fail(STATUS_MALFORMED, "%s: segment %u is outside the file", path, i);
        *s = (struct segment){.physical = p[i].p_paddr,
                              .address = p[i].p_vaddr,
                              .memory_size = p[i].p_memsz,
                              .bytes = image->file + p[i].p_offset,
                              .size = p[i].p_filesz,
                              .flags = p[i].p_flags};
        image->segments++;
    }
}

static struct segment *segment_of(struct image *image, uint64_t address, uint64_t size)
{
    for (unsigned i = 0; i < image->segments; i++) {
        struct segment *s = &image->segment[i];

        if (address >= s->address && size <= s->size && address - s->address <= s->size - size)
            return s;
    }
    return NULL;
}

static uint64_t delta_of(const struct segment *s)
{
    return s->address - s->physical;
}

/* --- Sites --- */

static int add_site(void *context, uint64_t address, unsigned slot,
                    const struct previrt_ia64_insn *insn)
{
    struct sites *sites = context;

    if (sites->count == sites->room) {
        sites->room = sites->room ? sites->room * 2 : 1024;
        sites->site = realloc(sites->site, sites->room * sizeof(*sites->site));
        if (!sites->site)
            fail(STATUS_ENVIRONMENT, "out of memory");
    }
    return previrt_ia64_site_from_insn(insn, address, slot, &sites->site[sites->count++]);
}

/* Sites of the executable sections whose segments are loaded (delta) below their addresses. */
static void find_sites(struct image *image, uint64_t delta, unsigned select, struct sites *sites)
{
    const Elf64_Ehdr *e = header(image);
    const Elf64_Shdr *h = (const Elf64_Shdr *)(const void *)(image->file + e->e_shoff);

    sites->count = 0;
    for (unsigned i = 0; i < e->e_shnum; i++) {
        struct segment *s = segment_of(image, h[i].sh_addr, h[i].sh_size);
        int status;

        if (h[i].sh_type != SHT_PROGBITS || !(h[i].sh_flags & SHF_EXECINSTR) || !h[i].sh_size ||
            !s || delta_of(s) != delta)
            continue;
        status = previrt_ia64_scan(s->bytes + (h[i].sh_addr - s->address),
                                   h[i].sh_size & ~(uint64_t)(PREVIRT_IA64_BUNDLE_SIZE - 1),
                                   h[i].sh_addr, select, 0, add_site, sites, NULL);
        if (status != PREVIRT_OK)
            fail(STATUS_MALFORMED, "section %u: %s", i, previrt_strerror(status));
    }
}

static int by_address(const void *a, const void *b)
{
    const struct previrt_site *x = a, *y = b;

    if (x->address != y->address)
        return x->address < y->address ? -1 : 1;
    return (int)x->slot - (int)y->slot;
}

static int by_where(const void *a, const void *b)
{
    const struct ia64_monitor_site *x = a, *y = b;

    return x->where < y->where ? -1 : x->where > y->where;
}

static void list_sites(struct image *image)
{
    static const char *const traps[] = {
        [PREVIRT_IA64_TRAP_PRIVILEGED_OP] = "privileged-op",
        [PREVIRT_IA64_TRAP_PRIVILEGED_REG] = "privileged-reg",
        [PREVIRT_IA64_TRAP_CONTROL] = "control",
        [PREVIRT_IA64_TRAP_NONE] = "none",
        [PREVIRT_IA64_TRAP_BREAK] = "break",
        [PREVIRT_IA64_TRAP_IA32] = "ia32",
    };
    struct sites sites = {0};

    for (unsigned i = 0; i < image->segments; i++) {
        int seen = 0;

        for (unsigned j = 0; j < i; j++)
            seen |= delta_of(&image->segment[j]) == delta_of(&image->segment[i]);
        if (seen)
            continue;
        find_sites(image, delta_of(&image->segment[i]), PREVIRT_IA64_SELECT_ALL, &sites);
        for (size_t k = 0; k < sites.count; k++) {
            const struct previrt_ia64_op_info *info = previrt_ia64_op_info(sites.site[k].op);

            printf("%016" PRIx64 " %u %s %s\n",
                   sites.site[k].address - delta_of(&image->segment[i]), sites.site[k].slot,
                   traps[info->trap], info->name);
        }
    }
    free(sites.site);
}

/* --- Rewriting --- */

/* What a site was, for the monitor, if the plan made a break of it. */
static void record_breaks(struct image *image, const struct sites *sites, uint64_t delta,
                          const uint8_t *const *originals)
{
    map = realloc(map, (map_count + sites->count) * sizeof(*map) + 1);
    if (!map)
        fail(STATUS_ENVIRONMENT, "out of memory");
    for (size_t i = 0; i < sites->count; i++) {
        const struct previrt_site *site = &sites->site[i];
        struct segment *s = segment_of(image, site->address, PREVIRT_IA64_BUNDLE_SIZE);
        struct previrt_ia64_bundle now, was;
        struct previrt_ia64_insn insn;

        if (previrt_ia64_unpack(s->bytes + (site->address - s->address), &now) != PREVIRT_OK ||
            previrt_ia64_decode_slot(&now, site->slot, &insn) != PREVIRT_OK ||
            insn.op != PREVIRT_IA64_BREAK)
            continue;
        previrt_ia64_unpack(originals[i], &was);
        previrt_ia64_decode_slot(&was, site->slot, &insn);
        map[map_count++] = (struct ia64_monitor_site){site->address - delta + site->slot,
                                                      insn.bits | (uint64_t)insn.unit << 48};
    }
}

static void rewrite(struct image *image, uint64_t delta, const char *name, uint64_t *stubs_at)
{
    static const uint64_t vcpu_page = IA64_VCPU_VIRTUAL;
    struct previrt_region regions[SEGMENT_MAX];
    struct previrt_memory memory = {regions, 0};
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_target target;
    struct previrt_ia64_refusal refusal;
    struct previrt_ia64_plan *plan = NULL;
    struct sites sites = {0};
    const uint8_t **originals;
    uint8_t *copies, *stubs;
    size_t bound;
    void *buffer;
    int status;

    find_sites(image, delta, PREVIRT_IA64_SELECT_SENSITIVE, &sites);
    if (!sites.count)
        return;
    qsort(sites.site, sites.count, sizeof(*sites.site), by_address);
    if (!strcmp(name, "native"))
        previrt_ia64_target_native(&target);
    else
        previrt_ia64_target_vcpu(&target, &vcpu_page, IA64_BREAK_NUMBER);
    target.stub_address = *stubs_at + delta;
    target.stub_size = STUB_SIZE;
    for (uint64_t last = 0;;) { /* the segments by address */
        struct segment *next = NULL;

        for (unsigned i = 0; i < image->segments; i++) {
            struct segment *s = &image->segment[i];

            if (delta_of(s) == delta && s->size && s->address >= last &&
                (!next || s->address < next->address))
                next = s;
        }
        if (!next)
            break;
        regions[memory.count++] =
            (struct previrt_region){next->address, next->size, next->bytes, next->bytes,
                                    next->flags & PF_X ? PREVIRT_REGION_EXECUTE : 0};
        last = next->address + next->size;
    }
    bound = previrt_ia64_plan_bound(sites.count, STUB_SIZE);
    buffer = allocate(bound);
    stubs = allocate(STUB_SIZE);
    originals = allocate(sites.count * sizeof(*originals));
    copies = allocate(sites.count * PREVIRT_IA64_BUNDLE_SIZE);
    for (size_t i = 0; i < sites.count; i++) {
        struct segment *s = segment_of(image, sites.site[i].address, PREVIRT_IA64_BUNDLE_SIZE);

        originals[i] =
            memcpy(copies + i * PREVIRT_IA64_BUNDLE_SIZE,
                   s->bytes + (sites.site[i].address - s->address), PREVIRT_IA64_BUNDLE_SIZE);
    }
    status = previrt_ia64_plan(&memory, sites.site, sites.count, &target, buffer, bound, &plan);
    if (status == PREVIRT_OK)
        status = previrt_ia64_commit(plan, stubs, STUB_SIZE, NULL);
    if (status != PREVIRT_OK) {
        if (plan && previrt_ia64_plan_refusal(plan, 0, &refusal))
            fail(1, "0x%" PRIx64 " slot %u: %s", sites.site[refusal.site].address,
                 sites.site[refusal.site].slot, previrt_ia64_reason_text(refusal.reason));
        fail(1, "%s", previrt_strerror(status));
    }
    previrt_ia64_plan_summary(plan, &summary);
    printf("%zu sites: %zu in stubs, %zu breaks, %zu kept; %zu bytes of stubs\n", summary.sites,
           summary.stubbed, summary.broken, summary.kept, summary.stub_bytes);
    record_breaks(image, &sites, delta, originals);
    if (summary.stub_bytes) {
        image->segment[image->segments++] = (struct segment){.physical = *stubs_at,
                                                             .address = target.stub_address,
                                                             .memory_size = summary.stub_bytes,
                                                             .bytes = stubs,
                                                             .size = summary.stub_bytes,
                                                             .flags = PF_R | PF_X};
        *stubs_at += (summary.stub_bytes + STUB_ALIGN - 1) & ~(uint64_t)(STUB_ALIGN - 1);
    } else {
        free(stubs);
    }
    free(copies);
    free(originals);
    free(buffer);
    free(sites.site);
}

static void rewrite_all(struct image *image, const char *target)
{
    uint64_t delta[PLAN_MAX], end = 0;
    unsigned deltas = 0;

    for (unsigned i = 0; i < image->segments; i++) {
        const struct segment *s = &image->segment[i];
        unsigned j = 0;

        if (s->physical + s->memory_size > end)
            end = s->physical + s->memory_size;
        while (j < deltas && delta[j] != delta_of(s))
            j++;
        if (j < deltas)
            continue;
        if (deltas == PLAN_MAX)
            fail(STATUS_MALFORMED, "segments at more than %d distances from their addresses",
                 PLAN_MAX);
        delta[deltas++] = delta_of(s);
    }
    end = (end + STUB_ALIGN - 1) & ~(uint64_t)(STUB_ALIGN - 1);
    for (unsigned i = 0; i < deltas; i++)
        rewrite(image, delta[i], target, &end);
}

/* --- The monitor --- */

static uint64_t add_monitor(struct image *image, const char *path, uint64_t flags)
{
    struct ia64_monitor_parameters *parameters = NULL;
    struct image monitor;
    struct segment *entry;
    uint64_t end = IA64_MONITOR_PHYSICAL, memory_end = IA64_MONITOR_PHYSICAL;

    for (unsigned i = 0; i < image->segments; i++)
        if (image->segment[i].physical + image->segment[i].memory_size > memory_end)
            fail(1, "the guest's memory ends at 0x%" PRIx64 ", and segment %u at 0x%" PRIx64,
                 memory_end, i, image->segment[i].physical + image->segment[i].memory_size);
    entry = segment_of(image, image->entry, PREVIRT_IA64_BUNDLE_SIZE);
    if (!entry)
        fail(STATUS_MALFORMED, "the guest's entry 0x%" PRIx64 " is in no segment", image->entry);
    load(path, &monitor);
    for (unsigned i = 0; i < monitor.segments; i++) {
        struct segment s = monitor.segment[i];

        if (s.physical == IA64_MONITOR_PHYSICAL && s.size >= sizeof(*parameters))
            parameters = (struct ia64_monitor_parameters *)(void *)s.bytes;
        if (s.physical + s.memory_size > end)
            end = s.physical + s.memory_size;
        image->segment[image->segments++] = s;
    }
    if (!parameters || parameters->magic != IA64_MONITOR_MAGIC)
        fail(STATUS_MALFORMED, "%s: not the monitor", path);
    end = (end + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    if (end + map_count * sizeof(*map) > IA64_MONITOR_PHYSICAL + IA64_MONITOR_SIZE)
        fail(1, "%zu sites do not fit behind the monitor", map_count);
    *parameters = (struct ia64_monitor_parameters){
        .magic = IA64_MONITOR_MAGIC,
        .flags = flags,
        .entry = image->entry - delta_of(entry),
        .memory_end = memory_end,
        .sites = end,
        .site_count = map_count,
    };
    if (map_count) {
        qsort(map, map_count, sizeof(*map), by_where);
        image->segment[image->segments++] =
            (struct segment){.physical = end,
                             .memory_size = map_count * sizeof(*map),
                             .bytes = (uint8_t *)map,
                             .size = map_count * sizeof(*map),
                             .flags = PF_R};
    }
    return monitor.entry;
}

/* --- ELF out --- */

static void put(FILE *file, const void *bytes, size_t size)
{
    if (size && fwrite(bytes, 1, size, file) != size)
        fail(STATUS_ENVIRONMENT, "cannot write: %s", strerror(errno));
}

static void store(const struct image *image, uint64_t entry, const char *path)
{
    static const uint8_t zeros[PAGE];
    Elf64_Ehdr e = {.e_type = ET_EXEC,
                    .e_machine = EM_IA_64,
                    .e_version = EV_CURRENT,
                    .e_entry = entry,
                    .e_phoff = sizeof(e),
                    .e_flags = 0x10 /* EF_IA_64_ABI64 */,
                    .e_ehsize = sizeof(e),
                    .e_phentsize = sizeof(Elf64_Phdr),
                    .e_phnum = (uint16_t)image->segments};
    uint64_t offset = PAGE, at;
    char *temporary = allocate(strlen(path) + 5);
    FILE *file;

    memcpy(e.e_ident, ELFMAG, SELFMAG);
    e.e_ident[EI_CLASS] = ELFCLASS64;
    e.e_ident[EI_DATA] = ELFDATA2LSB;
    e.e_ident[EI_VERSION] = EV_CURRENT;
    sprintf(temporary, "%s.tmp", path);
    file = fopen(temporary, "wb");
    if (!file)
        fail(STATUS_ENVIRONMENT, "%s: %s", temporary, strerror(errno));
    put(file, &e, sizeof(e));
    for (unsigned i = 0; i < image->segments; i++) {
        const struct segment *s = &image->segment[i];
        Elf64_Phdr p = {.p_type = PT_LOAD,
                        .p_flags = s->flags,
                        .p_vaddr = s->physical,
                        .p_paddr = s->physical,
                        .p_filesz = s->size,
                        .p_memsz = s->memory_size,
                        .p_align = PAGE};

        p.p_offset = offset + s->physical % PAGE;
        offset = (p.p_offset + s->size + PAGE - 1) & ~(uint64_t)(PAGE - 1);
        put(file, &p, sizeof(p));
    }
    at = sizeof(e) + image->segments * sizeof(Elf64_Phdr);
    offset = PAGE;
    for (unsigned i = 0; i < image->segments; i++) {
        const struct segment *s = &image->segment[i];

        put(file, zeros, offset - at);
        at = offset + s->physical % PAGE;
        put(file, zeros, at - offset);
        put(file, s->bytes, s->size);
        at += s->size;
        offset = (at + PAGE - 1) & ~(uint64_t)(PAGE - 1);
    }
    if (fclose(file) || rename(temporary, path))
        fail(STATUS_ENVIRONMENT, "%s: %s", path, strerror(errno));
    free(temporary);
}

int main(int argc, char **argv)
{
    const char *target = "none", *monitor = NULL, *path[2];
    uint64_t flags = IA64_MONITOR_EMULATES, entry;
    struct segment *s;
    static struct image image; /* holds on to what it points to until the end */
    int list = 0, operations = 0, paths = 0;

    for (int i = 1; i < argc; i++) {
        if (!strncmp(argv[i], "--target=", 9))
            target = argv[i] + 9;
        else if (!strncmp(argv[i], "--monitor=", 10))
            monitor = argv[i] + 10;
        else if (!strcmp(argv[i], "--no-emulation"))
            flags &= ~(uint64_t)IA64_MONITOR_EMULATES;
        else if (!strcmp(argv[i], "--trace"))
            flags |= IA64_MONITOR_TRACES;
        else if (!strcmp(argv[i], "--sites"))
            list = 1;
        else if (!strcmp(argv[i], "--operations"))
            operations = 1;
        else if (argv[i][0] == '-' || paths == 2)
            fail(STATUS_USAGE, "unknown argument %s", argv[i]);
        else
            path[paths++] = argv[i];
    }
    if (operations) {
        for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++)
            if (previrt_ia64_op_info(op))
                puts(previrt_ia64_op_info(op)->name);
        return 0;
    }
    if (paths != (list ? 1 : 2))
        fail(STATUS_USAGE, "usage: previrt-ia64-pack [--target=none|native|vcpu] [--monitor=FILE] "
                           "[--no-emulation] [--trace] GUEST OUTPUT | --sites GUEST | "
                           "--operations");
    if (strcmp(target, "none") && strcmp(target, "native") && strcmp(target, "vcpu"))
        fail(STATUS_USAGE, "--target=%s: none, native or vcpu", target);
    load(path[0], &image);
    if (list) {
        list_sites(&image);
        return 0;
    }
    if (strcmp(target, "none"))
        rewrite_all(&image, target);
    if (monitor) {
        entry = add_monitor(&image, monitor, flags);
    } else {
        s = segment_of(&image, image.entry, PREVIRT_IA64_BUNDLE_SIZE);
        if (!s)
            fail(STATUS_MALFORMED, "the entry 0x%" PRIx64 " is in no segment", image.entry);
        entry = image.entry - delta_of(s);
    }
    store(&image, entry, path[1]);
    return 0;
}
