/* SPDX-License-Identifier: MIT
 *
 * A byte stream between a device (UART, debug console) and the host: the device side registers what
 * it takes, the back end in devices/backend/ moves the bytes. Neither blocks the other: a device
 * says how much it can receive, a back end how much it has taken.
 *
 * Threads: every call under the machine lock. Only the two file descriptors may be polled without
 * it.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"

struct chardev;

enum chardev_event { CHARDEV_BREAK }; /* the line was held low for a character time */

/* What the device gives; any pointer may be NULL. */
struct chardev_device {
    size_t (*can_receive)(void *opaque);                        /* bytes it takes now */
    void (*receive)(void *opaque, const u8 *data, size_t size); /* size <= can_receive() */
    void (*event)(void *opaque, enum chardev_event event);
    void (*writable)(void *opaque); /* after a short chardev_write(): there is room again */
    void *opaque;
};

/* What a back end implements; NULL where it has nothing to do. */
struct chardev_backend {
    size_t (*write)(struct chardev *c, const u8 *data, size_t size); /* returns how much it took */
    void (*accept_input)(struct chardev *c);  /* the device has room for input again */
    int (*input_fd)(const struct chardev *c); /* see chardev_input_fd() */
    int (*output_fd)(const struct chardev *c);
    void (*poll_input)(struct chardev *c);
    void (*poll_output)(struct chardev *c);
    void (*flush)(struct chardev *c,
                  unsigned timeout_ms); /* waits for the host to take the output */
    void (*destroy)(struct chardev *c);
};

/* Sees each input byte before the device does; false swallows it (the terminal's escape key). */
typedef bool chardev_filter_fn(void *opaque, u8 byte);

/* The common head of every back end. */
struct chardev {
    const struct chardev_backend *backend;
    struct chardev_device device;
    chardev_filter_fn *filter;
    void *filter_opaque;
    bool short_write; /* the device waits for writable() */
    bool stalled;     /* chardev_write_all() gave up; cleared when the host takes bytes again */
};

/* Device side. A NULL chardev is legal everywhere: nothing is connected, output is swallowed. */
void chardev_connect(struct chardev *c, const struct chardev_device *device);
/* Returns how many bytes were taken; if fewer than size, writable() is called later. */
size_t chardev_write(struct chardev *c, const u8 *data, size_t size);
/* For devices without flow control: waits for the host while it makes progress, but no longer than
 * a second without any; from then on what does not fit is dropped until the host takes bytes again.
 */
void chardev_write_all(struct chardev *c, const u8 *data, size_t size);
/* The device can receive again after can_receive() said 0. */
void chardev_accept_input(struct chardev *c);

/* Host side. The file descriptor to poll for reading (POLLIN), or -1 while no input is wanted. */
int chardev_input_fd(const struct chardev *c);
/* The file descriptor to poll for writing (POLLOUT), or -1 while no output waits. */
int chardev_output_fd(const struct chardev *c);
/* Reads what is there, without blocking, and hands it to the device. */
void chardev_poll_input(struct chardev *c);
/* Writes what waits, without blocking, and tells the device about the room. */
void chardev_poll_output(struct chardev *c);
void chardev_set_filter(struct chardev *c, chardev_filter_fn *filter, void *opaque);
/* Sends an event to the device as if it came from the line. */
void chardev_send_event(struct chardev *c, enum chardev_event event);
/* Writes what waits (at most a second long), closes and frees. NULL is legal. */
void chardev_destroy(struct chardev *c);

/* For back ends: runs the filter over data in place, returns how many bytes are left. */
size_t chardev_filter(struct chardev *c, u8 *data, size_t size);
/* For back ends: offers filtered input, returns how much the device took. */
size_t chardev_deliver(struct chardev *c, const u8 *data, size_t size);
/* For back ends: there is room for output again. */
void chardev_room(struct chardev *c);
