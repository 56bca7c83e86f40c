/* SPDX-License-Identifier: MIT
 *
 * I/O APIC: registers, edge and level handling of its pins. 82093AA datasheet sections 3.1, 3.2.
 *
 * A level-triggered pin sends while it is active, unmasked and its remote IRR is clear; remote IRR
 * is set when a local APIC accepts and cleared by the EOI message with the entry's vector. A level
 * that no local APIC takes stays "send pending" and is tried again when the APICs change. Edges on
 * masked pins, and edges nobody takes, are lost.
 */
#include "devices/apic/ioapic.h"

#include "mem/base/bits.h"

enum { OFFSET_SELECT = 0x00, OFFSET_WINDOW = 0x10, OFFSET_EOI = 0x40 };
enum { REG_ID = 0, REG_VERSION = 1, REG_ARBITRATION = 2, REG_REDIRECTION = 0x10 };

#define RTE_DELIVERY_STATUS BIT(12)
#define RTE_REMOTE_IRR      BIT(14)
#define RTE_LEVEL           BIT(15)
#define RTE_MASKED          BIT(16)
#define RTE_WRITABLE        (0xff0000000001afffull)

#define ID_MASK             0x0f000000u

struct ioapic {
    struct apic_bus *bus;
    struct log *log;
    u64 rte[IOAPIC_PINS];
    u32 lines; /* bit per pin: active */
    u32 id;
    u32 arbitration_id;
    u8 select;
};

/* NMI, SMI, INIT and ExtINT are edges whatever the trigger bit says (3.2.4). */
static bool is_level(u64 rte)
{
    unsigned mode = (unsigned)bits_get(rte, 8, 3);

    return (rte & RTE_LEVEL) && (mode == APIC_FIXED || mode == APIC_LOWEST_PRIORITY);
}

static bool send(struct ioapic *io, u64 rte)
{
    struct apic_message m = {
        .destination = (u32)(rte >> 56),
        .logical = rte & BIT(11),
        .level = is_level(rte),
        .mode = (u8)bits_get(rte, 8, 3),
        .vector = (u8)rte,
    };

    if (m.mode == APIC_SIPI || m.mode == APIC_RESERVED_3)
        return false;
    return apic_bus_send(io->bus, &m);
}

static bool level_wants_to_send(const struct ioapic *io, unsigned pin)
{
    u64 rte = io->rte[pin];

    return (io->lines & BIT(pin)) && is_level(rte) && !(rte & (RTE_MASKED | RTE_REMOTE_IRR));
}

static void service_level(struct ioapic *io, unsigned pin)
{
    if (level_wants_to_send(io, pin) && send(io, io->rte[pin]))
        io->rte[pin] |= RTE_REMOTE_IRR;
}

void ioapic_set_pin(void *ioapic, unsigned pin, bool level)
{
    struct ioapic *io = ioapic;
    bool rising = level && !(io->lines & BIT(pin));

    check(pin < IOAPIC_PINS, "ioapic has no pin %u", pin);
    io->lines = (u32)((io->lines & ~BIT(pin)) | (level ? BIT(pin) : 0));
    if (is_level(io->rte[pin]))
        service_level(io, pin);
    else if (rising && !(io->rte[pin] & RTE_MASKED))
        (void)send(io, io->rte[pin]);
}

static void end_of_interrupt(void *opaque, u8 vector)
{
    struct ioapic *io = opaque;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++) {
        if (!(io->rte[pin] & RTE_REMOTE_IRR) || (u8)io->rte[pin] != vector)
            continue;
        io->rte[pin] &= ~RTE_REMOTE_IRR;
        service_level(io, pin);
    }
}

static void retry_levels(void *opaque)
{
    struct ioapic *io = opaque;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        service_level(io, pin);
}

static u64 read_rte(const struct ioapic *io, unsigned pin)
{
    return io->rte[pin] | (level_wants_to_send(io, pin) ? RTE_DELIVERY_STATUS : 0);
}

/* Remote IRR survives a write unless the entry becomes an edge one: that is how software without
 * the EOI register clears it. */
