/* SPDX-License-Identifier: MIT
 *
 * Arithmetic flags in software, so that they are the same on every host. Those that the manuals
 * leave undefined are what AMD's Zen 4 gives.
 *
 * size is in bytes and constant at every call, operands may have bits above it. Each function
 * returns the union of enum rflags bits; flags_set() puts them in place.
 */
#pragma once

#include "cpu/ops/operand.h"

/* Calls fn(..., size) for the operand size of i with a constant size: 2, 4 or 8. */
#define BY_OSZ(i, fn, ...)                                                                         \
    ((i)->osz == 4 ? fn(__VA_ARGS__, 4) : (i)->osz == 8 ? fn(__VA_ARGS__, 8) : fn(__VA_ARGS__, 2))

static ALWAYS_INLINE u64 top_bit(u64 value, unsigned size)
{
    return (value >> (size * 8 - 1)) & 1;
}

static ALWAYS_INLINE void flags_set(struct vcpu *v, u64 mask, u64 flags)
{
    v->rflags = (v->rflags & ~mask) | flags;
}

static ALWAYS_INLINE u64 flag_parity(u64 result)
{
    return __builtin_parity((u8)result) ? 0 : F_PF;
}

/* SF, ZF and PF of a result. */
static ALWAYS_INLINE u64 flags_result(u64 result, unsigned size)
{
    return top_bit(result, size) << 7 | (u64)(size_cut(result, size) == 0) << 6 |
           flag_parity(result);
}

/* All six for result = a + b + carry. */
static ALWAYS_INLINE u64 flags_add(u64 a, u64 b, u64 result, unsigned size)
{
    u64 carries = (a & b) | ((a | b) & ~result);

    return top_bit(carries, size) | ((a ^ b ^ result) & F_AF) |
           top_bit((a ^ result) & (b ^ result), size) << 11 | flags_result(result, size);
}

/* All six for result = a - b - borrow. */
static ALWAYS_INLINE u64 flags_sub(u64 a, u64 b, u64 result, unsigned size)
{
    u64 borrows = (~a & b) | ((~a | b) & result);

    return top_bit(borrows, size) | ((a ^ b ^ result) & F_AF) |
           top_bit((a ^ b) & (a ^ result), size) << 11 | flags_result(result, size);
}
