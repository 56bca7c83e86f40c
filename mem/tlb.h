/* SPDX-License-Identifier: MIT
 *
 * The soft TLB of one vCPU.
 *
 * First level: direct-mapped tables, one per access context (user, supervisor, supervisor with
 * EFLAGS.AC overriding SMAP), each with separate tag arrays for reads, writes and fetches and one
 * array of host pages. A tag is the page's linear address, or tlb_invalid(). Everything unusual
 * (MMIO, code page for writes, not yet dirty, watched page, ROM for writes) is an absent tag. The
 * fast path subtracts the tag from the address: what is left is the offset in the page, or too
 * large, also for an access that crosses the page. Second level: translations kept by (PCID, page)
 * with permissions, so that a CR3 load with PCID, or a first-level conflict, costs a probe
 * (tlb_probe.h) and not a walk.
 *
 * Threads: owned by the vCPU's thread; tlb_drop_write() alone may come from others, the rest only
 * while the vCPU's thread stands still.
 */
#pragma once

#include "mem/base/types.h"
#include "mem/physmap.h"
#include "mem/walk.h"

/* As many slots as 32 bits of an address have pages: a shift of the lower half is the index. What
 * is not used takes no memory of the host. */
enum { TLB_BITS = 32 - PAGE_SHIFT, TLB_ENTRIES = 1 << TLB_BITS, TLB_WORDS = TLB_ENTRIES / 64 };
enum { TLB_SITES = 1 << 15 };
enum { TLB_GIANTS = 1024, TLB_WRITERS = 1024, TLB_GROUP = TLB_ENTRIES / 64 };

enum tlb_context { TLB_SUPERVISOR, TLB_USER, TLB_SUPERVISOR_AC, TLB_CONTEXTS };

struct tlb_table {
    u64 read_tag[TLB_ENTRIES];
    u64 write_tag[TLB_ENTRIES];
    u64 exec_tag[TLB_ENTRIES];
    u64 exec_place[TLB_ENTRIES]; /* with an exec tag of RAM: tlb_exec_place(), else 0 */
    u64 page[TLB_ENTRIES];       /* host address of the page, valid where any tag is */
    /* The page that translated code found the stack in: its read and write tags are there. Its
     * address, or no_stack, a tag that no access meets; host address - linear address there. */
    u64 stack_tag, stack_distance, no_stack;
};

/* The page that translated code met last at one of its accesses (user mode). The fast path there
 * looks at no table: it subtracts the tag from the address. */
struct tlb_site {
    u64 tag;      /* the page's linear address, or no_stack of the user's table */
    u64 page;     /* its host address */
    u64 distance; /* host address - linear address */
    i32 misses;   /* counted up to 0 */
    u16 last;     /* from the first to the last byte of an access */
    bool noted;   /* it is one of tlb.site */
};
static_assert(sizeof(struct tlb_site) == 32, "half a cache line");

/* What is known of the slots of one context: a bit per slot. */
struct tlb_use {
    u64 filled[TLB_WORDS];         /* some tag may be there */
    u64 global[TLB_WORDS];         /* ... of a global page */
    u64 piece[TLB_WORDS];          /* ... and the page is part of a large one */
    u64 words[TLB_WORDS / 64];     /* a bit per word of filled that is not 0 */
    u64 tops[TLB_WORDS / 64 / 64]; /* a bit per word of words that is not 0 */
    u64 writers[TLB_WRITERS];      /* by number of the host page: groups of TLB_GROUP slots that may
                                      have a write tag for it */
};

struct tlb2; /* second level, opaque */
struct window;

/* Told of every translation for a store: the host page, or NULL for what is no memory. */
typedef void tlb_store_fn(void *opaque, const u8 *page_hva);

