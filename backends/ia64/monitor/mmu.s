// SPDX-License-Identifier: BSD-2-Clause
// Translation. The guest's own translations (itc, itr) go into the virtual TLBs below; the machine's TLB is filled from them
// on misses, with privilege level 3 and the rights that the guest has at its virtual level, and where the guest runs in
// physical mode, with its memory as it is.
//
// A real region identifier is the guest's (20 bits) and the view: which of psr.it, dt and rt are set, and whether the guest
// runs at level 0. So translations of different views never meet, and a change of view purges nothing. In region 7, where the
// monitor is mapped, only the level makes a difference: there is no physical memory, and the monitor needs translation
// registers for each identifier that the region can have.

VIEW_USER = 8
VIEW_REGION7 = 7
RID_BITS = 20

// r9 = the real region register for region (r8) with view (r10). Link b6; clobbers r11, r12.
real_rr:
	shladd r11=r8,3,r1 ;;
	adds r11=S_RR,r11 ;;
	ld8 r11=[r11]
	cmp.eq p6,p0=7,r8 ;;
	(p6) dep r10=-1,r10,0,3
	extr.u r11=r11,8,RID_BITS
	mov r12=PAGE_BITS << 2 ;;
	shl r11=r11,4 ;;
	or r11=r11,r10 ;;
	shl r11=r11,8 ;;
	or r9=r11,r12 ;;
	return b6

// Sets the region registers for S_VPSR. Link b7; clobbers r2, r3, r8 to r14, b6.
set_view:
	load r2, S_VPSR
	extr.u r10=r2,PSR_IT_BIT,1
	extr.u r11=r2,PSR_DT_BIT,1
	extr.u r12=r2,PSR_RT_BIT,1
	extr.u r13=r2,PSR_CPL_BIT,2
	load r14, S_VIEW
	shladd r10=r11,1,r10
	cmp.ne p7,p0=r0,r13 ;;
	shladd r13=r12,2,r10 ;;
	(p7) adds r13=VIEW_USER,r13 ;;
	cmp.eq p6,p0=r13,r14 ;;
	(p6) br.cond.dptk.few b7
	store S_VIEW, r13
	mov r8=0 ;;
1:	mov r10=r13
	call real_rr, b6
	shl r2=r8,61 ;;
	mov rr[r2]=r9
	adds r8=1,r8 ;;
	cmp.gtu p6,p0=8,r8 ;;
	go_if p6, 1b
	srlz.i ;;
	return b7

// Translation registers for the monitor and the vCPU page under both identifiers of region 7: ITR 0, 1; DTR 0, 1; DTR 2, for
// level 0 alone: the guest's processes see no vCPU page. Link b7; clobbers r2 to r5, r8 to r14, b6.
map_monitor:
	mov r14=0
	mov r8=7 ;;
1:	shl r10=r14,3 ;;		// 0 or VIEW_USER
	call real_rr, b6
	movl r2=MONITOR_VIRTUAL
	mov r3=MONITOR_BITS << 2
	movl r4=MONITOR_PHYSICAL + (PTE_ALL & ~(3 << 7)) ;;
	mov rr[r2]=r9 ;;
	srlz.i ;;
	mov cr.ifa=r2
	mov cr.itir=r3 ;;
	itr.i itr[r14]=r4 ;;
	itr.d dtr[r14]=r4 ;;
	srlz.i
	adds r14=1,r14 ;;
	cmp.eq p6,p7=1,r14
	movl r2=VCPU_VIRTUAL
	mov r3=VCPU_BITS << 2
	movl r4=vcpu + (PTE_ALL & ~(7 << 9)) ;;	// read only
	(p6) mov cr.ifa=r2
	(p6) mov cr.itir=r3
	mov r5=2 ;;
	(p6) itr.d dtr[r5]=r4 ;;
	srlz.i
	go_if p6, 1b
	mov r2=-1 ;;
	store S_VIEW, r2
	return b7

// --- The virtual TLBs ---

// Empties them. Link b7; clobbers r2 to r4.
tlb_reset:
	movl r2=itlb
	movl r3=2 * (TR_COUNT + TC_COUNT)
	mov r4=1 ;;
1:	st8 [r2]=r4,8 ;;		// E_ADDRESS 1 and E_MASK 0 match no address
	st8 [r2]=r0,E_SIZE - 8
	adds r3=-1,r3 ;;
	cmp.ne p6,p0=r0,r3 ;;
	go_if p6, 1b
	return b7

