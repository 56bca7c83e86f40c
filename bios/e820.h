/* SPDX-License-Identifier: MIT
 *
 * Where RAM lies (below and above the PCI hole) and the memory map that firmware and kernels get.
 *
 * The map has the INT 15h E820 format (ACPI 6.3 section 15.1): sorted, disjoint, 20 bytes an entry.
 * Firmware gets RAM only and reserves what it uses; a directly booted kernel gets the whole truth.
 */
#pragma once

#include "mem/base/types.h"

enum {
    E820_ENTRY_SIZE = 20,
    E820_ENTRIES_MAX = 16,
};

/* The hole for devices below 4 GiB begins here, or lower when there is less RAM. */
#define RAM_HOLE_BASE 0xc0000000ull

enum e820_type {
    E820_RAM = 1,
    E820_RESERVED = 2,
    E820_ACPI = 3,
    E820_NVS = 4,
};

struct ram_layout {
    u64 low_size;  /* bytes of RAM at 0 */
    u64 high_size; /* bytes of RAM at 4 GiB */
};

struct e820_entry {
    u64 base;
    u64 size;
    u32 type; /* enum e820_type */
};

struct e820_map {
    struct e820_entry entries[E820_ENTRIES_MAX];
    unsigned count;
};

/* Splits size bytes of RAM around the hole [hole_base, 4 GiB). */
struct ram_layout ram_layout_split(u64 size, u64 hole_base);

/* Appends an entry; empty ones are dropped. Entries must come in ascending order. */
void e820_add(struct e820_map *map, u64 base, u64 size, enum e820_type type);
/* The map for firmware (fw_cfg file etc/e820): RAM as it is wired. */
void e820_for_firmware(struct e820_map *map, const struct ram_layout *layout);
/* The map for a kernel entered without firmware: no RAM is reported in A0000-FFFFF, and the last
 * KiB below it and E0000-FFFFF (where the tables lie) are reserved. */
void e820_for_kernel(struct e820_map *map, const struct ram_layout *layout);
/* Writes count * 20 bytes. */
void e820_encode(const struct e820_map *map, u8 *out);
