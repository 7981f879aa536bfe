/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt as: GNU as for IA32 with the annotator in front and the finish pass behind it.
 *
 * The text goes to the assembler through a memory file on its standard input, so nothing is left
 * behind whatever happens. Whatever is for another machine, has no site, or asks only for
 * information is handed to the assembler as it is, by exec.
 *
 * IA-64 text is not touched, since its sites need no room: the assembler reads its inputs itself,
 * and the table is added to the object.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <previrt/annotate.h>
#include <previrt/image.h>

#include "cli.h"
#include "words.h"

#define ENV_ASSEMBLER "PREVIRT_AS"
#define ENV_OPTIONS   "PREVIRT_AS_OPTIONS"
#define ENV_RULES     "PREVIRT_RULES"
#define ENV_RUNNING   "PREVIRT_AS_RUNNING" /* set for the assembler: it must not be us again */
#define ENV_COMPILER  "COLLECT_GCC"        /* GCC's driver sets it to its own name */

/* A stub is about 64 bytes, and Linux 6.1 has 1,400 of them; .bss costs no byte of the file. */
#define STUB_ROOM     0x40000
#define STUB_ROOM_MAX 0x4000000

#define IA64_TRIPLE "ia64-"           /* what a compiler's name begins with */
#define IA64_PREFIX "ia64-linux-gnu-" /* of the assembler, if nothing names another */

extern char **environ;

struct as_command {
    struct words arguments; /* for the assembler, our own options and the inputs left out */
    struct words inputs;    /* "-" is standard input */
    struct words all;       /* for the assembler, inputs included, in their order */
    const char *output, *depfile, *rules_file;
    unsigned isa; /* enum previrt_arch; 0: not said, IA32 if the options select 32-bit code */
    int bits;
    int information; /* --version, --help: nothing is assembled */
    int stats;
    uint32_t stub_room;
    struct previrt_annotate_options annotate;
};

static const char usage[] =
    "Usage: previrt as [OPTION...] [ARGUMENT-OF-AS...]\n"
    "Assembles with GNU as; annotates the sensitive operations of IA32 and IA-64 code.\n\n"
    "  --isa ia32|ia64      whose code it is; without it, IA-64 if the compiler's or assembler's\n"
    "                       name begins with ia64-, else IA32 where 32-bit code is assembled\n"
    "  --pad=prefix|nop     how room is made (default prefix)\n"
    "  --cpu=generic|i486|i586|i686\n"
    "                       which NOPs may be used (default generic)\n"
    "  --static NAME        static mode: native or vcpu code in place of the operations, no table\n"
    "                       (these three are for IA32)\n"
    "  --stub-room BYTES    room for stubs in the object that the rules name (IA-64; 262144)\n"
    "  --rules FILE         what to leave alone, instead of the built-in rules\n"
    "  --previrt-stats      print what was annotated\n"
    "  --previrt-help       this text\n\n"
    "Environment: " ENV_ASSEMBLER " the assembler to run, else `as' (for IA-64 with the\n"
    "compiler's prefix or ia64-linux-gnu-) on PATH; " ENV_OPTIONS " more options;\n" ENV_RULES
    " the same as --rules. Exit status: the assembler's; 3 if the "
    "finish pass fails; 4 for\nthe environment.\n";

/* ---- the command line ---- */

static int choose(const char *option, const char *value, const char *const *names, uint32_t *result)
{
    for (uint32_t i = 0; names[i]; i++) {
        if (strcmp(names[i], value) == 0) {
            *result = i;
            return 0;
        }
    }
    cli_error("%s: unknown value `%s'", option, value);
    return CLI_USAGE;
}

static int room_for_stubs(const char *value, uint32_t *room)
{
    char *end;
    unsigned long long bytes = strtoull(value, &end, 0);

    if (end == value || *end || *value == '-' || bytes > STUB_ROOM_MAX ||
        bytes % PREVIRT_IA64_BUNDLE_SIZE) {
        cli_error("--stub-room: `%s' is not a multiple of %d up to %d", value,
                  PREVIRT_IA64_BUNDLE_SIZE, STUB_ROOM_MAX);
        return CLI_USAGE;
    }
    *room = (uint32_t)bytes;
    return CLI_OK;
}

