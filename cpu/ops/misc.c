/* SPDX-License-Identifier: MIT
 *
 * No-operations and hints, BOUND, and the instructions defined to be undefined (SDM 2).
 */
#include "cpu/ops/operand.h"

#define NOP_FORM(NAME)                                                                             \
    bool op_##NAME(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        (void)v;                                                                                   \
        (void)i;                                                                                   \
        return true;                                                                               \
    }

NOP_FORM(NOP)
NOP_FORM(NOP_Ev)
NOP_FORM(NOP_Ev_18)
NOP_FORM(NOP_Ev_19)
NOP_FORM(NOP_Ev_1a)
NOP_FORM(NOP_Ev_1b)
NOP_FORM(NOP_Ev_1c)
NOP_FORM(NOP_Ev_1d)
NOP_FORM(NOP_Ev_1e)
NOP_FORM(PREFETCHW_Mb)

/* Whoever spins for a lock that a processor without a host CPU holds lets that one run. */
bool op_PAUSE(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (--v->pauses_left < 0) {
        v->pauses_left = PAUSES_PER_YIELD;
        if (v->platform->yield)
            v->platform->yield(v->platform->opaque, v);
    }
    return true;
}

/* Signed bounds, the lower one first in memory. */
bool op_BOUND_GvMa(struct vcpu *v, const struct insn *i)
{
    i64 index = (i64)sign_extend(v->gpr[i->reg], i->osz);
    u64 offset = mem_offset(v, i), lower, upper;

    if (!seg_read(v, (enum seg)i->seg, offset, i->osz, &lower) ||
        !seg_read(v, (enum seg)i->seg, size_cut(offset + i->osz, i->asz), i->osz, &upper))
        return false;
    if (index < (i64)sign_extend(lower, i->osz) || index > (i64)sign_extend(upper, i->osz))
        return raise_fault(v, VEC_BR);
    return true;
}

#define UD_FORM(NAME)                                                                              \
    bool op_##NAME(struct vcpu *v, const struct insn *i)                                           \
    {                                                                                              \
        (void)i;                                                                                   \
        return raise_ud(v);                                                                        \
    }

UD_FORM(UD0)
UD_FORM(UD1)
UD_FORM(UD2)
