/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * IA32: the vCPU page and the frame that rewritten code shares with an in-place VMM.
 *
 * The target `vcpu` (previrt/rewrite.h) inlines hot operations as loads and stores of this page and
 * turns the rest into stubs that call the VMM's dispatcher. docs/rewriting.md tells how. Assembler
 * and VMMs of any word size may use these layouts: all fields have fixed sizes, and the offsets are
 * asserted below.
 */
#ifndef PREVIRT_VCPU_H
#define PREVIRT_VCPU_H

#include <previrt/status.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PREVIRT_VCPU_PAGE_SIZE 4096
#define PREVIRT_VCPU_VERSION   1

/* The virtual IF is byte 1 of the EFLAGS image, so that `pushl eflags` pushes it at no cost. */
#define PREVIRT_VCPU_IF_BYTE 1
#define PREVIRT_VCPU_IF_SET  0x02 /* EFLAGS.IF is bit 9: bit 1 of byte 1 */
#define PREVIRT_VCPU_IF_NONE 0x00

/*
 * The vCPU page. It stays at one guest-virtual address for as long as rewritten code runs,
 * translated or not: the code names it by absolute addresses. Page aligned. Rewritten code reaches
 * it through DS, so the VMM enters guest kernel code with a flat DS; the selector that the guest
 * believes to be in DS is in (segment).
 *
 * Rewritten code writes (eflags) byte 1 and nothing else; it reads eflags, pending, dispatcher,
 * segment, ldtr, tr, cr. The rest belongs to the VMM.
 */
struct previrt_vcpu_page {
    uint32_t eflags; /* image: bit 1 set, IF as the guest has it; byte 1 holds nothing but IF, and
                        the arithmetic flags are 0 */
    uint8_t pending; /* not 0: something waits for the virtual IF; sti then calls the dispatcher */
    uint8_t attention[3]; /* for the VMM's use: beside (pending), so that one look sees all */
    uint32_t dispatcher;  /* guest-virtual address, see struct previrt_vcpu_frame */
    uint32_t version;     /* PREVIRT_VCPU_VERSION */
    uint32_t segment[6];  /* selectors as the guest sees them, zero-extended: ES CS SS DS FS GS */
    uint32_t ldtr;        /* selector, zero-extended */
    uint32_t tr;          /* selector, zero-extended */
    uint32_t cr[8];       /* CR0, CR2, CR3, CR4 as the guest sees them; 1, 5, 6, 7 unused */
    uint32_t dr[8];       /* for the VMM's use */
    uint32_t gdt_limit, gdt_base, idt_limit, idt_base; /* for the VMM's use */
    uint8_t vmm[PREVIRT_VCPU_PAGE_SIZE - 128];         /* for the VMM's use */
};

/*
 * What a dispatching stub pushes on the guest's stack, lowest address first. The stub executes
 * `call *page.dispatcher` with EAX = address of this frame and DF clear. The dispatcher reads and
 * changes the registers and flags here and returns with `ret`; it may clobber every register but
 * ESP. The stub then loads the registers and the flags from the frame and returns to (eip).
 *
 * The guest's ESP at the site was the address of (eip) + 4 + PREVIRT_VCPU_PUSHES(descriptor)
 * (previrt_vcpu_esp() computes it). What an operation pops stands there; what it pushes the
 * dispatcher stores in the PREVIRT_VCPU_PUSHES() bytes that the stub has reserved behind (eip); the
 * stub moves ESP, the dispatcher does not.
 *
 * Operations that do not come back to the site (iret, ljmp, lret, sysexit, ...) and those that push
 * a return address of their own (lcall, int) have nothing reserved: the dispatcher resumes the
 * guest itself and never returns. `lss` to ESP and whatever else loads ESP stores the new value in
 * (esp) and returns (PREVIRT_VCPU_ESP is set in the descriptor).
 *
 * The site was at (eip) - PREVIRT_VCPU_CALL_SIZE: where a fault of the operation belongs.
 */
struct previrt_vcpu_frame {
    uint32_t descriptor; /* PREVIRT_VCPU_* below */
    uint32_t immediate;  /* port, vector, lret's count, offset of a far pointer; 0: none */
    uint32_t address;    /* memory operand: its effective address (offset in the segment);
                            far pointer in the instruction: the selector; 0: none */
    uint32_t edi, esi, ebp;
    uint32_t esp; /* in: meaningless; out: the new ESP, if PREVIRT_VCPU_ESP */
    uint32_t ebx, edx, ecx, eax;
    uint32_t eflags; /* the real flags: arithmetic ones and DF are the guest's */
    uint32_t eip;    /* return address */
};

