/* SPDX-License-Identifier: MIT
 *
 * The soft TLB: which tags an access enters, what never gets a tag, invalidation with PCIDs, global
 * and large pages (seen through page tables that were changed without telling), and a random run
 * in which every tag must agree with the page tables.
 */
#include "tests/mem/tlb_fixture.h"
#include "tests/suite.h"

#include <pthread.h>
#include <sched.h>

/* -- which tags -- */

START_TEST(tags_follow_the_access)
{
    *pte(0, 0) = 0x100000 | P | W;
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    ck_assert_uint_eq(touch(WORLD + 9, ACCESS_READ), 0x100009);
    ck_assert_uint_eq(tags(WORLD + 9, ram.hva + 0x100009), TR);
    ck_assert_uint_eq(touch(WORLD, ACCESS_EXEC), 0x100000);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TX);
    ck_assert_uint_eq(*pte(0, 0) & (A | D), A);
    ck_assert_uint_eq(touch(WORLD + 4095, ACCESS_WRITE), 0x100fff);
    ck_assert_uint_eq(tags(WORLD + 4095, ram.hva + 0x100fff), TR | TW | TX);
    ck_assert_uint_eq(*pte(0, 0) & (A | D), A | D);
    ck_assert_uint_eq(tags_as(TLB_USER, WORLD, NULL), 0);
    ck_assert_uint_eq(tags_as(TLB_SUPERVISOR_AC, WORLD, NULL), 0);
    ck_assert_ptr_null(tlb_read_ptr(&tlb.tables[0], WORLD + 4095, 2)); /* crosses the page */
    ck_assert_ptr_nonnull(tlb_read_ptr(&tlb.tables[0], WORLD + 4092, 4));
    ck_assert_uint_eq(ram_flags(&ram, ram.hva + 0x100000), PAGE_WRITE_TLB);
}
END_TEST

START_TEST(read_enters_write_tag_only_if_dirty_and_writable)
{
    *pte(0, 0) = 0x100000 | P | W | D;
    *pte(0, 1) = 0x101000 | P | D;
    *pte(0, 2) = 0x102000 | P | W;
    for (unsigned i = 0; i < 3; i++)
        touch(gla_of(i), ACCESS_READ);
    ck_assert_uint_eq(tags(gla_of(0), ram.hva + 0x100000), TR | TW);
    ck_assert_uint_eq(tags(gla_of(1), ram.hva + 0x101000), TR);
    ck_assert_uint_eq(tags(gla_of(2), ram.hva + 0x102000), TR);
    ck_assert_uint_eq(touch(gla_of(1), ACCESS_WRITE), ~(u64)(PF_P | PF_W));
    ck_assert_uint_eq(touch_as(TLB_USER, gla_of(0), ACCESS_EXEC), ~(u64)(PF_P | PF_U | PF_I));
    ck_assert_uint_eq(touch(gla_of(3), ACCESS_READ), ~0ull);
}
END_TEST

START_TEST(devices_rom_and_holes)
{
    struct tlb_page page;
    u32 error;

    *pte(0, 0) = MMIO_GPA | P | W;
    *pte(0, 1) = ROM_GPA | P | W;
    *pte(0, 2) = 0x200000000 | P | W;
    for (unsigned kind = ACCESS_READ; kind <= ACCESS_EXEC; kind++) {
        ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, WORLD + 5, (enum access_kind)kind,
                                &page, &error));
        ck_assert_ptr_null(page.hva);
        ck_assert_uint_eq(page.gpa, MMIO_GPA + 5);
        ck_assert_ptr_eq(page.phys.region->ops, &mmio_ops);
        ck_assert(!page.notify);
        ck_assert_uint_eq(touch(gla_of(1), (enum access_kind)kind), ROM_GPA);
        ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, gla_of(2), (enum access_kind)kind,
                                &page, &error));
        ck_assert(!page.hva && !page.phys.region);
    }
    ck_assert_uint_eq(tags(gla_of(0), NULL), 0);
    ck_assert_uint_eq(tags(gla_of(1), rom), TR | TX);
    ck_assert_uint_eq(tags(gla_of(2), NULL), 0);
}
END_TEST

START_TEST(shadowed_memory_has_no_write_tag)
{
    struct region shadow = {.name = "shadow",
                            .kind = REGION_ROM,
                            .access = REGION_READ,
                            .base = 0x100000,
                            .size = PAGE_SIZE,
                            .priority = PRIO_SHADOW,
                            .hva = rom};
    struct tlb_page page;
    unsigned id;
    u32 error;

    ck_assert_int_eq(physmap_add(map, &shadow, &id), ST_OK);
    *pte(0, 0) = 0x100000 | P | W;
    ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, WORLD, ACCESS_WRITE, &page, &error));
    ck_assert_ptr_eq(page.hva, ram.hva + 0x100000);
    ck_assert(page.notify);
    ck_assert_uint_eq(tags(WORLD, rom), TR);
    ck_assert_uint_eq(touch(WORLD, ACCESS_EXEC), 0x100000);
    ck_assert_uint_eq(tags(WORLD, rom), TR | TX);
    physmap_remove(map, id); /* the flush listener runs */
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TW);
}
END_TEST

