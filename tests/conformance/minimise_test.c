/* SPDX-License-Identifier: MIT
 *
 * What is left of a case when all that does not matter is gone.
 */
#include "frontend/conform/minimise.h"

#include <check.h>
#include <stdlib.h>

#include "cpu/insn.h"
#include "tests/conformance/hand_made.h"

static struct conform_case c;
static unsigned calls;

/* A case full of state that could matter. */
static void fill(void)
{
    HAND_MADE(&c, MODE_64, 0x48, 0x01, 0xd8, 0x90, 0x48, 0x29, 0xc8);
    c.row = INSN_ADD_EvGv;
    calls = 0;
    for (unsigned n = 0; n < 16; n++)
        c.in.gpr[n] = 0x1122334455667700 + n;
    memset(c.in.zmm, 0x5a, sizeof(c.in.zmm));
    memset(c.in.k, 0x11, sizeof(c.in.k));
    memset(c.in.x87 + 32, 0x3f, 128);
    c.in.rflags |= F_OSZAPC | F_DF;
    c.in.mxcsr = 0x7f80;
    c.patch_count = 3;
    for (unsigned n = 0; n < 3; n++)
        c.patch[n] = (struct conform_patch){ARENA_DATA + n * 128, 4, {(u8)(n + 1), 2, 3, 4}};
}

static bool carry_and_rbx(void *opaque, const struct conform_case *next)
{
    (void)opaque;
    calls++;
    return (next->in.rflags & F_CF) && (next->in.gpr[RBX] & 0xffff) == 0x7703;
}

static bool second_patch_and_one_lane(void *opaque, const struct conform_case *next)
{
    bool patch = false;

    (void)opaque;
    for (unsigned n = 0; n < next->patch_count; n++)
        patch |= next->patch[n].bytes[0] == 2;
    return patch && next->in.zmm[7][3] == 0x5a;
}

static bool last_instruction(void *opaque, const struct conform_case *next)
{
    (void)opaque;
    return next->code[4] == 0x48 && next->code[5] == 0x29 && next->code[6] == 0xc8;
}

static bool never(void *opaque, const struct conform_case *next)
{
    (void)opaque;
    (void)next;
    calls++;
    return false;
}

START_TEST(only_what_matters_stays)
{
    fill();
    minimise_case(&c, carry_and_rbx, NULL, 10000);
    ck_assert_uint_eq(c.in.rflags, F_1 | F_IF | F_CF);
    ck_assert_uint_eq(c.in.gpr[RBX], 0x7703);
    ck_assert_uint_eq(c.in.gpr[RAX], 0);
    ck_assert_uint_eq(c.in.gpr[R15], 0);
    ck_assert_uint_eq(c.patch_count, 0);
    ck_assert_uint_eq(c.in.zmm[5][9], 0);
    ck_assert_uint_eq(c.in.k[2], 0);
    ck_assert_uint_eq(c.in.mxcsr, 0x1f80);
    ck_assert_uint_eq(c.in.x87[40], 0);
    ck_assert_uint_eq(c.code[0], 0x48); /* a single instruction stays as it is */
}
END_TEST

START_TEST(one_patch_and_one_lane_stay)
{
    fill();
    minimise_case(&c, second_patch_and_one_lane, NULL, 10000);
    ck_assert_uint_eq(c.patch_count, 1);
    ck_assert_uint_eq(c.patch[0].address, ARENA_DATA + 128);
    for (unsigned at = 0; at < 64; at++)
        ck_assert_uint_eq(c.in.zmm[7][at], at < 8 ? 0x5a : 0);
    ck_assert_uint_eq(c.in.zmm[6][3], 0);
}
END_TEST

START_TEST(instructions_of_a_sequence_become_nops)
{
    static const u8 want[] = {0x90, 0x90, 0x90, 0x90, 0x48, 0x29, 0xc8};

    fill();
    c.row = INSN_INVALID;
    minimise_case(&c, last_instruction, NULL, 10000);
    ck_assert_mem_eq(c.code, want, sizeof(want));
}
END_TEST

START_TEST(a_case_that_cannot_shrink_is_left_alone_within_the_tries)
{
    struct conform_case before;

    fill();
    before = c;
    minimise_case(&c, never, NULL, 20);
    ck_assert_mem_eq(&c, &before, sizeof(c));
    ck_assert_uint_eq(calls, 20);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance/minimise");
    TCase *t = tcase_create("cases");
    SRunner *r = srunner_create(s);
    int failed;

    tcase_add_test(t, only_what_matters_stays);
    tcase_add_test(t, one_patch_and_one_lane_stay);
    tcase_add_test(t, instructions_of_a_sequence_become_nops);
    tcase_add_test(t, a_case_that_cannot_shrink_is_left_alone_within_the_tries);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
