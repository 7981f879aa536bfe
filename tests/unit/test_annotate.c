/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt_annotate(): small inputs and what becomes of them.
 *
 * Expected texts are written in short: `<' begins a site, `>OP' or `>OP*' ends it with its record
 * (OP as in the catalogue, * if the flags are dead, ~ in front of OP for a dormant record), `pN' is
 * N redundant DS prefixes, `nN' N bytes of NOP. Everything else has to be there as it was.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <previrt/annotate.h>

static struct previrt_annotate_options options;
static struct previrt_annotate_stats stats;

static int set_up(void **state)
{
    struct previrt_rules *rules;

    (void)state;
    memset(&options, 0, sizeof(options));
    options.size = sizeof(options);
    if (previrt_rules_default(&rules) != PREVIRT_OK)
        return -1;
    options.rules = rules;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    previrt_rules_free((struct previrt_rules *)options.rules);
    return 0;
}

/* Annotates (text); the result is to be freed. NULL: nothing was changed. */
static char *annotate(const char *text)
{
    char *out = NULL, *string;
    size_t size = 0;

    memset(&stats, 0, sizeof(stats));
    stats.size = sizeof(stats);
    assert_int_equal(previrt_annotate(text, strlen(text), &options, &out, &size, &stats),
                     PREVIRT_OK);
    if (!out)
        return NULL;
    string = malloc(size + 1);
    assert_non_null(string);
    memcpy(string, out, size);
    string[size] = '\0';
    free(out);
    return string;
}

static int takes(const char **p, const char *text)
{
    size_t length = strlen(text);

    if (strncmp(*p, text, length) != 0)
        return 0;
    *p += length;
    return 1;
}

/* Counts the bytes of a .byte list at (*p) and moves behind it. */
static unsigned count_bytes(const char **p, const char **first)
{
    unsigned count = 0;

    *first = *p;
    do {
        assert_true(takes(p, "0x"));
        *p += 2;
        count++;
    } while (takes(p, ","));
    return count;
}

/* The short form of what came out. */
static char *shorten(const char *p)
{
    static const char end_of_front[] = "8086704:;.popsection;";
    const char *front;
    char *out = calloc(1, strlen(p) + 2), *q = out;

    assert_non_null(out);
    *q++ = '\n'; /* so that there is something before the first character */
    /* the line in front: a header for each group */
    while ((front = strstr(p, end_of_front)))
        p = front + strlen(end_of_front);
    while (*p) {
        const char *at = p, *first;
        unsigned op, dead;
        int length;

        if (takes(&at, "8086701:")) {
            *q++ = '<';
        } else if ((q[-1] == '<' || (q[-1] == 's' && q[-3] == '<')) &&
                   takes(&at, ".byte 0x3e,0x3e")) {
            at = p + strlen(".byte ");
            q += sprintf(q, "p%u", count_bytes(&at, &first));
            assert_true(takes(&at, ";"));
        } else if (q[-1] == '<' && takes(&at, ".byte 0x3e;")) {
            q += sprintf(q, "p1");
        } else if (q[-1] == '<' && takes(&at, "ds;")) {
            q += sprintf(q, "ds");
        } else if (takes(&at, ";.byte 0x") && (at -= 2, 1) && count_bytes(&at, &first) &&
                   !strncmp(at, ";8086702:", 9)) {
            at = first;
            q += sprintf(q, "n%u", count_bytes(&at, &first));
        } else if ((at = p, takes(&at, ";8086702:.pushsection .note.previrt,1"))) {
            if (takes(&at, ",\"aG\",@note,")) {
                *q++ = '[';
                while (*at != ',')
                    *q++ = *at++;
                *q++ = ']';
                assert_true(takes(&at, ",comdat"));
            }
            assert_true(takes(&at, ";.long 8086701b-.;.byte "));
            *q++ = '>';
            if (takes(&at, "0,"))
                *q++ = '~';
            else
                assert_true(takes(&at, "8086702b-8086701b,"));
            assert_int_equal(sscanf(at, "%u,%u,0;.popsection%n", &op, &dead, &length), 2);
            at += length;
            q += sprintf(q, "%s%s", previrt_ia32_op_info(op)->name, dead ? "*" : "");
        } else {
            at = p + 1;
            *q++ = *p;
        }
        p = at;
    }
    memmove(out, out + 1, strlen(out));
    return out;
}

static void check(const char *text, const char *expected)
{
    char *out = annotate(text), *in_short;

    if (!out)
        fail_msg("nothing was changed in:\n%s", text);
    in_short = shorten(out);
    if (strcmp(in_short, expected) != 0)
        fail_msg("\n%s--- became ---\n%s--- not ---\n%s", text, in_short, expected);
    free(in_short);
    free(out);
}

