/* SPDX-License-Identifier: MIT
 *
 * MSRs: for each register its reset value, who has it, which bits it takes and what it refuses; the
 * coupling of the TSC with TSC_ADJUST; unknown registers; ranges of higher layers.
 */
#include <check.h>

#include "cpu/msr.h"
#include "tests/cpu/machine.h"
#include "tests/suite.h"

enum who { BOTH, AMD, INTEL };

static struct machine m;

static void setup(void)
{
    machine_create(&m);
    msr_reset(m.v);
}

static void teardown(void)
{
    machine_destroy(&m);
}

static void vendor(enum who who)
{
    strcpy(m.model.vendor, who == INTEL ? "GenuineIntel" : "AuthenticAMD");
    msr_reset(m.v);
}

static u64 get(u32 msr)
{
    u64 value;

    ck_assert_msg(msr_read(m.v, msr, &value), "MSR %#x cannot be read", msr);
    return value;
}

static bool readable(u32 msr)
{
    u64 value;

    return msr_read(m.v, msr, &value);
}

static void put(u32 msr, u64 value)
{
    ck_assert_msg(msr_write(m.v, msr, value), "MSR %#x refuses %#lx", msr, value);
    ck_assert_msg(get(msr) == value, "MSR %#x is %#lx after writing %#lx", msr, get(msr), value);
}

static void refuse(u32 msr, u64 value)
{
    u64 before = 0, after = 0;
    bool there = msr_read(m.v, msr, &before);

    ck_assert_msg(!msr_write(m.v, msr, value), "MSR %#x takes %#lx", msr, value);
    ck_assert_msg(!there || (msr_read(m.v, msr, &after) && before == after),
                  "MSR %#x changed by a refused write", msr);
}

/* -- the table: index, who, value after reset, a value it takes (0: only its own), bits it refuses
 * -- */

