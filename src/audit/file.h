/* SPDX-License-Identifier: BSD-2-Clause */
/* Maps a file for reading. */
#ifndef PREVIRT_AUDIT_FILE_H
#define PREVIRT_AUDIT_FILE_H

#include <previrt/status.h>

struct pv_file {
    const void *data; /* never NULL after success */
    size_t size;
};

/* PREVIRT_OK, E_IO (errno says why), E_MEMORY. */
int pv_file_open(struct pv_file *file, const char *path);
void pv_file_close(struct pv_file *file);

#endif
