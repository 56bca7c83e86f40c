/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP and LEAVE with registers and immediates, on a flat stack as wide as the code.
 */
#include "jit/lower/lower.h"

unsigned lower_stack_bytes(const struct translator *t)
{
    return t->block->mode & MODE_STACK64 ? 8 : 4;
}

void lower_stack_ref(const struct translator *t, unsigned base, i32 offset, bool write,
                     struct mem_ref *ref)
{
    *ref = (struct mem_ref){.base = (u8)base,
                            .index = REG_NONE,
                            .asz = (u8)lower_stack_bytes(t),
                            .seg = SEG_DS,
                            .size = (u8)lower_stack_bytes(t),
                            .write = write,
                            .disp = offset};
}

void lower_stack_move(struct translator *t, i32 bytes)
{
    struct emit_mem m = emit_at(HOST_GUEST_RSP, bytes);

    emit_lea(t->e, HOST_GUEST_RSP, &m, lower_stack_bytes(t));
}

enum stack_kind { STACK_NONE, STACK_PUSH, STACK_PUSH_IMM, STACK_POP, STACK_LEAVE };

static enum stack_kind kind_of(const struct translator *t, const struct insn *i)
{
    if (i->osz != lower_stack_bytes(t) || !(t->j->options.optimisations & JIT_MEMORY))
        return STACK_NONE;
    switch (i->id) {
    case INSN_PUSH_Zv: return STACK_PUSH;
    case INSN_PUSH_Ev: return i->flags & I_MEM ? STACK_NONE : STACK_PUSH;
    case INSN_PUSH_Iz:
    case INSN_PUSH_Ibs: return STACK_PUSH_IMM;
    case INSN_POP_Zv: return STACK_POP;
    case INSN_LEAVE: return STACK_LEAVE;
    default: return STACK_NONE;
    }
}

static void kind_ref(const struct translator *t, enum stack_kind kind, struct mem_ref *ref)
{
    if (kind == STACK_LEAVE)
        lower_stack_ref(t, RBP, 0, false, ref);
    else if (kind == STACK_POP)
        lower_stack_ref(t, RSP, 0, false, ref);
    else
        lower_stack_ref(t, RSP, -(i32)lower_stack_bytes(t), true, ref);
}

bool lower_stack_describe(const struct translator *t, const struct jit_insn *ji,
                          struct mem_ref *ref, struct reg_effects *effects)
{
    enum stack_kind kind = kind_of(t, &ji->insn);
    i32 bytes = (i32)lower_stack_bytes(t);

    if (kind == STACK_NONE)
        return false;
    kind_ref(t, kind, ref);
    effects->adjusted = RSP;
    effects->by = kind == STACK_POP ? bytes : -bytes;
    if (kind == STACK_POP)
        effects->written = (u32)BIT(ji->insn.rm);
    if (kind == STACK_LEAVE)
        effects->written = (u32)(BIT(RSP) | BIT(RBP));
    if (effects->written & BIT(RSP))
        effects->adjusted = REG_NONE;
    return true;
}

static void push(struct translator *t, const struct jit_insn *ji, const struct emit_mem *slot,
                 bool immediate)
{
    if (immediate)
        emit_store_imm(t->e, slot, (i32)ji->insn.imm, lower_stack_bytes(t));
    else
        emit_store(t->e, slot, lower_use(t, ji->insn.rm, T1), lower_stack_bytes(t));
    lower_stack_move(t, -(i32)lower_stack_bytes(t));
}

/* POP RSP: the value, not its sum. */
static void pop(struct translator *t, const struct jit_insn *ji, const struct emit_mem *slot)
{
    unsigned to = host_of(ji->insn.rm) == HOST_NONE ? T1 : host_of(ji->insn.rm);

    emit_load(t->e, T1, slot, lower_stack_bytes(t));
    lower_stack_move(t, (i32)lower_stack_bytes(t));
    emit_mov(t->e, to, T1);
    lower_put(t, ji->insn.rm, to);
}

static void leave(struct translator *t, const struct emit_mem *slot)
{
    emit_load(t->e, T1, slot, lower_stack_bytes(t));
    emit_mov(t->e, HOST_GUEST_RSP, HOST_RBP);
    lower_stack_move(t, (i32)lower_stack_bytes(t));
    emit_mov(t->e, HOST_RBP, T1);
}

bool lower_stack(struct translator *t, const struct jit_insn *ji)
{
    enum stack_kind kind = kind_of(t, &ji->insn);
    struct emit_mem slot;
    struct mem_ref ref;

    if (kind == STACK_NONE)
        return false;
    kind_ref(t, kind, &ref);
    slot = lower_access(t, ji, &ref);
    if (kind == STACK_POP)
        pop(t, ji, &slot);
    else if (kind == STACK_LEAVE)
        leave(t, &slot);
    else
        push(t, ji, &slot, kind == STACK_PUSH_IMM);
    return true;
}
