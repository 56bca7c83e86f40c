/* SPDX-License-Identifier: MIT
 *
 * The back end that writes all output to a host file, unbuffered; there is no input.
 */
#pragma once

#include "devices/chardev.h"
#include "mem/base/log.h"

/* Creates path, or empties it (append: writes behind what is there). A later failure to write is
 * logged once, and the output is dropped from then on. log outlives the device. */
MUST_USE enum status chardev_file_create(struct chardev **c, const char *path, bool append,
                                         struct log *log, struct error *err);
