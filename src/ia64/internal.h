/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of src/ia64 (and the tests) share. */
#ifndef PV_IA64_INTERNAL_H
#define PV_IA64_INTERNAL_H

#include <previrt/ia64.h>

/* One row of insns.def. */
struct pv_ia64_row {
    const char *name;
    uint64_t match, mask;
    uint32_t effects;
    uint8_t unit, format, op;
};

/* The row numbered (index), NULL after the last. Every row can be reached: tests walk them all. */
const struct pv_ia64_row *pv_ia64_row(size_t index);

#endif
