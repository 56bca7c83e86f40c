/* SPDX-License-Identifier: MIT
 *
 * Checks that are made before flags are set: what the guest sees when the page is absent,
 * read-only, clean or not accessed yet, when the instruction in between faults, and where pages
 * meet.
 */
#include "tests/jit/pages.h"
#include "tests/suite.h"

enum { FIRST = 8, SECOND = 16, AT = 0x40, CODE_MAX = 32 };

static struct pair p;

/* RBP points into the first page, RDI and RSP into the second. ADD [RBP], 1 sets flags that no
 * recipe makes again, what follows needs a check, and ADC reads them. */
static const struct {
    u8 size, bytes[CODE_MAX];
} programs[] = {
    /* add qword [rbp], 1; mov [rdi], rcx; adc rdx, 0; hlt */
    {13, {0x48, 0x83, 0x45, 0, 1, 0x48, 0x89, 0x0f, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; mov rcx, [rdi]; adc rdx, 0; hlt */
    {13, {0x48, 0x83, 0x45, 0, 1, 0x48, 0x8b, 0x0f, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; mov rcx, [rsp + 8]; adc rdx, 0; hlt */
    {15, {0x48, 0x83, 0x45, 0, 1, 0x48, 0x8b, 0x4c, 0x24, 8, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; mov [rdi + r9 * 8], rcx; adc rdx, 0; hlt */
    {14, {0x48, 0x83, 0x45, 0, 1, 0x4a, 0x89, 0x0c, 0xcf, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; lea rdi, [rdi + 16]; mov [rdi - 16], rcx; adc rdx, 0; mov [rdi - 8], rdx;
     * adc rdx, [rdi - 16]; hlt */
    {26, {0x48, 0x83, 0x45, 0, 1,    0x48, 0x8d, 0x7f, 16,   0x48, 0x89, 0x4f, 0xf0,
          0x48, 0x83, 0xd2, 0, 0x48, 0x89, 0x57, 0xf8, 0x48, 0x13, 0x57, 0xf0, 0xf4}},
    /* add qword [rbp], 1; mov [LINEAR + SECOND * PAGE_SIZE + AT], rcx; adc rdx, 0; hlt */
    {18,
     {0x48, 0x83, 0x45, 0, 1, 0x48, 0x89, 0x0c, 0x25, AT, 0, 0x81, 0, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* mov rsi, [LINEAR + (SECOND - 1) * PAGE_SIZE]; add qword [rbp], 1; leave;
     * mov [LINEAR + SECOND * PAGE_SIZE], rcx; adc rdx, 0; hlt */
    {27, {0x48, 0x8b, 0x34, 0x25, 0, 0xf0, 0x80, 0, 0x48, 0x83, 0x45, 0, 1,   0xc9,
          0x48, 0x89, 0x0c, 0x25, 0, 0,    0x81, 0, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; mov rcx, [rdi]; adc [rdi], rdx; adc [rbp], rdx; hlt */
    {16, {0x48, 0x83, 0x45, 0, 1, 0x48, 0x8b, 0x0f, 0x48, 0x11, 0x17, 0x48, 0x11, 0x55, 0, 0xf4}},
    /* add qword [rbp], 1; jc +3; mov [rdi], rcx; adc rdx, 0; hlt: not past a jump */
    {15, {0x48, 0x83, 0x45, 0, 1, 0x72, 3, 0x48, 0x89, 0x0f, 0x48, 0x83, 0xd2, 0, 0xf4}},
    /* add qword [rbp], 1; mov rdi, [rbp + 8]; mov [rdi], rcx; adc rdx, 0; hlt: not known before */
    {17,
     {0x48, 0x83, 0x45, 0, 1, 0x48, 0x8b, 0x7d, 8, 0x48, 0x89, 0x0f, 0x48, 0x83, 0xd2, 0, 0xf4}},
};

static const u64 states[] = {P | W | U | A | D, P | W | U | A, P | W | U,
                             P | U | A | D,     P | W | A | D, 0};

static void setup(void)
{
    pair_create(&p, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&p);
}

/* value: what RBP points to. second: the address in RDI and RSP. */
static int run(unsigned program, enum machine_mode mode, u64 first, u64 second_state, u64 value,
               u64 second)
{
    u8 word[8];

    pages_start(&p, mode);
    pages_map(&p, FIRST, FIRST, first);
    pages_map(&p, SECOND, SECOND, second_state);
    store_le(word, value, 8);
    pair_put(&p, PHYSICAL + FIRST * PAGE_SIZE + AT, word, 8);
    store_le(word, second, 8);
    pair_put(&p, PHYSICAL + FIRST * PAGE_SIZE + AT + 8, word, 8);
    pair_set(&p, RBP, LINEAR + FIRST * PAGE_SIZE + AT);
    pair_set(&p, RDI, second);
    if (mode == MACHINE_USER64) /* else faults would go there */
        pair_set(&p, RSP, second);
    pair_set(&p, RCX, 0xfedcba9876543210);
    pair_set(&p, RDX, 0xffffffffffffffff);
    pair_set(&p, R9, 2);
    return pair_execute(&p, programs[program].bytes, programs[program].size);
}

static u64 address(unsigned page, unsigned offset)
{
    return LINEAR + page * PAGE_SIZE + offset;
}

/* Twice each: the second time blocks and tags are there. */
START_TEST(pages_of_all_kinds)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_USER64};
    unsigned faults = 0;

    for (unsigned n = 0; n < 2 * ARRAY_SIZE(states) * ARRAY_SIZE(states); n++)
        for (unsigned m = 0; m < 4; m++)
            faults += run((unsigned)_i, modes[m / 2], states[n / 2 % ARRAY_SIZE(states)],
                          states[n / 2 / ARRAY_SIZE(states)], n & 1 ? ~0ull : 1,
                          address(SECOND, AT)) == 14;
    ck_assert_uint_gt(faults, 0);
}
END_TEST

/* At the end of a page, across it, and where both operands are the same. */
START_TEST(places_of_all_kinds)
{
    static const unsigned offsets[] = {PAGE_SIZE - 8, PAGE_SIZE - 7, PAGE_SIZE - 1, PAGE_SIZE - 24,
                                       0};

    for (unsigned n = 0; n < 4 * ARRAY_SIZE(offsets); n++) {
        u64 value = n & 1 ? ~0ull : 1;

        run((unsigned)_i, MACHINE_USER64, states[0], states[0], value,
            address(SECOND, offsets[n / 4]));
        run((unsigned)_i, MACHINE_USER64, states[0], states[0], value,
            address(FIRST, AT - 4 + n % 4 * 4));
    }
}
END_TEST

/* The page of the store is absent, then comes, then the first one goes: each time the same block.
 */
START_TEST(a_page_comes_and_goes)
{
    for (unsigned n = 0; n < 64; n++)
        run((unsigned)_i, MACHINE_USER64, n % 7 == 3 ? 0 : states[n % 3], n % 3 ? states[n % 2] : 0,
            n % 5 ? ~0ull : 1, address(SECOND, AT));
}
END_TEST

int main(void)
{
    Suite *s = suite_create("hoist");
    TCase *c = tcase_create("hoist");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, pages_of_all_kinds, 0, ARRAY_SIZE(programs));
    tcase_add_loop_test(c, places_of_all_kinds, 0, ARRAY_SIZE(programs));
    tcase_add_loop_test(c, a_page_comes_and_goes, 0, ARRAY_SIZE(programs));
    suite_add_tcase(s, c);
    return suite_run(s);
}
