/* SPDX-License-Identifier: MIT
 *
 * AVX, AVX2, FMA, F16C and opmask rows against the host processor, and what the host cannot be
 * asked: control registers, modes, faults through the run loop. An argument seeds the operands.
 */
#include "tests/cpu/simd_program.h"

START_TEST(every_vex_row_agrees_with_the_host)
{
    ck_assert_uint_eq(edge_check_space(&edge, SPACE_VEX, 120), 0);
    ck_assert_uint_gt(edge.o.faults, 1000);
    ck_assert_uint_gt(edge.faults, 5000);
}
END_TEST

/* On a host without AVX-512, or as if on one: what it has not is zero, before and after. */
START_TEST(rows_agree_with_a_host_without_avx512)
{
    edge.o.xcr0 &= ~(u64)XCR0_AVX512;
    ck_assert_uint_eq(edge_check_space(&edge, SPACE_VEX, 12), 0);
    ck_assert_uint_gt(edge.faults, 500);
}
END_TEST

/* So many rows of AVX alone that none of them can be judged without it. */
START_TEST(a_host_without_avx_judges_no_row)
{
    edge.o.xcr0 &= ~(u64)(XCR0_AVX512 | XCR0_AVX);
    ck_assert_uint_eq(edge_check_space(&edge, SPACE_VEX, 1), 0);
    ck_assert_uint_eq(edge.o.done, 0);
}
END_TEST

#define VADDPS_YMM0_1_2      0xc5, 0xf4, 0x58, 0xc2
#define VZEROUPPER           0xc5, 0xf8, 0x77
#define VZEROALL             0xc5, 0xfc, 0x77
#define KMOVW_K1_K2          0xc5, 0xf8, 0x90, 0xca
#define VPGATHERDD_0_1_RDI_2 0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8f /* xmm0, [rdi+xmm1*4], xmm2 */

START_TEST(availability)
{
    struct vcpu *v = start(MACHINE_LONG);

    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), -1);
    v = start(MACHINE_LONG);
    v->cr4 &= ~(u64)CR4_OSXSAVE;
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), VEC_UD);
    v = start(MACHINE_LONG);
    v->xcr0 = XCR0_X87 | XCR0_SSE;
    v->cr0 |= CR0_TS;
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), VEC_UD);
    v = start(MACHINE_LONG);
    v->cr0 |= CR0_TS;
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), VEC_NM);
    ck_assert_int_eq((start(MACHINE_LONG)->cr0 |= CR0_TS, RUN(VZEROUPPER)), VEC_NM);
    /* CR0.EM and CR4.OSFXSR are of no concern. */
    v = start(MACHINE_LONG);
    v->cr0 |= CR0_EM;
    v->cr4 &= ~(u64)CR4_OSFXSR;
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), -1);
    /* Opmasks belong to AVX-512. */
    v = start(MACHINE_LONG);
    v->xcr0 = XCR0_X87 | XCR0_SSE | XCR0_AVX;
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2, KMOVW_K1_K2), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(KMOVW_K1_K2)),
                     simd_host_has(FEAT_AVX512F) ? -1 : VEC_UD);
    /* In real mode C5 is LDS, which has no register form. */
    start(MACHINE_REAL);
    ck_assert_int_eq(RUN(VADDPS_YMM0_1_2), VEC_UD);
    ck_assert_int_eq((start(MACHINE_PROT16), RUN(VADDPS_YMM0_1_2)), -1);
    /* 66, F2, F3, LOCK and REX before the prefix. */
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x66, VADDPS_YMM0_1_2)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xf3, VADDPS_YMM0_1_2)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xf0, VADDPS_YMM0_1_2)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x40, VADDPS_YMM0_1_2)), VEC_UD);
}
END_TEST

/* What the model offers and the host lacks is #UD at worst. */
START_TEST(host_without_the_instruction)
{
    struct vcpu *v = start(MACHINE_LONG);

    if (simd_host_has(FEAT_AVX_VNNI))
        return;
    store_le(v->fpu.zmm[0], 1, 8);
    /* vpdpbusd ymm0, ymm1, ymm2 */
    ck_assert_int_eq(RUN(0xc4, 0xe2, 0x75, 0x50, 0xc2), VEC_UD);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 1);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_YMM0_1_2)), -1);
}
END_TEST

static void fill_registers(struct vcpu *v)
{
    for (unsigned n = 0; n < 32; n++)
        memset(v->fpu.zmm[n], (int)n + 1, 64);
}

/* Whether register n still has its bytes below `keep`, and zeros (cleared) or its bytes above. */
static bool register_is(const struct vcpu *v, unsigned n, unsigned keep, bool cleared)
{
    for (unsigned b = 0; b < 64; b++)
        if (v->fpu.zmm[n][b] != (b < keep || !cleared ? n + 1 : 0))
            return false;
    return true;
}

START_TEST(vzero_clears_the_registers_of_the_mode)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_PROT32, MACHINE_COMPAT};

    for (unsigned m = 0; m < ARRAY_SIZE(modes); m++)
        for (unsigned all = 0; all < 2; all++) {
            struct vcpu *v = start(modes[m]);
            unsigned count = modes[m] == MACHINE_LONG ? 16 : 8;

            fill_registers(v);
            ck_assert_int_eq(all ? RUN(VZEROALL) : RUN(VZEROUPPER), -1);
            for (unsigned n = 0; n < 32; n++)
                ck_assert(register_is(v, n, all ? 0 : 16, n < count));
        }
}
END_TEST

