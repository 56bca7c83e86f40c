/* SPDX-License-Identifier: MIT
 *
 * One block: the decoded instructions of a run, lowered one after the other, then everything that
 * is out of line.
 */
#include <string.h>

#include "jit/lower/lower.h"

void lower_call(struct translator *t, const struct jit_insn *ji)
{
    lower_save_flags(t);
    emit_mov_imm(t->e, T0, (u64)ji);
    emit_call(t->e, t->j->exec);
    t->vectors = t->x87 = false;
}

/* Where flags are wanted first decides what the entries do: a block that begins with a check saves
 * the host's flags unless they are in JF already, one that needs them loads them from JF. */
static void emit_entries(struct translator *t, const struct jit_insn *insns, unsigned count)
{
    enum flag_use use = FLAG_NEUTRAL;

    for (unsigned n = 0; n < count && use == FLAG_NEUTRAL; n++)
        use = lower_first_use(t, &insns[n].insn);
    if (use == FLAG_DESTROYS || t->j->options.counted) {
        t->block->entry_host = emit_here(t->e);
        t->flags = FLAGS_HOST;
        lower_save_flags(t);
        t->block->entry_saved = emit_here(t->e);
        return;
    }
    t->block->entry_saved = emit_here(t->e);
    if (use != FLAG_SETS_ALL) {
        t->flags = FLAGS_SAVED;
        lower_need_flags(t);
    }
    t->block->entry_host = emit_here(t->e);
    t->flags = FLAGS_HOST;
}

/* Not now: the run loop looks again. */
static void emit_leave(struct translator *t, u8 *const from[], unsigned count)
{
    for (unsigned n = 0; n < count; n++)
        emit_patch(from[n], t->e->delta, emit_here(t->e));
    t->flags = FLAGS_SAVED;
    lower_leave_at(t, t->block->rip);
}

/* The entry for who comes from another page: the TLB must map this one for fetches, to the memory
 * that was translated. */
static void emit_guard(struct translator *t, const u8 *hva)
{
    unsigned context = (t->block->mode & MODE_CONTEXT) >> MODE_CONTEXT_SHIFT;
    u64 gla = jit_linear(t->block, t->block->rip);
    size_t table =
        offsetof(struct vcpu, tlb.tables) + context * sizeof(struct tlb_table) + 8 * tlb_index(gla);
    struct emit_mem tag = emit_gs((i32)(table + offsetof(struct tlb_table, exec_tag)));
    struct emit_mem page = emit_gs((i32)(table + offsetof(struct tlb_table, page)));
    u8 *elsewhere[2];

    t->block->entry_guarded = emit_here(t->e);
    emit_mov_imm(t->e, T0, gla & PAGE_MASK);
    emit_op_mem(t->e, EMIT_W, 0x3b, &tag, T0); /* cmp */
    elsewhere[0] = emit_jcc(t->e, CC_NE, 0);
    emit_mov_imm(t->e, T0, (u64)hva & PAGE_MASK);
    emit_op_mem(t->e, EMIT_W, 0x3b, &page, T0);
    elsewhere[1] = emit_jcc(t->e, CC_NE, 0);
    emit_jmp(t->e, t->block->entry_saved);
    emit_leave(t, elsewhere, 2);
}

/* Instructions that go on with the next one. */
static bool lower_inside(struct translator *t, const struct jit_insn *ji)
{
    return lower_generic(t, ji) || lower_stack(t, ji) || lower_divide(t, ji) ||
           lower_string(t, ji) || lower_special(t, ji) || lower_system(t, ji) || lower_x87(t, ji);
}

