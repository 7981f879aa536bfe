/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The site decoder against Zydis: over the whole opcode space and over random bytes, it finds a
 * sensitive operation exactly where Zydis does, with the same length and operands. Fused pairs,
 * matching.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <Zydis/Zydis.h>

#include <previrt/ia32.h>
#include <previrt/table.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static uint32_t random_state = 0x9e3779b9; /* fixed: a failure repeats */

/* Marsaglia's xorshift32. */
static uint32_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

/* The catalogue's mnemonics; NONE is where several operations share one. */
#define ZYDIS_MNEMONIC_NONE ZYDIS_MNEMONIC_INVALID
/* Zydis 4.0 takes it for what older CPUs take it for: wbinvd */
#define ZYDIS_MNEMONIC_WBNOINVD ZYDIS_MNEMONIC_INVALID
static const struct {
    ZydisMnemonic mnemonic;
    uint8_t op;
} mnemonics[] = {
#define PREVIRT_IA32_OP(number, ID, name, MNEMONIC, trap, policy, room, feature, reads, writes,    \
                        source)                                                                    \
    {ZYDIS_MNEMONIC_##MNEMONIC, number},
#include <previrt/ia32_ops.def>
};

static uint8_t op_of_mnemonic[ZYDIS_MNEMONIC_MAX_VALUE + 1];
static ZydisDecoder decoder;

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(mnemonics); i++)
        if (mnemonics[i].mnemonic != ZYDIS_MNEMONIC_INVALID)
            op_of_mnemonic[mnemonics[i].mnemonic] = mnemonics[i].op;
    return ZYAN_SUCCESS(
               ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32))
               ? 0
               : -1;
}

static ZydisRegisterClass operand_class(const ZydisDecodedOperand *operand)
{
    return operand->type == ZYDIS_OPERAND_TYPE_REGISTER ? ZydisRegisterGetClass(operand->reg.value)
                                                        : ZYDIS_REGCLASS_INVALID;
}

/* Which operation Zydis' instruction is, by its own words and not by its opcode. */
static unsigned zydis_op(const ZydisDecodedInstruction *insn, const ZydisDecodedOperand *operands)
{
    switch (insn->mnemonic) {
    case ZYDIS_MNEMONIC_WBINVD: {
        uint8_t last = 0;

        for (unsigned i = 0; i < insn->raw.prefix_count; i++)
            if (insn->raw.prefixes[i].value == 0xf2 || insn->raw.prefixes[i].value == 0xf3)
                last = insn->raw.prefixes[i].value;
        return last == 0xf3 ? PREVIRT_IA32_WBNOINVD : PREVIRT_IA32_WBINVD;
    }
    case ZYDIS_MNEMONIC_PUSHF:
    case ZYDIS_MNEMONIC_PUSHFD:
        return PREVIRT_IA32_PUSHF;
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
        return PREVIRT_IA32_POPF;
    case ZYDIS_MNEMONIC_IRET:
    case ZYDIS_MNEMONIC_IRETD:
        return PREVIRT_IA32_IRET;
    case ZYDIS_MNEMONIC_INSB:
    case ZYDIS_MNEMONIC_INSW:
    case ZYDIS_MNEMONIC_INSD:
        return PREVIRT_IA32_INS;
    case ZYDIS_MNEMONIC_OUTSB:
    case ZYDIS_MNEMONIC_OUTSW:
    case ZYDIS_MNEMONIC_OUTSD:
        return PREVIRT_IA32_OUTS;
    case ZYDIS_MNEMONIC_CALL:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LCALL : 0;
    case ZYDIS_MNEMONIC_JMP:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LJMP : 0;
    case ZYDIS_MNEMONIC_RET:
        return insn->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR ? PREVIRT_IA32_LRET : 0;
    case ZYDIS_MNEMONIC_PUSH:
        return operand_class(&operands[0]) == ZYDIS_REGCLASS_SEGMENT ? PREVIRT_IA32_PUSH_SEG : 0;
    case ZYDIS_MNEMONIC_POP:
        return operand_class(&operands[0]) == ZYDIS_REGCLASS_SEGMENT ? PREVIRT_IA32_POP_SEG : 0;
    case ZYDIS_MNEMONIC_MOV:
        switch (operand_class(&operands[0])) {
        case ZYDIS_REGCLASS_SEGMENT:
            return PREVIRT_IA32_MOV_TO_SEG;
        case ZYDIS_REGCLASS_CONTROL:
            return PREVIRT_IA32_MOV_TO_CR;
        case ZYDIS_REGCLASS_DEBUG:
            return PREVIRT_IA32_MOV_TO_DR;
        default:
            break;
        }
        switch (operand_class(&operands[1])) {
        case ZYDIS_REGCLASS_SEGMENT:
            return PREVIRT_IA32_MOV_FROM_SEG;
        case ZYDIS_REGCLASS_CONTROL:
            return PREVIRT_IA32_MOV_FROM_CR;
        case ZYDIS_REGCLASS_DEBUG:
            return PREVIRT_IA32_MOV_FROM_DR;
        default:
            return 0;
        }
    default:
        return op_of_mnemonic[insn->mnemonic];
    }
}

