/* SPDX-License-Identifier: MIT
 *
 * Conditional instructions: Jcc, SETcc, CMOVcc (SDM 1 appendix B has the conditions).
 */
#include "cpu/ops/branch.h"
#include "cpu/ops/flags.h"

/* Condition codes as the low nibble of the opcode; odd ones are negations. */
enum condition {
    COND_O,
    COND_NO,
    COND_B,
    COND_NB,
    COND_Z,
    COND_NZ,
    COND_BE,
    COND_NBE,
    COND_S,
    COND_NS,
    COND_P,
    COND_NP,
    COND_L,
    COND_NL,
    COND_LE,
    COND_NLE,
};

static ALWAYS_INLINE bool condition_holds(u64 rflags, enum condition condition)
{
    bool less = !(rflags & F_SF) != !(rflags & F_OF);
    bool holds;

    switch (condition & ~1u) {
    case COND_O: holds = rflags & F_OF; break;
    case COND_B: holds = rflags & F_CF; break;
    case COND_Z: holds = rflags & F_ZF; break;
    case COND_BE: holds = rflags & (F_CF | F_ZF); break;
    case COND_S: holds = rflags & F_SF; break;
    case COND_P: holds = rflags & F_PF; break;
    case COND_L: holds = less; break;
    default: holds = less || (rflags & F_ZF); break;
    }
    return holds != (condition & 1);
}

/* The source is read, and may fault, whatever the condition; a 32-bit destination is always written
 * (its upper half is cleared). */
static ALWAYS_INLINE bool cmov(struct vcpu *v, const struct insn *i, bool holds, unsigned size)
{
    u64 value;

    if (!rm_read(v, i, size, &value))
        return false;
    reg_write(v, i->reg, size, holds ? value : v->gpr[i->reg]);
    return true;
}

#define CONDITION_FORMS(NAME)                                                                      \
    bool op_J##NAME##_Jb(struct vcpu *v, const struct insn *i)                                     \
    {                                                                                              \
        return !condition_holds(v->rflags, COND_##NAME) || branch_relative(v, i);                  \
    }                                                                                              \
    bool op_J##NAME##_Jz(struct vcpu *v, const struct insn *i)                                     \
    {                                                                                              \
        return !condition_holds(v->rflags, COND_##NAME) || branch_relative(v, i);                  \
    }                                                                                              \
    bool op_SET##NAME##_Eb(struct vcpu *v, const struct insn *i)                                   \
    {                                                                                              \
        return rm_write(v, i, 1, condition_holds(v->rflags, COND_##NAME));                         \
    }                                                                                              \
    bool op_CMOV##NAME##_GvEv(struct vcpu *v, const struct insn *i)                                \
    {                                                                                              \
        return BY_OSZ(i, cmov, v, i, condition_holds(v->rflags, COND_##NAME));                     \
    }

CONDITION_FORMS(O)
CONDITION_FORMS(NO)
CONDITION_FORMS(B)
CONDITION_FORMS(NB)
CONDITION_FORMS(Z)
CONDITION_FORMS(NZ)
CONDITION_FORMS(BE)
CONDITION_FORMS(NBE)
CONDITION_FORMS(S)
CONDITION_FORMS(NS)
CONDITION_FORMS(P)
CONDITION_FORMS(NP)
CONDITION_FORMS(L)
CONDITION_FORMS(NL)
CONDITION_FORMS(LE)
CONDITION_FORMS(NLE)
