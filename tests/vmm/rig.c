/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *form_name(const struct previrt_ia32_form_info *form)
{
    static const char *const names[PREVIRT_IA32_FORM_LIMIT] = {
#define PREVIRT_IA32_FORM(number, OP, ID, mandatory, opcode, length, layout, extension, width)     \
    [number] = #ID,
#include <previrt/ia32_ops.def>
    };
    return names[form->form];
}

/* ---- ports: the same values as machine.c's ---- */

static uint32_t port_read(void *context, uint32_t offset, unsigned width)
{
    struct test *test = context;
    uint32_t value = (offset * 2654435761u) ^ (uint32_t)(test->port_count * 0x9e3779b9u);

    value &= width == 1 ? 0xff : width == 2 ? 0xffff : 0xffffffff;
    if (test->port_count < PORTS_SIZE)
        test->ports[test->port_count++] = (struct access){(uint16_t)offset, width, 0, value};
    return value;
}

static void port_write(void *context, uint32_t offset, unsigned width, uint32_t value)
{
    struct test *test = context;

    if (test->port_count < PORTS_SIZE)
        test->ports[test->port_count++] = (struct access){(uint16_t)offset, width, 1, value};
}

static void replace_devices(struct test *test)
{
    static const struct previrt_range_ops ops = {.read = port_read, .write = port_write};
    static const struct previrt_device_ops none;
    struct previrt_bus *bus = &test->vm->vmm->pc.bus;
    struct previrt_host host = bus->host;

    previrt_bus_init(bus, &host);
    test->device = (struct previrt_device){.ops = &none};
    test->range = (struct previrt_range){.length = 0x10000,
                                         .ops = &ops,
                                         .context = test,
                                         .space = PREVIRT_SPACE_PORT,
                                         .widths = 1 | 2 | 4};
    if (previrt_bus_attach(bus, &test->device, &test->range, 1)) {
        fprintf(stderr, "the ports are not free\n");
        exit(99);
    }
}

/* ---- machines ---- */

void rig_open(struct test *test)
{
    struct pv_vmm *vmm;

    machine_open(&test->original, NULL);
    test->vm = vm_new(MEMORY_SIZE, &vm_unicorn);
    vmm = test->vm->vmm;
    memset(&test->pokes, 0, sizeof test->pokes);
    test->pokes.memory = test->vm->ram;
    test->pokes.log_to = &test->pokes;
    /* the tables that machine_open() has built, but for the TSS it has marked busy */
    memcpy(test->vm->ram + GDT_ADDRESS, test->original.memory + GDT_ADDRESS, 0x2000);
    for (unsigned vector = 0; vector < 256; vector++) {
        uint32_t handler = HANDLERS + vector * HANDLER_SPACING;

        vm_put32(test->vm, IDT_ADDRESS + vector * 8,
                 (uint32_t)SELECTOR_CODE << 16 | (handler & 0xffff));
        vm_put32(test->vm, IDT_ADDRESS + vector * 8 + 4, (handler & 0xffff0000) | 0x8e00);
    }
    test->vm->stop_from = HANDLERS;
    test->vm->stop_to = HANDLERS + STOP_SIZE;
    test->vm->stop_on_halt = true;
    vmm->cpu.gdt_base = GDT_ADDRESS;
    vmm->cpu.gdt_limit = SELECTOR_LIMIT;
    pv_sync_descriptors(vmm);
    memset(test->vm->ram, 0, 0x10000); /* what vm_new() has put there */
    replace_devices(test);
    {
        uc_x86_mmr idtr = {.base = IDT_ADDRESS, .limit = IDT_LIMIT};

        uc_reg_write(test->original.uc, UC_X86_REG_IDTR, &idtr);
        uc_context_save(test->original.uc, test->original.pristine);
    }
    test->next_site = CODE_ADDRESS;
}

void rig_close(struct test *test)
{
    vm_free(test->vm);
    machine_close(&test->original);
}

