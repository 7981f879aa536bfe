/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Starts a Linux kernel by its 32-bit boot protocol (Documentation/x86/boot.rst): ELF segments at
 * their physical addresses, boot_params with memory map, command line and ramdisk, entry with ESI =
 * boot_params, paging off.
 */
#include <elf.h>
#include "vmm.h"

#define BOOT_PARAMS   0x10000u
#define COMMAND_LINE  0x20000u
#define INITIAL_STACK 0x9f000u
#define BOOT_GDT      0x1000u
#define LOW_END       0x9f000u
#define HIGH_START    0x100000u

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

#define BOOT_CS 0x10
#define BOOT_DS 0x18

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

/* A word of a command line, as a whole. */
static int has_word(const char *line, const char *word)
{
    while (*line) {
        size_t n = 0;

        while (word[n] && line[n] == word[n])
            n++;
        if (!word[n] && (!line[n] || line[n] == ' '))
            return 1;
        while (*line && *line != ' ')
            line++;
        while (*line == ' ')
            line++;
    }
    return 0;
}

int pv_load_linux(struct pv_vmm *vmm, const void *image, size_t size, const void *initrd,
                  size_t initrd_size, const char *command_line)
{
    static const char reserve[] = " reservetop=4M";
    const Elf32_Ehdr *eh = image;
    const Elf32_Phdr *ph;
    uint64_t end = 0, initrd_at;
    uint8_t *bp, *p;
    size_t n;

    if (size < sizeof *eh || __builtin_memcmp(eh->e_ident, ELFMAG, SELFMAG) ||
        eh->e_ident[EI_CLASS] != ELFCLASS32 || eh->e_machine != EM_386 ||
        eh->e_phentsize != sizeof *ph || eh->e_phoff > size ||
        eh->e_phnum > (size - eh->e_phoff) / sizeof *ph) {
        pv_die(vmm, "the guest is not an ELF32 executable for IA32");
        return -1;
    }
    ph = (const void *)((const uint8_t *)image + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++, ph++) {
        if (ph->p_type != PT_LOAD)
            continue;
        p = pv_gpa(vmm, ph->p_paddr, ph->p_memsz);
        if (!p || ph->p_paddr < HIGH_START || ph->p_filesz > ph->p_memsz || ph->p_offset > size ||
            ph->p_filesz > size - ph->p_offset) {
            pv_die(vmm, "segment %u (physical %#x, %u bytes) does not fit the file or memory", i,
                   ph->p_paddr, ph->p_memsz);
            return -1;
        }
        __builtin_memcpy(p, (const uint8_t *)image + ph->p_offset, ph->p_filesz);
        if (ph->p_flags & PF_X)
            vmm->load_offset = ph->p_vaddr - ph->p_paddr;
        if (ph->p_paddr + (uint64_t)ph->p_memsz > end)
            end = ph->p_paddr + (uint64_t)ph->p_memsz;
    }
    initrd_at = (vmm->ram_size - initrd_size) & ~(uint64_t)PV_PAGE_MASK;
    if (initrd_size > vmm->ram_size || initrd_at < end) {
        pv_die(vmm, "no room for the ramdisk (%lu bytes)", (unsigned long)initrd_size);
        return -1;
    }
    __builtin_memcpy(pv_gpa(vmm, initrd_at, initrd_size), initrd, initrd_size);

    bp = pv_gpa(vmm, BOOT_PARAMS, PV_PAGE_SIZE);
    p = pv_gpa(vmm, COMMAND_LINE, 2048);
    for (n = 0; command_line[n] && n < 1900; n++)
        p[n] = command_line[n];
    __builtin_memcpy(p + n, reserve, sizeof reserve);
    vmm->counters_at_end = has_word((const char *)p, "previrt.counters=end");
    put(bp + BP_HDR_BOOT_FLAG, 0xaa55, 2);
    put(bp + BP_HDR_MAGIC, 0x53726448, 4); /* "HdrS" */
    put(bp + BP_HDR_VERSION, 0x20f, 2);
    put(bp + BP_HDR_LOADER, 0xff, 1);
    put(bp + BP_HDR_LOADFLAGS, LOADED_HIGH, 1);
    put(bp + BP_HDR_RAMDISK, initrd_at, 4);
    put(bp + BP_HDR_RAMDISK_SIZE, initrd_size, 4);
    put(bp + BP_HDR_CMDLINE, COMMAND_LINE, 4);
    p = e820(bp + BP_E820_TABLE, 0, LOW_END, E820_RAM);
    p = e820(p, LOW_END, HIGH_START, E820_RESERVED);
    e820(p, HIGH_START, vmm->ram_size, E820_RAM);
    put(bp + BP_E820_ENTRIES, 3, 1);

    /* boot.rst: flat __BOOT_CS (0x10) and __BOOT_DS (0x18) in a loaded GDT */
    p = pv_gpa(vmm, BOOT_GDT, 32);
    put(p + BOOT_CS, 0x00cf9a000000ffffull, 8);
    put(p + BOOT_DS, 0x00cf92000000ffffull, 8);
    vmm->cpu.gdt_base = BOOT_GDT;
    vmm->cpu.gdt_limit = 31;
    vmm->cpu.kernel_cs = BOOT_CS;
    vmm->cpu.kernel_ss = BOOT_DS;
    vmm->cpu.cr0 = CR0_PE | CR0_ET;
    vmm->page->segment[PV_CS] = BOOT_CS;
    vmm->page->segment[PV_SS] = BOOT_DS;
    vmm->page->cr[0] = vmm->cpu.cr0;
    vmm->cpu.eflags = EFLAGS_FIXED | EFLAGS_IF;
    vmm->cpu.dr[6] = DR6_RESET;
    vmm->cpu.dr[7] = DR7_RESET;
    vmm->cpu.msr_pat = 0x0007040600070406ull;
    vmm->cpu.gpr[PV_ESI] = BOOT_PARAMS;
    vmm->cpu.gpr[PV_ESP] = INITIAL_STACK;
    vmm->cpu.eip = eh->e_entry;
    if (vmm->cpu.eip >= vmm->load_offset)
        vmm->cpu.eip -= vmm->load_offset;
    return 0;
}
