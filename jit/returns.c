/* SPDX-License-Identifier: MIT
 *
 * Return stacks. A guest's CALL is a CALL of the host, so that its RET can be the host's RET, which
 * processors predict. Translated code therefore runs on a stack of its own, which holds nothing but
 * return addresses in translated code. The guest's stack says where a RET goes: the code it returns
 * to compares that with the only address it is good for, and whatever else a guest does to its
 * stack (longjmp, threads, retpolines) ends in the jump cache. So a return stack may be wrong, and
 * may be emptied at any time. These rules keep it safe:
 *
 * - A mode has a stack of its own, or it would lead to code that runs with other rights.
 * - A return jumps to code in the same page unguarded: stacks that are older than the last change
 *   of mappings are emptied before they are used again.
 * - Code that is evicted empties all. Dead code stays where it is until then, and what is behind
 * its CALL is a comparison and a jump, which is cut as any other when the block it leads to dies.
 * - Its outermost entry leads to a stub that puts it back, so more returns than calls do no harm. A
 *   CALL compares the stack pointer with a limit, and empties a stack that is full.
 */
#include <stdlib.h>

#include "jit/internal.h"

enum {
    STACK_SIZE = 1 << 16, /* also its alignment: the low 16 bits of an address tell the depth */
    STACK_TOP = STACK_SIZE - 64,
    STACK_RESERVE = 1 << 14, /* for stubs, and signal handlers without a stack of their own */
};

struct return_stack {
    u64 sp, changes;
    u32 mode;
};

struct jit_returns {
    struct return_stack stack[JUMP_CACHES], *now;
    u8 *memory;
};

static u64 top_of(const struct jit_returns *r, unsigned n)
{
    return (u64)r->memory + n * STACK_SIZE + STACK_TOP;
}

enum status jit_returns_create(struct jit *j, struct error *err)
{
    struct jit_returns *r = calloc(1, sizeof(*r));

    j->returns = r;
    if (r)
        r->memory = aligned_alloc(STACK_SIZE, JUMP_CACHES * STACK_SIZE);
    if (!r || !r->memory)
        return error_set(err, ST_NO_MEMORY, "No memory for the translator; free some memory.");
    for (unsigned n = 0; n < JUMP_CACHES; n++)
        r->stack[n].mode = MODE_NONE;
    jit_returns_limit(j->v);
    return ST_OK;
}

void jit_returns_destroy(struct jit *j)
{
    if (j->returns)
        free(j->returns->memory);
    free(j->returns);
}

void jit_returns_limit(struct vcpu *v)
{
    __atomic_store_n(&v->jit.return_limit, STACK_RESERVE, __ATOMIC_RELAXED);
}

void jit_returns_forget(struct jit *j)
{
    for (unsigned n = 0; n < JUMP_CACHES; n++)
        j->returns->stack[n].mode = MODE_NONE;
    j->returns->now = NULL;
}

void jit_returns_use(struct jit *j, u32 mode, unsigned n)
{
    struct jit_returns *r = j->returns;
    struct return_stack *s = &r->stack[n];
    struct vcpu *v = j->v;

    if (likely(s == r->now && s->mode == mode && s->changes == v->tlb.changes))
        return;
    if (r->now)
        r->now->sp = v->jit.return_sp;
    if (s->mode != mode || s->changes != v->tlb.changes) {
        s->sp = top_of(r, n);
        *(u64 *)s->sp = j->return_none;
        s->mode = mode;
        s->changes = v->tlb.changes;
    }
    r->now = s;
    v->jit.return_sp = s->sp;
    v->jit.return_top = top_of(r, n);
}

/* Whether RET may go there; else it faults (SDM 2B RET). */
static bool may_return(const struct jit *j, u64 rip)
{
    u32 mode = j->v->jit.mode;

    if (mode & MODE_CODE64)
        return (u64)((i64)(rip << 16) >> 16) == rip;
    return rip <= j->code_segment[mode >> MODE_CODE_SHIFT].limit;
}

u64 jit_return(struct vcpu *v)
{
    struct jit *j = jit_of(v);
    const struct jit_insn *ji = (const struct jit_insn *)(j->arena + v->jit.entry);
    u64 release = ji->insn.osz + (ji->insn.id == INSN_RET_Iw ? (u16)ji->insn.imm : 0u);

    if (likely(may_return(j, v->rip)))
        return jit_lookup(v);
    v->gpr[RSP] -= release;
    if (!(v->jit.mode & MODE_CODE64))
        v->gpr[RSP] = (u32)v->gpr[RSP];
    return jit_exec_one(v, ji);
}
