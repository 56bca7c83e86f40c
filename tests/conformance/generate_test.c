/* SPDX-License-Identifier: MIT
 *
 * The generator of cases: every row has forms or a reason, every encoding decodes to its row, the
 * same seed gives the same case, patches and code stay in the arena.
 */
#include "frontend/conform/generate.h"

#include <check.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cpu/insn.h"
#include "cpu/regs.h"
#include "frontend/conform/engine_image.h"
#include "frontend/conform/native.h"
#include "tests/cpu/host_model.h"

enum { BATCH = 128 };

static struct generator *generator;
static struct cpu_model model;

/* XCR0 of hosts. */
enum {
    SSE_ONLY = XCR0_X87 | XCR0_SSE,
    UP_TO_AVX = SSE_ONLY | XCR0_AVX,
    UP_TO_AVX512 = UP_TO_AVX | XCR0_AVX512 | XCR0_PKRU,
};

/* All features: every row must have forms, whatever the host lacks. */
static void everything(struct cpu_model *m)
{
    *m = (struct cpu_model){.vendor = "AuthenticAMD", .xcr0_supported = UP_TO_AVX512};
    for (unsigned n = 0; n < FEAT_COUNT; n++)
        feature_add(&m->features, (enum cpu_feature)n);
}

static void open_generator(void)
{
    struct error err;

    everything(&model);
    ck_assert_int_eq(generator_create(&generator, &model, UP_TO_AVX512, &err), ST_OK);
}

static void close_generator(void)
{
    generator_destroy(generator);
}

START_TEST(every_row_has_forms_or_a_reason)
{
    static bool seen[INSN_COUNT];
    unsigned count, missing = 0, exempt = 0;
    const struct conform_form *forms = generator_forms(generator, &count);

    for (unsigned n = 0; n < count; n++) {
        seen[forms[n].row] = true;
        if (conform_exempt(forms[n].row) || !forms[n].text[0] ||
            (n && forms[n].row < forms[n - 1].row))
            ck_abort_msg("form %u", n);
    }
    for (unsigned id = 1; id < INSN_COUNT; id++) {
        const char *reason = conform_exempt(id);

        exempt += reason != NULL;
        ck_assert(!reason || strstr(reason, "covered by"));
        if (!reason && !seen[id]) {
            printf("%s has no form\n", insn_rows[id].name);
            missing++;
        }
    }
    printf("%u forms of %u rows, %u exempt\n", count, INSN_COUNT - 1 - exempt, exempt);
    ck_assert_uint_eq(missing, 0);
    ck_assert_uint_lt(exempt, 20);
    ck_assert_ptr_nonnull(conform_exempt(INSN_INVALID));
}
END_TEST

START_TEST(a_row_has_forms_in_each_mode_it_exists_in)
{
    bool modes[CONFORM_MODES] = {false};
    unsigned count;
    const struct conform_form *forms = generator_forms(generator, &count);

    for (unsigned n = 0; n < count; n++)
        if (forms[n].row == INSN_ADD_EvGv)
            modes[forms[n].mode] = true;
        else if (forms[n].row == INSN_DAA)
            ck_assert_int_ne(forms[n].mode, MODE_64);
    ck_assert(modes[MODE_64] && modes[MODE_32] && modes[MODE_16]);
}
END_TEST

START_TEST(hidden_rows_have_no_forms)
{
    struct cpu_model less = model;
    struct generator *g;
    unsigned count;
    const struct conform_form *forms;

    feature_remove(&less.features, FEAT_AVX512F);
    feature_remove(&less.features, FEAT_BMI2);
    ck_assert_int_eq(generator_create(&g, &less, UP_TO_AVX512, NULL), ST_OK);
    forms = generator_forms(g, &count);
    for (unsigned n = 0; n < count; n++) {
        unsigned feature = insn_rows[forms[n].row].feature;

        if (feature == FEAT_AVX512F || feature == FEAT_BMI2)
            ck_abort_msg("%s", insn_rows[forms[n].row].name);
    }
    generator_destroy(g);
}
END_TEST

/* -- cases -- */

static unsigned place_of_code(const struct conform_case *c)
{
    return c->code_address - ARENA_CODE;
}

static bool place_is_right(const struct conform_case *c)
{
    u64 base = c->mode == MODE_64 || c->in.selector[SEG_CS] == SEL_CS32 ? 0 : ARENA_CODE;

    return place_of_code(c) < ARENA_CODE_SIZE && c->code_size >= 1 &&
           place_of_code(c) + c->code_size <= ARENA_CODE_SIZE &&
           c->in.rip + base == c->code_address && c->insn_length >= c->code_size;
}

static bool inside(const struct conform_patch *p, u32 start, u32 size)
{
    return p->address >= start && p->address + p->size <= start + size;
}

