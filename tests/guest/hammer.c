/* SPDX-License-Identifier: MIT
 *
 * Locked instructions of several processors on one operand (SDM 3A 8.1.2): every form, size and
 * place. Counting loses nothing; a lock has one holder; a locked instruction and a plain store to
 * another part of its operand do not undo each other; of an operand whose second page faults
 * nothing is stored. `-append long` makes it long.
 */
#include "team.h"

#include "crossings.h"
#include "locked_forms.h"

#define VA           0x0000223400000000ul
#define TESTDEV_MMIO 0xff000000ul

enum { LINE = 64, PAGE = 4096 };

static u32 cpus, rounds;
static u8 *data; /* two pages */
static volatile u8 *at;
static u32 size;
static struct crossings crossings;
static volatile u32 done[TEAM_MAX]; /* steps of each processor */

/* -- what is done to the operand -- */

static void adc4(volatile u8 *p)
{
    asm volatile("stc; lock adcl $0, %0" : "+m"(*(u32 *)p)::"memory", "cc");
}
/* Locks around a count that is not atomic. */
static volatile struct {
    u32 count;
    u32 pad[31];
} guarded;

static void count_once(void)
{
    u32 seen = guarded.count;

    barrier();
    guarded.count = seen + 1;
}
#define LOCK_STEPS(suffix, type)                                                                   \
    static void xchg##suffix(volatile u8 *p)                                                       \
    {                                                                                              \
        struct lock_watch watch = {0};                                                             \
        for (;;) {                                                                                 \
            type one = 1;                                                                          \
            asm volatile("xchg %0, %1" : "+r"(one), "+m"(*(type *)p)::"memory");                   \
            if (!one)                                                                              \
                break;                                                                             \
            if (lock_lost(&crossings, &watch, guarded.count))                                      \
                return;                                                                            \
        }                                                                                          \
        count_once();                                                                              \
        *(volatile type *)p = 0;                                                                   \
    }
LOCK_STEPS(1, u8)
LOCK_STEPS(2, u16)
LOCK_STEPS(4, u32)
LOCK_STEPS(8, u64)

static void bts4(volatile u8 *p)
{
    struct lock_watch watch = {0};
    bool was;

    for (;;) {
        asm volatile("lock btsl $5, %1" : "=@ccc"(was), "+m"(*(u32 *)p)::"memory");
        if (!was)
            break;
        if (lock_lost(&crossings, &watch, guarded.count))
            return;
    }
    count_once();
    asm volatile("lock btrl %1, %0" : "+m"(*(u32 *)p) : "r"(5) : "memory");
}

static const struct op {
    const char *name;
    step_fn *step;
    u32 size;
    bool guards;
} ops[] = {
    {"INC byte", inc1, 1, false},          {"ADD word", add2, 2, false},
    {"SUB dword", sub4, 4, false},         {"ADD qword", add8, 8, false},
    {"ADC dword", adc4, 4, false},         {"XADD word", xadd2, 2, false},
    {"XADD dword", xadd4, 4, false},       {"XADD qword", xadd8, 8, false},
    {"CMPXCHG word", cmpxchg2, 2, false},  {"CMPXCHG dword", cmpxchg4, 4, false},
    {"CMPXCHG qword", cmpxchg8, 8, false}, {"CMPXCHG8B", cmpxchg8b, 8, false},
    {"CMPXCHG16B", cmpxchg16b, 16, false}, {"XCHG byte", xchg1, 1, true},
    {"XCHG word", xchg2, 2, true},         {"XCHG dword", xchg4, 4, true},
    {"XCHG qword", xchg8, 8, true},        {"BTS and BTR", bts4, 4, true},
};

/* -- where the operand is -- */

enum kind { PLAIN, CODE, CODE_NEAR, WATCHED, STEPPED, DEVICE };

static const struct place {
    const char *name;
    u32 offset;     /* in the two pages; the last byte of a split operand is behind `split` */
    u32 split;      /* 0: all sizes at offset, else the operand begins one byte before this */
    enum kind kind; /* what else is special about the page */
    u32 slower;     /* divides the number of rounds */
} places[] = {
    {"aligned", 256, 0, PLAIN, 1},
    {"misaligned in its line", 257, 0, PLAIN, 1},
    {"across a line", 0, 512, PLAIN, 8},
    {"across a page", 0, PAGE, PLAIN, 8},
    {"in a page with code", 256, 0, CODE, 4},
    {"across a line, in a page with code", 0, 512, CODE, 16},
    {"beside code", 1024, 0, CODE_NEAR, 64},
    {"in a watched page", 256, 0, WATCHED, 4},
    {"misaligned, in a watched page", 257, 0, WATCHED, 4},
    {"across a page, the first one watched", 0, PAGE, WATCHED, 16},
    {"by a processor that single-steps", 256, 0, STEPPED, 32},
    {"in a device", 0, 0, DEVICE, 8},
};

