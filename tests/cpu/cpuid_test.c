/* SPDX-License-Identifier: MIT
 *
 * CPUID as systems read it: topology leaves against the APIC ids for many topologies and both
 * vendors, state sizes, frequencies, the bits that follow control registers.
 */
#include <check.h>

#include "cpu/msr.h"
#include "tests/cpu/machine.h"
#include "tests/suite.h"

static struct machine m;

static void setup(void)
{
    machine_create(&m);
}

static void teardown(void)
{
    machine_destroy(&m);
}

static struct cpuid_result leaf(u32 number, u32 sub)
{
    struct cpuid_result r;

    cpuid_read(m.v, number, sub, &r);
    return r;
}

static unsigned ceil_log2(unsigned n)
{
    unsigned bits = 0;

    while (1u << bits < n)
        bits++;
    return bits;
}

static void vendor(const char *name)
{
    strcpy(m.model.vendor, name);
    if (strcmp(name, "AuthenticAMD"))
        feature_remove(&m.model.features, FEAT_TOPOEXT);
    else
        feature_add(&m.model.features, FEAT_TOPOEXT);
}

/* -- topology -- */

static void check_extended_topology(const struct cpu_topology *t, unsigned index, u32 number)
{
    u32 id = cpu_topology_apic_id(t, index);
    struct cpuid_result smt = leaf(number, 0), core = leaf(number, 1), end = leaf(number, 2);
    struct cpuid_result far = leaf(number, 0x1ff);

    /* SDM 2 CPUID leaf 0BH: type in ECX 15:8, level number in 7:0, x2APIC id always. */
    ck_assert_uint_eq(smt.ecx, 0x100);
    ck_assert_uint_eq(core.ecx, 0x201);
    ck_assert_uint_eq(end.ecx, 2);
    ck_assert_uint_eq(far.ecx, 0xff);
    ck_assert_uint_eq(smt.edx, id);
    ck_assert_uint_eq(core.edx, id);
    ck_assert_uint_eq(end.edx, id);
    ck_assert_uint_eq(smt.ebx, t->threads);
    ck_assert_uint_eq(core.ebx, t->threads * t->cores);
    ck_assert_uint_eq(end.ebx, 0);
    ck_assert_uint_eq(end.eax, 0);
    /* Shifting the id right gives the core, then the package. */
    ck_assert_uint_eq(id >> smt.eax & ((1u << (core.eax - smt.eax)) - 1),
                      index / t->threads % t->cores);
    ck_assert_uint_eq(id >> core.eax, index / (t->threads * t->cores));
    ck_assert_uint_eq(smt.eax, ceil_log2(t->threads));
}

static void check_leaf_1(const struct cpu_topology *t, u32 id)
{
    struct cpuid_result r = leaf(1, 0);
    unsigned addressable = 1u << cpu_topology_package_bits(t);
    unsigned count = t->cores * t->threads;

    ck_assert_uint_eq(r.ebx >> 24, id & 0xff);
    ck_assert_uint_ge(r.ebx >> 16 & 0xff, count < 255 ? count : 255);
    ck_assert_uint_le(r.ebx >> 16 & 0xff, addressable);
    ck_assert_uint_eq(r.ebx >> 8 & 0xff, 8); /* CLFLUSH: 64 bytes */
}

/* Sharing masks: ids that share a cache agree above ceil(log2(sharing)) bits. */
static void check_caches_intel(const struct cpu_topology *t)
{
    unsigned thread_bits = cpu_topology_thread_bits(t), package_bits = cpu_topology_package_bits(t);

    for (unsigned n = 0; n < 4; n++) {
        struct cpuid_result r = leaf(4, n);
        unsigned type = r.eax & 0x1f, level = r.eax >> 5 & 7, sharing = (r.eax >> 14 & 0xfff) + 1;

        ck_assert_uint_ge(type, 1);
        ck_assert_uint_le(type, 3);
        ck_assert_uint_eq(ceil_log2(sharing), level == 3 ? package_bits : thread_bits);
        ck_assert_uint_eq((r.eax >> 26) + 1, 1u << (package_bits - thread_bits));
        ck_assert_uint_eq((r.ebx & 0xfff) + 1, 64);
    }
    ck_assert_uint_eq(leaf(4, 4).eax, 0);
}

