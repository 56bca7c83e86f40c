/* SPDX-License-Identifier: MIT
 *
 * Host and set-up failures: a status value plus one sentence for the person at the keyboard.
 *
 * Guest faults never use this (cpu/exception.h), nor does guest misuse of a device (log_guest()).
 */
#pragma once

#include "mem/base/types.h"

enum status {
    ST_OK = 0,
    ST_NO_MEMORY,   /* the host has no memory or address space left */
    ST_OVERLAP,     /* a bus or address range is already claimed */
    ST_INVALID,     /* an argument, option or file content is not acceptable */
    ST_IO,          /* a host file or system call failed */
    ST_NOT_FOUND,   /* no such file, option, feature or device */
    ST_UNSUPPORTED, /* understood, but this build or host cannot do it */
};

/* One complete sentence without a newline, naming the option or file and what to do about it. */
struct error {
    char text[512];
};

/* Fills err (which may be NULL) and returns status, so that callers write `return error_set(...)`.
 */
MUST_USE enum status error_set(struct error *err, enum status status, const char *format, ...)
    PRINTF(3, 4);
