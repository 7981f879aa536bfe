// SPDX-License-Identifier: BSD-2-Clause
// operations: itc.i
// alone: faults
// emulated: right
// Runs a piece of itself through a translation.
	.include "guest.inc"
CODE = 0x2000000000000000
PSR_IT = 1 << 36
	guest
	region
	describe CODE, 22 << 2
	movl r4=0x61 + AR_RX ;;
	itc.i r4 ;;
	srlz.i ;;
	movl r8=_start		// where the mapping begins, rounded
	movl r9=there
	movl r10=PSR_IT
	movl r11=0x2000000000000000 ;;
	add r9=r9,r11
	mov cr.ipsr=r10
	mov cr.ifs=r0 ;;
	mov cr.iip=r9 ;;
	mov r14=0 ;;
	rfi ;;
there:
	{ .mii
	mov r14=ip
	} ;;
	mov cr.ipsr=r0
	movl r9=back
	mov cr.ifs=r0 ;;
	mov cr.iip=r9 ;;
	srlz.i ;;
	rfi ;;
back:
	shr.u r14=r14,32 ;;
	expect r14, 0x20000000, 1
	pass
