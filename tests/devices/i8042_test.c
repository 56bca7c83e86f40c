/* SPDX-License-Identifier: MIT
 *
 * The keyboard controller through ports 60 and 64, with the keyboard behind it.
 */
#include "devices/legacy/i8042.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

static void setup(void)
{
    harness_setup(&h, &i8042_type, NULL, 0);
}

static void teardown(void)
{
    harness_teardown(&h);
}

static void command(unsigned value)
{
    out8(&h, 0x64, value);
}

static void command_data(unsigned value, unsigned data)
{
    out8(&h, 0x64, value);
    out8(&h, 0x60, data);
}

static bool full(void)
{
    return in8(&h, 0x64) & 1;
}

/* The byte in the output buffer; there must be one. */
static u8 answer(void)
{
    ck_assert(full());
    return in8(&h, 0x60);
}

/* The next byte from the keyboard, after its frame time. */
static u8 frame(void)
{
    harness_run_for(&h, 1000000);
    return answer();
}

START_TEST(self_tests_and_ports)
{
    ck_assert_uint_eq(in8(&h, 0x64), 0x10);
    command(0xaa);
    ck_assert_uint_eq(in8(&h, 0x64), 0x1d); /* OBF, SYS, command, unlocked */
    ck_assert_uint_eq(answer(), 0x55);
    ck_assert(!full());
    command(0xab);
    ck_assert_uint_eq(answer(), 0x00);
    command(0xa9);
    ck_assert_uint_eq(answer(), 0x00);
    command(0xa4);
    ck_assert_uint_eq(answer(), 0xf1);
    command(0xc0);
    ck_assert_uint_eq(answer() & 0x80, 0x80);
}
END_TEST

START_TEST(config_byte_and_ram)
{
    command_data(0x60, 0x47);
    ck_assert_uint_eq(in8(&h, 0x64) & 0x0c, 0x04); /* SYS follows, last write was data */
    command(0x20);
    ck_assert_uint_eq(answer(), 0x47);
    command(0xad);
    command(0xa7);
    command(0x20);
    ck_assert_uint_eq(answer(), 0x77);
    command(0xae);
    command(0xa8);
    command(0x20);
    ck_assert_uint_eq(answer(), 0x47);
    command_data(0x7f, 0x5a);
    command(0x3f);
    ck_assert_uint_eq(answer(), 0x5a);
}
END_TEST

START_TEST(irq1_is_an_edge_per_byte)
{
    command_data(0x60, 0x41);
    i8042_key(h.self, KEY_A, true);
    i8042_key(h.self, KEY_A, false);
    ck_assert_uint_eq(h.pins[I8042_PIN_IRQ1].rises, 0);
    harness_run_for(&h, 1000000);
    ck_assert_uint_eq(h.pins[I8042_PIN_IRQ1].rises, 1);
    ck_assert_uint_eq(in8(&h, 0x60), 0x1e);
    ck_assert(!h.pins[I8042_PIN_IRQ1].level);
    ck_assert_uint_eq(in8(&h, 0x60), 0x1e); /* still there for a second reader */
    harness_run_for(&h, 2000000);
    ck_assert_uint_eq(h.pins[I8042_PIN_IRQ1].rises, 2);
    ck_assert_uint_eq(in8(&h, 0x60), 0x9e);
}
END_TEST

START_TEST(translation_off_passes_set_2)
{
    command_data(0x60, 0x00);
    i8042_key(h.self, KEY_UP, true);
    ck_assert_uint_eq(frame(), 0xe0);
    ck_assert_uint_eq(frame(), 0x75);
    i8042_key(h.self, KEY_UP, false);
    ck_assert_uint_eq(frame(), 0xe0);
    ck_assert_uint_eq(frame(), 0xf0);
    ck_assert_uint_eq(frame(), 0x75);
    ck_assert(!h.pins[I8042_PIN_IRQ1].rises);
}
END_TEST

START_TEST(keyboard_commands_through_the_controller)
{
    out8(&h, 0x60, 0xf2);
    ck_assert(!full());
    ck_assert_uint_eq(frame(), 0xfa);
    ck_assert_uint_eq(frame(), 0xab);
    ck_assert_uint_eq(frame(), 0x41); /* 83, translated */
    out8(&h, 0x60, 0xff);
    ck_assert_uint_eq(frame(), 0xfa);
    ck_assert_uint_eq(frame(), 0xaa);
}
END_TEST

