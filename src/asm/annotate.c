/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The text pass of `previrt as`: finds sensitive operations, pads and records them.
 *
 * What is emitted for a site, all of it on the site's line:
 *
 *     8086701:.byte 0x3e,0x3e;cli;8086702:.pushsection .note.previrt,1;
 *     .long 8086701b-.;.byte 8086702b-8086701b,OP,FLAGS,0;.popsection
 *
 * Numeric local labels survive repeated expansion in macros and .rept blocks, and a number that
 * nobody uses disturbs no 1b or 1f. One line in front of the text holds the note's header in
 * subsection 0 and its end label in subsection 2 of the same section, so nothing has to follow the
 * text (.end, an unclosed macro), and the records, in subsection 1, come to stand between them
 * wherever they are written.
 */
#include <previrt/annotate.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/table.h>
#include <previrt/vcpu.h>

#include "asm/flow.h"
#include "asm/operation.h"
#include "asm/reader.h"
#include "asm/rules.h"

#define LABEL_SITE "8086701"
#define LABEL_END  "8086702"
#define LABEL_DESC "8086703"
#define LABEL_NOTE "8086704"
#define PREFIX_DS  0x3e

#define PAGE_SYMBOL       "previrt_vcpu" /* of the vCPU page, static mode */
#define STATIC_SUBSECTION "8192"         /* where static mode puts its stubs: behind everything */

enum {
    SECTION_STACK = 64,  /* deeper .pushsection nesting is counted, but not remembered */
    NAME_MAX_SIZE = 256, /* of section and symbol names, for the rules */
    MACRO_CALLS = 256,   /* occurrences of a macro's name that are looked at */
    ARGUMENT_ROOM = 5,   /* room for an operation that depends on a macro's arguments: a call */
    FRONT_SPACE = 512    /* left at the beginning of the output for what put_front() adds */
};

struct section {
    const char *name, *group; /* in the text; group NULL: none */
    uint32_t length, group_length;
    uint32_t linkonce; /* an old-style COMDAT: references into it may dangle */
};

/* A site whose flags are still to be looked at. */
struct pending_flags {
    const char *before, *after; /* the text of the site */
    const char *app_start;      /* where its #APP block begins, NULL: not in one */
    size_t digit;               /* where in the output its flags stand */
    uint8_t op;
};

struct group {
    const char *name;
    uint32_t length;
};

struct annotator {
    const struct previrt_annotate_options *options;
    struct previrt_annotate_stats *stats;
    const char *text, *end, *copied; /* copied: up to where the text is in the output */
    char *out;
    size_t out_size, out_capacity;
    int status; /* PREVIRT_OK, or why nothing more is appended */

    struct pv_mnemonic_table table;
    uint8_t shadowed[1024]; /* by mnemonic: a macro has taken its name */
    struct pv_flow flow;
    struct pending_flags *pending;
    size_t pending_count, pending_capacity;
    struct group *groups;
    size_t group_count;
    int plain_note; /* a record went into the section that belongs to no group */

    unsigned bits, intel, line_info;
    unsigned macro_depth, repeat_depth;
    const char *app_start;
    struct section section, previous, stack[SECTION_STACK][2];
    unsigned depth;
    const char *symbol;
    uint32_t symbol_length;

    const char *macro_name; /* of the outermost macro whose body this is */
    uint32_t macro_name_length;
    int macro_replacement; /* the body is in .altinstr_replacement here */
    enum {
        ARGUMENTS_NOT_READ,
        ARGUMENTS_GENERAL,
        ARGUMENTS_SYSTEM, /* some call names a segment, control or debug register */
        ARGUMENTS_SS      /* and one of them SS */
    } macro_registers;
    int macro_memory; /* some call names memory with a base or a segment */

    const char *prefix_start; /* prefix statements that belong to the next one; NULL: none */
    unsigned prefix_count;
};

static void append(struct annotator *a, const char *data, size_t size)
{
    if (a->status != PREVIRT_OK)
        return;
    if (a->out_capacity - a->out_size < size) {
        size_t capacity = a->out_capacity + a->out_capacity / 2 + size + 4096;
        char *grown = realloc(a->out, capacity);

        if (!grown) {
            a->status = PREVIRT_E_MEMORY;
            return;
        }
        a->out = grown;
        a->out_capacity = capacity;
    }
    memcpy(a->out + a->out_size, data, size);
    a->out_size += size;
}

static void append_text(struct annotator *a, const char *text)
{
    append(a, text, strlen(text));
}

static void append_number(struct annotator *a, unsigned number)
{
    char digits[12];

    append(a, digits, (size_t)snprintf(digits, sizeof(digits), "%u", number));
}

static void copy_until(struct annotator *a, const char *p)
{
    if (!a->out) { /* the first change: what comes out is a little longer than what went in */
        size_t size = (size_t)(a->end - a->text);

        a->out_capacity = FRONT_SPACE + size + size / 16 + 4096;
        a->out = malloc(a->out_capacity);
        if (!a->out) {
            a->out_capacity = 0;
            a->status = PREVIRT_E_MEMORY;
            return;
        }
        a->out_size = FRONT_SPACE;
    }
    if (p > a->copied)
        append(a, a->copied, (size_t)(p - a->copied));
    a->copied = p;
}

static void append_bytes(struct annotator *a, const uint8_t *bytes, unsigned count)
{
    char text[8];

    for (unsigned i = 0; i < count; i++) {
        append_text(a, i ? "," : ".byte ");
        append(a, text, (size_t)snprintf(text, sizeof(text), "0x%02x", bytes[i]));
    }
    append_text(a, ";");
}

/* NOPs: the longest that (cpu) has. SDM 2B NOP lists those of 0F 1F; the others change no register
 * and no flag on any CPU (gas/config/tc-i386.c uses them for the same purpose). */
static const uint8_t nops_lea[8][7] = {{0},
                                       {0x90},
                                       {0x66, 0x90},
                                       {0x8d, 0x76, 0x00},
                                       {0x8d, 0x74, 0x26, 0x00},
                                       {0x3e, 0x8d, 0x74, 0x26, 0x00},
                                       {0x8d, 0xb6, 0, 0, 0, 0},
                                       {0x8d, 0xb4, 0x26, 0, 0, 0, 0}};
static const uint8_t nops_p6[8][7] = {{0},
                                      {0x90},
                                      {0x66, 0x90},
                                      {0x0f, 0x1f, 0x00},
                                      {0x0f, 0x1f, 0x40, 0x00},
                                      {0x0f, 0x1f, 0x44, 0x00, 0x00},
                                      {0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00},
                                      {0x0f, 0x1f, 0x80, 0, 0, 0, 0}};
static const uint8_t nops_one[7] = {0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90};

static const uint8_t *nop_bytes(unsigned cpu, unsigned count)
{
    switch (cpu) {
    case PREVIRT_CPU_I486:
        return nops_one;
    case PREVIRT_CPU_I686:
        return nops_p6[count];
    default:
        return nops_lea[count];
    }
}

/* Numbers of the group, for its own note; groups are few. */
static void remember_group(struct annotator *a, const struct section *section)
{
    struct group *grown;

    for (size_t i = 0; i < a->group_count; i++)
        if (a->groups[i].length == section->group_length &&
            memcmp(a->groups[i].name, section->group, section->group_length) == 0)
            return;
    grown = realloc(a->groups, (a->group_count + 1) * sizeof(*grown));
    if (!grown) {
        a->status = PREVIRT_E_MEMORY;
        return;
    }
    a->groups = grown;
    grown[a->group_count].name = section->group;
    grown[a->group_count++].length = section->group_length;
}

static void append_group(struct annotator *a, const char *name, uint32_t length)
{
    append_text(a, ",\"aG\",@note,");
    append(a, name, length);
    append_text(a, ",comdat");
}

/* ---- sections ---- */

struct fields {
    const char *begin[8], *end[8];
    unsigned count;
};

/* Cuts (p) to (end) at commas outside quotes, and takes white space and quotes off each part. */
static void cut(const char *p, const char *end, struct fields *fields)
{
    fields->count = 0;
    while (p <= end && fields->count < 8) {
        const char *q = p, *stop;
        int quoted = 0;

        for (; q < end && (quoted || *q != ','); q++)
            if (*q == '"')
                quoted = !quoted;
        stop = q;
        while (p < stop && (pv_class[(uint8_t)*p] & PV_CLASS_SPACE))
            p++;
        while (stop > p && (pv_class[(uint8_t)stop[-1]] & PV_CLASS_SPACE))
            stop--;
        if (stop - p >= 2 && *p == '"' && stop[-1] == '"') {
            p++;
            stop--;
        }
        fields->begin[fields->count] = p;
        fields->end[fields->count++] = stop;
        if (q >= end)
            break;
        p = q + 1;
    }
}

static int has_char(const char *p, const char *end, char c)
{
    return memchr(p, c, (size_t)(end - p)) != NULL;
}

/* .section name, "flags", @type, [entsize if M], [linked if o], [group if G], linkage; .pushsection
 * has a subsection number before the flags. */
static void parse_section(struct annotator *a, const struct pv_statement *statement,
                          struct section *section)
{
    static const char linkonce[] = ".gnu.linkonce.";
    struct fields fields;
    unsigned flags = 1, group;

    memset(section, 0, sizeof(*section));
    cut(statement->operands, statement->end, &fields);
    if (fields.count == 0)
        return;
    section->name = fields.begin[0];
    section->length = (uint32_t)(fields.end[0] - fields.begin[0]);
    section->linkonce = section->length >= sizeof(linkonce) - 1 &&
                        memcmp(section->name, linkonce, sizeof(linkonce) - 1) == 0;
    if (fields.count > 1 && fields.begin[1] < fields.end[1] &&
        (pv_class[(uint8_t)*fields.begin[1]] & PV_CLASS_DIGIT))
        flags++;
    if (fields.count <= flags)
        return;
    if (has_char(fields.begin[flags], fields.end[flags], '?')) {
        section->group = a->section.group;
        section->group_length = a->section.group_length;
    }
    if (!has_char(fields.begin[flags], fields.end[flags], 'G'))
        return;
    group = flags + 2 + has_char(fields.begin[flags], fields.end[flags], 'M') +
            has_char(fields.begin[flags], fields.end[flags], 'o');
    if (fields.count > group) {
        section->group = fields.begin[group];
        section->group_length = (uint32_t)(fields.end[group] - fields.begin[group]);
    }
}

static void enter_section(struct annotator *a, const struct section *section)
{
    a->previous = a->section;
    a->section = *section;
}

static void push_section(struct annotator *a, const struct section *section)
{
    if (a->depth < SECTION_STACK) {
        a->stack[a->depth][0] = a->section;
        a->stack[a->depth][1] = a->previous;
    }
    a->depth++;
    enter_section(a, section);
}

static void pop_section(struct annotator *a)
{
    if (a->depth == 0)
        return;
    a->depth--;
    if (a->depth < SECTION_STACK) {
        a->section = a->stack[a->depth][0];
        a->previous = a->stack[a->depth][1];
    }
}

/* ---- directives ---- */

static void shadow_mnemonic(struct annotator *a, const struct pv_statement *statement, int on)
{
    const struct pv_mnemonic *mnemonic;
    struct pv_statement name;

    pv_read_name(statement->operands, statement->end, &name);
    if (!name.name)
        return;
    mnemonic = pv_mnemonic_find(&a->table, name.name, name.length, name.hash);
    if (mnemonic && (size_t)(mnemonic - pv_mnemonics) < sizeof(a->shadowed))
        a->shadowed[mnemonic - pv_mnemonics] = (uint8_t)on;
}

