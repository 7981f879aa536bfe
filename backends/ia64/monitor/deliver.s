// SPDX-License-Identifier: BSD-2-Clause
// Interruptions of the guest: what the processor does when it takes one (SDM 2, 5.5), on the virtual processor; and interrupts.

	.text
// General Exception with ISR code (r9) at the current instruction.
inject_general:
	store S_ISR, r9
	movl r20=VECTOR_GENERAL
// A fault of the monitor's making, S_ISR without what comes from psr.
inject:
	load r2, S_VPSR
	load r3, S_ISR
	extr.u r4=r2,PSR_RI_BIT,2 ;;
	dep r3=r4,r3,ISR_EI_BIT,2 ;;
	store S_ISR, r3

// Takes the interruption of vector (r20), with S_ISR, S_IIP, S_VPSR; S_IFA if S_HASIFA; S_IIM for break and speculation.
deliver:
	movl r2=parameters + P_FLAGS ;;
	ld8 r2=[r2] ;;
	tbit.nz p6,p0=r2,1 ;;		// FLAG_TRACES
	(p6) br.cond.dpnt.few trace_delivery
delivery_traced:
	load r2, S_VPSR
	movl r4=VECTOR_NESTED ;;
	cmp.eq p6,p7=r4,r20
	tbit.nz p8,p9=r2,PSR_IC_BIT ;;
	go_if p6, 3f
	load r3, S_ISR
	(p9) dep r3=-1,r3,ISR_NI_BIT,1 ;;
	store V_CR + CR_ISR * 8, r3
	go_if p9, 3f
	load r4, S_IIP
	load r5, S_IIPA
	store V_CR + CR_IPSR * 8, r2
	store V_CR + CR_IIP * 8, r4
	store V_CR + CR_IIPA * 8, r5
	store V_CR + CR_IFS * 8, r0
	load r4, S_HASIFA
	movl r5=VECTOR_BREAK
	movl r6=VECTOR_SPECULATION ;;
	cmp.eq p6,p7=r0,r4
	cmp.eq p8,p9=r5,r20 ;;
	(p9) cmp.eq p8,p0=r6,r20
	load r4, S_IIM
	adds r5=V_CR + CR_IIM * 8,r1 ;;
	(p8) st8 [r5]=r4
	go_if p6, 3f
	load r8, S_IFA
	shr.u r4=r8,61 ;;
	shladd r4=r4,3,r1 ;;
	adds r4=S_RR,r4 ;;
	ld8 r4=[r4]
	movl r5=0xfffffffc ;;
	and r4=r4,r5 ;;
	store V_CR + CR_IFA * 8, r8
	store V_CR + CR_ITIR * 8, r4
	mov r15=0
	call hash, b6
	store V_CR + CR_IHA * 8, r9
3:	// psr: what an interruption leaves as it is, and what cr.dcr says
	load r2, S_VPSR
	load r3, V_CR + CR_DCR * 8
	movl r4=0x1808028034 ;;		// up, mfl, mfh, pk, dt, rt, mc, it
	and r4=r2,r4
	extr.u r5=r3,1,1		// be
	extr.u r6=r3,0,1 ;;		// pp
	dep r4=r5,r4,1,1 ;;
	dep r4=r6,r4,21,1 ;;
	store S_VPSR, r4
	load r4, V_CR + CR_IVA * 8
	tbit.z p7,p0=r2,PSR_BN_BIT
	add r4=r4,r20 ;;
	store S_IIP, r4
	go_if p7, resume
	call swap_banks, b6
	go resume

// --- Interrupts (SDM 2, 5.8) ---

// r8 = the highest bit of the 256 at (r10), or -1. Link b6; clobbers r10 to r12.
highest_bit:
	adds r10=24,r10
	mov r12=192 ;;
1:	ld8 r11=[r10],-8 ;;
	cmp.ne p6,p7=r0,r11 ;;
	go_if p6, 2f
	adds r12=-64,r12 ;;
	cmp.le p6,p0=0,r12
	go_if p6, 1b
	mov r8=-1
	return b6
