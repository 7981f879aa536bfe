/* SPDX-License-Identifier: BSD-2-Clause */
#include "oracle.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_ROOM 160
#define MAJOR_LOW 37

extern char **environ;

uint64_t oracle_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717);
}

void oracle_random_bundle(uint64_t *state, uint8_t bytes[16])
{
    uint64_t word[2] = {oracle_random(state), oracle_random(state)};
    uint64_t choice = oracle_random(state);

    /* slot 0 (bits 5..45): major opcode 0 or 1, and often extension x3 = 0 */
    if (choice & 1)
        word[0] &= ~(UINT64_C(0xe) << (MAJOR_LOW + 5));
    if ((choice & 3) == 3)
        word[0] &= ~(UINT64_C(7) << (33 + 5));
    /* slot 2 (bits 87..127) likewise: major 0 to 3 */
    if (choice & 4)
        word[1] &= ~(UINT64_C(0xc) << (MAJOR_LOW + 23));
    if ((choice & 12) == 12)
        word[1] &= ~(UINT64_C(7) << (33 + 23));
    if ((choice & 48) == 48) /* zero registers bring out the pseudo-operations */
        word[0] &= ~(UINT64_C(0x3f) << 5);
    memcpy(bytes, word, sizeof(word));
}

int oracle_open(char *path)
{
    strcpy(path, "/tmp/previrt-ia64-XXXXXX");
    if (!mkdtemp(path)) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

static void name_in(char *path, const char *folder, const char *name)
{
    snprintf(path, PATH_ROOM, "%s/%s", folder, name);
}

void oracle_close(const char *folder)
{
    static const char *const left[] = {"code.bin", "code.txt", "code.s",
                                       "code.o",   "code.raw", "log"};
    char path[PATH_ROOM];

    for (size_t i = 0; i < sizeof(left) / sizeof(left[0]); i++) {
        name_in(path, folder, left[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* Runs a program with its output in files; its exit status, or -1 if it cannot be started. */
static int run(char *const argv[], const char *out, const char *log)
{
    posix_spawn_file_actions_t actions;
    int status, error;
    pid_t pid;

    posix_spawn_file_actions_init(&actions);
    if (out)
        posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (log)
        posix_spawn_file_actions_addopen(&actions, 2, log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    error = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (error || waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static int write_file(const char *path, const void *data, size_t size)
{
    FILE *f = fopen(path, "w");
    int ok = f && fwrite(data, 1, size, f) == size;

    if (f && fclose(f))
        ok = 0;
    if (!ok)
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return ok ? 0 : 1;
}

/* One line of objdump's: "  16:\tbytes\t[MII] (p06) text;;". Returns the text part or NULL. */
static char *text_of(char *line)
{
    char *text = strchr(line, '\t');

    text = text ? strchr(text + 1, '\t') : NULL;
    if (!text)
        return NULL;
    text++;
    if (*text == '[')
        text = strchr(text, ']') + 1;
    return text + strspn(text, " ");
}

int oracle_disassemble(const char *objdump, const char *folder, const uint8_t *code, size_t count,
                       struct oracle_slot (*slots)[3])
{
    char bin[PATH_ROOM], txt[PATH_ROOM], line[512];
    char *const argv[] = {(char *)objdump, "-z", "-b", "binary", "-m",
                          "ia64-elf64",    "-D", bin,  NULL};
    int status;
    FILE *f;

    name_in(bin, folder, "code.bin");
    name_in(txt, folder, "code.txt");
    if (write_file(bin, code, count * 16))
        return 1;
    status = run(argv, txt, NULL);
    if (status == 127 || status < 0)
        return ORACLE_SKIP;
    f = status ? NULL : fopen(txt, "r");
    if (!f) {
        fprintf(stderr, "%s: exit status %d\n", objdump, status);
        return 1;
    }
    memset(slots, 0, count * sizeof(*slots));
    while (fgets(line, sizeof(line), f)) {
        char *end, *text, *cut;
        unsigned long long address = strtoull(line, &end, 16);
        unsigned offset = (unsigned)(address % 16);
        struct oracle_slot *slot;

        if (end == line || *end != ':' || address / 16 >= count)
            continue;
        text = text_of(line);
        if (!text)
            continue;
        text[strcspn(text, "\n")] = '\0';
        /* slots stand at offsets 0, 6 and 12 */
        slot = &slots[address / 16][offset / 6];
        cut = strstr(text, ";;");
        if (cut) {
            slot->stop = 1;
            *cut = '\0';
        }
        /* symbols: "0x40 <.data+0x40>" */
        while ((cut = strstr(text, " <"))) {
            char *close = strchr(cut, '>');

            memmove(cut, close ? close + 1 : "", close ? strlen(close + 1) + 1 : 1);
        }
        for (size_t n = strlen(text); n && isspace((unsigned char)text[n - 1]); n--)
            text[n - 1] = '\0';
        snprintf(slot->text, sizeof(slot->text), "%.*s", ORACLE_TEXT - 1, text);
    }
    fclose(f);
    return 0;
}

void oracle_assembler_text(char *text)
{
    char *alloc = strstr(text, "alloc "), *numbers;
    unsigned sof, sol, sor;

    if (!strncmp(text, "(p0", 3))
        memmove(text + 2, text + 3, strlen(text + 3) + 1);
    numbers = alloc ? strstr(alloc, "ar.pfs,") : NULL;
    if (numbers && sscanf(numbers + 7, "%u,%u,%u", &sof, &sol, &sor) == 3)
        sprintf(numbers + 7, "0,%u,%u,%u", sol, sof - sol, sor);
}

int oracle_assemble(const char *prefix, const char *folder, const char *mode, const char *text,
                    uint8_t *code, size_t *size, int *warnings)
{
    char src[PATH_ROOM], obj[PATH_ROOM], raw[PATH_ROOM], log[PATH_ROOM], line[512];
    char as[PATH_ROOM], objcopy[PATH_ROOM];
    char *const assemble[] = {as,
                              (char *)mode,
                              strcmp(mode, "-xnone") ? "--warn" : "--no-warn",
                              "-mhint.b=ok",
                              src,
                              "-o",
                              obj,
                              NULL};
    char *const copy[] = {objcopy, "-O", "binary", "-j", ".text", obj, raw, NULL};
    int status;
    FILE *f;

    name_in(src, folder, "code.s");
    name_in(obj, folder, "code.o");
    name_in(raw, folder, "code.raw");
    name_in(log, folder, "log");
    snprintf(as, sizeof(as), "%sas", prefix);
    snprintf(objcopy, sizeof(objcopy), "%sobjcopy", prefix);
    if (write_file(src, text, strlen(text)))
        return 1;
    status = run(assemble, NULL, log);
    if (status == 127 || status < 0)
        return ORACLE_SKIP;
    *warnings = 0;
    f = fopen(log, "r");
    while (f && fgets(line, sizeof(line), f)) {
        if ((*warnings)++ < 40)
            fputs(line, stderr);
    }
    if (f)
        fclose(f);
    if (status || run(copy, NULL, NULL)) {
        fprintf(stderr, "%s: the assembler refuses the text\n", src);
        return 1;
    }
    f = fopen(raw, "r");
    if (!f)
        return 1;
    *size = fread(code, 1, *size, f);
    fclose(f);
    return 0;
}
