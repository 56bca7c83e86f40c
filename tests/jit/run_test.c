/* SPDX-License-Identifier: MIT
 *
 * The engine around translated code: budgets, code that changes, pages that change places, modes
 * and privileges, faults. Each against the interpreter.
 */
#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { FAR_CODE = MACHINE_CODE + 0x3000, OTHER_CODE = 0x200000, FAR_LINEAR = 0xa00000 };

static struct pair p;

static void setup(void)
{
    pair_create(&p, &pair_counted);
    pair_start(&p, MACHINE_LONG);
}

static void teardown(void)
{
    pair_destroy(&p);
}

static void run_to_end(void)
{
    ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
}

/* Runs what is there three times, so that blocks are found and linked. */
static void run_again(void)
{
    for (unsigned n = 0; n < 3; n++) {
        pair_again(&p);
        run_to_end();
    }
}

/* -- budgets -- */

/* mov ecx, 6; l: push rcx; call f; pop rcx; dec ecx; jnz l; rep stosb of 5; hlt; f: add eax, 1; ret
 */
static const u8 loop_with_calls[] = {0xb9, 6,    0,    0,    0,    0x51, 0xe8, 0x10, 0,   0, 0,
                                     0x59, 0xff, 0xc9, 0x75, 0xf5, 0xb9, 5,    0,    0,   0, 0xf3,
                                     0xaa, 0xf4, 0x90, 0x90, 0x90, 0x83, 0xc0, 1,    0xc3};

START_TEST(every_budget_ends_where_it_says)
{
    u64 whole;

    pair_code(&p, loop_with_calls, sizeof(loop_with_calls));
    pair_set(&p, RDI, MACHINE_DATA);
    run_to_end();
    whole = p.jit.v->icount;
    for (u64 n = 0; n < whole; n++) {
        u64 before = p.jit.v->icount;

        pair_again(&p);
        pair_set(&p, RDI, MACHINE_DATA);
        ck_assert_int_eq(pair_run(&p, n), EXIT_BUDGET);
        ck_assert_uint_eq(p.jit.v->icount, before + n);
        run_to_end();
    }
}
END_TEST

/* -- code that changes -- */

START_TEST(a_store_into_the_next_instruction)
{
    /* mov byte [rip], 0x42; the next is mov eax, 1, whose immediate becomes 42h */
    PAIR_CODE(&p, 0xc6, 0x05, 1, 0, 0, 0, 0x42, 0xb8, 1, 0, 0, 0);
    run_to_end();
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 0x42);
    run_again();
}
END_TEST

START_TEST(a_store_into_the_block_itself)
{
    /* l: mov eax, 0; inc byte [l + 1]; cmp byte [l + 1], 9; jb l */
    PAIR_CODE(&p, 0xb8, 0, 0, 0, 0, 0xfe, 0x05, 0xf6, 0xff, 0xff, 0xff, 0x80, 0x3d, 0xef, 0xff,
              0xff, 0xff, 9, 0x72, 0xec);
    run_to_end();
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 8);
}
END_TEST

/* call far; inc byte [far + 1]; dec ecx; jnz: the block is linked, then written to. */
static void call_and_change(void)
{
    const u8 code[] = {0xb9, 5,    0, 0,    0, 0xe8, 0xf6, 0x2f, 0,    0,   0xfe,
                       0x04, 0x25, 1, 0x30, 1, 0,    0xff, 0xc9, 0x75, 0xf0};
    const u8 far[] = {0xb0, 0x10, 0x01, 0xc2, 0xc3}; /* mov al, 10h; add edx, eax; ret */

    pair_code(&p, code, sizeof(code));
    pair_put(&p, FAR_CODE, far, sizeof(far));
}

START_TEST(a_store_into_a_block_of_another_page)
{
    call_and_change();
    run_to_end();
    ck_assert_uint_eq((u8)p.jit.v->gpr[RAX], 0x14);
    run_again();
}
END_TEST

START_TEST(a_device_writes_code)
{
    const u8 value = 0x77;

    call_and_change();
    run_to_end();
    pair_put(&p, FAR_CODE + 1, &value, 1); /* physmap_write(), as DMA does */
    pair_again(&p);
    run_to_end();
    ck_assert_uint_eq((u8)p.jit.v->gpr[RAX], 0x7b);
}
END_TEST

START_TEST(data_beside_code)
{
    /* mov ecx, 100; l: inc dword [rip + 200h]; dec ecx; jnz l: the same page, another granule */
    PAIR_CODE(&p, 0xb9, 100, 0, 0, 0, 0xff, 0x05, 0, 2, 0, 0, 0xff, 0xc9, 0x75, 0xf6);
    run_to_end();
    ck_assert_uint_eq(machine_get(&p.jit, MACHINE_CODE + 11 + 0x200, 4), 100);
    run_again();
}
END_TEST

/* -- pages that change places -- */

