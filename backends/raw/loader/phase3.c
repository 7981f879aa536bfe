/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Phase 3 in memory: the patch-up table of the loaded guest is found, checked, planned and
 * committed; the stubs and the monitor take low memory, which is reserved in the guest's memory
 * map.
 */
#include "loader.h"
#include "../monitor/monitor.h"

#include <previrt/ia32.h>
#include <previrt/rewrite.h>

#include <string.h>

#define PAGE_SIZE      4096u
#define REFUSALS_SHOWN 20u
#define CPUID_NX       (1 * 32 + 20) /* not an operation's feature, so not in the catalogue */

/* Low memory, from PV_LOW_START: monitor, stub area (page-aligned), the monitor's stub table; the
 * boot stack ends it. */
#define STUBS_LIMIT (PV_LOW_END - PV_STACK_SIZE)

#define CALL_OPCODE 0xe8
#define JUMP_OPCODE 0xe9
#define RET_OPCODE  0xc3
#define JUMP_SIZE   5u

/* start.S */
extern const uint8_t pv_monitor_blob[] __attribute__((visibility("hidden")));
extern const uint8_t pv_monitor_blob_end[] __attribute__((visibility("hidden")));

static const char phase3_owner[] = "phase 3";
static struct pv_monitor *const monitor = (struct pv_monitor *)PV_LOW_START;

/* ---- the target: native, with the monitor's part in three operations ---- */

struct emitter {
    previrt_emit_fn emit;
    void *context;
    uint32_t monitor_address;
};

static void put_transfer(uint8_t *code, uint8_t opcode, uint32_t from, uint32_t to)
{
    uint32_t distance = to - (from + JUMP_SIZE);

    code[0] = opcode;
    memcpy(code + 1, &distance, sizeof(distance));
}

/* Puts `call (to)` behind the operation: before the stub's ret or final jump. */
static int append_call(struct previrt_stub_request *request, uint32_t to)
{
    uint8_t *end = request->code + request->length;
    uint32_t address = request->stub_address + request->length;

    if (request->length + JUMP_SIZE > request->capacity)
        return PREVIRT_E_STUBS;
    if (request->transfer == PREVIRT_TRANSFER_CALL && request->length && end[-1] == RET_OPCODE) {
        /* call; ret is one jump */
        put_transfer(end - 1, JUMP_OPCODE, address - 1, to);
        request->length += JUMP_SIZE - 1;
        return PREVIRT_OK;
    }
    if (request->transfer == PREVIRT_TRANSFER_JUMP && request->length >= JUMP_SIZE &&
        end[-(int)JUMP_SIZE] == JUMP_OPCODE) {
        put_transfer(end - JUMP_SIZE, CALL_OPCODE, address - JUMP_SIZE, to);
        put_transfer(end, JUMP_OPCODE, address, request->resume);
        request->length += JUMP_SIZE;
        return PREVIRT_OK;
    }
    return PREVIRT_E_OPERATION;
}

/*
 * The operation, once with the shadow loaded, for the sake of its faults, which the monitor then
 * sees; and once with the guest's own table loaded and interrupts off.
 */
static int emit_sidt(const struct emitter *emitter, struct previrt_stub_request *request)
{
    uint32_t skip;
    int status = emitter->emit(emitter->context, request);

    if (status != PREVIRT_OK)
        return status;
    if (request->transfer != PREVIRT_TRANSFER_JUMP || request->length < JUMP_SIZE)
        return PREVIRT_E_OPERATION;
    /* The call takes the place of the jump back. */
    skip = request->length;
    put_transfer(request->code + skip - JUMP_SIZE, CALL_OPCODE,
                 request->stub_address + skip - JUMP_SIZE,
                 emitter->monitor_address + monitor->at_sidt_begin);
    request->code += skip;
    request->capacity -= skip;
    request->stub_address += skip;
    status = emitter->emit(emitter->context, request);
    if (status == PREVIRT_OK)
        status = append_call(request, emitter->monitor_address + monitor->at_sidt_end);
    request->code -= skip;
    request->capacity += skip;
    request->stub_address -= skip;
    request->length += skip;
    return status;
}

