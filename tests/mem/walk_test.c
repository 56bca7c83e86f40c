/* SPDX-License-Identifier: MIT
 *
 * The page walk. Permissions: every paging mode times every placement of a cleared R/W, U/S and a
 * set XD bit times every control bit, against a second model written from SDM 3A 4.6 and 4.7 as a
 * list of reasons to fault. Then reserved bits one by one, A/D updates, and page tables in bad
 * places.
 */
#include "mem/base/bits.h"
#include "mem/walk.h"
#include "tests/suite.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };
#define XD        BIT(63)

#define CR0_PG_   BIT(31)
#define CR0_WP_   BIT(16)
#define CR4_PSE_  BIT(4)
#define CR4_PAE_  BIT(5)
#define CR4_PGE_  BIT(7)
#define CR4_LA57_ BIT(12)
#define CR4_SMEP_ BIT(20)
#define CR4_SMAP_ BIT(21)
#define CR4_PKE_  BIT(22)
#define EFER_LMA_ BIT(10)
#define EFER_NXE_ BIT(11)

/* A paging mode together with a page size. */
struct mode {
    const char *name;
    unsigned levels; /* entries in memory, from the root to the leaf */
    unsigned leaf;   /* level of the leaf: 1, 2 or 3 */
    unsigned entry;  /* bytes */
    u64 cr4, efer;
    u64 page_size;
};

static const struct mode modes[] = {
    {"32-bit 4K", 2, 1, 4, CR4_PSE_, 0, 4096},
    {"32-bit 4M", 1, 2, 4, CR4_PSE_, 0, MIB(4)},
    {"PAE 4K", 2, 1, 8, CR4_PAE_, 0, 4096},
    {"PAE 2M", 1, 2, 8, CR4_PAE_, 0, MIB(2)},
    {"4-level 4K", 4, 1, 8, CR4_PAE_, EFER_LMA_, 4096},
    {"4-level 2M", 3, 2, 8, CR4_PAE_, EFER_LMA_, MIB(2)},
    {"4-level 1G", 2, 3, 8, CR4_PAE_, EFER_LMA_, GIB(1)},
    {"5-level 4K", 5, 1, 8, CR4_PAE_ | CR4_LA57_, EFER_LMA_, 4096},
    {"5-level 2M", 4, 2, 8, CR4_PAE_ | CR4_LA57_, EFER_LMA_, MIB(2)},
    {"5-level 1G", 3, 3, 8, CR4_PAE_ | CR4_LA57_, EFER_LMA_, GIB(1)},
};
enum { MODES = ARRAY_SIZE(modes) };

static struct log log_;
static struct ram ram;
static struct physmap *map;

static void setup(void)
{
    struct region region = {.name = "ram", .kind = REGION_RAM, .access = REGION_RW, .size = MIB(1)};
    unsigned id;

    log_init(&log_);
    ck_assert_int_eq(ram_create(&ram, MIB(1), NULL), ST_OK);
    ck_assert_int_eq(physmap_create(&map, &ram, &log_, NULL), ST_OK);
    ck_assert_int_eq(physmap_add(map, &region, &id), ST_OK);
}

static void teardown(void)
{
    physmap_destroy(map);
    ram_destroy(&ram);
    log_fini(&log_);
}

/* -- one translation, built in RAM: tables from 0x10000 on, one page each -- */

#define TABLES   0x10000ull
#define FRAME_4K 0x7654321000ull /* nothing needs to be there */
#define GLA_32   0xbfd5e123ull   /* different index at each level */
#define GLA_64   0x0012345678abc123ull

struct world {
    const struct mode *mode;
    struct paging_ctx ctx;
    u64 gla;
    u64 gpa;
    u64 at[5]; /* of each entry; 0 is the root */
};

static u64 entry_get(const struct world *w, unsigned i)
{
    return load_le(ram.hva + w->at[i], w->mode->entry);
}

static void entry_set(const struct world *w, unsigned i, u64 value)
{
    store_le(ram.hva + w->at[i], value, w->mode->entry);
}

static unsigned index_shift(const struct mode *mode, unsigned level)
{
    return mode->entry == 4 ? 12 + 10 * (level - 1) : 12 + 9 * (level - 1);
}

