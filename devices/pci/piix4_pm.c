/* SPDX-License-Identifier: MIT
 *
 * PIIX4 power management function; see piix4_pm.h. Registers: 82371AB datasheet 7.1
 * (configuration), 7.2 (power management I/O space); ACPI fixed hardware: ACPI 6.x section 4.8.
 *
 * The PM timer is computed from the clock; an event is armed only while its overflow interrupt is
 * enabled and not yet reported. timer_periods counts the changes of bit 23 already reported.
 */
#include "devices/pci/piix4_pm.h"

#include <string.h>

#include "devices/pci/piix4_smbus.h"
#include "mem/base/bits.h"

/* Configuration registers. */
enum {
    REG_PMBA = 0x40,
    REG_DEVACTB = 0x58,
    REG_PMREGMISC = 0x80,
    REG_SMBBA = 0x90,
    REG_SMBHSTCFG = 0xd2,
};

enum { SMBHSTCFG_ENABLE = 0x01, SMBHSTCFG_IRQ = 0x0e, SMBHSTCFG_IRQ9 = 0x08 };
enum { DEVACTB_APMC_EN = 0x02 }; /* bit 25, in the fourth byte */

/* Power management I/O space. */
enum {
    PMSTS = 0x00,
    PMEN = 0x02,
    PMCNTRL = 0x04,
    PMTMR = 0x08,
    GPSTS = 0x0c,
    GPEN = 0x0e,
    GLBSTS = 0x18,
    GLBCTL = 0x28,
    GPOREG = 0x34,
    PM_PORTS = 0x40,
};

enum {
    PM1_TMR = 1u << 0,
    PM1_GBL = 1u << 5,
    PM1_PWRBTN = 1u << 8,
    PM1_RTC = 1u << 10,
    PM1_EVENTS = PM1_TMR | PM1_GBL | PM1_PWRBTN | PM1_RTC,
};
enum { CNT_SCI_EN = 0x01, CNT_GBL_RLS = 0x04, CNT_SLP_EN = 0x20 /* second byte */ };
enum { GLBSTS_BIOS = 0x01, GLBSTS_APM = 0x20, GLBCTL_BIOS_RLS = 0x02 };

#define PM_TIMER_HZ     3579545u
#define PM_TIMER_PERIOD BIT(23) /* ticks between two changes of the top bit */

struct piix4_pm {
    struct pci_function pci;
    struct piix4_pm_config config;
    struct clock *clock;
    struct log *log;
    struct pio_bus *pio;
    const struct irq_line *irq;
    struct timer timer;
    struct piix4_smbus smbus;
    u8 regs[PM_PORTS];
    u64 timer_periods;
    u8 apm[2]; /* ports B2h and B3h */
    bool pm_mapped;
    bool smbus_mapped;
    u16 pm_base;
    u16 smbus_base;
};

/* Bits of the I/O space that software may write ... */
static const u8 writable[PM_PORTS] = {
    [PMEN] = 0x21,    [PMEN + 1] = 0x05,    /* TMR GBL PWRBTN RTC */
    [PMCNTRL] = 0x03, [PMCNTRL + 1] = 0x1c, /* SLP_EN reads as 0 */
    [GPEN] = 0x01,    [GPEN + 1] = 0x0f,    [0x10] = 0xff,       [0x11] = 0xff,
    [0x12] = 0x03,                   /* PCNTRL */
    [0x20] = 0xff,    [0x21] = 0x0f, /* GLBEN */
    [GLBCTL] = 0xfd,  [GLBCTL + 1] = 0xff,  [GLBCTL + 2] = 0xff, [GLBCTL + 3] = 0xff,
    [0x2c] = 0xff,    [0x2d] = 0xff,        [0x2e] = 0xff,       [0x2f] = 0xff, /* DEVCTL */
    [GPOREG] = 0xff,  [GPOREG + 1] = 0xff,  [GPOREG + 2] = 0xff, [GPOREG + 3] = 0x7f,
};
/* ... and bits that a written 1 clears. */
static const u8 clearable[PM_PORTS] = {
    [PMSTS] = 0x31,  [PMSTS + 1] = 0x8d,  [GPSTS] = 0x01, [GPSTS + 1] = 0x0f,
    [GLBSTS] = 0xff, [GLBSTS + 1] = 0x0f, [0x1c] = 0xff,  [0x1d] = 0xff, /* DEVSTS */
    [0x1e] = 0xff,   [0x1f] = 0xff,
};

