/* SPDX-License-Identifier: MIT
 *
 * Data movement between registers and memory: MOV, MOVZX, MOVSX, LEA, XLAT, MOVBE, BSWAP and the
 * sign extensions within rAX (SDM 2). No flags change.
 */
#include "cpu/cpuid.h"
#include "cpu/ops/flags.h"

static ALWAYS_INLINE bool mov_eg(struct vcpu *v, const struct insn *i, unsigned size)
{
    return rm_write(v, i, size, reg_read(v, i->reg, size));
}

static ALWAYS_INLINE bool mov_ge(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 value;

    if (!rm_read(v, i, size, &value))
        return false;
    reg_write(v, i->reg, size, value);
    return true;
}

static ALWAYS_INLINE bool mov_ei(struct vcpu *v, const struct insn *i, unsigned size)
{
    return rm_write(v, i, size, (u64)i->imm);
}

bool op_MOV_EbGb(struct vcpu *v, const struct insn *i)
{
    return mov_eg(v, i, 1);
}

bool op_MOV_EvGv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, mov_eg, v, i);
}

bool op_MOV_GbEb(struct vcpu *v, const struct insn *i)
{
    return mov_ge(v, i, 1);
}

bool op_MOV_GvEv(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, mov_ge, v, i);
}

bool op_MOV_EbIb(struct vcpu *v, const struct insn *i)
{
    return mov_ei(v, i, 1);
}

bool op_MOV_EvIz(struct vcpu *v, const struct insn *i)
{
    return BY_OSZ(i, mov_ei, v, i);
}

bool op_MOV_ZbIb(struct vcpu *v, const struct insn *i)
{
    reg_write(v, i->rm, 1, (u64)i->imm);
    return true;
}

bool op_MOV_ZvIv(struct vcpu *v, const struct insn *i)
{
    reg_write(v, i->rm, i->osz, (u64)i->imm);
    return true;
}

/* -- absolute offsets -- */

static bool moffs_load(struct vcpu *v, const struct insn *i, unsigned size)
{
    u64 value;

    if (!seg_read(v, (enum seg)i->seg, size_cut((u64)i->imm, i->asz), size, &value))
        return false;
    reg_write(v, RAX, size, value);
    return true;
}

static bool moffs_store(struct vcpu *v, const struct insn *i, unsigned size)
{
    return seg_write(v, (enum seg)i->seg, size_cut((u64)i->imm, i->asz), size,
                     reg_read(v, RAX, size));
}

bool op_MOV_ALOb(struct vcpu *v, const struct insn *i)
{
    return moffs_load(v, i, 1);
}

bool op_MOV_rAXOv(struct vcpu *v, const struct insn *i)
{
    return moffs_load(v, i, i->osz);
}

bool op_MOV_ObAL(struct vcpu *v, const struct insn *i)
{
    return moffs_store(v, i, 1);
}

bool op_MOV_OvrAX(struct vcpu *v, const struct insn *i)
{
    return moffs_store(v, i, i->osz);
}

/* -- addresses and extension -- */

bool op_LEA_GvM(struct vcpu *v, const struct insn *i)
{
    reg_write(v, i->reg, i->osz, mem_offset(v, i));
    return true;
}

static ALWAYS_INLINE bool extend(struct vcpu *v, const struct insn *i, unsigned from, bool sign)
{
    u64 value;

    if (!rm_read(v, i, from, &value))
        return false;
    reg_write(v, i->reg, i->osz, sign ? sign_extend(value, from) : value);
    return true;
}

bool op_MOVZX_GvEb(struct vcpu *v, const struct insn *i)
{
    return extend(v, i, 1, false);
}

bool op_MOVZX_GvEw(struct vcpu *v, const struct insn *i)
{
    return extend(v, i, 2, false);
}

bool op_MOVSX_GvEb(struct vcpu *v, const struct insn *i)
{
    return extend(v, i, 1, true);
}

bool op_MOVSX_GvEw(struct vcpu *v, const struct insn *i)
{
    return extend(v, i, 2, true);
}

/* With a 16-bit operand size both operands have 16 bits (SDM 2), but AMD reads 32 all the same. */
bool op_MOVSXD_GvEd(struct vcpu *v, const struct insn *i)
{
    return extend(v, i, i->osz == 2 && !vcpu_is_amd(v) ? 2 : 4, true);
}

/* CBW, CWDE, CDQE */
bool op_CBW(struct vcpu *v, const struct insn *i)
{
    reg_write(v, RAX, i->osz, sign_extend(v->gpr[RAX], i->osz / 2));
    return true;
}

/* CWD, CDQ, CQO */
bool op_CWD(struct vcpu *v, const struct insn *i)
{
    reg_write(v, RDX, i->osz, -top_bit(v->gpr[RAX], i->osz));
    return true;
}

/* A 16-bit BSWAP is undefined; processors clear the register's 16 bits. */
bool op_BSWAP_Zv(struct vcpu *v, const struct insn *i)
{
    u64 value = v->gpr[i->rm];

    if (i->osz == 8)
        value = __builtin_bswap64(value);
    else
        value = i->osz == 4 ? __builtin_bswap32((u32)value) : 0;
    reg_write(v, i->rm, i->osz, value);
    return true;
}

bool op_XLAT(struct vcpu *v, const struct insn *i)
{
    u64 value, offset = size_cut(v->gpr[RBX] + (u8)v->gpr[RAX], i->asz);

    if (!seg_read(v, (enum seg)i->seg, offset, 1, &value))
        return false;
    reg_write(v, RAX, 1, value);
    return true;
}

/* SALC (undocumented, outside 64-bit mode): AL = CF ? FFh : 0. */
bool op_SALC(struct vcpu *v, const struct insn *i)
{
    (void)i;
    reg_write(v, RAX, 1, v->rflags & F_CF ? 0xff : 0);
    return true;
}

static u64 swap_bytes(u64 value, unsigned size)
{
    return __builtin_bswap64(value) >> (64 - size * 8);
}

bool op_MOVBE_GvMv(struct vcpu *v, const struct insn *i)
{
    u64 value;

    if (!mem_read(v, i, i->osz, &value))
        return false;
    reg_write(v, i->reg, i->osz, swap_bytes(value, i->osz));
    return true;
}

bool op_MOVBE_MvGv(struct vcpu *v, const struct insn *i)
{
    return mem_write(v, i, i->osz, swap_bytes(v->gpr[i->reg], i->osz));
}

bool op_MOVNTI_MyGy(struct vcpu *v, const struct insn *i)
{
    return mem_write(v, i, i->osz, v->gpr[i->reg]);
}
