/* SPDX-License-Identifier: MIT
 *
 * Blocks that jump back to their start, which are made twice: what the second copy takes for
 * granted must hold in each turn, for each way into it and out of it.
 */
#include "tests/jit/pair.h"
#include "tests/suite.h"

enum { DATA = 0x40000, TURNS = 100 };

static struct pair p;

static void setup(void)
{
    pair_create(&p, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&p);
}

/* From DATA in RBX and RDI, to the HLT; in slices of a few instructions, too, so that the loop is
 * left and entered in each of its places. */
static void same_loop(enum machine_mode mode, const u8 *code, size_t size)
{
    static const u64 slices[] = {PAIR_BUDGET, 1, 7, 64};

    pair_code(&p, code, size);
    for (unsigned n = 0; n < ARRAY_SIZE(slices); n++) {
        enum vcpu_exit why;

        pair_start(&p, mode);
        pair_set(&p, RBX, DATA);
        pair_set(&p, RDI, DATA);
        pair_set(&p, RCX, TURNS);
        pair_set(&p, RDX, 0x123456789abcdef0);
        pair_flags(&p, F_OSZAPC);
        do {
            why = pair_run(&p, slices[n]);
            ck_assert_str_eq(pair_difference(&p), "");
        } while (why == EXIT_BUDGET);
        ck_assert_int_eq(why, EXIT_IDLE);
    }
}
#define SAME_LOOP(mode, ...)                                                                       \
    same_loop(mode, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* add [rdi], edx; add rdi, 127; sub ecx, 1; jnz: across page borders. */
START_TEST(walks_through_pages)
{
    SAME_LOOP(MACHINE_LONG, 0x01, 0x17, 0x48, 0x83, 0xc7, 127, 0x83, 0xe9, 1, 0x75, 0xf5, 0x9c,
              0x58);
    SAME_LOOP(MACHINE_PROT32, 0x01, 0x17, 0x83, 0xc7, 127, 0x83, 0xe9, 1, 0x75, 0xf6, 0x9c, 0x58);
}
END_TEST

/* mov eax, [rsp - 8]; add [rbx + 8], eax; mov rdx, [rbx]; sub ecx, 1; jnz. The places do not move.
 */
START_TEST(uses_what_the_first_turn_checked)
{
    SAME_LOOP(MACHINE_LONG, 0x8b, 0x44, 0x24, 0xf8, 0x01, 0x43, 8, 0x48, 0x8b, 0x13, 0x83, 0xe9, 1,
              0x75, 0xf1, 0x9c, 0x58);
}
END_TEST

/* The base register is written in the loop, behind its use: mov eax, [rbx]; add rbx, 4 / mov ebx,
 * 40000h + ecx. */
START_TEST(a_base_that_changes_is_checked_again)
{
    SAME_LOOP(MACHINE_LONG, 0x03, 0x03, 0x89, 0x4b, 8, 0x8d, 0x99, 0, 0, 4, 0, 0x83, 0xe9, 1, 0x75,
              0xf0, 0x9c, 0x5a);
}
END_TEST

/* Flags that have no recipe (inc: CF lives on), and a jump in the middle that goes on, too: adc
 * eax, edx; inc rdi; cmp cl, 3; je start + sub; dec ecx; jnz. */
START_TEST(flags_live_round_the_loop)
{
    SAME_LOOP(MACHINE_LONG, 0x11, 0xd0, 0x48, 0xff, 0xc7, 0xff, 0xc9, 0x75, 0xf7, 0x9c, 0x58);
    SAME_LOOP(MACHINE_LONG, 0x83, 0xd0, 7, 0x80, 0x37, 1, 0xff, 0xc9, 0x75, 0xf6, 0x9c, 0x58);
    SAME_LOOP(MACHINE_LONG, 0x83, 0xd0, 7, 0xff, 0xc9, 0xf6, 0xc1, 1, 0x75, 0xf6, 0x85, 0xc9, 0x75,
              0xf2, 0x9c, 0x58);
    /* LOOP: flags of before */
    SAME_LOOP(MACHINE_LONG, 0x11, 0xd0, 0xe2, 0xfc, 0x9c, 0x58);
    /* JMP back, out by a jump forward: dec ecx; jz; add [rdi], ecx; jmp */
    SAME_LOOP(MACHINE_LONG, 0xff, 0xc9, 0x74, 4, 0x01, 0x0f, 0xeb, 0xf8, 0x9c, 0x58);
}
END_TEST

/* The loop runs into a page that is not there: state and flags are those of the turn. */
START_TEST(faults_in_a_later_turn)
{
    /* cmp ecx, edx; mov [rdi], al; lea rdi, [rdi + 40h]; jmp back */
    static const u8 code[] = {0x39, 0xd1, 0x88, 0x07, 0x48, 0x8d, 0x7f, 0x40, 0xeb, 0xf6};

    pair_code(&p, code, sizeof(code));
    pair_start(&p, MACHINE_LONG);
    machine_put_uint(&p.interp, MACHINE_PML4 + 0x2000 + 8, 0, 8); /* 200000h to 3fffffh */
    machine_put_uint(&p.jit, MACHINE_PML4 + 0x2000 + 8, 0, 8);
    pair_set(&p, RDI, 0x1fe000);
    pair_set(&p, RCX, 5);
    pair_set(&p, RDX, 9);
    pair_run(&p, PAIR_BUDGET);
    ck_assert_str_eq(pair_difference(&p), "");
}
END_TEST

/* LOOP writes rCX, which flags and addresses of the next turn may not take for what it was: or ecx,
 * 0; loop; then mov al, [rcx]; loop down into a page that is not there. */
START_TEST(loop_changes_its_counter)
{
    static const u8 code[] = {0x8a, 0x01, 0xe2, 0xfc};
    const u64 absent = MACHINE_PML4 + 0x2000 + 8; /* 200000h to 3fffffh */

    SAME_LOOP(MACHINE_LONG, 0x83, 0xc9, 0x00, 0xe2, 0xfb, 0x9c, 0x58);
    pair_code(&p, code, sizeof(code));
    pair_start(&p, MACHINE_LONG);
    machine_put_uint(&p.interp, absent, 0, 8);
    machine_put_uint(&p.jit, absent, 0, 8);
    pair_set(&p, RCX, 0x400010);
    ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
    ck_assert_str_eq(pair_difference(&p), "");
    ck_assert_int_eq(machine_vector(&p.jit), VEC_PF);
}
END_TEST

/* Vectors are loaded once: paddd xmm1, [rbx]; movdqu [rdi], xmm1; add rdi, 16; sub ecx, 1; jnz. */
START_TEST(vectors_stay)
{
    SAME_LOOP(MACHINE_LONG, 0x66, 0x0f, 0xfe, 0x0b, 0xf3, 0x0f, 0x7f, 0x0f, 0x48, 0x83, 0xc7, 16,
              0x83, 0xe9, 1, 0x75, 0xef);
}
END_TEST

/* The loop writes into its own code in turn 100: the turn after that sees it (the immediate of add
 * eax). */
START_TEST(writes_itself)
{
    SAME_LOOP(MACHINE_LONG, 0x83, 0xc0, 1, /* add eax, 1 */
              0x83, 0xf9, 100,             /* cmp ecx, 100 */
              0x48, 0x8d, 0x35, 0xf4, 0xff, 0xff,
              0xff,                   /* lea rsi, [rip - 12]: the immediate's + 1 */
              0x48, 0x0f, 0x45, 0xf7, /* cmovne rsi, rdi */
              0xc6, 0x46, 0, 3,       /* mov byte [rsi], 3 */
              0x83, 0xe9, 1, 0x75, 0xe6);
}
END_TEST

/* A signal from elsewhere ends a loop that never would. */
START_TEST(looks_at_events)
{
    static const u8 forever[] = {0x83, 0xc0, 1, 0xeb, 0xfb};
    const struct jit_options real = {.optimisations = JIT_ALL};
    struct error err = {""};

    jit_destroy(p.jit.v);
    ck_assert_int_eq(jit_create(p.jit.v, &real, &err), ST_OK);
    machine_code(&p.jit, forever, sizeof(forever));
    machine_start(&p.jit, MACHINE_LONG);
    vcpu_signal(p.jit.v, EVENT_STOP);
    ck_assert_int_eq(jit_run(p.jit.v, PAIR_BUDGET), EXIT_STOP);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("self_loop");
    TCase *t = tcase_create("loops");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, walks_through_pages);
    tcase_add_test(t, uses_what_the_first_turn_checked);
    tcase_add_test(t, a_base_that_changes_is_checked_again);
    tcase_add_test(t, flags_live_round_the_loop);
    tcase_add_test(t, faults_in_a_later_turn);
    tcase_add_test(t, loop_changes_its_counter);
    tcase_add_test(t, vectors_stay);
    tcase_add_test(t, writes_itself);
    tcase_add_test(t, looks_at_events);
    suite_add_tcase(s, t);
    return suite_run(s);
}