/* One of our own options at (*word). 1: it was, and (*status) is set; (*word) may have moved on. */
static int own_option(struct as_command *command, char ***word, int *status)
{
    static const char *const pads[] = {"prefix", "nop", NULL};
    static const char *const cpus[] = {"generic", "i486", "i586", "i686", NULL};
    static const char *const targets[] = {"none", "native", "vcpu", NULL};
    static const char *const isas[] = {"", "ia32", "ia64", NULL};
    const char *text = **word, *value;
    static const char *const with_value[] = {"--static", "--rules", "--isa", "--stub-room", NULL};

    *status = CLI_OK;
    if (strncmp(text, "--pad=", 6) == 0) {
        *status = choose("--pad", text + 6, pads, &command->annotate.pad);
        return 1;
    }
    if (strncmp(text, "--cpu=", 6) == 0) {
        *status = choose("--cpu", text + 6, cpus, &command->annotate.cpu);
        return 1;
    }
    if (strcmp(text, "--previrt-stats") == 0) {
        command->stats = 1;
        return 1;
    }
    for (int i = 0; with_value[i]; i++) {
        size_t length = strlen(with_value[i]);

        if (strncmp(text, with_value[i], length) != 0 || (text[length] && text[length] != '='))
            continue;
        value = text[length] ? text + length + 1 : *++*word;
        if (!value) {
            --*word;
            cli_error("%s: value missing", with_value[i]);
            *status = CLI_USAGE;
        } else if (i == 0) {
            *status = choose("--static", value, targets, &command->annotate.target);
        } else if (i == 1) {
            command->rules_file = value;
        } else if (i == 2) {
            *status = choose("--isa", *value ? value : "?", isas, &command->isa);
        } else {
            *status = room_for_stubs(value, &command->stub_room);
        }
        return 1;
    }
    return 0;
}

/* GNU as' options whose value is the next word if it is not joined by `='. */
static int takes_value(const char *word)
{
    static const char *const options[] = {"-o",
                                          "-I",
                                          "--MD",
                                          "-MD",
                                          "--defsym",
                                          "-defsym",
                                          "--debug-prefix-map",
                                          "--hash-size",
                                          "--listing-lhs-width",
                                          "--listing-lhs-width2",
                                          "--listing-rhs-width",
                                          "--listing-cont-lines",
                                          "--multibyte-handling",
                                          "-march",
                                          "--march",
                                          "-mtune",
                                          "--mtune",
                                          "-mmnemonic",
                                          "--mmnemonic",
                                          "-msyntax",
                                          "--msyntax",
                                          "-msse-check",
                                          "-moperand-check",
                                          "-mavxscalar",
                                          "-mvexwig",
                                          "-mevexlig",
                                          "-mevexwig",
                                          "-mevexrcig",
                                          "-madd-bnd-prefix",
                                          "-momit-lock-prefix",
                                          "-mfence-as-lock-add",
                                          "-mrelax-relocations",
                                          "-malign-branch-boundary",
                                          "-malign-branch-prefix-size",
                                          "-malign-branch",
                                          "-mx86-used-note",
                                          "-mlfence-after-load",
                                          "-mlfence-before-indirect-branch",
                                          "-mlfence-before-ret",
                                          "-N",
                                          NULL};

    /* these few stand alone, or have their value joined */
    if (strcmp(word, "-madd-bnd-prefix") == 0)
        return 0;
    for (int i = 0; options[i]; i++)
        if (strcmp(options[i], word) == 0)
            return 1;
    return 0;
}

static int default_bits(const char *assembler)
{
    const char *base = strrchr(assembler, '/');

    base = base ? base + 1 : assembler;
    if (base[0] == 'i' && base[1] >= '3' && base[1] <= '6' && strncmp(base + 2, "86", 2) == 0)
        return 32; /* i686-linux-gnu-as */
    return sizeof(void *) == 4 ? 32 : 64;
}

