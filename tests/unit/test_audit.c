/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The audit on small images, which GNU as and ld make here from source. A macro notes where each
 * operation was assembled, so that the table is made without asking the code under test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <previrt/annotate.h>
#include <previrt/audit.h>
#include <previrt/scan.h>

#include "audit/elf_view.h"

#define TEXT_ADDRESS "0xc1000000"
#define NOTE_ADDRESS 0xc0000000u
#define SMAP         "9 * 32 + 20"
#define ALWAYS       "3 * 32 + 21"

/* `site PAD, INSTRUCTION` assembles it with PAD NOP bytes behind and remembers it in .sites. */
static const char prelude[] =
    ".macro site pad, insn:vararg\n"
    "771: \\insn\n"
    "  .if \\pad\n"
    "  .nops \\pad\n"
    "  .endif\n"
    "  .pushsection .sites\n"
    "  .long 771b, \\pad\n"
    "  .popsection\n"
    ".endm\n"
    ".macro alternative original, original_size, replacement, size, cpuid\n"
    "  .pushsection .altinstructions, \"a\"\n"
    "  .long \\original - ., \\replacement - .\n"
    "  .word \\cpuid\n"
    "  .byte \\original_size, \\size\n"
    "  .popsection\n"
    ".endm\n"
    ".text\n"
    ".globl _start\n"
    ".type _start, @function\n"
    "_start:\n";

/* How many times build() puts the table into the image; each is complete and right. */
static unsigned tables = 1;

static char work[] = "/tmp/previrt-test-audit-XXXXXX";

struct image {
    uint8_t *data;
    size_t size;
};

static void put(const char *name, const void *data, size_t size)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", work, name);
    file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static struct image get(const char *name)
{
    struct image image = {NULL, 0};
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", work, name);
    file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    image.size = (size_t)ftell(file);
    rewind(file);
    image.data = malloc(image.size);
    assert_non_null(image.data);
    assert_int_equal(fread(image.data, 1, image.size, file), image.size);
    fclose(file);
    return image;
}

static void command(const char *text)
{
    char line[1024];

    snprintf(line, sizeof(line), "cd %s && %s", work, text);
    if (system(line) != 0)
        fail_msg("failed: %s", text);
}

static void assemble(const char *source, const char *notes, int link)
{
    char *text = malloc(strlen(prelude) + strlen(source) + strlen(notes) + 64);

    assert_non_null(text);
    sprintf(text, "%s%s\n.section .note.previrt, \"a\", @note\n%s\n", prelude, source, notes);
    put("a.s", text, strlen(text));
    free(text);
    command("as --32 -o a.o a.s");
    if (link)
        command("ld -m elf_i386 -e 0 -Ttext=" TEXT_ADDRESS
                " --section-start=.note.previrt=0xc0000000 -o a a.o 2> ld.log || { cat ld.log; "
                "exit 1; }");
}

static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    const struct pv_view *elf = context;
    const struct pv_view_section *section = pv_view_section_at(elf, address);

    if (!section || length > section->size - (address - section->address))
        return NULL;
    return section->data + (address - section->address);
}

/*
 * Assembles and links (source), encodes a table of what `site` remembered, except number (omit),
 * and links again with it. (object) != 0: leaves an object whose table has a relocated anchor.
 */
static struct image build(const char *source, int omit, int object)
{
    struct previrt_site sites[64];
    size_t count = 0, size;
    struct image image;
    struct pv_view elf;
    const struct pv_view_section *list;
    uint8_t notes[2048];

    assemble(source, "", 1);
    image = get("a");
    assert_int_equal(pv_view_open(&elf, image.data, image.size), PREVIRT_OK);
    list = pv_view_section_named(&elf, ".sites");
    for (size_t i = 0; list && i < list->size / 8; i++) {
        struct previrt_ia32_insn insn;
        uint32_t address, pad;

        memcpy(&address, list->data + 8 * i, 4);
        memcpy(&pad, list->data + 8 * i + 4, 4);
        if ((int)i == omit)
            continue;
        assert_int_equal(previrt_ia32_decode_site(text_of(&elf, address, 1), 15, 1, &insn),
                         PREVIRT_OK);
        memset(&sites[count], 0, sizeof(sites[count]));
        sites[count].address = address;
        sites[count].arch = PREVIRT_ARCH_IA32;
        sites[count].pad = (uint8_t)pad;
        previrt_ia32_site_from_insn(&insn, &sites[count]);
        count++;
    }
    size = sizeof(notes);
    assert_int_equal(previrt_table_encode(sites, count, NOTE_ADDRESS, text_of, &elf, notes, &size),
                     PREVIRT_OK);
    for (unsigned copy = 1; copy < tables; copy++) {
        size_t more = sizeof(notes) - size;

        assert_int_equal(previrt_table_encode(sites, count, NOTE_ADDRESS + size, text_of, &elf,
                                              notes + size, &more),
                         PREVIRT_OK);
        size += more;
    }
    put("notes", notes, size);
    pv_view_close(&elf);
    free(image.data);
    if (!object) {
        assemble(source, ".incbin \"notes\"", 1);
        return get("a");
    }
    /* docs/table-format.md: the first anchor stands 28 bytes behind the note's start */
    assemble(source, ".incbin \"notes\", 0, 28\n.long first - .\n.incbin \"notes\", 32", 0);
    return get("a.o");
}

