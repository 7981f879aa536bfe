/* SPDX-License-Identifier: BSD-2-Clause */
/* Plan, commit and revert: what is refused leaves everything as it was, what is done can be undone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <previrt/rewrite.h>
#include <previrt/vcpu.h>

enum { TEXT = 0xc1000000, TEXT_SIZE = 4096, NOTES = 0xc1002000, STUBS = 0xc0020000 };
enum { STUB_BYTES = 4096, NOTES_BYTES = 8192, FILLER = 0xcc };

struct fixture {
    uint8_t text[TEXT_SIZE], pristine[TEXT_SIZE];
    uint8_t stubs[STUB_BYTES], pristine_stubs[STUB_BYTES];
    uint8_t notes[NOTES_BYTES];
    size_t notes_size;
    struct previrt_site sites[64];
    size_t count;
    struct previrt_region region;
    struct previrt_memory memory;
    struct previrt_target target;
    void *buffer;
    size_t buffer_size;
    struct previrt_plan *plan;
};

static const uint8_t *text_of(void *context, uint64_t address, size_t length)
{
    struct fixture *f = context;

    return address >= TEXT && address + length <= TEXT + TEXT_SIZE ? f->text + (address - TEXT)
                                                                   : NULL;
}

/* Puts an instruction of (length) bytes and (pad) NOPs at (offset) and records it. */
static void add_site(struct fixture *f, uint32_t offset, const void *bytes, size_t length,
                     unsigned pad)
{
    struct previrt_ia32_insn insn;
    struct previrt_site *site = &f->sites[f->count++];

    memcpy(f->text + offset, bytes, length);
    memset(f->text + offset + length, 0x90, pad);
    assert_int_equal(previrt_ia32_decode_site(f->text + offset, length, 1, &insn), PREVIRT_OK);
    memset(site, 0, sizeof(*site));
    previrt_ia32_site_from_insn(&insn, site);
    site->arch = PREVIRT_ARCH_IA32;
    site->address = TEXT + offset;
    site->pad = (uint8_t)pad;
}

static void encode(struct fixture *f)
{
    f->notes_size = sizeof(f->notes);
    assert_int_equal(
        previrt_table_encode(f->sites, f->count, NOTES, text_of, f, f->notes, &f->notes_size),
        PREVIRT_OK);
    memcpy(f->pristine, f->text, sizeof(f->text));
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    memset(f->text, FILLER, sizeof(f->text));
    memset(f->stubs, FILLER, sizeof(f->stubs));
    memset(f->pristine_stubs, FILLER, sizeof(f->pristine_stubs));
    f->region = (struct previrt_region){TEXT, TEXT_SIZE, f->text, f->text, PREVIRT_REGION_EXECUTE};
    f->memory = (struct previrt_memory){&f->region, 1};
    f->buffer_size = previrt_plan_bound(64);
    f->buffer = malloc(f->buffer_size);
    previrt_target_native(&f->target);
    f->target.stub_address = STUBS;
    f->target.stub_size = STUB_BYTES;
    f->target.stub_memory = f->stubs;
    add_site(f, 0x10, "\x3e\x3e\x3e\x3e\x3e\x3e\xfa", 7, 0); /* cli */
    add_site(f, 0x20, "\xec", 1, 4);                         /* in %dx,%al */
    add_site(f, 0x30, "\xec", 1, 4);                         /* again */
    add_site(f, 0x40, "\x0f\x01\x5c\x24\x04", 5, 0);         /* lidt 4(%esp) */
    add_site(f, 0x50, "\xcf", 1, 4);                         /* iret */
    add_site(f, 0x60, "\x9c", 1, 5);                         /* pushf */
    add_site(f, 0x70, "\xfb\xf4", 2, 3);                     /* sti; hlt */
    add_site(f, 0x80, "\xea\x00\x00\x00\xc1\x08\x00", 7, 0); /* ljmp */
    add_site(f, 0x90, "\x0f\x22\xc0", 3, 2);                 /* mov %eax,%cr0 */
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    free(f->buffer);
    free(f);
    return 0;
}

static int plan(struct fixture *f)
{
    return previrt_plan(&f->memory, f->notes, f->notes_size, NOTES, &f->target, f->buffer,
                        f->buffer_size, &f->plan);
}

static void assert_untouched(const struct fixture *f)
{
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
    assert_memory_equal(f->stubs, f->pristine_stubs, sizeof(f->stubs));
}

