/* SPDX-License-Identifier: MIT
 *
 * Segments outside 64-bit mode: offset cut to the address size, compared with what the segment
 * permits (vcpu.jit.bound), plus the base. And the loads of segment registers in real and
 * virtual-8086 mode, which change a base only (SDM 3A 20.1.1).
 */
#include "jit/lower/lower.h"

static struct emit_mem segment_field(unsigned seg, size_t member)
{
    return emit_gs((i32)(offsetof(struct vcpu, seg) + seg * sizeof(struct segment) + member));
}

bool lower_bounded(const struct translator *t, const struct mem_ref *ref)
{
    return !(t->block->mode & MODE_CODE64) && ref->seg != REF_FLAT;
}

/* The sum of offset and size does not wrap in 64 bits, that of offset and base does in 32. */
void lower_bounded_offset(struct translator *t, const struct jit_insn *ji, unsigned seg,
                          unsigned size, bool write)
{
    struct emit_mem bound =
        emit_gs((i32)(offsetof(struct vcpu, jit.bound) + 8 * (2u * seg + write)));
    struct emit_mem low = emit_gs((i32)(offsetof(struct vcpu, jit.low) + 8 * seg));
    struct emit_mem base = segment_field(seg, offsetof(struct segment, base));
    struct emit_mem end = emit_at(T0, (i32)size);

    if (t->block->mode & MODE_EXPAND_DOWN) {
        emit_op_mem(t->e, EMIT_W, 0x3b, &low, T0); /* cmp t0, low */
        lower_give_up(t, ji, emit_jcc(t->e, CC_B, 0));
    }
    emit_lea(t->e, T1, &end, 8);
    emit_op_mem(t->e, EMIT_W, 0x3b, &bound, T1); /* cmp t1, bound */
    lower_give_up(t, ji, emit_jcc(t->e, CC_A, 0));
    emit_op_mem(t->e, 0, 0x03, &base, T0); /* add t0d, base */
}

void lower_bounded_address(struct translator *t, const struct jit_insn *ji,
                           const struct mem_ref *ref)
{
    struct mem_ref offset = *ref;

    offset.seg = REF_FLAT;
    lower_address(t, &offset, 0);
    lower_bounded_offset(t, ji, ref->seg, ref->size, ref->write);
}

/* -- loads -- */

enum load_kind { LOAD_NONE, LOAD_MOVE, LOAD_POP, LOAD_POINTER };

/* SS is the body's: it holds off interrupts. */
static enum load_kind load_of(const struct insn *i, unsigned *seg)
{
    switch (i->id) {
    case INSN_POP_ES: *seg = SEG_ES; return LOAD_POP;
    case INSN_POP_DS: *seg = SEG_DS; return LOAD_POP;
    case INSN_POP_FS: *seg = SEG_FS; return LOAD_POP;
    case INSN_POP_GS: *seg = SEG_GS; return LOAD_POP;
    case INSN_LES_GvMp: *seg = SEG_ES; return LOAD_POINTER;
    case INSN_LDS_GvMp: *seg = SEG_DS; return LOAD_POINTER;
    case INSN_LSS_GvMp: *seg = SEG_SS; return LOAD_POINTER;
    case INSN_LFS_GvMp: *seg = SEG_FS; return LOAD_POINTER;
    case INSN_LGS_GvMp: *seg = SEG_GS; return LOAD_POINTER;
    case INSN_MOV_SwEw:
        *seg = (i->modrm >> 3) & 7;
        return *seg < SEG_COUNT && *seg != SEG_CS && *seg != SEG_SS ? LOAD_MOVE : LOAD_NONE;
    default: return LOAD_NONE;
    }
}

bool lower_segment_load(const struct jit *j, const struct jit_block *block, const struct insn *i)
{
    unsigned seg;

    return !(block->mode & MODE_PROTECTED) && (j->options.optimisations & JIT_MEMORY) &&
           load_of(i, &seg) != LOAD_NONE;
}

