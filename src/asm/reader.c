/* SPDX-License-Identifier: BSD-2-Clause */
/* The statement reader. What it follows is do_scrub_chars() in gas/app.c. */
#include "asm/reader.h"

#include <string.h>

#define NAME  PV_CLASS_NAME
#define SPACE PV_CLASS_SPACE
#define STOP  PV_CLASS_STOP
#define DIGIT (PV_CLASS_NAME | PV_CLASS_DIGIT)

const uint8_t pv_class[256] = {
    ['\t'] = SPACE,       [' '] = SPACE,        ['\r'] = SPACE, ['\f'] = SPACE,
    ['\v'] = SPACE,       ['\n'] = STOP,        [';'] = STOP,   ['"'] = STOP,
    ['#'] = STOP,         ['/'] = STOP,         ['\''] = STOP,  ['0' ... '9'] = DIGIT,
    ['a' ... 'z'] = NAME, ['A' ... 'Z'] = NAME, ['_'] = NAME,   ['.'] = NAME,
    ['$'] = NAME,         ['\\'] = NAME,        ['@'] = NAME,   [0x80 ... 0xff] = NAME,
};

static inline uint8_t class_of(char c)
{
    return pv_class[(uint8_t)c];
}

static const char *line_end(const char *p, const char *end)
{
    const char *newline = memchr(p, '\n', (size_t)(end - p));

    return newline ? newline : end;
}

/* (p) is behind the opening characters of a block comment. */
static const char *skip_block_comment(const char *p, const char *end)
{
    const char *close = memmem(p, (size_t)(end - p), "*/", 2);

    return close ? close + 2 : end;
}

/* (p) is behind the opening quote. A string may run over lines; as warns and goes on, and so do we.
 */
static const char *skip_string(const char *p, const char *end)
{
    while (p < end && *p != '"') {
        if (*p == '\\' && p + 1 < end)
            p++;
        p++;
    }
    return p < end ? p + 1 : end;
}

/* (p) is behind the apostrophe of 'c or 'c'. */
static const char *skip_character(const char *p, const char *end)
{
    if (p < end && *p == '\\' && p + 1 < end && p[1] != '\n')
        p++;
    if (p < end && *p != '\n')
        p++;
    if (p < end && *p == '\'')
        p++;
    return p;
}

static const char *skip_space(const char *p, const char *end)
{
    for (;;) {
        while (p < end && (class_of(*p) & SPACE))
            p++;
        if (p + 1 < end && p[0] == '/' && p[1] == '*')
            p = skip_block_comment(p + 2, end);
        else
            return p;
    }
}

static const char *trim(const char *begin, const char *p)
{
    while (p > begin && (class_of(p[-1]) & SPACE))
        p--;
    return p;
}

/* Finds the end of a statement from (p) on. Sets end, next and new_line; (begin) bounds the
 * trimming. */
static void read_rest(const char *begin, const char *p, const char *end,
                      struct pv_statement *statement)
{
    for (;;) {
        const char *before;

        while (p < end && !(class_of(*p) & STOP))
            p++;
        if (p == end)
            break;
        switch (*p) {
        case '"':
            p = skip_string(p + 1, end);
            continue;
        case '\'':
            p = skip_character(p + 1, end);
            continue;
        case '/':
            if (p + 1 == end || p[1] != '*') {
                p++; /* the prefix separator (rep/movsb), or a division */
                continue;
            }
            before = p;
            p = skip_space(p, end);
            if (p < end && *p != '\n' && *p != ';' && *p != '#')
                continue; /* the comment was white space between two operands */
            statement->end = trim(begin, before);
            break;
        default: /* newline, semicolon, number sign */
            statement->end = trim(begin, p);
            break;
        }
        if (p < end && *p == '#')
            p = line_end(p, end);
        statement->new_line = p < end && *p == '\n';
        statement->next = p < end ? p + 1 : end;
        return;
    }
    statement->end = trim(begin, end);
    statement->new_line = 1;
    statement->next = end;
}

