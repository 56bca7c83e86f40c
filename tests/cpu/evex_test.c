/* SPDX-License-Identifier: MIT
 *
 * AVX-512 rows against the host processor, and what the host cannot be asked: features, control
 * registers, 32-bit code. An argument seeds the operands.
 */
#include "cpu/decode_cache.h"
#include "tests/cpu/simd_program.h"

START_TEST(every_evex_row_agrees_with_the_host)
{
    ck_assert_uint_eq(edge_check_space(&edge, SPACE_EVEX, 160), 0);
    ck_assert_uint_gt(edge.o.faults, 1000);
    ck_assert_uint_gt(edge.faults, 10000);
}
END_TEST

#define VADDPS_ZMM(p2) 0x62, 0xf1, 0x74, p2, 0x58, 0xc2 /* vaddps zmm0, zmm1, zmm2 */
#define VADDSS_XMM     0x62, 0xf1, 0x76, 0x08, 0x58, 0xc2
#define VPERMD_YMM     0x62, 0xf2, 0x75, 0x28, 0x36, 0xc2
#define VMOVD_XMM0_EAX 0x62, 0xf1, 0x7d, 0x08, 0x6e, 0xc0
enum { L128 = 0x08, L256 = 0x28, L512 = 0x48, ROUND_UP = 0x58 };

START_TEST(availability)
{
    static const u64 parts[] = {XCR0_OPMASK, XCR0_ZMM_HI256, XCR0_HI16_ZMM, XCR0_AVX};
    struct vcpu *v;

    for (unsigned n = 0; n < ARRAY_SIZE(parts); n++) {
        v = start(MACHINE_LONG);
        v->xcr0 &= ~parts[n];
        v->cr0 |= CR0_TS;
        ck_assert_int_eq(RUN(VADDPS_ZMM(L512)), VEC_UD);
    }
    ck_assert_int_eq((start(MACHINE_LONG)->cr0 |= CR0_TS, RUN(VADDPS_ZMM(L512))), VEC_NM);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(L512))), -1);
    /* In real mode 62 is BOUND, which has no register form. */
    ck_assert_int_eq((start(MACHINE_REAL), RUN(VADDPS_ZMM(L512))), VEC_UD);
}
END_TEST

/* Vector lengths below 512 need AVX512VL, scalars and fixed 128-bit forms do not. */
START_TEST(short_vectors_need_vl)
{
    feature_remove(&edge.o.m.model.features, FEAT_AVX512VL);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(L128))), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(L256))), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VPERMD_YMM)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(L512))), -1);
    /* With embedded rounding L'L is no length. */
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(ROUND_UP & ~0x60))), -1);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDSS_XMM)), -1);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VMOVD_XMM0_EAX)), -1);
    feature_add(&edge.o.m.model.features, FEAT_AVX512VL);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(VADDPS_ZMM(L256), VPERMD_YMM)), -1);
}
END_TEST

/* Bits that AMD ignores are reserved by Intel: b with registers, z without a mask. */
START_TEST(reserved_bits_depend_on_the_vendor)
{
    /* vunpcklps with b; vmovhlps with z */
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x62, 0xf1, 0x74, 0x58, 0x14, 0xc2)), -1);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x62, 0xf1, 0x74, 0x88, 0x12, 0xc2)), -1);
    memcpy(edge.o.m.model.vendor, "GenuineIntel", 12);
    edge.o.m.v->model = &edge.o.m.model;
    decode_cache_flush(edge.o.m.v->decode);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x62, 0xf1, 0x74, 0x58, 0x14, 0xc2)), VEC_UD);
    ck_assert_int_eq((start(MACHINE_LONG), RUN(0x62, 0xf1, 0x74, 0x88, 0x12, 0xc2)), VEC_UD);
}
END_TEST

