/* SPDX-License-Identifier: BSD-2-Clause */
/* Compares what walk.c finds in the text with the patch-up table and the exclusion rules: audit.h.
 */
#include <elf.h>
#include <stdlib.h>
#include <string.h>

#include <previrt/audit.h>

#include "asm/rules.h"
#include "audit/file.h"
#include "audit/walk.h"

#define NO_FEATURE     0xffff
#define FEATURE_ALWAYS (3 * 32 + 21) /* X86_FEATURE_ALWAYS */

_Static_assert(PREVIRT_IA32_OP_LIMIT <= PREVIRT_AUDIT_OPS &&
                   PREVIRT_IA64_OP_LIMIT <= PREVIRT_AUDIT_OPS,
               "the audit's counters have no room for every operation");

struct audit {
    struct previrt_audit public; /* first: previrt_audit_free() gets its address */
    struct pv_view elf;
    struct pv_walk walk;
    struct pv_file file;
    const struct previrt_rules *rules;
    const char *path;
    struct previrt_audit_site *sites;
    struct previrt_audit_stray *strays;
    size_t stray_capacity;
    struct previrt_audit_undecided *undecided;
    struct previrt_site *records; /* sorted by address */
    size_t record_count, record_capacity;
};

/* ---- the table ---- */

static int add_record(struct audit *audit, const struct previrt_site *site)
{
    if (audit->record_count == audit->record_capacity) {
        size_t capacity = audit->record_capacity ? audit->record_capacity * 2 : 1024;
        struct previrt_site *grown = realloc(audit->records, capacity * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        audit->records = grown;
        audit->record_capacity = capacity;
    }
    audit->records[audit->record_count++] = *site;
    return PREVIRT_OK;
}

static const uint8_t *text_at(void *context, uint64_t address, size_t length)
{
    const struct audit *audit = context;
    const struct pv_code *code = pv_walk_code_at(&audit->walk, address);

    if (!code || length > code->section->size - (address - code->section->address))
        return NULL;
    return code->bytes + (address - code->section->address);
}

static int read_notes(struct audit *audit, const struct pv_view_section *section,
                      const uint8_t *notes)
{
    struct previrt_table_cursor cursor;
    struct previrt_site site;
    size_t before = audit->record_count;
    int status = previrt_table_begin(&cursor, notes, (size_t)section->size, section->address);

    if (status == PREVIRT_E_NO_TABLE)
        return PREVIRT_OK;
    if (status)
        return status;
    while ((status = previrt_table_next(&cursor, &site)) > 0) {
        /* addresses of 32-bit code wrap at 4 GiB */
        if (!audit->elf.class64)
            site.address = (uint32_t)site.address;
        status = add_record(audit, &site);
        if (status)
            return status;
    }
    if (status == PREVIRT_E_NO_TABLE)
        status = PREVIRT_OK;
    if (status || audit->record_count == before)
        return status;
    audit->public.has_table = 1;
    if (!audit->public.check_status)
        audit->public.check_status =
            previrt_table_check(notes, (size_t)section->size, section->address, text_at, audit,
                                &audit->public.check_record);
    return PREVIRT_OK;
}

static int compare_records(const void *a, const void *b)
{
    const struct previrt_site *left = a, *right = b;

    if (left->address != right->address)
        return left->address < right->address ? -1 : 1;
    return left->slot < right->slot ? -1 : left->slot > right->slot;
}

static int read_view(struct audit *audit, const struct pv_view *view)
{
    for (size_t i = 1; i < view->section_count; i++) {
        const struct pv_view_section *section = &view->sections[i];
        uint8_t *notes;
        int status;

        if (section->type != SHT_NOTE || !(section->flags & SHF_ALLOC) || !section->size)
            continue;
        status = pv_view_relocated(view, section, &notes);
        if (status)
            return status;
        status = read_notes(audit, section, notes);
        free(notes);
        if (status)
            return status;
    }
    return PREVIRT_OK;
}

static int read_table(struct audit *audit)
{
    int status = read_view(audit, &audit->elf);

    for (size_t i = 0; !status && i < audit->walk.embedded_count; i++)
        status = read_view(audit, &audit->walk.embedded[i].view);
    if (status)
        return status;
    if (audit->record_count)
        qsort(audit->records, audit->record_count, sizeof(*audit->records), compare_records);
    audit->public.records = audit->record_count;
    return PREVIRT_OK;
}

/* ---- places ---- */

struct place {
    const char *section, *symbol;
    uint64_t address, symbol_offset;
};

/* How an address is reported: an object's sections have no addresses, so there it is the offset. */
static struct place place_of(const struct audit *audit, uint64_t address)
{
    const struct pv_code *code = pv_walk_code_at(&audit->walk, address);
    const struct pv_view *view = code ? code->view : &audit->elf;
    const struct pv_view_section *section =
        code ? code->section : pv_view_section_at(view, address);
    const struct pv_view_symbol *symbol = section ? pv_view_symbol_at(view, address) : NULL;
    struct place place = {.address = address};

    if (section) {
        place.section = section->name;
        if (audit->elf.type == ET_REL)
            place.address -= section->address;
    }
    if (symbol) {
        place.symbol = symbol->name;
        place.symbol_offset = address - symbol->address;
    }
    return place;
}

/* ---- records against operations ---- */

/* Index of the operation found at (address), on IA-64 in (slot), or the count. */
static size_t find_site(const struct audit *audit, uint64_t address, unsigned slot)
{
    size_t low = 0, high = audit->walk.site_count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (audit->walk.sites[middle].address < address ||
            (audit->walk.sites[middle].address == address && audit->walk.sites[middle].slot < slot))
            low = middle + 1;
        else
            high = middle;
    }
    if (low < audit->walk.site_count && audit->walk.sites[low].address == address &&
        audit->walk.sites[low].slot == slot)
        return low;
    return audit->walk.site_count;
}

