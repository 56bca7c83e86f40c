/* SPDX-License-Identifier: MIT
 *
 * One block: the decoded instructions of a run, lowered one after the other, then everything that
 * is out of line.
 */
#include <string.h>

#include "jit/lower/lower.h"

/* Less is too little for any block: what does not fit is found out as it is emitted, but what is
 * patched then must lie in the block. */
enum { ROOM_MIN = 256 };
enum { CROSS_JUMPS = 3 };

u32 lower_keep(struct translator *t, const struct jit_insn *ji)
{
    u32 *kept = &t->kept[ji - t->insns];
    struct jit_insn *copy;

    if (t->insns != t->own_insns)
        return jit_offset(t->j, ji);
    if (*kept)
        return *kept;
    copy = jit_arena(t->j, sizeof(*copy));
    if (!copy) {
        t->failed = true;
        return 0;
    }
    *copy = *ji;
    *kept = jit_offset(t->j, copy);
    return *kept;
}

void lower_call(struct translator *t, const struct jit_insn *ji)
{
    lower_save_flags(t);
    emit_mov_imm(t->e, T0, lower_keep(t, ji));
    emit_call(t->e, t->j->exec);
    t->vectors = t->x87 = false;
}

/* Counted: RIP is looked at again, by the run loop. */
static void emit_leave(struct translator *t, u8 *const from[], unsigned count, const u64 exit[2])
{
    for (unsigned n = 0; n < count; n++)
        emit_patch(from[n], t->e->delta, emit_here(t->e));
    t->flags = FLAGS_SAVED;
    lower_leave_at(t, t->block->rip, exit);
}

/* The TLB must map a page of code for fetches, to this host page; else: a jump, whose rel32 is
 * returned. Flags are saved. Uses T0. */
static u8 *emit_mapped(struct translator *t, u64 page, const u8 *hva)
{
    struct emit_mem place =
        jit_tlb_at(jit_context(t->block->mode),
                   offsetof(struct tlb_table, exec_place) + 8 * tlb_index(page), HOST_NONE);

    emit_mov_imm(t->e, T0, tlb_exec_place(page, (u64)hva));
    emit_op_mem(t->e, EMIT_W, 0x3b, &place, T0); /* cmp */
    return emit_jcc(t->e, CC_NE, 0);
}

/* size (1, 2, 4, 8) bytes at offset from T0 must be these; else: a jump. Uses T1. */
static u8 *emit_bytes_same(struct translator *t, unsigned offset, const u8 *bytes, unsigned size)
{
    struct emit_mem at = emit_at(T0, (i32)offset);
    u32 prefixes = size == 8 ? EMIT_W : size == 2 ? EMIT_66 : 0u;

    emit_mov_imm(t->e, T1, load_le(bytes, size));
    emit_op_mem(t->e, prefixes, size == 1 ? 0x38 : 0x39, &at, T1); /* cmp */
    return emit_jcc(t->e, CC_NE, 0);
}

/* The end of an instruction that lies in two pages must be where and what it was. Comes behind all
 * entries of its block. Flags are saved. Returns the count of jumps elsewhere. */
static unsigned emit_beyond(struct translator *t, const struct jit_insn *ji,
                            u8 *elsewhere[CROSS_JUMPS])
{
    unsigned first = jit_bytes_in_page(jit_linear(t->block, ji->rip), &ji->insn);
    unsigned left = ji->insn.len - first;
    unsigned size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    const u8 *bytes = ji->insn.bytes + first;

    elsewhere[0] = emit_mapped(t, jit_page_beyond(t->block), t->block->beyond);
    emit_mov_imm(t->e, T0, (u64)t->block->beyond);
    elsewhere[1] = emit_bytes_same(t, 0, bytes, size);
    if (size == left)
        return 2;
    elsewhere[2] = emit_bytes_same(t, left - size, bytes + left - size, size);
    return 3;
}

/* Where flags are wanted first decides what the entries do: a block that begins with a check saves
 * the host's flags unless they are in JF already, one that needs them loads them from JF. Who comes
 * from another page, with flags in JF, finds out first whether this one is mapped, to the memory
 * that was translated; else: a jump elsewhere. That is next to the block's start, as it is in
 * use as often. */
