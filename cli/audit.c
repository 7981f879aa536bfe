/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt audit: proves that no sensitive operation of an image was missed, or says which were. */
#include <argp.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>
#include <previrt/annotate.h>
#include <previrt/audit.h>

#include "cli.h"

#define NO_FEATURE 0xffff

struct settings {
    bool json, all;
    const char *rules, *file;
};

static const char *const verdict_names[PREVIRT_VERDICT_LIMIT] = {
    [PREVIRT_ANNOTATED] = "annotated",
    [PREVIRT_EXCLUDED] = "excluded",
    [PREVIRT_DORMANT] = "dormant",
    [PREVIRT_MISSED] = "missed",
};

static const char *const missed_texts[] = {
    [PREVIRT_MISSED_NO_RECORD] = "no record",
    [PREVIRT_MISSED_OTHER_RECORD] = "the record at its address says something else",
    [PREVIRT_MISSED_NO_ALTERNATIVE] = "in a replacement that no alternative names",
    [PREVIRT_MISSED_ALWAYS] = "its alternative cannot be kept from applying",
};

static const char *const stray_texts[] = {
    [PREVIRT_STRAY_NO_CODE] = "address outside the executable sections",
    [PREVIRT_STRAY_NOT_SENSITIVE] = "no sensitive operation begins there",
    [PREVIRT_STRAY_OTHER] = "another operation, form or length",
    [PREVIRT_STRAY_OVERLAP] = "overlaps the record before it",
    [PREVIRT_STRAY_ARCHITECTURE] = "wrong architecture",
    [PREVIRT_STRAY_NOT_PINNED] = "a table names the bundle, and the record is not pinned",
};

static unsigned audited_arch =
    PREVIRT_ARCH_IA32; /* enum previrt_arch: whose operations are named */

static const char *op_name(unsigned op)
{
    const char *name = cli_op_name(audited_arch, op);

    return name ? name : "nothing";
}

/* "smap", or "word 7 bit 18" of a feature without a name. */
static const char *feature_text(unsigned feature, char text[32])
{
    const char *name = previrt_feature_name(feature);

    if (name)
        return name;
    snprintf(text, 32, "word %u bit %u", feature / 32, feature % 32);
    return text;
}

/* ---- text ---- */

static void print_place(const char *section, uint64_t address, const char *symbol, uint64_t offset)
{
    printf("%s 0x%08" PRIx64, section ? section : "(no section)", address);
    if (symbol)
        printf(" <%s+0x%" PRIx64 ">", symbol, offset);
}

static void print_site(const struct previrt_audit_site *site)
{
    char text[32];

    printf("%-9s  ", verdict_names[site->verdict]);
    if (site->container)
        printf("[%s] ", site->container);
    print_place(site->section, site->address, site->symbol, site->symbol_offset);
    if (audited_arch == PREVIRT_ARCH_IA64)
        printf(" slot %u", site->slot);
    printf("  %s ", op_name(site->op));
    for (unsigned i = 0; i < site->length; i++)
        printf(" %02x", site->bytes[i]);
    if (site->overlapping)
        printf("; inside another instruction");
    switch (site->verdict) {
    case PREVIRT_ANNOTATED:
        if (audited_arch == PREVIRT_ARCH_IA64) {
            printf("%s", site->pinned ? "; pinned" : "");
            break;
        }
        printf("; room %u of %u%s", site->room, site->wanted,
               site->fused ? site->fused == 1 ? ", first of two" : ", second of two" : "");
        break;
    case PREVIRT_EXCLUDED:
        printf("; rule %s", site->rule);
        break;
    case PREVIRT_DORMANT:
        printf("; feature %s%s", feature_text(site->feature, text),
               site->recorded ? "" : ", not recorded");
        break;
    default:
        printf("; %s", missed_texts[site->missed]);
    }
    if (site->overwritten_by != NO_FEATURE)
        printf("; an alternative for %s may overwrite it",
               feature_text(site->overwritten_by, text));
    putchar('\n');
}