static const struct row {
    u32 msr;
    enum who who;
    u64 reset, takes, refuses;
} rows[] = {
    {0x17, INTEL, 0, 0, 1},
    {0x3a, INTEL, 1, 0, 4}, /* FEATURE_CONTROL is locked */
    {0x35, INTEL, 0x00010001, 0, 2},
    {0xce, INTEL, 0, 0, 1},
    {0x140, INTEL, 0, 0, 1},
    {0x198, INTEL, 0, 0, 1},
    {0x199, INTEL, 0, 0x1100, BIT(63)},
    {0x19a, INTEL, 0, 0x1f, 0x20},
    {0x19c, INTEL, 0, 0, 1},
    {0x1b0, INTEL, 0, 6, 0x10},
    {0x606, INTEL, 0, 0, 1},
    {0xfe, BOTH, 0x508, 0, 0x507},           /* MTRRCAP */
    {0x10a, BOTH, 0x400000000d10e179, 0, 0}, /* ARCH_CAPABILITIES */
    {0x179, BOTH, 0x10a, 0, 0x10b},          /* MCG_CAP */
    {0x17a, BOTH, 0, 4, 8},                  /* MCG_STATUS */
    {0x17b, BOTH, ~0ull, 0x55, 0},
    {0x277, BOTH, 0x0007040600070406, 0x0007010600070106, 2}, /* PAT */
    {0x2ff, BOTH, 0, 0xc06, 0x1000},                          /* MTRR_DEF_TYPE */
    {0x250, BOTH, 0, 0x0606060606060606, 2},
    {0x258, BOTH, 0, 0x0505050505050505, 0x300},
    {0x259, BOTH, 0, 0x0404040404040404, 7},
    {0x268, BOTH, 0, 0x0101010101010101, 0x0200000000000000},
    {0x26f, BOTH, 0, 6, 8},
    {0x200, BOTH, 0, 0xf0000006, 0x100}, /* MTRR_PHYSBASE0: reserved bits */
    {0x20e, BOTH, 0, 0xffffffff0000, BIT(48)},
    {0x201, BOTH, 0, 0xfffff0000800, 0x400}, /* MTRR_PHYSMASK0 */
    {0x20f, BOTH, 0, 0x800, BIT(63)},
    {0x174, BOTH, 0, 0x10, 0}, /* SYSENTER_CS */
    {0x1d9, BOTH, 0, 2, 0x80}, /* DEBUGCTL */
    {0x1db, BOTH, 0, 0, 1},
    {0xda0, BOTH, 0, 0, 0x100},                                    /* XSS: nothing is offered */
    {0xc0000081, BOTH, 0, ~0ull, 0},                               /* STAR */
    {0xc0000082, BOTH, 0, 0xffff800000000000, 0x0000800000000000}, /* LSTAR: canonical */
    {0xc0000083, BOTH, 0, 0x00007fffffffffff, 0x8000000000000000},
    {0xc0000084, BOTH, 0, 0xffffffff, BIT(32)}, /* FMASK */
    {0xc0000100, BOTH, 0, 0xffffffffffffffff, 0x0001000000000000},
    {0xc0000101, BOTH, 0, 0x1234, 0x0000ffffffffffff},
    {0xc0000102, BOTH, 0, 0xffff888000000000, 0xfff7000000000000},
    {0xc0000103, BOTH, 0, 0xffffffff, BIT(32)},   /* TSC_AUX */
    {0x8b, AMD, 0x0a101148, 0, 1},                /* patch level: read-only */
    {0xc0010015, AMD, 0x01000010, 0x01000011, 0}, /* HWCR */
    {0xc001001a, AMD, 0, 0x80000000, 0},
    {0xc0010055, AMD, 0, 1, 0},
    {0xc0010061, AMD, 0, 0, 1},
    {0xc0010062, AMD, 0, 1, 8},
    {0xc0010063, AMD, 0, 0, 1},
    {0xc0010114, AMD, 0x18, 0, 0x10}, /* VM_CR: SVM is off and locked */
    {0xc0010140, AMD, 0, 0, 1},
    {0xc0011029, AMD, 2, 0x402, 0}, /* DE_CFG: LFENCE serialises */
};

static void check_row(const struct row *r)
{
    ck_assert_msg(get(r->msr) == r->reset, "MSR %#x is %#lx after reset", r->msr, get(r->msr));
    if (r->takes)
        put(r->msr, r->takes);
    if (r->refuses)
        refuse(r->msr, r->refuses);
    if (!r->takes && !r->refuses)
        refuse(r->msr, ~r->reset);
    vcpu_reset(m.v, true); /* INIT keeps MSRs, power-on does not; FS and GS are segments */
    if (r->takes && r->msr != 0xc0000100 && r->msr != 0xc0000101)
        ck_assert_msg(get(r->msr) == r->takes, "MSR %#x after INIT", r->msr);
    vcpu_reset(m.v, false);
    ck_assert_msg(get(r->msr) == r->reset, "MSR %#x after a second reset", r->msr);
}

START_TEST(every_register_keeps_its_rules)
{
    const struct row *r = &rows[_i];

    if (r->who != INTEL) {
        vendor(AMD);
        check_row(r);
    }
    if (r->who != AMD) {
        vendor(INTEL);
        check_row(r);
    }
    if (r->who == BOTH)
        return;
    vendor(r->who == AMD ? INTEL : AMD); /* the other vendor has no such register... */
    if (r->msr == 0x8b)
        return; /* ... but Intel has another one at this place */
    ck_assert_msg(!readable(r->msr), "MSR %#x of the other vendor", r->msr);
    ck_assert(!msr_write(m.v, r->msr, 0));
}
END_TEST

