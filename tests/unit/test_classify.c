/* SPDX-License-Identifier: BSD-2-Clause */
/* The classifier: every form of the catalogue in every mode, what must not be sensitive, and the
 * fast paths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ia32/decoder.h"

static uint32_t random_state = 0x2545f491; /* fixed: a failure repeats */

/* Marsaglia's xorshift32. */
static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static int classify(const uint8_t *bytes, size_t size, unsigned bits,
                    struct previrt_ia32_class *result)
{
    memset(result, 0, sizeof(*result));
    result->size = sizeof(*result);
    return previrt_ia32_classify(bytes, size, bits, result);
}

static void describe(char *text, size_t room, const uint8_t *bytes, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < size && used < room; i++)
        used += (size_t)snprintf(text + used, room - used, "%02x ", bytes[i]);
}

static int is_fused(unsigned op)
{
    return op == PREVIRT_IA32_STI_HLT || op == PREVIRT_IA32_STI_MWAIT ||
           op == PREVIRT_IA32_STI_SYSEXIT;
}

/* One-byte pushes and pops of segment registers, far pointers, into, lds, les and arpl are gone in
 * 64-bit mode. */
static int exists_in(const struct previrt_ia32_form_info *form, unsigned bits)
{
    if (bits != 64)
        return 1;
    switch (form->form) {
    case PREVIRT_IA32_FORM_PUSH_ES:
    case PREVIRT_IA32_FORM_PUSH_CS:
    case PREVIRT_IA32_FORM_PUSH_SS:
    case PREVIRT_IA32_FORM_PUSH_DS:
    case PREVIRT_IA32_FORM_POP_ES:
    case PREVIRT_IA32_FORM_POP_SS:
    case PREVIRT_IA32_FORM_POP_DS:
    case PREVIRT_IA32_FORM_LCALL_PTR:
    case PREVIRT_IA32_FORM_LJMP_PTR:
    case PREVIRT_IA32_FORM_INTO:
    case PREVIRT_IA32_FORM_LDS:
    case PREVIRT_IA32_FORM_LES:
    case PREVIRT_IA32_FORM_ARPL:
        return 0;
    default:
        return 1;
    }
}

static int register_is_valid(const struct previrt_ia32_form_info *form, unsigned reg, unsigned bits)
{
    switch (form->layout) {
    case PREVIRT_LAYOUT_CR: /* CR0, 2, 3, 4; CR8 only with REX or LOCK */
        return reg == 0 || (reg >= 2 && reg <= 4);
    case PREVIRT_LAYOUT_DR: /* DR4 and 5 are 6 and 7 unless CR4.DE; Zydis knows them */
        (void)bits;
        return reg < 4 || reg > 5;
    case PREVIRT_LAYOUT_SREG:
        return reg < 6 && !(form->op == PREVIRT_IA32_MOV_TO_SEG && reg == 1);
    default:
        return 1;
    }
}

static void check(const struct previrt_ia32_form_info *form, unsigned bits, const uint8_t *bytes,
                  size_t length)
{
    struct previrt_ia32_class result;
    char text[128];
    int status = classify(bytes, length, bits, &result);

    describe(text, sizeof(text), bytes, length);
    if (status != PREVIRT_OK || result.op != form->op || result.length != length)
        fail_msg("form %u in %u bits, %s: status %d op %u length %u, wanted op %u length %zu",
                 form->form, bits, text, status, result.op, result.length, form->op, length);
    assert_int_equal(result.trap, previrt_ia32_op_info(form->op)->trap);
    assert_int_equal(result.policy, previrt_ia32_op_info(form->op)->policy);
    /* cut short it must say so, whatever it is */
    assert_int_equal(classify(bytes, length - 1, bits, &result), PREVIRT_E_TRUNCATED);
}

