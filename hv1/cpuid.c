/* SPDX-License-Identifier: MIT
 *
 * CPUID leaves 40000000H to 4000000AH (TLFS "Feature and interface discovery"): a bit is set if and
 * only if its switch is on. Every other leaf up to 400000FFH is zero.
 */
#include <string.h>

#include "hv1/internal.h"

enum { LEAF_VENDOR = 0x40000000, LEAF_FIRST = LEAF_VENDOR, LEAF_MAX_MIN = 0x40000005 };
enum { LEAF_MAX_FULL = 0x40000006, SPIN_COUNT = 0xfff, SPIN_NEVER = -1, FLAT_VPS_MAX = 64 };

#define SIGNATURE 0x31237648u /* "Hv#1" */
#define BUILD     14393u
#define VERSION   (10u << 16)

struct bit {
    u32 switches;
    u32 mask;
};

/* 40000003H EAX, EDX; 40000004H EAX. */
static const struct bit privileges[] = {
    {HV1_RUNTIME, 1u << 0},      {HV1_TIME, 1u << 1 | 1u << 9},
    {HV1_SYNIC, 1u << 2},        {HV1_STIMER, 1u << 3},
    {HV1_APIC, 1u << 4},         {0, 1u << 5 | 1u << 6}, /* hypercall MSRs, VP index: always */
    {HV1_RESET, 1u << 7},        {HV1_IDLE, 1u << 10},
    {HV1_FREQUENCIES, 1u << 11}, {HV1_INVTSC, 1u << 15},
};
static const struct bit features[] = {
    {HV1_XMM_INPUT, 1u << 4},      {HV1_IDLE, 1u << 5},  {HV1_FREQUENCIES, 1u << 8},
    {HV1_CRASH, 1u << 10},         {HV1_LOCK, 1u << 18}, {HV1_TLBFLUSH_RANGES, 1u << 14},
    {HV1_STIMER_DIRECT, 1u << 19},
};
static const struct bit recommendations[] = {
    {HV1_TLBFLUSH, 1u << 2},   {HV1_APIC, 1u << 3}, {HV1_RELAXED, 1u << 5},
    {HV1_NO_AUTOEOI, 1u << 9}, {HV1_IPI, 1u << 10}, {HV1_EX_MASKS, 1u << 11},
};

#define PRIVILEGE_PORTS   (1u << 4 | 1u << 5) /* PostMessages, SignalEvents */
#define RECOMMEND_FLUSHES (1u << 1 | 1u << 2)

static u32 bits_of(const struct hv1 *h, const struct bit *bits, size_t count)
{
    u32 value = 0;

    for (size_t n = 0; n < count; n++)
        if (hv1_has(h, bits[n].switches))
            value |= bits[n].mask;
    return value;
}

static void leaf_vendor(const struct hv1 *h, struct cpuid_result *r)
{
    const char *vendor = h->config.profile.vendor;

    r->eax = h->config.profile.level == HV1_MIN ? LEAF_MAX_MIN : LEAF_MAX_FULL;
    memcpy(&r->ebx, vendor, 4);
    memcpy(&r->ecx, vendor + 4, 4);
    memcpy(&r->edx, vendor + 8, 4);
}

static void leaf_privileges(const struct hv1 *h, struct cpuid_result *r)
{
    r->eax = bits_of(h, privileges, ARRAY_SIZE(privileges));
    r->ebx = h->config.profile.ports ? PRIVILEGE_PORTS : 0;
    r->edx = bits_of(h, features, ARRAY_SIZE(features));
}

/* With more than 64 VPs the flush calls' mask cannot name all, and leaf 5 says so (Microsoft's
 * requirements: then bits 1 and 2 must be clear). */
static void leaf_recommendations(const struct hv1 *h, struct cpuid_result *r)
{
    r->eax = bits_of(h, recommendations, ARRAY_SIZE(recommendations));
    if (h->config.cpus > FLAT_VPS_MAX)
        r->eax &= ~RECOMMEND_FLUSHES;
    r->ebx = hv1_has(h, HV1_SPINLOCKS) && h->config.overcommitted ? SPIN_COUNT : (u32)SPIN_NEVER;
}

bool hv1_cpuid(void *hv1, const struct vcpu *v, u32 leaf, u32 subleaf, struct cpuid_result *r)
{
    const struct hv1 *h = hv1;

    *r = (struct cpuid_result){0};
    switch (leaf) {
    case LEAF_VENDOR: leaf_vendor(h, r); break;
    case LEAF_FIRST + 1: r->eax = SIGNATURE; break;
    case LEAF_FIRST + 2:
        if (hv1_has(h, HV1_VERSION)) {
            r->eax = BUILD;
            r->ebx = VERSION;
        }
        break;
    case LEAF_FIRST + 3: leaf_privileges(h, r); break;
    case LEAF_FIRST + 4: leaf_recommendations(h, r); break;
    case LEAF_FIRST + 5: r->eax = h->config.cpus > FLAT_VPS_MAX ? ~0u : h->config.cpus; break;
    default: break;
    }
    log_trace(h->config.log, LOG_HV1, "hv1: vp %u cpuid %08x.%x -> %08x %08x %08x %08x", v->index,
              leaf, subleaf, r->eax, r->ebx, r->ecx, r->edx);
    return true;
}

/* AccessTscInvariantControls: the bit shows once the guest has asked for it. */
void hv1_cpuid_adjust(void *hv1, const struct vcpu *v, u32 leaf, struct cpuid_result *r)
{
    const struct hv1 *h = hv1;
    const u32 invariant_tsc = 1u << 8;

    (void)v;
    if (leaf == 0x80000007u && hv1_has(h, HV1_INVTSC) &&
        !(__atomic_load_n(&h->tsc_invariant, __ATOMIC_RELAXED) & 1))
        r->edx &= ~invariant_tsc;
}
