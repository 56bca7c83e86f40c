/* SPDX-License-Identifier: MIT
 *
 * The window: which units are open, what is mapped there, and what takes it away again.
 */
#include "mem/window.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>

#include "tests/mem/tlb_fixture.h"
#include "tests/suite.h"

static const u64 far_away = 0x200000000000; /* where no process has anything by itself */
static struct window *w;
static u8 *guard;

static void setup_window(void)
{
    setup();
    guard = mmap(NULL, WINDOW_GUARD_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                 -1, 0);
    ck_assert_ptr_ne(guard, MAP_FAILED);
    w = window_create(&ram, guard);
    ck_assert_ptr_nonnull(w);
    tlb.window = w;
}

static void teardown_window(void)
{
    tlb.window = NULL;
    window_destroy(w);
    munmap(guard, WINDOW_GUARD_SIZE);
    teardown();
}

static bool is_mapped(u64 gla)
{
    unsigned char resident;

    return !mincore((void *)(gla & PAGE_MASK), PAGE_SIZE, &resident);
}

static volatile u8 *at(u64 gla)
{
    return (volatile u8 *)gla;
}

/* -- units -- */

START_TEST(what_the_emulator_has_is_refused)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    unsigned lines = 0;
    char line[512];
    u64 first, end;

    ck_assert_ptr_nonnull(maps);
    for (; fgets(line, sizeof(line), maps); lines++) {
        ck_assert_int_eq(sscanf(line, "%lx-%lx", &first, &end), 2);
        if (first >> 63) /* the kernel's */
            continue;
        ck_assert(!window_open(w, first));
        ck_assert(!window_open(w, end - 1));
        ck_assert(!window_open(w, first - WINDOW_REACH + 1));
        ck_assert_msg(!window_open(w, end + WINDOW_REACH - 1), "%s", line);
    }
    ck_assert_uint_gt(lines, 10);
    ck_assert_uint_eq(w->open_count, 0);
    fclose(maps);
}
END_TEST

START_TEST(where_it_will_grow_is_refused)
{
    u8 *low = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    u8 *heap = malloc(100);

    ck_assert(!window_open(w, (u64)low - GIB(15)));
    ck_assert(!window_open(w, (u64)low + GIB(15)));
    ck_assert(!window_open(w, (u64)heap + GIB(15)));
    free(heap);
    munmap(low, PAGE_SIZE);
}
END_TEST

START_TEST(others_are_open)
{
    static const u64 never[] = {BIT(47), ~0ull, 0xffff800000000000, BIT(63), 1ull << 48};

    ck_assert(window_open(w, far_away));
    ck_assert(window_open(w, far_away + GIB(40)));
    ck_assert_uint_eq(guard[far_away >> WINDOW_GUARD_SHIFT], 0);
    ck_assert_uint_eq(guard[(far_away + MIB(255)) >> WINDOW_GUARD_SHIFT], 0);
    for (unsigned n = 0; n < ARRAY_SIZE(never); n++)
        ck_assert(!window_open(w, never[n]));
}
END_TEST

START_TEST(the_guard_of_a_closed_one_faults)
{
    ck_assert(window_open(w, far_away));
    (void)*(volatile u8 *)&guard[(u64)&w >> WINDOW_GUARD_SHIFT];
}
END_TEST

START_TEST(no_more_are_open_than_are_counted)
{
    unsigned opened = 0;

    for (unsigned n = 0; n < WINDOW_OPEN_MAX + 10; n++)
        opened += window_open(w, far_away + ((u64)n << WINDOW_UNIT_SHIFT));
    ck_assert_uint_eq(opened, WINDOW_OPEN_MAX);
}
END_TEST

/* -- pages -- */

static u64 physical(unsigned page)
{
    return 0x200000 + page * PAGE_SIZE;
}

/* A page of user mode that the TLB knows after an access of that kind. */
static u64 given(unsigned page, unsigned to, u64 bits, enum access_kind kind)
{
    *pte(0, page) = physical(to) | bits;
    ck_assert_uint_eq(touch_as(TLB_USER, gla_of(page), kind), physical(to));
    return gla_of(page);
}

