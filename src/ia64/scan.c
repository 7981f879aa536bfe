/* SPDX-License-Identifier: BSD-2-Clause */
/* Walks code bundle by bundle and reports sensitive operations. */
#include <previrt/ia64.h>

static int selected(const struct previrt_ia64_insn *insn, unsigned select)
{
    const struct previrt_ia64_op_info *info = previrt_ia64_op_info(insn->op);

    return info && select & PREVIRT_IA64_SELECT(info->policy);
}

int previrt_ia64_scan(const uint8_t *bytes, size_t size, uint64_t address, unsigned select,
                      int undecodable, previrt_ia64_scan_fn visit, void *context,
                      struct previrt_ia64_scan_result *result)
{
    struct previrt_ia64_scan_result counts = {0};
    int status = PREVIRT_OK;

    if ((!bytes && size) || address % PREVIRT_IA64_BUNDLE_SIZE)
        return PREVIRT_E_INVALID;
    if (size % PREVIRT_IA64_BUNDLE_SIZE)
        return PREVIRT_E_TRUNCATED;
    for (size_t at = 0; at < size && !status; at += PREVIRT_IA64_BUNDLE_SIZE) {
        struct previrt_ia64_bundle bundle;
        const struct previrt_ia64_template *t;

        counts.bundles++;
        if (previrt_ia64_unpack(bytes + at, &bundle) != PREVIRT_OK) {
            counts.undecodable++;
            if (undecodable && visit)
                status = visit(context, address + at, 0, NULL);
            continue;
        }
        t = previrt_ia64_template(bundle.template_number);
        for (unsigned slot = 0; slot < PREVIRT_IA64_SLOTS && !status; slot++) {
            struct previrt_ia64_insn insn;

            if (t->unit[slot] == PREVIRT_IA64_UNIT_L)
                continue;
            counts.slots++;
            if (previrt_ia64_decode_slot(&bundle, slot, &insn) != PREVIRT_OK) {
                counts.undecodable++;
                if (undecodable && visit)
                    status = visit(context, address + at, slot, NULL);
            } else if (selected(&insn, select)) {
                counts.sites++;
                if (visit)
                    status = visit(context, address + at, slot, &insn);
            }
        }
    }
    if (result)
        *result = counts;
    return status;
}
