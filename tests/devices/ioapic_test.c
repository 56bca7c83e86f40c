/* SPDX-License-Identifier: MIT
 *
 * I/O APIC: registers, edge and level pins, remote IRR and EOI, delivery modes, random accesses.
 */
#include "devices/apic/ioapic.h"
#include "tests/devices/apic_fixture.h"
#include "tests/suite.h"

static struct fixture f;
static struct ioapic *io;

static void setup(void)
{
    struct ioapic_config config;
    struct error err;

    fixture_setup(&f, 2);
    config.bus = &f.bus;
    io = calloc(1, ioapic_type.state_size);
    ck_assert_ptr_nonnull(io);
    ck_assert_int_eq(ioapic_type.init(io, &f.env, &config, &err), ST_OK);
    ioapic_type.reset(io);
    fixture_enable(&f, 0);
    fixture_enable(&f, 1);
}

static void teardown(void)
{
    ioapic_type.fini(io);
    free(io);
    fixture_teardown(&f);
}

static u32 get(u8 reg)
{
    io_write(&ioapic_mmio_ops, io, 0x00, reg, 4);
    return (u32)io_read(&ioapic_mmio_ops, io, 0x10, 4);
}

static void put(u8 reg, u32 value)
{
    io_write(&ioapic_mmio_ops, io, 0x00, reg, 4);
    io_write(&ioapic_mmio_ops, io, 0x10, value, 4);
}

static u32 entry(unsigned pin)
{
    return get((u8)(0x10 + pin * 2));
}

static void program(unsigned pin, u32 low, u8 destination)
{
    put((u8)(0x11 + pin * 2), (u32)destination << 24);
    put((u8)(0x10 + pin * 2), low);
}

static bool take(unsigned cpu, u8 vector)
{
    if (!lapic_has_interrupt(f.cpus[cpu].lapic))
        return false;
    ck_assert_uint_eq(lapic_acknowledge(f.cpus[cpu].lapic), vector);
    return true;
}

static void eoi(unsigned cpu)
{
    reg_write(&f, cpu, 0xb0, 0);
}

START_TEST(registers)
{
    ck_assert_uint_eq(get(1), 0x00170020);
    put(0, 0xffffffff);
    ck_assert_uint_eq(get(0), 0x0f000000);
    ck_assert_uint_eq(get(2), 0x0f000000);
    put(1, 0);
    ck_assert_uint_eq(get(1), 0x00170020);
    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        ck_assert_uint_eq(entry(pin), 0x10000);
        program(pin, 0xffffffff, 0xff);
        ck_assert_uint_eq(entry(pin), 0x1afff);
        ck_assert_uint_eq(get((u8)(0x11 + pin * 2)), 0xff000000);
    }
    ck_assert_uint_eq(get(0x40), 0);
    ck_assert_uint_eq(io_read(&ioapic_mmio_ops, io, 0x00, 4), 0x40);
    ck_assert_uint_eq(io_read(&ioapic_mmio_ops, io, 0x04, 4), 0);
}
END_TEST

START_TEST(edge_sends_once_per_rise)
{
    program(4, 0x41, 1);
    ioapic_set_pin(io, 4, true);
    ioapic_set_pin(io, 4, true);
    ck_assert(take(1, 0x41));
    eoi(1);
    ck_assert(!take(1, 0x41));
    ioapic_set_pin(io, 4, false);
    ioapic_set_pin(io, 4, true);
    ck_assert(take(1, 0x41));
    ck_assert_uint_eq(entry(4), 0x41);
}
END_TEST

START_TEST(edge_on_a_masked_pin_is_lost)
{
    program(4, 0x10041, 0);
    ioapic_set_pin(io, 4, true);
    put(0x18, 0x41);
    ck_assert(!take(0, 0x41));
}
END_TEST

START_TEST(level_remote_irr_and_redelivery)
{
    program(10, 0x8061, 0);
    ioapic_set_pin(io, 10, true);
    ck_assert_uint_eq(entry(10), 0xc061);
    ck_assert(take(0, 0x61));
    ioapic_set_pin(io, 10, true);
    ck_assert(!lapic_has_interrupt(f.cpus[0].lapic));
    eoi(0); /* still active */
    ck_assert_uint_eq(entry(10), 0xc061);
    ck_assert(take(0, 0x61));
    ioapic_set_pin(io, 10, false);
    ck_assert_uint_eq(entry(10), 0xc061); /* until the EOI */
    eoi(0);
    ck_assert_uint_eq(entry(10), 0x8061);
    ck_assert(!take(0, 0x61));
}
END_TEST

START_TEST(level_masked_while_pending)
{
    program(10, 0x8061, 0);
    ioapic_set_pin(io, 10, true);
    ck_assert(take(0, 0x61));
    put(0x24, 0x18061);
    ck_assert_uint_eq(entry(10), 0x1c061);
    eoi(0);
    ck_assert_uint_eq(entry(10), 0x18061);
    ck_assert(!take(0, 0x61));
    put(0x24, 0x8061); /* unmasked with the line active */
    ck_assert(take(0, 0x61));
}
END_TEST

