/* SPDX-License-Identifier: MIT
 *
 * What is at which address and port of a CPU-only machine.
 *
 * Library memory is cut from the machine's struct ram, first fit; a piece that was used before is
 * given back to the host when it is cut again, so that it reads as zeroes.
 */
#include <fcntl.h>
#include <stdlib.h>

#include "machine/library/library.h"

enum { GPA_BITS = 52 };

/* Handlers of the program behind struct io_ops. */
struct handlers {
    struct io_ops ops;
    lockstep_mmio_read_fn *read;
    lockstep_mmio_write_fn *write;
    void *opaque;
};

struct mapping {
    bool used;
    bool has_shadow;
    bool is_ram;
    unsigned region;
    unsigned shadow; /* region that swallows the stores to a ROM of library memory */
    u64 ram_offset, size;
    struct handlers *handlers; /* MMIO */
};

struct port_range {
    struct port_range *next;
    u16 first;
    struct handlers handlers;
};

static u64 call_read(void *self, u64 offset, unsigned size)
{
    const struct handlers *h = self;

    return h->read(h->opaque, offset, size);
}

static void call_write(void *self, u64 offset, u64 value, unsigned size)
{
    const struct handlers *h = self;

    h->write(h->opaque, offset, size, value);
}

static struct handlers handlers_of(lockstep_mmio_read_fn *read, lockstep_mmio_write_fn *write,
                                   void *opaque)
{
    return (struct handlers){.ops = {read ? call_read : NULL, write ? call_write : NULL, SIZE_ANY},
                             .read = read,
                             .write = write,
                             .opaque = opaque};
}

/* -- the table of mappings -- */

/* A machine whose map the program owns. */
static enum lockstep_status check_cell(struct lockstep_machine *m)
{
    if (!m)
        return LOCKSTEP_INVALID;
    if (!m->cell)
        return library_fail(m, LOCKSTEP_UNSUPPORTED,
                            "A PC has its own address map; only CPU-only machines can be mapped.");
    return LOCKSTEP_OK;
}

static enum lockstep_status check_range(struct lockstep_machine *m, u64 address, u64 size)
{
    enum lockstep_status st = check_cell(m);

    if (st)
        return st;
    if (address % PAGE_SIZE || size % PAGE_SIZE || !size || size > BIT(GPA_BITS) ||
        address > BIT(GPA_BITS) - size)
        return library_fail(m, LOCKSTEP_INVALID,
                            "Address 0x%llx and size 0x%llx must be multiples of 4096 below 2^52.",
                            (unsigned long long)address, (unsigned long long)size);
    return LOCKSTEP_OK;
}

static enum lockstep_status check_flags(struct lockstep_machine *m, u32 flags)
{
    if (flags & ~(u32)LOCKSTEP_MEMORY_WRITE)
        return library_fail(m, LOCKSTEP_INVALID, "There are no memory flags 0x%x.", flags);
    return LOCKSTEP_OK;
}

/* A free slot, or NULL without memory. */
static struct mapping *slot_find(struct cell *cell)
{
    struct mapping *table;

    for (unsigned n = 0; n < cell->mapping_count; n++)
        if (!cell->mappings[n].used)
            return &cell->mappings[n];
    table = realloc(cell->mappings, (cell->mapping_count + 1) * sizeof(*table));
    if (!table)
        return NULL;
    cell->mappings = table;
    table[cell->mapping_count] = (struct mapping){.used = false};
    return &table[cell->mapping_count++];
}

static enum lockstep_status map_failed(struct lockstep_machine *m, enum status st, u64 address,
                                       u64 size)
{
    if (st == ST_OVERLAP)
        return library_fail(m, LOCKSTEP_OVERLAP,
                            "Something is mapped between 0x%llx and 0x%llx already.",
                            (unsigned long long)address, (unsigned long long)(address + size - 1));
    return library_fail(m, library_status(st), "No memory for a mapping; free some memory.");
}

