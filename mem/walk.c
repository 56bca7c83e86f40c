/* SPDX-License-Identifier: MIT
 *
 * The page walk: SDM 3A chapter 4, "Paging".
 *
 * One attempt reads the entries from the root to the leaf and remembers each with its host address;
 * then the rights are checked, and only when the access is permitted are A and D set, each with a
 * compare-exchange against the value that was read. If an entry changed in between (another vCPU, a
 * device, or the same entry used at two levels), the whole attempt starts over.
 */
#include "mem/walk.h"

#include "mem/table_update.h"

enum entry_bits {
    ENTRY_P = 1u << 0,
    ENTRY_W = 1u << 1,
    ENTRY_U = 1u << 2,
    ENTRY_A = 1u << 5,
    ENTRY_D = 1u << 6,
    ENTRY_PS = 1u << 7,
    ENTRY_G = 1u << 8,
};
#define ENTRY_XD      BIT(63)

#define WALK_CR0_WP   BIT(16)
#define WALK_CR4_PSE  BIT(4)
#define WALK_CR4_PAE  BIT(5)
#define WALK_CR4_PGE  BIT(7)
#define WALK_CR4_LA57 BIT(12)
#define WALK_CR4_SMEP BIT(20)
#define WALK_CR4_SMAP BIT(21)
#define WALK_CR4_PKE  BIT(22)
#define WALK_EFER_LMA BIT(10)
#define WALK_EFER_NXE BIT(11)

enum { MAX_LEVELS = 5 };

enum walk_end { WALK_MAPPED, WALK_NOT_PRESENT, WALK_RESERVED };

/* A paging-structure entry that was used. */
struct entry {
    u64 gpa;
    u64 value;
    u8 *hva; /* NULL: read from a device or a hole */
};

struct walk {
    struct physmap *map;
    const struct paging_ctx *ctx;
    u64 gla;
    u64 frame_mask; /* address bits of an 8-byte entry: MAXPHYADDR-1..12 */
    unsigned entry_size;
    unsigned count;
    struct entry entries[MAX_LEVELS];
    struct walk_result *result;
};

static bool long_mode(const struct paging_ctx *ctx)
{
    return ctx->efer & WALK_EFER_LMA;
}

/* Bits hi..lo, both included. */
static u64 bit_span(unsigned hi, unsigned lo)
{
    return hi < lo ? 0 : (~0ull >> (63 - hi)) & (~0ull << lo);
}

static bool nx_enabled(const struct paging_ctx *ctx)
{
    return (ctx->efer & WALK_EFER_NXE) && (long_mode(ctx) || (ctx->cr4 & WALK_CR4_PAE));
}

/* Reads entry number index of the table, remembers it and narrows the rights by it. */
static u64 walk_entry(struct walk *walk, u64 table, u64 index)
{
    struct entry *entry = &walk->entries[walk->count++];
    struct phys_page page;

    entry->gpa = table + index * walk->entry_size;
    physmap_lookup(walk->map, entry->gpa, false, &page);
    entry->hva = page.hva ? page.hva + entry->gpa % PAGE_SIZE : NULL;
    if (!entry->hva)
        entry->value = physmap_read_uint(walk->map, entry->gpa, walk->entry_size);
    else if (walk->entry_size == 8)
        entry->value = __atomic_load_n((const u64 *)entry->hva, __ATOMIC_ACQUIRE);
    else
        entry->value = __atomic_load_n((const u32 *)entry->hva, __ATOMIC_ACQUIRE);

    walk->result->user_page &= !!(entry->value & ENTRY_U);
    walk->result->writable &= !!(entry->value & ENTRY_W);
    walk->result->nx |= nx_enabled(walk->ctx) && (entry->value & ENTRY_XD);
    return entry->value;
}

/* Fills in what the leaf says; frame is the page's address. */
static enum walk_end walk_leaf(struct walk *walk, u64 frame, u64 size)
{
    u64 leaf = walk->entries[walk->count - 1].value;
    struct walk_result *result = walk->result;

    result->page_size = size;
    result->gpa = frame | (walk->gla & (size - 1));
    result->global = (leaf & ENTRY_G) && (walk->ctx->cr4 & WALK_CR4_PGE);
    result->dirty = leaf & ENTRY_D;
    result->key = long_mode(walk->ctx) && result->user_page ? leaf >> 59 & 15 : 0;
    return WALK_MAPPED;
}

/* 32-bit paging, SDM 3A 4.3. */
static enum walk_end walk_32bit(struct walk *walk)
{
    unsigned phys_bits = walk->ctx->maxphyaddr < 40 ? walk->ctx->maxphyaddr : 40;
    u64 gla = walk->gla;
    u64 entry;

