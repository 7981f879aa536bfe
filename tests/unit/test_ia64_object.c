/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Annotating IA-64 objects and rewriting executables, on files that are made here: no assembler is
 * needed. tests/ia64/annotate.sh does the same with what GNU as makes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <elf.h>

#include <previrt/annotate.h>
#include <previrt/audit.h>
#include <previrt/image.h>
#include <previrt/rewrite_elf.h>

/* rsm 0x4000;; ssm 0x4000; nop.i | nop.m; nop.i; br.ret b0;; | mov r8=cr.ivr; rum 4; cover;; as GNU
 * as has them */
static const uint8_t text[] = {
    0x0a, 0x00, 0x00, 0x02, 0x07, 0x00, 0x00, 0x00, 0x04, 0x0c, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00,
    0x11, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x80, 0x08, 0x00, 0x84, 0x00,
    0x19, 0x40, 0x00, 0x82, 0x24, 0x04, 0x40, 0x00, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00};
enum { SITES = 5, LAST_BUNDLE = 0x20 };

static const char names[] = "\0.text\0__ex_table\0.rela__ex_table\0.symtab\0.strtab\0.shstrtab";
enum { NAME_TEXT = 1, NAME_TABLE = 7, NAME_RELOCS = 18, NAME_SYMBOLS = 34, NAME_STRINGS = 42 };
enum { NAME_NAMES = 50 };

enum { TEXT = 1, TABLE, RELOCS, SYMBOLS, STRINGS, NAMES, SECTIONS };

struct object {
    Elf64_Ehdr head;
    Elf64_Shdr section[SECTIONS];
    uint8_t text[sizeof(text)];
    uint32_t table[2];
    Elf64_Rela relocs[1];
    Elf64_Sym symbols[3];
    char strings[8];
    char names[sizeof(names)];
};

/* An object whose exception table names slot 1 of the last bundle. */
static struct object make_object(void)
{
    struct object object = {
        .head = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
                             EV_CURRENT},
                 .e_type = ET_REL,
                 .e_machine = EM_IA_64,
                 .e_version = EV_CURRENT,
                 .e_shoff = offsetof(struct object, section),
                 .e_ehsize = sizeof(Elf64_Ehdr),
                 .e_shentsize = sizeof(Elf64_Shdr),
                 .e_shnum = SECTIONS,
                 .e_shstrndx = NAMES},
        .relocs = {{.r_offset = 0,
                    .r_info = ELF64_R_INFO(1, R_IA64_PCREL32LSB),
                    .r_addend = LAST_BUNDLE + 1}},
        .symbols = {{0},
                    {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = TEXT},
                    {.st_name = 1,
                     .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
                     .st_shndx = TEXT,
                     .st_size = sizeof(text)}},
        .strings = "\0f",
    };

    memcpy(object.text, text, sizeof(text));
    memcpy(object.names, names, sizeof(names));
    object.section[TEXT] = (Elf64_Shdr){.sh_name = NAME_TEXT,
                                        .sh_type = SHT_PROGBITS,
                                        .sh_flags = SHF_ALLOC | SHF_EXECINSTR,
                                        .sh_offset = offsetof(struct object, text),
                                        .sh_size = sizeof(text),
                                        .sh_addralign = 16};
    object.section[TABLE] = (Elf64_Shdr){.sh_name = NAME_TABLE,
                                         .sh_type = SHT_PROGBITS,
                                         .sh_flags = SHF_ALLOC,
                                         .sh_offset = offsetof(struct object, table),
                                         .sh_size = sizeof(object.table),
                                         .sh_addralign = 4};
    object.section[RELOCS] = (Elf64_Shdr){.sh_name = NAME_RELOCS,
                                          .sh_type = SHT_RELA,
                                          .sh_offset = offsetof(struct object, relocs),
                                          .sh_size = sizeof(object.relocs),
                                          .sh_link = SYMBOLS,
                                          .sh_info = TABLE,
                                          .sh_entsize = sizeof(Elf64_Rela),
                                          .sh_addralign = 8};
    object.section[SYMBOLS] = (Elf64_Shdr){.sh_name = NAME_SYMBOLS,
                                           .sh_type = SHT_SYMTAB,
                                           .sh_offset = offsetof(struct object, symbols),
                                           .sh_size = sizeof(object.symbols),
                                           .sh_link = STRINGS,
                                           .sh_info = 2,
                                           .sh_entsize = sizeof(Elf64_Sym),
                                           .sh_addralign = 8};
    object.section[STRINGS] = (Elf64_Shdr){.sh_name = NAME_STRINGS,
                                           .sh_type = SHT_STRTAB,
                                           .sh_offset = offsetof(struct object, strings),
                                           .sh_size = sizeof(object.strings),
                                           .sh_addralign = 1};
    object.section[NAMES] = (Elf64_Shdr){.sh_name = NAME_NAMES,
                                         .sh_type = SHT_STRTAB,
                                         .sh_offset = offsetof(struct object, names),
                                         .sh_size = sizeof(names),
                                         .sh_addralign = 1};
    return object;
}

