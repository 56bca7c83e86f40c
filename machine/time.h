/* SPDX-License-Identifier: MIT
 *
 * The two sources of guest time behind devices/clock.h, and the TSC that agrees with them.
 *
 * real: the host's monotonic time since power-on; the guest TSC is the host's, counted from
 * power-on. counted: instructions retired, divided by a rate, plus the idle time that was skipped.
 * It depends on nothing but what the guest executed, so two runs with the same input are the same
 * run. Threads: read by the machine's thread only.
 */
#pragma once

#include <time.h>

#include "mem/base/status.h"
#include "mem/base/types.h"

enum time_kind { TIME_REAL, TIME_COUNTED };

/* Rates that a counted machine shows its guest; part of what makes runs repeatable. */
#define TIME_COUNTED_TSC_HZ     1000000000ull
#define TIME_COUNTED_IPS        100000000ull
#define TIME_COUNTED_WALL_START 1767225600ull /* 2026-01-01 00:00:00 UTC, seconds since 1970 */

struct time_source {
    enum time_kind kind;
    bool host_tsc;      /* real: the host TSC is invariant and is the base of everything */
    u64 tsc_hz;         /* of the guest's TSC */
    u64 slowness;       /* real: the host's time passes so many times as fast; at least 1 */
    u64 start;          /* real: host TSC or host ns at power-on, divided by slowness */
    u64 ips;            /* counted: instructions a second */
    u64 skipped_ns;     /* counted: idle time jumped over */
    u64 retired;        /* counted: instructions of all vCPUs up to the running slice */
    const u64 *running; /* counted: icount of the running vCPU, NULL between slices */
    u64 running_start;  /* counted: its value at the start of the slice */
};

/* What a clock of the host says, ns. */
u64 time_of_host(clockid_t clock);
/* Starts at 0 ns. ips is used for TIME_COUNTED only and is at least 1000. Takes 20 ms to measure
 * the host's TSC for TIME_REAL. */
void time_init(struct time_source *time, enum time_kind kind, u64 ips);
/* Real, right after time_init(): guest time and TSC pass `slowness` (at least 1) times slower than
 * the host's, so that a host that is slow for a while, or a build that is, keeps up with a guest's
 * timers. */
void time_slow_down(struct time_source *time, u64 slowness);
/* How long the host takes for ns nanoseconds of guest time; CLOCK_NEVER stays. */
u64 time_for_host(const struct time_source *time, u64 ns);
/* Nanoseconds since power-on; fits struct clock's now(). */
u64 time_now(void *time);
/* The guest's TSC now, 0 at power-on. */
u64 time_tsc(const struct time_source *time);
/* The first ns at which the TSC is >= tsc; CLOCK_NEVER if that is centuries away. */
u64 time_of_tsc(const struct time_source *time, u64 tsc);

/* Counted: a slice of a vCPU whose retired count is *icount begins; ends. */
void time_slice_begin(struct time_source *time, const u64 *icount);
void time_slice_end(struct time_source *time);
/* Counted: nobody runs until ns: jump there. */
void time_skip_to(struct time_source *time, u64 ns);
/* How many instructions may retire before ns is reached, at least 1 (real: an estimate from rate,
 * instructions a second). */
u64 time_budget(const struct time_source *time, u64 ns, u64 rate);
