/* SPDX-License-Identifier: MIT
 *
 * The physical map: layering, PAM, A20, aliases, overlays, DMA over every kind of page, changes
 * made by running handlers and beside lookups, and random layouts against a page-by-page model.
 */
#include "mem/physmap.h"
#include "tests/suite.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct log log_;
static struct ram ram;
static struct physmap *map;
static unsigned flushes, protects;
static const u8 *protected_page;
static u8 rom[4 * PAGE_SIZE] ALIGNED(4096);

static void on_flush(void *opaque)
{
    ck_assert_ptr_eq(opaque, &ram);
    flushes++;
}

static void on_protect(void *opaque, const u8 *page_hva)
{
    ck_assert_ptr_eq(opaque, &ram);
    protects++;
    protected_page = page_hva;
}

static void setup(void)
{
    log_init(&log_);
    ck_assert_int_eq(ram_create(&ram, MIB(4), NULL), ST_OK);
    ck_assert_int_eq(physmap_create(&map, &ram, &log_, NULL), ST_OK);
    physmap_set_listeners(map, on_flush, on_protect, &ram);
    flushes = protects = 0;
    memset(rom, 0xc3, sizeof(rom));
}

static void teardown(void)
{
    physmap_destroy(map);
    ram_destroy(&ram);
    log_fini(&log_);
}

static unsigned add(const struct region *region)
{
    unsigned id;

    ck_assert_int_eq(physmap_add(map, region, &id), ST_OK);
    return id;
}

static struct region ram_region(u64 base, u64 size, u64 offset)
{
    return (struct region){.name = "ram",
                           .kind = REGION_RAM,
                           .access = REGION_RW,
                           .base = base,
                           .size = size,
                           .ram_offset = offset};
}

static unsigned add_ram(u64 base, u64 size, u64 offset)
{
    struct region region = ram_region(base, size, offset);

    return add(&region);
}

static u8 *hva_of(u64 gpa, bool write)
{
    struct phys_page page;

    physmap_lookup(map, gpa, write, &page);
    return page.hva;
}

/* -- a device that records -- */

struct probe {
    struct {
        u64 offset, value;
        unsigned size;
    } seen[32];
    unsigned count;
    void (*hook)(void);
};

static struct probe probe;

static u64 probe_read(void *self, u64 offset, unsigned size)
{
    struct probe *p = self;

    p->seen[p->count % 32].offset = offset;
    p->seen[p->count++ % 32].size = size;
    if (p->hook)
        p->hook();
    return 0x1122334455667788;
}

static void probe_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct probe *p = self;

    p->seen[p->count % 32].offset = offset;
    p->seen[p->count % 32].value = value;
    p->seen[p->count++ % 32].size = size;
    if (p->hook)
        p->hook();
}

static const struct io_ops probe_ops = {probe_read, probe_write, SIZE_ANY};

static struct region mmio_region(u64 base, u64 size)
{
    memset(&probe, 0, sizeof(probe));
    return (struct region){.name = "probe",
                           .kind = REGION_MMIO,
                           .access = REGION_RW,
                           .base = base,
                           .size = size,
                           .priority = PRIO_MMIO,
                           .ops = &probe_ops,
                           .self = &probe};
}

/* -- tests -- */

START_TEST(empty_map_is_a_hole)
{
    u64 value = 0;

    ck_assert_ptr_null(hva_of(0, false));
    ck_assert(!physmap_read(map, 0x1234, &value, 8));
    ck_assert_uint_eq(value, ~0ull);
    ck_assert(!physmap_write(map, 0, &value, 8));
    ck_assert_uint_eq(physmap_read_uint(map, 0, 2), 0xffff);
    ck_assert_ptr_null(physmap_ram_pointer(map, 0, 1));
}
END_TEST

