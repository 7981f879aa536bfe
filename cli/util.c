/* SPDX-License-Identifier: BSD-2-Clause */
/* Messages, files and JSON for the verbs. */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <json-c/json.h>
#include <previrt/ia32.h>
#include <previrt/ia64.h>

#include "cli.h"

const char *cli_verb = "";

void cli_error(const char *format, ...)
{
    va_list arguments;

    /* stdout first, so that the two streams keep their order in one terminal or log */
    fflush(stdout);
    fprintf(stderr, "previrt%s%s: ", *cli_verb ? " " : "", cli_verb);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
}

int cli_exit_status(int status)
{
    switch (status) {
    case PREVIRT_OK:
        return CLI_OK;
    case PREVIRT_E_REFUSED:
        return CLI_FINDINGS;
    case PREVIRT_E_INVALID:
    case PREVIRT_E_SPACE:
    case PREVIRT_E_MEMORY:
    case PREVIRT_E_IO:
    case PREVIRT_E_STATE:
        return CLI_IO;
    default:
        return status > 0 ? CLI_OK : CLI_MALFORMED;
    }
}

int cli_fail(int status, const char *where)
{
    cli_error("%s: %s", where, previrt_strerror(status));
    return cli_exit_status(status);
}

const char *cli_op_name(unsigned arch, unsigned op)
{
    if (arch == PREVIRT_ARCH_IA64) {
        const struct previrt_ia64_op_info *info = previrt_ia64_op_info(op);

        return info ? info->name : NULL;
    } else {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

        return info ? info->name : NULL;
    }
}

int cli_read_file(const char *path, uint8_t **data, size_t *size)
{
    const size_t first_block = 1 << 16;
    bool standard = strcmp(path, "-") == 0;
    FILE *file = standard ? stdin : fopen(path, "rb");
    uint8_t *buffer = NULL;
    size_t used = 0, capacity = 0;
    struct stat stat;

    if (!file) {
        cli_error("%s: %s", path, strerror(errno));
        return CLI_IO;
    }
    if (fstat(fileno(file), &stat) == 0 && S_ISREG(stat.st_mode) && stat.st_size > 0)
        capacity = (size_t)stat.st_size + 2; /* so that the end is seen without growing */
    else
        capacity = first_block;
    for (;;) {
        uint8_t *grown = buffer && used + 1 < capacity ? buffer : realloc(buffer, capacity);
        size_t got;

        if (!grown) {
            cli_error("%s: out of memory at %zu bytes", path, capacity);
            goto fail;
        }
        buffer = grown;
        got = fread(buffer + used, 1, capacity - used - 1, file);
        used += got;
        if (ferror(file)) {
            cli_error("%s: %s", path, strerror(errno));
            goto fail;
        }
        if (feof(file))
            break;
        if (used + 1 == capacity)
            capacity *= 2;
    }
    if (!standard)
        fclose(file);
    buffer[used] = 0;
    *data = buffer;
    *size = used;
    return CLI_OK;
fail:
    if (!standard)
        fclose(file);
    free(buffer);
    return CLI_IO;
}

int cli_output_open(struct cli_output *out, const char *path)
{
    static const char suffix[] = ".XXXXXX";
    struct stat stat_of_target;
    mode_t mode;
    int fd;

    memset(out, 0, sizeof(*out));
    if (strcmp(path, "-") == 0) {
        out->file = stdout;
        return CLI_OK;
    }
    out->path = strdup(path);
    if (!out->path)
        return cli_fail(PREVIRT_E_MEMORY, path);
    if (stat(path, &stat_of_target) == 0) {
        if (!S_ISREG(stat_of_target.st_mode)) {
            out->file = fopen(path, "wb");
            if (!out->file)
                goto fail;
            return CLI_OK;
        }
        mode = stat_of_target.st_mode & 07777;
    } else {
        mode_t mask = umask(0);

        umask(mask);
        mode = 0666 & ~mask;
    }
    out->temporary = malloc(strlen(path) + sizeof(suffix));
    if (!out->temporary)
        goto fail;
    strcpy(out->temporary, path);
    strcat(out->temporary, suffix);
    fd = mkstemp(out->temporary);
    if (fd < 0) {
        free(out->temporary);
        out->temporary = NULL;
        goto fail;
    }
    if (fchmod(fd, mode) < 0 || !(out->file = fdopen(fd, "w+b"))) {
        close(fd);
        goto fail;
    }
    return CLI_OK;
fail:
    cli_error("%s: cannot write: %s", path, strerror(errno));
    cli_output_abort(out);
    return CLI_IO;
}

int cli_output_commit(struct cli_output *out)
{
    FILE *file = out->file;
    bool bad;

    if (file == stdout) {
        out->file = NULL;
        return CLI_OK; /* main() looks at stdout's errors */
    }
    bad = ferror(file) != 0;
    bad = fclose(file) != 0 || bad;
    out->file = NULL;
    if (bad || (out->temporary && rename(out->temporary, out->path) < 0)) {
        cli_error("%s: cannot write: %s", out->path, strerror(errno));
        cli_output_abort(out);
        return CLI_IO;
    }
    free(out->temporary);
    free(out->path);
    memset(out, 0, sizeof(*out));
    return CLI_OK;
}

void cli_output_abort(struct cli_output *out)
{
    if (out->file && out->file != stdout)
        fclose(out->file);
    if (out->temporary)
        unlink(out->temporary);
    free(out->temporary);
    free(out->path);
    memset(out, 0, sizeof(*out));
}

int cli_write_file(const char *path, const void *data, size_t size)
{
    struct cli_output out;
    int status = cli_output_open(&out, path);

    if (status)
        return status;
    fwrite(data, 1, size, out.file); /* commit looks at the stream's errors */
    return cli_output_commit(&out);
}

struct json_object *cli_json_address(uint64_t address)
{
    char text[2 + 16 + 1];

    snprintf(text, sizeof(text), "0x%08" PRIx64, address);
    return json_object_new_string(text);
}

struct json_object *cli_json_bytes(const uint8_t *bytes, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    char text[2 * 64 + 1];
    size_t used = 0;

    for (size_t i = 0; i < size && used + 2 < sizeof(text); i++) {
        text[used++] = digits[bytes[i] >> 4];
        text[used++] = digits[bytes[i] & 0xf];
    }
    text[used] = 0;
    return json_object_new_string(text);
}

void cli_json_set(struct json_object *object, const char *key, struct json_object *value)
{
    json_object_object_add(object, key, value);
}

void cli_json_set_string(struct json_object *object, const char *key, const char *value)
{
    cli_json_set(object, key, value ? json_object_new_string(value) : NULL);
}

void cli_json_set_number(struct json_object *object, const char *key, uint64_t value)
{
    cli_json_set(object, key, json_object_new_uint64(value));
}

void cli_json_set_bool(struct json_object *object, const char *key, bool value)
{
    cli_json_set(object, key, json_object_new_boolean(value));
}

int cli_json_print(struct json_object *object)
{
    const char *text = json_object_to_json_string_ext(
        object, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE);
    int status = CLI_OK;

    if (!text) {
        cli_error("JSON: out of memory");
        status = CLI_IO;
    } else {
        puts(text);
    }
    json_object_put(object);
    return status;
}
