/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Phase 3: plan, commit, revert. docs/rewriting.md explains the rules.
 *
 * A plan is one pass over the table: each record is checked against the image's bytes, asked of the
 * target's emitter (through a small cache, since most sites are one of a few dozen operations with
 * the same operands) and stored with its original and its new bytes. Then the addresses are sorted
 * and looked at for overlap. Stub code waits in the plan's memory until the commit.
 */
#include "ia32/emit.h"

#define GUEST_LIMIT (1ull << 32) /* IA32 linear addresses */
#define NO_STUB     0xffffffffu

struct plan_site {
    uint32_t address;
    uint32_t stub; /* index, or NO_STUB */
    uint16_t region;
    uint8_t op;
    uint8_t room;
    uint8_t transfer; /* enum previrt_transfer; 0: kept, only its place matters */
    uint8_t code_length;
    uint8_t original[PREVIRT_ROOM_MAX];
    uint8_t code[PREVIRT_ROOM_MAX]; /* (room) bytes, NOPs included */
};

struct plan_stub {
    uint32_t offset; /* in the stub area and in the staging memory */
    uint32_t length;
    uint32_t sites;
    uint32_t first; /* address of the first site that uses it */
    uint8_t op, transfer, shared;
};

/* The cache of stubs and inline code by what they do. */
#define CACHE_SLOTS  512 /* a power of two */
#define CACHE_PROBES 8

/* Digits of the sort by address. */
#define RADIX_BITS 11
#define RADIX_SIZE (1u << RADIX_BITS)

struct cache_slot {
    uint64_t key;  /* 0: free */
    uint32_t site; /* index of a site that has the code, or whose stub it is */
};

struct previrt_plan {
    const struct previrt_memory *memory;
    struct previrt_target target;
    struct plan_site *sites;
    uint64_t *order; /* address << 32 | index, sorted once complete */
    uint64_t *spare; /* for sorting */
    struct plan_stub *stubs;
    struct previrt_refusal *refusals;
    uint8_t *staging; /* stub code */
    size_t capacity;  /* sites that fit */
    size_t staging_size;
    size_t offset; /* in the table, after an error */
    uint32_t site_count, stub_count, refusal_count, stub_bytes;
    uint32_t state;
    struct previrt_plan_stats stats;
    union {
        struct cache_slot cache[CACHE_SLOTS]; /* while records are read */
        uint32_t start[RADIX_SIZE]; /* while they are sorted: stacks in guests are small */
    } work;
};

/* What one record takes, all arrays together; kept a multiple of 8. */
#define BYTES_PER_SITE                                                                             \
    ((sizeof(struct plan_site) + 2 * sizeof(uint64_t) + sizeof(struct plan_stub) +                 \
      sizeof(struct previrt_refusal) + PREVIRT_STUB_MAX + 7) &                                     \
     ~(size_t)7)
#define HEAD_SIZE ((sizeof(struct previrt_plan) + 7) & ~(size_t)7)

/* Copies a site's bytes: short, so a loop that the compiler may not turn into a library call of its
 * own. */
static void copy_bytes(uint8_t *to, const uint8_t *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
}

static int same_bytes(const uint8_t *a, const uint8_t *b, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (a[i] != b[i])
            return 0;
    return 1;
}

/* ---- memory ---- */

static int region_holds(const struct previrt_region *region, uint64_t address, uint64_t length)
{
    return address >= region->address && address - region->address <= region->size &&
           length <= region->size - (address - region->address);
}