#define PREVIRT_VCPU_CALL_SIZE 5 /* call rel32 */

/* clang-format off */
/*
 * The descriptor: what was decoded at the site.
 *
 *  0-7    enum previrt_ia32_op
 *  8-10   general register
 *  11-13  second general register (rm)
 *  14-15  operand width: 0 none, 1 8 bits, 2 16, 3 32
 *  16     memory operand
 *  17     arithmetic flags are dead
 *  18-20  segment of the memory or string operand, 7: its default
 *  21-22  repeat: 0 no, 1 REP/REPE, 2 REPNE
 *  23     16-bit addresses
 *  24-27  control, debug or segment register; 15: none
 *  28     (immediate) is an operand
 *  29     the operation loads ESP
 *  30-31  bytes it pushes: 0, 1 for 2, 2 for 4
 */
/* clang-format on */
#define PREVIRT_VCPU_OP(d)        ((d)&0xffu)
#define PREVIRT_VCPU_REG(d)       ((d) >> 8 & 7u)
#define PREVIRT_VCPU_RM(d)        ((d) >> 11 & 7u)
#define PREVIRT_VCPU_WIDTH(d)     ((4u << ((d) >> 14 & 3u)) & 0x38u)
#define PREVIRT_VCPU_MEMORY       (1u << 16)
#define PREVIRT_VCPU_FLAGS_DEAD   (1u << 17)
#define PREVIRT_VCPU_SEGMENT(d)   ((d) >> 18 & 7u)
#define PREVIRT_VCPU_SEGMENT_NONE 7u
#define PREVIRT_VCPU_REPEAT(d)    ((d) >> 21 & 3u)
#define PREVIRT_VCPU_ADDRESS16    (1u << 23)
#define PREVIRT_VCPU_SYSTEM(d)    ((d) >> 24 & 15u)
#define PREVIRT_VCPU_SYSTEM_NONE  15u
#define PREVIRT_VCPU_IMMEDIATE    (1u << 28)
#define PREVIRT_VCPU_ESP          (1u << 29)
#define PREVIRT_VCPU_PUSHES(d)    (((d) >> 30 & 3u) * 2u)

/* The guest's ESP at the site, given the guest address of the frame and its descriptor. */
static inline uint32_t previrt_vcpu_esp(uint32_t frame_address, uint32_t descriptor)
{
    return frame_address + (uint32_t)sizeof(struct previrt_vcpu_frame) +
           PREVIRT_VCPU_PUSHES(descriptor);
}

#if defined(__cplusplus)
#define PREVIRT_VCPU_ASSERT(condition) static_assert(condition, #condition)
#else
#define PREVIRT_VCPU_ASSERT(condition) _Static_assert(condition, #condition)
#endif

/* Offsets, for assembler and templates. */
#define PREVIRT_VCPU_EFLAGS     0x00
#define PREVIRT_VCPU_PENDING    0x04
#define PREVIRT_VCPU_ATTENTION  0x05
#define PREVIRT_VCPU_DISPATCHER 0x08
#define PREVIRT_VCPU_SEGMENTS   0x10
#define PREVIRT_VCPU_LDTR       0x28
#define PREVIRT_VCPU_TR         0x2c
#define PREVIRT_VCPU_CR         0x30

PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, eflags) == PREVIRT_VCPU_EFLAGS);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, pending) == PREVIRT_VCPU_PENDING);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, attention) == PREVIRT_VCPU_ATTENTION);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, dispatcher) == PREVIRT_VCPU_DISPATCHER);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, version) == 0x0c);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, segment) == PREVIRT_VCPU_SEGMENTS);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, ldtr) == PREVIRT_VCPU_LDTR);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, tr) == PREVIRT_VCPU_TR);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, cr) == PREVIRT_VCPU_CR);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, dr) == 0x50);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, gdt_limit) == 0x70);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_page, vmm) == 0x80);
PREVIRT_VCPU_ASSERT(sizeof(struct previrt_vcpu_page) == PREVIRT_VCPU_PAGE_SIZE);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, address) == 8);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, edi) == 12);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, esp) == 24);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, eax) == 40);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, eflags) == 44);
PREVIRT_VCPU_ASSERT(offsetof(struct previrt_vcpu_frame, eip) == 48);
PREVIRT_VCPU_ASSERT(sizeof(struct previrt_vcpu_frame) == 52);

#ifdef __cplusplus
}
#endif

#endif
