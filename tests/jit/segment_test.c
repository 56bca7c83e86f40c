/* SPDX-License-Identifier: MIT
 *
 * FS and GS in translated 32-bit code: bases, limits, types, and segments that change while code is
 * translated already.
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

static void set_segment(enum seg seg, u32 base, u32 limit, u32 attr)
{
    struct segment s = {.selector = SEL_FREE, .base = base, .limit = limit, .attr = attr};

    pair.interp.v->seg[seg] = pair.jit.v->seg[seg] = s;
}

enum { DATA = ATTR_P | ATTR_S | ATTR_WRITE | ATTR_ACCESSED | ATTR_DB };

/* mov eax, gs:[ecx]; mov gs:[ecx + 4], eax; add dword fs:[ecx + edx * 4], 3; push gs:[ecx];
 * mov al, fs:[10h] */
static const u8 accesses[] = {0x65, 0x8b, 0x01, 0x65, 0x89, 0x41, 0x04, 0x64, 0x83, 0x04, 0x91,
                              0x03, 0x65, 0xff, 0x31, 0x64, 0xa0, 0x10, 0x00, 0x00, 0x00};

static int run_one(enum machine_mode mode, u64 seed)
{
    static const u32 attrs[] = {DATA,
                                DATA & ~(u32)ATTR_WRITE,
                                DATA | ATTR_EXPAND_DOWN,
                                DATA | ATTR_CODE,
                                (DATA | ATTR_CODE) & ~(u32)ATTR_WRITE,
                                DATA | ATTR_NULL};
    static const u32 limits[] = {0xffffffff, 0xfff, 0x1003, 0x2fff, 0};
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 3};

    state_random(&pair, mode, &d);
    pair_set(&pair, RDX, dice_below(&d, 4));
    pair_set(&pair, RCX,
             dice_below(&d, 3) ? 0x1000 - 12 + dice_below(&d, 16) : (u32)(0 - dice_below(&d, 16)));
    for (enum seg seg = SEG_FS; seg <= SEG_GS; seg++)
        set_segment(seg, (u32)(STATE_DATA + dice_below(&d, 2) * PAGE_SIZE),
                    limits[dice_below(&d, ARRAY_SIZE(limits))],
                    attrs[dice_below(&d, 3) ? 0 : dice_below(&d, ARRAY_SIZE(attrs))]);
    return pair_execute(&pair, accesses, sizeof(accesses));
}

START_TEST(random_segments)
{
    static const enum machine_mode modes[] = {MACHINE_COMPAT, MACHINE_PROT32};
    unsigned faults = 0, passes = 0;

    for (u64 n = 0; n < 500; n++) {
        int vector = run_one(modes[_i], n);

        faults += vector == VEC_GP;
        passes += vector == -1;
    }
    ck_assert_uint_gt(faults, 20);
    ck_assert_uint_gt(passes, 20);
}
END_TEST

START_TEST(permitted_accesses_are_inline)
{
    struct dice d = {9};
    u64 before;

    state_random(&pair, MACHINE_COMPAT, &d);
    set_segment(SEG_FS, STATE_DATA, 0xfff, DATA);
    set_segment(SEG_GS, STATE_DATA + 0x100, 0xffffffff, DATA);
    pair_set(&pair, RCX, 0x20);
    pair_set(&pair, RDX, 1);
    before = pair_stats(&pair).interpreted;
    ck_assert_int_eq(pair_execute(&pair, accesses, sizeof(accesses)), -1);
    ck_assert_uint_eq(state_calls(&pair, &before), 1);
}
END_TEST

/* The same block before and after FS is loaded with another descriptor. */
START_TEST(loaded_segment_counts_at_once)
{
    const u8 code[] = {0xb9, 0x02,     0x00, 0x00, 0x00,    /* mov ecx, 2 */
                       0x64, 0xa1,     0x10, 0,    0,    0, /* again: mov eax, fs:[10h] */
                       0x01, 0xc3,                          /* add ebx, eax */
                       0xba, SEL_FREE, 0,    0,    0,       /* mov edx, SEL_FREE */
                       0x8e, 0xe2,                          /* mov fs, edx */
                       0xe2, 0xef};                         /* loop again */
    struct dice d = {9};

    state_random(&pair, MACHINE_PROT32, &d);
    pair_set(&pair, RBX, 0);
    set_segment(SEG_FS, STATE_DATA, 0xfff, DATA);
    machine_descriptor(&pair.interp, SEL_FREE, STATE_DATA + 0x1000, 0xf, DATA);
    machine_descriptor(&pair.jit, SEL_FREE, STATE_DATA + 0x1000, 0xf, DATA);
    ck_assert_int_eq(pair_execute(&pair, code, sizeof(code)), VEC_GP);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("segment");
    TCase *c = tcase_create("segment");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, random_segments, 0, 2);
    tcase_add_test(c, permitted_accesses_are_inline);
    tcase_add_test(c, loaded_segment_counts_at_once);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
