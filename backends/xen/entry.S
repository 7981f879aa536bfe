/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Entry and exit of the in-place VMM in a 64-bit PV domain of Xen.
 *
 * Three contexts: the VMM (64-bit code, FLAT_RING3_CS64), the guest's kernel (32-bit code in the same Xen "kernel
 * mode", FLAT_RING3_CS32), and the guest's user code (Xen "user mode", the guest's own selectors). The VMM runs with event
 * upcalls masked; both ways back to the guest unmask them.
 */
#define __ASSEMBLY__
#include <xen/elfnote.h>
#include <xen/arch-x86/xen-x86_64.h>
#include "offsets.h"

#define __HYPERVISOR_iret 23
#define HYPERCALL_SIZE    32
#define KERNEL_CS64_SEEN  0xe030 /* Xen clears the RPL of what it interrupted in kernel mode */
#define EFLAGS_IF         0x200

    .text
    .globl _start, hypercall_page, pv_resume, pv_low_entry, pv_low_entry_end
    .globl pv_event_entry, pv_failsafe_entry, pv_trap_entries
_start:
    cld
    lea     pv_stack_top(%rip), %rsp
    mov     %rsi, %rdi
    xor     %ebp, %ebp
    call    pv_xen_main
1:  jmp     1b

    .balign 4096
hypercall_page:
    .skip   4096

/* Copied below 4 GiB: stubs come here by far jump, with the site's number pushed. */
pv_low_entry:
    movabs  $pv_operation_entry, %r15
    jmp     *%r15
pv_low_entry_end:

.macro SAVE_GPRS
    mov     %eax, pv_guest+CPU_GPR+0*8(%rip)
    mov     %ecx, pv_guest+CPU_GPR+1*8(%rip)
    mov     %edx, pv_guest+CPU_GPR+2*8(%rip)
    mov     %ebx, pv_guest+CPU_GPR+3*8(%rip)
    mov     %ebp, pv_guest+CPU_GPR+5*8(%rip)
    mov     %esi, pv_guest+CPU_GPR+6*8(%rip)
    mov     %edi, pv_guest+CPU_GPR+7*8(%rip)
.endm

.macro LOAD_GPRS
    mov     pv_guest+CPU_GPR+0*8(%rip), %eax
    mov     pv_guest+CPU_GPR+1*8(%rip), %ecx
    mov     pv_guest+CPU_GPR+2*8(%rip), %edx
    mov     pv_guest+CPU_GPR+3*8(%rip), %ebx
    mov     pv_guest+CPU_GPR+5*8(%rip), %ebp
    mov     pv_guest+CPU_GPR+6*8(%rip), %esi
    mov     pv_guest+CPU_GPR+7*8(%rip), %edi
.endm

pv_operation_entry:
    mov     pv_upcall_mask(%rip), %r15
    movb    $1, (%r15)
operation_masked:
    mov     %esp, %esp
    SAVE_GPRS
    mov     (%rsp), %edi
    lea     4(%rsp), %eax
    mov     %eax, pv_guest+CPU_GPR+4*8(%rip)
    lea     pv_stack_top(%rip), %rsp
    pushfq
    popq    pv_guest+CPU_EFLAGS(%rip)
    cld
    call    pv_xen_operation

pv_resume:
    lea     pv_stack_top(%rip), %rsp
    call    pv_xen_prepare
    mov     pv_upcall_mask(%rip), %r15
    test    %eax, %eax
    jnz     return_to_user
    push    $FLAT_RING3_SS32
    push    pv_guest+CPU_GPR+4*8(%rip)
    push    pv_guest+CPU_EFLAGS(%rip)
    push    $FLAT_RING3_CS32
    push    pv_guest+CPU_EIP(%rip)
    LOAD_GPRS
resume_critical:
    movb    $0, (%r15)
    cmpb    $0, -1(%r15) /* evtchn_upcall_pending stands before the mask */
    jne     resume_again
    iretq
resume_again: /* events are still unmasked: one may come here, too */
    movb    $1, (%r15)
resume_critical_end:
    lea     pv_stack_top(%rip), %rsp
    call    pv_xen_events
    jmp     pv_resume

return_to_user:
    mov     pv_guest+CPU_USER_SS(%rip), %eax
    push    %rax
    push    pv_guest+CPU_GPR+4*8(%rip)
    mov     pv_guest+CPU_EFLAGS(%rip), %rax
    or      $EFLAGS_IF, %rax
    push    %rax
    mov     pv_guest+CPU_USER_CS(%rip), %eax
    push    %rax
    push    pv_guest+CPU_EIP(%rip)
    LOAD_GPRS
    push    $0
    jmp     hypercall_page + __HYPERVISOR_iret * HYPERCALL_SIZE