START_TEST(features_hide_their_registers)
{
    static const struct {
        u32 msr;
        enum cpu_feature feature;
        u64 value;
    } hidden[] = {
        {0x3b, FEAT_TSC_ADJUST, 1},
        {0xfe, FEAT_MTRR, 0},
        {0x10a, FEAT_ARCH_CAPABILITIES, 0},
        {0x174, FEAT_SEP, 8},
        {0x175, FEAT_SEP, 8},
        {0x176, FEAT_SEP, 8},
        {0x179, FEAT_MCA, 0},
        {0x17a, FEAT_MCA, 0},
        {0x17b, FEAT_MCA, 0},
        {0x400, FEAT_MCA, 1},
        {0x277, FEAT_PAT, 6},
        {0x2ff, FEAT_MTRR, 6},
        {0x200, FEAT_MTRR, 6},
        {0x250, FEAT_MTRR, 6},
        {0xda0, FEAT_XSAVES, 0},
        {0xc0000081, FEAT_SYSCALL, 1},
        {0xc0000084, FEAT_SYSCALL, 1},
        {0xc0000082, FEAT_LM, 1},
        {0xc0000100, FEAT_LM, 1},
        {0xc0000101, FEAT_LM, 1},
        {0xc0000102, FEAT_LM, 1},
        {0x10, FEAT_TSC, 1},
    };
    struct feature_set all = m.model.features;

    for (unsigned n = 0; n < ARRAY_SIZE(hidden); n++) {
        m.model.features = all;
        ck_assert_msg(readable(hidden[n].msr), "MSR %#x", hidden[n].msr);
        feature_remove(&m.model.features, hidden[n].feature);
        ck_assert_msg(!readable(hidden[n].msr), "MSR %#x is not hidden", hidden[n].msr);
        ck_assert_msg(!msr_write(m.v, hidden[n].msr, hidden[n].value), "MSR %#x", hidden[n].msr);
    }
    m.model.features = all;
    feature_remove(&m.model.features, FEAT_RDTSCP);
    put(0xc0000103, 5); /* RDPID needs it, too */
    feature_remove(&m.model.features, FEAT_RDPID);
    ck_assert(!readable(0xc0000103));
}
END_TEST

/* SDM 3A 11.11.2.1, 11.12.4: memory types 2 and 3 and above 6 (7 in the PAT) are reserved. */
START_TEST(memory_types)
{
    for (unsigned type = 0; type < 256; type++) {
        bool mtrr = type <= 6 && type != 2 && type != 3;

        for (unsigned byte = 0; byte < 8; byte++) {
            u64 value = (u64)type << 8 * byte;

            ck_assert_int_eq(msr_write(m.v, 0x268, value), mtrr);
            ck_assert_int_eq(msr_write(m.v, 0x277, value), mtrr || type == 7);
        }
        ck_assert_int_eq(msr_write(m.v, 0x2ff, type), mtrr);
        ck_assert_int_eq(msr_write(m.v, 0x200, type), mtrr);
    }
}
END_TEST

START_TEST(mtrrs_follow_maxphyaddr)
{
    m.model.maxphyaddr = 40;
    put(0x201, 0xff00000800);
    refuse(0x201, BIT(40) | 0x800);
    refuse(0x200, BIT(40) | 6);
    ck_assert(!readable(0x210)); /* eight ranges, 200H-20FH */
}
END_TEST

/* Banks: ten, CTL free, the others take only 0 (SDM 3B 15.3.2). */
START_TEST(machine_check_banks)
{
    for (u32 bank = 0; bank < 10; bank++) {
        put(0x400 + bank * 4, 0x1234);
        for (u32 reg = 1; reg < 4; reg++) {
            put(0x400 + bank * 4 + reg, 0);
            refuse(0x400 + bank * 4 + reg, 1);
        }
    }
    ck_assert(!readable(0x428));
}
END_TEST

/* AMD's HWCR.McStatusWrEn (bit 18) lets software write the status registers. */
START_TEST(mc_status_write_enable)
{
    put(0xc0010015, get(0xc0010015) | BIT(18));
    put(0x401, 0xb200000000000000);
    put(0xc0010015, get(0xc0010015) & ~BIT(18));
    refuse(0x401, 1);
    put(0x401, 0);
}
END_TEST

