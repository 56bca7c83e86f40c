/* SPDX-License-Identifier: MIT
 *
 * Locked instructions of several processors on one operand (SDM 3A 8.1.2): every form, size and
 * place. Counting loses nothing; a lock has one holder; a locked instruction and a plain store to
 * another part of its operand do not undo each other; of an operand whose second page faults
 * nothing is stored. `-append long` makes it long (hours), `-append token` is the token alone,
 * handed over ten million times.
 */
#include "team.h"

#include "crossings.h"
#include "locked_forms.h"

#define VA 0x0000223400000000ul
#define VA_UNCACHED                                                                                \
    0x0000223500000000ul                  /* the same two pages, the second with other attributes  \
                                           */
#define VA_INTO      0x0000223600000000ul /* the first page and pc-testdev's */
#define VA_FROM      0x0000223700000000ul /* pc-testdev's and the second page */
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
LOCKED_STEP(dec2, u16, "decw %0")
static void sbb8(volatile u8 *p)
{
    asm volatile("stc; lock sbbq $0, %0" : "+m"(*(u64 *)p)::"memory", "cc");
}
LOCKED_STEP(not4, u32, "notl %0")
LOCKED_STEP(neg8, u64, "negq %0")

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

/* What n steps make of the operand. */
enum effect {
    ADDS,      /* n */
    SUBTRACTS, /* -n */
    INVERTS,   /* 0 or ~0 */
    NEGATES,   /* 1 or -1 */
    GUARDS,    /* it is a lock, and the count is elsewhere */
};

static const struct op {
    const char *name;
    step_fn *step;
    u32 size;
    enum effect effect;
} ops[] = {
    {"INC byte", inc1, 1, ADDS},          {"ADD word", add2, 2, ADDS},
    {"SUB dword", sub4, 4, ADDS},         {"ADD qword", add8, 8, ADDS},
    {"ADC dword", adc4, 4, ADDS},         {"SBB qword", sbb8, 8, SUBTRACTS},
    {"DEC word", dec2, 2, SUBTRACTS},     {"NOT dword", not4, 4, INVERTS},
    {"NEG qword", neg8, 8, NEGATES},      {"XADD byte", xadd1, 1, ADDS},
    {"XADD word", xadd2, 2, ADDS},        {"XADD dword", xadd4, 4, ADDS},
    {"XADD qword", xadd8, 8, ADDS},       {"CMPXCHG byte", cmpxchg1, 1, ADDS},
    {"CMPXCHG word", cmpxchg2, 2, ADDS},  {"CMPXCHG dword", cmpxchg4, 4, ADDS},
    {"CMPXCHG qword", cmpxchg8, 8, ADDS}, {"CMPXCHG8B", cmpxchg8b, 8, ADDS},
    {"CMPXCHG16B", cmpxchg16b, 16, ADDS}, {"XCHG byte", xchg1, 1, GUARDS},
    {"XCHG word", xchg2, 2, GUARDS},      {"XCHG dword", xchg4, 4, GUARDS},
    {"XCHG qword", xchg8, 8, GUARDS},     {"BTS and BTR", bts4, 4, GUARDS},
};

static u64 after(enum effect effect, u64 steps)
{
    switch (effect) {
    case SUBTRACTS: return 0 - steps;
    case INVERTS: return steps & 1 ? ~0ull : 0;
    case NEGATES: return steps & 1 ? ~0ull : 1;
    default: return steps;
    }
}

/* -- where the operand is -- */

enum kind { PLAIN, CODE, CODE_NEAR, CODE_BEHIND, WATCHED, STEPPED, UNCACHED, DEVICE, INTO, FROM };

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
    {"across a page, by a processor that single-steps", 0, PAGE, STEPPED, 128},
    {"across a page, the second one with code", 0, PAGE, CODE_BEHIND, 64},
    {"across a page, the second one uncached", 0, PAGE, UNCACHED, 16},
    {"in a device", 0, 0, DEVICE, 8},
    {"misaligned in a device", 257, 0, DEVICE, 8},
    {"across a page into a device", 0, PAGE, INTO, 16},
    {"across a page out of a device", 0, PAGE, FROM, 16},
};

static const struct op *op;
static const struct place *place;

static bool in_device(void)
{
    return place->kind >= DEVICE;
}

/* Code in the page of the operand, to be run now and then: it makes the page a code page again. */
static void call_code(void)
{
    u32 offset = place->kind == CODE_NEAR ? 1040 : place->kind == CODE_BEHIND ? PAGE + 3000 : 3000;

    asm volatile("call *%0" ::"r"(VA + offset) : "memory", "cc");
}

static bool has_code(void)
{
    return place->kind == CODE || place->kind == CODE_NEAR || place->kind == CODE_BEHIND;
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
        if (has_code() && n % 8 == cpu)
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
    switch (place->kind) {
    case UNCACHED: at = (volatile u8 *)VA_UNCACHED + offset; break;
    case DEVICE: at = (volatile u8 *)TESTDEV_MMIO + offset; break;
    case INTO: at = (volatile u8 *)VA_INTO + offset; break;
    case FROM: at = (volatile u8 *)VA_FROM + offset; break;
    default: at = (volatile u8 *)VA + offset;
    }
    memset((void *)at, 0, size);
    if (has_code())
        data[1040] = data[3000] = data[PAGE + 3000] = 0xc3; /* RET */
    crossings_begin(&crossings, CROSSINGS, CROSSINGS_US);
}