/* [vector] [error] rip cs rflags rsp ss */
trap_common:
    cmpw    $KERNEL_CS64_SEEN, 24(%rsp)
    je      vmm_trap
    SAVE_GPRS
    mov     (%rsp), %edi
    mov     8(%rsp), %esi
    mov     16(%rsp), %eax
    mov     %rax, pv_guest+CPU_EIP(%rip)
    mov     24(%rsp), %edx
    movzwl  %dx, %edx
    mov     32(%rsp), %eax
    mov     %rax, pv_guest+CPU_EFLAGS(%rip)
    mov     40(%rsp), %eax
    mov     %rax, pv_guest+CPU_GPR+4*8(%rip)
    mov     48(%rsp), %ecx
    lea     pv_stack_top(%rip), %rsp
    cld
    call    pv_xen_trap
    jmp     pv_resume

/*
 * The VMM itself was interrupted. Events come in two windows: on the way in, before they are masked, where the operation just
 * goes on (the event stays pending and is seen on the way out), and on the way out, before iretq, which is begun again.
 * Anything else ends all.
 */
vmm_trap:
    push    %rax
    push    %rcx
    mov     32(%rsp), %rax
    cmpl    $EVENT_VECTOR, 16(%rsp)
    jne     1f
    mov     $LOW_ENTRY, %ecx
    sub     %rax, %rcx
    neg     %rcx
    cmp     $pv_low_entry_end - pv_low_entry, %rcx
    jb      2f
    lea     pv_operation_entry(%rip), %rcx
    cmp     %rcx, %rax
    jb      3f
    lea     operation_masked(%rip), %rcx
    cmp     %rcx, %rax
    jae     3f
2:  pop     %rcx
    pop     %rax
    add     $16, %rsp
    orl     $3, 8(%rsp)
    iretq
3:  lea     resume_critical(%rip), %rcx
    cmp     %rcx, %rax
    jb      1f
    lea     resume_critical_end(%rip), %rcx
    cmp     %rcx, %rax
    jae     1f
    mov     pv_upcall_mask(%rip), %r15
    jmp     resume_again
1:  add     $16, %rsp
    mov     %rsp, %rdi
    and     $-16, %rsp
    call    pv_xen_fatal
2:  jmp     2b

pv_event_entry:
    pop     %rcx
    pop     %r11
    push    $0
    push    $EVENT_VECTOR
    jmp     trap_common

pv_failsafe_entry:
    /* rcx r11 ds es fs gs rip cs rflags rsp ss */
    pop     %rcx
    pop     %r11
    add     $32, %rsp
    push    $0
    push    $FAILSAFE_VECTOR
    jmp     trap_common

.macro TRAP vector, has_error
    .balign 32
    pop     %rcx
    pop     %r11
    .if !\has_error
    push    $0
    .endif
    push    $\vector
    jmp     trap_common
.endm
    .balign 32
pv_trap_entries: /* 32 bytes each: vectors 0 to 19, then 0x80 */
    .irp v, 0,1,2,3,4,5,6,7
    TRAP \v, 0
    .endr
    TRAP 8, 1
    TRAP 9, 0
    .irp v, 10,11,12,13,14
    TRAP \v, 1
    .endr
    TRAP 15, 0
    TRAP 16, 0
    TRAP 17, 1
    TRAP 18, 0
    TRAP 19, 0
    TRAP 0x80, 0

    .bss
    .balign 16
    .skip   65536
pv_stack_top:
    .globl  pv_stack_top

#define NOTE_S(type, str) .balign 4; .long 4, 9f-8f, type; .asciz "Xen"; 8: .asciz str; 9: .balign 4
#define NOTE_W(type, val) .balign 4; .long 4, 9f-8f, type; .asciz "Xen"; 8: .quad val; 9: .balign 4
    .section .notes, "a", @note
    NOTE_S(XEN_ELFNOTE_XEN_VERSION, "xen-3.0")
    NOTE_S(XEN_ELFNOTE_GUEST_OS, "previrt")
    NOTE_S(XEN_ELFNOTE_GUEST_VERSION, "0.1")
    NOTE_S(XEN_ELFNOTE_LOADER, "generic")
    NOTE_W(XEN_ELFNOTE_VIRT_BASE, 0xffffffff80000000)
    NOTE_W(XEN_ELFNOTE_PADDR_OFFSET, 0)
    NOTE_W(XEN_ELFNOTE_ENTRY, _start)
    NOTE_W(XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page)
    NOTE_S(XEN_ELFNOTE_FEATURES, "writable_page_tables|pae_pgdir_above_4gb")
    .section .note.GNU-stack,"",@progbits

    .section .guest, "a"
    .balign 4096
    .globl  pv_guest_segment
pv_guest_segment:
    .ascii  "PVGUEST1"
    .quad   0
    .skip   4080
