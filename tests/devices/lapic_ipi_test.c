/* SPDX-License-Identifier: MIT
 *
 * Interprocessor interrupts: ICR and SELF IPI, destinations, shorthands, delivery modes.
 */
#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f, 4);
    for (unsigned i = 0; i < 4; i++)
        fixture_enable(&f, i);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

static void send(unsigned from, u8 destination, u32 icr)
{
    reg_write(&f, from, 0x310, (u32)destination << 24);
    reg_write(&f, from, 0x300, icr);
}

/* The set of CPUs that hold vector, as bits; takes and ends it. */
static unsigned receivers(u8 vector)
{
    unsigned set = 0;

    for (unsigned i = 0; i < f.count; i++) {
        struct lapic *l = f.cpus[i].lapic;

        if (!lapic_has_interrupt(l))
            continue;
        ck_assert_uint_eq(lapic_acknowledge(l), vector);
        lapic_type.reset(l);
        fixture_enable(&f, i);
        set |= 1u << i;
    }
    return set;
}

START_TEST(physical_and_broadcast)
{
    send(0, 2, 0x4041);
    ck_assert_uint_eq(receivers(0x41), 1u << 2);
    send(0, 9, 0x4041);
    ck_assert_uint_eq(receivers(0x41), 0);
    send(1, 0xff, 0x4041);
    ck_assert_uint_eq(receivers(0x41), 0xf);
    send(1, 1, 0xc041); /* "level": still an edge */
    ck_assert(requested(&f, 1, 0x41) && !reg_bit(&f, 1, 0x180, 0x41));
    ck_assert_uint_eq(reg_read(&f, 1, 0x300), 0xc041);
}
END_TEST

START_TEST(logical_flat_and_cluster)
{
    for (unsigned i = 0; i < 4; i++)
        reg_write(&f, i, 0xd0, 1u << (24 + i));
    send(0, 0x0a, 0x4841);
    ck_assert(!requested(&f, 0, 0x41) && requested(&f, 1, 0x41));
    ck_assert(!requested(&f, 2, 0x41) && requested(&f, 3, 0x41));
    for (unsigned i = 0; i < 4; i++) {
        reg_write(&f, i, 0xe0, 0x0fffffff);
        reg_write(&f, i, 0xd0, (i / 2) << 28 | (1u << i % 2) << 24);
    }
    send(0, 0x12, 0x4842); /* cluster 1, second member */
    ck_assert(!requested(&f, 1, 0x42) && !requested(&f, 2, 0x42) && requested(&f, 3, 0x42));
    send(0, 0xff, 0x4843);
    for (unsigned i = 0; i < 4; i++)
        ck_assert(requested(&f, i, 0x43));
    reg_write(&f, 3, 0xe0, 0x5fffffff); /* neither model: nobody's address */
    send(0, 0x12, 0x4844);
    ck_assert(!requested(&f, 3, 0x44));
}
END_TEST

START_TEST(shorthands)
{
    send(1, 0, 0x44041);
    ck_assert_uint_eq(receivers(0x41), 1u << 1);
    send(1, 0, 0x84041);
    ck_assert_uint_eq(receivers(0x41), 0xf);
    send(1, 0, 0xc4041);
    ck_assert_uint_eq(receivers(0x41), 0xd);
    send(1, 0, 0x44400); /* NMI to self and to all: not valid, table 10-3 */
    send(1, 0, 0x84400);
    ck_assert_uint_eq(f.cpus[1].nmis, 0);
    send(1, 0, 0xc4400);
    ck_assert_uint_eq(f.cpus[0].nmis + f.cpus[2].nmis + f.cpus[3].nmis, 3);
    ck_assert_uint_eq(f.cpus[1].nmis, 0);
}
END_TEST

START_TEST(init_sipi_smi)
{
    send(0, 1, 0xc500);
    ck_assert_uint_eq(f.cpus[1].inits, 1);
    send(0, 1, 0x8500); /* level de-assert */
    ck_assert_uint_eq(f.cpus[1].inits, 1);
    send(0, 1, 0x4500); /* an edge */
    ck_assert_uint_eq(f.cpus[1].inits, 2);
    send(0, 1, 0x4608); /* a SIPI's vector may be below 16 */
    ck_assert_uint_eq(f.cpus[1].sipis, 1);
    ck_assert_uint_eq(f.cpus[1].sipi_vector, 8);
    send(0, 1, 0x4200);
    ck_assert_uint_eq(f.cpus[1].smis, 1);
    send(0, 1, 0x4341); /* reserved modes */
    send(0, 1, 0x4741);
    ck_assert(!lapic_has_interrupt(f.cpus[1].lapic));
    reg_write(&f, 0, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0);
}
END_TEST

