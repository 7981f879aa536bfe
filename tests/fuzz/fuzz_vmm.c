/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile guest in the in-place VMM: the input writes page tables, descriptor tables, code of the
 * kernel's (rewritten and not) and of user code, registers; lets it run; interrupts it. Guest code
 * is executed by tests/vmm/cpu_small.c.
 *
 * Whatever the guest does: what is mapped is its own RAM and the VMM's low pages, of which user
 * code has none; after a flush it is what the guest's tables allow; a page fault that was dealt
 * with does not come again; the VMM reaches nothing outside the guest's RAM (sanitizers, pages
 * around it that cannot be used) and comes back (libFuzzer's timeout); no frame names a stub. The
 * guest goes on or is ended.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../vmm/guest.h"

#define STEPS_MAX   200u /* guest instructions of one run */
#define RUNS_MAX    12
#define CODE_MAX    24
#define MEMORY_SIZE (1u << 20) /* for the tables of modules */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (!in->left)
        return 0;
    in->left--;
    return *in->data++;
}

static uint32_t take16(struct input *in)
{
    uint32_t low = take(in);

    return low | (uint32_t)take(in) << 8;
}

static uint64_t take64(struct input *in)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < 8; i++)
        value |= (uint64_t)take(in) << 8 * i;
    return value;
}

/* Addresses that mean something. */
static gva_t take_address(struct input *in)
{
    static const gva_t places[] = {
        GUEST_KERNEL + GUEST_CODE,
        GUEST_KERNEL + GUEST_DATA,
        GUEST_KERNEL + GUEST_GDT,
        GUEST_KERNEL + GUEST_IDT,
        GUEST_KERNEL + GUEST_TSS,
        GUEST_KERNEL + GUEST_TABLES,
        GUEST_KERNEL + GUEST_STACK,
        GUEST_USER_CODE,
        GUEST_USER_DATA,
        GUEST_USER_STACK_TOP,
        GUEST_USER_KERNEL,
        VM_LOW_BASE,
        VM_LOW_ENTRY,
        VM_LOW_STUBS,
        0xfff00000,
        GUEST_KERNEL + GUEST_RAM,
        GUEST_CODE,
        0x80000000,
        GUEST_KERNEL + GUEST_SPARE,
        0,
    };
    const unsigned n = sizeof places / sizeof *places, which = take(in);

    if (which >= n)
        return (gva_t)take64(in);
    return places[which] + (gva_t)(int8_t)take(in);
}

static uint64_t take_entry(struct input *in, bool pae)
{
    uint8_t frame = take(in);
    uint64_t flags = take16(in);
    uint64_t gpa = (uint64_t)frame * PV_PAGE_SIZE;

    if (frame >= 0xf0)
        gpa = frame == 0xf0 ? GUEST_RAM : frame == 0xf1 ? 0xfffff000u : take64(in);
    if (flags & 0x8000)
        gpa |= PTE_NX;
    gpa |= flags & 0x7fff & PV_PAGE_MASK;
    return pae ? gpa : (uint32_t)gpa;
}

static void put_entry(struct vm *vm, gpa_t table, unsigned index, uint64_t entry, bool pae)
{
    if (pae)
        vm_put64(vm, table + index % 512 * 8, entry);
    else
        vm_put32(vm, table + index % 1024 * 4, (uint32_t)entry);
}

/* Handlers: drop the error code, skip a byte of what faulted, iret. */
static void put_handlers(struct vm *vm)
{
    static const uint8_t code[] = {0x83, 0xc4, 0x04, 0x83, 0x04, 0x24, 0x01, 0xcf};

    for (unsigned v = 0; v < 256; v++) {
        bool error = v == 8 || (v >= 10 && v <= 14) || v == 17;
        bool fault = v < 20 && v != 1 && v != 3 && v != 4;
        unsigned skip = error ? 0 : fault ? 3 : 7;

        vm_put(vm, GUEST_HANDLERS + v * 16, code + skip, sizeof code - skip);
    }
    vm->stop_from = vm->stop_to = 0;
    /* behind code: jmp to itself */
    for (unsigned i = 0; i < PV_PAGE_SIZE; i++)
        vm->ram[GUEST_CODE + i] = vm->ram[GUEST_USER + i] = i & 1 ? 0xfe : 0xeb;
}

static void put_site(struct vm *vm, struct input *in, gpa_t *at)
{
    uint8_t bytes[PREVIRT_LENGTH_MAX + 1];
    unsigned n = take(in) & 15, room;
    struct previrt_ia32_insn insn;

    for (unsigned i = 0; i < n; i++)
        bytes[i] = take(in);
    room = 5 + (take(in) & 7);
    if (!n || previrt_ia32_decode_site(bytes, n, 1, &insn) || *at > GUEST_CODE + 0xf00 ||
        vm->vmm->stubs.count > VM_SITES - 2 || vm->stub_bytes > VM_STUBS_SIZE - 256)
        return;
    if (vm_site(vm, guest_va(vm, (uint32_t)*at), *at, bytes, insn.length, room, take(in) & 1))
        *at += room > insn.length ? room : insn.length;
}

