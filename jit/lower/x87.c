/* SPDX-License-Identifier: MIT
 *
 * x87 in the host's own registers, as vectors are. MODE_X87 promises that x87 may be used, that all
 * its exceptions are masked and that none is pending, so nothing here traps.
 *
 * Host instructions leave host addresses in FIP and FDP. The guest's are those of its last
 * non-control instruction: code notes which one that was, and run.c works them out when C code is
 * about to look at the state.
 */
#include "cpu/fpu.h"
#include "jit/lower/lower.h"

bool lower_x87_mode(const struct translator *t)
{
    return (t->block->mode & MODE_X87) && t->j->xsave && (t->j->options.optimisations & JIT_SIMD);
}

void lower_want_x87(struct translator *t)
{
    struct emit_mem state = VCPU_AT(jit.x87);
    u8 *skip;

    if (t->x87)
        return;
    lower_save_flags(t);
    emit_op_mem(t->e, 0, 0x80, &state, 7); /* cmp byte, X87_LOADED */
    emit_value(t->e, X87_LOADED, 1);
    skip = emit_jcc(t->e, CC_E, 0);
    emit_call(t->e, t->j->load_x87);
    emit_patch(skip, t->e->delta, emit_here(t->e));
    t->x87 = true;
}

static void note(struct translator *t, const struct jit_insn *ji, struct emit_mem word)
{
    emit_store_imm(t->e, &word, (i32)lower_keep(t, ji), 4);
}

/* -- computing, loading, storing -- */

static void compute_memory(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem fdp = VCPU_AT(jit.x87_fdp), at;
    const struct insn *i = &ji->insn;
    struct mem_ref ref;

    lower_ref(t, ji, insn_mem_size(i), insn_row(i)->traits & T_W, &ref);
    at = lower_access(t, ji, &ref);
    emit_op_mem(t->e, 0, i->opcode, &at, (i->modrm >> 3) & 7);
    ref.seg = REF_FLAT; /* the offset */
    lower_address(t, &ref, 0);
    emit_store(t->e, &fdp, T0, 8);
    note(t, ji, VCPU_AT(jit.x87_data));
}

static void compute(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;

    lower_want_x87(t);
    if (i->flags & I_MEM) {
        compute_memory(t, ji);
    } else {
        if (insn_row(i)->flags_read & F_OSZAPC)
            lower_need_flags(t);
        emit_value(t->e, i->opcode | (u64)i->modrm << 8, 2);
    }
    note(t, ji, VCPU_AT(jit.x87_insn));
    if (insn_row(i)->flags_written & F_OSZAPC)
        t->flags = FLAGS_HOST;
}

/* -- control: they leave the pointers alone -- */

/* A control word that unmasks an exception changes the mode, so the body loads it. The word is
 * copied first: another processor may be writing it. */
static void load_control_word(struct translator *t, const struct jit_insn *ji,
                              const struct emit_mem *at)
{
    struct emit_mem word = VCPU_AT(jit.entry);

    lower_save_flags(t);
    emit_load(t->e, T1, at, 2);
    emit_store(t->e, &word, T1, 8);
    emit_op_reg(t->e, 0, 0x83, T1, 4); /* and t1d, masks */
    emit_value(t->e, FSW_EXCEPTIONS, 1);
    emit_op_reg(t->e, 0, 0x83, T1, 7); /* cmp */
    emit_value(t->e, FSW_EXCEPTIONS, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0));
    emit_op_mem(t->e, 0, 0xd9, &word, 5);
}

static void control_memory(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    struct emit_mem at;
    struct mem_ref ref;

    lower_want_x87(t);
    lower_ref(t, ji, 2, i->id != INSN_FLDCW_Mw, &ref);
    at = lower_access(t, ji, &ref);
    if (i->id == INSN_FLDCW_Mw)
        load_control_word(t, ji, &at);
    else
        emit_op_mem(t->e, 0, i->opcode, &at, (i->modrm >> 3) & 7);
}

/* -- which -- */

static bool ours(const struct translator *t, const struct insn *i)
{
    const struct insn_row *row = insn_row(i);

    if (!(row->traits & (T_FPU | T_MMX)) || !lower_x87_mode(t))
        return false;
    if ((i->flags & I_MEM) && !lower_can_address(t, i))
        return false;
    switch (i->id) {
    case INSN_EMMS:
    case INSN_FLDCW_Mw:
    case INSN_FNSTCW_Mw:
    case INSN_FNSTSW_Mw:
    case INSN_FNSTSW_AX:
    case INSN_FWAIT: return true;
    default: break;
    }
    return (row->traits & T_FPU) && row->jit == CLASS_NATIVE &&
           (!(i->flags & I_MEM) || (i->seg < SEG_FS && insn_mem_size(i)));
}

bool lower_x87_describe(const struct translator *t, const struct jit_insn *ji, struct mem_ref *ref,
                        struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;

    if (!ours(t, i))
        return false;
    if (i->id == INSN_FNSTSW_AX)
        effects->written = BIT(RAX);
    else if (i->flags & I_MEM)
        lower_ref(t, ji, insn_mem_size(i), insn_row(i)->traits & T_W, ref);
    return true;
}

bool lower_x87(struct translator *t, const struct jit_insn *ji)
{
    if (!ours(t, &ji->insn))
        return false;
    switch (ji->insn.id) {
    case INSN_FLDCW_Mw:
    case INSN_FNSTCW_Mw:
    case INSN_FNSTSW_Mw: control_memory(t, ji); break;
    case INSN_EMMS:
        lower_want_x87(t);
        emit_value(t->e, 0x770f, 2);
        break;
    case INSN_FNSTSW_AX:
        lower_want_x87(t);
        emit_value(t->e, 0xe0df, 2);
        break;
    case INSN_FWAIT: break; /* nothing is pending */
    default: compute(t, ji); break;
    }
    return true;
}