static void check_same(const char *text)
{
    char *out = annotate(text);

    if (out)
        fail_msg("\n%s--- became ---\n%s", text, out);
    assert_int_equal(stats.sites, 0);
}

static void test_every_kind_of_operation_gets_its_room(void **state)
{
    (void)state;
    check("cli\n", "<p6cli>cli\n");
    check("\tsti\n", "\t<p6sti>sti\n");
    check("hlt\n", "<p4hlt>hlt\n");
    check("pushf\npopf\n", "<p5pushf>pushf\n<p4popf>popf\n");
    check("pushfl\n", "<p5pushfl>pushf\n");
    check("pushfw\n", "<p4pushfw>pushf\n");
    check("inb %dx, %al\n", "<p4inb %dx, %al>in\n");
    check("inb $0x60, %al\n", "<p3inb $0x60, %al>in\n");
    check("inw %dx, %ax\n", "<p3inw %dx, %ax>in\n");
    check("in (%dx), %al\n", "<p4in (%dx), %al>in\n");
    check("out %ax, %dx\n", "<p3out %ax, %dx>out\n");
    check("outl %eax, $0x80\n", "<p3outl %eax, $0x80>out\n");
    check("iret\n", "<iretn4>iret\n");
    check("lret $4\n", "<lret $4n2>lret\n");
    check("ljmp $0x10, $foo\n", "<ljmp $0x10, $foo>ljmp\n");
    check("ljmp *(%eax)\n", "<ljmp *(%eax)n3>ljmp\n");
    check("lcall *foo\n", "<lcall *foo>lcall\n");
    check("int $0x80\n", "<int $0x80n3>int\n");
    check("mov %cr0, %eax\n", "<p3mov %cr0, %eax>mov from cr\n");
    check("movl %eax, %cr3\n", "<p2movl %eax, %cr3>mov to cr\n");
    check("movl %db7, %eax\n", "<p2movl %db7, %eax>mov from dr\n");
    check("movl %eax, %dr7\n", "<p2movl %eax, %dr7>mov to dr\n");
    check("mov %ds, %eax\n", "<p4mov %ds, %eax>mov from seg\n");
    check("movw %ds, %ax\n", "<p3movw %ds, %ax>mov from seg\n");
    check("movl %eax, %es\n", "<p3movl %eax, %es>mov to seg\n");
    check("movw 8(%eax), %gs\n", "<movw 8(%eax), %gsn2>mov to seg\n");
    check("push %cs\n", "<p5push %cs>push seg\n");
    check("pushl %fs\n", "<p4pushl %fs>push seg\n");
    check("popl %gs\n", "<p3popl %gs>pop seg\n");
    check("lgdt gdt\n", "<lgdt gdt>lgdt\n");
    check("lgdt (%eax)\n", "<lgdt (%eax)n2>lgdt\n");
    check("lidt 300(%eax)\n", "<lidt 300(%eax)>lidt\n");
    check("lidt (%esp)\n", "<lidt (%esp)n1>lidt\n");
    check("lldt %ax\n", "<p2lldt %ax>lldt\n");
    check("ltr %ax\nstr %ax\n", "<p2ltr %ax>ltr\n<p1str %ax>str\n");
    check("verw (%esp)\n", "<verw (%esp)n1>verw\n");
    check("invlpg (%eax)\n", "<invlpg (%eax)n2>invlpg\n");
    check("cpuid\nrdtsc\nwrmsr\n", "<p3cpuid>cpuid\n<p3rdtsc>rdtsc\n<p3wrmsr>wrmsr\n");
    check("clac\nstac\n", "<p2clac>clac\n<p2stac>stac\n");
    check("lss 4(%eax), %esp\n", "<lss 4(%eax), %espn1>lss\n");
    check("vmxon (%eax)\n", "<vmxon (%eax)n1>vmxon\n");
    check("CLI\nMov %CR3, %EAX\n", "<p6CLI>cli\n<p3Mov %CR3, %EAX>mov from cr\n");
}

static void test_what_traps_by_design_is_left_alone(void **state)
{
    (void)state;
    check_same("int3\nint $3\nint $0x3\nud2\n int1\n .byte 0xcc\n");
}

static void test_ordinary_code_is_left_alone(void **state)
{
    (void)state;
    check_same("mov %eax, %ebx\npush %eax\npop 4(%esp)\ncall foo\njmp *%eax\nmov %es:(%eax), %ebx\n"
               "mov %eax, %fs:0\njmp *%gs:4\npushl %gs:20\n");
    check_same("in = 5\nout= 6\ncli:\nstr: .long 1\n");
    check_same(".ascii \"cli; sti\\\"; hlt\"\n.byte 0xfa, 0xfb\n.long cli\n");
    check_same("foo: # cli\n/ cli\n/* cli\n sti */ nop /* hlt */\n.set cli, 4\n");
    check_same("cmpb $'\"', %al\nmovb $';', %al; nop # \"\n");
}

