/* SPDX-License-Identifier: MIT
 *
 * The window (window.h): which units are open, what is mapped where, and how it goes again.
 *
 * The kernel places new mappings of the emulator below those it has, in the highest gap that is
 * wide enough (or above, in the lowest one: a matter of limits and personality), and the heap grows
 * upwards. So a unit is refused not only beside what is there now, but in all the room that this
 * may grow into.
 */
#include "mem/window.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mem/tlb.h"
#include "mem/tlb_slot.h"

enum {
    MAPPINGS_MAX = 20000, /* of the 65,530 that the host allows (vm.max_map_count) a third */
    RUN_MAX = 16,         /* pages that are mapped along with one */
    LEAST = 1 << 16,      /* nothing is mapped below: null pointers of the emulator lead there */
    LARGE_SHIFT = 21,
    UNIT_PAGES = 1 << (WINDOW_UNIT_SHIFT - PAGE_SHIFT),
    UNIT_CHUNKS = 1 << (WINDOW_UNIT_SHIFT - LARGE_SHIFT),
    BITS_SIZE = (UNIT_PAGES + UNIT_CHUNKS) / 8, /* a bit per page, then one per 2 MiB */
};
static const u64 unit_size = BIT(WINDOW_UNIT_SHIFT), large_size = BIT(LARGE_SHIFT);
static const u64 user_end = BIT(47) - PAGE_SIZE; /* what the kernel gives to processes */
static const u64 growth = GIB(16);               /* of what the emulator has, either way */

/* -- life -- */

struct window *window_create(const struct ram *ram, u8 *guard)
{
    struct window *w = calloc(1, sizeof(*w));
    FILE *maps = fopen("/proc/self/maps", "re");

    if (maps)
        fclose(maps);
    if (!w || !maps) {
        free(w);
        return NULL;
    }
    w->writer = mmap(NULL, ram->size / PAGE_SIZE * sizeof(*w->writer), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (w->writer == MAP_FAILED) {
        free(w);
        return NULL;
    }
    w->ram = ram;
    w->guard = guard;
    w->owner = WINDOW_NONE;
    return w;
}

void window_destroy(struct window *w)
{
    if (!w)
        return;
    window_close_all(w);
    munmap(w->writer, w->ram->size / PAGE_SIZE * sizeof(*w->writer));
    free(w);
}

/* -- units -- */

static u64 unit_of(u64 gla)
{
    return gla >> WINDOW_UNIT_SHIFT;
}

static bool is_open(const struct window *w, u64 gla)
{
    return unit_of(gla) < WINDOW_UNITS && w->number[unit_of(gla)] &&
           w->number[unit_of(gla)] != WINDOW_REFUSED;
}

/* Whether a mapping of the emulator, or what may follow from it, is within reach of the unit that
 * begins at start. name: as in /proc/self/maps. */
static bool reaches(const char *name, u64 first, u64 end, u64 start)
{
    bool fixed = !strncmp(name, "[stack", 6) || !strncmp(name, "[v", 2);
    u64 room = fixed ? WINDOW_REACH : growth;

    return first - (first < room ? first : room) < start + unit_size && end + room > start;
}

/* Whether the emulator keeps out of a unit. What is mapped in open units is the window's. */
static bool is_free(const struct window *w, u64 start)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    bool taken = !maps;
    char line[512], name[8];
    u64 first, end;

    while (!taken && fgets(line, sizeof(line), maps)) {
        int found = sscanf(line, "%lx-%lx %*s %*s %*s %*s %7s", &first, &end, name);

        if (found >= 2 && !is_open(w, first))
            taken = reaches(found == 3 ? name : "", first, end, start);
    }
    if (maps)
        fclose(maps);
    return !taken;
}

bool window_open(struct window *w, u64 gla)
{
    u64 unit = unit_of(gla);
    u64 *bits;

    if (unit >= WINDOW_UNITS || w->number[unit])
        return is_open(w, gla);
    w->number[unit] = WINDOW_REFUSED;
    if (w->open_count == WINDOW_OPEN_MAX || !is_free(w, unit << WINDOW_UNIT_SHIFT))
        return false;
    bits = calloc(1, BITS_SIZE);
    if (!bits || mprotect(w->guard + unit * PAGE_SIZE, PAGE_SIZE, PROT_READ)) {
        free(bits);
        return false;
    }
    w->bits[w->open_count] = bits;
    w->open[w->open_count++] = (u32)unit;
    w->number[unit] = (u16)w->open_count;
    return true;
}

