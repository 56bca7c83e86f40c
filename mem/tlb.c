/* SPDX-License-Identifier: MIT
 *
 * The soft TLB's slow path: filling the first level from the second or from a walk, and flushing.
 *
 * First-level entries belong to the current PCID and the current CR0/CR4/EFER/PKRU. Which slots are
 * in use is kept in a bitmap, so that a flush costs what was filled: guests without PCID flush on
 * every context switch. Large pages enter in 4 KiB pieces; a small filter per page size remembers
 * which large pages have pieces, so that INVLPG takes all pieces along (SDM 3A 4.10.4.1).
 *
 * Write tags against code marks: the tag is stored first, then ram_note_writer() sets
 * PAGE_WRITE_TLB and reports a mark that came before; the marking side sets its mark first and
 * then looks at PAGE_WRITE_TLB (physmap_protect_code()). One of the two always sees the other.
 */
#include "mem/tlb.h"

#include <stdlib.h>
#include <string.h>

#include "mem/tlb2.h"

static const u8 large_shift[TLB_LARGE_SIZES] = {21, 22, 30};

enum { FILTER_BITS = TLB_FILTER_WORDS * 64 };

enum tag_kinds { TAG_READ = 1, TAG_WRITE = 2, TAG_EXEC = 4 };

/* Tags may be dropped by another thread, hence the atomics. */
static u64 tag_load(const u64 *tag)
{
    return __atomic_load_n(tag, __ATOMIC_RELAXED);
}

static void tag_store(u64 *tag, u64 value)
{
    __atomic_store_n(tag, value, __ATOMIC_RELAXED);
}

static void slot_empty(struct tlb_table *table, unsigned i)
{
    tag_store(&table->read_tag[i], tlb_invalid(i));
    tag_store(&table->write_tag[i], tlb_invalid(i));
    tag_store(&table->exec_tag[i], tlb_invalid(i));
}

/* The order matters to tlb_drop_write(): it looks at the tag first. */
static void slot_clear(struct tlb *tlb, struct tlb_table *table, unsigned i)
{
    if (tag_load(&table->write_tag[i]) != tlb_invalid(i))
        __atomic_store_n(&tlb->write_lost, true, __ATOMIC_RELEASE);
    slot_empty(table, i);
}

enum status tlb_create(struct tlb *tlb, struct physmap *map, struct error *err)
{
    enum status status;

    memset(tlb, 0, sizeof(*tlb));
    tlb->map = map;
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (unsigned i = 0; i < TLB_ENTRIES; i++)
            slot_empty(&tlb->tables[context], i);
    status = tlb2_create(&tlb->second, err);
    if (status != ST_OK)
        tlb_destroy(tlb);
    return status;
}

void tlb_destroy(struct tlb *tlb)
{
    tlb2_destroy(tlb->second);
    tlb->second = NULL;
}

/* -- filling -- */

static bool page_watched(const struct tlb *tlb, u64 gla)
{
    if (tlb->watch_all)
        return true;
    for (unsigned i = 0; i < tlb->watch_count; i++) {
        if (tlb->watch_pages[i] == (gla & PAGE_MASK))
            return true;
    }
    return false;
}

static void filter_note(struct tlb *tlb, u64 gla, u64 page_size)
{
    for (unsigned size = 0; size < TLB_LARGE_SIZES; size++) {
        unsigned bit = (gla >> large_shift[size]) % FILTER_BITS;

        if (page_size == BIT(large_shift[size]))
            tlb->large[size][bit / 64] |= BIT(bit % 64);
    }
}

/* Whether the first level may hold a piece of a large page that contains gla. */
static bool filter_hit(const struct tlb *tlb, u64 gla)
{
    for (unsigned size = 0; size < TLB_LARGE_SIZES; size++) {
        unsigned bit = (gla >> large_shift[size]) % FILTER_BITS;

        if (tlb->large[size][bit / 64] & BIT(bit % 64))
            return true;
    }
    return false;
}

/* Whether every tag of slot i is absent or that of a page. */
static bool slot_belongs(const struct tlb_table *table, unsigned i, u64 page)
{
    u64 none = tlb_invalid(i), r = tag_load(&table->read_tag[i]),
        w = tag_load(&table->write_tag[i]), x = tag_load(&table->exec_tag[i]);

    return (r == none || r == page) && (w == none || w == page) && (x == none || x == page);
}

