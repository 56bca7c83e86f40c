/* SPDX-License-Identifier: MIT
 *
 * DIV and IDIV of 32 and 64 bits. The host would raise its own #DE, so what might is left to the
 * interpreter: for DIV a quotient that does not fit, for IDIV all but a sign-extended dividend and
 * the divisors 0 and -1.
 */
#include "jit/lower/lower.h"

/* The divisor in a register: its own, or T0. */
static unsigned load_divisor(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    struct mem_ref ref;
    struct emit_mem at;

    if (!(i->flags & I_MEM))
        return lower_use(t, i->rm, T0);
    lower_ref(t, ji, i->osz, false, &ref);
    at = lower_access(t, ji, &ref);
    emit_load(t->e, T0, &at, i->osz);
    return T0;
}

static void check_unsigned(struct translator *t, const struct jit_insn *ji, unsigned divisor, u32 w)
{
    emit_op_reg(t->e, w, 0x3b, divisor, HOST_RDX); /* cmp edx, divisor */
    lower_give_up(t, ji, emit_jcc(t->e, CC_AE, 0));
}

static void check_signed(struct translator *t, const struct jit_insn *ji, unsigned divisor, u32 w)
{
    struct emit_mem next = emit_at(divisor, 1);

    emit_op_reg(t->e, w, 0x8b, HOST_RAX, T1);
    emit_op_reg(t->e, w, 0xc1, T1, 7); /* sar t1, 31 or 63 */
    emit_value(t->e, w ? 63 : 31, 1);
    emit_op_reg(t->e, w, 0x3b, HOST_RDX, T1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
    emit_lea(t->e, T1, &next, w ? 8 : 4);
    emit_op_reg(t->e, w, 0x83, T1, 7); /* cmp t1, 1 */
    emit_value(t->e, 1, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_BE, 0));
}

static bool ours(const struct translator *t, const struct insn *i)
{
    return (i->id == INSN_DIV_Ev || i->id == INSN_IDIV_Ev) && i->osz != 2 &&
           (!(i->flags & I_MEM) || lower_can_address(t, i));
}

bool lower_divide_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects)
{
    if (!ours(t, &ji->insn))
        return false;
    if (ji->insn.flags & I_MEM)
        lower_ref(t, ji, ji->insn.osz, false, ref);
    effects->written = (u32)(BIT(RAX) | BIT(RDX));
    return true;
}

bool lower_divide(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    bool is_signed = i->id == INSN_IDIV_Ev;
    u32 w = i->osz == 8 ? EMIT_W : 0;
    unsigned divisor;

    if (!ours(t, i))
        return false;
    lower_release_flags(t);
    divisor = load_divisor(t, ji);
    if (is_signed)
        check_signed(t, ji, divisor, w);
    else
        check_unsigned(t, ji, divisor, w);
    lower_need_flags(t);
    emit_op_reg(t->e, w, 0xf7, divisor, is_signed ? 7 : 6);
    t->flags = FLAGS_HOST;
    return true;
}
