/* SPDX-License-Identifier: MIT
 *
 * The word: bit 1 is set; 2-3 op, 4-5 log2 of size, 6-10 a, 11-15 b or IMMEDIATE, 16-31 imm. Bit 4
 * of a register is set for AH, CH, DH, BH.
 */
#include "jit/deferred.h"

#include "cpu/ops/flags.h"

enum { OP = 2, SIZE = 4, A = 6, B = 11, IMM = 16, REGISTER = 0x1f, HIGH = 0x10, IMMEDIATE = 0x1f };

static u32 register_field(u8 reg)
{
    return reg & REG_HIGH ? HIGH | (reg & 3u) : reg;
}

u32 jf_word(const struct jf_word *w)
{
    u32 b = w->b == REG_NONE ? IMMEDIATE : register_field(w->b);

    if (w->b == REG_NONE && w->imm != (i16)w->imm)
        return 0;
    return JF_DEFERRED | (u32)w->op << OP | (u32)__builtin_ctz(w->size) << SIZE |
           register_field(w->a) << A | b << B | (b == IMMEDIATE ? (u32)w->imm << IMM : 0);
}

static u64 value_of(const struct vcpu *v, u32 field)
{
    return field & HIGH ? v->gpr[field & 3] >> 8 : v->gpr[field];
}

static ALWAYS_INLINE u64 flags_of(enum jf_op op, u64 a, u64 b, unsigned size)
{
    switch (op) {
    case JF_COMPARISON: return flags_sub(a, b, a - b, size);
    case JF_AND: return flags_result(a & b, size);
    case JF_SUM: return flags_add(a - b, b, a, size);
    default: return flags_sub(a + b, b, a, size);
    }
}

void jit_make_flags(struct vcpu *v)
{
    u32 word = v->jit.flags, b_field = word >> B & REGISTER;
    enum jf_op op = (enum jf_op)(word >> OP & 3);
    u64 a = value_of(v, word >> A & REGISTER), flags;
    u64 b = b_field == IMMEDIATE ? (u64)(i16)(word >> IMM) : value_of(v, b_field);

    switch (word >> SIZE & 3) {
    case 0: flags = flags_of(op, a, b, 1); break;
    case 1: flags = flags_of(op, a, b, 2); break;
    case 2: flags = flags_of(op, a, b, 4); break;
    default: flags = flags_of(op, a, b, 8); break;
    }
    flags_set(v, F_OSZAPC, flags);
}
