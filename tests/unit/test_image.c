/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Images: the finish pass over objects that the system's assembler makes, tables of objects and
 * linked images, attaching, and files that are refused. Needs GNU as, ld and ar for i386; says so
 * if they are missing.
 */
#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <previrt/image.h>

#include "image/elf.h"
#include "table/table.h"

/* What `previrt as` emits (src/asm/annotate.c). */
#define NOTE_FLAGS(flags)                                                                          \
    ".pushsection .note.previrt,0,\"" flags ";.balign 4;.long 8,8086704f-8086703f,2;"              \
    ".ascii \"Previrt\\0\";8086703:;.subsection 2;8086704:;.popsection\n"
#define NOTE NOTE_FLAGS("a\",@note")
#define RECORD(push, room, op, flags)                                                              \
    ";8086702:.pushsection .note.previrt,1" push ";.long 8086701b-.;.byte " room "," op "," flags  \
    ",0;.popsection\n"
#define SITE(text, op, flags) "8086701:" text RECORD("", "8086702b-8086701b", op, flags)
#define DORMANT(text, op)     "8086701:" text RECORD("", "0", op, "0")
#define PROBE                 "8086701:" RECORD("", "0", "0", "0")

static char directory[] = "/tmp/previrt-image-XXXXXX";
static int have_tools;

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
    char command[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(command, sizeof(command), format, arguments);
    va_end(arguments);
    return system(command);
}

static void path_of(char path[256], const char *name)
{
    snprintf(path, 256, "%s/%s", directory, name);
}

/* Assembles (text) into (name). */
static void assemble(const char *name, const char *text)
{
    char path[256];
    FILE *file;

    path_of(path, "in.s");
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(run("as --32 -o %s/%s %s/in.s", directory, name, directory), 0);
}

static int finish(const char *name, struct previrt_finish_report *report)
{
    char path[256];

    path_of(path, name);
    if (report) {
        memset(report, 0, sizeof(*report));
        report->size = sizeof(*report);
    }
    return previrt_image_finish_object(path, report);
}

static uint8_t *read_whole(const char *name, size_t *size)
{
    uint8_t *data = malloc(1 << 22);
    char path[256];
    FILE *file;

    path_of(path, name);
    file = fopen(path, "r");
    assert_non_null(file);
    *size = fread(data, 1, 1 << 22, file);
    fclose(file);
    return data;
}

static struct previrt_image *open_image(const char *name)
{
    struct previrt_image *image;
    char path[256];

    path_of(path, name);
    assert_int_equal(previrt_image_open(path, &image), PREVIRT_OK);
    return image;
}

static int setup(void **state)
{
    (void)state;
    if (!mkdtemp(directory))
        return -1;
    have_tools =
        run("cd %s && echo .text > t.s && as --32 -o t.o t.s && ld -m elf_i386 -r -o u.o t.o "
            "&& ar rc t.a t.o 2>/dev/null",
            directory) == 0;
    if (!have_tools)
        print_message("skipped: no GNU as, ld and ar that know i386\n");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return run("rm -r %s", directory);
}

#define NEED_TOOLS()                                                                               \
    do {                                                                                           \
        (void)state;                                                                               \
        if (!have_tools)                                                                           \
            skip();                                                                                \
    } while (0)

static const char program[] = NOTE ".text\n.globl f\n.type f,@function\nf:" SITE(
    ".byte 0x3e,0x3e;cli", "1",
    "1") " ret\n"
         ".section .altinstr_replacement,\"ax\"\n1:" DORMANT("stac", "71") "2:" DORMANT(
             "clac",
             "70") "3:\n.section .altinstructions,\"a\"\n"
                   ".long f-.,1b-.;.word 9*32+20;.byte 3,2b-1b\n"
                   ".long f-.,2b-.;.word 0x8000|9*32+20;.byte 3,3b-2b\n" /* where the feature is
                                                                            absent */
                   ".section .text.later,\"ax\"\n.skip 16,0x90\n" SITE(
                       "sti;hlt", "6", "0") ".text\n g:" SITE("mov %eax,%cr3;xchg %ax,%ax", "0",
                                                              "0") /* an unknown operation */
    SITE("nop;nop", "0", "0");                                     /* that turns out to be none */

