/* SPDX-License-Identifier: MIT
 *
 * Instructions that lie in two pages, against the interpreter: split everywhere, in loops, and with
 * their second page rewritten, mapped to something else or taken away.
 */
#include "tests/jit/random.h"
#include "tests/suite.h"

enum {
    EDGE = 0x51000, /* where the second page begins */
    OTHER = 0x53000,
    HOLE = 0x40000000, /* no RAM */
    TURNS = 14,
    OPERAND = STATE_DATA + 0x800, /* RBX */
    PAGE_TABLE = 0x200000,        /* state_small_pages() */
};
#define NO_EXECUTE BIT(63)

static const struct jit_options options[] = {
    {.optimisations = JIT_ALL, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .eager = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_LINK, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_STAY, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_REVIVE, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)(JIT_MEMORY | JIT_SIMD), .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_CROSS, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .check = true},
};
static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_USER64, MACHINE_PROT32,
                                          MACHINE_COMPAT, MACHINE_USER32};
enum { VARIANTS = ARRAY_SIZE(options) * ARRAY_SIZE(modes) };

static struct pair p;

static bool wide(enum machine_mode mode)
{
    return mode == MACHINE_LONG || mode == MACHINE_USER64;
}

static bool paged(enum machine_mode mode)
{
    return mode != MACHINE_PROT32 && mode != MACHINE_USER32;
}

static void start(enum machine_mode mode)
{
    struct dice d = {11};

    state_random(&p, mode, &d);
    store_le(p.interp.v->fpu.fx, 0x37f, 2); /* x87 exceptions masked */
    store_le(p.jit.v->fpu.fx, 0x37f, 2);
    pair_set(&p, RBX, OPERAND);
    pair_set(&p, RSI, OPERAND + 0x100);
    pair_set(&p, RDI, OPERAND + 0x400);
    pair_set(&p, RDX, STATE_ABSENT);
    pair_set(&p, RCX, 5);
    pair_set(&p, RBP, TURNS);
}

static void go_to(u64 rip)
{
    struct vcpu *both[] = {p.interp.v, p.jit.v};

    for (unsigned n = 0; n < 2; n++) {
        both[n]->activity = ACTIVITY_RUN;
        both[n]->rip = rip;
    }
}

/* In slices, which end translated code wherever it is. The vector that ended it, or -1. */
static int run_from(u64 rip, u64 slice)
{
    enum vcpu_exit why;

    go_to(rip);
    do
        why = pair_run(&p, slice);
    while (why == EXIT_BUDGET);
    ck_assert_int_eq(why, EXIT_IDLE);
    return machine_vector(&p.jit);
}

/* -- every kind, split everywhere -- */

enum { BOTH, WIDE, NARROW };

