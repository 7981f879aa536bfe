/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Images: ELF files with a patch-up table. The second pass of `previrt as` over an object file,
 * reading the table of a kernel or a module, attaching a merged one.
 *
 * ELF32 and ELF64, little-endian; ET_REL, ET_EXEC and ET_DYN. Every byte of a file may be hostile:
 * each offset and size is checked before it is used. Host only.
 */
#ifndef PREVIRT_IMAGE_H
#define PREVIRT_IMAGE_H

#include <previrt/ia32.h>
#include <previrt/ia64.h>
#include <previrt/table.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the second pass of `previrt as` ---- */

#define PREVIRT_FINISH_MISMATCHES 16
#define PREVIRT_SECTION_NAME_MAX  64

/* A record whose bytes are not what the annotator took them for. */
struct previrt_finish_mismatch {
    char section[PREVIRT_SECTION_NAME_MAX]; /* of the code, cut if need be */
    uint64_t offset;                        /* of the site in its section */
    uint32_t section_index;
    int32_t status;   /* E_OPERATION: no sensitive operation there; E_BYTES: another one; E_ROOM:
                         longer than the room; E_TAIL: no NOPs behind it; E_OVERLAP: with the site
                         before; E_RANGE: outside its section */
    uint8_t expected; /* operation that the annotator recorded, 0: unknown */
    uint8_t found;    /* operation that is there, 0: none */
    uint8_t room;     /* bytes, 0: dormant */
    uint8_t byte_count;
    uint8_t bytes[20]; /* what is there */
};

struct previrt_finish_report {
    uint32_t size;  /* sizeof(struct previrt_finish_report), set by the caller */
    uint32_t sites; /* records written, dormant ones included */
    uint32_t dormant;
    uint32_t
        unknown_feature; /* dormant ones that no alternative names, or one for an absent feature */
    uint32_t dropped;    /* records of an unknown operation where none is */
    uint32_t notes;      /* unfinished fragments that were replaced */
    uint32_t runs;
    uint32_t raw_bytes;   /* of table sections before */
    uint32_t table_bytes; /* and after */
    uint32_t by_op[PREVIRT_IA32_OP_LIMIT];
    uint32_t mismatch_count; /* all of them; the first ones are listed */
    struct previrt_finish_mismatch mismatches[PREVIRT_FINISH_MISMATCHES];
};

/*
 * Replaces the unfinished fragments of the relocatable object (path) by finished ones: lengths,
 * forms and operands come from the assembled bytes, the features of dormant records from
 * .altinstructions. Only the bytes that change are written; table sections keep their place where
 * they fit, else move to the end of the file. An object without unfinished fragments is left as it
 * is: PREVIRT_OK.
 *
 * PREVIRT_E_BYTES: the report lists mismatches; E_MALFORMED, E_NOT_ELF, E_ARCH (not EM_386),
 * E_STATE (not a relocatable object), E_IO (errno), E_MEMORY. The file is only changed if all is
 * well. (report) may be NULL.
 */
PREVIRT_API int previrt_image_finish_object(const char *path, struct previrt_finish_report *report);

/*
 * The same for an object of (*size) bytes in memory at (data), where there is room for (capacity)
 * bytes; PREVIRT_E_SPACE if it would grow beyond (it grows by what the table sections take at
 * most). (*size) receives the new size.
 */
PREVIRT_API int previrt_image_finish_object_mem(void *data, size_t *size, size_t capacity,
                                                struct previrt_finish_report *report);

/* ---- `previrt as` for IA-64 ---- */

struct previrt_rules;

struct previrt_ia64_annotate_options {
    uint32_t size;      /* sizeof(struct previrt_ia64_annotate_options), set by the caller */
    uint32_t stub_room; /* bytes that an object gets for stubs where a rule says `room', a multiple
                           of 16 */
    const char *output; /* path of the object file for the rules, or NULL */
    const char *source; /* path of the assembler's input for the rules, or NULL */
    const struct previrt_rules *rules; /* what to leave alone (annotate.h), NULL: nothing */
};