static void check_amd(const struct cpu_topology *t, u32 id)
{
    unsigned thread_bits = cpu_topology_thread_bits(t), package_bits = cpu_topology_package_bits(t);
    struct cpuid_result ids = leaf(0x8000001e, 0), sizes = leaf(0x80000008, 0);

    ck_assert_uint_eq(ids.eax, id);
    ck_assert_uint_eq(ids.ebx & 0xff, id >> thread_bits & 0xff);
    ck_assert_uint_eq((ids.ebx >> 8 & 0xff) + 1, t->threads);
    ck_assert_uint_eq(ids.ecx & 0xff, id >> package_bits);
    ck_assert_uint_eq(ids.ecx >> 8 & 7, 0); /* one node a package */
    ck_assert_uint_eq((sizes.ecx & 0xff) + 1, t->cores * t->threads);
    ck_assert_uint_eq(sizes.ecx >> 12 & 0xf, package_bits);
    for (unsigned n = 0; n < 4; n++) {
        struct cpuid_result r = leaf(0x8000001d, n);

        ck_assert_uint_eq(ceil_log2((r.eax >> 14 & 0xfff) + 1),
                          (r.eax >> 5 & 7) == 3 ? package_bits : thread_bits);
    }
    ck_assert_uint_eq(leaf(0x8000001d, 4).eax, 0);
}

static void check_topology(const struct cpu_topology *t)
{
    m.model.topology = *t;
    for (unsigned n = 0; n < t->sockets * t->cores * t->threads; n++) {
        u32 id = cpu_topology_apic_id(t, n);

        m.v->apic_id = id;
        vendor("GenuineIntel");
        check_extended_topology(t, n, 0xb);
        check_extended_topology(t, n, 0x1f);
        check_leaf_1(t, id);
        check_caches_intel(t);
        ck_assert_uint_eq(leaf(0x80000008, 0).ecx, 0);
        vendor("AuthenticAMD");
        check_extended_topology(t, n, 0xb);
        check_leaf_1(t, id);
        check_amd(t, id);
        ck_assert_uint_eq(leaf(4, 0).eax, 0); /* reserved in APM 3 E.3 */
    }
}

START_TEST(topology_leaves_agree_with_the_apic_ids)
{
    static const struct cpu_topology large[] = {{1, 16, 2}, {1, 64, 1}, {2, 12, 2}, {4, 6, 1},
                                                {1, 1, 8},  {8, 1, 1},  {1, 61, 2}};

    for (unsigned sockets = 1; sockets <= 3; sockets++)
        for (unsigned cores = 1; cores <= 6; cores++)
            for (unsigned threads = 1; threads <= 3; threads++)
                check_topology(&(const struct cpu_topology){sockets, cores, threads});
    for (unsigned n = 0; n < ARRAY_SIZE(large); n++)
        check_topology(&large[n]);
}
END_TEST

/* 255 processors: fields of 8 bits are full, not zero. */
START_TEST(large_packages_saturate)
{
    m.model.topology = (struct cpu_topology){1, 255, 1};
    vendor("GenuineIntel");
    ck_assert_uint_eq(leaf(1, 0).ebx >> 16 & 0xff, 255);
    ck_assert_uint_eq(leaf(4, 0).eax >> 26, 63);
    ck_assert_uint_eq(leaf(0xb, 1).ebx, 255);
    vendor("AuthenticAMD");
    ck_assert_uint_eq(leaf(1, 0).ebx >> 16 & 0xff, 255);
}
END_TEST

START_TEST(hyperthreading_bit_means_more_than_one)
{
    struct error err;
    const struct cpu_topology alone = {2, 1, 1}, pair = {1, 2, 1};

    ck_assert_int_eq(cpu_model_parse(&m.model, "x86-64", &alone, 1000000000, 1000000000, &err),
                     ST_OK);
    ck_assert(!(leaf(1, 0).edx & 1u << 28));
    ck_assert(!(leaf(0x80000001, 0).ecx & 2));
    ck_assert_int_eq(cpu_model_parse(&m.model, "x86-64", &pair, 1000000000, 1000000000, &err),
                     ST_OK);
    ck_assert(leaf(1, 0).edx & 1u << 28);
    ck_assert(leaf(0x80000001, 0).ecx & 2);
}
END_TEST

/* -- caches -- */