static u64 filled(unsigned page, unsigned to)
{
    u64 gla = given(page, to, P | W | U | A | D, ACCESS_WRITE);

    ck_assert(window_fill(w, &tlb, gla));
    return gla;
}

START_TEST(loads_and_stores_reach_ram)
{
    u64 gla = filled(3, 70);

    ram.hva[physical(70) + 5] = 0x5a;
    ck_assert_uint_eq(*at(gla + 5), 0x5a);
    *at(gla + 6) = 0xa5;
    ck_assert_uint_eq(ram.hva[physical(70) + 6], 0xa5);
    ck_assert(!is_mapped(gla + PAGE_SIZE));
    ck_assert(!is_mapped(gla - PAGE_SIZE));
}
END_TEST

START_TEST(nothing_is_mapped_that_the_tlb_has_not)
{
    ck_assert(!window_fill(w, &tlb, gla_of(9)));
    *pte(0, 9) = physical(9) | P | W | U | A | D;
    ck_assert_uint_eq(touch_as(TLB_SUPERVISOR, gla_of(9), ACCESS_WRITE), physical(9));
    ck_assert(!window_fill(w, &tlb, gla_of(9)));
    ck_assert(!is_mapped(gla_of(9)));
}
END_TEST

/* Rights to be had: 0: none is given; 1: the page is clean, so stores must be seen. */
START_TEST(a_page_for_loads_alone)
{
    u64 gla = given(4, 4, _i ? P | W | U | A : P | U | A | D, ACCESS_READ);

    ck_assert(window_fill(w, &tlb, gla));
    ck_assert_uint_eq(*at(gla), ram.hva[physical(4)]);
    ck_assert(!window_fill(w, &tlb, gla));
    *at(gla) = 1; /* SIGSEGV */
}
END_TEST

START_TEST(a_page_gets_dirty)
{
    u64 gla = given(4, 4, P | W | U | A, ACCESS_READ);

    ck_assert(window_fill(w, &tlb, gla));
    ck_assert_uint_eq(touch_as(TLB_USER, gla, ACCESS_WRITE), physical(4));
    ck_assert(window_fill(w, &tlb, gla));
    *at(gla) = 77;
    ck_assert_uint_eq(ram.hva[physical(4)], 77);
}
END_TEST

START_TEST(pages_that_follow_in_ram_come_along)
{
    for (unsigned n = 0; n < 40; n++)
        given(n + 10, n + 100, P | W | U | A | D, ACCESS_WRITE);
    given(60, 150, P | W | U | A | D, ACCESS_WRITE);
    ck_assert(window_fill(w, &tlb, gla_of(20)));
    ck_assert_uint_eq(w->filled, 1);
    ck_assert(is_mapped(gla_of(20)) && is_mapped(gla_of(35)));
    ck_assert(!is_mapped(gla_of(36)) && !is_mapped(gla_of(60)));
    for (unsigned n = 20; n < 36; n++)
        *at(gla_of(n) + 1) = (u8)n;
    for (unsigned n = 20; n < 36; n++)
        ck_assert_uint_eq(ram.hva[physical(n + 90) + 1], n);
}
END_TEST

START_TEST(null_pointers_stay_null_pointers)
{
    table(0, 2)[0] = 0x30000 | P | W | U;
    for (unsigned n = 0; n < 32; n++)
        ((u64 *)(ram.hva + 0x30000))[n] = physical(n) | P | W | U | A | D;
    for (unsigned n = 0; n < 32; n++) {
        ck_assert_uint_eq(touch_as(TLB_USER, n * PAGE_SIZE, ACCESS_WRITE), physical(n));
        ck_assert(!window_fill(w, &tlb, n * PAGE_SIZE) || n >= 16);
    }
    ck_assert(!is_mapped(0) && !is_mapped(15 * PAGE_SIZE));
}
END_TEST

/* -- what goes -- */

static void by_page(u64 gla)
{
    tlb_flush_page(&tlb, 0, gla);
}

