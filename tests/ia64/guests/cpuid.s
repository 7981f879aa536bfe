// SPDX-License-Identifier: BSD-2-Clause
// operations: mov from cpuid
// alone: right
// emulated: right
// The number of the last register is in cpuid[3]; a selector behind it is a reserved register fault.
	.include "guest.inc"
	guest
	mov r9=3 ;;
	mov r8=cpuid[r9] ;;
	zxt1 r10=r8 ;;
	cmp.gtu p15,p0=3,r10 ;;
	fail_if p15,1
	mov r9=0 ;;
	mov r11=cpuid[r9] ;;
	cmp.eq p15,p0=r0,r11 ;;
	fail_if p15,2
	mov r9=4 ;;
	mov r8=cpuid[r9] ;;
	tbit.z p15,p0=r8,0 ;;		// the long branch is there
	fail_if p15,3
	pass
