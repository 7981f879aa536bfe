// SPDX-License-Identifier: BSD-2-Clause
// What an interruption was: a miss of the machine's TLB, an operation to be emulated, a real interrupt, or the guest's own.

	.text
// Physical mode, bank 0; r1 is the state.
monitor:
	load r2, S_IPSR
	load r3, S_VPSR
	load r20, S_VECTOR
	store S_STEP, r0
	store S_HASIFA, r0
	extr.u r4=r2,PSR_CPL_BIT,2
	movl r5=PSR_UM | PSR_ID | PSR_DA | PSR_DD | PSR_RI | PSR_ED ;;
	cmp.ne p6,p0=3,r4
	and r2=r2,r5
	andcm r3=r3,r5 ;;
	go_if p6, broken		// the monitor itself
	or r3=r2,r3 ;;
	store S_VPSR, r3
	mov r4=VECTOR_ALT_ITLB ;;
	cmp.eq p6,p0=r4,r20
	movl r4=VECTOR_ALT_DTLB ;;
	go_if p6, miss_instruction
	cmp.eq p6,p0=r4,r20
	movl r4=VECTOR_BREAK ;;
	go_if p6, miss_data
	cmp.eq p6,p0=r4,r20
	movl r4=VECTOR_INTERRUPT ;;
	go_if p6, break_instruction
	cmp.eq p6,p0=r4,r20
	movl r4=VECTOR_GENERAL ;;
	go_if p6, interrupt
	cmp.eq p6,p0=r4,r20
	movl r4=VECTOR_STEP ;;
	go_if p6, general_exception
	cmp.eq p6,p0=r4,r20
	cmp.ne p7,p0=r0,r0 ;;
	(p6) tbit.z.unc p7,p0=r3,PSR_SS_BIT ;;
	go_if p7, resume		// the step was the monitor's

// The guest's own interruption: it finds what the machine found.
reflect:
	movl r4=0x2800			// the vectors whose interruptions come with cr.ifa
	movl r5=VECTOR_NOT_PRESENT
	movl r6=VECTOR_ACCESS_RIGHTS ;;
	cmp.leu p6,p7=r20,r4
	movl r4=VECTOR_NAT ;;
	(p7) cmp.leu.unc p7,p8=r5,r20 ;;
	(p7) cmp.leu p6,p7=r20,r6 ;;
	cmp.eq p9,p0=r4,r20
	movl r4=0x5900 ;;
	cmp.leu p10,p0=r4,r20
	movl r4=0x5b00
	mov r2=0 ;;
	(p10) cmp.leu.unc p10,p0=r20,r4
	(p6) mov r2=1 ;;
	(p9) mov r2=1 ;;
	(p10) mov r2=1 ;;
	store S_HASIFA, r2
	go deliver

// A break: one of the rewriter's, or the guest's own.
break_instruction:
	call site_lookup, b7
	go_if p6, emulate
	movl r20=VECTOR_BREAK
	go deliver

// General Exception: an operation that the guest believes itself privileged for, or the guest's own mistake.
general_exception:
	load r2, S_ISR
	load r3, S_VPSR
	extr.u r4=r2,4,12		// without the code of a non-access operation
	extr.u r5=r3,PSR_CPL_BIT,2 ;;
	mov r6=GE_PRIVILEGED_OP >> 4
	mov r7=GE_PRIVILEGED_REG >> 4 ;;
	cmp.eq p6,p7=r4,r6 ;;
	(p7) cmp.eq p6,p7=r4,r7 ;;
	(p7) cmp.eq.unc p8,p0=r0,r4 ;;	// illegal operation
	cmp.ne p7,p0=r0,r5
	movl r20=VECTOR_GENERAL
	go_if p7, deliver
	(p8) br.cond.dpnt.few illegal_operation
	go_if p6, trapped
	go deliver

// With psr.ic, which is set while the guest runs, these are illegal operations at every level before they are privileged ones
// (SDM 3 itc, itr, mov cr).
illegal_operation:
	call fetch, b7
	go_if p7, deliver
	extr.u r2=r4,27,10
	extr.u r3=r4,37,4
	cmp.eq p6,p7=UNIT_M,r5
	movl r20=VECTOR_GENERAL ;;
	(p6) cmp.eq p6,p7=1,r3
	mov r3=0x2e ;;
	go_if p7, deliver
	cmp.eq p6,p0=r3,r2		// itc.d
	mov r3=0x2f ;;
	go_if p6, trapped
	cmp.eq p6,p0=r3,r2		// itc.i
	mov r3=0x0e ;;
	go_if p6, trapped
	cmp.eq p6,p0=r3,r2		// itr.d
	mov r3=0x0f ;;
	go_if p6, trapped
	cmp.eq p6,p0=r3,r2		// itr.i
	mov r3=0x2c ;;
	go_if p6, trapped
	cmp.eq p6,p0=r3,r2		// mov cr=
	mov r3=0x24 ;;
	go_if p6, trapped
	cmp.eq p6,p0=r3,r2		// mov =cr
	go_if p6, trapped
	go deliver

