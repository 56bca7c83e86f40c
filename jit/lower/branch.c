/* SPDX-License-Identifier: MIT
 *
 * The end of a block: jumps, calls, returns, and how one block continues in another.
 */
#include "jit/lower/lower.h"

/* The instruction behind. */
static u64 next_of(const struct jit_block *block, const struct insn *i, u64 rip)
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
    *target = (next_of(block, i, rip) + (u64)i->imm) & target_mask(i);
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

void lower_leave_at(struct translator *t, u64 rip, u64 exit)
{
    struct emit_mem at = VCPU_AT(rip);

    lower_save_flags(t);
    emit_mov_imm(t->e, T0, rip);
    emit_store(t->e, &at, T0, 8);
    emit_jmp(t->e, exit);
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

/* An exit that continues at target; NULL: no memory. Flags as they are now. */
static struct exit_site *new_exit(struct translator *t, u64 target)
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

    if (!same_page(t, target))
        lower_save_flags(t);
    if (x->polls) {
        x->flags = t->flags;
        x->recipe = t->recipe;
        x->attention_from = lower_poll(t);
    }
    if (t->flags == FLAGS_RECIPE)
        lower_need_flags(t);
    x->link->saved = t->flags == FLAGS_SAVED;
    x->rel32 = emit_jmp_patchable(t->e, 0);
}

void lower_exit_to(struct translator *t, u64 target, bool polls)
{
    struct exit_site *x;

    if (target == t->block->rip && lower_loop_edge(t, LOOP_ALWAYS, 0))
        return;
    if (!(t->j->options.optimisations & JIT_LINK)) {
        lower_leave_at(t, target, t->j->exit_lookup);
        return;
    }
    x = new_exit(t, target);
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
    lower_leave_at(t, x->link->target, t->j->exit_lookup);
}

/* Out of line: what an exit does until it is linked, and when attention is wanted. */
static void lower_exit_stub(struct translator *t, struct exit_site *x)
{
    struct emit *e = t->e;

    if (x->taken_from)
        lower_exit_taken(t, x);
    if (x->attention_from) {
        emit_patch(x->attention_from, e->delta, emit_here(e));
        t->flags = x->flags;
        t->recipe = x->recipe;
        lower_leave_at(t, x->link->target, t->j->exit_lookup);
    }
    if (!(t->j->options.optimisations & JIT_LINK))
        return;
    x->link->stub = emit_here(e);
    x->link->rel32 = x->rel32;
    emit_patch(x->rel32, e->delta, x->link->stub);
    t->flags = x->link->saved ? FLAGS_SAVED : FLAGS_HOST;
    lower_save_flags(t);
    emit_mov_imm(e, T0, (u64)x->link);
    emit_jmp(e, t->j->exit_link);
}

void lower_exits(struct translator *t)
{
    for (unsigned n = 0; n < t->exit_count; n++)
        lower_exit_stub(t, &t->exit[n]);
}

/* -- conditional and direct -- */

/* Loops look at events where they jump back. */
static bool jumps_back(const struct jit_insn *ji, u64 target)
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
    u64 target = turned ? next_of(t->block, &ji->insn, ji->rip) : target_of(t, ji);
    bool back = jumps_back(ji, target);
    struct exit_site *x;

    lower_need_flags(t);
    if (target == t->block->rip && lower_loop_edge(t, cc, ji->behind))
        return;
    x = new_exit(t, target);
    if (!x)
        return;
    x->flags = t->flags;
    x->recipe = t->recipe;
    x->polls = back;
    x->behind = ji->behind;
    x->link->saved = false;
    if (!back && same_page(t, target) && (t->j->options.optimisations & JIT_LINK) &&
        !(t->j->options.counted && ji->behind))
        x->rel32 = emit_jcc(t->e, cc, 0);
    else
        x->taken_from = emit_jcc(t->e, cc, 0);
}

