# SPDX-License-Identifier: BSD-2-Clause
# Every operation of the catalogue that GNU as can spell, with the prefixes and operands that a count can trip over.
# `as --32` and `as --64` take it (--defsym LONG=1 for the second).
        .text
        .globl  every_operation
        .type   every_operation, @function
every_operation:
        cli
        ds cli
        .byte   0x3e, 0x3e, 0x3e, 0x3e, 0xfa
        sti
        hlt
        pushf
        pushfw
        popf
        popfw
        in      $0x80, %al
        in      $0x80, %ax
        in      %dx, %eax
        out     %al, $0x80
        outw    %ax, %dx
        rep insb
        insw
        rep insl
        outsb
        rep outsw
        outsl
        int     $0x80
        syscall
        sysret
        sysenter
        sti
        sysexit
        mov     %ds, %eax
        mov     %fs, %ax
        mov     %gs, (%esi)
        mov     %eax, %es
        mov     (%esi), %ss
        push    %fs
        pop     %gs
        mov     %fs:(%esi), %eax        # an override, no segment register as operand
        lfs     (%esi), %eax
        lgs     (%esi), %eax
        lss     (%esi), %eax
        clts
        lmsw    %ax
        smsw    %ax
        lgdt    (%esi)
        sgdt    (%esi)
        lidt    %cs:(%esi)
        sidt    (%esi)
        lldt    %ax
        sldt    %ax
        ltr     %ax
        str     (%esi)
        lar     %ax, %eax
        lsl     %ax, %eax
        verr    (%esi)
        verw    %ax
        invd
        wbinvd
        wbnoinvd
        invlpg  (%esi)
        cpuid
        rdmsr
        wrmsr
        rdtsc
        rdtscp
        rdpmc
        xgetbv
        xsetbv
        xsaves  (%esi)
        xrstors (%esi)
        monitor
        mwait
        clac
        stac
        rsm
        getsec
        encls
        pconfig
        vmcall
        vmlaunch
        vmresume
        vmxoff
        vmxon   (%esi)
        vmptrld (%esi)
        vmptrst (%esi)
        vmclear (%esi)
        vmfunc
        vmrun
        vmmcall
        vmload
        vmsave
        stgi
        clgi
        skinit
        invlpga
        # not sensitive
        nop
        int3
        ud2
        mov     %eax, %ebx
        push    $0x1234
        cmpxchg8b (%esi)
        rdrand  %eax
        data16 nop
        lock incl (%esi)
        pause
.ifdef LONG
        mov     %cr0, %rax
        mov     %rax, %cr3
        mov     %db7, %rax
        mov     %rax, %db0
        mov     %cr8, %rax
        iretq
        iretl
        lretq
        lcall   *(%rsi)
        ljmp    *(%rsi)
        rdpid   %rax
        invpcid (%rsi), %rax
        invept  (%rsi), %rax
        vmread  %rax, %rbx
        xsaves64 (%rsi)
.else
        mov     %cr0, %eax
        mov     %eax, %cr3
        mov     %db7, %eax
        mov     %eax, %db0
        push    %es
        push    %cs
        push    %ss
        push    %ds
        pop     %es
        pop     %ss
        pop     %ds
        pushw   %fs
        lds     (%esi), %eax
        les     (%esi), %eax
        arpl    %ax, (%esi)
        into
        lcall   $0x10, $1f
        lcall   *(%esi)
        ljmp    *%fs:(%esi)
        rdpid   %eax
        invpcid (%esi), %eax
        invept  (%esi), %eax
        invvpid (%esi), %eax
        vmread  %eax, %ebx
        vmwrite %eax, %ebx
        lret
        lret    $8
        iretw
1:      ljmp    $0x10, $1b
.endif
        iret
        .size   every_operation, . - every_operation

        # two sections more, as a kernel has them
        .section .init.text, "ax", @progbits
        .type   second, @function
second:
        mov     $0x1b, %ecx
        rdmsr
        or      $0x800, %eax
        wrmsr
        ret
        .size   second, . - second
        .section .text.unlikely, "ax", @progbits
third:
        cli
1:      hlt
        jmp     1b
