/* SPDX-License-Identifier: MIT
 *
 * A growing byte buffer: what every table, option ROM and loaded file of bios/ is built in.
 *
 * All integers are little-endian. When the host has no memory left the blob turns `failed` and
 * every later call does nothing, so that builders check once, at the end (blob_status()).
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"

struct blob {
    u8 *data;
    u64 size;
    u64 capacity;
    bool failed; /* memory ran out; data and size are not to be used */
};

/* Frees the bytes; the blob is empty and usable again. A zeroed struct is an empty blob. */
void blob_fini(struct blob *blob);
/* ST_OK, or ST_NO_MEMORY with a sentence that says for what. */
MUST_USE enum status blob_status(const struct blob *blob, const char *what, struct error *err);

/* Each appends and returns the offset at which the appended bytes begin. */
u64 blob_bytes(struct blob *blob, const void *bytes, u64 size);
u64 blob_zero(struct blob *blob, u64 size);
u64 blob_uint(struct blob *blob, u64 value, unsigned size);
/* text with its terminating NUL. */
u64 blob_string(struct blob *blob, const char *text);
/* Appends zeros up to a multiple of alignment (a power of two). */
u64 blob_align(struct blob *blob, u64 alignment);
/* Inserts size bytes before offset; what was there moves up. */
void blob_insert(struct blob *blob, u64 offset, const void *bytes, u64 size);
/* Overwrites size (1, 2, 4 or 8) bytes at offset; the range must exist. */
void blob_patch(struct blob *blob, u64 offset, u64 value, unsigned size);

/* Reads a whole host file of at most max bytes. option is the command line's word for it
 * ("-kernel") and begins the sentence of a failure: ST_NOT_FOUND, ST_IO, ST_INVALID (too large),
 * ST_NO_MEMORY. */
MUST_USE enum status blob_read_file(struct blob *blob, const char *path, u64 max,
                                    const char *option, struct error *err);

/* The sum of size bytes, modulo 256: 0 for a table whose checksum is right. */
u8 bytes_sum(const u8 *bytes, u64 size);
