/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An interpreter of the instructions that guests of the fuzzer need, at privilege level 3: what a
 * compiler makes of simple code, and everything that faults or traps there. What it does not know
 * is #UD. Unlike Unicorn it takes any bytes, is much faster on code that runs once, and tells
 * error codes.
 */
#include "vm.h"

#include <string.h>

#define CF 0x001u
#define PF 0x004u
#define ZF 0x040u
#define SF 0x080u
#define OF 0x800u

#define STATUS (CF | PF | ZF | SF | OF)

#define POPF_FLAGS 0x00240dd5u /* what POPF and IRET load at level 3: not IF, IOPL, RF, NT */

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

struct small {
    struct vm *vm;
    struct vm_exit *exit;
    uint32_t r[8], eip, eflags, next;
    uint16_t cs;
    unsigned width;       /* of operands, 16 or 32 */
    bool address16, done; /* (done): (exit) says why */
    uint8_t rep;
    int segment; /* override, -1: none */
    /* of ModRM */
    uint8_t mod, reg, rm;
    uint32_t address;
};

static void trap(struct small *s, unsigned vector, uint32_t error, gva_t cr2, int software)
{
    if (s->done)
        return;
    *s->exit = (struct vm_exit){
        .kind = VM_EXIT_TRAP, .vector = vector, .error = error, .cr2 = cr2, .software = software};
    s->done = true;
}

static void gp(struct small *s, uint32_t error)
{
    trap(s, VECTOR_GP, error, 0, 0);
}

/* ---- memory ---- */

static uint8_t *byte_at(struct small *s, gva_t va, int access)
{
    uint8_t *p = s->done ? NULL : vm_translate(s->vm, va, access);

    if (!p && !s->done)
        trap(s, VECTOR_PF,
             (vm_translate(s->vm, va, 0) ? PFE_P : 0) | (access == 1 ? PFE_W : 0) |
                 (access == 2 ? PFE_I : 0) | (s->vm->vmm->cpu.user ? PFE_U : 0),
             va, 0);
    return p;
}

static uint32_t load(struct small *s, gva_t va, unsigned width)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < width / 8; i++) {
        const uint8_t *p = byte_at(s, va + i, 0);

        if (!p)
            return 0;
        value |= (uint32_t)*p << 8 * i;
    }
    return value;
}

static void store(struct small *s, gva_t va, unsigned width, uint32_t value)
{
    for (unsigned i = 0; i < width / 8; i++)
        if (!byte_at(s, va + i, 1))
            return;
    for (unsigned i = 0; i < width / 8; i++)
        *byte_at(s, va + i, 1) = (uint8_t)(value >> 8 * i);
}

static uint32_t fetch(struct small *s, unsigned width)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < width / 8; i++) {
        const uint8_t *p = byte_at(s, s->next, 2);

        if (!p)
            return 0;
        value |= (uint32_t)*p << 8 * i;
        s->next++;
    }
    if (s->next - s->eip > 15)
        gp(s, 0);
    return value;
}

static uint32_t segment_base(struct small *s, int sreg)
{
    const uint64_t d = s->vm->segment_descriptor[sreg];

    if (sreg == PV_CS || sreg == PV_SS)
        return 0;
    if (!(s->vm->segment[sreg] & ~3u))
        gp(s, 0);
    return (uint32_t)(d >> 16 & 0xffffff) | (uint32_t)(d >> 32 & 0xff000000);
}

static void push(struct small *s, uint32_t value)
{
    store(s, s->r[ESP] - s->width / 8, s->width, value);
    if (!s->done)
        s->r[ESP] -= s->width / 8;
}

static uint32_t pop(struct small *s)
{
    uint32_t value = load(s, s->r[ESP], s->width);

    s->r[ESP] += s->width / 8;
    return value;
}

/* ---- operands ---- */

static uint32_t get_register(struct small *s, unsigned reg, unsigned width)
{
    if (width == 8)
        return s->r[reg & 3] >> (reg & 4 ? 8 : 0) & 0xff;
    return width == 16 ? s->r[reg] & 0xffff : s->r[reg];
}

static void set_register(struct small *s, unsigned reg, unsigned width, uint32_t value)
{
    if (width == 8) {
        unsigned shift = reg & 4 ? 8 : 0;

        s->r[reg & 3] = (s->r[reg & 3] & ~(0xffu << shift)) | (value & 0xff) << shift;
    } else if (width == 16) {
        s->r[reg] = (s->r[reg] & 0xffff0000) | (value & 0xffff);
    } else {
        s->r[reg] = value;
    }
}

