/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * previrt cc [OPTION...] COMPILER [ARGUMENT...]: runs the compiler so that it assembles with
 * `previrt as`.
 *
 * Adds -B with the directory that holds `as' right behind the compiler's name (behind a launcher's:
 * ccache, distcc, sccache), for clang -fno-integrated-as too, and becomes the compiler by exec.
 * Options in front of COMPILER are those of `previrt as`; they travel in the environment.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "words.h"

#define ENV_OPTIONS   "PREVIRT_AS_OPTIONS"
#define ENV_DIRECTORY "PREVIRT_LIBEXEC" /* where `as' is, if not where it was installed */
#define ENV_ASSEMBLER "PREVIRT_AS"
#define ENV_RULES     "PREVIRT_RULES"

static const char usage[] =
    "Usage: previrt cc [OPTION-OF-PREVIRT-AS...] COMPILER [ARGUMENT...]\n"
    "Runs COMPILER (gcc, clang; a launcher such as ccache may stand in front) so that it "
    "assembles\nwith `previrt as'. Options: --isa, --pad=, --cpu=, --static, --rules, "
    "--stub-room, --previrt-stats;\nsee `previrt as --previrt-help'. Environment: "
    "PREVIRT_LIBEXEC, the directory that holds `as'.\n"
    "Exit status: the compiler's; 2 usage; 4 environment.\n";

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static int is_launcher(const char *word)
{
    static const char *const names[] = {"ccache", "distcc", "sccache", "icecc", "nice", NULL};

    for (int i = 0; names[i]; i++)
        if (strcmp(base_name(word), names[i]) == 0)
            return 1;
    return 0;
}

static int has_assembler(const char *directory)
{
    char path[PATH_MAX];
    struct stat status;
    int length = snprintf(path, sizeof(path), "%s/as", directory);

    return length > 0 && (size_t)length < sizeof(path) && stat(path, &status) == 0 &&
           S_ISREG(status.st_mode) && access(path, X_OK) == 0;
}

/* The directory that holds `as': named by the environment, beside the build tree's cli/, or
 * installed. */
static int find_directory(char directory[PATH_MAX])
{
    static const char *const places[] = {"../libexec/previrt", PREVIRT_LIBEXEC_DIRECTORY};
    const char *wanted = getenv(ENV_DIRECTORY);
    char self[PATH_MAX], candidate[2 * PATH_MAX], *slash;
    ssize_t length;

    if (wanted && *wanted) {
        if (!has_assembler(wanted) || !realpath(wanted, directory)) {
            cli_error("%s: no program `as' in `%s'", ENV_DIRECTORY, wanted);
            return CLI_IO;
        }
        return CLI_OK;
    }
    length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (length > 0) {
        self[length] = '\0';
        slash = strrchr(self, '/');
        *slash = '\0';
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            if (places[i][0] == '/')
                snprintf(candidate, sizeof(candidate), "%s", places[i]);
            else
                snprintf(candidate, sizeof(candidate), "%s/%s", self, places[i]);
            if (has_assembler(candidate) && realpath(candidate, directory))
                return CLI_OK;
        }
    }
    cli_error("the directory with `as' was not found beside `%s': set %s", length > 0 ? self : "?",
              ENV_DIRECTORY);
    return CLI_IO;
}

/* clang by name, or by what it says of itself (a plain `cc' may be either). */
static int is_clang(const char *compiler)
{
    char *command, line[256];
    const char *name = base_name(compiler);
    int found = 0;
    FILE *pipe;

    if (strstr(name, "clang"))
        return 1;
    if (strstr(name, "gcc") || strstr(name, "g++") || strchr(compiler, '\''))
        return 0;
    if (asprintf(&command, "'%s' --version 2>/dev/null </dev/null", compiler) < 0)
        return 0;
    pipe = popen(command, "r");
    free(command);
    if (!pipe)
        return 0;
    while (fgets(line, sizeof(line), pipe))
        found |= strstr(line, "clang") != NULL;
    pclose(pipe);
    return found;
}

/* Appends one word to the environment's option list so that words_split() gives it back. */
static int export_option(char **list, const char *word)
{
    size_t used = *list ? strlen(*list) : 0;
    char *grown = realloc(*list, used + 2 * strlen(word) + 2);

    if (!grown)
        return PREVIRT_E_MEMORY;
    *list = grown;
    if (used)
        grown[used++] = ' ';
    for (; *word; word++) {
        if (strchr(" \t\n\"'\\", *word))
            grown[used++] = '\\';
        grown[used++] = *word;
    }
    grown[used] = '\0';
    return PREVIRT_OK;
}

