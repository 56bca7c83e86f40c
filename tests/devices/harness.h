/* SPDX-License-Identifier: MIT
 *
 * One device on a bus of its own, with a clock the test turns by hand and recorded output lines.
 * Tests reach registers through the port bus only, as a guest does.
 */
#pragma once

#include <check.h>
#include <stdlib.h>

#include "devices/device.h"
#include "mem/ram.h"

enum { HARNESS_PINS = 24 };

struct harness_pin {
    bool level;
    unsigned rises;
    unsigned falls;
};

struct harness {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct pio_bus pio;
    struct clock clock;
    u64 now; /* ns, what the clock shows */
    struct harness_pin pins[HARNESS_PINS];
    struct irq_line lines[HARNESS_PINS];
    struct device_env env;
    const struct device_type *type;
    void *self;
    u64 random;
};

static inline u64 harness_now(void *source)
{
    return ((struct harness *)source)->now;
}

static inline void harness_pin_set(void *opaque, unsigned pin, bool level)
{
    struct harness_pin *p = &((struct harness *)opaque)->pins[pin];

    p->rises += level && !p->level;
    p->falls += !level && p->level;
    p->level = level;
}

static inline void harness_setup(struct harness *h, const struct device_type *type,
                                 const void *config, u64 wall_start_ns)
{
    struct error err;

    *h = (struct harness){.type = type, .random = 0x9e3779b97f4a7c15ull};
    log_init(&h->log);
    clock_init(&h->clock, harness_now, NULL, h, wall_start_ns);
    ck_assert_int_eq(ram_create(&h->ram, MIB(1), &err), ST_OK);
    ck_assert_int_eq(physmap_create(&h->map, &h->ram, &h->log, &err), ST_OK);
    ck_assert_int_eq(pio_bus_create(&h->pio, &h->log, &err), ST_OK);
    for (unsigned i = 0; i < HARNESS_PINS; i++)
        h->lines[i] = (struct irq_line){.set = harness_pin_set, .opaque = h, .pin = i};
    h->env = (struct device_env){
        .clock = &h->clock,
        .log = &h->log,
        .map = h->map,
        .pio = &h->pio,
        .irq = h->lines,
        .irq_count = type->irq_pins,
    };
    ck_assert_uint_le(type->irq_pins, HARNESS_PINS);
    h->self = calloc(1, type->state_size);
    ck_assert_ptr_nonnull(h->self);
    ck_assert_int_eq(type->init(h->self, &h->env, config, &err), ST_OK);
    for (const struct device_pio *p = type->pio; p && p->size; p++)
        ck_assert_int_eq(pio_claim(&h->pio, p->base, p->size, &p->ops, h->self, type->name), ST_OK);
    type->reset(h->self);
}

static inline void harness_teardown(struct harness *h)
{
    if (h->type->fini)
        h->type->fini(h->self);
    free(h->self);
    pio_bus_destroy(&h->pio);
    physmap_destroy(h->map);
    ram_destroy(&h->ram);
    log_fini(&h->log);
}

static inline u8 in8(struct harness *h, u16 port)
{
    return (u8)pio_read(&h->pio, port, 1);
}

static inline void out8(struct harness *h, u16 port, unsigned value)
{
    pio_write(&h->pio, port, value, 1);
}

/* Turns the clock to when (ns since power-on), firing every timer on the way at its own time. */
static inline void harness_run_until(struct harness *h, u64 when)
{
    u64 next;

    while ((next = clock_next_deadline(&h->clock)) <= when) {
        if (next > h->now)
            h->now = next;
        clock_run(&h->clock);
    }
    h->now = when;
}

static inline void harness_run_for(struct harness *h, u64 ns)
{
    harness_run_until(h, h->now + ns);
}

/* Turns the clock in one step, as a host does that was away: timers fire late. */
static inline void harness_jump(struct harness *h, u64 ns)
{
    h->now += ns;
    clock_run(&h->clock);
}

static inline u64 harness_random(struct harness *h)
{
    h->random ^= h->random << 13;
    h->random ^= h->random >> 7;
    h->random ^= h->random << 17;
    return h->random;
}

/* A hostile guest: count random accesses to the count_ports ports, of every size, with time going
 * by in steps from nothing to days. each (may be NULL) is called after every access. */
static inline void harness_fuzz(struct harness *h, const u16 *ports, unsigned count_ports,
                                unsigned count, void (*each)(struct harness *h))
{
    for (unsigned i = 0; i < count; i++) {
        u64 r = harness_random(h);
        u16 port = ports[(r >> 8) % count_ports];
        unsigned size = 1u << (r & 7) % 3;

        if (r & 8)
            size = 1;
        if (r & 16)
            pio_read(&h->pio, port, size);
        else
            pio_write(&h->pio, port, harness_random(h), size);
        if ((r >> 32) % 4 == 0)
            harness_jump(h, harness_random(h) >> (16 + (r >> 40) % 48));
        if (each)
            each(h);
        if ((r >> 50) % 4096 == 0)
            h->type->reset(h->self);
    }
}
