// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ar.rsc, mov from ar.rsc
// alone: wrong
// emulated: wrong
// RSC.pl: a level that is more privileged than the current one is silently not taken.
	.include "guest.inc"
	guest
	mov r8=ar.rsc ;;
	expect_bits r8, 0xc, 0, 1
	mov ar.rsc=3 ;;
	mov r8=ar.rsc ;;
	expect r8, 3, 2
	movl r9=0xc ;;
	mov ar.rsc=r9 ;;
	mov r8=ar.rsc ;;
	expect r8, 0xc, 3
	mov ar.rsc=4 ;;
	mov r8=ar.rsc ;;
	expect r8, 4, 4
	mov ar.rsc=0 ;;
	mov r8=ar.rsc ;;
	expect r8, 0, 5
	pass
