/* SPDX-License-Identifier: MIT
 *
 * Making and unmaking a machine, and what can be seen of it from outside.
 */
#include "machine/internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <xxhash.h>

#include "devices/display/text.h"

#define APIC_BUS_HZ 1000000000ull /* one timer count a nanosecond before the divider */

void machine_config_defaults(struct machine_config *config)
{
    *config = (struct machine_config){
        .ram_size = MACHINE_RAM_DEFAULT,
        .cpu = "max",
        .topology = {1, 1, 1},
        .engine = ENGINE_JIT,
        .time = TIME_REAL,
    };
}

/* RAM below the PCI hole and above 4 GiB. */
static enum status map_ram(struct machine *m, struct error *err)
{
    const struct region low = {.name = "ram below 4G",
                               .kind = REGION_RAM,
                               .access = REGION_RW,
                               .size = m->layout.low_size,
                               .priority = PRIO_RAM};
    const struct region high = {.name = "ram above 4G",
                                .kind = REGION_RAM,
                                .access = REGION_RW,
                                .base = GIB(4),
                                .size = m->layout.high_size,
                                .priority = PRIO_RAM,
                                .ram_offset = m->layout.low_size};
    unsigned id;
    enum status st = physmap_add(m->map, &low, &id);

    if (!st && high.size)
        st = physmap_add(m->map, &high, &id);
    return st ? error_set(err, st, "The guest's memory could not be mapped; lower -m.") : ST_OK;
}

static unsigned cpu_count(const struct machine *m)
{
    const struct cpu_topology *t = &m->config.topology;

    return t->sockets * t->cores * t->threads;
}

/* Behind the guest's RAM there is memory for Hv#1's overlay pages. */
static enum status create_memory(struct machine *m, struct error *err)
{
    enum status st;

    m->layout = ram_layout_split(m->config.ram_size, RAM_HOLE_BASE);
    st = ram_create(
        &m->ram, m->config.ram_size + (m->hv1_profile.level ? hv1_ram_size(cpu_count(m)) : 0), err);
    if (!st)
        st = physmap_create(&m->map, &m->ram, m->log, err);
    if (!st)
        st = pio_bus_create(&m->pio, m->log, err);
    return st ? st : map_ram(m, err);
}

static enum status create_all(struct machine *m, struct error *err)
{
    enum status st;

    m->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (m->wake_fd < 0)
        return error_set(err, ST_IO, "The host gives no event descriptor (%m); close some files.");
    time_init(&m->time, m->config.time, m->config.ips ? m->config.ips : TIME_COUNTED_IPS);
    if (m->config.slowness)
        time_slow_down(&m->time, m->config.slowness);
    machine_clock_init(m);
    st = cpu_model_parse(&m->model, m->config.cpu ? m->config.cpu : "", &m->config.topology,
                         m->time.tsc_hz, APIC_BUS_HZ, err);
    if (!st)
        st = hv1_prepare(m, err);
    if (!st)
        st = create_memory(m, err);
    if (!st)
        st = threads_create(m, err);
    if (!st)
        st = hv1_start(m, err);
    if (!st)
        st = processors_create(m, err);
    if (!st)
        st = start_create(m, err);
    if (!st)
        st = pc_create(m, err);
    if (st)
        return st;
    physmap_set_a20(m->map, true);
    pc_reset(m);
    processors_reset(m);
    return start_reset(m, err);
}

enum status machine_create(struct machine **machine, const struct machine_config *config,
                           struct error *err)
{
    struct machine *m = calloc(1, sizeof(*m));
    enum status st;

    if (!m)
        return error_set(err, ST_NO_MEMORY, "No memory for a machine; free some memory.");
    m->config = *config;
    m->log = config->log;
    m->wake_fd = -1;
    m->ram.fd = -1;
    st = create_all(m, err);
    if (st) {
        machine_destroy(m);
        return st;
    }
    *machine = m;
    return ST_OK;
}

void machine_destroy(struct machine *m)
{
    if (!m)
        return;
    pc_destroy(m);
    processors_destroy(m);
    hv1_destroy(m->hv1);
    threads_destroy(m);
    start_destroy(m);
    if (m->pio.claims)
        pio_bus_destroy(&m->pio);
    if (m->map)
        physmap_destroy(m->map);
    if (m->ram.hva)
        ram_destroy(&m->ram);
    if (m->wake_fd >= 0)
        close(m->wake_fd);
    free(m);
}

void machine_text_screen(struct machine *m, char *text, size_t size)
{
    text_screen_dump(m->parts[PART_TEXT].self, text, size);
}

void machine_dump(struct machine *m, char *text, size_t size)
{
    size_t at = 0;

    for (unsigned n = 0; n < m->processor_count && at + 1 < size; n++) {
        vcpu_dump(m->processors[n].vcpu, text + at, size - at);
        at += strlen(text + at);
    }
}

bool machine_counts(const struct machine *m)
{
    return m->config.engine != ENGINE_JIT || m->config.time == TIME_COUNTED || m->config.exact;
}

u64 machine_instructions(const struct machine *m)
{
    u64 sum = 0;

    for (unsigned n = 0; n < m->processor_count; n++)
        sum += m->processors[n].vcpu->icount;
    return sum;
}

/* Hashes (offset, bytes) of every page that is not all zeroes, so that memory the host has not
 * allocated yet is not touched and does not matter. */
static void hash_extent(XXH3_state_t *state, const struct ram *ram, u64 from, u64 to)
{
    static const u8 zeroes[PAGE_SIZE];

    for (u64 at = from; at < to; at += PAGE_SIZE) {
        if (!memcmp(ram->hva + at, zeroes, PAGE_SIZE))
            continue;
        XXH3_128bits_update(state, &at, sizeof(at));
        XXH3_128bits_update(state, ram->hva + at, PAGE_SIZE);
    }
}

enum status machine_ram_hash(struct machine *m, u64 hash[2], struct error *err)
{
    XXH3_state_t *state = XXH3_createState();
    XXH128_hash_t result;
    off_t at = 0, end;

    if (!state)
        return error_set(err, ST_NO_MEMORY, "No memory for hashing the guest's memory.");
    XXH3_128bits_reset(state);
    while ((at = lseek(m->ram.fd, at, SEEK_DATA)) >= 0 && (u64)at < m->config.ram_size) {
        end = lseek(m->ram.fd, at, SEEK_HOLE);
        if ((u64)end > m->config.ram_size)
            end = (off_t)m->config.ram_size; /* behind it are Hv#1's overlay pages */
        hash_extent(state, &m->ram, (u64)at, (u64)end);
        at = end;
    }
    result = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    hash[0] = result.low64;
    hash[1] = result.high64;
    return ST_OK;
}