void rig_reset(struct test *test)
{
    struct pv_vmm *vmm = test->vm->vmm;
    struct pv_cpu *cpu = &vmm->cpu;
    struct vm *vm = test->vm;
    static const uint16_t selectors[6] = {SELECTOR_DATA, SELECTOR_CODE, SELECTOR_DATA,
                                          SELECTOR_DATA, SELECTOR_FS,   SELECTOR_GS};
    struct system_state state;

    while (test->pokes.write_count) {
        const struct write *write = &test->pokes.writes[--test->pokes.write_count];

        memcpy(vm->ram + write->address, write->old, write->size);
    }
    machine_get_system(&test->original, &state);
    cpu->gdt_base = GDT_ADDRESS;
    cpu->gdt_limit = SELECTOR_LIMIT;
    cpu->idt_base = IDT_ADDRESS;
    cpu->idt_limit = IDT_LIMIT;
    vm_put(vm, GDT_ADDRESS, test->original.memory + GDT_ADDRESS, SELECTOR_LIMIT + 1);
    pv_sync_descriptors(vmm);
    for (unsigned i = 0; i < 6; i++) {
        if (i != PV_CS && i != PV_SS)
            vmm->backend.segment_load(vmm->backend.context, i, selectors[i]);
        vmm->page->segment[i] = selectors[i];
    }
    cpu->kernel_cs = SELECTOR_CODE;
    cpu->kernel_ss = SELECTOR_DATA;
    cpu->user = cpu->halted = cpu->shadow = cpu->iopl = 0;
    cpu->ldt = SELECTOR_LDT;
    cpu->ldt_base = LDT_ADDRESS;
    cpu->ldt_limit = 0xff;
    pv_sync_ldt(vmm);
    cpu->tr = SELECTOR_TSS;
    cpu->tss_base = TSS_ADDRESS;
    cpu->tss_limit = 0x67;
    cpu->cr0 = state.cr[0];
    cpu->cr2 = cpu->cr3 = 0;
    cpu->cr4 = state.cr[4];
    for (unsigned i = 0; i < 5; i++)
        vmm->page->cr[i] = state.cr[i];
    for (unsigned i = 0; i < 8; i++)
        cpu->dr[i] = state.dr[i];
    vmm->page->ldtr = cpu->ldt;
    vmm->page->tr = cpu->tr;
    for (unsigned i = 0; i < 3; i++)
        cpu->msr_sysenter[i] = state.sysenter[i];
    test->port_count = 0;
    vm->steps = 0;
    vm->step_limit = 100000;
}

bool rig_prepare(struct test *test)
{
    struct vm *vm = test->vm;
    unsigned trap = previrt_ia32_op_info(test->form->op)->trap, room = test->sample.length;
    uint8_t *at;
    uint32_t size = test->sample.length;

    test->site = test->next_site;
    test->next_site += SPACING;
    test->dead = random_below(&test->random, 2);
    test->trap = (trap == PREVIRT_TRAP_PRIVILEGED || trap == PREVIRT_TRAP_IOPL) &&
                 test->sample.insn.op != PREVIRT_IA32_STI_HLT &&
                 test->sample.insn.op != PREVIRT_IA32_STI_MWAIT &&
                 test->sample.insn.op != PREVIRT_IA32_STI_SYSEXIT && random_below(&test->random, 2);
    memset(test->original.memory + test->site, 0x90, SPACING);
    memcpy(test->original.memory + test->site, test->sample.bytes, size);
    at = vm->ram + test->site;
    memset(at, 0x90, SPACING);
    if (test->trap) {
        memcpy(at, test->sample.bytes, size);
        test->resume = test->site + size;
    } else {
        room = size + test->sample.pad;
        if (room < 5)
            room = 5;
        test->resume =
            vm_site(vm, test->site, test->site, test->sample.bytes, size, room, test->dead);
        if (!test->resume)
            return false;
    }
    /* jmp DONE */
    vm->ram[test->resume] = 0xe9;
    vm_put32(vm, test->resume + 1, DONE - (test->resume + 5));
    return true;
}

/* CPUID says so: #UD (policy "mask"), or #GP for RDPMC. */
int rig_refused(unsigned op)
{
    switch (op) {
    case PREVIRT_IA32_SYSCALL:
    case PREVIRT_IA32_SYSRET:
    case PREVIRT_IA32_SYSENTER:
    case PREVIRT_IA32_SYSEXIT:
    case PREVIRT_IA32_STI_SYSEXIT:
    case PREVIRT_IA32_XGETBV:
    case PREVIRT_IA32_XSETBV:
        return VECTOR_UD;
    case PREVIRT_IA32_STI_MWAIT:
        return -1;
    case PREVIRT_IA32_RDPMC:
        return VECTOR_GP;
    }
    return previrt_ia32_op_info(op)->policy == PREVIRT_POLICY_MASK ? VECTOR_UD : -1;
}

void rig_failed(struct test *test, const char *what, uint64_t expected, uint64_t found,
                const char *where)
{
    if (test->failures++ >= 5)
        return;
    printf("  FAILED %s: %s: processor 0x%" PRIx64 ", VMM 0x%" PRIx64 " (seed 0x%" PRIx64
           ", form %u, state %u, %s%s):",
           form_name(test->form), what, expected, found, test->seed, test->form->form, test->states,
           test->trap ? "trap" : "site", where);
    for (unsigned i = 0; i < test->sample.length; i++)
        printf(" %02x", test->sample.bytes[i]);
    printf("\n");
}
