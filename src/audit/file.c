/* SPDX-License-Identifier: BSD-2-Clause */
/* See file.h. The file is read, not mapped: one that shrinks meanwhile must not raise SIGBUS. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit/file.h"

int pv_file_open(struct pv_file *file, const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat stat;
    uint8_t *data;
    size_t used = 0;
    int error;

    if (fd < 0)
        return PREVIRT_E_IO;
    if (fstat(fd, &stat) < 0)
        goto fail;
    if (!S_ISREG(stat.st_mode)) {
        errno = S_ISDIR(stat.st_mode) ? EISDIR : EINVAL;
        goto fail;
    }
    data = malloc((size_t)stat.st_size + 1);
    if (!data) {
        close(fd);
        return PREVIRT_E_MEMORY;
    }
    while (used < (size_t)stat.st_size) {
        ssize_t got = read(fd, data + used, (size_t)stat.st_size - used);

        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            error = errno;
            free(data);
            errno = error;
            goto fail;
        }
        if (got == 0)
            break;
        used += (size_t)got;
    }
    close(fd);
    file->data = data;
    file->size = used;
    return PREVIRT_OK;
fail:
    error = errno;
    close(fd);
    errno = error;
    return PREVIRT_E_IO;
}

void pv_file_close(struct pv_file *file)
{
    free((void *)file->data);
    file->data = NULL;
}
