/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads that share locks and wait for each other; two segments for each. */
#include <asm/ldt.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "suite.h"

/* ---- clone with segments, without the C library, whose own data is in the segment that we replace
 */

enum { TLS_THREADS = 8, TLS_TIMES = 1500, STACK = 16384 };

struct block {
    uint32_t number, count, other; /* what its segments must show */
    uint32_t bad;                  /* which look found something else, 0: none */
    volatile int32_t running;      /* cleared by the kernel at the thread's end */
};
static struct block blocks[TLS_THREADS];
static uint32_t others[TLS_THREADS][4];

static long raw_call(long number, long b, long c, long d)
{
    long result;

    __asm__ volatile("int $0x80"
                     : "=a"(result)
                     : "0"(number), "b"(b), "c"(c), "d"(d), "S"(0) /* a wait's time: no end */
                     : "memory");
    return result;
}

static __attribute__((noreturn)) void thread(struct block *block)
{
    /* a second segment, of this thread alone */
    struct user_desc desc = {.entry_number = -1,
                             .base_addr = (uintptr_t)others[block - blocks],
                             .limit = 0xfffff,
                             .seg_32bit = 1,
                             .limit_in_pages = 1,
                             .useable = 1};
    uint32_t value;

    if (raw_call(SYS_set_thread_area, (long)&desc, 0, 0))
        block->bad = 1;
    __asm__ volatile("movw %w0, %%fs" ::"r"(desc.entry_number << 3 | 3));
    for (unsigned i = 0; i < TLS_TIMES / suite_scale && !block->bad; i++) {
        __asm__ volatile("movl %%gs:0, %0" : "=r"(value));
        if (value != block->number)
            block->bad = 2;
        __asm__ volatile("movl %%fs:4, %0" : "=r"(value));
        if (value != block->other)
            block->bad = 3;
        __asm__ volatile("incl %%gs:4" ::: "memory");
        raw_call(SYS_sched_yield, 0, 0, 0);
    }
    raw_call(SYS_exit, 0, 0, 0);
    __builtin_unreachable();
}

/* Returns the thread's number, or a negative error. */
static long clone_thread(void (*run)(struct block *), struct block *block, uint8_t *stack_top,
                         const struct user_desc *tls)
{
    void **stack = (void **)stack_top;
    const long flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                       CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID;
    long result;

    *--stack = block;
    *--stack = NULL; /* where (run)'s return address would be */
    *--stack = (void *)run;
    __asm__ volatile("int $0x80\n\t"
                     "testl %%eax, %%eax\n\t"
                     "jnz 1f\n\t"
                     "ret\n"
                     "1:"
                     : "=a"(result)
                     : "0"(SYS_clone), "b"(flags), "c"(stack), "d"(0), "S"(tls),
                       "D"(&block->running)
                     : "memory");
    return result;
}

static struct user_desc first_segment(void)
{
    struct user_desc desc;
    uint16_t gs;

    __asm__("movw %%gs, %0" : "=r"(gs));
    memset(&desc, 0, sizeof(desc));
    desc.entry_number = gs >> 3;
    EXPECT(syscall(SYS_get_thread_area, &desc) == 0, "get_thread_area: %s", strerror(errno));
    return desc;
}

static void join(struct block *block)
{
    while (block->running) /* FUTEX_WAIT without _PRIVATE is what the kernel wakes at the end */
        raw_call(SYS_futex_time64, (long)&block->running, FUTEX_WAIT, 1);
}

