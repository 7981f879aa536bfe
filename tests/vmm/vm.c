/* SPDX-License-Identifier: BSD-2-Clause */
#include "vm.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define FLAT_CODE 0x00cffb000000ffffull /* DPL 3 */
#define FLAT_DATA 0x00cff3000000ffffull

/* Pages with one before and one behind that nobody can use: what goes too far is seen. */
static void *pages(size_t size)
{
    uint8_t *p = mmap(NULL, size + 2 * PV_PAGE_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED || mprotect(p + PV_PAGE_SIZE, size, PROT_READ | PROT_WRITE)) {
        perror("memory");
        exit(99);
    }
    return p + PV_PAGE_SIZE;
}

static void free_pages(void *p, size_t size)
{
    munmap((uint8_t *)p - PV_PAGE_SIZE, size + 2 * PV_PAGE_SIZE);
}

void vm_violation(struct vm *vm, const char *format, ...)
{
    va_list ap;

    if (vm->violation[0])
        return;
    va_start(ap, format);
    vsnprintf(vm->violation, sizeof vm->violation, format, ap);
    va_end(ap);
}

/* ---- spaces ---- */

static uint64_t **table_slot(struct vm *vm, unsigned space, gva_t va)
{
    unsigned region = va / PV_NODE_SPAN;

    if (region >= PV_REGIONS)
        return &vm->kernel_l1[region - PV_REGIONS];
    return &vm->space[space].l1[region];
}

static void set_entry(struct vm *vm, unsigned space, gva_t va, uint64_t entry)
{
    uint64_t **table;

    if (space >= PV_SPACES || (va & PV_PAGE_MASK)) {
        vm_violation(vm, "mapping of %#x in space %u", va, space);
        return;
    }
    table = table_slot(vm, space, va);
    if (!*table) {
        if (!entry)
            return;
        *table = calloc(512, sizeof **table);
        vm->space[space].used = true;
    }
    (*table)[va / PV_PAGE_SIZE % 512] = entry;
    if (space == vm->active || va >= PV_KERNEL_BASE)
        vm->processor->changed(vm, va);
}

static void t_map(void *context, unsigned space, gva_t va, gpa_t gpa, int protection)
{
    struct vm *vm = context;
    uint64_t entry = gpa | VM_ENTRY_PRESENT;

    if (gpa & PV_PAGE_MASK)
        vm_violation(vm, "unaligned address %#llx mapped at %#x", (unsigned long long)gpa, va);
    if (gpa >= PV_GPA_LOW) {
        gpa_t offset = gpa - PV_GPA_LOW;

        if (offset >= VM_LOW_SIZE)
            vm_violation(vm, "address %#llx of the VMM mapped at %#x", (unsigned long long)gpa, va);
        /* as seen from the load address: see pv_stub_copy_untranslated() */
        if (offset >= VM_LOW_STUBS - VM_LOW_BASE && va != VM_LOW_BASE + offset)
            entry += VM_STUBS_SIZE;
    } else {
        if (gpa >= vm->vmm->ram_size || vm->vmm->ram_size - gpa < PV_PAGE_SIZE)
            vm_violation(vm, "address %#llx, which is not RAM, mapped at %#x",
                         (unsigned long long)gpa, va);
        if (va >= VM_LOW_BASE)
            vm_violation(vm, "guest memory mapped at %#x, which is the VMM's", va);
    }
    if (vm->violation[0])
        return;
    if (protection & PV_MAP_WRITE)
        entry |= VM_ENTRY_WRITE;
    if (protection & PV_MAP_EXEC)
        entry |= VM_ENTRY_EXEC;
    if (protection & PV_MAP_USER)
        entry |= VM_ENTRY_USER;
    if (protection & PV_MAP_USER_WRITE)
        entry |= VM_ENTRY_USER_WRITE;
    set_entry(vm, space, va, entry);
}

static void t_unmap(void *context, unsigned space, gva_t va)
{
    struct vm *vm = context;

    if (va >= VM_LOW_BASE) {
        vm_violation(vm, "%#x, which is the VMM's, unmapped", va);
        return;
    }
    set_entry(vm, space, va, 0);
}

static void free_tables(struct vm *vm, unsigned space)
{
    if (!vm->space[space].used)
        return;
    for (unsigned r = 0; r < PV_REGIONS; r++) {
        free(vm->space[space].l1[r]);
        vm->space[space].l1[r] = NULL;
    }
    vm->space[space].used = false;
}