START_TEST(sysenter_addresses)
{
    vendor(INTEL);
    put(0x175, 0xffffffff81000000);
    refuse(0x176, 0x8000000000000000);
    ck_assert(msr_write(m.v, 0x174, 0x123456789));
    ck_assert_uint_eq(get(0x174), 0x23456789);
    vendor(AMD); /* 32 bits, no check (APM 2 6.1.2) */
    ck_assert(msr_write(m.v, 0x175, 0xffffffff81000000));
    ck_assert_uint_eq(get(0x175), 0x81000000);
    ck_assert(msr_write(m.v, 0x174, 0x12345678));
    ck_assert_uint_eq(get(0x174), 0x5678);
}
END_TEST

START_TEST(bases_are_the_segments)
{
    put(0xc0000100, 0x1000);
    put(0xc0000101, 0xffff800000002000);
    ck_assert_uint_eq(m.v->seg[SEG_FS].base, 0x1000);
    ck_assert_uint_eq(m.v->seg[SEG_GS].base, 0xffff800000002000);
    m.v->seg[SEG_GS].base = 0x77;
    ck_assert_uint_eq(get(0xc0000101), 0x77);
}
END_TEST

START_TEST(efer_rules)
{
    u64 lma;

    machine_start(&m, MACHINE_LONG);
    lma = get(0xc0000080);
    ck_assert_uint_eq(lma & EFER_LMA, EFER_LMA);
    ck_assert(msr_write(m.v, 0xc0000080, lma & ~(u64)EFER_LMA)); /* LMA is read-only, ignored */
    ck_assert_uint_eq(get(0xc0000080), lma);
    refuse(0xc0000080, lma & ~(u64)EFER_LME); /* not while paging is on */
    refuse(0xc0000080, lma | 2);
    refuse(0xc0000080, lma | EFER_SVME);
    put(0xc0000080, lma & ~(u64)EFER_SCE);
    feature_remove(&m.model.features, FEAT_NX);
    refuse(0xc0000080, lma | EFER_NXE);
}
END_TEST

/* -- Intel's MISC_ENABLE: read-only bits keep their value, reserved ones are #GP -- */

START_TEST(misc_enable)
{
    vendor(INTEL);
    ck_assert_uint_eq(get(0x1a0), BIT(0) | BIT(11) | BIT(12) | BIT(18));
    ck_assert(msr_write(m.v, 0x1a0, BIT(0)));
    ck_assert_uint_eq(get(0x1a0), BIT(0) | BIT(11) | BIT(12));
    put(0x1a0, BIT(0) | BIT(11) | BIT(12) | BIT(16) | BIT(18));
    refuse(0x1a0, BIT(1));
    refuse(0x1a0, BIT(22)); /* no limit to CPUID */
    refuse(0x1a0, BIT(34)); /* NX cannot be hidden */
    vendor(AMD);
    ck_assert(!readable(0x1a0));
}
END_TEST

START_TEST(microcode)
{
    vendor(INTEL);
    ck_assert_uint_eq(get(0x8b), 0xffffffffull << 32);
    ck_assert(msr_write(m.v, 0x8b, 0)); /* written before CPUID asks for the revision */
    ck_assert_uint_eq(get(0x8b), 0xffffffffull << 32);
    ck_assert(msr_write(m.v, 0x79, 0x100000)); /* an update that changes nothing */
    ck_assert(!readable(0x79));
    ck_assert(!msr_write(m.v, 0xc0010020, 0));
    vendor(AMD);
    ck_assert(msr_write(m.v, 0xc0010020, 0x100000));
    ck_assert(!readable(0xc0010020));
    ck_assert(!msr_write(m.v, 0x79, 0));
}
END_TEST

