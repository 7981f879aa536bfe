// SPDX-License-Identifier: BSD-2-Clause
// operations: tpa
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	region
	set_iva
	describe PAGE, ITIR
	movl r4=PTE | AR_RW ;;
	itc.d r4 ;;
	srlz.d
	ssm PSR_IC ;;
	srlz.d
	movl r10=PAGE + 0x1238 ;;
	tpa r8=r10 ;;
	expect r8, FRAME + 0x1238, 1
	movl r10=PAGE + 0x100000 ;;
	tpa r7=r10 ;;			// a non-access miss: ISR.na, code 0
	expect r14, 1, 2
	expect r8, 0x1000, 3
	expect r11, PAGE + 0x100000, 4
	expect_bits r9, 0x80000000f, 0x800000000, 5
	pass
	skipping_handler
	vectors skip
