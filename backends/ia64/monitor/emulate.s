// SPDX-License-Identifier: BSD-2-Clause
// Emulation of one operation: r4 is the instruction, r5 the unit of its slot. Its predicate was true, or it would not have been
// executed. The opcode fields are those of SDM 3, 4 (formats M28 to M48, B8).
//
// In the functions below, r16, r17, r18 are the numbers in the fields r1, r2, r3.

	.text
emulate:
	extr.u r16=r4,6,7
	extr.u r17=r4,13,7
	extr.u r18=r4,20,7
	extr.u r6=r4,27,6
	extr.u r7=r4,37,4
	extr.u r8=r4,33,3 ;;
	cmp.eq p6,p7=UNIT_M,r5
	cmp.eq p8,p9=UNIT_B,r5
	movl r9=emulate_b ;;
	(p8) cmp.eq.unc p8,p0=r0,r7
	(p6) cmp.eq.unc p10,p0=r0,r7
	(p6) cmp.eq.unc p11,p0=1,r7
	cmp.ne p12,p0=r0,r8 ;;
	(p12) cmp.ne p10,p0=r0,r0
	(p12) cmp.ne p11,p0=r0,r0 ;;
	(p11) movl r9=emulate_m ;;
	shladd r6=r6,4,r9
	go_if p10, emulate_m0
	.pred.rel "mutex",p8,p11
	(p11) mov b6=r6
	(p8) mov b6=r6 ;;
	(p11) br.cond.dptk.few b6
	(p8) br.cond.dptk.few b6
illegal:
	mov r9=0
	go inject_general

	.macro entries count, label
	.rept \count
	{ .mib
	nop.m 0
	nop.i 0
	br.cond.sptk.few \label ;;
	}
	.endr
	.endm

emulate_m:			// major opcode 1, x3 0, by x6
	entries 1, to_rr	// 0x00
	entries 1, to_dbr
	entries 1, to_ibr
	entries 1, to_pkr
	entries 1, to_pmc
	entries 1, to_pmd
	entries 3, illegal	// 0x06: msr
	entries 3, ptc
	entries 1, ptr_d
	entries 1, ptr_i
	entries 1, itr_d
	entries 1, itr_i
	entries 1, from_rr	// 0x10
	entries 1, from_dbr
	entries 1, from_ibr
	entries 1, from_pkr
	entries 1, from_pmc
	entries 1, from_pmd
	entries 1, illegal	// 0x16: msr
	entries 1, from_cpuid
	entries 2, probe_immediate
	entries 1, thash
	entries 1, ttag
	entries 2, illegal
	entries 1, tpa
	entries 1, tak
	entries 1, illegal	// 0x20
	entries 1, from_um
	entries 1, from_ar
	entries 1, illegal
	entries 1, from_cr
	entries 1, from_psr
	entries 3, illegal
	entries 1, to_um	// 0x29
	entries 1, to_ar
	entries 1, illegal
	entries 1, to_cr
	entries 1, to_psr
	entries 1, itc_d
	entries 1, itc_i
	entries 1, illegal	// 0x30
	entries 3, probe_fault
	entries 1, ptc_e
	entries 3, illegal
	entries 2, probe_register // 0x38
	entries 6, illegal

emulate_b:			// major opcode 0, by x6
	entries 2, illegal
	entries 1, cover_
	entries 5, illegal
	entries 1, rfi_		// 0x08
	entries 3, illegal
	entries 1, bsw_		// 0x0c
	entries 1, bsw_
	entries 2, illegal
	entries 1, epc_		// 0x10
	entries 47, illegal

// --- What the functions share ---

// Goes to (p6 false) unless the guest believes itself at level 0. Clobbers r2, r3.
	.macro privileged label=not_privileged
	load r2, S_VPSR
	extr.u r3=r2,PSR_CPL_BIT,2 ;;
	cmp.ne p6,p0=r0,r3
	go_if p6, \label
	.endm

// r9 = register (field); NaT consumption if it is a NaT.
	.macro value field
	mov r8=\field
	call get_gr, b7
	go_if p15, consumption
	.endm

not_privileged:
	mov r9=GE_PRIVILEGED_OP
	go inject_general
