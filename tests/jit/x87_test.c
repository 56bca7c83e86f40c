/* SPDX-License-Identifier: MIT
 *
 * x87 and MMX in translated code: results, status, stack, pointers, and the way between the host's
 * registers and the image that C code sees.
 */
#include "cpu/fpu.h"
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

static void enable(struct vcpu *v)
{
    fpu_init(&v->fpu);
    vcpu_update_mode(v);
}

static void start(enum machine_mode mode, struct dice *d)
{
    state_random(&pair, mode, d);
    enable(pair.interp.v);
    enable(pair.jit.v);
    pair_set(&pair, RBX, STATE_DATA + 64);
}

/* A memory operand [rbx + disp8], near an edge now and then. */
static size_t memory_form(u8 *code, struct dice *d, unsigned opcode, unsigned reg)
{
    code[0] = (u8)opcode;
    code[1] = (u8)(0x43 | reg << 3);
    code[2] = (u8)(dice_below(d, 2) ? dice_below(d, 64) : 0 - dice_below(d, 64));
    return 3;
}

/* FLDENV, FRSTOR and FLDCW would unmask exceptions at random; FNSTENV and FNSAVE are for their own
 * test. */
static bool excluded(unsigned opcode, unsigned reg)
{
    return (opcode == 0xd9 && reg >= 4 && reg <= 6) || (opcode == 0xdd && (reg == 4 || reg == 6)) ||
           (opcode == 0xdd && reg == 5) || (opcode == 0xdb && (reg == 4 || reg == 6)) ||
           (opcode == 0xd9 && reg == 1);
}

static size_t x87_insn(u8 *code, struct dice *d)
{
    unsigned opcode = 0xd8 + (unsigned)dice_below(d, 8), reg = (unsigned)dice_below(d, 8);
    unsigned modrm = 0xc0 + (unsigned)dice_below(d, 64);

    if (dice_below(d, 2))
        return excluded(opcode, reg) ? 0 : memory_form(code, d, opcode, reg);
    code[0] = (u8)opcode;
    code[1] = (u8)modrm;
    return insn_decode(&(struct decode_ctx){.code_size = 8}, code, 2, &(struct insn){0}) ==
                   DECODE_OK
               ? 2
               : 0;
}

/* 0F 60-6F, 74-77, D1-FE: mm, mm or mm, [rbx + disp8]. */
static size_t mmx_insn(u8 *code, struct dice *d)
{
    unsigned opcode = (unsigned)dice_below(d, 2) ? 0x60 + (unsigned)dice_below(d, 12)
                                                 : 0xd1 + (unsigned)dice_below(d, 46);
    struct insn i = {0};

    code[0] = 0x0f;
    code[1] = (u8)opcode;
    code[2] = (u8)(0xc0 + dice_below(d, 64));
    if (opcode == 0xf7) /* MASKMOVQ stores to [rdi] */
        return 0;
    if (dice_below(d, 2)) {
        code[2] = (u8)(0x43 | (code[2] & 0x38));
        code[3] = (u8)dice_below(d, 64);
    }
    return insn_decode(&(struct decode_ctx){.code_size = 8}, code, 4, &i) == DECODE_OK &&
                   (insn_row(&i)->traits & T_MMX)
               ? i.len
               : 0;
}

typedef size_t make_insn(u8 *code, struct dice *d);

static void run_random(enum machine_mode mode, u64 seed, make_insn *make)
{
    struct dice d = {seed * 0x9e3779b97f4a7c15ull + 7};
    size_t size = 0, count = 1 + dice_below(&d, 40);
    u8 code[600];

    start(mode, &d);
    if (!dice_below(&d, 4))
        pair_set(&pair, RBX, STATE_ABSENT - 40);
    while (count--)
        size += dice_below(&d, 8) ? make(code + size, &d) : x87_insn(code + size, &d);
    pair_execute(&pair, code, size);
}

START_TEST(random_x87)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_COMPAT, MACHINE_PROT32};

    for (u64 n = 0; n < 400; n++)
        run_random(modes[_i], n * 3 + (u64)_i, x87_insn);
}
END_TEST

START_TEST(random_mmx)
{
    for (u64 n = 0; n < 400; n++)
        run_random(MACHINE_LONG, n, mmx_insn);
}
END_TEST

