/* SPDX-License-Identifier: MIT
 *
 * Ends slices in real time: translated code counts no instructions, so a thread that sleeps until
 * the slice's end sets EVENT_STOP then.
 */
#pragma once

#include <pthread.h>

#include "cpu/vcpu.h"

struct alarm {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct vcpu *vcpu; /* whose slice it is, or NULL */
    u64 at;            /* when it ends, host monotonic ns */
    u64 waking_at;     /* when the thread looks next */
    bool quit, running;
};

MUST_USE enum status alarm_create(struct alarm *alarm, struct error *err);
void alarm_destroy(struct alarm *alarm);
/* v gets EVENT_STOP in ns nanoseconds, unless alarm_clear() comes first. */
void alarm_set(struct alarm *alarm, struct vcpu *v, u64 ns);
void alarm_clear(struct alarm *alarm);
