/* SPDX-License-Identifier: MIT
 *
 * Near control transfer: JMP, CALL, RET, LOOP, JCXZ (SDM 2). Targets are checked before the stack
 * is touched; RIP changes last.
 */
#include "cpu/ops/branch.h"

#include "cpu/cpuid.h"

bool op_JMP_Jb(struct vcpu *v, const struct insn *i)
{
    return branch_relative(v, i);
}

bool op_JMP_Jz(struct vcpu *v, const struct insn *i)
{
    return branch_relative(v, i);
}

bool op_JMP_Ev(struct vcpu *v, const struct insn *i)
{
    u64 target;

    if (!rm_read(v, i, i->osz, &target) || !branch_target(v, i->osz, &target))
        return false;
    v->next_rip = target;
    return true;
}

static bool call(struct vcpu *v, const struct insn *i, u64 target)
{
    u64 rsp = (v->gpr[RSP] - i->osz) & stack_mask(v), gla;

    /* A fault of the stack comes before one of the target (family 19h). */
    if (!seg_to_linear(v, SEG_SS, rsp, i->osz, ACCESS_WRITE, &gla) ||
        !lin_aligned(v, gla, i->osz) || !lin_probe_write(v, gla, i->osz) ||
        !branch_target(v, i->osz, &target) || !stack_push(v, v->next_rip, i->osz))
        return false;
    v->next_rip = target;
    return true;
}

bool op_CALL_Jz(struct vcpu *v, const struct insn *i)
{
    return call(v, i, v->next_rip + (u64)i->imm);
}

bool op_CALL_Ev(struct vcpu *v, const struct insn *i)
{
    u64 target;

    return rm_read(v, i, i->osz, &target) && call(v, i, target);
}

static bool near_return(struct vcpu *v, const struct insn *i, u16 release)
{
    u64 target;

    if (!stack_peek(v, 0, i->osz, &target) || !branch_target(v, i->osz, &target))
        return false;
    stack_set(v, v->gpr[RSP] + i->osz + release);
    v->next_rip = target;
    return true;
}

bool op_RET(struct vcpu *v, const struct insn *i)
{
    return near_return(v, i, 0);
}

bool op_RET_Iw(struct vcpu *v, const struct insn *i)
{
    return near_return(v, i, (u16)i->imm);
}

/* -- loops: the counter has the address size -- */

static bool loop_if(struct vcpu *v, const struct insn *i, bool condition)
{
    u64 count = size_cut(v->gpr[RCX] - 1, i->asz);

    if (count && condition && !branch_relative(v, i))
        return false;
    reg_write(v, RCX, i->asz, count);
    return true;
}

bool op_LOOP_Jb(struct vcpu *v, const struct insn *i)
{
    return loop_if(v, i, true);
}

/* On AMD's family 19h a REPE or REPNE prefix decides which flag ends the loop, whatever the opcode
 * says. */
static bool loop_while(struct vcpu *v, const struct insn *i, bool equal)
{
    if (vcpu_is_amd(v) && (i->flags & (I_REP | I_REPNE)))
        equal = i->flags & I_REP;
    return loop_if(v, i, !(v->rflags & F_ZF) != equal);
}

bool op_LOOPE_Jb(struct vcpu *v, const struct insn *i)
{
    return loop_while(v, i, true);
}

bool op_LOOPNE_Jb(struct vcpu *v, const struct insn *i)
{
    return loop_while(v, i, false);
}

bool op_JCXZ_Jb(struct vcpu *v, const struct insn *i)
{
    return size_cut(v->gpr[RCX], i->asz) || branch_relative(v, i);
}
