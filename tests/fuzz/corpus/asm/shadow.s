@0# SPDX-License-Identifier: BSD-2-Clause
# Interrupt shadows: what stands behind sti, mov to ss and pop ss has to stay there.
	.macro	enable insn
	sti
	\insn
	.endm
	.macro	stack reg, insn
	mov	\reg, %ss
	\insn
	.endm
	.text
	sti; hlt
	sti
	# comment

	hlt
	sti; sysexit
	sti; .byte 0x0f,0x01,0xc9
	sti
1:	hlt
	enable	hlt
	enable	sysexit
	mov	%eax, %ss
	hlt
	pop	%ss
	hlt
	stack	%eax, hlt
	mov	4(%eax), %ss
	hlt
	mov	4(%ebp), %ss
	hlt
	lss	(%eax), %esp