static void t_clear(void *context, unsigned space)
{
    struct vm *vm = context;

    if (space >= PV_SPACES) {
        vm_violation(vm, "space %u cleared", space);
        return;
    }
    free_tables(vm, space);
    if (space == vm->active)
        vm->processor->changed_all(vm);
}

static void t_activate(void *context, unsigned space)
{
    struct vm *vm = context;

    if (space >= PV_SPACES) {
        vm_violation(vm, "space %u activated", space);
        return;
    }
    if (space != vm->active) {
        vm->active = space;
        vm->processor->changed_all(vm);
    }
}

uint64_t vm_entry(struct vm *vm, gva_t va)
{
    uint64_t *table;

    if (va >= VM_LOW_BASE) { /* as backends/xen maps it once and for all */
        uint32_t offset = (va - VM_LOW_BASE) & ~PV_PAGE_MASK;

        if (offset >= VM_LOW_SIZE)
            return 0;
        return (PV_GPA_LOW + offset) | VM_ENTRY_PRESENT |
               (offset == 0 ? VM_ENTRY_WRITE : VM_ENTRY_EXEC);
    }
    table = *table_slot(vm, vm->active, va);
    return table ? table[va / PV_PAGE_SIZE % 512] : 0;
}

uint8_t *vm_translate(struct vm *vm, gva_t va, int access)
{
    uint64_t entry = vm_entry(vm, va);
    gpa_t address = (entry & ~(uint64_t)PV_PAGE_MASK) + (va & PV_PAGE_MASK);

    if (!(entry & VM_ENTRY_PRESENT))
        return NULL;
    if (vm->vmm->cpu.user && !(entry & VM_ENTRY_USER))
        return NULL;
    if (access == 1 && !(entry & (vm->vmm->cpu.user ? VM_ENTRY_USER_WRITE : VM_ENTRY_WRITE)))
        return NULL;
    if (access == 2 && !(entry & VM_ENTRY_EXEC))
        return NULL;
    if (address >= PV_GPA_LOW)
        return vm->low + (address - PV_GPA_LOW);
    return vm->ram + address;
}

/* ---- the rest of the back-end ---- */

static int acceptable(uint64_t descriptor)
{
    /* what a hypervisor lets a guest have: none, or present code or data of privilege level 3 */
    return !descriptor || ((descriptor >> 44 & 1) && (descriptor >> 45 & 3) == 3 &&
                           (descriptor >> 47 & 1) && (descriptor >> 40 & 1));
}

static void t_set_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    struct vm *vm = context;

    if (index >= 512 || !acceptable(descriptor))
        vm_violation(vm, "descriptor %u = %#llx", index, (unsigned long long)descriptor);
    else
        vm->gdt[index] = descriptor;
}

static void t_set_local_descriptor(void *context, unsigned index, uint64_t descriptor)
{
    struct vm *vm = context;

    if (index >= PV_LDT_ENTRIES || !acceptable(descriptor))
        vm_violation(vm, "local descriptor %u = %#llx", index, (unsigned long long)descriptor);
    else
        vm->ldt[index] = descriptor;
}

static void t_set_ldt(void *context, unsigned entries)
{
    struct vm *vm = context;

    if (entries > PV_LDT_ENTRIES)
        vm_violation(vm, "LDT of %u entries", entries);
    else
        vm->ldt_entries = entries;
}

static void t_set_debug_register(void *context, unsigned number, uint32_t value)
{
    struct vm *vm = context;

    vm->dr[number & 7] = value;
}

static uint32_t t_debug_status(void *context)
{
    struct vm *vm = context;

    return vm->dr[6];
}

static void t_set_ts(void *context, int on)
{
    struct vm *vm = context;

    vm->ts = on;
}

static void t_segment_load(void *context, unsigned sreg, uint16_t selector)
{
    struct vm *vm = context;
    const uint64_t *table = selector & 4 ? vm->ldt : vm->gdt;
    uint32_t entries = selector & 4 ? vm->ldt_entries : VM_GDT_ENTRIES;
    uint64_t d;

    if (sreg == PV_CS || sreg == PV_SS || sreg > PV_GS) {
        vm_violation(vm, "segment register %u loaded", sreg);
        return;
    }
    if (selector & ~3u) {
        d = selector / 8u < entries ? table[selector / 8] : 0;
        /* data, or readable code */
        if (!(d >> 47 & 1) || !(d >> 44 & 1) || (d >> 40 & 0xa) == 8) {
            vm_violation(vm, "selector %#x loaded into segment register %u", selector, sreg);
            return;
        }
    } else {
        d = 0;
    }
    vm->segment[sreg] = selector;
    vm->segment_descriptor[sreg] = d;
}