static void test_labels_separators_and_comments(void **state)
{
    (void)state;
    check("1: 2: foo: cli\n", "1: 2: foo: <p6cli>cli\n");
    check("foo : cli # comment ; sti\n", "foo : <p6cli>cli # comment ; sti\n");
    check("cli;sti;nop\n", "<p6cli>cli;<p6sti>sti;nop\n");
    check("nop ; cli /* a ; b */ ; nop\n", "nop ; <p6cli>cli /* a ; b */ ; nop\n");
    check("mov /* from */ %cr0, /* to */ %eax /* x\n*/\n",
          "<p3mov /* from */ %cr0, /* to */ %eax>mov from cr /* x\n*/\n");
    check(".ascii \"a\n\"; cli\n", ".ascii \"a\n\"; <p6cli>cli\n");
    check("movb $'\"', %al; cli\nmovb $'a', %al; sti\n",
          "movb $'\"', %al; <p6cli>cli\nmovb $'a', %al; <p6sti>sti\n");
    check("\"a b\": cli\n", "\"a b\": <p6cli>cli\n");
    check("cli", "<p6cli>cli");
    check("cli\r\n", "<p6cli>cli\r\n");
    check("{disp32} lgdt 4(%eax)\n", "<{disp32} lgdt 4(%eax)n1>lgdt\n");
}

static void test_a_prefix_and_its_operation_are_one_site(void **state)
{
    (void)state;
    check("rep; insb\n", "<rep; insbn3>ins\n");
    check("rep insl\n", "<rep insln3>ins\n");
    check("rep/outsb\n", "<rep/outsbn3>outs\n");
    check("rep\n\touts\n", "<rep\n\toutsn3>outs\n");
    check("data16 popf\n", "<p3data16 popf>popf\n");
    check("cs lidt foo\n", "<cs lidt foo>lidt\n");
    check("rep movsl; cli\n", "rep movsl; <p6cli>cli\n");
    check("lock; incl foo\ncli\n", "lock; incl foo\n<p6cli>cli\n");
    check("rep; 1: insb\n", "rep; 1: <insbn4>ins\n");
}

static void test_nothing_comes_between_sti_and_what_it_shadows(void **state)
{
    (void)state;
    check("sti; hlt\n", "<p3sti; hlt>sti;hlt\n");
    check("sti\n# comment\n\thlt\n", "<p3sti\n# comment\n\thlt>sti;hlt\n");
    check("sti; sysexit\n", "<p2sti; sysexit>sti;sysexit\n");
    check("sti; .byte 0x0f, 0x01, 0xc9\n", "<p1sti; .byte 0x0f, 0x01, 0xc9>sti;mwait\n");
    check("sti; mwait %eax, %ecx\n", "<p1sti; mwait %eax, %ecx>sti;mwait\n");
    check("sti; 1: hlt\n", "<p6sti>sti; 1: <p4hlt>hlt\n");
    check("mov %eax, %ss; pop %ss\n", "<p3mov %eax, %ss>mov to seg; <p4pop %ss>pop seg\n");
    options.pad = PREVIRT_PAD_NOP;
    check("sti; hlt\n", "<p3sti; hlt>sti;hlt\n");
    check("sti; nop\n", "<p6sti>sti; nop\n");
    check("mov %eax, %ss; cli\n", "<p3mov %eax, %ss>mov to seg; <clin6>cli\n");
    options.cpu = PREVIRT_CPU_I486;
    check("sti; hlt; hlt\n", "<p3sti; hlt>sti;hlt; <hltn4>hlt\n");
    options.cpu = PREVIRT_CPU_GENERIC;
    options.pad = PREVIRT_PAD_PREFIX;
}

static void test_padding_styles(void **state)
{
    char *out;

    (void)state;
    options.pad = PREVIRT_PAD_NOP;
    options.cpu = PREVIRT_CPU_I686;
    out = annotate("cpuid\n");
    assert_non_null(strstr(out, ":cpuid;.byte 0x0f,0x1f,0x00;8086702:"));
    free(out);
    options.cpu = PREVIRT_CPU_I586;
    out = annotate("cpuid\n");
    assert_non_null(strstr(out, ":cpuid;.byte 0x8d,0x76,0x00;8086702:"));
    free(out);
    options.pad = PREVIRT_PAD_PREFIX;
    options.cpu = PREVIRT_CPU_I486;
    out = annotate("cpuid\n");
    assert_non_null(strstr(out, ":cpuid;.byte 0x90,0x90,0x90;8086702:"));
    free(out);
    options.cpu = PREVIRT_CPU_GENERIC;
}

