/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt ops: the catalogues of sensitive operations, as a table, JSON or Markdown
 * (docs/catalogue.md, docs/catalogue-ia64.md). */
#include <argp.h>
#include <string.h>

#include <json-c/json.h>
#include <previrt/ia32.h>
#include <previrt/ia64.h>

#include "cli.h"

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_MARKDOWN };

static const char *const trap_names[] = {
    [PREVIRT_TRAP_PRIVILEGED] = "privileged",
    [PREVIRT_TRAP_IOPL] = "iopl",
    [PREVIRT_TRAP_CONTROL] = "control",
    [PREVIRT_TRAP_NONE] = "none",
    [PREVIRT_TRAP_GATE] = "gate",
    [PREVIRT_TRAP_VMX] = "vmx",
    [PREVIRT_TRAP_SVM] = "svm",
};

static const char *const ia64_trap_names[] = {
    [PREVIRT_IA64_TRAP_PRIVILEGED_OP] = "privileged",
    [PREVIRT_IA64_TRAP_PRIVILEGED_REG] = "register",
    [PREVIRT_IA64_TRAP_CONTROL] = "control",
    [PREVIRT_IA64_TRAP_NONE] = "none",
    [PREVIRT_IA64_TRAP_BREAK] = "break",
    [PREVIRT_IA64_TRAP_IA32] = "ia32",
};

/* the numbers of enum previrt_policy and enum previrt_ia64_policy are the same */
_Static_assert((int)PREVIRT_POLICY_REWRITE == (int)PREVIRT_IA64_POLICY_REWRITE &&
                   (int)PREVIRT_POLICY_NATIVE == (int)PREVIRT_IA64_POLICY_NATIVE &&
                   (int)PREVIRT_POLICY_MASK == (int)PREVIRT_IA64_POLICY_MASK,
               "policies have other names");
static const char *const policy_names[] = {
    [PREVIRT_POLICY_REWRITE] = "rewrite",
    [PREVIRT_POLICY_NATIVE] = "native",
    [PREVIRT_POLICY_MASK] = "mask",
};

struct state_name {
    uint32_t bit;
    const char *name;
};

static const struct state_name ia64_states[] = {
    {PREVIRT_IA64_STATE_PSR, "psr"},
    {PREVIRT_IA64_STATE_UM, "um"},
    {PREVIRT_IA64_STATE_CPL, "cpl"},
    {PREVIRT_IA64_STATE_CR, "cr"},
    {PREVIRT_IA64_STATE_KR, "kr"},
    {PREVIRT_IA64_STATE_TIMER, "timer"},
    {PREVIRT_IA64_STATE_RSE, "rse"},
    {PREVIRT_IA64_STATE_RR, "rr"},
    {PREVIRT_IA64_STATE_PKR, "pkr"},
    {PREVIRT_IA64_STATE_DEBUG, "debug"},
    {PREVIRT_IA64_STATE_PM, "pm"},
    {PREVIRT_IA64_STATE_MSR, "msr"},
    {PREVIRT_IA64_STATE_CPUID, "cpuid"},
    {PREVIRT_IA64_STATE_TLB, "tlb"},
    {PREVIRT_IA64_STATE_CACHE, "cache"},
    {PREVIRT_IA64_STATE_ALAT, "alat"},
    {PREVIRT_IA64_STATE_ORDER, "order"},
    {PREVIRT_IA64_STATE_BANK, "bank"},
    {PREVIRT_IA64_STATE_IA32, "ia32"},
    {PREVIRT_IA64_STATE_DAHR, "dahr"},
    {0, NULL},
};

