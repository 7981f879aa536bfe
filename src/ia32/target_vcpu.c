/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The target `vcpu`: hot operations against the vCPU page, the rest through the dispatcher.
 * docs/rewriting.md, "The target vcpu"; previrt/vcpu.h has the page and the frame.
 *
 * Every stub is called, also for operations that do not come back: the return address is what tells
 * the VMM which site a shared stub serves, and the stub needs the guest's stack for its frame
 * anyway.
 */
#include <previrt/vcpu.h>

#include "ia32/emit.h"

#define TEXT(x)  TEXT_(x)
#define TEXT_(x) #x

/* Fields of the page as the templates name them: the page stands at 0 until it is placed. */
#define PAGE_EFLAGS     TEXT(PREVIRT_VCPU_EFLAGS)
#define PAGE_IF         TEXT(PREVIRT_VCPU_EFLAGS + PREVIRT_VCPU_IF_BYTE)
#define PAGE_PENDING    TEXT(PREVIRT_VCPU_PENDING)
#define PAGE_DISPATCHER TEXT(PREVIRT_VCPU_DISPATCHER)
#define IF_SET          TEXT(PREVIRT_VCPU_IF_SET)
#define IF_NONE         TEXT(PREVIRT_VCPU_IF_NONE)

/* The four bytes that end at a label, and those with a byte immediate behind them. */
#define HOLE(label)      #label "f-1f-4"
#define HOLE_IMM8(label) #label "f-1f-5"

/* EFLAGS that are the guest's own while it runs: CF PF AF ZF SF TF DF OF, AC, ID (SDM 1, 3.4.3) */
#define REAL_FLAGS 0x00240dd5

/* Frame offsets that the assembler cannot ask the C structure for; asserted in previrt/vcpu.h or
 * below. */
#define FRAME_HEAD   12 /* descriptor, immediate, address */
#define FRAME_EDI    12
#define FRAME_ESI    16
#define FRAME_EBP    20
#define FRAME_ESP    24
#define FRAME_EBX    28
#define FRAME_EDX    32
#define FRAME_ECX    36
#define FRAME_EAX    40
#define FRAME_EFLAGS 44
#define FRAME_EIP    48
_Static_assert(offsetof(struct previrt_vcpu_frame, esi) == FRAME_ESI, "");
_Static_assert(offsetof(struct previrt_vcpu_frame, ebp) == FRAME_EBP, "");
_Static_assert(offsetof(struct previrt_vcpu_frame, ebx) == FRAME_EBX, "");
_Static_assert(offsetof(struct previrt_vcpu_frame, edx) == FRAME_EDX, "");
_Static_assert(offsetof(struct previrt_vcpu_frame, ecx) == FRAME_ECX, "");
/* What lies between a site's ESP and the frame's address field when the address is computed. */
#define PUSHED_BEFORE_ADDRESS (sizeof(struct previrt_vcpu_frame) - FRAME_HEAD)

/* clang-format off */
PV_TEMPLATE(vcpu_cli, HOLE_IMM8(2), PV_HOLE_NONE, PV_HOLE_NONE,
    "movb $" IF_NONE ", " PAGE_IF "\n"
    "2:\n");

/* sti: sets the virtual IF, and falls into the dispatching code behind it if something is pending. In this
 * order, so that an interrupt between the two instructions already finds IF set and is delivered at once. */
PV_TEMPLATE(vcpu_sti_dead, HOLE_IMM8(2), HOLE_IMM8(3), PV_HOLE_NONE,
    "movb $" IF_SET ", " PAGE_IF "\n"
    "2: cmpb $0, " PAGE_PENDING "\n"
    "3: jne 8f\n"
    "ret\n");

/* The same without touching a flag. */
PV_TEMPLATE(vcpu_sti, HOLE_IMM8(2), HOLE(3), PV_HOLE_NONE,
    "movb $" IF_SET ", " PAGE_IF "\n"
    "2: pushl %ecx\n"
    "movzbl " PAGE_PENDING ", %ecx\n"
    "3: jecxz 4f\n"
    "popl %ecx\n"
    "jmp 8f\n"
    "4: popl %ecx\n"
    "ret\n");

/* pushf with nothing of its own to say about arithmetic flags: pushes the image. */
PV_TEMPLATE(vcpu_pushf_inline, HOLE(2), PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl " PAGE_EFLAGS "\n"
    "2:\n");

