/* SPDX-License-Identifier: BSD-2-Clause */
/* Prints on the first serial line, waits for three timer interrupts with sti; hlt, ends. */
#include <stdint.h>

enum {
    COM1 = 0x3f8,
    COM1_STATUS = COM1 + 5,
    COM1_EMPTY = 1 << 5,
    PIC_COMMAND = 0x20,
    PIC_DATA = 0x21,
    PIT_CHANNEL0 = 0x40,
    PIT_COMMAND = 0x43,
    DEBUG_EXIT = 0xf4,
    TIMER_VECTOR = 32,
    SELECTOR_CODE = 0x08,
    GATE_INTERRUPT = 0x8e00
};

struct gate {
    uint16_t offset_low, selector, type, offset_high;
};

struct gate idt[256];
volatile uint32_t ticks;
void timer_entry(void);
void kernel_main(void);

static inline void outb(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t inb(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static void print(const char *text)
{
    for (; *text; text++) {
        while (!(inb(COM1_STATUS) & COM1_EMPTY))
            ;
        outb(COM1, (uint8_t)*text);
    }
}

static uint32_t save_flags(void)
{
    uint32_t flags;

    __asm__ volatile("pushf; pop %0" : "=r"(flags) : : "memory");
    return flags;
}

static void start_timer(void)
{
    uintptr_t entry = (uintptr_t)timer_entry;

    idt[TIMER_VECTOR] =
        (struct gate){(uint16_t)entry, SELECTOR_CODE, GATE_INTERRUPT, (uint16_t)(entry >> 16)};
    outb(PIC_COMMAND, 0x11); /* edge-triggered, with ICW4 (8259A data sheet) */
    outb(PIC_DATA, TIMER_VECTOR);
    outb(PIC_DATA, 4);
    outb(PIC_DATA, 1);
    outb(PIC_DATA, 0xfe); /* the timer alone */
    outb(PIT_COMMAND, 0x34);
    outb(PIT_CHANNEL0, 0x9c); /* 11932: 100 Hz */
    outb(PIT_CHANNEL0, 0x2e);
}

void kernel_main(void)
{
    const uint32_t interrupt_flag = 1 << 9;

    print("minimal kernel: ");
    start_timer();
    while (ticks < 3)
        __asm__ volatile("sti; hlt; cli" : : : "memory");
    print(save_flags() & interrupt_flag ? "interrupts are on?\n" : "three ticks\n");
    outb(DEBUG_EXIT, 0);
}
