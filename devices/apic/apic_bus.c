/* SPDX-License-Identifier: MIT
 *
 * Message routing between local APICs, the I/O APIC and MSI writers; see apic_bus.h.
 */
#include "devices/apic/apic_bus.h"

#include <stdlib.h>

#include "devices/apic/lapic.h"
#include "mem/base/bits.h"

enum status apic_bus_create(struct apic_bus *bus, unsigned capacity, struct error *err)
{
    *bus = (struct apic_bus){.capacity = capacity};
    bus->lapics = calloc(capacity ? capacity : 1, sizeof(*bus->lapics));
    if (!bus->lapics)
        return error_set(err, ST_NO_MEMORY, "No memory for %u local APICs; use fewer vCPUs.",
                         capacity);
    return ST_OK;
}

void apic_bus_destroy(struct apic_bus *bus)
{
    free(bus->lapics);
    *bus = (struct apic_bus){0};
}

enum status apic_bus_add(struct apic_bus *bus, struct lapic *lapic, struct error *err)
{
    if (bus->count == bus->capacity)
        return error_set(err, ST_INVALID, "The APIC bus has room for %u local APICs only.",
                         bus->capacity);
    bus->lapics[bus->count++] = lapic;
    return ST_OK;
}

void apic_bus_remove(struct apic_bus *bus, const struct lapic *lapic)
{
    unsigned kept = 0;

    for (unsigned i = 0; i < bus->count; i++)
        if (bus->lapics[i] != lapic)
            bus->lapics[kept++] = bus->lapics[i];
    bus->count = kept;
}

void apic_bus_listen(struct apic_bus *bus, struct apic_bus_listener listener)
{
    bus->listener = listener;
}

static bool is_receiver(const struct lapic *lapic, const struct apic_message *m)
{
    switch ((enum apic_shorthand)m->shorthand) {
    case APIC_TO_SELF: return lapic == m->source;
    case APIC_TO_ALL: return true;
    case APIC_TO_OTHERS: return lapic != m->source;
    case APIC_TO_DESTINATION: break;
    }
    return lapic_matches(lapic, m);
}

/* SDM 3A 10.6.2.4: the lowest PPR wins. The search starts behind the last winner, so that equals
 * take turns. */
static bool send_lowest_priority(struct apic_bus *bus, const struct apic_message *m)
{
    struct lapic *best = NULL;
    unsigned best_index = 0, best_priority = 0;

    for (unsigned n = 1; n <= bus->count; n++) {
        unsigned i = (__atomic_load_n(&bus->last_lowest, __ATOMIC_RELAXED) + n) % bus->count;
        struct lapic *lapic = bus->lapics[i];
        unsigned priority;

        if (!is_receiver(lapic, m) || !lapic_arbitrates(lapic))
            continue;
        priority = lapic_processor_priority(lapic);
        if (!best || priority < best_priority) {
            best = lapic;
            best_index = i;
            best_priority = priority;
        }
    }
    if (!best)
        return false;
    __atomic_store_n(&bus->last_lowest, best_index, __ATOMIC_RELAXED);
    return lapic_accept(best, m);
}

bool apic_bus_send(struct apic_bus *bus, const struct apic_message *message)
{
    bool accepted = false;

    if (message->mode == APIC_LOWEST_PRIORITY)
        return send_lowest_priority(bus, message);
    for (unsigned i = 0; i < bus->count; i++)
        if (is_receiver(bus->lapics[i], message))
            accepted |= lapic_accept(bus->lapics[i], message);
    return accepted;
}

bool apic_bus_msi(struct apic_bus *bus, u64 address, u32 data)
{
    bool redirect = address & BIT(3);
    bool level = data & BIT(15);
    struct apic_message m = {
        .destination = (u32)bits_get(address, 12, 8),
        .logical = address & BIT(2),
        .level = level,
        .mode = (u8)bits_get(data, 8, 3),
        .vector = (u8)data,
    };

    if (address >> 20 != 0xfee)
        return false;
    /* The level bit matters for level triggering only; a deassertion has nothing to say to an APIC
     * that ends level interrupts by EOI (SDM 3A 10.11.2). */
    if (level && !(data & BIT(14)))
        return false;
    if (m.mode == APIC_SIPI || m.mode == APIC_RESERVED_3)
        return false;
    /* Redirection hint: one processor of the set, chosen like a lowest-priority message. */
    if (redirect && m.mode == APIC_FIXED)
        m.mode = APIC_LOWEST_PRIORITY;
    return apic_bus_send(bus, &m);
}

void apic_bus_eoi(struct apic_bus *bus, u8 vector)
{
    io_acquire(&bus->lock);
    if (bus->listener.eoi)
        bus->listener.eoi(bus->listener.opaque, vector);
    io_release(&bus->lock);
}

void apic_bus_targets_changed(struct apic_bus *bus)
{
    io_acquire(&bus->lock);
    if (bus->listener.targets_changed)
        bus->listener.targets_changed(bus->listener.opaque);
    io_release(&bus->lock);
}
