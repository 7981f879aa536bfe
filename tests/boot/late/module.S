/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the test kernel loads: sensitive operations, and in EAX a bit for each that did what it should. Arguments: CR3 and
 * CS as the kernel sees them. The table, where there is one, is right behind it.
 */
#define IF        0x200
#define CR0_PE_PG 0x80000001

    .text
    .globl module
module:
    pushl %ebx
    xorl %ebx, %ebx
    cli
    pushf
    popl %ecx
    testl $IF, %ecx
    jnz 1f
    orl $1, %ebx
1:  orl $IF, %ecx
    pushl %ecx
    popf
    pushf
    popl %ecx
    testl $IF, %ecx
    jz 1f
    orl $2, %ebx
1:  cli
    sti
    pushf
    popl %ecx
    testl $IF, %ecx
    jz 1f
    orl $4, %ebx
1:  andl $~IF, %ecx
    pushl %ecx
    popf
    pushf
    popl %ecx
    testl $IF, %ecx
    jnz 1f
    orl $8, %ebx
1:  movl %cr0, %edx
    movl %edx, %ecx
    andl $CR0_PE_PG, %ecx
    cmpl $CR0_PE_PG, %ecx
    jne 1f
    orl $16, %ebx
1:  smsw %eax
    cmpw %ax, %dx
    jne 1f
    orl $32, %ebx
1:  movl %cr3, %edx
    cmpl 8(%esp), %edx
    jne 1f
    orl $64, %ebx
1:  movl %cs, %edx
    cmpw 12(%esp), %dx
    jne 1f
    orl $128, %ebx
1:  movl $0x13579bdf, %ecx
    movl %ecx, %cr2
    movl %cr2, %edx
    cmpl %edx, %ecx
    jne 1f
    orl $256, %ebx
1:  movb $0x5a, %al
    outb %al, $0x80
    xorl %eax, %eax
    inb $0x21, %al /* the interrupt controller's mask, as the kernel has set it */
    cmpb $0xff, %al
    jne 1f
    orl $512, %ebx
1:  cli
    movl %ebx, %eax
    popl %ebx
    ret