START_TEST(refuses_bad_regions)
{
    static const struct io_ops ops = {0};
    struct region good = ram_region(0, PAGE_SIZE, 0), r;
    unsigned id;

#define REFUSED(change)                                                                            \
    do {                                                                                           \
        r = good;                                                                                  \
        change;                                                                                    \
        ck_assert_int_eq(physmap_add(map, &r, &id), ST_INVALID);                                   \
    } while (0)
    REFUSED(r.base = 1);
    REFUSED(r.size = 0);
    REFUSED(r.size = 100);
    REFUSED(r.base = 1ull << 52);
    REFUSED(r.base = (1ull << 52) - PAGE_SIZE; r.size = 2 * PAGE_SIZE);
    REFUSED(r.base = ~0ull & PAGE_MASK; r.size = 2 * PAGE_SIZE);
    REFUSED(r.size = 1ull << 63);
    REFUSED(r.ram_offset = MIB(4));
    REFUSED(r.ram_offset = 8);
    REFUSED(r.ram_offset = ~0ull & PAGE_MASK);
    REFUSED(r.kind = REGION_ROM);
    REFUSED(r.kind = REGION_MMIO);
    REFUSED(r.kind = REGION_ALIAS; r.target = 1ull << 52);
    REFUSED(r.kind = REGION_ALIAS; r.target = 12);
    REFUSED(r.access = (enum region_access)4);
    r = good;
    r.kind = REGION_MMIO;
    r.ops = &ops;
    r.base = (1ull << 52) - PAGE_SIZE;
    add(&r);
    ck_assert_uint_eq(flushes, 1);
}
END_TEST

START_TEST(overlap_needs_same_priority_and_access)
{
    struct region r = ram_region(PAGE_SIZE, 2 * PAGE_SIZE, 0);
    unsigned first = add(&r), id;

    ck_assert_int_eq(physmap_add(map, &r, &id), ST_OVERLAP);
    r.base = 0;
    ck_assert_int_eq(physmap_add(map, &r, &id), ST_OVERLAP);
    r.size = PAGE_SIZE;
    add(&r);
    r.base = PAGE_SIZE;
    r.priority = 1;
    r.access = REGION_READ;
    add(&r);
    r.access = REGION_WRITE;
    id = add(&r);
    r.access = REGION_RW;
    ck_assert_int_eq(physmap_change(map, id, &r), ST_OVERLAP);
    r = ram_region(0, PAGE_SIZE, 0);
    ck_assert_int_eq(physmap_change(map, first, &r), ST_OVERLAP);
    ck_assert_ptr_eq(hva_of(2 * PAGE_SIZE, false), ram.hva + PAGE_SIZE);
}
END_TEST

START_TEST(higher_priority_hides_lower)
{
    struct region hole = {.name = "hole",
                          .kind = REGION_HOLE,
                          .access = REGION_RW,
                          .base = 2 * PAGE_SIZE,
                          .size = PAGE_SIZE,
                          .priority = 7};
    struct region dev = mmio_region(4 * PAGE_SIZE, 2 * PAGE_SIZE);
    struct phys_page page;
    unsigned dev_id, hole_id;

    add_ram(0, MIB(1), 0);
    hole_id = add(&hole);
    dev_id = add(&dev);
    ck_assert_ptr_eq(hva_of(PAGE_SIZE + 5, false), ram.hva + PAGE_SIZE);
    ck_assert_ptr_null(hva_of(2 * PAGE_SIZE, true));
    ck_assert_uint_eq(physmap_read_uint(map, 2 * PAGE_SIZE + 8, 4), 0xffffffff);
    ck_assert_ptr_eq(hva_of(3 * PAGE_SIZE, true), ram.hva + 3 * PAGE_SIZE);
    physmap_lookup(map, 5 * PAGE_SIZE + 12, false, &page);
    ck_assert_ptr_null(page.hva);
    ck_assert_ptr_eq(page.region->self, &probe);
    ck_assert_uint_eq(page.offset, PAGE_SIZE);
    physmap_remove(map, dev_id);
    physmap_remove(map, hole_id);
    ck_assert_ptr_eq(hva_of(5 * PAGE_SIZE, false), ram.hva + 5 * PAGE_SIZE);
    ck_assert_ptr_eq(hva_of(2 * PAGE_SIZE, false), ram.hva + 2 * PAGE_SIZE);
    ck_assert_uint_eq(flushes, 5);
    ck_assert_uint_eq(physmap_epoch(map), 5);
}
END_TEST

