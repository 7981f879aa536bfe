/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast text is walked, in one run: Zydis alone decoding everything, Zydis alone in its minimal
 * mode (lengths), the classifier with its fast paths, and the whole of scan and audit on the same
 * file.
 *
 *     bench_scan VMLINUX [ROUNDS]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <previrt/audit.h>
#include <previrt/scan.h>

#include "audit/elf_view.h"
#include "audit/file.h"
#include "ia32/decoder.h"

enum { ROUNDS = 7, ROUNDS_MAX = 101 };

struct text {
    struct pv_view elf;
    struct pv_file file;
    struct pv_ia32_decoder decoder;
    uint64_t bytes;
};

/* What a pass found: the same of every pass, or they did not do the same work. */
struct outcome {
    uint64_t instructions, sensitive;
};

static double now(void)
{
    struct timespec time;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static struct outcome pass_zydis(const struct text *text, const ZydisDecoder *decoder)
{
    struct outcome outcome = {0};

    for (size_t i = 1; i < text->elf.section_count; i++) {
        const struct pv_view_section *section = &text->elf.sections[i];

        if (!pv_view_is_code(section))
            continue;
        for (uint64_t at = 0; at < section->size;) {
            ZydisDecodedInstruction insn;

            if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, section->data + at,
                                                           section->size - at, &insn))) {
                at += insn.length;
                outcome.instructions++;
            } else {
                at++;
            }
        }
    }
    return outcome;
}

static struct outcome pass_full(const struct text *text)
{
    return pass_zydis(text, &text->decoder.full);
}

static struct outcome pass_minimal(const struct text *text)
{
    return pass_zydis(text, &text->decoder.minimal);
}

static struct outcome pass_classifier(const struct text *text)
{
    struct outcome outcome = {0};

    for (size_t i = 1; i < text->elf.section_count; i++) {
        const struct pv_view_section *section = &text->elf.sections[i];

        if (!pv_view_is_code(section))
            continue;
        for (uint64_t at = 0; at < section->size;) {
            struct previrt_ia32_class class;

            if (pv_ia32_next(&text->decoder, section->data + at, (size_t)(section->size - at),
                             &class)) {
                at++;
                continue;
            }
            at += class.length;
            outcome.instructions++;
            outcome.sensitive += class.op != PREVIRT_IA32_NO_OP;
        }
    }
    return outcome;
}

static struct outcome pass_scan(const struct text *text)
{
    struct previrt_scan_result result = {.size = sizeof(result)};

    previrt_scan_mem(text->file.data, text->file.size, NULL, &result);
    return (struct outcome){result.instructions, result.sites};
}

static struct outcome pass_audit(const struct text *text)
{
    const struct previrt_audit *audit;
    struct outcome outcome = {0};

    if (previrt_audit_mem(text->file.data, text->file.size, NULL, &audit) == PREVIRT_OK) {
        outcome = (struct outcome){audit->instructions, audit->site_count};
        previrt_audit_free(audit);
    }
    return outcome;
}

static const struct {
    const char *name;
    struct outcome (*run)(const struct text *text);
} passes[] = {
    {"Zydis, full decoding", pass_full}, {"Zydis, minimal decoding", pass_minimal},
    {"classifier", pass_classifier},     {"previrt_scan_mem", pass_scan},
    {"previrt_audit_mem", pass_audit},
};
#define PASS_COUNT (sizeof(passes) / sizeof(passes[0]))

static int compare_times(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return left < right ? -1 : left > right;
}

int main(int argc, char **argv)
{
    static double times[PASS_COUNT][ROUNDS_MAX];
    struct outcome outcomes[PASS_COUNT];
    int rounds = argc > 2 ? atoi(argv[2]) : ROUNDS;
    struct text text = {0};
    double full;

    if (argc < 2 || rounds < 1 || rounds > ROUNDS_MAX) {
        fprintf(stderr, "usage: bench_scan VMLINUX [ROUNDS]\n");
        return 2;
    }
    if (pv_file_open(&text.file, argv[1])) {
        perror(argv[1]);
        return 4;
    }
    if (pv_view_open(&text.elf, text.file.data, text.file.size) ||
        pv_ia32_decoder_init(&text.decoder, text.elf.bits)) {
        fprintf(stderr, "%s: not an x86 ELF file\n", argv[1]);
        return 3;
    }
    for (size_t i = 1; i < text.elf.section_count; i++)
        if (pv_view_is_code(&text.elf.sections[i]))
            text.bytes += text.elf.sections[i].size;

    /* interleaved, so that load on the machine falls on all alike */
    for (int round = 0; round < rounds; round++) {
        for (size_t p = 0; p < PASS_COUNT; p++) {
            double start = now();

            outcomes[p] = passes[p].run(&text);
            times[p][round] = now() - start;
        }
    }
    printf("%s: %.2f MB of text, medians of %d interleaved rounds, CPU time\n", argv[1],
           (double)text.bytes / 1e6, rounds);
    printf("%-24s %8s %8s %10s %12s %10s\n", "pass", "ms", "MB/s", "full = 1", "instructions",
           "sensitive");
    for (size_t p = 0; p < PASS_COUNT; p++)
        qsort(times[p], (size_t)rounds, sizeof(times[p][0]), compare_times);
    full = times[0][rounds / 2];
    for (size_t p = 0; p < PASS_COUNT; p++) {
        double median = times[p][rounds / 2];

        printf("%-24s %8.1f %8.1f %9.2fx %12llu %10llu\n", passes[p].name, median * 1e3,
               (double)text.bytes / 1e6 / median, full / median,
               (unsigned long long)outcomes[p].instructions,
               (unsigned long long)outcomes[p].sensitive);
    }
    pv_view_close(&text.elf);
    pv_file_close(&text.file);
    return 0;
}
