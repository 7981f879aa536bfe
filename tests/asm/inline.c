/* SPDX-License-Identifier: BSD-2-Clause */
/* Inline assembly of many kinds, computed labels, flag outputs, asm goto, jump tables, inline
 * functions. */
static inline unsigned long save(void)
{
    unsigned long flags;

    __asm__ volatile("pushf ; pop %0" : "=rm"(flags) : : "memory");
    return flags;
}

static inline void restore(unsigned long flags)
{
    __asm__ volatile("push %0 ; popf" : : "g"(flags) : "memory", "cc");
}

static inline void idle(void)
{
    __asm__ volatile("sti; hlt" : : : "memory");
}

static inline unsigned char in8(unsigned short port)
{
    unsigned char value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "dN"(port));
    return value;
}

static inline void out32(unsigned value, unsigned short port)
{
    __asm__ volatile("outl %0, %1" : : "a"(value), "dN"(port));
}

/* an exception table entry that names the operation */
int read_msr(unsigned number, unsigned *low, unsigned *high)
{
    int error;

    __asm__ volatile("2: rdmsr ; xor %0,%0\n1:\n\t"
                     ".section .fixup,\"ax\"\n3: mov %4,%0 ; jmp 1b\n\t.previous\n\t"
                     ".pushsection __ex_table,\"a\"\n\t.balign 4\n\t.long 2b - ., 3b - .\n\t"
                     ".popsection"
                     : "=r"(error), "=a"(*low), "=d"(*high)
                     : "c"(number), "i"(-5));
    return error;
}

int is_writable(unsigned selector)
{
    int yes;

    __asm__ volatile("verw %w1" : "=@ccz"(yes) : "r"(selector));
    return yes;
}

int run(const unsigned char *program, unsigned *state)
{
    static const void *const labels[] = {&&op_in, &&op_out, &&op_idle, &&op_switch, &&op_end};
    unsigned long flags = save();
    unsigned low, high;

    goto *labels[*program];
op_in:
    *state += in8((unsigned short)*state) + in8(0x60);
    goto *labels[*++program];
op_out:
    out32(*state, 0x80);
    out32(*state, (unsigned short)*state);
    goto *labels[*++program];
op_idle:
    idle();
    goto *labels[*++program];
op_switch:
    switch (*state) {
    case 1:
        __asm__ volatile("mov %0, %%cr3" : : "r"(state) : "memory");
        break;
    case 2:
        __asm__ volatile("mov %%cr2, %0" : "=r"(*state));
        break;
    case 3:
        __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
        *state = low ^ high;
        break;
    case 4:
        __asm__ volatile("cpuid" : "+a"(*state) : : "ebx", "ecx", "edx");
        break;
    case 5:
        __asm__ volatile("mov %%ds, %0\n\tmov %0, %%es" : "=r"(*state));
        break;
    case 6:
        __asm__ goto("cli\n\tjmp %l0" : : : : op_end);
        break;
    case 7:
        __asm__ volatile(".byte 0x0f,0x01,0xca" : : : "cc");
        break;
    default:
        __builtin_trap();
    }
    goto *labels[*++program];
op_end:
    restore(flags);
    return (int)*state;
}
