/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that executes the sensitive operations that make sense at ring 0 and looks at what they
 * did. It prints one line a test, `ok NAME` or `not ok NAME`, and resets the machine when all is
 * well. Built without and with previrt, started unrewritten and rewritten, it must say the same.
 */
#include "../machine.h"

#define LDT       0x30
#define CALL_GATE 0x38
#define BAD       0x68 /* behind the end of the table */

#define PIC1        0x20
#define PIT_0       0x40
#define PIT_COMMAND 0x43
#define PCI_ADDRESS 0xcf8
#define PCI_DATA    0xcfc

#define VECTOR_OF     4
#define VECTOR_UD     6
#define VECTOR_NP     11
#define VECTOR_PF     14
#define VECTOR_GP     13
#define VECTOR_IRQ0   32
#define VECTOR_SOFT   0x60
#define VECTOR_TRAP   0x61 /* through a trap gate */
#define VECTOR_LATE   0x62 /* its gate is written after lidt */
#define VECTOR_ABSENT 0x63
#define VECTOR_BACK   0x80 /* from ring 3 */

#define IF        0x200
#define CF        0x001
#define ZF        0x040
#define FLAGS_ALL 0x8d5 /* OF SF ZF AF PF CF */

struct frame {
    uint32_t es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax;
    uint32_t vector, error, eip, cs, eflags;
    uint32_t more[];
};

struct far {
    uint32_t offset;
    uint16_t selector;
} __attribute__((packed));

void trap(struct frame *frame);

static uint64_t gdt[13], idt[256], ldt[2];
static uint32_t tss[26];

/* What the last trap was; tests arm the rest. */
volatile uint32_t seen_vector, seen_error, seen_eip, seen_esp, seen_eflags, seen_count;
volatile uint32_t site, site_esp, resume, ticks, tick_eip, result, back_esp;

static unsigned failures, passes;

/* A file rewritten offline has no monitor that takes faults and traps in stubs back to their sites:
 * `nomonitor` on the command line leaves those tests out. */
static int monitored = 1;

static void verdict(const char *name, int good)
{
    print(good ? "ok " : "not ok ");
    print(name);
    if (!good) {
        print_hex(seen_vector);
        print_hex(seen_error);
        print_hex(seen_eip);
        print_hex(site);
        print_hex(seen_esp);
        print_hex(site_esp);
        print_hex(result);
    }
    print("\r\n");
    if (good)
        passes++;
    else
        failures++;
}

void trap(struct frame *frame)
{
    seen_count++;
    if (frame->vector == VECTOR_IRQ0) {
        ticks++;
        tick_eip = frame->eip;
        pv_outb(PIC1, 0x20); /* end of interrupt */
        return;
    }
    seen_vector = frame->vector;
    seen_error = frame->error;
    seen_eip = frame->eip;
    seen_esp = (uint32_t)&frame->more[0];
    __asm__ volatile("pushf\npopl %0" : "=r"(result));
    seen_eflags = frame->eflags;
    if (frame->vector == VECTOR_BACK) {
        /* from ring 3: back to where `back_esp` was, at ring 0 */
        __asm__ volatile("movl %0, %%esp\n"
                         "jmp *%1"
                         :
                         : "r"(back_esp), "r"(resume));
    }
    if (frame->vector < 32 && frame->vector != VECTOR_OF) {
        if (!resume) {
            print("unexpected exception");
            print_hex(frame->vector);
            print_hex(frame->error);
            print_hex(frame->eip);
            print("\r\n");
            pv_outb(PREVIRT_RAW_EXIT_PORT, 0x5f);
            __asm__ volatile("cli\nhlt");
        }
        frame->eip = resume;
        resume = 0;
    }
}

/* ---- flags and interrupts ---- */

static uint32_t flags(void)
{
    uint32_t value;

    __asm__ volatile("pushf\npopl %0" : "=r"(value));
    return value;
}

