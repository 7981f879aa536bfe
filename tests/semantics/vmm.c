/* SPDX-License-Identifier: BSD-2-Clause */
#include <previrt/ia32.h>

#include "vmm.h"

#include <stdio.h>
#include <string.h>

#define FLAG_IF     0x200
#define FLAGS_REAL  0x240dd5 /* those that the guest's own EFLAGS hold */
#define FLAGS_FIXED 0x2

/* The form that a descriptor means. */
static const struct previrt_ia32_form_info *form_of(uint32_t d)
{
    unsigned width = PREVIRT_VCPU_WIDTH(d);
    bool immediate = d & PREVIRT_VCPU_IMMEDIATE;

    for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
        const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);
        bool has_immediate;

        if (!form || form->op != PREVIRT_VCPU_OP(d))
            continue;
        has_immediate = form->layout == PREVIRT_LAYOUT_IMM8 ||
                        form->layout == PREVIRT_LAYOUT_IMM16 || form->layout == PREVIRT_LAYOUT_PTR;
        if (has_immediate != immediate)
            continue;
        if (form->width > 0 && (unsigned)form->width != width)
            continue;
        if (form->width == 0 && width == 8)
            continue;
        if (form->layout == PREVIRT_LAYOUT_NONE && form->extension >= 0 &&
            (unsigned)form->extension != PREVIRT_VCPU_SYSTEM(d))
            continue;
        if (form->layout == PREVIRT_LAYOUT_EXTMEM && !(d & PREVIRT_VCPU_MEMORY))
            continue;
        return form;
    }
    return NULL;
}

/* Assembles what the frame describes. Returns its length, 0 if that cannot be. */
static size_t assemble(const struct previrt_vcpu_frame *frame, uint8_t *at)
{
    static const uint8_t overrides[6] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    uint32_t d = frame->descriptor;
    const struct previrt_ia32_form_info *form = form_of(d);
    unsigned reg = PREVIRT_VCPU_REG(d), rm = PREVIRT_VCPU_REG(d);
    size_t n = 0;

    if (!form)
        return 0;
    if (PREVIRT_VCPU_SEGMENT(d) < 6)
        at[n++] = overrides[PREVIRT_VCPU_SEGMENT(d)];
    if (form->layout == PREVIRT_LAYOUT_STRING && (d & PREVIRT_VCPU_ADDRESS16))
        at[n++] = 0x67;
    if (form->width == 0 && PREVIRT_VCPU_WIDTH(d) == 16)
        at[n++] = 0x66;
    if (PREVIRT_VCPU_REPEAT(d))
        at[n++] = PREVIRT_VCPU_REPEAT(d) == 1 ? 0xf3 : 0xf2;
    if (form->mandatory)
        at[n++] = form->mandatory;
    memcpy(at + n, form->opcode, form->length);
    n += form->length;
    switch (form->layout) {
    case PREVIRT_LAYOUT_NONE:
    case PREVIRT_LAYOUT_STRING:
        return n;
    case PREVIRT_LAYOUT_IMM8:
        at[n++] = (uint8_t)frame->immediate;
        return n;
    case PREVIRT_LAYOUT_IMM16:
        memcpy(at + n, &frame->immediate, 2);
        return n + 2;
    case PREVIRT_LAYOUT_PTR: {
        size_t width = PREVIRT_VCPU_WIDTH(d) / 8;

        memcpy(at + n, &frame->immediate, width);
        memcpy(at + n + width, &frame->address, 2);
        return n + width + 2;
    }
    case PREVIRT_LAYOUT_CR:
    case PREVIRT_LAYOUT_DR:
    case PREVIRT_LAYOUT_SREG:
        reg = PREVIRT_VCPU_SYSTEM(d);
        break;
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_EXTREG:
        reg = (unsigned)form->extension;
        break;
    default: /* two registers */
        rm = PREVIRT_VCPU_RM(d);
    }
    if (d & PREVIRT_VCPU_MEMORY) {
        at[n++] = (uint8_t)((reg & 7) << 3 | 5);
        store32(at + n, frame->address);
        return n + 4;
    }
    at[n++] = (uint8_t)(0xc0 | (reg & 7) << 3 | rm);
    return n;
}

static struct previrt_vcpu_page *page_of(struct vmm *vmm)
{
    return (struct previrt_vcpu_page *)(void *)(vmm->guest->memory + VCPU_ADDRESS);
}

static void show_cpu(struct vmm *vmm, uint32_t eflags)
{
    struct previrt_vcpu_page *page = page_of(vmm);
    struct system_state state;

    machine_get_system(vmm->cpu, &state);
    page->eflags = FLAGS_FIXED | (eflags & FLAG_IF);
    for (unsigned i = 0; i < 6; i++)
        page->segment[i] = state.segment[i];
    page->ldtr = state.ldtr;
    page->tr = state.tr;
    for (unsigned i = 0; i < 5; i++)
        page->cr[i] = state.cr[i];
}

void vmm_begin(struct vmm *vmm, uint32_t eflags, bool pending)
{
    struct previrt_vcpu_page *page = page_of(vmm);

    memset(page, 0, sizeof(*page));
    page->version = PREVIRT_VCPU_VERSION;
    page->dispatcher = DISPATCHER_ADDRESS;
    page->pending = pending;
    show_cpu(vmm, eflags);
    vmm->dispatches = 0;
    vmm->op = 0;
    vmm->problem[0] = 0;
}

