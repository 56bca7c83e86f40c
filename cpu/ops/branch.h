/* SPDX-License-Identifier: MIT
 *
 * Near branch targets: cut to the operand size and checked before anything is changed.
 */
#pragma once

#include "cpu/ops/operand.h"

/* Cuts *target to the operand size; #GP(0) beyond the CS limit, or non-canonical in 64-bit mode
 * (SDM 2: JMP, CALL, RET). */
static ALWAYS_INLINE bool branch_target(struct vcpu *v, unsigned osz, u64 *target)
{
    if (likely(vcpu_64bit(v))) {
        unsigned shift = v->cr4 & CR4_LA57 ? 7 : 16;

        if (unlikely(osz == 2))
            *target = (u16)*target;
        return likely((u64)((i64)(*target << shift) >> shift) == *target) || raise_gp(v, 0);
    }
    *target = osz == 2 ? (u16)*target : (u32)*target;
    return likely(*target <= v->seg[SEG_CS].limit) || raise_gp(v, 0);
}

/* Goes to the next instruction + the displacement. */
static ALWAYS_INLINE bool branch_relative(struct vcpu *v, const struct insn *i)
{
    u64 target = v->next_rip + (u64)i->imm;

    if (!branch_target(v, i->osz, &target))
        return false;
    v->next_rip = target;
    return true;
}
