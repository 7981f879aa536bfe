/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stubs: 32-bit code that takes a rewritten site into the VMM. Each is pushed a number and
 * makes a far jump to (stubs.entry_selector):(stubs.entry), where the back-end's entry code takes
 * over; its layout is remembered, so that one that was interrupted half way can be undone. Hot
 * operations are inlined by the target `vcpu` of the library.
 */
#include <previrt/rewrite.h>
#include "vmm.h"

#define OPCODE_MOVB_IMM  0xc6 /* /0 with ModRM 05: movb $imm8, disp32 */
#define OPCODE_CMPB_IMM  0x80 /* /7 with ModRM 3d: cmpb $imm8, disp32 */
#define MODRM_MOV_DISP32 0x05
#define MODRM_CMP_DISP32 0x3d
#define OPCODE_JNE8      0x75
#define OPCODE_JE32      0x84 /* behind 0f */
#define OPCODE_JMP32     0xe9
#define OPCODE_PUSHF     0x9c
#define OPCODE_POPF      0x9d
#define OPCODE_PUSH32    0x68
#define OPCODE_LJMP      0xea

static uint8_t *put32(uint8_t *p, uint32_t value)
{
    __builtin_memcpy(p, &value, sizeof value);
    return p + sizeof value;
}

/* (opcode) rel32 to the instruction behind the site */
static uint8_t *put_jump(const struct previrt_stub_request *q, uint8_t *p, uint8_t opcode)
{
    *p++ = opcode;
    return put32(p, q->resume - (q->stub_address + (uint32_t)(p - q->code) + 4));
}

/*
 * movb $IF, vIF; [pushf]; cmpb $0, pending; jne slow; [popf]; jmp resume; slow: [popf]
 * or, where flags are dead and the way back does not wrap at 4 GiB, which some translators forget
 * for conditional jumps: movb $IF, vIF; cmpb $0, pending; je resume
 */
static uint8_t *emit_sti(struct pv_vmm *vmm, struct previrt_stub_request *q, struct pv_stub *stub,
                         uint8_t *p)
{
    int dead = q->site->flags & PREVIRT_SITE_FLAGS_DEAD;

    *p++ = OPCODE_MOVB_IMM, *p++ = MODRM_MOV_DISP32;
    p = put32(p, vmm->low_base + PREVIRT_VCPU_EFLAGS + PREVIRT_VCPU_IF_BYTE);
    *p++ = PREVIRT_VCPU_IF_SET;
    stub->sets_if = 1;
    if (!dead) {
        stub->flags_from = p - q->code;
        *p++ = OPCODE_PUSHF;
    }
    *p++ = OPCODE_CMPB_IMM, *p++ = MODRM_CMP_DISP32;
    p = put32(p, vmm->low_base + PREVIRT_VCPU_PENDING);
    *p++ = 0;
    if (dead && q->stub_address - q->resume <= INT32_MAX) {
        *p++ = 0x0f;
        return put_jump(q, p, OPCODE_JE32);
    }
    *p++ = OPCODE_JNE8, *p++ = dead ? 5 : 6;
    if (!dead) {
        stub->flags_to = p - q->code;
        *p++ = OPCODE_POPF;
    }
    p = put_jump(q, p, OPCODE_JMP32);
    if (!dead) {
        stub->slow_flags = p - q->code;
        *p++ = OPCODE_POPF;
    }
    return p;
}

/* movb $1, attention; the operation itself; jmp resume */
static uint8_t *emit_gs(struct pv_vmm *vmm, struct previrt_stub_request *q, struct pv_stub *stub,
                        uint8_t *p)
{
    *p++ = OPCODE_MOVB_IMM, *p++ = MODRM_MOV_DISP32;
    p = put32(p, vmm->low_base + PREVIRT_VCPU_ATTENTION + PV_ATTENTION_GS);
    *p++ = 1;
    __builtin_memcpy(p, q->bytes, q->insn->length);
    p += q->insn->length;
    stub->done = p - q->code;
    return put_jump(q, p, OPCODE_JMP32);
}