static const struct op *op;
static const struct place *place;

/* Code in the page of the operand, to be run now and then: it makes the page a code page again. */
static void call_code(void)
{
    asm volatile("call *%0" ::"r"(VA + (place->kind == CODE_NEAR ? 1040 : 3000)) : "memory", "cc");
}

static void special_begin(u32 cpu)
{
    if (place->kind == WATCHED && cpu == 0) {
        write_db0(VA + 2000); /* never touched */
        write_db7(0xd0402);   /* G0, writes, 4 bytes */
    }
}

static void special_end(u32 cpu)
{
    if (place->kind == WATCHED && cpu == 0)
        write_db7(0x400);
}

extern const u8 step_entry[];
asm(".text\nstep_entry: iretq\n");

static void step_on(void)
{
    asm volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static void step_off(void)
{
    asm volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory", "cc");
}

static u32 count_of(void)
{
    return rounds / place->slower + 1;
}

/* Whether a processor that has made n steps makes another. */
static bool go_on(u32 cpu, u32 n)
{
    crossings_step(&crossings, cpu);
    return !crossings.lost && (n < count_of() || !crossings_enough(&crossings));
}

static void hammer(u32 cpu)
{
    u32 n;

    special_begin(cpu);
    team_barrier(cpus);
    if (place->kind == STEPPED && cpu == 0)
        step_on();
    for (n = 0; go_on(cpu, n); n++) {
        op->step(at);
        if ((place->kind == CODE || place->kind == CODE_NEAR) && n % 8 == cpu)
            call_code();
    }
    if (place->kind == STEPPED && cpu == 0)
        step_off();
    done[cpu] = n;
    team_barrier(cpus);
    special_end(cpu);
}

static u64 operand(void)
{
    u64 value = 0;

    memcpy(&value, (const void *)at, size < 8 ? size : 8);
    return value;
}

static void place_operand(void)
{
    u32 offset = place->split ? place->split - 1 : place->offset;

    size = op->size;
    if (size == 16)
        offset &= ~15u;
    at = place->kind == DEVICE ? (volatile u8 *)TESTDEV_MMIO : (volatile u8 *)VA + offset;
    if (place->kind == DEVICE)
        *(volatile u64 *)at = 0;
    else
        memset((void *)at, 0, size);
    if (place->kind == CODE || place->kind == CODE_NEAR)
        data[1040] = data[3000] = 0xc3; /* RET */
    crossings_begin(&crossings, CROSSINGS, CROSSINGS_US);
}

static void count(void)
{
    u64 mask = op->size >= 8 ? ~0ull : BIT(op->size * 8) - 1;
    u64 want = 0;

    place_operand();
    guarded.count = 0;
    team_run(cpus, hammer);
    for (u32 n = 0; n < cpus; n++)
        want += done[n];
    check(!crossings.lost, "%s %s: somebody has the lock", op->name, place->name);
    if (op->guards)
        check_eq(guarded.count, want, "%s %s", op->name, place->name);
    else
        check_eq(operand(), want & mask, "%s %s", op->name, place->name);
    if (op->size == 16)
        check_eq(*(volatile u64 *)(at + 8), want, "%s %s, high half", op->name, place->name);
}

static bool has_testdev(void)
{
    volatile u32 *scratch = (volatile u32 *)TESTDEV_MMIO;

    *scratch = 0x12345678;
    return *scratch == 0x12345678;
}

/* -- locked instructions beside plain stores -- */

static volatile u32 bad, stop_toggling;

#define TOGGLE(type, xor_)                                                                         \
    asm volatile("lock " xor_ " %1, %0" : "+m"(*(type *)at) : "ri"((type)1) : "memory")

/* Changes the first byte only, with an access of all bytes. */
static void toggle(void)
{
    switch (size) {
    case 2: TOGGLE(u16, "xorw"); break;
    case 4: TOGGLE(u32, "xorl"); break;
    default: TOGGLE(u64, "xorq"); break;
    }
}

/* A plain store to the last byte, by an instruction of several kinds, must be there afterwards. */
static void store_last(u32 n)
{
    volatile u8 *last = at + size - 1;

    switch (n % 4) {
    case 0: *last = (u8)n; break;
    case 1: memset((void *)last, (int)n, 1); break;
    case 2: asm volatile("movb %b1, %0" : "+m"(*last) : "q"(n) : "memory"); break;
    default:
        asm volatile("movd %1, %%xmm0; pextrb $0, %%xmm0, %0" : "+m"(*last) : "r"(n) : "memory");
        break;
    }
    if (*last != (u8)n)
        atomic_add(&bad, 1);
}

static void beside(u32 cpu)
{
    special_begin(cpu);
    team_barrier(cpus);
    for (u32 n = 0; go_on(cpu, n); n++) {
        if (cpu == 1)
            store_last(n);
        else
            toggle();
        if ((place->kind == CODE || place->kind == CODE_NEAR) && n % 8 == cpu)
            call_code();
    }
    team_barrier(cpus);
    special_end(cpu);
}

static void locked_beside_plain(void)
{
    static const struct op sizes[] = {
        {"2 bytes", NULL, 2, false}, {"4 bytes", NULL, 4, false}, {"8 bytes", NULL, 8, false}};

    group_begin("LOCK XOR beside plain stores");
    for (u32 p = 0; p < ARRAY_SIZE(places); p++)
        for (u32 n = 0; n < ARRAY_SIZE(sizes); n++) {
            place = &places[p];
            op = &sizes[n];
            if (place->kind == DEVICE || place->kind == STEPPED)
                continue;
            place_operand();
            bad = 0;
            team_run(cpus, beside);
            check_eq(bad, 0, "%s %s", op->name, place->name);
        }
    group_end();
}

/* -- a second page that faults -- */

static volatile u32 faults;

static void resume_behind(struct frame *f)
{
    faults++;
    f->ip += 8; /* LOCK ADD m64, imm8 with a 64-bit displacement-free base: padded to 8 bytes */
}

static void fault_or_look(u32 cpu)
{
    team_barrier(cpus);
    for (u32 n = 0; n < rounds / 64; n++) {
        if (cpu == 0)
            asm volatile(
                "1: lock addq $1, (%0); .fill 8 - (. - 1b), 1, 0x90" ::"r"(VA + 2 * PAGE - 1)
                : "memory", "cc");
        else if (*(volatile u8 *)(VA + 2 * PAGE - 1))
            atomic_add(&bad, 1);
    }
}

static void second_page_faults(void)
{
    group_begin("LOCK ADD across two pages, the second not present");
    *(volatile u8 *)(VA + 2 * PAGE - 1) = 0;
    bad = faults = 0;
    trap_set_handler(PF, resume_behind);
    team_run(cpus, fault_or_look);
    trap_set_handler(PF, NULL);
    check_eq(faults, rounds / 64, "every one faults");
    check_eq(bad, 0, "nothing is stored");
    group_end();
}

/* -- a token that goes round -- */

static volatile struct {
    u32 turn;
    u32 pad[31];
} token;
static volatile u32 passed;

/* Each hand-over may need the host to change threads. */
static u32 token_rounds(void)
{
    return guest_option("long") ? 10000000 / cpus : rounds / 10;
}

static void pass(u32 cpu)
{
    const u32 times = token_rounds();

    team_barrier(cpus);
    for (u32 n = 0; n < times; n++) {
        while (token.turn != cpu)
            pause();
        passed++;
        asm volatile("xchg %0, %1" : "+m"(token.turn) : "r"((cpu + 1) % cpus) : "memory");
    }
}

static void token_passing(void)
{
    group_begin("a token");
    token.turn = passed = 0;
    team_run(cpus, pass);
    check_eq(passed, token_rounds() * cpus, "has one holder");
    group_end();
}

void guest_main(void)
{
    bool device;

    cpus = team_start();
    if (cpus < 2) {
        check_skip("hammers", "one processor");
        return;
    }
    rounds = guest_option("long") ? 1000000 : guest_option("short") ? 400 : 10000;
    data = page_alloc();
    page_alloc();
    for (u32 n = 0; n < 2; n++)
        page_map(VA + n * PAGE, (u64)(data + n * PAGE) | PTE_P | PTE_W);
    page_map(VA + 2 * PAGE, 0);
    team_gate(DB, step_entry);
    device = has_testdev();
    for (u32 p = 0; p < ARRAY_SIZE(places); p++) {
        place = &places[p];
        if (place->kind == DEVICE && !device) {
            check_skip(place->name, "no pc-testdev");
            continue;
        }
        group_begin(place->name);
        for (u32 n = 0; n < ARRAY_SIZE(ops); n++) {
            op = &ops[n];
            if ((place->kind == DEVICE && op->size > 8) ||
                (place->kind != DEVICE && op->size == 16 && place->offset % 16))
                continue;
            count();
        }
        group_end();
    }
    locked_beside_plain();
    second_page_faults();
    token_passing();
}