START_TEST(pstates)
{
    u64 value = get(0xc0010064);

    m.model.tsc_hz = 2600000000;
    value = get(0xc0010064);
    ck_assert(value & BIT(63));
    ck_assert_uint_eq((value & 0xff) * 25 * 8 / (value >> 8 & 0x3f), 2600);
    ck_assert_uint_eq(get(0xc001006b), 0);
    ck_assert(!readable(0xc001006c));
}
END_TEST

/* -- time -- */

static u64 base_tsc(void)
{
    return m.tsc; /* what the platform says; each look adds 100 */
}

START_TEST(tsc_write_shows_in_tsc_adjust)
{
    u64 before, after;

    m.tsc = 1000000;
    ck_assert_uint_eq(get(0x3b), 0);
    ck_assert(msr_write(m.v, 0x10, 5000));
    after = get(0x10);
    ck_assert_uint_ge(after, 5000);
    ck_assert_uint_lt(after, 6000);
    ck_assert_uint_eq(after - base_tsc(), get(0x3b)); /* SDM 3B 17.17.3 */
    before = get(0x10);
    put(0x3b, get(0x3b) + 1000000);
    after = get(0x10);
    ck_assert_uint_ge(after - before, 1000000);
    ck_assert_uint_lt(after - before, 1001000);
    put(0x3b, 0);
    ck_assert_uint_eq(get(0x10), base_tsc());
}
END_TEST

static unsigned changes;

static void count_change(void *opaque, struct vcpu *v)
{
    (void)opaque, (void)v;
    changes++;
}

START_TEST(tsc_deadline_is_told)
{
    m.platform.tsc_changed = count_change;
    changes = 0;
    ck_assert(msr_write(m.v, 0x10, 0));
    ck_assert_uint_eq(changes, 1);
    ck_assert(msr_write(m.v, 0x3b, 12));
    ck_assert_uint_eq(changes, 2);
    m.platform.tsc_changed = NULL;
    ck_assert(msr_write(m.v, 0x10, 0));
}
END_TEST

START_TEST(tsc_wraps)
{
    ck_assert(msr_write(m.v, 0x10, ~0ull - 10));
    ck_assert_uint_lt(get(0x10), 1000);
}
END_TEST

/* -- unknown registers -- */

START_TEST(unknown_is_gp)
{
    ck_assert(!readable(0x12345678));
    ck_assert(!msr_write(m.v, 0x12345678, 0));
    ck_assert(!readable(0x48)); /* SPEC_CTRL, PRED_CMD: not offered */
    ck_assert(!msr_write(m.v, 0x49, 1));
    ck_assert(!readable(0x40000000));
    ck_assert(!readable(0x4b564d01));
}
END_TEST

static char *log_text;

static unsigned lines(void)
{
    unsigned n = 0;

    fflush(m.log.sink); /* which moves log_text */
    for (const char *at = log_text; *at; at++)
        n += *at == '\n';
    return n;
}

START_TEST(ignored_reads_zero_and_is_logged_once)
{
    size_t size;

    m.log.sink = open_memstream(&log_text, &size);
    m.model.ignore_msrs = true;
    ck_assert_uint_eq(get(0x12345678), 0);
    ck_assert_uint_eq(lines(), 1);
    ck_assert(msr_write(m.v, 0x12345678, 77));
    ck_assert_uint_eq(get(0x12345678), 0);
    ck_assert_uint_eq(lines(), 1);
    ck_assert(msr_write(m.v, 0x12345679, 77));
    ck_assert_uint_eq(lines(), 2);
    /* A known one keeps its rules. */
    ck_assert(!msr_write(m.v, 0xfe, 0));
    ck_assert(!msr_write(m.v, 0x277, 2));
    ck_assert_uint_eq(lines(), 2);
    for (u32 n = 0; n < 1000; n++)
        get(0x20000000 + n);
    ck_assert_uint_lt(lines(), 40);
    fclose(m.log.sink);
    m.log.sink = stderr;
    free(log_text);
}
END_TEST

/* -- ranges of a higher layer -- */

static u64 stored;

