/* SPDX-License-Identifier: MIT
 *
 * The character back ends: flow control both ways, the filter, files, and that a host that takes
 * nothing holds nobody.
 */
#include <check.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/backend/chardev_file.h"
#include "devices/backend/chardev_memory.h"
#include "devices/backend/chardev_null.h"
#include "devices/backend/chardev_stdio.h"
#include "tests/suite.h"

/* A device that takes room bytes and remembers them. */
struct probe {
    size_t room;
    size_t count;
    u8 bytes[8192];
    unsigned writables;
    unsigned breaks;
};

static struct probe probe;
static struct error err;
static int in_pipe[2], out_pipe[2];

static size_t can_receive(void *opaque)
{
    return ((struct probe *)opaque)->room;
}

static void receive(void *opaque, const u8 *data, size_t size)
{
    struct probe *p = opaque;

    ck_assert_uint_le(size, p->room);
    memcpy(p->bytes + p->count, data, size);
    p->count += size;
    p->room -= size;
}

static void event(void *opaque, enum chardev_event e)
{
    ((struct probe *)opaque)->breaks += e == CHARDEV_BREAK;
}

static void writable(void *opaque)
{
    ((struct probe *)opaque)->writables++;
}

static const struct chardev_device device = {can_receive, receive, event, writable, &probe};

static void setup(void)
{
    memset(&probe, 0, sizeof(probe));
    ck_assert_int_eq(pipe(in_pipe), 0);
    ck_assert_int_eq(pipe(out_pipe), 0);
}

static void teardown(void)
{
    for (unsigned i = 0; i < 2; i++) {
        close(in_pipe[i]);
        close(out_pipe[i]);
    }
}

static struct chardev *open_stdio(void)
{
    struct chardev *c;

    ck_assert_int_eq(chardev_stdio_create(&c, in_pipe[0], out_pipe[1], &err), ST_OK);
    chardev_connect(c, &device);
    return c;
}

static bool no_x(void *opaque, u8 byte)
{
    ++*(unsigned *)opaque;
    return byte != 'x';
}

START_TEST(null_swallows)
{
    struct chardev *c;

    ck_assert_int_eq(chardev_null_create(&c, &err), ST_OK);
    chardev_connect(c, &device);
    ck_assert_uint_eq(chardev_write(c, (const u8 *)"abc", 3), 3);
    ck_assert_int_eq(chardev_input_fd(c), -1);
    ck_assert_int_eq(chardev_output_fd(c), -1);
    chardev_poll_input(c);
    chardev_poll_output(c);
    chardev_accept_input(c);
    chardev_send_event(c, CHARDEV_BREAK);
    ck_assert_uint_eq(probe.breaks, 1);
    chardev_destroy(c);
}
END_TEST

START_TEST(no_chardev_is_legal)
{
    chardev_connect(NULL, &device);
    ck_assert_uint_eq(chardev_write(NULL, (const u8 *)"abc", 3), 3);
    chardev_write_all(NULL, (const u8 *)"abc", 3);
    chardev_accept_input(NULL);
    ck_assert_int_eq(chardev_input_fd(NULL), -1);
    chardev_destroy(NULL);
}
END_TEST

START_TEST(memory_moves_bytes_both_ways)
{
    struct chardev *c;
    char text[16];
    unsigned seen = 0;

    ck_assert_int_eq(chardev_memory_create(&c, 4, &err), ST_OK);
    chardev_connect(c, &device);
    ck_assert_uint_eq(chardev_write(c, (const u8 *)"abcdef", 6), 4);
    ck_assert_uint_eq(chardev_memory_take(c, text, 3), 3);
    ck_assert_mem_eq(text, "abc", 3);
    ck_assert_uint_eq(probe.writables, 1);
    ck_assert_uint_eq(chardev_memory_take(c, text, 16), 1);
    ck_assert_uint_eq(probe.writables, 1); /* told once */
    chardev_set_filter(c, no_x, &seen);
    probe.room = 1;
    ck_assert_uint_eq(chardev_memory_feed(c, "1x23456", 7), 4);
    ck_assert_uint_eq(seen, 4);
    ck_assert_uint_eq(probe.count, 1);
    probe.room = 10;
    chardev_accept_input(c);
    ck_assert_uint_eq(probe.count, 3);
    ck_assert_mem_eq(probe.bytes, "123", 3);
    chardev_destroy(c);
}
END_TEST