/* Adds a region and, with stores to be swallowed, its shadow; fills in the slot. */
static enum lockstep_status add(struct lockstep_machine *m, const struct region *region,
                                const struct region *shadow, struct mapping *mapping, unsigned *id)
{
    struct cell *cell = m->cell;
    struct mapping *slot = slot_find(cell);
    enum status st = slot ? physmap_add(cell->map, region, &mapping->region) : ST_NO_MEMORY;

    if (!st && shadow) {
        st = physmap_add(cell->map, shadow, &mapping->shadow);
        mapping->has_shadow = st == ST_OK;
        if (st)
            physmap_remove(cell->map, mapping->region);
    }
    if (st)
        return map_failed(m, st, region->base, region->size);
    mapping->used = true;
    mapping->size = region->size;
    *slot = *mapping;
    if (id)
        *id = (unsigned)(slot - cell->mappings);
    return LOCKSTEP_OK;
}

/* -- memory -- */

/* The end of the mapping that [at, at + size) of struct ram meets, or at if it is free. */
static u64 ram_taken_until(const struct cell *cell, u64 at, u64 size)
{
    for (unsigned n = 0; n < cell->mapping_count; n++) {
        const struct mapping *p = &cell->mappings[n];

        if (p->used && p->is_ram && at < p->ram_offset + p->size && p->ram_offset < at + size)
            return p->ram_offset + p->size;
    }
    return at;
}

/* First fit. false: there is no room of this size. */
static bool ram_find(const struct cell *cell, u64 size, u64 *offset)
{
    u64 at = 0, next;

    while (size <= cell->ram.size && at <= cell->ram.size - size) {
        next = ram_taken_until(cell, at, size);
        if (next == at) {
            *offset = at;
            return true;
        }
        at = next;
    }
    return false;
}

/* Pages that were in use before read as zeroes again. */
static bool ram_clear(struct cell *cell, u64 offset, u64 size)
{
    u64 end = offset + size < cell->ram_used ? offset + size : cell->ram_used;

    if (offset < end && fallocate(cell->ram.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                  (off_t)offset, (off_t)(end - offset)))
        return false;
    if (offset < end)
        ram_written(&cell->ram, cell->ram.hva + offset, end - offset);
    if (offset + size > cell->ram_used)
        cell->ram_used = offset + size;
    return true;
}

enum lockstep_status lockstep_map_memory(struct lockstep_machine *m, uint64_t address,
                                         uint64_t size, uint32_t flags, unsigned *id)
{
    const bool writable = flags & LOCKSTEP_MEMORY_WRITE;
    enum lockstep_status st = check_range(m, address, size);
    struct mapping mapping = {.is_ram = true};
    struct region region, shadow;

    if (!st)
        st = check_flags(m, flags);
    if (st)
        return st;
    if (!ram_find(m->cell, size, &mapping.ram_offset) ||
        !ram_clear(m->cell, mapping.ram_offset, size))
        return library_fail(m, LOCKSTEP_NO_MEMORY,
                            "0x%llx bytes do not fit into the machine's memory_limit.",
                            (unsigned long long)size);
    region = (struct region){.name = "memory",
                             .kind = REGION_RAM,
                             .access = writable ? REGION_RW : REGION_READ,
                             .base = address,
                             .size = size,
                             .ram_offset = mapping.ram_offset};
    shadow = (struct region){.name = "memory",
                             .kind = REGION_ROM,
                             .access = REGION_WRITE,
                             .base = address,
                             .size = size,
                             .hva = m->cell->ram.hva + mapping.ram_offset};
    return add(m, &region, writable ? NULL : &shadow, &mapping, id);
}

enum lockstep_status lockstep_map_host_memory(struct lockstep_machine *m, uint64_t address,
                                              uint64_t size, void *memory, uint32_t flags,
                                              unsigned *id)
{
    enum lockstep_status st = check_range(m, address, size);
    struct mapping mapping = {.used = true};
    struct region region;

    if (!st)
        st = check_flags(m, flags);
    if (st)
        return st;
    if (!memory)
        return library_fail(m, LOCKSTEP_INVALID, "The memory to map is NULL.");
    region = (struct region){.name = "host memory",
                             .kind = REGION_ROM,
                             .access = REGION_RW,
                             .base = address,
                             .size = size,
                             .hva = memory,
                             .writable_hva = flags & LOCKSTEP_MEMORY_WRITE};
    return add(m, &region, NULL, &mapping, id);
}

