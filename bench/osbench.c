// SPDX-License-Identifier: BSD-2-Clause
/*
 * osbench: what a kernel's sensitive instructions cost a program. Runs in a guest, as /bin/osbench
 * SCALE [pause]; SCALE divides the repetitions. One line for each operation:
 *
 *   osbench NAME TICKS NANOSECONDS
 *
 * both per operation, each the median of several rounds. Ticks are the time-stamp counter: host
 * time under QEMU's translator, executed instructions under -icount shift=0 (then they repeat
 * exactly). With "pause" it prints `osbench-pause NAME OPERATIONS`, how many were done since the
 * last pause, and waits for a line after each.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, PAGE = 4096, FAULT_PAGES = 256 };
enum { NR_GETPID = 20 /* arch/x86/entry/syscalls/syscall_32.tbl */ };

static const char *self; /* the path of this program, for exec */
static int zero_fd = -1;
static int to_child[2], from_child[2];
static pid_t echo_child;
static char *page;
static sigjmp_buf recover;
static volatile uint32_t sink;

static uint64_t ticks(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
    return (uint64_t)high << 32 | low;
}

static uint64_t nanoseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "osbench: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* The system call by the gate that every IA32 kernel has, without the C library's choice of entry.
 */
static void null_call(void)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "0"(NR_GETPID) : "memory");
    sink += (uint32_t)result;
}

static void open_zero(void)
{
    zero_fd = open("/dev/zero", O_RDONLY);
    if (zero_fd < 0)
        fail("/dev/zero");
}

static void read_byte(void)
{
    char byte;

    if (read(zero_fd, &byte, 1) != 1)
        fail("read");
}

static char *map(size_t size)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (memory == MAP_FAILED)
        fail("mmap");
    return memory;
}

/* Touches pages that have no frame yet, and gives them back. */
static void page_faults(void)
{
    char *memory = map((size_t)FAULT_PAGES * PAGE);

    for (size_t i = 0; i < FAULT_PAGES; i++)
        ((volatile char *)memory)[i * PAGE] = 1;
    munmap(memory, (size_t)FAULT_PAGES * PAGE);
}

static void map_touch_unmap(void)
{
    char *memory = map(PAGE);

    *(volatile char *)memory = 1;
    munmap(memory, PAGE);
}

static void map_page(void)
{
    page = map(PAGE);
    *page = 1;
}

static void protect_twice(void)
{
    mprotect(page, PAGE, PROT_READ);
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    *(volatile char *)page = 1;
}

static void unmap_page(void)
{
    munmap(page, PAGE);
}

static void on_fault(int number)
{
    (void)number;
    siglongjmp(recover, 1);
}

static void arm_fault(void)
{
    struct sigaction action = {.sa_handler = on_fault, .sa_flags = SA_NODEFER};

    map_page();
    mprotect(page, PAGE, PROT_NONE);
    sigaction(SIGSEGV, &action, NULL);
}

static void fault_signal(void)
{
    if (!sigsetjmp(recover, 0))
        *(volatile char *)page = 1;
}

static void disarm_fault(void)
{
    signal(SIGSEGV, SIG_DFL);
    unmap_page();
}

static void on_signal(int number)
{
    (void)number;
}

static void arm_signal(void)
{
    signal(SIGUSR1, on_signal);
}

static void signal_self(void)
{
    raise(SIGUSR1);
}

/* A child that sends back what it gets: each round trip is two context switches. */
static void start_echo(void)
{
    char byte;

    if (pipe(to_child) || pipe(from_child))
        fail("pipe");
    echo_child = fork();
    if (echo_child < 0)
        fail("fork");
    if (echo_child == 0) {
        close(to_child[1]);
        while (read(to_child[0], &byte, 1) == 1)
            if (write(from_child[1], &byte, 1) != 1)
                _exit(1);
        _exit(0);
    }
    close(to_child[0]);
}

static void round_trip(void)
{
    char byte = 1;

    if (write(to_child[1], &byte, 1) != 1 || read(from_child[0], &byte, 1) != 1)
        fail("pipe");
}

