/* SPDX-License-Identifier: MIT
 *
 * Guest time: real time against the host's clock, counted time against instruction counts, and that
 * deadlines, budgets and TSC values agree to the nanosecond.
 */
#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "devices/clock.h"
#include "machine/time.h"
#include "tests/suite.h"

static struct time_source source;

static u64 host_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * NS_PER_SECOND + (u64)ts.tv_nsec;
}

static void pause_ms(unsigned ms)
{
    const struct timespec ts = {.tv_nsec = (long)ms * 1000000};

    nanosleep(&ts, NULL);
}

START_TEST(real_time_follows_the_host)
{
    u64 host, now, tsc;

    time_init(&source, TIME_REAL, 0);
    host = host_ns();
    now = time_now(&source);
    tsc = time_tsc(&source);
    ck_assert_uint_lt(now, 10 * 1000000);
    pause_ms(50);
    host = host_ns() - host;
    now = time_now(&source) - now;
    tsc = time_tsc(&source) - tsc;
    /* The host's TSC was measured over 20 ms; one in a hundred and a late wake-up are allowed. */
    ck_assert_uint_ge(now, host - host / 100 - 1000000);
    ck_assert_uint_le(now, host + host / 100 + 1000000);
    ck_assert_uint_ge((u128)tsc * NS_PER_SECOND / source.tsc_hz, host - host / 100 - 1000000);
}
END_TEST

START_TEST(real_time_can_be_slower_than_the_host)
{
    u64 host, now, tsc, hz;

    time_init(&source, TIME_REAL, 0);
    hz = source.tsc_hz;
    time_slow_down(&source, 10);
    ck_assert_uint_eq(source.tsc_hz, hz);
    host = host_ns();
    now = time_now(&source);
    tsc = time_tsc(&source);
    ck_assert_uint_lt(now, 1000000);
    pause_ms(50);
    now = time_now(&source) - now;
    tsc = time_tsc(&source) - tsc;
    host = (host_ns() - host) / 10;
    ck_assert_uint_le(now, host + host / 100 + 100000);
    ck_assert_uint_ge(now, 5000000 - 5000000 / 100 - 100000);
    ck_assert_uint_le((u128)tsc * NS_PER_SECOND / source.tsc_hz, host + host / 100 + 100000);
    ck_assert_uint_eq(time_for_host(&source, 7), 70);
    ck_assert_uint_eq(time_for_host(&source, CLOCK_NEVER), CLOCK_NEVER);
    ck_assert_uint_eq(time_for_host(&source, CLOCK_NEVER / 2), CLOCK_NEVER);
}
END_TEST

START_TEST(real_time_never_goes_back)
{
    u64 last = 0, last_tsc = 0;

    time_init(&source, TIME_REAL, 0);
    for (unsigned n = 0; n < 200000; n++) {
        u64 now = time_now(&source), tsc = time_tsc(&source);

        ck_assert_uint_ge(now, last);
        ck_assert_uint_ge(tsc, last_tsc);
        last = now;
        last_tsc = tsc;
    }
}
END_TEST

START_TEST(counted_time_is_instructions_and_skips)
{
    u64 icount = 1000;

    time_init(&source, TIME_COUNTED, 1000000);
    ck_assert_uint_eq(time_now(&source), 0);
    time_slice_begin(&source, &icount);
    ck_assert_uint_eq(time_now(&source), 0);
    icount += 3;
    ck_assert_uint_eq(time_now(&source), 3000);
    time_slice_end(&source);
    icount += 100; /* between slices nobody's count matters */
    ck_assert_uint_eq(time_now(&source), 3000);
    time_skip_to(&source, 2000); /* the past */
    ck_assert_uint_eq(time_now(&source), 3000);
    time_skip_to(&source, 10500);
    ck_assert_uint_eq(time_now(&source), 10500);
    ck_assert_uint_eq(time_tsc(&source), 10500);
    time_slice_begin(&source, &icount);
    icount += 2;
    ck_assert_uint_eq(time_now(&source), 12500);
}
END_TEST

START_TEST(counted_time_sums_several_processors)
{
    u64 first = 0, second = 500;

    time_init(&source, TIME_COUNTED, 1000);
    time_slice_begin(&source, &first);
    first += 10;
    time_slice_end(&source);
    time_slice_begin(&source, &second);
    second += 5;
    time_slice_end(&source);
    ck_assert_uint_eq(time_now(&source), 15 * 1000000);
}
END_TEST

