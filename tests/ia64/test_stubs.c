/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Generated stubs and rewritten bundles through the assembler in explicit mode, which checks them
 * for dependency violations and for instructions that must be first or last in their group; and it
 * must make the same bytes of their text.
 * Usage: test_stubs TOOL-PREFIX KERNEL.S, or
 * test_stubs TOOL-PREFIX --image FILE for the stubs of an image that previrt rewrite made
 */
#include <previrt/ia64.h>
#include <previrt/image.h>
#include <previrt/rewrite_elf.h>

#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AREA_SIZE   0x8000 /* code, a gap, stubs */
#define STUB_OFFSET 0x4000
#define SITE_MAX    1000
#define SOURCE_MAX  400000
#define IMAGE_AT    UINT64_C(0x100000)

static uint8_t image[AREA_SIZE], again[AREA_SIZE], untouched[AREA_SIZE];
static struct previrt_site sites[SITE_MAX];
static size_t site_count;
static char source[SOURCE_MAX];

static int add_site(void *context, uint64_t address, unsigned slot,
                    const struct previrt_ia64_insn *insn)
{
    (void)context;
    if (site_count == SITE_MAX)
        return 1;
    return previrt_ia64_site_from_insn(insn, address, slot, &sites[site_count++]);
}

/* "0x..." of branch targets become expressions on the label, which is at (base) */
static void relative_to_label(char *text, uint64_t base)
{
    char from[ORACLE_TEXT + 64], *read = from, *end;

    strcpy(from, text);
    while (*read) {
        if (strncmp(read, "0x", 2)) {
            *text++ = *read++;
            continue;
        }
        text += sprintf(text, "code+0x%llx", (unsigned long long)(strtoull(read, &end, 16) - base));
        read = end;
    }
    *text = '\0';
}

static size_t bundle_text(char *out, const uint8_t *bytes, uint64_t address, uint64_t base)
{
    struct previrt_ia64_bundle bundle;
    const struct previrt_ia64_template *t;
    size_t size;

    if (previrt_ia64_unpack(bytes, &bundle) != PREVIRT_OK)
        return 0;
    t = previrt_ia64_template(bundle.template_number);
    size = (size_t)sprintf(out, "{ .%c%c%c\n", t->name[0] | 32, t->name[1] | 32, t->name[2] | 32);
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++) {
        struct previrt_ia64_insn insn;
        char text[ORACLE_TEXT + 64];

        if (t->unit[s] == PREVIRT_IA64_UNIT_L)
            continue;
        if (previrt_ia64_decode_slot(&bundle, s, &insn) != PREVIRT_OK)
            return 0;
        previrt_ia64_text(&insn, address, text, ORACLE_TEXT);
        if (insn.effects & (PREVIRT_IA64_IP_RELATIVE | PREVIRT_IA64_IP_HINT))
            relative_to_label(text, base);
        oracle_assembler_text(text);
        size += (size_t)sprintf(out + size, "%s%s\n", text, t->stops >> s & 1 ? " ;;" : "");
    }
    return size + (size_t)sprintf(out + size, "}\n");
}

static char *slurp(const char *path)
{
    static char text[SOURCE_MAX];
    FILE *f = fopen(path, "r");
    size_t size;

    if (!f) {
        perror(path);
        return NULL;
    }
    size = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[size] = '\0';
    return text;
}

/* Rewrites the code for (target), checks it, reverts. The number of faults. */
static int check(const char *prefix, const char *folder, size_t code_size, const char *name,
                 struct previrt_ia64_target *target)
{
    static const struct previrt_region region = {IMAGE_AT, STUB_OFFSET, image, image,
                                                 PREVIRT_REGION_EXECUTE};
    static const struct previrt_memory memory = {&region, 1};
    static uint64_t buffer[100000];
    struct previrt_ia64_plan_summary summary;
    struct previrt_ia64_refusal refusal;
    struct previrt_ia64_plan *plan;
    size_t at = 0, size = sizeof(again);
    int status, warnings, faults = 0;

    target->stub_address = IMAGE_AT + STUB_OFFSET;
    target->stub_size = AREA_SIZE - STUB_OFFSET;
    status = previrt_ia64_plan(&memory, sites, site_count, target, buffer, sizeof(buffer), &plan);
    if (status != PREVIRT_OK) {
        printf("%s: %s\n", name, previrt_strerror(status));
        for (size_t i = 0; plan && previrt_ia64_plan_refusal(plan, i, &refusal); i++)
            printf("  %llx slot %u: %s\n", (unsigned long long)sites[refusal.site].address,
                   sites[refusal.site].slot, previrt_ia64_reason_text(refusal.reason));
        return 1;
    }
    previrt_ia64_plan_summary(plan, &summary);
    if (previrt_ia64_commit(plan, image + STUB_OFFSET, AREA_SIZE - STUB_OFFSET, NULL) != PREVIRT_OK)
        return 1;
    at = (size_t)sprintf(source, ".text\n.explicit\ncode:\n");
    for (size_t i = 0; i < code_size; i += 16)
        at += bundle_text(source + at, image + i, IMAGE_AT + i, IMAGE_AT);
    at += (size_t)sprintf(source + at, ".org code+0x%x\n", STUB_OFFSET);
    for (size_t i = 0; i < summary.stub_bytes; i += 16)
        at +=
            bundle_text(source + at, image + STUB_OFFSET + i, IMAGE_AT + STUB_OFFSET + i, IMAGE_AT);
    status = oracle_assemble(prefix, folder, "-xexplicit", source, again, &size, &warnings);
    if (status || warnings || size < STUB_OFFSET + summary.stub_bytes) {
        printf("%s: status %d, %d messages, %zu bytes\n", name, status, warnings, size);
        faults++;
    }
    for (size_t i = 0; i < STUB_OFFSET + summary.stub_bytes; i += 16)
        if ((i < code_size || i >= STUB_OFFSET) && memcmp(image + i, again + i, 16)) {
            char text[1000];

            bundle_text(text, image + i, IMAGE_AT + i, IMAGE_AT);
            printf("%s: the assembler makes something else of\n%s", name, text);
            faults++;
        }
    printf("%s: %zu sites: %zu in stubs, %zu breaks, %zu kept; %zu bundles, %zu bytes of stubs; %d "
           "faults\n",
           name, summary.sites, summary.stubbed, summary.broken, summary.kept, summary.bundles,
           summary.stub_bytes, faults);
    if (previrt_ia64_revert(plan, NULL) != PREVIRT_OK || memcmp(image, untouched, STUB_OFFSET)) {
        printf("%s: not reverted\n", name);
        faults++;
    }
    return faults;
}