static int emit(void *context, struct previrt_stub_request *request)
{
    const struct emitter *emitter = context;
    uint32_t base = emitter->monitor_address;
    int status;

    switch (request->insn->op) {
    case PREVIRT_IA32_CPUID:
        if (request->capacity < JUMP_SIZE)
            return PREVIRT_E_STUBS;
        put_transfer(request->code, JUMP_OPCODE, request->stub_address, base + monitor->at_cpuid);
        request->length = JUMP_SIZE;
        request->transfer = PREVIRT_TRANSFER_CALL;
        request->shared = 1;
        return PREVIRT_OK;
    case PREVIRT_IA32_LIDT:
        status = emitter->emit(emitter->context, request);
        return status == PREVIRT_OK ? append_call(request, base + monitor->at_lidt) : status;
    case PREVIRT_IA32_SIDT:
        return emit_sidt(emitter, request);
    default:
        status = emitter->emit(emitter->context, request);
        /* A stub that is jumped to must know its site, or a fault in it could not be reported
         * there. */
        if (status == PREVIRT_OK && request->transfer == PREVIRT_TRANSFER_JUMP)
            request->shared = 0;
        return status;
    }
}

/* ---- the monitor ---- */

static void mask_feature(unsigned feature)
{
    static const struct {
        uint8_t word, mask;
    } words[] = {
        /* enum previrt_cpuid_feature explains the words. */
        {0, PV_MASK_1_EDX},         {1, PV_MASK_80000001_EDX}, {4, PV_MASK_1_ECX},
        {6, PV_MASK_80000001_ECX},  {9, PV_MASK_7_EBX},        {10, PV_MASK_D1_EAX},
        {13, PV_MASK_80000008_EBX}, {16, PV_MASK_7_ECX},       {18, PV_MASK_7_EDX},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (words[i].word == feature / 32)
            monitor->mask[words[i].mask] &= ~(1u << feature % 32);
    }
}

static void install_monitor(const struct pv_guest *guest)
{
    memcpy(monitor, pv_monitor_blob, pv_monitor_blob_end - pv_monitor_blob);
    if (monitor->magic != PV_MONITOR_MAGIC)
        pv_refuse(PREVIRT_RAW_EXIT_BOOT, "the monitor's block is damaged (magic %x)",
                  monitor->magic);
    for (unsigned i = 0; i < PV_MASKS; i++)
        monitor->mask[i] = ~0u;
    for (unsigned op = 1; op < PREVIRT_IA32_OP_LIMIT; op++) {
        const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

        if (info && info->policy == PREVIRT_POLICY_MASK && info->feature)
            mask_feature(info->feature);
    }
    /* The guest maps low memory, where the stubs are, without the right to execute as soon as it
     * can. */
    mask_feature(CPUID_NX);
    monitor->link_offset = guest->link_offset;
    monitor->stub_physical = (PV_LOW_START + monitor->size + PAGE_SIZE - 1) & -PAGE_SIZE;
    monitor->stub_size = STUBS_LIMIT - monitor->stub_physical;
}

/* From each stub to its site, behind the stubs. */
static void install_stub_table(const struct previrt_plan *plan, uint32_t stub_bytes,
                               uint32_t stub_count)
{
    uint32_t at = (monitor->stub_physical + stub_bytes + 15) & ~15u;
    struct pv_monitor_stub *table = (struct pv_monitor_stub *)at;
    struct previrt_plan_stub stub;

    if (stub_count > (STUBS_LIMIT - at) / sizeof(*table))
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "no room for the table of %u stubs", stub_count);
    monitor->at_stubs = at - PV_LOW_START;
    monitor->stub_size = stub_bytes;
    monitor->stubs = 0;
    while (monitor->stubs < stub_count &&
           previrt_plan_stub(plan, monitor->stubs, &stub) == PREVIRT_OK) {
        table[monitor->stubs++] = (struct pv_monitor_stub){
            (uint32_t)stub.address - monitor->stub_physical - monitor->link_offset,
            stub.shared ? 0 : (uint32_t)stub.site, (uint16_t)stub.length,
            stub.transfer == PREVIRT_TRANSFER_CALL};
    }
}