static int add_stray(struct audit *audit, const struct previrt_site *record,
                     enum previrt_stray_reason why, int status, unsigned found)
{
    struct place place = place_of(audit, record->address);
    struct previrt_audit_stray *stray;

    if (audit->public.stray_count == audit->stray_capacity) {
        size_t capacity = audit->stray_capacity ? audit->stray_capacity * 2 : 64;
        struct previrt_audit_stray *grown = realloc(audit->strays, capacity * sizeof(*grown));

        if (!grown)
            return PREVIRT_E_MEMORY;
        audit->strays = grown;
        audit->stray_capacity = capacity;
    }
    stray = &audit->strays[audit->public.stray_count++];
    memset(stray, 0, sizeof(*stray));
    stray->section = place.section;
    stray->symbol = place.symbol;
    stray->address = place.address;
    stray->symbol_offset = place.symbol_offset;
    stray->record = *record;
    stray->record.address = place.address;
    stray->status = status;
    stray->why = (uint8_t)why;
    stray->found = (uint8_t)found;
    return PREVIRT_OK;
}

/* What follows the sti of a fused operation; PREVIRT_IA32_NO_OP: it is not fused. */
static unsigned second_of(unsigned op)
{
    switch (op) {
    case PREVIRT_IA32_STI_HLT:
        return PREVIRT_IA32_HLT;
    case PREVIRT_IA32_STI_MWAIT:
        return PREVIRT_IA32_MWAIT;
    case PREVIRT_IA32_STI_SYSEXIT:
        return PREVIRT_IA32_SYSEXIT;
    default:
        return PREVIRT_IA32_NO_OP;
    }
}

static void annotate(struct previrt_audit_site *site, const struct previrt_site *record,
                     unsigned fused)
{
    site->verdict = PREVIRT_ANNOTATED;
    site->missed = 0;
    site->form = record->form;
    site->room = (uint8_t)(record->length + record->pad);
    site->wanted = previrt_ia32_op_info(record->op)->room;
    site->fused = (uint8_t)fused;
}