/* Enters tags (enum tag_kinds) for the page of gla at hva. */
static void slot_enter(struct tlb *tlb, enum tlb_context context, u64 gla, const u8 *hva,
                       unsigned tags)
{
    struct tlb_table *table = &tlb->tables[context];
    unsigned i = tlb_index(gla);
    u64 page = gla & PAGE_MASK, host = (u64)hva;
    u64 *filled = &tlb->filled[context][i / 64];

    if (table->page[i] != host || !slot_belongs(table, i, page)) {
        slot_clear(tlb, table, i);
        tag_store(&table->page[i], host);
    }
    __atomic_store_n(filled, *filled | BIT(i % 64), __ATOMIC_RELAXED);
    if (tags & TAG_READ)
        tag_store(&table->read_tag[i], page);
    if (tags & TAG_EXEC)
        tag_store(&table->exec_tag[i], page);
    if (!(tags & TAG_WRITE))
        return;
    tag_store(&table->write_tag[i], page);
    if (ram_contains(physmap_ram(tlb->map), hva) && !ram_note_writer(physmap_ram(tlb->map), hva))
        tag_store(&table->write_tag[i], tlb_invalid(i));
}

/* The host page that loads (stores) at gpa reach, or NULL. */
static u8 *page_memory(const struct tlb *tlb, u64 gpa, bool write)
{
    struct phys_page page;

    physmap_lookup(tlb->map, gpa, write, &page);
    return page.hva;
}

/* Whether stores to the page may bypass the slow path: no code in it, no log of it. */
static bool store_direct(const struct tlb *tlb, const u8 *hva)
{
    const struct ram *ram = physmap_ram(tlb->map);

    return !ram_contains(ram, hva) || !(ram_flags(ram, hva) & (PAGE_CODE | PAGE_DIRTY_LOG));
}

/* Enters what the access just permitted allows. A write tag needs a dirty leaf, write permission,
 * and stores that reach the very memory that loads see, as both tags share one host page. */
static void first_level_fill(struct tlb *tlb, enum tlb_context context,
                             const struct paging_ctx *ctx, u64 gla, enum access_kind kind,
                             const struct walk_result *result, const u8 *accessed)
{
    unsigned tags = TAG_READ;
    const u8 *loads = accessed, *stores;

    if (kind != ACCESS_EXEC && page_watched(tlb, gla))
        return;
    if (kind == ACCESS_WRITE)
        loads = page_memory(tlb, result->gpa, false);
    if (!loads)
        return;
    if (kind == ACCESS_EXEC) {
        tags = TAG_EXEC;
    } else if (result->dirty && (kind == ACCESS_WRITE || !page_check(ctx, result, ACCESS_WRITE))) {
        stores = kind == ACCESS_WRITE ? accessed : page_memory(tlb, result->gpa, true);
        if (stores == loads && store_direct(tlb, stores))
            tags |= TAG_WRITE;
    }
    tlb->write_withheld = tlb->on_store && (tags & TAG_WRITE);
    if (tlb->write_withheld)
        tags &= ~(unsigned)TAG_WRITE;
    tlb->fills++;
    if (result->page_size > PAGE_SIZE)
        filter_note(tlb, gla, result->page_size);
    slot_enter(tlb, context, gla, loads, tags);
}

/* From the second level if that suffices, else by a walk. A denied access walks again, as the entry
 * may be older than the page tables (SDM 3A 4.10.4.3 leaves that open; it spares spurious faults).
 */
static bool resolve(struct tlb *tlb, const struct paging_ctx *ctx, u64 gla, enum access_kind kind,
                    struct walk_result *result)
{
    u16 pcid = paging_pcid(ctx);

    if (!paging_on(ctx))
        return page_walk(tlb->map, ctx, gla, kind, result);
    if (tlb2_find(tlb->second, pcid, gla, result) && (kind != ACCESS_WRITE || result->dirty) &&
        !page_check(ctx, result, kind))
        return true;
    tlb->walks++;
    if (!page_walk(tlb->map, ctx, gla, kind, result))
        return false;
    tlb2_insert(tlb->second, pcid, gla, result);
    return true;
}

bool tlb_translate(struct tlb *tlb, enum tlb_context context, const struct paging_ctx *ctx, u64 gla,
                   enum access_kind kind, struct tlb_page *page, u32 *pf_error)
{
    struct walk_result result;

