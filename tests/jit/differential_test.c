/* SPDX-License-Identifier: MIT
 *
 * Random code in the interpreter and in translated code, from the same state, in slices of random
 * length: after each slice all registers and memory are the same. Half of the cases are flat code
 * that ends, the others 16-bit code and code in all kinds of segments (segmented_start.h). Without
 * counting, code that ends runs to its end at once. An argument is the number of cases of each, a
 * second one the first seed.
 */
#include "cpu/insn.h"
#include "tests/jit/pair.h"
#include "tests/jit/random_code.h"
#include "tests/jit/segmented_start.h"
#include "tests/suite.h"

static u64 cases = 2400, first_seed = 1;

#define WITHOUT(...)                                                                               \
    {                                                                                              \
        .optimisations = JIT_ALL & ~(u64)(__VA_ARGS__), .counted = true                            \
    }

static const struct jit_options variants[] = {
    {.optimisations = JIT_ALL, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .cache_size = JIT_CACHE_MIN},
    {.optimisations = JIT_ALL, .counted = true, .eager = true},
    {.optimisations = JIT_ALL, .counted = true, .check = true},
    {.optimisations = JIT_ALL},
    {.optimisations = JIT_ALL, .cache_size = JIT_CACHE_MIN},
    {.optimisations = JIT_ALL, .eager = true},
    {.optimisations = JIT_ALL, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_PATH, .counted = true, .eager = true, .sole = true},
    {.optimisations = JIT_ALL, .eager = true, .sole = true},
    {.optimisations = 0},
    {.optimisations = 0, .counted = true},
    {.optimisations = JIT_SEGMENTS, .counted = true},
    WITHOUT(JIT_LOOP | JIT_PATH),
    WITHOUT(JIT_AVX512 | JIT_XSAVE | JIT_FSGSBASE | JIT_BMI | JIT_SCAN), /* an old host */
/* Each switch alone. */
#define OPTIMISATION(id, name, what) WITHOUT(JIT_##id),
#include "jit/optimisation.def"
#undef OPTIMISATION
};
static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_USER64, MACHINE_PROT32,
                                          MACHINE_COMPAT, MACHINE_USER32};

/* One random program: how it starts, and how far it is followed. */
struct program {
    enum machine_mode mode; /* flat code */
    u64 base;               /* where it lies */
    bool segmented;
    bool uncounted;
    unsigned slices; /* that may pass without an end */
};

/* The same random registers and data for one processor. */
static void fill(struct machine *m, u64 seed, bool wide, bool unmasked)
{
    u8 data[0x1000];
    struct vcpu *v = m->v;

    for (unsigned r = 0; r < 16; r++)
        if (r != RSP)
            v->gpr[r] = wide ? random_value(&seed) : (u32)random_value(&seed);
    v->gpr[RBX] = RANDOM_DATA;
    v->gpr[R15] = RANDOM_ABSENT - 0x40;
    v->rflags = 2 | (random_next(&seed) & F_OSZAPC);
    for (unsigned n = 0; n < 32; n++)
        for (unsigned q = 0; q < 8; q++)
            store_le(&v->fpu.zmm[n][8 * q], random_value(&seed), 8);
    v->fpu.mxcsr = unmasked ? 0x1d80 : 0x1f80;
    for (unsigned n = 0; n < sizeof(data); n += 8)
        store_le(data + n, random_value(&seed), 8);
    machine_put(m, RANDOM_DATA - sizeof(data) / 2, data, sizeof(data));
}

/* Takes 2 MiB out of the page tables. */
static void make_absent(struct machine *m)
{
    if (m->v->cr0 & CR0_PG)
        machine_put_uint(m, MACHINE_PML4 + 0x2000 + (RANDOM_ABSENT >> 21) * 8, 0, 8);
}

static bool is_wide(enum machine_mode mode)
{
    return mode == MACHINE_LONG || mode == MACHINE_USER64;
}

static void start(struct pair *p, const struct program *program, u64 seed)
{
    struct machine *both[] = {&p->interp, &p->jit};
    u64 dice = seed;

    if (program->segmented) {
        segmented_start(&p->interp, seed);
        segmented_start(&p->jit, seed);
        return;
    }

    for (unsigned n = 0; n < 2; n++) {
        u64 icount = both[n]->v->icount;

        machine_start(both[n], program->mode);
        both[n]->v->icount = icount;
        make_absent(both[n]);
        fill(both[n], seed, is_wide(program->mode), random_next(&dice) % 16 == 0);
        both[n]->v->rip = program->base;
        dice = seed;
    }
}

static void print_code(const struct random_code *c)
{
    for (unsigned n = 0; n < c->at; n++)
        printf("%02x%s", c->bytes[n], n % 32 == 31 ? "\n" : "");
    printf("\n");
}

/* To the end at once. */
static bool run_through(struct pair *p)
{
    enum vcpu_exit a = interp_run(p->interp.v, PAIR_BUDGET), b = jit_run(p->jit.v, 0);

    p->jit.v->icount = p->interp.v->icount;
    if (a == b && a != EXIT_BUDGET && !pair_difference(p)[0])
        return true;
    printf("exits %d, %d\n%s", a, b, p->difference);
    return false;
}

/* Slices until both halt. */
static bool run_slices(struct pair *p, const struct program *program, u64 seed)
{
    for (unsigned n = 0; n < program->slices; n++) {
        u64 budget = n < 200 ? 1 + random_next(&seed) % 120 : PAIR_BUDGET;
        enum vcpu_exit a = interp_run(p->interp.v, budget), b = jit_run(p->jit.v, budget);

        if (a != b || pair_difference(p)[0]) {
            printf("slice %u of %lu: exits %d, %d\n%s", n, budget, a, b, p->difference);
            return false;
        }
        if (a == EXIT_IDLE)
            return true;
        if (a == EXIT_SHUTDOWN)
            break;
    }
    if (program->segmented)
        return true;
    printf("no end\n");
    return false;
}