static void note_option(struct as_command *command, const char *word, const char *value)
{
    if (strcmp(word, "--32") == 0)
        command->bits = 32;
    else if (strcmp(word, "--64") == 0 || strcmp(word, "--x32") == 0)
        command->bits = 64;
    else if (strcmp(word, "-o") == 0)
        command->output = value;
    else if (strncmp(word, "-o", 2) == 0)
        command->output = word + 2;
    else if (strcmp(word, "--MD") == 0 || strcmp(word, "-MD") == 0)
        command->depfile = value;
    else if (strncmp(word, "--MD=", 5) == 0)
        command->depfile = word + 5;
    else if (strcmp(word, "--version") == 0 || strcmp(word, "-version") == 0 ||
             strcmp(word, "--help") == 0 || strcmp(word, "--target-help") == 0)
        command->information = 1;
    else if (strncmp(word, "-g", 2) == 0 || strncmp(word, "--g", 3) == 0)
        command->annotate.line_info = 1;
    else if (strcmp(word, "-msyntax=intel") == 0 || strcmp(word, "--msyntax=intel") == 0)
        command->annotate.intel = 1;
    else if ((strcmp(word, "-msyntax") == 0 || strcmp(word, "--msyntax") == 0) && value &&
             strcmp(value, "intel") == 0)
        command->annotate.intel = 1;
}

static int parse(struct as_command *command, char **words, int own_only)
{
    int status, options_end = 0;

    for (char **word = words; *word; word++) {
        const char *text = *word, *value = NULL;

        if (strcmp(text, "--previrt-help") == 0) {
            fputs(usage, stdout);
            return -1;
        }
        if (!options_end && own_option(command, &word, &status)) {
            if (status)
                return status;
            continue;
        }
        if (own_only) {
            cli_error("%s: `%s' is not an option of previrt as", ENV_OPTIONS, text);
            return CLI_USAGE;
        }
        if (text[0] == '-' && text[1] && !options_end && strcmp(text, "--") != 0) {
            if (takes_value(text) && word[1])
                value = *++word;
            note_option(command, text, value);
            if (words_add(&command->arguments, text) || words_add(&command->all, text) ||
                (value &&
                 (words_add(&command->arguments, value) || words_add(&command->all, value))))
                return cli_fail(PREVIRT_E_MEMORY, "command line");
            continue;
        }
        /* `--' alone is standard input to GNU as, not the end of its options */
        if (words_add(&command->inputs, strcmp(text, "--") ? text : "-") ||
            words_add(&command->all, text))
            return cli_fail(PREVIRT_E_MEMORY, "command line");
    }
    return CLI_OK;
}

/* ---- the assembler ---- */

static int same_file(const char *path, const struct stat *self)
{
    struct stat status;

    return stat(path, &status) == 0 && status.st_dev == self->st_dev &&
           status.st_ino == self->st_ino;
}

