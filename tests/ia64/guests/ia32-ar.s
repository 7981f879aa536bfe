// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ia32 ar, mov from ia32 ar
// alone: right
// emulated: right
	.include "guest.inc"
	guest
	movl r9=0x202 ;;
	mov ar.eflag=r9 ;;
	mov r8=ar.eflag ;;
	expect_bits r8, 0x200, 0x200, 1
	pass
