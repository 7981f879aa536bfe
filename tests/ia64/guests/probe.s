// SPDX-License-Identifier: BSD-2-Clause
// operations: probe.r, probe.w
// alone: faults
// emulated: wrong
// Whether a privilege level may read or write: of a page that level 0 may write, and one that all may read.
	.include "guest.inc"
	guest
	region
	describe PAGE, ITIR
	movl r4=PTE | AR_RW ;;
	itc.d r4 ;;
	describe PAGE + 0x100000, ITIR
	movl r4=PTE | AR_R | PL_3 ;;
	itc.d r4 ;;
	srlz.d
	data_translation ssm
	movl r10=PAGE
	movl r11=PAGE + 0x100000
	mov r9=3 ;;
	probe.r r2=r10,0
	probe.w r3=r10,0
	probe.r r4=r10,3
	probe.w r5=r10,r9
	probe.r r6=r11,r9
	probe.w r7=r11,0
	probe.r r8=r10,r0 ;;
	expect r2, 1, 1
	expect r3, 1, 2
	expect r4, 0, 3
	expect r5, 0, 4
	expect r6, 1, 5
	expect r7, 0, 6
	expect r8, 1, 7
	pass
