// SPDX-License-Identifier: BSD-2-Clause
// operations: mov to ar.ruc, mov from ar.ruc
// alone: faults
// emulated: wrong
// simulator: it has no ar.ruc
// The resource utilization counter.
	.include "guest.inc"
	guest
	movl r9=0x1234560000000000
	movl r10=0x1234570000000000 ;;
	mov.m ar45=r9 ;;
	mov.m r8=ar45 ;;
	cmp.ltu p15,p0=r8,r9 ;;
	fail_if p15,1
	cmp.gtu p15,p0=r8,r10 ;;
	fail_if p15,2
	pass
