/* SPDX-License-Identifier: MIT
 *
 * Console on file descriptors that never block the machine: output that the host does not take at
 * once waits in a bounded buffer; when that is full too, the device is told (a UART then keeps its
 * transmit register full, so nothing is lost). Input is read into a small buffer first, so that the
 * filter sees the escape key even while the guest takes nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "devices/backend/chardev_stdio.h"

enum { OUTPUT_SIZE = 65536, INPUT_SIZE = 4096 };

/* A descriptor in non-blocking use, and how to give it back. */
struct host_fd {
    int fd;          /* -1: none */
    int saved_flags; /* of the caller's descriptor; -1 if they were not touched */
    bool owned;      /* opened here */
};

struct stdio_chardev {
    struct chardev base;
    struct host_fd in;
    struct host_fd out;
    bool in_end; /* no more input will come; the guest just never hears anything again */
    bool in_tty; /* a person types: input that does not fit is dropped, never held back */
    size_t in_count;
    size_t out_first; /* ring: oldest byte */
    size_t out_count;
    u8 in_bytes[INPUT_SIZE];
    u8 out_bytes[OUTPUT_SIZE];
};

static struct stdio_chardev *stdio_of(struct chardev *c)
{
    return (struct stdio_chardev *)c;
}

/* O_NONBLOCK belongs to the open file, which a shell shares with us: open a file of our own where
 * that does not change the position, which is everywhere but in regular files (and those never
 * block). */
static enum status host_fd_open(struct host_fd *h, int fd, int mode, struct error *err)
{
    char path[32];
    struct stat st;

    *h = (struct host_fd){.fd = fd, .saved_flags = -1};
    if (fd < 0)
        return ST_OK;
    if (fstat(fd, &st) < 0)
        return error_set(err, ST_IO, "Console descriptor %d: %s.", fd, strerror(errno));
    if (S_ISREG(st.st_mode))
        return ST_OK;
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    h->fd = open(path, mode | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    h->owned = h->fd >= 0;
    if (h->owned)
        return ST_OK;
    h->fd = fd;
    h->saved_flags = fcntl(fd, F_GETFL);
    if (h->saved_flags < 0 || fcntl(fd, F_SETFL, h->saved_flags | O_NONBLOCK) < 0)
        return error_set(err, ST_IO, "Console descriptor %d: %s.", fd, strerror(errno));
    return ST_OK;
}

static void host_fd_close(struct host_fd *h)
{
    if (h->owned && h->fd >= 0)
        close(h->fd);
    else if (h->saved_flags >= 0 && h->fd >= 0)
        fcntl(h->fd, F_SETFL, h->saved_flags);
    h->fd = -1;
}

/* Writes once; 0 if the host takes nothing now. A descriptor that fails for good swallows
 * everything. */
static size_t write_some(struct stdio_chardev *s, const u8 *data, size_t size)
{
    ssize_t n;

    do {
        n = s->out.fd < 0 ? (ssize_t)size : write(s->out.fd, data, size);
    } while (n < 0 && errno == EINTR);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN)
        return 0;
    host_fd_close(&s->out);
    return size;
}

/* Returns whether anything left the buffer. */
static bool drain(struct stdio_chardev *s)
{
    bool progress = false;

    while (s->out_count) {
        size_t run = OUTPUT_SIZE - s->out_first;
        size_t n =
            write_some(s, s->out_bytes + s->out_first, run < s->out_count ? run : s->out_count);

        if (!n)
            break;
        progress = true;
        s->out_first = (s->out_first + n) % OUTPUT_SIZE;
        s->out_count -= n;
    }
    return progress;
}

static size_t stdio_write(struct chardev *c, const u8 *data, size_t size)
{
    struct stdio_chardev *s = stdio_of(c);
    size_t done = 0;

    drain(s);
    if (!s->out_count)
        done = write_some(s, data, size);
    while (done < size && s->out_count < OUTPUT_SIZE) {
        s->out_bytes[(s->out_first + s->out_count) % OUTPUT_SIZE] = data[done++];
        s->out_count++;
    }
    return done;
}

