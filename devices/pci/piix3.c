/* SPDX-License-Identifier: MIT
 *
 * PIIX3 ISA bridge; see piix3.h. Register numbers and meanings: 82371FB/82371SB datasheet section
 * 2.2; reset control 2.5.5.
 */
#include "devices/pci/piix3.h"

enum { REG_PIRQRC = 0x60, ISA_IRQS = 16 };
enum { PIRQRC_DISABLED = 0x80 };
enum { RESET_HARD = 0x02, RESET_CPU = 0x04 };

/* IRQ 0, 1, 2, 8 and 13 cannot be chosen (PIRQRC, 2.2.7). */
#define ROUTABLE_IRQS 0xdef8u

struct piix3 {
    struct pci_function pci;
    struct piix3_config config;
    const struct irq_line *irq;
    u8 pirq_levels; /* bit per PIRQ */
    u16 isa_levels; /* what the pins show */
    u8 reset_control;
};

/* Offset, value after reset, writable bits. */
static const struct pci_register registers[] = {
    {0x4c, 0x4d, 0xff},                                                             /* IORT */
    {0x4e, 0x03, 0xff}, {0x4f, 0x00, 0x01},                                         /* XBCS */
    {0x60, 0x80, 0x8f}, {0x61, 0x80, 0x8f}, {0x62, 0x80, 0x8f}, {0x63, 0x80, 0x8f}, /* PIRQRC */
    {0x69, 0x02, 0xfe},                                                             /* TOM */
    {0x6a, 0x00, 0x40},                                                             /* MSTAT */
    {0x70, 0x80, 0xef},                                                             /* MBIRQ0 */
    {0x76, 0x0c, 0x8f}, {0x77, 0x0c, 0x8f},                                         /* MBDMA */
    {0x78, 0x02, 0xff}, {0x79, 0x00, 0xff},                                         /* PCSC */
    {0x82, 0x00, 0x0f},                                                             /* DLC */
    {0xa0, 0x08, 0x1f},                                                             /* SMICNTL */
    {0xa2, 0x00, 0xff}, {0xa3, 0x00, 0x01},                                         /* SMIEN */
    {0xa4, 0x00, 0xff}, {0xa5, 0x00, 0xff}, {0xa6, 0x00, 0xff}, {0xa7, 0x00, 0xff}, /* SEE */
    {0xa8, 0x0f, 0xff},                                                             /* FTMR */
    {0xac, 0x00, 0xff},                                                             /* CTLTMR */
    {0xae, 0x00, 0xff},                                                             /* CTHTMR */
};

static void update_irqs(struct piix3 *p)
{
    u16 levels = 0, changed;

    for (unsigned pirq = 0; pirq < PCI_PIRQS; pirq++) {
        u8 route = p->pci.config[REG_PIRQRC + pirq];

        if ((p->pirq_levels >> pirq & 1) && !(route & PIRQRC_DISABLED))
            levels |= (u16)(1u << (route & 0xf));
    }
    levels &= ROUTABLE_IRQS;
    changed = levels ^ p->isa_levels;
    p->isa_levels = levels;
    for (unsigned irq = 0; irq < ISA_IRQS; irq++)
        if (changed >> irq & 1)
            irq_set(&p->irq[irq], levels >> irq & 1);
}

static void set_pirq(void *opaque, unsigned pirq, bool level)
{
    struct piix3 *p = opaque;

    p->pirq_levels = (u8)((p->pirq_levels & ~(1u << pirq)) | (unsigned)level << pirq);
    update_irqs(p);
}

static void config_written(void *self, unsigned offset, unsigned size)
{
    if (offset < REG_PIRQRC + PCI_PIRQS && offset + size > REG_PIRQRC)
        update_irqs(self);
}

static u64 reset_control_read(void *self, u64 offset, unsigned size)
{
    const struct piix3 *p = self;

    (void)offset;
    (void)size;
    return p->reset_control;
}

/* A reset happens when RCPU goes from 0 to 1; SRST says which kind. */
static void reset_control_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct piix3 *p = self;
    u8 rising = (u8)value & (u8)~p->reset_control;

    (void)offset;
    (void)size;
    p->reset_control = (u8)value & (RESET_HARD | RESET_CPU);
    if (rising & RESET_CPU)
        p->config.reset(p->config.opaque, p->reset_control & RESET_HARD);
}

static const struct io_ops reset_control_ops = {reset_control_read, reset_control_write, SIZE_1};

static enum status piix3_init(void *self, const struct device_env *env, const void *config,
                              struct error *err)
{
    static const struct pci_header header = {
        .vendor = 0x8086, .device = 0x7000, .class_code = 0x060100};
    struct piix3 *p = self;
    enum status status;

    check(env->irq_count == ISA_IRQS, "piix3 has %u IRQ lines", env->irq_count);
    p->config = *(const struct piix3_config *)config;
    p->irq = env->irq;
    pci_function_init(&p->pci, &header, config_written, p);
    pci_function_add_registers(&p->pci, registers, ARRAY_SIZE(registers));
    p->pci.clearable[0x6a] = 0x80; /* MSTAT: SERR# sent */
    p->pci.writable[PCI_CACHE_LINE_SIZE] = 0;
    p->pci.writable[PCI_LATENCY_TIMER] = 0;
    p->pci.writable[PCI_INTERRUPT_LINE] = 0;
    /* I/O, memory and bus mastering are always on. */
    pci_put16(p->pci.initial, PCI_COMMAND,
              PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    pci_put16(p->pci.writable, PCI_COMMAND, 0x0008 | PCI_COMMAND_SERR);
    pci_put16(p->pci.initial, PCI_STATUS, 0x0200); /* medium DEVSEL */
    status = pci_bus_add(p->config.bus, &p->pci, (u8)(p->config.slot << 3), err);
    if (status != ST_OK)
        return status;
    pci_bus_route(p->config.bus, set_pirq, p);
    pci_bus_set_cf9(p->config.bus, &reset_control_ops, p);
    return ST_OK;
}

static void piix3_reset(void *self)
{
    struct piix3 *p = self;

    pci_function_reset(&p->pci);
    p->reset_control = 0;
    update_irqs(p);
}

static void piix3_fini(void *self)
{
    struct piix3 *p = self;

    pci_bus_route(p->config.bus, NULL, NULL);
    pci_bus_set_cf9(p->config.bus, NULL, NULL);
    pci_bus_remove(p->config.bus, &p->pci);
}

static const struct device_field piix3_fields[] = {DEVICE_FIELD(piix3, pci.config),
                                                   DEVICE_FIELD(piix3, pirq_levels),
                                                   DEVICE_FIELD(piix3, isa_levels),
                                                   DEVICE_FIELD(piix3, reset_control),
                                                   {0}};

const struct device_type piix3_type = {
    .name = "piix3",
    .state_size = sizeof(struct piix3),
    .irq_pins = ISA_IRQS,
    .init = piix3_init,
    .reset = piix3_reset,
    .fini = piix3_fini,
    .save = piix3_fields,
};
