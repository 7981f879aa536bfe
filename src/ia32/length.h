/* SPDX-License-Identifier: BSD-2-Clause */
/* The length of any IA32 instruction, without a library: what walks code inside a guest. */
#ifndef PREVIRT_IA32_LENGTH_H
#define PREVIRT_IA32_LENGTH_H

#include <stddef.h>
#include <stdint.h>

/*
 * Bytes of the instruction at (bytes) of 32-bit code, of which (size) may be read; 0: none, or
 * truncated. It does not say whether a processor has the instruction, only how long it would be.
 */
unsigned pv_ia32_length(const uint8_t *bytes, size_t size);

#endif
