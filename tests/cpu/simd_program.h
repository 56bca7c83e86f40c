/* SPDX-License-Identifier: MIT
 *
 * What the programs that judge AVX and AVX-512 rows share: one machine per test with the host as
 * oracle (simd_edge.h), code run in any mode, and the suite.
 */
#pragma once

#include <check.h>

#include "tests/cpu/simd_edge.h"
#include "tests/suite.h"

static struct simd_edge edge;
static u64 simd_seed;

static inline void simd_setup(void)
{
    edge_create(&edge);
    edge.o.seed ^= simd_seed << 8;
}

static inline void simd_teardown(void)
{
    edge_destroy(&edge);
}

static inline struct vcpu *start(enum machine_mode mode)
{
    machine_start(&edge.o.m, mode);
    edge.o.m.v->gpr[RDI] = MACHINE_DATA;
    return edge.o.m.v;
}

#define RUN(...) MACHINE_EXECUTE(&edge.o.m, __VA_ARGS__)

/* Runs the tests; text is the number that seeds their operands. Returns the exit status. */
static inline int simd_program(const char *name, const TTest *const *tests, unsigned count,
                               const char *text)
{
    Suite *suite = suite_create(name);
    TCase *tcase = tcase_create(name);

    simd_seed = strtoull(text, NULL, 0);
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, simd_setup, simd_teardown);
    tcase_set_timeout(tcase, 100);
    for (unsigned n = 0; n < count; n++)
        tcase_add_test(tcase, tests[n]);
    return suite_run(suite);
}
