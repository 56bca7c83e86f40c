/* SPDX-License-Identifier: MIT
 *
 * Accesses of user mode, each of which looks at the page that it met last: what it relies on must
 * end when the mapping does, and where it does not pay the TLB is asked.
 */
#include "tests/jit/pages.h"
#include "tests/suite.h"

/* HLT ends what user mode can do. */
enum { ENDED = 13 };

static struct pair p;

static void setup(void)
{
    pair_create(&p, &pair_counted);
    pages_start(&p, MACHINE_USER64);
}

static void teardown(void)
{
    pair_destroy(&p);
}

#define RUN(...)                                                                                   \
    do {                                                                                           \
        pages_start(&p, MACHINE_USER64);                                                           \
        ck_assert_int_eq(PAIR_EXECUTE(&p, __VA_ARGS__), ENDED);                                    \
    } while (0)

START_TEST(from_page_to_page)
{
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(PAGES_WALK);
    ck_assert_uint_gt(p.jit.v->tlb.site_count, 0);
}
END_TEST

/* A loop that meets another page each time: mov edx, 500; outer: mov rsi, rdi; mov ecx, 63; inner:
 * mov eax, [rsi + 8]; add rsi, 1000h; dec ecx; jnz inner; dec edx; jnz outer. */
START_TEST(what_meets_too_many_pages_asks_the_tlb)
{
    for (unsigned turn = 0; turn < 20 && !pair_stats(&p).sites; turn++)
        RUN(0xba, 0xf4, 1, 0, 0, 0x48, 0x89, 0xfe, 0xb9, 63, 0, 0, 0, 0x8b, 0x46, 8, 0x48, 0x81,
            0xc6, 0, 0x10, 0, 0, 0xff, 0xc9, 0x75, 0xf2, 0xff, 0xca, 0x75, 0xe6);
    ck_assert_uint_gt(pair_stats(&p).sites, 0);
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(PAGES_WALK);
}
END_TEST

/* Three times, as a site gets a page that the TLB has already: mov ecx, 3; again: mov eax, [rdi +
 * 7100h]; add [rdi + 7108h], eax; dec ecx; jnz again. */
#define ONE_PAGE                                                                                   \
    0xb9, 3, 0, 0, 0, 0x8b, 0x87, 0, 0x71, 0, 0, 0x01, 0x87, 8, 0x71, 0, 0, 0xff, 0xc9, 0x75, 0xf0

START_TEST(a_page_is_mapped_elsewhere)
{
    for (unsigned turn = 0; turn < 4; turn++) {
        RUN(ONE_PAGE);
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 20 + turn, P | W | U | A | D);
        pages_flushes[_i](&p, LINEAR + 0x7000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), ENDED);
        pages_flushes[_i](&p, LINEAR + 0x7000);
    }
}
END_TEST

START_TEST(rights_that_go_are_missed)
{
    static const u64 bits[] = {P | U | A | D, P | W | A | D, 0};

    for (unsigned n = 0; n < ARRAY_SIZE(bits); n++) {
        RUN(ONE_PAGE);
        pages_start(&p, MACHINE_USER64);
        pages_map(&p, 7, 7, bits[n]);
        pages_flushes[_i](&p, LINEAR + 0x7000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), 14);
        pages_flushes[_i](&p, LINEAR + 0x7000);
    }
}
END_TEST

static unsigned sites_at(u64 page)
{
    const struct tlb *tlb = &p.jit.v->tlb;
    unsigned count = 0;

    for (u32 n = 0; n < tlb->site_count; n++)
        count += tlb->site[n]->tag == page;
    return count;
}

/* Another vCPU makes the page one of code: the write tag goes, and no site may have it. */
START_TEST(the_page_becomes_one_of_code)
{
    struct machine *both[] = {&p.interp, &p.jit};

    for (unsigned turn = 0; turn < 3; turn++) {
        RUN(ONE_PAGE);
        ck_assert_uint_gt(sites_at(LINEAR + 0x7000), 0);
        for (unsigned n = 0; n < 2; n++)
            physmap_protect_code(both[n]->map, both[n]->ram.hva + PHYSICAL + 0x7000, 1u << turn);
        ck_assert_uint_eq(sites_at(LINEAR + 0x7000), 0);
        RUN(ONE_PAGE);
    }
}
END_TEST

/* The store is to the next instruction: lea rsi, [rip + 9]; mov eax, 0cb8b; mov [rsi], ax; nop;
 * nop: they become MOV ECX, EBX. */
START_TEST(a_store_hits_code)
{
    for (unsigned turn = 0; turn < 3; turn++)
        RUN(0x48, 0x8d, 0x35, 8, 0, 0, 0, 0xb8, 0x8b, 0xcb, 0, 0, 0x66, 0x89, 0x06, 0x90, 0x90);
    ck_assert_uint_eq((u32)p.jit.v->gpr[RCX], (u32)p.jit.v->gpr[RBX]);
}
END_TEST

/* More sites than the TLB keeps count of. */
START_TEST(there_is_no_room_for_another_site)
{
    struct tlb *tlb = &p.jit.v->tlb;

    RUN(ONE_PAGE);
    ck_assert_uint_gt(tlb->site_count, 0);
    for (u32 n = tlb->site_count; n < TLB_SITES; n++)
        tlb->site[n] = tlb->site[0];
    tlb->site_count = TLB_SITES;
    RUN(PAGES_WALK);
    ck_assert_uint_lt(tlb->site_count, TLB_SITES);
    RUN(ONE_PAGE);
}
END_TEST

START_TEST(addresses_that_are_not_canonical)
{
    static const u64 at[] = {0x8000000000001000, 0x7ffffffffffffff8, 0x0000800000000000,
                             0xffff7ffffffffff8, 0x4000000000800100};

    RUN(ONE_PAGE);
    for (unsigned n = 0; n < ARRAY_SIZE(at); n++) {
        pages_start(&p, MACHINE_USER64);
        pair_set(&p, RDI, at[n] - 0x7100);
        ck_assert_int_eq(PAIR_EXECUTE(&p, ONE_PAGE), 13);
        ck_assert_uint_ne(p.jit.v->rip, MACHINE_CODE);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("site");
    TCase *c = tcase_create("site");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, from_page_to_page);
    tcase_add_test(c, what_meets_too_many_pages_asks_the_tlb);
    tcase_add_loop_test(c, a_page_is_mapped_elsewhere, 0, ARRAY_SIZE(pages_flushes));
    tcase_add_loop_test(c, rights_that_go_are_missed, 0, ARRAY_SIZE(pages_flushes));
    tcase_add_test(c, the_page_becomes_one_of_code);
    tcase_add_test(c, a_store_hits_code);
    tcase_add_test(c, there_is_no_room_for_another_site);
    tcase_add_test(c, addresses_that_are_not_canonical);
    suite_add_tcase(s, c);
    return suite_run(s);
}
