/* SPDX-License-Identifier: MIT
 *
 * Whether two outcomes of one case agree, and what differs in words.
 *
 * Nothing is masked silently: what manuals leave to the processor is a row of deviation.def, a
 * named set for a vendor with the manual's section; a difference that such a row explains is
 * counted under its name and shown in the report.
 */
#pragma once

#include <stdio.h>

#include "frontend/conform/case.h"

enum conform_deviation {
    DEVIATION_NONE, /* an unexplained difference */
#define DEVIATION(id, ...) DEVIATION_##id,
#include "frontend/conform/deviation.def"
#undef DEVIATION
    DEVIATION_COUNT
};

struct conform_deviation_info {
    const char *name;   /* "undefined-flags" */
    const char *vendor; /* "AMD", "Intel", "both", "host", "model", or an old processor */
    const char *source; /* manual and section */
    const char *what;   /* one sentence */
};
extern const struct conform_deviation_info conform_deviations[DEVIATION_COUNT];

/* What differs between two outcomes, coarse enough to count. */
enum conform_part {
    PART_GPR = 1u << 0,
    PART_FLAGS = 1u << 1,
    PART_RIP = 1u << 2,
    PART_SEGMENTS = 1u << 3,
    PART_VECTOR_REGS = 1u << 4,
    PART_OPMASK = 1u << 5,
    PART_X87 = 1u << 6,
    PART_MXCSR = 1u << 7,
    PART_MEMORY = 1u << 8,
    PART_EXCEPTION = 1u << 9, /* vector, error code or CR2 */
};

struct conform_difference {
    u32 parts;      /* enum conform_part; 0: they agree */
    u64 deviations; /* bit per enum conform_deviation that explained something */
    bool explained; /* all of it */
};

/* A set of deviations (bit per enum conform_deviation) that may explain differences. vendor: "AMD"
 * or "Intel" where the judge is of another vendor, family or age than the model the engine
 * promises: its rows, those of "both", "model" and "host". NULL where the judge is of that family:
 * only what the hypervisor or kernel did and what differs between the family's models ("model") is
 * excused, not a single undefined flag. */
u64 conform_deviation_set(const char *vendor);

/* Compares what the host did with what an engine did. allowed: the deviations that may explain
 * something. Two cases that both ran into a limit agree, as they were stopped anywhere. An outcome
 * OUTCOME_LOST or OUTCOME_SYSCALL of the host is no judgement and never explained. */
struct conform_difference conform_compare(const struct conform_case *c,
                                          const struct conform_outcome *host,
                                          const struct conform_outcome *engine, u64 allowed);
/* The case and the difference for a person: disassembly, registers in, and every register, flag,
 * line or exception that differs, host against engine, with the deviations that could explain it.
 */
void conform_explain(FILE *out, const struct conform_case *c, const struct conform_outcome *host,
                     const struct conform_outcome *engine);
