/* SPDX-License-Identifier: MIT
 *
 * Threads of one machine: presence, exclusivity, safe points, the device lock. See rendezvous.h.
 *
 * Each "I stand still" is a store followed by a look at whether somebody waits; each wait announces
 * itself and then looks at who stands still. All four are sequentially consistent, so one of the
 * two sees the other.
 */
#include "machine/rendezvous.h"

#include <stdlib.h>

#include "machine/time.h"

enum { SPINS = 400 }; /* looks before a wait gives the host's CPU away: some microseconds */

enum status rendezvous_create(struct rendezvous *r, unsigned count, struct error *err)
{
    *r = (struct rendezvous){.count = count,
                             .mutex = PTHREAD_MUTEX_INITIALIZER,
                             .changed = PTHREAD_COND_INITIALIZER,
                             .takers = PTHREAD_MUTEX_INITIALIZER,
                             .devices = PTHREAD_MUTEX_INITIALIZER};
    r->members = calloc(count, sizeof(*r->members));
    if (!r->members)
        return error_set(err, ST_NO_MEMORY, "No memory for %u processors; lower -smp.", count);
    return ST_OK;
}

void rendezvous_destroy(struct rendezvous *r)
{
    free(r->members);
    r->members = NULL;
}

/* -- the profile -- */

/* 0 unless contention is measured. */
static u64 profile_time(const struct rendezvous *r)
{
    return likely(!r->profiling) ? 0 : time_of_host(CLOCK_MONOTONIC);
}

static struct contention *profile_of(struct rendezvous *r, struct participant *p)
{
    return p ? &p->contention : &r->own_thread;
}

static void report_thread(struct log *log, const char *who, const struct contention *c, u64 ns)
{
    const double percent = ns ? 100.0 / (double)ns : 0;

    log_trace(log, LOG_CONTENTION,
              "%s: device lock taken %lu times, held %.3f %% of the time, waited for %lu times, "
              "%.3f %%; others stopped %lu times, %.3f %%; their safe points awaited %lu times, "
              "%.3f %%",
              who, c->taken, (double)c->held * percent, c->contended,
              (double)c->lock_waited * percent, c->exclusive, (double)c->stop_waited * percent,
              c->synced, (double)c->sync_waited * percent);
}

void rendezvous_report(const struct rendezvous *r, struct log *log, u64 ns)
{
    char who[32];

    report_thread(log, "devices' own thread", &r->own_thread, ns);
    for (unsigned n = 0; n < r->count; n++) {
        snprintf(who, sizeof(who), "processor %u", n);
        report_thread(log, who, &r->members[n].contention, ns);
    }
}

/* -- waiting -- */

static void tell(struct rendezvous *r)
{
    if (likely(!__atomic_load_n(&r->watched, __ATOMIC_SEQ_CST)))
        return;
    pthread_mutex_lock(&r->mutex);
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->mutex);
}

static enum presence presence(const struct participant *p)
{
    return __atomic_load_n(&p->presence, __ATOMIC_SEQ_CST);
}

static void set_presence(struct rendezvous *r, struct participant *p, enum presence presence)
{
    __atomic_store_n(&p->presence, presence, __ATOMIC_SEQ_CST);
    if (presence != RUNNING)
        tell(r);
}

typedef bool condition_fn(struct rendezvous *r, const void *what);

/* Returns when the condition holds; every change of it is followed by tell(). */
static void wait_until(struct rendezvous *r, condition_fn *holds, const void *what)
{
    for (unsigned n = 0; n < SPINS; n++) {
        if (holds(r, what))
            return;
        __builtin_ia32_pause();
    }
    __atomic_add_fetch(&r->watched, 1, __ATOMIC_SEQ_CST);
    pthread_mutex_lock(&r->mutex);
    while (!holds(r, what))
        pthread_cond_wait(&r->changed, &r->mutex);
    pthread_mutex_unlock(&r->mutex);
    __atomic_sub_fetch(&r->watched, 1, __ATOMIC_SEQ_CST);
}

static bool nobody_exclusive(struct rendezvous *r, const void *what)
{
    (void)what;
    return !__atomic_load_n(&r->exclusive, __ATOMIC_SEQ_CST);
}

