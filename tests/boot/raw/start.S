/* SPDX-License-Identifier: BSD-2-Clause */
/* The test kernel's Multiboot header, entry and exception stubs. */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00000003

    .section .multiboot, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .text
    .globl _start
_start:
    movl $stack_top, %esp
    pushl $0
    popf
    pushl %ebx
    pushl %eax
    call kernel_main
1:  cli
    hlt
    jmp 1b

/* Vectors that push an error code (SDM 3A table 6-1): 8, 10 to 14, 17, 21 */
#define ERROR_CODE_VECTORS 0x227d00

    .balign 16
    .globl isr_table
isr_table:
.set number, 0
.rept 256
    .balign 16
    .set has_error, 0
    .if number < 32
    .set has_error, (ERROR_CODE_VECTORS >> number) & 1
    .endif
    .if !has_error
    pushl $0
    .endif
    pushl $number
    jmp isr_common
    .set number, number + 1
.endr

isr_common:
    pushal
    push %ds
    push %es
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    pushl %esp
    call trap
    addl $4, %esp
    pop %es
    pop %ds
    popal
    addl $8, %esp
    iret

    .bss
    .balign 16
    .skip 16384
    .globl stack_top
stack_top:
    .skip 4096
    .globl user_stack_top
user_stack_top:

    .section .note.GNU-stack, "", @progbits
