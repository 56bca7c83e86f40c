/* SPDX-License-Identifier: MIT
 *
 * MMX and SSE rows against the host processor.
 */
#include "tests/cpu/simd_oracle.h"
#include "tests/suite.h"

#include <check.h>

static struct simd_oracle oracle;

static void setup(void)
{
    simd_create(&oracle);
}

static void teardown(void)
{
    simd_destroy(&oracle);
}

static bool is_vector_row(const struct insn_row *row)
{
    return row->traits & (T_SSE | T_MMX);
}

START_TEST(every_legacy_row_agrees_with_the_host)
{
    unsigned bad = 0;

    for (unsigned id = 1; id < INSN_COUNT; id++)
        if (insn_rows[id].key.space == SPACE_LEGACY && is_vector_row(&insn_rows[id]))
            bad += !simd_check_row(&oracle, id, 150);
    printf("%u executions, %u faults, %u rows the host lacks\n", oracle.done, oracle.faults,
           oracle.skipped);
    ck_assert_uint_eq(bad, 0);
    ck_assert_uint_gt(oracle.done, 40000);
    ck_assert_uint_gt(oracle.faults, 1000);
}
END_TEST

/* -- single instructions through the run loop -- */

#define RUN(...)        MACHINE_EXECUTE(&oracle.m, __VA_ARGS__)
#define MOVAPS_XMM0_RDI 0x0f, 0x28, 0x07
#define ADDPS_XMM0_RDI  0x0f, 0x58, 0x07
#define DIVPS_XMM0_XMM1 0x0f, 0x5e, 0xc1
#define PADDB_MM0_MM1   0x0f, 0xfc, 0xc1
#define FLD1            0xd9, 0xe8

static struct vcpu *start(void)
{
    machine_start(&oracle.m, MACHINE_LONG);
    oracle.m.v->gpr[RDI] = MACHINE_DATA;
    return oracle.m.v;
}

/* Makes the 2 MiB page at 4 MiB not present: the byte before it is the last one readable. */
static u64 hole(void)
{
    machine_put_uint(&oracle.m, MACHINE_PML4 + 0x2000 + 2 * 8, 0, 8);
    tlb_flush_all(&oracle.m.v->tlb);
    return 4 << 20;
}

START_TEST(availability_checks_come_in_order)
{
    struct vcpu *v = start();

    v->cr0 |= CR0_EM | CR0_TS;
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), VEC_UD);
    v = start();
    v->cr0 |= CR0_TS;
    v->cr4 &= ~(u64)CR4_OSFXSR;
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), VEC_UD);
    ck_assert_int_eq((start()->cr0 |= CR0_TS, RUN(ADDPS_XMM0_RDI)), VEC_NM);
    ck_assert_int_eq((start()->cr0 |= CR0_TS, RUN(PADDB_MM0_MM1)), VEC_NM);
    ck_assert_int_eq((start()->cr0 |= CR0_EM, RUN(PADDB_MM0_MM1)), VEC_UD);
    /* MMX registers need no CR4.OSFXSR. */
    v = start();
    v->cr4 &= ~(u64)CR4_OSFXSR;
    ck_assert_int_eq(RUN(PADDB_MM0_MM1), -1);
    /* #NM goes before the operand's fault. */
    v = start();
    v->cr0 |= CR0_TS;
    v->gpr[RDI] = MACHINE_DATA + 1;
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), VEC_NM);
    /* A pending x87 error reaches MMX, not SSE. */
    v = start();
    fpu_set_words(&v->fpu, 0x37e, 1);
    ck_assert_int_eq(RUN(PADDB_MM0_MM1), VEC_MF);
    v = start();
    fpu_set_words(&v->fpu, 0x37e, 1);
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), -1);
}
END_TEST

START_TEST(misaligned_operands)
{
    struct vcpu *v = start();

    v->gpr[RDI]++;
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), VEC_GP);
    ck_assert_uint_eq(machine_stack(&oracle.m, 0, 8), 0);
    /* MXCSR.MM lifts it for arithmetic, not for MOVAPS. */
    v = start();
    v->gpr[RDI]++;
    v->fpu.mxcsr |= MXCSR_MM;
    ck_assert_int_eq(RUN(ADDPS_XMM0_RDI), -1);
    v = start();
    v->gpr[RDI]++;
    v->fpu.mxcsr |= MXCSR_MM;
    ck_assert_int_eq(RUN(MOVAPS_XMM0_RDI), VEC_GP);
    v = start();
    v->gpr[RDI]++;
    ck_assert_int_eq(RUN(0x0f, 0x10, 0x07), -1); /* movups */
}
END_TEST

