// SPDX-License-Identifier: BSD-2-Clause
// operations: srlz.d, srlz.i, sync.i, fc, fc.i, fwb, mf.a, invala, flushrs, loadrs, hint
// alone: right
// emulated: right
// What runs at a lower privilege level without harm.
	.include "guest.inc"
	guest
	movl r9=FRAME ;;
	st8 [r9]=r9
	fc r9
	fc.i r9 ;;
	fwb
	sync.i ;;
	srlz.i ;;
	srlz.d
	mf.a
	invala ;;
	hint.m 0
	mov r33=0x55 ;;
	flushrs ;;
	ld8 r8=[r9] ;;
	expect r8, FRAME, 1
	expect r33, 0x55, 2
	mov ar.rsc=0 ;;
	loadrs ;;
	pass