static void stdio_poll_output(struct chardev *c)
{
    if (drain(stdio_of(c)))
        chardev_room(c);
}

static u64 host_ms(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (u64)ts.tv_sec * 1000 + (u64)ts.tv_nsec / 1000000;
}

/* Waits until the buffer is empty; each bit of progress starts the time-out anew. */
static void stdio_flush(struct chardev *c, unsigned timeout_ms)
{
    struct stdio_chardev *s = stdio_of(c);
    u64 end = host_ms() + timeout_ms;

    while (s->out_count) {
        struct pollfd p = {.fd = s->out.fd, .events = POLLOUT};
        u64 now = host_ms();

        if (now >= end)
            break;
        if (poll(&p, 1, (int)(end - now)) < 0 && errno != EINTR)
            break;
        if (drain(s))
            end = host_ms() + timeout_ms;
    }
}

static int stdio_output_fd(const struct chardev *c)
{
    const struct stdio_chardev *s = (const struct stdio_chardev *)c;

    return s->out_count ? s->out.fd : -1;
}

/* A pipe is held back when the buffer is full, so a script's input arrives whole. */
static int stdio_input_fd(const struct chardev *c)
{
    const struct stdio_chardev *s = (const struct stdio_chardev *)c;

    return !s->in_end && (s->in_tty || s->in_count < INPUT_SIZE) ? s->in.fd : -1;
}

static void stdio_accept_input(struct chardev *c)
{
    struct stdio_chardev *s = stdio_of(c);
    size_t n = chardev_deliver(c, s->in_bytes, s->in_count);

    s->in_count -= n;
    memmove(s->in_bytes, s->in_bytes + n, s->in_count);
}

static void stdio_poll_input(struct chardev *c)
{
    struct stdio_chardev *s = stdio_of(c);
    u8 bytes[256];
    size_t room = INPUT_SIZE - s->in_count;
    size_t want = s->in_tty || room > sizeof(bytes) ? sizeof(bytes) : room;
    ssize_t n;

    if (s->in.fd < 0 || s->in_end || !want)
        return;
    n = read(s->in.fd, bytes, want);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    s->in_end = n <= 0;
    if (s->in_end)
        return;
    want = chardev_filter(c, bytes, (size_t)n);
    if (want > room)
        want = room;
    memcpy(s->in_bytes + s->in_count, bytes, want);
    s->in_count += want;
    stdio_accept_input(c);
}

static void stdio_destroy(struct chardev *c)
{
    struct stdio_chardev *s = stdio_of(c);

    host_fd_close(&s->out); /* reverse order: both may share one open file and its flags */
    host_fd_close(&s->in);
    free(s);
}

static const struct chardev_backend stdio_backend = {
    .write = stdio_write,
    .accept_input = stdio_accept_input,
    .input_fd = stdio_input_fd,
    .output_fd = stdio_output_fd,
    .poll_input = stdio_poll_input,
    .poll_output = stdio_poll_output,
    .flush = stdio_flush,
    .destroy = stdio_destroy,
};

enum status chardev_stdio_create(struct chardev **c, int input, int output, struct error *err)
{
    struct stdio_chardev *s = calloc(1, sizeof(*s));
    enum status status;

    if (!s)
        return error_set(err, ST_NO_MEMORY, "There is no memory for a character device.");
    s->base.backend = &stdio_backend;
    s->in_tty = input >= 0 && isatty(input);
    s->out.fd = -1;
    status = host_fd_open(&s->in, input, O_RDONLY, err);
    if (status == ST_OK)
        status = host_fd_open(&s->out, output, O_WRONLY, err);
    if (status != ST_OK) {
        stdio_destroy(&s->base);
        return status;
    }
    *c = &s->base;
    return ST_OK;
}
