/* SPDX-License-Identifier: MIT */
#include "tests/hv1/board.h"
#include "tests/suite.h"

static struct board *b;

static void setup(void)
{
    b = board_create("full");
}

static void teardown(void)
{
    board_destroy(b);
}

static const struct hv_reference_tsc *page(void)
{
    return (const struct hv_reference_tsc *)b->hv1->tsc_page.hva;
}

/* As a guest on processor `cpu` computes it. */
static u64 page_time(unsigned cpu)
{
    return (u64)((u128)(b->now + b->v[cpu]->tsc_offset) * page()->scale >> 64) +
           (u64)page()->offset;
}

START_TEST(ten_million_a_second)
{
    b->now = 0;
    ck_assert_uint_le(hv1_time(b->hv1), 1);
    b->now = 1000000000;
    ck_assert_uint_ge(board_read(b, 0, HV_X64_MSR_TIME_REF_COUNT), 9999999);
    ck_assert_uint_le(board_read(b, 0, HV_X64_MSR_TIME_REF_COUNT), 10000000);
    ck_assert(board_refuses(b, HV_X64_MSR_TIME_REF_COUNT, 0));
    ck_assert_uint_eq(page()->scale, 0x028f5c28f5c28f5cull); /* the checklist's value for 1 GHz */
    ck_assert_uint_eq(page()->sequence, 1);
    ck_assert_uint_eq(page_time(0), hv1_time(b->hv1));
}
END_TEST

START_TEST(alarms_are_never_early)
{
    for (u64 time = 1; time < 100000000; time = time * 7 + 3) {
        b->now = time_to_ns(b->hv1, time);
        ck_assert_uint_ge(hv1_time(b->hv1), time);
        b->now -= 2;
        ck_assert_uint_lt(hv1_time(b->hv1), time);
    }
    b->now = 0;
    ck_assert_uint_eq(time_to_ns(b->hv1, 0), 0);
    ck_assert_uint_eq(time_to_ns(b->hv1, 1ull << 62), CLOCK_NEVER);
}
END_TEST

/* every processor writes the same TSC: new values, a new sequence, no jump. */
START_TEST(a_tsc_moved_everywhere_moves_the_page)
{
    u64 before;
    u32 sequence = page()->sequence;

    b->now = 5000000;
    before = hv1_time(b->hv1);
    for (unsigned n = 0; n < BOARD_CPUS; n++) {
        ck_assert(msr_write(b->v[n], 0x10, 777));
        ck_assert_uint_eq(page()->sequence, n == BOARD_CPUS - 1 ? sequence + 1 : 0);
        ck_assert_uint_ge(hv1_time(b->hv1), before);
        ck_assert_uint_le(hv1_time(b->hv1), before + 1);
    }
    ck_assert_uint_eq(page_time(2), hv1_time(b->hv1));
    b->now += 1000000;
    ck_assert_uint_eq(page_time(2), hv1_time(b->hv1));
    ck_assert_uint_ge(hv1_time(b->hv1), before + 9999);
}
END_TEST

/* without a common TSC the page is not valid and the counter goes on. */
START_TEST(one_odd_tsc_makes_the_page_invalid)
{
    u64 before = hv1_time(b->hv1);

    ck_assert(msr_write(b->v[1], 0x10, 1ull << 40));
    ck_assert_uint_eq(page()->sequence, 0);
    b->now += 1000;
    ck_assert_uint_ge(hv1_time(b->hv1), before + 9);
    ck_assert_uint_le(hv1_time(b->hv1), before + 10);
    ck_assert(msr_write(b->v[1], 0x10, b->now));
    ck_assert_uint_eq(page()->sequence, 2);
}
END_TEST

START_TEST(sequences_skip_what_means_invalid)
{
    b->hv1->page_sequence = 0xfffffffe;
    hv1_tsc_changed(b->hv1);
    ck_assert_uint_eq(page()->sequence, 1);
}
END_TEST

START_TEST(a_tsc_too_slow_for_the_page)
{
    board_destroy(b);
    b = board_with("full", 10000000);
    ck_assert_uint_eq(page()->sequence, 0);
    b->now = 12345;
    ck_assert_uint_eq(hv1_time(b->hv1), 12345);
    ck_assert_uint_eq(time_to_ns(b->hv1, 20000), 20000);
}
END_TEST

/* It goes on over a reset, whatever the TSCs were. */
START_TEST(reset_keeps_the_time)
{
    u64 before;

    for (unsigned n = 0; n < BOARD_CPUS; n++)
        ck_assert(msr_write(b->v[n], 0x10, 1ull << 50));
    b->now = 1000000;
    before = hv1_time(b->hv1);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        vcpu_reset(b->v[n], false);
    hv1_reset(b->hv1);
    ck_assert_uint_ge(hv1_time(b->hv1) + 1, before);
    ck_assert_uint_le(hv1_time(b->hv1), before + 1);
    ck_assert_uint_eq(page_time(0), hv1_time(b->hv1));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 time");
    TCase *t = tcase_create("time");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, ten_million_a_second);
    tcase_add_test(t, alarms_are_never_early);
    tcase_add_test(t, a_tsc_moved_everywhere_moves_the_page);
    tcase_add_test(t, one_odd_tsc_makes_the_page_invalid);
    tcase_add_test(t, sequences_skip_what_means_invalid);
    tcase_add_test(t, a_tsc_too_slow_for_the_page);
    tcase_add_test(t, reset_keeps_the_time);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
