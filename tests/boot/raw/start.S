/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The test kernel's Multiboot header, entry and exception stubs. With OFFSET not 0 it is linked OFFSET above the place
 * it is loaded to, and turns on paging.
 */
#define MULTIBOOT_MAGIC 0x1badb002
#define MULTIBOOT_FLAGS 0x00000003

#define PHYSICAL(symbol) (symbol - OFFSET)
#define PAGE_4MB 0x87 /* present, writable, user, 4 MiB */
#define CR4_PSE  (1 << 4)
#define CR0_PG   0x80000000

    .section .multiboot, "a"
    .balign 4
    .long MULTIBOOT_MAGIC, MULTIBOOT_FLAGS, -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

    .text
    .globl _start
_start:
    movl $PHYSICAL(stack_top), %esp
    pushl $0
    popf
    movl %eax, %edi
#if OFFSET
    /* As Linux does: sensitive operations at physical addresses, then at link addresses, then no identity map. */
    movl $PHYSICAL(page_directory), %ecx
    movl $PAGE_4MB, (%ecx)
    movl $PAGE_4MB, (OFFSET >> 22) * 4(%ecx)
    movl %cr4, %eax
    orl $CR4_PSE, %eax
    movl %eax, %cr4
    movl %ecx, %cr3
    movl %cr0, %eax
    orl $CR0_PG, %eax
    movl %eax, %cr0
    movl $1f, %eax
    jmp *%eax
    /* The stack first: a rewritten operation may need it. */
1:  addl $OFFSET, %esp
    movl $0, page_directory
    movl %cr3, %eax
    movl %eax, %cr3
    addl $OFFSET, %ebx
#endif
    pushl %ebx
    pushl %edi
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
    .balign 4096
page_directory:
    .skip 4096
    .skip 16384
    .globl stack_top
stack_top:
    .skip 4096
    .globl user_stack_top
user_stack_top:

    .section .note.GNU-stack, "", @progbits