    walk->entry_size = 4;
    entry = walk_entry(walk, walk->ctx->cr3 & 0xfffff000, gla >> 22 & 0x3ff);
    if (!(entry & ENTRY_P))
        return WALK_NOT_PRESENT;
    if ((entry & ENTRY_PS) && (walk->ctx->cr4 & WALK_CR4_PSE)) {
        /* PSE-36: address bits 39:32 in bits 20:13, those above MAXPHYADDR and bit 21 reserved. */
        if (entry & bit_span(21, phys_bits - 19))
            return WALK_RESERVED;
        return walk_leaf(walk, (entry & 0xffc00000) | (entry & bit_span(20, 13)) << 19, MIB(4));
    }
    entry = walk_entry(walk, entry & 0xfffff000, gla >> 12 & 0x3ff);
    if (!(entry & ENTRY_P))
        return WALK_NOT_PRESENT;
    return walk_leaf(walk, entry & 0xfffff000, PAGE_SIZE);
}

/* The reserved bits of a present 8-byte entry: SDM 3A tables 4-8 to 4-20. */
static u64 reserved_bits(const struct walk *walk, unsigned level, u64 entry)
{
    const struct paging_ctx *ctx = walk->ctx;
    u64 reserved = bit_span(long_mode(ctx) ? 51 : 62, ctx->maxphyaddr);

    if (!nx_enabled(ctx))
        reserved |= ENTRY_XD;
    if (level >= 4)
        reserved |= ENTRY_PS;
    if (level == 3 && (entry & ENTRY_PS))
        reserved |= ctx->page1g ? bit_span(29, 13) : ENTRY_PS;
    if (level == 2 && (entry & ENTRY_PS))
        reserved |= bit_span(20, 13);
    return reserved;
}

/* PAE (4.4.2), 4-level and 5-level paging (4.5), from the table of the top level on. */
static enum walk_end walk_levels(struct walk *walk, u64 table, unsigned level)
{
    walk->entry_size = 8;
    for (;; level--) {
        unsigned shift = PAGE_SHIFT + 9 * (level - 1);
        u64 entry = walk_entry(walk, table, walk->gla >> shift & 0x1ff);

        if (!(entry & ENTRY_P))
            return WALK_NOT_PRESENT;
        if (entry & reserved_bits(walk, level, entry))
            return WALK_RESERVED;
        if (level == 1 || (entry & ENTRY_PS))
            return walk_leaf(walk, entry & walk->frame_mask & ~(BIT(shift) - 1), BIT(shift));
        table = entry & walk->frame_mask;
    }
}

static enum walk_end walk_tables(struct walk *walk)
{
    const struct paging_ctx *ctx = walk->ctx;
    u64 pdpte;

    walk->count = 0;
    walk->frame_mask = bit_span(ctx->maxphyaddr - 1, PAGE_SHIFT);
    *walk->result = (struct walk_result){.user_page = true, .writable = true};
    if (long_mode(ctx))
        return walk_levels(walk, ctx->cr3 & walk->frame_mask, ctx->cr4 & WALK_CR4_LA57 ? 5 : 4);
    if (!(ctx->cr4 & WALK_CR4_PAE))
        return walk_32bit(walk);
    pdpte = ctx->pdpte[walk->gla >> 30 & 3];
    return pdpte & ENTRY_P ? walk_levels(walk, pdpte & walk->frame_mask, 2) : WALK_NOT_PRESENT;
}

/* Whether a store to the entry's address changes the memory the entry was read from. */
static bool entry_storable(const struct walk *walk, const struct entry *entry)
{
    struct phys_page page;

    if (!entry->hva)
        return false;
    physmap_lookup(walk->map, entry->gpa, true, &page);
    return page.hva && page.hva + entry->gpa % PAGE_SIZE == entry->hva;
}

/* Sets A in every entry and D in the leaf of a write (4.8). false: an entry changed, walk again. */
static bool update_accessed(struct walk *walk, enum access_kind kind)
{
    struct ram *ram = physmap_ram(walk->map);

    for (unsigned i = 0; i < walk->count; i++) {
        struct entry *entry = &walk->entries[i];
        bool leaf = i == walk->count - 1;
        u64 value = entry->value | ENTRY_A | (leaf && kind == ACCESS_WRITE ? ENTRY_D : 0);

        if (value == entry->value || !entry_storable(walk, entry))
            continue;
        if (!table_update_exchange(entry->hva, walk->entry_size, entry->value, value))
            return false;
        if (ram_contains(ram, entry->hva))
            ram_written(ram, entry->hva, walk->entry_size);
        if (leaf)
            walk->result->dirty = value & ENTRY_D;
    }
    return true;
}

