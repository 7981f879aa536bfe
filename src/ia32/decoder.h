/* SPDX-License-Identifier: BSD-2-Clause */
/* The classifier with its state kept from one instruction to the next: what scan and audit walk
 * text with. */
#ifndef PREVIRT_IA32_DECODER_H
#define PREVIRT_IA32_DECODER_H

#include <Zydis/Zydis.h>

#include <previrt/ia32.h>

struct pv_ia32_decoder {
    ZydisDecoder full;    /* knows the mnemonic */
    ZydisDecoder minimal; /* knows the length and whether the bytes are an instruction */
    unsigned bits;        /* 16, 32 or 64 */
    /* Opcodes (of the one-byte map; after 0f) that the catalogue has a form for. */
    uint8_t one_byte[256], two_byte[256];
};

/* PREVIRT_OK, or PREVIRT_E_INVALID for other (bits) than 16, 32, 64. */
int pv_ia32_decoder_init(struct pv_ia32_decoder *decoder, unsigned bits);

/*
 * previrt_ia32_classify() with the same result, faster: full decoding happens only where the opcode
 * is in the catalogue, and the common instructions of 32-bit code get their length from a table.
 */
int pv_ia32_next(const struct pv_ia32_decoder *decoder, const uint8_t *bytes, size_t size,
                 struct previrt_ia32_class *result);

/*
 * Length of a common 32-bit instruction that is certainly valid and certainly not sensitive; 0: not
 * known here, or it does not fit (size).
 */
unsigned pv_ia32_plain_length(const uint8_t *bytes, size_t size);

#endif
