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

static void report(u64 os, const u64 p[5], u64 control)
{
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, os);
    for (unsigned n = 0; n < 5; n++)
        board_write(b, 1, HV_X64_MSR_CRASH_P0 + n, p[n]);
    board_write(b, 1, HV_X64_MSR_CRASH_CTL, control);
}

/* M-11 */
START_TEST(windows_in_words)
{
    report(0x0001040a00002710, (u64[]){0x7e, 0xc0000005, 0xfffff80000001000, 3, 4}, BIT(63));
    ck_assert_ptr_nonnull(
        strstr(board_log(b), "bug check 0x7e SYSTEM_THREAD_EXCEPTION_NOT_HANDLED"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "parameter 1: 0x00000000c0000005  exception code"));
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_CRASH_P0 + 1), 0xc0000005);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_CRASH_CTL), 3ull << 62);
}
END_TEST

START_TEST(unknown_codes_as_numbers)
{
    report(0x0001040a00002710, (u64[]){0x999, 1, 2, 3, 4}, BIT(63));
    ck_assert_ptr_nonnull(strstr(board_log(b), "bug check 0x999\n"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "parameter 4: 0x0000000000000004\n"));
}
END_TEST

START_TEST(linux_and_others)
{
    report(0x8100060000000000, (u64[]){0xb, 1, 0xffffffff81000000, 3, 4}, BIT(63));
    ck_assert_ptr_nonnull(strstr(board_log(b), "guest (Linux) has crashed: error 0xb"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "parameter 2: 0xffffffff81000000  RIP"));
    report(0x8200000000000000, (u64[]){1, 2, 3, 4, 5}, BIT(63));
    ck_assert_ptr_nonnull(strstr(board_log(b), "guest (FreeBSD) has crashed: code 0x1"));
}
END_TEST

START_TEST(a_message_as_text)
{
    static const char text[] = "line one\nline \x1b[2J two\n\n%s%n";

    physmap_write(b->map, 0x8000, text, sizeof(text));
    report(0x8100000000000001, (u64[]){0, 0, 0, 0x8000, sizeof(text)}, 3ull << 62);
    ck_assert_ptr_nonnull(strstr(board_log(b), "  line one\n"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "  line ?[2J two\n"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "  %s%n\n"));
}
END_TEST

/* A length and an address that are too large, and no end of reports. */
START_TEST(a_hostile_guest)
{
    report(1, (u64[]){0, 0, 0, BOARD_RAM - 10, ~0ull}, 3ull << 62);
    ck_assert_ptr_nonnull(strstr(board_log(b), "not all in memory"));
    report(1, (u64[]){0, 0, 0, ~0ull - 5, 5000}, 3ull << 62);
    for (unsigned n = 0; n < 1000; n++)
        report(1, (u64[]){1, 2, 3, 4, 5}, BIT(63));
    ck_assert_uint_le(b->hv1->crash_reports, 16);
    report(1, (u64[]){1, 2, 3, 4, 5}, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 crash");
    TCase *t = tcase_create("crash");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, windows_in_words);
    tcase_add_test(t, unknown_codes_as_numbers);
    tcase_add_test(t, linux_and_others);
    tcase_add_test(t, a_message_as_text);
    tcase_add_test(t, a_hostile_guest);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
