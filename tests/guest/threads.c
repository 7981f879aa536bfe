/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads, and the segments that their local storage lives in. */
#include <asm/ldt.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "suite.h"

enum { THREADS = 8, WORDS = 64, STACK = 16384 };

/* A thread of our own making: its %gs is its storage, so nothing of the C library runs in it. */
struct thread {
    uint32_t storage[WORDS];
    int tid; /* cleared by the kernel when the thread has ended */
    int bad;
    uint8_t stack[STACK] __attribute__((aligned(16)));
};

static struct thread threads[THREADS];
static uint32_t together;

static void yield(void)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "0"(SYS_sched_yield) : "memory");
}

static uint32_t read_gs(uint32_t offset)
{
    uint32_t value;

    __asm__ volatile("mov %%gs:(%1),%0" : "=r"(value) : "r"(offset));
    return value;
}

static void write_gs(uint32_t offset, uint32_t value)
{
    __asm__ volatile("mov %1,%%gs:(%0)" : : "r"(offset), "r"(value) : "memory");
}

static int thread(void *argument)
{
    struct thread *self = argument;
    uint32_t seed = (uint32_t)(self - threads + 1) * 1000;

    for (uint32_t i = 0; i < WORDS; i++)
        write_gs(4 * i, seed + i);
    for (unsigned round = 0; round < 400 / suite_scale + 1; round++) {
        for (uint32_t i = 0; i < WORDS; i++)
            self->bad |= read_gs(4 * i) != seed + i || self->storage[i] != seed + i;
        __atomic_add_fetch(&together, 1, __ATOMIC_SEQ_CST);
        yield();
    }
    /* Returning would end it through the C library, which calls by %gs */
    for (;;)
        __asm__ volatile("int $0x80" : : "a"(SYS_exit), "b"(0) : "memory");
    return 0;
}

static void local_storage(void)
{
    const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD |
                      CLONE_SYSVSEM | CLONE_SETTLS | CLONE_CHILD_CLEARTID | CLONE_PARENT_SETTID;
    unsigned own;

    __asm__ volatile("mov %%gs,%0" : "=r"(own));
    for (unsigned i = 0; i < THREADS; i++) {
        struct user_desc area = {.entry_number = own >> 3,
                                 .base_addr = (unsigned)(uintptr_t)threads[i].storage,
                                 .limit = sizeof(threads[i].storage) - 1,
                                 .seg_32bit = 1,
                                 .useable = 1};

        threads[i].tid = 1;
        CHECK(clone(thread, threads[i].stack + STACK, flags, &threads[i], &threads[i].tid, &area,
                    &threads[i].tid) > 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        while (__atomic_load_n(&threads[i].tid, __ATOMIC_SEQ_CST))
            yield();
        CHECK(!threads[i].bad);
    }
    CHECK(together == THREADS * (400 / suite_scale + 1));
}

static uint32_t read_through_fs(unsigned selector, uint32_t offset)
{
    uint32_t value;

    __asm__ volatile("mov %1,%%fs; mov %%fs:(%2),%0; mov %3,%%fs"
                     : "=&r"(value)
                     : "r"(selector), "r"(offset), "r"(0));
    return value;
}

static void thread_areas(void)
{
    static uint32_t data[3][4] = {{10, 11, 12, 13}, {20, 21, 22, 23}, {30, 31, 32, 33}};
    struct user_desc areas[2];
    unsigned count = 0;

    for (unsigned i = 0; i < 2; i++) {
        areas[i] = (struct user_desc){.entry_number = (unsigned)-1,
                                      .base_addr = (unsigned)(uintptr_t)data[i],
                                      .limit = 0xfffff,
                                      .seg_32bit = 1,
                                      .limit_in_pages = 1,
                                      .useable = 1};
        if (syscall(SYS_set_thread_area, &areas[i]) == 0)
            count++;
    }
    CHECK(count == 2);
    for (unsigned i = 0; i < 2; i++) {
        unsigned selector = areas[i].entry_number * 8 + 3;

        for (uint32_t at = 0; at < 4; at++)
            CHECK(read_through_fs(selector, at * 4) == data[i][at]);
    }
    /* a changed base counts at the next load */
    areas[1].base_addr = (unsigned)(uintptr_t)data[2];
    CHECK(syscall(SYS_set_thread_area, &areas[1]) == 0);
    for (unsigned i = 0; i < 100; i++) {
        CHECK(read_through_fs(areas[1].entry_number * 8 + 3, 8) == 32);
        sched_yield();
    }
}

static void local_descriptors(void)
{
    static uint32_t data[600];
    struct user_desc entry = {.limit = 0xfffff, .seg_32bit = 1, .limit_in_pages = 1, .useable = 1};

    for (unsigned i = 0; i < 600; i++) {
        data[i] = i * 3;
        entry.entry_number = i;
        entry.base_addr = (unsigned)(uintptr_t)&data[i];
        CHECK(syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry)) == 0);
    }
    for (unsigned i = 0; i < 600; i += 7)
        CHECK(read_through_fs(i * 8 + 7, 0) == i * 3);
    /* inherited by a child, and its own from then on */
    {
        int pid = fork();

        CHECK(pid >= 0);
        if (pid == 0) {
            if (read_through_fs(5 * 8 + 7, 0) != 15)
                _exit(1);
            entry.entry_number = 5;
            entry.base_addr = (unsigned)(uintptr_t)&data[9];
            if (syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry)))
                _exit(2);
            _exit(read_through_fs(5 * 8 + 7, 0) == 27 ? 0 : 3);
        }
        CHECK(wait_for(pid) == 0);
        CHECK(read_through_fs(5 * 8 + 7, 0) == 15);
    }
    /* a cleared one faults when it is loaded */
    memset(&entry, 0, sizeof(entry));
    entry.entry_number = 6;
    entry.read_exec_only = 1;
    entry.seg_not_present = 1;
    CHECK(syscall(SYS_modify_ldt, 0x11, &entry, sizeof(entry)) == 0);
    catch_signal(SIGSEGV);
    if (sigsetjmp(caught_return, 1) == 0) {
        __asm__ volatile("mov %0,%%fs" : : "r"(6 * 8 + 7));
        failed("a cleared descriptor can be loaded");
    }
    CHECK(caught.trap == 13);
}

const struct test thread_tests[] = {
    {"local-storage", local_storage, 60},
    {"thread-areas", thread_areas, 20},
    {"local-descriptors", local_descriptors, 20},
    {0},
};
