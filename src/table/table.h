/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The patch-up table's format, for the files that read and write it. docs/table-format.md explains
 * it; the names here are those of its tables. Freestanding.
 */
#ifndef PREVIRT_SRC_TABLE_H
#define PREVIRT_SRC_TABLE_H

#include <previrt/table.h>

/* ELF note header (all little-endian): n_namesz, n_descsz, n_type, then the name, then the
 * descriptor. */
enum {
    PV_NOTE_NAMESZ = 0,
    PV_NOTE_DESCSZ = 4,
    PV_NOTE_TYPE = 8,
    PV_NOTE_HEADER_SIZE = 12,
    PV_NOTE_ALIGN = 4,
    PV_NOTE_NAME_SIZE = 8, /* of ours */
    PV_NOTE_DESC = PV_NOTE_HEADER_SIZE + PV_NOTE_NAME_SIZE
};

/* Descriptor of a fragment. */
enum {
    PV_DESC_VERSION = 0,
    PV_DESC_ARCH = 1,
    PV_DESC_COUNT = 2,
    PV_DESC_DIGEST = 4,
    PV_DESC_RUNS = 8,
    PV_FRAGMENT_COUNT_MAX = 0xffff
};

/* An entry of an unfinished fragment. */
enum {
    PV_RAW_SITE = 0,
    PV_RAW_ROOM = 4,
    PV_RAW_OP = 5,
    PV_RAW_FLAGS = 6,
    PV_RAW_RESERVED = 7,
    PV_RAW_SIZE = 8
};

enum {
    PV_ANCHOR_SIZE = 4,
    PV_ANCHOR_ALIGN = 4, /* IA64 */
    PV_ULEB_MAX = 5,     /* bytes of a 32-bit ULEB128 */
    PV_RECORD_MAX = PV_ULEB_MAX + 3,
    PV_ROOM_LENGTH = 0x0f,
    PV_ROOM_PAD_SHIFT = 4,
    PV_ROOM_FLAGS_DEAD = 0x80,
    PV_IA64_BUNDLE = 16,
    PV_IA64_SLOTS = 3,
    PV_IA64_SLOT_BYTES = 6 /* 41 bits */
};

/* struct previrt_table_cursor, seen from inside. */
struct __attribute__((may_alias)) pv_table_cursor {
    const uint8_t *notes;
    uint64_t size;
    uint64_t address;   /* of notes[0] in the guest */
    uint64_t position;  /* offset of what comes next */
    uint64_t end;       /* of the fragment's descriptor; 0: between notes */
    uint64_t next_note; /* offset of the note behind this one */
    uint64_t site_end;  /* address where the record before ended; IA64: see decode.c */
    uint64_t record;    /* offset of the record that was read last, or of what is wrong */
    uint32_t fragment;  /* number of the fragment, from 1; 0 before the first */
    uint32_t left;      /* records that the fragment has yet to give */
    uint32_t run_left;  /* and the run */
    uint32_t digest;    /* recorded in the fragment */
    uint8_t arch;
    uint8_t run_begins; /* the next record is the first of its run */
    uint16_t count;     /* records of the fragment */
    uint32_t anchor;    /* offset of the run's anchor field */
};

_Static_assert(sizeof(struct pv_table_cursor) <= sizeof(struct previrt_table_cursor),
               "the public cursor is too small");

static inline const struct pv_table_cursor *
pv_table_cursor(const struct previrt_table_cursor *cursor)
{
    return (const struct pv_table_cursor *)(const void *)cursor;
}

/* CRC-32C. Begin with 0; pv_crc32c(pv_crc32c(0, a), b) is the CRC of a and b in a row.
 * Freestanding. */
uint32_t pv_crc32c(uint32_t crc, const uint8_t *bytes, size_t size);

static inline uint16_t pv_get16(const uint8_t *bytes)
{
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static inline uint32_t pv_get32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline uint64_t pv_get64(const uint8_t *bytes)
{
    return pv_get32(bytes) | (uint64_t)pv_get32(bytes + 4) << 32;
}

static inline void pv_put16(uint8_t *bytes, uint32_t value)
{
    bytes[0] = (uint8_t)value;
    bytes[1] = (uint8_t)(value >> 8);
}

static inline void pv_put32(uint8_t *bytes, uint32_t value)
{
    pv_put16(bytes, value);
    pv_put16(bytes + 2, value >> 16);
}

static inline void pv_put64(uint8_t *bytes, uint64_t value)
{
    pv_put32(bytes, (uint32_t)value);
    pv_put32(bytes + 4, (uint32_t)(value >> 32));
}

/*
 * The writer: fragments, runs and records into a caller's buffer. Errors stick: (status) holds the
 * first one, and what comes after does nothing.
 */
struct pv_table_writer {
    uint8_t *out;
    size_t room;
    size_t size;     /* bytes written */
    size_t fragment; /* offset of the fragment's note */
    uint32_t count;  /* records in it */
    uint32_t digest;
    uint64_t site_end;
    int status;
    uint8_t arch;
    uint8_t run_begins;
};

void pv_table_writer_init(struct pv_table_writer *writer, void *out, size_t room);
void pv_table_begin_fragment(struct pv_table_writer *writer, unsigned arch);
/* A run of (count) records; returns the offset of its anchor, which the caller fills in. */
size_t pv_table_begin_run(struct pv_table_writer *writer, size_t count);
/* One record of the run. (bytes), (size): what the digest covers, the site's invariant bytes. */
void pv_table_put_site(struct pv_table_writer *writer, const struct previrt_site *site,
                       const uint8_t *bytes, size_t size);
void pv_table_end_fragment(struct pv_table_writer *writer);

/* The 41 bits of (slot) in the bundle at (bundle): what IA64 digests cover. */
void pv_ia64_slot_bytes(const uint8_t *bundle, unsigned slot, uint8_t bytes[PV_IA64_SLOT_BYTES]);

/* Whether (site)'s numbers fit a record: PREVIRT_OK, E_OPERATION, E_ROOM, E_INVALID. */
int pv_table_check_site(const struct previrt_site *site);

#endif
