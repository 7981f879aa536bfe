/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The monitor's entries. Everything is reached relatively. Data is reached through SS: an interrupt or a
 * stub arrives with whatever the guest has in DS, while SS is the flat ring-0 stack segment (a guest
 * whose stack segment has another base than 0 cannot run rewritten here).
 */
#include "monitor.h"

    .section .state, "awx"
    .globl pv_monitor_start
pv_monitor_start:
    .long PV_MONITOR_MAGIC
    .long pv_monitor_end - pv_monitor_start
    .long vectors - pv_monitor_start
    .long lidt_entry - pv_monitor_start
    .long sidt_begin_entry - pv_monitor_start
    .long sidt_end_entry - pv_monitor_start
    .long cpuid_entry - pv_monitor_start
    .skip PV_M_SHADOW + 8 * PV_VECTORS - (. - pv_monitor_start)

    .text

/* \reg = where the block runs at present */
.macro base reg
    call .Lbase\@
.Lbase\@:
    popl \reg
    addl $(pv_monitor_start - .Lbase\@), \reg
.endm

/* ---- stubs ---- */

/*
 * After the guest's own lidt, which the stub has executed: take what it loaded from the CPU, make a shadow
 * of the table and load that. Preserves everything. The monitor's own gates are where it runs now: a guest loads
 * its table where it means to use it.
 */
lidt_entry:
    pushfl
    cld
    pushal
    pushl %ds
    pushl %es
    movl %ss, %eax
    movl %eax, %ds
    movl %eax, %es
    base %ebx
    sidt PV_M_GUEST_IDTR + 2(%ebx)
    pushl %cs
    pushl %ebx
    call pv_monitor_shadow
    addl $8, %esp
    lidt PV_M_SHADOW_IDTR + 2(%ebx)
    popl %es
    popl %ds
    popal
    popfl
    ret

/* Around the guest's sidt: it shall store what the guest loaded. Interrupts are off meanwhile. */
sidt_begin_entry:
    pushfl
    pushl %ebx
    base %ebx
    pushl 4(%esp)
    popl %ss:PV_M_SAVED_EFLAGS(%ebx)
    andl $~PV_EFLAGS_IF, 4(%esp)
    cli
    cmpl $0, %ss:PV_M_SHADOW_IDTR + 4(%ebx)
    je 1f
    lidt %ss:PV_M_GUEST_IDTR + 2(%ebx)
1:  popl %ebx
    popfl
    ret

sidt_end_entry:
    pushfl
    pushl %ebx
    base %ebx
    cmpl $0, %ss:PV_M_SHADOW_IDTR + 4(%ebx)
    je 1f
    lidt %ss:PV_M_SHADOW_IDTR + 2(%ebx)
1:  testl $PV_EFLAGS_IF, %ss:PV_M_SAVED_EFLAGS(%ebx)
    jz 2f
    orl $PV_EFLAGS_IF, 4(%esp)
2:  popl %ebx
    popfl
    ret

/* CPUID without the features that the monitor masks. */
cpuid_entry:
    pushfl
    pushl %ecx
    pushl %eax
    cpuid
    pushl %ebp
    base %ebp
    cmpl $1, 4(%esp)
    jne 1f
    andl %ss:PV_M_MASK + 4 * PV_MASK_1_ECX(%ebp), %ecx
    andl %ss:PV_M_MASK + 4 * PV_MASK_1_EDX(%ebp), %edx
    jmp 9f
1:  cmpl $7, 4(%esp)
    jne 2f
    cmpl $0, 8(%esp)
    jne 9f
    andl %ss:PV_M_MASK + 4 * PV_MASK_7_EBX(%ebp), %ebx
    andl %ss:PV_M_MASK + 4 * PV_MASK_7_ECX(%ebp), %ecx
    andl %ss:PV_M_MASK + 4 * PV_MASK_7_EDX(%ebp), %edx
    jmp 9f
2:  cmpl $0xd, 4(%esp)
    jne 3f
    cmpl $1, 8(%esp)
    jne 9f
    andl %ss:PV_M_MASK + 4 * PV_MASK_D1_EAX(%ebp), %eax
    jmp 9f
3:  cmpl $0x80000001, 4(%esp)
    jne 4f
    andl %ss:PV_M_MASK + 4 * PV_MASK_80000001_ECX(%ebp), %ecx
    andl %ss:PV_M_MASK + 4 * PV_MASK_80000001_EDX(%ebp), %edx
    jmp 9f
