// SPDX-License-Identifier: BSD-2-Clause
/*
 * ticks: prints the time-stamp counter in decimal. Under QEMU's -icount shift=0 that is the number
 * of instructions that the machine has executed. No C library, so that it builds with any compiler
 * that has -m32.
 */

/* Linux' IA32 system-call numbers (arch/x86/entry/syscalls/syscall_32.tbl). */
enum { NR_EXIT = 1, NR_WRITE = 4 };
enum { STDOUT = 1, DIGITS = 20 /* of 2^64 - 1 */ };

static long system_call(long number, long a, const void *b, long c)
{
    long result;

    __asm__ volatile("int $0x80" : "=a"(result) : "0"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

/* (*high):(*low) divided by ten; returns the remainder. By hand: 64-bit division needs libgcc. */
static unsigned divide_by_ten(unsigned *high, unsigned *low)
{
    unsigned remainder = *high % 10;

    *high /= 10;
    __asm__("divl %4" : "=a"(*low), "=d"(remainder) : "0"(*low), "1"(remainder), "r"(10));
    return remainder;
}

void _start(void)
{
    char text[DIGITS + 1];
    unsigned high, low, at = sizeof(text);

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    text[--at] = '\n';
    do {
        text[--at] = '0' + divide_by_ten(&high, &low);
    } while (high || low);
    system_call(NR_WRITE, STDOUT, text + at, sizeof(text) - at);
    system_call(NR_EXIT, 0, 0, 0);
}