enum lockstep_status lockstep_map_mmio(struct lockstep_machine *m, uint64_t address, uint64_t size,
                                       lockstep_mmio_read_fn *read, lockstep_mmio_write_fn *write,
                                       void *opaque, unsigned *id)
{
    enum lockstep_status st = check_range(m, address, size);
    struct mapping mapping = {.used = true};
    struct region region;

    if (st)
        return st;
    mapping.handlers = malloc(sizeof(*mapping.handlers));
    if (!mapping.handlers)
        return library_fail(m, LOCKSTEP_NO_MEMORY, "No memory for a mapping; free some memory.");
    *mapping.handlers = handlers_of(read, write, opaque);
    region = (struct region){.name = "mmio",
                             .kind = REGION_MMIO,
                             .access = REGION_RW,
                             .base = address,
                             .size = size,
                             .ops = &mapping.handlers->ops,
                             .self = mapping.handlers};
    st = add(m, &region, NULL, &mapping, id);
    if (st)
        free(mapping.handlers);
    return st;
}

enum lockstep_status lockstep_unmap(struct lockstep_machine *m, unsigned id)
{
    enum lockstep_status st = library_idle(m);
    struct mapping *mapping;

    if (!st)
        st = check_cell(m);
    if (st)
        return st;
    if (id >= m->cell->mapping_count || !m->cell->mappings[id].used)
        return library_fail(m, LOCKSTEP_NOT_FOUND, "There is no mapping %u.", id);
    mapping = &m->cell->mappings[id];
    physmap_remove(m->cell->map, mapping->region);
    if (mapping->has_shadow)
        physmap_remove(m->cell->map, mapping->shadow);
    free(mapping->handlers);
    *mapping = (struct mapping){.used = false};
    return LOCKSTEP_OK;
}

/* -- ports -- */

enum lockstep_status lockstep_map_ports(struct lockstep_machine *m, uint16_t first, uint32_t count,
                                        lockstep_mmio_read_fn *read, lockstep_mmio_write_fn *write,
                                        void *opaque)
{
    enum lockstep_status st = check_cell(m);
    struct port_range *range;
    enum status claimed;

    if (st)
        return st;
    if (!count || count > 0x10000u - first)
        return library_fail(m, LOCKSTEP_INVALID, "%u ports from 0x%x on do not exist.", count,
                            first);
    range = malloc(sizeof(*range));
    if (!range)
        return library_fail(m, LOCKSTEP_NO_MEMORY, "No memory for ports; free some memory.");
    *range = (struct port_range){
        .next = m->cell->ports, .first = first, .handlers = handlers_of(read, write, opaque)};
    claimed =
        pio_claim(&m->cell->pio, first, count, &range->handlers.ops, &range->handlers, "program");
    if (claimed) {
        free(range);
        return library_fail(m, library_status(claimed),
                            "A port from 0x%x to 0x%x is mapped already.", first,
                            first + count - 1);
    }
    m->cell->ports = range;
    return LOCKSTEP_OK;
}

enum lockstep_status lockstep_unmap_ports(struct lockstep_machine *m, uint16_t first)
{
    enum lockstep_status st = library_idle(m);

    if (!st)
        st = check_cell(m);
    if (st)
        return st;
    for (struct port_range **link = &m->cell->ports; *link; link = &(*link)->next) {
        struct port_range *range = *link;

        if (range->first != first)
            continue;
        pio_release(&m->cell->pio, first, &range->handlers);
        *link = range->next;
        free(range);
        return LOCKSTEP_OK;
    }
    return library_fail(m, LOCKSTEP_NOT_FOUND, "No ports were mapped at 0x%x.", first);
}

void cell_mappings_destroy(struct cell *cell)
{
    for (unsigned n = 0; n < cell->mapping_count; n++)
        free(cell->mappings[n].handlers);
    free(cell->mappings);
    while (cell->ports) {
        struct port_range *range = cell->ports;

        cell->ports = range->next;
        free(range);
    }
}
