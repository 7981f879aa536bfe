// SPDX-License-Identifier: BSD-2-Clause
// operations: tak
// alone: faults
// emulated: right
// The key of a translation, or 1 where there is none.
	.include "guest.inc"
	guest
	region
	describe PAGE, (0x4567 << 8) + ITIR
	movl r4=PTE | AR_RW ;;
	itc.d r4 ;;
	srlz.d
	movl r10=PAGE + 0x1238 ;;
	tak r8=r10 ;;
	expect r8, 0x4567 << 8, 1
	pass
