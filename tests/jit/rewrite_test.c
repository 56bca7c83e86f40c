/* SPDX-License-Identifier: MIT
 *
 * Code that is rewritten while it runs, for long and at random, against the interpreter: functions
 * and data side by side on three pages, some over a page edge, stored to in all sizes, by REP, by
 * LOCKed instructions and by devices, with flushes of the TLB in between. What was written last is
 * what runs. Functions return to earlier contents now and then.
 */
#include "tests/jit/pair.h"
#include "tests/jit/random.h"
#include "tests/suite.h"

enum {
    SLOT = 16,
    SLOTS = 3 * PAGE_SIZE / SLOT - 1,
    FIRST = MACHINE_DATA + 8, /* so that a slot lies over each page edge */
    STEPS = 3000,
};

static const struct jit_options options[] = {
    {.optimisations = JIT_ALL, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .cache_size = JIT_CACHE_MIN},
    {.optimisations = JIT_ALL & ~(u64)JIT_GRANULES, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_MIXED, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_REVIVE, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_REGIONS, .counted = true, .cache_size = JIT_CACHE_MIN},
    {.optimisations = JIT_ALL, .counted = true, .check = true},
};

/* Functions; the bytes at 1 to 4 are an operand of each or skipped. */
static const u8 function[][SLOT] = {
    {0xb8, 1, 2, 3, 4, 0x83, 0xc1, 1, 0xc3},          /* mov eax, i; add ecx, 1; ret */
    {0x05, 1, 2, 3, 4, 0xff, 0xc2, 0xc3},             /* add eax, i; inc edx; ret */
    {0x2d, 1, 2, 3, 4, 0xf7, 0xd3, 0xc3},             /* sub eax, i; not ebx; ret */
    {0xa9, 1, 2, 3, 4, 0x75, 2, 0xff, 0xc3, 0xc3},    /* test eax, i; jnz l; inc ebx; l: ret */
    {0x35, 1, 2, 3, 4, 0xe9, 1, 0, 0, 0, 0xcc, 0xc3}, /* xor eax, i; jmp l; int3; l: ret */
    {0x3d, 1, 2, 3, 4, 0x0f, 0x92, 0xc2, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3},
};

static struct pair p;
static struct dice dice;

static u64 below(u64 n)
{
    return dice_below(&dice, n);
}

/* Every fourth slot is data. */
static u64 code_slot(void)
{
    return FIRST + SLOT * (4 * below(SLOTS / 4) + below(3));
}

static u64 data_slot(void)
{
    return FIRST + SLOT * (4 * below(SLOTS / 4) + 3);
}

static void set_xmm0(const u8 *bytes)
{
    memcpy(p.interp.v->fpu.zmm[0], bytes, SLOT);
    memcpy(p.jit.v->fpu.zmm[0], bytes, SLOT);
}

/* The store of a step, and the registers it wants. */
static size_t choose_store(u8 *code)
{
    static const struct {
        u8 size, bytes[6];
    } stores[] = {
        {2, {0x88, 0x07}},                         /* mov [rdi], al */
        {2, {0x89, 0x07}},                         /* mov [rdi], eax */
        {3, {0x48, 0x89, 0x07}},                   /* mov [rdi], rax */
        {3, {0x48, 0x01, 0x07}},                   /* add [rdi], rax */
        {4, {0xf0, 0x0f, 0xc0, 0x07}},             /* lock xadd [rdi], al */
        {2, {0xf3, 0xaa}},                         /* rep stosb */
        {3, {0x0f, 0x11, 0x07}},                   /* movups [rdi], xmm0 */
        {6, {0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8}}, /* mov rax, cr3; mov cr3, rax */
        {3, {0x0f, 0x01, 0x3f}},                   /* invlpg [rdi] */
        {1, {0x90}},                               /* a device */
    };
    unsigned n = (unsigned)below(ARRAY_SIZE(stores));
    u64 at = code_slot();

    pair_set(&p, RAX, dice_next(&dice) & 0x0303030303030303);
    pair_set(&p, RCX, 1 + below(3));
    pair_set(&p, RDI, at + 1 + below(2)); /* a part of the operand */
    if (n == 2 || n == 3 || (n < 6 && below(2)))
        pair_set(&p, RDI, data_slot() + below(9));
    if (n == 6 || n == 1)
        pair_set(&p, RDI, at + (n == 1));
    set_xmm0(function[below(ARRAY_SIZE(function))]);
    if (n == 9)
        pair_put(&p, at, function[below(ARRAY_SIZE(function))], SLOT);
    memcpy(code, stores[n].bytes, stores[n].size);
    return stores[n].size;
}

/* A store, then calls of the function it may have hit and of another. */
static void step(void)
{
    u8 code[16];
    size_t size = choose_store(code);
    u64 near_slot = p.jit.v->gpr[RDI] - (p.jit.v->gpr[RDI] - FIRST) % SLOT;

    if ((near_slot - FIRST) / SLOT % 4 == 3)
        near_slot -= SLOT;
    pair_set(&p, RSI, near_slot);
    pair_set(&p, RBP, code_slot());
    memcpy(code + size, "\xff\xd6\xff\xd5", 4); /* call rsi; call rbp */
    pair_again(&p);
    ck_assert_int_eq(pair_execute(&p, code, size + 4), -1);
}

START_TEST(what_was_written_last_runs)
{
    const struct jit_options *o = &options[_i];
    struct jit_stats stats;

    dice.state = 7;
    pair_create(&p, o);
    pair_start(&p, MACHINE_LONG);
    for (u64 n = 0; n < SLOTS; n++)
        pair_put(&p, FIRST + SLOT * n, function[n % ARRAY_SIZE(function)], SLOT);
    for (unsigned n = 0; n < (o->check ? STEPS / 4 : STEPS); n++)
        step();
    stats = pair_stats(&p);
    ck_assert_uint_gt(stats.blocks, 100);
    ck_assert((stats.revived > 100) == !!(o->optimisations & JIT_REVIVE) || o->check);
    ck_assert_uint_eq(stats.evictions > 0, o->cache_size > 0);
    pair_destroy(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("rewrite");
    TCase *t = tcase_create("rewrite");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, what_was_written_last_runs, 0, ARRAY_SIZE(options));
    return suite_run(s);
}
