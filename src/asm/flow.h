/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Liveness of the arithmetic flags, on the text. What is not known for certain counts as live.
 */
#ifndef PV_ASM_FLOW_H
#define PV_ASM_FLOW_H

#include "asm/mnemonic.h"
#include "asm/reader.h"

/* A label as the annotator met it. In the order of the text. */
struct pv_flow_label {
    const char *name;
    const char *after; /* behind the colon */
    uint32_t length;
    uint32_t app; /* inside #APP */
};

struct pv_flow {
    const char *text, *end;
    const struct pv_mnemonic_table *table;
    struct pv_flow_label *labels;
    size_t label_count, label_capacity;
    uint32_t *index; /* hash table over the labels, number + 1; built when first needed */
    size_t index_size;
    int compiler; /* the text has #APP blocks: a compiler wrote what is outside them */
    int intel;
};

/* PREVIRT_OK or PREVIRT_E_MEMORY. */
int pv_flow_add_label(struct pv_flow *flow, const struct pv_label *label, int app);

void pv_flow_free(struct pv_flow *flow);

/* 1 if nothing reads the arithmetic flags that are in force at (p); (app): (p) is inside #APP. */
int pv_flow_flags_dead(struct pv_flow *flow, const char *p, int app);

/* 1 if the statements from (p), the beginning of an #APP block, to (site) leave the flags alone and
 * nothing can jump in between: the flags are what the compiler left, unspecified. */
int pv_flow_flags_unspecified(struct pv_flow *flow, const char *p, const char *site);

#endif
