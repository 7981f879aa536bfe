/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The boot parameters of the 32-bit boot protocol (Documentation/x86/boot.rst and zero-page.rst). A
 * vmlinux has no setup header to copy, so the fields that a loader must fill in are written by
 * name.
 */
#include "loader.h"

#include <string.h>

#define PARAMETERS_SIZE   4096u
#define E820_ENTRIES_MAX  128u
#define SETUP_BOOT_FLAG   0xaa55u
#define SETUP_MAGIC       0x53726448u /* "HdrS" */
#define SETUP_VERSION     0x020fu
#define SETUP_LOADER      0xffu /* undefined: no number was assigned to this loader */
#define SETUP_LOADED_HIGH 0x01u
#define SETUP_INITRD_MAX  0x37ffffffu

struct e820_entry {
    uint64_t address, size;
    uint32_t type;
} __attribute__((packed));

struct parameters {
    uint8_t pad0[0x1e8];
    uint8_t e820_entries;
    uint8_t pad1[0x1fe - 0x1e9];
    uint16_t boot_flag;
    uint16_t jump;
    uint32_t header;
    uint16_t version;
    uint8_t pad2[0x210 - 0x208];
    uint8_t type_of_loader;
    uint8_t loadflags;
    uint16_t setup_move_size;
    uint32_t code32_start;
    uint32_t ramdisk_image;
    uint32_t ramdisk_size;
    uint8_t pad3[0x228 - 0x220];
    uint32_t cmd_line_ptr;
    uint32_t initrd_addr_max;
    uint8_t pad4[0x238 - 0x230];
    uint32_t cmdline_size;
    uint8_t pad5[0x2d0 - 0x23c];
    struct e820_entry e820[E820_ENTRIES_MAX];
    uint8_t pad6[PARAMETERS_SIZE - 0x2d0 - E820_ENTRIES_MAX * sizeof(struct e820_entry)];
} __attribute__((packed));

_Static_assert(offsetof(struct parameters, e820_entries) == 0x1e8, "zero-page.rst");
_Static_assert(offsetof(struct parameters, header) == 0x202, "boot.rst");
_Static_assert(offsetof(struct parameters, ramdisk_image) == 0x218, "boot.rst");
_Static_assert(offsetof(struct parameters, cmd_line_ptr) == 0x228, "boot.rst");
_Static_assert(offsetof(struct parameters, cmdline_size) == 0x238, "boot.rst");
_Static_assert(sizeof(struct parameters) == PARAMETERS_SIZE, "zero-page.rst");

void pv_linux_parameters(uint32_t where, uint32_t size, const char *cmdline,
                         const struct pv_module *ramdisk)
{
    struct parameters *parameters = (void *)where;
    char *line = (char *)(where + PARAMETERS_SIZE);
    size_t length = pv_string_length(cmdline) + 1;

    if (PARAMETERS_SIZE + length > size || pv_boot.regions > E820_ENTRIES_MAX)
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "the boot parameters take more than %u bytes", size);
    memset(parameters, 0, sizeof(*parameters));
    memcpy(line, cmdline, length);
    parameters->boot_flag = SETUP_BOOT_FLAG;
    parameters->header = SETUP_MAGIC;
    parameters->version = SETUP_VERSION;
    parameters->type_of_loader = SETUP_LOADER;
    parameters->loadflags = SETUP_LOADED_HIGH;
    parameters->initrd_addr_max = SETUP_INITRD_MAX;
    parameters->cmd_line_ptr = (uint32_t)line;
    parameters->cmdline_size = PV_CMDLINE_SIZE - 1;
    if (ramdisk) {
        parameters->ramdisk_image = ramdisk->start;
        parameters->ramdisk_size = ramdisk->end - ramdisk->start;
    }
    for (uint32_t i = 0; i < pv_boot.regions; i++) {
        const struct pv_region *region = &pv_boot.region[i];

        parameters->e820[i] =
            (struct e820_entry){region->start, region->end - region->start, region->type};
    }
    parameters->e820_entries = (uint8_t)pv_boot.regions;
}