/* true: the block has ended. */
static bool lower_one(struct translator *t, const struct jit_insn *ji)
{
    unsigned first = t->site_count;
    bool ends = insn_row(&ji->insn)->traits & T_ENDS;
    bool loads = lower_segment_load(t->j, t->block, &ji->insn);
    struct reg_effects effects;
    struct mem_ref ref;
    u64 next;

    lower_describe(t, ji, &ref, &effects);
    lower_keep_recipe(t, &ji->insn, &effects);
    if (ji->behind && ends && !loads &&
        (t->block->path || lower_continues(t->j, t->block, &ji->insn, ji->rip, &next))) {
        if (insn_row(&ji->insn)->flags_read)
            lower_side_exit(t, ji);
        return t->failed;
    }
    if (loads) {
        lower_load_segment(t, ji);
        ends = false;
    } else if (ends && (lower_branch(t, ji) || lower_loop(t, ji) || lower_system_end(t, ji)))
        return true;
    if (!loads && (ends || !lower_inside(t, ji)))
        lower_call(t, ji);
    if (ends) {
        lower_exit_lookup(t);
        return true;
    }
    lower_note_recipe(t, ji);
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

    for (unsigned n = 0; n < count; n++) {
        if (!t->loop.second)
            insns[n].host = (u32)(emit_here(t->e) - t->block->code);
        if (lower_one(t, &insns[n]))
            return;
    }
    lower_exit_to(t, (last->rip + last->insn.len) & mask, false);
}

/* -- which instructions -- */

/* How many fit into BLOCK_CODE_MAX. */
static unsigned most_insns(const struct jit_block *block)
{
    return block->mode & MODE_SEGMENTED ? BLOCK_INSNS / 2 : BLOCK_INSNS;
}

/* Appends a run; returns where the block may go on, or false. */
static bool append_run(const struct jit *j, struct jit_insn *insns, unsigned *count,
                       const struct jit_block *block, const struct decode_run *run, u64 *rip)
{
    u64 mask = jit_rip_mask(block->mode), at = *rip;

    for (unsigned n = 0; n < run->count && *count < most_insns(block); n++) {
        const struct insn *i = &run->insns[n];

        insns[(*count)++] = (struct jit_insn){.insn = *i, .rip = at};
        if (lower_continues(j, block, i, at, rip))
            return true;
        at = (at + i->len) & mask;
    }
    return false;
}

/* The instructions of the block: on behind conditional jumps that are not taken, and where jumps
 * forward lead, inside the page. */
static unsigned collect(struct jit *j, const struct decode_run *run, const struct jit_block *block,
                        struct jit_insn *insns)
{
    u64 rip = block->rip;
    unsigned count = 0;

    while (append_run(j, insns, &count, block, run, &rip) && count < most_insns(block) &&
           (j->options.optimisations & JIT_EXTEND)) {
        run = decode_cache_lookup(j->v, rip);
        if (!run)
            j->v->fault.pending = false; /* whoever gets there meets it */
        if (!run || run->page != block->page || run->generation != block->generation)
            break;
    }
    for (unsigned n = 0; n < count; n++)
        insns[n].behind = count - n - 1;
    return count;
}

/* The instructions of a path. false: one of them ends blocks, or the code is not what it was. */
static bool collect_path(struct jit *j, const struct jit_path *path, const struct jit_block *block,
                         struct jit_insn *insns)
{
    u64 mask = jit_rip_mask(block->mode);

    if (path->count > most_insns(block))
        return false;
    for (unsigned n = 0; n < path->count; n++) {
        u64 rip = path->rip[n], next = path->rip[n + 1], target;
        const struct decode_run *run = decode_cache_lookup(j->v, rip);
        const struct insn *i;

        if (!run) {
            j->v->fault.pending = false; /* whoever gets there meets it */
            return false;
        }
        if (run->page != block->page || run->generation != block->generation)
            return false;
        i = &run->insns[0];
        insns[n] = (struct jit_insn){.insn = *i, .rip = rip, .behind = path->count - n - 1};
        if (next == ((rip + i->len) & mask) &&
            (!(insn_row(i)->traits & T_ENDS) || lower_segment_load(j, block, i)))
            continue;
        if (!lower_is_direct(block, i, rip, &target) ||
            jit_linear(block, target) >> PAGE_SHIFT != jit_linear(block, rip) >> PAGE_SHIFT)
            return false;
        insns[n].taken = next == target;
        if (next != target && next != ((rip + i->len) & mask))
            return false;
    }
    return true;
}

/* -- the whole -- */

