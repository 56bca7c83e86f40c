/* SPDX-License-Identifier: MIT
 *
 * Local APIC registers: the xAPIC page, the x2APIC MSRs with their #GP cases, random accesses.
 */
#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;

static void setup(void)
{
    fixture_setup(&f, 3);
}

static void teardown(void)
{
    fixture_teardown(&f);
}

START_TEST(values_after_reset)
{
    ck_assert_uint_eq(reg_read(&f, 2, 0x20), 2u << 24);
    ck_assert_uint_eq(reg_read(&f, 0, 0x30), 0x01050014);
    ck_assert_uint_eq(reg_read(&f, 0, 0xd0), 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0xe0), 0xffffffff);
    ck_assert_uint_eq(reg_read(&f, 0, 0xf0), 0xff);
    for (u64 offset = 0x320; offset <= 0x370; offset += 0x10)
        ck_assert_uint_eq(reg_read(&f, 0, offset), 0x10000);
    ck_assert_uint_eq(reg_read(&f, 0, 0x390), 0);
}
END_TEST

START_TEST(xapic_writable_bits)
{
    static const struct {
        u16 offset;
        u32 value; /* what all ones leave behind */
    } rows[] = {
        {0x020, 0x00000000}, {0x030, 0x01050014}, {0x080, 0x000000ff}, {0x0d0, 0xff000000},
        {0x0f0, 0x000013ff}, {0x310, 0xff000000}, {0x320, 0x000700ff}, {0x330, 0x000107ff},
        {0x340, 0x000107ff}, {0x350, 0x0001a7ff}, {0x360, 0x0001a7ff}, {0x370, 0x000100ff},
        {0x3e0, 0x0000000b}, {0x100, 0x00000000}, {0x200, 0x00000000}, {0x0c0, 0x00000000},
    };

    fixture_enable(&f, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        reg_write(&f, 0, rows[i].offset, 0xffffffff);
        ck_assert_msg(reg_read(&f, 0, rows[i].offset) == rows[i].value, "%x: %x", rows[i].offset,
                      reg_read(&f, 0, rows[i].offset));
    }
    reg_write(&f, 0, 0xe0, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0xe0), 0x0fffffff);
    reg_write(&f, 0, 0x280, 0);
    ck_assert_uint_eq(reg_read(&f, 0, 0x280), 0); /* none of these was an illegal register */
}
END_TEST

START_TEST(reserved_registers_report_in_esr)
{
    static const u16 reserved[] = {0x000, 0x010, 0x040, 0x070, 0x290, 0x2f0,
                                   0x3a0, 0x3d0, 0x3f0, 0x400, 0xff0};

    for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++) {
        reg_read(&f, 0, reserved[i]);
        reg_write(&f, 0, 0x280, 0);
        ck_assert_msg(reg_read(&f, 0, 0x280) == 0x80, "read of %x", reserved[i]);
        reg_write(&f, 0, reserved[i], 1);
        reg_write(&f, 0, 0x280, 0);
        ck_assert_msg(reg_read(&f, 0, 0x280) == 0x80, "write of %x", reserved[i]);
        reg_write(&f, 0, 0x280, 0);
    }
}
END_TEST

START_TEST(odd_accesses_are_harmless)
{
    struct lapic *l = f.cpus[0].lapic;

    ck_assert_uint_eq(io_read(&lapic_mmio_ops, l, 0x32, 1) & 0xff, 0x05);
    ck_assert_uint_eq(io_read(&lapic_mmio_ops, l, 0x32, 2) & 0xffff, 0x0105);
    ck_assert_uint_eq(io_read(&lapic_mmio_ops, l, 0x34, 4), 0);
    ck_assert_uint_eq(io_read(&lapic_mmio_ops, l, 0x30, 8), 0x01050014);
    io_write(&lapic_mmio_ops, l, 0x80, 0x77, 1);
    io_write(&lapic_mmio_ops, l, 0x84, 0x77, 4);
    io_write(&lapic_mmio_ops, l, 0x80, 0x77, 8);
    ck_assert_uint_eq(reg_read(&f, 0, 0x80), 0);
}
END_TEST

START_TEST(msrs_need_x2apic_mode)
{
    u64 value;

    ck_assert(!lapic_msr_read(f.cpus[0].lapic, 0x802, &value));
    ck_assert(!msr_write(&f, 0, 0x808, 0));
    fixture_x2apic(&f, 2);
    ck_assert_uint_eq(msr_read(&f, 2, 0x802), 2);
    ck_assert_uint_eq(msr_read(&f, 2, 0x80d), 0x00000004);
}
END_TEST