static uint8_t register_number(ZydisRegister reg)
{
    return reg == ZYDIS_REGISTER_NONE ? 0xff : (uint8_t)ZydisRegisterGetId(reg);
}

static unsigned form_seen[PREVIRT_IA32_FORM_LIMIT];
static unsigned sites_seen;

#define CHECK_EQUAL(what, ours, theirs)                                                            \
    do {                                                                                           \
        if ((uint64_t)(ours) != (uint64_t)(theirs))                                                \
            differ(bytes, what, (uint64_t)(ours), (uint64_t)(theirs));                             \
    } while (0)

static void differ(const uint8_t *bytes, const char *what, uint64_t ours, uint64_t theirs)
{
    char text[64] = "";

    for (unsigned i = 0; i < PREVIRT_LENGTH_MAX; i++)
        sprintf(text + 3 * i, "%02x ", bytes[i]);
    fail_msg("%s: %s is 0x%llx, Zydis has 0x%llx", text, what, (unsigned long long)ours,
             (unsigned long long)theirs);
}

/* Lengths, operands, offsets: (ours) against what Zydis says, field by field. */
static void compare_details(const uint8_t *bytes, const struct previrt_ia32_insn *ours,
                            const ZydisDecodedInstruction *theirs,
                            const ZydisDecodedOperand *operands)
{
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(ours->form);
    const ZydisDecodedOperand *memory = NULL;
    unsigned immediate_bits = theirs->raw.imm[0].size + theirs->raw.imm[1].size;

    CHECK_EQUAL("length", ours->length, theirs->length);
    CHECK_EQUAL("prefixes", ours->prefixes, theirs->raw.prefix_count);
    if (ours->is_memory || form->layout == PREVIRT_LAYOUT_STRING)
        CHECK_EQUAL("address size", ours->address16 ? 16 : 32, theirs->address_width);
    if (form->width == 0 && !ours->is_memory)
        CHECK_EQUAL("operand size", ours->width, theirs->operand_width);
    for (unsigned i = 0; i < theirs->operand_count; i++)
        if (operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
            operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
            memory = &operands[i];

    if (ours->has_modrm) {
        CHECK_EQUAL("ModRM", theirs->attributes & ZYDIS_ATTRIB_HAS_MODRM, ZYDIS_ATTRIB_HAS_MODRM);
        CHECK_EQUAL("ModRM offset", ours->opcode_end, theirs->raw.modrm.offset);
        CHECK_EQUAL("ModRM.reg", ours->modrm >> 3 & 7, theirs->raw.modrm.reg);
        CHECK_EQUAL("ModRM.rm", ours->modrm & 7, theirs->raw.modrm.rm);
        CHECK_EQUAL("memory", ours->is_memory, memory != NULL);
    }
    if (ours->is_memory) {
        CHECK_EQUAL("base", ours->base, register_number(memory->mem.base));
        CHECK_EQUAL("index", ours->index, register_number(memory->mem.index));
        if (memory->mem.index != ZYDIS_REGISTER_NONE)
            CHECK_EQUAL("scale", ours->scale, memory->mem.scale);
        if (theirs->attributes & ZYDIS_ATTRIB_HAS_SIB)
            CHECK_EQUAL("SIB", ours->sib, bytes[theirs->raw.sib.offset]);
        if (ours->segment != 0xff)
            CHECK_EQUAL("segment", ours->segment, register_number(memory->mem.segment));
    }
    CHECK_EQUAL("displacement size", ours->displacement_size * 8, theirs->raw.disp.size);
    CHECK_EQUAL("displacement offset", ours->displacement_offset, theirs->raw.disp.offset);
    CHECK_EQUAL("displacement", ours->displacement, theirs->raw.disp.value);
    CHECK_EQUAL("immediate size", ours->immediate_size * 8, immediate_bits);
    CHECK_EQUAL("immediate offset", ours->immediate_offset, theirs->raw.imm[0].offset);
    if (form->layout == PREVIRT_LAYOUT_PTR) {
        for (unsigned i = 0; i < theirs->operand_count; i++)
            if (operands[i].type == ZYDIS_OPERAND_TYPE_POINTER) {
                CHECK_EQUAL("pointer's offset", ours->immediate, operands[i].ptr.offset);
                CHECK_EQUAL("pointer's selector", ours->selector, operands[i].ptr.segment);
            }
    } else if (ours->immediate_size) {
        CHECK_EQUAL("immediate", ours->immediate, theirs->raw.imm[0].value.u);
    }
    if (form->layout == PREVIRT_LAYOUT_STRING) {
        int repeated = (theirs->attributes & (ZYDIS_ATTRIB_HAS_REP | ZYDIS_ATTRIB_HAS_REPE |
                                              ZYDIS_ATTRIB_HAS_REPNE)) != 0;

        if (repeated)
            CHECK_EQUAL("repetition", ours->rep != 0, repeated);
    } else {
        CHECK_EQUAL("repetition", ours->rep, 0);
    }
    /* what the digest covers ends where displacement and immediate begin */
    CHECK_EQUAL("invariant bytes", ours->invariant,
                ours->length - ours->displacement_size - ours->immediate_size);
}

/* One byte string through both decoders. */
static void compare(const uint8_t *bytes, size_t size)
{
    ZydisDecodedInstruction theirs;
    ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
    ZydisDecoderContext context;
    struct previrt_ia32_insn ours;
    int status = previrt_ia32_decode_site(bytes, size, 0, &ours);
    unsigned op = 0;

    if (ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder, &context, bytes, size, &theirs)) &&
        ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder, &context, &theirs, operands,
                                                theirs.operand_count)))
        op = zydis_op(&theirs, operands);
    CHECK_EQUAL("operation", status == PREVIRT_OK ? ours.op : 0, op);
    if (!op)
        return;

    sites_seen++;
    form_seen[ours.form]++;
    compare_details(bytes, &ours, &theirs, operands);

    /* cut short anywhere, it is truncated: neither accepted nor taken for something else */
    for (size_t cut = 0; cut < ours.length; cut++) {
        struct previrt_ia32_insn part;

        CHECK_EQUAL("status of the truncated instruction",
                    previrt_ia32_decode_site(bytes, cut, 0, &part), PREVIRT_E_TRUNCATED);
    }
}

