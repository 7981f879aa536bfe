/* SPDX-License-Identifier: BSD-2-Clause */
#include <previrt/table.h>

#include "generate.h"

#include <string.h>

#define ARITHMETIC_FLAGS 0x8d5 /* CF PF AF ZF SF OF */
#define FLAG_IF          0x200
#define FLAG_DF          0x400
#define FLAG_IOPL        0x3000
#define CR0_PE           0x1
#define CR0_ET           0x10
#define CR0_CHANGEABLE   0x5002e /* AM WP NE TS EM MP; paging stays off */
#define CR4_CHANGEABLE   0x79c   /* TSD DE PSE MCE PGE PCE OSFXSR OSXMMEXCPT */

uint32_t random32(struct random *random)
{
    random->state ^= random->state >> 12;
    random->state ^= random->state << 25;
    random->state ^= random->state >> 27;
    return (uint32_t)((random->state * 0x2545f4914f6cdd1dull) >> 32);
}

uint32_t random_below(struct random *random, uint32_t limit)
{
    return (uint32_t)((uint64_t)random32(random) * limit >> 32);
}

static bool one_in(struct random *random, uint32_t n)
{
    return !random_below(random, n);
}

static bool is_string(const struct previrt_ia32_form_info *form)
{
    return form->layout == PREVIRT_LAYOUT_STRING;
}

/* ModRM, SIB and displacement of a memory operand. Returns their length. */
static size_t memory_operand(struct random *random, uint8_t *at, unsigned reg, bool address16)
{
    uint8_t mod = (uint8_t)random_below(random, 3), rm = (uint8_t)random_below(random, 8);
    size_t length = 1, displacement = mod == 1 ? 1 : mod == 2 ? 4 : 0;
    uint32_t value = random32(random);
    bool based = true;

    if (address16) {
        displacement = mod == 1 ? 1 : mod == 2 || rm == 6 ? 2 : 0;
    } else if (rm == 4) {
        uint8_t base = (uint8_t)random_below(random, 8), index = (uint8_t)random_below(random, 8);

        if (one_in(random, 3))
            base = ESP;
        at[length++] = (uint8_t)(random_below(random, 4) << 6 | index << 3 | base);
        if (base == 5 && mod == 0) {
            displacement = 4;
            based = false;
        }
    } else if (rm == 5 && mod == 0) {
        displacement = 4;
        based = false;
    }
    at[0] = (uint8_t)(mod << 6 | reg << 3 | rm);
    if (displacement == 4)
        value = based ? value % 0x8000 - 0x4000 : DATA_ADDRESS + value % (DATA_SIZE / 2);
    for (size_t i = 0; i < displacement; i++)
        at[length++] = (uint8_t)(value >> 8 * i);
    return length;
}

static unsigned system_register(struct random *random, const struct previrt_ia32_form_info *form)
{
    static const uint8_t crs[] = {0, 2, 3, 4};

    switch (form->layout) {
    case PREVIRT_LAYOUT_CR:
        return crs[random_below(random, sizeof(crs))];
    case PREVIRT_LAYOUT_DR:
        return random_below(random, 8);
    default: /* SREG */
        return random_below(random, 6);
    }
}

bool generate(struct random *random, const struct previrt_ia32_form_info *form,
              struct sample *sample)
{
    /* SDM 2B NOP, table 4-12 */
    static const uint8_t nops[PREVIRT_PAD_MAX][PREVIRT_PAD_MAX] = {
        {0x90},
        {0x66, 0x90},
        {0x0f, 0x1f, 0x00},
        {0x0f, 0x1f, 0x40, 0x00},
        {0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
        {0x0f, 0x1f, 0x80, 0x00, 0x00, 0x00, 0x00},
    };
    static const uint8_t overrides[] = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65};
    const struct previrt_ia32_op_info *info = previrt_ia32_op_info(form->op);
    uint8_t bytes[32];
    size_t n = 0;
    bool width16 = form->width == 0 && one_in(random, 3), memory = false, address16 = false;
    int fused = form->op == PREVIRT_IA32_STI_HLT || form->op == PREVIRT_IA32_STI_MWAIT ||
                form->op == PREVIRT_IA32_STI_SYSEXIT;
    unsigned reg = random_below(random, 8), rm = random_below(random, 8), room;

