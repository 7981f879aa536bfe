/* SPDX-License-Identifier: BSD-2-Clause */
/* Clocks and ticks, which must agree with each other while the machine is busy. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

#define MS 1000000ll /* ns */

/* Nanoseconds: whole numbers, since the x87's doubles compare unlike those in memory. */
static int64_t now(clockid_t clock)
{
    struct timespec t;

    CHECK(clock_gettime(clock, &t) == 0);
    return (int64_t)t.tv_sec * 1000 * MS + t.tv_nsec;
}

/* 100 Hz for as long as the monotonic clock says, with other processes computing and forking. */
static void ticks_under_load(void)
{
    const int64_t duration = 4000 * MS;
    int64_t start, elapsed;
    unsigned long before;
    int load[3];

    for (int i = 0; i < 3; i++) {
        load[i] = fork();
        CHECK(load[i] >= 0);
        if (load[i] == 0)
            for (;;) {
                if (i == 0) {
                    int pid = fork();

                    if (pid == 0)
                        _exit(0);
                    wait_for(pid);
                }
                for (volatile int spin = 0; spin < 100000; spin++)
                    ;
            }
    }
    start = now(CLOCK_MONOTONIC);
    before = timer_ticks();
    while (now(CLOCK_MONOTONIC) - start < duration)
        ;
    elapsed = now(CLOCK_MONOTONIC) - start;
    {
        double rate = (double)(timer_ticks() - before) * 1000 / (double)(elapsed / MS);

        for (int i = 0; i < 3; i++)
            kill(load[i], SIGKILL);
        if (rate < 97 || rate > 103)
            failed("%.1f ticks a second", rate);
    }
}

static void clocks_agree(void)
{
    int64_t mono = now(CLOCK_MONOTONIC), real = now(CLOCK_REALTIME), last = mono;

    while (last - mono < 1000 * MS) {
        int64_t next = now(CLOCK_MONOTONIC);

        CHECK(next >= last);
        last = next;
    }
    {
        int64_t difference = (now(CLOCK_REALTIME) - real) - (now(CLOCK_MONOTONIC) - mono);

        CHECK(difference < 20 * MS && difference > -20 * MS);
    }
}

static void sleeps_last(void)
{
    for (int i = 0; i < 5; i++) {
        int64_t wanted[2] = {0, 50 * MS}; /* struct __kernel_timespec */
        int64_t start = now(CLOCK_MONOTONIC), slept;

        /* not the C library's: the kernel need not have the call with 32-bit times */
        CHECK(syscall(SYS_clock_nanosleep_time64, CLOCK_MONOTONIC, 0, wanted, NULL) == 0);
        slept = now(CLOCK_MONOTONIC) - start;
        CHECK(slept >= 50 * MS);
        if (slept > 200 * MS)
            failed("%d ms for 50", (int)(slept / MS));
    }
}

static volatile sig_atomic_t rings;

static void ring(int number)
{
    (void)number;
    rings++;
}

static void interval_timer(void)
{
    struct itimerval every = {{0, 20000}, {0, 20000}};
    int64_t start = now(CLOCK_MONOTONIC);

    signal(SIGALRM, ring);
    CHECK(setitimer(ITIMER_REAL, &every, NULL) == 0);
    while (rings < 40)
        pause();
    {
        int64_t took = now(CLOCK_MONOTONIC) - start;

        if (took < 790 * MS || took > 1300 * MS)
            failed("%d ms for 800", (int)(took / MS));
    }
}

const struct test time_tests[] = {
    {"ticks-under-load", ticks_under_load, 60},
    {"clocks-agree", clocks_agree, 20},
    {"sleeps-last", sleeps_last, 20},
    {"interval-timer", interval_timer, 20},
    {0},
};
