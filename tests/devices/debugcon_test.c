/* SPDX-License-Identifier: MIT
 *
 * The two devices for test guests: debug console and isa-debug-exit.
 */
#include "devices/backend/chardev_memory.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/debugcon.h"
#include "tests/devices/harness.h"
#include "tests/suite.h"

static struct harness h;

START_TEST(debugcon_writes_and_answers_e9)
{
    struct debugcon_config config;
    struct error err;
    char text[8];

    ck_assert_int_eq(chardev_memory_create(&config.chardev, 4, &err), ST_OK);
    harness_setup(&h, &debugcon_type, &config, 0);
    ck_assert_uint_eq(in8(&h, 0x402), 0xe9);
    ck_assert_uint_eq(in8(&h, 0xe9), 0xe9);
    out8(&h, 0x402, 'h');
    out8(&h, 0xe9, 'i');
    ck_assert_uint_eq(chardev_memory_take(config.chardev, text, sizeof(text)), 2);
    ck_assert_mem_eq(text, "hi", 2);
    for (unsigned i = 0; i < 100; i++) /* more than the host takes: dropped, never stuck */
        out8(&h, 0x402, 'x');
    ck_assert_uint_eq(chardev_memory_take(config.chardev, text, sizeof(text)), 4);
    out8(&h, 0x402, 'y');
    ck_assert_uint_eq(chardev_memory_take(config.chardev, text, sizeof(text)), 1);
    harness_teardown(&h);
    chardev_destroy(config.chardev);
}
END_TEST

START_TEST(debugcon_without_a_console)
{
    static const struct debugcon_config config = {.chardev = NULL};
    static const u16 ports[] = {0xe8, 0xe9, 0x400, 0x402};

    harness_setup(&h, &debugcon_type, &config, 0);
    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, NULL);
    harness_teardown(&h);
}
END_TEST

static int exit_code;
static unsigned exits;

static void record_exit(void *opaque, int code)
{
    ck_assert_ptr_eq(opaque, &h);
    exit_code = code;
    exits++;
}

START_TEST(exit_code_is_value_times_2_plus_1)
{
    static const u16 ports[] = {0xf2, 0xf4, 0xf5, 0xf6, 0xf7};
    const struct debug_exit_config config = {
        .iobase = 0xf4, .iosize = 4, .exit = record_exit, .opaque = &h};

    harness_setup(&h, &debug_exit_type, &config, 0);
    ck_assert_uint_eq(pio_read(&h.pio, 0xf4, 4), 0);
    ck_assert_uint_eq(exits, 0);
    pio_write(&h.pio, 0xf4, 0x10, 4);
    ck_assert_int_eq(exit_code, 0x21);
    pio_write(&h.pio, 0xf4, 0, 1);
    ck_assert_int_eq(exit_code, 1);
    ck_assert_uint_eq(exits, 2);
    pio_write(&h.pio, 0xf4, 0xffffffff, 4);
    ck_assert_int_eq(exit_code, -1);
    harness_fuzz(&h, ports, ARRAY_SIZE(ports), 100000, NULL);
    harness_teardown(&h);
}
END_TEST

START_TEST(exit_refuses_bad_ports)
{
    struct debug_exit_config config = {.iobase = 0xf4, .iosize = 0, .exit = record_exit};
    void *other = calloc(1, debug_exit_type.state_size);
    struct error err = {0};

    ck_assert_ptr_nonnull(other);
    config.iosize = 4;
    harness_setup(&h, &debug_exit_type, &config, 0);
    ck_assert_int_eq(debug_exit_type.init(other, &h.env, &config, &err), ST_OVERLAP);
    ck_assert_str_ne(err.text, "");
    config.iosize = 0;
    ck_assert_int_eq(debug_exit_type.init(other, &h.env, &config, &err), ST_INVALID);
    config.iosize = 5;
    ck_assert_int_eq(debug_exit_type.init(other, &h.env, &config, &err), ST_INVALID);
    config = (struct debug_exit_config){.iobase = 0xffff, .iosize = 2, .exit = record_exit};
    ck_assert_int_ne(debug_exit_type.init(other, &h.env, &config, &err), ST_OK);
    free(other);
    harness_teardown(&h);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("debugcon");
    TCase *tc = tcase_create("debugcon");

    tcase_add_test(tc, debugcon_writes_and_answers_e9);
    tcase_add_test(tc, debugcon_without_a_console);
    tcase_add_test(tc, exit_code_is_value_times_2_plus_1);
    tcase_add_test(tc, exit_refuses_bad_ports);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
