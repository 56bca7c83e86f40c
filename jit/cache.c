/* SPDX-License-Identifier: MIT
 *
 * The code cache: one memfd seen through a writable and an executable view, so that no page is both
 * (W^X), and an arena for what describes the code. When either is full, everything is dropped.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/internal.h"

static enum status map_views(struct jit *j, int fd, struct error *err)
{
    void *rw, *rx;

    if (ftruncate(fd, (off_t)j->code_size))
        return error_set(err, ST_NO_MEMORY,
                         "No memory for translated code; free some memory or "
                         "choose -engine interp.");
    rw = mmap(NULL, j->code_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    rx = mmap(NULL, j->code_size, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
    if (rw == MAP_FAILED || rx == MAP_FAILED) {
        if (rw != MAP_FAILED)
            munmap(rw, j->code_size);
        return error_set(err, ST_UNSUPPORTED,
                         "The host allows no executable memory for translated code; choose "
                         "-engine interp.");
    }
    j->code = rw;
    j->delta = (u64)rx - (u64)rw;
    return ST_OK;
}

static void jump_cache_clear(struct jump_cache_entry *cache)
{
    for (unsigned n = 0; n < JUMP_CACHE; n++)
        cache[n].tag = BIT(63) | !n; /* BIT(63) belongs into entry 0 */
}

enum status jit_cache_create(struct jit *j, struct error *err)
{
    enum status st;
    int fd;

    j->code_size = j->options.cache_size ? j->options.cache_size : JIT_CACHE_DEFAULT;
    j->arena_size = j->code_size < ARENA_MIN   ? ARENA_MIN
                    : j->code_size > ARENA_MAX ? ARENA_MAX
                                               : j->code_size;
    j->arena = mmap(NULL, j->arena_size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (j->arena == MAP_FAILED) {
        j->arena = NULL;
        return error_set(err, ST_NO_MEMORY, "No address space for the translator; free some.");
    }
    fd = memfd_create("lockstep-code", MFD_CLOEXEC);
    if (fd < 0)
        return error_set(err, ST_UNSUPPORTED,
                         "The host gives no memory file for translated code "
                         "(%m); choose -engine interp.");
    st = map_views(j, fd, err);
    close(fd);
    return st;
}

void jit_cache_destroy(struct jit *j)
{
    if (j->arena)
        munmap(j->arena, j->arena_size);
    if (j->code) {
        munmap(j->code, j->code_size);
        munmap(j->code + j->delta, j->code_size);
    }
}

void jit_cache_flush(struct jit *j)
{
    memset(j->buckets, 0, sizeof(j->buckets));
    jit_unlink_all(j);
    j->cell_count = 0;
    j->arena_used = 0;
    j->emit.at = j->code_start;
    j->stats.flushes++;
}

void *jit_arena(struct jit *j, size_t size)
{
    void *p = j->arena + j->arena_used;

    size = align_up(size, 64);
    if (j->arena_size - j->arena_used < size)
        return NULL;
    j->arena_used += size;
    return p;
}

void jit_unlink_all(struct jit *j)
{
    for (u32 n = 0; n < j->armed_count; n++)
        j->cells[j->armed[n]] = j->cell_link[j->armed[n]]->stub;
    j->armed_count = 0;
    memset(j->jump_cache_of, 0, sizeof(j->jump_cache_of));
    j->jump_cache_count = 0;
}

/* Modes are few at a time; if there are more than caches, all start anew. */
struct jump_cache_entry *jit_jump_cache(struct jit *j, u32 mode)
{
    if (unlikely(!j->jump_cache_of[mode])) {
        if (j->jump_cache_count == JUMP_CACHES) {
            memset(j->jump_cache_of, 0, sizeof(j->jump_cache_of));
            j->jump_cache_count = 0;
        }
        jump_cache_clear(j->jump_cache[j->jump_cache_count]);
        j->jump_cache_of[mode] = (u8)++j->jump_cache_count;
    }
    return j->jump_cache[j->jump_cache_of[mode] - 1];
}

void jit_jump_cache_enter(struct jit *j, const struct jit_block *block)
{
    u32 slot = ((u32)block->rip >> 4 ^ (u32)block->rip) & (JUMP_CACHE - 1);

    jit_jump_cache(j, block->mode)[slot] =
        (struct jump_cache_entry){.tag = block->rip, .code = block->entry_guarded};
}

void jit_arena_trim(struct jit *j, const void *last, size_t size)
{
    j->arena_used = align_up((u64)((const u8 *)last - j->arena) + size, 64);
}

static struct jit_block **bucket_of(struct jit *j, u64 key, u64 rip, u32 mode)
{
    return &j->buckets[(key ^ key >> 15 ^ rip >> 12 ^ mode << 5) & (BLOCK_BUCKETS - 1)];
}

struct jit_block *jit_block_find(struct jit *j, u64 key, u64 rip, u32 mode)
{
    struct jit_block **link = bucket_of(j, key, rip, mode);

    for (struct jit_block *b = *link; b; link = &b->next, b = *link) {
        if (b->key != key || b->rip != rip || b->mode != mode)
            continue;
        if (b->generation == __atomic_load_n(&b->page->generation, __ATOMIC_ACQUIRE))
            return b;
        *link = b->next;
        return NULL;
    }
    return NULL;
}

void jit_block_insert(struct jit *j, struct jit_block *block)
{
    struct jit_block **bucket = bucket_of(j, block->key, block->rip, block->mode);

    block->next = *bucket;
    *bucket = block;
}

void jit_block_remove(struct jit *j, struct jit_block *block)
{
    struct jit_block **link = bucket_of(j, block->key, block->rip, block->mode);

    while (*link && *link != block)
        link = &(*link)->next;
    if (*link)
        *link = block->next;
}
