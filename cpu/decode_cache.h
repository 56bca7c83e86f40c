/* SPDX-License-Identifier: MIT
 *
 * Decoded instructions of one vCPU, in runs keyed by guest-physical address and decode mode.
 *
 * A run holds consecutive instructions of one page. Its page is marked as code (mem/ram.h); a store
 * to a granule that holds decoded bytes raises the page's generation, and a run with another
 * generation is dead. Runs never cross a page; an instruction that does is decoded alone, uncached.
 */
#pragma once

#include "cpu/insn.h"
#include "cpu/vcpu.h"

enum { RUN_INSNS_MAX = 32 };

struct decode_run {
    u64 key;                      /* gpa | mode bits above the physical address */
    const struct ram_page *page;  /* NULL: not RAM, valid for one use */
    u32 generation;
    u32 count;
    struct decode_run *next;      /* hash chain */
    struct insn insns[];
};

MUST_USE enum status decode_cache_create(struct decode_cache **cache, struct vcpu *v, struct error *err);
void decode_cache_destroy(struct decode_cache *cache);
void decode_cache_flush(struct decode_cache *cache);
/* The run that starts at CS:rip, decoding it if needed. NULL: a fetch fault is recorded. Valid until
 * the next call or flush. */
const struct decode_run *decode_cache_lookup(struct vcpu *v, u64 rip);
