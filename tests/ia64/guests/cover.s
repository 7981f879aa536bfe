// SPDX-License-Identifier: BSD-2-Clause
// operations: cover
// alone: faults
// emulated: wrong
// With psr.ic 0, cover puts the frame into cr.ifs, which rfi takes back.
	.include "guest.inc"
	guest
	mov cr.ifs=r0
	mov r33=0x55 ;;
	srlz.d ;;
	cover ;;
	mov r8=cr.ifs ;;
	movl r9=0x8000000000000408
	movl r10=back ;;
	mov cr.iip=r10
	mov cr.ipsr=r0
	cmp.ne p6,p0=r8,r9
	mov r11=bad ;;
	(p6) mov cr.iip=r11
	(p6) mov cr.ifs=r9 ;;
	rfi ;;
back:
	expect r33, 0x55, 2
	ssm PSR_IC ;;			// without psr.ic 0 it does not
	srlz.d
	mov r33=0x66 ;;
	cover ;;
	rsm PSR_IC ;;
	srlz.d ;;
	mov r11=cr.ifs
	alloc r36=ar.pfs,0,8,0,0 ;;
	cmp.ne p15,p0=r11,r9 ;;		// still what was put there before
	fail_if p15,3
	pass
bad:
	leave 1
