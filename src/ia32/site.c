/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The site decoder: just enough of an IA32 decoder for the instructions of the catalogue.
 *
 * It knows prefixes, ModRM and SIB, and takes everything else from ia32_ops.def. What is not in the
 * catalogue is "not a sensitive instruction", whatever it may be. Freestanding: the rewriter runs
 * it in the guest, on bytes that may be hostile.
 *
 * SDM is the Intel 64 and IA-32 Architectures Software Developer's Manual; volume 2, chapter 2
 * describes the instruction format.
 */
#include <previrt/ia32.h>
#include <previrt/table.h>

enum {
    PREFIX_ES = 0x26,
    PREFIX_CS = 0x2e,
    PREFIX_SS = 0x36,
    PREFIX_DS = 0x3e,
    PREFIX_FS = 0x64,
    PREFIX_GS = 0x65,
    PREFIX_OPERAND_SIZE = 0x66,
    PREFIX_ADDRESS_SIZE = 0x67,
    PREFIX_LOCK = 0xf0,
    PREFIX_REPNE = 0xf2,
    PREFIX_REP = 0xf3
};

enum { ESCAPE = 0x0f, ESCAPE_01 = 0x01, ESCAPE_38 = 0x38, OPCODE_STI = 0xfb };
enum { REGISTER_EBX = 3, REGISTER_ESP = 4, REGISTER_EBP = 5, REGISTER_ESI = 6, REGISTER_EDI = 7 };
enum { SEGMENT_CS = 1, SEGMENT_GS = 5 };
enum { NO_REGISTER = 0xff, MOD_REGISTER = 3 };

/* Opcode maps, as a key for find_form() holds them. */
enum { MAP_0F = 0x100, MAP_0F01 = 0x200, MAP_0F38 = 0x300, MAP_FUSED = 0x400 };

/*
 * The key of a form: opcode byte and map, /digit where the layout has one, mandatory prefix.
 * Opcodes are strings in the catalogue; compilers fold these expressions to constants and make a
 * search tree of the comparisons below.
 */
#define BYTE(opcode, length, i) ((unsigned char)(opcode)[(i) < (length) ? (i) : 0])
#define OPCODE_KEY(opcode, length)                                                                 \
    ((length) == 1                          ? (unsigned)BYTE(opcode, length, 0)                    \
     : BYTE(opcode, length, 0) != ESCAPE    ? (unsigned)MAP_FUSED | (length)                       \
     : (length) == 2                        ? (unsigned)MAP_0F | BYTE(opcode, length, 1)           \
     : BYTE(opcode, length, 1) == ESCAPE_38 ? (unsigned)MAP_0F38 | BYTE(opcode, length, 2)         \
                                            : (unsigned)MAP_0F01 | BYTE(opcode, length, 2))
#define DIGIT_KEY(digit)      ((8U | (unsigned)(digit)) << 12)
#define MANDATORY_KEY(prefix) ((unsigned)(prefix) << 16)
#define HAS_DIGIT(layout)                                                                          \
    ((layout) == PREVIRT_LAYOUT_EXT || (layout) == PREVIRT_LAYOUT_EXTMEM ||                        \
     (layout) == PREVIRT_LAYOUT_EXTREG)

