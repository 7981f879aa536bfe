/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds the sensitive operations of IA-64 code. A branch lands on bundles, which are 16 bytes long
 * and aligned, so every bundle of every executable section is decoded, and there is nothing to get
 * out of step with: data in text can at most show an operation that is none.
 *
 * Code may also be kept in data: an image that is mapped elsewhere (Linux' gate page) is walked
 * with the image that holds it. docs/ia64.md.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/ia64.h>

#include "audit/walk.h"

#define BUNDLE         PREVIRT_IA64_BUNDLE_SIZE
#define IMAGE_ALIGN    0x1000 /* of an image that is kept in data: it is mapped as it is */
#define SLOT_BITS      (BUNDLE - 1)
#define DISTANCE_BYTES 4

struct visit {
    struct pv_walk *walk;
    uint32_t code;
    int status;
};

static int grow(void **items, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity ? 2 * *capacity : 256;
    void *grown;

    if (count < *capacity)
        return PREVIRT_OK;
    grown = realloc(*items, wanted * size);
    if (!grown)
        return PREVIRT_E_MEMORY;
    *items = grown;
    *capacity = wanted;
    return PREVIRT_OK;
}

/* ---- bundles ---- */

static int add_undecided(struct pv_walk *walk, uint32_t code, uint64_t address, uint64_t size)
{
    struct pv_undecided *last =
        walk->undecided_count ? &walk->undecided[walk->undecided_count - 1] : NULL;

    if (last && last->code == code && address < last->address + last->size)
        return PREVIRT_OK; /* another slot of the same bundle */
    walk->undecided_bytes += size;
    if (last && last->code == code && last->address + last->size == address) {
        last->size += size;
        return PREVIRT_OK;
    }
    if (grow((void **)&walk->undecided, walk->undecided_count, &walk->undecided_capacity,
             sizeof(*walk->undecided)) < 0)
        return PREVIRT_E_MEMORY;
    /* what is no instruction raises Illegal Operation: nothing can hide in it */
    walk->undecided[walk->undecided_count++] = (struct pv_undecided){
        .address = address, .size = size, .code = code, .reason = PV_NOT_CODE};
    return PREVIRT_OK;
}

static int visit(void *context, uint64_t address, unsigned slot,
                 const struct previrt_ia64_insn *insn)
{
    struct visit *visit = context;
    struct pv_walk *walk = visit->walk;

    if (!insn) {
        visit->status = add_undecided(walk, visit->code, address, BUNDLE);
        return visit->status != PREVIRT_OK;
    }
    visit->status =
        grow((void **)&walk->sites, walk->site_count, &walk->site_capacity, sizeof(*walk->sites));
    if (visit->status)
        return 1;
    walk->sites[walk->site_count++] = (struct pv_found){.address = address,
                                                        .code = visit->code,
                                                        .op = insn->op,
                                                        .length = BUNDLE,
                                                        .slot = (uint8_t)slot};
    return 0;
}

/* Bundles of zeros: what linkers and assemblers put between functions (break 0 in each slot). */
static uint64_t count_filler(const uint8_t *bytes, size_t size)
{
    static const uint8_t zeros[BUNDLE];
    uint64_t filler = 0;

    for (size_t at = 0; at + BUNDLE <= size; at += BUNDLE)
        if (memcmp(bytes + at, zeros, BUNDLE) == 0)
            filler += BUNDLE;
    return filler;
}

static int walk_code(struct pv_walk *walk, uint32_t index)
{
    const struct pv_code *code = &walk->codes[index];
    struct visit context = {.walk = walk, .code = index};
    size_t size = (size_t)code->section->size & ~(size_t)SLOT_BITS;
    struct previrt_ia64_scan_result result;
    int status;

    if (code->section->address & SLOT_BITS)
        return PREVIRT_E_MALFORMED;
    status = previrt_ia64_scan(code->bytes, size, code->section->address,
                               PREVIRT_IA64_SELECT_SENSITIVE, 1, visit, &context, &result);
    if (status < 0)
        return status;
    if (context.status)
        return context.status;
    walk->instructions += result.slots - result.undecodable;
    walk->filler_bytes += count_filler(code->bytes, size);
    walk->code_bytes += code->section->size;
    if (size < code->section->size)
        return add_undecided(walk, index, code->section->address + size,
                             code->section->size - size);
    return PREVIRT_OK;
}

/* ---- code kept in data ---- */

static int add_embedded(struct pv_walk *walk, const struct pv_view_section *section, uint64_t at)
{
    struct pv_embedded *grown, *embedded;
    int status;

    grown = realloc(walk->embedded, (walk->embedded_count + 1) * sizeof(*grown));
    if (!grown)
        return PREVIRT_E_MEMORY;
    walk->embedded = grown;
    embedded = &grown[walk->embedded_count];
    /* its sections may lie anywhere behind its header: the file's end is not known */
    status = pv_view_open(&embedded->view, section->data + at, (size_t)(section->size - at));
    if (status)
        return status == PREVIRT_E_MEMORY ? status : PREVIRT_OK;
    if (embedded->view.machine != EM_IA_64 || embedded->view.type != ET_DYN) {
        pv_view_close(&embedded->view);
        return PREVIRT_OK;
    }
    embedded->container = section->name;
    walk->embedded_count++;
    return PREVIRT_OK;
}

/*
 * Shared objects that begin on a page in a section that is not executable. Programs in an initial
 * RAM disk do not begin on pages, but for a rare accident.
 */
static int find_embedded(struct pv_walk *walk)
{
    const struct pv_view *elf = walk->elf;

    if (elf->type != ET_EXEC && elf->type != ET_DYN)
        return PREVIRT_OK;
    for (size_t i = 1; i < elf->section_count; i++) {
        const struct pv_view_section *section = &elf->sections[i];
        uint64_t at = -section->address & (IMAGE_ALIGN - 1);

        if (!(section->flags & SHF_ALLOC) || section->flags & SHF_EXECINSTR || !section->data)
            continue;
        for (; at < section->size && section->size - at > sizeof(Elf64_Ehdr); at += IMAGE_ALIGN) {
            int status;

            if (memcmp(section->data + at, ELFMAG, SELFMAG) != 0)
                continue;
            status = add_embedded(walk, section, at);
            if (status)
                return status;
        }
    }
    return PREVIRT_OK;
}

/* ---- bundles that tables name ---- */

static int add_pinned(struct pv_walk *walk, uint64_t address)
{
    if (grow((void **)&walk->pinned, walk->pinned_count, &walk->pinned_capacity,
             sizeof(*walk->pinned)) < 0)
        return PREVIRT_E_MEMORY;
    walk->pinned[walk->pinned_count++] = address & ~(uint64_t)SLOT_BITS;
    return PREVIRT_OK;
}

/* Linux' exception tables and lists of instructions to patch are distances from where they stand.
 */
static int read_pinned(struct pv_walk *walk, const struct pv_view *view)
{
    for (size_t i = 1; i < view->section_count; i++) {
        const struct pv_view_section *section = &view->sections[i];
        int status = PREVIRT_OK;
        uint8_t *bytes;

        if (section->type != SHT_PROGBITS || !section->data ||
            (strcmp(section->name, "__ex_table") != 0 &&
             strncmp(section->name, ".data..patch", strlen(".data..patch")) != 0))
            continue;
        status = pv_view_relocated(view, section, &bytes);
        if (status)
            return status;
        for (uint64_t at = 0; !status && at + DISTANCE_BYTES <= section->size;
             at += DISTANCE_BYTES) {
            int32_t distance;

            memcpy(&distance, bytes + at, sizeof(distance));
            status = add_pinned(walk, section->address + at + (uint64_t)(int64_t)distance);
        }
        free(bytes);
        if (status)
            return status;
    }
    return PREVIRT_OK;
}

static int compare_addresses(const void *a, const void *b)
{
    const uint64_t *left = a, *right = b;

    return *left < *right ? -1 : *left > *right;
}

bool pv_walk_is_pinned(const struct pv_walk *walk, uint64_t address)
{
    return walk->pinned_count && bsearch(&address, walk->pinned, walk->pinned_count,
                                         sizeof(*walk->pinned), compare_addresses) != NULL;
}

/* ---- the whole ---- */

static int compare_codes(const void *a, const void *b)
{
    const struct pv_code *left = a, *right = b;

    if (left->section->address != right->section->address)
        return left->section->address < right->section->address ? -1 : 1;
    return left->section < right->section ? -1 : left->section > right->section;
}

static int add_codes(struct pv_walk *walk, const struct pv_view *view, const char *container)
{
    size_t size = (walk->code_count + view->section_count + 1) * sizeof(*walk->codes);
    struct pv_code *grown = realloc(walk->codes, size);

    if (!grown)
        return PREVIRT_E_MEMORY;
    walk->codes = grown;
    for (size_t i = 1; i < view->section_count; i++)
        if (pv_view_is_code(&view->sections[i]))
            walk->codes[walk->code_count++] = (struct pv_code){.section = &view->sections[i],
                                                               .view = view,
                                                               .container = container,
                                                               .bytes = view->sections[i].data};
    return PREVIRT_OK;
}

int pv_walk_ia64(struct pv_walk *walk)
{
    int status = find_embedded(walk);

    if (!status)
        status = add_codes(walk, walk->elf, NULL);
    if (!status)
        status = read_pinned(walk, walk->elf);
    for (size_t i = 0; !status && i < walk->embedded_count; i++) {
        status = add_codes(walk, &walk->embedded[i].view, walk->embedded[i].container);
        if (!status)
            status = read_pinned(walk, &walk->embedded[i].view);
    }
    if (status)
        return status;
    if (walk->pinned_count)
        qsort(walk->pinned, walk->pinned_count, sizeof(*walk->pinned), compare_addresses);
    if (walk->code_count)
        qsort(walk->codes, walk->code_count, sizeof(*walk->codes), compare_codes);
    for (size_t i = 1; i < walk->code_count; i++)
        if (walk->codes[i - 1].section->address + walk->codes[i - 1].section->size >
            walk->codes[i].section->address)
            return PREVIRT_E_MALFORMED; /* two sections at one address */
    for (size_t i = 0; !status && i < walk->code_count; i++)
        status = walk_code(walk, (uint32_t)i);
    if (!status)
        walk->code_bytes -= walk->filler_bytes + walk->undecided_bytes;
    return status;
}