static uint16_t t_segment_read(void *context, unsigned sreg)
{
    struct vm *vm = context;

    return vm->segment[sreg];
}

static void t_console(void *context, const char *text, size_t length)
{
    struct vm *vm = context;

    if (length > sizeof vm->console - 1 - vm->console_length)
        length = sizeof vm->console - 1 - vm->console_length;
    memcpy(vm->console + vm->console_length, text, length);
    vm->console_length += length;
    vm->console[vm->console_length] = 0;
}

static uint64_t t_now(void *context)
{
    struct vm *vm = context;

    return vm->now;
}

static uint64_t t_date(void *context)
{
    struct vm *vm = context;

    return vm->now / 1000000000u;
}

static void t_set_deadline(void *context, uint64_t when)
{
    struct vm *vm = context;

    vm->deadline = when;
}

static void t_block(void *context)
{
    struct vm *vm = context;

    if (vm->deadline == PREVIRT_NEVER) {
        vm->idle_forever = true;
        pv_end(vm->vmm, 0);
    } else if (vm->deadline > vm->now) {
        vm->now = vm->deadline;
    }
}

static void t_power(void *context, int status)
{
    struct vm *vm = context;

    vm->powered = true;
    vm->power_status = status;
}

/* ---- life ---- */

static void start(struct vm *vm)
{
    struct pv_vmm *vmm = vm->vmm;
    struct previrt_target target;

    vmm->node = vm->nodes;
    vmm->page = (volatile struct previrt_vcpu_page *)vm->low;
    vmm->ram = vm->ram;
    vmm->low_base = VM_LOW_BASE;
    vmm->low_size = 0u - VM_LOW_BASE;
    vmm->backend = (struct pv_backend){.context = vm,
                                       .map = t_map,
                                       .unmap = t_unmap,
                                       .clear = t_clear,
                                       .activate = t_activate,
                                       .set_descriptor = t_set_descriptor,
                                       .set_local_descriptor = t_set_local_descriptor,
                                       .set_ldt = t_set_ldt,
                                       .set_debug_register = t_set_debug_register,
                                       .debug_status = t_debug_status,
                                       .set_ts = t_set_ts,
                                       .segment_load = t_segment_load,
                                       .segment_read = t_segment_read,
                                       .console = t_console,
                                       .now = t_now,
                                       .date = t_date,
                                       .set_deadline = t_set_deadline,
                                       .block = t_block,
                                       .power = t_power};
    vmm->stubs = (struct pv_stubs){.site = vm->sites,
                                   .stub = vm->stubs,
                                   .limit = VM_SITES,
                                   .address = VM_LOW_STUBS,
                                   .size = VM_STUBS_SIZE,
                                   .memory = vm->low + (VM_LOW_STUBS - VM_LOW_BASE),
                                   .untranslated = vm->low + VM_LOW_SIZE,
                                   .entry = VM_LOW_ENTRY,
                                   .entry_selector = VM_SELECTOR_ENTRY,
                                   .tell_gs = 1};
    previrt_target_vcpu(&target, VM_LOW_BASE);
    vmm->stubs.inline_emit = target.emit;
    vmm->stubs.inline_context = target.emit_context;
    vmm->page->eflags = EFLAGS_FIXED;
    vmm->page->version = PREVIRT_VCPU_VERSION;
    memset(vm->low + (VM_LOW_ENTRY - VM_LOW_BASE), 0xf4, 16); /* not executed */
    vm->gdt[VM_SELECTOR_CODE / 8] = vm->gdt[VM_SELECTOR_ENTRY / 8] = FLAT_CODE;
    vm->gdt[VM_SELECTOR_DATA / 8] = FLAT_DATA;
    vm->deadline = PREVIRT_NEVER;
    vm->step_limit = UINT64_MAX;
    pv_shadow_init(vmm);
    pv_devices_init(vmm);

    pv_start_state(vmm);
    pv_sync_descriptors(vmm);
    t_segment_load(vm, PV_DS, vmm->cpu.kernel_ss);
    t_segment_load(vm, PV_ES, vmm->cpu.kernel_ss);
}

