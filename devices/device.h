/* SPDX-License-Identifier: MIT
 *
 * What a device is: one static description, one state struct, one line in machine/pc.def.
 *
 * A device does not know where it is mapped, who listens to its interrupt, what the host's time is
 * or which thread it runs on (always under the machine lock). All of its state sits in its struct;
 * the save list names every field that a snapshot must carry.
 */
#pragma once

#include "devices/clock.h"
#include "devices/irq.h"
#include "mem/base/log.h"
#include "mem/base/status.h"
#include "mem/bus.h"
#include "mem/physmap.h"

/* What a device is handed at construction; all pointers outlive it. */
struct device_env {
    struct clock *clock;
    struct log *log;
    struct physmap *map;        /* for DMA and for devices that map regions */
    struct pio_bus *pio;        /* for devices whose ports move at run time (PCI BARs, PM base) */
    const struct irq_line *irq; /* irq_count lines, in the device's own pin order */
    unsigned irq_count;
};

/* Drives output pin of the device that env belongs to; a pin the machine left out swallows it. */
static inline void device_irq_set(const struct device_env *env, unsigned pin, bool level)
{
    if (pin < env->irq_count)
        irq_set(&env->irq[pin], level);
}

static inline void device_irq_pulse(const struct device_env *env, unsigned pin)
{
    device_irq_set(env, pin, true);
    device_irq_set(env, pin, false);
}

/* One port range of a device; base is relative to the part's base in machine/pc.def. */
struct device_pio {
    u16 base;
    u16 size;
    struct io_ops ops;
};

/* One field of the state struct that a snapshot carries. */
struct device_field {
    const char *name;
    u32 offset;
    u32 size;
};
/* A row of a save list: DEVICE_FIELD(i8254, counter) is the member counter of struct i8254. */
// clang-format off
#define DEVICE_FIELD(type, field) \
    {#field, offsetof(struct type, field), sizeof(((struct type *)0)->field)}
// clang-format on

struct device_type {
    const char *name;             /* the chip's name: "i8254" */
    size_t state_size;            /* bytes, zeroed before init */
    unsigned irq_pins;            /* output lines it drives */
    const struct device_pio *pio; /* ends with size 0; may be NULL */
    /* config is the device's own config struct (documented in its header) or NULL. */
    enum status (*init)(void *self, const struct device_env *env, const void *config,
                        struct error *err);
    void (*reset)(void *self); /* to power-on state; called once after init and on every reset */
    void (*fini)(void *self);  /* may be NULL */
    const struct device_field *save; /* ends with name NULL */
};
