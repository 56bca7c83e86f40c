/* SPDX-License-Identifier: MIT
 *
 * Flags between instructions, blocks and engines: made, kept, made again, and read where they were
 * last set, however far away that was.
 */
#include "tests/jit/pair.h"
#include "tests/suite.h"

static struct pair p;

static void setup(void)
{
    pair_create(&p, &pair_counted);
}

static void teardown(void)
{
    pair_destroy(&p);
}

/* Runs code three times, so that blocks are linked, from each value of one register and flag. */
static void same_from(enum machine_mode mode, const u8 *code, size_t size)
{
    static const u64 values[] = {0, 1, 0x7fffffff, 0x80000000, ~0ull, BIT(63), 0x128, 5};

    pair_code(&p, code, size);
    for (unsigned n = 0; n < 3 * ARRAY_SIZE(values) * 2; n++) {
        pair_start(&p, mode);
        for (unsigned r = 0; r < 4; r++)
            pair_set(&p, r, values[(n + r) % ARRAY_SIZE(values)]);
        pair_flags(&p, n & 1 ? F_OSZAPC : 0);
        ck_assert_int_eq(pair_run(&p, PAIR_BUDGET), EXIT_IDLE);
    }
}
#define SAME_FROM(mode, ...)                                                                       \
    same_from(mode, (const u8[]){__VA_ARGS__}, sizeof((const u8[]){__VA_ARGS__}))

/* The stack pointer that the flags came from is moved by the call (sub rsp, 128h; call; pushf). */
START_TEST(flags_of_the_stack_pointer_live_through_a_call)
{
    SAME_FROM(MACHINE_PROT32, 0x81, 0xec, 0x28, 0x01, 0, 0, 0xe8, 1, 0, 0, 0, 0xf4, 0x9c, 0x58);
    SAME_FROM(MACHINE_LONG, 0x48, 0x81, 0xec, 0x28, 0x01, 0, 0, 0xe8, 1, 0, 0, 0, 0xf4, 0x9c, 0x58);
}
END_TEST

/* So is RCX by LOOP (cmp ecx, 5; loop; pushf). */
START_TEST(flags_of_the_counter_live_through_loop)
{
    SAME_FROM(MACHINE_LONG, 0xb9, 4, 0, 0, 0, 0x83, 0xf9, 5, 0xe2, 1, 0xf4, 0x9c, 0x58);
    SAME_FROM(MACHINE_LONG, 0xb9, 4, 0, 0, 0, 0x83, 0xf9, 5, 0xe1, 1, 0xf4, 0x9c, 0x58);
    SAME_FROM(MACHINE_PROT32, 0xb9, 4, 0, 0, 0, 0x83, 0xf9, 5, 0xe0, 0, 0x9c, 0x58);
}
END_TEST

/* INC and DEC leave CF, a shift by CL = 0 leaves all, BT changes CF alone. */
START_TEST(partial_writers_keep_the_others)
{
    SAME_FROM(MACHINE_LONG, 0xff, 0xc0, 0x9c, 0x5b, 0xff, 0xc9, 0x9c, 0x5a); /* inc, dec */
    SAME_FROM(MACHINE_LONG, 0x39, 0xd8, 0xd3, 0xe2, 0x9c, 0x5b);             /* cmp, shl edx, cl */
    SAME_FROM(MACHINE_LONG, 0x39, 0xd8, 0x0f, 0xba, 0xe2, 3, 0x9c, 0x5b);    /* cmp, bt edx, 3 */
    SAME_FROM(MACHINE_LONG, 0x39, 0xd8, 0xc1, 0xe2, 0, 0x9c, 0x5b);          /* shl edx, 0 */
    SAME_FROM(MACHINE_LONG, 0x39, 0xd8, 0xf9, 0x9c, 0x5b, 0xf5, 0x9c, 0x5b); /* stc, cmc */
}
END_TEST

