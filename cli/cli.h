/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the verbs of `previrt` share: messages, exit statuses, files, JSON.
 *
 * A verb is int cmd_VERB(int argc, char **argv): argv[0] is "previrt VERB" (so that argp's and
 * getopt's own messages begin as ours do), and what it returns is the exit status.
 */
#ifndef PREVIRT_CLI_H
#define PREVIRT_CLI_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <previrt/status.h>

/* Exit statuses, the same for every verb. */
enum cli_status {
    CLI_OK = 0,
    CLI_FINDINGS = 1,  /* audit found something, sites were refused */
    CLI_USAGE = 2,     /* the command line */
    CLI_MALFORMED = 3, /* the input is not what it should be, or not supported */
    CLI_IO = 4         /* files, memory, the environment */
};

#define CLI_VERB(verb, summary) int cmd_##verb(int argc, char **argv);
#include "verbs.def"
#undef CLI_VERB

/* The verb that runs, "scan"; set by main(). */
extern const char *cli_verb;

/* Prints "previrt VERB: MESSAGE\n" on stderr. The message says what, where, and which value. */
void cli_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The exit status that goes with a negative enum previrt_status. */
int cli_exit_status(int status);

/* Prints "previrt VERB: WHERE: text of (status)" and returns cli_exit_status(status). */
int cli_fail(int status, const char *where);

/* The name of operation (op) of (arch), enum previrt_arch; NULL: there is no such operation. */
const char *cli_op_name(unsigned arch, unsigned op);

/*
 * Reads a whole file; "-" is standard input. 0, or the exit status after a message. (*data) is to
 * be freed, and has one NUL more than (*size) says, so that text can be used as a string.
 */
int cli_read_file(const char *path, uint8_t **data, size_t *size);

/*
 * A file that appears whole or not at all: written to a temporary beside the target, renamed by
 * commit. "-" is standard output; a target that exists and is no regular file (/dev/null, a pipe)
 * is written in place. An existing target's mode is kept.
 *
 *     struct cli_output out;
 *     int status = cli_output_open(&out, path);
 *     if (status)
 *         return status;
 *     fwrite(..., out.file);
 *     return cli_output_commit(&out);    or    cli_output_abort(&out); on the way out of an error
 */
struct cli_output {
    FILE *file;
    char *path;      /* of the target, for messages */
    char *temporary; /* NULL: written in place */
};

/* These return 0 or the exit status after a message; after a failed commit nothing is left behind.
 */
int cli_output_open(struct cli_output *out, const char *path);
int cli_output_commit(struct cli_output *out);
void cli_output_abort(struct cli_output *out);

/* open, write, commit. */
int cli_write_file(const char *path, const void *data, size_t size);

/*
 * The image (name) of back-end (backend): 0 and its (path), or the exit status after a message.
 * (size) is CLI_LOADER_MAX.
 */
#define CLI_LOADER_MAX (PATH_MAX + 64)
int cli_find_loader(const char *backend, const char *name, char *path, size_t size);

/* Packs (kernel) with the VMM for Xen into (output), as `previrt pack` does; 0 or the exit status
 * after a message. */
int cli_pack_xen(const char *kernel, const char *output);

/* Whether (path) is an ELF file for IA-64. */
int cli_is_ia64(const char *path);

/* The same for an IA-64 guest and the monitor (NULL: the one beside this command). */
int cli_pack_ia64(const char *kernel, const char *output, const char *monitor);

/* JSON, over json-c. Addresses and raw bytes are hexadecimal strings ("0xc1000000", "0fa2"). */
struct json_object;
struct json_object *cli_json_address(uint64_t address);
struct json_object *cli_json_bytes(const uint8_t *bytes, size_t size);
void cli_json_set(struct json_object *object, const char *key, struct json_object *value);
void cli_json_set_string(struct json_object *object, const char *key, const char *value);
void cli_json_set_number(struct json_object *object, const char *key, uint64_t value);
void cli_json_set_bool(struct json_object *object, const char *key, bool value);

/* Prints (object) and a newline on stdout and drops it; 0 or the exit status after a message. */
int cli_json_print(struct json_object *object);

#endif
