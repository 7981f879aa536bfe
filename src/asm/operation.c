/* SPDX-License-Identifier: BSD-2-Clause */
/* Operands, and which sensitive operation a statement is. */
#include "asm/operation.h"

#include <string.h>

#include <previrt/ia32.h>
#include <previrt/table.h>

#define PREFIX_DS 0x3e
#define PREFIX_SS 0x36

enum { SEGMENT_SS = 2, REGISTER_ESP = 4, REGISTER_EBP = 5 };

/* White space and comments. */
static const char *skip_space(const char *p, const char *end)
{
    for (;;) {
        const char *close;

        while (p < end && (pv_class[(uint8_t)*p] & PV_CLASS_SPACE))
            p++;
        if (end - p < 2 || p[0] != '/' || p[1] != '*')
            return p;
        close = memmem(p + 2, (size_t)(end - p - 2), "*/", 2);
        p = close ? close + 2 : end;
    }
}

static const char *trim(const char *p, const char *end)
{
    for (;;) {
        const char *open;

        while (end > p && (pv_class[(uint8_t)end[-1]] & PV_CLASS_SPACE))
            end--;
        if (end - p < 4 || end[-1] != '/' || end[-2] != '*')
            return end;
        for (open = end - 4; open > p && (open[0] != '/' || open[1] != '*'); open--)
            ;
        if (open[0] != '/' || open[1] != '*')
            return end;
        end = open;
    }
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return 16;
}

int pv_read_number(const char *p, const char *end, uint32_t *value)
{
    uint64_t result = 0;
    int base = 10, negative = 0;

    p = skip_space(p, end);
    end = trim(p, end);
    while (end - p >= 2 && *p == '(' && end[-1] == ')') {
        p = skip_space(p + 1, end - 1);
        end = trim(p, end - 1);
    }
    if (p < end && *p == '-') {
        negative = 1;
        p++;
    }
    if (p < end && *p == '0' && end - p > 1) {
        p++;
        base = 8;
        if ((*p | 0x20) == 'x') {
            p++;
            base = 16;
        } else if ((*p | 0x20) == 'b') {
            p++;
            base = 2;
        }
    }
    if (p == end)
        return 0;
    for (; p < end; p++) {
        int digit = digit_value(*p);

        if (digit >= base)
            return 0;
        result = result * (unsigned)base + (unsigned)digit;
        if (result > UINT32_MAX)
            return 0;
    }
    *value = negative ? (uint32_t) - (int64_t)result : (uint32_t)result;
    return 1;
}

static int same_text(const char *p, size_t length, const char *name)
{
    if (strlen(name) != length)
        return 0;
    for (size_t i = 0; i < length; i++)
        if ((p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]) != name[i])
            return 0;
    return 1;
}

/* (p), (length): a register's name without its per cent sign. 1 if it is one that matters here. */
static int read_register(const char *p, size_t length, struct pv_operand *operand)
{
    static const char names[][4] = {"al", "cl", "dl", "bl", "ah", "ch", "dh", "bh"};
    static const char words[][4] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
    static const char segments[][4] = {"es", "cs", "ss", "ds", "fs", "gs"};

    if (length < 2 || length > 4)
        return 0;
    for (unsigned i = 0; i < 8; i++) {
        if (length == 2 && (same_text(p, 2, names[i]) || same_text(p, 2, words[i]))) {
            operand->kind = PV_OPERAND_REGISTER;
            operand->width = same_text(p, 2, names[i]) ? 8 : 16;
            operand->number = (uint8_t)i;
            return 1;
        }
        if (length == 3 && (*p | 0x20) == 'e' && same_text(p + 1, 2, words[i])) {
            operand->kind = PV_OPERAND_REGISTER;
            operand->width = 32;
            operand->number = (uint8_t)i;
            return 1;
        }
    }
    for (unsigned i = 0; i < sizeof(segments) / sizeof(segments[0]); i++) {
        if (length == 2 && same_text(p, 2, segments[i])) {
            operand->kind = PV_OPERAND_SEGMENT;
            operand->number = (uint8_t)i;
            return 1;
        }
    }
    if (length >= 3 && p[2] >= '0' && p[2] <= '9') {
        operand->number = (uint8_t)(p[2] - '0');
        if (same_text(p, 2, "cr"))
            operand->kind = PV_OPERAND_CONTROL;
        else if (same_text(p, 2, "dr") || same_text(p, 2, "db"))
            operand->kind = PV_OPERAND_DEBUG;
        else
            return 0;
        return 1;
    }
    return 0;
}