/* Puts one opcode (with its escape bytes) behind every set of prefixes and in front of every ModRM
 * byte. */
static void compare_opcode(const uint8_t *opcode, size_t length)
{
    static const char *const prefix_sets[] = {
        "",         "\x66",     "\x67",         "\xf2",     "\xf3",
        "\xf0",     "\x3e",     "\x66\xf2",     "\xf3\x66", "\xf2\xf3",
        "\xf3\xf2", "\x67\x66", "\x3e\x3e\x3e", "\x26\x65", "\x64\xf3"};
    static const uint8_t sibs[] = {0x24, 0x25, 0x60, 0x8d, 0xff};

    for (size_t set = 0; set < COUNT(prefix_sets); set++) {
        uint8_t bytes[32] = {0};
        size_t at = strlen(prefix_sets[set]);

        memcpy(bytes, prefix_sets[set], at);
        memcpy(bytes + at, opcode, length);
        at += length;
        for (unsigned modrm = 0; modrm < 256; modrm++) {
            bytes[at] = (uint8_t)modrm;
            for (size_t i = at + 1; i < at + 11; i++)
                bytes[i] = (uint8_t)(0x81 + 37 * i);
            compare(bytes, PREVIRT_LENGTH_MAX);
            if ((modrm & 7) != 4 || modrm >> 6 == 3)
                continue;
            for (size_t i = 0; i < COUNT(sibs); i++) {
                bytes[at + 1] = sibs[i];
                compare(bytes, PREVIRT_LENGTH_MAX);
            }
        }
    }
}