static int annotate(const void *object, size_t size,
                    const struct previrt_ia64_annotate_options *options, void **out,
                    size_t *out_size, struct previrt_ia64_annotate_report *report)
{
    *report = (struct previrt_ia64_annotate_report){.size = sizeof(*report)};
    return previrt_ia64_annotate_object_mem(object, size, options, out, out_size, report);
}

static void every_operation_gets_a_record(void **state)
{
    struct object object = make_object();
    struct previrt_ia64_annotate_report report;
    const struct previrt_image_site *sites;
    const struct previrt_audit *audit;
    struct previrt_image *image;
    size_t size, count;
    void *out;

    (void)state;
    assert_int_equal(annotate(&object, sizeof(object), NULL, &out, &size, &report), PREVIRT_OK);
    assert_int_equal(report.sites, SITES);
    assert_int_equal(report.pinned, 3);
    assert_int_equal(report.bundles, sizeof(text) / 16);
    assert_int_equal(report.by_op[PREVIRT_IA64_COVER], 1);
    /* what there was is where it was */
    assert_memory_equal((uint8_t *)out + sizeof(Elf64_Ehdr),
                        (uint8_t *)&object + sizeof(Elf64_Ehdr),
                        sizeof(object) - sizeof(Elf64_Ehdr));

    assert_int_equal(previrt_image_open_mem(out, size, &image), PREVIRT_OK);
    assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
    assert_int_equal(count, SITES);
    assert_int_equal(sites[0].site.op, PREVIRT_IA64_RSM);
    assert_int_equal(sites[0].site.operand & PREVIRT_IA64_OPERAND_PINNED, 0);
    assert_int_equal(sites[2].site.op, PREVIRT_IA64_MOV_FROM_CR);
    assert_int_equal(sites[2].site.address, LAST_BUNDLE);
    assert_true(sites[2].site.operand & PREVIRT_IA64_OPERAND_PINNED);
    assert_int_equal(sites[4].site.slot, 2);
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    previrt_image_close(image);

    assert_int_equal(previrt_audit_mem(out, size, NULL, &audit), PREVIRT_OK);
    assert_int_equal(audit->arch, PREVIRT_ARCH_IA64);
    assert_int_equal(audit->totals[PREVIRT_ANNOTATED], SITES);
    assert_int_equal(audit->pinned, 3);
    assert_false(previrt_audit_has_findings(audit));
    previrt_audit_free(audit);

    /* a second table would contradict the first */
    {
        void *again;
        size_t again_size;

        assert_int_equal(annotate(out, size, NULL, &again, &again_size, &report), PREVIRT_E_STATE);
    }
    previrt_image_free(out);
}

static void an_audit_notices(void **state)
{
    struct object object = make_object();
    struct previrt_ia64_annotate_report report;
    const struct previrt_audit *audit;
    uint8_t *out;
    size_t size;

    (void)state;
    /* no table */
    assert_int_equal(previrt_audit_mem(&object, sizeof(object), NULL, &audit), PREVIRT_OK);
    assert_int_equal(audit->totals[PREVIRT_MISSED], SITES);
    assert_true(previrt_audit_has_findings(audit));
    previrt_audit_free(audit);

    /* an operation that became another: rum 4 -> sum 4 (x4 4 -> 5... of M44), the record stays */
    assert_int_equal(annotate(&object, sizeof(object), NULL, (void **)(void *)&out, &size, &report),
                     PREVIRT_OK);
    {
        struct previrt_ia64_bundle bundle;
        uint8_t *last = out + offsetof(struct object, text) + LAST_BUNDLE;

        previrt_ia64_unpack(last, &bundle);
        bundle.slot[1] -= UINT64_C(1) << 27; /* x4: 5 is rum, 4 is sum */
        previrt_ia64_pack(&bundle, last);
    }
    assert_int_equal(previrt_audit_mem(out, size, NULL, &audit), PREVIRT_OK);
    assert_int_equal(audit->totals[PREVIRT_MISSED], 1);
    assert_int_equal(audit->stray_count, 1);
    assert_int_equal(audit->strays[0].why, PREVIRT_STRAY_OTHER);
    assert_int_equal(audit->strays[0].found, PREVIRT_IA64_SUM);
    assert_int_equal(audit->check_status, PREVIRT_E_DIGEST);
    previrt_audit_free(audit);
    previrt_image_free(out);

    /* a bundle that the exception table names only afterwards */
    object.relocs[0].r_addend = 0x10;
    assert_int_equal(annotate(&object, sizeof(object), NULL, (void **)(void *)&out, &size, &report),
                     PREVIRT_OK);
    assert_int_equal(report.pinned, 0);
    {
        Elf64_Rela reloc = object.relocs[0];

        reloc.r_addend = 0;
        memcpy(out + offsetof(struct object, relocs), &reloc, sizeof(reloc));
    }
    assert_int_equal(previrt_audit_mem(out, size, NULL, &audit), PREVIRT_OK);
    assert_int_equal(audit->totals[PREVIRT_MISSED], 0);
    assert_int_equal(audit->stray_count, 2);
    assert_int_equal(audit->strays[0].why, PREVIRT_STRAY_NOT_PINNED);
    previrt_audit_free(audit);
    previrt_image_free(out);
}

