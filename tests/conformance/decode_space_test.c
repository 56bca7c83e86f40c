/* SPDX-License-Identifier: MIT
 *
 * The byte strings of `conform decode`: nothing is left out, and a slice is a slice.
 */
#include "frontend/conform/decode_space.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suite.h"

struct seen {
    u64 count;
    bool modrm[3][256];  /* of opcode 01h without prefixes, by mode */
    bool opcode[3][256]; /* one-byte opcodes without prefixes */
    unsigned stop_after;
};

static bool visit(void *opaque, unsigned code_size, const u8 bytes[SPACE_BYTES])
{
    struct seen *s = opaque;
    unsigned mode = code_size == 8 ? 2 : code_size == 4;

    s->count++;
    s->opcode[mode][bytes[0]] = true;
    if (bytes[0] == 0x01)
        s->modrm[mode][bytes[1]] = true;
    return !s->stop_after || s->count < s->stop_after;
}

START_TEST(every_opcode_and_modrm_byte_is_visited)
{
    struct seen *s = calloc(1, sizeof(*s));

    for (unsigned unit = 0; unit < 256 * SPACE_MODES; unit++)
        ck_assert(space_unit(unit, 1, visit, s));
    for (unsigned mode = 0; mode < 3; mode++)
        for (unsigned n = 0; n < 256; n++)
            ck_assert_msg(s->opcode[mode][n] && s->modrm[mode][n], "mode %u, %02x", mode, n);
    free(s);
}
END_TEST

START_TEST(a_slice_is_a_part_and_an_end_is_obeyed)
{
    struct seen all = {0}, part = {0}, ended = {.stop_after = 5};

    for (unsigned unit = 0; unit < SPACE_UNITS; unit += 257) {
        ck_assert(space_unit(unit, 1, visit, &all));
        ck_assert(space_unit(unit, 10, visit, &part));
    }
    ck_assert_uint_ge(part.count, all.count / 10 - 100);
    ck_assert_uint_le(part.count, all.count / 10 + 100);
    ck_assert(!space_unit(0, 1, visit, &ended));
    ck_assert_uint_eq(ended.count, 5);
}
END_TEST

START_TEST(random_strings_repeat_with_their_seed)
{
    u64 seed_a = 5, seed_b = 5, seed_c = 6;
    u8 a[SPACE_BYTES], b[SPACE_BYTES], c[SPACE_BYTES];
    unsigned size_a, size_b, size_c, different = 0, modes = 0;

    for (unsigned n = 0; n < 1000; n++) {
        space_random(&seed_a, &size_a, a);
        space_random(&seed_b, &size_b, b);
        space_random(&seed_c, &size_c, c);
        ck_assert_uint_eq(size_a, size_b);
        ck_assert_mem_eq(a, b, sizeof(a));
        different += memcmp(a, c, sizeof(a)) != 0;
        modes |= size_a;
    }
    ck_assert_uint_ge(different, 990);
    ck_assert_uint_eq(modes, 2 | 4 | 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("decode_space");
    TCase *t = tcase_create("decode_space");

    tcase_add_test(t, every_opcode_and_modrm_byte_is_visited);
    tcase_add_test(t, a_slice_is_a_part_and_an_end_is_obeyed);
    tcase_add_test(t, random_strings_repeat_with_their_seed);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