START_TEST(operands_across_pages)
{
    u8 bytes[16];
    struct vcpu *v = start();
    u64 end = hole();

    for (unsigned n = 0; n < 16; n++)
        bytes[n] = (u8)(n + 1);
    machine_put(&oracle.m, MACHINE_DATA + PAGE_SIZE - 5, bytes, 16);
    v->gpr[RDI] = MACHINE_DATA + PAGE_SIZE - 5;
    /* movups xmm0, [rdi]; movups [rdi+0x1000], xmm0 */
    ck_assert_int_eq(RUN(0x0f, 0x10, 0x07, 0x0f, 0x11, 0x87, 0, 0x10, 0, 0), -1);
    ck_assert_mem_eq(v->fpu.zmm[0], bytes, 16);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 2 * PAGE_SIZE - 5, 8),
                      load_le(bytes, 8));
    /* A store that reaches an absent page stores nothing and leaves CR2 at its first byte there. */
    v = start();
    hole();
    v->gpr[RDI] = end - 5;
    memset(v->fpu.zmm[0], 0xee, 16);
    ck_assert_int_eq(RUN(0x0f, 0x11, 0x07), VEC_PF);
    ck_assert_uint_eq(v->cr2, end);
    ck_assert_uint_eq(machine_get(&oracle.m, end - 5, 1), 0);
    /* x87: no store, no pop. */
    v = start();
    hole();
    v->gpr[RDI] = end - 5;
    fpu_init(&v->fpu);
    ck_assert_int_eq(RUN(FLD1, 0xdb, 0x3f), VEC_PF); /* fld1; fstp tbyte [rdi] */
    ck_assert_uint_eq(fpu_top(&v->fpu), 7);
    ck_assert_uint_eq(machine_get(&oracle.m, end - 5, 1), 0);
}
END_TEST

START_TEST(unmasked_exceptions)
{
    struct vcpu *v = start();
    const u32 one = 0x3f800000;

    for (unsigned n = 0; n < 16; n += 4)
        store_le(v->fpu.zmm[0] + n, one, 4);
    v->fpu.mxcsr = 0x1f80 & ~0x200u; /* ZM */
    ck_assert_int_eq(RUN(DIVPS_XMM0_XMM1), VEC_XM);
    ck_assert_uint_eq(v->fpu.mxcsr, (0x1f80 & ~0x200u) | 4);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 4), one);
    v = start();
    store_le(v->fpu.zmm[0], one, 4);
    v->fpu.mxcsr = 0x1f80 & ~0x200u;
    v->cr4 &= ~(u64)CR4_OSXMMEXCPT;
    ck_assert_int_eq(RUN(DIVPS_XMM0_XMM1), VEC_UD);
}
END_TEST

/* A SIGFPE that is not ours goes to the handler before ours. */
START_TEST(foreign_sigfpe_is_passed_on)
{
    int number = sigsetjmp(simd_jump, 1);

    simd_armed = !number;
    if (!number)
        raise(SIGFPE);
    ck_assert_int_eq(number, SIGFPE);
}
END_TEST

START_TEST(maskmovdqu_touches_only_its_bytes)
{
    struct vcpu *v = start();
    u64 end = hole();

    v->gpr[RDI] = end - 16;
    memset(v->fpu.zmm[1], 0xab, 16);
    store_le(v->fpu.zmm[2], 0x80008000, 8); /* bytes 1 and 3 */
    ck_assert_int_eq(RUN(0x66, 0x0f, 0xf7, 0xca), -1);
    ck_assert_uint_eq(machine_get(&oracle.m, end - 16, 4), 0xab00ab00);
    /* A byte beyond the page, selected or not: nothing is stored (family 19h). */
    v = start();
    hole();
    v->gpr[RDI] = end - 4;
    memset(v->fpu.zmm[2], 0, 16);
    ck_assert_int_eq(RUN(0x66, 0x0f, 0xf7, 0xca), VEC_PF);
    v = start();
    hole();
    v->gpr[RDI] = end - 4;
    machine_put_uint(&oracle.m, end - 4, 0, 4);
    memset(v->fpu.zmm[1], 0xab, 16);
    store_le(v->fpu.zmm[2], 0x800000008000, 8);
    ck_assert_int_eq(RUN(0x66, 0x0f, 0xf7, 0xca), VEC_PF);
    ck_assert_uint_eq(machine_get(&oracle.m, end - 4, 4), 0);
}
END_TEST

