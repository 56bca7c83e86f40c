/* SPDX-License-Identifier: MIT
 *
 * Inside the second level of the soft TLB (mem/tlb*.c only): its entries and how one is found.
 *
 * A class is a page size together with global or not. Each class hashes with its own page number
 * (and the PCID unless global), all into one array; a lookup probes the classes that have been
 * used since they were last flushed as a whole.
 */
#pragma once

#include "mem/tlb2.h"

enum { TLB2_WAYS = 4, TLB2_SETS = 8192, TLB2_PCIDS = 4096, TLB2_SIZES = 4 };

static const u8 tlb2_shift[TLB2_SIZES] = {12, 21, 22, 30};

enum tlb2_flags { TLB2_DIRTY = 1, TLB2_USER = 2, TLB2_WRITABLE = 4, TLB2_NX = 8 };

struct tlb2_entry {
    u64 tag;   /* linear address of the page | PCID (0 if global) */
    u64 frame; /* guest-physical address of the page */
    u8 *host;  /* all of the page where it is guest RAM for loads and stores alike, else NULL */
    u64 stamp : 48; /* when it was made; 0: never */
    u64 class : 4;  /* 2 * size index + global */
    u64 flags : 4;  /* enum tlb2_flags */
    u64 key : 4;
};

struct tlb2_set {
    struct tlb2_entry way[TLB2_WAYS];
};

struct tlb2 {
    u64 now;                   /* the time: raised by every flush */
    u64 void_all;              /* entries made at this time or before are void: all of them */
    u64 void_non_global;       /* those that are not global */
    u64 void_pcid[TLB2_PCIDS]; /* those that are not global, of one PCID */
    unsigned classes;          /* bit per class: may have entries */
    unsigned victim;
    u64 pcids[TLB2_PCIDS / 64]; /* bit per PCID: may have entries */
    struct tlb2_set set[TLB2_SETS];
};

static inline u8 tlb2_flags(const struct walk_result *page)
{
    return (u8)((page->dirty ? TLB2_DIRTY : 0) | (page->user_page ? TLB2_USER : 0) |
                (page->writable ? TLB2_WRITABLE : 0) | (page->nx ? TLB2_NX : 0));
}

static inline u64 class_tag(unsigned class, u16 pcid, u64 gla)
{
    u64 page = gla >> tlb2_shift[class / 2] << tlb2_shift[class / 2];

    return class & 1 ? page : page | pcid;
}

static inline struct tlb2_set *class_set(struct tlb2 *second, unsigned class, u64 tag)
{
    u64 page = tag >> tlb2_shift[class / 2];
    u64 hash = page ^ page >> 13 ^ page >> 26 ^ (tag & 0xfff) * 0x9d;

    return &second->set[(hash + class * 0x2d1) % TLB2_SETS];
}

static inline bool entry_live(const struct tlb2 *second, const struct tlb2_entry *entry)
{
    if (entry->stamp <= second->void_all)
        return false;
    return (entry->class & 1) || (entry->stamp > second->void_non_global &&
                                  entry->stamp > second->void_pcid[entry->tag & 0xfff]);
}

static inline struct tlb2_entry *entry_find(struct tlb2 *second, unsigned class, u16 pcid, u64 gla)
{
    u64 tag = class_tag(class, pcid, gla);
    struct tlb2_set *set = class_set(second, class, tag);

    for (unsigned i = 0; i < TLB2_WAYS; i++) {
        struct tlb2_entry *entry = &set->way[i];

        if (entry->tag == tag && entry->class == class && entry_live(second, entry))
            return entry;
    }
    return NULL;
}
