/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the monitor and its guest are, and what `pack` tells the monitor. The assembler sources
 * read the same facts from offsets.inc, which offsets.c prints.
 */
#ifndef BACKENDS_IA64_LAYOUT_H
#define BACKENDS_IA64_LAYOUT_H

#include <stdint.h>

/* Guest-physical memory is machine memory from 0 to the monitor. */
#define IA64_MONITOR_PHYSICAL UINT64_C(0x8000000)
#define IA64_MONITOR_BITS     20 /* of its size: one translation register */
#define IA64_MONITOR_SIZE     (UINT64_C(1) << IA64_MONITOR_BITS)

/*
 * Interruptions do not switch translation off, so the monitor is mapped while the guest runs: far
 * up in region 7, where no guest has memory. The vCPU page follows, readable by the guest.
 */
#define IA64_MONITOR_VIRTUAL UINT64_C(0xf000000000000000)
#define IA64_VCPU_VIRTUAL    (IA64_MONITOR_VIRTUAL + IA64_MONITOR_SIZE)

/* The immediate of the break that stands for a replaced operation. */
#define IA64_BREAK_NUMBER 0x1f0000u

#define IA64_MONITOR_MAGIC UINT64_C(0x3436616976657270) /* "previa64" */

enum ia64_monitor_flags {
    IA64_MONITOR_EMULATES = 1 << 0, /* privileged operations that trap are emulated */
    IA64_MONITOR_TRACES = 1 << 1    /* and each is told on the console */
};

/* The monitor's image begins with it. */
struct ia64_monitor_parameters {
    uint64_t magic;
    uint64_t flags;      /* IA64_MONITOR_* */
    uint64_t entry;      /* guest-physical */
    uint64_t memory_end; /* guest-physical memory is [0, memory_end) */
    uint64_t sites;      /* physical address of the site map */
    uint64_t site_count;
};

/*
 * The site map: what the rewriter replaced by break, ascending by (where). The monitor has no use
 * for a patch-up table: the table says where operations are, and this what they were.
 */
struct ia64_monitor_site {
    uint64_t where; /* guest-physical address of the bundle, plus the slot */
    uint64_t insn;  /* 41 bits; the unit (enum previrt_ia64_unit) from bit 48 */
};

#endif
