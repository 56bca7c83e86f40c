/* SPDX-License-Identifier: MIT
 *
 * The translator: guest blocks to host code, and the engine that runs them.
 *
 * Code the translator does not know calls the interpreter's body for that one instruction; whole
 * modes it does not know (16-bit code, segments that are not flat, alignment checks, single steps)
 * run in the interpreter. So coverage is complete, and what is executed is always the same.
 */
#pragma once

#include "cpu/engine.h"
#include "mem/base/status.h"

struct jit;

/* Optimisations that -jit no-NAME switches off, to measure or to bisect. */
enum jit_optimisation {
    JIT_LINK = 1u << 0,     /* link: jumps go straight to the next block */
    JIT_INDIRECT = 1u << 1, /* indirect: indirect jumps and returns look their target up inline */
    JIT_MEMORY = 1u << 2,   /* memory: loads and stores inline, else by the interpreter's body */
    JIT_SIMD = 1u << 3,     /* simd: SSE to AVX-512 as they are, in the host's registers */
    JIT_EXTEND = 1u << 4,   /* extend: blocks go on behind conditional jumps */
    JIT_COALESCE = 1u << 5, /* coalesce: one check for accesses that differ by a constant */
    JIT_RECIPE = 1u << 6, /* recipe: flags are made again where that is cheaper than keeping them */
    /* What of the host is used; without, as on a host that lacks it. */
    JIT_FSGSBASE = 1u << 7, /* fsgsbase: else a system call sets the segment base */
    JIT_AVX = 1u << 8,      /* avx */
    JIT_AVX512 = 1u << 9,   /* avx512 */
    JIT_XSAVE = 1u << 10,   /* xsave: for x87 and MMX as they are */
    /* stay: an instruction that went through its body, a fault or a change of privilege goes on in
     * translated code without a turn of the run loop */
    JIT_STAY = 1u << 11,
    JIT_STI = 1u << 12, /* sti: blocks go on behind STI and CLI */
    JIT_ALL = (1u << 13) - 1
};

/* One instruction in code of code_size (2, 4, 8) as text. Returns its length; 0: none is known. */
typedef unsigned jit_disassemble_fn(unsigned code_size, const u8 *code, size_t size, u64 address,
                                    char *text, size_t text_size);

struct jit_options {
    u32 optimisations; /* enum jit_optimisation */
    bool counted;      /* exact instruction counts: budgets end where they say */
    u64 cache_size;    /* bytes of code, 0: the default */
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
    u64 blocks;      /* translated */
    u64 code_bytes;  /* written */
    u64 flushes;     /* of the whole cache */
    u64 interpreted; /* calls of a body from translated code */
    u64 misses;      /* of the inline TLB check */
    u64 unlinks;     /* of all blocks, because code died */
    u64 stays;       /* next blocks found by what translated code calls */
    u64 lookups;     /* leaving translated code to find the next block */
    u64 checked;     /* stretches compared by -engine check */
};
void jit_stats(const struct vcpu *v, struct jit_stats *stats);
/* Which instructions went through a call, how often; most frequent first. */
void jit_print_calls(const struct vcpu *v, FILE *out);
