/* SPDX-License-Identifier: MIT
 *
 * What a processor changes in tables on its own is locked (SDM 3A 8.1.2.1): the busy bit of a TSS,
 * the accessed bit of a descriptor, A and D of a page-table entry. One of those who claim a TSS
 * gets it; what others store to the rest of the same entry, locked or plainly, is not undone.
 */
#include "team.h"

#include "crossings.h"

#define VA 0x0000224500000000ul

enum {
    WANTED = 100000, /* crossings: an instruction here takes long beside what must not be divided */
    WANTED_US = 500000,
    FREE_TSS = FREE_SEL,
    FREE_DATA = FREE_SEL + 16,
    ACCESS_BYTE = 5, /* of a descriptor */
    BUSY = 2,
    BASE = 16,     /* bits 39:16 of a descriptor */
    DPL = 45,      /* bits 46:45 */
    AVAILABLE = 9, /* bits 11:9 of a page-table entry, and without protection keys 62:52 */
    IGNORED = 52,
};

static u32 cpus, rounds;
static struct crossings crossings;
static volatile u32 done[TEAM_MAX], bad;

static void bad_if(bool truth)
{
    if (truth)
        atomic_add(&bad, 1);
}

static bool go_on(u32 cpu, u32 n)
{
    crossings_step(&crossings, cpu);
    return !crossings.lost && (n < rounds || !crossings_enough(&crossings));
}

static u64 run(void (*function)(u32 cpu))
{
    u64 sum = 0;

    bad = 0;
    crossings_begin(&crossings, WANTED, WANTED_US);
    team_run(cpus, function);
    for (u32 n = 0; n < cpus; n++)
        sum += done[n];
    return sum;
}

/* -- the busy bit: who has loaded the TSS has a lock -- */

static volatile struct {
    u32 count;
    u32 pad[31];
} guarded;

static volatile u8 *access_byte(u32 selector)
{
    return (volatile u8 *)&gdt[selector / 8] + ACCESS_BYTE;
}

/* #GP at LTR, which is three bytes long: CF says so. On the stack that was interrupted. */
extern const u8 ltr_fault[];
asm(".text\nltr_fault:\n"
    "add $8, %rsp\n"
    "addq $3, (%rsp)\n"
    "orb $1, 16(%rsp)\n"
    "iretq\n");

static bool load_tr(u16 selector)
{
    bool fault;

    asm volatile("clc; ltr %w1" : "=@ccc"(fault) : "a"(selector) : "memory");
    return !fault;
}

static void claim_tss(u32 cpu)
{
    u32 n;

    team_barrier(cpus);
    for (n = 0; go_on(cpu, n); n++) {
        struct lock_watch watch = {0};
        u32 seen;

        while (!load_tr(FREE_TSS) && !lock_lost(&crossings, &watch, guarded.count))
            ;
        seen = guarded.count;
        asm volatile("" ::: "memory");
        guarded.count = seen + 1;
        asm volatile("lock andb %1, %0" : "+m"(*access_byte(FREE_TSS)) : "i"((u8)~BUSY) : "cc");
    }
    done[cpu] = n;
}

static void busy_bit(void)
{
    u64 want;

    descriptor_set(FREE_TSS, gdt[TSS_SEL / 8] & ~((u64)BUSY << ACCESS_BYTE * 8));
    descriptor_set(FREE_TSS + 8, gdt[TSS_SEL / 8 + 1]);
    team_gate(GP, ltr_fault);
    guarded.count = 0;
    want = run(claim_tss);
    check(!crossings.lost, "LTR: somebody has the TSS");
    check_eq(guarded.count, want, "LTR: one of those who load a TSS gets it");
    *access_byte(TSS_SEL) &= (u8)~BUSY;
    check(load_tr(TSS_SEL), "LTR of the first TSS");
}

/* -- bits beside what others store -- */

/* Processor 2 stores the byte at bit `plain`, but changes only the three bits from there on. The
 * others toggle bit `locked`, each its own, LOCKed. All stay as they were left. */
static void store_beside(volatile u64 *entry, u32 cpu, u32 n, u32 plain, u32 locked)
{
    volatile u8 *at = (volatile u8 *)entry + plain / 8;
    u8 mask = (u8)(7 << plain % 8), value = (u8)((*at & ~mask) | (n << plain % 8 & mask));
    bool was;

    if (cpu == 2) {
        *at = value;
        bad_if(*at != value);
        return;
    }
    asm volatile("lock btcq %2, %1" : "=@ccc"(was), "+m"(*entry) : "r"((ulong)locked) : "memory");
    bad_if(was != (n & 1));
}

/* The DPL is in the byte of the accessed bit, and may be anything at CPL 0. */
static void load_segments(u32 cpu)
{
    volatile u64 *entry = &gdt[FREE_DATA / 8];
    volatile u8 *access = access_byte(FREE_DATA);
    u32 locked = cpu == 1 ? DPL : cpu == 3 ? DPL + 1 : BASE + 8 + cpu;

    team_barrier(cpus);
    for (u32 n = 0; go_on(cpu, n); n++) {
        if (cpu) {
            store_beside(entry, cpu, n, BASE, locked);
            continue;
        }
        asm volatile("lock andb $~1, %0" : "+m"(*access)::"cc");
        asm volatile("mov %0, %%gs" ::"r"(FREE_DATA) : "memory");
        bad_if(!(*access & 1));
    }
    if (cpu == 0)
        asm volatile("mov %0, %%gs" ::"r"(K_DS) : "memory");
}

static void accessed_bit(void)
{
    descriptor_set(FREE_DATA, descriptor(0, 0xfffff, 0x92, 0xc));
    run(load_segments);
    check_eq(bad, 0, "the accessed bit of a descriptor beside what others store");
}

static volatile u64 *entry_of_page;

static void touch_page(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 0; go_on(cpu, n); n++) {
        u64 dirty = n & 1 ? PTE_D : 0;

        if (cpu) {
            store_beside(entry_of_page, cpu, n, AVAILABLE, IGNORED + cpu);
            continue;
        }
        asm volatile("lock andq %1, %0" : "+m"(*entry_of_page) : "r"(~(u64)(PTE_A | PTE_D)) : "cc");
        asm volatile("invlpg %0" ::"m"(*(u8 *)VA) : "memory");
        if (dirty)
            *(volatile u8 *)VA = (u8)n;
        else
            (void)*(volatile u8 *)VA;
        bad_if((*entry_of_page & (PTE_A | PTE_D)) != (PTE_A | dirty));
    }
}

static void accessed_and_dirty(void)
{
    page_map(VA, (u64)page_alloc() | PTE_P | PTE_W);
    entry_of_page = page_entry(VA, 1);
    run(touch_page);
    check_eq(bad, 0, "A and D of a page-table entry beside what others store");
}

void guest_main(void)
{
    cpus = team_start();
    if (cpus < 2) {
        check_skip("tables", "one processor");
        return;
    }
    rounds = guest_option("long") ? 1000000 : guest_option("short") ? 400 : 10000;
    busy_bit();
    accessed_bit();
    accessed_and_dirty();
}
