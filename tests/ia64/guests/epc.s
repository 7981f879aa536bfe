// SPDX-License-Identifier: BSD-2-Clause
// operations: epc
// alone: faults
// emulated: wrong
// In physical mode epc makes code most privileged (SDM 3 epc). From level 3, where rfi leads.
	.include "guest.inc"
	guest
	set_iva
	ssm PSR_IC ;;
	srlz.d ;;
	break 1 ;;
	expect r8, 0x2c00, 1
	rsm PSR_IC ;;
	srlz.d
	movl r8=(3 << 32) | PSR_IC
	movl r9=user
	movl r10=3 << 62
	mov r11=ar.pfs ;;
	or r10=r10,r11 ;;
	mov ar.pfs=r10
	mov cr.ipsr=r8
	mov cr.iip=r9
	mov cr.ifs=r0 ;;
	rfi ;;
user:
	break 2 ;;
	cmp.ne p15,p0=3,r11 ;;
	fail_if p15,2
	epc ;;
	break 3 ;;
	cmp.ne p15,p0=0,r11 ;;
	fail_if p15,3
	pass
// In r8 the vector, in r11 the level that it came from; goes on behind the instruction.
handler:
	mov r8=r31
	mov r16=cr.ipsr
	mov r18=cr.iip
	mov r20=pr ;;
	extr.u r11=r16,32,2
	extr.u r17=r16,41,2
	adds r18=16,r18 ;;
	cmp.eq p6,p7=2,r17
	adds r17=1,r17 ;;
	(p6) mov r17=0
	(p6) mov cr.iip=r18 ;;
	dep r16=r17,r16,41,2 ;;
	mov cr.ipsr=r16
	mov pr=r20,-1 ;;
	rfi ;;
	vectors handler
