/* SPDX-License-Identifier: MIT
 *
 * Ends slices in real time: translated code counts no instructions, so a timer interrupts it at the
 * slice's end, and the signal's handler sets EVENT_STOP. The signal (ALARM_SIGNAL) goes to the very
 * thread that runs the slice: the processor of a sleeping one may wake up milliseconds late.
 */
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <time.h>

#include "cpu/vcpu.h"

#define ALARM_SIGNAL SIGRTMIN

struct alarm {
    struct vcpu *vcpu; /* whose slice it is, or NULL */
    timer_t timer;
    pid_t thread; /* that the timer interrupts; 0: there is none yet */
};

/* Takes ALARM_SIGNAL for the process. */
MUST_USE enum status alarm_create(struct alarm *alarm, struct error *err);
void alarm_destroy(struct alarm *alarm);
/* v gets EVENT_STOP in ns nanoseconds, unless alarm_clear() comes first, on the same thread. */
void alarm_set(struct alarm *alarm, struct vcpu *v, u64 ns);
void alarm_clear(struct alarm *alarm);