START_TEST(overlay_that_takes_writes_has_a_write_tag)
{
    struct region overlay = {.name = "overlay",
                             .kind = REGION_ROM,
                             .access = REGION_RW,
                             .base = 0x100000,
                             .size = PAGE_SIZE,
                             .priority = PRIO_OVERLAY,
                             .hva = rom,
                             .writable_hva = true};
    struct tlb_page page;
    unsigned id;
    u32 error;

    ck_assert_int_eq(physmap_add(map, &overlay, &id), ST_OK);
    *pte(0, 0) = 0x100000 | P | W;
    ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, WORLD, ACCESS_WRITE, &page, &error));
    ck_assert(!page.notify);
    ck_assert_uint_eq(tags(WORLD, rom), TR | TW);
}
END_TEST

START_TEST(code_pages_have_no_write_tag)
{
    struct tlb_page page;
    u32 error;

    *pte(0, 0) = *pte(0, 7) = 0x100000 | P | W | U; /* the page twice */
    touch(WORLD, ACCESS_WRITE);
    touch_as(TLB_USER, gla_of(7), ACCESS_WRITE);
    physmap_protect_code(map, ram.hva + 0x100040, 4);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
    ck_assert_uint_eq(tags_as(TLB_USER, gla_of(7), ram.hva + 0x100000), TR);
    ck_assert(!(ram_flags(&ram, ram.hva + 0x100000) & PAGE_WRITE_TLB));
    ck_assert(tlb_translate(&tlb, TLB_SUPERVISOR, &ctx, WORLD, ACCESS_WRITE, &page, &error));
    ck_assert(page.notify && page.hva == ram.hva + 0x100000);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
    ck_assert(ram_written(&ram, ram.hva + 0x100040, 1));
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TW);
    __atomic_fetch_or(&ram.pages[0x101].flags, PAGE_DIRTY_LOG, __ATOMIC_SEQ_CST);
    *pte(0, 1) = 0x101000 | P | W;
    touch(gla_of(1), ACCESS_WRITE);
    ck_assert_uint_eq(tags(gla_of(1), ram.hva + 0x101000), TR);
}
END_TEST

static const u8 *told;
static unsigned told_count;

static void on_store(void *opaque, const u8 *page_hva)
{
    ck_assert_ptr_eq(opaque, &told);
    told = page_hva;
    told_count++;
}

/* In a page with code: stores that miss it get their pointer one by one, whatever their address and
 * wherever they end. */
START_TEST(stores_beside_code)
{
    u8 *page = ram.hva + 0x100000;
    bool code;

    *pte(0, 0) = 0x100000 | P | W;
    touch(WORLD, ACCESS_WRITE);
    ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD, 8, &code)); /* it has its tag */
    ck_assert(!code);
    physmap_protect_code(map, page + 0x100, 4);
    ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD, 8, &code)); /* not asked yet */
    touch(WORLD, ACCESS_WRITE);
    for (u64 at = 0; at < PAGE_SIZE; at++) {
        bool hits = at + 7 >= 0x100 && at < 0x140, inside = at + 8 <= PAGE_SIZE;
        u8 *got = tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD + at, 8, &code);

        ck_assert_ptr_eq(got, inside && !hits ? page + at : NULL);
        ck_assert(code == hits);
        ck_assert_ptr_null(tlb_write_ptr(&tlb.tables[TLB_SUPERVISOR], WORLD + at, 8));
        ck_assert_ptr_null(tlb_write_ptr(&tlb.tables[TLB_SUPERVISOR], tlb_mixed(WORLD) + at, 8));
        ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, tlb_mixed(WORLD) + at, 8, &code));
        ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_USER, WORLD + at, 8, &code));
    }
    touch(WORLD, ACCESS_READ); /* the tag stays with the others */
    ck_assert_ptr_nonnull(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD, 8, &code));
    ck_assert(ram_written(&ram, page + 0x100, 1));
    ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD, 8, &code)); /* a tag can be had */
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(tags(WORLD, page), TR | TW);
    physmap_protect_code(map, page, 4);
    touch(WORLD, ACCESS_WRITE);
    tlb_flush_page(&tlb, 0, WORLD);
    ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, WORLD + 64, 8, &code));
}
END_TEST

