/* SPDX-License-Identifier: MIT
 *
 * The flat view of the physical map: building it from layered regions, and searching it.
 *
 * Regions are painted in the order of their priority, for reads and for writes apart. An alias
 * copies what has been painted by all lower priorities, so it can neither see itself nor loop. See
 * physmap_view.h for how lookups run beside a rebuild.
 */
#include "mem/physmap_view.h"

#include <stdlib.h>
#include <string.h>

static bool list_reserve(struct range_list *list, unsigned count)
{
    unsigned capacity = list->capacity ? list->capacity : 32;
    struct range *items;

    if (count <= list->capacity)
        return true;
    while (capacity < count)
        capacity *= 2;
    items = realloc(list->items, capacity * sizeof(*items));
    if (!items)
        return false;
    list->items = items;
    list->capacity = capacity;
    return true;
}

/* The first range that ends after gpa. */
static unsigned list_find(const struct range *items, unsigned count, u64 gpa)
{
    unsigned low = 0, high = count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;

        if (items[middle].end <= gpa)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The part of range that lies in [start, end). */
static struct range range_clip(const struct range *range, u64 start, u64 end)
{
    struct range part = *range;
    u64 skip = start > range->start ? start - range->start : 0;

    part.start += skip;
    part.offset += skip;
    if (part.hva)
        part.hva += skip;
    if (part.end > end)
        part.end = end;
    return part;
}

/* Replaces [start, end) of list with the count ranges at put (sorted, inside; none: a hole). */
static bool list_replace(struct range_list *list, u64 start, u64 end, const struct range *put,
                         unsigned count)
{
    unsigned first = list_find(list->items, list->count, start);
    unsigned last = first;
    struct range head = {0}, tail = {0};
    bool has_head, has_tail;
    unsigned grown;

    while (last < list->count && list->items[last].start < end)
        last++;
    has_head = last > first && list->items[first].start < start;
    has_tail = last > first && list->items[last - 1].end > end;
    if (has_head)
        head = range_clip(&list->items[first], 0, start);
    if (has_tail)
        tail = range_clip(&list->items[last - 1], end, GPA_END);

    grown = has_head + count + has_tail;
    if (!list_reserve(list, list->count - (last - first) + grown))
        return false;
    if (list->count > last)
        memmove(&list->items[first + grown], &list->items[last],
                (list->count - last) * sizeof(*list->items));
    list->count += grown - (last - first);
    if (has_head)
        list->items[first++] = head;
    if (count)
        memcpy(&list->items[first], put, count * sizeof(*put));
    if (has_tail)
        list->items[first + count] = tail;
    return true;
}

/* What of below lies at the target of an alias, moved to where the alias is. */
static bool alias_ranges(const struct range_list *below, const struct region *alias,
                         struct range_list *out)
{
    u64 end = alias->target + alias->size;

    out->count = 0;
    for (unsigned i = list_find(below->items, below->count, alias->target);
         i < below->count && below->items[i].start < end; i++) {
        struct range part = range_clip(&below->items[i], alias->target, end);

        part.start = part.start - alias->target + alias->base;
        part.end = part.end - alias->target + alias->base;
        if (!list_reserve(out, out->count + 1))
            return false;
        out->items[out->count++] = part;
    }
    return true;
}

static u8 *region_hva(const struct physmap *map, const struct region *region, bool write)
{
    if (region->kind == REGION_RAM && !(write && region->write_faults))
        return map->ram->hva + region->ram_offset;
    if (region->kind == REGION_ROM && (!write || region->writable_hva))
        return region->hva;
    return NULL;
}

/* Everything that one build needs; the lists are scratch memory. */
struct build {
    const struct physmap *map;
    bool write;
    struct range_list list;  /* painted so far */
    struct range_list below; /* the same before the current priority */
    struct range_list alias;
};

static bool paint(struct build *build, const struct region *region)
{
    u64 end = region->base + region->size;
    struct range one = {.start = region->base,
                        .end = end,
                        .hva = region_hva(build->map, region, build->write),
                        .region = region};

    switch (region->kind) {
    case REGION_HOLE: return list_replace(&build->list, region->base, end, NULL, 0);
    case REGION_ALIAS:
        return alias_ranges(&build->below, region, &build->alias) &&
               list_replace(&build->list, region->base, end, build->alias.items,
                            build->alias.count);
    case REGION_MMIO:
        one.ops = region->ops;
        one.self = region->self;
        one.name = region->name;
        break;
    case REGION_RAM:
    case REGION_ROM: break;
    }
    return list_replace(&build->list, region->base, end, &one, 1);
}

/* The lowest priority above *priority (or the lowest of all) that a region of this access has. */
static bool next_priority(const struct build *build, bool first, int *priority)
{
    enum region_access access = build->write ? REGION_WRITE : REGION_READ;
    bool found = false;
    int best = 0;

    for (unsigned i = 0; i < build->map->slot_count; i++) {
        const struct record *record = build->map->slots[i];

        if (!record || !(record->region.access & access))
            continue;
        if ((first || record->region.priority > *priority) &&
            (!found || record->region.priority < best)) {
            best = record->region.priority;
            found = true;
        }
    }
    *priority = best;
    return found;
}

static bool paint_priority(struct build *build, int priority)
{
    enum region_access access = build->write ? REGION_WRITE : REGION_READ;

    if (!list_reserve(&build->below, build->list.count))
        return false;
    if (build->list.count)
        memcpy(build->below.items, build->list.items,
               build->list.count * sizeof(*build->list.items));
    build->below.count = build->list.count;
    for (unsigned i = 0; i < build->map->slot_count; i++) {
        const struct record *record = build->map->slots[i];

        if (record && (record->region.access & access) && record->region.priority == priority &&
            !paint(build, &record->region))
            return false;
    }
    return true;
}

static bool paint_all(struct build *build)
{
    int priority = 0;

    build->list.count = 0;
    for (bool more = next_priority(build, true, &priority); more;
         more = next_priority(build, false, &priority)) {
        if (!paint_priority(build, priority))
            return false;
    }
    return true;
}

/* Makes room in a view's own list; a late reader may still search the old array. */
static bool flat_reserve(struct physmap *map, struct flat *flat, unsigned count)
{
    unsigned capacity = flat->list.capacity ? flat->list.capacity * 2 : 32;
    struct retired *old;
    struct range *items;

    if (count <= flat->list.capacity)
        return true;
    while (capacity < count)
        capacity *= 2;
    old = malloc(sizeof(*old));
    items = calloc(capacity, sizeof(*items)); /* a late reader meets NULL regions only */
    if (!old || !items) {
        free(old);
        free(items);
        return false;
    }
    *old = (struct retired){map->retired, flat->list.items};
    map->retired = old;
    __atomic_store_n(&flat->list.items, items, __ATOMIC_RELEASE);
    flat->list.capacity = capacity;
    return true;
}

static void range_store(struct range *to, const struct range *from)
{
    __atomic_store_n(&to->start, from->start, __ATOMIC_RELAXED);
    __atomic_store_n(&to->end, from->end, __ATOMIC_RELAXED);
    __atomic_store_n(&to->offset, from->offset, __ATOMIC_RELAXED);
    __atomic_store_n(&to->hva, from->hva, __ATOMIC_RELAXED);
    __atomic_store_n(&to->region, from->region, __ATOMIC_RELEASE);
    __atomic_store_n(&to->ops, from->ops, __ATOMIC_RELEASE);
    __atomic_store_n(&to->self, from->self, __ATOMIC_RELEASE);
    __atomic_store_n(&to->name, from->name, __ATOMIC_RELEASE);
}

static void range_load(struct range *to, const struct range *from)
{
    to->start = __atomic_load_n(&from->start, __ATOMIC_RELAXED);
    to->end = __atomic_load_n(&from->end, __ATOMIC_RELAXED);
    to->offset = __atomic_load_n(&from->offset, __ATOMIC_RELAXED);
    to->hva = __atomic_load_n(&from->hva, __ATOMIC_RELAXED);
    to->region = __atomic_load_n(&from->region, __ATOMIC_ACQUIRE);
    to->ops = __atomic_load_n(&from->ops, __ATOMIC_ACQUIRE);
    to->self = __atomic_load_n(&from->self, __ATOMIC_ACQUIRE);
    to->name = __atomic_load_n(&from->name, __ATOMIC_ACQUIRE);
}

/* Copies the painted list into the view. Ranges that continue each other are not merged: a range
 * belongs to one region. */
static void flat_fill(struct flat *flat, const struct range_list *list)
{
    unsigned likely_at[2] = {0, 0};
    u64 sizes[2] = {0, 0};

    for (unsigned i = 0; i < list->count; i++) {
        const struct range *range = &list->items[i];
        u64 size = range->hva ? range->end - range->start : 0;

        range_store(&flat->list.items[i], range);
        if (size > sizes[0]) {
            sizes[1] = sizes[0];
            likely_at[1] = likely_at[0];
            sizes[0] = size;
            likely_at[0] = i;
        } else if (size > sizes[1]) {
            sizes[1] = size;
            likely_at[1] = i;
        }
    }
    __atomic_store_n(&flat->list.count, list->count, __ATOMIC_RELEASE);
    __atomic_store_n(&flat->likely[0], likely_at[0], __ATOMIC_RELAXED);
    __atomic_store_n(&flat->likely[1], likely_at[1], __ATOMIC_RELAXED);
}

enum status physmap_publish(struct physmap *map)
{
    struct view *view = map->view == &map->views[0] ? &map->views[1] : &map->views[0];
    enum status status = ST_NO_MEMORY;
    struct build build[VIEW_KINDS] = {{.map = map}, {.map = map, .write = true}};

    if (!paint_all(&build[VIEW_READ]) || !paint_all(&build[VIEW_WRITE]))
        goto done;
    __atomic_fetch_add(&view->sequence, 1, __ATOMIC_ACQ_REL); /* before any store to the view */
    if (flat_reserve(map, &view->flat[VIEW_READ], build[VIEW_READ].list.count) &&
        flat_reserve(map, &view->flat[VIEW_WRITE], build[VIEW_WRITE].list.count)) {
        flat_fill(&view->flat[VIEW_READ], &build[VIEW_READ].list);
        flat_fill(&view->flat[VIEW_WRITE], &build[VIEW_WRITE].list);
        status = ST_OK;
    }
    __atomic_fetch_add(&view->sequence, 1, __ATOMIC_ACQ_REL);
    if (status == ST_OK)
        __atomic_store_n(&map->view, view, __ATOMIC_SEQ_CST);

done:
    for (unsigned i = 0; i < VIEW_KINDS; i++) {
        free(build[i].list.items);
        free(build[i].below.items);
        free(build[i].alias.items);
    }
    return status;
}

void physmap_free_views(struct physmap *map)
{
    while (map->retired) {
        struct retired *old = map->retired;

        map->retired = old->next;
        free(old->memory);
        free(old);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(map->views); i++) {
        free(map->views[i].flat[VIEW_READ].list.items);
        free(map->views[i].flat[VIEW_WRITE].list.items);
    }
}

/* Whether gpa lies below (-1), in (0) or above (1) a range. */
static int range_compare(const struct range *range, u64 gpa)
{
    if (gpa < __atomic_load_n(&range->start, __ATOMIC_RELAXED))
        return -1;
    return gpa >= __atomic_load_n(&range->end, __ATOMIC_RELAXED);
}

/* Finds the range of gpa, or makes the hole around it. Every index is bounded by the count that was
 * read, and counts only grow together with the array, so a rebuild in between gives wrong answers
 * (which the caller throws away) but no stray access. */
static void flat_search(const struct flat *flat, u64 gpa, struct range *range)
{
    unsigned count = __atomic_load_n(&flat->list.count, __ATOMIC_ACQUIRE);
    const struct range *items = __atomic_load_n(&flat->list.items, __ATOMIC_ACQUIRE);
    unsigned low = 0, high = count;

    for (unsigned i = 0; i < ARRAY_SIZE(flat->likely) && count; i++) {
        unsigned at = __atomic_load_n(&flat->likely[i], __ATOMIC_RELAXED);

        if (at < count && range_compare(&items[at], gpa) == 0) {
            range_load(range, &items[at]);
            return;
        }
    }
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int side = range_compare(&items[middle], gpa);

        if (side == 0) {
            range_load(range, &items[middle]);
            return;
        }
        if (side > 0)
            low = middle + 1;
        else
            high = middle;
    }
    *range = (struct range){.end = GPA_END};
    if (low)
        range->start = __atomic_load_n(&items[low - 1].end, __ATOMIC_RELAXED);
    if (low < count)
        range->end = __atomic_load_n(&items[low].start, __ATOMIC_RELAXED);
}

