/* SPDX-License-Identifier: MIT
 *
 * i440FX: identity, PAM in all four combinations, SMRAM, DRAM hole, reset register.
 */
#include "devices/pci/i440fx.h"
#include "tests/devices/board.h"
#include "tests/suite.h"

#include <string.h>

static struct board b;
static u8 rom[KIB(128)] ALIGNED(4096);
static unsigned rom_region;

static u64 vga_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return 0x3333333333333333;
}

static const struct io_ops vga_ops = {vga_read, NULL, SIZE_ANY};

static void setup(void)
{
    struct region firmware = {.name = "firmware",
                              .kind = REGION_ROM,
                              .access = REGION_RW,
                              .base = 0xe0000,
                              .size = KIB(128),
                              .priority = PRIO_ROM,
                              .hva = rom};
    struct region vga = {.name = "VGA",
                         .kind = REGION_MMIO,
                         .access = REGION_RW,
                         .base = 0xa0000,
                         .size = KIB(128),
                         .priority = PRIO_MMIO,
                         .ops = &vga_ops};
    struct i440fx_config config;
    unsigned id;

    board_setup(&b);
    config = (struct i440fx_config){b.pci, board_reset_request, &b};
    memset(rom, 0x22, sizeof(rom));
    memset(b.ram.hva, 0x11, MIB(1));
    ck_assert_int_eq(physmap_add(b.map, &firmware, &rom_region), ST_OK);
    ck_assert_int_eq(physmap_add(b.map, &vga, &id), ST_OK);
    board_add(&b, &i440fx_type, 0, 0, &config);
}

static void teardown(void)
{
    board_teardown(&b);
}

static u8 peek(u64 gpa)
{
    return (u8)physmap_read_uint(b.map, gpa, 1);
}

START_TEST(identity)
{
    ck_assert_uint_eq(config_get(&b, 0, 0, 4), 0x12378086);
    ck_assert_uint_eq(config_get(&b, 0, 8, 4), 0x06000002);
    ck_assert_uint_eq(config_get(&b, 0, 4, 4), 0x02800006);
    config_put(&b, 0, 4, 0xffff, 2);
    ck_assert_uint_eq(config_get(&b, 0, 4, 2), 0x0146);
    config_put(&b, 0, 0x59, 0xff, 1);
    ck_assert_uint_eq(config_get(&b, 0, 0x59, 1), 0x30);
    ck_assert_uint_eq(config_get(&b, 0, 0x2c, 4), 0);
}
END_TEST

START_TEST(nothing_shadowed_after_reset)
{
    ck_assert_uint_eq(peek(0x9ffff), 0x11);
    ck_assert_uint_eq(peek(0xa0000), 0x33);
    ck_assert_uint_eq(peek(0xc0000), 0xff);
    ck_assert_uint_eq(peek(0xdffff), 0xff);
    ck_assert_uint_eq(peek(0xe0000), 0x22);
    ck_assert_uint_eq(peek(0xfffff), 0x22);
    ck_assert_uint_eq(peek(0x100000), 0);
    physmap_write_uint(b.map, 0xc0000, 0x44, 1);
    physmap_write_uint(b.map, 0xf0000, 0x44, 1);
    ck_assert_uint_eq(b.ram.hva[0xc0000], 0x11);
    ck_assert_uint_eq(b.ram.hva[0xf0000], 0x11);
    ck_assert_uint_eq(rom[0x10000], 0x22);
}
END_TEST

/* Every segment, every combination: reads and writes go where they should, neighbours too. */
START_TEST(each_segment_each_combination)
{
    for (unsigned segment = 0; segment < 13; segment++) {
        u64 base = segment ? 0xc0000 + (segment - 1) * 0x4000 : 0xf0000;
        u64 last = base + (segment ? 0x3fff : 0xffff);
        u8 reg = (u8)(0x59 + (segment + 1) / 2), shift = segment % 2 ? 0 : 4;
        u8 below = base < 0xe0000 ? 0xff : 0x22;

        for (unsigned bits = 0; bits < 4; bits++) {
            config_put(&b, 0, reg, bits << shift, 1);
            b.ram.hva[base] = 0x11;
            b.ram.hva[last] = 0x11;
            ck_assert_uint_eq(peek(base), bits & 1 ? 0x11 : below);
            ck_assert_uint_eq(peek(last), bits & 1 ? 0x11 : below);
            physmap_write_uint(b.map, base, 0x55, 1);
            physmap_write_uint(b.map, last, 0x55, 1);
            ck_assert_uint_eq(b.ram.hva[base], bits & 2 ? 0x55 : 0x11);
            ck_assert_uint_eq(b.ram.hva[last], bits & 2 ? 0x55 : 0x11);
            if (last != 0xfffff)
                ck_assert_uint_eq(peek(last + 1), last + 1 < 0xe0000 ? 0xff : 0x22);
        }
        config_put(&b, 0, reg, 0, 1);
    }
    ck_assert_uint_eq(rom[0], 0x22);
}
END_TEST

