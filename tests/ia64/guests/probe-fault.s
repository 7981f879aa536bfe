// SPDX-License-Identifier: BSD-2-Clause
// operations: probe.r.fault, probe.w.fault, probe.rw.fault
// alone: faults
// emulated: wrong
// Data Access Rights (vector 0x5300) with ISR.na and code 5, where the level that is asked for has no right.
	.include "guest.inc"
	guest
	region
	set_iva
	describe PAGE, ITIR
	movl r4=PTE | AR_RW ;;
	itc.d r4 ;;
	describe PAGE + 0x100000, ITIR
	movl r4=PTE | AR_R | PL_3 ;;
	itc.d r4 ;;
	ssm PSR_IC | PSR_DT ;;
	srlz.d
	movl r6=PAGE
	movl r7=PAGE + 0x100000 ;;
	probe.r.fault r6,0
	probe.w.fault r6,0
	probe.rw.fault r6,0
	probe.r.fault r7,3 ;;
	expect r14, 0, 1
	probe.r.fault r6,3 ;;
	expect r14, 1, 2
	expect r8, 0x5300, 3
	expect r11, PAGE, 4
	expect_bits r9, 0xf0000000f, 0xc00000005, 5
	probe.w.fault r7,0 ;;
	expect r14, 2, 6
	expect_bits r9, 0xf0000000f, 0xa00000005, 7
	probe.rw.fault r7,3 ;;
	expect r14, 3, 8
	expect_bits r9, 0xf0000000f, 0xe00000005, 9
	pass
	skipping_handler
	vectors skip
