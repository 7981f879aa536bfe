/* SPDX-License-Identifier: BSD-2-Clause */
/* What /proc says of the machine and of a process. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "suite.h"

static char *contents(const char *path)
{
    static char text[65536];
    size_t length = 0;
    ssize_t n;
    int file = open(path, O_RDONLY);

    EXPECT(file >= 0, "%s: %s", path, strerror(errno));
    while (length < sizeof(text) - 1 &&
           (n = read(file, text + length, sizeof(text) - 1 - length)) > 0)
        length += n;
    text[length] = 0;
    close(file);
    EXPECT(length > 0, "%s is empty", path);
    return text;
}

static unsigned long number_after(const char *path, const char *name)
{
    const char *at = strstr(contents(path), name);

    EXPECT(at, "%s has no %s", path, name);
    return strtoul(at + strlen(name), NULL, 10);
}

/* Every file below (path), to its end or 64 KiB: none may hang or end the kernel. */
static unsigned read_all(const char *path, unsigned depth)
{
    DIR *directory = opendir(path);
    struct dirent *entry;
    unsigned count = 0;

    while (directory && (entry = readdir(directory))) {
        char name[512], buffer[4096];
        struct stat s;

        if (entry->d_name[0] == '.' || !strcmp(entry->d_name, "kmsg") ||
            !strcmp(entry->d_name, "kcore") || !strcmp(entry->d_name, "page_owner"))
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
        if (lstat(name, &s))
            continue;
        if (S_ISDIR(s.st_mode)) {
            /* a process' own folders once: self is a link */
            if (depth < 6 && !(strspn(entry->d_name, "0123456789") && atoi(entry->d_name) > 1 &&
                               !strcmp(path, "/proc")))
                count += read_all(name, depth + 1);
        } else if (S_ISREG(s.st_mode) && s.st_mode & 0444) {
            int file = open(name, O_RDONLY | O_NONBLOCK);

            for (unsigned i = 0; file >= 0 && i < 16 && read(file, buffer, sizeof(buffer)) > 0; i++)
                ;
            if (file >= 0) {
                close(file);
                count++;
            }
        }
    }
    if (directory)
        closedir(directory);
    return count;
}

static void all_of_proc(void)
{
    unsigned long code = (uintptr_t)all_of_proc, found = 0, from, to;
    unsigned long total, processors = 0;
    char mode[8];
    double up1, up2;

    for (char *line = strtok(contents("/proc/self/maps"), "\n"); line; line = strtok(NULL, "\n"))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, mode) == 3 && code >= from && code < to) {
            EXPECT(!strcmp(mode, "r-xp"), "code is mapped %s", mode);
            found++;
        }
    EXPECT(found == 1, "this program's code is %lu times in /proc/self/maps", found);
    EXPECT((pid_t)number_after("/proc/self/stat", "") == getpid(), "/proc/self/stat");
    EXPECT((pid_t)number_after("/proc/self/status", "PPid:") == getppid(), "/proc/self/status");
    total = number_after("/proc/meminfo", "MemTotal:");
    EXPECT(total > 32768, "MemTotal %lu", total);
    EXPECT(number_after("/proc/meminfo", "MemFree:") < total, "more memory is free than there is");
    for (char *at = contents("/proc/cpuinfo"); (at = strstr(at, "processor\t:")); at++)
        processors++;
    EXPECT(processors == 1, "%lu processors", processors);
    for (unsigned i = 0; i < 4; i++) {
        static const char *const flag[] = {" fpu ", " tsc ", " cx8 ", " sse2 "};

        EXPECT(strstr(contents("/proc/cpuinfo"), flag[i]), "no%sin /proc/cpuinfo", flag[i]);
    }
    EXPECT(!strncmp(contents("/proc/version"), "Linux version ", 14), "/proc/version");
    EXPECT(strstr(contents("/proc/interrupts"), "timer"), "no timer in /proc/interrupts");
    EXPECT(strstr(contents("/proc/ioports"), "serial"), "no serial in /proc/ioports");
    EXPECT(strstr(contents("/proc/iomem"), "System RAM"), "no System RAM in /proc/iomem");
    up1 = atof(contents("/proc/uptime"));
    sleep_ms(300);
    up2 = atof(contents("/proc/uptime"));
    EXPECT(up2 > up1 && up2 < up1 + 60, "uptime %f, then %f", up1, up2);
    total = number_after("/proc/stat", "ctxt ");
    sleep_ms(50);
    EXPECT(number_after("/proc/stat", "ctxt ") > total, "no context switch was counted");
    EXPECT(read_all("/proc", 0) > 100, "few files in /proc");
    EXPECT(read_all("/sys", 0) > 100, "few files in /sys");
}

const struct test proc_tests[] = {
    {"all-of-proc", all_of_proc, 60},
    {0},
};