static const struct sample {
    u8 which;  /* code size */
    i8 vector; /* 0: none */
    u8 size, bytes[15];
    bool returns; /* to behind it, by what is pushed before it */
} samples[] = {
    {BOTH, 0, 2, {0x01, 0xc8}, 0},                          /* add eax, ecx */
    {BOTH, 0, 2, {0x11, 0xc8}, 0},                          /* adc eax, ecx */
    {BOTH, 0, 2, {0x8b, 0x03}, 0},                          /* mov eax, [rbx] */
    {BOTH, 0, 3, {0x31, 0x43, 0x10}, 0},                    /* xor [rbx+16], eax */
    {BOTH, 0, 4, {0xf0, 0x0f, 0xc1, 0x0b}, 0},              /* lock xadd [rbx], ecx */
    {BOTH, 0, 5, {0x3d, 0x44, 0x33, 0x22, 0x11}, 0},        /* cmp eax, imm */
    {BOTH, 0, 7, {0x80, 0xbb, 4, 0, 0, 0, 0x7f}, 0},        /* cmp byte [rbx+4], 127 */
    {BOTH, 0, 10, {0x81, 0x83, 8, 0, 0, 0, 9, 8, 7, 6}, 0}, /* add dword [rbx+8], imm */
    {BOTH, 0, 6, {0xff, 0xb3, 8, 0, 0, 0}, 0},              /* push [rbx+8] */
    {BOTH, 0, 2, {0x0f, 0xa2}, 0},                          /* cpuid: a body */
    {BOTH, 0, 4, {0x66, 0x0f, 0xfe, 0xc1}, 0},              /* paddd xmm0, xmm1 */
    {BOTH, 0, 4, {0x0f, 0x11, 0x43, 0x20}, 0},              /* movups [rbx+32], xmm0 */
    {BOTH, 0, 2, {0xd9, 0xe8}, 0},                          /* fld1 */
    {BOTH, 0, 2, {0xdd, 0x03}, 0},                          /* fld [rbx] */
    {BOTH, 0, 2, {0xeb, 0}, 0},                             /* jmp */
    {BOTH, 0, 5, {0xe9, 0, 0, 0, 0}, 0},                    /* jmp */
    {BOTH, 0, 2, {0x75, 0}, 0},                             /* jnz */
    {BOTH, 0, 6, {0x0f, 0x82, 0, 0, 0, 0}, 0},              /* jb */
    {BOTH, 0, 2, {0xe2, 0}, 0},                             /* loop */
    {BOTH, 0, 5, {0xe8, 0, 0, 0, 0}, 0},                    /* call */
    {BOTH, 0, 3, {0xff, 0x53, 0x40}, 0},                    /* call [rbx+64]: behind it */
    {BOTH, 0, 3, {0xff, 0x63, 0x40}, 0},                    /* jmp [rbx+64] */
    {BOTH, 0, 3, {0xc2, 8, 0}, true},                       /* ret 8 */
    {BOTH, 0, 2, {0xf3, 0xc3}, true},                       /* rep ret */
    {BOTH, 0, 2, {0x66, 0xa5}, 0},                          /* movsw */
    {BOTH, 0, 2, {0xf3, 0xa4}, 0},                          /* rep movsb */
    {BOTH, 0, 3, {0xf3, 0x66, 0xab}, 0},                    /* rep stosw */
    {BOTH, 14, 2, {0x8b, 0x02}, 0},                         /* mov eax, [rdx]: absent */
    {BOTH, 14, 7, {0xc7, 0x42, 0, 1, 2, 3, 4}, 0},          /* mov [rdx], imm: absent */
    {BOTH, 6, 2, {0x0f, 0x0b}, 0},                          /* ud2 */
    {BOTH, 3, 2, {0xf3, 0xcc}, 0},                          /* int3 with a prefix */
    {WIDE, 0, 3, {0x4d, 0x01, 0xca}, 0},                    /* add r10, r9 */
    {WIDE, 0, 10, {0x48, 0xb8, 8, 7, 6, 5, 4, 3, 2, 1}, 0}, /* mov rax, imm64 */
    {WIDE, 0, 7, {0x48, 0x8d, 0x05, 1, 2, 3, 4}, 0},        /* lea rax, [rip+] */
    {WIDE, 0, 3, {0x48, 0xff, 0xc0}, 0},                    /* inc rax */
    {WIDE, 0, 15, {0x3e, 0x3e, 0x3e, 0xf0, 0x48, 0x81, 0x83, 0, 1, 0, 0, 9, 8, 7, 6}, 0},
    {NARROW, 0, 15, {0x3e, 0x3e, 0x3e, 0x3e, 0xf0, 0x81, 0x83, 0, 1, 0, 0, 9, 8, 7, 6}, 0},
    {NARROW, 0, 2, {0x66, 0x40}, 0},                   /* inc ax */
    {NARROW, 0, 7, {0x0f, 0xb7, 0x05, 0, 8, 6, 0}, 0}, /* movzx eax, [abs] */
};

/* back: [push behind]; the instruction, split; behind: dec ebp; jnz back; hlt. Returns the start.
 */
static u64 put_loop(const struct sample *s, unsigned split)
{
    u64 at = EDGE - split - (s->returns ? 5 : 0), behind = EDGE - split + s->size;
    u8 code[40];
    unsigned size = 0;

    if (s->returns) {
        code[size++] = 0x68;
        store_le(code + size, behind, 4);
        size += 4;
    }
    memcpy(code + size, s->bytes, s->size);
    size += s->size;
    memcpy(code + size, "\xff\xcd\x75", 3);
    size += 4;
    code[size - 1] = (u8) - (int)size;
    code[size++] = 0xf4;
    pair_put(&p, at, code, size);
    pair_put(&p, OPERAND + 64, &behind, 8);
    return at;
}

