/* SPDX-License-Identifier: MIT
 *
 * Accesses by the window (mem/window.h): the instruction as it is, at the guest's own address. What
 * comes before it is the proof that this is nowhere near the emulator, by a load from the guard,
 * which faults if it is not. It touches no flags, and holds for a register until that becomes
 * something else.
 *
 * A fault at the proof or the access hands the instruction to its body (jit/window.c), as a check
 * that misses does; if others rely on the proof, the block is left then. So here, too, nothing that
 * the guest can see may change before its last access.
 *
 * RSP is proved wherever a block begins: who enters translated code looks at it (MODE_WINDOW), and
 * so does who leaves a block for another. A stack that grows by and by is proved by the accesses
 * themselves: beside the emulator no page is mapped.
 */
#include "jit/lower/lower.h"
#include "mem/window.h"

enum {
    DRIFT = 1 << 16, /* how far an instruction may move a register that stays proved */
    SMALL = 1 << 16, /* what an index may be that needs no proof */
    DISP_MAX = WINDOW_REACH / 2,
};
static_assert(2 * BLOCK_INSNS * DRIFT + 8 * SMALL <= WINDOW_REACH / 2, "a proof holds in a block");

static u32 bit_of(unsigned guest)
{
    return guest == REG_NONE ? 0 : (u32)BIT(guest);
}

/* -- what is known of registers -- */

/* If the first copy of a loop goes on at the second one for the first time: what is proved here
 * stays so if no turn changes it. */
static void note_lasting(struct translator *t, const struct jit_insn *ji)
{
    u32 changed = 0;

    if (!t->loop.on || t->loop.second || t->block->count - 1u - ji->behind != t->loop.first)
        return;
    for (unsigned n = 0; n < t->block->count; n++)
        changed |= lower_changed(&t->described[n].effects);
    t->loop.proved = t->proved & ~changed;
}

void lower_window_begin(struct translator *t)
{
    t->proved = t->block->mode & MODE_WINDOW ? bit_of(RSP) : 0;
    if (t->loop.second)
        t->proved |= t->loop.proved;
    t->small = 0;
    t->moved = t->touched = false;
}

static bool is_small(const struct insn *i)
{
    switch (i->id) {
    case INSN_MOVZX_GvEb:
    case INSN_MOVZX_GvEw: return i->osz >= 4;
    default: return false;
    }
}

/* The register that a MOV between whole registers copies, or REG_NONE. */
static unsigned copied(const struct insn *i, unsigned *to)
{
    if ((i->flags & I_MEM) || i->osz != 8)
        return REG_NONE;
    switch (i->id) {
    case INSN_MOV_EvGv: *to = i->rm; return i->reg;
    case INSN_MOV_GvEv: *to = i->reg; return i->rm;
    default: return REG_NONE;
    }
}

/* RSP = RBP + 8, where RBP was read. */
static bool leaves_frame(const struct insn *i)
{
    return i->id == INSN_LEAVE && i->osz == 8;
}

void lower_window_follow(struct translator *t, const struct jit_insn *ji)
{
    const struct reg_effects *effects = &t->described[t->block->count - 1 - ji->behind].effects;
    unsigned to = REG_NONE, from = copied(&ji->insn, &to);
    bool far = effects->by > DRIFT || effects->by < -DRIFT, touched = t->touched;
    u32 before = t->proved;

    t->touched = false;
    if (effects->all) { /* it is still in this mode */
        lower_window_begin(t);
        return;
    }
    t->proved &= ~effects->written;
    t->small &= ~lower_changed(effects);
    if (from != REG_NONE && (before & bit_of(from)))
        t->proved |= bit_of(to);
    if (leaves_frame(&ji->insn) && (before & bit_of(RBP)))
        t->proved |= bit_of(RSP);
    if (effects->written & bit_of(RSP)) /* what it was may have moved since it was proved */
        t->moved = true;
    if (is_small(&ji->insn))
        t->small |= bit_of(ji->insn.reg);
    if (effects->adjusted == REG_NONE)
        return;
    if (far)
        t->proved &= ~bit_of(effects->adjusted);
    else if (effects->adjusted == RSP && !touched)
        t->moved = true;
}

/* -- code -- */

/* Faults unless the address in a host register is near none of the emulator's. */
static void prove(struct translator *t, unsigned host, unsigned scratch)
{
    struct emit_mem guard = {
        .base = (u8)scratch, .index = HOST_NONE, .gs = true, .cut = true, .disp = WINDOW_GUARD_AT};
    const struct emit_vex rorx = {.map = 3, .pp = 3, .w = true, .opcode = 0xf0};

    emit_vex_reg(t->e, &rorx, host, scratch, 0);
    emit_value(t->e, WINDOW_GUARD_SHIFT, 1);
    emit_op_mem(t->e, 0, 0x8a, &guard, scratch); /* mov scratch8, guard[...] */
}

static struct miss_site *new_site(struct translator *t, const struct jit_insn *ji)
{
    struct miss_site *site = lower_give_up(t, ji, NULL);

    site->window_from = emit_here(t->e);
    return site;
}

/* CALL and RET move RSP, and look at the stack before. */
static bool uses_stack(const struct insn *i)
{
    switch (i->id) {
    case INSN_CALL_Jz:
    case INSN_CALL_Ev:
    case INSN_RET:
    case INSN_RET_Iw: return true;
    default: return false;
    }
}

