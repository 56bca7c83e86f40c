/* SPDX-License-Identifier: MIT
 *
 * The back end for tests and embedders: output collects in memory until it is taken, input is fed
 * by a call. Both sides hold capacity bytes; a full side pushes back.
 */
#pragma once

#include "devices/chardev.h"

MUST_USE enum status chardev_memory_create(struct chardev **c, size_t capacity, struct error *err);
/* Moves up to size bytes of output into buffer, oldest first; returns how many. */
size_t chardev_memory_take(struct chardev *c, void *buffer, size_t size);
/* Feeds input through the filter to the device; returns how many bytes were accepted (delivered or
 * kept for later). */
size_t chardev_memory_feed(struct chardev *c, const void *data, size_t size);
