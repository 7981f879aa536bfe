// SPDX-License-Identifier: BSD-2-Clause
// operations: itr.d
// alone: faults
// emulated: right
// A translation register stays where translation cache entries may go: 300 of them are inserted.
	.include "guest.inc"
	guest
	region
	movl r9=FRAME
	movl r8=0x123456789abcdef0 ;;
	st8 [r9]=r8
	describe PAGE, ITIR
	movl r4=PTE | AR_RW
	mov r5=3 ;;
	itr.d dtr[r5]=r4 ;;
	srlz.d ;;
	movl r2=PAGE + 0x100000
	mov r6=300
	movl r7=1 << PS ;;
1:	mov cr.ifa=r2 ;;
	itc.d r4 ;;
	srlz.d
	add r2=r2,r7
	adds r6=-1,r6 ;;
	cmp.ne p6,p0=r0,r6 ;;
	(p6) br.cond.sptk.few 1b ;;
	data_translation ssm
	movl r10=PAGE ;;
	ld8 r11=[r10] ;;
	data_translation rsm
	expect r11, 0x123456789abcdef0, 1
	pass