const struct previrt_region *previrt_memory_at(const struct previrt_memory *memory,
                                               uint64_t address, uint64_t length, uint64_t *offset)
{
    size_t low = 0, high;

    if (!memory || (!memory->regions && memory->count))
        return NULL;
    high = memory->count;
    while (low < high) { /* the last region that begins at or before (address) */
        size_t middle = low + (high - low) / 2;

        if (memory->regions[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low || !region_holds(&memory->regions[low - 1], address, length))
        return NULL;
    if (offset)
        *offset = address - memory->regions[low - 1].address;
    return &memory->regions[low - 1];
}

static int check_memory(const struct previrt_memory *memory)
{
    uint64_t end = 0;

    if (!memory || memory->count > PREVIRT_REGIONS_MAX || (!memory->regions && memory->count))
        return PREVIRT_E_INVALID;
    for (size_t i = 0; i < memory->count; i++) {
        const struct previrt_region *region = &memory->regions[i];

        if (!region->read || region->address < end || region->address >= GUEST_LIMIT ||
            region->size > GUEST_LIMIT - region->address)
            return PREVIRT_E_INVALID;
        end = region->address + region->size;
    }
    return PREVIRT_OK;
}

static int check_target(const struct previrt_target *target, const struct previrt_memory *memory)
{
    uint64_t end;

    if (!target || target->size < sizeof(*target) || !target->emit)
        return PREVIRT_E_INVALID;
    if (target->stub_address >= GUEST_LIMIT ||
        target->stub_size > GUEST_LIMIT - target->stub_address)
        return PREVIRT_E_REACH;
    if (target->vcpu_address > GUEST_LIMIT - sizeof(uint32_t))
        return PREVIRT_E_REACH;
    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++)
        if (target->action[op] > PREVIRT_ACTION_STUB)
            return PREVIRT_E_INVALID;
    end = target->stub_address + target->stub_size;
    for (size_t i = 0; i < memory->count; i++) {
        const struct previrt_region *region = &memory->regions[i];

        if ((region->flags & PREVIRT_REGION_EXECUTE) && region->address < end &&
            target->stub_address < region->address + region->size)
            return PREVIRT_E_INVALID;
    }
    return PREVIRT_OK;
}

/* The bytes of an executable stretch, for the table's own check. */
static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    uint64_t offset;
    const struct previrt_region *region = previrt_memory_at(context, address, length, &offset);

    return region && (region->flags & PREVIRT_REGION_EXECUTE) ? region->read + offset : NULL;
}

/* ---- bounds ---- */

int previrt_plan_count(const void *notes, size_t notes_size, uint64_t notes_address, size_t *count)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    int status;

    if (!count)
        return PREVIRT_E_INVALID;
    *count = 0;
    status = previrt_table_begin(&cursor, notes, notes_size, notes_address);
    if (status < 0)
        return status;
    while ((status = previrt_table_next(&cursor, &site)) > 0)
        (*count)++;
    return status;
}

size_t previrt_plan_bound(size_t count)
{
    /* Indices and counts are 32-bit. */
    if (count > (SIZE_MAX - HEAD_SIZE) / BYTES_PER_SITE || count >= NO_STUB)
        return 0;
    return HEAD_SIZE + count * BYTES_PER_SITE;
}

/* Carves the arrays from the buffer, those with the strictest alignment first. */
static void lay_out(struct previrt_plan *plan, uint8_t *memory)
{
    plan->order = (uint64_t *)(void *)memory;
    memory += plan->capacity * sizeof(*plan->order);
    plan->spare = (uint64_t *)(void *)memory;
    memory += plan->capacity * sizeof(*plan->spare);
    plan->refusals = (struct previrt_refusal *)(void *)memory;
    memory += plan->capacity * sizeof(*plan->refusals);
    plan->sites = (struct plan_site *)(void *)memory;
    memory += plan->capacity * sizeof(*plan->sites);
    plan->stubs = (struct plan_stub *)(void *)memory;
    memory += plan->capacity * sizeof(*plan->stubs);
    plan->staging = memory;
    plan->staging_size = plan->capacity * PREVIRT_STUB_MAX;
}

/* ---- planning ---- */

static struct previrt_plan_op_stats *op_stats(struct previrt_plan *plan, unsigned op)
{
    return &plan->stats.op[op < PREVIRT_IA32_OP_LIMIT ? op : PREVIRT_IA32_NO_OP];
}

