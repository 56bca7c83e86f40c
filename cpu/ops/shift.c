/* SPDX-License-Identifier: MIT
 *
 * Shifts and rotates (SDM 2: RCL/RCR/ROL/ROR, SAL/SAR/SHL/SHR, SHLD, SHRD).
 *
 * Counts are masked to 5 bits, 6 for 64-bit operands. A masked count of 0 changes no flag but still
 * writes the operand. Undefined flags, as on Zen 4: a shift sets AF; OF follows the rule for a
 * count of 1 at every count. SHLD/SHRD of 16 bits by more than 16 rotate the second operand and
 * clear CF; OF equals CF after such a SHLD by 16 and more.
 */
#include "cpu/ops/flags.h"

enum shift_op { SHIFT_ROL, SHIFT_ROR, SHIFT_RCL, SHIFT_RCR, SHIFT_SHL, SHIFT_SHR, SHIFT_SAR };

/* CF, and OF = top bit of the result XOR CF (left) or XOR the bit below (right). */
static ALWAYS_INLINE u64 flags_left(u64 result, u64 carry, unsigned size)
{
    return carry | (top_bit(result, size) ^ carry) << 11;
}

static ALWAYS_INLINE u64 flags_right(u64 result, u64 carry, unsigned size)
{
    return carry | (top_bit(result, size) ^ (result >> (size * 8 - 2) & 1)) << 11;
}

/* count is 1..63 and already masked; a has no bits above size. */
static ALWAYS_INLINE u64 rotate(enum shift_op op, unsigned size, u64 a, unsigned count, u64 *rflags)
{
    const unsigned bits = size * 8;
    unsigned n = count % bits;
    u64 result = a;

    if (op == SHIFT_ROL) {
        if (n)
            result = size_cut(a << n | a >> (bits - n), size);
        *rflags = (*rflags & ~(u64)(F_CF | F_OF)) | flags_left(result, result & 1, size);
    } else {
        if (n)
            result = size_cut(a >> n | a << (bits - n), size);
        *rflags =
            (*rflags & ~(u64)(F_CF | F_OF)) | flags_right(result, top_bit(result, size), size);
    }
    return result;
}

/* Rotates through CF: size * 8 + 1 bits. */
static ALWAYS_INLINE u64 rotate_carry(enum shift_op op, unsigned size, u64 a, unsigned count,
                                      u64 *rflags)
{
    const unsigned bits = size * 8;
    unsigned n = count % (bits + 1);
    u64 carry = *rflags & F_CF, result = a, out = carry;

    if (n && op == SHIFT_RCL) {
        result = size_cut(a << n, size) | carry << (n - 1);
        result |= n > 1 ? a >> (bits + 1 - n) : 0;
        out = a >> (bits - n) & 1;
    } else if (n) {
        result = a >> n | carry << (bits - n);
        result |= n > 1 ? size_cut(a << (bits + 1 - n), size) : 0;
        out = a >> (n - 1) & 1;
    }
    *rflags = (*rflags & ~(u64)(F_CF | F_OF)) |
              (op == SHIFT_RCL ? flags_left(result, out, size) : flags_right(result, out, size));
    return result;
}

static ALWAYS_INLINE u64 shift(enum shift_op op, unsigned size, u64 a, unsigned count, u64 *rflags)
{
    const unsigned bits = size * 8;
    u64 result, carry, flags;

    if (op == SHIFT_SHL) {
        result = size_cut(a << count, size);
        carry = count <= bits ? a >> (bits - count) & 1 : 0;
        flags = flags_left(result, carry, size);
    } else if (op == SHIFT_SHR) {
        result = a >> count;
        flags = flags_right(result, a >> (count - 1) & 1, size);
    } else {
        i64 s = (i64)sign_extend(a, size);

        result = size_cut((u64)(s >> count), size);
        flags = (u64)(s >> (count - 1)) & 1;
    }
    *rflags = (*rflags & ~(u64)F_OSZAPC) | flags | F_AF | flags_result(result, size);
    return result;
}

static ALWAYS_INLINE u64 shift_any(enum shift_op op, unsigned size, u64 a, u64 count, u64 *rflags)
{
    unsigned n = count & (size == 8 ? 63 : 31);

    if (!n)
        return a;
    if (op >= SHIFT_SHL)
        return shift(op, size, a, n, rflags);
    if (op >= SHIFT_RCL)
        return rotate_carry(op, size, a, n, rflags);
    return rotate(op, size, a, n, rflags);
}

/* E = op(E, count) */
static ALWAYS_INLINE bool shift_e(struct vcpu *v, const struct insn *i, enum shift_op op, u64 count,
                                  unsigned size)
{
    struct rmw m;
    u64 gla;

    if (!(i->flags & I_MEM)) {
        reg_write(v, i->rm, size, shift_any(op, size, reg_read(v, i->rm, size), count, &v->rflags));
        return true;
    }
    if (!mem_linear(v, i, size, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, size, &m))
        return false;
    rmw_write(v, &m, shift_any(op, size, rmw_read(v, &m), count, &v->rflags));
    return true;
}

