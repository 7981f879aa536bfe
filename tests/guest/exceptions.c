/* SPDX-License-Identifier: BSD-2-Clause */
/* One instruction of each kind that ends in an exception, and all that its signal must say; signals
 * in general. */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "suite.h"

/* ---- one instruction each, and the signal that it must bring */

/* code_NAME: (before), then at code_NAME_at the one instruction that faults. */
#define CODE(name, before, instruction)                                                            \
    extern const uint8_t code_##name[], code_##name##_at[], code_##name##_after[];                 \
    __asm__(".text\ncode_" #name ": " before "\ncode_" #name "_at: " instruction "\ncode_" #name   \
            "_after: ret\n");

CODE(divide, "xorl %ecx, %ecx; xorl %edx, %edx; movl $1, %eax", "divl %ecx")
CODE(divide_overflow, "movl $1, %ecx; movl $1, %edx; xorl %eax, %eax", "divl %ecx")
CODE(int3, "", "int3")
CODE(int_3, "", ".byte 0xcd, 3")
CODE(into, "movb $127, %al; addb $1, %al", "into")
CODE(bound, "movl $9, %eax", "boundl %eax, bounds")
CODE(ud2, "", "ud2")
CODE(lock_nop, "", ".byte 0xf0, 0x90")
CODE(cli, "", "cli")
CODE(sti, "", "sti")
CODE(hlt, "", "hlt")
CODE(in, "movw $0x64, %dx", "inb %dx, %al")
CODE(out, "movw $0xf4, %dx", "outb %al, %dx")
CODE(read_cr0, "", "movl %cr0, %eax")
CODE(write_cr3, "xorl %eax, %eax", "movl %eax, %cr3")
CODE(read_dr7, "", "movl %dr7, %eax")
CODE(clts, "", "clts")
CODE(lgdt, "", "lgdt bounds")
CODE(lidt, "", "lidt bounds")
CODE(lldt, "xorl %eax, %eax", "lldt %ax")
CODE(ltr, "movl $0x80, %eax", "ltr %ax")
CODE(invlpg, "", "invlpg bounds")
CODE(wbinvd, "", "wbinvd")
CODE(rdmsr, "movl $0x174, %ecx", "rdmsr")
CODE(wrmsr, "movl $0x174, %ecx", "wrmsr")
CODE(rdpmc, "xorl %ecx, %ecx", "rdpmc")
/* (INT 40H, C0H, 02H and 82H would be INT 80H and INTO on Xen in QEMU: docs/backend-interface.md)
 */
CODE(int_41, "", "int $0x41")
CODE(int_page_fault, "", "int $14")
CODE(load_ds, "movl $0x1230, %eax", "movl %eax, %ds")
CODE(load_ldt, "movl $0x1237, %eax", "movl %eax, %es")
CODE(load_ss, "xorl %eax, %eax", "movl %eax, %ss")
CODE(far_null, "", "ljmp $0, $0")
CODE(far_kernel, "", "ljmp $0x60, $code_far_kernel_after")
CODE(read_null, "", "movl 0, %eax")
CODE(write_null, "", "movl %eax, 4")
CODE(write_text, "", "movl %eax, code_write_text")
CODE(read_kernel, "", "movl 0xc1000000, %eax")
CODE(write_kernel, "", "movl %eax, 0xc1000000")
CODE(read_top, "", "movl 0xffc00000, %eax")
CODE(write_top, "", "movl %eax, 0xffc02000")
CODE(read_last, "", "movb 0xffffffff, %al")
CODE(x87_divide, "fninit; fldcw fpu_unmasked; fld1; fldz; fdivrp", "fwait")
CODE(step, "pushfl; orl $0x100, (%esp); popfl", "nop; code_step_stop:")
extern const uint8_t code_step_stop[];

/* Jumps to addresses that cannot be executed: the fault is at the target. */
CODE(jump_null, "", "jmp 0")
CODE(jump_kernel, "", "jmp 0xc1000000")
CODE(jump_stubs, "", "jmp 0xffc02000")

