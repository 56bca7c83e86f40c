/* SPDX-License-Identifier: MIT
 *
 * The guest-physical address space: which page is RAM, ROM, a device, an alias, an overlay, or
 * nothing, separately for reads and for writes (PAM: read ROM, write the RAM below it).
 *
 * Regions are layered: a higher priority hides a lower one, page by page. Changes are rare (PAM,
 * BAR moves, overlays) and rebuild a flat, sorted view that lookups search; every change raises
 * physmap_epoch() and calls the flush listener, because TLBs cache resolved pages. A handler may
 * change the map while it runs.
 * Threads: changes under the machine lock; lookups from any thread, without a lock, see one whole
 * view. Nothing they return a pointer to is freed before physmap_destroy().
 * A device whose register handlers do DMA must refuse to be entered again by its own DMA.
 */
#pragma once

#include "mem/base/log.h"
#include "mem/base/status.h"
#include "mem/base/types.h"
#include "mem/bus.h"
#include "mem/ram.h"

enum region_kind {
    REGION_RAM,   /* ram at ram_offset: readable, writable, executable */
    REGION_ROM,   /* host memory, writes are ignored */
    REGION_MMIO,  /* ops/self; offset counted from the region's base */
    REGION_ALIAS, /* same as what lies at target (guest-physical), looked up below this region */
    REGION_HOLE,  /* reads all ones, writes ignored: hides what is below */
};

enum region_access { REGION_READ = 1, REGION_WRITE = 2, REGION_RW = 3 };

enum region_priority {
    PRIO_RAM = 0,
    PRIO_ROM = 10,
    PRIO_SHADOW = 20,
    PRIO_MMIO = 30,
    PRIO_OVERLAY = 40
};

struct region {
    const char *name;
    enum region_kind kind;
    enum region_access access; /* which accesses this region answers (0: none); others fall
                                  through */
    u64 base;                  /* guest-physical, page aligned */
    u64 size;                  /* bytes, page aligned */
    int priority;
    u64 ram_offset; /* RAM: byte offset into struct ram */
    u8 *hva;        /* ROM: size bytes, owned by the caller; overlay pages: RAM-like if writable */
    bool writable_hva;        /* ROM kind with host memory that takes writes */
    bool write_faults;        /* RAM kind: stores of a vCPU are #GP(0), others are ignored (Hv#1's
                                 read-only overlay pages) */
    u64 target;               /* ALIAS */
    const struct io_ops *ops; /* MMIO */
    void *self;               /* MMIO */
};

/* What one page resolves to for one kind of access. */
struct phys_page {
    u8 *hva;                     /* the page's 4096 bytes, or NULL */
    const struct region *region; /* NULL: nothing there (hole). For an alias: what it leads to. Use
                                    it at once: a later change may re-use the record */
    u64 offset;                  /* of the page from the region's base */
};

struct physmap; /* opaque */

/* Called with the physmap after every change; flushes all TLBs and blocks that cached the old map.
 */
typedef void physmap_flush_fn(void *opaque);
/* Called before a RAM page becomes a code page: drops all write TLB entries for that page. */
typedef void physmap_protect_fn(void *opaque, const u8 *page_hva);

/* ram and log must outlive the map. Starts empty: every address is a hole. */
MUST_USE enum status physmap_create(struct physmap **map, struct ram *ram, struct log *log,
                                    struct error *err);
void physmap_destroy(struct physmap *map);
void physmap_set_listeners(struct physmap *map, physmap_flush_fn *flush,
                           physmap_protect_fn *protect, void *opaque);

/* What device registers are accessed under; several accesses that belong together (a locked
 * instruction's read and write) take it around both. Regions change under it, too. */
void physmap_set_lock(struct physmap *map, const struct io_lock *lock);
void physmap_acquire(struct physmap *map);
void physmap_release(struct physmap *map);

/* Adds a region (copied); *id names it later. ST_OVERLAP: same priority, intersecting range and
 * intersecting access. ST_INVALID: misaligned, empty, beyond 2^52, or outside struct ram. */
MUST_USE enum status physmap_add(struct physmap *map, const struct region *region, unsigned *id);
void physmap_remove(struct physmap *map, unsigned id);
/* Moves or changes a region in place (BAR write, PAM change); on failure it stays as it was.
 * Nothing happens, and nothing is flushed, if it is the same already. */
MUST_USE enum status physmap_change(struct physmap *map, unsigned id, const struct region *region);

/* The A20 gate: with enabled false, bit 20 of every guest-physical address reads as 0. */
void physmap_set_a20(struct physmap *map, bool enabled);
bool physmap_a20(const struct physmap *map);
/* Raised by every change of a region and of A20. */
u64 physmap_epoch(const struct physmap *map);

/* Resolves the page of gpa. write: the page as seen by stores. page->hva set: direct access allowed
 * (for stores: if !ram_contains or no PAGE_CODE/PAGE_DIRTY_LOG). */
void physmap_lookup(const struct physmap *map, u64 gpa, bool write, struct phys_page *page);

/* Device DMA and slow-path CPU access: any length, any kind of page, never outside guest memory.
 * Unmapped bytes read as ones and swallow writes; both return false then. Stores to pages with
 * decoded code invalidate it. Each naturally aligned 1, 2, 4 or 8 byte piece inside RAM is one
 * host access, and so is a whole access of such a size that stays in one region. A device gets
 * such an access whole, a longer one in naturally aligned pieces. */
bool physmap_read(struct physmap *map, u64 gpa, void *buffer, u64 size);
bool physmap_write(struct physmap *map, u64 gpa, const void *buffer, u64 size);
u64 physmap_read_uint(struct physmap *map, u64 gpa, unsigned size);
void physmap_write_uint(struct physmap *map, u64 gpa, u64 value, unsigned size);
/* A direct pointer to size bytes of RAM at gpa, all in RAM and contiguous, or NULL. Writers through
 * it call ram_written() afterwards. */
void *physmap_ram_pointer(struct physmap *map, u64 gpa, u64 size);

/* Marks the size bytes at hva (one page of guest RAM) as decoded code: drops write TLB entries
 * first, so that no store is missed between the mark and the decoding that the caller does AFTER
 * this. */
void physmap_protect_code(struct physmap *map, const u8 *hva, unsigned size);

struct ram *physmap_ram(struct physmap *map);
