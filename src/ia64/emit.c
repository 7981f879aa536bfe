/* SPDX-License-Identifier: BSD-2-Clause */
/* Generated IA-64 code, a bundle at a time, and the targets that come with the library. */
#include "ia64/internal.h"

#define OPCODE 37 /* bits 40:37 */
#define NOP_X6 27 /* nop: x6 = 1 (M: x4 = 1) */

/* Templates that end with a stop (bundle.c). */
#define MII_STOP       0x01
#define MLX_STOP       0x05
#define M_STOP_MI_STOP 0x0b
#define MFI_STOP       0x0d
#define MIB_STOP       0x11

#define BRL_COND_MANY (UINT64_C(0xc) << OPCODE | UINT64_C(1) << 12)
#define BR_COND_MANY  (UINT64_C(4) << OPCODE | UINT64_C(1) << 12)

uint64_t pv_ia64_nop(unsigned unit)
{
    return unit == PREVIRT_IA64_UNIT_L   ? 0
           : unit == PREVIRT_IA64_UNIT_B ? UINT64_C(2) << OPCODE
                                         : UINT64_C(1) << NOP_X6;
}

/* break.m, .i, .f, .x: everything 0 but predicate and immediate (i at 36, imm20a at 25:6); .b alike
 */
uint64_t pv_ia64_break(unsigned qp, uint32_t number)
{
    return qp | (uint64_t)(number & 0xfffff) << 6 | (uint64_t)(number >> 20 & 1) << 36;
}

int previrt_ia64_emit_bundle(struct previrt_ia64_code *code,
                             const struct previrt_ia64_bundle *bundle)
{
    int status;

    if (!code || !code->bytes || !bundle || code->size > code->capacity)
        return PREVIRT_E_INVALID;
    if (code->capacity - code->size < PREVIRT_IA64_BUNDLE_SIZE)
        return PREVIRT_E_STUBS;
    status = previrt_ia64_pack(bundle, code->bytes + code->size);
    if (status == PREVIRT_OK)
        code->size += PREVIRT_IA64_BUNDLE_SIZE;
    return status;
}

int pv_ia64_place(const struct previrt_ia64_insn *insn, struct previrt_ia64_bundle *bundle)
{
    const struct previrt_ia64_template *t;
    unsigned slot;

    *bundle = (struct previrt_ia64_bundle){{0}};
    switch (insn->unit) {
    case PREVIRT_IA64_UNIT_M:
        /* what must be last in its group needs its stop in the slot behind it */
        bundle->template_number = insn->effects & PREVIRT_IA64_LAST ? M_STOP_MI_STOP : MII_STOP;
        slot = 0;
        break;
    case PREVIRT_IA64_UNIT_I:
        bundle->template_number = MII_STOP;
        slot = 1;
        break;
    case PREVIRT_IA64_UNIT_F:
        bundle->template_number = MFI_STOP;
        slot = 1;
        break;
    case PREVIRT_IA64_UNIT_B:
        bundle->template_number = MIB_STOP;
        slot = 2;
        break;
    case PREVIRT_IA64_UNIT_X:
        bundle->template_number = MLX_STOP;
        slot = 2;
        break;
    default:
        return PREVIRT_E_INVALID;
    }
    t = previrt_ia64_template(bundle->template_number);
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++)
        bundle->slot[s] = pv_ia64_nop(t->unit[s]);
    bundle->slot[slot] = insn->bits;
    if (insn->unit == PREVIRT_IA64_UNIT_X)
        bundle->slot[1] = insn->upper;
    return PREVIRT_OK;
}

int previrt_ia64_emit_insn(struct previrt_ia64_code *code, const struct previrt_ia64_insn *insn)
{
    struct previrt_ia64_bundle bundle;

    if (!insn || insn->effects & (PREVIRT_IA64_IP_RELATIVE | PREVIRT_IA64_IP_VALUE) ||
        pv_ia64_place(insn, &bundle) != PREVIRT_OK)
        return PREVIRT_E_INVALID;
    return previrt_ia64_emit_bundle(code, &bundle);
}

int previrt_ia64_emit_movl(struct previrt_ia64_code *code, unsigned qp, unsigned gr, uint64_t value)
{
    /* X2: i 36, imm9d 35:27, imm5c 26:22, ic 21, imm7b 19:13, r1, qp; imm41 in the L slot */
    struct previrt_ia64_bundle bundle = {
        {pv_ia64_nop(PREVIRT_IA64_UNIT_M), value >> 22 & ((UINT64_C(1) << 41) - 1),
         UINT64_C(6) << OPCODE | value >> 63 << 36 | (value >> 7 & 0x1ff) << 27 |
             (value >> 16 & 0x1f) << 22 | (value >> 21 & 1) << 21 | (value & 0x7f) << 13 |
             (uint64_t)gr << 6 | qp},
        MLX_STOP,
        {0}};

    if (qp > 63 || !gr || gr > 127)
        return PREVIRT_E_INVALID;
    return previrt_ia64_emit_bundle(code, &bundle);
}

int previrt_ia64_emit_ld8(struct previrt_ia64_code *code, unsigned qp, unsigned gr, unsigned base)
{
    /* M1: major 4, x6 = 3 */
    struct previrt_ia64_bundle bundle = {
        {UINT64_C(4) << OPCODE | UINT64_C(3) << 30 | (uint64_t)base << 20 | (uint64_t)gr << 6 | qp,
         pv_ia64_nop(PREVIRT_IA64_UNIT_I), pv_ia64_nop(PREVIRT_IA64_UNIT_I)},
        MII_STOP,
        {0}};

    if (qp > 63 || !gr || gr > 127 || base > 127)
        return PREVIRT_E_INVALID;
    return previrt_ia64_emit_bundle(code, &bundle);
}