static void load_ref(const struct translator *t, const struct jit_insn *ji, enum load_kind kind,
                     struct mem_ref *ref)
{
    unsigned osz = ji->insn.osz;

    if (kind == LOAD_POP)
        lower_stack_ref(t, RSP, 0, osz, false, ref);
    else
        lower_ref(t, ji, kind == LOAD_POINTER ? osz + 2 : 2, false, ref);
}

bool lower_segment_describe(const struct translator *t, const struct jit_insn *ji,
                            struct mem_ref *ref, struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;
    unsigned seg;
    enum load_kind kind = load_of(i, &seg);

    if (!lower_segment_load(t->j, t->block, i))
        return false;
    if (kind != LOAD_MOVE || (i->flags & I_MEM))
        load_ref(t, ji, kind, ref);
    if (kind == LOAD_POP)
        lower_stack_moved(t, i->osz, effects);
    if (kind == LOAD_POINTER)
        effects->written = (u32)BIT(i->reg);
    return true;
}

/* Selectors of x87 pointers that are due (jit_x87_settle()) must not change: the body settles. */
static void need_settled(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem data = VCPU_AT(jit.x87_data);

    emit_op_mem(t->e, 0, 0x83, &data, 7); /* cmp dword, 0 */
    emit_value(t->e, 0, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
}

/* The offset of the selector wraps at 64 KiB by itself. */
static void need_no_wrap(struct translator *t, const struct jit_insn *ji, const struct mem_ref *ref)
{
    struct mem_ref offset = *ref;

    offset.seg = REF_FLAT;
    lower_address(t, &offset, 0);
    emit_op_reg(t->e, 0, 0x81, T0, 7); /* cmp t0d, last */
    emit_value(t->e, BIT(16) - ref->size, 4);
    lower_give_up(t, ji, emit_jcc(t->e, CC_A, 0));
}

/* T1: the selector, zero-extended. Limit and rights stay. */
static void set_segment(struct translator *t, unsigned seg)
{
    struct emit_mem base = segment_field(seg, offsetof(struct segment, base));
    struct emit_mem attr = segment_field(seg, offsetof(struct segment, attr));
    struct emit_mem selector = segment_field(seg, offsetof(struct segment, selector));

    emit_store(t->e, &selector, T1, 2);
    emit_op_reg(t->e, 0, 0xc1, T1, 4); /* shl t1d, 4 */
    emit_value(t->e, 4, 1);
    emit_store(t->e, &base, T1, 8);
    emit_op_mem(t->e, 0, 0x81, &attr, 4); /* and */
    emit_value(t->e, (u32)~ATTR_NULL, 4);
}

static void load_pointer(struct translator *t, const struct insn *i, const struct emit_mem *at)
{
    struct emit_mem selector = *at;

    selector.disp += i->osz;
    emit_load(t->e, T1, &selector, 2);
    emit_op_mem(t->e, i->osz == 2 ? EMIT_66 : 0, 0x8b, at, host_of(i->reg));
}

void lower_load_segment(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    struct emit_mem at = {0};
    struct mem_ref ref;
    unsigned seg;
    enum load_kind kind = load_of(i, &seg);

    lower_save_flags(t);
    need_settled(t, ji);
    if (kind != LOAD_MOVE || (i->flags & I_MEM)) {
        load_ref(t, ji, kind, &ref);
        if (kind == LOAD_POINTER && ref.asz == 2)
            need_no_wrap(t, ji, &ref);
        at = lower_access(t, ji, &ref);
    }
    if (kind == LOAD_POINTER)
        load_pointer(t, i, &at);
    else if (kind == LOAD_POP || (i->flags & I_MEM))
        emit_load(t->e, T1, &at, 2);
    else
        lower_cut16(t, T1, host_of(i->rm));
    if (kind == LOAD_POP)
        lower_stack_move(t, i->osz);
    set_segment(t, seg);
}
