/* SPDX-License-Identifier: MIT
 *
 * Requests to forget translations: what was asked for goes, the rest stays.
 */
#include "mem/tlb_request.h"

#include "tests/mem/tlb_fixture.h"
#include "tests/suite.h"

enum { PAGES = 64 };

static struct tlb_requests requests;

/* Page n of WORLD; every fourth one is global. */
static u64 page(unsigned n)
{
    return WORLD + (u64)n * PAGE_SIZE;
}

static void look_up(unsigned n)
{
    struct tlb_page found;
    u32 error;

    ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, page(n), ACCESS_READ, &found, &error));
}

static void request_setup(void)
{
    setup();
    for (unsigned n = 0; n < PAGES; n++) {
        table(0, 1)[n] = (0x100000 + (u64)n * PAGE_SIZE) | P | W | (n % 4 ? 0 : G);
        look_up(n);
    }
    tlb_requests_init(&requests);
}

static void request_teardown(void)
{
    tlb_requests_destroy(&requests);
    teardown();
}

/* In the first level, or to be had from the second without a walk. */
static bool known(unsigned n)
{
    u64 walks = tlb.walks;

    look_up(n);
    return tlb.walks == walks;
}

static void ask(unsigned first, unsigned pages)
{
    const struct tlb_range range = {page(first), (u64)pages * PAGE_SIZE};

    tlb_request(&requests, &(struct tlb_forget){.count = 1, .ranges = &range});
}

START_TEST(ranges_go_and_the_rest_stays)
{
    ask(3, 2);
    ask(8, 1); /* a global one */
    ck_assert(tlb_read_ptr(&tlb.tables[TLB_SUPERVISOR], page(3), 1));
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < PAGES; n++) {
        bool asked = n == 3 || n == 4 || n == 8;

        ck_assert_int_eq(!tlb_read_ptr(&tlb.tables[TLB_SUPERVISOR], page(n), 1), asked);
        ck_assert_int_eq(!known(n), asked);
    }
}
END_TEST

START_TEST(requests_are_obeyed_once)
{
    ask(0, 8);
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < 8; n++)
        look_up(n);
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < PAGES; n++)
        ck_assert(known(n));
}
END_TEST

START_TEST(too_many_ranges_take_everything)
{
    for (unsigned n = 0; n < TLB_REQUEST_RANGES; n++)
        ask(1, 1);
    ck_assert(!requests.all);
    ask(2, 1);
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < PAGES; n++)
        ck_assert(!known(n));
    ask(5, 1); /* the next ones are ranges again */
    tlb_requests_obey(&requests, &tlb);
    ck_assert(!known(5) && known(6));
}
END_TEST

START_TEST(too_many_pages_take_everything)
{
    ask(1, TLB_REQUEST_PAGES);
    ck_assert(!requests.all);
    ask(1, 1);
    ck_assert(requests.all && requests.global);
}
END_TEST

START_TEST(all_but_global_and_then_a_global_page)
{
    tlb_request(&requests, &(struct tlb_forget){.all = true});
    ask(8, 1);
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < PAGES; n++)
        ck_assert_int_eq(known(n), n % 4 == 0 && n != 8);
}
END_TEST

START_TEST(a_request_for_everything_swallows_the_rest)
{
    tlb_request(&requests, &(struct tlb_forget){.all = true});
    tlb_request(&requests, &(struct tlb_forget){.all = true, .global = true});
    tlb_request(&requests, &(struct tlb_forget){.all = true});
    ask(8, 1);
    tlb_requests_obey(&requests, &tlb);
    for (unsigned n = 0; n < PAGES; n++)
        ck_assert(!known(n));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tlb_request");
    TCase *tc = tcase_create("tlb_request");

    tcase_add_checked_fixture(tc, request_setup, request_teardown);
    tcase_add_test(tc, ranges_go_and_the_rest_stays);
    tcase_add_test(tc, requests_are_obeyed_once);
    tcase_add_test(tc, too_many_ranges_take_everything);
    tcase_add_test(tc, too_many_pages_take_everything);
    tcase_add_test(tc, all_but_global_and_then_a_global_page);
    tcase_add_test(tc, a_request_for_everything_swallows_the_rest);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
