// SPDX-License-Identifier: MIT
// Locked instructions of several threads on one operand (SDM 3A 8.1.2), as a Linux program: hammer
// ROUNDS [THREADS]. Every form in every place is run three ways: all threads count with it; it
// passes a token round; it works beside plain stores to another byte of its operand. A line for
// each place, status 1 if an update was lost or the token had two holders. Runs on any x86-64
// Linux.
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#include "locked_forms.h"

enum { PAGE = 4096, THREADS_MAX = 64, SPINS = 1000 };

static u32 threads, rounds, failures;
static u64 passed;         // hand-overs of the token so far
static volatile u8 *pages; // two
static u32 arrived;        // threads of the present run

static void expect(int truth, const char *what)
{
    if (truth)
        return;
    perror(what);
    exit(2);
}

// -- the forms: each adds one to its operand and is atomic; most are in locked_forms.h --

// A lock around an addition that is not atomic: XCHG and BTS. The operand is the lock, with its
// highest bit; the sum is apart.
static volatile struct {
    u64 sum;
    u64 pad[15];
} guarded;

static void relax(u32 *spins)
{
    if (++*spins % SPINS)
        __builtin_ia32_pause();
    else
        sched_yield();
}

static void add_guarded(void)
{
    u64 seen = guarded.sum;
    asm volatile("" ::: "memory");
    guarded.sum = seen + 1;
}

#define XCHG(size, type)                                                                           \
    static void xchg##size(volatile u8 *p)                                                         \
    {                                                                                              \
        u32 spins = 0;                                                                             \
        type one = 1;                                                                              \
        for (;; one = 1, relax(&spins)) {                                                          \
            asm volatile("xchg %0, %1" : "+r"(one), "+m"(*(type *)p)::"memory");                   \
            if (!one)                                                                              \
                break;                                                                             \
        }                                                                                          \
        add_guarded();                                                                             \
        *(volatile type *)p = 0;                                                                   \
    }
XCHG(1, u8)
XCHG(2, u16)
XCHG(4, u32)
XCHG(8, u64)

#define BTS(size, type, suffix)                                                                    \
    static void bts##size(volatile u8 *p)                                                          \
    {                                                                                              \
        u32 spins = 0;                                                                             \
        u8 was;                                                                                    \
        for (;; relax(&spins)) {                                                                   \
            asm volatile("lock bts" suffix " $13, %1" : "=@ccc"(was), "+m"(*(type *)p)::"memory"); \
            if (!was)                                                                              \
                break;                                                                             \
        }                                                                                          \
        add_guarded();                                                                             \
        asm volatile("lock btr" suffix " $13, %0" : "+m"(*(type *)p)::"memory", "cc");             \
    }
BTS(2, u16, "w")
BTS(4, u32, "l")
BTS(8, u64, "q")

static const struct form {
    const char *name;
    step_fn *step;
    u32 size;
    u8 guards;
} forms[] = {
    {"INC byte", inc1, 1, 0},          {"ADD word", add2, 2, 0},
    {"ADD dword", add4, 4, 0},         {"SUB qword", sub8, 8, 0},
    {"XADD byte", xadd1, 1, 0},        {"XADD word", xadd2, 2, 0},
    {"XADD dword", xadd4, 4, 0},       {"XADD qword", xadd8, 8, 0},
    {"CMPXCHG byte", cmpxchg1, 1, 0},  {"CMPXCHG word", cmpxchg2, 2, 0},
    {"CMPXCHG dword", cmpxchg4, 4, 0}, {"CMPXCHG qword", cmpxchg8, 8, 0},
    {"CMPXCHG8B", cmpxchg8b, 8, 0},    {"CMPXCHG16B", cmpxchg16b, 16, 0},
    {"XCHG byte", xchg1, 1, 1},        {"XCHG word", xchg2, 2, 1},
    {"XCHG dword", xchg4, 4, 1},       {"XCHG qword", xchg8, 8, 1},
    {"BTS word", bts2, 2, 1},          {"BTS dword", bts4, 4, 1},
    {"BTS qword", bts8, 8, 1},
};