static void refuse(struct previrt_plan *plan, const struct previrt_site *site, int status)
{
    plan->refusals[plan->refusal_count++] = (struct previrt_refusal){
        .address = site->address,
        .status = status,
        .op = site->op,
        .form = site->form,
        .length = site->length,
        .pad = site->pad,
        .record = plan->stats.sites,
    };
    op_stats(plan, site->op)->refused++;
}

static int traps_reliably(unsigned op)
{
    const struct previrt_ia32_op_info *info = previrt_ia32_op_info(op);

    return info && (info->trap == PREVIRT_TRAP_PRIVILEGED || info->trap == PREVIRT_TRAP_IOPL);
}

/*
 * What makes two sites want the same code; 0 if nothing does: the site's own bytes or place matter.
 * A form implies its operation; what is left is its operands.
 */
static uint64_t code_key(const struct previrt_plan *plan, const struct previrt_site *site,
                         const struct previrt_ia32_insn *insn)
{
    const struct previrt_ia32_form_info *form = previrt_ia32_form_info(insn->form);
    uint64_t key = insn->form;

    if (!form || insn->is_memory || form->layout == PREVIRT_LAYOUT_PTR)
        return 0;
    key = key << 6 | (insn->width & 0x3f);
    key = key << 4 | (insn->system_register & 0xf);
    key = key << 3 | (insn->reg & 7);
    key = key << 3 | (insn->rm & 7);
    key = key << 16 | (insn->immediate & 0xffff); /* port, vector, lret's count */
    key = key << 2 | (insn->rep & 3);
    key = key << 1 | insn->lock;
    if (form->layout == PREVIRT_LAYOUT_STRING) {
        key = key << 1 | insn->address16;
        key = key << 3 | (insn->segment & 7);
    } else {
        key <<= 4; /* padding prefixes */
    }
    key <<= 1;
    if (!(plan->target.flags & PREVIRT_TARGET_ANY_FLAGS) && (site->flags & PREVIRT_SITE_FLAGS_DEAD))
        key |= 1;
    key <<= 5; /* the room decides what can be inlined */
    if (plan->target.action[insn->op] == PREVIRT_ACTION_INLINE)
        key |= (uint64_t)site->length + site->pad;
    return key;
}

/* The slot of (key), or the one that it should take. */
static struct cache_slot *cache_find(struct previrt_plan *plan, uint64_t key)
{
    uint64_t hash = key * 0x9e3779b97f4a7c15ull; /* 2^64 over the golden ratio */
    size_t first = hash >> 55;                   /* 9 bits: CACHE_SLOTS */

    for (size_t i = 0; i < CACHE_PROBES; i++) {
        struct cache_slot *slot = &plan->work.cache[(first + i) & (CACHE_SLOTS - 1)];

        if (slot->key == key || !slot->key)
            return slot;
    }
    return &plan->work.cache[first];
}

static void finish_code(const struct previrt_plan *plan, struct plan_site *entry)
{
    pv_fill_nops(entry->code + entry->code_length, (uint32_t)entry->room - entry->code_length,
                 !!(plan->target.flags & PREVIRT_TARGET_BYTE_NOPS));
}

static void transfer_to_stub(const struct previrt_plan *plan, struct plan_site *entry)
{
    const struct plan_stub *stub = &plan->stubs[entry->stub];
    struct pv_code code = {.bytes = entry->code, .capacity = entry->room};

    pv_emit_transfer(&code,
                     entry->transfer == PREVIRT_TRANSFER_CALL ? PV_OPCODE_CALL : PV_OPCODE_JMP,
                     entry->address, (uint32_t)plan->target.stub_address + stub->offset);
    entry->code_length = (uint8_t)code.length;
    finish_code(plan, entry);
}

