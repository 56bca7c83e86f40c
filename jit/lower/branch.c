/* SPDX-License-Identifier: MIT
 *
 * The end of a block: direct jumps, and how one block continues in another.
 */
#include "jit/lower/lower.h"

u64 lower_next(const struct jit_block *block, const struct insn *i, u64 rip)
{
    return (rip + i->len) & jit_rip_mask(block->mode);
}

/* A target is cut to the operand size. */
static u64 target_mask(const struct insn *i)
{
    return i->osz == 8 ? ~0ull : i->osz == 4 ? 0xffffffffull : 0xffffull;
}

static bool canonical(u64 address)
{
    return (u64)((i64)(address << 16) >> 16) == address;
}

/* Where a jump may go; else its body raises the exception. */
static bool allowed(const struct jit_block *block, u64 target)
{
    return block->mode & MODE_CODE64 ? canonical(target) : target <= block->cs.limit;
}

bool lower_target(const struct jit_block *block, const struct insn *i, u64 rip, u64 *target)
{
    *target = (lower_next(block, i, rip) + (u64)i->imm) & target_mask(i);
    return allowed(block, *target);
}

static u64 target_of(const struct translator *t, const struct jit_insn *ji)
{
    u64 target;

    lower_target(t->block, &ji->insn, ji->rip, &target);
    return target;
}

/* -- leaving -- */

void lower_exit_lookup(struct translator *t)
{
    emit_jmp(t->e, t->j->exit_lookup);
}

void lower_leave_at(struct translator *t, u64 value, const u64 stub[2])
{
    if (t->flags == FLAGS_RECIPE)
        lower_need_flags(t);
    emit_mov_imm(t->e, T0, value);
    emit_jmp(t->e, stub[t->flags == FLAGS_HOST]);
}

/* What is mapped beyond the page may change: only a jump inside it goes on unguarded. */
static bool in_page(const struct jit_block *block, u64 target)
{
    return jit_linear(block, target) >> PAGE_SHIFT == jit_linear(block, block->rip) >> PAGE_SHIFT;
}

static bool same_page(const struct translator *t, u64 target)
{
    return in_page(t->block, target);
}

struct exit_site *lower_new_exit(struct translator *t, u64 target)
{
    struct exit_site *x = &t->exit[t->exit_count];

    check(t->exit_count < EXITS_MAX, "too many exits");
    *x = (struct exit_site){.link = jit_arena(t->j, sizeof(*x->link))};
    if (!x->link) {
        t->failed = true;
        return NULL;
    }
    *x->link = (struct jit_link){.target = target,
                                 .saved = t->flags == FLAGS_SAVED,
                                 .guarded = !same_page(t, target),
                                 .sibling = t->block->exits};
    t->block->exits = x->link;
    t->exit_count++;
    return x;
}

u8 *lower_poll(struct translator *t)
{
    struct emit_mem attention = VCPU_AT(jit.attention);
    struct emit *e = t->e;
    u8 *out;

    if (t->flags == FLAGS_SAVED || t->flags == FLAGS_RECIPE) {
        emit_op_mem(e, 0, 0x83, &attention, 7); /* cmp attention, 0 */
        emit_value(e, 0, 1);
        return emit_jcc(e, CC_NE, 0);
    }
    emit_mov(e, T0, HOST_RCX);
    emit_load(e, HOST_RCX, &attention, 4);
    emit_bytes(e, "\xe3\x08", 2); /* jrcxz over the next two */
    emit_mov(e, HOST_RCX, T0);
    out = emit_jmp_patchable(e, 0);
    emit_mov(e, HOST_RCX, T0);
    return out;
}

/* The jump itself, inline or out of line. */
static void exit_jump(struct translator *t, struct exit_site *x)
{
    u64 target = x->link->target;
    struct emit_mem jf = VCPU_AT(jit.flags);

    x->deferred = lower_deferred_flags(t);
    if (x->deferred)
        lower_release_flags(t);
    else if (!same_page(t, target))
        lower_save_flags(t);
    if (x->polls) {
        x->flags = t->flags;
        x->recipe = t->recipe;
        x->attention_from = lower_poll(t);
    }
    if (x->deferred) {
        x->recipe = t->recipe;
        x->link->defers = DEFERS_JUMP;
        x->link->registers = (u16)t->recipe.registers;
        emit_store_imm(t->e, &jf, (i32)x->deferred, 4);
        t->flags = FLAGS_SAVED;
    } else if (t->flags == FLAGS_RECIPE) {
        lower_need_flags(t);
    }
    x->link->saved = t->flags == FLAGS_SAVED;
    x->rel32 = emit_jmp_patchable(t->e, 0);
}

