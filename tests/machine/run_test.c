/* SPDX-License-Identifier: MIT
 *
 * The run loop: every way a machine ends, resets, sleep and idle time, input from the host, and
 * that counted time makes two runs the same run.
 */
#include "tests/machine/guests.h"
#include "tests/suite.h"

static u64 host_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

START_TEST(debug_exit_gives_the_code)
{
    guest_check(GUEST_EXIT, END_DEBUG_EXIT, 43);
}
END_TEST

START_TEST(power_off_through_the_acpi_register)
{
    guest_check(GUEST_POWER_OFF, END_POWER_OFF, 0);
}
END_TEST

/* Each guest counts its starts in RAM, which a reset keeps, and ends at the third. */
START_TEST(reset_starts_again_and_keeps_memory)
{
    guest_check(GUEST_RESET_CF9 + _i, END_DEBUG_EXIT, 19);
}
END_TEST

START_TEST(reset_ends_the_machine_with_no_reboot)
{
    struct guest_machine g;
    bool triple = GUEST_RESET_CF9 + _i == GUEST_RESET_TRIPLE;

    guest_prepare(&g, GUEST_RESET_CF9 + _i, 0);
    g.config.no_reboot = true;
    guest_create(&g);
    guest_run(&g, triple ? END_SHUTDOWN : END_REBOOT);
    guest_destroy(&g);
}
END_TEST

START_TEST(triple_fault_leaves_the_registers_to_see)
{
    struct guest_machine g;
    char text[8192];

    guest_prepare(&g, GUEST_TRIPLE_FAULT, 0);
    g.config.no_reboot = true;
    guest_create(&g);
    guest_run(&g, END_SHUTDOWN);
    machine_dump(g.machine, text, sizeof(text));
    ck_assert_ptr_nonnull(strstr(text, "RDX=0000000012345678"));
    ck_assert_ptr_nonnull(strstr(text, "CS =f000"));
    machine_dump(g.machine, text, 10);
    ck_assert_uint_eq(strlen(text), 9);
    guest_destroy(&g);
}
END_TEST

START_TEST(halted_for_good_ends_counted_time)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_HALT, 0);
    g.config.time = TIME_COUNTED;
    g.config.serial[0] = NULL;
    guest_create(&g);
    guest_run(&g, END_HALTED);
    guest_destroy(&g);
}
END_TEST

/* -- stopping from outside -- */

static void check_stop(enum guest guest)
{
    struct guest_machine g;
    pthread_t thread;
    u64 start;

    guest_prepare(&g, guest, 0);
    guest_create(&g);
    start = host_ms();
    pthread_create(&thread, NULL, stop_later, g.machine);
    guest_run(&g, END_STOPPED);
    ck_assert_uint_ge(host_ms() - start, 90);
    ck_assert_uint_lt(host_ms() - start, 5000);
    pthread_join(thread, NULL);
    guest_destroy(&g);
}

START_TEST(stop_while_the_guest_runs)
{
    check_stop(GUEST_SPIN);
}
END_TEST

START_TEST(stop_while_the_guest_sleeps)
{
    check_stop(GUEST_HALT);
}
END_TEST

START_TEST(stop_before_the_start_is_not_lost)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_SPIN, 0);
    guest_create(&g);
    machine_stop(g.machine);
    guest_run(&g, END_STOPPED);
    ck_assert_uint_eq(machine_instructions(g.machine), 0);
    guest_destroy(&g);
}
END_TEST

START_TEST(runs_on_after_a_stop)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_EXIT, 0);
    guest_create(&g);
    machine_stop(g.machine);
    guest_run(&g, END_STOPPED);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 43);
    guest_destroy(&g);
}
END_TEST

/* -- time -- */

START_TEST(sleeps_take_their_time_and_no_instructions)
{
    struct guest_machine g;
    u64 start;

    guest_prepare(&g, GUEST_SLEEP, 0);
    guest_create(&g);
    start = host_ms();
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 23);
    ck_assert_uint_ge(host_ms() - start, 180);
    ck_assert_uint_lt(host_ms() - start, 3000);
    ck_assert_uint_lt(machine_instructions(g.machine), 5000);
    guest_destroy(&g);
}
END_TEST

START_TEST(counted_sleep_is_skipped)
{
    struct guest_machine g;
    u64 start;

    guest_prepare(&g, GUEST_SLEEP, 0);
    g.config.time = TIME_COUNTED;
    guest_create(&g);
    start = host_ms();
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 23);
    ck_assert_uint_lt(host_ms() - start, 150);
    guest_destroy(&g);
}
END_TEST

struct outcome {
    u64 instructions;
    u64 hash[2];
};

static struct outcome work(u32 seed, u64 ips)
{
    struct guest_machine g;
    struct outcome o;

