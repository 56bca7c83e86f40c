/* SPDX-License-Identifier: MIT
 *
 * A soft TLB over 8 MiB of RAM, a ROM page and a device page, with four roots of page tables.
 */
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "mem/tlb.h"
#include "mem/tlb_probe.h"

enum { P = 1, W = 2, U = 4, A = 32, D = 64, PS = 128, G = 256 };

#define CR0_PG_    BIT(31)
#define CR0_WP_    BIT(16)
#define CR4_PAE_   BIT(5)
#define CR4_PGE_   BIT(7)
#define CR4_PCIDE_ BIT(17)
#define CR4_SMAP_  BIT(21)
#define CR4_PKE_   BIT(22)
#define EFER_LMA_  BIT(10)
#define EFER_NXE_  BIT(11)
#define ROM_GPA    0xf0000000ull
#define MMIO_GPA   0xf1000000ull
#define WORLD      0x400000ull /* gla of the first test page; PT entry 0 of PD entry 2 */

static struct log log_;
static struct ram ram;
static struct physmap *map;
static struct tlb tlb;
static struct paging_ctx ctx;
static u8 rom[PAGE_SIZE] ALIGNED(4096);

static inline u64 mmio_read(void *self, u64 offset, unsigned size)
{
    (void)self;
    (void)offset;
    (void)size;
    return 0;
}

static const struct io_ops mmio_ops = {mmio_read, NULL, SIZE_ANY};

static inline void on_protect(void *opaque, const u8 *page_hva)
{
    tlb_drop_write(opaque, page_hva);
}

static inline void on_flush(void *opaque)
{
    tlb_flush_all(opaque);
}

/* Root number n: PML4 at 0x10000 * (n + 1), then PDPT, PD, PT, one page each. */
static inline u64 *table(unsigned root, unsigned level)
{
    return (u64 *)(ram.hva + 0x10000 * (root + 1) + (4 - level) * 0x1000);
}

static inline u64 *pte(unsigned root, unsigned page)
{
    return &table(root, 1)[page];
}

static inline void make_root(unsigned root)
{
    u64 base = 0x10000 * (root + 1);

    table(root, 4)[0] = (base + 0x1000) | P | W | U;
    table(root, 3)[0] = (base + 0x2000) | P | W | U;
    table(root, 2)[2] = (base + 0x3000) | P | W | U;
}

static inline void setup(void)
{
    struct region r[] = {
        {.name = "ram", .kind = REGION_RAM, .access = REGION_RW, .size = MIB(8)},
        {.name = "rom",
         .kind = REGION_ROM,
         .access = REGION_RW,
         .base = ROM_GPA,
         .size = PAGE_SIZE,
         .hva = rom},
        {.name = "mmio",
         .kind = REGION_MMIO,
         .access = REGION_RW,
         .base = MMIO_GPA,
         .size = PAGE_SIZE,
         .ops = &mmio_ops},
    };
    unsigned id;

    log_init(&log_);
    ck_assert_int_eq(ram_create(&ram, MIB(8), NULL), ST_OK);
    ck_assert_int_eq(physmap_create(&map, &ram, &log_, NULL), ST_OK);
    for (unsigned i = 0; i < ARRAY_SIZE(r); i++)
        ck_assert_int_eq(physmap_add(map, &r[i], &id), ST_OK);
    ck_assert_int_eq(tlb_create(&tlb, map, NULL), ST_OK);
    physmap_set_listeners(map, on_flush, on_protect, &tlb);
    for (unsigned root = 0; root < 4; root++)
        make_root(root);
    ctx = (struct paging_ctx){.cr0 = CR0_PG_ | CR0_WP_ | 1,
                              .cr3 = 0x10000,
                              .cr4 = CR4_PAE_ | CR4_PGE_,
                              .efer = EFER_LMA_ | EFER_NXE_,
                              .maxphyaddr = 46,
                              .page1g = true};
}

static inline void teardown(void)
{
    tlb_destroy(&tlb);
    physmap_destroy(map);
    ram_destroy(&ram);
    log_fini(&log_);
}

static inline u64 gla_of(unsigned page)
{
    return WORLD + page * PAGE_SIZE;
}

/* An access as the current context; returns the guest-physical address or ~error. */
static inline u64 touch_as(enum tlb_context context, u64 gla, enum access_kind kind)
{
    struct tlb_page page;
    u32 error;

    ctx.user = context == TLB_USER;
    ctx.smap_override = context == TLB_SUPERVISOR_AC;
    return tlb_translate(&tlb, context, &ctx, gla, kind, &page, &error) ? page.gpa : ~(u64)error;
}

static inline u64 touch(u64 gla, enum access_kind kind)
{
    return touch_as(TLB_SUPERVISOR, gla, kind);
}

/* Which tags the page of gla has: r, w, x as bits 0, 1, 2; all that exist must point to hva. */
static inline unsigned tags_as(enum tlb_context context, u64 gla, const u8 *hva)
{
    const struct tlb_table *t = &tlb.tables[context];
    const u8 *p[3] = {tlb_read_ptr(t, gla, 1), tlb_write_ptr(t, gla, 1), tlb_exec_ptr(t, gla)};
    unsigned tags = 0;

    for (unsigned i = 0; i < 3; i++) {
        if (p[i])
            ck_assert_ptr_eq(p[i], hva);
        tags |= p[i] ? 1u << i : 0;
    }
    return tags;
}

static inline unsigned tags(u64 gla, const u8 *hva)
{
    return tags_as(TLB_SUPERVISOR, gla, hva);
}

enum { TR = 1, TW = 2, TX = 4 };

static inline void use_pcid(u16 pcid, unsigned root)
{
    ctx.cr4 |= CR4_PCIDE_;
    ctx.cr3 = 0x10000 * (root + 1) | pcid;
    tlb_switch(&tlb);
}

static inline u64 probe(enum tlb_context context, u64 gla, unsigned size, enum access_kind kind)
{
    return tlb_probe(&tlb, context, paging_pcid(&ctx), gla, size, kind);
}