static void map_far(u64 gpa)
{
    struct machine *both[] = {&p.interp, &p.jit};

    for (unsigned n = 0; n < 2; n++) {
        machine_put_uint(both[n], MACHINE_PML4 + 0x2000 + (FAR_LINEAR >> 21) * 8, gpa | 0xe7, 8);
        tlb_flush_all(&both[n]->v->tlb);
    }
}

/* mov eax, target; jump or call there, directly or not; the same code at the same address, from
 * other memory the second time. */
START_TEST(code_behind_a_jump_is_remapped)
{
    const u8 calls[][7] = {{0xff, 0xd0}, {0xe8, 0xf6, 0xff, 0x9e, 0, 0xf4}};
    u8 code[12] = {0xb8, 0, 0, 0xa0, 0};
    const u8 one[] = {0xb3, 1, 0xc3}, two[] = {0xb3, 2, 0xc3}; /* mov bl, n; ret */

    memcpy(code + 5, calls[_i], 6);
    pair_put(&p, OTHER_CODE, one, sizeof(one));
    pair_put(&p, 2 * OTHER_CODE, two, sizeof(two));
    pair_code(&p, code, _i ? 10 : 7);
    for (unsigned n = 0; n < 6; n++) {
        map_far((n & 1 ? 2 : 1) * (u64)OTHER_CODE);
        pair_again(&p);
        run_to_end();
        ck_assert_uint_eq((u8)p.jit.v->gpr[RBX], n & 1 ? 2 : 1);
    }
}
END_TEST

START_TEST(code_behind_a_jump_goes_away)
{
    const u8 one[] = {0xb3, 1, 0xc3};

    pair_put(&p, OTHER_CODE, one, sizeof(one));
    map_far(OTHER_CODE);
    PAIR_CODE(&p, 0xb8, 0, 0, 0xa0, 0, 0xff, 0xd0);
    run_to_end();
    run_again();
    map_far(0);
    for (unsigned n = 0; n < 2; n++)
        machine_put_uint(n ? &p.jit : &p.interp, MACHINE_PML4 + 0x2000 + (FAR_LINEAR >> 21) * 8, 0,
                         8);
    pair_again(&p);
    run_to_end();
    ck_assert_int_eq(machine_vector(&p.jit), VEC_PF);
    ck_assert_uint_eq(p.jit.v->cr2, FAR_LINEAR);
}
END_TEST

/* -- modes -- */

/* The same code at CPL 0, at CPL 3 and in 32-bit mode: blocks of one do not serve another. */
START_TEST(blocks_belong_to_a_mode)
{
    static const enum machine_mode modes[] = {MACHINE_LONG,   MACHINE_USER64, MACHINE_COMPAT,
                                              MACHINE_PROT32, MACHINE_USER32, MACHINE_REAL,
                                              MACHINE_LONG,   MACHINE_PROT16};

    for (unsigned n = 0; n < ARRAY_SIZE(modes); n++) {
        pair_start(&p, modes[n]);
        /* 48h is DEC EAX outside 64-bit mode; PUSH and PUSHF have the mode's width */
        PAIR_CODE(&p, 0x48, 0x01, 0xc0, 0x50, 0x9c, 0x59, 0x8c, 0xcb);
        run_to_end();
    }
}
END_TEST

/* SYSCALL from CPL 3 and SYSRET back, in a loop. */
START_TEST(privileges_change_in_a_loop)
{
    struct machine *both[] = {&p.interp, &p.jit};
    /* mov ebx, 20; l: syscall; dec ebx; jnz l; then HLT, which is #GP at CPL 3 */
    const u8 user[] = {0xbb, 20, 0, 0, 0, 0x0f, 0x05, 0xff, 0xcb, 0x75, 0xfa};
    const u8 kernel[] = {0xff, 0xc0, 0x48, 0x0f, 0x07}; /* inc eax; sysretq */

    pair_start(&p, MACHINE_USER64);
    for (unsigned n = 0; n < 2; n++) {
        both[n]->v->star = (u64)0x33 << 48 | (u64)SEL_CODE64 << 32;
        both[n]->v->lstar = FAR_CODE;
    }
    pair_put(&p, FAR_CODE, kernel, sizeof(kernel));
    ck_assert_int_eq(pair_execute(&p, user, sizeof(user)), VEC_GP);
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 20);
}
END_TEST

/* -- faults: RIP, error code and address as pushed, and nothing changed before -- */

/* Vectors, x87 and all registers hold something when loads and stores miss the first level of the
 * TLB, which the second then refills, or (i = 1) a call of C code. */