/* One site refused for (status), a commit refused, nothing touched. */
static void assert_refused(struct fixture *f, int status, uint64_t address)
{
    struct previrt_refusal refusal;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};

    assert_int_equal(plan(f), PREVIRT_E_REFUSED);
    assert_int_equal(previrt_plan_refusal(f->plan, 0, &refusal), PREVIRT_OK);
    assert_int_equal(refusal.status, status);
    assert_int_equal(refusal.address, address);
    assert_int_equal(previrt_plan_refusal(f->plan, 1, &refusal), PREVIRT_E_RANGE);
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    assert_int_equal(stats.refused, 1);
    assert_int_equal(stats.state, PREVIRT_PLAN_REFUSED);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_STATE);
    assert_untouched(f);
}

static void a_plan_changes_nothing(void **state)
{
    struct fixture *f = *state;

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_untouched(f);
}

static void commit_then_revert_restores_every_byte(void **state)
{
    struct fixture *f = *state;
    uint8_t committed[TEXT_SIZE];
    struct previrt_plan_stats stats = {.size = sizeof(stats)};

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_revert(f->plan), PREVIRT_E_STATE);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_STATE);
    memcpy(committed, f->text, sizeof(committed));
    for (size_t i = 0; i < f->count; i++) /* every site is a call or a jmp now */
        assert_int_equal(f->text[f->sites[i].address - TEXT] & 0xfe, 0xe8);
    for (size_t i = 0, next = 0; i < TEXT_SIZE; i++) { /* and nothing else has changed */
        while (next < f->count &&
               i + TEXT >= f->sites[next].address + f->sites[next].length + f->sites[next].pad)
            next++;
        if (next == f->count || i + TEXT < f->sites[next].address)
            assert_int_equal(f->text[i], f->pristine[i]);
    }
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    assert_int_equal(stats.stubbed, f->count);
    assert_int_equal(stats.stubs, f->count - 1); /* the two in share theirs */
    assert_int_equal(previrt_revert(f->plan), PREVIRT_OK);
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
    assert_int_equal(previrt_revert(f->plan), PREVIRT_E_STATE);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_memory_equal(f->text, committed, sizeof(committed));
}

static void writes_go_through_the_alias(void **state)
{
    struct fixture *f = *state;
    uint8_t alias[TEXT_SIZE];

    encode(f);
    memcpy(alias, f->text, sizeof(alias));
    f->region.write = alias;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
    assert_memory_not_equal(alias, f->pristine, sizeof(alias));
}

static void a_region_that_cannot_be_written_is_not_half_written(void **state)
{
    struct fixture *f = *state;

    encode(f);
    f->region.write = NULL;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_INVALID);
    assert_untouched(f);
}

static void text_that_changed_since_the_plan_stops_the_commit(void **state)
{
    struct fixture *f = *state;

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    f->text[0x92] ^= 1; /* the last site */
    memcpy(f->pristine, f->text, sizeof(f->text));
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_BYTES);
    assert_untouched(f);
}

static void text_that_changed_since_the_commit_stops_the_revert(void **state)
{
    struct fixture *f = *state;

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    f->text[0x92] ^= 1;
    memcpy(f->pristine, f->text, sizeof(f->text));
    assert_int_equal(previrt_revert(f->plan), PREVIRT_E_BYTES);
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
}

static void other_bytes_are_refused(void **state)
{
    struct fixture *f = *state;

    encode(f);
    f->text[0x20] = 0xed;
    memcpy(f->pristine, f->text, sizeof(f->text));
    assert_refused(f, PREVIRT_E_BYTES, TEXT + 0x20);
}

static void a_tail_that_is_no_nop_is_refused(void **state)
{
    struct fixture *f = *state;

    encode(f);
    f->text[0x23] = 0xc3;
    memcpy(f->pristine, f->text, sizeof(f->text));
    assert_refused(f, PREVIRT_E_TAIL, TEXT + 0x20);
}

static void a_site_outside_the_text_is_refused(void **state)
{
    struct fixture *f = *state;

    encode(f);
    f->region.size = 0x93; /* ends within the last site */
    assert_refused(f, PREVIRT_E_RANGE, TEXT + 0x90);
}

static void a_site_in_data_is_refused(void **state)
{
    struct fixture *f = *state;
    struct previrt_region regions[2] = {f->region, f->region};

    encode(f);
    regions[0].size = 0x88;
    regions[1] = (struct previrt_region){TEXT + 0x88, 0x100, f->text + 0x88, f->text + 0x88, 0};
    f->memory = (struct previrt_memory){regions, 2};
    assert_refused(f, PREVIRT_E_RANGE, TEXT + 0x90);
}

