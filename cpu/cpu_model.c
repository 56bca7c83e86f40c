/* SPDX-License-Identifier: MIT
 *
 * -cpu: which features a processor has. `max` takes what Lockstep implements and, for instructions
 * that run natively, the host has; the named levels are those of the x86-64 psABI and the same
 * everywhere.
 */
#include <ctype.h>
#include <cpuid.h>
#include <stdio.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/native.h"

enum feature_kind { KIND_HOST, KIND_SOFT, KIND_SYS, KIND_NONE };

static const struct feature_row {
    const char *name;
    u32 leaf, subleaf;
    u8 reg, bit, kind, level;
} feature_rows[] = {
    {0},
#define FEATURE(id, name, leaf, subleaf, reg, bit, kind, level)                                    \
    [FEAT_##id] = {name, leaf, subleaf, reg, bit, KIND_##kind, level},
#include "cpu/feature.def"
#undef FEATURE
};

enum { FEATURE_ROWS = ARRAY_SIZE(feature_rows) };

/* What a feature cannot do without. */
static const struct {
    enum cpu_feature feature, needs;
} dependencies[] = {
    {FEAT_MMX, FEAT_FPU},
    {FEAT_FXSR, FEAT_FPU},
    {FEAT_SSE, FEAT_FXSR},
    {FEAT_SSE2, FEAT_SSE},
    {FEAT_SSE3, FEAT_SSE2},
    {FEAT_SSSE3, FEAT_SSE3},
    {FEAT_SSE41, FEAT_SSSE3},
    {FEAT_SSE42, FEAT_SSE41},
    {FEAT_SSE4A, FEAT_SSE3},
    {FEAT_AES, FEAT_SSE2},
    {FEAT_PCLMULQDQ, FEAT_SSE2},
    {FEAT_SHA, FEAT_SSE2},
    {FEAT_GFNI, FEAT_SSE2},
    {FEAT_MISALIGNSSE, FEAT_SSE},
    {FEAT_MMXEXT, FEAT_MMX},
    {FEAT_XSAVE, FEAT_FXSR},
    {FEAT_XSAVEOPT, FEAT_XSAVE},
    {FEAT_XSAVEC, FEAT_XSAVE},
    {FEAT_XGETBV1, FEAT_XSAVE},
    {FEAT_XSAVES, FEAT_XSAVEC},
    {FEAT_XSAVEC, FEAT_XSAVES},
    {FEAT_PKU, FEAT_XSAVE},
    {FEAT_AVX, FEAT_XSAVE},
    {FEAT_AVX, FEAT_SSE42},
    {FEAT_AVX2, FEAT_AVX},
    {FEAT_FMA, FEAT_AVX},
    {FEAT_F16C, FEAT_AVX},
    {FEAT_VAES, FEAT_AVX},
    {FEAT_VAES, FEAT_AES},
    {FEAT_VPCLMULQDQ, FEAT_AVX},
    {FEAT_VPCLMULQDQ, FEAT_PCLMULQDQ},
    {FEAT_AVX_VNNI, FEAT_AVX2},
    {FEAT_AVX512F, FEAT_AVX2},
    {FEAT_AVX512F, FEAT_FMA},
    {FEAT_AVX512F, FEAT_F16C},
    {FEAT_AVX512DQ, FEAT_AVX512F},
    {FEAT_AVX512CD, FEAT_AVX512F},
    {FEAT_AVX512BW, FEAT_AVX512F},
    {FEAT_AVX512VL, FEAT_AVX512F},
    {FEAT_AVX512IFMA, FEAT_AVX512F},
    {FEAT_AVX512VBMI, FEAT_AVX512BW},
    {FEAT_AVX512VBMI2, FEAT_AVX512BW},
    {FEAT_AVX512VNNI, FEAT_AVX512F},
    {FEAT_AVX512BITALG, FEAT_AVX512BW},
    {FEAT_AVX512VPOPCNTDQ, FEAT_AVX512F},
    {FEAT_AVX512BF16, FEAT_AVX512BW},
    {FEAT_X2APIC, FEAT_APIC},
    {FEAT_TSC_DEADLINE, FEAT_APIC},
    {FEAT_TSC_DEADLINE, FEAT_TSC},
    {FEAT_TSC_ADJUST, FEAT_TSC},
    {FEAT_RDTSCP, FEAT_TSC},
    {FEAT_INVTSC, FEAT_TSC},
    {FEAT_PCID, FEAT_LM},
    {FEAT_LAHF_LM, FEAT_LM},
    {FEAT_NX, FEAT_PAE},
    {FEAT_PAGE1GB, FEAT_LM},
    {FEAT_INVPCID, FEAT_PCID},
    {FEAT_LM, FEAT_PAE},
    {FEAT_LM, FEAT_MSR}, /* EFER */
    {FEAT_APIC, FEAT_MSR},
    {FEAT_MTRR, FEAT_MSR},
    {FEAT_PAT, FEAT_MSR},
    {FEAT_MCA, FEAT_MSR},
    {FEAT_TSC_ADJUST, FEAT_MSR},
    {FEAT_ARCH_CAPABILITIES, FEAT_MSR},
    {FEAT_SEP, FEAT_MSR},
    {FEAT_SYSCALL, FEAT_MSR},
    {FEAT_NX, FEAT_MSR},
};

static const struct {
    const char *name;
    unsigned level; /* 0: max */
    const char *help;
} models[] = {
    {"max", 0, "everything that Lockstep implements and this host can execute"},
    {"x86-64", 1, "the x86-64 baseline, the same on every host"},
    {"x86-64-v2", 2, "with SSE4.2, POPCNT and CMPXCHG16B"},
    {"x86-64-v3", 3, "with AVX2, BMI and FMA"},
    {"x86-64-v4", 4, "with AVX-512 F, BW, CD, DQ and VL"},
};

bool feature_host_has(enum cpu_feature f)
{
    const struct feature_row *row = &feature_rows[f];
    u32 r[4];

    if (!__get_cpuid_count(row->leaf, row->subleaf, &r[0], &r[1], &r[2], &r[3]))
        return false;
    return (r[row->reg] >> row->bit) & 1;
}

static bool implemented(enum cpu_feature f)
{
    const struct feature_row *row = &feature_rows[f];

    if (f == FEAT_FPU && !native_possible())
        return false;
    return row->kind != KIND_NONE && (row->kind != KIND_HOST || feature_host_has(f));
}

/* Drops what lost something it needs, until nothing changes. */
static void close_dependencies(struct feature_set *set)
{
    bool changed;

    do {
        changed = false;
        for (size_t n = 0; n < ARRAY_SIZE(dependencies); n++)
            if (feature_has(set, dependencies[n].feature) &&
                !feature_has(set, dependencies[n].needs)) {
                feature_remove(set, dependencies[n].feature);
                changed = true;
            }
    } while (changed);
}

static void set_identity(struct cpu_model *m, unsigned level)
{
    u32 a, b, c, d, signature;

    /* The identity of the named levels: family 19h, the reference of the conformance tests. */
    strcpy(m->vendor, "AuthenticAMD");
    m->signature = 0x00a10f11;
    snprintf(m->brand, sizeof(m->brand), "Lockstep %s", m->name);
    if (level)
        return;
    __cpuid(0, a, b, c, d);
    __cpuid(1, signature, a, a, a);
    memcpy(m->vendor, &b, 4);
    memcpy(m->vendor + 4, &d, 4);
    memcpy(m->vendor + 8, &c, 4);
    if (strcmp(m->vendor, "AuthenticAMD") && strcmp(m->vendor, "GenuineIntel"))
        strcpy(m->vendor, "AuthenticAMD");
    else
        m->signature = signature & 0x0fff3fff;
    for (u32 n = 0; n < 3; n++) {
        u32 r[4];

        if (__get_cpuid(0x80000002 + n, &r[0], &r[1], &r[2], &r[3]))
            memcpy(m->brand + n * 16, r, 16);
    }
}

/* The features of a base model; for a named level what the host lacks is an error. */
static enum status base_features(struct cpu_model *m, unsigned level, struct error *err)
{
    for (unsigned f = 1; f < FEATURE_ROWS; f++) {
        const struct feature_row *row = &feature_rows[f];
        bool wanted =
            level ? (row->kind == KIND_SYS && !row->level) || (row->level && row->level <= level)
                  : implemented((enum cpu_feature)f);

        if (!wanted)
            continue;
        if (!implemented((enum cpu_feature)f))
            return error_set(
                err, ST_UNSUPPORTED,
                "-cpu %s needs %s, which this host does not have; choose a lower level or "
                "max.",
                m->name, row->name);
        feature_add(&m->features, (enum cpu_feature)f);
    }
    return ST_OK;
}

static bool same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        char x = *a == '_' || *a == '.' ? '-' : (char)tolower((unsigned char)*a);
        char y = *b == '_' || *b == '.' ? '-' : (char)tolower((unsigned char)*b);

        if (x != y)
            return false;
    }
    return !*a && !*b;
}

