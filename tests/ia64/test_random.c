/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Random bundles: this library's decoder against objdump's, on which slots are instructions, on
 * their complete text and on stops. Usage: test_random OBJDUMP [BUNDLES [SEED]]
 */
#include <previrt/ia64.h>

#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_MAX 40

struct tally {
    unsigned long slots, decoded, sensitive, illegal, legality, text, stops;
};

static void compare(const uint8_t *bytes, uint64_t address, const struct oracle_slot slots[3],
                    struct tally *tally)
{
    struct previrt_ia64_bundle bundle;
    const struct previrt_ia64_template *t;

    if (previrt_ia64_unpack(bytes, &bundle) != PREVIRT_OK) {
        tally->slots++;
        tally->illegal++;
        if (strncmp(slots[0].text, "data8", 5) && tally->legality++ < SHOWN_MAX)
            printf("template %u: objdump: %s\n", bundle.template_number, slots[0].text);
        return;
    }
    t = previrt_ia64_template(bundle.template_number);
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++) {
        /* objdump shows a long instruction at slot 1 */
        const struct oracle_slot *theirs = &slots[t->unit[s] == PREVIRT_IA64_UNIT_X ? 1 : s];
        /* objdump prints mux1's reserved permutations as numbers */
        int legal = strncmp(theirs->text, "data8", 5) && theirs->text[0] &&
                    !(strstr(theirs->text, "mux1 ") && strstr(theirs->text, ",0x"));
        struct previrt_ia64_insn insn;
        char text[ORACLE_TEXT];
        int status;

        if (t->unit[s] == PREVIRT_IA64_UNIT_L)
            continue;
        tally->slots++;
        status = previrt_ia64_decode_slot(&bundle, s, &insn);
        if (status != PREVIRT_OK) {
            tally->illegal++;
            if (legal && tally->legality++ < SHOWN_MAX)
                printf("%c %011llx: illegal here, objdump: %s\n", t->name[s],
                       (unsigned long long)bundle.slot[s], theirs->text);
            continue;
        }
        tally->decoded++;
        tally->sensitive += insn.op != PREVIRT_IA64_NO_OP;
        previrt_ia64_text(&insn, address, text, sizeof(text));
        if (!legal) {
            if (tally->legality++ < SHOWN_MAX)
                printf("%c %011llx: illegal in objdump, here: %s\n", t->name[s],
                       (unsigned long long)bundle.slot[s], text);
        } else if (strcmp(text, theirs->text)) {
            if (tally->text++ < SHOWN_MAX)
                printf("%c %011llx: here: %s  objdump: %s\n", t->name[s],
                       (unsigned long long)bundle.slot[s], text, theirs->text);
        }
        if (legal && theirs->stop != (t->stops >> s & 1) && tally->stops++ < SHOWN_MAX)
            printf("%s slot %u: stop %u, objdump: %u\n", t->name, s, t->stops >> s & 1,
                   theirs->stop);
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 2 ? strtoul(argv[2], NULL, 0) : 20000;
    uint64_t state = argc > 3 ? strtoull(argv[3], NULL, 0) : UINT64_C(0x9e3779b97f4a7c15);
    struct oracle_slot(*slots)[3] = malloc(count * sizeof(*slots));
    uint8_t *code = malloc(count * 16);
    struct tally tally = {0};
    char folder[64];
    int status;

    if (argc < 2 || !slots || !code || oracle_open(folder))
        return 2;
    for (size_t i = 0; i < count; i++)
        oracle_random_bundle(&state, &code[i * 16]);
    status = oracle_disassemble(argv[1], folder, code, count, slots);
    if (status == ORACLE_SKIP)
        printf("skipped: %s cannot be run\n", argv[1]);
    for (size_t i = 0; !status && i < count; i++)
        compare(&code[i * 16], i * 16, (const struct oracle_slot *)slots[i], &tally);
    if (!status) {
        printf(
            "%zu bundles, %lu slots: %lu instructions, %lu of them in the catalogue, %lu illegal; "
            "differences: legality %lu, text %lu, stops %lu\n",
            count, tally.slots, tally.decoded, tally.sensitive, tally.illegal, tally.legality,
            tally.text, tally.stops);
        status = tally.legality || tally.text || tally.stops || !tally.decoded;
    }
    oracle_close(folder);
    free(code);
    free(slots);
    return status;
}
