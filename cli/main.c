/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt VERB ...: finds the verb and runs it.
 *
 * Called under the name `as` (libexec/previrt/as, for `gcc -B`) it is `previrt as`: GCC finds its
 * assembler by that name in the directory that -B gives.
 */
#include <argp.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

struct verb {
    const char *name;
    const char *summary;
    int (*run)(int argc, char **argv);
};

static const struct verb verbs[] = {
#define CLI_VERB(verb, summary) {#verb, summary, cmd_##verb},
#include "verbs.def"
#undef CLI_VERB
};

static const struct verb *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

static void print_help(FILE *file)
{
    fprintf(file, "Usage: previrt VERB [ARGUMENT...]\n"
                  "Pre-virtualization: annotates, audits and rewrites the sensitive operations of "
                  "a kernel.\n\n"
                  "Verbs:\n");
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        fprintf(file, "  %-9s  %s\n", verbs[i].name, verbs[i].summary);
    fprintf(
        file,
        "\n  --help, -h     this text; `previrt VERB --help` for a verb's own\n"
        "  --version, -V  the version\n\n"
        "Exit status: 0 done; 1 findings or refused sites; 2 usage; 3 malformed or unsupported\n"
        "input; 4 input, output or environment.\n");
}

static void print_version(FILE *file, struct argp_state *state)
{
    (void)state;
    fprintf(file, "previrt %s\n", previrt_version());
}

/* What was printed must have arrived: a full disk behind `> file` is an error. */
static int finish(int status)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("standard output: %s", strerror(errno));
        return status ? status : CLI_IO;
    }
    return status;
}

static int run_verb(const struct verb *verb, int argc, char **argv)
{
    static char name[64];

    snprintf(name, sizeof(name), "previrt %s", verb->name);
    cli_verb = verb->name;
    argv[0] = name;
    program_invocation_name = program_invocation_short_name = name;
    return finish(verb->run(argc, argv));
}

int main(int argc, char **argv)
{
    const char *base = argc > 0 ? strrchr(argv[0], '/') : NULL;
    const struct verb *verb;

    if (argc < 1)
        return CLI_USAGE;
    argp_err_exit_status = CLI_USAGE;
    argp_program_version_hook = print_version;

    base = base ? base + 1 : argv[0];
    if (strcmp(base, "as") == 0) {
        verb = find_verb("as");
        if (verb)
            return run_verb(verb, argc, argv);
    }

    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return finish(CLI_OK);
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        print_version(stdout, NULL);
        return finish(CLI_OK);
    }
    verb = find_verb(argv[1]);
    if (!verb) {
        fprintf(stderr, "previrt: %s \"%s\"; `previrt --help` lists the verbs\n",
                argv[1][0] == '-' ? "unknown option" : "unknown verb", argv[1]);
        return CLI_USAGE;
    }
    return run_verb(verb, argc - 1, argv + 1);
}