static enum cpu_feature find_feature(const char *name)
{
    for (unsigned f = 1; f < FEATURE_ROWS; f++)
        if (same_name(name, feature_rows[f].name))
            return (enum cpu_feature)f;
    return FEAT_BASE;
}

/* asked: the features whose last mention is a +. */
static enum status change_feature(struct cpu_model *m, const char *item, struct feature_set *asked,
                                  struct error *err)
{
    enum cpu_feature f = find_feature(item + 1);

    if (f == FEAT_BASE)
        return error_set(err, ST_NOT_FOUND, "-cpu %s: there is no feature %s; see -cpu help.",
                         m->name, item + 1);
    if (item[0] == '-') {
        feature_remove(&m->features, f);
        feature_remove(asked, f);
        return ST_OK;
    }
    if (feature_rows[f].kind == KIND_NONE)
        return error_set(err, ST_UNSUPPORTED,
                         "-cpu %s: Lockstep does not implement %s; leave it out.", m->name,
                         item + 1);
    if (!implemented(f))
        return error_set(err, ST_UNSUPPORTED, "-cpu %s: this host does not have %s; leave it out.",
                         m->name, item + 1);
    feature_add(&m->features, f);
    feature_add(asked, f);
    return ST_OK;
}

static enum status change_item(struct cpu_model *m, const char *item, struct feature_set *asked,
                               struct error *err)
{
    if (!strcmp(item, "ignore-msrs")) {
        m->ignore_msrs = true;
        return ST_OK;
    }
    if (item[0] == '+' || item[0] == '-')
        return change_feature(m, item, asked, err);
    return error_set(err, ST_INVALID,
                     "-cpu %s: %s is not understood; write +feature, -feature or ignore-msrs.",
                     m->name, item);
}

