/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual processor's CPUID leaves and model-specific registers: features whose operations the
 * catalogue masks are not offered, unknown leaves read 0, unknown registers and reserved bits
 * fault.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../src/vmm/vmm.h"

static unsigned flushes;

/* policy.c's only dependency */
void pv_shadow_rights(struct pv_vmm *vmm)
{
    (void)vmm;
    flushes++;
}

static void filter(uint32_t leaf, uint32_t subleaf, uint32_t r[4])
{
    for (int i = 0; i < 4; i++)
        r[i] = 0xffffffffu;
    pv_cpuid_filter(leaf, subleaf, r);
}

/* Register and bit of each feature that the catalogue's policy "mask" relies on. */
static void masked_features_are_not_offered(void **state)
{
    static const struct {
        uint32_t leaf, subleaf;
        uint8_t reg, bit;
    } masked[] = {
        {1, 0, 2, 3},            /* MONITOR */
        {1, 0, 2, 5},            /* VMX */
        {1, 0, 2, 6},            /* SMX */
        {1, 0, 2, 26},           /* XSAVE */
        {1, 0, 2, 27},           /* OSXSAVE */
        {1, 0, 3, 9},            /* APIC */
        {1, 0, 3, 11},           /* SEP */
        {7, 0, 1, 2},            /* SGX */
        {7, 0, 1, 7},            /* SMEP */
        {7, 0, 1, 10},           /* INVPCID */
        {7, 0, 1, 20},           /* SMAP */
        {7, 0, 2, 22},           /* RDPID */
        {7, 0, 3, 18},           /* PCONFIG */
        {0xd, 1, 0, 3},          /* XSAVES */
        {0x80000001u, 0, 2, 2},  /* SVM */
        {0x80000001u, 0, 3, 11}, /* SYSCALL */
        {0x80000001u, 0, 3, 27}, /* RDTSCP */
        {0x80000001u, 0, 3, 29}, /* long mode */
        {0x80000008u, 0, 1, 9},  /* WBNOINVD */
    };
    uint32_t r[4];

    (void)state;
    for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
        filter(masked[i].leaf, masked[i].subleaf, r);
        assert_false(r[masked[i].reg] >> masked[i].bit & 1);
    }
    filter(1, 0, r);
    assert_true(r[3] >> 0 & 1);  /* FPU */
    assert_true(r[3] >> 4 & 1);  /* TSC */
    assert_true(r[3] >> 6 & 1);  /* PAE */
    assert_true(r[3] >> 25 & 1); /* SSE */
    filter(0x80000001u, 0, r);
    assert_true(r[3] >> 20 & 1); /* NX */
}

static void what_is_in_no_table_reads_zero(void **state)
{
    uint32_t r[4];

    (void)state;
    for (uint32_t leaf = 8; leaf < 0x70000000u; leaf += leaf / 4) {
        filter(leaf, 0, r);
        assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
    }
    filter(0x40000000u, 0, r); /* a hypervisor's */
    assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
    filter(7, 1, r);
    assert_int_equal(r[0] | r[1] | r[2] | r[3], 0);
}

static void highest_leaves_are_limited_not_raised(void **state)
{
    uint32_t r[4] = {0x1f, 1, 2, 3};

    (void)state;
    pv_cpuid_filter(0, 0, r);
    assert_int_equal(r[0], 7);
    assert_int_equal(r[3], 3);
    r[0] = 2;
    pv_cpuid_filter(0, 0, r);
    assert_int_equal(r[0], 2);
    r[0] = 0x80000021u;
    pv_cpuid_filter(0x80000000u, 0, r);
    assert_int_equal(r[0], 0x80000008u);
}

static void registers_hold_what_may_be_written(void **state)
{
    static struct pv_vmm vmm;
    uint64_t value;

    (void)state;
    memset(&vmm, 0, sizeof vmm);
    assert_int_equal(pv_write_msr(&vmm, 0x176, 0xc0101234u), 0);
    assert_int_equal(pv_read_msr(&vmm, 0x176, &value), 0);
    assert_int_equal(value, 0xc0101234u);
    assert_int_equal(vmm.cpu.msr_sysenter[2], 0xc0101234u);
    assert_int_equal(pv_write_msr(&vmm, 0x176, 1ull << 32), -1);
    assert_int_equal(vmm.cpu.msr_sysenter[2], 0xc0101234u);

    assert_int_equal(pv_write_msr(&vmm, 0x277, 0x0007040600070406ull), 0);
    assert_int_equal(pv_write_msr(&vmm, 0x277, 0x0007040600070403ull), -1); /* type 3 */
    assert_int_equal(vmm.cpu.msr_pat, 0x0007040600070406ull);

    flushes = 0;
    assert_int_equal(pv_write_msr(&vmm, 0xc0000080u, EFER_NXE), 0);
    assert_int_equal(flushes, 1);
    assert_int_equal(pv_write_msr(&vmm, 0xc0000080u, EFER_NXE), 0);
    assert_int_equal(flushes, 1);
    assert_int_equal(pv_write_msr(&vmm, 0xc0000080u, 1u << 8), -1); /* LME */
    assert_int_equal(vmm.cpu.efer, EFER_NXE);
}

static void unknown_registers_fault(void **state)
{
    static struct pv_vmm vmm;
    uint64_t value = 42, before, after;

    (void)state;
    assert_int_equal(pv_read_msr(&vmm, 0x12345, &value), -1);
    assert_int_equal(pv_write_msr(&vmm, 0x12345, 0), -1);
    assert_int_equal(pv_write_msr(&vmm, 0x10, 0), -1);
    assert_int_equal(pv_read_msr(&vmm, 0x10, &before), 0);
    assert_int_equal(pv_read_msr(&vmm, 0x10, &after), 0);
    assert_true(after > before);
    assert_int_equal(pv_read_msr(&vmm, 0x8b, &value), 0); /* microcode revision: present, 0 */
    assert_int_equal(value, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(masked_features_are_not_offered),
        cmocka_unit_test(what_is_in_no_table_reads_zero),
        cmocka_unit_test(highest_leaves_are_limited_not_raised),
        cmocka_unit_test(registers_hold_what_may_be_written),
        cmocka_unit_test(unknown_registers_fault),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