static void too_little_room_is_refused_or_left_to_a_trap(void **state)
{
    struct fixture *f = *state;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};

    add_site(f, 0xa0, "\xee", 1, 3); /* out %al,%dx traps */
    encode(f);
    assert_refused(f, PREVIRT_E_ROOM, TEXT + 0xa0);
    f->target.flags |= PREVIRT_TARGET_TRAPS;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    assert_int_equal(stats.kept, 1);
    assert_int_equal(stats.op[PREVIRT_IA32_OUT].kept, 1);

    f->target.flags &= ~(uint32_t)PREVIRT_TARGET_TRAPS;
    f->target.action[PREVIRT_IA32_OUT] = PREVIRT_ACTION_KEEP;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_memory_equal(f->text + 0xa0, f->pristine + 0xa0, 4);
}

static void pushf_does_not_trap_so_it_is_not_left(void **state)
{
    struct fixture *f = *state;

    add_site(f, 0xa0, "\x9c", 1, 3);
    encode(f);
    f->target.flags |= PREVIRT_TARGET_TRAPS;
    assert_refused(f, PREVIRT_E_ROOM, TEXT + 0xa0);
}

/* Two fragments, encoded apart, stand one behind the other as the linker leaves them. */
static void encode_two(struct fixture *f, struct previrt_site *second, size_t count)
{
    size_t size = sizeof(f->notes);
    size_t first;

    encode(f);
    first = f->notes_size;
    size -= first;
    assert_int_equal(
        previrt_table_encode(second, count, NOTES + first, text_of, f, f->notes + first, &size),
        PREVIRT_OK);
    f->notes_size = first + size;
}

static void sites_of_two_fragments_may_interleave(void **state)
{
    struct fixture *f = *state;
    struct previrt_site second;
    struct previrt_plan_site site, before = {0};

    add_site(f, 0x18, "\xfa", 1, 6);
    second = f->sites[--f->count];
    encode_two(f, &second, 1);
    assert_int_equal(plan(f), PREVIRT_OK);
    for (size_t i = 0; i <= f->count; i++) { /* in address order */
        assert_int_equal(previrt_plan_site(f->plan, i, &site), PREVIRT_OK);
        assert_true(site.address > before.address);
        before = site;
    }
    assert_int_equal(previrt_plan_site(f->plan, f->count + 1, &site), PREVIRT_E_RANGE);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_int_equal(previrt_revert(f->plan), PREVIRT_OK);
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
}

static void overlap_across_fragments_is_refused(void **state)
{
    struct fixture *f = *state;
    struct previrt_site second = f->sites[1];

    encode_two(f, &second, 1);
    assert_refused(f, PREVIRT_E_OVERLAP, TEXT + 0x20);
}

static void a_wrong_digest_fails(void **state)
{
    enum { DIGEST_OFFSET = 12 + 8 + 4 }; /* note head, name, version, architecture, count */
    struct fixture *f = *state;

    encode(f);
    f->notes[DIGEST_OFFSET] ^= 1;
    assert_int_equal(plan(f), PREVIRT_E_DIGEST);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_STATE);
    assert_untouched(f);
    f->target.flags |= PREVIRT_TARGET_NO_DIGEST;
    assert_int_equal(plan(f), PREVIRT_OK);
}

static void every_truncated_table_fails(void **state)
{
    struct fixture *f = *state;
    size_t full;

    encode(f);
    full = f->notes_size;
    for (size_t size = full - 1; size > 0; size--) {
        f->notes_size = size;
        if (size + 4 > full && plan(f) == PREVIRT_OK)
            continue; /* only padding is gone */
        assert_true(plan(f) < 0);
        if (f->plan)
            assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_STATE);
        assert_untouched(f);
    }
}