// r9 = the entry of the TLB at (r10) that translates address (r8), p6 if there is one. Link b6; clobbers r21 to r26.
tlb_lookup:
	shr.u r21=r8,61 ;;
	shladd r21=r21,3,r1 ;;
	adds r21=S_RR,r21 ;;
	ld8 r21=[r21]
	mov r9=r10
	mov r22=TR_COUNT + TC_COUNT ;;
	extr.u r21=r21,8,24 ;;
1:	adds r23=E_MASK,r9
	adds r24=E_RID,r9
	ld8 r25=[r9] ;;
	ld8 r23=[r23]
	ld8 r24=[r24]
	adds r22=-1,r22 ;;
	and r26=r23,r8
	cmp.eq p6,p7=r21,r24 ;;
	(p6) cmp.eq p6,p7=r25,r26 ;;
	(p6) br.cond.dpnt.few b6
	cmp.ne p8,p0=r0,r22
	adds r9=E_SIZE,r9 ;;
	go_if p8, 1b
	cmp.ne p6,p7=r0,r0 ;;
	return b6

// Removes what overlaps the (r12) bits of address (r8) from the (r11) entries at (r10). r14 becomes 1 if there was any.
// Link b6; clobbers r10, r11, r21 to r27.
tlb_purge:
	shr.u r21=r8,61
	mov r22=-1 ;;
	shl r22=r22,r12
	shladd r21=r21,3,r1 ;;
	adds r21=S_RR,r21 ;;
	ld8 r21=[r21] ;;
	extr.u r21=r21,8,24 ;;
1:	adds r23=E_MASK,r10
	adds r24=E_RID,r10
	ld8 r25=[r10] ;;
	ld8 r23=[r23]
	ld8 r24=[r24]
	xor r25=r25,r8 ;;
	cmp.ne p6,p0=r0,r23		// in use
	and r25=r25,r23 ;;
	and r25=r25,r22
	(p6) cmp.eq.unc p6,p0=r21,r24 ;;
	(p6) cmp.eq.unc p6,p0=r0,r25
	adds r26=E_MASK,r10
	mov r27=1 ;;
	(p6) st8 [r10]=r27
	(p6) st8 [r26]=r0
	(p6) mov r14=1
	adds r11=-1,r11
	adds r10=E_SIZE,r10 ;;
	cmp.ne p6,p0=r0,r11 ;;
	go_if p6, 1b
	return b6

// Puts the translation (r9) of the guest's cr.ifa and cr.itir into the entry (r10). Link b6; clobbers r21 to r25.
tlb_put:
	load r21, V_CR + CR_IFA * 8
	load r22, V_CR + CR_ITIR * 8
	shr.u r23=r21,61
	mov r24=-1
	extr.u r25=r22,2,6 ;;
	shladd r23=r23,3,r1
	shl r24=r24,r25 ;;
	adds r23=S_RR,r23
	and r21=r21,r24 ;;
	ld8 r23=[r23]
	st8 [r10]=r21,8 ;;
	st8 [r10]=r24,8			// E_MASK
	extr.u r23=r23,8,24 ;;
	st8 [r10]=r23,8 ;;		// E_RID
	st8 [r10]=r9,8 ;;		// E_PTE
	st8 [r10]=r22 ;;		// E_ITIR
	return b6

// r9 = the physical address that the entry (r9) translates address (r8) to. Link b6; clobbers r21, r22.
tlb_physical:
	adds r21=E_MASK,r9
	adds r22=E_PTE,r9 ;;
	ld8 r21=[r21]
	ld8 r22=[r22] ;;
	dep r22=0,r22,50,14
	andcm r9=r8,r21 ;;
	dep r22=0,r22,0,12 ;;
	and r22=r22,r21 ;;
	or r9=r9,r22 ;;
	return b6

// --- Misses of the machine's TLB ---

miss_data:
	load r8, S_IFA
	load r2, S_VPSR
	load r3, S_ISR
	tbit.nz p6,p7=r3,ISR_RS_BIT ;;
	(p6) tbit.nz p8,p9=r2,PSR_RT_BIT
	(p7) tbit.nz p8,p9=r2,PSR_DT_BIT ;;
	movl r10=dtlb
	mov r15=1			// data
	go_if p8, translate
	go physical

miss_instruction:
	load r8, S_IFA
	load r2, S_VPSR
	movl r10=itlb
	mov r15=0 ;;
	tbit.nz p8,p9=r2,PSR_IT_BIT ;;
	go_if p8, translate

// Physical addresses: bit 63 asks for uncached memory.
physical:
	dep r9=0,r8,63,1
	tbit.nz p6,p7=r8,63
	movl r11=PTE_ALL ;;
	(p6) adds r11=PTE_UNCACHED,r11
	mov r12=PAGE_BITS
	go insert

