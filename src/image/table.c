/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of an image: reading, verifying, merging and attaching it. */
#include <stdlib.h>
#include <string.h>

#include "image/image.h"

static size_t align4(size_t size)
{
    return (size + PV_NOTE_ALIGN - 1) & ~(size_t)(PV_NOTE_ALIGN - 1);
}

/* ---- reading ---- */

static int compare_sites(const void *left, const void *right)
{
    const struct previrt_image_site *a = left, *b = right;

    if (a->site.address != b->site.address)
        return a->site.address < b->site.address ? -1 : 1;
    if (a->site.slot != b->site.slot)
        return a->site.slot < b->site.slot ? -1 : 1;
    return a->file_offset < b->file_offset ? -1 : a->file_offset > b->file_offset;
}

static int add_site(struct previrt_image *image, size_t *capacity,
                    const struct previrt_image_site *site)
{
    if (image->site_count == *capacity) {
        size_t grown_capacity = *capacity ? 2 * *capacity : 256;
        struct previrt_image_site *grown =
            realloc(image->sites, grown_capacity * sizeof(*image->sites));

        if (!grown)
            return PREVIRT_E_MEMORY;
        image->sites = grown;
        *capacity = grown_capacity;
    }
    image->sites[image->site_count++] = *site;
    return PREVIRT_OK;
}

static void set_fault(struct previrt_image *image, int status, uint32_t fragment,
                      uint64_t file_offset, const struct previrt_site *site)
{
    memset(&image->fault, 0, sizeof(image->fault));
    image->fault.status = status;
    image->fault.fragment = fragment;
    image->fault.file_offset = file_offset;
    if (site)
        image->fault.site = *site;
}

static int read_notes(struct previrt_image *image, const struct pv_notes *notes, size_t *capacity)
{
    struct previrt_table_cursor cursor;
    const struct pv_table_cursor *inner = pv_table_cursor(&cursor);
    struct previrt_image_site site = {0};
    uint32_t before = image->fragments;
    int status = previrt_table_begin(&cursor, notes->data, notes->size, notes->address);

    while (status >= 0) {
        status = previrt_table_next(&cursor, &site.site);
        image->fragments = before + inner->fragment;
        if (status <= 0)
            break;
        site.file_offset = notes->file_offset + inner->record;
        site.record_size = (uint32_t)(inner->position - inner->record);
        site.fragment = image->fragments - 1;
        status = site.site.arch == image->arch ? add_site(image, capacity, &site) : PREVIRT_E_ARCH;
    }
    if (status < 0)
        set_fault(image, status, image->fragments ? image->fragments - 1 : 0,
                  notes->file_offset + inner->record, NULL);
    return status;
}

size_t pv_next_fragment(const uint8_t *notes, size_t size, size_t at, size_t *end)
{
    static const char name[PV_NOTE_NAME_SIZE] = PREVIRT_NOTE_NAME;

    while (at + PV_NOTE_HEADER_SIZE <= size) {
        size_t name_size = pv_get32(notes + at + PV_NOTE_NAMESZ);
        size_t desc_size = pv_get32(notes + at + PV_NOTE_DESCSZ), next;
        uint32_t type = pv_get32(notes + at + PV_NOTE_TYPE);

        if (!name_size) {
            at += PV_NOTE_ALIGN;
            continue;
        }
        next = at + PV_NOTE_HEADER_SIZE + align4(name_size) + align4(desc_size);
        if (next > size)
            next = size;
        if (type == PREVIRT_NT_TABLE && name_size == PV_NOTE_NAME_SIZE &&
            at + PV_NOTE_DESC <= size &&
            memcmp(notes + at + PV_NOTE_HEADER_SIZE, name, sizeof(name)) == 0) {
            *end = next;
            return at;
        }
        at = next;
    }
    return size;
}

static int load_sites(struct previrt_image *image)
{
    size_t capacity = 0;

    if (image->have_sites)
        return image->have_sites < 0 ? image->have_sites : PREVIRT_OK;
    image->have_sites = PREVIRT_E_NO_TABLE;
    set_fault(image, PREVIRT_E_NO_TABLE, 0, 0, NULL);
    for (size_t i = 0; i < image->note_count; i++) {
        const struct pv_notes *notes = &image->notes[i];
        size_t at = 0, end;
        int status = read_notes(image, notes, &capacity);

        if (status < 0) {
            image->have_sites = status;
            return status;
        }
        while ((at = pv_next_fragment(notes->data, notes->size, at, &end)) < notes->size) {
            image->table_bytes += end - at;
            at = end;
        }
    }
    if (!image->fragments)
        return PREVIRT_E_NO_TABLE;
    if (image->site_count)
        qsort(image->sites, image->site_count, sizeof(*image->sites), compare_sites);
    image->have_sites = 1;
    return PREVIRT_OK;
}

