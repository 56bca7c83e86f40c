/* SPDX-License-Identifier: MIT
 *
 * Stops a running vCPU at a point of real time: a timer interrupts the very thread that runs it,
 * and the handler of the signal (ALARM_SIGNAL) sets EVENT_STOP. A thread that sleeps for that would
 * wake late: an idle processor of a host that is itself a guest needs up to some milliseconds.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "cpu/vcpu.h"

#define ALARM_SIGNAL SIGRTMIN

struct alarm {
    timer_t timer;
    bool made;
};

/* Takes ALARM_SIGNAL for the process. */
MUST_USE enum status alarm_prepare(struct error *err);
/* v is run by the calling thread. false: the host gives no timer. */
MUST_USE bool alarm_create(struct alarm *alarm, struct vcpu *v);
void alarm_destroy(struct alarm *alarm);
/* The vCPU gets EVENT_STOP in ns nanoseconds (0: not at all), unless alarm_clear() or another
 * alarm_set() comes first. */
void alarm_set(struct alarm *alarm, u64 ns);
void alarm_clear(struct alarm *alarm);
