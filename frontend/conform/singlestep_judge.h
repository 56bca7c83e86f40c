/* SPDX-License-Identifier: MIT
 *
 * Whether the engine did what the machine of a SingleStepTest did, and which known difference of
 * the old processor explains it where not.
 */
#pragma once

#include <stdio.h>

#include "frontend/conform/singlestep_machine.h"

struct singlestep_verdict {
    bool agree;     /* nothing differs */
    bool explained; /* all that differs is a deviation's */
    u64 deviations; /* bit per enum conform_deviation that explained something */
};

struct singlestep_verdict singlestep_judge(enum singlestep_cpu cpu, const struct singlestep_test *t,
                                           const struct singlestep_outcome *o);
/* The test and all that differs, for a person. */
void singlestep_explain(FILE *out, enum singlestep_cpu cpu, const struct singlestep_test *t,
                        const struct singlestep_outcome *o);
