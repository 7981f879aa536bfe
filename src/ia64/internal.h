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

/*
 * The general register that (insn) reads or writes as a value (*gr), and its control or application
 * register, second general register or probe immediate (*second); 0 where there is none.
 */
void pv_ia64_system_operands(const struct previrt_ia64_insn *insn, unsigned *gr, unsigned *second);

/* The NOP of a unit; of unit L: the upper half of nop.x 0. */
uint64_t pv_ia64_nop(unsigned unit);

/* (qp) break (number), for a slot of any unit; the L slot of break.x is 0. */
uint64_t pv_ia64_break(unsigned qp, uint32_t number);

/* A bundle with (insn), NOPs around it and a stop at its end. */
int pv_ia64_place(const struct previrt_ia64_insn *insn, struct previrt_ia64_bundle *bundle);

/* (qp) brl.cond (near: br.cond) from the bundle at (address) to (target). */
int pv_ia64_branch(unsigned qp, uint64_t address, uint64_t target, int near,
                   struct previrt_ia64_insn *insn);

#endif