/* After time_budget() instructions the deadline is reached; one less and it is not. */
START_TEST(counted_budget_is_exact)
{
    static const u64 rates[] = {1000, 3, 999999937, 100000000, 100000000000};

    for (unsigned r = 0; r < ARRAY_SIZE(rates); r++) {
        u64 random = 12345;

        time_init(&source, TIME_COUNTED, rates[r]);
        for (unsigned n = 0; n < 1000; n++) {
            u64 icount = 0, before, now = time_now(&source), deadline, budget;

            random = random * 6364136223846793005ull + 1;
            deadline = now + 1 + (random >> 40);
            budget = time_budget(&source, deadline, 1);
            time_slice_begin(&source, &icount);
            icount = budget - 1;
            before = time_now(&source);
            icount = budget;
            ck_assert_uint_ge(time_now(&source), deadline);
            if (budget > 1)
                ck_assert_uint_lt(before, deadline + 1);
            time_slice_end(&source);
        }
    }
}
END_TEST

START_TEST(budget_is_never_zero)
{
    time_init(&source, TIME_COUNTED, 1000);
    ck_assert_uint_eq(time_budget(&source, 0, 1), 1);
    ck_assert_uint_eq(time_budget(&source, 1, 1), 1);
    ck_assert_uint_gt(time_budget(&source, CLOCK_NEVER, 1), 1000);
    time_init(&source, TIME_REAL, 0);
    ck_assert_uint_eq(time_budget(&source, 0, 50000000), 1);
    /* A second at 50 million a second, minus what has passed since. */
    ck_assert_uint_ge(time_budget(&source, NS_PER_SECOND, 50000000), 45000000);
    ck_assert_uint_le(time_budget(&source, NS_PER_SECOND, 50000000), 50000000);
}
END_TEST

/* time_of_tsc() is the first nanosecond at which the TSC has got there. */
START_TEST(tsc_deadlines_are_the_first_moment)
{
    u64 random = 99;

    time_init(&source, TIME_COUNTED, 1000000000);
    for (unsigned n = 0; n < 10000; n++) {
        u64 tsc, ns;

        random = random * 6364136223846793005ull + 1;
        tsc = random >> (random & 31);
        source.tsc_hz = 800000000 + (random >> 33);
        ns = time_of_tsc(&source, tsc);
        if (ns == CLOCK_NEVER)
            continue;
        source.skipped_ns = ns;
        ck_assert_uint_ge(time_tsc(&source), tsc);
        source.skipped_ns = ns - 1;
        if (ns)
            ck_assert_uint_lt(time_tsc(&source), tsc);
    }
}
END_TEST

START_TEST(a_tsc_in_centuries_is_never)
{
    time_init(&source, TIME_COUNTED, 1000000000);
    source.tsc_hz = 1000000;
    ck_assert_uint_eq(time_of_tsc(&source, ~0ull), CLOCK_NEVER);
    ck_assert_uint_eq(time_of_tsc(&source, 0), 0);
}
END_TEST

/* Products of 64-bit numbers must not overflow after days of guest time. */
START_TEST(counted_time_survives_a_year)
{
    const u64 year = 365ull * 86400 * NS_PER_SECOND;
    u64 icount = 0;

    time_init(&source, TIME_COUNTED, 100000000000);
    time_slice_begin(&source, &icount);
    icount = year * 100;
    ck_assert_uint_eq(time_now(&source), year);
    ck_assert_uint_eq(time_tsc(&source), year);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("time");
    TCase *tc = tcase_create("time");

    tcase_set_timeout(tc, 30);
    tcase_add_test(tc, real_time_follows_the_host);
    tcase_add_test(tc, real_time_can_be_slower_than_the_host);
    tcase_add_test(tc, real_time_never_goes_back);
    tcase_add_test(tc, counted_time_is_instructions_and_skips);
    tcase_add_test(tc, counted_time_sums_several_processors);
    tcase_add_test(tc, counted_budget_is_exact);
    tcase_add_test(tc, budget_is_never_zero);
    tcase_add_test(tc, tsc_deadlines_are_the_first_moment);
    tcase_add_test(tc, a_tsc_in_centuries_is_never);
    tcase_add_test(tc, counted_time_survives_a_year);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