START_TEST(unmasked_exceptions_and_suppression)
{
    struct vcpu *v = start(MACHINE_LONG);

    /* A signalling NaN in element 5. */
    store_le(v->fpu.zmm[1] + 20, 0x7f800001, 4);
    v->fpu.mxcsr = 0x1f00;
    ck_assert_int_eq(RUN(VADDPS_ZMM(L512)), VEC_XM);
    ck_assert_uint_eq(v->fpu.mxcsr, 0x1f01);
    /* {rn-sae} raises nothing and leaves no flag. */
    v = start(MACHINE_LONG);
    store_le(v->fpu.zmm[1] + 20, 0x7f800001, 4);
    v->fpu.mxcsr = 0x1f00;
    ck_assert_int_eq(RUN(VADDPS_ZMM(0x18)), -1);
    ck_assert_uint_eq(v->fpu.mxcsr, 0x1f00);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0] + 20, 4), 0x7fc00001);
    /* The element is masked out. */
    v = start(MACHINE_LONG);
    store_le(v->fpu.zmm[1] + 20, 0x7f800001, 4);
    v->fpu.mxcsr = 0x1f00;
    v->fpu.k[3] = ~BIT(5);
    ck_assert_int_eq(RUN(VADDPS_ZMM(L512 | 3)), -1);
    ck_assert_uint_eq(v->fpu.mxcsr, 0x1f00);
}
END_TEST

/* Outside 64-bit mode V' and R' do not count, and W does not where it is the width of a register:
 * neither for the operand nor for the scale of disp8. */
START_TEST(fields_outside_64_bit_mode)
{
    struct vcpu *v = start(MACHINE_PROT32);

    for (unsigned n = 0; n < 32; n++)
        memset(v->fpu.zmm[n], (int)n + 1, 64);
    /* vpaddb zmm "16", zmm "25", zmm2: vvvv = 1001b, V' and R' as for 16 and up */
    ck_assert_int_eq(RUN(0x62, 0xe1, 0x35, 0x40, 0xfc, 0xc2), -1);
    ck_assert_uint_eq(v->fpu.zmm[0][63], 2 + 3);
    ck_assert_uint_eq(v->fpu.zmm[16][0], 17);
    v = start(MACHINE_PROT32);
    machine_put_uint(&edge.o.m, MACHINE_DATA, 0x1716151413121110, 8);
    /* vmovd xmm0, [edi + 1 * 4] with W = 1 */
    ck_assert_int_eq(RUN(0x62, 0xf1, 0xfd, 0x08, 0x6e, 0x47, 0x01), -1);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 0x17161514);
}
END_TEST

/* Scatters store in element order, so the last of several to one place stays. */
START_TEST(scatter_order_and_faults)
{
    struct vcpu *v = start(MACHINE_LONG);

    edge_make_hole(&edge);
    v->fpu.k[1] = 0xff0f; /* more than the elements there are */
    for (unsigned n = 0; n < 4; n++)
        store_le(v->fpu.zmm[0] + 4 * n, 0x10 + n, 4);
    /* vpscatterdd [rdi + xmm1*4]{k1}, xmm0 */
    ck_assert_int_eq(RUN(0x62, 0xf2, 0x7d, 0x09, 0xa0, 0x04, 0x8f), -1);
    ck_assert_uint_eq(machine_get(&edge.o.m, MACHINE_DATA, 4), 0x13);
    ck_assert_uint_eq(v->fpu.k[1], 0);
    /* Element 2 faults: 0 and 1 are stored and done. */
    v = start(MACHINE_LONG);
    edge_make_hole(&edge);
    machine_put_uint(&edge.o.m, MACHINE_DATA, 0, 8);
    v->fpu.k[1] = 0xf;
    for (unsigned n = 0; n < 4; n++) {
        store_le(v->fpu.zmm[0] + 4 * n, 0x10 + n, 4);
        store_le(v->fpu.zmm[1] + 4 * n, n < 2 ? n : (EDGE_GUEST - MACHINE_DATA) / 4, 4);
    }
    ck_assert_int_eq(RUN(0x62, 0xf2, 0x7d, 0x09, 0xa0, 0x04, 0x8f), VEC_PF);
    ck_assert_uint_eq(v->cr2, EDGE_GUEST);
    ck_assert_uint_eq(machine_get(&edge.o.m, MACHINE_DATA, 8), 0x1100000010ull);
    ck_assert_uint_eq(v->fpu.k[1], 0xc);
}
END_TEST

int main(int argc, char **argv)
{
    const TTest *const tests[] = {
        every_evex_row_agrees_with_the_host,
        availability,
        short_vectors_need_vl,
        reserved_bits_depend_on_the_vendor,
        unmasked_exceptions_and_suppression,
        fields_outside_64_bit_mode,
        scatter_order_and_faults,
    };

    if (!simd_host_has(FEAT_AVX512BW) || !simd_host_has(FEAT_AVX512VL)) {
        printf("The host has no AVX-512: nothing can run.\n");
        return 0;
    }
    return simd_program("cpu/evex", tests, ARRAY_SIZE(tests), argc > 1 ? argv[1] : "0");
}