static void test_flags(void)
{
    static const uint32_t patterns[] = {0, CF, ZF, FLAGS_ALL, 0x400 | CF, 0x801};
    uint32_t value, good = 1;
    uint16_t half;

    for (unsigned i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
        __asm__ volatile("pushl %1\npopf\npushf\npopl %0\ncld"
                         : "=r"(value)
                         : "r"(patterns[i] | 2));
        good &= value == (patterns[i] | 2);
        __asm__ volatile("pushw %w1\npopfw\npushfw\npopw %w0\ncld"
                         : "=r"(half)
                         : "r"((uint16_t)(patterns[i] | 2)));
        good &= half == (patterns[i] | 2);
    }
    verdict("pushf and popf keep every flag", good);
    pv_outb(PIC1_MASK, 0xff);
    __asm__ volatile("stc\nsti\npushf\npopl %0" : "=r"(value));
    good = (value & (IF | CF)) == (IF | CF);
    __asm__ volatile("stc\ncli\npushf\npopl %0" : "=r"(value));
    verdict("cli and sti change IF and nothing else", good && (value & (IF | CF)) == CF);
    __asm__ volatile("pushl %1\npopf\npushf\npopl %0\ncli" : "=r"(value) : "r"(IF | ZF | 2));
    verdict("popf sets IF", (value & (IF | ZF)) == (IF | ZF) && !(flags() & IF));
}

/* Behind the operation, before or after the NOPs that pad it (include/previrt/table.h: a room has
 * 22 bytes at most). */
static int behind_site(void)
{
    return !monitored || (seen_eip > site && seen_eip <= site + 22);
}

static void pit(unsigned mode, unsigned count)
{
    pv_outb(PIT_COMMAND, (uint8_t)(0x30 | mode << 1)); /* counter 0, low then high byte */
    pv_outb(PIT_0, (uint8_t)count);
    pv_outb(PIT_0, (uint8_t)(count >> 8));
}

static int irq0_pending(void)
{
    pv_outb(PIC1, 0x0a); /* OCW3: read the request register */
    return pv_inb(PIC1) & 1;
}

static void test_hlt(void)
{
    uint32_t good = 1;

    /* One shot each. With the interrupt pending already, an interrupt between sti and hlt would be
     * lost: nothing would end the hlt. */
    pv_outb(PIC1_MASK, 0xfe);
    for (unsigned i = 0; i < 200; i++) {
        uint32_t before = ticks;

        pit(0, 20);
        while (!irq0_pending())
            ;
        __asm__ volatile("sti\nhlt\ncli" : : : "memory");
        good &= ticks == before + 1;
    }
    verdict("sti; hlt with an interrupt pending wakes up", good);
    for (unsigned i = 0; i < 300; i++) {
        uint32_t before = ticks;

        pit(0, 1 + i * 7 % 97);
        __asm__ volatile("sti\nhlt\ncli" : : : "memory");
        good &= ticks == before + 1;
    }
    verdict("sti; hlt with an interrupt at any time wakes up", good);
    /* Periodic: a machine that is not scheduled for a while may tick between sti and hlt. */
    pit(2, 2000);
    for (unsigned i = 0; i < 50; i++) {
        uint32_t before = ticks;

        __asm__ volatile("sti" : : : "memory");
        if (ticks == before) /* almost always: the counter takes 1.7 ms */
            __asm__ volatile("hlt" : : : "memory");
        __asm__ volatile("cli" : : : "memory");
        good &= ticks != before;
    }
    verdict("hlt waits for the timer", good);

    good = 1;
    for (unsigned i = 0; i < 20; i++) {
        uint32_t before = ticks;

        pit(0, 20);
        while (!irq0_pending())
            ;
        __asm__ volatile("pushl %0\nmovl $1f, site\n1: popf\nnop\ncli" : : "i"(IF | 2) : "memory");
        seen_eip = tick_eip;
        good &= ticks == before + 1 && behind_site();
    }
    verdict("an interrupt that popf lets in is seen behind it", good);
    for (unsigned i = 0; i < 20; i++) {
        uint32_t before = ticks;

        pit(0, 20);
        while (!irq0_pending())
            ;
        __asm__ volatile("movl $1f, site\n1: sti\nnop\ncli" : : : "memory");
        seen_eip = tick_eip;
        good &= ticks == before + 1 && behind_site();
    }
    verdict("an interrupt that sti lets in is seen behind it", good);
}

/* ---- port I/O ---- */

