/* SPDX-License-Identifier: MIT
 *
 * Bit strings, direct offsets, XLAT, CMPXCHG16B, PUSH and POP with memory, PUSHF and ENTER in
 * translated code, with operands at page edges and faults.
 */
#include "cpu/cpuid.h"
#include "tests/jit/random.h"
#include "tests/suite.h"

static struct pair pair;

static void setup(void)
{
    pair_create(&pair, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&pair);
}

static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_COMPAT, MACHINE_PROT32};

static void start(enum machine_mode mode, struct dice *d)
{
    state_random(&pair, mode, d);
    pair_set(&pair, RBX, dice_address(d));
}

/* -- BT, BTS, BTR, BTC -- */

static void run_bits(enum machine_mode mode, u64 seed)
{
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 1};
    u8 code[10];
    unsigned reg = (unsigned)dice_below(&d, 8);
    size_t n = 0;

    start(mode, &d);
    if (reg != RBX && reg != RSP)
        pair_set(&pair, reg, (u64)((i64)dice_below(&d, 4000) - 2000));
    if (dice_below(&d, 2))
        code[n++] = 0xf0;
    if (!dice_below(&d, 3))
        code[n++] = 0x66;
    if (mode == MACHINE_LONG && dice_below(&d, 2))
        code[n++] = dice_below(&d, 2) ? 0x4c : 0x48; /* REX.W, or with R: R8-R15 */
    code[n++] = 0x0f;
    code[n++] = (u8)(0xa3 | dice_below(&d, 4) << 3);
    if (code[n - 1] == 0xa3 && code[0] == 0xf0)
        code[0] = 0x90;                /* LOCK BT is none */
    code[n++] = (u8)(0x43 | reg << 3); /* [rbx + disp8] */
    code[n++] = (u8)dice_next(&d);
    code[n++] = 0x72; /* jc: CF must have arrived */
    code[n++] = 0x00;
    pair_execute(&pair, code, n);
}

START_TEST(random_bit_strings)
{
    for (u64 n = 0; n < 400; n++)
        run_bits(modes[_i], n * 3 + (u64)_i);
}
END_TEST

/* -- BSF and BSR -- */

/* Flags that manuals leave undefined are the interpreter's, whatever the host makes of them. */
START_TEST(scans_leave_the_interpreters_flags)
{
    static const struct jit_options made = {.optimisations = JIT_ALL & ~(u64)JIT_SCAN,
                                            .counted = true};
    static const u8 destinations[] = {RCX, R10, RSP};
    struct pair *p = &pair, other;

    if (_i % 2) {
        pair_create(&other, &made);
        p = &other;
    }
    for (unsigned n = 0; n < 256; n++) {
        const unsigned to = destinations[n % 3], bit = n / 4;
        const u8 code[] = {n & 1 ? 0x66 : 0x90, (u8)((n & 2 ? 0x48 : 0x40) | (to & 8) >> 1), 0x0f,
                           (u8)(0xbc + _i / 2), (u8)(0xc2 | (to & 7) << 3)};

        pair_start(p, MACHINE_LONG);
        pair_set(p, RDX, bit ? 3ull << bit : 0);
        pair_set(p, RCX, 0xfeed0000beef00ff);
        pair_set(p, R10, 0x8000800080008081);
        pair_flags(p, n / 3 & 1 ? F_OSZAPC : 0);
        pair_execute(p, code, sizeof(code));
    }
    if (p == &other)
        pair_destroy(&other);
}
END_TEST

/* -- the others, one after the other -- */

static void run(enum machine_mode mode, const void *code, size_t size)
{
    for (u64 seed = 1; seed < 60; seed++) {
        struct dice d = {seed * 0x9e3779b97f4a7c15ull};

        start(mode, &d);
        if (!dice_below(&d, 4))
            pair_set(&pair, RSP, dice_address(&d) & ~7ull);
        pair_code(&pair, code, size);
        pair_run(&pair, PAIR_BUDGET); /* without a stack a fault is a shutdown */
    }
}
#define RUN(mode, ...) run(mode, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

START_TEST(direct_offsets)
{
    RUN(MACHINE_COMPAT, 0xa1, 0x04, 0x00, 0x06, 0x00, /* mov eax, [60004h] */
        0xa2, 0x08, 0x00, 0x06, 0x00,                 /* mov [60008h], al */
        0x66, 0xa3, 0xff, 0x0f, 0x06, 0x00,           /* mov [60fffh], ax */
        0xa0, 0x00, 0x30, 0x06, 0x00);                /* mov al, [63000h]: absent */
    RUN(MACHINE_LONG, 0x48, 0xa1, 0x04, 0x00, 0x06, 0, 0, 0, 0, 0, 0x48, 0xa3, 0xfc, 0x1f, 0x06, 0,
        0, 0, 0, 0);
}
END_TEST

