/* SPDX-License-Identifier: MIT
 *
 * A thread for each processor, in real time. The machine's own thread moves the host's input and
 * output, does what the guest asked for, and fires timers while no processor runs.
 *
 * A processor's thread goes round: park if the machine's thread wants it, run the engine, sleep on
 * its events when it is halted. Timers and devices reach it through vcpu_signal(), which wakes it.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "cpu/engine.h"
#include "jit/jit.h"
#include "machine/internal.h"

enum {
    INPUT_PERIOD_NS = 5000000, /* how often the host's descriptors are collected anew while a
                                  processor, which may change what is waited for, runs */
    TIMER_SLACK_NS = 1000,     /* timers are not to be late because the host likes company */
    KEEPER_GRACE_NS = 1000000, /* how late the keeper of time may be until others act */
    MWAIT_FIRST_NS = 10000,    /* until MWAIT looks at its line again, */
    MWAIT_MOST_NS = 2000000,   /* each time longer, up to this */
    MWAIT_LOOKS = 50,          /* then it ends all the same */
    KEEPER_LEAST_NS = 20000,   /* between two of its interruptions: the guest is to get on */
};

struct processor *machine_current(const struct machine *m)
{
    return m->has_self ? pthread_getspecific(m->self) : NULL;
}

/* -- the machine lock -- */

void machine_lock(void *machine)
{
    struct machine *m = machine;
    struct processor *self;

    if (!m->threaded)
        return;
    self = machine_current(m);
    rendezvous_lock(&m->rendezvous, self ? self->participant : NULL);
}

void machine_unlock(void *machine)
{
    struct machine *m = machine;

    if (m->threaded)
        rendezvous_unlock(&m->rendezvous);
}

/* -- what a vCPU asks for -- */

static struct participant *participant_of(void *machine, const struct vcpu *v)
{
    return ((struct machine *)machine)->processors[v->index].participant;
}

