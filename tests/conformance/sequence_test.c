/* SPDX-License-Identifier: MIT
 *
 * Random sequences: the same seed gives the same one, all of them end, most run to their last
 * instruction, and they have the structures they are meant to have.
 */
#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/insn.h"
#include "cpu/regs.h"
#include "frontend/conform/engine.h"
#include "frontend/conform/generate.h"
#include "frontend/conform/engine_image.h"
#include "frontend/conform/native.h"
#include "tests/cpu/host_model.h"

enum { LENGTH = 60, COUNT = 400, LIMIT = 100000 };

static struct generator *generator;
static struct cpu_model model;
static struct conform_case one, two;
static struct conform_outcome outcome, judged;

static void open_generator(void)
{
    struct error err;

    host_model(&model);
    ck_assert_int_eq(generator_create(&generator, &model, image_host_xcr0(), &err), ST_OK);
}

static void close_generator(void)
{
    generator_destroy(generator);
}

START_TEST(the_same_seed_gives_the_same_sequence)
{
    memset(&one, 0x55, sizeof(one));
    memset(&two, 0xaa, sizeof(two));
    for (unsigned mode = 0; mode < CONFORM_MODES; mode++) {
        generate_sequence(generator, (enum conform_mode)mode, LENGTH, 7, &one);
        generate_sequence(generator, (enum conform_mode)mode, LENGTH, 7, &two);
        ck_assert_uint_eq(one.row, INSN_INVALID);
        ck_assert_uint_eq(one.insn_length, 0);
        ck_assert_uint_eq(one.code_size, two.code_size);
        ck_assert_uint_eq(one.code_address, two.code_address);
        ck_assert_mem_eq(one.code, two.code, one.code_size);
        ck_assert_mem_eq(&one.in, &two.in, offsetof(struct conform_state, selector));
        ck_assert_mem_eq(one.in.zmm, two.in.zmm, sizeof(one.in.zmm));
        generate_sequence(generator, (enum conform_mode)mode, LENGTH, 8, &two);
        ck_assert(one.code_size != two.code_size || memcmp(one.code, two.code, one.code_size));
    }
}
END_TEST

/* Any length fits: code stays in its array and in the code pages. */
START_TEST(long_sequences_fit)
{
    for (u64 seed = 0; seed < 200; seed++)
        for (unsigned mode = 0; mode < CONFORM_MODES; mode++) {
            generate_sequence(generator, (enum conform_mode)mode, 5000, seed, &one);
            ck_assert_uint_le(one.code_size, CASE_CODE_MAX);
            ck_assert_uint_gt(one.code_size, CASE_CODE_MAX / 2);
            ck_assert_uint_ge(one.code_address, ARENA_CODE);
            ck_assert_uint_le(one.code_address + one.code_size, ARENA_CODE + ARENA_CODE_SIZE);
        }
}
END_TEST

/* Counts rows of branches in the order of the bytes. */
START_TEST(sequences_have_structure)
{
    static unsigned seen[INSN_COUNT];
    unsigned back = 0;
    struct decode_ctx ctx = {.model = &model, .code_size = 8, .protected_mode = true};
    struct insn i;

    for (u64 seed = 0; seed < COUNT; seed++) {
        generate_sequence(generator, MODE_64, LENGTH, seed, &one);
        for (unsigned at = 0; at < one.code_size; at += i.len) {
            if (insn_decode(&ctx, one.code + at, one.code_size - at, &i) != DECODE_OK)
                break;
            seen[i.id]++;
            back += i.id == INSN_JNZ_Jz && i.imm < 0;
        }
    }
    ck_assert_uint_gt(back, COUNT);
    ck_assert_uint_gt(seen[INSN_CALL_Jz], COUNT / 2);
    ck_assert_uint_gt(seen[INSN_RET], COUNT / 2);
    ck_assert_uint_gt(seen[INSN_CALL_Ev] + seen[INSN_JMP_Ev], COUNT / 2);
    ck_assert_uint_gt(seen[INSN_PUSHF], COUNT / 20);
    ck_assert_uint_gt(seen[INSN_MOVSb] + seen[INSN_SCASv] + seen[INSN_STOSv], COUNT / 20);
    ck_assert_uint_gt(seen[INSN_UD2], 5);
    ck_assert_uint_gt(seen[INSN_MOV_EvIz], COUNT / 2); /* stores into the code, mostly */
    ck_assert_uint_gt(seen[INSN_SETZ_Eb] + seen[INSN_CMOVZ_GvEv], COUNT / 20);
}
END_TEST

/* Whether the case ran over its last byte. */
static bool ran_to_its_end(const struct conform_case *c, const struct conform_outcome *o)
{
    return o->vector == VEC_BP && o->out.rip >= c->in.rip + c->code_size;
}

START_TEST(sequences_end_in_the_engine_as_on_the_host)
{
    struct engine *engine;
    struct native_host *host;
    struct error err;
    unsigned ended = 0, edges = 0;

    ck_assert_msg(engine_create(&engine, CONFORM_INTERP, "", &err) == ST_OK, "%s", err.text);
    ck_assert_msg(native_host_create(&host, 1, &err) == ST_OK, "%s", err.text);
    for (u64 seed = 0; seed < COUNT; seed++) {
        unsigned mode = seed % CONFORM_MODES, registers = mode == MODE_64 ? 16 : 4;

        generate_sequence(generator, (enum conform_mode)mode, LENGTH, seed, &one);
        engine_run(engine, &one, LIMIT, &outcome);
        ck_assert_msg(outcome.vector < 32, "mode %u, seed %lu", mode, (unsigned long)seed);
        ck_assert_int_eq(native_host_run(host, &one, &judged, 1, &err), ST_OK);
        ck_assert_uint_eq(judged.vector, outcome.vector);
        ck_assert_uint_eq(judged.out.rip, outcome.out.rip);
        for (unsigned n = 0; n < registers; n++)
            ck_assert_uint_eq((u32)judged.out.gpr[n], (u32)outcome.out.gpr[n]);
        ended += ran_to_its_end(&one, &outcome);
        edges += outcome.vector == VEC_PF;
    }
    printf("%u of %u sequences run to their end, %u to a page fault\n", ended, COUNT, edges);
    ck_assert_uint_gt(ended, COUNT / 2);
    ck_assert_uint_gt(edges, COUNT / 50); /* pointers and stacks near the end of their pages */
    ck_assert_uint_lt(ended, COUNT);
    native_host_destroy(host);
    engine_destroy(engine);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance/sequence");
    TCase *t = tcase_create("sequence");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 100);
    tcase_add_unchecked_fixture(t, open_generator, close_generator);
    tcase_add_test(t, the_same_seed_gives_the_same_sequence);
    tcase_add_test(t, long_sequences_fit);
    tcase_add_test(t, sequences_have_structure);
    tcase_add_test(t, sequences_end_in_the_engine_as_on_the_host);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
