/* SPDX-License-Identifier: MIT
 *
 * The firmware ROM: a BIOS image file, mapped so that it ends at 4 GiB, with its last 128 KiB also
 * at E0000-FFFFF, below the shadow RAM that the chipset's PAM registers put over it.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"
#include "mem/physmap.h"

#define FIRMWARE_SIZE_MAX MIB(16)

struct firmware {
    struct physmap *map;
    u8 *image;
    u64 size; /* bytes, a multiple of 64 KiB */
    unsigned regions[2];
    unsigned region_count;
};

/* Loads path (-bios), or, if it is NULL, Debian's SeaBIOS, and maps it. Fails with ST_NOT_FOUND,
 * ST_IO, ST_INVALID (size), ST_OVERLAP or ST_NO_MEMORY; nothing is mapped then. */
MUST_USE enum status firmware_load(struct firmware *firmware, struct physmap *map, const char *path,
                                   struct error *err);
void firmware_unload(struct firmware *firmware);
