@0/* SPDX-License-Identifier: BSD-2-Clause */
/* Boot code as people write it: real mode, the switch, a few drivers' worth of operations, macros. */
#define SELECTOR_CODE 0x08
#define SELECTOR_DATA 0x10

	.macro outbyte port:req, value=0
	movb	$\value, %al
	outb	%al, $\port
	.endm

	.macro load_segments reg, list:vararg
	.irp	seg, \list
	movw	\reg, %\seg
	.endr
	.endm

	.macro save_flags reg=%eax
	pushfl ; popl	\reg
	.endm

	.altmacro
	.macro	spin count
	LOCAL	again
	movl	$\count, %ecx
again:	inb	$0x61, %al
	loop	again
	.endm
	.noaltmacro

	.text
	.code16
	.globl	_start
_start:	cli				# real mode: left alone
	lgdt	descriptor
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$SELECTOR_CODE, $protected

	.code32
protected:
	movl	$SELECTOR_DATA, %eax
	load_segments %ax, ds, es, ss
	movl	$stack_top, %esp
	lidt	idt_descriptor		/* a comment ; with a separator */
	outbyte	0x21, 0xff
	outbyte	port=0xa1
	.altmacro
	spin	10
	spin	20
	.noaltmacro
	save_flags
	save_flags %ebx
	.rept	2
1:	inb	$0x64, %al; testb $2, %al
	jnz	1b
	.endr
	call	probe
2:	sti; hlt
	cli
	jmp	2b

probe:	pushl	%ebx
	xorl	%eax, %eax
	cpuid
	popl	%ebx
	movl	$msg, %esi; movw $0x3f8, %dx ; cld
3:	lodsb
	testb	%al, %al
	jz	4f
	outb	%al, %dx
	jmp	3b
4:	rep; insb
	rep outsl
	.intel_syntax noprefix
	mov	eax, cr3
	mov	cr3, eax
	in	al, dx
	push	ds
	pop	es
	.att_syntax prefix
	.pushsection .data.messages, "aw", @progbits
msg:	.asciz	"sti; \"hlt\" // cli"
	.popsection
	lret	$4

	.section .rodata
table:	.long	2b, 3b, 4b
	.byte	0xfa, 0xfb, 0xf4
idt_descriptor:
	.word	0
	.long	0
descriptor:
	.word	table - .
	.long	table
	.bss
	.skip	64
stack_top:
