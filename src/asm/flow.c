/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Liveness of the arithmetic flags.
 *
 * Three things make the answer "dead" often: GCC and clang treat every IA32 inline assembly as
 * clobbering the flags, so nothing flows into an #APP block, and what flows out is read only by
 * code that an output of the form =@cc asked for; the i386 ABI passes no flags into or out of
 * functions; and most arithmetic overwrites all of them. In hand-written text only the last one
 * counts.
 */
#include "asm/flow.h"

#include <stdlib.h>
#include <string.h>

#include <previrt/status.h>

enum {
    STATEMENT_BUDGET = 256, /* statements looked at for one site */
    PATH_LIMIT = 16,        /* branches waiting to be followed */
    NUMERIC_BUDGET = 4096   /* labels looked at for one 1f or 1b */
};

int pv_flow_add_label(struct pv_flow *flow, const struct pv_label *label, int app)
{
    struct pv_flow_label *slot;

    if (flow->label_count == flow->label_capacity) {
        size_t capacity = flow->label_capacity ? flow->label_capacity * 2 : 256;
        struct pv_flow_label *grown = realloc(flow->labels, capacity * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        flow->labels = grown;
        flow->label_capacity = capacity;
    }
    slot = &flow->labels[flow->label_count++];
    slot->name = label->name;
    slot->length = label->length;
    slot->after = label->after;
    slot->app = (uint32_t)app;
    return PREVIRT_OK;
}

void pv_flow_free(struct pv_flow *flow)
{
    free(flow->labels);
    free(flow->index);
    flow->labels = NULL;
    flow->index = NULL;
    flow->label_count = flow->label_capacity = 0;
}

static uint32_t name_hash(const char *name, size_t length)
{
    uint32_t hash = PV_HASH_SEED;

    for (size_t i = 0; i < length; i++)
        hash = PV_HASH_STEP(hash, name[i]);
    return hash ^ (hash >> 15);
}

static int build_index(struct pv_flow *flow)
{
    size_t size = 16;

    while (size < flow->label_count * 2)
        size *= 2;
    flow->index = calloc(size, sizeof(*flow->index));
    if (!flow->index)
        return 0;
    flow->index_size = size;
    for (size_t i = 0; i < flow->label_count; i++) {
        size_t slot = name_hash(flow->labels[i].name, flow->labels[i].length) & (size - 1);
        size_t tries = 0;

        /* numeric labels come by the thousand under one name: they are found another way */
        if (pv_class[(uint8_t)flow->labels[i].name[0]] & PV_CLASS_DIGIT)
            continue;
        while (flow->index[slot] && tries++ < NUMERIC_BUDGET)
            slot = (slot + 1) & (size - 1);
        if (!flow->index[slot])
            flow->index[slot] = (uint32_t)i + 1;
    }
    return 1;
}

static const struct pv_flow_label *find_numeric(struct pv_flow *flow, const char *name,
                                                size_t length, const char *from)
{
    size_t low = 0, high = flow->label_count;
    int forward = name[length - 1] == 'f';

    length--;
    while (low < high) { /* the first label behind (from) */
        size_t middle = low + (high - low) / 2;

        if (flow->labels[middle].after <= from)
            low = middle + 1;
        else
            high = middle;
    }
    for (unsigned tries = 0; tries < NUMERIC_BUDGET; tries++) {
        const struct pv_flow_label *label;

        if (forward ? low == flow->label_count : low == 0)
            return NULL;
        label = &flow->labels[forward ? low++ : --low];
        if (label->length == length && memcmp(label->name, name, length) == 0)
            return label;
    }
    return NULL;
}

static const struct pv_flow_label *find_label(struct pv_flow *flow, const char *name, size_t length,
                                              const char *from)
{
    size_t slot, tries;

    if (length == 0)
        return NULL;
    if (pv_class[(uint8_t)*name] & PV_CLASS_DIGIT)
        return name[length - 1] == 'f' || name[length - 1] == 'b'
                   ? find_numeric(flow, name, length, from)
                   : NULL;
    if (!flow->index && !build_index(flow))
        return NULL;
    slot = name_hash(name, length) & (flow->index_size - 1);
    for (tries = 0; flow->index[slot] && tries < NUMERIC_BUDGET; tries++) {
        const struct pv_flow_label *label = &flow->labels[flow->index[slot] - 1];

        if (label->length == length && memcmp(label->name, name, length) == 0)
            return label;
        slot = (slot + 1) & (flow->index_size - 1);
    }
    return NULL;
}

/* What a condition code reads, SDM 1 appendix B; -1: not one. */
static int condition_reads(const char *p, size_t length)
{
    static const struct {
        char name[4];
        uint8_t reads;
    } conditions[] = {
        {"o", PV_OF},
        {"no", PV_OF},
        {"b", PV_CF},
        {"c", PV_CF},
        {"nae", PV_CF},
        {"ae", PV_CF},
        {"nb", PV_CF},
        {"nc", PV_CF},
        {"e", PV_ZF},
        {"z", PV_ZF},
        {"ne", PV_ZF},
        {"nz", PV_ZF},
        {"be", PV_CF | PV_ZF},
        {"na", PV_CF | PV_ZF},
        {"a", PV_CF | PV_ZF},
        {"nbe", PV_CF | PV_ZF},
        {"s", PV_SF},
        {"ns", PV_SF},
        {"p", PV_PF},
        {"pe", PV_PF},
        {"np", PV_PF},
        {"po", PV_PF},
        {"l", PV_SF | PV_OF},
        {"nge", PV_SF | PV_OF},
        {"ge", PV_SF | PV_OF},
        {"nl", PV_SF | PV_OF},
        {"le", PV_ZF | PV_SF | PV_OF},
        {"ng", PV_ZF | PV_SF | PV_OF},
        {"g", PV_ZF | PV_SF | PV_OF},
        {"nle", PV_ZF | PV_SF | PV_OF},
    };
    char lower[4] = {0};

    if (length == 0 || length > 3)
        return -1;
    for (size_t i = 0; i < length; i++)
        lower[i] = (char)(p[i] | 0x20);
    for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++)
        if (strcmp(conditions[i].name, lower) == 0)
            return conditions[i].reads;
    return -1;
}

