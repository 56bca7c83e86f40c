/* SPDX-License-Identifier: MIT
 *
 * -cpu: models, feature switches, what must be refused, and that no set of features contradicts
 * itself. The last part checks that a hidden feature takes its instructions away.
 */
#include <check.h>
#include <cpuid.h>

#include "tests/cpu/machine.h"
#include "tests/suite.h"

static const struct cpu_topology one = {1, 1, 1};
static struct cpu_model model;
static struct error err;

static enum status parse(const char *spec)
{
    err.text[0] = 0;
    return cpu_model_parse(&model, spec, &one, 2000000000, 1000000000, &err);
}

static bool has(enum cpu_feature f)
{
    return feature_has(&model.features, f);
}

static void accept(const char *spec)
{
    ck_assert_msg(parse(spec) == ST_OK, "%s: %s", spec, err.text);
}

/* One sentence, with the words that help. */
static void refuse(const char *spec, enum status want, const char *word)
{
    ck_assert_msg(parse(spec) == want, "%s: %s", spec, err.text);
    ck_assert_msg(!strncmp(err.text, "-cpu ", 5), "%s", err.text);
    ck_assert_msg(strstr(err.text, word) != NULL, "%s lacks %s", err.text, word);
    ck_assert_int_eq(err.text[strlen(err.text) - 1], '.');
    ck_assert_ptr_null(strchr(err.text, '\n'));
}

static bool host_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}

START_TEST(max_is_the_default)
{
    struct cpu_model first;

    accept("");
    first = model;
    accept("max");
    ck_assert_mem_eq(&first, &model, sizeof(model));
}
END_TEST

