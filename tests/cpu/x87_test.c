/* SPDX-License-Identifier: MIT
 *
 * x87 rows against the host processor, and the paths of x87 errors: #NM, #MF, FERR#.
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

START_TEST(every_row_agrees_with_the_host)
{
    unsigned bad = 0;

    for (unsigned id = 1; id < INSN_COUNT; id++)
        if (insn_rows[id].traits & T_FPU)
            bad += !simd_check_row(&oracle, id, 400);
    printf("%u executions, %u faults\n", oracle.done, oracle.faults);
    ck_assert_uint_eq(bad, 0);
    ck_assert_uint_gt(oracle.done, 50000);
}
END_TEST

/* -- single instructions through the run loop -- */

#define RUN(...)      MACHINE_EXECUTE(&oracle.m, __VA_ARGS__)
#define FLD1          0xd9, 0xe8
#define FWAIT         0x9b
#define FNSTSW_AX     0xdf, 0xe0
#define FNCLEX        0xdb, 0xe2
#define FNSTENV_RDI   0xd9, 0x37
#define FLD_QWORD_RDI 0xdd, 0x07

static struct vcpu *start(enum machine_mode mode)
{
    struct vcpu *v;

    machine_start(&oracle.m, mode);
    v = oracle.m.v;
    v->gpr[RDI] = MACHINE_DATA;
    fpu_init(&v->fpu);
    oracle.m.ferr = false;
    return v;
}

START_TEST(device_not_available)
{
    start(MACHINE_LONG)->cr0 |= CR0_EM;
    ck_assert_int_eq(RUN(FLD1), VEC_NM);
    start(MACHINE_LONG)->cr0 |= CR0_TS;
    ck_assert_int_eq(RUN(FLD1), VEC_NM);
    start(MACHINE_LONG)->cr0 |= CR0_TS;
    ck_assert_int_eq(RUN(0xdb, 0xe3), VEC_NM); /* fninit */
    /* FWAIT: TS only with MP, EM not at all. */
    start(MACHINE_LONG)->cr0 |= CR0_TS | CR0_MP;
    ck_assert_int_eq(RUN(FWAIT), VEC_NM);
    start(MACHINE_LONG)->cr0 = (oracle.m.v->cr0 | CR0_TS) & ~(u64)CR0_MP;
    ck_assert_int_eq(RUN(FWAIT), -1);
    start(MACHINE_LONG)->cr0 |= CR0_EM;
    ck_assert_int_eq(RUN(FWAIT), -1);
}
END_TEST

/* FLD1 / 0 with the zero-divide exception unmasked: reported by the next waiting instruction. */
#define DIVIDE_BY_ZERO FLD1, 0xd9, 0xee, 0xde, 0xf9

START_TEST(errors_wait_for_the_next_instruction)
{
    struct vcpu *v = start(MACHINE_LONG);

    fpu_set_words(&v->fpu, 0x37b, 0);
    ck_assert_int_eq(RUN(DIVIDE_BY_ZERO), -1);
    ck_assert_uint_eq(fpu_fsw(&v->fpu), 0xb084); /* TOP 6: an unmasked FDIVP does not pop */
    v = start(MACHINE_LONG);
    fpu_set_words(&v->fpu, 0x37b, 0);
    ck_assert_int_eq(RUN(DIVIDE_BY_ZERO, FNSTSW_AX, FLD1), VEC_MF);
    ck_assert_uint_eq((u16)v->gpr[RAX], 0xb084);
    ck_assert_uint_eq(machine_stack(&oracle.m, 0, 8), MACHINE_CODE + 8);
    /* The pointers are those of the division. */
    ck_assert_uint_eq(load_le(v->fpu.fx + FX_FIP, 8), MACHINE_CODE + 4);
    ck_assert_uint_eq(load_le(v->fpu.fx + FX_FOP, 2), 0x6f9);
    v = start(MACHINE_LONG);
    fpu_set_words(&v->fpu, 0x37b, 0);
    ck_assert_int_eq(RUN(DIVIDE_BY_ZERO, FWAIT), VEC_MF);
    v = start(MACHINE_LONG);
    fpu_set_words(&v->fpu, 0x37b, 0);
    ck_assert_int_eq(RUN(DIVIDE_BY_ZERO, FNCLEX, FLD1), -1);
}
END_TEST

