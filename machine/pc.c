/* SPDX-License-Identifier: MIT
 *
 * The PC's devices: made from pc.def, wired to each other, reset and taken apart.
 */
#include <stdlib.h>

#include "bios/fw_cfg.h"
#include "devices/apic/ioapic.h"
#include "devices/display/text.h"
#include "devices/legacy/debug_exit.h"
#include "devices/legacy/debugcon.h"
#include "devices/legacy/i8042.h"
#include "devices/legacy/i8254.h"
#include "devices/legacy/i8259.h"
#include "devices/legacy/port92.h"
#include "devices/legacy/rtc.h"
#include "devices/legacy/testdev.h"
#include "devices/legacy/uart16550.h"
#include "devices/pci/i440fx.h"
#include "devices/pci/piix3.h"
#include "devices/pci/piix4_pm.h"
#include "machine/internal.h"

/* The configs that pc.def refers to. */
struct pc_configs {
    struct ioapic_config ioapic;
    struct rtc_config rtc;
    struct i440fx_config i440fx;
    struct piix3_config piix3;
    struct piix4_pm_config piix4_pm;
    struct fw_cfg_config fw_cfg;
    struct debugcon_config debugcon;
};

enum { IRQ_TIMER = 0, GSI_TIMER = 2, IRQ_FPU = 13, SOUTH_BRIDGE_SLOT = 1 };

/* -- wires -- */

/* IRQ0 arrives at I/O APIC pin 2, as the MADT's override says; the others one to one. */
void pc_isa_irq(struct machine *m, unsigned source, unsigned pin, bool level)
{
    u64 *asserted = &m->isa_asserted[pin];

    *asserted = level ? *asserted | BIT(source) : *asserted & ~BIT(source);
    i8259_set_irq(m->parts[PART_PIC].self, pin, *asserted);
    ioapic_set_pin(m->parts[PART_IOAPIC].self, pin == IRQ_TIMER ? GSI_TIMER : pin, *asserted);
}

static void part_isa_irq(void *part_slot, unsigned pin, bool level)
{
    struct part_slot *slot = part_slot;

    pc_isa_irq(slot->machine, (unsigned)(slot - slot->machine->parts), pin, level);
}

static void pic_intr(void *machine, unsigned pin, bool level)
{
    (void)pin;
    processors_set_lint0(machine, level);
}

static void rtc_irq(void *machine, unsigned pin, bool level)
{
    struct machine *m = machine;

    pc_isa_irq(m, PART_RTC, pin, level);
    if (level && m->parts[PART_PIIX4_PM].ready)
        piix4_pm_rtc_alarm(m->parts[PART_PIIX4_PM].self);
}

static void reset_wire(void *machine, unsigned pin, bool level)
{
    (void)pin;
    if (level)
        machine_request(machine, REQUEST_CPU_RESET);
}

static void a20_wire(void *machine, unsigned pin, bool level)
{
    struct machine *m = machine;

    if (m->parts[PART_PORT92].ready)
        port92_set_a20(m->parts[PART_PORT92].self, pin, level);
}

static void bridge_reset(void *machine, bool hard)
{
    machine_request(machine, hard ? REQUEST_RESET : REQUEST_CPU_RESET);
}

static void soft_off(void *machine)
{
    machine_request(machine, REQUEST_POWER_OFF);
}

static void debug_exit(void *machine, int code)
{
    struct machine *m = machine;

    m->exit_code = code;
    machine_request(m, REQUEST_DEBUG_EXIT);
}

/* The coprocessor error latch: a write to F0h clears FERR# (PC/AT technical reference). */
static void fpu_port_write(void *machine, u64 offset, u64 value, unsigned size)
{
    (void)value, (void)size;
    if (offset == 0)
        pc_isa_irq(machine, SOURCE_FPU, IRQ_FPU, false);
}

static const struct io_ops fpu_port_ops = {NULL, fpu_port_write, SIZE_1};
#define FPU_PORT_BASE 0xf0
#define FPU_PORT_SIZE 2

/* -- attaching -- */

