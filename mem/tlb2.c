/* SPDX-License-Identifier: MIT
 *
 * The second level of the soft TLB: see tlb2.h.
 *
 * A class is a page size together with global or not. Each class hashes with its own page number
 * (and the PCID unless global), all into one array; a lookup probes the classes that have been
 * used since they were last flushed as a whole, small pages first.
 */
#include "mem/tlb2.h"

#include <stdlib.h>
#include <string.h>

enum { WAYS = 4, SETS = 4096, PCIDS = 4096, SIZES = 4, CLASSES = SIZES * 2 };

static const u8 size_shift[SIZES] = {12, 21, 22, 30};

enum entry_flags {
    TLB2_DIRTY = 1u << 0,
    TLB2_USER = 1u << 1,
    TLB2_WRITABLE = 1u << 2,
    TLB2_NX = 1u << 3,
};

struct tlb2_entry {
    u64 tag;   /* linear address of the page | PCID (0 if global) */
    u64 frame; /* guest-physical address of the page */
    u64 stamp; /* when it was made; 0: never */
    u8 class;  /* 2 * size index + global */
    u8 flags;
    u8 key;
};

struct tlb2_set {
    struct tlb2_entry way[WAYS];
};

struct tlb2 {
    u64 now;              /* the time: raised by every flush */
    u64 void_all;         /* entries made at this time or before are void: all of them */
    u64 void_non_global;  /* those that are not global */
    u64 void_pcid[PCIDS]; /* those that are not global, of one PCID */
    unsigned classes;     /* bit per class: may have entries */
    unsigned victim;
    u64 pcids[PCIDS / 64]; /* bit per PCID: may have entries */
    struct tlb2_set set[SETS];
};

enum status tlb2_create(struct tlb2 **second, struct error *err)
{
    *second = calloc(1, sizeof(**second));
    if (!*second)
        return error_set(err, ST_NO_MEMORY, "The host has no memory left for a vCPU's TLB.");
    (*second)->now = 1;
    return ST_OK;
}

void tlb2_destroy(struct tlb2 *second)
{
    free(second);
}

static u64 class_tag(unsigned class, u16 pcid, u64 gla)
{
    u64 page = gla >> size_shift[class / 2] << size_shift[class / 2];

    return class & 1 ? page : page | pcid;
}

static struct tlb2_set *class_set(struct tlb2 *second, unsigned class, u64 tag)
{
    u64 page = tag >> size_shift[class / 2];
    u64 hash = page ^ page >> 12 ^ page >> 24 ^ (tag & 0xfff) * 0x9d;

    return &second->set[(hash + class * 0x2d1) % SETS];
}

static bool entry_live(const struct tlb2 *second, const struct tlb2_entry *entry)
{
    if (entry->stamp <= second->void_all)
        return false;
    return (entry->class & 1) || (entry->stamp > second->void_non_global &&
                                  entry->stamp > second->void_pcid[entry->tag & 0xfff]);
}

static struct tlb2_entry *entry_find(struct tlb2 *second, unsigned class, u16 pcid, u64 gla)
{
    u64 tag = class_tag(class, pcid, gla);
    struct tlb2_set *set = class_set(second, class, tag);

    for (unsigned i = 0; i < WAYS; i++) {
        struct tlb2_entry *entry = &set->way[i];

        if (entry->tag == tag && entry->class == class && entry_live(second, entry))
            return entry;
    }
    return NULL;
}

bool tlb2_find(struct tlb2 *second, u16 pcid, u64 gla, struct walk_result *result)
{
    for (unsigned left = second->classes; left; left &= left - 1) {
        unsigned class = (unsigned)__builtin_ctz(left);
        const struct tlb2_entry *entry = entry_find(second, class, pcid, gla);
        u64 size = BIT(size_shift[class / 2]);

        if (!entry)
            continue;
        *result = (struct walk_result){
            .gpa = entry->frame | (gla & (size - 1)),
            .page_size = size,
            .global = class & 1,
            .dirty = entry->flags & TLB2_DIRTY,
            .user_page = entry->flags & TLB2_USER,
            .writable = entry->flags & TLB2_WRITABLE,
            .nx = entry->flags & TLB2_NX,
            .key = entry->key,
        };
        return true;
    }
    return false;
}

void tlb2_flush_page(struct tlb2 *second, u16 pcid, u64 gla, bool global)
{
    for (unsigned left = second->classes; left; left &= left - 1) {
        unsigned class = (unsigned)__builtin_ctz(left);
        struct tlb2_entry *entry;

        if ((class & 1) && !global)
            continue;
        entry = entry_find(second, class, pcid, gla);
        if (entry)
            entry->stamp = 0;
    }
}

void tlb2_flush_page_everywhere(struct tlb2 *second, u64 gla)
{
    tlb2_flush_page(second, 0, gla, true);
    for (unsigned word = 0; word < ARRAY_SIZE(second->pcids); word++)
        for (u64 left = second->pcids[word]; left; left &= left - 1)
            tlb2_flush_page(second, (u16)(word * 64 + (unsigned)__builtin_ctzll(left)), gla, false);
}

static unsigned result_class(const struct walk_result *result)
{
    unsigned size = 0;

    while (size < SIZES - 1 && BIT(size_shift[size]) != result->page_size)
        size++;
    return size * 2 + result->global;
}

void tlb2_insert(struct tlb2 *second, u16 pcid, u64 gla, const struct walk_result *result)
{
    unsigned class = result_class(result);
    u64 tag = class_tag(class, pcid, gla);
    struct tlb2_set *set = class_set(second, class, tag);
    struct tlb2_entry *entry = NULL;

    tlb2_flush_page(second, pcid, gla, true);
    for (unsigned i = 0; i < WAYS && !entry; i++) {
        if (!entry_live(second, &set->way[i]))
            entry = &set->way[i];
    }
    if (!entry)
        entry = &set->way[second->victim++ % WAYS];
    *entry = (struct tlb2_entry){
        .tag = tag,
        .frame = result->gpa & ~(result->page_size - 1),
        .stamp = second->now,
        .class = (u8) class,
        .flags = (u8)((result->dirty ? TLB2_DIRTY : 0) | (result->user_page ? TLB2_USER : 0) |
                      (result->writable ? TLB2_WRITABLE : 0) | (result->nx ? TLB2_NX : 0)),
        .key = result->key,
    };
    second->classes |= 1u << class;
    second->pcids[pcid % PCIDS / 64] |= BIT(pcid % 64);
}

void tlb2_flush_all(struct tlb2 *second)
{
    second->void_all = second->now++;
    second->classes = 0;
    memset(second->pcids, 0, sizeof(second->pcids));
}

void tlb2_flush_non_global(struct tlb2 *second)
{
    second->void_non_global = second->now++;
    second->classes &= 0xaa; /* the odd classes are the global ones */
}

void tlb2_flush_pcid(struct tlb2 *second, u16 pcid)
{
    second->void_pcid[pcid % PCIDS] = second->now++;
}
