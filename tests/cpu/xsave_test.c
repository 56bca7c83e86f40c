/* SPDX-License-Identifier: MIT
 *
 * FXSAVE, FXRSTOR and the XSAVE family: whole images against the host processor, then the checks
 * that only a kernel could provoke.
 */
#include "tests/cpu/simd_oracle.h"
#include "tests/suite.h"

#include <check.h>

/* The guest's area lies behind the oracle's window. */
enum { AREA = 3072, HEADER = 512, AREA_AT = MACHINE_DATA + PAGE_SIZE };
#define COMPONENTS (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512)

static struct simd_oracle oracle;
/* The save area of the host's side. */
static u8 area[AREA] ALIGNED(64);

static void setup(void)
{
    simd_create(&oracle);
}

static void teardown(void)
{
    simd_destroy(&oracle);
}

static struct vcpu *start(enum machine_mode mode)
{
    struct vcpu *v;

    machine_start(&oracle.m, mode);
    v = oracle.m.v;
    v->gpr[RDI] = AREA_AT;
    fpu_init(&v->fpu);
    v->gpr[RAX] = ~0u;
    v->gpr[RDX] = ~0u;
    return v;
}

#define RUN(...)   MACHINE_EXECUTE(&oracle.m, __VA_ARGS__)
/* All on [rdi]. */
#define FXSAVE64   0x48, 0x0f, 0xae, 0x07
#define FXRSTOR64  0x48, 0x0f, 0xae, 0x0f
#define XSAVE64    0x48, 0x0f, 0xae, 0x27
#define XRSTOR64   0x48, 0x0f, 0xae, 0x2f
#define XRSTOR     0x0f, 0xae, 0x2f
#define XSAVE      0x0f, 0xae, 0x27
#define XSAVEOPT64 0x48, 0x0f, 0xae, 0x37
#define XSAVEC64   0x48, 0x0f, 0xc7, 0x27
#define XSAVES64   0x48, 0x0f, 0xc7, 0x2f
#define XRSTORS64  0x48, 0x0f, 0xc7, 0x1f
#define XGETBV     0x0f, 0x01, 0xd0
#define XSETBV     0x0f, 0x01, 0xd1

/* A state without a component in its initial configuration: processors may call such a component in
 * use all the same (SDM 1 13.6), so that the host is no judge of it. */
static void random_state(void)
{
    simd_random_state(&oracle, false);
    oracle.in.k[0] |= 1;
    oracle.in.zmm[0][0] |= 1;
    oracle.in.zmm[1][16] |= 1;
    oracle.in.zmm[2][32] |= 1;
    oracle.in.zmm[16][0] |= 1;
    simd_limit_state(&oracle);
}

/* AMD and Intel differ in where AVX-512 components lie in the standard format: copies an area in
 * the host's layout into ours. The compacted format is the same everywhere. */
static void to_our_layout(const u8 *from, u8 *to, bool compacted)
{
    u32 offset, size;

    memcpy(to, from, AREA);
    for (unsigned n = 5; n < 8 && !compacted; n++) {
        unsigned r[4] = {0};

        if (!(oracle.xcr0 >> n & 1))
            continue;
        __get_cpuid_count(0xd, n, &r[0], &r[1], &r[2], &r[3]);
        ck_assert(xsave_component(oracle.m.v, n, &offset, &size) && size == r[0]);
        memcpy(to + offset, from + r[1], size);
    }
}

/* Runs one instruction with the operand [rdi] = area on the host, and on guest memory with the same
 * content; compares the areas and the registers. */
