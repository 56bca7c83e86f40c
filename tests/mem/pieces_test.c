/* SPDX-License-Identifier: MIT
 *
 * Copies from and to guest memory: every size at every alignment, and nothing around it. That no
 * byte is stored twice is seen by two processors only: tests/guest/stores.c.
 */
#include <check.h>
#include <string.h>

#include "mem/base/pieces.h"
#include "tests/suite.h"

enum { SIZE_MAX_TESTED = 80, ALIGNMENTS = 32, AREA = 160 };

static u8 from[AREA] __attribute__((aligned(64))), to[AREA] __attribute__((aligned(64)));

static void prepare(void)
{
    for (unsigned n = 0; n < AREA; n++)
        from[n] = (u8)(n + 1);
    memset(to, 0xee, sizeof(to));
}

static void compare(unsigned source, unsigned target, unsigned size)
{
    u8 want[AREA];

    memset(want, 0xee, sizeof(want));
    for (unsigned n = 0; n < size; n++)
        want[target + n] = from[source + n];
    ck_assert_msg(!memcmp(to, want, AREA), "%u bytes from %u to %u", size, source, target);
}

START_TEST(every_size_at_every_alignment)
{
    for (unsigned size = 0; size <= SIZE_MAX_TESTED; size++)
        for (unsigned source = 0; source < ALIGNMENTS; source++)
            for (unsigned target = 0; target < ALIGNMENTS; target += 3) {
                prepare();
                copy_from_guest(to + target, from + source, size);
                compare(source, target, size);
                prepare();
                copy_to_guest(to + target, from + source, size);
                compare(source, target, size);
            }
}
END_TEST

START_TEST(a_piece_is_aligned_and_fits)
{
    for (u64 address = 0; address < ALIGNMENTS; address++)
        for (u64 size = 1; size <= SIZE_MAX_TESTED; size++) {
            unsigned n = natural_piece(address, size);

            ck_assert(is_access_size(n) && n <= size && address % n == 0);
            ck_assert(n == 8 || 2 * n > size || address % (2 * n) != 0);
        }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pieces");
    TCase *tcase = tcase_create("pieces");

    tcase_add_test(tcase, every_size_at_every_alignment);
    tcase_add_test(tcase, a_piece_is_aligned_and_fits);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
