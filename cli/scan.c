/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt scan: counts the sensitive operations of executables, objects, modules and archives. */
#include <argp.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>
#include <previrt/scan.h>

#include "cli.h"

struct settings {
    bool json, by_symbol, sites;
    unsigned bits;
    char **files;
    size_t file_count;
};

/* Counts of one symbol, in the order in which the symbols appear. */
struct symbol_row {
    char *name, *section;
    uint32_t counts[PREVIRT_IA32_OP_LIMIT];
    uint32_t total;
};

struct run {
    const struct settings *settings;
    const char *path;
    char *member;                   /* a copy, NULL: the file is no archive */
    struct json_object *json_sites; /* array, or NULL */
    struct symbol_row *rows;
    size_t row_count, row_capacity;
};

static int on_object(void *context, const char *member)
{
    struct run *run = context;

    /* a copy: after a failure, which names it, the archive is gone */
    free(run->member);
    run->member = member ? strdup(member) : NULL;
    return member && !run->member ? PREVIRT_E_MEMORY : 0;
}

static void print_site(const struct run *run, const struct previrt_scan_site *site)
{
    printf("%s", run->path);
    if (run->member)
        printf("(%s)", run->member);
    printf(": %s 0x%08" PRIx64, site->section, site->address);
    if (site->symbol)
        printf(" <%s+0x%" PRIx64 ">", site->symbol, site->symbol_offset);
    printf(" %s%s  ", previrt_ia32_op_info(site->op)->name,
           site->overlapping ? " (inside another instruction)" : "");
    for (unsigned i = 0; i < site->length; i++)
        printf(" %02x", site->bytes[i]);
    putchar('\n');
}

static void add_json_site(struct run *run, const struct previrt_scan_site *site)
{
    struct json_object *object = json_object_new_object();

    if (run->member)
        cli_json_set_string(object, "member", run->member);
    cli_json_set_string(object, "section", site->section);
    cli_json_set(object, "address", cli_json_address(site->address));
    cli_json_set_string(object, "symbol", site->symbol);
    cli_json_set_number(object, "symbol_offset", site->symbol_offset);
    cli_json_set_string(object, "operation", previrt_ia32_op_info(site->op)->name);
    cli_json_set(object, "bytes", cli_json_bytes(site->bytes, site->length));
    if (site->overlapping)
        cli_json_set_bool(object, "overlapping", true);
    json_object_array_add(run->json_sites, object);
}

/* Sites come in address order, so those of one symbol come together. */
static int add_to_symbol(struct run *run, const struct previrt_scan_site *site)
{
    const char *name = site->symbol ? site->symbol : "(no symbol)";
    struct symbol_row *row = run->row_count ? &run->rows[run->row_count - 1] : NULL;

    if (!row || strcmp(row->name, name) != 0 || strcmp(row->section, site->section) != 0) {
        if (run->row_count == run->row_capacity) {
            size_t capacity = run->row_capacity ? run->row_capacity * 2 : 256;
            struct symbol_row *grown = realloc(run->rows, capacity * sizeof(*grown));

            if (!grown)
                return PREVIRT_E_MEMORY;
            run->rows = grown;
            run->row_capacity = capacity;
        }
        row = &run->rows[run->row_count];
        memset(row, 0, sizeof(*row));
        row->name = strdup(name);
        row->section = strdup(site->section);
        if (!row->name || !row->section) {
            free(row->name);
            free(row->section);
            return PREVIRT_E_MEMORY;
        }
        run->row_count++;
    }
    row->counts[site->op]++;
    row->total++;
    return 0;
}

static int on_site(void *context, const struct previrt_scan_site *site)
{
    struct run *run = context;

    if (run->settings->sites) {
        if (run->settings->json)
            add_json_site(run, site);
        else
            print_site(run, site);
    }
    return run->settings->by_symbol ? add_to_symbol(run, site) : 0;
}