enum pv_system_register pv_system_register(const char *name, size_t length)
{
    struct pv_operand operand = {0};

    if (!read_register(name, length, &operand) || operand.kind == PV_OPERAND_REGISTER)
        return PV_SYSTEM_NONE;
    return operand.kind == PV_OPERAND_SEGMENT && operand.number == SEGMENT_SS ? PV_SYSTEM_SS
                                                                              : PV_SYSTEM_OTHER;
}

static size_t name_length(const char *p, const char *end)
{
    const char *q = p;

    while (q < end && (pv_class[(uint8_t)*q] & PV_CLASS_NAME))
        q++;
    return (size_t)(q - p);
}

/* seg:disp(base,index,scale) */
static void read_att_memory(const char *p, const char *end, struct pv_operand *operand)
{
    struct pv_operand base = {0};
    const char *open = NULL, *q;
    uint32_t value;
    size_t length;

    operand->kind = PV_OPERAND_MEMORY;
    if (memchr(p, '\\', (size_t)(end - p))) {
        operand->overridden = 1;
        return;
    }
    if (p < end && *p == '%') {
        const char *colon = memchr(p, ':', (size_t)(end - p));

        operand->overridden = 1;
        if (!colon)
            return;
        length = name_length(p + 1, colon);
        /* as leaves an override out that names the default segment */
        if (read_register(p + 1, length, &base) && base.number != SEGMENT_SS && base.number != 3)
            operand->bytes++;
        p = skip_space(colon + 1, end);
    }
    for (q = end; q > p && !open; q--)
        if (q[-1] == '(')
            open = q;
    if (!open || !memchr(open, '%', (size_t)(end - open))) {
        operand->bytes += 4; /* an address alone: disp32 */
        return;
    }
    q = skip_space(open, end);
    if (q < end && *q == '%') {
        length = name_length(q + 1, end);
        if (!read_register(q + 1, length, &base) || base.width != 32)
            return; /* 16-bit addressing: no lower bound worth having */
        operand->stack_segment = base.number == REGISTER_ESP || base.number == REGISTER_EBP;
        if (base.number == REGISTER_ESP || memchr(q, ',', (size_t)(end - q)))
            operand->bytes++;
    } else { /* no base: SIB and disp32 */
        operand->bytes += 5;
        return;
    }
    end = trim(p, open - 1);
    if (end == p || (pv_read_number(p, end, &value) && value == 0))
        operand->bytes += base.number == REGISTER_EBP;
    else if (pv_read_number(p, end, &value))
        operand->bytes += (int32_t)value >= -128 && (int32_t)value <= 127 ? 1 : 4;
}

static void read_att_operand(const char *p, const char *end, struct pv_operand *operand)
{
    if (p < end && *p == '*')
        p = skip_space(p + 1, end);
    if (p < end && *p == '%') {
        size_t length = name_length(p + 1, end);
        const char *behind = skip_space(p + 1 + length, end);

        if (behind == end && !memchr(p, '\\', (size_t)(end - p)) &&
            read_register(p + 1, length, operand))
            return;
        if (behind == end) {
            operand->kind = PV_OPERAND_UNKNOWN;
            if (length > 3 && p[3] == '\\') { /* %cr\number */
                if (same_text(p + 1, 2, "cr"))
                    operand->kind = PV_OPERAND_CONTROL;
                else if (same_text(p + 1, 2, "dr") || same_text(p + 1, 2, "db"))
                    operand->kind = PV_OPERAND_DEBUG;
            }
            return;
        }
    } else if (p < end && *p == '$') {
        operand->kind = PV_OPERAND_IMMEDIATE;
        operand->value_known = (uint8_t)pv_read_number(p + 1, end, &operand->value);
        return;
    } else if (p < end && *p == '\\') {
        operand->kind = PV_OPERAND_UNKNOWN;
        return;
    }
    read_att_memory(p, end, operand);
}