START_TEST(cache_leaves_agree_with_each_other)
{
    struct cpuid_result l1, l2, l3, sizes;

    vendor("AuthenticAMD");
    l1 = leaf(0x8000001d, 0);
    l2 = leaf(0x8000001d, 2);
    l3 = leaf(0x8000001d, 3);
    sizes = leaf(0x80000005, 0);
#define CACHE_BYTES(r) (((r.ebx >> 22) + 1) * ((r.ebx & 0xfff) + 1) * (r.ecx + 1))
    ck_assert_uint_eq(sizes.ecx >> 24, CACHE_BYTES(l1) / 1024);
    ck_assert_uint_eq(sizes.ecx & 0xff, 64);
    sizes = leaf(0x80000006, 0);
    ck_assert_uint_eq(sizes.ecx >> 16, CACHE_BYTES(l2) / 1024);
    ck_assert_uint_eq(sizes.edx >> 18, CACHE_BYTES(l3) / (512 * 1024));
    vendor("GenuineIntel");
    l2 = leaf(4, 2);
    ck_assert_uint_eq(leaf(0x80000006, 0).ecx >> 16, CACHE_BYTES(l2) / 1024);
#undef CACHE_BYTES
}
END_TEST

/* -- identity and limits -- */

START_TEST(vendor_and_largest_leaves)
{
    struct cpuid_result r = leaf(0, 0);
    char text[13] = "";

    memcpy(text, &r.ebx, 4);
    memcpy(text + 4, &r.edx, 4);
    memcpy(text + 8, &r.ecx, 4);
    ck_assert_str_eq(text, "AuthenticAMD");
    ck_assert_uint_eq(r.eax, 0x1f);
    r = leaf(0x80000000, 0);
    ck_assert_uint_ge(r.eax, 0x80000008);
    memcpy(text, &r.ebx, 4);
    ck_assert_mem_eq(text, "Auth", 4);
    ck_assert_uint_eq(leaf(1, 0).eax, m.model.signature);
    ck_assert_uint_eq(leaf(0x80000001, 0).eax, m.model.signature);
}
END_TEST

START_TEST(brand_string_is_whole)
{
    char text[49] = "";

    for (u32 n = 0; n < 3; n++) {
        struct cpuid_result r = leaf(0x80000002 + n, 0);

        memcpy(text + n * 16, &r, 16);
    }
    ck_assert_str_eq(text, "Lockstep test processor");
}
END_TEST

/* Beyond the last leaf: Intel repeats the last basic one, AMD gives zeroes. The range that belongs
 * to hypervisors is empty on both, since leaf 1 says that there is one. */
START_TEST(unknown_leaves)
{
    static const u32 beyond[] = {0x20, 0x1000, 0x3fffffff, 0x80000100, 0xc0000000, 0xffffffff};
    static const struct cpuid_result zero = {0, 0, 0, 0};
    struct cpuid_result r, last;

    for (unsigned n = 0; n < ARRAY_SIZE(beyond); n++) {
        vendor("AuthenticAMD");
        r = leaf(beyond[n], 0);
        ck_assert_mem_eq(&r, &zero, sizeof(r));
        vendor("GenuineIntel");
        r = leaf(beyond[n], 1);
        last = leaf(0x1f, 1);
        ck_assert_mem_eq(&r, &last, sizeof(r));
    }
    r = leaf(0x40000000, 0);
    ck_assert_mem_eq(&r, &zero, sizeof(r));
    r = leaf(0x400000ff, 0);
    ck_assert_mem_eq(&r, &zero, sizeof(r));
}
END_TEST

