/* SPDX-License-Identifier: MIT
 *
 * String instructions in translated code: single elements, REP, both directions, operands that
 * overlap, that cross pages, that fault in the middle.
 */
#include "tests/jit/random.h"
#include "tests/suite.h"

static struct pair pair;

static void setup(void)
{
    pair_create(&pair, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&pair);
}

/* CLD or STD, [REP] [66 or REX.W] opcode. */
static size_t string_code(u8 *code, struct dice *d, bool wide)
{
    static const u8 opcodes[] = {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf};
    size_t n = 0;

    code[n++] = dice_below(d, 4) ? 0xfc : 0xfd;
    if (dice_below(d, 3))
        code[n++] = dice_below(d, 2) ? 0xf3 : 0xf2;
    if (!dice_below(d, 4))
        code[n++] = 0x66;
    else if (wide && dice_below(d, 2))
        code[n++] = 0x48;
    code[n++] = opcodes[dice_below(d, sizeof(opcodes))];
    return n;
}

static void run_random(enum machine_mode mode, u64 seed)
{
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 1};
    u8 code[8];
    size_t size;
    u64 to;

    state_random(&pair, mode, &d);
    to = dice_address(&d);
    pair_set(&pair, RDI, to);
    pair_set(&pair, RSI, dice_below(&d, 3) ? dice_address(&d) : to - 20 + dice_below(&d, 40));
    pair_set(&pair, RCX, dice_below(&d, 8) ? dice_below(&d, 40) : dice_below(&d, 9000));
    size = string_code(code, &d, mode == MACHINE_LONG);
    pair_execute(&pair, code, size);
}

START_TEST(random_strings)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_COMPAT, MACHINE_PROT32};

    for (u64 n = 0; n < 300; n++)
        run_random(modes[_i], n * 3 + (u64)_i);
}
END_TEST

/* Runs code and tells how many instructions were called: HLT always is. */
static u64 calls_of(const void *code, size_t size)
{
    u64 before = pair_stats(&pair).interpreted;

    pair_execute(&pair, code, size);
    return state_calls(&pair, &before);
}
#define CALLS_OF(...) calls_of((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

static void start(u64 from, u64 to, u64 count)
{
    struct dice d = {1};

    state_random(&pair, MACHINE_LONG, &d);
    pair_set(&pair, RSI, from);
    pair_set(&pair, RDI, to);
    pair_set(&pair, RCX, count);
}

START_TEST(single_elements_are_inline)
{
    start(STATE_DATA, STATE_DATA + 0x1000, 1);
    ck_assert_uint_eq(CALLS_OF(0xa4, 0x48, 0xa5, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf, 0xa6, 0xa7),
                      1);
}
END_TEST

START_TEST(rep_is_left_to_the_body)
{
    start(STATE_DATA, STATE_DATA + 0x1000, 512);
    ck_assert_uint_eq(CALLS_OF(0xf3, 0x48, 0xa5), 2);
    ck_assert_uint_eq(pair.jit.v->gpr[RDI], STATE_DATA + 0x2000);
    start(STATE_DATA, STATE_DATA + 0x1000, 4096);
    ck_assert_uint_eq(CALLS_OF(0xf3, 0xaa), 2);
    start(STATE_DATA, STATE_ABSENT, 0);
    ck_assert_uint_eq(CALLS_OF(0xf3, 0xaa), 2);
}
END_TEST

START_TEST(rep_over_two_pages_is_the_bodys)
{
    start(STATE_DATA, STATE_DATA + 0x1000, 513);
    ck_assert_uint_gt(CALLS_OF(0xf3, 0x48, 0xa5), 1);
}
END_TEST

/* A copy onto the following byte spreads the first one. */
START_TEST(overlapping_movs_goes_element_by_element)
{
    start(STATE_DATA, STATE_DATA + 1, 64);
    pair_put(&pair, STATE_DATA, "x", 1);
    ck_assert_uint_eq(CALLS_OF(0xf3, 0xa4), 2);
    ck_assert_int_eq(pair.jit.ram.hva[STATE_DATA + 64], 'x');
}
END_TEST

START_TEST(fault_leaves_the_registers_of_the_element)
{
    start(STATE_DATA, STATE_ABSENT - 16, 64);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xf3, 0xab), 14);
    ck_assert_uint_eq(pair.jit.v->gpr[RDI], STATE_ABSENT);
    ck_assert_uint_eq(pair.jit.v->gpr[RCX], 60);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("string");
    TCase *c = tcase_create("string");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, random_strings, 0, 3);
    tcase_add_test(c, single_elements_are_inline);
    tcase_add_test(c, rep_is_left_to_the_body);
    tcase_add_test(c, rep_over_two_pages_is_the_bodys);
    tcase_add_test(c, overlapping_movs_goes_element_by_element);
    tcase_add_test(c, fault_leaves_the_registers_of_the_element);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
