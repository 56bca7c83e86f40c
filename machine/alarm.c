/* SPDX-License-Identifier: MIT */
#include "machine/alarm.h"

#include <time.h>

#include "devices/clock.h"

static u64 monotonic_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (u64)now.tv_sec * NS_PER_SECOND + (u64)now.tv_nsec;
}

/* Sleeps until the alarm is due or an earlier one was set. A later one needs no call: the thread
 * wakes, sees that it is early and sleeps on. */
static void wait_until(struct alarm *alarm, u64 ns)
{
    struct timespec at = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                          .tv_nsec = (long)(ns % NS_PER_SECOND)};

    alarm->waking_at = ns;
    if (ns == CLOCK_NEVER)
        pthread_cond_wait(&alarm->changed, &alarm->lock);
    else
        pthread_cond_timedwait(&alarm->changed, &alarm->lock, &at);
}

static void *alarm_loop(void *opaque)
{
    struct alarm *alarm = opaque;

    pthread_mutex_lock(&alarm->lock);
    while (!alarm->quit) {
        if (!alarm->vcpu) {
            wait_until(alarm, CLOCK_NEVER);
        } else if (monotonic_ns() < alarm->at) {
            wait_until(alarm, alarm->at);
        } else {
            vcpu_signal(alarm->vcpu, EVENT_STOP);
            alarm->vcpu = NULL;
        }
    }
    pthread_mutex_unlock(&alarm->lock);
    return NULL;
}

enum status alarm_create(struct alarm *alarm, struct error *err)
{
    pthread_condattr_t attributes;

    *alarm = (struct alarm){.waking_at = CLOCK_NEVER};
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&alarm->lock, NULL);
    pthread_cond_init(&alarm->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (pthread_create(&alarm->thread, NULL, alarm_loop, alarm)) {
        pthread_cond_destroy(&alarm->changed);
        pthread_mutex_destroy(&alarm->lock);
        return error_set(err, ST_NO_MEMORY,
                         "The host gives no thread for timers; close some programs.");
    }
    alarm->running = true;
    return ST_OK;
}

void alarm_destroy(struct alarm *alarm)
{
    if (!alarm->running)
        return;
    pthread_mutex_lock(&alarm->lock);
    alarm->quit = true;
    pthread_cond_signal(&alarm->changed);
    pthread_mutex_unlock(&alarm->lock);
    pthread_join(alarm->thread, NULL);
    pthread_cond_destroy(&alarm->changed);
    pthread_mutex_destroy(&alarm->lock);
    alarm->running = false;
}

void alarm_set(struct alarm *alarm, struct vcpu *v, u64 ns)
{
    pthread_mutex_lock(&alarm->lock);
    alarm->vcpu = v;
    alarm->at = monotonic_ns() + ns;
    if (alarm->at < alarm->waking_at)
        pthread_cond_signal(&alarm->changed);
    pthread_mutex_unlock(&alarm->lock);
}

void alarm_clear(struct alarm *alarm)
{
    pthread_mutex_lock(&alarm->lock);
    alarm->vcpu = NULL;
    pthread_mutex_unlock(&alarm->lock);
}