not_privileged_register:
	mov r9=GE_PRIVILEGED_REG
	go inject_general
reserved:
	mov r9=GE_RESERVED
	go inject_general
consumption:
	mov r9=0x10 ;;			// Register NaT Consumption
	store S_ISR, r9
	movl r20=VECTOR_NAT
	go inject

// Register r1 = r9, and on.
result:
	mov r8=r16
	call set_gr, b7
// On to the next instruction.
advance:
	load r2, S_VPSR
	load r3, S_IIP
	movl r4=PSR_ID | PSR_DA | PSR_DD | PSR_ED ;;
	store S_IIPA, r3
	extr.u r5=r2,PSR_RI_BIT,2
	andcm r2=r2,r4 ;;
	cmp.eq p6,p0=2,r5
	adds r5=1,r5 ;;
	(p6) adds r3=16,r3
	(p6) mov r5=0 ;;
	dep r2=r5,r2,PSR_RI_BIT,2
	store S_IIP, r3
	store S_VPSR, r2
	go resume

// --- psr ---

emulate_m0:			// major opcode 0, x3 0
	extr.u r6=r4,27,4
	extr.u r7=r4,31,2
	extr.u r9=r4,36,1
	extr.u r10=r4,6,21
	mov r11=2
	mov r12=8 ;;
	shl r9=r9,23
	shl r13=r7,21
	cmp.eq p6,p7=r12,r6
	cmp.gtu p8,p0=4,r6 ;;
	or r10=r10,r9
	(p6) cmp.eq.unc p6,p0=r11,r7
	(p7) cmp.ltu p8,p0=7,r6
	cmp.gtu p9,p0=6,r6 ;;		// sum, rum
	go_if p6, to_ar_immediate
	go_if p8, illegal
	or r10=r10,r13
	tbit.nz p10,p11=r6,0 ;;		// rum, rsm
	go_if p9, 1f
	privileged
	go 2f
1:	load r2, S_VPSR
	call um_mask, b7
	and r10=r10,r3 ;;
2:	.pred.rel "mutex",p10,p11
	(p10) andcm r2=r2,r10
	(p11) or r2=r2,r10 ;;
	store S_VPSR, r2
	go advance

// r3 = the bits of the user mask that its owner may change with psr (r2). Link b7; clobbers p6.
um_mask:
	tbit.nz p6,p0=r2,PSR_SP_BIT
	mov r3=PSR_UM ;;
	(p6) mov r3=PSR_UM & ~PSR_UP
	return b7

to_um:
	value r17
	load r2, S_VPSR
	call um_mask, b7
	and r9=r9,r3
	andcm r2=r2,r3 ;;
	or r2=r2,r9 ;;
	store S_VPSR, r2
	go advance

from_um:
	load r9, S_VPSR
	mov r2=PSR_UM ;;
	and r9=r9,r2
	go result

to_psr:
	privileged
	value r17
	load r2, S_VPSR
	dep r2=0,r2,0,32
	zxt4 r9=r9 ;;
	or r9=r9,r2 ;;
	store S_VPSR, r9
	go advance

from_psr:
	privileged
	load r9, S_VPSR
	movl r2=0x18ffffffff ;;
	and r9=r9,r2
	go result

bsw_:
	privileged
	tbit.nz p6,p7=r4,27		// bsw.1
	extr.u r3=r2,PSR_BN_BIT,1
	mov r5=0 ;;
	(p6) mov r5=1 ;;
	cmp.eq p6,p0=r3,r5
	dep r2=r5,r2,PSR_BN_BIT,1 ;;
	go_if p6, advance
	store S_VPSR, r2
	call swap_banks, b6
	go advance

rfi_:
	privileged
	load r3, V_CR + CR_IPSR * 8
	load r5, V_CR + CR_IIP * 8
	load r6, V_CR + CR_IFS * 8
	dep r3=0,r3,34,1		// no IA-32 code
	dep r5=0,r5,0,4
	cmp.gt p6,p0=r0,r6 ;;		// cr.ifs.v
	xor r7=r2,r3 ;;
	(p6) dep r6=0,r6,38,25 ;;
	store S_VPSR, r3
	store S_IIP, r5
	tbit.nz p7,p8=r7,PSR_BN_BIT
	(p6) adds r5=S_IFS,r1 ;;
	(p6) st8 [r5]=r6
	go_if p8, resume
	call swap_banks, b6
	go resume

