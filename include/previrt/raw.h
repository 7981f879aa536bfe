/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The raw back-end: what its loader writes to the debug-exit port when it does not start a guest.
 * QEMU's isa-debug-exit device ends the machine with status 2 * n + 1. docs/raw-backend.md.
 */
#ifndef PREVIRT_RAW_H
#define PREVIRT_RAW_H

#define PREVIRT_RAW_EXIT_PORT 0xf4

/* Below the first of these the numbers are the guest's. */
enum previrt_raw_exit {
    PREVIRT_RAW_EXIT_BOOT = 0x60, /* not started by a Multiboot loader, or no usable memory map */
    PREVIRT_RAW_EXIT_USAGE,       /* an option on the loader's command line */
    PREVIRT_RAW_EXIT_GUEST,       /* the guest is no image that can be started */
    PREVIRT_RAW_EXIT_MEMORY,      /* not enough memory, or in the wrong place */
    PREVIRT_RAW_EXIT_TABLE,       /* no patch-up table, or a bad one */
    PREVIRT_RAW_EXIT_REWRITE,     /* sites were refused, or the text is not what it should be */
    PREVIRT_RAW_EXIT_MONITOR      /* the rewritten guest did what the monitor cannot do */
};

#endif