START_TEST(illegal_vector_is_reported_by_both_ends)
{
    send(0, 1, 0x4005);
    reg_write(&f, 0, 0x280, 0);
    reg_write(&f, 1, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0x20);
    ck_assert_uint_eq(reg_read(&f, 1, 0x280), 0x40);
    ck_assert_uint_eq(reg_read(&f, 1, 0x200), 0);
}
END_TEST

START_TEST(x2apic_destinations)
{
    struct fixture g;

    fixture_setup(&g, 0);
    fixture_add(&g, 0, NS_PER_SECOND);
    fixture_add(&g, 0x12, NS_PER_SECOND);
    fixture_add(&g, 0x1ff, NS_PER_SECOND);
    for (unsigned i = 0; i < 3; i++) {
        fixture_x2apic(&g, i);
        ck_assert(msr_write(&g, i, 0x80f, 0x1ff));
    }
    ck_assert_uint_eq(msr_read(&g, 1, 0x80d), 0x00010004);
    ck_assert_uint_eq(msr_read(&g, 2, 0x80d), 0x001f8000);
    ck_assert(msr_write(&g, 0, 0x830, (u64)0x1ff << 32 | 0x4041));
    ck_assert_uint_eq(msr_read(&g, 2, 0x822), 2);
    ck_assert_uint_eq(msr_read(&g, 0, 0x822) | msr_read(&g, 1, 0x822), 0);
    ck_assert_uint_eq(msr_read(&g, 0, 0x830), (u64)0x1ff << 32 | 0x4041);
    ck_assert(msr_write(&g, 0, 0x830, (u64)0x0001ffff << 32 | 0x4842)); /* all of cluster 1 */
    ck_assert_uint_eq(msr_read(&g, 1, 0x822), 4);
    ck_assert_uint_eq(msr_read(&g, 2, 0x822), 2);
    ck_assert(msr_write(&g, 0, 0x830, (u64)0x001f8000 << 32 | 0x4848)); /* cluster 1Fh, member 15 */
    ck_assert_uint_eq(msr_read(&g, 2, 0x822), 0x102);
    ck_assert(msr_write(&g, 0, 0x830, (u64)0xff << 32 | 0x4043)); /* APIC 255, no broadcast */
    ck_assert_uint_eq(msr_read(&g, 0, 0x822) & 8, 0);
    ck_assert(msr_write(&g, 0, 0x830, (u64)0xffffffff << 32 | 0x4044));
    for (unsigned i = 0; i < 3; i++)
        ck_assert_uint_eq(msr_read(&g, i, 0x822) & 0x10, 0x10);
    ck_assert(msr_write(&g, 1, 0x83f, 0x45));
    ck_assert_uint_eq(msr_read(&g, 1, 0x822) & 0x20, 0x20);
    ck_assert_uint_eq(msr_read(&g, 0, 0x822) & 0x20, 0);
    /* 8-bit messages of devices: FFh is everybody, logical ones reach cluster 0. */
    ck_assert(fixture_interrupt(&g, 0xff, 0x46, false));
    ck_assert_uint_eq(msr_read(&g, 2, 0x822) & 0x40, 0x40);
    ck_assert(apic_bus_msi(&g.bus, 0xfee01004, 0x47));
    ck_assert_uint_eq(msr_read(&g, 0, 0x822) & 0x80, 0x80);
    ck_assert(!apic_bus_msi(&g.bus, 0xfee02004, 0x47));
    fixture_teardown(&g);
}
END_TEST

START_TEST(delivery_status_bit_is_ignored_in_x2apic)
{
    fixture_x2apic(&f, 0);
    ck_assert(msr_write(&f, 0, 0x830, (u64)1 << 32 | 0x5041));
    ck_assert_uint_eq(msr_read(&f, 0, 0x830), (u64)1 << 32 | 0x4041);
    ck_assert(requested(&f, 1, 0x41));
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lapic_ipi");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, physical_and_broadcast);
    tcase_add_test(tc, logical_flat_and_cluster);
    tcase_add_test(tc, shorthands);
    tcase_add_test(tc, init_sipi_smi);
    tcase_add_test(tc, illegal_vector_is_reported_by_both_ends);
    tcase_add_test(tc, x2apic_destinations);
    tcase_add_test(tc, delivery_status_bit_is_ignored_in_x2apic);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