struct vm *vm_new(size_t ram_size, const struct vm_processor *processor)
{
    struct vm *vm = calloc(1, sizeof *vm);

    vm->vmm = aligned_alloc(PREVIRT_COUNTERS_SIZE, (sizeof *vm->vmm + PREVIRT_COUNTERS_SIZE - 1) &
                                                       ~(size_t)(PREVIRT_COUNTERS_SIZE - 1));
    memset(vm->vmm, 0, sizeof *vm->vmm);
    vm->nodes = calloc(PV_NODES, sizeof *vm->nodes);
    vm->ram = pages(ram_size);
    vm->low = pages(VM_LOW_SIZE + VM_STUBS_SIZE);
    vm->gdt = pages(VM_GDT_ENTRIES * sizeof *vm->gdt);
    vm->ldt = pages(PV_LDT_ENTRIES * sizeof *vm->ldt);
    vm->vmm->ram_size = ram_size;
    vm->processor = processor;
    start(vm);
    return vm;
}

void vm_reset(struct vm *vm)
{
    const struct vm_processor *processor = vm->processor;
    struct vm kept = *vm;
    gpa_t ram_size = vm->vmm->ram_size;

    for (unsigned s = 0; s < PV_SPACES; s++)
        free_tables(vm, s);
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++)
        free(vm->kernel_l1[r]);
    processor->changed_all(vm);
    memset(vm->vmm, 0, sizeof *vm->vmm);
    memset(vm->ram, 0, ram_size);
    memset(vm->low, 0, VM_LOW_SIZE + VM_STUBS_SIZE);
    memset(vm->gdt, 0, VM_GDT_ENTRIES * sizeof *vm->gdt);
    memset(vm->ldt, 0, PV_LDT_ENTRIES * sizeof *vm->ldt);
    memset(vm, 0, sizeof *vm);
    vm->vmm = kept.vmm;
    vm->nodes = kept.nodes;
    vm->ram = kept.ram;
    vm->low = kept.low;
    vm->gdt = kept.gdt;
    vm->ldt = kept.ldt;
    vm->processor = processor;
    vm->processor_state = kept.processor_state;
    vm->vmm->ram_size = ram_size;
    start(vm);
}

void vm_free(struct vm *vm)
{
    vm->processor->close(vm);
    for (unsigned s = 0; s < PV_SPACES; s++)
        free_tables(vm, s);
    for (unsigned r = 0; r < PV_KERNEL_REGIONS; r++)
        free(vm->kernel_l1[r]);
    free_pages(vm->ram, vm->vmm->ram_size);
    free_pages(vm->low, VM_LOW_SIZE + VM_STUBS_SIZE);
    free_pages(vm->gdt, VM_GDT_ENTRIES * sizeof *vm->gdt);
    free_pages(vm->ldt, PV_LDT_ENTRIES * sizeof *vm->ldt);
    free(vm->nodes);
    free(vm->vmm);
    free(vm);
}

/* ---- running ---- */

/* A page fault that the VMM has dealt with, without telling the guest, must not come again. */
static void page_fault(struct vm *vm, const struct vm_exit *e)
{
    struct pv_vmm *vmm = vm->vmm;
    const uint64_t injected = vmm->count.injected;
    int access = e->error & PFE_W ? 1 : e->error & PFE_I ? 2 : 0;

    pv_trap(vmm, VECTOR_PF, e->error, e->cr2);
    if (!vmm->dead && vmm->count.injected == injected && !vm_translate(vm, e->cr2, access))
        vm_violation(vm, "the page fault at %#x, error %#x, was dealt with and comes again", e->cr2,
                     e->error);
}

