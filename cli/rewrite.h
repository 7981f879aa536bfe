/* SPDX-License-Identifier: BSD-2-Clause */
/* What `previrt rewrite` was asked for, whatever the architecture. */
#ifndef PREVIRT_CLI_REWRITE_H
#define PREVIRT_CLI_REWRITE_H

#include <stdbool.h>

#include <previrt/rewrite_elf.h>

#define REWRITE_KEPT_MAX 128

struct rewrite_arguments {
    const char *input, *output, *target_name;
    uint32_t place; /* PREVIRT_PLACE_*: which of these addresses are given */
    uint64_t stub_address, vcpu_address;
    uint64_t stub_limit; /* 0: not given */
    uint32_t break_number;
    const char *kept[REWRITE_KEPT_MAX]; /* operations to keep */
    size_t kept_count;
    bool json, traps, strict;
};

/* Rewrites the IA-64 executable in memory and writes the result: the exit status. */
int rewrite_ia64(const struct rewrite_arguments *arguments, const uint8_t *data, size_t size);

#endif