static bool same_on_host(const u8 *bytes, unsigned count, u64 rfbm, bool compacted, char *why,
                         size_t size)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    struct vcpu *v = oracle.m.v;
    u8 guest[AREA], expected[AREA];
    struct insn i;
    int number;
    bool ok;

    oracle.in.gpr[RAX] = (u32)rfbm;
    oracle.in.gpr[RDX] = rfbm >> 32;
    simd_load_guest(&oracle);
    to_our_layout(area, guest, compacted);
    machine_put(&oracle.m, AREA_AT, guest, AREA);
    v->gpr[RDI] = AREA_AT;
    v->xcr0 = oracle.xcr0 & (COMPONENTS | XCR0_PKRU);
    ck_assert_int_eq(insn_decode(&ctx, bytes, count, &i), DECODE_OK);
    number = simd_run_host_at(&oracle, bytes, count, area);
    ok = insn_bodies[i.id](v, &i);
    if ((number != 0) != !ok)
        SIMD_DIFFERS("guest %s, host signal %d", ok ? "passes" : "faults", number);
    ck_assert(physmap_read(oracle.m.map, AREA_AT, guest, AREA));
    to_our_layout(area, expected, compacted);
    for (unsigned n = 0; n < 2688; n++)
        if (guest[n] != expected[n] &&
            (compacted || vcpu_is_amd(oracle.m.v) || n < 832 || n >= 1088))
            SIMD_DIFFERS("byte %u: %02x, host %02x", n, guest[n], expected[n]);
    return number || simd_same(&oracle, F_OSZAPC, why, size);
}

#define EXPECT_SAME(rfbm, compacted, ...)                                                          \
    do {                                                                                           \
        static const u8 code_[] = {__VA_ARGS__};                                                   \
        char why_[160];                                                                            \
        if (!same_on_host(code_, sizeof(code_), rfbm, compacted, why_, sizeof(why_)))              \
            ck_abort_msg("%s: mask %lx: %s", #__VA_ARGS__, (u64)(rfbm), why_);                     \
    } while (0)

static void random_area(void)
{
    for (unsigned n = 0; n < AREA; n += 8)
        store_le(area + n, simd_random(&oracle), 8);
}

START_TEST(fxsave_and_fxrstor_agree_with_the_host)
{
    for (unsigned n = 0; n < 300; n++) {
        random_area();
        random_state();
        EXPECT_SAME(0, false, FXSAVE64);
        random_state();
        if (n % 4)
            store_le(area + 24, simd_random(&oracle) & 0xffbf, 4);
        else
            store_le(area + 24, simd_random(&oracle) & 0x7ffff, 4);
        EXPECT_SAME(0, false, FXRSTOR64);
        random_area();
        random_state();
        EXPECT_SAME(0, false, 0x0f, 0xae, 0x07); /* fxsave */
    }
}
END_TEST

/* Tests that run twice: on the host as it is, and as if it had no AVX-512. */
static void maybe_without_avx512(bool without)
{
    if (without)
        oracle.xcr0 &= ~(u64)XCR0_AVX512;
}

/* Components to ask for: of what the host has, only what it is taken to have; what it has not may
 * be asked for, and is passed over. */
static u64 random_components(void)
{
    return simd_random(&oracle) & COMPONENTS & (oracle.xcr0 | ~simd_host_xcr0());
}

START_TEST(xsave_agrees_with_the_host)
{
    maybe_without_avx512(_i);
    for (unsigned n = 0; n < 300; n++) {
        u64 mask = random_components();

        random_area();
        random_state();
        EXPECT_SAME(mask, false, XSAVE64);
        random_area();
        random_state();
        EXPECT_SAME(mask, false, XSAVEOPT64);
    }
}
END_TEST

START_TEST(xsavec_agrees_with_the_host)
{
    maybe_without_avx512(_i);
    for (unsigned n = 0; n < 300; n++) {
        u64 mask = random_components();

        random_area();
        random_state();
        EXPECT_SAME(mask, true, XSAVEC64);
    }
}
END_TEST

START_TEST(xrstor_agrees_with_the_host)
{
    maybe_without_avx512(_i);
    for (unsigned n = 0; n < 600; n++) {
        u64 saved = random_components();
        u64 mask = random_components();

        if (n % 4) /* else the bits of what is not enabled fault */
            saved &= oracle.xcr0;
        random_area();
        memset(area + HEADER, 0, 64);
        store_le(area + HEADER, saved & simd_random(&oracle), 8);
        if (n & 1) /* compacted */
            store_le(area + HEADER + 8, saved | BIT(63), 8);
        store_le(area + 24, simd_random(&oracle) & (n % 5 ? 0xffbf : 0x7ffff), 4);
        if (n % 7 == 0)
            area[HEADER + simd_below(&oracle, 64)] ^= (u8)BIT(simd_below(&oracle, 8));
        random_state();
        EXPECT_SAME(mask, area[HEADER + 15] >> 7, XRSTOR64);
    }
}
END_TEST

/* -- what user mode on the host cannot show -- */

START_TEST(availability)
{
    start(MACHINE_LONG)->cr0 |= CR0_EM;
    ck_assert_int_eq(RUN(FXSAVE64), VEC_NM);
    start(MACHINE_LONG)->cr4 &= ~(u64)CR4_OSXSAVE;
    ck_assert_int_eq(RUN(XSAVE64), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG)->cr4 &= ~(u64)CR4_OSXSAVE, RUN(XGETBV)), VEC_UD);
    start(MACHINE_LONG)->cr0 |= CR0_TS;
    ck_assert_int_eq(RUN(XRSTOR64), VEC_NM);
    /* XSAVE does not look at CR0.EM. */
    start(MACHINE_LONG)->cr0 |= CR0_EM;
    ck_assert_int_eq(RUN(XSAVE64), -1);
    start(MACHINE_LONG)->gpr[RDI] += 32;
    ck_assert_int_eq(RUN(XSAVE64), VEC_GP);
    start(MACHINE_LONG)->gpr[RDI] += 8;
    ck_assert_int_eq(RUN(FXSAVE64), VEC_GP);
    start(MACHINE_USER64);
    ck_assert_int_eq(RUN(XSAVES64), VEC_GP);
    start(MACHINE_USER64);
    ck_assert_int_eq(RUN(XRSTORS64), VEC_GP);
    start(MACHINE_USER64)->gpr[RCX] = 0;
    ck_assert_int_eq(RUN(XSETBV), VEC_GP);
    /* XRSTORS wants the compacted format. */
    start(MACHINE_LONG);
    ck_assert_int_eq(RUN(XSAVE64, XRSTORS64), VEC_GP);
}
END_TEST