START_TEST(disabled_keyboard_waits)
{
    command(0xad);
    i8042_key(h.self, KEY_B, true);
    harness_run_for(&h, 5000000);
    ck_assert(!full());
    command(0xae);
    ck_assert_uint_eq(frame(), 0x30);
    command(0xad);
    out8(&h, 0x60, 0xee); /* a byte for the keyboard enables it */
    ck_assert_uint_eq(frame(), 0xee);
    command(0x20);
    ck_assert_uint_eq(answer() & 0x10, 0);
}
END_TEST

START_TEST(controller_answer_during_a_frame_is_not_lost)
{
    i8042_key(h.self, KEY_C, true);
    command(0xaa);
    harness_run_for(&h, 5000000);
    ck_assert_uint_eq(answer(), 0x55);
    ck_assert_uint_eq(frame(), 0x2e);
}
END_TEST

START_TEST(aux_port_is_empty)
{
    command_data(0x60, 0x42);
    command_data(0xd4, 0xf2);
    ck_assert_uint_eq(in8(&h, 0x64) & 0x61, 0x61); /* OBF, AUX, time-out */
    ck_assert(h.pins[I8042_PIN_IRQ12].level);
    ck_assert_uint_eq(answer(), 0xfe);
    ck_assert(!h.pins[I8042_PIN_IRQ12].level);
    ck_assert_uint_eq(in8(&h, 0x64) & 0x60, 0);
    command_data(0xd3, 0x5a); /* the loop that drivers test IRQ12 with */
    ck_assert_uint_eq(in8(&h, 0x64) & 0x21, 0x21);
    ck_assert_uint_eq(h.pins[I8042_PIN_IRQ12].rises, 2);
    ck_assert_uint_eq(answer(), 0x5a);
    command_data(0xd2, 0x11);
    ck_assert_uint_eq(in8(&h, 0x64) & 0x21, 0x01);
    ck_assert_uint_eq(answer(), 0x11);
}
END_TEST

START_TEST(output_port_a20_and_reset)
{
    ck_assert(h.pins[I8042_PIN_A20].level);
    command(0xdd);
    ck_assert(!h.pins[I8042_PIN_A20].level);
    command(0xd0);
    ck_assert_uint_eq(answer(), 0xc1);
    command(0xdf);
    ck_assert(h.pins[I8042_PIN_A20].level);
    command_data(0xd1, 0xdd);
    ck_assert(!h.pins[I8042_PIN_A20].level);
    ck_assert_uint_eq(h.pins[I8042_PIN_RESET].rises, 0);
    command_data(0xd1, 0xfe);
    ck_assert_uint_eq(h.pins[I8042_PIN_RESET].rises, 1);
    command(0xff);
    ck_assert_uint_eq(h.pins[I8042_PIN_RESET].rises, 1);
    command(0xfe);
    ck_assert_uint_eq(h.pins[I8042_PIN_RESET].rises, 2);
    command(0xf0);
    ck_assert_uint_eq(h.pins[I8042_PIN_RESET].rises, 3);
}
END_TEST

static void fuzz_step(struct harness *f)
{
    u64 r = harness_random(f);

    if (r % 8 == 0)
        i8042_key(f->self, (enum key)(r >> 8 & 0x1ff), r >> 32 & 1);
    if (r % 64 == 1)
        harness_run_for(f, 1000000);
}

START_TEST(survives_random_accesses)
{
    static const u16 ports[] = {0x60, 0x60, 0x64};

    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, fuzz_step);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("i8042");
    TCase *tc = tcase_create("i8042");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, self_tests_and_ports);
    tcase_add_test(tc, config_byte_and_ram);
    tcase_add_test(tc, irq1_is_an_edge_per_byte);
    tcase_add_test(tc, translation_off_passes_set_2);
    tcase_add_test(tc, keyboard_commands_through_the_controller);
    tcase_add_test(tc, disabled_keyboard_waits);
    tcase_add_test(tc, controller_answer_during_a_frame_is_not_lost);
    tcase_add_test(tc, aux_port_is_empty);
    tcase_add_test(tc, output_port_a20_and_reset);
    tcase_add_test(tc, survives_random_accesses);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