/* A page that is logged, read-only or looked at has none. */
START_TEST(stores_beside_code_that_are_not_direct)
{
    bool code;

    for (unsigned i = 0; i < 3; i++) {
        *pte(0, i) = (0x100000 + i * PAGE_SIZE) | P | (i == 1 ? 0 : W);
        physmap_protect_code(map, ram.hva + 0x100000 + i * PAGE_SIZE, 1);
    }
    __atomic_fetch_or(&ram.pages[0x100].flags, PAGE_DIRTY_LOG, __ATOMIC_SEQ_CST);
    touch(gla_of(0), ACCESS_WRITE);
    touch(gla_of(1), ACCESS_READ);
    for (unsigned i = 0; i < 2; i++)
        ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, gla_of(i) + 64, 8, &code));
    tlb_watch_stores(&tlb, on_store, &told);
    touch(gla_of(2), ACCESS_WRITE);
    ck_assert_ptr_null(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, gla_of(2) + 64, 8, &code));
    tlb_watch_stores(&tlb, NULL, NULL);
    touch(gla_of(2), ACCESS_WRITE);
    ck_assert_ptr_nonnull(tlb_mixed_ptr(&tlb, TLB_SUPERVISOR, gla_of(2) + 64, 8, &code));
}
END_TEST

START_TEST(watched_pages_have_no_data_tags)
{
    u64 watch = gla_of(1) + 0x123;

    for (unsigned i = 0; i < 2; i++) {
        *pte(0, i) = (0x100000 + i * PAGE_SIZE) | P | W;
        touch(gla_of(i), ACCESS_WRITE);
    }
    tlb_watch(&tlb, &watch, 1);
    for (unsigned i = 0; i < 2; i++) {
        touch(gla_of(i), ACCESS_READ);
        touch(gla_of(i), ACCESS_WRITE);
        touch(gla_of(i), ACCESS_EXEC);
    }
    ck_assert_uint_eq(tags(gla_of(0), ram.hva + 0x100000), TR | TW | TX);
    ck_assert_uint_eq(tags(gla_of(1), ram.hva + 0x101000), TX);
    tlb_watch(&tlb, NULL, 0);
    touch(gla_of(1), ACCESS_WRITE);
    ck_assert_uint_eq(tags(gla_of(1), ram.hva + 0x101000), TR | TW);
}
END_TEST

START_TEST(contexts_have_their_own_rights)
{
    *pte(0, 0) = 0x100000 | P | W | U;
    ctx.cr4 |= CR4_SMAP_;
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), ~(u64)PF_P);
    ck_assert_uint_eq(touch_as(TLB_SUPERVISOR_AC, WORLD, ACCESS_WRITE), 0x100000);
    ck_assert_uint_eq(touch_as(TLB_USER, WORLD, ACCESS_READ), 0x100000);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), ~(u64)PF_P);
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    ck_assert_uint_eq(tags_as(TLB_SUPERVISOR_AC, WORLD, ram.hva + 0x100000), TR | TW);
    ck_assert_uint_eq(tags_as(TLB_USER, WORLD, ram.hva + 0x100000), TR | TW);
}
END_TEST

START_TEST(paging_off)
{
    ctx.cr0 = 1;
    ck_assert_uint_eq(touch(0x100123, ACCESS_WRITE), 0x100123);
    ck_assert_uint_eq(tags(0x100123, ram.hva + 0x100123), TR | TW);
    ck_assert_uint_eq(touch(0x100123, ACCESS_EXEC), 0x100123);
    ck_assert_uint_eq(tags(0x100123, ram.hva + 0x100123), TR | TW | TX);
    ck_assert_uint_eq(tlb.walks, 0);
}
END_TEST

START_TEST(slots_are_taken_over_cleanly)
{
    u64 other = WORLD + (u64)TLB_ENTRIES * PAGE_SIZE; /* same slot */

    table(0, 3)[4] = table(0, 3)[0]; /* the same page directory */
    *pte(0, 0) = 0x100000 | P | W;
    touch(WORLD, ACCESS_WRITE);
    touch(WORLD, ACCESS_EXEC);
    ck_assert_uint_eq(tlb_index(WORLD), tlb_index(other));
    touch(other, ACCESS_READ);
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    ck_assert_uint_eq(tags(other, ram.hva + 0x100000), TR | TW);
}
END_TEST

/* Pages of one slot, mapped as far apart as they are: RAM may be as large as that. */
START_TEST(places_of_code_are_told_apart)
{
    for (u64 apart = TLB_ENTRIES * (u64)PAGE_SIZE; apart < BIT(44); apart *= 2)
        ck_assert_uint_ne(tlb_exec_place(WORLD, (u64)ram.hva),
                          tlb_exec_place(WORLD + apart, (u64)ram.hva + apart));
    ck_assert_uint_ne(tlb_exec_place(WORLD, (u64)ram.hva),
                      tlb_exec_place(WORLD, (u64)ram.hva + PAGE_SIZE));
    ck_assert_uint_eq(tlb_exec_place(WORLD + 5, (u64)ram.hva), tlb_exec_place(WORLD, (u64)ram.hva));
}
END_TEST

