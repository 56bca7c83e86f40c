/* SPDX-License-Identifier: MIT
 *
 * Far CALL, JMP, RET and IRET: the instructions; what they do is in far_transfer.c, far_return.c.
 */
#include "cpu/cpuid.h"
#include "cpu/ops/operand.h"
#include "cpu/segment.h"

bool op_CALL_Ap(struct vcpu *v, const struct insn *i)
{
    return far_call(v, i->imm2, (u64)i->imm, i->osz);
}

bool op_JMP_Ap(struct vcpu *v, const struct insn *i)
{
    return far_jump(v, i->imm2, (u64)i->imm, i->osz);
}

/* Far pointers of 16:64 bits exist on Intel only; AMD ignores REX.W (APM 3 "CALL (Far)"). */
static unsigned pointer_osz(const struct vcpu *v, const struct insn *i)
{
    return vcpu_is_amd(v) && i->osz == 8 ? 4 : i->osz;
}

bool op_CALL_Mp(struct vcpu *v, const struct insn *i)
{
    unsigned osz = pointer_osz(v, i);
    u64 offset, selector;

    return far_pointer_read(v, i, osz, &offset, &selector) &&
           far_call(v, (u16)selector, offset, i->osz);
}

bool op_JMP_Mp(struct vcpu *v, const struct insn *i)
{
    unsigned osz = pointer_osz(v, i);
    u64 offset, selector;

    return far_pointer_read(v, i, osz, &offset, &selector) &&
           far_jump(v, (u16)selector, offset, osz);
}

bool op_RETF_Iw(struct vcpu *v, const struct insn *i)
{
    return far_return(v, i->osz, (u16)i->imm);
}

bool op_RETF(struct vcpu *v, const struct insn *i)
{
    return far_return(v, i->osz, 0);
}

bool op_IRET(struct vcpu *v, const struct insn *i)
{
    return interrupt_return(v, i->osz);
}
