/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Audit and rewriting of kernels of either instruction set, in one table: medians of interleaved
 * rounds of processor time. A unit is an instruction of IA32 and a bundle of IA-64.
 *
 *     bench_isas VMLINUX...
 */
#include <previrt/audit.h>
#include <previrt/ia64.h>
#include <previrt/rewrite.h>

#include "audit/elf_view.h"
#include "audit/file.h"

#include <elf.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 9, FILES_MAX = 4, REGIONS_MAX = 64, STUB_ROOM = 1 << 20 };
enum pass { AUDIT, PLAN, COMMIT, REVERT, COPY, PASSES };

#define IA32_STUBS 0xc0020000u /* below the kernel, above everything else that matters here */

struct kernel {
    const char *path;
    struct pv_file file;
    struct pv_view elf;
    struct previrt_region regions[REGIONS_MAX];
    struct previrt_memory memory;
    const struct pv_view_section *notes;
    struct previrt_site *sites; /* IA-64: sorted */
    size_t count;               /* of records */
    void *buffer;               /* the plan's */
    size_t bound;
    uint8_t *text, *stubs; /* copies that are rewritten */
    uint64_t text_bytes, units, stub_address, stub_bytes;
    double times[PASSES][ROUNDS];
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static _Noreturn void die(const struct kernel *kernel, const char *what, int status)
{
    fprintf(stderr, "bench_isas: %s: %s: %s\n", kernel->path, what, previrt_strerror(status));
    exit(4);
}

static int by_address(const void *a, const void *b)
{
    const struct previrt_region *left = a, *right = b;

    return left->address < right->address ? -1 : left->address > right->address;
}

static int by_slot(const void *a, const void *b)
{
    const struct previrt_site *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    return (left->slot > right->slot) - (left->slot < right->slot);
}

/* The executable sections, copied, so that they can be written. */
static void copy_text(struct kernel *kernel)
{
    uint8_t *to;

    for (size_t i = 1; i < kernel->elf.section_count; i++)
        if (pv_view_is_code(&kernel->elf.sections[i]))
            kernel->text_bytes += kernel->elf.sections[i].size;
    kernel->text = to = malloc(kernel->text_bytes);
    if (!to)
        die(kernel, "text", PREVIRT_E_MEMORY);
    kernel->memory.regions = kernel->regions;
    for (size_t i = 1; i < kernel->elf.section_count; i++) {
        const struct pv_view_section *section = &kernel->elf.sections[i];
        uint64_t end = section->address + section->size;

        /* behind the text: other sections may be at the end of the address space (.data..percpu) */
        if (pv_view_is_code(section) && end > kernel->stub_address)
            kernel->stub_address = end;
        if (!pv_view_is_code(section) || kernel->memory.count == REGIONS_MAX)
            continue;
        memcpy(to, section->data, section->size);
        kernel->regions[kernel->memory.count++] = (struct previrt_region){
            section->address, section->size, to, to, PREVIRT_REGION_EXECUTE};
        to += section->size;
    }
    qsort(kernel->regions, kernel->memory.count, sizeof(*kernel->regions), by_address);
}

static size_t count_records(const struct pv_view_section *section, struct previrt_site *sites)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    size_t count = 0;

    if (previrt_table_begin(&cursor, section->data, section->size, section->address) < 0)
        return 0;
    while (previrt_table_next(&cursor, &site) == 1) {
        if (sites)
            sites[count] = site;
        count++;
    }
    return count;
}

static void open_kernel(struct kernel *kernel)
{
    const struct previrt_audit *audit;
    int status;

    if (pv_file_open(&kernel->file, kernel->path)) {
        perror(kernel->path);
        exit(4);
    }
    status = pv_view_open(&kernel->elf, kernel->file.data, kernel->file.size);
    if (status)
        die(kernel, "ELF", status);
    copy_text(kernel);
    for (size_t i = 1; i < kernel->elf.section_count && !kernel->count; i++) {
        kernel->notes = &kernel->elf.sections[i];
        if (kernel->notes->type == SHT_NOTE && kernel->notes->data)
            kernel->count = count_records(kernel->notes, NULL);
    }
    if (!kernel->count)
        die(kernel, "table", PREVIRT_E_NO_TABLE);
    if (kernel->elf.machine == EM_IA_64) {
        kernel->sites = calloc(kernel->count, sizeof(*kernel->sites));
        if (!kernel->sites)
            die(kernel, "sites", PREVIRT_E_MEMORY);
        count_records(kernel->notes, kernel->sites);
        qsort(kernel->sites, kernel->count, sizeof(*kernel->sites), by_slot);
        kernel->units = kernel->text_bytes / PREVIRT_IA64_BUNDLE_SIZE;
        kernel->bound = previrt_ia64_plan_bound(kernel->count, STUB_ROOM);
        kernel->stub_address = (kernel->stub_address + 0xffff) & ~UINT64_C(0xffff);
    } else {
        status = previrt_audit_mem(kernel->file.data, kernel->file.size, NULL, &audit);
        if (status)
            die(kernel, "audit", status);
        kernel->units = audit->instructions;
        previrt_audit_free(audit);
        kernel->bound = previrt_plan_bound(kernel->count);
        kernel->stub_address = IA32_STUBS;
    }
    kernel->buffer = calloc(1, kernel->bound);
    kernel->stubs = malloc(STUB_ROOM);
    if (!kernel->buffer || !kernel->stubs)
        die(kernel, "plan", PREVIRT_E_MEMORY);
}

