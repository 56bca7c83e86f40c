/* SPDX-License-Identifier: MIT
 *
 * A processor model with the features and the vendor of the host, straight from its CPUID, for
 * tests that take the host as judge.
 */
#pragma once

#include <cpuid.h>
#include <string.h>

#include "cpu/cpuid.h"
#include "cpu/regs.h"

static inline void host_model(struct cpu_model *model)
{
    *model = (struct cpu_model){.vendor = "AuthenticAMD"};
#define FEATURE(id, name, leaf, subleaf, reg, bit, ...)                                            \
    {                                                                                              \
        unsigned r[4] = {0};                                                                       \
        __get_cpuid_count(leaf, subleaf, &r[0], &r[1], &r[2], &r[3]);                              \
        if (r[reg] >> (bit)&1)                                                                     \
            feature_add(&model->features, FEAT_##id);                                              \
    }
#include "cpu/feature.def"
#undef FEATURE
    feature_add(&model->features, FEAT_BASE);
    model->xcr0_supported = XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU;
    if (__builtin_cpu_is("intel"))
        memcpy(model->vendor, "GenuineIntel", 12);
}