int previrt_image_sites(struct previrt_image *image, const struct previrt_image_site **sites,
                        size_t *count)
{
    int status;

    if (!image || !sites || !count)
        return PREVIRT_E_INVALID;
    status = load_sites(image);
    *sites = status < 0 ? NULL : image->sites;
    *count = status < 0 ? 0 : image->site_count;
    return status;
}

void previrt_image_fault(const struct previrt_image *image, struct previrt_image_fault *fault)
{
    *fault = image->fault;
}

/* ---- verifying ---- */

struct verifier {
    struct previrt_image *image;
    previrt_image_fault_fn report;
    void *context;
    int status; /* of the first fault */
    int stopped;
};

static void found(struct verifier *verifier, int status, uint32_t fragment, uint64_t file_offset,
                  const struct previrt_site *site, uint64_t value)
{
    set_fault(verifier->image, status, fragment, file_offset, site);
    verifier->image->fault.value = value;
    if (!verifier->status)
        verifier->status = status;
    if (verifier->report && verifier->report(verifier->context, &verifier->image->fault))
        verifier->stopped = 1;
}

static uint64_t first_bytes(const uint8_t *bytes, size_t size)
{
    uint64_t value = 0;

    for (size_t i = 0; i < size && i < sizeof(value); i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

/* One record, and its part of the digest. */
static void verify_site(struct verifier *verifier, const struct previrt_site *site,
                        uint32_t fragment, uint64_t file_offset, uint32_t *digest)
{
    size_t room =
        site->arch == PREVIRT_ARCH_IA64 ? PV_IA64_BUNDLE : (size_t)site->length + site->pad;
    uint8_t slot[PV_IA64_SLOT_BYTES];
    struct previrt_ia32_insn insn;
    const uint8_t *bytes;
    int status;

    if (site->flags & PREVIRT_SITE_DORMANT)
        return;
    bytes = previrt_image_text(verifier->image, site->address, room);
    if (!bytes) {
        found(verifier, PREVIRT_E_RANGE, fragment, file_offset, site, 0);
        return;
    }
    if (site->arch == PREVIRT_ARCH_IA64) {
        pv_ia64_slot_bytes(bytes, site->slot, slot);
        *digest = pv_crc32c(*digest, slot, sizeof(slot));
        return;
    }
    status = previrt_ia32_match_site(site, bytes, room, &insn);
    if (status < 0) {
        found(verifier, status, fragment, file_offset, site,
              first_bytes(status == PREVIRT_E_TAIL ? bytes + site->length : bytes,
                          status == PREVIRT_E_TAIL ? site->pad : site->length));
        /* the digest cannot match now; what the record claims is not worth a second fault */
        if (previrt_ia32_decode_site(bytes, site->length, 0, &insn) < 0)
            return;
    }
    *digest = pv_crc32c(*digest, bytes, insn.invariant);
}

static void verify_notes(struct verifier *verifier, const struct pv_notes *notes,
                         uint32_t first_fragment)
{
    struct previrt_table_cursor cursor;
    const struct pv_table_cursor *inner = pv_table_cursor(&cursor);
    uint32_t digest = 0, recorded = 0, fragment = 0;
    uint64_t file_offset = 0;
    struct previrt_site site;

    previrt_table_begin(&cursor, notes->data, notes->size, notes->address);
    while (!verifier->stopped) {
        int more = previrt_table_next(&cursor, &site); /* was read without error before */

        if (more <= 0 || inner->fragment != fragment) {
            if (fragment && digest != recorded)
                found(verifier, PREVIRT_E_DIGEST, first_fragment + fragment - 1, file_offset, NULL,
                      digest);
            if (more <= 0)
                return;
            fragment = inner->fragment;
            recorded = inner->digest;
            digest = 0;
        }
        file_offset = notes->file_offset + inner->record;
        verify_site(verifier, &site, first_fragment + fragment - 1, file_offset, &digest);
    }
}

static int overlaps(const struct previrt_site *a, const struct previrt_site *b)
{
    if (a->arch == PREVIRT_ARCH_IA64)
        return a->address == b->address && a->slot == b->slot;
    return b->address < a->address + a->length + a->pad;
}

int previrt_image_verify(struct previrt_image *image, previrt_image_fault_fn report, void *context)
{
    struct verifier verifier = {.image = image, .report = report, .context = context};
    uint32_t fragment = 0;
    int status;

    if (!image)
        return PREVIRT_E_INVALID;
    status = load_sites(image);
    if (status < 0) {
        if (report)
            report(context, &image->fault);
        return status;
    }
    for (size_t i = 0; i < image->note_count && !verifier.stopped; i++) {
        struct previrt_table_cursor cursor;
        struct previrt_site site;

        verify_notes(&verifier, &image->notes[i], fragment);
        previrt_table_begin(&cursor, image->notes[i].data, image->notes[i].size, 0);
        while (previrt_table_next(&cursor, &site) > 0)
            ;
        fragment += pv_table_cursor(&cursor)->fragment;
    }
    for (size_t i = 1; i < image->site_count && !verifier.stopped; i++) {
        const struct previrt_image_site *site = &image->sites[i], *before = &image->sites[i - 1];

        if (overlaps(&before->site, &site->site))
            found(&verifier, PREVIRT_E_OVERLAP, site->fragment, site->file_offset, &site->site,
                  before->site.address);
    }
    return verifier.status;
}

/* ---- merging ---- */

/* The whole table as one, for notes at (address). */
static int merge(struct previrt_image *image, uint64_t address, uint8_t **notes, size_t *size)
{
    struct previrt_site *sites;
    int status = load_sites(image);

    if (status < 0)
        return status;
    if (image->elf.type == ET_REL)
        return PREVIRT_E_STATE;
    sites = malloc((image->site_count + 1) * sizeof(*sites));
    *size = previrt_table_bound(image->site_count);
    *notes = malloc(*size);
    if (!sites || !*notes) {
        status = PREVIRT_E_MEMORY;
    } else {
        for (size_t i = 0; i < image->site_count; i++)
            sites[i] = image->sites[i].site;
        status = previrt_table_encode(sites, image->site_count, address, previrt_image_text, image,
                                      *notes, size);
    }
    free(sites);
    if (status < 0) {
        free(*notes);
        *notes = NULL;
    }
    return status;
}

int previrt_image_extract(struct previrt_image *image, void **notes, size_t *size)
{
    uint8_t *merged;
    int status;

    if (!image || !notes || !size)
        return PREVIRT_E_INVALID;
    status = merge(image, 0, &merged, size);
    *notes = status < 0 ? NULL : merged;
    return status;
}

/* ---- attaching ---- */

/* The first stretch of fragments without anything between them. */
static void find_stretch(const struct pv_notes *notes, size_t *begin, size_t *end)
{
    size_t at, next = 0;

    *begin = pv_next_fragment(notes->data, notes->size, 0, end);
    if (*begin == notes->size) {
        *end = notes->size;
        return;
    }
    while ((at = pv_next_fragment(notes->data, notes->size, *end, &next)) == *end &&
           at < notes->size)
        *end = next;
}

static void put_filler(uint8_t *note, size_t size)
{
    memset(note, 0, size);
    pv_put32(note + PV_NOTE_NAMESZ, PV_NOTE_NAME_SIZE);
    pv_put32(note + PV_NOTE_DESCSZ, (uint32_t)(size - PV_NOTE_DESC));
    pv_put32(note + PV_NOTE_TYPE, PREVIRT_NT_FILLER);
    memcpy(note + PV_NOTE_HEADER_SIZE, PREVIRT_NOTE_NAME, PV_NOTE_NAME_SIZE);
}

/* The merged table in the place of the fragments: 1, 0 if it does not fit, or a status. */
static int attach_in_place(struct previrt_image *image, void **out, size_t *size)
{
    const struct pv_notes *notes = &image->notes[0];
    size_t begin, end, room, merged_size, at, next;
    uint8_t *merged, *copy;
    int status;

    if (image->attached || image->note_count != 1 || !notes->allocated)
        return 0;
    find_stretch(notes, &begin, &end);
    if (begin == end)
        return 0;
    room = end - begin;
    status = merge(image, notes->address + begin, &merged, &merged_size);
    if (status < 0)
        return status;
    /* what is left must be nothing, or hold a filler note */
    if (merged_size > room || (merged_size < room && room - merged_size < PV_NOTE_DESC)) {
        free(merged);
        return 0;
    }
    copy = malloc(image->elf.size);
    if (!copy) {
        free(merged);
        return PREVIRT_E_MEMORY;
    }
    memcpy(copy, image->elf.data, image->elf.size);
    memcpy(copy + notes->file_offset + begin, merged, merged_size);
    if (merged_size < room)
        put_filler(copy + notes->file_offset + begin + merged_size, room - merged_size);
    for (at = end; (at = pv_next_fragment(notes->data, notes->size, at, &next)) < notes->size;
         at = next)
        put_filler(copy + notes->file_offset + at, next - at);
    free(merged);
    *out = copy;
    *size = image->elf.size;
    return 1;
}

/* The section that is not allocated: (notes) go behind the file, then section names, then headers.
 */
static int attach_section(const struct previrt_image *image, const uint8_t *notes,
                          size_t notes_size, void **out, size_t *size)
{
    const struct pv_elf *elf = &image->elf;
    const size_t name_size = sizeof(PREVIRT_TABLE_SECTION);
    struct pv_section section, names = {0};
    size_t notes_at, names_at, headers_at, total, header_align = elf->is64 ? 8 : 4;
    uint32_t index = 0, count = elf->shnum;
    uint8_t *copy;

    if (!elf->shnum || elf->shstrndx == SHN_UNDEF)
        return PREVIRT_E_STATE; /* nothing to add a section to */
    if (image->attached)
        index = image->notes[0].section;
    else
        index = count++;
    /* gABI: more sections than e_shnum can say need section 0's sh_size; no kernel has them */
    if (count >= SHN_LORESERVE && elf->shnum < SHN_LORESERVE)
        return PREVIRT_E_STATE;

    notes_at = align4(elf->size);
    names_at = notes_at + notes_size;
    pv_elf_section(elf, elf->shstrndx, &names);
    headers_at = names_at + (image->attached ? 0 : (size_t)names.size + name_size);
    headers_at = (headers_at + header_align - 1) & ~(header_align - 1);
    total = headers_at + (size_t)count * elf->shentsize;
    if (!elf->is64 && total > UINT32_MAX)
        return PREVIRT_E_SPACE;
    copy = calloc(1, total);
    if (!copy)
        return PREVIRT_E_MEMORY;
    memcpy(copy, elf->data, elf->size);
    memcpy(copy + notes_at, notes, notes_size);
    memcpy(copy + headers_at, elf->data + elf->shoff, (size_t)elf->shnum * elf->shentsize);

    memset(&section, 0, sizeof(section));
    if (image->attached) {
        pv_elf_section(elf, index, &section);
    } else {
        memcpy(copy + names_at, elf->names, elf->names_size);
        memcpy(copy + names_at + elf->names_size, PREVIRT_TABLE_SECTION, name_size);
        section.name = (uint32_t)elf->names_size;
        names.offset = names_at;
        names.size += name_size;
        pv_elf_put_section(elf, copy + headers_at + elf->shstrndx * elf->shentsize, &names);
    }
    section.type = SHT_NOTE;
    section.flags = 0;
    section.address = 0;
    section.offset = notes_at;
    section.size = notes_size;
    section.align = PV_NOTE_ALIGN;
    pv_elf_put_section(elf, copy + headers_at + index * elf->shentsize, &section);
    if (elf->is64) {
        pv_put64(copy + offsetof(Elf64_Ehdr, e_shoff), headers_at);
        if (elf->shnum < SHN_LORESERVE)
            pv_put16(copy + offsetof(Elf64_Ehdr, e_shnum), count);
    } else {
        pv_put32(copy + offsetof(Elf32_Ehdr, e_shoff), (uint32_t)headers_at);
        if (elf->shnum < SHN_LORESERVE)
            pv_put16(copy + offsetof(Elf32_Ehdr, e_shnum), count);
    }
    *out = copy;
    *size = total;
    return PREVIRT_OK;
}

int previrt_image_attach(struct previrt_image *image, const void *notes, size_t notes_size,
                         void **out, size_t *size)
{
    uint8_t *merged = NULL;
    size_t merged_size;
    int status;

    if (!image || !out || !size || (!notes && notes_size))
        return PREVIRT_E_INVALID;
    *out = NULL;
    if (image->elf.type == ET_REL)
        return PREVIRT_E_STATE;
    if (notes) {
        struct previrt_site bad;

        status = previrt_table_check(notes, notes_size, 0, previrt_image_text, image, &bad);
        if (status < 0) {
            set_fault(image, status, 0, 0, &bad);
            return status;
        }
        return attach_section(image, notes, notes_size, out, size);
    }
    status = load_sites(image);
    if (status < 0)
        return status;
    status = attach_in_place(image, out, size);
    if (status)
        return status < 0 ? status : PREVIRT_OK;
    status = merge(image, 0, &merged, &merged_size);
    if (status >= 0)
        status = attach_section(image, merged, merged_size, out, size);
    free(merged);
    return status;
}