/* What one statement does. */
struct effect {
    uint8_t flow; /* enum pv_flow_kind */
    uint8_t reads, writes;
};

static int begins(const char *name, size_t length, const char *with)
{
    size_t n = strlen(with);

    if (length <= n)
        return 0;
    for (size_t i = 0; i < n; i++)
        if ((name[i] | 0x20) != with[i])
            return 0;
    return 1;
}

static const struct pv_mnemonic *find_with_suffix(const struct pv_flow *flow, const char *name,
                                                  uint32_t length)
{
    const struct pv_mnemonic *mnemonic = NULL;
    uint32_t hash = PV_HASH_SEED, shorter = PV_HASH_SEED;

    for (uint32_t i = 0; i < length; i++) {
        shorter = hash;
        hash = PV_HASH_STEP(hash, name[i]);
    }
    mnemonic = pv_mnemonic_find(flow->table, name, length, hash);
    if (!mnemonic && length > 2 && strchr("bwld", name[length - 1] | 0x20)) {
        mnemonic = pv_mnemonic_find(flow->table, name, length - 1, shorter);
        if (mnemonic && mnemonic->kind != PV_KIND_PLAIN)
            mnemonic = NULL;
    }
    return mnemonic;
}

/* The count of a shift is known not to be 0: none is written (1 is meant), or a literal from 1
 * to 31. */
static int shift_counts(const struct pv_statement *statement, int intel)
{
    const char *p = statement->operands;
    unsigned count = 0;

    if (!memchr(p, ',', (size_t)(statement->end - p)))
        return 1;
    if (intel || p == statement->end || *p != '$')
        return 0;
    for (p++; p < statement->end && (pv_class[(uint8_t)*p] & PV_CLASS_DIGIT) && count < 32; p++)
        count = count * 10 + (unsigned)(*p - '0');
    return count >= 1 && count <= 31 && p < statement->end && *p == ',';
}

static void effect_of(const struct pv_flow *flow, struct pv_statement *statement,
                      struct effect *effect)
{
    const struct pv_mnemonic *mnemonic;
    int reads, repeated = 0;