static void wake(void *machine, struct vcpu *v)
{
    (void)machine;
    syscall(SYS_futex, &v->events, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

static void syncing(void *machine, struct vcpu *v)
{
    rendezvous_syncing(participant_of(machine, v));
}

static void synced(void *machine, struct vcpu *v)
{
    rendezvous_synced(&((struct machine *)machine)->rendezvous, participant_of(machine, v));
}

static void stop_others(void *machine, struct vcpu *v)
{
    rendezvous_exclusive_begin(&((struct machine *)machine)->rendezvous,
                               participant_of(machine, v));
}

static void resume_others(void *machine, struct vcpu *v)
{
    rendezvous_exclusive_end(&((struct machine *)machine)->rendezvous, participant_of(machine, v));
}

static void yield(void *machine, struct vcpu *v)
{
    (void)v;
    if (((struct machine *)machine)->processor_count > 1)
        sched_yield();
}

void threads_fill_platform(struct vcpu_platform *platform)
{
    platform->wake = wake;
    platform->syncing = syncing;
    platform->synced = synced;
    platform->stop_others = stop_others;
    platform->resume_others = resume_others;
    platform->yield = yield;
    platform->mwait_sleeps = true;
}

/* -- parking -- */

static bool flag(const bool *at)
{
    return __atomic_load_n(at, __ATOMIC_SEQ_CST);
}

static bool must_park(struct machine *m)
{
    return flag(&m->parking.wanted) || flag(&m->parking.quit) ||
           __atomic_load_n(&m->requests, __ATOMIC_SEQ_CST);
}

/* Whatever was asked for, by this processor or another, is done when this returns. */
static void park(struct machine *m)
{
    struct parking *k = &m->parking;

    pthread_mutex_lock(&k->mutex);
    k->parked++;
    pthread_cond_broadcast(&k->changed);
    while (must_park(m) && !flag(&k->quit))
        pthread_cond_wait(&k->changed, &k->mutex);
    k->parked--;
    pthread_mutex_unlock(&k->mutex);
}

static void park_all(struct machine *m)
{
    struct parking *k = &m->parking;

    __atomic_store_n(&k->wanted, true, __ATOMIC_SEQ_CST);
    machine_stop_processors(m);
    pthread_mutex_lock(&k->mutex);
    while (k->parked < m->processor_count)
        pthread_cond_wait(&k->changed, &k->mutex);
    pthread_mutex_unlock(&k->mutex);
}

static void unpark_all(struct machine *m)
{
    struct parking *k = &m->parking;

    pthread_mutex_lock(&k->mutex);
    __atomic_store_n(&k->wanted, false, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->mutex);
}

/* -- the keeper of time -- */

/* Timers fire on the machine's own thread or on that of one processor that runs, the keeper: an
 * alarm stops it when a timer is due. The machine's thread would be late where the host's
 * processor has to wake up for it. */

static u32 number_of(const struct processor *p)
{
    return p->vcpu->index + 1;
}

static u32 keeper(const struct machine *m)
{
    return __atomic_load_n(&m->keeper, __ATOMIC_SEQ_CST);
}

/* true: p keeps time. */
static bool become_keeper(struct machine *m, struct processor *p)
{
    u32 none = 0, now = keeper(m);

    if (now)
        return now == number_of(p);
    if (!p->alarm.made && !alarm_create(&p->alarm, p->vcpu))
        return false;
    p->alarm_at = CLOCK_NEVER;
    return __atomic_compare_exchange_n(&m->keeper, &none, number_of(p), false, __ATOMIC_SEQ_CST,
                                       __ATOMIC_SEQ_CST);
}

/* Another processor that runs may follow; whatever happens, the machine's thread is in time. */
static void resign_keeper(struct machine *m, struct processor *p)
{
    if (keeper(m) != number_of(p))
        return;
    if (p->alarm_at != CLOCK_NEVER)
        alarm_clear(&p->alarm);
    p->alarm_at = CLOCK_NEVER;
    __atomic_store_n(&m->keeper, 0, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&m->sleeps_until, __ATOMIC_SEQ_CST) > clock_next_deadline(&m->clock))
        machine_wake(m);
    for (unsigned n = 0; n < m->processor_count; n++) {
        struct vcpu *v = m->processors[n].vcpu;

        if (v != p->vcpu && !__atomic_load_n(&v->asleep, __ATOMIC_SEQ_CST)) {
            vcpu_signal(v, EVENT_STOP);
            break;
        }
    }
}

static void keep_time(struct machine *m, struct processor *p)
{
    u64 deadline, now;

    if (!become_keeper(m, p))
        return;
    if (clock_next_deadline(&m->clock) <= time_now(&m->time)) {
        machine_lock(m);
        p->fires = true;
        clock_run(&m->clock);
        p->fires = false;
        machine_unlock(m);
    }
    deadline = clock_next_deadline(&m->clock);
    if (deadline == p->alarm_at)
        return;
    now = time_now(&m->time);
    p->alarm_at = deadline;
    if (deadline == CLOCK_NEVER)
        alarm_clear(&p->alarm);
    else
        alarm_set(&p->alarm,
                  time_for_host(&m->time, deadline > now + KEEPER_LEAST_NS ? deadline - now
                                                                           : KEEPER_LEAST_NS));
}

/* -- a processor's thread -- */

/* Outside of the engine nothing that was looked up is in use. */
static void settle(struct vcpu *v)
{
    if (vcpu_obey_others(v) & EVENT_STOP)
        vcpu_clear_signal(v, EVENT_STOP);
}

/* false: ns nanoseconds (CLOCK_NEVER: any time) have passed without an event. */
static bool wait_for_event(struct vcpu *v, u32 events, u64 ns)
{
    const struct timespec timeout = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                                     .tv_nsec = (long)(ns % NS_PER_SECOND)};

    return !syscall(SYS_futex, &v->events, FUTEX_WAIT_PRIVATE, events,
                    ns == CLOCK_NEVER ? NULL : &timeout, NULL, 0) ||
           errno != ETIMEDOUT;
}

/* Until an event, or the monitored line changes. The longer it sleeps the later it notices: never
 * by more than it has slept already, or MWAIT_MOST_NS. */
static void sleep_in_mwait(struct vcpu *v, u32 events)
{
    u64 ns = MWAIT_FIRST_NS;

    for (unsigned n = 0; n < MWAIT_LOOKS && !vcpu_monitor_hit(v); n++) {
        if (wait_for_event(v, events, ns))
            return;
        ns = ns < MWAIT_MOST_NS / 2 ? 2 * ns : MWAIT_MOST_NS;
    }
    vcpu_set_activity(v, ACTIVITY_RUN);
}

static void halt(struct machine *m, struct vcpu *v, u32 events, u64 until)
{
    u64 now = until == CLOCK_NEVER ? 0 : time_now(&m->time);

    if (until == CLOCK_NEVER)
        wait_for_event(v, events, CLOCK_NEVER);
    else if (until > now)
        wait_for_event(v, events, until - now);
}

