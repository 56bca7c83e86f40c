/* SPDX-License-Identifier: MIT
 *
 * The part of a character device that every back end shares: flow control both ways, the input
 * filter and the NULL device. Invariant: the device never receives more than it said it can take,
 * and is told about room exactly once after each short write.
 */
#include "devices/chardev.h"

enum { STALL_MS = 1000 };

void chardev_connect(struct chardev *c, const struct chardev_device *device)
{
    if (c)
        c->device = *device;
}

size_t chardev_write(struct chardev *c, const u8 *data, size_t size)
{
    size_t taken;

    if (!c || !c->backend->write)
        return size;
    taken = c->backend->write(c, data, size);
    c->short_write = taken < size;
    return taken;
}

void chardev_write_all(struct chardev *c, const u8 *data, size_t size)
{
    size_t done = chardev_write(c, data, size);

    while (done < size && !c->stalled) {
        size_t taken;

        if (c->backend->flush)
            c->backend->flush(c, STALL_MS);
        taken = chardev_write(c, data + done, size - done);
        c->stalled = !taken;
        done += taken;
    }
    if (c)
        c->short_write = false;
}

void chardev_accept_input(struct chardev *c)
{
    if (c && c->backend->accept_input)
        c->backend->accept_input(c);
}

int chardev_input_fd(const struct chardev *c)
{
    return c && c->backend->input_fd ? c->backend->input_fd(c) : -1;
}

int chardev_output_fd(const struct chardev *c)
{
    return c && c->backend->output_fd ? c->backend->output_fd(c) : -1;
}

void chardev_poll_input(struct chardev *c)
{
    if (c && c->backend->poll_input)
        c->backend->poll_input(c);
}

void chardev_poll_output(struct chardev *c)
{
    if (c && c->backend->poll_output)
        c->backend->poll_output(c);
}

void chardev_set_filter(struct chardev *c, chardev_filter_fn *filter, void *opaque)
{
    c->filter = filter;
    c->filter_opaque = opaque;
}

void chardev_send_event(struct chardev *c, enum chardev_event event)
{
    if (c && c->device.event)
        c->device.event(c->device.opaque, event);
}

void chardev_destroy(struct chardev *c)
{
    if (!c)
        return;
    if (c->backend->flush)
        c->backend->flush(c, STALL_MS);
    c->backend->destroy(c);
}

size_t chardev_filter(struct chardev *c, u8 *data, size_t size)
{
    size_t kept = 0;

    for (size_t i = 0; i < size; i++) {
        if (!c->filter || c->filter(c->filter_opaque, data[i]))
            data[kept++] = data[i];
    }
    return kept;
}

size_t chardev_deliver(struct chardev *c, const u8 *data, size_t size)
{
    size_t done = 0;

    while (done < size && c->device.receive) {
        size_t room = c->device.can_receive ? c->device.can_receive(c->device.opaque) : size - done;

        if (!room)
            break;
        if (room > size - done)
            room = size - done;
        c->device.receive(c->device.opaque, data + done, room);
        done += room;
    }
    return done;
}

void chardev_room(struct chardev *c)
{
    c->stalled = false;
    if (!c->short_write)
        return;
    c->short_write = false;
    if (c->device.writable)
        c->device.writable(c->device.opaque);
}