static void emit_entries(struct translator *t, const struct jit_insn *insns, unsigned count,
                         u8 **elsewhere)
{
    struct jit_block *block = t->block;
    const u8 *page = t->v->ram->hva + (block->key & PAGE_MASK);
    enum flag_use use = FLAG_NEUTRAL;
    u8 *over;

    block->entry_guarded = emit_here(t->e);
    *elsewhere = emit_mapped(t, jit_linear(block, block->rip) & PAGE_MASK, page);
    for (unsigned n = 0; n < count && use == FLAG_NEUTRAL; n++)
        use = lower_first_use(t, &insns[n].insn);
    if (use == FLAG_DESTROYS || t->j->options.counted || block->beyond) {
        over = emit_jmp_short(t->e);
        block->entry_host = emit_here(t->e);
        t->flags = FLAGS_HOST;
        lower_save_flags(t);
        emit_land_short(t->e, over);
        block->entry_saved = emit_here(t->e);
        return;
    }
    block->entry_saved = emit_here(t->e);
    if (use == FLAG_NEEDS)
        block->quiet = false;
    if (use != FLAG_SETS_ALL) {
        t->flags = FLAGS_SAVED;
        lower_need_flags(t);
    }
    block->entry_host = emit_here(t->e);
    t->flags = FLAGS_HOST;
}

/* Instructions that go on with the next one. */
static bool lower_inside(struct translator *t, const struct jit_insn *ji)
{
    return lower_flags_agree(t, ji) &&
           (lower_generic(t, ji) || lower_stack(t, ji) || lower_divide(t, ji) ||
            lower_string(t, ji) || lower_special(t, ji) || lower_system(t, ji) || lower_x87(t, ji));
}

/* true: the block has ended. */
static bool lower_one(struct translator *t, const struct jit_insn *ji)
{
    unsigned first = t->site_count;
    bool loads = lower_segment_load(t->j, t->block, &ji->insn);
    bool ends = (insn_row(&ji->insn)->traits & T_ENDS) && !loads;
    u64 next;

    lower_keep_recipe(t, &ji->insn, &t->described[t->block->count - 1 - ji->behind].effects);

    if (ends)
        lower_window_settle(t, ji);
    if (ji->behind && ends &&
        (t->block->path || lower_continues(t->j, t->block, &ji->insn, ji->rip, &next))) {
        if (lower_masks_interrupts(t->j, &ji->insn))
            lower_mask_interrupts(t, ji);
        else if (insn_row(&ji->insn)->flags_read)
            lower_side_exit(t, ji);
        return t->failed;
    }
    if (ends && (lower_branch(t, ji) || lower_loop(t, ji) || lower_system_end(t, ji)))
        return true;
    if (loads)
        lower_load_segment(t, ji);
    else if (ends || !lower_inside(t, ji))
        lower_call(t, ji);
    if (ends) {
        lower_exit_lookup(t);
        return true;
    }
    lower_note_recipe(t, ji);
    lower_window_follow(t, ji);
    for (unsigned n = first; n < t->site_count; n++) {
        t->site[n].after = emit_here(t->e);
        t->site[n].flags_after = t->flags;
        t->site[n].vectors_after = t->vectors;
        t->site[n].x87_after = t->x87;
    }
    return false;
}

static void lower_all(struct translator *t, struct jit_insn *insns, unsigned count)
{
    const struct jit_insn *last = &insns[count - 1];
    u64 mask = jit_rip_mask(t->block->mode);

    lower_window_begin(t);
    for (unsigned n = 0; n < count; n++) {
        if (!t->loop.second)
            insns[n].host = (u32)(emit_here(t->e) - t->block->code);
        if (lower_one(t, &insns[n]))
            return;
    }
    lower_window_end(t, last, (last->rip + last->insn.len) & mask);
    lower_exit_to(t, (last->rip + last->insn.len) & mask, false);
}

/* -- which instructions -- */

/* How many a block may have: accesses of segmented code are long. */
static unsigned most_insns(const struct jit_block *block)
{
    return block->mode & MODE_SEGMENTED ? BLOCK_INSNS / 2 : BLOCK_INSNS;
}

/* Appends a run, up to limit instructions in all; returns where the block may go on, or false. */
static bool append_run(const struct jit *j, struct jit_insn *insns, unsigned *count, unsigned limit,
                       const struct jit_block *block, const struct decode_run *run, u64 *rip)
{
    u64 mask = jit_rip_mask(block->mode), at = *rip;

    for (unsigned n = 0; n < run->count && *count < limit; n++) {
        const struct insn *i = &run->insns[n];

        insns[(*count)++] = (struct jit_insn){.insn = *i, .rip = at};
        if (lower_continues(j, block, i, at, rip))
            return true;
        at = (at + i->len) & mask;
    }
    return false;
}

/* At most limit instructions of the block: on behind conditional jumps that are not taken, STI and
 * CLI, and where jumps forward lead, inside the page. */
static unsigned collect(struct jit *j, const struct decode_run *run, struct jit_block *block,
                        struct jit_insn *insns, unsigned limit)
{
    u64 rip = block->rip;
    unsigned count = 0;

