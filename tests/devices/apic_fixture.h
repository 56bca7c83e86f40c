/* SPDX-License-Identifier: MIT
 *
 * Local APICs on an APIC bus, with a clock the test turns by hand and recorded upcalls.
 */
#pragma once

#include <check.h>
#include <stdlib.h>

#include "devices/apic/lapic.h"

enum { FIXTURE_CPUS = 4, FIXTURE_TSC_PER_NS = 3 };

struct fixture_cpu {
    struct fixture *fixture;
    struct lapic *lapic;
    bool intr;
    unsigned intr_changes, nmis, smis, inits, sipis, intas;
    u8 sipi_vector;
    bool mapped;
    u64 map_base;
};

struct fixture {
    struct log log;
    struct clock clock;
    u64 now;
    struct device_env env;
    struct apic_bus bus;
    struct fixture_cpu cpus[FIXTURE_CPUS];
    unsigned count;
    u64 random;
    unsigned eois; /* EOI messages on the bus, when fixture_record_eois() was called */
    u8 eoi_vector;
};

static inline u64 fixture_now(void *source)
{
    return ((struct fixture *)source)->now;
}

static inline void fixture_intr(void *opaque, bool pending)
{
    struct fixture_cpu *cpu = opaque;

    cpu->intr = pending;
    cpu->intr_changes++;
}

static inline void fixture_nmi(void *opaque)
{
    ((struct fixture_cpu *)opaque)->nmis++;
}

static inline void fixture_smi(void *opaque)
{
    ((struct fixture_cpu *)opaque)->smis++;
}

static inline void fixture_init_signal(void *opaque)
{
    ((struct fixture_cpu *)opaque)->inits++;
}

static inline void fixture_sipi(void *opaque, u8 vector)
{
    struct fixture_cpu *cpu = opaque;

    cpu->sipis++;
    cpu->sipi_vector = vector;
}

/* The 8259 answers with vector 70h and drops its line. */
static inline u8 fixture_inta(void *opaque)
{
    struct fixture_cpu *cpu = opaque;

    cpu->intas++;
    lapic_set_lint(cpu->lapic, LAPIC_LINT0, false);
    return 0x70;
}

static inline void fixture_map(void *opaque, bool mapped, u64 gpa)
{
    struct fixture_cpu *cpu = opaque;

    cpu->mapped = mapped;
    cpu->map_base = gpa;
}

static inline u64 fixture_tsc_to_ns(void *opaque, u64 tsc)
{
    (void)opaque;
    return tsc / FIXTURE_TSC_PER_NS + (tsc % FIXTURE_TSC_PER_NS != 0);
}

static inline void fixture_add(struct fixture *f, u32 apic_id, u64 bus_hz)
{
    struct fixture_cpu *cpu = &f->cpus[f->count];
    struct lapic_config config = {
        .bus = &f->bus,
        .sink = {fixture_intr, fixture_nmi, fixture_smi, fixture_init_signal, fixture_sipi,
                 fixture_inta, fixture_map, fixture_tsc_to_ns, cpu},
        .apic_id = apic_id,
        .bsp = f->count == 0,
        .x2apic = true,
        .tsc_deadline = true,
        .bus_hz = bus_hz,
        .maxphyaddr = 40,
    };
    struct error err;

    cpu->fixture = f;
    cpu->lapic = calloc(1, lapic_type.state_size);
    ck_assert_ptr_nonnull(cpu->lapic);
    ck_assert_int_eq(lapic_type.init(cpu->lapic, &f->env, &config, &err), ST_OK);
    lapic_type.reset(cpu->lapic);
    f->count++;
}

/* cpus local APICs with IDs 0, 1, ... */
static inline void fixture_setup(struct fixture *f, unsigned cpus)
{
    struct error err;

    *f = (struct fixture){.random = 0x2545f4914f6cdd1dull};
    log_init(&f->log);
    clock_init(&f->clock, fixture_now, NULL, f, 0);
    f->env = (struct device_env){.clock = &f->clock, .log = &f->log};
    ck_assert_int_eq(apic_bus_create(&f->bus, FIXTURE_CPUS, &err), ST_OK);
    for (unsigned i = 0; i < cpus; i++)
        fixture_add(f, i, NS_PER_SECOND);
}

static inline void fixture_teardown(struct fixture *f)
{
    for (unsigned i = 0; i < f->count; i++) {
        lapic_type.fini(f->cpus[i].lapic);
        free(f->cpus[i].lapic);
    }
    apic_bus_destroy(&f->bus);
    log_fini(&f->log);
}

static inline void fixture_eoi(void *opaque, u8 vector)
{
    struct fixture *f = opaque;

    f->eois++;
    f->eoi_vector = vector;
}

static inline void fixture_record_eois(struct fixture *f)
{
    apic_bus_listen(&f->bus, (struct apic_bus_listener){fixture_eoi, NULL, f});
}

static inline u32 reg_read(struct fixture *f, unsigned cpu, u64 offset)
{
    return (u32)io_read(&lapic_mmio_ops, f->cpus[cpu].lapic, offset, 4);
}

static inline void reg_write(struct fixture *f, unsigned cpu, u64 offset, u32 value)
{
    io_write(&lapic_mmio_ops, f->cpus[cpu].lapic, offset, value, 4);
}

static inline bool msr_write(struct fixture *f, unsigned cpu, u32 msr, u64 value)
{
    return lapic_msr_write(f->cpus[cpu].lapic, msr, value);
}

static inline u64 msr_read(struct fixture *f, unsigned cpu, u32 msr)
{
    u64 value = 0;

    ck_assert(lapic_msr_read(f->cpus[cpu].lapic, msr, &value));
    return value;
}

/* Software-enables an APIC, spurious vector FFh. */
static inline void fixture_enable(struct fixture *f, unsigned cpu)
{
    reg_write(f, cpu, 0xf0, 0x1ff);
}

static inline void fixture_x2apic(struct fixture *f, unsigned cpu)
{
    struct lapic *l = f->cpus[cpu].lapic;

    ck_assert(lapic_base_write(l, lapic_base_read(l) | LAPIC_BASE_EXTD));
}

static inline bool reg_bit(struct fixture *f, unsigned cpu, u64 offset, u8 vector)
{
    return reg_read(f, cpu, offset + vector / 32 * 16) >> vector % 32 & 1;
}

static inline bool requested(struct fixture *f, unsigned cpu, u8 vector)
{
    return reg_bit(f, cpu, 0x200, vector);
}

static inline bool in_service(struct fixture *f, unsigned cpu, u8 vector)
{
    return reg_bit(f, cpu, 0x100, vector);
}

/* A message from a device. */
static inline bool fixture_interrupt(struct fixture *f, u8 destination, u8 vector, bool level)
{
    return apic_bus_send(&f->bus, &(struct apic_message){.destination = destination,
                                                         .vector = vector,
                                                         .mode = APIC_FIXED,
                                                         .level = level});
}

static inline void fixture_run_until(struct fixture *f, u64 when)
{
    u64 next;

    while ((next = clock_next_deadline(&f->clock)) <= when) {
        if (next > f->now)
            f->now = next;
        clock_run(&f->clock);
    }
    f->now = when;
}

static inline u64 fixture_random(struct fixture *f)
{
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}
