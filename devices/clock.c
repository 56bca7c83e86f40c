/* SPDX-License-Identifier: MIT */
#include "devices/clock.h"

void clock_init(struct clock *clock, u64 (*now)(void *source), void (*deadline_moved)(void *source),
                void *source, u64 wall_start_ns)
{
    *clock = (struct clock){
        .now = now,
        .deadline_moved = deadline_moved,
        .source = source,
        .wall_start_ns = wall_start_ns,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
}

/* With the queue locked. */
static u64 next_deadline(const struct clock *clock)
{
    return clock->first ? clock->first->deadline : CLOCK_NEVER;
}

u64 clock_next_deadline(struct clock *clock)
{
    u64 deadline;

    pthread_mutex_lock(&clock->lock);
    deadline = next_deadline(clock);
    pthread_mutex_unlock(&clock->lock);
    return deadline;
}

static void set_deadline(struct timer *timer, u64 deadline)
{
    __atomic_store_n(&timer->deadline, deadline, __ATOMIC_RELAXED);
}

/* With the queue locked. */
static void unlink_timer(struct timer *timer)
{
    struct timer **link = &timer->clock->first;

    if (!timer_armed(timer))
        return;
    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
    timer->next = NULL;
    set_deadline(timer, CLOCK_NEVER);
}

/* Takes the first timer that is due and was not armed by this very run out of the queue. */
static struct timer *take_due(struct clock *clock, u64 now)
{
    struct timer *timer;

    pthread_mutex_lock(&clock->lock);
    timer = clock->first;
    while (timer && timer->deadline <= now && timer->armed_in == clock->runs)
        timer = timer->next;
    if (timer && timer->deadline <= now)
        unlink_timer(timer);
    else
        timer = NULL;
    pthread_mutex_unlock(&clock->lock);
    return timer;
}

/* Numbers the run while it lasts; ends with running false. */
static void set_running(struct clock *clock, bool running)
{
    pthread_mutex_lock(&clock->lock);
    clock->running = running;
    clock->runs += running;
    pthread_mutex_unlock(&clock->lock);
}

void clock_run(struct clock *clock)
{
    u64 now = clock_now(clock);
    struct timer *timer;

    set_running(clock, true);
    while ((timer = take_due(clock, now)))
        timer->fire(timer->opaque);
    set_running(clock, false);
}

void timer_init(struct timer *timer, struct clock *clock, const char *name, timer_fn *fire,
                void *opaque)
{
    *timer = (struct timer){
        .name = name, .fire = fire, .opaque = opaque, .clock = clock, .deadline = CLOCK_NEVER};
}

void timer_arm(struct timer *timer, u64 when)
{
    struct clock *clock = timer->clock;
    struct timer **link = &clock->first;

    pthread_mutex_lock(&clock->lock);
    unlink_timer(timer);
    if (when != CLOCK_NEVER) {
        set_deadline(timer, when);
        timer->armed_in = clock->running ? clock->runs : 0;
        while (*link && (*link)->deadline <= when)
            link = &(*link)->next;
        timer->next = *link;
        *link = timer;
        if (clock->first == timer && clock->deadline_moved)
            clock->deadline_moved(clock->source);
    }
    pthread_mutex_unlock(&clock->lock);
}

void timer_cancel(struct timer *timer)
{
    pthread_mutex_lock(&timer->clock->lock);
    unlink_timer(timer);
    pthread_mutex_unlock(&timer->clock->lock);
}
