// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to psr.l, mov from psr
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	mov r8=psr ;;
	expect_bits r8, PSR_I, 0, 1
	movl r9=PSR_IC | PSR_UP | PSR_AC ;;
	or r9=r8,r9 ;;
	mov psr.l=r9 ;;
	srlz.d ;;
	mov r8=psr ;;
	cmp.ne p15,p0=r8,r9 ;;
	fail_if p15,2
	cmp.ne p6,p7=r0,r0 ;;
	(p6) mov r8=psr
	(p6) mov psr.l=r0 ;;
	cmp.ne p15,p0=r8,r9 ;;
	fail_if p15,3
	movl r10=PSR_IC ;;
	andcm r9=r9,r10 ;;
	mov psr.l=r9 ;;
	srlz.d ;;
	mov r11=psr ;;
	cmp.ne p15,p0=r11,r9 ;;
	fail_if p15,4
	pass
