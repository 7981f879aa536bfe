// SPDX-License-Identifier: BSD-2-Clause
// operations: break
// alone: faults
// emulated: right
// The guest's own break, with its immediate in cr.iim.
	.include "guest.inc"
	guest
	set_iva
	ssm PSR_IC ;;
	srlz.d ;;
	break.m 0x12345 ;;
	expect r14, 1, 1
	expect r8, 0x2c00, 2
	rsm PSR_IC ;;
	srlz.d ;;
	mov r7=cr.iim ;;
	expect r7, 0x12345, 3
	ssm PSR_IC ;;
	srlz.d ;;
	break.i 0x54321 ;;
	expect r14, 2, 4
	rsm PSR_IC ;;
	srlz.d ;;
	mov r7=cr.iim ;;
	expect r7, 0x54321, 5
	pass
	skipping_handler
	vectors skip
