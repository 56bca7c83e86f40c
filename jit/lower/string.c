/* SPDX-License-Identifier: MIT
 *
 * String instructions upwards (DF = 0), one element inline. The rest (DF = 1, REP) is the body's,
 * which goes page by page.
 */
#include "jit/lower/lower.h"

static u32 width(const struct insn *i)
{
    return i->osz == 2 ? EMIT_66 : i->osz == 8 ? EMIT_W : 0u;
}

/* The opcode for bytes, or the next one. */
static u32 sized(const struct insn *i, u32 opcode)
{
    return opcode | (i->osz > 1);
}

static void need_upwards(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem rflags = VCPU_AT(rflags);

    emit_op_mem(t->e, 0, 0xf7, &rflags, 0); /* test dword, imm32 */
    emit_value(t->e, F_DF, 4);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
}

/* T0 = host address of the element at index, RSI or RDI; the latter always is in ES. */
static void element(struct translator *t, const struct jit_insn *ji, unsigned index, bool write)
{
    const struct insn *i = &ji->insn;
    unsigned seg = lower_segment_of(t, index == HOST_RDI ? SEG_ES : i->seg);

    if (i->asz == 8)
        emit_mov(t->e, T0, index);
    else if (i->asz == 2)
        lower_cut16(t, T0, index);
    else
        emit_mov32(t->e, T0, index);
    if (seg != REF_FLAT)
        lower_bounded_offset(t, ji, seg, i->osz, write);
    lower_check(t, ji, i->osz, write);
}

static void advance(struct translator *t, const struct insn *i, unsigned index)
{
    lower_advance(t, index, i->osz, i->asz);
}

/* -- one element -- */

/* The element at RSI waits in the vCPU until the one at RDI is checked. */
static void load_source(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at = emit_at(T0, 0);

    element(t, ji, HOST_RSI, false);
    emit_load(t->e, T1, &at, ji->insn.osz);
    emit_store(t->e, &value, T1, 8);
}

static void movs(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at = emit_at(T0, 0);

    load_source(t, ji);
    element(t, ji, HOST_RDI, true);
    emit_load(t->e, T1, &value, 8);
    emit_store(t->e, &at, T1, ji->insn.osz);
    advance(t, &ji->insn, HOST_RSI);
    advance(t, &ji->insn, HOST_RDI);
}

static void stos(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem at = emit_at(T0, 0);

    element(t, ji, HOST_RDI, true);
    emit_store(t->e, &at, HOST_RAX, ji->insn.osz);
    advance(t, &ji->insn, HOST_RDI);
}

static void lods(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem at = emit_at(T0, 0);

    element(t, ji, HOST_RSI, false);
    emit_op_mem(t->e, width(&ji->insn), sized(&ji->insn, 0x8a), &at, HOST_RAX);
    advance(t, &ji->insn, HOST_RSI);
}

static void scas(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem at = emit_at(T0, 0);

    element(t, ji, HOST_RDI, false);
    emit_op_mem(t->e, width(&ji->insn), sized(&ji->insn, 0x3a), &at, HOST_RAX); /* cmp */
    advance(t, &ji->insn, HOST_RDI);
    t->flags = FLAGS_HOST;
}

static void cmps(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem value = VCPU_AT(jit.entry), at = emit_at(T0, 0);

    load_source(t, ji);
    element(t, ji, HOST_RDI, false);
    emit_load(t->e, T1, &value, 8);
    emit_op_mem(t->e, width(&ji->insn), sized(&ji->insn, 0x3a), &at, T1);
    advance(t, &ji->insn, HOST_RSI);
    advance(t, &ji->insn, HOST_RDI);
    t->flags = FLAGS_HOST;
}

/* -- which -- */

typedef void string_lowering(struct translator *t, const struct jit_insn *ji);

static string_lowering *find_lowering(const struct insn *i)
{
    bool rep = i->flags & (I_REP | I_REPNE);

    switch (i->id) {
    case INSN_MOVSb:
    case INSN_MOVSv: return rep ? NULL : movs;
    case INSN_STOSb:
    case INSN_STOSv: return rep ? NULL : stos;
    case INSN_LODSb:
    case INSN_LODSv: return rep ? NULL : lods;
    case INSN_SCASb:
    case INSN_SCASv: return rep ? NULL : scas;
    case INSN_CMPSb:
    case INSN_CMPSv: return rep ? NULL : cmps;
    default: return NULL;
    }
}

static bool ours(const struct translator *t, const struct insn *i)
{
    if (!find_lowering(i) || !lower_can_address(t, i))
        return false;
    return !(t->block->mode & MODE_CODE64) || (i->asz == 8 && i->seg < SEG_FS);
}

bool lower_string_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects)
{
    (void)ref;
    if (!ours(t, &ji->insn))
        return false;
    effects->written = (u32)(BIT(RAX) | BIT(RCX) | BIT(RSI) | BIT(RDI));
    return true;
}

bool lower_string(struct translator *t, const struct jit_insn *ji)
{
    string_lowering *lower = find_lowering(&ji->insn);

    if (!ours(t, &ji->insn))
        return false;
    lower_save_flags(t);
    need_upwards(t, ji);
    lower(t, ji);
    return true;
}
