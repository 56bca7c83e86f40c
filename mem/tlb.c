/* SPDX-License-Identifier: MIT
 *
 * The soft TLB's slow path: filling the first level from the second or from a walk, and flushing.
 *
 * First-level entries belong to the current PCID, or are global, and to the current
 * CR0/CR4/EFER/PKRU. Bitmaps say which slots are in use, which of them hold global pages and which
 * pieces of large ones. So a flush costs what was filled, global pages stay where they may, and
 * INVLPG takes exactly the pieces of its page along (SDM 3A 4.10.4.1): those of a page of 2 or
 * 4 MiB lie in a row; for pages of 1 GiB a small filter remembers which have pieces at all.
 *
 * Write tags against code marks: the tag is stored first, then ram_note_writer() sets
 * PAGE_WRITE_TLB and reports a mark that came before; the marking side sets its mark first and
 * then looks at PAGE_WRITE_TLB (physmap_protect_code()). One of the two always sees the other.
 */
#include "mem/tlb.h"

#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "mem/physmap_view.h"
#include "mem/tlb2_entry.h"
#include "mem/tlb_slot.h"
#include "mem/window.h"

/* Bits 62 and 63 differ, so no access in this page succeeds (SDM 1 3.3.7.1). Translated code would
 * not notice, so the rest is drawn at random: a guest that knew it could use it. The kernel gives
 * each process 16 random bytes (getauxval(3)). */
static u64 draw_no_stack(void)
{
    u64 drawn;

    memcpy(&drawn, (const void *)getauxval(AT_RANDOM), sizeof(drawn));
    return (drawn & (BIT(62) - 1) & PAGE_MASK) | BIT(63);
}

enum status tlb_create(struct tlb *tlb, struct physmap *map, struct error *err)
{
    enum status status;

    memset((u8 *)tlb + offsetof(struct tlb, second), 0,
           offsetof(struct tlb, use) - offsetof(struct tlb, second));
    tlb->map = map;
    tlb->ram = physmap_ram(map);
    check((u64)tlb->ram->hva >= GIB(4) && tlb->ram->size < BIT(44), "RAM at %p", tlb->ram->hva);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        struct tlb_table *table = &tlb->tables[context];

        slot_empty(table, 0); /* the one slot whose absent tag is not 0 */
        table->no_stack = draw_no_stack();
        tlb_forget_stack(table);
    }
    status = tlb2_create(&tlb->second, err);
    if (status != ST_OK)
        tlb_destroy(tlb);
    return status;
}

