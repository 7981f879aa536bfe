/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /init of the IA-64 guest, without a C library (Debian has none for IA-64). It exercises what a
 * kernel does for a process: fork, pipe, wait, page faults, a signal handler and its frame, the
 * timer, system calls by break and by epc; says how it went; resets the machine; and where that
 * does nothing, ends the simulator. The report goes to /dev/kmsg: the simulated serial port is a
 * boot console only, and /dev/console is something else.
 */

/* System calls: numbers of the kernel's arch/ia64, which begin at 1024. */
enum {
    CALL_EXIT = 1025,
    CALL_READ = 1026,
    CALL_WRITE = 1027,
    CALL_OPEN = 1028,
    CALL_GETPID = 1041,
    CALL_KILL = 1053,
    CALL_REBOOT = 1096,
    CALL_WAIT4 = 1126,
    CALL_CLONE = 1128,
    CALL_MMAP = 1151,
    CALL_MUNMAP = 1152,
    CALL_NANOSLEEP = 1168,
    CALL_SIGACTION = 1177,
    CALL_CLOCK_GETTIME = 1254,
    CALL_GETCPU = 1304,
    CALL_PIPE2 = 1317
};
enum { AT_SYSINFO = 32, SIGCHLD = 17, SIGUSR1 = 10, OPEN_WRITE = 1, CLOCK_MONOTONIC = 1 };
enum { PROT_READ_WRITE = 3, MAP_PRIVATE_ANONYMOUS = 0x22, PAGE = 16384 };

#define REBOOT_MAGIC_1  0xfee1deadL
#define REBOOT_MAGIC_2  672274793L
#define REBOOT_AUTOBOOT 0x1234567L

/* call_break(number, six arguments): the result, or an error number negated. */
long call_break(long number, long a, long b, long c, long d, long e, long f);
/* Ends the Ski simulator by a call of its own, which it takes at every privilege level. */
void simulator_exit(long status);
/* The same by way of the kernel's gate page: (entry) is what the auxiliary vector says. */
long call_epc(long number, long a, long b, long c, unsigned long entry);

/*
 * A process starts with r12 16 bytes below argc and without a gp. A system call has its number in
 * r15, its arguments in the output registers, and -1 in r10 after an error; by epc it wants ar.pfs
 * in r11 too and the way back in b6 (the kernel's arch/ia64/kernel/gate.S).
 */
asm(".text\n"
    ".global _start\n"
    ".proc _start\n"
    "_start:\n"
    "    alloc r8 = ar.pfs, 0, 0, 1, 0\n"
    "1:  mov r3 = ip\n"
    "    movl r2 = @gprel(1b)\n"
    "    adds r32 = 16, r12\n"
    "    ;;\n"
    "    sub gp = r3, r2\n"
    "    br.call.sptk.many b0 = start\n"
    "    ;;\n"
    "    break 0\n"
    ".endp _start\n"
    ".global call_break\n"
    ".proc call_break\n"
    "call_break:\n"
    "    alloc r39 = ar.pfs, 7, 2, 6, 0\n"
    "    mov r40 = b0\n"
    "    mov r15 = r32\n"
    "    mov r41 = r33\n"
    "    mov r42 = r34\n"
    "    mov r43 = r35\n"
    "    mov r44 = r36\n"
    "    mov r45 = r37\n"
    "    mov r46 = r38\n"
    "    ;;\n"
    "    break 0x100000\n"
    "    ;;\n"
    "    cmp.eq p6, p0 = -1, r10\n"
    "    mov ar.pfs = r39\n"
    "    mov b0 = r40\n"
    "    ;;\n"
    "(p6) sub r8 = r0, r8\n"
    "    br.ret.sptk.many b0\n"
    ".endp call_break\n"
    ".global call_epc\n"
    ".proc call_epc\n"
    "call_epc:\n"
    "    alloc r37 = ar.pfs, 5, 2, 3, 0\n"
    "    mov r38 = b0\n"
    "    mov r15 = r32\n"
    "    mov b7 = r36\n"
    "    mov r39 = r33\n"
    "    mov r40 = r34\n"
    "    mov r41 = r35\n"
    "    ;;\n"
    "    mov r11 = r37\n"
    "    br.call.sptk.many b6 = b7\n"
    "    ;;\n"
    "    cmp.eq p6, p0 = -1, r10\n"
    "    mov ar.pfs = r37\n"
    "    mov b0 = r38\n"
    "    ;;\n"
    "(p6) sub r8 = r0, r8\n"
    "    br.ret.sptk.many b0\n"
    ".endp call_epc\n"
    ".global simulator_exit\n"
    ".proc simulator_exit\n"
    "simulator_exit:\n"
    "    mov r15 = 66\n" /* SSC_EXIT; the status is in r32 */
    "    ;;\n"
    "    break 0x80001\n"
    "    ;;\n"
    "    br.ret.sptk.many b0\n"
    ".endp simulator_exit\n");

struct timespec {
    long seconds, nanoseconds;
};

struct signal_action {
    void (*handler)(int);
    unsigned long flags, mask;
};

static int log_file;
static volatile int signals_seen;

static long call(long number, long a, long b, long c)
{
    return call_break(number, a, b, c, 0, 0, 0);
}

/* A record of /dev/kmsg is one write. */
static void report(const char *head, const char *text)
{
    char line[160];
    long n = 0;

    for (long i = 0; head[i] && n < 80; i++)
        line[n++] = head[i];
    for (long i = 0; text[i] && n < 158; i++)
        line[n++] = text[i];
    line[n++] = '\n';
    call(CALL_WRITE, log_file, (long)line, n);
}

