/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads ar archives, GNU's and thin ones (ar(5); BFD's archive.c is where the thin format is
 * described). */
#ifndef PREVIRT_AUDIT_ARCHIVE_H
#define PREVIRT_AUDIT_ARCHIVE_H

#include <stdbool.h>

#include <previrt/status.h>

struct pv_archive {
    const uint8_t *file;
    size_t size;
    size_t next; /* offset of the next header */
    bool thin;
    const uint8_t *names; /* the table of long names, NULL: not seen yet */
    size_t names_size;
};

struct pv_member {
    char name[4096];     /* NUL-terminated; of a thin archive: a path, relative to the archive's
                            directory */
    const uint8_t *data; /* NULL in a thin archive */
    size_t size;
};

bool pv_archive_is(const void *file, size_t size);
void pv_archive_begin(struct pv_archive *archive, const void *file, size_t size);

/* The next member that is a file (symbol tables are passed over): 1, 0 at the end,
 * PREVIRT_E_MALFORMED, E_TRUNCATED. */
int pv_archive_next(struct pv_archive *archive, struct pv_member *member);

#endif
