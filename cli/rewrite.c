/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt rewrite: rewrites an executable offline for a target. */
#include <argp.h>
#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>
#include <previrt/rewrite_elf.h>

#include "cli.h"
#include "rewrite.h"

/* The same for IA32. */
struct arguments {
    const char *input, *output;
    struct previrt_target target;
    struct previrt_elf_options options;
};

enum {
    KEY_TARGET = 't',
    KEY_OUTPUT = 'o',
    KEY_JSON = 'j',
    KEY_STUBS = 0x100,
    KEY_LIMIT,
    KEY_VCPU,
    KEY_KEEP,
    KEY_TRAPS,
    KEY_BREAK,
    KEY_STRICT
};

static uint64_t number(struct argp_state *state, const char *option, const char *text)
{
    char *end;
    unsigned long long value;

    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno || end == text || *end || *text == '-')
        argp_error(state, "--%s: \"%s\" is not a number", option, text);
    return value;
}

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct rewrite_arguments *arguments = state->input;

    switch (key) {
    case KEY_TARGET:
        if (strcmp(argument, "native") && strcmp(argument, "vcpu") && strcmp(argument, "break"))
            argp_error(state, "--target: \"%s\" is none of native, vcpu, break", argument);
        arguments->target_name = argument;
        return 0;
    case KEY_OUTPUT:
        arguments->output = argument;
        return 0;
    case KEY_JSON:
        arguments->json = true;
        return 0;
    case KEY_STUBS:
        arguments->stub_address = number(state, "stub-address", argument);
        arguments->place |= PREVIRT_PLACE_STUBS;
        return 0;
    case KEY_LIMIT:
        arguments->stub_limit = number(state, "stub-size", argument);
        if (!arguments->stub_limit)
            argp_error(state, "--stub-size: 0 bytes");
        return 0;
    case KEY_VCPU:
        arguments->vcpu_address = number(state, "vcpu-address", argument);
        arguments->place |= PREVIRT_PLACE_VCPU;
        if (arguments->vcpu_address % 4096)
            argp_error(state, "--vcpu-address: \"%s\" is not page aligned", argument);
        return 0;
    case KEY_KEEP:
        if (!previrt_ia32_op_by_name(argument) && !previrt_ia64_op_by_name(argument))
            argp_error(state, "--keep: \"%s\" is not an operation (see previrt ops)", argument);
        else if (arguments->kept_count == REWRITE_KEPT_MAX)
            argp_error(state, "--keep: more than %d times", REWRITE_KEPT_MAX);
        else
            arguments->kept[arguments->kept_count++] = argument;
        return 0;
    case KEY_TRAPS:
        arguments->traps = true;
        return 0;
    case KEY_BREAK: {
        uint64_t value = number(state, "break-number", argument);

        if (value >= 1u << 21)
            argp_error(state, "--break-number: \"%s\" has more than 21 bits", argument);
        arguments->break_number = (uint32_t)value;
        return 0;
    }
    case KEY_STRICT:
        arguments->strict = true;
        return 0;
    case ARGP_KEY_ARG:
        if (arguments->input)
            argp_error(state, "one FILE, please: \"%s\" is the second", argument);
        arguments->input = argument;
        return 0;
    case ARGP_KEY_END:
        if (!arguments->target_name)
            argp_error(state, "--target is missing");
        if (!arguments->output)
            argp_error(state, "--output is missing");
        if (!arguments->input)
            argp_error(state, "FILE is missing");
        if ((arguments->place & PREVIRT_PLACE_VCPU) && strcmp(arguments->target_name, "vcpu"))
            argp_error(state, "--vcpu-address: the target %s has no vCPU page",
                       arguments->target_name);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_refusals(const struct previrt_elf_report *report, const char *path)
{
    for (uint32_t i = 0; i < report->refusal_count; i++) {
        const struct previrt_refusal *refusal = &report->refusals[i];
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(refusal->op);

        fprintf(stderr, "previrt rewrite: %s: site 0x%" PRIx64 " (record %u, %s): refused: %s\n",
                path, refusal->address, refusal->record, info ? info->name : "unknown operation",
                previrt_strerror(refusal->status));
    }
}

static void print_human(const struct previrt_elf_report *report, const struct arguments *arguments)
{
    const struct previrt_plan_stats *stats = &report->stats;

    printf("%-13s %8s %8s %8s %8s %8s\n", "operation", "inlined", "stubbed", "kept", "dormant",
           "refused");
    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);
        const struct previrt_plan_op_stats *row = &stats->op[op];

        if (row->inlined || row->stubbed || row->kept || row->dormant || row->refused)
            printf("%-13s %8u %8u %8u %8u %8u\n", info ? info->name : "(unknown)", row->inlined,
                   row->stubbed, row->kept, row->dormant, row->refused);
    }
    printf("%-13s %8u %8u %8u %8u %8u\n", "all", stats->inlined, stats->stubbed, stats->kept,
           stats->dormant, stats->refused);
    printf("%u sites, %u stubs, %u bytes of stubs", stats->sites, stats->stubs, stats->stub_bytes);
    if (!stats->refused)
        printf(" at 0x%" PRIx64 " (loaded at 0x%" PRIx64 ")", report->stub_address,
               (uint64_t)(uint32_t)(report->stub_address - report->load_offset));
    if (arguments->options.needs_vcpu)
        printf(", vCPU page at 0x%" PRIx64, report->vcpu_address);
    printf("\n");
}

