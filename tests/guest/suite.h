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

struct test {
    const char *name;
    void (*run)(void);
    unsigned seconds; /* after which it has failed */
};

/* One table a file, ended by an empty entry. */
extern const struct test process_tests[], memory_tests[], signal_tests[], debug_tests[],
    thread_tests[], time_tests[];

extern const char *suite_path; /* of this program, for exec */
extern unsigned suite_scale;   /* divides repetitions; 1: all of them */

/* xorshift32: the same numbers everywhere */
uint32_t next_random(uint32_t *state);

/* Waits for (pid) and returns its exit status; a signal fails the test. */
int wait_for(int pid);

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