/* Asks the emitter for the code of (entry). */
static int emit_code(struct previrt_plan *plan, struct plan_site *entry,
                     const struct previrt_site *site, const struct previrt_ia32_insn *insn,
                     const uint8_t *bytes, int shareable, int *shared)
{
    const struct previrt_target *target = &plan->target;
    uint32_t left = target->stub_size - plan->stub_bytes;
    struct previrt_stub_request request;
    struct plan_stub *stub;
    int status;

    /* The staging memory has room for every site's largest stub, the stub area need not. Inlined
     * code passes through the staging memory too. */
    request = (struct previrt_stub_request){
        .size = sizeof(request),
        .site = site,
        .insn = insn,
        .bytes = bytes,
        .stub_address = (uint32_t)target->stub_address + plan->stub_bytes,
        .resume = entry->address + entry->room,
        .inline_allowed = target->action[insn->op] == PREVIRT_ACTION_INLINE,
        .room = entry->room,
        .code = plan->staging + plan->stub_bytes,
        .capacity = PREVIRT_STUB_MAX,
        .transfer = PREVIRT_TRANSFER_CALL,
        .shared = !!shareable,
    };
    status = target->emit(target->emit_context, &request);
    if (status < 0)
        return status;
    if (request.length > request.capacity)
        return PREVIRT_E_INVALID;
    *shared = shareable && request.shared;
    if (request.transfer == PREVIRT_TRANSFER_INLINE) {
        if (!request.inline_allowed)
            return PREVIRT_E_INVALID;
        if (request.length > entry->room)
            return PREVIRT_E_ROOM;
        copy_bytes(entry->code, request.code, request.length);
        entry->code_length = (uint8_t)request.length;
        entry->transfer = PREVIRT_TRANSFER_INLINE;
        entry->stub = NO_STUB;
        finish_code(plan, entry);
        return PREVIRT_OK;
    }
    if ((request.transfer != PREVIRT_TRANSFER_CALL && request.transfer != PREVIRT_TRANSFER_JUMP) ||
        !request.length)
        return PREVIRT_E_INVALID;
    if (entry->room < PV_TRANSFER_SIZE)
        return PREVIRT_E_ROOM;
    if (request.length > left)
        return PREVIRT_E_STUBS;
    stub = &plan->stubs[plan->stub_count];
    *stub = (struct plan_stub){
        .offset = plan->stub_bytes,
        .length = request.length,
        .first = entry->address,
        .op = insn->op,
        .transfer = request.transfer,
        .shared = (uint8_t)*shared,
    };
    entry->stub = plan->stub_count++;
    entry->transfer = request.transfer;
    plan->stub_bytes += request.length;
    transfer_to_stub(plan, entry);
    return PREVIRT_OK;
}

static int make_code(struct previrt_plan *plan, struct plan_site *entry,
                     const struct previrt_site *site, const struct previrt_ia32_insn *insn,
                     const uint8_t *bytes)
{
    uint64_t key = code_key(plan, site, insn);
    struct cache_slot *slot = NULL;
    int shared = 0, status;

    if (key) {
        slot = cache_find(plan, key);
        if (slot->key == key) {
            const struct plan_site *model = &plan->sites[slot->site];

            entry->transfer = model->transfer;
            entry->stub = model->stub;
            if (model->transfer == PREVIRT_TRANSFER_INLINE) {
                entry->code_length = model->code_length;
                copy_bytes(entry->code, model->code, entry->room);
                return PREVIRT_OK;
            }
            if (entry->room < PV_TRANSFER_SIZE)
                return PREVIRT_E_ROOM;
            transfer_to_stub(plan, entry);
            return PREVIRT_OK;
        }
    }
    status = emit_code(plan, entry, site, insn, bytes, key != 0, &shared);
    if (status == PREVIRT_OK && shared)
        *slot = (struct cache_slot){.key = key, .site = plan->site_count};
    return status;
}

