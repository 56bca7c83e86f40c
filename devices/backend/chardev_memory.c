/* SPDX-License-Identifier: MIT
 *
 * Two byte queues in host memory. Invariant: bytes leave each in the order they came.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/backend/chardev_memory.h"

struct queue {
    u8 *bytes;
    size_t count;
};

struct memory_chardev {
    struct chardev base;
    struct queue input;
    struct queue output;
    size_t capacity; /* of each queue */
};

static struct memory_chardev *memory_of(struct chardev *c)
{
    return (struct memory_chardev *)c;
}

static void queue_drop(struct queue *q, size_t count)
{
    q->count -= count;
    memmove(q->bytes, q->bytes + count, q->count);
}

static size_t queue_add(struct queue *q, size_t capacity, const u8 *data, size_t size)
{
    if (size > capacity - q->count)
        size = capacity - q->count;
    memcpy(q->bytes + q->count, data, size);
    q->count += size;
    return size;
}

static size_t memory_write(struct chardev *c, const u8 *data, size_t size)
{
    struct memory_chardev *m = memory_of(c);

    return queue_add(&m->output, m->capacity, data, size);
}

static void memory_accept_input(struct chardev *c)
{
    struct memory_chardev *m = memory_of(c);

    queue_drop(&m->input, chardev_deliver(c, m->input.bytes, m->input.count));
}

static void memory_destroy(struct chardev *c)
{
    struct memory_chardev *m = memory_of(c);

    free(m->input.bytes);
    free(m->output.bytes);
    free(m);
}

static const struct chardev_backend memory_backend = {
    .write = memory_write,
    .accept_input = memory_accept_input,
    .poll_input = memory_accept_input, /* what was fed before a device was there */
    .destroy = memory_destroy,
};

enum status chardev_memory_create(struct chardev **c, size_t capacity, struct error *err)
{
    struct memory_chardev *m = calloc(1, sizeof(*m));

    if (!m)
        return error_set(err, ST_NO_MEMORY, "There is no memory for a character device.");
    m->base.backend = &memory_backend;
    m->capacity = capacity;
    m->input.bytes = malloc(capacity ? capacity : 1);
    m->output.bytes = malloc(capacity ? capacity : 1);
    if (!m->input.bytes || !m->output.bytes) {
        memory_destroy(&m->base);
        return error_set(err, ST_NO_MEMORY, "There is no memory for %zu bytes of console buffer.",
                         capacity);
    }
    *c = &m->base;
    return ST_OK;
}

size_t chardev_memory_take(struct chardev *c, void *buffer, size_t size)
{
    struct queue *q = &memory_of(c)->output;

    if (size > q->count)
        size = q->count;
    memcpy(buffer, q->bytes, size);
    queue_drop(q, size);
    if (size)
        chardev_room(c);
    return size;
}

size_t chardev_memory_feed(struct chardev *c, const void *data, size_t size)
{
    struct memory_chardev *m = memory_of(c);
    size_t room = m->capacity - m->input.count;
    u8 *tail = m->input.bytes + m->input.count;

    if (size > room)
        size = room;
    memcpy(tail, data, size);
    m->input.count += chardev_filter(c, tail, size);
    memory_accept_input(c);
    return size;
}
