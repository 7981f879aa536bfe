// SPDX-License-Identifier: BSD-2-Clause
// operations: rum, sum, mov to psr.um, mov from psr.um
// alone: faults
// emulated: wrong
// The user mask can be changed at every privilege level, but with psr.sp set, rum, sum and mov psr.um leave psr.up alone
// (SDM 3 sum): a guest whose psr.sp is virtual gets that wrong without rewriting.
	.include "guest.inc"
	guest
	sum PSR_AC | PSR_UP ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_AC | PSR_UP, 1
	rum PSR_AC ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_UP, 2
	movl r9=PSR_AC ;;
	mov psr.um=r9 ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_AC, 3
	cmp.ne p6,p7=r0,r0 ;;
	(p6) rum PSR_AC
	(p7) sum PSR_UP ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_AC | PSR_UP, 4
	ssm PSR_SP ;;
	srlz.d ;;
	rum PSR_AC | PSR_UP ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_UP, 5
	movl r9=PSR_AC ;;
	mov psr.um=r9 ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_AC | PSR_UP, 6
	rsm PSR_SP | PSR_UP ;;
	srlz.d ;;
	ssm PSR_SP ;;
	srlz.d ;;
	sum PSR_UP ;;
	mov r8=psr.um ;;
	expect_bits r8, PSR_AC | PSR_UP, PSR_AC, 7
	pass