static void modrm(struct small *s)
{
    uint32_t byte = fetch(s, 8), a = 0;
    int segment = PV_DS;

    s->mod = byte >> 6;
    s->reg = byte >> 3 & 7;
    s->rm = byte & 7;
    if (s->mod == 3)
        return;
    if (s->address16) {
        static const int8_t first[] = {EBX, EBX, EBP, EBP, ESI, EDI, EBP, EBX};
        static const int8_t second[] = {ESI, EDI, ESI, EDI, -1, -1, -1, -1};

        if (s->mod == 0 && s->rm == 6) {
            a = fetch(s, 16);
        } else {
            a = s->r[first[s->rm]] + (second[s->rm] >= 0 ? s->r[second[s->rm]] : 0);
            a += s->mod == 1 ? (uint32_t)(int8_t)fetch(s, 8) : s->mod == 2 ? fetch(s, 16) : 0;
        }
        a &= 0xffff;
    } else {
        if (s->rm == 4) {
            uint32_t sib = fetch(s, 8);
            unsigned base = sib & 7, index = sib >> 3 & 7;

            if (index != ESP)
                a = s->r[index] << (sib >> 6);
            if (base == EBP && s->mod == 0)
                a += fetch(s, 32);
            else
                a += s->r[base];
            if (base == ESP || (base == EBP && s->mod))
                segment = PV_SS;
        } else if (s->rm == 5 && s->mod == 0) {
            a = fetch(s, 32);
        } else {
            a = s->r[s->rm];
            if (s->rm == EBP)
                segment = PV_SS;
        }
        a += s->mod == 1 ? (uint32_t)(int8_t)fetch(s, 8) : s->mod == 2 ? fetch(s, 32) : 0;
    }
    s->address = a + segment_base(s, s->segment >= 0 ? s->segment : segment);
}

static uint32_t get_rm(struct small *s, unsigned width)
{
    return s->mod == 3 ? get_register(s, s->rm, width) : load(s, s->address, width);
}

static void set_rm(struct small *s, unsigned width, uint32_t value)
{
    if (s->mod == 3)
        set_register(s, s->rm, width, value);
    else
        store(s, s->address, width, value);
}

/* ---- arithmetic ---- */

static void result_flags(struct small *s, unsigned width, uint32_t value)
{
    value &= width == 32 ? ~0u : (1u << width) - 1;
    s->eflags &= ~STATUS;
    s->eflags |= (value ? 0 : ZF) | (value >> (width - 1) & 1 ? SF : 0) |
                 (__builtin_parity(value & 0xff) ? 0 : PF);
}

static uint32_t arithmetic(struct small *s, unsigned op, unsigned width, uint32_t a, uint32_t b)
{
    const uint32_t carry = (op == 2 || op == 3) && (s->eflags & CF);
    const uint32_t mask = width == 32 ? ~0u : (1u << width) - 1, sign = 1u << (width - 1);
    uint64_t wide;
    uint32_t value;

    a &= mask;
    b &= mask;
    switch (op) {
    case 0:
    case 2:
        wide = (uint64_t)a + b + carry;
        value = (uint32_t)wide & mask;
        result_flags(s, width, value);
        s->eflags |= (wide > mask ? CF : 0) | (~(a ^ b) & (a ^ value) & sign ? OF : 0);
        return value;
    case 1:
        value = a | b;
        break;
    case 4:
        value = a & b;
        break;
    case 6:
        value = a ^ b;
        break;
    default: /* sbb, sub, cmp */
        value = (a - b - carry) & mask;
        result_flags(s, width, value);
        s->eflags |= ((uint64_t)b + carry > a ? CF : 0) | ((a ^ b) & (a ^ value) & sign ? OF : 0);
        return value;
    }
    result_flags(s, width, value);
    return value;
}

static bool condition(const struct small *s, unsigned code)
{
    const uint32_t f = s->eflags;
    const bool less = !(f & SF) != !(f & OF);
    bool value = false;

    switch (code >> 1 & 7) {
    case 0:
        value = f & OF;
        break;
    case 1:
        value = f & CF;
        break;
    case 2:
        value = f & ZF;
        break;
    case 3:
        value = f & (CF | ZF);
        break;
    case 4:
        value = f & SF;
        break;
    case 5:
        value = f & PF;
        break;
    case 6:
        value = less;
        break;
    case 7:
        value = less || (f & ZF);
        break;
    }
    return value != (code & 1);
}