static int is_program(const char *path)
{
    struct stat status;

    return stat(path, &status) == 0 && S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* (name) on PATH, but never this program. NULL: there is none. The result is to be freed. */
static char *search_path(const char *name, const struct stat *self)
{
    const char *path = getenv("PATH");

    if (!path)
        path = "/usr/bin:/bin";
    for (;;) {
        size_t length = strcspn(path, ":");
        char *candidate;

        if (asprintf(&candidate, "%.*s%s%s", (int)length, path, length ? "/" : "", name) < 0)
            return NULL;
        if (is_program(candidate) && !same_file(candidate, self))
            return candidate;
        free(candidate);
        if (path[length] == '\0')
            return NULL;
        path += length + 1;
    }
}

/* "ia64-linux-gnu-" of "/usr/bin/ia64-linux-gnu-gcc-12", as a string to be freed; NULL: (program)
 * is not named like a tool for IA-64. */
static char *ia64_prefix(const char *program)
{
    static const char *const tools[] = {"-gcc", "-g++", "-c++", "-cc", "-cpp", "-as"};
    const char *base = program ? strrchr(program, '/') : NULL;

    base = base ? base + 1 : program;
    if (!base || strncmp(base, IA64_TRIPLE, strlen(IA64_TRIPLE)) != 0)
        return NULL;
    for (size_t i = 0; i < sizeof(tools) / sizeof(tools[0]); i++) {
        const char *tool = strstr(base, tools[i]);

        if (tool)
            return strndup(base, (size_t)(tool + 1 - base));
    }
    return strdup(IA64_PREFIX);
}

/* The assembler for IA-64: with the compiler's prefix, on PATH or beside the compiler. */
static char *search_ia64(const char *prefix, const struct stat *self)
{
    const char *compiler = getenv(ENV_COMPILER);
    const char *slash = compiler ? strrchr(compiler, '/') : NULL;
    char *name, *found = NULL;

    if (asprintf(&name, "%sas", prefix) < 0)
        return NULL;
    if (slash && asprintf(&found, "%.*s/%s", (int)(slash - compiler), compiler, name) < 0)
        found = NULL;
    if (!found || !is_program(found) || same_file(found, self)) {
        free(found);
        found = search_path(name, self);
    }
    if (!found)
        cli_error("no assembler: `%s' is not on PATH, and %s is not set", name, ENV_ASSEMBLER);
    free(name);
    return found;
}

/* (prefix): of the tools for IA-64; NULL: for the machine that this runs on. */
static char *find_assembler(const char *prefix)
{
    const char *wanted = getenv(ENV_ASSEMBLER);
    struct stat self = {0};
    char *found;

    if (stat("/proc/self/exe", &self) < 0)
        memset(&self, 0, sizeof(self));
    if (getenv(ENV_RUNNING)) {
        cli_error("the assembler that was found, `%s', is previrt as again: set %s",
                  getenv(ENV_RUNNING), ENV_ASSEMBLER);
        return NULL;
    }
    if (wanted && *wanted) {
        found = strchr(wanted, '/') ? strdup(wanted) : search_path(wanted, &self);
        if (!found || !is_program(found) || same_file(found, &self)) {
            cli_error("%s: `%s' is not an assembler that can be run", ENV_ASSEMBLER, wanted);
            free(found);
            return NULL;
        }
        return found;
    }
    if (prefix)
        return search_ia64(prefix, &self);
    found = search_path("as", &self);
    if (!found)
        cli_error("no assembler: `as' is not on PATH, and %s is not set", ENV_ASSEMBLER);
    return found;
}

/* Runs the assembler in place of this program. (input) >= 0: a file for its standard input. */
static int exec_assembler(const char *assembler, const struct words *arguments, int input)
{
    if (input >= 0 && dup2(input, STDIN_FILENO) < 0) {
        cli_error("standard input: %s", strerror(errno));
        return CLI_IO;
    }
    fflush(stdout);
    setenv(ENV_RUNNING, assembler, 1);
    execv(assembler, arguments->word);
    cli_error("%s: %s", assembler, strerror(errno));
    return CLI_IO;
}

/* Passes on what the assembler said. It names the text's own lines by the markers in it, but where
 * it means the file as a whole it says that it read standard input: puts the input's name there. */
static void pass_messages(int messages, const char *name)
{
    static const char standard_input[] = "{standard input}:";
    char *line = NULL;
    size_t capacity = 0;
    ssize_t length;
    FILE *file;

    if (lseek(messages, 0, SEEK_SET) < 0 || !(file = fdopen(messages, "rb"))) {
        close(messages);
        return;
    }
    while ((length = getline(&line, &capacity, file)) > 0) {
        size_t prefix = sizeof(standard_input) - 1;

        if (strncmp(line, standard_input, prefix) == 0)
            fprintf(stderr, "%s%s", name, line + prefix - 1);
        else
            fwrite(line, 1, (size_t)length, stderr);
    }
    free(line);
    fclose(file);
}

/* Runs it and waits. Its exit status; if a signal ended it, ends this program by the same. (name):
 * of the input, for messages about it as a whole; NULL: standard input. */
static int run_assembler(const char *assembler, const struct words *arguments, int input,
                         const char *name)
{
    posix_spawn_file_actions_t actions;
    int error, status, messages = name ? memfd_create("messages", MFD_CLOEXEC) : -1;
    pid_t child;

    setenv(ENV_RUNNING, assembler, 1);
    error = posix_spawn_file_actions_init(&actions);
    if (!error)
        error = posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    if (!error && messages >= 0)
        error = posix_spawn_file_actions_adddup2(&actions, messages, STDERR_FILENO);
    if (!error)
        error = posix_spawn(&child, assembler, &actions, NULL, arguments->word, environ);
    posix_spawn_file_actions_destroy(&actions);
    unsetenv(ENV_RUNNING);
    if (error) {
        cli_error("%s: %s", assembler, strerror(error));
        return CLI_IO;
    }
    while (waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) {
            cli_error("%s: %s", assembler, strerror(errno));
            return CLI_IO;
        }
    }
    if (messages >= 0)
        pass_messages(messages, name);
    if (WIFSIGNALED(status)) {
        signal(WTERMSIG(status), SIG_DFL);
        raise(WTERMSIG(status));
        return 128 + WTERMSIG(status);
    }
    return WEXITSTATUS(status);
}