/* -- second level -- */

START_TEST(second_level_spares_walks)
{
    u64 walks;

    *pte(0, 0) = 0x100000 | P | W;
    touch(WORLD, ACCESS_READ);
    walks = tlb.walks;
    tlb_switch(&tlb);
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x100000);
    ck_assert_uint_eq(tlb.walks, walks);
    touch(WORLD, ACCESS_WRITE); /* not dirty: D must be set */
    ck_assert_uint_eq(tlb.walks, walks + 1);
    ck_assert(*pte(0, 0) & D);
    tlb_switch(&tlb);
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(tlb.walks, walks + 1);
}
END_TEST

START_TEST(permission_registers_apply_to_kept_entries)
{
    *pte(0, 0) = 0x100000 | P | W | U | 3ull << 59;
    touch(WORLD, ACCESS_WRITE);
    ctx.cr4 |= CR4_PKE_;
    ctx.pkru = 2u << 6; /* key 3: no writes */
    tlb_permissions_changed(&tlb);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x100000);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
    ck_assert_uint_eq(touch(WORLD, ACCESS_WRITE), ~(u64)(PF_P | PF_W | PF_PK));
    ctx.pkru = 1u << 6;
    tlb_permissions_changed(&tlb);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), ~(u64)(PF_P | PF_PK));
    ck_assert_uint_eq(touch(WORLD, ACCESS_EXEC), 0x100000);
    ctx.cr4 |= CR4_SMAP_;
    ctx.pkru = 0;
    tlb_permissions_changed(&tlb);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), ~(u64)PF_P);
}
END_TEST

START_TEST(denied_by_an_old_entry_walks_again)
{
    *pte(0, 0) = 0x100000 | P;
    touch(WORLD, ACCESS_READ);
    *pte(0, 0) = 0x100000 | P | W | U;
    ck_assert_uint_eq(touch(WORLD, ACCESS_WRITE), 0x100000);
    ck_assert_uint_eq(touch_as(TLB_USER, WORLD, ACCESS_READ), 0x100000);
}
END_TEST

/* Points the page elsewhere without an invalidation; then tells old (kept) from new. */
static bool kept_after(unsigned root, unsigned page, void (*invalidate)(void))
{
    u64 old = *pte(root, page) & 0x7fffffffff000, now;

    *pte(root, page) ^= 0x80000;
    invalidate();
    tlb_switch(&tlb); /* only the second level counts here */
    now = touch(gla_of(page), ACCESS_READ);
    ck_assert(now == old || now == (old ^ 0x80000));
    return now == old;
}

static void nothing(void)
{
}
static void flush_all(void)
{
    tlb_flush_all(&tlb);
}
static void flush_non_global(void)
{
    tlb_flush_non_global(&tlb);
}
static void flush_pcid_1(void)
{
    tlb_flush_pcid(&tlb, 1);
}
static void flush_pcid_2(void)
{
    tlb_flush_pcid(&tlb, 2);
}
static void invlpg_1(void)
{
    tlb_flush_page(&tlb, 1, WORLD + 0x777);
}
static void invlpg_2(void)
{
    tlb_flush_page(&tlb, 2, WORLD);
}
static void invlpg_1_next(void)
{
    tlb_flush_page(&tlb, 1, gla_of(1));
}
static void invpcid_1(void)
{
    tlb_flush_page_pcid(&tlb, 1, WORLD + 0xfff);
}
static void invpcid_2(void)
{
    tlb_flush_page_pcid(&tlb, 2, WORLD);
}

static void flush_everywhere(void)
{
    tlb_flush_page_everywhere(&tlb, WORLD + 5);
}
static void flush_everywhere_next(void)
{
    tlb_flush_page_everywhere(&tlb, gla_of(1));
}

/* SDM 3A 4.10.4.1: what each invalidation does to a page of PCID 1, plain and global. */
START_TEST(invalidation_table)
{
    static const struct {
        void (*run)(void);
        bool plain_kept, global_kept;
    } rows[] = {
        {nothing, true, true},
        {flush_all, false, false},
        {flush_non_global, false, true},
        {flush_pcid_1, false, true},
        {flush_pcid_2, true, true},
        {invlpg_1, false, false},
        {invlpg_2, true, false},
        {invlpg_1_next, true, true},
        {invpcid_1, false, true},
        {invpcid_2, true, true},
        {flush_everywhere, false, false},
        {flush_everywhere_next, true, true},
    };

    for (unsigned global = 0; global < 2; global++) {
        use_pcid(1, 0);
        *pte(0, 0) = 0x100000 | P | (global ? G : 0);
        touch(WORLD, ACCESS_READ);
        ck_assert_int_eq(kept_after(0, 0, rows[_i].run),
                         global ? rows[_i].global_kept : rows[_i].plain_kept);
        tlb_flush_all(&tlb);
    }
}
END_TEST