static int is_replacement(const struct section *section)
{
    static const char replacement[] = ".altinstr_replacement";

    return section->length == sizeof(replacement) - 1 &&
           memcmp(section->name, replacement, section->length) == 0;
}

/* .code16 and friends, .intel_syntax, .section: in the body of a macro they take effect where it is
 * expanded, so there they say nothing about the text that follows. */
static void directive(struct annotator *a, const struct pv_mnemonic *mnemonic,
                      const struct pv_statement *statement)
{
    struct section section;

    switch (mnemonic->kind) {
    case PV_KIND_MACRO:
        if (a->macro_depth++ == 0) {
            struct pv_statement name;

            shadow_mnemonic(a, statement, 1);
            pv_read_name(statement->operands, statement->end, &name);
            a->macro_name = name.name;
            a->macro_name_length = name.length;
            a->macro_replacement = 0;
            a->macro_registers = ARGUMENTS_NOT_READ;
        }
        return;
    case PV_KIND_ENDM:
        a->macro_depth -= a->macro_depth > 0;
        return;
    case PV_KIND_REPEAT:
        a->repeat_depth++;
        return;
    case PV_KIND_ENDR:
        a->repeat_depth -= a->repeat_depth > 0;
        return;
    default:
        break;
    }
    if (a->macro_depth) {
        if (mnemonic->kind == PV_KIND_PUSHSECTION || mnemonic->kind == PV_KIND_SECTION) {
            parse_section(a, statement, &section);
            a->macro_replacement = is_replacement(&section);
        } else if (mnemonic->kind == PV_KIND_POPSECTION || mnemonic->kind == PV_KIND_PREVIOUS) {
            a->macro_replacement = 0;
        }
        return;
    }
    switch (mnemonic->kind) {
    case PV_KIND_PURGEM:
        shadow_mnemonic(a, statement, 0);
        break;
    case PV_KIND_SECTION:
        if (mnemonic->length == sizeof(".section") - 1) {
            parse_section(a, statement, &section);
            enter_section(a, &section);
        }
        break;
    case PV_KIND_PUSHSECTION:
        parse_section(a, statement, &section);
        push_section(a, &section);
        break;
    case PV_KIND_POPSECTION:
        pop_section(a);
        break;
    case PV_KIND_PREVIOUS:
        section = a->previous;
        enter_section(a, &section);
        break;
    case PV_KIND_TEXT:
        memset(&section, 0, sizeof(section));
        section.name = mnemonic->name;
        section.length = mnemonic->length;
        enter_section(a, &section);
        break;
    case PV_KIND_LINKONCE:
        a->section.linkonce = 1;
        break;
    case PV_KIND_CODE16:
        a->bits = 16;
        break;
    case PV_KIND_CODE32:
        a->bits = 32;
        break;
    case PV_KIND_CODE64:
        a->bits = 64;
        break;
    case PV_KIND_INTEL:
        a->intel = 1;
        break;
    case PV_KIND_ATT:
        a->intel = 0;
        break;
    case PV_KIND_LOC:
        a->line_info = 1;
        break;
    default:
        break;
    }
}

/* ---- sites ---- */

static const char *bounded_string(char buffer[NAME_MAX_SIZE], const char *p, uint32_t length)
{
    if (!p || length >= NAME_MAX_SIZE)
        return NULL;
    memcpy(buffer, p, length);
    buffer[length] = '\0';
    return buffer;
}

/* What the rules say of a site here. Text that is not 32-bit code is never annotated. */
static enum pv_rule_action action_here(struct annotator *a)
{
    char section[NAME_MAX_SIZE], symbol[NAME_MAX_SIZE];
    struct pv_rule_query query = {a->options->output, a->options->source, NULL, NULL, a->bits};
    const struct pv_rule *rule;

    if (!a->macro_depth) { /* a macro is expanded elsewhere */
        query.section = bounded_string(section, a->section.name, a->section.length);
        query.symbol = bounded_string(symbol, a->symbol, a->symbol_length);
    }
    rule = pv_rules_match(a->options->rules, &query);
    if (rule)
        return rule->action;
    return a->bits != 32 || (a->section.linkonce && !a->macro_depth) ? PV_RULE_EXCLUDE
                                                                     : PV_RULE_NONE;
}

static void remember_flags(struct annotator *a, const char *before, const char *after, unsigned op)
{
    struct pending_flags *site;

    if (a->pending_count == a->pending_capacity) {
        size_t capacity = a->pending_capacity ? a->pending_capacity * 2 : 64;
        struct pending_flags *grown = realloc(a->pending, capacity * sizeof(*grown));

        if (!grown) {
            a->status = PREVIRT_E_MEMORY;
            return;
        }
        a->pending = grown;
        a->pending_capacity = capacity;
    }
    site = &a->pending[a->pending_count++];
    site->before = before;
    site->after = after;
    site->app_start = a->app_start;
    site->digit = a->out_size;
    site->op = (uint8_t)op;
}

static void append_record(struct annotator *a, const char *before, const char *after, unsigned op,
                          int dormant)
{
    const struct section *section = &a->section;
    int expanded = a->macro_depth || a->repeat_depth;

    append_text(a, ";" LABEL_END ":.pushsection " PREVIRT_TABLE_SECTION ",1");
    if (section->group && !a->macro_depth) {
        remember_group(a, section);
        append_group(a, section->group, section->group_length);
    } else {
        a->plain_note = 1;
    }
    append_text(a, ";.long " LABEL_SITE "b-.;.byte ");
    append_text(a, dormant ? "0," : LABEL_END "b-" LABEL_SITE "b,");
    append_number(a, op);
    append_text(a, ",");
    if (!dormant && !expanded)
        remember_flags(a, before, after, op);
    append_text(a, "0,0;.popsection");
}