/* The bits of the error code that say what the access was (4.7). */
static u32 access_bits(const struct paging_ctx *ctx, enum access_kind kind)
{
    u32 error = ctx->user ? PF_U : 0;

    if (kind == ACCESS_WRITE)
        error |= PF_W;
    if (kind == ACCESS_EXEC && ((ctx->cr4 & WALK_CR4_SMEP) || nx_enabled(ctx)))
        error |= PF_I;
    return error;
}

/* Access rights without protection keys: SDM 3A 4.6.1. */
static bool rights_permit(const struct paging_ctx *ctx, const struct walk_result *page,
                          enum access_kind kind)
{
    bool nx = page->nx && nx_enabled(ctx);

    if (ctx->user) {
        if (!page->user_page)
            return false;
        return kind == ACCESS_READ || (kind == ACCESS_WRITE ? page->writable : !nx);
    }
    if (kind == ACCESS_EXEC)
        return !nx && !(page->user_page && (ctx->cr4 & WALK_CR4_SMEP));
    if (page->user_page && (ctx->cr4 & WALK_CR4_SMAP) && !ctx->smap_override)
        return false;
    return kind == ACCESS_READ || page->writable || !(ctx->cr0 & WALK_CR0_WP);
}

/* Whether PKRU forbids the access: SDM 3A 4.6.2. */
static bool key_denies(const struct paging_ctx *ctx, const struct walk_result *page,
                       enum access_kind kind)
{
    u32 key;

    if (!long_mode(ctx) || !(ctx->cr4 & WALK_CR4_PKE) || !page->user_page || kind == ACCESS_EXEC)
        return false;
    key = ctx->pkru >> page->key * 2 & 3;
    if (key & 1) /* ADi */
        return true;
    return (key & 2) && kind == ACCESS_WRITE && (ctx->user || (ctx->cr0 & WALK_CR0_WP));
}

u32 page_check(const struct paging_ctx *ctx, const struct walk_result *page, enum access_kind kind)
{
    bool denied;

    if (!paging_on(ctx))
        return 0;
    denied = key_denies(ctx, page, kind);
    if (!denied && likely(rights_permit(ctx, page, kind)))
        return 0;
    return PF_P | access_bits(ctx, kind) | (denied ? PF_PK : 0);
}

/* With paging off: 1:1, everything permitted. */
static void identity(u64 gla, struct walk_result *result)
{
    *result = (struct walk_result){
        .gpa = gla, .page_size = PAGE_SIZE, .dirty = true, .user_page = true, .writable = true};
}

bool page_walk(struct physmap *map, const struct paging_ctx *ctx, u64 gla, enum access_kind kind,
               struct walk_result *result)
{
    struct walk walk = {.map = map, .ctx = ctx, .gla = gla, .result = result};

    if (!paging_on(ctx)) {
        identity(gla, result);
        return true;
    }
    do {
        switch (walk_tables(&walk)) {
        case WALK_NOT_PRESENT: result->error = access_bits(ctx, kind); return false;
        case WALK_RESERVED: result->error = PF_P | PF_RSVD | access_bits(ctx, kind); return false;
        case WALK_MAPPED: break;
        }
        result->error = page_check(ctx, result, kind);
        if (result->error)
            return false;
    } while (!update_accessed(&walk, kind));
    return true;
}

bool page_walk_probe(struct physmap *map, const struct paging_ctx *ctx, u64 gla, u64 *gpa)
{
    struct walk_result result;
    struct walk walk = {.map = map, .ctx = ctx, .gla = gla, .result = &result};

    identity(gla, &result);
    if (paging_on(ctx) && walk_tables(&walk) != WALK_MAPPED)
        return false;
    *gpa = result.gpa;
    return true;
}

bool page_load_pdptes(struct physmap *map, const struct paging_ctx *ctx, u64 cr3, u64 pdpte[4])
{
    /* Table 4-8: bits 2:1, 8:5 and all from MAXPHYADDR up. */
    u64 reserved = bit_span(63, ctx->maxphyaddr) | bit_span(8, 5) | bit_span(2, 1);

    for (unsigned i = 0; i < 4; i++) {
        pdpte[i] = physmap_read_uint(map, (cr3 & 0xffffffe0) + i * 8, 8);
        if ((pdpte[i] & ENTRY_P) && (pdpte[i] & reserved))
            return false;
    }
    return true;
}
