/* SPDX-License-Identifier: MIT
 *
 * The keyboard behind the controller: scan codes in the three sets, special keys, commands, repeat
 * and overrun. Driven through ports 60 and 64 with translation off.
 */
#include <string.h>

#include "devices/legacy/i8042.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static void setup(void)
{
    harness_setup(&h, &i8042_type, NULL, 0);
    out8(&h, 0x64, 0x60);
    out8(&h, 0x60, 0x00);
}

static void teardown(void)
{
    harness_teardown(&h);
}

/* Whatever comes within 20 ms, as hexadecimal. */
static const char *received(char text[128])
{
    text[0] = 0;
    for (unsigned ms = 0; ms < 20; ms++) {
        harness_run_for(&h, 1000000);
        if ((in8(&h, 0x64) & 1) && strlen(text) < 120)
            sprintf(text + strlen(text), "%s%02x", *text ? " " : "", in8(&h, 0x60));
    }
    return text;
}

static void expect(const char *bytes)
{
    char text[128];

    ck_assert_str_eq(received(text), bytes);
}

static void down(enum key key)
{
    i8042_key(h.self, key, true);
}

static void up(enum key key)
{
    i8042_key(h.self, key, false);
}

static void send(u8 byte, const char *reply)
{
    out8(&h, 0x60, byte);
    expect(reply);
}

static void use_set(u8 set)
{
    send(0xf0, "fa");
    send(set, "fa");
}

START_TEST(set_2_codes)
{
    down(KEY_A);
    up(KEY_A);
    expect("1c f0 1c");
    down(KEY_F7);
    up(KEY_F7);
    expect("83 f0 83");
    down(KEY_RIGHT_CTRL);
    up(KEY_RIGHT_CTRL);
    expect("e0 14 e0 f0 14");
    down(KEY_KP_ENTER);
    up(KEY_KP_ENTER);
    expect("e0 5a e0 f0 5a");
}
END_TEST

START_TEST(set_1_codes)
{
    use_set(1);
    down(KEY_A);
    up(KEY_A);
    expect("1e 9e");
    down(KEY_F7);
    up(KEY_F7);
    expect("41 c1");
    down(KEY_DELETE);
    up(KEY_DELETE);
    expect("e0 53 e0 d3");
    down(KEY_PAUSE);
    up(KEY_PAUSE);
    expect("e1 1d 45 e1 9d c5");
    down(KEY_PRINT_SCREEN);
    up(KEY_PRINT_SCREEN);
    expect("e0 2a e0 37 e0 b7 e0 aa");
}
END_TEST

START_TEST(set_3_codes_and_key_kinds)
{
    use_set(3);
    down(KEY_A);
    up(KEY_A);
    expect("1c"); /* typematic keys send no break code by default */
    down(KEY_LEFT_SHIFT);
    up(KEY_LEFT_SHIFT);
    expect("12 f0 12");
    send(0xfa, "fa"); /* all keys typematic, make and break */
    down(KEY_F1);
    up(KEY_F1);
    expect("07 f0 07");
    send(0xfd, "fa");
    send(0x1c, "fa"); /* A: make only */
    send(0xf4, "fa");
    down(KEY_A);
    up(KEY_A);
    down(KEY_B);
    up(KEY_B);
    expect("1c 32 f0 32");
    send(0xf0, "fa");
    send(0x00, "fa 03");
}
END_TEST

START_TEST(print_screen_and_pause_with_modifiers)
{
    down(KEY_PRINT_SCREEN);
    up(KEY_PRINT_SCREEN);
    expect("e0 12 e0 7c e0 f0 7c e0 f0 12");
    down(KEY_PAUSE);
    up(KEY_PAUSE);
    expect("e1 14 77 e1 f0 14 f0 77");
    down(KEY_LEFT_CTRL);
    expect("14");
    down(KEY_PAUSE);
    up(KEY_PAUSE);
    expect("e0 7e e0 f0 7e");
    down(KEY_PRINT_SCREEN);
    up(KEY_PRINT_SCREEN);
    expect("e0 7c e0 f0 7c");
    up(KEY_LEFT_CTRL);
    expect("f0 14");
    down(KEY_LEFT_ALT);
    expect("11");
    down(KEY_PRINT_SCREEN);
    up(KEY_PRINT_SCREEN);
    expect("84 f0 84");
}
END_TEST