static const struct previrt_audit *audit(const struct image *image, const char *rules_text)
{
    struct previrt_audit_options options = {.size = sizeof(options)};
    const struct previrt_audit *result = NULL;
    struct previrt_rules *rules = NULL;

    if (rules_text)
        assert_int_equal(previrt_rules_parse(rules_text, strlen(rules_text), &rules, NULL),
                         PREVIRT_OK);
    options.rules = rules;
    assert_int_equal(previrt_audit_mem(image->data, image->size, &options, &result), PREVIRT_OK);
    /* reasons of the rules are not looked at after this */
    previrt_rules_free(rules);
    return result;
}

static void done(const struct previrt_audit *result, struct image *image)
{
    previrt_audit_free(result);
    free(image->data);
}

static void expect(const struct previrt_audit *result, unsigned annotated, unsigned excluded,
                   unsigned dormant, unsigned missed)
{
    const uint32_t *totals = result->totals;

    if (totals[PREVIRT_ANNOTATED] != annotated || totals[PREVIRT_EXCLUDED] != excluded ||
        totals[PREVIRT_DORMANT] != dormant || totals[PREVIRT_MISSED] != missed)
        fail_msg("annotated %u excluded %u dormant %u missed %u, wanted %u %u %u %u",
                 totals[PREVIRT_ANNOTATED], totals[PREVIRT_EXCLUDED], totals[PREVIRT_DORMANT],
                 totals[PREVIRT_MISSED], annotated, excluded, dormant, missed);
}

static const char plain_source[] = "first: site 6, cli\n"
                                   "  mov %eax, %ebx\n"
                                   "  site 4, mov %eax, %cr3\n"
                                   "  site 3, rdmsr\n"
                                   "  site 4, .byte 0x3e, 0x3e, 0xfa\n"
                                   "  ret\n";

static void annotated_operations_are_proved(void **state)
{
    struct image image = build(plain_source, -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 4, 0, 0, 0);
    assert_int_equal(result->records, 4);
    assert_int_equal(result->check_status, PREVIRT_OK);
    assert_int_equal(result->undecided_bytes, 0);
    assert_false(previrt_audit_has_findings(result));
    done(result, &image);
}

static void a_missing_record_is_a_missed_operation(void **state)
{
    (void)state;
    for (int omit = 0; omit < 4; omit++) {
        struct image image = build(plain_source, omit, 0);
        const struct previrt_audit *result = audit(&image, NULL);

        expect(result, 3, 0, 0, 1);
        assert_true(previrt_audit_has_findings(result));
        assert_int_equal(result->sites[omit].verdict, PREVIRT_MISSED);
        assert_int_equal(result->sites[omit].missed, PREVIRT_MISSED_NO_RECORD);
        assert_string_equal(result->sites[omit].section, ".text");
        done(result, &image);
    }
}

static void without_a_table_everything_is_missed(void **state)
{
    struct image image;
    const struct previrt_audit *result;

    (void)state;
    assemble(plain_source, "", 1);
    image = get("a");
    result = audit(&image, NULL);
    expect(result, 0, 0, 0, 4);
    assert_false(result->has_table);
    assert_true(previrt_audit_has_findings(result));
    done(result, &image);
}