void vmm_dispatch(struct machine *machine, void *context)
{
    struct vmm *vmm = context;
    struct previrt_vcpu_frame frame;
    struct registers guest, cpu = {0};
    uint32_t frame_address, esp, next, behind;
    uint8_t code[32];
    size_t length;

    machine_get(machine, &guest);
    frame_address = guest.gpr[EAX];
    if (frame_address >= MEMORY_SIZE - sizeof(frame) ||
        frame_address != guest.gpr[ESP] + 4) { /* above the dispatcher's return address */
        snprintf(vmm->problem, sizeof(vmm->problem), "frame at 0x%x, ESP 0x%x", frame_address,
                 guest.gpr[ESP]);
        goto stop;
    }
    memcpy(&frame, machine->memory + frame_address, sizeof(frame));
    vmm->dispatches++;
    vmm->op = PREVIRT_VCPU_OP(frame.descriptor);
    vmm->site = frame.eip - PREVIRT_VCPU_CALL_SIZE;
    vmm->flags_dead = frame.descriptor & PREVIRT_VCPU_FLAGS_DEAD;
    length = assemble(&frame, code);
    if (!length || guest.eflags & 0x400) {
        snprintf(vmm->problem, sizeof(vmm->problem), "descriptor 0x%x, EFLAGS 0x%x",
                 frame.descriptor, guest.eflags);
        goto stop;
    }

    /* The virtual CPU executes it where the guest stands. */
    esp = previrt_vcpu_esp(frame_address, frame.descriptor);
    cpu.gpr[EAX] = frame.eax;
    cpu.gpr[ECX] = frame.ecx;
    cpu.gpr[EDX] = frame.edx;
    cpu.gpr[EBX] = frame.ebx;
    cpu.gpr[ESP] = esp;
    cpu.gpr[EBP] = frame.ebp;
    cpu.gpr[ESI] = frame.esi;
    cpu.gpr[EDI] = frame.edi;
    cpu.eflags = (frame.eflags & FLAGS_REAL) | page_of(vmm)->eflags;
    cpu.eip = vmm->code;
    memset(vmm->cpu->memory + vmm->code, 0x90, 32);
    memcpy(vmm->cpu->memory + vmm->code, code, length);
    machine_set(vmm->cpu, &cpu);
    behind = next = vmm->code + (uint32_t)length;
    vmm->code += 32;
    switch (vmm->op) {
    case PREVIRT_IA32_IRET:
    case PREVIRT_IA32_LRET:
    case PREVIRT_IA32_LCALL:
    case PREVIRT_IA32_LJMP:
        next = PREVIRT_VCPU_WIDTH(frame.descriptor) == 16 ? LOW_TARGET : TARGET_ADDRESS;
        break;
    case PREVIRT_IA32_SYSEXIT:
    case PREVIRT_IA32_STI_SYSEXIT:
        next = TARGET_ADDRESS;
        break;
    }
    /* One NOP further where it goes on behind itself: a hlt at the end is seen to halt. */
    machine_run(vmm->cpu, next == behind ? next + 1 : next);
    if (vmm->cpu->event.kind != EVENT_NONE) {
        machine->event = vmm->cpu->event;
        machine->event.eip = vmm->site;
        vmm->cpu->event.kind = EVENT_NONE;
        goto stop;
    }
    machine_get(vmm->cpu, &cpu);
    show_cpu(vmm, cpu.eflags);

    if (next != behind) {
        /* It does not come back: the guest goes on where the instruction led. */
        if (vmm->op == PREVIRT_IA32_LCALL)
            memcpy(machine->memory + cpu.gpr[ESP], &frame.eip,
                   PREVIRT_VCPU_WIDTH(frame.descriptor) / 8);
        cpu.eflags = (cpu.eflags & FLAGS_REAL) | FLAG_IF;
        machine_set(machine, &cpu);
        machine->redirected = true;
        uc_emu_stop(machine->uc);
        return;
    }
    frame.eax = cpu.gpr[EAX];
    frame.ecx = cpu.gpr[ECX];
    frame.edx = cpu.gpr[EDX];
    frame.ebx = cpu.gpr[EBX];
    frame.ebp = cpu.gpr[EBP];
    frame.esi = cpu.gpr[ESI];
    frame.edi = cpu.gpr[EDI];
    if (frame.descriptor & PREVIRT_VCPU_ESP)
        frame.esp = cpu.gpr[ESP];
    else
        frame.esp = 0x0bad0bad; /* nobody may look at it */
    frame.eflags = (cpu.eflags & FLAGS_REAL) | FLAG_IF | FLAGS_FIXED;
    memcpy(machine->memory + frame_address, &frame, sizeof(frame));
    /* A dispatcher may clobber what it likes. */
    for (unsigned i = 0; i < 8; i++)
        if (i != ESP)
            guest.gpr[i] = 0xdead0000 + i;
    guest.eflags ^= 0x8d5;
    machine_set_in_hook(machine, &guest);
    return;
stop:
    if (machine->event.kind == EVENT_NONE)
        machine->event = (struct event){EVENT_LOST, 0, guest.eip};
    uc_emu_stop(machine->uc);
}
