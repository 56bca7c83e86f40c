/* SPDX-License-Identifier: MIT */
#include "machine/alarm.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "devices/clock.h"

static void on_alarm(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)context;
    vcpu_signal(info->si_value.sival_ptr, EVENT_STOP);
}

enum status alarm_prepare(struct error *err)
{
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO | SA_RESTART};

    sigemptyset(&action.sa_mask);
    if (sigaction(ALARM_SIGNAL, &action, NULL))
        return error_set(err, ST_NO_MEMORY, "The host lets no handler of signal %d be set.",
                         ALARM_SIGNAL);
    return ST_OK;
}

bool alarm_create(struct alarm *alarm, struct vcpu *v)
{
    struct sigevent event = {
        .sigev_notify = SIGEV_THREAD_ID, .sigev_signo = ALARM_SIGNAL, .sigev_value.sival_ptr = v};
    sigset_t set;

    /* sigev_notify_thread_id, which glibc 2.36 lacks */
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    *alarm = (struct alarm){0};
    if (timer_create(CLOCK_MONOTONIC, &event, &alarm->timer))
        return false;
    alarm->made = true;
    sigemptyset(&set);
    sigaddset(&set, ALARM_SIGNAL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    return true;
}

void alarm_destroy(struct alarm *alarm)
{
    if (alarm->made)
        timer_delete(alarm->timer);
    alarm->made = false;
}

void alarm_set(struct alarm *alarm, u64 ns)
{
    const struct itimerspec in = {.it_value = {.tv_sec = (time_t)(ns / NS_PER_SECOND),
                                               .tv_nsec = (long)(ns % NS_PER_SECOND)}};

    check(!timer_settime(alarm->timer, 0, &in, NULL), "a timer of %lu ns", ns);
}

void alarm_clear(struct alarm *alarm)
{
    alarm_set(alarm, 0);
}