/* The four states of a PAM field (82441FX 3.2.18): RAM below, ROM above at C0000. */
START_TEST(pam_states)
{
    struct region shadow = {.name = "rom",
                            .kind = REGION_ROM,
                            .access = REGION_RW,
                            .base = 0xc0000,
                            .size = sizeof(rom),
                            .priority = PRIO_SHADOW,
                            .hva = rom};
    u32 value = 0x01020304;
    unsigned id;

    add_ram(0, MIB(1), 0);
    id = add(&shadow);
    ck_assert(physmap_write(map, 0xc0000, &value, 4)); /* ROM both ways: swallowed */
    ck_assert_uint_eq(physmap_read_uint(map, 0xc0000, 4), 0xc3c3c3c3);
    ck_assert_uint_eq(rom[0], 0xc3);
    ck_assert_ptr_null(hva_of(0xc0000, true));

    shadow.access = REGION_READ; /* read ROM, write RAM */
    ck_assert_int_eq(physmap_change(map, id, &shadow), ST_OK);
    physmap_write_uint(map, 0xc0000, value, 4);
    ck_assert_uint_eq(physmap_read_uint(map, 0xc0000, 4), 0xc3c3c3c3);
    ck_assert_ptr_eq(hva_of(0xc0000, true), ram.hva + 0xc0000);
    ck_assert_ptr_eq(hva_of(0xc0000, false), rom);
    ck_assert_ptr_null(physmap_ram_pointer(map, 0xc0000, 4));

    shadow.access = REGION_WRITE; /* read RAM, write protected */
    ck_assert_int_eq(physmap_change(map, id, &shadow), ST_OK);
    ck_assert_uint_eq(physmap_read_uint(map, 0xc0000, 4), value);
    physmap_write_uint(map, 0xc0000, 0, 4);
    ck_assert_uint_eq(physmap_read_uint(map, 0xc0000, 4), value);

    shadow.access = 0; /* RAM both ways */
    ck_assert_int_eq(physmap_change(map, id, &shadow), ST_OK);
    physmap_write_uint(map, 0xc0000, 5, 4);
    ck_assert_uint_eq(physmap_read_uint(map, 0xc0000, 4), 5);
    ck_assert_uint_eq(flushes, 5);
    ck_assert_int_eq(physmap_change(map, id, &shadow), ST_OK);
    ck_assert_uint_eq(flushes, 5); /* the same again is no change */
}
END_TEST

START_TEST(a20_masks_bit_20)
{
    u8 block[32];

    add_ram(0, MIB(4), 0);
    for (u64 at = 0; at < MIB(4); at += PAGE_SIZE)
        memset(ram.hva + at, (int)(at >> 20) + 1, PAGE_SIZE);
    ck_assert(physmap_a20(map));
    physmap_set_a20(map, true);
    ck_assert_uint_eq(flushes, 1);
    physmap_set_a20(map, false);
    ck_assert(!physmap_a20(map));
    ck_assert_uint_eq(flushes, 2);
    ck_assert_uint_eq(physmap_read_uint(map, MIB(1) + 7, 1), 1);
    ck_assert_uint_eq(physmap_read_uint(map, MIB(3), 1), 3);
    ck_assert_ptr_eq(hva_of(MIB(1) + PAGE_SIZE, true), ram.hva + PAGE_SIZE);
    ck_assert(physmap_read(map, MIB(2) - 16, block, 32)); /* 1 MiB - 16, then 2 MiB */
    ck_assert_uint_eq(block[15], 1);
    ck_assert_uint_eq(block[16], 3);
    ck_assert_ptr_null(physmap_ram_pointer(map, MIB(1) - 8, 16));
    ck_assert_ptr_eq(physmap_ram_pointer(map, MIB(1) - 8, 8), ram.hva + MIB(1) - 8);
    physmap_set_a20(map, true);
    ck_assert_ptr_eq(physmap_ram_pointer(map, MIB(1) - 8, 16), ram.hva + MIB(1) - 8);
    ck_assert_uint_eq(physmap_read_uint(map, MIB(1) + 7, 1), 2);
}
END_TEST