static u64 calls_of(const void *code, size_t size)
{
    u64 before = pair_stats(&pair).interpreted;

    pair_execute(&pair, code, size);
    return state_calls(&pair, &before);
}
#define CALLS_OF(...) calls_of((const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

START_TEST(x87_is_inline)
{
    struct dice d = {1};

    start(MACHINE_LONG, &d);
    ck_assert_uint_eq(CALLS_OF(0xd9, 0xe8,       /* fld1 */
                               0xdd, 0x03,       /* fld qword [rbx] */
                               0xde, 0xc1,       /* faddp */
                               0xd9, 0x7b, 0x10, /* fnstcw [rbx + 16] */
                               0xd9, 0x6b, 0x10, /* fldcw [rbx + 16] */
                               0xdf, 0xe0,       /* fnstsw ax */
                               0x9b,             /* fwait */
                               0xdb, 0x7b, 0x20, /* fstp tword [rbx + 32] */
                               0x0f, 0xfc, 0xc1, /* paddb mm0, mm1 */
                               0x0f, 0x77),      /* emms */
                      1);
}
END_TEST

/* FXSAVE is C code that looks at everything in the middle of a block. */
START_TEST(pointers_are_the_guests)
{
    struct dice d = {1};

    start(MACHINE_LONG, &d);
    PAIR_EXECUTE(&pair, 0xdd, 0x43, 0x08, /* fld qword [rbx + 8] */
                 0xd9, 0xfa,              /* fsqrt */
                 0x48, 0x0f, 0xae, 0x03,  /* fxsave64 [rbx] */
                 0xd9, 0xe8);             /* fld1 */
    ck_assert_uint_eq(machine_get(&pair.jit, STATE_DATA + 64 + FX_FIP, 8), MACHINE_CODE + 3);
    ck_assert_uint_eq(machine_get(&pair.jit, STATE_DATA + 64 + FX_FDP, 8), STATE_DATA + 72);
    ck_assert_uint_eq(machine_get(&pair.jit, STATE_DATA + 64 + FX_FOP, 2), 0x1fa);
    ck_assert_uint_eq(load_le(pair.jit.v->fpu.fx + FX_FIP, 8), MACHINE_CODE + 9);
}
END_TEST

/* FDP stays that of the last operand that could be accessed. */
START_TEST(faulting_operand_leaves_the_pointers)
{
    struct dice d = {1};

    start(MACHINE_LONG, &d);
    pair_set(&pair, RCX, STATE_ABSENT);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xd9, 0x03, /* fld dword [rbx] */
                                  0xd9, 0x01),       /* fld dword [rcx] */
                     14);
    ck_assert_uint_eq(load_le(pair.jit.v->fpu.fx + FX_FDP, 8), STATE_DATA + 64);
}
END_TEST

/* FLDCW that unmasks division by zero ends the mode; the error is reported by the next waiting
 * instruction. */
START_TEST(unmasked_exception_is_reported)
{
    const u16 unmasked = 0x37b;
    struct dice d = {1};

    start(MACHINE_LONG, &d);
    pair_put(&pair, STATE_DATA + 64, &unmasked, 2);
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xd9, 0xe8, 0xd9, 0xee, /* fld1, fldz */
                                  0xd9, 0x2b,                    /* fldcw [rbx] */
                                  0xde, 0xf9,                    /* fdivp */
                                  0xd9, 0xe8),                   /* fld1 */
                     16);
}
END_TEST

START_TEST(task_switched_is_device_not_available)
{
    struct dice d = {1};

    start(MACHINE_LONG, &d);
    pair.interp.v->cr0 |= CR0_TS;
    pair.jit.v->cr0 |= CR0_TS;
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0xd9, 0xe8), 7);
    start(MACHINE_LONG, &d);
    pair.interp.v->cr0 |= CR0_TS;
    pair.jit.v->cr0 |= CR0_TS;
    ck_assert_int_eq(PAIR_EXECUTE(&pair, 0x0f, 0x77), 7);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("x87");
    TCase *c = tcase_create("x87");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, random_x87, 0, 3);
    tcase_add_test(c, random_mmx);
    tcase_add_test(c, x87_is_inline);
    tcase_add_test(c, pointers_are_the_guests);
    tcase_add_test(c, faulting_operand_leaves_the_pointers);
    tcase_add_test(c, unmasked_exception_is_reported);
    tcase_add_test(c, task_switched_is_device_not_available);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