/* Outside 64-bit mode the top bits of vvvv and of a register in an immediate are ignored. */
START_TEST(registers_above_seven_outside_64_bit_mode)
{
    struct vcpu *v = start(MACHINE_PROT32);

    fill_registers(v);
    /* vpaddb xmm0, "xmm9", xmm2 */
    ck_assert_int_eq(RUN(0xc4, 0xe1, 0x31, 0xfc, 0xc2), -1);
    ck_assert_uint_eq(v->fpu.zmm[0][0], 2 + 3);
    ck_assert_uint_eq(v->fpu.zmm[0][16], 0);
    start(MACHINE_PROT32);
    fill_registers(v);
    v->fpu.zmm[1][0] = 0x80;
    /* vpblendvb xmm0, xmm3, xmm4, "xmm9" */
    ck_assert_int_eq(RUN(0xc4, 0xe3, 0x61, 0x4c, 0xc4, 0x90), -1);
    ck_assert_uint_eq(v->fpu.zmm[0][0], 5);
    ck_assert_uint_eq(v->fpu.zmm[0][1], 4);
}
END_TEST

/* W picks the width of a general register, or of memory in its place, in 64-bit mode only (SDM 2,
 * MOVD, CVTSI2SD). */
START_TEST(w_is_ignored_outside_64_bit_mode)
{
    struct vcpu *v = start(MACHINE_PROT32);

    machine_put_uint(&edge.o.m, MACHINE_DATA, 0xffffffff00000005, 8);
    /* vpaddd xmm3, xmm3, [edi], so that the thunks' buffer holds all eight bytes;
     * vmovd xmm0, [edi]; vcvtsi2sd xmm2, xmm2, [edi]: W = 1 */
    ck_assert_int_eq(
        RUN(0xc5, 0xe1, 0xfe, 0x1f, 0xc4, 0xe1, 0xf9, 0x6e, 0x07, 0xc4, 0xe1, 0xeb, 0x2a, 0x17),
        -1);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 5);
    ck_assert_uint_eq(load_le(v->fpu.zmm[2], 8), 0x4014000000000000);
}
END_TEST

/* A gather that faults half-way goes on where it stopped. */
START_TEST(gather_resumes_after_a_fault)
{
    struct vcpu *v = start(MACHINE_LONG);

    edge_make_hole(&edge);
    for (unsigned n = 0; n < 4; n++) {
        machine_put_uint(&edge.o.m, MACHINE_DATA + 4 * n, 0x100 + n, 4);
        store_le(v->fpu.zmm[1] + 4 * n, n, 4);
        store_le(v->fpu.zmm[2] + 4 * n, 0x80000000, 4);
    }
    store_le(v->fpu.zmm[1] + 8, (EDGE_GUEST - MACHINE_DATA) / 4, 4);
    ck_assert_int_eq(RUN(VPGATHERDD_0_1_RDI_2), VEC_PF);
    ck_assert_uint_eq(v->cr2, EDGE_GUEST);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 0x10100000100ull);
    ck_assert_uint_eq(load_le(v->fpu.zmm[2], 8), 0);
    ck_assert_uint_eq(load_le(v->fpu.zmm[2] + 8, 8), 0x8000000080000000);
    /* The page comes; what has been gathered is not read again. */
    machine_put_uint(&edge.o.m, MACHINE_PML4 + 0x2000 + 2 * 8, EDGE_GUEST | 0xe7, 8);
    machine_put_uint(&edge.o.m, EDGE_GUEST, 0x200, 4);
    machine_put_uint(&edge.o.m, MACHINE_DATA, 0, 8);
    v->rip = v->next_rip = MACHINE_CODE;
    v->activity = ACTIVITY_RUN;
    machine_run(&edge.o.m);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 0x10100000100ull);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0] + 8, 8), 0x10300000200ull);
    ck_assert_uint_eq(load_le(v->fpu.zmm[2] + 8, 8), 0);
}
END_TEST

START_TEST(gather_addresses)
{
    struct vcpu *v = start(MACHINE_LONG);

    /* A 32-bit address size cuts the sum: index -1 from RDI = 4 with all of 64 bits around it. */
    v->gpr[RDI] = 0xffffffff00000004ull + MACHINE_DATA;
    machine_put_uint(&edge.o.m, MACHINE_DATA, 0x12345678, 4);
    memset(v->fpu.zmm[1], 0xff, 16);
    memset(v->fpu.zmm[2], 0, 16);
    store_le(v->fpu.zmm[2], 0x80000000, 4);
    ck_assert_int_eq(RUN(0x67, VPGATHERDD_0_1_RDI_2), -1);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 4), 0x12345678);
    /* Registers must differ. */
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xc4, 0xe2, 0x69, 0x90, 0x0c, 0x8f)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xc4, 0xe2, 0x79, 0x90, 0x04, 0x8f)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xc4, 0xe2, 0x71, 0x90, 0x04, 0x8f)), VEC_UD);
    /* Without a SIB byte there is no index. */
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0xc4, 0xe2, 0x69, 0x90, 0x07)), VEC_UD);
}
END_TEST

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        every_vex_row_agrees_with_the_host,
        rows_agree_with_a_host_without_avx512,
        a_host_without_avx_judges_no_row,
        availability,
        host_without_the_instruction,
        vzero_clears_the_registers_of_the_mode,
        registers_above_seven_outside_64_bit_mode,
        w_is_ignored_outside_64_bit_mode,
        gather_resumes_after_a_fault,
        gather_addresses,
    };

    if (!simd_host_has(FEAT_AVX2)) {
        printf("The host has no AVX2: nothing can run.\n");
        return 0;
    }
    return simd_program("cpu/vex", tests, ARRAY_SIZE(tests), argc > 1 ? argv[1] : "0");
}
