// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to pkr, mov from pkr
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	mov r9=3
	movl r8=(0x1234 << 8) + 0xe ;;
	mov pkr[r9]=r8 ;;
	srlz.d ;;
	mov r10=pkr[r9] ;;
	expect r10, (0x1234 << 8) + 0xe, 1
	mov r9=2 ;;
	mov pkr[r9]=r0 ;;
	srlz.d ;;
	mov r10=pkr[r9] ;;
	expect r10, 0, 2
	pass