/* The shortest run that differs ends with the instruction to look at. */
static void narrow(struct pair *p, const struct program *program, u64 seed)
{
    for (u64 n = 1; n < 20000; n++) {
        u64 rip;
        u8 at[48];

        start(p, program, seed);
        interp_run(p->interp.v, n - 1);
        rip = p->interp.v->rip;
        if (program->segmented)
            rip = (u32)(p->interp.v->seg[SEG_CS].base + rip);
        p->interp.v->icount = p->jit.v->icount = 0;
        start(p, program, seed);
        interp_run(p->interp.v, n);
        jit_run(p->jit.v, n);
        if (!pair_difference(p)[0])
            continue;
        physmap_read(p->interp.map, rip - 32, at, sizeof(at));
        printf("after %lu instructions, the last at %lx, from 32 bytes before it:", n, rip);
        for (unsigned b = 0; b < sizeof(at); b++)
            printf(" %02x", at[b]);
        printf("\n%s", p->difference);
        return;
    }
}

/* Three times the same code from other states: it is linked from the second time on. */
static void one_program(struct pair *p, const struct program *program, const struct random_code *c,
                        u64 seed)
{
    for (unsigned again = 0; again < 3; again++) {
        /* Segments and code belong together, registers do not. */
        u64 state = program->segmented ? seed : seed + again * 1000003;

        start(p, program, state);
        if (program->uncounted ? !run_through(p) : !run_slices(p, program, seed + again)) {
            printf("seed %lu, mode %d, segmented %d, round %u\n", seed, program->mode,
                   program->segmented, again);
            print_code(c);
            if (!program->uncounted)
                narrow(p, program, state);
            ck_abort_msg("seed %lu: the engines differ", seed);
        }
    }
}

static void flat_case(struct pair *p, u64 seed, bool uncounted)
{
    struct program program = {
        .mode = modes[seed % ARRAY_SIZE(modes)], .uncounted = uncounted, .slices = 100000};
    struct random_code c;

    program.base = MACHINE_CODE;
    if (seed >> 4 & 1) /* over the edge of a page */
        program.base += PAGE_SIZE - 20 - seed / 32 % 200;
    random_generate(&c, seed, program.base, is_wide(program.mode), 10 + seed % 90);
    pair_put(p, program.base, c.bytes, c.at);
    pair_put(p, program.base + c.at, "\xf4", 1); /* hlt */
    one_program(p, &program, &c, seed);
}

static void segmented_case(struct pair *p, u64 seed)
{
    const struct program program = {.segmented = true, .slices = 30};
    struct random16 g;

    segmented_generate(&g, seed);
    segmented_put(&p->interp, &g, seed);
    segmented_put(&p->jit, &g, seed);
    one_program(p, &program, &g.c, seed);
}

START_TEST(random_code_is_the_same_in_both_engines)
{
    struct pair p;
    struct jit_stats stats;

    pair_create(&p, &variants[_i]);
    for (u64 n = 0; n < cases; n++)
        if ((first_seed + n) % ARRAY_SIZE(variants) == (u64)_i)
            flat_case(&p, first_seed + n, !variants[_i].counted);
    stats = pair_stats(&p);
    ck_assert_uint_ge(stats.blocks, cases / ARRAY_SIZE(variants));
    if (variants[_i].cache_size && cases > 1000)
        ck_assert_uint_gt(stats.evictions, 0);
    printf("variant %d: %lu blocks, %lu evictions, %lu instructions by call, %lu misses of the "
           "window, %lu mappings\n",
           _i, stats.blocks, stats.evictions, stats.interpreted, stats.window_misses,
           stats.window_fills);
    pair_destroy(&p);
}
END_TEST

START_TEST(random_segmented_code_is_the_same_in_both_engines)
{
    struct pair p;

    if (!variants[_i].counted)
        return; /* the code need not end */
    pair_create(&p, &variants[_i]);
    for (u64 n = 0; n < cases; n++)
        if ((first_seed + n) % ARRAY_SIZE(variants) == (u64)_i)
            segmented_case(&p, first_seed + n);
    if (variants[_i].optimisations & JIT_SEGMENTS)
        ck_assert_uint_ge(pair_stats(&p).blocks, cases / ARRAY_SIZE(variants));
    printf("variant %d, segments: %lu blocks, %lu instructions by call\n", _i,
           pair_stats(&p).blocks, pair_stats(&p).interpreted);
    pair_destroy(&p);
}
END_TEST

int main(int argc, char **argv)
{
    Suite *suite = suite_create("differential");
    TCase *c = tcase_create("differential");

    if (argc > 1)
        cases = strtoull(argv[1], NULL, 0);
    if (argc > 2)
        first_seed = strtoull(argv[2], NULL, 0);
    tcase_set_timeout(c, argc > 1 ? 0 : 110);
    tcase_add_loop_test(c, random_code_is_the_same_in_both_engines, 0, ARRAY_SIZE(variants));
    suite_add_tcase(suite, c);
    c = tcase_create("segmented");
    tcase_set_timeout(c, argc > 1 ? 0 : 110);
    tcase_add_loop_test(c, random_segmented_code_is_the_same_in_both_engines, 0,
                        ARRAY_SIZE(variants));
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
