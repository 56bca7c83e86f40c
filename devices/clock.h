/* SPDX-License-Identifier: MIT
 *
 * Guest time and the one queue of future events. Devices know no other time.
 *
 * Time is in nanoseconds since power-on. Two sources implement it in machine/: real (host
 * monotonic) and counted (instructions retired). Timers fire on the machine's own thread or that of
 * a vCPU, under the machine lock, in order of deadline and, within one deadline, of arming. Never
 * early. Any thread may arm and cancel; one that does so without the machine lock (a local APIC)
 * must expect its timer to fire just afterwards all the same.
 */
#pragma once

#include <pthread.h>

#include "mem/base/types.h"

#define NS_PER_SECOND 1000000000ull
#define CLOCK_NEVER   (~0ull)

struct clock;

typedef void timer_fn(void *opaque);

struct timer {
    const char *name; /* for traces of the queue */
    timer_fn *fire;
    void *opaque;
    struct clock *clock;
    struct timer *next; /* queue link, sorted by deadline */
    u64 deadline;       /* ns; CLOCK_NEVER when not armed */
    u64 armed_in;       /* the clock_run() (by number) during which it was armed */
};

struct clock {
    u64 (*now)(void *source);             /* ns since power-on, never goes back */
    void (*deadline_moved)(void *source); /* the earliest deadline became earlier; may be NULL */
    void *source;
    u64 wall_start_ns;    /* wall-clock time at power-on, ns since 1970 UTC */
    pthread_mutex_t lock; /* of the queue: first, runs, running and the timers in it */
    struct timer *first;
    u64 runs;     /* clock_run() calls so far */
    bool running; /* inside clock_run() */
};

/* deadline_moved is called by the thread that armed the timer, with the queue locked. */
void clock_init(struct clock *clock, u64 (*now)(void *source), void (*deadline_moved)(void *source),
                void *source, u64 wall_start_ns);

static inline u64 clock_now(struct clock *clock)
{
    return clock->now(clock->source);
}
/* Wall-clock time of the guest, ns since 1970 UTC. */
static inline u64 clock_wall_ns(struct clock *clock)
{
    return clock->wall_start_ns + clock_now(clock);
}

/* The earliest deadline, or CLOCK_NEVER. */
u64 clock_next_deadline(struct clock *clock);
/* Fires every timer whose deadline is <= now. A timer may arm or cancel itself or others; one that
 * is armed meanwhile fires at the next call, even if it is already due: a call always ends. */
void clock_run(struct clock *clock);

/* Prepares a timer, not armed. name must outlive it. */
void timer_init(struct timer *timer, struct clock *clock, const char *name, timer_fn *fire,
                void *opaque);
/* Fires once at when (ns, absolute); re-arming moves it, CLOCK_NEVER cancels it. A deadline in the
 * past fires at the next clock_run(). */
void timer_arm(struct timer *timer, u64 when);
void timer_cancel(struct timer *timer);
static inline bool timer_armed(const struct timer *timer)
{
    return __atomic_load_n(&timer->deadline, __ATOMIC_RELAXED) != CLOCK_NEVER;
}
