/* SPDX-License-Identifier: MIT
 *
 * Jumps that leave flags to be made by whoever looks at them: the fault behind the jump sees those
 * of the instruction before it.
 */
#include "jit/deferred.h"
#include "tests/jit/pages.h"
#include "tests/jit/random.h"
#include "tests/suite.h"

enum { ABSENT = 8, TURNS = 6, CODE = 64 };

static struct pair p;

/* Instructions that set all flags from registers. */
static const struct {
    u8 size, bytes[8];
} ops[] = {
    {2, {0x39, 0xd8}},                               /* cmp eax, ebx */
    {3, {0x48, 0x3b, 0xc3}},                         /* cmp rax, rbx */
    {3, {0x66, 0x39, 0xd8}},                         /* cmp ax, bx */
    {3, {0x4c, 0x39, 0xd2}},                         /* cmp rdx, r10 */
    {3, {0x49, 0x39, 0xd2}},                         /* cmp r10, rdx */
    {3, {0x4d, 0x39, 0xd1}},                         /* cmp r9, r10 */
    {4, {0x41, 0x83, 0xf9, 0x7f}},                   /* cmp r9d, 7fh */
    {4, {0x48, 0x83, 0xfb, 0x80}},                   /* cmp rbx, -80h */
    {7, {0x48, 0x81, 0xfb, 0x34, 0x12, 0x34, 0x12}}, /* cmp rbx, 12341234h */
    {5, {0x66, 0x81, 0xfb, 0x00, 0x80}},             /* cmp bx, 8000h */
    {2, {0x38, 0xfb}},                               /* cmp bl, bh */
    {2, {0x3a, 0xd7}},                               /* cmp dl, bh */
    {3, {0x80, 0xff, 0x90}},                         /* cmp bh, 90h */
    {2, {0x3c, 0x05}},                               /* cmp al, 5 */
    {6, {0x48, 0x3d, 0x00, 0x70, 0x00, 0x00}},       /* cmp rax, 7000h */
    {3, {0x4d, 0x85, 0xdb}},                         /* test r11, r11 */
    {2, {0x84, 0xfb}},                               /* test bl, bh */
    {6, {0xf7, 0xc3, 0xff, 0x7f, 0x00, 0x00}},       /* test ebx, 7fffh */
    {2, {0xa8, 0x81}},                               /* test al, 81h */
    {2, {0x01, 0xda}},                               /* add edx, ebx */
    {3, {0x4d, 0x01, 0xd1}},                         /* add r9, r10 */
    {3, {0x49, 0x03, 0xdb}},                         /* add rbx, r11 */
    {3, {0x48, 0x29, 0xda}},                         /* sub rdx, rbx */
    {3, {0x41, 0x2b, 0xd8}},                         /* sub ebx, r8d */
    {3, {0x48, 0x01, 0xdb}},                         /* add rbx, rbx */
    {6, {0x48, 0x05, 0x00, 0x10, 0x00, 0x00}},       /* add rax, 1000h */
    {5, {0x2d, 0x01, 0x00, 0x01, 0x00}},             /* sub eax, 10001h */
    {4, {0x48, 0x83, 0xea, 0xf0}},                   /* sub rdx, -10h */
    {4, {0x49, 0x83, 0xc2, 0x7f}},                   /* add r10, 7fh */
    {3, {0x83, 0xe3, 0x0f}},                         /* and ebx, 0fh */
    {3, {0x4c, 0x09, 0xd3}},                         /* or rbx, r10 */
    {2, {0x31, 0xdb}},                               /* xor ebx, ebx */
};

/* Loads that follow the jump: of a register that no instruction has, of RBX, then of R10. */
static const u8 loads[][4] = {
    {0x4c, 0x8b, 0x3e, 0x90}, /* mov r15, [rsi] */
    {0x48, 0x8b, 0x1e, 0x90}, /* mov rbx, [rsi] */
    {0x4c, 0x8b, 0x16, 0x90}, /* mov r10, [rsi] */
};

static void setup(void)
{
    pair_create(&p, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&p);
}

static void put(u8 *code, size_t *at, const void *bytes, size_t size)
{
    memcpy(code + *at, bytes, size);
    *at += size;
}

