/* SPDX-License-Identifier: MIT
 *
 * Probing of features: a model that keeps its word, and models that hide something.
 */
#include "frontend/conform/cpuid_probe.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "tests/suite.h"

static struct probe_machine p;

static void open_model(const char *spec)
{
    struct error err;

    ck_assert_msg(probe_machine_create(&p, spec, LOCKSTEP_ENGINE_INTERPRETER, &err) == ST_OK, "%s",
                  err.text);
}

static struct cpuid_finding find(const char *feature)
{
    struct cpuid_finding f;

    for (unsigned n = 0; n < cpuid_probe_count(); n++) {
        cpuid_probe_feature(&p, n, &f);
        if (!strcmp(f.feature, feature))
            return f;
    }
    ck_abort_msg("%s", feature);
}

START_TEST(every_feature_of_the_baseline_works_or_is_absent)
{
    struct cpuid_finding f;

    open_model("x86-64");
    for (unsigned n = 0; n < cpuid_probe_count(); n++) {
        cpuid_probe_feature(&p, n, &f);
        ck_assert_msg(!cpuid_verdict_bad(f.verdict), "%s: %s", f.feature,
                      cpuid_verdict_text(f.verdict));
    }
    ck_assert_int_eq(find("sse2").verdict, CPUID_WORKS);
    ck_assert_int_eq(find("avx").verdict, CPUID_ABSENT);
    ck_assert_int_eq(find("avx").vector, PROBE_VECTOR_UD);
    ck_assert_int_eq(find("la57").vector, PROBE_VECTOR_GP);
    ck_assert_int_eq(find("erms").verdict, CPUID_NOT_PROBED);
    ck_assert_str_eq(find("sse2").bit, "00000001.0 EDX 26");
    probe_machine_destroy(&p);
}
END_TEST

/* SDM 2, RDMSR: only where CPUID says so. APM 3, RDMSR: #UD. */
static const struct {
    const char *model, *feature;
    enum cpuid_verdict verdict;
    int vector;
} hidden[] = {
    {"max,-msr", "msr", CPUID_ABSENT, PROBE_VECTOR_UD},
    {"max,-cx8", "cx8", CPUID_ABSENT, PROBE_VECTOR_UD},
    {"max,-abm", "abm", CPUID_ABSENT, PROBE_RAN},
    {"max,-pge", "pge", CPUID_ABSENT, PROBE_VECTOR_GP},
    {"max,-nx", "nx", CPUID_ABSENT, PROBE_VECTOR_GP},
    {"max,-fxsr", "fpu", CPUID_WORKS, PROBE_RAN},
    {"max,-lm", "sep", CPUID_WORKS, PROBE_RAN},
    {"max,-lm", "cx16", CPUID_NOT_PROBED, PROBE_RAN},
};

START_TEST(hidden_features_are_absent)
{
    struct cpuid_finding f;

    open_model(hidden[_i].model);
    f = find(hidden[_i].feature);
    ck_assert_int_eq(f.verdict, hidden[_i].verdict);
    ck_assert_int_eq(f.vector, hidden[_i].vector);
    ck_assert_uint_eq(cpuid_rules_check(&p, stdout), 0);
    probe_machine_destroy(&p);
}
END_TEST

/* A list of features that the machine does not know of must be noticed in both directions. */
START_TEST(lies_are_found)
{
    open_model("x86-64");
    feature_add(&p.model.features, FEAT_AVX);
    ck_assert_int_eq(find("avx").verdict, CPUID_BIT_WRONG);
    ck_assert_uint_ge(cpuid_rules_check(&p, stdout), 1);
    feature_remove(&p.model.features, FEAT_AVX);
    feature_remove(&p.model.features, FEAT_SSE2);
    ck_assert_int_eq(find("sse2").verdict, CPUID_BIT_WRONG);
    probe_machine_destroy(&p);
}
END_TEST

START_TEST(instructions_run_from_the_same_state_each_time)
{
    const struct probe_input good = {
        .bytes = (const u8 *)"\x01\xc8", .count = 2, .bits = 64, .rax = 3, .rcx = 4};
    const struct probe_input bad = {.bytes = (const u8 *)"\x0f\x0b", .count = 2, .bits = 32};
    struct lockstep_state s;

    open_model("max");
    for (unsigned n = 0; n < 3; n++) {
        ck_assert_int_eq(probe_machine_try(&p, &good, &s), PROBE_RAN);
        ck_assert_uint_eq(s.gpr[0], 7);
        ck_assert_int_eq(probe_machine_try(&p, &bad, &s), PROBE_VECTOR_UD);
    }
    ck_assert_uint_ge(probe_machine_cpuid(&p, 0, 0).eax, 7);
    probe_machine_destroy(&p);
}
END_TEST

START_TEST(bad_models_are_told)
{
    struct error err;

    ck_assert_int_ne(probe_machine_create(&p, "nonsense", LOCKSTEP_ENGINE_INTERPRETER, &err),
                     ST_OK);
    ck_assert_str_eq(err.text, "-cpu nonsense is not known; see -cpu help.");
    ck_assert_ptr_null(p.machine);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpuid_probe");
    TCase *t = tcase_create("cpuid_probe");

    tcase_add_test(t, every_feature_of_the_baseline_works_or_is_absent);
    tcase_add_loop_test(t, hidden_features_are_absent, 0, ARRAY_SIZE(hidden));
    tcase_add_test(t, lies_are_found);
    tcase_add_test(t, instructions_run_from_the_same_state_each_time);
    tcase_add_test(t, bad_models_are_told);
    suite_add_tcase(suite, t);
    return suite_run(suite);
}
