// SPDX-License-Identifier: BSD-2-Clause
// operations: ttag
// alone: faults
// emulated: wrong
// The tag's form is the implementation's. Two addresses of a page have one tag, two pages and two regions different ones.
	.include "guest.inc"
	guest
	movl r2=PAGE
	movl r3=(RID << 8) + (16 << 2) ;;
	mov rr[r2]=r3 ;;
	srlz.d ;;
	movl r9=PAGE
	movl r10=PAGE + 0xfff8
	movl r11=PAGE + 0x10000 ;;
	ttag r4=r9
	ttag r5=r10
	ttag r6=r11 ;;
	cmp.ne p15,p0=r4,r5 ;;
	fail_if p15,1
	cmp.eq p15,p0=r4,r6 ;;
	fail_if p15,2
	movl r3=((RID + 1) << 8) + (16 << 2) ;;
	mov rr[r2]=r3 ;;
	srlz.d ;;
	ttag r5=r9 ;;
	cmp.eq p15,p0=r4,r5 ;;
	fail_if p15,3
	pass