/* One record: checks it and gives it an entry, or says why not. */
static int plan_record(struct previrt_plan *plan, const struct previrt_site *site,
                       const struct previrt_region **region)
{
    struct plan_site *entry = &plan->sites[plan->site_count];
    struct previrt_plan_op_stats *stats;
    struct previrt_ia32_insn insn;
    const uint8_t *bytes;
    uint32_t room;
    int status;

    if (site->arch != PREVIRT_ARCH_IA32)
        return PREVIRT_E_ARCH;
    if (!previrt_ia32_op_info(site->op))
        return PREVIRT_E_OPERATION;
    stats = op_stats(plan, site->op);
    if (site->flags & PREVIRT_SITE_DORMANT) {
        stats->dormant++;
        return PREVIRT_OK;
    }
    if (!site->length || site->length > PREVIRT_LENGTH_MAX || site->pad > PREVIRT_PAD_MAX)
        return PREVIRT_E_ROOM;
    room = (uint32_t)site->length + site->pad;
    if (!*region || !region_holds(*region, site->address, room)) {
        *region = previrt_memory_at(plan->memory, site->address, room, NULL);
        if (!*region)
            return PREVIRT_E_RANGE;
    }
    if (!((*region)->flags & PREVIRT_REGION_EXECUTE))
        return PREVIRT_E_RANGE;
    bytes = (*region)->read + (size_t)(site->address - (*region)->address);
    status = previrt_ia32_match_site(site, bytes, room, &insn);
    if (status < 0)
        return status;
    if (insn.op != site->op || insn.length != site->length || insn.op >= PREVIRT_IA32_OP_LIMIT)
        return PREVIRT_E_BYTES;

    entry->address = (uint32_t)site->address;
    entry->region = (uint16_t)(*region - plan->memory->regions);
    entry->op = insn.op;
    entry->room = (uint8_t)room;
    entry->transfer = 0;
    entry->code_length = 0;
    entry->stub = NO_STUB;
    if (plan->target.action[insn.op] != PREVIRT_ACTION_KEEP) {
        status = make_code(plan, entry, site, &insn, bytes);
        if (status == PREVIRT_E_ROOM && (plan->target.flags & PREVIRT_TARGET_TRAPS) &&
            traps_reliably(insn.op)) {
            entry->transfer = 0;
            entry->stub = NO_STUB;
        } else if (status < 0) {
            return status;
        }
    }
    if (!entry->transfer) {
        stats->kept++;
    } else {
        copy_bytes(entry->original, bytes, room);
        if (entry->transfer == PREVIRT_TRANSFER_INLINE) {
            stats->inlined++;
        } else {
            stats->stubbed++;
            plan->stubs[entry->stub].sites++;
        }
    }
    plan->order[plan->site_count] = site->address << 32 | plan->site_count;
    plan->site_count++;
    return PREVIRT_OK;
}

/* Sorts plan->order by address: nothing to do if it is sorted, else a radix sort of the upper
 * halves. */
static void sort_sites(struct previrt_plan *plan)
{
    uint32_t count = plan->site_count, sorted = 1;
    uint32_t *start = plan->work.start;

    for (uint32_t i = 1; i < count && sorted; i++)
        sorted = plan->order[i - 1] < plan->order[i];
    if (sorted)
        return;
    for (unsigned shift = 32; shift < 64; shift += RADIX_BITS) {
        uint64_t *swap = plan->order;
        uint32_t sum = 0;

        for (uint32_t i = 0; i < RADIX_SIZE; i++)
            start[i] = 0;
        for (uint32_t i = 0; i < count; i++)
            start[plan->order[i] >> shift & (RADIX_SIZE - 1)]++;
        for (uint32_t i = 0; i < RADIX_SIZE; i++) {
            uint32_t here = start[i];

            start[i] = sum;
            sum += here;
        }
        for (uint32_t i = 0; i < count; i++)
            plan->spare[start[plan->order[i] >> shift & (RADIX_SIZE - 1)]++] = plan->order[i];
        plan->order = plan->spare;
        plan->spare = swap;
    }
}

