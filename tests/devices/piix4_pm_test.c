/* SPDX-License-Identifier: MIT
 *
 * PIIX4 power management: identity, I/O space, PM timer, SCI, soft-off, SMI command port, SMBus.
 */
#include "devices/pci/piix4_pm.h"
#include "tests/devices/board.h"
#include "tests/suite.h"

static struct board b;
static struct piix4_pm *pm;

enum { PM = 1 << 3 | 3, BASE = 0x600, SMB = 0x700 };
enum { STATUS = BASE, ENABLE = BASE + 2, CONTROL = BASE + 4, TIMER = BASE + 8, GPE = BASE + 12 };
enum { SCI = 9 };

/* As SeaBIOS sets it up. */
static void setup(void)
{
    struct piix4_pm_config config;

    board_setup(&b);
    config = (struct piix4_pm_config){b.pci, 1, board_soft_off, &b};
    pm = board_add(&b, &piix4_pm_type, 0xb2, SCI, &config);
    config_put(&b, PM, 4, 1, 2);
    config_put(&b, PM, 0x40, BASE | 1, 4);
    config_put(&b, PM, 0x80, 1, 1);
    config_put(&b, PM, 0x90, SMB | 1, 4);
    config_put(&b, PM, 0xd2, 0x09, 1);
}

static void teardown(void)
{
    board_teardown(&b);
}

static void sci_on(void)
{
    board_out(&b, 0xb2, PIIX4_ACPI_ENABLE, 1);
}

START_TEST(identity)
{
    ck_assert_uint_eq(config_get(&b, PM, 0, 4), 0x71138086);
    ck_assert_uint_eq(config_get(&b, PM, 8, 4), 0x06800003);
    ck_assert_uint_eq(config_get(&b, PM, 0x3d, 1), 1);
    ck_assert_uint_eq(config_get(&b, PM, 0x58, 4) & 0x02000000, 0x02000000);
    config_put(&b, PM, 0x40, 0xffffffff, 4);
    ck_assert_uint_eq(config_get(&b, PM, 0x40, 4), 0xffc1);
    config_put(&b, PM, 0x90, 0, 4);
    ck_assert_uint_eq(config_get(&b, PM, 0x90, 4), 1);
}
END_TEST

START_TEST(base_moves_and_enables)
{
    board_out(&b, ENABLE, 0x0121, 2);
    ck_assert_uint_eq(board_in(&b, ENABLE, 2), 0x0121);
    config_put(&b, PM, 0x41, 0xb0, 1);
    ck_assert_uint_eq(board_in(&b, ENABLE, 2), 0xffff);
    ck_assert_uint_eq(board_in(&b, 0xb002, 2), 0x0121);
    config_put(&b, PM, 0x80, 0, 1);
    ck_assert_uint_eq(board_in(&b, 0xb002, 2), 0xffff);
    config_put(&b, PM, 0x40, 0x80, 2); /* overlaps ports B2h, B3h: not mapped */
    config_put(&b, PM, 0x80, 1, 1);
    board_out(&b, 0xb3, 0x5a, 1);
    ck_assert_uint_eq(board_in(&b, 0xb3, 1), 0x5a);
    ck_assert_uint_eq(board_in(&b, 0x82, 1), 0xff);
}
END_TEST

START_TEST(timer_counts_exactly)
{
    static const u64 times[] = {
        0, 279, 280, 558, 1000000000, 4686000000, 86400000000000ull, 9000000000000000000ull};

    for (unsigned i = 0; i < ARRAY_SIZE(times); i++) {
        u64 expected = (u64)((u128)times[i] * 3579545 / 1000000000) & 0xffffff;

        b.now = times[i];
        ck_assert_uint_eq(board_in(&b, TIMER, 4), expected);
        ck_assert_uint_eq(board_in(&b, TIMER + 1, 2), expected >> 8);
        ck_assert_uint_eq(board_in(&b, TIMER + 2, 1), expected >> 16);
    }
    board_out(&b, TIMER, 0x12345678, 4); /* read-only */
    ck_assert_uint_eq(board_in(&b, TIMER, 4) >> 24, 0);
}
END_TEST

