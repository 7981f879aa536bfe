/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The target `native`: stubs that perform the original operation. docs/rewriting.md, "The target
 * native".
 *
 * An operation that touches neither memory nor the stack pointer is called; its stub serves all
 * sites with the same operands. Everything else is jumped to and jumps back: a copy of the
 * instruction that finds ESP, the stack and the segment registers exactly as at the site.
 */
#include "ia32/emit.h"

/* clang-format off */
/* pushf for a caller: the flags take the place of the return address, which moves down. No flag changes. */
PV_TEMPLATE(native_pushf, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl (%esp)\n"        /* the return address again: ESP is where it must be at ret */
    "pushf\n"
    "popl 4(%esp)\n"        /* ESP counts as already incremented (SDM 2B POP) */
    "ret\n");

/* popf for a caller. The flags are read again above the return address and skipped by ret. */
PV_TEMPLATE(native_popf, PV_HOLE_NONE, PV_HOLE_NONE, PV_HOLE_NONE,
    "pushl 4(%esp)\n"
    "popf\n"
    "ret $4\n");
/* clang-format on */

/* Operations that have no successor at the site. */
static int comes_back(unsigned op)
{
    switch (op) {
    case PREVIRT_IA32_IRET:
    case PREVIRT_IA32_LJMP:
    case PREVIRT_IA32_LRET:
    case PREVIRT_IA32_SYSRET:
    case PREVIRT_IA32_SYSEXIT:
    case PREVIRT_IA32_STI_SYSEXIT:
    case PREVIRT_IA32_RSM:
        return 0;
    default:
        return 1;
    }
}

/*
 * Operations that a called stub can perform with the return address on the stack. Not here: what
 * pushes, pops or loads SS or ESP; what may change the meaning of the stack's address between call
 * and ret (CR0, CR3, CR4, a segment register); what loads the first descriptor tables, when there
 * may be no stack yet; what leaves through VMX, SVM or a gate.
 */
static int may_be_called(unsigned op)
{
    switch (op) {
    case PREVIRT_IA32_CLI:
    case PREVIRT_IA32_STI:
    case PREVIRT_IA32_HLT:
    case PREVIRT_IA32_STI_HLT:
    case PREVIRT_IA32_STI_MWAIT:
    case PREVIRT_IA32_IN:
    case PREVIRT_IA32_OUT:
    case PREVIRT_IA32_INS:
    case PREVIRT_IA32_OUTS:
    case PREVIRT_IA32_MOV_FROM_SEG:
    case PREVIRT_IA32_MOV_FROM_CR:
    case PREVIRT_IA32_MOV_FROM_DR:
    case PREVIRT_IA32_MOV_TO_DR:
    case PREVIRT_IA32_CLTS:
    case PREVIRT_IA32_SMSW:
    case PREVIRT_IA32_LLDT:
    case PREVIRT_IA32_SLDT:
    case PREVIRT_IA32_LTR:
    case PREVIRT_IA32_STR:
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
    case PREVIRT_IA32_VERR:
    case PREVIRT_IA32_VERW:
    case PREVIRT_IA32_ARPL:
    case PREVIRT_IA32_INVD:
    case PREVIRT_IA32_WBINVD:
    case PREVIRT_IA32_WBNOINVD:
    case PREVIRT_IA32_CPUID:
    case PREVIRT_IA32_RDMSR:
    case PREVIRT_IA32_WRMSR:
    case PREVIRT_IA32_RDTSC:
    case PREVIRT_IA32_RDTSCP:
    case PREVIRT_IA32_RDPMC:
    case PREVIRT_IA32_RDPID:
    case PREVIRT_IA32_XGETBV:
    case PREVIRT_IA32_XSETBV:
    case PREVIRT_IA32_MONITOR:
    case PREVIRT_IA32_MWAIT:
    case PREVIRT_IA32_CLAC:
    case PREVIRT_IA32_STAC:
        return 1;
    default:
        return 0;
    }
}

/* Whether ESP is one of its general register operands. */
static int names_esp(const struct previrt_ia32_insn *insn)
{
    return insn->has_modrm &&
           (insn->reg == PV_ESP || insn->rm == PV_ESP || (insn->modrm & 7) == PV_ESP);
}

/* The instruction without the prefixes that pad it: segment overrides and address size mean nothing
 * without a memory operand. */
static void emit_without_padding(struct pv_code *code, const struct previrt_stub_request *request)
{
    const struct previrt_ia32_insn *insn = request->insn;
    int string = insn->op == PREVIRT_IA32_INS || insn->op == PREVIRT_IA32_OUTS;

    for (unsigned i = 0; i < insn->prefixes; i++) {
        switch (request->bytes[i]) {
        case 0x26: /* ES */
        case 0x2e: /* CS */
        case 0x36: /* SS */
        case 0x3e: /* DS */
        case 0x64: /* FS */
        case 0x65: /* GS */
        case PV_PREFIX_ADDRESS:
            if (!string)
                continue;
        }
        pv_emit_byte(code, request->bytes[i]);
    }
    pv_emit_bytes(code, request->bytes + insn->prefixes, (uint32_t)insn->length - insn->prefixes);
}

static int emit_native(void *context, struct previrt_stub_request *request)
{
    const struct previrt_ia32_insn *insn = request->insn;
    struct pv_code code = {.bytes = request->code, .capacity = request->capacity};

    (void)context;
    if (insn->width == 32 && insn->op == PREVIRT_IA32_PUSHF) {
        pv_emit_template(&code, pv_template_native_pushf, 0);
    } else if (insn->width == 32 && insn->op == PREVIRT_IA32_POPF) {
        pv_emit_template(&code, pv_template_native_popf, 0);
    } else if (may_be_called(insn->op) && !insn->is_memory && !names_esp(insn)) {
        emit_without_padding(&code, request);
        pv_emit_byte(&code, PV_OPCODE_RET);
    } else {
        request->transfer = PREVIRT_TRANSFER_JUMP;
        request->shared = 0;
        pv_emit_bytes(&code, request->bytes, insn->length);
        if (comes_back(insn->op))
            pv_emit_transfer(&code, PV_OPCODE_JMP, request->stub_address, request->resume);
    }
    return pv_emit_done(&code, request);
}

void previrt_target_native(struct previrt_target *target)
{
    *target = (struct previrt_target){
        .size = sizeof(*target),
        .flags = PREVIRT_TARGET_ANY_FLAGS,
        .name = "native",
        .emit = emit_native,
    };
    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++)
        target->action[op] = PREVIRT_ACTION_STUB;
}
