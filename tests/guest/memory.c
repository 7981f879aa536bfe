/* SPDX-License-Identifier: BSD-2-Clause */
/* Page tables in every state: copy on write, mappings that change, exhaustion. Content is verified.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "suite.h"

static void *map_pages(unsigned pages, int protection, int flags)
{
    void *p = mmap(NULL, pages * PAGE, protection, MAP_ANONYMOUS | flags, -1, 0);

    CHECK(p != MAP_FAILED);
    return p;
}

static void fill(uint8_t *pages, unsigned count, uint32_t seed)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned at = 0; at < PAGE; at += 512)
            *(uint32_t *)(pages + i * PAGE + at) = seed + i * 8 + at;
}

static int is_filled(const uint8_t *pages, unsigned count, uint32_t seed)
{
    for (unsigned i = 0; i < count; i++)
        for (unsigned at = 0; at < PAGE; at += 512)
            if (*(const uint32_t *)(pages + i * PAGE + at) != seed + i * 8 + at)
                return 0;
    return 1;
}

static void copy_on_write(void)
{
    enum { PAGES = 600, CHILDREN = 8 };
    uint8_t *memory = map_pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE);
    pid_t pids[CHILDREN];

    fill(memory, PAGES, 1);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < CHILDREN; i++) {
            pids[i] = fork();
            CHECK(pids[i] >= 0);
            if (pids[i] == 0) {
                uint32_t seed = (uint32_t)(1000 * (i + 1));

                if (!is_filled(memory, PAGES, 1))
                    _exit(1);
                fill(memory + PAGE * (unsigned)i, PAGES / 2, seed);
                if (!is_filled(memory + PAGE * (unsigned)i, PAGES / 2, seed))
                    _exit(2);
                _exit(0);
            }
        }
        for (int i = 0; i < CHILDREN; i++)
            CHECK(wait_for(pids[i]) == 0);
        CHECK(is_filled(memory, PAGES, 1));
    }
}

/* Shared pages are not copied. */
static void shared_memory(void)
{
    enum { PAGES = 64, CHILDREN = 4 };
    uint8_t *memory = map_pages(PAGES, PROT_READ | PROT_WRITE, MAP_SHARED);
    pid_t pids[CHILDREN];

    for (int i = 0; i < CHILDREN; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            unsigned part = PAGES / CHILDREN;

            fill(memory + (unsigned)i * part * PAGE, part, (uint32_t)i * 77777);
            _exit(0);
        }
    }
    for (int i = 0; i < CHILDREN; i++) {
        CHECK(wait_for(pids[i]) == 0);
        CHECK(is_filled(memory + (unsigned)i * (PAGES / CHILDREN) * PAGE, PAGES / CHILDREN,
                        (uint32_t)i * 77777));
    }
}

/* Random mmap, munmap, mprotect and accesses against a model of what must be there. */
static void mapping_storm(void)
{
    enum { SLOTS = 48, PAGES_MAX = 12 };
    struct {
        uint8_t *memory;
        unsigned pages;
        uint32_t seed;
        int protection;
    } slots[SLOTS] = {{0}};
    uint32_t state = 12345;

    catch_signal(SIGSEGV);
    for (unsigned step = 0; step < 6000 / suite_scale; step++) {
        volatile unsigned slot = next_random(&state) % SLOTS;

        if (!slots[slot].memory) {
            slots[slot].pages = 1 + next_random(&state) % PAGES_MAX;
            slots[slot].memory = map_pages(slots[slot].pages, PROT_READ | PROT_WRITE, MAP_PRIVATE);
            slots[slot].seed = step + 1;
            slots[slot].protection = PROT_READ | PROT_WRITE;
            for (unsigned i = 0; i < slots[slot].pages * PAGE; i += 1024)
                CHECK(slots[slot].memory[i] == 0);
            fill(slots[slot].memory, slots[slot].pages, slots[slot].seed);
            continue;
        }
        switch (next_random(&state) % 4) {
        case 0: /* away: reading faults */
            CHECK(munmap(slots[slot].memory, slots[slot].pages * PAGE) == 0);
            caught.count = 0;
            if (sigsetjmp(caught_return, 1) == 0) {
                (void)*(volatile uint8_t *)slots[slot].memory;
                failed("a page can be read after munmap");
            }
            CHECK(caught.address == (uint32_t)(uintptr_t)slots[slot].memory);
            CHECK(caught.code == SEGV_MAPERR);
            slots[slot].memory = NULL;
            break;
        case 1: /* read only: writing faults, content stays */
            CHECK(mprotect(slots[slot].memory, slots[slot].pages * PAGE, PROT_READ) == 0);
            if (sigsetjmp(caught_return, 1) == 0) {
                slots[slot].memory[8] = 1;
                failed("a page can be written after mprotect");
            }
            CHECK(caught.address == (uint32_t)(uintptr_t)slots[slot].memory + 8);
            CHECK(caught.code == SEGV_ACCERR);
            slots[slot].protection = PROT_READ;
            CHECK(is_filled(slots[slot].memory, slots[slot].pages, slots[slot].seed));
            break;
        case 2: /* no access: reading faults */
            CHECK(mprotect(slots[slot].memory, slots[slot].pages * PAGE, PROT_NONE) == 0);
            if (sigsetjmp(caught_return, 1) == 0) {
                (void)*(volatile uint8_t *)(slots[slot].memory + 4);
                failed("a page can be read after mprotect");
            }
            CHECK(caught.code == SEGV_ACCERR);
            CHECK(mprotect(slots[slot].memory, slots[slot].pages * PAGE, PROT_READ) == 0);
            slots[slot].protection = PROT_READ;
            break;
        default: /* writable: new content */
            CHECK(is_filled(slots[slot].memory, slots[slot].pages, slots[slot].seed));
            if (!(slots[slot].protection & PROT_WRITE))
                CHECK(mprotect(slots[slot].memory, slots[slot].pages * PAGE,
                               PROT_READ | PROT_WRITE) == 0);
            slots[slot].protection = PROT_READ | PROT_WRITE;
            slots[slot].seed = step + 1;
            fill(slots[slot].memory, slots[slot].pages, slots[slot].seed);
        }
    }
    for (unsigned slot = 0; slot < SLOTS; slot++)
        if (slots[slot].memory)
            CHECK(is_filled(slots[slot].memory, slots[slot].pages, slots[slot].seed));
}

