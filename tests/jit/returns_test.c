/* SPDX-License-Identifier: MIT
 *
 * Calls and returns that are the host's (jit/returns.c), and what guests do that makes the pairs
 * wrong: deep and endless recursion, returns without calls, frames thrown away, other addresses,
 * other modes, code and mappings that change in between. Each against the interpreter.
 */
#include <pthread.h>
#include <unistd.h>

#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { FAR_LINEAR = 0xa00000, FAR_PDE = MACHINE_PML4 + 0x2028, HIGH_STACK = 0xf0000 };

static struct pair p;

static const struct jit_options variants[] = {
    {.optimisations = JIT_ALL, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .eager = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_RETURNS, .counted = true},
    {.optimisations = JIT_ALL & ~(u64)JIT_STAY, .counted = true},
    {.optimisations = JIT_ALL, .counted = true, .check = true},
};

static void begin(int variant)
{
    pair_create(&p, &variants[variant]);
    pair_start(&p, MACHINE_LONG);
}

static void end(void)
{
    pair_destroy(&p);
}

/* Runs what is there from its start several times, and in pieces. */
static void run_twice(unsigned rcx)
{
    pair_set(&p, RCX, rcx);
    ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
    pair_again(&p);
    pair_set(&p, RCX, rcx);
    while (pair_run(&p, 97) == EXIT_BUDGET)
        ;
}

/* call f; hlt; f: dec ecx; jz e; call f; e: add eax, 1; ret. The return stack is full again and
 * again. */
START_TEST(recursion_deeper_than_the_return_stack)
{
    static const u8 code[] = {0xe8, 0x01, 0,    0,    0,    0xf4, 0xff, 0xc9, 0x74, 0x05,
                              0xe8, 0xf7, 0xff, 0xff, 0xff, 0x83, 0xc0, 0x01, 0xc3};

    begin(_i);
    pair_code(&p, code, sizeof(code));
    for (unsigned n = 0; n < 3; n++) {
        pair_again(&p);
        pair_set(&p, RAX, 0);
        pair_set(&p, RSP, HIGH_STACK);
        pair_set(&p, RCX, 20000);
        ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
        ck_assert_uint_eq(p.jit.v->gpr[RAX], 20000);
    }
    end();
}
END_TEST

/* lea rdx, last; push rdx; lea rdx, t; l: push rdx; dec ecx; jnz l; ret; t: inc eax; ret; last: hlt
 */
START_TEST(returns_without_calls)
{
    begin(_i);
    PAIR_CODE(&p, 0x48, 0x8d, 0x15, 0x11, 0, 0, 0, 0x52, 0x48, 0x8d, 0x15, 0x06, 0, 0, 0, 0x52,
              0xff, 0xc9, 0x75, 0xfb, 0xc3, 0xff, 0xc0, 0xc3);
    run_twice(300);
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 600);
    end();
}
END_TEST

/* l: call f; inc edx; dec ecx; jnz l; hlt; f: mov rbp, rsp; call g; ud2; g: call h; ud2;
 * h: mov rsp, rbp; inc eax; ret. As longjmp() does; two entries are left over each time. */
START_TEST(frames_thrown_away)
{
    begin(_i);
    PAIR_CODE(&p, 0xe8, 0x07, 0, 0, 0, 0xff, 0xc2, 0xff, 0xc9, 0x75, 0xf5, 0xf4, 0x48, 0x89, 0xe5,
              0xe8, 0x02, 0, 0, 0, 0x0f, 0x0b, 0xe8, 0x02, 0, 0, 0, 0x0f, 0x0b, 0x48, 0x89, 0xec,
              0xff, 0xc0, 0xc3);
    run_twice(10000);
    ck_assert_uint_eq(p.jit.v->gpr[RDX], 20000);
    end();
}
END_TEST

/* l: call f; hlt; inc eax; dec ecx; jnz l; lea rbx, f; call rbx; hlt; hlt; f: inc qword [rsp]; ret
 */
START_TEST(returns_behind_the_next_instruction)
{
    begin(_i);
    PAIR_CODE(&p, 0xe8, 0x12, 0, 0, 0, 0xf4, 0xff, 0xc0, 0xff, 0xc9, 0x75, 0xf4, 0x48, 0x8d, 0x1d,
              0x04, 0, 0, 0, 0xff, 0xd3, 0xf4, 0xf4, 0x48, 0xff, 0x04, 0x24, 0xc3);
    run_twice(50);
    ck_assert_uint_eq(p.jit.v->gpr[RAX], 100);
    end();
}
END_TEST

/* l: call f; xorps xmm0, xmm0; jmp l; f: dec ecx; jnz r; mov rax, cr0; or rax, CR0.TS; mov cr0,
 * rax; r: ret. The last return is to code of another mode, which must raise #NM. */
