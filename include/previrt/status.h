/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Statuses, common types and the macro that exports a symbol.
 *
 * Every function of libprevirt that can fail returns an int: PREVIRT_OK (0) or a positive value
 * where it says so, or one of the negative statuses below. The library never prints, exits or
 * aborts. Nothing in it is global: two threads may use it at once as long as they do not share an
 * object.
 */
#ifndef PREVIRT_STATUS_H
#define PREVIRT_STATUS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PREVIRT_API __attribute__((visibility("default")))
#else
#define PREVIRT_API
#endif

#define PREVIRT_VERSION_MAJOR 0
#define PREVIRT_VERSION_MINOR 1
#define PREVIRT_VERSION_PATCH 0

/* PREVIRT_STATUS(value, NAME, text) */
#define PREVIRT_STATUS_LIST(PREVIRT_STATUS)                                                        \
    PREVIRT_STATUS(0, OK, "success")                                                               \
    PREVIRT_STATUS(-1, E_INVALID, "invalid argument")                                              \
    PREVIRT_STATUS(-2, E_SPACE, "the caller's buffer is too small")                                \
    PREVIRT_STATUS(-3, E_MEMORY, "out of memory")                                                  \
    PREVIRT_STATUS(-4, E_IO, "input or output failed")                                             \
    PREVIRT_STATUS(-5, E_TRUNCATED, "the data ends too early")                                     \
    PREVIRT_STATUS(-6, E_MALFORMED, "the data is malformed")                                       \
    PREVIRT_STATUS(-7, E_VERSION, "the table's version is newer than this library")                \
    PREVIRT_STATUS(-8, E_ARCH, "wrong or unknown architecture")                                    \
    PREVIRT_STATUS(-9, E_NOT_ELF, "not an ELF file of a supported class")                          \
    PREVIRT_STATUS(-10, E_NO_TABLE, "there is no patch-up table")                                  \
    PREVIRT_STATUS(-11, E_RANGE, "address outside the executable sections")                        \
    PREVIRT_STATUS(-12, E_OVERLAP, "sites overlap or are not sorted")                              \
    PREVIRT_STATUS(-13, E_BYTES, "the bytes at the site are not those recorded")                   \
    PREVIRT_STATUS(-14, E_ROOM, "the room is too small for the rewrite, or larger than the limit") \
    PREVIRT_STATUS(-15, E_TAIL, "the tail of the room is not made of NOPs")                        \
    PREVIRT_STATUS(-16, E_DIGEST, "the digest does not match the text")                            \
    PREVIRT_STATUS(-17, E_OPERATION, "unknown operation or form")                                  \
    PREVIRT_STATUS(-18, E_REACH, "the target is out of reach of a relative call")                  \
    PREVIRT_STATUS(-19, E_STUBS, "the stub area is full")                                          \
    PREVIRT_STATUS(-20, E_REFUSED, "sites were refused")                                           \
    PREVIRT_STATUS(-21, E_STATE, "the object is not in the state that this call needs")            \
    PREVIRT_STATUS(-22, E_UNDECODABLE, "the bytes are not an instruction")                         \
    PREVIRT_STATUS(-23, E_UNFINISHED, "the table is an unfinished one of an object file")

enum previrt_status {
#define PREVIRT_STATUS_ENUM(value, NAME, text) PREVIRT_##NAME = value,
    PREVIRT_STATUS_LIST(PREVIRT_STATUS_ENUM)
#undef PREVIRT_STATUS_ENUM
};

/* Architectures, as a table's header spells them. */
enum previrt_arch { PREVIRT_ARCH_IA32 = 1, PREVIRT_ARCH_IA64 = 2 };

/* The text of (status), never NULL; static storage. Freestanding. */
PREVIRT_API const char *previrt_strerror(int status);

/* The version of the library that is linked, "0.1.0"; static storage. */
PREVIRT_API const char *previrt_version(void);

#ifdef __cplusplus
}
#endif

#endif
