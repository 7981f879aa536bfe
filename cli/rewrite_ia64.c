/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt rewrite on IA-64 executables. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>

#include "cli.h"
#include "rewrite.h"

static void print_refusals(const struct previrt_ia64_elf_report *report, const char *path)
{
    for (uint32_t i = 0; i < report->refusal_count; i++) {
        const struct previrt_ia64_elf_refusal *refusal = &report->refusals[i];
        const char *name = cli_op_name(PREVIRT_ARCH_IA64, refusal->op);

        cli_error("%s: 0x%" PRIx64 " slot %u (%s): %s: %s", path, refusal->address, refusal->slot,
                  name ? name : "unknown operation",
                  report->summary.refused ? "refused" : "left as it is",
                  previrt_ia64_reason_text(refusal->reason));
    }
}

static void print_human(const struct previrt_ia64_elf_report *report)
{
    const struct previrt_ia64_plan_summary *summary = &report->summary;

    printf("%-15s %8s %8s %8s %8s %8s\n", "operation", "stubbed", "broken", "kept", "left",
           "refused");
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_elf_op *row = &report->op[op];

        if (row->stubbed || row->broken || row->kept || row->left || row->refused)
            printf("%-15s %8" PRIu32 " %8" PRIu32 " %8" PRIu32 " %8" PRIu32 " %8" PRIu32 "\n",
                   cli_op_name(PREVIRT_ARCH_IA64, op), row->stubbed, row->broken, row->kept,
                   row->left, row->refused);
    }
    printf("%-15s %8zu %8zu %8zu %8zu %8zu\n", "all", summary->stubbed, summary->broken,
           summary->kept, summary->left, summary->refused);
    printf("%zu sites in %zu bundles, %zu bytes of stubs, %.1f a stubbed site; %" PRIu32
           " images kept in data\n",
           summary->sites, summary->bundles, summary->stub_bytes,
           summary->stubbed ? (double)summary->stub_bytes / (double)summary->stubbed : 0,
           report->images);
    printf("stubs at 0x%" PRIx64 " (loaded at 0x%" PRIx64 "), room for %" PRIu64 " bytes: %s\n",
           report->stub_address, report->stub_physical, report->stub_room,
           report->reserved ? "reserved by the image" : "not reserved by the image");
    if (report->exceptions)
        printf("%" PRIu32 " words of the exception table name a stub now\n", report->exceptions);
}

static int print_json(const struct rewrite_arguments *arguments,
                      const struct previrt_ia64_target *target,
                      const struct previrt_ia64_elf_report *report)
{
    const struct previrt_ia64_plan_summary *summary = &report->summary;
    struct json_object *root = json_object_new_object();
    struct json_object *operations = json_object_new_array(), *refusals = json_object_new_array();

    cli_json_set_string(root, "file", arguments->input);
    cli_json_set_string(root, "architecture", "ia64");
    cli_json_set_string(root, "target", target->name);
    cli_json_set_number(root, "sites", summary->sites);
    cli_json_set_number(root, "bundles", summary->bundles);
    cli_json_set_number(root, "stubbed", summary->stubbed);
    cli_json_set_number(root, "broken", summary->broken);
    cli_json_set_number(root, "kept", summary->kept);
    cli_json_set_number(root, "left", summary->left);
    cli_json_set_number(root, "refused", summary->refused);
    cli_json_set_number(root, "stub_bytes", summary->stub_bytes);
    cli_json_set(root, "stub_address", cli_json_address(report->stub_address));
    cli_json_set(root, "stub_physical", cli_json_address(report->stub_physical));
    cli_json_set_number(root, "stub_room", report->stub_room);
    cli_json_set_bool(root, "reserved", report->reserved);
    cli_json_set_number(root, "images", report->images);
    cli_json_set_number(root, "exceptions", report->exceptions);
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_elf_op *counts = &report->op[op];
        struct json_object *row;

        if (!counts->stubbed && !counts->broken && !counts->kept && !counts->left &&
            !counts->refused)
            continue;
        row = json_object_new_object();
        cli_json_set_string(row, "operation", cli_op_name(PREVIRT_ARCH_IA64, op));
        cli_json_set_number(row, "stubbed", counts->stubbed);
        cli_json_set_number(row, "broken", counts->broken);
        cli_json_set_number(row, "kept", counts->kept);
        cli_json_set_number(row, "left", counts->left);
        cli_json_set_number(row, "refused", counts->refused);
        json_object_array_add(operations, row);
    }
    cli_json_set(root, "operations", operations);
    for (uint32_t i = 0; i < report->refusal_count; i++) {
        const struct previrt_ia64_elf_refusal *refusal = &report->refusals[i];
        struct json_object *row = json_object_new_object();

        cli_json_set(row, "address", cli_json_address(refusal->address));
        cli_json_set_number(row, "slot", refusal->slot);
        cli_json_set_string(row, "operation", cli_op_name(PREVIRT_ARCH_IA64, refusal->op));
        cli_json_set_string(row, "reason", previrt_ia64_reason_text(refusal->reason));
        json_object_array_add(refusals, row);
    }
    cli_json_set(root, "refusals", refusals);
    return cli_json_print(root);
}