START_TEST(pointers_follow_non_control_instructions)
{
    struct vcpu *v = start(MACHINE_PROT32);

    /* fld qword [rdi]; fchs; fnstcw [rdi+8]; fnstenv [rdi+16] */
    ck_assert_int_eq(RUN(FLD_QWORD_RDI, 0xd9, 0xe0, 0xd9, 0x7f, 8, 0xd9, 0x77, 16), -1);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 16 + 12, 4), MACHINE_CODE + 2);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 16 + 16, 4), 0x1e0u << 16 | SEL_CODE32);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 16 + 20, 4), MACHINE_DATA);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 16 + 24, 4), 0xffff0000 | SEL_DATA);
    /* FNSTENV masks everything afterwards. */
    ck_assert_uint_eq(fpu_fcw(&v->fpu) & 0x3f, 0x3f);
}
END_TEST

START_TEST(real_mode_environments_are_linear)
{
    struct vcpu *v = start(MACHINE_REAL);

    v->seg[SEG_DS].selector = MACHINE_DATA >> 4;
    v->seg[SEG_DS].base = MACHINE_DATA;
    v->gpr[RDI] = 0x100;
    /* fld qword [di]; fnstenv [di+8]; o32 fnstenv [di+40]; o32 fldenv [di+40]; fnstenv [di+80] */
    ck_assert_int_eq(
        RUN(0xdd, 0x05, 0xd9, 0x75, 8, 0x66, 0xd9, 0x75, 40, 0x66, 0xd9, 0x65, 40, 0xd9, 0x75, 80),
        -1);
    /* 16-bit: FIP 15-0; FIP 19-16 and FOP; FDP 15-0; FDP 19-16. CS is 1000h, DS 4000h. */
    for (unsigned at = 0x108; at <= 0x150; at += 72) {
        ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + at + 6, 2), 0);
        ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + at + 8, 2), 0x1505);
        ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + at + 10, 2), 0x100);
        ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + at + 12, 2), 0x4000);
    }
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 0x128 + 16, 4), 0x1505);
    ck_assert_uint_eq(machine_get(&oracle.m, MACHINE_DATA + 0x128 + 24, 4), 0x4000);
}
END_TEST

/* CR0.NE = 0: the error goes out as FERR#, the instruction waits for the interrupt it causes. */
START_TEST(ferr_waits_for_the_interrupt)
{
    struct vcpu *v = start(MACHINE_LONG);

    v->cr0 &= ~(u64)CR0_NE;
    v->rflags |= F_IF;
    fpu_set_words(&v->fpu, 0x37e, 1);
    machine_code(&oracle.m, (const u8[]){FLD1}, 2);
    ck_assert_int_eq(machine_step(&oracle.m, 100), EXIT_BUDGET);
    ck_assert(oracle.m.ferr);
    ck_assert_uint_eq(v->rip, MACHINE_CODE);
    ck_assert_uint_eq(fpu_top(&v->fpu), 0);
    machine_interrupt(&oracle.m, 0x75);
    machine_run(&oracle.m);
    ck_assert_int_eq(machine_vector(&oracle.m), 0x75);
    ck_assert_uint_eq(machine_stack(&oracle.m, 0, 8), MACHINE_CODE);
}
END_TEST

START_TEST(ferr_without_interrupts_goes_on)
{
    struct vcpu *v = start(MACHINE_LONG);

    v->cr0 &= ~(u64)CR0_NE;
    fpu_set_words(&v->fpu, 0x37e, 1);
    ck_assert_int_eq(RUN(FLD1), -1);
    ck_assert(oracle.m.ferr);
    ck_assert_uint_eq(fpu_fsw(&v->fpu), 0xb881);
    ck_assert_uint_eq(fpu_fcw(&v->fpu), 0x37e);
    /* Clearing the error lowers the line. */
    v = start(MACHINE_LONG);
    v->cr0 &= ~(u64)CR0_NE;
    fpu_set_words(&v->fpu, 0x37e, 1);
    ck_assert_int_eq(RUN(FWAIT, FNCLEX), -1);
    ck_assert(!oracle.m.ferr);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu/x87");
    TCase *tcase = tcase_create("x87");

    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 100);
    tcase_add_test(tcase, every_row_agrees_with_the_host);
    tcase_add_test(tcase, device_not_available);
    tcase_add_test(tcase, errors_wait_for_the_next_instruction);
    tcase_add_test(tcase, pointers_follow_non_control_instructions);
    tcase_add_test(tcase, real_mode_environments_are_linear);
    tcase_add_test(tcase, ferr_waits_for_the_interrupt);
    tcase_add_test(tcase, ferr_without_interrupts_goes_on);
    return suite_run(suite);
}
