/* SPDX-License-Identifier: BSD-2-Clause */
/* IA-64: bundles, registers, targets, scanning, table records. The instruction set itself is
 * compared with binutils in tests/ia64. */
#include "ia64/internal.h"

#include <previrt/table.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* SDM 1, table 3-10 */
static const char *const manual[PREVIRT_IA64_TEMPLATES] = {
    "MII",   "MII;", "MI;I", "MI;I;", "MLX",  "MLX;", NULL,   NULL,   "MMI",  "MMI;", "M;MI",
    "M;MI;", "MFI",  "MFI;", "MMF",   "MMF;", "MIB",  "MIB;", "MBB",  "MBB;", NULL,   NULL,
    "BBB",   "BBB;", "MMB",  "MMB;",  NULL,   NULL,   "MFB",  "MFB;", NULL,   NULL};

static void templates_are_the_manuals(void **state)
{
    (void)state;
    for (unsigned n = 0; n < PREVIRT_IA64_TEMPLATES; n++) {
        const struct previrt_ia64_template *t = previrt_ia64_template(n);
        char text[8] = "";

        if (!manual[n]) {
            assert_null(t);
            continue;
        }
        assert_non_null(t);
        for (unsigned s = 0; s < 3; s++) {
            strncat(text, &t->name[s], 1);
            if (t->stops >> s & 1)
                strcat(text, ";");
        }
        assert_string_equal(text, manual[n]);
        assert_int_equal(previrt_ia64_find_template(t->unit, t->stops), n);
    }
    assert_null(previrt_ia64_template(32));
}

static void bundles_survive_the_round_trip(void **state)
{
    uint64_t random = 88172645463325252u;

    (void)state;
    for (unsigned i = 0; i < 20000; i++) {
        uint8_t bytes[16], again[16];
        struct previrt_ia64_bundle bundle;

        for (unsigned b = 0; b < 16; b++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            bytes[b] = (uint8_t)(random >> 24);
        }
        if (previrt_ia64_unpack(bytes, &bundle) == PREVIRT_E_UNDECODABLE) {
            assert_null(manual[bytes[0] & 31]);
            assert_int_equal(previrt_ia64_pack(&bundle, again), PREVIRT_E_INVALID);
            continue;
        }
        assert_non_null(manual[bytes[0] & 31]);
        assert_int_equal(previrt_ia64_pack(&bundle, again), PREVIRT_OK);
        assert_memory_equal(bytes, again, 16);
        bundle.slot[i % 3] |= UINT64_C(1) << 41;
        assert_int_equal(previrt_ia64_pack(&bundle, again), PREVIRT_E_INVALID);
    }
}

/* A bundle that binutils assembled: { .mmi  alloc r32=ar.pfs,3,2,1,0; mov r2=r3; mov r4=5 ;; } */
static void a_known_bundle_is_taken_apart(void **state)
{
    static const uint8_t bytes[16] = {0x09, 0x00, 0x19, 0x0a, 0x80, 0x05, 0x20, 0x00,
                                      0x0c, 0x00, 0x42, 0x80, 0x50, 0x00, 0x00, 0x90};
    static const char *const texts[3] = {"alloc r32=ar.pfs,6,5,0", "mov r2=r3", "mov r4=5"};
    struct previrt_ia64_bundle bundle;

    (void)state;
    assert_int_equal(previrt_ia64_unpack(bytes, &bundle), PREVIRT_OK);
    for (unsigned s = 0; s < 3; s++) {
        struct previrt_ia64_insn insn;
        char text[64];

        assert_int_equal(previrt_ia64_decode_slot(&bundle, s, &insn), PREVIRT_OK);
        assert_true(previrt_ia64_text(&insn, 0, text, sizeof(text)) > 0);
        assert_string_equal(text, texts[s]);
        assert_int_equal(previrt_ia64_text(&insn, 0, text, 4), PREVIRT_E_SPACE);
        assert_int_equal(strlen(text), 3);
    }
}

static struct previrt_ia64_insn decode(unsigned unit, uint64_t bits)
{
    struct previrt_ia64_insn insn;

    assert_int_equal(previrt_ia64_decode(unit, bits, 0, &insn), PREVIRT_OK);
    return insn;
}

