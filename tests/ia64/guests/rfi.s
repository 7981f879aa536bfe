// SPDX-License-Identifier: BSD-2-Clause
// operations: rfi
// alone: faults
// emulated: right
// To the middle of a bundle, with a bank, a user mask, psr.ic, and a frame of another size.
	.include "guest.inc"
PSR_BN = 1 << 44
	guest
	mov r16=0x1111
	movl r8=PSR_BN | PSR_AC | (1 << 41)
	movl r9=there ;;
	mov cr.ipsr=r8
	mov cr.iip=r9
	mov cr.ifs=r0 ;;
	mov r10=0
	mov r11=0 ;;
	rfi ;;
there:
	{ .mmi
	mov r10=1
	mov r11=2
	nop.i 0 ;;
	}
	mov r16=0x2222
	mov r8=psr ;;
	expect r10, 0, 1
	expect r11, 2, 2
	expect_bits r8, PSR_AC | PSR_IC, PSR_AC, 3
	movl r8=PSR_IC
	movl r9=second ;;
	mov cr.ipsr=r8
	mov cr.iip=r9
	mov cr.ifs=r0 ;;
	rfi ;;
second:
	expect r16, 0x1111, 4
	mov r8=psr ;;
	expect_bits r8, PSR_AC | PSR_IC, PSR_IC, 5
	rsm PSR_IC ;;
	srlz.d
	movl r8=0x8000000000000000 + (6 << 7) + 10
	movl r9=third ;;
	mov cr.ipsr=r0
	mov cr.iip=r9 ;;
	cover ;;
	mov cr.ifs=r8 ;;
	rfi ;;
third:
	mov r41=0x77 ;;			// r32 to r41
	mov r8=ar.pfs
	br.call.sptk.few b0=callee ;;
	pass
callee:
	mov r9=ar.pfs ;;
	extr.u r9=r9,0,14
	alloc r36=ar.pfs,4,4,0,0 ;;
	expect r9, (6 << 7) + 10, 6
	expect r35, 0x77, 7		// its outputs began at r38
	mov ar.pfs=r36 ;;
	br.ret.sptk.few b0 ;;
