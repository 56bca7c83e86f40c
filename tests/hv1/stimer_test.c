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

enum { SIM = 0x10000, VECTOR = 0x50, US = 10 }; /* units of time in a microsecond */

#define CONFIG HV_X64_MSR_STIMER0_CONFIG
#define COUNT  (HV_X64_MSR_STIMER0_CONFIG + 1)
#define SINT2  (2ull << 16)
#define DIRECT (HV_STIMER_DIRECT | VECTOR << 4)

static struct hv_message *slot(void)
{
    return (struct hv_message *)physmap_ram_pointer(b->map, SIM, PAGE_SIZE) + 2;
}

static const struct hv_timer_payload *payload(void)
{
    return (const struct hv_timer_payload *)slot()->payload;
}

static void synic(void)
{
    board_write(b, 0, HV_X64_MSR_SIMP, SIM | 1);
    board_write(b, 0, HV_X64_MSR_SCONTROL, 1);
    board_write(b, 0, HV_X64_MSR_SINT0 + 2, VECTOR);
}

/* Time in steps of a microsecond. */
static void pass(u64 microseconds)
{
    while (microseconds--)
        board_advance(b, 1000);
}

/* T-01 */
START_TEST(registers)
{
    for (u32 n = 0; n < 4; n++) {
        ck_assert_uint_eq(board_read(b, 0, CONFIG + 2 * n), 0);
        board_write(b, 0, CONFIG + 2 * n, 0xf0ffe);
        ck_assert_uint_eq(board_read(b, 0, CONFIG + 2 * n), 0xf0ffe);
    }
    ck_assert(board_refuses(b, CONFIG, BIT(20)));
    ck_assert(board_refuses(b, CONFIG, BIT(13)));
    ck_assert(board_refuses(b, CONFIG, BIT(63)));
    board_write(b, 0, CONFIG, 1); /* T-06: no SINT */
    ck_assert_uint_eq(board_read(b, 0, CONFIG), 0);
}
END_TEST

/* T-02 */
START_TEST(one_shot)
{
    u64 due;

    synic();
    pass(100);
    due = hv1_time(b->hv1) + 1000 * US;
    board_write(b, 0, CONFIG, SINT2 | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, due);
    pass(999);
    ck_assert_uint_eq(slot()->type, 0);
    pass(2);
    ck_assert_uint_eq(slot()->type, HV_MESSAGE_TIMER_EXPIRED);
    ck_assert_uint_eq(slot()->payload_size, 24);
    ck_assert_uint_eq(slot()->origin, 0);
    ck_assert_uint_eq(payload()->index, 0);
    ck_assert_uint_eq(payload()->expiration, due);
    ck_assert_uint_ge(payload()->delivery, due);
    ck_assert_uint_eq(board_read(b, 0, CONFIG), SINT2);
    ck_assert_uint_eq(b->ipis, 1);
    pass(5000);
    ck_assert_uint_eq(b->ipis, 1);
}
END_TEST

START_TEST(one_shot_in_the_past)
{
    pass(100);
    board_write(b, 0, CONFIG, DIRECT | HV_STIMER_AUTO_ENABLE);
    board_write(b, 0, COUNT, 1);
    board_advance(b, 0);
    ck_assert_uint_eq(b->ipis, 1);
    board_write(b, 0, COUNT, ~0ull);
    pass(100);
    ck_assert_uint_eq(b->ipis, 1);
}
END_TEST

/* T-03 */
START_TEST(periodic)
{
    board_write(b, 0, CONFIG, DIRECT | HV_STIMER_PERIODIC | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, 1000 * US);
    pass(999);
    ck_assert_uint_eq(b->ipis, 0);
    pass(10000);
    ck_assert_uint_ge(b->ipis, 10);
    ck_assert_uint_le(b->ipis, 11);
    ck_assert(b->ipi[0].cpu == 0 && b->ipi[0].vector == VECTOR);
    board_write(b, 0, COUNT, 0); /* T-04 */
    ck_assert(!(board_read(b, 0, CONFIG) & HV_STIMER_ENABLED));
    pass(5000);
    ck_assert_uint_le(b->ipis, 11);
}
END_TEST

/* T-05, T-10 */
START_TEST(enabling_by_count)
{
    board_write(b, 0, CONFIG, DIRECT | HV_STIMER_AUTO_ENABLE);
    pass(10);
    ck_assert_uint_eq(b->ipis, 0);
    board_write(b, 0, COUNT, 100 * US);
    ck_assert(board_read(b, 0, CONFIG) & HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, 200 * US);
    pass(150);
    ck_assert_uint_eq(b->ipis, 0);
    pass(100);
    ck_assert_uint_eq(b->ipis, 1);
}
END_TEST

/* T-08: 50 ticks were missed; a lazy timer has one, another catches up with three. */
static unsigned ticks_after_a_gap(u64 flags, u64 microseconds)
{
    board_write(b, 0, CONFIG, DIRECT | HV_STIMER_PERIODIC | HV_STIMER_ENABLED | flags);
    board_write(b, 0, COUNT, 1000 * US);
    board_advance(b, 50500000);
    b->ipis = 0;
    pass(microseconds);
    return b->ipis;
}

START_TEST(missed_ticks)
{
    ck_assert_uint_le(ticks_after_a_gap(HV_STIMER_LAZY, 3000), 4);
    ck_assert_uint_ge(ticks_after_a_gap(HV_STIMER_LAZY, 3000), 2);
    ck_assert_uint_ge(ticks_after_a_gap(0, 3000), 4);
    ck_assert_uint_le(ticks_after_a_gap(0, 3000), 8);
}
END_TEST