int32_t bounds[2] __asm__("bounds") = {1, 8};
uint16_t fpu_unmasked __asm__("fpu_unmasked") = 0x37b; /* FCW: all masked but division by zero */

enum {
    TRAP_DE,
    TRAP_DB,
    TRAP_BP = 3,
    TRAP_OF,
    TRAP_BR,
    TRAP_UD,
    TRAP_GP = 13,
    TRAP_PF,
    TRAP_MF = 16
};
enum { AT = 1, NO_ADDRESS = 2 };

static const struct expected {
    const char *name;
    const uint8_t *code, *eip;
    int signal, si_code;
    uintptr_t address; /* si_addr: AT: the instruction */
    unsigned trap, error;
} faults[] = {
#define INSN(name) #name, code_##name, code_##name##_at
#define DONE(name) #name, code_##name, code_##name##_after
    {INSN(divide), SIGFPE, FPE_INTDIV, AT, TRAP_DE, 0},
    {INSN(divide_overflow), SIGFPE, FPE_INTDIV, AT, TRAP_DE, 0},
    {DONE(int3), SIGTRAP, SI_KERNEL, NO_ADDRESS, TRAP_BP, 0},
    {DONE(int_3), SIGTRAP, SI_KERNEL, NO_ADDRESS, TRAP_BP, 0},
    {DONE(into), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_OF, 0},
    {INSN(bound), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_BR, 0},
    {INSN(ud2), SIGILL, ILL_ILLOPN, AT, TRAP_UD, 0},
    {INSN(lock_nop), SIGILL, ILL_ILLOPN, AT, TRAP_UD, 0},
#define PRIVILEGED(name)                                                                           \
    {                                                                                              \
        INSN(name), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 0                                     \
    }
    PRIVILEGED(cli),
    PRIVILEGED(sti),
    PRIVILEGED(hlt),
    PRIVILEGED(in),
    PRIVILEGED(out),
    PRIVILEGED(read_cr0),
    PRIVILEGED(write_cr3),
    PRIVILEGED(read_dr7),
    PRIVILEGED(clts),
    PRIVILEGED(lgdt),
    PRIVILEGED(lidt),
    PRIVILEGED(lldt),
    PRIVILEGED(ltr),
    PRIVILEGED(invlpg),
    PRIVILEGED(wbinvd),
    PRIVILEGED(rdmsr),
    PRIVILEGED(wrmsr),
    PRIVILEGED(rdpmc),
    {INSN(int_41), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 0x41 * 8 + 2},
    {INSN(int_page_fault), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 14 * 8 + 2},
    {INSN(load_ds), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 0x1230},
    {INSN(load_ldt), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 0x1234},
    PRIVILEGED(load_ss),
    PRIVILEGED(far_null),
    {INSN(far_kernel), SIGSEGV, SI_KERNEL, NO_ADDRESS, TRAP_GP, 0x60},
    {INSN(read_null), SIGSEGV, SEGV_MAPERR, 0, TRAP_PF, 4},
    {INSN(write_null), SIGSEGV, SEGV_MAPERR, 4, TRAP_PF, 6},
    {INSN(write_text), SIGSEGV, SEGV_ACCERR, (uintptr_t)code_write_text, TRAP_PF, 7},
    /* Linux reports every fault in the kernel's half as one of a page that is there. */
    {INSN(read_kernel), SIGSEGV, SEGV_MAPERR, 0xc1000000, TRAP_PF, 5},
    {INSN(write_kernel), SIGSEGV, SEGV_MAPERR, 0xc1000000, TRAP_PF, 7},
    {INSN(read_top), SIGSEGV, SEGV_MAPERR, 0xffc00000, TRAP_PF, 5},
    {INSN(write_top), SIGSEGV, SEGV_MAPERR, 0xffc02000, TRAP_PF, 7},
    {INSN(read_last), SIGSEGV, SEGV_MAPERR, 0xffffffff, TRAP_PF, 5},
    {INSN(x87_divide), SIGFPE, FPE_FLTDIV, AT, TRAP_MF, 0},
    {"step", code_step, code_step_stop, SIGTRAP, TRAP_TRACE, AT, TRAP_DB, 0},
    {"jump_null", code_jump_null, NULL, SIGSEGV, SEGV_MAPERR, 0, TRAP_PF, 4},
    {"jump_kernel", code_jump_kernel, (void *)0xc1000000, SIGSEGV, SEGV_MAPERR, 0xc1000000, TRAP_PF,
     5},
    {"jump_stubs", code_jump_stubs, (void *)0xffc02000, SIGSEGV, SEGV_MAPERR, 0xffc02000, TRAP_PF,
     5},
};

