// SPDX-License-Identifier: BSD-2-Clause
// operations: ssm
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	ssm PSR_AC ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_I | PSR_AC, PSR_AC, 1
	cmp.ne p6,p7=r0,r0 ;;
	(p6) ssm PSR_UP		// not executed
	(p7) ssm PSR_IC ;;
	srlz.d ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_I | PSR_AC | PSR_UP, PSR_AC | PSR_IC, 2
	ssm PSR_I | PSR_DI ;;
	mov r8=psr ;;
	expect_bits r8, PSR_IC | PSR_I | PSR_DI, PSR_IC | PSR_I | PSR_DI, 3
	pass
