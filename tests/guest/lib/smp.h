/* SPDX-License-Identifier: MIT
 *
 * Application processors of a 64-bit image. They wait for work and do it; traps on them go to the
 * handlers of trap_set_handler(), but TRY() and contexts are the boot processor's.
 */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include "guest.h"

enum { CPUS_MAX = 16 };

typedef void smp_fn(ulong arg);

/* Starts all processors that CPUID and the local APICs know, one after the other; how many run, the
 * boot processor among them. Numbers are APIC ids, 0 on. Call once. */
u32 smp_start(void);
/* Makes processor cpu call fn(arg); smp_wait() returns when it has. */
void smp_begin(u32 cpu, smp_fn *fn, ulong arg);
void smp_wait(u32 cpu);
void smp_run(u32 cpu, smp_fn *fn, ulong arg);
/* INIT and SIPI once more; true when the processor is back. */
bool smp_restart(u32 cpu);

static inline void pause_cpu(void)
{
    asm volatile("pause" ::: "memory");
}

#endif
