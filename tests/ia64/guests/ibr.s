// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ibr, mov from ibr
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	mov r9=2
	mov r10=3
	movl r8=0x2000000000001000 ;;
	mov ibr[r9]=r8
	mov ibr[r10]=r0 ;;
	srlz.d ;;
	mov r11=ibr[r9] ;;
	expect r11, 0x2000000000001000, 1
	mov r11=ibr[r10] ;;
	expect r11, 0, 2
	set_iva
	ssm PSR_IC
	movl r9=200 ;;			// there is no such register
	srlz.i ;;
	mov r11=ibr[r9] ;;
	expect r14, 1, 3
	expect r8, 0x5400, 4
	expect_bits r9, 0xffff, 0x30, 5
	pass
	skipping_handler
	vectors skip