START_TEST(alias_of_ram_rom_mmio_and_hole)
{
    struct region rom_region = {.name = "rom",
                                .kind = REGION_ROM,
                                .access = REGION_RW,
                                .base = MIB(16),
                                .size = sizeof(rom),
                                .priority = PRIO_ROM,
                                .hva = rom};
    struct region dev = mmio_region(MIB(16) + sizeof(rom), PAGE_SIZE * 2);
    struct region alias = {.name = "alias",
                           .kind = REGION_ALIAS,
                           .access = REGION_RW,
                           .base = MIB(1),
                           .size = sizeof(rom) + PAGE_SIZE * 3,
                           .priority = PRIO_OVERLAY,
                           .target = MIB(16) - PAGE_SIZE};
    struct phys_page page;
    unsigned id;

    add_ram(0, MIB(2), 0);
    add(&rom_region);
    add(&dev);
    id = add(&alias);
    ck_assert_ptr_null(hva_of(MIB(1), false)); /* the hole below the ROM comes along */
    ck_assert_ptr_eq(hva_of(MIB(1) + PAGE_SIZE, false), rom);
    ck_assert_ptr_null(hva_of(MIB(1) + PAGE_SIZE, true));
    physmap_lookup(map, MIB(1) + 6 * PAGE_SIZE, false, &page);
    ck_assert_ptr_eq(page.region->self, &probe);
    ck_assert_uint_eq(page.offset, PAGE_SIZE);
    physmap_write_uint(map, MIB(1) + 6 * PAGE_SIZE + 4, 9, 2);
    ck_assert_uint_eq(probe.seen[0].offset, PAGE_SIZE + 4);
    ck_assert_ptr_eq(hva_of(MIB(1) + 7 * PAGE_SIZE, true), ram.hva + MIB(1) + 7 * PAGE_SIZE);
    alias.target = 0;
    ck_assert_int_eq(physmap_change(map, id, &alias), ST_OK);
    ck_assert_ptr_eq(hva_of(MIB(1) + PAGE_SIZE, true), ram.hva + PAGE_SIZE);
    ck_assert_ptr_eq(physmap_ram_pointer(map, MIB(1), 3 * PAGE_SIZE), ram.hva);
}
END_TEST

START_TEST(aliases_cannot_loop)
{
    struct region a = {.name = "a",
                       .kind = REGION_ALIAS,
                       .access = REGION_RW,
                       .base = MIB(8),
                       .size = PAGE_SIZE,
                       .priority = 5,
                       .target = MIB(8)};
    struct region b = a;

    add_ram(0, MIB(1), 0);
    add(&a); /* of itself: what lies below, nothing */
    ck_assert_ptr_null(hva_of(MIB(8), false));
    b.base = MIB(9);
    b.target = MIB(8);
    add(&b); /* of an alias of the same priority: does not see it */
    ck_assert_ptr_null(hva_of(MIB(9), false));
    a.base = MIB(10);
    a.target = 0;
    add(&a);
    b.base = MIB(11);
    b.target = MIB(10);
    b.priority = 6;
    add(&b); /* of a lower alias */
    ck_assert_ptr_eq(hva_of(MIB(11), true), ram.hva);
}
END_TEST

START_TEST(overlay_page_takes_writes_if_told)
{
    struct region overlay = {.name = "overlay",
                             .kind = REGION_ROM,
                             .access = REGION_RW,
                             .base = PAGE_SIZE,
                             .size = PAGE_SIZE,
                             .priority = PRIO_OVERLAY,
                             .hva = rom,
                             .writable_hva = true};
    unsigned id;

    add_ram(0, MIB(1), 0);
    id = add(&overlay);
    physmap_write_uint(map, PAGE_SIZE + 8, 0x77, 1);
    ck_assert_uint_eq(rom[8], 0x77);
    ck_assert_uint_eq(ram.hva[PAGE_SIZE + 8], 0);
    ck_assert_ptr_null(physmap_ram_pointer(map, PAGE_SIZE, 8));
    ck_assert_ptr_null(physmap_ram_pointer(map, 0, PAGE_SIZE + 1));
    physmap_remove(map, id);
    ck_assert_uint_eq(physmap_read_uint(map, PAGE_SIZE + 8, 1), 0);
}
END_TEST