// The machine's psr.ic is 0 here, so that it puts the frame into the machine's cr.ifs.
cover_:
	cover ;;
	mov r2=cr.ifs
	load r3, S_VPSR
	tbit.z p6,p0=r3,PSR_IC_BIT
	adds r3=V_CR + CR_IFS * 8,r1 ;;
	(p6) st8 [r3]=r2
	go advance

epc_:
	load r2, S_VPSR
	mov r3=ar.pfs
	extr.u r5=r2,PSR_CPL_BIT,2 ;;
	extr.u r3=r3,62,2
	tbit.z p8,p9=r2,PSR_IT_BIT
	movl r10=itlb
	load r8, S_IIP
	cmp.ltu p6,p0=r3,r5
	mov r3=0 ;;
	go_if p6, illegal
	go_if p8, 1f
	call tlb_lookup, b6
	go_if p7, advance
	adds r9=E_PTE,r9 ;;
	ld8 r9=[r9] ;;
	extr.u r3=r9,7,2
	extr.u r9=r9,9,3 ;;
	cmp.ne p6,p0=7,r9
	cmp.geu p7,p0=r3,r5
	go_if p6, advance
	go_if p7, advance
1:	load r2, S_VPSR
	dep r2=r3,r2,PSR_CPL_BIT,2 ;;
	store S_VPSR, r2
	go advance

// --- Control registers ---

CR_READ = 1
CR_WRITE = 2
CR_INTERRUPTION = 4		// not with psr.ic

// Illegal unless the control register r18 may be accessed in the way (bit).
	.macro check_cr bit
	load r2, S_VPSR
	movl r3=control_registers ;;
	add r3=r3,r18 ;;
	ld1 r3=[r3] ;;
	tbit.z p6,p7=r3,\bit
	tbit.nz p8,p0=r3,2 ;;
	(p8) tbit.nz.unc p8,p0=r2,PSR_IC_BIT
	go_if p6, illegal
	go_if p8, illegal
	.endm

from_cr:
	check_cr 0
	privileged
	mov r2=CR_IVR
	mov r3=CR_ITIR ;;
	cmp.eq p6,p0=r2,r18
	cmp.eq p8,p0=r3,r18
	shladd r3=r18,3,r1 ;;
	adds r3=V_CR,r3 ;;
	ld8 r9=[r3]
	go_if p6, 1f
	(p8) dep r9=0,r9,0,2 ;;
	(p8) zxt4 r9=r9
	go result
1:	call interrupt_first, b7	// the vector, which is now in service
	mov r9=SPURIOUS
	go_if p7, result
	mov r9=r14
	extr.u r2=r14,6,2
	extr.u r3=r14,0,6
	mov r5=1 ;;
	shl r5=r5,r3
	shladd r2=r2,3,r1 ;;
	adds r3=V_CR + CR_IRR0 * 8,r2
	adds r2=S_INSERVICE,r2 ;;
	ld8 r6=[r3]
	ld8 r7=[r2] ;;
	andcm r6=r6,r5
	or r7=r7,r5 ;;
	st8 [r3]=r6
	st8 [r2]=r7
	go result

to_cr:
	check_cr 1
	privileged
	value r17
	shladd r3=r18,3,r1
	mov r2=CR_EOI ;;
	adds r3=V_CR,r3
	cmp.eq p6,p0=r2,r18
	mov r2=CR_ITM ;;
	go_if p6, end_of_interrupt
	cmp.eq p7,p0=r2,r18
	mov r2=CR_IVA ;;
	cmp.eq p8,p0=r2,r18
	mov r2=CR_TPR ;;
	cmp.eq p9,p0=r2,r18
	mov r2=CR_IHA ;;
	cmp.eq p10,p0=r2,r18
	mov r2=CR_ITV
	mov r5=80 ;;
	cmp.leu p11,p0=r2,r18		// itv, pmv, cmcv, lrr0, lrr1
	.pred.rel "mutex",p8,p9,p10,p11
	(p8) dep r9=0,r9,0,15
	(p10) dep r9=0,r9,0,2
	movl r2=0x100f0
	movl r5=0x1efff ;;
	.pred.rel "mutex",p9,p11
	(p9) and r9=r9,r2
	(p11) and r9=r9,r5 ;;
	st8 [r3]=r9
	(p7) br.cond.dpnt.few set_timer
	go advance