/* Synthetic timers that can only wake this processor do not need the machine's thread for it. In
 * MWAIT they do: it does not sleep for as long as it likes. */
static void sleep_until_event(struct machine *m, struct processor *p)
{
    struct vcpu *v = p->vcpu;
    bool mwait = v->activity == ACTIVITY_MWAIT && v->monitor_line, timers = m->hv1 && !mwait;
    u64 until = timers ? hv1_sleeps(m->hv1, v) : CLOCK_NEVER;
    u32 events;

    resign_keeper(m, p);
    __atomic_sub_fetch(&m->awake, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&v->asleep, 1, __ATOMIC_SEQ_CST);
    events = __atomic_load_n(&v->events, __ATOMIC_SEQ_CST);
    if (!(events & EVENTS_AT_ONCE) && !machine_can_run(v)) {
        if (mwait)
            sleep_in_mwait(v, events);
        else
            halt(m, v, events, until);
    }
    __atomic_store_n(&v->asleep, 0, __ATOMIC_SEQ_CST);
    __atomic_add_fetch(&m->awake, 1, __ATOMIC_SEQ_CST);
    if (!timers)
        return;
    become_keeper(m, p); /* before timers go back to the queue, which would wake another one */
    hv1_wakes(m->hv1, v);
}

static void run_engine(struct machine *m, struct processor *p)
{
    const u64 no_end = BIT(62);
    enum vcpu_exit why;

    p->vcpu->stalls = 0;
    keep_time(m, p);
    rendezvous_enter(&m->rendezvous, p->participant);
    why =
        m->config.engine == ENGINE_INTERP ? interp_run(p->vcpu, no_end) : jit_run(p->vcpu, no_end);
    rendezvous_leave(&m->rendezvous, p->participant);
    if (why == EXIT_SHUTDOWN)
        machine_request(m, REQUEST_RESET);
}

u64 threads_used_ns(void)
{
    return time_of_host(CLOCK_THREAD_CPUTIME_ID);
}

static void *processor_thread(void *opaque)
{
    struct processor *p = opaque;
    struct machine *m = p->machine;

    pthread_setspecific(m->self, p);
    for (;;) {
        settle(p->vcpu);
        if (must_park(m))
            park(m);
        else if (machine_can_run(p->vcpu))
            run_engine(m, p);
        else
            sleep_until_event(m, p);
        if (flag(&m->parking.quit))
            break;
    }
    alarm_destroy(&p->alarm);
    p->ran_ns += threads_used_ns();
    return NULL;
}

/* -- the machine's thread -- */

/* p keeps time and has armed the timer itself, in keep_time(). Stopped for that, it would not get
 * to guest code while a periodic timer ticks as fast as it can be served. */
static bool sees_to_it(const struct machine *m, const struct processor *p)
{
    return machine_current(m) == p && p->fires;
}

/* A timer was armed that comes before all others; called with the clock's queue locked. A keeper
 * that resigns meanwhile looks at the queue afterwards. */
void threads_deadline_moved(struct machine *m)
{
    u32 number = keeper(m);

    if (number && sees_to_it(m, &m->processors[number - 1]))
        return;
    if (number)
        vcpu_signal(m->processors[number - 1].vcpu, EVENT_STOP);
    else if (__atomic_load_n(&m->sleeps_until, __ATOMIC_SEQ_CST) > m->clock.first->deadline)
        machine_wake(m);
}

/* Timers that are armed from the first line on wake the sleeper, or are seen by it. */
static void sleep_until_deadline(struct machine *m)
{
    u64 deadline, now, ns;

    __atomic_store_n(&m->sleeps_until, CLOCK_NEVER, __ATOMIC_SEQ_CST);
    deadline = clock_next_deadline(&m->clock);
    now = time_now(&m->time);
    ns = deadline == CLOCK_NEVER ? CLOCK_NEVER : deadline > now ? deadline - now : 0;
    if (ns != CLOCK_NEVER && keeper(m))
        ns += KEEPER_GRACE_NS;
    if (__atomic_load_n(&m->awake, __ATOMIC_SEQ_CST) && ns > INPUT_PERIOD_NS)
        ns = INPUT_PERIOD_NS;
    if (ns != CLOCK_NEVER)
        __atomic_store_n(&m->sleeps_until, now + ns, __ATOMIC_SEQ_CST);
    machine_sleep(m, ns);
    __atomic_store_n(&m->sleeps_until, 0, __ATOMIC_SEQ_CST);
}