/* The same for IA-64. */
static int match_ia64_record(struct audit *audit, const struct previrt_site *record)
{
    size_t index = find_site(audit, record->address, record->slot);
    struct previrt_audit_site *site;
    int status;

    if (record->arch != PREVIRT_ARCH_IA64)
        return add_stray(audit, record, PREVIRT_STRAY_ARCHITECTURE, 0, 0);
    if (!pv_walk_code_at(&audit->walk, record->address))
        return add_stray(audit, record, PREVIRT_STRAY_NO_CODE, 0, 0);
    if (index == audit->walk.site_count)
        return add_stray(audit, record, PREVIRT_STRAY_NOT_SENSITIVE, 0, 0);
    site = &audit->sites[index];
    status = previrt_ia64_match_site(record, site->bytes, NULL);
    if (status) {
        site->missed = PREVIRT_MISSED_OTHER_RECORD;
        return add_stray(audit, record, PREVIRT_STRAY_OTHER, status, audit->walk.sites[index].op);
    }
    site->verdict = PREVIRT_ANNOTATED;
    site->missed = 0;
    site->pinned = (record->operand & PREVIRT_IA64_OPERAND_PINNED) != 0;
    audit->public.pinned += site->pinned;
    if (!site->pinned && pv_walk_is_pinned(&audit->walk, record->address))
        return add_stray(audit, record, PREVIRT_STRAY_NOT_PINNED, 0, record->op);
    return PREVIRT_OK;
}

/* One record: marks the operation that it names, or is a stray. */
static int match_record(struct audit *audit, const struct previrt_site *record)
{
    const struct pv_found *found;
    struct previrt_audit_site *site;
    size_t index = find_site(audit, record->address, 0);
    unsigned second = second_of(record->op);
    const uint8_t *bytes;
    size_t available;
    int status;

    if (record->arch != PREVIRT_ARCH_IA32 || audit->walk.decoder.bits != 32)
        return add_stray(audit, record, PREVIRT_STRAY_ARCHITECTURE, 0, 0);
    if (!pv_walk_code_at(&audit->walk, record->address))
        return add_stray(audit, record, PREVIRT_STRAY_NO_CODE, 0, 0);
    if (index == audit->walk.site_count)
        return add_stray(audit, record, PREVIRT_STRAY_NOT_SENSITIVE, 0, 0);
    found = &audit->walk.sites[index];
    site = &audit->sites[index];

    if (record->flags & PREVIRT_SITE_DORMANT) {
        audit->public.dormant_records++;
        if (record->op != found->op)
            goto other;
        site->recorded = 1;
        return PREVIRT_OK;
    }

    available = (size_t)(audit->walk.codes[found->code].section->size -
                         (found->address - audit->walk.codes[found->code].section->address));
    bytes = site->bytes;
    status = previrt_ia32_match_site(record, bytes, available, NULL);
    if (status) {
        site->missed = PREVIRT_MISSED_OTHER_RECORD;
        return add_stray(audit, record, PREVIRT_STRAY_OTHER, status, found->op);
    }
    if (!second) {
        if (record->op != found->op || record->length != found->length)
            goto other;
        annotate(site, record, 0);
    } else {
        const struct pv_found *next = found + 1;

        if (found->op != PREVIRT_IA32_STI || index + 1 >= audit->walk.site_count ||
            next->address != found->address + found->length || next->op != second ||
            found->length + next->length != record->length)
            goto other;
        annotate(site, record, 1);
        annotate(site + 1, record, 2);
    }
    if (site->room < site->wanted)
        audit->public.shortfalls++;
    return PREVIRT_OK;
other:
    site->missed = PREVIRT_MISSED_OTHER_RECORD;
    return add_stray(audit, record, PREVIRT_STRAY_OTHER, PREVIRT_OK, found->op);
}

static int match_records(struct audit *audit)
{
    uint64_t end = 0;

    for (size_t i = 0; i < audit->record_count; i++) {
        const struct previrt_site *record = &audit->records[i];
        uint64_t record_end = record->address + record->length + record->pad;
        int status;

        if (audit->public.arch == PREVIRT_ARCH_IA64) {
            /* a bundle has three sites: they overlap where they are one */
            status = i && !compare_records(record, record - 1)
                         ? add_stray(audit, record, PREVIRT_STRAY_OVERLAP, 0, 0)
                         : match_ia64_record(audit, record);
        } else if (i && record->address < end) {
            status = add_stray(audit, record, PREVIRT_STRAY_OVERLAP, 0, 0);
        } else {
            status = match_record(audit, record);
        }
        if (status)
            return status;
        if (record_end > end)
            end = record_end;
    }
    return PREVIRT_OK;
}

/* ---- operations without a record ---- */