/* cmp; a load and a store; jcc, setcc, cmovcc, adc. */
START_TEST(flags_live_over_memory_accesses)
{
    for (unsigned cc = 0; cc < 16; cc++) {
        const u8 code[] = {0x39,
                           0xd8,
                           0x8b,
                           0x0c,
                           0x25,
                           0,
                           0,
                           4,
                           0,
                           0x89,
                           0x0c,
                           0x25,
                           8,
                           0,
                           4,
                           0,
                           (u8)(0x70 | cc),
                           2,
                           0xff,
                           0xc6,
                           0x0f,
                           (u8)(0x90 | cc),
                           0xc2,
                           0x0f,
                           (u8)(0x40 | cc),
                           0xf8,
                           0x83,
                           0xd7,
                           0,
                           0x9c,
                           0x41,
                           0x59};

        same_from(MACHINE_LONG, code, sizeof(code));
    }
}
END_TEST

/* What sets flags is in one block, what reads them in another: backwards, forwards, through a
 * register, behind a return. */
START_TEST(flags_live_between_blocks)
{
    /* mov esi, 3; l: dec esi; jnz l; pushf; pop */
    SAME_FROM(MACHINE_LONG, 0xbe, 3, 0, 0, 0, 0xff, 0xce, 0x75, 0xfc, 0x9c, 0x5b);
    /* lea rdi, [rip + 5]; cmp eax, ebx; jmp rdi; ud2; pushf; pop */
    SAME_FROM(MACHINE_LONG, 0x48, 0x8d, 0x3d, 6, 0, 0, 0, 0x39, 0xd8, 0xff, 0xe7, 0x0f, 0x0b, 0x9c,
              0x5b);
    /* call f; pushf; pop; hlt; f: cmp eax, ebx; ret */
    SAME_FROM(MACHINE_LONG, 0xe8, 3, 0, 0, 0, 0x9c, 0x5b, 0xf4, 0x39, 0xd8, 0xc3);
}
END_TEST

/* LAHF and SAHF, PUSHF and POPF are the guest's own. */
START_TEST(flags_through_ah_and_the_stack)
{
    SAME_FROM(MACHINE_LONG, 0x9e, 0x9f, 0x9c, 0x5b, 0x0f, 0x90, 0xc2);
    SAME_FROM(MACHINE_LONG, 0x9c, 0x83, 0x34, 0x24, 0x41, 0x9d, 0x9c, 0x5b); /* xor [rsp], 41h */
}
END_TEST

/* A fault behind a compare: its flags are in the frame (cmp eax, ebx; mov ecx, [r15], absent). */
START_TEST(flags_are_exact_at_a_fault)
{
    for (unsigned n = 0; n < 8; n++) {
        pair_start(&p, MACHINE_LONG);
        machine_put_uint(&p.interp, MACHINE_PML4 + 0x2000 + 6 * 8, 0, 8);
        machine_put_uint(&p.jit, MACHINE_PML4 + 0x2000 + 6 * 8, 0, 8);
        pair_set(&p, RAX, n * 0x1fffffff);
        pair_set(&p, RBX, 0x80000000 - n);
        pair_set(&p, R15, 0xc00000);
        ck_assert_int_eq(PAIR_EXECUTE(&p, 0x39, 0xd8, 0x41, 0x8b, 0x0f), VEC_PF);
        ck_assert_uint_eq(p.jit.v->cr2, 0xc00000);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("flags");
    TCase *c = tcase_create("flags");

    tcase_add_checked_fixture(c, setup, teardown);
    tcase_add_test(c, flags_of_the_stack_pointer_live_through_a_call);
    tcase_add_test(c, flags_of_the_counter_live_through_loop);
    tcase_add_test(c, partial_writers_keep_the_others);
    tcase_add_test(c, flags_live_over_memory_accesses);
    tcase_add_test(c, flags_live_between_blocks);
    tcase_add_test(c, flags_through_ah_and_the_stack);
    tcase_add_test(c, flags_are_exact_at_a_fault);
    suite_add_tcase(suite, c);
    return suite_run(suite);
}
