/* SPDX-License-Identifier: MIT
 *
 * One check for several accesses of a block that differ by a constant: same base register (which
 * may have moved by constants, as RSP does), same index. The first checks a window that covers all
 * and keeps host address - guest address in a slot of the vCPU; the others add that and are done,
 * without touching flags. A window that leaves its page, or that the TLB does not know, makes the
 * interpreter execute the first instruction, and the block is left.
 *
 * A check for a load must not make a page dirty, nor be refused because the page cannot be stored
 * to if the store perhaps never comes. So a group that begins with a load takes stores in only if
 * nothing leaves the block in between, and then its check accepts dirty pages only; on others the
 * load is executed alone.
 */
#include "jit/lower/lower.h"

/* Values of registers: the version of the last unknown value, and the constant added since. */
struct values {
    u32 version[16];
    i64 moved[16];
    u32 next;
};

static void describe(const struct translator *t, const struct jit_insn *ji,
                     struct insn_access *described)
{
    struct reg_effects *effects = &described->effects;
    struct mem_ref *ref = &described->ref;

    *ref = (struct mem_ref){0};
    *effects = (struct reg_effects){.adjusted = REG_NONE};
    effects->all = true;
    if (lower_flags_agree(t, ji))
        effects->all = !(lower_generic_describe(t, ji, ref, effects) ||
                         lower_stack_describe(t, ji, ref, effects) ||
                         lower_divide_describe(t, ji, ref, effects) ||
                         lower_string_describe(t, ji, ref, effects) ||
                         lower_special_describe(t, ji, ref, effects) ||
                         lower_system_describe(t, ji, ref, effects) ||
                         lower_x87_describe(t, ji, ref, effects) ||
                         lower_branch_describe(t, ji, ref, effects) ||
                         lower_segment_describe(t, ji, ref, effects));
}

static void follow(struct values *values, const struct reg_effects *effects)
{
    for (u32 left = effects->all ? 0xffff : effects->written & 0xffff; left; left &= left - 1) {
        unsigned r = (unsigned)__builtin_ctz(left);

        values->version[r] = values->next++;
        values->moved[r] = 0;
    }
    if (effects->adjusted != REG_NONE)
        values->moved[effects->adjusted] += effects->by;
}

static bool groupable(const struct translator *t, const struct mem_ref *ref)
{
    unsigned width = t->block->mode & MODE_CODE64 ? 8 : 4;

    return ref->size && ref->seg == REF_FLAT && ref->asz == width &&
           (!ref->aligned || ref->size == 16);
}

/* Whether accesses are checked by the page of the stack. */
static bool by_stack(const struct translator *t, const struct mem_ref *ref)
{
    return (t->j->options.optimisations & JIT_STACK) && ref->base == RSP && lower_has_distance(ref);
}

static bool fits(const struct mem_group *g, const struct mem_ref *ref, u32 base_version,
                 u32 index_version, i64 at, unsigned exits)
{
    i64 lo = at < g->lo ? at : g->lo, hi = at + ref->size > g->hi ? at + ref->size : g->hi;

    return g->base == ref->base && g->index == ref->index && g->scale == ref->scale &&
           g->base_version == base_version && g->index_version == index_version &&
           (g->write || !ref->write || g->exits == exits) && hi - lo <= GROUP_WINDOW &&
           (!ref->aligned || g->residue < 0 || g->residue == (at & 15));
}

static void join(struct mem_group *g, const struct mem_ref *ref, i64 at)
{
    if (at < g->lo)
        g->lo = at;
    if (at + ref->size > g->hi)
        g->hi = at + ref->size;
    if (ref->aligned)
        g->residue = (i8)(at & 15);
    if (ref->write && !g->write)
        g->write = g->loads_first = true;
    g->uses++;
}

static void place(struct translator *t, unsigned n, const struct mem_ref *ref,
                  const struct values *values)
{
    u32 base_version = ref->base == REG_NONE ? 0 : values->version[ref->base];
    u32 index_version = ref->index == REG_NONE ? 0 : values->version[ref->index];
    i64 moved = ref->base == REG_NONE ? 0 : values->moved[ref->base], at = moved + ref->disp;
    struct mem_access *a = &t->access[n];

    a->root = moved;
    for (unsigned k = t->group_count; k-- > 0;) {
        if (fits(&t->group[k], ref, base_version, index_version, at, t->side_exits)) {
            join(&t->group[k], ref, at);
            a->group = (i8)k;
            return;
        }
        if (t->group[k].stack && by_stack(t, ref))
            break; /* the stack's page may be another one since */
    }
    if (t->group_count == GROUPS_MAX)
        return;
    t->group[t->group_count] = (struct mem_group){.base = ref->base,
                                                  .index = ref->index,
                                                  .scale = ref->scale,
                                                  .write = ref->write,
                                                  .exits = t->side_exits,
                                                  .base_version = base_version,
                                                  .index_version = index_version,
                                                  .lo = at,
                                                  .hi = at,
                                                  .stack = by_stack(t, ref),
                                                  .residue = -1};
    join(&t->group[t->group_count], ref, at);
    a->head = true;
    a->group = (i8)t->group_count++;
}

