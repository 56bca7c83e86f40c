/* SPDX-License-Identifier: MIT
 *
 * Vector files of any kind against an engine or this host: counts, first differences, and the
 * sentence for a file that cannot be used.
 */
#pragma once

#include "cpu/cpuid.h"
#include "frontend/conform/compare.h"
#include "frontend/conform/engine.h"
#include "frontend/conform/native.h"
#include "frontend/conform/singlestep_judge.h"

enum { CHECK_BATCH = 64 };

struct check_options {
    enum conform_engine kind;
    bool native;               /* against this host instead of an engine */
    const char *cpu;           /* -cpu of the engine */
    enum singlestep_cpu suite; /* processor of SingleStepTests; SINGLESTEP_CPUS: by the file */
    unsigned shown;            /* most differences of a file that are explained */
};

struct check_counts {
    u64 vectors, passed, explained, different, lacking, revoked;
    u64 deviations[DEVIATION_COUNT];
};

struct checker {
    struct check_options options;
    FILE *out;
    struct check_counts file, all;
    u64 files, unusable;
    u64 allowed;            /* deviations that may explain the file's vectors */
    struct cpu_model model; /* what can be run */
    u64 xcr0;               /* the host's, as far as Lockstep knows its components; --native */
    char lacks[32];         /* the last thing that lacks() found */
    struct engine *engine;
    struct native_host *host;
    struct singlestep_machine *machine; /* made for the first SingleStepTest */
};

/* Makes the engine or the host's child. Results go to out, sentences to standard error. */
MUST_USE enum status checker_create(struct checker **c, const struct check_options *options,
                                    FILE *out, struct error *err);
void checker_destroy(struct checker *c);
/* Checks one file; a file that cannot be used is named on standard error and counted. */
void checker_file(struct checker *c, const char *path);
/* The sums, after the last file. */
void checker_summary(const struct checker *c);
