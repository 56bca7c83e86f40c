/* SPDX-License-Identifier: MIT
 *
 * PCI bus 0: ports CF8h-CFFh, configuration space, BAR mapping, interrupt wires; see pci.h.
 *
 * BARs whose range cannot be had (taken by somebody else, beyond the address space) stay unmapped
 * and are tried again whenever any BAR or command register changes.
 */
#include "devices/pci/pci.h"

#include <string.h>

#include "mem/base/bits.h"

struct pci_bus {
    struct physmap *map;
    struct pio_bus *pio;
    struct log *log;
    struct pci_function *functions[PCI_DEVFNS];
    void (*route)(void *opaque, unsigned pirq, bool level);
    void *route_opaque;
    const struct io_ops *cf9_ops;
    void *cf9_self;
    u16 pirq_drivers[PCI_PIRQS]; /* how many functions drive each wire */
    u32 address;                 /* CONFIG_ADDRESS */
};

enum { CONFIG_DATA = 4, RESET_CONTROL = 1 }; /* offsets from CF8h */

#define ADDRESS_ENABLE   BIT(31)
#define ADDRESS_WRITABLE 0x80fffffcu

/* -- Setting a function up ------------------------------------------------------------------- */

void pci_put16(u8 *bytes, unsigned offset, u16 value)
{
    store_le(bytes + offset, value, 2);
}

void pci_put32(u8 *bytes, unsigned offset, u32 value)
{
    store_le(bytes + offset, value, 4);
}

void pci_function_init(struct pci_function *fn, const struct pci_header *header,
                       void (*written)(void *self, unsigned offset, unsigned size), void *self)
{
    memset(fn, 0, sizeof(*fn));
    fn->written = written;
    fn->self = self;
    fn->capability_end = 0x40;
    pci_put16(fn->initial, PCI_VENDOR_ID, header->vendor);
    pci_put16(fn->initial, PCI_DEVICE_ID, header->device);
    pci_put32(fn->initial, PCI_REVISION_ID, header->class_code << 8 | header->revision);
    pci_put16(fn->initial, PCI_SUBSYSTEM_VENDOR_ID, header->subsystem_vendor);
    pci_put16(fn->initial, PCI_SUBSYSTEM_ID, header->subsystem);
    fn->initial[PCI_INTERRUPT_PIN] = header->interrupt_pin;
    pci_put16(fn->writable, PCI_COMMAND,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
                  PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE);
    pci_put16(fn->clearable, PCI_STATUS, 0xf900); /* PCI 3.0 6.2.3: the error bits */
    fn->writable[PCI_CACHE_LINE_SIZE] = 0xff;
    fn->writable[PCI_LATENCY_TIMER] = 0xff;
    fn->writable[PCI_INTERRUPT_LINE] = 0xff;
    memcpy(fn->config, fn->initial, sizeof(fn->config));
}

void pci_function_add_registers(struct pci_function *fn, const struct pci_register *registers,
                                unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        fn->initial[registers[i].offset] = registers[i].initial;
        fn->writable[registers[i].offset] = registers[i].writable;
    }
}

void pci_function_add_bar(struct pci_function *fn, unsigned index, const struct pci_bar *bar)
{
    unsigned offset = PCI_BAR0 + index * 4;
    bool io = bar->kind == PCI_BAR_IO;
    u32 type = io ? 1 : (bar->kind == PCI_BAR_MEM64 ? 4 : 0) | (bar->prefetchable ? 8 : 0);

    check(index + (bar->kind == PCI_BAR_MEM64) < PCI_BARS, "BAR %u", index);
    check(is_power_of_two(bar->size) && bar->size >= (io ? 4 : PAGE_SIZE) &&
              (!io || bar->size <= 256),
          "BAR %u of 0x%llx bytes", index, (unsigned long long)bar->size);
    fn->bars[index] = *bar;
    fn->bars[index].mapped = false;
    pci_put32(fn->initial, offset, type);
    pci_put32(fn->writable, offset, (u32) ~(bar->size - 1));
    if (bar->kind == PCI_BAR_MEM64)
        pci_put32(fn->writable, offset + 4, (u32)(~(bar->size - 1) >> 32));
}

unsigned pci_function_add_capability(struct pci_function *fn, u8 id, unsigned size)
{
    unsigned offset = fn->capability_end;
    unsigned link = PCI_CAPABILITIES;

    check(size >= 2 && offset + size <= PCI_CONFIG_SIZE, "capability 0x%x of %u bytes", id, size);
    while (fn->initial[link])
        link = fn->initial[link] + 1u;
    fn->initial[link] = (u8)offset;
    fn->initial[offset] = id;
    fn->initial[PCI_STATUS] |= PCI_STATUS_CAPABILITIES;
    fn->capability_end = (u16)align_up(offset + size, 4);
    return offset;
}

/* -- Interrupt wires ------------------------------------------------------------------------- */