/* The target, from the command line; 0 or the exit status after a message. */
static int make_target(const struct rewrite_arguments *arguments,
                       struct previrt_ia64_target *target)
{
    const char *name = arguments->target_name;

    if (!strcmp(name, "native")) {
        previrt_ia64_target_native(target);
        /* on bare hardware a return address is as good in a stub, and an operation in its place */
        target->flags |= PREVIRT_IA64_TARGET_STUB_RETURNS | PREVIRT_IA64_TARGET_UNLINKED;
        if (!arguments->strict)
            target->flags |= PREVIRT_IA64_TARGET_KEEP_UNSUITABLE;
    } else if (!strcmp(name, "break")) {
        previrt_ia64_target_break(target, arguments->break_number);
    } else if (!strcmp(name, "vcpu")) {
        if (!(arguments->place & PREVIRT_PLACE_VCPU)) {
            cli_error("the target vcpu wants --vcpu-address on IA-64");
            return CLI_USAGE;
        }
        previrt_ia64_target_vcpu(target, &arguments->vcpu_address, arguments->break_number);
        target->flags |= PREVIRT_IA64_TARGET_STUB_RETURNS;
        if (arguments->strict)
            target->flags &= ~(uint32_t)PREVIRT_IA64_TARGET_BREAK_UNSUITABLE;
    } else {
        cli_error("--target: \"%s\" is none of native, break, vcpu", name);
        return CLI_USAGE;
    }
    for (size_t i = 0; i < arguments->kept_count; i++) {
        unsigned op = previrt_ia64_op_by_name(arguments->kept[i]);

        if (!op) {
            cli_error("--keep: \"%s\" is not an operation of IA-64 (see previrt ops --isa ia64)",
                      arguments->kept[i]);
            return CLI_USAGE;
        }
        target->action[op] = PREVIRT_IA64_ACTION_KEEP;
    }
    return CLI_OK;
}

int rewrite_ia64(const struct rewrite_arguments *arguments, const uint8_t *data, size_t size)
{
    struct previrt_ia64_target target;
    struct previrt_ia64_elf_options options = {.size = sizeof(options),
                                               .place = arguments->place & PREVIRT_PLACE_STUBS,
                                               .target = &target,
                                               .stub_address = arguments->stub_address,
                                               .stub_limit = arguments->stub_limit};
    struct previrt_ia64_elf_report report = {.size = sizeof(report)};
    size_t out_size = 0;
    void *out = NULL;
    int status = make_target(arguments, &target);

    if (status)
        return status;
    options.tell_exceptions = !strcmp(arguments->target_name, "native");
    status = previrt_ia64_rewrite_elf_mem(data, size, &options, &out, &out_size, &report);
    if (status < 0 && status != PREVIRT_E_REFUSED) {
        if (report.what)
            cli_error("%s: %s: %s", arguments->input, previrt_strerror(status), report.what);
        else
            cli_error("%s: %s", arguments->input, previrt_strerror(status));
        /* where the stubs go is the user's choice, not the file's fault */
        status = status == PREVIRT_E_OVERLAP || status == PREVIRT_E_INVALID
                     ? CLI_USAGE
                     : cli_exit_status(status);
        goto out;
    }
    print_refusals(&report, arguments->input);
    status = status < 0 ? CLI_FINDINGS : cli_write_file(arguments->output, out, out_size);
    /* with the file on standard output there is no place for statistics */
    if (status == CLI_IO || !strcmp(arguments->output, "-"))
        goto out;
    if (arguments->json) {
        int printed = print_json(arguments, &target, &report);

        status = status ? status : printed;
    } else {
        print_human(&report);
    }
out:
    free(report.refusals);
    free(out);
    return status;
}
