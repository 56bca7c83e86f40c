/* SPDX-License-Identifier: MIT
 *
 * Blocks: how they are found, what leads to them, and how they die. A living block is in its bucket
 * and in that of its page; all that were made are in the list of their region.
 */
#include <string.h>

#include "jit/internal.h"
#include "mem/physmap.h"

/* -- jump caches -- */

static u32 jump_slot(u64 rip)
{
    return ((u32)rip >> 4 ^ (u32)rip) & (JUMP_CACHE - 1);
}

static void jump_cache_clear(struct jump_cache_entry *cache)
{
    for (unsigned n = 0; n < JUMP_CACHE; n++)
        cache[n].tag = BIT(63) | !n; /* BIT(63) belongs into entry 0 */
}

/* The cache of a mode, or NULL: it has none. */
static struct jump_cache_entry *cache_of(struct jit *j, u32 mode)
{
    mode &= MODES - 1;
    for (unsigned n = 0; n < j->jump_cache_count; n++)
        if (likely(j->jump_cache_mode[n] == mode))
            return j->jump_cache[n];
    return NULL;
}

/* Modes are few at a time; if there are more than caches, all start anew. */
struct jump_cache_entry *jit_jump_cache(struct jit *j, u32 mode)
{
    struct jump_cache_entry *cache = cache_of(j, mode);

    if (likely(cache))
        return cache;
    if (j->jump_cache_count == JUMP_CACHES)
        j->jump_cache_count = 0;
    jump_cache_clear(j->jump_cache[j->jump_cache_count]);
    j->jump_cache_mode[j->jump_cache_count] = mode & (MODES - 1);
    return j->jump_cache[j->jump_cache_count++];
}

void jit_use_mode(struct jit *j, u32 mode)
{
    struct jump_cache_entry *cache = jit_jump_cache(j, mode);

    j->v->jit.mode = mode;
    j->v->jit.cache = cache;
    jit_returns_use(j, mode, (unsigned)((cache - j->jump_cache[0]) / JUMP_CACHE));
}

struct jump_cache_entry *jit_jump_cache_slot(struct jit *j, u32 mode, u64 rip)
{
    return &jit_jump_cache(j, mode)[jump_slot(rip)];
}

void jit_jump_cache_enter(struct jit *j, const struct jit_block *block)
{
    *jit_jump_cache_slot(j, block->mode, block->rip) = (struct jump_cache_entry){
        .tag = block->rip | jit_jump_tag(block->mode), .code = block->entry_guarded};
}

static void jump_cache_leave(struct jit *j, const struct jit_block *block)
{
    struct jump_cache_entry *cache = cache_of(j, block->mode);
    u32 slot = jump_slot(block->rip);

    if (cache && cache[slot].code == block->entry_guarded)
        cache[slot].tag = BIT(63) | !slot;
}

/* -- links -- */

void jit_link_cut(struct jit *j, struct jit_link *link)
{
    if (!link->back)
        return;
    *link->back = link->next;
    if (link->next)
        link->next->back = link->back;
    link->back = NULL;
    emit_patch(link->rel32, j->delta, link->stub);
}

void jit_link_to(struct jit *j, struct jit_link *link, struct jit_block *block)
{
    u64 entry = link->saved ? block->entry_saved : block->entry_host;
    bool deferred = block->quiet && !(link->registers & block->written);
    bool other = false;

    if (link->defers == DEFERS_JUMP) {
        other = !deferred;
        entry = deferred ? block->entry_saved : block->entry_host;
    } else if (link->defers == DEFERS_TAKEN && deferred) {
        other = block->entry_saved != block->entry_host; /* else they need not be saved */
        entry = block->entry_saved;
    }
    if (link->guarded)
        entry = block->entry_guarded;
    jit_link_cut(j, link);
    if (other)
        emit_patch(link->other_rel32, j->delta, entry);
    emit_patch(link->rel32, j->delta, other ? link->other_way : entry);
    link->next = block->incoming;
    if (link->next)
        link->next->back = &link->next;
    link->back = &block->incoming;
    block->incoming = link;
}

