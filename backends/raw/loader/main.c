/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The raw loader: started by a Multiboot loader (QEMU's -kernel is one), it starts a guest kernel
 * on the bare machine: as it is, or fully rewritten (phase 3 in memory), with nothing between it
 * and the hardware but the stubs and the monitor in low memory.
 */
#include "loader.h"
#include "start.h"

#include <elf.h>
#include <string.h>

_Static_assert(offsetof(struct pv_entry, eip) == PV_ENTRY_EIP, "start.h");
_Static_assert(offsetof(struct pv_entry, esp) == PV_ENTRY_ESP, "start.h");
_Static_assert(offsetof(struct pv_entry, eax) == PV_ENTRY_EAX, "start.h");
_Static_assert(offsetof(struct pv_entry, ebx) == PV_ENTRY_EBX, "start.h");
_Static_assert(offsetof(struct pv_entry, esi) == PV_ENTRY_ESI, "start.h");
_Static_assert(offsetof(struct pv_entry, gdtr) == PV_ENTRY_GDTR, "start.h");

#define PAGE_SIZE 4096u

/* Flat code and data, SDM 3A 3.4.5: base 0, limit 4 GiB, present, DPL 0, accessed */
#define DESCRIPTOR_CODE 0x00cf9b000000ffffull
#define DESCRIPTOR_DATA 0x00cf93000000ffffull

static const uint64_t boot_gdt[] = {0, 0, DESCRIPTOR_CODE, DESCRIPTOR_DATA};

/* loader.ld */
extern char pv_image_start[] __attribute__((visibility("hidden")));
extern char pv_image_end[] __attribute__((visibility("hidden")));
extern const Elf32_Rel pv_relocations[] __attribute__((visibility("hidden")));
extern const Elf32_Rel pv_relocations_end[] __attribute__((visibility("hidden")));

static const char loader_owner[] = "the loader", module_owner[] = "a module",
                  guest_owner[] = "the guest";

static void take_modules(void)
{
    for (uint32_t i = 0; i < pv_boot.modules; i++) {
        if (pv_boot.module[i].start < pv_boot.module[i].end)
            pv_place_take(pv_boot.module[i].start, pv_boot.module[i].end, module_owner);
    }
}

/*
 * Runs where the boot loader put the image. Copies what it gave out of the way, finds a place high
 * in memory, copies the image there and applies its relocations; returns the distance.
 */
uint32_t pv_prepare(uint32_t magic, uint32_t information)
{
    uint32_t start = (uint32_t)pv_image_start, size = pv_image_end - pv_image_start, delta;

    pv_console_init();
    pv_multiboot_read(magic, information);
    pv_place_take(start, start + size, loader_owner);
    take_modules();
    delta = pv_place_find(size, loader_owner) - start;
    memcpy((void *)(start + delta), pv_image_start, size);
    for (const Elf32_Rel *relocation = pv_relocations; relocation < pv_relocations_end;
         relocation++) {
        if (ELF32_R_TYPE(relocation->r_info) != R_386_RELATIVE)
            pv_refuse(PREVIRT_RAW_EXIT_BOOT, "relocation of type %u in the loader",
                      (uint32_t)ELF32_R_TYPE(relocation->r_info));
        *(uint32_t *)(relocation->r_offset + delta) += delta;
    }
    return delta;
}

/* The value of (word) if it begins with (name), else NULL. */
static const char *option_value(const char *word, const char *name)
{
    while (*name && *word == *name)
        word++, name++;
    return *name ? NULL : word;
}

static void parse_word(const char *word, int first, struct pv_options *options)
{
    const char *value = option_value(word, "rewrite=");

    if (value) {
        if (pv_string_equal(value, "native"))
            options->rewrite = PV_REWRITE_NATIVE;
        else if (pv_string_equal(value, "none"))
            options->rewrite = PV_REWRITE_NONE;
        else if (pv_string_equal(value, "vcpu"))
            options->rewrite = PV_REWRITE_VCPU;
        else
            pv_refuse(PREVIRT_RAW_EXIT_USAGE, "%s: not native, none or vcpu", word);
    } else if (pv_string_equal(word, "verify")) {
        options->verify = 1;
    } else if (pv_string_equal(word, "revert")) {
        options->revert = 1;
    } else if (!first) {
        /* The first word is the file's name where the boot loader passes one. */
        pv_refuse(PREVIRT_RAW_EXIT_USAGE,
                  "unknown option %s (rewrite=native|none|vcpu, verify, revert)", word);
    }
}

static void parse_options(struct pv_options *options)
{
    char *at = pv_boot.cmdline;
    int first = 1;

    *options = (struct pv_options){.rewrite = PV_REWRITE_NATIVE};
    while (*at) {
        char *word = at;

        while (*at && *at != ' ')
            at++;
        if (*at)
            *at++ = 0;
        if (*word) {
            parse_word(word, first, options);
            first = 0;
        }
    }
}

/* A module's command line is its name, a space and what is meant for the kernel. */
static const char *guest_cmdline(void)
{
    const char *line = pv_boot.module[0].cmdline;

    while (*line && *line != ' ')
        line++;
    while (*line == ' ')
        line++;
    return line;
}

/* Takes the guest's places and moves every module that lies there or in low memory. */
static void clear_way(const struct pv_guest *guest)
{
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];
        uint32_t end = segment->physical + segment->memory_size;
        const char *owner = pv_place_owner_but(segment->physical, end, module_owner);

        if (owner)
            pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "segment %u at %x..%x: %s is there", i,
                      segment->physical, end, owner);
    }
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];

        pv_place_take(segment->physical, segment->physical + segment->memory_size, guest_owner);
    }
    for (uint32_t i = 0; i < pv_boot.modules; i++) {
        struct pv_module *module = &pv_boot.module[i];
        uint32_t size = module->end - module->start, to;
        /* All of low memory: phase 3 has its stubs there. */
        int moves = module->start < PV_INFO_END;

        for (uint32_t j = 0; j < guest->segments; j++) {
            const struct pv_segment *segment = &guest->segment[j];

            moves |= module->start < segment->physical + segment->memory_size &&
                     segment->physical < module->end;
        }
        if (!moves || !size)
            continue;
        to = pv_place_find(size, module_owner);
        memcpy((void *)to, (const void *)module->start, size);
        pv_place_release(module->start);
        module->start = to;
        module->end = to + size;
    }
}