/* ---- checks ---- */

static const char *op_name(unsigned op)
{
    const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

    return info ? info->name : "no operation";
}

static void refuse_plan(int status, const struct previrt_plan *plan)
{
    struct previrt_refusal refusal;
    uint32_t index = 0;

    if (status != PREVIRT_E_REFUSED) {
        pv_refuse(PREVIRT_RAW_EXIT_TABLE, "patch-up table: %s (offset %x)",
                  previrt_strerror(status), plan ? (uint32_t)previrt_plan_offset(plan) : 0);
    }
    for (; previrt_plan_refusal(plan, index, &refusal) == PREVIRT_OK; index++) {
        if (index < REFUSALS_SHOWN)
            pv_print("previrt-raw: site %x, record %u, %s: %s\n", (uint32_t)refusal.address,
                     refusal.record, op_name(refusal.op), previrt_strerror(refusal.status));
    }
    pv_refuse(PREVIRT_RAW_EXIT_REWRITE, "%u sites cannot be rewritten", index);
}

/*
 * Compares the loaded segments with the file, whole, except for the committed sites if (plan).
 * Returns how many sites were seen.
 */
static uint32_t compare_with_file(const struct pv_guest *guest, uint32_t file,
                                  const struct previrt_plan *plan)
{
    uint32_t index = 0;

    for (uint32_t i = 0; i < guest->segments; i++) {
        const struct pv_segment *segment = &guest->segment[i];
        const uint8_t *loaded = (const uint8_t *)segment->physical;
        const uint8_t *original = (const uint8_t *)(file + segment->offset);
        struct previrt_plan_site site;
        uint32_t at = 0;

        while (at < segment->file_size) {
            uint32_t stop = segment->file_size;
            int is_site = plan && previrt_plan_site(plan, index, &site) == PREVIRT_OK &&
                          (uint32_t)site.address - segment->virtual < segment->file_size;

            if (is_site)
                stop = (uint32_t)site.address - segment->virtual;
            if (memcmp(loaded + at, original + at, stop - at))
                pv_refuse(PREVIRT_RAW_EXIT_REWRITE, "text between %x and %x is not as in the file",
                          segment->virtual + at, segment->virtual + stop);
            at = stop;
            if (!is_site)
                break;
            if (memcmp(original + at, site.original, site.room) ||
                memcmp(loaded + at, site.code, site.room))
                pv_refuse(PREVIRT_RAW_EXIT_REWRITE, "site %x (%s) does not hold its code",
                          (uint32_t)site.address, op_name(site.op));
            at += site.room;
            index++;
        }
    }
    return index;
}

static void must(int status, const char *what)
{
    if (status != PREVIRT_OK)
        pv_refuse(PREVIRT_RAW_EXIT_REWRITE, "%s: %s", what, previrt_strerror(status));
}

