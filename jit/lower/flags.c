/* SPDX-License-Identifier: MIT
 *
 * The guest's arithmetic flags between the host's flags and JF (LAHF in AH, SETO in AL), which
 * costs a few host instructions where PUSHF and POPF cost dozens of cycles.
 */
#include "jit/deferred.h"
#include "jit/lower/lower.h"

static const struct emit_mem jf = {
    .base = HOST_NONE, .index = HOST_NONE, .gs = true, .disp = offsetof(struct vcpu, jit.flags)};

void jit_put_in_jf(struct emit *e)
{
    emit_mov(e, T1, HOST_RAX);
    emit_value(e, 0x9f, 1);                                /* lahf */
    emit_op_reg(e, 0, EMIT_0F | 0x90 | CC_O, HOST_RAX, 0); /* seto al */
    emit_store(e, &jf, HOST_RAX, 2);
    emit_mov(e, HOST_RAX, T1);
}

/* AL is 0 or 1: adding 127 sets OF if it was 1. */
void jit_take_from_jf(struct emit *e)
{
    emit_mov(e, T1, HOST_RAX);
    emit_load(e, HOST_RAX, &jf, 2);
    emit_value(e, 0x7f04, 2); /* add al, 127 */
    emit_value(e, 0x9e, 1);   /* sahf */
    emit_mov(e, HOST_RAX, T1);
}

/* -- recipes -- */

/* T1 += or -= what the recipe's instruction added or subtracted. */
static void move_t1(struct translator *t, u32 w, bool add)
{
    const struct flags_recipe *r = &t->recipe;
    u32 opcode = add ? 0x03 : 0x2b;
    struct emit_mem slot;

    if (r->other == REG_NONE) {
        emit_op_reg(t->e, w, 0x81, T1, add ? 0 : 5);
        emit_value(t->e, (u32)r->by, 4);
    } else if (host_of(r->other) == HOST_NONE) {
        slot = gpr_slot(r->other);
        emit_op_mem(t->e, w, opcode, &slot, T1);
    } else {
        emit_op_reg(t->e, w, opcode, host_of(r->other), T1);
    }
}

/* Makes the flags of the recipe in the host's. Uses T1; T0 may hold an address. */
static void follow_recipe(struct translator *t)
{
    const struct flags_recipe *r = &t->recipe;
    u32 w = r->osz == 8 ? EMIT_W : 0;
    unsigned host;

    if (r->kind == RECIPE_REPEAT) {
        lower_repeat(t, r->insn);
        return;
    }
    host = lower_use(t, r->reg, T1);
    if (r->kind == RECIPE_TEST) {
        emit_op_reg(t->e, w, 0x85, host, host);
        return;
    }
    if (host != T1)
        emit_op_reg(t->e, w, 0x8b, host, T1);
    move_t1(t, w, r->kind == RECIPE_SUB);
    move_t1(t, w, r->kind == RECIPE_ADD);
}

static u32 register_bit(unsigned guest)
{
    return guest == REG_NONE ? 0 : guest & REG_HIGH ? (u32)BIT(guest & 3) : (u32)BIT(guest);
}

/* Whether the instruction can be repeated without T0. */
static bool repeats(const struct translator *t, unsigned rm)
{
    return (rm & REG_HIGH) || host_of(rm) != HOST_NONE ||
           (t->j->options.optimisations & JIT_IN_PLACE);
}

/* reg += or -= other. false: the sum does not tell what was added. */
static bool by_register(struct flags_recipe *r, enum recipe_kind kind, unsigned reg, unsigned other)
{
    r->kind = (u8)kind;
    r->reg = (u8)reg;
    r->other = (u8)other;
    r->registers = register_bit(reg) | register_bit(other);
    return reg != other && r->osz != 2;
}

static bool find_recipe(const struct translator *t, const struct jit_insn *ji,
                        struct flags_recipe *r)
{
    const struct insn *i = &ji->insn;

