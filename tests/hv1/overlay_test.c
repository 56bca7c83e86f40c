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

enum { AT = 0x5000 };

static u8 byte_at(u64 gpa)
{
    return (u8)physmap_read_uint(b->map, gpa, 1);
}

/* H-04, S-02: what is below comes back, and stores go to the page. */
START_TEST(memory_below_is_kept)
{
    physmap_write_uint(b->map, AT, 0x77, 1);
    board_write(b, 0, HV_X64_MSR_SIMP, AT | 1);
    ck_assert_uint_eq(byte_at(AT), 0);
    physmap_write_uint(b->map, AT, 0x11, 1);
    ck_assert_uint_eq(byte_at(AT), 0x11);
    board_write(b, 0, HV_X64_MSR_SIMP, AT);
    ck_assert_uint_eq(byte_at(AT), 0x77);
    board_write(b, 0, HV_X64_MSR_SIMP, (AT + PAGE_SIZE) | 1);
    ck_assert_uint_eq(byte_at(AT + PAGE_SIZE), 0x11);
    board_write(b, 0, HV_X64_MSR_SIMP, AT | 1);
    ck_assert_uint_eq(byte_at(AT), 0x11);
    ck_assert_uint_eq(byte_at(AT + PAGE_SIZE), 0);
}
END_TEST

START_TEST(a_hole_may_be_covered)
{
    ck_assert_uint_eq(byte_at(GIB(3)), 0xff);
    board_write(b, 0, HV_X64_MSR_REFERENCE_TSC, GIB(3) | 1);
    ck_assert_uint_ne(physmap_read_uint(b->map, GIB(3), 4), ~0u);
    board_write(b, 0, HV_X64_MSR_REFERENCE_TSC, 0);
    ck_assert_uint_eq(byte_at(GIB(3)), 0xff);
}
END_TEST

/* H06, R15: the guest cannot change it, a device neither. */
START_TEST(read_only_pages)
{
    struct phys_page page;
    u64 before;

    board_write(b, 0, HV_X64_MSR_REFERENCE_TSC, AT | 1);
    before = physmap_read_uint(b->map, AT, 8);
    physmap_write_uint(b->map, AT, 0xdead, 8);
    ck_assert_uint_eq(physmap_read_uint(b->map, AT, 8), before);
    physmap_lookup(b->map, AT, true, &page);
    ck_assert_ptr_null(page.hva);
    ck_assert(page.region->write_faults);
    ck_assert_ptr_null(physmap_ram_pointer(b->map, AT, 8));
}
END_TEST

/* A bad address: #GP for the hypercall and assist pages, nothing to be seen for the others. */
START_TEST(addresses_beyond_the_end)
{
    board_write(b, 0, HV_X64_MSR_GUEST_OS_ID, 1);
    ck_assert(board_refuses(b, HV_X64_MSR_HYPERCALL, BIT(40) | 1));
    ck_assert(board_refuses(b, HV_X64_MSR_VP_ASSIST_PAGE, BIT(40) | 1));
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_HYPERCALL), 0);
    board_write(b, 0, HV_X64_MSR_REFERENCE_TSC, ~0ull);
    board_write(b, 0, HV_X64_MSR_SIMP, BIT(40) | 1);
    ck_assert_uint_eq(board_read(b, 0, HV_X64_MSR_SIMP), BIT(40) | 1);
    board_write(b, 0, HV_X64_MSR_SIMP, AT | 1);
    ck_assert_uint_eq(byte_at(AT), 0);
}
END_TEST

/* Undefined by the TLFS: one of them is seen, and both can go. */
START_TEST(two_pages_in_one_place)
{
    physmap_write_uint(b->map, AT, 0x77, 1);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        board_write(b, n, HV_X64_MSR_SIMP, AT | 1);
    board_write(b, 0, HV_X64_MSR_SIEFP, AT | 1);
    ck_assert_uint_eq(byte_at(AT), 0);
    board_write(b, 0, HV_X64_MSR_SIEFP, 0);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        board_write(b, n, HV_X64_MSR_SIMP, 0);
    ck_assert_uint_eq(byte_at(AT), 0x77);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("hv1 overlay");
    TCase *t = tcase_create("overlay");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, memory_below_is_kept);
    tcase_add_test(t, a_hole_may_be_covered);
    tcase_add_test(t, read_only_pages);
    tcase_add_test(t, addresses_beyond_the_end);
    tcase_add_test(t, two_pages_in_one_place);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
