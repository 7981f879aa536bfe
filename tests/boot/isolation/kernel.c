/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that tries what must not work: its own and user code read, write and jump to memory that
 * is not theirs, and to where the in-place VMM of the Xen back-end is. On the bare machine nothing
 * is there, so both must end in the same faults. With `end=NAME` on the command line it does what
 * leaves it without a next instruction. tests/boot/xen-guests runs it.
 */
#include "../machine.h"

#define BP 3
#define UD 6
#define GP 13
#define PF 14

#define PF_PRESENT 1
#define PF_WRITE   2
#define PF_USER    4

#define PAGE        4096u
#define USER_CODE   0x08000000u
#define USER_DATA   0x08001000u
#define USER_READ   0x08002000u /* read-only */
#define USER_KERNEL 0x08003000u /* the kernel's */
#define NOWHERE     0x70000000u
#define SYSTEM_CALL 0x80
#define EFLAGS_IF   0x200u

/* docs/backend-interface.md: the VMM's region below 4 GiB. Nothing of the guest's is there. */
#define VMM_PAGE    0xffc00000u
#define VMM_ENTRY   0xffc01000u
#define VMM_STUBS   0xffc03000u
#define VMM_NO_STUB 0xffc60000u
#define VMM_UNUSED  0xfff00000u
#define XEN_CODE64  0xe033 /* Xen's selector for 64-bit code at privilege level 3 */

struct frame {
    uint32_t es, ds, edi, esi, ebp, esp, ebx, edx, ecx, eax;
    uint32_t vector, error, eip, cs, eflags, user_esp, user_ss;
};

void trap(struct frame *frame);

static uint64_t gdt[8], idt[256];
static uint32_t tss[26];
static uint32_t user_table[1024] __attribute__((aligned(PAGE)));
static uint8_t user_pages[4][PAGE] __attribute__((aligned(PAGE)));
static uint32_t secret = 0x5ec2e7;

/* The last trap, and where the kernel goes on. */
volatile uint32_t seen_vector, seen_error, seen_eip, seen_cs, seen_cr2, seen_eax, resume, back_esp;
static unsigned failures, passes;

static void verdict(const char *name, int good)
{
    print(good ? "ok " : "not ok ");
    print(name);
    if (!good) {
        print_hex(seen_vector);
        print_hex(seen_error);
        print_hex(seen_eip);
        print_hex(seen_cs);
        print_hex(seen_cr2);
    }
    print("\r\n");
    if (good)
        passes++;
    else
        failures++;
}

void trap(struct frame *frame)
{
    uint32_t cr2;

    __asm__ volatile("movl %%cr2, %0" : "=r"(cr2));
    seen_vector = frame->vector;
    seen_error = frame->error;
    seen_eip = frame->eip;
    seen_cs = frame->cs;
    seen_cr2 = cr2;
    seen_eax = frame->eax;
    if (!resume) {
        print("unexpected");
        verdict("exception", 0);
        pv_outb(PREVIRT_RAW_EXIT_PORT, 0x5f);
        for (;;)
            __asm__ volatile("cli\nhlt");
    }
    if (frame->cs & 3)
        __asm__ volatile("movl %0, %%esp\njmp *%1" : : "r"(back_esp), "r"(resume));
    frame->eip = resume;
    resume = 0;
}

/* ---- the kernel itself ---- */

enum { READ, WRITE, JUMP };

static void kernel_access(int access, uint32_t address)
{
    seen_vector = ~0u;
    if (access == READ)
        __asm__ volatile("movl $1f, resume\nmovl (%0), %%eax\n1:"
                         :
                         : "r"(address)
                         : "eax", "memory");
    else if (access == WRITE)
        __asm__ volatile("movl $1f, resume\nmovl %%eax, (%0)\n1:" : : "r"(address) : "memory");
    else
        __asm__ volatile("movl $1f, resume\njmp *%0\n1:" : : "r"(address) : "memory");
    resume = 0;
}

static int page_fault(uint32_t error, uint32_t address)
{
    return seen_vector == PF && seen_error == error && seen_cr2 == address;
}