    memset(sample, 0, sizeof(*sample));
    switch (form->layout) {
    case PREVIRT_LAYOUT_SREG:
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_REGRM:
    case PREVIRT_LAYOUT_RMREG:
        memory = one_in(random, 2);
        break;
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_REGMEM:
        memory = true;
        break;
    default:
        break;
    }
    if (memory || is_string(form)) {
        address16 = one_in(random, 6);
        if (one_in(random, 3))
            bytes[n++] = overrides[random_below(random, sizeof(overrides))];
    } else {
        for (unsigned pads = random_below(random, 4); pads; pads--)
            bytes[n++] = 0x3e;
    }
    if (address16)
        bytes[n++] = 0x67;
    if (width16)
        bytes[n++] = 0x66;
    if (is_string(form) && one_in(random, 2))
        bytes[n++] = 0xf3;
    if (form->mandatory)
        bytes[n++] = form->mandatory;
    memcpy(bytes + n, form->opcode, form->length);
    n += form->length;

    switch (form->layout) {
    case PREVIRT_LAYOUT_IMM8:
        bytes[n++] = (uint8_t)random32(random);
        break;
    case PREVIRT_LAYOUT_IMM16:
        bytes[n++] = (uint8_t)(random32(random) & 0x3c);
        bytes[n++] = 0;
        break;
    case PREVIRT_LAYOUT_PTR:
        if (width16) {
            bytes[n++] = (uint8_t)LOW_TARGET;
            bytes[n++] = (uint8_t)(LOW_TARGET >> 8);
        } else {
            store32(bytes + n, TARGET_ADDRESS);
            n += 4;
        }
        bytes[n++] = SELECTOR_CODE;
        bytes[n++] = 0;
        break;
    case PREVIRT_LAYOUT_CR:
    case PREVIRT_LAYOUT_DR:
    case PREVIRT_LAYOUT_SREG:
        reg = system_register(random, form);
        break;
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_EXTREG:
        reg = (unsigned)form->extension;
        break;
    default:
        break;
    }
    if (form->layout >= PREVIRT_LAYOUT_CR && form->layout <= PREVIRT_LAYOUT_RMREG) {
        if (memory)
            n += memory_operand(random, bytes + n, reg, address16);
        else
            bytes[n++] = (uint8_t)(0xc0 | reg << 3 | rm);
    }
    if (n > PREVIRT_LENGTH_MAX)
        return false;
    if (previrt_ia32_decode_site(bytes, n, fused, &sample->insn) != PREVIRT_OK ||
        sample->insn.form != form->form || sample->insn.length != n)
        return false;
    /* Loading these from the stack pointer's value leads nowhere. */
    if ((sample->insn.op == PREVIRT_IA32_MOV_TO_CR || sample->insn.op == PREVIRT_IA32_MOV_TO_DR) &&
        rm == ESP)
        return false;

    /* Below ESP nothing survives an interrupt, nor a stub. */
    if (sample->insn.is_memory && !sample->insn.address16 && sample->insn.base == ESP &&
        sample->insn.index == 0xff && sample->insn.displacement < 0)
        return false;

    room = info->room;
    if (one_in(random, 4))
        room = 5 + random_below(random, 4);
    sample->length = (uint8_t)n;
    sample->pad = (uint8_t)(n < room ? room - n : 0);
    if (sample->pad > PREVIRT_PAD_MAX)
        sample->pad = PREVIRT_PAD_MAX;
    memcpy(sample->bytes, bytes, n);
    if (sample->pad)
        memcpy(sample->bytes + n, nops[sample->pad - 1], sample->pad);
    return true;
}

uint32_t operand_address(const struct previrt_ia32_insn *insn, const struct registers *registers)
{
    uint32_t address = (uint32_t)insn->displacement;

    if (insn->address16) {
        static const int8_t first[8] = {EBX, EBX, EBP, EBP, ESI, EDI, EBP, EBX};
        static const int8_t second[8] = {ESI, EDI, ESI, EDI, -1, -1, -1, -1};
        unsigned rm = insn->modrm & 7;

        if (!(rm == 6 && insn->modrm >> 6 == 0)) {
            address += registers->gpr[first[rm]];
            if (second[rm] >= 0)
                address += registers->gpr[second[rm]];
        }
        address &= 0xffff;
    } else {
        if (insn->base != 0xff)
            address += registers->gpr[insn->base];
        if (insn->index != 0xff)
            address += registers->gpr[insn->index] * insn->scale;
    }
    if (insn->segment == 4)
        address += FS_BASE;
    if (insn->segment == 5)
        address += GS_BASE;
    return address;
}

