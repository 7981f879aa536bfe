/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The raw loader's own interfaces. Order to read: start.S, main.c, multiboot.c, place.c, image.c,
 * phase3.c, linux.c; then ../monitor.
 *
 * Paging is off: a physical address is a pointer. Everything that came from the boot loader or from
 * a module is checked before it is used; whatever is wrong ends in pv_refuse().
 */
#ifndef PV_RAW_LOADER_H
#define PV_RAW_LOADER_H

#include <previrt/raw.h>

#include <stddef.h>
#include <stdint.h>

/* console.c: COM1 and the way out */

void pv_console_init(void);
/* Understands %s %c %u %x %% only; numbers are 32 bits. */
void pv_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints "previrt-raw: refused: ..." and ends the machine through the debug-exit port, or halts. */
void pv_refuse(enum previrt_raw_exit status, const char *format, ...)
    __attribute__((format(printf, 2, 3), noreturn));

/* string.c */
int pv_string_equal(const char *a, const char *b);
size_t pv_string_length(const char *s);

/* multiboot.c: the information, copied out of the way */

#define PV_REGIONS_MAX  64
#define PV_MODULES_MAX  8
#define PV_CMDLINE_SIZE 2048 /* COMMAND_LINE_SIZE of Linux on x86 */

enum pv_region_type { PV_REGION_RAM = 1, PV_REGION_RESERVED = 2 };

struct pv_region {
    uint64_t start, end;
    uint32_t type; /* as E820 numbers them */
};

struct pv_module {
    uint32_t start, end;
    char cmdline[PV_CMDLINE_SIZE];
};

struct pv_boot {
    uint32_t regions, modules;
    struct pv_region region[PV_REGIONS_MAX];
    struct pv_module module[PV_MODULES_MAX];
    char cmdline[PV_CMDLINE_SIZE];
};

extern struct pv_boot pv_boot;

void pv_multiboot_read(uint32_t magic, uint32_t information);
/* Marks [start, end) as (type), splitting regions. */
void pv_regions_mark(uint64_t start, uint64_t end, uint32_t type);
/* Whether all of [start, end) is RAM. */
int pv_regions_ram(uint64_t start, uint64_t end);
/* Writes the information for a Multiboot guest at (where), of which (size) bytes are free. */
void pv_multiboot_write(uint32_t where, uint32_t size, uint32_t first_module, const char *cmdline);

/* place.c: who has which memory */

#define PV_PLACES_MAX 32

void pv_place_reset(void);
/* [start, end) is in use by (owner), a static string. */
void pv_place_take(uint32_t start, uint32_t end, const char *owner);
/* The owner of something in [start, end), NULL: free. */
const char *pv_place_owner(uint32_t start, uint32_t end);
/* The same, without what (except) owns. */
const char *pv_place_owner_but(uint32_t start, uint32_t end, const char *except);
void pv_place_release(uint32_t start);
/* Free RAM as high as possible below the limit of Linux' low memory, taken for (owner).
 * Page-aligned. */
uint32_t pv_place_find(uint32_t size, const char *owner);

/* image.c: the guest */

#define PV_SEGMENTS_MAX 16
#define PV_TEXTS_MAX    64

enum pv_guest_kind { PV_GUEST_LINUX = 1, PV_GUEST_MULTIBOOT };

struct pv_segment {
    uint32_t offset, virtual, physical, file_size, memory_size, flags; /* PF_* */
};

struct pv_guest {
    enum pv_guest_kind kind;
    uint32_t entry; /* physical */
    uint32_t segments;
    struct pv_segment segment[PV_SEGMENTS_MAX];
    uint32_t
        texts; /* executable sections, sorted, disjoint; whole segments if there are no sections */
    struct {
        uint32_t virtual, size;
    } text[PV_TEXTS_MAX];
    uint32_t notes_virtual, notes_physical, notes_size; /* of PT_NOTE; size 0: none */
    uint32_t link_offset; /* virtual minus physical address, the same for all segments */
    uint32_t end;         /* highest physical address used */
};

/* Reads and checks the headers in [start, end). */
void pv_image_read(uint32_t start, uint32_t end, struct pv_guest *guest);
/* Copies the segments to their places, which must be free. */
void pv_image_load(uint32_t start, const struct pv_guest *guest);
/* The (length) loaded bytes at guest address (address), inside one segment with (flags), or NULL.
 */
uint8_t *pv_image_at(const struct pv_guest *guest, uint64_t address, size_t length, uint32_t flags);

/* Low memory, below the extended BIOS data area and above what a BIOS or boot loader uses. The
 * first window is reserved in the guest's memory map while its kernel is rewritten; the second is
 * read once by the guest. */
#define PV_LOW_START  0x10000u
#define PV_LOW_END    0x80000u
#define PV_STACK_SIZE 0x1000u
#define PV_INFO_START 0x80000u
#define PV_INFO_END   0x90000u

#define PV_HIGH_MEMORY 0x100000u /* the first megabyte ends */

/* linux.c: the 32-bit boot protocol */
void pv_linux_parameters(uint32_t where, uint32_t size, const char *cmdline,
                         const struct pv_module *ramdisk);

/* phase3.c */
enum pv_rewrite { PV_REWRITE_NATIVE = 1, PV_REWRITE_NONE, PV_REWRITE_VCPU };

struct pv_options {
    enum pv_rewrite rewrite;
    int verify, revert;
};

/* (file): the module that the guest was loaded from. */
void pv_phase3(const struct pv_guest *guest, uint32_t file, const struct pv_options *options);

/* start.S */
struct pv_gdtr {
    uint16_t limit;
    uint32_t base;
} __attribute__((packed));

struct pv_entry {
    uint32_t eip, esp, eax, ebx, esi;
    struct pv_gdtr gdtr;
};

void pv_jump(const struct pv_entry *entry) __attribute__((noreturn));
uint32_t pv_prepare(uint32_t magic, uint32_t information);
void pv_main(void) __attribute__((noreturn));

#endif
