/* SPDX-License-Identifier: BSD-2-Clause */
/* The lengths that the freestanding decoder finds, against those of a complete one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <Zydis/Zydis.h>

#include "../../src/ia32/length.h"

static uint32_t state = 1;

static uint8_t random_byte(void)
{
    state = state * 1664525 + 1013904223;
    return (uint8_t)(state >> 24);
}

static unsigned compared;

static void compare(const ZydisDecoder *decoder, const uint8_t bytes[15])
{
    ZydisDecodedInstruction insn;
    unsigned length = pv_ia32_length(bytes, 15);

    if (!ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(decoder, NULL, bytes, 15, &insn)))
        return; /* no instruction: its length means nothing */
    compared++;
    if (insn.encoding == ZYDIS_INSTRUCTION_ENCODING_XOP)
        return; /* what AMD gave up */
    if (length != insn.length)
        fail_msg("%02x %02x %02x %02x %02x %02x %02x %02x: %u bytes, not %u", bytes[0], bytes[1],
                 bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7], insn.length, length);
}

/* Every opcode of every map with every ModRM byte and some of what can be in front and behind. */
static void lengths_are_those_of_zydis(void **unused)
{
    static const uint8_t prefixes[][3] = {{0},       {1, 0x66},       {1, 0x67},      {1, 0xf3},
                                          {1, 0xf2}, {2, 0x66, 0x67}, {2, 0x3e, 0x3e}};
    static const uint8_t maps[][4] = {{0},
                                      {1, 0x0f},
                                      {2, 0x0f, 0x38},
                                      {2, 0x0f, 0x3a},
                                      {2, 0xc5, 0xf8},
                                      {3, 0xc4, 0xe1, 0x79},
                                      {3, 0xc4, 0xe2, 0x79},
                                      {3, 0xc4, 0xe3, 0x79}};
    ZydisDecoder decoder;

    (void)unused;
    assert_true(ZYAN_SUCCESS(
        ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LEGACY_32, ZYDIS_STACK_WIDTH_32)));
    for (unsigned m = 0; m < sizeof maps / sizeof *maps; m++)
        for (unsigned p = 0; p < sizeof prefixes / sizeof *prefixes; p++)
            for (unsigned op = 0; op < 256; op++)
                for (unsigned modrm = 0; modrm < 256; modrm++) {
                    uint8_t bytes[15];
                    unsigned n = 0;

                    for (unsigned i = 0; i < sizeof bytes; i++)
                        bytes[i] = random_byte();
                    memcpy(bytes, prefixes[p] + 1, prefixes[p][0]);
                    n += prefixes[p][0];
                    memcpy(bytes + n, maps[m] + 1, maps[m][0]);
                    n += maps[m][0];
                    bytes[n++] = (uint8_t)op;
                    bytes[n] = (uint8_t)modrm;
                    compare(&decoder, bytes);
                }
    assert_true(compared > 300000);
}

static void nothing_behind_the_end_is_read(void **unused)
{
    static const uint8_t call[] = {0xe8, 1, 2, 3, 4}, sib[] = {0x8b, 0x04, 0x25, 1, 2, 3, 4};

    (void)unused;
    for (size_t i = 0; i < sizeof call; i++)
        assert_int_equal(pv_ia32_length(call, i), 0);
    assert_int_equal(pv_ia32_length(call, sizeof call), sizeof call);
    for (size_t i = 0; i < sizeof sib; i++)
        assert_int_equal(pv_ia32_length(sib, i), 0);
    assert_int_equal(pv_ia32_length(sib, sizeof sib), sizeof sib);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_are_those_of_zydis),
        cmocka_unit_test(nothing_behind_the_end_is_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
