/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP, PUSHF, ENTER and LEAVE on a flat stack as wide as the code.
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

enum stack_kind {
    STACK_NONE,
    STACK_PUSH,
    STACK_PUSH_IMM,
    STACK_PUSH_MEM,
    STACK_PUSHF,
    STACK_POP,
    STACK_POP_MEM,
    STACK_ENTER,
    STACK_LEAVE
};

static enum stack_kind kind_of(const struct translator *t, const struct insn *i)
{
    if (i->osz != lower_stack_bytes(t) || !(t->j->options.optimisations & JIT_MEMORY) ||
        ((i->flags & I_MEM) && !lower_can_address(t, i)))
        return STACK_NONE;
    switch (i->id) {
    case INSN_PUSH_Zv: return STACK_PUSH;
    case INSN_PUSH_Ev: return i->flags & I_MEM ? STACK_PUSH_MEM : STACK_PUSH;
    case INSN_PUSH_Iz:
    case INSN_PUSH_Ibs: return STACK_PUSH_IMM;
    case INSN_PUSHF: return STACK_PUSHF;
    case INSN_POP_Zv: return STACK_POP;
    case INSN_POP_Ev: return i->flags & I_MEM ? STACK_POP_MEM : STACK_POP;
    case INSN_ENTER_IwIb: return i->imm2 % 32 ? STACK_NONE : STACK_ENTER;
    case INSN_LEAVE: return STACK_LEAVE;
    default: return STACK_NONE;
    }
}

static void kind_ref(const struct translator *t, enum stack_kind kind, struct mem_ref *ref)
{
    if (kind == STACK_LEAVE)
        lower_stack_ref(t, RBP, 0, false, ref);
    else if (kind == STACK_POP || kind == STACK_POP_MEM)
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
    if (kind != STACK_PUSH_MEM && kind != STACK_POP_MEM && kind != STACK_ENTER)
        kind_ref(t, kind, ref);
    effects->adjusted = RSP;
    effects->by = kind == STACK_POP || kind == STACK_POP_MEM ? bytes : -bytes;
    if (kind == STACK_POP)
        effects->written = (u32)BIT(ji->insn.rm);
    if (kind == STACK_LEAVE || kind == STACK_ENTER)
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

/* The value waits in the vCPU while the other address is checked. */
static void push_memory(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at;
    unsigned size = lower_stack_bytes(t);
    struct mem_ref ref;

    lower_ref(t, ji, size, false, &ref);
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T0, &at, size);
    emit_store(t->e, &value, T0, 8);
    kind_ref(t, STACK_PUSH_MEM, &ref);
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T1, &value, 8);
    emit_store(t->e, &at, T1, size);
    lower_stack_move(t, -(i32)size);
}

/* An address based on rSP uses the incremented one. */
static void pop_memory(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at;
    unsigned size = lower_stack_bytes(t);
    struct mem_ref ref;

    kind_ref(t, STACK_POP_MEM, &ref);
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T0, &at, size);
    emit_store(t->e, &value, T0, 8);
    lower_ref(t, ji, size, true, &ref);
    if (ref.base == RSP)
        ref.disp += size;
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T1, &value, 8);
    emit_store(t->e, &at, T1, size);
    lower_stack_move(t, (i32)size);
}

/* Level 0. The place that the frame ends at must be writable, too (SDM 2A ENTER). */
static void enter(struct translator *t, const struct jit_insn *ji)
{
    i32 size = (i32)lower_stack_bytes(t), locals = (u16)ji->insn.imm;
    struct emit_mem slot;
    struct mem_ref ref;

    lower_stack_ref(t, RSP, -size - locals, true, &ref);
    lower_access_alone(t, ji, &ref);
    kind_ref(t, STACK_ENTER, &ref);
    slot = lower_access_alone(t, ji, &ref);
    emit_store(t->e, &slot, HOST_RBP, (unsigned)size);
    lower_stack_move(t, -size);
    if (size == 8)
        emit_mov(t->e, HOST_RBP, HOST_GUEST_RSP);
    else
        emit_mov32(t->e, HOST_RBP, HOST_GUEST_RSP);
    lower_stack_move(t, -locals);
}

/* The arithmetic flags from JF among the others; VM and RF are pushed as 0. */
static void pushf(struct translator *t, const struct emit_mem *slot)
{
    struct emit_mem rflags = VCPU_AT(rflags), jf = VCPU_AT(jit.flags), saved = VCPU_AT(jit.entry);
    struct emit *e = t->e;

    emit_store(e, &saved, HOST_RAX, 8);
    emit_load(e, HOST_RAX, &jf, 2);
    emit_mov32(e, T1, HOST_RAX);
    emit_op_reg(e, 0, 0xc1, T1, 5); /* shr t1d, 8: LAHF's */
    emit_value(e, 8, 1);
    emit_op_reg(e, 0, 0x81, T1, 4); /* and */
    emit_value(e, F_OSZAPC & ~(u32)F_OF, 4);
    emit_op_reg(e, 0, 0x83, HOST_RAX, 4); /* and eax, 1: SETO's */
    emit_value(e, 1, 1);
    emit_op_reg(e, 0, 0xc1, HOST_RAX, 4); /* shl eax, 11 */
    emit_value(e, 11, 1);
    emit_op_reg(e, 0, 0x0b, T1, HOST_RAX); /* or eax, t1d */
    emit_load(e, T1, &rflags, 4);
    emit_op_reg(e, 0, 0x81, T1, 4);
    emit_value(e, (u32) ~(F_OSZAPC | F_VM | F_RF), 4);
    emit_op_reg(e, 0, 0x0b, HOST_RAX, T1);
    emit_load(e, HOST_RAX, &saved, 8);
    emit_store(e, slot, T1, lower_stack_bytes(t));
    lower_stack_move(t, -(i32)lower_stack_bytes(t));
}

bool lower_stack(struct translator *t, const struct jit_insn *ji)
{
    enum stack_kind kind = kind_of(t, &ji->insn);
    struct emit_mem slot;
    struct mem_ref ref;

    if (kind == STACK_NONE)
        return false;
    switch (kind) {
    case STACK_PUSH_MEM: push_memory(t, ji); return true;
    case STACK_POP_MEM: pop_memory(t, ji); return true;
    case STACK_ENTER: enter(t, ji); return true;
    case STACK_PUSHF: lower_save_flags(t); break;
    default: break;
    }
    kind_ref(t, kind, &ref);
    slot = lower_access(t, ji, &ref);
    if (kind == STACK_POP)
        pop(t, ji, &slot);
    else if (kind == STACK_LEAVE)
        leave(t, &slot);
    else if (kind == STACK_PUSHF)
        pushf(t, &slot);
    else
        push(t, ji, &slot, kind == STACK_PUSH_IMM);
    return true;
}