static void test_io(void)
{
    static const uint8_t masks[4] = {0xf1, 0xf2, 0xf3, 0xfb};
    static const uint32_t bridge = 0x80000000;
    uint32_t whole, good;
    uint16_t low;
    uint8_t bytes[4] = {0};
    const void *from;
    void *to;
    uint32_t count;

    __asm__ volatile("outl %0, %w1" : : "a"(bridge), "d"(PCI_ADDRESS));
    __asm__ volatile("inl %w1, %0" : "=a"(whole) : "d"(PCI_DATA));
    __asm__ volatile("inw %w1, %w0" : "=a"(low) : "d"(PCI_DATA));
    verdict("in and out of 16 and 32 bits", low == 0x8086 && whole == 0x12378086);
    __asm__ volatile("movb $0xa5, %%al\noutb %%al, $0x21\nxorl %%eax, %%eax\ninb $0x21, %%al"
                     : "=a"(whole));
    verdict("in and out of 8 bits, immediate port", whole == 0xa5);
    from = masks;
    count = 4;
    __asm__ volatile("rep outsb" : "+S"(from), "+c"(count) : "d"(PIC1_MASK) : "memory");
    good = count == 0 && from == masks + 4 && pv_inb(PIC1_MASK) == 0xfb;
    to = bytes;
    count = 3;
    __asm__ volatile("rep insb" : "+D"(to), "+c"(count) : "d"(PIC1_MASK) : "memory");
    good &= count == 0 && to == bytes + 3 && bytes[0] == 0xfb && bytes[2] == 0xfb && bytes[3] == 0;
    from = masks + 1;
    count = 7;
    __asm__ volatile("std\noutsb\ncld" : "+S"(from) : "d"(PIC1_MASK) : "memory");
    good &= from == masks && pv_inb(PIC1_MASK) == 0xf2;
    from = &bridge;
    __asm__ volatile("outsl" : "+S"(from) : "d"(PCI_ADDRESS) : "memory");
    to = &whole;
    __asm__ volatile("insl" : "+D"(to) : "d"(PCI_DATA) : "memory");
    verdict("ins and outs", good && whole == 0x12378086);
    pv_outb(PIC1_MASK, 0xff);
}

/* ---- control transfers ---- */

static void test_transfers(void)
{
    struct far far = {0, KERNEL_CS};
    uint32_t esp0, esp1, good, value;

    __asm__ volatile("movl %%esp, %0\n"
                     "movl $0, %2\n"
                     "pushf\npushl %%cs\npushl $1f\n"
                     "iret\n"
                     "movl $1, %2\n"
                     "1: movl %%esp, %1"
                     : "=&r"(esp0), "=&r"(esp1), "=&r"(value));
    verdict("iret in ring 0", esp0 == esp1 && value == 0);

    seen_vector = 0;
    __asm__ volatile("movl $1f, site\nmovl %%esp, site_esp\n1: int $0x60" : : : "memory");
    verdict("int comes back", seen_vector == VECTOR_SOFT && seen_esp == site_esp && behind_site());
    __asm__ volatile("movb $0x7f, %%al\nmovl $1f, site\naddb $1, %%al\n1: into"
                     :
                     :
                     : "eax", "memory");
    verdict("into traps on overflow", seen_vector == VECTOR_OF && behind_site());
    seen_vector = 0;
    __asm__ volatile("xorl %%eax, %%eax\ninto" : : : "eax", "memory");
    verdict("into does not trap without", seen_vector == 0);
    __asm__ volatile("sti\nint $0x60\ncli" : : : "memory");
    good = !(result & IF) && (seen_eflags & IF);
    __asm__ volatile("sti\nint $0x61\ncli" : : : "memory");
    verdict("interrupt gates clear IF, trap gates do not", good && (result & IF));

    __asm__ volatile("movl %%esp, %0\nxorl %2, %2\nljmp $8, $1f\nincl %2\n1: movl %%esp, %1"
                     : "=&r"(esp0), "=&r"(esp1), "=&r"(value));
    good = esp0 == esp1 && value == 0;
    __asm__ volatile("movl $1f, %1\nxorl %0, %0\nljmp *%1\nincl %0\n1:" : "=&r"(value), "+m"(far));
    verdict("far jumps", good && value == 0);
    __asm__ volatile("movl %%esp, %0\n"
                     "lcall $8, $2f\n"
                     "jmp 3f\n"
                     "2: movl $0x1234, %2\n"
                     "lret\n"
                     "3: movl %%esp, %1"
                     : "=&r"(esp0), "=&r"(esp1), "=&r"(value));
    good = esp0 == esp1 && value == 0x1234;
    __asm__ volatile("movl $2f, %3\n"
                     "movl %%esp, %0\n"
                     "pushl $7\n"
                     "lcall *%3\n"
                     "jmp 3f\n"
                     "2: movl 8(%%esp), %2\n"
                     "lret $4\n"
                     "3: movl %%esp, %1"
                     : "=&r"(esp0), "=&r"(esp1), "=&r"(value), "+m"(far));
    verdict("far calls and returns", good && esp0 == esp1 && value == 7);
}

