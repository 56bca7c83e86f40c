/* SPDX-License-Identifier: MIT
 *
 * Slots of the first level of the soft TLB (mem/tlb*.c only): entering and clearing them.
 *
 * Other threads may drop write tags meanwhile (tlb_drop_write()), hence the atomics and an order:
 * what finds a write tag (filled, words, writers) is stored before the tag, and cleared after it.
 */
#pragma once

#include "mem/tlb.h"

enum tlb_kinds { TLB_READ = 1, TLB_WRITE = 2, TLB_EXEC = 4, TLB_KNOWN = 8, TLB_MIXED = 16 };

static inline u64 tag_load(const u64 *tag)
{
    return __atomic_load_n(tag, __ATOMIC_ACQUIRE);
}

static inline void tag_store(u64 *tag, u64 value)
{
    __atomic_store_n(tag, value, __ATOMIC_RELEASE);
}

static inline void bits_set(u64 *word, u64 bits)
{
    if ((*word & bits) != bits)
        __atomic_store_n(word, *word | bits, __ATOMIC_RELEASE);
}

/* Returns what is left. */
static inline u64 bits_clear(u64 *word, u64 bits)
{
    u64 left = *word & ~bits;

    __atomic_store_n(word, left, __ATOMIC_RELEASE);
    return left;
}

/* The read or write tag of slot i has gone: the stack's page is to have both. */
static inline void slot_leave_stack(struct tlb_table *table, unsigned i)
{
    if (tlb_index(__atomic_load_n(&table->stack_tag, __ATOMIC_SEQ_CST)) == i)
        tlb_forget_stack(table);
}

/* No site has a page afterwards that it had before, or a write tag that was dropped before. Any
 * thread may do this. */
void tlb_clear_sites(struct tlb *tlb);

static inline void slot_empty(struct tlb_table *table, unsigned i)
{
    tag_store(&table->read_tag[i], tlb_invalid(i));
    tag_store(&table->write_tag[i], tlb_invalid(i));
    tag_store(&table->exec_tag[i], tlb_invalid(i));
    tag_store(&table->exec_place[i], 0);
}

/* The order matters to tlb_drop_write(): it looks at the tag first, at write_lost last. */
static inline void slot_clear(struct tlb *tlb, struct tlb_table *table, unsigned i)
{
    if (table == &tlb->tables[TLB_USER] && tlb->site_count &&
        (tag_load(&table->read_tag[i]) != tlb_invalid(i) ||
         tag_load(&table->write_tag[i]) != tlb_invalid(i)))
        tlb_forget_sites(tlb);
    if (tag_load(&table->write_tag[i]) != tlb_invalid(i))
        __atomic_store_n(&tlb->write_lost, true, __ATOMIC_RELEASE);
    slot_empty(table, i);
    slot_leave_stack(table, i);
}

/* Whether every tag of slot i is absent or that of a page. */
static inline bool slot_belongs(const struct tlb_table *table, unsigned i, u64 page)
{
    u64 none = tlb_invalid(i), r = tag_load(&table->read_tag[i]),
        w = tag_load(&table->write_tag[i]), x = tag_load(&table->exec_tag[i]);

    return (r == none || r == page) && (w == none || w == page || w == tlb_mixed(page)) &&
           (x == none || x == page);
}

/* Whether a tag of slot i lies in the same page of BIT(shift) bytes as gla. */
static inline bool slot_meets(const struct tlb_table *table, unsigned i, u64 gla, unsigned shift)
{
    const u64 tags[] = {tag_load(&table->read_tag[i]), tag_load(&table->write_tag[i]),
                        tag_load(&table->exec_tag[i])};

    for (unsigned n = 0; n < ARRAY_SIZE(tags); n++)
        if (tags[n] != tlb_invalid(i) && !((tags[n] ^ gla) >> shift))
            return true;
    return false;
}

/* Takes the slot of gla for that page at host and notes what the page is; tags that other
 * translations of the same address left stay, then the slot is as mortal as the most mortal. */
static inline void slot_take(struct tlb *tlb, enum tlb_context context, u64 gla, u64 host,
                             bool global, bool piece)
{
    struct tlb_table *table = &tlb->tables[context];
    struct tlb_use *use = &tlb->use[context];
    unsigned i = tlb_index(gla), word = i / 64;
    u64 bit = BIT(i % 64);

    if (table->page[i] != host || !(use->filled[word] & bit) ||
        !slot_belongs(table, i, gla & PAGE_MASK)) {
        slot_clear(tlb, table, i);
        tag_store(&table->page[i], host);
        use->global[word] |= bit;
        use->piece[word] &= ~bit;
    }
    if (!global)
        use->global[word] &= ~bit;
    if (piece)
        use->piece[word] |= bit;
    bits_set(&use->filled[word], bit);
    bits_set(&use->words[word / 64], BIT(word % 64));
    bits_set(&use->tops[word / 64 / 64], BIT(word / 64 % 64));
}

static inline u64 *slot_writers(struct tlb_use *use, u64 host)
{
    return &use->writers[(host >> PAGE_SHIFT) % TLB_WRITERS];
}

/* Makes tlb_drop_write() look at the slot of gla for the page at host. */
static inline void slot_note_writer(struct tlb *tlb, enum tlb_context context, u64 gla, u64 host)
{
    bits_set(slot_writers(&tlb->use[context], host), BIT(tlb_index(gla) / TLB_GROUP));
}

/* Enters tags (enum tlb_kinds) for the page of gla at host, whose slot has been taken. */
static inline void slot_enter(struct tlb *tlb, enum tlb_context context, u64 gla, u64 host,
                              unsigned tags)
{
    struct tlb_table *table = &tlb->tables[context];
    unsigned i = tlb_index(gla);
    u64 page = gla & PAGE_MASK;

    if (tags & TLB_READ)
        tag_store(&table->read_tag[i], page);
    if (tags & TLB_EXEC) {
        tag_store(&table->exec_tag[i], page);
        if (ram_contains(tlb->ram, (u8 *)host))
            tag_store(&table->exec_place[i], tlb_exec_place(gla, host));
    }
    if (tags & TLB_MIXED)
        tag_store(&table->write_tag[i], tlb_mixed(page));
    if (!(tags & TLB_WRITE) || tag_load(&table->write_tag[i]) == page)
        return;
    slot_note_writer(tlb, context, gla, host);
    tag_store(&table->write_tag[i], page);
    if (ram_contains(tlb->ram, (u8 *)host) && !ram_note_writer(tlb->ram, (u8 *)host))
        tag_store(&table->write_tag[i], tlb_invalid(i));
}
