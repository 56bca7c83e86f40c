/* SPDX-License-Identifier: MIT
 *
 * The memory of translated code: one memfd seen through a writable and an executable view, so that
 * no page is both (W^X), and an arena for what describes the code. Both are divided into the same
 * regions, filled in turn; when one is used again, what it held is evicted.
 */
#include <errno.h>
#include <sys/mman.h>

#include "cpu/native.h"
#include "jit/internal.h"
#include "mem/base/memory_file.h"

static enum status map_views(struct jit *j, struct error *err)
{
    struct code_memory m;
    size_t sites = j->site_count * sizeof(*j->sites);

    if (!code_memory_create(&m, "lockstep-code", j->code_size + sites)) {
        if (errno != EACCES && errno != EPERM)
            return error_set(err, ST_NO_MEMORY,
                             "No memory for translated code (%m); free some memory or choose "
                             "-engine interp.");
        return error_set(err, ST_UNSUPPORTED,
                         "The host allows no executable memory for translated code; choose "
                         "-engine interp%s.",
                         native_available(j->v->native)
                             ? ""
                             : ", where the guest then has no x87 and no SIMD instructions");
    }
    j->code = m.write;
    j->delta = (u64)m.exec - (u64)m.write;
    j->sites = mmap(m.exec + j->code_size, sites, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    if (j->sites == MAP_FAILED)
        return error_set(err, ST_NO_MEMORY, "No address space for the translator; free some.");
    return ST_OK;
}

/* In place of the end of the executable view, so that code reaches them. */
static size_t sites_size(size_t code_size)
{
    return align_up(code_size / 4, PAGE_SIZE);
}

/* Code takes up a little less room than what describes it (ARCHITECTURE.md, Measurements). */
static size_t arena_size(size_t code_size)
{
    size_t size = code_size + code_size / 2;

    return size < ARENA_MIN ? ARENA_MIN : size > ARENA_MAX ? ARENA_MAX : size;
}

enum status jit_cache_create(struct jit *j, struct error *err)
{
    j->code_size =
        align_up(j->options.cache_size ? j->options.cache_size : JIT_CACHE_DEFAULT, PAGE_SIZE);
    j->site_count = sites_size(j->code_size) / sizeof(*j->sites);
    j->arena_size = arena_size(j->code_size);
    j->arena = mmap(NULL, j->arena_size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (j->arena == MAP_FAILED) {
        j->arena = NULL;
        return error_set(err, ST_NO_MEMORY, "No address space for the translator; free some.");
    }
    return map_views(j, err);
}

void jit_cache_destroy(struct jit *j)
{
    struct code_memory m = {j->code, j->code + j->delta,
                            j->code_size + j->site_count * sizeof(*j->sites)};

    tlb_forget_sites(&j->v->tlb);
    if (j->arena)
        munmap(j->arena, j->arena_size);
    if (j->code)
        code_memory_destroy(&m);
}

void jit_cache_use(struct jit *j, unsigned n)
{
    u64 size = (u64)(j->code + j->code_size - j->code_start) / REGIONS;
    size_t share = align_down(j->arena_size / REGIONS, 64);

    j->region = n;
    j->emit.at = j->code_start + n * size;
    j->emit.end = j->emit.at + size;
    j->emit.overflow = false;
    j->arena_used = n * share;
    j->arena_end = j->arena_used + share;
    j->site_used = n * (j->site_count / REGIONS);
    j->site_end = j->site_used + j->site_count / REGIONS;
}

static void evict(struct jit *j, unsigned n)
{
    for (struct jit_block *b = j->region_blocks[n]; b; b = b->next_of_region) {
        jit_block_kill(j, b, false);
        for (struct jit_link *link = b->exits; link; link = link->sibling)
            jit_link_cut(j, link);
    }
    jit_returns_forget(j);
    tlb_forget_sites(&j->v->tlb);
    j->window_used[n] = 0;
    j->restless_block = NULL;
    if (j->region_blocks[n])
        j->stats.evictions++;
    j->region_blocks[n] = NULL;
}

void jit_cache_flush(struct jit *j)
{
    for (unsigned n = 0; n < REGIONS; n++)
        evict(j, n);
    jit_forget_code_segments(j);
    j->stats.flushes++;
    jit_cache_use(j, 0);
}

void jit_cache_advance(struct jit *j)
{
    unsigned next = (j->region + 1) % REGIONS;

    if (!next && !(j->options.optimisations & JIT_REGIONS)) {
        jit_cache_flush(j);
        return;
    }
    evict(j, next);
    jit_cache_use(j, next);
}

void *jit_arena(struct jit *j, size_t size)
{
    void *p = j->arena + j->arena_used;

    size = align_up(size, ARENA_ALIGN);
    if (j->arena_end - j->arena_used < size)
        return NULL;
    j->arena_used += size;
    return p;
}
