/* SPDX-License-Identifier: MIT
 *
 * Guest RAM: one memfd, mapped once, plus one record per page of what is special about it.
 *
 * The page records are how self-modifying code is noticed: a page from which an engine has decoded
 * instructions carries PAGE_CODE and a bit per 64-byte granule. While PAGE_CODE is set no write TLB
 * entry for the page exists (mem/tlb.h), so every store reaches ram_written(), which raises the
 * page's generation when a granule with code is hit. An engine compares the generation it decoded
 * under with the current one. One hit makes all that was decoded from the page stale: it clears
 * every granule bit and PAGE_CODE, so that data stores become fast again until code is decoded
 * anew. Order for an engine: physmap_protect_code(), read the generation, read the bytes. Threads:
 * page records are accessed with atomics only.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"

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

struct ram {
    u8 *hva;                /* size bytes, readable and writable */
    u64 size;               /* bytes, a multiple of PAGE_SIZE */
    int fd;                 /* the memfd, so that it can be mapped again */
    struct ram_page *pages; /* size / PAGE_SIZE records */
    u64 code_epoch;         /* raised with any generation: one compare tells "nothing changed" */
    /* Called after that, on the thread of the store; NULL: nobody else runs decoded code. */
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
