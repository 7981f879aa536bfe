/* SPDX-License-Identifier: BSD-2-Clause */
/* Bundles: five template bits and three 41-bit slots in sixteen bytes (SDM 1, 3.3; templates: table
 * 3-10). */
#include <previrt/ia64.h>

#define SLOT_MASK ((UINT64_C(1) << PREVIRT_IA64_SLOT_BITS) - 1)

/* Slot 1 straddles the two 64-bit words: 18 of its bits stand in the first, 23 in the second. */
#define TEMPLATE_BITS   5
#define SLOT1_LOW       (TEMPLATE_BITS + PREVIRT_IA64_SLOT_BITS)
#define SLOT1_LOW_BITS  (64 - SLOT1_LOW)
#define SLOT1_HIGH_BITS (PREVIRT_IA64_SLOT_BITS - SLOT1_LOW_BITS)

#define T(number, a, b, c, stops)                                                                  \
    [number] = {                                                                                   \
        #a #b #c, {PREVIRT_IA64_UNIT_##a, PREVIRT_IA64_UNIT_##b, PREVIRT_IA64_UNIT_##c}, stops}
#define AFTER_0 1
#define AFTER_1 2
#define AFTER_2 4

static const struct previrt_ia64_template templates[PREVIRT_IA64_TEMPLATES] = {
    T(0x00, M, I, I, 0),       T(0x01, M, I, I, AFTER_2),
    T(0x02, M, I, I, AFTER_1), T(0x03, M, I, I, AFTER_1 | AFTER_2),
    T(0x04, M, L, X, 0),       T(0x05, M, L, X, AFTER_2),
    T(0x08, M, M, I, 0),       T(0x09, M, M, I, AFTER_2),
    T(0x0a, M, M, I, AFTER_0), T(0x0b, M, M, I, AFTER_0 | AFTER_2),
    T(0x0c, M, F, I, 0),       T(0x0d, M, F, I, AFTER_2),
    T(0x0e, M, M, F, 0),       T(0x0f, M, M, F, AFTER_2),
    T(0x10, M, I, B, 0),       T(0x11, M, I, B, AFTER_2),
    T(0x12, M, B, B, 0),       T(0x13, M, B, B, AFTER_2),
    T(0x16, B, B, B, 0),       T(0x17, B, B, B, AFTER_2),
    T(0x18, M, M, B, 0),       T(0x19, M, M, B, AFTER_2),
    T(0x1c, M, F, B, 0),       T(0x1d, M, F, B, AFTER_2),
};

const struct previrt_ia64_template *previrt_ia64_template(unsigned number)
{
    return number < PREVIRT_IA64_TEMPLATES && templates[number].name[0] ? &templates[number] : NULL;
}

int previrt_ia64_find_template(const uint8_t unit[3], unsigned stops)
{
    for (int number = 0; number < PREVIRT_IA64_TEMPLATES; number++) {
        const struct previrt_ia64_template *t = &templates[number];

        if (t->name[0] && t->stops == stops && t->unit[0] == unit[0] && t->unit[1] == unit[1] &&
            t->unit[2] == unit[2])
            return number;
    }
    return PREVIRT_E_INVALID;
}

static uint64_t load64(const uint8_t *bytes)
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | bytes[i];
    return value;
}

static void store64(uint8_t *bytes, uint64_t value)
{
    for (int i = 0; i < 8; i++, value >>= 8)
        bytes[i] = (uint8_t)value;
}

int previrt_ia64_unpack(const uint8_t *bytes, struct previrt_ia64_bundle *bundle)
{
    uint64_t low, high;

    if (!bytes || !bundle)
        return PREVIRT_E_INVALID;
    low = load64(bytes);
    high = load64(bytes + 8);
    *bundle = (struct previrt_ia64_bundle){{low >> TEMPLATE_BITS & SLOT_MASK,
                                            (low >> SLOT1_LOW | high << SLOT1_LOW_BITS) & SLOT_MASK,
                                            high >> SLOT1_HIGH_BITS},
                                           (uint8_t)(low & (PREVIRT_IA64_TEMPLATES - 1)),
                                           {0}};
    return previrt_ia64_template(bundle->template_number) ? PREVIRT_OK : PREVIRT_E_UNDECODABLE;
}

int previrt_ia64_pack(const struct previrt_ia64_bundle *bundle, uint8_t *bytes)
{
    if (!bundle || !bytes || !previrt_ia64_template(bundle->template_number))
        return PREVIRT_E_INVALID;
    for (int i = 0; i < PREVIRT_IA64_SLOTS; i++)
        if (bundle->slot[i] > SLOT_MASK)
            return PREVIRT_E_INVALID;
    store64(bytes, bundle->template_number | bundle->slot[0] << TEMPLATE_BITS |
                       bundle->slot[1] << SLOT1_LOW);
    store64(bytes + 8, bundle->slot[1] >> SLOT1_LOW_BITS | bundle->slot[2] << SLOT1_HIGH_BITS);
    return PREVIRT_OK;
}