/* Hv#1's flush names an address space, not a PCID. */
START_TEST(a_page_is_flushed_of_every_pcid)
{
    for (u16 pcid = 1; pcid < 4; pcid++) {
        use_pcid(pcid, 0);
        *pte(0, 0) = 0x100000 | P;
        touch(WORLD, ACCESS_READ);
    }
    *pte(0, 0) = 0x200000 | P;
    flush_everywhere();
    for (u16 pcid = 1; pcid < 4; pcid++) {
        use_pcid(pcid, 0);
        tlb_switch(&tlb);
        ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x200000);
    }
}
END_TEST

START_TEST(pcids_are_apart)
{
    *pte(0, 0) = 0x100000 | P;
    *pte(1, 0) = 0x200000 | P;
    *pte(0, 1) = 0x101000 | P | G;
    for (unsigned round = 0; round < 3; round++) {
        use_pcid(1, 0);
        ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x100000);
        ck_assert_uint_eq(touch(gla_of(1), ACCESS_READ), 0x101000);
        use_pcid(0xfff, 1);
        ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x200000);
        ck_assert_uint_eq(touch(gla_of(1), ACCESS_READ), 0x101000); /* global: root 0's */
    }
    ck_assert_uint_eq(tlb.walks, 3);
    tlb_flush_pcid(&tlb, 1);
    *pte(0, 0) = *pte(1, 0) = 0x300000 | P;
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x200000);
    use_pcid(1, 0);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x300000);
}
END_TEST

START_TEST(global_needs_pge)
{
    ctx.cr4 &= ~CR4_PGE_;
    *pte(0, 0) = 0x100000 | P | G;
    touch(WORLD, ACCESS_READ);
    *pte(0, 0) = 0x200000 | P | G;
    tlb_flush_pcid(&tlb, 0); /* MOV CR3 */
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x200000);
}
END_TEST

/* INVLPG anywhere in a large page takes every piece along. */
START_TEST(invlpg_drops_all_pieces_of_a_large_page)
{
    static const u64 glas[] = {0x600000, 0x40000000};
    u64 gla = glas[_i], end = _i ? 0x3fffff000 : 0x1ff000;

    if (_i)
        table(0, 3)[1] = 0 | P | W | PS | U;
    else
        table(0, 2)[3] = 0 | P | W | PS | U;
    for (u64 at = 0; at < MIB(2); at += 0x10000)
        ck_assert_uint_eq(touch(gla + at, ACCESS_WRITE), at);
    ck_assert_uint_eq(tlb.walks, 1); /* one entry for all */
    if (_i)
        table(0, 3)[1] |= 0x40000000;
    else
        table(0, 2)[3] |= 0x200000;
    ck_assert_uint_eq(touch(gla + 0x10000, ACCESS_READ), 0x10000);
    if (_i == 0)
        tlb_flush_page(&tlb, 0, gla + end);
    else
        tlb_flush_page_pcid(&tlb, 0, gla + 0x3ffff000);
    for (u64 at = 0; at < MIB(2); at += 0x10000) {
        ck_assert_uint_eq(tags(gla + at, NULL), 0);
        ck_assert_uint_eq(touch(gla + at, ACCESS_READ), at + (_i ? 0x40000000 : 0x200000));
    }
}
END_TEST

START_TEST(invlpg_beside_keeps_the_rest)
{
    for (unsigned i = 0; i < 8; i++) {
        *pte(0, i) = (0x100000 + i * PAGE_SIZE) | P | W;
        touch(gla_of(i), ACCESS_READ);
        touch_as(TLB_USER, gla_of(i), ACCESS_READ);
    }
    tlb_flush_page(&tlb, 0, gla_of(3));
    for (unsigned i = 0; i < 8; i++)
        ck_assert_uint_eq(tags(gla_of(i), ram.hva + 0x100000 + i * PAGE_SIZE), i == 3 ? 0 : TR);
}
END_TEST

START_TEST(a_small_page_replaces_a_large_one)
{
    table(0, 2)[2] = 0x200000 | P | W | PS; /* clean */
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x200000);
    table(0, 2)[2] = 0x13000 | P | W | U;
    *pte(0, 0) = 0x100000 | P | W;
    ck_assert_uint_eq(touch(WORLD, ACCESS_WRITE), 0x100000); /* not dirty: walked again */
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x100000);
    tlb_switch(&tlb);
    ck_assert_uint_eq(touch(WORLD, ACCESS_READ), 0x100000);
}
END_TEST