START_TEST(returns_in_another_mode)
{
    begin(_i);
    ck_assert_int_eq(
        (pair_set(&p, RCX, 20),
         PAIR_EXECUTE(&p, 0xe8, 0x05, 0, 0, 0, 0x0f, 0x57, 0xc0, 0xeb, 0xf6, 0xff, 0xc9, 0x75, 0x0a,
                      0x0f, 0x20, 0xc0, 0x48, 0x83, 0xc8, 0x08, 0x0f, 0x22, 0xc0, 0xc3)),
        VEC_NM);
    end();
}
END_TEST

/* l: call f; mov eax, 1; add edx, eax; dec ecx; jnz l; hlt; f: mov [l + 6], cl; ret: the
 * instruction behind the call changes before the return. */
START_TEST(code_behind_the_call_changes)
{
    begin(_i);
    PAIR_CODE(&p, 0xe8, 0x0c, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x01, 0xc2, 0xff, 0xc9, 0x75, 0xf0, 0xf4,
              0x88, 0x0d, 0xef, 0xff, 0xff, 0xff, 0xc3);
    run_twice(20);
    ck_assert_uint_eq(p.jit.v->gpr[RDX], 20 * 21);
    end();
}
END_TEST

/* l: call f; dec ecx; jmp l; f: cmp ecx, 0; jne r; mov byte [rsp + 7], 40h; r: ret 8. #GP is the
 * RET's, which changes nothing (SDM 2B RET). */
START_TEST(returns_to_a_non_canonical_address)
{
    begin(_i);
    pair_set(&p, RCX, 20);
    ck_assert_int_eq(PAIR_EXECUTE(&p, 0xe8, 0x04, 0, 0, 0, 0xff, 0xc9, 0xeb, 0xf7, 0x83, 0xf9, 0,
                                  0x75, 0x05, 0xc6, 0x44, 0x24, 0x07, 0x40, 0xc2, 0x08, 0),
                     VEC_GP);
    end();
}
END_TEST

/* l: call far; add edx, eax; dec ecx; jnz l; hlt. */
static const u8 calls_far[] = {0xe8, 0xfb, 0xff, 0x9e, 0, 0x01, 0xc2, 0xff, 0xc9, 0x75, 0xf5, 0xf4};

/* At MACHINE_CODE + 40h: g: cmp ecx, 1; jne r; mov [FAR_PDE], rsi; mov ebx, FAR_LINEAR;
 * invlpg [rbx]; r: ret. */
static const u8 remaps[] = {0x83, 0xf9, 0x01, 0x75, 0x10, 0x48, 0x89, 0x34, 0x25, 0x28, 0x60,
                            0,    0,    0xbb, 0,    0,    0xa0, 0,    0x0f, 0x01, 0x3b, 0xc3};

/* In two pages that are mapped at FAR_LINEAR in turn: call g; mov eax, n; ret. The last call of g
 * returns to the other one. */
START_TEST(the_caller_is_mapped_elsewhere)
{
    u8 far[] = {0xe8, 0x3b, 0, 0x61, 0xff, 0xb8, 1, 0, 0, 0, 0xc3};

    begin(_i);
    pair_code(&p, calls_far, sizeof(calls_far));
    pair_put(&p, MACHINE_CODE + 0x40, remaps, sizeof(remaps));
    pair_put(&p, 0x400000, far, sizeof(far));
    far[6] = 2;
    pair_put(&p, 0x600000, far, sizeof(far));
    for (unsigned n = 0; n < 3; n++) {
        u64 pde = 0x4000e7;

        pair_put(&p, FAR_PDE, &pde, sizeof(pde));
        tlb_flush_all(&p.interp.v->tlb);
        tlb_flush_all(&p.jit.v->tlb);
        pair_again(&p);
        pair_set(&p, RDX, 0);
        pair_set(&p, RSI, 0x6000e7);
        pair_set(&p, RCX, 20);
        ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
        ck_assert_uint_eq(p.jit.v->gpr[RDX], 21);
    }
    end();
}
END_TEST

/* Much code in a small cache, so that regions with return addresses are evicted: 3000 functions
 * call each other: call next; add eax, n; ret. */
START_TEST(callers_are_evicted)
{
    static const struct jit_options small = {
        .optimisations = JIT_ALL, .counted = true, .cache_size = JIT_CACHE_MIN};
    enum { COUNT = 3000, SIZE = 16 };
    u64 at = MACHINE_DATA, sum = 0;

    pair_create(&p, &small);
    pair_start(&p, MACHINE_LONG);
    pair_set(&p, RSP, HIGH_STACK);
    for (u32 n = 0; n < COUNT; n++, at += SIZE) {
        u8 f[SIZE] = {0xe8, SIZE - 5, 0, 0, 0, 0x05, (u8)n, (u8)(n >> 8), 0, 0, 0xc3};

        pair_put(&p, at, f, sizeof(f));
        sum += n;
    }
    pair_put(&p, at, "\xc3", 1);
    for (unsigned n = 1; n < 4; n++) {
        pair_again(&p);
        ck_assert_int_eq((PAIR_CODE(&p, 0xe8, 0xfb, 0xff, 0x02, 0), pair_run(&p, PAIR_BUDGET)),
                         EXIT_IDLE);
        ck_assert_uint_eq(p.jit.v->gpr[RAX], n * sum);
    }
    ck_assert_uint_gt(pair_stats(&p).evictions, 1);
    pair_destroy(&p);
}
END_TEST

