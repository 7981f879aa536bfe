// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to cr, mov from cr, ssm, rsm, rfi, mov from ar.itc
// alone: faults
// emulated: right
// Interrupts from the interval timer: taken when psr.i and the task priority allow it, acknowledged by cr.ivr, in service until
// cr.eoi (SDM 2, 5.8).
	.include "guest.inc"
VECTOR = 0xd0
SPURIOUS = 15
SOON = 500			// of the counter's ticks

// The timer matches soon.
	.macro arm
	mov r4=ar.itc ;;
	movl r5=SOON ;;
	add r4=r4,r5 ;;
	mov cr.itm=r4 ;;
	srlz.d ;;
	.endm

// Waits until it has matched for long.
	.macro pass_by
1:	mov r5=ar.itc ;;
	sub r5=r5,r4
	movl r6=20 * SOON ;;
	cmp.lt p6,p0=r5,r6 ;;
	(p6) br.cond.sptk.few 1b ;;
	.endm

// Not more than so many turns until r14 is (count).
	.macro until_count count, code
	movl r6=100000000 ;;
1:	adds r6=-1,r6
	cmp.eq p7,p0=\count,r14 ;;
	cmp.eq p15,p0=0,r6
	(p7) br.cond.dptk.few 2f ;;
	fail_if p15,\code
	br.cond.sptk.few 1b ;;
2:
	.endm

	guest
	set_iva
	mov r14=0
	mov r5=VECTOR ;;
	mov cr.itv=r5
	mov cr.tpr=r0 ;;
	srlz.d
	ssm PSR_IC ;;
	srlz.d ;;
	// one, with psr.i set all the time
	arm
	ssm PSR_I ;;
	srlz.d
	until_count 1, 1
	expect r8, 0x3000, 2
	expect r9, VECTOR, 3
	expect r10, SPURIOUS, 4		// nothing else, while it was in service
	// not while psr.i is 0, and at once when it is set
	rsm PSR_I ;;
	srlz.d
	arm
	pass_by
	expect r14, 1, 5
	mov r7=cr.irr3 ;;
	tbit.z p15,p0=r7,VECTOR & 63 ;;
	fail_if p15,6
	ssm PSR_I ;;
	srlz.d
	until_count 2, 7
	rsm PSR_I ;;
	mov r7=cr.irr3 ;;
	expect r7, 0, 8
	// not while the task priority masks its class
	movl r5=0xd0 ;;
	mov cr.tpr=r5 ;;
	srlz.d
	ssm PSR_I ;;
	srlz.d
	arm
	pass_by
	expect r14, 2, 9
	mov r7=cr.ivr ;;		// and not by polling either
	expect r7, SPURIOUS, 10
	movl r5=0xc0 ;;
	mov cr.tpr=r5 ;;
	srlz.d
	until_count 3, 11
	// nor with the mask bit for all
	movl r5=0x10000 ;;
	mov cr.tpr=r5 ;;
	srlz.d
	arm
	pass_by
	expect r14, 3, 12
	mov cr.tpr=r0 ;;
	srlz.d
	until_count 4, 13
	// in service: the same does not interrupt again before cr.eoi
	rsm PSR_I ;;
	srlz.d
	arm
	pass_by
	mov r7=cr.ivr ;;
	expect r7, VECTOR, 14
	arm
	ssm PSR_I ;;
	srlz.d
	pass_by
	expect r14, 4, 15
	mov cr.eoi=r0 ;;
	srlz.d
	until_count 5, 16
	// masked at its source it is lost
	movl r5=0x10000 + VECTOR ;;
	mov cr.itv=r5 ;;
	srlz.d
	arm
	pass_by
	expect r14, 5, 17
	mov r7=cr.irr3 ;;
	expect r7, 0, 18
	pass

handler:
	mov r8=r31
	mov r9=cr.ivr ;;
	srlz.d ;;
	mov r10=cr.ivr
	add r14=1,r14 ;;
	srlz.d ;;
	mov cr.eoi=r0 ;;
	srlz.d ;;
	rfi ;;
	vectors handler