static void test_operations_spelled_as_bytes(void **state)
{
    (void)state;
    check(".byte 0x0f,0x01,0xca\n", "<p2.byte 0x0f,0x01,0xca>clac\n");
    check(".byte 0x0f, 0x01, 0xcb ;nop\n", "<p2.byte 0x0f, 0x01, 0xcb>stac ;nop\n");
    check(".byte 15,1,208\n", "<p2.byte 15,1,208>xgetbv\n");
    check(".byte 0x0f,0x01,0xd1\n", "<p2.byte 0x0f,0x01,0xd1>xsetbv\n");
    check(".byte 0x0f,0x01,0xf9\n", "<p2.byte 0x0f,0x01,0xf9>rdtscp\n");
    check(".byte 0x0f,0x01,0xc8\n", "<p2.byte 0x0f,0x01,0xc8>monitor\n");
    check(".byte 0x0f,0xc7,0x1f\n", "<.byte 0x0f,0xc7,0x1fn2>xrstors\n");
    check(".byte 0x66,0x0f,0x38,0x82,0x01\n", "<.byte 0x66,0x0f,0x38,0x82,0x01>invpcid\n");
    check(".byte 0xf3,0x0f,0xc7,0xf8\n", "<p1.byte 0xf3,0x0f,0xc7,0xf8>rdpid\n");
    check_same(".byte 0x0f,0x0b\n.byte 0x0f,0x01,0xca,0x90\n.byte 0x0f,0x01\n.byte x,1,2\n.byte\n");
}

static void test_macro_arguments_as_operands(void **state)
{
    (void)state;
    check(".macro m reg\nmov \\reg, %cr3\nmov \\reg, %ds\n.endm\n",
          ".macro m reg\n<p2mov \\reg, %cr3>mov to cr\n<mov \\reg, %dsn3>mov to seg\n.endm\n");
    assert_int_equal(stats.in_macros, 2);
    check(".rept 3\ncli\n.endr\n", ".rept 3\n<p6cli>cli\n.endr\n");
    check(".irp r,eax,ebx\nmov %\\r,%cr0\n.endr\n",
          ".irp r,eax,ebx\n<p2mov %\\r,%cr0>mov to cr\n.endr\n");
    check(".macro m\n.Lx\\@: cli\n.endm\n", ".macro m\n.Lx\\@: <p6cli>cli\n.endm\n");
    check(".macro m n\n\\n\\()_x: cli\n.endm\n", ".macro m n\n\\n\\()_x: <p6cli>cli\n.endm\n");
}

static void test_a_macro_may_have_a_mnemonic_for_a_name(void **state)
{
    (void)state;
    check_same(".macro cli\nnop\n.endm\ncli\n CLI\n");
    check(".macro cli\nnop\n.endm\ncli\n.purgem cli\ncli\n",
          ".macro cli\nnop\n.endm\ncli\n.purgem cli\n<p6cli>cli\n");
}

static void test_a_mnemonic_may_be_an_argument(void **state)
{
    char *out;

    (void)state;
    out = annotate(".macro m op\n1: \\op\n.endm\nm rdmsr\nm wrmsr\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n1: 8086701:\\op;.byte 0x8d,0x76,0x00;8086702:"));
    assert_non_null(strstr(out, ".byte 8086702b-8086701b,0,0,0;.popsection\n.endm"));
    free(out);
    check_same(".macro m op\n\\op\n.endm\nm nop\nm \"rdmsr\"\n");
    /* where a replacement begins is recorded, and nothing is padded */
    out = annotate(".macro a o n\n\\o\n.pushsection .altinstr_replacement,\"ax\"\n1: \\n\n"
                   ".popsection\n.endm\na \"\", \"clac\"\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n\\o\n"));
    assert_non_null(strstr(out, "\n1: 8086701:;8086702:.pushsection"));
    assert_non_null(strstr(out, ".byte 0,0,0,0;.popsection;\\n\n.popsection\n.endm"));
    free(out);
}

