/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers that start.S and the C files share. */
#ifndef PV_RAW_START_H
#define PV_RAW_START_H

/* Multiboot Specification 3.1.1 and 3.2 */
#define MULTIBOOT_HEADER_MAGIC 0x1badb002
#define MULTIBOOT_BOOT_MAGIC   0x2badb002
#define MULTIBOOT_HEADER_FLAGS 0x00010003 /* modules on pages, memory map, explicit addresses */

#define STACK_SIZE 16384

/* Selectors of the 32-bit boot protocol */
#define BOOT_CS 0x10
#define BOOT_DS 0x18

/* struct pv_entry, checked in main.c */
#define PV_ENTRY_EIP  0
#define PV_ENTRY_ESP  4
#define PV_ENTRY_EAX  8
#define PV_ENTRY_EBX  12
#define PV_ENTRY_ESI  16
#define PV_ENTRY_GDTR 20

#endif
