/* SPDX-License-Identifier: MIT
 *
 * The regions of the physical map: adding, changing, removing; A20; the listeners; code pages.
 *
 * Every change goes the same way: check it, put a new region record into its slot, rebuild the
 * flat view (physmap_view.c), publish it, then tell the flush listener. A change that cannot be
 * made leaves everything as it was.
 */
#include "mem/physmap.h"

#include <stdlib.h>

#include "mem/physmap_view.h"

/* Retired region records rest for this many changes: see physmap_view.h. */
enum { RECORD_DELAY = 256 };

enum status physmap_create(struct physmap **map, struct ram *ram, struct log *log,
                           struct error *err)
{
    struct physmap *m = calloc(1, sizeof(*m));

    *map = m;
    if (!m)
        return error_set(err, ST_NO_MEMORY, "The host has no memory left for the physical map.");
    m->ram = ram;
    m->log = log;
    m->view = &m->views[0];
    m->gpa_mask = ~0ull;
    return ST_OK;
}

void physmap_destroy(struct physmap *map)
{
    if (!map)
        return;
    physmap_free_views(map);
    while (map->records) {
        struct record *record = map->records;

        map->records = record->next_made;
        free(record);
    }
    free(map->slots);
    free(map);
}

void physmap_set_listeners(struct physmap *map, physmap_flush_fn *flush,
                           physmap_protect_fn *protect, void *opaque)
{
    map->flush = flush;
    map->protect = protect;
    map->opaque = opaque;
}

void physmap_set_lock(struct physmap *map, const struct io_lock *lock)
{
    map->lock = *lock;
}

void physmap_acquire(struct physmap *map)
{
    io_acquire(&map->lock);
}

void physmap_release(struct physmap *map)
{
    io_release(&map->lock);
}

static struct record *record_new(struct physmap *map, const struct region *region)
{
    struct record *record = map->free_head;

    if (map->free_count > RECORD_DELAY) {
        map->free_head = record->next_free;
        map->free_count--;
    } else {
        record = malloc(sizeof(*record));
        if (!record)
            return NULL;
        record->next_made = map->records;
        map->records = record;
    }
    record->region = *region;
    record->next_free = NULL;
    return record;
}

static void record_retire(struct physmap *map, struct record *record)
{
    record->next_free = NULL;
    if (map->free_head)
        map->free_tail->next_free = record;
    else
        map->free_head = record;
    map->free_tail = record;
    map->free_count++;
}

static bool span_valid(u64 base, u64 size)
{
    return base % PAGE_SIZE == 0 && size % PAGE_SIZE == 0 && size && size <= GPA_END &&
           base <= GPA_END - size;
}

static bool region_valid(const struct physmap *map, const struct region *region)
{
    if (!span_valid(region->base, region->size) || (region->access & ~(unsigned)REGION_RW))
        return false;
    switch (region->kind) {
    case REGION_RAM:
        return region->ram_offset % PAGE_SIZE == 0 && region->size <= map->ram->size &&
               region->ram_offset <= map->ram->size - region->size;
    case REGION_ROM: return region->hva;
    case REGION_MMIO: return region->ops;
    case REGION_ALIAS: return span_valid(region->target, region->size);
    case REGION_HOLE: return true;
    }
    return false;
}

/* Whether region (to be id) meets another one of the same priority. */
static bool region_overlaps(const struct physmap *map, unsigned id, const struct region *region)
{
    for (unsigned i = 0; i < map->slot_count; i++) {
        const struct region *other;

        if (i == id || !map->slots[i])
            continue;
        other = &map->slots[i]->region;
        if (other->priority == region->priority && (other->access & region->access) &&
            region->base < other->base + other->size && other->base < region->base + region->size)
            return true;
    }
    return false;
}

static bool region_equal(const struct region *a, const struct region *b)
{
    return a->name == b->name && a->kind == b->kind && a->access == b->access &&
           a->base == b->base && a->size == b->size && a->priority == b->priority &&
           a->ram_offset == b->ram_offset && a->hva == b->hva &&
           a->writable_hva == b->writable_hva && a->write_faults == b->write_faults &&
           a->target == b->target && a->ops == b->ops && a->self == b->self;
}