/* Ring 3 and back: iret and sysexit down, int and sysenter up. What runs in ring 3 is user code,
 * which no build annotates: written as bytes. */
#define USER_MOV_CS_EAX ".byte 0x8c, 0xc8\n"
#define USER_INT_80     ".byte 0xcd, 0x80\n"
#define USER_PUSHF      ".byte 0x9c\n"
#define USER_SYSENTER   ".byte 0x0f, 0x34\n"

#define FEATURE_SEP (1u << 11)

static uint32_t cpuid_features(void)
{
    uint32_t a = 1, b, c = 0, d;

    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return d;
}

static void test_rings(void)
{
    seen_vector = 0;
    __asm__ volatile("pushal\n"
                     "movl %%esp, back_esp\n"
                     "movl $2f, resume\n"
                     "pushl %0\npushl $user_stack_top\npushf\npushl %1\npushl $1f\n"
                     "iret\n"
                     "1: " USER_MOV_CS_EAX USER_INT_80 /* ring 3 */
                     "2: popal\n"
                     "movl $0, resume"
                     :
                     : "i"(USER_DS), "i"(USER_CS)
                     : "memory");
    verdict("iret to ring 3, int back, its gate's privilege changed after lidt",
            seen_vector == VECTOR_BACK);
    if (!(cpuid_features() & FEATURE_SEP))
        return;
    __asm__ volatile("wrmsr" : : "c"(0x174), "a"(KERNEL_CS), "d"(0));
    __asm__ volatile("wrmsr" : : "c"(0x175), "a"(stack_top - 8192), "d"(0));
    __asm__ volatile("wrmsr" : : "c"(0x176), "a"(0), "d"(0));
    result = 0;
    __asm__ volatile("pushal\n"
                     "movl %%esp, back_esp\n"
                     "movl $2f, %%eax\n"
                     "xorl %%edx, %%edx\n"
                     "movl $0x176, %%ecx\n"
                     "wrmsr\n"
                     "movl $1f, %%edx\n"
                     "movl $user_stack_top, %%ecx\n"
                     "sti\n"
                     "sysexit\n"
                     "1: " USER_PUSHF /* ring 3 */
                     "popl %%ebx\n" USER_MOV_CS_EAX USER_SYSENTER "2: movl back_esp, %%esp\n"
                     "movl %%ebx, seen_eflags\n"
                     "movl %%eax, result\n"
                     "movl %0, %%eax\n"
                     "movl %%eax, %%ds\n"
                     "movl %%eax, %%es\n"
                     "popal"
                     :
                     : "i"(KERNEL_DS)
                     : "memory");
    verdict("sti; sysexit to ring 3, sysenter back", result == USER_CS && (seen_eflags & IF));
}

/* ---- segments and tables ---- */