static void print_counts(const struct previrt_audit *audit)
{
    printf("%-14s %9s %9s %9s %9s\n", "operation", "annotated", "excluded", "dormant", "missed");
    for (unsigned op = 1; op < PREVIRT_AUDIT_OPS; op++) {
        uint32_t sum = 0;

        for (unsigned verdict = 1; verdict < PREVIRT_VERDICT_LIMIT; verdict++)
            sum += audit->counts[verdict][op];
        if (sum)
            printf("%-14s %9" PRIu32 " %9" PRIu32 " %9" PRIu32 " %9" PRIu32 "\n", op_name(op),
                   audit->counts[PREVIRT_ANNOTATED][op], audit->counts[PREVIRT_EXCLUDED][op],
                   audit->counts[PREVIRT_DORMANT][op], audit->counts[PREVIRT_MISSED][op]);
    }
    printf("%-14s %9" PRIu32 " %9" PRIu32 " %9" PRIu32 " %9" PRIu32 "\n", "all",
           audit->totals[PREVIRT_ANNOTATED], audit->totals[PREVIRT_EXCLUDED],
           audit->totals[PREVIRT_DORMANT], audit->totals[PREVIRT_MISSED]);
}

/* What the dormant sites wait for: this is what a VMM must not let the kernel see. */
static void print_features(const struct previrt_audit *audit)
{
    static uint32_t counts[1 << 16];
    char text[32];

    memset(counts, 0, sizeof(counts));
    for (size_t i = 0; i < audit->site_count; i++)
        if (audit->sites[i].verdict == PREVIRT_DORMANT)
            counts[audit->sites[i].feature]++;
    for (unsigned feature = 0; feature < NO_FEATURE; feature++)
        if (counts[feature])
            printf("dormant: %" PRIu32 " behind %s (%s)\n", counts[feature],
                   feature_text(feature, text),
                   previrt_feature_is_cpuid(feature) ? "a CPUID bit"
                                                     : "set by Linux itself, see docs/audit.md");
}

static void print_rules(const struct previrt_audit *audit)
{
    /* few rules, many sites: print each rule at its first site */
    for (size_t i = 0; i < audit->site_count; i++) {
        const struct previrt_audit_site *site = &audit->sites[i];
        size_t count = 0;

        if (site->verdict != PREVIRT_EXCLUDED)
            continue;
        for (size_t k = 0; k < i; k++)
            if (audit->sites[k].verdict == PREVIRT_EXCLUDED && audit->sites[k].rule == site->rule)
                count = SIZE_MAX;
        if (count == SIZE_MAX)
            continue;
        for (size_t k = i; k < audit->site_count; k++)
            count +=
                audit->sites[k].verdict == PREVIRT_EXCLUDED && audit->sites[k].rule == site->rule;
        printf("excluded: %zu by rule %s: %s\n", count, site->rule, site->reason);
    }
}

static void print_shortfalls(const struct previrt_audit *audit)
{
    uint32_t counts[PREVIRT_AUDIT_OPS] = {0};
    const char *separator = " ";

    if (!audit->shortfalls)
        return;
    printf("room: %" PRIu64 " sites have less than the catalogue wants:", audit->shortfalls);
    for (size_t i = 0; i < audit->site_count; i++)
        if (audit->sites[i].verdict == PREVIRT_ANNOTATED &&
            audit->sites[i].room < audit->sites[i].wanted && audit->sites[i].fused != 2)
            counts[audit->sites[i].op]++;
    for (unsigned op = 1; op < PREVIRT_AUDIT_OPS; op++) {
        if (counts[op]) {
            printf("%s%s %" PRIu32, separator, op_name(op), counts[op]);
            separator = ", ";
        }
    }
    putchar('\n');
}

