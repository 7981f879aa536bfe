/* SPDX-License-Identifier: BSD-2-Clause */
/* Holds a patch-up table against the text that it describes. Freestanding. */
#include <previrt/ia32.h>

#include "table/table.h"

/* One record against the text; the digest goes on with its invariant bytes. */
static int check_site(const struct previrt_site *site, previrt_text_fn text, void *context,
                      uint32_t *digest)
{
    size_t room =
        site->arch == PREVIRT_ARCH_IA64 ? PV_IA64_BUNDLE : (size_t)site->length + site->pad;
    uint8_t slot[PV_IA64_SLOT_BYTES];
    struct previrt_ia32_insn insn;
    const uint8_t *bytes;
    int status;

    if (site->flags & PREVIRT_SITE_DORMANT)
        return PREVIRT_OK;
    bytes = text(context, site->address, room);
    if (!bytes)
        return PREVIRT_E_RANGE;
    if (site->arch == PREVIRT_ARCH_IA64) {
        pv_ia64_slot_bytes(bytes, site->slot, slot);
        *digest = pv_crc32c(*digest, slot, sizeof(slot));
        return PREVIRT_OK;
    }
    status = previrt_ia32_match_site(site, bytes, room, &insn);
    if (status < 0)
        return status;
    *digest = pv_crc32c(*digest, bytes, insn.invariant);
    return PREVIRT_OK;
}

int previrt_table_check(const void *notes, size_t size, uint64_t address, previrt_text_fn text,
                        void *context, struct previrt_site *bad)
{
    static const struct previrt_site empty;
    struct previrt_table_cursor cursor;
    struct previrt_site site = empty, last;
    uint32_t digest = 0, recorded = 0, fragment = 0;
    int status;

    if (!text)
        return PREVIRT_E_INVALID;
    if (bad)
        *bad = empty;
    status = previrt_table_begin(&cursor, notes, size, address);
    while (status >= 0) {
        int more;

        last = site;
        more = previrt_table_next(&cursor, &site);
        status = more;
        if (more < 0)
            break;
        if (!more || pv_table_cursor(&cursor)->fragment != fragment) {
            if (fragment && digest != recorded) {
                site = last;
                status = PREVIRT_E_DIGEST;
                break;
            }
            fragment = pv_table_cursor(&cursor)->fragment;
            recorded = pv_table_cursor(&cursor)->digest;
            digest = 0;
        }
        if (!more)
            return PREVIRT_OK;
        status = check_site(&site, text, context, &digest);
    }
    if (bad)
        *bad = site;
    return status;
}