static void emit_site(struct annotator *a, const char *start, const char *after,
                      const struct pv_operation *operation, int dormant)
{
    const struct previrt_ia32_op_info *info = previrt_ia32_op_info(operation->op);
    unsigned cpu = a->options->cpu, need, prefixes = 0, nops = 0;
    uint8_t bytes[PREVIRT_ROOM_MAX];

    need = info->room > operation->bytes ? (unsigned)(info->room - operation->bytes) : 0;
    if (need > PREVIRT_PAD_MAX)
        need = PREVIRT_PAD_MAX;
    if (dormant)
        need = 0;
    else if (operation->shadow) /* a NOP behind it would be what the shadow is spent on */
        prefixes = operation->prefix ? need : 0;
    else if (operation->prefix && a->options->pad == PREVIRT_PAD_PREFIX && cpu != PREVIRT_CPU_I486)
        prefixes = need;
    else
        nops = need;

    copy_until(a, start);
    append_text(a, LABEL_SITE ":");
    if (prefixes) {
        unsigned literal = prefixes;

        memset(bytes, operation->prefix, prefixes);
        /* as gives an instruction's line to the address where it begins, which for literal bytes it
         * does not: where line information is kept the first prefix is written as an instruction */
        if (a->line_info && operation->prefix == PREFIX_DS) {
            append_text(a, "ds;");
            literal--;
        }
        if (literal)
            append_bytes(a, bytes, literal);
    }
    copy_until(a, after);
    if (nops) {
        append_text(a, ";");
        append_bytes(a, nop_bytes(cpu, nops), nops);
        a->out_size--; /* the semicolon: the record brings its own */
    }
    append_record(a, start, after, operation->op, dormant);
    a->stats->sites++;
    a->stats->dormant += dormant != 0;
    a->stats->in_macros += a->macro_depth != 0;
    a->stats->prefix_bytes += prefixes;
    a->stats->nop_bytes += nops;
    a->stats->per_op[operation->op]++;
}

/* ---- static mode ---- */

/* The operation's name as part of a symbol: "mov to cr" is mov_to_cr. */
static void append_identifier(struct annotator *a, const char *name)
{
    for (; *name; name++) {
        char c = *name == ' ' || *name == ';' ? '_' : *name;

        append(a, &c, 1);
    }
}

static void append_page_field(struct annotator *a, unsigned offset)
{
    append_text(a, PAGE_SYMBOL "+");
    append_number(a, offset);
}

/* The destination, if it is a general register of 16 or 32 bits, so that a load of the page can
 * take the place of the operation. */
static int destination(const struct pv_operand *operands, unsigned count,
                       const struct pv_operand **result)
{
    *result = count ? &operands[count - 1] : NULL;
    return *result && (*result)->kind == PV_OPERAND_REGISTER && (*result)->width >= 16;
}

/* Operations that are one load or store of the vCPU page. 1 if (operation) was one and is emitted.
 * In Intel syntax everything goes to the VMM. */
static int emit_page_access(struct annotator *a, const char *start, const char *operand_text,
                            const char *after, const struct pv_operation *operation)
{
    struct pv_operand operands[PV_OPERANDS_MAX];
    const struct pv_operand *target;
    unsigned count, offset;

    if (a->intel)
        return 0;
    count = pv_read_operands(operand_text, after, 0, operands);
    switch (operation->op) {
    case PREVIRT_IA32_CLI:
        append_text(a, "movb $0,");
        append_page_field(a, PREVIRT_VCPU_EFLAGS + PREVIRT_VCPU_IF_BYTE);
        return 1;
    case PREVIRT_IA32_PUSHF:
        /* the page has the system flags alone: right where the arithmetic ones are unspecified */
        if (operation->bytes != 1 || !a->app_start || a->macro_depth || a->repeat_depth ||
            !pv_flow_flags_unspecified(&a->flow, a->app_start, start))
            return 0;
        append_text(a, "pushl ");
        append_page_field(a, PREVIRT_VCPU_EFLAGS);
        return 1;
    case PREVIRT_IA32_PUSH_SEG:
        if (operation->bytes != (operands[0].number >= 4 ? 2 : 1))
            return 0; /* pushw */
        append_text(a, "pushl ");
        append_page_field(a, PREVIRT_VCPU_SEGMENTS + 4u * operands[0].number);
        return 1;
    case PREVIRT_IA32_MOV_FROM_SEG:
        offset = PREVIRT_VCPU_SEGMENTS + 4u * operands[0].number;
        break;
    case PREVIRT_IA32_MOV_FROM_CR:
        if (operands[0].end - operands[0].text != 4)
            return 0;
        if (operands[0].number != 0 && (operands[0].number < 2 || operands[0].number > 4))
            return 0;
        offset = PREVIRT_VCPU_CR + 4u * operands[0].number;
        break;
    case PREVIRT_IA32_SLDT:
        offset = PREVIRT_VCPU_LDTR;
        break;
    case PREVIRT_IA32_STR:
        offset = PREVIRT_VCPU_TR;
        break;
    default:
        return 0;
    }
    if (!destination(operands, count, &target))
        return 0;
    append_text(a, target->width == 16 ? "movw " : "movl ");
    append_page_field(a, offset);
    append_text(a, ",");
    append(a, target->text, (size_t)(target->end - target->text));
    return 1;
}

/*
 * vcpu: what is not a load or store of the page becomes
 *
 *     call previrt_stub_OP; jmp 1f; original operation; 1:
 *
 * so that the VMM finds the original two bytes behind its return address, with all that its
 * operands say, and the guest's ESP is what it was but for the return address. Nothing is needed
 * from the assembler that would not work in a macro.
 */
static void emit_vcpu(struct annotator *a, const char *start, const char *operand_text,
                      const char *after, const struct pv_operation *operation)
{
    copy_until(a, start);
    if (emit_page_access(a, start, operand_text, after, operation)) {
        a->copied = after;
    } else {
        append_text(a, "call previrt_stub_");
        append_identifier(a, previrt_ia32_op_info(operation->op)->name);
        append_text(a, ";jmp " LABEL_END "f;");
        copy_until(a, after);
        append_text(a, ";" LABEL_END ":");
    }
    a->stats->replaced++;
}

