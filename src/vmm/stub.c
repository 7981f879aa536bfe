/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stubs: 32-bit code that does the operation of a rewritten site itself, or pushes a number and
 * makes a far jump to (stubs.entry_selector):(stubs.entry), where the back-end's entry code takes
 * over. What each instruction has done is remembered, so that a stub that was interrupted half way
 * can be undone. Hot operations are inlined by the target `vcpu` of the library.
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

/* EFLAGS that PUSHF and POPF treat at level 3 as the guest means it at level 0, TF apart: loading
 * it takes effect behind the next instruction. */
#define PLAIN_FLAGS (EFLAGS_USER & ~(EFLAGS_IF | EFLAGS_TF | EFLAGS_RF))

/* A stub in the making. */
struct code {
    struct pv_vmm *vmm;
    const struct previrt_stub_request *q;
    struct pv_stub *stub;
    uint8_t *at;
};

static void put(struct code *c, const uint8_t *bytes, size_t size)
{
    __builtin_memcpy(c->at, bytes, size);
    c->at += size;
}
#define PUT(c, ...) put(c, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put32(struct code *c, uint32_t value)
{
    put(c, (const uint8_t *)&value, sizeof value);
}

/* From here on (effect) is what the stub has done. */
static void mark(struct code *c, enum pv_stub_effect effect)
{
    struct pv_stub *stub = c->stub;

    stub->mark[stub->marks].offset = (uint8_t)(c->at - c->q->code);
    stub->mark[stub->marks++].effect = (uint8_t)effect;
}

/* (opcode) rel32 to the instruction behind the site */
static void put_jump(struct code *c, uint8_t opcode)
{
    PUT(c, opcode);
    put32(c, c->q->resume - (c->q->stub_address + (uint32_t)(c->at - c->q->code) + 4));
}

static void put_movb(struct code *c, uint32_t field, uint8_t value)
{
    PUT(c, OPCODE_MOVB_IMM, MODRM_MOV_DISP32);
    put32(c, c->vmm->low_base + field);
    PUT(c, value);
}

static void put_cmpb(struct code *c, uint32_t field, uint8_t value)
{
    PUT(c, OPCODE_CMPB_IMM, MODRM_CMP_DISP32);
    put32(c, c->vmm->low_base + field);
    PUT(c, value);
}

/* jne to where the operand is put later */
static uint8_t *put_jne(struct code *c)
{
    PUT(c, OPCODE_JNE8, 0);
    return c->at;
}

static void here(const struct code *c, uint8_t *jne)
{
    jne[-1] = (uint8_t)(c->at - jne);
}

#define FIELD_IF (PREVIRT_VCPU_EFLAGS + PREVIRT_VCPU_IF_BYTE)

/*
 * movb $IF, vIF; [pushf]; cmpb $0, pending; jne slow; [popf]; jmp resume; slow: [popf]
 * or, where flags are dead and the way back does not wrap at 4 GiB, which some translators forget
 * for conditional jumps: movb $IF, vIF; cmpb $0, pending; je resume
 */
static void emit_sti(struct code *c)
{
    const int dead = c->q->site->flags & PREVIRT_SITE_FLAGS_DEAD;
    uint8_t *slow;

    put_movb(c, FIELD_IF, PREVIRT_VCPU_IF_SET);
    mark(c, PV_STUB_SET_IF);
    if (dead && c->q->stub_address - c->q->resume <= INT32_MAX) {
        put_cmpb(c, PREVIRT_VCPU_PENDING, 0);
        PUT(c, 0x0f);
        put_jump(c, OPCODE_JE32);
        return;
    }
    if (!dead) {
        PUT(c, OPCODE_PUSHF);
        mark(c, PV_STUB_SET_IF_FLAGS);
    }
    put_cmpb(c, PREVIRT_VCPU_PENDING, 0);
    slow = put_jne(c);
    if (!dead) {
        PUT(c, OPCODE_POPF);
        mark(c, PV_STUB_SET_IF);
    }
    put_jump(c, OPCODE_JMP32);
    here(c, slow);
    if (!dead) {
        mark(c, PV_STUB_SET_IF_FLAGS);
        PUT(c, OPCODE_POPF);
        mark(c, PV_STUB_SET_IF);
    }
}

/* The processor's own, if IOPL is 0. It pushes IF: that is taken away if it is not the guest's. */
static void emit_pushf(struct code *c)
{
    static const uint8_t copy[] = {0xff, 0x34, 0x24}; /* pushl (%esp) */
    static const uint8_t clear[] = {0x80, 0x64, 0x24, 5,
                                    (uint8_t)~PREVIRT_VCPU_IF_SET}; /* andb 5(%esp) */
    uint8_t *slow, *on;

    PUT(c, OPCODE_PUSHF);
    mark(c, PV_STUB_FLAGS);
    put_cmpb(c, PV_PAGE_IOPL, 0);
    slow = put_jne(c);
    put_cmpb(c, FIELD_IF, 0);
    on = put_jne(c);
    for (int set = 0; set <= 1; set++) {
        if (set)
            here(c, on);
        mark(c, PV_STUB_FLAGS);
        put(c, copy, sizeof copy);
        mark(c, PV_STUB_FLAGS_TWICE);
        if (!set)
            put(c, clear, sizeof clear);
        PUT(c, OPCODE_POPF);
        mark(c, PV_STUB_DONE);
        put_jump(c, OPCODE_JMP32);
    }
    here(c, slow);
    mark(c, PV_STUB_FLAGS);
    PUT(c, OPCODE_POPF);
    mark(c, PV_STUB_NOTHING);
}

/* The processor's own, if IF is off and stays off and nothing else is to be loaded that it would
 * not load. */