static int print_json(const struct previrt_elf_report *report, const struct arguments *arguments)
{
    const struct previrt_plan_stats *stats = &report->stats;
    struct json_object *root = json_object_new_object();
    struct json_object *operations = json_object_new_array(), *refusals = json_object_new_array();

    cli_json_set_string(root, "file", arguments->input);
    cli_json_set_string(root, "target", arguments->target.name);
    cli_json_set_number(root, "sites", stats->sites);
    cli_json_set_number(root, "inlined", stats->inlined);
    cli_json_set_number(root, "stubbed", stats->stubbed);
    cli_json_set_number(root, "kept", stats->kept);
    cli_json_set_number(root, "dormant", stats->dormant);
    cli_json_set_number(root, "refused", stats->refused);
    cli_json_set_number(root, "stubs", stats->stubs);
    cli_json_set_number(root, "stub_bytes", stats->stub_bytes);
    cli_json_set(root, "stub_address", cli_json_address(report->stub_address));
    cli_json_set(root, "load_offset", cli_json_address(report->load_offset));
    cli_json_set(root, "segment_address", cli_json_address(report->segment_address));
    cli_json_set(root, "segment_physical", cli_json_address(report->segment_physical));
    cli_json_set_number(root, "segment_size", report->segment_size);
    if (arguments->options.needs_vcpu)
        cli_json_set(root, "vcpu_address", cli_json_address(report->vcpu_address));
    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);
        const struct previrt_plan_op_stats *counts = &stats->op[op];
        struct json_object *row;

        if (!counts->inlined && !counts->stubbed && !counts->kept && !counts->dormant &&
            !counts->refused)
            continue;
        row = json_object_new_object();
        cli_json_set_string(row, "operation", info ? info->name : NULL);
        cli_json_set_number(row, "inlined", counts->inlined);
        cli_json_set_number(row, "stubbed", counts->stubbed);
        cli_json_set_number(row, "kept", counts->kept);
        cli_json_set_number(row, "dormant", counts->dormant);
        cli_json_set_number(row, "refused", counts->refused);
        json_object_array_add(operations, row);
    }
    cli_json_set(root, "operations", operations);
    for (uint32_t i = 0; i < report->refusal_count; i++) {
        const struct previrt_refusal *refusal = &report->refusals[i];
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(refusal->op);
        struct json_object *row = json_object_new_object();

        cli_json_set(row, "address", cli_json_address(refusal->address));
        cli_json_set_number(row, "record", refusal->record);
        cli_json_set_string(row, "operation", info ? info->name : NULL);
        cli_json_set_string(row, "reason", previrt_strerror(refusal->status));
        json_object_array_add(refusals, row);
    }
    cli_json_set(root, "refusals", refusals);
    return cli_json_print(root);
}

static int fail(int status, const struct arguments *arguments,
                const struct previrt_elf_report *report)
{
    if (report->what)
        cli_error("%s: %s: %s", arguments->input, previrt_strerror(status), report->what);
    else
        cli_error("%s: %s", arguments->input, previrt_strerror(status));
    if (report->table_offset)
        cli_error("%s: at offset 0x%" PRIx64 " of the notes at 0x%" PRIx64, arguments->input,
                  report->table_offset, report->table_address);
    /* Where the stubs go is the user's choice, not the file's fault. */
    if (status == PREVIRT_E_OVERLAP || status == PREVIRT_E_REACH || status == PREVIRT_E_INVALID)
        return CLI_USAGE;
    return cli_exit_status(status);
}