static const struct state_name ia32_states[] = {
    {PREVIRT_STATE_IF, "if"},
    {PREVIRT_STATE_IOPL, "iopl"},
    {PREVIRT_STATE_FLAGS, "flags"},
    {PREVIRT_STATE_CPL, "cpl"},
    {PREVIRT_STATE_SEG, "seg"},
    {PREVIRT_STATE_GDT, "gdt"},
    {PREVIRT_STATE_LDT, "ldt"},
    {PREVIRT_STATE_IDT, "idt"},
    {PREVIRT_STATE_TR, "tr"},
    {PREVIRT_STATE_CR, "cr"},
    {PREVIRT_STATE_DR, "dr"},
    {PREVIRT_STATE_MSR, "msr"},
    {PREVIRT_STATE_TSC, "tsc"},
    {PREVIRT_STATE_PMC, "pmc"},
    {PREVIRT_STATE_CPUID, "cpuid"},
    {PREVIRT_STATE_XCR, "xcr"},
    {PREVIRT_STATE_TLB, "tlb"},
    {PREVIRT_STATE_CACHE, "cache"},
    {PREVIRT_STATE_IO, "io"},
    {PREVIRT_STATE_ACTIVITY, "activity"},
    {PREVIRT_STATE_SMM, "smm"},
    {PREVIRT_STATE_VM, "vm"},
    {0, NULL},
};

static const struct {
    uint16_t feature;
    const char *name;
} features[] = {
    {PREVIRT_CPUID_TSC, "tsc"},           {PREVIRT_CPUID_MSR, "msr"},
    {PREVIRT_CPUID_SEP, "sep"},           {PREVIRT_CPUID_SYSCALL, "syscall"},
    {PREVIRT_CPUID_RDTSCP, "rdtscp"},     {PREVIRT_CPUID_MONITOR, "monitor"},
    {PREVIRT_CPUID_VMX, "vmx"},           {PREVIRT_CPUID_SMX, "smx"},
    {PREVIRT_CPUID_XSAVE, "xsave"},       {PREVIRT_CPUID_SVM, "svm"},
    {PREVIRT_CPUID_SGX, "sgx"},           {PREVIRT_CPUID_INVPCID, "invpcid"},
    {PREVIRT_CPUID_SMAP, "smap"},         {PREVIRT_CPUID_XSAVES, "xsaves"},
    {PREVIRT_CPUID_WBNOINVD, "wbnoinvd"}, {PREVIRT_CPUID_RDPID, "rdpid"},
    {PREVIRT_CPUID_PCONFIG, "pconfig"},
};

static const char *feature_name(unsigned feature)
{
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        if (features[i].feature == feature && feature)
            return features[i].name;
    return "";
}

/* "if iopl cpl"; (text) holds every name at once. */
static const char *names_of(const struct state_name *states, uint32_t set, char text[256])
{
    text[0] = 0;
    for (; states->name; states++) {
        if (!(set & states->bit))
            continue;
        if (text[0])
            strcat(text, " ");
        strcat(text, states->name);
    }
    return text;
}

static const char *state_names(uint32_t set, char text[256])
{
    return names_of(ia32_states, set, text);
}

/* "0f 01 /2", "f3 0f 09": the encoding as the manuals write it. */
static const char *encoding(const struct previrt_ia32_form_info *form, char text[64])
{
    size_t used = 0;

    text[0] = 0;
    if (form->mandatory)
        used += (size_t)snprintf(text + used, 64 - used, "%02x ", form->mandatory);
    for (unsigned i = 0; i < form->length; i++)
        used += (size_t)snprintf(text + used, 64 - used, "%s%02x", i ? " " : "", form->opcode[i]);
    switch (form->layout) {
    case PREVIRT_LAYOUT_IMM8:
        snprintf(text + used, 64 - used, " ib");
        break;
    case PREVIRT_LAYOUT_IMM16:
        snprintf(text + used, 64 - used, " iw");
        break;
    case PREVIRT_LAYOUT_PTR:
        snprintf(text + used, 64 - used, " cp");
        break;
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_EXTMEM:
    case PREVIRT_LAYOUT_EXTREG:
        snprintf(text + used, 64 - used, " /%d", form->extension);
        break;
    case PREVIRT_LAYOUT_NONE:
    case PREVIRT_LAYOUT_STRING:
        break;
    default:
        snprintf(text + used, 64 - used, " /r");
    }
    return text;
}

static void encodings(unsigned op, char *text, size_t size)
{
    size_t used = 0;
    char one[64];

    text[0] = 0;
    for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
        const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);

        if (form && form->op == op && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "",
                                     encoding(form, one));
    }
}

