/* SPDX-License-Identifier: MIT
 *
 * The real-time clock and CMOS RAM. The host's gmtime_r() is the oracle for the calendar.
 */
#include <time.h>

#include "devices/legacy/rtc.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static const struct rtc_config config = {
    .ram_below_4g = GIB(3),
    .ram_above_4g = GIB(13),
    .boot_order = {3, 2, 1},
    .cpus = 4,
};

enum { START = 1709251198 }; /* 2024-02-29 23:59:58 UTC, a Thursday */
enum { UF = 0x10, AF = 0x20, PF = 0x40, IRQF = 0x80 };

static void setup(void)
{
    harness_setup(&h, &rtc_type, &config, START * NS_PER_SECOND + 250000000);
}

static void teardown(void)
{
    harness_teardown(&h);
}

static u8 get(unsigned index)
{
    out8(&h, 0x70, index);
    return in8(&h, 0x71);
}

static void set(unsigned index, unsigned value)
{
    out8(&h, 0x70, index);
    out8(&h, 0x71, value);
}

static unsigned bcd(unsigned value)
{
    return value / 10 << 4 | value % 10;
}

static void check_time(time_t when)
{
    struct tm tm;

    gmtime_r(&when, &tm);
    ck_assert_uint_eq(get(0), bcd((unsigned)tm.tm_sec));
    ck_assert_uint_eq(get(2), bcd((unsigned)tm.tm_min));
    ck_assert_uint_eq(get(4), bcd((unsigned)tm.tm_hour));
    ck_assert_uint_eq(get(6), bcd((unsigned)tm.tm_wday + 1));
    ck_assert_uint_eq(get(7), bcd((unsigned)tm.tm_mday));
    ck_assert_uint_eq(get(8), bcd((unsigned)tm.tm_mon + 1));
    ck_assert_uint_eq(get(9), bcd((unsigned)tm.tm_year % 100));
    ck_assert_uint_eq(get(0x32), bcd(((unsigned)tm.tm_year + 1900) / 100));
}

START_TEST(shows_wall_time_and_crosses_a_leap_day)
{
    check_time(START);
    harness_run_for(&h, 749999999);
    check_time(START);
    harness_run_for(&h, 1);
    check_time(START + 1);
    harness_run_for(&h, NS_PER_SECOND);
    check_time(START + 2);
}
END_TEST

START_TEST(calendar_agrees_with_the_host)
{
    for (unsigned i = 0; i < 2000; i++) {
        harness_jump(&h, harness_random(&h) % (400ull * 86400 * NS_PER_SECOND) / 50);
        check_time((time_t)(clock_wall_ns(&h.clock) / NS_PER_SECOND));
    }
}
END_TEST

