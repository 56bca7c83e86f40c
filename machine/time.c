/* SPDX-License-Identifier: MIT */
#include "machine/time.h"

#include <cpuid.h>
#include <time.h>

#include "devices/clock.h"

enum { CALIBRATION_NS = 20000000 };

u64 time_of_host(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (u64)ts.tv_sec * NS_PER_SECOND + (u64)ts.tv_nsec;
}

static u64 host_tsc(void)
{
    return __builtin_ia32_rdtsc();
}

/* a * b / c without overflow of the product. */
static u64 mul_div(u64 a, u64 b, u64 c)
{
    return (u64)((u128)a * b / c);
}

static u64 mul_div_up(u64 a, u64 b, u64 c)
{
    u128 q = ((u128)a * b + c - 1) / c;

    return q >> 64 ? CLOCK_NEVER : (u64)q;
}

/* CPUID.80000007H:EDX[8]. */
static bool host_tsc_invariant(void)
{
    u32 a, b, c, d;

    return __get_cpuid(0x80000007, &a, &b, &c, &d) && (d & BIT(8));
}

static u64 measure_tsc_hz(void)
{
    u64 ns0 = time_of_host(CLOCK_MONOTONIC), tsc0 = host_tsc(), ns1;

    do
        ns1 = time_of_host(CLOCK_MONOTONIC);
    while (ns1 - ns0 < CALIBRATION_NS);
    return mul_div(host_tsc() - tsc0, NS_PER_SECOND, ns1 - ns0);
}

/* What `start` is subtracted from. */
static u64 host_count(const struct time_source *time)
{
    return (time->host_tsc ? host_tsc() : time_of_host(CLOCK_MONOTONIC)) / time->slowness;
}

void time_init(struct time_source *time, enum time_kind kind, u64 ips)
{
    *time = (struct time_source){
        .kind = kind, .ips = ips, .tsc_hz = TIME_COUNTED_TSC_HZ, .slowness = 1};
    if (kind == TIME_COUNTED)
        return;
    time->host_tsc = host_tsc_invariant();
    if (time->host_tsc)
        time->tsc_hz = measure_tsc_hz();
    time->start = host_count(time);
}

void time_slow_down(struct time_source *time, u64 slowness)
{
    time->slowness = slowness;
    time->start = host_count(time);
}

u64 time_for_host(const struct time_source *time, u64 ns)
{
    return ns > CLOCK_NEVER / time->slowness ? CLOCK_NEVER : ns * time->slowness;
}

static u64 counted_instructions(const struct time_source *time)
{
    return time->retired + (time->running ? *time->running - time->running_start : 0);
}

u64 time_now(void *opaque)
{
    const struct time_source *time = opaque;

    if (time->kind == TIME_COUNTED)
        return mul_div(counted_instructions(time), NS_PER_SECOND, time->ips) + time->skipped_ns;
    if (time->host_tsc)
        return mul_div(host_count(time) - time->start, NS_PER_SECOND, time->tsc_hz);
    return host_count(time) - time->start;
}

u64 time_tsc(const struct time_source *time)
{
    if (time->kind == TIME_REAL && time->host_tsc)
        return host_count(time) - time->start;
    return mul_div(time_now((void *)time), time->tsc_hz, NS_PER_SECOND);
}

u64 time_of_tsc(const struct time_source *time, u64 tsc)
{
    return mul_div_up(tsc, NS_PER_SECOND, time->tsc_hz);
}

void time_slice_begin(struct time_source *time, const u64 *icount)
{
    time->running_start = *icount;
    time->running = icount;
}

void time_slice_end(struct time_source *time)
{
    time->retired = counted_instructions(time);
    time->running = NULL;
}

void time_skip_to(struct time_source *time, u64 ns)
{
    u64 now = time_now(time);

    if (time->kind == TIME_COUNTED && ns > now)
        time->skipped_ns += ns - now;
}

u64 time_budget(const struct time_source *time, u64 ns, u64 rate)
{
    u64 now = time_now((void *)time);
    u64 insns;

    if (ns <= now)
        return 1;
    insns = mul_div_up(ns - now, time->kind == TIME_COUNTED ? time->ips : rate, NS_PER_SECOND);
    return insns ? insns : 1;
}
