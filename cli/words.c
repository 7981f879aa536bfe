/* SPDX-License-Identifier: BSD-2-Clause */
/* Lists of words. */
#include "words.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/status.h>

#define EXPANSION_DEPTH 64 /* response files that name response files */

int words_add(struct words *words, const char *word)
{
    char *copy;

    if (words->count + 1 >= words->capacity) {
        size_t capacity = words->capacity ? words->capacity * 2 : 32;
        char **grown = realloc(words->word, capacity * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        words->word = grown;
        words->capacity = capacity;
    }
    copy = strdup(word);
    if (!copy)
        return PREVIRT_E_MEMORY;
    words->word[words->count++] = copy;
    words->word[words->count] = NULL;
    return PREVIRT_OK;
}

int words_split(struct words *words, const char *text, size_t size)
{
    const char *end = text + size;
    char *word = malloc(size + 1);
    int status = PREVIRT_OK;

    if (!word)
        return PREVIRT_E_MEMORY;
    while (status == PREVIRT_OK) {
        size_t length = 0;
        char quote = 0;

        while (text < end && isspace((unsigned char)*text))
            text++;
        if (text == end)
            break;
        for (; text < end && (quote || !isspace((unsigned char)*text)); text++) {
            if (*text == '\\' && text + 1 < end)
                word[length++] = *++text;
            else if (quote ? *text == quote : *text == '"' || *text == '\'')
                quote = quote ? 0 : *text;
            else
                word[length++] = *text;
        }
        word[length] = '\0';
        status = words_add(words, word);
    }
    free(word);
    return status;
}

static int expand(struct words *words, char *const *arguments, unsigned depth)
{
    int status = PREVIRT_OK;

    for (; *arguments && status == PREVIRT_OK; arguments++) {
        struct words inner = {0};
        char *data = NULL;
        size_t size = 0, capacity = 0;
        FILE *file;

        if (**arguments != '@' || depth == EXPANSION_DEPTH ||
            !(file = fopen(*arguments + 1, "rb"))) {
            status = words_add(words, *arguments);
            continue;
        }
        do {
            char *grown = realloc(data, capacity = capacity * 2 + BUFSIZ);

            if (!grown) {
                status = PREVIRT_E_MEMORY;
                break;
            }
            data = grown;
            size += fread(data + size, 1, capacity - size, file);
        } while (!feof(file) && !ferror(file));
        if (status == PREVIRT_OK && ferror(file))
            status = PREVIRT_E_IO;
        fclose(file);
        if (status == PREVIRT_OK)
            status = words_split(&inner, data, size);
        if (status == PREVIRT_OK && inner.count)
            status = expand(words, inner.word, depth + 1);
        words_free(&inner);
        free(data);
    }
    return status;
}

int words_expand_files(struct words *words, char *const *arguments)
{
    return expand(words, arguments, 0);
}

void words_free(struct words *words)
{
    for (size_t i = 0; i < words->count; i++)
        free(words->word[i]);
    free(words->word);
    words->word = NULL;
    words->count = words->capacity = 0;
}
