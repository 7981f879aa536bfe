/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt_annotate() on anything. The first two bytes choose options. What must hold besides memory
 * safety: what comes out is what went in with text inserted, and annotating touches each byte once
 * and in order.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/annotate.h>

#include "asm/rules.h"

#define HEADER 2

static struct previrt_rules *rules;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct previrt_annotate_options options = {.size = sizeof(options)};
    struct previrt_annotate_stats stats = {.size = sizeof(stats)};
    struct previrt_rules *parsed;
    const char *text;
    char *out, *copy;
    size_t out_size;

    if (size < HEADER)
        return 0;
    if (!rules && previrt_rules_default(&rules) != PREVIRT_OK)
        abort();
    options.pad = data[0] & 1;
    options.cpu = (data[0] >> 1) & 3;
    options.intel = (data[0] >> 3) & 1;
    options.target = data[1] & 3;
    options.line_info = (data[0] >> 4) & 1;
    options.name = data[0] & 0x20 ? "name" : NULL;
    options.rules = data[0] & 0x40 ? rules : NULL;
    if (data[0] & 0x80) { /* the rules' parser has the same kind of input */
        if (previrt_rules_parse((const char *)data + HEADER, size - HEADER, &parsed, NULL) ==
            PREVIRT_OK) {
            struct pv_rule_query query = {"a/b.o", "b.s", ".text", "f", 32};

            pv_rules_match(parsed, &query);
            previrt_rules_free(parsed);
        }
        return 0;
    }
    copy = malloc(size - HEADER ? size - HEADER : 1); /* so that a read beyond the end is seen */
    memcpy(copy, data + HEADER, size - HEADER);
    text = copy;
    if (previrt_annotate(text, size - HEADER, &options, &out, &out_size, &stats) != PREVIRT_OK)
        abort();
    if (out) {
        const char *p = out;

        /* the original is a subsequence of the result; the target vcpu drops operations */
        for (size_t i = 0; options.target != PREVIRT_STATIC_VCPU && i < size - HEADER; i++) {
            p = memchr(p, text[i], out_size - (size_t)(p - out));
            if (!p)
                abort();
            p++;
        }
        free(out);
    } else if (stats.sites) {
        abort();
    }
    free(copy);
    return 0;
}