START_TEST(xsaves_and_xrstors_round_trip)
{
    struct vcpu *v = start(MACHINE_LONG);
    struct fpu before;

    oracle.xcr0 = ~0ull; /* no host takes part */
    random_state();
    simd_load_guest(&oracle);
    v->gpr[RDI] = AREA_AT;
    v->gpr[RAX] = v->gpr[RDX] = ~0u;
    v->pkru = 0x55555554;
    before = v->fpu;
    for (unsigned at = 0; at < 64; at += 8)
        machine_put_uint(&oracle.m, AREA_AT + HEADER + at, 0, 8);
    machine_code(&oracle.m, (const u8[]){XSAVES64}, 4);
    machine_run(&oracle.m);
    ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + HEADER + 8, 8),
                      BIT(63) | COMPONENTS | XCR0_PKRU);
    machine_start(&oracle.m, MACHINE_LONG);
    v->gpr[RDI] = AREA_AT;
    v->gpr[RAX] = v->gpr[RDX] = ~0u;
    ck_assert_int_eq(RUN(XRSTORS64), -1);
    ck_assert_mem_eq(v->fpu.zmm, before.zmm, sizeof(before.zmm));
    ck_assert_mem_eq(v->fpu.k, before.k, sizeof(before.k));
    ck_assert_uint_eq(v->fpu.mxcsr, before.mxcsr);
    ck_assert_uint_eq(v->pkru, 0x55555554);
}
END_TEST

/* Components in their initial configuration: XSAVE writes them with their bit clear, XSAVEOPT and
 * XSAVEC do not write them. MXCSR alone makes SSE count. */