static void test_kernel(void)
{
    kernel_access(READ, VMM_UNUSED);
    verdict("the kernel reads the VMM's region: a page fault", page_fault(0, VMM_UNUSED));
    kernel_access(WRITE, VMM_UNUSED);
    verdict("the kernel writes the VMM's region: a page fault", page_fault(PF_WRITE, VMM_UNUSED));
    kernel_access(WRITE, VMM_STUBS);
    verdict("the kernel writes a stub: a page fault", page_fault(PF_WRITE, VMM_STUBS));
    kernel_access(WRITE, VMM_ENTRY);
    verdict("the kernel writes the VMM's entry: a page fault", page_fault(PF_WRITE, VMM_ENTRY));
    kernel_access(JUMP, VMM_UNUSED);
    verdict("the kernel jumps to the VMM's region: a page fault there",
            page_fault(0, VMM_UNUSED) && seen_eip == VMM_UNUSED && seen_cs == KERNEL_CS);
    kernel_access(JUMP, VMM_PAGE);
    verdict("the kernel jumps to the vCPU page: a page fault there",
            seen_vector == PF && seen_eip == VMM_PAGE && seen_cs == KERNEL_CS);
    /* something is there on Xen, and nothing otherwise: one exception or another */
    kernel_access(JUMP, VMM_ENTRY);
    verdict("the kernel jumps to the VMM's entry: an exception there",
            (seen_vector == PF || seen_vector == UD || seen_vector == GP) &&
                seen_eip - VMM_ENTRY < 32 && seen_cs == KERNEL_CS);
    kernel_access(JUMP, VMM_NO_STUB);
    verdict("the kernel jumps behind the stubs: an exception there",
            (seen_vector == PF || seen_vector == BP) && seen_eip - VMM_NO_STUB < 32 &&
                seen_cs == KERNEL_CS);
    kernel_access(READ, NOWHERE);
    verdict("the kernel reads what it has not mapped: a page fault", page_fault(0, NOWHERE));
}

/* ---- user code ---- */

static void user(const void *code, size_t size)
{
    for (size_t i = 0; i < size; i++)
        user_pages[0][i] = ((const uint8_t *)code)[i];
    /* int $0x80 */
    user_pages[0][size] = 0xcd;
    user_pages[0][size + 1] = SYSTEM_CALL;
    seen_vector = ~0u;
    __asm__ volatile("pushal\nmovl %%esp, back_esp\nmovl $1f, resume\n"
                     "pushl %0\npushl %1\npushl %2\npushl %3\npushl %4\n"
                     "movl %0, %%eax\nmovl %%eax, %%ds\nmovl %%eax, %%es\nxorl %%eax, %%eax\niret\n"
                     "1: popal\n"
                     :
                     : "i"(USER_DS), "i"(USER_DATA + PAGE), "i"(2), "i"(USER_CS), "i"(USER_CODE)
                     : "memory");
    __asm__ volatile("movl %0, %%ds\nmovl %0, %%es" : : "r"(KERNEL_DS) : "memory");
    resume = 0;
}

static void user_access(int access, uint32_t address)
{
    /* mov (address), %eax; mov %eax, (address); jmp address */
    uint8_t code[5] = {access == READ ? 0xa1 : access == WRITE ? 0xa3 : 0xe9};
    uint32_t operand = access == JUMP ? address - (USER_CODE + 5) : address;

    for (unsigned i = 0; i < 4; i++)
        code[1 + i] = (uint8_t)(operand >> 8 * i);
    user(code, sizeof code);
}

static void user_cannot(const char *what, uint32_t address, uint32_t present)
{
    int good = 1;

    for (int access = READ; access <= JUMP; access++) {
        user_access(access, address);
        good &= page_fault(PF_USER | present | (access == WRITE ? PF_WRITE : 0), address) &&
                seen_cs == USER_CS && seen_eip == (access == JUMP ? address : USER_CODE);
        if (!good)
            break;
    }
    print(good ? "" : "    ");
    verdict(what, good);
}

static void user_faults(const char *what, const void *code, size_t size, uint32_t vector,
                        uint32_t error)
{
    user(code, size);
    verdict(what, seen_vector == vector && seen_error == error && seen_eip == USER_CODE &&
                      seen_cs == USER_CS);
}

#define USER_FAULTS(what, vector, error, ...)                                                      \
    do {                                                                                           \
        static const uint8_t code_[] = {__VA_ARGS__};                                              \
        user_faults(what, code_, sizeof code_, vector, error);                                     \
    } while (0)

