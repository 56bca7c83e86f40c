/* SPDX-License-Identifier: MIT
 *
 * Synthetic timers (TLFS "Synthetic timers"): four a VP, one-shot or periodic, that send a message
 * or raise an interrupt. Never early; a periodic timer that missed ticks catches up with shorter
 * periods, at most three of them, and skips the rest (lazy: skips all).
 *
 * The lock of the VP guards its timers: they expire on the thread that runs the clock, under the
 * platform's lock as well, and the VP sets them without that. A guest that is woken by a timer and
 * sets the next one does not have to wait until whoever woke it is done.
 */
#include "hv1/internal.h"

enum { CATCH_UP_MAX = 3 };

static void timer_stop(struct hv1_timer *t)
{
    timer_cancel(&t->timer);
    t->due = 0;
}

static void set_alarm(struct hv1_timer *t, u64 when)
{
    t->alarm = when;
    timer_arm(&t->timer, time_to_ns(t->vp->hv1, when));
}

static u64 add_saturating(u64 a, u64 b)
{
    return a > ~0ull - b ? ~0ull : a + b;
}

/* A count of 0 is a timer without a time: it stays as it is until it gets one. */
static void timer_start(struct hv1_timer *t)
{
    bool periodic = t->config & HV_STIMER_PERIODIC;

    timer_stop(t);
    if (!(t->config & HV_STIMER_ENABLED) || !t->count)
        return;
    t->due = periodic ? add_saturating(hv1_time(t->vp->hv1), t->count) : t->count;
    set_alarm(t, t->due);
}

static void expire(struct hv1_timer *t)
{
    t->expiration = t->due;
    if (t->config & HV_STIMER_DIRECT)
        vp_interrupt(t->vp, HV_STIMER_VECTOR(t->config));
    else
        synic_post_timer(t);
}

/* The next tick of a periodic timer that has just expired at `now`. */
static void next_period(struct hv1_timer *t, u64 now)
{
    u64 missed, at;

    t->due = add_saturating(t->due, t->count);
    at = t->due;
    if (t->due <= now) {
        missed = (now - t->due) / t->count + 1;
        if (t->config & HV_STIMER_LAZY) {
            t->due = add_saturating(t->due, missed * t->count);
            at = t->due;
        } else {
            if (missed > CATCH_UP_MAX) {
                t->due += (missed - CATCH_UP_MAX) * t->count;
                missed = CATCH_UP_MAX;
            }
            at = now + t->count / (missed + 1) + 1;
        }
    }
    set_alarm(t, at);
}

/* The VP may have changed the timer since the clock took it out of its queue. */
static void look_at(struct hv1_timer *t)
{
    u64 now = hv1_time(t->vp->hv1);

    if (!t->due)
        return;
    if (now < t->alarm) {
        set_alarm(t, t->alarm);
        return;
    }
    expire(t);
    if (t->config & HV_STIMER_PERIODIC) {
        next_period(t, now);
    } else {
        t->due = 0;
        t->config &= ~HV_STIMER_ENABLED;
    }
}

static void timer_fire(void *opaque)
{
    struct hv1_timer *t = opaque;

    pthread_mutex_lock(&t->vp->lock);
    look_at(t);
    pthread_mutex_unlock(&t->vp->lock);
}

/* Without a SINT to send its message to, a timer cannot be enabled. */
static u64 checked_config(u64 config)
{
    if (!(config & HV_STIMER_DIRECT) && !HV_STIMER_SINT(config))
        config &= ~HV_STIMER_ENABLED;
    return config;
}

static bool write_config(struct hv1_timer *t, u64 value)
{
    if ((value & HV_STIMER_RESERVED) ||
        ((value & HV_STIMER_DIRECT) && !hv1_has(t->vp->hv1, HV1_STIMER_DIRECT)))
        return false;
    t->config = checked_config(value);
    timer_start(t);
    return true;
}

static void write_count(struct hv1_timer *t, u64 value)
{
    t->count = value;
    if (!value)
        t->config &= ~HV_STIMER_ENABLED;
    else if (t->config & HV_STIMER_AUTO_ENABLE)
        t->config = checked_config(t->config | HV_STIMER_ENABLED);
    timer_start(t);
}

/* -- a VP that sleeps wakes up by itself: whoever runs the clock need not -- */

u64 hv1_sleeps(struct hv1 *h, struct vcpu *v)
{
    struct hv1_vp *vp = hv1_vp_of(h, v);
    u64 first = CLOCK_NEVER;

    pthread_mutex_lock(&vp->lock);
    for (unsigned n = 0; n < HV_STIMERS; n++) {
        struct hv1_timer *t = &vp->stimer[n];
        u64 when;

        if (!t->due || !(t->config & HV_STIMER_DIRECT))
            continue;
        timer_cancel(&t->timer);
        when = time_to_ns(h, t->alarm);
        if (when < first)
            first = when;
    }
    pthread_mutex_unlock(&vp->lock);
    return first;
}

void hv1_wakes(struct hv1 *h, struct vcpu *v)
{
    struct hv1_vp *vp = hv1_vp_of(h, v);

    pthread_mutex_lock(&vp->lock);
    for (unsigned n = 0; n < HV_STIMERS; n++)
        if (vp->stimer[n].config & HV_STIMER_DIRECT)
            look_at(&vp->stimer[n]);
    pthread_mutex_unlock(&vp->lock);
}

u64 stimer_read(struct hv1_vp *vp, u32 msr)
{
    const struct hv1_timer *t = &vp->stimer[(msr - HV_X64_MSR_STIMER0_CONFIG) / 2];
    u64 value;

    pthread_mutex_lock(&vp->lock);
    value = msr % 2 ? t->count : t->config;
    pthread_mutex_unlock(&vp->lock);
    return value;
}

bool stimer_write(struct hv1_vp *vp, u32 msr, u64 value)
{
    struct hv1_timer *t = &vp->stimer[(msr - HV_X64_MSR_STIMER0_CONFIG) / 2];
    bool ok = true;

    pthread_mutex_lock(&vp->lock);
    if (msr % 2)
        write_count(t, value);
    else
        ok = write_config(t, value);
    pthread_mutex_unlock(&vp->lock);
    return ok;
}

void stimer_init(struct hv1_vp *vp)
{
    for (unsigned n = 0; n < HV_STIMERS; n++) {
        struct hv1_timer *t = &vp->stimer[n];

        t->vp = vp;
        timer_init(&t->timer, vp->hv1->config.clock, "synthetic timer", timer_fire, t);
    }
}

void stimer_cancel(struct hv1_vp *vp)
{
    for (unsigned n = 0; n < HV_STIMERS; n++)
        timer_cancel(&vp->stimer[n].timer);
}

void stimer_reset(struct hv1_vp *vp)
{
    pthread_mutex_lock(&vp->lock);
    for (unsigned n = 0; n < HV_STIMERS; n++) {
        struct hv1_timer *t = &vp->stimer[n];

        timer_stop(t);
        t->config = t->count = t->expiration = t->alarm = 0;
        t->message = false;
    }
    pthread_mutex_unlock(&vp->lock);
}
