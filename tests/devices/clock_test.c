/* SPDX-License-Identifier: MIT
 *
 * The event queue: order, cancelling, re-arming from a handler, and that a run always ends.
 */
#include <check.h>
#include <stdlib.h>

#include "devices/clock.h"
#include "tests/suite.h"

static u64 now_ns;
static char trace[64];
static unsigned trace_length;
static unsigned moved;

static u64 now(void *source)
{
    (void)source;
    return now_ns;
}

static void deadline_moved(void *source)
{
    (void)source;
    moved++;
}

struct probe {
    struct timer timer;
    char letter;
    u64 rearm; /* 0: do not */
    struct timer *victim;
};

static void fire(void *opaque)
{
    struct probe *p = opaque;

    trace[trace_length++] = p->letter;
    trace[trace_length] = 0;
    if (p->rearm)
        timer_arm(&p->timer, p->rearm);
    if (p->victim)
        timer_cancel(p->victim);
}

static struct clock clock_under_test;
static struct probe a = {.letter = 'a'}, b = {.letter = 'b'}, c = {.letter = 'c'};

static void setup(void)
{
    now_ns = 0;
    trace_length = moved = 0;
    trace[0] = 0;
    clock_init(&clock_under_test, now, deadline_moved, NULL, 5 * NS_PER_SECOND);
    a.rearm = b.rearm = c.rearm = 0;
    a.victim = b.victim = c.victim = NULL;
    timer_init(&a.timer, &clock_under_test, "a", fire, &a);
    timer_init(&b.timer, &clock_under_test, "b", fire, &b);
    timer_init(&c.timer, &clock_under_test, "c", fire, &c);
}

START_TEST(fires_by_deadline_then_by_arming)
{
    timer_arm(&c.timer, 20);
    timer_arm(&a.timer, 10);
    timer_arm(&b.timer, 10);
    ck_assert_uint_eq(clock_next_deadline(&clock_under_test), 10);
    now_ns = 30;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "abc");
    ck_assert_uint_eq(clock_next_deadline(&clock_under_test), CLOCK_NEVER);
    ck_assert(!timer_armed(&a.timer));
}
END_TEST

START_TEST(never_early)
{
    timer_arm(&a.timer, 10);
    now_ns = 9;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "");
    now_ns = 10;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "a");
}
END_TEST

START_TEST(rearming_moves_and_never_cancels)
{
    timer_arm(&a.timer, 10);
    timer_arm(&b.timer, 15);
    timer_arm(&a.timer, 20);
    now_ns = 20;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "ba");
    timer_arm(&a.timer, 30);
    timer_arm(&a.timer, CLOCK_NEVER);
    ck_assert(!timer_armed(&a.timer));
    timer_cancel(&a.timer);
    ck_assert_uint_eq(clock_next_deadline(&clock_under_test), CLOCK_NEVER);
}
END_TEST

START_TEST(handler_cancels_a_due_timer)
{
    a.victim = &b.timer;
    timer_arm(&a.timer, 10);
    timer_arm(&b.timer, 10);
    timer_arm(&c.timer, 11);
    now_ns = 100;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "ac");
}
END_TEST

START_TEST(rearming_in_the_past_waits_for_the_next_run)
{
    a.rearm = 1;
    timer_arm(&a.timer, 10);
    timer_arm(&b.timer, 20);
    now_ns = 50;
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "ab");
    ck_assert_uint_eq(clock_next_deadline(&clock_under_test), 1);
    clock_run(&clock_under_test);
    ck_assert_str_eq(trace, "aba");
}
END_TEST

START_TEST(tells_when_the_earliest_deadline_moves_up)
{
    timer_arm(&a.timer, 10);
    ck_assert_uint_eq(moved, 1);
    timer_arm(&b.timer, 20);
    ck_assert_uint_eq(moved, 1);
    timer_arm(&c.timer, 5);
    ck_assert_uint_eq(moved, 2);
}
END_TEST

START_TEST(wall_clock_starts_where_it_was_told)
{
    now_ns = 7;
    ck_assert_uint_eq(clock_wall_ns(&clock_under_test), 5 * NS_PER_SECOND + 7);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("clock");
    TCase *tc = tcase_create("queue");

    tcase_add_checked_fixture(tc, setup, NULL);
    tcase_add_test(tc, fires_by_deadline_then_by_arming);
    tcase_add_test(tc, never_early);
    tcase_add_test(tc, rearming_moves_and_never_cancels);
    tcase_add_test(tc, handler_cancels_a_due_timer);
    tcase_add_test(tc, rearming_in_the_past_waits_for_the_next_run);
    tcase_add_test(tc, tells_when_the_earliest_deadline_moves_up);
    tcase_add_test(tc, wall_clock_starts_where_it_was_told);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
