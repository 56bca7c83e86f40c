/* SPDX-License-Identifier: MIT
 *
 * Several processors in a guest test: starting them, running a function on all of them at once.
 */
#ifndef GUEST_TEAM_H
#define GUEST_TEAM_H

#include "guest.h"

enum { TEAM_MAX = 64 };

/* Starts all application processors by INIT and SIPI. Returns how many processors there are; fails
 * a check if some do not come. */
u32 team_start(void);
/* Runs function(number) on processors 0 (the caller) to count - 1, and returns when all are done.
 */
void team_run(u32 count, void (*function)(u32 cpu));
/* Inside of a function that count processors run: nobody goes on before all have come. */
void team_barrier(u32 count);
/* A fixed interrupt to another processor, or with TEAM_OTHERS to all. */
enum { TEAM_OTHERS = ~0u };
void team_ipi(u32 apic_id, u32 vector);
u32 team_apic_id(u32 cpu);
/* An interrupt gate on the interrupted stack, which every processor has of its own. */
void team_gate(u32 vector, const void *entry);

static inline u32 atomic_add(volatile u32 *at, u32 by)
{
    asm volatile("lock xadd %0, %1" : "+r"(by), "+m"(*at)::"memory");
    return by;
}

#endif
