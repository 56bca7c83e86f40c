/* SPDX-License-Identifier: MIT
 *
 * The decode cache: a hash table of runs over an arena that is emptied when it is full.
 *
 * Order that makes a missed store impossible (mem/ram.h): read the page's generation, mark a
 * granule as code, read the bytes. Each granule is marked before the decoder may look into it.
 */
#include "cpu/decode_cache.h"

#include <stdlib.h>
#include <string.h>

#include "cpu/access.h"
#include "cpu/exception.h"

enum { BUCKET_BITS = 15, BUCKETS = 1 << BUCKET_BITS };
enum { ARENA_SIZE = 16 << 20, RUN_SIZE_MAX = sizeof(struct decode_run) + RUN_INSNS_MAX * 64 };
enum { GRANULE = 64, KEY_MODE_SHIFT = 52 };

static_assert(sizeof(struct insn) == 64, "one decoded instruction fills one cache line");

struct decode_cache {
    struct decode_run *buckets[BUCKETS];
    u8 *arena;
    size_t used;
    struct decode_run *single; /* for one use: one instruction */
};

enum status decode_cache_create(struct decode_cache **out, struct vcpu *v, struct error *err)
{
    struct decode_cache *c = calloc(1, sizeof(*c));

    (void)v;
    if (!c)
        goto fail;
    c->arena = aligned_alloc(64, ARENA_SIZE);
    c->single = aligned_alloc(64, RUN_SIZE_MAX);
    if (!c->arena || !c->single)
        goto fail;
    *out = c;
    return ST_OK;

fail:
    decode_cache_destroy(c);
    return error_set(err, ST_NO_MEMORY, "No memory for decoded instructions; free some memory.");
}

void decode_cache_destroy(struct decode_cache *c)
{
    if (!c)
        return;
    free(c->single);
    free(c->arena);
    free(c);
}

void decode_cache_flush(struct decode_cache *c)
{
    memset(c->buckets, 0, sizeof(c->buckets));
    c->used = 0;
}

static u64 mode_key(const struct vcpu *v)
{
    return ((u64)v->code_size << 1 | vcpu_protected(v)) << KEY_MODE_SHIFT;
}

static struct decode_ctx decode_ctx(const struct vcpu *v)
{
    return (struct decode_ctx){
        .model = v->model, .code_size = v->code_size, .protected_mode = vcpu_protected(v)};
}

static ALWAYS_INLINE u64 fetch_address(const struct vcpu *v, u64 rip)
{
    return vcpu_64bit(v) ? rip : (u32)(v->seg[SEG_CS].base + rip);
}

static ALWAYS_INLINE struct decode_run **bucket_of(struct decode_cache *c, u64 key)
{
    return &c->buckets[(key ^ key >> BUCKET_BITS ^ key >> KEY_MODE_SHIFT) & (BUCKETS - 1)];
}

static ALWAYS_INLINE bool run_alive(const struct decode_run *run)
{
    return run->generation == __atomic_load_n(&run->page->generation, __ATOMIC_ACQUIRE);
}

/* Outside 64-bit mode all bytes must lie within the CS limit, and IP must not wrap inside the run.
 */
static ALWAYS_INLINE bool run_within_limit(const struct vcpu *v, const struct decode_run *run,
                                           u64 rip)
{
    u64 last = rip + run->bytes - 1;

    if (vcpu_64bit(v))
        return true;
    return last <= v->seg[SEG_CS].limit && (v->code_size == 4 || last <= 0xffff);
}

/* Finds a live run and moves it to the front of its chain; unlinks a dead one. */
static struct decode_run *find_run(struct decode_run **bucket, u64 key)
{
    for (struct decode_run **link = bucket; *link; link = &(*link)->next) {
        struct decode_run *run = *link;

        if (run->key != key)
            continue;
        *link = run->next;
        if (!run_alive(run))
            return NULL;
        run->next = *bucket;
        *bucket = run;
        return run;
    }
    return NULL;
}

static void trace_insn(struct vcpu *v, u64 rip, const struct insn *i)
{
    char text[320];

    if (!log_on(v->log, LOG_IN_ASM))
        return;
    insn_disassemble(i, rip, v->code_size, text, sizeof(text));
    log_trace(v->log, LOG_IN_ASM, "%04x:%016lx %s", v->seg[SEG_CS].selector, rip, text);
}

/* Bytes from hva on that a decoder may read: to the end of their granule, with more to the end of
 * the next, never past the page. Marks them as code, but for those before *marked, and moves that.
 */
static unsigned readable_bytes(struct vcpu *v, u8 *hva, bool more, u64 *marked)
{
    u64 at = (u64)hva;
    u64 end = align_down(at, GRANULE) + (more ? 2 * GRANULE : GRANULE);
    u64 page_end = align_down(at, PAGE_SIZE) + PAGE_SIZE;

    end = end < page_end ? end : page_end;
    if (end > *marked)
        physmap_protect_code(v->map, hva, (unsigned)(end - at));
    *marked = end > *marked ? end : *marked;
    return (unsigned)(end - at);
}

