/* SPDX-License-Identifier: MIT
 *
 * Local APIC timer: exact counts and deadlines in all modes, mode changes, late hosts.
 */
#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;

enum { LVT = 0x320, INITIAL = 0x380, CURRENT = 0x390, DIVIDE = 0x3e0 };
enum { ONE_SHOT = 0x00040, PERIODIC = 0x20040, DEADLINE = 0x40040, MASKED = 0x10000 };
enum { DIVIDE_BY_1 = 0xb, DIVIDE_BY_2 = 0, DIVIDE_BY_16 = 3, DIVIDE_BY_128 = 0xa };

static void setup(void)
{
    fixture_setup(&f, 1);
    fixture_enable(&f, 0);
    reg_write(&f, 0, DIVIDE, DIVIDE_BY_1);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

/* Whether the timer's vector came; takes and ends it. */
static bool fired(void)
{
    if (!lapic_has_interrupt(f.cpus[0].lapic))
        return false;
    ck_assert_uint_eq(lapic_acknowledge(f.cpus[0].lapic), 0x40);
    reg_write(&f, 0, 0xb0, 0);
    return true;
}

START_TEST(one_shot_is_exact)
{
    f.now = 12345;
    reg_write(&f, 0, LVT, ONE_SHOT);
    reg_write(&f, 0, INITIAL, 1000);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 1000);
    fixture_run_until(&f, 12345 + 999);
    ck_assert(!fired());
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 1);
    fixture_run_until(&f, 12345 + 1000);
    ck_assert(fired());
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 0);
    fixture_run_until(&f, 1000000);
    ck_assert(!fired());
    ck_assert_uint_eq(reg_read(&f, 0, INITIAL), 1000);
}
END_TEST

START_TEST(divider_values)
{
    static const struct {
        u8 code;
        u8 divide;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};

    reg_write(&f, 0, LVT, ONE_SHOT);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        u64 start = f.now;

        reg_write(&f, 0, DIVIDE, rows[i].code);
        reg_write(&f, 0, INITIAL, 0xffffffff);
        fixture_run_until(&f, start + 0xffffffffull * rows[i].divide - 1);
        ck_assert(!fired());
        ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 1);
        fixture_run_until(&f, start + 0xffffffffull * rows[i].divide);
        ck_assert(fired());
    }
}
END_TEST

START_TEST(changing_the_divider_keeps_the_count)
{
    reg_write(&f, 0, LVT, ONE_SHOT);
    reg_write(&f, 0, INITIAL, 1000);
    fixture_run_until(&f, 400);
    reg_write(&f, 0, DIVIDE, DIVIDE_BY_16);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 600);
    fixture_run_until(&f, 400 + 600 * 16 - 1);
    ck_assert(!fired());
    fixture_run_until(&f, 400 + 600 * 16);
    ck_assert(fired());
}
END_TEST

START_TEST(periodic_does_not_drift)
{
    reg_write(&f, 0, LVT, PERIODIC);
    reg_write(&f, 0, INITIAL, 10007);
    for (u64 n = 1; n <= 500; n++) {
        fixture_run_until(&f, n * 10007 - 1);
        ck_assert(!fired());
        fixture_run_until(&f, n * 10007);
        ck_assert(fired());
        ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 10007);
        fixture_run_until(&f, n * 10007 + 7);
        ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 10000);
    }
}
END_TEST

START_TEST(odd_frequency_is_exact)
{
    struct fixture g;

    fixture_setup(&g, 0);
    fixture_add(&g, 0, 333333333);
    fixture_enable(&g, 0);
    reg_write(&g, 0, DIVIDE, DIVIDE_BY_2);
    reg_write(&g, 0, LVT, PERIODIC);
    reg_write(&g, 0, INITIAL, 999);
    for (u64 n = 1; n <= 300; n++) {
        u64 when = (u64)(((u128)n * 999 * 2 * NS_PER_SECOND + 333333332) / 333333333);

        ck_assert_uint_eq(clock_next_deadline(&g.clock), when);
        fixture_run_until(&g, when);
    }
    /* A year on, still on the grid of the first write. */
    fixture_run_until(&g, g.now);
    g.now += 365ull * 86400 * NS_PER_SECOND;
    clock_run(&g.clock);
    {
        u128 counts = (u128)clock_next_deadline(&g.clock) * 333333333 / NS_PER_SECOND / 2;

        ck_assert_uint_eq((u64)(counts % 999), 0);
    }
    fixture_teardown(&g);
}
END_TEST

START_TEST(late_host_gets_one_interrupt_and_stays_on_the_grid)
{
    reg_write(&f, 0, LVT, PERIODIC);
    reg_write(&f, 0, INITIAL, 10000);
    f.now = 75000;
    clock_run(&f.clock);
    ck_assert(fired());
    ck_assert(!fired());
    ck_assert_uint_eq(clock_next_deadline(&f.clock), 80000);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 5000);
}
END_TEST

START_TEST(tiny_period_is_paced)
{
    unsigned fires = 0;

    reg_write(&f, 0, LVT, PERIODIC);
    reg_write(&f, 0, INITIAL, 1);
    while (f.now < 100000) {
        fixture_run_until(&f, clock_next_deadline(&f.clock));
        fires += fired();
    }
    ck_assert_uint_le(fires, 101);
    ck_assert_uint_ge(fires, 90);
}
END_TEST

