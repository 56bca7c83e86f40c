/* SPDX-License-Identifier: MIT
 *
 * Pairs in random states, for tests of one lowering: two small pages of data with a page behind
 * them that is not there, and registers that mostly point at their edges.
 */
#pragma once

#include "cpu/insn.h"
#include "tests/jit/pair.h"

enum { STATE_DATA = 0x60000, STATE_PAGES = 3, STATE_ABSENT = STATE_DATA + STATE_PAGES * PAGE_SIZE };

struct dice {
    u64 state;
};

static inline u64 dice_next(struct dice *d)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return d->state * 0x2545f4914f6cdd1dull;
}

static inline u64 dice_below(struct dice *d, u64 n)
{
    return dice_next(d) % n;
}

/* Small, large, negative, or a pattern. */
static inline u64 dice_value(struct dice *d)
{
    switch (dice_below(d, 4)) {
    case 0: return dice_below(d, 300);
    case 1: return 0 - dice_below(d, 300);
    case 2: return 1ull << dice_below(d, 64);
    default: return dice_next(d);
    }
}

/* An address in the data, often near the edge of a page or the end. */
static inline u64 dice_address(struct dice *d)
{
    if (dice_below(d, 3))
        return STATE_DATA + (1 + dice_below(d, STATE_PAGES)) * PAGE_SIZE - 20 + dice_below(d, 40);
    return STATE_DATA + dice_below(d, STATE_PAGES * PAGE_SIZE);
}

/* The first 2 MiB in small pages, with one absent (paging modes). */
static inline void state_small_pages(struct machine *m)
{
    const u64 table = 0x200000, entry = MACHINE_PML4 + 0x2000;

    if (!(m->v->cr0 & CR0_PG))
        return;
    for (u64 n = 0; n < 512; n++)
        machine_put_uint(m, table + n * 8, n * PAGE_SIZE | 0x67, 8);
    machine_put_uint(m, table + STATE_ABSENT / PAGE_SIZE * 8, 0, 8);
    machine_put_uint(m, entry, table | 7, 8);
    tlb_flush_all(&m->v->tlb);
}

/* The same random registers, flags and data in both, in a mode, at the start of the code. */
static inline void state_random(struct pair *p, enum machine_mode mode, struct dice *d)
{
    u64 icount = p->interp.v->icount;

    pair_start(p, mode);
    state_small_pages(&p->interp);
    state_small_pages(&p->jit);
    p->interp.v->icount = p->jit.v->icount = icount;
    for (unsigned r = 0; r < 16; r++)
        if (r != RSP)
            pair_set(p, r, mode == MACHINE_LONG ? dice_value(d) : (u32)dice_value(d));
    pair_flags(p, dice_next(d) & F_OSZAPC);
    for (unsigned n = 0; n < STATE_PAGES * PAGE_SIZE; n += 512) {
        u64 value = dice_next(d);

        pair_put(p, STATE_DATA + n + dice_below(d, 500), &value, 8);
    }
}

/* Instructions that went through a call since the last question. */
static inline u64 state_calls(struct pair *p, u64 *before)
{
    u64 now = pair_stats(p).interpreted, calls = now - *before;

    *before = now;
    return calls;
}
