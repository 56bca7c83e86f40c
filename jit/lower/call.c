/* SPDX-License-Identifier: MIT
 *
 * Calls, returns and indirect jumps. A call is the host's CALL, a return its RET (jit/returns.c):
 * the code behind the CALL compares the RIP that was popped with the one it is good for. Calls look
 * at events, by the same comparison that bounds the return stack; returns need not, as each is due
 * to a call or goes to the stub for lost ones.
 */
#include "jit/lower/lower.h"

/* The slot that a call pushes to, or the one a return pops. */
static struct emit_mem access_stack(struct translator *t, const struct jit_insn *ji, bool push)
{
    struct mem_ref ref;

    lower_stack_ref(t, RSP, push ? -(i32)ji->insn.osz : 0, ji->insn.osz, push, &ref);
    return lower_access(t, ji, &ref);
}

void jit_find_in_jump_cache(struct emit *e)
{
    struct emit_mem cache = VCPU_AT(jit.cache), tag = emit_at(T1, 0);

    emit_mov32(e, T1, T0);
    emit_op_reg(e, 0, 0xc1, T1, 4); /* shl t1d, 4: the size of an entry */
    emit_value(e, 4, 1);
    emit_op_reg(e, 0, 0x33, T0, T1); /* xor t1d, t0d */
    emit_op_reg(e, 0, 0x81, T1, 4);  /* and */
    emit_value(e, (JUMP_CACHE - 1) << 4, 4);
    emit_op_mem(e, EMIT_W, 0x03, &cache, T1);
    emit_op_mem(e, EMIT_W, 0x3b, &tag, T0); /* cmp t0, [t1] */
}

/* T0: target. Afterwards T1 points to its jump cache entry. Flags are saved. Otherwise the
 * instruction is executed out of line. */