/* -- PM timer -------------------------------------------------------------------------------- */

static u64 timer_ticks(const struct piix4_pm *pm)
{
    return (u64)((u128)clock_now(pm->clock) * PM_TIMER_HZ / NS_PER_SECOND);
}

/* Notes an overflow that has happened and arms for the next one if it would interrupt. */
static void update_timer(struct piix4_pm *pm)
{
    u64 periods = timer_ticks(pm) / PM_TIMER_PERIOD;

    if (periods != pm->timer_periods)
        pm->regs[PMSTS] |= PM1_TMR;
    pm->timer_periods = periods;
    if ((pm->regs[PMEN] & PM1_TMR) && !(pm->regs[PMSTS] & PM1_TMR)) {
        u128 scaled = (u128)(periods + 1) * PM_TIMER_PERIOD * NS_PER_SECOND;

        timer_arm(&pm->timer, (u64)((scaled + PM_TIMER_HZ - 1) / PM_TIMER_HZ));
    } else {
        timer_cancel(&pm->timer);
    }
}

/* -- Interrupts ------------------------------------------------------------------------------ */

/* ACPI 4.8.2: events raise the SCI while SCI_EN is set; otherwise they would be SMIs, and there is
 * nobody to take those. */
static void update_irq(struct piix4_pm *pm)
{
    u64 pm1 = load_le(&pm->regs[PMSTS], 2) & load_le(&pm->regs[PMEN], 2) & PM1_EVENTS;
    u64 gpe = load_le(&pm->regs[GPSTS], 2) & load_le(&pm->regs[GPEN], 2);
    bool sci = (pm->regs[PMCNTRL] & CNT_SCI_EN) && (pm1 || gpe);
    bool smbus = (pm->pci.config[REG_SMBHSTCFG] & SMBHSTCFG_IRQ) == SMBHSTCFG_IRQ9 &&
                 piix4_smbus_interrupt(&pm->smbus);

    irq_set(pm->irq, sci || smbus);
}

static void update(struct piix4_pm *pm)
{
    update_timer(pm);
    update_irq(pm);
}

static void timer_fired(void *opaque)
{
    update(opaque);
}

static void raise_pm1(struct piix4_pm *pm, u32 events)
{
    pm->regs[PMSTS] |= (u8)events;
    pm->regs[PMSTS + 1] |= (u8)(events >> 8);
    update_irq(pm);
}

void piix4_pm_power_button(struct piix4_pm *pm)
{
    raise_pm1(pm, PM1_PWRBTN);
}

void piix4_pm_rtc_alarm(struct piix4_pm *pm)
{
    raise_pm1(pm, PM1_RTC);
}

void piix4_pm_gpe(struct piix4_pm *pm, enum piix4_gpe event)
{
    u8 bit = (u8)(1u << event % 8);

    pm->regs[GPSTS + event / 8] |= bit & clearable[GPSTS + event / 8];
    update_irq(pm);
}

/* -- Power management I/O space -------------------------------------------------------------- */

/* The timer is latched once, so that the bytes of one access belong together. */
static u64 pm_read(void *self, u64 offset, unsigned size)
{
    struct piix4_pm *pm = self;
    u8 bytes[PM_PORTS + 8];

    update(pm);
    memcpy(bytes, pm->regs, PM_PORTS);
    memset(bytes + PM_PORTS, 0xff, 8);
    store_le(&bytes[PMTMR], timer_ticks(pm) & 0xffffff, 4);
    return load_le(&bytes[offset], size);
}

static void sleep_command(struct piix4_pm *pm)
{
    unsigned type = pm->regs[PMCNTRL + 1] >> 2 & 7;

    if (type == PIIX4_SLP_TYP_S5)
        pm->config.soft_off(pm->config.opaque);
    else
        log_guest(pm->log, "piix4_pm: sleep type %u is not offered", type);
}

static void pm_write_byte(struct piix4_pm *pm, unsigned offset, u8 value)
{
    u8 *reg = &pm->regs[offset];

    *reg = (u8)((*reg & ~writable[offset]) | (value & writable[offset]));
    *reg &= (u8) ~(value & clearable[offset]);
    if (offset == PMCNTRL && (value & CNT_GBL_RLS))
        pm->regs[GLBSTS] |= GLBSTS_BIOS; /* the OS released the global lock: asks for an SMI */
    if (offset == PMCNTRL + 1 && (value & CNT_SLP_EN))
        sleep_command(pm);
    if (offset == GLBCTL && (value & GLBCTL_BIOS_RLS))
        pm->regs[PMSTS] |= PM1_GBL; /* firmware released it: asks for an SCI */
}

