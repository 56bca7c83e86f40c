/* SPDX-License-Identifier: MIT */
#include "mem/tlb_probe.h"

#include "mem/tlb2_entry.h"
#include "mem/tlb_slot.h"

/* The classes of the half of the address space that the page belongs to are probed first: global
 * pages are the operating system's. */
static const struct tlb2_entry *find(struct tlb2 *second, u16 pcid, u64 gla)
{
    unsigned likely_ones = (i64)gla < 0 ? 0xaa : 0x55;

    for (unsigned pass = 0; pass < 2; pass++, likely_ones ^= 0xff) {
        for (unsigned left = second->classes & likely_ones; left; left &= left - 1) {
            const struct tlb2_entry *entry =
                entry_find(second, (unsigned)__builtin_ctz(left), pcid, gla);

            if (entry)
                return entry;
        }
    }
    return NULL;
}

/* What may be entered for the page; 0: that is for the long way to find out. */
static unsigned permitted(const struct tlb *tlb, enum tlb_context context,
                          const struct tlb2_entry *entry, u64 host)
{
    unsigned rights = tlb->rights[context][entry->flags];

    if (entry->key || !entry->host)
        return 0;
    if (!(entry->flags & TLB2_DIRTY) ||
        (ram_flags(tlb->ram, (const u8 *)host) & (PAGE_CODE | PAGE_DIRTY_LOG)))
        rights &= ~(unsigned)TLB_WRITE;
    return rights;
}

u64 tlb_probe(struct tlb *tlb, enum tlb_context context, u16 pcid, u64 gla, unsigned size,
              enum access_kind kind)
{
    static const u8 needed[] = {
        [ACCESS_READ] = TLB_READ, [ACCESS_WRITE] = TLB_WRITE, [ACCESS_EXEC] = TLB_EXEC};
    const struct tlb2_entry *entry;
    unsigned tags;
    u64 page_size, host;

    if ((gla & ~PAGE_MASK) + size > PAGE_SIZE || tlb->watch_all || tlb->watch_count ||
        tlb->on_store)
        return 0;
    entry = find(tlb->second, pcid, gla);
    if (!entry)
        return 0;
    page_size = BIT(tlb2_shift[entry->class / 2]);
    host = (u64)entry->host + (gla & (page_size - 1) & PAGE_MASK);
    tags = permitted(tlb, context, entry, host);
    if (!(tags & needed[kind]))
        return 0;
    tags &= kind == ACCESS_EXEC ? TLB_EXEC : TLB_READ | TLB_WRITE;
    tlb->fills++;
    if (page_size == GIB(1))
        tlb->giants[(gla >> 30) % TLB_GIANTS / 64] |= BIT((gla >> 30) % 64);
    slot_take(tlb, context, gla, host, entry->class & 1, page_size > PAGE_SIZE);
    slot_enter(tlb, context, gla, host, tags);
    if (kind == ACCESS_WRITE && !tlb_write_ptr(&tlb->tables[context], gla, size))
        return 0;
    return host + (gla & ~PAGE_MASK);
}