START_TEST(timer_overflow_raises_sci_at_the_right_nanosecond)
{
    u64 first = (u64)(((u128)(1 << 23) * 1000000000 + 3579544) / 3579545);

    sci_on();
    board_out(&b, ENABLE, 0x0001, 2);
    ck_assert_uint_eq(clock_next_deadline(&b.clock), first);
    board_run_until(&b, first - 1);
    ck_assert(!b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, TIMER, 4), 0x7fffff);
    board_run_until(&b, first);
    ck_assert(b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, TIMER, 4), 0x800000);
    ck_assert_uint_eq(board_in(&b, STATUS, 2), 0x0001);
    board_out(&b, STATUS, 0x0001, 2);
    ck_assert(!b.levels[SCI]);
    board_run_until(&b, 2 * first + 10); /* 1 to 0 counts, too */
    ck_assert(b.levels[SCI]);
    ck_assert_uint_lt(board_in(&b, TIMER, 4), 100);
}
END_TEST

START_TEST(timer_status_needs_no_enable)
{
    b.now = 3000000000;
    ck_assert_uint_eq(board_in(&b, STATUS, 2), 0x0001);
    board_out(&b, STATUS, 0xffff, 2);
    ck_assert_uint_eq(board_in(&b, STATUS, 2), 0);
    ck_assert_uint_eq(clock_next_deadline(&b.clock), CLOCK_NEVER);
}
END_TEST

START_TEST(acpi_enable_and_disable)
{
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 0);
    board_out(&b, 0xb2, 0xf1, 1);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 1);
    ck_assert_uint_eq(board_in(&b, 0xb2, 1), 0xf1);
    ck_assert_uint_eq(board_in(&b, BASE + 0x18, 2) & 0x20, 0x20);
    board_out(&b, 0xb2, 0x55, 1);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 1);
    board_out(&b, 0xb2, 0xf0, 1);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 0);
    board_out(&b, 0xb2, 0x12f1, 2); /* a word: command and status */
    ck_assert_uint_eq(board_in(&b, 0xb2, 2), 0x12f1);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 1);
}
END_TEST

START_TEST(button_and_alarm)
{
    board_out(&b, ENABLE, 0x0500, 2);
    piix4_pm_power_button(pm);
    ck_assert(!b.levels[SCI]); /* SCI_EN is clear */
    sci_on();
    ck_assert(b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, STATUS, 2), 0x0100);
    board_out(&b, STATUS + 1, 0x01, 1);
    ck_assert(!b.levels[SCI]);
    piix4_pm_rtc_alarm(pm);
    ck_assert(b.levels[SCI]);
    board_out(&b, ENABLE, 0x0100, 2);
    ck_assert(!b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, STATUS, 2), 0x0400);
}
END_TEST

START_TEST(global_lock_and_gpe)
{
    sci_on();
    board_out(&b, ENABLE, 0x0020, 2);
    board_out(&b, BASE + 0x28, 0x02, 1); /* BIOS_RLS */
    ck_assert(b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, BASE + 0x28, 1), 0);
    board_out(&b, STATUS, 0x0020, 2);
    ck_assert(!b.levels[SCI]);
    board_out(&b, CONTROL, 0x0005, 2); /* GBL_RLS */
    ck_assert_uint_eq(board_in(&b, BASE + 0x18, 1) & 1, 1);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 1);
    board_out(&b, GPE + 2, 0xffff, 2);
    ck_assert_uint_eq(board_in(&b, GPE, 4), 0x0f010000);
    piix4_pm_gpe(pm, PIIX4_GPE_LID);
    ck_assert(b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, GPE, 2), 0x0800);
    board_out(&b, GPE, 0x0800, 2);
    ck_assert(!b.levels[SCI]);
}
END_TEST

START_TEST(soft_off)
{
    board_out(&b, CONTROL, 0x2401, 2); /* SLP_TYP 1: not offered */
    ck_assert_uint_eq(b.soft_offs, 0);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 0x0401); /* SLP_EN reads as 0 */
    board_out(&b, CONTROL, 0x0001, 2);
    ck_assert_uint_eq(b.soft_offs, 0);
    board_out(&b, CONTROL, 0x2001, 2);
    ck_assert_uint_eq(b.soft_offs, 1);
    board_out(&b, CONTROL + 1, 0x20, 1);
    ck_assert_uint_eq(b.soft_offs, 2);
}
END_TEST