/* Decodes from RAM. DECODE_SHORT: the instruction runs into the next page. */
static enum decode_result decode_in_page(struct vcpu *v, const struct decode_ctx *ctx, u8 *hva,
                                         u64 *marked, struct insn *i)
{
    enum decode_result result = insn_decode(ctx, hva, readable_bytes(v, hva, false, marked), i);

    if (result != DECODE_SHORT)
        return result;
    return insn_decode(ctx, hva, readable_bytes(v, hva, true, marked), i);
}

/* Decodes as many instructions as belong into the run. Bytes before marked are marked already. */
static void fill_run(struct vcpu *v, struct decode_run *run, u64 rip, u8 *hva, u64 marked)
{
    struct decode_ctx ctx = decode_ctx(v);
    u8 *page_end = (u8 *)align_down((u64)hva, PAGE_SIZE) + PAGE_SIZE;

    run->count = run->bytes = 0;
    while (run->count < RUN_INSNS_MAX && hva < page_end) {
        struct insn *i = &run->insns[run->count];
        enum decode_result result = decode_in_page(v, &ctx, hva, &marked, i);

        if (result == DECODE_SHORT || result == DECODE_TOO_LONG)
            return;
        i->body = insn_bodies[i->id];
        trace_insn(v, rip + run->bytes, i);
        run->count++;
        run->bytes += i->len;
        hva += i->len;
        if (insn_row(i)->traits & T_ENDS)
            return;
    }
}

/* Decodes the run at hva into the arena. NULL: its first instruction leaves the page. */
static struct decode_run *new_run(struct vcpu *v, u64 rip, u8 *hva, u64 key)
{
    struct decode_cache *c = v->decode;
    struct decode_run *run, **bucket;
    u64 marked = 0;

    if (ARENA_SIZE - c->used < RUN_SIZE_MAX)
        decode_cache_flush(c);
    run = (struct decode_run *)(c->arena + c->used);
    run->key = key;
    run->page = &v->ram->pages[ram_page_of(v->ram, hva)];
    run->generation = __atomic_load_n(&run->page->generation, __ATOMIC_ACQUIRE);
    readable_bytes(v, hva, false, &marked);
    fill_run(v, run, rip, hva, marked);
    if (!run->count)
        return NULL;
    c->used += sizeof(*run) + run->count * sizeof(struct insn);
    bucket = bucket_of(c, key);
    run->next = *bucket;
    *bucket = run;
    return run;
}

/* Decodes one instruction for one use from the bytes that fetch_bytes() gave. */
static const struct decode_run *single_run(struct vcpu *v, u64 rip, const u8 *buf, unsigned count)
{
    struct decode_run *run = v->decode->single;
    struct decode_ctx ctx = decode_ctx(v);
    struct insn *i = run->insns;

    switch (insn_decode(&ctx, buf, count, i)) {
    case DECODE_SHORT: fetch_fault(v, rip, count); return NULL;
    case DECODE_TOO_LONG: raise_gp(v, 0); return NULL; /* SDM 3A 6.15, #GP */
    default: break;
    }
    i->body = insn_bodies[i->id];
    trace_insn(v, rip, i);
    run->page = NULL;
    run->count = 1;
    run->bytes = i->len;
    return run;
}

/* The run at hva, found or made. NULL: hva is not in RAM (or NULL), or the run has bytes that are
 * not in its page or not within the CS limit. */
static const struct decode_run *run_at(struct vcpu *v, u64 rip, u8 *hva)
{
    struct decode_run *run;
    u64 key;

    if (!hva || !ram_contains(v->ram, hva))
        return NULL;
    key = (u64)(hva - v->ram->hva) | mode_key(v);
    run = find_run(bucket_of(v->decode, key), key);
    if (!run)
        run = new_run(v, rip, hva, key);
    return run && run_within_limit(v, run, rip) ? run : NULL;
}

static NOINLINE const struct decode_run *lookup_slow(struct vcpu *v, u64 rip)
{
    u8 *hva = (u8 *)tlb_exec_ptr(v->tlb_now, fetch_address(v, rip));
    const struct decode_run *run = run_at(v, rip, hva);
    unsigned count;
    u8 buf[15];
    u64 gpa;

    if (run)
        return run;
    if (!fetch_bytes(v, rip, buf, &count, &gpa, &hva))
        return NULL;
    run = run_at(v, rip, hva);
    if (run)
        return run;
    return single_run(v, rip, buf, count);
}

const struct decode_run *decode_cache_lookup(struct vcpu *v, u64 rip)
{
    const u8 *hva = tlb_exec_ptr(v->tlb_now, fetch_address(v, rip));

    if (likely(hva)) {
        u64 key = (u64)(hva - v->ram->hva) | mode_key(v);
        const struct decode_run *run = *bucket_of(v->decode, key);

        if (likely(run && run->key == key && run_alive(run) && run_within_limit(v, run, rip)))
            return run;
    }
    return lookup_slow(v, rip);
}
