/* SPDX-License-Identifier: MIT
 *
 * The CPUID leaves (SDM 2 "CPUID", APM 3 appendix E). Feature bits come from feature.def; this file
 * adds what is not a feature: identity, topology, caches, state sizes, frequencies.
 */
#include "cpu/cpuid.h"

#include <string.h>

#include "cpu/fpu.h"
#include "cpu/msr.h"

enum { BASIC_MAX = 0x1f, EXTENDED_FIRST = 0x80000000u, EXTENDED_MAX = 0x80000021u };
enum { HYPERVISOR_LEAVES = 4 }; /* the upper four bits of 40000000H-4FFFFFFFH */

static bool amd(const struct cpu_model *m)
{
    return !strcmp(m->vendor, "AuthenticAMD");
}

static unsigned logical_per_package(const struct cpu_model *m)
{
    return 1u << cpu_topology_package_bits(&m->topology);
}

static void leaf_vendor(const struct cpu_model *m, u32 max, u32 r[4])
{
    r[CPUID_EAX] = max;
    memcpy(&r[CPUID_EBX], m->vendor, 4);
    memcpy(&r[CPUID_EDX], m->vendor + 4, 4);
    memcpy(&r[CPUID_ECX], m->vendor + 8, 4);
}

enum { ECX_MONITOR = 3, ECX_OSXSAVE = 27, ECX7_OSPKE = 4, EDX_APIC = 9, CLFLUSH_QWORDS = 8 };

/* EBX 23:16: on Intel the APIC ids that a package takes up, on AMD its processors (APM 3 E.3.2). */
static u32 leaf_1_count(const struct cpu_model *m)
{
    u32 count = amd(m) ? m->topology.cores * m->topology.threads : logical_per_package(m);

    return count < 0xff ? count : 0xff;
}

static void leaf_1(const struct vcpu *v, u32 r[4])
{
    u64 apic_base;

    r[CPUID_EAX] = v->model->signature;
    r[CPUID_EBX] = (v->apic_id & 0xff) << 24 | leaf_1_count(v->model) << 16 | CLFLUSH_QWORDS << 8;
    if (v->cr4 & CR4_OSXSAVE)
        r[CPUID_ECX] |= 1u << ECX_OSXSAVE;
    /* IA32_MISC_ENABLE bit 18 hides MONITOR (SDM 4 table 2-2). */
    if (!amd(v->model) && !(v->misc_enable & MISC_ENABLE_MONITOR))
        r[CPUID_ECX] &= ~(1u << ECX_MONITOR);
    /* The APIC bit mirrors IA32_APIC_BASE bit 11 (SDM 3A 10.4.3). */
    if (msr_read((struct vcpu *)v, 0x1b, &apic_base) && !(apic_base & BIT(11)))
        r[CPUID_EDX] &= ~(1u << EDX_APIC);
}

/* -- caches: one description for leaves 4 and 8000001DH (SDM 2 table 3-8; APM 3 E.4.15) -- */

static const struct {
    u8 type; /* 1 data, 2 instruction, 3 unified */
    u8 level;
    u16 ways;
    u32 sets;
    bool package; /* shared by the package, else by a core */
} caches[] = {
    {1, 1, 8, 64, false}, {2, 1, 8, 64, false}, {3, 2, 8, 2048, false}, {3, 3, 16, 16384, true}};

enum { LINE_SIZE = 64, INCLUSIVE = 2 };

static void leaf_cache(const struct cpu_model *m, u32 subleaf, bool intel, u32 r[4])
{
    unsigned sharing;

    if (subleaf >= ARRAY_SIZE(caches))
        return;
    sharing = caches[subleaf].package ? logical_per_package(m)
                                      : 1u << cpu_topology_thread_bits(&m->topology);
    r[CPUID_EAX] =
        caches[subleaf].type | (u32)caches[subleaf].level << 5 | 1u << 8 | (sharing - 1) << 14;
    if (intel)
        r[CPUID_EAX] |= ((1u << (cpu_topology_package_bits(&m->topology) -
                                 cpu_topology_thread_bits(&m->topology))) -
                         1)
                        << 26;
    r[CPUID_EBX] = (LINE_SIZE - 1) | (caches[subleaf].ways - 1u) << 22;
    r[CPUID_ECX] = caches[subleaf].sets - 1;
    r[CPUID_EDX] = caches[subleaf].level == 2 ? INCLUSIVE : 0;
}

