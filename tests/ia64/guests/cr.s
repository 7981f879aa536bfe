// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to cr, mov from cr
// alone: faults
// emulated: right
// Control registers: what was written comes back, writes of what is read-only and of interruption registers while psr.ic is
// set are illegal operations.
	.include "guest.inc"
	.macro keeps register, value, code
	movl r9=\value ;;
	mov cr.\register=r9 ;;
	srlz.d ;;
	mov r8=cr.\register ;;
	expect r8, \value, \code
	.endm

	guest
	mov r8=cr.ivr ;;
	expect r8, 15, 1		// nothing is pending
	keeps dcr, 0x7f05, 2
	keeps itm, 0x7fffffffffffffff, 3
	keeps pta, 0x2000000000108050, 4
	keeps ipsr, 0x0000101008026000, 5
	keeps isr, 0x0000020400000010, 6
	keeps iip, 0x2000000000123450, 7
	keeps ifa, 0x4000000000000018, 8
	keeps itir, 0x0000000012345638, 9
	keeps iipa, 0xe000000000000010, 10
	keeps ifs, 0x8000000000000408, 11
	keeps iim, 0x1abcd, 12
	keeps iha, 0x2000000000000008, 13
	keeps lid, 0x12340000, 14
	keeps tpr, 0x100f0, 15
	keeps itv, 0x100ef, 16
	keeps pmv, 0x100ee, 17
	keeps cmcv, 0x100ed, 18
	keeps lrr0, 0x100ec, 19
	keeps lrr1, 0x100eb, 20
	mov r8=cr.irr0
	mov r9=cr.irr3 ;;
	or r8=r8,r9 ;;
	expect r8, 0, 21
	set_iva
	mov r8=cr.iva ;;
	cmp.ne p15,p0=r8,r2 ;;
	fail_if p15,22
	mov cr.tpr=r0 ;;
	srlz.d
	ssm PSR_IC ;;
	srlz.d ;;
	mov cr.ivr=r9 ;;		// read-only
	expect r14, 1, 23
	expect r8, 0x5400, 24
	expect_bits r9, 0xffff, 0, 25
	mov cr.ifa=r9 ;;		// not with psr.ic
	expect r14, 2, 26
	expect r8, 0x5400, 27
	expect_bits r9, 0xffff, 0, 28
	cmp.ne p6,p7=r0,r0 ;;
	(p6) mov cr.tpr=r8 ;;
	srlz.d ;;
	(p6) mov r8=cr.tpr ;;
	(p7) mov r8=cr.tpr ;;
	expect r8, 0, 29
	pass
	skipping_handler
	vectors skip
