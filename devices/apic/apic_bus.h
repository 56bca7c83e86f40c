/* SPDX-License-Identifier: MIT
 *
 * What carries interrupt messages between the local APICs, the I/O APIC and MSI writers
 * (SDM 3A 10.6 "Issuing interprocessor interrupts", 10.11 "Message signalled interrupts").
 *
 * The bus picks the receivers of a message: physical or logical destination, shorthand, and the
 * arbitration of lowest-priority messages, which is deterministic: the lowest processor priority
 * wins, and among equals the next in APIC order after the last winner. EOI messages go the other
 * way, to the I/O APIC. Any thread may send.
 */
#pragma once

#include "mem/base/status.h"
#include "mem/base/types.h"
#include "mem/bus.h"

struct lapic;

/* Delivery modes as encoded in ICR, LVT, redirection entries and MSI data (SDM 3A 10.6.1). */
enum apic_mode {
    APIC_FIXED = 0,
    APIC_LOWEST_PRIORITY = 1,
    APIC_SMI = 2,
    APIC_RESERVED_3 = 3, /* remote read on the oldest parts; nobody answers */
    APIC_NMI = 4,
    APIC_INIT = 5,
    APIC_SIPI = 6, /* ICR only */
    APIC_EXTINT = 7,
};

enum apic_shorthand {
    APIC_TO_DESTINATION = 0,
    APIC_TO_SELF = 1,
    APIC_TO_ALL = 2,
    APIC_TO_OTHERS = 3,
};

struct apic_message {
    u32 destination;
    bool wide;    /* 32-bit x2APIC destination; otherwise 8 bits, and FFh is everybody */
    bool logical; /* destination is a logical one */
    bool level;   /* level triggered: ends with an EOI message */
    u8 mode;      /* enum apic_mode */
    u8 vector;
    u8 shorthand;               /* enum apic_shorthand; needs source */
    const struct lapic *source; /* NULL for the I/O APIC and MSI */
};

/* What the I/O APIC hears from the bus. */
struct apic_bus_listener {
    void (*eoi)(void *opaque, u8 vector);  /* a level interrupt of this vector was ended */
    void (*targets_changed)(void *opaque); /* a message refused before may be accepted now */
    void *opaque;
};

struct apic_bus {
    struct lapic **lapics;
    unsigned count;
    unsigned capacity;
    unsigned last_lowest; /* index of the last winner of a lowest-priority arbitration */
    struct apic_bus_listener listener;
    struct io_lock lock; /* for the listener; messages need none */
};

/* Room for up to capacity local APICs. */
MUST_USE enum status apic_bus_create(struct apic_bus *bus, unsigned capacity, struct error *err);
void apic_bus_destroy(struct apic_bus *bus);
/* Adds a local APIC; its place in the order of arbitration is the order of adding. */
MUST_USE enum status apic_bus_add(struct apic_bus *bus, struct lapic *lapic, struct error *err);
void apic_bus_remove(struct apic_bus *bus, const struct lapic *lapic);
/* The one I/O APIC; a listener of all zeroes disconnects it. */
void apic_bus_listen(struct apic_bus *bus, struct apic_bus_listener listener);

/* Delivers a message. true: at least one local APIC accepted it. */
bool apic_bus_send(struct apic_bus *bus, const struct apic_message *message);
/* A memory write by a device to address (FEE0_0000h-FEEF_FFFFh, SDM 3A 10.11.1); other addresses
 * are not interrupt messages and are refused. true: accepted by a local APIC. */
bool apic_bus_msi(struct apic_bus *bus, u64 address, u32 data);
/* From a local APIC: end of a level-triggered interrupt. */
void apic_bus_eoi(struct apic_bus *bus, u8 vector);
/* From a local APIC: it now accepts messages it refused before. */
void apic_bus_targets_changed(struct apic_bus *bus);
