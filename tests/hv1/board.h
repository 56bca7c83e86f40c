/* SPDX-License-Identifier: MIT
 *
 * A partition without a machine: RAM, memory map, up to 4 vCPUs that nobody runs, a TSC and a clock
 * that the test turns by hand, and a record of what Hv#1 asked for.
 */
#pragma once

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/msr.h"
#include "hv1/internal.h"
#include "mem/base/bits.h"

enum { BOARD_CPUS = 4, BOARD_RAM = 1 << 20, BOARD_IPIS = 64 };
#define BOARD_HZ 1000000000ull /* one TSC cycle a nanosecond: 100 of them are one unit of time */

struct board {
    struct log log;
    struct ram ram;
    struct physmap *map;
    struct clock clock;
    struct cpu_model model;
    struct vcpu_platform platform;
    struct vcpu *v[BOARD_CPUS];
    struct hv1 *hv1;
    u64 now; /* ns, and TSC */
    unsigned ipis;
    struct {
        unsigned cpu;
        u8 vector;
    } ipi[BOARD_IPIS];
    unsigned eois, flushes, idles, yields, resets, settles, locks, locked;
    struct hv1_flush flush;
    struct tlb_range range[512];
    u64 icr;
    u8 tpr;
    char *log_text;
    size_t log_size;
};

static inline u64 board_tsc(void *opaque)
{
    return ((struct board *)opaque)->now;
}

static inline u64 board_tsc_to_ns(void *opaque, u64 tsc)
{
    (void)opaque;
    return tsc;
}

static inline u64 board_runtime(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct board *)opaque)->now / 2;
}

static inline void board_interrupt(void *opaque, struct vcpu *v, u8 vector)
{
    struct board *b = opaque;

    b->ipi[b->ipis % BOARD_IPIS].cpu = v->index;
    b->ipi[b->ipis++ % BOARD_IPIS].vector = vector;
}

static inline void board_settle(void *opaque, struct vcpu *v)
{
    (void)v;
    ((struct board *)opaque)->settles++;
}

static inline void board_eoi(void *opaque, struct vcpu *v)
{
    (void)v;
    ((struct board *)opaque)->eois++;
}

static inline u64 board_icr_read(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct board *)opaque)->icr;
}

static inline void board_icr_write(void *opaque, struct vcpu *v, u64 value)
{
    (void)v;
    ((struct board *)opaque)->icr = value;
}

static inline u8 board_tpr_read(void *opaque, struct vcpu *v)
{
    (void)v;
    return ((struct board *)opaque)->tpr;
}

static inline void board_tpr_write(void *opaque, struct vcpu *v, u8 value)
{
    (void)v;
    ((struct board *)opaque)->tpr = value;
}

static inline void board_flush(void *opaque, struct vcpu *from, const struct hv1_flush *flush)
{
    struct board *b = opaque;

    (void)from;
    b->flushes++;
    b->flush = *flush;
    if (!flush->what.all)
        memcpy(b->range, flush->what.ranges, flush->what.count * sizeof(b->range[0]));
}

static inline void board_idle(void *opaque, struct vcpu *v)
{
    (void)v;
    ((struct board *)opaque)->idles++;
}

static inline void board_yield(void *opaque, struct vcpu *v)
{
    (void)v;
    ((struct board *)opaque)->yields++;
}

static inline void board_reset(void *opaque)
{
    ((struct board *)opaque)->resets++;
}

/* Every lock is released: locks is back at 0 whenever the test looks; locked only grows. */
static inline void board_lock(void *opaque)
{
    ((struct board *)opaque)->locks++;
    ((struct board *)opaque)->locked++;
}

static inline void board_unlock(void *opaque)
{
    ((struct board *)opaque)->locks--;
}

static inline u64 board_now(void *source)
{
    return ((struct board *)source)->now;
}

static inline u64 board_cpu_tsc(void *opaque, struct vcpu *v)
{
    (void)v;
    return board_tsc(opaque);
}

static inline void board_cpu_tsc_changed(void *opaque, struct vcpu *v)
{
    struct board *b = opaque;

    (void)v;
    if (b->hv1)
        hv1_tsc_changed(b->hv1);
}

static inline void board_cpu_reset(void *opaque, struct vcpu *v, bool init)
{
    (void)opaque, (void)v, (void)init;
}

static inline void board_create_model(struct board *b, u64 hz)
{
    b->model = (struct cpu_model){.vendor = "AuthenticAMD",
                                  .topology = {1, BOARD_CPUS, 1},
                                  .maxphyaddr = 40,
                                  .linear_bits = 48,
                                  .tsc_hz = hz,
                                  .apic_bus_hz = 1000000000,
                                  .cpuid_range_first = 1};
    memset(&b->model.features, 0xff, sizeof(b->model.features));
}