static void emit_popf(struct code *c)
{
    static const uint8_t test[] = {0xf7, 0x44, 0x24, 4}; /* testl $imm32, 4(%esp) */
    uint8_t *slow[3];

    PUT(c, OPCODE_PUSHF);
    mark(c, PV_STUB_FLAGS);
    put(c, test, sizeof test);
    put32(c, ~(PLAIN_FLAGS | EFLAGS_FIXED));
    slow[0] = put_jne(c);
    put_cmpb(c, PV_PAGE_IOPL, 0);
    slow[1] = put_jne(c);
    put_cmpb(c, FIELD_IF, 0);
    slow[2] = put_jne(c);
    PUT(c, OPCODE_POPF);
    mark(c, PV_STUB_NOTHING);
    PUT(c, OPCODE_POPF);
    mark(c, PV_STUB_DONE);
    put_jump(c, OPCODE_JMP32);
    for (unsigned i = 0; i < 3; i++)
        here(c, slow[i]);
    mark(c, PV_STUB_FLAGS);
    PUT(c, OPCODE_POPF);
    mark(c, PV_STUB_NOTHING);
}

/* movb $1, attention; the operation itself; jmp resume */
static void emit_gs(struct code *c)
{
    put_movb(c, PREVIRT_VCPU_ATTENTION + PV_ATTENTION_GS, 1);
    put(c, c->q->bytes, c->q->insn->length);
    mark(c, PV_STUB_DONE);
    put_jump(c, OPCODE_JMP32);
}

/* push $number; ljmp entry */
static void emit_exit(struct code *c)
{
    const struct pv_stubs *stubs = &c->vmm->stubs;

    PUT(c, OPCODE_PUSH32);
    put32(c, stubs->count);
    mark(c, PV_STUB_NUMBER);
    PUT(c, OPCODE_LJMP);
    put32(c, c->q->site->op == PREVIRT_IA32_IRET && stubs->iret_entry ? stubs->iret_entry
                                                                      : stubs->entry);
    put(c, (const uint8_t *)&stubs->entry_selector, sizeof stubs->entry_selector);
}

int pv_stub_emit(void *context, struct previrt_stub_request *q)
{
    struct pv_vmm *vmm = context;
    struct pv_stubs *stubs = &vmm->stubs;
    struct previrt_stub_request base = *q;
    struct code code = {.vmm = vmm, .q = q, .at = q->code};
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
    code.stub = stub;
    if (gs) {
        emit_gs(&code);
    } else {
        if (op == PREVIRT_IA32_STI)
            emit_sti(&code);
        if (op == PREVIRT_IA32_PUSHF && q->insn->width == 32)
            emit_pushf(&code);
        if (op == PREVIRT_IA32_POPF && q->insn->width == 32)
            emit_popf(&code);
        emit_exit(&code);
    }
    q->length = (size_t)(code.at - q->code);
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
        const unsigned last = stub->marks - 1u;
        uint8_t *number = stubs->untranslated + (stub->address - stubs->address) +
                          stub->mark[last].offset - sizeof(uint32_t);

        if (stub->mark[last].effect != PV_STUB_NUMBER)
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
            vmm->stubs.stub[index].mark[0].effect == PV_STUB_SET_IF &&
            vmm->stubs.site[index].room == room)
            return 1;
    }
    return 0;
}

/*
 * Kernel code was interrupted. The guest must never see an address of a stub, so one that is done
 * is left, and one that has only begun is undone: nothing that it did before its far jump was more
 * than the virtual IF and words on the stack. The site's jump into the stub then runs again.
 */
void pv_stub_undo(struct pv_vmm *vmm)
{
    struct pv_cpu *cpu = &vmm->cpu;
    uint32_t eip = (uint32_t)cpu->eip, flags;
    int untranslated, index = find(vmm, &eip, &untranslated);
    enum pv_stub_effect effect = PV_STUB_NOTHING;
    const struct pv_op_site *site;
    const struct pv_stub *stub;

    vmm->undone = 0;
    if (index < 0)
        return;
    stub = &vmm->stubs.stub[index];
    site = &vmm->stubs.site[index];
    for (unsigned m = 0; m < stub->marks && stub->mark[m].offset <= eip - stub->address; m++)
        effect = (enum pv_stub_effect)stub->mark[m].effect;
    cpu->eip = (gva_t)(site->address - (untranslated ? vmm->load_offset : 0));
    switch (effect) {
    case PV_STUB_DONE:
        cpu->eip = (gva_t)(cpu->eip + site->room);
        return;
    case PV_STUB_FLAGS:
    case PV_STUB_FLAGS_TWICE:
    case PV_STUB_SET_IF_FLAGS:
        if (pv_read(vmm, cpu->gpr[PV_ESP], &flags, sizeof flags, NULL)) {
            pv_die(vmm, "the stack of a stub is not readable");
            return;
        }
        cpu->eflags = (flags & (EFLAGS_USER & ~EFLAGS_IF)) | EFLAGS_FIXED | EFLAGS_IF;
        cpu->gpr[PV_ESP] =
            (uint32_t)(cpu->gpr[PV_ESP] + (effect == PV_STUB_FLAGS_TWICE ? 2 : 1) * sizeof flags);
        break;
    case PV_STUB_NUMBER:
        cpu->gpr[PV_ESP] = (uint32_t)(cpu->gpr[PV_ESP] + sizeof(uint32_t));
        break;
    case PV_STUB_SET_IF:
    case PV_STUB_NOTHING:
        break;
    }
    if (stub->mark[0].effect == PV_STUB_SET_IF && effect != PV_STUB_NOTHING)
        pv_set_if(vmm->page, 0);
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