2:	mov r8=63 ;;
3:	cmp.gt p6,p7=r0,r11 ;;
	go_if p6, 4f
	shl r11=r11,1
	adds r8=-1,r8
	go 3b
4:	add r8=r8,r12
	return b6

// r8, r9 = the vector and the priority of the first of the 256 bits at (r10), -1 if there is none: vector 2 (NMI) before
// vector 0 (ExtINT) before the others. Link b5; clobbers r10 to r13, b6.
first_of:
	ld8 r13=[r10] ;;
	tbit.nz p8,p9=r13,2 ;;
	(p9) tbit.nz.unc p10,p11=r13,0
	(p8) mov r8=2
	(p8) mov r9=0x200 ;;
	(p8) br.cond.dpnt.few b5
	(p10) mov r8=0
	(p10) mov r9=0x100
	(p10) br.cond.dpnt.few b5
	call highest_bit, b6
	mov r9=r8
	return b5

// r14 = the vector of the interrupt that cr.ivr would show, p6; or p7, and none. Link b7; clobbers r2, r3, r8 to r14, b5, b6.
interrupt_first:
	adds r10=S_INSERVICE,r1
	call first_of, b5
	mov r14=r9			// in service
	adds r10=V_CR + CR_IRR0 * 8,r1 ;;
	call first_of, b5
	cmp.lt p6,p7=r14,r9 ;;		// signed: -1 is none
	(p7) br.cond.dptk.few b7
	load r2, V_CR + CR_TPR * 8
	mov r14=r8
	movl r3=0x200
	extr.u r10=r2,4,4
	extr.u r11=r9,4,4 ;;
	cmp.leu p6,p7=r3,r9		// NMI
	movl r3=0x100 ;;
	(p6) br.cond.dpnt.few b7
	tbit.nz p7,p6=r2,16 ;;		// tpr.mmi
	(p7) br.cond.dpnt.few b7
	cmp.leu p6,p7=r3,r9 ;;		// ExtINT
	(p6) br.cond.dpnt.few b7
	cmp.gtu p6,p7=r11,r10
	return b7

// p6: an interrupt is to be delivered before the guest goes on. Link b7.
interrupts_due:
	load r2, S_VPSR
	tbit.z p7,p6=r2,PSR_I_BIT ;;
	(p6) tbit.z p7,p0=r2,PSR_IC_BIT ;;
	cmp.ne p6,p0=r0,r0
	(p7) br.cond.dptk.few b7
	go interrupt_first

deliver_interrupt:
	// A frame that the rfi to the guest has yet to load is the interrupted code's: one step first.
	load r2, S_IFS
	cmp.gt p6,p7=r0,r2 ;;
	go_if p7, 1f
	mov r2=1 ;;
	store S_STEP, r2
	go resume_now
1:	store S_ISR, r0
	movl r20=VECTOR_INTERRUPT
	go inject

// A real interrupt: the timer, or a device's, whose vector is the guest's own.
interrupt:
	mov r2=cr.ivr
	mov r3=SPURIOUS
	mov r4=TIMER_VECTOR ;;
	cmp.eq p6,p0=r2,r3
	cmp.eq p7,p8=r2,r4 ;;
	go_if p6, resume
	srlz.d ;;
	mov cr.eoi=r0 ;;
	srlz.d
	load r5, V_CR + CR_ITV * 8
	cmp.eq p9,p0=r2,r4
	cmp.ne p6,p0=r0,r0 ;;
	(p9) tbit.nz.unc p6,p0=r5,16
	(p9) zxt1 r2=r5 ;;
	go_if p6, interrupt		// masked
	extr.u r3=r2,6,2
	extr.u r2=r2,0,6
	mov r4=1 ;;
	shl r4=r4,r2
	shladd r3=r3,3,r1 ;;
	adds r3=V_CR + CR_IRR0 * 8,r3 ;;
	ld8 r2=[r3] ;;
	or r2=r2,r4 ;;
	st8 [r3]=r2
	go interrupt
