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
#define PF_VECTOR         14
/* struct vcpu_info, the first thing in the shared page */
#define UPCALL_PENDING    0
#define UPCALL_MASK       1
#define FAULT_ADDRESS     16 /* arch.cr2 */

    .text
    .globl _start, hypercall_page, pv_resume, pv_low_entry, pv_low_entry_end
    .globl pv_event_entry, pv_failsafe_entry, pv_trap_entries, page_fault_entry, int80_entry
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

/*
 * Copied below 4 GiB, where stubs come to by far jump with the site's number pushed. Nothing in it is relative to what is not
 * copied. The second way is for IRET, fast if it goes to user code (fast.h).
 */
    .balign LOW_IRET_OFFSET
pv_low_entry:
    movb    $1, pv_shared_info_page+UPCALL_MASK
    movabs  $pv_operation_entry, %r15
    jmp     *%r15
    .balign LOW_IRET_OFFSET
low_iret:
    movb    $1, pv_shared_info_page+UPCALL_MASK
    mov     %esp, %r15d
    mov     $iret_frame+8, %rsp     /* what Xen returns by; the place of RAX holds EFLAGS first */
    pushfq
    cmpl    $0, pv_low_pages+VCPU_PENDING
    jne     3f
low_iret_loads:                     /* behind the site's number: eip cs eflags esp ss; 32-bit addresses, to wrap as the guest's do */
    mov     8(%r15d), %r10          /* CS and EFLAGS at once */
    mov     4(%r15d), %r8d
    mov     12(%r15d), %r9d
    mov     16(%r15d), %r11d
    mov     20(%r15d), %r12d
low_iret_loads_end:
    and     pv_fast+FAST_RETURN_MASK, %r10
    cmp     pv_fast+FAST_RETURN_VALUE, %r10
    jne     2f
    cmp     iret_frame+64, %r12w
    jne     2f
    mov     pv_fast+FAST_WATCH, %r13
    mov     (%r13), %r13
    cmp     pv_fast+FAST_WATCH_VALUE, %r13
    jne     2f
    movb    $VCPU_IF_SET, pv_low_pages+VCPU_IF
    incq    pv_guest+COUNT_FAST_RETURNS
    mov     %rax, (%rsp)
    mov     %rcx, 16(%rsp)
    mov     %r8, 32(%rsp)
    mov     %r9, 48(%rsp)
    mov     %r11, 56(%rsp)
    mov     $__HYPERVISOR_iret, %eax
    syscall
2:  movabs  $iret_slow, %r14
    jmp     *%r14
3:  movabs  $iret_attention, %r14
    jmp     *%r14
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

/* Jumps to (to) unless %rax is in [(from), (end)). */
.macro UNLESS_IN from, end, to
    lea     \from(%rip), %rcx
    cmp     %rcx, %rax
    jb      \to
    lea     \end(%rip), %rcx
    cmp     %rcx, %rax
    jae     \to
.endm

/* (register): the stack that the TSS has for the guest's kernel, SS0 in its upper half; to (changed) if it was another. */
.macro KERNEL_STACK register, scratch, changed
    mov     pv_fast+FAST_STACK, %\scratch
    mov     (%\scratch), %\register
    cmp     pv_fast+FAST_STACK_VALUE, %\register
    jne     \changed
.endm

/* Whether that may be used: the kernel's SS, nothing of the VMM's, and in one page any frame, so that only its first word can
 * fault, and what Xen may push below it. */
.macro CHECK_STACK slow
    mov     %r10, %r9
    shr     $32, %r9
    cmp     pv_fast+FAST_SS0, %r9w
    jne     \slow
    lea     -1(%r10d), %r9d
    cmp     $LOW_REGION, %r9d
    jae     \slow
    and     $0xfff, %r9d
    cmp     $FAULT_FRAME+XEN_FRAME-1, %r9d
    jb      \slow
    mov     %r10, pv_fast+FAST_STACK_VALUE
.endm

/*
 * To the guest's handler (far), interrupts off: the frame is written, the stack ends at %r10d, user code's EFLAGS are on the VMM's
 * stack at (eflags). Between the two labels an event may come; the frame is (size) bytes.
 */
