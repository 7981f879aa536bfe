/* SPDX-License-Identifier: BSD-2-Clause */
/* ptrace: a program under the control of another, step by step, call by call, and by debug
 * registers. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

static long trace(int request, pid_t pid, uintptr_t address, uintptr_t data)
{
    long result;

    errno = 0;
    result = ptrace(request, pid, (void *)address, (void *)data);
    EXPECT(result != -1 || errno == 0, "ptrace request %d: %s", request, strerror(errno));
    return result;
}

static void expect_stop(pid_t pid, int signal, const char *when)
{
    int status;

    EXPECT(waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == signal,
           "%s: status %#x, not stopped by %d", when, status, signal);
}

static pid_t start_traced(void (*run)(void))
{
    pid_t pid = start_process();

    if (pid == 0) {
        trace(PTRACE_TRACEME, 0, 0, 0);
        raise(SIGSTOP);
        run();
        _exit(0);
    }
    expect_stop(pid, SIGSTOP, "start");
    return pid;
}

/* Continues the child to (address), by a breakpoint instruction. */
static void run_to(pid_t pid, const void *address, struct user_regs_struct *regs)
{
    long text = trace(PTRACE_PEEKTEXT, pid, (uintptr_t)address, 0);

    trace(PTRACE_POKETEXT, pid, (uintptr_t)address, (text & ~0xffl) | 0xcc);
    trace(PTRACE_CONT, pid, 0, 0);
    expect_stop(pid, SIGTRAP, "breakpoint");
    trace(PTRACE_GETREGS, pid, 0, (uintptr_t)regs);
    EXPECT((uintptr_t)regs->eip == (uintptr_t)address + 1, "breakpoint: eip %#lx, not %p + 1",
           regs->eip, address);
    trace(PTRACE_POKETEXT, pid, (uintptr_t)address, text);
    regs->eip--;
    trace(PTRACE_SETREGS, pid, 0, (uintptr_t)regs);
}

/* ---- steps */

enum { LOOPS = 7, COPIES = 5 };

/* Each kind of instruction that could lose or double a step. */
__asm__(".text\n"
        "steps_begin:\n"
        "    movl $7, %ecx\n"
        "1:  addl $3, %eax\n"
        "    loop 1b\n"
        "    pushfl\n"
        "    popl %edx\n"
        "    pushl %edx\n"
        "steps_popfl:\n"
        "    popfl\n"
        "    movl $20, %eax\n" /* getpid */
        "    int $0x80\n"
        "    nop\n"
        "    call 2f\n"
        "    jmp 3f\n"
        "2:  ret\n"
        "3:  movl $5, %ecx\n"
        "    movl $steps_from, %esi\n"
        "    movl $steps_to, %edi\n"
        "    rep movsb\n"
        "    movl %ds, %eax\n"
        "    movl %eax, %ds\n"
        "    pushl %fs\n"
        "    popl %fs\n"
        "    xorl %eax, %eax\n"
        "    cpuid\n"
        "    rdtsc\n"
        "    movl $1234, steps_result\n"
        "steps_end:\n"
        "    ret\n");
extern const uint8_t steps_begin[], steps_popfl[], steps_end[];
char steps_from[8] __asm__("steps_from") = "abcdef", steps_to[8] __asm__("steps_to");
volatile unsigned steps_result __asm__("steps_result");

static void run_steps(void)
{
    ((void (*)(void))(uintptr_t)steps_begin)();
    EXPECT(steps_result == 1234 && !memcmp(steps_to, "abcde", 6),
           "the stepped code did not do its work");
}

