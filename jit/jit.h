/* SPDX-License-Identifier: MIT
 *
 * The translator: guest blocks to host code, and the engine that runs them.
 *
 * Code the translator does not know calls the interpreter's body for that one instruction; whole
 * modes it does not know (alignment checks, single steps) run in the interpreter. So coverage is
 * complete, and what is executed is always the same.
 */
#pragma once

#include "cpu/engine.h"
#include "mem/base/status.h"

struct jit;

/* Optimisations, and what of the host is used: each has a switch (optimisation.def). */
enum jit_optimisation_index {
#define OPTIMISATION(id, name, what) JIT_INDEX_##id,
#include "jit/optimisation.def"
#undef OPTIMISATION
    JIT_OPTIMISATIONS
};
enum jit_optimisation {
#define OPTIMISATION(id, name, what) JIT_##id = 1ull << JIT_INDEX_##id,
#include "jit/optimisation.def"
#undef OPTIMISATION
    JIT_ALL = (1ull << JIT_OPTIMISATIONS) - 1
};

/* What -jit help says of each, by index. */
struct jit_optimisation_info {
    const char *name, *what;
};
extern const struct jit_optimisation_info jit_optimisation_info[JIT_OPTIMISATIONS];

/* One instruction in code of code_size (2, 4, 8) as text. Returns its length; 0: none is known. */
typedef unsigned jit_disassemble_fn(unsigned code_size, const u8 *code, size_t size, u64 address,
                                    char *text, size_t text_size);

struct jit_options {
    u64 optimisations; /* enum jit_optimisation */
    bool counted;      /* exact instruction counts: budgets end where they say */
    bool sole;         /* the guest has no other vCPU, and the process no other purpose */
    u64 cache_size;    /* bytes of code, 0: the default */
    bool listed;       /* for tests: all instructions of blocks are kept */
    bool eager;        /* for tests: each place that code is entered at counts as hot */
    /* Everything twice, here and in the interpreter, and compared (check.h). A budget of 0 is none
     * then, unless the guest is counted. */
    bool check;
    jit_disassemble_fn *disassemble; /* for traces; NULL: bytes */
};

enum { JIT_CACHE_MIN = 256 << 10, JIT_CACHE_DEFAULT = 64 << 20 };

/* Makes the translator of one vCPU and attaches it (v->jit.owner). Fails with a sentence where the
 * host allows no executable memory or lacks what translated code needs. */
MUST_USE enum status jit_create(struct vcpu *v, const struct jit_options *options,
                                struct error *err);
void jit_destroy(struct vcpu *v);

/* The engine. Without options.counted the budget is not looked at: EVENT_STOP ends a run. */
engine_fn jit_run;

struct jit_stats {
    u64 blocks;        /* translated */
    u64 code_bytes;    /* written */
    u64 flushes;       /* of the whole cache */
    u64 evictions;     /* of a region of it */
    u64 revived;       /* blocks that were found again */
    u64 interpreted;   /* calls of a body from translated code */
    u64 misses;        /* of the inline TLB check */
    u64 probes;        /* of these, found in the second level at once */
    u64 sites;         /* accesses that are to ask the TLB, as they met too many pages */
    u64 window_misses; /* accesses that met no page in the window */
    u64 window_fills;  /* mappings made there */
    u64 window_drops;  /* times that all of them went */
    u64 stays;         /* next blocks found by what translated code calls */
    u64 lookups;       /* leaving translated code to find the next block */
    u64 checked;       /* stretches compared by -engine check */
};
void jit_stats(const struct vcpu *v, struct jit_stats *stats);
/* Which instructions went through a call, how often; most frequent first. */
void jit_print_calls(const struct vcpu *v, FILE *out);