.macro ENTER_GATE name, far, eflags, size
    mov     %gs, pv_fast+FAST_USER_GS /* user code may have loaded it itself */
    movb    $0, pv_low_pages+VCPU_IF
    mov     $\eflags, %rsp
\name\()_critical:
    movb    $0, pv_shared_info_page+UPCALL_MASK
    cmpb    $0, pv_shared_info_page+UPCALL_PENDING
    jne     \name\()_again
    popfq
    lea     -\size(%r10d), %esp
    ljmp    *pv_fast+\far
\name\()_again:                     /* as resume_again, with the guest at its handler */
    movb    $1, pv_shared_info_page+UPCALL_MASK
\name\()_critical_end:
    mov     pv_fast+\far, %r8d
    mov     -12(%r10d), %r9d        /* EFLAGS in the frame */
    lea     -\size(%r10d), %r10d
    jmp     gate_again
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
    test    %eax, %eax
    jnz     return_to_user
    push    $FLAT_RING3_SS32
    push    pv_guest+CPU_GPR+4*8(%rip)
    push    pv_guest+CPU_EFLAGS(%rip)
    push    $FLAT_RING3_CS32
    push    pv_guest+CPU_EIP(%rip)
    LOAD_GPRS
resume_critical:
    movb    $0, pv_shared_info_page+UPCALL_MASK
    cmpb    $0, pv_shared_info_page+UPCALL_PENDING
    jne     resume_again
    iretq
resume_again: /* events are still unmasked: one may come here, too */
    movb    $1, pv_shared_info_page+UPCALL_MASK
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

/* IRET that is not fast, with the guest's ESP in %r15 and its EFLAGS where %rsp is. */
iret_slow:
    popfq
    mov     %r15, %rsp
    jmp     pv_operation_entry

/* Something beside the common case waits: an interrupt, a base of GS, a page, or descriptors. */
iret_attention:
    cmpb    $0, pv_low_pages+VCPU_PENDING
    jne     iret_slow
    cmpb    $0, pv_low_pages+VCPU_GS
    je      1f
    mov     %gs, %r13d              /* mostly it was loaded with what it was */
    cmp     pv_fast+FAST_USER_GS, %r13d
    jne     iret_slow
    movb    $0, pv_low_pages+VCPU_GS
1:  cmpb    $0, pv_low_pages+VCPU_REFILL
    je      iret_watches
/* Back from a page fault: what the guest mapped meanwhile is mapped now, which saves the fault that would ask for it. */
    mov     pv_guest+VMM_REFILL_ENTRY, %r13
    test    %r13, %r13
    jz      1f
    mov     (%r13), %r13
    cmp     pv_guest+VMM_REFILL_VALUE, %r13
    je      4f
1:  mov     $pv_stack_top, %rsp
    push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi
    push    %r15                    /* and %rsp is a multiple of 16 */
    cld
    call    pv_xen_refill
    test    %eax, %eax
    pop     %r15
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    mov     $iret_frame, %rsp
    jnz     iret_slow
4:  movb    $0, pv_low_pages+VCPU_REFILL
iret_watches:                       /* the first is looked at where it goes on */
    mov     pv_fast+FAST_WATCHES, %r13
2:  cmp     $1, %r13
    jbe     3f
    mov     pv_fast+FAST_WATCH-8(, %r13, 8), %r14
    mov     (%r14), %r14
    cmp     pv_fast+FAST_WATCH_VALUE-8(, %r13, 8), %r14
    jne     iret_slow
    dec     %r13
    jmp     2b
3:  mov     $LOW_ENTRY+(low_iret_loads-pv_low_entry), %r14d
    jmp     *%r14

/*
 * A page fault of user code: fast.h. [rcx] [r11] [error] rip cs rflags rsp ss, events are masked. It is the guest's if
 * nothing is present, or if it is a write to what is read-only.
 */
