/* SPDX-License-Identifier: MIT
 *
 * Loops translated along the way they were seen to go.
 */
#include "jit/internal.h"
#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { TURNS = 100 };

static struct pair p;

static void setup(void)
{
    const struct jit_options eager = {.optimisations = JIT_ALL, .counted = true, .eager = true};

    pair_create(&p, &eager);
}

static void teardown(void)
{
    pair_destroy(&p);
}

/* Runs in slices; each leaves translated code where it happens to be. */
static void same(const u8 *code, size_t size, u64 slice)
{
    enum vcpu_exit why;

    pair_code(&p, code, size);
    pair_start(&p, MACHINE_LONG);
    pair_set(&p, RCX, TURNS);
    do {
        why = pair_run(&p, slice);
        ck_assert_str_eq(pair_difference(&p), "");
    } while (why == EXIT_BUDGET);
    ck_assert_int_eq(why, EXIT_IDLE);
}

static unsigned paths(void)
{
    const struct jit *j = jit_of(p.jit.v);
    unsigned count = 0;

    for (unsigned n = 0; n < BLOCK_BUCKETS; n++)
        for (const struct jit_block *b = j->buckets[n]; b; b = b->next)
            count += b->path;
    return count;
}

/* start: test cl, 3; jnz over; add rax, 5; jmp back; over: add rdx, rcx; dec ecx; jnz start */
static const u8 diamond[] = {0xf6, 0xc1, 3,    0x75, 6,    0x48, 0x83, 0xc0, 5,
                             0x74, 0,    0x48, 0x01, 0xca, 0xff, 0xc9, 0x75, 0xee};

START_TEST(jumps_turn_round)
{
    for (u64 slice = 1; slice < 100; slice += 9)
        same(diamond, sizeof(diamond), slice);
    ck_assert_uint_gt(paths(), 0);
}
END_TEST

/* An unconditional jump back in the middle: a: dec ecx; jmp c; b: add rax, rcx; jmp a (or out); c:
 * test ecx, ecx; jnz b. */
START_TEST(goes_back_and_forth)
{
    static const u8 code[] = {0xff, 0xc9, 0xeb, 5,    0x48, 0x01, 0xc8,
                              0xeb, 0xf7, 0x85, 0xc9, 0x75, 0xf7};

    same(code, sizeof(code), 37);
    ck_assert_uint_gt(paths(), 0);
}
END_TEST

/* A loop with a call in it has no path; nothing is lost. */
START_TEST(a_call_ends_it)
{
    static const u8 code[] = {0xe8, 5,    0,    0,    0,    0xff, 0xc9,
                              0x75, 0xf7, 0xf4, 0x48, 0xff, 0xc0, 0xc3};

    same(code, sizeof(code), 50);
    ck_assert_uint_eq(paths(), 0);
}
END_TEST

/* The code under a path is rewritten between two runs: its block is dead. */
START_TEST(dies_with_its_page)
{
    u8 other[sizeof(diamond)];

    memcpy(other, diamond, sizeof(other));
    other[8] = 9; /* add rax, 9 */
    same(diamond, sizeof(diamond), 60);
    same(other, sizeof(other), 60);
    same(diamond, sizeof(diamond), PAIR_BUDGET);
}
END_TEST

START_TEST(has_a_switch)
{
    const struct jit_options off = {
        .optimisations = JIT_ALL & ~(u64)JIT_PATH, .counted = true, .eager = true};

    pair_destroy(&p);
    pair_create(&p, &off);
    same(diamond, sizeof(diamond), 25);
    ck_assert_uint_eq(paths(), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("path");
    TCase *t = tcase_create("paths");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, jumps_turn_round);
    tcase_add_test(t, goes_back_and_forth);
    tcase_add_test(t, a_call_ends_it);
    tcase_add_test(t, dies_with_its_page);
    tcase_add_test(t, has_a_switch);
    suite_add_tcase(s, t);
    return suite_run(s);
}
