/* SPDX-License-Identifier: MIT
 *
 * How every test program ends.
 */
#pragma once

#include <check.h>
#include <stdlib.h>

/* Runs a suite, prints what failed (CK_RUN_CASE, CK_FORK and CK_VERBOSITY as in libcheck's manual)
 * and frees it. Returns the exit status of the program. */
static inline int suite_run(Suite *suite)
{
    SRunner *runner = srunner_create(suite);
    int failed;

    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