static void one_sample(const struct sample *s, unsigned split, enum machine_mode mode)
{
    static const u64 slices[] = {2, PAIR_BUDGET};
    bool user = mode == MACHINE_USER64 || mode == MACHINE_USER32;
    int end = s->vector ? s->vector : user ? 13 : -1; /* HLT is privileged */

    if (s->vector == 14 && !paged(mode))
        end = user ? 13 : -1;
    for (unsigned n = 0; n < ARRAY_SIZE(slices); n++) {
        start(mode);
        ck_assert_int_eq(run_from(put_loop(s, split), slices[n]), end);
    }
}

START_TEST(split_everywhere)
{
    enum machine_mode mode = modes[(unsigned)_i % ARRAY_SIZE(modes)];

    pair_create(&p, &options[(unsigned)_i / ARRAY_SIZE(modes)]);
    for (unsigned n = 0; n < ARRAY_SIZE(samples); n++) {
        if (samples[n].which == (wide(mode) ? NARROW : WIDE))
            continue;
        for (unsigned split = 1; split < samples[n].size; split++)
            one_sample(&samples[n], split, mode);
    }
    pair_destroy(&p);
}
END_TEST

/* The jump back is what lies in two pages. */
START_TEST(loops_close_over_the_edge)
{
    static const u8 code[] = {0x01, 0xc8, 0xff, 0xcd, 0x0f, 0x85, 0xf6, 0xff, 0xff, 0xff, 0xf4};

    pair_create(&p, &options[(unsigned)_i / ARRAY_SIZE(modes)]);
    for (unsigned split = 1; split < 6; split++) {
        enum machine_mode mode = modes[(unsigned)_i % ARRAY_SIZE(modes)];

        pair_put(&p, EDGE - 4 - split, code, sizeof(code));
        start(mode);
        run_from(EDGE - 4 - split, 7);
        start(mode);
        run_from(EDGE - 4 - split, PAIR_BUDGET);
        ck_assert_uint_eq(p.jit.v->gpr[RBP], 0);
    }
    pair_destroy(&p);
}
END_TEST

/* LOOP to itself: there is no second copy of the block, as each turn must look. */
START_TEST(it_jumps_to_itself)
{
    static const struct sample s = {.size = 2, .bytes = {0xe2, 0xfe}};

    pair_create(&p, &options[(unsigned)_i / ARRAY_SIZE(modes)]);
    start(modes[(unsigned)_i % ARRAY_SIZE(modes)]);
    pair_set(&p, RBP, 1);
    pair_set(&p, RCX, 1000);
    run_from(put_loop(&s, 1), 77);
    ck_assert_uint_eq(p.jit.v->gpr[RCX], 0);
    pair_destroy(&p);
}
END_TEST

/* -- it is translated -- */

static u64 lookups_of_a_loop(const struct jit_options *o)
{
    static const struct sample s = {.size = 3, .bytes = {0x03, 0x43, 8}}; /* add eax, [rbx+8] */
    u64 lookups;

    pair_create(&p, o);
    start(MACHINE_LONG);
    pair_set(&p, RBP, 1000);
    run_from(put_loop(&s, 1), PAIR_BUDGET);
    lookups = pair_stats(&p).lookups;
    pair_destroy(&p);
    return lookups;
}

START_TEST(loops_stay_in_translated_code)
{
    ck_assert_uint_lt(lookups_of_a_loop(&options[0]), 20);
    ck_assert_uint_gt(lookups_of_a_loop(&options[6]), 1000);
}
END_TEST

/* -- what is in the second page changes -- */

/* Calls mov eax, imm; ret that lies split over the edge. */
static void put_function(unsigned split)
{
    pair_put(&p, EDGE - split, "\xb8\x11\x22\x33\x44\xc3", 6);
}

/* call rbx; add edx, eax; then, then dec ebp; jnz back; hlt */
static void calls_and(const char *then, size_t size)
{
    u8 code[40] = {0xff, 0xd3, 0x01, 0xc2};

    memcpy(code + 4, then, size);
    memcpy(code + 4 + size, "\xff\xcd\x75", 3);
    code[7 + size] = (u8) - (int)(8 + size);
    ck_assert_int_eq(pair_execute(&p, code, 8 + size), -1);
}

START_TEST(the_guest_rewrites_it)
{
    pair_create(&p, &options[_i]);
    for (unsigned split = 1; split < 5; split++) {
        start(MACHINE_LONG);
        put_function(split);
        pair_set(&p, RBX, EDGE - split);
        calls_and("\xfe\x43\x04", 3); /* inc byte [rbx+4] */
    }
    start(MACHINE_PROT32);
    put_function(2);
    pair_set(&p, RBX, EDGE - 2);
    calls_and("\xf7\x53\x01", 3); /* not dword [rbx+1]: in both pages */
    pair_destroy(&p);
}
END_TEST

