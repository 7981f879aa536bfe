/* SPDX-License-Identifier: BSD-2-Clause */
/* The statement reader and the exclusion rules. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "asm/mnemonic.h"
#include "asm/operation.h"
#include "asm/reader.h"
#include "asm/rules.h"

/* Reads (text) and prints each statement as [labels|name|operands]. */
static void check_statements(const char *text, const char *expected)
{
    const char *p = text, *end = text + strlen(text);
    struct pv_statement statement;
    char out[512] = "", *q = out;

    while (pv_read_statement(p, end, &statement) != PV_STATEMENT_END) {
        assert_true(statement.next > p && statement.next <= end);
        assert_true(statement.end >= p && statement.end <= statement.next);
        p = statement.next;
        if (statement.kind == PV_STATEMENT_APP)
            q += sprintf(q, "[APP]");
        else if (statement.kind == PV_STATEMENT_NO_APP)
            q += sprintf(q, "[NO_APP]");
        if (statement.kind != PV_STATEMENT_CODE && !statement.labels)
            continue;
        *q++ = '[';
        for (uint32_t i = 0; i < statement.labels; i++)
            q += sprintf(q, "%.*s:", (int)statement.label[i].length, statement.label[i].name);
        if (statement.kind == PV_STATEMENT_CODE)
            q +=
                sprintf(q, "%.*s|%.*s", (int)statement.length, statement.name ? statement.name : "",
                        (int)(statement.end - statement.operands), statement.operands);
        *q++ = ']';
        *q = '\0';
    }
    assert_string_equal(out, expected);
}

static void test_statements_end_where_as_ends_them(void **state)
{
    (void)state;
    check_statements("cli\n sti ; hlt\n", "[cli|][sti|][hlt|]");
    check_statements("a: b: 1: mov %eax, %ebx # c\n", "[a:b:1:mov|%eax, %ebx]");
    check_statements("a :\n", "[a:]");
    check_statements("/ comment ; cli\n# comment\n/* a\n; b */ nop\n", "[nop|]");
    check_statements("nop /* a */ /* b */\nx: / comment\n", "[nop|][x:]");
    check_statements("mov a/2, %eax\n", "[mov|a/2, %eax]");
    check_statements(".ascii \"a;b\\\"c#\" ; nop\n", "[.ascii|\"a;b\\\"c#\"][nop|]");
    check_statements("movb $';', %al\nmovb $'\\'', %al;nop",
                     "[movb|$';', %al][movb|$'\\'', %al][nop|]");
    check_statements("#APP\nnop\n#NO_APP\n", "[APP][nop|][NO_APP]");
    check_statements("\\op \\arg\nx\\()_y: nop\n.L\\@: nop",
                     "[\\op|\\arg][x\\()_y:nop|][.L\\@:nop|]");
    check_statements("\"quoted label\": nop\n", "[\"quoted label\":nop|]");
    check_statements("{vex3} nop\n", "[nop|]");
}

static void test_what_never_ends_ends_with_the_text(void **state)
{
    static const char *const texts[] = {
        "/*",      "/* x", "\"", "\"\\", "'",  "'\\", "a:",     "{",    "a\\(", "x /*",
        "x \"abc", "#",    "/",  ";",    "\n", " ",   "nop 'a", "\\()", "\\"};

    (void)state;
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *p = texts[i], *end = p + strlen(p);
        struct pv_statement statement;
        unsigned count = 0;

        while (pv_read_statement(p, end, &statement) != PV_STATEMENT_END) {
            assert_true(statement.next > p && statement.next <= end);
            p = statement.next;
            assert_true(++count < 10);
        }
    }
}

static void test_every_mnemonic_is_found_whatever_its_case(void **state)
{
    static struct pv_mnemonic_table table;

    (void)state;
    pv_mnemonic_table_init(&table);
    for (size_t i = 0; i < pv_mnemonic_count; i++) {
        struct pv_statement statement;
        char upper[32];

        pv_read_name(pv_mnemonics[i].name, pv_mnemonics[i].name + pv_mnemonics[i].length,
                     &statement);
        assert_ptr_equal(pv_mnemonic_find(&table, statement.name, statement.length, statement.hash),
                         &pv_mnemonics[i]);
        for (unsigned c = 0; c < pv_mnemonics[i].length; c++)
            upper[c] = (char)(pv_mnemonics[i].name[c] >= 'a' ? pv_mnemonics[i].name[c] - 32
                                                             : pv_mnemonics[i].name[c]);
        pv_read_name(upper, upper + pv_mnemonics[i].length, &statement);
        assert_ptr_equal(pv_mnemonic_find(&table, upper, statement.length, statement.hash),
                         &pv_mnemonics[i]);
    }
    assert_null(pv_mnemonic_find(&table, "clii", 4, 0));
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        int good;
        uint32_t value;
    } cases[] = {{"0", 1, 0},           {"10", 1, 10},
                 {"0x1F", 1, 31},       {"010", 1, 8},
                 {"0b11", 1, 3},        {"-1", 1, 0xffffffff},
                 {" (5) ", 1, 5},       {"0xffffffff", 1, 0xffffffff},
                 {"0x100000000", 0, 0}, {"", 0, 0},
                 {"08", 0, 0},          {"x", 0, 0},
                 {"1+1", 0, 0},         {"-", 0, 0},
                 {"0x", 0, 0}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        uint32_t value = 0;
        int good = pv_read_number(cases[i].text, cases[i].text + strlen(cases[i].text), &value);

        if (good != cases[i].good || (good && value != cases[i].value))
            fail_msg("%s: %d, %u", cases[i].text, good, value);
    }
}

