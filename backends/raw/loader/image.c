/* SPDX-License-Identifier: BSD-2-Clause */
/* The guest's ELF file (System V ABI, chapters 4 and 5; Intel386 supplement). */
#include "loader.h"
#include "start.h"

#include <elf.h>
#include <string.h>

/* Multiboot 3.1: the header lies in the first 8192 bytes, on a 32-bit boundary. */
#define MULTIBOOT_SEARCH 8192u
#define LOW_FLOOR        0x1000u

static int is_multiboot(uint32_t start, uint32_t end)
{
    uint32_t size = end - start < MULTIBOOT_SEARCH ? end - start : MULTIBOOT_SEARCH;

    for (uint32_t at = 0; at + 3 * sizeof(uint32_t) <= size; at += sizeof(uint32_t)) {
        const uint32_t *header = (const uint32_t *)(start + at);

        if (header[0] == MULTIBOOT_HEADER_MAGIC && header[0] + header[1] + header[2] == 0)
            return 1;
    }
    return 0;
}

/* Linux leaves notes of its own (include/linux/elfnote.h, init/version.c:
 * LINUX_ELFNOTE_BUILD_SALT). */
static int has_linux_note(const uint8_t *notes, uint32_t size)
{
    uint32_t at = 0;

    while (size - at >= sizeof(Elf32_Nhdr)) {
        const Elf32_Nhdr *note = (const void *)(notes + at);
        uint64_t name = (note->n_namesz + 3ull) & ~3ull, desc = (note->n_descsz + 3ull) & ~3ull;

        at += sizeof(*note);
        if (name + desc > size - at)
            return 0;
        if (note->n_namesz == sizeof("Linux") && !memcmp(notes + at, "Linux", sizeof("Linux")))
            return 1;
        at += (uint32_t)(name + desc);
    }
    return 0;
}

static void add_segment(struct pv_guest *guest, const Elf32_Phdr *header, uint32_t file_size)
{
    struct pv_segment *segment = &guest->segment[guest->segments];

    if (guest->segments == PV_SEGMENTS_MAX)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "more than %u segments", PV_SEGMENTS_MAX);
    if (header->p_filesz > header->p_memsz || header->p_offset > file_size ||
        header->p_filesz > file_size - header->p_offset)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST,
                  "segment %u: file range %x + %x outside the file of %x bytes", guest->segments,
                  header->p_offset, header->p_filesz, file_size);
    if (header->p_paddr + header->p_memsz < header->p_paddr || header->p_paddr < LOW_FLOOR ||
        !pv_regions_ram(header->p_paddr, (uint64_t)header->p_paddr + header->p_memsz))
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "segment %u: physical range %x + %x is not RAM",
                  guest->segments, header->p_paddr, header->p_memsz);
    for (uint32_t i = 0; i < guest->segments; i++) {
        if (header->p_paddr < guest->segment[i].physical + guest->segment[i].memory_size &&
            guest->segment[i].physical < header->p_paddr + header->p_memsz)
            pv_refuse(PREVIRT_RAW_EXIT_GUEST, "segments %u and %u overlap", i, guest->segments);
    }
    if (guest->segments && header->p_vaddr - header->p_paddr != guest->link_offset)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST,
                  "segment %u is linked at another offset than the first one", guest->segments);
    guest->link_offset = header->p_vaddr - header->p_paddr;
    *segment = (struct pv_segment){header->p_offset, header->p_vaddr, header->p_paddr,
                                   header->p_filesz, header->p_memsz, header->p_flags};
    if (header->p_paddr + header->p_memsz > guest->end)
        guest->end = header->p_paddr + header->p_memsz;
    guest->segments++;
}

static void add_text(struct pv_guest *guest, uint32_t address, uint32_t size)
{
    uint32_t at = guest->texts;

    if (guest->texts == PV_TEXTS_MAX)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "more than %u executable sections", PV_TEXTS_MAX);
    for (; at && guest->text[at - 1].virtual > address; at--)
        guest->text[at] = guest->text[at - 1];
    guest->text[at].virtual = address;
    guest->text[at].size = size;
    guest->texts++;
    for (uint32_t i = 1; i < guest->texts; i++) {
        if (guest->text[i].virtual - guest->text[i - 1].virtual < guest->text[i - 1].size)
            pv_refuse(PREVIRT_RAW_EXIT_GUEST, "executable sections overlap at %x",
                      guest->text[i].virtual);
    }
}