/* -- tables -- */

static struct jit_block **bucket_of(struct jit *j, u64 key, u64 rip, u32 mode)
{
    u64 mixed = (key ^ rip >> PAGE_SHIFT << 30 ^ (u64)mode << 32) * 0x9e3779b97f4a7c15;

    return &j->buckets[mixed >> (64 - BLOCK_BUCKET_BITS)];
}

static struct jit_block **page_bucket(struct jit *j, u64 page)
{
    return &j->pages[page & (PAGE_BUCKETS - 1)];
}

static bool block_is(const struct jit_block *b, u64 key, u64 rip, u32 mode)
{
    return b->key == key && b->rip == rip && b->mode == mode;
}

struct jit_block *jit_block_find(struct jit *j, u64 key, u64 rip, u32 mode)
{
    for (struct jit_block *b = *bucket_of(j, key, rip, mode); b; b = b->next)
        if (block_is(b, key, rip, mode) && !b->dead)
            return b;
    return NULL;
}

static void page_enter(struct jit *j, struct jit_block *block)
{
    struct jit_block **bucket = page_bucket(j, block->key >> PAGE_SHIFT);

    block->dead = false;
    block->next_of_page = *bucket;
    *bucket = block;
}

void jit_block_insert(struct jit *j, struct jit_block *block)
{
    struct jit_block **bucket = bucket_of(j, block->key, block->rip, block->mode);

    block->next = *bucket;
    *bucket = block;
    block->next_of_region = j->region_blocks[j->region];
    j->region_blocks[j->region] = block;
    page_enter(j, block);
}

static void bucket_leave(struct jit *j, struct jit_block *block)
{
    struct jit_block **link = bucket_of(j, block->key, block->rip, block->mode);

    while (*link && *link != block)
        link = &(*link)->next;
    if (*link)
        *link = block->next;
}

static void page_leave(struct jit *j, struct jit_block *block)
{
    struct jit_block **link = page_bucket(j, block->key >> PAGE_SHIFT);

    while (*link && *link != block)
        link = &(*link)->next_of_page;
    if (*link)
        *link = block->next_of_page;
}

/* Of the dead versions of a block the newest are kept. New ones are in front. */
static void forget_old_versions(struct jit *j, const struct jit_block *block)
{
    struct jit_block **link = bucket_of(j, block->key, block->rip, block->mode);
    unsigned dead = 0;

    for (struct jit_block *b = *link; b; b = *link) {
        if (b->dead && block_is(b, block->key, block->rip, block->mode) && ++dead > DEAD_VERSIONS)
            *link = b->next;
        else
            link = &b->next;
    }
}

void jit_block_kill(struct jit *j, struct jit_block *block, bool keep)
{
    if (!block->dead) {
        block->dead = true;
        page_leave(j, block);
        jump_cache_leave(j, block);
        while (block->incoming)
            jit_link_cut(j, block->incoming);
    }
    if (keep)
        forget_old_versions(j, block);
    else
        bucket_leave(j, block);
}

/* -- stores to code -- */

/* Kills the blocks of a page that lie in these granules. */
static void kill_granules(struct jit *j, u64 page, u64 granules)
{
    bool keep = j->options.optimisations & JIT_REVIVE;
    struct jit_block *next;

    if (!(j->options.optimisations & JIT_GRANULES))
        granules = ~0ull;
    for (struct jit_block *b = *page_bucket(j, page); b; b = next) {
        next = b->next_of_page;
        if (b->key >> PAGE_SHIFT == page && (b->granules & granules))
            jit_block_kill(j, b, keep);
    }
}

/* More was hit than the log holds: whatever lies in a page of which anything was hit since. */
static void kill_older_generations(struct jit *j)
{
    struct jit_block *next;

    for (unsigned n = 0; n < PAGE_BUCKETS; n++)
        for (struct jit_block *b = j->pages[n]; b; b = next) {
            next = b->next_of_page;
            if (b->generation != __atomic_load_n(&b->page->generation, __ATOMIC_ACQUIRE))
                jit_block_kill(j, b, j->options.optimisations & JIT_REVIVE);
        }
}

