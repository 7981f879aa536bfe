// SPDX-License-Identifier: BSD-2-Clause
// operations: rsm
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	rsm PSR_I ;;
	ssm PSR_IC | PSR_AC ;;
	srlz.d ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_I | PSR_AC, PSR_IC | PSR_AC, 1
	cmp.ne p6,p7=r0,r0 ;;
	(p6) rsm PSR_IC		// not executed
	(p7) rsm PSR_AC ;;
	srlz.d ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_AC, PSR_IC, 2
	rsm PSR_IC | PSR_I ;;
	srlz.d ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_I | PSR_AC, 0, 3
	pass
