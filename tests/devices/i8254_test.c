/* SPDX-License-Identifier: MIT
 *
 * The 8254 and port 61h, pulse by pulse.
 */
#include "devices/legacy/i8254.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static void setup(void)
{
    harness_setup(&h, &i8254_type, NULL, 0);
}

static void teardown(void)
{
    harness_teardown(&h);
}

/* The first nanosecond after CLK pulse n. */
static u64 pulse_time(u64 n)
{
    return (u64)(((u128)n * NS_PER_SECOND + I8254_HZ - 1) / I8254_HZ);
}

static u64 pulse_now(void)
{
    return (u64)((u128)h.now * I8254_HZ / NS_PER_SECOND);
}

static void pulses(u64 n)
{
    harness_run_until(&h, pulse_time(pulse_now() + n));
}

static void program(unsigned counter, unsigned mode, unsigned count, bool bcd)
{
    out8(&h, 0x43, counter << 6 | 0x30 | mode << 1 | bcd);
    out8(&h, (u16)(0x40 + counter), count & 0xff);
    out8(&h, (u16)(0x40 + counter), count >> 8);
}

static unsigned read_count(unsigned counter)
{
    unsigned low;

    out8(&h, 0x43, counter << 6);
    low = in8(&h, (u16)(0x40 + counter));
    return low | in8(&h, (u16)(0x40 + counter)) << 8;
}

static u8 read_status(unsigned counter)
{
    out8(&h, 0x43, 0xe0 | 2u << counter);
    return in8(&h, (u16)(0x40 + counter));
}

static bool out_of(unsigned counter)
{
    return read_status(counter) & 0x80;
}

START_TEST(mode0_rises_n_plus_1_pulses_after_the_write)
{
    program(0, 0, 5, false);
    ck_assert(!out_of(0));
    pulses(1);
    ck_assert_uint_eq(read_count(0), 5);
    pulses(4);
    ck_assert_uint_eq(read_count(0), 1);
    ck_assert_uint_eq(h.pins[0].rises, 0);
    pulses(1);
    ck_assert(out_of(0));
    ck_assert_uint_eq(h.pins[0].rises, 1);
    pulses(3);
    ck_assert_uint_eq(read_count(0), 0xfffd); /* wraps on, OUT stays */
    pulses(200000);
    ck_assert_uint_eq(h.pins[0].rises, 1);
}
END_TEST

START_TEST(mode0_first_byte_stops_the_count)
{
    program(0, 0, 100, false);
    pulses(11);
    ck_assert_uint_eq(read_count(0), 90);
    out8(&h, 0x40, 7);
    pulses(50);
    ck_assert_uint_eq(read_count(0), 90);
    out8(&h, 0x40, 0);
    pulses(8);
    ck_assert(out_of(0));
}
END_TEST

START_TEST(mode2_period_and_low_pulse)
{
    program(0, 2, 4, false);
    ck_assert(out_of(0));
    pulses(1);
    ck_assert_uint_eq(read_count(0), 4);
    pulses(3);
    ck_assert_uint_eq(read_count(0), 1);
    ck_assert(!out_of(0));
    pulses(1);
    ck_assert_uint_eq(read_count(0), 4);
    ck_assert(out_of(0));
    h.pins[0].rises = 0;
    pulses(4000);
    ck_assert_uint_eq(h.pins[0].rises, 1000);
}
END_TEST

START_TEST(mode2_takes_a_new_count_at_the_end_of_the_period)
{
    program(0, 2, 10, false);
    pulses(4);
    out8(&h, 0x40, 6);
    out8(&h, 0x40, 0);
    ck_assert(read_status(0) & 0x40);
    pulses(6);
    ck_assert_uint_eq(read_count(0), 1);
    pulses(1);
    ck_assert_uint_eq(read_count(0), 6);
    ck_assert(!(read_status(0) & 0x40));
    pulses(6);
    ck_assert_uint_eq(read_count(0), 6);
}
END_TEST

START_TEST(mode2_reload_of_1_runs_around_once)
{
    program(0, 2, 1, false);
    pulses(1);
    ck_assert_uint_eq(read_count(0), 1);
    pulses(1);
    ck_assert_uint_eq(read_count(0), 0);
    h.pins[0].rises = 0;
    pulses(65537 * 3);
    ck_assert_uint_eq(h.pins[0].rises, 3);
}
END_TEST

START_TEST(count_of_0_is_65536_or_10000)
{
    program(0, 2, 0, false);
    pulses(1);
    h.pins[0].rises = 0;
    pulses(65535);
    ck_assert_uint_eq(h.pins[0].rises, 0);
    pulses(1);
    ck_assert_uint_eq(h.pins[0].rises, 1);
    program(0, 2, 0, true);
    pulses(1);
    h.pins[0].rises = 0;
    pulses(9999);
    ck_assert_uint_eq(read_count(0), 1);
    pulses(1);
    ck_assert_uint_eq(h.pins[0].rises, 1);
}
END_TEST