    guest_prepare(&g, GUEST_WORK, seed);
    g.config.time = TIME_COUNTED;
    g.config.ips = ips;
    guest_create(&g);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 15);
    o.instructions = machine_instructions(g.machine);
    ck_assert_int_eq(machine_ram_hash(g.machine, o.hash, &g.err), ST_OK);
    guest_destroy(&g);
    return o;
}

START_TEST(counted_runs_repeat)
{
    struct outcome a = work(1, 10000000), b = work(1, 10000000), c = work(2, 10000000),
                   d = work(1, 20000000);

    ck_assert_mem_eq(&a, &b, sizeof(a));
    ck_assert_uint_eq(a.instructions, c.instructions); /* another seed: other numbers, same path */
    ck_assert_uint_ne(a.hash[0], c.hash[0]);
    /* 40 ms: the rate decides how many instructions fit. */
    ck_assert_uint_gt(a.instructions, 350000);
    ck_assert_uint_lt(a.instructions, 450000);
    ck_assert_uint_gt(d.instructions, a.instructions * 19 / 10);
}
END_TEST

/* -- the host's side -- */

static void run_until_output(struct guest_machine *g, char want)
{
    char byte = 0;

    for (unsigned n = 0; n < 50 && !chardev_memory_take(g->serial, &byte, 1); n++) {
        pthread_t thread;

        pthread_create(&thread, NULL, stop_later, g->machine);
        guest_run(g, END_STOPPED);
        pthread_join(thread, NULL);
    }
    ck_assert_int_eq(byte, want);
}

START_TEST(power_button_wakes_the_guest)
{
    struct guest_machine g;

    guest_prepare(&g, GUEST_POWER_BUTTON, 0);
    guest_create(&g);
    run_until_output(&g, '?');
    machine_power_button(g.machine);
    guest_run(&g, END_POWER_OFF);
    guest_destroy(&g);
}
END_TEST

START_TEST(serial_goes_both_ways)
{
    struct guest_machine g;
    char out[16] = "";

    guest_prepare(&g, GUEST_ECHO, 0);
    guest_create(&g);
    run_until_output(&g, 'R'); /* the port is set up now */
    ck_assert_uint_eq(chardev_memory_feed(g.serial, "HAL!", 4), 4);
    ck_assert_int_eq(guest_run(&g, END_DEBUG_EXIT), 11);
    ck_assert_uint_eq(chardev_memory_take(g.serial, out, sizeof(out) - 1), 3);
    ck_assert_str_eq(out, "IBM");
    guest_destroy(&g);
}
END_TEST

static unsigned looked;
static struct machine *looked_machine;

static void look(struct chardev *c)
{
    (void)c;
    if (++looked == 3)
        machine_stop(looked_machine);
}

static void forget(struct chardev *c)
{
    (void)c;
}

/* In both clocks: somebody at the terminal must be able to quit. */
START_TEST(input_is_looked_at_while_nothing_retires)
{
    static const struct chardev_backend backend = {.poll_input = look, .destroy = forget};
    struct chardev terminal = {.backend = &backend};
    struct guest_machine g;

    guest_prepare(&g, GUEST_FAULT_LOOP, 0);
    g.config.serial[1] = &terminal;
    g.config.time = _i ? TIME_COUNTED : TIME_REAL;
    guest_create(&g);
    looked = 0;
    looked_machine = g.machine;
    guest_run(&g, END_STOPPED);
    guest_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("run");
    TCase *tc = tcase_create("run");

    tcase_set_timeout(tc, 60);
    tcase_add_test(tc, debug_exit_gives_the_code);
    tcase_add_test(tc, power_off_through_the_acpi_register);
    tcase_add_loop_test(tc, reset_starts_again_and_keeps_memory, 0, 4);
    tcase_add_loop_test(tc, reset_ends_the_machine_with_no_reboot, 0, 4);
    tcase_add_test(tc, triple_fault_leaves_the_registers_to_see);
    tcase_add_test(tc, halted_for_good_ends_counted_time);
    tcase_add_test(tc, stop_while_the_guest_runs);
    tcase_add_loop_test(tc, input_is_looked_at_while_nothing_retires, 0, 2);
    tcase_add_test(tc, stop_while_the_guest_sleeps);
    tcase_add_test(tc, stop_before_the_start_is_not_lost);
    tcase_add_test(tc, runs_on_after_a_stop);
    tcase_add_test(tc, sleeps_take_their_time_and_no_instructions);
    tcase_add_test(tc, counted_sleep_is_skipped);
    tcase_add_test(tc, counted_runs_repeat);
    tcase_add_test(tc, power_button_wakes_the_guest);
    tcase_add_test(tc, serial_goes_both_ways);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