trapped:
	movl r7=parameters + P_FLAGS ;;
	ld8 r7=[r7] ;;
	tbit.z p6,p7=r7,0		// FLAG_EMULATES
	tbit.z p8,p9=r7,1 ;;		// FLAG_TRACES
	mov r19=STATUS_NOT_EMULATED
	go_if p6, quit
	(p9) br.cond.dpnt.few trace_trap
traced:
	call fetch, b7
	go_if p6, emulate
	movl r20=VECTOR_GENERAL
	go deliver

// r9 = the guest-physical address of the bundle at S_IIP; p6 if there is one. Link b5; clobbers r8, r10, r21 to r26, b6.
locate:
	load r8, S_IIP
	load r9, S_VPSR
	movl r10=itlb ;;
	tbit.z p6,p7=r9,PSR_IT_BIT
	mov r9=r8 ;;
	(p6) br.cond.dptk.few b5
	call tlb_lookup, b6
	(p7) br.cond.dpnt.few b5
	call tlb_physical, b6
	cmp.eq p6,p7=r0,r0 ;;
	return b5

// r4 = the instruction, r5 = its unit, at S_IIP and psr.ri; p6 unless it cannot be found. Link b7.
fetch:
	call locate, b5
	(p7) br.cond.dpnt.few b7
	load r2, S_VPSR
	extr.u r3=r2,PSR_RI_BIT,2
	adds r10=8,r9 ;;
	ld8 r9=[r9]
	ld8 r10=[r10]
	movl r12=templates ;;
	extr.u r11=r9,0,5
	cmp.eq p8,p0=0,r3
	cmp.eq p9,p0=1,r3
	cmp.eq p10,p0=2,r3 ;;
	.pred.rel "mutex",p8,p9,p10
	shladd r12=r11,2,r12
	(p8) extr.u r4=r9,5,41
	(p9) shr.u r4=r9,46
	(p9) dep.z r10=r10,18,23 ;;
	.pred.rel "mutex",p9,p10
	add r12=r3,r12
	(p9) or r4=r4,r10
	(p10) shr.u r4=r10,23 ;;
	ld1 r5=[r12]
	cmp.eq p6,p7=r0,r0 ;;
	return b7

// The same for a break of the rewriter's, from the site map; p6 if it is one. Link b7.
site_lookup:
	call locate, b5
	(p7) br.cond.dpnt.few b7
	load r2, S_VPSR
	extr.u r3=r2,PSR_RI_BIT,2
	movl r10=parameters + P_SITES
	movl r11=parameters + P_SITE_COUNT ;;
	ld8 r10=[r10]
	ld8 r11=[r11]
	add r9=r9,r3
	mov r12=0 ;;			// [r12, r11) may hold it
1:	cmp.ltu p6,p7=r12,r11
	add r13=r11,r12 ;;
	(p7) br.cond.dpnt.few b7
	shr.u r13=r13,1 ;;
	shladd r14=r13,4,r10 ;;
	ld8 r15=[r14],8 ;;
	cmp.eq p6,p7=r9,r15
	cmp.ltu p8,p9=r15,r9 ;;
	go_if p6, 2f
	(p8) adds r12=1,r13
	(p9) mov r11=r13
	go 1b
2:	ld8 r4=[r14] ;;
	shr.u r5=r4,48
	extr.u r4=r4,0,41 ;;
	return b7

	.section .data
// the units of each template's slots
	.macro template a, b, c
	data1 UNIT_\a, UNIT_\b, UNIT_\c, 0
	.endm
	.macro reserved_templates
	data4 0, 0
	.endm
templates:
	template M, I, I
	template M, I, I
	template M, I, I
	template M, I, I
	template M, L, X
	template M, L, X
	reserved_templates
	template M, M, I
	template M, M, I
	template M, M, I
	template M, M, I
	template M, F, I
	template M, F, I
	template M, M, F
	template M, M, F
	template M, I, B
	template M, I, B
	template M, B, B
	template M, B, B
	reserved_templates
	template B, B, B
	template B, B, B
	template M, M, B
	template M, M, B
	reserved_templates
	template M, F, B
	template M, F, B
	reserved_templates
	.previous