static bool range_read(void *opaque, struct vcpu *v, u32 msr, u64 *value)
{
    ck_assert_ptr_eq(opaque, &stored);
    ck_assert_ptr_eq(v, m.v);
    *value = stored + msr;
    return msr != 0x40000003;
}

static bool range_write(void *opaque, struct vcpu *v, u32 msr, u64 value)
{
    (void)opaque, (void)v;
    stored = value;
    return msr != 0x40000003;
}

START_TEST(ranges_come_first)
{
    ck_assert_int_eq(
        cpu_msr_register(m.v, 0x40000000, 0x400000ff, range_read, range_write, &stored), ST_OK);
    ck_assert_int_eq(
        cpu_msr_register(m.v, 0x400000ff, 0x40000100, range_read, range_write, &stored),
        ST_OVERLAP);
    ck_assert_int_eq(
        cpu_msr_register(m.v, 0x40000010, 0x40000010, range_read, range_write, &stored),
        ST_OVERLAP);
    ck_assert_int_eq(cpu_msr_register(m.v, 5, 4, range_read, range_write, &stored), ST_INVALID);
    ck_assert_int_eq(cpu_msr_register(m.v, 0x10, 0x10, range_read, range_write, &stored), ST_OK);
    ck_assert(msr_write(m.v, 0x40000001, 5));
    ck_assert_uint_eq(get(0x40000001), 0x40000006);
    ck_assert_uint_eq(get(0x10), 0x15); /* before the processor's own */
    ck_assert(!readable(0x40000003));
    ck_assert(!msr_write(m.v, 0x40000003, 0));
    m.model.ignore_msrs = true; /* what a range refuses is refused */
    ck_assert(!readable(0x40000003));
}
END_TEST

START_TEST(ranges_are_limited)
{
    u32 n;

    for (n = 0; n < 100; n++)
        if (cpu_msr_register(m.v, 0x50000000 + n, 0x50000000 + n, range_read, range_write, &stored))
            break;
    ck_assert_uint_eq(n, 16);
}
END_TEST

START_TEST(random_accesses_do_no_harm)
{
    u64 random = 5, value;

    for (unsigned n = 0; n < 500000; n++) {
        static const u32 areas[] = {0, 0x200, 0x400, 0x800, 0xc0000000, 0xc0010000, 0xc0011000};
        u32 msr;

        random = random * 6364136223846793005ull + 1442695040888963407ull;
        msr = areas[(random >> 60) % ARRAY_SIZE(areas)] + (u32)(random >> 40 & 0x3ff);
        if (msr_read(m.v, msr, &value) && msr != 0x10)
            ck_assert(msr < 0xd0000000);
        msr_write(m.v, msr, random & random >> 17);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("msr");
    TCase *tc = tcase_create("msr");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, every_register_keeps_its_rules, 0, ARRAY_SIZE(rows));
    tcase_add_test(tc, features_hide_their_registers);
    tcase_add_test(tc, memory_types);
    tcase_add_test(tc, mtrrs_follow_maxphyaddr);
    tcase_add_test(tc, machine_check_banks);
    tcase_add_test(tc, mc_status_write_enable);
    tcase_add_test(tc, sysenter_addresses);
    tcase_add_test(tc, bases_are_the_segments);
    tcase_add_test(tc, efer_rules);
    tcase_add_test(tc, misc_enable);
    tcase_add_test(tc, microcode);
    tcase_add_test(tc, pstates);
    tcase_add_test(tc, tsc_write_shows_in_tsc_adjust);
    tcase_add_test(tc, tsc_deadline_is_told);
    tcase_add_test(tc, tsc_wraps);
    tcase_add_test(tc, unknown_is_gp);
    tcase_add_test(tc, ignored_reads_zero_and_is_logged_once);
    tcase_add_test(tc, ranges_come_first);
    tcase_add_test(tc, ranges_are_limited);
    tcase_add_test(tc, random_accesses_do_no_harm);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
