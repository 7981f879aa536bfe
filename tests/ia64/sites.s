// SPDX-License-Identifier: BSD-2-Clause
// Text of the kind that a compiler and a kernel's .S files give the assembler, for annotate.sh: automatic and explicit
// bundling, predicates, .pred.rel, unwind directives, exception tables, patch lists, tags, several sections, macros.
	.file	"sites.s"
	.pred.safe_across_calls p1-p5,p16-p63

	.macro	irq_off mask
	rsm	\mask
	;;
	.endm

	.section .text.hot,"ax",@progbits
	.align 16
	.global disable#
	.type	disable#, @function
	.proc disable#
disable:
	.prologue 2, 2
	.vframe r2
	mov r2 = r12
	.body
	irq_off 0x4000
	mov r8 = psr
	;;
	.pred.rel "mutex", p6, p7
	tbit.nz p6, p7 = r8, 14
	;;
(p6)	ssm 0x4000
(p7)	mov r9 = cr.ivr
	;;
	srlz.d
	.restore sp
	mov r12 = r2
	br.ret.sptk.many b0
	;;
	.endp disable#

	.global silent#
	.proc silent#
silent:					// none of these faults at a lower privilege level
	rum 4 ;;
	sum 4 ;;
	mov r14 = psr.um
	mov r15 = ar.k6
	mov r16 = ar.itc
	thash r17 = r32
	ttag r18 = r32
	mov r19 = pmd[r32]
	mov r20 = cpuid[r32]
	probe.r r21 = r32, 0
	;;
	mov psr.um = r14
	mov ar.rsc = 3
	cover
	;;
	br.ret.sptk.many b0
	;;
	.endp silent#

	.section .init.text,"ax",@progbits
	.align 16
	.global start#
	.proc start#
start:
	.explicit
{ .mlx
	ssm 0x2000
	movl r3 = table
}
{ .mmi
	mov rr[r3] = r4 ;;
	srlz.i
	nop.i 0 ;;
}
{ .mib
	itr.i itr[r3] = r4
	nop.i 0
	rfi ;;
}
	.default
	.endp start#

// what an exception table or a list of instructions to patch names is pinned
	.section "__ex_table", "a"
	.previous
	.section ".data..patch.vtop", "a"
	.previous
	.text
	.align 16
	.global pinned#
	.proc pinned#
pinned:
	.explicit
{ .mmi
	[99:] ld8 r8 = [r32]
	mov r9 = cr.tpr
	nop.i 0 ;;
}
	.xdata4 "__ex_table", 99b-., recover-.
{ .mlx
	mov r10 = cr.iip
	[1:] movl r11 = table ;;
}
	.xdata4 ".data..patch.vtop", 1b-.
{ .mmi					// behind the operation: it moves with it
	mov r13 = cr.ifa
	[98:] ld8 r14 = [r33]
	nop.i 0 ;;
}
	.xdata4 "__ex_table", 98b-., recover-.+4
{ .mmi					// this one nobody names
	mov r12 = cr.isr
	nop.m 0
	nop.i 0 ;;
}
recover:
	.default
	br.ret.sptk.many b0
	;;
	.endp pinned#

// what Linux does not link
	.section .exit.text,"ax",@progbits
	.align 16
leave:
	rsm 0x4000
	;;

	.section .rodata
	.align 8
table:	data8 0, 1
