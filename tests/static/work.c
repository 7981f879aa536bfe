/* SPDX-License-Identifier: BSD-2-Clause */
/* The small guest's part in C: inline assembly as kernels have it. */
void give(unsigned value);

static inline unsigned long save(void)
{
    unsigned long flags;

    __asm__ volatile("pushf ; pop %0" : "=rm"(flags) : : "memory");
    return flags;
}

static inline unsigned long save_and_disable(void)
{
    unsigned long flags = save();

    __asm__ volatile("cli" : : : "memory");
    return flags;
}

static inline void restore(unsigned long flags)
{
    __asm__ volatile("push %0 ; popf" : : "g"(flags) : "memory", "cc");
}

static inline unsigned char in8(unsigned short port)
{
    unsigned char value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "dN"(port));
    return value;
}

static inline unsigned in32(unsigned short port)
{
    unsigned value;

    __asm__ volatile("inl %1, %0" : "=a"(value) : "dN"(port));
    return value;
}

static inline void out8(unsigned char value, unsigned short port)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "dN"(port));
}

static inline void out16(unsigned short value, unsigned short port)
{
    __asm__ volatile("outw %0, %1" : : "a"(value), "dN"(port));
}

static void cpuid(unsigned leaf, unsigned subleaf, unsigned out[4])
{
    __asm__ volatile("cpuid"
                     : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3])
                     : "0"(leaf), "2"(subleaf));
}

static unsigned long long rdmsr(unsigned number)
{
    unsigned long long value;

    __asm__ volatile("rdmsr" : "=A"(value) : "c"(number));
    return value;
}

static void wrmsr(unsigned number, unsigned long long value)
{
    __asm__ volatile("wrmsr" : : "c"(number), "A"(value) : "memory");
}

static int is_writable(unsigned selector)
{
    int yes;

    __asm__ volatile("verw %w1" : "=@ccz"(yes) : "r"(selector));
    return yes;
}

static unsigned count;
static unsigned char buffer[32];

/* A critical section in a loop, with live values in as many registers as there are. */
static __attribute__((noinline)) unsigned mix(unsigned a, unsigned b, unsigned c, unsigned d)
{
    for (unsigned i = 0; i < 3; i++) {
        unsigned long flags = save_and_disable();

        give((unsigned)save() & 0x200);
        count += a ^ b;
        a = a * 5 + d;
        b += c ^ in8((unsigned short)(0x60 + i));
        out8((unsigned char)b, 0x80);
        restore(flags);
        c += (unsigned)flags & 0x200;
        d ^= a + count;
    }
    return a + b + c + d;
}

void work(void)
{
    enum { SYSENTER_ESP = 0x175, SYSENTER_EIP = 0x176 };
    unsigned out[4], size = 12;
    unsigned char *p = buffer;
    const unsigned char *q = buffer;

    __asm__ volatile("sti" : : : "memory");
    give(mix(1, 20, 300, 4000));
    give((unsigned)save() & 0x200);
    __asm__ volatile("cli" : : : "memory");
    give(mix(5, 6, 7, 8));
    give((unsigned)save() & 0x200);

    give(in32(0xcf8));
    out16(0xbeef, 0x3d4);
    __asm__ volatile("rep; insb" : "+D"(p), "+c"(size) : "d"(0x1f0) : "memory");
    give((unsigned)(p - buffer));
    for (unsigned i = 0; i < sizeof(buffer); i += 4)
        give(*(unsigned *)(buffer + i));
    size = 3;
    __asm__ volatile("rep outsl" : "+S"(q), "+c"(size) : "d"(0x1f0) : "memory");
    give((unsigned)(q - buffer));

    cpuid(0, 0, out);
    for (unsigned i = 0; i < 4; i++)
        give(out[i]);
    cpuid(4, 1, out);
    give(out[0]);
    wrmsr(SYSENTER_ESP, 0x480000);
    wrmsr(SYSENTER_EIP, 0x123456);
    give((unsigned)rdmsr(SYSENTER_ESP));
    give((unsigned)rdmsr(SYSENTER_EIP));
    give((unsigned)is_writable(0x10));
    give((unsigned)is_writable(0x08));
    __asm__ volatile("rdtsc" : "=A"(*(unsigned long long *)out));
    give(out[0] | out[1] ? 1 : 0);
}
