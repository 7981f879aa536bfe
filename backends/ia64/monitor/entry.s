// SPDX-License-Identifier: BSD-2-Clause
// The monitor's start, its interruption vectors, and the ways in from the guest and back.

	.section .parameters,"aw"
	.global parameters
parameters:
	data8 MONITOR_MAGIC
	.skip PARAMETERS_SIZE - 8

	.section .ivt,"ax"
ivt:
	.set vector, 0
	.rept 128
	.org vector
	{ .mib
	mov r31=vector
	nop.i 0
	br.cond.sptk.few enter ;;
	}
	.set vector, vector + 0x100
	.endr

	.text
// From the guest: translation on, bank 0, r31 = vector. Saves what the monitor may clobber and what it wants to know.
enter:
	mov r30=pr
	movl r16=vcpu - MONITOR_PHYSICAL + MONITOR_VIRTUAL
	mov r29=ar.unat
	mov r28=ar.rsc ;;
	mov ar.rsc=0		// the register stack engine rests: it would follow the mode
	adds r17=S_GR + 8,r16 ;;
	.irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	st8.spill [r17]=r\n,8 ;;
	.endr
	adds r2=S_GR + 16 * 8,r16 ;;
	bsw.1 ;;
	.irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	st8.spill [r2]=r\n,8 ;;
	.endr
	bsw.0 ;;
	mov r18=ar.unat
	mov r1=r16 ;;
	adds r17=S_GRNAT,r16 ;;
	st8 [r17]=r18,8 ;;		// S_GRNAT
	st8 [r17]=r30,8			// S_PR
	mov r2=b5
	mov r3=b6 ;;
	st8 [r17]=r2,8			// S_B5
	mov r4=b7 ;;
	st8 [r17]=r3,8 ;;		// S_B6
	st8 [r17]=r4,8 ;;		// S_B7
	st8 [r17]=r29,8 ;;		// S_UNAT
	st8 [r17]=r28,8 ;;		// S_RSC
	st8 [r17]=r31,8			// S_VECTOR
	mov r2=cr.iip
	mov r3=cr.ipsr ;;
	st8 [r17]=r2,8			// S_IIP
	mov r4=cr.isr ;;
	st8 [r17]=r3,8			// S_IPSR
	mov r5=cr.ifa ;;
	st8 [r17]=r4,8			// S_ISR
	mov r6=cr.iim ;;
	st8 [r17]=r5,8			// S_IFA
	mov r7=cr.iipa ;;
	st8 [r17]=r6,8 ;;		// S_IIM
	st8 [r17]=r7,8 ;;		// S_IIPA
	st8 [r17]=r0			// S_IFS
	movl r1=vcpu
	movl r2=monitor
	mov cr.ifs=r0 ;;
	mov cr.iip=r2
	mov cr.ipsr=r0 ;;		// physical mode, privilege level 0, bank 0
	rfi ;;

// To the guest, from physical mode. What it is to find is in the state: S_GR, S_IIP, S_VPSR, ...
resume:
	call interrupts_due, b7		// p6: deliver one first
	go_if p6, deliver_interrupt
resume_now:
	load r2, S_FLUSH
	cmp.ne p6,p0=r0,r2 ;;
	(p6) ptc.e r0 ;;
	srlz.i ;;
	store S_FLUSH, r0
	call set_view, b7
	// psr as mov =psr shows it
	load r2, S_VPSR
	movl r3=0x18ffffffff ;;
	and r3=r2,r3 ;;
	store V_PSR, r3
	// the real psr: what the guest may have of its own, and what the monitor needs
	movl r3=PSR_UM | PSR_DFL | PSR_DFH | PSR_TB | PSR_ID | PSR_DA | PSR_DD | PSR_SS | PSR_RI | PSR_ED
	movl r4=PSR_IC | PSR_I | PSR_DT | PSR_RT | PSR_IT | PSR_CPL | PSR_DI | PSR_BN ;;
	and r3=r2,r3
	load r5, S_STEP
	or r3=r3,r4
	shl r5=r5,PSR_SS_BIT ;;
	or r3=r3,r5 ;;
	store S_IPSR, r3
	load r2, S_B5
	load r3, S_B6
	load r4, S_B7
	load r5, S_PR
	mov b5=r2
	mov b6=r3
	mov b7=r4
	load r2, S_GRNAT
	mov pr=r5,-1
	mov ar.unat=r2 ;;
	mov r16=r1			// of bank 0
	adds r2=S_GR + 16 * 8,r1 ;;
	bsw.1 ;;
	.irp n,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	ld8.fill r\n=[r2],8 ;;
	.endr
	bsw.0 ;;
	adds r17=S_GR + 8,r16 ;;
	.irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	ld8.fill r\n=[r17],8 ;;
	.endr
	adds r17=S_UNAT,r16
	adds r18=S_RSC,r16
	adds r19=S_IIP,r16
	adds r20=S_IPSR,r16
	adds r21=S_IFS,r16 ;;
	ld8 r17=[r17]
	ld8 r18=[r18]
	ld8 r19=[r19]
	ld8 r20=[r20]
	ld8 r21=[r21] ;;
	mov ar.unat=r17
	movl r22=leave - MONITOR_PHYSICAL + MONITOR_VIRTUAL
	movl r23=PSR_DT | PSR_RT | PSR_IT ;;
	mov cr.iip=r22
	mov cr.ipsr=r23
	mov cr.ifs=r0 ;;
	rfi ;;
// The register stack engine gets its own mode back only with translation on.
leave:
	mov cr.iip=r19
	mov cr.ipsr=r20
	mov cr.ifs=r21
	mov ar.rsc=r18 ;;
	rfi ;;

// --- The start: physical mode, privilege level 0 ---
	.global _start
_start:
	mov ar.rsc=0
	movl r1=vcpu
	movl r2=ivt - MONITOR_PHYSICAL + MONITOR_VIRTUAL
	rsm PSR_IC | PSR_I ;;
	srlz.i ;;
	mov cr.iva=r2
	mov r3=15 << 2
	mov r4=TIMER_VECTOR ;;
	mov cr.pta=r3			// no VHPT walker
	mov cr.itv=r4
	mov cr.tpr=r0
	mov cr.dcr=r0 ;;
	srlz.d ;;
	// the guest's registers at reset, beyond zeros
	store V_CR + CR_PTA * 8, r3
	movl r4=1 << 16 ;;		// masked
	store V_CR + CR_ITV * 8, r4
	store V_CR + (CR_ITV + 1) * 8, r4
	store V_CR + (CR_ITV + 2) * 8, r4
	store V_CR + 80 * 8, r4
	store V_CR + 81 * 8, r4
	mov r2=PAGE_BITS << 2
	mov r3=8
	adds r4=S_RR,r1 ;;
1:	st8 [r4]=r2,8
	adds r3=-1,r3 ;;
	cmp.ne p6,p0=r0,r3
	go_if p6, 1b
	mov r2=-1 ;;
	store S_VIEW, r2
	mov r2=3 << 2 ;;		// lazy, little-endian, level 3
	store S_RSC, r2
	movl r2=parameters + P_ENTRY ;;
	ld8 r2=[r2] ;;
	store S_IIP, r2
	call tlb_reset, b7
	call map_monitor, b7
	go resume
