/* SPDX-License-Identifier: MIT
 *
 * XCHG, XADD, CMPXCHG, CMPXCHG8B and CMPXCHG16B (SDM 2).
 *
 * In memory they are atomic with and without LOCK: XCHG by definition, the others because that
 * costs nothing more here. All of them need the destination writable, also when it stays the same.
 */
#include "cpu/ops/flags.h"

/* Stores value and returns what was there. */
static u64 swap(struct vcpu *v, const struct rmw *m, u64 value)
{
    u64 old;

    rmw_lock(v, m);
    old = rmw_read(v, m);
    if (m->device)
        rmw_write(v, m, value);
    else
        while (!rmw_cas(v, m, &old, value))
            ;
    rmw_unlock(v, m);
    return old;
}

static ALWAYS_INLINE bool xchg(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 value = reg_read(v, i->reg, size), gla, old;
    struct rmw m;

    if (!(i->flags & I_MEM)) {
        old = reg_read(v, i->rm, size);
        reg_write(v, i->rm, size, value);
        reg_write(v, i->reg, size, old);
        return true;
    }
    if (!mem_linear(v, i, size, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, size, &m))
        return false;
    reg_write(v, i->reg, size, swap(v, &m, value));
    return true;
}

bool op_XCHG_EbGb(struct vcpu *v, const struct insn *i)
{
    return xchg(v, i, 1);
}

bool op_XCHG_EvGv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, xchg, v, i);
}

bool op_XCHG_ZvrAX(struct vcpu *v, const struct insn *i)
{
    u64 old = reg_read(v, i->rm, i->osz);

    reg_write(v, i->rm, i->osz, reg_read(v, RAX, i->osz));
    reg_write(v, RAX, i->osz, old);
    return true;
}

/* Adds to memory and returns what was there. */
static u64 fetch_add(struct vcpu *v, const struct rmw *m, u64 value)
{
    u64 old;

    rmw_lock(v, m);
    old = rmw_read(v, m);
    if (m->device)
        rmw_write(v, m, old + value);
    else
        while (!rmw_cas(v, m, &old, old + value))
            ;
    rmw_unlock(v, m);
    return old;
}

/* The sum is written last: it wins when both operands are one register. */
static ALWAYS_INLINE bool xadd(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 value = reg_read(v, i->reg, size), old, gla;
    struct rmw m;

    if (!(i->flags & I_MEM)) {
        old = reg_read(v, i->rm, size);
        reg_write(v, i->reg, size, old);
        reg_write(v, i->rm, size, old + value);
    } else {
        if (!mem_linear(v, i, size, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, size, &m))
            return false;
        old = fetch_add(v, &m, value);
        reg_write(v, i->reg, size, old);
    }
    flags_set(v, F_OSZAPC, flags_add(old, value, old + value, size));
    return true;
}

bool op_XADD_EbGb(struct vcpu *v, const struct insn *i)
{
    return xadd(v, i, 1);
}

bool op_XADD_EvGv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, xadd, v, i);
}

/* Only the register that takes part in the exchange is written: with 32-bit operands the other one
 * keeps its upper half. */
static ALWAYS_INLINE bool cmpxchg(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 rax = reg_read(v, RAX, size), value = reg_read(v, i->reg, size), old, gla;
    struct rmw m;
    bool equal;

    if (!(i->flags & I_MEM)) {
        old = reg_read(v, i->rm, size);
        equal = old == rax;
        if (equal)
            reg_write(v, i->rm, size, value);
    } else {
        if (!mem_linear(v, i, size, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, size, &m))
            return false;
        old = rax;
        equal = rmw_cmpxchg(v, &m, &old, value);
    }
    flags_set(v, F_OSZAPC, flags_sub(rax, old, rax - old, size));
    if (!equal)
        reg_write(v, RAX, size, old);
    return true;
}

bool op_CMPXCHG_EbGb(struct vcpu *v, const struct insn *i)
{
    return cmpxchg(v, i, 1);
}

bool op_CMPXCHG_EvGv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, cmpxchg, v, i);
}

bool op_CMPXCHG8B_Mq(struct vcpu *v, const struct insn *i)
{
    u64 old = v->gpr[RDX] << 32 | (u32)v->gpr[RAX];
    u64 value = v->gpr[RCX] << 32 | (u32)v->gpr[RBX];
    struct rmw m;
    u64 gla;

    if (!mem_linear(v, i, 8, ACCESS_WRITE, &gla) || !rmw_begin(v, gla, 8, &m))
        return false;
    if (rmw_cmpxchg(v, &m, &old, value)) {
        v->rflags |= F_ZF;
        return true;
    }
    v->rflags &= ~(u64)F_ZF;
    reg_write(v, RAX, 4, old);
    reg_write(v, RDX, 4, old >> 32);
    return true;
}

bool op_CMPXCHG16B_Mdq(struct vcpu *v, const struct insn *i)
{
    u64 old[2] = {v->gpr[RAX], v->gpr[RDX]};
    const u64 value[2] = {v->gpr[RBX], v->gpr[RCX]};
    struct rmw m;
    u64 gla;

    /* The operand is found misaligned before it is found beyond the limit (family 19h). */
    if (!mem_linear(v, i, 1, ACCESS_WRITE, &gla))
        return false;
    if (gla % 16)
        return raise_gp(v, 0);
    if (!mem_linear(v, i, 16, ACCESS_WRITE, &gla))
        return false;
    if (!rmw_begin(v, gla, 16, &m))
        return false;
    if (rmw_cas16(v, &m, old, value)) {
        v->rflags |= F_ZF;
        return true;
    }
    v->rflags &= ~(u64)F_ZF;
    v->gpr[RAX] = old[0];
    v->gpr[RDX] = old[1];
    return true;
}