/*
 * native: the operation is performed elsewhere, in a subsection behind the section's own code:
 *
 *     jmp STUB; BACK:          STUB: original operation; jmp BACK
 *
 * By jumps, not by call and return, so that operands relative to ESP, operations on the stack, and
 * code that has no stack yet work as they are. What holds interrupts off for the next instruction
 * stays, and so do macro bodies, which do not know their section.
 */
static void emit_native(struct annotator *a, const char *start, const char *after,
                        const struct pv_operation *operation)
{
    const struct section *section = &a->section;

    if (a->macro_depth || !section->name || section->length == 0 ||
        (operation->shadow && operation->op == PREVIRT_IA32_MOV_TO_SEG) ||
        (operation->shadow && operation->op == PREVIRT_IA32_POP_SEG)) {
        a->stats->unknown++;
        return;
    }
    copy_until(a, start);
    append_text(a, "jmp " LABEL_SITE "f;" LABEL_END ":.pushsection \"");
    append(a, section->name, section->length);
    append_text(a, "\"," STATIC_SUBSECTION);
    if (section->group) {
        append_text(a, ",\"axG\",@progbits,");
        append(a, section->group, section->group_length);
        append_text(a, ",comdat");
    }
    append_text(a, ";" LABEL_SITE ":");
    copy_until(a, after);
    append_text(a, ";jmp " LABEL_END "b;.popsection");
    a->stats->replaced++;
}

/* sti holds interrupts off until behind the next instruction; with hlt, mwait and sysexit that is
 * what the code relies on. 1 if (statement) is followed by one of them: (*operation) and (*after)
 * cover both. */
static int fuse(struct annotator *a, const struct pv_statement *statement,
                struct pv_operation *operation, struct pv_statement *second)
{
    struct pv_operation next = {0};
    const char *p = statement->next;

    for (;;) {
        if (pv_read_statement(p, a->end, second) == PV_STATEMENT_END || second->labels)
            return 0;
        if (second->kind == PV_STATEMENT_CODE)
            break;
        if (second->kind != PV_STATEMENT_EMPTY && second->kind != PV_STATEMENT_ASM)
            return 0;
        p = second->next;
    }
    if (second->name) {
        const struct pv_mnemonic *mnemonic =
            pv_mnemonic_find(&a->table, second->name, second->length, second->hash);

        if (!mnemonic || a->shadowed[mnemonic - pv_mnemonics])
            return 0;
        if (mnemonic->kind == PV_KIND_BYTE)
            pv_identify_bytes(second->operands, second->end, &next);
        else
            pv_identify(mnemonic, second->operands, second->end, (int)a->intel, &next);
    }
    switch (next.op) {
    case PREVIRT_IA32_HLT:
        operation->op = PREVIRT_IA32_STI_HLT;
        break;
    case PREVIRT_IA32_MWAIT:
        operation->op = PREVIRT_IA32_STI_MWAIT;
        break;
    case PREVIRT_IA32_SYSEXIT:
        operation->op = PREVIRT_IA32_STI_SYSEXIT;
        break;
    default:
        return 0;
    }
    operation->bytes = (uint8_t)(operation->bytes + next.bytes);
    operation->shadow = 1; /* its room goes in front */
    return 1;
}

/* Takes prefix mnemonics off the front: `rep insb', `rep; insb', `rep/insb'. Returns the mnemonic
 * of the operation; NULL: there is none that is known, or, with (*alone) set, nothing but prefixes.
 */
static const struct pv_mnemonic *skip_prefixes(struct annotator *a, struct pv_statement *statement,
                                               const struct pv_mnemonic *mnemonic, int *alone)
{
    *alone = 0;
    while (mnemonic && mnemonic->kind == PV_KIND_PREFIX) {
        if (statement->operands < statement->end && *statement->operands == '=')
            return NULL; /* fs = 4 */
        if (!a->prefix_start) {
            a->prefix_start = statement->first;
            a->prefix_count = 0;
        }
        a->prefix_count++;
        if (statement->operands == statement->end) {
            *alone = 1;
            return NULL;
        }
        if (*statement->operands == '/')
            statement->operands++;
        pv_read_name(statement->operands, statement->end, statement);
        if (!statement->name)
            return NULL;
        while (statement->operands < statement->end &&
               (pv_class[(uint8_t)*statement->operands] & PV_CLASS_SPACE))
            statement->operands++;
        mnemonic = pv_mnemonic_find(&a->table, statement->name, statement->length, statement->hash);
    }
    return mnemonic;
}

static void argument_register(struct annotator *a, const struct pv_mnemonic *mnemonic,
                              const struct pv_statement *statement);

/* An instruction that may be sensitive. Moves (statement->next) on if a pair is fused. */
static void instruction(struct annotator *a, const struct pv_mnemonic *mnemonic,
                        struct pv_statement *statement)
{
    struct pv_operation operation;
    struct pv_statement second;
    const char *start = a->prefix_start ? a->prefix_start : statement->first;
    unsigned prefix_count = a->prefix_start ? a->prefix_count : 0;