static void remapping(void)
{
    enum { PAGES = 40 };
    uint8_t *memory = map_pages(PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE);

    fill(memory, PAGES, 5);
    for (int i = 0; i < 20; i++) {
        uint8_t *target = map_pages(PAGES, PROT_NONE, MAP_PRIVATE), *moved;

        moved = mremap(memory, PAGES * PAGE, PAGES * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, target);
        CHECK(moved == target);
        CHECK(is_filled(moved, PAGES, 5));
        memory = moved;
    }
}

static void file_mappings(void)
{
    enum { PAGES = 32 };
    int file = open("/tmp/mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
    uint8_t *shared, *private, page[PAGE];

    CHECK(file >= 0);
    CHECK(ftruncate(file, PAGES * PAGE) == 0);
    shared = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    private = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(shared != MAP_FAILED && private != MAP_FAILED);
    fill(shared, PAGES, 99);
    CHECK(is_filled(private, PAGES, 99));
    fill(private, PAGES, 7);
    CHECK(is_filled(shared, PAGES, 99));
    CHECK(pread(file, page, PAGE, 3 * PAGE) == PAGE);
    CHECK(memcmp(page, shared + 3 * PAGE, PAGE) == 0);
    CHECK(ftruncate(file, PAGE) == 0);
    catch_signal(SIGBUS);
    if (sigsetjmp(caught_return, 1) == 0) {
        (void)*(volatile uint8_t *)(shared + 2 * PAGE);
        failed("a page behind the end of the file can be read");
    }
    CHECK(caught.address == (uint32_t)(uintptr_t)shared + 2 * PAGE);
    close(file);
    unlink("/tmp/mapped");
}

static unsigned descend(unsigned depth)
{
    volatile uint8_t frame[1000];

    frame[0] = (uint8_t)depth;
    frame[999] = (uint8_t)(depth >> 8);
    if (!depth)
        return 0;
    return descend(depth - 1) + (frame[0] == (uint8_t)depth && frame[999] == (uint8_t)(depth >> 8));
}

static void stack_grows(void)
{
    CHECK(descend(5000) == 5000);
}

static void brk_shrinks_and_grows(void)
{
    uint8_t *start = sbrk(0);

    for (int i = 1; i < 30; i++) {
        CHECK(brk(start + i * 100 * 1024) == 0);
        start[i * 100 * 1024 - 1] = (uint8_t)i;
        CHECK(brk(start + 8192) == 0);
        CHECK(brk(start + i * 100 * 1024) == 0);
        CHECK(start[i * 100 * 1024 - 1] == 0);
    }
}

const struct test memory_tests[] = {
    {"copy-on-write", copy_on_write, 60},
    {"shared-memory", shared_memory, 20},
    {"mapping-storm", mapping_storm, 60},
    {"remapping", remapping, 20},
    {"file-mappings", file_mappings, 20},
    {"stack-grows", stack_grows, 20},
    {"brk-shrinks-and-grows", brk_shrinks_and_grows, 20},
    {0},
};
