/* SPDX-License-Identifier: BSD-2-Clause */
/* The Multiboot information structure (Multiboot Specification 0.6.96, 3.3), read and written. */
#include "loader.h"
#include "start.h"

#include <string.h>

#define INFO_MEMORY  (1u << 0)
#define INFO_CMDLINE (1u << 2)
#define INFO_MODULES (1u << 3)
#define INFO_MMAP    (1u << 6)

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

#define KIB       1024u
#define MMAP_REST (sizeof(struct mmap_entry) - sizeof(uint32_t))

struct pv_boot pv_boot;

static void copy_string(char *to, uint32_t from)
{
    const char *s = (const char *)from;
    size_t n = 0;

    while (n < PV_CMDLINE_SIZE - 1 && s[n]) {
        to[n] = s[n];
        n++;
    }
    if (s[n])
        pv_refuse(PREVIRT_RAW_EXIT_USAGE, "a command line is longer than %u bytes",
                  PV_CMDLINE_SIZE - 1);
    to[n] = 0;
}

static void add_region(uint64_t start, uint64_t end, uint32_t type)
{
    if (end <= start)
        return;
    if (pv_boot.regions == PV_REGIONS_MAX)
        pv_refuse(PREVIRT_RAW_EXIT_BOOT, "the memory map has more than %u regions", PV_REGIONS_MAX);
    pv_boot.region[pv_boot.regions++] = (struct pv_region){start, end, type};
}

void pv_multiboot_read(uint32_t magic, uint32_t address)
{
    const struct information *information = (const void *)address;

    if (magic != MULTIBOOT_BOOT_MAGIC)
        pv_refuse(PREVIRT_RAW_EXIT_BOOT, "not started by a Multiboot loader (magic %x)", magic);
    if (information->flags & INFO_CMDLINE)
        copy_string(pv_boot.cmdline, information->cmdline);
    if (information->flags & INFO_MMAP) {
        uint32_t at = information->mmap_addr, end = at + information->mmap_length;

        while (end - at >= sizeof(struct mmap_entry) && end > at) {
            const struct mmap_entry *entry = (const void *)at;

            if (entry->size < MMAP_REST || entry->size > end - at - sizeof(uint32_t))
                pv_refuse(PREVIRT_RAW_EXIT_BOOT, "bad memory map entry of %u bytes", entry->size);
            if (entry->address + entry->length >= entry->address)
                add_region(entry->address, entry->address + entry->length, entry->type);
            at += entry->size + sizeof(uint32_t);
        }
    } else if (information->flags & INFO_MEMORY) {
        add_region(0, (uint64_t)information->mem_lower * KIB, PV_REGION_RAM);
        add_region(PV_HIGH_MEMORY, PV_HIGH_MEMORY + (uint64_t)information->mem_upper * KIB,
                   PV_REGION_RAM);
    } else {
        pv_refuse(PREVIRT_RAW_EXIT_BOOT, "the boot loader gives no memory map");
    }
    if (!(information->flags & INFO_MODULES) || !information->mods_count)
        pv_refuse(PREVIRT_RAW_EXIT_USAGE, "no module: the guest's kernel must be the first one");
    if (information->mods_count > PV_MODULES_MAX)
        pv_refuse(PREVIRT_RAW_EXIT_USAGE, "%u modules, more than %u", information->mods_count,
                  PV_MODULES_MAX);
    for (uint32_t i = 0; i < information->mods_count; i++) {
        const struct module_entry *entry = (const struct module_entry *)information->mods_addr + i;
        struct pv_module *module = &pv_boot.module[i];

        if (entry->end < entry->start || !pv_regions_ram(entry->start, entry->end))
            pv_refuse(PREVIRT_RAW_EXIT_BOOT, "module %u at %x..%x is not in RAM", i, entry->start,
                      entry->end);
        module->start = entry->start;
        module->end = entry->end;
        if (entry->string)
            copy_string(module->cmdline, entry->string);
    }
    pv_boot.modules = information->mods_count;
}

void pv_regions_mark(uint64_t start, uint64_t end, uint32_t type)
{
    uint32_t count = pv_boot.regions;

    for (uint32_t i = 0; i < count; i++) {
        struct pv_region old = pv_boot.region[i];

        if (old.type != PV_REGION_RAM || old.end <= start || old.start >= end)
            continue;
        pv_boot.region[i].type = type;
        pv_boot.region[i].start = old.start > start ? old.start : start;
        pv_boot.region[i].end = old.end < end ? old.end : end;
        add_region(old.start, start, old.type);
        add_region(end, old.end, old.type);
    }
}

int pv_regions_ram(uint64_t start, uint64_t end)
{
    for (uint32_t i = 0; i < pv_boot.regions && start < end; i++) {
        const struct pv_region *region = &pv_boot.region[i];

        if (region->type == PV_REGION_RAM && region->start <= start && region->end > start) {
            start = region->end;
            i = -1u; /* regions need not be sorted: look at all of them again */
        }
    }
    return start >= end;
}

void pv_multiboot_write(uint32_t where, uint32_t size, uint32_t first_module, const char *cmdline)
{
    struct information *information = (void *)where;
    struct mmap_entry *mmap = (void *)(information + 1);
    struct module_entry *modules = (void *)(mmap + pv_boot.regions);
    char *string = (char *)(modules + pv_boot.modules);

    memset(information, 0, sizeof(*information));
    information->flags = INFO_CMDLINE | INFO_MODULES | INFO_MMAP;
    information->cmdline = (uint32_t)string;
    for (uint32_t i = first_module; i <= pv_boot.modules; i++) {
        const char *from = i == first_module ? cmdline : pv_boot.module[i - 1].cmdline;
        size_t length = pv_string_length(from) + 1;

        if ((uint32_t)string + length > where + size)
            pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "the Multiboot information takes more than %u bytes",
                      size);
        memcpy(string, from, length);
        if (i > first_module) {
            modules[i - first_module - 1] = (struct module_entry){
                pv_boot.module[i - 1].start, pv_boot.module[i - 1].end, (uint32_t)string, 0};
        }
        string += length;
    }
    information->mods_count = pv_boot.modules - first_module;
    information->mods_addr = (uint32_t)modules;
    for (uint32_t i = 0; i < pv_boot.regions; i++) {
        const struct pv_region *region = &pv_boot.region[i];

        mmap[i] = (struct mmap_entry){MMAP_REST, region->start, region->end - region->start,
                                      region->type};
    }
    information->mmap_addr = (uint32_t)mmap;
    information->mmap_length = pv_boot.regions * sizeof(*mmap);
}