START_TEST(navigation_keys_undo_shift_and_num_lock)
{
    down(KEY_LEFT_SHIFT);
    expect("12");
    down(KEY_HOME);
    up(KEY_HOME);
    expect("e0 f0 12 e0 6c e0 f0 6c e0 12");
    up(KEY_LEFT_SHIFT);
    expect("f0 12");
    send(0xed, "fa");
    send(0x02, "fa");
    down(KEY_HOME);
    up(KEY_HOME);
    expect("e0 12 e0 6c e0 f0 6c e0 f0 12");
}
END_TEST

START_TEST(repeated_host_events_are_dropped)
{
    down(KEY_A);
    down(KEY_A);
    expect("1c");
    up(KEY_A);
    up(KEY_A);
    up(KEY_B);
    down((enum key)0);
    down((enum key)0x32);
    down((enum key)5000);
    down((enum key) - 1);
    expect("f0 1c");
}
END_TEST

START_TEST(typematic_repeat)
{
    down(KEY_A);
    expect("1c");
    harness_run_for(&h, 460000000);
    expect("");
    expect("1c"); /* after 500 ms */
    harness_run_for(&h, 60000000);
    expect("1c"); /* then every 91.7 ms */
    up(KEY_A);
    expect("f0 1c");
    harness_run_for(&h, NS_PER_SECOND);
    expect("");
    send(0xf3, "fa");
    send(0x00, "fa"); /* 250 ms, 30 a second */
    down(KEY_A);
    expect("1c");
    harness_run_for(&h, 235000000);
    expect("1c");
    expect("1c");
    harness_jump(&h, 3600 * NS_PER_SECOND);
    ck_assert_uint_gt(clock_next_deadline(&h.clock), h.now);
    up(KEY_A);
}
END_TEST

START_TEST(commands)
{
    send(0xee, "ee");
    send(0xf2, "fa ab 83");
    send(0xfe, "83");
    send(0xed, "fa");
    send(0xf4, "fa"); /* a command instead of the argument */
    send(0x05, "fe"); /* no command waits */
    send(0xf0, "fa");
    send(0x07, "fe");
    send(0x00, "fa 02");
    send(0xf5, "fa");
    down(KEY_A);
    up(KEY_A);
    expect("");
    send(0xf6, "fa");
    expect("");
    send(0xf4, "fa");
    down(KEY_A);
    up(KEY_A);
    expect("1c f0 1c");
    use_set(3);
    send(0xff, "fa aa");
    send(0xf0, "fa");
    send(0x00, "fa 02");
    send(0xef, "fe");
    send(0xf1, "fe");
}
END_TEST

START_TEST(overrun_after_16_bytes_and_recovery)
{
    out8(&h, 0x64, 0xad); /* clock low: the board buffers */
    for (unsigned i = 0; i < 6; i++) {
        down((enum key)(KEY_A + i));
        up((enum key)(KEY_A + i));
    }
    out8(&h, 0x64, 0xae);
    expect("1c f0 1c 32 f0 32 21 f0 21 23 f0 23 24 f0 24 2b 00");
    down(KEY_A);
    up(KEY_A);
    expect("1c f0 1c");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ps2_keyboard");
    TCase *tc = tcase_create("ps2_keyboard");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, set_2_codes);
    tcase_add_test(tc, set_1_codes);
    tcase_add_test(tc, set_3_codes_and_key_kinds);
    tcase_add_test(tc, print_screen_and_pause_with_modifiers);
    tcase_add_test(tc, navigation_keys_undo_shift_and_num_lock);
    tcase_add_test(tc, repeated_host_events_are_dropped);
    tcase_add_test(tc, typematic_repeat);
    tcase_add_test(tc, commands);
    tcase_add_test(tc, overrun_after_16_bytes_and_recovery);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