/* ---- segments ---- */

static uint64_t descriptor(struct small *s, uint16_t selector)
{
    if (selector & 4)
        return selector / 8u < s->vm->ldt_entries ? s->vm->ldt[selector / 8] : 0;
    return selector / 8u < VM_GDT_ENTRIES ? s->vm->gdt[selector / 8] : 0;
}

static void load_segment(struct small *s, unsigned sreg, uint16_t selector)
{
    uint64_t d = selector & ~3u ? descriptor(s, selector) : 0;

    if (s->done)
        return;
    if (sreg == PV_CS || sreg > PV_GS) {
        trap(s, VECTOR_UD, 0, 0, 0);
    } else if (sreg == PV_SS) { /* only one of level 3 would do */
        if ((selector & 3) != 3 || (d >> 40 & 0xfa) != 0xf2)
            gp(s, selector & 0xfffc);
    } else if ((selector & ~3u) &&
               (!(d >> 44 & 1) || (d >> 40 & 0xa) == 8)) { /* not data or readable code */
        gp(s, selector & 0xfffc);
    } else if ((selector & ~3u) && !(d >> 47 & 1)) {
        trap(s, VECTOR_NP, selector & 0xfffc, 0, 0);
    } else {
        s->vm->segment[sreg] = selector;
        s->vm->segment_descriptor[sreg] = d;
    }
}

static uint16_t segment(struct small *s, unsigned sreg)
{
    if (sreg == PV_CS)
        return s->cs;
    if (sreg == PV_SS)
        return s->vm->vmm->cpu.user ? (uint16_t)s->vm->vmm->cpu.user_ss : VM_SELECTOR_DATA;
    return sreg <= PV_GS ? s->vm->segment[sreg] : 0;
}

/* A far jump at level 3, and what returns to level 3. */
static void far_jump(struct small *s, uint16_t selector, uint32_t offset, bool returns)
{
    uint64_t d = selector & ~3u ? descriptor(s, selector) : 0;

    if (s->done)
        return;
    if ((d >> 40 & 0x18) != 0x18 || (returns && (selector & 3) != 3) ||
        (!(d >> 40 & 4) && (d >> 45 & 3) != 3)) {
        gp(s, selector & 0xfffc);
    } else if (!(d >> 47 & 1)) {
        trap(s, VECTOR_NP, selector & 0xfffc, 0, 0);
    } else {
        s->cs = selector | 3;
        s->next = offset;
    }
}

static void far_return(struct small *s, uint32_t extra, bool flags)
{
    uint32_t eip = pop(s), selector = pop(s), image = flags ? pop(s) : 0;

    if (flags && (s->eflags & EFLAGS_NT))
        gp(s, 0);
    far_jump(s, (uint16_t)selector, eip, true);
    if (flags && !s->done)
        s->eflags = (s->eflags & ~POPF_FLAGS) | (image & POPF_FLAGS);
    s->r[ESP] += extra;
}

/* ---- instructions ---- */

static void string(struct small *s, uint8_t opcode)
{
    const unsigned width = opcode & 1 ? s->width : 8;
    const uint32_t step = s->eflags & EFLAGS_DF ? -(width / 8) : width / 8;
    uint32_t value;

    if (s->rep && !s->r[ECX])
        return;
    if ((opcode & 0xfe) == 0xaa)
        value = s->r[EAX];
    else
        value = load(s, s->r[ESI] + segment_base(s, s->segment >= 0 ? s->segment : PV_DS), width);
    if ((opcode & 0xfe) == 0xac)
        set_register(s, EAX, width, value);
    else
        store(s, s->r[EDI] + segment_base(s, PV_ES), width, value);
    if (s->done)
        return;
    if ((opcode & 0xfe) != 0xaa)
        s->r[ESI] += step;
    if ((opcode & 0xfe) != 0xac)
        s->r[EDI] += step;
    if (s->rep && --s->r[ECX])
        s->next = s->eip;
}

static void shift(struct small *s, unsigned width, unsigned count)
{
    uint32_t value = get_rm(s, width);

    count &= 31;
    if (!count)
        return;
    if (s->reg == 4)
        value <<= count;
    else if (s->reg == 5)
        value >>= count;
    else if (s->reg == 7)
        value = (uint32_t)((int32_t)(value << (32 - width)) >> (32 - width) >> count);
    else
        trap(s, VECTOR_UD, 0, 0, 0);
    set_rm(s, width, value);
    if (!s->done)
        result_flags(s, width, value);
}