static void agrees_with_zydis_over_all_opcodes(void **state)
{
    (void)state;
    for (unsigned byte = 0; byte < 256; byte++) {
        const uint8_t one[] = {(uint8_t)byte};
        const uint8_t two[] = {0x0f, (uint8_t)byte};
        const uint8_t three_38[] = {0x0f, 0x38, (uint8_t)byte};
        const uint8_t three_3a[] = {0x0f, 0x3a, (uint8_t)byte};

        compare_opcode(one, sizeof(one));
        compare_opcode(two, sizeof(two));
        compare_opcode(three_38, sizeof(three_38));
        compare_opcode(three_3a, sizeof(three_3a));
    }
    for (unsigned form = 1; form < PREVIRT_IA32_FORM_LIMIT; form++) {
        const struct previrt_ia32_form_info *info = previrt_ia32_form_info(form);

        if (info->op != PREVIRT_IA32_STI_HLT && info->op != PREVIRT_IA32_STI_MWAIT &&
            info->op != PREVIRT_IA32_STI_SYSEXIT && !form_seen[form])
            fail_msg("form %u was never decoded", form);
    }
    print_message("%u sensitive encodings compared\n", sites_seen);
}

static void agrees_with_zydis_over_random_bytes(void **state)
{
    static const uint8_t prefixes[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf2, 0xf3};

    (void)state;
    for (unsigned round = 0; round < 800000; round++) {
        uint8_t bytes[24];
        size_t at = 0, size = round & 1 ? sizeof(bytes) : 1 + next_random() % 15;

        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (uint8_t)(next_random() >> 11);
        /* every other one begins with prefixes, up to more than an instruction can have */
        if (round & 2)
            for (size_t count = next_random() % 17; count; count--)
                bytes[at++] = prefixes[next_random() % COUNT(prefixes)];
        /* and every fourth goes on with an opcode of the catalogue */
        if (round & 4) {
            unsigned number = 1 + next_random() % (PREVIRT_IA32_FORM_LIMIT - 1);
            const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);

            memcpy(bytes + at, form->opcode, form->length);
        }
        compare(bytes, size);
    }
}

static void longer_than_fifteen_bytes_is_refused(void **state)
{
    uint8_t bytes[20];
    struct previrt_ia32_insn insn;

    (void)state;
    memset(bytes, 0x3e, sizeof(bytes));
    bytes[14] = 0xfa; /* 14 prefixes and cli */
    assert_int_equal(previrt_ia32_decode_site(bytes, sizeof(bytes), 0, &insn), PREVIRT_OK);
    assert_int_equal(insn.length, 15);
    assert_int_equal(insn.prefixes, 14);
    bytes[14] = 0x3e;
    bytes[15] = 0xfa;
    assert_int_equal(previrt_ia32_decode_site(bytes, sizeof(bytes), 0, &insn), PREVIRT_E_OPERATION);
    bytes[12] = 0x0f; /* lidt with a 32-bit displacement from byte 15 on */
    bytes[13] = 0x01;
    bytes[14] = 0x1d;
    assert_int_equal(previrt_ia32_decode_site(bytes, sizeof(bytes), 0, &insn), PREVIRT_E_OPERATION);
    assert_int_equal(previrt_ia32_decode_site(bytes, 14, 0, &insn), PREVIRT_E_TRUNCATED);
}

static void sti_pairs_are_fused_on_request(void **state)
{
    static const struct {
        uint8_t bytes[6];
        uint8_t op, length;
    } pairs[] = {{{0xfb, 0xf4}, PREVIRT_IA32_STI_HLT, 2},
                 {{0x3e, 0x3e, 0xfb, 0xf4}, PREVIRT_IA32_STI_HLT, 4},
                 {{0xfb, 0x0f, 0x01, 0xc9}, PREVIRT_IA32_STI_MWAIT, 4},
                 {{0xfb, 0x0f, 0x35}, PREVIRT_IA32_STI_SYSEXIT, 3},
                 {{0xfb, 0x90, 0xf4}, PREVIRT_IA32_STI, 1},
                 {{0xfb, 0x0f, 0x01, 0xc8}, PREVIRT_IA32_STI, 1}};
    struct previrt_ia32_insn insn;

    (void)state;
    for (size_t i = 0; i < COUNT(pairs); i++) {
        assert_int_equal(previrt_ia32_decode_site(pairs[i].bytes, sizeof(pairs[i].bytes), 1, &insn),
                         PREVIRT_OK);
        assert_int_equal(insn.op, pairs[i].op);
        assert_int_equal(insn.length, pairs[i].length);
        assert_int_equal(insn.invariant, pairs[i].length);
        assert_int_equal(previrt_ia32_decode_site(pairs[i].bytes, sizeof(pairs[i].bytes), 0, &insn),
                         PREVIRT_OK);
        assert_int_equal(insn.op, PREVIRT_IA32_STI);
    }
    /* the pair's second half is not there */
    assert_int_equal(previrt_ia32_decode_site(pairs[2].bytes, 3, 1, &insn), PREVIRT_OK);
    assert_int_equal(insn.op, PREVIRT_IA32_STI);
}