/* A feature asked for with + that close_dependencies() dropped again would be a silent lie. */
static enum status check_kept(const struct cpu_model *m, const struct feature_set *asked,
                              struct error *err)
{
    for (size_t n = 0; n < ARRAY_SIZE(dependencies); n++) {
        enum cpu_feature f = dependencies[n].feature, needs = dependencies[n].needs;

        if (feature_has(asked, f) && !feature_has(&m->features, f) &&
            !feature_has(&m->features, needs))
            return error_set(
                err, ST_INVALID, "-cpu %s: %s needs %s, which this model lacks; add +%s, too.",
                m->name, feature_rows[f].name, feature_rows[needs].name, feature_rows[needs].name);
    }
    return ST_OK;
}

static void derive(struct cpu_model *m)
{
    m->maxphyaddr = 48;
    m->linear_bits = 48;
    m->xcr0_supported = XCR0_X87 | XCR0_SSE;
    if (feature_has(&m->features, FEAT_AVX))
        m->xcr0_supported |= XCR0_AVX;
    if (feature_has(&m->features, FEAT_AVX512F))
        m->xcr0_supported |= XCR0_AVX512;
    if (feature_has(&m->features, FEAT_PKU))
        m->xcr0_supported |= XCR0_PKRU;
    m->xss_supported = 0;
    if (strcmp(m->vendor, "AuthenticAMD")) { /* bits that Intel reserves */
        feature_remove(&m->features, FEAT_TOPOEXT);
        feature_remove(&m->features, FEAT_CMP_LEGACY);
        feature_remove(&m->features, FEAT_XSAVEERPTR);
    }
    if (m->topology.cores * m->topology.threads == 1) {
        feature_remove(&m->features, FEAT_HTT);
        feature_remove(&m->features, FEAT_CMP_LEGACY);
    }
}