static void group3(struct small *s, unsigned width)
{
    uint32_t value = get_rm(s, width);

    switch (s->reg) {
    case 0:
        arithmetic(s, 4, width, value, fetch(s, width));
        break;
    case 2:
        set_rm(s, width, ~value);
        break;
    case 3:
        set_rm(s, width, arithmetic(s, 5, width, 0, value));
        break;
    default:
        trap(s, s->reg >= 6 && !value ? VECTOR_DE : VECTOR_UD, 0, 0, 0);
    }
}

static void group5(struct small *s)
{
    uint32_t value, selector;

    switch (s->reg) {
    case 0:
    case 1:
        value = arithmetic(s, s->reg ? 5 : 0, s->width, get_rm(s, s->width), 1);
        set_rm(s, s->width, value);
        break;
    case 2:
        value = get_rm(s, s->width);
        push(s, s->next);
        s->next = value;
        break;
    case 4:
        s->next = get_rm(s, s->width);
        break;
    case 3:
    case 5:
        if (s->mod == 3) {
            trap(s, VECTOR_UD, 0, 0, 0);
            break;
        }
        value = load(s, s->address, s->width);
        selector = load(s, s->address + s->width / 8, 16);
        if (s->reg == 3) {
            push(s, s->cs);
            push(s, s->next);
        }
        far_jump(s, (uint16_t)selector, value, false);
        break;
    case 6:
        push(s, get_rm(s, s->width));
        break;
    default:
        trap(s, VECTOR_UD, 0, 0, 0);
    }
}

static void far_pointer(struct small *s, unsigned sreg)
{
    uint32_t value;

    modrm(s);
    if (s->mod == 3) {
        trap(s, VECTOR_UD, 0, 0, 0);
        return;
    }
    value = load(s, s->address, s->width);
    load_segment(s, sreg, (uint16_t)load(s, s->address + s->width / 8, 16));
    if (!s->done)
        set_register(s, s->reg, s->width, value);
}

static void two_bytes(struct small *s)
{
    uint8_t opcode = (uint8_t)fetch(s, 8);
    uint32_t value;

    if (s->done)
        return;
    if ((opcode & 0xf0) == 0x80) {
        value = fetch(s, s->width);
        if (condition(s, opcode))
            s->next += s->width == 16 ? (uint32_t)(int16_t)value : value;
        return;
    }
    if ((opcode & 0xf0) == 0x90) {
        modrm(s);
        set_rm(s, 8, condition(s, opcode));
        return;
    }
    switch (opcode) {
    case 0x00:
        modrm(s);
        if (s->reg < 2)
            set_rm(s, s->mod == 3 ? s->width : 16, 0);
        else if (s->reg < 4)
            gp(s, 0);
        else
            trap(s, VECTOR_UD, 0, 0, 0);
        break;
    case 0x01:
        modrm(s);
        if (s->reg < 2 && s->mod != 3) { /* sgdt, sidt: of the hypervisor */
            store(s, s->address, 16, 0);
            store(s, s->address + 2, 32, 0);
        } else if (s->reg == 4) {
            set_rm(s, s->mod == 3 ? s->width : 16, 0x11);
        } else if ((s->reg == 2 || s->reg == 3 || s->reg == 7) && s->mod == 3) {
            trap(s, VECTOR_UD, 0, 0, 0);
        } else if (s->reg == 2 || s->reg == 3 || s->reg >= 6) {
            gp(s, 0);
        } else {
            trap(s, VECTOR_UD, 0, 0, 0);
        }
        break;
    case 0x06: /* clts, invd, wbinvd, moves of control and debug registers, MSRs, rdpmc */
    case 0x08:
    case 0x09:
    case 0x20:
    case 0x21:
    case 0x22:
    case 0x23:
    case 0x30:
    case 0x32:
    case 0x33:
        gp(s, 0);
        break;
    case 0x1f:
        modrm(s);
        break;
    case 0x31:
        s->r[EAX] = (uint32_t)s->vm->now;
        s->r[EDX] = (uint32_t)(s->vm->now >> 32);
        break;
    case 0xa0:
    case 0xa8:
        push(s, segment(s, opcode == 0xa0 ? PV_FS : PV_GS));
        break;
    case 0xa1:
    case 0xa9:
        load_segment(s, opcode == 0xa1 ? PV_FS : PV_GS, (uint16_t)pop(s));
        break;
    case 0xa2:
        s->r[EAX] = s->r[EBX] = s->r[ECX] = s->r[EDX] = 0;
        break;
    case 0xb2:
        far_pointer(s, PV_SS);
        break;
    case 0xb4:
        far_pointer(s, PV_FS);
        break;
    case 0xb5:
        far_pointer(s, PV_GS);
        break;
    case 0xb6:
    case 0xb7:
        modrm(s);
        set_register(s, s->reg, s->width, get_rm(s, opcode & 1 ? 16 : 8));
        break;
    case 0xbe:
    case 0xbf:
        modrm(s);
        value = get_rm(s, opcode & 1 ? 16 : 8);
        set_register(s, s->reg, s->width,
                     opcode & 1 ? (uint32_t)(int16_t)value : (uint32_t)(int8_t)value);
        break;
    default:
        trap(s, VECTOR_UD, 0, 0, 0);
    }
}