struct previrt_ia64_annotate_report {
    uint32_t size;  /* sizeof(struct previrt_ia64_annotate_report), set by the caller */
    uint32_t sites; /* records written */
    uint32_t pinned;
    uint32_t excluded;    /* operations that a rule left alone */
    uint32_t runs;        /* of the table: one a section with sites */
    uint32_t table_bytes; /* of the new section */
    uint32_t stub_room;   /* bytes of .bss that were added */
    uint64_t bundles;
    uint64_t undecodable; /* slots, in all executable sections */
    uint32_t by_op[PREVIRT_IA64_OP_LIMIT];
};

/*
 * Adds a patch-up table to the IA-64 object (path), as a section and its relocations behind what
 * there was. Nothing else changes: a site of IA-64 code needs no room, so the code is what the
 * assembler made of the text. A site is pinned if an exception table or a list of instructions to
 * patch names its bundle, or anything else one of its slots. An object without sensitive operations
 * is left as it is.
 *
 * PREVIRT_OK; E_NOT_ELF, E_TRUNCATED, E_MALFORMED; E_ARCH (not ELF64 for IA-64); E_STATE (no
 * relocatable object, or it has a table, or no symbol that a relocation could use); E_IO (errno),
 * E_MEMORY, E_INVALID. The file is only changed if all is well. (options), (report) may be NULL.
 */
PREVIRT_API int previrt_ia64_annotate_object(const char *path,
                                             const struct previrt_ia64_annotate_options *options,
                                             struct previrt_ia64_annotate_report *report);

/*
 * The same for an object of (size) bytes in memory. (*out), of (*out_size) bytes, is to be released
 * with previrt_image_free(); NULL: there is nothing to add.
 */
PREVIRT_API int
previrt_ia64_annotate_object_mem(const void *data, size_t size,
                                 const struct previrt_ia64_annotate_options *options, void **out,
                                 size_t *out_size, struct previrt_ia64_annotate_report *report);

/* ---- images ---- */

struct previrt_image;

/*
 * Opens an ELF file. E_NOT_ELF, E_MALFORMED, E_TRUNCATED, E_IO (errno), E_MEMORY. An archive is
 * E_NOT_ELF: see previrt_image_archive_mem(). Release it with previrt_image_close().
 */
PREVIRT_API int previrt_image_open(const char *path, struct previrt_image **image);

/* The same from memory; (data) must stay until previrt_image_close(), and is not written. */
PREVIRT_API int previrt_image_open_mem(const void *data, size_t size, struct previrt_image **image);

PREVIRT_API void previrt_image_close(struct previrt_image *image); /* NULL is fine */

struct previrt_image_info {
    uint32_t size;       /* sizeof, set by the caller */
    uint8_t arch;        /* enum previrt_arch; 0: another machine */
    uint8_t bits;        /* 32 or 64: the ELF class */
    uint8_t relocatable; /* 1: ET_REL */
    uint8_t attached;    /* 1: the table is one that previrt_image_attach() put there */
    uint16_t machine;    /* EM_* */
    uint16_t type;       /* ET_* */
    uint32_t sections;   /* how many there are, the null section included */
    uint64_t entry;
    uint64_t table_bytes; /* of all sections that hold fragments, foreign notes left out */
    uint32_t fragments;
    uint32_t sites;
};
PREVIRT_API int previrt_image_info(const struct previrt_image *image,
                                   struct previrt_image_info *info);

enum previrt_section_flags {
    PREVIRT_SECTION_ALLOC = 1 << 0,
    PREVIRT_SECTION_EXEC = 1 << 1,
    PREVIRT_SECTION_WRITE = 1 << 2,
    PREVIRT_SECTION_NOTE = 1 << 3
};

/* One section; strings and bytes live as long as the image. */
struct previrt_image_section {
    const char *name;    /* "" if it has none */
    const uint8_t *data; /* NULL: nothing in the file (.bss) */
    uint64_t address;    /* where it is linked; in an object, executable sections have synthetic
                            addresses: one behind the other from 0, in order, aligned to 16 */
    uint64_t size;
    uint64_t offset; /* in the file */
    uint32_t index;
    uint32_t flags; /* PREVIRT_SECTION_* */
};

/* Section (index); PREVIRT_E_RANGE beyond the last. A file without section headers shows its
 * loadable segments instead, with empty names. */
PREVIRT_API int previrt_image_section(const struct previrt_image *image, uint32_t index,
                                      struct previrt_image_section *section);