    tlb->write_withheld = false;
    if (!resolve(tlb, ctx, gla, kind, &result)) {
        *pf_error = result.error;
        return false;
    }
    physmap_lookup(tlb->map, result.gpa, kind == ACCESS_WRITE, &page->phys);
    page->gpa = result.gpa;
    page->hva = page->phys.hva ? page->phys.hva + gla % PAGE_SIZE : NULL;
    page->notify =
        kind == ACCESS_WRITE && page->hva && ram_contains(physmap_ram(tlb->map), page->hva);
    first_level_fill(tlb, context, ctx, gla, kind, &result, page->phys.hva);
    if (unlikely(tlb->on_store) && (kind == ACCESS_WRITE || !page->hva))
        tlb->on_store(tlb->on_store_opaque, page->phys.hva);
    return true;
}

/* -- flushing -- */

void tlb_switch(struct tlb *tlb)
{
    tlb->flushes++;
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        for (unsigned word = 0; word < ARRAY_SIZE(tlb->filled[context]); word++) {
            u64 left = tlb->filled[context][word];

            if (!left)
                continue;
            for (; left; left &= left - 1)
                slot_clear(tlb, &tlb->tables[context], word * 64 + (unsigned)__builtin_ctzll(left));
            __atomic_store_n(&tlb->filled[context][word], 0, __ATOMIC_RELAXED);
        }
    }
    memset(tlb->large, 0, sizeof(tlb->large));
}

void tlb_flush_all(struct tlb *tlb)
{
    tlb2_flush_all(tlb->second);
    tlb_switch(tlb);
}

void tlb_flush_non_global(struct tlb *tlb)
{
    tlb2_flush_non_global(tlb->second);
    tlb_switch(tlb);
}

void tlb_flush_pcid(struct tlb *tlb, u16 pcid)
{
    tlb2_flush_pcid(tlb->second, pcid);
    tlb_switch(tlb);
}

/* Drops the page of gla from the first level, and all pieces of a large page around it. */
static void first_level_drop(struct tlb *tlb, u64 gla)
{
    unsigned i = tlb_index(gla);

    if (filter_hit(tlb, gla)) {
        tlb_switch(tlb);
        return;
    }
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        slot_clear(tlb, &tlb->tables[context], i);
}

void tlb_flush_page(struct tlb *tlb, u16 pcid, u64 gla)
{
    tlb2_flush_page(tlb->second, pcid, gla, true);
    first_level_drop(tlb, gla);
}

void tlb_flush_page_pcid(struct tlb *tlb, u16 pcid, u64 gla)
{
    tlb2_flush_page(tlb->second, pcid, gla, false);
    first_level_drop(tlb, gla);
}

/* Clears the write tag of slot i if it maps the page at page_hva. true: it had. */
static bool drop_write_slot(struct tlb_table *table, unsigned i, u64 page_hva)
{
    u64 tag = tag_load(&table->write_tag[i]);

    if (tag == tlb_invalid(i) || tag_load(&table->page[i]) != page_hva)
        return false;
    __atomic_compare_exchange_n(&table->write_tag[i], &tag, tlb_invalid(i), false, __ATOMIC_SEQ_CST,
                                __ATOMIC_RELAXED);
    return true;
}

bool tlb_drop_write(struct tlb *tlb, const u8 *page_hva)
{
    bool had = false;

    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        for (unsigned word = 0; word < ARRAY_SIZE(tlb->filled[context]); word++) {
            u64 left = __atomic_load_n(&tlb->filled[context][word], __ATOMIC_RELAXED);

            for (; left; left &= left - 1)
                had |= drop_write_slot(&tlb->tables[context],
                                       word * 64 + (unsigned)__builtin_ctzll(left), (u64)page_hva);
        }
    }
    return had | __atomic_load_n(&tlb->write_lost, __ATOMIC_ACQUIRE);
}

void tlb_watch_stores(struct tlb *tlb, tlb_store_fn *fn, void *opaque)
{
    tlb->on_store = fn;
    tlb->on_store_opaque = opaque;
    tlb_switch(tlb);
}

void tlb_watch(struct tlb *tlb, const u64 *pages, unsigned count)
{
    check(count <= ARRAY_SIZE(tlb->watch_pages), "%u watched pages", count);
    for (unsigned i = 0; i < count; i++)
        tlb->watch_pages[i] = pages[i] & PAGE_MASK;
    tlb->watch_count = count;
    tlb_switch(tlb);
}
