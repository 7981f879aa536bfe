/* SPDX-License-Identifier: BSD-2-Clause */
/* The smallest init: makes system calls and takes page faults, says so, resets the machine. No C
 * library. */
#define SYS_WRITE  4
#define SYS_GETPID 20
#define SYS_REBOOT 88
#define SYS_MMAP   192 /* mmap2 */

/* linux/reboot.h */
#define REBOOT_MAGIC1  0xfee1dead
#define REBOOT_MAGIC2  672274793
#define REBOOT_RESTART 0x01234567

static long call6(long n, long a, long b, long c, long d, long e, long f)
{
    long result;

    __asm__ volatile("pushl %%ebp\n"
                     "movl %7, %%ebp\n"
                     "int $0x80\n"
                     "popl %%ebp"
                     : "=a"(result)
                     : "a"(n), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e), "m"(f)
                     : "memory");
    return result;
}

static long call3(long n, long a, long b, long c)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "a"(n), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

void _start(void);

void _start(void)
{
    static const char good[] = "raw-init: up, 1000 calls, 256 page faults\n";
    static const char bad[] = "raw-init failed\n";
    volatile char *pages;
    int fine = 1;

    for (int i = 0; i < 1000; i++)
        fine &= call3(SYS_GETPID, 0, 0, 0) == 1;
    /* PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS */
    pages = (volatile char *)call6(SYS_MMAP, 0, 256 * 4096, 3, 0x22, -1, 0);
    for (int i = 0; i < 256; i++)
        pages[i * 4096] = (char)i;
    for (int i = 0; i < 256; i++)
        fine &= pages[i * 4096] == (char)i;
    if (fine)
        call3(SYS_WRITE, 1, (long)good, sizeof(good) - 1);
    else
        call3(SYS_WRITE, 1, (long)bad, sizeof(bad) - 1);
    call6(SYS_REBOOT, (long)REBOOT_MAGIC1, REBOOT_MAGIC2, REBOOT_RESTART, 0, 0, 0);
    for (;;)
        ;
}