static void steps_of_every_kind(void)
{
    enum { TIMES = 20 };
    unsigned first_count = 0;
    uint32_t first_digest = 0;

    for (unsigned t = 0; t < TIMES; t++) {
        pid_t pid = start_traced(run_steps);
        struct user_regs_struct regs;
        unsigned count = 0, copies = 0;
        uint32_t digest = 2166136261u; /* FNV-1a of the addresses */
        long last = 0;

        run_to(pid, steps_begin, &regs);
        while ((uintptr_t)regs.eip != (uintptr_t)steps_end) {
            EXPECT(++count < 200, "the stepped code does not end");
            trace(PTRACE_SINGLESTEP, pid, 0, 0);
            expect_stop(pid, SIGTRAP, "step");
            trace(PTRACE_GETREGS, pid, 0, (uintptr_t)&regs);
            EXPECT((uintptr_t)regs.eip - (uintptr_t)steps_begin <=
                       (uintptr_t)(steps_end - steps_begin),
                   "step %u led to %#lx", count, regs.eip);
            /* Linux takes the flag for the program's own from a POPF on */
            if ((uintptr_t)regs.eip <= (uintptr_t)steps_popfl)
                EXPECT(!(regs.eflags & 0x100), "step %u: the trap flag is seen", count);
            copies += regs.eip == last; /* a repeated string instruction: a step each time */
            last = regs.eip;
            digest = (digest ^ (regs.eip - (uintptr_t)steps_begin)) * 16777619u;
        }
        EXPECT(copies == COPIES - 1, "%u steps stayed on the string instruction, not %u", copies,
               COPIES - 1);
        if (t == 0) {
            first_count = count;
            first_digest = digest;
            /* 7 loops of 2; 22 others that take one step; the string instruction */
            EXPECT(count == 2 * LOOPS + 22 + COPIES, "%u steps", count);
        }
        EXPECT(count == first_count && digest == first_digest, "run %u took another way", t);
        regs.eflags &= ~0x100; /* see above */
        trace(PTRACE_SETREGS, pid, 0, (uintptr_t)&regs);
        trace(PTRACE_CONT, pid, 0, 0);
        expect_success(pid, "stepped child");
    }
}

/* ---- system calls, registers, attach, events */

static void run_calls(void)
{
    for (unsigned i = 0; i < 10; i++)
        EXPECT(syscall(SYS_getpid) == getppid() * 0 + (i == 4 ? 4711 : getpid()), "call %u", i);
}

static volatile unsigned forever;

static void compute(void)
{
    for (;;)
        forever++;
}

static void run_fork(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(5);
    waitpid(pid, NULL, 0);
}

static void traced_life(void)
{
    struct user_regs_struct regs;
    pid_t pid = start_traced(run_calls);
    unsigned entered = 0, calls = 0;
    long child = 0, before;
    int status;

    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACESYSGOOD);
    for (;;) {
        trace(PTRACE_SYSCALL, pid, 0, 0);
        EXPECT(waitpid(pid, &status, 0) == pid, "waitpid: %s", strerror(errno));
        if (WIFEXITED(status))
            break;
        EXPECT(WSTOPSIG(status) == (SIGTRAP | 0x80), "stop by %#x", WSTOPSIG(status));
        trace(PTRACE_GETREGS, pid, 0, (uintptr_t)&regs);
        entered = !entered;
        if (regs.orig_eax != SYS_getpid)
            continue;
        if (entered) {
            EXPECT(regs.eax == -ENOSYS, "eax at entry %ld", regs.eax);
            calls++;
        } else {
            EXPECT(regs.eax == pid, "getpid of %d gave %ld", pid, regs.eax);
            if (calls == 9) {
                regs.eax = 4711;
                trace(PTRACE_SETREGS, pid, 0, (uintptr_t)&regs);
            }
        }
    }
    EXPECT(status == 0, "the traced child ended with %#x", status);
    EXPECT(calls >= 10, "%u calls", calls);

    pid = start_process();
    if (pid == 0)
        compute();
    sleep_ms(50);
    trace(PTRACE_ATTACH, pid, 0, 0);
    expect_stop(pid, SIGSTOP, "attach");
    trace(PTRACE_GETREGS, pid, 0, (uintptr_t)&regs);
    before = trace(PTRACE_PEEKDATA, pid, (uintptr_t)&forever, 0);
    EXPECT(before != 0, "the attached process did not run");
    trace(PTRACE_POKEDATA, pid, (uintptr_t)&forever, 0);
    trace(PTRACE_CONT, pid, 0, 0);
    sleep_ms(50);
    kill(pid, SIGSTOP);
    expect_stop(pid, SIGSTOP, "stop");
    EXPECT(trace(PTRACE_PEEKDATA, pid, (uintptr_t)&forever, 0) != 0, "it did not go on");
    trace(PTRACE_DETACH, pid, 0, SIGCONT);
    kill(pid, SIGKILL);
    expect_signal(pid, SIGKILL, "detached process");

    pid = start_traced(run_fork);
    trace(PTRACE_SETOPTIONS, pid, 0, PTRACE_O_TRACEFORK);
    trace(PTRACE_CONT, pid, 0, 0);
    EXPECT(waitpid(pid, &status, 0) == pid && status >> 8 == (SIGTRAP | PTRACE_EVENT_FORK << 8),
           "fork: status %#x", status);
    trace(PTRACE_GETEVENTMSG, pid, 0, (uintptr_t)&child);
    expect_stop(child, SIGSTOP, "new child");
    trace(PTRACE_CONT, child, 0, 0);
    trace(PTRACE_CONT, pid, 0, 0);
    EXPECT(waitpid(child, &status, __WALL) == child && WEXITSTATUS(status) == 5, "status %#x",
           status);
    expect_stop(pid, SIGCHLD, "child's end");
    trace(PTRACE_CONT, pid, 0, 0);
    expect_success(pid, "traced parent");
}