/* A group lasts if its address is the same in each turn of a loop, and its check has been passed
 * whenever the block jumps back. Bodies of the interpreter may change mappings. */
static void find_lasting(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    unsigned stacks = 0;
    u32 written = 0;

    for (unsigned n = 0; n < t->group_count; n++)
        stacks += t->group[n].stack;
    for (unsigned n = 0; n < count; n++) {
        const struct reg_effects *effects = &t->described[n].effects;

        if (effects->all && !(insn_row(&insns[n].insn)->traits & T_ENDS))
            return;
        written |= effects->written;
        if (effects->adjusted != REG_NONE)
            written |= (u32)BIT(effects->adjusted);
    }
    for (unsigned n = 0; n < t->loop.first; n++) {
        const struct mem_access *a = &t->access[n];
        struct mem_group *g = &t->group[a->group < 0 ? 0 : a->group];

        if (a->head && (!g->stack || stacks == 1) &&
            (g->base == REG_NONE || !(written & BIT(g->base))) &&
            (g->index == REG_NONE || !(written & BIT(g->index))))
            g->lasts = true;
    }
}

void lower_group_accesses(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    struct values values = {.next = 17};
    bool enabled = (t->j->options.optimisations & JIT_COALESCE) && !t->block->one_by_one &&
                   !(t->block->mode & MODE_WINDOW);

    for (unsigned r = 0; r < 16; r++)
        values.version[r] = r + 1;
    for (unsigned n = 0; n < count; n++) {
        const struct reg_effects *effects = &t->described[n].effects;
        const struct mem_ref *ref = &t->described[n].ref;

        t->access[n] = (struct mem_access){.group = -1};
        if (insn_row(&insns[n].insn)->traits & T_ENDS)
            t->side_exits++;
        describe(t, &insns[n], &t->described[n]);
        if (!effects->all && enabled && groupable(t, ref) &&
            (ref->index == REG_NONE || !values.moved[ref->index]))
            place(t, n, ref, &values);
        /* An index that moved has another value: a new version for it. */
        if (effects->adjusted != REG_NONE && effects->by)
            for (unsigned k = 0; k < t->group_count; k++)
                if (t->group[k].index == effects->adjusted)
                    t->group[k].index_version = 0;
        follow(&values, effects);
    }
    if (t->loop.on && enabled)
        find_lasting(t, insns, count);
}

/* -- emitting -- */

static struct emit_mem slot_of(unsigned group)
{
    return emit_gs((i32)(offsetof(struct vcpu, jit.slot) + 8 * group));
}

/* Where the group's distance, or page, is. */
static struct emit_mem distance_of(const struct translator *t, unsigned group)
{
    const struct mem_group *g = &t->group[group];

    return g->stack  ? lower_stack_distance(t)
           : g->site ? lower_site_distance(g->site)
                     : slot_of(group);
}

/* The first check of a group has been made: with a site there is its distance, and the way back
 * from a miss must see to that. */
static void share(struct mem_group *g, struct miss_site *site, const struct mem_ref *ref, i64 by)
{
    g->site = site->site;
    site->shared = site->site != NULL;
    site->ref = *ref;
    site->by = by;
}

/* T0 is the group's distance, or page, until it is used for something else. */
static void hold(struct translator *t, unsigned group)
{
    t->held = (int)group;
    t->e->named &= ~(u32)BIT(T0);
}

/* Loads it if T0 is something else. */
static void want(struct translator *t, unsigned group)
{
    struct emit_mem slot = distance_of(t, group);

    if (t->held == (int)group && !(t->e->named & BIT(T0)))
        return;
    emit_load(t->e, T0, &slot, 8);
    hold(t, group);
}

