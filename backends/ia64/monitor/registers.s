// SPDX-License-Identifier: BSD-2-Clause
// Access to the guest's general registers by number.

// r9, p15 = value and NaT of register (r8). Link b7; clobbers r10, r11, b6.
get_gr:
	cmp.gtu p6,p7=32,r8 ;;
	go_if p7, 1f
	shladd r10=r8,3,r1
	load r11, S_GRNAT
	adds r10=S_GR,r10
	shr.u r11=r11,r8 ;;
	ld8 r9=[r10]
	tbit.nz p15,p0=r11,0 ;;
	return b7
1:	movl r10=get_stacked - 32 * 16 ;;
	shladd r10=r8,4,r10 ;;
	mov b6=r10 ;;
	return b6
get_stacked:
	.irp tens,3,4,5,6,7,8,9,10,11,12
	.irp ones,0,1,2,3,4,5,6,7,8,9
	.if \tens\ones >= 32 && \tens\ones < 128
	{ .mib
	mov r9=r\tens\ones
	tnat.nz p15,p0=r\tens\ones
	br.cond.sptk.few b7 ;;
	}
	.endif
	.endr
	.endr

// Register (r8) = r9. Link b7; clobbers r10, r11, r31, b6.
set_gr:
	cmp.gtu p6,p7=32,r8
	cmp.eq p8,p0=r0,r8 ;;
	(p8) br.cond.dpnt.few b7	// r0 stays 0
	go_if p7, 1f
	shladd r10=r8,3,r1
	load r11, S_GRNAT
	adds r10=S_GR,r10
	mov r31=1 ;;
	st8 [r10]=r9
	shl r31=r31,r8 ;;
	andcm r11=r11,r31 ;;
	store S_GRNAT, r11
	return b7
1:	movl r10=set_stacked - 32 * 16 ;;
	shladd r10=r8,4,r10 ;;
	mov b6=r10 ;;
	return b6
set_stacked:
	.irp tens,3,4,5,6,7,8,9,10,11,12
	.irp ones,0,1,2,3,4,5,6,7,8,9
	.if \tens\ones >= 32 && \tens\ones < 128
	{ .mib
	mov r\tens\ones=r9
	nop.i 0
	br.cond.sptk.few b7 ;;
	}
	.endif
	.endr
	.endr

// Exchanges r16 to r31 with the other bank. Link b6; clobbers r21 to r28.
swap_banks:
	adds r21=S_GR + 16 * 8,r1
	adds r22=S_BANK + 16 * 8,r1
	mov r23=16 ;;
1:	ld8 r24=[r21]
	ld8 r25=[r22]
	adds r23=-1,r23 ;;
	st8 [r21]=r25,8
	st8 [r22]=r24,8
	cmp.ne p6,p0=r0,r23 ;;
	go_if p6, 1b
	adds r21=S_GRNAT,r1
	adds r22=S_BANKNAT,r1
	movl r23=0xffff0000 ;;
	ld8 r24=[r21]
	ld8 r25=[r22] ;;
	and r26=r24,r23
	and r27=r25,r23
	andcm r24=r24,r23 ;;
	or r24=r24,r27 ;;
	st8 [r21]=r24
	st8 [r22]=r26 ;;
	return b6