    limit = limit < most_insns(block) ? limit : most_insns(block);
    while (append_run(j, insns, &count, limit, block, run, &rip) && count < limit &&
           (j->options.optimisations & JIT_EXTEND)) {
        run = decode_cache_lookup(j->v, rip);
        if (!run)
            j->v->fault.pending = false; /* whoever gets there meets it */
        if (!run || run->page != block->page || run->generation != block->generation)
            break;
    }
    for (unsigned n = 0; n < count; n++) {
        u64 gla = jit_linear(block, insns[n].rip);

        insns[n].behind = count - n - 1;
        block->granules |= ram_granules(gla & ~PAGE_MASK, jit_bytes_in_page(gla, &insns[n].insn));
    }
    return count;
}

/* The instructions of a path. Returns their count, or 0: one of them ends blocks, or the code is
 * not what it was. */
static unsigned collect_path(struct jit *j, const struct jit_path *path, struct jit_block *block,
                             struct jit_insn *insns)
{
    u64 mask = jit_rip_mask(block->mode);

    if (path->count > most_insns(block))
        return 0;
    for (unsigned n = 0; n < path->count; n++) {
        u64 rip = path->rip[n], next = path->rip[n + 1], target;
        const struct decode_run *run = decode_cache_lookup(j->v, rip);
        const struct insn *i;

        if (!run) {
            j->v->fault.pending = false; /* whoever gets there meets it */
            return 0;
        }
        if (run->page != block->page || run->generation != block->generation)
            return 0;
        i = &run->insns[0];
        insns[n] = (struct jit_insn){.insn = *i, .rip = rip, .behind = path->count - n - 1};
        block->granules |= ram_granules(jit_linear(block, rip) & ~PAGE_MASK, i->len);
        if (next == ((rip + i->len) & mask) &&
            (!(insn_row(i)->traits & T_ENDS) || lower_segment_load(j, block, i)))
            continue;
        if (!lower_is_direct(block, i, rip, &target) ||
            jit_linear(block, target) >> PAGE_SHIFT != jit_linear(block, rip) >> PAGE_SHIFT)
            return 0;
        insns[n].taken = next == target;
        if (next != target && next != ((rip + i->len) & mask))
            return 0;
    }
    return path->count;
}

/* -- the whole -- */

/* The code of block, whose instructions are known. false: it does not fit. */
static bool emit_block(struct translator *t, struct jit_insn *insns)
{
    struct jit_block *block = t->block;
    const u8 *start = t->e->at;
    u8 *out = NULL, *unmapped, *elsewhere[CROSS_JUMPS];
    unsigned jumps = 0;

    if (!block->beyond) /* the check is due in each turn */
        lower_loop_find(t, insns, block->count);
    lower_group_accesses(t, insns, block->count);
    lower_hoist(t, insns, block->count);
    lower_find_quiet(t, insns, block->count);
    emit_entries(t, insns, block->count, &unmapped);
    if (block->beyond)
        jumps = emit_beyond(t, insns, elsewhere);
    if (t->j->options.counted)
        out = lower_budget(t);
    lower_all(t, insns, block->count);
    if (lower_loop_start(t))
        lower_all(t, insns, block->count);
    if (t->failed)
        return false;
    block->inline_size = (u32)(t->e->at - start);
    lower_misses(t);
    if (t->failed)
        return false;
    lower_exits(t);
    lower_loop_leave(t);
    emit_leave(t, &unmapped, 1, t->j->exit_at);
    if (out)
        emit_leave(t, &out, 1, t->j->leave_at);
    if (jumps)
        emit_leave(t, elsewhere, jumps, t->j->exit_at);
    block->code_size = (u32)(t->e->at - start);
    return !t->e->overflow;
}

/* Where the instructions of the block are from now on: with it, if traces are to show them all.
 * NULL: there is no room. */
static struct jit_insn *place_insns(struct translator *t)
{
    const struct jit *j = t->j;
    size_t size = t->block->count * sizeof(*t->own_insns);
    struct jit_insn *insns;

    if (!j->options.listed && !j->check && !log_on(j->v->log, LOG_OUT_ASM))
        return t->own_insns;
    insns = jit_arena(t->j, size);
    if (insns)
        memcpy(insns, t->own_insns, size);
    t->block->insns = insns;
    return insns;
}

/* Of at most limit instructions, or along a path (else NULL), in what is left of the region. NULL:
 * that is too little, or the path is none. */