enum status cpu_model_parse(struct cpu_model *m, const char *spec,
                            const struct cpu_topology *topology, u64 tsc_hz, u64 apic_bus_hz,
                            struct error *err)
{
    size_t length = strcspn(spec, ","), n = 0;
    struct feature_set asked = {{0}};
    enum status st;

    *m = (struct cpu_model){
        .topology = *topology,
        .tsc_hz = tsc_hz,
        .apic_bus_hz = apic_bus_hz,
        .cpuid_range_first = 1,
    };
    snprintf(m->name, sizeof(m->name), "%.*s", (int)length, length ? spec : "max");
    if (!length)
        strcpy(m->name, "max");
    while (n < ARRAY_SIZE(models) && strcmp(m->name, models[n].name))
        n++;
    if (n == ARRAY_SIZE(models))
        return error_set(err, ST_NOT_FOUND, "-cpu %s is not known; see -cpu help.", m->name);
    set_identity(m, models[n].level);
    st = base_features(m, models[n].level, err);
    for (const char *at = spec + length; !st && *at == ',';) {
        char item[64];

        at++;
        length = strcspn(at, ",");
        snprintf(item, sizeof(item), "%.*s", (int)length, at);
        st = change_item(m, item, &asked, err);
        at += length;
    }
    if (st)
        return st;
    close_dependencies(&m->features);
    derive(m);
    return check_kept(m, &asked, err);
}

void cpu_model_help(FILE *out)
{
    fputs("Models:\n", out);
    for (size_t n = 0; n < ARRAY_SIZE(models); n++)
        fprintf(out, "  %-12s %s\n", models[n].name, models[n].help);
    fputs("Features (+feature adds, -feature removes; * this host cannot):\n", out);
    for (unsigned f = 1; f < FEATURE_ROWS; f++)
        if (feature_rows[f].kind != KIND_NONE)
            fprintf(out, "  %s%s\n", feature_rows[f].name,
                    implemented((enum cpu_feature)f) ? "" : " *");
    fputs("Other: ignore-msrs (unknown MSRs read as zero instead of #GP)\n", out);
}

void cpu_model_leaf(const struct cpu_model *m, u32 leaf, u32 subleaf, u32 r[4])
{
    for (unsigned f = 1; f < FEATURE_ROWS; f++) {
        const struct feature_row *row = &feature_rows[f];

        if (row->leaf == leaf && row->subleaf == subleaf &&
            feature_has(&m->features, (enum cpu_feature)f))
            r[row->reg] |= 1u << row->bit;
    }
}

static unsigned bits_for(unsigned count)
{
    return count > 1 ? 32 - (unsigned)__builtin_clz(count - 1) : 0;
}

u32 cpu_topology_apic_id(const struct cpu_topology *t, unsigned index)
{
    unsigned thread = index % t->threads, core = index / t->threads % t->cores;
    unsigned socket = index / (t->threads * t->cores);

    return ((socket << bits_for(t->cores) | core) << bits_for(t->threads)) | thread;
}

unsigned cpu_topology_thread_bits(const struct cpu_topology *t)
{
    return bits_for(t->threads);
}

unsigned cpu_topology_package_bits(const struct cpu_topology *t)
{
    return bits_for(t->threads) + bits_for(t->cores);
}
