/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One operation of the catalogue at a time, for the tests of the in-place VMM: the processor's own
 * machine (tests/semantics) beside the VMM's guest, with equal memory.
 */
#ifndef RIG_H
#define RIG_H

#include <previrt/table.h>

#include "../semantics/generate.h"
#include "vm.h"

#define SPACING 64

#define IDT_ADDRESS     0x15000u
#define IDT_LIMIT       0x7ffu
#define DR7_BITS        0xffff2fffu
#define HANDLERS        0x16000u /* 16 bytes a vector; nothing is executed there */
#define HANDLER_SPACING 16u
#define DONE            0x17000u /* behind the site the guest jumps here */
#define STOP_SIZE       (DONE + 16 - HANDLERS)
#define WINDOW          512u /* bytes below the stack pointer that are put back */

struct access {
    uint16_t port;
    uint8_t size, out;
    uint32_t value;
};

struct test {
    struct machine original;
    struct machine pokes; /* no processor: writes of the set-up to the VMM's guest */
    struct vm *vm;
    struct previrt_device device;
    struct previrt_range range;
    struct access ports[PORTS_SIZE];
    size_t port_count;
    struct random random;
    uint64_t seed;

    const struct previrt_ia32_form_info *form;
    struct sample sample;
    uint32_t site, next_site, resume;
    int dead;
    bool trap; /* not rewritten: the operation traps */

    unsigned states, executed, faulted, failures, missing;
};

const char *form_name(const struct previrt_ia32_form_info *form);

/* The ports are all the same device, which does what machine.c's do. */
void rig_open(struct test *test);
void rig_close(struct test *test);
/* What machine_reset() does for the other. */
void rig_reset(struct test *test);
/* The next site gets test->sample, rewritten or (test->trap) as it is; a jump to DONE stands at
 * test->resume. false: there is no stub for it. */
bool rig_prepare(struct test *test);
/* Counts a failure, and prints the first few: what the processor has, what the VMM has, and (where)
 * in the test it was. */
void rig_failed(struct test *test, const char *what, uint64_t expected, uint64_t found,
                const char *where);
/* The vector that the VMM raises for an operation that it does not offer, -1: it does. */
int rig_refused(unsigned op);

#endif