static const struct {
    uint8_t op, length, pad, flags;
    uint16_t feature;
    const char *symbol;
} wanted[] = {
    {PREVIRT_IA32_CLI, 3, 0, PREVIRT_SITE_FLAGS_DEAD, 0, "f"},
    {PREVIRT_IA32_MOV_TO_CR, 3, 2, 0, 0, "g"},
    {PREVIRT_IA32_STAC, 0, 0, PREVIRT_SITE_DORMANT, PREVIRT_CPUID_SMAP, NULL},
    {PREVIRT_IA32_CLAC, 0, 0, PREVIRT_SITE_DORMANT, PREVIRT_FEATURE_UNKNOWN, NULL},
    {PREVIRT_IA32_STI_HLT, 2, 0, 0, 0, NULL},
};
enum { WANTED = sizeof(wanted) / sizeof(wanted[0]) };

/* The sites of (image) are those of the program, (copies) times, in whatever order of sections. */
static void assert_program(struct previrt_image *image, unsigned copies)
{
    const struct previrt_image_site *sites;
    unsigned seen[WANTED] = {0};
    size_t count;

    assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
    assert_int_equal(count, (size_t)WANTED * copies);
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < WANTED; j++) {
            const struct previrt_site *site = &sites[i].site;

            if (site->op != wanted[j].op)
                continue;
            seen[j]++;
            assert_int_equal(site->length, wanted[j].length);
            assert_int_equal(site->pad, wanted[j].pad);
            assert_int_equal(site->flags, wanted[j].flags);
            assert_int_equal(site->feature, wanted[j].feature);
            if (wanted[j].symbol)
                assert_string_equal(previrt_image_symbol(image, site->address, NULL),
                                    wanted[j].symbol);
        }
    for (size_t j = 0; j < WANTED; j++)
        assert_int_equal(seen[j], copies);
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
}

/* A record without operation and room names a replacement: all that it holds becomes dormant. */
static void replacements_are_looked_through(void **state)
{
    static const struct {
        uint8_t op;
        uint16_t feature;
    } expected[] = {{PREVIRT_IA32_RDTSC, 3 * 32 + 18},
                    {PREVIRT_IA32_CLI, 3 * 32 + 18},
                    {PREVIRT_IA32_RDTSCP, 1 * 32 + 27}};
    struct previrt_finish_report report;
    const struct previrt_image_site *sites;
    struct previrt_image *image;
    size_t count;

    NEED_TOOLS();
    assemble("r.o", NOTE ".text\nf: .skip 16,0x90\n"
                         ".section .altinstr_replacement,\"ax\"\n"
                         "1:" PROBE "lfence; rdtsc; mov $0xfa,%al; cli\n"
                         "2:" PROBE "\n" /* nothing: the next one's record has the same address */
                         "3:" PROBE "rdtscp\n4:" PROBE "\n"
                         ".section .altinstructions,\"a\"\n"
                         ".long f-.,1b-.;.word 3*32+18;.byte 8,2b-1b\n"
                         ".long f-.,2b-.;.word 9*32+20;.byte 3,3b-2b\n"
                         ".long f-.,3b-.;.word 1*32+27;.byte 3,4b-3b\n");
    assert_int_equal(finish("r.o", &report), PREVIRT_OK);
    assert_int_equal(report.sites, 3);
    assert_int_equal(report.dormant, 3);
    assert_int_equal(report.unknown_feature, 0);
    image = open_image("r.o");
    assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(sites[i].site.op, expected[i].op);
        assert_int_equal(sites[i].site.flags, PREVIRT_SITE_DORMANT);
        assert_int_equal(sites[i].site.feature, expected[i].feature);
    }
    previrt_image_close(image);
    /* and a linker takes it */
    assert_int_equal(
        run("cd %s && ld -m elf_i386 -r -o r2.o r.o && ld -m elf_i386 -e f -o r.elf r2.o "
            "2>/dev/null",
            directory),
        0);
    image = open_image("r.elf");
    assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
    assert_int_equal(count, 3);
    previrt_image_close(image);
}

