/* SPDX-License-Identifier: BSD-2-Clause */
/* Phase 3 inside the VMM: the loaded guest's sites become inlined code and stubs. */
#include <elf.h>
#include <previrt/rewrite.h>
#include "vmm.h"

#define REGIONS        16
#define REFUSALS_SHOWN 20
#define OPCODE_INT3    0xcc

void pv_target(struct pv_vmm *vmm, struct previrt_target *target)
{
    struct pv_stubs *stubs = &vmm->stubs;

    previrt_target_vcpu(target, vmm->low_base);
    stubs->inline_emit = target->emit;
    stubs->inline_context = target->emit_context;
    target->emit = pv_stub_emit;
    target->emit_context = vmm;
    for (unsigned op = PREVIRT_IA32_MOV_FROM_SEG; op <= PREVIRT_IA32_POP_SEG; op++)
        target->action[op] = PREVIRT_ACTION_INLINE;
    if (vmm->stubs.native_tsc)
        target->action[PREVIRT_IA32_RDTSC] = PREVIRT_ACTION_INLINE;
    target->name = "vmm";
}

void pv_print_refusals(struct pv_vmm *vmm, const struct previrt_plan *plan)
{
    struct previrt_refusal r;

    for (size_t i = 0; i < REFUSALS_SHOWN && !previrt_plan_refusal(plan, i, &r); i++)
        pv_printf(vmm, "previrt: site %#llx (%s): %s\n", (unsigned long long)r.address,
                  previrt_ia32_op_info(r.op) ? previrt_ia32_op_info(r.op)->name : "?",
                  previrt_strerror(r.status));
}

int pv_rewrite(struct pv_vmm *vmm, const struct pv_boot *boot, void *plan_memory, size_t plan_size)
{
    const Elf32_Ehdr *eh = boot->image;
    const Elf32_Phdr *ph = (const void *)((const uint8_t *)boot->image + eh->e_phoff);
    struct previrt_region regions[REGIONS];
    struct previrt_memory memory = {regions, 0};
    struct pv_stubs *stubs = &vmm->stubs;
    struct previrt_target target;
    struct previrt_plan *plan = NULL;
    struct previrt_plan_stats stats = {.size = sizeof stats};
    const uint8_t *notes = NULL;
    size_t notes_size = 0;
    uint64_t notes_address = 0;
    gva_t from = ~0u, to = 0;
    int status;

    for (unsigned i = 0; i < eh->e_phnum; i++, ph++) {
        if (ph->p_type == PT_LOAD && memory.count < REGIONS && ph->p_filesz) {
            struct previrt_region *r = &regions[memory.count++];

            r->address = ph->p_vaddr;
            r->size = ph->p_filesz;
            r->write = pv_gpa(vmm, ph->p_paddr, ph->p_filesz);
            r->read = r->write;
            /* Linux puts its entry text into a segment that is not marked executable */
            r->flags = PREVIRT_REGION_EXECUTE;
            if (ph->p_vaddr < from)
                from = ph->p_vaddr;
            if (ph->p_vaddr + ph->p_memsz > to)
                to = ph->p_vaddr + ph->p_memsz;
        }
        if (ph->p_type == PT_NOTE) {
            notes = pv_gpa(vmm, ph->p_paddr, ph->p_filesz);
            notes_size = ph->p_filesz;
            notes_address = ph->p_vaddr;
        }
    }
    if (!notes) {
        pv_refuse(vmm, PV_POWER_REFUSED,
                  "the guest has no patch-up table: it was not built through previrt");
        return -1;
    }
    pv_target(vmm, &target);
    stubs->count = 0;
    /* a guest that jumps where no stub is gets a #BP there */
    __builtin_memset(stubs->memory, OPCODE_INT3, stubs->size);
    target.stub_address = stubs->address;
    target.stub_size = stubs->size;
    target.stub_memory = stubs->memory;
    status = previrt_plan(&memory, notes, notes_size, notes_address, &target, plan_memory,
                          plan_size, &plan);
    if (status == PREVIRT_E_REFUSED)
        pv_print_refusals(vmm, plan);
    if (status == PREVIRT_OK)
        status = previrt_commit(plan, NULL, 0);
    if (status) {
        pv_refuse(vmm, status == PREVIRT_E_REFUSED ? PV_POWER_SITES : PV_POWER_REFUSED,
                  "the patch-up table is refused: %s", previrt_strerror(status));
        return -1;
    }
    previrt_plan_stats(plan, &stats);
    if (!stats.sites) {
        pv_refuse(vmm, PV_POWER_REFUSED,
                  "the guest has no patch-up table: it was not built through previrt");
        return -1;
    }
    pv_stub_copy_untranslated(stubs);
    pv_code_init(vmm, from, to, stats.stub_bytes, plan_memory, plan_size);
    pv_printf(vmm, "previrt: %u sites: %u inlined, %u stubs (%u bytes), %u kept, %u dormant\n",
              stats.sites, stats.inlined, stats.stubbed, stats.stub_bytes, stats.kept,
              stats.dormant);
    return 0;
}
