/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Everything that the decoder knows, through the assembler: each row of the instruction table with
 * random operands is written as text, assembled in explicit mode, and must decode to the same row
 * and text again; and a hand-written list of system instructions must be classified as it says.
 * Usage: test_assembled TOOL-PREFIX SYSTEM-LIST [VARIANTS]
 */
#include "ia64/internal.h"

#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORM_MAX       40000
#define ROW_TRIES      64
#define N(low, length) (((UINT64_C(1) << (length)) - 1) << (low))
#define SLOT_MASK      ((UINT64_C(1) << PREVIRT_IA64_SLOT_BITS) - 1)

struct form {
    char text[ORACLE_TEXT];
    const char *name;
    size_t line;
    unsigned op;
    uint8_t unit; /* of the slot */
};

static struct form forms[FORM_MAX];
static size_t form_count;
static uint8_t code[FORM_MAX * 16];

/* Where an instruction of each unit stands: a template line, fillers, and its slot. */
static unsigned place(char *out, size_t room, unsigned unit, const char *text)
{
    switch (unit) {
    case PREVIRT_IA64_UNIT_M:
        snprintf(out, room, "{ .mmi\n%s ;;\nnop.m 0\nnop.i 0 ;;\n}\n", text);
        return 0;
    case PREVIRT_IA64_UNIT_I:
        snprintf(out, room, "{ .mii\nnop.m 0\n%s\nnop.i 0 ;;\n}\n", text);
        return 1;
    case PREVIRT_IA64_UNIT_F:
        snprintf(out, room, "{ .mfi\nnop.m 0\n%s\nnop.i 0 ;;\n}\n", text);
        return 1;
    case PREVIRT_IA64_UNIT_B:
        snprintf(out, room, "{ .mib\nnop.m 0\nnop.i 0\n%s ;;\n}\n", text);
        return 2;
    default:
        snprintf(out, room, "{ .mlx\nnop.m 0\n%s ;;\n}\n", text);
        return 2;
    }
}

/* IP-relative numbers become expressions on a label in the section, or the assembler relocates
 * them. */
static void relative_to_label(char *text)
{
    char from[ORACLE_TEXT];
    char *write = text;

    strcpy(from, text);
    for (char *read = from; *read;) {
        if (!strncmp(read, "0x", 2)) {
            memcpy(write, "code+", 5);
            write += 5;
            *write++ = *read++;
        } else {
            *write++ = *read++;
        }
    }
    *write = '\0';
}

static int add_rows(unsigned variants)
{
    uint64_t state = UINT64_C(0x123456789abcdef1);
    const struct pv_ia64_row *row;
    int missed = 0;

    for (size_t r = 0; (row = pv_ia64_row(r)); r++) {
        unsigned made = 0;

        for (unsigned try = 0; try < ROW_TRIES * variants && made < variants; try++) {
            /* units in turn: A rows go to M and to I slots */
            unsigned unit = row->unit != PREVIRT_IA64_UNIT_A ? row->unit
                            : try & 1                        ? PREVIRT_IA64_UNIT_I
                                                             : PREVIRT_IA64_UNIT_M;
            uint64_t bits = (oracle_random(&state) & SLOT_MASK & ~row->mask) | row->match;
            uint64_t upper = oracle_random(&state) & SLOT_MASK;
            struct previrt_ia64_insn insn;
            struct form *f = &forms[form_count];

            /* reserved bits of instructions without predicate */
            if (row->effects & PREVIRT_IA64_NO_QP && !(row->effects & PREVIRT_IA64_IP_HINT))
                bits &= ~UINT64_C(63);
            /* the assembler refuses r0 as a result, one predicate twice, and a shift by 4 although
             * it is printed */
            if (!(bits >> 6 & 0x7f) || (bits >> 6 & 0x3f) == (bits >> 27 & 0x3f) ||
                (row->effects & (PREVIRT_IA64_LOADS | PREVIRT_IA64_STORES) && !(bits >> 20 & 0x7f)))
                continue;
            if (!strncmp(row->name, "psh", 3) && strstr(row->name, "add2") && (bits >> 27 & 3) == 3)
                continue;
            /* application registers belong to one unit or the other (SDM 1, 3.1.8) */
            if ((!strcmp(row->name, "mov.i") && (bits >> 20 & 0x7f) < 48) ||
                (!strcmp(row->name, "mov.m") && (bits >> 20 & 0x7f) > 63 &&
                 (bits >> 20 & 0x7f) < 112))
                continue;
            /* alloc: sof at most 96, sol and the rotating part no larger */
            if (!strcmp(row->name, "alloc"))
                bits = (bits & ~(N(13, 7) | N(20, 7) | N(27, 4))) | UINT64_C(90) << 13 |
                       (bits >> 20 & 63) << 20 | (bits >> 27 & 7) << 27;
            /* a class without a sign means both signs to the assembler */
            if (!strncmp(row->name, "fclass", 6) && !(bits >> 33 & 3))
                continue;
            if (form_count == FORM_MAX ||
                previrt_ia64_decode(unit, bits, upper, &insn) != PREVIRT_OK ||
                insn.name != row->name || insn.op != row->op || insn.format != row->format)
                continue;
            previrt_ia64_text(&insn, form_count * 16, f->text, sizeof(f->text));
            f->name = insn.name;
            f->op = insn.op;
            f->unit = (uint8_t)unit;
            f->line = r;
            form_count++;
            made++;
        }
        if (!made) {
            printf("row %zu (%s) is never decoded\n", r, row->name);
            missed++;
        }
    }
    printf("%zu forms of the table's rows\n", form_count);
    return missed;
}