static void test_a_register_may_be_an_argument(void **state)
{
    char *out;

    (void)state;
    out = annotate(".macro m seg\nmov %eax, %\\seg\npop %\\seg\n.endm\nm fs\nm ebx\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n8086701:.byte 0x3e,0x3e,0x3e;mov %eax, %\\seg;8086702:"));
    assert_non_null(strstr(out, "\n8086701:.byte 0x3e,0x3e,0x3e,0x3e;pop %\\seg;8086702:"));
    assert_non_null(strstr(out, ".byte 8086702b-8086701b,0,0,0;.popsection\n.endm"));
    free(out);
    /* the default counts too, and what may be memory gets no override */
    out = annotate(".macro m reg=%es\nmov (%ebp), \\reg\npush \\reg\n.endm\nm 4(%ebp)\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n8086701:mov (%ebp), \\reg;.byte 0x8d,0x76,0x00;8086702:"));
    assert_non_null(
        strstr(out, "\n8086701:push \\reg;.byte 0x8d,0x74,0x26,0x00;8086702:.pushsection"));
    free(out);
    /* nothing may stand between a load of SS and the next instruction */
    out = annotate(".macro m reg\nmov (%ebp), \\reg\nmov %eax, %\\reg\n.endm\nm ss\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n8086701:mov (%ebp), \\reg;8086702:.pushsection"));
    assert_non_null(strstr(out, "\n8086701:.byte 0x3e,0x3e,0x3e;mov %eax, %\\reg;8086702:"));
    free(out);
    out = annotate(".macro m a:req, s:vararg\nmov \\a, %\\s\n.endm\nm %eax, ss\nm variable, %es\n");
    assert_non_null(out);
    assert_non_null(strstr(out, "\n8086701:.byte 0x3e,0x3e,0x3e;mov \\a, %\\s;8086702:"));
    free(out);
    check(".macro m n\nmov %cr\\n, %eax\nmov %eax, %dr\\n\n.endm\n",
          ".macro m n\n<p3mov %cr\\n, %eax>mov from cr\n<p2mov %eax, %dr\\n>mov to dr\n.endm\n");
    check_same(".macro m reg\nmov %eax, %\\reg\npush %\\reg\nmov $5, %\\reg\n.endm\nm ebx\n");
}

static void test_other_code_sizes_are_left_alone(void **state)
{
    (void)state;
    check_same(".code16\ncli\n.code16gcc\nsti\n.code64\ncli\n");
    assert_int_equal(stats.excluded, 3);
    check(".code16\ncli\n.code32\ncli\n", ".code16\ncli\n.code32\n<p6cli>cli\n");
}

static void test_intel_syntax(void **state)
{
    (void)state;
    check(
        ".intel_syntax noprefix\nmov eax, cr0\nmov cr3, eax\nmov ds, ax\nin al, dx\nout 0x80, al\n"
        "push ds\npushfd\niretd\nint 80h\nint 3\nmov eax, ebx\nlgdt [eax]\njmp far ptr [eax]\n"
        "call dword ptr [eax]\n.att_syntax\nmov %eax, %cr0\n",
        ".intel_syntax noprefix\n<p3mov eax, cr0>mov from cr\n<p2mov cr3, eax>mov to cr\n"
        "<p3mov ds, ax>mov to seg\n<p4in al, dx>in\n<p3out 0x80, al>out\n<p5push ds>push seg\n"
        "<p5pushfd>pushf\n<iretdn4>iret\n<int 80hn3>int\nint 3\nmov eax, ebx\n<lgdt [eax]n2>lgdt\n"
        "<jmp far ptr [eax]n3>ljmp\ncall dword ptr [eax]\n.att_syntax\n<p2mov %eax, %cr0>mov to "
        "cr\n");
}

static void test_replacements_are_dormant(void **state)
{
    (void)state;
    check(
        ".pushsection .altinstr_replacement, \"ax\"\n6651:\n\t.byte 0x0f,0x01,0xca\n6641:\n"
        "\t.popsection\ncli\n",
        ".pushsection .altinstr_replacement, \"ax\"\n6651:\n\t<.byte 0x0f,0x01,0xca>~clac\n6641:\n"
        "\t.popsection\n<p6cli>cli\n");
    assert_int_equal(stats.dormant, 1);
    check(".section .altinstr_replacement,\"ax\"\nrdtscp\n.previous\nrdtsc\n",
          ".section .altinstr_replacement,\"ax\"\n<rdtscp>~rdtscp\n.previous\n<p3rdtsc>rdtsc\n");
}

static void test_comdat_groups_keep_their_records(void **state)
{
    char *out;

    (void)state;
    check(".section .text.f,\"axG\",@progbits,f,comdat\ncli\n.text\nsti\n",
          ".section .text.f,\"axG\",@progbits,f,comdat\n<p6cli[f]>cli\n.text\n<p6sti>sti\n");
    out = annotate(".section .text.f,\"axG\",@progbits,f,comdat\ncli\n");
    assert_non_null(strstr(out, ".pushsection .note.previrt,0,\"aG\",@note,f,comdat;"));
    assert_null(strstr(out, ",\"a\",@note"));
    free(out);
    check_same(".section .gnu.linkonce.t.f,\"ax\"\ncli\n");
}

static void test_paths_exclude(void **state)
{
    (void)state;
    options.output = "/build/arch/x86/boot/compressed/head_32.o";
    check_same("cli\n");
    options.output = "arch/x86/entry/vdso/vdso32/system_call.o";
    check_same("int $0x80\n");
    options.output = "arch/x86/entry/vdso/vma.o";
    check("cli\n", "<p6cli>cli\n");
    options.output = NULL;
}

