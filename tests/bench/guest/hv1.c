// SPDX-License-Identifier: MIT
// What Hv#1 makes cheaper: reading the clock, interrupts to another processor, TLB shoot-downs,
// timers and idleness. Of timers and idle the host takes the emulator's processor time.
#define _GNU_SOURCE
#include <linux/membarrier.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

// -- the clock: the counter alone, and what the C library and the kernel's vDSO make of it --

u64 bench_rdtsc(u64 count)
{
    u64 backwards = 0;
    for (u64 i = 0, before = 0; i < count * 1000; i++) {
        u64 now = __builtin_ia32_rdtsc();
        backwards += now < before;
        before = now;
    }
    expect(backwards == 0, "the counter does not go back");
    return count;
}

u64 bench_gettime(u64 count)
{
    u64 backwards = 0;
    for (u64 i = 0, before = 0; i < count * 1000; i++) {
        struct timespec t;
        clock_gettime(CLOCK_MONOTONIC, &t);
        u64 now = (u64)t.tv_sec * 1000000000 + t.tv_nsec;
        backwards += now < before;
        before = now;
    }
    expect(backwards == 0, "time does not go back");
    return count;
}

// -- one thread works, the other is busy on its processor and has to be interrupted --

static volatile u32 finished;

static void busy(void)
{
    while (!finished)
        __builtin_ia32_pause();
}

static u64 ipi_work(int member, u64 count)
{
    if (member > 0)
        return busy(), 0;
    for (u64 i = 0; i < count * 100; i++)
        expect(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) == 0, "membarrier");
    finished = 1;
    return count;
}

u64 bench_ipi(u64 count)
{
    expect(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0,
           "registration of membarrier");
    return run_threads(TEAM, ipi_work, count);
}

static u64 munmap_work(int member, u64 count)
{
    enum { PAGES = 4 };
    if (member > 0)
        return busy(), 0;
    for (u64 i = 0; i < count * 100; i++) {
        u8 *at =
            mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        expect(at != MAP_FAILED, "mmap");
        for (int page = 0; page < PAGES; page++)
            at[page * 4096] = (u8)i;
        expect(munmap(at, PAGES * 4096) == 0, "munmap");
    }
    finished = 1;
    return count;
}

u64 bench_munmap(u64 count)
{
    return run_threads(TEAM, munmap_work, count);
}

// -- little or nothing to do --

static void sleep_for(long ns)
{
    struct timespec t = {ns / 1000000000, ns % 1000000000};
    expect(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, NULL) == 0, "clock_nanosleep");
}

static u64 timers_work(int member, u64 count)
{
    (void)member;
    for (u64 i = 0; i < count * 100; i++)
        sleep_for(200000);
    return count;
}

u64 bench_timers(u64 count)
{
    return run_threads(TEAM, timers_work, count);
}

u64 bench_idle(u64 count)
{
    sleep_for((long)count * 100000000);
    return count;
}