/* Leaves 0BH and 1FH: thread level, then core level. */
static void leaf_topology(const struct vcpu *v, u32 subleaf, u32 r[4])
{
    const struct cpu_topology *t = &v->model->topology;

    r[CPUID_ECX] = subleaf & 0xff;
    r[CPUID_EDX] = v->apic_id;
    if (subleaf == 0) {
        r[CPUID_EAX] = cpu_topology_thread_bits(t);
        r[CPUID_EBX] = t->threads;
        r[CPUID_ECX] |= 1 << 8;
    } else if (subleaf == 1) {
        r[CPUID_EAX] = cpu_topology_package_bits(t);
        r[CPUID_EBX] = t->threads * t->cores;
        r[CPUID_ECX] |= 2 << 8;
    }
}

static void leaf_xsave(const struct vcpu *v, u32 subleaf, u32 r[4])
{
    const struct cpu_model *m = v->model;
    u32 offset, size;

    if (!vcpu_has(v, FEAT_XSAVE)) {
        memset(r, 0, 16);
        return;
    }
    if (subleaf == 0) {
        r[CPUID_EAX] = (u32)m->xcr0_supported;
        r[CPUID_EDX] = (u32)(m->xcr0_supported >> 32);
        r[CPUID_EBX] = xsave_size(v, v->xcr0, false);
        r[CPUID_ECX] = xsave_size(v, m->xcr0_supported, false);
    } else if (subleaf == 1) {
        if (vcpu_has(v, FEAT_XSAVEC))
            r[CPUID_EBX] = xsave_size(v, v->xcr0 | v->xss, true);
        r[CPUID_ECX] = (u32)m->xss_supported;
    } else if (subleaf < 63 && (m->xcr0_supported >> subleaf & 1) &&
               xsave_component(v, subleaf, &offset, &size)) {
        r[CPUID_EAX] = size;
        r[CPUID_EBX] = offset;
        r[CPUID_ECX] = subleaf == 6 || subleaf == 7 ? 2 : 0; /* ZMM parts are 64-byte aligned */
    }
}

/* TSC = crystal * EBX / EAX; the crystal is what the local APIC's timer counts. */
static void leaf_tsc(const struct cpu_model *m, u32 r[4])
{
    r[CPUID_EAX] = (u32)(m->apic_bus_hz / 1000);
    r[CPUID_EBX] = (u32)(m->tsc_hz / 1000);
    r[CPUID_ECX] = (u32)m->apic_bus_hz;
}

static void leaf_frequency(const struct cpu_model *m, u32 r[4])
{
    r[CPUID_EAX] = r[CPUID_EBX] = (u32)(m->tsc_hz / 1000000) & 0xffff;
    r[CPUID_ECX] = (u32)(m->apic_bus_hz / 1000000) & 0xffff;
}

static void basic(const struct vcpu *v, u32 leaf, u32 subleaf, u32 r[4])
{
    const struct cpu_model *m = v->model;

    switch (leaf) {
    case 0: leaf_vendor(m, BASIC_MAX, r); break;
    case 1: leaf_1(v, r); break;
    case 2:
        if (!amd(m))
            r[CPUID_EAX] = 0x00feff01; /* no descriptors here: see leaf 4 */
        break;
    case 4:
        if (!amd(m)) /* reserved on AMD, which has 8000001DH instead */
            leaf_cache(m, subleaf, true, r);
        break;
    case 5:
        if (vcpu_has(v, FEAT_MONITOR)) {
            r[CPUID_EAX] = r[CPUID_EBX] = LINE_SIZE;
            r[CPUID_ECX] = 3; /* extensions; interrupts as break events */
        }
        break;
    case 6: r[CPUID_EAX] = 4; break; /* ARAT: the APIC timer never stops */
    case 7:
        if (subleaf == 0) {
            r[CPUID_EAX] = 1;
            if (v->cr4 & CR4_PKE)
                r[CPUID_ECX] |= 1u << ECX7_OSPKE;
        }
        break;
    case 0xb:
    case 0x1f: leaf_topology(v, subleaf, r); break;
    case 0xd: leaf_xsave(v, subleaf, r); break;
    case 0x15: leaf_tsc(m, r); break;
    case 0x16: leaf_frequency(m, r); break;
    default: break;
    }
}

/* -- extended leaves -- */

static const u8 ways_code[] = {[1] = 1, [2] = 2, [4] = 4, [8] = 6, [16] = 8};

static void leaf_l2_l3(const struct cpu_model *m, u32 r[4])
{
    u32 l2_kib = caches[2].ways * caches[2].sets * LINE_SIZE / 1024;
    u32 l3_half_mib = caches[3].ways * caches[3].sets * LINE_SIZE / (512 * 1024);

    r[CPUID_ECX] = l2_kib << 16 | (u32)ways_code[caches[2].ways] << 12 | 1 << 8 | LINE_SIZE;
    if (amd(m)) /* reserved on Intel */
        r[CPUID_EDX] =
            l3_half_mib << 18 | (u32)ways_code[caches[3].ways] << 12 | 1 << 8 | LINE_SIZE;
}

