/* SPDX-License-Identifier: MIT
 *
 * Multiboot 1 kernels (Multiboot Specification 0.6.96): ELF32, ELF64 and flat images with address
 * fields, with modules, a command line and a memory map.
 *
 * A kernel becomes at most two runs of bytes, one below A0000 and one from 1 MiB on, because what
 * lies between is not RAM. The boot information and the modules follow the upper run. The file may
 * be hostile: every offset and address in it is checked.
 */
#pragma once

#include "bios/blob.h"
#include "bios/e820.h"

enum {
    MULTIBOOT_MMAP_ENTRIES = 64, /* room for the map; the option ROM fills as many at most */
    MULTIBOOT_BOOT_MAGIC = 0x2badb002,
};

struct multiboot_run {
    u64 address;
    struct blob bytes; /* empty: nothing there */
};

struct multiboot_image {
    struct multiboot_run low;
    struct multiboot_run high;
    u32 entry;
    u64 info_address; /* of the boot information structure, the first bytes of info */
    struct blob info; /* with everything it points to, modules included */
};

/* Whether there is a multiboot header in the first 8 KiB. */
bool multiboot_probe(const struct blob *file);

/* name and cmdline make the kernel's command line. modules is a comma-separated list of "file
 * arguments", or NULL. The file is consumed. ST_INVALID: a malformed image, an unsupported demand
 * or no room; also the failures of blob_read_file(). */
MUST_USE enum status multiboot_load(struct multiboot_image *image, struct blob *file,
                                    const char *name, const char *cmdline, const char *modules,
                                    const struct ram_layout *layout, struct error *err);
void multiboot_fini(struct multiboot_image *image);

/* Writes the memory map into the boot information, for the entry without firmware. */
void multiboot_set_map(struct multiboot_image *image, const struct e820_map *map);