static void by_page_of_pcid(u64 gla)
{
    tlb_flush_page_pcid(&tlb, 0, gla);
}

static void by_page_everywhere(u64 gla)
{
    tlb_flush_page_everywhere(&tlb, gla);
}

static void by_all(u64 gla)
{
    (void)gla;
    tlb_flush_all(&tlb);
}

static void by_non_global(u64 gla)
{
    (void)gla;
    tlb_flush_non_global(&tlb);
}

static void by_pcid(u64 gla)
{
    (void)gla;
    tlb_flush_pcid(&tlb, 0);
}

static void by_permissions(u64 gla)
{
    (void)gla;
    tlb_permissions_changed(&tlb);
}

static void by_watch(u64 gla)
{
    tlb_watch(&tlb, &gla, 1);
}

static void by_code(u64 gla)
{
    (void)gla;
    physmap_protect_code(map, ram.hva + physical(70), 1);
}

static void by_itself(u64 gla)
{
    (void)gla;
    window_drop_all(w);
}

static void (*const ways[])(u64 gla) = {
    by_page, by_page_of_pcid, by_page_everywhere, by_all,  by_non_global,
    by_pcid, by_permissions,  by_watch,           by_code, by_itself};

START_TEST(what_the_tlb_forgets_goes)
{
    u64 gla = filled(3, 70);

    ck_assert(is_mapped(gla));
    ways[_i](gla);
    ck_assert(!is_mapped(gla));
}
END_TEST

START_TEST(another_address_space_leaves_it)
{
    u64 gla;

    ctx.cr4 |= CR4_PCIDE_;
    ctx.cr3 |= 3;
    w->pcid = 3;
    gla = filled(3, 70);
    tlb_switch(&tlb);
    tlb_flush_pcid(&tlb, 4);
    tlb_flush_page(&tlb, 3, gla + PAGE_SIZE);
    ck_assert(is_mapped(gla));
    tlb_flush_pcid(&tlb, 3);
    ck_assert(!is_mapped(gla));
}
END_TEST

START_TEST(code_is_mapped_for_loads_alone)
{
    u64 gla = filled(3, 70);

    physmap_protect_code(map, ram.hva + physical(70), 1);
    ck_assert(!is_mapped(gla));
    ck_assert_uint_eq(touch_as(TLB_USER, gla, ACCESS_WRITE), physical(70));
    ck_assert(window_fill(w, &tlb, gla));
    (void)*at(gla);
    *at(gla) = 1; /* SIGSEGV */
}
END_TEST

/* Two pages for the same memory: one at a time, so that what becomes code has no writer. */
START_TEST(one_page_at_a_time_for_stores)
{
    u64 first = filled(3, 70), second = filled(8, 70);

    ck_assert(!is_mapped(first) && is_mapped(second));
    physmap_protect_code(map, ram.hva + physical(70), 1);
    ck_assert(!is_mapped(first) && !is_mapped(second));
}
END_TEST

/* -- large pages -- */

static u64 large(void)
{
    table(0, 2)[3] = 0x400000 | P | W | U | A | D | PS;
    ck_assert_uint_eq(touch_as(TLB_USER, MIB(6) + 0x5000, ACCESS_WRITE), 0x405000);
    return MIB(6) + 0x5000;
}

START_TEST(a_large_page_comes_and_goes_as_a_whole)
{
    u64 gla = large();

    for (unsigned turn = 0; turn < 2; turn++) {
        ck_assert(window_fill(w, &tlb, gla));
        ck_assert(is_mapped(MIB(6)) && is_mapped(MIB(8) - 1) && !is_mapped(MIB(8)));
        *at(MIB(8) - 1) = 9;
        ck_assert_uint_eq(ram.hva[0x5fffff], 9);
        tlb_flush_page(&tlb, 0, MIB(7));
        ck_assert(!is_mapped(MIB(6)) && !is_mapped(MIB(8) - 1));
        large();
    }
}
END_TEST