static void rewrite_ia64(struct kernel *kernel, unsigned round)
{
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    double start;
    int status;

    previrt_ia64_target_native(&target);
    target.flags |= PREVIRT_IA64_TARGET_STUB_RETURNS | PREVIRT_IA64_TARGET_BREAK_UNSUITABLE;
    target.stub_address = kernel->stub_address;
    target.stub_size = STUB_ROOM;
    start = now();
    status = previrt_ia64_plan(&kernel->memory, kernel->sites, kernel->count, &target,
                               kernel->buffer, kernel->bound, &plan);
    kernel->times[PLAN][round] = now() - start;
    if (status < 0)
        die(kernel, "plan", status);
    start = now();
    status = previrt_ia64_commit(plan, kernel->stubs, STUB_ROOM, NULL);
    kernel->times[COMMIT][round] = now() - start;
    if (status < 0)
        die(kernel, "commit", status);
    start = now();
    status = previrt_ia64_revert(plan, NULL);
    kernel->times[REVERT][round] = now() - start;
    if (status < 0)
        die(kernel, "revert", status);
    previrt_ia64_plan_summary(plan, &summary);
    kernel->stub_bytes = summary.stub_bytes;
}

static void rewrite_ia32(struct kernel *kernel, unsigned round)
{
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    struct previrt_target target;
    struct previrt_plan *plan;
    double start;
    int status;

    previrt_target_native(&target);
    target.stub_address = kernel->stub_address;
    target.stub_size = STUB_ROOM;
    start = now();
    status = previrt_plan(&kernel->memory, kernel->notes->data, kernel->notes->size,
                          kernel->notes->address, &target, kernel->buffer, kernel->bound, &plan);
    kernel->times[PLAN][round] = now() - start;
    if (status < 0)
        die(kernel, "plan", status);
    start = now();
    status = previrt_commit(plan, kernel->stubs, STUB_ROOM);
    kernel->times[COMMIT][round] = now() - start;
    if (status < 0)
        die(kernel, "commit", status);
    start = now();
    status = previrt_revert(plan);
    kernel->times[REVERT][round] = now() - start;
    if (status < 0)
        die(kernel, "revert", status);
    previrt_plan_stats(plan, &stats);
    kernel->stub_bytes = stats.stub_bytes;
}

static void run(struct kernel *kernel, unsigned round)
{
    const struct previrt_audit *audit;
    uint8_t *scratch = malloc(kernel->text_bytes);
    double start = now();
    int status = previrt_audit_mem(kernel->file.data, kernel->file.size, NULL, &audit);

    kernel->times[AUDIT][round] = now() - start;
    if (status < 0 || !scratch)
        die(kernel, "audit", status);
    previrt_audit_free(audit);
    memset(scratch, 1, kernel->text_bytes);
    start = now();
    memcpy(scratch, kernel->text, kernel->text_bytes);
    __asm__ volatile("" : : "r"(scratch) : "memory");
    kernel->times[COPY][round] = now() - start;
    free(scratch);
    if (kernel->elf.machine == EM_IA_64)
        rewrite_ia64(kernel, round);
    else
        rewrite_ia32(kernel, round);
}

static int by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

static void print(struct kernel *kernel)
{
    double rewriting;
    char label[64];

    for (unsigned pass = 0; pass < PASSES; pass++)
        qsort(kernel->times[pass], ROUNDS, sizeof(double), by_value);
#define MEDIAN(pass) (kernel->times[pass][ROUNDS / 2])
    rewriting = MEDIAN(PLAN) + MEDIAN(COMMIT);
    snprintf(label, sizeof(label), "%s",
             kernel->elf.machine == EM_IA_64 ? "IA-64, bundles" : "IA32, instructions");
    printf("| %s | %.2f | %" PRIu64 " | %.1f | %.1f | %zu | %.3f | %.3f | %.3f | %.0f | %.1f | "
           "%" PRIu64 " |\n",
           label, (double)kernel->text_bytes / 1e6, kernel->units, MEDIAN(AUDIT) / 1e6,
           MEDIAN(AUDIT) / (double)kernel->units, kernel->count, MEDIAN(PLAN) / 1e6,
           MEDIAN(COMMIT) / 1e6, MEDIAN(REVERT) / 1e6, rewriting / (double)kernel->count,
           rewriting / MEDIAN(COPY), kernel->stub_bytes);
#undef MEDIAN
}

int main(int argc, char **argv)
{
    static struct kernel kernels[FILES_MAX];
    int count = argc - 1;

    if (count < 1 || count > FILES_MAX) {
        fprintf(stderr, "usage: bench_isas VMLINUX... (at most %d)\n", FILES_MAX);
        return 2;
    }
    for (int i = 0; i < count; i++) {
        kernels[i].path = argv[i + 1];
        open_kernel(&kernels[i]);
    }
    for (unsigned round = 0; round < ROUNDS; round++)
        for (int i = 0; i < count; i++)
            run(&kernels[i], round);
    printf(
        "| units | text, MB | units | audit, ms | ns a unit | records | plan, ms | commit, ms | "
        "revert, ms | rewriting, ns a record | times copying the text | stubs, bytes |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (int i = 0; i < count; i++)
        print(&kernels[i]);
    return 0;
}
