/* SPDX-License-Identifier: BSD-2-Clause */
/* What a debugger needs: single steps, breakpoints in code and in debug registers, system calls. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

extern char step_begin[], step_end[], step_target[];
static volatile uint32_t watched;

/* 100 rounds of four instructions, between two labels */
static void stepped(void)
{
    __asm__ volatile("step_begin: mov $100,%%ecx\n"
                     "1: add $3,%%eax\n"
                     "step_target: nop\n"
                     "dec %%ecx\n"
                     "jnz 1b\n"
                     "step_end: nop"
                     :
                     :
                     : "eax", "ecx", "cc");
}

static pid_t start_child(void (*body)(void))
{
    pid_t pid = fork();
    int status;

    CHECK(pid >= 0);
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        raise(SIGSTOP);
        body();
        _exit(33);
    }
    CHECK(waitpid(pid, &status, 0) == pid);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    return pid;
}

static long eip_of(pid_t pid)
{
    struct user_regs_struct registers;

    CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &registers) == 0);
    return registers.eip;
}

static void expect_stop(pid_t pid, int signal)
{
    int status;

    CHECK(waitpid(pid, &status, 0) == pid);
    if (!WIFSTOPPED(status) || WSTOPSIG(status) != signal)
        failed("status %#x where a stop by signal %d was due", (unsigned)status, signal);
}

static void finish(pid_t pid)
{
    CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
    CHECK(wait_for(pid) == 33);
}

static void single_steps(void)
{
    pid_t pid = start_child(stepped);
    unsigned inside = 0, steps = 0;
    long eip;

    do {
        CHECK(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0);
        expect_stop(pid, SIGTRAP);
        eip = eip_of(pid);
        if (eip >= (long)step_begin && eip < (long)step_end)
            inside++;
        CHECK(++steps < 20000);
    } while (eip != (long)step_end);
    CHECK(inside == 1 + 100 * 4);
    finish(pid);
}

static void code_breakpoint(void)
{
    pid_t pid = start_child(stepped);
    long word = ptrace(PTRACE_PEEKTEXT, pid, step_target, NULL);
    struct user_regs_struct registers;

    CHECK(ptrace(PTRACE_POKETEXT, pid, step_target, (word & ~0xffl) | 0xcc) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        expect_stop(pid, SIGTRAP);
        CHECK(ptrace(PTRACE_GETREGS, pid, NULL, &registers) == 0);
        CHECK(registers.eip == (long)step_target + 1);
        /* what was replaced is a nop: go on behind it */
    }
    CHECK(ptrace(PTRACE_POKETEXT, pid, step_target, word) == 0);
    CHECK(*(volatile uint8_t *)step_target == 0x90); /* the parent's page was not touched */
    finish(pid);
}

#define DR_OFFSET(n) (offsetof(struct user, u_debugreg) + (n) * sizeof(int))

static void debug_register_breakpoint(void)
{
    pid_t pid = start_child(stepped);
    long status;

    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(0), step_target) == 0);
    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(7), 1) == 0); /* L0, execution */
    for (int i = 0; i < 3; i++) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        expect_stop(pid, SIGTRAP);
        CHECK(eip_of(pid) == (long)step_target);
        status = ptrace(PTRACE_PEEKUSER, pid, DR_OFFSET(6), NULL);
        CHECK(status & 1);
    }
    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(7), 0) == 0);
    finish(pid);
}

static void store_watched(void)
{
    for (int i = 1; i <= 3; i++)
        watched = (uint32_t)i;
}

static void debug_register_watchpoint(void)
{
    pid_t pid = start_child(store_watched);

    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(1), &watched) == 0);
    /* L1, writes, four bytes: SDM 3B 17.2.4 */
    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(7), 1 << 2 | 1 << 20 | 3 << 22) == 0);
    for (long i = 1; i <= 3; i++) {
        CHECK(ptrace(PTRACE_CONT, pid, NULL, NULL) == 0);
        expect_stop(pid, SIGTRAP);
        CHECK(ptrace(PTRACE_PEEKDATA, pid, (void *)&watched, NULL) == i);
    }
    CHECK(ptrace(PTRACE_POKEUSER, pid, DR_OFFSET(7), 0) == 0);
    finish(pid);
}

static void make_calls(void)
{
    for (int i = 0; i < 10; i++)
        getppid();
}

static void traced_calls(void)
{
    pid_t pid = start_child(make_calls);
    unsigned stops = 0;
    int status;

    for (;;) {
        CHECK(ptrace(PTRACE_SYSCALL, pid, NULL, NULL) == 0);
        CHECK(waitpid(pid, &status, 0) == pid);
        if (WIFEXITED(status))
            break;
        CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
        stops++;
    }
    CHECK(WEXITSTATUS(status) == 33);
    CHECK(stops >= 21); /* two a call, one for the exit */
}

/* A program that sets its own trap flag. */
static volatile sig_atomic_t traps;

static void count_trap(int number)
{
    (void)number;
    traps++;
}

static void own_trap_flag(void)
{
    signal(SIGTRAP, count_trap);
    __asm__ volatile("pushfl; orl $0x100,(%%esp); popfl; nop; nop; nop; nop;"
                     "pushfl; andl $~0x100,(%%esp); popfl; nop"
                     :
                     :
                     : "cc");
    CHECK(traps == 7);
}

const struct test debug_tests[] = {
    {"single-steps", single_steps, 60},
    {"code-breakpoint", code_breakpoint, 20},
    {"debug-register-breakpoint", debug_register_breakpoint, 20},
    {"debug-register-watchpoint", debug_register_watchpoint, 20},
    {"traced-calls", traced_calls, 20},
    {"own-trap-flag", own_trap_flag, 10},
    {0},
};