translate:
	call tlb_lookup, b6
	go_if p7, miss_of_guest
	adds r11=E_PTE,r9
	adds r12=E_ITIR,r9 ;;
	ld8 r11=[r11]
	ld8 r12=[r12]
	call tlb_physical, b6
	extr.u r12=r12,2,6 ;;
	cmp.ltu p6,p0=PAGE_BITS,r12 ;;
	(p6) mov r12=PAGE_BITS
	// what the guest may do at its level, and as one that runs at level 3
	load r2, S_VPSR
	extr.u r3=r2,PSR_CPL_BIT,2
	extr.u r4=r11,9,3
	extr.u r5=r11,7,2 ;;
	cmp.ne p6,p7=r0,r3
	movl r13=0x12323210		// of access rights 7 to 0 at level 0
	movl r14=0x13103210		// at level 3, of a page of level 3
	shladd r4=r4,2,r0 ;;
	(p6) mov r13=r14
	(p6) cmp.ne.unc p8,p0=3,r5
	movl r14=~((0x3fffffffff << 12 | 7 << 9 | 3 << 7)) ;;
	and r11=r11,r14			// without address, rights, level
	shr.u r13=r13,r4
	mov r5=3 ;;
	and r13=7,r13
	(p8) mov r5=0 ;;
	dep r11=r13,r11,9,3 ;;
	dep r11=r5,r11,7,2 ;;

// Inserts a translation of the 2^r12 bytes at address (r8) to physical address (r9), with what else is in a translation in r11;
// data if r15 is 1.
insert:
	movl r2=parameters + P_MEMORY_END
	mov r3=-1 ;;
	ld8 r2=[r2]
	shl r3=r3,r12 ;;
	and r9=r9,r3 ;;
	cmp.gtu p6,p7=r2,r9 ;;
	go_if p7, no_memory
	or r11=r11,r9
	shl r12=r12,2
	cmp.eq p6,p7=1,r15 ;;
	mov cr.ifa=r8
	mov cr.itir=r12 ;;
	(p6) itc.d r11 ;;
	(p7) itc.i r11 ;;
	srlz.i ;;
	go resume

// Where the guest has no memory: an unimplemented address (General Exception, reserved).
no_memory:
	mov r9=GE_RESERVED
	go inject_general

// The guest has no translation either: its own miss, with r8 the address.
miss_of_guest:
	store S_IFA, r8
	load r2, V_CR + CR_PTA * 8
	shr.u r3=r8,61 ;;
	shladd r3=r3,3,r1 ;;
	adds r3=S_RR,r3 ;;
	ld8 r3=[r3] ;;
	and r2=r2,r3
	cmp.eq p8,p9=1,r15
	load r4, S_VPSR
	tbit.nz p6,p7=r2,0		// the region's and the table's walker are enabled: the walker found nothing
	mov r20=VECTOR_ALT_ITLB ;;
	(p8) movl r20=VECTOR_ALT_DTLB
	tbit.z p10,p0=r4,PSR_IC_BIT ;;
	(p6) adds r20=VECTOR_ITLB - VECTOR_ALT_ITLB,r20 ;;
	(p8) tbit.z.unc p10,p0=r4,PSR_IC_BIT
	mov r2=1 ;;
	(p10) movl r20=VECTOR_NESTED
	store S_HASIFA, r2
	go inject

// --- Hashes: the machine's own, under the guest's registers ---

// r9 = thash (r15 = 0) or ttag (r15 = 1) of address (r8). Link b6; clobbers r21 to r25.
hash:
	shr.u r21=r8,61
	load r22, V_CR + CR_PTA * 8
	shladd r21=r21,3,r1 ;;
	adds r21=S_RR,r21
	dep r22=0,r22,0,1 ;;		// the walker stays off
	ld8 r21=[r21] ;;
	dep r21=0,r21,0,1
	mov r24=rr[r8]
	cmp.eq p6,p7=1,r15 ;;
	mov rr[r8]=r21
	mov cr.pta=r22 ;;
	srlz.i ;;
	(p6) ttag r9=r8
	(p7) thash r9=r8
	mov r25=15 << 2 ;;
	mov rr[r8]=r24
	mov cr.pta=r25 ;;
	srlz.i ;;
	return b6

	.section .bss,"aw",@nobits
	.align 64
itlb:
	.skip (TR_COUNT + TC_COUNT) * E_SIZE
dtlb:
	.skip (TR_COUNT + TC_COUNT) * E_SIZE
	.previous
