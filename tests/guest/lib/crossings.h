/* SPDX-License-Identifier: MIT
 *
 * How often one processor came between two steps of another. What is a read and a write where it
 * should be one is seen only then, and where the host gives its processors to the threads of the
 * guest for milliseconds each, ten thousand steps may pass without. So a test goes on until it has
 * met enough of the others, or its time is over. And a lock that was torn is free never again: who
 * waits for it gives up.
 */
#ifndef GUEST_CROSSINGS_H
#define GUEST_CROSSINGS_H

#include "guest.h"

enum {
    CROSSINGS = 4000,       /* are enough: one in 200 meets an interpreter half-way */
    CROSSINGS_US = 20000,   /* how long a test waits for them */
    LOCK_US = 5000000,      /* so long nobody takes a lock that is in order */
    LOCK_AGAIN_US = 100000, /* after a first one that was lost */
    LOOKS = 1024,           /* between two at the clock */
};

/* Counted with plain accesses: near enough. */
struct crossings {
    volatile u32 last, count;
    u32 pad[30];
    volatile u64 end;
    volatile bool lost; /* some lock, since the start of the guest */
    u32 wanted;
    u64 patience;
};

/* Before each run, on one processor: how many crossings are wanted, and for how long at most. */
static inline void crossings_begin(struct crossings *c, u32 wanted, u32 microseconds)
{
    if (!c->patience)
        c->patience = tsc_cycles(LOCK_US);
    if (c->lost)
        c->patience = tsc_cycles(LOCK_AGAIN_US);
    c->lost = false;
    c->count = 0;
    c->wanted = wanted;
    c->end = rdtsc() + tsc_cycles(microseconds);
}

/* Every step of a processor. */
static inline void crossings_step(struct crossings *c, u32 cpu)
{
    if (c->last == cpu)
        return;
    c->last = cpu;
    c->count++;
}

static inline bool crossings_enough(const struct crossings *c)
{
    return c->count >= c->wanted || rdtsc() >= c->end;
}

/* What a processor has seen that waits for a lock. */
struct lock_watch {
    u32 spins;
    u64 progress, since;
};

/* While it waits; progress: changes with each time that somebody has the lock. True: give up. */
static inline bool lock_lost(struct crossings *c, struct lock_watch *w, u64 progress)
{
    pause();
    if (++w->spins % LOOKS)
        return c->lost;
    if (!w->since || w->progress != progress) {
        w->progress = progress;
        w->since = rdtsc();
    } else if (rdtsc() - w->since > c->patience) {
        c->lost = true;
    }
    return c->lost;
}

#endif
