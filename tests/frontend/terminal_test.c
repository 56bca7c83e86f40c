/* SPDX-License-Identifier: MIT
 *
 * The escape key: which typed bytes reach the guest, and what the others do. With a real terminal:
 * terminal.py.
 */
#include "frontend/cli/terminal.h"
#include "tests/machine/guests.h"
#include "tests/suite.h"

static struct terminal terminal;
static struct guest_machine g;
static unsigned breaks;
static int saved_stdout, captured;

static void count_break(void *opaque)
{
    ck_assert_ptr_eq(opaque, &breaks);
    breaks++;
}

static void setup(void)
{
    guest_prepare(&g, GUEST_SPIN, 0);
    guest_create(&g);
    breaks = 0;
    terminal = (struct terminal){.machine = g.machine, .break_key = count_break, .opaque = &breaks};
    captured = memfd_create("stdout", 0);
    fflush(stdout);
    saved_stdout = dup(STDOUT_FILENO);
    dup2(captured, STDOUT_FILENO);
}

static void teardown(void)
{
    dup2(saved_stdout, STDOUT_FILENO);
    close(saved_stdout);
    close(captured);
    guest_destroy(&g);
}

/* What was shown so far. */
static const char *shown(void)
{
    static char text[65536];
    ssize_t size = pread(captured, text, sizeof(text) - 1, 0);

    text[size > 0 ? size : 0] = 0;
    return text;
}

static bool type(u8 byte)
{
    return terminal_filter(&terminal, byte);
}

START_TEST(every_byte_but_one_goes_to_the_guest)
{
    for (unsigned byte = 0; byte < 256; byte++)
        if (byte != 1)
            ck_assert(type((u8)byte));
    ck_assert_str_eq(shown(), "");
}
END_TEST

START_TEST(the_escape_key_and_the_next_one_do_not)
{
    ck_assert(!type(1));
    ck_assert(!type('h'));
    ck_assert(type('h'));
    ck_assert(!type(1));
    ck_assert(!type('?')); /* unknown: help, too */
    ck_assert(type('x'));
    ck_assert_ptr_nonnull(strstr(shown(), "Ctrl-A x"));
}
END_TEST

START_TEST(twice_sends_it_once)
{
    ck_assert(!type(1));
    ck_assert(type(1));
    ck_assert(type('x')); /* not an escape any more */
    ck_assert_str_eq(shown(), "");
}
END_TEST

START_TEST(x_ends_the_machine)
{
    type(1);
    ck_assert(!type('x'));
    guest_run(&g, END_STOPPED);
}
END_TEST

START_TEST(b_sends_a_break)
{
    type(1);
    ck_assert(!type('b'));
    ck_assert_uint_eq(breaks, 1);
}
END_TEST

START_TEST(s_shows_the_screen)
{
    type(1);
    ck_assert(!type('s'));
    ck_assert_ptr_nonnull(strstr(shown(), "text screen"));
}
END_TEST

/* Standard input is no terminal here. */
START_TEST(without_a_terminal_nothing_happens)
{
    int null = memfd_create("stdin", 0);

    dup2(null, STDIN_FILENO);
    terminal_open(&terminal);
    ck_assert(!terminal.raw);
    terminal_close(&terminal);
    terminal_close(&terminal);
    close(null);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("terminal");
    TCase *tc = tcase_create("terminal");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, every_byte_but_one_goes_to_the_guest);
    tcase_add_test(tc, the_escape_key_and_the_next_one_do_not);
    tcase_add_test(tc, twice_sends_it_once);
    tcase_add_test(tc, x_ends_the_machine);
    tcase_add_test(tc, b_sends_a_break);
    tcase_add_test(tc, s_shows_the_screen);
    tcase_add_test(tc, without_a_terminal_nothing_happens);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
