/* SPDX-License-Identifier: BSD-2-Clause */
/* Writes a patch-up table. Freestanding. */
#include <previrt/ia32.h>

#include "table/table.h"

static uint8_t *reserve(struct pv_table_writer *writer, size_t size)
{
    uint8_t *bytes = writer->out + writer->size;

    if (writer->status < 0)
        return NULL;
    if (writer->room - writer->size < size) {
        writer->status = PREVIRT_E_SPACE;
        return NULL;
    }
    writer->size += size;
    return bytes;
}

static void put_uleb(struct pv_table_writer *writer, uint32_t value)
{
    uint8_t bytes[PV_ULEB_MAX], *out;
    unsigned size = 0;

    do {
        bytes[size] = (uint8_t)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        size++;
        value >>= 7;
    } while (value);
    out = reserve(writer, size);
    for (unsigned i = 0; out && i < size; i++)
        out[i] = bytes[i];
}

void pv_table_writer_init(struct pv_table_writer *writer, void *out, size_t room)
{
    static const struct pv_table_writer empty;

    *writer = empty;
    writer->out = out;
    writer->room = room;
}

void pv_table_begin_fragment(struct pv_table_writer *writer, unsigned arch)
{
    static const char name[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;
    uint8_t *note;

    writer->fragment = writer->size;
    note = reserve(writer, PV_NOTE_DESC + PV_DESC_RUNS);
    if (!note)
        return;
    pv_put32(note + PV_NOTE_NAMESZ, PV_NOTE_NAME_SIZE);
    pv_put32(note + PV_NOTE_TYPE, PREVIRT_NT_TABLE);
    for (unsigned i = 0; i < PV_NOTE_NAME_SIZE; i++)
        note[PV_NOTE_HEADER_SIZE + i] = (uint8_t)name[i];
    note[PV_NOTE_DESC + PV_DESC_VERSION] = PREVIRT_TABLE_VERSION;
    note[PV_NOTE_DESC + PV_DESC_ARCH] = (uint8_t)arch;
    writer->arch = (uint8_t)arch;
    writer->count = 0;
    writer->digest = 0;
}

size_t pv_table_begin_run(struct pv_table_writer *writer, size_t count)
{
    size_t anchor;

    /* the notes begin at a multiple of 4, whatever they are in */
    if (writer->arch == PREVIRT_ARCH_IA64) {
        size_t padding = -writer->size & (PV_ANCHOR_ALIGN - 1);
        uint8_t *pad = reserve(writer, padding);

        for (size_t i = 0; pad && i < padding; i++)
            pad[i] = 0;
    }
    anchor = writer->size;
    reserve(writer, PV_ANCHOR_SIZE);
    put_uleb(writer, (uint32_t)count);
    writer->run_begins = 1;
    return anchor;
}

/* Address of a site's beginning and end: IA32 in bytes, IA64 in slots. */
static uint64_t begin_of(const struct previrt_site *site)
{
    if (site->arch == PREVIRT_ARCH_IA64)
        return site->address / PV_IA64_BUNDLE * PV_IA64_SLOTS + site->slot;
    return site->address;
}

static uint64_t end_of(const struct previrt_site *site)
{
    if (site->arch == PREVIRT_ARCH_IA64)
        return begin_of(site) + 1;
    return site->address + (site->flags & PREVIRT_SITE_DORMANT ? 0U : site->length + site->pad);
}

void pv_table_put_site(struct pv_table_writer *writer, const struct previrt_site *site,
                       const uint8_t *bytes, size_t size)
{
    uint64_t begin = begin_of(site), gap = begin - writer->site_end;
    uint8_t *record;

    if (writer->run_begins)
        gap = site->arch == PREVIRT_ARCH_IA64 ? site->slot : 0;
    put_uleb(writer, (uint32_t)gap);
    record = reserve(writer, 3);
    if (!record)
        return;
    if (site->arch == PREVIRT_ARCH_IA64) {
        record[0] = site->op;
        pv_put16(record + 1, site->operand);
    } else {
        record[0] = site->form;
        if (site->flags & PREVIRT_SITE_DORMANT) {
            record[1] = (uint8_t)(site->feature >> 8 << PV_ROOM_PAD_SHIFT);
            record[2] = (uint8_t)site->feature;
        } else {
            record[1] = (uint8_t)(site->length | site->pad << PV_ROOM_PAD_SHIFT |
                                  (site->flags & PREVIRT_SITE_FLAGS_DEAD ? PV_ROOM_FLAGS_DEAD : 0));
            record[2] = (uint8_t)site->operand;
        }
    }
    writer->digest = pv_crc32c(writer->digest, bytes, size);
    writer->site_end = end_of(site);
    writer->run_begins = 0;
    writer->count++;
}

void pv_table_end_fragment(struct pv_table_writer *writer)
{
    uint8_t *note = writer->out + writer->fragment, *pad;
    size_t size, padding;

    if (writer->status < 0)
        return;
    size = writer->size - writer->fragment - PV_NOTE_DESC;
    pv_put32(note + PV_NOTE_DESCSZ, (uint32_t)size);
    pv_put16(note + PV_NOTE_DESC + PV_DESC_COUNT, writer->count);
    pv_put32(note + PV_NOTE_DESC + PV_DESC_DIGEST, writer->digest);
    padding = -size & (PV_NOTE_ALIGN - 1);
    pad = reserve(writer, padding);
    for (size_t i = 0; pad && i < padding; i++)
        pad[i] = 0;
}

int pv_table_check_site(const struct previrt_site *site)
{
    const struct previrt_ia32_form_info *form;

    if (site->arch == PREVIRT_ARCH_IA64)
        return !site->op                                                       ? PREVIRT_E_OPERATION
               : site->slot >= PV_IA64_SLOTS || site->address % PV_IA64_BUNDLE ? PREVIRT_E_INVALID
                                                                               : PREVIRT_OK;
    if (site->arch != PREVIRT_ARCH_IA32)
        return PREVIRT_E_ARCH;
    form = previrt_ia32_form_info(site->form);
    if (!form || form->op != site->op)
        return PREVIRT_E_OPERATION;
    if (site->flags & PREVIRT_SITE_DORMANT)
        return site->address > UINT32_MAX                ? PREVIRT_E_RANGE
               : site->feature > PREVIRT_FEATURE_UNKNOWN ? PREVIRT_E_INVALID
                                                         : PREVIRT_OK;
    if (!site->length || site->length > PREVIRT_LENGTH_MAX || site->pad > PREVIRT_PAD_MAX)
        return PREVIRT_E_ROOM;
    if (site->address > UINT32_MAX || end_of(site) > (uint64_t)UINT32_MAX + 1)
        return PREVIRT_E_RANGE;
    return site->operand > 0xff ? PREVIRT_E_INVALID : PREVIRT_OK;
}

void pv_ia64_slot_bytes(const uint8_t *bundle, unsigned slot, uint8_t bytes[PV_IA64_SLOT_BYTES])
{
    /* 5 bits of template, then three slots of 41 (Intel Itanium Architecture SDM 3, 3.3) */
    enum { TEMPLATE_BITS = 5, SLOT_BITS = 41 };
    unsigned first = TEMPLATE_BITS + slot * SLOT_BITS;

    for (unsigned i = 0; i < PV_IA64_SLOT_BYTES; i++)
        bytes[i] = 0;
    for (unsigned i = 0; i < SLOT_BITS; i++) {
        unsigned bit = first + i;

        bytes[i / 8] |= (uint8_t)((bundle[bit / 8] >> bit % 8 & 1) << i % 8);
    }
}

size_t previrt_table_bound(size_t count)
{
    const size_t fragment =
        PV_NOTE_DESC + PV_DESC_RUNS + PV_ANCHOR_SIZE + PV_ULEB_MAX + PV_NOTE_ALIGN;
    /* IA64: each may open a run */
    const size_t site = PV_RECORD_MAX + PV_ANCHOR_SIZE + PV_ANCHOR_ALIGN + 1;

    if (count > (SIZE_MAX - fragment) / (site + fragment))
        return SIZE_MAX;
    return count * site + (count / PV_FRAGMENT_COUNT_MAX + 1) * fragment;
}

/* How many of the sites from (sites) on one run can hold: gaps must fit 32 bits. */
static size_t run_length(const struct previrt_site *sites, size_t count)
{
    size_t i = 1;

    while (i < count && begin_of(&sites[i]) - end_of(&sites[i - 1]) <= UINT32_MAX)
        i++;
    return i;
}

static int put_text(struct pv_table_writer *writer, const struct previrt_site *site,
                    previrt_text_fn text, void *context)
{
    uint8_t slot[PV_IA64_SLOT_BYTES];
    struct previrt_ia32_insn insn;
    const uint8_t *bytes;
    size_t room;
    int status;

    if (site->flags & PREVIRT_SITE_DORMANT) {
        pv_table_put_site(writer, site, NULL, 0);
        return writer->status;
    }
    room = site->arch == PREVIRT_ARCH_IA64 ? PV_IA64_BUNDLE : (size_t)site->length + site->pad;
    bytes = text(context, site->address, room);
    if (!bytes)
        return PREVIRT_E_RANGE;
    if (site->arch == PREVIRT_ARCH_IA64) {
        pv_ia64_slot_bytes(bytes, site->slot, slot);
        pv_table_put_site(writer, site, slot, sizeof(slot));
    } else {
        status = previrt_ia32_match_site(site, bytes, room, &insn);
        if (status < 0)
            return status;
        pv_table_put_site(writer, site, bytes, insn.invariant);
    }
    return writer->status;
}

int previrt_table_encode(const struct previrt_site *sites, size_t count, uint64_t address,
                         previrt_text_fn text, void *context, void *out, size_t *size)
{
    struct pv_table_writer writer;
    size_t i = 0;

    if ((!sites && count) || !text || !size || (!out && *size))
        return PREVIRT_E_INVALID;
    for (size_t j = 0; j < count; j++) {
        int status = pv_table_check_site(&sites[j]);

        if (status < 0)
            return status;
        if (sites[j].arch != sites[0].arch)
            return PREVIRT_E_INVALID;
        if (j && begin_of(&sites[j]) < end_of(&sites[j - 1]))
            return PREVIRT_E_OVERLAP;
    }

    pv_table_writer_init(&writer, out, *size);
    do {
        size_t left = count - i < PV_FRAGMENT_COUNT_MAX ? count - i : PV_FRAGMENT_COUNT_MAX;

        pv_table_begin_fragment(&writer, count ? sites[0].arch : PREVIRT_ARCH_IA32);
        while (left) {
            size_t run = run_length(sites + i, left);
            size_t anchor = pv_table_begin_run(&writer, run);
            int64_t distance = (int64_t)(sites[i].address - (address + anchor));

            if (writer.status < 0)
                return writer.status;
            if (sites[i].arch == PREVIRT_ARCH_IA64 &&
                (distance < INT32_MIN || distance > INT32_MAX))
                return PREVIRT_E_RANGE;
            pv_put32(writer.out + anchor, (uint32_t)distance);
            for (size_t j = 0; j < run; j++, i++) {
                int status = put_text(&writer, &sites[i], text, context);

                if (status < 0)
                    return status;
            }
            left -= run;
        }
        pv_table_end_fragment(&writer);
    } while (i < count);
    if (writer.status < 0)
        return writer.status;
    *size = writer.size;
    return PREVIRT_OK;
}
