/* SPDX-License-Identifier: MIT
 *
 * Instructions on RFLAGS itself: PUSHF, POPF, LAHF, SAHF, CMC, CLC, STC, CLD, STD (SDM 2).
 *
 * In V86 mode PUSHF and POPF need IOPL 3, or CR4.VME and a 16-bit operand: then VIF takes the place
 * of IF (SDM 3B 20.3).
 */
#include "cpu/ops/operand.h"

/* What POPF may change at any privilege. */
enum { POPF_ALWAYS = F_OSZAPC | F_TF | F_DF | F_NT | F_AC | F_ID };

static bool v86_below_iopl3(const struct vcpu *v)
{
    return vcpu_v86(v) && vcpu_iopl(v) < 3;
}

bool op_PUSHF(struct vcpu *v, const struct insn *i)
{
    u64 flags = v->rflags & ~(u64)(F_VM | F_RF);

    if (v86_below_iopl3(v)) {
        if (!(v->cr4 & CR4_VME) || i->osz != 2)
            return raise_gp(v, 0);
        flags = (flags & ~(u64)F_IF) | F_IOPL | (v->rflags & F_VIF ? F_IF : 0);
    }
    return stack_push(v, flags, i->osz);
}

/* Takes the flags in mask from value; RF is cleared; TF, AC and RF decide how the vCPU runs. */
static void flags_load(struct vcpu *v, u64 value, u64 mask)
{
    u64 old = v->rflags;

    v->rflags = ((old & ~mask) | (value & mask)) & ~(u64)F_RF;
    if ((old ^ v->rflags) & (F_TF | F_AC | F_RF))
        vcpu_update_mode(v);
}

/* POPF in V86 mode with CR4.VME and IOPL < 3: IF goes to VIF. */
static bool popf_virtual_if(struct vcpu *v)
{
    u64 value;

    if (!stack_peek(v, 0, 2, &value))
        return false;
    if ((value & F_TF) || ((value & F_IF) && (v->rflags & F_VIP)))
        return raise_gp(v, 0);
    stack_set(v, v->gpr[RSP] + 2);
    if (value & F_IF)
        value |= F_VIF;
    flags_load(v, value, (POPF_ALWAYS & 0xffff) | F_VIF);
    return true;
}

bool op_POPF(struct vcpu *v, const struct insn *i)
{
    u64 value, mask = POPF_ALWAYS;

    if (v86_below_iopl3(v))
        return (v->cr4 & CR4_VME) && i->osz == 2 ? popf_virtual_if(v) : raise_gp(v, 0);
    if (!stack_pop(v, i->osz, &value))
        return false;
    if (v->cpl == 0)
        mask |= F_IOPL;
    if (v->cpl <= vcpu_iopl(v))
        mask |= F_IF;
    flags_load(v, value, i->osz == 2 ? mask & 0xffff : mask);
    return true;
}

bool op_LAHF(struct vcpu *v, const struct insn *i)
{
    (void)i;
    reg_write(v, REG_HIGH | RAX, 1, v->rflags & 0xff);
    return true;
}

bool op_SAHF(struct vcpu *v, const struct insn *i)
{
    const u64 mask = F_SF | F_ZF | F_AF | F_PF | F_CF;

    (void)i;
    v->rflags = (v->rflags & ~mask) | (v->gpr[RAX] >> 8 & mask);
    return true;
}

bool op_CMC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->rflags ^= F_CF;
    return true;
}

bool op_CLC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->rflags &= ~(u64)F_CF;
    return true;
}

bool op_STC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->rflags |= F_CF;
    return true;
}

bool op_CLD(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->rflags &= ~(u64)F_DF;
    return true;
}

bool op_STD(struct vcpu *v, const struct insn *i)
{
    (void)i;
    v->rflags |= F_DF;
    return true;
}