static void objects_are_finished(void **state)
{
    struct previrt_finish_report report;
    struct previrt_image *image;
    uint8_t *before, *after;
    size_t size, size_after;

    NEED_TOOLS();
    assemble("p.o", program);
    image = open_image("p.o");
    {
        const struct previrt_image_site *sites;
        size_t count;

        assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_E_UNFINISHED);
    }
    previrt_image_close(image);

    before = read_whole("p.o", &size);
    assert_int_equal(finish("p.o", &report), PREVIRT_OK);
    assert_int_equal(report.sites, WANTED);
    assert_int_equal(report.dormant, 2);
    assert_int_equal(report.unknown_feature, 1);
    assert_int_equal(report.dropped, 1);
    assert_int_equal(report.runs, 3);
    assert_int_equal(report.by_op[PREVIRT_IA32_STI_HLT], 1);
    image = open_image("p.o");
    assert_program(image, 1);
    previrt_image_close(image);

    /* from memory it is the same; a second time changes nothing */
    after = read_whole("p.o", &size_after);
    before = realloc(before, size + 4096);
    assert_int_equal(previrt_image_finish_object_mem(before, &size, size + 4096, NULL), PREVIRT_OK);
    assert_int_equal(size, size_after);
    assert_memory_equal(before, after, size);
    assert_int_equal(previrt_image_finish_object_mem(before, &size, size, NULL), PREVIRT_OK);
    assert_memory_equal(before, after, size_after);
    free(before);
    free(after);

    /* one site: the finished fragment is larger, and goes behind the file */
    assemble("one.o", NOTE ".text\n" SITE("cli;nop", "1", "0"));
    before = read_whole("one.o", &size);
    assert_int_equal(previrt_image_finish_object_mem(before, &size, size, NULL), PREVIRT_E_SPACE);
    size_after = size;
    assert_int_equal(previrt_image_finish_object_mem(before, &size, 1 << 22, NULL), PREVIRT_OK);
    assert_true(size > size_after);
    assert_int_equal(previrt_image_open_mem(before, size, &image), PREVIRT_OK);
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    previrt_image_close(image);
    free(before);
}

/* Turns the relocations of the i386 object (data) into ones with addends, as other linkers and
 * assemblers write them. The new size; there is room for it. */
static size_t with_addends(uint8_t *data, size_t size)
{
    Elf32_Ehdr *header = (void *)data;
    Elf32_Shdr *sections = (void *)(data + header->e_shoff);

    for (unsigned i = 1; i < header->e_shnum; i++) {
        Elf32_Shdr *section = &sections[i];
        const Elf32_Rel *before = (const void *)(data + section->sh_offset);
        size_t count = section->sh_size / sizeof(*before);
        Elf32_Rela *after;

        if (section->sh_type != SHT_REL)
            continue;
        size = (size + 3) & ~(size_t)3;
        after = (void *)(data + size);
        for (size_t j = 0; j < count; j++) {
            uint8_t *field = data + sections[section->sh_info].sh_offset + before[j].r_offset;

            after[j].r_offset = before[j].r_offset;
            after[j].r_info = before[j].r_info;
            memcpy(&after[j].r_addend, field, 4);
            memset(field, 0x5a, 4); /* what stands there is nobody's business any more */
        }
        section->sh_type = SHT_RELA;
        section->sh_entsize = sizeof(*after);
        section->sh_offset = (Elf32_Off)size;
        section->sh_size = (Elf32_Word)(count * sizeof(*after));
        size += section->sh_size;
    }
    return size;
}