void window_close_all(struct window *w)
{
    window_drop_all(w);
    check(!mprotect(w->guard, WINDOW_GUARD_SIZE, PROT_NONE), "mprotect");
    for (unsigned n = 0; n < w->open_count; n++)
        free(w->bits[n]);
    memset(w->number, 0, sizeof(w->number));
    w->open_count = 0;
}

/* -- pages -- */

/* The number of an open unit, and of a page in it. */
struct place {
    unsigned unit, page;
};

static struct place place_of(const struct window *w, u64 gla)
{
    return (struct place){w->number[unit_of(gla)] - 1u, (unsigned)(gla >> PAGE_SHIFT) % UNIT_PAGES};
}

static bool is_mapped(const struct window *w, u64 gla)
{
    struct place p;

    if (!is_open(w, gla))
        return false;
    p = place_of(w, gla);
    return w->bits[p.unit][p.page / 64] & BIT(p.page % 64);
}

static void note(struct window *w, u64 gla, bool mapped)
{
    struct place p = place_of(w, gla);
    u64 *word = &w->bits[p.unit][p.page / 64], bit = BIT(p.page % 64);

    if (!(*word & bit) == !mapped)
        return;
    *word ^= bit;
    w->pages[p.unit] += mapped ? 1 : -1u;
    w->unmapped += !mapped;
}

static u64 *large_word(const struct window *w, u64 gla, u64 *bit)
{
    struct place p = place_of(w, gla);
    unsigned chunk = p.page >> (LARGE_SHIFT - PAGE_SHIFT);

    *bit = BIT(chunk % 64);
    return &w->bits[p.unit][(UNIT_PAGES + chunk) / 64];
}

/* That may make two mappings of the host's out of one, so it counts, too. */
static void unmap(struct window *w, u64 gla, u64 size)
{
    if (w->mappings++ >= 2 * MAPPINGS_MAX) {
        window_drop_all(w);
        return;
    }
    check(!munmap((void *)gla, size), "munmap %lx", gla);
    for (u64 at = gla; at < gla + size; at += PAGE_SIZE)
        note(w, at, false);
}

void window_drop(struct window *w, u64 gla)
{
    u64 bit, *large;

    if (!is_open(w, gla))
        return;
    large = large_word(w, gla, &bit);
    if (*large & bit) {
        *large &= ~bit;
        unmap(w, gla & ~(large_size - 1), large_size);
    } else if (is_mapped(w, gla)) {
        unmap(w, gla & PAGE_MASK, PAGE_SIZE);
    }
}

void window_drop_writer(struct window *w, const u8 *hva)
{
    u64 *at;

    if (!ram_contains(w->ram, hva))
        return;
    at = &w->writer[ram_page_of(w->ram, hva)];
    if (*at && is_mapped(w, *at))
        unmap(w, *at, PAGE_SIZE);
    *at = 0;
}

void window_drop_all(struct window *w)
{
    if (!w->mappings)
        return;
    for (unsigned n = 0; n < w->open_count; n++) {
        u64 start = (u64)w->open[n] << WINDOW_UNIT_SHIFT;

        if (!w->pages[n])
            continue;
        check(!munmap((void *)start,
                      (start + unit_size < user_end ? start + unit_size : user_end) - start),
              "munmap %lx", start);
        memset(w->bits[n], 0, BITS_SIZE);
        w->unmapped += w->pages[n];
        w->pages[n] = 0;
    }
    w->mappings = 0;
    w->dropped++;
}

/* -- filling -- */

/* What user mode's table has for a page: enum tlb_kinds. */
static unsigned kinds_of(const struct tlb_table *table, u64 page)
{
    unsigned i = tlb_index(page);

    return (table->read_tag[i] == page ? TLB_READ : 0u) |
           (tag_load(&table->write_tag[i]) == page ? TLB_WRITE : 0u);
}

/* Whether the page beside is to be mapped along: the same may be done with it, it follows in RAM,
 * and is not mapped. */
