/* SPDX-License-Identifier: BSD-2-Clause */
/* struct previrt_image, for the files that open, read and change images. */
#ifndef PREVIRT_SRC_IMAGE_IMAGE_H
#define PREVIRT_SRC_IMAGE_IMAGE_H

#include <previrt/image.h>

#include "image/elf.h"
#include "table/table.h"

/* A section or segment with the bytes of notes. */
struct pv_notes {
    const uint8_t *data; /* relocated, in an object */
    uint8_t *copy;       /* what to free, or NULL */
    size_t size;
    uint64_t address; /* that anchors count from */
    uint64_t file_offset;
    uint32_t section; /* index, 0: a segment */
    int allocated;
};

struct pv_image_symbol {
    uint64_t address;
    const char *name;
    uint8_t rank; /* functions before labels at the same address */
};

struct previrt_image {
    struct pv_elf elf;
    uint8_t *owned; /* the file's bytes, if we read it */
    uint8_t arch;
    int attached;

    struct previrt_image_section *sections; /* or segments */
    uint32_t section_count;
    uint32_t *text; /* executable sections, sorted by address */
    uint32_t text_count;

    struct pv_notes *notes; /* those that hold the table */
    size_t note_count;

    int have_sites; /* 1: read; negative: the status of reading them */
    struct previrt_image_site *sites;
    size_t site_count;
    uint32_t fragments;
    uint64_t table_bytes;
    struct previrt_image_fault fault;

    struct pv_image_symbol *symbols; /* of executable sections, sorted */
    size_t symbol_count;
};

/* The next fragment of ours from (at) on: its offset, or (size) if there is none. (*end) is the
 * offset behind it. Foreign notes and filler are skipped. The notes were read without error before.
 */
size_t pv_next_fragment(const uint8_t *notes, size_t size, size_t at, size_t *end);

#endif