static bool patches_are_right(const struct conform_case *c)
{
    for (unsigned n = 0; n < c->patch_count; n++) {
        const struct conform_patch *p = &c->patch[n];

        if (n >= CASE_PATCHES_MAX || !p->size || p->size > CASE_PATCH_BYTES)
            return false;
        if (!inside(p, ARENA_DATA, ARENA_DATA_SIZE) && !inside(p, ARENA_RO, ARENA_RO_SIZE) &&
            !inside(p, ARENA_STACK, ARENA_STACK_SIZE))
            return false;
    }
    return true;
}

static bool state_is_right(const struct conform_case *c)
{
    return (c->in.rflags & ~(u64)CONFORM_FLAGS_IN) == (F_1 | F_IF) && !c->in.pkru &&
           !(c->in.mxcsr & ~0x2ffffu) && !c->in.x87[5] &&
           !(c->undefined_flags & ~insn_rows[c->row].flags_undefined);
}

static bool decodes_to_its_row(const struct conform_form *form, const struct conform_case *c)
{
    struct decode_ctx ctx = {.model = &model,
                             .code_size = (u8)conform_code_size((enum conform_mode)c->mode),
                             .protected_mode = true};
    struct insn i;
    enum decode_result result = insn_decode(&ctx, c->code, c->code_size, &i);

    if (strstr(form->text, "#UD"))
        return result == DECODE_UD || (result == DECODE_SHORT && c->code_size < c->insn_length);
    if (c->code_size < c->insn_length)
        return result == DECODE_SHORT;
    return result == DECODE_OK && i.id == c->row && i.len == c->insn_length;
}

START_TEST(every_case_decodes_to_its_row_and_stays_in_the_arena)
{
    struct conform_case *c = calloc(1, sizeof(*c));
    unsigned count;
    const struct conform_form *forms = generator_forms(generator, &count);

    for (unsigned n = 0; n < count; n++)
        for (u64 seed = 0; seed < 12; seed++) {
            generate_case(generator, &forms[n], seed, c);
            /* ck_assert() itself is too slow for each of these. */
            if (c->row != forms[n].row || c->mode != forms[n].mode || c->seed != seed ||
                !decodes_to_its_row(&forms[n], c) || !place_is_right(c) || !patches_are_right(c) ||
                !state_is_right(c))
                ck_abort_msg("%s %s, mode %u, seed %lu", insn_rows[c->row].name, forms[n].text,
                             c->mode, (unsigned long)seed);
        }
    free(c);
}
END_TEST

/* What counts of a case; the rest of its arrays is whatever was there before. */
static bool same_case(const struct conform_case *a, const struct conform_case *b)
{
    if (a->row != b->row || a->mode != b->mode || a->insn_length != b->insn_length ||
        a->code_address != b->code_address || a->code_size != b->code_size ||
        a->patch_count != b->patch_count || a->undefined_flags != b->undefined_flags ||
        a->seed != b->seed || memcmp(a->code, b->code, a->code_size))
        return false;
    for (unsigned n = 0; n < a->patch_count; n++)
        if (a->patch[n].address != b->patch[n].address || a->patch[n].size != b->patch[n].size ||
            memcmp(a->patch[n].bytes, b->patch[n].bytes, a->patch[n].size))
            return false;
    return !memcmp(&a->in, &b->in, offsetof(struct conform_state, selector)) &&
           !memcmp(a->in.selector, b->in.selector, sizeof(a->in.selector)) &&
           a->in.mxcsr == b->in.mxcsr && a->in.pkru == b->in.pkru &&
           !memcmp(a->in.k, b->in.k, sizeof(a->in.k)) &&
           !memcmp(a->in.x87, b->in.x87, sizeof(a->in.x87)) &&
           !memcmp(a->in.zmm, b->in.zmm, sizeof(a->in.zmm));
}

START_TEST(the_same_seed_gives_the_same_case)
{
    struct conform_case *a = malloc(sizeof(*a)), *b = malloc(sizeof(*b));
    struct generator *other;
    unsigned count, differ = 0;
    const struct conform_form *forms = generator_forms(generator, &count);

    ck_assert_int_eq(generator_create(&other, &model, UP_TO_AVX512, NULL), ST_OK);
    memset(a, 0x55, sizeof(*a));
    memset(b, 0xaa, sizeof(*b));
    for (unsigned n = 0; n < count; n += 7) {
        generate_case(generator, &forms[n], n, a);
        generate_case(other, &forms[n], n, b);
        if (!same_case(a, b))
            ck_abort_msg("%s", insn_rows[a->row].name);
        generate_case(other, &forms[n], n + 1, b);
        differ += !same_case(a, b);
    }
    ck_assert_uint_gt(differ, count / 7 - 4);
    generator_destroy(other);
    free(a);
    free(b);
}
END_TEST

