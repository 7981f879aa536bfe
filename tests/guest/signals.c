/* SPDX-License-Identifier: BSD-2-Clause */
/* Exceptions that user code raises, the addresses that the kernel reports, and the registers that a
 * handler must not disturb. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <unistd.h>

#include "suite.h"

#define KERNEL_ADDRESS 0xc0100000u
#define TRAP_PF        14 /* SDM 3A 6.3.1 */
#define PFE_W          2u
#define PFE_U          4u

/* Runs (statement), which must raise a signal. */
#define RAISES(statement)                                                                          \
    do {                                                                                           \
        caught.count = 0;                                                                          \
        if (sigsetjmp(caught_return, 1) == 0) {                                                    \
            statement;                                                                             \
            failed("%s:%d: no signal from %s", __FILE__, __LINE__, #statement);                    \
        }                                                                                          \
    } while (0)

static void segv_addresses(void)
{
    volatile uint8_t *page = mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    volatile uint8_t *volatile nothing = NULL;

    CHECK(page != MAP_FAILED);
    catch_signal(SIGSEGV);
    RAISES((void)nothing[0x10]);
    CHECK(caught.number == SIGSEGV && caught.code == SEGV_MAPERR && caught.address == 0x10);
    CHECK(caught.trap == TRAP_PF && caught.error == PFE_U);
    RAISES(nothing[0x20] = 1);
    CHECK(caught.address == 0x20 && caught.error == (PFE_U | PFE_W));
    RAISES(page[5] = 1);
    CHECK(caught.address == (uint32_t)(uintptr_t)page + 5 && caught.code == SEGV_ACCERR);
    CHECK(page[5] == 0);
}

/* What belongs to the kernel, and what belongs to whatever is behind it. */
static void kernel_is_out_of_reach(void)
{
    static const uint32_t addresses[] = {KERNEL_ADDRESS, 0xc1000000u, 0xffc00000u, 0xffc01000u,
                                         0xffc02000u,    0xfffff000u, 0xffffffffu};

    catch_signal(SIGSEGV);
    for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++) {
        volatile uint8_t *at = (volatile uint8_t *)addresses[i];

        RAISES((void)*at);
        CHECK(caught.address == addresses[i]);
        RAISES(*at = 1);
        CHECK(caught.address == addresses[i]);
        RAISES(((void (*)(void))addresses[i])());
        CHECK(caught.eip == addresses[i]);
    }
}

static void fpe_addresses(void)
{
    extern char divide[];
    volatile uint32_t zero = 0;
    uint16_t control = 0x037b; /* divide by zero unmasked: bit 2 */

    catch_signal(SIGFPE);
    RAISES(__asm__ volatile("xor %%edx,%%edx; mov $1,%%eax; divide: divl %0"
                            :
                            : "m"(zero)
                            : "eax", "edx"));
    CHECK(caught.code == FPE_INTDIV && caught.eip == (uint32_t)(uintptr_t)divide);
    CHECK(caught.address == caught.eip);
    RAISES(__asm__ volatile("fninit; fldcw %0; fld1; fldz; fdivrp; fwait" : : "m"(control)));
    CHECK(caught.code == FPE_FLTDIV);
    __asm__ volatile("fninit");
    /* (an unmasked SSE exception is nothing that QEMU's translator raises) */
}