START_TEST(xlat)
{
    RUN(MACHINE_LONG, 0xd7);
    RUN(MACHINE_COMPAT, 0xd7);
    RUN(MACHINE_LONG, 0x67, 0xd7);
}
END_TEST

START_TEST(cmpxchg16b)
{
    RUN(MACHINE_LONG, 0xf0, 0x48, 0x0f, 0xc7, 0x0b);
    RUN(MACHINE_LONG, 0x48, 0x83, 0xe3, 0xf0, /* and rbx, -16 */
        0x48, 0x8b, 0x03,                     /* mov rax, [rbx] */
        0x48, 0x8b, 0x53, 0x08,               /* mov rdx, [rbx + 8] */
        0x49, 0x89, 0xd9,                     /* mov r9, rbx */
        0x48, 0x0f, 0xc7, 0x0b,               /* cmpxchg16b [rbx]: equal */
        0xf0, 0x49, 0x0f, 0xc7, 0x09);        /* lock cmpxchg16b [r9] */
}
END_TEST

START_TEST(push_and_pop_memory)
{
    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        RUN(modes[n], 0xff, 0x33, 0x8f, 0x43, 0x08); /* push [rbx]; pop [rbx + 8] */
        RUN(modes[n], 0xff, 0x33, 0x8f, 0x04, 0x24); /* pop [rsp]: after the increment */
        RUN(modes[n], 0xff, 0x74, 0x24, 0x08, 0x8f, 0xc0);
    }
}
END_TEST

START_TEST(pushf)
{
    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        RUN(modes[n], 0x9c);
        RUN(modes[n], 0x01, 0xc8, 0x9c, 0xfd, 0x9c, 0xf9, 0x9c); /* add; pushf; std; stc */
        RUN(modes[n], 0x66, 0x9c);
    }
}
END_TEST

START_TEST(enter_and_leave)
{
    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        RUN(modes[n], 0xc8, 0x20, 0x00, 0x00, 0xc9);
        RUN(modes[n], 0xc8, 0x00, 0x20, 0x00);
        RUN(modes[n], 0xc8, 0x20, 0x00, 0x02, 0xc9);
    }
}
END_TEST

START_TEST(all_are_inline)
{
    struct dice d = {1};
    u64 before;

    start(MACHINE_LONG, &d);
    pair_set(&pair, RBX, STATE_DATA + 0x100);
    pair_set(&pair, RCX, 900);
    PAIR_EXECUTE(&pair, 0x48, 0x83, 0x0b, 0, 0x48, 0x83, 0x8b, 0x70, 0, 0, 0, 0, 0x50,
                 0x58); /* or qword [rbx], 0; or qword [rbx + 70h], 0; push rax; pop rax */
    pair_again(&pair);
    before = pair_stats(&pair).interpreted;
    PAIR_EXECUTE(&pair, 0x48, 0x0f, 0xab, 0x0b, /* bts [rbx], rcx */
                 0x0f, 0xa3, 0x0b,              /* bt [rbx], ecx */
                 0xf0, 0x48, 0x0f, 0xc7, 0x0b,  /* lock cmpxchg16b [rbx] */
                 0xd7, 0xff, 0x33, 0x8f, 0x03,  /* xlat; push [rbx]; pop [rbx] */
                 0x9c, 0xc8, 0x20, 0x00, 0x00); /* pushf; enter 32, 0 */
    ck_assert_uint_eq(state_calls(&pair, &before), 1);
}
END_TEST

/* -- VZEROUPPER -- */

static u64 calls_of_zero_upper(enum machine_mode mode)
{
    static const u8 code[] = {0x01, 0xc8, 0xc5, 0xf8, 0x77, /* add eax, ecx; vzeroupper */
                              0x72, 0x00, 0xc5, 0xf8, 0x77};
    struct dice d = {7};
    u64 before;

    start(mode, &d);
    pair.interp.v->xcr0 = pair.jit.v->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    for (unsigned n = 0; n < 16; n++)
        for (unsigned q = 0; q < 4; q++) {
            u64 value = dice_next(&d);

            memcpy(pair.interp.v->fpu.zmm[n] + 8 * q, &value, 8);
            memcpy(pair.jit.v->fpu.zmm[n] + 8 * q, &value, 8);
        }
    before = pair_stats(&pair).interpreted;
    pair_execute(&pair, code, sizeof(code));
    return state_calls(&pair, &before);
}

START_TEST(zero_upper)
{
    bool host_has_avx = __builtin_cpu_supports("avx");

    ck_assert_uint_eq(calls_of_zero_upper(MACHINE_LONG), host_has_avx ? 1 : 3);
    ck_assert_uint_eq(calls_of_zero_upper(MACHINE_USER64), host_has_avx ? 2 : 4);
    ck_assert_uint_eq(load_le(pair.jit.v->fpu.zmm[15] + 16, 8), 0);
    ck_assert_uint_eq(calls_of_zero_upper(MACHINE_COMPAT), 3);
    ck_assert_uint_ne(load_le(pair.jit.v->fpu.zmm[15] + 16, 8), 0);
}
END_TEST

