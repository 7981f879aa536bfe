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
    uint32_t counts[PREVIRT_SCAN_OPS];
    uint32_t total;
    unsigned arch;
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
    printf(": ");
    if (site->container)
        printf("[%s] ", site->container);
    printf("%s 0x%08" PRIx64, site->section, site->address);
    if (site->arch == PREVIRT_ARCH_IA64)
        printf(":%u", site->slot);
    if (site->symbol)
        printf(" <%s+0x%" PRIx64 ">", site->symbol, site->symbol_offset);
    printf(" %s%s  ", cli_op_name(site->arch, site->op),
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
    if (site->container)
        cli_json_set_string(object, "container", site->container);
    cli_json_set(object, "address", cli_json_address(site->address));
    if (site->arch == PREVIRT_ARCH_IA64)
        cli_json_set_number(object, "slot", site->slot);
    cli_json_set_string(object, "symbol", site->symbol);
    cli_json_set_number(object, "symbol_offset", site->symbol_offset);
    cli_json_set_string(object, "operation", cli_op_name(site->arch, site->op));
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
        row->arch = site->arch;
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

static void add_json_counts(struct json_object *object, unsigned arch, const uint32_t *counts)
{
    for (unsigned op = 1; op < PREVIRT_SCAN_OPS; op++)
        if (counts[op])
            cli_json_set_number(object, cli_op_name(arch, op), counts[op]);
}

/* An operation that both architectures have by name (break, in) is one number only if both occur.
 */
static struct json_object *json_counts(const struct previrt_scan_result *result)
{
    struct json_object *object = json_object_new_object();

    add_json_counts(object, PREVIRT_ARCH_IA32, result->counts);
    add_json_counts(object, PREVIRT_ARCH_IA64, result->ia64_counts);
    return object;
}

static void print_operations(const struct previrt_scan_result *result)
{
    for (unsigned op = 1; op < PREVIRT_SCAN_OPS; op++)
        if (result->counts[op])
            printf("%8" PRIu32 "  %s\n", result->counts[op], cli_op_name(PREVIRT_ARCH_IA32, op));
    for (unsigned op = 1; op < PREVIRT_SCAN_OPS; op++)
        if (result->ia64_counts[op])
            printf("%8" PRIu32 "  %s\n", result->ia64_counts[op],
                   cli_op_name(PREVIRT_ARCH_IA64, op));
}

static void print_symbols(struct run *run)
{
    for (size_t i = 0; i < run->row_count; i++) {
        const struct symbol_row *row = &run->rows[i];
        const char *separator = "";

        printf("%6" PRIu32 "  %s  %s:", row->total, row->section, row->name);
        for (unsigned op = 1; op < PREVIRT_SCAN_OPS; op++) {
            if (row->counts[op]) {
                printf("%s %s %" PRIu32, separator, cli_op_name(row->arch, op), row->counts[op]);
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
    print_operations(result);
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
    cli_json_set(object, "operations", json_counts(result));
    if (run->settings->by_symbol) {
        struct json_object *symbols = json_object_new_array();

        for (size_t i = 0; i < run->row_count; i++) {
            struct json_object *row = json_object_new_object(), *operations;

            cli_json_set_string(row, "symbol", run->rows[i].name);
            cli_json_set_string(row, "section", run->rows[i].section);
            cli_json_set_number(row, "sites", run->rows[i].total);
            operations = json_object_new_object();
            add_json_counts(operations, run->rows[i].arch, run->rows[i].counts);
            cli_json_set(row, "operations", operations);
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
        cli_error("%s: the ELF machine is %u, not IA32 (%u), x86-64 (%u) or IA-64 (%u, ELF64)",
                  where, result->machine, EM_386, EM_X86_64, EM_IA_64);
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
    for (unsigned op = 1; op < PREVIRT_SCAN_OPS; op++) {
        sum->counts[op] += result.counts[op];
        sum->ia64_counts[op] += result.ia64_counts[op];
    }
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
        "archives (thin ones too), IA32, x86-64 and IA-64.",
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
        cli_json_set(root, "operations", json_counts(&sum));
        if (cli_json_print(root))
            worst = CLI_IO;
    } else if (settings.file_count > 1) {
        printf("all %zu files: %" PRIu64 " sensitive operations\n", settings.file_count, sum.sites);
        print_operations(&sum);
    }
    return worst;
}