/* Translated code that loops without interrupts is looked at all the same: so it finds out what is
 * hot. */
static void nudge_all(struct machine *m)
{
    if (m->config.engine == ENGINE_INTERP)
        return;
    for (unsigned n = 0; n < m->processor_count; n++)
        vcpu_nudge(m->processors[n].vcpu);
}

/* true: the machine ends with *end, and all processors are parked. */
static bool serve(struct machine *m, enum machine_end *end)
{
    bool ends;

    machine_unlock(m);
    park_all(m);
    machine_lock(m);
    ends = machine_serve_requests(m, end);
    if (!ends)
        unpark_all(m);
    return ends;
}

static enum status start(struct machine *m)
{
    m->parking.quit = m->parking.wanted = false;
    m->parking.parked = 0;
    m->parking.running = true;
    m->awake = m->processor_count;
    m->keeper = 0;
    for (unsigned n = 0; n < m->processor_count; n++) {
        struct processor *p = &m->processors[n];

        if (pthread_create(&p->thread, NULL, processor_thread, p))
            return ST_NO_MEMORY;
        p->started = true;
    }
    return ST_OK;
}

static void finish(struct machine *m)
{
    struct parking *k = &m->parking;

    pthread_mutex_lock(&k->mutex);
    __atomic_store_n(&k->quit, true, __ATOMIC_SEQ_CST);
    pthread_cond_broadcast(&k->changed);
    pthread_mutex_unlock(&k->mutex);
    machine_stop_processors(m);
    for (unsigned n = 0; n < m->processor_count; n++) {
        struct processor *p = &m->processors[n];

        if (p->started)
            pthread_join(p->thread, NULL);
        p->started = false;
    }
    m->parking.running = false;
}

enum machine_end threads_run(struct machine *m, int *code)
{
    enum machine_end end = END_STOPPED;
    const u64 began = time_now(&m->time);
    u64 next_nudge = 0;

    *code = 0;
    prctl(PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    if (start(m)) {
        log_warn(m->log, "The host gives no thread for each processor; lower -smp.");
        finish(m);
        return END_STOPPED;
    }
    machine_lock(m);
    for (;;) {
        if (__atomic_load_n(&m->requests, __ATOMIC_SEQ_CST) && serve(m, &end))
            break;
        clock_run(&m->clock);
        if (time_now(&m->time) >= next_nudge) {
            nudge_all(m);
            next_nudge = time_now(&m->time) + INPUT_PERIOD_NS;
        }
        sleep_until_deadline(m);
    }
    machine_unlock(m);
    finish(m);
    rendezvous_report(&m->rendezvous, m->log, time_now(&m->time) - began);
    *code = m->exit_code;
    return end;
}

/* -- life -- */

/* Counted time and exact budgets need an order of all instructions; -engine check compares memory
 * that nobody else may change. Those run the processors in turn. */
enum status threads_create(struct machine *m, struct error *err)
{
    const struct cpu_topology *t = &m->model.topology;
    const struct io_lock lock = {machine_lock, machine_unlock, m};
    enum status st;

    m->processor_count = t->sockets * t->cores * t->threads;
    if (m->config.engine == ENGINE_CHECK)
        m->config.exact = true;
    m->threaded = m->config.time == TIME_REAL && !m->config.exact;
    if (!m->threaded)
        return ST_OK;
    if (pthread_key_create(&m->self, NULL))
        return error_set(err, ST_NO_MEMORY, "The host has no key left for a machine's threads.");
    m->has_self = true;
    if (alarm_prepare(err))
        return ST_NO_MEMORY;
    pthread_mutex_init(&m->parking.mutex, NULL);
    pthread_cond_init(&m->parking.changed, NULL);
    m->pio.lock = lock;
    physmap_set_lock(m->map, &lock);
    st = rendezvous_create(&m->rendezvous, m->processor_count, err);
    m->rendezvous.profiling = log_on(m->log, LOG_CONTENTION);
    return st;
}

void threads_destroy(struct machine *m)
{
    if (!m->has_self)
        return;
    pthread_key_delete(m->self);
    pthread_mutex_destroy(&m->parking.mutex);
    pthread_cond_destroy(&m->parking.changed);
    rendezvous_destroy(&m->rendezvous);
    m->has_self = false;
}