static unsigned find_form(unsigned key)
{
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    if (key == (OPCODE_KEY(opcode, length) | MANDATORY_KEY(mandatory) |                            \
                (HAS_DIGIT(PREVIRT_LAYOUT_##layout) ? DIGIT_KEY((extension)&7) : 0)))              \
        return number;
#include <previrt/ia32_ops.def>
    return PREVIRT_IA32_NO_FORM;
}

/* Whether the opcode (key) has forms that ModRM tells apart. */
static int is_group(unsigned key)
{
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    if (HAS_DIGIT(PREVIRT_LAYOUT_##layout) && key == OPCODE_KEY(opcode, length))                   \
        return 1;
#include <previrt/ia32_ops.def>
    return 0;
}

/* "NP" in the SDM's opcode column: with 0x66, 0xf2 or 0xf3 it is another instruction, or #UD. */
static int forbids_prefix(unsigned op)
{
    switch (op) {
    case PREVIRT_IA32_XGETBV:
    case PREVIRT_IA32_XSETBV:
    case PREVIRT_IA32_XSAVES:
    case PREVIRT_IA32_XRSTORS:
    case PREVIRT_IA32_MONITOR:
    case PREVIRT_IA32_MWAIT:
    case PREVIRT_IA32_CLAC:
    case PREVIRT_IA32_STAC:
    case PREVIRT_IA32_GETSEC:
    case PREVIRT_IA32_ENCLS:
    case PREVIRT_IA32_PCONFIG:
    case PREVIRT_IA32_VMCALL:
    case PREVIRT_IA32_VMLAUNCH:
    case PREVIRT_IA32_VMRESUME:
    case PREVIRT_IA32_VMXOFF:
    case PREVIRT_IA32_VMPTRLD:
    case PREVIRT_IA32_VMPTRST:
    case PREVIRT_IA32_VMREAD:
    case PREVIRT_IA32_VMWRITE:
    case PREVIRT_IA32_VMFUNC:
        return 1;
    default:
        return 0;
    }
}

static int is_fused(unsigned op)
{
    return op == PREVIRT_IA32_STI_HLT || op == PREVIRT_IA32_STI_MWAIT ||
           op == PREVIRT_IA32_STI_SYSEXIT;
}

/* The form for an opcode (key) with the effective mandatory prefix, or else without any. */
static unsigned find_prefixed(unsigned key, unsigned mandatory)
{
    unsigned form;

    if (!mandatory)
        return find_form(key);
    form = find_form(key | MANDATORY_KEY(mandatory));
    if (form)
        return form;
    form = find_form(key);
    return form && !forbids_prefix(previrt_ia32_form_info(form)->op) ? form : PREVIRT_IA32_NO_FORM;
}

struct prefixes {
    uint8_t segment;      /* register number, NO_REGISTER: none */
    uint8_t operand_size; /* 1: 0x66 */
    uint8_t address_size; /* 1: 0x67 */
    uint8_t rep;          /* the last of 0xf2 and 0xf3 */
    uint8_t lock;
};

static int read_prefix(uint8_t byte, struct prefixes *prefixes)
{
    switch (byte) {
    case PREFIX_ES:
    case PREFIX_CS:
    case PREFIX_SS:
    case PREFIX_DS:
        prefixes->segment = byte >> 3 & 3;
        return 1;
    case PREFIX_FS:
    case PREFIX_GS:
        prefixes->segment = (uint8_t)(byte - PREFIX_GS + SEGMENT_GS);
        return 1;
    case PREFIX_OPERAND_SIZE:
        prefixes->operand_size = 1;
        return 1;
    case PREFIX_ADDRESS_SIZE:
        prefixes->address_size = 1;
        return 1;
    case PREFIX_LOCK:
        prefixes->lock = 1;
        return 1;
    case PREFIX_REPNE:
    case PREFIX_REP:
        prefixes->rep = byte;
        return 1;
    default:
        return 0;
    }
}

static uint32_t little_endian(const uint8_t *bytes, unsigned size)
{
    uint32_t value = 0;

    for (unsigned i = 0; i < size; i++)
        value |= (uint32_t)bytes[i] << (8 * i);
    return value;
}

/*
 * The memory operand behind insn->modrm, whose addressing is in SDM 2A tables 2-1 to 2-3. (at) is
 * the offset of the ModRM byte; returns the offset behind the displacement, or 0 if (size) ends
 * before.
 */
static size_t read_memory(const uint8_t *bytes, size_t size, size_t at,
                          struct previrt_ia32_insn *insn)
{
    static const uint8_t base16[8] = {REGISTER_EBX, REGISTER_EBX, REGISTER_EBP, REGISTER_EBP,
                                      REGISTER_ESI, REGISTER_EDI, REGISTER_EBP, REGISTER_EBX};
    static const uint8_t index16[8] = {REGISTER_ESI, REGISTER_EDI, REGISTER_ESI, REGISTER_EDI,
                                       NO_REGISTER,  NO_REGISTER,  NO_REGISTER,  NO_REGISTER};
    unsigned mod = insn->modrm >> 6, rm = insn->modrm & 7;
    unsigned displacement = mod == 0 ? 0 : mod == 1 ? 1 : insn->address16 ? 2 : 4;

    at++;
    insn->is_memory = 1;
    insn->scale = 1;
    if (insn->address16) {
        insn->base = base16[rm];
        insn->index = index16[rm];
        if (mod == 0 && rm == 6) {
            insn->base = NO_REGISTER;
            displacement = 2;
        }
    } else if (rm == REGISTER_ESP) {
        if (at >= size)
            return 0;
        insn->sib = bytes[at++];
        insn->base = insn->sib & 7;
        insn->index = insn->sib >> 3 & 7;
        insn->scale = (uint8_t)(1 << (insn->sib >> 6));
        if (insn->index == REGISTER_ESP)
            insn->index = NO_REGISTER;
        if (mod == 0 && insn->base == REGISTER_EBP) {
            insn->base = NO_REGISTER;
            displacement = 4;
        }
    } else {
        insn->base = (uint8_t)rm;
        if (mod == 0 && rm == REGISTER_EBP) {
            insn->base = NO_REGISTER;
            displacement = 4;
        }
    }
    insn->invariant = (uint8_t)at;
    if (!displacement)
        return at;
    if (size - at < displacement)
        return 0;
    insn->displacement_offset = (uint8_t)at;
    insn->displacement_size = (uint8_t)displacement;
    insn->displacement = (int32_t)little_endian(bytes + at, displacement);
    if (displacement == 1)
        insn->displacement = (int8_t)insn->displacement;
    else if (displacement == 2)
        insn->displacement = (int16_t)insn->displacement;
    return at + displacement;
}

/* What ModRM means for (form), with the system registers that do not exist refused. */
static int read_registers(const struct previrt_ia32_form_info *form, struct previrt_ia32_insn *insn)
{
    enum { IMPLEMENTED_CR = 1 << 0 | 1 << 2 | 1 << 3 | 1 << 4 };
    uint8_t reg = insn->modrm >> 3 & 7, rm = insn->modrm & 7;

    switch (form->layout) {
    case PREVIRT_LAYOUT_CR:
        if (!(IMPLEMENTED_CR >> reg & 1))
            return PREVIRT_E_OPERATION;
        insn->system_register = reg;
        insn->reg = rm;
        return PREVIRT_OK;
    case PREVIRT_LAYOUT_DR:
        insn->system_register = reg;
        insn->reg = rm;
        return PREVIRT_OK;
    case PREVIRT_LAYOUT_SREG:
        if (reg > SEGMENT_GS || (reg == SEGMENT_CS && form->op == PREVIRT_IA32_MOV_TO_SEG))
            return PREVIRT_E_OPERATION;
        insn->system_register = reg;
        if (!insn->is_memory)
            insn->reg = rm;
        return PREVIRT_OK;
    case PREVIRT_LAYOUT_EXT:
        if (!insn->is_memory)
            insn->reg = rm;
        return PREVIRT_OK;
    case PREVIRT_LAYOUT_EXTMEM:
        return insn->is_memory ? PREVIRT_OK : PREVIRT_E_OPERATION;
    case PREVIRT_LAYOUT_EXTREG:
        insn->reg = rm;
        return insn->is_memory ? PREVIRT_E_OPERATION : PREVIRT_OK;
    case PREVIRT_LAYOUT_REGMEM:
        insn->reg = reg;
        /* lds and les with a register are the VEX prefixes (SDM 2A 2.3.5) */
        return insn->is_memory ? PREVIRT_OK : PREVIRT_E_OPERATION;
    default: /* REGRM, RMREG */
        insn->reg = reg;
        if (!insn->is_memory)
            insn->rm = rm;
        return PREVIRT_OK;
    }
}

static int has_modrm(unsigned layout)
{
    switch (layout) {
    case PREVIRT_LAYOUT_CR:
    case PREVIRT_LAYOUT_DR:
    case PREVIRT_LAYOUT_SREG:
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_EXTREG:
    case PREVIRT_LAYOUT_REGRM:
    case PREVIRT_LAYOUT_REGMEM:
    case PREVIRT_LAYOUT_RMREG:
        return 1;
    default:
        return 0;
    }
}

/* Some store a 16-bit selector or word, whatever the operand size, when they store to memory. */
static unsigned operand_width(const struct previrt_ia32_form_info *form, int operand_size,
                              int is_memory)
{
    if (form->width)
        return form->width > 0 ? (unsigned)form->width : 0;
    if (is_memory && (form->op == PREVIRT_IA32_MOV_FROM_SEG || form->op == PREVIRT_IA32_SMSW ||
                      form->op == PREVIRT_IA32_SLDT || form->op == PREVIRT_IA32_STR))
        return 16;
    return operand_size ? 16 : 32;
}

/* The fused operation that the sti at (bytes) begins, or NO_FORM. */
static unsigned find_fused(const uint8_t *bytes, size_t size)
{
    static const uint8_t fused[] = {PREVIRT_IA32_FORM_STI_HLT, PREVIRT_IA32_FORM_STI_MWAIT,
                                    PREVIRT_IA32_FORM_STI_SYSEXIT};

    for (unsigned i = 0; i < sizeof(fused); i++) {
        const struct previrt_ia32_form_info *form = previrt_ia32_form_info(fused[i]);
        unsigned n = 0;

        while (n < form->length && n < size && bytes[n] == form->opcode[n])
            n++;
        if (n == form->length)
            return fused[i];
    }
    return PREVIRT_IA32_NO_FORM;
}

/*
 * Reads prefixes and opcode: the form, the offset behind the opcode in (*at), what was read of the
 * prefixes in (*prefixes).
 */
static int read_opcode(const uint8_t *bytes, size_t size, int fused, size_t *at,
                       struct prefixes *prefixes, unsigned *form)
{
    unsigned key, mandatory, operand_size;
    size_t i = 0;

    while (i < size && read_prefix(bytes[i], prefixes))
        i++;
    if (i == size)
        return PREVIRT_E_TRUNCATED;
    *at = i;
    if (prefixes->lock) /* #UD for all of the catalogue (SDM 2A LOCK) */
        return PREVIRT_E_OPERATION;
    operand_size = prefixes->operand_size ? PREFIX_OPERAND_SIZE : 0;

    if (bytes[i] != ESCAPE) {
        *form = PREVIRT_IA32_NO_FORM;
        if (bytes[i] == OPCODE_STI && fused)
            *form = find_fused(bytes + i, size - i);
        if (*form) {
            *at = i + previrt_ia32_form_info(*form)->length;
            return PREVIRT_OK;
        }
        /* here 0x66 is only the operand size, and 0xf2 and 0xf3 repeat or do nothing */
        key = bytes[i++];
        mandatory = operand_size;
    } else {
        if (++i == size)
            return PREVIRT_E_TRUNCATED;
        key = MAP_0F | bytes[i++];
        mandatory = prefixes->rep ? prefixes->rep : operand_size;
        if (key == (MAP_0F | ESCAPE_38)) {
            if (i == size)
                return PREVIRT_E_TRUNCATED;
            key = MAP_0F38 | bytes[i++];
        } else if (key == (MAP_0F | ESCAPE_01) && i < size && bytes[i] >> 6 == MOD_REGISTER) {
            *form = find_prefixed(MAP_0F01 | bytes[i], mandatory);
            if (*form) {
                *at = i + 1;
                return PREVIRT_OK;
            }
        }
    }
    *at = i;
    *form = find_prefixed(key, mandatory);
    if (!*form && is_group(key)) {
        if (i == size)
            return PREVIRT_E_TRUNCATED;
        key |= DIGIT_KEY(bytes[i] >> 3 & 7);
        *form = find_prefixed(key, mandatory);
    }
    return *form ? PREVIRT_OK : PREVIRT_E_OPERATION;
}

/* The immediate at offset (at); the offset behind it, or 0 if (size) ends before. */
static size_t read_immediate(const uint8_t *bytes, size_t size, size_t at, unsigned immediate,
                             struct previrt_ia32_insn *insn)
{
    if (size - at < immediate)
        return 0;
    insn->immediate_offset = (uint8_t)at;
    insn->immediate_size = (uint8_t)immediate;
    insn->immediate = little_endian(bytes + at, immediate < 4 ? immediate : 4);
    return at + immediate;
}

int previrt_ia32_decode_site(const uint8_t *bytes, size_t size, int fused,
                             struct previrt_ia32_insn *insn)
{
    const struct previrt_ia32_insn empty = {.segment = NO_REGISTER,
                                            .system_register = NO_REGISTER,
                                            .reg = NO_REGISTER,
                                            .rm = NO_REGISTER,
                                            .base = NO_REGISTER,
                                            .index = NO_REGISTER};
    struct prefixes prefixes = {.segment = NO_REGISTER};
    const struct previrt_ia32_form_info *form;
    unsigned number = PREVIRT_IA32_NO_FORM, selector = 0;
    size_t available = size, at = 0;
    int status;

    if (!insn || (!bytes && size))
        return PREVIRT_E_INVALID;
    *insn = empty;
    /* Nothing longer than 15 bytes is an instruction: #GP (SDM 2A 2.3.11). */
    if (available > PREVIRT_LENGTH_MAX)
        available = PREVIRT_LENGTH_MAX;
    status = read_opcode(bytes, available, fused, &at, &prefixes, &number);
    if (status < 0)
        goto out;

    form = previrt_ia32_form_info(number);
    insn->op = form->op;
    insn->form = form->form;
    insn->prefixes = (uint8_t)(at - form->length);
    insn->opcode_end = insn->invariant = (uint8_t)at;
    insn->address16 = prefixes.address_size;
    insn->segment = prefixes.segment;
    if (form->layout == PREVIRT_LAYOUT_STRING)
        insn->rep = prefixes.rep;
    if (form->layout == PREVIRT_LAYOUT_NONE && form->extension >= 0)
        insn->system_register = (uint8_t)form->extension;

    status = PREVIRT_E_TRUNCATED;
    if (has_modrm(form->layout)) {
        if (at == available)
            goto out;
        insn->has_modrm = 1;
        insn->modrm = bytes[at];
        insn->invariant = (uint8_t)(at + 1);
        /* mod means nothing to mov from and to control and debug registers */
        if (insn->modrm >> 6 == MOD_REGISTER || form->layout == PREVIRT_LAYOUT_CR ||
            form->layout == PREVIRT_LAYOUT_DR)
            at++;
        else
            at = read_memory(bytes, available, at, insn);
        status = read_registers(form, insn);
        if (status < 0)
            goto out;
        status = PREVIRT_E_TRUNCATED;
        if (!at)
            goto out;
    }
    insn->width = (uint8_t)operand_width(form, prefixes.operand_size, insn->is_memory);

    switch (form->layout) {
    case PREVIRT_LAYOUT_IMM8:
        at = read_immediate(bytes, available, at, 1, insn);
        break;
    case PREVIRT_LAYOUT_IMM16:
        at = read_immediate(bytes, available, at, 2, insn);
        break;
    case PREVIRT_LAYOUT_PTR: {
        unsigned offset = insn->width / 8;

        at = read_immediate(bytes, available, at, offset + 2, insn);
        if (!at)
            break;
        selector = insn->immediate_offset + offset;
        insn->immediate = little_endian(bytes + insn->immediate_offset, offset);
        insn->selector = (uint16_t)little_endian(bytes + selector, 2);
        break;
    }
    default:
        break;
    }
    if (at) {
        insn->length = (uint8_t)at;
        return PREVIRT_OK;
    }
out:
    *insn = empty;
    /* the limit of 15 bytes cut it off, not the caller */
    if (status == PREVIRT_E_TRUNCATED && size >= PREVIRT_LENGTH_MAX)
        return PREVIRT_E_OPERATION;
    return status;
}

/* ---- records ---- */

enum {
    OPERAND_SIZE16 = 1 << 6,
    OPERAND_MEMORY = 1 << 7,
    OPERAND_REG_SHIFT = 3,
    OPERAND_MODRM_OFFSET_MAX = 7,
    OPERAND_REP = 1 << 0,
    OPERAND_REPNE = 1 << 1,
    OPERAND_ADDRESS16 = 1 << 2
};

void previrt_ia32_site_from_insn(const struct previrt_ia32_insn *insn, struct previrt_site *site)
{
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(insn->form);
    unsigned operand = 0, layout = form ? form->layout : PREVIRT_LAYOUT_NONE;

    site->op = insn->op;
    site->form = insn->form;
    site->length = insn->length;

    switch (layout) {
    case PREVIRT_LAYOUT_IMM8:
        operand = insn->immediate & 0xff;
        break;
    case PREVIRT_LAYOUT_NONE:
    case PREVIRT_LAYOUT_IMM16:
    case PREVIRT_LAYOUT_PTR:
        break;
    case PREVIRT_LAYOUT_STRING:
        if (insn->rep)
            operand |= insn->rep == PREFIX_REP ? OPERAND_REP : OPERAND_REPNE;
        if (insn->address16)
            operand |= OPERAND_ADDRESS16;
        if (insn->segment != NO_REGISTER)
            operand |= (insn->segment + 1U) << OPERAND_REG_SHIFT;
        break;
    default:
        if (insn->is_memory) {
            operand = insn->opcode_end < OPERAND_MODRM_OFFSET_MAX ? insn->opcode_end
                                                                  : OPERAND_MODRM_OFFSET_MAX;
            operand |= OPERAND_MEMORY | (unsigned)(insn->modrm & 0x38);
        } else {
            operand = insn->reg & 7U;
            if (insn->system_register != NO_REGISTER)
                operand |= (unsigned)insn->system_register << OPERAND_REG_SHIFT;
            else if (insn->rm != NO_REGISTER)
                operand |= (unsigned)insn->rm << OPERAND_REG_SHIFT;
        }
        break;
    }
    if (layout != PREVIRT_LAYOUT_IMM8 && form && form->width == 0 && insn->width == 16)
        operand |= OPERAND_SIZE16;
    site->operand = (uint16_t)operand;
}

/*
 * The length of the NOP at (bytes), 0 if it is none. The NOPs that assemblers pad with: nop, xchg
 * %ax,%ax, the multi-byte NOP (SDM 2B NOP), and for CPUs without it lea and mov of a register to
 * itself.
 */
static size_t nop_length(const uint8_t *bytes, size_t size)
{
    enum { NOP = 0x90, NOP_MODRM = 0x1f, LEA = 0x8d, MOV_STORE = 0x89, MOV_LOAD = 0x8b };
    struct prefixes prefixes = {.segment = NO_REGISTER};
    struct previrt_ia32_insn operand = {.base = NO_REGISTER, .index = NO_REGISTER};
    size_t at = 0;
    int is_lea;

    while (at < size && read_prefix(bytes[at], &prefixes))
        at++;
    if (at == size || prefixes.lock || prefixes.rep || prefixes.address_size)
        return 0;
    if (bytes[at] == NOP)
        return at + 1;
    if (bytes[at] == MOV_STORE || bytes[at] == MOV_LOAD) {
        if (size - at < 2 || bytes[at + 1] >> 6 != MOD_REGISTER || prefixes.operand_size)
            return 0;
        return (bytes[at + 1] >> 3 & 7) == (bytes[at + 1] & 7) ? at + 2 : 0;
    }
    is_lea = bytes[at] == LEA;
    if (!is_lea) {
        if (bytes[at] != ESCAPE || size - at < 2 || bytes[at + 1] != NOP_MODRM)
            return 0;
        at++;
    }
    if (++at == size)
        return 0;
    operand.modrm = bytes[at];
    if (operand.modrm >> 6 == MOD_REGISTER)
        return is_lea || (operand.modrm & 0x38) ? 0 : at + 1;
    at = read_memory(bytes, size, at, &operand);
    if (!at)
        return 0;
    if (!is_lea)
        return operand.modrm & 0x38 ? 0 : at;
    return !prefixes.operand_size && operand.base == (operand.modrm >> 3 & 7) &&
                   operand.index == NO_REGISTER && !operand.displacement
               ? at
               : 0;
}

int previrt_ia32_match_site(const struct previrt_site *site, const uint8_t *bytes, size_t size,
                            struct previrt_ia32_insn *insn)
{
    const struct previrt_ia32_form_info *form;
    struct previrt_ia32_insn decoded;
    struct previrt_site found = {0};
    size_t room, at;
    int status;

    if (!site || (!bytes && size))
        return PREVIRT_E_INVALID;
    form = previrt_ia32_form_info(site->form);
    if (site->arch != PREVIRT_ARCH_IA32 || !form || form->op != site->op)
        return PREVIRT_E_OPERATION;
    if (!site->length || site->length > PREVIRT_LENGTH_MAX || site->pad > PREVIRT_PAD_MAX)
        return PREVIRT_E_INVALID;
    room = (size_t)site->length + site->pad;
    if (size < room)
        return PREVIRT_E_TRUNCATED;

    status = previrt_ia32_decode_site(bytes, site->length, is_fused(site->op), &decoded);
    if (status < 0)
        return PREVIRT_E_BYTES;
    previrt_ia32_site_from_insn(&decoded, &found);
    if (found.form != site->form || found.length != site->length || found.operand != site->operand)
        return PREVIRT_E_BYTES;
    for (at = site->length; at < room;) {
        size_t nop = nop_length(bytes + at, room - at);

        if (!nop)
            return PREVIRT_E_TAIL;
        at += nop;
    }
    if (insn)
        *insn = decoded;
    return PREVIRT_OK;
}