static void objects_with_addends_are_finished(void **state)
{
    enum { CAPACITY = 1 << 22 };
    static const struct {
        const char *text;
        unsigned sites, dormant;
    } objects[] = {
        {program, WANTED, 2},
        /* its finished fragment does not fit where the raw one was */
        {NOTE ".text\n" SITE("cli;nop", "1", "0"), 1, 0},
        {NOTE ".text\nf: .skip 16,0x90\n.section .altinstr_replacement,\"ax\"\n.skip 5,0x90\n"
              "1:" PROBE "rdtsc; cli\n2:.section .altinstructions,\"a\"\n"
              ".long f-.,1b-.;.word 3*32+18;.byte 8,2b-1b\n",
         2, 2},
    };

    NEED_TOOLS();
    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        struct previrt_finish_report report = {.size = sizeof(report)};
        struct previrt_image *image, *with_rel;
        const struct previrt_image_site *sites, *expected;
        size_t size, count, expected_count;
        uint8_t *data;

        assemble("rela.o", objects[i].text);
        data = read_whole("rela.o", &size);
        size = with_addends(data, size);
        assert_int_equal(previrt_image_finish_object_mem(data, &size, CAPACITY, &report),
                         PREVIRT_OK);
        assert_int_equal(report.sites, objects[i].sites);
        assert_int_equal(report.dormant, objects[i].dormant);
        assert_int_equal(previrt_image_open_mem(data, size, &image), PREVIRT_OK);
        assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
        assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
        assert_int_equal(count, objects[i].sites);
        /* the same sites as with the addends in the fields */
        assert_int_equal(finish("rela.o", NULL), PREVIRT_OK);
        with_rel = open_image("rela.o");
        assert_int_equal(previrt_image_sites(with_rel, &expected, &expected_count), PREVIRT_OK);
        assert_int_equal(expected_count, count);
        for (size_t j = 0; j < count; j++)
            assert_memory_equal(&sites[j].site, &expected[j].site, sizeof(sites[j].site));
        previrt_image_close(with_rel);
        previrt_image_close(image);
        free(data);
    }
}

/* The compact form of many sites is smaller and takes the place of the raw one. */
static void large_tables_shrink_in_place(void **state)
{
    struct previrt_finish_report report;
    struct previrt_image *image;
    char *text = malloc(1 << 20);
    size_t used, size, size_after;

    NEED_TOOLS();
    used = (size_t)sprintf(text, "%s.text\n", NOTE);
    for (unsigned i = 0; i < 300; i++)
        used += (size_t)sprintf(text + used, "%s nop\n", SITE("sti;nop", "2", "0"));
    assemble("many.o", text);
    free(read_whole("many.o", &size));
    assert_int_equal(finish("many.o", &report), PREVIRT_OK);
    free(read_whole("many.o", &size_after));
    assert_int_equal(size, size_after);
    assert_int_equal(report.sites, 300);
    assert_int_equal(report.runs, 1);
    assert_true(report.table_bytes < report.raw_bytes);
    image = open_image("many.o");
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    previrt_image_close(image);
    free(text);
}

static void comdat_groups_keep_their_own_table(void **state)
{
    static const char group[] = NOTE NOTE_FLAGS("aG\",@note,thunk,comdat") ".text\n" SITE(
        "cli;nop", "1", "0") ".section .text.thunk,\"axG\",@progbits,thunk,comdat\n"
                             "8086701:hlt" RECORD(",\"aG\",@note,thunk,comdat", "8086702b-8086701b",
                                                  "5", "0");
    struct previrt_finish_report report;
    const struct previrt_image_site *sites;
    struct previrt_image *image;
    size_t count;

    NEED_TOOLS();
    assemble("g1.o", group);
    assert_int_equal(finish("g1.o", &report), PREVIRT_OK);
    assert_int_equal(report.notes, 2);
    assert_int_equal(report.sites, 2);
    assert_int_equal(
        run("cd %s && cp g1.o g2.o && ld -m elf_i386 -Ttext=0x100000 -e 0 -o g g1.o g2.o",
            directory),
        0);
    image = open_image("g");
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    assert_int_equal(previrt_image_sites(image, &sites, &count), PREVIRT_OK);
    assert_int_equal(count, 3); /* two cli; one hlt is left of the group */
    previrt_image_close(image);
}

