/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What rewriting a kernel costs: plan and commit against copying its text, in one run.
 *
 * bench_rewrite [VMLINUX]    without one: a synthetic text of 5,400 sites in the mix of Linux 6.1
 */
#include <previrt/rewrite.h>

#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 31, SYNTHETIC_SITES = 5400, SYNTHETIC_GAP = 650, RUN_SITES = 8 };
enum { STUBS = 0xc0020000, STUB_SIZE = 0x60000, TEXT = 0xc1000000, NOTES = 0xc2000000 };
enum { PAGE = 0xff800000 };

struct image {
    uint8_t *text;
    size_t text_size;
    uint64_t address;
    uint8_t *notes;
    size_t notes_size;
    uint64_t notes_address;
    struct previrt_region regions[64];
    struct previrt_memory memory;
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof(*values), by_value);
    return values[ROUNDS / 2];
}

static _Noreturn void die(const char *what, int status)
{
    fprintf(stderr, "bench_rewrite: %s: %s\n", what, previrt_strerror(status));
    exit(4);
}

static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    struct image *image = context;

    (void)length;
    return image->text + (address - image->address);
}

/* Sites in the proportions of Linux 6.1 (sti, cli, pushf, out, wrmsr, ...), each with its room. */
static void make_synthetic(struct image *image)
{
    static const struct {
        const char *bytes;
        uint8_t length, pad, weight;
    } mix[] = {
        {"\x3e\x3e\x3e\x3e\x3e\x3e\xfb", 7, 0, 31}, {"\x3e\x3e\x3e\x3e\x3e\x3e\xfa", 7, 0, 26},
        {"\x3e\x3e\x3e\x3e\x3e\x9c", 6, 0, 17},     {"\x3e\x3e\x3e\x3e\xee", 5, 0, 8},
        {"\x3e\x3e\x3e\x0f\x30", 5, 0, 5},          {"\x3e\x3e\x3e\x0f\x32", 5, 0, 4},
        {"\x3e\x3e\x3e\x3e\xec", 5, 0, 3},          {"\x3e\x3e\x3e\x0f\xa2", 5, 0, 3},
        {"\x0f\x01\x5c\x24\x04", 5, 0, 1},          {"\x3e\x3e\x3e\x0f\x20\xc0", 6, 0, 1},
        {"\x3e\x3e\x3e\x8e\xd8", 5, 0, 1},
    };
    struct previrt_site *sites = calloc(SYNTHETIC_SITES, sizeof(*sites));
    size_t bound = previrt_table_bound(SYNTHETIC_SITES), size, at = 0;
    int status;

    image->address = TEXT;
    image->notes_address = NOTES;
    image->text_size = (size_t)SYNTHETIC_SITES * SYNTHETIC_GAP;
    image->text = malloc(image->text_size);
    image->notes = malloc(bound + 64 * SYNTHETIC_SITES);
    if (!sites || !image->text || !image->notes)
        die("memory", PREVIRT_E_MEMORY);
    memset(image->text, 0x90, image->text_size);
    srand(2005);
    for (size_t i = 0; i < SYNTHETIC_SITES; i++) {
        struct previrt_ia32_insn insn;
        int draw = rand() % 100;
        size_t kind = 0;

        while (draw >= mix[kind].weight)
            draw -= mix[kind++].weight;
        memcpy(image->text + i * SYNTHETIC_GAP, mix[kind].bytes, mix[kind].length);
        status = previrt_ia32_decode_site(image->text + i * SYNTHETIC_GAP, 15, 1, &insn);
        if (status < 0)
            die("decode", status);
        previrt_ia32_site_from_insn(&insn, &sites[i]);
        sites[i].arch = PREVIRT_ARCH_IA32;
        sites[i].address = image->address + i * SYNTHETIC_GAP;
    }
    /* Fragments of a few sites each, every other one out of order, as init sections make them. */
    for (size_t i = 0; i < SYNTHETIC_SITES; i += RUN_SITES) {
        size_t from = i / RUN_SITES % 2 ? SYNTHETIC_SITES - RUN_SITES - (i - RUN_SITES) : i;

        from = i / RUN_SITES % 2 ? (from / RUN_SITES | 1) * RUN_SITES : from;
        if (from + RUN_SITES > SYNTHETIC_SITES)
            from = i;
        size = bound + 64 * SYNTHETIC_SITES - at;
        status = previrt_table_encode(sites + from, RUN_SITES, image->notes_address + at, text_of,
                                      image, image->notes + at, &size);
        if (status < 0)
            die("encode", status);
        at += size;
    }
    image->notes_size = at;
    image->regions[0] = (struct previrt_region){image->address, image->text_size, image->text,
                                                image->text, PREVIRT_REGION_EXECUTE};
    image->memory = (struct previrt_memory){image->regions, 1};
    free(sites);
}

