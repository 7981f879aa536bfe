/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs the tests; see suite.h. `guest-suite [SCALE [NAME...]]`. */
#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "suite.h"

const char *suite_path;
unsigned suite_scale = 1;
struct caught caught;
sigjmp_buf caught_return;

static int report_fd; /* a test's message goes to the parent */

void failed(const char *format, ...)
{
    char text[200];
    va_list ap;
    int length;

    va_start(ap, format);
    length = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    if (length > 0 && write(report_fd, text, strlen(text)) < 0)
        _exit(3);
    _exit(2);
}

uint32_t next_random(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

int wait_for(int pid)
{
    int status;

    while (waitpid(pid, &status, 0) < 0)
        CHECK(errno == EINTR);
    if (WIFSIGNALED(status))
        failed("process %s by signal %d", "ended", WTERMSIG(status));
    CHECK(WIFEXITED(status));
    return WEXITSTATUS(status);
}

int start_process(void)
{
    pid_t pid = fork();

    EXPECT(pid >= 0, "fork: %s", strerror(errno));
    return pid;
}

void expect_success(int pid, const char *what)
{
    int status;

    EXPECT(waitpid(pid, &status, 0) == pid, "%s: waitpid: %s", what, strerror(errno));
    EXPECT(status == 0, "%s: ended with status %#x", what, (unsigned)status);
}

void expect_signal(int pid, int signal, const char *what)
{
    int status;

    EXPECT(waitpid(pid, &status, 0) == pid, "%s: waitpid: %s", what, strerror(errno));
    EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == signal, "%s: status %#x, not signal %d", what,
           (unsigned)status, signal);
}

void sleep_ms(unsigned milliseconds)
{
    poll(NULL, 0, (int)milliseconds);
}

static void catcher(int number, siginfo_t *info, void *context)
{
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;

    caught.count++;
    caught.number = number;
    caught.code = info->si_code;
    caught.address = (uint32_t)(uintptr_t)info->si_addr;
    caught.eip = (uint32_t)registers[REG_EIP];
    caught.trap = (uint32_t)registers[REG_TRAPNO];
    caught.error = (uint32_t)registers[REG_ERR];
    siglongjmp(caught_return, 1);
}

void catch_signal(int number)
{
    struct sigaction action = {.sa_sigaction = catcher, .sa_flags = SA_SIGINFO | SA_NODEFER};

    CHECK(sigaction(number, &action, NULL) == 0);
}

static int run_one(const struct test *test)
{
    char text[256];
    ssize_t length;
    int report[2], status;
    pid_t pid;

    fflush(stdout);
    if (pipe(report) < 0 || (pid = fork()) < 0) {
        printf("guest-test %s FAILED: cannot start: %s\n", test->name, strerror(errno));
        return 1;
    }
    if (pid == 0) {
        close(report[0]);
        report_fd = report[1];
        setpgid(0, 0);
        alarm(test->seconds);
        test->run();
        _exit(0);
    }
    close(report[1]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    kill(-pid, SIGKILL); /* what it left */
    length = read(report[0], text, sizeof(text) - 1);
    close(report[0]);
    text[length < 0 ? 0 : length] = '\0';
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0 && length <= 0) {
        printf("guest-test %s ok\n", test->name);
        return 0;
    }
    if (WIFSIGNALED(status))
        snprintf(text, sizeof(text),
                 WTERMSIG(status) == SIGALRM ? "not done in its time" : "ended by signal %d",
                 WTERMSIG(status));
    printf("guest-test %s FAILED: %s\n", test->name, *text ? text : "a process of its own failed");
    return 1;
}

/* Timer interrupts so far, from the line of IRQ 0. */
unsigned long timer_ticks(void)
{
    FILE *f = fopen("/proc/interrupts", "r");
    unsigned long count = 0;
    char line[200];

    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, " 0: %lu", &count) == 1)
            break;
    if (f)
        fclose(f);
    return count;
}

/* Keeps the machine busy, for ever: computes (0), forks (1), or moves bytes through a pipe (2). */
static void be_busy(unsigned how)
{
    char bytes[512] = {0};
    int ends[2];

    if (pipe(ends))
        _exit(1);
    for (volatile unsigned long n = 0;; n++) {
        if (how == 1) {
            pid_t pid = fork();

            if (pid == 0)
                _exit(0);
            waitpid(pid, NULL, 0);
        } else if (how == 2 && (write(ends[1], bytes, sizeof(bytes)) < 0 ||
                                read(ends[0], bytes, sizeof(bytes)) < 0)) {
            _exit(1);
        }
    }
}

/*
 * The guest's time and ticks at the beginning and at the end of (seconds) under load, several times
 * each, for the host to compare with its own clock: a line may reach it late, but never early.
 */
static int show_clock(unsigned seconds)
{
    enum { LINES = 12, PAUSE = 100 /* ms */, LOADS = 3 };
    pid_t load[LOADS];

    for (int end = 0; end < 2; end++) {
        for (int i = 0; i < LINES; i++) {
            struct timespec time;

            clock_gettime(CLOCK_REALTIME, &time);
            printf("guest-clock %d %ld.%09ld %lu\n", end, (long)time.tv_sec, time.tv_nsec,
                   timer_ticks());
            fflush(stdout);
            sleep_ms(PAUSE);
        }
        if (end)
            break;
        for (unsigned i = 0; i < LOADS; i++) {
            load[i] = fork();
            if (load[i] == 0)
                be_busy(i);
        }
        sleep_ms(seconds * 1000);
        for (unsigned i = 0; i < LOADS; i++) {
            kill(load[i], SIGKILL);
            waitpid(load[i], NULL, 0);
        }
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const struct test *const tables[] = {
        process_tests, memory_tests, mapping_tests, signal_tests, exception_tests,
        fpu_tests,     pipe_tests,   debug_tests,   trace_tests,  thread_tests,
        futex_tests,   time_tests,   proc_tests};
    unsigned passed = 0, bad = 0;

    suite_path = argv[0];
    if (argc == 3 && strcmp(argv[1], "--exit") == 0) /* what the exec test runs */
        return atoi(argv[2]);
    if (argc == 3 && strcmp(argv[1], "--clock") == 0)
        return show_clock((unsigned)strtoul(argv[2], NULL, 10));
    if (argc > 1)
        suite_scale = (unsigned)strtoul(argv[1], NULL, 10);
    if (!suite_scale)
        suite_scale = 1;
    setvbuf(stdout, NULL, _IOLBF, 0);
    /* all, or those that are named, as often as they are */
    for (int i = argc > 2 ? 2 : argc - 1; i < argc; i++)
        for (size_t t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
            for (const struct test *test = tables[t]; test->name; test++) {
                if (argc > 2 && strcmp(argv[i], test->name) != 0)
                    continue;
                if (run_one(test))
                    bad++;
                else
                    passed++;
            }
    printf("guest-suite %u passed, %u failed\n", passed, bad);
    return bad != 0;
}