void jit_follow_hits(struct jit *j)
{
    const struct ram *ram = j->v->ram;
    u64 epoch = __atomic_load_n(&ram->code_epoch, __ATOMIC_ACQUIRE);
    struct ram_hit hit;

    while (unlikely(j->code_epoch != epoch)) {
        if (!ram_hit(ram, j->code_epoch, &hit)) {
            j->code_epoch = epoch;
            kill_older_generations(j);
            return;
        }
        j->code_epoch++;
        kill_granules(j, hit.page, hit.granules);
    }
}

/* The spans of instructions, next to each other where they follow each other, into span. Returns
 * their count; *size: of their bytes. */
static unsigned find_spans(const struct jit_block *block, const struct jit_insn *insns,
                           struct jit_span span[BLOCK_INSNS], size_t *size)
{
    unsigned count = 0;

    *size = 0;
    for (unsigned n = 0; n < block->count; n++) {
        u64 gla = jit_linear(block, insns[n].rip);
        u16 at = gla & ~PAGE_MASK, bytes = (u16)jit_bytes_in_page(gla, &insns[n].insn);

        *size += bytes;
        if (count && at == span[count - 1].at + span[count - 1].size)
            span[count - 1].size += bytes;
        else
            span[count++] = (struct jit_span){at, bytes};
    }
    return count;
}

bool jit_block_note_bytes(struct jit *j, struct jit_block *block, const struct jit_insn *insns)
{
    struct jit_span span[BLOCK_INSNS], *spans;
    const struct insn *last = &insns[block->count - 1].insn;
    unsigned count;
    size_t size;
    u8 *bytes;

    count = find_spans(block, insns, span, &size);
    block->beyond_size = block->beyond ? (u8)(last->len - size) : 0;
    spans = jit_arena(j, count * sizeof(*spans) + size + block->beyond_size);
    if (!spans)
        return false;
    memcpy(spans, span, count * sizeof(*spans));
    block->spans = spans;
    block->span_count = (u8)count;
    bytes = (u8 *)(spans + count);
    for (unsigned n = 0; n < block->count; n++) {
        const struct insn *i = &insns[n].insn;
        unsigned length =
            block->beyond ? i->len : jit_bytes_in_page(jit_linear(block, insns[n].rip), i);

        memcpy(bytes, i->bytes, length);
        bytes += length;
    }
    return true;
}

/* Whether the bytes in memory, in the page of its start, are those that the block was made of. */
static bool bytes_same(const struct jit *j, const struct jit_block *block)
{
    const u8 *page = j->v->ram->hva + (block->key & PAGE_MASK), *bytes = jit_block_bytes(block);

    for (unsigned n = 0; n < block->span_count; n++) {
        if (memcmp(page + block->spans[n].at, bytes, block->spans[n].size))
            return false;
        bytes += block->spans[n].size;
    }
    return true;
}

/* As for decoding: read the generation, mark, read the bytes. */
static bool mark_and_compare(struct jit *j, struct jit_block *block)
{
    const u8 *page = j->v->ram->hva + (block->key & PAGE_MASK);

    block->generation = __atomic_load_n(&block->page->generation, __ATOMIC_ACQUIRE);
    for (u64 left = block->granules; left; left &= left - 1)
        physmap_protect_code(j->v->map, page + (__builtin_ctzll(left) << GRANULE_SHIFT), 1);
    return bytes_same(j, block);
}

struct jit_block *jit_block_revive(struct jit *j, u64 key, u64 rip, u32 mode)
{
    for (struct jit_block *b = *bucket_of(j, key, rip, mode); b; b = b->next) {
        if (!block_is(b, key, rip, mode) || !bytes_same(j, b) ||
            (b->beyond && !jit_cross_same(j->v, b)) || !mark_and_compare(j, b))
            continue;
        page_enter(j, b);
        j->stats.revived++;
        return b;
    }
    return NULL;
}