/* More forms than the cache holds: everything is dropped and made again. */
START_TEST(thunk_cache_overflows)
{
    const struct decode_ctx ctx = {.code_size = 8, .protected_mode = true};
    /* pshufd, pshufhw, pshuflw, shufps, shufpd, cmpps, palignr, pblendw, blendps, ... xmm0, xmm1 */
    static const u8 forms[][6] = {
        {0x66, 0x0f, 0x70, 0xc1},       {0xf3, 0x0f, 0x70, 0xc1},
        {0xf2, 0x0f, 0x70, 0xc1},       {0x0f, 0xc6, 0xc1},
        {0x66, 0x0f, 0xc6, 0xc1},       {0x0f, 0xc2, 0xc1},
        {0x66, 0x0f, 0x3a, 0x0f, 0xc1}, {0x66, 0x0f, 0x3a, 0x0e, 0xc1},
        {0x66, 0x0f, 0x3a, 0x0c, 0xc1}, {0x66, 0x0f, 0x3a, 0x42, 0xc1},
        {0x66, 0x0f, 0x3a, 0x21, 0xc1}, {0x66, 0x0f, 0x3a, 0x40, 0xc1},
        {0x66, 0x0f, 0x3a, 0x44, 0xc1}, {0x66, 0x0f, 0x3a, 0x63, 0xc1},
        {0x66, 0x0f, 0x3a, 0xdf, 0xc1}, {0x66, 0x0f, 0x71, 0xd0},
        {0x66, 0x0f, 0x72, 0xf0},       {0x66, 0x0f, 0x73, 0xd8},
    };
    struct vcpu *v = start();

    for (unsigned round = 0; round < 2; round++)
        for (unsigned f = 0; f < ARRAY_SIZE(forms); f++)
            for (unsigned imm = 0; imm < 256; imm++) {
                u8 bytes[8] = {0};
                unsigned length = 0;
                struct insn i;

                memcpy(bytes, forms[f], 6);
                for (length = 5; !bytes[length - 1]; length--)
                    ;
                bytes[length++] = (u8)imm;
                ck_assert_int_eq(insn_decode(&ctx, bytes, length, &i), DECODE_OK);
                ck_assert(insn_bodies[i.id](v, &i));
            }
    ck_assert(simd_check_row(&oracle, INSN_PSHUFD_VdqWdqIb, 20));
}
END_TEST

/* In 32-bit code REX does not exist and registers are eight. */
START_TEST(protected_mode_code)
{
    struct vcpu *v;

    machine_start(&oracle.m, MACHINE_PROT32);
    v = oracle.m.v;
    v->gpr[RAX] = 0x80000001;
    /* movd xmm0, eax; punpckldq xmm0, xmm0; movd ecx, xmm0; cvtsi2sd xmm1, eax */
    ck_assert_int_eq(RUN(0x66, 0x0f, 0x6e, 0xc0, 0x66, 0x0f, 0x62, 0xc0, 0x66, 0x0f, 0x7e, 0xc1,
                         0xf2, 0x0f, 0x2a, 0xc8),
                     -1);
    ck_assert_uint_eq(v->gpr[RCX], 0x80000001);
    ck_assert_uint_eq(load_le(v->fpu.zmm[0], 8), 0x8000000180000001);
    ck_assert_uint_eq(load_le(v->fpu.zmm[1], 8), 0xc1dfffffffc00000);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/native");
    TCase *tcase = tcase_create("native");

    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 100);
    tcase_add_test(tcase, every_legacy_row_agrees_with_the_host);
    tcase_add_test(tcase, availability_checks_come_in_order);
    tcase_add_test(tcase, misaligned_operands);
    tcase_add_test(tcase, operands_across_pages);
    tcase_add_test(tcase, unmasked_exceptions);
    tcase_add_test(tcase, foreign_sigfpe_is_passed_on);
    tcase_add_test(tcase, maskmovdqu_touches_only_its_bytes);
    tcase_add_test(tcase, thunk_cache_overflows);
    tcase_add_test(tcase, protected_mode_code);
    return suite_run(suite);
}
