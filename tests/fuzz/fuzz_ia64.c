/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IA-64 under hostile bytes. The first byte chooses: bundles (decode, text, registers, retarget,
 * repack), table records (decode, encode again), or sites and code for the rewriter (plan, commit,
 * revert).
 */
#include "ia64/internal.h"

#include <stdlib.h>
#include <string.h>

#define CODE_AT   UINT64_C(0x4000)
#define STUBS_AT  UINT64_C(0x100000)
#define STUB_SIZE 4096
#define SITE_MAX  64

static void require(int condition)
{
    if (!condition)
        abort();
}

static void bundles(const uint8_t *data, size_t size)
{
    for (; size >= 16; data += 16, size -= 16) {
        struct previrt_ia64_bundle bundle;
        uint8_t again[16];

        if (previrt_ia64_unpack(data, &bundle) == PREVIRT_OK) {
            require(previrt_ia64_pack(&bundle, again) == PREVIRT_OK && !memcmp(data, again, 16));
        }
        for (unsigned slot = 0; slot < 3; slot++) {
            struct previrt_ia64_registers reads, writes;
            struct previrt_ia64_insn insn;
            char text[100];
            uint64_t target;

            if (previrt_ia64_decode_slot(&bundle, slot, &insn) != PREVIRT_OK)
                continue;
            require(previrt_ia64_text(&insn, CODE_AT, text, sizeof(text)) == (int)strlen(text));
            previrt_ia64_text(&insn, CODE_AT, text, data[0] % sizeof(text) + 1);
            previrt_ia64_registers(&insn, &reads, &writes);
            require(!(reads.pr & 1) && !(writes.pr & 1) && !(writes.gr[0] & 1));
            if (previrt_ia64_target(&insn, CODE_AT, &target) == PREVIRT_OK) {
                struct previrt_ia64_insn same = insn;

                require(previrt_ia64_retarget(&same, CODE_AT, target) == PREVIRT_OK);
                require(same.bits == insn.bits && same.upper == insn.upper);
            }
        }
    }
}

static void rewriting(const uint8_t *data, size_t size)
{
    static uint64_t buffer[8192];
    static uint8_t stubs[STUB_SIZE];
    static const uint64_t page = 0x8000;
    struct previrt_site sites[SITE_MAX];
    struct previrt_region region = {CODE_AT, 0, NULL, NULL, PREVIRT_REGION_EXECUTE};
    const struct previrt_memory memory = {&region, 1};
    struct previrt_ia64_refusal refusal;
    struct previrt_ia64_target target;
    struct previrt_ia64_plan *plan;
    struct previrt_ia64_plan_summary summary;
    uint8_t *code, *before;
    size_t count = 0, records_size;
    int status;

    if (size < 4)
        return;
    switch (data[0] % 3) {
    case 0:
        previrt_ia64_target_native(&target);
        break;
    case 1:
        previrt_ia64_target_vcpu(&target, &page, 5);
        break;
    default:
        previrt_ia64_target_break(&target, 5);
        break;
    }
    target.flags = data[1] & 7;
    target.stub_address = STUBS_AT;
    target.stub_size = data[2] & 1 ? STUB_SIZE : (uint32_t)(data[2] & ~15u);
    records_size = (size_t)(data[3] % SITE_MAX) * 6;
    data += 4;
    size -= 4;
    for (; records_size && size >= 6; data += 6, size -= 6, records_size -= 6)
        sites[count++] =
            (struct previrt_site){.address = CODE_AT + (data[0] | data[5] << 8 & 0x100) * 16u,
                                  .arch = data[5] & 2 ? PREVIRT_ARCH_IA32 : PREVIRT_ARCH_IA64,
                                  .op = data[1],
                                  .slot = data[2],
                                  .operand = (uint16_t)(data[3] | data[4] << 8)};
    if (!size)
        return;
    code = malloc(size);
    before = malloc(size);
    memcpy(code, data, size);
    memcpy(before, data, size);
    region.size = size;
    region.read = region.write = code;
    if (!count) {
        /* honest records of hostile code: the deep paths */
        for (size_t at = 0; at + 16 <= size && count + 3 <= SITE_MAX; at += 16)
            for (unsigned slot = 0; slot < 3; slot++) {
                struct previrt_ia64_bundle bundle;
                struct previrt_ia64_insn insn;

                if (previrt_ia64_unpack(code + at, &bundle) == PREVIRT_OK &&
                    previrt_ia64_decode_slot(&bundle, slot, &insn) == PREVIRT_OK && insn.op)
                    previrt_ia64_site_from_insn(&insn, CODE_AT + at, slot, &sites[count++]);
            }
    }
    require(previrt_ia64_plan_bound(count, target.stub_size) <= sizeof(buffer));
    status = previrt_ia64_plan(&memory, sites, count, &target, buffer, sizeof(buffer), &plan);
    require(!memcmp(code, before, size));
    if (status == PREVIRT_OK) {
        previrt_ia64_plan_summary(plan, &summary);
        require(summary.stub_bytes <= target.stub_size);
        require(summary.kept + summary.stubbed + summary.broken == count);
        require(previrt_ia64_commit(plan, stubs, sizeof(stubs), NULL) == PREVIRT_OK);
        for (uint64_t at = 0; at < summary.stub_bytes; at += 16) {
            uint64_t address;
            unsigned slot;

            require(previrt_ia64_plan_origin(plan, STUBS_AT + at, 0, &address, &slot) ==
                    PREVIRT_OK);
            require(address - CODE_AT < size && slot <= 3);
        }
        require(previrt_ia64_revert(plan, NULL) == PREVIRT_OK);
        require(!memcmp(code, before, size));
    } else if (status == PREVIRT_E_REFUSED) {
        for (size_t i = 0; previrt_ia64_plan_refusal(plan, i, &refusal); i++)
            require(refusal.site < count && refusal.status < 0 &&
                    refusal.reason < PREVIRT_IA64_REASON_COUNT);
        require(previrt_ia64_commit(plan, stubs, sizeof(stubs), NULL) == PREVIRT_E_STATE);
    }
    free(code);
    free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    if (data[0] & 1)
        bundles(data + 1, size - 1);
    else
        rewriting(data + 1, size - 1);
    return 0;
}
