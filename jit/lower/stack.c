/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP and LEAVE with registers and immediates, on a flat stack as wide as the code.
 */
#include "jit/lower/lower.h"

static unsigned stack_bytes(const struct translator *t)
{
    return t->block->mode & MODE_STACK64 ? 8 : 4;
}

/* T0 = RSP + offset. */
static void stack_address(struct translator *t, unsigned base, i32 offset)
{
    struct emit_mem m = emit_at(base, offset);

    emit_lea(t->e, T0, &m, stack_bytes(t));
}

void lower_stack_move(struct translator *t, i32 bytes)
{
    struct emit_mem m = emit_at(HOST_GUEST_RSP, bytes);

    emit_lea(t->e, HOST_GUEST_RSP, &m, stack_bytes(t));
}

void lower_push_slot(struct translator *t, const struct jit_insn *ji)
{
    lower_save_flags(t);
    stack_address(t, HOST_GUEST_RSP, -(i32)stack_bytes(t));
    lower_check(t, ji, stack_bytes(t), true);
}

void lower_stack_top(struct translator *t, const struct jit_insn *ji)
{
    lower_save_flags(t);
    if (stack_bytes(t) == 8)
        emit_mov(t->e, T0, HOST_GUEST_RSP);
    else
        emit_mov32(t->e, T0, HOST_GUEST_RSP);
    lower_check(t, ji, stack_bytes(t), false);
}

static void push(struct translator *t, const struct jit_insn *ji, bool immediate)
{
    struct emit_mem slot = emit_at(T0, 0);

    lower_push_slot(t, ji);
    if (immediate)
        emit_store_imm(t->e, &slot, (i32)ji->insn.imm, stack_bytes(t));
    else
        emit_store(t->e, &slot, lower_use(t, ji->insn.rm, T1), stack_bytes(t));
    lower_stack_move(t, -(i32)stack_bytes(t));
}

static void pop(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem slot = emit_at(T0, 0);
    unsigned to = host_of(ji->insn.rm);

    lower_stack_top(t, ji);
    lower_stack_move(t, (i32)stack_bytes(t));
    if (to == HOST_NONE)
        to = T1;
    emit_load(t->e, to, &slot, stack_bytes(t)); /* POP RSP: the value, not its sum */
    lower_put(t, ji->insn.rm, to);
}

static void leave(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem slot = emit_at(T0, 0);

    lower_save_flags(t);
    stack_address(t, HOST_RBP, 0);
    lower_check(t, ji, stack_bytes(t), false);
    emit_mov(t->e, HOST_GUEST_RSP, HOST_RBP);
    lower_stack_move(t, (i32)stack_bytes(t));
    emit_load(t->e, HOST_RBP, &slot, stack_bytes(t));
}

bool lower_stack(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;

    if (i->osz != stack_bytes(t) || !(t->j->options.optimisations & JIT_MEMORY))
        return false;
    switch (i->id) {
    case INSN_PUSH_Zv: push(t, ji, false); return true;
    case INSN_PUSH_Ev:
        if (i->flags & I_MEM)
            return false;
        push(t, ji, false);
        return true;
    case INSN_PUSH_Iz:
    case INSN_PUSH_Ibs: push(t, ji, true); return true;
    case INSN_POP_Zv: pop(t, ji); return true;
    case INSN_LEAVE: leave(t, ji); return true;
    default: return false;
    }
}
