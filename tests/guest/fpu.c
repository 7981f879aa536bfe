/* SPDX-License-Identifier: BSD-2-Clause */
/* All of the x87 and SSE state across signals and processes. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "suite.h"

/* ---- floating point and SSE across signals and processes */

/* The image of FXSAVE: SDM 1 10.5.1. */
struct fxsave {
    uint16_t fcw, fsw;
    uint8_t ftw, reserved;
    uint16_t fop;
    uint32_t fip, fcs, fdp, fds, mxcsr, mxcsr_mask;
    uint8_t st[8][16];
    uint8_t xmm[8][16];
    uint8_t rest[224];
} __attribute__((aligned(16)));
_Static_assert(sizeof(struct fxsave) == 512, "SDM");

static void make_state(struct fxsave *s, uint32_t seed)
{
    memset(s, 0, sizeof(*s));
    s->fcw = seed & 1 ? 0x37f : 0x27f; /* precision */
    s->ftw = 0xff;                     /* all in use */
    s->mxcsr = seed & 2 ? 0x3f80 : 0x1f80;
    for (unsigned r = 0; r < 8; r++) {
        for (unsigned b = 0; b < 16; b++) {
            s->xmm[r][b] = next_random(&seed);
            if (b < 8)
                s->st[r][b] = next_random(&seed);
        }
        s->st[r][7] |= 0x80; /* a normal number: integer bit, exponent 1.0 */
        s->st[r][8] = 0xff;
        s->st[r][9] = 0x3f;
    }
}

static void expect_state(const struct fxsave *found, const struct fxsave *wanted, const char *when)
{
    EXPECT(found->fcw == wanted->fcw && found->ftw == wanted->ftw, "%s: fcw %#x ftw %#x", when,
           found->fcw, found->ftw);
    EXPECT(found->mxcsr == wanted->mxcsr, "%s: mxcsr %#x, not %#x", when, found->mxcsr,
           wanted->mxcsr);
    for (unsigned r = 0; r < 8; r++) {
        EXPECT(!memcmp(found->st[r], wanted->st[r], 10), "%s: st%u", when, r);
        EXPECT(!memcmp(found->xmm[r], wanted->xmm[r], 16), "%s: xmm%u", when, r);
    }
}

/* Loads (load), does system call (number)(b, c), and stores into (saved); nothing between touches
 * the registers. */
static void call_with_state(const struct fxsave *load, struct fxsave *saved, long number, long b,
                            long c)
{
    long result;

    __asm__ volatile("fxrstor %[load]\n\tint $0x80\n\tfxsave %[saved]\n\tfninit"
                     : "=a"(result), [saved] "=m"(*saved)
                     : [load] "m"(*load), "0"(number), "b"(b), "c"(c)
                     : "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
    __asm__ volatile("ldmxcsr %0" ::"m"((uint32_t){0x1f80}));
    (void)result;
}

static struct fxsave handler_state, interrupted_state;
static volatile sig_atomic_t change_state, fpu_handled;

/* Behind the FSAVE image of an i386 signal frame stands the FXSAVE image
 * (arch/x86/include/uapi/asm/sigcontext.h). */
enum { FSAVE_SIZE = 112 };

static void on_fpu_signal(int signal, siginfo_t *info, void *context)
{
    struct fxsave *frame =
        (void *)((uint8_t *)((ucontext_t *)context)->uc_mcontext.fpregs + FSAVE_SIZE);

    (void)signal;
    (void)info;
    memcpy(&interrupted_state, frame, sizeof(interrupted_state));
    if (change_state)
        memcpy(frame->xmm[3], "sixteen letters!", 16);
    __asm__ volatile("fxrstor %0" ::"m"(handler_state));
    fpu_handled++;
}

static void fpu_in_signal_frames(void)
{
    struct sigaction action = {.sa_sigaction = on_fpu_signal, .sa_flags = SA_SIGINFO};
    struct fxsave mine, after;
    enum { TIMES = 300 };

    sigaction(SIGUSR1, &action, NULL);
    for (unsigned i = 0; i < TIMES / suite_scale; i++) {
        make_state(&mine, 2 * i + 1);
        make_state(&handler_state, 777 + i);
        change_state = i % 3 == 2;
        memset(&after, 0, sizeof(after));
        call_with_state(&mine, &after, SYS_kill, getpid(), SIGUSR1);
        EXPECT(fpu_handled == (int)i + 1, "the handler did not run");
        expect_state(&interrupted_state, &mine, "in the signal's frame");
        if (change_state)
            memcpy(mine.xmm[3], "sixteen letters!", 16);
        expect_state(&after, &mine, "after the signal");
    }
    /* The same by timer, while the registers are in use: four sums, each in registers of its own.
     */
    sigaction(SIGALRM, &action, NULL);
    change_state = 0;
    fpu_handled = 0;
    setitimer(
        ITIMER_REAL,
        &(struct itimerval){.it_value = {.tv_usec = 10000}, .it_interval = {.tv_usec = 10000}},
        NULL);
    for (unsigned round = 0; fpu_handled < 50; round++) {
        double a = 0, b = 1;
        long double c = 0;

        for (unsigned i = 0; i < 20000; i++) {
            a += i;
            b = b * 1.5 - 0.5 * b;
            c += 0.5L;
        }
        EXPECT(a == 199990000.0 && b == 1.0 && c == 10000.0L, "sums %g %g %Lg in round %u", a, b, c,
               round);
    }
    setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL);
}

static void fpu_switches(void)
{
    enum { PROCESSES = 5, TIMES = 2000 };
    pid_t pid[PROCESSES];

    for (unsigned p = 0; p < PROCESSES; p++) {
        pid[p] = start_process();
        if (pid[p] == 0) {
            struct fxsave mine, after;

            for (unsigned i = 0; i < TIMES / suite_scale; i++) {
                make_state(&mine, p * 1000003 + i * 2 + 1);
                call_with_state(&mine, &after, SYS_sched_yield, 0, 0);
                expect_state(&after, &mine, "after a switch");
                if (i % 64 == p) {
                    pid_t child = start_process();

                    if (child == 0) {
                        make_state(&mine, ~i);
                        call_with_state(&mine, &after, SYS_sched_yield, 0, 0);
                        expect_state(&after, &mine, "in a child");
                        _exit(0);
                    }
                    expect_success(child, "child");
                }
            }
            _exit(0);
        }
    }
    for (unsigned p = 0; p < PROCESSES; p++)
        expect_success(pid[p], "process");
}

const struct test fpu_tests[] = {
    {"fpu-in-signal-frames", fpu_in_signal_frames, 60},
    {"fpu-switches", fpu_switches, 120},
    {0},
};