static inline void board_memory(struct board *b)
{
    const struct region region = {.name = "ram",
                                  .kind = REGION_RAM,
                                  .access = REGION_RW,
                                  .size = BOARD_RAM,
                                  .priority = PRIO_RAM};
    unsigned id;

    ck_assert_int_eq(ram_create(&b->ram, BOARD_RAM + hv1_ram_size(BOARD_CPUS), NULL), ST_OK);
    ck_assert_int_eq(physmap_create(&b->map, &b->ram, &b->log, NULL), ST_OK);
    ck_assert_int_eq(physmap_add(b->map, &region, &id), ST_OK);
}

static inline struct hv1_config board_config(struct board *b, const struct hv1_profile *profile)
{
    return (struct hv1_config){.profile = *profile,
                               .platform = {.opaque = b,
                                            .lock = board_lock,
                                            .unlock = board_unlock,
                                            .tsc = board_tsc,
                                            .tsc_to_ns = board_tsc_to_ns,
                                            .runtime_ns = board_runtime,
                                            .interrupt = board_interrupt,
                                            .apic_settle = board_settle,
                                            .apic_eoi = board_eoi,
                                            .apic_icr_read = board_icr_read,
                                            .apic_icr_write = board_icr_write,
                                            .apic_tpr_read = board_tpr_read,
                                            .apic_tpr_write = board_tpr_write,
                                            .flush = board_flush,
                                            .idle = board_idle,
                                            .yield = board_yield,
                                            .reset = board_reset},
                               .map = b->map,
                               .clock = &b->clock,
                               .log = &b->log,
                               .model = &b->model,
                               .cpus = BOARD_CPUS,
                               .overcommitted = true,
                               .ram_offset = BOARD_RAM};
}

/* hv is an -hv argument, with ",ports" behind it for connections; hz the TSC's frequency. */
static inline struct board *board_with(const char *hv, u64 hz)
{
    struct board *b = calloc(1, sizeof(*b));
    struct hv1_profile profile;
    struct hv1_config config;
    bool ports = strstr(hv, ",ports");
    char *text = strndup(hv, ports ? (size_t)(strstr(hv, ",ports") - hv) : strlen(hv));

    ck_assert_int_eq(hv1_profile_parse(&profile, text, NULL), ST_OK);
    free(text);
    profile.ports = ports;
    b->log.sink = open_memstream(&b->log_text, &b->log_size);
    b->log.categories = LOG_HV1;
    clock_init(&b->clock, board_now, NULL, b, 0);
    board_create_model(b, hz);
    board_memory(b);
    config = board_config(b, &profile);
    b->platform = (struct vcpu_platform){.opaque = b,
                                         .tsc = board_cpu_tsc,
                                         .tsc_changed = board_cpu_tsc_changed,
                                         .reset = board_cpu_reset,
                                         .tsc_hz = hz};
    ck_assert_int_eq(hv1_create(&b->hv1, &config, NULL), ST_OK);
    for (unsigned n = 0; n < BOARD_CPUS; n++) {
        ck_assert_int_eq(
            vcpu_create(&b->v[n], n, n, b->map, &b->model, &b->platform, &b->log, NULL), ST_OK);
        ck_assert_int_eq(hv1_attach(b->hv1, b->v[n], NULL), ST_OK);
    }
    return b;
}

static inline struct board *board_create(const char *hv)
{
    return board_with(hv, BOARD_HZ);
}

static inline void board_destroy(struct board *b)
{
    ck_assert_uint_eq(b->locks, 0);
    hv1_destroy(b->hv1);
    for (unsigned n = 0; n < BOARD_CPUS; n++)
        vcpu_destroy(b->v[n]);
    physmap_destroy(b->map);
    ram_destroy(&b->ram);
    fclose(b->log.sink);
    free(b->log_text);
    free(b);
}

/* What was logged so far. */
static inline const char *board_log(struct board *b)
{
    fflush(b->log.sink);
    return b->log_text;
}

static inline void board_advance(struct board *b, u64 ns)
{
    b->now += ns;
    clock_run(&b->clock);
}

static inline u64 board_read(struct board *b, unsigned cpu, u32 msr)
{
    u64 value;

    ck_assert_msg(msr_read(b->v[cpu], msr, &value), "RDMSR %x", msr);
    return value;
}

static inline void board_write(struct board *b, unsigned cpu, u32 msr, u64 value)
{
    ck_assert_msg(msr_write(b->v[cpu], msr, value), "WRMSR %x %lx", msr, value);
}

static inline bool board_refuses(struct board *b, u32 msr, u64 value)
{
    return !msr_write(b->v[0], msr, value);
}