/* The text changes behind the table's back: the first cli becomes a NOP. */
static void a_record_without_its_operation_is_a_stray(void **state)
{
    struct image image = build(plain_source, -1, 0);
    const struct previrt_audit *result;
    struct pv_view elf;
    size_t offset;

    (void)state;
    assert_int_equal(pv_view_open(&elf, image.data, image.size), PREVIRT_OK);
    offset = (size_t)(pv_view_section_named(&elf, ".text")->data - image.data);
    pv_view_close(&elf);
    assert_int_equal(image.data[offset], 0xfa);
    image.data[offset] = 0x90;
    result = audit(&image, NULL);
    expect(result, 3, 0, 0, 0);
    assert_int_equal(result->stray_count, 1);
    assert_int_equal(result->strays[0].why, PREVIRT_STRAY_NOT_SENSITIVE);
    assert_int_equal(result->strays[0].address, 0xc1000000);
    assert_true(previrt_audit_has_findings(result));
    previrt_audit_free(result);

    image.data[offset] = 0xfb; /* sti is another operation than cli */
    result = audit(&image, NULL);
    expect(result, 3, 0, 0, 1);
    assert_int_equal(result->stray_count, 1);
    assert_int_equal(result->strays[0].why, PREVIRT_STRAY_OTHER);
    assert_int_equal(result->strays[0].found, PREVIRT_IA32_STI);
    assert_int_equal(result->sites[0].missed, PREVIRT_MISSED_OTHER_RECORD);
    previrt_audit_free(result);

    image.data[offset] = 0xfa;
    memset(image.data + offset + 1, 0xfc, 6); /* and a pad must be NOPs, not cld */
    result = audit(&image, NULL);
    assert_int_equal(result->stray_count, 1);
    assert_int_equal(result->strays[0].why, PREVIRT_STRAY_OTHER);
    assert_true(previrt_audit_has_findings(result));
    done(result, &image);
}

static void records_that_overlap_are_strays(void **state)
{
    const struct previrt_audit *result;
    struct image image;

    (void)state;
    tables = 2;
    image = build(plain_source, -1, 0);
    tables = 1;
    result = audit(&image, NULL);
    expect(result, 4, 0, 0, 0);
    assert_int_equal(result->records, 8);
    assert_int_equal(result->stray_count, 4);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(result->strays[i].why, PREVIRT_STRAY_OVERLAP);
    assert_true(previrt_audit_has_findings(result));
    done(result, &image);
}

static void a_fused_record_covers_both_instructions(void **state)
{
    struct image image = build("first: site 3, .byte 0xfb, 0xf4\n ret\n", -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 2, 0, 0, 0);
    assert_int_equal(result->sites[0].fused, 1);
    assert_int_equal(result->sites[1].fused, 2);
    assert_int_equal(result->counts[PREVIRT_ANNOTATED][PREVIRT_IA32_HLT], 1);
    assert_int_equal(result->records, 1);
    done(result, &image);
}