void pv_phase3(const struct pv_guest *guest, uint32_t file, const struct pv_options *options)
{
    static struct previrt_region regions[PV_TEXTS_MAX];
    static struct previrt_target target;
    static struct previrt_plan_stats stats;
    static struct emitter emitter;
    const void *notes = (const void *)guest->notes_physical;
    struct previrt_memory memory = {regions, guest->texts};
    struct previrt_plan *plan = NULL;
    size_t count = 0, bytes;
    uint32_t buffer;
    int status;

    if (options->rewrite == PV_REWRITE_VCPU)
        pv_refuse(PREVIRT_RAW_EXIT_USAGE,
                  "rewrite=vcpu needs an in-place VMM, which this back-end has not");
    if (options->rewrite == PV_REWRITE_NONE && !options->revert) {
        pv_print("previrt-raw: not rewritten\n");
        return;
    }
    if (!guest->notes_size)
        pv_refuse(PREVIRT_RAW_EXIT_TABLE, "%s (rewrite=none starts the guest as it is)",
                  previrt_strerror(PREVIRT_E_NO_TABLE));
    if (pv_place_owner(PV_LOW_START, STUBS_LIMIT))
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "low memory %x..%x, needed for stubs: %s is there",
                  PV_LOW_START, STUBS_LIMIT, pv_place_owner(PV_LOW_START, STUBS_LIMIT));
    status = previrt_plan_count(notes, guest->notes_size, guest->notes_virtual, &count);
    if (status == PREVIRT_OK && !count)
        status = PREVIRT_E_NO_TABLE;
    if (status != PREVIRT_OK)
        pv_refuse(PREVIRT_RAW_EXIT_TABLE, "patch-up table: %s", previrt_strerror(status));
    bytes = previrt_plan_bound(count);
    if (!bytes)
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "a plan of %u sites is too large", (uint32_t)count);
    buffer = pv_place_find(bytes, phase3_owner);

    install_monitor(guest);
    for (uint32_t i = 0; i < guest->texts; i++) {
        uint8_t *text = pv_image_at(guest, guest->text[i].virtual, guest->text[i].size, 0);

        regions[i] = (struct previrt_region){guest->text[i].virtual, guest->text[i].size, text,
                                             text, PREVIRT_REGION_EXECUTE};
    }
    target.size = sizeof(target);
    previrt_target_native(&target);
    target.stub_address = monitor->stub_physical + guest->link_offset;
    target.stub_size = monitor->stub_size;
    target.stub_memory = (uint8_t *)monitor->stub_physical;
    emitter = (struct emitter){target.emit, target.emit_context, PV_LOW_START + guest->link_offset};
    target.emit = emit;
    target.emit_context = &emitter;

    status = previrt_plan(&memory, notes, guest->notes_size, guest->notes_virtual, &target,
                          (void *)buffer, bytes, &plan);
    if (status != PREVIRT_OK)
        refuse_plan(status, plan);
    stats.size = sizeof(stats);
    must(previrt_plan_stats(plan, &stats), "figures");
    must(previrt_commit(plan, NULL, 0), "commit");
    pv_print("previrt-raw: %u sites: %u rewritten to stubs, %u inlined, %u kept, %u dormant; "
             "%u stubs, %u bytes\n",
             stats.sites, stats.stubbed, stats.inlined, stats.kept, stats.dormant, stats.stubs,
             stats.stub_bytes);
    if (options->verify) {
        uint32_t seen = compare_with_file(guest, file, plan);

        if (seen != stats.stubbed + stats.inlined)
            pv_refuse(PREVIRT_RAW_EXIT_REWRITE, "%u sites hold their code, not %u", seen,
                      stats.stubbed + stats.inlined);
        pv_print("previrt-raw: verified %u sites, the rest as in the file\n", seen);
    }
    if (options->revert) {
        must(previrt_revert(plan), "revert");
        compare_with_file(guest, file, NULL);
        pv_print("previrt-raw: reverted, all bytes as in the file\n");
        if (options->rewrite == PV_REWRITE_NONE)
            return;
        must(previrt_commit(plan, NULL, 0), "second commit");
    }
    install_stub_table(plan, stats.stub_bytes, stats.stubs);
    pv_regions_mark(PV_LOW_START, PV_LOW_END, PV_REGION_RESERVED);
    pv_print("previrt-raw: stubs at %x, monitor at %x, %u bytes\n", monitor->stub_physical,
             PV_LOW_START, monitor->size);
}
