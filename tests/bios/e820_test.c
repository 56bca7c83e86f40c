/* SPDX-License-Identifier: MIT */
#include "bios/e820.h"

#include "bench.h"

START_TEST(ram_splits_around_the_hole)
{
    struct ram_layout layout = ram_layout_split(GIB(16), RAM_HOLE_BASE);

    ck_assert_uint_eq(layout.low_size, GIB(3));
    ck_assert_uint_eq(layout.high_size, GIB(13));
    layout = ram_layout_split(GIB(3), RAM_HOLE_BASE);
    ck_assert_uint_eq(layout.low_size, GIB(3));
    ck_assert_uint_eq(layout.high_size, 0);
    layout = ram_layout_split(MIB(64), RAM_HOLE_BASE);
    ck_assert_uint_eq(layout.low_size, MIB(64));
}
END_TEST

START_TEST(firmware_gets_ram_as_wired)
{
    struct ram_layout layout = ram_layout_split(GIB(4), RAM_HOLE_BASE);
    struct e820_map map;
    u8 out[40];

    e820_for_firmware(&map, &layout);
    ck_assert_uint_eq(map.count, 2);
    e820_encode(&map, out);
    ck_assert_uint_eq(load_le(out, 8), 0);
    ck_assert_uint_eq(load_le(out + 8, 8), GIB(3));
    ck_assert_uint_eq(load_le(out + 16, 4), 1);
    ck_assert_uint_eq(load_le(out + 20, 8), GIB(4));
    ck_assert_uint_eq(load_le(out + 28, 8), GIB(1));
    layout = ram_layout_split(GIB(1), RAM_HOLE_BASE);
    e820_for_firmware(&map, &layout);
    ck_assert_uint_eq(map.count, 1);
}
END_TEST

START_TEST(kernel_map_is_sorted_disjoint_and_spares_the_tables)
{
    static const u64 sizes[] = {KIB(512), MIB(1), MIB(2), GIB(3), GIB(3) + MIB(1), GIB(64)};

    for (unsigned s = 0; s < ARRAY_SIZE(sizes); s++) {
        struct ram_layout layout = ram_layout_split(sizes[s], RAM_HOLE_BASE);
        struct e820_map map;
        u64 last = 0;

        e820_for_kernel(&map, &layout);
        for (unsigned i = 0; i < map.count; i++) {
            const struct e820_entry *entry = &map.entries[i];

            ck_assert_uint_ge(entry->base, last);
            last = entry->base + entry->size;
            if (entry->type == E820_RAM && entry->base < GIB(4)) {
                ck_assert_uint_le(last, layout.low_size);
                ck_assert(last <= KIB(639) || entry->base >= MIB(1));
            }
        }
        if (layout.high_size)
            ck_assert_uint_eq(last, GIB(4) + layout.high_size);
    }
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("e820");

    tcase_add_test(tcase, ram_splits_around_the_hole);
    tcase_add_test(tcase, firmware_gets_ram_as_wired);
    tcase_add_test(tcase, kernel_map_is_sorted_disjoint_and_spares_the_tables);
    return bench_main("bios/e820", tcase);
}