#define APP(text) "#APP\n# 1 \"x.c\" 1\n\t" text "\n# 0 \"\" 2\n#NO_APP\n"

static void check_flags(const char *behind, int dead)
{
    char text[1024], *out;

    snprintf(text, sizeof(text), "f:\n" APP("cli") "%s", behind);
    out = annotate(text);
    assert_non_null(out);
    if ((int)stats.flags_dead != dead)
        fail_msg("flags %s behind:\n%s", dead ? "live" : "dead", behind);
    free(out);
}

static void test_liveness_of_flags(void **state)
{
    (void)state;
    check_flags("\taddl %eax, %ebx\n\tjc .L1\n", 1);
    check_flags("\tsetc %al\n", 0);
    check_flags("\tmovl $1, %eax\n\tjne .L1\n.L1:\n\tret\n", 0);
    check_flags("\tret\n", 1);
    check_flags("\tcall foo\n\tjc .L1\n", 1);
    check_flags("\tjmp foo\n", 1);
    check_flags("\tjmp *%eax\n", 0);
    check_flags("\tincl %eax\n\tjc .L1\n", 0);
    check_flags("\tincl %eax\n\tadcl $0, %edx\n", 0);
    check_flags("\tincl %eax\n\tclc\n\tjmp *%eax\n", 1);
    check_flags("\tshll %cl, %eax\n\tjc .L1\n", 0);
    check_flags("\tshll $3, %eax\n\tjc .L1\n", 1);
    check_flags("\trep cmpsb\n\tje .L1\n", 0);
    check_flags("\tcmpsb\n\tje .L1\n", 1);
    check_flags("\tlahf\n", 0);
    check_flags("\tpushfl\n", 0);
    check_flags("\tsbbl %eax, %eax\n", 0);
    check_flags("\trcll $1, %eax\n", 0);
    check_flags("\tcmovel %eax, %ebx\n", 0);
    check_flags("\tloope .L1\n.L1:\n\tret\n", 0);
    check_flags("\tjmp .L1\n\tjc .L2\n.L1:\n\txorl %eax, %eax\n\tjc .L2\n", 1);
    check_flags("\tjmp .L1\n\txorl %eax, %eax\n.L1:\n\tjc .L2\n", 0);
    check_flags("\tjecxz .L1\n\tret\n.L1:\n\tjs .L2\n", 0);
    check_flags("\tjecxz .L1\n\tret\n.L1:\n\ttestl %eax, %eax\n\tjs .L2\n", 1);
    check_flags("#APP\n# 2 \"x.c\" 1\n\tjc 1f\n# 0 \"\" 2\n#NO_APP\n\tret\n", 1);
    check_flags("\tunknown %eax\n", 0);
    check_flags("", 0);
    check_flags(".L1:\n\tjmp .L1\n", 0);
    check_flags("\tpushl %eax\n\tpopfl\n\tjc .L1\n", 1);
    check_flags("\t.pushsection .fixup,\"ax\"\n\tjc 1b\n\t.popsection\n\tret\n", 1);
    check_flags("\t.pushsection .altinstr_replacement,\"ax\"\n\tnop\n\t.popsection\n\tret\n", 0);
}

static void test_flags_within_one_block(void **state)
{
    (void)state;
    check_same("nop\n");
    check("#APP\n\tcli\n\tjc 1f\n1:\n#NO_APP\n\tret\n",
          "\n#APP\n\t<p6cli>cli\n\tjc 1f\n1:\n#NO_APP\n\tret\n");
    check("#APP\n\tpushf; pop %eax\n#NO_APP\n\tret\n",
          "\n#APP\n\t<p5pushf>pushf*; pop %eax\n#NO_APP\n\tret\n");
    check("#APP\n\tnop\n\tpushf\n#NO_APP\n", "\n#APP\n\tnop\n\t<p5pushf>pushf*\n#NO_APP\n");
    check("#APP\n\ttest %eax,%eax\n\tpushf\n#NO_APP\n",
          "\n#APP\n\ttest %eax,%eax\n\t<p5pushf>pushf\n#NO_APP\n");
    check("#APP\n1:\tpushf\n#NO_APP\n", "\n#APP\n1:\t<p5pushf>pushf\n#NO_APP\n");
}

static void test_hand_written_code_promises_nothing(void **state)
{
    (void)state;
    check("cli\nret\n", "<p6cli>cli\nret\n");
    check("cli\ncall foo\ntest %eax, %eax\n", "<p6cli>cli\ncall foo\ntest %eax, %eax\n");
    check("pushf\n", "<p5pushf>pushf\n");
    check("cli\ntest %eax, %eax\nret\n", "<p6cli>cli*\ntest %eax, %eax\nret\n");
    check("cli\njmp 1f\n1: jc 2f\n2: ret\n", "<p6cli>cli\njmp 1f\n1: jc 2f\n2: ret\n");
    check("1: sub %eax, %eax\njc 1b\ncli\njmp 1b\n1: ret\n",
          "1: sub %eax, %eax\njc 1b\n<p6cli>cli*\njmp 1b\n1: ret\n");
}

