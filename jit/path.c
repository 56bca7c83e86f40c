/* SPDX-License-Identifier: MIT
 *
 * The second tier: loops along the way they go. A block follows instructions as they lie in memory,
 * and most loops jump about. Whenever translated code is interrupted, which happens at the heads of
 * loops, that place is noted; one that is seen again and again is hot. The interpreter then
 * executes one turn, and if that ends where it began, its way becomes the block: jumps that were
 * taken turn round, and the rest of the translator works as on any other block. If not, the block
 * is translated anew as it was, for code that is in use often.
 */
#include "jit/internal.h"

enum { SAMPLES_HOT = 3, EAGER = 4 };

static struct jit_sample *sample_at(struct jit *j, u64 rip)
{
    return &j->samples[(rip ^ rip >> 6) % SAMPLES];
}

void jit_sample(struct jit *j, u32 mode)
{
    struct jit_sample *s = sample_at(j, j->v->rip);

    if (s->rip != j->v->rip || s->mode != mode)
        *s = (struct jit_sample){.rip = j->v->rip, .mode = mode};
    s->count++;
    if (j->options.eager ? s->count % EAGER == 1 : s->count == SAMPLES_HOT)
        j->hot = s->rip;
}

/* Steps until the way is closed (true) or cannot be followed. */
static bool watch(struct vcpu *v, struct jit_path *path, u64 end, enum vcpu_exit *why)
{
    u64 page = v->rip >> PAGE_SHIFT;

    *why = EXIT_BUDGET;
    for (path->count = 0; path->count < BLOCK_INSNS;) {
        u64 from = v->rip;

        if (v->icount >= end || v->rip >> PAGE_SHIFT != page)
            return false;
        path->rip[path->count++] = from;
        *why = interp_run(v, 1);
        if (*why != EXIT_BUDGET || v->rip == from)
            return false;
        if (v->rip == path->rip[0]) {
            path->rip[path->count] = v->rip;
            return true;
        }
    }
    return false;
}

bool jit_follow_path(struct jit *j, struct jit_block *block, u64 end, enum vcpu_exit *why)
{
    const u64 *epoch = &j->v->ram->code_epoch;
    u64 before = __atomic_load_n(epoch, __ATOMIC_ACQUIRE);
    struct jit_path path;
    bool closed;

    j->hot = HOT_NONE;
    closed = watch(j->v, &path, end, why);
    if (*why != EXIT_BUDGET)
        return true;
    if (j->v->careful || jit_mode(j->v) != block->mode ||
        __atomic_load_n(epoch, __ATOMIC_ACQUIRE) != before)
        return false;
    if (!(closed && jit_translate_path(j, block, &path)) && !block->hot)
        jit_translate_hot(j, block);
    return false;
}
