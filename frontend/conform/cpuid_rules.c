/* SPDX-License-Identifier: MIT
 *
 * Rules between CPUID leaves (SDM 2 CPUID; SDM 1 13.2; APM 3 appendix E), read by a guest.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "frontend/conform/cpuid_probe.h"

enum { XCR0_BASE = 3, XCR0_YMM = 1 << 2, XCR0_ZMM = 7 << 5, XCR0_PK = 1 << 9, BIT_OSXSAVE = 27 };

static bool has(const struct probe_machine *p, enum cpu_feature f)
{
    return feature_has(&p->model.features, f);
}

/* -- identity -- */

static bool same_vendor(struct probe_machine *p)
{
    struct cpuid_result a = probe_machine_cpuid(p, 0, 0);
    struct cpuid_result b = probe_machine_cpuid(p, 0x80000000u, 0);

    return a.ebx == b.ebx && a.ecx == b.ecx && a.edx == b.edx;
}

static bool leaves_reach(struct probe_machine *p)
{
    u32 basic = probe_machine_cpuid(p, 0, 0).eax;
    u32 extended = probe_machine_cpuid(p, 0x80000000u, 0).eax;

    return basic >= (has(p, FEAT_XSAVE) ? 0xdu : 7u) && basic < 0x100 && extended >= 0x80000008u;
}

static bool brand_is_text(struct probe_machine *p)
{
    char text[49] = "";

    for (u32 n = 0; n < 3; n++) {
        struct cpuid_result r = probe_machine_cpuid(p, 0x80000002u + n, 0);

        memcpy(text + n * 16, &r, 16);
    }
    for (const char *c = text; *c; c++)
        if (!isprint((unsigned char)*c))
            return false;
    return text[0] && strlen(text) < 48;
}

static bool address_sizes(struct probe_machine *p)
{
    u32 eax = probe_machine_cpuid(p, 0x80000008u, 0).eax;
    u32 physical = eax & 0xff, linear = eax >> 8 & 0xff;

    return physical >= 36 && physical <= 52 && linear == (has(p, FEAT_LA57) ? 57u : 48u);
}

/* -- extended state -- */

static u64 supported_states(const struct probe_machine *p)
{
    return XCR0_BASE | (has(p, FEAT_AVX) ? XCR0_YMM : 0) | (has(p, FEAT_AVX512F) ? XCR0_ZMM : 0) |
           (has(p, FEAT_PKU) ? XCR0_PK : 0);
}

static bool xcr0_states(struct probe_machine *p)
{
    struct cpuid_result r = probe_machine_cpuid(p, 0xd, 0);

    if (!has(p, FEAT_XSAVE))
        return !r.eax && !r.edx && !r.ebx && !r.ecx;
    return (r.eax | (u64)r.edx << 32) == supported_states(p);
}

/* SDM 1 13.5: architectural sizes; components must not overlap, and all fit into ECX. */
static bool state_sizes(struct probe_machine *p)
{
    static const struct {
        unsigned component;
        u32 size;
    } sizes[] = {{2, 256}, {5, 64}, {6, 512}, {7, 1024}, {9, 8}};
    u32 end = 576, total = probe_machine_cpuid(p, 0xd, 0).ecx;

    for (unsigned n = 0; n < ARRAY_SIZE(sizes) && has(p, FEAT_XSAVE); n++) {
        struct cpuid_result r = probe_machine_cpuid(p, 0xd, sizes[n].component);

        if (!(supported_states(p) >> sizes[n].component & 1)) {
            if (r.eax || r.ebx || r.ecx || r.edx)
                return false;
            continue;
        }
        if (r.eax != sizes[n].size || r.ebx < 576 || r.ebx + r.eax > total)
            return false;
        if (r.ebx < end && sizes[n].component > 2 && sizes[n].component != 9)
            return false;
        end = r.ebx + r.eax > end ? r.ebx + r.eax : end;
    }
    return !has(p, FEAT_XSAVE) || end == total;
}

static bool osxsave_follows_cr4(struct probe_machine *p)
{
    /* probe_machine_cpuid() sets CR4.OSXSAVE where the model takes it. */
    bool set = probe_machine_cpuid(p, 1, 0).ecx >> BIT_OSXSAVE & 1;

    return set == has(p, FEAT_XSAVE);
}

static bool xsetbv_takes_all(struct probe_machine *p)
{
    const struct probe_input in = {.bytes = (const u8 *)"\x0f\x01\xd1",
                                   .count = 3,
                                   .bits = p->bits,
                                   .rax = supported_states(p),
                                   .cr4_set = 1 << 18};
    struct lockstep_state s;

    return probe_machine_try(p, &in, &s) == (has(p, FEAT_XSAVE) ? PROBE_RAN : PROBE_VECTOR_UD);
}

static bool xsetbv_refuses_more(struct probe_machine *p)
{
    struct lockstep_state s;

    for (unsigned bit = 0; bit < 32 && has(p, FEAT_XSAVE); bit++) {
        const struct probe_input in = {.bytes = (const u8 *)"\x0f\x01\xd1",
                                       .count = 3,
                                       .bits = p->bits,
                                       .rax = supported_states(p) | BIT(bit),
                                       .cr4_set = 1 << 18};

        if (!(supported_states(p) >> bit & 1) && probe_machine_try(p, &in, &s) != PROBE_VECTOR_GP)
            return false;
    }
    return true;
}

