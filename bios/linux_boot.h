/* SPDX-License-Identifier: MIT
 *
 * A Linux bzImage, its initrd and command line, placed in guest memory by the x86 boot protocol
 * (Documentation/arch/x86/boot.rst, protocol 2.02 to 2.15).
 *
 * The same placement serves the real-mode entry (option ROM) and the direct 32- and 64-bit entries.
 * The file may be hostile: every offset in it is checked.
 */
#pragma once

#include "bios/blob.h"
#include "bios/e820.h"

enum {
    LINUX_SETUP_ADDRESS = 0x10000,   /* real-mode code, its heap and stack: 64 KiB */
    LINUX_CMDLINE_ADDRESS = 0x20000, /* up to 64 KiB */
    LINUX_ZERO_PAGE_SIZE = 4096,
    LINUX_LONG_ENTRY = 0x200, /* of the 64-bit entry, from the kernel's load address */
};

struct linux_image {
    struct blob setup;  /* with the header fields that a loader fills in */
    struct blob kernel; /* the protected-mode part */
    struct blob initrd;
    struct blob cmdline; /* with its NUL */
    u16 protocol;        /* 0x020c: 2.12 */
    bool has_long_entry;
    u64 kernel_address;
    u64 initrd_address; /* 0: no initrd */
};

/* Whether the file begins like a Linux kernel: boot flag and "HdrS". */
bool linux_image_probe(const struct blob *file);

/* Takes the kernel file and the initrd (may be empty) out of their blobs and places everything in
 * the given RAM. ST_INVALID: not a bzImage, too old, command line too long, or no room. */
MUST_USE enum status linux_image_load(struct linux_image *image, struct blob *file,
                                      struct blob *initrd, const char *cmdline,
                                      const struct ram_layout *layout, struct error *err);
void linux_image_fini(struct linux_image *image);

/* The zero page for the 32- and 64-bit entries; rsdp 0: unknown. */
void linux_zero_page(const struct linux_image *image, const struct e820_map *map, u64 rsdp,
                     u8 page[LINUX_ZERO_PAGE_SIZE]);