/* The alternative whose replacement has (address). */
static const struct pv_alternative *replacement_at(const struct audit *audit, uint64_t address)
{
    for (size_t i = 0; i < audit->walk.alternative_count; i++) {
        const struct pv_alternative *alternative = &audit->walk.alternatives[i];

        if (address - alternative->replacement < alternative->replacement_size)
            return alternative;
    }
    return NULL;
}

/* The alternative that overwrites (address) with something else than NOPs only. */
static const struct pv_alternative *original_at(const struct audit *audit, uint64_t address)
{
    for (size_t i = 0; i < audit->walk.alternative_count; i++) {
        const struct pv_alternative *alternative = &audit->walk.alternatives[i];

        if (address - alternative->original < alternative->original_size)
            return alternative;
    }
    return NULL;
}

/* In a replacement: harmless as long as the feature can be kept from the kernel. */
static void judge_replacement(const struct audit *audit, const struct pv_found *found,
                              struct previrt_audit_site *site)
{
    const struct pv_alternative *alternative = replacement_at(audit, found->address);

    site->verdict = PREVIRT_MISSED;
    if (!alternative) {
        site->missed = PREVIRT_MISSED_NO_ALTERNATIVE;
        return;
    }
    site->feature = alternative->feature;
    if (alternative->inverted || alternative->feature == FEATURE_ALWAYS) {
        site->missed = PREVIRT_MISSED_ALWAYS;
        return;
    }
    site->verdict = PREVIRT_DORMANT;
}

static void judge(struct audit *audit, size_t index)
{
    const struct pv_found *found = &audit->walk.sites[index];
    struct previrt_audit_site *site = &audit->sites[index];
    struct pv_rule_query query = {
        .output = audit->path,
        .section = site->section,
        .symbol = site->symbol,
        .bits = audit->walk.decoder.bits,
    };
    const struct pv_alternative *original;
    const struct pv_rule *rule;

    original = original_at(audit, found->address);
    if (original)
        site->overwritten_by = original->feature;
    if (site->verdict == PREVIRT_ANNOTATED)
        return;
    rule = pv_rules_match(audit->rules, &query);
    if ((rule && rule->action == PV_RULE_DORMANT) ||
        strcmp(site->section, ".altinstr_replacement") == 0) {
        judge_replacement(audit, found, site);
    } else if (rule && rule->action == PV_RULE_EXCLUDE) {
        site->verdict = PREVIRT_EXCLUDED;
    } else {
        site->verdict = PREVIRT_MISSED;
        if (!site->missed)
            site->missed = PREVIRT_MISSED_NO_RECORD;
        return;
    }
    if (rule) {
        site->rule = rule->name;
        site->reason = rule->reason;
    }
}

static int list_sites(struct audit *audit)
{
    audit->sites = calloc(audit->walk.site_count + 1, sizeof(*audit->sites));
    if (!audit->sites)
        return PREVIRT_E_MEMORY;
    for (size_t i = 0; i < audit->walk.site_count; i++) {
        const struct pv_found *found = &audit->walk.sites[i];
        const struct pv_code *code = &audit->walk.codes[found->code];
        struct place place = place_of(audit, found->address);

        audit->sites[i] = (struct previrt_audit_site){
            .section = code->section->name,
            .symbol = place.symbol,
            .bytes = code->bytes + (found->address - code->section->address),
            .address = place.address,
            .symbol_offset = place.symbol_offset,
            .feature = NO_FEATURE,
            .overwritten_by = NO_FEATURE,
            .length = found->length,
            .op = found->op,
            .overlapping = found->overlapping,
            .slot = found->slot,
            .container = code->container,
        };
    }
    return PREVIRT_OK;
}

static int list_undecided(struct audit *audit)
{
    audit->undecided = calloc(audit->walk.undecided_count + 1, sizeof(*audit->undecided));
    if (!audit->undecided)
        return PREVIRT_E_MEMORY;
    for (size_t i = 0; i < audit->walk.undecided_count; i++) {
        const struct pv_undecided *range = &audit->walk.undecided[i];
        struct place place = place_of(audit, range->address);

        audit->undecided[i] = (struct previrt_audit_undecided){
            .section = audit->walk.codes[range->code].section->name,
            .symbol = place.symbol,
            .address = place.address,
            .symbol_offset = place.symbol_offset,
            .length = range->size,
            .out_of_sync = range->reason == PV_OUT_OF_SYNC,
            .op = range->op,
        };
        audit->public.hidden |= range->op != PREVIRT_IA32_NO_OP;
    }
    return PREVIRT_OK;
}

