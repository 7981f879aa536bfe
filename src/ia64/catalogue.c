/* SPDX-License-Identifier: BSD-2-Clause */
/* The catalogue of IA-64 operations, expanded from ia64_ops.def into a table indexed by number. */
#include <previrt/ia64.h>

#define S_PSR   PREVIRT_IA64_STATE_PSR
#define S_UM    PREVIRT_IA64_STATE_UM
#define S_CPL   PREVIRT_IA64_STATE_CPL
#define S_CR    PREVIRT_IA64_STATE_CR
#define S_KR    PREVIRT_IA64_STATE_KR
#define S_TIMER PREVIRT_IA64_STATE_TIMER
#define S_RSE   PREVIRT_IA64_STATE_RSE
#define S_RR    PREVIRT_IA64_STATE_RR
#define S_PKR   PREVIRT_IA64_STATE_PKR
#define S_DEBUG PREVIRT_IA64_STATE_DEBUG
#define S_PM    PREVIRT_IA64_STATE_PM
#define S_MSR   PREVIRT_IA64_STATE_MSR
#define S_CPUID PREVIRT_IA64_STATE_CPUID
#define S_TLB   PREVIRT_IA64_STATE_TLB
#define S_CACHE PREVIRT_IA64_STATE_CACHE
#define S_ALAT  PREVIRT_IA64_STATE_ALAT
#define S_ORDER PREVIRT_IA64_STATE_ORDER
#define S_BANK  PREVIRT_IA64_STATE_BANK
#define S_IA32  PREVIRT_IA64_STATE_IA32
#define S_DAHR  PREVIRT_IA64_STATE_DAHR

static const struct previrt_ia64_op_info ops[PREVIRT_IA64_OP_LIMIT] = {
#define PREVIRT_IA64_OP(number, ID, name, trap, policy, reads, writes, source)                     \
    [number] = {name,                                                                              \
                source,                                                                            \
                reads,                                                                             \
                writes,                                                                            \
                number,                                                                            \
                PREVIRT_IA64_TRAP_##trap,                                                          \
                PREVIRT_IA64_POLICY_##policy,                                                      \
                0},
#include <previrt/ia64_ops.def>
};

const struct previrt_ia64_op_info *previrt_ia64_op_info(unsigned op)
{
    return op < PREVIRT_IA64_OP_LIMIT && ops[op].name ? &ops[op] : NULL;
}

unsigned previrt_ia64_op_by_name(const char *name)
{
    for (unsigned op = 1; name && op < PREVIRT_IA64_OP_LIMIT; op++) {
        const char *a = ops[op].name, *b = name;

        if (!a)
            continue;
        while (*a && *a == *b)
            a++, b++;
        if (!*a && !*b)
            return op;
    }
    return PREVIRT_IA64_NO_OP;
}
