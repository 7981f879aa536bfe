/* SPDX-License-Identifier: BSD-2-Clause */
/* Exclusion rules: parsing and matching. The format is explained in rules/ia32.rules. */
#include "asm/rules.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct previrt_rules {
    char *text; /* the caller's text, cut into strings */
    struct pv_rule *rules;
    size_t count;
};

static const char ia32_text[] =
#include "asm/ia32-rules.inc"
    ;
static const char ia64_text[] =
#include "asm/ia64-rules.inc"
    ;

static char *next_word(char **cursor)
{
    char *p = *cursor + strspn(*cursor, " \t"), *word = p;

    p += strcspn(p, " \t");
    if (*p)
        *p++ = '\0';
    *cursor = p;
    return *word ? word : NULL;
}

/* Appends the words at (line) to (*list). */
static int add_patterns(const char ***list, char *line, const char **error)
{
    size_t count = 0;
    char *word;

    while (*list && (*list)[count])
        count++;
    if (line[strspn(line, " \t")] == '\0') {
        *error = "pattern expected";
        return PREVIRT_E_MALFORMED;
    }
    while ((word = next_word(&line))) {
        const char **grown = realloc(*list, (count + 2) * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        *list = grown;
        grown[count++] = word;
        grown[count] = NULL;
    }
    return PREVIRT_OK;
}

static int add_code(unsigned *code, char *line, const char **error)
{
    char *word = next_word(&line);

    if (!word)
        *error = "16, 32 or 64 expected";
    for (; word; word = next_word(&line)) {
        if (!strcmp(word, "16")) {
            *code |= 16;
        } else if (!strcmp(word, "32")) {
            *code |= 32;
        } else if (!strcmp(word, "64")) {
            *code |= 64;
        } else {
            *error = "16, 32 or 64 expected";
            break;
        }
    }
    return *error ? PREVIRT_E_MALFORMED : PREVIRT_OK;
}

static int set_action(struct pv_rule *rule, char *line, const char **error)
{
    const char *word = next_word(&line);

    if (rule->action != PV_RULE_NONE)
        *error = "second action of one rule";
    else if (word && !strcmp(word, "exclude"))
        rule->action = PV_RULE_EXCLUDE;
    else if (word && !strcmp(word, "dormant"))
        rule->action = PV_RULE_DORMANT;
    else if (word && !strcmp(word, "room"))
        rule->action = PV_RULE_ROOM;
    else
        *error = "action is none of exclude, dormant, room";
    if (!*error && next_word(&line))
        *error = "text after the action";
    return *error ? PREVIRT_E_MALFORMED : PREVIRT_OK;
}

static const char *rule_defect(const struct pv_rule *rule)
{
    if (rule->action == PV_RULE_NONE)
        return "the rule before this line has no action";
    if (!rule->reason)
        return "the rule before this line has no reason";
    if (!rule->output && !rule->source && !rule->section && !rule->symbol && !rule->code)
        return "the rule before this line would hold everywhere";
    return NULL;
}

static int parse_line(struct previrt_rules *rules, char *line, const char **error)
{
    struct pv_rule *rule = rules->count ? &rules->rules[rules->count - 1] : NULL;
    char *word;

    line[strcspn(line, "\r")] = '\0';
    word = next_word(&line);
    if (!word || *word == '#')
        return PREVIRT_OK;
    if (!strcmp(word, "rule")) {
        struct pv_rule *grown;

        if (rule && (*error = rule_defect(rule)))
            return PREVIRT_E_MALFORMED;
        grown = realloc(rules->rules, (rules->count + 1) * sizeof(*grown));
        if (!grown)
            return PREVIRT_E_MEMORY;
        rules->rules = grown;
        memset(&grown[rules->count], 0, sizeof(*grown));
        grown[rules->count].name = next_word(&line);
        if (!grown[rules->count++].name)
            *error = "the rule has no name";
        else if (next_word(&line))
            *error = "a rule's name is one word";
        return *error ? PREVIRT_E_MALFORMED : PREVIRT_OK;
    }
    if (!rule) {
        *error = "`rule NAME' expected first";
        return PREVIRT_E_MALFORMED;
    }
    if (!strcmp(word, "output"))
        return add_patterns(&rule->output, line, error);
    if (!strcmp(word, "source"))
        return add_patterns(&rule->source, line, error);
    if (!strcmp(word, "section"))
        return add_patterns(&rule->section, line, error);
    if (!strcmp(word, "symbol"))
        return add_patterns(&rule->symbol, line, error);
    if (!strcmp(word, "code"))
        return add_code(&rule->code, line, error);
    if (!strcmp(word, "action"))
        return set_action(rule, line, error);
    if (!strcmp(word, "reason")) {
        line += strspn(line, " \t");
        if (*line)
            rule->reason = line;
        else
            *error = "the reason is empty";
        return *error ? PREVIRT_E_MALFORMED : PREVIRT_OK;
    }
    *error = "unknown keyword";
    return PREVIRT_E_MALFORMED;
}

int previrt_rules_parse(const char *text, size_t size, struct previrt_rules **out,
                        struct previrt_rules_error *error)
{
    struct previrt_rules *rules;
    const char *message = NULL;
    unsigned line_number = 0;
    int status = PREVIRT_OK;
    char *line, *next;

    if ((!text && size) || !out)
        return PREVIRT_E_INVALID;
    *out = NULL;
    rules = calloc(1, sizeof(*rules));
    if (!rules)
        return PREVIRT_E_MEMORY;
    rules->text = malloc(size + 1);
    if (!rules->text) {
        free(rules);
        return PREVIRT_E_MEMORY;
    }
    if (size)
        memcpy(rules->text, text, size);
    rules->text[size] = '\0';
    if (size && memchr(rules->text, '\0', size)) {
        message = "NUL byte";
        status = PREVIRT_E_MALFORMED;
    }
    for (line = rules->text; status == PREVIRT_OK && line && *line; line = next) {
        line_number++;
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        status = parse_line(rules, line, &message);
    }
    if (status == PREVIRT_OK && rules->count &&
        (message = rule_defect(&rules->rules[rules->count - 1]))) {
        line_number++;
        status = PREVIRT_E_MALFORMED;
    }
    if (status != PREVIRT_OK) {
        if (error) {
            error->line = line_number;
            error->text = message ? message : previrt_strerror(status);
        }
        previrt_rules_free(rules);
        return status;
    }
    *out = rules;
    return PREVIRT_OK;
}

int previrt_rules_default(struct previrt_rules **rules)
{
    return previrt_rules_default_for(PREVIRT_ARCH_IA32, rules);
}

int previrt_rules_default_for(unsigned arch, struct previrt_rules **rules)
{
    switch (arch) {
    case PREVIRT_ARCH_IA32:
        return previrt_rules_parse(ia32_text, sizeof(ia32_text) - 1, rules, NULL);
    case PREVIRT_ARCH_IA64:
        return previrt_rules_parse(ia64_text, sizeof(ia64_text) - 1, rules, NULL);
    default:
        return PREVIRT_E_ARCH;
    }
}

void previrt_rules_free(struct previrt_rules *rules)
{
    if (!rules)
        return;
    for (size_t i = 0; i < rules->count; i++) {
        free(rules->rules[i].output);
        free(rules->rules[i].source);
        free(rules->rules[i].section);
        free(rules->rules[i].symbol);
    }
    free(rules->rules);
    free(rules->text);
    free(rules);
}

static int list_matches(const char **list, const char *string)
{
    for (; string && *list; list++)
        if (!fnmatch(*list, string, 0))
            return 1;
    return 0;
}

/* A path matches as a whole or from behind any of its slashes, so that build directories do not
 * matter. */
static int path_matches(const char **list, const char *path)
{
    while (path) {
        if (list_matches(list, path))
            return 1;
        path = strchr(path, '/');
        if (path)
            path++;
    }
    return 0;
}

static int paths_hold(const struct pv_rule *rule, const char *output, const char *source)
{
    return (!rule->output || path_matches(rule->output, output)) &&
           (!rule->source || path_matches(rule->source, source));
}

const struct pv_rule *pv_rules_match(const struct previrt_rules *rules,
                                     const struct pv_rule_query *query)
{
    for (size_t i = 0; rules && i < rules->count; i++) {
        const struct pv_rule *rule = &rules->rules[i];

        if (rule->action != PV_RULE_ROOM && paths_hold(rule, query->output, query->source) &&
            (!rule->section || list_matches(rule->section, query->section)) &&
            (!rule->symbol || list_matches(rule->symbol, query->symbol)) &&
            (!rule->code || (rule->code & query->bits)))
            return rule;
    }
    return NULL;
}

int pv_rules_give_room(const struct previrt_rules *rules, const char *output, const char *source)
{
    for (size_t i = 0; rules && i < rules->count; i++)
        if (rules->rules[i].action == PV_RULE_ROOM && paths_hold(&rules->rules[i], output, source))
            return 1;
    return 0;
}

const struct pv_rule *pv_rules_at(const struct previrt_rules *rules, size_t index)
{
    return rules && index < rules->count ? &rules->rules[index] : NULL;
}

const struct pv_rule *pv_rules_match_file(const struct previrt_rules *rules, const char *output,
                                          const char *source)
{
    for (size_t i = 0; rules && i < rules->count; i++) {
        const struct pv_rule *rule = &rules->rules[i];

        if (rule->action != PV_RULE_ROOM && !rule->section && !rule->symbol && !rule->code &&
            paths_hold(rule, output, source))
            return rule;
    }
    return NULL;
}
