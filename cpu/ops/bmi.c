/* SPDX-License-Identifier: MIT
 *
 * BMI1 and BMI2 (SDM 2: ANDN, BEXTR, BLSI, BLSMSK, BLSR, BZHI, MULX, PDEP, PEXT, RORX, SARX, SHLX,
 * SHRX). The last five and MULX change no flags.
 *
 * Undefined flags, as on Zen 4: PF by the result and AF clear, but AF set and SF clear by BEXTR.
 */
#include "cpu/ops/flags.h"

static u64 flags_logic(u64 result, unsigned size)
{
    return size == 8 ? flags_result(result, 8) : flags_result(result, 4);
}

/* Writes a result to register r and the flags of a logical operation, with CF. */
static bool bmi_result(struct vcpu *v, const struct insn *i, unsigned r, u64 result, bool carry)
{
    result = size_cut(result, i->osz);
    reg_write(v, r, i->osz, result);
    flags_set(v, F_OSZAPC, flags_logic(result, i->osz) | (carry ? F_CF : 0));
    return true;
}

bool op_ANDN_GyByEy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    return rm_read(v, i, i->osz, &value) &&
           bmi_result(v, i, i->reg, ~v->gpr[i->vvvv] & value, false);
}

bool op_BLSR_ByEy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    return rm_read(v, i, i->osz, &value) &&
           bmi_result(v, i, i->vvvv, value & (value - 1), value == 0);
}

bool op_BLSMSK_ByEy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    return rm_read(v, i, i->osz, &value) &&
           bmi_result(v, i, i->vvvv, value ^ (value - 1), value == 0);
}

bool op_BLSI_ByEy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    return rm_read(v, i, i->osz, &value) && bmi_result(v, i, i->vvvv, value & -value, value != 0);
}

bool op_BZHI_GyEyBy(struct vcpu *v, const struct insn *i)
{
    unsigned index = (u8)v->gpr[i->vvvv], bits = i->osz * 8;
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    if (index < bits)
        value &= (1ull << index) - 1;
    return bmi_result(v, i, i->reg, value, index >= bits);
}

bool op_BEXTR_GyEyBy(struct vcpu *v, const struct insn *i)
{
    unsigned start = (u8)v->gpr[i->vvvv], length = (u8)(v->gpr[i->vvvv] >> 8);
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    value = start < 64 ? value >> start : 0;
    if (length < 64)
        value &= (1ull << length) - 1;
    reg_write(v, i->reg, i->osz, value);
    flags_set(v, F_OSZAPC, F_AF | (value ? 0 : F_ZF) | flag_parity(value));
    return true;
}

bool op_PEXT_GyByEy(struct vcpu *v, const struct insn *i)
{
    u64 mask, source = v->gpr[i->vvvv], result = 0;

    if (!rm_read(v, i, i->osz, &mask))
        return false;
    for (u64 to = 1; mask; mask &= mask - 1, to <<= 1) {
        if (source & mask & -mask)
            result |= to;
    }
    reg_write(v, i->reg, i->osz, result);
    return true;
}

bool op_PDEP_GyByEy(struct vcpu *v, const struct insn *i)
{
    u64 mask, source = v->gpr[i->vvvv], result = 0;

    if (!rm_read(v, i, i->osz, &mask))
        return false;
    for (; mask; mask &= mask - 1, source >>= 1) {
        if (source & 1)
            result |= mask & -mask;
    }
    reg_write(v, i->reg, i->osz, result);
    return true;
}

/* The high half is written last: it wins when both destinations are one register. */
bool op_MULX_GyByEy(struct vcpu *v, const struct insn *i)
{
    u128 product;
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    product = (u128)reg_read(v, RDX, i->osz) * value;
    reg_write(v, i->vvvv, i->osz, (u64)product);
    reg_write(v, i->reg, i->osz, (u64)(product >> i->osz * 8));
    return true;
}

bool op_SHLX_GyEyBy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    reg_write(v, i->reg, i->osz, value << (v->gpr[i->vvvv] & (i->osz * 8u - 1)));
    return true;
}

bool op_SHRX_GyEyBy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    reg_write(v, i->reg, i->osz, value >> (v->gpr[i->vvvv] & (i->osz * 8u - 1)));
    return true;
}

bool op_SARX_GyEyBy(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    value = (u64)((i64)sign_extend(value, i->osz) >> (v->gpr[i->vvvv] & (i->osz * 8u - 1)));
    reg_write(v, i->reg, i->osz, value);
    return true;
}

bool op_RORX_GyEyIb(struct vcpu *v, const struct insn *i)
{
    unsigned bits = i->osz * 8, count = (unsigned)i->imm & (bits - 1);
    u64 value;

    if (!rm_read(v, i, i->osz, &value))
        return false;
    reg_write(v, i->reg, i->osz, count ? value >> count | value << (bits - count) : value);
    return true;
}