static int add_list(const char *path)
{
    static const char letters[] = "?MIFBLX";
    char line[ORACLE_TEXT], *name, *text;
    FILE *f = fopen(path, "r");
    size_t first = form_count, number = 0;

    if (!f) {
        perror(path);
        return 1;
    }
    while (fgets(line, sizeof(line), f)) {
        number++;
        line[strcspn(line, "\n")] = '\0';
        name = strchr(line, '\t');
        text = name ? strchr(name + 1, '\t') : NULL;
        if (line[0] == '#' || !text || form_count == FORM_MAX)
            continue;
        *name++ = '\0';
        *text++ = '\0';
        forms[form_count].op = strcmp(name, "-") ? previrt_ia64_op_by_name(name) : 0;
        if (strcmp(name, "-") && !forms[form_count].op)
            printf("%s:%zu: %s is not in the catalogue\n", path, number, name);
        forms[form_count].unit = (uint8_t)(strchr(letters, line[0]) - letters);
        forms[form_count].name = NULL;
        forms[form_count].line = number;
        strcpy(forms[form_count++].text, text);
    }
    fclose(f);
    printf("%zu instructions of the list\n", form_count - first);
    return form_count == first;
}

int main(int argc, char **argv)
{
    unsigned variants = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 0) : 8;
    size_t source_room = FORM_MAX * 200, source_size = 0, size = sizeof(code), list;
    char *source = malloc(source_room), folder[64];
    int status, warnings, bad, seen[PREVIRT_IA64_OP_LIMIT] = {0};

    if (argc < 3 || !source || oracle_open(folder))
        return 2;
    bad = add_rows(variants);
    list = form_count;
    bad += add_list(argv[2]);
    source_size = (size_t)sprintf(source, ".text\ncode:\n");
    for (size_t i = 0; i < form_count; i++) {
        const struct pv_ia64_row *row = i < list ? pv_ia64_row(forms[i].line) : NULL;
        char text[ORACLE_TEXT];

        strcpy(text, forms[i].text);
        if (row)
            oracle_assembler_text(text);
        if (row && row->effects & (PREVIRT_IA64_IP_RELATIVE | PREVIRT_IA64_IP_HINT))
            relative_to_label(text);
        place(source + source_size, source_room - source_size, forms[i].unit, text);
        source_size += strlen(source + source_size);
    }
    status = oracle_assemble(argv[1], folder, "-xnone", source, code, &size, &warnings);
    if (status == ORACLE_SKIP)
        printf("skipped: %sas cannot be run\n", argv[1]);
    if (!status && size < form_count * 16) {
        printf("%zu bytes for %zu forms\n", size, form_count);
        bad++;
    }
    for (size_t i = 0; !status && i < form_count; i++) {
        struct previrt_ia64_bundle bundle;
        struct previrt_ia64_insn insn;
        char ignored[256], text[ORACLE_TEXT] = "";
        unsigned slot = place(ignored, sizeof(ignored), forms[i].unit, "");

        if (previrt_ia64_unpack(&code[i * 16], &bundle) != PREVIRT_OK ||
            previrt_ia64_decode_slot(&bundle, slot, &insn) != PREVIRT_OK) {
            printf("%s: assembled, but not decoded\n", forms[i].text);
            bad++;
            continue;
        }
        previrt_ia64_text(&insn, i * 16, text, sizeof(text));
        seen[insn.op]++;
        if (insn.op != forms[i].op ||
            (forms[i].name && (insn.name != forms[i].name || strcmp(text, forms[i].text)))) {
            printf("%s: assembled and decoded: %s (%u, not %u)\n", forms[i].text, text, insn.op,
                   forms[i].op);
            bad++;
        }
    }
    for (unsigned op = 1; !status && op < PREVIRT_IA64_OP_LIMIT; op++)
        if (previrt_ia64_op_info(op) && !seen[op]) {
            printf("no form of %s\n", previrt_ia64_op_info(op)->name);
            bad++;
        }
    if (!status)
        printf("%zu forms assembled and decoded, %d differences, %d assembler messages\n",
               form_count, bad, warnings);
    oracle_close(folder);
    free(source);
    return status ? status : bad || warnings;
}
