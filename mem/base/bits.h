/* SPDX-License-Identifier: MIT
 *
 * Bit fields, sign extension and unaligned little-endian access.
 */
#pragma once

#include <string.h>

#include "mem/base/types.h"

/* Bits [lo, lo+count) of value; count 1..63. */
static inline u64 bits_get(u64 value, unsigned lo, unsigned count)
{
    return (value >> lo) & ((1ull << count) - 1);
}

/* A mask of the low size bytes; size 1..8. */
static inline u64 size_mask(unsigned size)
{
    return ~0ull >> (64 - size * 8);
}

/* value, whose low size bytes are significant, sign-extended to 64 bits; size 1..8. */
static inline u64 sign_extend(u64 value, unsigned size)
{
    unsigned shift = 64 - size * 8;
    return (u64)((i64)(value << shift) >> shift);
}

static inline u64 align_down(u64 value, u64 alignment)
{
    return value & ~(alignment - 1);
}

static inline u64 align_up(u64 value, u64 alignment)
{
    return (value + alignment - 1) & ~(alignment - 1);
}

static inline bool is_power_of_two(u64 value)
{
    return value && !(value & (value - 1));
}

/* A little-endian value of size bytes (1, 2, 4 or 8) at any alignment, one host access each. */
static inline u64 load_le(const void *p, unsigned size)
{
    u64 value = 0;

    switch (size) {
    case 1: return *(const u8 *)p;
    case 2: memcpy(&value, p, 2); return value;
    case 4: memcpy(&value, p, 4); return value;
    default: memcpy(&value, p, 8); return value;
    }
}

static inline void store_le(void *p, u64 value, unsigned size)
{
    switch (size) {
    case 1: *(u8 *)p = (u8)value; break;
    case 2: memcpy(p, &value, 2); break;
    case 4: memcpy(p, &value, 4); break;
    default: memcpy(p, &value, 8); break;
    }
}
