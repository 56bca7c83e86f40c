/* SPDX-License-Identifier: MIT
 *
 * PUSH, POP, PUSHF, ENTER and LEAVE. The stack pointer has the width of the stack; outside 64-bit
 * mode the operand may have another one.
 */
#include "jit/lower/lower.h"

unsigned lower_stack_bytes(const struct translator *t)
{
    return t->block->mode & MODE_CODE64 ? 8 : t->block->mode & MODE_STACK16 ? 2 : 4;
}

void lower_stack_ref(const struct translator *t, unsigned base, i32 offset, unsigned size,
                     bool write, struct mem_ref *ref)
{
    *ref = (struct mem_ref){.base = (u8)base,
                            .index = REG_NONE,
                            .asz = (u8)lower_stack_bytes(t),
                            .seg = lower_segment_of(t, SEG_SS),
                            .size = (u8)size,
                            .write = write,
                            .disp = offset};
}

void lower_stack_move(struct translator *t, i32 bytes)
{
    lower_advance(t, RSP, bytes, lower_stack_bytes(t));
}

/* A 16-bit stack pointer wraps. */
void lower_stack_moved(const struct translator *t, i32 bytes, struct reg_effects *effects)
{
    if (t->block->mode & MODE_STACK16) {
        effects->written |= (u32)BIT(RSP);
        return;
    }
    effects->adjusted = RSP;
    effects->by = bytes;
}

enum stack_kind {
    STACK_NONE,
    STACK_PUSH,
    STACK_PUSH_IMM,
    STACK_PUSH_MEM,
    STACK_PUSHF,
    STACK_PUSH_SEG,
    STACK_POP,
    STACK_POP_MEM,
    STACK_ENTER,
    STACK_LEAVE
};

/* PUSHF in virtual-8086 mode depends on IOPL. */
static bool virtual_8086(const struct translator *t)
{
    return !(t->block->mode & MODE_PROTECTED) && jit_context(t->block->mode) == TLB_USER;
}

/* Frames, and addresses from the popped stack pointer, are inline where all has one width. */
static bool one_width(const struct translator *t, const struct insn *i)
{
    return i->osz == lower_stack_bytes(t);
}

static enum stack_kind kind_of(const struct translator *t, const struct insn *i)
{
    if (!lower_usual_size(t->block, i) || !(t->j->options.optimisations & JIT_MEMORY) ||
        ((i->flags & I_MEM) && !lower_can_address(t, i)))
        return STACK_NONE;
    switch (i->id) {
    case INSN_PUSH_Zv: return STACK_PUSH;
    case INSN_PUSH_Ev: return i->flags & I_MEM ? STACK_PUSH_MEM : STACK_PUSH;
    case INSN_PUSH_Iz:
    case INSN_PUSH_Ibs: return STACK_PUSH_IMM;
    case INSN_PUSHF: return virtual_8086(t) ? STACK_NONE : STACK_PUSHF;
    case INSN_PUSH_ES:
    case INSN_PUSH_CS:
    case INSN_PUSH_SS:
    case INSN_PUSH_DS:
    case INSN_PUSH_FS:
    case INSN_PUSH_GS: return STACK_PUSH_SEG;
    case INSN_POP_Zv: return STACK_POP;
    case INSN_POP_Ev:
        if (!(i->flags & I_MEM))
            return STACK_POP;
        return i->base == RSP && !one_width(t, i) ? STACK_NONE : STACK_POP_MEM;
    case INSN_ENTER_IwIb: /* of a check without an access the window knows nothing */
        return i->imm2 % 32 || !one_width(t, i) || (t->block->mode & MODE_WINDOW) ? STACK_NONE
                                                                                  : STACK_ENTER;
    case INSN_LEAVE: return one_width(t, i) ? STACK_LEAVE : STACK_NONE;
    default: return STACK_NONE;
    }
}

static bool pops(enum stack_kind kind)
{
    return kind == STACK_POP || kind == STACK_POP_MEM;
}

static void kind_ref(const struct translator *t, enum stack_kind kind, unsigned size,
                     struct mem_ref *ref)
{
    if (kind == STACK_LEAVE)
        lower_stack_ref(t, RBP, 0, size, false, ref);
    else if (pops(kind))
        lower_stack_ref(t, RSP, 0, size, false, ref);
    else
        lower_stack_ref(t, RSP, -(i32)size, size, true, ref);
}

bool lower_stack_describe(const struct translator *t, const struct jit_insn *ji,
                          struct mem_ref *ref, struct reg_effects *effects)
{
    enum stack_kind kind = kind_of(t, &ji->insn);
    i32 bytes = ji->insn.osz;

    if (kind == STACK_NONE)
        return false;
    if (kind != STACK_PUSH_MEM && kind != STACK_POP_MEM && kind != STACK_ENTER)
        kind_ref(t, kind, ji->insn.osz, ref);
    lower_stack_moved(t, pops(kind) ? bytes : -bytes, effects);
    if (kind == STACK_POP)
        effects->written |= (u32)BIT(ji->insn.rm);
    if (kind == STACK_LEAVE || kind == STACK_ENTER)
        effects->written |= (u32)(BIT(RSP) | BIT(RBP));
    if (effects->written & BIT(RSP))
        effects->adjusted = REG_NONE;
    return true;
}

/* -- code -- */

