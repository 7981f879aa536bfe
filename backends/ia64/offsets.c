/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints what the monitor's assembler sources need of the C headers. */
#include <stddef.h>
#include <stdio.h>

#include <previrt/ia64.h>

#include "layout.h"

static void set(const char *name, unsigned long long value)
{
    printf("%s = 0x%llx\n", name, value);
}

int main(void)
{
    set("MONITOR_PHYSICAL", IA64_MONITOR_PHYSICAL);
    set("MONITOR_VIRTUAL", IA64_MONITOR_VIRTUAL);
    set("MONITOR_BITS", IA64_MONITOR_BITS);
    set("MONITOR_MAGIC", IA64_MONITOR_MAGIC);
    set("VCPU_VIRTUAL", IA64_VCPU_VIRTUAL);
    set("FLAG_EMULATES", IA64_MONITOR_EMULATES);
    set("FLAG_TRACES", IA64_MONITOR_TRACES);
    set("PARAMETERS_SIZE", sizeof(struct ia64_monitor_parameters));
    set("P_FLAGS", offsetof(struct ia64_monitor_parameters, flags));
    set("P_ENTRY", offsetof(struct ia64_monitor_parameters, entry));
    set("P_MEMORY_END", offsetof(struct ia64_monitor_parameters, memory_end));
    set("P_SITES", offsetof(struct ia64_monitor_parameters, sites));
    set("P_SITE_COUNT", offsetof(struct ia64_monitor_parameters, site_count));
    set("VCPU_SIZE", sizeof(struct previrt_ia64_vcpu));
    set("V_CR", offsetof(struct previrt_ia64_vcpu, cr));
    set("V_KR", offsetof(struct previrt_ia64_vcpu, kr));
    set("V_PSR", offsetof(struct previrt_ia64_vcpu, psr));
    set("UNIT_M", PREVIRT_IA64_UNIT_M);
    set("UNIT_I", PREVIRT_IA64_UNIT_I);
    set("UNIT_F", PREVIRT_IA64_UNIT_F);
    set("UNIT_B", PREVIRT_IA64_UNIT_B);
    set("UNIT_L", PREVIRT_IA64_UNIT_L);
    set("UNIT_X", PREVIRT_IA64_UNIT_X);
    return 0;
}