    if (mnemonic->kind == PV_KIND_BYTE)
        pv_identify_bytes(statement->operands, statement->end, &operation);
    else
        pv_identify(mnemonic, statement->operands, statement->end, (int)a->intel, &operation);
    if (operation.op == PREVIRT_IA32_NO_OP) {
        if (mnemonic->kind == PV_KIND_MOV || mnemonic->kind == PV_KIND_PUSH ||
            mnemonic->kind == PV_KIND_POP)
            argument_register(a, mnemonic, statement);
        return;
    }
    if (operation.op == PREVIRT_IA32_STI && !prefix_count &&
        fuse(a, statement, &operation, &second)) {
        statement->end = second.end;
        statement->next = second.next;
        statement->new_line = second.new_line;
    }
    operation.bytes = (uint8_t)(operation.bytes + prefix_count);
    switch (action_here(a)) {
    case PV_RULE_EXCLUDE:
        a->stats->excluded++;
        return;
    case PV_RULE_NONE:
        if (a->options->target == PREVIRT_STATIC_NATIVE) {
            emit_native(a, start, statement->end, &operation);
            return;
        }
        if (a->options->target == PREVIRT_STATIC_VCPU) {
            emit_vcpu(a, start, statement->operands, statement->end, &operation);
            return;
        }
        emit_site(a, start, statement->end, &operation, 0);
        return;
    default: /* dormant; in static mode it is left to the CPUID bit that the VMM masks */
        if (a->options->target == PREVIRT_STATIC_NONE)
            emit_site(a, start, statement->end, &operation, 1);
        return;
    }
}

/* Whether a call of the macro (a->macro_name) behind (p) has the mnemonic of an operation among its
 * arguments, outside strings. (*bytes): the shortest such operation. */
static int called_with_operation(struct annotator *a, const char *p, unsigned *bytes)
{
    unsigned budget = MACRO_CALLS;

    *bytes = PREVIRT_LENGTH_MAX;
    while (budget-- > 0 &&
           (p = memmem(p, (size_t)(a->end - p), a->macro_name, a->macro_name_length))) {
        struct pv_statement word;
        const char *q = p + a->macro_name_length, *line = memchr(q, '\n', (size_t)(a->end - q));

        if (!line)
            line = a->end;
        p = q;
        if (q == line || !(pv_class[(uint8_t)*q] & PV_CLASS_SPACE))
            continue;
        while (q < line && *q != '"') {
            const struct pv_mnemonic *mnemonic;

            pv_read_name(q, line, &word);
            if (!word.name) {
                q++;
                continue;
            }
            q = word.operands;
            mnemonic = pv_mnemonic_find(&a->table, word.name, word.length, word.hash);
            /* with operands, or with a shadow, it would not be passed like this */
            if (mnemonic && mnemonic->kind == PV_KIND_ALONE && mnemonic->op != PREVIRT_IA32_STI &&
                mnemonic->bytes < *bytes)
                *bytes = mnemonic->bytes;
        }
    }
    return *bytes < PREVIRT_LENGTH_MAX;
}

/*
 * A statement of a macro's body whose mnemonic is an argument: `\op', where some call passes an
 * operation. The record says that the operation is not known; the finish pass looks at what was
 * assembled, and drops it where that is nothing sensitive.
 *
 * In .altinstr_replacement any argument may be several operations or nothing at all (Linux'
 * ALTERNATIVE takes a string), so a dormant record only says where it begins: the finish pass looks
 * through the whole replacement.
 */
static void argument_statement(struct annotator *a, const struct pv_statement *statement)
{
    unsigned bytes, nops;

    if (a->options->target != PREVIRT_STATIC_NONE || a->macro_depth != 1 || !a->macro_name)
        return;
    if (a->macro_replacement) {
        if (action_here(a) == PV_RULE_EXCLUDE)
            return;
        copy_until(a, statement->first);
        append_text(a, LABEL_SITE ":");
        append_record(a, statement->first, statement->first, PREVIRT_IA32_NO_OP, 1);
        append_text(a, ";");
        a->stats->sites++;
        a->stats->dormant++;
        a->stats->in_macros++;
        return;
    }
    if (!called_with_operation(a, statement->next, &bytes) || action_here(a) != PV_RULE_NONE)
        return;
    nops = bytes < ARGUMENT_ROOM ? ARGUMENT_ROOM - bytes : 0;
    copy_until(a, statement->first);
    append_text(a, LABEL_SITE ":");
    copy_until(a, statement->end);
    if (nops) {
        append_text(a, ";");
        append_bytes(a, nop_bytes(a->options->cpu, nops), nops);
        a->out_size--; /* the semicolon: the record brings its own */
    }
    append_record(a, statement->first, statement->end, PREVIRT_IA32_NO_OP, 0);
    a->stats->sites++;
    a->stats->in_macros++;
    a->stats->nop_bytes += nops;
}

/* Whether (p) is a colon, other than one of an argument's qualifier, `reg:req'. */
static int is_override(const char *p, const char *end)
{
    static const char *const qualifiers[] = {":req", ":vararg"};

    if (*p != ':')
        return 0;
    for (size_t i = 0; i < sizeof(qualifiers) / sizeof(qualifiers[0]); i++) {
        size_t length = strlen(qualifiers[i]);

        if ((size_t)(end - p) >= length && memcmp(p, qualifiers[i], length) == 0 &&
            ((size_t)(end - p) == length || !(pv_class[(uint8_t)p[length]] & PV_CLASS_NAME)))
            return 0;
    }
    return 1;
}

/*
 * Which registers the calls of the macro (a->macro_name), and the defaults of its arguments, name.
 * Looked up once a macro.
 */
static int macro_registers(struct annotator *a)
{
    unsigned budget = MACRO_CALLS;
    const char *p = a->macro_name;

    if (a->macro_registers != ARGUMENTS_NOT_READ)
        return (int)a->macro_registers;
    a->macro_registers = ARGUMENTS_GENERAL;
    a->macro_memory = 0;
    while (budget-- > 0 &&
           (p = memmem(p, (size_t)(a->end - p), a->macro_name, a->macro_name_length))) {
        const char *q = p + a->macro_name_length, *line = memchr(q, '\n', (size_t)(a->end - q));

        if (!line)
            line = a->end;
        p = q;
        if (q == line || !(pv_class[(uint8_t)*q] & PV_CLASS_SPACE))
            continue;
        while (q < line) {
            const char *word = q;

            while (q < line && (pv_class[(uint8_t)*q] & PV_CLASS_NAME))
                q++;
            switch (pv_system_register(word, (size_t)(q - word))) {
            case PV_SYSTEM_SS:
                a->macro_registers = ARGUMENTS_SS;
                break;
            case PV_SYSTEM_OTHER:
                if (a->macro_registers == ARGUMENTS_GENERAL)
                    a->macro_registers = ARGUMENTS_SYSTEM;
                break;
            default:
                break;
            }
            if (q == word) {
                a->macro_memory |= *q == '(' || *q == '[' || is_override(q, line);
                q++;
            }
        }
    }
    return (int)a->macro_registers;
}