START_TEST(masked_timer_counts_silently)
{
    reg_write(&f, 0, LVT, ONE_SHOT | MASKED);
    reg_write(&f, 0, INITIAL, 1000);
    fixture_run_until(&f, 500);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 500);
    fixture_run_until(&f, 2000);
    reg_write(&f, 0, LVT, ONE_SHOT);
    ck_assert(!fired());
}
END_TEST

START_TEST(one_shot_to_periodic_keeps_counting)
{
    reg_write(&f, 0, LVT, ONE_SHOT);
    reg_write(&f, 0, INITIAL, 5000);
    fixture_run_until(&f, 2000);
    reg_write(&f, 0, LVT, PERIODIC);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 3000);
    fixture_run_until(&f, 5000);
    ck_assert(fired());
    fixture_run_until(&f, 9999);
    ck_assert(!fired());
    reg_write(&f, 0, LVT, ONE_SHOT);
    fixture_run_until(&f, 10000);
    ck_assert(fired());
    fixture_run_until(&f, 50000);
    ck_assert(!fired());
    reg_write(&f, 0, LVT, PERIODIC); /* a count that ended does not start again */
    fixture_run_until(&f, 100000);
    ck_assert(!fired());
}
END_TEST

START_TEST(zero_stops)
{
    reg_write(&f, 0, LVT, PERIODIC);
    reg_write(&f, 0, INITIAL, 1000);
    reg_write(&f, 0, INITIAL, 0);
    fixture_run_until(&f, 10000);
    ck_assert(!fired());
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 0);
}
END_TEST

START_TEST(end_of_count_before_a_register_write_is_not_lost)
{
    reg_write(&f, 0, LVT, ONE_SHOT);
    reg_write(&f, 0, INITIAL, 1000);
    f.now = 1500; /* the host was away, clock_run() comes later */
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 0);
    reg_write(&f, 0, INITIAL, 1000);
    ck_assert(fired());
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 1000);
}
END_TEST

START_TEST(tsc_deadline)
{
    struct lapic *l = f.cpus[0].lapic;

    lapic_tsc_deadline_write(l, 3000); /* another mode: ignored */
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), 0);
    reg_write(&f, 0, LVT, DEADLINE);
    lapic_tsc_deadline_write(l, 3001);
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), 3001);
    reg_write(&f, 0, INITIAL, 5); /* ignored */
    ck_assert_uint_eq(reg_read(&f, 0, INITIAL), 0);
    ck_assert_uint_eq(reg_read(&f, 0, CURRENT), 0);
    fixture_run_until(&f, 1000);
    ck_assert(!fired());
    fixture_run_until(&f, 1001); /* TSC 3003 */
    ck_assert(fired());
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), 0);

    lapic_tsc_deadline_write(l, 1); /* long past: at once */
    ck_assert(fired());
    lapic_tsc_deadline_write(l, 30000);
    lapic_tsc_deadline_write(l, 0);
    fixture_run_until(&f, 20000);
    ck_assert(!fired());
    lapic_tsc_deadline_write(l, 90000);
    reg_write(&f, 0, LVT, ONE_SHOT); /* another mode disarms */
    fixture_run_until(&f, 40000);
    reg_write(&f, 0, LVT, DEADLINE);
    ck_assert(!fired());
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), 0);
}
END_TEST

START_TEST(tsc_deadline_masked_is_spent)
{
    struct lapic *l = f.cpus[0].lapic;

    reg_write(&f, 0, LVT, DEADLINE | MASKED);
    lapic_tsc_deadline_write(l, 3000);
    fixture_run_until(&f, 1000);
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), 0);
    reg_write(&f, 0, LVT, DEADLINE);
    ck_assert(!fired());
    lapic_tsc_deadline_write(l, ~0ull); /* far away, and no overflow on the way */
    ck_assert_uint_eq(lapic_tsc_deadline_read(l), ~0ull);
    lapic_tsc_changed(l);
    ck_assert(!fired());
}
END_TEST

START_TEST(init_stops_the_timer)
{
    reg_write(&f, 0, LVT, PERIODIC);
    reg_write(&f, 0, INITIAL, 1000);
    lapic_init_reset(f.cpus[0].lapic);
    ck_assert_uint_eq(clock_next_deadline(&f.clock), CLOCK_NEVER);
    ck_assert_uint_eq(reg_read(&f, 0, DIVIDE), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lapic_timer");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, one_shot_is_exact);
    tcase_add_test(tc, divider_values);
    tcase_add_test(tc, changing_the_divider_keeps_the_count);
    tcase_add_test(tc, periodic_does_not_drift);
    tcase_add_test(tc, odd_frequency_is_exact);
    tcase_add_test(tc, late_host_gets_one_interrupt_and_stays_on_the_grid);
    tcase_add_test(tc, tiny_period_is_paced);
    tcase_add_test(tc, masked_timer_counts_silently);
    tcase_add_test(tc, one_shot_to_periodic_keeps_counting);
    tcase_add_test(tc, zero_stops);
    tcase_add_test(tc, end_of_count_before_a_register_write_is_not_lost);
    tcase_add_test(tc, tsc_deadline);
    tcase_add_test(tc, tsc_deadline_masked_is_spent);
    tcase_add_test(tc, init_stops_the_timer);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
