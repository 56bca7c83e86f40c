/* SPDX-License-Identifier: MIT */
#include "frontend/conform/conform.h"

#include <check.h>
#include <stdlib.h>

START_TEST(help_is_no_error_and_nonsense_is)
{
    char conform[] = "conform", help[] = "--help", nonsense[] = "nonsense";

    ck_assert_int_eq(conform_main(2, (char *[]){conform, help, NULL}), CONFORM_OK);
    ck_assert_int_eq(conform_main(1, (char *[]){conform, NULL}), CONFORM_USAGE);
    ck_assert_int_eq(conform_main(2, (char *[]){conform, nonsense, NULL}), CONFORM_USAGE);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conform");
    TCase *t = tcase_create("conform");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_add_test(t, help_is_no_error_and_nonsense_is);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