START_TEST(mode3_even_and_odd)
{
    static const u16 even[] = {4, 2, 4, 2, 4, 2};
    static const u16 odd[] = {4, 2, 0, 4, 2, 4, 2, 0, 4, 2};
    static const u8 odd_out[] = {1, 1, 1, 0, 0, 1, 1, 1, 0, 0};

    program(0, 3, 4, false);
    for (unsigned i = 0; i < ARRAY_SIZE(even); i++) {
        pulses(1);
        ck_assert_uint_eq(read_count(0), even[i]);
        ck_assert_int_eq(out_of(0), i / 2 % 2 == 0);
    }
    program(0, 3, 5, false);
    for (unsigned i = 0; i < ARRAY_SIZE(odd); i++) {
        pulses(1);
        ck_assert_uint_eq(read_count(0), odd[i]);
        ck_assert_int_eq(out_of(0), odd_out[i]);
        ck_assert_int_eq(h.pins[0].level, odd_out[i]);
    }
}
END_TEST

START_TEST(mode3_rises_once_a_period_without_drift)
{
    program(0, 3, 11932, false);
    h.pins[0].rises = 0;
    harness_run_for(&h, 3600 * NS_PER_SECOND);
    /* One pulse for the load, then a rise every 11932. */
    ck_assert_uint_eq(h.pins[0].rises, (3600 * I8254_HZ - 1) / 11932);
}
END_TEST

START_TEST(mode4_strobes_low_once)
{
    program(0, 4, 3, false);
    pulses(3);
    ck_assert(out_of(0));
    pulses(1);
    ck_assert(!out_of(0));
    pulses(1);
    ck_assert(out_of(0));
    ck_assert_uint_eq(read_count(0), 0xffff);
    h.pins[0].falls = 0;
    pulses(70000);
    ck_assert_uint_eq(h.pins[0].falls, 0);
}
END_TEST

START_TEST(gate_of_counter_2_in_modes_1_and_5)
{
    program(2, 1, 3, false);
    pulses(20);
    ck_assert(in8(&h, 0x61) & 0x20);
    out8(&h, 0x61, 1);
    pulses(1);
    ck_assert(!(in8(&h, 0x61) & 0x20));
    pulses(2);
    ck_assert(!(in8(&h, 0x61) & 0x20));
    out8(&h, 0x61, 0);
    out8(&h, 0x61, 1); /* retrigger */
    pulses(3);
    ck_assert(!(in8(&h, 0x61) & 0x20));
    pulses(1);
    ck_assert(in8(&h, 0x61) & 0x20);
    out8(&h, 0x61, 0);
    program(2, 5, 3, false);
    pulses(20);
    ck_assert(in8(&h, 0x61) & 0x20);
    out8(&h, 0x61, 1);
    out8(&h, 0x61, 0); /* only the edge counts */
    pulses(4);
    ck_assert(!(in8(&h, 0x61) & 0x20));
    pulses(1);
    ck_assert(in8(&h, 0x61) & 0x20);
}
END_TEST

START_TEST(gate_of_counter_2_in_modes_0_2_3)
{
    program(2, 0, 10, false);
    pulses(5);
    ck_assert_uint_eq(read_count(2), 10); /* loaded, but not counting */
    out8(&h, 0x61, 1);
    pulses(4);
    ck_assert_uint_eq(read_count(2), 6);
    out8(&h, 0x61, 0);
    pulses(4);
    ck_assert_uint_eq(read_count(2), 6);
    out8(&h, 0x61, 1);
    pulses(6);
    ck_assert(out_of(2));
    program(2, 3, 10, false);
    pulses(7);
    ck_assert(!out_of(2));
    out8(&h, 0x61, 0); /* sets OUT at once */
    ck_assert(out_of(2));
    out8(&h, 0x61, 1);
    pulses(1);
    ck_assert_uint_eq(read_count(2), 10); /* the trigger reloads */
    program(2, 2, 10, false);
    pulses(10);
    ck_assert(!out_of(2));
    out8(&h, 0x61, 0);
    ck_assert(out_of(2));
}
END_TEST

START_TEST(latch_holds_and_status_comes_first)
{
    unsigned low;

    program(0, 2, 1000, false);
    pulses(101);
    out8(&h, 0x43, 0xc2); /* read back: status and count of counter 0 */
    pulses(50);
    out8(&h, 0x43, 0x00); /* ignored: already latched */
    ck_assert_uint_eq(in8(&h, 0x40), 0xb4);
    low = in8(&h, 0x40);
    ck_assert_uint_eq(low | in8(&h, 0x40) << 8, 900);
    low = in8(&h, 0x40);
    ck_assert_uint_eq(low | in8(&h, 0x40) << 8, 850);
}
END_TEST

START_TEST(one_byte_access_modes)
{
    out8(&h, 0x43, 0x94); /* counter 2, LSB, mode 2 */
    out8(&h, 0x61, 1);
    out8(&h, 0x42, 50);
    pulses(11);
    ck_assert_uint_eq(in8(&h, 0x42), 40);
    ck_assert_uint_eq(in8(&h, 0x42), 40);
    out8(&h, 0x43, 0xa4); /* MSB */
    out8(&h, 0x42, 2);
    pulses(2);
    ck_assert_uint_eq(in8(&h, 0x42), 1);
}
END_TEST

