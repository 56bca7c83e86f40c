/* SPDX-License-Identifier: MIT
 *
 * Encodings: SDM 2 chapter 2 (ModRM, SIB, REX 2.2.1, VEX 2.3).
 */
#include "jit/emit/emit.h"

#include <string.h>

enum { PREFIX_GS = 0x65, MOD_DISP8 = 0x40, MOD_DISP32 = 0x80, MOD_DIRECT = 0xc0 };

static ALWAYS_INLINE void put(struct emit *e, unsigned byte)
{
    if (unlikely(e->at == e->end)) {
        e->overflow = true;
        return;
    }
    *e->at++ = (u8)byte;
}

void emit_bytes(struct emit *e, const void *bytes, unsigned size)
{
    for (unsigned n = 0; n < size; n++)
        put(e, ((const u8 *)bytes)[n]);
}

void emit_value(struct emit *e, u64 value, unsigned size)
{
    if (likely(e->end - e->at >= (i64)sizeof(value))) { /* more than wanted, in one store */
        memcpy(e->at, &value, sizeof(value));
        e->at += size;
        return;
    }
    emit_bytes(e, &value, size);
}

static void put_prefixes(struct emit *e, u32 prefixes, bool gs)
{
    if (gs)
        put(e, PREFIX_GS);
    if (prefixes & EMIT_LOCK)
        put(e, 0xf0);
    if (prefixes & EMIT_66)
        put(e, 0x66);
    if (prefixes & EMIT_F2)
        put(e, 0xf2);
    if (prefixes & EMIT_F3)
        put(e, 0xf3);
}

/* r, x, b: whole register numbers or HOST_NONE. */
static void put_rex(struct emit *e, u32 prefixes, unsigned r, unsigned x, unsigned b)
{
    unsigned rex = (prefixes & EMIT_W ? 8u : 0) | (r != HOST_NONE && r & 8 ? 4u : 0) |
                   (x != HOST_NONE && x & 8 ? 2u : 0) | (b != HOST_NONE && b & 8 ? 1u : 0);

    if (rex || (prefixes & EMIT_REX))
        put(e, 0x40 | rex);
}

static void name(struct emit *e, unsigned reg)
{
    e->named |= 1u << (reg & 15);
}

static void put_opcode(struct emit *e, u32 opcode)
{
    switch (opcode & ~0xffu) {
    case EMIT_0F: put(e, 0x0f); break;
    case EMIT_0F38: put(e, 0x0f), put(e, 0x38); break;
    case EMIT_0F3A: put(e, 0x0f), put(e, 0x3a); break;
    default: break;
    }
    put(e, opcode & 0xff);
}

/* ModRM, SIB and displacement; relative to RIP it counts from behind itself. RSP and R12 as base
 * need a SIB, RBP and R13 a displacement; without a base in 64-bit code mod 0 with a SIB is an
 * absolute disp32. */
static void put_mem(struct emit *e, const struct emit_mem *m, unsigned reg)
{
    unsigned r = (reg & 7) << 3, index = m->index == HOST_NONE ? 4 : m->index & 7;
    bool sib = m->index != HOST_NONE || m->base == HOST_NONE || (m->base & 7) == HOST_RSP;
    unsigned mod = MOD_DISP32;

    if (m->base == HOST_RIP) {
        put(e, r | 5);
        emit_value(e, (u32)m->disp - (u32)(emit_here(e) + 4), 4);
        return;
    }
    if (m->base == HOST_NONE) {
        put(e, r | 4);
        put(e, (unsigned)m->scale << 6 | index << 3 | 5);
        emit_value(e, (u32)m->disp, 4);
        return;
    }
    if (!m->disp && (m->base & 7) != HOST_RBP)
        mod = 0;
    else if (m->disp == (i8)m->disp)
        mod = MOD_DISP8;
    put(e, mod | r | (sib ? 4u : m->base & 7u));
    if (sib)
        put(e, (unsigned)m->scale << 6 | index << 3 | (m->base & 7u));
    if (mod)
        emit_value(e, (u32)m->disp, mod == MOD_DISP8 ? 1 : 4);
}

