/* SPDX-License-Identifier: MIT
 *
 * Makes a case that shows a difference as small as it gets: whatever can go while the difference
 * stays is dropped, zeroed or made simple.
 */
#pragma once

#include "frontend/conform/case.h"
#include "mem/base/types.h"

/* Whether a changed case still shows the difference. */
typedef bool minimise_test(void *opaque, const struct conform_case *c);

/* *c shows it before and after. At most tries calls of test. */
void minimise_case(struct conform_case *c, minimise_test *test, void *opaque, unsigned tries);
