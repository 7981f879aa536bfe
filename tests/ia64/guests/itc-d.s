// SPDX-License-Identifier: BSD-2-Clause
// operations: itc.d
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	region
	movl r9=FRAME + 8
	movl r8=0x123456789abcdef0 ;;
	st8 [r9]=r8
	describe PAGE, ITIR
	movl r4=PTE | AR_RW ;;
	itc.d r4 ;;
	srlz.d ;;
	data_translation ssm
	movl r10=PAGE + 8 ;;
	ld8 r11=[r10],8 ;;
	st8 [r10]=r10 ;;
	data_translation rsm
	expect r11, 0x123456789abcdef0, 1
	movl r9=FRAME + 16 ;;
	ld8 r11=[r9] ;;
	expect r11, PAGE + 16, 2
	pass