static void print_audit(const struct settings *settings, const struct previrt_audit *audit)
{
    for (size_t i = 0; i < audit->site_count; i++) {
        const struct previrt_audit_site *site = &audit->sites[i];

        if (settings->all || site->verdict == PREVIRT_MISSED ||
            (site->overwritten_by != NO_FEATURE && site->verdict != PREVIRT_DORMANT))
            print_site(site);
    }
    for (size_t i = 0; i < audit->stray_count; i++) {
        const struct previrt_audit_stray *stray = &audit->strays[i];

        printf("stray      ");
        print_place(stray->section, stray->address, stray->symbol, stray->symbol_offset);
        if (stray->record.arch == PREVIRT_ARCH_IA64)
            printf(" slot %u  record of %s: %s", stray->record.slot, op_name(stray->record.op),
                   stray_texts[stray->why]);
        else
            printf("  record of %s, form %u, length %u, pad %u: %s", op_name(stray->record.op),
                   stray->record.form, stray->record.length, stray->record.pad,
                   stray_texts[stray->why]);
        if (stray->status)
            printf(" (%s)", previrt_strerror(stray->status));
        if (stray->found)
            printf(", there is %s", op_name(stray->found));
        putchar('\n');
    }
    for (size_t i = 0; i < audit->undecided_count; i++) {
        const struct previrt_audit_undecided *range = &audit->undecided[i];

        printf("undecided  ");
        print_place(range->section, range->address, range->symbol, range->symbol_offset);
        printf("  %" PRIu64 " bytes: %s; %s%s\n", range->length,
               range->out_of_sync ? "an instruction reaches over an entry point" : "not decodable",
               range->op ? "could hide " : "no sensitive operation can hide there",
               range->op ? op_name(range->op) : "");
    }
    print_counts(audit);
    print_rules(audit);
    print_features(audit);
    print_shortfalls(audit);
    if (audit->check_status) {
        printf("table: %s", previrt_strerror(audit->check_status));
        printf(" (record of %s at 0x%08" PRIx64 ")\n", op_name(audit->check_record.op),
               audit->check_record.address);
    }
    if (audited_arch == PREVIRT_ARCH_IA64)
        printf("%s: %" PRIu64 " records are pinned; %" PRIu64 " images kept in data\n",
               settings->file, audit->pinned, audit->images);
    if (audit->odd_alternatives)
        printf(".altinstructions has no shape that is known: replacements count as missed\n");
    if (!audit->has_symbols && audited_arch == PREVIRT_ARCH_IA32)
        printf(
            "no symbols: a linear sweep, which data in text can mislead without being noticed\n");
    printf("%s: %s%" PRIu64 " records (%" PRIu64 " dormant), %" PRIu64 " instructions, %" PRIu64
           " bytes of code, %" PRIu64 " of data, %" PRIu64 " of filler, %" PRIu64 " undecided\n",
           settings->file, audit->has_table ? "" : "no patch-up table, ", audit->records,
           audit->dormant_records, audit->instructions, audit->code_bytes, audit->data_bytes,
           audit->filler_bytes, audit->undecided_bytes);
    printf("%s: %" PRIu32 " annotated, %" PRIu32 " excluded, %" PRIu32 " dormant, %" PRIu32
           " missed, %zu stray records\n",
           settings->file, audit->totals[PREVIRT_ANNOTATED], audit->totals[PREVIRT_EXCLUDED],
           audit->totals[PREVIRT_DORMANT], audit->totals[PREVIRT_MISSED], audit->stray_count);
}

/* ---- JSON ---- */

static void set_place(struct json_object *object, const char *section, uint64_t address,
                      const char *symbol, uint64_t offset)
{
    cli_json_set_string(object, "section", section);
    cli_json_set(object, "address", cli_json_address(address));
    cli_json_set_string(object, "symbol", symbol);
    if (symbol)
        cli_json_set_number(object, "symbol_offset", offset);
}

static struct json_object *json_feature(unsigned feature)
{
    struct json_object *object;
    char text[32];

    if (feature == NO_FEATURE)
        return NULL;
    object = json_object_new_object();
    cli_json_set_number(object, "number", feature);
    cli_json_set_string(object, "name", feature_text(feature, text));
    cli_json_set_bool(object, "cpuid", previrt_feature_is_cpuid(feature));
    return object;
}

static struct json_object *json_site(const struct previrt_audit_site *site)
{
    struct json_object *object = json_object_new_object();

    cli_json_set_string(object, "verdict", verdict_names[site->verdict]);
    cli_json_set_string(object, "operation", op_name(site->op));
    set_place(object, site->section, site->address, site->symbol, site->symbol_offset);
    cli_json_set(object, "bytes", cli_json_bytes(site->bytes, site->length));
    if (site->verdict == PREVIRT_MISSED)
        cli_json_set_string(object, "why", missed_texts[site->missed]);
    if (site->rule) {
        cli_json_set_string(object, "rule", site->rule);
        cli_json_set_string(object, "reason", site->reason);
    }
    if (site->container)
        cli_json_set_string(object, "container", site->container);
    if (audited_arch == PREVIRT_ARCH_IA64) {
        cli_json_set_number(object, "slot", site->slot);
        cli_json_set_bool(object, "pinned", site->pinned);
    } else if (site->verdict == PREVIRT_ANNOTATED) {
        cli_json_set_number(object, "form", site->form);
        cli_json_set_number(object, "room", site->room);
        cli_json_set_number(object, "wanted", site->wanted);
        if (site->fused)
            cli_json_set_number(object, "fused", site->fused);
    }
    if (site->feature != NO_FEATURE)
        cli_json_set(object, "feature", json_feature(site->feature));
    if (site->verdict == PREVIRT_DORMANT)
        cli_json_set_bool(object, "recorded", site->recorded);
    if (site->overwritten_by != NO_FEATURE)
        cli_json_set(object, "overwritten_by", json_feature(site->overwritten_by));
    if (site->overlapping)
        cli_json_set_bool(object, "overlapping", true);
    return object;
}