static u8 *find_target(struct translator *t)
{
    u64 segment = jit_jump_tag(t->block->mode);

    if (segment) {
        emit_mov_imm(t->e, T1, segment);
        emit_op_reg(t->e, EMIT_W, 0x0b, T1, T0); /* or t0, t1 */
    }
    jit_find_in_jump_cache(t->e);
    return emit_jcc(t->e, CC_NE, 0);
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
    emit_mov_imm(t->e, T0, lower_keep(t, ji));
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

void lower_jump_indirect(struct translator *t, const struct jit_insn *ji)
{
    u8 *from[2];

    lower_save_flags(t);
    from[0] = lower_poll(t);
    load_target(t, ji);
    from[1] = find_target(t);
    jump_to_entry(t);
    by_body(t, ji, from, 2);
}

/* Whether calls and returns of this block are paired. */
static bool paired(const struct translator *t)
{
    const u32 wanted = JIT_RETURNS | JIT_LINK | JIT_INDIRECT | JIT_MEMORY;

    return (t->j->options.optimisations & wanted) == wanted &&
           !(t->block->mode & (MODE_CODE16 | MODE_STACK16)) && !jit_jump_tag(t->block->mode);
}

/* Jumps if the return stack is full or attention is wanted. Flags are saved. */
static u8 *look_at_limit(struct translator *t)
{
    struct emit_mem limit = VCPU_AT(jit.return_limit);

    emit_op_mem(t->e, EMIT_66, 0x3b, &limit, HOST_RSP); /* cmp sp, limit */
    return emit_jcc(t->e, CC_B, 0);
}

/* Goes on at `again` with an empty return stack, but if attention is wanted. */
static void empty_returns(struct translator *t, u64 again)
{
    emit_call(t->e, t->j->return_full);
    emit_jcc(t->e, CC_E, again);
}

/* If attention is wanted the callee's return is a lost one: this comes seldom. */
void lower_call_full(struct translator *t, struct exit_site *x)
{
    emit_patch(x->full_from, t->e->delta, emit_here(t->e));
    empty_returns(t, x->full_again);
    t->flags = FLAGS_SAVED;
    lower_leave_at(t, x->link->target, t->j->exit_at);
}

/* Where the callee returns to. T0: RIP, T1: as at return_lost; flags are saved. */
static void return_site(struct translator *t, u64 next)
{
    struct emit *e = t->e;
    struct exit_site *x;

    t->flags = FLAGS_SAVED;
    x = lower_new_exit(t, next);
    if (!x)
        return;
    if (next == (u64)(i64)(i32)next || !(t->block->mode & MODE_CODE64)) {
        emit_op_reg(e, t->block->mode & MODE_CODE64 ? EMIT_W : 0, 0x81, T0, 7); /* cmp t0, next */
        emit_value(e, next, 4);
    } else {
        emit_bytes(e, "\x4c\x3b\x0d", 3); /* cmp t0, [rip + ...] */
        x->expected_at = e->at;
        emit_value(e, 0, 4);
    }
    x->rel32 = emit_jcc(e, CC_E, 0);
    emit_jmp(e, t->j->return_lost);
}

static void push_next(struct translator *t, const struct jit_insn *ji, const struct emit_mem *slot)
{
    u64 next = lower_next(t->block, &ji->insn, ji->rip);
    unsigned size = ji->insn.osz;

    if (size == 8 && next != (u64)(i64)(i32)next) {
        emit_mov_imm(t->e, T1, next);
        emit_store(t->e, slot, T1, 8);
    } else {
        emit_store_imm(t->e, slot, (i32)next, size);
    }
    lower_stack_move(t, -(i32)size);
}

void lower_call_to(struct translator *t, const struct jit_insn *ji, u64 target)
{
    struct emit_mem slot = access_stack(t, ji, true);
    struct exit_site *x;

    push_next(t, ji, &slot);
    if (!paired(t)) {
        lower_exit_to(t, target, lower_jumps_back(ji, target));
        return;
    }
    lower_save_flags(t);
    x = lower_new_exit(t, target);
    if (!x)
        return;
    x->full_again = emit_here(t->e);
    x->full_from = look_at_limit(t);
    emit_call(t->e, emit_here(t->e));
    x->rel32 = t->e->at - 4;
    return_site(t, lower_next(t->block, &ji->insn, ji->rip));
}

void lower_call_indirect(struct translator *t, const struct jit_insn *ji)
{
    struct emit_mem entry = VCPU_AT(jit.entry), code = emit_at(T1, 8), slot;
    struct mem_ref ref;
    unsigned size = ji->insn.osz;
    u64 again, site;
    u8 *from[2];

    lower_save_flags(t);
    again = emit_here(t->e);
    from[0] = paired(t) ? look_at_limit(t) : lower_poll(t);
    load_target(t, ji);
    from[1] = find_target(t);
    emit_load(t->e, T1, &code, 8);
    emit_store(t->e, &entry, T1, 8);
    lower_stack_ref(t, RSP, -(i32)size, size, true, &ref);
    slot = lower_access_last(t, ji, &ref);
    push_next(t, ji, &slot);
    if (!paired(t)) {
        emit_jmp_mem(t->e, &entry);
        by_body(t, ji, from, 2);
        return;
    }
    emit_op_mem(t->e, 0, 0xff, &entry, 2); /* call [entry] */
    site = emit_here(t->e);
    return_site(t, lower_next(t->block, &ji->insn, ji->rip));
    emit_patch(from[0], t->e->delta, emit_here(t->e));
    empty_returns(t, again);
    emit_patch(from[1], t->e->delta, emit_here(t->e));
    emit_mov_imm(t->e, T0, site); /* the body is no CALL of the host */
    emit_op_plus(t->e, 0, 0x50, T0);
    by_body(t, ji, NULL, 0);
}

void lower_return(struct translator *t, const struct jit_insn *ji, unsigned release)
{
    struct emit_mem top;
    unsigned size = ji->insn.osz;
    u8 *from[2];

    lower_save_flags(t);
    if (paired(t)) {
        top = access_stack(t, ji, false);
        emit_load(t->e, T0, &top, size);
        lower_stack_move(t, (i32)(size + release));
        emit_mov_imm(t->e, T1, lower_keep(t, ji));
        emit_value(t->e, 0xc3, 1); /* ret */
        return;
    }
    from[0] = lower_poll(t);
    top = access_stack(t, ji, false);
    emit_load(t->e, T0, &top, size);
    from[1] = find_target(t);
    lower_stack_move(t, (i32)(size + release));
    jump_to_entry(t);
    by_body(t, ji, from, 2);
}
