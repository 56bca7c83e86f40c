/* SPDX-License-Identifier: MIT */
#include "machine/alarm.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/clock.h"

static void on_alarm(int signal, siginfo_t *info, void *context)
{
    struct alarm *alarm = info->si_value.sival_ptr;
    struct vcpu *v = __atomic_load_n(&alarm->vcpu, __ATOMIC_RELAXED);

    (void)signal, (void)context;
    if (v)
        vcpu_signal(v, EVENT_STOP);
}

static pid_t this_thread(void)
{
    return (pid_t)syscall(SYS_gettid);
}

/* A timer that interrupts this thread. */
static bool make_timer(struct alarm *alarm)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID,
                             .sigev_signo = ALARM_SIGNAL,
                             .sigev_value.sival_ptr = alarm};
    sigset_t set;

    event._sigev_un._tid = this_thread(); /* sigev_notify_thread_id, which glibc 2.36 lacks */
    if (timer_create(CLOCK_MONOTONIC, &event, &alarm->timer))
        return false;
    sigemptyset(&set);
    sigaddset(&set, ALARM_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    alarm->thread = this_thread();
    return true;
}

enum status alarm_create(struct alarm *alarm, struct error *err)
{
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};

    *alarm = (struct alarm){0};
    sigemptyset(&action.sa_mask);
    if (sigaction(ALARM_SIGNAL, &action, NULL) || !make_timer(alarm))
        return error_set(
            err, ST_NO_MEMORY,
            "The host gives no timer; raise its limit of pending signals (ulimit -i).");
    return ST_OK;
}

void alarm_destroy(struct alarm *alarm)
{
    if (alarm->thread)
        timer_delete(alarm->timer);
    alarm->thread = 0;
}

static void arm(struct alarm *alarm, u64 ns)
{
    const struct itimerspec in = {.it_value = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                                               .tv_nsec = (long)(ns % NS_PER_SECOND)}};

    check(!timer_settime(alarm->timer, 0, &in, NULL), "a timer of %lu ns", ns);
}

void alarm_set(struct alarm *alarm, struct vcpu *v, u64 ns)
{
    if (unlikely(alarm->thread != this_thread())) {
        alarm_destroy(alarm);
        check(make_timer(alarm), "a thread without a timer");
    }
    __atomic_store_n(&alarm->vcpu, v, __ATOMIC_RELAXED);
    arm(alarm, ns ? ns : 1);
}

void alarm_clear(struct alarm *alarm)
{
    __atomic_store_n(&alarm->vcpu, NULL, __ATOMIC_RELAXED);
    arm(alarm, 0);
}
