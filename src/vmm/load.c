/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts the guest's kernel, an ELF32 executable, where its program headers want it, and the virtual
 * CPU into the state that both boot protocols ask for: protected mode, flat segments, paging off,
 * interrupts off. linux.c and multiboot.c do the rest.
 */
#include <elf.h>
#include "vmm.h"

#define HIGH_START    0x100000u
#define INITIAL_STACK 0x9f000u
#define BOOT_GDT      0x1000u

/* The Linux protocol wants __BOOT_CS and __BOOT_DS here (Documentation/x86/boot.rst); Multiboot
 * leaves the selectors open. */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

#define FLAT_CODE 0x00cf9a000000ffffull
#define FLAT_DATA 0x00cf92000000ffffull

static int load_segments(struct pv_vmm *vmm, struct pv_boot *boot)
{
    const uint8_t *image = boot->image;
    const Elf32_Ehdr *eh = boot->image;
    const Elf32_Phdr *ph;
    size_t size = boot->size;

    if (size < sizeof *eh || __builtin_memcmp(eh->e_ident, ELFMAG, SELFMAG) ||
        eh->e_ident[EI_CLASS] != ELFCLASS32 || eh->e_machine != EM_386 ||
        eh->e_phentsize != sizeof *ph || eh->e_phoff > size ||
        eh->e_phnum > (size - eh->e_phoff) / sizeof *ph) {
        pv_refuse(vmm, PV_POWER_REFUSED, "the guest is not an ELF32 executable for IA32");
        return -1;
    }
    ph = (const void *)(image + eh->e_phoff);
    for (unsigned i = 0; i < eh->e_phnum; i++, ph++) {
        uint8_t *p;

        if (ph->p_type != PT_LOAD)
            continue;
        p = pv_gpa(vmm, ph->p_paddr, ph->p_memsz);
        if (!p || ph->p_paddr < HIGH_START || ph->p_filesz > ph->p_memsz || ph->p_offset > size ||
            ph->p_filesz > size - ph->p_offset) {
            pv_refuse(vmm, PV_POWER_REFUSED,
                      "segment %u (physical %#x, %u bytes) does not fit the file or memory", i,
                      ph->p_paddr, ph->p_memsz);
            return -1;
        }
        __builtin_memcpy(p, image + ph->p_offset, ph->p_filesz);
        if (ph->p_flags & PF_X)
            vmm->load_offset = ph->p_vaddr - ph->p_paddr;
        if (ph->p_paddr + (uint64_t)ph->p_memsz > boot->end)
            boot->end = ph->p_paddr + (uint64_t)ph->p_memsz;
    }
    vmm->cpu.eip = eh->e_entry;
    if (vmm->load_offset && vmm->cpu.eip >= vmm->load_offset)
        vmm->cpu.eip -= vmm->load_offset;
    return 0;
}

/* The RAM disk goes as high as it can. */
static int load_module(struct pv_vmm *vmm, struct pv_boot *boot)
{
    if (boot->module_size > vmm->ram_size)
        boot->module_at = 0;
    else
        boot->module_at = (vmm->ram_size - boot->module_size) & ~(uint64_t)PV_PAGE_MASK;
    if (boot->module_at < boot->end) {
        pv_refuse(vmm, PV_POWER_REFUSED, "no room for the ramdisk (%lu bytes)",
                  (unsigned long)boot->module_size);
        return -1;
    }
    if (boot->module_size)
        __builtin_memcpy(pv_gpa(vmm, boot->module_at, boot->module_size), boot->module,
                         boot->module_size);
    return 0;
}

void pv_start_state(struct pv_vmm *vmm)
{
    uint64_t *gdt = pv_gpa(vmm, BOOT_GDT, 32);

    gdt[BOOT_CS / 8] = FLAT_CODE;
    gdt[BOOT_DS / 8] = FLAT_DATA;
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
    vmm->cpu.msr_pat = 0x0007040600070406ull; /* SDM 3A table 12-12 */
    /* Multiboot leaves ESP open, but a hypervisor may push frames there: see shadow.c. */
    vmm->cpu.gpr[PV_ESP] = INITIAL_STACK;
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

int pv_load(struct pv_vmm *vmm, struct pv_boot *boot)
{
    uint32_t offset;

    if (load_segments(vmm, boot) || load_module(vmm, boot))
        return -1;
    pv_start_state(vmm);
    vmm->counters_at_end = has_word(boot->command_line, "previrt.counters=end");
    if (pv_multiboot_header(boot, &offset))
        return pv_start_multiboot(vmm, boot, offset);
    return pv_start_linux(vmm, boot);
}
