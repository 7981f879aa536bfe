/* SPDX-License-Identifier: BSD-2-Clause */
/* Who has which physical memory while the loader runs. */
#include "loader.h"

#define PAGE_SIZE 4096u

/* Linux maps the first 896 MiB minus its vmalloc area at most (initrd_addr_max of its boot protocol
 * is 0x37ffffff); nothing of ours needs to lie higher. */
#define PLACE_LIMIT 0x37000000u

static struct place {
    uint32_t start, end;
    const char *owner;
} places[PV_PLACES_MAX];

void pv_place_reset(void)
{
    for (unsigned i = 0; i < PV_PLACES_MAX; i++)
        places[i].owner = NULL;
}

void pv_place_take(uint32_t start, uint32_t end, const char *owner)
{
    for (unsigned i = 0; i < PV_PLACES_MAX; i++) {
        if (!places[i].owner) {
            places[i] = (struct place){start, end, owner};
            return;
        }
    }
    pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "more than %u pieces of memory in use", PV_PLACES_MAX);
}

static const struct place *find(uint32_t start, uint32_t end, const char *except)
{
    for (unsigned i = 0; i < PV_PLACES_MAX; i++) {
        if (places[i].owner && places[i].owner != except && places[i].start < end &&
            start < places[i].end)
            return &places[i];
    }
    return NULL;
}

const char *pv_place_owner_but(uint32_t start, uint32_t end, const char *except)
{
    const struct place *place = find(start, end, except);

    return place ? place->owner : NULL;
}

const char *pv_place_owner(uint32_t start, uint32_t end)
{
    return pv_place_owner_but(start, end, NULL);
}

void pv_place_release(uint32_t start)
{
    for (unsigned i = 0; i < PV_PLACES_MAX; i++) {
        if (places[i].owner && places[i].start == start) {
            places[i].owner = NULL;
            return;
        }
    }
}

uint32_t pv_place_find(uint32_t size, const char *owner)
{
    uint32_t best = 0;

    if (size > PLACE_LIMIT - PV_HIGH_MEMORY)
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "no memory for %u bytes (%s)", size, owner);
    size = (size + PAGE_SIZE - 1) & -PAGE_SIZE;
    for (uint32_t i = 0; i < pv_boot.regions; i++) {
        const struct pv_region *region = &pv_boot.region[i];
        uint64_t top = region->end < PLACE_LIMIT ? region->end : PLACE_LIMIT;
        uint64_t floor = region->start > PV_HIGH_MEMORY ? region->start : PV_HIGH_MEMORY;

        top &= ~(uint64_t)(PAGE_SIZE - 1);
        if (region->type != PV_REGION_RAM)
            continue;
        while (top >= floor + size) {
            uint32_t start = (uint32_t)top - size;
            const struct place *taken = find(start, (uint32_t)top, NULL);

            if (!taken) {
                best = start > best ? start : best;
                break;
            }
            top = taken->start & -PAGE_SIZE;
        }
    }
    if (!best)
        pv_refuse(PREVIRT_RAW_EXIT_MEMORY, "no memory for %u bytes (%s)", size, owner);
    pv_place_take(best, best + size, owner);
    return best;
}
