/* SPDX-License-Identifier: MIT
 *
 * Operand access for instruction bodies: general registers, effective addresses, ModRM operands.
 */
#pragma once

#include "cpu/access.h"
#include "cpu/insn.h"

/* A general register as size bytes; r may carry REG_HIGH for AH..BH when size is 1. */
static ALWAYS_INLINE u64 reg_read(const struct vcpu *v, unsigned r, unsigned size)
{
    switch (size) {
    case 1: return r & REG_HIGH ? (u8)(v->gpr[r & 3] >> 8) : (u8)v->gpr[r];
    case 2: return (u16)v->gpr[r];
    case 4: return (u32)v->gpr[r];
    default: return v->gpr[r];
    }
}

/* 8- and 16-bit writes keep the rest, 32-bit writes clear the upper half (SDM 1 3.4.1.1). */
static ALWAYS_INLINE void reg_write(struct vcpu *v, unsigned r, unsigned size, u64 value)
{
    switch (size) {
    case 1:
        if (r & REG_HIGH)
            v->gpr[r & 3] = (v->gpr[r & 3] & ~0xff00ull) | (value & 0xff) << 8;
        else
            v->gpr[r] = (v->gpr[r] & ~0xffull) | (value & 0xff);
        break;
    case 2: v->gpr[r] = (v->gpr[r] & ~0xffffull) | (value & 0xffff); break;
    case 4: v->gpr[r] = (u32)value; break;
    default: v->gpr[r] = value; break;
    }
}

static ALWAYS_INLINE u64 size_cut(u64 value, unsigned size)
{
    return value & (~0ull >> (64 - size * 8));
}

/* The offset part of the memory operand, cut to the address size. */
static ALWAYS_INLINE u64 mem_offset(const struct vcpu *v, const struct insn *i)
{
    u64 a = (u64)i->disp;

    if (i->base < 16)
        a += v->gpr[i->base];
    else if (i->base == REG_IP)
        a += v->next_rip;
    if (i->index < 16)
        a += v->gpr[i->index] << i->scale;
    return i->asz == 8 ? a : size_cut(a, i->asz);
}

/* Linear address of the memory operand, checked for an access of size bytes. */
static ALWAYS_INLINE bool mem_linear(struct vcpu *v, const struct insn *i, unsigned size,
                                     enum access_kind kind, u64 *gla)
{
    return seg_to_linear(v, (enum seg)i->seg, mem_offset(v, i), size, kind, gla);
}

/* Whether mem_linear() would find nothing wrong. */
static inline bool mem_try(const struct vcpu *v, const struct insn *i, unsigned size,
                           enum access_kind kind)
{
    u64 gla;

    return seg_try(v, (enum seg)i->seg, mem_offset(v, i), size, kind, &gla);
}

static ALWAYS_INLINE bool mem_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *value)
{
    u64 gla;

    return mem_linear(v, i, size, ACCESS_READ, &gla) && lin_read(v, gla, size, value);
}

static ALWAYS_INLINE bool mem_write(struct vcpu *v, const struct insn *i, unsigned size, u64 value)
{
    u64 gla;

    return mem_linear(v, i, size, ACCESS_WRITE, &gla) && lin_write(v, gla, size, value);
}

/* The E operand: register or memory. */
static ALWAYS_INLINE bool rm_read(struct vcpu *v, const struct insn *i, unsigned size, u64 *value)
{
    if (i->flags & I_MEM)
        return mem_read(v, i, size, value);
    *value = reg_read(v, i->rm, size);
    return true;
}

static ALWAYS_INLINE bool rm_write(struct vcpu *v, const struct insn *i, unsigned size, u64 value)
{
    if (i->flags & I_MEM)
        return mem_write(v, i, size, value);
    reg_write(v, i->rm, size, value);
    return true;
}

/* A far pointer in memory: an offset of osz bytes, then the selector. */
static inline bool far_pointer_read(struct vcpu *v, const struct insn *i, unsigned osz, u64 *offset,
                                    u64 *selector)
{
    u64 at = mem_offset(v, i), after = at + osz;

    if (i->asz != 8)
        after = size_cut(after, i->asz);
    return seg_read(v, (enum seg)i->seg, at, osz, offset) &&
           seg_read(v, (enum seg)i->seg, after, 2, selector);
}