START_TEST(dma_crosses_every_kind)
{
    struct region dev = mmio_region(2 * PAGE_SIZE, PAGE_SIZE);
    u8 buffer[PAGE_SIZE + 32];

    add_ram(PAGE_SIZE, PAGE_SIZE, 0);
    add(&dev);
    memset(ram.hva, 0x5a, PAGE_SIZE);
    ck_assert(!physmap_read(map, PAGE_SIZE - 5, buffer, sizeof(buffer)));
    ck_assert_uint_eq(buffer[4], 0xff);
    ck_assert_uint_eq(buffer[5], 0x5a);
    ck_assert_uint_eq(buffer[5 + PAGE_SIZE - 1], 0x5a);
    ck_assert_uint_eq(buffer[5 + PAGE_SIZE], 0x88);
    ck_assert_uint_eq(probe.count, 5); /* 27 bytes: 8, 8, 8, 2, 1 */
    ck_assert_uint_eq(probe.seen[4].offset, 26);
    memset(buffer, 1, sizeof(buffer));
    ck_assert(physmap_write(map, 2 * PAGE_SIZE - 3, buffer, 5));
    ck_assert_uint_eq(ram.hva[PAGE_SIZE - 4], 0x5a);
    ck_assert_uint_eq(ram.hva[PAGE_SIZE - 3], 1);
    ck_assert_uint_eq(probe.seen[5].size, 2);
    ck_assert_uint_eq(probe.seen[5].value, 0x0101);
}
END_TEST

START_TEST(device_access_of_a_vcpu_goes_whole)
{
    struct region dev = mmio_region(0, PAGE_SIZE);

    add(&dev);
    ck_assert_uint_eq(physmap_read_uint(map, 0x13, 8), 0x1122334455667788);
    physmap_write_uint(map, 0x21, 0xaabbccdd, 4);
    ck_assert_uint_eq(probe.count, 2);
    ck_assert_uint_eq(probe.seen[0].offset, 0x13);
    ck_assert_uint_eq(probe.seen[0].size, 8);
    ck_assert_uint_eq(probe.seen[1].offset, 0x21);
    ck_assert_uint_eq(probe.seen[1].value, 0xaabbccdd);
    ck_assert_uint_eq(physmap_read_uint(map, 0xffe, 4), 0xffff7788); /* runs off the device */
}
END_TEST

START_TEST(addresses_near_the_ends)
{
    static const u64 bases[] = {(1ull << 52) - 8, 1ull << 52, (1ull << 63) - 4, ~0ull - 7, ~0ull};
    u8 buffer[64];

    add_ram(0, MIB(1), 0);
    memset(ram.hva, 0x11, PAGE_SIZE);
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
        memset(buffer, 0, sizeof(buffer));
        ck_assert(!physmap_read(map, bases[i], buffer, sizeof(buffer)));
        for (unsigned n = 0; n < sizeof(buffer); n++)
            ck_assert_uint_eq(buffer[n], 0xff); /* does not wrap around to address 0 */
        ck_assert(!physmap_write(map, bases[i], buffer, sizeof(buffer)));
        ck_assert_ptr_null(physmap_ram_pointer(map, bases[i], 64));
    }
    ck_assert_uint_eq(ram.hva[0], 0x11);
    ck_assert_ptr_null(physmap_ram_pointer(map, 0, ~0ull));
    ck_assert_ptr_null(physmap_ram_pointer(map, PAGE_SIZE, ~0ull - 100));
    ck_assert_ptr_null(physmap_ram_pointer(map, 0, MIB(1) + 1));
    ck_assert_ptr_eq(physmap_ram_pointer(map, 0, MIB(1)), ram.hva);
}
END_TEST

