/* SPDX-License-Identifier: BSD-2-Clause */
/* previrt table: the patch-up table of an image, printed, verified, attached, extracted. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <json-c/json.h>
#include <previrt/image.h>

#include "cli.h"

enum action { ACTION_NONE, ACTION_DUMP, ACTION_VERIFY, ACTION_ATTACH, ACTION_EXTRACT };
enum { KEY_JSON = 256, KEY_TABLE };

struct table_options {
    enum action action;
    const char *file;
    const char *output;
    const char *table;
    int json;
};

static error_t parse(int key, char *argument, struct argp_state *state)
{
    static const char *const actions[] = {"", "dump", "verify", "attach", "extract"};
    struct table_options *options = state->input;

    switch (key) {
    case 'o':
        options->output = argument;
        return 0;
    case KEY_JSON:
        options->json = 1;
        return 0;
    case KEY_TABLE:
        options->table = argument;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num == 0) {
            for (unsigned i = ACTION_DUMP; i <= ACTION_EXTRACT; i++)
                if (strcmp(argument, actions[i]) == 0)
                    options->action = i;
            if (!options->action)
                argp_error(state, "unknown action \"%s\"", argument);
        } else if (state->arg_num == 1) {
            options->file = argument;
        } else {
            argp_error(state, "one FILE at a time, \"%s\" is another", argument);
        }
        return 0;
    case ARGP_KEY_END:
        if (!options->file)
            argp_error(state, "an action and a FILE are needed");
        else if (options->action == ACTION_EXTRACT && !options->output)
            argp_error(state, "extract needs -o OUT");
        else if (options->output && options->action < ACTION_ATTACH)
            argp_error(state, "-o is for attach and extract");
        else if (options->table && options->action != ACTION_ATTACH)
            argp_error(state, "--table is for attach");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* The status of previrt_image_open() and of the readers, with what it is about. */
static int fail_at(const char *file, struct previrt_image *image, int status)
{
    struct previrt_image_fault fault;

    previrt_image_fault(image, &fault);
    if (status == PREVIRT_E_NO_TABLE || fault.status != status)
        return cli_fail(status, file);
    if (fault.site.op)
        cli_error("%s: fragment %" PRIu32 ", site 0x%" PRIx64 ": %s", file, fault.fragment,
                  fault.site.address, previrt_strerror(status));
    else
        cli_error("%s: fragment %" PRIu32 ", file offset 0x%" PRIx64 ": %s", file, fault.fragment,
                  fault.file_offset, previrt_strerror(status));
    return cli_exit_status(status);
}

/* ---- dump ---- */

static const char *const registers32[] = {"eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"};
static const char *const registers16[] = {"ax", "cx", "dx", "bx", "sp", "bp", "si", "di"};
static const char *const segments[] = {"es", "cs", "ss", "ds", "fs", "gs", "?", "?"};

/* The operand of an IA-64 record in words. */
static void describe_ia64_operand(const struct previrt_site *site, char *text, size_t room)
{
    unsigned gr = PREVIRT_IA64_OPERAND_GR(site->operand);
    unsigned second = PREVIRT_IA64_OPERAND_REGISTER(site->operand);
    size_t used = 0;

    text[0] = 0;
    if (gr)
        used += (size_t)snprintf(text + used, room - used, "r%u", gr);
    if (second)
        used += (size_t)snprintf(text + used, room - used, "%s%u", used ? ", " : "", second);
    if (site->operand & PREVIRT_IA64_OPERAND_PREDICATED)
        snprintf(text + used, room - used, "%spredicated", used ? ", " : "");
}