static void print_table(void)
{
    printf("%3s  %-13s  %-10s  %-7s  %4s  %-8s  %-22s  %s\n", "op", "name", "trap", "policy",
           "room", "feature", "reads", "writes");
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);
        char reads[256], writes[256];

        if (info)
            printf("%3u  %-13s  %-10s  %-7s  %4u  %-8s  %-22s  %s\n", op, info->name,
                   trap_names[info->trap], policy_names[info->policy], info->room,
                   feature_name(info->feature), state_names(info->reads, reads),
                   state_names(info->writes, writes));
    }
}

static void print_markdown(void)
{
    printf("# The catalogue of IA32 sensitive operations\n\n"
           "Generated from `include/previrt/ia32_ops.def` by `previrt ops --markdown`; do not "
           "edit.\n\n"
           "- **trap**: `privileged` faults at CPL > 0; `iopl` faults at CPL > IOPL; `control` "
           "faults\n"
           "  only if a control bit says so; `none` never faults for its privilege; `gate` is a "
           "control\n"
           "  transfer through a descriptor or gate; `vmx` and `svm` belong to hardware "
           "virtualization.\n"
           "- **policy**: `rewrite` is replaced by phase 3; `native` only if the target asks; "
           "`mask` is not\n"
           "  offered to the guest (the VMM clears the feature in CPUID).\n"
           "- **room**: bytes that a rewrite wants in all, original, prefixes and NOPs.\n"
           "- **feature**: the CPUID bit without which the operation does not exist.\n\n"
           "| op | name | encodings | trap | policy | room | feature | reads | writes | source |\n"
           "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);
        char reads[256], writes[256], forms[512];

        if (!info)
            continue;
        encodings(op, forms, sizeof(forms));
        printf("| %u | `%s` | %s | %s | %s | %u | %s | %s | %s | %s |\n", op, info->name, forms,
               trap_names[info->trap], policy_names[info->policy], info->room,
               feature_name(info->feature), state_names(info->reads, reads),
               state_names(info->writes, writes), info->source);
    }
}

static struct json_object *json_states(const struct state_name *states, uint32_t set)
{
    struct json_object *array = json_object_new_array();

    for (; states->name; states++)
        if (set & states->bit)
            json_object_array_add(array, json_object_new_string(states->name));
    return array;
}

static int print_json(void)
{
    struct json_object *root = json_object_new_object(), *array = json_object_new_array();

    cli_json_set_string(root, "architecture", "ia32");
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);
        struct json_object *row, *forms;

        if (!info)
            continue;
        row = json_object_new_object();
        cli_json_set_number(row, "op", op);
        cli_json_set_string(row, "name", info->name);
        cli_json_set_string(row, "trap", trap_names[info->trap]);
        cli_json_set_string(row, "policy", policy_names[info->policy]);
        cli_json_set_number(row, "room", info->room);
        cli_json_set_string(row, "feature", info->feature ? feature_name(info->feature) : NULL);
        cli_json_set(row, "reads", json_states(ia32_states, info->reads));
        cli_json_set(row, "writes", json_states(ia32_states, info->writes));
        cli_json_set_string(row, "source", info->source);
        forms = json_object_new_array();
        for (unsigned number = 1; number < PREVIRT_IA32_FORM_LIMIT; number++) {
            const struct previrt_ia32_form_info *form = previrt_ia32_form_info(number);
            struct json_object *entry;
            char text[64];

            if (!form || form->op != op)
                continue;
            entry = json_object_new_object();
            cli_json_set_number(entry, "form", number);
            cli_json_set_string(entry, "encoding", encoding(form, text));
            json_object_array_add(forms, entry);
        }
        cli_json_set(row, "forms", forms);
        json_object_array_add(array, row);
    }
    cli_json_set(root, "operations", array);
    return cli_json_print(root);
}

/* ---- IA-64 ---- */

