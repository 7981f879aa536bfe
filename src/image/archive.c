/* SPDX-License-Identifier: BSD-2-Clause */
/* Members of an ar archive, in the System V and GNU format (ar(5)). */
#include <ar.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/image.h>

enum { NAME_MAX_SIZE = 256 };
static const char thin_magic[] = "!<thin>\n";

/* A decimal field, blanks behind it; SIZE_MAX if it is none. */
static size_t read_decimal(const char *field, size_t size)
{
    size_t value = 0, i = 0;

    while (i < size && field[i] >= '0' && field[i] <= '9')
        value = 10 * value + (size_t)(field[i++] - '0');
    if (!i)
        return SIZE_MAX;
    while (i < size)
        if (field[i++] != ' ')
            return SIZE_MAX;
    return value;
}

/* A member's name: in the header up to a slash, or "/123", an offset into the member "//". */
static int read_name(const struct ar_hdr *header, const char *names, size_t names_size,
                     char name[NAME_MAX_SIZE])
{
    const char *from = header->ar_name;
    size_t size = sizeof(header->ar_name), used = 0;

    if (from[0] == '/') {
        size_t offset = read_decimal(from + 1, size - 1);

        if (offset >= names_size)
            return PREVIRT_E_MALFORMED;
        from = names + offset;
        size = names_size - offset;
    }
    while (used < size && used < NAME_MAX_SIZE - 1 && from[used] != '/' && from[used] != '\n' &&
           from[used])
        used++;
    if (from == header->ar_name)
        while (used && from[used - 1] == ' ')
            used--;
    memcpy(name, from, used);
    name[used] = 0;
    return PREVIRT_OK;
}

int previrt_image_archive_mem(const void *data, size_t size, previrt_image_member_fn member,
                              void *context)
{
    const char *bytes = data, *names = NULL;
    size_t at = SARMAG, names_size = 0;

    if (!data || !member)
        return PREVIRT_E_INVALID;
    if (size < SARMAG)
        return PREVIRT_E_NOT_ELF;
    if (memcmp(bytes, thin_magic, SARMAG) == 0)
        return PREVIRT_E_STATE;
    if (memcmp(bytes, ARMAG, SARMAG) != 0)
        return PREVIRT_E_NOT_ELF;
    while (at < size) {
        struct ar_hdr header;
        char name[NAME_MAX_SIZE];
        size_t member_size;
        int status;

        if (size - at < sizeof(header))
            return PREVIRT_E_TRUNCATED;
        memcpy(&header, bytes + at, sizeof(header));
        at += sizeof(header);
        member_size = read_decimal(header.ar_size, sizeof(header.ar_size));
        if (memcmp(header.ar_fmag, ARFMAG, sizeof(header.ar_fmag)) != 0 || member_size == SIZE_MAX)
            return PREVIRT_E_MALFORMED;
        if (member_size > size - at)
            return PREVIRT_E_TRUNCATED;
        if (memcmp(header.ar_name, "// ", 3) == 0) {
            names = bytes + at;
            names_size = member_size;
        } else if (memcmp(header.ar_name, "/ ", 2) != 0 &&
                   memcmp(header.ar_name, "/SYM64/", 7) != 0) {
            status = read_name(&header, names, names_size, name);
            if (status >= 0)
                status = member(context, name, bytes + at, member_size);
            if (status)
                return status;
        }
        at += member_size + (member_size & 1); /* members begin at even offsets */
    }
    return PREVIRT_OK;
}