START_TEST(directed_eoi_and_trigger_switch_clear_remote_irr)
{
    reg_write(&f, 0, 0xf0, 0x11ff); /* no broadcast */
    program(10, 0x8061, 0);
    ioapic_set_pin(io, 10, true);
    ck_assert(take(0, 0x61));
    eoi(0);
    ck_assert_uint_eq(entry(10), 0xc061);
    ioapic_set_pin(io, 10, false);
    io_write(&ioapic_mmio_ops, io, 0x40, 0x62, 4);
    ck_assert_uint_eq(entry(10), 0xc061);
    io_write(&ioapic_mmio_ops, io, 0x40, 0x61, 4);
    ck_assert_uint_eq(entry(10), 0x8061);
    ioapic_set_pin(io, 10, true);
    ck_assert_uint_eq(entry(10), 0xc061);
    put(0x24, 0x10061);
    put(0x24, 0x18061);
    ck_assert_uint_eq(entry(10), 0x18061);
}
END_TEST

START_TEST(eoi_reaches_every_pin_of_the_vector)
{
    program(10, 0x8061, 0);
    program(11, 0x8061, 0);
    program(12, 0x8062, 0);
    for (unsigned pin = 10; pin <= 12; pin++) {
        ioapic_set_pin(io, pin, true);
        ioapic_set_pin(io, pin, false);
    }
    ck_assert(take(0, 0x62));
    eoi(0);
    ck_assert_uint_eq(entry(11), 0xc061);
    ck_assert_uint_eq(entry(12), 0x8062);
    ck_assert(take(0, 0x61));
    eoi(0);
    ck_assert_uint_eq(entry(10) | entry(11), 0x8061);
}
END_TEST

START_TEST(level_nobody_takes_stays_pending)
{
    reg_write(&f, 0, 0xf0, 0xff); /* software-disabled */
    program(10, 0x8061, 0);
    ioapic_set_pin(io, 10, true);
    ck_assert_uint_eq(entry(10), 0x9061); /* send pending, no remote IRR */
    fixture_enable(&f, 0);
    ck_assert_uint_eq(entry(10), 0xc061);
    ck_assert(take(0, 0x61));
}
END_TEST

START_TEST(other_delivery_modes_are_edges)
{
    program(0, 0x8700, 0); /* ExtINT, "level" */
    ioapic_set_pin(io, 0, true);
    ck_assert_uint_eq(entry(0), 0x8700);
    ck_assert(take(0, 0x70));
    ck_assert(!lapic_has_interrupt(f.cpus[0].lapic));
    program(1, 0x400, 1);
    program(2, 0x200, 1);
    program(3, 0x500, 1);
    program(5, 0x600, 1); /* reserved */
    for (unsigned pin = 1; pin <= 5; pin++)
        ioapic_set_pin(io, pin, true);
    ck_assert_uint_eq(f.cpus[1].nmis, 1);
    ck_assert_uint_eq(f.cpus[1].smis, 1);
    ck_assert_uint_eq(f.cpus[1].inits, 1);
    ck_assert_uint_eq(f.cpus[1].sipis, 0);
}
END_TEST

START_TEST(logical_lowest_priority)
{
    reg_write(&f, 0, 0xd0, 1u << 24);
    reg_write(&f, 1, 0xd0, 2u << 24);
    reg_write(&f, 0, 0x80, 0x10);
    program(7, 0x8971, 3);
    ioapic_set_pin(io, 7, true);
    ck_assert(take(1, 0x71));
    ck_assert(!lapic_has_interrupt(f.cpus[0].lapic));
    ck_assert_uint_eq(entry(7), 0xc971);
}
END_TEST

START_TEST(random_accesses)
{
    for (unsigned i = 0; i < 200000; i++) {
        u64 r = fixture_random(&f), value = fixture_random(&f) >> (r >> 58);
        unsigned cpu = r >> 40 & 1;

        switch (r % 8) {
        case 0 ... 2: put((u8)((r >> 8) % 0x44), (u32)value); break;
        case 3: io_write(&ioapic_mmio_ops, io, (r >> 8) % 4096, value, 1u << (r >> 30) % 4); break;
        case 4: io_read(&ioapic_mmio_ops, io, (r >> 8) % 4096, 1u << (r >> 30) % 4); break;
        case 5: ioapic_set_pin(io, (r >> 8) % IOAPIC_PINS, r >> 20 & 1); break;
        case 6:
            if (lapic_has_interrupt(f.cpus[cpu].lapic))
                lapic_acknowledge(f.cpus[cpu].lapic);
            eoi(cpu);
            break;
        default:
            reg_write(&f, cpu, 0xf0, 0xff | (r >> 20 & 0x1100));
            f.now += value >> 30;
            break;
        }
        ck_assert(f.cpus[cpu].intr == lapic_has_interrupt(f.cpus[cpu].lapic));
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("ioapic");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, registers);
    tcase_add_test(tc, edge_sends_once_per_rise);
    tcase_add_test(tc, edge_on_a_masked_pin_is_lost);
    tcase_add_test(tc, level_remote_irr_and_redelivery);
    tcase_add_test(tc, level_masked_while_pending);
    tcase_add_test(tc, directed_eoi_and_trigger_switch_clear_remote_irr);
    tcase_add_test(tc, eoi_reaches_every_pin_of_the_vector);
    tcase_add_test(tc, level_nobody_takes_stays_pending);
    tcase_add_test(tc, other_delivery_modes_are_edges);
    tcase_add_test(tc, logical_lowest_priority);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
