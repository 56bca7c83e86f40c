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

static struct cpuid_result leaf(u32 number)
{
    struct cpuid_result r;

    ck_assert(hv1_cpuid(b->hv1, b->v[0], number, 0, &r));
    return r;
}

static void again(const char *hv)
{
    board_destroy(b);
    b = board_create(hv);
}

/* C-05 to C-14 of the checklist, profile by profile. */
START_TEST(full_leaves)
{
    ck_assert_uint_eq(leaf(0x40000000).eax, 0x40000006);
    ck_assert_uint_eq(leaf(0x40000000).ebx, 0x7263694d);
    ck_assert_uint_eq(leaf(0x40000000).ecx, 0x666f736f);
    ck_assert_uint_eq(leaf(0x40000000).edx, 0x76482074);
    ck_assert_uint_eq(leaf(0x40000001).eax, 0x31237648);
    ck_assert_uint_eq(leaf(0x40000002).eax, 14393);
    ck_assert_uint_eq(leaf(0x40000003).eax, 0xeff);
    ck_assert_uint_eq(leaf(0x40000003).ebx, 0);
    ck_assert_uint_eq(leaf(0x40000003).edx, 0xc4530);
    ck_assert_uint_eq(leaf(0x40000004).eax, 0xe2c);
    ck_assert_uint_eq(leaf(0x40000004).ebx, 0xfff);
    ck_assert_uint_eq(leaf(0x40000005).eax, BOARD_CPUS);
    ck_assert_uint_eq(leaf(0x40000006).eax | leaf(0x40000082).eax, 0);
    ck_assert_ptr_nonnull(strstr(board_log(b), "cpuid 40000003.0 -> 00000eff"));
}
END_TEST

START_TEST(min_leaves)
{
    again("min");
    ck_assert_uint_eq(leaf(0x40000000).eax, 0x40000005);
    ck_assert_uint_eq(leaf(0x40000002).eax | leaf(0x40000002).ebx, 0);
    ck_assert_uint_eq(leaf(0x40000003).eax, 0x60);
    ck_assert_uint_eq(leaf(0x40000003).edx, 0);
    ck_assert_uint_eq(leaf(0x40000004).eax, 0x20);
    ck_assert_uint_eq(leaf(0x40000004).ebx, 0xffffffff);
}
END_TEST

START_TEST(switches_take_their_bits_along)
{
    again("full,-stimer,-vapic,-tlbflush,-crash");
    ck_assert_uint_eq(leaf(0x40000003).eax, 0xeff & ~(1u << 3 | 1u << 4));
    ck_assert_uint_eq(leaf(0x40000003).edx, 0xc4530 & ~(1u << 19 | 1u << 14 | 1u << 10));
    ck_assert_uint_eq(leaf(0x40000004).eax, 0xe2c & ~(1u << 2 | 1u << 3));
    again("full,ports");
    ck_assert_uint_eq(leaf(0x40000003).ebx, 0x30);
    again("full,vendor=abcdefghijkl");
    ck_assert_uint_eq(leaf(0x40000000).ebx, 0x64636261);
}
END_TEST

/* C22 */
START_TEST(more_than_64_processors)
{
    b->hv1->config.cpus = 65;
    ck_assert_uint_eq(leaf(0x40000004).eax, 0xe28);
    ck_assert_uint_eq(leaf(0x40000005).eax, ~0u);
    b->hv1->config.cpus = BOARD_CPUS;
}
END_TEST

START_TEST(invariant_tsc_shows_when_asked_for)
{
    struct cpuid_result r = {.edx = 1u << 8};

    hv1_cpuid_adjust(b->hv1, b->v[0], 0x80000007, &r);
    ck_assert_uint_eq(r.edx, 1u << 8);
    ck_assert(board_refuses(b, HV_X64_MSR_TSC_INVARIANT_CONTROL, 1));
    again("full,+invtsc");
    ck_assert_uint_eq(leaf(0x40000003).eax, 0x8eff);
    hv1_cpuid_adjust(b->hv1, b->v[0], 0x80000008, &r);
    ck_assert_uint_eq(r.edx, 1u << 8);
    hv1_cpuid_adjust(b->hv1, b->v[0], 0x80000007, &r);
    ck_assert_uint_eq(r.edx, 0);
    ck_assert(board_refuses(b, HV_X64_MSR_TSC_INVARIANT_CONTROL, 2));
    board_write(b, 1, HV_X64_MSR_TSC_INVARIANT_CONTROL, 1);
    ck_assert(board_refuses(b, HV_X64_MSR_TSC_INVARIANT_CONTROL, 0));
    r.edx = 1u << 8;
    hv1_cpuid_adjust(b->hv1, b->v[0], 0x80000007, &r);
    ck_assert_uint_eq(r.edx, 1u << 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 cpuid");
    TCase *t = tcase_create("cpuid");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, full_leaves);
    tcase_add_test(t, min_leaves);
    tcase_add_test(t, switches_take_their_bits_along);
    tcase_add_test(t, more_than_64_processors);
    tcase_add_test(t, invariant_tsc_shows_when_asked_for);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