void lower_exit_to(struct translator *t, u64 target, bool polls)
{
    struct exit_site *x;

    if (target == t->block->rip && lower_loop_edge(t, LOOP_ALWAYS, 0))
        return;
    if (!(t->j->options.optimisations & JIT_LINK)) {
        lower_leave_at(t, target, t->j->exit_at);
        return;
    }
    x = lower_new_exit(t, target);
    if (!x)
        return;
    x->polls = polls;
    exit_jump(t, x);
}

u8 *lower_budget(struct translator *t)
{
    struct emit_mem budget = VCPU_AT(jit.budget);
    u8 *out;

    emit_op_mem(t->e, EMIT_W, 0x81, &budget, 7); /* cmp budget, count */
    emit_value(t->e, t->block->count, 4);
    out = emit_jcc(t->e, CC_B, 0);
    emit_op_mem(t->e, EMIT_W, 0x81, &budget, 5); /* sub */
    emit_value(t->e, t->block->count, 4);
    return out;
}

void lower_give_back(struct translator *t, u32 behind)
{
    struct emit_mem budget = VCPU_AT(jit.budget), more = emit_at(T0, (i32)behind);

    if (!t->j->options.counted || !behind)
        return;
    emit_load(t->e, T0, &budget, 8);
    emit_lea(t->e, T0, &more, 8);
    emit_store(t->e, &budget, T0, 8);
}

static void lower_exit_taken(struct translator *t, struct exit_site *x)
{
    emit_patch(x->taken_from, t->e->delta, emit_here(t->e));
    t->flags = x->flags;
    t->recipe = x->recipe;
    lower_give_back(t, x->behind);
    if (t->j->options.optimisations & JIT_LINK) {
        exit_jump(t, x);
        return;
    }
    lower_leave_at(t, x->link->target, t->j->exit_at);
}

/* Out of line: flags that were to be deferred are made, or others deferred. */
static void lower_other_way(struct translator *t, const struct exit_site *x)
{
    struct emit_mem jf = VCPU_AT(jit.flags);

    x->link->other_way = emit_here(t->e);
    t->flags = FLAGS_RECIPE;
    t->recipe = x->recipe;
    if (x->link->defers == DEFERS_TAKEN)
        emit_store_imm(t->e, &jf, (i32)x->deferred, 4);
    else if (x->link->guarded)
        lower_save_flags(t);
    else
        lower_need_flags(t);
    x->link->other_rel32 = emit_jmp_patchable(t->e, x->link->stub);
}

/* Out of line: what an exit does until it is linked, and when attention is wanted. */
static void lower_exit_stub(struct translator *t, struct exit_site *x)
{
    struct emit *e = t->e;

    if (x->taken_from)
        lower_exit_taken(t, x);
    if (x->full_from)
        lower_call_full(t, x);
    if (x->expected_at) {
        emit_patch(x->expected_at, e->delta, emit_here(e));
        emit_value(e, x->link->target, 8);
    }
    if (x->attention_from) {
        emit_patch(x->attention_from, e->delta, emit_here(e));
        t->flags = x->flags;
        t->recipe = x->recipe;
        lower_leave_at(t, x->link->target, t->j->exit_at);
    }
    if (!(t->j->options.optimisations & JIT_LINK))
        return;
    x->link->stub = emit_here(e);
    x->link->rel32 = x->rel32;
    emit_patch(x->rel32, e->delta, x->link->stub);
    t->flags = x->link->saved ? FLAGS_SAVED : FLAGS_HOST;
    lower_leave_at(t, jit_offset(t->j, x->link), t->j->exit_link);
    if (x->link->defers != DEFERS_NOT)
        lower_other_way(t, x);
}

void lower_exits(struct translator *t)
{
    for (unsigned n = 0; n < t->exit_count; n++)
        lower_exit_stub(t, &t->exit[n]);
}

/* -- conditional and direct -- */

bool lower_jumps_back(const struct jit_insn *ji, u64 target)
{
    return target <= ji->rip;
}

static bool conditional(const struct insn *i)
{
    return insn_row(i)->jit == CLASS_BRANCH && (insn_row(i)->flags_read & F_OSZAPC) &&
           i->id != INSN_LOOPE_Jb && i->id != INSN_LOOPNE_Jb;
}

void lower_side_exit(struct translator *t, const struct jit_insn *ji)
{
    bool turned = ji->taken && ji->behind; /* the block goes on where it jumps to */
    unsigned cc = (insn_row(&ji->insn)->key.opcode & 15) ^ turned;
    u64 target = turned ? lower_next(t->block, &ji->insn, ji->rip) : target_of(t, ji);
    bool back = lower_jumps_back(ji, target);
    struct exit_site *x;

    lower_need_flags(t);
    if (target == t->block->rip && lower_loop_edge(t, cc, ji->behind))
        return;
    x = lower_new_exit(t, target);
    if (!x)
        return;
    x->flags = t->flags;
    x->recipe = t->recipe;
    x->polls = back;
    x->behind = ji->behind;
    x->link->saved = false;
    if (!back && same_page(t, target) && (t->j->options.optimisations & JIT_LINK) &&
        !(t->j->options.counted && ji->behind)) {
        x->deferred = lower_deferred_flags(t);
        if (x->deferred) {
            x->link->defers = DEFERS_TAKEN;
            x->link->registers = (u16)t->recipe.registers;
        }
        x->rel32 = emit_jcc(t->e, cc, 0);
    } else {
        x->taken_from = emit_jcc(t->e, cc, 0);
    }
}