static void branch(struct small *s, bool taken)
{
    uint32_t displacement = (uint32_t)(int8_t)fetch(s, 8);

    if (taken)
        s->next += displacement;
}

static void one_byte(struct small *s, uint8_t opcode)
{
    const unsigned width = opcode & 1 ? s->width : 8;
    uint32_t value, other;

    if (opcode < 0x40 && (opcode & 7) < 6) {
        const unsigned op = opcode >> 3;

        if ((opcode & 7) >= 4) {
            value = arithmetic(s, op, width, s->r[EAX], fetch(s, width));
            if (op != 7 && !s->done)
                set_register(s, EAX, width, value);
            return;
        }
        modrm(s);
        value = get_rm(s, width);
        other = get_register(s, s->reg, width);
        if (opcode & 2) {
            value = arithmetic(s, op, width, other, value);
            if (op != 7 && !s->done)
                set_register(s, s->reg, width, value);
        } else {
            value = arithmetic(s, op, width, value, other);
            if (op != 7)
                set_rm(s, width, value);
        }
        return;
    }
    switch (opcode & 0xf8) {
    case 0x40:
    case 0x48:
        other = s->eflags & CF;
        value = arithmetic(s, opcode & 8 ? 5 : 0, s->width, s->r[opcode & 7], 1);
        s->eflags = (s->eflags & ~CF) | other;
        set_register(s, opcode & 7, s->width, value);
        return;
    case 0x50:
        push(s, s->r[opcode & 7]);
        return;
    case 0x58:
        value = pop(s);
        if (!s->done)
            set_register(s, opcode & 7, s->width, value);
        return;
    case 0x70:
    case 0x78:
        branch(s, condition(s, opcode));
        return;
    case 0x90:
        value = s->r[EAX];
        set_register(s, EAX, s->width, s->r[opcode & 7]);
        set_register(s, opcode & 7, s->width, value);
        return;
    case 0xb0:
        set_register(s, opcode & 7, 8, fetch(s, 8));
        return;
    case 0xb8:
        set_register(s, opcode & 7, s->width, fetch(s, s->width));
        return;
    }
    switch (opcode) {
    case 0x06:
    case 0x0e:
    case 0x16:
    case 0x1e:
        push(s, segment(s, opcode >> 3));
        break;
    case 0x07:
    case 0x17:
    case 0x1f:
        load_segment(s, opcode >> 3, (uint16_t)pop(s));
        break;
    case 0x0f:
        two_bytes(s);
        break;
    case 0x68:
        push(s, fetch(s, s->width));
        break;
    case 0x6a:
        push(s, (uint32_t)(int8_t)fetch(s, 8));
        break;
    case 0x6c:
    case 0x6d:
    case 0x6e:
    case 0x6f:
    case 0xe4:
    case 0xe5:
    case 0xe6:
    case 0xe7:
    case 0xec:
    case 0xed:
    case 0xee:
    case 0xef: /* in, out */
    case 0xf4:
    case 0xfa:
    case 0xfb: /* hlt, cli, sti */
        gp(s, 0);
        break;
    case 0x80:
    case 0x81:
    case 0x83:
        modrm(s);
        value = get_rm(s, width);
        other = opcode == 0x81 ? fetch(s, width) : (uint32_t)(int8_t)fetch(s, 8);
        value = arithmetic(s, s->reg, width, value, other);
        if (s->reg != 7)
            set_rm(s, width, value);
        break;
    case 0x84:
    case 0x85:
        modrm(s);
        arithmetic(s, 4, width, get_rm(s, width), get_register(s, s->reg, width));
        break;
    case 0x86:
    case 0x87:
        modrm(s);
        value = get_rm(s, width);
        set_rm(s, width, get_register(s, s->reg, width));
        if (!s->done)
            set_register(s, s->reg, width, value);
        break;
    case 0x88:
    case 0x89:
        modrm(s);
        set_rm(s, width, get_register(s, s->reg, width));
        break;
    case 0x8a:
    case 0x8b:
        modrm(s);
        value = get_rm(s, width);
        if (!s->done)
            set_register(s, s->reg, width, value);
        break;
    case 0x8c:
        modrm(s);
        if (s->reg > PV_GS)
            trap(s, VECTOR_UD, 0, 0, 0);
        else
            set_rm(s, s->mod == 3 ? s->width : 16, segment(s, s->reg));
        break;
    case 0x8d:
        modrm(s);
        if (s->mod == 3)
            trap(s, VECTOR_UD, 0, 0, 0);
        else
            set_register(s, s->reg, s->width, s->address);
        break;
    case 0x8e:
        modrm(s);
        load_segment(s, s->reg, (uint16_t)get_rm(s, 16));
        break;
    case 0x9a:
    case 0xea:
        value = fetch(s, s->width);
        other = fetch(s, 16);
        if (opcode == 0x9a) {
            push(s, s->cs);
            push(s, s->next);
        }
        far_jump(s, (uint16_t)other, value, false);
        break;
    case 0x9c:
        push(s, s->eflags | EFLAGS_IF | EFLAGS_FIXED);
        break;
    case 0x9d:
        value = pop(s);
        if (!s->done)
            s->eflags = (s->eflags & ~POPF_FLAGS) | (value & POPF_FLAGS);
        break;
    case 0xa0:
    case 0xa1:
        value = fetch(s, s->address16 ? 16 : 32);
        value = load(s, value + segment_base(s, s->segment >= 0 ? s->segment : PV_DS), width);
        if (!s->done)
            set_register(s, EAX, width, value);
        break;
    case 0xa2:
    case 0xa3:
        value = fetch(s, s->address16 ? 16 : 32);
        store(s, value + segment_base(s, s->segment >= 0 ? s->segment : PV_DS), width, s->r[EAX]);
        break;
    case 0xa4:
    case 0xa5:
    case 0xaa:
    case 0xab:
    case 0xac:
    case 0xad:
        string(s, opcode);
        break;
    case 0xa8:
    case 0xa9:
        arithmetic(s, 4, width, s->r[EAX], fetch(s, width));
        break;
    case 0xc0:
    case 0xc1:
        modrm(s);
        shift(s, width, fetch(s, 8));
        break;
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
        modrm(s);
        shift(s, width, opcode & 2 ? s->r[ECX] : 1);
        break;
    case 0xc2:
    case 0xc3:
        other = opcode == 0xc2 ? fetch(s, 16) : 0;
        value = pop(s);
        s->next = value;
        s->r[ESP] += other;
        break;
    case 0xc4:
        far_pointer(s, PV_ES);
        break;
    case 0xc5:
        far_pointer(s, PV_DS);
        break;
    case 0xc6:
    case 0xc7:
        modrm(s);
        set_rm(s, width, fetch(s, width));
        break;
    case 0xc9:
        s->r[ESP] = s->r[EBP];
        value = pop(s);
        if (!s->done)
            s->r[EBP] = value;
        break;
    case 0xca:
    case 0xcb:
        far_return(s, opcode == 0xca ? fetch(s, 16) : 0, false);
        break;
    case 0xcc:
        trap(s, VECTOR_BP, 0, 0, 1);
        break;
    case 0xcd:
        value = fetch(s, 8);
        trap(s, value, 0, 0, 1);
        break;
    case 0xce:
        if (s->eflags & OF)
            trap(s, VECTOR_OF, 0, 0, 1);
        break;
    case 0xcf:
        far_return(s, 0, true);
        break;
    case 0xe2:
        branch(s, --s->r[ECX] != 0);
        break;
    case 0xe3:
        branch(s, !s->r[ECX]);
        break;
    case 0xe8:
        value = fetch(s, s->width);
        push(s, s->next);
        s->next += value;
        break;
    case 0xe9:
        value = fetch(s, s->width);
        s->next += s->width == 16 ? (uint32_t)(int16_t)value : value;
        break;
    case 0xeb:
        branch(s, true);
        break;
    case 0xf5:
        s->eflags ^= CF;
        break;
    case 0xf6:
    case 0xf7:
        modrm(s);
        group3(s, width);
        break;
    case 0xf8:
    case 0xf9:
        s->eflags = (s->eflags & ~CF) | (opcode & 1);
        break;
    case 0xfc:
    case 0xfd:
        s->eflags = (s->eflags & ~EFLAGS_DF) | (opcode & 1 ? EFLAGS_DF : 0);
        break;
    case 0xfe:
        modrm(s);
        if (s->reg < 2)
            set_rm(s, 8, arithmetic(s, s->reg ? 5 : 0, 8, get_rm(s, 8), 1));
        else
            trap(s, VECTOR_UD, 0, 0, 0);
        break;
    case 0xff:
        modrm(s);
        group5(s);
        break;
    default:
        trap(s, VECTOR_UD, 0, 0, 0);
    }
}