static void pm_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct piix4_pm *pm = self;

    update_timer(pm); /* an overflow before this write is not undone by it */
    for (unsigned i = 0; i < size && offset + i < PM_PORTS; i++)
        pm_write_byte(pm, (unsigned)offset + i, (u8)(value >> i * 8));
    update(pm);
}

static const struct io_ops pm_ops = {pm_read, pm_write, SIZE_1 | SIZE_2 | SIZE_4};

static u64 smbus_read(void *self, u64 offset, unsigned size)
{
    struct piix4_pm *pm = self;

    (void)size;
    return piix4_smbus_read(&pm->smbus, (unsigned)offset);
}

static void smbus_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct piix4_pm *pm = self;

    (void)size;
    piix4_smbus_write(&pm->smbus, (unsigned)offset, (u8)value);
    update_irq(pm);
}

static const struct io_ops smbus_ops = {smbus_read, smbus_write, SIZE_1};

/* -- Ports B2h and B3h ----------------------------------------------------------------------- */

static u64 apm_read(void *self, u64 offset, unsigned size)
{
    const struct piix4_pm *pm = self;

    (void)size;
    return pm->apm[offset];
}

/* A command would raise an SMI, whose handler would switch between legacy and ACPI mode. There is
 * no SMM, so the function does at once what that handler would do. */
static void apm_write(void *self, u64 offset, u64 value, unsigned size)
{
    struct piix4_pm *pm = self;

    (void)size;
    pm->apm[offset] = (u8)value;
    if (offset != 0)
        return;
    if ((u8)value == PIIX4_ACPI_ENABLE)
        pm->regs[PMCNTRL] |= CNT_SCI_EN;
    else if ((u8)value == PIIX4_ACPI_DISABLE)
        pm->regs[PMCNTRL] &= (u8)~CNT_SCI_EN;
    if (pm->pci.config[REG_DEVACTB + 3] & DEVACTB_APMC_EN)
        pm->regs[GLBSTS] |= GLBSTS_APM;
    update(pm);
}

static const struct device_pio apm_ports[] = {{0, 2, {apm_read, apm_write, SIZE_1}}, {0}};

/* -- Where the I/O spaces are ---------------------------------------------------------------- */

/* Moves one block of ports; a place that is taken leaves it unmapped until the next try. */
static void move(struct piix4_pm *pm, bool *mapped, u16 *base, bool wanted, u16 wanted_base,
                 const struct pio_claim *claim)
{
    if (*mapped && (!wanted || *base != wanted_base)) {
        pio_release(pm->pio, *base, pm);
        *mapped = false;
    }
    if (*mapped || !wanted)
        return;
    *base = wanted_base;
    *mapped = pio_claim(pm->pio, wanted_base, claim->size, claim->ops, pm, claim->name) == ST_OK;
    if (!*mapped)
        log_guest(pm->log, "piix4_pm: %s cannot be mapped at 0x%x", claim->name, wanted_base);
}

static void update_ports(struct piix4_pm *pm)
{
    static const struct pio_claim pm_block = {.ops = &pm_ops, .name = "piix4_pm", .size = PM_PORTS};
    static const struct pio_claim smbus_block = {
        .ops = &smbus_ops, .name = "piix4_smbus", .size = PIIX4_SMBUS_PORTS};
    const u8 *config = pm->pci.config;
    /* The command register's I/O bit governs the SMBus registers only (7.1.3). */
    bool smbus =
        (config[REG_SMBHSTCFG] & SMBHSTCFG_ENABLE) && (config[PCI_COMMAND] & PCI_COMMAND_IO);

    move(pm, &pm->pm_mapped, &pm->pm_base, config[REG_PMREGMISC] & 1,
         (u16)load_le(&config[REG_PMBA], 2) & 0xffc0, &pm_block);
    move(pm, &pm->smbus_mapped, &pm->smbus_base, smbus,
         (u16)load_le(&config[REG_SMBBA], 2) & 0xfff0, &smbus_block);
}