static enum status claim_ports(struct machine *m, struct part_slot *slot, struct error *err)
{
    for (const struct device_pio *pio = slot->type->pio; pio && pio->size; pio++) {
        enum status st = pio_claim(&m->pio, (u16)(slot->base + pio->base), pio->size, &pio->ops,
                                   slot->self, slot->type->name);

        if (st)
            return error_set(err, st,
                             "Device %s cannot have ports 0x%x-0x%x: another device uses "
                             "them; give it another address.",
                             slot->type->name, slot->base + pio->base,
                             slot->base + pio->base + pio->size - 1);
    }
    return ST_OK;
}

static enum status attach(struct machine *m, enum part part, u16 base, const void *config,
                          const struct irq_line *lines, unsigned line_count, struct error *err)
{
    struct part_slot *slot = &m->parts[part];
    enum status st;

    slot->base = base;
    for (unsigned n = 0; n < line_count; n++)
        slot->lines[n] = lines[n];
    slot->env = (struct device_env){
        .clock = &m->clock,
        .log = m->log,
        .map = m->map,
        .pio = &m->pio,
        .irq = slot->lines,
        .irq_count = line_count,
    };
    st = slot->type->init(slot->self, &slot->env, config, err);
    if (st)
        return st;
    slot->ready = true;
    return claim_ports(m, slot, err);
}

static enum status allocate(struct machine *m, enum part part, const struct device_type *type,
                            struct error *err)
{
    struct part_slot *slot = &m->parts[part];

    slot->machine = m;
    slot->type = type;
    slot->self = calloc(1, type->state_size);
    if (!slot->self)
        return error_set(err, ST_NO_MEMORY, "No memory for device %s; free some memory.",
                         type->name);
    return ST_OK;
}

static void fill_configs(struct machine *m, struct pc_configs *c)
{
    struct pci_bus *bus = m->parts[PART_PCI].self;

    *c = (struct pc_configs){
        .ioapic = {.bus = &m->apic_bus},
        .rtc = {.ram_below_4g = m->layout.low_size,
                .ram_above_4g = m->layout.high_size,
                .boot_order = {2, 3, 4},
                .cpus = (u8)m->processor_count},
        .i440fx = {.bus = bus, .reset = bridge_reset, .opaque = m},
        .piix3 = {.bus = bus, .slot = SOUTH_BRIDGE_SLOT, .reset = bridge_reset, .opaque = m},
        .piix4_pm = {.bus = bus, .slot = SOUTH_BRIDGE_SLOT, .soft_off = soft_off, .opaque = m},
        .fw_cfg = {.store = &m->store},
        .debugcon = {.chardev = m->config.debugcon},
    };
}

#define LINE(function, number)                                                                     \
    {                                                                                              \
        function, m, number                                                                        \
    }
#define ISA(number)                                                                                \
    {                                                                                              \
        part_isa_irq, slot, number                                                                 \
    }