/* The instruction-fetch bit of a page fault's error code is there only where the processor has NX.
 * (Linux 6.1 gives no user page NX with PAE: its vm_get_page_prot() keeps 32 bits of the
 * protection.) */
enum { ERROR_FETCH = 16 };

static sigjmp_buf jump;
static siginfo_t got_info;
static greg_t got[NGREG];

static void on_exception(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    memcpy(got, ((ucontext_t *)context)->uc_mcontext.gregs, sizeof(got));
    got_info = *info;
    siglongjmp(jump, 1);
}

static void catch_exceptions(int flags)
{
    struct sigaction action = {.sa_sigaction = on_exception, .sa_flags = SA_SIGINFO | flags};

    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGFPE, &action, NULL);
    sigaction(SIGILL, &action, NULL);
    sigaction(SIGTRAP, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}

/* 0: (code) came back without a signal. */
static __attribute__((noinline)) int faults_of(const uint8_t *code)
{
    if (sigsetjmp(jump, 1))
        return 1;
    ((void (*)(void))(uintptr_t)code)();
    return 0;
}

static void exceptions(void)
{
    const unsigned count = sizeof(faults) / sizeof(faults[0]);

    catch_exceptions(0);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < count; i++) {
            const struct expected *e = &faults[i];
            uintptr_t address = e->address == AT           ? (uintptr_t)e->eip
                                : e->address == NO_ADDRESS ? 0
                                                           : e->address;

            EXPECT(faults_of(e->code), "%s: no signal", e->name);
            __asm__ volatile("fninit");
            EXPECT(got_info.si_signo == e->signal && got_info.si_code == e->si_code,
                   "%s: signal %d code %d (trap %d, error %#x, eip %#x)", e->name,
                   got_info.si_signo, got_info.si_code, got[REG_TRAPNO], got[REG_ERR],
                   got[REG_EIP]);
            EXPECT((uintptr_t)got[REG_EIP] == (uintptr_t)e->eip, "%s: eip %#x, not %p", e->name,
                   got[REG_EIP], e->eip);
            EXPECT((uintptr_t)got_info.si_addr == address, "%s: address %p, not %#lx", e->name,
                   got_info.si_addr, (unsigned long)address);
            EXPECT(got[REG_TRAPNO] == (greg_t)e->trap, "%s: trap %d, not %u", e->name,
                   got[REG_TRAPNO], e->trap);
            EXPECT((got[REG_ERR] & ~ERROR_FETCH) == (greg_t)e->error ||
                       got[REG_ERR] == (greg_t)e->error,
                   "%s: error code %#x, not %#x", e->name, got[REG_ERR], e->error);
            EXPECT((got[REG_CS] & 3) == 3 && (got[REG_SS] & 3) == 3, "%s: cs %#x ss %#x", e->name,
                   got[REG_CS], got[REG_SS]);
            EXPECT(got[REG_EFL] & 0x200, "%s: interrupts off in user code", e->name);
        }
}

static unsigned recurse(unsigned n)
{
    volatile uint8_t frame[1000];

    frame[0] = n;
    return n == ~0u ? 0 : recurse(n + 1) + frame[0];
}

