/* SPDX-License-Identifier: MIT
 *
 * Port 92h: the A20 gate with its two sources, and the reset pulse.
 */
#include "devices/legacy/port92.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static void setup(void)
{
    harness_setup(&h, &port92_type, NULL, 0);
}

static void teardown(void)
{
    harness_teardown(&h);
}

START_TEST(a20_is_the_or_of_both_gates)
{
    ck_assert(physmap_a20(h.map)); /* open after reset */
    port92_set_a20(h.self, 0, false);
    ck_assert(!physmap_a20(h.map));
    out8(&h, 0x92, 0x02);
    ck_assert(physmap_a20(h.map));
    ck_assert_uint_eq(in8(&h, 0x92), 0x02);
    port92_set_a20(h.self, 0, true);
    out8(&h, 0x92, 0x00);
    ck_assert(physmap_a20(h.map));
    port92_set_a20(h.self, 0, false);
    ck_assert(!physmap_a20(h.map));
    h.type->reset(h.self);
    ck_assert(physmap_a20(h.map));
}
END_TEST

START_TEST(reset_on_the_rising_edge_only)
{
    out8(&h, 0x92, 0x01);
    ck_assert_uint_eq(h.pins[PORT92_PIN_RESET].rises, 1);
    out8(&h, 0x92, 0x03);
    ck_assert_uint_eq(h.pins[PORT92_PIN_RESET].rises, 1);
    out8(&h, 0x92, 0x00);
    out8(&h, 0x92, 0x01);
    ck_assert_uint_eq(h.pins[PORT92_PIN_RESET].rises, 2);
}
END_TEST

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x91, 0x92};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("port92");
    TCase *tc = tcase_create("port92");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a20_is_the_or_of_both_gates);
    tcase_add_test(tc, reset_on_the_rising_edge_only);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