START_TEST(flush_empties_every_slot)
{
    for (unsigned i = 0; i < 512; i++) {
        *pte(0, i) = (0x100000 + i * PAGE_SIZE) | P | W | U;
        for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
            touch_as((enum tlb_context)context, gla_of(i), ACCESS_WRITE);
            touch_as((enum tlb_context)context, gla_of(i), ACCESS_EXEC);
        }
    }
    ck_assert_uint_eq(tlb.fills, 512 * 3 * 2);
    tlb_flush_pcid(&tlb, 0);
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        const struct tlb_table *t = &tlb.tables[context];

        for (unsigned word = 0; word < TLB_WORDS; word++)
            ck_assert(!tlb.use[context].filled[word]);
        for (unsigned page = 0; page < 512; page++) {
            unsigned i = tlb_index(gla_of(page));

            ck_assert(t->read_tag[i] == tlb_invalid(i) && t->write_tag[i] == tlb_invalid(i) &&
                      t->exec_tag[i] == tlb_invalid(i));
        }
    }
}
END_TEST

/* Global pages stay in the first level where nothing asks for their end. */
START_TEST(global_pages_outlive_a_switch)
{
    *pte(0, 0) = 0x100000 | P | W | G;
    *pte(0, 1) = 0x101000 | P | W;
    use_pcid(1, 0);
    for (unsigned i = 0; i < 2; i++)
        touch(gla_of(i), ACCESS_WRITE);
    use_pcid(2, 1);
    ck_assert_uint_eq(tags(gla_of(0), ram.hva + 0x100000), TR | TW);
    ck_assert_uint_eq(tags(gla_of(1), NULL), 0);
    tlb_flush_pcid(&tlb, 2);
    tlb_flush_non_global(&tlb);
    ck_assert_uint_eq(tags(gla_of(0), ram.hva + 0x100000), TR | TW);
    physmap_protect_code(map, ram.hva + 0x100000, 1);
    ck_assert_uint_eq(tags(gla_of(0), ram.hva + 0x100000), TR);
    switch (_i) {
    case 0: tlb_flush_page(&tlb, 2, WORLD); break;
    case 1: tlb_permissions_changed(&tlb); break;
    default: tlb_flush_all(&tlb); break;
    }
    ck_assert_uint_eq(tags(gla_of(0), NULL), 0);
}
END_TEST

/* A slot whose tags come from a global and from a plain translation of one address goes with the
 * plain one. */
START_TEST(a_slot_is_as_mortal_as_its_plainest_tag)
{
    *pte(0, 0) = 0x100000 | P | W | (_i ? G : 0);
    touch(WORLD, ACCESS_EXEC);
    tlb_flush_page_pcid(&tlb, 0, gla_of(9));
    *pte(0, 0) = 0x100000 | P | W | (_i ? 0 : G);
    touch(WORLD, ACCESS_WRITE); /* walks, as D is to be set */
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TW | TX);
    tlb_switch(&tlb);
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
}
END_TEST

/* INVLPG of a small page leaves the pieces of large pages elsewhere alone. */
START_TEST(invlpg_spares_other_large_pages)
{
    table(0, 2)[8] = 0x200000 | P | W | D | PS | U;
    *pte(0, 0) = 0x100000 | P | W;
    touch(MIB(16), ACCESS_READ);
    touch(WORLD, ACCESS_READ);
    tlb_flush_page(&tlb, 0, WORLD);
    ck_assert_uint_eq(tags(WORLD, NULL), 0);
    ck_assert_uint_eq(tags(MIB(16), ram.hva + 0x200000), TR | TW);
}
END_TEST

/* -- a random run: every tag agrees with the page tables -- */

static void check_tag(unsigned i, u64 tag, enum tlb_context context, enum access_kind kind)
{
    struct paging_ctx c = ctx;
    struct walk_result r;
    bool mixed;
    u64 before;

    if (tag == tlb_invalid(i))
        return;
    mixed = kind == ACCESS_WRITE && tlb_index(tag) != i; /* the page has, or had, code */
    if (mixed)
        tag = tlb_mixed(tag);
    ck_assert_uint_eq(tlb_index(tag), i);
    c.user = context == TLB_USER;
    c.smap_override = context == TLB_SUPERVISOR_AC;
    before = ram.code_epoch;
    ck_assert(page_walk(map, &c, tag, kind == ACCESS_EXEC ? kind : ACCESS_READ, &r));
    ck_assert(kind != ACCESS_WRITE || r.dirty);
    ck_assert(page_walk(map, &c, tag, kind, &r));
    ck_assert_uint_eq(before, ram.code_epoch);
    ck_assert_ptr_eq((u8 *)tlb.tables[context].page[i], ram.hva + r.gpa);
    ck_assert(kind != ACCESS_WRITE || mixed || !(ram_flags(&ram, ram.hva + r.gpa) & PAGE_CODE));
}

