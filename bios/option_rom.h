/* SPDX-License-Identifier: MIT
 *
 * Our option ROMs: 16-bit code (linuxboot.asm, multiboot.asm) that firmware runs to start a
 * -kernel.
 */
#pragma once

#include "bios/blob.h"

enum option_rom {
    OPTION_ROM_LINUX,
    OPTION_ROM_MULTIBOOT,
};

/* Appends the ROM, with its checksums filled in. */
void option_rom_get(enum option_rom which, struct blob *out);
/* Sets the image checksum (byte 6) and that of the PnP header of a ROM of size bytes. */
void option_rom_finish(u8 *rom, u64 size);