START_TEST(twelve_hours_and_binary)
{
    static const u8 shown[24] = {12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11,
                                 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

    set(0x0b, 0x04); /* binary, 12 hours */
    set(4, 12);
    set(2, 0);
    for (unsigned hour = 0; hour < 24; hour++) {
        ck_assert_uint_eq(get(4), shown[hour] | (hour >= 12 ? 0x80 : 0));
        harness_run_for(&h, 3600 * NS_PER_SECOND);
    }
    ck_assert_uint_eq(get(4), 12);
}
END_TEST

START_TEST(set_bit_freezes_and_the_phase_goes_on)
{
    set(0x0b, 0x82);
    harness_run_for(&h, 10 * NS_PER_SECOND);
    ck_assert_uint_eq(get(0), 0x58);
    set(0, 0x10);
    ck_assert_uint_eq(get(0), 0x10);
    set(0x0b, 0x02);
    ck_assert_uint_eq(get(0), 0x10);
    harness_run_for(&h, 750000000); /* to the old second boundary */
    ck_assert_uint_eq(get(0), 0x11);
}
END_TEST

START_TEST(divider_reset_starts_half_a_second_before_the_update)
{
    set(0x0a, 0x76);
    harness_run_for(&h, 5 * NS_PER_SECOND);
    ck_assert_uint_eq(get(0), 0x58);
    ck_assert(!(get(0x0a) & 0x80));
    set(0x0a, 0x26);
    harness_run_for(&h, 499999999);
    ck_assert_uint_eq(get(0), 0x58);
    harness_run_for(&h, 1);
    ck_assert_uint_eq(get(0), 0x59);
}
END_TEST

START_TEST(wild_values_are_read_back_and_come_into_range)
{
    set(0, 0x7f);
    set(8, 0x00);
    ck_assert_uint_eq(get(0), 0x7f);
    harness_run_for(&h, NS_PER_SECOND);
    ck_assert_uint_le(get(0), 0x59);
    ck_assert_uint_eq(get(8), 0x01);
}
END_TEST

START_TEST(update_in_progress_window)
{
    harness_run_until(&h, 750000000 - 2228000 - 1);
    ck_assert_uint_eq(get(0x0a), 0x26);
    harness_run_for(&h, 1);
    ck_assert_uint_eq(get(0x0a), 0xa6);
    harness_run_for(&h, 2227999);
    ck_assert_uint_eq(get(0x0a), 0xa6);
    ck_assert_uint_eq(get(0), 0x58);
    harness_run_for(&h, 1);
    ck_assert_uint_eq(get(0x0a), 0x26);
    ck_assert_uint_eq(get(0), 0x59);
}
END_TEST

START_TEST(update_ended_interrupt)
{
    get(0x0c);
    set(0x0b, 0x12);
    harness_run_until(&h, 749999999);
    ck_assert(!h.pins[0].level);
    harness_run_for(&h, 1);
    ck_assert(h.pins[0].level);
    ck_assert_uint_eq(get(0x0c) & ~PF, IRQF | UF);
    ck_assert(!h.pins[0].level);
    ck_assert_uint_eq(get(0x0c) & ~PF, 0);
    harness_run_for(&h, 5 * NS_PER_SECOND);
    ck_assert_uint_eq(h.pins[0].rises, 2); /* not read: no further edge */
    set(0x0b, 0x92);
    ck_assert_uint_eq(get(0x0b), 0x82); /* SET clears UIE */
}
END_TEST

START_TEST(register_c_read_before_the_timer_event_shows_irqf)
{
    get(0x0c);
    set(0x0b, 0x12);
    harness_jump(&h, 750000000); /* the update is due, its event has not run */
    ck_assert_uint_eq(get(0x0c) & ~PF, IRQF | UF);
    ck_assert_uint_eq(h.pins[0].rises, 1);
    ck_assert(!h.pins[0].level);
}
END_TEST

START_TEST(alarm_exact_and_dont_care)
{
    set(1, 0x05);
    set(3, 0x00);
    set(5, 0x00);
    get(0x0c);
    set(0x0b, 0x22);
    harness_run_until(&h, 6749999999); /* 00:00:05 is 7 s after the start */
    ck_assert(!h.pins[0].level);
    harness_run_for(&h, 1);
    ck_assert(h.pins[0].level);
    ck_assert_uint_eq(get(0x0c) & AF, AF);
    harness_run_for(&h, 86399 * NS_PER_SECOND);
    ck_assert(!h.pins[0].level);
    harness_run_for(&h, NS_PER_SECOND);
    ck_assert(h.pins[0].level);
    set(3, 0xc0);
    set(5, 0xff); /* every minute at :05 */
    get(0x0c);
    h.pins[0].rises = 0;
    harness_run_for(&h, 60 * NS_PER_SECOND);
    ck_assert_uint_eq(h.pins[0].rises, 1);
    set(1, 0x77); /* never */
    get(0x0c);
    harness_run_for(&h, 90000 * NS_PER_SECOND);
    ck_assert_uint_eq(get(0x0c) & AF, 0);
}
END_TEST

START_TEST(periodic_rates)
{
    static const unsigned hz[16] = {0,   256, 128, 8192, 4096, 2048, 1024, 512,
                                    256, 128, 64,  32,   16,   8,    4,    2};

    for (unsigned rate = 0; rate < 16; rate++) {
        unsigned seen = 0;
        u64 end;

        set(0x0a, 0x70);
        set(0x0a, 0x20 | rate);
        set(0x0b, 0x42);
        get(0x0c);
        end = h.now + NS_PER_SECOND;
        while (clock_next_deadline(&h.clock) <= end) {
            harness_run_until(&h, clock_next_deadline(&h.clock));
            ck_assert_uint_eq(get(0x0c) & (IRQF | PF), IRQF | PF);
            seen++;
        }
        harness_run_until(&h, end);
        ck_assert_uint_eq(seen, hz[rate]);
    }
}
END_TEST

START_TEST(slow_guest_gets_one_periodic_interrupt)
{
    set(0x0b, 0x42);
    get(0x0c);
    h.pins[0].rises = 0;
    harness_run_for(&h, 10 * NS_PER_SECOND);
    ck_assert_uint_eq(h.pins[0].rises, 1);
    ck_assert_uint_eq(clock_next_deadline(&h.clock), CLOCK_NEVER);
}
END_TEST

START_TEST(flags_without_enable_raise_nothing_until_enabled)
{
    get(0x0c);
    harness_run_for(&h, 2 * NS_PER_SECOND);
    ck_assert(!h.pins[0].level);
    set(0x0b, 0x12);
    ck_assert(h.pins[0].level);
}
END_TEST

START_TEST(cmos_bytes_of_the_configuration)
{
    unsigned sum = 0;

    ck_assert_uint_eq(get(0x15) | get(0x16) << 8, 640);
    ck_assert_uint_eq(get(0x17) | get(0x18) << 8, 0xffff);
    ck_assert_uint_eq(get(0x30) | get(0x31) << 8, 0xffff);
    ck_assert_uint_eq(get(0x34) | get(0x35) << 8, (GIB(3) - MIB(16)) >> 16);
    ck_assert_uint_eq(get(0x5b) | get(0x5c) << 8 | get(0x5d) << 16, GIB(13) >> 16);
    ck_assert_uint_eq(get(0x3d), 0x23);
    ck_assert_uint_eq(get(0x38), 0x10);
    ck_assert_uint_eq(get(0x5f), 3);
    for (unsigned i = 0x10; i <= 0x2d; i++)
        sum += get(i);
    ck_assert_uint_eq(get(0x2e) << 8 | get(0x2f), sum & 0xffff);
}
END_TEST

START_TEST(ram_banks_index_and_nmi_mask)
{
    set(0x40, 0xa5);
    out8(&h, 0x72, 0x40);
    out8(&h, 0x73, 0x5a);
    ck_assert_uint_eq(in8(&h, 0x73), 0x5a);
    ck_assert_uint_eq(get(0xc0), 0xa5);
    ck_assert(rtc_nmi_masked(h.self));
    ck_assert_uint_eq(in8(&h, 0x70), 0xff);
    out8(&h, 0x70, 0x0d);
    ck_assert(!rtc_nmi_masked(h.self));
    ck_assert_uint_eq(in8(&h, 0x71), 0x80);
    out8(&h, 0x71, 0);
    ck_assert_uint_eq(in8(&h, 0x71), 0x80);
}
END_TEST

START_TEST(reset_keeps_the_battery_backed_state)
{
    set(0x0b, 0x7a);
    set(0x40, 0x77);
    h.type->reset(h.self);
    ck_assert_uint_eq(get(0x0b), 0x02);
    ck_assert_uint_eq(get(0x40), 0x77);
    check_time(START);
}
END_TEST

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x70, 0x71, 0x71, 0x72, 0x73};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rtc");
    TCase *tc = tcase_create("rtc");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, shows_wall_time_and_crosses_a_leap_day);
    tcase_add_test(tc, calendar_agrees_with_the_host);
    tcase_add_test(tc, twelve_hours_and_binary);
    tcase_add_test(tc, set_bit_freezes_and_the_phase_goes_on);
    tcase_add_test(tc, divider_reset_starts_half_a_second_before_the_update);
    tcase_add_test(tc, wild_values_are_read_back_and_come_into_range);
    tcase_add_test(tc, update_in_progress_window);
    tcase_add_test(tc, update_ended_interrupt);
    tcase_add_test(tc, register_c_read_before_the_timer_event_shows_irqf);
    tcase_add_test(tc, alarm_exact_and_dont_care);
    tcase_add_test(tc, periodic_rates);
    tcase_add_test(tc, slow_guest_gets_one_periodic_interrupt);
    tcase_add_test(tc, flags_without_enable_raise_nothing_until_enabled);
    tcase_add_test(tc, cmos_bytes_of_the_configuration);
    tcase_add_test(tc, ram_banks_index_and_nmi_mask);
    tcase_add_test(tc, reset_keeps_the_battery_backed_state);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
