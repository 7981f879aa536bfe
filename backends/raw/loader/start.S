/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entry of the raw loader: the Multiboot header (Multiboot Specification 0.6.96, 3.1), the first instructions,
 * the move to high memory and the jump into the guest.
 *
 * The image is position-independent and is linked where few guests are (loader.ld). The header carries
 * explicit addresses (flag bit 16), so that the loader of the loader need not understand ET_DYN.
 */
#include "start.h"
#include "pv-monitor-blob.h"

    .section .header, "aw"
    .balign 4
header:
    .long MULTIBOOT_HEADER_MAGIC
    .long MULTIBOOT_HEADER_FLAGS
    .long -(MULTIBOOT_HEADER_MAGIC + MULTIBOOT_HEADER_FLAGS)
    .long header            /* header_addr */
    .long pv_image_start    /* load_addr */
    .long pv_image_data_end /* load_end_addr */
    .long pv_image_end      /* bss_end_addr */
    .long pv_start          /* entry_addr */

    .text
    .globl pv_start
    .hidden pv_start
pv_start:
    cli
    cld
    /* The Multiboot stack pointer is undefined; ours is at the end of the image. */
    call 1f
1:  popl %ecx
    leal stack_top - 1b(%ecx), %esp
    xorl %ebp, %ebp
    pushl %ebx
    pushl %eax
    call pv_prepare /* (magic, information): returns how far to move */
    movl %eax, %edi
    call 2f
2:  popl %ecx
    /* Go on in the copy, with nothing on the stack that knows the old place. */
    leal stack_top - 2b(%ecx, %edi), %esp
    leal moved - 2b(%ecx, %edi), %ecx
    jmp *%ecx
moved:
    xorl %ebp, %ebp
    call pv_main
3:  cli
    hlt
    jmp 3b

/*
 * void pv_jump(const struct pv_entry *entry): into the guest, with flat segments (Documentation/x86/boot.rst,
 * "32-bit Boot Protocol": __BOOT_CS 0x10, __BOOT_DS 0x18, interrupts off; Multiboot 3.2 asks for no more).
 */
    .globl pv_jump
    .hidden pv_jump
pv_jump:
    cli
    cld
    movl 4(%esp), %ebp
    lgdt PV_ENTRY_GDTR(%ebp)
    movl $BOOT_DS, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %fs
    movl %eax, %gs
    movl %eax, %ss
    movl PV_ENTRY_ESP(%ebp), %esp
    pushl $BOOT_CS
    pushl PV_ENTRY_EIP(%ebp)
    movl PV_ENTRY_EAX(%ebp), %eax
    movl PV_ENTRY_EBX(%ebp), %ebx
    movl PV_ENTRY_ESI(%ebp), %esi
    xorl %ecx, %ecx
    xorl %edx, %edx
    xorl %edi, %edi
    xorl %ebp, %ebp
    lret

/* The part that stays in memory below the guest, linked by itself (../monitor). */
    .section .rodata
    .balign 16
    .globl pv_monitor_blob, pv_monitor_blob_end
    .hidden pv_monitor_blob, pv_monitor_blob_end
pv_monitor_blob:
    .incbin PV_MONITOR_BLOB
pv_monitor_blob_end:

    .bss
    .balign 16
    .skip STACK_SIZE
stack_top:

    .section .note.GNU-stack, "", @progbits