/* -- what not every host has -- */

static bool host_has_all(void)
{
    static const u8 features[] = {FEAT_ADX,   FEAT_BMI1,  FEAT_BMI2,
                                  FEAT_LZCNT, FEAT_MOVBE, FEAT_POPCNT};

    for (unsigned n = 0; n < ARRAY_SIZE(features); n++)
        if (!feature_host_has(features[n]))
            return false;
    return true;
}

/* On a host without them TZCNT would be BSF, LZCNT BSR, and the others #UD. */
START_TEST(what_the_host_lacks_is_a_body)
{
    static const struct jit_options old = {.optimisations = JIT_ALL & ~(u64)JIT_BMI,
                                           .counted = true};
    static const u8 code[] = {
        0xf3, 0x0f, 0xbc, 0xc3,             /* tzcnt eax, ebx */
        0xf3, 0x0f, 0xbd, 0xcb,             /* lzcnt ecx, ebx */
        0xf3, 0x0f, 0xb8, 0xd3,             /* popcnt edx, ebx */
        0x0f, 0x38, 0xf0, 0x33,             /* movbe esi, [rbx] */
        0x66, 0x0f, 0x38, 0xf6, 0xfb,       /* adcx edi, ebx */
        0xf3, 0x0f, 0x38, 0xf6, 0xeb,       /* adox ebp, ebx */
        0xc4, 0xe2, 0x60, 0xf2, 0xc3,       /* andn eax, ebx, ebx */
        0xc4, 0xe2, 0x63, 0xf5, 0xcb,       /* pdep ecx, ebx, ebx */
        0xc4, 0xe2, 0x61, 0xf7, 0xd3,       /* shlx edx, ebx, ebx */
        0xc4, 0xe3, 0x7b, 0xf0, 0xf3, 0x05, /* rorx esi, ebx, 5 */
    };
    struct dice d = {3};
    u64 calls;

    if (_i) {
        pair_destroy(&pair);
        pair_create(&pair, &old);
    }
    state_random(&pair, MACHINE_LONG, &d);
    pair_set(&pair, RBX, STATE_DATA);
    calls = pair_stats(&pair).interpreted;
    pair_execute(&pair, code, sizeof(code));
    if (_i || host_has_all())
        ck_assert_uint_eq(state_calls(&pair, &calls), _i ? 11 : 1); /* HLT is one */
}
END_TEST

/* -- flags that manuals leave undefined -- */

/* Translated code may be asked to have the interpreter's on every host. */
START_TEST(undefined_flags_are_the_interpreters)
{
    static const struct jit_options exact = {.optimisations = JIT_ALL & ~(u64)JIT_UNDEFINED,
                                             .counted = true};
    static const u8 code[] = {
        0x0f, 0xaf, 0xc3,       /* imul eax, ebx */
        0xf7, 0xe3,             /* mul ebx */
        0xc1, 0xe0, 0x05,       /* shl eax, 5 */
        0xd1, 0xf8,             /* sar eax, 1 */
        0xc1, 0xc3, 0x07,       /* rol ebx, 7 */
        0x0f, 0xa4, 0xd8, 0x03, /* shld eax, ebx, 3 */
        0x0f, 0xba, 0xe0, 0x03, /* bt eax, 3 */
        0x8b, 0x03,             /* mov eax, [rbx], which may fault */
        0x21, 0xd8,             /* and eax, ebx: all are defined but AF, which is cleared */
        0x0f, 0xbc, 0xc3,       /* bsf eax, ebx */
        0x0f, 0xaf, 0xc3,       /* imul eax, ebx: nobody sees its flags */
        0x89, 0xc1,             /* mov ecx, eax */
        0x01, 0xc8,             /* add eax, ecx */
    };
    struct dice d = {7};
    u64 calls;

    pair_destroy(&pair);
    pair_create(&pair, &exact);
    state_random(&pair, MACHINE_LONG, &d);
    pair_set(&pair, RBX, STATE_DATA);
    calls = pair_stats(&pair).interpreted;
    pair_execute(&pair, code, sizeof(code));
    ck_assert_uint_eq(state_calls(&pair, &calls), 6 + 1); /* HLT; SAR sets all after SHL */
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("special");
    TCase *c = tcase_create("special");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, random_bit_strings, 0, 3);
    tcase_add_loop_test(c, scans_leave_the_interpreters_flags, 0, 4);
    tcase_add_test(c, direct_offsets);
    tcase_add_test(c, xlat);
    tcase_add_test(c, cmpxchg16b);
    tcase_add_test(c, push_and_pop_memory);
    tcase_add_test(c, pushf);
    tcase_add_test(c, enter_and_leave);
    tcase_add_test(c, all_are_inline);
    tcase_add_test(c, zero_upper);
    tcase_add_loop_test(c, what_the_host_lacks_is_a_body, 0, 2);
    tcase_add_test(c, undefined_flags_are_the_interpreters);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