START_TEST(bcd_counts_in_decimal)
{
    program(0, 2, 0x1000, true);
    pulses(2);
    ck_assert_uint_eq(read_count(0), 0x0999);
    pulses(899);
    ck_assert_uint_eq(read_count(0), 0x0100);
}
END_TEST

START_TEST(late_host_gets_one_edge)
{
    program(0, 2, 100, false);
    pulses(1);
    h.pins[0].rises = 0;
    harness_jump(&h, 3600 * NS_PER_SECOND);
    ck_assert_uint_eq(h.pins[0].rises, 1);
    ck_assert(h.pins[0].level);
    ck_assert_uint_gt(clock_next_deadline(&h.clock), h.now);
    program(0, 3, 100, false);
    pulses(1);
    h.pins[0].rises = 0;
    harness_jump(&h, pulse_time(160)); /* into a low half, past a rise */
    ck_assert_uint_eq(h.pins[0].rises, 1);
    ck_assert(h.pins[0].level);
    read_count(0);
    ck_assert(h.pins[0].level); /* a look does not take it back */
    pulses(60);
    ck_assert_uint_eq(h.pins[0].rises, 2);
}
END_TEST

START_TEST(port61_refresh_and_speaker)
{
    u8 last = in8(&h, 0x61) & 0x10;
    unsigned toggles = 0;

    for (unsigned i = 0; i < 100; i++) {
        harness_run_for(&h, 15086);
        toggles += (in8(&h, 0x61) & 0x10) != last;
        last = in8(&h, 0x61) & 0x10;
    }
    ck_assert_uint_ge(toggles, 99);
    program(2, 3, 1000, false);
    out8(&h, 0x61, 0xf3);
    ck_assert_uint_eq(in8(&h, 0x61) & 0xcf, 0x03);
    pulses(10);
    ck_assert(i8254_speaker(h.self));
    pulses(500);
    ck_assert(!i8254_speaker(h.self));
    out8(&h, 0x61, 0x01);
    pulses(500);
    ck_assert(!i8254_speaker(h.self));
}
END_TEST

/* What a long jump computes in closed form must be what pulse after pulse gives. */
START_TEST(closed_form_equals_single_steps)
{
    static const u16 counts[] = {1, 2, 3, 4, 5, 9, 10, 0x99, 0xff, 0xabc, 0x1000, 0xffff, 0};

    for (unsigned mode = 0; mode < 6; mode++) {
        for (unsigned i = 0; i < ARRAY_SIZE(counts); i++) {
            for (unsigned bcd = 0; bcd < 2; bcd++) {
                u64 n = 1 + harness_random(&h) % 3000;
                unsigned count;
                u8 status;

                out8(&h, 0x61, 0);
                program(2, mode, counts[i], bcd);
                out8(&h, 0x61, 1);
                program(1, mode == 1 || mode == 5 ? 0 : mode, counts[i], bcd);
                for (u64 k = 0; k < n; k++) {
                    h.now = pulse_time(pulse_now() + 1);
                    read_status(2);
                }
                count = read_count(2);
                status = read_status(2);
                if (mode == 1 || mode == 5)
                    continue;
                ck_assert_uint_eq(read_count(1), count);
                ck_assert_uint_eq(read_status(1), status);
            }
        }
    }
}
END_TEST

static void fuzz_step(struct harness *f)
{
    if (clock_next_deadline(&f->clock) < f->now)
        clock_run(&f->clock);
    ck_assert_uint_ge(clock_next_deadline(&f->clock), f->now);
}

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x40, 0x41, 0x42, 0x43, 0x61};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, fuzz_step);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("i8254");
    TCase *tc = tcase_create("i8254");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, mode0_rises_n_plus_1_pulses_after_the_write);
    tcase_add_test(tc, mode0_first_byte_stops_the_count);
    tcase_add_test(tc, mode2_period_and_low_pulse);
    tcase_add_test(tc, mode2_takes_a_new_count_at_the_end_of_the_period);
    tcase_add_test(tc, mode2_reload_of_1_runs_around_once);
    tcase_add_test(tc, count_of_0_is_65536_or_10000);
    tcase_add_test(tc, mode3_even_and_odd);
    tcase_add_test(tc, mode3_rises_once_a_period_without_drift);
    tcase_add_test(tc, mode4_strobes_low_once);
    tcase_add_test(tc, gate_of_counter_2_in_modes_1_and_5);
    tcase_add_test(tc, gate_of_counter_2_in_modes_0_2_3);
    tcase_add_test(tc, latch_holds_and_status_comes_first);
    tcase_add_test(tc, one_byte_access_modes);
    tcase_add_test(tc, bcd_counts_in_decimal);
    tcase_add_test(tc, late_host_gets_one_edge);
    tcase_add_test(tc, port61_refresh_and_speaker);
    tcase_add_test(tc, closed_form_equals_single_steps);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