static void jump_if(struct translator *t, const struct jit_insn *ji)
{
    lower_side_exit(t, ji);
    if (!t->failed)
        lower_exit_to(t, next_of(t->block, &ji->insn, ji->rip), false);
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

    *next = next_of(block, i, rip);
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

/* The slot that a call pushes to, or the one a return pops. */
static struct emit_mem access_stack(struct translator *t, const struct jit_insn *ji, bool push)
{
    struct mem_ref ref;

    lower_stack_ref(t, RSP, push ? -(i32)ji->insn.osz : 0, ji->insn.osz, push, &ref);
    return lower_access(t, ji, &ref);
}

static void call_to(struct translator *t, const struct jit_insn *ji, u64 target)
{
    u64 next = next_of(t->block, &ji->insn, ji->rip);
    unsigned size = ji->insn.osz;
    struct emit_mem slot = access_stack(t, ji, true);

    if (size == 8 && next != (u64)(i64)(i32)next) {
        emit_mov_imm(t->e, T1, next);
        emit_store(t->e, &slot, T1, 8);
    } else {
        emit_store_imm(t->e, &slot, (i32)next, size);
    }
    lower_stack_move(t, -(i32)size);
    lower_exit_to(t, target, jumps_back(ji, target));
}

/* -- indirect -- */

/* T0: target. Afterwards T1 points to its jump cache entry. Flags are saved. Otherwise the
 * instruction is executed out of line. */
static u8 *find_target(struct translator *t)
{
    struct emit_mem cache = VCPU_AT(jit.cache), tag = emit_at(T1, 0);
    u64 segment = jit_jump_tag(t->block->mode);
    struct emit *e = t->e;

    if (segment) {
        emit_mov_imm(e, T1, segment);
        emit_op_reg(e, EMIT_W, 0x0b, T1, T0); /* or t0, t1 */
    }
    emit_mov32(e, T1, T0);
    emit_op_reg(e, 0, 0xc1, T1, 5); /* shr t1d, 4 */
    emit_value(e, 4, 1);
    emit_op_reg(e, 0, 0x33, T0, T1); /* xor t1d, t0d */
    emit_op_reg(e, 0, 0x81, T1, 4);  /* and */
    emit_value(e, JUMP_CACHE - 1, 4);
    emit_op_reg(e, 0, 0xc1, T1, 4); /* shl t1d, 4 */
    emit_value(e, 4, 1);
    emit_op_mem(e, EMIT_W, 0x03, &cache, T1);
    emit_op_mem(e, EMIT_W, 0x3b, &tag, T0); /* cmp t0, [t1] */
    return emit_jcc(e, CC_NE, 0);
}

static void jump_to_entry(struct translator *t)
{
    struct emit_mem code = emit_at(T1, 8);

    emit_jmp_mem(t->e, &code);
}

/* The out-of-line half of an indirect jump: the instruction as a whole. */
static void by_body(struct translator *t, const struct jit_insn *ji, u8 *const from[],
                    unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        emit_patch(from[n], t->e->delta, emit_here(t->e));
    emit_mov_imm(t->e, T0, (u64)ji);
    emit_call(t->e, t->j->exec);
    lower_exit_lookup(t);
}

/* The target operand into T0. */
static void load_target(struct translator *t, const struct jit_insn *ji)
{
    const struct insn *i = &ji->insn;
    struct emit_mem at;
    struct mem_ref ref;

    if (i->flags & I_MEM) {
        lower_ref(t, ji, i->osz, false, &ref);
        at = lower_access(t, ji, &ref);
        emit_load(t->e, T0, &at, i->osz);
    } else if (i->osz == 8) {
        emit_mov(t->e, T0, lower_use(t, i->rm, T0));
    } else if (i->osz == 2) {
        lower_cut16(t, T0, host_of(i->rm));
    } else {
        emit_mov32(t->e, T0, lower_use(t, i->rm, T0));
    }
}

static void jump_indirect(struct translator *t, const struct jit_insn *ji)
{
    u8 *from[2];

    lower_save_flags(t);
    from[0] = lower_poll(t);
    load_target(t, ji);
    from[1] = find_target(t);
    jump_to_entry(t);
    by_body(t, ji, from, 2);
}

static void call_indirect(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem entry = VCPU_AT(jit.entry), code = emit_at(T1, 8), slot;
    struct mem_ref ref;
    u64 next = next_of(t->block, &ji->insn, ji->rip);
    unsigned size = ji->insn.osz;
    u8 *from[2];

    lower_save_flags(t);
    from[0] = lower_poll(t);
    load_target(t, ji);
    from[1] = find_target(t);
    emit_load(t->e, T1, &code, 8);
    emit_store(t->e, &entry, T1, 8);
    lower_stack_ref(t, RSP, -(i32)size, size, true, &ref);
    slot = lower_access_alone(t, ji, &ref);
    emit_mov_imm(t->e, T1, next);
    emit_store(t->e, &slot, T1, size);
    lower_stack_move(t, -(i32)size);
    emit_jmp_mem(t->e, &entry);
    by_body(t, ji, from, 2);
}

static void return_near(struct translator *t, const struct jit_insn *ji, unsigned release)
{
    struct emit_mem top;
    unsigned size = ji->insn.osz;
    u8 *from[2];

    lower_save_flags(t);
    from[0] = lower_poll(t);
    top = access_stack(t, ji, false);
    emit_load(t->e, T0, &top, size);
    from[1] = find_target(t);
    lower_stack_move(t, (i32)(size + release));
    jump_to_entry(t);
    by_body(t, ji, from, 2);
}

/* -- which -- */

static bool lower_direct(struct translator *t, const struct jit_insn *ji)
{
    u64 target;

    if (!lower_target(t->block, &ji->insn, ji->rip, &target))
        return false;
    switch (ji->insn.id) {
    case INSN_JMP_Jb:
    case INSN_JMP_Jz: lower_exit_to(t, target, jumps_back(ji, target)); return true;
    case INSN_CALL_Jz:
        if (!(t->j->options.optimisations & JIT_MEMORY))
            return false;
        call_to(t, ji, target);
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
        jump_indirect(t, ji);
    else if (i->id == INSN_CALL_Ev)
        call_indirect(t, ji);
    else
        return_near(t, ji, i->id == INSN_RET_Iw ? (u16)i->imm : 0);
    return true;
}
