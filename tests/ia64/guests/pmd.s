// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to pmd, mov from pmd
// alone: faults
// emulated: wrong
	.include "guest.inc"
	guest
	mov r9=4
	movl r8=0x1234567 ;;
	mov pmd[r9]=r8 ;;
	srlz.d ;;
	mov r10=pmd[r9] ;;
	expect r10, 0x1234567, 1
	pass