/* A memory file that holds (data), at its beginning; -1 after a message. */
static int memory_file(const char *data, size_t size)
{
    int fd = memfd_create("previrt-as", MFD_CLOEXEC);

    if (fd < 0) {
        cli_error("memory file: %s", strerror(errno));
        return -1;
    }
    while (size > 0) {
        ssize_t done = write(fd, data, size);

        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0) {
            cli_error("memory file: %s", strerror(errno));
            close(fd);
            return -1;
        }
        data += done;
        size -= (size_t)done;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* ---- inputs ---- */

struct text {
    char *data;
    size_t size;
    int from_stdin; /* standard input was consumed */
};

static int append(struct text *text, const char *data, size_t size)
{
    char *grown = realloc(text->data, text->size + size + 1);

    if (!grown)
        return cli_fail(PREVIRT_E_MEMORY, "input");
    text->data = grown;
    memcpy(grown + text->size, data, size);
    text->size += size;
    return CLI_OK;
}

/* Several inputs are one text to the assembler; each but the first begins with a marker of its
 * name. */
static int append_input(struct text *text, const char *name, const char *data, size_t size)
{
    int status = CLI_OK;

    if (text->size && text->data[text->size - 1] != '\n')
        status = append(text, "\n", 1);
    if (!status) {
        char *marker;
        int length = asprintf(&marker, "# 1 \"%s\"\n", name);

        if (length < 0)
            return cli_fail(PREVIRT_E_MEMORY, "input");
        status = append(text, marker, (size_t)length);
        free(marker);
    }
    return status ? status : append(text, data, size);
}

/* 0; -1: a file cannot be read, which the assembler shall say in its own words; or an exit status.
 */
static int read_inputs(const struct words *inputs, struct text *text)
{
    size_t count = inputs->count ? inputs->count : 1;

    memset(text, 0, sizeof(*text));
    for (size_t i = 0; i < count; i++) {
        const char *name = inputs->count ? inputs->word[i] : "-";
        struct stat stat_of_input;
        uint8_t *data;
        size_t size;
        int status;

        if (strcmp(name, "-") == 0)
            text->from_stdin = 1;
        else if (access(name, R_OK) < 0 || stat(name, &stat_of_input) < 0 ||
                 S_ISDIR(stat_of_input.st_mode))
            return -1;
        status = cli_read_file(name, &data, &size);
        if (status)
            return status;
        if (count == 1) {
            text->data = (char *)data;
            text->size = size;
            return CLI_OK;
        }
        status = append_input(text, strcmp(name, "-") ? name : "{standard input}",
                              (const char *)data, size);
        free(data);
        if (status)
            return status;
    }
    return CLI_OK;
}

static int load_rules(const char *path, unsigned arch, struct previrt_rules **rules)
{
    struct previrt_rules_error error = {0};
    uint8_t *data;
    size_t size;
    int status;

    if (!path)
        path = getenv(ENV_RULES);
    if (!path || !*path) {
        status = previrt_rules_default_for(arch, rules);
        return status ? cli_fail(status, "built-in rules") : CLI_OK;
    }
    status = cli_read_file(path, &data, &size);
    if (status)
        return status;
    status = previrt_rules_parse((const char *)data, size, rules, &error);
    free(data);
    if (status == PREVIRT_E_MALFORMED) {
        cli_error("%s:%u: %s", path, error.line, error.text);
        return CLI_MALFORMED;
    }
    return status ? cli_fail(status, path) : CLI_OK;
}

/* ---- after the assembler ---- */

/* The assembler read a memory file, so its dependency file does not name the inputs: puts them
 * there. */
static int complete_depfile(const struct as_command *command)
{
    const char *output = command->output ? command->output : "a.out";
    struct stat status;
    uint8_t *data = NULL;
    size_t size = 0, target = 0;
    struct cli_output out;
    int result;

    if (stat(command->depfile, &status) == 0 && status.st_size > 0) {
        const uint8_t *colon;

        result = cli_read_file(command->depfile, &data, &size);
        if (result)
            return result;
        colon = memmem(data, size, ": ", 2);
        target = colon ? (size_t)(colon - data) + 1 : 0;
    }
    result = cli_output_open(&out, command->depfile);
    if (result) {
        free(data);
        return result;
    }
    if (target)
        fwrite(data, 1, target, out.file);
    else
        fprintf(out.file, "%s:", output);
    for (size_t i = 0; i < command->inputs.count; i++)
        if (strcmp(command->inputs.word[i], "-") != 0)
            fprintf(out.file, " %s", command->inputs.word[i]);
    if (target)
        fwrite(data + target, 1, size - target, out.file);
    else
        fputc('\n', out.file);
    free(data);
    return cli_output_commit(&out);
}

/* The records that are not what the annotator took them for: a defect of ours, said with all that
 * is known. */
static void print_mismatches(const char *output, const struct previrt_finish_report *report)
{
    uint32_t listed = report->mismatch_count;

    if (listed > PREVIRT_FINISH_MISMATCHES)
        listed = PREVIRT_FINISH_MISMATCHES;
    for (uint32_t i = 0; i < listed; i++) {
        const struct previrt_finish_mismatch *mismatch = &report->mismatches[i];
        const struct previrt_ia32_op_info *expected = previrt_ia32_op_info(mismatch->expected);
        const struct previrt_ia32_op_info *found = previrt_ia32_op_info(mismatch->found);
        char bytes[3 * sizeof(mismatch->bytes) + 1] = "";

        for (unsigned b = 0; b < mismatch->byte_count && b < sizeof(mismatch->bytes); b++)
            snprintf(bytes + 3 * b, 4, " %02x", mismatch->bytes[b]);
        cli_error("%s: %s+0x%llx: %s expected, %s found:%s (%s)", output, mismatch->section,
                  (unsigned long long)mismatch->offset, expected ? expected->name : "an operation",
                  found ? found->name : "none", bytes, previrt_strerror(mismatch->status));
    }
}

static int finish(const struct as_command *command)
{
    const char *output = command->output ? command->output : "a.out";
    struct previrt_finish_report report = {.size = sizeof(report)};
    struct stat stat_of_output;
    int status;

    if (stat(output, &stat_of_output) < 0 || !S_ISREG(stat_of_output.st_mode))
        return CLI_OK; /* /dev/null: a probe */
    status = previrt_image_finish_object(output, &report);
    if (status >= 0)
        return CLI_OK;
    print_mismatches(output, &report);
    cli_error("%s: the table cannot be finished: %s", output, previrt_strerror(status));
    unlink(output);
    return status == PREVIRT_E_IO || status == PREVIRT_E_MEMORY ? CLI_IO : CLI_MALFORMED;
}

static void print_stats(const char *name, const struct previrt_annotate_stats *stats)
{
    fprintf(stderr,
            "previrt as: %s: %u sites, %u dormant, %u in macros, %u with dead flags, %u excluded; "
            "pads: %u prefix bytes, %u nop bytes; static: %u replaced, %u left\n",
            name, stats->sites, stats->dormant, stats->in_macros, stats->flags_dead,
            stats->excluded, stats->prefix_bytes, stats->nop_bytes, stats->replaced,
            stats->unknown);
}

static int assemble(struct as_command *command, const char *assembler)
{
    struct previrt_annotate_stats stats = {.size = sizeof(stats)};
    const char *first = command->inputs.count ? command->inputs.word[0] : "-";
    int named = strcmp(first, "-") != 0, status, fd;
    struct previrt_rules *rules;
    struct text text;
    char *annotated;
    size_t size;

    status = load_rules(command->rules_file, PREVIRT_ARCH_IA32, &rules);
    if (status)
        return status;
    command->annotate.rules = rules;
    command->annotate.output = command->output;
    command->annotate.source = first;
    command->annotate.name = named ? first : "{standard input}";
    status = read_inputs(&command->inputs, &text);
    if (status == -1) {
        previrt_rules_free(rules);
        return exec_assembler(assembler, &command->all, -1);
    }
    if (status)
        goto out;
    status = previrt_annotate(text.data, text.size, &command->annotate, &annotated, &size, &stats);
    if (status) {
        status = cli_fail(status, first);
        goto out;
    }
    if (command->stats)
        print_stats(first, &stats);
    if (!annotated) { /* nothing to change: the assembler may have the original */
        fd = -1;
        if (text.from_stdin) {
            fd = memory_file(text.data, text.size);
            if (fd < 0) {
                status = CLI_IO;
                goto out;
            }
            /* with standard input among several files, all of them are in the memory file */
            if (command->inputs.count > 1)
                status = exec_assembler(assembler, &command->arguments, fd);
            else
                status = exec_assembler(assembler, &command->all, fd);
        } else {
            status = exec_assembler(assembler, &command->all, fd);
        }
        goto out;
    }
    fd = memory_file(annotated, size);
    free(annotated);
    if (fd < 0) {
        status = CLI_IO;
        goto out;
    }
    if (command->depfile)
        unlink(command->depfile);
    status = run_assembler(assembler, &command->arguments, fd, named ? first : NULL);
    close(fd);
    if (status == CLI_OK && command->depfile)
        status = complete_depfile(command);
    if (status == CLI_OK && command->annotate.target == PREVIRT_STATIC_NONE)
        status = finish(command);
out:
    free(text.data);
    previrt_rules_free(rules);
    return status;
}

/* IA-64: the assembler works as it always does, and the object gets its table. */
static int assemble_ia64(const struct as_command *command, const char *assembler)
{
    const char *output = command->output ? command->output : "a.out";
    const char *first = command->inputs.count ? command->inputs.word[0] : "-";
    struct previrt_ia64_annotate_options options = {.size = sizeof(options),
                                                    .stub_room = command->stub_room,
                                                    .output = command->output,
                                                    .source = first};
    struct previrt_ia64_annotate_report report = {.size = sizeof(report)};
    struct previrt_rules *rules;
    struct stat stat_of_output;
    int status;

    if (command->annotate.target != PREVIRT_STATIC_NONE) {
        cli_error("--static: there is no static mode for IA-64");
        return CLI_USAGE;
    }
    status = load_rules(command->rules_file, PREVIRT_ARCH_IA64, &rules);
    if (status)
        return status;
    options.rules = rules;
    status = run_assembler(assembler, &command->all, STDIN_FILENO, NULL);
    if (status || stat(output, &stat_of_output) < 0 || !S_ISREG(stat_of_output.st_mode))
        goto out; /* /dev/null: a probe */
    status = previrt_ia64_annotate_object(output, &options, &report);
    if (status < 0) {
        cli_error("%s: no table can be added: %s", output, previrt_strerror(status));
        unlink(output);
        status = status == PREVIRT_E_IO || status == PREVIRT_E_MEMORY ? CLI_IO : CLI_MALFORMED;
        goto out;
    }
    if (command->stats)
        fprintf(stderr,
                "previrt as: %s: %u sites, %u pinned, %u excluded, %llu bundles; %u table bytes\n",
                first, report.sites, report.pinned, report.excluded,
                (unsigned long long)report.bundles, report.table_bytes);
out:
    previrt_rules_free(rules);
    return status;
}

/* Which tools are meant, before the command line is read in earnest: (*prefix) is "ia64-linux-gnu-"
 * or the like for IA-64, to be freed, else NULL. */
static int choose_isa(struct as_command *command, const struct words *arguments,
                      const char *invoked_as, char **prefix)
{
    const char *self = strrchr(invoked_as, ' '); /* "previrt as" */
    struct as_command scratch = *command;
    int status = CLI_OK;

    for (char **word = arguments->word; word && *word && !status; word++)
        if (strncmp(*word, "--isa", 5) == 0 && ((*word)[5] == '\0' || (*word)[5] == '='))
            own_option(&scratch, &word, &status);
    if (status)
        return status;
    *prefix = ia64_prefix(getenv(ENV_COMPILER));
    if (!*prefix)
        *prefix = ia64_prefix(self ? self + 1 : invoked_as);
    if (!*prefix)
        *prefix = ia64_prefix(getenv(ENV_ASSEMBLER));
    if (!scratch.isa)
        scratch.isa = *prefix ? PREVIRT_ARCH_IA64 : 0;
    if (scratch.isa == PREVIRT_ARCH_IA64 && !*prefix)
        *prefix = strdup(IA64_PREFIX);
    if (scratch.isa != PREVIRT_ARCH_IA64) {
        free(*prefix);
        *prefix = NULL;
    }
    command->isa = scratch.isa;
    return CLI_OK;
}

int cmd_as(int argc, char **argv)
{
    struct as_command command = {.annotate = {.size = sizeof(command.annotate)},
                                 .stub_room = STUB_ROOM};
    struct words expanded = {0}, from_environment = {0};
    const char *more = getenv(ENV_OPTIONS);
    char *assembler = NULL, *prefix = NULL;
    int status;

    (void)argc;
    status = words_expand_files(&expanded, argv + 1);
    if (!status && more)
        status = words_split(&from_environment, more, strlen(more));
    if (status) {
        status = cli_fail(status, "command line");
        goto out;
    }
    if (from_environment.count) {
        status = parse(&command, from_environment.word, 1);
        if (status)
            goto out;
    }
    status = choose_isa(&command, &expanded, argv[0], &prefix);
    if (status)
        goto out;
    assembler = find_assembler(prefix);
    if (!assembler) {
        status = CLI_IO;
        goto out;
    }
    command.bits = default_bits(assembler);
    if (words_add(&command.arguments, assembler) || words_add(&command.all, assembler)) {
        status = cli_fail(PREVIRT_E_MEMORY, "command line");
        goto out;
    }
    if (expanded.count) {
        status = parse(&command, expanded.word, 0);
        if (status)
            goto out;
    }
    if (!command.information && command.isa == PREVIRT_ARCH_IA64)
        status = assemble_ia64(&command, assembler);
    else if (command.information || command.bits != 32)
        status = exec_assembler(assembler, &command.all, -1);
    else
        status = assemble(&command, assembler);
out:
    free(assembler);
    free(prefix);
    words_free(&expanded);
    words_free(&from_environment);
    words_free(&command.arguments);
    words_free(&command.all);
    words_free(&command.inputs);
    return status < 0 ? CLI_OK : status;
}