/* T-09, T11 */
START_TEST(a_message_waits_for_its_page)
{
    board_write(b, 0, CONFIG, SINT2 | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, 1);
    pass(10);
    synic();
    ck_assert_uint_eq(slot()->type, HV_MESSAGE_TIMER_EXPIRED);
    ck_assert_uint_ge(payload()->delivery, payload()->expiration);
}
END_TEST

START_TEST(one_message_each)
{
    synic();
    board_write(b, 0, CONFIG, SINT2 | HV_STIMER_PERIODIC | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, 10 * US);
    board_write(b, 0, CONFIG + 2, SINT2 | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT + 2, 15 * US);
    pass(200);
    ck_assert_uint_eq(payload()->index, 0);
    ck_assert_uint_eq(slot()->flags, HV_MESSAGE_PENDING);
    board_write(b, 0, CONFIG, SINT2);
    for (unsigned n = 0; n < 2; n++) {
        slot()->type = 0;
        board_write(b, 0, HV_X64_MSR_EOM, 0);
        ck_assert_uint_eq(slot()->type, HV_MESSAGE_TIMER_EXPIRED);
        ck_assert_uint_eq(payload()->index, n);
    }
    slot()->type = 0;
    board_write(b, 0, HV_X64_MSR_EOM, 0);
    ck_assert_uint_eq(slot()->type, 0);
    ck_assert_uint_eq(b->ipis, 3);
}
END_TEST

/* The machine lock may be held by the thread that has just woken the VP by the last timer. */
START_TEST(set_without_the_machine_lock)
{
    unsigned before;

    synic();
    before = b->locked;
    board_write(b, 0, CONFIG, HV_STIMER_AUTO_ENABLE | DIRECT);
    board_write(b, 0, COUNT, hv1_time(b->hv1) + 10 * US);
    ck_assert_uint_eq(board_read(b, 0, CONFIG) & HV_STIMER_ENABLED, HV_STIMER_ENABLED);
    ck_assert_uint_ne(board_read(b, 0, COUNT), 0);
    ck_assert_uint_eq(b->locked, before);
    pass(11);
    ck_assert_uint_eq(b->ipis, 1);
}
END_TEST

START_TEST(a_sleeping_vp_sees_to_its_own)
{
    ck_assert_uint_eq(hv1_sleeps(b->hv1, b->v[0]), CLOCK_NEVER);
    board_write(b, 0, CONFIG, HV_STIMER_AUTO_ENABLE | DIRECT);
    board_write(b, 0, COUNT, hv1_time(b->hv1) + 20 * US);
    board_write(b, 0, CONFIG + 2, HV_STIMER_AUTO_ENABLE | DIRECT);
    board_write(b, 0, COUNT + 2, hv1_time(b->hv1) + 50 * US);
    ck_assert_uint_eq(hv1_sleeps(b->hv1, b->v[0]), b->now + 20001); /* never early */
    ck_assert_uint_eq(clock_next_deadline(&b->clock), CLOCK_NEVER);
    pass(30);
    ck_assert_uint_eq(b->ipis, 0);
    hv1_wakes(b->hv1, b->v[0]);
    ck_assert_uint_eq(b->ipis, 1);
    ck_assert_uint_eq(clock_next_deadline(&b->clock), b->now + 20001); /* the second one */
    pass(21);
    ck_assert_uint_eq(b->ipis, 2);
    ck_assert_uint_eq(hv1_sleeps(b->hv1, b->v[0]), CLOCK_NEVER);
}
END_TEST

/* Its message is put into a page of the machine, where others look. */
START_TEST(messages_come_to_a_sleeping_vp)
{
    synic();
    board_write(b, 0, CONFIG, HV_STIMER_AUTO_ENABLE | SINT2);
    board_write(b, 0, COUNT, hv1_time(b->hv1) + 20 * US);
    ck_assert_uint_eq(hv1_sleeps(b->hv1, b->v[0]), CLOCK_NEVER);
    pass(21);
    ck_assert_uint_eq(b->ipis, 1);
    hv1_wakes(b->hv1, b->v[0]);
    ck_assert_uint_eq(b->ipis, 1);
}
END_TEST

START_TEST(reset_stops_them)
{
    board_write(b, 0, CONFIG, DIRECT | HV_STIMER_ENABLED);
    board_write(b, 0, COUNT, 100 * US);
    hv1_reset(b->hv1);
    ck_assert_uint_eq(board_read(b, 0, CONFIG) | board_read(b, 0, COUNT), 0);
    pass(1000);
    ck_assert_uint_eq(b->ipis, 0);
}
END_TEST

START_TEST(any_values)
{
    u64 seed = 88172645463325252ull;

    b->log.categories = 0;
    synic();
    for (unsigned n = 0; n < 50000; n++) {
        u64 value;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        value = seed & 1 ? seed >> (seed >> 58) : hv1_time(b->hv1) + (seed >> 40);
        (void)msr_write(b->v[0], CONFIG + (seed >> 8) % 8, value & ((seed & 2) ? ~0ull : 0xf1fff));
        board_advance(b, seed >> 20 & 0xffff);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 stimer");
    TCase *t = tcase_create("stimer");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, registers);
    tcase_add_test(t, one_shot);
    tcase_add_test(t, one_shot_in_the_past);
    tcase_add_test(t, periodic);
    tcase_add_test(t, enabling_by_count);
    tcase_add_test(t, missed_ticks);
    tcase_add_test(t, a_message_waits_for_its_page);
    tcase_add_test(t, one_message_each);
    tcase_add_test(t, set_without_the_machine_lock);
    tcase_add_test(t, a_sleeping_vp_sees_to_its_own);
    tcase_add_test(t, messages_come_to_a_sleeping_vp);
    tcase_add_test(t, reset_stops_them);
    tcase_add_test(t, any_values);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