START_TEST(smbus_without_slaves)
{
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0);
    board_out(&b, SMB + 4, 0xa1, 1);
    board_out(&b, SMB + 2, 0x48, 1); /* byte data, start */
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0x04);
    ck_assert_uint_eq(board_in(&b, SMB + 2, 1), 0x08);
    ck_assert(!b.levels[SCI]);
    board_out(&b, SMB + 2, 0x09, 1);
    ck_assert(b.levels[SCI]);
    board_out(&b, SMB, 0x04, 1);
    ck_assert(!b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0);
    board_out(&b, SMB + 2, 0x42, 1); /* killed */
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0x10);
    config_put(&b, PM, 4, 0, 2);
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0xff);
    config_put(&b, PM, 4, 1, 2);
    config_put(&b, PM, 0xd2, 0, 1);
    ck_assert_uint_eq(board_in(&b, SMB, 1), 0xff);
}
END_TEST

START_TEST(reset_unmaps_and_clears)
{
    sci_on();
    board_out(&b, ENABLE, 0x0100, 2);
    piix4_pm_power_button(pm);
    b.parts[1].type->reset(pm);
    ck_assert(!b.levels[SCI]);
    ck_assert_uint_eq(board_in(&b, ENABLE, 2), 0xffff);
    config_put(&b, PM, 0x40, BASE, 4);
    config_put(&b, PM, 0x80, 1, 1);
    ck_assert_uint_eq(board_in(&b, STATUS, 4), 0);
    ck_assert_uint_eq(board_in(&b, CONTROL, 2), 0);
}
END_TEST

START_TEST(random_accesses)
{
    static const u8 devfns[] = {PM};
    u16 ports[88];

    for (unsigned i = 0; i < ARRAY_SIZE(ports); i++)
        ports[i] = (u16)(i < 64 ? BASE + i : i < 80 ? SMB + i - 64 : 0xb0 + i % 8);
    for (unsigned i = 0; i < 64; i++) {
        config_put(&b, PM, 0x40, BASE | 1, 4);
        config_put(&b, PM, 0x80, 1, 1);
        config_put(&b, PM, 0x90, SMB | 1, 4);
        config_put(&b, PM, 0xd2, 0x09, 1);
        config_put(&b, PM, 4, 1, 2);
        /* Mostly ports, so that the blocks stay where they are for a while. */
        for (unsigned n = 0; n < 2000; n++) {
            u64 r = board_random(&b);
            u16 port = ports[(r >> 8) % ARRAY_SIZE(ports)];

            if (r & 1)
                board_out(&b, port, (u32)board_random(&b), 1u << (r >> 1) % 3);
            else
                board_in(&b, port, 1u << (r >> 1) % 3);
            b.now += (r >> 30) >> (r >> 4 & 15);
            clock_run(&b.clock);
        }
        board_fuzz(&b, devfns, 1, ports, ARRAY_SIZE(ports), 500);
        piix4_pm_gpe(pm, (enum piix4_gpe)(i % 16));
    }
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("piix4_pm");
    TCase *tc = tcase_create("all");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, identity);
    tcase_add_test(tc, base_moves_and_enables);
    tcase_add_test(tc, timer_counts_exactly);
    tcase_add_test(tc, timer_overflow_raises_sci_at_the_right_nanosecond);
    tcase_add_test(tc, timer_status_needs_no_enable);
    tcase_add_test(tc, acpi_enable_and_disable);
    tcase_add_test(tc, button_and_alarm);
    tcase_add_test(tc, global_lock_and_gpe);
    tcase_add_test(tc, soft_off);
    tcase_add_test(tc, smbus_without_slaves);
    tcase_add_test(tc, reset_unmaps_and_clears);
    tcase_add_test(tc, random_accesses);
    suite_add_tcase(s, tc);
    return s;
}

int main(void)
{
    return suite_run(suite());
}