static void check_overlap(struct previrt_plan *plan)
{
    uint64_t end = 0;

    for (uint32_t i = 0; i < plan->site_count; i++) {
        const struct plan_site *entry = &plan->sites[(uint32_t)plan->order[i]];
        uint64_t next = (uint64_t)entry->address + entry->room;

        if (entry->address < end) {
            plan->refusals[plan->refusal_count++] = (struct previrt_refusal){
                .address = entry->address,
                .status = PREVIRT_E_OVERLAP,
                .op = entry->op,
                .length = entry->room,
                .record = (uint32_t)plan->order[i],
            };
            op_stats(plan, entry->op)->refused++;
        }
        if (next > end)
            end = next;
    }
}

static void sum_up(struct previrt_plan *plan)
{
    struct previrt_plan_stats *stats = &plan->stats;

    for (unsigned op = 0; op < PREVIRT_IA32_OP_LIMIT; op++) {
        stats->inlined += stats->op[op].inlined;
        stats->stubbed += stats->op[op].stubbed;
        stats->kept += stats->op[op].kept;
        stats->dormant += stats->op[op].dormant;
    }
    stats->refused = plan->refusal_count;
    stats->stubs = plan->stub_count;
    stats->stub_bytes = plan->stub_bytes;
    stats->state = plan->state;
}

int previrt_plan(const struct previrt_memory *memory, const void *notes, size_t notes_size,
                 uint64_t notes_address, const struct previrt_target *target, void *buffer,
                 size_t buffer_size, struct previrt_plan **result)
{
    const struct previrt_region *region = NULL;
    struct previrt_table_cursor cursor;
    struct previrt_plan *plan = buffer;
    struct previrt_site site;
    int status;

    if (!result)
        return PREVIRT_E_INVALID;
    *result = NULL;
    if (!buffer || (uintptr_t)buffer % sizeof(uint64_t))
        return PREVIRT_E_INVALID;
    if (buffer_size < HEAD_SIZE)
        return PREVIRT_E_SPACE;
    status = check_memory(memory);
    if (status < 0)
        return status;
    status = check_target(target, memory);
    if (status < 0)
        return status;

    for (size_t i = 0; i < HEAD_SIZE; i++)
        ((uint8_t *)buffer)[i] = 0;
    plan->memory = memory;
    plan->target = *target;
    plan->state = PREVIRT_PLAN_FAILED;
    plan->capacity = (buffer_size - HEAD_SIZE) / BYTES_PER_SITE;
    if (plan->capacity >= NO_STUB)
        plan->capacity = NO_STUB - 1;
    lay_out(plan, (uint8_t *)buffer + HEAD_SIZE);
    *result = plan;

    status = previrt_table_begin(&cursor, notes, notes_size, notes_address);
    if (status < 0)
        return status;
    while ((status = previrt_table_next(&cursor, &site)) > 0) {
        if (plan->stats.sites == plan->capacity) {
            status = PREVIRT_E_SPACE;
            break;
        }
        status = plan_record(plan, &site, &region);
        if (status < 0)
            refuse(plan, &site, status);
        plan->stats.sites++;
    }
    if (status < 0) {
        plan->offset = previrt_table_offset(&cursor);
        sum_up(plan);
        return status;
    }
    sort_sites(plan);
    check_overlap(plan);
    if (!plan->refusal_count && !(plan->target.flags & PREVIRT_TARGET_NO_DIGEST)) {
        status = previrt_table_check(notes, notes_size, notes_address, text_of,
                                     (void *)(uintptr_t)memory, NULL);
        if (status < 0) {
            sum_up(plan);
            return status;
        }
    }
    plan->state = plan->refusal_count ? PREVIRT_PLAN_REFUSED : PREVIRT_PLAN_PLANNED;
    sum_up(plan);
    return plan->refusal_count ? PREVIRT_E_REFUSED : PREVIRT_OK;
}

/* ---- commit and revert ---- */

/* Whether every rewritten site holds what it should, and, where asked, can be written. */
static int check_sites(const struct previrt_plan *plan, int committed)
{
    for (uint32_t i = 0; i < plan->site_count; i++) {
        const struct plan_site *entry = &plan->sites[i];
        const struct previrt_region *region = &plan->memory->regions[entry->region];

        if (!entry->transfer)
            continue;
        if (!region->write)
            return PREVIRT_E_INVALID;
        if (!same_bytes(region->read + (size_t)(entry->address - region->address),
                        committed ? entry->code : entry->original, entry->room))
            return PREVIRT_E_BYTES;
    }
    return PREVIRT_OK;
}