/* Linux keeps .init.text in a segment that is not executable, so sections tell where code is. */
static void read_texts(uint32_t start, uint32_t size, struct pv_guest *guest)
{
    const Elf32_Ehdr *elf = (const void *)start;

    if (!elf->e_shnum) {
        for (uint32_t i = 0; i < guest->segments; i++) {
            if (guest->segment[i].flags & PF_X)
                add_text(guest, guest->segment[i].virtual, guest->segment[i].file_size);
        }
        return;
    }
    if (elf->e_shentsize != sizeof(Elf32_Shdr) || elf->e_shoff > size ||
        elf->e_shnum * sizeof(Elf32_Shdr) > size - elf->e_shoff)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "section headers at %x outside the file of %x bytes",
                  elf->e_shoff, size);
    for (unsigned i = 0; i < elf->e_shnum; i++) {
        const Elf32_Shdr *section = (const Elf32_Shdr *)(start + elf->e_shoff) + i;

        if (section->sh_type != SHT_PROGBITS || !section->sh_size ||
            (section->sh_flags & (SHF_ALLOC | SHF_EXECINSTR)) != (SHF_ALLOC | SHF_EXECINSTR))
            continue;
        if (!pv_image_at(guest, section->sh_addr, section->sh_size, 0))
            pv_refuse(PREVIRT_RAW_EXIT_GUEST, "executable section %u at %x + %x is in no segment",
                      i, section->sh_addr, section->sh_size);
        add_text(guest, section->sh_addr, section->sh_size);
    }
}

void pv_image_read(uint32_t start, uint32_t end, struct pv_guest *guest)
{
    const Elf32_Ehdr *elf = (const void *)start;
    uint32_t size = end - start, headers;
    int is_linux = 0;

    memset(guest, 0, sizeof(*guest));
    if (size < sizeof(*elf) || memcmp(elf->e_ident, ELFMAG, SELFMAG))
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "the first module is not an ELF file (%u bytes)", size);
    if (elf->e_ident[EI_CLASS] != ELFCLASS32 || elf->e_ident[EI_DATA] != ELFDATA2LSB ||
        elf->e_machine != EM_386 || elf->e_type != ET_EXEC)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST,
                  "the guest is not an IA32 executable (class %u, machine %u, type %u)",
                  elf->e_ident[EI_CLASS], elf->e_machine, elf->e_type);
    if (elf->e_phentsize != sizeof(Elf32_Phdr))
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "program headers of %u bytes", elf->e_phentsize);
    headers = elf->e_phnum * sizeof(Elf32_Phdr);
    if (elf->e_phoff > size || headers > size - elf->e_phoff)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "program headers at %x outside the file of %x bytes",
                  elf->e_phoff, size);
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf32_Phdr *header = (const Elf32_Phdr *)(start + elf->e_phoff) + i;

        if (header->p_type == PT_LOAD && header->p_memsz)
            add_segment(guest, header, size);
    }
    for (unsigned i = 0; i < elf->e_phnum; i++) {
        const Elf32_Phdr *header = (const Elf32_Phdr *)(start + elf->e_phoff) + i;
        const uint8_t *notes;

        if (header->p_type != PT_NOTE || !header->p_filesz)
            continue;
        /* Several note segments: the loaded one with a table is looked for in phase 3. */
        if (header->p_offset > size || header->p_filesz > size - header->p_offset)
            pv_refuse(PREVIRT_RAW_EXIT_GUEST, "notes at %x + %x outside the file", header->p_offset,
                      header->p_filesz);
        if (!pv_image_at(guest, header->p_vaddr, header->p_filesz, 0))
            continue;
        notes = (const uint8_t *)(start + header->p_offset);
        if (header->p_offset % sizeof(uint32_t) == 0 && has_linux_note(notes, header->p_filesz))
            is_linux = 1;
        guest->notes_virtual = header->p_vaddr;
        guest->notes_size = header->p_filesz;
    }
    if (!guest->segments)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST, "the guest has no loadable segment");
    read_texts(start, size, guest);
    guest->notes_physical = guest->notes_virtual - guest->link_offset;
    guest->kind = is_multiboot(start, end) ? PV_GUEST_MULTIBOOT : PV_GUEST_LINUX;
    if (guest->kind == PV_GUEST_LINUX && !is_linux)
        pv_refuse(PREVIRT_RAW_EXIT_GUEST,
                  "neither a Linux kernel (no Linux note) nor a Multiboot one");

    /* e_entry is physical in Linux (phys_startup_32), virtual or both in other kernels. */
    guest->entry = elf->e_entry;
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];

        if (guest->entry - segment->physical < segment->file_size)
            return;
        if (guest->entry - segment->virtual < segment->file_size) {
            guest->entry -= guest->link_offset;
            return;
        }
    }
    pv_refuse(PREVIRT_RAW_EXIT_GUEST, "entry point %x is in no segment", elf->e_entry);
}

void pv_image_load(uint32_t start, const struct pv_guest *guest)
{
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];

        memcpy((void *)segment->physical, (const void *)(start + segment->offset),
               segment->file_size);
        memset((void *)(segment->physical + segment->file_size), 0,
               segment->memory_size - segment->file_size);
    }
}

uint8_t *pv_image_at(const struct pv_guest *guest, uint64_t address, size_t length, uint32_t flags)
{
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];

        if (address >= segment->virtual && address - segment->virtual <= segment->memory_size &&
            length <= segment->memory_size - (address - segment->virtual) &&
            (segment->flags & flags) == flags)
            return (uint8_t *)(uint32_t)(segment->physical + (address - segment->virtual));
    }
    return NULL;
}