/* Whether all registers that XCR0 has not are zero, and some of each sort that it has are not. */
static bool registers_fit(const struct conform_state *s, u64 xcr0, u64 *used)
{
    static const struct {
        u64 component;
        unsigned first, count, from, to;
    } parts[] = {{XCR0_SSE, 0, 16, 0, 16},
                 {XCR0_AVX, 0, 16, 16, 32},
                 {XCR0_ZMM_HI256, 0, 16, 32, 64},
                 {XCR0_HI16_ZMM, 16, 16, 0, 64}};
    u8 any = 0;

    for (unsigned n = 0; n < 8; n++)
        *used |= s->k[n] ? XCR0_OPMASK : 0;
    for (unsigned p = 0; p < ARRAY_SIZE(parts); p++) {
        any = 0;
        for (unsigned n = 0; n < parts[p].count; n++)
            for (unsigned b = parts[p].from; b < parts[p].to; b++)
                any |= s->zmm[parts[p].first + n][b];
        *used |= any ? parts[p].component : 0;
    }
    return !(*used & ~xcr0);
}

/* The judge could not load it, and would answer with zeros. The rest of a case is the same. */
START_TEST(what_the_host_or_the_model_has_not_is_zero)
{
    static const struct {
        u64 host, model, both;
    } sides[] = {{UP_TO_AVX512, UP_TO_AVX512, UP_TO_AVX512 & ~(u64)XCR0_PKRU},
                 {UP_TO_AVX, UP_TO_AVX512, UP_TO_AVX},
                 {UP_TO_AVX512, UP_TO_AVX, UP_TO_AVX},
                 {SSE_ONLY, UP_TO_AVX512, SSE_ONLY}};
    struct conform_case *c = malloc(sizeof(*c)), *full = malloc(sizeof(*full));
    struct cpu_model other = model;
    unsigned count;
    const struct conform_form *forms = generator_forms(generator, &count);

    for (unsigned n = 0; n < ARRAY_SIZE(sides); n++) {
        struct generator *g;
        u64 used = 0;

        other.xcr0_supported = sides[n].model;
        ck_assert_int_eq(generator_create(&g, &other, sides[n].host, NULL), ST_OK);
        for (unsigned f = 0; f < count; f += 3) {
            generate_case(g, &forms[f], f, c);
            if (!registers_fit(&c->in, sides[n].both, &used))
                ck_abort_msg("%s, side %u", insn_rows[c->row].name, n);
            generate_case(generator, &forms[f], f, full);
            memcpy(full->in.zmm, c->in.zmm, sizeof(c->in.zmm));
            memcpy(full->in.k, c->in.k, sizeof(c->in.k));
            if (!c->xcr0 && !same_case(c, full))
                ck_abort_msg("%s, side %u", insn_rows[c->row].name, n);
        }
        used &= ~(u64)XCR0_X87;
        ck_assert_uint_eq(used | XCR0_X87, sides[n].both);
        for (unsigned f = 0; f < CONFORM_MODES; f++) {
            generate_sequence(g, (enum conform_mode)f, 20, f, c);
            ck_assert(registers_fit(&c->in, sides[n].both, &used));
        }
        generator_destroy(g);
    }
    free(c);
    free(full);
}
END_TEST

/* XSAVE and its like in a case say which XCR0 they are for, and ask for nothing that only one side
 * has. */
START_TEST(xsave_cases_name_their_xcr0)
{
    static const u64 hosts[] = {UP_TO_AVX512, UP_TO_AVX};
    struct conform_case *c = malloc(sizeof(*c));
    struct cpu_model less = model;
    u64 asked[ARRAY_SIZE(hosts)] = {0};
    unsigned count;
    const struct conform_form *forms = generator_forms(generator, &count);

    less.xcr0_supported = UP_TO_AVX;
    for (unsigned n = 0; n < ARRAY_SIZE(hosts); n++) {
        struct generator *g;

        ck_assert_int_eq(generator_create(&g, &less, hosts[n], NULL), ST_OK);
        for (unsigned f = 0; f < count; f++)
            for (u64 seed = 0; seed < 8; seed++) {
                generate_case(g, &forms[f], seed, c);
                if (c->row == INSN_XGETBV && !strstr(forms[f].text, "#UD")) {
                    ck_assert_uint_eq(c->xcr0, hosts[n]);
                    ck_assert(c->in.gpr[RCX] || hosts[n] == UP_TO_AVX);
                } else if (c->row == INSN_XSAVE_M && !strstr(forms[f].text, "#UD")) {
                    ck_assert_uint_eq(c->xcr0, hosts[n]);
                    asked[n] |= c->in.gpr[RAX];
                } else if (insn_rows[c->row].feature == FEAT_BASE) {
                    ck_assert_uint_eq(c->xcr0, 0);
                }
            }
        generator_destroy(g);
    }
    ck_assert_uint_eq(asked[0], UP_TO_AVX);
    ck_assert_uint_eq(asked[1], UP_TO_AVX512 & ~(u64)XCR0_PKRU);
    free(c);
}
END_TEST