static void update_intx(struct pci_function *fn)
{
    struct pci_bus *bus = fn->bus;
    bool driven = fn->intx_wanted && !(pci_function_command(fn) & PCI_COMMAND_INTX_DISABLE);
    unsigned pin = fn->config[PCI_INTERRUPT_PIN] - 1u;
    unsigned pirq = (pin + (fn->devfn >> 3) - 1u) % PCI_PIRQS;
    bool was_high;

    if (fn->intx_wanted)
        fn->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
    else
        fn->config[PCI_STATUS] &= (u8)~PCI_STATUS_INTERRUPT;
    if (driven == fn->intx_driven || !bus)
        return;
    fn->intx_driven = driven;
    was_high = bus->pirq_drivers[pirq] > 0;
    bus->pirq_drivers[pirq] = (u16)(bus->pirq_drivers[pirq] + (driven ? 1 : -1));
    if (bus->route && was_high != (bus->pirq_drivers[pirq] > 0))
        bus->route(bus->route_opaque, pirq, !was_high);
}

void pci_function_set_intx(struct pci_function *fn, bool level)
{
    check(fn->initial[PCI_INTERRUPT_PIN], "a function without interrupt pin drives it");
    fn->intx_wanted = level;
    update_intx(fn);
}

void pci_bus_route(struct pci_bus *bus, void (*set)(void *opaque, unsigned pirq, bool level),
                   void *opaque)
{
    bus->route = set;
    bus->route_opaque = opaque;
}

/* -- Base address registers ------------------------------------------------------------------ */

/* Where the guest wants a BAR; false: nowhere. */
static bool bar_wanted(const struct pci_function *fn, unsigned index, u64 *base)
{
    const struct pci_bar *bar = &fn->bars[index];
    const u8 *reg = &fn->config[PCI_BAR0 + index * 4];
    u16 enable = bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

    if (bar->kind == PCI_BAR_NONE || !(pci_function_command(fn) & enable))
        return false;
    *base = load_le(reg, bar->kind == PCI_BAR_MEM64 ? 8 : 4) & ~(bar->size - 1);
    return bar->kind != PCI_BAR_IO || *base <= 0xffff;
}

static void unmap_bar(struct pci_function *fn, struct pci_bar *bar)
{
    if (bar->kind == PCI_BAR_IO)
        pio_release(fn->bus->pio, (u16)bar->base, bar->self);
    else
        physmap_remove(fn->bus->map, bar->region);
    bar->mapped = false;
}

static void map_bar(struct pci_function *fn, struct pci_bar *bar, u64 base)
{
    enum status status;

    if (bar->kind == PCI_BAR_IO) {
        status = pio_claim(fn->bus->pio, (u16)base, (u32)bar->size, bar->ops, bar->self, bar->name);
    } else {
        struct region region = {
            .name = bar->name,
            .kind = REGION_MMIO,
            .access = REGION_RW,
            .base = base,
            .size = bar->size,
            .priority = PRIO_PCI_BAR,
            .ops = bar->ops,
            .self = bar->self,
        };

        status = physmap_add(fn->bus->map, &region, &bar->region);
    }
    bar->mapped = status == ST_OK;
    bar->base = base;
    if (!bar->mapped)
        log_guest(fn->bus->log, "pci: BAR %s cannot be mapped at 0x%llx", bar->name,
                  (unsigned long long)base);
}

/* First everything leaves its old place, then everything looks for its new one. */
static void update_mappings(struct pci_bus *bus)
{
    u64 base = 0;

    for (unsigned pass = 0; pass < 2; pass++) {
        for (unsigned devfn = 0; devfn < PCI_DEVFNS; devfn++) {
            struct pci_function *fn = bus->functions[devfn];

            for (unsigned i = 0; fn && i < PCI_BARS; i++) {
                struct pci_bar *bar = &fn->bars[i];
                bool wanted = bar_wanted(fn, i, &base);

                if (pass == 0 && bar->mapped && (!wanted || base != bar->base))
                    unmap_bar(fn, bar);
                else if (pass == 1 && !bar->mapped && wanted)
                    map_bar(fn, bar, base);
            }
        }
    }
}

/* -- Configuration space --------------------------------------------------------------------- */

void pci_function_reset(struct pci_function *fn)
{
    u8 header_type = fn->config[PCI_HEADER_TYPE]; /* the bus's multi-function bit */

    fn->intx_wanted = false;
    update_intx(fn);
    memcpy(fn->config, fn->initial, sizeof(fn->config));
    fn->config[PCI_HEADER_TYPE] = header_type;
    if (fn->bus)
        update_mappings(fn->bus);
}

static struct pci_function *selected_function(const struct pci_bus *bus)
{
    if (!(bus->address & ADDRESS_ENABLE) || bits_get(bus->address, 16, 8))
        return NULL;
    return bus->functions[bits_get(bus->address, 8, 8)];
}

static u64 config_read(const struct pci_bus *bus, unsigned lane, unsigned size)
{
    const struct pci_function *fn = selected_function(bus);

    return fn ? load_le(&fn->config[(bus->address & 0xfc) + lane], size) : ~0ull;
}