struct tlb {
    struct tlb_table
        tables[TLB_CONTEXTS]; /* in place: translated code reaches them from the vCPU */
    struct tlb2 *second;
    struct physmap *map;
    struct ram *ram; /* the map's */
    u64 fills;       /* counters for -d and tests */
    u64 walks;
    u64 flushes;
    u64 changes;            /* flushes of pages too: how often a mapping may have gone */
    tlb_store_fn *on_store; /* with it there are no write tags */
    void *on_store_opaque;
    bool write_withheld; /* the last translation would have entered a write tag */
    /* A write tag went away since tlb_settle(): a store that it permitted may still be under way.
     */
    bool write_lost;
    u64 watch_pages[4]; /* linear pages with data breakpoints: never entered for read or write */
    unsigned watch_count;
    bool watch_all; /* no page is entered for read or write: somebody looks at every access */
    /* What is mapped for translated code (window.h): no longer than this may keep it. Or NULL. */
    struct window *window;
    /* Sites that may have a page. Translated code appends the site before it stores the tag. */
    u32 site_count;
    struct tlb_site *site[TLB_SITES];
    struct tlb_use use[TLB_CONTEXTS];
    u64 giants[TLB_GIANTS / 64]; /* pages of 1 GiB that may have pieces there, by number */
    /* What a translation's flags (tlb2_entry.h) permit in a context under the control registers of
     * now: enum tlb_kinds; 0: not known. */
    u8 rights[TLB_CONTEXTS][16];
};

/* All of it must be zero, as it is in fresh memory, but that after tlb_destroy() it can be created
 * again. */
MUST_USE enum status tlb_create(struct tlb *tlb, struct physmap *map, struct error *err);
void tlb_destroy(struct tlb *tlb);

static inline unsigned tlb_index(u64 gla)
{
    return (gla >> PAGE_SHIFT) & (TLB_ENTRIES - 1);
}

/* The absent tag of slot i: a page that belongs into another slot, so that no address is ever found
 * in it. 0 for nearly all, so that fresh memory will do. */
static inline u64 tlb_invalid(unsigned i)
{
    return i ? 0 : BIT(63) | PAGE_SIZE;
}

/* Whether size bytes at gla lie in the page of a tag (of the slot of gla). */
static ALWAYS_INLINE bool tlb_covers(u64 tag, u64 gla, unsigned size)
{
    return gla - tag <= PAGE_SIZE - size;
}

/* The write tag of a page that stores could go to but for the code in it: as absent as the other,
 * and what tlb_mixed_ptr() looks for. It belongs into a slot so far away that no address in this
 * slot, nor the end of an access that begins there, is found in it. */
static inline u64 tlb_mixed(u64 gla)
{
    return (gla & PAGE_MASK) ^ (BIT(62) | (u64)TLB_ENTRIES / 2 << PAGE_SHIFT);
}

/* Translated code is to look for the stack's page again. */
static inline void tlb_forget_stack(struct tlb_table *t)
{
    __atomic_store_n(&t->stack_tag, t->no_stack, __ATOMIC_SEQ_CST);
}

/* All sites are to look at the table again. By the vCPU's thread, or while it stands still. */
void tlb_forget_sites(struct tlb *tlb);

/* Tells which host page a page is mapped to, for those of one slot: they are 4 GiB apart, so the
 * distance to the host is enough but for pages of RAM that are as far apart, and of those the low
 * bits tell 16 TiB. Not 0, as RAM is not in the host's first 4 GiB. */
static inline u64 tlb_exec_place(u64 gla, u64 host)
{
    return (host - (gla & PAGE_MASK)) | (gla >> 32 & ~PAGE_MASK);
}

static ALWAYS_INLINE u8 *tlb_host(const struct tlb_table *t, unsigned i, u64 gla)
{
    return (u8 *)(t->page[i] + (gla & ~PAGE_MASK));
}

/* The fast path: a host pointer for size bytes (1..PAGE_SIZE) at gla, or NULL: take the slow path.
 */
static ALWAYS_INLINE u8 *tlb_read_ptr(const struct tlb_table *t, u64 gla, unsigned size)
{
    unsigned i = tlb_index(gla);
    return likely(tlb_covers(__atomic_load_n(&t->read_tag[i], __ATOMIC_RELAXED), gla, size))
               ? tlb_host(t, i, gla)
               : NULL;
}