page_fault_entry:
    pop     %rcx
    pop     %r11
    testb   $3, 16(%rsp)
    jz      page_fault_slow
    testl   $FLAGS_RARE, 24(%rsp)
    jnz     page_fault_slow
    mov     pv_shared_info_page+FAULT_ADDRESS(%rip), %r8
    mov     $LOW_REGION, %r9d
    cmp     %r9, %r8                /* the VMM's, or not an address of a 32-bit guest */
    jae     page_fault_slow
    mov     %r8d, %r9d
    shr     $30, %r9d
    mov     pv_guest+VMM_DIRECTORY(, %r9, 8), %r10
    test    %r10, %r10
    jz      page_fault_slow
    mov     %r8d, %r9d
    shr     $21, %r9d
    and     $511, %r9d
    lea     (%r10, %r9, 8), %r11
    mov     (%r11), %r14
    mov     (%rsp), %r13d           /* the error code */
    test    $PTE_PRESENT, %r14b
    jz      page_not_present
    test    $PTE_LARGE, %r14b
    jnz     page_fault_slow
    test    %r14, pv_fast+FAST_RESERVED(%rip)
    jnz     page_fault_slow
    mov     %r14d, %r12d
    movabs  $PTE_FRAME, %r9
    and     %r14, %r9
    cmp     pv_guest+VMM_RAM_SIZE(%rip), %r9
    jae     page_fault_slow
    add     pv_guest+VMM_RAM(%rip), %r9
    mov     %r8d, %r10d
    shr     $12, %r10d
    and     $511, %r10d
    lea     (%r9, %r10, 8), %r11
    mov     (%r11), %r14
    test    $PTE_PRESENT, %r14b
    jz      page_not_present
    test    $FAULT_WRITE, %r13b
    jz      page_fault_slow
    test    %r14, pv_fast+FAST_RESERVED(%rip)
    jnz     page_fault_slow
    and     %r14d, %r12d
    test    $PTE_WRITABLE, %r12b
    jnz     page_fault_slow
    mov     $FAULT_PRESENT | FAULT_WRITE | FAULT_USER, %r13d
    jmp     1f
page_not_present:
    and     pv_fast+FAST_FAULT_ERROR(%rip), %r13d
    or      $FAULT_USER, %r13d
1:  mov     pv_fast+FAST_FAULT_GATE(%rip), %r9
    mov     (%r9), %r9
    cmp     pv_fast+FAST_FAULT_GATE_VALUE(%rip), %r9
    jne     page_fault_slow
    KERNEL_STACK r10, r12, page_fault_stack
page_fault_store:                   /* may fault, then the long way is taken */
    mov     %r13d, -24(%r10d)
    pop     %r12
    popq    -20(%r10d)              /* four bytes more than the word, which the next overwrites */
    popq    -16(%r10d)
    popq    -12(%r10d)
    popq    -8(%r10d)
    pop     %r12
    mov     %r12d, -4(%r10d)
    mov     %r11, pv_guest+VMM_REFILL_ENTRY
    mov     %r14, pv_guest+VMM_REFILL_VALUE
    mov     %r8d, pv_guest+VMM_REFILL_VA
    movb    $1, pv_low_pages+VCPU_REFILL
    mov     %r8d, pv_guest+CPU_CR2
    mov     %r8d, pv_low_pages+VCPU_CR2
    incq    pv_guest+COUNT_FAST_FAULTS
    incq    pv_guest+COUNT_PAGE_FAULTS
    ENTER_GATE fault, FAST_FAULT_FAR, pv_stack_top-24, FAULT_FRAME
page_fault_stack:
    CHECK_STACK page_fault_slow
    jmp     page_fault_store
page_fault_slow:
    push    $PF_VECTOR
    jmp     trap_common

/* INT 0x80 of user code: fast.h. [rcx] [r11] rip cs rflags rsp ss, events are masked. */
int80_entry:
    pop     %rcx
    pop     %r11
    testb   $3, 8(%rsp)
    jz      int80_slow
    testl   $FLAGS_RARE, 16(%rsp)
    jnz     int80_slow
    mov     pv_fast+FAST_GATE, %r8
    mov     (%r8), %r8
    cmp     pv_fast+FAST_GATE_VALUE, %r8
    jne     int80_slow
    KERNEL_STACK r10, r9, int80_stack
