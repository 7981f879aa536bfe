// SPDX-License-Identifier: BSD-2-Clause
// operations: vmsw.0, vmsw.1
// alone: faults
// emulated: right
// illegal: the simulator has no virtual machine extensions
// Not offered: illegal operations, as on processors without them.
	.include "guest.inc"
	guest
	set_iva
	ssm PSR_IC ;;
	srlz.d ;;
	vmsw.0 ;;
	expect r14, 1, 1
	expect r8, 0x5400, 2
	expect_bits r9, 0xffff, 0, 3
	vmsw.1 ;;
	expect r14, 2, 4
	expect r8, 0x5400, 5
	expect_bits r9, 0xffff, 0, 6
	pass
	skipping_handler
	vectors skip