static void write_sites(const struct previrt_plan *plan, int commit)
{
    for (uint32_t i = 0; i < plan->site_count; i++) {
        const struct plan_site *entry = &plan->sites[i];
        const struct previrt_region *region = &plan->memory->regions[entry->region];

        if (entry->transfer)
            copy_bytes(region->write + (size_t)(entry->address - region->address),
                       commit ? entry->code : entry->original, entry->room);
    }
}

int previrt_commit(struct previrt_plan *plan, uint8_t *stub_memory, size_t stub_bytes)
{
    int status;

    if (!plan)
        return PREVIRT_E_INVALID;
    if (plan->state != PREVIRT_PLAN_PLANNED)
        return PREVIRT_E_STATE;
    if (!stub_memory) {
        stub_memory = plan->target.stub_memory;
        stub_bytes = plan->target.stub_size;
    }
    if (plan->stub_bytes && (!stub_memory || stub_bytes < plan->stub_bytes))
        return PREVIRT_E_STUBS;
    status = check_sites(plan, 0);
    if (status < 0)
        return status;
    copy_bytes(stub_memory, plan->staging, plan->stub_bytes);
    write_sites(plan, 1);
    plan->state = plan->stats.state = PREVIRT_PLAN_COMMITTED;
    return PREVIRT_OK;
}

int previrt_revert(struct previrt_plan *plan)
{
    int status;

    if (!plan)
        return PREVIRT_E_INVALID;
    if (plan->state != PREVIRT_PLAN_COMMITTED)
        return PREVIRT_E_STATE;
    status = check_sites(plan, 1);
    if (status < 0)
        return status;
    write_sites(plan, 0);
    plan->state = plan->stats.state = PREVIRT_PLAN_PLANNED;
    return PREVIRT_OK;
}

/* ---- questions ---- */

int previrt_plan_stats(const struct previrt_plan *plan, struct previrt_plan_stats *stats)
{
    if (!plan || !stats || stats->size < sizeof(*stats))
        return PREVIRT_E_INVALID;
    *stats = plan->stats;
    stats->size = sizeof(*stats);
    return PREVIRT_OK;
}

int previrt_plan_refusal(const struct previrt_plan *plan, size_t index,
                         struct previrt_refusal *refusal)
{
    if (!plan || !refusal)
        return PREVIRT_E_INVALID;
    if (index >= plan->refusal_count)
        return PREVIRT_E_RANGE;
    *refusal = plan->refusals[index];
    return PREVIRT_OK;
}

size_t previrt_plan_offset(const struct previrt_plan *plan)
{
    return plan ? plan->offset : 0;
}

static int complete(const struct previrt_plan *plan)
{
    return plan->state == PREVIRT_PLAN_PLANNED || plan->state == PREVIRT_PLAN_COMMITTED;
}

static void describe_site(const struct previrt_plan *plan, const struct plan_site *entry,
                          struct previrt_plan_site *site)
{
    site->address = entry->address;
    site->stub =
        entry->stub == NO_STUB ? 0 : plan->target.stub_address + plan->stubs[entry->stub].offset;
    site->op = entry->op;
    site->room = entry->room;
    site->transfer = entry->transfer;
    site->code_length = entry->code_length;
    copy_bytes(site->original, entry->original, entry->room);
    copy_bytes(site->code, entry->code, entry->room);
}

int previrt_plan_site(const struct previrt_plan *plan, size_t index, struct previrt_plan_site *site)
{
    if (!plan || !site)
        return PREVIRT_E_INVALID;
    if (!complete(plan))
        return PREVIRT_E_STATE;
    if (index >= plan->site_count)
        return PREVIRT_E_RANGE;
    describe_site(plan, &plan->sites[(uint32_t)plan->order[index]], site);
    return PREVIRT_OK;
}

