// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ar.k, mov from ar.k
// alone: faults
// emulated: wrong
	.include "guest.inc"
	guest
	.irp n,0,1,2,3,4,5,6,7
	movl r9=0x123456789abc0000 + \n ;;
	mov ar.k\n=r9 ;;
	.endr
	.irp n,0,1,2,3,4,5,6,7
	mov r8=ar.k\n ;;
	expect r8, 0x123456789abc0000 + \n, 1 + \n
	.endr
	cmp.ne p6,p7=r0,r0 ;;
	(p6) mov r8=ar.k0
	(p6) mov ar.k1=r0
	(p7) mov r9=ar.k1 ;;
	expect r8, 0x123456789abc0007, 9
	expect r9, 0x123456789abc0001, 10
	pass