/* The leaf's address, with bits that the mode can hold. */
static u64 frame_of(const struct mode *mode)
{
    u64 frame = FRAME_4K & ~(mode->page_size - 1);

    return mode->entry == 4 && mode->leaf == 1 ? frame & 0xfffff000 : frame;
}

static u64 leaf_value(const struct mode *mode)
{
    u64 frame = frame_of(mode), value = frame | (mode->leaf > 1 ? PS : 0);

    if (mode->entry == 4 && mode->leaf == 2) /* PSE-36 */
        value = (frame & 0xffc00000) | (frame >> 32 & 0xff) << 13 | PS;
    return value;
}

static void world_make(struct world *w, const struct mode *mode)
{
    *w = (struct world){.mode = mode};
    w->ctx.cr0 = CR0_PG_ | CR0_WP_ | 1;
    w->ctx.cr4 = mode->cr4;
    w->ctx.efer = mode->efer;
    w->ctx.maxphyaddr = 46;
    w->ctx.page1g = true;
    w->gla = mode->efer ? GLA_64 : GLA_32;
    if (mode->efer && !(mode->cr4 & CR4_LA57_))
        w->gla &= BIT(47) - 1;
    w->gpa = frame_of(mode) | (w->gla & (mode->page_size - 1));
    w->ctx.cr3 = TABLES | 0x18; /* PWT and PCD mean nothing here */
    for (unsigned i = 0; i < 4; i++)
        w->ctx.pdpte[i] = i == (w->gla >> 30 & 3) ? TABLES | 0x19 : 0;
    for (unsigned i = 0; i < mode->levels; i++) {
        unsigned level = mode->leaf + mode->levels - 1 - i;
        u64 mask = mode->entry == 4 ? 0x3ff : 0x1ff;
        bool leaf = i == mode->levels - 1;

        w->at[i] = TABLES + i * 0x1000 + (w->gla >> index_shift(mode, level) & mask) * mode->entry;
        entry_set(w, i, P | W | U | (leaf ? leaf_value(mode) : TABLES + (i + 1) * 0x1000));
    }
}

/* -- the model -- */

struct verdict {
    bool fault;
    u32 error;
};

static struct verdict model(const struct world *w, enum access_kind kind)
{
    const struct paging_ctx *c = &w->ctx;
    bool lma = c->efer & EFER_LMA_, nxe = (c->efer & EFER_NXE_) && (c->cr4 & CR4_PAE_);
    bool user = c->user, wp = c->cr0 & CR0_WP_;
    bool all_w = true, all_u = true, any_xd = false, pk = false;
    u32 how = (kind == ACCESS_WRITE ? 2 : 0) | (user ? 4 : 0) |
              (kind == ACCESS_EXEC && (nxe || (c->cr4 & CR4_SMEP_)) ? 16 : 0);
    bool fault = false;

    for (unsigned i = 0; i < w->mode->levels; i++) {
        u64 e = entry_get(w, i);

        if (!(e & P))
            return (struct verdict){true, how};
        if (w->mode->entry == 8 && (e & XD) && !nxe)
            return (struct verdict){true, how | 1 | 8};
        all_w = all_w && (e & W);
        all_u = all_u && (e & U);
        any_xd = any_xd || (w->mode->entry == 8 && (e & XD));
    }
    if (lma && (c->cr4 & CR4_PKE_) && all_u && kind != ACCESS_EXEC) {
        unsigned key = entry_get(w, w->mode->levels - 1) >> 59 & 15;
        bool ad = c->pkru >> (2 * key) & 1, wd = c->pkru >> (2 * key + 1) & 1;

        pk = ad || (wd && kind == ACCESS_WRITE && (user || wp));
    }
    fault |= user && !all_u;
    fault |= kind == ACCESS_WRITE && !all_w && (user || wp);
    fault |= kind == ACCESS_EXEC && any_xd;
    fault |= kind == ACCESS_EXEC && !user && all_u && (c->cr4 & CR4_SMEP_);
    fault |= kind != ACCESS_EXEC && !user && all_u && (c->cr4 & CR4_SMAP_) && !c->smap_override;
    fault |= pk;
    return (struct verdict){fault, fault ? how | 1 | (pk ? 32 : 0) : 0};
}

