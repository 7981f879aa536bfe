/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Every bundle of an IA-64 image's executable sections: decodes, packs again to the same bits, has
 * objdump's text in every slot, and is sensitive where a list of objdump's spellings, written by
 * hand from the manual and sharing nothing with the catalogue, says so.
 * Usage: test_image OBJDUMP IMAGE [LEAST-BUNDLES]
 */
#include <previrt/ia64.h>

#include "oracle.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHOWN_MAX 40

struct tally {
    unsigned long bundles, slots, undecodable, sensitive, theirs_sensitive;
    unsigned long bits, legality, text, stops, sensitivity;
};

static int starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* An operand that only the privileged may touch, or that shows them something else (SDM 2, 3.3). */
static int sensitive_register(const char *operand)
{
    static const char *const files[] = {"rr[",  "dbr[", "ibr[", "pkr[",
                                        "pmc[", "pmd[", "msr[", "cpuid["};

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (starts(operand, files[i]))
            return 1;
    }
    return starts(operand, "psr") || starts(operand, "cr") || starts(operand, "ar.k") ||
           starts(operand, "ar.itc") || starts(operand, "ar.ruc") || starts(operand, "ar.rsc");
}

static int sensitive_text(const char *text)
{
    static const char *const names[] = {
        "rsm ", "ssm ",   "rum ",  "sum ", "itc.", "itr.",   "ptc.",  "ptr.",  "tpa ",  "tak ",
        "rfi",  "thash ", "ttag ", "bsw.", "epc",  "probe.", "cover", "vmsw.", "br.ia."};
    const char *equals;

    if (*text == '(')
        text = strchr(text, ')') + 2;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (starts(text, names[i]))
            return 1;
    }
    if (!starts(text, "mov ") && !starts(text, "mov.i ") && !starts(text, "mov.m "))
        return 0;
    text = strchr(text, ' ') + 1;
    equals = strchr(text, '=');
    return sensitive_register(text) || (equals && sensitive_register(equals + 1));
}

static void compare_slot(const struct previrt_ia64_bundle *bundle, unsigned s, uint64_t address,
                         const struct oracle_slot *theirs, struct tally *tally)
{
    const struct previrt_ia64_template *t = previrt_ia64_template(bundle->template_number);
    int legal = theirs->text[0] && !starts(theirs->text, "data8");
    const struct previrt_ia64_op_info *info;
    struct previrt_ia64_insn insn;
    int ours, sensitive;
    char text[ORACLE_TEXT];
    uint64_t target;

    tally->slots++;
    if (previrt_ia64_decode_slot(bundle, s, &insn) != PREVIRT_OK) {
        tally->undecodable++;
        if (legal && tally->legality++ < SHOWN_MAX)
            printf("%#llx slot %u: illegal here, objdump: %s\n", (unsigned long long)address, s,
                   theirs->text);
        return;
    }
    previrt_ia64_text(&insn, address, text, sizeof(text));
    if (!legal) {
        if (tally->legality++ < SHOWN_MAX)
            printf("%#llx slot %u: illegal in objdump, here: %s\n", (unsigned long long)address, s,
                   text);
        return;
    }
    if (strcmp(text, theirs->text) && tally->text++ < SHOWN_MAX)
        printf("%#llx slot %u: here: %s  objdump: %s\n", (unsigned long long)address, s, text,
               theirs->text);
    if (theirs->stop != (t->stops >> s & 1) && tally->stops++ < SHOWN_MAX)
        printf("%#llx slot %u: stop %u, objdump: %u\n", (unsigned long long)address, s,
               t->stops >> s & 1, theirs->stop);

    /* What names another bundle is encoded anew. */
    if (previrt_ia64_target(&insn, address, &target) == PREVIRT_OK) {
        uint64_t bits = insn.bits, upper = insn.upper;

        if ((previrt_ia64_retarget(&insn, address, target) != PREVIRT_OK || insn.bits != bits ||
             insn.upper != upper) &&
            tally->bits++ < SHOWN_MAX)
            printf("%#llx slot %u: encodes to other bits: %s\n", (unsigned long long)address, s,
                   text);
    }

    info = previrt_ia64_op_info(insn.op);
    sensitive = info && (PREVIRT_IA64_SELECT(info->policy) & PREVIRT_IA64_SELECT_SENSITIVE);
    ours = sensitive_text(theirs->text);
    tally->sensitive += (unsigned)sensitive;
    tally->theirs_sensitive += (unsigned)ours;
    if (sensitive != ours && tally->sensitivity++ < SHOWN_MAX)
        printf("%#llx slot %u: %s here, not so by its text: %s\n", (unsigned long long)address, s,
               sensitive ? "sensitive" : "harmless", theirs->text);
}

