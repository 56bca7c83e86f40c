/* SPDX-License-Identifier: MIT */
#include "frontend/conform/cpuid_probe.h"

#include <cpuid.h>
#include <stdio.h>
#include <string.h>

enum how {
    HOW_INSN,
    HOW_INSN_GP,
    HOW_INSN_RAX,
    HOW_INSN_ANY,
    HOW_CR4,
    HOW_MSR,
    HOW_EFER,
    HOW_NONE
};
enum kind { KIND_HOST, KIND_SOFT, KIND_SYS, KIND_NONE };

/* CR4 bits that system software sets before it uses a feature: FSGSBASE, OSXSAVE, PKE. */
enum { CR4_ENABLES = 1 << 16 | 1 << 18 | 1 << 22, MSR_EFER_INDEX = 0xc0000080u };

static const struct feature_bit {
    const char *name;
    u32 leaf, subleaf;
    u8 reg, bit, kind;
} bits[] = {
#define FEATURE(id, name, leaf, subleaf, reg, bit, kind, level)                                    \
    [FEAT_##id] = {name, leaf, subleaf, reg, bit, KIND_##kind},
#include "cpu/feature.def"
#undef FEATURE
};

static const struct probe_row {
    enum how how;
    u64 value;
    const char *bytes;
    u8 count;
    const char *text;
} probes[ARRAY_SIZE(bits)] = {
#define PROBE(id, how, value, bytes, text)                                                         \
    [FEAT_##id] = {HOW_##how, value, bytes, sizeof(bytes) - 1, text},
#include "frontend/conform/cpuid_probe.def"
#undef PROBE
};

unsigned cpuid_probe_count(void)
{
    return ARRAY_SIZE(bits) - 1;
}

/* -- executing -- */

/* The mode of a probe, or 0 if this processor does not have it. */
static unsigned probe_bits(const struct probe_machine *p, const struct probe_row *row)
{
    if (!strncmp(row->text, "32:", 3))
        return 32;
    if (!strncmp(row->text, "64:", 3))
        return p->bits == 64 ? 64 : 0;
    return p->bits;
}

static int try_insn(struct probe_machine *p, const struct probe_row *row, struct lockstep_state *s)
{
    const struct probe_input in = {.bytes = (const u8 *)row->bytes,
                                   .count = row->count,
                                   .bits = probe_bits(p, row),
                                   /* CLZERO takes its address from RAX. */
                                   .rax = 0,
                                   .rcx = row->value,
                                   .cr4_set = CR4_ENABLES};

    return probe_machine_try(p, &in, s);
}

static int try_cr4(struct probe_machine *p, const struct probe_row *row, struct lockstep_state *s)
{
    struct probe_input in = {.bytes = (const u8 *)"\x90", .count = 1, .bits = probe_bits(p, row)};

    if (probe_machine_try(p, &in, s) != PROBE_RAN)
        return PROBE_VECTOR_UD;
    in.bytes = (const u8 *)"\x0f\x22\xe0"; /* mov cr4, rax */
    in.count = 3;
    in.rax = s->cr4 | BIT(row->value);
    return probe_machine_try(p, &in, s);
}

static int try_msr(struct probe_machine *p, const struct probe_row *row, struct lockstep_state *s)
{
    const struct probe_input in = {
        .bytes = (const u8 *)"\x0f\x32", .count = 2, .bits = p->bits, .rcx = row->value};

    return probe_machine_try(p, &in, s);
}

static int try_efer(struct probe_machine *p, const struct probe_row *row, struct lockstep_state *s)
{
    struct probe_input in = {
        .bytes = (const u8 *)"\x90", .count = 1, .bits = p->bits, .rcx = MSR_EFER_INDEX};

    if (probe_machine_try(p, &in, s) != PROBE_RAN)
        return PROBE_VECTOR_UD;
    in.bytes = (const u8 *)"\x0f\x30"; /* wrmsr */
    in.count = 2;
    in.rax = s->efer | BIT(row->value);
    return probe_machine_try(p, &in, s);
}

static int try_probe(struct probe_machine *p, const struct probe_row *row, struct lockstep_state *s)
{
    switch (row->how) {
    case HOW_CR4: return try_cr4(p, row, s);
    case HOW_MSR: return try_msr(p, row, s);
    case HOW_EFER: return try_efer(p, row, s);
    default: return try_insn(p, row, s);
    }
}

/* -- judging -- */

static enum cpuid_verdict judge_run(const struct probe_row *row, bool advertised, int vector,
                                    const struct lockstep_state *s)
{
    int absent = row->how == HOW_INSN ? PROBE_VECTOR_UD : PROBE_VECTOR_GP;

    if (row->how == HOW_INSN_ANY)
        return vector == PROBE_RAN ? CPUID_WORKS : CPUID_BROKEN;
    if (row->how == HOW_INSN_RAX) {
        if (vector != PROBE_RAN)
            return CPUID_BROKEN;
        if (advertised)
            return s->gpr[0] ? CPUID_WORKS : CPUID_BROKEN;
        return s->gpr[0] ? CPUID_EXECUTED : CPUID_ABSENT;
    }
    if (advertised)
        return vector == PROBE_RAN ? CPUID_WORKS : CPUID_BROKEN;
    /* Without what it builds on (XSAVE, MSR) an instruction that is #GP otherwise is #UD. */
    if (row->how != HOW_CR4 && vector == PROBE_VECTOR_UD)
        return CPUID_ABSENT;
    return vector == absent ? CPUID_ABSENT : CPUID_EXECUTED;
}

static bool bit_set(struct probe_machine *p, const struct feature_bit *f)
{
    struct cpuid_result r = probe_machine_cpuid(p, f->leaf, f->subleaf);
    const u32 regs[4] = {r.eax, r.ebx, r.ecx, r.edx};

    return regs[f->reg] >> f->bit & 1;
}

static bool host_has(const struct feature_bit *f)
{
    u32 r[4];

    return __get_cpuid_count(f->leaf, f->subleaf, &r[0], &r[1], &r[2], &r[3]) &&
           r[f->reg] >> f->bit & 1;
}

/* The local APIC's bits follow its MSR; a machine of one processor has no APIC to answer. */
static bool bit_follows_state(unsigned feature)
{
    return feature == FEAT_APIC || feature == FEAT_X2APIC || feature == FEAT_TSC_DEADLINE;
}

void cpuid_probe_feature(struct probe_machine *p, unsigned n, struct cpuid_finding *finding)
{
    static const char *const regs[] = {"EAX", "EBX", "ECX", "EDX"};
    const struct feature_bit *f = &bits[n + 1];
    const struct probe_row *row = &probes[n + 1];
    bool advertised = feature_has(&p->model.features, (enum cpu_feature)(n + 1));
    struct lockstep_state s;

    *finding = (struct cpuid_finding){.feature = f->name,
                                      .probe = row->text,
                                      .advertised = advertised,
                                      .vector = PROBE_RAN,
                                      .verdict = CPUID_NOT_PROBED};
    snprintf(finding->bit, sizeof(finding->bit), "%08x.%x %s %u", f->leaf, f->subleaf, regs[f->reg],
             f->bit);
    if (bit_set(p, f) != advertised && !bit_follows_state(n + 1))
        finding->verdict = CPUID_BIT_WRONG;
    else if (advertised && f->kind == KIND_HOST && !host_has(f))
        finding->verdict = CPUID_NOT_IN_HOST;
    else if (row->how != HOW_NONE && probe_bits(p, row)) {
        finding->vector = try_probe(p, row, &s);
        finding->verdict = judge_run(row, advertised, finding->vector, &s);
    }
}

bool cpuid_verdict_bad(enum cpuid_verdict verdict)
{
    return verdict >= CPUID_BROKEN;
}

const char *cpuid_verdict_text(enum cpuid_verdict verdict)
{
    switch (verdict) {
    case CPUID_WORKS: return "works";
    case CPUID_ABSENT: return "absent";
    case CPUID_NOT_PROBED: return "not executable";
    case CPUID_BROKEN: return "ADVERTISED BUT FAULTS";
    case CPUID_EXECUTED: return "HIDDEN BUT WORKS";
    case CPUID_BIT_WRONG: return "WRONG CPUID BIT";
    case CPUID_NOT_IN_HOST: return "THE HOST LACKS IT";
    }
    return "?";
}