static void check_rules_fail(const char *text, unsigned line, const char *why)
{
    struct previrt_rules_error error = {0};
    struct previrt_rules *rules;

    assert_int_equal(previrt_rules_parse(text, strlen(text), &rules, &error), PREVIRT_E_MALFORMED);
    assert_null(rules);
    if (error.line != line || !strstr(error.text, why))
        fail_msg("line %u: %s, not line %u: %s", error.line, error.text, line, why);
}

static void test_rules_say_where_they_are_wrong(void **state)
{
    (void)state;
    check_rules_fail("output *\n", 1, "rule NAME");
    check_rules_fail("# c\n\nrule\n", 3, "no name");
    check_rules_fail("rule a b\n", 1, "one word");
    check_rules_fail("rule a\n output\n", 2, "pattern");
    check_rules_fail("rule a\n output x\n reason r\n", 4, "no action");
    check_rules_fail("rule a\n output x\n action exclude\n\nrule b\n", 5, "no reason");
    check_rules_fail("rule a\n action exclude\n reason r\n", 4, "everywhere");
    check_rules_fail("rule a\n action remove\n", 2, "action is none of exclude, dormant, room");
    check_rules_fail("rule a\n action exclude\n action exclude\n", 3, "second");
    check_rules_fail("rule a\n action exclude x\n", 2, "after the action");
    check_rules_fail("rule a\n code 8\n", 2, "16, 32 or 64");
    check_rules_fail("rule a\n colour red\n", 2, "keyword");
}

static void test_rules_match(void **state)
{
    static const char text[] =
        "rule one\n output lib/*.o\n section .text .text.*\n action exclude\n"
        " reason first\nrule two\n symbol secret_*\n action dormant\n reason 2\n"
        "rule three\n code 16\n action exclude\n reason 3";
    struct pv_rule_query query = {.output = "/b/lib/x.o", .section = ".text.f", .bits = 32};
    struct previrt_rules *rules;

    (void)state;
    assert_int_equal(previrt_rules_parse(text, sizeof(text) - 1, &rules, NULL), PREVIRT_OK);
    assert_string_equal(pv_rules_match(rules, &query)->name, "one");
    query.section = ".init.text";
    assert_null(pv_rules_match(rules, &query));
    query.section = NULL;
    assert_null(pv_rules_match(rules, &query));
    query.symbol = "secret_door";
    assert_string_equal(pv_rules_match(rules, &query)->name, "two");
    assert_int_equal(pv_rules_match(rules, &query)->action, PV_RULE_DORMANT);
    query.symbol = NULL;
    query.bits = 16;
    assert_string_equal(pv_rules_match(rules, &query)->reason, "3");
    query.bits = 32;
    query.section = ".text";
    query.output = "mylib/x.o"; /* not a path component */
    assert_null(pv_rules_match(rules, &query));
    assert_null(pv_rules_match_file(rules, "lib/x.o", NULL));
    assert_null(pv_rules_at(rules, 3));
    assert_null(pv_rules_match(NULL, &query));
    previrt_rules_free(rules);
}

static void test_the_built_in_rules_are_good(void **state)
{
    struct previrt_rules *rules;
    size_t count = 0;

    (void)state;
    assert_int_equal(previrt_rules_default(&rules), PREVIRT_OK);
    while (pv_rules_at(rules, count))
        count++;
    assert_true(count >= 5);
    assert_string_equal(pv_rules_match_file(rules, "arch/x86/boot/pm.o", NULL)->name, "boot-stub");
    previrt_rules_free(rules);
    previrt_rules_free(NULL);
}

static void test_a_rule_about_room_says_nothing_of_sites(void **state)
{
    struct pv_rule_query query = {.output = "build/init/main.o", .section = ".text", .bits = 64};
    struct previrt_rules *rules;

    (void)state;
    assert_int_equal(previrt_rules_default_for(PREVIRT_ARCH_IA64, &rules), PREVIRT_OK);
    assert_true(pv_rules_give_room(rules, query.output, NULL));
    assert_false(pv_rules_give_room(rules, "build/init/version.o", NULL));
    assert_null(pv_rules_match(rules, &query));
    assert_null(pv_rules_match_file(rules, query.output, NULL));
    query.symbol = "__kernel_sigtramp";
    assert_string_equal(pv_rules_match(rules, &query)->name, "signal-trampoline");
    previrt_rules_free(rules);
    assert_int_equal(previrt_rules_default_for(0, &rules), PREVIRT_E_ARCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statements_end_where_as_ends_them),
        cmocka_unit_test(test_what_never_ends_ends_with_the_text),
        cmocka_unit_test(test_every_mnemonic_is_found_whatever_its_case),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_rules_say_where_they_are_wrong),
        cmocka_unit_test(test_rules_match),
        cmocka_unit_test(test_the_built_in_rules_are_good),
        cmocka_unit_test(test_a_rule_about_room_says_nothing_of_sites),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
