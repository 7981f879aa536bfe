/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A kernel that loads code after it has started: it copies code, and the code's patch-up table with
 * it, to pages of its own, and calls it; again and again at one place, then the same code without a
 * table, then at two places in turn.
 */
#include "../machine.h"

#define PAGE        4096u
#define PLACE       0xc8001000u
#define OTHER_PLACE 0xc8011000u /* another stretch: nothing is mapped in between */
#define PAGES       4u
#define ENTRIES     1024u
#define PRESENT     1u
#define WRITABLE    2u

#define RIGHT 0x3ffu /* all that module.S looks at */

/* module.S as it is at PLACE (and at OTHER_PLACE), through previrt and not. */
__asm__(".section .rodata\n"
        ".globl annotated, annotated_end, other, other_end, plain, plain_end\n"
        "annotated: .incbin \"" FOLDER "/annotated\"\nannotated_end:\n"
        "other: .incbin \"" FOLDER "/other\"\nother_end:\n"
        "plain: .incbin \"" FOLDER "/plain\"\nplain_end:\n"
        ".previous\n");
extern const uint8_t annotated[], annotated_end[], other[], other_end[], plain[], plain_end[];

static uint32_t page_table[ENTRIES] __attribute__((aligned(4096)));
static uint8_t frames[2 * PAGES][PAGE] __attribute__((aligned(4096)));

void trap(const uint32_t *frame);

static unsigned failures;

/* No test here faults. */
void trap(const uint32_t *frame)
{
    print("not ok trap");
    for (unsigned i = 10; i < 15; i++)
        print_hex(frame[i]);
    print("\r\n");
    pv_outb(PREVIRT_RAW_EXIT_PORT, 0x5f);
    for (;;)
        ;
}

static uint32_t cr3(void)
{
    uint32_t value;

    __asm__ volatile("movl %%cr3, %0" : "=r"(value));
    return value;
}

static uint32_t cs(void)
{
    uint32_t value;

    __asm__ volatile("movl %%cs, %0" : "=r"(value));
    return value & 0xffff;
}

/* Arguments: what module.S is to find. */
static uint32_t call(uint32_t at)
{
    return ((uint32_t(*)(uint32_t, uint32_t))at)(cr3(), cs());
}

static void map(uint32_t at, unsigned first_frame)
{
    for (unsigned i = 0; i < PAGES; i++) {
        page_table[at / PAGE % ENTRIES + i] =
            physical(frames[first_frame + i]) | PRESENT | WRITABLE;
        __asm__ volatile("invlpg (%0)" : : "r"(at + i * PAGE) : "memory");
    }
}

static void unmap(uint32_t at)
{
    for (unsigned i = 0; i < PAGES; i++) {
        page_table[at / PAGE % ENTRIES + i] = 0;
        __asm__ volatile("invlpg (%0)" : : "r"(at + i * PAGE) : "memory");
    }
}

static uint32_t load_and_call(uint32_t at, const uint8_t *from, const uint8_t *end)
{
    volatile uint8_t *to = (volatile uint8_t *)at;

    for (unsigned i = 0; i < PAGES * PAGE; i++)
        to[i] = 0;
    while (from < end)
        *to++ = *from++;
    return call(at);
}

static void verdict(const char *name, uint32_t found)
{
    print(found == RIGHT ? "ok " : "not ok ");
    print(name);
    if (found != RIGHT) {
        print_hex(found);
        failures++;
    }
    print("\r\n");
}

void kernel_main(uint32_t magic, uint32_t information)
{
    (void)magic, (void)information;
    pv_outb(PIC1_MASK, 0xff);
    pv_outb(PIC2_MASK, 0xff);
    ((uint32_t *)(cr3() + OFFSET))[PLACE / PAGE / ENTRIES] =
        physical(page_table) | PRESENT | WRITABLE;
    map(PLACE, 0);
    map(OTHER_PLACE, PAGES);
    for (unsigned i = 0; i < 3; i++)
        verdict("code with a table, written over what was there",
                load_and_call(PLACE, annotated, annotated_end));
    verdict("the same elsewhere", load_and_call(OTHER_PLACE, other, other_end));
    verdict("the first again", call(PLACE));
    unmap(PLACE);
    map(PLACE, 0);
    verdict("mapped anew", load_and_call(PLACE, annotated, annotated_end));
    print("code without a table:");
    print_hex(load_and_call(PLACE, plain, plain_end));
    print("\r\n");
    verdict("with one, in its place", load_and_call(PLACE, annotated, annotated_end));
    print("end\r\n");
    end_machine(failures);
}
