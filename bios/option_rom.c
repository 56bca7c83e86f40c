/* SPDX-License-Identifier: MIT */
#include "bios/option_rom.h"

#include "mem/base/bits.h"

enum {
    CHECKSUM_OFFSET = 6,
    PNP_POINTER = 0x1a,
    PNP_SIZE = 32,
    PNP_CHECKSUM = 9,
};

/* bios/option_rom_images.asm */
extern const u8 option_rom_linux_image[], option_rom_linux_image_end[];
extern const u8 option_rom_multiboot_image[], option_rom_multiboot_image_end[];

void option_rom_finish(u8 *rom, u64 size)
{
    u8 *pnp = rom + load_le(rom + PNP_POINTER, 2);

    pnp[PNP_CHECKSUM] = 0;
    pnp[PNP_CHECKSUM] = (u8)-bytes_sum(pnp, PNP_SIZE);
    rom[CHECKSUM_OFFSET] = 0;
    rom[CHECKSUM_OFFSET] = (u8)-bytes_sum(rom, size);
}

void option_rom_get(enum option_rom which, struct blob *out)
{
    const u8 *start = option_rom_linux_image, *end = option_rom_linux_image_end;
    u64 offset;

    if (which == OPTION_ROM_MULTIBOOT) {
        start = option_rom_multiboot_image;
        end = option_rom_multiboot_image_end;
    }
    offset = blob_bytes(out, start, (u64)(end - start));
    if (!out->failed)
        option_rom_finish(out->data + offset, (u64)(end - start));
}