/* ---- debug registers */

static volatile uint32_t watched[4];

static void run_watched(void)
{
    uint32_t sum = 0;

    watched[0] = 1;
    watched[1] = 2; /* watched: writes */
    watched[2] = 3;
    sum += watched[1];
    sum += watched[2]; /* watched: reads and writes */
    watched[1] = sum;
    run_steps(); /* watched: execution of its first instruction */
}

static void set_debug_register(pid_t pid, unsigned n, uint32_t value)
{
    trace(PTRACE_POKEUSER, pid, offsetof(struct user, u_debugreg) + 4 * n, value);
}

static uint32_t debug_register(pid_t pid, unsigned n)
{
    return trace(PTRACE_PEEKUSER, pid, offsetof(struct user, u_debugreg) + 4 * n, 0);
}

static void watch_points(void)
{
    /* which register, and the value that the watched word then has */
    static const struct {
        unsigned hit;
        uint32_t value;
    } hits[] = {{0, 2}, {1, 3}, {1, 3}, {0, 5}, {2, 0}};
    /* DR7: local enables; register 0 writes of 4, 1 reads and writes of 4, 2 execution (SDM
     * 3B 17.2.4) */
    const uint32_t dr7 = 1u << 0 | 1u << 2 | 1u << 4 | 0xdu << 16 | 0xfu << 20 | 0u << 24;
    pid_t pid = start_traced(run_watched);
    struct user_regs_struct regs;

    set_debug_register(pid, 0, (uintptr_t)&watched[1]);
    set_debug_register(pid, 1, (uintptr_t)&watched[2]);
    set_debug_register(pid, 2, (uintptr_t)steps_begin);
    set_debug_register(pid, 7, dr7);
    EXPECT(debug_register(pid, 0) == (uintptr_t)&watched[1], "register 0 is not what was set");
    for (unsigned i = 0; i < sizeof(hits) / sizeof(hits[0]); i++) {
        uint32_t dr6;

        trace(PTRACE_CONT, pid, 0, 0);
        expect_stop(pid, SIGTRAP, "watch point");
        dr6 = debug_register(pid, 6);
        EXPECT((dr6 & 0xf) == 1u << hits[i].hit, "stop %u: DR6 %#x, not register %u", i, dr6,
               hits[i].hit);
        if (hits[i].hit < 2)
            EXPECT((uint32_t)trace(PTRACE_PEEKDATA, pid, (uintptr_t)&watched[1 + hits[i].hit], 0) ==
                       hits[i].value,
                   "stop %u: the watched word", i);
        trace(PTRACE_GETREGS, pid, 0, (uintptr_t)&regs);
        if (hits[i].hit == 2)
            EXPECT(regs.eip == (long)(uintptr_t)steps_begin, "stopped at %#lx", regs.eip);
        set_debug_register(pid, 6, 0);
    }
    set_debug_register(pid, 7, 0);
    trace(PTRACE_CONT, pid, 0, 0);
    expect_success(pid, "watched child");
}

const struct test trace_tests[] = {
    {"steps-of-every-kind", steps_of_every_kind, 120},
    {"traced-life", traced_life, 60},
    {"watch-points", watch_points, 60},
    {0},
};
