/* SPDX-License-Identifier: MIT
 *
 * Checks that are made early. A check destroys flags, so those of the guest that no recipe makes
 * again have to be saved before it and perhaps loaded behind it, in the middle of a chain of ADC or
 * between a decrement in memory and the jump that looks at it. Where the address is known at an
 * earlier check of the block already, before the instruction that sets these flags, this one is
 * made there, too, and leaves what it found in the slot of its group.
 *
 * If it fails, the earlier instruction is executed by its body and the block is left, as with any
 * check that others rely on. An access that is checked early must mark no page accessed or dirty,
 * as it may never come. So only pages that the TLB's second level knows will do.
 */
#include "jit/lower/lower.h"

static bool makes_check(const struct translator *t, unsigned n)
{
    const struct insn_access *d = &t->described[n];

    return d->ref.size && !d->effects.all && (t->access[n].group < 0 || t->access[n].head);
}

/* How much more the base register of the access of instruction n is there than at instruction
 * from; effects of [from, n) leave it known. */
static i64 moved_since(const struct translator *t, unsigned from, unsigned n)
{
    unsigned base = t->described[n].ref.base;
    i64 moved = 0;

    for (unsigned k = from; k < n && base != REG_NONE; k++)
        if (t->described[k].effects.adjusted == base)
            moved += t->described[k].effects.by;
    return moved;
}

/* Whether the address of instruction n is known before instruction k, if it is behind it, and
 * nothing leaves the block or looks at the stack's page there. */
static bool passes(const struct translator *t, const struct jit_insn *insns, unsigned n, unsigned k)
{
    const struct mem_ref *ref = &t->described[n].ref, *other = &t->described[k].ref;
    const struct reg_effects *effects = &t->described[k].effects;
    u32 needs = (ref->base == REG_NONE ? 0 : (u32)BIT(ref->base)) |
                (ref->index == REG_NONE ? 0 : (u32)BIT(ref->index));

    return !effects->all && !(insn_row(&insns[k].insn)->traits & (T_ENDS | T_REP)) &&
           !(effects->written & needs) &&
           (effects->adjusted == REG_NONE || effects->adjusted != ref->index) &&
           !(t->group[t->access[n].group].stack && other->size && other->base == RSP);
}

/* The nearest instruction with a check that the one of instruction n can be made before; n: none.
 */
static unsigned find_place(const struct translator *t, const struct jit_insn *insns, unsigned n,
                           u64 checks)
{
    for (unsigned k = n; k-- > 0 && passes(t, insns, n, k);)
        if (checks & BIT(k))
            return t->access[k].hoists < HOISTS_MAX ? k : n;
    return n;
}

void lower_hoist(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    u64 checks = 0, costly;

    if (!(t->j->options.optimisations & JIT_HOIST) || t->j->check || !t->group_count)
        return;
    for (unsigned n = 0; n < count; n++)
        if (makes_check(t, n))
            checks |= BIT(n);
    costly = lower_costly_checks(t, insns, count, checks);
    while (costly) {
        unsigned n = (unsigned)__builtin_ctzll(costly), place = n;

        if (t->access[n].group >= 0 && t->group[t->access[n].group].residue < 0)
            place = find_place(t, insns, n, checks);
        if (place != n) {
            t->access[place].hoisted[t->access[place].hoists++] = (u8)n;
            checks &= ~BIT(n);
            costly = lower_costly_checks(t, insns, count, checks);
        }
        costly &= n == BLOCK_INSNS - 1 ? 0 : ~0ull << (n + 1);
    }
}

void lower_hoisted(struct translator *t, const struct jit_insn *ji)
{
    unsigned at = t->block->count - 1 - ji->behind;
    struct mem_access *a = &t->access[at];

    for (unsigned k = 0; k < a->hoists; k++) {
        unsigned n = a->hoisted[k];
        const struct mem_ref *ref = &t->described[n].ref;
        struct mem_group *g = &t->group[t->access[n].group];

        if (!(g->lasts && t->loop.second))
            lower_check_early(t, ji, ref, (unsigned)t->access[n].group,
                              t->access[n].root - moved_since(t, at, n));
    }
}