/* The address in T1 by one instruction, keeping T0 and flags; false: registers are in the vCPU. */
static bool address_in_t1(struct translator *t, const struct mem_ref *ref, i64 by)
{
    struct emit_mem m = {.base = HOST_NONE, .index = HOST_NONE, .scale = ref->scale};
    i64 disp = ref->disp + by;

    if (ref->base == REG_NONE && ref->index == REG_NONE) {
        emit_mov_imm(t->e, T1, ref->asz == 8 ? (u64)disp : (u32)disp);
        return true;
    }
    if ((ref->base != REG_NONE && host_of(ref->base) == HOST_NONE) ||
        (ref->index != REG_NONE && host_of(ref->index) == HOST_NONE))
        return false;
    if (ref->base != REG_NONE)
        m.base = (u8)host_of(ref->base);
    if (ref->index != REG_NONE)
        m.index = (u8)host_of(ref->index);
    m.disp = (i32)disp;
    emit_lea(t->e, T1, &m, ref->asz);
    return true;
}

/* T0 holds the host address of the window; the slot gets its distance from the guest's. */
static void fill_slot(struct translator *t, const struct mem_ref *ref, unsigned group, i64 by)
{
    struct emit_mem slot = slot_of(group);
    struct emit *e = t->e;

    if (address_in_t1(t, ref, by)) {
        emit_op_reg(e, EMIT_W, 0xf7, T1, 3); /* neg t1 */
        emit_op_reg(e, EMIT_W, 0x03, T0, T1);
        emit_store(e, &slot, T1, 8);
        return;
    }
    emit_store(e, &slot, T0, 8);
    lower_address(t, ref, by);
    emit_mov(e, T1, T0);
    emit_load(e, T0, &slot, 8);
    emit_op_reg(e, EMIT_W, 0xf7, T1, 3);
    emit_op_reg(e, EMIT_W, 0x03, T0, T1);
    emit_store(e, &slot, T1, 8);
}

/* Of the address in T0, before its page is looked at, which would mark that accessed or dirty (SDM
 * 3A 4.8) for an instruction that faults. */
static void check_alignment(struct translator *t, const struct jit_insn *ji, unsigned size,
                            i64 offset, bool leaves)
{
    unsigned reg = T0;

    if (offset) {
        struct emit_mem m = emit_at(T0, (i32)offset);

        emit_lea(t->e, T1, &m, 8);
        reg = T1;
    }
    emit_op_reg(t->e, EMIT_REX, 0xf6, reg, 0); /* test, size - 1 */
    emit_value(t->e, size - 1, 1);
    lower_give_up(t, ji, emit_jcc(t->e, CC_NE, 0))->leaves = leaves;
}

struct emit_mem lower_access_alone(struct translator *t, const struct jit_insn *ji,
                                   const struct mem_ref *ref)
{
    struct emit_mem at;

    if (lower_by_window(t, ji, ref, &at))
        return at;
    lower_release_flags(t);
    if (lower_bounded(t, ref))
        lower_bounded_address(t, ji, ref);
    else
        lower_address(t, ref, 0);
    if (ref->aligned && ref->size > 1)
        check_alignment(t, ji, ref->size, 0, false);
    lower_check(t, ji, ref->size, ref->write);
    return emit_at(T0, 0);
}

/* Where the window of a group, or an access alone, begins if it has a constant address. */
static bool constant_in_page(const struct translator *t, const struct mem_ref *ref, i64 at,
                             unsigned size)
{
    return (t->j->options.optimisations & JIT_CONSTANT) && ref->base == REG_NONE &&
           ref->index == REG_NONE && ref->seg == REF_FLAT && ref->asz == 8 &&
           (u64)at % PAGE_SIZE <= PAGE_SIZE - size;
}

static struct emit_mem in_page(const struct mem_ref *ref)
{
    return emit_at(T0, (i32)(ref->disp & ~PAGE_MASK));
}

/* host address - linear address is in T0. */
static struct emit_mem by_distance(const struct mem_ref *ref)
{
    return (struct emit_mem){.base = (u8)host_of(ref->base), .index = T0, .disp = (i32)ref->disp};
}

/* An access that shares its check with none. */
static struct emit_mem access_alone(struct translator *t, const struct jit_insn *ji,
                                    const struct mem_ref *ref, bool may_use_stack)
{
    struct emit_mem at;

    if (lower_by_window(t, ji, ref, &at))
        return at;
    if (constant_in_page(t, ref, ref->disp, ref->size) &&
        !(ref->aligned && ref->disp % ref->size)) {
        lower_release_flags(t);
        lower_check_page(t, ji, ref, 0, ref->size, ref->write);
        return in_page(ref);
    }
    if (may_use_stack && !ref->aligned && by_stack(t, ref)) {
        lower_release_flags(t);
        lower_check_distance(t, ji, ref, 0, ref->size, ref->write);
        return by_distance(ref);
    }
    return lower_access_alone(t, ji, ref);
}