void tlb_destroy(struct tlb *tlb)
{
    tlb_permissions_changed(tlb);
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

/* The host page that loads (stores) at gpa reach, or NULL. */
static u8 *page_memory(const struct tlb *tlb, u64 gpa, bool write)
{
    struct phys_page page;

    physmap_lookup(tlb->map, gpa, write, &page);
    return page.hva;
}

/* How stores to the page may bypass the slow path: all of them if there is no code in it and no log
 * of it, those beside the code if there is. */
static unsigned store_tags(const struct tlb *tlb, const u8 *hva)
{
    u32 flags = ram_contains(tlb->ram, hva) ? ram_flags(tlb->ram, hva) : 0;

    if (flags & PAGE_DIRTY_LOG)
        return 0;
    return flags & PAGE_CODE ? TLB_MIXED : TLB_WRITE;
}

/* Remembers for tlb_probe() what pages like this one permit in the context. Protection keys are not
 * its business. */
static void learn_rights(struct tlb *tlb, enum tlb_context context, const struct paging_ctx *ctx,
                         const struct walk_result *result)
{
    struct walk_result page = *result;
    u8 *rights = &tlb->rights[context][tlb2_flags(result)];

    page.key = 0;
    if (*rights || result->key || !paging_on(ctx))
        return;
    *rights = TLB_KNOWN;
    *rights |= page_check(ctx, &page, ACCESS_READ) ? 0 : TLB_READ;
    *rights |= page_check(ctx, &page, ACCESS_WRITE) ? 0 : TLB_WRITE;
    *rights |= page_check(ctx, &page, ACCESS_EXEC) ? 0 : TLB_EXEC;
}

/* Enters what the access just permitted allows. A write tag needs a dirty leaf, write permission,
 * and stores that reach the very memory that loads see, as both tags share one host page. */
static void first_level_fill(struct tlb *tlb, enum tlb_context context,
                             const struct paging_ctx *ctx, u64 gla, enum access_kind kind,
                             const struct walk_result *result, const u8 *accessed)
{
    unsigned tags = TLB_READ;
    const u8 *loads = accessed, *stores;

    if (kind != ACCESS_EXEC && page_watched(tlb, gla))
        return;
    if (kind == ACCESS_WRITE)
        loads = page_memory(tlb, result->gpa, false);
    if (!loads)
        return;
    if (kind == ACCESS_EXEC) {
        tags = TLB_EXEC;
    } else if (result->dirty && (kind == ACCESS_WRITE || !page_check(ctx, result, ACCESS_WRITE))) {
        stores = kind == ACCESS_WRITE ? accessed : page_memory(tlb, result->gpa, true);
        if (stores == loads)
            tags |= store_tags(tlb, stores);
    }
    if (tlb->on_store)
        tags &= ~(unsigned)TLB_MIXED;
    tlb->fills++;
    slot_take(tlb, context, gla, (u64)loads, result->global, result->page_size > PAGE_SIZE);
    if (result->page_size == GIB(1))
        tlb->giants[(gla >> 30) % TLB_GIANTS / 64] |= BIT((gla >> 30) % 64);
    tlb->write_withheld = tlb->on_store && (tags & TLB_WRITE);
    if (tlb->write_withheld) {
        tags &= ~(unsigned)TLB_WRITE;
        slot_note_writer(tlb, context, gla, (u64)loads); /* one may be lent */
    }
    slot_enter(tlb, context, gla, (u64)loads, tags);
}

/* The memory of the whole page if loads and stores reach the same guest RAM everywhere in it. */
static u8 *whole_page(const struct tlb *tlb, const struct walk_result *result)
{
    u64 frame = result->gpa & ~(result->page_size - 1);
    struct resolved load, store;

    physmap_resolve(tlb->map, frame, false, &load);
    if (!load.page.hva || load.left < result->page_size || !ram_contains(tlb->ram, load.page.hva))
        return NULL;
    physmap_resolve(tlb->map, frame, true, &store);
    return store.page.hva == load.page.hva && store.left >= result->page_size ? load.page.hva
                                                                              : NULL;
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
    tlb2_insert(tlb->second, pcid, gla, result, whole_page(tlb, result));
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
    learn_rights(tlb, context, ctx, &result);
    physmap_lookup(tlb->map, result.gpa, kind == ACCESS_WRITE, &page->phys);
    page->gpa = result.gpa;
    page->hva = page->phys.hva ? page->phys.hva + gla % PAGE_SIZE : NULL;
    page->notify = kind == ACCESS_WRITE && page->hva && ram_contains(tlb->ram, page->hva);
    first_level_fill(tlb, context, ctx, gla, kind, &result, page->phys.hva);
    if (unlikely(tlb->on_store) && (kind == ACCESS_WRITE || !page->hva))
        tlb->on_store(tlb->on_store_opaque, page->phys.hva);
    return true;
}

u8 *tlb_mixed_ptr(const struct tlb *tlb, enum tlb_context context, u64 gla, unsigned size,
                  bool *code)
{
    const struct tlb_table *table = &tlb->tables[context];
    const struct ram *ram = physmap_ram(tlb->map);
    unsigned i = tlb_index(gla);
    const struct ram_page *page;
    u8 *hva = tlb_host(table, i, gla);
    u64 granules;

    *code = false;
    if (tag_load(&table->write_tag[i]) != tlb_mixed(gla + size - 1))
        return NULL;
    page = &ram->pages[(u64)(hva - ram->hva) >> PAGE_SHIFT];
    granules = __atomic_load_n(&page->code_granules, __ATOMIC_ACQUIRE);
    *code = granules & ram_granules(gla % PAGE_SIZE, size);
    return granules && !*code ? hva : NULL; /* without any the page gets its write tag */
}

/* -- flushing -- */

/* Clears those slots of a word of the bitmaps. */
static void drop_slots(struct tlb *tlb, unsigned context, unsigned word, u64 slots)
{
    struct tlb_use *use = &tlb->use[context];

    for (u64 left = slots; left; left &= left - 1)
        slot_clear(tlb, &tlb->tables[context], word * 64 + (unsigned)__builtin_ctzll(left));
    if (bits_clear(&use->filled[word], slots) || bits_clear(&use->words[word / 64], BIT(word % 64)))
        return;
    bits_clear(&use->tops[word / 64 / 64], BIT(word / 64 % 64));
}

/* Drops what is filled in the words of a word of the bitmap of words. */
static void flush_words(struct tlb *tlb, unsigned context, unsigned n, bool global)
{
    const struct tlb_use *use = &tlb->use[context];

    for (u64 left = use->words[n]; left; left &= left - 1) {
        unsigned word = n * 64 + (unsigned)__builtin_ctzll(left);

        drop_slots(tlb, context, word,
                   global ? use->filled[word] : use->filled[word] & ~use->global[word]);
    }
}

/* Everything of the first level, or all but global pages. */
static void first_level_flush(struct tlb *tlb, bool global)
{
    tlb->flushes++;
    tlb->changes++;
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (unsigned top = 0; top < ARRAY_SIZE(tlb->use[context].tops); top++)
            for (u64 left = tlb->use[context].tops[top]; left; left &= left - 1)
                flush_words(tlb, context, top * 64 + (unsigned)__builtin_ctzll(left), global);
}

void tlb_switch(struct tlb *tlb)
{
    first_level_flush(tlb, false);
}

/* All of the window, or if it belongs to another PCID none. */
static void window_flush(struct tlb *tlb, int pcid)
{
    if (tlb->window && (pcid < 0 || tlb->window->pcid == pcid))
        window_drop_all(tlb->window);
}

void tlb_permissions_changed(struct tlb *tlb)
{
    window_flush(tlb, -1);
    first_level_flush(tlb, true);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        for (unsigned n = 0; n < TLB_WRITERS; n++)
            if (tlb->use[context].writers[n])
                __atomic_store_n(&tlb->use[context].writers[n], 0, __ATOMIC_RELEASE);
    memset(tlb->giants, 0, sizeof(tlb->giants));
    memset(tlb->rights, 0, sizeof(tlb->rights));
}

void tlb_flush_all(struct tlb *tlb)
{
    tlb2_flush_all(tlb->second);
    tlb_permissions_changed(tlb);
}

void tlb_flush_non_global(struct tlb *tlb)
{
    tlb2_flush_non_global(tlb->second);
    window_flush(tlb, -1);
    tlb_switch(tlb);
}

void tlb_flush_pcid(struct tlb *tlb, u16 pcid)
{
    tlb2_flush_pcid(tlb->second, pcid);
    window_flush(tlb, pcid);
    tlb_switch(tlb);
}

/* Drops the pieces among `count` words of slots that belong to the same page of BIT(shift) bytes as
 * gla. */
static void drop_pieces(struct tlb *tlb, u64 gla, unsigned shift, unsigned first, unsigned count)
{
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        const struct tlb_table *table = &tlb->tables[context];
        struct tlb_use *use = &tlb->use[context];

        for (unsigned word = first; word < first + count; word++) {
            u64 drop = 0;

            if (!use->words[word / 64]) {
                word |= 63;
                continue;
            }
            for (u64 left = use->filled[word] & use->piece[word]; left; left &= left - 1) {
                unsigned bit = (unsigned)__builtin_ctzll(left), i = word * 64 + bit;

                if (slot_meets(table, i, gla, shift))
                    drop |= BIT(bit);
            }
            if (drop)
                drop_slots(tlb, context, word, drop);
        }
    }
}

