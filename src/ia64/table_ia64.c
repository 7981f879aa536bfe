/* SPDX-License-Identifier: BSD-2-Clause */
/* Records of the patch-up table for IA-64 (docs/table-format.md): contents, encoding, what the
 * digest covers. */
#include "ia64/internal.h"
#include "ia64/table_ia64.h"

#define ULEB_BYTES_MAX 5 /* docs/table-format.md: numbers take at most 5 bytes and fit 32 bits */
#define SLOT_BITS      2 /* of a gap, below the distance in bundles */

int previrt_ia64_site_from_insn(const struct previrt_ia64_insn *insn, uint64_t address,
                                unsigned slot, struct previrt_site *site)
{
    unsigned gr, second;

    if (!insn || !site || slot >= PREVIRT_IA64_SLOTS || address % PREVIRT_IA64_BUNDLE_SIZE)
        return PREVIRT_E_INVALID;
    if (!previrt_ia64_op_info(insn->op))
        return PREVIRT_E_OPERATION;
    pv_ia64_system_operands(insn, &gr, &second);
    *site = (struct previrt_site){
        .address = address,
        .arch = PREVIRT_ARCH_IA64,
        .op = insn->op,
        .length = PREVIRT_IA64_BUNDLE_SIZE,
        .operand = (uint16_t)(gr | second << 8 | (insn->qp ? PREVIRT_IA64_OPERAND_PREDICATED : 0)),
        .slot = (uint8_t)slot,
    };
    return PREVIRT_OK;
}

int previrt_ia64_match_site(const struct previrt_site *site, const uint8_t *bytes,
                            struct previrt_ia64_insn *insn)
{
    struct previrt_ia64_bundle bundle;
    struct previrt_ia64_insn found;
    struct previrt_site expected;

    if (!site || !bytes)
        return PREVIRT_E_INVALID;
    if (site->arch != PREVIRT_ARCH_IA64)
        return PREVIRT_E_ARCH;
    if (!previrt_ia64_op_info(site->op) || site->slot >= PREVIRT_IA64_SLOTS)
        return PREVIRT_E_OPERATION;
    if (previrt_ia64_unpack(bytes, &bundle) != PREVIRT_OK ||
        previrt_ia64_decode_slot(&bundle, site->slot, &found) != PREVIRT_OK ||
        previrt_ia64_site_from_insn(&found, 0, site->slot, &expected) != PREVIRT_OK ||
        expected.op != site->op ||
        expected.operand != (site->operand & ~PREVIRT_IA64_OPERAND_PINNED))
        return PREVIRT_E_BYTES;
    if (insn)
        *insn = found;
    return PREVIRT_OK;
}

int pv_ia64_record_decode(const uint8_t *bytes, size_t size, struct pv_ia64_position *position,
                          struct previrt_site *site)
{
    uint64_t gap = 0, distance;
    size_t at = 0;
    unsigned slot;

    for (;; at++) {
        if (at >= size)
            return PREVIRT_E_TRUNCATED;
        if (at >= ULEB_BYTES_MAX)
            return PREVIRT_E_MALFORMED;
        gap |= (uint64_t)(bytes[at] & 0x7f) << 7 * at;
        if (!(bytes[at] & 0x80))
            break;
    }
    at++;
    if (gap > UINT32_MAX)
        return PREVIRT_E_MALFORMED;
    if (size - at < PV_IA64_RECORD_FIXED)
        return PREVIRT_E_TRUNCATED;
    distance = (gap >> SLOT_BITS) * PREVIRT_IA64_BUNDLE_SIZE;
    slot = (unsigned)(gap & ((1u << SLOT_BITS) - 1));
    if (slot >= PREVIRT_IA64_SLOTS || (position->started && !distance && slot <= position->slot) ||
        (!position->started && distance) || position->address + distance < position->address)
        return PREVIRT_E_MALFORMED;
    if (!previrt_ia64_op_info(bytes[at]))
        return PREVIRT_E_OPERATION;
    *site = (struct previrt_site){
        .address = position->address + distance,
        .arch = PREVIRT_ARCH_IA64,
        .op = bytes[at],
        .length = PREVIRT_IA64_BUNDLE_SIZE,
        .operand = (uint16_t)(bytes[at + 1] | bytes[at + 2] << 8),
        .slot = (uint8_t)slot,
    };
    *position = (struct pv_ia64_position){site->address, (uint8_t)slot, 1};
    return (int)(at + PV_IA64_RECORD_FIXED);
}

int pv_ia64_record_encode(const struct previrt_site *site, struct pv_ia64_position *position,
                          uint8_t *out, size_t size)
{
    uint64_t distance = site->address - position->address, gap;
    size_t at = 0;

    if (site->arch != PREVIRT_ARCH_IA64)
        return PREVIRT_E_ARCH;
    if (!previrt_ia64_op_info(site->op) || site->slot >= PREVIRT_IA64_SLOTS)
        return PREVIRT_E_OPERATION;
    if (distance % PREVIRT_IA64_BUNDLE_SIZE || (!position->started && distance))
        return PREVIRT_E_INVALID;
    if (site->address < position->address ||
        (position->started && !distance && site->slot <= position->slot))
        return PREVIRT_E_OVERLAP;
    if (distance / PREVIRT_IA64_BUNDLE_SIZE > UINT32_MAX >> SLOT_BITS)
        return PREVIRT_E_RANGE;
    gap = distance / PREVIRT_IA64_BUNDLE_SIZE << SLOT_BITS | site->slot;
    do {
        if (at >= size)
            return PREVIRT_E_SPACE;
        out[at++] = (uint8_t)((gap & 0x7f) | (gap > 0x7f ? 0x80 : 0));
        gap >>= 7;
    } while (gap);
    if (size - at < PV_IA64_RECORD_FIXED)
        return PREVIRT_E_SPACE;
    out[at] = site->op;
    out[at + 1] = (uint8_t)site->operand;
    out[at + 2] = (uint8_t)(site->operand >> 8);
    *position = (struct pv_ia64_position){site->address, site->slot, 1};
    return (int)(at + PV_IA64_RECORD_FIXED);
}

int pv_ia64_invariant(const uint8_t *bundle_bytes, unsigned slot,
                      uint8_t out[PV_IA64_INVARIANT_SIZE])
{
    struct previrt_ia64_bundle bundle;

    if (slot >= PREVIRT_IA64_SLOTS || previrt_ia64_unpack(bundle_bytes, &bundle) != PREVIRT_OK)
        return PREVIRT_E_BYTES;
    for (unsigned i = 0; i < PV_IA64_INVARIANT_SIZE; i++)
        out[i] = (uint8_t)(bundle.slot[slot] >> 8 * i);
    return PREVIRT_OK;
}