/* -- features that need others -- */

static bool avx_needs(struct probe_machine *p)
{
    bool avx = has(p, FEAT_AVX);

    return (!avx || has(p, FEAT_XSAVE)) &&
           (avx ||
            !(has(p, FEAT_AVX2) || has(p, FEAT_FMA) || has(p, FEAT_F16C) || has(p, FEAT_VAES) ||
              has(p, FEAT_VPCLMULQDQ) || has(p, FEAT_AVX_VNNI) || has(p, FEAT_AVX512F)));
}

static bool avx512_needs(struct probe_machine *p)
{
    static const u8 parts[] = {FEAT_AVX512DQ,    FEAT_AVX512IFMA,     FEAT_AVX512CD,
                               FEAT_AVX512BW,    FEAT_AVX512VL,       FEAT_AVX512VBMI,
                               FEAT_AVX512VBMI2, FEAT_AVX512VNNI,     FEAT_AVX512BITALG,
                               FEAT_AVX512BF16,  FEAT_AVX512VPOPCNTDQ};

    if (has(p, FEAT_AVX512F))
        return has(p, FEAT_AVX2) && has(p, FEAT_FMA) && has(p, FEAT_F16C);
    for (unsigned n = 0; n < ARRAY_SIZE(parts); n++)
        if (has(p, parts[n]))
            return false;
    return true;
}

static bool sse_needs(struct probe_machine *p)
{
    static const u8 chain[] = {FEAT_FXSR,  FEAT_SSE,   FEAT_SSE2, FEAT_SSE3,
                               FEAT_SSSE3, FEAT_SSE41, FEAT_SSE42};

    for (unsigned n = 1; n < ARRAY_SIZE(chain); n++)
        if (has(p, chain[n]) && !has(p, chain[n - 1]))
            return false;
    return true;
}

static bool xsave_needs(struct probe_machine *p)
{
    return has(p, FEAT_XSAVE) || !(has(p, FEAT_XSAVEOPT) || has(p, FEAT_XSAVEC) ||
                                   has(p, FEAT_XGETBV1) || has(p, FEAT_XSAVES));
}

static bool long_mode_needs(struct probe_machine *p)
{
    return has(p, FEAT_LM) ? has(p, FEAT_PAE) && has(p, FEAT_MSR)
                           : !(has(p, FEAT_PCID) || has(p, FEAT_PAGE1GB) || has(p, FEAT_LAHF_LM));
}

/* -- topology: one processor -- */

static bool topology(struct probe_machine *p)
{
    struct cpuid_result one = probe_machine_cpuid(p, 1, 0);
    struct cpuid_result smt = probe_machine_cpuid(p, 0xb, 0), core = probe_machine_cpuid(p, 0xb, 1);

    return one.ebx >> 24 == smt.edx && smt.edx == core.edx && smt.eax <= core.eax && smt.ebx == 1 &&
           core.ebx == 1 && (smt.ecx >> 8) == 1 && (core.ecx >> 8) == 2 &&
           (one.ebx >> 16 & 0xff) <= 1 && !has(p, FEAT_HTT);
}

static const struct rule {
    const char *text;
    bool (*holds)(struct probe_machine *p);
} rules[] = {
    {"leaves 0 and 80000000H name the same vendor", same_vendor},
    {"the last leaves reach those that features need", leaves_reach},
    {"the brand string is text that ends in a NUL", brand_is_text},
    {"80000008H: 36 to 52 physical bits, 48 or with LA57 57 linear bits", address_sizes},
    {"0DH: XCR0 has exactly the states of AVX, AVX-512F and PKU", xcr0_states},
    {"0DH: components have their architectural sizes, in order, and end at ECX", state_sizes},
    {"1 ECX 27 (OSXSAVE) follows CR4", osxsave_follows_cr4},
    {"XSETBV takes all states that 0DH lists", xsetbv_takes_all},
    {"XSETBV refuses every other state", xsetbv_refuses_more},
    {"AVX needs XSAVE; VEX extensions need AVX", avx_needs},
    {"AVX-512F needs AVX2, FMA, F16C; its parts need AVX-512F", avx512_needs},
    {"each SSE level needs the one before", sse_needs},
    {"XSAVEOPT, XSAVEC, XGETBV 1 and XSAVES need XSAVE", xsave_needs},
    {"long mode needs PAE; PCID, 1 GiB pages and LAHF in 64-bit mode need it", long_mode_needs},
    {"leaves 1 and 0BH give the same APIC id and one processor", topology},
};

unsigned cpuid_rules_count(void)
{
    return ARRAY_SIZE(rules);
}

unsigned cpuid_rules_check(struct probe_machine *p, FILE *out)
{
    unsigned broken = 0;

    for (unsigned n = 0; n < ARRAY_SIZE(rules); n++)
        if (!rules[n].holds(p)) {
            fprintf(out, "rule broken: %s\n", rules[n].text);
            broken++;
        }
    return broken;
}