START_TEST(ram_pointer_spans_adjacent_regions)
{
    add_ram(0, PAGE_SIZE, 0);
    add_ram(PAGE_SIZE, PAGE_SIZE, PAGE_SIZE);
    add_ram(2 * PAGE_SIZE, PAGE_SIZE, 8 * PAGE_SIZE);
    ck_assert_ptr_eq(physmap_ram_pointer(map, 100, 2 * PAGE_SIZE - 100), ram.hva + 100);
    ck_assert_ptr_null(physmap_ram_pointer(map, 100, 2 * PAGE_SIZE - 99));
    ck_assert_ptr_eq(physmap_ram_pointer(map, 2 * PAGE_SIZE, 1), ram.hva + 8 * PAGE_SIZE);
}
END_TEST

START_TEST(dma_invalidates_code)
{
    add_ram(0, MIB(1), 0);
    physmap_protect_code(map, ram.hva + PAGE_SIZE, 16);
    ck_assert_uint_eq(protects, 0); /* no TLB had a write entry */
    physmap_write_uint(map, PAGE_SIZE + 64, 1, 8);
    ck_assert_uint_eq(ram.code_epoch, 0);
    physmap_write_uint(map, PAGE_SIZE + 15, 1, 1);
    ck_assert_uint_eq(ram.code_epoch, 1);
    ck_assert(ram_note_writer(&ram, ram.hva + PAGE_SIZE));
    physmap_protect_code(map, ram.hva + PAGE_SIZE + 100, 16);
    ck_assert_uint_eq(protects, 1);
    ck_assert_ptr_eq(protected_page, ram.hva + PAGE_SIZE);
    physmap_protect_code(map, ram.hva + PAGE_SIZE + 300, 16);
    ck_assert_uint_eq(protects, 1);
    ck_assert_ptr_eq(physmap_ram(map), &ram);
}
END_TEST

static unsigned moved_id;
static struct region moved_region;

static void move_away(void)
{
    moved_region.base += PAGE_SIZE;
    ck_assert_int_eq(physmap_change(map, moved_id, &moved_region), ST_OK);
}

/* A BAR that moves under its own access: the rest of the access goes where the map says then. */
START_TEST(handler_moves_its_region)
{
    u8 buffer[24] = {0};

    add_ram(0, MIB(1), 0);
    moved_region = mmio_region(0, PAGE_SIZE);
    moved_id = add(&moved_region);
    probe.hook = move_away;
    buffer[8] = 9;
    ck_assert(physmap_write(map, 0, buffer, 24));
    ck_assert_uint_eq(probe.count, 1);
    ck_assert_uint_eq(ram.hva[8], 9);
    for (unsigned i = 1; i < 1000; i++) /* more changes than records rest for */
        physmap_read_uint(map, i * PAGE_SIZE, 4);
    ck_assert_uint_eq(probe.count, 1000);
    ck_assert_uint_eq(physmap_epoch(map), 1002);
}
END_TEST

/* A caller that holds a resolved page while handlers change the map still sees that device. */
START_TEST(region_pointers_outlive_changes)
{
    struct phys_page page;
    unsigned id;

    moved_region = mmio_region(0, PAGE_SIZE);
    id = add(&moved_region);
    physmap_lookup(map, 8, false, &page);
    moved_region.ops = NULL;
    moved_region.kind = REGION_HOLE;
    for (unsigned i = 0; i < 200; i++) {
        moved_region.base += PAGE_SIZE;
        ck_assert_int_eq(physmap_change(map, id, &moved_region), ST_OK);
        ck_assert_ptr_eq(page.region->ops, &probe_ops);
        ck_assert_ptr_eq(page.region->self, &probe);
    }
}
END_TEST

START_TEST(traces_mmio)
{
    struct region dev = mmio_region(0xfee00000, PAGE_SIZE);
    char *text = NULL;
    size_t length;

    log_.sink = open_memstream(&text, &length);
    log_.categories = LOG_MMIO;
    add(&dev);
    physmap_read_uint(map, 0xfee00020, 4);
    physmap_write_uint(map, 0xfee000b0, 0, 4);
    fclose(log_.sink);
    log_.sink = stderr;
    ck_assert_ptr_nonnull(strstr(text, "mmio read 0xfee00020 4 -> 0x55667788 (probe)"));
    ck_assert_ptr_nonnull(strstr(text, "mmio write 0xfee000b0 4 <- 0x0 (probe)"));
    free(text);
}
END_TEST

