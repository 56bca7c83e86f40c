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

#include "mem/tlb2_entry.h"
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

bool tlb2_find(struct tlb2 *second, u16 pcid, u64 gla, struct walk_result *result)
{
    for (unsigned left = second->classes; left; left &= left - 1) {
        unsigned class = (unsigned)__builtin_ctz(left);
        const struct tlb2_entry *entry = entry_find(second, class, pcid, gla);
        u64 size = BIT(tlb2_shift[class / 2]);

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

    while (size < TLB2_SIZES - 1 && BIT(tlb2_shift[size]) != result->page_size)
        size++;
    return size * 2 + result->global;
}

void tlb2_insert(struct tlb2 *second, u16 pcid, u64 gla, const struct walk_result *result, u8 *host)
{
    unsigned class = result_class(result);
    u64 tag = class_tag(class, pcid, gla);
    struct tlb2_set *set = class_set(second, class, tag);
    struct tlb2_entry *entry = NULL;

    tlb2_flush_page(second, pcid, gla, true);
    for (unsigned i = 0; i < TLB2_WAYS && !entry; i++) {
        if (!entry_live(second, &set->way[i]))
            entry = &set->way[i];
    }
    if (!entry)
        entry = &set->way[second->victim++ % TLB2_WAYS];
    *entry = (struct tlb2_entry){
        .tag = tag,
        .frame = result->gpa & ~(result->page_size - 1),
        .stamp = second->now,
        .host = host,
        .class = (u8) class,
        .flags = tlb2_flags(result),
        .key = result->key,
    };
    second->classes |= 1u << class;
    second->pcids[pcid % TLB2_PCIDS / 64] |= BIT(pcid % 64);
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
    second->void_pcid[pcid % TLB2_PCIDS] = second->now++;
}