/* Every advertised bit is a feature of the model and the other way round. */
START_TEST(bits_are_the_features)
{
    struct feature_set none = {{0}}, all = m.model.features;
#define FEATURE(id, name, number, sub, reg, bit, kind, level)                                      \
    do {                                                                                           \
        u32 r[4];                                                                                  \
        struct cpuid_result with, without;                                                         \
        m.model.features = all;                                                                    \
        feature_add(&m.model.features, FEAT_##id);                                                 \
        with = leaf(number, sub);                                                                  \
        feature_remove(&m.model.features, FEAT_##id);                                              \
        without = leaf(number, sub);                                                               \
        memcpy(r, &with, sizeof(r));                                                               \
        ck_assert_msg(r[reg] & 1u << bit, name);                                                   \
        memcpy(r, &without, sizeof(r));                                                            \
        ck_assert_msg(!(r[reg] & 1u << bit), name);                                                \
    } while (0);
#include "cpu/feature.def"
#undef FEATURE
    m.model.features = none;
    ck_assert_uint_eq(leaf(1, 0).edx | leaf(1, 0).ecx, 0);
    ck_assert_uint_eq(leaf(7, 0).ebx | leaf(7, 0).ecx | leaf(7, 0).edx, 0);
    ck_assert_uint_eq(leaf(0xd, 0).eax, 0);
}
END_TEST

/* APM 3 E.4.2: bits of 80000001H EDX that repeat leaf 1, on AMD only. */
START_TEST(amd_repeats_leaf_1)
{
    const u32 alias = 0x0183f3ff;

    vendor("AuthenticAMD");
    ck_assert_uint_eq(leaf(0x80000001, 0).edx & alias, leaf(1, 0).edx & alias);
    vendor("GenuineIntel");
    ck_assert_uint_eq(leaf(0x80000001, 0).edx & alias, 0);
}
END_TEST

/* -- bits that follow the state -- */

START_TEST(bits_that_follow_control_registers)
{
    m.v->cr4 &= ~(u64)(CR4_OSXSAVE | CR4_PKE);
    ck_assert(!(leaf(1, 0).ecx & 1u << 27));
    ck_assert(!(leaf(7, 0).ecx & 1u << 4));
    m.v->cr4 |= CR4_OSXSAVE | CR4_PKE;
    ck_assert(leaf(1, 0).ecx & 1u << 27);
    ck_assert(leaf(7, 0).ecx & 1u << 4);
}
END_TEST

START_TEST(monitor_follows_misc_enable)
{
    u64 value;

    vendor("GenuineIntel");
    msr_reset(m.v);
    ck_assert(leaf(1, 0).ecx & 1u << 3);
    ck_assert(msr_read(m.v, 0x1a0, &value));
    ck_assert(msr_write(m.v, 0x1a0, value & ~BIT(18)));
    ck_assert(!(leaf(1, 0).ecx & 1u << 3));
}
END_TEST

/* -- leaf 0DH -- */

static u32 standard_size(u64 components)
{
    u32 size = 576;

    for (unsigned n = 2; n < 63; n++) {
        struct cpuid_result r = leaf(0xd, n);

        if ((components >> n & 1) && r.ebx + r.eax > size)
            size = r.ebx + r.eax;
    }
    return size;
}

static u32 compacted_size(u64 components)
{
    u32 size = 576;

    for (unsigned n = 2; n < 63; n++) {
        struct cpuid_result r = leaf(0xd, n);

        if (!(components >> n & 1))
            continue;
        if (r.ecx & 2)
            size = (u32)align_up(size, 64);
        size += r.eax;
    }
    return size;
}

START_TEST(xsave_sizes_follow_xcr0)
{
    static const u64 sets[] = {XCR0_X87,
                               XCR0_X87 | XCR0_SSE,
                               XCR0_X87 | XCR0_SSE | XCR0_AVX,
                               XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512,
                               XCR0_X87 | XCR0_SSE | XCR0_PKRU,
                               XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU};

    ck_assert_uint_eq(leaf(0xd, 0).eax, m.model.xcr0_supported);
    ck_assert_uint_eq(leaf(0xd, 0).edx, 0);
    ck_assert_uint_eq(leaf(0xd, 0).ecx, standard_size(m.model.xcr0_supported));
    for (unsigned n = 0; n < ARRAY_SIZE(sets); n++) {
        m.v->xcr0 = sets[n];
        ck_assert_uint_eq(leaf(0xd, 0).ebx, standard_size(sets[n]));
        ck_assert_uint_eq(leaf(0xd, 1).ebx, compacted_size(sets[n]));
    }
}
END_TEST

START_TEST(xsave_components_do_not_overlap)
{
    u32 end = 576;

    for (unsigned n = 2; n < 63; n++) {
        struct cpuid_result r = leaf(0xd, n);

        if (!(m.model.xcr0_supported >> n & 1)) {
            ck_assert_uint_eq(r.eax | r.ebx | r.ecx | r.edx, 0);
            continue;
        }
        ck_assert_uint_ge(r.ebx, end);
        ck_assert_uint_gt(r.eax, 0);
        ck_assert_uint_eq(r.ecx & 1, 0); /* a user component */
        end = r.ebx + r.eax;
    }
    ck_assert_uint_eq(leaf(0xd, 2).eax, 256);
    ck_assert_uint_eq(leaf(0xd, 2).ebx, 576);
    ck_assert_uint_eq(leaf(0xd, 64).eax | leaf(0xd, 66).eax, 0);
}
END_TEST

START_TEST(no_xsave_no_leaf)
{
    struct cpuid_result r;

    feature_remove(&m.model.features, FEAT_XSAVE);
    for (u32 n = 0; n < 10; n++) {
        r = leaf(0xd, n);
        ck_assert_uint_eq(r.eax | r.ebx | r.ecx | r.edx, 0);
    }
}
END_TEST

/* -- frequencies -- */

START_TEST(frequencies_are_those_of_the_clock)
{
    static const u64 rates[] = {1000000000, 2596124000, 3999999999, 800000000};

    for (unsigned n = 0; n < ARRAY_SIZE(rates); n++) {
        struct cpuid_result r;
        u64 tsc;

        m.model.tsc_hz = rates[n];
        r = leaf(0x15, 0);
        ck_assert_uint_gt(r.eax, 0);
        ck_assert_uint_eq(r.ecx, m.model.apic_bus_hz);
        tsc = (u64)r.ecx * r.ebx / r.eax;
        ck_assert_uint_le(tsc, rates[n]);
        ck_assert_uint_gt(tsc, rates[n] - 1000);
        ck_assert_uint_eq(leaf(0x16, 0).eax, rates[n] / 1000000);
    }
    ck_assert(leaf(0x80000007, 0).edx & 1 << 8); /* invariant TSC */
    ck_assert(leaf(6, 0).eax & 4);               /* the APIC timer always runs */
}
END_TEST

START_TEST(monitor_leaf_needs_monitor)
{
    ck_assert_uint_eq(leaf(5, 0).eax, 64);
    ck_assert_uint_eq(leaf(5, 0).ebx, 64);
    feature_remove(&m.model.features, FEAT_MONITOR);
    ck_assert_uint_eq(leaf(5, 0).eax, 0);
    ck_assert_uint_eq(leaf(5, 0).ecx, 0);
}
END_TEST

START_TEST(address_sizes)
{
    ck_assert_uint_eq(leaf(0x80000008, 0).eax, 48 | 48 << 8);
    m.model.maxphyaddr = 40;
    ck_assert_uint_eq(leaf(0x80000008, 0).eax, 40 | 48 << 8);
}
END_TEST

static bool range(void *opaque, const struct vcpu *v, u32 number, u32 sub, struct cpuid_result *r)
{
    (void)v;
    if (number == 0x40000002)
        return false;
    *r = (struct cpuid_result){number, sub, *(u32 *)opaque, 4};
    return true;
}

START_TEST(a_higher_layer_can_add_leaves)
{
    u32 number = 77;
    struct cpuid_result r;

    m.model.cpuid_range_first = 0x40000000;
    m.model.cpuid_range_last = 0x400000ff;
    m.model.cpuid_range = range;
    m.model.cpuid_range_opaque = &number;
    r = leaf(0x40000001, 3);
    ck_assert_uint_eq(r.eax, 0x40000001);
    ck_assert_uint_eq(r.ebx, 3);
    ck_assert_uint_eq(r.ecx, 77);
    ck_assert_uint_eq(leaf(0x40000002, 0).eax, 0);
    ck_assert_uint_eq(leaf(0x40000100, 0).ecx, 0);
    ck_assert_uint_eq(leaf(0, 0).eax, 0x1f);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("cpuid");
    TCase *tc = tcase_create("cpuid");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, topology_leaves_agree_with_the_apic_ids);
    tcase_add_test(tc, large_packages_saturate);
    tcase_add_test(tc, hyperthreading_bit_means_more_than_one);
    tcase_add_test(tc, cache_leaves_agree_with_each_other);
    tcase_add_test(tc, vendor_and_largest_leaves);
    tcase_add_test(tc, brand_string_is_whole);
    tcase_add_test(tc, unknown_leaves);
    tcase_add_test(tc, bits_are_the_features);
    tcase_add_test(tc, amd_repeats_leaf_1);
    tcase_add_test(tc, bits_that_follow_control_registers);
    tcase_add_test(tc, monitor_follows_misc_enable);
    tcase_add_test(tc, xsave_sizes_follow_xcr0);
    tcase_add_test(tc, xsave_components_do_not_overlap);
    tcase_add_test(tc, no_xsave_no_leaf);
    tcase_add_test(tc, frequencies_are_those_of_the_clock);
    tcase_add_test(tc, monitor_leaf_needs_monitor);
    tcase_add_test(tc, address_sizes);
    tcase_add_test(tc, a_higher_layer_can_add_leaves);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