/* path: NULL, or the way the block goes. */
static struct jit_block *translate(struct jit *j, const struct decode_run *run, u64 key, u64 rip,
                                   u32 mode, bool one_by_one, const struct jit_path *path)
{
    struct jit_block *block = jit_arena(j, sizeof(*block));
    struct translator t = {.j = j, .v = j->v, .e = &j->emit, .block = block};
    const u8 *start = j->emit.at;
    struct jit_insn *insns;
    u8 *out = NULL;

    if (!block || (u64)(j->emit.end - j->emit.at) < BLOCK_CODE_MAX)
        return NULL;
    *block = (struct jit_block){.key = key,
                                .rip = rip,
                                .mode = mode,
                                .cs = j->code_segment[mode >> MODE_CODE_SHIFT],
                                .code = emit_here(&j->emit),
                                .generation = run->generation,
                                .page = run->page,
                                .one_by_one = one_by_one,
                                .path = path != NULL};
    insns = jit_arena(j, BLOCK_INSNS * sizeof(*insns));
    if (!insns)
        return NULL;
    if (path && !collect_path(j, path, block, insns))
        return NULL;
    block->count = (u16)(path ? path->count : collect(j, run, block, insns));
    jit_arena_trim(j, insns, block->count * sizeof(*insns));
    lower_loop_find(&t, insns, block->count);
    lower_group_accesses(&t, insns, block->count);
    emit_entries(&t, insns, block->count);
    if (j->options.counted)
        out = lower_budget(&t);
    lower_all(&t, insns, block->count);
    if (lower_loop_start(&t))
        lower_all(&t, insns, block->count);
    if (t.failed)
        return NULL;
    block->inline_size = (u32)(j->emit.at - start);
    lower_misses(&t);
    lower_exits(&t);
    lower_loop_leave(&t);
    emit_guard(&t, j->v->ram->hva + key);
    if (out)
        emit_leave(&t, &out, 1);
    check(!j->emit.overflow && j->emit.at - start < BLOCK_CODE_MAX, "a block of %ld bytes",
          j->emit.at - start);
    block->insns = insns;
    block->code_size = (u32)(j->emit.at - start);
    if (log_on(j->v->log, LOG_OUT_ASM))
        jit_trace_block(j, j->v->log->sink, block);
    j->stats.blocks++;
    j->stats.code_bytes += (u64)(j->emit.at - start);
    return block;
}

struct jit_block *jit_translate(struct jit *j, const struct decode_run *run, u64 key, u32 mode)
{
    struct jit_block *block = translate(j, run, key, j->v->rip, mode, false, NULL);

    if (!block) {
        jit_cache_flush(j);
        block = translate(j, run, key, j->v->rip, mode, false, NULL);
        check(block, "a block does not fit into an empty cache");
    }
    jit_block_insert(j, block);
    return block;
}

static void redirect(struct jit *j, u64 from, u64 to)
{
    struct emit e = {.at = (u8 *)(from - j->delta), .delta = j->delta};

    e.end = e.at + 5;
    emit_jmp(&e, to);
}

/* Who jumps to old gets to block. */
static void replace(struct jit *j, struct jit_block *old, struct jit_block *block)
{
    jit_block_remove(j, old);
    jit_block_insert(j, block);
    redirect(j, old->entry_guarded, block->entry_guarded);
    redirect(j, old->entry_saved, block->entry_saved);
    if (old->entry_host != old->entry_saved)
        redirect(j, old->entry_host, block->entry_host);
}

void jit_retranslate(struct jit *j, const struct decode_run *run, struct jit_block *old)
{
    struct jit_block *block = translate(j, run, old->key, old->rip, old->mode, true, NULL);

    if (!block) {
        jit_cache_flush(j);
        return;
    }
    replace(j, old, block);
}

bool jit_translate_path(struct jit *j, struct jit_block *old, const struct jit_path *path)
{
    struct jit_block *block;
    const struct decode_run *run = decode_cache_lookup(j->v, path->rip[0]);

    if (!run) {
        j->v->fault.pending = false;
        return false;
    }
    if (run->page != old->page || run->generation != old->generation)
        return false;
    block = translate(j, run, old->key, old->rip, old->mode, old->one_by_one, path);
    if (!block)
        return false;
    replace(j, old, block);
    return true;
}