void pv_read_name(const char *p, const char *end, struct pv_statement *statement)
{
    uint32_t hash = PV_HASH_SEED;
    const char *start = p;

    while (p < end && (class_of(*p) & NAME)) {
        hash = PV_HASH_STEP(hash, *p);
        p++;
    }
    statement->name = p > start ? start : NULL;
    statement->length = (uint32_t)(p - start);
    statement->hash = hash;
    statement->operands = p;
}

static int is_label_end(const char *p, const char *end)
{
    return p < end && *p == ':';
}

static int comment_kind(const char *p, const char *end)
{
    size_t left = (size_t)(end - p);

    if (left >= 4 && p[0] == '#' && p[1] == ' ' && (class_of(p[2]) & PV_CLASS_DIGIT)) {
        const char *stop = line_end(p, end);

        return stop - p > 3 && memcmp(stop - 3, "\" 1", 3) == 0 ? PV_STATEMENT_ASM
                                                                : PV_STATEMENT_EMPTY;
    }
    if (left >= 4 && memcmp(p, "#APP", 4) == 0)
        return PV_STATEMENT_APP;
    if (left >= 7 && memcmp(p, "#NO_APP", 7) == 0)
        return PV_STATEMENT_NO_APP;
    return PV_STATEMENT_EMPTY;
}

int pv_read_statement(const char *p, const char *end, struct pv_statement *statement)
{
    const char *begin = p;
    int pseudo = 0;

    statement->labels = 0;
    statement->name = NULL;
    statement->length = 0;
    statement->operands = p;
    if (p == end) {
        statement->first = statement->end = statement->next = end;
        statement->new_line = 1;
        return statement->kind = PV_STATEMENT_END;
    }
    for (;;) {
        const char *after;

        p = skip_space(p, end);
        if (!pseudo)
            statement->first = p;
        if (p == end || *p == '\n' || *p == ';' || *p == '#' || *p == '/') {
            statement->kind = PV_STATEMENT_EMPTY;
            statement->end = statement->operands = p;
            if (p < end && (*p == '#' || *p == '/')) {
                statement->kind = comment_kind(p, end);
                p = line_end(p, end);
            }
            statement->new_line = p == end || *p == '\n';
            statement->next = p < end ? p + 1 : end;
            return statement->kind;
        }
        if (*p == '{') { /* a pseudo prefix: {disp32} mov ... */
            const char *close = memchr(p, '}', (size_t)(line_end(p, end) - p));

            if (close) {
                pseudo = 1;
                p = close + 1;
                continue;
            }
        }
        if (*p == '"') { /* a quoted symbol, as a label */
            after = skip_string(p + 1, end);
            statement->name = NULL;
            statement->length = 0;
            statement->operands = p;
        } else {
            pv_read_name(p, end, statement);
            after = statement->operands;
            /* \(): what macros write between an argument and a name */
            while (after < end && *after == '(' && after > p && after[-1] == '\\' &&
                   after + 1 < end && after[1] == ')') {
                after += 2;
                while (after < end && (class_of(*after) & NAME))
                    after++;
                statement->length = (uint32_t)(after - p);
                statement->hash = 0;
                statement->operands = after;
            }
        }
        if (!is_label_end(after, end) && after < end && (class_of(*after) & SPACE) && after > p) {
            const char *colon = skip_space(after, end);

            if (is_label_end(colon, end))
                after = colon;
        }
        if (after == p || !is_label_end(after, end))
            break;
        if (statement->labels < PV_STATEMENT_LABELS) {
            struct pv_label *label = &statement->label[statement->labels++];
            const char *name_end = trim(p, after);

            label->name = p;
            label->length = (uint32_t)(name_end - p);
            label->after = after + 1;
        }
        p = after + 1;
        begin = p;
        statement->name = NULL;
        statement->length = 0;
        statement->operands = p;
    }
    statement->kind = PV_STATEMENT_CODE;
    if (statement->name)
        p = statement->operands;
    while (p < end && (class_of(*p) & SPACE))
        p++;
    if (statement->name)
        statement->operands = p;
    read_rest(begin, p, end, statement);
    if (statement->operands > statement->end)
        statement->operands = statement->end;
    return PV_STATEMENT_CODE;
}