/* RUNNING, unless somebody else has exclusivity: then p stays as it was. */
static bool try_run(struct rendezvous *r, struct participant *p)
{
    enum presence was = presence(p);

    __atomic_store_n(&p->presence, RUNNING, __ATOMIC_SEQ_CST);
    if (likely(nobody_exclusive(r, NULL) || __atomic_load_n(&r->holder, __ATOMIC_RELAXED) == p))
        return true;
    set_presence(r, p, was);
    return false;
}

void rendezvous_enter(struct rendezvous *r, struct participant *p)
{
    while (!try_run(r, p))
        wait_until(r, nobody_exclusive, NULL);
}

/* Who takes events back out there says so as at a safe point (rendezvous_synced()), or somebody who
 * saw it neither leave nor pass would wait for ever. */
void rendezvous_leave(struct rendezvous *r, struct participant *p)
{
    set_presence(r, p, OUTSIDE);
}

/* -- exclusivity -- */

static bool claim(struct rendezvous *r, const void *what)
{
    u32 none = 0;

    (void)what;
    return __atomic_compare_exchange_n(&r->exclusive, &none, 1, false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

static bool stands_still(struct rendezvous *r, const void *what)
{
    (void)r;
    return presence(what) != RUNNING;
}

void rendezvous_exclusive_begin(struct rendezvous *r, struct participant *p)
{
    u64 start;

    if (__atomic_load_n(&r->holder, __ATOMIC_RELAXED) == p) {
        r->depth++;
        return;
    }
    start = profile_time(r);
    set_presence(r, p, WAITING);
    wait_until(r, claim, NULL);
    __atomic_store_n(&r->holder, p, __ATOMIC_RELAXED);
    r->depth = 1;
    for (unsigned n = 0; n < r->count; n++)
        if (&r->members[n] != p && presence(&r->members[n]) == RUNNING)
            vcpu_signal(r->members[n].vcpu, EVENT_STOP);
    for (unsigned n = 0; n < r->count; n++)
        if (&r->members[n] != p)
            wait_until(r, stands_still, &r->members[n]);
    __atomic_store_n(&p->presence, RUNNING, __ATOMIC_SEQ_CST);
    p->contention.exclusive++;
    p->contention.stop_waited += profile_time(r) - start;
}

void rendezvous_exclusive_end(struct rendezvous *r, struct participant *p)
{
    check(r->holder == p, "exclusivity ends that processor %u does not have", p->vcpu->index);
    if (--r->depth)
        return;
    __atomic_store_n(&r->holder, NULL, __ATOMIC_RELAXED);
    __atomic_store_n(&r->exclusive, 0, __ATOMIC_SEQ_CST);
    tell(r);
}

/* -- safe points -- */

/* Tickets: who asks sends its events, takes the next number and sends EVENT_SYNC. Who obeys takes
 * EVENT_SYNC back, reads the number and then looks at its events, so what came with that number is
 * among them; an event that it saw of one who asks earlier does not count for the one who asks now.
 */

struct awaited {
    const struct participant *p;
    u64 ticket;
};

static bool has_passed(struct rendezvous *r, const void *what)
{
    const struct awaited *a = what;

    (void)r;
    return __atomic_load_n(&a->p->passed, __ATOMIC_SEQ_CST) >= a->ticket ||
           presence(a->p) != RUNNING;
}

static bool has_finished(struct rendezvous *r, const void *what)
{
    const struct awaited *a = what;
    enum presence now;

    (void)r;
    if (__atomic_load_n(&a->p->passed, __ATOMIC_SEQ_CST) >= a->ticket)
        return true;
    now = presence(a->p);
    return now == OUTSIDE || now == ASKING;
}

/* Sends and takes tickets. Returns how many are to be waited for. */
static unsigned ask(struct rendezvous *r, const struct participant *p, u32 events,
                    rendezvous_needs_fn *needs, void *opaque, struct awaited *awaited)
{
    unsigned count = 0;

    for (unsigned n = 0; n < r->count; n++) {
        struct participant *other = &r->members[n];

        if (other == p || !needs(opaque, other->vcpu))
            continue;
        if (events)
            vcpu_signal(other->vcpu, events);
        if (presence(other) == OUTSIDE)
            continue; /* it looks at its events when it enters */
        awaited[count++] =
            (struct awaited){other, __atomic_add_fetch(&other->asked, 1, __ATOMIC_SEQ_CST)};
        vcpu_signal(other->vcpu, EVENT_SYNC);
    }
    return count;
}

/* p waits meanwhile, as `how` says. */
static void await(struct rendezvous *r, struct participant *p, enum presence how,
                  condition_fn *holds, const struct awaited *awaited, unsigned count)
{
    bool running = p && presence(p) == RUNNING;
    const u64 start = profile_time(r);

    if (!count)
        return;
    if (running)
        set_presence(r, p, how);
    for (unsigned n = 0; n < count; n++)
        wait_until(r, holds, &awaited[n]);
    if (running)
        rendezvous_enter(r, p);
    profile_of(r, p)->synced++;
    profile_of(r, p)->sync_waited += profile_time(r) - start;
}

void rendezvous_sync(struct rendezvous *r, struct participant *p, u32 events,
                     rendezvous_needs_fn *needs, void *opaque)
{
    struct awaited awaited[256];

    await(r, p, WAITING, has_passed, awaited, ask(r, p, events, needs, opaque, awaited));
}

void rendezvous_finish(struct rendezvous *r, struct participant *p, u32 events,
                       rendezvous_needs_fn *needs, void *opaque)
{
    struct awaited awaited[256];

    await(r, p, ASKING, has_finished, awaited, ask(r, p, events, needs, opaque, awaited));
}

void rendezvous_notify(struct rendezvous *r, const struct participant *p)
{
    for (unsigned n = 0; n < r->count; n++)
        if (&r->members[n] != p && presence(&r->members[n]) != OUTSIDE)
            vcpu_signal(r->members[n].vcpu, EVENT_SYNC);
}

void rendezvous_syncing(struct participant *p)
{
    p->seen = __atomic_load_n(&p->asked, __ATOMIC_SEQ_CST);
}

void rendezvous_synced(struct rendezvous *r, struct participant *p)
{
    __atomic_store_n(&p->passed, p->seen, __ATOMIC_SEQ_CST);
    tell(r);
}

/* -- locks -- */

static bool mutex_taken(struct rendezvous *r, struct participant *p, pthread_mutex_t *mutex,
                        u64 *contended)
{
    if (pthread_mutex_trylock(mutex) == 0)
        return true;
    __atomic_add_fetch(contended, 1, __ATOMIC_RELAXED);
    if (!p || presence(p) != RUNNING) {
        pthread_mutex_lock(mutex);
        return true;
    }
    set_presence(r, p, WAITING);
    pthread_mutex_lock(mutex);
    if (try_run(r, p))
        return true;
    /* Who has exclusivity may want this lock. */
    pthread_mutex_unlock(mutex);
    rendezvous_enter(r, p);
    return false;
}

void rendezvous_take_begin(struct rendezvous *r, struct participant *p)
{
    u64 contended = 0;

    while (!mutex_taken(r, p, &r->takers, &contended))
        ;
}

void rendezvous_take_end(struct rendezvous *r)
{
    pthread_mutex_unlock(&r->takers);
}

/* Called right after the lock was taken; start: when that began. */
static void profile_lock(struct rendezvous *r, struct participant *p, u64 start)
{
    struct contention *c = profile_of(r, p);

    r->owned_since = profile_time(r);
    r->owner_profile = c;
    c->taken++;
    c->lock_waited += r->owned_since - start;
}

void rendezvous_lock(struct rendezvous *r, struct participant *p)
{
    const u64 self = (u64)pthread_self();
    u64 start;

    if (__atomic_load_n(&r->owner, __ATOMIC_RELAXED) == self) {
        r->owner_depth++;
        return;
    }
    start = profile_time(r);
    while (!mutex_taken(r, p, &r->devices, &profile_of(r, p)->contended))
        ;
    profile_lock(r, p, start);
    __atomic_store_n(&r->owner, self, __ATOMIC_RELAXED);
    r->owner_depth = 1;
}

void rendezvous_unlock(struct rendezvous *r)
{
    if (--r->owner_depth)
        return;
    r->owner_profile->held += profile_time(r) - r->owned_since;
    __atomic_store_n(&r->owner, 0, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&r->devices);
}
