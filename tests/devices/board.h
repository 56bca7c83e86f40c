/* SPDX-License-Identifier: MIT
 *
 * Several devices around one PCI bus, with RAM, ports, a clock the test turns by hand and sixteen
 * recorded interrupt lines. Registers are reached as a guest does: ports and physical addresses.
 */
#pragma once

#include <check.h>
#include <stdlib.h>

#include "devices/pci/pci.h"
#include "mem/ram.h"

enum { BOARD_PARTS = 8, BOARD_LINES = 16 };

struct board_part {
    const struct device_type *type;
    void *self;
};

struct board {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct pio_bus pio;
    struct clock clock;
    u64 now;
    unsigned ram_region;
    bool levels[BOARD_LINES];
    struct irq_line lines[BOARD_LINES];
    struct board_part parts[BOARD_PARTS];
    unsigned count;
    struct pci_bus *pci;
    unsigned soft_resets, hard_resets, soft_offs;
    u64 random;
};

static inline u64 board_now(void *source)
{
    return ((struct board *)source)->now;
}

static inline void board_line(void *opaque, unsigned pin, bool level)
{
    ((struct board *)opaque)->levels[pin] = level;
}

static inline void board_reset_request(void *opaque, bool hard)
{
    struct board *b = opaque;

    if (hard)
        b->hard_resets++;
    else
        b->soft_resets++;
}

static inline void board_soft_off(void *opaque)
{
    ((struct board *)opaque)->soft_offs++;
}

/* Adds a part with its ports at base and its pins at lines first_line, ... */
static inline void *board_add(struct board *b, const struct device_type *type, u16 base,
                              unsigned first_line, const void *config)
{
    struct device_env env = {
        .clock = &b->clock,
        .log = &b->log,
        .map = b->map,
        .pio = &b->pio,
        .irq = &b->lines[first_line],
        .irq_count = type->irq_pins,
    };
    struct board_part *part = &b->parts[b->count];
    struct error err;

    ck_assert_uint_lt(b->count, BOARD_PARTS);
    ck_assert_uint_le(first_line + type->irq_pins, BOARD_LINES);
    *part = (struct board_part){type, calloc(1, type->state_size)};
    ck_assert_ptr_nonnull(part->self);
    ck_assert_int_eq(type->init(part->self, &env, config, &err), ST_OK);
    for (const struct device_pio *p = type->pio; p && p->size; p++)
        ck_assert_int_eq(
            pio_claim(&b->pio, (u16)(base + p->base), p->size, &p->ops, part->self, type->name),
            ST_OK);
    type->reset(part->self);
    b->count++;
    return part->self;
}

/* 2 MiB of RAM and a PCI bus. */
static inline void board_setup(struct board *b)
{
    struct region ram = {.name = "RAM", .kind = REGION_RAM, .access = REGION_RW, .size = MIB(2)};
    struct error err;

    *b = (struct board){.random = 0x9e3779b97f4a7c15ull};
    log_init(&b->log);
    clock_init(&b->clock, board_now, NULL, b, 0);
    ck_assert_int_eq(ram_create(&b->ram, MIB(2), &err), ST_OK);
    ck_assert_int_eq(physmap_create(&b->map, &b->ram, &b->log, &err), ST_OK);
    ck_assert_int_eq(physmap_add(b->map, &ram, &b->ram_region), ST_OK);
    ck_assert_int_eq(pio_bus_create(&b->pio, &b->log, &err), ST_OK);
    for (unsigned i = 0; i < BOARD_LINES; i++)
        b->lines[i] = (struct irq_line){board_line, b, i};
    b->pci = board_add(b, &pci_bus_type, 0xcf8, 0, NULL);
}

static inline void board_teardown(struct board *b)
{
    while (b->count-- > 0) {
        const struct board_part *part = &b->parts[b->count];

        if (part->type->fini)
            part->type->fini(part->self);
        free(part->self);
    }
    pio_bus_destroy(&b->pio);
    physmap_destroy(b->map);
    ram_destroy(&b->ram);
    log_fini(&b->log);
}

static inline u32 board_in(struct board *b, u16 port, unsigned size)
{
    return (u32)pio_read(&b->pio, port, size);
}

static inline void board_out(struct board *b, u16 port, u32 value, unsigned size)
{
    pio_write(&b->pio, port, value, size);
}

static inline u32 config_get(struct board *b, u8 devfn, u8 reg, unsigned size)
{
    board_out(b, 0xcf8, 0x80000000u | (u32)devfn << 8 | (reg & 0xfc), 4);
    return board_in(b, 0xcfc + (reg & 3), size);
}

static inline void config_put(struct board *b, u8 devfn, u8 reg, u32 value, unsigned size)
{
    board_out(b, 0xcf8, 0x80000000u | (u32)devfn << 8 | (reg & 0xfc), 4);
    board_out(b, 0xcfc + (reg & 3), value, size);
}

static inline void board_run_until(struct board *b, u64 when)
{
    u64 next;

    while ((next = clock_next_deadline(&b->clock)) <= when) {
        if (next > b->now)
            b->now = next;
        clock_run(&b->clock);
    }
    b->now = when;
}

static inline u64 board_random(struct board *b)
{
    b->random ^= b->random << 13;
    b->random ^= b->random >> 7;
    b->random ^= b->random << 17;
    return b->random;
}

/* A hostile guest: count random configuration accesses to the functions of devfns, and accesses of
 * every size to ports, time going by in steps from nothing to days. */
static inline void board_fuzz(struct board *b, const u8 *devfns, unsigned devfn_count,
                              const u16 *ports, unsigned port_count, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        u64 r = board_random(b), value = board_random(b) >> (r >> 58);
        unsigned size = 1u << (r >> 8) % 3;
        u8 reg = (u8)(r >> 16), devfn = devfns[(r >> 24) % devfn_count];
        u16 port = ports[(r >> 32) % port_count];

        switch (r % 8) {
        case 0 ... 1: config_put(b, devfn, reg, (u32)value, size); break;
        case 2: config_get(b, devfn, reg, size); break;
        case 3 ... 4: board_out(b, port, (u32)value, size); break;
        case 5: board_in(b, port, size); break;
        case 6: physmap_read_uint(b->map, r >> 20 & 0x1fffff, 4); break;
        default:
            b->now += value >> 16;
            clock_run(&b->clock);
            break;
        }
        if ((r >> 50) % 4096 == 0)
            for (unsigned part = 0; part < b->count; part++)
                b->parts[part].type->reset(b->parts[part].self);
    }
}
