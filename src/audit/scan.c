/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts the sensitive operations of a file: scan.h. */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/scan.h>

#include "audit/archive.h"
#include "audit/file.h"
#include "audit/walk.h"

static int report_sites(const struct pv_view *elf, const struct pv_walk *walk,
                        const struct previrt_scan_options *options)
{
    for (size_t i = 0; i < walk->site_count; i++) {
        const struct pv_found *found = &walk->sites[i];
        const struct pv_code *code = &walk->codes[found->code];
        const struct pv_view_symbol *symbol = pv_view_symbol_at(code->view, found->address);
        uint64_t offset = found->address - code->section->address;
        struct previrt_scan_site site = {
            .section = code->section->name,
            .symbol = symbol ? symbol->name : NULL,
            .address = elf->type == ET_REL ? offset : found->address,
            .symbol_offset = symbol ? found->address - symbol->address : 0,
            .bytes = code->bytes + offset,
            .length = found->length,
            .op = found->op,
            .overlapping = found->overlapping,
            .slot = found->slot,
            .arch = elf->machine == EM_IA_64 ? PREVIRT_ARCH_IA64 : PREVIRT_ARCH_IA32,
            .container = code->container,
        };
        int status = options->site(options->context, &site);

        if (status)
            return status;
    }
    return PREVIRT_OK;
}

static int scan_elf(const void *file, size_t size, const struct previrt_scan_options *options,
                    struct previrt_scan_result *result)
{
    struct pv_walk walk;
    struct pv_view elf;
    int status = pv_view_open(&elf, file, size);

    result->machine = elf.machine;
    if (status)
        return status;
    status = pv_walk_run(&walk, &elf, options->bits);
    if (status)
        goto out;
    result->bits = (uint16_t)walk.decoder.bits;
    result->objects++;
    result->sites += walk.site_count;
    result->instructions += walk.instructions;
    result->code_bytes += walk.code_bytes;
    result->data_bytes += walk.data_bytes;
    result->filler_bytes += walk.filler_bytes;
    result->undecided_bytes += walk.undecided_bytes;
    for (size_t i = 0; i < walk.site_count; i++)
        (elf.machine == EM_IA_64 ? result->ia64_counts : result->counts)[walk.sites[i].op]++;
    if (options->site)
        status = report_sites(&elf, &walk, options);
    pv_walk_free(&walk);
out:
    pv_view_close(&elf);
    return status;
}

/* (directory): of the archive, for thin ones; NULL: not known. */
static int scan_archive(const void *file, size_t size, const char *directory,
                        const struct previrt_scan_options *options,
                        struct previrt_scan_result *result)
{
    struct pv_archive archive;
    struct pv_member *member = malloc(sizeof(*member));
    int status;

    if (!member)
        return PREVIRT_E_MEMORY;
    pv_archive_begin(&archive, file, size);
    while ((status = pv_archive_next(&archive, member)) > 0) {
        if (options->object) {
            status = options->object(options->context, member->name);
            if (status)
                break;
        }
        if (member->data) {
            status = scan_elf(member->data, member->size, options, result);
        } else {
            char path[2 * sizeof(member->name)];
            struct pv_file opened;

            if (!directory) {
                status = PREVIRT_E_STATE;
                break;
            }
            if (strlen(directory) + strlen(member->name) + 1 > sizeof(path)) {
                status = PREVIRT_E_MALFORMED;
                break;
            }
            strcpy(path, member->name[0] == '/' ? "" : directory);
            strcat(path, member->name);
            status = pv_file_open(&opened, path);
            if (status)
                break;
            status = scan_elf(opened.data, opened.size, options, result);
            pv_file_close(&opened);
        }
        if (status == PREVIRT_E_NOT_ELF) {
            result->skipped++;
            status = PREVIRT_OK;
        }
        if (status)
            break;
    }
    free(member);
    return status;
}

static int scan(const void *file, size_t size, const char *directory,
                const struct previrt_scan_options *options, struct previrt_scan_result *result)
{
    static const struct previrt_scan_options defaults = {.size = sizeof(defaults)};
    uint32_t result_size = result ? result->size : 0;

    if (!file || result_size < sizeof(*result) || (options && options->size < sizeof(*options)))
        return PREVIRT_E_INVALID;
    memset(result, 0, sizeof(*result));
    result->size = result_size;
    if (!options)
        options = &defaults;
    if (options->bits && options->bits != 16 && options->bits != 32 && options->bits != 64)
        return PREVIRT_E_INVALID;
    if (pv_archive_is(file, size))
        return scan_archive(file, size, directory, options, result);
    if (options->object) {
        int status = options->object(options->context, NULL);

        if (status)
            return status;
    }
    return scan_elf(file, size, options, result);
}

int previrt_scan_mem(const void *file, size_t size, const struct previrt_scan_options *options,
                     struct previrt_scan_result *result)
{
    return scan(file, size, NULL, options, result);
}

int previrt_scan_file(const char *path, const struct previrt_scan_options *options,
                      struct previrt_scan_result *result)
{
    struct pv_file file;
    char *directory, *slash;
    int status;

    if (!path)
        return PREVIRT_E_INVALID;
    directory = strdup(path);
    if (!directory)
        return PREVIRT_E_MEMORY;
    slash = strrchr(directory, '/');
    if (slash)
        slash[1] = 0;
    else
        directory[0] = 0;
    status = pv_file_open(&file, path);
    if (!status) {
        status = scan(file.data, file.size, directory, options, result);
        pv_file_close(&file);
    }
    free(directory);
    return status;
}
