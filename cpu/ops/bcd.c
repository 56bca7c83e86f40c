/* SPDX-License-Identifier: MIT
 *
 * Decimal adjustment, outside 64-bit mode (SDM 2: AAA, AAD, AAM, AAS, DAA, DAS).
 *
 * Undefined flags, as on Zen 4: DAA, DAS and AAD leave those of the 8-bit addition or subtraction
 * that they make, AAA and AAS SF, ZF and OF of a 16-bit one with 106h, AAM clears OF, AF and CF.
 */
#include "cpu/ops/flags.h"

static bool decimal_adjust(struct vcpu *v, bool subtract)
{
    u64 al = (u8)v->gpr[RAX], correction = 0, result, flags;
    bool low = (al & 0xf) > 9 || (v->rflags & F_AF);
    bool high = al > 0x99 || (v->rflags & F_CF);

    if (low)
        correction = 6;
    if (high)
        correction += 0x60;
    result = subtract ? al - correction : al + correction;
    flags = subtract ? flags_sub(al, correction, result, 1) : flags_add(al, correction, result, 1);
    flags &= ~(u64)(F_AF | F_CF);
    if (low)
        flags |= F_AF;
    if (high || (subtract && low && al < 6))
        flags |= F_CF;
    reg_write(v, RAX, 1, result);
    flags_set(v, F_OSZAPC, flags);
    return true;
}

bool op_DAA(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return decimal_adjust(v, false);
}

bool op_DAS(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return decimal_adjust(v, true);
}

static bool ascii_adjust(struct vcpu *v, bool subtract)
{
    u64 ax = (u16)v->gpr[RAX], correction = 0, result, flags;

    if ((ax & 0xf) > 9 || (v->rflags & F_AF))
        correction = 0x106;
    result = subtract ? ax - correction : ax + correction;
    flags = subtract ? flags_sub(ax, correction, result, 2) : flags_add(ax, correction, result, 2);
    flags &= ~(u64)(F_AF | F_CF);
    if (correction)
        flags |= F_AF | F_CF;
    reg_write(v, RAX, 2, result & 0xff0f);
    flags_set(v, F_OSZAPC, flags);
    return true;
}

bool op_AAA(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return ascii_adjust(v, false);
}

bool op_AAS(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return ascii_adjust(v, true);
}

bool op_AAM_Ib(struct vcpu *v, const struct insn *i)
{
    u64 al = (u8)v->gpr[RAX], base = (u8)i->imm;

    if (!base)
        return raise_de(v);
    reg_write(v, RAX, 2, (al / base) << 8 | al % base);
    flags_set(v, F_OSZAPC, flags_result(al % base, 1));
    return true;
}

bool op_AAD_Ib(struct vcpu *v, const struct insn *i)
{
    u64 al = (u8)v->gpr[RAX], tens = (u8)((v->gpr[RAX] >> 8 & 0xff) * (u8)i->imm);

    reg_write(v, RAX, 2, (al + tens) & 0xff);
    flags_set(v, F_OSZAPC, flags_add(al, tens, al + tens, 1));
    return true;
}