static uint16_t selector(struct random *random)
{
    static const uint16_t list[] = {
        0,
        3,
        SELECTOR_CODE,
        SELECTOR_DATA,
        SELECTOR_DATA,
        SELECTOR_FS,
        SELECTOR_GS,
        SELECTOR_LDT,
        SELECTOR_TSS,
        SELECTOR_ABSENT,
        SELECTOR_LAST,
        0x0c,
        0x14,
        SELECTOR_USER_CODE,
        SELECTOR_USER_DATA,
        0xfff8,
    };

    return list[random_below(random, sizeof(list) / sizeof(list[0]))];
}

/* Draws until the selector is one that the operation is likely to take. */
static uint16_t selector_for(struct random *random, unsigned op, unsigned segment)
{
    if (one_in(random, 6))
        return selector(random);
    switch (op) {
    case PREVIRT_IA32_LLDT:
        return one_in(random, 4) ? 0 : SELECTOR_LDT;
    case PREVIRT_IA32_LTR:
        return SELECTOR_LAST;
    case PREVIRT_IA32_MOV_TO_SEG:
    case PREVIRT_IA32_POP_SEG:
        if (segment == 2)
            return SELECTOR_DATA;
        /* fall through */
    case PREVIRT_IA32_LDS:
    case PREVIRT_IA32_LES:
    case PREVIRT_IA32_LFS:
    case PREVIRT_IA32_LGS: {
        static const uint16_t data[] = {0, SELECTOR_DATA, SELECTOR_FS, SELECTOR_GS, 0x0c, 0x1c};

        return data[random_below(random, sizeof(data) / sizeof(data[0]))];
    }
    case PREVIRT_IA32_LSS:
        return SELECTOR_DATA;
    default:
        return selector(random);
    }
}

static void draw_registers(struct random *random, const struct sample *sample,
                           struct registers *registers)
{
    const struct previrt_ia32_insn *insn = &sample->insn;

    for (unsigned i = 0; i < 8; i++)
        registers->gpr[i] = one_in(random, 4) ? random32(random) & 0xff : random32(random);
    if (insn->is_memory && !insn->address16) {
        if (insn->index != 0xff)
            registers->gpr[insn->index] = random32(random) & 0xffff;
        if (insn->base != 0xff)
            registers->gpr[insn->base] =
                DATA_ADDRESS + 0x10000 + random_below(random, DATA_SIZE / 2);
    }
    registers->gpr[ESP] = STACK_ADDRESS + (random_below(random, 0x4000) & ~1u);
    registers->eflags = random32(random) & (ARITHMETIC_FLAGS | FLAG_IF);
}

void generate_state(struct random *random, const struct sample *sample, bool iopl,
                    struct machine *machine, struct registers *registers, uint32_t *until)
{
    const struct previrt_ia32_insn *insn = &sample->insn;
    unsigned segment = insn->system_register, width = insn->width == 16 ? 2 : 4;
    uint32_t target = insn->width == 16 ? LOW_TARGET : TARGET_ADDRESS, value;
    uint8_t operand[16], stack[32];

    do {
        draw_registers(random, sample, registers);
    } while (insn->is_memory &&
             registers->gpr[ESP] - operand_address(insn, registers) - 1 < 2 * STACK_DEAD);
    if (iopl && one_in(random, 4))
        registers->eflags |= FLAG_IOPL;
    *until = 0;
    for (unsigned i = 0; i < sizeof(operand); i += 4)
        store32(operand + i, random32(random));
    for (unsigned i = 0; i < sizeof(stack); i += 4)
        store32(stack + i, random32(random));

