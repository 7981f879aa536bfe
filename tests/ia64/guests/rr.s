// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to rr, mov from rr
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	.irp n,0,1,2,3,4,5,6,7
	movl r9=\n << 61
	movl r8=0x12300 + (\n << 16) + (14 << 2) ;;
	mov rr[r9]=r8 ;;
	.endr
	srlz.d ;;
	.irp n,0,1,2,3,4,5,6,7
	movl r9=(\n << 61) + 0x12345 ;;
	mov r8=rr[r9] ;;
	expect r8, 0x12300 + (\n << 16) + (14 << 2), 1 + \n
	.endr
	pass