static void mismatches_are_reported_and_nothing_is_written(void **state)
{
    static const struct {
        const char *text;
        int status;
        uint8_t expected, found;
    } bad[] = {
        {SITE("cli", "2", "0"), PREVIRT_E_BYTES, PREVIRT_IA32_STI, PREVIRT_IA32_CLI},
        {SITE("nop", "1", "0"), PREVIRT_E_OPERATION, PREVIRT_IA32_CLI, 0},
        {SITE("cli;ret", "1", "0"), PREVIRT_E_TAIL, PREVIRT_IA32_CLI, PREVIRT_IA32_CLI},
        {SITE("sti;hlt", "2", "0"), PREVIRT_E_TAIL, PREVIRT_IA32_STI, PREVIRT_IA32_STI},
        {"8086701:lgdt f" RECORD("", "2", "39", "0"), PREVIRT_E_ROOM, PREVIRT_IA32_LGDT, 0},
        {"8086701:cli" RECORD("", "9", "1", "0"), PREVIRT_E_RANGE, PREVIRT_IA32_CLI, 0},
        {"8086701:cli" RECORD("", "1", "1", "0") RECORD("", "1", "1", "0"), PREVIRT_E_OVERLAP,
         PREVIRT_IA32_CLI, PREVIRT_IA32_CLI},
    };
    struct previrt_finish_report report;

    NEED_TOOLS();
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char text[4096];
        uint8_t *before, *after;
        size_t size, size_after;

        snprintf(text, sizeof(text), "%s.section .text.x,\"ax\"\nf:%s", NOTE, bad[i].text);
        assemble("bad.o", text);
        before = read_whole("bad.o", &size);
        assert_int_equal(finish("bad.o", &report), PREVIRT_E_BYTES);
        after = read_whole("bad.o", &size_after);
        assert_int_equal(size, size_after);
        assert_memory_equal(before, after, size);
        assert_int_equal(report.mismatch_count, 1);
        assert_int_equal(report.mismatches[0].status, bad[i].status);
        assert_int_equal(report.mismatches[0].expected, bad[i].expected);
        assert_int_equal(report.mismatches[0].found, bad[i].found);
        assert_int_equal(report.mismatches[0].offset, 0);
        assert_string_equal(report.mismatches[0].section, ".text.x");
        free(before);
        free(after);
    }
}

/* More sections than 16 bits can number: SHN_XINDEX. */
static void objects_of_many_sections_are_finished(void **state)
{
    struct previrt_finish_report report;
    struct previrt_image *image;
    char path[256];
    FILE *file;

    NEED_TOOLS();
    path_of(path, "many.s");
    file = fopen(path, "w");
    fprintf(file,
            "%s.altmacro\n.macro sec n\n.section .data.\\n,\"aw\"\n.byte 0\n.endm\n"
            ".set i,0\n.rept 65500\nsec %%i\n.set i,i+1\n.endr\n"
            ".section .text.last,\"ax\"\nlast:%s",
            NOTE, SITE("cli;nop", "1", "0"));
    fclose(file);
    assert_int_equal(run("as --32 -o %s/many-sections.o %s", directory, path), 0);
    assert_int_equal(finish("many-sections.o", &report), PREVIRT_OK);
    assert_int_equal(report.sites, 1);
    image = open_image("many-sections.o");
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    previrt_image_close(image);
}