    effect->flow = PV_FLOW_UNKNOWN;
    effect->reads = effect->writes = 0;
    if (!statement->name || memchr(statement->name, '\\', statement->length))
        return;
    if (statement->operands < statement->end && *statement->operands == '=') {
        effect->flow = PV_FLOW_NEXT;
        return;
    }
    for (;;) {
        mnemonic = find_with_suffix(flow, statement->name, statement->length);
        if (!mnemonic || mnemonic->kind != PV_KIND_PREFIX)
            break;
        if (statement->operands == statement->end) { /* a prefix alone */
            /* its operation is the next statement: whether REP goes with a comparison is not seen
             */
            effect->flow = mnemonic->name[0] == 'r' ? PV_FLOW_UNKNOWN : PV_FLOW_NEXT;
            return;
        }
        repeated |= mnemonic->name[0] == 'r';
        if (*statement->operands == '/')
            statement->operands++;
        pv_read_name(statement->operands, statement->end, statement);
        if (!statement->name)
            return;
        while (statement->operands < statement->end &&
               (pv_class[(uint8_t)*statement->operands] & PV_CLASS_SPACE))
            statement->operands++;
    }
    if (mnemonic) {
        if (mnemonic->kind == PV_KIND_NEUTRAL_DIRECTIVE || mnemonic->kind == PV_KIND_LOC) {
            effect->flow = PV_FLOW_NEXT;
            return;
        }
        effect->flow = mnemonic->flow;
        effect->reads = mnemonic->reads;
        effect->writes = mnemonic->writes;
        if (effect->flow == PV_FLOW_SHIFT) {
            effect->flow = PV_FLOW_NEXT;
            if (!shift_counts(statement, flow->intel))
                effect->writes = 0;
        } else if (effect->flow == PV_FLOW_COMPARE) {
            effect->flow = PV_FLOW_NEXT;
            if (repeated)
                effect->writes = 0;
        }
        return;
    }
    if (begins(statement->name, statement->length, ".cfi_")) {
        effect->flow = PV_FLOW_NEXT;
    } else if (begins(statement->name, statement->length, "j")) {
        reads = condition_reads(statement->name + 1, statement->length - 1);
        if (reads >= 0) {
            effect->flow = PV_FLOW_BRANCH;
            effect->reads = (uint8_t)reads;
        }
    } else if (begins(statement->name, statement->length, "set")) {
        reads = condition_reads(statement->name + 3, statement->length - 3);
        if (reads >= 0) {
            effect->flow = PV_FLOW_NEXT;
            effect->reads = (uint8_t)reads;
        }
    } else if (begins(statement->name, statement->length, "cmov")) {
        reads = condition_reads(statement->name + 4, statement->length - 4);
        if (reads < 0 && statement->length > 5) /* cmovel */
            reads = condition_reads(statement->name + 4, statement->length - 5);
        if (reads >= 0) {
            effect->flow = PV_FLOW_NEXT;
            /* cmovbl: b with a suffix, or bl? Either way the flags of both are among these */
            effect->reads = PV_FLAGS_ALL;
        }
    } else if ((statement->name[0] | 0x20) == 'f' &&
               !begins(statement->name, statement->length, "fcmov")) {
        effect->flow =
            PV_FLOW_NEXT; /* x87: status in its own word; fcomi and fcmov are named above */
    }
}

struct path {
    const char *p;
    uint8_t mask;
    uint8_t app;
};

/* The label that a jump's operand names, or NULL. */
static const struct pv_flow_label *jump_target(struct pv_flow *flow,
                                               const struct pv_statement *statement)
{
    const char *p = statement->operands, *q = p;

    while (q < statement->end && (pv_class[(uint8_t)*q] & PV_CLASS_NAME))
        q++;
    if (q != statement->end)
        return NULL;
    return find_label(flow, p, (size_t)(q - p), p);
}

/* A plain symbol, neither indirect nor an expression nor local to the file's function: a tail call.
 */
static int is_function_name(const struct pv_statement *statement)
{
    const char *p = statement->operands;

    if (p == statement->end || *p == '*' || (pv_class[(uint8_t)*p] & PV_CLASS_DIGIT) ||
        !(pv_class[(uint8_t)*p] & PV_CLASS_NAME))
        return 0;
    return !(statement->end - p > 2 && p[0] == '.' && p[1] == 'L');
}

/* (p): behind a .pushsection. Returns what follows its .popsection; NULL if that is not found or if
 * it is a replacement, which may come to stand in this very place. */