static void put_code(struct vm *vm, struct input *in, gpa_t *at, gpa_t end)
{
    for (unsigned n = take(in) % CODE_MAX; n && *at < end; n--)
        vm->ram[(*at)++] = take(in);
}

static void broken(struct vm *vm)
{
    fprintf(stderr, "%s\n%s\n", vm->violation, vm->console);
    abort();
}

static void run(struct vm *vm, unsigned steps)
{
    vm->step_limit = vm->steps + steps;
    vm->processor->changed_all(vm);
    vm_run(vm);
    if (vm->violation[0])
        broken(vm);
}

static void command(struct vm *vm, struct input *in, gpa_t *kernel, gpa_t *user)
{
    struct pv_vmm *vmm = vm->vmm;
    struct pv_cpu *cpu = &vmm->cpu;
    const bool pae = cpu->cr4 & CR4_PAE;
    unsigned index;

    switch (take(in) % 16) {
    case 0:
    case 1:
        index = take(in);
        put_entry(vm, GUEST_TABLES + (index & 0x80 ? PV_PAGE_SIZE : 0), take(in),
                  take_entry(in, pae), pae);
        break;
    case 2:
        index = take16(in);
        put_entry(vm, GUEST_DIRECTORY + (pae ? (index >> 9 & 3) * PV_PAGE_SIZE : 0), index,
                  take_entry(in, pae), pae);
        break;
    case 3:
        if (pae)
            vm_put64(vm, GUEST_POINTERS + (take(in) & 3) * 8, take_entry(in, true));
        break;
    case 4:
        index = take(in) & 15;
        vm_put64(vm, GUEST_GDT + index * 8, take64(in));
        break;
    case 5:
        index = take(in);
        vm_put64(vm, GUEST_IDT + index * 8, take64(in));
        break;
    case 6:
    case 7:
        put_site(vm, in, kernel);
        break;
    case 8:
        put_code(vm, in, kernel, GUEST_CODE + 0xf00);
        break;
    case 9:
        put_code(vm, in, user, GUEST_USER + 0xf00);
        break;
    case 10:
        index = take(in) & 7;
        cpu->gpr[index] = take_address(in);
        break;
    case 11:
        vm_put32(vm, take16(in) * 8 % (GUEST_RAM - 4), take_address(in));
        break;
    case 12:
        vm->now += (uint64_t)take16(in) * 1000;
        pv_time(vmm);
        break;
    case 13:
        previrt_port_out(&vmm->pc.bus, 0x20 + (take(in) & 1), 1, take(in));
        break;
    default:
        run(vm, 1 + take(in));
        break;
    }
}

static void start(struct vm *vm, struct input *in, void *memory)
{
    static const uint8_t pic[][2] = {{0x20, 0x11}, {0x21, 0x20}, {0x21, 4},    {0x21, 3},
                                     {0x21, 0xfe}, {0x43, 0x34}, {0x40, 0xff}, {0x40, 0}};
    unsigned how = take(in);
    struct pv_vmm *vmm = vm->vmm;

    guest_start(vm, how % GUEST_MODES);
    put_handlers(vm);
    for (unsigned i = 0; i < sizeof pic / sizeof *pic; i++)
        previrt_port_out(&vmm->pc.bus, pic[i][0], 1, pic[i][1]);
    if ((how & 0x18) == 0x18) {
        /* all contiguous pages around code are looked at: here these are few */
        for (uint32_t gpa = GUEST_USER; gpa < GUEST_RAM && vmm->cpu.cr0 & CR0_PG;
             gpa += PV_PAGE_SIZE)
            guest_set_entry(vm, GUEST_KERNEL + gpa, 0);
        pv_shadow_flush_all(vmm);
        pv_code_init(vmm, GUEST_KERNEL + GUEST_HANDLERS, GUEST_KERNEL + GUEST_CODE, 0, memory,
                     MEMORY_SIZE);
    }
    if (how & 0x20)
        pv_write_cr(vmm, 4, vmm->cpu.cr4 | CR4_PGE | CR4_PSE);
    if (how & 0x40)
        pv_set_if(vmm->page, 1);
    if ((how & 0x80) && (vmm->cpu.cr0 & CR0_PG))
        guest_to_user(vm, GUEST_USER_CODE, EFLAGS_IF);
    vm->stop_on_halt = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vm *vm;
    static uint8_t memory[MEMORY_SIZE] __attribute__((aligned(16)));
    struct input in = {data, size};
    gpa_t kernel = GUEST_CODE, user = GUEST_USER;

    if (!vm)
        vm = vm_new(GUEST_RAM, &vm_small);
    else
        vm_reset(vm);
    start(vm, &in, memory);
    while (in.left && !vm->vmm->dead && vm->steps < RUNS_MAX * STEPS_MAX)
        command(vm, &in, &kernel, &user);
    if (!vm->vmm->dead)
        run(vm, STEPS_MAX);
    guest_check(vm, false);
    if (!vm->violation[0] && !vm->vmm->dead && (vm->vmm->cpu.cr0 & CR0_PG))
        guest_check(vm, true);
    if (vm->violation[0])
        broken(vm);
    return 0;
}