/* `\name', or `%\name', which (*is_register) tells; nothing else is in the operand. */
static int is_argument(const struct pv_operand *operand, int *is_register)
{
    const char *p = operand->text;

    *is_register = p < operand->end && *p == '%';
    p += *is_register;
    if (p == operand->end || *p != '\\')
        return 0;
    for (p++; p < operand->end && (pv_class[(uint8_t)*p] & PV_CLASS_NAME); p++)
        ;
    return p == operand->end;
}

/*
 * mov, push or pop of a macro's body that names an argument where a register stands, `mov
 * %eax,%\seg', and some call passes a segment, control or debug register. As above, the finish
 * pass sees what it was. The room goes in front where that is harmless whatever the register is:
 * SS holds interrupts off for the next instruction.
 */
static void argument_register(struct annotator *a, const struct pv_mnemonic *mnemonic,
                              const struct pv_statement *statement)
{
    struct pv_operand operands[PV_OPERANDS_MAX];
    unsigned count, arguments = 0, unknown = 0, pad;
    uint8_t bytes[ARGUMENT_ROOM];
    int registers, is_register;
    int in_front = a->options->pad == PREVIRT_PAD_PREFIX && a->options->cpu != PREVIRT_CPU_I486;

    if (a->options->target != PREVIRT_STATIC_NONE || a->macro_depth != 1 || !a->macro_name ||
        !memchr(statement->operands, '\\', (size_t)(statement->end - statement->operands)))
        return;
    count = pv_read_operands(statement->operands, statement->end, (int)a->intel, operands);
    if (count != (mnemonic->kind == PV_KIND_MOV ? 2u : 1u))
        return;
    for (unsigned i = 0; i < count; i++) {
        if (is_argument(&operands[i], &is_register)) {
            arguments++;
            unknown |= !is_register;
        } else if (operands[i].kind == PV_OPERAND_MEMORY) {
            in_front = 0;
        } else if (operands[i].kind != PV_OPERAND_REGISTER) {
            return;
        }
    }
    registers = arguments ? macro_registers(a) : ARGUMENTS_GENERAL;
    if (registers < ARGUMENTS_SYSTEM || a->macro_replacement || action_here(a) != PV_RULE_NONE)
        return;
    if (unknown && a->macro_memory) /* where an override would be one */
        in_front = 0;
    pad = ARGUMENT_ROOM - (mnemonic->kind == PV_KIND_MOV ? 2 : 1);
    if (!in_front && registers == ARGUMENTS_SS)
        pad = 0;
    copy_until(a, statement->first);
    append_text(a, LABEL_SITE ":");
    if (in_front) {
        memset(bytes, PREFIX_DS, pad);
        append_bytes(a, bytes, pad);
    }
    copy_until(a, statement->end);
    if (!in_front && pad) {
        append_text(a, ";");
        append_bytes(a, nop_bytes(a->options->cpu, pad), pad);
        a->out_size--; /* the semicolon: the record brings its own */
    }
    append_record(a, statement->first, statement->end, PREVIRT_IA32_NO_OP, 0);
    a->stats->sites++;
    a->stats->in_macros++;
    *(in_front ? &a->stats->prefix_bytes : &a->stats->nop_bytes) += pad;
}

static void note_labels(struct annotator *a, const struct pv_statement *statement)
{
    for (uint32_t i = 0; i < statement->labels; i++) {
        const struct pv_label *label = &statement->label[i];

        if (a->macro_depth)
            continue;
        if (pv_flow_add_label(&a->flow, label, a->app_start != NULL) != PREVIRT_OK)
            a->status = PREVIRT_E_MEMORY;
        if ((pv_class[(uint8_t)*label->name] & PV_CLASS_DIGIT) ||
            (label->length > 2 && label->name[0] == '.' && label->name[1] == 'L'))
            continue;
        a->symbol = label->name;
        a->symbol_length = label->length;
    }
}

static void read_text(struct annotator *a)
{
    struct pv_statement statement;
    const char *p = a->text;

    while (a->status == PREVIRT_OK) {
        const struct pv_mnemonic *mnemonic;

        switch (pv_read_statement(p, a->end, &statement)) {
        case PV_STATEMENT_END:
            return;
        case PV_STATEMENT_APP:
            a->app_start = statement.next;
            a->flow.compiler = 1;
            break;
        case PV_STATEMENT_NO_APP:
            a->app_start = NULL;
            break;
        case PV_STATEMENT_ASM:
            if (a->app_start)
                a->app_start = statement.next;
            break;
        default:
            break;
        }
        if (statement.labels) {
            note_labels(a, &statement);
            a->prefix_start = NULL;
        }
        if (statement.name) {
            mnemonic =
                pv_mnemonic_find(&a->table, statement.name, statement.length, statement.hash);
            if (mnemonic && mnemonic->kind == PV_KIND_PREFIX) {
                int alone;

                mnemonic = skip_prefixes(a, &statement, mnemonic, &alone);
                if (alone) { /* of the operation that comes next */
                    p = statement.next;
                    continue;
                }
            }
            if (statement.name && a->macro_depth && statement.kind == PV_STATEMENT_CODE &&
                *statement.name == '\\')
                argument_statement(a, &statement);
            if (mnemonic && mnemonic->kind > PV_KIND_PREFIX && mnemonic->kind != PV_KIND_BYTE)
                directive(a, mnemonic, &statement);
            else if (mnemonic && mnemonic->kind != PV_KIND_PLAIN &&
                     !a->shadowed[mnemonic - pv_mnemonics])
                instruction(a, mnemonic, &statement);
        }
        if (statement.kind == PV_STATEMENT_CODE)
            a->prefix_start = NULL;
        p = statement.next;
    }
}

