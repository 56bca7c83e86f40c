/* SPDX-License-Identifier: MIT */
#include "machine/alarm.h"

#include <check.h>
#include <stdlib.h>
#include <time.h>

#include "tests/suite.h"

static struct alarm clock_alarm;
static struct vcpu *v;

static void setup(void)
{
    struct error err;

    v = calloc(1, sizeof(*v));
    ck_assert_ptr_nonnull(v);
    ck_assert_int_eq(alarm_prepare(&err), ST_OK);
    ck_assert(alarm_create(&clock_alarm, v));
}

static void teardown(void)
{
    alarm_destroy(&clock_alarm);
    free(v);
}

static bool stopped(void)
{
    return __atomic_load_n(&v->events, __ATOMIC_SEQ_CST) & EVENT_STOP;
}

static void pass(u64 ms)
{
    const struct timespec wait = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000 * 1000000)};

    nanosleep(&wait, NULL);
}

static bool stops_within(u64 ms)
{
    for (; ms && !stopped(); ms--)
        pass(1);
    return stopped();
}

START_TEST(alarm_stops_the_vcpu)
{
    alarm_set(&clock_alarm, 1000000);
    ck_assert(stops_within(10000));
    ck_assert_uint_eq(v->jit.attention, 1);
}
END_TEST

START_TEST(cleared_alarm_stays_silent)
{
    alarm_set(&clock_alarm, 20000000);
    alarm_clear(&clock_alarm);
    pass(60);
    ck_assert(!stopped());
}
END_TEST

START_TEST(earlier_alarm_comes_earlier)
{
    alarm_set(&clock_alarm, 3600ull * 1000000000);
    pass(5);
    alarm_set(&clock_alarm, 1000000);
    ck_assert(stops_within(10000));
}
END_TEST

START_TEST(later_alarm_comes_later)
{
    alarm_set(&clock_alarm, 5000000);
    alarm_set(&clock_alarm, 3600ull * 1000000000);
    pass(50);
    ck_assert(!stopped());
}
END_TEST

int main(void)
{
    Suite *s = suite_create("alarm");
    TCase *t = tcase_create("alarm");

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, alarm_stops_the_vcpu);
    tcase_add_test(t, cleared_alarm_stays_silent);
    tcase_add_test(t, earlier_alarm_comes_earlier);
    tcase_add_test(t, later_alarm_comes_later);
    return suite_run(s);
}
