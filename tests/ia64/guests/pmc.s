// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to pmc, mov from pmc
// alone: faults
// emulated: right
	.include "guest.inc"
	guest
	mov r9=4
	mov r8=0xf ;;
	mov pmc[r9]=r8 ;;
	srlz.d ;;
	mov r10=pmc[r9] ;;
	expect_bits r10, 0xf, 0xf, 1
	mov pmc[r9]=r0 ;;
	srlz.d ;;
	mov r10=pmc[r9] ;;
	expect_bits r10, 0xf, 0, 2
	pass
