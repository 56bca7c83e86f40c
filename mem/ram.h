/* SPDX-License-Identifier: MIT
 *
 * Guest RAM: one memfd, mapped once, plus one record per page of what is special about it.
 *
 * The page records are how self-modifying code is noticed: a page from which an engine has decoded
 * instructions carries PAGE_CODE and a bit per 64-byte granule. While PAGE_CODE is set no write TLB
 * entry for the page exists (mem/tlb.h), so every store reaches ram_written(), which raises the
 * page's generation when a granule with code is hit. A hit clears the bits of the granules that
 * were stored to, and PAGE_CODE with the last of them, so that data stores become fast again until
 * code is decoded anew.
 *
 * An engine has two ways to learn what became stale. It compares the generation it decoded under
 * with the current one: then one hit takes all that was decoded from the page along. Or it follows
 * the log of hits, which names the granules: what lies in others may live on. Every hit raises
 * code_epoch by one, so comparing that one word tells that nothing happened; ram_hit() reads the
 * hits since then. Order for an engine: read the generation, physmap_protect_code(), read the
 * bytes; then what it made of them is kept, and the log is read before it is used. A hit takes
 * marks away: one that came after the mark raised the generation, and is in that part of the log.
 * Threads: page records and the log are accessed with atomics only; hit_lock is held for the few
 * stores that append to the log.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"

enum { GRANULE_SHIFT = 6, GRANULES = PAGE_SIZE >> GRANULE_SHIFT };

enum page_flags {
    PAGE_CODE = 1u << 0,      /* instructions were decoded from it; stores take the slow path */
    PAGE_WRITE_TLB = 1u << 1, /* some vCPU's TLB may hold a write entry for it */
    PAGE_DIRTY_LOG = 1u << 2, /* stores take the slow path and are recorded (snapshots, display) */
};

struct ram_page {
    u64 code_granules; /* bit n: bytes [64n, 64n+64) hold decoded instructions */
    u32 generation;    /* raised whenever decoded instructions of this page became stale */
    u32 flags;         /* enum page_flags */
};

/* Granules of a page whose decoded instructions became stale at one time. */
struct ram_hit {
    u64 page; /* number */
    u64 granules;
};

enum { RAM_HITS = 1024 }; /* that the log holds */

struct ram {
    u8 *hva;                /* size bytes, readable and writable */
    u64 size;               /* bytes, a multiple of PAGE_SIZE */
    int fd;                 /* the memfd, so that it can be mapped again */
    struct ram_page *pages; /* size / PAGE_SIZE records */
    u64 code_epoch;         /* raised with any generation: one compare tells "nothing changed" */
    u32 hit_lock;
    struct ram_hit *hits; /* the hit that raised code_epoch from n is number n % RAM_HITS */
    /* Called after a hit, on the thread of the store; NULL: nobody else runs decoded code. */
    void (*code_written)(void *opaque);
    void *opaque;
};

/* Reserves size bytes (a multiple of PAGE_SIZE, more than 0) of zeroed guest RAM; host memory is
 * taken on first touch. Fails with ST_NO_MEMORY or ST_INVALID. */
MUST_USE enum status ram_create(struct ram *ram, u64 size, struct error *err);
void ram_destroy(struct ram *ram);

/* The page number of a host address inside guest RAM; check()s that it is inside. */
u64 ram_page_of(const struct ram *ram, const void *hva);
static inline bool ram_contains(const struct ram *ram, const void *hva)
{
    return (u64)((const u8 *)hva - ram->hva) < ram->size;
}

/* An engine is about to decode size bytes at hva (inside one page): sets their granule bits and
 * PAGE_CODE. Returns true if the page was not a code page before. Engines call
 * physmap_protect_code(), which also drops write TLB entries. */
bool ram_mark_code(struct ram *ram, const void *hva, unsigned size);
/* Bytes at hva were stored by a vCPU or a device; invalidates what was decoded from them. Must be
 * called after the store for any page with PAGE_CODE, may be called for any guest RAM (then it
 * costs one fence). size may span pages. Returns true if decoded code was hit. */
bool ram_written(struct ram *ram, const void *hva, u64 size);

/* The hit that raised code_epoch from epoch to epoch + 1, which must have happened. false: the log
 * is too short for one that old; then every page's generation tells. */
MUST_USE bool ram_hit(const struct ram *ram, u64 epoch, struct ram_hit *hit);
/* Bits of the granules of size bytes (at least 1) at byte offset of a page, inside the page. */
static inline u64 ram_granules(u64 offset, u64 size)
{
    return (~0ull << (offset >> GRANULE_SHIFT)) &
           (~0ull >> (63 - ((offset + size - 1) >> GRANULE_SHIFT)));
}

/* The flags of the page at hva now (enum page_flags). */
u32 ram_flags(const struct ram *ram, const void *hva);
/* A TLB has just entered a write tag for the page at hva: sets PAGE_WRITE_TLB. false: the page is a
 * code or logged page, the tag must be taken back before it is used. */
MUST_USE bool ram_note_writer(struct ram *ram, const void *hva);
/* Whether some TLB may hold a write entry for the page at hva. *stamp is the state this was true
 * in; give it to ram_writers_dropped() once all entries are gone, which clears PAGE_WRITE_TLB if
 * the page stayed a code or logged page all the while. */
bool ram_has_writers(const struct ram *ram, const void *hva, u64 *stamp);
void ram_writers_dropped(struct ram *ram, const void *hva, u64 stamp);