/* Walks, compares with the model, looks at A and D, and puts the entries back. */
static void compare(const struct world *w, enum access_kind kind)
{
    struct verdict want = model(w, kind);
    struct walk_result result;
    u64 before[5];
    bool ok;

    for (unsigned i = 0; i < w->mode->levels; i++)
        before[i] = entry_get(w, i);
    ok = page_walk(map, &w->ctx, w->gla, kind, &result);
    if (ok == want.fault || (!ok && result.error != want.error))
        ck_abort_msg("%s kind %d user %d cr0 %llx cr4 %llx efer %llx pkru %x: %s %x, want %x",
                     w->mode->name, kind, w->ctx.user, (unsigned long long)w->ctx.cr0,
                     (unsigned long long)w->ctx.cr4, (unsigned long long)w->ctx.efer, w->ctx.pkru,
                     ok ? "ok" : "fault", result.error, want.error);
    if (ok && (result.gpa != w->gpa || result.page_size != w->mode->page_size ||
               page_check(&w->ctx, &result, kind)))
        ck_abort_msg("%s: gpa %llx", w->mode->name, (unsigned long long)result.gpa);
    for (unsigned i = 0; i < w->mode->levels; i++) {
        bool leaf = i == w->mode->levels - 1;
        u64 after = before[i] | (ok ? A : 0) | (ok && leaf && kind == ACCESS_WRITE ? D : 0);

        if (entry_get(w, i) != after)
            ck_abort_msg("%s: entry %u is %llx", w->mode->name, i,
                         (unsigned long long)entry_get(w, i));
        entry_set(w, i, before[i]);
    }
}

/* Every setting of the control bits. */
static void compare_controls(struct world *w)
{
    for (unsigned bits = 0; bits < 128; bits++) {
        w->ctx.cr0 = CR0_PG_ | 1 | (bits & 1 ? CR0_WP_ : 0);
        w->ctx.cr4 = w->mode->cr4 | (bits & 2 ? CR4_SMEP_ : 0) | (bits & 4 ? CR4_SMAP_ : 0) |
                     (bits & 8 ? CR4_PKE_ : 0);
        w->ctx.efer = w->mode->efer | (bits & 16 ? EFER_NXE_ : 0);
        w->ctx.user = bits & 32;
        w->ctx.smap_override = bits & 64;
        for (unsigned rights = 0; rights < (bits & 8 ? 4 : 1); rights++) {
            w->ctx.pkru = rights << 22 | 0x30000; /* key 11; another one denied */
            for (unsigned kind = ACCESS_READ; kind <= ACCESS_EXEC; kind++)
                compare(w, (enum access_kind)kind);
        }
    }
}

/* Clears W at one level (or none), U at one, sets XD at one. */
START_TEST(permission_matrix)
{
    const struct mode *mode = &modes[_i];
    struct world w;
    u64 base[5];

    world_make(&w, mode);
    if (mode->efer)
        entry_set(&w, mode->levels - 1, entry_get(&w, mode->levels - 1) | 11ull << 59);
    for (unsigned i = 0; i < mode->levels; i++)
        base[i] = entry_get(&w, i);
    for (unsigned no_w = 0; no_w <= mode->levels; no_w++) {
        for (unsigned no_u = 0; no_u <= mode->levels; no_u++) {
            for (unsigned xd = 0; xd <= (mode->entry == 8 ? mode->levels : 0); xd++) {
                for (unsigned i = 0; i < mode->levels; i++)
                    entry_set(
                        &w, i,
                        (base[i] & ~(u64)((no_w == i + 1 ? W : 0) | (no_u == i + 1 ? U : 0))) |
                            (xd == i + 1 ? XD : 0));
                compare_controls(&w);
            }
        }
    }
}
END_TEST