/* The executable sections and the notes of a kernel. The file is trusted: this is a benchmark. */
static void read_kernel(struct image *image, const char *path)
{
    FILE *file = fopen(path, "rb");
    const Elf32_Ehdr *head;
    const Elf32_Shdr *sections;
    uint8_t *data;
    long size;

    if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < (long)sizeof(*head)) {
        perror(path);
        exit(4);
    }
    rewind(file);
    data = malloc((size_t)size);
    if (!data || fread(data, 1, (size_t)size, file) != (size_t)size)
        die(path, PREVIRT_E_IO);
    fclose(file);
    head = (const void *)data;
    if (memcmp(head->e_ident, ELFMAG, SELFMAG) || head->e_machine != EM_386)
        die(path, PREVIRT_E_ARCH);
    sections = (const void *)(data + head->e_shoff);
    image->memory.regions = image->regions;
    for (unsigned i = 1; i < head->e_shnum; i++) {
        const Elf32_Shdr *section = &sections[i];
        size_t count;

        if (section->sh_type == SHT_NOTE && (section->sh_flags & SHF_ALLOC) &&
            !previrt_plan_count(data + section->sh_offset, section->sh_size, section->sh_addr,
                                &count) &&
            count) {
            image->notes = data + section->sh_offset;
            image->notes_size = section->sh_size;
            image->notes_address = section->sh_addr;
        }
        if (section->sh_type == SHT_PROGBITS && (section->sh_flags & SHF_ALLOC) &&
            (section->sh_flags & SHF_EXECINSTR) && section->sh_size && image->memory.count < 64) {
            image->regions[image->memory.count++] = (struct previrt_region){
                section->sh_addr, section->sh_size, data + section->sh_offset,
                data + section->sh_offset, PREVIRT_REGION_EXECUTE};
            image->text_size += section->sh_size;
        }
    }
    if (!image->notes)
        die(path, PREVIRT_E_NO_TABLE);
}

static void run(struct image *image, struct previrt_target *target, uint8_t *stubs)
{
    double plans[ROUNDS], commits[ROUNDS], reverts[ROUNDS], copies[ROUNDS], total, copy;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    struct previrt_plan *plan;
    uint8_t *scratch = malloc(image->text_size);
    size_t count, bound;
    void *buffer;
    int status = previrt_plan_count(image->notes, image->notes_size, image->notes_address, &count);

    if (status < 0)
        die("table", status);
    bound = previrt_plan_bound(count);
    buffer = malloc(bound);
    if (!buffer || !scratch)
        die("memory", PREVIRT_E_MEMORY);
    memset(buffer, 0, bound);
    memset(scratch, 1, image->text_size);
    for (unsigned i = 0; i < ROUNDS; i++) {
        double start = now();
        uint8_t *to = scratch;

        for (size_t region = 0; region < image->memory.count; region++) {
            memcpy(to, image->regions[region].read, image->regions[region].size);
            to += image->regions[region].size;
        }
        __asm__ volatile("" : : "r"(scratch) : "memory");
        copies[i] = now() - start;

        start = now();
        status = previrt_plan(&image->memory, image->notes, image->notes_size, image->notes_address,
                              target, buffer, bound, &plan);
        plans[i] = now() - start;
        if (status < 0)
            die("plan", status);
        start = now();
        status = previrt_commit(plan, stubs, STUB_SIZE);
        commits[i] = now() - start;
        if (status < 0)
            die("commit", status);
        start = now();
        status = previrt_revert(plan);
        reverts[i] = now() - start;
        if (status < 0)
            die("revert", status);
    }
    previrt_plan_stats(plan, &stats);
    copy = median(copies);
    total = median(plans) + median(commits);
    printf("%-12s %6u sites, %5u stubs, %6u bytes: plan %.3f ms, commit %.3f ms, revert %.3f ms; "
           "plan+commit %.0f ns a site, %.1f x the copy of %.1f MB of text (%.3f ms)\n",
           target->flags & PREVIRT_TARGET_NO_DIGEST
               ? (target->vcpu_address ? "vcpu-nodigest" : "native-nodigest")
               : target->name,
           stats.sites, stats.stubs, stats.stub_bytes, median(plans) / 1e6, median(commits) / 1e6,
           median(reverts) / 1e6, total / stats.sites, total / copy, (double)image->text_size / 1e6,
           copy / 1e6);
    free(scratch);
    free(buffer);
}

int main(int argc, char **argv)
{
    static struct image image;
    uint8_t *stubs = malloc(STUB_SIZE);

    if (argc > 1)
        read_kernel(&image, argv[1]);
    else
        make_synthetic(&image);
    for (unsigned round = 0; round < 4; round++) {
        struct previrt_target target;

        if (round & 1)
            previrt_target_vcpu(&target, PAGE);
        else
            previrt_target_native(&target);
        if (round & 2)
            target.flags |= PREVIRT_TARGET_NO_DIGEST;
        target.stub_address = STUBS;
        target.stub_size = STUB_SIZE;
        run(&image, &target, stubs);
    }
    free(stubs);
    return 0;
}