#define SHIFT_FORMS(NAME, OP)                                                                      \
    static bool shift_byte_##NAME(struct vcpu *v, const struct insn *i, u64 count)                 \
    {                                                                                              \
        return shift_e(v, i, OP, count, 1);                                                        \
    }                                                                                              \
    static bool shift_wide_##NAME(struct vcpu *v, const struct insn *i, u64 count)                 \
    {                                                                                              \
        return BY_OSZ(i, shift_e, v, i, OP, count);                                                \
    }                                                                                              \
    bool op_##NAME##_EbIb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return shift_byte_##NAME(v, i, (u64)i->imm);                                               \
    }                                                                                              \
    bool op_##NAME##_EvIb(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return shift_wide_##NAME(v, i, (u64)i->imm);                                               \
    }                                                                                              \
    bool op_##NAME##_Eb1(struct vcpu *v, const struct insn *i)                                     \
    {                                                                                              \
        return shift_byte_##NAME(v, i, 1);                                                         \
    }                                                                                              \
    bool op_##NAME##_Ev1(struct vcpu *v, const struct insn *i)                                     \
    {                                                                                              \
        return shift_wide_##NAME(v, i, 1);                                                         \
    }                                                                                              \
    bool op_##NAME##_EbCL(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return shift_byte_##NAME(v, i, v->gpr[RCX]);                                               \
    }                                                                                              \
    bool op_##NAME##_EvCL(struct vcpu *v, const struct insn *i)                                    \
    {                                                                                              \
        return shift_wide_##NAME(v, i, v->gpr[RCX]);                                               \
    }

SHIFT_FORMS(ROL, SHIFT_ROL)
SHIFT_FORMS(ROR, SHIFT_ROR)
SHIFT_FORMS(RCL, SHIFT_RCL)
SHIFT_FORMS(RCR, SHIFT_RCR)
SHIFT_FORMS(SHL, SHIFT_SHL)
SHIFT_FORMS(SHR, SHIFT_SHR)
SHIFT_FORMS(SAL, SHIFT_SHL)
SHIFT_FORMS(SAR, SHIFT_SAR)

/* -- double shifts -- */

static ALWAYS_INLINE u64 shift_double(bool left, unsigned size, u64 a, u64 b, u64 count,
                                      u64 *rflags)
{
    const unsigned bits = size * 8;
    unsigned n = count & (size == 8 ? 63 : 31), over = n > bits ? n - bits : 0;
    u64 result, carry = 0, flags;

    if (!n)
        return a;
    if (over)
        result = left ? b << over | b >> (bits - over) : b >> over | b << (bits - over);
    else if (n == bits)
        result = b;
    else
        result = left ? a << n | b >> (bits - n) : a >> n | b << (bits - n);
    result = size_cut(result, size);
    if (!over)
        carry = left ? a >> (bits - n) & 1 : a >> (n - 1) & 1;
    flags = left ? flags_left(result, carry, size) : flags_right(result, carry, size);
    if (left && n >= bits)
        flags = carry | carry << 11;
    *rflags = (*rflags & ~(u64)F_OSZAPC) | flags | F_AF | flags_result(result, size);
    return result;
}

static ALWAYS_INLINE bool double_eg(struct vcpu *v, const struct insn *i, bool left, u64 count,
                                    unsigned size)
{
    u64 b = reg_read(v, i->reg, size), gla;
    struct rmw m;

    if (!(i->flags & I_MEM)) {
        reg_write(v, i->rm, size,
                  shift_double(left, size, reg_read(v, i->rm, size), b, count, &v->rflags));
        return true;
    }
    if (!mem_linear(v, i, size, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, size, &m))
        return false;
    rmw_write(v, &m, shift_double(left, size, rmw_read(v, &m), b, count, &v->rflags));
    return true;
}

static bool double_shift(struct vcpu *v, const struct insn *i, bool left, u64 count)
{
    return BY_OSZ(i, double_eg, v, i, left, count);
}

bool op_SHLD_EvGvIb(struct vcpu *v, const struct insn *i)
{
    return double_shift(v, i, true, (u64)i->imm);
}

bool op_SHLD_EvGvCL(struct vcpu *v, const struct insn *i)
{
    return double_shift(v, i, true, v->gpr[RCX]);
}

bool op_SHRD_EvGvIb(struct vcpu *v, const struct insn *i)
{
    return double_shift(v, i, false, (u64)i->imm);
}

bool op_SHRD_EvGvCL(struct vcpu *v, const struct insn *i)
{
    return double_shift(v, i, false, v->gpr[RCX]);
}