end_of_interrupt:
	adds r10=S_INSERVICE,r1
	call first_of, b5
	cmp.gt p6,p0=r0,r8
	extr.u r2=r8,6,2
	extr.u r3=r8,0,6
	mov r5=1
	go_if p6, advance
	shl r5=r5,r3
	shladd r2=r2,3,r1 ;;
	adds r2=S_INSERVICE,r2 ;;
	ld8 r7=[r2] ;;
	andcm r7=r7,r5 ;;
	st8 [r2]=r7
	go advance

// The machine's timer matches when the guest's does.
set_timer:
	load r2, V_CR + CR_ITM * 8
	load r3, S_ITC
	sub r2=r2,r3 ;;
	mov cr.itm=r2 ;;
	srlz.d
	go advance

// --- Application registers ---

AR_RSC = 16
AR_ITC = 44
AR_RUC = 45

to_ar_immediate:
	extr.u r9=r4,13,7
	extr.u r2=r4,36,1 ;;
	dep r9=r2,r9,7,1 ;;
	sxt1 r9=r9
	go 1f
to_ar:
	value r17
1:	cmp.gtu p6,p0=8,r18
	cmp.eq p7,p0=AR_RSC,r18
	cmp.eq p8,p0=AR_ITC,r18
	cmp.eq p9,p0=AR_RUC,r18
	load r2, S_VPSR
	extr.u r3=r2,PSR_CPL_BIT,2
	go_if p7, to_rsc
	cmp.ne p10,p0=r0,r3
	shladd r3=r18,3,r1 ;;
	adds r3=V_KR,r3
	go_if p10, not_privileged_register
	(p6) st8 [r3]=r9
	mov r2=ar.itc
	go_if p6, advance
	sub r9=r9,r2 ;;
	.pred.rel "mutex",p8,p9
	(p8) adds r3=S_ITC,r1
	(p9) adds r3=S_RUC,r1 ;;
	(p8) st8 [r3]=r9
	(p9) st8 [r3]=r9
	go_if p8, set_timer
	go_if p9, advance
	go illegal

// The level in the machine's ar.rsc is 3; the guest sees the one that it asked for, as far as it may.
to_rsc:
	extr.u r5=r9,2,2
	dep r9=-1,r9,2,2 ;;
	cmp.ltu p6,p0=r5,r3
	store S_RSC, r9
	(p6) mov r5=r3 ;;
	store S_RSCPL, r5
	go advance

from_ar:
	cmp.gtu p6,p0=8,r18
	cmp.eq p7,p0=AR_RSC,r18
	cmp.eq p8,p0=AR_ITC,r18
	cmp.eq p9,p0=AR_RUC,r18
	shladd r3=r18,3,r1 ;;
	adds r3=V_KR,r3
	adds r2=S_ITC,r1 ;;
	(p6) ld8 r9=[r3]
	(p9) adds r2=S_RUC,r1
	go_if p6, result
	go_if p7, from_rsc
	ld8 r2=[r2]
	mov r9=ar.itc ;;
	add r9=r9,r2
	go_if p8, result
	go_if p9, result
	go illegal
from_rsc:
	load r9, S_RSC
	load r2, S_RSCPL
	dep r9=r2,r9,2,2
	go result

// --- Register files reached through a general register ---

	.macro register_file name, offset, count
to_\name:
	privileged
	value r17
	mov r19=r9
	value r18
	zxt1 r9=r9
	mov r2=\count ;;
	cmp.leu p6,p0=r2,r9
	shladd r9=r9,3,r1
	go_if p6, reserved
	adds r9=\offset,r9 ;;
	st8 [r9]=r19
	go advance
	.endm

	.macro read_file name, offset, count