static const char *skip_pushed(struct pv_flow *flow, const struct pv_statement *pushed,
                               unsigned *budget)
{
    static const char replacement[] = ".altinstr_replacement";
    struct pv_statement statement;
    const char *p = pushed->next;
    unsigned depth = 1;

    if (pushed->end - pushed->operands >= (ptrdiff_t)sizeof(replacement) - 1 &&
        memmem(pushed->operands, (size_t)(pushed->end - pushed->operands), replacement,
               sizeof(replacement) - 1))
        return NULL;
    while (*budget > 0) {
        const struct pv_mnemonic *mnemonic;

        (*budget)--;
        if (pv_read_statement(p, flow->end, &statement) == PV_STATEMENT_END)
            return NULL;
        p = statement.next;
        if (statement.kind != PV_STATEMENT_CODE || !statement.name)
            continue;
        mnemonic = pv_mnemonic_find(flow->table, statement.name, statement.length, statement.hash);
        if (mnemonic && mnemonic->kind == PV_KIND_PUSHSECTION)
            depth++;
        else if (mnemonic && mnemonic->kind == PV_KIND_POPSECTION && --depth == 0)
            return p;
    }
    return NULL;
}

int pv_flow_flags_dead(struct pv_flow *flow, const char *p, int app)
{
    struct path paths[PATH_LIMIT];
    unsigned waiting = 0, budget = STATEMENT_BUDGET;
    struct path path = {p, PV_FLAGS_ALL, (uint8_t)app};

    for (;;) {
        const struct pv_flow_label *target = NULL;
        struct pv_statement statement;
        const struct pv_mnemonic *mnemonic;
        struct effect effect;
        int done = 0;

        if (budget-- == 0)
            return 0;
        switch (pv_read_statement(path.p, flow->end, &statement)) {
        case PV_STATEMENT_END:
            return 0;
        case PV_STATEMENT_APP:
            done = flow->compiler; /* nothing flows into an #APP block */
            path.app = 1;
            break;
        case PV_STATEMENT_NO_APP:
            path.app = 0;
            break;
        case PV_STATEMENT_ASM:
            done = flow->compiler && path.app;
            break;
        case PV_STATEMENT_CODE:
            mnemonic = statement.name ? pv_mnemonic_find(flow->table, statement.name,
                                                         statement.length, statement.hash)
                                      : NULL;
            if (mnemonic && mnemonic->kind == PV_KIND_PUSHSECTION) {
                statement.next = skip_pushed(flow, &statement, &budget);
                if (!statement.next)
                    return 0;
                break;
            }
            effect_of(flow, &statement, &effect);
            if (effect.reads & path.mask)
                return 0;
            path.mask &= (uint8_t)~effect.writes;
            done = path.mask == 0;
            if (done)
                break;
            switch (effect.flow) {
            case PV_FLOW_NEXT:
                break;
            case PV_FLOW_JUMP:
            case PV_FLOW_BRANCH:
                target = jump_target(flow, &statement);
                if (!target) {
                    if (!flow->compiler || path.app || !is_function_name(&statement))
                        return 0;
                    done = effect.flow == PV_FLOW_JUMP; /* a tail call */
                    break;
                }
                if (effect.flow == PV_FLOW_BRANCH) {
                    if (waiting == PATH_LIMIT)
                        return 0;
                    paths[waiting++] =
                        (struct path){target->after, path.mask, (uint8_t)target->app};
                } else {
                    statement.next = target->after;
                    path.app = (uint8_t)target->app;
                }
                break;
            case PV_FLOW_CALL:
            case PV_FLOW_RETURN:
                if (!flow->compiler || path.app)
                    return 0;
                done = 1; /* i386 System V ABI: flags are not passed */
                break;
            case PV_FLOW_DEAD:
                done = 1;
                break;
            default:
                return 0;
            }
            break;
        default:
            break;
        }
        if (done) {
            if (waiting == 0)
                return 1;
            path = paths[--waiting];
        } else {
            path.p = statement.next;
        }
    }
}

int pv_flow_flags_unspecified(struct pv_flow *flow, const char *p, const char *site)
{
    unsigned budget = STATEMENT_BUDGET;

    if (!flow->compiler)
        return 0;
    while (p < site) {
        struct pv_statement statement;
        const struct pv_mnemonic *mnemonic;
        struct effect effect;

        if (budget-- == 0 || pv_read_statement(p, site, &statement) == PV_STATEMENT_END)
            return 0;
        if (statement.labels)
            return 0;
        if (statement.kind == PV_STATEMENT_CODE) {
            mnemonic = statement.name ? pv_mnemonic_find(flow->table, statement.name,
                                                         statement.length, statement.hash)
                                      : NULL;
            if (mnemonic && mnemonic->kind == PV_KIND_PREFIX &&
                statement.operands == statement.end && statement.next >= site)
                return 1;
            effect_of(flow, &statement, &effect);
            if (effect.flow != PV_FLOW_NEXT || effect.writes)
                return 0;
        }
        p = statement.next;
    }
    return 1;
}