static void rules_exclude_and_say_which(void **state)
{
    static const char rules[] =
        "rule start-up\n section .init.text\n action exclude\n reason why\n";
    struct image image = build("first: site 6, cli\n ret\n"
                               ".section .init.text, \"ax\", @progbits\n"
                               "boot: cli\n hlt\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, rules);

    (void)state;
    expect(result, 1, 2, 0, 0);
    assert_false(previrt_audit_has_findings(result));
    previrt_audit_free(result);
    result = audit(&image, NULL);
    expect(result, 1, 0, 0, 2);
    done(result, &image);
}

static void replacements_are_dormant_behind_their_feature(void **state)
{
    static const char text[] = "first: site 6, cli\n"
                               "661: nop; nop; nop\n"
                               "662: site 3, rdmsr\n"
                               "663: ret\n"
                               ".section .altinstr_replacement, \"ax\", @progbits\n"
                               "664: clac\n"
                               "665: rdtscp\n"
                               "alternative 661b, 3, 664b, 3, \"" SMAP "\"\n"
                               "alternative 662b, 5, 665b, 3, \"%s\"\n";
    char source[1024];
    struct image image;
    const struct previrt_audit *result;

    (void)state;
    snprintf(source, sizeof(source), text, "1 * 32 + 27");
    image = build(source, -1, 0);
    result = audit(&image, NULL);
    expect(result, 2, 0, 2, 0);
    assert_int_equal(result->alternatives, 2);
    assert_int_equal(result->sites[2].feature, PREVIRT_CPUID_SMAP);
    assert_int_equal(result->sites[3].feature, PREVIRT_CPUID_RDTSCP);
    assert_int_equal(result->sites[1].overwritten_by, PREVIRT_CPUID_RDTSCP);
    assert_int_equal(result->sites[0].overwritten_by, 0xffff);
    assert_string_equal(previrt_feature_name(result->sites[2].feature), "smap");
    assert_false(previrt_audit_has_findings(result));
    done(result, &image);

    /* one that always applies, and one that applies where the feature is absent, are not dormant */
    snprintf(source, sizeof(source), text, ALWAYS);
    image = build(source, -1, 0);
    result = audit(&image, NULL);
    expect(result, 2, 0, 1, 1);
    assert_int_equal(result->sites[3].missed, PREVIRT_MISSED_ALWAYS);
    done(result, &image);
    snprintf(source, sizeof(source), text, "(1 * 32 + 27) | 0x8000");
    image = build(source, -1, 0);
    result = audit(&image, NULL);
    expect(result, 2, 0, 1, 1);
    done(result, &image);

    /* and one that no alternative names cannot be excused */
    image = build("first: site 6, cli\n ret\n"
                  ".section .altinstr_replacement, \"ax\", @progbits\n stac\n",
                  -1, 0);
    result = audit(&image, NULL);
    expect(result, 1, 0, 0, 1);
    assert_int_equal(result->sites[1].missed, PREVIRT_MISSED_NO_ALTERNATIVE);
    done(result, &image);
}

static void data_in_text_is_not_code(void **state)
{
    struct image image = build("first: site 6, cli\n ret\n"
                               ".type bytes, @object\n"
                               "bytes: .byte 0xfa, 0xfb, 0xf4, 0x0f, 0x30\n"
                               ".size bytes, . - bytes\n"
                               ".type next, @function\n"
                               "next: site 3, rdmsr\n ret\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 2, 0, 0, 0);
    assert_int_equal(result->data_bytes, 5);
    assert_false(previrt_audit_has_findings(result));
    done(result, &image);
}

/* The addresses in the table hold bytes like c1 00 fa .., which would decode to nonsense. */
static void jump_tables_in_text_are_not_code(void **state)
{
    struct image image = build("first: jmp *7f(, %eax, 4)\n"
                               "  .fill 0xf4, 1, 0x90\n"
                               "1: site 6, cli\n ret\n"
                               "  .fill 0xf2, 1, 0x90\n"
                               "2: nop\n ret\n"
                               "7: .long 1b, 2b, 1b\n"
                               ".type next, @function\n"
                               "next: site 3, rdmsr\n ret\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 2, 0, 0, 0);
    assert_int_equal(result->data_bytes, 12);
    assert_int_equal(result->undecided_bytes, 0);
    done(result, &image);
}

/* mov $imm32, %eax whose immediate is cli; ret, entered by a jump. */
static void operations_inside_instructions_are_found(void **state)
{
    struct image image = build("first: site 6, cli\n"
                               "  test %eax, %eax\n"
                               "  jz 1f + 1\n"
                               "1: .byte 0xb8, 0xfa, 0xc3, 0x90, 0x90\n"
                               "  ret\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 1, 0, 0, 1);
    assert_int_equal(result->sites[1].overlapping, 1);
    assert_int_equal(result->sites[1].op, PREVIRT_IA32_CLI);
    done(result, &image);
}

static void what_cannot_be_decoded_is_undecided(void **state)
{
    /* 06 is no instruction in front of ff ff; fa could be cli */
    struct image image = build("first: site 6, cli\n ret\n"
                               "  .byte 0xfa, 0x90, 0xff, 0xff, 0xff\n"
                               ".type next, @function\n"
                               "next: site 3, rdmsr\n ret\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 2, 0, 0, 0);
    assert_int_equal(result->undecided_count, 1);
    assert_int_equal(result->undecided[0].length, 5);
    assert_int_equal(result->undecided[0].op, PREVIRT_IA32_CLI);
    assert_true(previrt_audit_has_findings(result));
    done(result, &image);

    image = build("first: site 6, cli\n ret\n"
                  "  .byte 0x90, 0xff, 0xff, 0xff\n"
                  ".type next, @function\n"
                  "next: site 3, rdmsr\n ret\n",
                  -1, 0);
    result = audit(&image, NULL);
    expect(result, 2, 0, 0, 0);
    assert_int_equal(result->undecided_bytes, 4);
    assert_int_equal(result->undecided[0].op, PREVIRT_IA32_NO_OP);
    assert_false(previrt_audit_has_findings(result));
    done(result, &image);
}

/* A stray byte swallows the first byte of the next function: its operation is found all the same.
 */
static void the_sweep_resynchronises_at_symbols(void **state)
{
    struct image image = build("first: site 6, cli\n ret\n"
                               "  .byte 0xb8\n" /* mov $imm32 */
                               ".type next, @function\n"
                               "next: site 3, rdmsr\n site 6, cli\n ret\n",
                               -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 3, 0, 0, 0);
    assert_int_equal(result->undecided_count, 1);
    assert_int_equal(result->undecided[0].out_of_sync, 1);
    assert_int_equal(result->undecided[0].length, 1);
    done(result, &image);
}

static void small_room_is_reported_and_is_no_finding(void **state)
{
    struct image image = build("first: site 0, cli\n site 6, cli\n site 1, rdmsr\n ret\n", -1, 0);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 3, 0, 0, 0);
    assert_int_equal(result->shortfalls, 2);
    assert_int_equal(result->sites[0].room, 1);
    assert_int_equal(result->sites[0].wanted, previrt_ia32_op_info(PREVIRT_IA32_CLI)->room);
    assert_false(previrt_audit_has_findings(result));
    done(result, &image);
}

static void objects_are_audited_with_their_relocations(void **state)
{
    struct image image = build(plain_source, -1, 1);
    const struct previrt_audit *result = audit(&image, NULL);

    (void)state;
    expect(result, 4, 0, 0, 0);
    assert_int_equal(result->check_status, PREVIRT_OK);
    assert_int_equal(result->sites[0].address, 0); /* an offset in the section */
    done(result, &image);
}

static void stripped_images_are_swept(void **state)
{
    struct image image = build(plain_source, -1, 0);
    const struct previrt_audit *result;

    (void)state;
    free(image.data);
    command("strip a");
    image = get("a");
    result = audit(&image, NULL);
    expect(result, 4, 0, 0, 0);
    assert_false(result->has_symbols);
    done(result, &image);
}

static uint32_t random_state = 0x9e3779b9;

static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* Cut at every length and with random bytes: an answer or a status, never a crash (run it under
 * sanitizers). */
static void hostile_files_are_survived(void **state)
{
    struct image image = build(plain_source, -1, 0);
    const struct previrt_audit *result;
    unsigned refused = 0, answered = 0;

    (void)state;
    for (size_t size = 0; size < image.size; size += 1 + size / 128) {
        uint8_t *copy = malloc(size + 1);
        struct previrt_scan_result scanned = {.size = sizeof(scanned)};

        assert_non_null(copy);
        copy = realloc(copy, size ? size : 1);
        memcpy(copy, image.data, size);
        if (previrt_audit_mem(copy, size, NULL, &result) == PREVIRT_OK)
            previrt_audit_free(result);
        else
            refused++;
        previrt_scan_mem(copy, size, NULL, &scanned);
        free(copy);
    }
    for (unsigned round = 0; round < 1000; round++) {
        uint8_t *copy = malloc(image.size);

        assert_non_null(copy);
        memcpy(copy, image.data, image.size);
        for (unsigned i = 0; i < 4; i++) {
            /* headers, symbols and section table more often than text */
            size_t at = next_random() % 2 ? next_random() % 64
                                          : image.size - 1 - next_random() % (image.size / 4);
            copy[at] = (uint8_t)(next_random() >> 9);
        }
        if (previrt_audit_mem(copy, image.size, NULL, &result) == PREVIRT_OK) {
            previrt_audit_free(result);
            answered++;
        } else {
            refused++;
        }
        free(copy);
    }
    assert_true(refused > 100 && answered > 100);
    free(image.data);
}

static int set_up(void **state)
{
    (void)state;
    return mkdtemp(work) ? 0 : -1;
}

static int tear_down(void **state)
{
    char line[256];

    (void)state;
    snprintf(line, sizeof(line), "rm -rf %s", work);
    return system(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(annotated_operations_are_proved),
        cmocka_unit_test(a_missing_record_is_a_missed_operation),
        cmocka_unit_test(without_a_table_everything_is_missed),
        cmocka_unit_test(a_record_without_its_operation_is_a_stray),
        cmocka_unit_test(records_that_overlap_are_strays),
        cmocka_unit_test(a_fused_record_covers_both_instructions),
        cmocka_unit_test(rules_exclude_and_say_which),
        cmocka_unit_test(replacements_are_dormant_behind_their_feature),
        cmocka_unit_test(data_in_text_is_not_code),
        cmocka_unit_test(jump_tables_in_text_are_not_code),
        cmocka_unit_test(operations_inside_instructions_are_found),
        cmocka_unit_test(what_cannot_be_decoded_is_undecided),
        cmocka_unit_test(the_sweep_resynchronises_at_symbols),
        cmocka_unit_test(small_room_is_reported_and_is_no_finding),
        cmocka_unit_test(objects_are_audited_with_their_relocations),
        cmocka_unit_test(stripped_images_are_swept),
        cmocka_unit_test(hostile_files_are_survived),
    };

    if (system("as --version > /dev/null 2>&1 && ld --version > /dev/null 2>&1") != 0) {
        printf("skipped: no GNU as and ld\n");
        return 77;
    }
    return cmocka_run_group_tests_name("audit", tests, set_up, tear_down);
}