/* The stack grows down to its limit, and the signal is handled on another. */
static void stack_overflow(void)
{
    static uint8_t other[65536];
    stack_t stack = {.ss_sp = other, .ss_size = sizeof(other)};
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    EXPECT(sigaltstack(&stack, NULL) == 0, "sigaltstack: %s", strerror(errno));
    catch_exceptions(SA_ONSTACK);
    for (unsigned round = 0; round < 3; round++) {
        if (sigsetjmp(jump, 1) == 0)
            failed("%u", recurse(0));
        EXPECT(got_info.si_signo == SIGSEGV, "signal %d", got_info.si_signo);
        EXPECT(here - (uintptr_t)got_info.si_addr > 7u << 20 &&
                   here - (uintptr_t)got_info.si_addr < 9u << 20,
               "overflow at %p, below %#lx", got_info.si_addr, (unsigned long)here);
    }
}

/* ---- signals in general */

static volatile sig_atomic_t order[16], handled, nested;

static void on_queue(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    if (handled < 16)
        order[handled] = info->si_value.sival_int;
    handled++;
}

static void on_nested(int signal)
{
    if (signal == SIGUSR1) {
        nested = nested * 10 + 1;
        raise(SIGUSR2);
        nested = nested * 10 + 3;
    } else {
        nested = nested * 10 + 2;
    }
}

static void signals_in_order(void)
{
    struct sigaction queue = {.sa_sigaction = on_queue, .sa_flags = SA_SIGINFO},
                     nest = {.sa_handler = on_nested};
    const int times = 5000 / (int)suite_scale;
    sigset_t block, old, wait;
    int ends[2], signal;
    char byte;
    pid_t pid;

    sigaction(SIGRTMIN, &queue, NULL);
    sigemptyset(&block);
    sigaddset(&block, SIGRTMIN);
    sigprocmask(SIG_BLOCK, &block, &old);
    for (int i = 0; i < 10; i++)
        EXPECT(sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i * i}) == 0,
               "sigqueue: %s", strerror(errno));
    EXPECT(handled == 0, "a blocked signal was delivered");
    sigprocmask(SIG_SETMASK, &old, NULL);
    EXPECT(handled == 10, "%d of 10 queued signals came", (int)handled);
    for (int i = 0; i < 10; i++)
        EXPECT(order[i] == i * i, "signal %d carried %d", i, (int)order[i]);

    sigaction(SIGUSR1, &nest, NULL);
    sigaction(SIGUSR2, &nest, NULL);
    raise(SIGUSR1);
    EXPECT(nested == 123, "nesting %d", (int)nested);

    handled = 0;
    for (int i = 0; i < times; i++)
        sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i});
    EXPECT(handled == times, "%d of %d signals came", (int)handled, times);

    /* A read that a signal interrupts ends with EINTR, or begins again. */
    for (int restart = 0; restart < 2; restart++) {
        ssize_t n;

        nest.sa_flags = restart ? SA_RESTART : 0;
        sigaction(SIGUSR2, &nest, NULL);
        nested = 0;
        EXPECT(pipe(ends) == 0, "pipe: %s", strerror(errno));
        pid = start_process();
        if (pid == 0) {
            sleep_ms(100);
            kill(getppid(), SIGUSR2);
            sleep_ms(100);
            _exit(write(ends[1], "x", 1) != 1);
        }
        n = read(ends[0], &byte, 1);
        EXPECT(restart ? n == 1 : n == -1 && errno == EINTR, "read gave %zd", n);
        EXPECT(nested == 2, "the handler did not run");
        expect_success(pid, "sender");
        close(ends[0]);
        close(ends[1]);
    }

    sigemptyset(&wait);
    sigaddset(&wait, SIGALRM);
    sigprocmask(SIG_BLOCK, &wait, NULL);
    setitimer(ITIMER_REAL, &(struct itimerval){.it_value = {.tv_usec = 50000}}, NULL);
    signal = syscall(SYS_rt_sigtimedwait_time64, &wait, NULL, NULL, _NSIG / 8);
    EXPECT(signal == SIGALRM, "a wait for SIGALRM gave %d", signal);
}

const struct test exception_tests[] = {
    {"exceptions", exceptions, 60},
    {"stack-overflow", stack_overflow, 60},
    {"signals-in-order", signals_in_order, 60},
    {0},
};