START_TEST(it_rewrites_itself)
{
    static const struct sample stores[] = {
        {.size = 3, .bytes = {0x80, 0x03, 5}},                /* add byte [rbx], 5 */
        {.size = 7, .bytes = {0x81, 0x43, 0xfd, 1, 1, 1, 0}}, /* add dword [rbx-3], imm */
        {.size = 5, .bytes = {0xf0, 0x80, 0x43, 0, 0x81}},    /* lock add byte [rbx], imm */
        {.size = 7, .bytes = {0x80, 0x83, 0, 0, 0, 0, 3}},    /* add byte [rbx], imm */
    };

    pair_create(&p, &options[_i]);
    for (unsigned n = 0; n < ARRAY_SIZE(stores); n++)
        for (unsigned split = 1; split < stores[n].size; split++) {
            u64 at;

            start(MACHINE_LONG);
            at = put_loop(&stores[n], split);
            pair_set(&p, RBX, at + stores[n].size - 1); /* its last byte */
            run_from(at, PAIR_BUDGET);
        }
    pair_destroy(&p);
}
END_TEST

START_TEST(a_device_rewrites_it)
{
    pair_create(&p, &options[_i]);
    start(MACHINE_LONG);
    put_function(2);
    pair_set(&p, RBX, EDGE - 2);
    for (unsigned turn = 0; turn < 20; turn++) {
        u8 byte = (u8)(turn % 3);

        pair_set(&p, RBP, TURNS);
        pair_again(&p);
        calls_and("", 0);
        ck_assert_uint_eq((u8)(p.jit.v->gpr[RAX] >> 24), turn ? (turn - 1) % 3 : 0x44);
        pair_put(&p, EDGE + 2, &byte, 1);
        if (turn % 5 == 4)
            pair_put(&p, EDGE - 1, &byte, 1); /* the first page, too */
    }
    pair_destroy(&p);
}
END_TEST

/* -- the second page is mapped elsewhere -- */

static void map(u64 page, u64 entry)
{
    pair_put(&p, PAGE_TABLE + page / PAGE_SIZE * 8, &entry, 8);
    tlb_flush_all(&p.interp.v->tlb);
    tlb_flush_all(&p.jit.v->tlb);
}

/* The end of the function in the page that comes and goes: mov eax, imm; ret with other bytes. */
static void start_two(unsigned split)
{
    static const u8 other[] = {0xb8, 0x55, 0x66, 0x77, 0x88, 0xc3};

    start(MACHINE_LONG);
    put_function(split);
    pair_put(&p, OTHER, &other[split], sizeof(other) - split);
    pair_set(&p, RBX, EDGE - split);
    pair_set(&p, RSI, PAGE_TABLE + EDGE / PAGE_SIZE * 8);
    pair_set(&p, RDI, EDGE);
    pair_set(&p, RCX, OTHER | 0x67);
}

START_TEST(it_is_mapped_elsewhere)
{
    static const struct {
        const char *code;
        size_t size;
    } switches[] = {
        {"\x48\x87\x0e\x0f\x01\x3f", 6},             /* xchg [rsi], rcx; invlpg [rdi] */
        {"\x48\x87\x0e\x0f\x20\xd8\x0f\x22\xd8", 9}, /* the same; mov rax, cr3; mov cr3, rax */
        {"\x0f\x20\xd8\x0f\x22\xd8", 6},             /* only that: nothing has changed */
    };

    pair_create(&p, &options[_i]);
    for (unsigned n = 0; n < ARRAY_SIZE(switches); n++)
        for (unsigned split = 1; split < 5; split++) {
            start_two(split);
            calls_and(switches[n].code, switches[n].size);
        }
    pair_destroy(&p);
}
END_TEST

/* Once a flush has been made good the block runs on, without being translated again. */
START_TEST(a_flush_is_made_good)
{
    u64 blocks;

    pair_create(&p, &options[0]);
    start_two(2);
    calls_and("\x0f\x20\xd8\x0f\x22\xd8", 6);
    blocks = pair_stats(&p).blocks;
    pair_set(&p, RBP, 1000);
    pair_again(&p);
    calls_and("\x0f\x20\xd8\x0f\x22\xd8", 6);
    ck_assert_uint_le(pair_stats(&p).blocks, blocks + 5); /* calls_and() was put again */
    pair_destroy(&p);
}
END_TEST

