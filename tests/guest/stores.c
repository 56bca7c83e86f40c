/* SPDX-License-Identifier: MIT
 *
 * An instruction stores each byte once. One processor stores; another takes an element as soon as
 * it is there, by XCHG with zero. It must not come back: a copy routine that stores some bytes
 * twice, as those of C libraries do at both ends, undoes what others stored in between (SDM 3A
 * 8.2.2: all processors agree on one order of the stores to a location; 8.2.4 for strings).
 */
#include "team.h"

#include "crossings.h"

#define VA 0x0000224400000000ul

enum { PAGE = 4096, LEAST = 30, MET = 1000, BYTES = 3896 };

static u32 cpus, limit_us;
static u8 *at; /* where it stores; zero before */
static u8 image[PAGE] __attribute__((aligned(64)));
static volatile u64 *volatile element; /* to be taken */
static u32 width;                      /* of it: 1 or 8 */
static struct crossings crossings;
static volatile struct {
    u32 value;
    u32 pad[31];
} begun, taken, over;
static u32 met, bad;

/* -- what stores -- */

typedef void store_fn(u32 bytes);

#define STRING(name, instruction, unit)                                                            \
    static void name(u32 bytes)                                                                    \
    {                                                                                              \
        ulong di = (ulong)at, si = (ulong)image, cx = bytes / (unit);                              \
                                                                                                   \
        asm volatile(instruction                                                                   \
                     : "+D"(di), "+S"(si), "+c"(cx)                                                \
                     : "a"(0x0101010101010101ul)                                                   \
                     : "memory");                                                                  \
    }
STRING(movsb, "rep movsb", 1)
STRING(movsq, "rep movsq", 8)
STRING(stosb, "rep stosb", 1)
STRING(stosq, "rep stosq", 8)

/* From the last element down. */
static void movsq_down(u32 bytes)
{
    ulong di = (ulong)at + bytes - 8, si = (ulong)image + bytes - 8, cx = bytes / 8;

    asm volatile("std; rep movsq; cld" : "+D"(di), "+S"(si), "+c"(cx)::"memory");
}

static void mov(u32 bytes)
{
    (void)bytes;
    asm volatile("movq %1, (%0)" ::"r"(at), "r"(0x0101010101010101ul) : "memory");
}

static void fstp(u32 bytes)
{
    (void)bytes;
    asm volatile("fninit; fld1; fstpt (%0)" ::"r"(at) : "memory");
}

static const struct op {
    const char *name;
    store_fn *store;
    u32 offset, bytes, width;
} ops[] = {
    {"REP MOVSB", movsb, 264, BYTES, 1},
    {"REP MOVSB, odd", movsb, 261, 93, 1},
    {"REP MOVSQ", movsq, 264, BYTES, 8},
    {"REP MOVSQ, short", movsq, 264, 104, 8},
    {"REP MOVSQ downwards", movsq_down, 264, BYTES, 8},
    {"REP STOSB", stosb, 264, BYTES, 1},
    {"REP STOSB, odd", stosb, 261, 93, 1},
    {"REP STOSQ", stosq, 264, BYTES, 8},
    {"MOV across a page", mov, PAGE - 3, 8, 1},
    {"MOV across a page", mov, PAGE - 5, 8, 1},
    {"FSTP of 10 bytes", fstp, 256, 10, 1},
};

static const struct op *op;

/* -- the two processors -- */

static bool is_there(void)
{
    return width == 1 ? *(volatile u8 *)element != 0 : *element != 0;
}

static void take(void)
{
    u64 zero = 0;

    if (width == 1)
        asm volatile("xchg %b0, %1" : "+q"(zero), "+m"(*(volatile u8 *)element)::"memory");
    else
        asm volatile("xchg %0, %1" : "+r"(zero), "+m"(*element)::"memory");
}

/* The element of round n: mostly one of the first or of the last. */
static void choose(u32 n)
{
    u32 elements = op->bytes / op->width, pick = n / 4 % 16;

    if (n % 4 == 0)
        pick = elements - 1 - pick;
    else if (n % 4 == 1)
        pick = n / 4;
    if (op->bytes == 10)
        pick = 7 + n % 3; /* those of 1.0 that are not zero */
    element = (volatile u64 *)(at + pick % elements * op->width);
}

static void take_all(void)
{
    for (u32 n = 1;; n++) {
        while (begun.value < n && !over.value)
            pause();
        if (over.value)
            return;
        for (u32 spins = 1; !is_there(); spins++)
            if (spins % 64 == 0)
                pause();
        take();
        taken.value = n;
    }
}

/* Until the two have met often enough, or time is over: where the host lets them take turns each
 * round takes one or two of these. */
static void store_all(void)
{
    for (u32 n = 1; n <= LEAST || (met < MET && rdtsc() < crossings.end); n++) {
        memset(at, 0, op->bytes);
        choose(n);
        begun.value = n;
        op->store(op->bytes);
        met += taken.value == n;
        while (taken.value < n)
            pause();
        bad += is_there();
    }
    over.value = 1;
}

static void store_or_take(u32 cpu)
{
    team_barrier(2);
    if (cpu == 0)
        store_all();
    else
        take_all();
}

static void once(void)
{
    at = (u8 *)VA + op->offset;
    width = op->width;
    begun.value = taken.value = over.value = 0;
    met = bad = 0;
    crossings_begin(&crossings, 0, limit_us);
    team_run(2, store_or_take);
    check_eq(bad, 0, "%s at %u: what was taken is not stored again", op->name, op->offset);
}

void guest_main(void)
{
    u8 *data;

    cpus = team_start();
    if (cpus < 2) {
        check_skip("stores", "one processor");
        return;
    }
    limit_us = guest_option("long") ? 20000000 : guest_option("short") ? 10000 : 300000;
    memset(image, 1, sizeof(image));
    data = page_alloc();
    page_alloc();
    for (u32 n = 0; n < 2; n++)
        page_map(VA + n * PAGE, (u64)(data + n * PAGE) | PTE_P | PTE_W);
    for (u32 n = 0; n < ARRAY_SIZE(ops); n++) {
        op = &ops[n];
        once();
    }
}