static void ill_and_trap_addresses(void)
{
    extern char undefined[], after_breakpoint[], halt[], clear_if[], gate[];

    catch_signal(SIGILL);
    catch_signal(SIGTRAP);
    catch_signal(SIGSEGV);
    RAISES(__asm__ volatile("undefined: ud2"));
    CHECK(caught.number == SIGILL && caught.code == ILL_ILLOPN);
    CHECK(caught.address == (uint32_t)(uintptr_t)undefined && caught.eip == caught.address);
    RAISES(__asm__ volatile("int3; after_breakpoint:"));
    CHECK(caught.number == SIGTRAP && caught.eip == (uint32_t)(uintptr_t)after_breakpoint);
    RAISES(__asm__ volatile("halt: hlt"));
    CHECK(caught.number == SIGSEGV && caught.eip == (uint32_t)(uintptr_t)halt);
    RAISES(__asm__ volatile("clear_if: cli"));
    CHECK(caught.number == SIGSEGV && caught.eip == (uint32_t)(uintptr_t)clear_if);
    RAISES(__asm__ volatile("gate: int $0x81"));
    CHECK(caught.number == SIGSEGV && caught.eip == (uint32_t)(uintptr_t)gate);
    CHECK(caught.trap == 13 && caught.error == 0x81 * 8 + 2);
    RAISES(__asm__ volatile("mov $0x7fffffff,%%eax; add $1,%%eax; into" : : : "eax", "cc"));
    CHECK(caught.number == SIGSEGV && caught.trap == 4);
}

/* Privileged instructions of user code all fault, and the machine goes on. */
static void privileged_instructions_fault(void)
{
    catch_signal(SIGSEGV);
    catch_signal(SIGILL);
    RAISES(__asm__ volatile("mov %%cr0,%%eax" : : : "eax"));
    RAISES(__asm__ volatile("mov %%eax,%%cr3" : : "a"(0)));
    RAISES(__asm__ volatile("mov %%db7,%%eax" : : : "eax"));
    RAISES(__asm__ volatile("rdmsr" : : "c"(0x10) : "eax", "edx"));
    RAISES(__asm__ volatile("wrmsr" : : "a"(0), "c"(0x10), "d"(0)));
    RAISES(__asm__ volatile("outb %%al,$0x80" : : "a"(0)));
    RAISES(__asm__ volatile("inb $0x21,%%al" : : : "eax"));
    RAISES(__asm__ volatile("wbinvd"));
    RAISES(__asm__ volatile("invlpg (%0)" : : "r"(0)));
    RAISES(__asm__ volatile("lldt %%ax" : : "a"(0)));
    RAISES(__asm__ volatile("lidt (%0)" : : "r"(&caught)));
    RAISES(__asm__ volatile("clts"));
    RAISES(__asm__ volatile("sti"));
    RAISES(__asm__ volatile("mov %0,%%fs" : : "r"(0x1234 | 3)));
    RAISES(__asm__ volatile("ljmp $0xe033,$0x1000")); /* a selector of the hypervisor's */
    RAISES(__asm__ volatile("ljmp $0x60,$0x1000"));   /* the kernel's code segment */
}

static void interrupt_flag_stays(void)
{
    uint32_t flags;

    for (int i = 0; i < 1000; i++) {
        __asm__ volatile("pushfl; andl $~0x200,(%%esp); popfl; pushfl; popl %0" : "=r"(flags));
        CHECK(flags & 0x200);
        CHECK(!(flags & 0x3000)); /* IOPL 0 */
    }
}

static volatile sig_atomic_t alarms;

