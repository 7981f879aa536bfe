/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CRC-32C (Castagnoli): reflected, polynomial 0x1edc6f41, initial value and final xor 0xffffffff;
 * RFC 3720 appendix B.4 has test vectors. Sixteen entries a nibble: sites are a few bytes each, and
 * 64 bytes of table stay in the cache.
 */
#include "table/table.h"

uint32_t pv_crc32c(uint32_t crc, const uint8_t *bytes, size_t size)
{
    /* the CRC of each nibble, by the reflected polynomial 0x82f63b78 */
    static const uint32_t nibbles[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
                                         0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                         0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                         0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};

    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        crc = crc >> 4 ^ nibbles[crc & 15];
        crc = crc >> 4 ^ nibbles[crc & 15];
    }
    return ~crc;
}