static int print_json(const struct settings *settings, const struct previrt_audit *audit)
{
    struct json_object *root = json_object_new_object(), *object, *array;

    cli_json_set_string(root, "file", settings->file);
    cli_json_set_string(root, "architecture",
                        audited_arch == PREVIRT_ARCH_IA64 ? "ia64"
                        : audit->bits == 64               ? "x86-64"
                                                          : "ia32");
    cli_json_set_number(root, "bits", audit->bits);
    cli_json_set_bool(root, "findings", previrt_audit_has_findings(audit));
    cli_json_set_bool(root, "table", audit->has_table);
    cli_json_set_string(root, "table_check", previrt_strerror(audit->check_status));
    cli_json_set_bool(root, "symbols", audit->has_symbols);
    cli_json_set_number(root, "records", audit->records);
    cli_json_set_number(root, "dormant_records", audit->dormant_records);
    cli_json_set_number(root, "alternatives", audit->alternatives);
    cli_json_set_bool(root, "alternatives_understood", !audit->odd_alternatives);
    cli_json_set_number(root, "shortfalls", audit->shortfalls);
    cli_json_set_number(root, "instructions", audit->instructions);
    cli_json_set_number(root, "code_bytes", audit->code_bytes);
    cli_json_set_number(root, "data_bytes", audit->data_bytes);
    cli_json_set_number(root, "filler_bytes", audit->filler_bytes);
    cli_json_set_number(root, "undecided_bytes", audit->undecided_bytes);
    if (audited_arch == PREVIRT_ARCH_IA64) {
        cli_json_set_number(root, "pinned", audit->pinned);
        cli_json_set_number(root, "images", audit->images);
    }

    object = json_object_new_object();
    for (unsigned verdict = 1; verdict < PREVIRT_VERDICT_LIMIT; verdict++)
        cli_json_set_number(object, verdict_names[verdict], audit->totals[verdict]);
    cli_json_set_number(object, "stray", audit->stray_count);
    cli_json_set(root, "totals", object);

    object = json_object_new_object();
    for (unsigned op = 1; op < PREVIRT_AUDIT_OPS; op++) {
        struct json_object *row = NULL;

        for (unsigned verdict = 1; verdict < PREVIRT_VERDICT_LIMIT; verdict++) {
            if (!audit->counts[verdict][op])
                continue;
            if (!row)
                row = json_object_new_object();
            cli_json_set_number(row, verdict_names[verdict], audit->counts[verdict][op]);
        }
        if (row)
            cli_json_set(object, op_name(op), row);
    }
    cli_json_set(root, "operations", object);

    array = json_object_new_array();
    for (size_t i = 0; i < audit->site_count; i++)
        json_object_array_add(array, json_site(&audit->sites[i]));
    cli_json_set(root, "sites", array);

    array = json_object_new_array();
    for (size_t i = 0; i < audit->stray_count; i++) {
        const struct previrt_audit_stray *stray = &audit->strays[i];

        object = json_object_new_object();
        set_place(object, stray->section, stray->address, stray->symbol, stray->symbol_offset);
        cli_json_set_string(object, "why", stray_texts[stray->why]);
        if (stray->status)
            cli_json_set_string(object, "match", previrt_strerror(stray->status));
        cli_json_set_string(object, "operation", op_name(stray->record.op));
        if (stray->record.arch == PREVIRT_ARCH_IA64)
            cli_json_set_number(object, "slot", stray->record.slot);
        cli_json_set_number(object, "form", stray->record.form);
        cli_json_set_number(object, "length", stray->record.length);
        cli_json_set_number(object, "pad", stray->record.pad);
        cli_json_set_string(object, "found", stray->found ? op_name(stray->found) : NULL);
        json_object_array_add(array, object);
    }
    cli_json_set(root, "strays", array);

    array = json_object_new_array();
    for (size_t i = 0; i < audit->undecided_count; i++) {
        const struct previrt_audit_undecided *range = &audit->undecided[i];

        object = json_object_new_object();
        set_place(object, range->section, range->address, range->symbol, range->symbol_offset);
        cli_json_set_number(object, "length", range->length);
        cli_json_set_bool(object, "out_of_sync", range->out_of_sync);
        cli_json_set_string(object, "could_hide", range->op ? op_name(range->op) : NULL);
        json_object_array_add(array, object);
    }
    cli_json_set(root, "undecided", array);
    return cli_json_print(root);
}