static void test_segments(void)
{
    struct far far = {0x12345678, KERNEL_DS};
    uint32_t good, value, offset;
    uint16_t half;

    __asm__ volatile(
        "movl %1, %%fs\nmovl %%fs, %0\nmovl %%gs, %%ecx\nmovl %1, %%gs\nmovl %%gs, %%eax\n"
        "andl %%eax, %0\nmovl %%ecx, %%gs"
        : "=&r"(value)
        : "r"(KERNEL_DS)
        : "eax", "ecx");
    good = (value & 0xffff) == KERNEL_DS;
    __asm__ volatile("movw %%ss, %0" : "=m"(half));
    good &= half == KERNEL_DS;
    __asm__ volatile("movw %0, %%es\nmovw %%es, %0\nmovl %1, %%ds\nmovl %1, %%ss"
                     : "+m"(half)
                     : "r"(KERNEL_DS));
    verdict("mov to and from segment registers", good && half == KERNEL_DS);
    __asm__ volatile(
        "push %%cs\npopl %%eax\n"
        "push %%ds\npop %%es\npush %%es\npop %%fs\npush %%fs\npop %%gs\npush %%gs\npop %%ds\n"
        "push %%ss\npop %%ss\npush %%ss\npopl %0\nshll $16, %%eax\norl %%eax, %0"
        : "=r"(value)
        :
        : "eax");
    verdict("push and pop of segment registers", value == (KERNEL_CS << 16 | KERNEL_DS));
    __asm__ volatile("lds %1, %0" : "=r"(offset) : "m"(far));
    good = offset == far.offset;
    __asm__ volatile("les %1, %0" : "=r"(offset) : "m"(far));
    good &= offset == far.offset;
    __asm__ volatile("lfs %1, %0" : "=r"(offset) : "m"(far));
    good &= offset == far.offset;
    __asm__ volatile("lgs %1, %0\nmovl %%gs, %%ecx\nmovw %%cx, %2"
                     : "=&r"(offset), "+m"(far), "=m"(half)
                     :
                     : "ecx");
    good &= offset == far.offset && half == KERNEL_DS;
    __asm__ volatile("movl %%esp, %0\n"
                     "pushl %1\n"
                     "pushl %0\n"
                     "lss (%%esp), %%esp\n" /* an ESP-relative operand, and a new stack pointer */
                     "subl %%esp, %0"
                     : "=&r"(value)
                     : "i"(KERNEL_DS));
    verdict("lds, les, lfs, lgs, lss", good && value == 0);
}

static void test_tables(void)
{
    struct pointer loaded = {0}, mine = {sizeof(gdt) - 1, (uint32_t)gdt};
    uint32_t good, value;
    uint16_t half;

    __asm__ volatile("lgdt %1\nsgdt %0" : "=m"(loaded) : "m"(mine));
    verdict("lgdt and sgdt", loaded.limit == mine.limit && loaded.base == mine.base);
    loaded = (struct pointer){0};
    __asm__ volatile("sidt %0" : "=m"(loaded));
    verdict("sidt gives what lidt took",
            loaded.limit == sizeof(idt) - 1 && loaded.base == (uint32_t)idt);
    mine = loaded;
    __asm__ volatile("subl $8, %%esp\nsidt (%%esp)\nlidt (%%esp)\nmovl 2(%%esp), %0\naddl $8, %%esp"
                     : "=r"(value));
    verdict("lidt and sidt relative to ESP", value == (uint32_t)idt);
    __asm__ volatile("lldt %w1\nsldt %0" : "=r"(value) : "r"(LDT));
    good = (value & 0xffff) == LDT;
    __asm__ volatile(
        "movl $7, %%ecx\nmovl %%ecx, %%fs\nmovl %%fs, %0\nmovl %1, %%ecx\nmovl %%ecx, %%fs"
        : "=&r"(value)
        : "i"(KERNEL_DS)
        : "ecx");
    good &= (value & 0xffff) == 7; /* entry 0 of the LDT, ring 3 */
    __asm__ volatile("lldt %w0" : : "m"((uint16_t){0}));
    __asm__ volatile("sldt %0" : "=m"(half));
    verdict("lldt and sldt", good && half == 0);
    __asm__ volatile("str %0" : "=r"(value));
    verdict("ltr and str", (value & 0xffff) == TSS);
    value = 0;
    __asm__ volatile("lar %2, %0\nsetz %b1" : "=&r"(value), "=&q"(good) : "r"(KERNEL_CS));
    good = (good & 0xff) && (value & 0xff00) == 0x9b00;
    __asm__ volatile("lsl %2, %0\nsetz %b1" : "=&r"(value), "=&q"(half) : "r"(KERNEL_DS));
    good &= (half & 0xff) && value == 0xffffffff;
    __asm__ volatile("lar %1, %%ecx\nsetnz %b0" : "=q"(half) : "r"(BAD) : "ecx");
    verdict("lar and lsl, and their flag", good && (half & 0xff));
    __asm__ volatile("verr %w1\nsetz %b0" : "=q"(half) : "r"(KERNEL_CS));
    good = half & 0xff;
    __asm__ volatile("verw %w1\nsetnz %b0" : "=q"(half) : "r"(KERNEL_CS));
    good &= half & 0xff;
    value = 0x10;
    __asm__ volatile("arpl %w2, %w0\nsetz %b1" : "+r"(value), "=q"(half) : "r"(3));
    verdict("verr, verw and arpl", good && (half & 0xff) && value == 0x13);
}