    *r = (struct flags_recipe){.reg = i->rm, .other = REG_NONE, .osz = i->osz, .insn = ji};
    if (i->flags & I_MEM)
        return false;
    switch (i->id) {
    case INSN_CMP_EbGb:
    case INSN_CMP_EvGv:
    case INSN_CMP_GbEb:
    case INSN_CMP_GvEv:
    case INSN_TEST_EbGb:
    case INSN_TEST_EvGv:
        r->kind = RECIPE_REPEAT;
        r->registers = register_bit(i->reg) | register_bit(i->rm);
        return repeats(t, i->rm);
    case INSN_CMP_EbIb:
    case INSN_CMP_EvIz:
    case INSN_CMP_EvIbs:
    case INSN_TEST_EbIb:
    case INSN_TEST_EvIz:
        r->kind = RECIPE_REPEAT;
        r->registers = register_bit(i->rm);
        return repeats(t, i->rm);
    case INSN_CMP_ALIb:
    case INSN_CMP_rAXIz:
    case INSN_TEST_ALIb:
    case INSN_TEST_rAXIz:
        r->kind = RECIPE_REPEAT;
        r->registers = (u32)BIT(RAX);
        return true;
    case INSN_AND_GvEv:
    case INSN_OR_GvEv:
    case INSN_XOR_GvEv: r->reg = i->reg; break;
    case INSN_AND_EvGv:
    case INSN_OR_EvGv:
    case INSN_XOR_EvGv:
    case INSN_AND_EvIz:
    case INSN_OR_EvIz:
    case INSN_XOR_EvIz:
    case INSN_AND_EvIbs:
    case INSN_OR_EvIbs:
    case INSN_XOR_EvIbs: break;
    case INSN_AND_rAXIz:
    case INSN_OR_rAXIz:
    case INSN_XOR_rAXIz: r->reg = RAX; break;
    case INSN_ADD_rAXIz:
    case INSN_SUB_rAXIz:
        r->reg = RAX;
        r->kind = i->id == INSN_ADD_rAXIz ? RECIPE_ADD : RECIPE_SUB;
        break;
    case INSN_ADD_EvIz:
    case INSN_ADD_EvIbs: r->kind = RECIPE_ADD; break;
    case INSN_SUB_EvIz:
    case INSN_SUB_EvIbs: r->kind = RECIPE_SUB; break;
    case INSN_ADD_EvGv: return by_register(r, RECIPE_ADD, i->rm, i->reg);
    case INSN_ADD_GvEv: return by_register(r, RECIPE_ADD, i->reg, i->rm);
    case INSN_SUB_EvGv: return by_register(r, RECIPE_SUB, i->rm, i->reg);
    case INSN_SUB_GvEv: return by_register(r, RECIPE_SUB, i->reg, i->rm);
    default: return false;
    }
    r->registers = register_bit(r->reg);
    r->by = (i32)i->imm;
    if (r->kind == RECIPE_NONE)
        r->kind = RECIPE_TEST;
    return i->osz != 2;
}

/* The recipe behind an instruction, if it sets flags. */
static void follow_flags(const struct translator *t, const struct jit_insn *ji,
                         struct flags_recipe *r)
{
    if (!(insn_row(&ji->insn)->flags_written & F_OSZAPC))
        return;
    if (!(t->j->options.optimisations & JIT_RECIPE) || !find_recipe(t, ji, r))
        r->kind = RECIPE_NONE;
}

void lower_note_recipe(struct translator *t, const struct jit_insn *ji)
{
    follow_flags(t, ji, &t->recipe);
}

void lower_keep_recipe(struct translator *t, const struct insn *i,
                       const struct reg_effects *effects)
{
    if (t->recipe.kind == RECIPE_NONE || !(lower_changed(effects) & t->recipe.registers))
        return;
    /* The flags that the recipe makes are gone with the instruction. */
    if (!effects->all && insn_row(i)->jit != CLASS_BRANCH && lower_flag_use(i) == FLAG_SETS_ALL)
        return;
    if (t->flags == FLAGS_RECIPE)
        lower_save_flags(t);
    t->recipe.kind = RECIPE_NONE;
}

