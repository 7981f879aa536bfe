/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the virtual processor is, as data: which bits of the processor's own CPUID leaves the guest
 * sees, and which model-specific registers exist (SDM 2A CPUID; SDM 4; APM 3 appendix E). What is
 * not in a table does not exist: such a leaf reads 0, such a register raises #GP.
 */
#include "vmm.h"

#define ALL    0xffffffffu
#define BIT(n) (1u << (n))

/* ---- CPUID ---- */

/* Leaf 1 EDX: FPU PSE TSC MSR PAE CX8 PGE CMOV PAT MMX FXSR SSE SSE2 CLFSH. Left out are what the
 * virtual machine does not have: VME, DE, MCE, APIC, SEP, MTRR, MCA, PSE-36, PSN, DS, ACPI, SS,
 * HTT, TM, PBE. */
#define LEAF1_EDX                                                                                  \
    (BIT(0) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(13) | BIT(15) | BIT(19) | BIT(23) | \
     BIT(24) | BIT(25) | BIT(26) | BIT(27))
/* Leaf 1 ECX: SSE3 PCLMULQDQ SSSE3 CX16 SSE4.1 SSE4.2 MOVBE POPCNT AES RDRAND. No XSAVE: the state
 * that is switched is FXSAVE's. */
#define LEAF1_ECX                                                                                  \
    (BIT(0) | BIT(1) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | BIT(30))
#define LEAF1_EBX   0x0000ffffu /* brand index and CLFLUSH line size; no APIC IDs */
#define LEAF7_EBX   BIT(9)      /* ERMS */
#define LEAF8_1_ECX (BIT(0) | BIT(5) | BIT(6) | BIT(8)) /* LAHF, ABM, SSE4A, PREFETCHW */
/* The copies of leaf 1 in AMD's leaf, and NX, MMXEXT, FFXSR, 3DNOWEXT, 3DNOW; no SYSCALL, RDTSCP,
 * long mode, 1 GiB pages. */
#define LEAF8_1_EDX ((LEAF1_EDX & 0x0183f3ffu) | BIT(20) | BIT(22) | BIT(25) | BIT(30) | BIT(31))
#define LEAF8_7_EDX BIT(8) /* invariant TSC */

struct cpuid_policy {
    uint32_t leaf;
    uint32_t eax_limit; /* a leaf whose EAX is the highest leaf: at most this; 0: no such leaf */
    uint32_t keep[4];   /* bits of EAX, EBX, ECX, EDX that the guest sees */
    uint8_t subleaves;  /* how many values of ECX mean something; others read 0. 0: ECX is unused */
};

static const struct cpuid_policy cpuid_policies[] = {
    {0x00000000u, 7, {ALL, ALL, ALL, ALL}, 0},
    {0x00000001u, 0, {ALL, LEAF1_EBX, LEAF1_ECX, LEAF1_EDX}, 0},
    {0x00000002u, 0, {ALL, ALL, ALL, ALL}, 0},
    {0x00000004u, 0, {0x00003fffu, ALL, ALL, ALL}, 32}, /* caches, shared with nobody */
    {0x00000007u, 0, {0, LEAF7_EBX, 0, 0}, 1},
    {0x80000000u, 0x80000008u, {ALL, ALL, ALL, ALL}, 0},
    {0x80000001u, 0, {ALL, 0, LEAF8_1_ECX, LEAF8_1_EDX}, 0},
    {0x80000002u, 0, {ALL, ALL, ALL, ALL}, 0}, /* the processor's name */
    {0x80000003u, 0, {ALL, ALL, ALL, ALL}, 0},
    {0x80000004u, 0, {ALL, ALL, ALL, ALL}, 0},
    {0x80000005u, 0, {ALL, ALL, ALL, ALL}, 0}, /* caches and TLBs */
    {0x80000006u, 0, {ALL, ALL, ALL, ALL}, 0},
    {0x80000007u, 0, {0, 0, 0, LEAF8_7_EDX}, 0},
    {0x80000008u, 0, {0x0000ffffu, 0, 0, 0}, 0}, /* address widths */
};

void pv_cpuid_filter(uint32_t leaf, uint32_t subleaf, uint32_t registers[4])
{
    const struct cpuid_policy *policy = NULL;

    for (size_t i = 0; i < sizeof cpuid_policies / sizeof *cpuid_policies; i++)
        if (cpuid_policies[i].leaf == leaf)
            policy = &cpuid_policies[i];
    for (unsigned r = 0; r < 4; r++)
        registers[r] &=
            policy && (!policy->subleaves || subleaf < policy->subleaves) ? policy->keep[r] : 0;
    if (policy && policy->eax_limit && registers[0] > policy->eax_limit)
        registers[0] = policy->eax_limit;
}

void pv_cpuid(struct pv_vmm *vmm)
{
    uint64_t *r = vmm->cpu.gpr;
    uint32_t leaf = r[PV_EAX], subleaf = r[PV_ECX], registers[4];

    __asm__ volatile("cpuid"
                     : "=a"(registers[0]), "=b"(registers[1]), "=c"(registers[2]),
                       "=d"(registers[3])
                     : "0"(leaf), "2"(subleaf));
    pv_cpuid_filter(leaf, subleaf, registers);
    r[PV_EAX] = registers[0];
    r[PV_EBX] = registers[1];
    r[PV_ECX] = registers[2];
    r[PV_EDX] = registers[3];
}