/* ---- control, debug and model-specific registers ---- */

static void test_registers(void)
{
    uint32_t value, low, high, good, a, b, c, d;
    uint16_t half;

    __asm__ volatile("movl %1, %%cr2\nmovl %%cr2, %0" : "=r"(value) : "r"(0xdeadb000));
    good = value == 0xdeadb000;
#if OFFSET
    __asm__ volatile("movl %%cr3, %1\nmovl %1, %%cr3\nmovl %%cr3, %0\nxorl %1, %0"
                     : "=&r"(value), "=&r"(low));
    good &= value == 0 && low;
#else
    __asm__ volatile("movl %1, %%cr3\nmovl %%cr3, %0" : "=r"(value) : "r"(0x00200000));
    good &= value == 0x00200000;
#endif
    __asm__ volatile("movl %%cr4, %0\norl $0x200, %0\nmovl %0, %%cr4\nmovl %%cr4, %0"
                     : "=&r"(value));
    good &= value >> 9 & 1;
    __asm__ volatile("movl %%cr0, %0\norl $8, %0\nmovl %0, %%cr0\nclts\nmovl %%cr0, %0"
                     : "=&r"(value));
    verdict("mov to and from control registers, clts", good && (value & 9) == 1);
    __asm__ volatile("smsw %w0\norw $8, %w0\nlmsw %w0\nsmsw %w0" : "=&r"(half));
    good = (half & 9) == 9;
    __asm__ volatile("clts\nsmsw %0" : "=m"(half));
    verdict("lmsw and smsw", good && (half & 9) == 1);
    __asm__ volatile("movl %1, %%db0\nmovl %%db0, %0" : "=r"(value) : "r"(0x11223344));
    good = value == 0x11223344;
    __asm__ volatile("movl %1, %%db3\nmovl %%db3, %0\nmovl %%db7, %%eax"
                     : "=r"(value)
                     : "r"(0x55667788)
                     : "eax");
    verdict("mov to and from debug registers", good && value == 0x55667788);
    __asm__ volatile("wrmsr" : : "c"(0x175), "a"(0x13579bdf), "d"(0));
    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0x175));
    verdict("wrmsr and rdmsr", low == 0x13579bdf && high == 0);
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    __asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
    verdict("rdtsc counts", ((uint64_t)d << 32 | a) > ((uint64_t)high << 32 | low));
    __asm__ volatile("stc\ncpuid\nsetc %%al" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0));
    good = (a & 0xff) && ((b == 0x756e6547 && d == 0x49656e69 && c == 0x6c65746e) ||
                          (b == 0x68747541 && d == 0x69746e65 && c == 0x444d4163));
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(1));
    verdict("cpuid", good && (d & 0x31) == 0x31); /* FPU, TSC, MSR */
    print("features");
    print_hex(c & (1 << 3)); /* MONITOR */
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(7), "c"(0));
    print_hex(b & (1 << 20)); /* SMAP */
    __asm__ volatile("cpuid" : "=a"(a), "=b"(b), "=c"(c), "=d"(d) : "a"(0x80000001));
    print_hex(d & (1 << 20 | 1 << 27)); /* NX, RDTSCP */
    print("\r\n");
    __asm__ volatile("wbinvd\ninvlpg %0" : : "m"(seen_count));
    verdict("wbinvd and invlpg", 1);
}

/* ---- faults, where and with what stack the kernel sees them ---- */

/* Runs (code), whose sensitive instruction stands at label 1 and faults; (cleanup) drops what it
 * left on the stack. */
#define FAULT(before, code, cleanup, ...)                                                          \
    do {                                                                                           \
        seen_vector = seen_error = seen_eip = seen_esp = ~0u;                                      \
        __asm__ volatile(before                                                                    \
                         "\nmovl $2f, resume\nmovl $1f, site\nmovl %%esp, site_esp\n1: " code      \
                         "\n2: " cleanup                                                           \
                         :                                                                         \
                         : __VA_ARGS__                                                             \
                         : "memory", "ecx");                                                       \
    } while (0)

