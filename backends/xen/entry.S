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

/* Copied below 4 GiB: stubs come here by far jump, with the site's number pushed. The second is for IRET. */
    .balign LOW_IRET_OFFSET
pv_low_entry:
    movabs  $pv_operation_entry, %r15
    jmp     *%r15
    .balign LOW_IRET_OFFSET
    movabs  $pv_iret_entry, %r15
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

/* Jumps to (to) unless %rax is in [(from), (end)). */
.macro UNLESS_IN from, end, to
    lea     \from(%rip), %rcx
    cmp     %rcx, %rax
    jb      \to
    lea     \end(%rip), %rcx
    cmp     %rcx, %rax
    jae     \to
.endm

/* The stack that the TSS has for the guest's kernel, or (slow): its ESP is %r10d. Clobbers \tss and \scratch. */
.macro KERNEL_STACK slow, tss, ss, scratch
    mov     pv_fast+FAST_STACK(%rip), %\tss
    mov     4(%\tss), %\ss\()d
    mov     (%\tss), %r10d
    cmp     pv_fast+FAST_SS0(%rip), %\ss\()w
    jne     \slow
    lea     -1(%r10d), %\scratch
    cmp     $LOW_REGION, %\scratch  /* nothing of the guest's is there */
    jae     \slow
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

/*
 * IRET to user code: fast.h. The VMM's stack is taken at once; what is read of the guest's may fault, then the long way is
 * taken (vmm_trap). 32-bit addresses, so that they wrap as the guest's do.
 */
pv_iret_entry:
    movb    $1, pv_shared_info_page+UPCALL_MASK(%rip)
iret_masked:
    mov     %esp, %r15d
    lea     pv_stack_top(%rip), %rsp
    pushfq
    testl   $FLAGS_NT, (%rsp)       /* a return to another task */
    jnz     iret_slow
    cmpb    $0, pv_guest+VMM_REFILL(%rip)
    jne     iret_refill
iret_loads:
    mov     4(%r15d), %r8d          /* behind the site's number: eip cs eflags esp ss */
    mov     8(%r15d), %r9d
    mov     12(%r15d), %r10d
    mov     16(%r15d), %r11d
    mov     20(%r15d), %r12d
iret_loads_end:
    cmp     pv_fast+FAST_USER_CS(%rip), %r9w
    jne     iret_slow
    cmp     pv_fast+FAST_USER_SS(%rip), %r12w
    jne     iret_slow
    mov     pv_fast+FAST_USER_CODE(%rip), %r13
    mov     (%r13), %r13
    cmp     pv_fast+FAST_USER_CODE_VALUE(%rip), %r13
    jne     iret_slow
    mov     pv_fast+FAST_USER_STACK(%rip), %r13
    mov     (%r13), %r13
    cmp     pv_fast+FAST_USER_STACK_VALUE(%rip), %r13
    jne     iret_slow
    mov     %r10d, %r13d
    and     $FLAGS_RARE, %r13d
    cmp     $EFLAGS_IF, %r13d
    jne     iret_slow
    cmpb    $0, pv_low_pages+VCPU_PENDING(%rip)
    jne     iret_slow
    mov     %gs, %r13d
    cmp     pv_fast+FAST_USER_GS(%rip), %r13d
    jne     iret_slow
    mov     pv_fast+FAST_WATCHES(%rip), %r13
    test    %r13, %r13
    jz      2f
1:  mov     pv_fast+FAST_WATCH-8(, %r13, 8), %r14
    mov     (%r14), %r14
    cmp     pv_fast+FAST_WATCH_VALUE-8(, %r13, 8), %r14
    jne     iret_slow
    dec     %r13
    jnz     1b
2:  movb    $VCPU_IF_SET, pv_low_pages+VCPU_IF(%rip)
    incq    pv_guest+COUNT_FAST_RETURNS(%rip)
    push    pv_fast+FAST_USER_SS(%rip)
    push    %r11
    and     $FLAGS_USER, %r10d
    push    %r10
    push    pv_fast+FAST_USER_CS(%rip)
    push    %r8
    push    $0
    jmp     hypercall_page + __HYPERVISOR_iret * HYPERCALL_SIZE
