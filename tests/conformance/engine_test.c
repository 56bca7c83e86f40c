/* SPDX-License-Identifier: MIT
 *
 * The engine's machine, with cases made by hand in every mode: what the judge would see is what
 * Linux shows to user code.
 */
#include "frontend/conform/engine.h"

#include <check.h>
#include <stdlib.h>

#include "mem/base/bits.h"
#include "tests/conformance/hand_made.h"

static struct engine *engine;
static struct conform_case c;
static struct conform_outcome o;

static void start(enum conform_engine kind)
{
    struct error err = {""};

    ck_assert_msg(!engine_create(&engine, kind, "", &err), "%s", err.text);
}

static void start_interp(void)
{
    start(CONFORM_INTERP);
}

static void start_jit(void)
{
    start(CONFORM_JIT);
}

static void start_counted(void)
{
    start(CONFORM_COUNTED);
}

static void stop(void)
{
    engine_destroy(engine);
}

static void run(void)
{
    engine_run(engine, &c, 1000, &o);
}

START_TEST(code_of_64_bits_ends_at_int3)
{
    HAND_MADE(&c, MODE_64, 0x48, 0x01, 0xd8); /* add rax, rbx */
    c.in.gpr[RAX] = 0x8000000000000000;
    c.in.gpr[RBX] = 0x8000000000000001;
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    ck_assert_uint_eq(o.out.gpr[RAX], 1);
    ck_assert_uint_eq(o.out.rip, ARENA_CODE + 4);
    ck_assert_uint_eq(o.out.rflags & F_OSZAPC, F_CF | F_OF);
    ck_assert_uint_eq(o.out.gpr[RSP], ARENA_STACK + 0x1f00);
    ck_assert_uint_eq(o.out.selector[SEG_CS], SEL_CS64);
    ck_assert_uint_eq(o.out.selector[SEG_SS], SEL_FLAT);
    ck_assert_uint_eq(o.line_count, 0);
}
END_TEST

START_TEST(code_of_32_bits_runs_flat)
{
    HAND_MADE(&c, MODE_32, 0x50, 0x8c, 0xc8); /* push eax; mov eax, cs */
    c.in.gpr[RAX] = 0x11223344;
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    ck_assert_uint_eq(o.out.gpr[RAX], SEL_CS32);
    ck_assert_uint_eq(o.line_count, 1);
    ck_assert_uint_eq(o.line[0].address, ARENA_STACK + 0x1ec0);
    ck_assert_uint_eq(load_le(o.line[0].bytes + 0x3c, 4), 0x11223344);
}
END_TEST

START_TEST(code_of_16_bits_runs_in_the_ldt)
{
    HAND_MADE(&c, MODE_16, 0xa1, 0x10, 0x00, 0x50); /* mov ax, [10h]; push ax */
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    ck_assert_uint_eq(o.out.gpr[RAX] & 0xffff, conform_arena_byte(ARENA_DATA + 0x10) |
                                                   conform_arena_byte(ARENA_DATA + 0x11) << 8);
    ck_assert_uint_eq(o.out.rip, 5);
    ck_assert_uint_eq(o.out.gpr[RSP] & 0xffff, 0x1efe);
    ck_assert_uint_eq(o.out.selector[SEG_SS], SEL_STACK16);
}
END_TEST

START_TEST(a_page_fault_has_code_and_address)
{
    HAND_MADE(&c, MODE_64, 0x88, 0x03); /* mov [rbx], al */
    c.in.gpr[RBX] = ARENA_RO + 5;
    run();
    ck_assert_uint_eq(o.vector, VEC_PF);
    ck_assert_uint_eq(o.error_code, 7);
    ck_assert_uint_eq(o.cr2, ARENA_RO + 5);
    ck_assert_uint_eq(o.out.rip, ARENA_CODE);
    c.in.gpr[RBX] = ARENA_DATA + ARENA_DATA_SIZE;
    run();
    ck_assert_uint_eq(o.error_code, 6);
}
END_TEST

