/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exclusion rules: which sites the annotator leaves alone, and why. The public part (parsing, the
 * default rules) is in annotate.h; the audit asks pv_rules_match() which rule covers a site it
 * found.
 */
#ifndef PV_ASM_RULES_H
#define PV_ASM_RULES_H

#include <previrt/annotate.h>

enum pv_rule_action {
    PV_RULE_NONE,
    PV_RULE_EXCLUDE,
    PV_RULE_DORMANT,
    PV_RULE_ROOM /* says nothing of sites: the object gets room for stubs */
};

/* Where a site is. A string may be NULL and (bits) 0: not known, so that no pattern of that kind
 * holds. */
struct pv_rule_query {
    const char *output;  /* path of the object file */
    const char *source;  /* path of the assembler's input */
    const char *section; /* section name */
    const char *symbol;  /* last global label */
    unsigned bits;       /* 16, 32, 64 */
};

struct pv_rule {
    const char *name, *reason;
    enum pv_rule_action action;
    /* NULL-terminated lists of patterns; NULL: the rule has no line of that kind */
    const char **output, **source, **section, **symbol;
    unsigned code; /* bit set of bits: 16, 32, 64 */
};

/* The first rule that holds, NULL if none does. Valid as long as (rules). */
const struct pv_rule *pv_rules_match(const struct previrt_rules *rules,
                                     const struct pv_rule_query *query);

/* Whether a rule gives the object room for stubs (its paths alone decide). */
int pv_rules_give_room(const struct previrt_rules *rules, const char *output, const char *source);

/* Rule number (index), NULL behind the last. */
const struct pv_rule *pv_rules_at(const struct previrt_rules *rules, size_t index);

/* Whether the first rule that holds for every site of a file excludes it (paths alone decide). */
const struct pv_rule *pv_rules_match_file(const struct previrt_rules *rules, const char *output,
                                          const char *source);

#endif