static void leaf_l1(const struct cpu_model *m, u32 r[4])
{
    u32 l1 = (u32)(caches[0].ways * caches[0].sets * LINE_SIZE / 1024) << 24 |
             (u32)caches[0].ways << 16 | 1 << 8 | LINE_SIZE;

    if (!amd(m))
        return;
    r[CPUID_EAX] = r[CPUID_EBX] = 0xff40ff40; /* 64 fully associative TLB entries */
    r[CPUID_ECX] = r[CPUID_EDX] = l1;
}

static void leaf_sizes(const struct vcpu *v, u32 r[4])
{
    const struct cpu_model *m = v->model;

    r[CPUID_EAX] = m->maxphyaddr | m->linear_bits << 8;
    if (amd(m))
        r[CPUID_ECX] = (m->topology.cores * m->topology.threads - 1) |
                       cpu_topology_package_bits(&m->topology) << 12;
}

static void leaf_ids(const struct vcpu *v, u32 r[4])
{
    const struct cpu_topology *t = &v->model->topology;

    if (!vcpu_has(v, FEAT_TOPOEXT))
        return;
    r[CPUID_EAX] = v->apic_id;
    r[CPUID_EBX] = ((v->apic_id >> cpu_topology_thread_bits(t)) & 0xff) | (t->threads - 1) << 8;
    r[CPUID_ECX] = (v->apic_id >> cpu_topology_package_bits(t)) & 0xff; /* one node a package */
}

/* 80000021H: what keeps guests from working around errata that software does not have: LFENCE is
 * serialising (2), selector null clears base (6), no SRSO (29), no TSA (ECX 1, 2). */
static void leaf_errata(const struct cpu_model *m, u32 r[4])
{
    if (!amd(m))
        return;
    r[CPUID_EAX] = 1u << 2 | 1u << 6 | 1u << 29;
    r[CPUID_ECX] = 1u << 1 | 1u << 2;
}

static void extended(const struct vcpu *v, u32 leaf, u32 subleaf, u32 r[4])
{
    const struct cpu_model *m = v->model;
    /* AMD repeats the leaf 1 features in 80000001H EDX (APM 3 E.4.2). */
    const u32 amd_alias = 0x0183f3ff;

    switch (leaf) {
    case 0x80000000u: leaf_vendor(m, EXTENDED_MAX, r); break;
    case 0x80000001u:
        if (amd(m)) {
            u32 one[4] = {0};

            cpu_model_leaf(m, 1, 0, one);
            leaf_1(v, one);
            r[CPUID_EDX] |= one[CPUID_EDX] & amd_alias;
            r[CPUID_EAX] = m->signature;
        }
        break;
    case 0x80000002u:
    case 0x80000003u:
    case 0x80000004u: memcpy(r, m->brand + (leaf - 0x80000002u) * 16, 16); break;
    case 0x80000005u: leaf_l1(m, r); break;
    case 0x80000006u: leaf_l2_l3(m, r); break;
    case 0x80000008u: leaf_sizes(v, r); break;
    case 0x8000001du:
        if (vcpu_has(v, FEAT_TOPOEXT))
            leaf_cache(m, subleaf, false, r);
        break;
    case 0x8000001eu: leaf_ids(v, r); break;
    case 0x80000021u: leaf_errata(m, r); break;
    default: break;
    }
}

void cpuid_read(const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *result)
{
    const struct cpu_model *m = v->model;
    u32 r[4] = {0};

    if (leaf >= m->cpuid_range_first && leaf <= m->cpuid_range_last &&
        m->cpuid_range(m->cpuid_range_opaque, v, leaf, subleaf, result))
        return;
    /* Beyond the last leaf Intel answers with the last basic leaf, AMD with zeroes. The
     * hypervisors' leaves are zero on both: leaf 1 says that there is one, and this is how it says
     * nothing. */
    if (leaf > BASIC_MAX && (leaf < EXTENDED_FIRST || leaf > EXTENDED_MAX) && !amd(m) &&
        leaf >> 28 != HYPERVISOR_LEAVES)
        leaf = BASIC_MAX;
    cpu_model_leaf(m, leaf, leaf == 7 || leaf == 0xd ? subleaf : 0, r);
    if (leaf < EXTENDED_FIRST)
        basic(v, leaf, subleaf, r);
    else
        extended(v, leaf, subleaf, r);
    *result = (struct cpuid_result){r[0], r[1], r[2], r[3]};
    if (m->cpuid_adjust)
        m->cpuid_adjust(m->cpuid_range_opaque, v, leaf, result);
}