static void read_file(const char *path, char text[64])
{
    FILE *f = fopen(path, "r");

    ck_assert_ptr_nonnull(f);
    text[fread(text, 1, 63, f)] = 0;
    fclose(f);
}

START_TEST(file_truncates_or_appends)
{
    char path[] = "/tmp/lockstep-chardev-XXXXXX";
    char text[64];
    struct chardev *c;
    struct log log;

    log_init(&log);
    close(mkstemp(path));
    for (unsigned i = 0; i < 2; i++) {
        ck_assert_int_eq(chardev_file_create(&c, path, false, &log, &err), ST_OK);
        ck_assert_uint_eq(chardev_write(c, (const u8 *)"one\n", 4), 4);
        read_file(path, text); /* in the file before the next step */
        ck_assert_str_eq(text, "one\n");
        chardev_destroy(c);
    }
    ck_assert_int_eq(chardev_file_create(&c, path, true, &log, &err), ST_OK);
    chardev_write_all(c, (const u8 *)"two\n", 4);
    chardev_destroy(c);
    read_file(path, text);
    ck_assert_str_eq(text, "one\ntwo\n");
    unlink(path);
    ck_assert_int_eq(chardev_file_create(&c, "/nonexistent/file", false, &log, &err), ST_IO);
    ck_assert_ptr_nonnull(strstr(err.text, "/nonexistent/file"));
    log_fini(&log);
}
END_TEST

START_TEST(full_disk_is_said_once_and_stops_nobody)
{
    struct chardev *c;
    struct log log;
    char *text = NULL;
    size_t size = 0;

    log_init(&log);
    log.sink = open_memstream(&text, &size);
    log.owned = true;
    ck_assert_int_eq(chardev_file_create(&c, "/dev/full", false, &log, &err), ST_OK);
    for (unsigned i = 0; i < 10; i++)
        ck_assert_uint_eq(chardev_write(c, (const u8 *)"x", 1), 1);
    chardev_destroy(c);
    log_fini(&log);
    ck_assert_ptr_nonnull(strchr(text, '\n'));
    ck_assert_ptr_eq(strchr(text, '\n'), text + size - 1);
    free(text);
}
END_TEST

START_TEST(stdio_input_waits_for_the_device)
{
    struct chardev *c = open_stdio();

    ck_assert_int_ge(chardev_input_fd(c), 0);
    chardev_poll_input(c); /* nothing there: returns at once */
    ck_assert_int_eq(write(in_pipe[1], "hello", 5), 5);
    probe.room = 2;
    chardev_poll_input(c);
    ck_assert_uint_eq(probe.count, 2);
    probe.room = 100;
    chardev_accept_input(c);
    ck_assert_mem_eq(probe.bytes, "hello", 5);
    chardev_destroy(c);
}
END_TEST

START_TEST(stdio_holds_a_pipe_back_without_loss)
{
    struct chardev *c = open_stdio();
    u8 block[256];

    for (unsigned i = 0; i < 32; i++) {
        memset(block, (int)i, sizeof(block));
        ck_assert_int_eq(write(in_pipe[1], block, sizeof(block)), sizeof(block));
    }
    for (unsigned i = 0; i < 40; i++)
        chardev_poll_input(c);
    ck_assert_int_eq(chardev_input_fd(c), -1); /* 4 KiB wait, the rest stays in the pipe */
    while (probe.count < 8192) {
        size_t before = probe.count;

        probe.room = 100;
        chardev_accept_input(c);
        chardev_poll_input(c);
        ck_assert_uint_gt(probe.count, before);
    }
    for (unsigned i = 0; i < 8192; i++)
        ck_assert_uint_eq(probe.bytes[i], i / 256);
    chardev_destroy(c);
}
END_TEST

START_TEST(stdio_end_of_input_ends_polling)
{
    struct chardev *c = open_stdio();

    ck_assert_int_eq(write(in_pipe[1], "z", 1), 1);
    close(in_pipe[1]);
    probe.room = 10;
    chardev_poll_input(c);
    chardev_poll_input(c);
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_int_eq(chardev_input_fd(c), -1);
    in_pipe[1] = dup(in_pipe[0]);
    chardev_destroy(c);
}
END_TEST

START_TEST(stdio_filter_sees_what_the_guest_does_not_take)
{
    struct chardev *c = open_stdio();
    unsigned seen = 0;

    chardev_set_filter(c, no_x, &seen);
    ck_assert_int_eq(write(in_pipe[1], "axb", 3), 3);
    chardev_poll_input(c);
    ck_assert_uint_eq(seen, 3);
    ck_assert_uint_eq(probe.count, 0);
    probe.room = 9;
    chardev_accept_input(c);
    ck_assert_uint_eq(probe.count, 2);
    chardev_destroy(c);
}
END_TEST