static void count(void)
{
    u64 mask = op->size >= 8 ? ~0ull : BIT(op->size * 8) - 1;
    u64 want = 0;

    place_operand();
    if (op->effect == NEGATES)
        *at = 1;
    guarded.count = 0;
    team_run(cpus, hammer);
    for (u32 n = 0; n < cpus; n++)
        want += done[n];
    check(!crossings.lost, "%s %s: somebody has the lock", op->name, place->name);
    if (op->effect == GUARDS)
        check_eq(guarded.count, want, "%s %s", op->name, place->name);
    else
        check_eq(operand(), after(op->effect, want) & mask, "%s %s", op->name, place->name);
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

static volatile u32 bad;

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
        if (has_code() && n % 8 == cpu)
            call_code();
    }
    team_barrier(cpus);
    special_end(cpu);
}

/* -- a bit for each processor -- */

#define LOCKED_BITS(type, instruction, bits)                                                       \
    asm volatile("lock " instruction " %1, %0"                                                     \
                 : "+m"(*(type *)at)                                                               \
                 : "r"((type)(bits))                                                               \
                 : "memory", "cc")
/* Sets and clears it in turn. It stays as it was left; `now` is the byte that it is in. */
#define OWN_BIT(type, suffix)                                                                      \
    do {                                                                                           \
        LOCKED_BITS(type, "or" suffix, own);                                                       \
        lost += !(*now & mine);                                                                    \
        LOCKED_BITS(type, "xor" suffix, own);                                                      \
        lost += *now & mine ? 1 : 0;                                                               \
        LOCKED_BITS(type, "xor" suffix, own);                                                      \
        lost += !(*now & mine);                                                                    \
        LOCKED_BITS(type, "and" suffix, ~own);                                                     \
        lost += *now & mine ? 1 : 0;                                                               \
    } while (0)

/* A bit of the first byte, for odd processors of the last. */
static void own_bits(u32 cpu)
{
    volatile u8 *now = at + (cpu & 1 ? size - 1 : 0);
    const u8 mine = (u8)(1 << cpu % 8);
    const u64 own = (u64)mine << (now - at) * 8;
    u32 lost = 0;

    special_begin(cpu);
    team_barrier(cpus);
    for (u32 n = 0; go_on(cpu, n); n++) {
        switch (size) {
        case 1: OWN_BIT(u8, "b"); break;
        case 2: OWN_BIT(u16, "w"); break;
        case 4: OWN_BIT(u32, "l"); break;
        default: OWN_BIT(u64, "q"); break;
        }
        if (has_code() && n % 8 == cpu)
            call_code();
    }
    atomic_add(&bad, lost);
    team_barrier(cpus);
    special_end(cpu);
}

/* Of all sizes, everywhere. */
static void sizes_in_places(const char *name, void (*function)(u32 cpu), bool in_devices)
{
    static const struct op sizes[] = {{"1 byte", NULL, 1, ADDS},
                                      {"2 bytes", NULL, 2, ADDS},
                                      {"4 bytes", NULL, 4, ADDS},
                                      {"8 bytes", NULL, 8, ADDS}};

    group_begin(name);
    for (u32 p = 0; p < ARRAY_SIZE(places); p++)
        for (u32 n = 0; n < ARRAY_SIZE(sizes); n++) {
            place = &places[p];
            op = &sizes[n];
            if (place->kind == STEPPED || (in_device() && !in_devices))
                continue;
            /* What crosses nothing, or has nothing beside it. */
            if (op->size == 1 && (place->split || function == beside))
                continue;
            place_operand();
            bad = 0;
            team_run(cpus, function);
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
    return guest_option("long") || guest_option("token") ? 10000000 / cpus : rounds / 10;
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
    if (guest_option("token")) {
        token_passing();
        return;
    }
    rounds = guest_option("long") ? 1000000 : guest_option("short") ? 400 : 10000;
    data = page_alloc();
    page_alloc();
    for (u32 n = 0; n < 2; n++)
        page_map(VA + n * PAGE, (u64)(data + n * PAGE) | PTE_P | PTE_W);
    page_map(VA + 2 * PAGE, 0);
    page_map(VA_UNCACHED, (u64)data | PTE_P | PTE_W);
    page_map(VA_UNCACHED + PAGE, (u64)(data + PAGE) | PTE_P | PTE_W | PTE_U | PTE_G | PTE_PCD);
    page_map(VA_INTO, (u64)data | PTE_P | PTE_W);
    page_map(VA_INTO + PAGE, TESTDEV_MMIO | PTE_P | PTE_W | PTE_PCD);
    page_map(VA_FROM, TESTDEV_MMIO | PTE_P | PTE_W | PTE_PCD);
    page_map(VA_FROM + PAGE, (u64)(data + PAGE) | PTE_P | PTE_W);
    team_gate(DB, step_entry);
    device = has_testdev();
    for (u32 p = 0; p < ARRAY_SIZE(places); p++) {
        place = &places[p];
        if (in_device() && !device) {
            check_skip(place->name, "no pc-testdev");
            continue;
        }
        group_begin(place->name);
        for (u32 n = 0; n < ARRAY_SIZE(ops); n++) {
            op = &ops[n];
            /* CMPXCHG16B must be aligned (SDM 2), and devices take at most 8 bytes. A byte
             * crosses nothing. */
            if (op->size == 16 ? in_device() || place->split || place->offset % 16
                               : op->size == 1 && place->split)
                continue;
            count();
        }
        group_end();
    }
    sizes_in_places("LOCK XOR beside plain stores", beside, false);
    sizes_in_places("LOCK OR, XOR and AND, a bit for each processor", own_bits, device);
    second_page_faults();
    token_passing();
}