/* -- random layouts against a model that asks each page's regions from the top down -- */

enum { MODEL_PAGES = 64, MODEL_REGIONS = 12 };

struct model {
    struct region regions[MODEL_REGIONS];
    unsigned ids[MODEL_REGIONS];
    bool live[MODEL_REGIONS];
};

/* The hva (or the MMIO offset + 1) of a page as seen by regions below the priority limit. */
static u64 model_resolve(const struct model *m, u64 page, bool write, int limit)
{
    const struct region *best = NULL;
    u64 gpa = page * PAGE_SIZE;

    for (unsigned i = 0; i < MODEL_REGIONS; i++) {
        const struct region *r = &m->regions[i];

        if (m->live[i] && r->priority < limit && (r->access & (write ? 2 : 1)) && gpa >= r->base &&
            gpa < r->base + r->size && (!best || r->priority > best->priority))
            best = r;
    }
    if (!best || best->kind == REGION_HOLE)
        return 0;
    if (best->kind == REGION_RAM)
        return (u64)ram.hva + best->ram_offset + gpa - best->base;
    if (best->kind == REGION_ROM)
        return write && !best->writable_hva ? 2 : (u64)best->hva + gpa - best->base;
    if (best->kind == REGION_MMIO)
        return gpa - best->base + 1;
    return model_resolve(m, (best->target + gpa - best->base) / PAGE_SIZE, write, best->priority);
}

static struct region random_region(void)
{
    u64 pages = 1 + (unsigned)rand() % 16;
    struct region r =
        mmio_region((unsigned)rand() % (MODEL_PAGES - 16) * PAGE_SIZE, pages * PAGE_SIZE);

    r.kind = (enum region_kind)(rand() % 5);
    r.access = (enum region_access)(rand() % 4);
    r.priority = rand() % 5;
    r.ram_offset = (unsigned)rand() % 512 * PAGE_SIZE;
    r.target = (unsigned)rand() % (MODEL_PAGES - 16) * PAGE_SIZE;
    r.writable_hva = rand() & 1;
    r.hva = rom;
    if (r.kind == REGION_ROM && r.size > sizeof(rom))
        r.size = sizeof(rom);
    return r;
}

static void model_compare(const struct model *m)
{
    for (u64 page = 0; page < MODEL_PAGES; page++) {
        for (unsigned write = 0; write < 2; write++) {
            u64 want = model_resolve(m, page, write, 100), got = 0;
            struct phys_page p;

            physmap_lookup(map, page * PAGE_SIZE + 77, write, &p);
            if (p.hva)
                got = (u64)p.hva;
            else if (p.region)
                got = p.region->kind == REGION_ROM ? 2 : p.offset + 1;
            ck_assert_uint_eq(got, want);
        }
    }
}

START_TEST(random_layouts_match_the_model)
{
    struct model m = {0};

    srand(20240601);
    for (unsigned step = 0; step < 3000; step++) {
        unsigned i = (unsigned)rand() % MODEL_REGIONS;
        struct region r = random_region();

        if (m.live[i] && rand() % 3 == 0) {
            physmap_remove(map, m.ids[i]);
            m.live[i] = false;
        } else if (m.live[i]) {
            if (physmap_change(map, m.ids[i], &r) == ST_OK)
                m.regions[i] = r;
        } else if (physmap_add(map, &r, &m.ids[i]) == ST_OK) {
            m.regions[i] = r;
            m.live[i] = true;
        }
        model_compare(&m);
    }
}
END_TEST

/* -- lookups beside changes -- */

static bool stop_lookups;