static void two_segments(void)
{
    uint8_t *stacks =
        mmap(NULL, TLS_THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    const struct user_desc before = first_segment();
    struct user_desc desc, after;

    EXPECT(stacks != MAP_FAILED, "mmap: %s", strerror(errno));
    for (unsigned i = 0; i < TLS_THREADS; i++) {
        blocks[i].number = 1000 + i;
        blocks[i].other = others[i][1] = 7000 + i;
        blocks[i].running = 1;
        desc = before;
        desc.base_addr = (uintptr_t)&blocks[i];
        EXPECT(clone_thread(thread, &blocks[i], stacks + (i + 1) * STACK, &desc) > 0, "clone");
    }
    for (unsigned i = 0; i < TLS_THREADS; i++) {
        join(&blocks[i]);
        EXPECT(!blocks[i].bad, "thread %u: look %u found another's segment", i, blocks[i].bad);
        EXPECT(blocks[i].count == TLS_TIMES / suite_scale, "thread %u counted to %u", i,
               blocks[i].count);
    }
    after = before;
    EXPECT(syscall(SYS_get_thread_area, &after) == 0 && !memcmp(&before, &after, sizeof(before)),
           "the first thread's segment changed");
}

/* ---- shared memory, locks and waits */

enum { THREADS = 8, COUNTS = 3000, TURNS = 50, SHORT_THREADS = 300 };

static uint32_t lock; /* 0 free, 1 taken, 2 taken and waited for: Drepper, Futexes Are Tricky */
static uint32_t turn, arrived;
static volatile unsigned total;

static void futex_wait(uint32_t *word, uint32_t value)
{
    raw_call(SYS_futex_time64, (long)word, FUTEX_WAIT_PRIVATE, value);
}

static void futex_wake(uint32_t *word, int count)
{
    raw_call(SYS_futex_time64, (long)word, FUTEX_WAKE_PRIVATE, count);
}

static void take(void)
{
    uint32_t found = 0;

    if (__atomic_compare_exchange_n(&lock, &found, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return;
    while (__atomic_exchange_n(&lock, 2, __ATOMIC_SEQ_CST))
        futex_wait(&lock, 2);
}

static void release(void)
{
    if (__atomic_exchange_n(&lock, 0, __ATOMIC_SEQ_CST) == 2)
        futex_wake(&lock, 1);
}

static __attribute__((noreturn)) void counter(struct block *block)
{
    /* all begin together */
    if (__atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST) == THREADS)
        futex_wake(&arrived, THREADS);
    for (uint32_t seen; (seen = __atomic_load_n(&arrived, __ATOMIC_SEQ_CST)) < THREADS;)
        futex_wait(&arrived, seen);
    for (unsigned i = 0; i < COUNTS; i++) {
        take();
        total++;
        if (i % 64 == 0)
            raw_call(SYS_sched_yield, 0, 0, 0); /* others find it taken */
        release();
        block->count++;
    }
    for (unsigned i = 0; i < TURNS; i++) {
        for (uint32_t seen;
             (seen = __atomic_load_n(&turn, __ATOMIC_SEQ_CST)) % THREADS != block->number;)
            futex_wait(&turn, seen);
        __atomic_fetch_add(&turn, 1, __ATOMIC_SEQ_CST);
        futex_wake(&turn, THREADS);
    }
    raw_call(SYS_exit, 0, 0, 0);
    __builtin_unreachable();
}

static __attribute__((noreturn)) void short_thread(struct block *block)
{
    block->count++;
    raw_call(SYS_exit, 0, 0, 0);
    __builtin_unreachable();
}

static void futexes(void)
{
    uint8_t *stacks =
        mmap(NULL, THREADS * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct user_desc desc = first_segment();

    EXPECT(stacks != MAP_FAILED, "mmap: %s", strerror(errno));
    memset(blocks, 0, sizeof(blocks));
    for (unsigned i = 0; i < THREADS; i++) {
        blocks[i].number = i;
        blocks[i].running = 1;
        desc.base_addr = (uintptr_t)&blocks[i];
        EXPECT(clone_thread(counter, &blocks[i], stacks + (i + 1) * STACK, &desc) > 0, "clone");
    }
    for (unsigned i = 0; i < THREADS; i++) {
        join(&blocks[i]);
        EXPECT(blocks[i].count == COUNTS, "thread %u counted to %u", i, blocks[i].count);
    }
    EXPECT(total == THREADS * COUNTS, "%u threads counted to %u", THREADS, total);
    EXPECT(turn == THREADS * TURNS, "%u turns", turn);
    for (unsigned i = 0; i < SHORT_THREADS / suite_scale; i++) {
        blocks[0].running = 1;
        blocks[0].count = i;
        desc.base_addr = (uintptr_t)&blocks[0];
        EXPECT(clone_thread(short_thread, &blocks[0], stacks + STACK, &desc) > 0, "clone");
        join(&blocks[0]);
        EXPECT(blocks[0].count == i + 1, "short thread %u", i);
    }
}

const struct test futex_tests[] = {
    {"two-segments-a-thread", two_segments, 120},
    {"futexes", futexes, 120},
    {0},
};
