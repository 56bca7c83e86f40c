/* SPDX-License-Identifier: MIT
 *
 * Hv#1: processors that sleep until a synthetic timer wakes them, in every way there is: none may
 * sleep on. One to four of them set timers, change them, sleep, and wake each other too early, all
 * at random. T-02 of the project's hv1-checklist.
 *
 * The host may be elsewhere for long, so what is late is only counted when it is very late.
 */
#include "lib/hv1.h"

void *hv_page;

enum {
    DIRECT_VECTOR = 0xd1, /* and the three after it: one a timer */
    SINT_VECTOR = 0xe1,
    POKE_VECTOR = 0xf1,
    SINT = 2,
    ROUNDS_MS = 2500,
    LOST = 8000 * MS, /* later than this was not the host */
    ONE_SHOT = 1 << 3,
    PERIODIC = 1 << 3 | 2,
};

struct message {
    volatile u32 type;
    volatile u8 size, flags;
    u8 rest[250];
};

struct sleeper {
    u64 seed;
    volatile u32 ticks[5]; /* of each timer, and of pokes */
    u32 rounds, early, lost;
    u64 latest;
    struct message *messages;
} __attribute__((aligned(64)));

static struct sleeper sleepers[CPUS_MAX];
static u32 cpus;
static bool has_mwait;

static struct sleeper *self(void)
{
    return &sleepers[rdmsr(HV_VP_INDEX)];
}

static void on_direct(struct frame *f)
{
    self()->ticks[f->vector - DIRECT_VECTOR]++;
    wrmsr(HV_EOI, 0);
}

/* The timer's number comes first in the message's payload. */
static void on_message(struct frame *f)
{
    struct sleeper *s = self();
    struct message *m = &s->messages[SINT];

    (void)f;
    if (m->type) {
        s->ticks[m->rest[10]]++;
        __atomic_store_n(&m->type, 0, __ATOMIC_SEQ_CST);
        if (m->flags & 1)
            wrmsr(HV_EOM, 0);
    }
    wrmsr(HV_EOI, 0);
}

static void on_poke(struct frame *f)
{
    (void)f;
    self()->ticks[4]++;
    wrmsr(HV_EOI, 0);
}

static u32 choose(struct sleeper *s, u32 below)
{
    s->seed ^= s->seed << 13;
    s->seed ^= s->seed >> 7;
    s->seed ^= s->seed << 17;
    return (u32)(s->seed >> 32) % below;
}

/* 0.1 us to 2 ms, short ones as often as long ones. */
static u64 delay(struct sleeper *s)
{
    return 1 + choose(s, 2u << choose(s, 14));
}

static void set(u32 timer, bool direct, u32 how, u64 count)
{
    u64 config = direct ? 1 << 12 | (DIRECT_VECTOR + timer) << 4 : SINT << 16;

    wrmsr(HV_STIMER0_CONFIG + 2 * timer, 0);
    wrmsr(HV_STIMER0_CONFIG + 2 * timer, config | how);
    wrmsr(HV_STIMER0_COUNT + 2 * timer, count);
}

/* Interrupts are off before and after, and come between: STI lets HLT and MWAIT begin first. */
static void doze(struct sleeper *s)
{
    u32 how = choose(s, 4);

    if (how == 0 && has_mwait)
        asm volatile("monitor; sti; mwait; cli" ::"a"(&s->seed), "c"(0), "d"(0) : "memory");
    else if (how == 1)
        rdmsr(HV_GUEST_IDLE);
    else
        asm volatile("sti; hlt; cli" ::: "memory");
    asm volatile("sti; nop; cli" ::: "memory");
}

static void sleep_until(struct sleeper *s, u32 timer, u32 ticks, u64 due)
{
    u64 time;

    while (s->ticks[timer] < ticks)
        doze(s);
    time = now();
    s->early += time < due;
    s->lost += time > due + LOST;
    if (time - due > s->latest && time > due)
        s->latest = time - due;
}

static void once(struct sleeper *s, u32 timer, bool direct)
{
    u64 due = now() + delay(s);
    u32 ticks;

    for (u32 n = choose(s, 3); n; n--) /* set, and set anew: far away, or just now */
        set(timer, direct, ONE_SHOT, now() + (choose(s, 2) ? 10000 * MS : 1));
    wrmsr(HV_STIMER0_CONFIG + 2 * timer, 0);
    asm volatile("sti; nop; cli" ::: "memory"); /* what was due before it */
    ticks = s->ticks[timer];
    set(timer, direct, ONE_SHOT, due);
    sleep_until(s, timer, ticks + 1, due);
}

static void both(struct sleeper *s)
{
    u32 ticks[2] = {s->ticks[0], s->ticks[1]};
    u64 due[2] = {now() + delay(s), now() + delay(s)};

    for (u32 n = 0; n < 2; n++)
        set(n, n || choose(s, 2), ONE_SHOT, due[n]);
    for (u32 n = 0; n < 2; n++)
        sleep_until(s, n, ticks[n] + 1, due[n]);
}

static void periods(struct sleeper *s, bool direct)
{
    u32 ticks = s->ticks[2];
    u64 period = 2000 + delay(s), begun = now();

    set(2, direct, PERIODIC, period);
    for (u32 n = 1; n <= 4; n++)
        sleep_until(s, 2, ticks + n, begun + n * period);
    wrmsr(HV_STIMER0_CONFIG + 4, 0);
    asm volatile("sti; nop; cli" ::: "memory");
}

static void poke_another(struct sleeper *s)
{
    u32 other = choose(s, cpus);

    if (&sleepers[other] != s)
        wrmsr(HV_ICR, (u64)other << 56 | POKE_VECTOR);
}

static void sleep_often(ulong number)
{
    struct sleeper *s = &sleepers[number];
    u64 end = now() + ROUNDS_MS * MS;

    asm volatile("cli");
    wrmsr(HV_SIMP, (ulong)s->messages | 1);
    wrmsr(HV_SCONTROL, 1);
    wrmsr(HV_SINT0 + SINT, SINT_VECTOR);
    while (now() < end) {
        poke_another(s);
        switch (choose(s, 4)) {
        case 0: both(s); break;
        case 1: periods(s, choose(s, 2)); break;
        default: once(s, 3, choose(s, 4)); break;
        }
        s->rounds++;
    }
}

void guest_main(void)
{
    cpus = smp_start();
    hv_enable(page_alloc());
    has_mwait = cpuid(1, 0).c >> 3 & 1;
    for (u32 n = 0; n < 4; n++)
        trap_set_handler(DIRECT_VECTOR + n, on_direct);
    trap_set_handler(SINT_VECTOR, on_message);
    trap_set_handler(POKE_VECTOR, on_poke);
    for (u32 n = 0; n < cpus; n++) {
        sleepers[n].seed = rdtsc() | 1;
        sleepers[n].messages = page_alloc();
    }
    for (u32 n = 1; n < cpus; n++)
        smp_begin(n, sleep_often, n);
    sleep_often(0);
    for (u32 n = 1; n < cpus; n++)
        smp_wait(n);
    for (u32 n = 0; n < cpus; n++) {
        struct sleeper *s = &sleepers[n];

        check(s->rounds > 10, "T-02 processor %u: rounds: %u", n, s->rounds);
        check_eq(s->early, 0, "T-02 processor %u: too early", n);
        check(!s->lost, "T-02 processor %u: the latest by %llu", n, s->latest);
    }
}
