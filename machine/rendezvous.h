/* SPDX-License-Identifier: MIT
 *
 * How the threads of a machine agree: who is inside guest code, how one vCPU makes the others pass
 * a safe point (cpu/vcpu.h) or keeps them from touching memory, and the lock of all devices.
 *
 * Order of locks: device lock, the lock of takers, then exclusivity, then the mutex in here, which
 * nobody holds while it calls out. Whoever waits, for any of them, counts as standing still
 * (WAITING), so no two can wait for each other.
 */
#pragma once

#include <pthread.h>

#include "cpu/vcpu.h"

enum presence {
    OUTSIDE, /* not in its engine */
    RUNNING,
    WAITING, /* inside an instruction that waits here; it touches no guest memory */
    ASKING,  /* the same in rendezvous_finish(): nor will it use what it looked up before */
};

/* How one thread kept others waiting, and waited. Written by that thread. */
struct contention {
    u64 taken;       /* the device lock, not counting when it was held already */
    u64 contended;   /* atomic: of these, how often somebody else held it */
    u64 lock_waited; /* ns */
    u64 held;        /* ns */
    u64 exclusive;   /* how often the others were stopped */
    u64 stop_waited; /* ns until they stood still */
    u64 synced;      /* how often safe points of others were awaited */
    u64 sync_waited; /* ns */
};

/* A vCPU with its thread. */
struct participant {
    struct vcpu *vcpu;
    u32 presence; /* enum presence, atomic */
    u64 asked;    /* atomic: how often others wanted it to pass a safe point */
    u64 seen;     /* own: `asked` before it looked at its events */
    u64 passed;   /* atomic: of these, whose events have been obeyed at a safe point */
    struct contention contention;
};

struct rendezvous {
    struct participant *members;
    unsigned count;
    pthread_mutex_t mutex;
    pthread_cond_t changed; /* somebody stands still, passed a safe point, ended exclusivity */
    u32 watched;            /* atomic: threads that wait for `changed` or are about to */
    u32 exclusive;          /* atomic: one vCPU keeps the others still */
    const struct participant *holder;
    unsigned depth; /* how often the holder has asked for it */

    pthread_mutex_t takers; /* held by who takes back what others may have looked up */
    pthread_mutex_t devices;
    u64 owner; /* atomic: pthread_self() of who holds the device lock, or 0 */
    unsigned owner_depth;
    struct contention *owner_profile;
    u64 owned_since; /* ns, of the host's monotonic clock */

    bool profiling;               /* contention is measured; set before there are threads */
    struct contention own_thread; /* of the machine's own thread */
};

MUST_USE enum status rendezvous_create(struct rendezvous *r, unsigned count, struct error *err);
void rendezvous_destroy(struct rendezvous *r);

/* p's thread is about to run guest code; waits while another has exclusivity. */
void rendezvous_enter(struct rendezvous *r, struct participant *p);
/* It has returned from its engine. */
void rendezvous_leave(struct rendezvous *r, struct participant *p);

/* From here to the end all others are OUTSIDE or WAITING; they are signalled with EVENT_STOP. Pairs
 * nest. */
void rendezvous_exclusive_begin(struct rendezvous *r, struct participant *p);
void rendezvous_exclusive_end(struct rendezvous *r, struct participant *p);

/* Whether a vCPU must pass a safe point; a look at it from another thread. */
typedef bool rendezvous_needs_fn(void *opaque, struct vcpu *v);
/* Sends events and EVENT_SYNC to every vCPU but p's that needs it, and returns when each has passed
 * a safe point since then, or stands still: then it passes one before it goes on with guest code.
 * p: the caller, NULL for a thread without a vCPU. */
void rendezvous_sync(struct rendezvous *r, struct participant *p, u32 events,
                     rendezvous_needs_fn *needs, void *opaque);
/* As rendezvous_sync(), but whoever waits inside an instruction, for a device or to be alone, is
 * waited for until that instruction has ended: it may store through what it looked up before. The
 * caller has no lock, and uses nothing that it looked up before. */
void rendezvous_finish(struct rendezvous *r, struct participant *p, u32 events,
                       rendezvous_needs_fn *needs, void *opaque);
/* The same signal to all vCPUs in guest code but p's, without waiting. */
void rendezvous_notify(struct rendezvous *r, const struct participant *p);
/* p's thread is at a safe point, has taken EVENT_SYNC back and is about to look at its other
 * events; it has obeyed them. */
void rendezvous_syncing(struct participant *p);
void rendezvous_synced(struct rendezvous *r, struct participant *p);

/* Around taking something back from the others' TLBs and the rendezvous_sync() that waits for those
 * who may have found it. Somebody else who wants it gone as well, and finds nothing left to take,
 * has waited here until nobody uses it any more. */
void rendezvous_take_begin(struct rendezvous *r, struct participant *p);
void rendezvous_take_end(struct rendezvous *r);

/* The device lock; its holder may take it again. p: the caller or NULL. */
void rendezvous_lock(struct rendezvous *r, struct participant *p);
void rendezvous_unlock(struct rendezvous *r);

/* Writes the contention profile: a line for each thread, as shares of ns, the time of the run. */
void rendezvous_report(const struct rendezvous *r, struct log *log, u64 ns);
