// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to msr, mov from msr
// alone: faults
// emulated: right
// simulator: it stops at mov msr
// Not architected, and nothing that a virtual processor has: an illegal operation.
	.include "guest.inc"
	guest
	mov r9=1 ;;
	set_iva
	ssm PSR_IC ;;
	srlz.i ;;
	mov r10=msr[r9] ;;
	expect r14, 1, 1
	expect r8, 0x5400, 2
	expect_bits r9, 0xffff, 0, 3
	mov r9=1 ;;
	mov msr[r9]=r0 ;;
	expect r14, 2, 4
	expect r8, 0x5400, 5
	pass
	skipping_handler
	vectors skip
