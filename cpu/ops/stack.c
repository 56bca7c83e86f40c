/* SPDX-License-Identifier: MIT
 *
 * Stack instructions without segment registers: PUSH, POP, PUSHA, POPA, ENTER, LEAVE (SDM 2).
 *
 * Those that make several accesses make them one after the other, as hardware does: a fault leaves
 * what was stored or loaded before it, and the stack pointer as it was. The stack pointer has the
 * width of the stack (v->stack_size), whatever the operand size.
 */
#include "cpu/ops/operand.h"

enum { ENTER_LEVELS = 32 };

bool op_PUSH_Zv(struct vcpu *v, const struct insn *i)
{
    return stack_push(v, v->gpr[i->rm], i->osz);
}

bool op_PUSH_Iz(struct vcpu *v, const struct insn *i)
{
    return stack_push(v, (u64)i->imm, i->osz);
}

bool op_PUSH_Ibs(struct vcpu *v, const struct insn *i)
{
    return stack_push(v, (u64)i->imm, i->osz);
}

bool op_PUSH_Ev(struct vcpu *v, const struct insn *i)
{
    u64 value;

    return rm_read(v, i, i->osz, &value) && stack_push(v, value, i->osz);
}

/* POP rSP: the value read wins over the increment. */
bool op_POP_Zv(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!stack_pop(v, i->osz, &value))
        return false;
    reg_write(v, i->rm, i->osz, value);
    return true;
}

/* An address based on rSP uses the incremented one. */
bool op_POP_Ev(struct vcpu *v, const struct insn *i)
{
    u64 value, rsp = v->gpr[RSP];

    if (!stack_pop(v, i->osz, &value))
        return false;
    if (rm_write(v, i, i->osz, value))
        return true;
    v->gpr[RSP] = rsp;
    return false;
}

/* -- all registers -- */

/* Whether size bytes can be written at SS:offset. */
static bool probe_push(struct vcpu *v, u64 offset, unsigned size)
{
    u64 gla;

    return seg_to_linear(v, SEG_SS, offset & stack_mask(v), size, ACCESS_WRITE, &gla) &&
           lin_aligned(v, gla, size) && lin_probe_write(v, gla, size);
}

bool op_PUSHA(struct vcpu *v, const struct insn *i)
{
    u64 rsp = v->gpr[RSP];

    for (unsigned r = RAX; r <= RDI; r++) {
        if (!stack_push(v, r == RSP ? rsp : v->gpr[r], i->osz)) {
            v->gpr[RSP] = rsp;
            return false;
        }
    }
    return true;
}

bool op_POPA(struct vcpu *v, const struct insn *i)
{
    u64 value;

    for (unsigned n = 0; n < 8; n++) {
        if (!stack_peek(v, n * i->osz, i->osz, &value))
            return false;
        if (RDI - n != RSP)
            reg_write(v, RDI - n, i->osz, value);
    }
    stack_set(v, v->gpr[RSP] + 8 * i->osz);
    return true;
}

/* -- frames -- */

/* Copies level - 1 frame pointers of the enclosing procedures, then pushes our own. */
static bool enter_display(struct vcpu *v, unsigned osz, unsigned level, u64 frame)
{
    u64 value;

    for (unsigned n = 1; n < level; n++) {
        if (!seg_read(v, SEG_SS, (v->gpr[RBP] - n * osz) & stack_mask(v), osz, &value) ||
            !stack_push(v, value, osz))
            return false;
    }
    return !level || stack_push(v, frame, osz);
}

bool op_ENTER_IwIb(struct vcpu *v, const struct insn *i)
{
    unsigned level = i->imm2 % ENTER_LEVELS, osz = i->osz;
    u64 rsp = v->gpr[RSP], frame;
    u64 final_rsp = rsp - (level + 1) * osz - (u16)i->imm;

    if (!stack_push(v, v->gpr[RBP], osz))
        return false;
    frame = v->gpr[RSP];
    /* The page and limit of the final stack pointer are checked, too (SDM 2A ENTER). */
    if (!enter_display(v, osz, level, frame) || !probe_push(v, final_rsp, osz)) {
        v->gpr[RSP] = rsp;
        return false;
    }
    stack_set(v, final_rsp);
    reg_write(v, RBP, osz, frame);
    return true;
}

bool op_LEAVE(struct vcpu *v, const struct insn *i)
{
    u64 rbp = v->gpr[RBP], value;

    if (!seg_read(v, SEG_SS, rbp & stack_mask(v), i->osz, &value))
        return false;
    stack_set(v, rbp + i->osz);
    reg_write(v, RBP, i->osz, value);
    return true;
}