from_\name:
	privileged
	value r18
	zxt1 r9=r9
	mov r2=\count ;;
	cmp.leu p6,p0=r2,r9
	shladd r9=r9,3,r1
	go_if p6, reserved
	adds r9=\offset,r9 ;;
	ld8 r9=[r9]
	go result
	.endm

	register_file dbr, S_DBR, REGISTERS_DEBUG
	read_file dbr, S_DBR, REGISTERS_DEBUG
	register_file ibr, S_IBR, REGISTERS_DEBUG
	read_file ibr, S_IBR, REGISTERS_DEBUG
	register_file pkr, S_PKR, REGISTERS_PKR
	read_file pkr, S_PKR, REGISTERS_PKR
	register_file pmc, S_PMC, REGISTERS_PM
	read_file pmc, S_PMC, REGISTERS_PM
	register_file pmd, S_PMD, REGISTERS_PM

from_pmd:			// zero at other levels if psr.sp says so
	value r18
	load r2, S_VPSR
	zxt1 r9=r9
	mov r3=REGISTERS_PM
	extr.u r5=r2,PSR_CPL_BIT,2 ;;
	cmp.leu p6,p0=r3,r9
	shladd r9=r9,3,r1
	cmp.ne p8,p0=r0,r5
	go_if p6, reserved
	adds r9=S_PMD,r9
	(p8) tbit.nz.unc p8,p0=r2,PSR_SP_BIT ;;
	ld8 r9=[r9] ;;
	(p8) mov r9=0
	go result

from_cpuid:
	value r18
	zxt1 r9=r9
	mov r2=3 ;;
	mov r2=cpuid[r2] ;;
	zxt1 r2=r2 ;;
	cmp.ltu p6,p0=r2,r9
	go_if p6, reserved
	mov r9=cpuid[r9]
	go result

to_rr:
	privileged
	value r17
	mov r19=r9
	value r18
	shr.u r9=r9,61
	mov r2=-1 ;;
	shladd r3=r9,3,r1
	cmp.eq p6,p0=7,r9 ;;
	adds r3=S_RR,r3 ;;
	st8 [r3]=r19
	store S_VIEW, r2
	go_if p6, 1f
	go advance
1:	call map_monitor, b7
	go advance

from_rr:
	privileged
	value r18
	shr.u r9=r9,61 ;;
	shladd r9=r9,3,r1 ;;
	adds r9=S_RR,r9 ;;
	ld8 r9=[r9]
	go result

// --- Translation ---

// r9 = the translation to be inserted; illegal with psr.ic.
	.macro insertion
	privileged
	tbit.nz p6,p0=r2,PSR_IC_BIT
	go_if p6, illegal
	value r17
	load r8, V_CR + CR_IFA * 8
	load r12, V_CR + CR_ITIR * 8
	extr.u r12=r12,2,6
	mov r14=0 ;;
	.endm

itc_d:
	insertion
	movl r19=dtlb + TR_COUNT * E_SIZE
	adds r15=S_NEXT_D,r1
	go 1f
itc_i:
	insertion
	movl r19=itlb + TR_COUNT * E_SIZE
	adds r15=S_NEXT_I,r1 ;;
1:	mov r10=r19
	mov r11=TC_COUNT
	call tlb_purge, b6
	ld8 r2=[r15] ;;
	shl r10=r2,E_SHIFT
	adds r2=1,r2 ;;
	add r10=r19,r10
	and r2=TC_COUNT - 1,r2 ;;
	st8 [r15]=r2
	adds r3=E_MASK,r10 ;;
	ld8 r3=[r3] ;;
	cmp.ne p6,p0=r0,r3 ;;		// one that is in use makes room
	(p6) mov r14=1
	call tlb_put, b6
	cmp.eq p6,p0=r0,r14
	go_if p6, advance
	store S_FLUSH, r14
	go advance

itr_d:
	insertion
	movl r19=dtlb
	go 1f
itr_i:
	insertion
	movl r19=itlb ;;