static void registers_are_found(void **state)
{
    struct previrt_ia64_registers reads, writes;
    struct previrt_ia64_insn insn;

    (void)state;
    /* (p5) ld8 r7=[r9],r100: major 4, m, x6 3 */
    insn = decode(PREVIRT_IA64_UNIT_M, UINT64_C(4) << 37 | UINT64_C(1) << 36 | UINT64_C(3) << 30 |
                                           9u << 20 | 100u << 13 | 7u << 6 | 5);
    previrt_ia64_registers(&insn, &reads, &writes);
    assert_true(reads.gr[0] == 1u << 9 && reads.gr[1] == UINT64_C(1) << 36);
    assert_true(writes.gr[0] == (1u << 7 | 1u << 9) && !writes.gr[1]);
    assert_true(reads.pr == 1u << 5 && !writes.pr);
    /* cmp.eq p6,p0=r0,r3: neither p0 nor r0 is a register that anything depends on */
    insn = decode(PREVIRT_IA64_UNIT_I, UINT64_C(0xe) << 37 | 3u << 20 | 6u << 6);
    previrt_ia64_registers(&insn, &reads, &writes);
    assert_true(writes.pr == 1u << 6 && reads.gr[0] == 1u << 3 && !reads.pr);
    /* br.call b3=b5 */
    insn = decode(PREVIRT_IA64_UNIT_B, UINT64_C(1) << 37 | UINT64_C(1) << 32 | 5u << 13 | 3u << 6);
    previrt_ia64_registers(&insn, &reads, &writes);
    assert_true(reads.br == 1u << 5 && writes.br == 1u << 3);
    assert_true(writes.ar[1] & 1); /* ar.pfs, 64 */
    assert_true(insn.effects & PREVIRT_IA64_LINKS);
    /* br.ctop rotates: p16 to p63 change, with ar.lc and ar.ec */
    insn = decode(PREVIRT_IA64_UNIT_B, UINT64_C(4) << 37 | 7u << 6);
    previrt_ia64_registers(&insn, &reads, &writes);
    assert_true(writes.pr == ~UINT64_C(0xffff) && writes.ar[1] == (1u << 1 | 1u << 2));
    /* mov r8=cr.ivr */
    insn =
        decode(PREVIRT_IA64_UNIT_M, UINT64_C(1) << 37 | UINT64_C(0x24) << 27 | 65u << 20 | 8u << 6);
    previrt_ia64_registers(&insn, &reads, &writes);
    assert_true(writes.gr[0] == 1u << 8 && !reads.gr[0] && !reads.gr[1]);
    assert_int_equal(insn.op, PREVIRT_IA64_MOV_FROM_CR);
}

static void branches_are_retargeted(void **state)
{
    struct previrt_ia64_insn insn = decode(PREVIRT_IA64_UNIT_B, UINT64_C(4) << 37);
    uint64_t target, here = UINT64_C(0xa000000100000000);

    (void)state;
    assert_int_equal(previrt_ia64_retarget(&insn, here, here - 0x1000000), PREVIRT_OK);
    assert_int_equal(previrt_ia64_target(&insn, here, &target), PREVIRT_OK);
    assert_true(target == here - 0x1000000);
    assert_int_equal(previrt_ia64_retarget(&insn, here, here + 0x1000000), PREVIRT_E_REACH);
    assert_int_equal(previrt_ia64_retarget(&insn, here, here + 0xfffff0), PREVIRT_OK);
    assert_int_equal(previrt_ia64_retarget(&insn, here, here + 8), PREVIRT_E_INVALID);
    insn = decode(PREVIRT_IA64_UNIT_X, UINT64_C(0xc) << 37);
    assert_int_equal(previrt_ia64_retarget(&insn, here, 0x40), PREVIRT_OK);
    assert_int_equal(previrt_ia64_target(&insn, here, &target), PREVIRT_OK);
    assert_true(target == 0x40);
    insn = decode(PREVIRT_IA64_UNIT_M, UINT64_C(1) << 27); /* nop.m */
    assert_int_equal(previrt_ia64_retarget(&insn, here, here), PREVIRT_E_INVALID);
}

struct seen {
    unsigned sites, undecodable, stop_after;
    uint64_t address;
    unsigned slot, op;
};

static int visit(void *context, uint64_t address, unsigned slot,
                 const struct previrt_ia64_insn *insn)
{
    struct seen *seen = context;

    if (!insn) {
        seen->undecodable++;
        return 0;
    }
    seen->address = address;
    seen->slot = slot;
    seen->op = insn->op;
    return ++seen->sites == seen->stop_after ? 7 : 0;
}