/* load; add rsi, 8; dec ecx; jnz outer, which is that far from the load. */
static void put_rest(u8 *code, size_t *at, const u8 load[4], size_t outer)
{
    static const u8 count[] = {0x48, 0x83, 0xc6, 8, 0xff, 0xc9, 0x0f, 0x85};
    u8 rel32[4];

    put(code, at, load, 4);
    put(code, at, count, sizeof(count));
    store_le(rel32, outer - (*at + 4), 4);
    put(code, at, rel32, 4);
    put(code, at, "\xf4", 1);
}

/* outer: the instruction; jo rest; jno rest; hlt; rest: ... */
static size_t with_taken_jumps(u8 *code, unsigned op, const u8 load[4])
{
    size_t at = 0;

    put(code, &at, ops[op].bytes, ops[op].size);
    put(code, &at, "\x70\x03\x71\x01\xf4", 5);
    put_rest(code, &at, load, 0);
    return at;
}

/* jmp outer; rest: ...; outer: the instruction; jmp rest */
static size_t with_a_jump(u8 *code, unsigned op, const u8 load[4])
{
    const size_t outer = 2 + 4 + 12 + 1;
    u8 jump[] = {0xeb, (u8)(outer - 2)};
    size_t at = 0;

    put(code, &at, jump, 2);
    put_rest(code, &at, load, outer);
    ck_assert_uint_eq(at, outer);
    put(code, &at, ops[op].bytes, ops[op].size);
    jump[1] = (u8)(2 - (at + 2));
    put(code, &at, jump, 2);
    return at;
}

static void start(enum machine_mode mode, struct dice *dice)
{
    static const u8 random[] = {RAX, RBX, RDX, R8, R9, R10, R11};

    pages_start(&p, mode);
    pages_map(&p, ABSENT, ABSENT, 0);
    for (unsigned n = 0; n < ARRAY_SIZE(random); n++)
        pair_set(&p, random[n], dice_next(dice) >> dice_below(dice, 64));
    pair_set(&p, RSI, LINEAR + ABSENT * PAGE_SIZE - 8 * TURNS);
    pair_set(&p, RCX, 2 * TURNS);
}

/* The blocks are linked when the last turn faults. */
START_TEST(the_fault_behind_a_jump_sees_them)
{
    static const enum machine_mode modes[] = {MACHINE_LONG, MACHINE_USER64};
    struct dice dice = {0x1234567 + (u64)_i};
    u8 code[CODE];

    for (unsigned n = 0; n < 12 * ARRAY_SIZE(loads); n++) {
        const u8 *load = loads[n % ARRAY_SIZE(loads)];
        size_t size = n & 1 ? with_a_jump(code, (unsigned)_i, load)
                            : with_taken_jumps(code, (unsigned)_i, load);

        start(modes[n / 2 % 2], &dice);
        ck_assert_int_eq(pair_execute(&p, code, size), 14);
    }
}
END_TEST

/* What is told in a word comes out of it: the flags of an addition and others, by hand. */
START_TEST(words_say_what_they_are_made_of)
{
    struct vcpu *v = p.jit.v;
    struct jf_word w = {
        .op = JF_COMPARISON, .size = 1, .a = REG_HIGH | 3, .b = REG_NONE, .imm = -1};

    v->gpr[RBX] = 0xff00;
    v->jit.flags = jf_word(&w);
    jit_make_flags(v);
    ck_assert_uint_eq(v->rflags & F_OSZAPC, F_ZF | F_PF);
    w = (struct jf_word){.op = JF_SUM, .size = 8, .a = RDX, .b = R15};
    v->gpr[RDX] = 0;
    v->gpr[R15] = 1;
    v->jit.flags = jf_word(&w);
    jit_make_flags(v);
    ck_assert_uint_eq(v->rflags & F_OSZAPC, F_ZF | F_PF | F_CF | F_AF);
    w.b = REG_NONE;
    w.imm = 0x8000;
    ck_assert_uint_eq(jf_word(&w), 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("deferred");
    TCase *c = tcase_create("deferred");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_loop_test(c, the_fault_behind_a_jump_sees_them, 0, ARRAY_SIZE(ops));
    tcase_add_test(c, words_say_what_they_are_made_of);
    suite_add_tcase(s, c);
    return suite_run(s);
}