/* Nobody reads the pipe: writes stay short, then everything arrives, in order. */
START_TEST(stdio_output_is_bounded_and_lossless)
{
    struct chardev *c = open_stdio();
    u64 sent = 0, got = 0;
    u8 block[1000];

    for (;;) {
        size_t n;

        for (size_t i = 0; i < sizeof(block); i++)
            block[i] = (u8)((sent + i) % 251);
        n = chardev_write(c, block, sizeof(block));
        sent += n;
        if (n < sizeof(block))
            break;
        ck_assert_uint_lt(sent, 10000000);
    }
    ck_assert_uint_eq(chardev_write(c, block, 1), 0);
    ck_assert_int_ge(chardev_output_fd(c), 0);
    while (got < sent) {
        ssize_t n = read(out_pipe[0], block, sizeof(block));

        ck_assert_int_gt(n, 0);
        for (ssize_t i = 0; i < n; i++)
            ck_assert_uint_eq(block[i], (got + (u64)i) % 251);
        got += (u64)n;
        chardev_poll_output(c);
    }
    ck_assert_uint_eq(probe.writables, 1);
    ck_assert_int_eq(chardev_output_fd(c), -1);
    chardev_destroy(c);
}
END_TEST

START_TEST(write_all_gives_up_on_a_stuck_host)
{
    struct chardev *c = open_stdio();
    u8 block[4096] = {0};

    for (unsigned i = 0; i < 100; i++) /* waits a second once, not 100 times */
        chardev_write_all(c, block, sizeof(block));
    ck_assert(c->stalled);
    ck_assert_int_gt(read(out_pipe[0], block, sizeof(block)), 0);
    chardev_poll_output(c);
    ck_assert(!c->stalled);
    close(out_pipe[0]);
    out_pipe[0] = dup(0);
    signal(SIGPIPE, SIG_IGN);
    chardev_write_all(c, block, 1); /* nobody will ever read: swallowed */
    ck_assert_uint_eq(chardev_write(c, block, sizeof(block)), sizeof(block));
    chardev_destroy(c);
}
END_TEST

START_TEST(stdio_leaves_the_callers_flags_alone)
{
    int before = fcntl(out_pipe[1], F_GETFL);
    struct chardev *c = open_stdio();

    ck_assert_int_eq(fcntl(out_pipe[1], F_GETFL), before);
    chardev_write_all(c, (const u8 *)"last", 4);
    chardev_destroy(c);
    ck_assert_int_eq(fcntl(out_pipe[1], F_GETFL), before);
    ck_assert_int_eq(chardev_stdio_create(&c, 999, 1, &err), ST_IO);
}
END_TEST

START_TEST(stdio_continues_a_redirected_file)
{
    char path[] = "/tmp/lockstep-chardev-XXXXXX";
    int fd = mkstemp(path);
    struct chardev *c;
    char text[64];

    ck_assert_int_eq(write(fd, "head ", 5), 5);
    ck_assert_int_eq(chardev_stdio_create(&c, -1, fd, &err), ST_OK);
    chardev_write_all(c, (const u8 *)"tail", 4);
    chardev_destroy(c);
    close(fd);
    read_file(path, text);
    ck_assert_str_eq(text, "head tail");
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("chardev");
    TCase *tc = tcase_create("chardev");

    tcase_set_timeout(tc, 30);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, null_swallows);
    tcase_add_test(tc, no_chardev_is_legal);
    tcase_add_test(tc, memory_moves_bytes_both_ways);
    tcase_add_test(tc, file_truncates_or_appends);
    tcase_add_test(tc, full_disk_is_said_once_and_stops_nobody);
    tcase_add_test(tc, stdio_input_waits_for_the_device);
    tcase_add_test(tc, stdio_holds_a_pipe_back_without_loss);
    tcase_add_test(tc, stdio_end_of_input_ends_polling);
    tcase_add_test(tc, stdio_filter_sees_what_the_guest_does_not_take);
    tcase_add_test(tc, stdio_output_is_bounded_and_lossless);
    tcase_add_test(tc, write_all_gives_up_on_a_stuck_host);
    tcase_add_test(tc, stdio_leaves_the_callers_flags_alone);
    tcase_add_test(tc, stdio_continues_a_redirected_file);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