static void scanning_reports_what_is_selected(void **state)
{
    uint8_t code[48] = {0};
    struct previrt_ia64_bundle b = {
        {1u << 27, UINT64_C(7) << 27 | 0x4000u << 6, 1u << 27}, 0x08, {0}};
    struct previrt_ia64_scan_result result;
    struct seen seen = {0};

    (void)state;
    previrt_ia64_pack(&b, code);   /* nop.m; rsm 0x4000; nop.i */
    b.slot[0] = UINT64_C(3) << 31; /* srlz.d */
    b.slot[1] = UINT64_C(5) << 27; /* rum 0 */
    previrt_ia64_pack(&b, code + 16);
    code[32] = 6; /* a reserved template */
    assert_int_equal(previrt_ia64_scan(code, 48, 0x1000, PREVIRT_IA64_SELECT_SENSITIVE, 1, visit,
                                       &seen, &result),
                     PREVIRT_OK);
    assert_int_equal(seen.sites, 2);
    assert_int_equal(seen.undecodable, 1);
    assert_int_equal(seen.op, PREVIRT_IA64_RUM);
    assert_int_equal(seen.address, 0x1010);
    assert_int_equal(seen.slot, 1);
    assert_int_equal(result.bundles, 3);
    assert_int_equal(result.slots, 6);
    seen = (struct seen){.stop_after = 1};
    assert_int_equal(
        previrt_ia64_scan(code, 48, 0x1000, PREVIRT_IA64_SELECT_ALL, 0, visit, &seen, NULL), 7);
    assert_int_equal(seen.op, PREVIRT_IA64_RSM);
    assert_int_equal(previrt_ia64_scan(code, 40, 0x1000, 0, 0, NULL, NULL, NULL),
                     PREVIRT_E_TRUNCATED);
    assert_int_equal(previrt_ia64_scan(code, 32, 0x1001, 0, 0, NULL, NULL, NULL),
                     PREVIRT_E_INVALID);
}

static void the_catalogue_is_consistent(void **state)
{
    unsigned count = 0;

    (void)state;
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);

        assert_non_null(info);
        assert_int_equal(info->op, op);
        assert_int_equal(previrt_ia64_op_by_name(info->name), op);
        assert_true(info->trap && info->policy && info->source[0]);
        count++;
    }
    assert_int_equal(count, 75);
    assert_null(previrt_ia64_op_info(0));
    assert_null(previrt_ia64_op_info(PREVIRT_IA64_OP_LIMIT));
    assert_int_equal(previrt_ia64_op_by_name("no such operation"), 0);
    /* the decoder searches by unit and major opcode: its table must be in that order */
    for (size_t i = 1; pv_ia64_row(i); i++)
        if (pv_ia64_row(i)->unit == pv_ia64_row(i - 1)->unit)
            assert_true(pv_ia64_row(i)->match >> 37 >= pv_ia64_row(i - 1)->match >> 37);
}

/* The text of docs/table-format.md's IA-64 vector, and its run. */
#define VECTOR_AT       UINT64_C(0x4000)
#define VECTOR_NOTES_AT UINT64_C(0x2000)
#define VECTOR_RUN      28 /* offset of the run in the notes */
static uint8_t vector_text[0x4040];

static const uint8_t *vector_bytes(void *context, uint64_t address, size_t length)
{
    (void)context;
    return address >= VECTOR_AT && address - VECTOR_AT <= sizeof(vector_text) - length
               ? &vector_text[address - VECTOR_AT]
               : NULL;
}

