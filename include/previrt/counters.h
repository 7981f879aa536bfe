/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The counters of an in-place VMM: every exit, operation, fault and fill, in one page that can be
 * read without asking the VMM. The page stands alone in memory, so there are three ways to it:
 *
 *  - from outside, in the machine's memory: the VMM says at start where ("previrt: counters at
 * machine address ..."), and QEMU's monitor writes it to a file (pmemsave ADDRESS 4096 "FILE");
 *  - from the guest's kernel, which sees it read-only in the region that is reserved for the VMM
 * (PREVIRT_COUNTERS_GUEST);
 *  - as text on the console, see below.
 *
 * All numbers are little-endian and only grow. They are consistent whenever the guest runs; a
 * reader outside may catch the VMM between two increments.
 */
#ifndef PREVIRT_COUNTERS_H
#define PREVIRT_COUNTERS_H

#include <previrt/ia32.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PREVIRT_COUNTERS_MAGIC   "pvCOUNT" /* with its NUL: 8 bytes */
#define PREVIRT_COUNTERS_VERSION 1
#define PREVIRT_COUNTERS_SIZE    4096
#define PREVIRT_COUNTERS_VECTORS 32

/* Guest-virtual address of the page in kernel mode, on a VMM whose region begins at (low_base). */
#define PREVIRT_COUNTERS_GUEST(low_base) ((low_base) + 0x2000u)

/*
 * Requests on the console: the guest writes one of these bytes to port PREVIRT_COUNTERS_PORT, which
 * is free on a PC (so the same program runs on bare hardware, where nothing comes of it), or
 * somebody types it on the console after Control-^. Printed are lines "previrt: count NAME VALUE"
 * of what is not 0, between "previrt: counters: begin" and "previrt: counters: end". The word
 * "previrt.counters=end" on the guest's command line prints all when the guest ends.
 */
#define PREVIRT_COUNTERS_PORT  0xe8
#define PREVIRT_COUNTERS_ALL   'c'  /* everything since the start */
#define PREVIRT_COUNTERS_MARK  'm'  /* nothing; what follows is counted from here */
#define PREVIRT_COUNTERS_SINCE 'd'  /* what was counted since the mark */
#define PREVIRT_COUNTERS_KEY   0x1e /* Control-^; typed twice, the guest gets one */

/* clang-format off */
/* X(name, what it counts) in the order of the page. New ones are appended; a change of order is a new version. */
#define PREVIRT_COUNTERS(X)                                                                                              \
    X(exits,         "times that the guest was left for the VMM, for whatever reason")                                   \
    X(traps,         "of these, by an exception or a software interrupt")                                                \
    X(operations,    "of these, by a rewritten site's stub")                                                             \
    X(fast_calls,    "not in these: software interrupts of user code that the entry code delivered")                           \
    X(fast_returns,  "not in these: returns to user code that it did")                                                        \
    X(upcalls,       "events of the hypervisor")                                                                         \
    X(emulated,      "operations without a site, done from the trap")                                                    \
    X(rolled_back,   "stubs that an event interrupted and that begin again")                                             \
    X(injected,      "exceptions and interrupts delivered to the guest")                                                 \
    X(interrupts,    "of these, of the interrupt controller")                                                            \
    X(user_entries,  "returns to user code")                                                                             \
    X(idle,          "waits for an event")                                                                               \
    X(faults,        "page faults that the shadow looked at")                                                            \
    X(fills,         "of these, answered by a mapping")                                                                  \
    X(prefills,      "mappings made ahead of a fault")                                                                   \
    X(unmaps,        "mappings taken away")                                                                              \
    X(syncs,         "stretches of 2 MiB compared with the guest's tables")                                              \
    X(cr3_loads,     "loads of CR3")                                                                                     \
    X(cr3_new,       "of these, of a root that had no space")                                                            \
    X(invlpgs,       "single pages made to agree")                                                                       \
    X(hypercalls,    "calls of the hypervisor, returns to user code left out")                                           \
    X(map_calls,     "of these, batches of page-table changes")                                                          \
    X(map_changes,   "page-table entries changed in these")                                                              \
    X(roots,         "of these, loads of page-table roots")                                                              \
    X(tables,        "page-table pages prepared")                                                                        \
    X(descriptors,   "changes of the processor's descriptor table")                                                      \
    X(timers,        "changes of the timer")                                                                             \
    X(console_calls, "writes to the console")                                                                            \
    X(looks,         "times that kernel code was looked at that is not in the image: modules, generated code")           \
    X(code_writes,   "of pages that were looked at, writes that end that")                                               \
    X(found_tables,  "patch-up tables found in guest memory and rewritten")                                              \
    X(found_sites,   "sites of these")                                                                                   \
    X(fast_faults,   "not in exits, traps, injected: page faults of user code that the entry code passed on")            \
    X(refills,       "returns from a page fault where what the guest mapped was mapped at once")
/* clang-format on */

struct previrt_counters {
    char magic[8];
    uint32_t version;
    uint32_t size;                        /* of what is used of the page, in bytes */
    uint32_t named_offset, named_count;   /* the list above, 64 bits each */
    uint32_t vector_offset, vector_count; /* exceptions delivered to the guest, by vector */
    uint32_t op_offset, op_count;         /* operations, by enum previrt_ia32_op */
    uint64_t reserved[3];                 /* 0 */
#define PREVIRT_COUNTER_MEMBER(name, text) uint64_t name;
    PREVIRT_COUNTERS(PREVIRT_COUNTER_MEMBER)
#undef PREVIRT_COUNTER_MEMBER
    uint64_t vector[PREVIRT_COUNTERS_VECTORS];
    uint64_t op[PREVIRT_IA32_OP_LIMIT];
};

#ifdef __cplusplus
}
#endif

#endif