START_TEST(not_present_at_each_level)
{
    struct world w;
    struct walk_result r;

    world_make(&w, &modes[_i]);
    for (unsigned i = 0; i < modes[_i].levels; i++) {
        u64 value = entry_get(&w, i);

        entry_set(&w, i, (value & ~1ull) | 0xf00); /* a non-present entry has no reserved bits */
        if (modes[_i].entry == 8)
            entry_set(&w, i, ~1ull);
        compare_controls(&w);
        entry_set(&w, i, value);
    }
    if (modes[_i].entry == 8 && !modes[_i].efer) {
        w.ctx.pdpte[w.gla >> 30 & 3] &= ~1ull;
        w.ctx.user = true;
        ck_assert(!page_walk(map, &w.ctx, w.gla, ACCESS_WRITE, &r));
        ck_assert_uint_eq(r.error, PF_W | PF_U);
    }
}
END_TEST

/* 'R' reserved, 'I' ignored by translation, '-' means something else. */
static char bit_meaning(const struct mode *m, const struct paging_ctx *c, unsigned level,
                        unsigned b)
{
    unsigned M = c->maxphyaddr, low_end = level == 3 ? 29 : 20;
    bool leaf = level == m->leaf, large = leaf && level > 1;

    if (b <= 2)
        return '-';
    if (b == 7)
        return level == 1 ? 'I' : level >= 4 || (level == 3 && !c->page1g) ? 'R' : '-';
    if (b <= 11)
        return 'I';
    if (m->entry == 4) {
        M = M > 40 ? 40 : M;
        if (!large)
            return '-';
        return b == 12 ? 'I' : b >= M - 19 && b <= 21 ? 'R' : '-';
    }
    if (b == 63)
        return c->efer & EFER_NXE_ ? 'I' : 'R';
    if (b >= 52)
        return m->efer ? 'I' : 'R';
    if (b >= M)
        return 'R';
    if (large && b <= low_end)
        return b == 12 ? 'I' : 'R';
    return '-';
}

START_TEST(reserved_bits_one_by_one)
{
    static const unsigned widths[] = {32, 36, 39, 40, 46, 51, 52};
    const struct mode *mode = &modes[_i / (int)ARRAY_SIZE(widths)];
    struct walk_result r;
    struct world w;
    u64 gpa;

    world_make(&w, mode);
    w.ctx.maxphyaddr = widths[_i % (int)ARRAY_SIZE(widths)];
    w.gpa &= BIT(w.ctx.maxphyaddr) - 1;
    if (mode->entry == 4 && mode->leaf == 2)
        entry_set(&w, 0,
                  entry_get(&w, 0) & ~(w.ctx.maxphyaddr == 32   ? 0x3fe000ull
                                       : w.ctx.maxphyaddr == 36 ? 0x3e0000ull
                                                                : 0x300000ull));
    else
        entry_set(&w, mode->levels - 1,
                  entry_get(&w, mode->levels - 1) & (BIT(w.ctx.maxphyaddr) - 1));
    for (unsigned nxe = 0; nxe < 2; nxe++) {
        w.ctx.efer = mode->efer | (nxe ? EFER_NXE_ : 0);
        for (unsigned n = 0; n < mode->levels * 64; n++) {
            unsigned i = n / 64, bit = n % 64;
            char meaning = bit_meaning(mode, &w.ctx, mode->leaf + mode->levels - 1 - i, bit);
            u64 value = entry_get(&w, i);
            bool ok;

            if (meaning == '-' || (mode->entry == 4 && bit > 31))
                continue;
            entry_set(&w, i, value | BIT(bit));
            ok = page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r);
            if (ok != (meaning == 'I') || (!ok && r.error != (PF_P | PF_RSVD)))
                ck_abort_msg("%s M %u entry %u bit %u: %d %x", mode->name, w.ctx.maxphyaddr, i, bit,
                             ok, r.error);
            ck_assert_int_eq(page_walk_probe(map, &w.ctx, w.gla, &gpa), ok);
            entry_set(&w, i, value);
        }
    }
}
END_TEST

START_TEST(gigabyte_pages_need_the_feature)
{
    struct world w;
    struct walk_result r;

    world_make(&w, &modes[6]);
    w.ctx.page1g = false;
    w.ctx.user = true;
    ck_assert(!page_walk(map, &w.ctx, w.gla, ACCESS_WRITE, &r));
    ck_assert_uint_eq(r.error, PF_P | PF_W | PF_U | PF_RSVD);
}
END_TEST