static struct jit_block *translate(struct jit *j, const struct decode_run *run,
                                   const struct jit_block *like, unsigned limit,
                                   const struct jit_path *path)
{
    struct translator t;
    const size_t arena_used = j->arena_used, site_used = j->site_used;
    const u32 window_used = j->window_used[j->region];
    u8 *const start = j->emit.at;
    struct jit_insn *insns;

    memset(&t, 0, offsetof(struct translator, described));
    t.j = j;
    t.v = j->v;
    t.e = &j->emit;
    t.held = -1;
    t.block = jit_arena(j, sizeof(*t.block));
    if (t.block && j->emit.end - start > ROOM_MIN) {
        *t.block = *like;
        t.block->code = emit_here(&j->emit);
        t.block->count = (u16)(path ? collect_path(j, path, t.block, t.own_insns)
                                    : collect(j, run, t.block, t.own_insns, limit));
        t.insns = insns = place_insns(&t);
        if (t.block->count && insns && jit_block_note_bytes(j, t.block, insns) &&
            emit_block(&t, insns))
            return t.block;
    }
    j->arena_used = arena_used;
    j->site_used = site_used;
    j->window_used[j->region] = window_used;
    j->emit.at = start;
    j->emit.overflow = false;
    return NULL;
}

static struct jit_block *add_block(struct jit *j, struct jit_block *block)
{
    if (block->insns && log_on(j->v->log, LOG_OUT_ASM))
        jit_trace_block(j, j->v->log->sink, block);
    j->stats.blocks++;
    j->stats.code_bytes += block->code_size;
    jit_block_insert(j, block);
    return block;
}

/* Whether a block at like's place can begin with that run, and what follows from it. */
static bool begin(struct jit *j, const struct decode_run *run, struct jit_block *like)
{
    like->page = &j->v->ram->pages[like->key >> PAGE_SHIFT];
    if (!run->page)
        return jit_cross_begin(j, &run->insns[0], like);
    like->beyond = NULL;
    like->generation = run->generation;
    return run->page == like->page;
}

/* Translates until it fits: in this region, in the next, of fewer instructions. The run is looked
 * up each time, as a translation may make the decode cache forget it. */
static struct jit_block *translate_somehow(struct jit *j, struct jit_block *like)
{
    struct vcpu *v = j->v;
    struct jit_block *block = NULL;

    for (unsigned limit = 2 * BLOCK_INSNS; !block; limit /= 2) {
        const struct decode_run *run = decode_cache_lookup(v, like->rip);

        if (!run) {
            v->fault.pending = false; /* whoever gets there meets it */
            return NULL;
        }
        if (!begin(j, run, like))
            return NULL;
        check(limit, "an instruction does not fit into an empty region");
        block = translate(j, run, like,
                          like->beyond          ? 1
                          : limit < BLOCK_INSNS ? limit
                                                : BLOCK_INSNS,
                          NULL);
        if (!block && limit > BLOCK_INSNS)
            jit_cache_advance(j);
    }
    return add_block(j, block);
}

struct jit_block *jit_translate(struct jit *j, u64 key, u32 mode)
{
    struct jit_block like = {
        .key = key, .rip = j->v->rip, .mode = mode, .cs = j->code_segment[mode >> MODE_CODE_SHIFT]};
    const struct jit_link *link = j->v->jit.link;

    like.arrives_saved = !link || link->target != like.rip || link->saved;

    return translate_somehow(j, &like);
}

/* What a block in the place of old begins with. */
static struct jit_block in_place_of(const struct jit_block *old)
{
    return (struct jit_block){.key = old->key,
                              .rip = old->rip,
                              .mode = old->mode,
                              .cs = old->cs,
                              .arrives_saved = old->arrives_saved,
                              .one_by_one = old->one_by_one};
}

void jit_retranslate(struct jit *j, struct jit_block *old)
{
    struct jit_block like = in_place_of(old);

    like.one_by_one = true;
    jit_block_kill(j, old, false);
    translate_somehow(j, &like);
}

void jit_translate_hot(struct jit *j, struct jit_block *old)
{
    struct jit_block like = in_place_of(old);

    like.hot = true;
    jit_block_kill(j, old, false);
    translate_somehow(j, &like);
}

bool jit_translate_path(struct jit *j, struct jit_block *old, const struct jit_path *path)
{
    struct jit_block like = in_place_of(old);
    const struct decode_run *run = decode_cache_lookup(j->v, old->rip);
    struct jit_block *block;

    like.path = true;
    if (!run) {
        j->v->fault.pending = false;
        return false;
    }
    if (!run->page || !begin(j, run, &like))
        return false;
    block = translate(j, run, &like, 0, path);
    if (!block)
        return false;
    jit_block_kill(j, old, false);
    add_block(j, block);
    return true;
}