static void jump_if(struct translator *t, const struct jit_insn *ji)
{
    lower_side_exit(t, ji);
    if (!t->failed)
        lower_exit_to(t, lower_next(t->block, &ji->insn, ji->rip), false);
}

bool lower_usual_size(const struct jit_block *block, const struct insn *i)
{
    return block->mode & MODE_CODE64 ? i->osz == 8 : i->osz == 2 || i->osz == 4;
}

bool lower_is_direct(const struct jit_block *block, const struct insn *i, u64 rip, u64 *target)
{
    if (insn_row(i)->jit != CLASS_BRANCH || !lower_usual_size(block, i))
        return false;
    return lower_target(block, i, rip, target) &&
           (i->id == INSN_JMP_Jb || i->id == INSN_JMP_Jz || conditional(i));
}

bool lower_continues(const struct jit *j, const struct jit_block *block, const struct insn *i,
                     u64 rip, u64 *next)
{
    u64 target;

    *next = lower_next(block, i, rip);
    if (lower_masks_interrupts(j, i) || lower_segment_load(j, block, i))
        return in_page(block, *next);
    if (!lower_is_direct(block, i, rip, &target))
        return false;
    if (!conditional(i)) {
        *next = target;
        if (target <= rip)
            return false;
    }
    return in_page(block, *next);
}

/* -- which -- */

static bool lower_direct(struct translator *t, const struct jit_insn *ji)
{
    u64 target;

    if (!lower_target(t->block, &ji->insn, ji->rip, &target))
        return false;
    switch (ji->insn.id) {
    case INSN_JMP_Jb:
    case INSN_JMP_Jz: lower_exit_to(t, target, lower_jumps_back(ji, target)); return true;
    case INSN_CALL_Jz:
        if (!(t->j->options.optimisations & JIT_MEMORY))
            return false;
        lower_call_to(t, ji, target);
        return true;
    default: break;
    }
    if (!conditional(&ji->insn))
        return false;
    jump_if(t, ji);
    return true;
}

static bool indirect(const struct translator *t, const struct insn *i)
{
    const u32 inline_all = JIT_MEMORY | JIT_INDIRECT;

    if (i->id != INSN_JMP_Ev && i->id != INSN_CALL_Ev && i->id != INSN_RET && i->id != INSN_RET_Iw)
        return false;
    return (t->j->options.optimisations & inline_all) == inline_all &&
           (!(i->flags & I_MEM) || lower_can_address(t, i));
}

/* A block may go on behind conditional jumps, which change nothing. The others end it. */
bool lower_branch_describe(const struct translator *t, const struct jit_insn *ji,
                           struct mem_ref *ref, struct reg_effects *effects)
{
    const struct insn *i = &ji->insn;

    if (insn_row(i)->jit != CLASS_BRANCH || !lower_usual_size(t->block, i))
        return false;
    if (i->id == INSN_CALL_Jz && (t->j->options.optimisations & JIT_MEMORY)) {
        lower_stack_ref(t, RSP, -(i32)i->osz, i->osz, true, ref);
        lower_stack_moved(t, -(i32)i->osz, effects);
    } else if (indirect(t, i) && (i->id == INSN_RET || i->id == INSN_RET_Iw)) {
        lower_stack_ref(t, RSP, 0, i->osz, false, ref);
    } else if (indirect(t, i) && (i->flags & I_MEM)) {
        lower_ref(t, ji, i->osz, false, ref);
    } else if (i->id == INSN_LOOP_Jb || i->id == INSN_LOOPE_Jb || i->id == INSN_LOOPNE_Jb) {
        effects->written = (u32)BIT(RCX);
    }
    return true;
}

bool lower_branch(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;

    if (insn_row(i)->jit != CLASS_BRANCH || !lower_usual_size(t->block, i))
        return false;
    if (i->id == INSN_LOOP_Jb || i->id == INSN_JCXZ_Jb)
        return false;
    if (i->id != INSN_JMP_Ev && i->id != INSN_CALL_Ev && i->id != INSN_RET && i->id != INSN_RET_Iw)
        return lower_direct(t, ji);
    if (!indirect(t, i))
        return false;
    if (i->id == INSN_JMP_Ev)
        lower_jump_indirect(t, ji);
    else if (i->id == INSN_CALL_Ev)
        lower_call_indirect(t, ji);
    else
        lower_return(t, ji, i->id == INSN_RET_Iw ? (u16)i->imm : 0);
    return true;
}
