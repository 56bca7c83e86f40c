/* SPDX-License-Identifier: MIT
 *
 * Application processors: start-up (SDM 3A 8.4.4.1) and a place to wait for work.
 */
#include "team.h"

#include "smp.h"

enum {
    LAPIC_ID = 0x20,
    LAPIC_SPURIOUS = 0xf0,
    LAPIC_ICR = 0x300,
    LAPIC_ICR2 = 0x310,
    ICR_INIT = 0xc4500, /* to all others, assert */
    ICR_SIPI = 0xc4600,
    ICR_FIXED = 0x4000,
    ICR_OTHERS = 0xc0000,
    FW_CFG = 0x510,
    FW_CFG_CPUS = 5,
};

static u32 apic_ids[TEAM_MAX];
static volatile u32 here;       /* application processors that wait for work */
static volatile u32 generation; /* of the work */
static volatile u32 busy;
static void (*volatile work)(u32 cpu);
static volatile u32 work_count;
static volatile u32 barrier_arrived, barrier_round;

static u32 configured(void)
{
    u32 low;

    asm volatile("outw %w0, %w1" ::"a"(FW_CFG_CPUS), "d"(FW_CFG));
    low = inb(FW_CFG + 1);
    return low | (u32)inb(FW_CFG + 1) << 8;
}

static void team_enter(u32 cpu)
{
    u32 seen = 0;

    asm volatile("lidt %0" ::"m"(idt_pointer));
    apic_ids[cpu] = lapic_read(LAPIC_ID) >> 24;
    lapic_write(LAPIC_SPURIOUS, 0x1ff);
    atomic_add(&here, 1);
    for (;;) {
        while (generation == seen)
            pause();
        seen = generation;
        if (cpu < work_count)
            work(cpu);
        atomic_add(&busy, -1u);
    }
}

static void wait_until_here(u32 count, u32 milliseconds)
{
    u64 end = rdtsc() + tsc_cycles(1000) * milliseconds;

    while (here < count && rdtsc() < end)
        pause();
}

u32 team_start(void)
{
    u32 count = configured();

    apic_ids[0] = lapic_read(LAPIC_ID) >> 24;
    lapic_write(LAPIC_SPURIOUS, 0x1ff);
    if (count < 2)
        return 1;
    if (count > TEAM_MAX)
        guest_panic("%u processors are too many", count);
    ap_prepare(team_enter, 1);
    lapic_write(LAPIC_ICR, ICR_INIT);
    delay_us(10000);
    for (u32 n = 0; n < 2 && here < count - 1; n++) {
        lapic_write(LAPIC_ICR, ICR_SIPI | AP_CODE >> 12);
        wait_until_here(count - 1, n ? 20000 : 10);
    }
    check_eq(here + 1, count, "every processor starts");
    return here + 1;
}

void team_run(u32 count, void (*function)(u32 cpu))
{
    work = function;
    work_count = count;
    busy = here;
    atomic_add(&generation, 1);
    function(0);
    while (busy)
        pause();
}

void team_barrier(u32 count)
{
    u32 round = barrier_round;

    if (atomic_add(&barrier_arrived, 1) == count - 1) {
        barrier_arrived = 0;
        atomic_add(&barrier_round, 1);
        return;
    }
    while (barrier_round == round)
        pause();
}

void team_ipi(u32 apic_id, u32 vector)
{
    if (apic_id == (u32)TEAM_OTHERS) {
        lapic_write(LAPIC_ICR, ICR_FIXED | ICR_OTHERS | vector);
        return;
    }
    lapic_write(LAPIC_ICR2, apic_id << 24);
    lapic_write(LAPIC_ICR, ICR_FIXED | vector);
}

u32 team_apic_id(u32 cpu)
{
    return apic_ids[cpu];
}

void team_gate(u32 vector, const void *entry)
{
    idt_set(vector, entry, K_CS, PRESENT | INTERRUPT_GATE);
    idt[vector].ist = 0;
}
