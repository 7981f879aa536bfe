// SPDX-License-Identifier: BSD-2-Clause
// operations: ptc.l
// alone: faults
// emulated: right
// What was purged is not translated any more: Alternate Data TLB (vector 0x1000).
	.include "guest.inc"
	guest
	region
	set_iva
	describe PAGE, ITIR
	movl r4=PTE | AR_RW
	mov r5=1 ;;
	itc.d r4 ;;
	srlz.d ;;
	ssm PSR_DT | PSR_IC ;;
	srlz.d ;;
	movl r6=PAGE ;;
	st8 [r6]=r6 ;;
	expect r14, 0, 1
	movl r2=PAGE
	movl r3=ITIR ;;
	ptc.l r2,r3 ;;
	srlz.d ;;
	ld8 r7=[r6] ;;
	expect r14, 1, 2
	expect r8, 0x1000, 3
	expect r11, PAGE, 4
	expect_bits r9, 0xf0000ffff, 0x400000000, 5
	pass
	skipping_handler
	vectors skip
