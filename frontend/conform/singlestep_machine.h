/* SPDX-License-Identifier: MIT
 *
 * A processor in real mode with RAM and nothing else, which runs one SingleStepTest at a time.
 */
#pragma once

#include "frontend/conform/singlestep.h"

enum {
    SINGLESTEP_REACH = 0x110000, /* what real mode can address, in whole pages */
    SINGLESTEP_DIFFS_MAX = 64,
};

/* A byte of memory that is not as the test expects. */
struct singlestep_diff {
    u32 address;
    u8 expected, actual;
};

struct singlestep_outcome {
    u32 value[SSR_COUNT];
    bool halted;   /* the instruction was a HLT */
    bool shutdown; /* triple fault */
    int vector;    /* of an exception or software interrupt that was taken, or -1 */
    u32 diff_count;
    struct singlestep_diff diff[SINGLESTEP_DIFFS_MAX];
};

struct singlestep_machine;

MUST_USE enum status singlestep_machine_create(struct singlestep_machine **m,
                                               enum conform_engine kind, struct error *err);
void singlestep_machine_destroy(struct singlestep_machine *m);
/* Runs the instruction of a test, up to where the suite's processor stopped: the next instruction,
 * or the first of a handler. Memory is compared with what the test expects. */
void singlestep_machine_run(struct singlestep_machine *m, enum singlestep_cpu cpu,
                            const struct singlestep_test *t, struct singlestep_outcome *o);