/* Encodes (form) with each ModRM byte that it allows and says what classify makes of it. */
static unsigned check_form(const struct previrt_ia32_form_info *form, unsigned bits)
{
    uint8_t bytes[16];
    size_t start = 0;
    unsigned checked = 0, immediate = bits == 16 ? 2 : 4;
    uint8_t mandatory = form->mandatory;

    /* 16-bit code: 0x66 chooses 32 bits, so the 16-bit port forms have none */
    if (bits == 16 && mandatory == 0x66 && form->width == 16)
        mandatory = 0;
    if (mandatory)
        bytes[start++] = mandatory;
    memcpy(bytes + start, form->opcode, form->length);
    start += form->length;

    switch (form->layout) {
    case PREVIRT_LAYOUT_NONE:
    case PREVIRT_LAYOUT_STRING:
        check(form, bits, bytes, start);
        return 1;
    case PREVIRT_LAYOUT_IMM8:
        bytes[start] = 0x80;
        check(form, bits, bytes, start + 1);
        return 1;
    case PREVIRT_LAYOUT_IMM16:
        memset(bytes + start, 4, 2);
        check(form, bits, bytes, start + 2);
        return 1;
    case PREVIRT_LAYOUT_PTR:
        memset(bytes + start, 0x10, immediate + 2);
        check(form, bits, bytes, start + immediate + 2);
        return 1;
    default:
        break;
    }

    for (unsigned modrm = 0; modrm < 256; modrm++) {
        unsigned mod = modrm >> 6, reg = modrm >> 3 & 7, rm = modrm & 7;
        size_t length = start + 1;

        if (form->extension >= 0 && reg != (unsigned)form->extension)
            continue;
        if ((form->layout == PREVIRT_LAYOUT_EXTMEM || form->layout == PREVIRT_LAYOUT_REGMEM) &&
            mod == 3)
            continue;
        if (form->layout == PREVIRT_LAYOUT_EXTREG && mod != 3)
            continue;
        if (!register_is_valid(form, reg, bits))
            continue;
        memset(bytes + start, 0, sizeof(bytes) - start);
        bytes[start] = (uint8_t)modrm;
        /* CR and DR forms ignore mod: no SIB and no displacement ever (SDM 2B, MOV control
         * registers) */
        if (form->layout != PREVIRT_LAYOUT_CR && form->layout != PREVIRT_LAYOUT_DR && mod != 3) {
            if (bits == 16) {
                length += mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
            } else {
                if (rm == 4) {
                    bytes[start + 1] = 0x24; /* (%esp) */
                    length++;
                }
                length += mod == 1 ? 1 : mod == 2 || (mod == 0 && rm == 5) ? 4 : 0;
            }
        }
        check(form, bits, bytes, length);
        checked++;
    }
    return checked;
}

static void every_form_is_classified_to_its_operation(void **state)
{
    static const unsigned modes[] = {16, 32, 64};
    unsigned forms = 0;

    (void)state;
    for (unsigned m = 0; m < 3; m++) {
        for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
            const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);

            if (!form || is_fused(form->op) || !exists_in(form, modes[m]))
                continue;
            if (!check_form(form, modes[m]))
                fail_msg("form %u in %u bits: nothing was checked", number, modes[m]);
            forms++;
        }
    }
    assert_true(forms > 300);
}

static void repeated_and_prefixed_operations_are_classified(void **state)
{
    static const struct {
        const char *bytes;
        unsigned length, op;
    } cases[] = {
        {"\xf3\x6c", 2, PREVIRT_IA32_INS},      /* rep insb */
        {"\xf3\x66\x6d", 3, PREVIRT_IA32_INS},  /* rep insw */
        {"\xf3\x66\x6f", 3, PREVIRT_IA32_OUTS}, /* rep outsw */
        {"\x67\xf2\x6e", 3, PREVIRT_IA32_OUTS}, /* repne outsb, 16-bit addresses */
        {"\x3e\xfa", 2, PREVIRT_IA32_CLI},      /* ds cli */
        {"\x3e\x3e\x3e\x3e\x3e\x3e\xfa", 7, PREVIRT_IA32_CLI},
        {"\x66\x9c", 2, PREVIRT_IA32_PUSHF}, /* pushfw */
        {"\x66\x9d", 2, PREVIRT_IA32_POPF},
        {"\x66\xcf", 2, PREVIRT_IA32_IRET},
        {"\x66\x0f\x01\x15\0\0\0\0", 8, PREVIRT_IA32_LGDT},
        {"\x2e\x8e\x15\0\0\0\0", 7, PREVIRT_IA32_MOV_TO_SEG},
        {"\x66\xed", 2, PREVIRT_IA32_IN},
        {"\x3e\x0f\x09", 3, PREVIRT_IA32_WBINVD},
        {"\xf3\x0f\x09", 3, PREVIRT_IA32_WBNOINVD},
        {"\xf2\xf3\x0f\x09", 4, PREVIRT_IA32_WBNOINVD},
        {"\xff\x1d\0\0\0\0", 6, PREVIRT_IA32_LCALL},
        {"\xff\x2d\0\0\0\0", 6, PREVIRT_IA32_LJMP},
        {"\xcd\x80", 2, PREVIRT_IA32_INT},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct previrt_ia32_class result;
        int status = classify((const uint8_t *)cases[i].bytes, cases[i].length, 32, &result);

        if (status || result.op != cases[i].op || result.length != cases[i].length)
            fail_msg("case %u: status %d op %u length %u", i, status, result.op, result.length);
    }
}