static void sum_up(struct audit *audit)
{
    struct previrt_audit *public = &audit->public;

    public->sites = audit->sites;
    public->site_count = audit->walk.site_count;
    public->strays = audit->strays;
    public->undecided = audit->undecided;
    public->undecided_count = audit->walk.undecided_count;
    public->code_bytes = audit->walk.code_bytes;
    public->data_bytes = audit->walk.data_bytes;
    public->filler_bytes = audit->walk.filler_bytes;
    public->undecided_bytes = audit->walk.undecided_bytes;
    public->instructions = audit->walk.instructions;
    public->alternatives = audit->walk.alternative_count;
    public->odd_alternatives = audit->walk.odd_alternatives;
    public->bits = (uint16_t)audit->walk.decoder.bits;
    public->has_symbols = audit->elf.symbol_count != 0;
    public->images = audit->walk.embedded_count;
    for (size_t i = 0; i < audit->walk.site_count; i++) {
        const struct previrt_audit_site *site = &audit->sites[i];

        public->counts[site->verdict][site->op]++;
        public->totals[site->verdict]++;
    }
}

static int run(struct audit *audit, const void *file, size_t size, unsigned bits)
{
    int status = pv_view_open(&audit->elf, file, size);

    audit->public.arch = audit->elf.machine == EM_IA_64 ? PREVIRT_ARCH_IA64 : PREVIRT_ARCH_IA32;
    if (!status)
        status = pv_walk_run(&audit->walk, &audit->elf, bits);
    if (!status)
        status = read_table(audit);
    if (!status)
        status = list_sites(audit);
    if (!status)
        status = match_records(audit);
    if (!status)
        status = list_undecided(audit);
    if (status)
        return status;
    for (size_t i = 0; i < audit->walk.site_count; i++)
        judge(audit, i);
    sum_up(audit);
    return PREVIRT_OK;
}

static struct audit *new_audit(const struct previrt_audit_options *options)
{
    struct audit *audit = calloc(1, sizeof(*audit));

    if (audit && options) {
        audit->rules = options->rules;
        audit->path = options->path;
    }
    return audit;
}

static int check_options(const struct previrt_audit_options *options)
{
    if (options &&
        (options->size < sizeof(*options) ||
         (options->bits && options->bits != 16 && options->bits != 32 && options->bits != 64)))
        return PREVIRT_E_INVALID;
    return PREVIRT_OK;
}

int previrt_audit_mem(const void *file, size_t size, const struct previrt_audit_options *options,
                      const struct previrt_audit **out)
{
    struct audit *audit;
    int status;

    if (!file || !out || check_options(options))
        return PREVIRT_E_INVALID;
    *out = NULL;
    audit = new_audit(options);
    if (!audit)
        return PREVIRT_E_MEMORY;
    status = run(audit, file, size, options ? options->bits : 0);
    if (status)
        previrt_audit_free(&audit->public);
    else
        *out = &audit->public;
    return status;
}

int previrt_audit_file(const char *path, const struct previrt_audit_options *options,
                       const struct previrt_audit **out)
{
    struct audit *audit;
    int status;

    if (!path || !out || check_options(options))
        return PREVIRT_E_INVALID;
    *out = NULL;
    audit = new_audit(options);
    if (!audit)
        return PREVIRT_E_MEMORY;
    status = pv_file_open(&audit->file, path);
    if (!status)
        status = run(audit, audit->file.data, audit->file.size, options ? options->bits : 0);
    if (status)
        previrt_audit_free(&audit->public);
    else
        *out = &audit->public;
    return status;
}

int previrt_audit_has_findings(const struct previrt_audit *audit)
{
    return audit->totals[PREVIRT_MISSED] || audit->stray_count || audit->hidden ||
           audit->check_status != PREVIRT_OK;
}

void previrt_audit_free(const struct previrt_audit *public)
{
    struct audit *audit = (struct audit *)public;

    if (!audit)
        return;
    pv_walk_free(&audit->walk);
    pv_view_close(&audit->elf);
    pv_file_close(&audit->file);
    free(audit->sites);
    free(audit->strays);
    free(audit->undecided);
    free(audit->records);
    free(audit);
}
