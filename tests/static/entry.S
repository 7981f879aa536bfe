/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A small guest for static mode, the part in assembler: its own tables, far transfers, a software
 * interrupt, operands relative to ESP, operations on the stack, flags. What it finds goes behind
 * (cursor); addresses of its own code do not, since those differ between builds.
 */
#define CODE	0x08
#define DATA	0x10
#define FS	0x18
#define GS	0x20
#define LDT	0x28
#define TSS	0x30
#define LATER	0x50 /* a second TSS */
#define GDT	0x12000
#define END	0x310000

	.macro	result value
	pushl	%edi
	movl	cursor, %edi
	pushl	\value
	popl	(%edi)
	addl	$4, cursor
	popl	%edi
	.endm

	.macro	result_flags		/* as they are here */
	pushfl
	popl	other
	result	other
	.endm

	.text
	.globl	entry
entry:
	cli
	movl	$results, cursor
	/* flags survive what does not change them */
	xorl	%eax, %eax
	stc
	sti
	cli
	result_flags
	movl	$0x8d5, %eax
	pushl	%eax
	popfl
	movl	%cr0, %ebx
	str	%cx
	wbinvd
	result_flags
	pushl	$0x202
	popfl
	pushfl
	popl	%eax
	result	%eax
	cli
	pushfl
	popl	%eax
	result	%eax

	/* 16-bit stack operations */
	movl	%esp, %ebp
	pushfw
	pushw	%ds
	popw	%es
	popw	%ax
	movzwl	%ax, %eax
	result	%eax
	subl	%esp, %ebp
	result	%ebp

	/* descriptor tables, relative to ESP too */
	subl	$16, %esp
	sgdtl	4(%esp)
	movl	6(%esp), %eax
	result	%eax
	lgdtl	4(%esp)
	movw	$0x7ff, 4(%esp)
	movl	$idt, 6(%esp)
	lidtl	4(%esp)
	movl	$0, 4(%esp)
	sidtl	(%esp)
	movzwl	(%esp), %eax
	result	%eax
	sldt	(%esp)
	strw	2(%esp)
	movl	(%esp), %eax
	result	%eax
	smsw	(%esp)
	movzwl	(%esp), %eax
	result	%eax
	addl	$16, %esp
	movl	$LDT, %eax
	lldt	%ax
	movl	$LATER, %eax
	ltr	%ax
	str	%eax
	result	%eax
	sldt	%eax
	result	%eax

	/* segments: each way */
	movl	$FS, %eax
	movl	%eax, %fs
	movl	$GS, %ecx
	movw	%cx, %gs
	movl	%fs, %edx
	result	%edx
	pushl	%gs
	popl	%edx
	result	%edx
	movw	%gs, saved
	movl	saved, %edx
	result	%edx
	pushl	$DATA
	popl	%fs
	pushl	%fs
	popl	%edx
	result	%edx
	lgs	far_pointer, %esi
	result	%esi
	movl	%gs, %edx
	result	%edx
	movl	$DATA, %eax
	movl	%eax, %ss
	movl	%esp, %ebx
	pushl	%ss
	popl	%ss
	subl	%esp, %ebx
	result	%ebx
	larl	%eax, %edx
	jnz	1f
	result	%edx
1:	movl	$0x38, %eax		/* not present */
	lsll	%eax, %edx
	result_flags
	verr	%ax
	result_flags
	movl	$3, %edx
	arpl	%dx, %ax
	result	%eax

	/* control and debug registers, clts, lmsw */
	movl	%cr0, %eax
	orl	$8, %eax
	movl	%eax, %cr0
	clts
	movl	%cr0, %edx
	result	%edx
	smsw	%ax
	orl	$2, %eax
	lmsw	%ax
	movl	%cr0, %edx
	result	%edx
	movl	$0x5000, %eax
	movl	%eax, %cr3
	movl	%cr3, %edx
	result	%edx
	movl	%cr4, %eax
	orl	$0x10, %eax
	movl	%eax, %cr4
	movl	%cr4, %edx
	result	%edx
	movl	$0x1234, %eax
	movl	%eax, %db2
	movl	%db2, %edx
	result	%edx
	invlpg	results
	invd

	/* the interrupt: through the guest's own gate, which clears IF, and back */
	movl	$idt + 8 * 0x80, %ebx
	movl	$interrupt, %eax
	movw	%ax, (%ebx)
	movw	$CODE, 2(%ebx)
	movw	$0x8e00, 4(%ebx)
	shrl	$16, %eax
	movw	%ax, 6(%ebx)
	sti
	movl	$41, %eax
	int	$0x80
	result	%eax
	result_flags

	/* far transfers */
	movl	%esp, %ebp
	ljmpl	$CODE, $2f
	hlt
2:	lcalll	$CODE, $far_function
	result	%eax
	movl	$far_function, far_pointer
	movw	$CODE, far_pointer + 4
	pushl	$7			/* lret $4 takes it off */
	lcalll	*far_pointer
	result	%eax
	subl	%esp, %ebp
	result	%ebp
	pushfl
	pushl	%cs
	pushl	$3f
	iretl
	hlt
3:	movw	%cs, %ax
	movzwl	%ax, %eax
	result	%eax

	/* idle */
	sti
	hlt
	sti; hlt
	cli

	movl	$after_stack, %eax
	movl	%esp, (%eax)
	movl	$DATA, 4(%eax)
	lssl	(%eax), %esp
	call	work
	cli
	result	$0x600df00d
	movl	$0, %eax
	movl	%eax, %ebx
	movl	%eax, %ecx
	movl	%eax, %edx
	movl	%eax, %esi
	movl	%eax, %edi
	movl	$END, %ebp
	jmp	*%ebp

interrupt:
	pushfl
	popl	%ecx
	result	%ecx
	incl	%eax
	iretl

far_function:
	movl	8(%esp), %eax
	addl	$5, %eax
	cmpl	$12, %eax
	jne	4f
	lretl	$4
4:	movl	$99, %eax
	lretl

	.globl	give
give:					/* (value) */
	movl	4(%esp), %eax
	result	%eax
	ret

	.data
results: .fill	1024, 4, 0
results_end:
	.globl	results, results_end
	.section .data.private, "aw"
cursor:	.long	0
saved:	.long	0
other:	.long	0
far_pointer: .long 0x87654321
	.word	FS
after_stack: .long 0, 0
	.balign	8
idt:	.fill	256, 8, 0
