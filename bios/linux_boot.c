/* SPDX-License-Identifier: MIT */
#include "bios/linux_boot.h"

#include <string.h>

#include "mem/base/bits.h"

/* Offsets of the setup header's fields, from the start of the file and of the zero page alike. */
enum setup_header {
    SETUP_SECTS = 0x1f1,
    BOOT_FLAG = 0x1fe,
    JUMP_OFFSET = 0x201, /* the header ends at 0x202 + this byte */
    HEADER_MAGIC = 0x202,
    PROTOCOL = 0x206,
    TYPE_OF_LOADER = 0x210,
    LOADFLAGS = 0x211,
    CODE32_START = 0x214,
    RAMDISK_IMAGE = 0x218,
    RAMDISK_SIZE = 0x21c,
    HEAP_END_PTR = 0x224,
    CMD_LINE_PTR = 0x228,
    INITRD_ADDR_MAX = 0x22c,
    RELOCATABLE_KERNEL = 0x234,
    XLOADFLAGS = 0x236,
    CMDLINE_SIZE = 0x238,
    PREF_ADDRESS = 0x258,
    INIT_SIZE = 0x260,
    HEADER_END_MIN = 0x22c, /* protocol 2.02 */
};

/* Zero page fields outside the header. */
enum zero_page {
    ACPI_RSDP_ADDR = 0x070,
    E820_COUNT = 0x1e8,
    E820_TABLE = 0x2d0,
};

enum {
    LOADED_HIGH = 0x01,
    CAN_USE_HEAP = 0x80,
    XLF_KERNEL_64 = 0x01,
    LOADER_UNREGISTERED = 0xff,
    SETUP_SIZE_MAX = 0x8000,
    HEAP_END = 0xe000, /* of setup's 64 KiB; the stack begins there */
    CMDLINE_LIMIT_OLD = 255,
    CMDLINE_LIMIT = 0xffff,
};

#define INITRD_ADDR_MAX_OLD 0x37ffffffull
/* Firmware keeps its tables at the top of RAM below 4 GiB; nothing of ours goes there. */
#define TOP_RESERVE         MIB(1)

/* What the header says about memory. */
struct kernel_room {
    u64 start; /* where the file is loaded */
    u64 end;   /* first byte after what the kernel uses before it knows the memory map */
};

static u64 field(const struct linux_image *image, enum setup_header offset, unsigned size)
{
    return load_le(image->setup.data + offset, size);
}

bool linux_image_probe(const struct blob *file)
{
    return file->size >= HEADER_END_MIN && load_le(file->data + BOOT_FLAG, 2) == 0xaa55 &&
           memcmp(file->data + HEADER_MAGIC, "HdrS", 4) == 0;
}

/* Splits the file into real-mode and protected-mode parts. */
static enum status split_file(struct linux_image *image, const struct blob *file, struct error *err)
{
    unsigned sectors = file->data[SETUP_SECTS] ? file->data[SETUP_SECTS] : 4;
    u64 setup_size = (sectors + 1) * 512;
    u64 header_end = 0x202u + file->data[JUMP_OFFSET];

    image->protocol = (u16)load_le(file->data + PROTOCOL, 2);
    if (image->protocol < 0x0202)
        return error_set(err, ST_INVALID,
                         "-kernel: the kernel has boot protocol %u.%02u, older than 2.02; choose "
                         "Linux 2.4 or newer.",
                         image->protocol >> 8, image->protocol & 0xff);
    if (!(file->data[LOADFLAGS] & LOADED_HIGH) || setup_size > SETUP_SIZE_MAX ||
        header_end < HEADER_END_MIN || header_end > setup_size || setup_size >= file->size ||
        file->size - setup_size > UINT32_MAX)
        return error_set(err, ST_INVALID,
                         "-kernel: the file is not a whole Linux bzImage; its header and its size "
                         "disagree.");
    blob_bytes(&image->setup, file->data, setup_size);
    blob_bytes(&image->kernel, file->data + setup_size, file->size - setup_size);
    if (image->kernel.failed)
        return blob_status(&image->kernel, "the kernel", err);
    return blob_status(&image->setup, "the kernel", err);
}

/* A field that came with a later protocol, or what it is taken to be before. */
static u64 field_since(const struct linux_image *image, u16 protocol, enum setup_header offset,
                       unsigned size, u64 otherwise)
{
    bool present =
        image->protocol >= protocol && offset + size <= 0x202u + image->setup.data[JUMP_OFFSET];

    return present ? field(image, offset, size) : otherwise;
}

/* At its preferred address if the kernel can be moved and fits there, else at 1 MiB. */
static struct kernel_room kernel_room(const struct linux_image *image,
                                      const struct ram_layout *layout)
{
    u64 size = image->kernel.size;
    bool relocatable = field_since(image, 0x0205, RELOCATABLE_KERNEL, 1, 0);
    u64 preferred = field_since(image, 0x020a, PREF_ADDRESS, 8, 0);
    u64 init_size = field_since(image, 0x020a, INIT_SIZE, 4, 0);
    u64 used = size > init_size ? size : init_size;
    u64 room = layout->low_size > TOP_RESERVE ? layout->low_size - TOP_RESERVE : 0;

    if (relocatable && preferred >= MIB(1) && preferred <= room && used <= room - preferred)
        return (struct kernel_room){preferred, preferred + used};
    if (preferred >= MIB(1) && preferred < GIB(4))
        return (struct kernel_room){MIB(1), preferred + used}; /* it moves itself there */
    return (struct kernel_room){MIB(1), MIB(1) + used};
}

