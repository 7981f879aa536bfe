/* SPDX-License-Identifier: BSD-2-Clause */
/* The monitor's slow paths. No global data, no absolute address: monitor.ld refuses both. */
#include "monitor.h"
#include "../ports.h"

#include <previrt/raw.h>

#define CALL_SIZE 5u /* call rel32: what reaches a stub */
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

/*
 * #GP or #NP that names a gate: the guest may have written it since the shadow was made. If so the
 * gate is shadowed again, and int is tried again; an external interrupt, which the interrupt
 * controller does not repeat, is delivered from here.
 */
static int refresh_gate(struct pv_monitor *monitor, struct frame *frame)
{
    uint32_t error = frame->rest[0], index = error >> ERROR_INDEX_SHIFT;
    uint64_t old;
    uint32_t *word;

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
    for (word = frame->rest; word > (uint32_t *)frame; word--)
        word[0] = word[-1];
    return PV_SLOW_SHIFTED;
}

/*
 * A fault at (eip) inside the stub area, (offset) bytes into it. Its instruction has not executed:
 * the guest shall see the fault where its own instruction stood, with its own stack.
 */
static int rewind(const struct pv_monitor *monitor, struct frame *frame, uint32_t *eip,
                  uint32_t offset)
{
    uint32_t stub_area = *eip - offset;
    uint32_t alias = stub_area - monitor->stub_physical; /* 0, or the link offset */
    const struct pv_monitor_stub *stubs =
        (const struct pv_monitor_stub *)((uint32_t)monitor + monitor->at_stubs);
    uint32_t low = 0, high = monitor->stubs;
    uint32_t *word;

    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (stubs[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    if (low == high)
        return PV_SLOW_DELIVER;
    /* EIP, CS, EFLAGS; the CPU did not change stacks, so the stub's return address is the next
     * word. */
    if (stubs[low].site)
        *eip = stubs[low].site - monitor->link_offset + alias;
    else
        *eip = eip[3] - CALL_SIZE;
    if (!stubs[low].call)
        return PV_SLOW_DELIVER;
    for (word = eip + 3; word > (uint32_t *)frame; word--)
        word[0] = word[-1];
    return PV_SLOW_SHIFTED;
}

int pv_monitor_slow(struct pv_monitor *monitor, struct frame *frame)
{
    uint32_t vector = frame->vector, has_error, *eip, offset;
    int result;

    if (vector >= PV_EXCEPTIONS)
        return PV_SLOW_DELIVER; /* an interrupt: the stub goes on when the guest returns to it */
    if (vector == PV_VECTOR_GP || vector == PV_VECTOR_NP) {
        result = refresh_gate(monitor, frame);
        if (result != PV_SLOW_DELIVER)
            return result;
    }
    has_error = PV_ERROR_CODE_VECTORS >> vector & 1;
    eip = frame->rest + has_error;
    if ((eip[2] & PV_EFLAGS_VM) || (eip[1] & PV_SELECTOR_RPL) || !(PV_FAULT_VECTORS >> vector & 1))
        return PV_SLOW_DELIVER;
    offset = *eip - monitor->stub_physical;
    if (offset >= monitor->stub_size)
        offset -= monitor->link_offset;
    if (offset >= monitor->stub_size)
        return PV_SLOW_DELIVER;
    return rewind(monitor, frame, eip, offset);
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
