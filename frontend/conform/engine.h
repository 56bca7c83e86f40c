/* SPDX-License-Identifier: MIT
 *
 * Lockstep's engines as the accused: a CPU-only machine of the public library (include/lockstep.h)
 * whose page tables, GDT, LDT and IDT give user code the same view as the host's Linux gives the
 * native child. Every vector leads to a stub at CPL 0 that halts, so that exception delivery is
 * tested, too.
 */
#pragma once

#include "frontend/conform/case.h"
#include "mem/base/status.h"

struct engine;

/* JIT: as a person runs it, in real time. COUNTED: the translator's other flavour, whose blocks
 * count instructions; a machine of the public library has that one. */
enum conform_engine { CONFORM_INTERP, CONFORM_JIT, CONFORM_COUNTED, CONFORM_ENGINES };

/* "interp", "jit", "jit-counted". */
const char *conform_engine_name(enum conform_engine kind);
/* Whether this build has the engine. */
bool conform_engine_exists(enum conform_engine kind);

/* cpu: a -cpu argument ("" for max). Fails with a sentence for an unknown model or a missing
 * engine. CONFORM_JIT must be run by the thread that made it.
 */
MUST_USE enum status engine_create(struct engine **engine, enum conform_engine kind,
                                   const char *cpu, struct error *err);
void engine_destroy(struct engine *engine);

/* Runs one case. limit: most instructions; a case that reaches it ends with OUTCOME_NONE.
 * CONFORM_JIT does not count: there it is a tenth of a second of processor time. */
void engine_run(struct engine *engine, const struct conform_case *c, u64 limit,
                struct conform_outcome *outcome);
