// SPDX-License-Identifier: BSD-2-Clause
// What the monitor tells on the simulator's console (SSC 31), and the end (SSC 66). The simulator takes the argument in r32, a
// stacked register: the guest's frame is put aside for that, with a backing store of the monitor's.

SSC_PUTCHAR = 31
SSC_EXIT = 66
SSC_BREAK = 0x80001
STATUS_NOT_EMULATED = 84	// an operation trapped that was not to be emulated
STATUS_BROKEN = 120		// the monitor itself took an interruption

	.text
// Puts the guest's frame aside; r20 to r24 are then to be left alone.
	.macro own_frame
	mov r20=ar.rnat
	mov r21=ar.bspstore
	cover ;;
	mov r22=cr.ifs
	movl r23=backing_store ;;
	mov ar.bspstore=r23 ;;
	mov r24=ar.bsp ;;
	sub r24=r24,r23			// dirty bytes of the guest's
	alloc r31=ar.pfs,0,1,0,0 ;;
	.endm

// And back, going on at (label) in physical mode.
	.macro guest_frame label
	alloc r31=ar.pfs,0,0,0,0 ;;
	shl r24=r24,16 ;;
	mov ar.rsc=r24 ;;		// loadrs
	loadrs ;;
	mov ar.bspstore=r21 ;;
	mov ar.rnat=r20
	mov ar.rsc=0
	movl r31=\label
	mov cr.ipsr=r0
	mov cr.ifs=r22 ;;
	mov cr.iip=r31 ;;
	rfi ;;
	.endm

// Writes the string at (r2), and if r3 is not 0 the (r3) hexadecimal digits of r4. Link b7; clobbers r2, r3, r5, r6, r15, r32.
write:
	ld1 r5=[r2],1
	mov r15=SSC_PUTCHAR ;;
	cmp.eq p6,p7=r0,r5 ;;
	go_if p6, 1f
	mov r32=r5 ;;
	break SSC_BREAK ;;
	go write
1:	cmp.eq p6,p0=r0,r3
	adds r3=-1,r3 ;;
	(p6) br.cond.dpnt.few b7
	shl r5=r3,2 ;;
	shr.u r5=r4,r5 ;;
	and r5=15,r5 ;;
	cmp.gtu p6,p7=10,r5 ;;
	(p6) adds r32='0',r5
	(p7) adds r32='a' - 10,r5 ;;
	break SSC_BREAK ;;
	go 1b

	.macro tell string, digits=0, number=0
	movl r2=\string
	mov r3=\digits
	.if \digits
	load r4, \number
	.endif
	call write, b7
	.endm

// "trap ADDRESS SLOT ISR": an operation trapped and is going to be emulated.
trace_trap:
	call locate, b5
	mov r14=r9
	own_frame
	movl r2=text_trap
	mov r3=16
	mov r4=r14
	call write, b7
	load r4, S_VPSR
	extr.u r4=r4,PSR_RI_BIT,2
	movl r2=text_space
	mov r3=1
	call write, b7
	tell text_space, 16, S_ISR
	tell text_newline
	guest_frame traced

// "interruption VECTOR at ADDRESS isr ISR ifa ADDRESS": the guest takes one.
trace_delivery:
	mov r14=r20 ;;
	store S_VECTOR, r14
	own_frame
	tell text_interruption, 4, S_VECTOR
	tell text_at, 16, S_IIP
	tell text_isr, 16, S_ISR
	tell text_ifa, 16, S_IFA
	tell text_newline
	load r14, S_VECTOR
	guest_frame 1f
1:	mov r20=r14
	go delivery_traced

// Ends with status (r19).
quit:
	own_frame
	mov r32=r19
	mov r15=SSC_EXIT ;;
	break SSC_BREAK ;;
	go quit

// An interruption at a level that is not the guest's.
broken:
	own_frame
	tell text_broken, 4, S_VECTOR
	tell text_at, 16, S_IIP
	tell text_isr, 16, S_ISR
	tell text_ifa, 16, S_IFA
	tell text_newline
	mov r32=STATUS_BROKEN
	mov r15=SSC_EXIT ;;
	break SSC_BREAK ;;
	go broken

	.section .data
text_trap:
	stringz "trap "
text_space:
	stringz " "
text_newline:
	stringz "\n"
text_broken:
	stringz "previrt-ia64-monitor: interruption 0x"
text_interruption:
	stringz "interruption 0x"
text_at:
	stringz " at 0x"
text_isr:
	stringz ", isr 0x"
text_ifa:
	stringz ", ifa 0x"

	.section .bss,"aw",@nobits
	.align 4096
backing_store:
	.skip 4096
	.global vcpu
vcpu:				// one page for the guest to read, and one of the monitor's
	.skip 8192
	.previous