static void on_signal(int number)
{
    signals_seen += number == SIGUSR1;
}

static int fork_and_pipe(void)
{
    static int shared = 1;
    int ends[2], status = -1;
    long child, got[2] = {0, 0};

    if (call(CALL_PIPE2, (long)ends, 0, 0))
        return 0;
    child = call_break(CALL_CLONE, SIGCHLD, 0, 0, 0, 0, 0);
    if (child < 0)
        return 0;
    if (!child) {
        shared = 42; /* a copy on write, which the parent must not see */
        got[0] = shared;
        got[1] = call(CALL_GETPID, 0, 0, 0);
        call(CALL_WRITE, ends[1], (long)got, sizeof(got));
        call(CALL_EXIT, 7, 0, 0);
    }
    return call(CALL_READ, ends[0], (long)got, sizeof(got)) == sizeof(got) && got[0] == 42 &&
           got[1] == child && shared == 1 &&
           call_break(CALL_WAIT4, child, (long)&status, 0, 0, 0, 0) == child && status == 7 << 8;
}

static int page_faults(void)
{
    enum { PAGES = 64 };
    volatile long *memory;
    long sum = 0;

    memory = (long *)call_break(CALL_MMAP, 0, (long)PAGES * PAGE, PROT_READ_WRITE,
                                MAP_PRIVATE_ANONYMOUS, -1, 0);
    if ((long)memory < 0 && (long)memory > -4096)
        return 0;
    for (int i = 0; i < PAGES; i++)
        memory[i * PAGE / 8] = i;
    for (int i = 0; i < PAGES; i++)
        sum += memory[i * PAGE / 8];
    return sum == PAGES * (PAGES - 1) / 2 &&
           !call(CALL_MUNMAP, (long)memory, (long)PAGES * PAGE, 0);
}

static int signal_to_self(void)
{
    struct signal_action action = {on_signal, 0, 0};

    return !call_break(CALL_SIGACTION, SIGUSR1, (long)&action, 0, 8, 0, 0) &&
           !call(CALL_KILL, 1, SIGUSR1, 0) && !call(CALL_KILL, 1, SIGUSR1, 0) && signals_seen == 2;
}

static int timer(void)
{
    struct timespec before, after, nap = {0, 30000000};

    if (call(CALL_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&before, 0) ||
        call(CALL_NANOSLEEP, (long)&nap, 0, 0) ||
        call(CALL_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&after, 0))
        return 0;
    return (after.seconds - before.seconds) * 1000000000 + after.nanoseconds - before.nanoseconds >=
           nap.nanoseconds;
}

static unsigned long gate_entry(const unsigned long *stack)
{
    stack += 1 + *stack + 1; /* argc, arguments, NULL */
    while (*stack)           /* environment */
        stack++;
    for (stack++; *stack; stack += 2) {
        if (*stack == AT_SYSINFO)
            return stack[1];
    }
    return 0;
}

/*
 * Some that the gate page answers by itself, and one that it hands on to the kernel proper. An
 * address that is not there is found by probe.w.fault, and answered by way of the exception table.
 */
static int gate(const unsigned long *stack)
{
    enum { NOWHERE = 64, FAULT = -14 };
    unsigned long entry = gate_entry(stack);
    struct timespec nap = {0, 1000}, now = {0, 0};
    int processor = -1;

    if (!entry || call_epc(CALL_CLOCK_GETTIME, CLOCK_MONOTONIC, (long)&now, 0, entry) ||
        now.seconds < 0 || now.nanoseconds >= 1000000000 ||
        call_epc(CALL_CLOCK_GETTIME, CLOCK_MONOTONIC, NOWHERE, 0, entry) != FAULT ||
        call_epc(CALL_GETCPU, (long)&processor, 0, 0, entry) || processor != 0 ||
        call_epc(CALL_GETCPU, NOWHERE, 0, 0, entry) != FAULT ||
        call_epc(CALL_GETCPU, 0, NOWHERE, 0, entry) != FAULT)
        return 0;
    return call_epc(CALL_GETPID, 0, 0, 0, entry) == 1 &&
           call_epc(CALL_NANOSLEEP, (long)&nap, 0, 0, entry) == 0 &&
           call_epc(CALL_KILL, 1, -1, 0, entry) == -22; /* EINVAL */
}

__attribute__((noreturn)) void start(const unsigned long *stack)
{
    const char *failed = 0;

    log_file = (int)call(CALL_OPEN, (long)"/dev/kmsg", OPEN_WRITE, 0);
    if (call(CALL_GETPID, 0, 0, 0) != 1)
        failed = "getpid";
    else if (!fork_and_pipe())
        failed = "fork and pipe";
    else if (!page_faults())
        failed = "page faults";
    else if (!signal_to_self())
        failed = "signals";
    else if (!timer())
        failed = "timer";
    else if (!gate(stack))
        failed = "gate page";
    if (failed)
        report("previrt-guest: ia64 user space failed: ", failed);
    else
        report("previrt-guest: ia64 user space: ",
               "fork, pipe, page faults, signals, timer, gate page");
    report("previrt-guest: end", "");
    call(CALL_REBOOT, (long)REBOOT_MAGIC_1, REBOOT_MAGIC_2, REBOOT_AUTOBOOT);
    /* Linux restarts through the firmware, if that can be called at virtual addresses. Ski's
     * cannot. */
    simulator_exit(0);
    for (;;)
        continue;
}
