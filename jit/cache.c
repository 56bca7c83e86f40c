/* SPDX-License-Identifier: MIT
 *
 * The memory of translated code: one memfd seen through a writable and an executable view, so that
 * no page is both (W^X), and an arena for what describes the code. Both are divided into the same
 * regions, filled in turn; when one is used again, what it held is evicted.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "jit/internal.h"

/* The part of a region, in sixteenths, for code that is used seldom (ARCHITECTURE.md, Measurements).
 */
enum { COLD_SHARE = 4 };

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

/* Code takes up a little less room than what describes it (ARCHITECTURE.md, Measurements). */
static size_t arena_size(size_t code_size)
{
    size_t size = code_size + code_size / 2;

    return size < ARENA_MIN ? ARENA_MIN : size > ARENA_MAX ? ARENA_MAX : size;
}

enum status jit_cache_create(struct jit *j, struct error *err)
{
    enum status st;
    int fd;

    j->code_size = j->options.cache_size ? j->options.cache_size : JIT_CACHE_DEFAULT;
    j->arena_size = arena_size(j->code_size);
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

void jit_cache_use(struct jit *j, unsigned n)
{
    u64 size = (u64)(j->code + j->code_size - j->code_start) / REGIONS;
    u64 cold = j->options.optimisations & JIT_COLD ? size * COLD_SHARE / 16 : 0;
    size_t share = align_down(j->arena_size / REGIONS, 64);

    j->region = n;
    j->emit.at = j->code_start + n * size;
    j->emit.end = j->emit.at + size - cold;
    j->emit.overflow = false;
    j->cold = j->emit;
    j->cold.at = j->emit.end;
    j->cold.end = j->emit.end + cold;
    j->arena_used = n * share;
    j->arena_end = j->arena_used + share;
}

static void evict(struct jit *j, unsigned n)
{
    for (struct jit_block *b = j->region_blocks[n]; b; b = b->next_of_region) {
        jit_block_kill(j, b, false);
        for (struct jit_link *link = b->exits; link; link = link->sibling)
            jit_link_cut(j, link);
    }
    jit_returns_forget(j);
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
