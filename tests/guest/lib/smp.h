/* SPDX-License-Identifier: MIT
 *
 * Application processors of a 64-bit image. They wait for work and do it; traps on them go to the
 * handlers of trap_set_handler(), but TRY() and contexts are the boot processor's.
 */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include "guest.h"

enum { CPUS_MAX = 16, AP_CODE = 0x8000 };

/* What a SIPI to AP_CODE starts from now on: entry(number) in 64-bit mode, on a stack of its own,
 * with the numbers first, first + 1 ... up to 63 in the order in which processors come. It does not
 * return. smp_start() and team_start() (team.h) do so for their guests. */
typedef void ap_fn(u32 number);
void ap_prepare(ap_fn *entry, u32 first);

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

#endif
