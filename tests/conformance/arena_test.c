/* SPDX-License-Identifier: MIT */
#include "frontend/conform/arena.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(areas_lie_one_behind_the_other)
{
    u32 offset = 0;

    for (unsigned i = 0; i < ARENA_AREAS; i++) {
        const struct arena_area *a = &arena_areas[i];

        ck_assert_uint_eq(a->offset, offset);
        ck_assert_uint_eq(arena_address(offset), a->address);
        ck_assert_uint_eq(arena_address(offset + a->size - 1), a->address + a->size - 1);
        ck_assert_ptr_eq(arena_find(a->address), a);
        ck_assert_ptr_eq(arena_find(a->address + a->size - 1), a);
        ck_assert_ptr_null(arena_find(a->address - 1));
        ck_assert_ptr_null(arena_find(a->address + a->size));
        offset += a->size;
    }
    ck_assert_uint_eq(offset, ARENA_IMAGE_SIZE);
}
END_TEST

/* Vectors that were written once must mean the same for ever. */
START_TEST(the_pattern_is_fixed)
{
    static const u8 data[8] = {0xc2, 0x54, 0x3d, 0x7a, 0x56, 0xea, 0x27, 0xcb};
    u32 different = 0;

    for (u32 i = 0; i < sizeof(data); i++)
        ck_assert_uint_eq(conform_arena_byte(ARENA_DATA + i), data[i]);
    ck_assert_uint_eq(conform_arena_byte(ARENA_CODE), ARENA_INT3);
    ck_assert_uint_eq(conform_arena_byte(ARENA_CODE + ARENA_CODE_SIZE - 1), ARENA_INT3);
    for (u32 i = 0; i < 4096; i++)
        different += conform_arena_byte(ARENA_DATA + i) != conform_arena_byte(ARENA_STACK + i);
    ck_assert_uint_gt(different, 4000);
}
END_TEST

static u8 filled[ARENA_IMAGE_SIZE], image[ARENA_IMAGE_SIZE];
static struct conform_case c;
static struct conform_line lines[OUTCOME_LINES_MAX];

static void setup(void)
{
    memset(&c, 0, sizeof(c));
    arena_fill(filled);
    memcpy(image, filled, sizeof(image));
}

START_TEST(code_and_patches_are_put_and_taken_away)
{
    c.code_address = ARENA_CODE + ARENA_CODE_SIZE - 2; /* a third byte would be data */
    c.code_size = 3;
    memset(c.code, 0x90, 3);
    c.patch_count = 3;
    c.patch[0].address = ARENA_DATA + 4095; /* over the edge of a page */
    c.patch[1].address = ARENA_RO + 8;
    c.patch[2].address = 0x40000000; /* nowhere */
    for (unsigned i = 0; i < 3; i++) {
        c.patch[i].size = 2;
        c.patch[i].bytes[0] = (u8)(0x11 * (i + 1));
        c.patch[i].bytes[1] = (u8)(0x22 * (i + 1));
    }
    arena_apply(image, &c);
    ck_assert_uint_eq(image[ARENA_OFFSET_DATA - 1], 0x90);
    ck_assert_uint_eq(image[ARENA_OFFSET_DATA], filled[ARENA_OFFSET_DATA]);
    ck_assert_uint_eq(image[ARENA_OFFSET_DATA + 4095], 0x11);
    ck_assert_uint_eq(image[ARENA_OFFSET_DATA + 4096], 0x22);
    ck_assert_uint_eq(image[ARENA_OFFSET_RO + 8], 0x22);
    ck_assert_uint_eq(image[ARENA_OFFSET_RO + 9], 0x44);
    arena_undo(image, filled, &c);
    ck_assert_int_eq(memcmp(image, filled, sizeof(image)), 0);
}
END_TEST

START_TEST(changed_lines_are_listed_in_order)
{
    image[ARENA_OFFSET_STACK] ^= 1;
    image[ARENA_OFFSET_DATA + 63] ^= 1;
    image[ARENA_OFFSET_DATA + 64] ^= 1;
    ck_assert_uint_eq(arena_changes(filled, image, lines), 3);
    ck_assert_uint_eq(lines[0].address, ARENA_DATA);
    ck_assert_uint_eq(lines[0].bytes[63], image[ARENA_OFFSET_DATA + 63]);
    ck_assert_uint_eq(lines[1].address, ARENA_DATA + 64);
    ck_assert_uint_eq(lines[2].address, ARENA_STACK);
    ck_assert_uint_eq(arena_changes(image, image, lines), 0);
}
END_TEST

START_TEST(too_many_lines_are_counted_as_one_more_than_fit)
{
    for (u32 i = 0; i < OUTCOME_LINES_MAX; i++)
        image[i * ARENA_LINE] ^= 1;
    ck_assert_uint_eq(arena_changes(filled, image, lines), OUTCOME_LINES_MAX);
    image[ARENA_IMAGE_SIZE - 1] ^= 1;
    ck_assert_uint_eq(arena_changes(filled, image, lines), OUTCOME_LINES_MAX + 1);
}
END_TEST

START_TEST(a_line_as_the_case_starts_with_it_and_leaves_it)
{
    static struct conform_outcome o;
    u8 line[ARENA_LINE];

    c.code_address = ARENA_CODE + 60;
    c.code_size = 8;
    memset(c.code, 0x90, 8);
    c.patch_count = 2;
    c.patch[0].address = ARENA_DATA + 4096 - 2;
    c.patch[0].size = 4;
    c.patch[1].address = ARENA_STACK + ARENA_STACK_SIZE - 1;
    c.patch[1].size = 64;
    arena_apply(image, &c);
    for (u32 offset = 0; offset < ARENA_IMAGE_SIZE; offset += ARENA_LINE) {
        arena_line(&c, arena_address(offset), line);
        ck_assert_mem_eq(line, image + offset, ARENA_LINE);
        arena_line_after(&c, &o, arena_address(offset), line);
        ck_assert_mem_eq(line, image + offset, ARENA_LINE);
    }
    o.line_count = 1;
    o.line[0].address = ARENA_RO;
    arena_line_after(&c, &o, ARENA_RO, line);
    ck_assert_mem_eq(line, o.line[0].bytes, ARENA_LINE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("arena");
    TCase *t = tcase_create("arena");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_checked_fixture(t, setup, NULL);
    tcase_add_test(t, areas_lie_one_behind_the_other);
    tcase_add_test(t, the_pattern_is_fixed);
    tcase_add_test(t, code_and_patches_are_put_and_taken_away);
    tcase_add_test(t, changed_lines_are_listed_in_order);
    tcase_add_test(t, too_many_lines_are_counted_as_one_more_than_fit);
    tcase_add_test(t, a_line_as_the_case_starts_with_it_and_leaves_it);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
