/* SPDX-License-Identifier: MIT
 *
 * RAM: creation, page records, granule marks and invalidation, write-TLB bookkeeping, and marks
 * racing with invalidations.
 */
#include "mem/ram.h"
#include "tests/suite.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static struct ram ram;

static void setup(void)
{
    ck_assert_int_eq(ram_create(&ram, 8 * PAGE_SIZE, NULL), ST_OK);
}

static void teardown(void)
{
    ram_destroy(&ram);
}

START_TEST(refuses_bad_sizes)
{
    static const u64 sizes[] = {0, 1, 4095, 4097, 1ull << 52, ~0ull & PAGE_MASK};
    struct ram r;
    struct error err;

    for (unsigned i = 0; i < ARRAY_SIZE(sizes); i++) {
        ck_assert_int_eq(ram_create(&r, sizes[i], &err), ST_INVALID);
        ck_assert(strlen(err.text) > 0);
        ram_destroy(&r);
    }
    ck_assert_int_eq(ram_create(&r, 1ull << 50, &err), ST_NO_MEMORY);
    ck_assert_ptr_nonnull(strstr(err.text, "-m"));
}
END_TEST

START_TEST(big_ram_costs_what_it_uses)
{
    struct ram r;

    ck_assert_int_eq(ram_create(&r, GIB(16), NULL), ST_OK);
    r.hva[GIB(16) - 1] = 0x5a;
    ck_assert_uint_eq(r.hva[GIB(8)], 0);
    ck_assert(ram_mark_code(&r, r.hva + GIB(16) - 64, 64));
    ck_assert(ram_written(&r, r.hva + GIB(16) - 1, 1));
    ram_destroy(&r);
}
END_TEST

START_TEST(memfd_maps_the_same_bytes)
{
    u8 *again = mmap(NULL, ram.size, PROT_READ, MAP_SHARED, ram.fd, 0);

    ck_assert_ptr_ne(again, MAP_FAILED);
    ram.hva[5000] = 77;
    ck_assert_uint_eq(again[5000], 77);
    munmap(again, ram.size);
}
END_TEST

START_TEST(contains_and_page_of)
{
    ck_assert(ram_contains(&ram, ram.hva));
    ck_assert(ram_contains(&ram, ram.hva + ram.size - 1));
    ck_assert(!ram_contains(&ram, ram.hva + ram.size));
    ck_assert(!ram_contains(&ram, ram.hva - 1));
    ck_assert(!ram_contains(&ram, NULL));
    ck_assert_uint_eq(ram_page_of(&ram, ram.hva + 3 * PAGE_SIZE + 4095), 3);
}
END_TEST

START_TEST(mark_sets_granules)
{
    const struct ram_page *page = &ram.pages[2];
    u8 *base = ram.hva + 2 * PAGE_SIZE;

    ck_assert(ram_mark_code(&ram, base + 63, 2));
    ck_assert_uint_eq(page->code_granules, 3);
    ck_assert(!ram_mark_code(&ram, base + 4095, 1));
    ck_assert_uint_eq(page->code_granules, 3 | BIT(63));
    ck_assert(!ram_mark_code(&ram, base, PAGE_SIZE));
    ck_assert_uint_eq(page->code_granules, ~0ull);
    ck_assert_uint_eq(ram_flags(&ram, base), PAGE_CODE);
    ck_assert_uint_eq(ram.pages[1].code_granules | ram.pages[3].code_granules, 0);
}
END_TEST

START_TEST(store_beside_code_keeps_it)
{
    u8 *base = ram.hva + PAGE_SIZE;

    ram_mark_code(&ram, base + 128, 64);
    ck_assert(!ram_written(&ram, base + 127, 1));
    ck_assert(!ram_written(&ram, base + 192, 64));
    ck_assert(!ram_written(&ram, base + 128, 0));
    ck_assert(!ram_written(&ram, ram.hva, PAGE_SIZE));
    ck_assert_uint_eq(ram.pages[1].generation, 0);
    ck_assert_uint_eq(ram.code_epoch, 0);
    ck_assert_uint_eq(ram_flags(&ram, base), PAGE_CODE);
}
END_TEST

