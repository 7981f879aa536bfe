/* SPDX-License-Identifier: BSD-2-Clause */
#include <previrt/status.h>

#define TEXT(x)  TEXT_(x)
#define TEXT_(x) #x

const char *previrt_strerror(int status)
{
    switch (status) {
#define PREVIRT_STATUS_TEXT(value, NAME, text)                                                     \
    case PREVIRT_##NAME:                                                                           \
        return text;
        PREVIRT_STATUS_LIST(PREVIRT_STATUS_TEXT)
#undef PREVIRT_STATUS_TEXT
    default:
        return status > 0 ? "success" : "unknown status";
    }
}

const char *previrt_version(void)
{
    return TEXT(PREVIRT_VERSION_MAJOR) "." TEXT(PREVIRT_VERSION_MINOR) "." TEXT(
        PREVIRT_VERSION_PATCH);
}