void physmap_resolve(const struct physmap *map, u64 gpa, bool write, struct resolved *resolved)
{
    u64 mask = __atomic_load_n(&map->gpa_mask, __ATOMIC_RELAXED);
    u64 at = gpa & mask;
    const struct view *view;
    struct range range;
    u64 sequence, skip;

    *resolved = (struct resolved){0};
    if (unlikely(at >= GPA_END)) {
        resolved->left = PAGE_SIZE - at % PAGE_SIZE;
        return;
    }
    do {
        view = __atomic_load_n(&map->view, __ATOMIC_ACQUIRE);
        sequence = __atomic_load_n(&view->sequence, __ATOMIC_ACQUIRE);
        flat_search(&view->flat[write ? VIEW_WRITE : VIEW_READ], at, &range);
        asm volatile("" ::: "memory"); /* x86 keeps loads in order; so must the compiler */
    } while (
        unlikely((sequence & 1) || sequence != __atomic_load_n(&view->sequence, __ATOMIC_RELAXED)));

    resolved->left = range.end - at;
    if (unlikely(~mask != 0) && resolved->left > MIB(1) - at % MIB(1))
        resolved->left = MIB(1) - at % MIB(1); /* the next MiB may fold back */
    if (!range.region)
        return;
    skip = (at & PAGE_MASK) - range.start;
    resolved->page.region = range.region;
    resolved->page.offset = range.offset + skip;
    resolved->page.hva = range.hva ? range.hva + skip : NULL;
    resolved->ops = range.ops;
    resolved->self = range.self;
    resolved->name = range.name;
}