static void read_intel_operand(const char *p, const char *end, struct pv_operand *operand)
{
    const char *name = p < end && *p == '%' ? p + 1 : p;
    size_t length = name_length(name, end);

    if (p >= end)
        return;
    if (length && name + length == end && read_register(name, length, operand))
        return;
    if (memchr(p, '\\', (size_t)(end - p))) {
        operand->kind = PV_OPERAND_UNKNOWN;
    } else if (!memchr(p, '[', (size_t)(end - p)) && (pv_class[(uint8_t)*p] & PV_CLASS_DIGIT)) {
        operand->kind = PV_OPERAND_IMMEDIATE;
        operand->value_known = (uint8_t)pv_read_number(p, end, &operand->value);
        if (!operand->value_known && (end[-1] | 0x20) == 'h') { /* 80h */
            uint32_t value = 0;

            for (; p < end - 1 && digit_value(*p) < 16; p++)
                value = value * 16 + (uint32_t)digit_value(*p);
            operand->value = value;
            operand->value_known = p == end - 1;
        }
    } else {
        operand->kind = PV_OPERAND_MEMORY;
        operand->overridden = 1; /* not looked at */
    }
}

unsigned pv_read_operands(const char *p, const char *end, int intel,
                          struct pv_operand operands[PV_OPERANDS_MAX])
{
    unsigned count = 0;

    memset(operands, 0, PV_OPERANDS_MAX * sizeof(*operands));
    p = skip_space(p, end);
    while (p < end && count < PV_OPERANDS_MAX) {
        int depth = 0, quoted = 0;
        const char *q = p;
        struct pv_operand *operand = &operands[count++];

        for (; q < end && (depth > 0 || quoted || *q != ','); q++) {
            if (*q == '"')
                quoted = !quoted;
            else if (*q == '(' || *q == '[')
                depth++;
            else if (*q == ')' || *q == ']')
                depth--;
        }
        operand->text = p;
        operand->end = trim(p, q);
        if (intel)
            read_intel_operand(p, operand->end, operand);
        else
            read_att_operand(p, operand->end, operand);
        p = q < end ? skip_space(q + 1, end) : end;
    }
    if (intel && count == 2) {
        struct pv_operand first = operands[0];

        operands[0] = operands[1];
        operands[1] = first;
    }
    return count;
}

/* Whether a word such as `far' or `ptr' stands in Intel operands. */
static int has_word(const char *p, const char *end, const char *word)
{
    while (p < end) {
        size_t length = name_length(p, end);

        if (length && same_text(p, length, word))
            return 1;
        p += length ? length : 1;
    }
    return 0;
}

static int is_segment_load(const struct pv_operand *operand)
{
    return operand->kind == PV_OPERAND_SEGMENT;
}

