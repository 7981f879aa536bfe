// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ar.itc, mov from ar.itc
// alone: faults
// emulated: wrong
// The interval time counter: set, it counts on from there.
	.include "guest.inc"
	guest
	movl r9=0x1234560000000000
	movl r10=0x1234570000000000 ;;
	mov ar.itc=r9 ;;
	mov r8=ar.itc ;;
	cmp.ltu p15,p0=r8,r9 ;;
	fail_if p15,1
	cmp.gtu p15,p0=r8,r10 ;;
	fail_if p15,2
	mov r11=ar.itc ;;
	cmp.ltu p15,p0=r11,r8 ;;
	fail_if p15,3
	mov ar.itc=r0 ;;
	mov r8=ar.itc ;;
	cmp.gtu p15,p0=r8,r9 ;;
	fail_if p15,4
	pass
