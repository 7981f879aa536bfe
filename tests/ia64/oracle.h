/* SPDX-License-Identifier: BSD-2-Clause */
/* What the IA-64 oracle tests share: random code, objdump's view of it, a temporary folder. */
#ifndef TESTS_IA64_ORACLE_H
#define TESTS_IA64_ORACLE_H

#include <stddef.h>
#include <stdint.h>

#define ORACLE_SKIP 77 /* meson's status of a skipped test */
#define ORACLE_TEXT 120

/* What objdump says of one slot: its text without predicate padding, stop and symbols; "" for none.
 */
struct oracle_slot {
    char text[ORACLE_TEXT];
    uint8_t stop;
};

/* A bundle of random bits (state: xorshift64*); half of them crowd the system instructions. */
uint64_t oracle_random(uint64_t *state);
void oracle_random_bundle(uint64_t *state, uint8_t bytes[16]);

/* Disassembles (count) bundles with (objdump). 0, ORACLE_SKIP if it is not there, or 1 (told on
 * stderr). */
int oracle_disassemble(const char *objdump, const char *folder, const uint8_t *code, size_t count,
                       struct oracle_slot (*slots)[3]);

/*
 * Assembles (text) to raw bytes. (mode): "-xexplicit" checks dependency violations, "-xnone" does
 * not.
 * (*size): room in, bytes out. (*warnings): the assembler's messages, copied to stderr.
 */
int oracle_assemble(const char *prefix, const char *folder, const char *mode, const char *text,
                    uint8_t *code, size_t *size, int *warnings);

/*
 * Turns objdump's spelling into the assembler's where they differ: (p06) is (p6), and alloc's frame
 * is printed as sof, sol, sor but read as inputs, locals, outputs, rotating. (text) must have room
 * for 8 more bytes.
 */
void oracle_assembler_text(char *text);

/* Makes a temporary folder, (path) of 64 bytes, and removes it with what the functions above left
 * in it. */
int oracle_open(char *path);
void oracle_close(const char *path);

#endif
