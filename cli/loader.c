/* SPDX-License-Identifier: BSD-2-Clause */
/* Where the back-ends' images are: in the build folder that this command stands in, or installed.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

int cli_find_loader(const char *backend, const char *name, char *path, size_t size)
{
    char directory[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", directory, sizeof(directory) - 1);
    char *slash;
    int needed;

    if (length < 0) {
        cli_error("/proc/self/exe: %s", strerror(errno));
        return CLI_IO;
    }
    directory[length] = 0;
    slash = strrchr(directory, '/');
    if (slash)
        *slash = 0;
    needed = snprintf(path, size, "%s/../backends/%s/%s", directory, backend, name);
    if (needed > 0 && (size_t)needed < size && access(path, R_OK) == 0)
        return CLI_OK;
    needed = snprintf(path, size, "%s/../libexec/previrt/%s", directory, name);
    if (needed > 0 && (size_t)needed < size && access(path, R_OK) == 0)
        return CLI_OK;
    cli_error("no %s beside %s", name, directory);
    return CLI_IO;
}
