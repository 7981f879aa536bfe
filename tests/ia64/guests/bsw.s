// SPDX-License-Identifier: BSD-2-Clause
// operations: bsw.0, bsw.1
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	bsw.1 ;;
	mov r16=0x1111
	mov r31=0x2222 ;;
	bsw.0 ;;
	mov r16=0x3333
	mov r31=0x4444 ;;
	bsw.0 ;;
	expect r16, 0x3333, 1
	expect r31, 0x4444, 2
	bsw.1 ;;
	expect r16, 0x1111, 3
	expect r31, 0x2222, 4
	bsw.0 ;;
	expect r16, 0x3333, 5
	pass