/* The rewritten site that (address) lies in, or NULL. */
static const struct plan_site *find_site(const struct previrt_plan *plan, uint64_t address)
{
    uint32_t low = 0, high = plan->site_count;
    const struct plan_site *entry;

    while (low < high) { /* the last site at or before (address) */
        uint32_t middle = low + (high - low) / 2;

        if (plan->order[middle] >> 32 <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (!low)
        return NULL;
    entry = &plan->sites[(uint32_t)plan->order[low - 1]];
    return entry->transfer && address - entry->address < entry->room ? entry : NULL;
}

int previrt_plan_site_at(const struct previrt_plan *plan, uint64_t address,
                         struct previrt_plan_site *site)
{
    const struct plan_site *entry;

    if (!plan || !site)
        return PREVIRT_E_INVALID;
    if (!complete(plan))
        return PREVIRT_E_STATE;
    entry = find_site(plan, address);
    if (!entry)
        return PREVIRT_E_RANGE;
    describe_site(plan, entry, site);
    return PREVIRT_OK;
}

static void describe_stub(const struct previrt_plan *plan, const struct plan_stub *entry,
                          struct previrt_plan_stub *stub)
{
    stub->address = plan->target.stub_address + entry->offset;
    stub->length = entry->length;
    stub->sites = entry->sites;
    stub->op = entry->op;
    stub->transfer = entry->transfer;
    stub->shared = entry->shared && entry->sites > 1;
    stub->site = entry->first;
    stub->code = plan->staging + entry->offset;
}

int previrt_plan_stub(const struct previrt_plan *plan, size_t index, struct previrt_plan_stub *stub)
{
    if (!plan || !stub)
        return PREVIRT_E_INVALID;
    if (!complete(plan))
        return PREVIRT_E_STATE;
    if (index >= plan->stub_count)
        return PREVIRT_E_RANGE;
    describe_stub(plan, &plan->stubs[index], stub);
    return PREVIRT_OK;
}

/* The stub that (address) lies in, or NULL. Stubs stand in the order of their offsets, without
 * gaps. */
static const struct plan_stub *find_stub(const struct previrt_plan *plan, uint64_t address)
{
    uint64_t offset = address - plan->target.stub_address;
    uint32_t low = 0, high = plan->stub_count;

    if (address < plan->target.stub_address || offset >= plan->stub_bytes)
        return NULL;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (plan->stubs[middle].offset <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low ? &plan->stubs[low - 1] : NULL;
}

int previrt_plan_stub_at(const struct previrt_plan *plan, uint64_t address,
                         struct previrt_plan_stub *stub)
{
    const struct plan_stub *entry;

    if (!plan || !stub)
        return PREVIRT_E_INVALID;
    if (!complete(plan))
        return PREVIRT_E_STATE;
    entry = find_stub(plan, address);
    if (!entry)
        return PREVIRT_E_RANGE;
    describe_stub(plan, entry, stub);
    return PREVIRT_OK;
}

int previrt_plan_site_of_stub(const struct previrt_plan *plan, uint64_t address,
                              uint64_t return_address, uint64_t *site)
{
    const struct plan_stub *stub;
    const struct plan_site *entry;

    if (!plan || !site)
        return PREVIRT_E_INVALID;
    if (!complete(plan))
        return PREVIRT_E_STATE;
    stub = find_stub(plan, address);
    if (!stub)
        return PREVIRT_E_RANGE;
    if (stub->sites == 1) {
        *site = stub->first;
        return PREVIRT_OK;
    }
    if (return_address < PV_TRANSFER_SIZE)
        return PREVIRT_E_RANGE;
    entry = find_site(plan, return_address - PV_TRANSFER_SIZE);
    if (!entry || entry->address != return_address - PV_TRANSFER_SIZE ||
        entry->stub != (uint32_t)(stub - plan->stubs))
        return PREVIRT_E_RANGE;
    *site = entry->address;
    return PREVIRT_OK;
}