u64 lower_costly_checks(const struct translator *t, const struct jit_insn *insns, unsigned count,
                        u64 checks)
{
    struct flags_recipe recipe = {.kind = RECIPE_NONE};
    bool live = false; /* in the host's flags alone */
    u64 costly = 0;

    for (unsigned n = 0; n < count; n++) {
        const struct reg_effects *effects = &t->described[n].effects;

        if ((checks & BIT(n)) && live && recipe.kind == RECIPE_NONE)
            costly |= BIT(n);
        if ((checks & BIT(n)) || effects->all)
            live = live && recipe.kind != RECIPE_NONE;
        if (lower_changed(effects) & recipe.registers)
            recipe.kind = RECIPE_NONE;
        if (insn_row(&insns[n].insn)->flags_written & F_OSZAPC)
            live = !effects->all;
        follow_flags(t, &insns[n], &recipe);
    }
    return costly;
}

/* -- deferred -- */

/* A CMP or TEST of registers and immediates. */
static void compared(const struct insn *i, struct jf_word *w)
{
    const struct insn_row *row = insn_row(i);
    bool byte =
        row->operands[0] == OPND_Eb || row->operands[0] == OPND_Gb || row->operands[0] == OPND_AL;

    w->size = byte ? 1 : i->osz;
    w->imm = (i32)i->imm;
    w->a = i->rm;
    w->b = REG_NONE;
    w->op = JF_COMPARISON;
    switch (i->id) {
    case INSN_TEST_EbGb:
    case INSN_TEST_EvGv: w->op = JF_AND; /* fallthrough */
    case INSN_CMP_EbGb:
    case INSN_CMP_EvGv: w->b = i->reg; break;
    case INSN_CMP_GbEb:
    case INSN_CMP_GvEv:
        w->a = i->reg;
        w->b = i->rm;
        break;
    case INSN_TEST_EbIb:
    case INSN_TEST_EvIz: w->op = JF_AND; break;
    case INSN_TEST_ALIb:
    case INSN_TEST_rAXIz: w->op = JF_AND; /* fallthrough */
    case INSN_CMP_ALIb:
    case INSN_CMP_rAXIz: w->a = RAX; break;
    default: break; /* CMP of r/m with an immediate */
    }
}

u32 lower_deferred_flags(const struct translator *t)
{
    const struct flags_recipe *r = &t->recipe;
    const struct insn *i = r->insn ? &r->insn->insn : NULL;
    struct jf_word w = {.a = r->reg, .b = r->other, .size = r->osz, .imm = r->by};

    if (!(t->j->options.optimisations & JIT_DEFER) || r->kind == RECIPE_NONE ||
        (t->flags != FLAGS_HOST && t->flags != FLAGS_RECIPE))
        return 0;
    switch (r->kind) {
    case RECIPE_ADD: w.op = JF_SUM; break;
    case RECIPE_SUB: w.op = JF_DIFFERENCE; break;
    case RECIPE_TEST:
        w.op = JF_AND;
        w.b = w.a;
        break;
    default: compared(i, &w); break;
    }
    return jf_word(&w);
}

void lower_find_quiet(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    u32 written = 0;

    for (unsigned n = 0; n < count; n++) {
        const struct insn *i = &insns[n].insn;
        const struct reg_effects *effects = &t->described[n].effects;
        enum flag_use use = lower_flag_use(i);

        if ((insn_row(i)->traits & (T_ENDS | T_REP)) || use == FLAG_NEEDS)
            return;
        if (use == FLAG_SETS_ALL || effects->all) { /* a body has them made */
            t->block->quiet = true;
            t->block->written = (u16)written;
            return;
        }
        written |= lower_changed(effects);
    }
}

