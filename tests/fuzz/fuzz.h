/* SPDX-License-Identifier: MIT
 *
 * What a fuzz target is: one function that takes any bytes, one that names good ones to begin with.
 *
 * A target is linked twice: with libFuzzer (libfuzzer.c, preset fuzz) for campaigns, and with a
 * driver that tries a fixed number of pseudo-random inputs (standalone.c, every build) for ctest. A
 * broken invariant ends the process by check(); memory errors are the sanitizers' business.
 */
#pragma once

#include <string.h>

#include "mem/base/log.h"
#include "mem/base/types.h"

enum { FUZZ_SIZE_MAX = 4096 }; /* bytes of an input; longer ones are cut */

/* Tries one input. Always 0; the name and the type are libFuzzer's. */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);
/* Writes seed number n, at most capacity bytes; returns its size, 0 if there are no more. */
size_t fuzz_seed(unsigned n, u8 *data, size_t capacity);

/* An input on its way through a target; behind its end are zeros. */
struct fuzz_input {
    const u8 *at;
    size_t left;
};

static inline void fuzz_bytes(struct fuzz_input *in, void *bytes, size_t size)
{
    size_t count = size < in->left ? size : in->left;

    memset(bytes, 0, size);
    if (count)
        memcpy(bytes, in->at, count);
    in->at += count;
    in->left -= count;
}

static inline u64 fuzz_uint(struct fuzz_input *in, unsigned size)
{
    u64 value = 0;

    fuzz_bytes(in, &value, size);
    return value;
}

/* xorshift64*: what an input's few bytes are stretched with where a target needs many. */
static inline u64 fuzz_random(u64 *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}