static ALWAYS_INLINE u8 *tlb_write_ptr(const struct tlb_table *t, u64 gla, unsigned size)
{
    unsigned i = tlb_index(gla);
    return likely(tlb_covers(__atomic_load_n(&t->write_tag[i], __ATOMIC_RELAXED), gla, size))
               ? tlb_host(t, i, gla)
               : NULL;
}

static ALWAYS_INLINE u8 *tlb_exec_ptr(const struct tlb_table *t, u64 gla)
{
    unsigned i = tlb_index(gla);
    return likely(__atomic_load_n(&t->exec_tag[i], __ATOMIC_RELAXED) == (gla & PAGE_MASK))
               ? tlb_host(t, i, gla)
               : NULL;
}

/* A host pointer for one store of size bytes at gla, a whole one in a page that has code elsewhere;
 * or NULL: take the slow path. *code: that is because the store would hit code. Only where nobody
 * else marks code meanwhile: it would not wait for the store. */
u8 *tlb_mixed_ptr(const struct tlb *tlb, enum tlb_context context, u64 gla, unsigned size,
                  bool *code);

/* One page resolved for one access on the slow path. */
struct tlb_page {
    u64 gpa;               /* of the byte asked for */
    u8 *hva;               /* that byte, or NULL when there is no direct memory (MMIO, hole) */
    struct phys_page phys; /* where the access goes otherwise */
    bool notify;           /* a store must be followed by ram_written(hva, size): set for every
                              store to guest RAM, as the page may become a code page meanwhile */
};

/* Translates gla for one access: second level, else a walk; enters the first level where the page
 * allows it: reads and writes the read tag, and the write tag if the leaf is dirty and writable,
 * fetches the exec tag. false: *pf_error is the #PF error code, the caller raises the fault. */
bool tlb_translate(struct tlb *tlb, enum tlb_context context, const struct paging_ctx *ctx, u64 gla,
                   enum access_kind kind, struct tlb_page *page, u32 *pf_error);

/* Invalidation (SDM 3A 4.10.4). pcid is 0 when CR4.PCIDE = 0. */
void tlb_flush_all(struct tlb *tlb);                     /* everything, global pages too */
void tlb_flush_non_global(struct tlb *tlb);              /* all PCIDs, keeps global pages */
void tlb_flush_pcid(struct tlb *tlb, u16 pcid);          /* one PCID, keeps global pages */
void tlb_flush_page(struct tlb *tlb, u16 pcid, u64 gla); /* INVLPG: also global; any page size */
void tlb_flush_page_pcid(struct tlb *tlb, u16 pcid, u64 gla); /* INVPCID 0: keeps global */
/* Every page of every PCID that contains gla, global ones too (Hv#1's flush of a list). */
void tlb_flush_page_everywhere(struct tlb *tlb, u64 gla);
/* CR3 changed to another PCID (or same) and nothing is to be invalidated: first level only, and
 * global pages stay there. */
void tlb_switch(struct tlb *tlb);
/* A permission-relevant register changed (CR0.WP, CR4.SMEP/SMAP/PKE, EFER.NXE, PKRU), or what may
 * have tags at all: the first level is re-derived, the second kept. */
void tlb_permissions_changed(struct tlb *tlb);
/* Drops write entries that map the page at page_hva (it became a code or dirty-logged page). true:
 * the vCPU may have found one before and store through it until it passes a safe point. */
bool tlb_drop_write(struct tlb *tlb, const u8 *page_hva);
/* The vCPU is at a safe point: it uses nothing that it looked up before. */
static inline void tlb_settle(struct tlb *tlb)
{
    __atomic_store_n(&tlb->write_lost, false, __ATOMIC_RELEASE);
}
/* From now on every store is translated, and told to fn, before it happens: no write tag is entered
 * (but the caller may lend one). NULL ends that. */
void tlb_watch_stores(struct tlb *tlb, tlb_store_fn *fn, void *opaque);
/* Sets the linear pages that hold data breakpoints (count 0..4) and flushes what it must. */
void tlb_watch(struct tlb *tlb, const u64 *pages, unsigned count);