static void *lookups(void *arg)
{
    u64 *bad = arg;

    while (!__atomic_load_n(&stop_lookups, __ATOMIC_RELAXED)) {
        struct phys_page page;

        physmap_lookup(map, PAGE_SIZE, false, &page);
        *bad += page.hva != ram.hva + PAGE_SIZE && page.hva != ram.hva + 9 * PAGE_SIZE;
        physmap_lookup(map, 0, true, &page);
        *bad += page.hva != ram.hva;
    }
    return NULL;
}

/* A page of Hv#1: loads see it, stores find no memory and what is below stays. */
START_TEST(read_only_memory_swallows_stores)
{
    struct region below = ram_region(0, MIB(1), 0), page = ram_region(0x5000, PAGE_SIZE, MIB(2));
    struct phys_page found;
    unsigned id;

    page.priority = PRIO_OVERLAY;
    page.write_faults = true;
    add(&below);
    ram.hva[0x5000] = 1;
    ram.hva[MIB(2)] = 2;
    id = add(&page);
    ck_assert_uint_eq(physmap_read_uint(map, 0x5000, 1), 2);
    ck_assert(physmap_write(map, 0x5000, "x", 1));
    ck_assert_uint_eq(ram.hva[MIB(2)], 2);
    ck_assert_uint_eq(ram.hva[0x5000], 1);
    physmap_lookup(map, 0x5000, true, &found);
    ck_assert(!found.hva && found.region->write_faults);
    ck_assert_ptr_null(physmap_ram_pointer(map, 0x5000, 8));
    page.write_faults = false;
    ck_assert_int_eq(physmap_change(map, id, &page), ST_OK);
    ck_assert(physmap_write(map, 0x5000, "x", 1));
    ck_assert_uint_eq(ram.hva[MIB(2)], 'x');
    physmap_remove(map, id);
    ck_assert_uint_eq(physmap_read_uint(map, 0x5000, 1), 1);
}
END_TEST

START_TEST(lookups_beside_changes_see_whole_views)
{
    struct region r = ram_region(PAGE_SIZE, PAGE_SIZE, 9 * PAGE_SIZE);
    pthread_t thread;
    u64 bad = 0;
    unsigned id;

    add_ram(0, 4 * PAGE_SIZE, 0);
    r.priority = 1;
    id = add(&r);
    stop_lookups = false;
    pthread_create(&thread, NULL, lookups, &bad);
    for (unsigned i = 0; i < 20000; i++) {
        r.access = i & 1 ? REGION_RW : 0;
        ck_assert_int_eq(physmap_change(map, id, &r), ST_OK);
    }
    __atomic_store_n(&stop_lookups, true, __ATOMIC_RELAXED);
    pthread_join(thread, NULL);
    ck_assert_uint_eq(bad, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("physmap");
    TCase *tc = tcase_create("physmap");

    tcase_set_timeout(tc, 60);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, empty_map_is_a_hole);
    tcase_add_test(tc, refuses_bad_regions);
    tcase_add_test(tc, overlap_needs_same_priority_and_access);
    tcase_add_test(tc, higher_priority_hides_lower);
    tcase_add_test(tc, pam_states);
    tcase_add_test(tc, a20_masks_bit_20);
    tcase_add_test(tc, alias_of_ram_rom_mmio_and_hole);
    tcase_add_test(tc, aliases_cannot_loop);
    tcase_add_test(tc, overlay_page_takes_writes_if_told);
    tcase_add_test(tc, dma_crosses_every_kind);
    tcase_add_test(tc, device_access_of_a_vcpu_goes_whole);
    tcase_add_test(tc, addresses_near_the_ends);
    tcase_add_test(tc, ram_pointer_spans_adjacent_regions);
    tcase_add_test(tc, dma_invalidates_code);
    tcase_add_test(tc, handler_moves_its_region);
    tcase_add_test(tc, region_pointers_outlive_changes);
    tcase_add_test(tc, traces_mmio);
    tcase_add_test(tc, random_layouts_match_the_model);
    tcase_add_test(tc, read_only_memory_swallows_stores);
    tcase_add_test(tc, lookups_beside_changes_see_whole_views);
    suite_add_tcase(suite, tc);
    return suite_run(suite);
}
