/* SPDX-License-Identifier: MIT
 *
 * Takes out of a case what has no part in its outcome, so that a person can read its vector.
 */
#pragma once

#include "frontend/conform/native.h"

/* Most cases in a batch that reduction gives to the host. */
enum { REDUCE_BATCH = 96 };

/* Gives registers that the case does not need their default value (vectors_default_state()) and
 * follows the outcome, by running the case on the host without each. Nothing else of the outcome
 * changes. host: made for batches of at least REDUCE_BATCH. */
MUST_USE enum status reduce_case(struct native_host *host, struct conform_case *c,
                                 struct conform_outcome *o, struct error *err);
