/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PC of a processor and memory in Unicorn, at CPL 0, segments flat, paging off: what a kernel's
 * sensitive instructions run on. Its memory can be put back, its ports record, and whatever stops
 * it is an event.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <unicorn/unicorn.h>

/* Where things are in the guest's memory. */
enum {
    MEMORY_SIZE = 64 << 20,
    LOW_TARGET = 0xfff0, /* where 16-bit far transfers go */
    GDT_ADDRESS = 0x12000,
    LDT_ADDRESS = 0x12800,
    TSS_ADDRESS = 0x13000,
    INIT_ADDRESS = 0x14000,
    CODE_ADDRESS = 0x100000, /* sites */
    CODE_SIZE = 0x80000,
    STUB_ADDRESS = 0x200000,
    STUB_SIZE = CODE_SIZE, /* a stub stands as far into it as its site into the sites */
    DISPATCHER_ADDRESS = 0x2f0000,
    VCPU_ADDRESS = 0x300000,
    TARGET_ADDRESS = 0x310000, /* where 32-bit far transfers go */
    DATA_ADDRESS = 0x400000,
    DATA_SIZE = 0x100000,
    STACK_ADDRESS = 0x480000,
    STACK_DEAD = 256,          /* bytes below ESP that a stub may use */
    ORACLE_ADDRESS = 52 << 20, /* what the virtual CPU executes */
    ORACLE_SIZE = 11 << 20,
    SHIFT = 0x500000, /* added to code and stubs: another place for the same bytes */
    FS_BASE = 0x1000,
    GS_BASE = 0x2000,
};

/* Selectors of the GDT that machine_open() builds. */
enum {
    SELECTOR_CODE = 0x08,
    SELECTOR_DATA = 0x10,
    SELECTOR_FS = 0x18,
    SELECTOR_GS = 0x20,
    SELECTOR_LDT = 0x28,
    SELECTOR_TSS = 0x30,
    SELECTOR_ABSENT = 0x38,
    SELECTOR_USER_CODE = 0x43,
    SELECTOR_USER_DATA = 0x4b,
    SELECTOR_LAST = 0x50, /* a second, available TSS */
    SELECTOR_LIMIT = 0x57,
    SYSENTER_CS = SELECTOR_CODE, /* SYSEXIT wants code and stack 16 and 24 behind */
};

enum { EAX, ECX, EDX, EBX, ESP, EBP, ESI, EDI };

struct registers {
    uint32_t gpr[8], eip, eflags;
};

/* The rest of what an instruction may change. */
struct system_state {
    uint16_t segment[6], ldtr, tr;
    uint32_t segment_base[6];
    uint32_t cr[5], dr[8];
    uint32_t gdt_base, gdt_limit, idt_base, idt_limit;
    uint64_t sysenter[3], efer;
};

enum event_kind {
    EVENT_NONE,      /* reached the address it ran to */
    EVENT_INTERRUPT, /* exception or software interrupt: (number) */
    EVENT_ERROR,     /* Unicorn's error (number) */
    EVENT_LOST       /* executed far too much */
};

struct event {
    enum event_kind kind;
    unsigned number;
    uint32_t eip;
};

enum { LOG_SIZE = 512, PORTS_SIZE = 64 };

struct write {
    uint32_t address, size;
    uint8_t old[8];
};

struct port_access {
    uint16_t port;
    uint8_t size, out;
    uint32_t value;
};

struct machine {
    uc_engine *uc;
    uc_context *pristine;
    uint8_t *memory;
    struct machine *log_to; /* whose log its writes go to */
    struct write writes[LOG_SIZE];
    size_t write_count;
    struct port_access ports[PORTS_SIZE];
    size_t port_count;
    unsigned halts, instructions;
    struct event event;
    /* called when EIP is DISPATCHER_ADDRESS; NULL: nothing is there */
    void (*dispatch)(struct machine *machine, void *context);
    void *dispatch_context;
    bool redirected; /* the dispatcher has set EIP */
    bool overflow;   /* a log was too small: the test's fault */
};

/* (memory): another machine whose memory this one shares, or NULL. Exits on failure. */
void machine_open(struct machine *machine, struct machine *memory);
void machine_close(struct machine *machine);

/* Undoes the writes and forgets logs and events; the processor as machine_open() left it. */
void machine_reset(struct machine *machine);

/* Writes that are undone later but belong to the set-up. */
void machine_poke(struct machine *machine, uint32_t address, const void *bytes, size_t size);

void machine_set(struct machine *machine, const struct registers *registers);
/* The same but EIP, which inside a hook would start the instruction again. */
void machine_set_in_hook(struct machine *machine, const struct registers *registers);
void machine_get(struct machine *machine, struct registers *registers);
void machine_get_system(struct machine *machine, struct system_state *state);

/* Runs from registers->eip until (until); halts are counted and passed. */
void machine_run(struct machine *machine, uint32_t until);

uint32_t load32(const struct machine *machine, uint32_t address);
void store32(uint8_t *at, uint32_t value);

#endif
