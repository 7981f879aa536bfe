/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A hostile table and hostile text: plan, commit, revert. Whatever the input, nothing outside the
 * sites of a complete plan changes, and a revert restores every byte.
 *
 * Input: byte 0 chooses target and flags, bytes 1-2 the size of the text, byte 3 the size of the
 * stub area in units of 16; then the text, then the notes.
 */
#include <previrt/rewrite.h>

#include <stdlib.h>
#include <string.h>

enum { TEXT = 0xc1000000, NOTES = 0xc2000000, STUBS = 0xc0020000, HEAD = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct previrt_plan_stats stats = {.size = sizeof(stats)};
    struct previrt_plan *plan = NULL;
    struct previrt_target target;
    struct previrt_region region;
    struct previrt_memory memory = {&region, 1};
    size_t text_size, notes_size, stub_size, count = 0, bound;
    uint8_t *text, *original, *stubs;
    void *buffer;
    int status;

    if (size < HEAD)
        return 0;
    text_size = data[1] | (size_t)data[2] << 8;
    if (text_size > size - HEAD)
        text_size = size - HEAD;
    notes_size = size - HEAD - text_size;
    stub_size = (size_t)data[3] * 16;
    previrt_plan_count(data + HEAD + text_size, notes_size, NOTES, &count);
    bound =
        previrt_plan_bound(count + (data[0] >> 3 & 1)); /* also one record more than there are */
    if (!bound || bound > 1 << 26)
        return 0;
    buffer = malloc(bound);
    text = malloc(text_size + 1);
    original = malloc(text_size + 1);
    stubs = malloc(stub_size + 1);
    require(buffer && text && original && stubs);
    memcpy(text, data + HEAD, text_size);
    memcpy(original, text, text_size);
    region = (struct previrt_region){TEXT, text_size, text, text, PREVIRT_REGION_EXECUTE};
    if (data[0] & 1)
        previrt_target_vcpu(&target, 0xff800000);
    else
        previrt_target_native(&target);
    if (data[0] & 2)
        target.flags |= PREVIRT_TARGET_NO_DIGEST;
    if (data[0] & 4)
        target.flags |= PREVIRT_TARGET_TRAPS | PREVIRT_TARGET_BYTE_NOPS;
    target.stub_address = STUBS;
    target.stub_size = (uint32_t)stub_size;
    target.stub_memory = stubs;

    status = previrt_plan(&memory, data + HEAD + text_size, notes_size, NOTES, &target, buffer,
                          bound, &plan);
    require(!memcmp(text, original, text_size));
    if (plan)
        require(previrt_plan_stats(plan, &stats) == PREVIRT_OK);
    if (status == PREVIRT_OK) {
        struct previrt_plan_site site;
        uint64_t end = 0, found;

        require(stats.stub_bytes <= stub_size && !stats.refused);
        require(previrt_commit(plan, NULL, 0) == PREVIRT_OK);
        for (size_t i = 0; previrt_plan_site(plan, i, &site) == PREVIRT_OK; i++) {
            require(site.address >= end);
            /* between sites nothing changes */
            if (!end)
                end = TEXT;
            require(!memcmp(text + (end - TEXT), original + (end - TEXT), site.address - end));
            end = site.address + site.room;
            if (site.stub)
                require(previrt_plan_site_of_stub(plan, site.stub, site.address + 5, &found) ==
                            PREVIRT_OK &&
                        found == site.address);
        }
        if (!end)
            end = TEXT;
        require(!memcmp(text + (end - TEXT), original + (end - TEXT), TEXT + text_size - end));
        require(previrt_revert(plan) == PREVIRT_OK);
        require(!memcmp(text, original, text_size));
    } else if (plan) {
        require(previrt_commit(plan, NULL, 0) == PREVIRT_E_STATE);
        require(!memcmp(text, original, text_size));
    }
    free(stubs);
    free(original);
    free(text);
    free(buffer);
    return 0;
}
