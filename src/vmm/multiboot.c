/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Multiboot kernels (Multiboot Specification 0.6.96) that are ELF files. They get memory sizes, a
 * memory map, the command line and the ramdisk as their only module. Nothing tells such a kernel
 * that the VMM has the last 4 MiB of its address space (backends/xen/layout.h).
 */
#include "vmm.h"

#define INFORMATION      0x10000u
#define COMMAND_LINE     0x20000u
#define COMMAND_LINE_MAX 2048u
#define LOW_END          0x9f000u
#define HIGH_START       0x100000u

/* 3.1: the header lies within the first 8,192 bytes, 4-byte aligned */
#define SEARCH       8192u
#define HEADER_MAGIC 0x1badb002u
#define HEADER_SIZE  12u
#define BOOT_MAGIC   0x2badb002u

/* flags of the header that an ELF kernel may ask for and is given: page alignment, memory sizes */
#define HEADER_KNOWN 0x0003u
#define HEADER_MUST  0xffffu /* the others are optional */

#define INFO_MEMORY  (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MMAP    (1u << 6)

#define MMAP_RAM      1
#define MMAP_RESERVED 2

struct information {
    uint32_t flags;
    uint32_t mem_lower, mem_upper; /* KiB */
    uint32_t boot_device;
    uint32_t cmdline;
    uint32_t mods_count, mods_addr;
    uint32_t syms[4];
    uint32_t mmap_length, mmap_addr;
};

struct module_entry {
    uint32_t start, end, string, reserved;
};

struct mmap_entry {
    uint32_t size; /* of the rest */
    uint64_t address, length;
    uint32_t type;
} __attribute__((packed));

/* What is put at INFORMATION */
struct area {
    struct information information;
    uint32_t padding;
    struct module_entry module;
    struct mmap_entry mmap[3];
};

static uint32_t word(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

int pv_multiboot_header(const struct pv_boot *boot, uint32_t *offset)
{
    const uint8_t *image = boot->image;
    size_t end = boot->size < SEARCH ? boot->size : SEARCH;

    for (size_t at = 0; at + HEADER_SIZE <= end; at += 4)
        if (word(image + at) == HEADER_MAGIC &&
            word(image + at) + word(image + at + 4) + word(image + at + 8) == 0) {
            *offset = at;
            return 1;
        }
    return 0;
}

int pv_start_multiboot(struct pv_vmm *vmm, const struct pv_boot *boot, uint32_t header)
{
    struct area *area = pv_gpa(vmm, INFORMATION, sizeof *area);
    char *line = pv_gpa(vmm, COMMAND_LINE, COMMAND_LINE_MAX);
    uint32_t flags = word((const uint8_t *)boot->image + header + 4) & HEADER_MUST & ~HEADER_KNOWN;
    size_t n;

    if (flags) {
        pv_refuse(vmm, PV_POWER_REFUSED,
                  "the kernel's Multiboot header asks for what is not offered (flags %#x)", flags);
        return -1;
    }
    for (n = 0; boot->command_line[n] && n < COMMAND_LINE_MAX - 1; n++)
        line[n] = boot->command_line[n];
    line[n] = 0;
    *area = (struct area){
        .information =
            {
                .flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MMAP,
                .mem_lower = LOW_END >> 10,
                .mem_upper = (uint32_t)((vmm->ram_size - HIGH_START) >> 10),
                .cmdline = COMMAND_LINE,
                .mods_count = boot->module_size != 0,
                .mods_addr = INFORMATION + offsetof(struct area, module),
                .mmap_length = sizeof area->mmap,
                .mmap_addr = INFORMATION + offsetof(struct area, mmap),
            },
        .module = {(uint32_t)boot->module_at, (uint32_t)(boot->module_at + boot->module_size),
                   COMMAND_LINE + (uint32_t)n, 0},
        .mmap =
            {
                {sizeof area->mmap[0] - 4, 0, LOW_END, MMAP_RAM},
                {sizeof area->mmap[0] - 4, LOW_END, HIGH_START - LOW_END, MMAP_RESERVED},
                {sizeof area->mmap[0] - 4, HIGH_START, vmm->ram_size - HIGH_START, MMAP_RAM},
            },
    };
    vmm->cpu.gpr[PV_EAX] = BOOT_MAGIC;
    vmm->cpu.gpr[PV_EBX] = INFORMATION;
    return 0;
}