static void step(struct small *s)
{
    const bool stepping = s->eflags & EFLAGS_TF;
    struct small before = *s;
    uint8_t opcode;

    s->width = 32;
    s->address16 = false;
    s->rep = 0;
    s->segment = -1;
    s->next = s->eip;
    for (;;) {
        opcode = (uint8_t)fetch(s, 8);
        if (s->done)
            break;
        if (opcode == 0x66)
            s->width = 16;
        else if (opcode == 0x67)
            s->address16 = true;
        else if (opcode == 0xf2 || opcode == 0xf3)
            s->rep = opcode;
        else if ((opcode & 0xe7) == 0x26)
            s->segment = opcode >> 3 & 3;
        else if (opcode == 0x64 || opcode == 0x65)
            s->segment = opcode == 0x64 ? PV_FS : PV_GS;
        else
            break;
    }
    if (!s->done)
        one_byte(s, opcode);
    if (s->done && !s->exit->software) { /* as if nothing had happened */
        memcpy(s->r, before.r, sizeof s->r);
        s->eflags = before.eflags;
        s->cs = before.cs;
        return;
    }
    s->eip = s->next;
    if (stepping && !s->done)
        trap(s, VECTOR_DB, 0, 0, 0);
}

static void run(struct vm *vm, struct vm_exit *exit)
{
    struct pv_cpu *cpu = &vm->vmm->cpu;
    struct small s = {.vm = vm, .exit = exit};

    for (unsigned i = 0; i < 8; i++)
        s.r[i] = (uint32_t)cpu->gpr[i];
    s.eip = (uint32_t)cpu->eip;
    s.eflags = (uint32_t)cpu->eflags;
    s.cs = cpu->user ? (uint16_t)cpu->user_cs : VM_SELECTOR_CODE;
    if (cpu->user && (descriptor(&s, s.cs) >> 40 & 0xf8) != 0xf8 &&
        (descriptor(&s, s.cs) >> 40 & 0x9c) != 0x9c)
        gp(&s, s.cs & 0xfffcu); /* the hypervisor's return to it faults */
    while (!s.done) {
        if (s.eip == VM_LOW_ENTRY && s.cs == VM_SELECTOR_ENTRY) {
            exit->kind = VM_EXIT_OPERATION;
            break;
        }
        if (s.eip - vm->stop_from < vm->stop_to - vm->stop_from) {
            exit->kind = VM_EXIT_STOP;
            break;
        }
        if (vm->steps >= vm->step_limit) {
            exit->kind = VM_EXIT_STEPS;
            break;
        }
        vm->steps++;
        step(&s);
    }
    for (unsigned i = 0; i < 8; i++)
        cpu->gpr[i] = s.r[i];
    cpu->eip = s.eip;
    cpu->eflags = s.eflags | EFLAGS_FIXED | EFLAGS_IF;
    if (cpu->user) {
        exit->cs = s.cs;
        exit->ss = (uint16_t)cpu->user_ss;
    }
}

static void changed(struct vm *vm, gva_t va)
{
    (void)vm, (void)va;
}

static void changed_all(struct vm *vm)
{
    (void)vm;
}

const struct vm_processor vm_small = {
    .run = run, .changed = changed, .changed_all = changed_all, .close = changed_all};