static void records_are_the_documents(void **state)
{
    static const uint8_t document[] = {
        0xe4, 0x1f, 0x00, 0x00, 0x04, /* the run: its first bundle is at 0x4000; four sites */
        0x00, 0x01, 0x00, 0x00,       /* slot 0 of the first bundle: rsm */
        0x00, 0x0a, 0x88, 0x41,       /* the next slot: (p6) mov r8=cr.ivr */
        0x06, 0x38, 0x00, 0x80,       /* six slots on: cover, pinned */
        0x80, 0x18, 0x1b, 0x05, 0x04, /* 3072 slots on: mov pkr[r4]=r5 */
    };
    static const struct {
        uint64_t address;
        unsigned slot;
        const char *text;
    } expected[] = {{0x4000, 0, "rsm 0x4000"},
                    {0x4000, 1, "(p06) mov r8=cr.ivr"},
                    {0x4020, 2, "cover"},
                    {0x8030, 0, "mov pkr[r4]=r5"}};
    const uint64_t nop = 1u << 27;
    struct previrt_ia64_bundle b[] = {
        {{UINT64_C(7) << 27 | 0x4000u << 6,
          UINT64_C(1) << 37 | UINT64_C(0x24) << 27 | 65u << 20 | 8u << 6 | 6, nop},
         0x08,
         {0}},
        {{nop, nop, UINT64_C(2) << 27}, 0x11, {0}},
        {{UINT64_C(1) << 37 | UINT64_C(3) << 27 | 4u << 20 | 5u << 13, nop, nop}, 0x00, {0}}};
    struct previrt_site sites[4], site;
    struct previrt_table_cursor cursor;
    uint8_t notes[200];
    size_t size = sizeof(notes);

    (void)state;
    previrt_ia64_pack(&b[0], vector_text);
    previrt_ia64_pack(&b[1], vector_text + 0x20);
    previrt_ia64_pack(&b[2], vector_text + 0x4030);
    for (unsigned i = 0; i < 4; i++) {
        const uint8_t *bytes = vector_bytes(NULL, expected[i].address, 16);
        struct previrt_ia64_bundle bundle;
        struct previrt_ia64_insn insn;
        char text[64];

        previrt_ia64_unpack(bytes, &bundle);
        assert_int_equal(previrt_ia64_decode_slot(&bundle, expected[i].slot, &insn), PREVIRT_OK);
        previrt_ia64_text(&insn, 0, text, sizeof(text));
        assert_string_equal(text, expected[i].text);
        previrt_ia64_site_from_insn(&insn, expected[i].address, expected[i].slot, &sites[i]);
    }
    sites[2].operand |= PREVIRT_IA64_OPERAND_PINNED;
    assert_int_equal(
        previrt_table_encode(sites, 4, VECTOR_NOTES_AT, vector_bytes, NULL, notes, &size),
        PREVIRT_OK);
    assert_memory_equal(notes + VECTOR_RUN, document, sizeof(document));
    previrt_table_begin(&cursor, notes, size, VECTOR_NOTES_AT);
    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(previrt_table_next(&cursor, &site), 1);
        assert_memory_equal(&site, &sites[i], sizeof(site));
        assert_int_equal(previrt_ia64_match_site(&site, vector_bytes(NULL, site.address, 16), NULL),
                         PREVIRT_OK);
    }
    assert_int_equal(previrt_table_next(&cursor, &site), 0);
    assert_int_equal(previrt_table_check(notes, size, VECTOR_NOTES_AT, vector_bytes, NULL, NULL),
                     PREVIRT_OK);
    vector_text[0x20] ^= 0x20; /* slot 0 of that bundle is no site */
    assert_int_equal(previrt_table_check(notes, size, VECTOR_NOTES_AT, vector_bytes, NULL, NULL),
                     PREVIRT_OK);
    vector_text[0x2f] ^= 1;
    assert_int_equal(previrt_table_check(notes, size, VECTOR_NOTES_AT, vector_bytes, NULL, NULL),
                     PREVIRT_E_DIGEST);
}

static void sites_match_their_bundles_only(void **state)
{
    struct previrt_ia64_bundle b = {
        {1u << 27, UINT64_C(1) << 37 | UINT64_C(0x24) << 27 | 66u << 20 | 8u << 6 | 6, 1u << 27},
        0x08,
        {0}};
    struct previrt_ia64_insn insn;
    struct previrt_site site, other;
    uint8_t bytes[16];

    (void)state;
    previrt_ia64_pack(&b, bytes); /* (p6) mov r8=cr.tpr in slot 1 */
    assert_int_equal(previrt_ia64_decode_slot(&b, 1, &insn), PREVIRT_OK);
    assert_int_equal(previrt_ia64_site_from_insn(&insn, 0x40, 1, &site), PREVIRT_OK);
    assert_int_equal(site.operand, 66 << 8 | PREVIRT_IA64_OPERAND_PREDICATED | 8);
    assert_int_equal(previrt_ia64_match_site(&site, bytes, NULL), PREVIRT_OK);
    other = site;
    other.operand |= PREVIRT_IA64_OPERAND_PINNED;
    assert_int_equal(previrt_ia64_match_site(&other, bytes, NULL), PREVIRT_OK);
    other = site;
    other.slot = 0;
    assert_int_equal(previrt_ia64_match_site(&other, bytes, NULL), PREVIRT_E_BYTES);
    other.slot = 3;
    assert_int_equal(previrt_ia64_match_site(&other, bytes, NULL), PREVIRT_E_OPERATION);
    other = site;
    other.operand ^= 1;
    assert_int_equal(previrt_ia64_match_site(&other, bytes, NULL), PREVIRT_E_BYTES);
    other = site;
    other.arch = PREVIRT_ARCH_IA32;
    assert_int_equal(previrt_ia64_match_site(&other, bytes, NULL), PREVIRT_E_ARCH);
    previrt_ia64_decode(PREVIRT_IA64_UNIT_M, 1u << 27, 0, &insn); /* nop.m */
    assert_int_equal(previrt_ia64_site_from_insn(&insn, 0x40, 1, &site), PREVIRT_E_OPERATION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_the_manuals),
        cmocka_unit_test(bundles_survive_the_round_trip),
        cmocka_unit_test(a_known_bundle_is_taken_apart),
        cmocka_unit_test(registers_are_found),
        cmocka_unit_test(branches_are_retargeted),
        cmocka_unit_test(scanning_reports_what_is_selected),
        cmocka_unit_test(the_catalogue_is_consistent),
        cmocka_unit_test(records_are_the_documents),
        cmocka_unit_test(sites_match_their_bundles_only),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