START_TEST(levels_contain_each_other)
{
    static const char *const names[] = {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4", "max"};
    struct feature_set last = {{0}};

    for (unsigned n = 0; n < ARRAY_SIZE(names); n++) {
        if (n == 3 && !host_avx512())
            continue;
        accept(names[n]);
        ck_assert_str_eq(model.name, names[n]);
        for (unsigned w = 0; w < ARRAY_SIZE(last.bits); w++)
            ck_assert_uint_eq(last.bits[w] & ~model.features.bits[w], 0);
        ck_assert(memcmp(&last, &model.features, sizeof(last)));
        last = model.features;
    }
}
END_TEST

START_TEST(levels_are_those_of_the_psabi)
{
    accept("x86-64");
    ck_assert(has(FEAT_CMOV) && has(FEAT_CX8) && has(FEAT_FPU) && has(FEAT_FXSR) && has(FEAT_MMX) &&
              has(FEAT_SSE) && has(FEAT_SSE2) && has(FEAT_SYSCALL) && has(FEAT_LM));
    ck_assert(!has(FEAT_SSE3) && !has(FEAT_CX16) && !has(FEAT_POPCNT) && !has(FEAT_AVX) &&
              !has(FEAT_XSAVE) && !has(FEAT_AES) && !has(FEAT_RDRAND) && !has(FEAT_LAHF_LM));
    accept("x86-64-v2");
    ck_assert(has(FEAT_CX16) && has(FEAT_LAHF_LM) && has(FEAT_POPCNT) && has(FEAT_SSE3) &&
              has(FEAT_SSE41) && has(FEAT_SSE42) && has(FEAT_SSSE3));
    ck_assert(!has(FEAT_AVX) && !has(FEAT_XSAVE) && !has(FEAT_BMI1));
    accept("x86-64-v3");
    ck_assert(has(FEAT_AVX) && has(FEAT_AVX2) && has(FEAT_BMI1) && has(FEAT_BMI2) &&
              has(FEAT_F16C) && has(FEAT_FMA) && has(FEAT_LZCNT) && has(FEAT_MOVBE) &&
              has(FEAT_XSAVE));
    ck_assert(!has(FEAT_AVX512F) && !has(FEAT_AES) && !has(FEAT_PKU));
    if (!host_avx512())
        return;
    accept("x86-64-v4");
    ck_assert(has(FEAT_AVX512F) && has(FEAT_AVX512BW) && has(FEAT_AVX512CD) && has(FEAT_AVX512DQ) &&
              has(FEAT_AVX512VL));
    ck_assert(!has(FEAT_AVX512VBMI));
}
END_TEST

/* Named levels show the same processor on every host. */
START_TEST(levels_have_a_fixed_identity)
{
    accept("x86-64-v2");
    ck_assert_str_eq(model.vendor, "AuthenticAMD");
    ck_assert_uint_eq(model.signature, 0x00a10f11);
    ck_assert_str_eq(model.brand, "Lockstep x86-64-v2");
}
END_TEST

START_TEST(switches_add_and_remove)
{
    accept("x86-64,+popcnt");
    ck_assert(has(FEAT_POPCNT) && !has(FEAT_SSE3));
    accept("max,-popcnt,+popcnt");
    ck_assert(has(FEAT_POPCNT));
    accept("max,+popcnt,-popcnt");
    ck_assert(!has(FEAT_POPCNT));
}
END_TEST

START_TEST(names_may_be_written_in_every_habit)
{
    static const char *const spellings[] = {"max,-sse4.1", "max,-sse4_1", "max,-sse4-1",
                                            "max,-SSE4.1"};

    for (unsigned n = 0; n < ARRAY_SIZE(spellings); n++) {
        accept(spellings[n]);
        ck_assert(!has(FEAT_SSE41));
    }
    accept("max,-tsc_deadline,-lahf_lm");
    ck_assert(!has(FEAT_TSC_DEADLINE) && !has(FEAT_LAHF_LM));
}
END_TEST

START_TEST(removal_takes_what_needs_it)
{
    accept("max,-sse2");
    ck_assert(has(FEAT_SSE));
    ck_assert(!has(FEAT_SSE2) && !has(FEAT_SSE3) && !has(FEAT_SSSE3) && !has(FEAT_SSE42) &&
              !has(FEAT_AVX) && !has(FEAT_AVX2) && !has(FEAT_AVX512F) && !has(FEAT_AES) &&
              !has(FEAT_VAES));
    accept("max,-xsave");
    ck_assert(!has(FEAT_AVX) && !has(FEAT_XSAVES) && !has(FEAT_PKU) && !has(FEAT_FMA));
    ck_assert_uint_eq(model.xcr0_supported, XCR0_X87 | XCR0_SSE);
    accept("max,-avx");
    ck_assert(has(FEAT_XSAVE) && !has(FEAT_FMA) && !has(FEAT_AVX512VL));
    accept("max,-xsaves"); /* XSAVEC is offered together with XSAVES only */
    ck_assert(!has(FEAT_XSAVEC));
    accept("max,-apic");
    ck_assert(!has(FEAT_X2APIC) && !has(FEAT_TSC_DEADLINE));
}
END_TEST

START_TEST(state_components_follow_the_features)
{
    accept("x86-64-v3");
    ck_assert_uint_eq(model.xcr0_supported, XCR0_X87 | XCR0_SSE | XCR0_AVX);
    accept("x86-64-v3,+pku");
    ck_assert_uint_eq(model.xcr0_supported, XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_PKRU);
    if (!host_avx512())
        return;
    accept("max,-pku");
    ck_assert_uint_eq(model.xcr0_supported, XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512);
    ck_assert_uint_eq(model.xss_supported, 0);
}
END_TEST

START_TEST(refusals_say_why)
{
    refuse("486", ST_NOT_FOUND, "486");
    refuse("host", ST_NOT_FOUND, "help");
    refuse("x86-64-v5", ST_NOT_FOUND, "x86-64-v5");
    refuse("MAX", ST_NOT_FOUND, "MAX");
    refuse("max,+flux", ST_NOT_FOUND, "flux");
    refuse("max,-flux", ST_NOT_FOUND, "flux");
    refuse("max,+", ST_NOT_FOUND, "feature");
    refuse("max,avx", ST_INVALID, "avx");
    refuse("max,ignore_msr", ST_INVALID, "ignore_msr");
    refuse("max,,", ST_INVALID, "not understood");
    refuse("max,+la57", ST_UNSUPPORTED, "la57");
}
END_TEST

START_TEST(a_feature_without_what_it_needs_is_refused)
{
    refuse("x86-64,+avx", ST_INVALID, "avx needs xsave");
    refuse("x86-64,+sse4.2", ST_INVALID, "sse4.2 needs sse4.1");
    refuse("max,-xsave,+avx2", ST_INVALID, "avx2 needs avx, which this model lacks; add +avx,");
    accept("x86-64-v2,+xsave,+avx");
    ck_assert(has(FEAT_AVX));
}
END_TEST

/* A long name must not be cut into the name of another feature. */
START_TEST(long_items_are_refused)
{
    char spec[300];

    snprintf(spec, sizeof(spec), "max,+%0200d", 0);
    refuse(spec, ST_NOT_FOUND, "0000");
    snprintf(spec, sizeof(spec), "max%0200d", 0);
    refuse(spec, ST_NOT_FOUND, "max0000");
    refuse("x86-64-v2000000000000000000000000000000000000", ST_NOT_FOUND, "x86-64-v2");
}
END_TEST

START_TEST(what_the_host_lacks_is_refused)
{
    static const struct {
        const char *name;
        u32 leaf, reg, bit;
    } rare[] = {{"avx512f", 7, 1, 16}, {"sha-ni", 7, 1, 29},        {"gfni", 7, 2, 8},
                {"vaes", 7, 2, 9},     {"sse4a", 0x80000001, 2, 6}, {"aes", 1, 2, 25}};
    unsigned lacking = 0;

    for (unsigned n = 0; n < ARRAY_SIZE(rare); n++) {
        u32 r[4] = {0};
        char spec[64];

        __get_cpuid_count(rare[n].leaf, 0, &r[0], &r[1], &r[2], &r[3]);
        snprintf(spec, sizeof(spec), "max,+%s", rare[n].name);
        if (r[rare[n].reg] >> rare[n].bit & 1) {
            accept(spec);
        } else {
            refuse(spec, ST_UNSUPPORTED, "host");
            lacking++;
        }
    }
    printf("cpu_model: this host lacks %u of %zu rare features\n", lacking, ARRAY_SIZE(rare));
}
END_TEST

START_TEST(ignore_msrs_is_not_a_feature)
{
    accept("max");
    ck_assert(!model.ignore_msrs);
    accept("max,ignore-msrs");
    ck_assert(model.ignore_msrs);
    accept("x86-64,ignore-msrs,+popcnt");
    ck_assert(model.ignore_msrs && has(FEAT_POPCNT));
}
END_TEST

START_TEST(help_names_everything)
{
    char text[16384] = "";
    FILE *out = fmemopen(text, sizeof(text), "w");

    cpu_model_help(out);
    fclose(out);
    ck_assert_ptr_nonnull(strstr(text, "x86-64-v3"));
    ck_assert_ptr_nonnull(strstr(text, "sse4.1"));
    ck_assert_ptr_nonnull(strstr(text, "ignore-msrs"));
    ck_assert_ptr_null(strstr(text, "la57"));
}
END_TEST

/* -- topology -- */

START_TEST(apic_ids_are_unique_and_nested)
{
    for (unsigned sockets = 1; sockets <= 3; sockets++) {
        for (unsigned cores = 1; cores <= 9; cores++) {
            for (unsigned threads = 1; threads <= 3; threads++) {
                const struct cpu_topology t = {sockets, cores, threads};
                unsigned thread_bits = cpu_topology_thread_bits(&t);
                unsigned package_bits = cpu_topology_package_bits(&t);

                ck_assert_uint_ge(1u << thread_bits, threads);
                ck_assert_uint_lt(1u << thread_bits, threads * 2);
                ck_assert_uint_ge(1u << (package_bits - thread_bits), cores);
                for (unsigned n = 0; n < sockets * cores * threads; n++) {
                    u32 id = cpu_topology_apic_id(&t, n);

                    ck_assert_uint_eq(id & ((1u << thread_bits) - 1), n % threads);
                    ck_assert_uint_eq(id >> package_bits, n / (cores * threads));
                    ck_assert_uint_eq((id & ((1u << package_bits) - 1)) >> thread_bits,
                                      n / threads % cores);
                }
            }
        }
    }
}
END_TEST

/* -- a hidden feature's instructions -- */

static const struct encoding {
    enum cpu_feature feature;
    u8 size;
    u8 bytes[12];
} encodings[] = {
#define E(feature, ...)                                                                            \
    {                                                                                              \
        FEAT_##feature, sizeof((const u8[]){__VA_ARGS__}),                                         \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
    E(TSC, 0x0f, 0x31),
    E(RDTSCP, 0x0f, 0x01, 0xf9),
    E(RDPID, 0xf3, 0x0f, 0xc7, 0xf8),
    E(RDRAND, 0x0f, 0xc7, 0xf0),
    E(RDSEED, 0x0f, 0xc7, 0xf8),
    E(MONITOR, 0x0f, 0x01, 0xc8),
    E(SMAP, 0x0f, 0x01, 0xca),
    E(CLZERO, 0x0f, 0x01, 0xfc),
    E(PKU, 0x0f, 0x01, 0xee),
    E(INVPCID, 0x66, 0x0f, 0x38, 0x82, 0x03),
    E(CLFLUSH, 0x0f, 0xae, 0x3b),
    E(CLFLUSHOPT, 0x66, 0x0f, 0xae, 0x3b),
    E(CLWB, 0x66, 0x0f, 0xae, 0x33),
    E(FSGSBASE, 0xf3, 0x0f, 0xae, 0xc0),
    E(SYSCALL, 0x0f, 0x05),
    E(SEP, 0x0f, 0x34),
    E(FXSR, 0x0f, 0xae, 0x03),
    E(XSAVE, 0x0f, 0xae, 0x23),
    E(XSAVEOPT, 0x0f, 0xae, 0x33),
    E(XSAVEC, 0x0f, 0xc7, 0x23),
    E(XSAVES, 0x0f, 0xc7, 0x2b),
    E(MOVBE, 0x0f, 0x38, 0xf0, 0x03),
    E(SSE42, 0xf2, 0x0f, 0x38, 0xf0, 0xc1),
    E(CX8, 0x0f, 0xc7, 0x0b),
    E(CX16, 0x48, 0x0f, 0xc7, 0x0b),
    E(CMOV, 0x0f, 0x44, 0xc1),
    E(ADX, 0x66, 0x0f, 0x38, 0xf6, 0xc1),
    E(BMI1, 0xc4, 0xe2, 0x78, 0xf2, 0xc1),
    E(BMI2, 0xc4, 0xe2, 0x78, 0xf5, 0xc1),
    E(LAHF_LM, 0x9f),
    E(FPU, 0xd9, 0xe8),
    E(MMX, 0x0f, 0xfc, 0xc1),
    E(SSE, 0x0f, 0x58, 0xc1),
    E(SSE2, 0x66, 0x0f, 0x58, 0xc1),
    E(SSE3, 0xf2, 0x0f, 0x7c, 0xc1),
    E(SSSE3, 0x66, 0x0f, 0x38, 0x00, 0xc1),
    E(SSE41, 0x66, 0x0f, 0x38, 0x10, 0xc1),
    E(AES, 0x66, 0x0f, 0x38, 0xdc, 0xc1),
    E(PCLMULQDQ, 0x66, 0x0f, 0x3a, 0x44, 0xc1, 0x00),
    E(SHA, 0x0f, 0x38, 0xc8, 0xc1),
    E(GFNI, 0x66, 0x0f, 0x38, 0xcf, 0xc1),
    E(SSE4A, 0x66, 0x0f, 0x79, 0xc1),
    E(AVX, 0xc5, 0xf8, 0x58, 0xc1),
    E(AVX2, 0xc5, 0xf5, 0xfc, 0xc1),
    E(FMA, 0xc4, 0xe2, 0x79, 0x98, 0xc1),
    E(F16C, 0xc4, 0xe2, 0x79, 0x13, 0xc1),
    E(VAES, 0xc4, 0xe2, 0x75, 0xdc, 0xc1),
    E(VPCLMULQDQ, 0xc4, 0xe3, 0x75, 0x44, 0xc1, 0x00),
    E(AVX_VNNI, 0xc4, 0xe2, 0x71, 0x50, 0xc1),
    E(AVX512F, 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1),
    E(AVX512DQ, 0x62, 0xf1, 0xfd, 0x48, 0x7b, 0xc1),
    E(AVX512CD, 0x62, 0xf2, 0x7d, 0x48, 0xc4, 0xc1),
    E(AVX512BW, 0x62, 0xf1, 0x75, 0x48, 0xfc, 0xc1),
    E(AVX512VL, 0x62, 0xf1, 0x7c, 0x08, 0x58, 0xc1),
    E(AVX512IFMA, 0x62, 0xf2, 0xf5, 0x48, 0xb4, 0xc1),
    E(AVX512VBMI, 0x62, 0xf2, 0x75, 0x48, 0x8d, 0xc1),
    E(AVX512VBMI2, 0x62, 0xf2, 0xfd, 0x48, 0x62, 0xc1),
    E(AVX512VNNI, 0x62, 0xf2, 0x75, 0x48, 0x50, 0xc1),
    E(AVX512BITALG, 0x62, 0xf2, 0x7d, 0x48, 0x54, 0xc1),
    E(AVX512VPOPCNTDQ, 0x62, 0xf2, 0x7d, 0x48, 0x55, 0xc1),
    E(AVX512BF16, 0x62, 0xf2, 0x7e, 0x48, 0x72, 0xc1),
#undef E
};

static int vector_of(const struct encoding *e, bool present)
{
    struct machine m;
    int vector;

    machine_create(&m);
    if (!present)
        feature_remove(&m.model.features, e->feature);
    machine_code(&m, e->bytes, e->size);
    /* AMD has no SYSENTER in long mode. */
    machine_start(&m, e->feature == FEAT_SEP ? MACHINE_PROT32 : MACHINE_LONG);
    m.v->cr4 |= CR4_FSGSBASE | CR4_PKE | CR4_OSXSAVE;
    m.v->gpr[RBX] = MACHINE_DATA;
    m.v->gpr[RAX] = MACHINE_DATA;
    vcpu_update_mode(m.v);
    machine_step(&m, 1); /* the instruction, or the exception's stub */
    vector = machine_vector(&m);
    machine_destroy(&m);
    return vector;
}

/* Only where the host can run it natively. */
static bool runs_here(enum cpu_feature f)
{
    return feature_has(&model.features, f);
}

START_TEST(a_hidden_feature_is_an_undefined_opcode)
{
    const struct encoding *e = &encodings[_i];

    accept("max");
    ck_assert_msg(vector_of(e, false) == VEC_UD, "feature %d: vector %d", e->feature,
                  vector_of(e, false));
    if (runs_here(e->feature))
        ck_assert_msg(vector_of(e, true) != VEC_UD, "feature %d, encoding %d", e->feature, _i);
}
END_TEST

/* Hidden, these are the older instruction of the same bytes. */
START_TEST(hidden_tzcnt_lzcnt_are_bsf_bsr)
{
    static const struct {
        enum cpu_feature feature;
        u8 bytes[4];
        u64 with, without;
    } cases[] = {{FEAT_BMI1, {0xf3, 0x0f, 0xbc, 0xc3}, 4, 4},
                 {FEAT_LZCNT, {0xf3, 0x0f, 0xbd, 0xc3}, 27, 4}};

    for (unsigned n = 0; n < ARRAY_SIZE(cases); n++) {
        for (unsigned hidden = 0; hidden < 2; hidden++) {
            struct machine m;

            machine_create(&m);
            if (hidden)
                feature_remove(&m.model.features, cases[n].feature);
            machine_code(&m, cases[n].bytes, 4);
            machine_start(&m, MACHINE_LONG);
            m.v->gpr[RBX] = 0x10;
            machine_step(&m, 1);
            ck_assert_uint_eq(m.v->gpr[RAX], hidden ? cases[n].without : cases[n].with);
            machine_destroy(&m);
        }
    }
}
END_TEST

/* LAHF is there in 32-bit code whatever LAHF_LM says; PREFETCHW is a NOP on every 64-bit processor.
 */
START_TEST(some_need_no_feature)
{
    struct machine m;

    machine_create(&m);
    feature_remove(&m.model.features, FEAT_LAHF_LM);
    feature_remove(&m.model.features, FEAT_PREFETCHW);
    MACHINE_CODE_BYTES(&m, 0x9f, 0x0f, 0x0d, 0x0b);
    machine_start(&m, MACHINE_PROT32);
    machine_run(&m);
    ck_assert_int_eq(machine_vector(&m), -1);
    ck_assert_uint_eq(m.v->rip, MACHINE_CODE + 5);
    machine_destroy(&m);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpu_model");
    TCase *tc = tcase_create("cpu_model");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, max_is_the_default);
    tcase_add_test(tc, levels_contain_each_other);
    tcase_add_test(tc, levels_are_those_of_the_psabi);
    tcase_add_test(tc, levels_have_a_fixed_identity);
    tcase_add_test(tc, switches_add_and_remove);
    tcase_add_test(tc, names_may_be_written_in_every_habit);
    tcase_add_test(tc, removal_takes_what_needs_it);
    tcase_add_test(tc, state_components_follow_the_features);
    tcase_add_test(tc, refusals_say_why);
    tcase_add_test(tc, a_feature_without_what_it_needs_is_refused);
    tcase_add_test(tc, long_items_are_refused);
    tcase_add_test(tc, what_the_host_lacks_is_refused);
    tcase_add_test(tc, ignore_msrs_is_not_a_feature);
    tcase_add_test(tc, help_names_everything);
    tcase_add_test(tc, apic_ids_are_unique_and_nested);
    tcase_add_loop_test(tc, a_hidden_feature_is_an_undefined_opcode, 0, ARRAY_SIZE(encodings));
    tcase_add_test(tc, hidden_tzcnt_lzcnt_are_bsf_bsr);
    tcase_add_test(tc, some_need_no_feature);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