/* The page of the stack has both tags. */
static void check_stack(const struct tlb_table *t)
{
    unsigned i = tlb_index(t->stack_tag);

    ck_assert(t->stack_tag == t->no_stack ||
              (t->read_tag[i] == t->stack_tag && t->write_tag[i] == t->stack_tag &&
               t->stack_distance == t->page[i] - t->stack_tag));
}

static void check_tags(void)
{
    for (unsigned context = 0; context < TLB_CONTEXTS; context++) {
        const struct tlb_table *t = &tlb.tables[context];

        check_stack(t);

        for (unsigned word = 0; word < TLB_WORDS; word++)
            for (u64 left = tlb.use[context].filled[word]; left; left &= left - 1) {
                unsigned i = word * 64 + (unsigned)__builtin_ctzll(left);

                check_tag(i, t->read_tag[i], (enum tlb_context)context, ACCESS_READ);
                check_tag(i, t->write_tag[i], (enum tlb_context)context, ACCESS_WRITE);
                check_tag(i, t->exec_tag[i], (enum tlb_context)context, ACCESS_EXEC);
                ck_assert_uint_eq(t->exec_place[i],
                                  t->exec_tag[i] == tlb_invalid(i)
                                      ? 0
                                      : tlb_exec_place(t->exec_tag[i], t->page[i]));
            }
    }
}

static unsigned probes, stacks;

/* As translated code does it. */
static void find_stack(struct tlb_table *t, u64 gla)
{
    if (!tlb_read_ptr(t, gla, 1) || !tlb_write_ptr(t, gla, 1))
        return;
    t->stack_tag = gla & PAGE_MASK;
    t->stack_distance = t->page[tlb_index(gla)] - t->stack_tag;
    stacks++;
}

/* Changes one translation as an operating system would: store, then invalidate. */
static void random_change(unsigned root)
{
    u64 bits = P | ((u64)rand() & (W | U)) | (rand() % 4 ? 0 : BIT(63));
    unsigned page = (unsigned)rand() % 64;

    if (rand() % 8 == 0) { /* PD entry 3: a large page, or nothing */
        table(root, 2)[3] = rand() % 3 ? (u64)(rand() % 3) << 21 | PS | bits : 0;
        page = 512 + (unsigned)rand() % 512;
    } else {
        *pte(root, page) = rand() % 4 ? (0x100000 + (u64)(rand() % 256) * PAGE_SIZE) | bits : 0;
    }
    if (ctx.cr3 >> 16 == root + 1)
        tlb_flush_page(&tlb, (u16)(root + 1), gla_of(page));
    else
        tlb_flush_page_pcid(&tlb, (u16)(root + 1), gla_of(page));
}

/* By the probe if that knows, else the long way. */
static void random_access(void)
{
    u64 gla = rand() % 2 ? gla_of((unsigned)rand() % 64) : 0x600000 + (u64)rand() % MIB(2);
    enum tlb_context context = (enum tlb_context)(rand() % 3);
    enum access_kind kind = (enum access_kind)(rand() % 3);

    if (rand() % 2 && probe(context, gla, 1, kind))
        probes++;
    else
        touch_as(context, gla, kind);
    if (rand() % 4 == 0)
        find_stack(&tlb.tables[context], gla);
}

START_TEST(random_run_agrees_with_the_tables)
{
    unsigned root = 0;

    srand(99);
    use_pcid(1, 0);
    for (unsigned step = 0; step < 20000; step++) {
        switch (rand() % 12) {
        case 0: random_change((unsigned)rand() % 4); break;
        case 1:
            root = (unsigned)rand() % 4;
            use_pcid((u16)(root + 1), root);
            break;
        case 2:
            if (rand() % 16 == 0)
                tlb_flush_pcid(&tlb, (u16)(rand() % 6));
            break;
        case 3: physmap_protect_code(map, ram.hva + 0x100000 + rand() % 256 * PAGE_SIZE, 8); break;
        case 4: ram_written(&ram, ram.hva + 0x100000 + rand() % 256 * PAGE_SIZE, 1); break;
        case 5:
            ctx.cr4 ^= CR4_SMAP_;
            tlb_permissions_changed(&tlb);
            break;
        default: random_access(); break;
        }
        if (step % 16 == 0)
            check_tags();
    }
    ck_assert_uint_gt(tlb.fills, 2000);
    ck_assert_uint_gt(probes, 200);
    ck_assert_uint_gt(stacks, 200);
}
END_TEST

/* -- dropping write tags from another thread -- */

enum { RACE_ROUNDS = 20000 };