START_TEST(data_cannot_be_executed)
{
    HAND_MADE(&c, MODE_64, 0xff, 0xe3); /* jmp rbx */
    c.in.gpr[RBX] = ARENA_DATA;
    run();
    ck_assert_uint_eq(o.vector, VEC_PF);
    ck_assert_uint_eq(o.error_code, 0x15);
}
END_TEST

START_TEST(only_breakpoint_and_overflow_gates_are_open)
{
    HAND_MADE(&c, MODE_64, 0xcd, 0x03);
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    HAND_MADE(&c, MODE_64, 0xcd, 0x21);
    run();
    ck_assert_uint_eq(o.vector, VEC_GP);
    ck_assert_uint_eq(o.error_code, 0x21 << 3 | 2);
    HAND_MADE(&c, MODE_64, 0xfa); /* cli */
    run();
    ck_assert_uint_eq(o.vector, VEC_GP);
    ck_assert_uint_eq(o.error_code, 0);
}
END_TEST

START_TEST(an_absent_segment_is_reported)
{
    HAND_MADE(&c, MODE_32, 0x8e, 0xd8); /* mov ds, eax */
    c.in.gpr[RAX] = SEL_ABSENT;
    run();
    ck_assert_uint_eq(o.vector, VEC_NP);
    ck_assert_uint_eq(o.error_code, SEL_ABSENT & ~3);
}
END_TEST

START_TEST(misalignment_is_checked_with_ac)
{
    HAND_MADE(&c, MODE_64, 0x8b, 0x03); /* mov eax, [rbx] */
    c.in.gpr[RBX] = ARENA_DATA + 1;
    c.in.rflags |= F_AC;
    run();
    ck_assert_uint_eq(o.vector, VEC_AC);
}
END_TEST

START_TEST(patches_are_there_and_gone_with_the_next_case)
{
    HAND_MADE(&c, MODE_64, 0x48, 0x8b, 0x03, 0x48, 0x89, 0x43, 0x08); /* load, store behind it */
    c.in.gpr[RBX] = ARENA_DATA + 0xffc;
    c.patch_count = 1;
    c.patch[0] = (struct conform_patch){ARENA_DATA + 0xffc, 8, {1, 2, 3, 4, 5, 6, 7, 8}};
    run();
    ck_assert_uint_eq(o.out.gpr[RAX], 0x0807060504030201);
    ck_assert_uint_eq(o.line_count, 1);
    ck_assert_uint_eq(o.line[0].address, ARENA_DATA + 0x1000);
    c.patch_count = 0;
    c.code_size = 3;
    run();
    ck_assert_uint_eq(o.out.rip, ARENA_CODE + 4);
    ck_assert_uint_eq(o.out.gpr[RAX] & 0xff, conform_arena_byte(ARENA_DATA + 0xffc));
    ck_assert_uint_eq(o.line_count, 0);
}
END_TEST

START_TEST(code_may_change_itself)
{
    HAND_MADE(&c, MODE_64, 0xc6, 0x03, 0x40, 0x90, 0x90); /* mov byte [rbx], 40h; nop; nop */
    c.in.gpr[RBX] = ARENA_CODE + 4;
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    ck_assert_uint_eq(o.line_count, 1);
    ck_assert_uint_eq(o.line[0].address, ARENA_CODE);
    ck_assert_uint_eq(o.line[0].bytes[4], 0x40);
}
END_TEST

START_TEST(an_endless_loop_ends_at_the_limit)
{
    for (unsigned n = 0; n < 2; n++) {
        HAND_MADE(&c, MODE_64, 0xeb, 0xfe);
        run();
        ck_assert_uint_eq(o.vector, OUTCOME_NONE);
        ck_assert_uint_eq(o.out.rip, ARENA_CODE);
    }
    HAND_MADE(&c, MODE_64, 0x90);
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
}
END_TEST

