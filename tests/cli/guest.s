# SPDX-License-Identifier: BSD-2-Clause
# A small kernel for the tests of the command. Its first record is that of the cli, its second of a mov.
	.text
	.globl	_start, idle
	.type	_start, @function
_start:	cli
	movl	%cr0, %eax
	movl	%eax, %cr0
	lidt	idt
	inb	$0x60, %al
	outb	%al, %dx
	pushfl
	popfl
	.size	_start, . - _start
	.type	idle, @function
idle:	sti
	hlt
	jmp	idle
	.size	idle, . - idle
	.data
idt:	.word	0
	.long	0