int80_store:                        /* may fault, then the long way is taken */
    popq    -20(%r10d)              /* as above */
    popq    -16(%r10d)
    popq    -12(%r10d)
    popq    -8(%r10d)
    pop     %r9
    mov     %r9d, -4(%r10d)
    incq    pv_guest+COUNT_FAST_CALLS
    ENTER_GATE call, FAST_FAR, pv_stack_top-24, CALL_FRAME
int80_stack:
    CHECK_STACK int80_slow
    jmp     int80_store

/* An event came on the way to the handler at %r8, with the frame at %r10 and EFLAGS in %r9. */
gate_again:
    SAVE_GPRS
    and     $FLAGS_KEPT_BY_GATE, %r9d
    mov     %r8, pv_guest+CPU_EIP(%rip)
    mov     %r9, pv_guest+CPU_EFLAGS(%rip)
    mov     %r10, pv_guest+CPU_GPR+4*8(%rip)
    movl    $0, pv_guest+CPU_USER(%rip)
    lea     pv_stack_top(%rip), %rsp
    cld
    call    pv_xen_events
    jmp     pv_resume
int80_slow:
    push    $0
    push    $SYSCALL_VECTOR
    /* falls through */

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
 * Faults come where the guest's memory is used directly. Anything else ends all.
 */
vmm_trap:
    push    %rax
    push    %rcx
    mov     32(%rsp), %rax
    cmpl    $EVENT_VECTOR, 16(%rsp)
    jne     vmm_fault
    mov     $LOW_ENTRY, %ecx
    cmp     %rcx, %rax
    je      2f
    mov     $LOW_ENTRY+(low_iret-pv_low_entry), %ecx
    cmp     %rcx, %rax
    jne     3f
2:  pop     %rcx
    pop     %rax
    add     $16, %rsp
    orl     $3, 8(%rsp)
    iretq
3:
    UNLESS_IN call_critical, call_critical_end, 3f
    lea     call_again(%rip), %rcx
    jmp     5f
3:
    UNLESS_IN fault_critical, fault_critical_end, 3f
    lea     fault_again(%rip), %rcx
5:  mov     %rcx, %r8
    pop     %rcx
    pop     %rax
    jmp     *%r8
3:
    UNLESS_IN resume_critical, resume_critical_end, 1f
    jmp     resume_again
/* Guest memory that is not mapped: the long way walks the guest's tables. */
vmm_fault:
    cmpl    $PF_VECTOR, 16(%rsp)
    jne     1f
    lea     int80_store(%rip), %rcx
    cmp     %rcx, %rax
    jne     3f
    pop     %rcx
    pop     %rax
    mov     40(%rsp), %rsp          /* of what was interrupted */
    jmp     int80_slow
3:
    lea     page_fault_store(%rip), %rcx
    cmp     %rcx, %rax
    jne     3f
    pop     %rcx
    pop     %rax
    mov     40(%rsp), %rsp
    mov     %r8, pv_shared_info_page+FAULT_ADDRESS
    jmp     page_fault_slow
3:
    mov     $LOW_ENTRY+(low_iret_loads-pv_low_entry), %ecx
    sub     %rcx, %rax
    cmp     $low_iret_loads_end-low_iret_loads, %rax
    jae     1f
    pop     %rcx
    pop     %rax
    mov     $iret_frame, %rsp
    jmp     iret_slow
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
pv_trap_entries: /* 32 bytes each: vectors 0 to 19 */
    .irp v, 0,1,2,3,4,5,6,7
    TRAP \v, 0
    .endr
    TRAP 8, 1
    TRAP 9, 0
    .irp v, 10,11,12,13
    TRAP \v, 1
    .endr
    .balign 32
    .skip   32 /* 14: page_fault_entry */
    .balign 32
    TRAP 15, 0
    TRAP 16, 0
    TRAP 17, 1
    TRAP 18, 0
    TRAP 19, 0

    .bss
    .balign 16
    .skip   65536
pv_stack_top:
    .globl  pv_stack_top
    .skip   8192
iret_frame: /* struct iret_context: rax r11 rcx flags rip cs rflags rsp ss */
    .skip   72
    .globl  iret_frame

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
