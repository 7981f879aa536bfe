/* SPDX-License-Identifier: BSD-2-Clause */
/* Strings; memcpy() and its like come with the library's freestanding half. */
#include "loader.h"

int pv_string_equal(const char *a, const char *b)
{
    while (*a && *a == *b)
        a++, b++;
    return *a == *b;
}

size_t pv_string_length(const char *s)
{
    size_t length = 0;

    while (s[length])
        length++;
    return length;
}