/* Both threads leave only when both have come. */
static void meet(unsigned *count, unsigned round)
{
    __atomic_fetch_add(count, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(count, __ATOMIC_SEQ_CST) < 2 * round)
        sched_yield();
}

static unsigned starts, ends;

static void *marker(void *arg)
{
    for (unsigned round = 1; round <= RACE_ROUNDS; round++) {
        meet(&starts, round);
        for (volatile unsigned delay = round % 64; delay; delay--)
            ;
        physmap_protect_code(map, ram.hva + 0x100000, 1);
        meet(&ends, round);
    }
    return arg;
}

/* Stores stay on the slow path and are told of with their page, devices with none; what would have
 * been a write tag is known. */
START_TEST(watched_stores_have_no_write_tag)
{
    *pte(0, 0) = 0x100000 | P | W;
    *pte(0, 1) = 0x101000 | P;
    *pte(0, 2) = MMIO_GPA | P | W;
    told_count = 0;
    tlb_watch_stores(&tlb, on_store, &told);
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(told_count, 1);
    ck_assert_ptr_eq(told, ram.hva + 0x100000);
    ck_assert(tlb.write_withheld);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR);
    touch(WORLD + PAGE_SIZE, ACCESS_READ);
    ck_assert_uint_eq(told_count, 1);
    ck_assert(!tlb.write_withheld);
    touch(WORLD + 2 * PAGE_SIZE, ACCESS_READ);
    ck_assert_uint_eq(told_count, 2);
    ck_assert_ptr_null(told);
    tlb_watch_stores(&tlb, NULL, NULL);
    touch(WORLD, ACCESS_WRITE);
    ck_assert_uint_eq(told_count, 2);
    ck_assert_uint_eq(tags(WORLD, ram.hva + 0x100000), TR | TW);
}
END_TEST

/* Whichever came first, the mark or the tag: when both are through, the tag is gone. */
START_TEST(a_mark_beside_a_fill_leaves_no_write_tag)
{
    pthread_t thread;
    unsigned left = 0;

    *pte(0, 0) = 0x100000 | P | W;
    starts = ends = 0;
    pthread_create(&thread, NULL, marker, NULL);
    for (unsigned round = 1; round <= RACE_ROUNDS; round++) {
        meet(&starts, round);
        touch(WORLD, ACCESS_WRITE);
        meet(&ends, round);
        left += tags(WORLD, ram.hva + 0x100000) & TW;
        ram_written(&ram, ram.hva + 0x100000, 1);
        tlb_switch(&tlb);
    }
    pthread_join(thread, NULL);
    ck_assert_uint_eq(left, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("tlb");
    TCase *tc = tcase_create("tlb");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, tags_follow_the_access);
    tcase_add_test(tc, read_enters_write_tag_only_if_dirty_and_writable);
    tcase_add_test(tc, devices_rom_and_holes);
    tcase_add_test(tc, shadowed_memory_has_no_write_tag);
    tcase_add_test(tc, overlay_that_takes_writes_has_a_write_tag);
    tcase_add_test(tc, code_pages_have_no_write_tag);
    tcase_add_test(tc, stores_beside_code);
    tcase_add_test(tc, stores_beside_code_that_are_not_direct);
    tcase_add_test(tc, watched_pages_have_no_data_tags);
    tcase_add_test(tc, watched_stores_have_no_write_tag);
    tcase_add_test(tc, contexts_have_their_own_rights);
    tcase_add_test(tc, paging_off);
    tcase_add_test(tc, slots_are_taken_over_cleanly);
    tcase_add_test(tc, places_of_code_are_told_apart);
    tcase_add_test(tc, second_level_spares_walks);
    tcase_add_test(tc, permission_registers_apply_to_kept_entries);
    tcase_add_test(tc, denied_by_an_old_entry_walks_again);
    tcase_add_loop_test(tc, invalidation_table, 0, 12);
    tcase_add_test(tc, a_page_is_flushed_of_every_pcid);
    tcase_add_test(tc, pcids_are_apart);
    tcase_add_test(tc, global_needs_pge);
    tcase_add_loop_test(tc, invlpg_drops_all_pieces_of_a_large_page, 0, 2);
    tcase_add_test(tc, invlpg_beside_keeps_the_rest);
    tcase_add_test(tc, a_small_page_replaces_a_large_one);
    tcase_add_test(tc, flush_empties_every_slot);
    tcase_add_loop_test(tc, global_pages_outlive_a_switch, 0, 3);
    tcase_add_loop_test(tc, a_slot_is_as_mortal_as_its_plainest_tag, 0, 2);
    tcase_add_test(tc, invlpg_spares_other_large_pages);
    tcase_add_test(tc, random_run_agrees_with_the_tables);
    tcase_add_test(tc, a_mark_beside_a_fill_leaves_no_write_tag);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
