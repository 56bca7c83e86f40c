/* SPDX-License-Identifier: MIT
 *
 * The log: categories, prefixes, the limit for guest misuse, whole lines from many threads, and
 * that a broken invariant aborts. Also status.c: messages that fit and messages that do not.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "mem/base/log.h"
#include "mem/base/status.h"
#include "tests/suite.h"

static struct log log_;
static char *text;
static size_t size;

static void setup(void)
{
    log_init(&log_);
    log_.sink = open_memstream(&text, &size);
    log_.owned = true;
}

static void teardown(void)
{
    log_fini(&log_);
    ck_assert_ptr_eq(log_.sink, stderr);
    free(text);
}

static const char *written(void)
{
    fflush(log_.sink);
    return text;
}

START_TEST(traces_need_their_category)
{
    log_trace(&log_, LOG_INT, "no %d", 1);
    log_.categories = LOG_INT;
    log_trace(&log_, LOG_INT, "yes %d", 2);
    log_trace(&log_, LOG_MMIO, "no %d", 3);
    ck_assert_str_eq(written(), "yes 2\n");
}
END_TEST

START_TEST(warnings_always_come)
{
    log_warn(&log_, "look: %s", "here");
    ck_assert_str_eq(written(), "lockstep: look: here\n");
}
END_TEST

START_TEST(guest_misuse_is_limited)
{
    unsigned lines = 0;

    log_guest(&log_, "off");
    ck_assert_str_eq(written(), "");
    log_.categories = LOG_GUEST;
    for (unsigned n = 0; n < 5000; n++)
        log_guest(&log_, "write of %u", n);
    for (const char *at = written(); *at; at++)
        lines += *at == '\n';
    ck_assert_uint_eq(lines, 1000);
    ck_assert(!strncmp(text, "guest: write of 0\n", 18));
}
END_TEST

static void *write_lines(void *digit)
{
    for (unsigned n = 0; n < 2000; n++)
        log_warn(&log_, "%s%s%s%s", (char *)digit, (char *)digit, (char *)digit, (char *)digit);
    return NULL;
}

START_TEST(lines_of_two_threads_stay_whole)
{
    pthread_t thread;
    unsigned lines = 0;

    pthread_create(&thread, NULL, write_lines, (char *)"aa");
    write_lines((char *)"bb");
    pthread_join(thread, NULL);
    written();
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"), lines++)
        ck_assert_msg(!strcmp(line, "lockstep: aaaaaaaa") || !strcmp(line, "lockstep: bbbbbbbb"),
                      "%s", line);
    ck_assert_uint_eq(lines, 4000);
}
END_TEST

START_TEST(a_broken_invariant_aborts)
{
    check(1 + 1 == 2, "never");
    check(1 + 1 == 3, "on purpose, %d", 5);
}
END_TEST

START_TEST(errors_are_formatted_and_cut)
{
    struct error err;
    char tall[1000];

    ck_assert_int_eq(error_set(&err, ST_IO, "%s: %d.", "-m", 7), ST_IO);
    ck_assert_str_eq(err.text, "-m: 7.");
    memset(tall, 'x', sizeof(tall) - 1);
    tall[sizeof(tall) - 1] = 0;
    ck_assert_int_eq(error_set(&err, ST_INVALID, "%s", tall), ST_INVALID);
    ck_assert_uint_eq(strlen(err.text), sizeof(err.text) - 1);
    ck_assert_int_eq(error_set(NULL, ST_OVERLAP, "nobody listens"), ST_OVERLAP);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tc = tcase_create("log");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, traces_need_their_category);
    tcase_add_test(tc, warnings_always_come);
    tcase_add_test(tc, guest_misuse_is_limited);
    tcase_add_test(tc, lines_of_two_threads_stay_whole);
    tcase_add_test_raise_signal(tc, a_broken_invariant_aborts, SIGABRT);
    tcase_add_test(tc, errors_are_formatted_and_cut);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
