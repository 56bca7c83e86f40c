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

START_TEST(closed_gates_fault)
{
    static const u32 closed[] = {0x40000004, 0x40000040, 0x400000e0, 0x400000f1,
                                 0x40000106, 0x40000114, 0x40000118, 0x400001ff};
    u64 value;

    for (size_t n = 0; n < ARRAY_SIZE(closed); n++) {
        ck_assert(!msr_read(b->v[0], closed[n], &value));
        ck_assert(!msr_write(b->v[0], closed[n], 0));
    }
    board_destroy(b);
    b = board_create("min");
    for (u32 msr = HV_X64_MSR_RESET; msr <= HV_X64_MSR_LAST; msr++) {
        if (msr == HV_X64_MSR_VP_ASSIST_PAGE)
            continue;
        ck_assert_msg(!msr_read(b->v[0], msr, &value), "%x", msr);
        ck_assert_msg(!msr_write(b->v[0], msr, 0), "%x", msr);
    }
    board_write(b, 0, HV_X64_MSR_VP_ASSIST_PAGE, 0x5000 | 1);
}
END_TEST

START_TEST(the_identity_is_everybodys)
{
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 0x8100000000000001);
    ck_assert_uint_eq(board_read(b, 3, HV_X64_MSR_GUEST_OS_ID), 0x8100000000000001);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        ck_assert_uint_eq(board_read(b, n, HV_X64_MSR_VP_INDEX), n);
    ck_assert(board_refuses(b, HV_X64_MSR_VP_INDEX, 1));
}
END_TEST

START_TEST(the_hypercall_page_needs_an_identity)
{
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0x5aa9 & ~2ull);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_HYPERCALL), 0x5aa8);
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 1);
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0x5001);
    ck_assert_uint_eq(physmap_read_uint(b->map, 0x5000, 4), 0xc3d9010f);
    ck_assert_uint_eq(physmap_read_uint(b->map, 0x5ff8, 8), 0xcccccccccccccccc);
    board_write(b, 2, HV_X64_MSR_GUEST_OS_ID, 0);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_HYPERCALL), 0x5000);
    ck_assert_uint_eq(physmap_read_uint(b->map, 0x5000, 4), 0);
}
END_TEST

START_TEST(a_locked_page_stays)
{
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 1);
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0x5003);
    ck_assert(board_refuses(b, HV_X64_MSR_HYPERCALL, 0));
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_HYPERCALL), 0x5003);
    hv1_reset(b->hv1);
    board_write(b, 0, HV_X64_MSR_HYPERCALL, 0x6000);
}
END_TEST

START_TEST(registers_of_the_apic)
{
    u64 value;

    board_write(b, 0, HV_X64_MSR_EOI, ~0ull); /* D4 */
    ck_assert_uint_eq(b->eois, 1);
    ck_assert(!msr_read(b->v[0], HV_X64_MSR_EOI, &value));
    board_write(b, 0, HV_X64_MSR_ICR, 0x100000040ull);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_ICR), 0x100000040ull);
    board_write(b, 0, HV_X64_MSR_TPR, 0x1ff);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_TPR), 0xff);
}
END_TEST

START_TEST(what_the_machine_does)
{
    b->now = 4000;
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_VP_RUNTIME), 20);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_TSC_FREQUENCY), BOARD_HZ);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_APIC_FREQUENCY), 1000000000);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_GUEST_IDLE), 0);
    ck_assert_uint_eq(b->idles, 1);
    ck_assert(board_refuses(b, HV_X64_MSR_GUEST_IDLE, 0));
    board_write(b, 0, HV_X64_MSR_RESET, 2);
    ck_assert_uint_eq(b->resets, 0);
    board_write(b, 0, HV_X64_MSR_RESET, 1);
    ck_assert_uint_eq(b->resets, 1);
}
END_TEST

START_TEST(traces_name_the_register)
{
    board_write(b, 0, HV_X64_MSR_SINT0 + 5, 0x55);
    (void)board_refuses(b, HV_X64_MSR_SVERSION, 0);
    ck_assert_ptr_nonnull(strstr(board_log(b), "writes SINT5 (40000095) 0000000000000055"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "writes SVERSION (40000081)"));
    ck_assert_ptr_nonnull(strstr(board_log(b), "-> #GP"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 msr");
    TCase *t = tcase_create("msr");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, closed_gates_fault);
    tcase_add_test(t, the_identity_is_everybodys);
    tcase_add_test(t, the_hypercall_page_needs_an_identity);
    tcase_add_test(t, a_locked_page_stays);
    tcase_add_test(t, registers_of_the_apic);
    tcase_add_test(t, what_the_machine_does);
    tcase_add_test(t, traces_name_the_register);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
