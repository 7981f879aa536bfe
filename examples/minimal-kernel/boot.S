/* SPDX-License-Identifier: BSD-2-Clause */
/* Multiboot entry: a stack, segments, the interrupt table, then C. */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0
#define SELECTOR_CODE   0x08
#define SELECTOR_DATA   0x10

        .section .multiboot, "a"
        .balign 4
        .long   MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .text
        .globl  _start
_start: cli
        mov     $stack_top, %esp
        lgdt    gdt_pointer
        ljmp    $SELECTOR_CODE, $1f
1:      mov     $SELECTOR_DATA, %eax
        mov     %eax, %ds
        mov     %eax, %es
        mov     %eax, %ss
        lidt    idt_pointer
        call    kernel_main
2:      cli
        hlt
        jmp     2b

        .globl  timer_entry
timer_entry:
        push    %eax
        incl    ticks
        mov     $0x20, %al              # end of interrupt
        out     %al, $0x20
        pop     %eax
        iret

        .section .rodata
        .balign 8
gdt:    .quad   0, 0x00cf9a000000ffff, 0x00cf92000000ffff
gdt_pointer:
        .word   . - gdt - 1
        .long   gdt
idt_pointer:
        .word   256 * 8 - 1
        .long   idt

        .bss
        .balign 16
        .skip   4096
stack_top:

        .section .note.GNU-stack, "", @progbits