static enum status place_kernel(struct linux_image *image, const struct ram_layout *layout,
                                const struct kernel_room *room, struct error *err)
{
    u64 end = room->start + image->kernel.size;

    if (end > layout->low_size || room->end > layout->low_size)
        return error_set(err, ST_INVALID,
                         "-kernel: the kernel needs %llu MiB of RAM and the guest has %llu below 4 "
                         "GiB; raise -m.",
                         (unsigned long long)((end > room->end ? end : room->end) >> 20) + 1,
                         (unsigned long long)(layout->low_size >> 20));
    image->kernel_address = room->start;
    return ST_OK;
}

/* As high as the kernel allows; if there is no room above the kernel, then between 1 MiB and it. */
static enum status place_initrd(struct linux_image *image, const struct ram_layout *layout,
                                const struct kernel_room *room, struct error *err)
{
    u64 size = image->initrd.size;
    u64 limit = field_since(image, 0x0203, INITRD_ADDR_MAX, 4, INITRD_ADDR_MAX_OLD) + 1;
    u64 top = layout->low_size > TOP_RESERVE ? layout->low_size - TOP_RESERVE : 0;

    if (!size)
        return ST_OK;
    if (top > limit)
        top = limit;
    if (size <= top && align_down(top - size, PAGE_SIZE) >= room->end) {
        image->initrd_address = align_down(top - size, PAGE_SIZE);
        return ST_OK;
    }
    top = top < room->start ? top : room->start;
    if (size <= top && align_down(top - size, PAGE_SIZE) >= MIB(1)) {
        image->initrd_address = align_down(top - size, PAGE_SIZE);
        return ST_OK;
    }
    return error_set(err, ST_INVALID,
                     "-initrd: the file has %llu KiB, which do not fit into the guest's RAM beside "
                     "the kernel; raise -m or choose a smaller one.",
                     (unsigned long long)(size >> 10));
}

static enum status place_cmdline(struct linux_image *image, const char *cmdline, struct error *err)
{
    u64 limit = field_since(image, 0x0206, CMDLINE_SIZE, 4, CMDLINE_LIMIT_OLD);
    u64 length = strlen(cmdline);

    if (limit > CMDLINE_LIMIT)
        limit = CMDLINE_LIMIT;
    if (length > limit)
        return error_set(
            err, ST_INVALID,
            "-append: the command line has %llu characters and this kernel takes %llu; "
            "shorten it.",
            (unsigned long long)length, (unsigned long long)limit);
    blob_string(&image->cmdline, cmdline);
    return blob_status(&image->cmdline, "the kernel command line", err);
}

/* boot.rst, "The real-mode kernel header": the fields that the loader writes. */
static void fill_header(struct linux_image *image)
{
    struct blob *setup = &image->setup;

    blob_patch(setup, TYPE_OF_LOADER, LOADER_UNREGISTERED, 1);
    blob_patch(setup, LOADFLAGS, field(image, LOADFLAGS, 1) | CAN_USE_HEAP, 1);
    blob_patch(setup, CODE32_START, image->kernel_address, 4);
    blob_patch(setup, RAMDISK_IMAGE, image->initrd_address, 4);
    blob_patch(setup, RAMDISK_SIZE, image->initrd.size, 4);
    blob_patch(setup, HEAP_END_PTR, HEAP_END - 0x200, 2);
    blob_patch(setup, CMD_LINE_PTR, LINUX_CMDLINE_ADDRESS, 4);
}

enum status linux_image_load(struct linux_image *image, struct blob *file, struct blob *initrd,
                             const char *cmdline, const struct ram_layout *layout,
                             struct error *err)
{
    struct kernel_room room;
    enum status status;

    *image = (struct linux_image){.initrd = *initrd};
    *initrd = (struct blob){0};
    if (linux_image_probe(file))
        status = split_file(image, file, err);
    else
        status = error_set(err, ST_INVALID, "-kernel: the file is not a Linux kernel (bzImage).");
    blob_fini(file);
    if (status != ST_OK)
        goto fail;
    image->has_long_entry = field_since(image, 0x020c, XLOADFLAGS, 2, 0) & XLF_KERNEL_64 &&
                            image->kernel.size > LINUX_LONG_ENTRY;
    room = kernel_room(image, layout);
    status = place_kernel(image, layout, &room, err);
    if (status == ST_OK)
        status = place_initrd(image, layout, &room, err);
    if (status == ST_OK)
        status = place_cmdline(image, cmdline, err);
    if (status != ST_OK)
        goto fail;
    fill_header(image);
    return ST_OK;
fail:
    linux_image_fini(image);
    return status;
}

void linux_image_fini(struct linux_image *image)
{
    blob_fini(&image->setup);
    blob_fini(&image->kernel);
    blob_fini(&image->initrd);
    blob_fini(&image->cmdline);
    *image = (struct linux_image){0};
}

void linux_zero_page(const struct linux_image *image, const struct e820_map *map, u64 rsdp,
                     u8 page[LINUX_ZERO_PAGE_SIZE])
{
    u64 end = 0x202u + image->setup.data[JUMP_OFFSET];

    memset(page, 0, LINUX_ZERO_PAGE_SIZE);
    memcpy(page + SETUP_SECTS, image->setup.data + SETUP_SECTS, end - SETUP_SECTS);
    if (image->protocol >= 0x020e)
        store_le(page + ACPI_RSDP_ADDR, rsdp, 8);
    page[E820_COUNT] = (u8)map->count;
    e820_encode(map, page + E820_TABLE);
}
