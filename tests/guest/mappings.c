/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory: copy-on-write, mappings that come and go, the heap, and what happens when there is no
 * more. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "suite.h"

/* ---- copy on write */

enum { COW_PAGES = 1024, COW_DEPTH = 5 };

static uint32_t word_of(uint32_t owner, unsigned page, unsigned word)
{
    return owner * 2654435761u ^ page * 40503u ^ word * 7919u;
}

static void write_page(uint32_t *memory, unsigned page, uint32_t owner)
{
    for (unsigned w = 0; w < PAGE / 4; w += 61)
        memory[page * (PAGE / 4) + w] = word_of(owner, page, w);
}

static void check_pages(const uint32_t *memory, const uint32_t *owner, const char *who)
{
    for (unsigned p = 0; p < COW_PAGES; p++)
        for (unsigned w = 0; w < PAGE / 4; w += 61)
            EXPECT(memory[p * (PAGE / 4) + w] == word_of(owner[p], p, w),
                   "%s: page %u word %u is not what it wrote", who, p, w);
}

/* Each generation writes some pages of its own between two forks, and finds all others as they
 * were. */
static void generation(uint32_t *memory, uint32_t *owner, unsigned depth, uint32_t seed)
{
    pid_t child[2];

    for (unsigned c = 0; c < 2; c++) {
        for (unsigned i = 0; i < COW_PAGES / 8; i++) {
            unsigned p = next_random(&seed) % COW_PAGES;

            owner[p] = seed;
            write_page(memory, p, seed);
        }
        child[c] = 0;
        if (depth == 0)
            continue;
        child[c] = start_process();
        if (child[c] == 0) {
            check_pages(memory, owner, "child, before it writes");
            generation(memory, owner, depth - 1, seed * 3 + c + 1);
            check_pages(memory, owner, "child, at its end");
            _exit(0);
        }
    }
    for (unsigned c = 0; c < 2; c++)
        if (child[c])
            expect_success(child[c], "copy-on-write child");
}

