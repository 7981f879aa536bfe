/* SPDX-License-Identifier: BSD-2-Clause */
/* fork, vfork, exec, wait, pipes: address spaces come and go. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

enum { TREES = 20, BRANCHES = 9, LEAVES = 10 }; /* 20 x (1 + 9 x (1 + 10)) = 2,000 processes */

static int spawn(int (*body)(int), int argument)
{
    pid_t pid = fork();

    CHECK(pid >= 0);
    if (pid == 0)
        _exit(body(argument));
    return pid;
}

static int leaf(int number)
{
    return number & 0x7f;
}

/* Each process's status is what its children's add up to: one that got lost would be missing. */
static int branch(int number)
{
    int pids[LEAVES], sum = 0;

    for (int i = 0; i < LEAVES; i++)
        pids[i] = spawn(leaf, number + i);
    for (int i = 0; i < LEAVES; i++)
        sum += wait_for(pids[i]);
    return sum & 0x7f;
}

static int tree(int number)
{
    int pids[BRANCHES], sum = 0;

    for (int i = 0; i < BRANCHES; i++)
        pids[i] = spawn(branch, number + i);
    for (int i = 0; i < BRANCHES; i++)
        sum += wait_for(pids[i]);
    return sum & 0x7f;
}

static int expected_tree(int number)
{
    int sum = 0;

    for (int i = 0; i < BRANCHES; i++) {
        int branch_sum = 0;

        for (int j = 0; j < LEAVES; j++)
            branch_sum += (number + i + j) & 0x7f;
        sum += branch_sum & 0x7f;
    }
    return sum & 0x7f;
}

static void fork_trees(void)
{
    for (unsigned i = 0; i < TREES / suite_scale + 1 && i < TREES; i++)
        CHECK(wait_for(spawn(tree, (int)i)) == expected_tree((int)i));
}

static void exec_status(void)
{
    for (unsigned i = 0; i < 60 / suite_scale + 1; i++) {
        char number[12];
        pid_t pid;

        snprintf(number, sizeof(number), "%u", i);
        pid = fork();
        CHECK(pid >= 0);
        if (pid == 0) {
            execl(suite_path, suite_path, "--exit", number, (char *)NULL);
            _exit(99);
        }
        CHECK(wait_for(pid) == (int)i);
    }
}

static void vfork_shares_memory(void)
{
    volatile int shared = 0;

    for (volatile int i = 1; i <= 50; i++) {
        pid_t pid = vfork();

        if (pid == 0) {
            shared += i;
            _exit(i);
        }
        CHECK(pid > 0);
        CHECK(wait_for(pid) == i);
    }
    CHECK(shared == 50 * 51 / 2);
}

static void pipe_bulk(void)
{
    enum { SIZE = 1 << 20, CHUNK = 3000 };
    uint32_t state = 1, sum = 0, expected = 0;
    uint8_t buffer[CHUNK];
    size_t total = 0;
    int fd[2];
    pid_t pid;

    CHECK(pipe(fd) == 0);
    pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        close(fd[0]);
        for (size_t sent = 0; sent < SIZE;) {
            size_t n = SIZE - sent < CHUNK ? SIZE - sent : CHUNK;

            for (size_t i = 0; i < n; i++)
                buffer[i] = (uint8_t)next_random(&state);
            for (size_t at = 0; at < n;) {
                ssize_t w = write(fd[1], buffer + at, n - at);

                if (w < 0)
                    _exit(1);
                at += (size_t)w;
            }
            sent += n;
        }
        _exit(0);
    }
    close(fd[1]);
    for (;;) {
        ssize_t n = read(fd[0], buffer, sizeof(buffer));

        CHECK(n >= 0);
        if (n == 0)
            break;
        for (ssize_t i = 0; i < n; i++) {
            sum = sum * 31 + buffer[i];
            expected = expected * 31 + (uint8_t)next_random(&state);
        }
        total += (size_t)n;
    }
    CHECK(total == SIZE);
    CHECK(sum == expected);
    CHECK(wait_for(pid) == 0);
}

static void pipe_ring(void)
{
    enum { PROCESSES = 16 };
    const unsigned laps = 100 / suite_scale + 1;
    int fd[PROCESSES + 1][2];
    uint32_t token = 0;

    for (int i = 0; i <= PROCESSES; i++)
        CHECK(pipe(fd[i]) == 0);
    for (int i = 0; i < PROCESSES; i++) {
        pid_t pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            for (unsigned lap = 0; lap < laps; lap++) {
                if (read(fd[i][0], &token, sizeof(token)) != sizeof(token))
                    _exit(1);
                token++;
                if (write(fd[i + 1][1], &token, sizeof(token)) != sizeof(token))
                    _exit(2);
            }
            _exit(0);
        }
    }
    for (unsigned lap = 0; lap < laps; lap++) {
        CHECK(write(fd[0][1], &token, sizeof(token)) == sizeof(token));
        CHECK(read(fd[PROCESSES][0], &token, sizeof(token)) == sizeof(token));
        CHECK(token == (lap + 1) * PROCESSES);
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status;

        CHECK(wait(&status) > 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

static void proc_is_sane(void)
{
    char line[256];
    unsigned long value, total = 0, free_memory = 0;
    int have_fpu = 0, have_stack = 0;
    FILE *f = fopen("/proc/cpuinfo", "r");

    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, "flags", 5) == 0)
            have_fpu = strstr(line, " fpu ") && strstr(line, " tsc ") && strstr(line, " sse ");
    fclose(f);
    CHECK(have_fpu);
    f = fopen("/proc/meminfo", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f)) {
        if (sscanf(line, "MemTotal: %lu", &value) == 1)
            total = value;
        if (sscanf(line, "MemFree: %lu", &value) == 1)
            free_memory = value;
    }
    fclose(f);
    CHECK(total > 64 * 1024 && total < 1024 * 1024 && free_memory < total && free_memory > 0);
    f = fopen("/proc/self/maps", "r");
    CHECK(f != NULL);
    while (fgets(line, sizeof(line), f))
        have_stack |= strstr(line, "[stack]") != NULL;
    fclose(f);
    CHECK(have_stack);
    CHECK(getpid() > 1);
}

const struct test process_tests[] = {
    {"fork-trees", fork_trees, 120},
    {"exec-status", exec_status, 60},
    {"vfork-shares-memory", vfork_shares_memory, 20},
    {"pipe-bulk", pipe_bulk, 30},
    {"pipe-ring", pipe_ring, 60},
    {"proc-is-sane", proc_is_sane, 10},
    {0},
};
