/* SPDX-License-Identifier: BSD-2-Clause */
/* See archive.h. */
#include <stdlib.h>
#include <string.h>

#include "audit/archive.h"

#define MAGIC      "!<arch>\n"
#define THIN_MAGIC "!<thin>\n"
#define MAGIC_SIZE 8

/* ar(5): text, padded with spaces. */
struct ar_header {
    char name[16], date[12], uid[6], gid[6], mode[8], size[10], magic[2];
};

bool pv_archive_is(const void *file, size_t size)
{
    return size >= MAGIC_SIZE &&
           (memcmp(file, MAGIC, MAGIC_SIZE) == 0 || memcmp(file, THIN_MAGIC, MAGIC_SIZE) == 0);
}

void pv_archive_begin(struct pv_archive *archive, const void *file, size_t size)
{
    memset(archive, 0, sizeof(*archive));
    archive->file = file;
    archive->size = size;
    archive->thin = memcmp(file, THIN_MAGIC, MAGIC_SIZE) == 0;
    archive->next = MAGIC_SIZE;
}

/* A decimal number in a field that need not end with a NUL. */
static bool number(const char *field, size_t width, size_t *value)
{
    size_t i = 0;

    *value = 0;
    for (; i < width && field[i] >= '0' && field[i] <= '9'; i++)
        *value = *value * 10 + (size_t)(field[i] - '0');
    return i > 0;
}

static bool name_of(const struct pv_archive *archive, const struct ar_header *header,
                    struct pv_member *member)
{
    const char *from = header->name;
    size_t length = 0, limit = sizeof(header->name), offset;

    if (header->name[0] == '/') { /* "/123": in the table of long names */
        if (!number(header->name + 1, sizeof(header->name) - 1, &offset) ||
            offset >= archive->names_size)
            return false;
        from = (const char *)archive->names + offset;
        limit = archive->names_size - offset;
    }
    while (length < limit && from[length] != '\n' && from[length] != '\0')
        length++;
    if (header->name[0] != '/')
        while (length && from[length - 1] == ' ')
            length--;
    if (length && from[length - 1] == '/') /* GNU's end of a name */
        length--;
    if (!length || length >= sizeof(member->name))
        return false;
    memcpy(member->name, from, length);
    member->name[length] = 0;
    return true;
}

int pv_archive_next(struct pv_archive *archive, struct pv_member *member)
{
    for (;;) {
        struct ar_header header;
        bool is_symbols, is_names;
        size_t size, data;

        if (archive->next >= archive->size)
            return 0;
        if (archive->size - archive->next < sizeof(header))
            return PREVIRT_E_TRUNCATED;
        memcpy(&header, archive->file + archive->next, sizeof(header));
        if (memcmp(header.magic, "`\n", 2) != 0 || !number(header.size, sizeof(header.size), &size))
            return PREVIRT_E_MALFORMED;
        data = archive->next + sizeof(header);
        is_names = memcmp(header.name, "// ", 3) == 0;
        is_symbols = memcmp(header.name, "/ ", 2) == 0 || memcmp(header.name, "/SYM64/", 7) == 0;
        if (archive->thin && !is_names && !is_symbols) {
            archive->next = data; /* the member itself is elsewhere */
            member->data = NULL;
        } else {
            if (size > archive->size - data)
                return PREVIRT_E_TRUNCATED;
            archive->next = data + size + (size & 1); /* members begin at even offsets */
            member->data = archive->file + data;
        }
        member->size = size;
        if (is_names) {
            archive->names = archive->file + data;
            archive->names_size = size;
        }
        if (is_names || is_symbols)
            continue;
        return name_of(archive, &header, member) ? 1 : PREVIRT_E_MALFORMED;
    }
}
