/* SPDX-License-Identifier: BSD-2-Clause */
/* What the small test kernels share: the machine's ports, their console, their tables, their end.
 */
#ifndef TESTS_BOOT_MACHINE_H
#define TESTS_BOOT_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "../../backends/raw/ports.h"

#define PIC1_MASK 0x21
#define PIC2_MASK 0xa1
#define KEYBOARD  0x64

/* Multiboot 3.3: flag and word of the command line */
#define INFO_CMDLINE    4
#define INFO_CMDLINE_AT 4

#define KERNEL_CS 0x08
#define KERNEL_DS 0x10
#define USER_CS   0x1b
#define USER_DS   0x23
#define TSS       0x28

#define GATE_INTERRUPT 0x8e00
#define GATE_ABSENT    0x0e00
#define GATE_TRAP      0x8f00
#define GATE_USER      0xee00

struct pointer {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

extern char isr_table[], stack_top[], user_stack_top[]; /* start.S */
void kernel_main(uint32_t magic, uint32_t information);

static inline void print(const char *s)
{
    while (*s)
        pv_putc(*s++);
}

static inline void print_hex(uint32_t value)
{
    char text[10] = " ", *at = text + 1;

    for (int shift = 28; shift >= 0; shift -= 4)
        *at++ = "0123456789abcdef"[value >> shift & 15];
    *at = 0;
    print(text);
}

/* Where the kernel's (p) is in physical memory. */
static inline uint32_t physical(const void *p)
{
    return (uint32_t)p - OFFSET;
}

static inline const char *command_line(uint32_t information)
{
    if (!(*(uint32_t *)information & INFO_CMDLINE))
        return "";
    return ((const char **)information)[INFO_CMDLINE_AT] + OFFSET;
}

static inline int has_word(const char *line, const char *word)
{
    for (; *line; line++) {
        unsigned i = 0;

        while (word[i] && line[i] == word[i])
            i++;
        if (!word[i])
            return 1;
    }
    return 0;
}

static inline uint64_t gate(uint32_t vector, uint32_t attributes)
{
    uint32_t handler = (uint32_t)isr_table + vector * 16;

    return (uint64_t)((handler & 0xffff0000) | attributes) << 32 | KERNEL_CS << 16 |
           (handler & 0xffff);
}

static inline uint64_t descriptor(uint32_t base, uint32_t limit, uint32_t attributes)
{
    return (uint64_t)((base & 0xff000000) | (limit & 0xf0000) | attributes | (base >> 16 & 0xff))
               << 32 |
           base << 16 | (limit & 0xffff);
}

/* Makes (gdt), of (size) bytes, and (tss) the machine's: flat segments, and a stack for what comes
 * from user code. */
static inline void load_segments(uint64_t *gdt, size_t size, uint32_t *tss, size_t tss_size,
                                 uint32_t esp0)
{
    struct pointer pointer = {(uint16_t)(size - 1), (uint32_t)gdt};

    gdt[KERNEL_CS / 8] = descriptor(0, 0xfffff, 0xc09b00);
    gdt[KERNEL_DS / 8] = descriptor(0, 0xfffff, 0xc09300);
    gdt[USER_CS / 8] = descriptor(0, 0xfffff, 0xc0fb00);
    gdt[USER_DS / 8] = descriptor(0, 0xfffff, 0xc0f300);
    gdt[TSS / 8] = descriptor((uint32_t)tss, tss_size - 1, 0x8900);
    tss[1] = esp0;
    tss[2] = KERNEL_DS;
    __asm__ volatile(
        "lgdt %0\n"
        "ljmp %1, $1f\n"
        "1: movl %2, %%eax\n"
        "movl %%eax, %%ss\nmovl %%eax, %%ds\nmovl %%eax, %%es\nmovl %%eax, %%fs\nmovl %%eax, %%gs\n"
        "movl %3, %%eax\n"
        "ltr %%ax"
        :
        : "m"(pointer), "i"(KERNEL_CS), "i"(KERNEL_DS), "i"(TSS)
        : "eax", "memory");
}

/* A QEMU with isa-debug-exit ends with a status of its own after failures; else a reset. */
__attribute__((noreturn)) static inline void end_machine(unsigned failures)
{
    if (failures)
        pv_outb(PREVIRT_RAW_EXIT_PORT, (uint8_t)(failures > 0x4f ? 0x4f : failures));
    pv_outb(KEYBOARD, 0xfe); /* pulse the reset line */
    for (;;)
        __asm__ volatile("hlt");
}

#endif
