/* SPDX-License-Identifier: MIT
 *
 * A CPU-only machine: one processor, and in place of a platform what the program maps.
 */
#include <stdlib.h>
#include <sys/random.h>

#include "cpu/cpuid.h"
#include "jit/jit.h"
#include "machine/library/library.h"

#define CELL_APIC_BUS_HZ 1000000000ull
#define CELL_MEMORY      GIB(4)
#define CELL_MEMORY_MAX  GIB(1024)

/* -- what the processor asks of its platform -- */

/* The highest requested vector that CR8 lets through (SDM 3A 10.8.3), or -1. */
static int deliverable(const struct cell *cell)
{
    for (int word = 3; word >= 0; word--) {
        u64 bits = __atomic_load_n(&cell->interrupts[word], __ATOMIC_SEQ_CST);
        int vector = bits ? word * 64 + 63 - __builtin_clzll(bits) : -1;

        if (bits)
            return (u64)vector >> 4 > cell->cr8 ? vector : -1;
    }
    return -1;
}

static void update_interrupt(struct cell *cell)
{
    vcpu_clear_signal(cell->vcpu, EVENT_INTR);
    if (deliverable(cell) >= 0)
        vcpu_signal(cell->vcpu, EVENT_INTR);
}

void cell_interrupt(struct cell *cell, u8 vector)
{
    __atomic_or_fetch(&cell->interrupts[vector / 64], BIT(vector % 64), __ATOMIC_SEQ_CST);
    vcpu_signal(cell->vcpu, EVENT_INTR);
}

static int cell_acknowledge(void *opaque, struct vcpu *v)
{
    struct cell *cell = opaque;
    int vector;

    (void)v;
    vector = deliverable(cell);
    if (vector >= 0)
        __atomic_and_fetch(&cell->interrupts[vector / 64], ~BIT(vector % 64), __ATOMIC_SEQ_CST);
    update_interrupt(cell);
    return vector;
}

static u64 cell_cr8_read(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct cell *)opaque)->cr8;
}

static void cell_cr8_write(void *opaque, struct vcpu *v, u64 value)
{
    struct cell *cell = opaque;

    (void)v;
    cell->cr8 = value & 15;
    update_interrupt(cell);
}

static u64 cell_tsc(void *opaque, struct vcpu *v)
{
    (void)v;
    return time_tsc(&((struct cell *)opaque)->time);
}

static void cell_reset(void *opaque, struct vcpu *v, bool init)
{
    struct cell *cell = opaque;

    (void)v;
    if (!init)
        cell->cr8 = 0;
    for (unsigned n = 0; !init && n < ARRAY_SIZE(cell->interrupts); n++)
        __atomic_store_n(&cell->interrupts[n], 0, __ATOMIC_SEQ_CST);
    if (cell->vcpu && !init)
        vcpu_clear_signal(cell->vcpu, EVENT_INTR);
}

/* Counted time: a fixed sequence (splitmix64), so that runs repeat. */
static bool cell_random(void *opaque, struct vcpu *v, u64 *value)
{
    struct cell *cell = opaque;
    u64 z;

    (void)v;
    if (cell->time.kind == TIME_REAL)
        return getrandom(value, sizeof(*value), GRND_NONBLOCK) == sizeof(*value);
    z = cell->random += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    *value = z ^ z >> 31;
    return true;
}

static void flush_all(void *opaque)
{
    struct cell *cell = opaque;

    if (cell->vcpu)
        tlb_flush_all(&cell->vcpu->tlb);
}

static void drop_write(void *opaque, const u8 *page_hva)
{
    struct cell *cell = opaque;

    if (cell->vcpu)
        tlb_drop_write(&cell->vcpu->tlb, page_hva);
}

/* -- life -- */

static enum status create_memory(struct cell *cell, u64 limit, struct log *log, struct error *err)
{
    enum status st;

    if (!limit)
        limit = CELL_MEMORY;
    if (limit % PAGE_SIZE || limit > CELL_MEMORY_MAX)
        return error_set(err, ST_INVALID,
                         "memory_limit is %llu; it must be a multiple of 4096 up to 1 TiB.",
                         (unsigned long long)limit);
    st = ram_create(&cell->ram, limit, err);
    if (!st)
        st = physmap_create(&cell->map, &cell->ram, log, err);
    if (!st)
        st = pio_bus_create(&cell->pio, log, err);
    return st;
}

static enum status create_model(struct cell *cell, const char *spec, struct error *err)
{
    const struct cpu_topology topology = {1, 1, 1};

    cell->model = calloc(1, sizeof(*cell->model));
    if (!cell->model)
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    return cpu_model_parse(cell->model, spec ? spec : "", &topology, cell->time.tsc_hz,
                           CELL_APIC_BUS_HZ, err);
}

static enum status create_vcpu(struct cell *cell, struct log *log, struct error *err)
{
    enum status st;

    cell->platform = (struct vcpu_platform){
        .opaque = cell,
        .pio = &cell->pio,
        .intr_acknowledge = cell_acknowledge,
        .cr8_read = cell_cr8_read,
        .cr8_write = cell_cr8_write,
        .tsc = cell_tsc,
        .reset = cell_reset,
        .random = cell_random,
        .tsc_hz = cell->time.tsc_hz,
        .apic_bus_hz = CELL_APIC_BUS_HZ,
    };
    st = vcpu_create(&cell->vcpu, 0, 0, cell->map, cell->model, &cell->platform, log, err);
    if (!st)
        physmap_set_listeners(cell->map, flush_all, drop_write, cell);
    return st;
}

enum status cell_create(struct cell **out, const struct lockstep_cpu_config *config,
                        struct log *log, struct error *err)
{
    u64 ips = config->instructions_per_second ? config->instructions_per_second : TIME_COUNTED_IPS;
    const struct jit_options jit = {.optimisations = JIT_ALL, .counted = true};
    struct cell *cell = calloc(1, sizeof(*cell));
    enum status st;

    *out = cell; /* also when something fails: destroyed with the machine */
    if (!cell)
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    cell->ram.fd = -1;
    time_init(&cell->time, config->clock == LOCKSTEP_CLOCK_REAL ? TIME_REAL : TIME_COUNTED, ips);
    st = create_model(cell, config->model, err);
    if (!st)
        st = create_memory(cell, config->memory_limit, log, err);
    if (!st)
        st = create_vcpu(cell, log, err);
    if (!st && config->engine == LOCKSTEP_ENGINE_JIT)
        st = jit_create(cell->vcpu, &jit, err);
    return st;
}

void cell_destroy(struct cell *cell)
{
    if (!cell)
        return;
    if (cell->vcpu)
        jit_destroy(cell->vcpu);
    vcpu_destroy(cell->vcpu);
    cell_mappings_destroy(cell);
    if (cell->pio.claims)
        pio_bus_destroy(&cell->pio);
    physmap_destroy(cell->map);
    if (cell->ram.hva)
        ram_destroy(&cell->ram);
    free(cell->model);
    free(cell);
}