/* The stubs that (path) has in it. */
static int check_image(const char *prefix, const char *folder, const char *path)
{
    struct previrt_image_section section = {0};
    struct previrt_image *file;
    int status = previrt_image_open(path, &file), warnings = 0, faults = 0;
    size_t at, size, bundles = 0, slots = 0;
    uint8_t *made;
    char *text;

    for (uint32_t i = 1; status == PREVIRT_OK; i++) {
        status = previrt_image_section(file, i, &section);
        if (status == PREVIRT_OK && !strcmp(section.name, PREVIRT_STUB_SECTION))
            break;
    }
    if (status != PREVIRT_OK || !section.size || section.size % 16) {
        printf("%s: no stubs: %s\n", path, previrt_strerror(status));
        return 1;
    }
    size = section.size;
    made = calloc(1, size + 16);
    text = malloc(size / 16 * 4 * (ORACLE_TEXT + 64) + 100);
    if (!made || !text)
        return 1;
    at = (size_t)sprintf(text, ".text\n.explicit\ncode:\n");
    for (size_t i = 0; i < section.size; i += 16) {
        size_t length =
            bundle_text(text + at, section.data + i, section.address + i, section.address);

        if (!length && faults++ < 10)
            printf("%s: %#llx: not a bundle\n", path, (unsigned long long)(section.address + i));
        at += length;
        bundles++;
    }
    status =
        faults ? 1 : oracle_assemble(prefix, folder, "-xexplicit", text, made, &size, &warnings);
    if (status == ORACLE_SKIP)
        goto out;
    if (status || warnings || size < section.size) {
        printf("%s: status %d, %d messages, %zu bytes\n", path, status, warnings, size);
        faults++;
    }
    for (size_t i = 0; i < section.size && !status; i += 16)
        if (memcmp(section.data + i, made + i, 16) && faults++ < 10) {
            char one[1000];

            bundle_text(one, section.data + i, section.address + i, section.address);
            printf("%s: the assembler makes something else of\n%s", path, one);
        }
    for (size_t i = 0; i < section.size; i += 16) {
        struct previrt_ia64_scan_result result;

        previrt_ia64_scan(section.data + i, 16, section.address + i, PREVIRT_IA64_SELECT_SENSITIVE,
                          0, add_site, NULL, &result);
        slots += site_count;
        site_count = 0;
    }
    printf("%s: %zu bundles of generated code, %zu sensitive slots in them: the assembler has %d "
           "messages, and makes the same bytes; %d faults\n",
           path, bundles, slots, warnings, faults);
    status = faults != 0;
out:
    free(text);
    free(made);
    previrt_image_close(file);
    return status;
}

int main(int argc, char **argv)
{
    static const uint64_t page = UINT64_C(0xe0000000ffff0000);
    struct previrt_ia64_target target;
    size_t code_size = STUB_OFFSET;
    int status, warnings, faults = 0;
    char folder[64], *text;

    if (argc < 3 || oracle_open(folder))
        return 2;
    if (argc == 4 && !strcmp(argv[2], "--image")) {
        status = check_image(argv[1], folder, argv[3]);
        oracle_close(folder);
        if (status == ORACLE_SKIP)
            printf("skipped: %sas cannot be run\n", argv[1]);
        return status;
    }
    text = slurp(argv[2]);
    status =
        text ? oracle_assemble(argv[1], folder, "-xexplicit", text, image, &code_size, &warnings)
             : 2;
    if (status == ORACLE_SKIP)
        printf("skipped: %sas cannot be run\n", argv[1]);
    if (!status && warnings) {
        printf("the assembler has %d messages for the original\n", warnings);
        faults++;
    }
    if (!status) {
        memcpy(untouched, image, sizeof(image));
        previrt_ia64_scan(image, code_size, IMAGE_AT, PREVIRT_IA64_SELECT_SENSITIVE, 0, add_site,
                          NULL, NULL);
        previrt_ia64_target_native(&target);
        faults += check(argv[1], folder, code_size, "native", &target);
        previrt_ia64_target_native(&target);
        target.flags = PREVIRT_IA64_TARGET_NEAR;
        faults += check(argv[1], folder, code_size, "native, near", &target);
        /* an operation that must be last in its group, kept in front of one that is replaced */
        previrt_ia64_target_native(&target);
        target.action[PREVIRT_IA64_PTC_G] = PREVIRT_IA64_ACTION_KEEP;
        faults += check(argv[1], folder, code_size, "native, ptc.g kept", &target);
        previrt_ia64_target_vcpu(&target, &page, 0x1f0000);
        faults += check(argv[1], folder, code_size, "vcpu", &target);
        previrt_ia64_target_break(&target, 0x1f0000);
        faults += check(argv[1], folder, code_size, "break", &target);
    }
    oracle_close(folder);
    return status ? status : faults != 0;
}
