/* SPDX-License-Identifier: MIT
 *
 * Inside the physical map (mem/physmap*.c, mem/dma.c only): region records and the flat view.
 *
 * A lookup takes no lock and no reference, so nothing it can reach is ever given back before
 * physmap_destroy(): range arrays are only replaced by bigger ones, and region records and the two
 * views are re-used. Each view has a sequence number, odd while it is rebuilt; a lookup that finds
 * it changed starts over, so what it returns is of one view. The records behind phys_page.region
 * are re-used only RECORD_DELAY changes later.
 */
#pragma once

#include "mem/physmap.h"

/* Guest-physical addresses are below this (SDM 3A 4.1.4: MAXPHYADDR is at most 52). */
#define GPA_END (1ull << 52)

struct record {
    struct region region;
    struct record *next_free;
    struct record *next_made;
};

/* [start, end) resolves to region, whose byte offset lies at start. One cache line. */
struct range {
    u64 start;
    u64 end;
    u64 offset;
    u8 *hva; /* of start, or NULL */
    const struct region *region;
    const struct io_ops *ops; /* copies from an MMIO region, else NULL */
    void *self;
    const char *name;
};

struct range_list {
    struct range *items;
    unsigned count;
    unsigned capacity;
};

enum { VIEW_READ, VIEW_WRITE, VIEW_KINDS };

struct flat {
    struct range_list list;
    unsigned likely[2]; /* the two biggest ranges with host memory: tried first */
};

struct view {
    u64 sequence; /* odd: being rebuilt */
    struct flat flat[VIEW_KINDS];
};

/* Old range arrays, kept for late readers. */
struct retired {
    struct retired *next;
    void *memory;
};

struct physmap {
    struct ram *ram;
    struct log *log;
    struct view *view; /* the published one of views[] */
    struct view views[2];
    u64 gpa_mask; /* ~0, or without bit 20 while A20 is off */
    u64 map_epoch;
    struct record **slots; /* by id; NULL: free */
    unsigned slot_count;
    struct record *records;   /* all, by next_made */
    struct record *free_head; /* retired ones, oldest first */
    struct record *free_tail;
    unsigned free_count;
    struct retired *retired;
    physmap_flush_fn *flush;
    physmap_protect_fn *protect;
    void *opaque;
    struct io_lock lock;
};

/* Where one access goes. For MMIO, ops, self and name are copies that outlive any change of the
 * map; ops is NULL for everything else. */
struct resolved {
    struct phys_page page;
    u64 left; /* bytes from gpa to the end of this range or hole; at least 1 */
    const struct io_ops *ops;
    void *self;
    const char *name;
};

/* Resolves gpa (not yet masked with A20) for one kind of access. */
void physmap_resolve(const struct physmap *map, u64 gpa, bool write, struct resolved *resolved);

/* Builds the view that is not published from slots and publishes it. ST_NO_MEMORY: unchanged. */
MUST_USE enum status physmap_publish(struct physmap *map);
void physmap_free_views(struct physmap *map);
