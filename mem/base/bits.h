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

/* The host's types at any alignment. */
typedef u16 unaligned_u16 __attribute__((aligned(1), may_alias));
typedef u32 unaligned_u32 __attribute__((aligned(1), may_alias));
typedef u64 unaligned_u64 __attribute__((aligned(1), may_alias));

/* A little-endian value of size bytes (1, 2, 4 or 8) at any alignment, one host access each: what
 * the host promises about its atomicity (SDM 3A 8.1.1) is what a guest gets. */
static inline u64 load_le(const void *p, unsigned size)
{
    switch (size) {
    case 1: return *(const volatile u8 *)p;
    case 2: return *(const volatile unaligned_u16 *)p;
    case 4: return *(const volatile unaligned_u32 *)p;
    default: return *(const volatile unaligned_u64 *)p;
    }
}

static inline void store_le(void *p, u64 value, unsigned size)
{
    switch (size) {
    case 1: *(volatile u8 *)p = (u8)value; break;
    case 2: *(volatile unaligned_u16 *)p = (u16)value; break;
    case 4: *(volatile unaligned_u32 *)p = (u32)value; break;
    default: *(volatile unaligned_u64 *)p = value; break;
    }
}