START_TEST(initial_components)
{
    struct vcpu *v = start(MACHINE_LONG);

    for (unsigned n = 0; n < 3; n++) {
        static const u8 code[3][4] = {{XSAVE64}, {XSAVEOPT64}, {XSAVEC64}};
        u64 old = 0xeeeeeeeeeeeeeeee;

        v = start(MACHINE_LONG);
        v->fpu.zmm[3][1] = v->fpu.zmm[3][17] = 1;
        v->fpu.mxcsr = 0x1fa0;
        v->gpr[RAX] = COMPONENTS & ~(u64)XCR0_ZMM_HI256;
        v->gpr[RDX] = 0;
        for (unsigned at = 0; at < AREA; at += 8)
            machine_put_uint(&oracle.m, AREA_AT + at, old, 8);
        ck_assert_int_eq(machine_execute(&oracle.m, code[n], 4), -1);
        if (n == 2)
            ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + HEADER, 8), XCR0_SSE | XCR0_AVX);
        else /* bits that are not asked for stay */
            ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + HEADER, 8),
                              (old & ~v->gpr[RAX]) | XCR0_SSE | XCR0_AVX);
        ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 24, 4), 0x1fa0);
        ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 160, 8), 0);
        ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 32, 8), n == 0 ? 0 : old);
        if (n != 2)
            ck_assert_uint_eq(
                machine_get(&oracle.m, AREA_AT + (vcpu_is_amd(oracle.m.v) ? 832 : 1088), 8),
                n == 0 ? 0 : old);
        ck_assert_uint_eq(
            machine_get(&oracle.m, AREA_AT + (vcpu_is_amd(oracle.m.v) ? 896 : 1152), 8), old);
    }
}
END_TEST

/* MXCSR makes SSE state in use on Intel's processors, registers that the mode cannot name on AMD's.
 */
START_TEST(in_use_by_vendor)
{
    for (unsigned amd = 0; amd < 2; amd++) {
        struct vcpu *v = start(MACHINE_PROT32);

        strcpy(oracle.m.model.vendor, amd ? "AuthenticAMD" : "GenuineIntel");
        v->fpu.mxcsr = 0x1fa0;
        ck_assert_int_eq(RUN(XSAVE), -1);
        ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + HEADER, 8) & XCR0_SSE,
                          amd ? 0 : XCR0_SSE);
        v->fpu.zmm[9][0] = v->fpu.zmm[20][0] = 1;
        ck_assert_uint_eq(xsave_inuse(v) & (XCR0_SSE | XCR0_HI16_ZMM),
                          amd ? XCR0_SSE | XCR0_HI16_ZMM : 0);
    }
    strcpy(oracle.m.model.vendor, "AuthenticAMD");
}
END_TEST

/* Outside 64-bit mode only registers 0-7 take part. */
START_TEST(other_modes_leave_high_registers)
{
    struct vcpu *v = start(MACHINE_PROT32);

    for (unsigned n = 0; n < 32; n++)
        memset(v->fpu.zmm[n], (int)n + 1, 64);
    for (unsigned at = 0; at < AREA; at += 8)
        machine_put_uint(&oracle.m, AREA_AT + at, 0, 8);
    ck_assert_int_eq(RUN(XSAVE), -1);
    ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 160 + 7 * 16, 1), 8);
    ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 160 + 8 * 16, 1), 0);
    ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + (vcpu_is_amd(oracle.m.v) ? 1408 : 1664), 1),
                      0);
    v->gpr[RDI] = AREA_AT + PAGE_SIZE;
    v->rip = MACHINE_CODE;
    v->activity = ACTIVITY_RUN;
    ck_assert_int_eq(RUN(XRSTOR), -1); /* all zero: everything initial */
    ck_assert_uint_eq(v->fpu.zmm[7][0], 0);
    ck_assert_uint_eq(v->fpu.zmm[8][0], 9);
    ck_assert_uint_eq(v->fpu.zmm[16][0], 17);
}
END_TEST