/* The operand byte of docs/table-format.md in words. */
static void describe_operand(const struct previrt_site *site, char *text, size_t room)
{
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(site->form);
    unsigned low = site->operand & 7, middle = site->operand >> 3 & 7;
    const char *size16 = site->operand & 0x40 ? " 16-bit" : "";
    const char *reg = (site->operand & 0x40 ? registers16 : registers32)[low];

    text[0] = 0;
    if (site->arch == PREVIRT_ARCH_IA64)
        describe_ia64_operand(site, text, room);
    if (site->arch != PREVIRT_ARCH_IA32 || !form || site->flags & PREVIRT_SITE_DORMANT)
        return;
    switch (form->layout) {
    case PREVIRT_LAYOUT_IMM8:
        snprintf(text, room, "$0x%x", site->operand);
        return;
    case PREVIRT_LAYOUT_NONE:
        if (form->extension >= 0)
            snprintf(text, room, "%%%s%s", segments[form->extension & 7], size16);
        else if (size16[0])
            snprintf(text, room, "16-bit");
        return;
    case PREVIRT_LAYOUT_IMM16:
    case PREVIRT_LAYOUT_PTR:
        snprintf(text, room, "immediate%s", size16);
        return;
    case PREVIRT_LAYOUT_STRING:
        snprintf(text, room, "%s%s%s%s%s",
                 low & 1   ? "rep "
                 : low & 2 ? "repne "
                           : "",
                 low & 4 ? "16-bit addresses " : "", middle ? "%" : "",
                 middle ? segments[middle - 1] : "", size16);
        return;
    default:
        break;
    }
    if (site->operand & 0x80) {
        const char *offset = low == 7 ? "7 or more" : "";

        if (form->layout == PREVIRT_LAYOUT_SREG)
            snprintf(text, room, "memory, %%%s%s", segments[middle], size16);
        else if (form->layout == PREVIRT_LAYOUT_EXT || form->layout == PREVIRT_LAYOUT_EXTMEM)
            snprintf(text, room, "memory%s", size16);
        else
            snprintf(text, room, "memory, %%%s%s", registers32[middle], size16);
        if (offset[0])
            snprintf(text + strlen(text), room - strlen(text), ", ModRM at %s", offset);
        else
            snprintf(text + strlen(text), room - strlen(text), ", ModRM at %u", low);
        return;
    }
    switch (form->layout) {
    case PREVIRT_LAYOUT_CR:
        snprintf(text, room, "%%cr%u, %%%s", middle, registers32[low]);
        break;
    case PREVIRT_LAYOUT_DR:
        snprintf(text, room, "%%db%u, %%%s", middle, registers32[low]);
        break;
    case PREVIRT_LAYOUT_SREG:
        snprintf(text, room, "%%%s, %%%s", segments[middle], reg);
        break;
    case PREVIRT_LAYOUT_EXT:
    case PREVIRT_LAYOUT_EXTREG:
        snprintf(text, room, "%%%s", reg);
        break;
    default:
        snprintf(text, room, "%%%s, %%%s", reg,
                 (site->operand & 0x40 ? registers16 : registers32)[middle]);
        break;
    }
}

static const char *op_name(const struct previrt_site *site, char text[16])
{
    const char *name = cli_op_name(site->arch, site->op);

    if (name)
        return name;
    snprintf(text, 16, "op %u", site->op);
    return text;
}

/* "f+0x12" or ".text+0x12". */
static void describe_place(const struct previrt_image *image, uint64_t address, char *text,
                           size_t room)
{
    struct previrt_image_section section;
    uint64_t distance;
    const char *symbol = previrt_image_symbol(image, address, &distance);

    if (symbol)
        snprintf(text, room, "%s+0x%" PRIx64, symbol, distance);
    else if (previrt_image_locate(image, address, &section) >= 0)
        snprintf(text, room, "%s+0x%" PRIx64, section.name, address - section.address);
    else
        snprintf(text, room, "?");
}

static void print_site(const struct previrt_image *image, const struct previrt_image_site *record)
{
    const struct previrt_site *site = &record->site;
    char place[160], operand[80], name[16], flags[48] = "";

    describe_place(image, site->address, place, sizeof(place));
    describe_operand(site, operand, sizeof(operand));
    if (site->flags & PREVIRT_SITE_FLAGS_DEAD)
        snprintf(flags, sizeof(flags), "dead");
    if (site->flags & PREVIRT_SITE_DORMANT && site->feature == PREVIRT_FEATURE_UNKNOWN)
        snprintf(flags, sizeof(flags), "dormant(unknown)");
    else if (site->flags & PREVIRT_SITE_DORMANT)
        snprintf(flags, sizeof(flags), "dormant(%u*32+%u)", site->feature / 32, site->feature % 32);
    if (site->arch == PREVIRT_ARCH_IA64) {
        printf("%016" PRIx64 ":%u  %-15s %-6s  %-40s  %s\n", site->address, site->slot,
               op_name(site, name), site->operand & PREVIRT_IA64_OPERAND_PINNED ? "pinned" : "-",
               place, operand);
        return;
    }
    printf("%08" PRIx64 "  %-14s %4u  %6u  %3u  %-5s  %-40s  %s\n", site->address,
           op_name(site, name), site->form, site->length, site->pad, flags[0] ? flags : "-", place,
           operand);
}