// -- the places --

enum kind { PLAIN, CODE, FAULTING };

static const struct place {
    const char *name;
    u32 split;  // the operand begins one byte before this offset, or with 0 at `offset`
    u32 offset; // in the two pages
    enum kind
        kind;   // CODE: functions in its page are called; FAULTING: its second page comes and goes
    u32 slower; // divides the number of rounds
} places[] = {
    {"aligned", 0, 256, PLAIN, 1},
    {"misaligned in a line", 0, 257, PLAIN, 1},
    {"across a line", 512, 0, PLAIN, 4},
    {"across a page", PAGE, 0, PLAIN, 4},
    {"in a page with code", 0, 256, CODE, 8},
    {"across a line in a page with code", 512, 0, CODE, 16},
    {"across a page, the second one often absent", PAGE, 0, FAULTING, 256},
};

static const struct form *form;
static const struct place *place;
static volatile u8 *operand;
static u64 count; // of rounds of each thread

static void place_operand(void)
{
    u32 offset = place->split ? place->split - 1 : place->offset;
    if (form->size == 16)
        offset &= ~15u;
    operand = pages + offset;
    memset((void *)operand, 0, form->size);
    pages[3000] = 0xc3; // RET
    guarded.sum = 0;
    count = rounds / place->slower + 1;
}

// Makes the page of the operand one that holds translated code; makes its second page absent.
static void disturb(u32 me, u64 n)
{
    if (place->kind == CODE && n % 16 == me)
        asm volatile("call *%0" ::"r"(pages + 3000) : "memory", "cc");
    if (place->kind == FAULTING && me == 0 && n % 4 == 0)
        expect(mprotect((void *)(pages + PAGE), PAGE, PROT_NONE) == 0, "mprotect");
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    if ((u8 *)info->si_addr < pages + PAGE || (u8 *)info->si_addr >= pages + 2 * PAGE)
        _exit(3);
    mprotect((void *)(pages + PAGE), PAGE, PROT_READ | PROT_WRITE);
}

static u64 value_of(volatile u8 *p)
{
    u64 value = 0;
    memcpy(&value, (const void *)p, form->size < 8 ? form->size : 8);
    return value;
}

static u64 mask(void)
{
    return form->size >= 8 ? ~0ull : (1ull << form->size * 8) - 1;
}

// -- the three ways --

static void count_up(u32 me)
{
    for (u64 n = 0; n < count; n++) {
        disturb(me, n);
        form->step(operand);
    }
}

// Whose turn it is: the count, modulo the number of threads. Its low byte is enough.
static volatile struct {
    u32 holder;
    u32 pad[31];
    u32 bad;
} token;

static volatile u8 *turn_word(void)
{
    return form->guards ? (volatile u8 *)&guarded.sum : operand;
}

// Each may need the host to change threads.
static u64 handovers(void)
{
    return count / 16 + 1;
}

static void pass_token(u32 me)
{
    u32 spins = 0;
    u64 turn = me;
    for (u64 n = 0; n < handovers(); n++, turn += threads) {
        disturb(me, n);
        while (*turn_word() != (u8)turn)
            relax(&spins);
        if (token.holder)
            __atomic_add_fetch(&token.bad, 1, __ATOMIC_RELAXED);
        token.holder = me + 1;
        asm volatile("" ::: "memory");
        if (token.holder != me + 1)
            __atomic_add_fetch(&token.bad, 1, __ATOMIC_RELAXED);
        token.holder = 0;
        form->step(operand);
    }
}