static void linked_tables_verify_attach_and_extract(void **state)
{
    struct previrt_finish_report report;
    struct previrt_image_info info = {.size = sizeof(info)};
    struct previrt_image *image, *attached;
    void *out, *notes;
    size_t size, notes_size;

    NEED_TOOLS();
    assemble("p.o", program);
    assert_int_equal(finish("p.o", &report), PREVIRT_OK);
    assert_int_equal(
        run("cd %s && ld -m elf_i386 -r -o q.o p.o && objcopy --redefine-sym f=f2 q.o && "
            "ld -m elf_i386 -e 0 -Ttext=0xc1000000 -o one p.o && "
            "ld -m elf_i386 -e 0 -Ttext=0xc1000000 -o two p.o q.o && "
            "ld -m elf_i386 -shared -z notext -o so p.o",
            directory),
        0);
    image = open_image("so");
    assert_program(image, 1);
    previrt_image_close(image);

    /* one fragment: what is left is too small for filler, so the table gets a section of its own */
    image = open_image("one");
    assert_program(image, 1);
    assert_int_equal(previrt_image_attach(image, NULL, 0, &out, &size), PREVIRT_OK);
    assert_int_equal(previrt_image_open_mem(out, size, &attached), PREVIRT_OK);
    assert_program(attached, 1);
    previrt_image_info(attached, &info);
    assert_int_equal(info.attached, 1);
    assert_int_equal(info.fragments, 1);
    previrt_image_close(attached);
    previrt_image_free(out);
    /* and so does a table from outside */
    assert_int_equal(previrt_image_extract(image, &notes, &notes_size), PREVIRT_OK);
    assert_int_equal(previrt_image_attach(image, notes, notes_size, &out, &size), PREVIRT_OK);
    assert_int_equal(previrt_image_open_mem(out, size, &attached), PREVIRT_OK);
    assert_program(attached, 1);
    previrt_image_close(attached);
    previrt_image_free(out);
    ((uint8_t *)notes)[PV_NOTE_DESC + PV_DESC_DIGEST] ^= 1;
    assert_int_equal(previrt_image_attach(image, notes, notes_size, &out, &size), PREVIRT_E_DIGEST);
    previrt_image_free(notes);
    previrt_image_close(image);

    /* two fragments become one in their place: no byte outside the table changes */
    image = open_image("two");
    assert_int_equal(previrt_image_verify(image, NULL, NULL), PREVIRT_OK);
    assert_int_equal(previrt_image_attach(image, NULL, 0, &out, &size), PREVIRT_OK);
    assert_int_equal(previrt_image_open_mem(out, size, &attached), PREVIRT_OK);
    assert_int_equal(previrt_image_verify(attached, NULL, NULL), PREVIRT_OK);
    previrt_image_info(attached, &info);
    assert_int_equal(info.fragments, 1);
    assert_int_equal(info.attached, 0);
    assert_int_equal(info.sites, 2 * WANTED);
    previrt_image_close(attached);
    {
        size_t original_size, changed = 0;
        uint8_t *original = read_whole("two", &original_size);

        assert_int_equal(size, original_size);
        for (size_t i = 0; i < size; i++)
            changed += original[i] != ((uint8_t *)out)[i];
        assert_in_range(changed, 1, 150);
        free(original);
    }
    previrt_image_free(out);
    previrt_image_close(image);
}

struct faults {
    unsigned count;
    int status;
    uint64_t address, value;
};

static int remember(void *context, const struct previrt_image_fault *fault)
{
    struct faults *faults = context;

    if (!faults->count++) {
        faults->status = fault->status;
        faults->address = fault->site.address;
        faults->value = fault->value;
    }
    return 0;
}

static void verify_names_what_is_wrong(void **state)
{
    struct previrt_finish_report report;
    struct previrt_image_section section;
    struct faults faults = {0};
    struct previrt_image *image;
    uint8_t *data;
    size_t size;

    NEED_TOOLS();
    assemble("v.o", NOTE ".text\n" SITE("cli;nop", "1", "0") "ret\n" SITE("hlt;nop", "5", "0"));
    assert_int_equal(finish("v.o", &report), PREVIRT_OK);
    assert_int_equal(run("cd %s && ld -m elf_i386 -e 0 -Ttext=0x100000 -o v v.o", directory), 0);
    data = read_whole("v", &size);
    assert_int_equal(previrt_image_open_mem(data, size, &image), PREVIRT_OK);
    assert_int_equal(previrt_image_locate(image, 0x100000, &section), PREVIRT_OK);
    data[section.offset + 3] = 0xfb; /* hlt becomes sti */
    assert_int_equal(previrt_image_verify(image, remember, &faults), PREVIRT_E_BYTES);
    assert_int_equal(faults.count, 2); /* the bytes and the digest */
    assert_int_equal(faults.address, 0x100003);
    assert_int_equal(faults.value, 0xfb);
    previrt_image_close(image);

    /* two fragments that claim the same site: the linker cannot make it, a copied note can */
    free(data);
    assert_int_equal(run("cd %s && objcopy -O binary -j .note.previrt v n && cat n n > nn && "
                         "objcopy --update-section .note.previrt=nn v w 2>/dev/null",
                         directory),
                     0);
    data = read_whole("w", &size);
    assert_int_equal(previrt_image_open_mem(data, size, &image), PREVIRT_OK);
    memset(&faults, 0, sizeof(faults));
    assert_true(previrt_image_verify(image, remember, &faults) < 0);
    assert_true(faults.count > 0);
    previrt_image_close(image);
    free(data);
}

