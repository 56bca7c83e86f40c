/* SPDX-License-Identifier: MIT
 *
 * A serial line whose other end is the program: output goes to its callback, input waits here until
 * the device has room.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/chardev.h"
#include "machine/library/library.h"

enum { INPUT_MAX = 65536 };

struct serial {
    struct chardev base;
    lockstep_serial_fn *output;
    void *opaque;
    unsigned port;
    size_t count; /* bytes that wait */
    u8 input[INPUT_MAX];
};

static size_t serial_write(struct chardev *c, const u8 *data, size_t size)
{
    struct serial *s = (struct serial *)c;

    if (s->output)
        s->output(s->opaque, s->port, data, size);
    return size;
}

static void serial_deliver(struct chardev *c)
{
    struct serial *s = (struct serial *)c;
    size_t taken = chardev_deliver(c, s->input, s->count);

    s->count -= taken;
    memmove(s->input, s->input + taken, s->count);
}

static void serial_destroy(struct chardev *c)
{
    free(c);
}

static const struct chardev_backend serial_backend = {
    .write = serial_write,
    .accept_input = serial_deliver,
    .poll_input = serial_deliver,
    .destroy = serial_destroy,
};

enum status serial_create(struct chardev **c, unsigned port, lockstep_serial_fn *output,
                          void *opaque, struct error *err)
{
    struct serial *s = calloc(1, sizeof(*s));

    if (!s)
        return error_set(err, ST_NO_MEMORY, "No memory for a serial port; free some memory.");
    s->base.backend = &serial_backend;
    s->output = output;
    s->opaque = opaque;
    s->port = port;
    *c = &s->base;
    return ST_OK;
}

size_t serial_feed(struct chardev *c, const u8 *bytes, size_t count)
{
    struct serial *s = (struct serial *)c;
    size_t room = INPUT_MAX - s->count, taken = count < room ? count : room;

    memcpy(s->input + s->count, bytes, taken);
    s->count += taken;
    return taken; /* the machine's loop hands it to the device */
}