/* Drops the page of gla from the first level, and all pieces of a large page around it. */
static void first_level_drop(struct tlb *tlb, u64 gla)
{
    const unsigned widest = 22; /* 4 MiB; the pieces of a page of 2 MiB lie in half of that */
    unsigned i = tlb_index(gla), slots = 1u << (widest - PAGE_SHIFT);

    tlb->changes++;
    if (tlb->window)
        window_drop(tlb->window, gla);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++)
        if (tlb->use[context].filled[i / 64] & BIT(i % 64))
            drop_slots(tlb, context, i / 64, BIT(i % 64));
    drop_pieces(tlb, gla, widest, (i & ~(slots - 1)) / 64, slots / 64);
    if (tlb->giants[(gla >> 30) % TLB_GIANTS / 64] & BIT((gla >> 30) % 64)) {
        drop_pieces(tlb, gla, 30, 0, TLB_WORDS);
        window_flush(tlb, -1);
    }
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

void tlb_flush_page_everywhere(struct tlb *tlb, u64 gla)
{
    tlb2_flush_page_everywhere(tlb->second, gla);
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
    slot_leave_stack(table, i);
    return true;
}

static bool drop_write_group(struct tlb *tlb, unsigned context, unsigned group, u64 page_hva)
{
    const unsigned each = TLB_GROUP / 64 / 64;
    const struct tlb_use *use = &tlb->use[context];
    bool had = false;

    for (unsigned n = group * each; n < (group + 1) * each; n++)
        for (u64 words = tag_load(&use->words[n]); words; words &= words - 1) {
            unsigned word = n * 64 + (unsigned)__builtin_ctzll(words);

            for (u64 left = tag_load(&use->filled[word]); left; left &= left - 1)
                had |= drop_write_slot(&tlb->tables[context],
                                       word * 64 + (unsigned)__builtin_ctzll(left), page_hva);
        }
    return had;
}

bool tlb_drop_write(struct tlb *tlb, const u8 *page_hva)
{
    bool had = false;

    if (tlb->window)
        window_drop_writer(tlb->window, page_hva);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        u64 left =
            __atomic_load_n(slot_writers(&tlb->use[context], (u64)page_hva), __ATOMIC_ACQUIRE);

        for (; left; left &= left - 1)
            had |= drop_write_group(tlb, context, (unsigned)__builtin_ctzll(left), (u64)page_hva);
    }
    if (had)
        tlb_clear_sites(tlb);
    return had | __atomic_load_n(&tlb->write_lost, __ATOMIC_ACQUIRE);
}

void tlb_watch_stores(struct tlb *tlb, tlb_store_fn *fn, void *opaque)
{
    tlb->on_store = fn;
    tlb->on_store_opaque = opaque;
    tlb_permissions_changed(tlb);
}

void tlb_watch(struct tlb *tlb, const u64 *pages, unsigned count)
{
    check(count <= ARRAY_SIZE(tlb->watch_pages), "%u watched pages", count);
    for (unsigned i = 0; i < count; i++)
        tlb->watch_pages[i] = pages[i] & PAGE_MASK;
    tlb->watch_count = count;
    tlb_permissions_changed(tlb);
}