static void identify_mov(const struct pv_mnemonic *mnemonic, unsigned count,
                         const struct pv_operand *operands, struct pv_operation *operation)
{
    const struct pv_operand *other;

    if (count != 2)
        return;
    if (operands[0].kind == PV_OPERAND_CONTROL || operands[0].kind == PV_OPERAND_DEBUG) {
        operation->op = operands[0].kind == PV_OPERAND_CONTROL ? PREVIRT_IA32_MOV_FROM_CR
                                                               : PREVIRT_IA32_MOV_FROM_DR;
        operation->bytes = 3;
        return;
    }
    if (operands[1].kind == PV_OPERAND_CONTROL || operands[1].kind == PV_OPERAND_DEBUG) {
        operation->op = operands[1].kind == PV_OPERAND_CONTROL ? PREVIRT_IA32_MOV_TO_CR
                                                               : PREVIRT_IA32_MOV_TO_DR;
        operation->bytes = 3;
        return;
    }
    if (is_segment_load(&operands[1])) {
        operation->op = PREVIRT_IA32_MOV_TO_SEG;
        operation->shadow = operands[1].number == SEGMENT_SS;
        other = &operands[0];
    } else if (is_segment_load(&operands[0])) {
        operation->op = PREVIRT_IA32_MOV_FROM_SEG;
        other = &operands[1];
    } else {
        return;
    }
    operation->bytes = (uint8_t)(2 + other->bytes);
    if (other->kind == PV_OPERAND_REGISTER) {
        if (operation->op == PREVIRT_IA32_MOV_FROM_SEG &&
            (other->width == 16 || mnemonic->width == 16))
            operation->bytes++;
    } else if (other->kind == PV_OPERAND_MEMORY && !other->overridden) {
        /* a redundant override of memory has to name the segment that is used anyway; only an
         * interrupt shadow is worth that */
        operation->prefix = operation->shadow ? (other->stack_segment ? PREFIX_SS : PREFIX_DS) : 0;
    } else {
        operation->prefix = 0;
    }
}

static void identify_push_pop(const struct pv_mnemonic *mnemonic, unsigned count,
                              const struct pv_operand *operands, struct pv_operation *operation)
{
    if (count != 1 || operands[0].kind != PV_OPERAND_SEGMENT)
        return;
    operation->op = mnemonic->op;
    operation->bytes = (uint8_t)((operands[0].number >= 4 ? 2 : 1) + (mnemonic->width == 16));
    operation->shadow = mnemonic->kind == PV_KIND_POP && operands[0].number == SEGMENT_SS;
}

static void identify_far(const struct pv_mnemonic *mnemonic, const char *p, const char *end,
                         int intel, unsigned count, const struct pv_operand *operands,
                         struct pv_operation *operation)
{
    int far = mnemonic->kind == PV_KIND_FAR;

    if (!far && intel)
        far = has_word(p, end, "far") || memchr(p, ':', (size_t)(end - p)) != NULL;
    if (!far && !intel) /* call $selector, $offset */
        far = count == 2 && operands[0].kind == PV_OPERAND_IMMEDIATE &&
              operands[1].kind == PV_OPERAND_IMMEDIATE;
    if (intel && memchr(p, '[', (size_t)(end - p)) == NULL && !has_word(p, end, "far") &&
        memchr(p, ':', (size_t)(end - p)) && has_word(p, end, "ptr"))
        far = 0; /* jmp dword ptr fs:x */
    if (!far || count == 0)
        return;
    operation->op = mnemonic->op;
    operation->prefix = 0;
    operation->transfer = 1;
    if (operands[0].kind == PV_OPERAND_IMMEDIATE)
        operation->bytes = mnemonic->width == 16 ? 6 : 7;
    else
        operation->bytes = (uint8_t)(2 + operands[0].bytes);
}

static void identify_modrm(const struct pv_mnemonic *mnemonic, unsigned count,
                           const struct pv_operand *operands, struct pv_operation *operation)
{
    unsigned memory = 0, unknown = 0, bytes = 0, word = mnemonic->width == 16;

    if (count == 0)
        return;
    for (unsigned i = 0; i < count; i++) {
        memory += operands[i].kind == PV_OPERAND_MEMORY;
        unknown += operands[i].kind != PV_OPERAND_REGISTER && operands[i].kind != PV_OPERAND_MEMORY;
        bytes += operands[i].bytes;
        /* lar and lsl, smsw, sldt and str have a 16-bit form; the others know no other */
        word |=
            operands[i].kind == PV_OPERAND_REGISTER && operands[i].width == 16 && i + 1 == count;
    }
    switch (mnemonic->op) {
    case PREVIRT_IA32_SMSW:
    case PREVIRT_IA32_SLDT:
    case PREVIRT_IA32_STR:
    case PREVIRT_IA32_LAR:
    case PREVIRT_IA32_LSL:
        if (memory && count == 1)
            word = 0;
        break;
    default:
        word = 0;
        break;
    }
    operation->op = mnemonic->op;
    operation->bytes = (uint8_t)(mnemonic->bytes + 1 + bytes + (unknown ? 0 : word));
    if (memory || unknown)
        operation->prefix = 0;
}