/* -- the second page goes away -- */

static const struct {
    u64 entry; /* of the second page */
    u32 error; /* of #PF, without PF_U */
} faults[] = {
    {0, 0x10},
    {EDGE | 0x67 | NO_EXECUTE, 0x11},
    {EDGE | 0x63, 0x11}, /* the supervisor's */
    {EDGE | 0x67 | 1ull << 51, 0x19},
};

static void expect_fault(unsigned n, bool user, bool privileged_page)
{
    int vector = run_from(EDGE - 2, PAIR_BUDGET);

    if (privileged_page && !user) {
        ck_assert_int_eq(vector, -1);
        return;
    }
    ck_assert_int_eq(vector, 14);
    ck_assert_uint_eq(p.jit.v->cr2, EDGE);
    ck_assert_uint_eq(machine_stack(&p.jit, 0, 8), faults[n].error | (user ? 4 : 0));
    ck_assert_uint_eq(machine_stack(&p.jit, 1, 8), EDGE - 2);
}

/* cmp eax, imm in two pages; the fault comes after it has run. */
START_TEST(it_goes_away)
{
    static const struct sample s = {.size = 5, .bytes = {0x3d, 4, 3, 2, 1}};
    enum machine_mode mode = modes[(unsigned)_i % ARRAY_SIZE(modes)];
    bool user = mode == MACHINE_USER64;

    if (!paged(mode))
        return;
    pair_create(&p, &options[(unsigned)_i / ARRAY_SIZE(modes)]);
    for (unsigned n = 0; n < ARRAY_SIZE(faults); n++) {
        start(mode);
        ck_assert_int_eq(run_from(put_loop(&s, 2), PAIR_BUDGET), user ? 13 : -1);
        start(mode);
        map(EDGE, faults[n].entry);
        expect_fault(n, user, faults[n].entry == (EDGE | 0x63));
    }
    pair_destroy(&p);
}
END_TEST

/* Its end is in no RAM: 0xff, and so is what comes behind. */
START_TEST(it_ends_in_no_ram)
{
    pair_create(&p, &options[_i]);
    start(MACHINE_LONG);
    put_function(2);
    map(EDGE, HOLE | 0x67);
    ck_assert_int_eq(run_from(EDGE - 2, PAIR_BUDGET), 6);
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 0xffffff11);
    pair_destroy(&p);
}
END_TEST

/* It begins in the last page of RAM, behind which the host has nothing. */
START_TEST(it_begins_at_the_end_of_ram)
{
    const u64 last = MACHINE_RAM - PAGE_SIZE;

    pair_create(&p, &options[_i]);
    for (unsigned turn = 0; turn < 6; turn++) {
        start(MACHINE_LONG);
        map(EDGE - PAGE_SIZE, last | 0x67);
        pair_put(&p, last + PAGE_SIZE - 2, turn % 2 ? "\xb8\x12" : "\x3d\x11", 2);
        pair_put(&p, EDGE, "\x22\x33\x44\xf4", 4);
        ck_assert_int_eq(run_from(EDGE - 2, PAIR_BUDGET), -1);
    }
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 0x44332212);
    pair_destroy(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("cross");
    TCase *t = tcase_create("cross");

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 300);
    tcase_add_loop_test(t, split_everywhere, 0, VARIANTS);
    tcase_add_loop_test(t, loops_close_over_the_edge, 0, VARIANTS);
    tcase_add_loop_test(t, it_jumps_to_itself, 0, VARIANTS);
    tcase_add_test(t, loops_stay_in_translated_code);
    tcase_add_loop_test(t, the_guest_rewrites_it, 0, ARRAY_SIZE(options));
    tcase_add_loop_test(t, it_rewrites_itself, 0, ARRAY_SIZE(options));
    tcase_add_loop_test(t, a_device_rewrites_it, 0, ARRAY_SIZE(options));
    tcase_add_loop_test(t, it_is_mapped_elsewhere, 0, ARRAY_SIZE(options));
    tcase_add_test(t, a_flush_is_made_good);
    tcase_add_loop_test(t, it_goes_away, 0, VARIANTS);
    tcase_add_loop_test(t, it_ends_in_no_ram, 0, ARRAY_SIZE(options));
    tcase_add_loop_test(t, it_begins_at_the_end_of_ram, 0, ARRAY_SIZE(options));
    return suite_run(s);
}
