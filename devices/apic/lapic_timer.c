/* SPDX-License-Identifier: MIT
 *
 * Local APIC timer: one-shot, periodic and TSC-deadline (SDM 3A 10.5.4).
 *
 * Nothing counts: the count is computed from the clock. Counting began at start_ns with
 * count_start; the n-th end of count lies count_start + n * initial_count counts later, and all
 * conversions go from there in 128 bits, so that a periodic timer never drifts.
 */
#include "devices/apic/lapic_internal.h"

#include "mem/base/bits.h"

/* DEVIATION: periods below this deliver at this pace. No processor could take an interrupt every
 * nanosecond, but the host would be busy with nothing else. Counts stay exact. Test:
 * lapic_timer tiny_period_is_paced. */
enum { MIN_PERIOD_NS = 1000 };

static enum lapic_timer_mode timer_mode(const struct lapic *l)
{
    return (enum lapic_timer_mode)bits_get(l->lvt[LVT_TIMER], 17, 2);
}

/* Divide configuration: 000b is 2, ... 110b is 128, 111b is 1 (SDM 3A figure 10-10). */
static unsigned divide_shift(const struct lapic *l)
{
    unsigned code = (l->divide & 3) | (l->divide & 8) >> 1;

    return (code + 1) & 7;
}

static u64 counts_at(const struct lapic *l, u64 ns)
{
    u128 cycles = (u128)(ns - l->start_ns) * l->config.bus_hz / NS_PER_SECOND;

    return (u64)(cycles >> divide_shift(l));
}

/* The first nanosecond at which that many counts have passed. */
static u64 ns_of_counts(const struct lapic *l, u64 counts)
{
    u128 scaled = ((u128)counts << divide_shift(l)) * NS_PER_SECOND;

    return l->start_ns + (u64)((scaled + l->config.bus_hz - 1) / l->config.bus_hz);
}

static void arm(struct lapic *l, u64 when)
{
    l->due = when;
    timer_arm(&l->timer, when);
}

/* Arms for the first end of count after after_ns. */
static void arm_count(struct lapic *l, u64 after_ns)
{
    u64 passed = counts_at(l, after_ns), end = l->count_start;

    if (passed >= end)
        end += ((passed - end) / l->initial_count + 1) * l->initial_count;
    arm(l, ns_of_counts(l, end));
}

static void start_count(struct lapic *l, u32 count)
{
    l->count_start = count;
    l->start_ns = clock_now(l->clock);
    arm_count(l, l->start_ns);
}

static void stop(struct lapic *l)
{
    l->counting = false;
    l->tsc_deadline = 0;
    l->due = CLOCK_NEVER;
    timer_cancel(&l->timer);
}

static void expire(struct lapic *l)
{
    if (timer_mode(l) == TIMER_PERIODIC) {
        u64 now = clock_now(l->clock);
        u64 period = ns_of_counts(l, l->initial_count) - l->start_ns;

        arm_count(l, period < MIN_PERIOD_NS ? now + MIN_PERIOD_NS : now);
    } else {
        stop(l);
    }
    lapic_fire_lvt(l, LVT_TIMER);
}

/* An end of count that has passed but was not fired yet comes before what the guest does now. */
static void catch_up(struct lapic *l)
{
    if (l->due > clock_now(l->clock))
        return;
    timer_cancel(&l->timer);
    expire(l);
}

/* The vCPU's thread may have changed the timer, or caught up with it, since the clock took it out
 * of its queue. */
static void fire(void *opaque)
{
    struct lapic *l = opaque;

    lapic_enter(l);
    if (l->due <= clock_now(l->clock))
        expire(l);
    lapic_leave(l);
}

static void arm_tsc_deadline(struct lapic *l)
{
    u64 when = l->config.sink.tsc_to_ns(l->config.sink.opaque, l->tsc_deadline);

    arm(l, when);
    catch_up(l);
}

void lapic_timer_init(struct lapic *l)
{
    l->due = CLOCK_NEVER;
    timer_init(&l->timer, l->clock, "lapic", fire, l);
}

void lapic_timer_reset(struct lapic *l)
{
    stop(l);
    l->divide = 0;
    l->initial_count = 0;
    l->count_start = 0;
    l->start_ns = 0;
}

u32 lapic_timer_current(const struct lapic *l)
{
    u64 passed;

    if (!l->counting)
        return 0;
    passed = counts_at(l, clock_now(l->clock));
    if (passed < l->count_start)
        return (u32)(l->count_start - passed);
    if (timer_mode(l) == TIMER_ONE_SHOT)
        return 0;
    return (u32)(l->initial_count - (passed - l->count_start) % l->initial_count);
}

void lapic_timer_write_initial(struct lapic *l, u32 count)
{
    enum lapic_timer_mode mode = timer_mode(l);

    if (mode == TIMER_TSC_DEADLINE) /* ignored, SDM 3A 10.5.4.1 */
        return;
    catch_up(l);
    stop(l);
    l->initial_count = count;
    if (!count || mode == TIMER_RESERVED)
        return;
    l->counting = true;
    start_count(l, count);
}

void lapic_timer_write_divide(struct lapic *l, u32 value)
{
    u32 current;

    catch_up(l);
    current = lapic_timer_current(l);
    l->divide = value;
    if (l->counting)
        start_count(l, current);
}

/* Counting goes on between one-shot and periodic; every other change of mode disarms the timer. */
void lapic_timer_write_lvt(struct lapic *l, u32 value)
{
    enum lapic_timer_mode from = timer_mode(l), to;
    u32 current;

    catch_up(l);
    current = lapic_timer_current(l);
    l->lvt[LVT_TIMER] = value;
    to = timer_mode(l);
    if (from == to)
        return;
    if (from >= TIMER_TSC_DEADLINE || to >= TIMER_TSC_DEADLINE)
        stop(l);
    else if (l->counting)
        start_count(l, current);
}

u64 lapic_tsc_deadline_read(const struct lapic *l)
{
    u64 tsc;

    lapic_enter(l);
    tsc = l->tsc_deadline;
    lapic_leave_unchanged(l);
    return tsc;
}

static void write_tsc_deadline(struct lapic *l, u64 tsc)
{
    if (timer_mode(l) != TIMER_TSC_DEADLINE)
        return;
    catch_up(l);
    stop(l);
    if (!tsc)
        return;
    l->tsc_deadline = tsc;
    arm_tsc_deadline(l);
}

void lapic_tsc_deadline_write(struct lapic *l, u64 tsc)
{
    lapic_enter(l);
    write_tsc_deadline(l, tsc);
    lapic_leave(l);
}

void lapic_tsc_changed(struct lapic *l)
{
    lapic_enter(l);
    if (l->tsc_deadline)
        arm_tsc_deadline(l);
    lapic_leave(l);
}
