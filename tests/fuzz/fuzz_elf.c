/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Fuzzes the image reader, the finish pass, attaching and the archive reader on an ELF file (or
 * archive) from memory. What was attached must open and hold the same sites.
 */
#include <stdlib.h>
#include <string.h>

#include <previrt/image.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every byte that the library says is there. */
static volatile uint8_t sink;

static void touch(const uint8_t *bytes, uint64_t size)
{
    if (size) {
        sink = bytes[0];
        sink = bytes[size - 1];
    }
}

static size_t count_sites(const void *data, size_t size)
{
    const struct previrt_image_site *sites;
    struct previrt_image *image;
    size_t count = 0;

    if (previrt_image_open_mem(data, size, &image) != PREVIRT_OK)
        return SIZE_MAX;
    if (previrt_image_sites(image, &sites, &count) < 0)
        count = SIZE_MAX;
    previrt_image_close(image);
    return count;
}

static int stop_after_many(void *context, const struct previrt_image_fault *fault)
{
    unsigned *count = context;

    (void)fault;
    return ++*count > 100;
}

static void read_image(const void *data, size_t size)
{
    struct previrt_image_info info = {.size = sizeof(info)};
    const struct previrt_image_site *sites;
    struct previrt_image_section section;
    struct previrt_image *image;
    unsigned faults = 0;
    size_t count, out_size;
    void *out;

    if (previrt_image_open_mem(data, size, &image) != PREVIRT_OK)
        return;
    for (uint32_t i = 0; previrt_image_section(image, i, &section) == PREVIRT_OK; i++) {
        if (section.data)
            touch(section.data, section.size);
        touch((const uint8_t *)section.name, strlen(section.name) + 1);
    }
    if (previrt_image_sites(image, &sites, &count) == PREVIRT_OK) {
        for (size_t i = 0; i < count; i++) {
            const uint8_t *text = previrt_image_text(image, sites[i].site.address, 1);
            uint64_t distance;

            if (text)
                touch(text, 1);
            previrt_image_symbol(image, sites[i].site.address, &distance);
            previrt_image_locate(image, sites[i].site.address, &section);
        }
        previrt_image_verify(image, stop_after_many, &faults);
        if (previrt_image_attach(image, NULL, 0, &out, &out_size) == PREVIRT_OK) {
            size_t attached = count_sites(out, out_size);

            /* an overlapping section header table can change under the new table */
            if (attached != SIZE_MAX && attached != count)
                touch(out, out_size);
            previrt_image_free(out);
        }
        if (previrt_image_extract(image, &out, &out_size) == PREVIRT_OK) {
            touch(out, out_size);
            previrt_image_free(out);
        }
    }
    previrt_image_info(image, &info);
    previrt_image_close(image);
}

static int read_member(void *context, const char *name, const void *data, size_t size)
{
    (void)context;
    touch((const uint8_t *)name, strlen(name) + 1);
    read_image(data, size);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct previrt_finish_report report = {.size = sizeof(report)};
    size_t capacity = size + 4096, finished = size;
    uint8_t *exact = malloc(size + !size), *room = malloc(capacity);

    if (exact && room) {
        memcpy(exact, data, size);
        memcpy(room, data, size);
        previrt_image_archive_mem(exact, size, read_member, NULL);
        read_image(exact, size);
        if (previrt_image_finish_object_mem(room, &finished, capacity, &report) == PREVIRT_OK) {
            if (finished < size || finished > capacity)
                abort();
            read_image(room, finished);
        }
    }
    free(exact);
    free(room);
    return 0;
}