    switch (insn->op) {
    case PREVIRT_IA32_MOV_TO_SEG:
    case PREVIRT_IA32_LLDT:
    case PREVIRT_IA32_LTR:
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
    case PREVIRT_IA32_VERR:
    case PREVIRT_IA32_VERW: {
        uint16_t chosen = selector_for(random, insn->op, segment);
        unsigned source = insn->modrm & 7;

        if (!insn->is_memory && source != ESP)
            registers->gpr[source] = (registers->gpr[source] & 0xffff0000) | chosen;
        memcpy(operand, &chosen, sizeof(chosen));
        break;
    }
    case PREVIRT_IA32_LDS:
    case PREVIRT_IA32_LES:
    case PREVIRT_IA32_LFS:
    case PREVIRT_IA32_LGS:
    case PREVIRT_IA32_LSS: {
        uint16_t chosen = selector_for(random, insn->op, segment);

        if (insn->reg == ESP) /* a stack somewhere else */
            store32(operand, STACK_ADDRESS + 0x8000 + (random_below(random, 0x4000) & ~3u));
        memcpy(operand + width, &chosen, sizeof(chosen));
        break;
    }
    case PREVIRT_IA32_LCALL:
    case PREVIRT_IA32_LJMP:
        store32(operand, target);
        operand[width] = SELECTOR_CODE;
        operand[width + 1] = 0;
        *until = target;
        break;
    case PREVIRT_IA32_LRET:
    case PREVIRT_IA32_IRET:
        store32(stack, target);
        store32(stack + width, SELECTOR_CODE);
        value = random32(random) & (ARITHMETIC_FLAGS | FLAG_IF | FLAG_DF);
        memcpy(stack + 2 * width, &value, width);
        *until = target;
        break;
    case PREVIRT_IA32_POP_SEG: {
        uint16_t chosen = selector_for(random, insn->op, segment);

        memcpy(stack, &chosen, sizeof(chosen));
        break;
    }
    case PREVIRT_IA32_POPF:
        value = random32(random) & (ARITHMETIC_FLAGS | FLAG_IF | FLAG_DF | (iopl ? FLAG_IOPL : 0));
        memcpy(stack, &value, width);
        break;
    case PREVIRT_IA32_MOV_TO_CR:
        value = random32(random);
        switch (insn->system_register) {
        case 0:
            value = (value & CR0_CHANGEABLE) | CR0_PE | CR0_ET;
            break;
        case 4:
            value &= CR4_CHANGEABLE;
            break;
        }
        registers->gpr[insn->modrm & 7] = value;
        break;
    case PREVIRT_IA32_MOV_TO_DR:
        if (insn->system_register >= 4 && (insn->modrm & 7) != ESP)
            registers->gpr[insn->modrm & 7] &=
                0xdf00; /* DR4 and DR5 are DR6 and DR7; arm nothing */
        break;
    case PREVIRT_IA32_LMSW:
        value = (random32(random) & 0xe) | CR0_PE;
        memcpy(operand, &value, 2);
        if (!insn->is_memory && (insn->modrm & 7) != ESP)
            registers->gpr[insn->modrm & 7] = value;
        break;
    case PREVIRT_IA32_RDMSR:
    case PREVIRT_IA32_WRMSR:
        registers->gpr[ECX] = 0x174 + random_below(random, 3); /* SYSENTER_CS, ESP, EIP */
        break;
    case PREVIRT_IA32_CPUID:
        registers->gpr[EAX] = random_below(random, 2) ? random_below(random, 0x16)
                                                      : 0x80000000 + random_below(random, 9);
        registers->gpr[ECX] = random_below(random, 3);
        break;
    case PREVIRT_IA32_XGETBV:
    case PREVIRT_IA32_XSETBV:
        registers->gpr[ECX] = 0;
        break;
    case PREVIRT_IA32_SYSEXIT:
    case PREVIRT_IA32_STI_SYSEXIT:
        registers->gpr[EDX] = TARGET_ADDRESS;
        registers->gpr[ECX] = STACK_ADDRESS + 0x8000;
        *until = TARGET_ADDRESS;
        break;
    case PREVIRT_IA32_INS:
    case PREVIRT_IA32_OUTS:
        registers->gpr[ECX] = (registers->gpr[ECX] & 0xffff0000) | random_below(random, 6);
        if (!insn->address16)
            registers->gpr[ECX] &= 0xffff;
        registers->gpr[ESI] = DATA_ADDRESS + random_below(random, DATA_SIZE / 4) + 0x100;
        registers->gpr[EDI] = DATA_ADDRESS + random_below(random, DATA_SIZE / 4) + 0x100;
        if (insn->address16) { /* within the low 64 KB */
            registers->gpr[ESI] = 0xabcd0100 + random_below(random, 0x8000);
            registers->gpr[EDI] = 0xabcd0100 + random_below(random, 0x8000);
        }
        if (one_in(random, 2))
            registers->eflags |= FLAG_DF;
        break;
    default:
        break;
    }
    machine_poke(machine, registers->gpr[ESP], stack, sizeof(stack));
    if (insn->is_memory)
        machine_poke(machine, operand_address(insn, registers), operand, sizeof(operand));
}