static void rules_exclude_and_give_room(void **state)
{
    static const char exclude[] = "rule mine\n symbol f\n action exclude\n reason none\n";
    struct previrt_ia64_annotate_options options = {.size = sizeof(options), .stub_room = 0x100};
    struct object object = make_object();
    struct previrt_ia64_annotate_report report;
    struct previrt_rules *rules;
    struct previrt_image *image;
    struct previrt_image_section section;
    size_t size;
    void *out;
    int found = 0;

    (void)state;
    assert_int_equal(previrt_rules_parse(exclude, sizeof(exclude) - 1, &rules, NULL), PREVIRT_OK);
    options.rules = rules;
    assert_int_equal(annotate(&object, sizeof(object), &options, &out, &size, &report), PREVIRT_OK);
    assert_null(out);
    assert_int_equal(report.excluded, SITES);
    assert_int_equal(report.stub_room, 0);
    previrt_rules_free(rules);

    assert_int_equal(previrt_rules_default_for(PREVIRT_ARCH_IA64, &rules), PREVIRT_OK);
    options.rules = rules;
    options.output = "build/init/main.o";
    assert_int_equal(annotate(&object, sizeof(object), &options, &out, &size, &report), PREVIRT_OK);
    assert_int_equal(report.sites, SITES);
    assert_int_equal(report.stub_room, 0x100);
    assert_int_equal(previrt_image_open_mem(out, size, &image), PREVIRT_OK);
    for (uint32_t i = 1; previrt_image_section(image, i, &section) == PREVIRT_OK; i++)
        if (strcmp(section.name, ".bss") == 0) {
            assert_int_equal(section.size, 0x100);
            found++;
        }
    assert_int_equal(found, 1);
    previrt_image_close(image);
    previrt_image_free(out);
    previrt_rules_free(rules);
}

static void what_is_no_object_is_refused(void **state)
{
    struct object object = make_object(), bad;
    struct previrt_ia64_annotate_report report;
    size_t size;
    void *out;

    (void)state;
    bad = object;
    bad.head.e_machine = EM_X86_64;
    assert_int_equal(annotate(&bad, sizeof(bad), NULL, &out, &size, &report), PREVIRT_E_ARCH);
    bad = object;
    bad.head.e_type = ET_EXEC;
    assert_int_equal(annotate(&bad, sizeof(bad), NULL, &out, &size, &report), PREVIRT_E_STATE);
    bad = object;
    bad.relocs[0].r_info = ELF64_R_INFO(77, R_IA64_PCREL32LSB);
    assert_int_equal(annotate(&bad, sizeof(bad), NULL, &out, &size, &report), PREVIRT_E_MALFORMED);
    bad = object; /* a global symbol could be preempted: no relocation may use it */
    bad.symbols[1].st_shndx = SHN_UNDEF;
    assert_int_equal(annotate(&bad, sizeof(bad), NULL, &out, &size, &report), PREVIRT_E_STATE);
    bad = object;
    bad.section[TEXT].sh_offset = sizeof(bad);
    assert_int_equal(annotate(&bad, sizeof(bad), NULL, &out, &size, &report), PREVIRT_E_MALFORMED);
    /* cut anywhere, it is refused or read, never overrun (tests run under ASan, too) */
    for (size_t cut = 0; cut < sizeof(object); cut++) {
        uint8_t *exact = malloc(cut + 1);

        memcpy(exact, &object, cut);
        if (annotate(exact, cut, NULL, &out, &size, &report) == PREVIRT_OK)
            previrt_image_free(out);
        free(exact);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_operation_gets_a_record),
        cmocka_unit_test(an_audit_notices),
        cmocka_unit_test(rules_exclude_and_give_room),
        cmocka_unit_test(what_is_no_object_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
