/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of words: command lines, @file, options in the environment. */
#ifndef PREVIRT_CLI_WORDS_H
#define PREVIRT_CLI_WORDS_H

#include <stddef.h>

/* A list of strings that ends with a NULL pointer, as exec wants it. Zeroed is empty (word is then
 * NULL). */
struct words {
    char **word;
    size_t count, capacity;
};

/* These return PREVIRT_OK, PREVIRT_E_MEMORY, or PREVIRT_E_IO (words_expand_files: a response file).
 */
int words_add(struct words *words, const char *word);

/* Cuts (text) at white space; quotes group, a backslash takes the next character as it is: what GNU
 * tools do to response files. */
int words_split(struct words *words, const char *text, size_t size);

/* Adds (arguments), each @FILE replaced by the words in FILE. A file that cannot be opened is left
 * as it stands, as GNU tools do. */
int words_expand_files(struct words *words, char *const *arguments);

void words_free(struct words *words);

#endif