/* l: mov eax, [rbx]; call r; dec ecx; jnz l; hlt; r: ret, at CPL 3, where the load misses and then
 * faults. Its handler at CPL 0, on another return stack: add rsp, 8; add qword [rsp], 2; call f;
 * iretq; f: call r; r: ret. */
START_TEST(a_miss_that_faults_in_another_mode)
{
    static const u8 handler[] = {0x48, 0x83, 0xc4, 0x08, 0x48, 0x83, 0x04, 0x24, 0x02, 0xe8, 0x02,
                                 0,    0,    0,    0x48, 0xcf, 0xe8, 0,    0,    0,    0,    0xc3};
    enum { HANDLER = MACHINE_CODE + 0x100 };

    pair_create(&p, &variants[_i]);
    pair_start(&p, MACHINE_USER64);
    machine_gate(&p.interp, true, VEC_PF, SEL_CODE64, HANDLER, SYS_INT_GATE, 0, 0);
    machine_gate(&p.jit, true, VEC_PF, SEL_CODE64, HANDLER, SYS_INT_GATE, 0, 0);
    pair_put(&p, HANDLER, handler, sizeof(handler));
    pair_code(&p, "\x8b\x03\xe8\x05\0\0\0\xff\xc9\x75\xf5\xf4\xc3", 13);
    pair_set(&p, RBX, 1ull << 45); /* not present */
    pair_set(&p, RCX, 200);
    ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_uint_eq(p.jit.v->gpr[RCX], 0);
    /* Nothing has been taken from the handler's stack that it did not have. */
    ck_assert_uint_le(p.jit.v->jit.return_sp, p.jit.v->jit.return_top);
    end();
}
END_TEST

/* -- events -- */

static void *stop_soon(void *v)
{
    usleep(20000);
    vcpu_signal(v, EVENT_STOP);
    return NULL;
}

/* Translated code alone, in real time, until another thread stops it. */
static void run_until_stopped(void)
{
    pthread_t thread;

    ck_assert_int_eq(pthread_create(&thread, NULL, stop_soon, p.jit.v), 0);
    ck_assert_int_eq(jit_run(p.jit.v, 0), EXIT_STOP);
    pthread_join(thread, NULL);
}

static const struct jit_options real = {.optimisations = JIT_ALL};

/* pop rsp; ret, with a stack that leads back to it: nothing but returns. */
START_TEST(endless_returns_are_stopped)
{
    const u64 stack[] = {MACHINE_DATA + 8, MACHINE_CODE, MACHINE_DATA + 8};

    pair_create(&p, &real);
    pair_start(&p, MACHINE_LONG);
    PAIR_CODE(&p, 0x5c, 0xc3);
    pair_put(&p, MACHINE_DATA, stack, sizeof(stack));
    pair_set(&p, RSP, MACHINE_DATA);
    run_until_stopped();
    pair_destroy(&p);
}
END_TEST

/* f: call next; call next; ret; 44 of them: years of calls and returns without a jump. */
START_TEST(calls_forward_are_stopped)
{
    static const u8 f[] = {0xe8, 6, 0, 0, 0, 0xe8, 1, 0, 0, 0, 0xc3};

    pair_create(&p, &real);
    pair_start(&p, MACHINE_LONG);
    for (unsigned n = 0; n < 44; n++)
        pair_put(&p, MACHINE_CODE + n * sizeof(f), f, sizeof(f));
    pair_put(&p, MACHINE_CODE + 44 * sizeof(f), "\xc3", 1);
    run_until_stopped();
    pair_destroy(&p);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("returns");
    TCase *tc = tcase_create("pairs"), *events = tcase_create("events");
    const int count = ARRAY_SIZE(variants);

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, recursion_deeper_than_the_return_stack, 0, count);
    tcase_add_loop_test(tc, returns_without_calls, 0, count);
    tcase_add_loop_test(tc, frames_thrown_away, 0, count);
    tcase_add_loop_test(tc, returns_behind_the_next_instruction, 0, count);
    tcase_add_loop_test(tc, returns_in_another_mode, 0, count);
    tcase_add_loop_test(tc, code_behind_the_call_changes, 0, count);
    tcase_add_loop_test(tc, returns_to_a_non_canonical_address, 0, count);
    tcase_add_loop_test(tc, the_caller_is_mapped_elsewhere, 0, count);
    tcase_add_loop_test(tc, a_miss_that_faults_in_another_mode, 0, count);
    tcase_add_test(tc, callers_are_evicted);
    suite_add_tcase(s, tc);
    tcase_add_test(events, endless_returns_are_stopped);
    tcase_add_test(events, calls_forward_are_stopped);
    suite_add_tcase(s, events);
    return suite_run(s);
}