/* Among them what traps by design (int3, int1, ud2) and the neighbours in the sensitive opcodes'
 * groups. */
static void other_instructions_are_not_sensitive(void **state)
{
    static const struct {
        const char *bytes;
        unsigned length;
    } cases[] = {
        {"\xcc", 1},         /* int3 */
        {"\xf1", 1},         /* int1 */
        {"\x0f\x0b", 2},     /* ud2 */
        {"\x0f\xb9\xc0", 3}, /* ud1 */
        {"\x90", 1},
        {"\xf3\x90", 2}, /* pause */
        {"\x89\xc0", 2}, /* mov %eax,%eax */
        {"\x50", 1},     /* push %eax */
        {"\x58", 1},
        {"\xff\xd0", 2}, /* call *%eax */
        {"\xff\xe0", 2}, /* jmp *%eax */
        {"\xff\x30", 2}, /* push (%eax) */
        {"\xc3", 1},     /* ret */
        {"\xc2\x04\x00", 3},
        {"\xcf", 0},                 /* (no length: nothing to read) */
        {"\x0f\xc7\x08", 3},         /* cmpxchg8b */
        {"\x0f\xc7\xf0", 3},         /* rdrand */
        {"\x0f\xc7\x20", 3},         /* xsavec */
        {"\x0f\xae\xf8", 3},         /* sfence */
        {"\x0f\xae\x38", 3},         /* clflush */
        {"\xc5\xf8\x77", 3},         /* vzeroupper, lds' opcode */
        {"\xc4\xe2\x78\xf2\xc0", 5}, /* andn, les' opcode */
        {"\x0f\x01\xee", 3},         /* rdpkru */
        {"\x0f\x01\xd5", 3},         /* xend */
        {"\xf3\x0f\xb8\xc0", 4},     /* popcnt */
        {"\xf3\x0f\xae\xe8", 4},     /* incssp */
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct previrt_ia32_class result;
        int status = classify((const uint8_t *)cases[i].bytes, cases[i].length, 32, &result);

        if (!cases[i].length) {
            assert_int_equal(status, PREVIRT_E_TRUNCATED);
            continue;
        }
        if (status || result.op || result.length != cases[i].length)
            fail_msg("case %u: status %d op %u length %u", i, status, result.op, result.length);
    }
}

static void invalid_arguments_and_bytes_are_refused(void **state)
{
    struct previrt_ia32_class result = {sizeof(result)};
    const uint8_t cli = 0xfa;

    (void)state;
    assert_int_equal(previrt_ia32_classify(&cli, 1, 31, &result), PREVIRT_E_INVALID);
    assert_int_equal(previrt_ia32_classify(&cli, 1, 32, NULL), PREVIRT_E_INVALID);
    assert_int_equal(previrt_ia32_classify(NULL, 1, 32, &result), PREVIRT_E_INVALID);
    result.size = sizeof(result) - 1;
    assert_int_equal(previrt_ia32_classify(&cli, 1, 32, &result), PREVIRT_E_INVALID);
    /* lock cli; mov %eax,%cs; a second opcode byte that nothing has */
    assert_int_equal(classify((const uint8_t *)"\xf0\xfa", 2, 32, &result), PREVIRT_E_UNDECODABLE);
    assert_int_equal(classify((const uint8_t *)"\x8e\xc8", 2, 32, &result), PREVIRT_E_UNDECODABLE);
    assert_int_equal(classify((const uint8_t *)"\x0f\xff\xff", 1, 32, &result),
                     PREVIRT_E_TRUNCATED);
    assert_int_equal(classify((const uint8_t *)"\x0f\x04", 2, 32, &result), PREVIRT_E_UNDECODABLE);
}