START_TEST(dword_write_reaches_several_segments)
{
    config_put(&b, 0, 0x5c, 0x33333333, 4);
    ck_assert_uint_eq(peek(0xd0000), 0x11);
    ck_assert_uint_eq(peek(0xec000), 0x11);
    ck_assert_uint_eq(peek(0xcffff), 0xff);
    ck_assert_uint_eq(peek(0xf0000), 0x22);
    for (unsigned i = 0; i < b.count; i++)
        b.parts[i].type->reset(b.parts[i].self);
    ck_assert_uint_eq(peek(0xec000), 0x22);
}
END_TEST

START_TEST(smram_open_close_lock)
{
    ck_assert_uint_eq(config_get(&b, 0, 0x72, 1), 0x02);
    config_put(&b, 0, 0x72, 0x40, 1); /* open, but not enabled */
    ck_assert_uint_eq(peek(0xa0000), 0x33);
    config_put(&b, 0, 0x72, 0x48, 1);
    ck_assert_uint_eq(config_get(&b, 0, 0x72, 1), 0x4a);
    ck_assert_uint_eq(peek(0xa0000), 0x11);
    physmap_write_uint(b.map, 0xbffff, 0x66, 1);
    ck_assert_uint_eq(b.ram.hva[0xbffff], 0x66);
    config_put(&b, 0, 0x72, 0x58, 1); /* lock: closes */
    ck_assert_uint_eq(config_get(&b, 0, 0x72, 1), 0x1a);
    ck_assert_uint_eq(peek(0xa0000), 0x33);
    config_put(&b, 0, 0x72, 0x48, 1); /* and stays locked */
    ck_assert_uint_eq(config_get(&b, 0, 0x72, 1), 0x1a);
    ck_assert_uint_eq(peek(0xa0000), 0x33);
    b.parts[1].type->reset(b.parts[1].self);
    config_put(&b, 0, 0x72, 0x48, 1);
    ck_assert_uint_eq(peek(0xa0000), 0x11);
}
END_TEST

START_TEST(dram_hole)
{
    config_put(&b, 0, 0x68, 0x40, 1);
    ck_assert_uint_eq(peek(0x7ffff), 0x11);
    ck_assert_uint_eq(peek(0x80000), 0xff);
    ck_assert_uint_eq(peek(0x9ffff), 0xff);
    config_put(&b, 0, 0x68, 0x80, 1);
    ck_assert_uint_eq(peek(0x80000), 0x11);
    config_put(&b, 0, 0x68, 0x00, 1);
    ck_assert_uint_eq(peek(0x80000), 0x11);
}
END_TEST

START_TEST(reset_register)
{
    config_put(&b, 0, 0x93, 0x04, 1);
    ck_assert_uint_eq(b.soft_resets, 1);
    config_put(&b, 0, 0x93, 0x06, 1); /* no rise */
    ck_assert_uint_eq(b.hard_resets, 0);
    config_put(&b, 0, 0x93, 0x02, 1);
    config_put(&b, 0, 0x93, 0x06, 1);
    ck_assert_uint_eq(b.hard_resets, 1);
    ck_assert_uint_eq(b.soft_resets, 1);
}
END_TEST

START_TEST(random_accesses)
{
    static const u8 devfns[] = {0};
    static const u16 ports[] = {0xcf8, 0xcfc, 0xcfd, 0xcfe, 0xcff};

    board_fuzz(&b, devfns, 1, ports, ARRAY_SIZE(ports), 100000);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("i440fx");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, identity);
    tcase_add_test(tc, nothing_shadowed_after_reset);
    tcase_add_test(tc, each_segment_each_combination);
    tcase_add_test(tc, dword_write_reaches_several_segments);
    tcase_add_test(tc, smram_open_close_lock);
    tcase_add_test(tc, dram_hole);
    tcase_add_test(tc, reset_register);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
