/* SPDX-License-Identifier: MIT
 *
 * Decoded instructions of one vCPU, in runs keyed by their place in guest RAM and decode mode.
 *
 * A run holds consecutive instructions of one page. Its page is marked as code (mem/ram.h); a store
 * to a granule that holds decoded bytes raises the page's generation, and a run with another
 * generation is dead. Runs never cross a page; an instruction that does, one outside RAM and one
 * that runs into the segment limit is decoded alone, for one use.
 */
#pragma once

#include "cpu/insn.h"
#include "cpu/vcpu.h"

enum { RUN_INSNS_MAX = 32 };

struct decode_run {
    u64 key;                     /* byte offset in RAM, mode bits above it */
    const struct ram_page *page; /* NULL: valid for one use */
    u32 generation;              /* of the page, when the run was decoded */
    u16 count;                   /* instructions */
    u16 bytes;                   /* their length */
    struct decode_run *next;     /* hash chain */
    struct insn insns[] ALIGNED(64);
};

MUST_USE enum status decode_cache_create(struct decode_cache **cache, struct vcpu *v,
                                         struct error *err);
void decode_cache_destroy(struct decode_cache *cache);
void decode_cache_flush(struct decode_cache *cache);
/* The run that starts at CS:rip, decoding it if needed. NULL: a fetch fault is recorded. Valid
 * until the next call or flush. */
const struct decode_run *decode_cache_lookup(struct vcpu *v, u64 rip);