int pv_ia64_branch(unsigned qp, uint64_t address, uint64_t target, int near,
                   struct previrt_ia64_insn *insn)
{
    int status = previrt_ia64_decode(near ? PREVIRT_IA64_UNIT_B : PREVIRT_IA64_UNIT_X,
                                     (near ? BR_COND_MANY : BRL_COND_MANY) | qp, 0, insn);

    return status == PREVIRT_OK ? previrt_ia64_retarget(insn, address, target) : status;
}

int previrt_ia64_emit_branch(struct previrt_ia64_code *code, unsigned qp, uint64_t target, int near)
{
    struct previrt_ia64_insn insn;
    struct previrt_ia64_bundle bundle;
    int status;

    if (!code || qp > 63)
        return PREVIRT_E_INVALID;
    status = pv_ia64_branch(qp, code->address + code->size, target, near, &insn);
    if (status == PREVIRT_OK)
        status = pv_ia64_place(&insn, &bundle);
    return status == PREVIRT_OK ? previrt_ia64_emit_bundle(code, &bundle) : status;
}

/* --- Targets --- */

#define SRLZ_D (UINT64_C(3) << 31) /* M24: x2 = 3, x4 = 0 */

static void set_actions(struct previrt_ia64_target *target, const char *name, unsigned action)
{
    *target = (struct previrt_ia64_target){.size = sizeof(*target), .name = name};
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);

        if (info && info->policy == PREVIRT_IA64_POLICY_REWRITE)
            target->action[op] = (uint8_t)action;
    }
}

static int emit_native(void *context, uint64_t address, unsigned slot,
                       const struct previrt_ia64_insn *insn, struct previrt_ia64_code *code)
{
    struct previrt_ia64_insn srlz_d;
    int status;

    (void)context;
    (void)address;
    (void)slot;
    if (insn->effects & PREVIRT_IA64_STAYS)
        return PREVIRT_E_OPERATION;
    status = previrt_ia64_emit_insn(code, insn);
    if (status != PREVIRT_OK || insn->op != PREVIRT_IA64_MOV_TO_PSR_L)
        return status;
    /* the stub goes on with a branch, which depends on the psr.tb that was just written */
    status = previrt_ia64_decode(PREVIRT_IA64_UNIT_M, SRLZ_D, 0, &srlz_d);
    return status == PREVIRT_OK ? previrt_ia64_emit_insn(code, &srlz_d) : status;
}

void previrt_ia64_target_native(struct previrt_ia64_target *target)
{
    set_actions(target, "native", PREVIRT_IA64_ACTION_STUB);
    target->emit = emit_native;
    /* epc promotes according to its own page: natively it stays where it is */
    target->action[PREVIRT_IA64_EPC] = PREVIRT_IA64_ACTION_KEEP;
}

void previrt_ia64_target_break(struct previrt_ia64_target *target, uint32_t number)
{
    set_actions(target, "break", PREVIRT_IA64_ACTION_BREAK);
    target->break_number = number;
}

#define CR_IVR 65 /* reading it acknowledges an interrupt */

static int emit_vcpu(void *context, uint64_t address, unsigned slot,
                     const struct previrt_ia64_insn *insn, struct previrt_ia64_code *code)
{
    uint64_t page = *(const uint64_t *)context;
    struct previrt_site site;
    unsigned gr, number, offset;
    int status = previrt_ia64_site_from_insn(insn, address, slot, &site);

    if (status != PREVIRT_OK)
        return status;
    gr = PREVIRT_IA64_OPERAND_GR(site.operand);
    number = PREVIRT_IA64_OPERAND_REGISTER(site.operand);
    switch (insn->op) {
    case PREVIRT_IA64_MOV_FROM_CR:
        if (number == CR_IVR)
            return PREVIRT_E_OPERATION;
        offset = (unsigned)offsetof(struct previrt_ia64_vcpu, cr) + number * 8;
        break;
    case PREVIRT_IA64_MOV_FROM_KR:
        offset = (unsigned)offsetof(struct previrt_ia64_vcpu, kr) + number * 8;
        break;
    case PREVIRT_IA64_MOV_FROM_PSR:
        offset = (unsigned)offsetof(struct previrt_ia64_vcpu, psr);
        break;
    default:
        return PREVIRT_E_OPERATION;
    }
    /* the result register holds the address until the value replaces it: no other temporary */
    status = previrt_ia64_emit_movl(code, insn->qp, gr, page + offset);
    return status == PREVIRT_OK ? previrt_ia64_emit_ld8(code, insn->qp, gr, gr) : status;
}

void previrt_ia64_target_vcpu(struct previrt_ia64_target *target, const uint64_t *vcpu_address,
                              uint32_t number)
{
    set_actions(target, "vcpu", PREVIRT_IA64_ACTION_BREAK);
    target->break_number = number;
    target->flags = PREVIRT_IA64_TARGET_BREAK_UNSUITABLE;
    target->emit = emit_vcpu;
    target->emit_context = (void *)(uintptr_t)vcpu_address;
    target->action[PREVIRT_IA64_MOV_FROM_CR] = PREVIRT_IA64_ACTION_STUB;
    target->action[PREVIRT_IA64_MOV_FROM_KR] = PREVIRT_IA64_ACTION_STUB;
    target->action[PREVIRT_IA64_MOV_FROM_PSR] = PREVIRT_IA64_ACTION_STUB;
}