void emit_op_reg(struct emit *e, u32 prefixes, u32 opcode, unsigned rm, unsigned reg)
{
    name(e, reg);
    name(e, rm);
    put_prefixes(e, prefixes, false);
    put_rex(e, prefixes, reg, HOST_NONE, rm);
    put_opcode(e, opcode);
    put(e, MOD_DIRECT | (reg & 7) << 3 | (rm & 7));
}

void emit_op_mem(struct emit *e, u32 prefixes, u32 opcode, const struct emit_mem *m, unsigned reg)
{
    name(e, reg);
    if (m->cut)
        put(e, 0x67);
    put_prefixes(e, prefixes, m->gs);
    put_rex(e, prefixes, reg, m->index, m->base);
    put_opcode(e, opcode);
    put_mem(e, m, reg);
}

void emit_op_plus(struct emit *e, u32 prefixes, u32 opcode, unsigned reg)
{
    name(e, reg);
    put_prefixes(e, prefixes, false);
    put_rex(e, prefixes, HOST_NONE, HOST_NONE, reg);
    put_opcode(e, opcode | (reg & 7));
}

static void put_vex(struct emit *e, const struct emit_vex *v, unsigned vvvv, unsigned r, unsigned x,
                    unsigned b)
{
    unsigned rxb =
        (r & 8 ? 0 : 0x80u) | (x != HOST_NONE && x & 8 ? 0 : 0x40u) | (b & 8 ? 0 : 0x20u);

    put(e, 0xc4);
    put(e, rxb | v->map);
    put(e, (v->w ? 0x80u : 0) | (~vvvv & 15) << 3 | (unsigned)(v->l & 1) << 2 | v->pp);
    put(e, v->opcode);
}

void emit_vex_reg(struct emit *e, const struct emit_vex *x, unsigned rm, unsigned reg,
                  unsigned vvvv)
{
    name(e, rm);
    name(e, reg);
    name(e, vvvv);
    put_vex(e, x, vvvv, reg, HOST_NONE, rm);
    put(e, MOD_DIRECT | (reg & 7) << 3 | (rm & 7));
}

void emit_vex_mem(struct emit *e, const struct emit_vex *x, const struct emit_mem *m, unsigned reg,
                  unsigned vvvv)
{
    name(e, reg);
    name(e, vvvv);
    if (m->gs)
        put(e, PREFIX_GS);
    put_vex(e, x, vvvv, reg, m->index, m->base == HOST_NONE ? 0 : m->base);
    put_mem(e, m, reg);
}

/* Registers have five bits: reg R' R, vvvv V', rm X B. All are inverted (SDM 2 2.7.1). */
static void put_evex(struct emit *e, const struct emit_vex *v, unsigned vvvv, unsigned r,
                     unsigned x, unsigned b)
{
    put(e, 0x62);
    put(e, (r & 8 ? 0 : 0x80u) | (x ? 0 : 0x40u) | (b & 8 ? 0 : 0x20u) | (r & 16 ? 0 : 0x10u) |
               v->map);
    put(e, (v->w ? 0x80u : 0) | (~vvvv & 15) << 3 | 4 | v->pp);
    put(e, (v->l & 0xf7u) | (vvvv & 16 ? 0 : 8u));
    put(e, v->opcode);
}

void emit_evex_reg(struct emit *e, const struct emit_vex *x, unsigned rm, unsigned reg,
                   unsigned vvvv)
{
    name(e, rm);
    name(e, reg);
    name(e, vvvv);
    put_evex(e, x, vvvv, reg, rm & 16, rm);
    put(e, MOD_DIRECT | (reg & 7) << 3 | (rm & 7));
}

void emit_evex_mem(struct emit *e, const struct emit_vex *x, const struct emit_mem *m, unsigned reg,
                   unsigned vvvv)
{
    name(e, reg);
    name(e, vvvv);
    if (m->gs)
        put(e, PREFIX_GS);
    put_evex(e, x, vvvv, reg, 0, m->base == HOST_NONE ? 0 : m->base);
    put_mem(e, m, reg);
}