static void print_ia64_table(void)
{
    printf("%3s  %-17s  %-10s  %-7s  %-18s  %s\n", "op", "name", "trap", "policy", "reads",
           "writes");
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);
        char reads[256], writes[256];

        if (info)
            printf("%3u  %-17s  %-10s  %-7s  %-18s  %s\n", op, info->name,
                   ia64_trap_names[info->trap], policy_names[info->policy],
                   names_of(ia64_states, info->reads, reads),
                   names_of(ia64_states, info->writes, writes));
    }
}

static void print_ia64_markdown(void)
{
    printf("# The catalogue of IA-64 sensitive operations\n\n"
           "Generated from `include/previrt/ia64_ops.def` by `previrt ops --isa ia64 --markdown`; "
           "do not edit.\n\n"
           "- **trap**, at a privilege level other than 0: `privileged` is General Exception, "
           "privileged\n"
           "  operation (ISR code 0x10); `register` the same, privileged register (0x20); "
           "`control` faults only\n"
           "  if a PSR bit says so; `none` never; `break` traps by design; `ia32` belongs to the "
           "IA-32 environment.\n"
           "- **policy**: `rewrite` is replaced by phase 3; `native` only if the target asks; "
           "`mask` is not\n"
           "  offered to the guest.\n\n"
           "| op | name | trap | policy | reads | writes | source |\n"
           "| --- | --- | --- | --- | --- | --- | --- |\n");
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);
        char reads[256], writes[256];

        if (info)
            printf("| %u | `%s` | %s | %s | %s | %s | %s |\n", op, info->name,
                   ia64_trap_names[info->trap], policy_names[info->policy],
                   names_of(ia64_states, info->reads, reads),
                   names_of(ia64_states, info->writes, writes), info->source);
    }
}

static int print_ia64_json(void)
{
    struct json_object *root = json_object_new_object(), *array = json_object_new_array();

    cli_json_set_string(root, "architecture", "ia64");
    for (unsigned op = 1; op < PREVIRT_IA64_OP_LIMIT; op++) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);
        struct json_object *row;

        if (!info)
            continue;
        row = json_object_new_object();
        cli_json_set_number(row, "op", op);
        cli_json_set_string(row, "name", info->name);
        cli_json_set_string(row, "trap", ia64_trap_names[info->trap]);
        cli_json_set_string(row, "policy", policy_names[info->policy]);
        cli_json_set(row, "reads", json_states(ia64_states, info->reads));
        cli_json_set(row, "writes", json_states(ia64_states, info->writes));
        cli_json_set_string(row, "source", info->source);
        json_object_array_add(array, row);
    }
    cli_json_set(root, "operations", array);
    return cli_json_print(root);
}

/* ---- the verb ---- */

struct settings {
    enum format format;
    bool ia64;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    struct settings *settings = state->input;

    switch (key) {
    case 'j':
        settings->format = FORMAT_JSON;
        return 0;
    case 'm':
        settings->format = FORMAT_MARKDOWN;
        return 0;
    case 'i':
        if (strcmp(argument, "ia32") && strcmp(argument, "ia64"))
            argp_error(state, "--isa: \"%s\" is none of ia32, ia64", argument);
        settings->ia64 = strcmp(argument, "ia64") == 0;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "unexpected argument \"%s\"", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int cmd_ops(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"json", 'j', 0, 0, "Print JSON", 0},
        {"markdown", 'm', 0, 0, "Print Markdown (docs/catalogue.md)", 0},
        {"isa", 'i', "ia32|ia64", 0, "Whose catalogue (ia32)", 0},
        {0},
    };
    static const struct argp argp = {
        options,
        parse,
        NULL,
        "Prints the catalogue of IA32 or IA-64 sensitive operations: one line an "
        "operation, what it reads and writes, how it traps, and (IA32) how many "
        "bytes its rewrite wants.",
        NULL,
        NULL,
        NULL};
    struct settings settings = {.format = FORMAT_TABLE};

    argp_parse(&argp, argc, argv, 0, NULL, &settings);
    if (settings.format == FORMAT_JSON)
        return settings.ia64 ? print_ia64_json() : print_json();
    if (settings.format == FORMAT_MARKDOWN)
        settings.ia64 ? print_ia64_markdown() : print_markdown();
    else
        settings.ia64 ? print_ia64_table() : print_table();
    return CLI_OK;
}
