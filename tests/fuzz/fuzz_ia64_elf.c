/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes what reads IA-64 ELF files: annotating an object, audit, scan, and rewriting an
 * executable. What was annotated must audit with nothing missed that no rule excludes, and what was
 * rewritten must open.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/annotate.h>
#include <previrt/audit.h>
#include <previrt/image.h>
#include <previrt/rewrite_elf.h>
#include <previrt/scan.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint8_t sink;

static void touch(const void *bytes, size_t size)
{
    if (size) {
        sink = ((const uint8_t *)bytes)[0];
        sink = ((const uint8_t *)bytes)[size - 1];
    }
}

static int on_site(void *context, const struct previrt_scan_site *site)
{
    (void)context;
    touch(site->section, strlen(site->section) + 1);
    touch(site->bytes, site->length);
    return 0;
}

/* (annotated): nothing may be missed. */
static void audit(const uint8_t *data, size_t size, const struct previrt_rules *rules,
                  int annotated)
{
    struct previrt_audit_options options = {.size = sizeof(options), .rules = rules};
    struct previrt_scan_options scan_options = {.size = sizeof(scan_options), .site = on_site};
    struct previrt_scan_result result = {.size = sizeof(result)};
    const struct previrt_audit *audit;

    previrt_scan_mem(data, size, &scan_options, &result);
    if (previrt_audit_mem(data, size, &options, &audit) != PREVIRT_OK)
        return;
    for (size_t i = 0; i < audit->site_count; i++)
        touch(audit->sites[i].bytes, audit->sites[i].length);
    if (annotated && !audit->check_status && audit->totals[PREVIRT_MISSED] && !audit->stray_count)
        abort();
    previrt_audit_free(audit);
}

static void annotate(const uint8_t *data, size_t size, const struct previrt_rules *rules, int room)
{
    struct previrt_ia64_annotate_options options = {.size = sizeof(options),
                                                    .stub_room = 64,
                                                    .output = room ? "init/main.o" : "x.o",
                                                    .rules = rules};
    struct previrt_ia64_annotate_report report = {.size = sizeof(report)};
    size_t out_size;
    void *out;

    if (previrt_ia64_annotate_object_mem(data, size, &options, &out, &out_size, &report) < 0 ||
        !out)
        return;
    touch(out, out_size);
    if (out_size <= size || memcmp((uint8_t *)out + EI_NIDENT, data + EI_NIDENT, 4) != 0)
        abort();
    audit(out, out_size, rules, report.excluded == 0 && report.sites != 0);
    previrt_image_free(out);
}

static void rewrite(const uint8_t *data, size_t size, unsigned how)
{
    struct previrt_ia64_target target;
    struct previrt_ia64_elf_options options = {
        .size = sizeof(options), .target = &target, .tell_exceptions = 1};
    struct previrt_ia64_elf_report report = {.size = sizeof(report)};
    struct previrt_image *image;
    size_t out_size;
    void *out;

    if (how & 1)
        previrt_ia64_target_break(&target, 1);
    else
        previrt_ia64_target_native(&target);
    target.flags |= PREVIRT_IA64_TARGET_KEEP_UNSUITABLE | PREVIRT_IA64_TARGET_STUB_RETURNS;
    if (how & 2) {
        options.place = PREVIRT_PLACE_STUBS;
        options.stub_address = 0xa000000140000000;
    }
    if (previrt_ia64_rewrite_elf_mem(data, size, &options, &out, &out_size, &report) ==
        PREVIRT_OK) {
        touch(out, out_size);
        if (previrt_image_open_mem(out, out_size, &image) == PREVIRT_OK)
            previrt_image_close(image);
        free(out);
    }
    free(report.refusals);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct previrt_rules *rules;
    uint8_t *exact;
    Elf64_Ehdr head;

    if (!rules && previrt_rules_default_for(PREVIRT_ARCH_IA64, &rules) != PREVIRT_OK)
        abort();
    if (size < sizeof(head))
        return 0;
    memcpy(&head, data, sizeof(head));
    if (head.e_machine != EM_IA_64) /* x86 is another target's */
        return 0;
    exact = malloc(size);
    if (!exact)
        return 0;
    memcpy(exact, data, size);
    annotate(exact, size, rules, 0);
    annotate(exact, size, rules, 1);
    audit(exact, size, rules, 0);
    for (unsigned how = 0; how < 4; how++)
        rewrite(exact, size, how);
    free(exact);
    return 0;
}
