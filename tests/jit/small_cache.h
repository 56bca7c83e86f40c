/* SPDX-License-Identifier: MIT
 *
 * A processor with the smallest code cache, made and unmade around each test.
 */
#pragma once

#include <check.h>

#include "jit/internal.h"
#include "tests/cpu/machine.h"

static struct machine m;
static struct jit *j;

static inline void setup(void)
{
    const struct jit_options options = {
        .optimisations = JIT_ALL, .counted = true, .cache_size = JIT_CACHE_MIN};
    struct error err;

    machine_create(&m);
    ck_assert_msg(!jit_create(m.v, &options, &err), "%s", err.text);
    j = m.v->jit.owner;
}

static inline void teardown(void)
{
    jit_destroy(m.v);
    machine_destroy(&m);
}