/* pushf exactly: the real arithmetic flags, the image's system flags. */
PV_TEMPLATE(vcpu_pushf, HOLE(2), PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl (%esp)\n"            /* the return address moves down, its place becomes the operand */
    "pushf\n"
    "pushl %eax\n"
    "movl 4(%esp), %eax\n"
    "andl $" TEXT(REAL_FLAGS) ", %eax\n"
    "orl " PAGE_EFLAGS ", %eax\n"
    "2: movl %eax, 12(%esp)\n"
    "popl %eax\n"
    "popf\n"
    "ret\n");

/* push of a page's field, by caller: address 0 stands for the field. */
PV_TEMPLATE(vcpu_push, HOLE(2), PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl (%esp)\n"
    "pushl 0\n"
    "2: popl 4(%esp)\n"         /* ESP counts as already incremented (SDM 2B POP) */
    "ret\n");

/* Room for what a dispatched operation pushes, between the guest's stack and the return address. */
PV_TEMPLATE(vcpu_reserve4, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl (%esp)\n");
PV_TEMPLATE(vcpu_reserve2, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "leal -2(%esp), %esp\n"
    "pushl 2(%esp)\n"
    "popl (%esp)\n");

/* The frame's tail; then come address, immediate and descriptor. */
PV_TEMPLATE(vcpu_enter, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "pushf\n"
    "pusha\n");

PV_TEMPLATE(vcpu_dispatch, HOLE(2), PV_HOLE_NONE, PV_HOLE_NONE,
    "cld\n"
    "movl %esp, %eax\n"
    "call *" PAGE_DISPATCHER "\n"
    "2:\n");

/* Back to the site with the registers of the frame; ret follows. */
PV_TEMPLATE(vcpu_leave, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "leal " TEXT(FRAME_HEAD) "(%esp), %esp\n"
    "popa\n"
    "popf\n");

/* The same for an operation that loaded ESP: the return address and the flags go to the new stack first. Nothing
 * below the current ESP is ever needed, so an interrupt may come at any point. */
PV_TEMPLATE(vcpu_leave_esp, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "movl " TEXT(FRAME_ESP) "(%esp), %eax\n"
    "movl " TEXT(FRAME_EIP) "(%esp), %ecx\n"
    "movl " TEXT(FRAME_EFLAGS) "(%esp), %edx\n"
    "movl %ecx, -4(%eax)\n"
    "movl %edx, -8(%eax)\n"
    "leal -8(%eax), %eax\n"
    "movl %eax, " TEXT(FRAME_ESP) "(%esp)\n"
    "movl " TEXT(FRAME_EDI) "(%esp), %edi\n"
    "movl " TEXT(FRAME_ESI) "(%esp), %esi\n"
    "movl " TEXT(FRAME_EBP) "(%esp), %ebp\n"
    "movl " TEXT(FRAME_EBX) "(%esp), %ebx\n"
    "movl " TEXT(FRAME_EDX) "(%esp), %edx\n"
    "movl " TEXT(FRAME_ECX) "(%esp), %ecx\n"
    "movl " TEXT(FRAME_EAX) "(%esp), %eax\n"
    "movl " TEXT(FRAME_ESP) "(%esp), %esp\n"
    "popf\n"
    "ret\n");
/* clang-format on */

#define NO_FIELD 0xffffffffu

/* The field of the page that holds what the operation reads, or NO_FIELD. */
static uint32_t page_field(const struct previrt_ia32_insn *insn)
{
    switch (insn->op) {
    case PREVIRT_IA32_MOV_FROM_SEG:
    case PREVIRT_IA32_PUSH_SEG:
        if (insn->system_register < 6)
            return PREVIRT_VCPU_SEGMENTS + 4u * insn->system_register;
        return NO_FIELD;
    case PREVIRT_IA32_MOV_FROM_CR:
        switch (insn->lock ? 0xff : insn->system_register) {
        case 0:
        case 2:
        case 3:
        case 4:
            return PREVIRT_VCPU_CR + 4u * insn->system_register;
        default:
            return NO_FIELD;
        }
    case PREVIRT_IA32_SMSW:
        return PREVIRT_VCPU_CR;
    case PREVIRT_IA32_SLDT:
        return PREVIRT_VCPU_LDTR;
    case PREVIRT_IA32_STR:
        return PREVIRT_VCPU_TR;
    default:
        return NO_FIELD;
    }
}

/* mov (address), %reg of 16 or 32 bits */
static void emit_load(struct pv_code *code, unsigned reg, unsigned width, uint32_t address)
{
    if (width == 16)
        pv_emit_byte(code, PV_PREFIX_OPERAND);
    if (reg == PV_EAX) {
        pv_emit_byte(code, PV_OPCODE_MOV_EAX);
        pv_emit_long(code, address);
    } else {
        pv_emit_byte(code, PV_OPCODE_MOV_LOAD);
        pv_emit_absolute(code, reg, address);
    }
}

static int inlined(struct pv_code *code, struct previrt_stub_request *request)
{
    request->transfer = PREVIRT_TRANSFER_INLINE;
    return pv_emit_done(code, request);
}

static int called(struct pv_code *code, struct previrt_stub_request *request)
{
    pv_emit_byte(code, PV_OPCODE_RET);
    return pv_emit_done(code, request);
}

/* Whether the operation loads its general register operand, and that is ESP. */
static int loads_esp(const struct previrt_ia32_insn *insn)
{
    switch (insn->op) {
    case PREVIRT_IA32_MOV_FROM_SEG:
    case PREVIRT_IA32_MOV_FROM_CR:
    case PREVIRT_IA32_MOV_FROM_DR:
    case PREVIRT_IA32_SMSW:
    case PREVIRT_IA32_SLDT:
    case PREVIRT_IA32_STR:
    case PREVIRT_IA32_RDPID:
        return !insn->is_memory && insn->reg == PV_ESP;
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
    case PREVIRT_IA32_LDS:
    case PREVIRT_IA32_LES:
    case PREVIRT_IA32_LFS:
    case PREVIRT_IA32_LGS:
    case PREVIRT_IA32_LSS:
        return insn->reg == PV_ESP;
    case PREVIRT_IA32_ARPL:
    case PREVIRT_IA32_VMREAD:
        return !insn->is_memory && (insn->modrm & 7) == PV_ESP;
    default:
        return 0;
    }
}

/* Bytes that the operation pops, where the stub does that for the dispatcher. */
static unsigned pops(const struct previrt_ia32_insn *insn)
{
    if (insn->op == PREVIRT_IA32_POPF || insn->op == PREVIRT_IA32_POP_SEG)
        return insn->width / 8u;
    return 0;
}

static unsigned pushes(const struct previrt_ia32_insn *insn)
{
    if (insn->op == PREVIRT_IA32_PUSHF || insn->op == PREVIRT_IA32_PUSH_SEG)
        return insn->width / 8u;
    return 0;
}

static uint32_t descriptor(const struct previrt_site *site, const struct previrt_ia32_insn *insn)
{
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(insn->form);
    uint32_t d = insn->op;
    unsigned width_code = insn->width == 8 ? 1 : insn->width == 16 ? 2 : insn->width == 32 ? 3 : 0;
    int string = form && form->layout == PREVIRT_LAYOUT_STRING;
    unsigned segment = PREVIRT_VCPU_SEGMENT_NONE;

    if ((insn->is_memory || string) && insn->segment < 6)
        segment = insn->segment;
    d |= (insn->reg & 7u) << 8;
    d |= (insn->rm & 7u) << 11;
    d |= width_code << 14;
    if (insn->is_memory)
        d |= PREVIRT_VCPU_MEMORY;
    if (site->flags & PREVIRT_SITE_FLAGS_DEAD)
        d |= PREVIRT_VCPU_FLAGS_DEAD;
    d |= segment << 18;
    d |= (insn->rep == 0xf3 ? 1u : insn->rep == 0xf2 ? 2u : 0u) << 21;
    if (insn->address16 && (insn->is_memory || string))
        d |= PREVIRT_VCPU_ADDRESS16;
    /* LOCK makes CR8 of CR0 where there is no REX prefix to do it (APM 3, MOV CRn). */
    d |= (insn->lock ? 8u : insn->system_register & 15u) << 24;
    if (insn->immediate_size)
        d |= PREVIRT_VCPU_IMMEDIATE;
    if (loads_esp(insn))
        d |= PREVIRT_VCPU_ESP;
    d |= pushes(insn) / 2 << 30;
    return d;
}

static int dispatched(struct pv_code *code, struct previrt_stub_request *request, uint32_t page)
{
    const struct previrt_ia32_insn *insn = request->insn;
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(insn->form);

    if (pushes(insn) == 4)
        pv_emit_template(code, pv_template_vcpu_reserve4, 0);
    else if (pushes(insn) == 2)
        pv_emit_template(code, pv_template_vcpu_reserve2, 0);
    pv_emit_template(code, pv_template_vcpu_enter, 0);
    if (insn->is_memory) {
        /* Neither pusha nor lea changes a register that the address is made of, but ESP. */
        pv_emit_address(code, PV_EAX, insn, PUSHED_BEFORE_ADDRESS);
        pv_emit_byte(code, PV_OPCODE_PUSH_REG + PV_EAX);
    } else {
        pv_emit_push(code, form && form->layout == PREVIRT_LAYOUT_PTR ? insn->selector : 0);
    }
    pv_emit_push(code, insn->immediate_size ? insn->immediate : 0);
    pv_emit_push(code, descriptor(request->site, insn));
    pv_emit_template(code, pv_template_vcpu_dispatch, page);
    if (loads_esp(insn)) {
        pv_emit_template(code, pv_template_vcpu_leave_esp, 0);
        return pv_emit_done(code, request);
    }
    pv_emit_template(code, pv_template_vcpu_leave, 0);
    if (pops(insn)) {
        pv_emit_byte(code, PV_OPCODE_RET_IMM16);
        pv_emit_byte(code, (uint8_t)pops(insn));
        pv_emit_byte(code, 0);
        return pv_emit_done(code, request);
    }
    return called(code, request);
}

static int emit_vcpu(void *context, struct previrt_stub_request *request)
{
    const struct previrt_ia32_insn *insn = request->insn;
    struct pv_code code = {.bytes = request->code, .capacity = request->capacity};
    int dead = request->site->flags & PREVIRT_SITE_FLAGS_DEAD;
    uint32_t page = (uint32_t)(uintptr_t)context;
    uint32_t field = page_field(insn);

    switch (insn->op) {
    case PREVIRT_IA32_CLI:
        pv_emit_template(&code, pv_template_vcpu_cli, page);
        if (request->inline_allowed && code.length <= request->room)
            return inlined(&code, request);
        return called(&code, request);
    case PREVIRT_IA32_STI:
        pv_emit_template(&code, dead ? pv_template_vcpu_sti_dead : pv_template_vcpu_sti, page);
        return dispatched(&code, request, page);
    case PREVIRT_IA32_PUSHF:
        if (insn->width != 32)
            break;
        if (dead && request->inline_allowed) {
            pv_emit_template(&code, pv_template_vcpu_pushf_inline, page);
            if (code.length <= request->room)
                return inlined(&code, request);
            code.length = 0;
        }
        pv_emit_template(&code, pv_template_vcpu_pushf, page);
        return pv_emit_done(&code, request);
    case PREVIRT_IA32_PUSH_SEG:
        if (insn->width != 32 || field == NO_FIELD)
            break;
        if (request->inline_allowed) {
            pv_emit_byte(&code, PV_OPCODE_GROUP5);
            pv_emit_absolute(&code, PV_GROUP5_PUSH, page + field);
            if (code.length <= request->room)
                return inlined(&code, request);
            code.length = 0;
        }
        pv_emit_template(&code, pv_template_vcpu_push, page + field);
        return pv_emit_done(&code, request);
    default:
        if (field == NO_FIELD || insn->is_memory || (insn->width != 16 && insn->width != 32))
            break;
        emit_load(&code, insn->reg, insn->width, page + field);
        if (request->inline_allowed && code.length <= request->room)
            return inlined(&code, request);
        if (insn->reg != PV_ESP)
            return called(&code, request);
        code.length = 0; /* ESP cannot be loaded in front of a ret */
    }
    return dispatched(&code, request, page);
}

void previrt_target_vcpu(struct previrt_target *target, uint64_t vcpu_address)
{
    *target = (struct previrt_target){
        .size = sizeof(*target),
        .name = "vcpu",
        .vcpu_address = vcpu_address,
        .emit = emit_vcpu,
        .emit_context = (void *)(uintptr_t)vcpu_address,
    };
    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++)
        target->action[op] = PREVIRT_ACTION_STUB;
    target->action[PREVIRT_IA32_CLI] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_PUSHF] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_PUSH_SEG] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_MOV_FROM_SEG] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_MOV_FROM_CR] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_SMSW] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_SLDT] = PREVIRT_ACTION_INLINE;
    target->action[PREVIRT_IA32_STR] = PREVIRT_ACTION_INLINE;
}