/* What a file has in low memory are stubs (`previrt rewrite` puts them there): the guest shall not
 * use it. */
static void reserve_low_segments(const struct pv_guest *guest)
{
    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];
        uint32_t end = (segment->physical + segment->memory_size + PAGE_SIZE - 1) & -PAGE_SIZE;

        if (end <= PV_HIGH_MEMORY)
            pv_regions_mark(segment->physical & -PAGE_SIZE, end, PV_REGION_RESERVED);
    }
}

void pv_main(void)
{
    uint32_t start = (uint32_t)pv_image_start;
    struct pv_options options;
    struct pv_guest guest;
    struct pv_entry entry = {0};

    pv_place_reset(); /* what the first copy noted names its owners there */
    pv_place_take(start, (uint32_t)pv_image_end, loader_owner);
    pv_place_take(PV_LOW_END - PV_STACK_SIZE, PV_INFO_END, "the boot parameters");
    take_modules();
    parse_options(&options);
    if (!pv_regions_ram(PV_LOW_START, PV_INFO_END))
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "low memory %x..%x is not RAM", PV_LOW_START,
                  PV_INFO_END);

    pv_image_read(pv_boot.module[0].start, pv_boot.module[0].end, &guest);
    clear_way(&guest);
    pv_image_load(pv_boot.module[0].start, &guest);
    reserve_low_segments(&guest);
    pv_print("previrt-raw: %s guest at %x..%x, entry %x, loader at %x\n",
             guest.kind == PV_GUEST_LINUX ? "Linux" : "Multiboot", guest.segment[0].physical,
             guest.end, guest.entry, start);

    pv_phase3(&guest, pv_boot.module[0].start, &options);

    /* Low memory is the guest's, but for what phase 3 reserved; the stack is used by stubs until
     * the guest has one of its own. */
    entry.eip = guest.entry;
    entry.esp = PV_LOW_END;
    entry.gdtr = (struct pv_gdtr){sizeof(boot_gdt) - 1, PV_LOW_END - PV_STACK_SIZE};
    memcpy((void *)entry.gdtr.base, boot_gdt, sizeof(boot_gdt));
    if (guest.kind == PV_GUEST_LINUX) {
        pv_linux_parameters(PV_INFO_START, PV_INFO_END - PV_INFO_START, guest_cmdline(),
                            pv_boot.modules > 1 ? &pv_boot.module[1] : NULL);
        entry.esi = PV_INFO_START;
    } else {
        pv_multiboot_write(PV_INFO_START, PV_INFO_END - PV_INFO_START, 1, guest_cmdline());
        entry.eax = MULTIBOOT_BOOT_MAGIC;
        entry.ebx = PV_INFO_START;
    }
    pv_jump(&entry);
}