// Odd threads store to the last byte, which the others' additions never reach, and read it back.
static void beside_stores(u32 me)
{
    volatile u8 *last = operand + form->size - 1;
    for (u64 n = 0; n < count; n++) {
        disturb(me, n);
        if (me != 1) {
            form->step(operand);
            continue;
        }
        *last = (u8)n;
        if (*last != (u8)n)
            __atomic_add_fetch(&token.bad, 1, __ATOMIC_RELAXED);
    }
}

typedef void way_fn(u32 me);
static way_fn *way;

static void *thread_main(void *opaque)
{
    u32 me = (u32)(uintptr_t)opaque, spins = 0;
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(me % (u32)sysconf(_SC_NPROCESSORS_ONLN), &set);
    sched_setaffinity(0, sizeof(set), &set); // a wish
    // Nobody starts before all run.
    __atomic_add_fetch(&arrived, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&arrived, __ATOMIC_SEQ_CST) < threads)
        relax(&spins);
    way(me);
    return NULL;
}

static void run(way_fn *what)
{
    pthread_t ids[THREADS_MAX];
    way = what;
    token.holder = token.bad = arrived = 0;
    place_operand();
    for (u32 n = 0; n < threads; n++)
        expect(pthread_create(&ids[n], NULL, thread_main, (void *)(uintptr_t)n) == 0, "a thread");
    for (u32 n = 0; n < threads; n++)
        pthread_join(ids[n], NULL);
    mprotect((void *)(pages + PAGE), PAGE, PROT_READ | PROT_WRITE | PROT_EXEC);
}

static void judge(const char *what, u64 got, u64 want)
{
    if (got == want && !token.bad)
        return;
    printf("FAILED: %s %s, %s: %llu of %llu, %u violations\n", form->name, place->name, what,
           (unsigned long long)got, (unsigned long long)want, token.bad);
    failures++;
}

static void run_form(void)
{
    run(count_up);
    u64 sum = form->guards ? guarded.sum : value_of(operand);
    judge("counting", sum, form->guards ? count * threads : count * threads & mask());
    if (form->size == 16)
        judge("high half", value_of(operand + 8), count * threads);
    run(pass_token);
    sum = form->guards ? guarded.sum : value_of(operand);
    judge("a token", sum, form->guards ? handovers() * threads : handovers() * threads & mask());
    passed += handovers() * threads;
    // Additions must not carry into the last byte; XCHG and CMPXCHG store all of it.
    if (!form->guards && form->size >= 4 && form->size <= 8 && strncmp(form->name, "CMP", 3) != 0 &&
        (form->size == 8 || count * threads < 1 << 24)) {
        run(beside_stores);
        judge("beside plain stores", value_of(operand) & mask() >> 8, count * (threads - 1));
    }
}

int main(int argc, char **argv)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    rounds = argc > 1 ? (u32)strtoul(argv[1], NULL, 10) : 0;
    threads = argc > 2 ? (u32)strtoul(argv[2], NULL, 10) : (u32)sysconf(_SC_NPROCESSORS_ONLN);
    if (!rounds || threads < 2 || threads > THREADS_MAX) {
        fprintf(stderr, "usage: hammer ROUNDS [THREADS], 2 to %d threads\n", THREADS_MAX);
        return 2;
    }
    pages = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
                 -1, 0);
    expect(pages != MAP_FAILED, "mmap");
    expect(sigaction(SIGSEGV, &action, NULL) == 0, "sigaction");
    for (u32 p = 0; p < sizeof(places) / sizeof(places[0]); p++) {
        place = &places[p];
        for (u32 n = 0; n < sizeof(forms) / sizeof(forms[0]); n++) {
            form = &forms[n];
            // CMPXCHG16B must be aligned (SDM 2); a byte crosses nothing.
            if (form->size == 16 ? place->offset != 256 : form->size == 1 && place->split)
                continue;
            run_form();
        }
        printf("hammer: %s: %s\n", place->name, failures ? "FAILED" : "ok");
        printf("hammer: the token was passed %llu times\n", (unsigned long long)passed);
        fflush(stdout);
    }
    return failures ? 1 : 0;
}