static void settle(struct translator *t, const struct jit_insn *ji, u64 rip, u32 behind)
{
    struct miss_site *site;

    if (!(t->block->mode & MODE_WINDOW) || ((t->proved & bit_of(RSP)) && !t->moved))
        return;
    site = new_site(t, ji);
    site->leave_rip = rip;
    site->leave_behind = behind;
    site->leave = true;
    prove(t, HOST_GUEST_RSP, T0);
    t->proved |= bit_of(RSP);
    t->moved = false;
}

void lower_window_settle(struct translator *t, const struct jit_insn *ji)
{
    note_lasting(t, ji);
    if (uses_stack(&ji->insn)) {
        if (!jit_is_restless(t->j, t->block, ji))
            return;
        t->moved = true; /* or it is moved again and again by who asks the TLB */
    }
    settle(t, ji, ji->rip, ji->behind + 1u);
}

void lower_window_end(struct translator *t, const struct jit_insn *last, u64 next)
{
    note_lasting(t, last);
    settle(t, last, next, 0);
}

/* [segment base + disp]. */
static struct emit_mem by_segment(struct translator *t, const struct mem_ref *ref)
{
    struct emit_mem base =
        emit_gs((i32)(offsetof(struct vcpu, seg) + ref->seg * sizeof(struct segment) +
                      offsetof(struct segment, base)));

    emit_load(t->e, T0, &base, 8);
    prove(t, T0, T1);
    return emit_at(T0, (i32)ref->disp);
}

/* [base + index << scale + disp], proved by the base if that is not done yet. If others will rely
 * on the proof the block cannot go on without it; the access has a site of its own then. */
static struct emit_mem by_base(struct translator *t, const struct jit_insn *ji,
                               struct miss_site *site, const struct mem_ref *ref)
{
    unsigned host = lower_use(t, ref->base, T0);
    struct emit_mem at = emit_at(host, (i32)ref->disp);

    if (!(t->proved & bit_of(ref->base))) {
        prove(t, host, host == T0 ? T1 : T0);
        if (!t->block->one_by_one) {
            t->proved |= bit_of(ref->base);
            site->leaves = true;
            new_site(t, ji)->size = ref->size;
        }
    }
    if (ref->base == RSP && ref->index == REG_NONE && ref->disp >= -DRIFT && ref->disp <= DRIFT) {
        t->moved = false;
        t->touched = true;
    }
    if (ref->index != REG_NONE) {
        at.index = (u8)lower_use(t, ref->index, T0);
        at.scale = ref->scale;
    }
    return at;
}

/* T0: the address. Keeps flags, uses T1. */
static struct emit_mem by_address(struct translator *t, const struct mem_ref *ref)
{
    struct mem_ref flat = *ref;
    struct emit_mem base, sum = {.base = T0, .index = T1};

    flat.seg = REF_FLAT;
    lower_address(t, &flat, 0);
    if (ref->seg != REF_FLAT) {
        base = emit_gs((i32)(offsetof(struct vcpu, seg) + ref->seg * sizeof(struct segment) +
                             offsetof(struct segment, base)));
        emit_load(t->e, T1, &base, 8);
        emit_lea(t->e, T0, &sum, 8);
    }
    prove(t, T0, T1);
    return emit_at(T0, 0);
}

/* The address is proved here and now, but for a small index. */
static struct emit_mem by_constant(struct translator *t, const struct mem_ref *ref)
{
    struct emit_mem at = emit_at(HOST_NONE, (i32)ref->disp);

    if (ref->index != REG_NONE) {
        at.index = (u8)lower_use(t, ref->index, T0);
        at.scale = ref->scale;
    } else if (ref->disp != (i32)ref->disp) {
        emit_mov_imm(t->e, T0, (u64)ref->disp);
        at = emit_at(T0, 0);
    }
    return at;
}

/* -- which -- */

enum way { BY_CONSTANT, BY_BASE, BY_SEGMENT, BY_ADDRESS };

static enum way way_of(const struct translator *t, const struct mem_ref *ref)
{
    bool flat = ref->seg == REF_FLAT && ref->asz == 8;
    bool near = ref->disp > -DISP_MAX && ref->disp < DISP_MAX;
    bool small = !(bit_of(ref->index) & ~t->small);

    if (ref->base == REG_NONE && ref->index == REG_NONE)
        return flat ? BY_CONSTANT : ref->asz == 8 && near ? BY_SEGMENT : BY_ADDRESS;
    if (!flat || !small)
        return BY_ADDRESS;
    if (ref->base == REG_NONE)
        return ref->disp == (i32)ref->disp ? BY_CONSTANT : BY_ADDRESS;
    if (ref->index != REG_NONE && host_of(ref->base) == HOST_NONE &&
        host_of(ref->index) == HOST_NONE)
        return BY_ADDRESS;
    return near ? BY_BASE : BY_ADDRESS;
}

bool lower_by_window(struct translator *t, const struct jit_insn *ji, const struct mem_ref *ref,
                     struct emit_mem *at)
{
    struct miss_site *site;
    enum way way;

    if (!(t->block->mode & MODE_WINDOW) || jit_is_restless(t->j, t->block, ji))
        return false;
    way = way_of(t, ref);
    if (way == BY_CONSTANT && !window_open(t->j->window, (u64)ref->disp))
        return false;
    site = new_site(t, ji);
    site->size = ref->size;
    switch (way) {
    case BY_CONSTANT: *at = by_constant(t, ref); break;
    case BY_BASE: *at = by_base(t, ji, site, ref); break;
    case BY_SEGMENT: *at = by_segment(t, ref); break;
    default: *at = by_address(t, ref); break;
    }
    return true;
}
