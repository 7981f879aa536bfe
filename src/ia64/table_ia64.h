/* SPDX-License-Identifier: BSD-2-Clause */
/* The IA-64 records of a table's run, for the table codec, which owns notes, fragments, runs and
 * digests. */
#ifndef PV_IA64_TABLE_H
#define PV_IA64_TABLE_H

#include <previrt/ia64.h>

#define PV_IA64_RECORD_FIXED   3 /* op and two operand bytes behind the gap */
#define PV_IA64_RECORD_MAX     (5 + PV_IA64_RECORD_FIXED)
#define PV_IA64_INVARIANT_SIZE 6 /* the 41 bits of a slot, little-endian */

/* Where the record before stood. At the start of a run: {address of the run's first bundle, 0, 0}.
 */
struct pv_ia64_position {
    uint64_t address;
    uint8_t slot;
    uint8_t started;
};

/*
 * Decodes the record at (bytes), of which (size) may be read, and moves (position) on. Bytes
 * consumed, or E_TRUNCATED, E_MALFORMED (a number out of range, slot 3, not ascending, a first
 * record with a distance), E_OPERATION.
 */
int pv_ia64_record_decode(const uint8_t *bytes, size_t size, struct pv_ia64_position *position,
                          struct previrt_site *site);

/* The reverse: bytes written, or E_SPACE, E_OVERLAP (not ascending), E_RANGE (a new run is needed),
 * E_INVALID. */
int pv_ia64_record_encode(const struct previrt_site *site, struct pv_ia64_position *position,
                          uint8_t *out, size_t size);

/* What the fragment's digest covers of one site: the slot's bits. E_BYTES: reserved template. */
int pv_ia64_invariant(const uint8_t *bundle_bytes, unsigned slot,
                      uint8_t out[PV_IA64_INVARIANT_SIZE]);

#endif