static void every_flipped_bit_fails_or_can_be_undone(void **state)
{
    struct fixture *f = *state;
    size_t refused = 0;

    encode(f);
    for (size_t bit = 0; bit < 8 * f->notes_size; bit++) {
        f->notes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (plan(f) == PREVIRT_OK) {
            assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
            assert_int_equal(previrt_revert(f->plan), PREVIRT_OK);
            memcpy(f->stubs, f->pristine_stubs, sizeof(f->stubs));
        } else {
            refused++;
        }
        assert_untouched(f);
        f->notes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_true(refused > f->notes_size * 4); /* flags may flip unseen, little else */
}

static void a_full_stub_area_refuses_what_does_not_fit(void **state)
{
    struct fixture *f = *state;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    uint32_t needed;

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    needed = stats.stub_bytes;
    for (uint32_t size = 0; size < needed; size++) {
        struct previrt_refusal refusal;

        f->target.stub_size = size;
        assert_int_equal(plan(f), PREVIRT_E_REFUSED);
        assert_int_equal(previrt_plan_refusal(f->plan, 0, &refusal), PREVIRT_OK);
        assert_int_equal(refusal.status, PREVIRT_E_STUBS);
        assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_E_STATE);
        assert_untouched(f);
    }
    f->target.stub_size = needed;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, f->stubs, needed - 1), PREVIRT_E_STUBS);
    assert_untouched(f);
    assert_int_equal(previrt_commit(f->plan, f->stubs, needed), PREVIRT_OK);
    assert_memory_equal(f->stubs + needed, f->pristine_stubs, STUB_BYTES - needed);
}

static void stub_areas_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;

    encode(f);
    f->target.stub_address = 0x100000000ull - 16;
    assert_int_equal(plan(f), PREVIRT_E_REACH);
    f->target.stub_address = 0x100000000ull;
    assert_int_equal(plan(f), PREVIRT_E_REACH);
    f->target.stub_address = TEXT + TEXT_SIZE - 1;
    assert_int_equal(plan(f), PREVIRT_E_INVALID);
    f->target.stub_address = TEXT - STUB_BYTES + 1;
    assert_int_equal(plan(f), PREVIRT_E_INVALID);
    f->target.stub_address = TEXT - STUB_BYTES;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_untouched(f);
}

static void regions_that_cannot_be_are_refused(void **state)
{
    struct fixture *f = *state;
    struct previrt_region regions[2] = {f->region, f->region};

    encode(f);
    f->memory = (struct previrt_memory){regions, 2}; /* the same twice */
    assert_int_equal(plan(f), PREVIRT_E_INVALID);
    f->memory = (struct previrt_memory){&f->region, 1};
    f->region.size = 0x100000000ull;
    assert_int_equal(plan(f), PREVIRT_E_INVALID);
    f->region.size = UINT64_MAX;
    assert_int_equal(plan(f), PREVIRT_E_INVALID);
}

static void a_small_buffer_is_refused(void **state)
{
    struct fixture *f = *state;
    size_t count;

    encode(f);
    assert_int_equal(previrt_plan_count(f->notes, f->notes_size, NOTES, &count), PREVIRT_OK);
    assert_int_equal(count, f->count);
    f->buffer_size = previrt_plan_bound(f->count) - 1;
    assert_int_equal(plan(f), PREVIRT_E_SPACE);
    f->buffer_size = 16;
    assert_int_equal(plan(f), PREVIRT_E_SPACE);
    assert_null(f->plan);
    f->buffer_size = previrt_plan_bound(f->count);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_plan_bound(SIZE_MAX), 0);
}

static void dormant_sites_are_left_and_counted(void **state)
{
    struct fixture *f = *state;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    struct previrt_site *site;

    add_site(f, 0xa0, "\x0f\x31", 2, 0); /* rdtsc */
    site = &f->sites[f->count - 1];
    site->length = 0;
    site->flags = PREVIRT_SITE_DORMANT;
    site->feature = PREVIRT_FEATURE_UNKNOWN;
    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    assert_int_equal(stats.dormant, 1);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_memory_equal(f->text + 0xa0, "\x0f\x31\xcc", 3);
}

static void stubs_lead_back_to_their_sites(void **state)
{
    struct fixture *f = *state;
    struct previrt_plan_site site;
    struct previrt_plan_stub stub;
    uint64_t found;

    encode(f);
    assert_int_equal(plan(f), PREVIRT_OK);
    for (size_t i = 0; i < f->count; i++) {
        assert_int_equal(previrt_plan_site_at(f->plan, f->sites[i].address + 1, &site), PREVIRT_OK);
        assert_int_equal(site.address, f->sites[i].address);
        assert_int_equal(previrt_plan_site_of_stub(f->plan, site.stub, site.address + 5, &found),
                         PREVIRT_OK);
        assert_int_equal(found, site.address);
    }
    /* the shared one needs the right return address */
    assert_int_equal(previrt_plan_site_at(f->plan, TEXT + 0x20, &site), PREVIRT_OK);
    assert_int_equal(previrt_plan_stub_at(f->plan, site.stub, &stub), PREVIRT_OK);
    assert_int_equal(stub.sites, 2);
    assert_memory_equal(stub.code, "\xec\xc3", 2); /* in %dx,%al; ret */
    assert_int_equal(previrt_plan_site_of_stub(f->plan, site.stub, TEXT + 0x30 + 5, &found),
                     PREVIRT_OK);
    assert_int_equal(found, TEXT + 0x30);
    assert_int_equal(previrt_plan_site_of_stub(f->plan, site.stub, TEXT + 0x10 + 5, &found),
                     PREVIRT_E_RANGE);
    assert_int_equal(previrt_plan_site_of_stub(f->plan, site.stub, 0, &found), PREVIRT_E_RANGE);
    assert_int_equal(previrt_plan_site_of_stub(f->plan, STUBS - 1, 0, &found), PREVIRT_E_RANGE);
    assert_int_equal(previrt_plan_site_at(f->plan, TEXT, &site), PREVIRT_E_RANGE);
}