START_TEST(pse_off_ignores_ps)
{
    struct world w;
    struct walk_result r;

    world_make(&w, &modes[0]);
    w.ctx.cr4 = 0;
    entry_set(&w, 0, entry_get(&w, 0) | PS);
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r));
    ck_assert_uint_eq(r.gpa, w.gpa);
    ck_assert_uint_eq(r.page_size, PAGE_SIZE);
}
END_TEST

START_TEST(result_describes_the_leaf)
{
    struct world w;
    struct walk_result r;

    world_make(&w, &modes[4]);
    w.ctx.efer |= EFER_NXE_;
    entry_set(&w, 3, (entry_get(&w, 3) & ~(u64)W) | G | XD | 5ull << 59);
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r));
    ck_assert(!r.global && !r.dirty && r.user_page && !r.writable && r.nx);
    ck_assert_uint_eq(r.key, 5);
    w.ctx.cr4 |= CR4_PGE_;
    entry_set(&w, 3, entry_get(&w, 3) | D);
    entry_set(&w, 0, entry_get(&w, 0) & ~(u64)U);
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r));
    ck_assert(r.global && r.dirty && !r.user_page);
    ck_assert_uint_eq(r.key, 0);
}
END_TEST

START_TEST(paging_off_is_identity)
{
    struct paging_ctx ctx = {.cr0 = 1, .cr4 = CR4_SMEP_ | CR4_SMAP_, .maxphyaddr = 46};
    struct walk_result r;
    u64 gpa;

    for (unsigned kind = ACCESS_READ; kind <= ACCESS_EXEC; kind++) {
        ctx.user = kind & 1;
        ck_assert(page_walk(map, &ctx, 0xfffff123, (enum access_kind)kind, &r));
        ck_assert_uint_eq(r.gpa, 0xfffff123);
        ck_assert(r.dirty && r.writable && r.user_page && !r.nx);
        ck_assert_uint_eq(page_check(&ctx, &r, (enum access_kind)kind), 0);
    }
    ck_assert(page_walk_probe(map, &ctx, 77, &gpa));
    ck_assert_uint_eq(gpa, 77);
}
END_TEST

START_TEST(probe_changes_nothing)
{
    struct world w;
    u64 gpa = 0;

    world_make(&w, &modes[_i]);
    ck_assert(page_walk_probe(map, &w.ctx, w.gla, &gpa));
    ck_assert_uint_eq(gpa, w.gpa);
    for (unsigned i = 0; i < modes[_i].levels; i++)
        ck_assert(!(entry_get(&w, i) & (A | D)));
    entry_set(&w, 0, 0);
    ck_assert(!page_walk_probe(map, &w.ctx, w.gla, &gpa));
}
END_TEST

START_TEST(pdptes_load_and_check)
{
    struct paging_ctx ctx = {.maxphyaddr = 40};
    u64 *table = (u64 *)(ram.hva + 0x2020), pdpte[4];

    for (unsigned i = 0; i < 4; i++)
        table[i] = 0x1000 * (i + 1) | 0xe19; /* P, PWT, PCD and ignored bits */
    ck_assert(page_load_pdptes(map, &ctx, 0x1f0000203full, pdpte)); /* bits 31:5 count */
    ck_assert_mem_eq(pdpte, table, 32);
    for (unsigned bit = 1; bit < 64; bit++) {
        bool reserved = bit == 1 || bit == 2 || (bit >= 5 && bit <= 8) || bit >= 40;

        table[2] = 0x3001 | BIT(bit);
        ck_assert_int_eq(page_load_pdptes(map, &ctx, 0x2020, pdpte), !reserved);
        table[2] &= ~1ull;
        ck_assert(page_load_pdptes(map, &ctx, 0x2020, pdpte));
    }
    ck_assert(!page_load_pdptes(map, &ctx, 0xfffff000, pdpte)); /* a hole reads as ones */
}
END_TEST

