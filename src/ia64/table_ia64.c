/* SPDX-License-Identifier: BSD-2-Clause */
/* Records of the patch-up table for IA-64 (docs/table-format.md): contents, encoding, what the
 * digest covers. */
#include "ia64/internal.h"

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
