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
    };
}

u64 clock_next_deadline(const struct clock *clock)
{
    return clock->first ? clock->first->deadline : CLOCK_NEVER;
}

/* The first timer that is due and was not armed by this very run. */
static struct timer *next_due(const struct clock *clock, u64 now)
{
    for (struct timer *timer = clock->first; timer && timer->deadline <= now; timer = timer->next) {
        if (timer->armed_in != clock->runs)
            return timer;
    }
    return NULL;
}

void clock_run(struct clock *clock)
{
    u64 now = clock_now(clock);
    struct timer *timer;

    clock->runs++;
    clock->running = true;
    while ((timer = next_due(clock, now))) {
        timer_cancel(timer);
        timer->fire(timer->opaque);
    }
    clock->running = false;
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

    timer_cancel(timer);
    if (when == CLOCK_NEVER)
        return;
    timer->deadline = when;
    timer->armed_in = clock->running ? clock->runs : 0;
    while (*link && (*link)->deadline <= when)
        link = &(*link)->next;
    timer->next = *link;
    *link = timer;
    if (clock->first == timer && clock->deadline_moved)
        clock->deadline_moved(clock->source);
}

void timer_cancel(struct timer *timer)
{
    struct timer **link = &timer->clock->first;

    if (!timer_armed(timer))
        return;
    while (*link != timer)
        link = &(*link)->next;
    *link = timer->next;
    timer->next = NULL;
    timer->deadline = CLOCK_NEVER;
}