int pv_stub_emit(void *context, struct previrt_stub_request *q)
{
    struct pv_vmm *vmm = context;
    struct pv_stubs *stubs = &vmm->stubs;
    struct previrt_stub_request base = *q;
    uint8_t *p = q->code;
    unsigned op = q->site->op;
    struct pv_op_site *site;
    struct pv_stub *stub;
    int gs = 0;

    if (((op == PREVIRT_IA32_PUSH_SEG || op == PREVIRT_IA32_POP_SEG ||
          op == PREVIRT_IA32_MOV_FROM_SEG || op == PREVIRT_IA32_MOV_TO_SEG) &&
         q->insn->system_register != PV_CS && q->insn->system_register != PV_SS) ||
        (op == PREVIRT_IA32_RDTSC && stubs->native_tsc)) {
        /* the processor's own segment registers hold the guest's own selectors */
        gs = stubs->tell_gs && q->insn->system_register == PV_GS &&
             (op == PREVIRT_IA32_POP_SEG || op == PREVIRT_IA32_MOV_TO_SEG);
        if (!gs) {
            __builtin_memcpy(q->code, q->bytes, q->insn->length);
            q->length = q->insn->length;
            q->transfer = PREVIRT_TRANSFER_INLINE;
            return PREVIRT_OK;
        }
    }
    if (q->inline_allowed && op != PREVIRT_IA32_STI && !gs) {
        int r = stubs->inline_emit(stubs->inline_context, &base);

        if (r == PREVIRT_OK && base.transfer == PREVIRT_TRANSFER_INLINE) {
            *q = base;
            return r;
        }
    }
    if (stubs->count == stubs->limit)
        return PREVIRT_E_STUBS;
    site = &stubs->site[stubs->count];
    site->address = q->site->address;
    site->room = q->room;
    site->insn = *q->insn;
    stub = &stubs->stub[stubs->count];
    *stub = (struct pv_stub){.address = q->stub_address};
    if (stubs->count && stub->address < stubs->stub[stubs->count - 1].address)
        return PREVIRT_E_STUBS;
    q->transfer = PREVIRT_TRANSFER_JUMP;
    q->shared = 0;
    if (op == PREVIRT_IA32_STI)
        p = emit_sti(vmm, q, stub, p);
    if (gs)
        p = emit_gs(vmm, q, stub, p);
    stub->push = p - q->code;
    if (!gs) {
        *p++ = OPCODE_PUSH32;
        p = put32(p, stubs->count);
        *p++ = OPCODE_LJMP;
        p = put32(p,
                  op == PREVIRT_IA32_IRET && stubs->iret_entry ? stubs->iret_entry : stubs->entry);
        *p++ = stubs->entry_selector & 0xff, *p++ = stubs->entry_selector >> 8;
    }
    q->length = p - q->code;
    stub->size = q->length;
    stubs->count++;
    return PREVIRT_OK;
}

/* The stubs as kernel code sees them that runs at its load address: they tell so, since nothing
 * else does. */
void pv_stub_copy_untranslated(struct pv_stubs *stubs)
{
    __builtin_memcpy(stubs->untranslated, stubs->memory, stubs->size);
    for (uint32_t i = 0; i < stubs->count; i++) {
        const struct pv_stub *stub = &stubs->stub[i];
        uint8_t *number = stubs->untranslated + (stub->address - stubs->address) + stub->push + 1;

        if (stub->push == stub->size) /* it pushes none */
            continue;
        number[3] |= PV_STUB_UNTRANSLATED >> 24;
    }
}

/* The stub whose code (*eip) is in: its index, and (*eip) becomes the address that it is linked
 * for. -1: none. */
static int find(const struct pv_vmm *vmm, uint32_t *eip, int *untranslated)
{
    const struct pv_stubs *stubs = &vmm->stubs;
    uint32_t low = 0, high = stubs->count;

    *untranslated = vmm->load_offset && *eip + vmm->load_offset - stubs->address < stubs->size;
    if (*untranslated)
        *eip += vmm->load_offset;
    if (!stubs->count || *eip - stubs->address >= stubs->size)
        return -1;
    while (high - low > 1) {
        uint32_t middle = low + (high - low) / 2;

        if (stubs->stub[middle].address <= *eip)
            low = middle;
        else
            high = middle;
    }
    return *eip - stubs->stub[low].address < stubs->stub[low].size ? (int)low : -1;
}