static void test_user(void)
{
    /* ljmp to 64-bit code, if there is such a segment: movabs (VMM), %eax */
    static const uint8_t long_mode[] = {
        0xea, 7,    0,    0,    8,   XEN_CODE64 & 0xff, XEN_CODE64 >> 8, 0xa1, 0, 0, 0,
        0x80, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t sysenter[] = {0x0f, 0x34}, syscall[] = {0x0f, 0x05};
    int good = 1;

    user_access(READ, USER_DATA);
    verdict("user code reads its own page", seen_vector == SYSTEM_CALL);
    user_access(WRITE, USER_DATA);
    verdict("user code writes its own page", seen_vector == SYSTEM_CALL);
    user_access(READ, USER_READ);
    verdict("user code reads a read-only page", seen_vector == SYSTEM_CALL);
    user_access(WRITE, USER_READ);
    verdict("user code writes a read-only page: a page fault",
            page_fault(PF_USER | PF_WRITE | PF_PRESENT, USER_READ));
    user_cannot("user code and the VMM's vCPU page: page faults", VMM_PAGE, 0);
    user_cannot("user code and the VMM's entry: page faults", VMM_ENTRY, 0);
    user_cannot("user code and a stub: page faults", VMM_STUBS, 0);
    user_cannot("user code and the VMM's region: page faults", VMM_UNUSED, 0);
    user_cannot("user code and the kernel's data: page faults", (uint32_t)&secret, PF_PRESENT);
    user_cannot("user code and the kernel's code: page faults", (uint32_t)kernel_main, PF_PRESENT);
    user_cannot("user code and the kernel's page beside its own: page faults", USER_KERNEL,
                PF_PRESENT);
    user_cannot("user code and nothing: page faults", NOWHERE, 0);
    USER_FAULTS("user code: cli", GP, 0, 0xfa);
    USER_FAULTS("user code: sti", GP, 0, 0xfb);
    USER_FAULTS("user code: hlt", GP, 0, 0xf4);
    USER_FAULTS("user code: in", GP, 0, 0xe4, 0x21);
    USER_FAULTS("user code: out", GP, 0, 0xe6, 0x80);
    USER_FAULTS("user code: mov to CR3", GP, 0, 0x0f, 0x22, 0xd8);
    USER_FAULTS("user code: mov from CR0", GP, 0, 0x0f, 0x20, 0xc0);
    USER_FAULTS("user code: mov to DR7", GP, 0, 0x0f, 0x23, 0xf8);
    USER_FAULTS("user code: lgdt", GP, 0, 0x0f, 0x01, 0x15, 0, 0x10, 0, 0x08);
    USER_FAULTS("user code: lidt", GP, 0, 0x0f, 0x01, 0x1d, 0, 0x10, 0, 0x08);
    USER_FAULTS("user code: ltr", GP, 0, 0x0f, 0x00, 0xd8);
    USER_FAULTS("user code: clts", GP, 0, 0x0f, 0x06);
    USER_FAULTS("user code: invlpg", GP, 0, 0x0f, 0x01, 0x3d, 0, 0x10, 0, 0x08);
    USER_FAULTS("user code: wrmsr", GP, 0, 0x0f, 0x30);
    USER_FAULTS("user code: a far jump to the kernel", GP, KERNEL_CS, 0xea, 0, 0, 0, 0, KERNEL_CS,
                0);
    user(sysenter, sizeof sysenter);
    good &= seen_vector == GP || seen_vector == UD;
    user(syscall, sizeof syscall);
    good &= seen_vector == GP || seen_vector == UD;
    verdict("user code: sysenter and syscall fault", good);
    user(long_mode, sizeof long_mode);
    verdict("user code in 64-bit mode, where there is one, does not reach the VMM: a fault",
            (seen_vector == GP && seen_eip == USER_CODE) ||
                (seen_vector == PF && (seen_error & PF_USER) && !seen_eax));
    verdict("nothing of the kernel's has changed", secret == 0x5ec2e7);
}

/* ---- tables that point at themselves ---- */

#define WINDOW 0x40000000u

static void test_tables(uint32_t *directory)
{
    volatile uint32_t *entry = (uint32_t *)(WINDOW + USER_DATA / PAGE * 4);

    directory[WINDOW >> 22] = physical(directory) | 3;
    __asm__ volatile("movl %%cr3, %%eax\nmovl %%eax, %%cr3" : : : "eax", "memory");
    verdict("a directory that is its own table",
            *entry == user_table[1] &&
                ((volatile uint32_t *)(WINDOW + (WINDOW >> 22) * PAGE))[WINDOW >> 22] ==
                    directory[WINDOW >> 22]);
    user_pages[1][0] = 0x11;
    user_pages[3][0] = 0x33;
    *entry = physical(user_pages[3]) | 7;
    __asm__ volatile("invlpg %0" : : "m"(*(uint8_t *)USER_DATA) : "memory");
    user_access(READ, USER_DATA);
    verdict("a page that was mapped through it",
            seen_vector == SYSTEM_CALL && (seen_eax & 0xff) == 0x33);
    *entry = 0;
    __asm__ volatile("invlpg %0" : : "m"(*(uint8_t *)USER_DATA) : "memory");
    user_access(READ, USER_DATA);
    verdict("and is taken away through it", page_fault(PF_USER, USER_DATA));
    *entry = physical(user_pages[1]) | 7;
    directory[WINDOW >> 22] = 0;
    __asm__ volatile("movl %%cr3, %%eax\nmovl %%eax, %%cr3" : : : "eax", "memory");
}

/* ---- ends ---- */

static __attribute__((noreturn)) void end(const char *line, uint32_t *directory)
{
    struct pointer pointer = {0x7ff, NOWHERE};

    print("isolation: about to end\r\n");
    resume = 0;
    if (has_word(line, "end=idt")) {
        __asm__ volatile("lidt %0\nmovl $0xb00b1e5, %%ebx\nud2" : : "m"(pointer));
    } else if (has_word(line, "end=gdt")) {
        __asm__ volatile("lgdt %0\nmovl $0xb00b1e5, %%ebx\nud2" : : "m"(pointer));
    } else if (has_word(line, "end=cr3")) {
        __asm__ volatile("movl $0xb00b1e5, %%ebx\nmovl %0, %%cr3\nnop" : : "r"(0xfffff000u));
    } else if (has_word(line, "end=page")) {
        directory[NOWHERE >> 22] = physical(user_table) | 7;
        user_table[NOWHERE / PAGE % 1024 + 5] = 0xe0000000u | 7;
        __asm__ volatile(
            "movl %%cr3, %%eax\nmovl %%eax, %%cr3\nmovl $0xb00b1e5, %%ebx\nmovl (%0), %%eax"
            :
            : "r"(NOWHERE + 5 * PAGE)
            : "eax");
    } else if (has_word(line, "end=halt")) {
        __asm__ volatile("movl $0xb00b1e5, %%ebx\ncli\nhlt" : :);
    } else if (has_word(line, "end=stack")) {
        __asm__ volatile("movl $0xb00b1e5, %%ebx\nmovl %0, %%esp\nud2" : : "r"(NOWHERE));
    }
    print("isolation: it went on\r\n");
    pv_outb(PREVIRT_RAW_EXIT_PORT, 0x11);
    for (;;)
        __asm__ volatile("cli\nhlt");
}

void kernel_main(uint32_t magic, uint32_t information)
{
    struct pointer pointer = {sizeof(idt) - 1, (uint32_t)idt};
    const char *line = command_line(information);
    uint32_t *directory;

    (void)magic;
    load_segments(gdt, sizeof(gdt), tss, sizeof(tss), (uint32_t)stack_top - 2048);
    tss[25] = sizeof(tss) << 16; /* no I/O permissions */
    for (unsigned vector = 0; vector < 256; vector++)
        idt[vector] =
            gate(vector, vector == SYSTEM_CALL || vector == BP ? GATE_USER : GATE_INTERRUPT);
    __asm__ volatile("lidt %0" : : "m"(pointer));
    pv_outb(PIC1_MASK, 0xff);
    pv_outb(PIC2_MASK, 0xff);

    /* The kernel's memory becomes the kernel's alone, and user pages get a table. */
    __asm__ volatile("movl %%cr3, %0" : "=r"(directory));
    directory = (uint32_t *)((uint32_t)directory + OFFSET);
    directory[OFFSET >> 22] &= ~4u;
    directory[USER_CODE >> 22] = physical(user_table) | 7;
    user_table[0] = physical(user_pages[0]) | 5;
    user_table[1] = physical(user_pages[1]) | 7;
    user_table[2] = physical(user_pages[2]) | 5;
    user_table[3] = physical(user_pages[3]) | 3;
    __asm__ volatile("movl %%cr0, %%eax\norl $0x10000, %%eax\nmovl %%eax, %%cr0\n"
                     "movl %%cr3, %%eax\nmovl %%eax, %%cr3"
                     :
                     :
                     : "eax", "memory");

    if (has_word(line, "end="))
        end(line, directory);
    test_kernel();
    test_user();
    test_tables(directory);
    print(failures ? "isolation: failed\r\n" : "isolation: passed\r\n");
    end_machine(passes ? failures : 1);
}
