/* SPDX-License-Identifier: MIT
 *
 * PCI bus 0: configuration mechanism #1 (PCI 3.0 section 3.2.2.3.2), functions with their header,
 * base address registers and capabilities, and the four interrupt wires.
 *
 * A device embeds a struct pci_function in its state, fills the header with pci_function_init(),
 * adds BARs and capabilities, and calls pci_function_reset() from its own reset. The bus then
 * answers configuration accesses through byte masks and maps BARs as the guest programs them.
 *
 * Interrupt routing (for the DSDT): INTx pin p (0 = INTA) of device d drives PIRQ (p + d - 1)
 * mod 4.
 */
#pragma once

#include "devices/device.h"

enum {
    PCI_VENDOR_ID = 0x00,
    PCI_DEVICE_ID = 0x02,
    PCI_COMMAND = 0x04,
    PCI_STATUS = 0x06,
    PCI_REVISION_ID = 0x08,
    PCI_CLASS_PROG = 0x09,
    PCI_CACHE_LINE_SIZE = 0x0c,
    PCI_LATENCY_TIMER = 0x0d,
    PCI_HEADER_TYPE = 0x0e,
    PCI_BAR0 = 0x10,
    PCI_SUBSYSTEM_VENDOR_ID = 0x2c,
    PCI_SUBSYSTEM_ID = 0x2e,
    PCI_CAPABILITIES = 0x34,
    PCI_INTERRUPT_LINE = 0x3c,
    PCI_INTERRUPT_PIN = 0x3d,
};

enum {
    PCI_COMMAND_IO = 1u << 0,
    PCI_COMMAND_MEMORY = 1u << 1,
    PCI_COMMAND_MASTER = 1u << 2,
    PCI_COMMAND_PARITY = 1u << 6,
    PCI_COMMAND_SERR = 1u << 8,
    PCI_COMMAND_INTX_DISABLE = 1u << 10,
};

enum { PCI_STATUS_INTERRUPT = 1u << 3, PCI_STATUS_CAPABILITIES = 1u << 4 };

enum { PCI_BARS = 6, PCI_CONFIG_SIZE = 256, PCI_DEVFNS = 256, PCI_PIRQS = 4 };

/* Where memory BARs rank in the physical map: below everything else, because the host bridge
 * forwards to PCI only what nothing on its own side claims. */
enum { PRIO_PCI_BAR = -10 };

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_bar {
    enum pci_bar_kind kind;
    bool prefetchable;
    u64 size;                 /* a power of two: I/O 4..256, memory at least one page */
    const struct io_ops *ops; /* offsets count from the BAR's start */
    void *self;
    const char *name;
    /* Kept by the bus. */
    bool mapped;
    u64 base;
    unsigned region; /* in the physical map, while a memory BAR is mapped */
};

struct pci_bus;

struct pci_function {
    u8 config[PCI_CONFIG_SIZE];
    u8 initial[PCI_CONFIG_SIZE];   /* config after reset */
    u8 writable[PCI_CONFIG_SIZE];  /* bits that take what the guest writes */
    u8 clearable[PCI_CONFIG_SIZE]; /* bits that a written 1 clears */
    struct pci_bar bars[PCI_BARS];
    struct pci_bus *bus;
    u8 devfn;
    u16 capability_end; /* first free byte behind the capabilities */
    bool intx_wanted;   /* the device drives its pin */
    bool intx_driven;   /* the wire sees it (not disabled by the command register) */
    /* Called after the guest wrote [offset, offset+size) and the masks were applied; may be NULL.
     */
    void (*written)(void *self, unsigned offset, unsigned size);
    void *self;
};

struct pci_header {
    u16 vendor, device;
    u16 subsystem_vendor, subsystem;
    u8 revision;
    u32 class_code;   /* 24 bits: class, subclass, programming interface */
    u8 interrupt_pin; /* 0: none, 1: INTA .. 4: INTD */
};

/* One device-specific configuration byte. */
struct pci_register {
    u8 offset, initial, writable;
};

extern const struct device_type pci_bus_type; /* "pci", ports CF8h-CFFh at base CF8h; no config */

/* Fills the type 0 header: masks of the standard registers, everything else read-only zero. */
void pci_function_init(struct pci_function *fn, const struct pci_header *header,
                       void (*written)(void *self, unsigned offset, unsigned size), void *self);
/* Describes count device-specific bytes. */
void pci_function_add_registers(struct pci_function *fn, const struct pci_register *registers,
                                unsigned count);
/* Describes a BAR; a MEM64 one also takes index + 1. Before pci_bus_add(). */
void pci_function_add_bar(struct pci_function *fn, unsigned index, const struct pci_bar *bar);
/* Appends a capability of size bytes (with its two header bytes) and returns its offset; the caller
 * fills initial[] and writable[] there. */
unsigned pci_function_add_capability(struct pci_function *fn, u8 id, unsigned size);
/* config = initial, BARs unmapped, interrupt pin released. */
void pci_function_reset(struct pci_function *fn);
/* Drives the function's interrupt pin. */
void pci_function_set_intx(struct pci_function *fn, bool level);

static inline u16 pci_function_command(const struct pci_function *fn)
{
    return (u16)(fn->config[PCI_COMMAND] | fn->config[PCI_COMMAND + 1] << 8);
}
/* Little-endian stores into initial[] or writable[], for set-up. */
void pci_put16(u8 *bytes, unsigned offset, u16 value);
void pci_put32(u8 *bytes, unsigned offset, u32 value);

/* Puts a function at devfn (device << 3 | function). ST_OVERLAP if the place is taken. */
MUST_USE enum status pci_bus_add(struct pci_bus *bus, struct pci_function *fn, u8 devfn,
                                 struct error *err);
void pci_bus_remove(struct pci_bus *bus, struct pci_function *fn);
/* Who hears the level of the four PIRQ wires. */
void pci_bus_route(struct pci_bus *bus, void (*set)(void *opaque, unsigned pirq, bool level),
                   void *opaque);
/* The 8-bit reset control register at CF9h lies inside the bus's ports: its owner. */
void pci_bus_set_cf9(struct pci_bus *bus, const struct io_ops *ops, void *self);