iret_slow:
    lea     pv_stack_top-8(%rip), %rsp
    popfq
    mov     %r15, %rsp
    jmp     operation_masked

/* Back from a page fault: what the guest mapped meanwhile is mapped now, which saves the fault that would ask for it. */
iret_refill:
    mov     pv_guest+VMM_REFILL_ENTRY(%rip), %r13
    test    %r13, %r13
    jz      1f
    mov     (%r13), %r13
    cmp     pv_guest+VMM_REFILL_VALUE(%rip), %r13
    je      iret_loads
1:  push    %rax
    push    %rcx
    push    %rdx
    push    %rsi
    push    %rdi                    /* and %rsp is a multiple of 16 */
    cld
    call    pv_xen_refill
    test    %eax, %eax
    pop     %rdi
    pop     %rsi
    pop     %rdx
    pop     %rcx
    pop     %rax
    jz      iret_loads
    jmp     iret_slow

/*
 * A page fault of user code: fast.h. [rcx] [r11] [error] rip cs rflags rsp ss, events are masked. It is the guest's if
 * nothing is present, or if it is a write to what is read-only.
 */
page_fault_entry:
    pop     %rcx
    pop     %r11
    testb   $3, 16(%rsp)
    jz      page_fault_slow
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
    KERNEL_STACK page_fault_slow, r9, r12, r12d
    mov     24(%rsp), %r9d
    and     $FLAGS_IMAGE, %r9d
    or      $FLAGS_IMAGE_SET, %r9d
    mov     40(%rsp), %r12d
    mov     32(%rsp), %r15d
page_fault_stores:                  /* may fault, then the long way is taken */
    mov     %r12d, -4(%r10d)
    mov     %r15d, -8(%r10d)
    mov     %r9d, -12(%r10d)
    mov     16(%rsp), %r12d
    mov     8(%rsp), %r15d
    mov     %r12d, -16(%r10d)
    mov     %r15d, -20(%r10d)
    mov     %r13d, -24(%r10d)
page_fault_stores_end:
    mov     %r11, pv_guest+VMM_REFILL_ENTRY(%rip)
    mov     %r14, pv_guest+VMM_REFILL_VALUE(%rip)
    mov     %r8d, pv_guest+VMM_REFILL_VA(%rip)
    movb    $1, pv_guest+VMM_REFILL(%rip)
    mov     %r8d, pv_guest+CPU_CR2(%rip)
    mov     %r8d, pv_low_pages+VCPU_CR2(%rip)
    incq    pv_guest+COUNT_FAST_FAULTS(%rip)
    incq    pv_guest+COUNT_PAGE_FAULTS(%rip)
    lea     -24(%r10d), %r10d
    mov     pv_fast+FAST_FAULT_EIP(%rip), %r8
    add     $8, %rsp
    jmp     gate_enter
page_fault_slow:
    push    $PF_VECTOR
    jmp     trap_common

/* INT 0x80 of user code: fast.h. [rcx] [r11] rip cs rflags rsp ss, events are masked. */
int80_entry:
    pop     %rcx
    pop     %r11
    testb   $3, 8(%rsp)
    jz      int80_slow
    mov     pv_fast+FAST_GATE(%rip), %r8
    mov     (%r8), %r8
    cmp     pv_fast+FAST_GATE_VALUE(%rip), %r8
    jne     int80_slow
    KERNEL_STACK int80_slow, r8, r9, r11d
    mov     16(%rsp), %r9d
    and     $FLAGS_IMAGE, %r9d
    or      $FLAGS_IMAGE_SET, %r9d
    mov     (%rsp), %r8d
    mov     8(%rsp), %r12d
    mov     24(%rsp), %r13d
    mov     32(%rsp), %r14d