static void compare(const uint8_t *bytes, uint64_t address, const struct oracle_slot slots[3],
                    struct tally *tally)
{
    struct previrt_ia64_bundle bundle;
    const struct previrt_ia64_template *t;
    uint8_t again[PREVIRT_IA64_BUNDLE_SIZE];

    tally->bundles++;
    if (previrt_ia64_unpack(bytes, &bundle) != PREVIRT_OK) {
        tally->undecodable++;
        if (!starts(slots[0].text, "data8") && tally->legality++ < SHOWN_MAX)
            printf("%#llx: template %u, objdump: %s\n", (unsigned long long)address,
                   bundle.template_number, slots[0].text);
        return;
    }
    if ((previrt_ia64_pack(&bundle, again) != PREVIRT_OK || memcmp(again, bytes, sizeof(again))) &&
        tally->bits++ < SHOWN_MAX)
        printf("%#llx: packs to other bits\n", (unsigned long long)address);
    t = previrt_ia64_template(bundle.template_number);
    for (unsigned s = 0; s < PREVIRT_IA64_SLOTS; s++) {
        /* objdump shows a long instruction at slot 1 */
        if (t->unit[s] != PREVIRT_IA64_UNIT_L)
            compare_slot(&bundle, s, address, &slots[t->unit[s] == PREVIRT_IA64_UNIT_X ? 1 : s],
                         tally);
    }
}

/* Addresses are offsets in the section: objdump gets no more than its bytes. */
static int section(const char *objdump, const char *folder, const uint8_t *bytes, size_t count,
                   struct tally *tally)
{
    struct oracle_slot(*slots)[3] = malloc(count * sizeof(*slots));
    int status = slots ? oracle_disassemble(objdump, folder, bytes, count, slots) : 1;

    for (size_t i = 0; !status && i < count; i++)
        compare(&bytes[i * PREVIRT_IA64_BUNDLE_SIZE], i * PREVIRT_IA64_BUNDLE_SIZE,
                (const struct oracle_slot *)slots[i], tally);
    free(slots);
    return status;
}

static int image(const char *objdump, const char *folder, const char *path, struct tally *tally)
{
    int file = open(path, O_RDONLY), status = 0;
    Elf *elf = NULL;
    Elf_Scn *scn = NULL;
    GElf_Ehdr header;

    if (file < 0) {
        perror(path);
        return 2;
    }
    elf_version(EV_CURRENT);
    elf = elf_begin(file, ELF_C_READ, NULL);
    if (!elf || !gelf_getehdr(elf, &header) || header.e_machine != EM_IA_64) {
        fprintf(stderr, "%s: not an IA-64 ELF file\n", path);
        status = 2;
    }
    while (!status && (scn = elf_nextscn(elf, scn))) {
        Elf_Data *data;
        GElf_Shdr s;

        if (!gelf_getshdr(scn, &s) || !(s.sh_flags & SHF_EXECINSTR) || s.sh_type != SHT_PROGBITS)
            continue;
        data = elf_rawdata(scn, NULL);
        if (data && data->d_size >= PREVIRT_IA64_BUNDLE_SIZE)
            status = section(objdump, folder, data->d_buf, data->d_size / PREVIRT_IA64_BUNDLE_SIZE,
                             tally);
    }
    elf_end(elf);
    close(file);
    return status;
}

int main(int argc, char **argv)
{
    unsigned long least = argc > 3 ? strtoul(argv[3], NULL, 0) : 1;
    struct tally tally = {0};
    char folder[64];
    int status;

    if (argc < 3 || oracle_open(folder))
        return 2;
    status = image(argv[1], folder, argv[2], &tally);
    oracle_close(folder);
    if (status == ORACLE_SKIP)
        printf("skipped: %s cannot be run\n", argv[1]);
    if (status)
        return status;
    printf(
        "%lu bundles, %lu slots, %lu of them no instruction to both; %lu sensitive (by text %lu); "
        "differences: bits %lu, legality %lu, text %lu, stops %lu, sensitivity %lu\n",
        tally.bundles, tally.slots, tally.undecodable, tally.sensitive, tally.theirs_sensitive,
        tally.bits, tally.legality, tally.text, tally.stops, tally.sensitivity);
    return tally.bundles < least || tally.bits || tally.legality || tally.text || tally.stops ||
           tally.sensitivity;
}