static void map_changed(struct physmap *map)
{
    __atomic_fetch_add(&map->map_epoch, 1, __ATOMIC_SEQ_CST);
    if (map->flush)
        map->flush(map->opaque);
}

/* Puts record (or NULL) into slot id and publishes; on failure the slot keeps what it had. */
static enum status slot_set(struct physmap *map, unsigned id, struct record *record)
{
    struct record *old = map->slots[id];
    enum status status;

    map->slots[id] = record;
    status = physmap_publish(map);
    if (status != ST_OK) {
        map->slots[id] = old;
        if (record)
            record_retire(map, record);
        return status;
    }
    if (old)
        record_retire(map, old);
    map_changed(map);
    return ST_OK;
}

static bool slot_find(struct physmap *map, unsigned *id)
{
    struct record **slots;

    for (*id = 0; *id < map->slot_count; ++*id) {
        if (!map->slots[*id])
            return true;
    }
    slots = realloc(map->slots, (map->slot_count + 1) * sizeof(struct record *));
    if (!slots)
        return false;
    map->slots = slots;
    map->slots[map->slot_count++] = NULL;
    return true;
}

enum status physmap_add(struct physmap *map, const struct region *region, unsigned *id)
{
    struct record *record;

    if (!region_valid(map, region))
        return ST_INVALID;
    if (region_overlaps(map, ~0u, region))
        return ST_OVERLAP;
    if (!slot_find(map, id))
        return ST_NO_MEMORY;
    record = record_new(map, region);
    return record ? slot_set(map, *id, record) : ST_NO_MEMORY;
}

void physmap_remove(struct physmap *map, unsigned id)
{
    enum status status;

    check(id < map->slot_count && map->slots[id], "no region has the id %u", id);
    status = slot_set(map, id, NULL);
    check(status == ST_OK, "no memory to rebuild the physical map");
}

enum status physmap_change(struct physmap *map, unsigned id, const struct region *region)
{
    struct record *record;

    check(id < map->slot_count && map->slots[id], "no region has the id %u", id);
    if (!region_valid(map, region))
        return ST_INVALID;
    if (region_equal(&map->slots[id]->region, region))
        return ST_OK;
    if (region_overlaps(map, id, region))
        return ST_OVERLAP;
    record = record_new(map, region);
    return record ? slot_set(map, id, record) : ST_NO_MEMORY;
}

void physmap_set_a20(struct physmap *map, bool enabled)
{
    u64 mask = enabled ? ~0ull : ~BIT(20);

    if (map->gpa_mask == mask)
        return;
    __atomic_store_n(&map->gpa_mask, mask, __ATOMIC_SEQ_CST);
    map_changed(map);
}

bool physmap_a20(const struct physmap *map)
{
    return __atomic_load_n(&map->gpa_mask, __ATOMIC_RELAXED) == ~0ull;
}

u64 physmap_epoch(const struct physmap *map)
{
    return __atomic_load_n(&map->map_epoch, __ATOMIC_ACQUIRE);
}

void physmap_lookup(const struct physmap *map, u64 gpa, bool write, struct phys_page *page)
{
    struct resolved resolved;

    physmap_resolve(map, gpa, write, &resolved);
    *page = resolved.page;
}

/* The mark comes first: from then on no TLB enters a write tag for the page (ram_note_writer()), so
 * once the listener has dropped those that were there, no store can pass unseen. */
void physmap_protect_code(struct physmap *map, const u8 *hva, unsigned size)
{
    u64 stamp;

    ram_mark_code(map->ram, hva, size);
    if (!ram_has_writers(map->ram, hva, &stamp))
        return;
    if (map->protect)
        map->protect(map->opaque, map->ram->hva + (ram_page_of(map->ram, hva) << PAGE_SHIFT));
    ram_writers_dropped(map->ram, hva, stamp);
}

struct ram *physmap_ram(struct physmap *map)
{
    return map->ram;
}
