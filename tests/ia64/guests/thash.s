// SPDX-License-Identifier: BSD-2-Clause
// operations: thash
// alone: faults
// emulated: wrong
// Short format: (va{60:0} >> ps) * 8 in a table of 1 MB at 1 MB of the address's region (SDM 2 4.1.6).
	.include "guest.inc"
	guest
	region
	movl r9=0x100000 + (20 << 2) ;;
	mov cr.pta=r9 ;;
	srlz.d ;;
	movl r10=0x2000000000123000 ;;
	thash r8=r10 ;;
	expect r8, 0x2000000000100240, 1
	movl r9=0xe000000000000000
	movl r10=(0x4567 << 8) + (16 << 2) ;;
	mov rr[r9]=r10 ;;
	srlz.d ;;
	movl r10=0xe000000000123000 ;;
	thash r8=r10 ;;
	expect r8, 0xe000000000100090, 2
	mov r8=0
	cmp.ne p6,p7=r0,r0 ;;
	(p6) thash r8=r10 ;;
	expect r8, 0, 3
	pass