/* The first of a group. */
static struct emit_mem access_head(struct translator *t, const struct jit_insn *ji,
                                   const struct mem_ref *ref, const struct mem_access *a)
{
    struct mem_group *g = &t->group[a->group];
    unsigned size = (unsigned)(g->hi - g->lo);
    i64 by = g->lo - (a->root + ref->disp); /* from this access to the start of the window */
    struct emit_mem slot = slot_of((unsigned)a->group), at;
    bool page = constant_in_page(t, ref, g->lo, size), distance = lower_has_distance(ref);
    struct miss_site *site;

    lower_release_flags(t);
    if (g->residue >= 0 || !(page || distance))
        lower_address(t, ref, by);
    if (g->residue >= 0)
        check_alignment(t, ji, 16, (g->residue - g->lo) & 15, true);
    if (page) {
        site = lower_check_page(t, ji, ref, by, size, g->write);
        emit_store(t->e, &slot, T0, 8);
        hold(t, (unsigned)a->group);
        at = in_page(ref);
    } else if (distance) {
        site = lower_check_distance(t, ji, ref, by, size, g->write);
        share(g, site, ref, by);
        if (!g->stack && !g->site)
            emit_store(t->e, &slot, T0, 8);
        hold(t, (unsigned)a->group);
        at = by_distance(ref);
    } else {
        site = lower_check(t, ji, size, g->write);
        share(g, site, ref, by);
        if (!g->site)
            fill_slot(t, ref, (unsigned)a->group, by);
        at = emit_at(T0, (i32)-by);
    }
    site->leaves = true;
    site->if_dirty = g->loads_first;
    return at;
}

void lower_check_early(struct translator *t, const struct jit_insn *ji, const struct mem_ref *ref,
                       unsigned group, i64 root)
{
    struct mem_group *g = &t->group[group];
    unsigned size = (unsigned)(g->hi - g->lo);
    i64 by = g->lo - (root + ref->disp);
    struct emit_mem slot = slot_of(group);
    struct miss_site *site;

    lower_release_flags(t);
    if (g->stack) {
        site = lower_check_distance(t, ji, ref, by, size, g->write);
    } else {
        if (constant_in_page(t, ref, g->lo, size)) {
            site = lower_check_page(t, ji, ref, by, size, g->write);
        } else {
            lower_address(t, ref, by);
            site = lower_check(t, ji, size, g->write);
        }
        emit_store(t->e, &slot, T0, 8);
    }
    site->leaves = true;
    site->early = true;
    g->early = true;
}

static struct emit_mem access_member(struct translator *t, const struct mem_ref *ref,
                                     const struct mem_access *a)
{
    const struct mem_group *g = &t->group[a->group];
    struct emit_mem slot = distance_of(t, (unsigned)a->group), sum = emit_at(T0, 0);

    if (constant_in_page(t, ref, g->lo, (unsigned)(g->hi - g->lo))) {
        want(t, (unsigned)a->group);
        return in_page(ref);
    }
    if (g->early && !g->stack) {
        want(t, (unsigned)a->group);
        return emit_at(T0, (i32)(a->root + ref->disp - g->lo));
    }
    if (lower_has_distance(ref)) {
        want(t, (unsigned)a->group);
        return by_distance(ref);
    }
    lower_address(t, ref, 0);
    emit_load(t->e, T1, &slot, 8);
    sum.index = T1;
    emit_lea(t->e, T0, &sum, 8);
    return emit_at(T0, 0);
}

struct emit_mem lower_access_last(struct translator *t, const struct jit_insn *ji,
                                  const struct mem_ref *ref)
{
    return access_alone(t, ji, ref, true);
}

struct emit_mem lower_access(struct translator *t, const struct jit_insn *ji,
                             const struct mem_ref *ref)
{
    const struct mem_access *a = &t->access[t->block->count - 1 - ji->behind];
    const struct mem_group *g = &t->group[a->group < 0 ? 0 : a->group];

    lower_hoisted(t, ji);
    if (g->early && a->group >= 0)
        return access_member(t, ref, a);
    if (a->group < 0) /* groups rely on the stack's page that they saw */
        return access_alone(t, ji, ref, !t->group_count);
    if (g->uses < 2 && !g->lasts)
        return access_alone(t, ji, ref, true);
    if (a->head && !(g->lasts && t->loop.second))
        return access_head(t, ji, ref, a);
    return access_member(t, ref, a);
}