1:	movl r10=TR_COUNT * E_SIZE
	mov r15=r9
	mov r11=TC_COUNT ;;
	add r10=r10,r19
	call tlb_purge, b6
	value r18
	zxt1 r10=r9
	mov r2=TR_COUNT ;;
	cmp.leu p6,p0=r2,r10
	go_if p6, reserved
	shl r10=r10,E_SHIFT ;;
	add r10=r10,r19
	mov r9=r15
	call tlb_put, b6
	mov r2=1 ;;
	store S_FLUSH, r2
	go advance

// r8 = address, r12 = bits of the range to be purged
	.macro range
	privileged
	value r17
	extr.u r12=r9,2,6 ;;
	mov r19=r12
	value r18
	mov r8=r9
	mov r12=r19 ;;
	.endm

ptc:
	range
	movl r10=itlb + TR_COUNT * E_SIZE
	mov r11=TC_COUNT
	call tlb_purge, b6
	movl r10=dtlb + TR_COUNT * E_SIZE
	mov r11=TC_COUNT
	call tlb_purge, b6
	go purged
ptr_d:
	range
	movl r10=dtlb
	mov r11=TR_COUNT + TC_COUNT
	call tlb_purge, b6
	go purged
ptr_i:
	range
	movl r10=itlb
	mov r11=TR_COUNT + TC_COUNT
	call tlb_purge, b6
	go purged
ptc_e:
	privileged
	movl r10=itlb + TR_COUNT * E_SIZE
	movl r11=dtlb + TR_COUNT * E_SIZE
	mov r12=TC_COUNT
	mov r13=1 ;;
1:	st8 [r10]=r13,8
	st8 [r11]=r13,8
	adds r12=-1,r12 ;;
	st8 [r10]=r0,E_SIZE - 8
	st8 [r11]=r0,E_SIZE - 8
	cmp.ne p6,p0=r0,r12 ;;
	go_if p6, 1b
purged:
	mov r2=1 ;;
	store S_FLUSH, r2
	go advance

thash:
	value r18
	mov r15=0
	mov r8=r9
	call hash, b6
	go result
ttag:
	value r18
	mov r15=1
	mov r8=r9
	call hash, b6
	go result

// A non-access fault of address (r8) with ISR bits (r19): no translation ...
missing:
	store S_ISR, r19
	mov r15=1
	go miss_of_guest
// ... or vector (r20)
non_access:
	store S_ISR, r19
	store S_IFA, r8
	mov r2=1 ;;
	store S_HASIFA, r2
	go inject

// r9 = the entry for address (r9), r8 the address, r10 its translation. ISR bits in r19.
	.macro data_entry
	mov r8=r9
	movl r10=dtlb ;;
	call tlb_lookup, b6
	go_if p7, missing
	adds r10=E_PTE,r9 ;;
	ld8 r10=[r10]
	movl r20=VECTOR_NOT_PRESENT ;;
	.endm

tpa:
	privileged
	value r18
	movl r19=1 << ISR_NA_BIT | NA_TPA
	data_entry
	tbit.z p6,p0=r10,0
	go_if p6, non_access
	call tlb_physical, b6
	go result

tak:
	privileged
	value r18
	movl r10=dtlb
	mov r8=r9 ;;
	call tlb_lookup, b6
	mov r3=r9
	mov r9=1
	go_if p7, result
	adds r2=E_PTE,r3
	adds r3=E_ITIR,r3 ;;
	ld8 r2=[r2]
	ld8 r3=[r3] ;;
	tbit.z p6,p0=r2,0
	dep r3=0,r3,0,8
	go_if p6, result
	zxt4 r9=r3
	go result