START_TEST(vector_and_x87_state_goes_in_and_out)
{
    HAND_MADE(&c, MODE_64, 0x66, 0x0f, 0xfe, 0xc1, 0xd9, 0xe8); /* paddd xmm0, xmm1; fld1 */
    c.in.zmm[0][0] = 1;
    c.in.zmm[1][0] = 2;
    c.in.zmm[31][63] = 0x5a;
    c.in.k[3] = 0x1234;
    run();
    ck_assert_uint_eq(o.out.zmm[0][0], 3);
    ck_assert_uint_eq(o.out.zmm[31][63], 0x5a);
    ck_assert_uint_eq(o.out.k[3], 0x1234);
    ck_assert_uint_eq(load_le(o.out.x87 + 2, 2), 7u << 11);
    ck_assert_uint_eq(o.out.x87[4], 0x80);
    ck_assert_uint_eq(load_le(o.out.x87 + 32 + 8, 2), 0x3fff);
}
END_TEST

START_TEST(bases_of_fs_and_gs_count_in_64_bit_mode)
{
    HAND_MADE(&c, MODE_64, 0x64, 0x8a, 0x03, 0x65, 0x8a, 0x23); /* mov al, fs:[rbx]; mov ah, gs: */
    c.in.fs_base = ARENA_DATA;
    c.in.gs_base = ARENA_STACK;
    c.in.gpr[RBX] = 7;
    run();
    ck_assert_uint_eq(o.vector, VEC_BP);
    ck_assert_uint_eq(o.out.gpr[RAX] & 0xff, conform_arena_byte(ARENA_DATA + 7));
    ck_assert_uint_eq(o.out.gpr[RAX] >> 8 & 0xff, conform_arena_byte(ARENA_STACK + 7));
    ck_assert_uint_eq(o.out.fs_base, ARENA_DATA);
}
END_TEST

START_TEST(a_missing_engine_and_an_unknown_model_are_refused)
{
    struct engine *other = NULL;
    struct error err = {""};

    ck_assert_int_eq(engine_create(&other, CONFORM_ENGINES, "", &err), ST_UNSUPPORTED);
    ck_assert_int_ne(engine_create(&other, CONFORM_INTERP, "z80", &err), ST_OK);
    ck_assert(strstr(err.text, "z80"));
}
END_TEST

static void add_cases(Suite *s, const char *name, SFun start_engine)
{
    TCase *t = tcase_create(name);

    tcase_add_checked_fixture(t, start_engine, stop);
    tcase_add_test(t, code_of_64_bits_ends_at_int3);
    tcase_add_test(t, code_of_32_bits_runs_flat);
    tcase_add_test(t, code_of_16_bits_runs_in_the_ldt);
    tcase_add_test(t, a_page_fault_has_code_and_address);
    tcase_add_test(t, data_cannot_be_executed);
    tcase_add_test(t, only_breakpoint_and_overflow_gates_are_open);
    tcase_add_test(t, an_absent_segment_is_reported);
    tcase_add_test(t, misalignment_is_checked_with_ac);
    tcase_add_test(t, patches_are_there_and_gone_with_the_next_case);
    tcase_add_test(t, code_may_change_itself);
    tcase_add_test(t, an_endless_loop_ends_at_the_limit);
    tcase_add_test(t, vector_and_x87_state_goes_in_and_out);
    tcase_add_test(t, bases_of_fs_and_gs_count_in_64_bit_mode);
    suite_add_tcase(s, t);
}

int main(void)
{
    Suite *s = suite_create("conformance/engine");
    TCase *t = tcase_create("refused");
    SRunner *r = srunner_create(s);
    int failed;

    add_cases(s, "interp", start_interp);
    add_cases(s, "jit", start_jit);
    add_cases(s, "jit-counted", start_counted);
    tcase_add_test(t, a_missing_engine_and_an_unknown_model_are_refused);
    suite_add_tcase(s, t);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
