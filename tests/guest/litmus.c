/* SPDX-License-Identifier: MIT
 *
 * Litmus tests of the memory model (SDM 3A 8.2; names and expectations as herd's x86-TSO model has
 * them): no forbidden outcome may ever be seen, and the one relaxation that x86 allows, a load that
 * passes an earlier store (SB), must be. Millions of rounds with `-append long`.
 */
#include "team.h"

enum { INSTANCES = 512, THREADS = 4 };

/* One round of a test: two variables in lines of their own, and what each thread has read. */
struct instance {
    volatile u32 x __attribute__((aligned(64)));
    volatile u32 y __attribute__((aligned(64)));
    volatile u32 r[THREADS][2] __attribute__((aligned(64)));
};

static struct instance all[INSTANCES];
static u32 cpus;

enum fence { NOTHING, MFENCE, LOCKED, XCHG, FENCES };
static const char *const fence_names[FENCES] = {"", "+mfence", "+lock", "+xchg"};

static inline __attribute__((always_inline)) void fence(enum fence f)
{
    u32 local = 0;

    switch (f) {
    case MFENCE: asm volatile("mfence" ::: "memory"); break;
    case LOCKED: asm volatile("lock addl $0, (%%rsp)" ::: "memory", "cc"); break;
    case XCHG: asm volatile("xchg %%eax, %0" : "+m"(local)::"eax", "memory"); break;
    default: asm volatile("" ::: "memory");
    }
}

#define STORE(v, n) (i->v = (n))
#define LOAD(k, v)  (i->r[t][k] = i->v)
/* Loads go to registers first, so that recording them adds no store in between. */
#define LOADS(first, f, second)                                                                    \
    do {                                                                                           \
        u32 a_ = i->first, b_;                                                                     \
        fence(f);                                                                                  \
        b_ = i->second;                                                                            \
        i->r[t][0] = a_;                                                                           \
        i->r[t][1] = b_;                                                                           \
    } while (0)

typedef void thread_fn(struct instance *i, u32 t);

#define THREAD(name, ...)                                                                          \
    static inline __attribute__((always_inline)) void name(struct instance *i, u32 t)              \
    {                                                                                              \
        (void)t;                                                                                   \
        __VA_ARGS__;                                                                               \
    }                                                                                              \
    static void name##_all(u32 t)                                                                  \
    {                                                                                              \
        for (u32 n = 0; n < INSTANCES; n++)                                                        \
            name(&all[n], t);                                                                      \
    }

