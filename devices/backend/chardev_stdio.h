/* SPDX-License-Identifier: MIT
 *
 * The back end on two host file descriptors, usually standard input and output. The terminal's raw
 * mode is the front end's business.
 */
#pragma once

#include "devices/chardev.h"

/* input may be -1 (none). The descriptors stay the caller's and keep their flags: a terminal or
 * pipe is opened a second time for non-blocking use (where the host refuses that, O_NONBLOCK is set
 * until chardev_destroy()). */
MUST_USE enum status chardev_stdio_create(struct chardev **c, int input, int output,
                                          struct error *err);