/* ---- the verb ---- */

static int load_rules(const char *path, unsigned arch, struct previrt_rules **rules)
{
    struct previrt_rules_error error = {0};
    uint8_t *text;
    size_t size;
    int status;

    if (!path) {
        status = previrt_rules_default_for(arch, rules);
        return status ? cli_fail(status, "the built-in rules") : CLI_OK;
    }
    status = cli_read_file(path, &text, &size);
    if (status)
        return status;
    status = previrt_rules_parse((const char *)text, size, rules, &error);
    free(text);
    if (status == PREVIRT_E_MALFORMED && error.text) {
        cli_error("%s:%u: %s", path, error.line, error.text);
        return CLI_MALFORMED;
    }
    return status ? cli_fail(status, path) : CLI_OK;
}

/* e_machine of a file: for the rules, and for the message if it is refused. */
static unsigned machine_of(const char *path)
{
    uint8_t header[offsetof(Elf32_Ehdr, e_version)] = {0};
    FILE *file = fopen(path, "rb");
    unsigned machine = 0;

    if (!file)
        return 0;
    if (fread(header, 1, sizeof(header), file) == sizeof(header)) {
        const uint8_t *at = header + offsetof(Elf32_Ehdr, e_machine);

        machine = header[EI_DATA] == ELFDATA2MSB ? at[0] << 8 | at[1] : at[1] << 8 | at[0];
    }
    fclose(file);
    return machine;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'j':
        settings->json = true;
        return 0;
    case 'a':
        settings->all = true;
        return 0;
    case 'r':
        settings->rules = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (settings->file)
            argp_error(state, "one file at a time, not also \"%s\"", argument);
        settings->file = argument;
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_audit(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"json", 'j', 0, 0, "Print JSON, with every site", 0},
        {"all", 'a', 0, 0, "List every site, not only the missed ones", 0},
        {"rules", 'r', "FILE", 0, "Exclusion rules instead of the built-in ones", 0},
        {0},
    };
    static const struct argp argp = {
        argp_options,
        parse,
        "FILE",
        "Disassembles every executable section of a kernel, module or object and proves each "
        "sensitive operation to be annotated, excluded by a rule, or dormant. Exit status 1: "
        "something was missed, a record names no operation, or undecided bytes could hide one.",
        NULL,
        NULL,
        NULL};
    struct settings settings = {0};
    struct previrt_audit_options options = {.size = sizeof(options)};
    const struct previrt_audit *audit;
    struct previrt_rules *rules;
    int status;

    argp_parse(&argp, argc, argv, 0, NULL, &settings);
    if (machine_of(settings.file) == EM_IA_64)
        audited_arch = PREVIRT_ARCH_IA64;
    status = load_rules(settings.rules, audited_arch, &rules);
    if (status)
        return status;
    options.rules = rules;
    options.path = settings.file;
    status = previrt_audit_file(settings.file, &options, &audit);
    if (status == PREVIRT_E_ARCH) {
        unsigned machine = machine_of(settings.file);

        cli_error("%s: the ELF machine is %u; only IA32 (%u), x86-64 (%u) and IA-64 (%u, ELF64) "
                  "are supported",
                  settings.file, machine, EM_386, EM_X86_64, EM_IA_64);
        status = CLI_MALFORMED;
    } else if (status == PREVIRT_E_IO) {
        cli_error("%s: %s", settings.file, strerror(errno));
        status = CLI_IO;
    } else if (status) {
        status = cli_fail(status, settings.file);
    } else {
        if (settings.json)
            status = print_json(&settings, audit);
        else
            print_audit(&settings, audit);
        if (!status && previrt_audit_has_findings(audit))
            status = CLI_FINDINGS;
        previrt_audit_free(audit);
    }
    previrt_rules_free(rules);
    return status;
}