static void settle_flags(struct annotator *a)
{
    for (size_t i = 0; i < a->pending_count; i++) {
        const struct pending_flags *site = &a->pending[i];
        int dead;

        if (site->op == PREVIRT_IA32_PUSHF)
            dead = site->app_start &&
                   pv_flow_flags_unspecified(&a->flow, site->app_start, site->before);
        else
            dead = pv_flow_flags_dead(&a->flow, site->after, site->app_start != NULL);
        if (dead) {
            a->out[site->digit] = '0' + PREVIRT_SITE_FLAGS_DEAD;
            a->stats->flags_dead++;
        }
    }
}

/* ---- the line in front ---- */

static void append_note_header(struct annotator *a, const struct group *group)
{
    append_text(a, ".pushsection " PREVIRT_TABLE_SECTION ",0");
    if (group)
        append_group(a, group->name, group->length);
    else
        append_text(a, ",\"a\",@note");
    append_text(a, ";.balign 4;.long 8," LABEL_NOTE "f-" LABEL_DESC "f,2;"
                   ".ascii \"" PREVIRT_NOTE_NAME "\\0\";" LABEL_DESC ":;"
                   ".subsection 2;" LABEL_NOTE ":;.popsection;");
}

/* `# 1 "file"': the text tells its own name on its first line. */
static int names_itself(const char *p, const char *end)
{
    if (end - p < 5 || p[0] != '#' || p[1] != ' ')
        return 0;
    for (p += 2; p < end && (pv_class[(uint8_t)*p] & PV_CLASS_DIGIT); p++)
        ;
    return end - p > 2 && p[0] == ' ' && p[1] == '"';
}

static void append_marker(struct annotator *a, const char *name)
{
    append_text(a, "# 1 \"");
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            append(a, "\\", 1);
        append(a, name, 1);
    }
    append_text(a, "\"\n");
}

static void append_front(struct annotator *a)
{
    const char *p = a->text;

    if (a->plain_note)
        append_note_header(a, NULL);
    for (size_t i = 0; i < a->group_count; i++)
        append_note_header(a, &a->groups[i]);
    if (names_itself(p, a->end)) {
        append_text(a, "\n");
    } else if (a->options->name) {
        append_text(a, "\n");
        append_marker(a, a->options->name);
    } else if (p < a->end && (*p == '#' || *p == '/')) {
        append_text(a, "\n"); /* #APP and #NO_APP count at the beginning of a line only */
    }
}

/* Puts the note's headers and, where needed, the name of the text in front of what was annotated:
 * into the space that was left there, right-aligned behind blanks, or else by moving the text. */
static void put_front(struct annotator *a)
{
    char *body = a->out, *front;
    size_t body_size = a->out_size, front_size;

    a->out = NULL;
    a->out_size = a->out_capacity = 0;
    append_front(a);
    front = a->out;
    front_size = a->out_size;
    a->out = body;
    a->out_size = body_size;
    a->out_capacity = body_size;
    if (a->status != PREVIRT_OK) {
        free(front);
        return;
    }
    if (front_size <= FRONT_SPACE) {
        memset(body, ' ', FRONT_SPACE - front_size);
        if (front_size)
            memcpy(body + FRONT_SPACE - front_size, front, front_size);
    } else {
        append(a, front, front_size - FRONT_SPACE); /* makes room; what it appends is overwritten */
        if (a->status == PREVIRT_OK) {
            memmove(a->out + front_size, a->out + FRONT_SPACE, body_size - FRONT_SPACE);
            memcpy(a->out, front, front_size);
        }
    }
    free(front);
}

int previrt_annotate(const char *text, size_t size, const struct previrt_annotate_options *options,
                     char **out, size_t *out_size, struct previrt_annotate_stats *stats)
{
    static const struct previrt_annotate_options defaults = {sizeof(defaults)};
    struct previrt_annotate_stats own_stats = {sizeof(own_stats)};
    struct annotator *a;
    int status;

    if ((!text && size) || !out || !out_size || (options && options->size != sizeof(*options)) ||
        (stats && stats->size != sizeof(*stats)))
        return PREVIRT_E_INVALID;
    *out = NULL;
    *out_size = 0;
    if (stats)
        *stats = own_stats;
    if (size == 0)
        return PREVIRT_OK;
    a = calloc(1, sizeof(*a));
    if (!a)
        return PREVIRT_E_MEMORY;
    a->options = options ? options : &defaults;
    a->stats = stats ? stats : &own_stats;
    a->text = a->copied = text;
    a->end = text + size;
    a->bits = 32;
    a->intel = a->options->intel != 0;
    a->line_info = a->options->line_info;
    a->section.name = ".text";
    a->section.length = sizeof(".text") - 1;
    a->previous = a->section;
    a->flow.text = text;
    a->flow.end = a->end;
    a->flow.table = &a->table;
    pv_mnemonic_table_init(&a->table);

    read_text(a);
    if (a->status == PREVIRT_OK && a->out) {
        copy_until(a, a->end);
        settle_flags(a);
        if (a->status == PREVIRT_OK)
            put_front(a);
    }
    status = a->status;
    if (status == PREVIRT_OK && a->out) {
        *out = a->out;
        *out_size = a->out_size;
    } else {
        free(a->out);
    }
    pv_flow_free(&a->flow);
    free(a->pending);
    free(a->groups);
    free(a);
    return status;
}
