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

enum { ASSIST = 0x12000 };

/* I-05: enabling clears the first field and nothing else. */
START_TEST(the_assist_page)
{
    physmap_write_uint(b->map, ASSIST, 0x77, 1);
    board_write(b, 1, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST, 4), 0);
    physmap_write_uint(b->map, ASSIST, 0xffffffffffffffff, 8);
    board_write(b, 1, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST);
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST, 1), 0x77);
    board_write(b, 1, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 0xf01);
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST, 8), 0xffffffff00000000);
    ck_assert_uint_eq(board_read(b, 1, HV_X64_MSR_VP_ASSIST_PAGE), ASSIST | 0xf01);
    ck_assert_uint_ge(b->settles, 1);
}
END_TEST

START_TEST(an_eoi_that_may_be_skipped)
{
    ck_assert(!hv1_eoi_offer(b->hv1, b->v[1]));
    board_write(b, 1, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    ck_assert(hv1_eoi_offer(b->hv1, b->v[1]));
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST, 4), 1);
    ck_assert(!hv1_eoi_skipped(b->hv1, b->v[1]));
    physmap_write_uint(b->map, ASSIST, 0, 4);
    ck_assert(hv1_eoi_skipped(b->hv1, b->v[1]));
    ck_assert(hv1_eoi_offer(b->hv1, b->v[1]));
    hv1_eoi_withdraw(b->hv1, b->v[1]);
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST, 4), 0);
    board_destroy(b);
    b = board_create("full,-vapic");
    board_write(b, 1, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    ck_assert(!hv1_eoi_offer(b->hv1, b->v[1]));
}
END_TEST

/* M-06 */
START_TEST(reset_of_everything)
{
    static const u32 zero[] = {HV_X64_MSR_GUEST_OS_ID, HV_X64_MSR_HYPERCALL,
                               HV_X64_MSR_REFERENCE_TSC, HV_X64_MSR_VP_ASSIST_PAGE};

    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 1);
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0x5001);
    board_write(b, 0, HV_X64_MSR_REFERENCE_TSC, 0x6001);
    board_write(b, 2, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    board_write(b, 2, HV_X64_MSR_CRASH_P4, 5);
    physmap_write_uint(b->map, ASSIST + 8, 5, 1);
    hv1_reset(b->hv1);
    for (size_t n = 0; n < ARRAY_SIZE(zero); n++)
        ck_assert_uint_eq(board_read(b, 0, zero[n]), 0);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_CRASH_P4), 0);
    ck_assert_uint_eq(physmap_read_uint(b->map, 0x5000, 8), 0);
    ck_assert_uint_eq(physmap_read_uint(b->map, 0x6000, 8), 0);
    board_write(b, 2, HV_X64_MSR_VP_ASSIST_PAGE, ASSIST | 1);
    ck_assert_uint_eq(physmap_read_uint(b->map, ASSIST + 8, 1), 0);
}
END_TEST

/* REQ: a stub where no call does anything, and the processor's own opcode elsewhere. */
START_TEST(contents_of_the_page)
{
    static const u8 stub[] = {0xb8, 2, 0, 0, 0, 0xba, 0, 0, 0, 0, 0xc3, 0xcc};

    ck_assert_int_eq(memcmp(b->hv1->hypercall_page.hva, "\x0f\x01\xd9\xc3\xcc", 5), 0);
    board_destroy(b);
    b = board_create("min");
    ck_assert_int_eq(memcmp(b->hv1->hypercall_page.hva, stub, sizeof(stub)), 0);
}
END_TEST

START_TEST(a_processor_is_attached_once)
{
    ck_assert_int_eq(hv1_attach(b->hv1, b->v[0], NULL), ST_OVERLAP);
}
END_TEST

/* Every MSR with any value, on any processor. */
START_TEST(any_access)
{
    u64 seed = 88172645463325252ull;

    b->log.categories = 0;
    for (unsigned n = 0; n < 100000; n++) {
        u64 value;

        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        value = seed & 4 ? seed : (seed & 0xff000) | (seed >> 60 & 1);
        if (seed & 1)
            (void)msr_read(b->v[seed >> 8 & 3], 0x40000000 + (seed >> 20 & 0x1ff), &value);
        else
            (void)msr_write(b->v[seed >> 8 & 3], 0x40000000 + (seed >> 20 & 0x1ff), value);
        if (seed >> 50 == 0)
            hv1_reset(b->hv1);
        board_advance(b, seed >> 52);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 hv1");
    TCase *t = tcase_create("hv1");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, the_assist_page);
    tcase_add_test(t, an_eoi_that_may_be_skipped);
    tcase_add_test(t, reset_of_everything);
    tcase_add_test(t, contents_of_the_page);
    tcase_add_test(t, a_processor_is_attached_once);
    tcase_add_test(t, any_access);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