/* The low bytes of a register; those above 2 stay, those above 4 are cleared. */
static void move(struct translator *t, unsigned to, unsigned from, unsigned size)
{
    if (size == 2)
        emit_op_reg(t->e, EMIT_66, 0x8b, from, to);
    else if (size == 4)
        emit_mov32(t->e, to, from);
    else
        emit_mov(t->e, to, from);
}

static void push(struct translator *t, const struct jit_insn *ji, const struct emit_mem *slot,
                 bool immediate)
{
    unsigned size = ji->insn.osz;

    if (immediate)
        emit_store_imm(t->e, slot, (i32)ji->insn.imm, size);
    else
        emit_store(t->e, slot, lower_use(t, ji->insn.rm, T1), size);
    lower_stack_move(t, -(i32)size);
}

static unsigned pushed_segment(const struct insn *i)
{
    switch (i->id) {
    case INSN_PUSH_ES: return SEG_ES;
    case INSN_PUSH_CS: return SEG_CS;
    case INSN_PUSH_SS: return SEG_SS;
    case INSN_PUSH_DS: return SEG_DS;
    case INSN_PUSH_FS: return SEG_FS;
    default: return SEG_GS;
    }
}

/* Zero-extended to the operand size. */
static void push_segment(struct translator *t, const struct insn *i, const struct emit_mem *slot)
{
    struct emit_mem selector =
        emit_gs((i32)(offsetof(struct vcpu, seg) + pushed_segment(i) * sizeof(struct segment) +
                      offsetof(struct segment, selector)));

    emit_load(t->e, T1, &selector, 2);
    emit_store(t->e, slot, T1, i->osz);
    lower_stack_move(t, -(i32)i->osz);
}

/* The last access of an instruction: nothing can go wrong behind it. POP RSP: the value, not its
 * sum. */
static void pop(struct translator *t, const struct jit_insn *ji, const struct emit_mem *slot)
{
    unsigned host = host_of(ji->insn.rm), size = ji->insn.osz;

    if (size == 8 && host != HOST_NONE && host != HOST_GUEST_RSP) {
        emit_load(t->e, host, slot, 8);
        lower_stack_move(t, 8);
        return;
    }
    emit_load(t->e, T1, slot, size);
    lower_stack_move(t, (i32)size);
    if (host == HOST_NONE)
        lower_put(t, ji->insn.rm, T1);
    else
        move(t, host, T1, size);
}

static void leave(struct translator *t, const struct emit_mem *slot)
{
    unsigned size = lower_stack_bytes(t);
    struct emit_mem above = emit_at(HOST_RBP, 8);

    emit_load(t->e, T1, slot, size);
    if (size == 8) {
        emit_lea(t->e, HOST_GUEST_RSP, &above, 8);
        emit_mov(t->e, HOST_RBP, T1);
        return;
    }
    move(t, HOST_GUEST_RSP, HOST_RBP, size);
    lower_stack_move(t, (i32)size);
    move(t, HOST_RBP, T1, size);
}

/* The value waits in the vCPU while the other address is checked. */
static void push_memory(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at;
    unsigned size = ji->insn.osz;
    struct mem_ref ref;

    lower_ref(t, ji, size, false, &ref);
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T0, &at, size);
    emit_store(t->e, &value, T0, 8);
    kind_ref(t, STACK_PUSH_MEM, size, &ref);
    at = lower_access_alone(t, ji, &ref);
    emit_load(t->e, T1, &value, 8);
    emit_store(t->e, &at, T1, size);
    lower_stack_move(t, -(i32)size);
}

/* An address based on rSP uses the incremented one. */
static void pop_memory(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at;
    unsigned size = ji->insn.osz;
    struct mem_ref ref;

    kind_ref(t, STACK_POP_MEM, size, &ref);
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

/* Level 0. The place that the frame ends at must be writable, too (SDM 2A ENTER), but that is
 * looked at behind the push. */
static void enter(struct translator *t, const struct jit_insn *ji)
{
    i32 size = (i32)lower_stack_bytes(t), locals = (u16)ji->insn.imm;
    struct emit_mem host = VCPU_AT(jit.entry), slot = emit_at(T0, 0);
    struct mem_ref ref;

    kind_ref(t, STACK_ENTER, (unsigned)size, &ref);
    lower_access_alone(t, ji, &ref);
    emit_store(t->e, &host, T0, 8);
    lower_stack_ref(t, RSP, -size - locals, (unsigned)size, true, &ref);
    lower_access_alone(t, ji, &ref);
    emit_load(t->e, T0, &host, 8);
    emit_store(t->e, &slot, HOST_RBP, (unsigned)size);
    lower_stack_move(t, -size);
    move(t, HOST_RBP, HOST_GUEST_RSP, (unsigned)size);
    lower_stack_move(t, -locals);
}

/* The arithmetic flags from JF among the others; VM and RF are pushed as 0. */
static void pushf(struct translator *t, const struct emit_mem *slot, unsigned size)
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
    emit_store(e, slot, T1, size);
    lower_stack_move(t, -(i32)size);
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
    kind_ref(t, kind, ji->insn.osz, &ref);
    slot = lower_access(t, ji, &ref);
    if (kind == STACK_POP)
        pop(t, ji, &slot);
    else if (kind == STACK_LEAVE)
        leave(t, &slot);
    else if (kind == STACK_PUSHF)
        pushf(t, &slot, ji->insn.osz);
    else if (kind == STACK_PUSH_SEG)
        push_segment(t, &ji->insn, &slot);
    else
        push(t, ji, &slot, kind == STACK_PUSH_IMM);
    return true;
}