static void write_rte(struct ioapic *io, unsigned pin, u64 value)
{
    u64 kept = io->rte[pin] & RTE_REMOTE_IRR;

    value &= RTE_WRITABLE;
    io->rte[pin] = is_level(value) ? value | kept : value;
    service_level(io, pin);
}

static u32 read_register(const struct ioapic *io)
{
    unsigned index = (unsigned)io->select - REG_REDIRECTION;

    switch (io->select) {
    case REG_ID: return io->id;
    case REG_VERSION: return 0x20 | (IOAPIC_PINS - 1) << 16;
    case REG_ARBITRATION: return io->arbitration_id;
    default: break;
    }
    if (io->select < REG_REDIRECTION || index / 2 >= IOAPIC_PINS)
        return 0;
    return (u32)(read_rte(io, index / 2) >> (index & 1) * 32);
}

static void write_register(struct ioapic *io, u32 value)
{
    unsigned index = (unsigned)io->select - REG_REDIRECTION, pin = index / 2;

    if (io->select == REG_ID) {
        io->id = value & ID_MASK;
        io->arbitration_id = io->id; /* 3.2.3: loaded with the ID */
    } else if (io->select >= REG_REDIRECTION && pin < IOAPIC_PINS) {
        u64 old = io->rte[pin];

        if (index & 1)
            write_rte(io, pin, (u64)value << 32 | (u32)old);
        else
            write_rte(io, pin, (old >> 32 << 32) | value);
    } else {
        log_guest(io->log, "ioapic: write of 0x%x to register 0x%x ignored", value, io->select);
    }
}

/* Registers are 32 bits wide; narrower and wider reads see the bytes of the register, such writes
 * reach IOREGSEL and EOI, which have 8 bits, but not IOWIN. */
static u64 mmio_read(void *self, u64 offset, unsigned size)
{
    const struct ioapic *io = self;
    u32 value;

    (void)size;
    if ((offset & 0xf) >= 4)
        return 0;
    switch (offset & ~3ull) {
    case OFFSET_SELECT: value = io->select; break;
    case OFFSET_WINDOW: value = read_register(io); break;
    default: value = 0; break;
    }
    return (u64)value >> (offset & 3) * 8;
}

static void mmio_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct ioapic *io = self;

    switch (offset) {
    case OFFSET_SELECT: io->select = (u8)value; break;
    case OFFSET_WINDOW:
        if (size >= 4)
            write_register(io, (u32)value);
        break;
    case OFFSET_EOI: end_of_interrupt(io, (u8)value); break;
    default: log_guest(io->log, "ioapic: write at offset 0x%x ignored", (unsigned)offset); break;
    }
}

const struct io_ops ioapic_mmio_ops = {mmio_read, mmio_write, SIZE_ANY};

static enum status ioapic_init(void *self, const struct device_env *env, const void *config,
                               struct error *err)
{
    struct ioapic *io = self;
    const struct ioapic_config *c = config;

    (void)err;
    io->bus = c->bus;
    io->log = env->log;
    apic_bus_listen(io->bus, (struct apic_bus_listener){end_of_interrupt, retry_levels, io});
    return ST_OK;
}

/* The wires keep their levels: what drives them is reset by itself. */
static void ioapic_reset(void *self)
{
    struct ioapic *io = self;

    for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
        io->rte[pin] = RTE_MASKED;
    io->id = 0;
    io->arbitration_id = 0;
    io->select = 0;
}

static void ioapic_fini(void *self)
{
    struct ioapic *io = self;

    apic_bus_listen(io->bus, (struct apic_bus_listener){0});
}

static const struct device_field ioapic_fields[] = {
    DEVICE_FIELD(ioapic, rte),    DEVICE_FIELD(ioapic, lines),
    DEVICE_FIELD(ioapic, id),     DEVICE_FIELD(ioapic, arbitration_id),
    DEVICE_FIELD(ioapic, select), {0},
};

const struct device_type ioapic_type = {
    .name = "ioapic",
    .state_size = sizeof(struct ioapic),
    .init = ioapic_init,
    .reset = ioapic_reset,
    .fini = ioapic_fini,
    .save = ioapic_fields,
};
