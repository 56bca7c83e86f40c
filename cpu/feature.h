/* SPDX-License-Identifier: MIT
 *
 * CPU features: one line each, with the CPUID bit that advertises it.
 *
 * FEATURE(...) rows of feature.def are explained there. Rows of insn.def name an id; a
 * feature is offered only if host and table both have it (cpu/cpuid.c).
 */
#pragma once

#include "mem/base/types.h"

enum cpuid_reg { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

enum cpu_feature {
    FEAT_BASE, /* always there */
#define FEATURE(id, ...) FEAT_##id,
#include "cpu/feature.def"
#undef FEATURE
    FEAT_LAHF_LM_OR_32, /* LAHF/SAHF: always outside 64-bit mode, else LAHF_LM */
    FEAT_COUNT
};

/* A set of features. */
struct feature_set {
    u64 bits[4];
};

static inline bool feature_has(const struct feature_set *set, enum cpu_feature f)
{
    return (set->bits[f / 64] >> (f % 64)) & 1;
}
static inline void feature_add(struct feature_set *set, enum cpu_feature f)
{
    set->bits[f / 64] |= BIT(f % 64);
}
static inline void feature_remove(struct feature_set *set, enum cpu_feature f)
{
    set->bits[f / 64] &= ~BIT(f % 64);
}