static void config_written(void *self, unsigned offset, unsigned size)
{
    struct piix4_pm *pm = self;

    (void)offset;
    (void)size;
    update_ports(pm);
    update_irq(pm);
}

/* -- Life cycle ------------------------------------------------------------------------------ */

static void describe_config(struct piix4_pm *pm)
{
    static const struct pci_header header = {.vendor = 0x8086,
                                             .device = 0x7113,
                                             .revision = 0x03,
                                             .class_code = 0x068000,
                                             .interrupt_pin = 1};
    struct pci_function *fn = &pm->pci;

    pci_function_init(fn, &header, config_written, pm);
    pci_put16(fn->writable, PCI_COMMAND, PCI_COMMAND_IO);
    pci_put16(fn->initial, PCI_STATUS, 0x0280); /* medium DEVSEL, fast back-to-back */
    fn->writable[PCI_CACHE_LINE_SIZE] = 0;
    fn->writable[PCI_LATENCY_TIMER] = 0;
    pci_put32(fn->initial, REG_PMBA, 1);
    pci_put32(fn->writable, REG_PMBA, 0xffc0);
    /* CNTA, CNTB, GPICTL, DEVRESD, DEVACTA, DEVACTB, DEVRESA-J: kept, without effect. */
    memset(&fn->writable[0x44], 0xff, 0x7c - 0x44);
    /* Firmware takes APMC_EN as "the SMI handler is installed" and then leaves SMM alone. */
    fn->initial[REG_DEVACTB + 3] = DEVACTB_APMC_EN;
    fn->writable[REG_PMREGMISC] = 0x01;
    pci_put32(fn->initial, REG_SMBBA, 1);
    pci_put32(fn->writable, REG_SMBBA, 0xfff0);
    fn->writable[REG_SMBHSTCFG] = SMBHSTCFG_ENABLE | SMBHSTCFG_IRQ;
    memset(&fn->writable[REG_SMBHSTCFG + 1], 0xff, 3); /* SMBSLVC, SMBSHDW1, SMBSHDW2 */
}

static enum status piix4_pm_init(void *self, const struct device_env *env, const void *config,
                                 struct error *err)
{
    struct piix4_pm *pm = self;

    check(env->irq_count == 1, "piix4_pm has %u IRQ lines", env->irq_count);
    pm->config = *(const struct piix4_pm_config *)config;
    pm->clock = env->clock;
    pm->log = env->log;
    pm->pio = env->pio;
    pm->irq = env->irq;
    timer_init(&pm->timer, pm->clock, "piix4_pm", timer_fired, pm);
    describe_config(pm);
    return pci_bus_add(pm->config.bus, &pm->pci, (u8)(pm->config.slot << 3 | 3), err);
}

static void piix4_pm_reset(void *self)
{
    static const u8 gpo[4] = {0xff, 0xbf, 0xff, 0x7f};
    struct piix4_pm *pm = self;

    pci_function_reset(&pm->pci);
    piix4_smbus_reset(&pm->smbus);
    memset(pm->regs, 0, sizeof(pm->regs));
    memcpy(&pm->regs[GPOREG], gpo, sizeof(gpo));
    memset(pm->apm, 0, sizeof(pm->apm));
    pm->timer_periods = timer_ticks(pm) / PM_TIMER_PERIOD;
    update_ports(pm);
    update(pm);
}

static void piix4_pm_fini(void *self)
{
    struct piix4_pm *pm = self;

    timer_cancel(&pm->timer);
    if (pm->pm_mapped)
        pio_release(pm->pio, pm->pm_base, pm);
    if (pm->smbus_mapped)
        pio_release(pm->pio, pm->smbus_base, pm);
    pci_bus_remove(pm->config.bus, &pm->pci);
}

static const struct device_field piix4_pm_fields[] = {
    DEVICE_FIELD(piix4_pm, pci.config), DEVICE_FIELD(piix4_pm, smbus),
    DEVICE_FIELD(piix4_pm, regs),       DEVICE_FIELD(piix4_pm, timer_periods),
    DEVICE_FIELD(piix4_pm, apm),        {0}};

const struct device_type piix4_pm_type = {
    .name = "piix4_pm",
    .state_size = sizeof(struct piix4_pm),
    .irq_pins = 1,
    .pio = apm_ports,
    .init = piix4_pm_init,
    .reset = piix4_pm_reset,
    .fini = piix4_pm_fini,
    .save = piix4_pm_fields,
};
