/* SPDX-License-Identifier: MIT
 *
 * Sites: which changes of the TLB take their pages from them.
 */
#include "tests/mem/tlb_fixture.h"
#include "tests/suite.h"

enum { HOST = 0x100000, FIRST = 0xabcd000, SECOND = 0xdcba000 };

static struct tlb_site site[2];

/* Two sites with pages, as translated code enters them. */
static void give(void)
{
    static const u64 page[] = {FIRST, SECOND};

    for (unsigned n = 0; n < 2; n++) {
        if (!site[n].noted)
            tlb.site[tlb.site_count++] = &site[n];
        site[n].noted = true;
        site[n].tag = page[n];
    }
}

static unsigned having(void)
{
    return (site[0].tag == FIRST) + (site[1].tag == SECOND);
}

static void user_page(void)
{
    *pte(0, 0) = HOST | P | W | D | U;
    ck_assert_uint_eq(touch_as(TLB_USER, WORLD, ACCESS_WRITE), HOST);
}

START_TEST(a_page_of_user_mode_goes)
{
    user_page();
    give();
    tlb_flush_page(&tlb, 0, WORLD + PAGE_SIZE); /* no tag of that */
    ck_assert_uint_eq(having(), 2);
    tlb_flush_page(&tlb, 0, WORLD);
    ck_assert_uint_eq(having(), 0);
    ck_assert_uint_eq(tlb.site_count, 0);
    ck_assert(!site[0].noted && !site[1].noted);
    ck_assert_uint_eq(site[0].tag, tlb.tables[TLB_USER].no_stack);
}
END_TEST

START_TEST(all_pages_go)
{
    static void (*const flush[])(struct tlb * tlb) = {tlb_flush_all, tlb_flush_non_global,
                                                      tlb_switch, tlb_permissions_changed};

    user_page();
    give();
    flush[_i](&tlb);
    ck_assert_uint_eq(having(), 0);
    ck_assert_uint_eq(tlb.site_count, 0);
}
END_TEST

/* Those of the operating system are not what sites rely on. */
START_TEST(a_page_of_the_supervisor_goes)
{
    *pte(0, 1) = (HOST + PAGE_SIZE) | P | W | D;
    touch(gla_of(1), ACCESS_WRITE);
    give();
    tlb_flush_page(&tlb, 0, gla_of(1));
    ck_assert_uint_eq(having(), 2);
}
END_TEST

/* The slot gets another page, 4 GiB away. */
START_TEST(another_page_takes_the_slot)
{
    user_page();
    give();
    table(0, 3)[4] = table(0, 3)[0];
    user_page();
    ck_assert_uint_eq(having(), 2); /* the same again */
    ck_assert_uint_eq(touch_as(TLB_USER, WORLD + GIB(4), ACCESS_READ), HOST);
    ck_assert_uint_eq(having(), 0);
}
END_TEST

/* Who drops write tags may be another thread: the list is not its own. */
START_TEST(a_write_tag_is_dropped)
{
    user_page();
    give();
    ck_assert(!tlb_drop_write(&tlb, ram.hva + HOST + PAGE_SIZE));
    ck_assert_uint_eq(having(), 2);
    ck_assert(tlb_drop_write(&tlb, ram.hva + HOST));
    ck_assert_uint_eq(having(), 0);
    ck_assert_uint_eq(tlb.site_count, 2);
    ck_assert(site[0].noted);
    tlb_forget_sites(&tlb);
    ck_assert_uint_eq(tlb.site_count, 0);
    ck_assert(!site[0].noted);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("tlb_site");
    TCase *c = tcase_create("tlb_site");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, a_page_of_user_mode_goes);
    tcase_add_loop_test(c, all_pages_go, 0, 4);
    tcase_add_test(c, a_page_of_the_supervisor_goes);
    tcase_add_test(c, another_page_takes_the_slot);
    tcase_add_test(c, a_write_tag_is_dropped);
    suite_add_tcase(s, c);
    return suite_run(s);
}
