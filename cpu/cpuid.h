/* SPDX-License-Identifier: MIT
 *
 * What a processor offers: the feature set behind -cpu, and the CPUID leaves that say so.
 *
 * A feature is advertised if and only if its instructions are in the table and, where they run as
 * native thunks, the host has them. A hidden feature's instructions are #UD.
 */
#pragma once

#include <stdio.h>

#include "cpu/feature.h"
#include "cpu/vcpu.h"

struct cpuid_result {
    u32 eax, ebx, ecx, edx;
};

/* sockets * cores * threads = number of vCPUs. */
struct cpu_topology {
    unsigned sockets, cores, threads;
};

/* Extra leaves from a higher layer (hv1: 0x40000000-0x400000ff). false: not mine. */
typedef bool cpuid_range_fn(void *opaque, const struct vcpu *v, u32 leaf, u32 subleaf,
                            struct cpuid_result *r);

/* May change what any other leaf says. */
typedef void cpuid_adjust_fn(void *opaque, const struct vcpu *v, u32 leaf, struct cpuid_result *r);

struct cpu_model {
    char name[32]; /* "max", "x86-64-v3" */
    struct feature_set features;
    struct cpu_topology topology;
    char vendor[13]; /* "AuthenticAMD", "GenuineIntel" */
    char brand[49];
    u32 signature;        /* leaf 1 EAX */
    unsigned maxphyaddr;  /* bits */
    unsigned linear_bits; /* 48 or 57 */
    u64 tsc_hz, apic_bus_hz;
    u64 xcr0_supported; /* components XSETBV accepts */
    u64 xss_supported;
    bool ignore_msrs; /* unknown MSRs read zero, writes are dropped, logged once each */
    u32 cpuid_range_first,
        cpuid_range_last; /* range handed to cpuid_range, empty if last < first */
    cpuid_range_fn *cpuid_range;
    cpuid_adjust_fn *cpuid_adjust; /* NULL: nothing to change */
    void *cpuid_range_opaque;      /* of both */
};

/* Builds a model from the -cpu argument ("max,-avx512f,+pku,ignore-msrs"); "" means max. One
 * sentence in err for an unknown model or feature, or a feature the host lacks. tsc_hz and
 * apic_bus_hz come from the machine's clock. */
MUST_USE enum status cpu_model_parse(struct cpu_model *model, const char *spec,
                                     const struct cpu_topology *topology, u64 tsc_hz,
                                     u64 apic_bus_hz, struct error *err);
/* Whether the host's CPUID advertises a feature. */
bool feature_host_has(enum cpu_feature f);
/* Names of models and features, one per line, for -cpu help. */
void cpu_model_help(FILE *out);
/* The APIC id of vCPU index under a topology (fields rounded up to powers of two). */
u32 cpu_topology_apic_id(const struct cpu_topology *topology, unsigned index);
/* Bits of the APIC id that number the threads of a core; the threads and cores of a package. */
unsigned cpu_topology_thread_bits(const struct cpu_topology *topology);
unsigned cpu_topology_package_bits(const struct cpu_topology *topology);
/* ORs the model's feature bits of one leaf into r (EAX, EBX, ECX, EDX). */
void cpu_model_leaf(const struct cpu_model *model, u32 leaf, u32 subleaf, u32 r[4]);
/* Executes CPUID for v: leaf and subleaf as in EAX and ECX. */
void cpuid_read(const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *r);
static inline bool vcpu_has(const struct vcpu *v, enum cpu_feature f)
{
    return feature_has(&v->model->features, f);
}
/* Whether the processor behaves like AMD's where AMD and Intel differ; else like Intel's. */
static inline bool vcpu_is_amd(const struct vcpu *v)
{
    return v->model->vendor[0] == 'A';
}