int80_stores:                       /* may fault, then the long way is taken */
    mov     %r14d, -4(%r10d)
    mov     %r13d, -8(%r10d)
    mov     %r9d, -12(%r10d)
    mov     %r12d, -16(%r10d)
    mov     %r8d, -20(%r10d)
int80_stores_end:
    incq    pv_guest+COUNT_FAST_CALLS(%rip)
    lea     -20(%r10d), %r10d
    mov     pv_fast+FAST_EIP(%rip), %r8
/* To the handler at %r8, with the frame at %r10 and interrupts off. rip cs rflags rsp ss are the user code's. */
gate_enter:
    mov     %gs, %r9d
    mov     %r9d, pv_fast+FAST_USER_GS(%rip) /* user code may have loaded it itself */
    movb    $0, pv_low_pages+VCPU_IF(%rip)
    mov     %r8, (%rsp)
    movq    $FLAT_RING3_CS32, 8(%rsp)
    andl    $FLAGS_KEPT_BY_GATE, 16(%rsp)
    mov     %r10, 24(%rsp)
    movq    $FLAT_RING3_SS32, 32(%rsp)
gate_critical:
    movb    $0, pv_shared_info_page+UPCALL_MASK(%rip)
    cmpb    $0, pv_shared_info_page+UPCALL_PENDING(%rip)
    jne     gate_again
    iretq
gate_again: /* as resume_again, with the guest at its handler */
    movb    $1, pv_shared_info_page+UPCALL_MASK(%rip)
gate_critical_end:
    SAVE_GPRS
    mov     (%rsp), %rax
    mov     %rax, pv_guest+CPU_EIP(%rip)
    mov     16(%rsp), %rax
    mov     %rax, pv_guest+CPU_EFLAGS(%rip)
    mov     24(%rsp), %rax
    mov     %rax, pv_guest+CPU_GPR+4*8(%rip)
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
    sub     %rax, %rcx
    neg     %rcx
    cmp     $pv_low_entry_end - pv_low_entry, %rcx
    jb      2f
    lea     pv_operation_entry(%rip), %rcx
    cmp     %rcx, %rax
    jb      3f
    lea     operation_masked(%rip), %rcx
    cmp     %rcx, %rax
    jb      2f
3:
    UNLESS_IN pv_iret_entry, iret_masked, 3f
2:  pop     %rcx
    pop     %rax
    add     $16, %rsp
    orl     $3, 8(%rsp)
    iretq
3:
    UNLESS_IN gate_critical, gate_critical_end, 3f
    pop     %rcx
    pop     %rax
    mov     40(%rsp), %rsp          /* of what was interrupted */
    jmp     gate_again
3:
    UNLESS_IN resume_critical, resume_critical_end, 1f
    mov     pv_upcall_mask(%rip), %r15
    jmp     resume_again
/* Guest memory that is not mapped: the long way walks the guest's tables. */
vmm_fault:
    cmpl    $PF_VECTOR, 16(%rsp)
    jne     1f
    UNLESS_IN int80_stores, int80_stores_end, 3f
    pop     %rcx
    pop     %rax
    mov     40(%rsp), %rsp
    jmp     int80_slow
3:
    UNLESS_IN page_fault_stores, page_fault_stores_end, 3f
    pop     %rcx
    pop     %rax
    mov     40(%rsp), %rsp
    mov     %r8, pv_shared_info_page+FAULT_ADDRESS(%rip)
    jmp     page_fault_slow
3:
    UNLESS_IN iret_loads, iret_loads_end, 1f
    pop     %rcx
    pop     %rax
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
pv_trap_entries: /* 32 bytes each: vectors 0 to 19, then 0x80 */
    .irp v, 0,1,2,3,4,5,6,7
    TRAP \v, 0
    .endr
    TRAP 8, 1
    TRAP 9, 0
    .irp v, 10,11,12,13
    TRAP \v, 1
    .endr
    .balign 32
    jmp     page_fault_entry
    .balign 32
    TRAP 15, 0
    TRAP 16, 0
    TRAP 17, 1
    TRAP 18, 0
    TRAP 19, 0
    .balign 32
    jmp     int80_entry

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