static void identify_in_out(const struct pv_mnemonic *mnemonic, unsigned count,
                            const struct pv_operand *operands, struct pv_operation *operation)
{
    unsigned word = mnemonic->width == 16;

    if (count == 0 || count > 2)
        return;
    operation->op = mnemonic->op;
    operation->bytes = 1;
    for (unsigned i = 0; i < count; i++) {
        if (operands[i].kind == PV_OPERAND_IMMEDIATE)
            operation->bytes = 2;
        else if (operands[i].kind == PV_OPERAND_REGISTER && operands[i].number == 0)
            word |= operands[i].width == 16;
    }
    operation->bytes = (uint8_t)(operation->bytes + word);
}

void pv_identify(const struct pv_mnemonic *mnemonic, const char *p, const char *end, int intel,
                 struct pv_operation *operation)
{
    struct pv_operand operands[PV_OPERANDS_MAX];
    unsigned count;

    memset(operation, 0, sizeof(*operation));
    /* symbol assignment: in = 5 */
    if (p < end && *p == '=')
        return;
    operation->prefix = PREFIX_DS;
    operation->bytes = mnemonic->bytes;
    switch (mnemonic->kind) {
    case PV_KIND_ALONE:
        operation->op = mnemonic->op;
        operation->shadow = mnemonic->op == PREVIRT_IA32_STI;
        if (mnemonic->width == 16)
            operation->bytes++;
        return;
    case PV_KIND_TRANSFER:
        operation->op = mnemonic->op;
        operation->prefix = 0;
        operation->transfer = 1;
        if (mnemonic->width == 16)
            operation->bytes++;
        return;
    case PV_KIND_STRING_IO:
        operation->op = mnemonic->op;
        operation->prefix = 0;
        if (mnemonic->width == 16)
            operation->bytes++;
        return;
    default:
        break;
    }
    count = pv_read_operands(p, end, intel, operands);
    switch (mnemonic->kind) {
    case PV_KIND_IN:
    case PV_KIND_OUT:
        identify_in_out(mnemonic, count, operands, operation);
        break;
    case PV_KIND_FAR:
    case PV_KIND_NEAR:
        identify_far(mnemonic, p, end, intel, count, operands, operation);
        break;
    case PV_KIND_LRET:
        operation->op = mnemonic->op;
        operation->bytes = (uint8_t)((count ? 3 : 1) + (mnemonic->width == 16));
        operation->prefix = 0;
        operation->transfer = 1;
        break;
    case PV_KIND_INT:
        /* int $3 is a breakpoint, one byte, and traps by design */
        if (count != 1 || (operands[0].value_known && operands[0].value == 3))
            break;
        operation->op = mnemonic->op;
        operation->bytes = operands[0].value_known ? 2 : 1;
        operation->prefix = 0;
        operation->transfer = 1;
        break;
    case PV_KIND_MOV:
        identify_mov(mnemonic, count, operands, operation);
        break;
    case PV_KIND_PUSH:
    case PV_KIND_POP:
        identify_push_pop(mnemonic, count, operands, operation);
        break;
    case PV_KIND_MEMORY:
        if (count == 0)
            break;
        operation->op = mnemonic->op;
        operation->bytes = (uint8_t)(mnemonic->bytes + 1);
        for (unsigned i = 0; i < count; i++)
            operation->bytes = (uint8_t)(operation->bytes + operands[i].bytes);
        operation->prefix = 0;
        break;
    case PV_KIND_MODRM:
        identify_modrm(mnemonic, count, operands, operation);
        break;
    default:
        break;
    }
}

