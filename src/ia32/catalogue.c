/* SPDX-License-Identifier: BSD-2-Clause */
/* The catalogue, expanded from ia32_ops.def into two tables indexed by number. */
#include <previrt/ia32.h>

#define S_IF       PREVIRT_STATE_IF
#define S_IOPL     PREVIRT_STATE_IOPL
#define S_FLAGS    PREVIRT_STATE_FLAGS
#define S_CPL      PREVIRT_STATE_CPL
#define S_SEG      PREVIRT_STATE_SEG
#define S_GDT      PREVIRT_STATE_GDT
#define S_LDT      PREVIRT_STATE_LDT
#define S_IDT      PREVIRT_STATE_IDT
#define S_TR       PREVIRT_STATE_TR
#define S_CR       PREVIRT_STATE_CR
#define S_DR       PREVIRT_STATE_DR
#define S_MSR      PREVIRT_STATE_MSR
#define S_TSC      PREVIRT_STATE_TSC
#define S_PMC      PREVIRT_STATE_PMC
#define S_CPUID    PREVIRT_STATE_CPUID
#define S_XCR      PREVIRT_STATE_XCR
#define S_TLB      PREVIRT_STATE_TLB
#define S_CACHE    PREVIRT_STATE_CACHE
#define S_IO       PREVIRT_STATE_IO
#define S_ACTIVITY PREVIRT_STATE_ACTIVITY
#define S_SMM      PREVIRT_STATE_SMM
#define S_VM       PREVIRT_STATE_VM

static const struct previrt_ia32_op_info ops[PREVIRT_IA32_OP_LIMIT] = {
#define PREVIRT_IA32_OP(number, ID, name, MNEMONIC, trap, policy, room, feature, reads, writes,    \
                        source)                                                                    \
    [number] = {name,                                                                              \
                source,                                                                            \
                reads,                                                                             \
                writes,                                                                            \
                feature,                                                                           \
                number,                                                                            \
                PREVIRT_TRAP_##trap,                                                               \
                PREVIRT_POLICY_##policy,                                                           \
                room},
#include <previrt/ia32_ops.def>
};

static const struct previrt_ia32_form_info forms[PREVIRT_IA32_FORM_LIMIT] = {
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    [number] = {number,   PREVIRT_IA32_##OP,       mandatory, length,                              \
                {opcode}, PREVIRT_LAYOUT_##layout, extension, width},
#include <previrt/ia32_ops.def>
};

const struct previrt_ia32_op_info *previrt_ia32_op_info(unsigned op)
{
    return op < PREVIRT_IA32_OP_LIMIT && ops[op].name ? &ops[op] : NULL;
}

const struct previrt_ia32_form_info *previrt_ia32_form_info(unsigned form)
{
    return form < PREVIRT_IA32_FORM_LIMIT && forms[form].form ? &forms[form] : NULL;
}

unsigned previrt_ia32_op_by_name(const char *name)
{
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const char *a = ops[op].name, *b = name;

        if (!a)
            continue;
        while (*a && *a == *b)
            a++, b++;
        if (!*a && !*b)
            return op;
    }
    return PREVIRT_IA32_NO_OP;
}
