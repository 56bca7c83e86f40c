/* SPDX-License-Identifier: MIT
 *
 * INT3, INT n, INTO, INT1, HLT, CLI, STI (SDM 2), with virtual interrupts (VME, PVI: SDM 3B 20.3,
 * 20.4).
 */
#include "cpu/exception.h"
#include "cpu/insn.h"

bool op_INT3(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return interrupt_deliver(v, VEC_BP, EVENT_SOFTWARE, false, 0, v->next_rip);
}

bool op_INT_Ib(struct vcpu *v, const struct insn *i)
{
    return interrupt_software(v, (u8)i->imm);
}

bool op_INTO(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (!(v->rflags & F_OF))
        return true;
    return interrupt_deliver(v, VEC_OF, EVENT_SOFTWARE, false, 0, v->next_rip);
}

bool op_INT1(struct vcpu *v, const struct insn *i)
{
    (void)i;
    return interrupt_deliver(v, VEC_DB, EVENT_ICEBP, false, 0, v->next_rip);
}

bool op_HLT(struct vcpu *v, const struct insn *i)
{
    (void)i;
    if (v->cpl)
        return raise_gp(v, 0);
    vcpu_set_activity(v, ACTIVITY_HLT);
    vcpu_signal(v, EVENT_TRAP);
    return true;
}

/* Which flag CLI and STI act on: IF, VIF, or 0: #GP(0) (SDM 2 "STI", table 4-19). */
static u32 interrupt_flag(const struct vcpu *v)
{
    if (vcpu_real_mode(v) || vcpu_iopl(v) >= v->cpl)
        return F_IF;
    if (vcpu_v86(v))
        return v->cr4 & CR4_VME ? F_VIF : 0;
    return v->cpl == 3 && (v->cr4 & CR4_PVI) ? F_VIF : 0;
}

bool op_CLI(struct vcpu *v, const struct insn *i)
{
    u32 flag = interrupt_flag(v);

    (void)i;
    if (!flag)
        return raise_gp(v, 0);
    v->rflags &= ~(u64)flag;
    return true;
}

bool op_STI(struct vcpu *v, const struct insn *i)
{
    u32 flag = interrupt_flag(v);

    (void)i;
    if (!flag || (flag == F_VIF && (v->rflags & F_VIP)))
        return raise_gp(v, 0);
    if (flag == F_IF && !(v->rflags & F_IF)) {
        v->shadow = 1;
        vcpu_signal(v, EVENT_TRAP);
    }
    v->rflags |= flag;
    return true;
}