static void disturb(int number)
{
    (void)number;
    alarms++;
    /* all of the x87 stack and SSE registers */
    __asm__ volatile("fninit; fldpi; fldpi; fldpi; fldpi; fldpi; fldpi; fldpi; fldpi;"
                     "pcmpeqd %%xmm0,%%xmm0; movaps %%xmm0,%%xmm1; movaps %%xmm0,%%xmm2;"
                     "movaps %%xmm0,%%xmm3; movaps %%xmm0,%%xmm4; movaps %%xmm0,%%xmm5;"
                     "movaps %%xmm0,%%xmm6; movaps %%xmm0,%%xmm7"
                     :
                     :
                     : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7");
}

/*
 * Registers with a pattern, spun on while handlers and other processes use their own. The spinning
 * is long against the system call that ends it: a timer interrupt that comes due finds user code.
 */
static void hold_registers(uint32_t pattern, unsigned milliseconds)
{
    uint32_t in[4] __attribute__((aligned(16))) = {pattern, pattern + 1, pattern + 2, pattern + 3};
    uint32_t out[4] __attribute__((aligned(16)));
    double value = pattern, back;
    struct timeval start, now;

    gettimeofday(&start, NULL);
    do {
        __asm__ volatile("fninit; fldl %4; movaps %5,%%xmm0; movaps %%xmm0,%%xmm5;"
                         "mov $1000000,%%ecx; 1: lea (%%ecx),%%eax; dec %%ecx; jnz 1b;"
                         "movaps %%xmm5,%0; fstpl %1"
                         : "=m"(out), "=m"(back), "=&a"(in[0]), "=&c"(in[1])
                         : "m"(value),
                           "m"((uint32_t[4]){pattern, pattern + 1, pattern + 2, pattern + 3})
                         : "xmm0", "xmm5", "cc");
        for (unsigned i = 0; i < 4; i++)
            if (out[i] != pattern + i)
                failed("SSE register: %#x for %#x", out[i], pattern + i);
        if (back != value)
            failed("x87 register");
        gettimeofday(&now, NULL);
    } while ((now.tv_sec - start.tv_sec) * 1000 + (now.tv_usec - start.tv_usec) / 1000 <
             (long)milliseconds);
}

static void fpu_across_signals(void)
{
    struct itimerval every = {{0, 10000}, {0, 10000}}, never = {{0, 0}, {0, 0}};

    signal(SIGVTALRM, disturb);
    CHECK(setitimer(ITIMER_VIRTUAL, &every, NULL) == 0);
    hold_registers(0x12345678, 700);
    CHECK(setitimer(ITIMER_VIRTUAL, &never, NULL) == 0);
    CHECK(alarms > 5);
}

static void fpu_across_processes(void)
{
    int pids[4];

    for (unsigned i = 0; i < 4; i++) {
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            hold_registers(0x1000 * (i + 1), 500);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < 4; i++)
        CHECK(wait_for(pids[i]) == 0);
}

static volatile sig_atomic_t depth, deepest, total;

static void nest(int number)
{
    total++;
    if (++depth > deepest)
        deepest = depth;
    if (depth < 20)
        raise(number);
    depth--;
}

static void nested_signals(void)
{
    struct sigaction action = {.sa_handler = nest, .sa_flags = SA_NODEFER};

    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    for (int i = 0; i < 20; i++)
        raise(SIGUSR1);
    CHECK(deepest == 20 && total == 400 && depth == 0);
}

static void on_alternate_stack(int number)
{
    volatile int local = number;
    stack_t stack;

    if (sigaltstack(NULL, &stack) || !(stack.ss_flags & SS_ONSTACK))
        failed("not on the alternate stack");
    alarms += local == SIGUSR2;
}

static void alternate_stack(void)
{
    static uint8_t memory[32768];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    struct sigaction action = {.sa_handler = on_alternate_stack, .sa_flags = SA_ONSTACK};

    CHECK(sigaltstack(&stack, NULL) == 0);
    CHECK(sigaction(SIGUSR2, &action, NULL) == 0);
    for (int i = 0; i < 100; i++)
        raise(SIGUSR2);
    CHECK(alarms == 100);
}

const struct test signal_tests[] = {
    {"segv-addresses", segv_addresses, 10},
    {"kernel-is-out-of-reach", kernel_is_out_of_reach, 10},
    {"fpe-addresses", fpe_addresses, 10},
    {"ill-and-trap-addresses", ill_and_trap_addresses, 10},
    {"privileged-instructions-fault", privileged_instructions_fault, 10},
    {"interrupt-flag-stays", interrupt_flag_stays, 10},
    {"fpu-across-signals", fpu_across_signals, 20},
    {"fpu-across-processes", fpu_across_processes, 20},
    {"nested-signals", nested_signals, 10},
    {"alternate-stack", alternate_stack, 10},
    {0},
};
