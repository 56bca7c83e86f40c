/* SPDX-License-Identifier: MIT
 *
 * Multiplication and division (SDM 2: MUL, IMUL, DIV, IDIV).
 *
 * Undefined flags, as on Zen 4: a multiplication changes CF and OF only; a division sets AF, clears
 * SF, ZF and PF, and keeps CF and OF.
 */
#include "cpu/ops/flags.h"

/* The accumulator pair: AX for bytes, else rDX:rAX. */
static ALWAYS_INLINE u128 pair_read(const struct vcpu *v, unsigned size)
{
    if (size == 1)
        return (u16)v->gpr[RAX];
    return (u128)reg_read(v, RDX, size) << size * 8 | reg_read(v, RAX, size);
}

static ALWAYS_INLINE void pair_write(struct vcpu *v, unsigned size, u64 low, u64 high)
{
    if (size == 1) {
        reg_write(v, RAX, 2, (high & 0xff) << 8 | (low & 0xff));
        return;
    }
    reg_write(v, RAX, size, low);
    reg_write(v, RDX, size, high);
}

static ALWAYS_INLINE void flags_mul(struct vcpu *v, bool overflow)
{
    flags_set(v, F_CF | F_OF, overflow ? F_CF | F_OF : 0);
}

static ALWAYS_INLINE bool mul_e(struct vcpu *v, const struct insn *i, unsigned size)
{
    u128 product;
    u64 b, high;

    if (!rm_read(v, i, size, &b))
        return false;
    product = (u128)reg_read(v, RAX, size) * b;
    high = (u64)(product >> size * 8);
    pair_write(v, size, (u64)product, high);
    flags_mul(v, high != 0);
    return true;
}

static ALWAYS_INLINE i128 signed_product(u64 a, u64 b, unsigned size)
{
    return (i128)(i64)sign_extend(a, size) * (i64)sign_extend(b, size);
}

/* Whether the product is not the sign extension of its low half. */
static ALWAYS_INLINE bool product_overflows(i128 product, unsigned size)
{
    return product != (i64)sign_extend((u64)product, size);
}

static ALWAYS_INLINE bool imul_e(struct vcpu *v, const struct insn *i, unsigned size)
{
    i128 product;
    u64 b;

    if (!rm_read(v, i, size, &b))
        return false;
    product = signed_product(reg_read(v, RAX, size), b, size);
    pair_write(v, size, (u64)product, (u64)(product >> size * 8));
    flags_mul(v, product_overflows(product, size));
    return true;
}

static ALWAYS_INLINE void imul_write(struct vcpu *v, const struct insn *i, u64 a, u64 b,
                                     unsigned size)
{
    i128 product = signed_product(a, b, size);

    reg_write(v, i->reg, size, (u64)product);
    flags_mul(v, product_overflows(product, size));
}

static ALWAYS_INLINE bool imul_ge(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 b;

    if (!rm_read(v, i, size, &b))
        return false;
    imul_write(v, i, reg_read(v, i->reg, size), b, size);
    return true;
}

static ALWAYS_INLINE bool imul_gei(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 a;

    if (!rm_read(v, i, size, &a))
        return false;
    imul_write(v, i, a, (u64)i->imm, size);
    return true;
}

static void flags_div(struct vcpu *v)
{
    flags_set(v, F_SF | F_ZF | F_PF, F_AF);
}

static ALWAYS_INLINE bool div_e(struct vcpu *v, const struct insn *i, unsigned size)
{
    u128 dividend = pair_read(v, size);
    u64 b, quotient, remainder;

    if (!rm_read(v, i, size, &b))
        return false;
    if (!b || (u64)(dividend >> size * 8) >= b)
        return raise_de(v);
    if (size < 8) {
        quotient = (u64)dividend / b;
        remainder = (u64)dividend % b;
    } else if (dividend >> 64) {
        quotient = (u64)(dividend / b);
        remainder = (u64)(dividend % b);
    } else {
        quotient = (u64)dividend / b;
        remainder = (u64)dividend % b;
    }
    pair_write(v, size, quotient, remainder);
    flags_div(v);
    return true;
}

/* The magnitudes are divided, so that no host division can overflow. */
static ALWAYS_INLINE bool idiv_e(struct vcpu *v, const struct insn *i, unsigned size)
{
    const unsigned bits = size * 8;
    u128 pair = pair_read(v, size), magnitude, quotient;
    bool negative, divisor_negative;
    u64 b, divisor, remainder;

    if (!rm_read(v, i, size, &b))
        return false;
    negative = (pair >> (2 * bits - 1)) & 1;
    divisor_negative = top_bit(b, size);
    if (negative && size < 8)
        pair |= ~(u128)0 << 2 * bits;
    magnitude = negative ? -pair : pair;
    divisor = divisor_negative ? -sign_extend(b, size) : b;
    if (!divisor)
        return raise_de(v);
    quotient = magnitude / divisor;
    remainder = (u64)(magnitude % divisor);
    if (quotient > ((u128)1 << (bits - 1)) - (negative == divisor_negative))
        return raise_de(v);
    pair_write(v, size, negative != divisor_negative ? -(u64)quotient : (u64)quotient,
               negative ? -remainder : remainder);
    flags_div(v);
    return true;
}

bool op_MUL_Eb(struct vcpu *v, const struct insn *i)
{
    return mul_e(v, i, 1);
}

bool op_MUL_Ev(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, mul_e, v, i);
}

bool op_IMUL_Eb(struct vcpu *v, const struct insn *i)
{
    return imul_e(v, i, 1);
}

bool op_IMUL_Ev(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, imul_e, v, i);
}

bool op_IMUL_GvEv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, imul_ge, v, i);
}

bool op_IMUL_GvEvIz(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, imul_gei, v, i);
}

bool op_IMUL_GvEvIbs(struct vcpu *v, const struct insn *i)
{
    return op_IMUL_GvEvIz(v, i);
}

bool op_DIV_Eb(struct vcpu *v, const struct insn *i)
{
    return div_e(v, i, 1);
}

bool op_DIV_Ev(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, div_e, v, i);
}

bool op_IDIV_Eb(struct vcpu *v, const struct insn *i)
{
    return idiv_e(v, i, 1);
}

bool op_IDIV_Ev(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, idiv_e, v, i);
}
