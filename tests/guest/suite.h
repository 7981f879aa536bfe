/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest test suite: a static IA32 program that init runs in a guest (guests/init, mode suite).
 * Every test runs in a process of its own and prints one line:
 *
 *   guest-test NAME ok
 *   guest-test NAME FAILED: what was wrong
 *
 * What is printed does not depend on the machine, so that the same suite under two hypervisors is
 * compared by its output.
 */
#ifndef PV_TESTS_GUEST_SUITE_H
#define PV_TESTS_GUEST_SUITE_H

#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE 4096u

/* Ends the test with a message. */
void failed(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            failed("%s:%d: %s", __FILE__, __LINE__, #condition);                                   \
    } while (0)

#define EXPECT(condition, ...)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            failed(__VA_ARGS__);                                                                   \
    } while (0)

struct test {
    const char *name;
    void (*run)(void);
    unsigned seconds; /* after which it has failed */
};

/* One table a file, ended by an empty entry. */
extern const struct test process_tests[], memory_tests[], mapping_tests[], signal_tests[],
    exception_tests[], fpu_tests[], pipe_tests[], debug_tests[], trace_tests[], thread_tests[],
    futex_tests[], time_tests[], proc_tests[];

extern const char *suite_path; /* of this program, for exec */
extern unsigned suite_scale;   /* divides repetitions; 1: all of them */

/* xorshift32: the same numbers everywhere */
uint32_t next_random(uint32_t *state);

/* Waits for (pid) and returns its exit status; a signal fails the test. */
int wait_for(int pid);

/* fork() that cannot fail; a child's end that must be status 0, or (signal). */
int start_process(void);
void expect_success(int pid, const char *what);
void expect_signal(int pid, int signal, const char *what);

/* Not the C library's, which makes calls with 32-bit times, and the guest's kernel need not have
 * those. */
void sleep_ms(unsigned milliseconds);

/* Timer interrupts since the start. */
unsigned long timer_ticks(void);

/* What the last signal said that catch_signals() caught. */
struct caught {
    volatile sig_atomic_t count;
    volatile int number, code;
    volatile uint32_t address, eip, trap, error;
};
extern struct caught caught;
extern sigjmp_buf caught_return;

/* (number) is caught: its handler fills (caught) and jumps to (caught_return). */
void catch_signal(int number);

#endif