static void vcpu_inlines_the_hot_operations(void **state)
{
    enum { PAGE = 0xff800000 };
    static const uint8_t cli[] = {0xc6, 0x05, 0x01, 0x00, 0x80, 0xff, 0x00};
    struct fixture *f = *state;
    struct previrt_plan_site site;
    struct previrt_plan_stats stats = {.size = sizeof(stats)};

    f->sites[5].flags = PREVIRT_SITE_FLAGS_DEAD; /* pushf */
    encode(f);
    previrt_target_vcpu(&f->target, PAGE);
    f->target.stub_address = STUBS;
    f->target.stub_size = STUB_BYTES;
    f->target.stub_memory = f->stubs;
    assert_int_equal(plan(f), PREVIRT_OK);
    assert_int_equal(previrt_commit(f->plan, NULL, 0), PREVIRT_OK);
    assert_memory_equal(f->text + 0x10, cli, sizeof(cli));
    assert_memory_equal(f->text + 0x60, "\xff\x35\x00\x00\x80\xff", 6);
    assert_int_equal(previrt_plan_site_at(f->plan, TEXT + 0x60, &site), PREVIRT_OK);
    assert_int_equal(site.transfer, PREVIRT_TRANSFER_INLINE);
    assert_int_equal(previrt_plan_stats(f->plan, &stats), PREVIRT_OK);
    assert_int_equal(stats.inlined, 2);
    assert_int_equal(previrt_revert(f->plan), PREVIRT_OK);
    assert_memory_equal(f->text, f->pristine, sizeof(f->text));
}

/* An emitter of one's own, and what a plan does with a bad one. */
static int emit(void *context, struct previrt_stub_request *request)
{
    memset(request->code, 0xf4, 4);
    request->length = *(const uint32_t *)context;
    return PREVIRT_OK;
}

static void emitters_are_not_trusted(void **state)
{
    struct fixture *f = *state;
    uint32_t length = 3;

    encode(f);
    f->target.emit = emit;
    f->target.emit_context = &length;
    assert_int_equal(plan(f), PREVIRT_OK);
    length = 0;
    assert_int_equal(plan(f), PREVIRT_E_REFUSED);
    length = PREVIRT_STUB_MAX + 1;
    assert_int_equal(plan(f), PREVIRT_E_REFUSED);
    assert_untouched(f);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    static const struct CMUnitTest tests[] = {
        CASE(a_plan_changes_nothing),
        CASE(commit_then_revert_restores_every_byte),
        CASE(writes_go_through_the_alias),
        CASE(a_region_that_cannot_be_written_is_not_half_written),
        CASE(text_that_changed_since_the_plan_stops_the_commit),
        CASE(text_that_changed_since_the_commit_stops_the_revert),
        CASE(other_bytes_are_refused),
        CASE(a_tail_that_is_no_nop_is_refused),
        CASE(a_site_outside_the_text_is_refused),
        CASE(a_site_in_data_is_refused),
        CASE(too_little_room_is_refused_or_left_to_a_trap),
        CASE(pushf_does_not_trap_so_it_is_not_left),
        CASE(sites_of_two_fragments_may_interleave),
        CASE(overlap_across_fragments_is_refused),
        CASE(a_wrong_digest_fails),
        CASE(every_truncated_table_fails),
        CASE(every_flipped_bit_fails_or_can_be_undone),
        CASE(a_full_stub_area_refuses_what_does_not_fit),
        CASE(stub_areas_that_cannot_be_are_refused),
        CASE(regions_that_cannot_be_are_refused),
        CASE(a_small_buffer_is_refused),
        CASE(dormant_sites_are_left_and_counted),
        CASE(stubs_lead_back_to_their_sites),
        CASE(vcpu_inlines_the_hot_operations),
        CASE(emitters_are_not_trusted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