static struct json_object *site_object(const struct previrt_image *image,
                                       const struct previrt_image_site *record)
{
    const struct previrt_site *site = &record->site;
    struct json_object *object = json_object_new_object();
    char place[160], operand[80], name[16];

    describe_place(image, site->address, place, sizeof(place));
    describe_operand(site, operand, sizeof(operand));
    cli_json_set(object, "address", cli_json_address(site->address));
    cli_json_set_string(object, "place", place);
    cli_json_set_string(object, "op", op_name(site, name));
    if (site->arch == PREVIRT_ARCH_IA64) {
        cli_json_set_number(object, "slot", site->slot);
        cli_json_set_bool(object, "pinned", (site->operand & PREVIRT_IA64_OPERAND_PINNED) != 0);
        cli_json_set_number(object, "operand", site->operand);
        cli_json_set_string(object, "operand_text", operand);
        cli_json_set_number(object, "fragment", record->fragment);
        return object;
    }
    cli_json_set_number(object, "form", site->form);
    cli_json_set_number(object, "length", site->length);
    cli_json_set_number(object, "pad", site->pad);
    cli_json_set_bool(object, "flags_dead", (site->flags & PREVIRT_SITE_FLAGS_DEAD) != 0);
    cli_json_set_bool(object, "dormant", (site->flags & PREVIRT_SITE_DORMANT) != 0);
    if (site->flags & PREVIRT_SITE_DORMANT)
        cli_json_set_number(object, "feature", site->feature);
    else
        cli_json_set_number(object, "operand", site->operand);
    cli_json_set_string(object, "operand_text", operand);
    cli_json_set_number(object, "fragment", record->fragment);
    return object;
}

static int dump(const struct table_options *options, struct previrt_image *image)
{
    struct previrt_image_info info = {.size = sizeof(info)};
    const struct previrt_image_site *sites;
    struct json_object *root, *array;
    size_t count;
    int status = previrt_image_sites(image, &sites, &count);
    double each;

    if (status < 0)
        return fail_at(options->file, image, status);
    previrt_image_info(image, &info);
    each = count ? (double)info.table_bytes / (double)count : 0;
    if (!options->json) {
        if (info.arch == PREVIRT_ARCH_IA64)
            printf("%-16s:%s  %-15s %-6s  %-40s  %s\n", "address", "s", "operation", "flags",
                   "place", "operand");
        else
            printf("%-8s  %-14s %4s  %6s  %3s  %-5s  %-40s  %s\n", "address", "operation", "form",
                   "length", "pad", "flags", "place", "operand");
        for (size_t i = 0; i < count; i++)
            print_site(image, &sites[i]);
        printf("%zu sites, %" PRIu32 " fragments, %" PRIu64 " bytes, %.2f bytes a site%s\n", count,
               info.fragments, info.table_bytes, each, info.attached ? ", attached" : "");
        return CLI_OK;
    }
    root = json_object_new_object();
    array = json_object_new_array();
    for (size_t i = 0; i < count; i++)
        json_object_array_add(array, site_object(image, &sites[i]));
    cli_json_set_string(root, "file", options->file);
    cli_json_set_number(root, "sites", count);
    cli_json_set_number(root, "fragments", info.fragments);
    cli_json_set_number(root, "bytes", info.table_bytes);
    cli_json_set(root, "bytes_a_site", json_object_new_double(each));
    cli_json_set_bool(root, "attached", info.attached);
    cli_json_set(root, "records", array);
    return cli_json_print(root);
}

/* ---- verify ---- */

struct verification {
    const struct table_options *options;
    struct previrt_image *image;
    struct json_object *faults;
    size_t count;
};

static int report_fault(void *context, const struct previrt_image_fault *fault)
{
    struct verification *verification = context;
    char place[160] = "", name[16], value[64] = "";
    int is_record = fault->site.op != 0;

    verification->count++;
    if (is_record)
        describe_place(verification->image, fault->site.address, place, sizeof(place));
    if (fault->status == PREVIRT_E_OVERLAP)
        snprintf(value, sizeof(value), "; the site before is at 0x%" PRIx64, fault->value);
    else if (fault->status == PREVIRT_E_DIGEST)
        snprintf(value, sizeof(value), "; the text has 0x%08" PRIx64, fault->value);
    else if (fault->status == PREVIRT_E_BYTES || fault->status == PREVIRT_E_TAIL) {
        unsigned bytes = fault->status == PREVIRT_E_TAIL ? fault->site.pad : fault->site.length;

        snprintf(value, sizeof(value), "; there is");
        for (unsigned i = 0; i < bytes && i < 8; i++)
            snprintf(value + strlen(value), sizeof(value) - strlen(value), " %02x",
                     (unsigned)(fault->value >> (8 * i) & 0xff));
    }
    if (verification->faults) {
        struct json_object *object = json_object_new_object();

        if (is_record) {
            cli_json_set(object, "address", cli_json_address(fault->site.address));
            cli_json_set_string(object, "place", place);
            cli_json_set_string(object, "op", op_name(&fault->site, name));
        }
        cli_json_set_number(object, "fragment", fault->fragment);
        cli_json_set(object, "file_offset", cli_json_address(fault->file_offset));
        cli_json_set_string(object, "fault", previrt_strerror(fault->status));
        cli_json_set(object, "value", cli_json_address(fault->value));
        json_object_array_add(verification->faults, object);
    } else if (is_record) {
        cli_error("%s: 0x%" PRIx64 " (%s, %s, length %u, pad %u), fragment %" PRIu32 ": %s%s",
                  verification->options->file, fault->site.address, place,
                  op_name(&fault->site, name), fault->site.length, fault->site.pad, fault->fragment,
                  previrt_strerror(fault->status), value);
    } else {
        cli_error("%s: fragment %" PRIu32 ", file offset 0x%" PRIx64 ": %s%s",
                  verification->options->file, fault->fragment, fault->file_offset,
                  previrt_strerror(fault->status), value);
    }
    return 0;
}