4:  cmpl $0x80000008, 4(%esp)
    jne 9f
    andl %ss:PV_M_MASK + 4 * PV_MASK_80000008_EBX(%ebp), %ebx
9:  popl %ebp
    leal 8(%esp), %esp
    popfl
    ret

/* ---- the shadow IDT's handlers ---- */

/* Stack at common, from %esp: scratch, EBX, EDX, ECX, EAX, vector, [error code], EIP, CS, EFLAGS */
#define VECTOR 20
#define SAVED_EAX 16

    .balign PV_VECTOR_SIZE
vectors:
.set number, 0
.rept PV_VECTORS
    .byte 0x68 /* pushl imm32: all entries have one length */
    .long number
    jmp common
    .balign PV_VECTOR_SIZE
    .set number, number + 1
.endr

common:
    pushl %eax
    pushl %ecx
    pushl %edx
    pushl %ebx
    base %ebx
    movl VECTOR - 4(%esp), %eax
    leal VECTOR(%esp), %edx
    cmpl $31, %eax
    ja 1f
    movl $PV_ERROR_CODE_VECTORS, %ecx
    btl %eax, %ecx
    jnc 1f
    addl $4, %edx
1:  movl %ss:(%edx), %ecx
    pushl %ss:8(%edx)
    cmpl $PV_VECTOR_GP, %eax /* perhaps a gate that the guest has changed */
    je slow
    cmpl $PV_VECTOR_NP, %eax
    je slow
    testl $PV_EFLAGS_VM, (%esp)
    jnz deliver
    testb $PV_SELECTOR_RPL, %ss:4(%edx)
    jnz deliver
    subl %ss:PV_M_STUB_PHYSICAL(%ebx), %ecx
    cmpl %ss:PV_M_STUB_SIZE(%ebx), %ecx
    jb slow
    subl %ss:PV_M_LINK_OFFSET(%ebx), %ecx
    cmpl %ss:PV_M_STUB_SIZE(%ebx), %ecx
    jb slow

/* Into the guest's handler, as its gate in the guest's own table says now. */
deliver:
    movl %ss:PV_M_GUEST_IDTR + 4(%ebx), %ecx
    movl %ss:(%ecx, %eax, 8), %edx
    movl %ss:4(%ecx, %eax, 8), %ecx
    testl $PV_GATE_PRESENT, %ecx
    jz no_gate
    movl %ecx, %eax
    andl $PV_GATE_KIND, %eax
    cmpl $PV_GATE_32BIT, %eax
    jne no_gate
    movl %edx, %eax
    shrl $16, %eax
    movl %eax, VECTOR(%esp) /* becomes CS of the far return below */
    movl %ecx, %eax
    movw %dx, %ax
    testl $PV_GATE_TRAP, %ecx
    jz 2f
    testl $PV_EFLAGS_IF, (%esp)
    jz 2f
    addl $4, %esp
    popl %ebx
    popl %edx
    popl %ecx
    xchgl %eax, (%esp) /* EAX comes back, the handler becomes EIP of the far return */
    sti                /* takes effect after the return: no interrupt sees the monitor */
    lret
2:  addl $4, %esp
    popl %ebx
    popl %edx
    popl %ecx
    xchgl %eax, (%esp)
    lret

slow:
    pushl %ds
    pushl %es
    movl %ss, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    cld
    pushl %esp
    pushl %ebx
    call pv_monitor_slow
    addl $8, %esp
    cmpl $PV_SLOW_SHIFTED, %eax
    jb 3f
    addl %eax, %esp /* what was between the frame and the interrupted code's own stack is gone */
    xorl %eax, %eax
3:  popl %es
    popl %ds
    testl %eax, %eax
    movl VECTOR(%esp), %eax
    jz deliver
    /* PV_SLOW_RETRY, only for #GP: drop scratch, restore, drop vector and error code */
    addl $4, %esp
    popl %ebx
    popl %edx
    popl %ecx
    popl %eax
    addl $8, %esp
    iret

no_gate:
    movl %ss, %ecx
    movl %ecx, %ds
    movl %ecx, %es
    cld
    movl VECTOR(%esp), %eax
    pushl VECTOR + 8(%esp)
    pushl VECTOR + 8(%esp)
    pushl %eax
    call pv_monitor_stop

    .section .note.GNU-stack, "", @progbits
