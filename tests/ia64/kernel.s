// SPDX-License-Identifier: BSD-2-Clause
// Code of the kind that kernels have, for test_stubs: every template in which a sensitive operation stands, every
// neighbour that needs care (branches, calls, checks, mov =ip, long instructions, predicates, stops, alloc, cover).
	.text
	.explicit
code:
{ .mmi
	alloc r35=ar.pfs,2,4,1,0
	mov r33=psr
	mov r34=b0 ;;
}
{ .mmi
	rsm 0x4000 ;;
	srlz.d
	adds r8=16,r32 ;;
}
{ .mmi
	ld8 r9=[r8],8
	mov r10=cr.tpr
	cmp.eq p6,p7=r0,r33 ;;
}
{ .mib
	(p6) mov cr.tpr=r9
	tbit.z p8,p9=r33,14
	(p7) br.cond.dptk.few 1f ;;
}
{ .mmi
	srlz.d ;;
	nop.m 0
	nop.i 0 ;;
}
{ .mlx
	mov r11=cr.ivr
	movl r14=0x123456789abcdef0 ;;
}
{ .mii
	mov r15=ar.k6
	mov r16=ip
	shl r17=r14,3 ;;
}
{ .mmf
	thash r18=r14
	ld8 r19=[r15]
	fma.s1 f8=f9,f10,f11 ;;
}
{ .mfi
	(p8) ssm 0x4000
	fcvt.fx.s1 f12=f8
	mov r20=pr ;;
}
{ .mmi
	srlz.d ;;
	mov r21=ar.itc
	extr.u r22=r14,3,7 ;;
}
1:
{ .mmi
	itc.d r22 ;;
	srlz.d
	nop.i 0 ;;
}
{ .mmi
	ptc.l r14,r22 ;;
	srlz.i
	nop.i 0 ;;
}
{ .mmi
	ptc.g r14,r22 ;;
	mov r31=psr
	nop.i 0 ;;
}
{ .mmi
	srlz.d ;;
	nop.m 0
	nop.i 0 ;;
}
{ .mib
	mov r31=ar.k2
	nop.i 0
	brp.sptk 2f,1b ;;
}
{ .mmi
	chk.a.nc r9,2f
	tpa r23=r14
	mov b6=r34 ;;
}
{ .mmb
	mov r24=rr[r14]
	probe.r r25=r14,0
	br.cloop.sptk.few code ;;
}
{ .mfb
	mov rr[r14]=r24
	fchkf.s1 2f
	nop.b 0 ;;
}
2:
{ .mmb
	srlz.i
	nop.m 0
	cover ;;
}
{ .mbb
	mov r26=cpuid[r22]
	(p9) br.cond.spnt.many code
	bsw.1 ;;
}
{ .mmi
	mov r27=psr.um
	rum 0x2
	mov ar.pfs=r35 ;;
}
{ .mii
	sum 0x2
	mov r28=b6
	mov pr=r20,-1 ;;
}
{ .mmi
	mov.m r29=ar.rsc
	chk.s.m r28,1b
	mov.i r30=ar.lc ;;
}
{ .mlx
	mov cr.iip=r28
	brl.cond.sptk.many 3f ;;
}
3:
{ .mmi
	srlz.d ;;
	mov cr.ifa=r14
	nop.i 0 ;;
}
{ .mmi
	mov cr.itir=r22 ;;
	srlz.d
	nop.i 0 ;;
}
{ .mmi
	itr.d dtr[r22]=r14 ;;
	srlz.d
	nop.i 0 ;;
}
{ .mib
	mov psr.l=r33
	nop.i 0
	nop.b 0 ;;
}
{ .mmi
	srlz.d ;;
	srlz.i
	nop.i 0 ;;
}
{ .bbb
	nop.b 0
	nop.b 0
	rfi ;;
}
{ .mib
	nop.m 0
	nop.i 0
	br.ret.sptk.many b6 ;;
}