/* Bytes of components that are not asked for may lie on an absent page. */
START_TEST(only_touched_bytes_fault)
{
    struct vcpu *v = start(MACHINE_LONG);

    machine_put_uint(&oracle.m, MACHINE_PML4 + 0x2000 + 2 * 8, 0, 8);
    tlb_flush_all(&v->tlb);
    v->gpr[RDI] = (4 << 20) - 576;
    v->gpr[RAX] = XCR0_X87 | XCR0_SSE;
    v->gpr[RDX] = 0;
    ck_assert_int_eq(RUN(XSAVE64), -1);
    v = start(MACHINE_LONG);
    machine_put_uint(&oracle.m, MACHINE_PML4 + 0x2000 + 2 * 8, 0, 8);
    tlb_flush_all(&v->tlb);
    v->gpr[RDI] = (4 << 20) - 576;
    machine_put_uint(&oracle.m, (4 << 20) - 64, 0, 8);
    ck_assert_int_eq(RUN(XSAVE64), VEC_PF);
    /* The last byte is looked at first. */
    ck_assert_uint_ge(v->cr2, 4u << 20);
    /* Nothing was stored. */
    ck_assert_uint_eq(machine_get(&oracle.m, (4 << 20) - 64, 8), 0);
}
END_TEST

/* XRSTOR looks at the header, then at the last byte of what is asked for, in use or not (family
 * 19h); MXCSR comes after that. */
START_TEST(xrstor_looks_at_the_last_byte)
{
    static const struct {
        u64 in_use, asked, mxcsr;
        int vector;
    } cases[] = {
        {XCR0_X87, XCR0_X87, 0x1f80, -1},
        {XCR0_X87, XCR0_X87 | XCR0_AVX, 0x1f80, VEC_PF},
        {XCR0_X87, XCR0_SSE | XCR0_AVX, ~0u, VEC_PF},
        {BIT(62), XCR0_X87 | XCR0_AVX, 0x1f80, VEC_GP},
        {XCR0_SSE, XCR0_SSE, ~0u, VEC_GP},
    };

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        struct vcpu *v = start(MACHINE_LONG);

        machine_put_uint(&oracle.m, MACHINE_PML4 + 0x2000 + 2 * 8, 0, 8);
        tlb_flush_all(&v->tlb);
        v->gpr[RDI] = (4 << 20) - 576;
        v->gpr[RAX] = cases[n].asked;
        v->gpr[RDX] = 0;
        machine_put_uint(&oracle.m, v->gpr[RDI] + FX_MXCSR, cases[n].mxcsr, 4);
        machine_put_uint(&oracle.m, v->gpr[RDI] + HEADER, cases[n].in_use, 8);
        machine_put_uint(&oracle.m, v->gpr[RDI] + HEADER + 8, 0, 8);
        ck_assert_int_eq(RUN(XRSTOR64), cases[n].vector);
        if (cases[n].vector == VEC_PF)
            ck_assert_uint_eq(v->cr2, (4u << 20) + 255);
    }
}
END_TEST

START_TEST(xcr0_is_read_and_written)
{
    struct vcpu *v = start(MACHINE_LONG);

    v->gpr[RCX] = 0;
    ck_assert_int_eq(RUN(XGETBV), -1);
    ck_assert_uint_eq(v->gpr[RAX], oracle.m.model.xcr0_supported);
    v = start(MACHINE_LONG);
    v->gpr[RCX] = 2;
    ck_assert_int_eq(RUN(XGETBV), VEC_GP);
    v = start(MACHINE_LONG);
    v->gpr[RCX] = v->gpr[RDX] = 0;
    v->gpr[RAX] = XCR0_X87 | XCR0_AVX; /* AVX without SSE */
    ck_assert_int_eq(RUN(XSETBV), VEC_GP);
    v = start(MACHINE_LONG);
    v->gpr[RCX] = v->gpr[RDX] = 0;
    v->gpr[RAX] = XCR0_X87 | XCR0_SSE;
    ck_assert_int_eq(RUN(XSETBV), -1);
    ck_assert_uint_eq(v->xcr0, XCR0_X87 | XCR0_SSE);
    /* XGETBV(1): what differs from the initial configuration. */
    v = start(MACHINE_LONG);
    v->gpr[RCX] = 1;
    v->fpu.zmm[15][20] = 1;
    ck_assert_int_eq(RUN(XGETBV), -1);
    ck_assert_uint_eq(v->gpr[RAX], XCR0_AVX);
}
END_TEST