START_TEST(a_case_takes_microseconds)
{
    struct conform_case *c = malloc(sizeof(*c));
    unsigned count, done = 0;
    const struct conform_form *forms = generator_forms(generator, &count);
    struct timespec from, to;
    double ns;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (u64 seed = 0; seed < 4; seed++)
        for (unsigned n = 0; n < count; n++, done++)
            generate_case(generator, &forms[n], seed, c);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    ns = (double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec);
    printf("%u cases, %.0f ns each\n", done, ns / done);
    /* Generous: sanitizers and loaded machines are slow. */
    ck_assert(ns / done < 60000);
    free(c);
}
END_TEST

/* -- on the host -- */

/* Rows that are meant to fault, whatever the operands. */
static bool always_faults(unsigned id)
{
    switch (id) {
    case INSN_CLI:
    case INSN_STI:
    case INSN_INT1:
    case INSN_INT_Ib:
    case INSN_UD0:
    case INSN_UD1:
    case INSN_UD2: return true;
    default: return insn_rows[id].traits & (T_PRIV | T_IO);
    }
}

struct tally {
    unsigned cases, ended;
};

static void run_on_host(struct native_host *host, struct conform_case *cases,
                        struct conform_outcome *outcomes, unsigned count, struct tally *rows)
{
    struct error err;

    ck_assert_msg(native_host_run(host, cases, outcomes, count, &err) == ST_OK, "%s", err.text);
    for (unsigned n = 0; n < count; n++) {
        if (outcomes[n].vector >= 32)
            ck_abort_msg("%s, mode %u, seed %lu: outcome %x", insn_rows[cases[n].row].name,
                         cases[n].mode, (unsigned long)cases[n].seed, outcomes[n].vector);
        rows[cases[n].row].cases++;
        rows[cases[n].row].ended += outcomes[n].vector == VEC_BP;
    }
}

/* Enough cases of every row run to their end, and none hangs or gets lost. */
START_TEST(rows_run_to_their_end_on_the_host)
{
    static struct tally rows[INSN_COUNT];
    struct conform_case *cases = malloc(BATCH * sizeof(*cases));
    struct conform_outcome *outcomes = malloc(BATCH * sizeof(*outcomes));
    struct native_host *host;
    struct generator *g;
    struct error err;
    unsigned count, filled = 0, total = 0, ended = 0;
    const struct conform_form *forms;

    host_model(&model);
    ck_assert_int_eq(generator_create(&g, &model, image_host_xcr0(), &err), ST_OK);
    ck_assert_msg(native_host_create(&host, BATCH, &err) == ST_OK, "%s", err.text);
    forms = generator_forms(g, &count);
    for (unsigned n = 0; n < 2 * count; n++) {
        generate_case(g, &forms[n / 2], n, &cases[filled++]);
        if (filled == BATCH || n == 2 * count - 1) {
            run_on_host(host, cases, outcomes, filled, rows);
            filled = 0;
        }
    }
    for (unsigned id = 1; id < INSN_COUNT; id++) {
        total += rows[id].cases;
        ended += rows[id].ended;
        if (rows[id].cases && !always_faults(id))
            ck_assert_msg(rows[id].ended * 10 >= rows[id].cases, "%s: %u of %u", insn_rows[id].name,
                          rows[id].ended, rows[id].cases);
    }
    printf("%u of %u cases run to their end\n", ended, total);
    ck_assert_uint_gt(ended, total / 10 * 7);
    native_host_destroy(host);
    generator_destroy(g);
    free(cases);
    free(outcomes);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("conformance/generate");
    TCase *t = tcase_create("generate");
    SRunner *r;
    int failed;

    suite_add_tcase(s, t);
    tcase_set_timeout(t, 100);
    tcase_add_unchecked_fixture(t, open_generator, close_generator);
    tcase_add_test(t, every_row_has_forms_or_a_reason);
    tcase_add_test(t, a_row_has_forms_in_each_mode_it_exists_in);
    tcase_add_test(t, hidden_rows_have_no_forms);
    tcase_add_test(t, every_case_decodes_to_its_row_and_stays_in_the_arena);
    tcase_add_test(t, the_same_seed_gives_the_same_case);
    tcase_add_test(t, what_the_host_or_the_model_has_not_is_zero);
    tcase_add_test(t, xsave_cases_name_their_xcr0);
    tcase_add_test(t, a_case_takes_microseconds);
    tcase_add_test(t, rows_run_to_their_end_on_the_host);
    r = srunner_create(s);
    srunner_run_all(r, CK_NORMAL);
    failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
