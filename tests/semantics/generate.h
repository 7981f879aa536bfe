/* SPDX-License-Identifier: BSD-2-Clause */
/* Random instructions of the catalogue and random states that they can run in. */
#ifndef GENERATE_H
#define GENERATE_H

#include <previrt/ia32.h>

#include "machine.h"

/* xorshift64*: the same on every machine. */
struct random {
    uint64_t state;
};
uint32_t random32(struct random *random);
uint32_t random_below(struct random *random, uint32_t limit);

/* One instruction at a site: bytes with padding, and where it leads. */
struct sample {
    uint8_t bytes[PREVIRT_LENGTH_MAX + PREVIRT_PAD_MAX];
    uint8_t length, pad;
    struct previrt_ia32_insn insn;
};

/* Makes an encoding of (form). false: this draw cannot be encoded or tested; draw again. */
bool generate(struct random *random, const struct previrt_ia32_form_info *form,
              struct sample *sample);

/* The linear address of the memory operand. */
uint32_t operand_address(const struct previrt_ia32_insn *insn, const struct registers *registers);

/*
 * A state for it: registers, and in (machine)'s memory its operands and stack. (*until): where it
 * leads if not to the next instruction, else 0. Whatever is drawn is drawn from (random), so that
 * two machines get the same from equal generators. (iopl): EFLAGS.IOPL may be set too.
 */
void generate_state(struct random *random, const struct sample *sample, bool iopl,
                    struct machine *machine, struct registers *registers, uint32_t *until);

#endif