/* Every prefix of a file, and every byte of its headers broken: nothing but a status. */
static void broken_files_are_refused(void **state)
{
    struct previrt_finish_report report;
    uint8_t *data;
    size_t size;

    NEED_TOOLS();
    assemble("p.o", program);
    data = read_whole("p.o", &size);
    for (size_t cut = 0; cut < size; cut++) {
        struct previrt_image *image = NULL;
        uint8_t *part = malloc(cut + 4096);
        size_t part_size = cut;

        memcpy(part, data, cut);
        assert_true(previrt_image_open_mem(part, cut, &image) < 0); /* section headers are last */
        assert_null(image);
        memset(&report, 0, sizeof(report));
        report.size = sizeof(report);
        assert_true(previrt_image_finish_object_mem(part, &part_size, cut + 4096, &report) < 0);
        free(part);
    }
    for (size_t i = 0; i < size; i++) {
        struct previrt_image *image = NULL;
        uint8_t *changed = malloc(size + 4096);
        size_t changed_size = size;

        memcpy(changed, data, size);
        changed[i] ^= 0xff;
        if (previrt_image_finish_object_mem(changed, &changed_size, size + 4096, NULL) ==
                PREVIRT_OK &&
            previrt_image_open_mem(changed, changed_size, &image) == PREVIRT_OK) {
            previrt_image_verify(image, NULL, NULL);
            previrt_image_close(image);
        }
        free(changed);
    }
    free(data);
}

static int count_member(void *context, const char *name, const void *data, size_t size)
{
    struct previrt_image *image;
    unsigned *count = context;

    assert_non_null(strstr(name, ".o"));
    assert_int_equal(previrt_image_open_mem(data, size, &image), PREVIRT_OK);
    previrt_image_close(image);
    ++*count;
    return 0;
}

static void archives_give_their_members(void **state)
{
    unsigned count = 0;
    uint8_t *data;
    size_t size;

    NEED_TOOLS();
    assemble("a-name-that-is-longer-than-fifteen.o", program);
    assert_int_equal(run("cd %s && ar rcs m.a t.o a-name-that-is-longer-than-fifteen.o", directory),
                     0);
    data = read_whole("m.a", &size);
    assert_int_equal(previrt_image_archive_mem(data, size, count_member, &count), PREVIRT_OK);
    assert_int_equal(count, 2);
    assert_int_equal(previrt_image_archive_mem(data, size - 2, count_member, &count),
                     PREVIRT_E_TRUNCATED);
    assert_int_equal(previrt_image_archive_mem("!<thin>\n", 8, count_member, &count),
                     PREVIRT_E_STATE);
    assert_int_equal(previrt_image_archive_mem("\177ELF....", 8, count_member, &count),
                     PREVIRT_E_NOT_ELF);
    free(data);
}

static void missing_files_are_io_errors(void **state)
{
    struct previrt_image *image;

    (void)state;
    assert_int_equal(previrt_image_open("/nonexistent/file", &image), PREVIRT_E_IO);
    assert_int_equal(previrt_image_finish_object("/nonexistent/file", NULL), PREVIRT_E_IO);
    assert_int_equal(previrt_image_open("/", &image), PREVIRT_E_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_with_addends_are_finished),
        cmocka_unit_test(objects_are_finished),
        cmocka_unit_test(replacements_are_looked_through),
        cmocka_unit_test(large_tables_shrink_in_place),
        cmocka_unit_test(comdat_groups_keep_their_own_table),
        cmocka_unit_test(mismatches_are_reported_and_nothing_is_written),
        cmocka_unit_test(objects_of_many_sections_are_finished),
        cmocka_unit_test(linked_tables_verify_attach_and_extract),
        cmocka_unit_test(verify_names_what_is_wrong),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(archives_give_their_members),
        cmocka_unit_test(missing_files_are_io_errors),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
