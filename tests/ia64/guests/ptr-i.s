// SPDX-License-Identifier: BSD-2-Clause
// operations: ptr.i
// alone: faults
// emulated: right
// An instruction translation register, purged: Alternate Instruction TLB (vector 0xc00) where the piece was to run.
	.include "guest.inc"
CODE = 0x2000000000000000
PSR_IT = 1 << 36
	.macro enter
	movl r9=there
	movl r10=PSR_IT | PSR_IC
	movl r11=0x2000000000000000
	rsm PSR_IC ;;
	srlz.i
	add r9=r9,r11 ;;
	mov cr.ipsr=r10
	mov cr.ifs=r0
	mov cr.iip=r9 ;;
	rfi ;;
	.endm
	guest
	region
	set_iva
	movl r3=((RID + 1) << 8) + (PS << 2) ;;
	mov rr[r0]=r3 ;;
	srlz.i
	describe 0, 22 << 2		// interruptions leave psr.it as it is: the handlers need a mapping, too
	movl r4=0x61 + AR_RX
	mov r5=1 ;;
	itr.i itr[r5]=r4 ;;
	describe CODE, 22 << 2
	movl r4=0x61 + AR_RX
	mov r5=2 ;;
	itr.i itr[r5]=r4 ;;
	srlz.i
	movl r7=first ;;
	enter
there:
	break 0x77 ;;
first:
	expect r8, 0x2c00, 1
	movl r2=CODE
	movl r3=22 << 2 ;;
	ptr.i r2,r3 ;;
	srlz.i
	movl r7=second ;;
	enter
second:
	expect r8, 0xc00, 2
	expect_bits r11, 0xffffffff00000000, 0x2000000000000000, 3
	expect_bits r9, 0xf0000ffff, 0x100000000, 4
	pass
// goes on at r7, in physical mode
handler:
	mov r8=r31
	mov r9=cr.isr
	mov r11=cr.ifa ;;
	mov cr.ipsr=r0
	mov cr.iip=r7
	mov cr.ifs=r0 ;;
	rfi ;;
	vectors handler