static enum status attach_board(struct machine *m, struct error *err)
{
    struct pc_configs configs, *c = &configs;
    enum status st;

#define PART(id, device, base, config, ...)                                                        \
    st = allocate(m, PART_##id, &device, err);                                                     \
    if (st)                                                                                        \
        return st;
#include "machine/pc.def"
#undef PART
    fill_configs(m, c);
    /* An empty row still needs an element for the array. */
#define PART(id, device, base, config, ...)                                                        \
    {                                                                                              \
        struct part_slot *slot = &m->parts[PART_##id];                                             \
        const struct irq_line lines[] = {__VA_ARGS__ __VA_OPT__(, ){NULL, NULL, 0}};               \
        st = attach(m, PART_##id, base, config, lines, ARRAY_SIZE(lines) - 1, err);                \
        (void)slot;                                                                                \
        if (st)                                                                                    \
            return st;                                                                             \
    }
#include "machine/pc.def"
#undef PART
    return ST_OK;
}

static enum status attach_serial(struct machine *m, struct error *err)
{
    static const struct {
        u16 base;
        unsigned irq;
    } com[MACHINE_SERIAL_MAX] = {{0x3f8, 4}, {0x2f8, 3}, {0x3e8, 4}, {0x2e8, 3}};

    for (unsigned n = 0; n < MACHINE_SERIAL_MAX; n++) {
        const struct uart16550_config config = {.chardev = m->config.serial[n]};
        struct part_slot *slot = &m->parts[PART_SERIAL0 + n];
        const struct irq_line line = ISA(com[n].irq);
        enum status st;

        if (!m->config.serial[n])
            continue;
        st = allocate(m, PART_SERIAL0 + n, &uart16550_type, err);
        if (!st)
            st = attach(m, PART_SERIAL0 + n, com[n].base, &config, &line, 1, err);
        if (st)
            return st;
    }
    return ST_OK;
}

static enum status attach_debug_exit(struct machine *m, struct error *err)
{
    const struct debug_exit_config config = {.iobase = m->config.debug_exit_base,
                                             .iosize = m->config.debug_exit_size,
                                             .exit = debug_exit,
                                             .opaque = m};
    enum status st;

    if (!m->config.debug_exit)
        return ST_OK;
    st = allocate(m, PART_DEBUG_EXIT, &debug_exit_type, err);
    return st ? st : attach(m, PART_DEBUG_EXIT, 0, &config, NULL, 0, err);
}

static enum status attach_hv1_testdev(struct machine *m, struct error *err)
{
    enum status st;

    if (!m->config.hv_testdev)
        return ST_OK;
    st = allocate(m, PART_HV1_TESTDEV, &hv1_testdev_type, err);
    return st ? st : attach(m, PART_HV1_TESTDEV, 0, &m->hv1, NULL, 0, err);
}

/* A line of the test device: an ISA interrupt or one of the I/O APIC's other pins. */
static void testdev_irq(void *machine, unsigned pin, bool level)
{
    struct machine *m = machine;

    if (pin < ARRAY_SIZE(m->isa_asserted))
        pc_isa_irq(m, PART_TESTDEV, pin, level);
    else
        ioapic_set_pin(m->parts[PART_IOAPIC].self, pin, level);
}

static enum status attach_testdev(struct machine *m, struct error *err)
{
    struct irq_line lines[TESTDEV_LINE_COUNT];
    enum status st;

    if (!m->config.testdev)
        return ST_OK;
    for (unsigned n = 0; n < ARRAY_SIZE(lines); n++)
        lines[n] = (struct irq_line)LINE(testdev_irq, n);
    st = allocate(m, PART_TESTDEV, &testdev_type, err);
    return st ? st : attach(m, PART_TESTDEV, 0, NULL, lines, ARRAY_SIZE(lines), err);
}

static enum status map_ioapic(struct machine *m, struct error *err)
{
    const struct region region = {
        .name = "ioapic",
        .kind = REGION_MMIO,
        .access = REGION_RW,
        .base = IOAPIC_DEFAULT_BASE,
        .size = PAGE_SIZE,
        .priority = PRIO_MMIO,
        .ops = &ioapic_mmio_ops,
        .self = m->parts[PART_IOAPIC].self,
    };
    unsigned id;

    if (physmap_add(m->map, &region, &id))
        return error_set(err, ST_NO_MEMORY, "No memory for the memory map; free some memory.");
    return ST_OK;
}

enum status pc_create(struct machine *m, struct error *err)
{
    enum status st = attach_board(m, err);

    if (!st)
        st = attach_serial(m, err);
    if (!st)
        st = attach_debug_exit(m, err);
    if (!st)
        st = attach_hv1_testdev(m, err);
    if (!st)
        st = attach_testdev(m, err);
    if (!st)
        st = map_ioapic(m, err);
    if (!st && pio_claim(&m->pio, FPU_PORT_BASE, FPU_PORT_SIZE, &fpu_port_ops, m, "fpu error"))
        st = error_set(err, ST_OVERLAP,
                       "Ports 0xf0-0xf1 belong to the coprocessor; move the device "
                       "that uses them.");
    return st;
}

void pc_destroy(struct machine *m)
{
    for (unsigned n = PART_COUNT; n-- > 0;) {
        struct part_slot *slot = &m->parts[n];

        if (slot->ready && slot->type->fini)
            slot->type->fini(slot->self);
        free(slot->self);
        *slot = (struct part_slot){0};
    }
}

void pc_reset(struct machine *m)
{
    for (unsigned n = 0; n < ARRAY_SIZE(m->isa_asserted); n++)
        m->isa_asserted[n] = 0;
    for (unsigned n = 0; n < PART_COUNT; n++)
        if (m->parts[n].ready && m->parts[n].type->reset)
            m->parts[n].type->reset(m->parts[n].self);
}