/* -- between the places -- */

void lower_save_flags(struct translator *t)
{
    if (t->flags == FLAGS_RECIPE) {
        follow_recipe(t);
        t->flags = FLAGS_HOST;
    }
    if (t->flags == FLAGS_HOST)
        jit_put_in_jf(t->e);
    t->flags = FLAGS_SAVED;
}

void lower_release_flags(struct translator *t)
{
    if (t->flags == FLAGS_HOST && t->recipe.kind != RECIPE_NONE)
        t->flags = FLAGS_RECIPE;
    if (t->flags != FLAGS_RECIPE)
        lower_save_flags(t);
}

void lower_need_flags(struct translator *t)
{
    if (t->flags == FLAGS_RECIPE) {
        follow_recipe(t);
        t->flags = FLAGS_HOST;
    }
    if (t->flags != FLAGS_SAVED)
        return;
    jit_take_from_jf(t->e);
    t->flags = FLAGS_BOTH;
}

/* TEST of the result, with a bit above it so that ZF stays clear, or of 0 if there was none. */
void lower_scan_flags(struct translator *t, unsigned guest)
{
    struct emit_mem above = emit_at(lower_use(t, guest, T1), 0x100);

    emit_lea(t->e, T0, &above, 4);
    emit_mov_imm(t->e, T1, 0);
    emit_op_reg(t->e, 0, EMIT_0F | 0x40 | CC_E, T1, T0); /* cmov */
    emit_op_reg(t->e, EMIT_66, 0x85, T0, T0);            /* test */
}

static bool is_shift(const struct insn_row *row)
{
    unsigned op = row->key.opcode;

    return row->key.map == MAP_1B && row->key.space == SPACE_LEGACY &&
           (op == 0xc0 || op == 0xc1 || (op >= 0xd0 && op <= 0xd3));
}

/* A shift by an immediate that is not 0 sets all flags; by CL it may leave them alone. */
static bool shift_sets_all(const struct insn *i)
{
    unsigned op = insn_row(i)->key.opcode;

    if (op == 0xd0 || op == 0xd1)
        return true;
    return (op == 0xc0 || op == 0xc1) && (i->imm & (i->osz == 8 ? 63 : 31));
}

/* Whether instructions that cannot fault set all flags again before anything can look at them. */
static bool flags_unseen(const struct translator *t, const struct jit_insn *ji)
{
    enum flag_use use = FLAG_NEUTRAL;

    for (unsigned n = 1; n <= ji->behind && use == FLAG_NEUTRAL; n++)
        use = lower_first_use(t, &ji[n].insn);
    return use == FLAG_SETS_ALL;
}

/* AF of logic operations is undefined, too, but every processor clears it. BSF and BSR have
 * lower_scan_flags(). */
bool lower_flags_agree(const struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    const struct insn_row *row = insn_row(i);

    return t->j->undefined || !row->flags_undefined ||
           (row->flags_undefined == F_AF && !is_shift(row)) || i->id == INSN_BSF_GvEv ||
           i->id == INSN_BSR_GvEv || flags_unseen(t, ji);
}

/* What manuals leave undefined often is left alone, so such instructions get the flags that were
 * there; AF of logic operations is not: it is cleared. */
enum flag_use lower_flag_use(const struct insn *i)
{
    const struct insn_row *row = insn_row(i);

    if (row->flags_read & F_OSZAPC)
        return FLAG_NEEDS;
    if (!(row->flags_written & F_OSZAPC))
        return FLAG_NEUTRAL;
    if ((row->flags_written & F_OSZAPC) != F_OSZAPC)
        return FLAG_NEEDS;
    if (is_shift(row))
        return shift_sets_all(i) ? FLAG_SETS_ALL : FLAG_NEEDS;
    return row->flags_undefined & ~(u32)F_AF ? FLAG_NEEDS : FLAG_SETS_ALL;
}