static void config_write(struct pci_bus *bus, unsigned lane, u64 value, unsigned size)
{
    struct pci_function *fn = selected_function(bus);
    unsigned offset = (bus->address & 0xfc) + lane;

    if (!fn)
        return;
    for (unsigned i = 0; i < size; i++) {
        u8 *byte = &fn->config[offset + i];
        u8 written = (u8)(value >> i * 8), mask = fn->writable[offset + i];

        *byte = (u8)((*byte & ~mask) | (written & mask));
        *byte &= (u8) ~(written & fn->clearable[offset + i]);
    }
    if (offset < PCI_STATUS && offset + size > PCI_COMMAND)
        update_intx(fn);
    if (offset < PCI_BAR0 + PCI_BARS * 4)
        update_mappings(bus);
    if (fn->written)
        fn->written(fn->self, offset, size);
}

/* Only 32-bit accesses reach CONFIG_ADDRESS, narrower ones are ordinary port accesses (3.2.2.3.2).
 */
static u64 port_read(void *self, u64 offset, unsigned size)
{
    struct pci_bus *bus = self;

    if (offset == 0 && size == 4)
        return bus->address;
    if (offset >= CONFIG_DATA && offset + size <= CONFIG_DATA + 4)
        return config_read(bus, (unsigned)offset - CONFIG_DATA, size);
    if (size == 1)
        return offset == RESET_CONTROL && bus->cf9_ops ? io_read(bus->cf9_ops, bus->cf9_self, 0, 1)
                                                       : 0xff;
    return port_read(self, offset, size / 2) | port_read(self, offset + size / 2, size / 2)
                                                   << size * 4;
}

static void port_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct pci_bus *bus = self;

    if (offset == 0 && size == 4) {
        bus->address = (u32)value & ADDRESS_WRITABLE;
    } else if (offset >= CONFIG_DATA && offset + size <= CONFIG_DATA + 4) {
        config_write(bus, (unsigned)offset - CONFIG_DATA, value, size);
    } else if (size == 1) {
        if (offset == RESET_CONTROL && bus->cf9_ops)
            io_write(bus->cf9_ops, bus->cf9_self, 0, value, 1);
    } else {
        port_write(self, offset, value, size / 2);
        port_write(self, offset + size / 2, value >> size * 4, size / 2);
    }
}

/* -- The bus --------------------------------------------------------------------------------- */

/* Function 0's header tells whether to look for others (PCI 3.0 6.2.1). */
static void update_multi_function(struct pci_bus *bus, unsigned device)
{
    struct pci_function **slot = &bus->functions[device << 3];
    bool others = false;

    for (unsigned i = 1; i < 8; i++)
        others |= slot[i] != NULL;
    if (slot[0])
        slot[0]->config[PCI_HEADER_TYPE] = others ? 0x80 : 0;
}

enum status pci_bus_add(struct pci_bus *bus, struct pci_function *fn, u8 devfn, struct error *err)
{
    if (bus->functions[devfn])
        return error_set(err, ST_OVERLAP, "PCI device %u function %u is there already.", devfn >> 3,
                         devfn & 7);
    fn->bus = bus;
    fn->devfn = devfn;
    bus->functions[devfn] = fn;
    update_multi_function(bus, devfn >> 3);
    return ST_OK;
}

void pci_bus_remove(struct pci_bus *bus, struct pci_function *fn)
{
    if (bus->functions[fn->devfn] != fn)
        return;
    fn->intx_wanted = false;
    update_intx(fn);
    for (unsigned i = 0; i < PCI_BARS; i++)
        if (fn->bars[i].mapped)
            unmap_bar(fn, &fn->bars[i]);
    bus->functions[fn->devfn] = NULL;
    fn->bus = NULL;
    update_multi_function(bus, fn->devfn >> 3);
}

void pci_bus_set_cf9(struct pci_bus *bus, const struct io_ops *ops, void *self)
{
    bus->cf9_ops = ops;
    bus->cf9_self = self;
}

static enum status pci_bus_init(void *self, const struct device_env *env, const void *config,
                                struct error *err)
{
    struct pci_bus *bus = self;

    (void)config;
    (void)err;
    bus->map = env->map;
    bus->pio = env->pio;
    bus->log = env->log;
    return ST_OK;
}

static void pci_bus_reset(void *self)
{
    struct pci_bus *bus = self;

    bus->address = 0;
}

static const struct device_pio pci_ports[] = {{0, 8, {port_read, port_write, SIZE_ANY}}, {0}};

static const struct device_field pci_bus_fields[] = {
    DEVICE_FIELD(pci_bus, address), DEVICE_FIELD(pci_bus, pirq_drivers), {0}};

const struct device_type pci_bus_type = {
    .name = "pci",
    .state_size = sizeof(struct pci_bus),
    .pio = pci_ports,
    .init = pci_bus_init,
    .reset = pci_bus_reset,
    .save = pci_bus_fields,
};