START_TEST(store_into_code_invalidates_its_granules)
{
    u8 *base = ram.hva + PAGE_SIZE;
    struct ram_hit hit;

    ram_mark_code(&ram, base + 128, 64);
    ram_mark_code(&ram, base + 1024, 1);
    ck_assert(ram_written(&ram, base + 120, 9));
    ck_assert_uint_eq(ram.pages[1].generation, 1);
    ck_assert_uint_eq(ram.code_epoch, 1);
    ck_assert_uint_eq(ram.pages[1].code_granules, BIT(16));
    ck_assert_uint_eq(ram_flags(&ram, base), PAGE_CODE);
    ck_assert(!ram_written(&ram, base + 120, 9));
    ck_assert(!ram_mark_code(&ram, base + 128, 1));
    ck_assert(ram_written(&ram, base, PAGE_SIZE));
    ck_assert_uint_eq(ram.pages[1].code_granules, 0);
    ck_assert_uint_eq(ram_flags(&ram, base), 0);
    ck_assert_uint_eq(ram.pages[1].generation, 2);
    ck_assert_uint_eq(ram.code_epoch, 2);
    ck_assert(ram_hit(&ram, 0, &hit));
    ck_assert_uint_eq(hit.page, 1);
    ck_assert_uint_eq(hit.granules, BIT(2));
    ck_assert(ram_hit(&ram, 1, &hit));
    ck_assert_uint_eq(hit.page, 1);
    ck_assert_uint_eq(hit.granules, BIT(2) | BIT(16));
    ck_assert(ram_mark_code(&ram, base + 1024, 1));
}
END_TEST

START_TEST(the_log_of_hits_tells_what_it_has_lost)
{
    struct ram_hit hit;

    for (u64 n = 0; n < RAM_HITS + 5; n++) {
        ram_mark_code(&ram, ram.hva + n % 7 * PAGE_SIZE + n % 64 * 64, 1);
        ck_assert(ram_written(&ram, ram.hva + n % 7 * PAGE_SIZE + n % 64 * 64, 8));
    }
    ck_assert_uint_eq(ram.code_epoch, RAM_HITS + 5);
    for (u64 n = 0; n < RAM_HITS + 5; n++) {
        if (n <= 5) { /* number 5 may be being overwritten */
            ck_assert(!ram_hit(&ram, n, &hit));
            continue;
        }
        ck_assert(ram_hit(&ram, n, &hit));
        ck_assert_uint_eq(hit.page, n % 7);
        ck_assert_uint_eq(hit.granules, BIT(n % 64));
    }
}
END_TEST

START_TEST(granules_of_a_range)
{
    ck_assert_uint_eq(ram_granules(0, 1), 1);
    ck_assert_uint_eq(ram_granules(63, 1), 1);
    ck_assert_uint_eq(ram_granules(63, 2), 3);
    ck_assert_uint_eq(ram_granules(64, 64), 2);
    ck_assert_uint_eq(ram_granules(4095, 1), BIT(63));
    ck_assert_uint_eq(ram_granules(0, PAGE_SIZE), ~0ull);
}
END_TEST

START_TEST(store_over_pages_hits_each)
{
    ram_mark_code(&ram, ram.hva + PAGE_SIZE + 4095, 1);
    ram_mark_code(&ram, ram.hva + 2 * PAGE_SIZE + 512, 1);
    ram_mark_code(&ram, ram.hva + 3 * PAGE_SIZE, 1);
    ck_assert(ram_written(&ram, ram.hva + 2 * PAGE_SIZE - 1, PAGE_SIZE + 2));
    ck_assert_uint_eq(ram.pages[1].generation, 1);
    ck_assert_uint_eq(ram.pages[2].generation, 1);
    ck_assert_uint_eq(ram.pages[3].generation, 1);
    ck_assert_uint_eq(ram.code_epoch, 3);
    ram_mark_code(&ram, ram.hva + 7 * PAGE_SIZE, 1);
    ck_assert(ram_written(&ram, ram.hva, ram.size));
}
END_TEST