int pv_stub_inside(struct pv_vmm *vmm, gva_t eip)
{
    int untranslated;

    return find(vmm, &eip, &untranslated) >= 0;
}

/*
 * Whether (eip) is right behind a site of STI: it may have been executed just now, by its stub and
 * without the VMM. (If the guest came there in another way, nothing is lost.) The site is a jump
 * into its stub.
 */
int pv_stub_behind_sti(struct pv_vmm *vmm, gva_t eip)
{
    enum { JUMP_LENGTH = 5 };
    uint8_t bytes[PREVIRT_ROOM_MAX];
    unsigned size = sizeof bytes;

    if (pv_read(vmm, eip - size, bytes, size, NULL)) { /* the page before is not there */
        size = eip & PV_PAGE_MASK;
        if (size >= sizeof bytes || pv_read(vmm, eip - size, bytes, size, NULL))
            return 0;
    }
    for (unsigned room = JUMP_LENGTH; room <= size; room++) {
        const uint8_t *at = bytes + size - room;
        int index, untranslated;
        uint32_t target;

        if (*at != OPCODE_JMP32)
            continue;
        __builtin_memcpy(&target, at + 1, sizeof target);
        target += eip - room + JUMP_LENGTH;
        index = find(vmm, &target, &untranslated);
        if (index >= 0 && vmm->stubs.stub[index].address == target &&
            vmm->stubs.stub[index].sets_if && vmm->stubs.site[index].room == room)
            return 1;
    }
    return 0;
}

/*
 * Kernel code was interrupted. The guest must never see an address of a stub, so one that has begun
 * is undone: nothing that it did before its far jump was more than the virtual IF and words on the
 * stack. The site's jump into the stub then runs again.
 */
void pv_stub_undo(struct pv_vmm *vmm)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t eip = (uint32_t)cpu->eip, flags;
    int untranslated, index = find(vmm, &eip, &untranslated);
    const struct pv_stub *stub;
    unsigned offset;

    vmm->undone = 0;
    if (index < 0)
        return;
    stub = &vmm->stubs.stub[index];
    offset = eip - stub->address;
    if (stub->done && offset >= stub->done) {
        const struct pv_op_site *site = &vmm->stubs.site[index];

        cpu->eip = (gva_t)(site->address + site->room - (untranslated ? vmm->load_offset : 0));
        return;
    }
    if ((offset > stub->flags_from && offset <= stub->flags_to) ||
        (stub->slow_flags && offset == stub->slow_flags)) {
        if (pv_read(vmm, cpu->gpr[PV_ESP], &flags, sizeof flags, NULL)) {
            pv_die(vmm, "the stack of a stub is not readable");
            return;
        }
        cpu->eflags = (flags & (EFLAGS_USER & ~EFLAGS_IF)) | EFLAGS_FIXED | EFLAGS_IF;
        cpu->gpr[PV_ESP] = (uint32_t)(cpu->gpr[PV_ESP] + sizeof flags);
    } else if (offset > stub->push) {
        cpu->gpr[PV_ESP] = (uint32_t)(cpu->gpr[PV_ESP] + sizeof(uint32_t));
    }
    if (stub->sets_if && offset)
        pv_set_if(vmm->page, 0);
    cpu->eip = (gva_t)(vmm->stubs.site[index].address - (untranslated ? vmm->load_offset : 0));
    vmm->undone = 1;
    vmm->undone_number = (uint32_t)index | (untranslated ? PV_STUB_UNTRANSLATED : 0);
    vmm->count.rolled_back++;
}

void pv_stub_operation(struct pv_vmm *vmm, uint32_t number)
{
    struct pv_op_site site;
    int untranslated = (number & PV_STUB_UNTRANSLATED) != 0;

    vmm->count.exits++;
    vmm->count.operations++;
    vmm->cpu.user = 0;
    pv_step_end(vmm);
    number &= ~PV_STUB_UNTRANSLATED;
    if (number >= vmm->stubs.count) {
        pv_die(vmm, "operation number %u does not exist", number);
        return;
    }
    if (!untranslated) {
        pv_operation(vmm, &vmm->stubs.site[number]);
        return;
    }
    site = vmm->stubs.site[number];
    site.address -= vmm->load_offset;
    pv_operation(vmm, &site);
}
