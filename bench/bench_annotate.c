/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * bench_annotate [--ia64] DIRECTORY: the price of `previrt as' beside that of GNU as, on every *.s
 * in DIRECTORY that GNU as assembles as IA32 code, or as IA-64 code. All times are processor time
 * (user and system), the sum over the inputs, each the best of three. The passes run in this
 * process, GNU as in its own.
 */
#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <previrt/annotate.h>
#include <previrt/image.h>

extern char **environ;

#define ROUNDS 3

struct totals {
    size_t files, annotated, bytes, annotated_bytes;
    uint64_t sites;
    double text_pass, finish_pass, as_original, as_annotated;
    uint64_t bundles; /* IA-64 */
};

static const char *const as_ia32[] = {"as", "--32", NULL};
static const char *const as_ia64[] = {"ia64-linux-gnu-as", "-x", NULL}; /* as GCC calls it */

static double own_time(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double children_time(void)
{
    struct rusage usage;

    getrusage(RUSAGE_CHILDREN, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

/* Assembles (text) to (object); the processor time it took, negative if it failed. */
static double assemble(const char *const as[], const char *text, size_t size, const char *object)
{
    char *const arguments[] = {(char *)as[0], (char *)as[1], "-o", (char *)object, NULL};
    posix_spawn_file_actions_t actions;
    int fd = memfd_create("input", MFD_CLOEXEC), status = -1, error;
    double before = children_time();
    pid_t child;

    if (fd < 0 || write(fd, text, size) != (ssize_t)size || lseek(fd, 0, SEEK_SET) < 0) {
        perror("memory file");
        exit(4);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fd, STDIN_FILENO);
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    error = posix_spawnp(&child, as[0], &actions, NULL, arguments, environ);
    posix_spawn_file_actions_destroy(&actions);
    close(fd);
    if (error) {
        fprintf(stderr, "%s: %s\n", as[0], strerror(error));
        exit(4);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? children_time() - before : -1;
}

static char *read_file(const char *path, size_t *size)
{
    struct stat status;
    char *data;
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &status) < 0 || !(data = malloc((size_t)status.st_size + 1)) ||
        read(fd, data, (size_t)status.st_size) != status.st_size) {
        perror(path);
        exit(4);
    }
    close(fd);
    *size = (size_t)status.st_size;
    return data;
}

static void smaller(double *best, double value)
{
    if (*best < 0 || value < *best)
        *best = value;
}

/* One input; (object) is scratch. */
static void measure(const char *path, const char *object, const struct previrt_rules *rules,
                    struct totals *totals)
{
    struct previrt_annotate_options options = {
        .size = sizeof(options), .name = path, .rules = rules};
    struct previrt_annotate_stats stats = {.size = sizeof(stats)};
    double text = -1, finish = -1, original = -1, annotated = -1, before, took;
    size_t size, out_size = 0;
    char *data = read_file(path, &size), *out = NULL;

    for (int round = 0; round < ROUNDS; round++) {
        took = assemble(as_ia32, data, size, object);
        if (took < 0) {
            free(data);
            return; /* not IA32, or fails by intent */
        }
        smaller(&original, took);
        free(out);
        before = own_time();
        if (previrt_annotate(data, size, &options, &out, &out_size, &stats) != PREVIRT_OK) {
            fprintf(stderr, "%s: cannot be annotated\n", path);
            exit(3);
        }
        smaller(&text, own_time() - before);
        if (!out)
            continue;
        took = assemble(as_ia32, out, out_size, object);
        if (took < 0) {
            fprintf(stderr, "%s: the annotated text does not assemble\n", path);
            exit(3);
        }
        smaller(&annotated, took);
        before = own_time();
        if (previrt_image_finish_object(object, NULL) != PREVIRT_OK) {
            fprintf(stderr, "%s: the table cannot be finished\n", path);
            exit(3);
        }
        smaller(&finish, own_time() - before);
    }
    totals->files++;
    totals->bytes += size;
    totals->sites += stats.sites;
    totals->text_pass += text;
    totals->as_original += original;
    totals->as_annotated += out ? annotated : original;
    if (out) {
        totals->annotated++;
        totals->annotated_bytes += out_size;
        totals->finish_pass += finish;
    }
    free(out);
    free(data);
}

/* The same for IA-64, whose text is left alone: one pass over the object. */
static void measure_ia64(const char *path, const char *object, const struct previrt_rules *rules,
                         struct totals *totals)
{
    struct previrt_ia64_annotate_options options = {
        .size = sizeof(options), .source = path, .rules = rules};
    struct previrt_ia64_annotate_report report = {.size = sizeof(report)};
    double pass = -1, original = -1, before, took;
    size_t size;
    char *data = read_file(path, &size);

    for (int round = 0; round < ROUNDS; round++) {
        took = assemble(as_ia64, data, size, object);
        if (took < 0) {
            free(data);
            return;
        }
        smaller(&original, took);
        before = own_time();
        if (previrt_ia64_annotate_object(object, &options, &report) != PREVIRT_OK) {
            fprintf(stderr, "%s: cannot be annotated\n", path);
            exit(3);
        }
        smaller(&pass, own_time() - before);
    }
    totals->files++;
    totals->bytes += size;
    totals->annotated += report.sites > 0;
    totals->sites += report.sites;
    totals->bundles += report.bundles;
    totals->finish_pass += pass;
    totals->as_original += original;
    free(data);
}

static void print_ia64(const struct totals *totals)
{
    printf("inputs          %zu, %.1f MB, %llu bundles; %zu with sites, %llu sites\n",
           totals->files, (double)totals->bytes / 1e6, (unsigned long long)totals->bundles,
           totals->annotated, (unsigned long long)totals->sites);
    printf("GNU as          %8.1f ms  %6.1f MB/s\n", totals->as_original * 1e3,
           (double)totals->bytes / 1e6 / totals->as_original);
    printf("object pass     %8.1f ms  %6.0f ns a bundle  %5.1f %% of GNU as\n",
           totals->finish_pass * 1e3, totals->finish_pass * 1e9 / (double)totals->bundles,
           100 * totals->finish_pass / totals->as_original);
}

int main(int argc, char **argv)
{
    char object[] = "/tmp/bench_annotate.XXXXXX", path[4096];
    struct totals totals = {0};
    struct previrt_rules *rules;
    struct dirent *entry;
    double passes;
    const char *folder = argv[argc - 1];
    DIR *directory;
    int fd, ia64 = argc == 3 && !strcmp(argv[1], "--ia64");

    if (argc != 2 + ia64) {
        fprintf(stderr, "usage: bench_annotate [--ia64] DIRECTORY-OF-ASSEMBLER-TEXTS\n");
        return 2;
    }
    directory = opendir(folder);
    fd = mkstemp(object);
    if (!directory || fd < 0 ||
        previrt_rules_default_for(ia64 ? PREVIRT_ARCH_IA64 : PREVIRT_ARCH_IA32, &rules) !=
            PREVIRT_OK) {
        perror(folder);
        return 4;
    }
    close(fd);
    while ((entry = readdir(directory))) {
        size_t length = strlen(entry->d_name);

        if (length < 3 || strcmp(entry->d_name + length - 2, ".s") != 0)
            continue;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        (ia64 ? measure_ia64 : measure)(path, object, rules, &totals);
    }
    closedir(directory);
    unlink(object);
    previrt_rules_free(rules);
    if (!totals.files) {
        fprintf(stderr, "%s: no %s assembler text\n", folder, ia64 ? "IA-64" : "IA32");
        return 3;
    }
    if (ia64) {
        print_ia64(&totals);
        return 0;
    }
    passes = totals.text_pass + totals.finish_pass;
    printf("inputs          %zu, %.1f MB; %zu with sites, %llu sites\n", totals.files,
           (double)totals.bytes / 1e6, totals.annotated, (unsigned long long)totals.sites);
    printf("GNU as          %8.1f ms  %6.1f MB/s\n", totals.as_original * 1e3,
           (double)totals.bytes / 1e6 / totals.as_original);
    printf("text pass       %8.1f ms  %6.1f MB/s  %5.1f %% of GNU as\n", totals.text_pass * 1e3,
           (double)totals.bytes / 1e6 / totals.text_pass,
           100 * totals.text_pass / totals.as_original);
    printf("finish pass     %8.1f ms               %5.1f %%\n", totals.finish_pass * 1e3,
           100 * totals.finish_pass / totals.as_original);
    printf("both            %8.1f ms               %5.1f %%\n", passes * 1e3,
           100 * passes / totals.as_original);
    printf("GNU as, of what was annotated %.1f ms: %+.1f %%\n", totals.as_annotated * 1e3,
           100 * (totals.as_annotated / totals.as_original - 1));
    return 0;
}
