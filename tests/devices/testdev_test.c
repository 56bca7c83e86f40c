/* SPDX-License-Identifier: MIT
 *
 * pc-testdev: memory behind ports and registers, interrupt lines.
 */
#include "devices/legacy/testdev.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static void setup(void)
{
    harness_setup(&h, &testdev_type, NULL, 0);
}

static void teardown(void)
{
    harness_teardown(&h);
}

START_TEST(ports_are_memory_of_any_width)
{
    pio_write(&h.pio, 0xe0, 0x12345678, 4);
    ck_assert_uint_eq(pio_read(&h.pio, 0xe0, 4), 0x12345678);
    ck_assert_uint_eq(pio_read(&h.pio, 0xe2, 2), 0x1234);
    ck_assert_uint_eq(in8(&h, 0xe1), 0x56);
    out8(&h, 0xe3, 0xab);
    pio_write(&h.pio, 0xe0, 0xcdef, 2);
    ck_assert_uint_eq(pio_read(&h.pio, 0xe0, 4), 0xab34cdef);
    ck_assert_uint_eq(pio_read(&h.pio, 0xe4, 4), 0xab34cdef);
    pio_write(&h.pio, 0xe4, 0x01020304, 4);
    ck_assert_uint_eq(pio_read(&h.pio, 0xe0, 4), 0x01020304);
}
END_TEST

START_TEST(page_is_memory_of_any_width)
{
    for (unsigned size = 1; size <= 8; size *= 2)
        for (u64 at = 0; at < PAGE_SIZE; at += 1000 * size) {
            physmap_write_uint(h.map, TESTDEV_MMIO_BASE + at, 0x8877665544332211ull + at, size);
            ck_assert_uint_eq(physmap_read_uint(h.map, TESTDEV_MMIO_BASE + at, size),
                              (0x8877665544332211ull + at) & (~0ull >> (64 - size * 8)));
        }
}
END_TEST

START_TEST(lines_follow_their_ports)
{
    for (unsigned n = 0; n < TESTDEV_LINE_COUNT; n++) {
        pio_write(&h.pio, (u16)(0x2000 + n), 1, n % 2 ? 4 : 1);
        ck_assert(h.pins[n].level);
        ck_assert_uint_eq(h.pins[n].rises, 1);
        out8(&h, (u16)(0x2000 + n), 0);
        ck_assert(!h.pins[n].level);
    }
    out8(&h, 0x2017, 0x80);
    ck_assert(h.pins[23].level);
    h.type->reset(h.self);
    ck_assert(!h.pins[23].level);
}
END_TEST

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0xe0, 0xe1, 0xe3, 0xe4, 0xe7, 0x2000, 0x2015, 0x2017};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, NULL);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("testdev");
    TCase *tc = tcase_create("testdev");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, ports_are_memory_of_any_width);
    tcase_add_test(tc, page_is_memory_of_any_width);
    tcase_add_test(tc, lines_follow_their_ports);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(s, tc);
    return suite_run(s);
}