/* Code in one of its pieces: the others can be mapped one by one; they go together. */
START_TEST(a_large_page_with_code)
{
    u64 gla = large();

    ck_assert(window_fill(w, &tlb, gla));
    physmap_protect_code(map, ram.hva + 0x480000, 1);
    ck_assert(!is_mapped(MIB(6) + 0x80000) && is_mapped(gla));
    tlb_flush_page(&tlb, 0, MIB(6));
    large();
    ck_assert(window_fill(w, &tlb, gla));
    ck_assert(is_mapped(gla) && !is_mapped(MIB(6) + 0x80000) && !is_mapped(MIB(6)));
    tlb_flush_page(&tlb, 0, MIB(7));
    ck_assert(!is_mapped(gla));
}
END_TEST

/* Two large pages that follow each other in RAM, with code in both: what is mapped of one goes with
 * it, by whichever of its pages. */
START_TEST(large_pages_side_by_side)
{
    u64 first = MIB(8) - PAGE_SIZE, second = MIB(8);

    physmap_protect_code(map, ram.hva + 0x400000, 1);
    physmap_protect_code(map, ram.hva + 0x680000, 1);
    table(0, 2)[3] = 0x400000 | P | W | U | A | D | PS;
    table(0, 2)[4] = 0x600000 | P | W | U | A | D | PS;
    ck_assert_uint_eq(touch_as(TLB_USER, first, ACCESS_WRITE), 0x5ff000);
    ck_assert_uint_eq(touch_as(TLB_USER, second, ACCESS_WRITE), 0x600000);
    ck_assert(window_fill(w, &tlb, first));
    tlb_flush_page(&tlb, 0, second + MIB(1));
    ck_assert(is_mapped(first) && !is_mapped(second));
}
END_TEST

/* Each page that is taken out of a large one leaves two mappings of the host's, of which there is a
 * limit. */
START_TEST(mappings_stay_few)
{
    u64 gla = large();

    for (unsigned turn = 0; turn < 200; turn++) {
        ck_assert(window_fill(w, &tlb, gla + turn % 2 * PAGE_SIZE) || turn);
        for (unsigned n = turn % 2; n < 512; n += 2)
            window_drop_writer(w, ram.hva + 0x400000 + n * PAGE_SIZE);
        ck_assert_uint_lt(w->mappings, 60000);
    }
    ck_assert_uint_gt(w->dropped, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("window");
    TCase *c = tcase_create("window");

    tcase_add_checked_fixture(c, setup_window, teardown_window);
    tcase_add_test(c, what_the_emulator_has_is_refused);
    tcase_add_test(c, where_it_will_grow_is_refused);
    suite_add_tcase(s, c);
    if (!WINDOW_POSSIBLE) /* all is the emulator's */
        return suite_run(s);
    tcase_add_test(c, others_are_open);
    tcase_add_test_raise_signal(c, the_guard_of_a_closed_one_faults, SIGSEGV);
    tcase_add_test(c, no_more_are_open_than_are_counted);
    tcase_add_test(c, loads_and_stores_reach_ram);
    tcase_add_test(c, nothing_is_mapped_that_the_tlb_has_not);
    tcase_add_loop_test_raise_signal(c, a_page_for_loads_alone, SIGSEGV, 0, 2);
    tcase_add_test(c, a_page_gets_dirty);
    tcase_add_test(c, pages_that_follow_in_ram_come_along);
    tcase_add_test(c, null_pointers_stay_null_pointers);
    tcase_add_loop_test(c, what_the_tlb_forgets_goes, 0, ARRAY_SIZE(ways));
    tcase_add_test(c, another_address_space_leaves_it);
    tcase_add_test_raise_signal(c, code_is_mapped_for_loads_alone, SIGSEGV);
    tcase_add_test(c, one_page_at_a_time_for_stores);
    tcase_add_test(c, a_large_page_comes_and_goes_as_a_whole);
    tcase_add_test(c, a_large_page_with_code);
    tcase_add_test(c, large_pages_side_by_side);
    tcase_add_test(c, mappings_stay_few);
    return suite_run(s);
}