/* Each program in every flavour of fence. */
#define FLAVOURS(name, ...)                                                                        \
    THREAD(name##_0, const enum fence F = NOTHING; __VA_ARGS__)                                    \
    THREAD(name##_1, const enum fence F = MFENCE; __VA_ARGS__)                                     \
    THREAD(name##_2, const enum fence F = LOCKED; __VA_ARGS__)                                     \
    THREAD(name##_3, const enum fence F = XCHG; __VA_ARGS__)

FLAVOURS(sb0, STORE(x, 1); fence(F); LOAD(0, y))
FLAVOURS(sb1, STORE(y, 1); fence(F); LOAD(0, x))
FLAVOURS(mp0, STORE(x, 1); fence(F); STORE(y, 1))
FLAVOURS(mp1, LOADS(y, F, x))
FLAVOURS(lb0, LOAD(0, x); fence(F); STORE(y, 1))
FLAVOURS(lb1, LOAD(0, y); fence(F); STORE(x, 1))
FLAVOURS(r0, STORE(x, 1); fence(F); STORE(y, 1))
FLAVOURS(r1, STORE(y, 2); fence(F); LOAD(0, x))
FLAVOURS(s0, STORE(x, 2); fence(F); STORE(y, 1))
FLAVOURS(s1, LOAD(0, y); fence(F); STORE(x, 1))
FLAVOURS(w0, STORE(x, 1); fence(F); STORE(y, 2))
FLAVOURS(w1, STORE(y, 1); fence(F); STORE(x, 2))
FLAVOURS(ix, STORE(x, 1); fence(F))
FLAVOURS(iy, STORE(y, 1); fence(F))
FLAVOURS(ir0, LOADS(x, F, y))
FLAVOURS(ir1, LOADS(y, F, x))

/* The store itself is the locked instruction (SDM 3A 8.2.3.8, 8.2.3.9). */
#define SWAP(k, v, n)                                                                              \
    do {                                                                                           \
        u32 a_ = (n);                                                                              \
        asm volatile("xchg %0, %1" : "+r"(a_), "+m"(i->v)::"memory");                              \
        if ((k) >= 0)                                                                              \
            i->r[t][(k) >= 0 ? (k) : 0] = a_;                                                      \
    } while (0)
THREAD(rsb0, SWAP(-1, x, 1); LOAD(0, y))
THREAD(rsb1, SWAP(-1, y, 1); LOAD(0, x))
/* Two exchanges of one variable: one of them sees the other. */
THREAD(rmw0, SWAP(0, x, 1))
THREAD(rmw1, SWAP(0, x, 2))

static bool sb(const struct instance *i)
{
    return !i->r[0][0] && !i->r[1][0];
}
static bool mp(const struct instance *i)
{
    return i->r[1][0] == 1 && !i->r[1][1];
}
static bool lb(const struct instance *i)
{
    return i->r[0][0] == 1 && i->r[1][0] == 1;
}
static bool r(const struct instance *i)
{
    return i->y == 2 && !i->r[1][0];
}
static bool s(const struct instance *i)
{
    return i->x == 2 && i->r[1][0] == 1;
}
static bool w22(const struct instance *i)
{
    return i->x == 1 && i->y == 1;
}
static bool iriw(const struct instance *i)
{
    return i->r[2][0] == 1 && !i->r[2][1] && i->r[3][0] == 1 && !i->r[3][1];
}
static bool rmw(const struct instance *i)
{
    return (i->r[0][0] == 0) == (i->r[1][0] == 0);
}

#define FOUR(name)                                                                                 \
    {                                                                                              \
        name##_0_all, name##_1_all, name##_2_all, name##_3_all                                     \
    }
static const struct test {
    const char *name;
    bool (*outcome)(const struct instance *i);
    u32 threads;
    bool allowed; /* without a fence; R with one thread fenced only is left out */
    void (*thread[THREADS][FENCES])(u32 t);
} tests[] = {
    {"SB", sb, 2, true, {FOUR(sb0), FOUR(sb1)}},
    {"MP", mp, 2, false, {FOUR(mp0), FOUR(mp1)}},
    {"LB", lb, 2, false, {FOUR(lb0), FOUR(lb1)}},
    {"R", r, 2, true, {FOUR(r0), FOUR(r1)}},
    {"S", s, 2, false, {FOUR(s0), FOUR(s1)}},
    {"2+2W", w22, 2, false, {FOUR(w0), FOUR(w1)}},
    {"IRIW", iriw, 4, false, {FOUR(ix), FOUR(iy), FOUR(ir0), FOUR(ir1)}},
    {"SB by XCHG", sb, 2, false, {{rsb0_all}, {rsb1_all}}},
    {"two XCHG", rmw, 2, false, {{rmw0_all}, {rmw1_all}}},
};

static const struct test *test;
static enum fence flavour;

static void thread(u32 cpu)
{
    team_barrier(test->threads);
    test->thread[cpu][flavour](cpu);
}

static u32 seen_in(u32 batches)
{
    u32 seen = 0;

    for (u32 b = 0; b < batches; b++) {
        memset(all, 0, sizeof(all));
        team_run(test->threads, thread);
        for (u32 n = 0; n < INSTANCES; n++)
            seen += test->outcome(&all[n]);
    }
    return seen;
}

void guest_main(void)
{
    u32 batches = guest_option("long") ? 6000 : guest_option("short") ? 4 : 200;
    u32 relaxed = 0;

    cpus = team_start();
    if (cpus < 2) {
        check_skip("litmus tests", "one processor");
        return;
    }
    for (u32 n = 0; n < ARRAY_SIZE(tests); n++) {
        test = &tests[n];
        if (test->threads > cpus) {
            check_skip(test->name, "too few processors");
            continue;
        }
        for (flavour = NOTHING; flavour < FENCES && test->thread[0][flavour]; flavour++) {
            u32 seen = seen_in(batches);

            print("%s%s: %u of %u\n", test->name, fence_names[flavour], seen, batches * INSTANCES);
            if (!test->allowed || flavour != NOTHING)
                check_eq(seen, 0, "%s%s is never seen", test->name, fence_names[flavour]);
            else
                relaxed += seen;
        }
    }
    if (guest_option("relaxed"))
        check(relaxed > 0, "a load passes a store now and then");
}
