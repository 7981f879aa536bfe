/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's slow paths. No global data, no absolute address: monitor.ld refuses both. */
#include "monitor.h"
#include "../ports.h"

#include <previrt/raw.h>

#define CALL_SIZE      5u /* call rel32: what reaches a stub */
#define JUMP_SIZE      5u
#define JUMP_OPCODE    0xe9
#define RET_SIZE       1u
#define RET_OPCODE     0xc3
#define RET_IMM_SIZE   3u
#define RET_IMM_OPCODE 0xc2
/* Error codes that name a descriptor (SDM 3A 6.13) */
#define ERROR_EXTERNAL    1u
#define ERROR_IDT         2u
#define ERROR_INDEX_SHIFT 3

_Static_assert(offsetof(struct pv_monitor, stub_physical) == PV_M_STUB_PHYSICAL, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, stub_size) == PV_M_STUB_SIZE, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, link_offset) == PV_M_LINK_OFFSET, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, mask) == PV_M_MASK, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, guest_idtr) == PV_M_GUEST_IDTR, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, shadow_idtr) == PV_M_SHADOW_IDTR, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, saved_eflags) == PV_M_SAVED_EFLAGS, "monitor.h");
_Static_assert(offsetof(struct pv_monitor, shadow) == PV_M_SHADOW, "monitor.h");

/* What entry.S has pushed, from the stack pointer at the call on. */
struct frame {
    uint32_t es, ds;
    uint32_t scratch;
    uint32_t ebx, edx, ecx, eax;
    uint32_t vector;
    uint32_t
        rest[]; /* [error code], EIP, CS, EFLAGS, and what the interrupted code had on its stack */
};

void pv_monitor_shadow(struct pv_monitor *monitor, uint32_t cs);
int pv_monitor_slow(struct pv_monitor *monitor, struct frame *frame);
void pv_monitor_stop(uint32_t vector, uint32_t word0, uint32_t word1) __attribute__((noreturn));

static uint64_t gate(uint32_t handler, uint32_t cs, uint32_t attributes)
{
    uint32_t low = cs << 16 | (handler & 0xffff);
    uint32_t high = (handler & 0xffff0000) | attributes;

    return (uint64_t)high << 32 | low;
}

/*
 * One entry of the shadow: an interrupt gate of ours with the guest's privilege. What the guest's
 * gate says otherwise is looked up when something is delivered. What the guest's gate does not let
 * through is copied, so that the CPU raises the fault that it would raise; a task gate is copied
 * too.
 */
static void shadow_gate(struct pv_monitor *monitor, uint32_t vector)
{
    const uint32_t *guest = (const uint32_t *)(monitor->guest_idtr.base + 8 * vector);
    uint32_t handler = (uint32_t)monitor + monitor->at_vectors + vector * PV_VECTOR_SIZE;

    if ((guest[1] & PV_GATE_KIND) == PV_GATE_32BIT && (guest[1] & PV_GATE_PRESENT))
        monitor->shadow[vector] =
            gate(handler, monitor->cs, PV_GATE_PRESENT | PV_GATE_32BIT | (guest[1] & PV_GATE_DPL));
    else
        monitor->shadow[vector] = (uint64_t)guest[1] << 32 | guest[0];
}

void pv_monitor_shadow(struct pv_monitor *monitor, uint32_t cs)
{
    uint32_t limit = monitor->guest_idtr.limit;

    if (limit >= sizeof(monitor->shadow))
        limit = sizeof(monitor->shadow) - 1;
    monitor->cs = cs & 0xffff;
    for (uint32_t vector = 0; 8 * vector + 7 <= limit; vector++)
        shadow_gate(monitor, vector);
    monitor->shadow_idtr.base = (uint32_t)monitor->shadow;
    monitor->shadow_idtr.limit = (uint16_t)limit;
}

/* Moves all from (frame) to (end) up by (words), over what stands at (end). */
static int shift(struct frame *frame, uint32_t *end, uint32_t words)
{
    for (uint32_t *word = end - 1; word >= (uint32_t *)frame; word--)
        word[words] = word[0];
    return (int)(words * sizeof(uint32_t));
}

/*
 * #GP or #NP that names a gate: the guest may have written it since the shadow was made. If so the
 * gate is shadowed again, and int is tried again; an external interrupt, which the interrupt
 * controller does not repeat, is delivered from here.
 */