static void test_line_information_begins_with_the_site(void **state)
{
    (void)state;
    check("\t.loc 1 2 3\n\tcli\n", "\t.loc 1 2 3\n\t<dsp5cli>cli\n");
    options.line_info = 1;
    check("hlt\n", "<dsp3hlt>hlt\n");
    options.line_info = 0;
}

static void test_messages_keep_the_name_of_the_input(void **state)
{
    char *out;

    (void)state;
    options.name = "dir/a \"b\".s";
    out = annotate("cli\n");
    assert_non_null(strstr(out, "\n# 1 \"dir/a \\\"b\\\".s\"\n8086701:"));
    free(out);
    out = annotate("# 7 \"foo.S\"\ncli\n"); /* has a name of its own */
    assert_null(strstr(out, "a \\\"b"));
    assert_non_null(strstr(out, "popsection;\n# 7 \"foo.S\"\n8086701:"));
    free(out);
    options.name = NULL;
}

static void check_static(unsigned target, const char *text, const char *expected)
{
    char *out;

    options.target = target;
    out = annotate(text);
    options.target = PREVIRT_STATIC_NONE;
    assert_non_null(out);
    assert_string_equal(out + strspn(out, " "), expected);
    assert_int_equal(stats.sites, 0);
    free(out);
}

static void test_static_native_moves_operations_out_of_line(void **state)
{
    (void)state;
    check_static(PREVIRT_STATIC_NATIVE, "cli\nnop\n",
                 "jmp 8086701f;8086702:.pushsection \".text\",8192;8086701:cli;jmp 8086702b;"
                 ".popsection\nnop\n");
    check_static(PREVIRT_STATIC_NATIVE, "mov %eax,%ss\nsti; hlt\n",
                 "mov %eax,%ss\njmp 8086701f;8086702:.pushsection \".text\",8192;8086701:sti; hlt;"
                 "jmp 8086702b;.popsection\n");
    assert_int_equal(stats.replaced, 1);
    assert_int_equal(stats.unknown, 1);
}

static void test_static_vcpu_uses_the_page_and_the_stubs(void **state)
{
    (void)state;
    check_static(PREVIRT_STATIC_VCPU, "cli\n", "movb $0,previrt_vcpu+1\n");
    check_static(PREVIRT_STATIC_VCPU, "push %ds\n", "pushl previrt_vcpu+28\n");
    check_static(PREVIRT_STATIC_VCPU, "mov %cr3, %ebx # c\n", "movl previrt_vcpu+60,%ebx # c\n");
    check_static(PREVIRT_STATIC_VCPU, "mov %cs, %ax\n", "movw previrt_vcpu+20,%ax\n");
    check_static(PREVIRT_STATIC_VCPU, "#APP\npushf\n#NO_APP\n",
                 "\n#APP\npushl previrt_vcpu+0\n#NO_APP\n");
    check_static(PREVIRT_STATIC_VCPU, "pushf\n",
                 "call previrt_stub_pushf;jmp 8086702f;pushf;8086702:\n");
    check_static(PREVIRT_STATIC_VCPU, "mov %eax, %cr3\n",
                 "call previrt_stub_mov_to_cr;jmp 8086702f;mov %eax, %cr3;8086702:\n");
}

static void test_wrong_arguments_are_refused(void **state)
{
    struct previrt_annotate_options wrong = {0};
    size_t size;
    char *out;

    (void)state;
    assert_int_equal(previrt_annotate(NULL, 1, NULL, &out, &size, NULL), PREVIRT_E_INVALID);
    assert_int_equal(previrt_annotate("", 0, NULL, NULL, &size, NULL), PREVIRT_E_INVALID);
    assert_int_equal(previrt_annotate("cli", 3, &wrong, &out, &size, NULL), PREVIRT_E_INVALID);
    assert_int_equal(previrt_annotate("", 0, NULL, &out, &size, NULL), PREVIRT_OK);
    assert_null(out);
}