/* The executable section that holds (address): PREVIRT_OK or E_RANGE. */
PREVIRT_API int previrt_image_locate(const struct previrt_image *image, uint64_t address,
                                     struct previrt_image_section *section);

/* Bytes of executable sections: (length) bytes at (address) of one section, or NULL. A
 * previrt_text_fn whose context is the image. */
PREVIRT_API const uint8_t *previrt_image_text(void *image, uint64_t address, size_t length);

/* The symbol that (address) belongs to: its name, NULL if there is none, and the distance from it.
 */
PREVIRT_API const char *previrt_image_symbol(const struct previrt_image *image, uint64_t address,
                                             uint64_t *distance);

/* ---- the table of an image ---- */

/* One record and where it stands. */
struct previrt_image_site {
    struct previrt_site site; /* in an object, the address is a synthetic one */
    uint64_t file_offset;     /* of the record */
    uint32_t fragment;        /* number of its fragment, from 0, counted through the image */
    uint32_t record_size;     /* bytes of the record alone */
};

/*
 * The records of the whole table, sorted by address; they live as long as the image. E_NO_TABLE, or
 * the status of the first malformed record: previrt_image_fault() says where.
 */
PREVIRT_API int previrt_image_sites(struct previrt_image *image,
                                    const struct previrt_image_site **sites, size_t *count);

/* Something wrong with a table. */
struct previrt_image_fault {
    int32_t status;           /* enum previrt_status */
    uint32_t fragment;        /* of the record, from 0 */
    uint64_t file_offset;     /* of the record, or of the note where there is no record */
    struct previrt_site site; /* length and address are 0 if it is not about a record */
    uint64_t value; /* E_OVERLAP: address of the site that it overlaps; E_DIGEST: the digest of the
                       text; E_BYTES, E_TAIL: the first bytes that are there, little-endian */
};

/* What previrt_image_sites() failed on. */
PREVIRT_API void previrt_image_fault(const struct previrt_image *image,
                                     struct previrt_image_fault *fault);

/*
 * Checks the table against the text: previrt_table_check() for each fragment, going on after an
 * error, and overlap across fragments. (report) gets each fault; it returns 0 to go on. PREVIRT_OK,
 * or the status of the first fault.
 */
typedef int (*previrt_image_fault_fn)(void *context, const struct previrt_image_fault *fault);
PREVIRT_API int previrt_image_verify(struct previrt_image *image, previrt_image_fault_fn report,
                                     void *context);

/*
 * The table, merged into one sorted, sealed table of notes that is meant for address 0: its anchors
 * are absolute addresses, so it can be kept in a file of its own. (*notes) is to be released with
 * previrt_image_free(). E_OVERLAP, E_BYTES, E_TAIL, E_RANGE: as previrt_table_encode(); E_STATE: an
 * object, whose table needs relocations.
 */
PREVIRT_API int previrt_image_extract(struct previrt_image *image, void **notes, size_t *size);

/*
 * A copy of the image with one merged table in the place of its fragments. (notes), (notes_size):
 * the table, as previrt_image_extract() gives it, or NULL for the image's own.
 *
 * Where the fragments lie in an allocated section and the merged table is not larger than the
 * stretch of them, it is put there, what is left becomes filler notes, and no byte moves.
 * Otherwise, or if a table was attached before, it becomes (or replaces) the section .note.previrt
 * that is not allocated, behind everything that there was; such a section is the image's table, and
 * allocated fragments no longer count.
 *
 * (*out) is to be released with previrt_image_free(). Statuses as previrt_image_extract().
 */
PREVIRT_API int previrt_image_attach(struct previrt_image *image, const void *notes,
                                     size_t notes_size, void **out, size_t *size);

PREVIRT_API void previrt_image_free(void *data);

/* ---- archives ---- */

/*
 * Calls (member) for each member of the ar archive at (data), symbol tables left out; it returns 0
 * to go on, and what else it returns is returned. PREVIRT_OK, E_NOT_ELF (no archive), E_MALFORMED,
 * E_TRUNCATED, E_STATE (a thin archive, which has no members of its own).
 */
typedef int (*previrt_image_member_fn)(void *context, const char *name, const void *data,
                                       size_t size);
PREVIRT_API int previrt_image_archive_mem(const void *data, size_t size,
                                          previrt_image_member_fn member, void *context);

#ifdef __cplusplus
}
#endif

#endif