static struct json_object *json_counts(const uint32_t *counts)
{
    struct json_object *object = json_object_new_object();

    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++)
        if (counts[op])
            cli_json_set_number(object, previrt_ia32_op_info(op)->name, counts[op]);
    return object;
}

static void print_symbols(struct run *run)
{
    for (size_t i = 0; i < run->row_count; i++) {
        const struct symbol_row *row = &run->rows[i];
        const char *separator = "";

        printf("%6" PRIu32 "  %s  %s:", row->total, row->section, row->name);
        for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
            if (row->counts[op]) {
                printf("%s %s %" PRIu32, separator, previrt_ia32_op_info(op)->name,
                       row->counts[op]);
                separator = ",";
            }
        }
        putchar('\n');
    }
}

static void drop_symbols(struct run *run)
{
    for (size_t i = 0; i < run->row_count; i++) {
        free(run->rows[i].name);
        free(run->rows[i].section);
    }
    free(run->rows);
}

static void print_counts(const char *path, const struct previrt_scan_result *result)
{
    printf("%s: %" PRIu64 " sensitive operations, %u-bit, %" PRIu64 " instructions, %" PRIu64
           " bytes of code",
           path, result->sites, result->bits, result->instructions, result->code_bytes);
    if (result->data_bytes)
        printf(", %" PRIu64 " of data", result->data_bytes);
    if (result->undecided_bytes)
        printf(", %" PRIu64 " undecided", result->undecided_bytes);
    if (result->objects > 1 || result->skipped)
        printf(", %" PRIu32 " objects", result->objects);
    if (result->skipped)
        printf(", %" PRIu32 " members that are no objects", result->skipped);
    putchar('\n');
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++)
        if (result->counts[op])
            printf("%8" PRIu32 "  %s\n", result->counts[op], previrt_ia32_op_info(op)->name);
}

static struct json_object *json_result(const char *path, const struct previrt_scan_result *result,
                                       struct run *run)
{
    struct json_object *object = json_object_new_object();

    cli_json_set_string(object, "file", path);
    cli_json_set_number(object, "bits", result->bits);
    cli_json_set_number(object, "objects", result->objects);
    cli_json_set_number(object, "sites", result->sites);
    cli_json_set_number(object, "instructions", result->instructions);
    cli_json_set_number(object, "code_bytes", result->code_bytes);
    cli_json_set_number(object, "data_bytes", result->data_bytes);
    cli_json_set_number(object, "filler_bytes", result->filler_bytes);
    cli_json_set_number(object, "undecided_bytes", result->undecided_bytes);
    cli_json_set(object, "operations", json_counts(result->counts));
    if (run->settings->by_symbol) {
        struct json_object *symbols = json_object_new_array();

        for (size_t i = 0; i < run->row_count; i++) {
            struct json_object *row = json_object_new_object();

            cli_json_set_string(row, "symbol", run->rows[i].name);
            cli_json_set_string(row, "section", run->rows[i].section);
            cli_json_set_number(row, "sites", run->rows[i].total);
            cli_json_set(row, "operations", json_counts(run->rows[i].counts));
            json_object_array_add(symbols, row);
        }
        cli_json_set(object, "symbols", symbols);
    }
    if (run->json_sites)
        cli_json_set(object, "site_list", json_object_get(run->json_sites));
    return object;
}

static int report_failure(const char *path, const char *member, int status,
                          const struct previrt_scan_result *result)
{
    char where[4200];

    if (member)
        snprintf(where, sizeof(where), "%s(%s)", path, member);
    else
        snprintf(where, sizeof(where), "%s", path);
    switch (status) {
    case PREVIRT_E_ARCH:
        if (result->machine == EM_IA_64)
            cli_error("%s: IA-64 is not supported yet (ELF machine %u)", where, result->machine);
        else
            cli_error("%s: the ELF machine is %u, neither IA32 (%u) nor x86-64 (%u)", where,
                      result->machine, EM_386, EM_X86_64);
        return CLI_MALFORMED;
    case PREVIRT_E_IO:
        cli_error("%s: %s", where, strerror(errno));
        return CLI_IO;
    default:
        return cli_fail(status, where);
    }
}