static void take_exit(struct vm *vm, const struct vm_exit *e)
{
    struct pv_cpu *cpu = &vm->vmm->cpu;
    uint32_t number;

    switch (e->kind) {
    case VM_EXIT_OPERATION:
        if (pv_read(vm->vmm, cpu->gpr[PV_ESP], &number, sizeof number, NULL)) {
            /* a guest that jumps there by itself */
            pv_die(vm->vmm, "there is no number on the stack of a stub: %#x",
                   (uint32_t)cpu->gpr[PV_ESP]);
            return;
        }
        cpu->gpr[PV_ESP] = (uint32_t)(cpu->gpr[PV_ESP] + sizeof number);
        pv_stub_operation(vm->vmm, number);
        break;
    case VM_EXIT_TRAP:
        if (e->vector == VECTOR_DB && (cpu->eflags & EFLAGS_TF))
            vm->dr[6] |= DR6_BS;
        pv_interrupted(vm->vmm, e->cs, e->ss);
        if (e->vector == VECTOR_PF && !e->software)
            page_fault(vm, e);
        else if (!e->software || e->vector == 0x80 || e->vector == VECTOR_BP ||
                 e->vector == VECTOR_OF) {
            pv_trap(vm->vmm, e->vector, e->error, e->cr2);
        } else { /* as with a hypervisor that keeps the other vectors from its guests */
            cpu->eip = (gva_t)(cpu->eip - 2);
            pv_trap(vm->vmm, VECTOR_GP, e->vector * 8 + 2, 0);
        }
        break;
    case VM_EXIT_STEPS: /* as an event of the hypervisor */
        pv_interrupted(vm->vmm, e->cs, e->ss);
        break;
    case VM_EXIT_STOP:
        break;
    }
}

enum vm_end vm_run(struct vm *vm)
{
    struct pv_vmm *vmm = vm->vmm;

    for (;;) {
        struct vm_exit e = {0};

        if (vm->stop_on_halt && vmm->cpu.halted)
            return VM_END_HALT;
        if (!vmm->dead)
            pv_deliver(vmm);
        if (vmm->dead || vm->powered || vm->violation[0])
            return VM_END_POWER;
        t_activate(vm, vmm->current);
        if (vm->before_entry)
            vm->before_entry(vm);
        if ((gva_t)vmm->cpu.eip - vm->stop_from < vm->stop_to - vm->stop_from)
            return VM_END_STOP;
        if (vm->steps >= vm->step_limit)
            return VM_END_STEPS;
        vm->processor->run(vm, &e);
        take_exit(vm, &e);
        if (e.kind == VM_EXIT_STOP)
            return VM_END_STOP;
        if (e.kind == VM_EXIT_STEPS)
            return VM_END_STEPS;
    }
}

/* ---- sites ---- */

gva_t vm_site(struct vm *vm, gva_t gva, gpa_t gpa, const void *bytes, size_t size, unsigned room,
              int flags_dead)
{
    struct pv_stubs *stubs = &vm->vmm->stubs;
    struct previrt_ia32_insn insn;
    struct previrt_site site = {0};
    struct previrt_stub_request q = {.size = sizeof q};
    uint8_t *at = vm->ram + gpa, *code = stubs->memory + vm->stub_bytes;

    if (previrt_ia32_decode_site(bytes, size, 1, &insn) || insn.length != size)
        return 0;
    if (room < insn.length)
        room = insn.length;
    site.address = gva;
    site.op = insn.op;
    site.flags = flags_dead ? PREVIRT_SITE_FLAGS_DEAD : 0;
    q.site = &site;
    q.insn = &insn;
    q.bytes = bytes;
    q.stub_address = stubs->address + vm->stub_bytes;
    q.resume = gva + room;
    q.inline_allowed = insn.op != PREVIRT_IA32_MOV_TO_DR;
    q.room = room;
    q.code = code;
    q.capacity = VM_STUBS_SIZE - vm->stub_bytes;
    q.transfer = PREVIRT_TRANSFER_CALL;
    if (pv_stub_emit(vm->vmm, &q))
        return 0;
    memset(at, 0x90, room);
    if (q.transfer == PREVIRT_TRANSFER_INLINE) {
        memcpy(at, code, q.length);
        return gva + room;
    }
    if (room < 5)
        return 0;
    at[0] = 0xe9;
    vm_put32(vm, gpa + 1, q.stub_address - (gva + 5));
    vm->stub_bytes += q.length;
    pv_stub_copy_untranslated(stubs);
    return gva + room;
}

/* ---- guest RAM ---- */

uint32_t vm_get32(struct vm *vm, gpa_t gpa)
{
    uint32_t value;

    memcpy(&value, vm->ram + gpa, sizeof value);
    return value;
}

void vm_put(struct vm *vm, gpa_t gpa, const void *bytes, size_t size)
{
    memcpy(vm->ram + gpa, bytes, size);
}

void vm_put32(struct vm *vm, gpa_t gpa, uint32_t value)
{
    vm_put(vm, gpa, &value, sizeof value);
}

void vm_put64(struct vm *vm, gpa_t gpa, uint64_t value)
{
    vm_put(vm, gpa, &value, sizeof value);
}
