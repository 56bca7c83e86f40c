/* SPDX-License-Identifier: MIT
 *
 * APIC bus: membership, lowest-priority arbitration, MSI.
 */
#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f, 4);
    for (unsigned i = 0; i < 4; i++) {
        fixture_enable(&f, i);
        reg_write(&f, i, 0xd0, 1u << (24 + i));
    }
}

static void teardown(void)
{
    fixture_teardown(&f);
}

/* Who got a lowest-priority message to the logical set; -1: nobody. */
static int lowest(u8 set, u8 vector)
{
    struct apic_message m = {
        .destination = set, .logical = true, .mode = APIC_LOWEST_PRIORITY, .vector = vector};
    int winner = -1;

    if (!apic_bus_send(&f.bus, &m))
        return -1;
    for (int i = 0; i < 4; i++) {
        if (requested(&f, (unsigned)i, vector)) {
            ck_assert_int_eq(winner, -1);
            winner = i;
            ck_assert_uint_eq(lapic_acknowledge(f.cpus[i].lapic), vector);
            reg_write(&f, (unsigned)i, 0xb0, 0);
        }
    }
    ck_assert_int_ge(winner, 0);
    return winner;
}

START_TEST(equals_take_turns)
{
    static const int expected[] = {1, 2, 3, 0, 1, 2};

    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
        ck_assert_int_eq(lowest(0xf, 0x41), expected[i]);
    ck_assert_int_eq(lowest(0x5, 0x41), 0);
    ck_assert_int_eq(lowest(0x5, 0x41), 2);
}
END_TEST

START_TEST(lowest_priority_wins)
{
    reg_write(&f, 0, 0x80, 0x40);
    reg_write(&f, 1, 0x80, 0x20);
    reg_write(&f, 2, 0x80, 0x30);
    reg_write(&f, 3, 0x80, 0x21);
    for (unsigned i = 0; i < 3; i++)
        ck_assert_int_eq(lowest(0xf, 0x91), 1);
    ck_assert_int_eq(lowest(0xd, 0x91), 3);
    reg_write(&f, 1, 0xf0, 0xff); /* software-disabled ones take no part */
    ck_assert_int_eq(lowest(0x7, 0x91), 2);
    ck_assert_int_eq(lowest(0x2, 0x91), -1);
}
END_TEST

START_TEST(msi_fields)
{
    ck_assert(apic_bus_msi(&f.bus, 0xfee02000, 0x0041));
    ck_assert(requested(&f, 2, 0x41) && !reg_bit(&f, 2, 0x180, 0x41));
    ck_assert(apic_bus_msi(&f.bus, 0xfee02000, 0xc041));
    ck_assert(reg_bit(&f, 2, 0x180, 0x41));
    ck_assert(!apic_bus_msi(&f.bus, 0xfee02000, 0x8042)); /* level de-assert */
    ck_assert(!requested(&f, 2, 0x42));
    ck_assert(apic_bus_msi(&f.bus, 0xfee0c004, 0x0043)); /* logical, 2 and 3 */
    ck_assert(requested(&f, 2, 0x43) && requested(&f, 3, 0x43));
    ck_assert(apic_bus_msi(&f.bus, 0xfee0c00c, 0x0044)); /* redirected to one of them */
    ck_assert(requested(&f, 2, 0x44) != requested(&f, 3, 0x44));
    ck_assert(apic_bus_msi(&f.bus, 0xfee01000, 0x0400));
    ck_assert_uint_eq(f.cpus[1].nmis, 1);
    ck_assert(!apic_bus_msi(&f.bus, 0xfee01000, 0x0600)); /* SIPI is no MSI */
    ck_assert(!apic_bus_msi(&f.bus, 0xfed01000, 0x0041));
    ck_assert(!apic_bus_msi(&f.bus, 0x1fee01000, 0x0041));
    ck_assert(!apic_bus_msi(&f.bus, 0xfee77000, 0x0041)); /* nobody there */
}
END_TEST

START_TEST(capacity_and_removal)
{
    struct lapic *removed = f.cpus[1].lapic;
    struct error err;

    ck_assert_int_eq(apic_bus_add(&f.bus, removed, &err), ST_INVALID);
    apic_bus_remove(&f.bus, removed);
    ck_assert(!fixture_interrupt(&f, 1, 0x41, false));
    ck_assert(fixture_interrupt(&f, 2, 0x41, false));
    ck_assert_int_eq(apic_bus_add(&f.bus, removed, &err), ST_OK);
    ck_assert(fixture_interrupt(&f, 1, 0x41, false));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("apic_bus");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, equals_take_turns);
    tcase_add_test(tc, lowest_priority_wins);
    tcase_add_test(tc, msi_fields);
    tcase_add_test(tc, capacity_and_removal);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