/* One table that is its own parent: the same entry is used at every level. */
START_TEST(recursive_mapping_converges)
{
    struct paging_ctx ctx = {.cr0 = CR0_PG_ | CR0_WP_,
                             .cr4 = CR4_PAE_,
                             .efer = EFER_LMA_,
                             .cr3 = 0x3000,
                             .maxphyaddr = 46};
    struct walk_result r;
    u64 *entry = (u64 *)(ram.hva + 0x3000);

    *entry = 0x3000 | P | W | U;
    ck_assert(page_walk(map, &ctx, 0x8, ACCESS_WRITE, &r));
    ck_assert_uint_eq(r.gpa, 0x3008);
    ck_assert_uint_eq(*entry, 0x3000 | P | W | U | A | D);
    ck_assert(r.dirty);
}
END_TEST

START_TEST(updates_invalidate_decoded_code)
{
    struct world w;
    struct walk_result r;

    world_make(&w, &modes[4]);
    ram_mark_code(&ram, ram.hva + w.at[3], 8);
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r));
    ck_assert_uint_eq(ram.code_epoch, 1);
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_READ, &r));
    ck_assert_uint_eq(ram.code_epoch, 1);
}
END_TEST

/* -- page tables in bad places -- */

static u64 table_read(void *self, u64 offset, unsigned size)
{
    const struct mode *mode = self;

    (void)offset;
    (void)size;
    return leaf_value(mode) | P | W | U;
}

static void table_write(void *self, u64 offset, u64 value, unsigned size)
{
    (void)self;
    ck_abort_msg("store of %llx (%u) at %llx", (unsigned long long)value, size,
                 (unsigned long long)offset);
}

static const struct io_ops table_ops = {table_read, table_write, SIZE_ANY};

START_TEST(tables_in_a_device)
{
    const struct mode *mode = &modes[_i];
    struct region region = {.name = "tables",
                            .kind = REGION_MMIO,
                            .access = REGION_RW,
                            .base = 0x20000000,
                            .size = PAGE_SIZE,
                            .ops = &table_ops,
                            .self = (void *)(uintptr_t)mode};
    struct walk_result r;
    struct world w;
    unsigned id;

    ck_assert_int_eq(physmap_add(map, &region, &id), ST_OK);
    world_make(&w, mode);
    if (mode->levels == 1) {
        w.ctx.cr3 = region.base;
        w.ctx.pdpte[w.gla >> 30 & 3] = region.base | P;
    } else {
        unsigned i = mode->levels - 2;

        entry_set(&w, i, P | W | U | region.base);
    }
    ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_WRITE, &r));
    ck_assert_uint_eq(r.gpa, w.gpa);
    ck_assert(!r.dirty); /* so no TLB skips the next walk */
}
END_TEST

START_TEST(tables_in_rom_and_shadow)
{
    static u8 rom[PAGE_SIZE] ALIGNED(4096);
    struct region region = {.name = "rom",
                            .kind = REGION_ROM,
                            .access = REGION_RW,
                            .base = TABLES + 0x3000,
                            .size = PAGE_SIZE,
                            .priority = PRIO_ROM,
                            .hva = rom};
    struct walk_result r;
    struct world w;
    unsigned id;

    world_make(&w, &modes[4]);
    memcpy(rom, ram.hva + region.base, PAGE_SIZE);
    ck_assert_int_eq(physmap_add(map, &region, &id), ST_OK);
    for (unsigned access = 1; access <= 3; access += 2) { /* stores reach RAM, or nothing */
        region.access = (enum region_access)access;
        ck_assert_int_eq(physmap_change(map, id, &region), ST_OK);
        ck_assert(page_walk(map, &w.ctx, w.gla, ACCESS_WRITE, &r));
        ck_assert_uint_eq(r.gpa, w.gpa);
        ck_assert(!r.dirty);
        ck_assert_mem_eq(rom, ram.hva + region.base, PAGE_SIZE);
        ck_assert(entry_get(&w, 0) & A);
    }
}
END_TEST

