/* SPDX-License-Identifier: MIT
 *
 * Vector files as bytes in memory: plain, or gzip-compressed whatever their name.
 */
#pragma once

#include "mem/base/status.h"

struct input {
    const char *file; /* as the user named it; not owned */
    char *data;       /* size bytes and a zero behind them */
    size_t size;
};

/* Reads all of file. On failure one sentence that names the file, and nothing to release. */
MUST_USE enum status input_read(struct input *in, const char *file, struct error *err);
void input_release(struct input *in);