static int rewrite_ia32(const struct rewrite_arguments *from, const uint8_t *data, size_t size)
{
    struct arguments arguments = {.input = from->input,
                                  .output = from->output,
                                  .options = {.size = sizeof(arguments.options),
                                              .place = from->place,
                                              .stub_address = from->stub_address,
                                              .stub_limit = from->stub_limit,
                                              .vcpu_address = from->vcpu_address}};
    struct previrt_elf_report report = {.size = sizeof(report)};
    size_t out_size = 0;
    void *out = NULL;
    int status;

    if (from->stub_address > UINT32_MAX || from->stub_limit > UINT32_MAX ||
        from->vcpu_address > UINT32_MAX) {
        cli_error("%s: IA32 has no address beyond 4 GiB", from->input);
        return CLI_USAGE;
    }
    if (!strcmp(from->target_name, "native")) {
        previrt_target_native(&arguments.target);
    } else if (!strcmp(from->target_name, "vcpu")) {
        previrt_target_vcpu(&arguments.target, 0);
        arguments.options.needs_vcpu = 1;
    } else {
        cli_error("--target: \"%s\" is none of native, vcpu", from->target_name);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < from->kept_count; i++) {
        unsigned op = previrt_ia32_op_by_name(from->kept[i]);

        if (!op) {
            cli_error("--keep: \"%s\" is not an operation of IA32 (see previrt ops)",
                      from->kept[i]);
            return CLI_USAGE;
        }
        arguments.target.action[op] = PREVIRT_ACTION_KEEP;
    }
    if (from->traps)
        arguments.target.flags |= PREVIRT_TARGET_TRAPS;
    arguments.options.target = &arguments.target;

    status = previrt_rewrite_elf_mem(data, size, &arguments.options, &out, &out_size, &report);
    if (status == PREVIRT_E_REFUSED) {
        print_refusals(&report, arguments.input);
        if (from->json)
            print_json(&report, &arguments);
        else
            print_human(&report, &arguments);
        status = CLI_FINDINGS;
    } else if (status < 0) {
        status = fail(status, &arguments, &report);
    } else {
        status = cli_write_file(arguments.output, out, out_size);
        /* With the file on standard output there is no place for statistics. */
        if (!status && from->json && strcmp(arguments.output, "-"))
            status = print_json(&report, &arguments);
        else if (!status && strcmp(arguments.output, "-"))
            print_human(&report, &arguments);
    }
    free(report.refusals);
    free(out);
    return status;
}

static bool is_ia64(const uint8_t *data, size_t size)
{
    Elf64_Ehdr head;

    if (size < sizeof(head))
        return false;
    memcpy(&head, data, sizeof(head));
    return memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_ident[EI_DATA] == ELFDATA2LSB &&
           head.e_machine == EM_IA_64;
}

int cmd_rewrite(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"target", KEY_TARGET, "NAME", 0,
         "native: stubs that perform the original operations; vcpu: hot operations inlined "
         "against a vCPU page, the rest through a dispatcher (IA-64: break); break (IA-64): "
         "every operation becomes a break in its slot",
         0},
        {"output", KEY_OUTPUT, "FILE", 0, "Write the rewritten executable to FILE", 0},
        {"stub-address", KEY_STUBS, "ADDRESS", 0,
         "Put the stubs at this link address (default: physical 0x20000 seen through the image's "
         "load offset, or the first page behind an image without one; IA-64: the room that the "
         "image reserves, or behind it)",
         0},
        {"stub-size", KEY_LIMIT, "BYTES", 0,
         "Let the stubs take at most this much (393216; IA-64: all the room)", 0},
        {"vcpu-address", KEY_VCPU, "ADDRESS", 0,
         "The VMM puts the vCPU page there (default: a page in front of the stubs)", 0},
        {"keep", KEY_KEEP, "OPERATION", 0, "Leave the sites of this operation; may be repeated", 0},
        {"traps", KEY_TRAPS, 0, 0,
         "Whoever runs the guest emulates what traps: keep such sites if their room is too small",
         0},
        {"break-number", KEY_BREAK, "NUMBER", 0, "IA-64: the immediate of break (0)", 0},
        {"strict", KEY_STRICT, 0, 0,
         "IA-64: refuse sites whose bundle cannot be moved, which are otherwise left as they are "
         "(native) or become a break (vcpu)",
         0},
        {"json", KEY_JSON, 0, 0, "Print the statistics as JSON", 0},
        {0},
    };
    static const struct argp argp = {
        options,
        parse,
        "FILE",
        "Rewrites the sites of FILE, an IA32 or IA-64 executable with a patch-up table.\v"
        "Exit status 1: sites were refused, each with its reason on standard error; nothing was "
        "written.",
        0,
        0,
        0};
    struct rewrite_arguments arguments = {0};
    uint8_t *data = NULL;
    size_t size = 0;
    int status;

    argp_err_exit_status = CLI_USAGE;
    if (argp_parse(&argp, argc, argv, 0, 0, &arguments))
        return CLI_USAGE;
    status = cli_read_file(arguments.input, &data, &size);
    if (status)
        return status;
    status = is_ia64(data, size) ? rewrite_ia64(&arguments, data, size)
                                 : rewrite_ia32(&arguments, data, size);
    free(data);
    return status;
}