START_TEST(refills_keep_every_register)
{
    static const u8 code[] = {
        0x0f, 0x10, 0x03,                               /* movups xmm0, [rbx] */
        0x0f, 0x28, 0xc8,                               /* movaps xmm1, xmm0 */
        0xd9, 0xe8,                                     /* fld1 */
        0x4d, 0x8b, 0x37,                               /* mov r14, [r15] */
        0x4d, 0x89, 0xb7, 0x00, 0x10, 0x00, 0x00,       /* mov [r15 + 1000h], r14 */
        0x4d, 0x03, 0x9f, 0x00, 0x20, 0x00, 0x00,       /* add r11, [r15 + 2000h] */
        0x0f, 0x58, 0xc1,                               /* addps xmm0, xmm1 */
        0x41, 0x0f, 0x11, 0x87, 0x00, 0x30, 0x00, 0x00, /* movups [r15 + 3000h], xmm0 */
        0xd8, 0xc0,                                     /* fadd st0 */
        0xdd, 0xd8,                                     /* fstp st0 */
        0x56, 0x5f,                                     /* push rsi; pop rdi */
    };
    const struct jit_options options = {.optimisations = JIT_ALL & ~(_i ? (u64)JIT_PROBE : 0),
                                        .counted = true};
    u64 misses;

    pair_destroy(&p);
    pair_create(&p, &options);
    pair_start(&p, MACHINE_LONG);
    PAIR_EXECUTE(&p, 0xdb, 0xe3); /* fninit */
    pair_again(&p);
    for (unsigned r = 0; r < 16; r++)
        if (r != RSP)
            pair_set(&p, r, 0x0101010101010101 * (r + 1));
    pair_set(&p, RBX, MACHINE_DATA);
    pair_set(&p, R15, MACHINE_DATA + 0x8000);
    ck_assert_int_eq(pair_execute(&p, code, sizeof(code)), -1);
    misses = pair_stats(&p).misses;
    ck_assert_uint_ge(misses, 5);
    for (unsigned n = 0; n < 3; n++) {
        tlb_switch(&p.jit.v->tlb);
        pair_again(&p);
        run_to_end();
    }
    ck_assert_uint_eq(pair_stats(&p).misses, misses + 3 * 6);
#ifndef __SANITIZE_THREAD__
    ck_assert_uint_eq(pair_stats(&p).probes >= 3 * 6, !_i);
    ck_assert_uint_eq(pair_stats(&p).probes == 0, _i);
#endif
}
END_TEST

START_TEST(faults_are_exact)
{
    static const struct {
        u8 code[10];
        u8 size, vector;
    } cases[] = {
        {{0xff, 0xc0, 0x49, 0x8b, 0x0f}, 5, VEC_PF}, /* inc eax; mov rcx, [r15] */
        {{0xff, 0xc0, 0x49, 0x89, 0x0f}, 5, VEC_PF}, /* mov [r15], rcx */
        {{0x41, 0x8f, 0x07}, 3, VEC_PF},             /* pop [r15] */
        {{0x49, 0x8b, 0x4f, 0xfc}, 4, VEC_PF},       /* across the edge */
        {{0x41, 0x83, 0x47, 0xfe, 1}, 5, VEC_PF},    /* add dword across it */
        {{0xf0, 0x49, 0x0f, 0xc1, 0x07}, 5, VEC_PF}, /* lock xadd [r15], rax */
        {{0x4c, 0x8b, 0x36}, 3, VEC_GP},             /* mov r14, [rsi], not canonical */
        {{0x31, 0xd2, 0xf7, 0xf2}, 4, VEC_DE},       /* div edx */
        {{0x0f, 0x0b}, 2, VEC_UD},                   /* ud2 */
        {{0x0f, 0x28, 0x43, 1}, 4, VEC_GP},          /* movaps xmm0, [rbx + 1] */
        {{0xff, 0xe6}, 2, VEC_GP},                   /* jmp rsi */
    };
    struct machine *both[] = {&p.interp, &p.jit};

    for (unsigned n = 0; n < 2; n++) {
        machine_put_uint(both[n], MACHINE_PML4 + 0x2000 + 6 * 8, 0, 8);
        tlb_flush_all(&both[n]->v->tlb);
    }
    pair_set(&p, R15, 0xc00000);
    pair_set(&p, RSI, BIT(62));
    pair_set(&p, RBX, MACHINE_DATA);
    pair_flags(&p, F_CF | F_AF | F_OF);
    for (unsigned n = 0; n < 3; n++) {
        pair_again(&p);
        ck_assert_int_eq(pair_execute(&p, cases[_i].code, cases[_i].size), cases[_i].vector);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run");
    TCase *c = tcase_create("run");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, every_budget_ends_where_it_says);
    tcase_add_test(c, a_store_into_the_next_instruction);
    tcase_add_test(c, a_store_into_the_block_itself);
    tcase_add_test(c, a_store_into_a_block_of_another_page);
    tcase_add_test(c, a_device_writes_code);
    tcase_add_test(c, data_beside_code);
    tcase_add_loop_test(c, code_behind_a_jump_is_remapped, 0, 2);
    tcase_add_test(c, code_behind_a_jump_goes_away);
    tcase_add_test(c, blocks_belong_to_a_mode);
    tcase_add_test(c, privileges_change_in_a_loop);
    tcase_add_loop_test(c, refills_keep_every_register, 0, 2);
    tcase_add_loop_test(c, faults_are_exact, 0, 11);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