/* ModRM, SIB and displacement at (bytes); their length, 0 if (size) is too small. */
static size_t modrm_size(const uint8_t *bytes, size_t size, int *memory)
{
    unsigned mod, rm;
    size_t length = 1;

    if (size == 0)
        return 0;
    mod = bytes[0] >> 6;
    rm = bytes[0] & 7;
    *memory = mod != 3;
    if (mod == 3)
        return 1;
    if (rm == REGISTER_ESP) {
        if (size < 2)
            return 0;
        length++;
        if (mod == 0 && (bytes[1] & 7) == REGISTER_EBP)
            length += 4;
    } else if (mod == 0 && rm == REGISTER_EBP) {
        length += 4;
    }
    if (mod == 1)
        length += 1;
    else if (mod == 2)
        length += 4;
    return length <= size ? length : 0;
}

static int form_matches(const struct previrt_ia32_form_info *form, const uint8_t *bytes,
                        size_t size, int *memory)
{
    size_t used = 0, length;

    *memory = 0;
    if (form->mandatory) {
        if (size == 0 || bytes[0] != form->mandatory)
            return 0;
        used = 1;
    }
    if (form->opcode[0] != 0x0f || size < used + form->length ||
        memcmp(bytes + used, form->opcode, form->length) != 0)
        return 0;
    used += form->length;
    if (form->layout == PREVIRT_LAYOUT_NONE)
        return used == size;
    length = modrm_size(bytes + used, size - used, memory);
    if (length == 0 || used + length != size)
        return 0;
    switch (form->layout) {
    case PREVIRT_LAYOUT_CR:
    case PREVIRT_LAYOUT_DR:
        *memory = 0;
        return length == 1;
    case PREVIRT_LAYOUT_EXT:
        break;
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_REGMEM:
        if (!*memory)
            return 0;
        break;
    case PREVIRT_LAYOUT_EXTREG:
        if (*memory)
            return 0;
        break;
    case PREVIRT_LAYOUT_REGRM:
    case PREVIRT_LAYOUT_RMREG:
        return 1;
    default:
        return 0;
    }
    return form->extension < 0 || ((bytes[used] >> 3) & 7) == form->extension;
}

void pv_identify_bytes(const char *p, const char *end, struct pv_operation *operation)
{
    uint8_t bytes[PREVIRT_LENGTH_MAX];
    size_t size = 0;

    memset(operation, 0, sizeof(*operation));
    while (p < end) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        const char *stop = comma ? comma : end;
        uint32_t value;

        if (size == sizeof(bytes) || !pv_read_number(p, stop, &value) || value > UINT8_MAX)
            return;
        bytes[size++] = (uint8_t)value;
        /* data, nearly always: the first byte tells */
        if (bytes[0] != 0x0f && bytes[0] != 0x66 && bytes[0] != 0xf3)
            return;
        p = comma ? comma + 1 : end;
    }
    if (size < 2)
        return;
    for (unsigned form = 1; form < PREVIRT_IA32_FORM_LIMIT; form++) {
        const struct previrt_ia32_form_info *info = previrt_ia32_form_info(form);
        int memory;

        if (info && form_matches(info, bytes, size, &memory)) {
            operation->op = info->op;
            operation->bytes = (uint8_t)size;
            operation->prefix = memory ? 0 : PREFIX_DS;
            switch (info->op) {
            case PREVIRT_IA32_SYSCALL:
            case PREVIRT_IA32_SYSRET:
            case PREVIRT_IA32_SYSENTER:
            case PREVIRT_IA32_SYSEXIT:
            case PREVIRT_IA32_RSM:
                operation->prefix = 0;
                operation->transfer = 1;
                break;
            default:
                break;
            }
            return;
        }
    }
}