static void stop_echo(void)
{
    close(to_child[1]);
    waitpid(echo_child, NULL, 0);
    close(from_child[0]);
    close(from_child[1]);
}

static void fork_exit(void)
{
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
}

static void fork_exec(void)
{
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child == 0) {
        execl(self, self, "leave", (char *)NULL);
        _exit(1);
    }
    waitpid(child, NULL, 0);
}

/* User-mode work, which no kernel should change: the control of the experiment. */
static void compute(void)
{
    uint32_t x = sink | 1;

    for (int i = 0; i < 1000; i++)
        x = x * 1664525u + 1013904223u;
    sink = x;
}

struct benchmark {
    const char *name;
    unsigned repetitions; /* in one round, before SCALE divides them */
    unsigned operations;  /* that one call of (run) does */
    void (*start)(void);
    void (*run)(void);
    void (*stop)(void);
};

static const struct benchmark benchmarks[] = {
    {"null-call", 4000, 1, NULL, null_call, NULL},
    {"read-byte", 3000, 1, open_zero, read_byte, NULL},
    {"page-fault", 8, FAULT_PAGES, NULL, page_faults, NULL},
    {"mmap-munmap", 500, 1, NULL, map_touch_unmap, NULL},
    {"mprotect", 500, 1, map_page, protect_twice, unmap_page},
    {"fault-signal", 500, 1, arm_fault, fault_signal, disarm_fault},
    {"signal", 1000, 1, arm_signal, signal_self, NULL},
    {"pipe-round-trip", 500, 1, start_echo, round_trip, stop_echo},
    {"fork-exit", 20, 1, NULL, fork_exit, NULL},
    {"fork-exec", 10, 1, NULL, fork_exec, NULL},
    {"compute", 1000, 1, NULL, compute, NULL},
};

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return x < y ? -1 : x > y;
}

static void wait_for_line(const char *name, unsigned operations)
{
    int c;

    printf("osbench-pause %s %u\n", name, operations);
    fflush(stdout);
    do
        c = getchar();
    while (c != '\n' && c != EOF);
}

static void measure(const struct benchmark *benchmark, unsigned scale, int pauses)
{
    unsigned repetitions = benchmark->repetitions / scale;
    double tick[ROUNDS], nanosecond[ROUNDS];

    if (repetitions == 0)
        repetitions = 1;
    if (benchmark->start)
        benchmark->start();
    benchmark->run(); /* once, so that what is done lazily is done */
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t time_start = nanoseconds(), tick_start = ticks();
        double operations = (double)repetitions * benchmark->operations;

        for (unsigned i = 0; i < repetitions; i++)
            benchmark->run();
        tick[round] = (double)(ticks() - tick_start) / operations;
        nanosecond[round] = (double)(nanoseconds() - time_start) / operations;
    }
    if (benchmark->stop)
        benchmark->stop();
    qsort(tick, ROUNDS, sizeof(tick[0]), compare);
    qsort(nanosecond, ROUNDS, sizeof(nanosecond[0]), compare);
    printf("osbench %s %.2f %.2f\n", benchmark->name, tick[ROUNDS / 2], nanosecond[ROUNDS / 2]);
    fflush(stdout);
    if (pauses)
        wait_for_line(benchmark->name, (ROUNDS * repetitions + 1) * benchmark->operations);
}

int main(int argc, char **argv)
{
    long scale = 1;
    int pauses;

    self = argv[0];
    if (argc > 1 && !strcmp(argv[1], "leave"))
        return 0;
    if (argc > 1)
        scale = strtol(argv[1], NULL, 10);
    if (scale < 1 || scale > 1000) {
        fprintf(stderr, "osbench: the scale must be 1 to 1000\n");
        return 2;
    }
    pauses = argc > 2 && !strcmp(argv[2], "pause");
    if (pauses)
        wait_for_line("start", 1);
    printf("osbench-start %llu\n", (unsigned long long)ticks());
    fflush(stdout);
    for (size_t i = 0; i < sizeof(benchmarks) / sizeof(benchmarks[0]); i++)
        measure(&benchmarks[i], (unsigned)scale, pauses);
    printf("osbench-end %llu\n", (unsigned long long)ticks());
    return 0;
}