/* Puts (value) behind what the variable holds already, (separator) in between. */
static int extend_variable(const char *name, char separator, const char *value)
{
    const char *before = getenv(name);
    char *joined;
    int status;

    if (!before || !*before)
        return setenv(name, value, 1) < 0 ? PREVIRT_E_MEMORY : PREVIRT_OK;
    if (asprintf(&joined, "%s%c%s", before, separator, value) < 0)
        return PREVIRT_E_MEMORY;
    status = setenv(name, joined, 1) < 0 ? PREVIRT_E_MEMORY : PREVIRT_OK;
    free(joined);
    return status;
}

/*
 * ccache's key has the compiler and its command line, but not what the assembler is, nor what the
 * environment tells it: without this, an object that was annotated with other options, other rules
 * or another annotator would come out of the cache. ccache(1): CCACHE_NAMESPACE, CCACHE_EXTRAFILES.
 */
static int tell_ccache(const char *directory, const char *options)
{
    const char *rules = getenv(ENV_RULES), *assembler = getenv(ENV_ASSEMBLER);
    struct words words = {0};
    char *text;
    int status = words_split(&words, options, strlen(options));

    for (size_t i = 0; !status && i < words.count; i++) {
        if (strncmp(words.word[i], "--rules=", 8) == 0)
            rules = words.word[i] + 8;
        else if (strcmp(words.word[i], "--rules") == 0 && i + 1 < words.count)
            rules = words.word[i + 1];
    }
    if (!status && asprintf(&text, "previrt %s %s", assembler ? assembler : "", options) < 0)
        status = PREVIRT_E_MEMORY;
    if (!status) {
        status = extend_variable("CCACHE_NAMESPACE", ' ', text);
        free(text);
    }
    if (!status &&
        asprintf(&text, "%s/as%s%s", directory, rules && *rules ? ":" : "", rules ? rules : "") < 0)
        status = PREVIRT_E_MEMORY;
    if (!status) {
        status = extend_variable("CCACHE_EXTRAFILES", ':', text);
        free(text);
    }
    words_free(&words);
    return status;
}

int cmd_cc(int argc, char **argv)
{
    char directory[PATH_MAX], flag[PATH_MAX + 2];
    const char *inherited = getenv(ENV_OPTIONS);
    char *options = inherited && *inherited ? strdup(inherited) : NULL;
    struct words words = {0};
    int i, status, exported = 0;

    for (i = 1; i < argc && argv[i][0] == '-'; i++) {
        int with_value = !strcmp(argv[i], "--static") || !strcmp(argv[i], "--rules") ||
                         !strcmp(argv[i], "--isa") || !strcmp(argv[i], "--stub-room");

        if (!strcmp(argv[i], "--help")) {
            fputs(usage, stdout);
            free(options);
            return CLI_OK;
        }
        if (!with_value && strncmp(argv[i], "--pad=", 6) && strncmp(argv[i], "--cpu=", 6) &&
            strncmp(argv[i], "--static=", 9) && strncmp(argv[i], "--rules=", 8) &&
            strncmp(argv[i], "--isa=", 6) && strncmp(argv[i], "--stub-room=", 12) &&
            strcmp(argv[i], "--previrt-stats")) {
            cli_error("`%s' is not an option of previrt as", argv[i]);
            free(options);
            return CLI_USAGE;
        }
        if (with_value && i + 1 >= argc) {
            cli_error("%s: value missing", argv[i]);
            free(options);
            return CLI_USAGE;
        }
        status = export_option(&options, argv[i]);
        if (!status && with_value)
            status = export_option(&options, argv[++i]);
        if (status) {
            free(options);
            return cli_fail(status, "options");
        }
        exported = 1;
    }
    if (i >= argc) {
        cli_error("no compiler given");
        fputs(usage, stderr);
        free(options);
        return CLI_USAGE;
    }
    status = find_directory(directory);
    if (status) {
        free(options);
        return status;
    }
    if (exported)
        setenv(ENV_OPTIONS, options, 1);
    status = tell_ccache(directory, options ? options : "");
    free(options);
    if (status)
        return cli_fail(status, "environment");
    snprintf(flag, sizeof(flag), "-B%s", directory);
    status = words_add(&words, argv[i]);
    while (!status && is_launcher(argv[i]) && i + 1 < argc)
        status = words_add(&words, argv[++i]);
    if (!status)
        status = words_add(&words, flag);
    if (!status && is_clang(argv[i]))
        status = words_add(&words, "-fno-integrated-as");
    for (i++; !status && i < argc; i++)
        status = words_add(&words, argv[i]);
    if (status)
        return cli_fail(status, "command line");
    fflush(stdout);
    execvp(words.word[0], words.word);
    cli_error("%s: %s", words.word[0], strerror(errno));
    words_free(&words);
    return CLI_IO;
}