static struct previrt_site site_of(const uint8_t *bytes, size_t size)
{
    struct previrt_site site = {.arch = PREVIRT_ARCH_IA32};
    struct previrt_ia32_insn insn;

    assert_int_equal(previrt_ia32_decode_site(bytes, size, 0, &insn), PREVIRT_OK);
    previrt_ia32_site_from_insn(&insn, &site);
    return site;
}

static void records_hold_the_operands(void **state)
{
    static const struct {
        uint8_t bytes[8];
        uint8_t form;
        uint16_t operand; /* docs/table-format.md */
    } records[] = {
        {{0xe4, 0x71}, PREVIRT_IA32_FORM_IN8_IMM, 0x71},
        {{0x66, 0xed}, PREVIRT_IA32_FORM_IN16_DX, 0},
        {{0x66, 0x9c}, PREVIRT_IA32_FORM_PUSHF, 0x40},
        {{0x0f, 0x22, 0xd9}, PREVIRT_IA32_FORM_MOV_TO_CR, 3 << 3 | 1},
        {{0x0f, 0x21, 0xf7}, PREVIRT_IA32_FORM_MOV_FROM_DR, 6 << 3 | 7},
        {{0x8e, 0xe8}, PREVIRT_IA32_FORM_MOV_TO_SEG, 5 << 3 | 0},
        {{0x3e, 0x8e, 0x20}, PREVIRT_IA32_FORM_MOV_TO_SEG, 0x80 | 4 << 3 | 2},
        {{0x0f, 0x00, 0xd3}, PREVIRT_IA32_FORM_LLDT, 3},
        {{0x0f, 0x01, 0x10}, PREVIRT_IA32_FORM_LGDT, 0x80 | 2 << 3 | 2},
        {{0x66, 0x0f, 0x03, 0xc2}, PREVIRT_IA32_FORM_LSL, 0x40 | 2 << 3 | 0},
        {{0xf3, 0x6c}, PREVIRT_IA32_FORM_INS8, 1},
        {{0xf2, 0x67, 0x64, 0x66, 0x6f}, PREVIRT_IA32_FORM_OUTS32, 2 | 4 | 5 << 3 | 0x40},
        {{0x1f}, PREVIRT_IA32_FORM_POP_DS, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(records); i++) {
        struct previrt_site site = site_of(records[i].bytes, sizeof(records[i].bytes));

        assert_int_equal(site.form, records[i].form);
        assert_int_equal(site.operand, records[i].operand);
    }
}

static void match_wants_the_recorded_bytes(void **state)
{
    const uint8_t cr3[] = {0x0f, 0x22, 0xd8, 0x66, 0x90};
    uint8_t changed[sizeof(cr3)];
    struct previrt_site site = site_of(cr3, sizeof(cr3)), other;
    struct previrt_ia32_insn insn;

    (void)state;
    site.pad = 2;
    assert_int_equal(previrt_ia32_match_site(&site, cr3, sizeof(cr3), &insn), PREVIRT_OK);
    assert_int_equal(insn.system_register, 3);
    for (size_t size = 0; size < sizeof(cr3); size++)
        assert_int_equal(previrt_ia32_match_site(&site, cr3, size, NULL), PREVIRT_E_TRUNCATED);
    for (size_t i = 0; i < sizeof(cr3); i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            int status;

            memcpy(changed, cr3, sizeof(cr3));
            changed[i] ^= (uint8_t)(1 << bit);
            status = previrt_ia32_match_site(&site, changed, sizeof(changed), NULL);
            if (i == 2 && bit >= 6) /* mod, which the CPU ignores */
                assert_int_equal(status, PREVIRT_OK);
            else if (i == 3 && status == PREVIRT_OK) /* another NOP: a segment override */
                assert_true(changed[3] == 0x26 || changed[3] == 0x64);
            else
                assert_int_equal(status, i < 3 ? PREVIRT_E_BYTES : PREVIRT_E_TAIL);
        }

    other = site;
    other.op = PREVIRT_IA32_MOV_FROM_CR;
    assert_int_equal(previrt_ia32_match_site(&other, cr3, sizeof(cr3), NULL), PREVIRT_E_OPERATION);
    other = site;
    other.form = PREVIRT_IA32_FORM_LIMIT;
    assert_int_equal(previrt_ia32_match_site(&other, cr3, sizeof(cr3), NULL), PREVIRT_E_OPERATION);
    other = site;
    other.arch = PREVIRT_ARCH_IA64;
    assert_int_equal(previrt_ia32_match_site(&other, cr3, sizeof(cr3), NULL), PREVIRT_E_OPERATION);
    other = site;
    other.length = 0;
    assert_int_equal(previrt_ia32_match_site(&other, cr3, sizeof(cr3), NULL), PREVIRT_E_INVALID);
}

static void the_tail_is_nops(void **state)
{
    static const struct {
        uint8_t bytes[8];
        uint8_t size;
        int is_nop;
    } tails[] = {
        {{0x90}, 1, 1},
        {{0x66, 0x90}, 2, 1},
        {{0x0f, 0x1f, 0x00}, 3, 1},
        {{0x0f, 0x1f, 0x40, 0x00}, 4, 1},
        {{0x0f, 0x1f, 0x44, 0x00, 0x00}, 5, 1},
        {{0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00}, 6, 1},
        {{0x0f, 0x1f, 0x80, 0, 0, 0, 0}, 7, 1},
        {{0x8d, 0x76, 0x00}, 3, 1},       /* lea 0(%esi),%esi */
        {{0x8d, 0x74, 0x26, 0x00}, 4, 1}, /* lea 0(%esi,%eiz),%esi */
        {{0x3e, 0x8d, 0x74, 0x26, 0x00}, 5, 1},
        {{0x8d, 0xb6, 0, 0, 0, 0}, 6, 1},
        {{0x89, 0xf6}, 2, 1},                               /* mov %esi,%esi */
        {{0x90, 0x66, 0x90, 0x90, 0x0f, 0x1f, 0x00}, 7, 1}, /* several */
        {{0xcc}, 1, 0},
        {{0xf3, 0x90}, 2, 0},             /* pause */
        {{0x66}, 1, 0},                   /* half of one */
        {{0x0f, 0x1f, 0x40}, 3, 0},       /* its displacement is missing */
        {{0x0f, 0x1f, 0x48, 0x00}, 4, 0}, /* /1 */
        {{0x8d, 0x76, 0x01}, 3, 0},       /* lea 1(%esi),%esi */
        {{0x8d, 0x7e, 0x00}, 3, 0},       /* lea 0(%esi),%edi */
        {{0x8d, 0x74, 0x36, 0x00}, 4, 0}, /* lea 0(%esi,%esi),%esi */
        {{0x89, 0xf7}, 2, 0},             /* mov %esi,%edi */
        {{0x8d, 0xf6}, 2, 0},             /* #UD */
        {{0x90, 0x00}, 2, 0},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(tails); i++) {
        uint8_t bytes[9] = {0xf4};
        struct previrt_site site = site_of(bytes, 1);

        memcpy(bytes + 1, tails[i].bytes, tails[i].size);
        site.pad = tails[i].size;
        assert_int_equal(previrt_ia32_match_site(&site, bytes, 1U + site.pad, NULL),
                         tails[i].is_nop ? PREVIRT_OK : PREVIRT_E_TAIL);
    }
}

static void bad_arguments_are_refused(void **state)
{
    const uint8_t cli = 0xfa;
    struct previrt_ia32_insn insn;

    (void)state;
    assert_int_equal(previrt_ia32_decode_site(NULL, 1, 0, &insn), PREVIRT_E_INVALID);
    assert_int_equal(previrt_ia32_decode_site(&cli, 1, 0, NULL), PREVIRT_E_INVALID);
    assert_int_equal(previrt_ia32_decode_site(&cli, 0, 0, &insn), PREVIRT_E_TRUNCATED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_zydis_over_all_opcodes),
        cmocka_unit_test(agrees_with_zydis_over_random_bytes),
        cmocka_unit_test(longer_than_fifteen_bytes_is_refused),
        cmocka_unit_test(sti_pairs_are_fused_on_request),
        cmocka_unit_test(records_hold_the_operands),
        cmocka_unit_test(match_wants_the_recorded_bytes),
        cmocka_unit_test(the_tail_is_nops),
        cmocka_unit_test(bad_arguments_are_refused),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