static int verify(const struct table_options *options, struct previrt_image *image)
{
    struct verification verification = {.options = options, .image = image};
    struct previrt_image_info info = {.size = sizeof(info)};
    const struct previrt_image_site *sites;
    struct json_object *root;
    size_t count;
    int status = previrt_image_sites(image, &sites, &count), result;

    if (status < 0) /* not a table that could be right or wrong */
        return fail_at(options->file, image, status);
    if (options->json)
        verification.faults = json_object_new_array();
    status = previrt_image_verify(image, report_fault, &verification);
    previrt_image_info(image, &info);
    result = status < 0 ? CLI_FINDINGS : CLI_OK;
    if (options->json) {
        int printed;

        root = json_object_new_object();
        cli_json_set_string(root, "file", options->file);
        cli_json_set_number(root, "sites", count);
        cli_json_set_number(root, "fragments", info.fragments);
        cli_json_set_bool(root, "ok", status >= 0);
        cli_json_set(root, "faults", verification.faults);
        printed = cli_json_print(root);
        return printed ? printed : result;
    }
    if (status >= 0)
        printf("%s: %zu sites in %" PRIu32 " fragments match the text\n", options->file, count,
               info.fragments);
    else
        cli_error("%s: %zu faults", options->file, verification.count);
    return result;
}

/* ---- attach, extract ---- */

static int attach(const struct table_options *options, struct previrt_image *image)
{
    uint8_t *notes = NULL;
    size_t notes_size = 0, size;
    void *out;
    int status;

    if (options->table) {
        status = cli_read_file(options->table, &notes, &notes_size);
        if (status)
            return status;
    }
    status = previrt_image_attach(image, notes, notes_size, &out, &size);
    free(notes);
    if (status < 0)
        return fail_at(options->file, image, status);
    status = cli_write_file(options->output ? options->output : options->file, out, size);
    previrt_image_free(out);
    return status;
}

static int extract(const struct table_options *options, struct previrt_image *image)
{
    void *notes;
    size_t size;
    int status = previrt_image_extract(image, &notes, &size);

    if (status < 0)
        return fail_at(options->file, image, status);
    status = cli_write_file(options->output, notes, size);
    previrt_image_free(notes);
    return status;
}

int cmd_table(int argc, char **argv)
{
    static const struct argp_option option_list[] = {
        {"output", 'o', "OUT", 0, "Write to OUT (attach: default FILE itself)", 0},
        {"table", KEY_TABLE, "TABLE", 0, "attach: a table that extract wrote, not FILE's own", 0},
        {"json", KEY_JSON, 0, 0, "dump, verify: print JSON", 0},
        {0}};
    static const struct argp argp = {
        .options = option_list,
        .parser = parse,
        .args_doc = "dump|verify|attach|extract FILE",
        .doc = "Prints (dump) or verifies the patch-up table of FILE, merges its fragments into "
               "one sealed table (attach), or writes that table to a file (extract)."
               "\vExit status: 0 done; 1 verify found faults; 2 usage; 3 malformed file or table; "
               "4 input, output or environment."};
    struct table_options options = {0};
    struct previrt_image *image;
    int status;

    if (argp_parse(&argp, argc, argv, 0, NULL, &options))
        return CLI_USAGE;
    errno = 0;
    status = previrt_image_open(options.file, &image);
    if (status < 0)
        return cli_fail(status, options.file);
    switch (options.action) {
    case ACTION_DUMP:
        status = dump(&options, image);
        break;
    case ACTION_VERIFY:
        status = verify(&options, image);
        break;
    case ACTION_ATTACH:
        status = attach(&options, image);
        break;
    default:
        status = extract(&options, image);
        break;
    }
    previrt_image_close(image);
    return status;
}
