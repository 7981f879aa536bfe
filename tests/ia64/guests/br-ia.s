// SPDX-License-Identifier: BSD-2-Clause
// operations: br.ia
// alone: faults
// emulated: right
// With psr.di set, Disabled Instruction Set Transition (General Exception, code 0x40).
	.include "guest.inc"
	guest
	set_iva
	ssm PSR_IC | PSR_DI ;;
	srlz.d
	mov r2=0 ;;
	mov b6=r2
	flushrs ;;
	br.ia.sptk.few b6 ;;
	expect r14, 1, 1
	expect r8, 0x5400, 2
	expect_bits r9, 0xffff, 0x40, 3
	pass
	skipping_handler
	vectors skip