static void test_the_catalogue_is_covered(void **state)
{
    /* every operation of the catalogue with some spelling of it */
    static const char *const text[] = {"cli",
                                       "sti",
                                       "pushf",
                                       "popf",
                                       "hlt",
                                       "sti;hlt",
                                       "sti;mwait",
                                       "sti;sysexit",
                                       "in %dx,%al",
                                       "out %al,%dx",
                                       "insb",
                                       "outsb",
                                       "iret",
                                       "lcall *(%eax)",
                                       "ljmp *(%eax)",
                                       "lret",
                                       "int $4",
                                       "into",
                                       "syscall",
                                       "sysret",
                                       "sysenter",
                                       "sysexit",
                                       "mov %ds,%eax",
                                       "mov %eax,%ds",
                                       "push %ds",
                                       "pop %ds",
                                       "lds (%eax),%eax",
                                       "les (%eax),%eax",
                                       "lfs (%eax),%eax",
                                       "lgs (%eax),%eax",
                                       "lss (%eax),%eax",
                                       "mov %cr0,%eax",
                                       "mov %eax,%cr0",
                                       "mov %dr0,%eax",
                                       "mov %eax,%dr0",
                                       "clts",
                                       "lmsw %ax",
                                       "smsw %ax",
                                       "lgdt x",
                                       "sgdt x",
                                       "lidt x",
                                       "sidt x",
                                       "lldt %ax",
                                       "sldt %ax",
                                       "ltr %ax",
                                       "str %ax",
                                       "lar %eax,%eax",
                                       "lsl %eax,%eax",
                                       "verr %ax",
                                       "verw %ax",
                                       "arpl %ax,%bx",
                                       "invd",
                                       "wbinvd",
                                       "wbnoinvd",
                                       "invlpg x",
                                       "invpcid x,%eax",
                                       "cpuid",
                                       "rdmsr",
                                       "wrmsr",
                                       "rdtsc",
                                       "rdtscp",
                                       "rdpmc",
                                       "rdpid %eax",
                                       "xgetbv",
                                       "xsetbv",
                                       "xsaves x",
                                       "xrstors x",
                                       "monitor",
                                       "mwait",
                                       "clac",
                                       "stac",
                                       "rsm",
                                       "getsec",
                                       "encls",
                                       "pconfig",
                                       "vmcall",
                                       "vmlaunch",
                                       "vmresume",
                                       "vmxoff",
                                       "vmxon x",
                                       "vmptrld x",
                                       "vmptrst x",
                                       "vmclear x",
                                       "vmread %eax,%eax",
                                       "vmwrite %eax,%eax",
                                       "invept x,%eax",
                                       "invvpid x,%eax",
                                       "vmfunc",
                                       "vmrun",
                                       "vmmcall",
                                       "vmload",
                                       "vmsave",
                                       "stgi",
                                       "clgi",
                                       "skinit",
                                       "invlpga"};
    unsigned seen[PREVIRT_IA32_OP_LIMIT] = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
        char line[64], *out;

        snprintf(line, sizeof(line), "%s\n", text[i]);
        out = annotate(line);
        if (!out)
            fail_msg("%s is not seen", text[i]);
        free(out);
        assert_int_equal(stats.sites, 1);
        for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++)
            seen[op] += stats.per_op[op];
    }
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++)
        if (previrt_ia32_op_info(op) && seen[op] != 1)
            fail_msg("%s: seen %u times", previrt_ia32_op_info(op)->name, seen[op]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_operation_gets_its_room),
        cmocka_unit_test(test_what_traps_by_design_is_left_alone),
        cmocka_unit_test(test_ordinary_code_is_left_alone),
        cmocka_unit_test(test_labels_separators_and_comments),
        cmocka_unit_test(test_a_prefix_and_its_operation_are_one_site),
        cmocka_unit_test(test_nothing_comes_between_sti_and_what_it_shadows),
        cmocka_unit_test(test_padding_styles),
        cmocka_unit_test(test_operations_spelled_as_bytes),
        cmocka_unit_test(test_macro_arguments_as_operands),
        cmocka_unit_test(test_a_macro_may_have_a_mnemonic_for_a_name),
        cmocka_unit_test(test_a_mnemonic_may_be_an_argument),
        cmocka_unit_test(test_a_register_may_be_an_argument),
        cmocka_unit_test(test_other_code_sizes_are_left_alone),
        cmocka_unit_test(test_intel_syntax),
        cmocka_unit_test(test_replacements_are_dormant),
        cmocka_unit_test(test_comdat_groups_keep_their_records),
        cmocka_unit_test(test_paths_exclude),
        cmocka_unit_test(test_liveness_of_flags),
        cmocka_unit_test(test_flags_within_one_block),
        cmocka_unit_test(test_hand_written_code_promises_nothing),
        cmocka_unit_test(test_line_information_begins_with_the_site),
        cmocka_unit_test(test_messages_keep_the_name_of_the_input),
        cmocka_unit_test(test_static_native_moves_operations_out_of_line),
        cmocka_unit_test(test_static_vcpu_uses_the_page_and_the_stubs),
        cmocka_unit_test(test_wrong_arguments_are_refused),
        cmocka_unit_test(test_the_catalogue_is_covered),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