// Whether level (r5) may access as (r6 bit 0: read, bit 1: write) by the translation (r10): p6. Link b6; clobbers r2, r3, r11
rights:
	extr.u r2=r10,9,3
	extr.u r3=r10,7,2
	tbit.nz p8,p9=r6,1
	mov r11=4 ;;
	cmp.leu p6,p7=r5,r3
	cmp.eq p10,p0=7,r2 ;;
	(p7) br.cond.dpnt.few b6
	(p10) cmp.eq p6,p7=r0,r5	// execute only, with promotion: read by level 0
	(p9) br.cond.dptk.few b6
	cmp.gtu p10,p0=2,r2 ;;		// 0, 1, 7: no writes
	(p10) cmp.ne p6,p7=r0,r0
	cmp.eq p10,p0=7,r2 ;;
	(p10) cmp.ne p6,p7=r0,r0
	cmp.eq p10,p0=4,r2		// not at the page's own level, but level 0
	cmp.eq p11,p0=5,r2 ;;		// level 0
	.pred.rel "mutex",p10,p11
	(p10) cmp.ltu p6,p7=r5,r3
	(p11) cmp.eq p6,p7=r0,r5
	cmp.eq p8,p0=r0,r5 ;;
	(p10) cmp.eq.unc p10,p0=r0,r5 ;;
	(p10) cmp.eq p6,p7=r0,r0 ;;
	return b6

// r5 = the level of a probe: not more privileged than the guest's own. Of (r5); clobbers r2, r3.
	.macro level
	load r2, S_VPSR
	extr.u r3=r2,PSR_CPL_BIT,2 ;;
	cmp.ltu p6,p0=r5,r3 ;;
	(p6) mov r5=r3 ;;
	.endm

probe_immediate:
	extr.u r5=r4,13,2
	go 1f
probe_register:
	value r17
	extr.u r5=r9,0,2 ;;
1:	level
	tbit.nz p8,p9=r4,27		// write
	movl r19=1 << ISR_NA_BIT | NA_PROBE ;;
	(p8) mov r6=2
	(p9) mov r6=1
	(p8) dep r19=-1,r19,ISR_W_BIT,1
	(p9) dep r19=-1,r19,ISR_R_BIT,1
	value r18
	data_entry
	tbit.z p6,p0=r10,0
	go_if p6, non_access
	call rights, b6
	mov r9=0 ;;
	(p6) mov r9=1
	go result

probe_fault:			// x6 0x31 rw, 0x32 r, 0x33 w
	extr.u r5=r4,13,2 ;;
	level
	tbit.z p6,p7=r2,PSR_DT_BIT
	extr.u r6=r4,27,2
	movl r19=1 << ISR_NA_BIT | NA_PROBE_FAULT ;;
	cmp.eq p8,p0=1,r6
	cmp.eq p9,p0=2,r6
	cmp.eq p10,p0=3,r6
	go_if p6, advance		// physical addresses have no rights
	.pred.rel "mutex",p8,p9,p10
	(p8) mov r6=3
	(p9) mov r6=1
	(p10) mov r6=2 ;;
	tbit.nz p8,p0=r6,0
	tbit.nz p9,p0=r6,1 ;;
	(p8) dep r19=-1,r19,ISR_R_BIT,1 ;;
	(p9) dep r19=-1,r19,ISR_W_BIT,1
	value r18
	data_entry
	tbit.z p6,p0=r10,0
	go_if p6, non_access
	call rights, b6
	movl r20=VECTOR_ACCESS_RIGHTS
	tbit.nz p9,p0=r6,1
	go_if p7, non_access
	movl r20=0x2000			// Dirty bit
	(p9) tbit.z.unc p9,p0=r10,6
	tbit.z p8,p0=r10,5 ;;
	go_if p9, non_access
	movl r20=0x2800			// Data access bit
	go_if p8, non_access
	go advance

	.section .data
// CR_READ, CR_WRITE, CR_INTERRUPTION of each
control_registers:
	data1 3, 3, 3, 0, 0, 0, 0, 0		// dcr, itm, iva
	data1 3, 0, 0, 0, 0, 0, 0, 0		// pta
	data1 7, 7, 0, 7, 7, 7, 7, 7		// ipsr, isr, -, iip, ifa, itir, iipa, ifs
	data1 7, 7, 0, 0, 0, 0, 0, 0		// iim, iha
	.skip 32
	data1 3, 1, 3, 3, 1, 1, 1, 1		// lid, ivr, tpr, eoi, irr0 to irr3
	data1 3, 3, 3, 0, 0, 0, 0, 0		// itv, pmv, cmcv
	data1 3, 3, 0, 0, 0, 0, 0, 0		// lrr0, lrr1
	.skip 40
	.previous