static bool goes_along(const struct window *w, const struct tlb_table *table, u64 page, u64 host,
                       unsigned kinds)
{
    return kinds_of(table, page) == kinds && table->page[tlb_index(page)] == host &&
           !is_mapped(w, page);
}

/* Nobody else may be mapped for stores to a page that is. */
static void take_writer(struct window *w, u64 gla, const u8 *hva)
{
    u64 *at = &w->writer[ram_page_of(w->ram, hva)];

    if (*at != gla)
        window_drop_writer(w, hva);
    *at = gla;
}

static bool map(struct window *w, u64 gla, const u8 *hva, u64 size, bool write)
{
    int kind = MAP_FIXED_NOREPLACE;
    void *at;

    for (u64 n = 0; n < size && write; n += PAGE_SIZE)
        take_writer(w, gla + n, hva + n);
    for (u64 n = 0; n < size; n += PAGE_SIZE)
        if (is_mapped(w, gla + n))
            kind = MAP_FIXED;
    at = mmap((void *)gla, size, write ? PROT_READ | PROT_WRITE : PROT_READ,
              MAP_SHARED | MAP_POPULATE | kind, w->ram->fd, hva - w->ram->hva);
    if (at != (void *)gla) {
        if (at != MAP_FAILED) /* to kernels before 4.17 the address is a hint */
            munmap(at, size);
        return false;
    }
    w->mappings++;
    w->filled++;
    for (u64 n = 0; n < size; n += PAGE_SIZE)
        note(w, gla + n, true);
    return true;
}

/* Whether stores may go to all of that RAM. */
static bool writers(const struct window *w, const u8 *hva, u64 size)
{
    for (u64 at = 0; at < size; at += PAGE_SIZE)
        if (!ram_note_writer((struct ram *)w->ram, hva + at))
            return false;
    return true;
}

/* The page is a piece of a large one: the 2 MiB around it, if no code is in them. */
static bool fill_large(struct window *w, u64 page, const u8 *host, bool write)
{
    u64 offset = page & (large_size - 1);
    const u8 *first = host - offset;

    return page - offset >= LEAST && ram_contains(w->ram, first) &&
           ram_contains(w->ram, first + large_size - 1) &&
           (!write || writers(w, first, large_size)) &&
           map(w, page - offset, first, large_size, write);
}

/* Within 2 MiB, whose bit tells whether they are pieces of a large page. */
static bool fill_run(struct window *w, const struct tlb_table *table, u64 page, u64 host,
                     unsigned kinds)
{
    u64 first = page, end = page + PAGE_SIZE, distance = host - page;

    while (end - first < RUN_MAX * PAGE_SIZE && !((end ^ page) >> LARGE_SHIFT) &&
           goes_along(w, table, end, end + distance, kinds))
        end += PAGE_SIZE;
    while (end - first < RUN_MAX * PAGE_SIZE && !(((first - 1) ^ page) >> LARGE_SHIFT) &&
           first > LEAST &&
           goes_along(w, table, first - PAGE_SIZE, first - PAGE_SIZE + distance, kinds))
        first -= PAGE_SIZE;
    return map(w, first, (const u8 *)(first + distance), end - first, kinds & TLB_WRITE);
}

bool window_fill(struct window *w, const struct tlb *tlb, u64 gla)
{
    const struct tlb_table *table = &tlb->tables[TLB_USER];
    u64 page = gla & PAGE_MASK, host = table->page[tlb_index(gla)], bit, *large;
    unsigned i = tlb_index(gla), kinds = kinds_of(table, page);
    bool piece = tlb->use[TLB_USER].piece[i / 64] & BIT(i % 64);

    if (page < LEAST || !(kinds & TLB_READ) || !window_open(w, gla) ||
        !ram_contains(w->ram, (u8 *)host) || (is_mapped(w, gla) && !(kinds & TLB_WRITE)))
        return false;
    if (w->mappings >= MAPPINGS_MAX)
        window_drop_all(w);
    if (!piece)
        return fill_run(w, table, page, host, kinds);
    large = large_word(w, gla, &bit);
    *large |= bit;
    return fill_large(w, page, (const u8 *)host, kinds & TLB_WRITE) ||
           fill_run(w, table, page, host, kinds);
}