/* Random tables pointing anywhere, all modes: must end, with a legal error code. */
START_TEST(hostile_tables_end)
{
    static const u64 roots[] = {
        0, 0xff000, 0xfffff000, MIB(1), (1ull << 46) - 1, (1ull << 52) - PAGE_SIZE, ~0ull << 12};
    const struct mode *mode = &modes[_i];
    struct walk_result r;
    struct world w;

    srand(7 + (unsigned)_i);
    world_make(&w, mode);
    for (unsigned n = 0; n < MIB(1) / 8; n++) {
        u64 value = (u64)rand() << 62 | (u64)rand() << 31 | (u64)rand();

        if (n % 4)
            value = (value & 0xff67) | (value & 0xff000) | 7;
        ((u64 *)ram.hva)[n] = value;
    }
    for (unsigned n = 0; n < 20000; n++) {
        u64 gla = (u64)rand() << 33 ^ (u64)rand() << 10 ^ (u64)rand();
        enum access_kind kind = (enum access_kind)(rand() % 3);

        w.ctx.cr3 = n & 1 ? roots[n / 2 % ARRAY_SIZE(roots)] : (u64)rand() << 10;
        w.ctx.pdpte[gla >> 30 & 3] = w.ctx.cr3 | 1;
        w.ctx.maxphyaddr = 32 + n % 21;
        w.ctx.user = n & 2;
        w.ctx.efer = mode->efer | (n & 4 ? EFER_NXE_ : 0);
        if (!page_walk(map, &w.ctx, gla, kind, &r))
            ck_assert(!(r.error & ~63u) && (r.error & PF_P || !(r.error & (PF_RSVD | PF_PK))));
        else
            ck_assert_uint_lt(r.gpa, 1ull << 52);
    }
}
END_TEST

/* -- atomic updates -- */

enum { ADDS = 50000 };

static void *adder(void *arg)
{
    for (unsigned i = 0; i < ADDS; i++)
        __atomic_fetch_add((u64 *)arg, BIT(52), __ATOMIC_SEQ_CST);
    return NULL;
}

/* Another processor counts in the ignored bits; no update of ours may undo a count. */
START_TEST(updates_lose_no_other_store)
{
    struct world w;
    pthread_t thread;
    struct walk_result r;
    u64 *leaf;

    world_make(&w, &modes[4]);
    leaf = (u64 *)(ram.hva + w.at[3]);
    pthread_create(&thread, NULL, adder, leaf);
    for (unsigned i = 0; i < ADDS; i++) {
        __atomic_fetch_and(leaf, ~(u64)(A | D), __ATOMIC_SEQ_CST);
        /* the adder carries into XD only after 2048 adds of bit 52..62, which NXE = 0 reserves */
        if (page_walk(map, &w.ctx, w.gla, ACCESS_WRITE, &r))
            ck_assert_uint_eq(__atomic_load_n(leaf, __ATOMIC_SEQ_CST) & (A | D), A | D);
        else
            ck_assert_uint_eq(r.error, PF_P | PF_W | PF_RSVD);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(*leaf >> 52, ADDS % 4096 + (frame_of(w.mode) >> 52));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("walk");
    TCase *tc = tcase_create("walk");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_loop_test(tc, permission_matrix, 0, MODES);
    tcase_add_loop_test(tc, not_present_at_each_level, 0, MODES);
    tcase_add_loop_test(tc, reserved_bits_one_by_one, 0, MODES * 7);
    tcase_add_loop_test(tc, probe_changes_nothing, 0, MODES);
    tcase_add_loop_test(tc, tables_in_a_device, 0, MODES);
    tcase_add_loop_test(tc, hostile_tables_end, 0, MODES);
    tcase_add_test(tc, gigabyte_pages_need_the_feature);
    tcase_add_test(tc, pse_off_ignores_ps);
    tcase_add_test(tc, result_describes_the_leaf);
    tcase_add_test(tc, paging_off_is_identity);
    tcase_add_test(tc, pdptes_load_and_check);
    tcase_add_test(tc, recursive_mapping_converges);
    tcase_add_test(tc, updates_invalidate_decoded_code);
    tcase_add_test(tc, tables_in_rom_and_shadow);
    tcase_add_test(tc, updates_lose_no_other_store);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