static void cow_generations(void)
{
    uint32_t *memory =
        mmap(NULL, COW_PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static uint32_t owner[COW_PAGES];

    EXPECT(memory != MAP_FAILED, "mmap: %s", strerror(errno));
    for (unsigned p = 0; p < COW_PAGES; p++) {
        owner[p] = 1;
        write_page(memory, p, 1);
    }
    generation(memory, owner, suite_scale > 1 ? COW_DEPTH - 2 : COW_DEPTH, 12345);
    check_pages(memory, owner, "parent");
}

/* ---- mmap, munmap and mprotect, held against a model */

enum { STORM_PAGES = 512, STORM_STEPS = 16000 };

enum { GONE, NONE, READ, WRITE };

static sigjmp_buf fault_jump;
static siginfo_t fault_info;
static unsigned long fault_error;

static void on_fault(int signal, siginfo_t *info, void *context)
{
    ucontext_t *u = context;

    (void)signal;
    fault_info = *info;
    fault_error = u->uc_mcontext.gregs[REG_ERR];
    siglongjmp(fault_jump, 1);
}

static void catch_faults(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* Page-fault error code, SDM 3A 4.7. */
enum { ERROR_PRESENT = 1, ERROR_WRITE = 2, ERROR_USER = 4 };

static void touch(volatile uint32_t *at, unsigned state, uint32_t content, int write)
{
    const int allowed = state == WRITE || (state == READ && !write);

    if (sigsetjmp(fault_jump, 1) == 0) {
        if (write)
            *at = content;
        else
            EXPECT(*at == content, "%p holds %#x, not %#x", (void *)at, *at, content);
        EXPECT(allowed, "%s of a page in state %u went through", write ? "write" : "read", state);
        return;
    }
    EXPECT(!allowed, "%s of a page in state %u faulted", write ? "write" : "read", state);
    EXPECT(fault_info.si_addr == (void *)at, "a fault at %p was reported at %p", (void *)at,
           fault_info.si_addr);
    EXPECT(fault_info.si_code == (state == GONE ? SEGV_MAPERR : SEGV_ACCERR),
           "si_code %d in state %u", fault_info.si_code, state);
    EXPECT((fault_error & (ERROR_WRITE | ERROR_USER)) ==
               (write ? ERROR_WRITE | ERROR_USER : ERROR_USER),
           "error code %#lx", fault_error);
}

static void mappings_against_model(void)
{
    uint8_t *base = mmap(NULL, STORM_PAGES * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    static uint8_t state[STORM_PAGES];
    static uint32_t content[STORM_PAGES];
    static const int protection[] = {0, PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE};
    uint32_t seed = 99;

    EXPECT(base != MAP_FAILED, "mmap: %s", strerror(errno));
    memset(state, NONE, sizeof(state));
    catch_faults();
    for (unsigned step = 0; step < STORM_STEPS / suite_scale; step++) {
        unsigned first = next_random(&seed) % STORM_PAGES, n = 1 + next_random(&seed) % 24, what;

        if (n > STORM_PAGES - first)
            n = STORM_PAGES - first;
        what = next_random(&seed) % 16;
        if (what == 0) {
            EXPECT(munmap(base + first * PAGE, n * PAGE) == 0, "munmap: %s", strerror(errno));
            memset(state + first, GONE, n);
        } else if (what == 1) {
            unsigned to = NONE + next_random(&seed) % 3;

            EXPECT(mmap(base + first * PAGE, n * PAGE, protection[to],
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == base + first * PAGE,
                   "mmap: %s", strerror(errno));
            memset(state + first, to, n);
            memset(content + first, 0, n * sizeof(content[0]));
        } else if (what <= 4) {
            unsigned to = NONE + next_random(&seed) % 3, hole = 0, i = 0;
            int status = mprotect(base + first * PAGE, n * PAGE, protection[to]);

            for (; i < n && state[first + i] != GONE; i++)
                state[first + i] = to; /* up to the first hole, which ends it */
            hole = i < n;
            EXPECT((status != 0) == hole && (!hole || errno == ENOMEM), "mprotect gave %d", status);
        } else {
            unsigned word = first % (PAGE / 4);
            uint32_t *at = (uint32_t *)(base + first * PAGE) + word;
            int write = what > 9;
            uint32_t value = write ? seed : content[first];

            touch(at, state[first], value, write);
            if (write && state[first] == WRITE)
                content[first] = value;
        }
    }
    for (unsigned p = 0; p < STORM_PAGES; p++) {
        uint32_t *at = (uint32_t *)(base + p * PAGE) + p % (PAGE / 4);

        touch(at, state[p], content[p], 0);
    }
}

/* ---- the heap */

static uint8_t *brk_to(void *end)
{
    return (uint8_t *)syscall(SYS_brk, end);
}

static void write_text(const char *path, const char *text)
{
    int file = open(path, O_WRONLY);

    EXPECT(file >= 0 && write(file, text, strlen(text)) > 0, "%s: %s", path, strerror(errno));
    close(file);
}

static unsigned long memory_available(void)
{
    unsigned long kilobytes = 0;
    char line[128];
    FILE *f = fopen("/proc/meminfo", "r");

    EXPECT(f, "/proc/meminfo: %s", strerror(errno));
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "MemAvailable: %lu", &kilobytes) == 1)
            break;
    fclose(f);
    return kilobytes;
}

/* brk until the kernel says no, then until it runs out; who is left finds the memory free again. */
static void out_of_memory(void)
{
    enum { STEP = 256 * PAGE };
    unsigned long before, after;
    pid_t pid;

    write_text("/proc/self/oom_score_adj", "-1000");
    before = memory_available();
    write_text("/proc/sys/vm/overcommit_memory", "2");
    pid = start_process();
    if (pid == 0) {
        uint8_t *end = brk_to(NULL);
        unsigned steps = 0;

        while (brk_to(end + STEP) == end + STEP) {
            end += STEP;
            steps++;
        }
        _exit(steps > 10 && steps < 4096 ? 0 : 1);
    }
    expect_success(pid, "brk under strict accounting");
    write_text("/proc/sys/vm/overcommit_memory", "1");
    for (unsigned round = 0; round < (suite_scale > 1 ? 1 : 2); round++) {
        pid = start_process();
        if (pid == 0) {
            uint8_t *end = brk_to(NULL);

            write_text("/proc/self/oom_score_adj", "1000");
            for (;;) {
                if (brk_to(end + STEP) != end + STEP)
                    _exit(1);
                for (unsigned at = 0; at < STEP; at += PAGE)
                    end[at] = 1;
                end += STEP;
            }
        }
        expect_signal(pid, SIGKILL, "memory hog");
    }
    write_text("/proc/sys/vm/overcommit_memory", "0");
    after = memory_available();
    EXPECT(after + 8192 > before, "%lu KiB were available, now %lu", before, after);
}

const struct test mapping_tests[] = {
    {"cow-generations", cow_generations, 120},
    {"mappings-against-model", mappings_against_model, 240},
    {"out-of-memory", out_of_memory, 240},
    {0},
};
