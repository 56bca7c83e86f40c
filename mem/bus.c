/* SPDX-License-Identifier: MIT
 *
 * Register accesses: splitting to the sizes a handler takes, and the bus of 65,536 ports.
 *
 * A handler may claim and release ports while it runs (a BAR moves), so nothing of a claim is used
 * after its handler was called. Accesses take the bus's lock; claiming and releasing at run time
 * happens in handlers and so under it.
 */
#include "mem/bus.h"

#include <stdlib.h>

#include "mem/base/bits.h"

enum { PORTS = 0x10000, CLAIMS_MAX = 0x10000 };

/* The piece of an access of left bytes to hand out next: the largest accepted size at which offset
 * is naturally aligned, else the largest accepted one, else 0. */
static unsigned piece_size(u8 sizes, u64 offset, unsigned left)
{
    for (unsigned n = 8; n; n >>= 1) {
        if (n <= left && (sizes & n) && offset % n == 0)
            return n;
    }
    for (unsigned n = 8; n; n >>= 1) {
        if (n <= left && (sizes & n))
            return n;
    }
    return 0;
}

u64 io_read(const struct io_ops *ops, void *self, u64 offset, unsigned size)
{
    u64 value = size_mask(size);

    if (!ops->read)
        return value;
    if (likely(ops->sizes & size))
        return ops->read(self, offset, size) & size_mask(size);
    for (unsigned at = 0; at < size;) {
        unsigned n = piece_size(ops->sizes, offset + at, size - at);

        if (!n) {
            at++;
            continue;
        }
        value &= ~(size_mask(n) << at * 8);
        value |= (ops->read(self, offset + at, n) & size_mask(n)) << at * 8;
        at += n;
    }
    return value;
}

void io_write(const struct io_ops *ops, void *self, u64 offset, u64 value, unsigned size)
{
    if (!ops->write)
        return;
    if (likely(ops->sizes & size)) {
        ops->write(self, offset, value & size_mask(size), size);
        return;
    }
    for (unsigned at = 0; at < size;) {
        unsigned n = piece_size(ops->sizes, offset + at, size - at);

        if (n)
            ops->write(self, offset + at, value >> at * 8 & size_mask(n), n);
        at += n ? n : 1;
    }
}

enum status pio_bus_create(struct pio_bus *bus, struct log *log, struct error *err)
{
    *bus = (struct pio_bus){.count = 1, .capacity = 64, .log = log};
    bus->claims = calloc(bus->capacity, sizeof(*bus->claims));
    bus->owner = calloc(PORTS, sizeof(*bus->owner));
    if (bus->claims && bus->owner)
        return ST_OK;
    pio_bus_destroy(bus);
    return error_set(err, ST_NO_MEMORY, "The host has no memory left for the port bus.");
}

void pio_bus_destroy(struct pio_bus *bus)
{
    free(bus->claims);
    free(bus->owner);
    *bus = (struct pio_bus){0};
}

/* The index of an unused claim, or 0 when memory (or the 16-bit index) is exhausted. */
static unsigned claim_alloc(struct pio_bus *bus)
{
    struct pio_claim *claims;

    for (unsigned i = 1; i < bus->count; i++) {
        if (!bus->claims[i].ops)
            return i;
    }
    if (bus->count == CLAIMS_MAX)
        return 0;
    if (bus->count == bus->capacity) {
        claims = realloc(bus->claims, bus->capacity * 2 * sizeof(*claims));
        if (!claims)
            return 0;
        bus->claims = claims;
        bus->capacity *= 2;
    }
    return bus->count++;
}

enum status pio_claim(struct pio_bus *bus, u16 base, u32 size, const struct io_ops *ops, void *self,
                      const char *name)
{
    unsigned index;

    if (!size || size > PORTS - (u32)base)
        return ST_INVALID;
    for (u32 i = 0; i < size; i++) {
        if (bus->owner[base + i])
            return ST_OVERLAP;
    }
    index = claim_alloc(bus);
    if (!index)
        return ST_NO_MEMORY;
    bus->claims[index] = (struct pio_claim){ops, self, name, base, size};
    for (u32 i = 0; i < size; i++)
        bus->owner[base + i] = (u16)index;
    return ST_OK;
}

void pio_release(struct pio_bus *bus, u16 base, void *self)
{
    struct pio_claim *claim = &bus->claims[bus->owner[base]];

    if (!claim->ops || claim->self != self || claim->base != base)
        return;
    for (u32 i = 0; i < claim->size; i++)
        bus->owner[base + i] = 0;
    *claim = (struct pio_claim){0};
}

/* Who answers the whole access at port; ops is NULL when nobody does. false: split it. */
static bool claim_find(const struct pio_bus *bus, u32 port, unsigned size, struct pio_claim *claim)
{
    u16 first = port < PORTS ? bus->owner[port] : 0;

    for (unsigned i = 1; i < size; i++) {
        u16 owner = port + i < PORTS ? bus->owner[port + i] : 0;

        if (owner != first)
            return false;
    }
    *claim = bus->claims[first];
    return true;
}

/* One piece of an access: all of it in one claim, or in none. */
static u64 read_piece(struct pio_bus *bus, u32 port, unsigned size, const struct pio_claim *claim)
{
    u64 value = size_mask(size);

    if (claim->ops)
        value = io_read(claim->ops, claim->self, port - claim->base, size);
    if (log_on(bus->log, LOG_MMIO))
        log_trace(bus->log, LOG_MMIO, "pio read 0x%x %u -> 0x%llx (%s)", port, size,
                  (unsigned long long)value, claim->ops ? claim->name : "nobody");
    return value;
}

static void write_piece(struct pio_bus *bus, u32 port, u64 value, unsigned size,
                        const struct pio_claim *claim)
{
    if (log_on(bus->log, LOG_MMIO))
        log_trace(bus->log, LOG_MMIO, "pio write 0x%x %u <- 0x%llx (%s)", port, size,
                  (unsigned long long)(value & size_mask(size)),
                  claim->ops ? claim->name : "nobody");
    if (claim->ops)
        io_write(claim->ops, claim->self, port - claim->base, value, size);
}

u64 pio_read(struct pio_bus *bus, u16 port, unsigned size)
{
    struct pio_claim claim;
    u64 value = 0;

    io_acquire(&bus->lock);
    if (likely(claim_find(bus, port, size, &claim))) {
        value = read_piece(bus, port, size, &claim);
    } else {
        for (unsigned i = 0; i < size; i++) {
            claim_find(bus, (u32)port + i, 1, &claim);
            value |= read_piece(bus, (u32)port + i, 1, &claim) << i * 8;
        }
    }
    io_release(&bus->lock);
    return value;
}

void pio_write(struct pio_bus *bus, u16 port, u64 value, unsigned size)
{
    struct pio_claim claim;

    io_acquire(&bus->lock);
    if (likely(claim_find(bus, port, size, &claim))) {
        write_piece(bus, port, value, size, &claim);
    } else {
        for (unsigned i = 0; i < size; i++) {
            claim_find(bus, (u32)port + i, 1, &claim);
            write_piece(bus, (u32)port + i, value >> i * 8, 1, &claim);
        }
    }
    io_release(&bus->lock);
}
