/* SPDX-License-Identifier: MIT
 *
 * A block that jumps back to its own start is made twice: the first turn runs in the first copy,
 * all others in the second, which knows what the first has established. Flags of the jump back that
 * have a recipe stay in the host's flags, vectors are loaded, and accesses whose address does not
 * change from turn to turn are checked already. Events are looked at once a turn, at the start of
 * the second copy.
 */
#include "jit/lower/lower.h"

static bool jumps_to_start(const struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    bool relative = i->id == INSN_JMP_Jb || i->id == INSN_JMP_Jz || i->id == INSN_LOOP_Jb ||
                    (insn_row(i)->flags_read & F_OSZAPC);
    u64 target;

    return insn_row(i)->jit == CLASS_BRANCH && relative && lower_usual_size(t->block, i) &&
           lower_target(t->block, i, ji->rip, &target) && target == t->block->rip;
}

void lower_loop_find(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    const u32 wanted = JIT_LOOP | JIT_LINK;

    if ((t->j->options.optimisations & wanted) != wanted)
        return;
    for (unsigned n = 0; n < count; n++)
        if (jumps_to_start(t, &insns[n]) && t->loop.count++ == 0)
            t->loop.first = n;
    if (t->block->path && !t->loop.count) { /* it falls into its start */
        t->loop.count = 1;
        t->loop.first = count - 1;
    }
    t->loop.on = t->loop.count && t->loop.count <= LOOP_EDGES;
}

static bool same_recipe(const struct flags_recipe *a, const struct flags_recipe *b)
{
    return a->kind == b->kind && a->insn == b->insn;
}

/* The first edge of all decides what the second copy begins with. Flags with a recipe need not be
 * anywhere; a conditional jump has them in the host's flags anyway. */
static void first_edge(struct translator *t)
{
    struct self_loop *loop = &t->loop;

    loop->flags = t->flags == FLAGS_BOTH ? FLAGS_HOST : t->flags;
    loop->recipe = t->recipe;
    if (t->recipe.kind != RECIPE_NONE)
        loop->flags = FLAGS_RECIPE;
    loop->vectors = t->vectors;
    loop->x87 = t->x87;
}

/* Brings flags to where the second copy expects them; false: this edge cannot. */
static bool arrange_flags(struct translator *t, unsigned cc)
{
    switch (t->loop.flags) {
    case FLAGS_RECIPE: return same_recipe(&t->recipe, &t->loop.recipe);
    case FLAGS_SAVED:
        if (cc != LOOP_ALWAYS)
            return false;
        lower_save_flags(t);
        return true;
    default: lower_need_flags(t); return true;
    }
}

bool lower_loop_edge(struct translator *t, unsigned cc, unsigned behind)
{
    struct self_loop *loop = &t->loop;
    u8 *from;

    if (!loop->on || (t->j->options.counted && behind) || loop->from_count == LOOP_EDGES)
        return false;
    if (!loop->second && !loop->from_count)
        first_edge(t);
    if ((loop->vectors && !t->vectors) || (loop->x87 && !t->x87) || !arrange_flags(t, cc))
        return false;
    from = cc == LOOP_ALWAYS ? emit_jmp_patchable(t->e, 0) : emit_jcc(t->e, cc, 0);
    if (loop->second)
        emit_patch(from, t->e->delta, loop->start);
    else
        loop->from[loop->from_count++] = from;
    return true;
}

bool lower_loop_start(struct translator *t)
{
    struct self_loop *loop = &t->loop;

    if (t->failed || !loop->on || !loop->from_count)
        return false;
    loop->second = true;
    t->held = -1;
    loop->start = emit_here(t->e);
    for (unsigned n = 0; n < loop->from_count; n++)
        emit_patch(loop->from[n], t->e->delta, loop->start);
    t->flags = loop->flags;
    t->recipe = loop->recipe;
    t->vectors = loop->vectors;
    t->x87 = loop->x87;
    if (t->j->options.counted)
        lower_release_flags(t);
    loop->flags_there = t->flags;
    loop->attention_from = lower_poll(t);
    if (t->j->options.counted)
        loop->budget_from = lower_budget(t);
    return true;
}

void lower_loop_leave(struct translator *t)
{
    struct self_loop *loop = &t->loop;

    if (!loop->second)
        return;
    emit_patch(loop->attention_from, t->e->delta, emit_here(t->e));
    if (loop->budget_from)
        emit_patch(loop->budget_from, t->e->delta, emit_here(t->e));
    t->flags = loop->flags_there;
    t->recipe = loop->recipe;
    lower_leave_at(t, t->block->rip, t->j->leave_at);
}