START_TEST(x2apic_gp_cases)
{
    static const u16 no_read[] = {0x800, 0x809, 0x80b, 0x80c, 0x80e,
                                  0x82f, 0x831, 0x83f, 0x840, 0x8ff};
    static const u16 no_write[] = {0x802, 0x803, 0x809, 0x80a, 0x80c, 0x80d, 0x80e, 0x810,
                                   0x818, 0x820, 0x82f, 0x831, 0x839, 0x840, 0x8ff};
    static const struct {
        u16 msr;
        u64 good, bad;
    } rows[] = {
        {0x808, 0xff, 0x100},
        {0x80b, 0, 1},
        {0x80f, 0x11ff, 0x400},
        {0x828, 0, 1},
        {0x830, 0xffffffff000cdfff & ~0x2000ull, 0x2000},
        {0x830, 0x4000, 0x10000},
        {0x830, 0x4000, 0x100000},
        {0x832, 0x700ff, 0x100},
        {0x832, 0x310ff, 0x80000},
        {0x833, 0x117ff, 0x2000},
        {0x835, 0x1f7ff, 0x800},
        {0x837, 0x110ff, 0x100},
        {0x838, 0xffffffff, BIT(32)},
        {0x83e, 0xb, 4},
        {0x83f, 0xff, 0x100},
    };
    u64 value;

    fixture_x2apic(&f, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(no_read); i++)
        ck_assert_msg(!lapic_msr_read(f.cpus[0].lapic, no_read[i], &value), "%x", no_read[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(no_write); i++)
        ck_assert_msg(!msr_write(&f, 0, no_write[i], 0), "%x", no_write[i]);
    for (unsigned i = 0; i < ARRAY_SIZE(rows); i++) {
        ck_assert_msg(msr_write(&f, 0, rows[i].msr, rows[i].good), "%x good", rows[i].msr);
        ck_assert_msg(!msr_write(&f, 0, rows[i].msr, rows[i].good | rows[i].bad), "%x bad",
                      rows[i].msr);
    }
}
END_TEST

START_TEST(without_tsc_deadline_bit_18_is_reserved)
{
    struct lapic_config config = {.bus = &f.bus,
                                  .sink = {fixture_intr, fixture_nmi, fixture_smi,
                                           fixture_init_signal, fixture_sipi, fixture_inta,
                                           fixture_map, fixture_tsc_to_ns, &f.cpus[3]},
                                  .apic_id = 3,
                                  .bus_hz = NS_PER_SECOND,
                                  .maxphyaddr = 36};
    struct error err;

    f.cpus[3].lapic = calloc(1, lapic_type.state_size);
    ck_assert_int_eq(lapic_type.init(f.cpus[3].lapic, &f.env, &config, &err), ST_OK);
    lapic_type.reset(f.cpus[3].lapic);
    f.count++;
    fixture_enable(&f, 3);
    reg_write(&f, 3, 0x320, 0x40020);
    ck_assert_uint_eq(reg_read(&f, 3, 0x320), 0x20);
    ck_assert(!lapic_base_write(f.cpus[3].lapic, LAPIC_DEFAULT_BASE | 0xc00)); /* no x2APIC */
}
END_TEST

/* After anything at all: what the sink was told is what the queue says. */
static void check_consistent(void)
{
    for (unsigned i = 0; i < f.count; i++)
        ck_assert(lapic_has_interrupt(f.cpus[i].lapic) == f.cpus[i].intr);
}

/* Adds up what #GP let through, so that the results are used. */
static unsigned random_step(void)
{
    bool taken = false;
    u64 r = fixture_random(&f), value = fixture_random(&f) >> (r >> 56 & 63);
    struct fixture_cpu *cpu = &f.cpus[(r >> 8) % f.count];
    u64 offset = (r >> 12) % 0x400;

    switch (r % 16) {
    case 0 ... 4: io_write(&lapic_mmio_ops, cpu->lapic, offset & ~0xfull, value, 4); break;
    case 5: io_write(&lapic_mmio_ops, cpu->lapic, offset, value, 1u << (r >> 30) % 4); break;
    case 6: io_read(&lapic_mmio_ops, cpu->lapic, offset, 1u << (r >> 30) % 4); break;
    case 7 ... 8: taken = lapic_msr_write(cpu->lapic, 0x800 + (u32)(offset >> 4), value); break;
    case 9: taken = lapic_base_write(cpu->lapic, LAPIC_DEFAULT_BASE | (value & 0xd00)); break;
    case 10: lapic_set_lint(cpu->lapic, r >> 20 & 1, r >> 21 & 1); break;
    case 11:
        if (lapic_has_interrupt(cpu->lapic))
            ck_assert_uint_ge(lapic_acknowledge(cpu->lapic), 16);
        break;
    case 12: lapic_tsc_deadline_write(cpu->lapic, value); break;
    case 13:
        if (cpu->inits) {
            cpu->inits = 0;
            lapic_init_reset(cpu->lapic);
        }
        break;
    case 14: lapic_set_tpr(cpu->lapic, (u8)value); break;
    default:
        f.now += value >> 24;
        clock_run(&f.clock);
        break;
    }
    return taken;
}

START_TEST(random_accesses)
{
    unsigned taken = 0;

    for (unsigned i = 0; i < f.count; i++)
        fixture_enable(&f, i);
    for (unsigned i = 0; i < 200000; i++) {
        taken += random_step();
        check_consistent();
    }
    ck_assert_uint_gt(taken, 1000);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("lapic_regs");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, values_after_reset);
    tcase_add_test(tc, xapic_writable_bits);
    tcase_add_test(tc, reserved_registers_report_in_esr);
    tcase_add_test(tc, odd_accesses_are_harmless);
    tcase_add_test(tc, msrs_need_x2apic_mode);
    tcase_add_test(tc, x2apic_gp_cases);
    tcase_add_test(tc, without_tsc_deadline_bit_18_is_reserved);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
