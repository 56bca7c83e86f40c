/* SPDX-License-Identifier: MIT
 *
 * The reader of the guests' reports, and a guest that is none.
 */
#include "frontend/conform/system_run.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "tests/suite.h"

static struct system_report read_report(const char *text, size_t step)
{
    struct system_report r = {0};

    for (size_t at = 0; at < strlen(text); at += step) {
        size_t left = strlen(text) - at;

        system_report_receive(&r, (const u8 *)text + at, left < step ? left : step);
    }
    return r;
}

START_TEST(lines_are_counted_however_they_arrive)
{
    static const char text[] =
        "PASS one (80000000)\r\nFAIL two: got 1 expected 2\nSKIP three: why\n"
        "noise\n\nPASSED is no word\nPASS four (12 cases)\nDONE\n";

    for (size_t step = 1; step < 20; step++) {
        struct system_report r = read_report(text, step);

        ck_assert_uint_eq(r.passed, 2);
        ck_assert_uint_eq(r.cases, 13);
        ck_assert_uint_eq(r.failed, 1);
        ck_assert_uint_eq(r.skipped, 1);
        ck_assert(r.done && !system_report_good(&r));
        ck_assert_str_eq(r.lines, "FAIL two: got 1 expected 2\nSKIP three: why\nnoise\n"
                                  "PASSED is no word\n");
        system_report_free(&r);
    }
}
END_TEST

START_TEST(only_a_complete_report_without_failure_is_good)
{
    struct system_report r = read_report("PASS one\nDONE\n", 3);

    ck_assert(system_report_good(&r));
    strcpy(r.ended, "triple fault");
    ck_assert(!system_report_good(&r));
    r = read_report("PASS one\n", 3);
    ck_assert(!system_report_good(&r));
    r = read_report("PASS one\nDONE", 3); /* cut in the middle of a line */
    ck_assert(!system_report_good(&r));
}
END_TEST

START_TEST(lines_without_end_do_no_harm)
{
    struct system_report r = {0};

    for (unsigned n = 0; n < 3000; n++)
        system_report_receive(&r, (const u8 *)"x", 1);
    system_report_receive(&r, (const u8 *)"\n", 1);
    ck_assert_uint_lt(r.size, 513);
    system_report_free(&r);
}
END_TEST

/* A multiboot image whose code is given: starts at 1 MiB, in 32-bit protected mode. */
static struct system_image multiboot(u8 image[64], const char *code, size_t size)
{
    static const u32 header[] = {0x1badb002, 0x10000,  (u32) - (0x1badb002 + 0x10000),
                                 0x100000,   0x100000, 0x100040,
                                 0x100040,   0x100020};

    memset(image, 0xf4, 64);
    memcpy(image, header, sizeof(header));
    memcpy(image + 32, code, size);
    return (struct system_image){.name = "test",
                                 .cpu = "max",
                                 .append = "",
                                 .seconds = 5,
                                 .begin = image,
                                 .end = image + 64};
}

static const struct {
    const char *code, *ended;
    size_t size;
} ends[] = {
    {"\x66\xba\xf4\x00\xb0\x10\xee\xf4", "", 8},               /* out F4h, 10h: status 33 */
    {"\x66\xba\xf4\x00\xb0\x11\xee\xf4", "exit status 35", 8}, /* 11h */
    {"\xfa\xf4", "halted for good", 2},
    {"\x0f\x0b", "triple fault", 2},
};

START_TEST(ends_are_told_apart)
{
    struct system_report r;
    struct error err;
    u8 bytes[64];
    struct system_image image = multiboot(bytes, ends[_i].code, ends[_i].size);

    ck_assert_msg(system_run(&image, LOCKSTEP_ENGINE_INTERPRETER, NULL, &r, &err) == ST_OK, "%s",
                  err.text);
    ck_assert_int_eq(strncmp(r.ended, ends[_i].ended, strlen(ends[_i].ended)), 0);
    ck_assert(ends[_i].ended[0] ? r.ended[0] != 0 : r.ended[0] == 0);
    ck_assert(!system_report_good(&r));
    system_report_free(&r);
}
END_TEST

START_TEST(a_loop_ends_by_time)
{
    struct system_report r;
    struct error err;
    u8 bytes[64];
    struct system_image image = multiboot(bytes, "\xeb\xfe", 2);

    image.seconds = 1;
    ck_assert_int_eq(system_run(&image, LOCKSTEP_ENGINE_INTERPRETER, NULL, &r, &err), ST_OK);
    ck_assert_int_eq(strncmp(r.ended, "no end after 1 s", 16), 0);
    system_report_free(&r);
}
END_TEST

START_TEST(images_are_in_the_program)
{
    struct system_report r;
    struct error err;

    ck_assert_uint_ge(system_image_count, 13);
    for (unsigned n = 0; n < system_image_count; n++)
        ck_assert_int_eq(memcmp(system_images[n].begin, "\177ELF", 4), 0);
    ck_assert_int_ne(
        system_run(&system_images[0], LOCKSTEP_ENGINE_INTERPRETER, "nonsense", &r, &err), ST_OK);
    ck_assert_ptr_nonnull(strstr(err.text, "nonsense"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("system_run");
    TCase *t = tcase_create("system_run");

    tcase_set_timeout(t, 30);
    tcase_add_test(t, lines_are_counted_however_they_arrive);
    tcase_add_test(t, only_a_complete_report_without_failure_is_good);
    tcase_add_test(t, lines_without_end_do_no_harm);
    tcase_add_loop_test(t, ends_are_told_apart, 0, ARRAY_SIZE(ends));
    tcase_add_test(t, a_loop_ends_by_time);
    tcase_add_test(t, images_are_in_the_program);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