static int faulted(uint32_t vector, uint32_t error)
{
    return seen_vector == vector && seen_error == error && seen_eip == site && seen_esp == site_esp;
}

static void test_faults(void)
{
    struct far far = {0, BAD};

    FAULT("", "lldt %w0", "", "r"(BAD));
    verdict("lldt of a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "lldt %w0", "", "r"(KERNEL_DS));
    verdict("lldt of a data segment faults at its site", faulted(VECTOR_GP, KERNEL_DS));
    FAULT("", "ltr %w0", "", "r"(BAD));
    verdict("ltr of a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "movl %0, %%es", "", "r"(BAD));
    verdict("mov of a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "movl %0, %%ss", "", "r"(0));
    verdict("mov of null to SS faults at its site", faulted(VECTOR_GP, 0));
    FAULT("pushl %0", "pop %%fs", "addl $4, %%esp", "i"(BAD));
    verdict("pop of a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "les %0, %%ecx", "", "m"(far));
    verdict("les of a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "ljmp *%0", "", "m"(far));
    verdict("a far jump to a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("", "lcall *%0", "", "m"(far));
    verdict("a far call to a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("pushf\npushl %0\npushl $2f", "iret", "addl $12, %%esp", "i"(BAD));
    verdict("iret to a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("pushl %0\npushl $2f", "lret", "addl $8, %%esp", "i"(BAD));
    verdict("lret to a bad selector faults at its site", faulted(VECTOR_GP, BAD));
    FAULT("xorl %%ecx, %%ecx", "xgetbv", "", "i"(0));
    verdict("xgetbv without OSXSAVE faults at its site", faulted(VECTOR_UD, 0));
    FAULT("", "int $0x63", "", "i"(0));
    verdict("int through an absent gate faults at its site",
            seen_vector == VECTOR_NP && seen_error == (VECTOR_ABSENT << 3 | 2) &&
                seen_eip == site && seen_esp == site_esp);
}

#if OFFSET
/* Behind the first 4 MB nothing is mapped. */
#define UNMAPPED (OFFSET + 0x400000)
#define PF_WRITE 2

static uint32_t fault_address(void)
{
    uint32_t address;

    __asm__ volatile("movl %%cr2, %0" : "=r"(address));
    return address;
}

static void test_page_faults(void)
{
    uint32_t count = 5;
    uint8_t *to = (uint8_t *)UNMAPPED - 2;

    FAULT("", "lgdt (%0)", "", "r"(UNMAPPED + 4));
    verdict("lgdt from an unmapped page faults at its site",
            faulted(VECTOR_PF, 0) && fault_address() == UNMAPPED + 4);
    FAULT("", "sidt (%0)", "", "r"(UNMAPPED + 8));
    verdict("sidt to an unmapped page faults at its site",
            faulted(VECTOR_PF, PF_WRITE) && fault_address() == UNMAPPED + 8);
    FAULT("", "lldt (%0)", "", "r"(UNMAPPED + 12));
    verdict("lldt from an unmapped page faults at its site",
            faulted(VECTOR_PF, 0) && fault_address() == UNMAPPED + 12);
    FAULT("", "movw %%es, (%0)", "", "r"(UNMAPPED + 16));
    verdict("mov from a segment register to an unmapped page faults at its site",
            faulted(VECTOR_PF, PF_WRITE) && fault_address() == UNMAPPED + 16);
    seen_vector = 0;
    __asm__ volatile("movl $2f, resume\nmovl $1f, site\nmovl %%esp, site_esp\n1: rep insb\n2:"
                     : "+D"(to), "+c"(count)
                     : "d"(PIC1_MASK)
                     : "memory");
    verdict("rep insb into an unmapped page faults at its site, half done",
            faulted(VECTOR_PF, PF_WRITE) && fault_address() == UNMAPPED && count == 3 &&
                to == (uint8_t *)UNMAPPED && to[-1] == 0xff);
}
#endif

/* ---- all at once, under a storm of interrupts ---- */

static void test_storm(void)
{
    struct pointer table;
    uint32_t before, good = 1, value, low, high;
    uint16_t half;

    pv_outb(PIC1_MASK, 0xfe);
    pit(2, 60); /* about 20,000 a second */
    before = ticks;
    __asm__ volatile("sti");
    for (uint32_t i = 0; i < 100000 && good; i++) {
        __asm__ volatile("pushl %1\npopf\npushf\npopl %0\ncld"
                         : "=r"(value)
                         : "r"(IF | 2 | (i & 0x8c5)));
        good &= (value & ~0x10u) == (IF | 2 | (i & 0x8c5 & ~0x10u));
        __asm__ volatile("cli\nmovl %%cr0, %0\nsti" : "=r"(value));
        good &= value & 1;
        __asm__ volatile("movl %1, %%es\nmovl %%es, %0" : "=r"(value) : "r"(KERNEL_DS));
        good &= (value & 0xffff) == KERNEL_DS;
        __asm__ volatile("push %%es\npop %%fs\nstr %w0" : "=r"(value));
        good &= (value & 0xffff) == TSS;
        __asm__ volatile("wrmsr" : : "c"(0x175), "a"(i), "d"(0));
        __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(0x175));
        good &= low == i;
        __asm__ volatile("sgdt %0" : "=m"(table));
        good &= table.base == (uint32_t)gdt;
        __asm__ volatile("verr %w1\nsetz %b0" : "=q"(half) : "r"(KERNEL_CS));
        good &= half & 0xff;
        if (i % 64 == 0) {
            __asm__ volatile("int $0x60" : : : "memory");
            good &= seen_vector == VECTOR_SOFT;
            if (monitored) {
                FAULT("", "lldt %w0", "", "r"(BAD));
                good &= faulted(VECTOR_GP, BAD);
            }
            __asm__ volatile("sti\nhlt");
        }
    }
    __asm__ volatile("cli");
    verdict("sensitive operations under a storm of timer interrupts",
            good && ticks - before > 1000);
}

void kernel_main(uint32_t magic, uint32_t information)
{
    struct pointer pointer = {sizeof(idt) - 1, (uint32_t)idt};

    monitored = !has_word(command_line(information), "nomonitor");
    gdt[LDT / 8] = descriptor((uint32_t)ldt, sizeof(ldt) - 1, 0x8200);
    ldt[0] = descriptor(0, 0xfffff, 0xc0f300);
    load_segments(gdt, sizeof(gdt), tss, sizeof(tss), (uint32_t)stack_top - 4096);
    for (unsigned vector = 0; vector < 256; vector++)
        idt[vector] = gate(vector, GATE_INTERRUPT);
    idt[VECTOR_TRAP] = gate(VECTOR_TRAP, GATE_TRAP);
    idt[VECTOR_LATE] = 0;
    idt[VECTOR_ABSENT] = gate(VECTOR_ABSENT, GATE_ABSENT);
    idt[VECTOR_IRQ0] = 0;
    __asm__ volatile("lidt %0" : : "m"(pointer));
    idt[VECTOR_LATE] = gate(VECTOR_LATE, GATE_INTERRUPT);
    idt[VECTOR_BACK] = gate(VECTOR_BACK, GATE_USER);
    idt[VECTOR_IRQ0] = gate(VECTOR_IRQ0, GATE_INTERRUPT);

    pv_outb(PIC1, 0x11); /* ICW1 to ICW4: cascade, IRQ 0 to 7 at vector 32, 8086 mode */
    pv_outb(PIC1_MASK, VECTOR_IRQ0);
    pv_outb(PIC1_MASK, 0x04);
    pv_outb(PIC1_MASK, 0x01);
    pv_outb(PIC2_MASK, 0xff);
    pv_outb(PIC1_MASK, 0xff);

    verdict("the Multiboot magic", magic == 0x2badb002);
    test_flags();
    test_hlt();
    test_io();
    test_transfers();
    seen_vector = 0;
    __asm__ volatile("int $0x62" : : : "memory");
    verdict("a gate written after lidt", seen_vector == VECTOR_LATE);
    test_rings();
    test_segments();
    test_tables();
    test_registers();
    if (monitored)
        test_faults();
#if OFFSET
    if (monitored)
        test_page_faults();
#endif
    test_storm();

    print(failures ? "raw-kernel: failed\r\n" : "raw-kernel: passed\r\n");
    end_machine(passes ? failures : 1);
}