static int refresh_gate(struct pv_monitor *monitor, struct frame *frame)
{
    uint32_t error = frame->rest[0], index = error >> ERROR_INDEX_SHIFT;
    uint64_t old;

    if (!(error & ERROR_IDT) || 8 * index + 7 > monitor->shadow_idtr.limit)
        return PV_SLOW_DELIVER;
    old = monitor->shadow[index];
    shadow_gate(monitor, index);
    if (monitor->shadow[index] == old)
        return PV_SLOW_DELIVER;
    if (!(error & ERROR_EXTERNAL))
        return PV_SLOW_RETRY;
    if (index < PV_EXCEPTIONS)
        return PV_SLOW_DELIVER; /* its own error code, if it has one, is gone */
    frame->vector = index;
    return shift(frame, frame->rest, 1);
}

static const struct pv_monitor_stub *find_stub(const struct pv_monitor *monitor, uint32_t offset)
{
    const struct pv_monitor_stub *stubs =
        (const struct pv_monitor_stub *)((uint32_t)monitor + monitor->at_stubs);
    uint32_t low = 0, high = monitor->stubs;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (stubs[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low < high && offset - stubs[low].offset < stubs[low].length ? &stubs[low] : NULL;
}

/*
 * The stub area was interrupted at (*eip), (offset) bytes into it. A fault has not executed the
 * operation: the guest shall see it where its own instruction stood, with its own stack. Anything
 * else arrives before the operation (the same), after it (then the stub's last instruction is left,
 * and the guest sees what comes behind its own instruction), or, in the few stubs of several
 * instructions, between: there it stays.
 */
static int leave_stub(const struct pv_monitor *monitor, struct frame *frame, uint32_t *eip,
                      uint32_t offset, int fault)
{
    const struct pv_monitor_stub *stub = find_stub(monitor, offset);
    uint32_t alias = *eip - offset - monitor->stub_physical; /* 0, or the link offset */
    /* The CPU did not change stacks: behind EIP, CS and EFLAGS is what the stub had on its stack.
     */
    uint32_t return_address = eip[3], words = 1, left;
    const uint8_t *code = (const uint8_t *)*eip;

    if (!stub)
        return PV_SLOW_DELIVER;
    left = stub->length - (offset - stub->offset);
    if (fault || offset == stub->offset) {
        *eip = stub->site ? stub->site - monitor->link_offset + alias : return_address - CALL_SIZE;
    } else if (stub->call && left == RET_SIZE && *code == RET_OPCODE) {
        *eip = return_address;
    } else if (stub->call && left == RET_IMM_SIZE && *code == RET_IMM_OPCODE) {
        *eip = return_address;
        words += *(const uint16_t *)(code + 1) / sizeof(uint32_t);
    } else if (!stub->call && left == JUMP_SIZE && *code == JUMP_OPCODE) {
        *eip += JUMP_SIZE + *(const uint32_t *)(code + 1);
    } else {
        return PV_SLOW_DELIVER;
    }
    return stub->call ? shift(frame, eip + 3, words) : PV_SLOW_DELIVER;
}

int pv_monitor_slow(struct pv_monitor *monitor, struct frame *frame)
{
    uint32_t vector = frame->vector, has_error, *eip, offset;
    int result;

    if (vector == PV_VECTOR_GP || vector == PV_VECTOR_NP) {
        result = refresh_gate(monitor, frame);
        if (result != PV_SLOW_DELIVER)
            return result;
    }
    has_error = vector < PV_EXCEPTIONS && (PV_ERROR_CODE_VECTORS >> vector & 1);
    eip = frame->rest + has_error;
    if ((eip[2] & PV_EFLAGS_VM) || (eip[1] & PV_SELECTOR_RPL))
        return PV_SLOW_DELIVER;
    offset = *eip - monitor->stub_physical;
    if (offset >= monitor->stub_size)
        offset -= monitor->link_offset;
    if (offset >= monitor->stub_size)
        return PV_SLOW_DELIVER;
    return leave_stub(monitor, frame, eip, offset,
                      vector < PV_EXCEPTIONS && (PV_FAULT_VECTORS >> vector & 1));
}

/* The guest's table has no gate that the monitor could go through. */
void pv_monitor_stop(uint32_t vector, uint32_t word0, uint32_t word1)
{
    static const char digits[] = "0123456789abcdef";
    static const char text[] = "\r\nprevirt-raw: monitor: no gate for vector, frame:";
    const uint32_t words[] = {vector, word0, word1};

    for (unsigned i = 0; i < sizeof(text) - 1; i++)
        pv_putc(text[i]);
    for (unsigned i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        pv_putc(' ');
        for (int shift = 28; shift >= 0; shift -= 4)
            pv_putc(digits[words[i] >> shift & 15]);
    }
    pv_putc('\r');
    pv_putc('\n');
    pv_stop(PREVIRT_RAW_EXIT_MONITOR);
}