/* Bytes that look like code more often than noise does: prefixes and catalogue opcodes are common.
 */
static void random_code(uint8_t bytes[16])
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65,
                                       0x66, 0x67, 0xf0, 0xf2, 0xf3};
    unsigned at = 0;

    for (unsigned i = 0; i < 16; i++)
        bytes[i] = (uint8_t)(next_random() >> 11);
    while (at < 8 && next_random() % 4 == 0)
        bytes[at++] = prefixes[next_random() % sizeof(prefixes)];
    switch (next_random() % 3) {
    case 0:
        return;
    case 1:
        bytes[at] = 0x0f;
        return;
    default: {
        const struct previrt_ia32_form_info *form = NULL;

        while (!form)
            form = previrt_ia32_form_info(next_random() % PREVIRT_IA32_FORM_LIMIT);
        if (form->mandatory)
            bytes[at++] = form->mandatory;
        memcpy(bytes + at, form->opcode, form->length);
    }
    }
}

/* The quick answers (plain lengths, minimal decoding) are those of complete decoding, or there are
 * none. */
static void fast_paths_agree_with_complete_decoding(void **state)
{
    static const unsigned modes[] = {16, 32, 64};
    const unsigned rounds = 150000;
    unsigned plain = 0;

    (void)state;
    for (unsigned m = 0; m < 3; m++) {
        struct pv_ia32_decoder decoder;

        assert_int_equal(pv_ia32_decoder_init(&decoder, modes[m]), PREVIRT_OK);
        for (unsigned i = 0; i < rounds; i++) {
            uint8_t bytes[16];
            size_t size = 1 + next_random() % 16;
            struct previrt_ia32_class slow, fast = {sizeof(fast)};
            int slow_status, fast_status;
            char text[64];

            random_code(bytes);
            slow_status = classify(bytes, size, modes[m], &slow);
            fast_status = pv_ia32_next(&decoder, bytes, size, &fast);
            describe(text, sizeof(text), bytes, size);
            if (slow_status != fast_status ||
                (!slow_status && (slow.op != fast.op || slow.length != fast.length)))
                fail_msg("%u bits, %s: complete %d op %u length %u, fast %d op %u length %u",
                         modes[m], text, slow_status, slow.op, slow.length, fast_status, fast.op,
                         fast.length);
            plain += modes[m] == 32 && pv_ia32_plain_length(bytes, size) != 0;
        }
    }
    assert_true(plain > rounds / 10); /* or it would prove nothing */
}

/*
 * The catalogue's own decoder, which runs in guests, and Zydis agree on every sensitive instruction
 * of 32-bit code: what the one accepts the other accepts, as the same operation with the same
 * length.
 */
static void site_decoder_and_classifier_agree(void **state)
{
    const unsigned rounds = 500000;
    unsigned sensitive = 0;

    (void)state;
    for (unsigned i = 0; i < rounds; i++) {
        struct previrt_ia32_class class;
        struct previrt_ia32_insn insn;
        size_t size = next_random() % 8 ? 16 : 1 + next_random() % 16;
        int by_zydis, by_site;
        uint8_t bytes[16];
        char text[64];

        random_code(bytes);
        by_zydis = classify(bytes, size, 32, &class);
        by_site = previrt_ia32_decode_site(bytes, size, 0, &insn);
        describe(text, sizeof(text), bytes, size);
        if (!by_zydis && class.op) {
            sensitive++;
            if (by_site || insn.op != class.op || insn.length != class.length)
                fail_msg("%s: classify: op %u length %u; decode_site: status %d op %u length %u",
                         text, class.op, class.length, by_site, insn.op, insn.length);
        } else if (!by_site) {
            fail_msg("%s: decode_site: op %u length %u; classify: status %d op %u", text, insn.op,
                     insn.length, by_zydis, class.op);
        }
    }
    assert_true(sensitive > rounds / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_is_classified_to_its_operation),
        cmocka_unit_test(repeated_and_prefixed_operations_are_classified),
        cmocka_unit_test(other_instructions_are_not_sensitive),
        cmocka_unit_test(invalid_arguments_and_bytes_are_refused),
        cmocka_unit_test(fast_paths_agree_with_complete_decoding),
        cmocka_unit_test(site_decoder_and_classifier_agree),
    };

    return cmocka_run_group_tests_name("classify", tests, NULL, NULL);
}
