/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt pack for IA-64 guests: the work is that of the back-end's own program, which puts the
 * rewritten guest and the monitor into one file for the bare machine (docs/ia64.md).
 */
#include <elf.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli.h"

#define BACKEND "ia64"
#define PACKER  "previrt-ia64-pack"
#define MONITOR "previrt-ia64-monitor.elf"

int cli_is_ia64(const char *path)
{
    FILE *file = fopen(path, "rb");
    Elf64_Ehdr head;
    int is = file && fread(&head, sizeof(head), 1, file) == 1 &&
             memcmp(head.e_ident, ELFMAG, SELFMAG) == 0 && head.e_machine == EM_IA_64;

    if (file)
        fclose(file);
    return is;
}

int cli_pack_ia64(const char *kernel, const char *output, const char *monitor)
{
    char packer[CLI_LOADER_MAX], found[CLI_LOADER_MAX], option[CLI_LOADER_MAX + 16];
    char *arguments[] = {packer, "--target=vcpu", option, NULL, NULL, NULL};
    int status = cli_find_loader(BACKEND, PACKER, packer, sizeof(packer));
    pid_t child;

    if (!status && !monitor) {
        status = cli_find_loader(BACKEND, MONITOR, found, sizeof(found));
        monitor = found;
    }
    if (status)
        return status;
    if ((size_t)snprintf(option, sizeof(option), "--monitor=%s", monitor) >= sizeof(option)) {
        cli_error("%s: the name is too long", monitor);
        return CLI_USAGE;
    }
    arguments[3] = (char *)kernel;
    arguments[4] = (char *)output;
    errno = posix_spawn(&child, packer, NULL, NULL, arguments, environ);
    if (errno || waitpid(child, &status, 0) < 0 || !WIFEXITED(status)) {
        cli_error("%s: %s", packer, errno ? strerror(errno) : "it was ended");
        return CLI_IO;
    }
    return WEXITSTATUS(status); /* it has the same statuses, and says why */
}
