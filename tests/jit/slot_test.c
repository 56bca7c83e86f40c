/* SPDX-License-Identifier: MIT
 *
 * Checks that look into the slot of the TLB where they found their page last.
 */
#include "jit/internal.h"
#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { TURNS = 1000 };

static struct pair p;

static void setup(void)
{
    const struct jit_options eager = {.optimisations = JIT_ALL, .counted = true, .eager = true};

    pair_create(&p, &eager);
    pair_start(&p, MACHINE_LONG);
}

static void teardown(void)
{
    pair_destroy(&p);
}

static void run(const u8 *code, size_t size, u64 rbx, u64 turns)
{
    pair_set(&p, RAX, 1);
    pair_set(&p, RBX, rbx);
    pair_set(&p, RCX, turns);
    pair_code(&p, code, size);
    pair_again(&p);
    ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_int_eq(machine_vector(&p.jit), -1);
}
#define RUN(code, rbx, turns) run(code, sizeof(code), rbx, turns)

/* add [rbx], rcx; add rax, [rbx + 8]; dec ecx; jnz */
static const u8 stays[] = {0x48, 0x01, 0x0b, 0x48, 0x03, 0x43, 8, 0xff, 0xc9, 0x75, 0xf5};

/* The page is guessed from the register: nothing moves. The same code for another page moves once.
 */
START_TEST(a_page_is_remembered)
{
    u64 moves;

    RUN(stays, MACHINE_DATA, TURNS);
    ck_assert_uint_eq(pair_stats(&p).moves, 0);
    RUN(stays, MACHINE_DATA + 0x2000, TURNS);
    moves = pair_stats(&p).moves;
    ck_assert_uint_ge(moves, 1);
    ck_assert_uint_le(moves, 4); /* both copies of a loop, of a block and of a path */
    RUN(stays, MACHINE_DATA + 0x2100, TURNS);
    ck_assert_uint_eq(pair_stats(&p).moves, moves);
}
END_TEST

/* add [rbx], rcx; xor rbx, 1000h; dec ecx; jnz */
static const u8 alternates[] = {0x48, 0x01, 0x0b, 0x48, 0x81, 0xf3, 0,
                                0x10, 0,    0,    0xff, 0xc9, 0x75, 0xf2};

/* It gives up; then it looks into the whole table, and misses no more. */
START_TEST(alternating_pages_get_the_whole_table)
{
    struct jit_stats before, after;

    for (unsigned n = 0; n < 4; n++)
        RUN(alternates, MACHINE_DATA, TURNS);
    before = pair_stats(&p);
    ck_assert_uint_ge(before.widened, 1);
    ck_assert_uint_lt(before.moves, 100);
    RUN(alternates, MACHINE_DATA, TURNS);
    after = pair_stats(&p);
    ck_assert_uint_eq(after.moves, before.moves);
    ck_assert_uint_eq(after.widened, before.widened);
}
END_TEST

START_TEST(without_the_switch)
{
    const struct jit_options options = {
        .optimisations = JIT_ALL & ~(u32)JIT_SLOT, .counted = true, .eager = true};

    pair_destroy(&p);
    pair_create(&p, &options);
    pair_start(&p, MACHINE_LONG);
    RUN(alternates, MACHINE_DATA, TURNS);
    ck_assert_uint_eq(pair_stats(&p).moves, 0);
}
END_TEST

/* Whatever takes the tag out of the slot is seen: the next access misses. */
START_TEST(a_flush_is_seen)
{
    u64 before;

    RUN(stays, MACHINE_DATA, TURNS);
    before = pair_stats(&p).misses;
    for (unsigned n = 0; n < 2; n++) {
        tlb_flush_page(&p.jit.v->tlb, 0, MACHINE_DATA);
        RUN(stays, MACHINE_DATA, TURNS);
    }
    ck_assert_uint_ge(pair_stats(&p).misses, before + 2);
}
END_TEST

/* mov [rbx], al; dec ecx; jnz; call rdx: the code there returns. */
static const u8 stores[] = {0x88, 0x03, 0xff, 0xc9, 0x75, 0xfa, 0xff, 0xd2};

/* A page that becomes code takes the store's tag away, so code that is stored to is not stale. */
START_TEST(a_mark_is_seen)
{
    static const u8 code[] = {0x48, 0xff, 0xc7, 0xc3}; /* inc rdi; ret */

    pair_put(&p, MACHINE_DATA, code, sizeof(code));
    pair_set(&p, RDX, MACHINE_DATA);
    RUN(stores, MACHINE_DATA + 0x800, TURNS); /* its page becomes code behind the loop */
    RUN(stores, MACHINE_DATA + 0x800, TURNS);
    for (unsigned n = 0; n < 4; n++) {
        pair_again(&p);
        pair_set(&p, RAX, n & 1 ? 0xc7 : 0xcf); /* inc rdi, or dec rdi */
        pair_set(&p, RBX, MACHINE_DATA + 2);
        pair_set(&p, RCX, TURNS);
        ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
        ck_assert_int_eq(machine_vector(&p.jit), -1);
    }
}
END_TEST

/* What crosses into the next page, is not canonical or not there, is none of the slot's. */
START_TEST(other_addresses_miss)
{
    static const u64 addresses[] = {
        MACHINE_DATA + 0xffc, MACHINE_DATA - 4, 1ull << 62, ~0ull - 3, MACHINE_RAM, 0};

    for (size_t n = 0; n < ARRAY_SIZE(addresses); n++) {
        RUN(stays, MACHINE_DATA, TURNS);
        pair_set(&p, RBX, addresses[n]);
        pair_set(&p, RCX, 3);
        pair_again(&p);
        ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
        pair_start(&p, MACHINE_LONG);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("slot");
    TCase *t = tcase_create("slots");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_page_is_remembered);
    tcase_add_test(t, alternating_pages_get_the_whole_table);
    tcase_add_test(t, without_the_switch);
    tcase_add_test(t, a_flush_is_seen);
    tcase_add_test(t, a_mark_is_seen);
    tcase_add_test(t, other_addresses_miss);
    suite_add_tcase(s, t);
    return suite_run(s);
}