START_TEST(layout)
{
    u32 offset, size;

    struct vcpu *v = start(MACHINE_LONG);

    strcpy(oracle.m.model.vendor, "GenuineIntel");
    ck_assert_uint_eq(xsave_size(v, XCR0_X87 | XCR0_SSE, false), 576);
    ck_assert_uint_eq(xsave_size(v, XCR0_AVX, false), 832);
    ck_assert_uint_eq(xsave_size(v, COMPONENTS, false), 2688);
    ck_assert_uint_eq(xsave_size(v, COMPONENTS | XCR0_PKRU, false), 2696);
    ck_assert(xsave_component(v, 9, &offset, &size) && offset == 2688 && size == 8);
    strcpy(oracle.m.model.vendor, "AuthenticAMD");
    ck_assert_uint_eq(xsave_size(v, XCR0_AVX, false), 832);
    ck_assert_uint_eq(xsave_size(v, COMPONENTS, false), 2432);
    ck_assert_uint_eq(xsave_size(v, COMPONENTS | XCR0_PKRU, false), 2440);
    ck_assert_uint_eq(xsave_size(v, COMPONENTS | XCR0_PKRU, true), 576 + 256 + 64 + 512 + 1024 + 8);
    ck_assert(xsave_component(v, 6, &offset, &size) && offset == 896 && size == 512);
    ck_assert(!xsave_component(v, 3, &offset, &size) && !xsave_component(v, 1, &offset, &size));
    ck_assert(!xsave_component(v, 63, &offset, &size));
}
END_TEST

START_TEST(mxcsr_is_checked)
{
    struct vcpu *v = start(MACHINE_LONG);

    machine_put_uint(&oracle.m, AREA_AT, 0x1f80 | BIT(16), 4);
    ck_assert_int_eq(RUN(0x0f, 0xae, 0x17), VEC_GP); /* ldmxcsr [rdi] */
    v = start(MACHINE_LONG);
    machine_put_uint(&oracle.m, AREA_AT, 0x1fbf, 4);
    ck_assert_int_eq(RUN(0x0f, 0xae, 0x17, 0x0f, 0xae, 0x5f, 4), -1); /* stmxcsr [rdi + 4] */
    ck_assert_uint_eq(v->fpu.mxcsr, 0x1fbf);
    ck_assert_uint_eq(machine_get(&oracle.m, AREA_AT + 4, 4), 0x1fbf);
}
END_TEST

int main(void)
{
    const TTest *const tests[] = {
        fxsave_and_fxrstor_agree_with_the_host,
        availability,
        xsaves_and_xrstors_round_trip,
        initial_components,
        in_use_by_vendor,
        other_modes_leave_high_registers,
        only_touched_bytes_fault,
        xrstor_looks_at_the_last_byte,
        xcr0_is_read_and_written,
        layout,
        mxcsr_is_checked,
    };
    Suite *suite = suite_create("cpu/xsave");
    TCase *tcase = tcase_create("xsave");

    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, xsave_agrees_with_the_host, 0, 2);
    tcase_add_loop_test(tcase, xsavec_agrees_with_the_host, 0, 2);
    tcase_add_loop_test(tcase, xrstor_agrees_with_the_host, 0, 2);
    for (unsigned n = 0; n < ARRAY_SIZE(tests); n++)
        tcase_add_test(tcase, tests[n]);
    return suite_run(suite);
}
