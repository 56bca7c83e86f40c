/* SPDX-License-Identifier: MIT
 *
 * LOOP, LOOPE, LOOPNE and JCXZ. They change no flags, so those wait in JF.
 */
#include "jit/lower/lower.h"

/* rCX of the address size against zero. */
static void test_counter(struct translator *t, const struct insn *i)
{
    u32 prefix = i->asz == 8 ? EMIT_W : i->asz == 2 ? EMIT_66 : 0u;

    emit_op_reg(t->e, prefix, 0x85, HOST_RCX, HOST_RCX);
}

/* LOOPE and LOOPNE look at ZF, which LAHF put into bit 6 of AH. */
static void test_zero_flag(struct translator *t)
{
    struct emit_mem ah = emit_gs((i32)offsetof(struct vcpu, jit.flags) + 1);

    emit_op_mem(t->e, 0, 0xf6, &ah, 0); /* test byte, imm8 */
    emit_value(t->e, F_ZF, 1);
}

bool lower_loop(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    u64 next = (ji->rip + i->len) & jit_rip_mask(t->block->mode), target;
    u8 *stays[2] = {NULL, NULL};

    if (i->id != INSN_LOOP_Jb && i->id != INSN_LOOPE_Jb && i->id != INSN_LOOPNE_Jb &&
        i->id != INSN_JCXZ_Jb)
        return false;
    if (!lower_usual_size(t->block, i) || (i->flags & (I_REP | I_REPNE)) ||
        !lower_target(t->block, i, ji->rip, &target))
        return false;
    lower_save_flags(t);
    if (i->id == INSN_LOOPE_Jb || i->id == INSN_LOOPNE_Jb) {
        test_zero_flag(t);
        lower_advance(t, RCX, -1, i->asz);
        stays[1] = emit_jcc(t->e, i->id == INSN_LOOPE_Jb ? CC_E : CC_NE, 0);
    } else if (i->id == INSN_LOOP_Jb) {
        lower_advance(t, RCX, -1, i->asz);
    }
    test_counter(t, i);
    stays[0] = emit_jcc(t->e, i->id == INSN_JCXZ_Jb ? CC_NE : CC_E, 0);
    lower_exit_to(t, target, target <= ji->rip);
    for (unsigned n = 0; n < ARRAY_SIZE(stays); n++)
        if (stays[n])
            emit_patch(stays[n], t->e->delta, emit_here(t->e));
    t->flags = FLAGS_SAVED;
    lower_exit_to(t, next, false);
    return true;
}
