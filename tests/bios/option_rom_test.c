/* SPDX-License-Identifier: MIT
 *
 * The headers that the BIOS reads. What the code does is tested by the boots.
 */
#include "bios/option_rom.h"

#include "bench.h"

START_TEST(header_is_a_valid_pnp_option_rom)
{
    struct blob rom = {0};
    const u8 *pnp;
    u16 entry;

    option_rom_get((enum option_rom)_i, &rom);
    ck_assert(!rom.failed);
    ck_assert_uint_eq(load_le(rom.data, 2), 0xaa55);
    ck_assert_uint_eq(rom.size % 512, 0);
    ck_assert_uint_eq(rom.data[2] * 512u, rom.size);
    ck_assert_uint_eq(bytes_sum(rom.data, rom.size), 0);
    ck_assert_uint_eq(rom.data[3], 0xe9); /* jump to the initialisation */
    ck_assert_uint_eq(load_le(rom.data + 0x18, 2), 0);
    pnp = rom.data + load_le(rom.data + 0x1a, 2);
    ck_assert_uint_eq((u64)(pnp - rom.data) % 16, 0);
    ck_assert_mem_eq(pnp, "$PnP\x01\x02", 6);
    ck_assert_uint_eq(bytes_sum(pnp, 32), 0);
    ck_assert_uint_eq(load_le(pnp + 6, 2), 0);    /* the only header */
    ck_assert_uint_eq(load_le(pnp + 0x16, 2), 0); /* no BCV */
    entry = (u16)load_le(pnp + 0x1a, 2);          /* BEV */
    ck_assert(entry > 0x1a && entry < rom.size);
    ck_assert_str_eq((const char *)rom.data + load_le(pnp + 0xe, 2), "Lockstep");
    blob_fini(&rom);
}
END_TEST

START_TEST(finish_repairs_a_changed_rom)
{
    struct blob rom = {0};

    option_rom_get(OPTION_ROM_LINUX, &rom);
    rom.data[rom.size - 1] ^= 0x5a;
    option_rom_finish(rom.data, rom.size);
    ck_assert_uint_eq(bytes_sum(rom.data, rom.size), 0);
    blob_fini(&rom);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("option_rom");

    tcase_add_loop_test(tcase, header_is_a_valid_pnp_option_rom, OPTION_ROM_LINUX,
                        OPTION_ROM_MULTIBOOT + 1);
    tcase_add_test(tcase, finish_repairs_a_changed_rom);
    return bench_main("bios/option_rom", tcase);
}