START_TEST(writers_are_refused_on_code_pages)
{
    u64 stamp;

    ck_assert(!ram_has_writers(&ram, ram.hva, &stamp));
    ck_assert(ram_note_writer(&ram, ram.hva));
    ck_assert(ram_has_writers(&ram, ram.hva, &stamp));
    ram_writers_dropped(&ram, ram.hva, stamp); /* not marked: new ones may have come */
    ck_assert(ram_has_writers(&ram, ram.hva, &stamp));
    ram_mark_code(&ram, ram.hva, 1);
    ck_assert(!ram_note_writer(&ram, ram.hva));
    ck_assert(ram_has_writers(&ram, ram.hva, &stamp));
    ram_writers_dropped(&ram, ram.hva, stamp);
    ck_assert(!ram_has_writers(&ram, ram.hva, &stamp));
    __atomic_fetch_or(&ram.pages[1].flags, PAGE_DIRTY_LOG, __ATOMIC_SEQ_CST);
    ck_assert(!ram_note_writer(&ram, ram.hva + PAGE_SIZE));
}
END_TEST

START_TEST(writers_that_came_back_are_not_forgotten)
{
    u64 stamp;

    ck_assert(ram_note_writer(&ram, ram.hva));
    ram_mark_code(&ram, ram.hva, 1);
    ck_assert(ram_has_writers(&ram, ram.hva, &stamp));
    ram_written(&ram, ram.hva, 1); /* no code any more: a TLB may enter a write tag now */
    ck_assert(ram_note_writer(&ram, ram.hva));
    ram_mark_code(&ram, ram.hva, 1);
    ram_writers_dropped(&ram, ram.hva, stamp);
    ck_assert(ram_has_writers(&ram, ram.hva, &stamp));
}
END_TEST

enum { RACE_ROUNDS = 100000 };

static void *race_writer(void *arg)
{
    u64 hits = 0;

    for (unsigned i = 0; i < RACE_ROUNDS; i++)
        hits += ram_written(&ram, ram.hva + i % 64 * 64, 8);
    *(u64 *)arg = hits;
    return NULL;
}

/* Whatever the order: a mark either stands or raised the generation, and every hit is one epoch. */
START_TEST(marks_survive_concurrent_invalidation)
{
    pthread_t thread;
    u64 hits = 0;

    pthread_create(&thread, NULL, race_writer, &hits);
    for (unsigned i = 0; i < RACE_ROUNDS; i++) {
        u32 generation = __atomic_load_n(&ram.pages[0].generation, __ATOMIC_SEQ_CST);
        unsigned granule = i % 61;
        u64 granules;

        ram_mark_code(&ram, ram.hva + granule * 64, 1);
        granules = __atomic_load_n(&ram.pages[0].code_granules, __ATOMIC_SEQ_CST);
        if (!(granules & BIT(granule)))
            ck_assert_uint_ne(generation,
                              __atomic_load_n(&ram.pages[0].generation, __ATOMIC_SEQ_CST));
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(ram.code_epoch, hits);
    ck_assert_uint_eq(ram.pages[0].generation, hits);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ram");
    TCase *tc = tcase_create("ram");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, refuses_bad_sizes);
    tcase_add_test(tc, big_ram_costs_what_it_uses);
    tcase_add_test(tc, memfd_maps_the_same_bytes);
    tcase_add_test(tc, contains_and_page_of);
    tcase_add_test(tc, mark_sets_granules);
    tcase_add_test(tc, store_beside_code_keeps_it);
    tcase_add_test(tc, store_into_code_invalidates_its_granules);
    tcase_add_test(tc, the_log_of_hits_tells_what_it_has_lost);
    tcase_add_test(tc, granules_of_a_range);
    tcase_add_test(tc, store_over_pages_hits_each);
    tcase_add_test(tc, writers_are_refused_on_code_pages);
    tcase_add_test(tc, writers_that_came_back_are_not_forgotten);
    tcase_add_test(tc, marks_survive_concurrent_invalidation);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