static int scan_one(const struct settings *settings, const char *path,
                    struct previrt_scan_result *sum, struct json_object *files)
{
    struct run run = {.settings = settings, .path = path};
    struct previrt_scan_result result = {.size = sizeof(result)};
    struct previrt_scan_options options = {
        .size = sizeof(options),
        .bits = settings->bits,
        .object = on_object,
        .site = settings->sites || settings->by_symbol ? on_site : NULL,
        .context = &run,
    };
    int status;

    if (settings->json && settings->sites)
        run.json_sites = json_object_new_array();
    status = previrt_scan_file(path, &options, &result);
    if (status) {
        status = report_failure(path, run.member, status, &result);
        goto out;
    }
    if (files) {
        json_object_array_add(files, json_result(path, &result, &run));
    } else {
        if (settings->by_symbol)
            print_symbols(&run);
        print_counts(path, &result);
    }
    sum->sites += result.sites;
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++)
        sum->counts[op] += result.counts[op];
out:
    json_object_put(run.json_sites);
    drop_symbols(&run);
    free(run.member);
    return status;
}

enum { OPTION_BITS = 0x100 };

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'j':
        settings->json = true;
        return 0;
    case 's':
        settings->by_symbol = true;
        return 0;
    case 'l':
        settings->sites = true;
        return 0;
    case OPTION_BITS:
        if (strcmp(argument, "16") == 0 || strcmp(argument, "32") == 0 ||
            strcmp(argument, "64") == 0)
            settings->bits = (unsigned)atoi(argument);
        else
            argp_error(state, "--bits=%s: 16, 32 or 64", argument);
        return 0;
    case ARGP_KEY_ARGS:
        settings->files = state->argv + state->next;
        settings->file_count = (size_t)(state->argc - state->next);
        return 0;
    case ARGP_KEY_NO_ARGS:
        argp_error(state, "no file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_scan(int argc, char **argv)
{
    static const struct argp_option argp_options[] = {
        {"json", 'j', 0, 0, "Print JSON", 0},
        {"by-symbol", 's', 0, 0, "Also count by function", 0},
        {"sites", 'l', 0, 0, "Also list every site", 0},
        {"bits", OPTION_BITS, "16|32|64", 0,
         "The files hold code of this size, whatever their header says (16: .code16)", 0},
        {0},
    };
    static const struct argp argp = {
        argp_options,
        parse,
        "FILE...",
        "Counts the sensitive operations, by class, of ELF executables, objects, modules and ar "
        "archives (thin ones too), IA32 and x86-64.",
        NULL,
        NULL,
        NULL};
    struct settings settings = {0};
    struct previrt_scan_result sum = {.size = sizeof(sum)};
    struct json_object *root = NULL, *files = NULL;
    int worst = CLI_OK;

    argp_parse(&argp, argc, argv, 0, NULL, &settings);
    if (settings.json) {
        root = json_object_new_object();
        files = json_object_new_array();
    }
    for (size_t i = 0; i < settings.file_count; i++) {
        int status = scan_one(&settings, settings.files[i], &sum, files);

        if (status > worst)
            worst = status;
    }
    if (root) {
        cli_json_set(root, "files", files);
        cli_json_set_number(root, "sites", sum.sites);
        cli_json_set(root, "operations", json_counts(sum.counts));
        if (cli_json_print(root))
            worst = CLI_IO;
    } else if (settings.file_count > 1) {
        printf("all %zu files: %" PRIu64 " sensitive operations\n", settings.file_count, sum.sites);
        for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++)
            if (sum.counts[op])
                printf("%8" PRIu32 "  %s\n", sum.counts[op], previrt_ia32_op_info(op)->name);
    }
    return worst;
}