/* ---- model-specific registers ---- */

#define MSR_TSC            0x10u
#define MSR_APICBASE       0x1bu
#define MSR_UCODE_REV      0x8bu
#define MSR_SYSENTER_CS    0x174u
#define MSR_SYSENTER_ESP   0x175u
#define MSR_SYSENTER_EIP   0x176u
#define MSR_MISC_ENABLE    0x1a0u
#define MSR_PAT            0x277u
#define MSR_EFER           0xc0000080u
#define MSR_K7_HWCR        0xc0010015u
#define MSR_AMD64_NB       0xc001001fu
#define MSR_K8_INT_PENDING 0xc0010055u
#define MSR_AMD64_LS       0xc0011020u
#define MSR_AMD64_DC       0xc0011022u
#define MSR_AMD64_DE       0xc0011029u

enum msr_kind {
    MSR_VALUE,    /* kept in struct pv_cpu at (offset) */
    MSR_PAT_TYPE, /* the same; each byte must be a memory type (SDM 3A 11.12.2) */
    MSR_EFER_KIND,
    MSR_READ_TSC, /* read only */
    MSR_ZERO      /* reads 0, writes are lost */
};

static const struct msr_policy {
    uint32_t number;
    enum msr_kind kind;
    size_t offset;     /* of a uint64_t in struct pv_cpu */
    uint64_t writable; /* setting another bit raises #GP */
} msr_policies[] = {
    {MSR_TSC, MSR_READ_TSC, 0, 0},
    {MSR_APICBASE, MSR_VALUE, offsetof(struct pv_cpu, msr_apicbase), ~0ull},
    {MSR_UCODE_REV, MSR_ZERO, 0, ~0ull},
    {MSR_SYSENTER_CS, MSR_VALUE, offsetof(struct pv_cpu, msr_sysenter[0]), ALL},
    {MSR_SYSENTER_ESP, MSR_VALUE, offsetof(struct pv_cpu, msr_sysenter[1]), ALL},
    {MSR_SYSENTER_EIP, MSR_VALUE, offsetof(struct pv_cpu, msr_sysenter[2]), ALL},
    {MSR_MISC_ENABLE, MSR_VALUE, offsetof(struct pv_cpu, msr_misc_enable), ~0ull},
    {MSR_PAT, MSR_PAT_TYPE, offsetof(struct pv_cpu, msr_pat), ~0ull},
    {MSR_EFER, MSR_EFER_KIND, offsetof(struct pv_cpu, efer), EFER_NXE},
    {MSR_K7_HWCR, MSR_ZERO, 0, ~0ull},
    {MSR_AMD64_NB, MSR_ZERO, 0, ~0ull},
    {MSR_K8_INT_PENDING, MSR_ZERO, 0, ~0ull},
    {MSR_AMD64_LS, MSR_ZERO, 0, ~0ull},
    {MSR_AMD64_DC, MSR_ZERO, 0, ~0ull},
    {MSR_AMD64_DE, MSR_ZERO, 0, ~0ull},
};

static const struct msr_policy *find_msr(uint32_t number)
{
    for (size_t i = 0; i < sizeof msr_policies / sizeof *msr_policies; i++)
        if (msr_policies[i].number == number)
            return &msr_policies[i];
    return NULL;
}

uint64_t pv_tsc(void)
{
    uint32_t lo, hi;

    __asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
    return (uint64_t)hi << 32 | lo;
}

int pv_read_msr(struct pv_vmm *vmm, uint32_t number, uint64_t *value)
{
    const struct msr_policy *policy = find_msr(number);

    if (!policy)
        return -1;
    switch (policy->kind) {
    case MSR_READ_TSC:
        *value = pv_tsc();
        break;
    case MSR_ZERO:
        *value = 0;
        break;
    default:
        *value = *(const uint64_t *)((const char *)&vmm->cpu + policy->offset);
    }
    return 0;
}

static int is_pat(uint64_t value)
{
    for (; value; value >>= 8)
        if ((value & 0xff) > 7 || (value & 0xff) == 2 || (value & 0xff) == 3)
            return 0;
    return 1;
}

int pv_write_msr(struct pv_vmm *vmm, uint32_t number, uint64_t value)
{
    const struct msr_policy *policy = find_msr(number);
    uint64_t old, *slot;

    if (!policy || policy->kind == MSR_READ_TSC || (value & ~policy->writable) ||
        (policy->kind == MSR_PAT_TYPE && !is_pat(value)))
        return -1;
    if (policy->kind == MSR_ZERO)
        return 0;
    slot = (uint64_t *)((char *)&vmm->cpu + policy->offset);
    old = *slot;
    *slot = value;
    if (policy->kind == MSR_EFER_KIND && old != value)
        pv_shadow_rights(vmm);
    return 0;
}