/* -- moves -- */

void emit_mov(struct emit *e, unsigned to, unsigned from)
{
    if (to != from)
        emit_op_reg(e, EMIT_W, 0x8b, from, to);
}

void emit_mov32(struct emit *e, unsigned to, unsigned from)
{
    emit_op_reg(e, 0, 0x8b, from, to);
}

void emit_mov_imm(struct emit *e, unsigned to, u64 value)
{
    if (value == (u32)value) {
        emit_op_plus(e, 0, 0xb8, to);
        emit_value(e, value, 4);
    } else if (value == (u64)(i64)(i32)value) {
        emit_op_reg(e, EMIT_W, 0xc7, to, 0);
        emit_value(e, value, 4);
    } else {
        emit_op_plus(e, EMIT_W, 0xb8, to);
        emit_value(e, value, 8);
    }
}

/* Bytes and words are zero-extended. */
void emit_load(struct emit *e, unsigned to, const struct emit_mem *m, unsigned size)
{
    switch (size) {
    case 1: emit_op_mem(e, 0, EMIT_0F | 0xb6, m, to); break;
    case 2: emit_op_mem(e, 0, EMIT_0F | 0xb7, m, to); break;
    default: emit_op_mem(e, size == 8 ? EMIT_W : 0, 0x8b, m, to); break;
    }
}

void emit_store(struct emit *e, const struct emit_mem *m, unsigned from, unsigned size)
{
    switch (size) {
    case 1: emit_op_mem(e, EMIT_REX, 0x88, m, from); break;
    case 2: emit_op_mem(e, EMIT_66, 0x89, m, from); break;
    default: emit_op_mem(e, size == 8 ? EMIT_W : 0, 0x89, m, from); break;
    }
}

void emit_store_imm(struct emit *e, const struct emit_mem *m, i32 value, unsigned size)
{
    u32 prefixes = size == 8 ? EMIT_W : size == 2 ? EMIT_66 : 0;

    emit_op_mem(e, prefixes, size == 1 ? 0xc6 : 0xc7, m, 0);
    emit_value(e, (u32)value, size == 8 ? 4 : size);
}

void emit_lea(struct emit *e, unsigned to, const struct emit_mem *m, unsigned size)
{
    emit_op_mem(e, size == 8 ? EMIT_W : 0, 0x8d, m, to);
}

/* -- control flow -- */

/* Where it does not fit, the result is still a place in the buffer. */
static u8 *put_rel32(struct emit *e, u64 target)
{
    u8 *at = e->end - e->at < 4 ? e->end - 4 : e->at;

    emit_value(e, target - (emit_here(e) + 4), 4);
    return at;
}

void emit_jmp(struct emit *e, u64 target)
{
    put(e, 0xe9);
    put_rel32(e, target);
}

u8 *emit_jmp_patchable(struct emit *e, u64 target)
{
    put(e, 0xe9);
    return put_rel32(e, target);
}

u8 *emit_jmp_short(struct emit *e)
{
    u8 *at = e->end - e->at < 2 ? e->end - 1 : e->at + 1;

    put(e, 0xeb);
    put(e, 0);
    return at;
}

void emit_land_short(struct emit *e, u8 *rel8)
{
    *rel8 = (u8)(e->at - (rel8 + 1));
}

void emit_call(struct emit *e, u64 target)
{
    e->named = ~0u;
    put(e, 0xe8);
    put_rel32(e, target);
}

u8 *emit_jcc(struct emit *e, unsigned cc, u64 target)
{
    put(e, 0x0f);
    put(e, 0x80 | cc);
    return put_rel32(e, target);
}

void emit_jmp_mem(struct emit *e, const struct emit_mem *m)
{
    emit_op_mem(e, 0, 0xff, m, 4);
}

void emit_patch(u8 *rel32, u64 delta, u64 target)
{
    u32 value = (u32)(target - ((u64)rel32 + delta + 4));

    __atomic_store_n((u32 *)rel32, value, __ATOMIC_RELAXED);
}
