/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 32-bit boot protocol of Linux (Documentation/x86/boot.rst): boot_params with memory map,
 * command line and ramdisk; entry with ESI = boot_params.
 */
#include "vmm.h"

#define BOOT_PARAMS      0x10000u
#define COMMAND_LINE     0x20000u
#define COMMAND_LINE_MAX 2048u
#define LOW_END          0x9f000u
#define HIGH_START       0x100000u

/* boot_params: offsets of arch/x86/include/uapi/asm/bootparam.h */
#define BP_E820_ENTRIES     0x1e8
#define BP_HDR_BOOT_FLAG    0x1fe
#define BP_HDR_MAGIC        0x202
#define BP_HDR_VERSION      0x206
#define BP_HDR_LOADER       0x210
#define BP_HDR_LOADFLAGS    0x211
#define BP_HDR_RAMDISK      0x218
#define BP_HDR_RAMDISK_SIZE 0x21c
#define BP_HDR_CMDLINE      0x228
#define BP_E820_TABLE       0x2d0

#define LOADED_HIGH   1
#define E820_RAM      1
#define E820_RESERVED 2

static void put(uint8_t *p, uint64_t value, unsigned size)
{
    while (size--) {
        *p++ = value;
        value >>= 8;
    }
}

static uint8_t *e820(uint8_t *p, uint64_t base, uint64_t end, uint32_t type)
{
    put(p, base, 8);
    put(p + 8, end - base, 8);
    put(p + 16, type, 4);
    return p + 20;
}

int pv_start_linux(struct pv_vmm *vmm, const struct pv_boot *boot)
{
    static const char reserve[] = " reservetop=4M"; /* what stands there: backends/xen/layout.h */
    uint8_t *bp = pv_gpa(vmm, BOOT_PARAMS, PV_PAGE_SIZE),
            *p = pv_gpa(vmm, COMMAND_LINE, COMMAND_LINE_MAX);
    size_t n;

    for (n = 0; boot->command_line[n] && n < COMMAND_LINE_MAX - sizeof reserve; n++)
        p[n] = boot->command_line[n];
    __builtin_memcpy(p + n, reserve, sizeof reserve);
    put(bp + BP_HDR_BOOT_FLAG, 0xaa55, 2);
    put(bp + BP_HDR_MAGIC, 0x53726448, 4); /* "HdrS" */
    put(bp + BP_HDR_VERSION, 0x20f, 2);
    put(bp + BP_HDR_LOADER, 0xff, 1);
    put(bp + BP_HDR_LOADFLAGS, LOADED_HIGH, 1);
    put(bp + BP_HDR_RAMDISK, boot->module_at, 4);
    put(bp + BP_HDR_RAMDISK_SIZE, boot->module_size, 4);
    put(bp + BP_HDR_CMDLINE, COMMAND_LINE, 4);
    p = e820(bp + BP_E820_TABLE, 0, LOW_END, E820_RAM);
    p = e820(p, LOW_END, HIGH_START, E820_RESERVED);
    e820(p, HIGH_START, vmm->ram_size, E820_RAM);
    put(bp + BP_E820_ENTRIES, 3, 1);
    vmm->cpu.gpr[PV_ESI] = BOOT_PARAMS;
    return 0;
}
